"""Tasks from a list: a single fixed task, a handful of levels, a test set's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from gymnasium import spaces

from rlteach.errors import InvalidValue
from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, TaskTeacher


class Listed(TaskTeacher):
    """Draws tasks uniformly from a list; with one task in it, that is what is trained.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        tasks: Elements of the task space, or their values as plain lists of numbers, in the order of its parameters.
        seed: Seed of the draws.
        return_range: Accepted for all teachers; nothing is scaled.

    Raises:
        InvalidValue: When the list is empty, or holds something that is no task.
    """

    tied_to_space = True

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        tasks: Sequence[Any],
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        if not isinstance(tasks, Sequence) or not len(tasks):
            raise InvalidValue(f"tasks = {tasks!r} must be a list of at least one task")
        self.points = np.array([self._point(task) for task in tasks])

    def _point(self, task: Any) -> Array:
        space = self.task_space
        if isinstance(task, list | tuple):
            numbers = len(task) == self.dimension and all(isinstance(value, Real) for value in task)
            values = np.array(task if numbers else [math.nan], dtype=np.float64)
            if not np.isfinite(values).all():
                raise InvalidValue(f"{task!r} is no task: it needs {self.dimension} numbers for {space!r}")
            task = space.tasks_of_unit(space.unit_of_vectors(values[None]))[0]
            if not np.allclose(space.to_vector(task), values):
                raise InvalidValue(f"the task {values.tolist()} lies outside {space!r}")
        elif not space.space.contains(task):
            raise InvalidValue(f"{task!r} is no task of {space!r}")
        return np.asarray(space.to_unit(task))

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        return self.points[self.rng.integers(len(self.points), size=n)], ["listed"] * n

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        """Learn nothing."""
