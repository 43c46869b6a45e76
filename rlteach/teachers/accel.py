"""ACCEL: robust level replay whose new levels are small edits of the levels that were just replayed.

teacher = ACCEL(task_space, seed=0, start={"height": 0.0, "spacing": 6.0})
teacher.rollouts = ...          # set by a run
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach.errors import InvalidValue
from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, require
from rlteach.teachers.level_buffer import Rollouts, as_levels, require_one_of
from rlteach.teachers.robust_plr import RobustPLR

BASE_LEVELS = ("all", "easy")

N_EASY = 4
"""Parents of a batch when only the easy ones are edited, as published."""


def reflected(value: float) -> float:
    """Fold a number back into [0, 1], so that edits do not pile up on the border."""
    return 1.0 - abs(1.0 - abs(value) % 2.0)


def edited_vector(point: Array, levels: Sequence[int], size: float, rng: np.random.Generator) -> Array:
    """Change one coordinate of a point of the unit cube (dimension,) by a random step of at most `size`.

    Args:
        point: The point.
        levels: Number of levels of each dimension, 0 for a continuous one; where there are levels the step is at
            least one of them.
        size: Largest step, as a share of the dimension's range.
        rng: What the dimension and the step are drawn with.
    """
    edited = point.copy()
    axis, step = int(rng.integers(len(point))), size * (2.0 * rng.random() - 1.0)
    if levels[axis]:
        whole = max(1, math.ceil(abs(step) * levels[axis]))
        step = math.copysign(whole / levels[axis], step)
    edited[axis] = reflected(float(point[axis]) + step)
    return edited


def easiest(returns: Array, scores: Array, n: int) -> NDArray[np.int64]:
    """Return the places of the `n` levels with the highest return minus regret, the easiest first."""
    return np.argsort(-(returns - scores), kind="stable")[:n]


class ACCEL(RobustPLR):
    """ACCEL: adversarially compounding complexity by editing levels, for any task space.

    Source: "Evolving curricula with regret-based environment design" (Parker-Holder et al., ICML 2022, algorithm 1).
    Robust level replay from a simple level; the levels of each batch of `rollout_batch` replayed episodes are edited
    `edits` times, and the children are played without training on them, scored, and offered to the buffer.

    An edit is the environment's `edit_task(task, rng) -> task`; without one, `edited_vector` changes one parameter.

    Which levels are edited: `base_levels="all"` of the batch, or `"easy"`, the four with the highest return minus
    regret, which is what the paper's text says; the published code sorts ascending and so takes the four hardest.

    Needs from the learner: what `PLR` needs. Pays: what `RobustPLR` pays, and one episode for every edited level, so
    with `"all"` as many as training takes. Without roll-outs it is `PLR` whose new levels are the children.

    Deviations: those of `RobustPLR`; children wait until the next lessons are asked for; new levels are edits of
    `start` when that is given, else uniform.

    It fails where no path of small edits with high regret leads from the start to the tasks that matter, and on noise
    that looks like regret, which is then bred.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        start: A simple task, `{name: value}`, from which the buffer is filled; uniform tasks when not given.
        edit_task: The environment's function of that name.
        edits: Edits between a level and its child.
        edit_size: Largest change of a parameter in one edit, as a share of its range; unused with `edit_task`.
        base_levels: `"all"` or `"easy"`.
        score: What a level is worth, see `PLR`.
        prioritisation: `"rank"` or `"proportional"`.
        temperature: Temperature beta of the prioritisation.
        staleness: Share c of replays by the time since a level was last drawn.
        alpha: Weight of the newest score of a level against the one before.
        capacity: Number of levels kept.
        replay_probability: Share of episodes, but for those of children, that are trained on.
        min_fill: Share of the buffer that is filled by roll-outs before the first lesson.
        rollout_batch: Replayed episodes whose levels are edited together, and new levels that are scored together.
        seed: Seed of the draws.
        return_range: Accepted for all teachers; no return is scaled.

    Raises:
        ConfigError: When `start` is no task.
    """

    state_names: ClassVar[tuple[str, ...]] = ("buffer", "_owed", "_replayed", "_children")
    tied_to_space = True
    origin: ClassVar[str] = "accel"

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        start: Mapping[str, Any] | None = None,
        edit_task: Callable[[Any, np.random.Generator], Any] | None = None,
        edits: int = 3,
        edit_size: float = 0.1,
        base_levels: str = "all",
        score: str = "positive_value_loss",
        prioritisation: str = "rank",
        temperature: float = 0.3,
        staleness: float = 0.3,
        alpha: float = 1.0,
        capacity: int = 256,
        replay_probability: float = 0.8,
        min_fill: float = 0.1,
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
            rollout_batch=rollout_batch,
            seed=seed,
            return_range=return_range,
        )
        require(self, edits=(edits, 1, None), edit_size=(edit_size, 1e-6, 1))
        require_one_of(self, base_levels=(base_levels, BASE_LEVELS))
        self.start = None
        if start is not None:
            self.start = np.asarray(self.task_space.to_unit(self.task_space.from_mapping(start)))
        self.edit_task, self.edits, self.edit_size, self.base_levels = edit_task, edits, edit_size, base_levels
        self._axes = [p.levels for p in self.task_space.parameters]
        self._replayed: list[Array] = []  # level, return, score
        self._children: list[Array] = []

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        replayed = self.buffer.find(tasks[0]) is not None
        place = self._take(tasks[0], self._heard)
        if replayed and place is not None:
            self._replayed.append(np.append(tasks[0], [returns[0], self.buffer.scores[place]]))
            if len(self._replayed) >= self.rollout_batch:
                self._breed()

    def _breed(self) -> None:
        """Edit the levels of a batch; the oldest children go when nobody plays them."""
        rows = np.array(self._replayed)
        self._replayed = []
        if self.base_levels == "easy":
            rows = rows[easiest(rows[:, -2], rows[:, -1], N_EASY)]
        self._children += [self._edited(row[:-2]) for row in rows]
        del self._children[: -4 * self.rollout_batch]

    def _edited(self, level: Array) -> Array:
        if self.edit_task is None:
            for _ in range(self.edits):
                level = edited_vector(level, self._axes, self.edit_size, self.rng)
            return as_levels(self.task_space, level)
        task = self.task_space.from_unit(level)
        for _ in range(self.edits):
            task = self.edit_task(task, self.rng)
        if not self.task_space.contains(task):
            raise InvalidValue(f"edit_task returned {task!r}, which is no task of {self.task_space!r}")
        return self.task_space.to_unit(task)

    def _new(self, n: int) -> Array:
        if self.start is None:
            fresh = super()._new(n)
        else:
            fresh = np.array([self._edited(self.start) for _ in range(n)]).reshape(n, self.dimension)
        if self.rollouts is None and self._children:  # nobody else can play them
            taken, self._children = self._children[:n], self._children[n:]
            fresh[: len(taken)] = taken
        return fresh

    def _explore(self, n: int, rollouts: Rollouts) -> None:
        if self._children:
            children, self._children = np.array(self._children), []
            self._play(children, rollouts)
        super()._explore(n, rollouts)
