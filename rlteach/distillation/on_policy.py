"""On-policy distillation without aggregation: only what the student has just met is learned from.

The form of RAPTOR's second phase (Eschmann et al. 2025) and of rsl_rl's Distillation: constant memory, and data that
always come from the student as it is. Unlike there, no step of a rollout is left out of the update, an expert keeps its
memory across updates, and the loss is a mean, so that it does not grow with the length of the rollout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rlteach.distillation.imitation import Imitation


@dataclass(kw_only=True, eq=False)
class OnPolicyDistillation(Imitation):
    """On-policy distillation: the student acts and learns from the newest rollout only.

    Attributes:
        warm_up: Rounds at the beginning in which the expert acts (behavioural cloning), as in RAPTOR.
    """

    warm_up: int = 1

    aggregates: ClassVar[bool] = False

    def drivers(self) -> np.ndarray:
        """Return True for every environment during the warm-up, else False."""
        return np.full(self.env.num_envs, self.round < self.warm_up)
