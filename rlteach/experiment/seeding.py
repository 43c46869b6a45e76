"""One seed in, independent seeds for every part out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Seeds:
    """Independent seeds of the parts of a run, each below 2**31."""

    teacher: int
    learner: int
    environments: int
    evaluation: int
    starts: int
    rollouts: int

    @classmethod
    def of(cls, seed: int) -> Seeds:
        """Derive them from a run's seed (numpy's `SeedSequence`)."""
        words = np.random.SeedSequence(seed).generate_state(6)
        return cls(*(int(word) & 0x7FFFFFFF for word in words))
