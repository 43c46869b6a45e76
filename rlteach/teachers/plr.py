"""Prioritised level replay: tasks on which the learner's values were wrong are played again.

teacher = PLR(task_space, seed=0)                                    # with PPO or A2C
teacher = PLR(task_space, seed=0, score="success_variance")          # with any learner
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from rlteach.lesson import Outcome
from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, TaskTeacher, require
from rlteach.teachers.level_buffer import (
    PRIORITIES,
    SCORES,
    LevelBuffer,
    Past,
    as_levels,
    number_of_tasks,
    require_one_of,
    score_of,
)

SCHEDULES = ("proportionate", "fixed")


def replay_chance(fill: float, min_fill: float, replay_probability: float, schedule: str) -> float:
    """Return the chance that the next level is a replayed one, for a buffer that is filled to `fill` in [0, 1]."""
    if fill <= 0.0 or fill < min_fill:
        return 0.0
    return min(fill, replay_probability) if schedule == "proportionate" else replay_probability


class PLR(TaskTeacher):
    """Prioritised level replay (PLR), for any task space: a level is a task that was met.

    Source: "Prioritized level replay" (Jiang et al., ICML 2021, algorithm 1). A lesson is either a new task, drawn
    uniformly, or a task from a buffer, drawn from (1 - c) P_score + c P_stale. Every episode scores its task, and a
    full buffer gives up the task that is least likely to be replayed when the new score is no lower.

    What it needs from the learner depends on `score`:

    * `positive_value_loss`, mean max(A_t, 0), and `value_l1`, mean |A_t| (the paper's): generalised advantages;
    * `td_error_l1`, mean |one-step TD error|: TD errors;
    * `max_mc`, mean(R_max - V(s_t)) with R_max the best discounted return on that task: values;
    * `success_variance`, the expected p (1 - p) of a task's chance of success p: nothing, so that it serves SAC too.

    It plays no episodes of its own. An outcome that lacks the signals is scored by success variance.

    Deviations from the published code: levels are tasks, not seeds; equal scores share the weights of their ranks; the
    lessons of one call are drawn from one distribution; a finite task space is replayed only, as soon as all of it has
    been met; a level that was replaced is forgotten, so that a late outcome does not score the one that took its place;
    R_max starts at the first return, not at 0, so that negative returns count. The buffer is small (MiniGrid: 4000,
    BipedalWalker: 1000), since a run on one machine meets some 10^4 tasks, not 10^6.

    It fails where what is not learnable surprises for ever (noise looks like regret), where a reward scale that
    `VecNormalize` changes makes `max_mc` compare returns with values of another unit, and where tasks are so many that
    a replayed one says little about the rest.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        score: What a level is worth; one of those above.
        prioritisation: `"rank"` (1 / rank) or `"proportional"` to the score.
        temperature: Temperature beta: the weights are raised to 1 / beta.
        staleness: Share c of replays by the time since a level was last drawn.
        alpha: Weight of the newest score of a level against the one before.
        capacity: Number of levels kept.
        replay_probability: Share of lessons that are replayed.
        min_fill: Share of the buffer that has to be filled before anything is replayed.
        schedule: `"proportionate"`: replay with min(fill, `replay_probability`); `"fixed"`: with `replay_probability`.
        seed: Seed of the draws.
        return_range: Accepted for all teachers; no return is scaled.
    """

    state_names: ClassVar[tuple[str, ...]] = ("buffer",)
    origin: ClassVar[str] = "plr"

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
        min_fill: float = 0.1,
        schedule: str = "proportionate",
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        require_one_of(
            self, score=(score, SCORES), prioritisation=(prioritisation, PRIORITIES), schedule=(schedule, SCHEDULES)
        )
        require(
            self,
            temperature=(temperature, 1e-3, None),
            staleness=(staleness, 0, 1),
            alpha=(alpha, 1e-6, 1),
            capacity=(capacity, 1, None),
            replay_probability=(replay_probability, 0.01, 1),
            min_fill=(min_fill, 0, 1),
        )
        self.score, self.alpha, self.schedule = score, alpha, schedule
        self.replay_probability, self.min_fill = replay_probability, min_fill
        self.needs = SCORES[score].needs
        self.n_tasks = number_of_tasks(self.task_space)
        self.buffer = LevelBuffer(
            int(min(capacity, self.n_tasks)),
            self.dimension,
            prioritisation=prioritisation,
            temperature=temperature,
            staleness=staleness,
        )

    @property
    def knows_every_task(self) -> bool:
        """Whether the buffer holds the whole, finite, task space."""
        return len(self.buffer) >= self.n_tasks

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        """Learn from finished lessons, one by one, with their signals."""
        for outcome in outcomes:
            self._heard = outcome
            super().observe([outcome])

    def portrait(self) -> dict[str, Array]:
        """Return the levels in the buffer with their scores, once there are any."""
        if not len(self.buffer):
            return {}
        return {"points/place": self.buffer.levels.copy(), "points/score": self.buffer.scores.copy()}

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        self._take(tasks[0], self._heard)

    def _take(self, level: Array, outcome: Outcome) -> int | None:
        """Score a level by an episode on it; return its place in the buffer, None when it found none."""
        place = self.buffer.find(level)
        past = (Past() if place is None else self.buffer.past(place)).after(outcome)
        score = self._score(outcome, past)
        if not math.isfinite(score):
            return None
        if place is None:
            return self.buffer.offer(level, score, past)
        self.buffer.update(place, (1.0 - self.alpha) * float(self.buffer.scores[place]) + self.alpha * score, past)
        return place

    def _score(self, outcome: Outcome, past: Past) -> float:
        return score_of(self.score, outcome, past)

    def _new(self, n: int) -> Array:
        """Return `n` new levels (n, dimension)."""
        return as_levels(self.task_space, self.rng.random((n, self.dimension)))

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        chance = 1.0 if self.knows_every_task else self._replay_chance()
        replayed = [coin < chance for coin in self.rng.random(n).tolist()]
        origins = [f"{self.origin}/replay" if r else f"{self.origin}/new" for r in replayed]
        count = sum(replayed)
        if count == 0:
            return self._new(n), origins
        points = self.buffer.levels[self.buffer.draw(count, self.rng)]
        if count < n:
            order = np.argsort(np.argsort(replayed, kind="stable"))  # new levels first, then put where they belong
            points = np.concatenate([self._new(n - count), points])[order]
        return points, origins

    def _replay_chance(self) -> float:
        fill = len(self.buffer) / self.buffer.capacity
        return replay_chance(fill, self.min_fill, self.replay_probability, self.schedule)
