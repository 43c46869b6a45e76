"""Robust prioritised level replay: the learner is trained on replayed tasks only; new ones are only played.

teacher = RobustPLR(task_space, seed=0)
teacher.rollouts = ...          # set by a run
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from gymnasium import spaces

from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, require
from rlteach.teachers.level_buffer import Rollouts
from rlteach.teachers.plr import PLR


def new_levels_per_lesson(replay_probability: float) -> float:
    """Return (1 - p) / p: the levels that are only scored for each one that is trained on."""
    return (1.0 - replay_probability) / replay_probability


class RobustPLR(PLR):
    """Robust prioritised level replay (PLR-perp): what is trained on was scored before.

    Source: "Replay-guided adversarial environment design" (Jiang et al., NeurIPS 2021, section on PLR-perp). There each
    iteration either trains on replayed levels, with probability p, or plays new ones without a gradient step. Here
    every lesson is a replayed level, and for each of them (1 - p) / p new levels are scored by roll-outs of the
    teacher's own, `rollout_batch` at a time; the first ones fill the buffer up to `min_fill` before the first lesson.

    Needs from the learner: what `PLR` needs. Pays: (1 - p) / p episodes for each training episode, p = 0.8 a quarter,
    and `min_fill * capacity` at the start. Without roll-outs it is `PLR`: new levels are then trained on. A finite task
    space of which every task is known costs nothing more.

    Deviations: those of `PLR`, and that the share of new levels is kept exactly, not by coins.

    It fails as `PLR` does; with a tuned learner and few steps its roll-outs are often worth less than training on
    uniform tasks would have been.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        score: What a level is worth, see `PLR`.
        prioritisation: `"rank"` or `"proportional"`.
        temperature: Temperature beta of the prioritisation.
        staleness: Share c of replays by the time since a level was last drawn.
        alpha: Weight of the newest score of a level against the one before.
        capacity: Number of levels kept.
        replay_probability: Probability p of the paper: share of episodes that are trained on.
        min_fill: Share of the buffer that is filled by roll-outs before the first lesson.
        rollout_batch: New levels that are scored together.
        seed: Seed of the draws.
        return_range: Accepted for all teachers; no return is scaled.
    """

    state_names: ClassVar[tuple[str, ...]] = ("buffer", "_owed")
    origin: ClassVar[str] = "robust_plr"
    wants_rollouts = True

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        score: str = "positive_value_loss",
        prioritisation: str = "rank",
        temperature: float = 0.3,
        staleness: float = 0.3,
        alpha: float = 1.0,
        capacity: int = 256,
        replay_probability: float = 0.8,
        min_fill: float = 0.25,
        rollout_batch: int = 8,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(
            task_space,
            score=score,
            prioritisation=prioritisation,
            temperature=temperature,
            staleness=staleness,
            alpha=alpha,
            capacity=capacity,
            replay_probability=replay_probability,
            min_fill=min_fill,
            seed=seed,
            return_range=return_range,
        )
        require(self, rollout_batch=(rollout_batch, 1, None))
        self.rollout_batch = rollout_batch
        self._owed = 0.0

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        if self.rollouts is None:
            return super()._draw(n)
        self._explore(n, self.rollouts)
        if len(self.buffer) == 0:  # no roll-out told anything
            return self._new(n), [f"{self.origin}/bootstrap"] * n
        return self.buffer.levels[self.buffer.draw(n, self.rng)], [f"{self.origin}/replay"] * n

    def _explore(self, n: int, rollouts: Rollouts) -> None:
        """Score the new levels that are due for the next `n` lessons."""
        if self.knows_every_task:
            return
        self._owed += n * new_levels_per_lesson(self.replay_probability)
        missing = max(1, math.ceil(self.min_fill * self.buffer.capacity)) - len(self.buffer)
        if missing > 0:
            self._play(self._new(missing), rollouts)
        elif self._owed >= self.rollout_batch:
            due = int(self._owed)
            self._owed -= due
            self._play(self._new(due), rollouts)

    def _play(self, levels: Array, rollouts: Rollouts) -> None:
        """Score levels by playing them, which nobody is trained on."""
        outcomes = rollouts(self.task_space.tasks_of_unit(levels), signals=self.needs)
        for level, outcome in zip(levels, outcomes, strict=True):
            if self._usable(outcome):
                self._take(level, outcome)
