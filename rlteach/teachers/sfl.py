"""Sampling for learnability: the current learner is tried on many tasks; those it sometimes solves are trained on.

teacher = SFL(task_space, seed=0)
teacher.rollouts = ...          # set by a run
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, TaskTeacher, require
from rlteach.teachers.level_buffer import Rollouts, as_levels


def learnability(success_rates: Array) -> Array:
    """Return p (1 - p) for success rates p (n,): the variance of a success, 0 for what is always or never solved."""
    return success_rates * (1.0 - success_rates)


def most_learnable(scores: Array, keep: int) -> NDArray[np.int64]:
    """Return the places of the `keep` highest scores, highest first, without those that are 0."""
    order = np.argsort(-scores, kind="stable")[:keep]
    return order[scores[order] > 0.0]


class SFL(TaskTeacher):
    """Sampling for learnability (SFL), for any task space with a success.

    Source: "No regrets: investigating and improving regret approximations for curriculum discovery" (Rutherford et al.,
    NeurIPS 2024, algorithm 1). Every `refresh_every` episodes, `candidates` uniform tasks are played `repeats` times
    each by the current learner, and the `keep` ones with the highest learnability p (1 - p) are kept. Until the next
    refresh a share of the lessons is drawn uniformly from these, the rest uniformly from all tasks.

    Needs from the learner: nothing. Pays: `candidates * repeats` episodes each time, by default half as many as
    training takes (published: 25,000 levels, 2,000 steps each, which a simulator on an accelerator bears). Without
    roll-outs its lessons are uniform; `PLR` with `score="success_variance"` is the same idea from training episodes.

    Deviation: tasks of learnability 0 are never kept (the published code fills up with them, so that early sets hold
    tasks that cannot be solved), hence fewer than `keep` may be kept; with none at all lessons are uniform.

    It fails where success is a matter of luck, where learning shows in the return but not in a success flag, and where
    solvable tasks are so rare that a sample of `candidates` has none.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        candidates: Tasks that are tried at each refresh.
        repeats: Episodes for each of them.
        keep: Number of tasks kept.
        refresh_every: Training episodes between two refreshes.
        learnable_share: Share of lessons from the tasks kept; 0.5 as published.
        seed: Seed of the draws.
        return_range: Accepted for all teachers; success needs no range.
    """

    state_names: ClassVar[tuple[str, ...]] = ("_kept", "_since_refresh")
    wants_rollouts = True

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        candidates: int = 64,
        repeats: int = 2,
        keep: int = 32,
        refresh_every: int = 250,
        learnable_share: float = 0.5,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        require(
            self,
            candidates=(candidates, 1, None),
            repeats=(repeats, 2, None),
            keep=(keep, 1, None),
            refresh_every=(refresh_every, 1, None),
            learnable_share=(learnable_share, 0, 1),
        )
        self.candidates, self.repeats, self.keep = candidates, repeats, keep
        self.refresh_every, self.learnable_share = refresh_every, learnable_share
        self._kept: Array = np.zeros((0, self.dimension))
        self._since_refresh = refresh_every

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        if self.rollouts is not None and self._since_refresh >= self.refresh_every:
            self._since_refresh = 0
            self._refresh(self.rollouts)
        points = self.rng.random((n, self.dimension))
        chosen = self.rng.random(n) < self.learnable_share
        if len(self._kept) == 0:
            return points, ["sfl/bootstrap"] * n
        places = self.rng.integers(len(self._kept), size=n)
        points = np.where(chosen[:, None], self._kept[places], points)
        return points, ["sfl" if c else "sfl/uniform" for c in chosen]

    def portrait(self) -> dict[str, Array]:
        """Return the tasks kept, once there are any."""
        return {"points/place": self._kept.copy()} if len(self._kept) else {}

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        self._since_refresh += len(tasks)

    def _refresh(self, rollouts: Rollouts) -> None:
        points = as_levels(self.task_space, self.rng.random((self.candidates, self.dimension)))
        points = points[np.sort(np.unique(points, axis=0, return_index=True)[1])]  # a discrete task comes once
        outcomes = rollouts(self.task_space.tasks_of_unit(points), repeats=self.repeats)
        successes = np.array([outcome.success for outcome in outcomes]).reshape(len(points), self.repeats)
        scores = learnability(np.clip(successes, 0.0, 1.0).mean(axis=1))
        self._kept = points[most_learnable(scores, self.keep)]  # what is not a number is left out
