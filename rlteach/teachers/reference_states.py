"""Reference state initialisation: episodes begin anywhere along reference trajectories, all training long.

    teacher = ReferenceStates(store, seed=0)

Peng et al., "DeepMimic" (2018), section 6.1.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlteach.lesson import Outcome
from rlteach.snapshots.store import SnapshotStore
from rlteach.teachers.base import require
from rlteach.teachers.start_base import ORDINARY, SnapshotTeacher, one_of


class ReferenceStates(SnapshotTeacher):
    """Reference state initialisation, RSI (Peng et al. 2018): a uniform phase of a uniform reference.

    p(record) = 1 / (trajectories x records of its trajectory), so a long reference weighs no more than a short one.
    Deviation: the phase is one of the records rather than a real number. Early termination, the other half of the
    method, is the environment's business.

    Args:
        store: Snapshots with their records, taken at even intervals.
        ordinary: Share of episodes that start at the ordinary reset; the paper has none.
        seed: Seed of the draws.
    """

    def __init__(self, store: SnapshotStore, *, ordinary: float = 0.0, seed: int = 0) -> None:
        super().__init__(store, seed=seed)
        require(self, ordinary=(ordinary, 0, 1))
        self.ordinary = ordinary
        self._references = list(store.episodes().values())

    def _choose(self, n: int) -> tuple[Sequence[int], Sequence[str]]:
        places, origins = [], []
        for _ in range(n):
            if self.rng.random() < self.ordinary:
                places.append(ORDINARY)
                origins.append("reference_states/ordinary")
            else:
                places.append(one_of(self._references[self.rng.integers(len(self._references))], self.rng))
                origins.append("reference_states")
        return places, origins

    def _learn(self, places: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        """Reference states do not adapt."""
