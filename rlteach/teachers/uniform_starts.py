"""Uniform snapshot starts: each episode begins at any snapshot of a store with a fixed chance.

    teacher = UniformStarts(store, share=0.9, seed=0)

The control without which nothing can be said about cleverer choices of the start.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlteach.lesson import Outcome
from rlteach.snapshots.store import SnapshotStore
from rlteach.teachers.base import require
from rlteach.teachers.start_base import ORDINARY, SnapshotTeacher


class UniformStarts(SnapshotTeacher):
    """Draws snapshots uniformly ("mix-p" where `share` is below 1; the random-snapshot ablation of S3RL at 1).

    Args:
        store: Snapshots with their records.
        share: Chance that an episode starts from a snapshot; the rest starts at the ordinary reset.
        until: Learner steps after which all episodes start at the ordinary reset; None never switches.
        seed: Seed of the draws.
    """

    def __init__(self, store: SnapshotStore, *, share: float = 1.0, until: int | None = None, seed: int = 0) -> None:
        super().__init__(store, seed=seed)
        require(self, share=(share, 0, 1), **({} if until is None else {"until": (until, 0, None)}))
        self.share, self.until = share, until

    def _choose(self, n: int) -> tuple[Sequence[int], Sequence[str]]:
        if self.until is not None and self.steps >= self.until:
            return [ORDINARY] * n, ["uniform_starts/over"] * n
        drawn = self.rng.integers(len(self.store), size=n)
        chosen = self.rng.random(n) < self.share
        places = [int(place) if c else ORDINARY for place, c in zip(drawn, chosen, strict=True)]
        return places, ["uniform_starts" if c else "uniform_starts/ordinary" for c in chosen]

    def _learn(self, places: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        """Uniform starts do not adapt."""
