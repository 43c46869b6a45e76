"""Annealing: a range of tasks that moves from an easy one to the whole space while the learner trains.

    teacher = Annealing(task_space, start_low=[0.0, 5.0], start_high=[0.5, 6.0], steps=200_000)

The schedule that people write by hand, and so the baseline of every teacher that watches the learner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from rlteach.errors import ConfigError, InvalidValue
from rlteach.lesson import Outcome
from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, TaskTeacher, require


def blended(start: Array, end: Array, progress: float) -> Array:
    """Return (1 - p) start + p end for a progress p in [0, 1]."""
    return np.asarray((1.0 - progress) * start + progress * end)


def vector_of(space: TaskSpace, task: Any) -> Array:
    """Return a task given as element of the space, as mapping of names, or as list of numbers, in real units (d,).

    Raises:
        InvalidValue: When it is no task of the space.
    """
    try:
        if isinstance(task, list):
            return space.to_vector(space.from_vector(task))
        if isinstance(task, Mapping) and not any(isinstance(part, Mapping) for part in task.values()):
            return space.to_vector(space.from_mapping(task))
    except (ConfigError, TypeError, ValueError) as error:
        raise InvalidValue(f"{task!r} is no task of {space!r}: {error}") from error
    return space.to_vector(task)


def unit_range(space: TaskSpace, low: Any | None, high: Any | None) -> tuple[Array, Array]:
    """Return two corners, in the unit cube, of the range between two tasks; None is the end of the space.

    The range of an integer parameter includes the levels that it ends with.

    Raises:
        InvalidValue: When one is no task of the space, or the higher one is below the lower one.
    """
    lowest = space.low if low is None else vector_of(space, low)
    highest = space.high if high is None else vector_of(space, high)
    if faults := [
        f"{p.name} from {a:g} to {b:g}" for p, a, b in zip(space.parameters, lowest, highest, strict=True) if a > b
    ]:
        raise InvalidValue(f"a range of tasks must not end below its start: {'; '.join(faults)}; swap the two")
    half_level = np.array([0.5 / p.levels if p.levels else 0.0 for p in space.parameters])
    corners = space.unit_of_vectors(lowest) - half_level, space.unit_of_vectors(highest) + half_level
    return np.clip(corners[0], 0.0, 1.0), np.clip(corners[1], 0.0, 1.0)


class Annealing(TaskTeacher):
    """Annealing of a range: tasks are uniform in a box that moves linearly with the steps trained (Syllabus, 2024).

    With progress p = min(1, steps so far / `steps`) both corners of the box are `blended` from the start to the end.
    It needs nothing of the learner and pays no roll-outs; all it knows is the order that its user gives. It fails when
    the learner is slower than the schedule, and wastes steps when it is faster: compare `expanding_box`, which waits.
    Deviation: training steps are counted from finished episodes, so that a schedule means the same with any number of
    environments.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        start_low: Task at the lower end of the first range, in every parameter: an element of the space, a mapping of
            names, or a list of numbers.
        start_high: Task at its upper end.
        end_low: Task at the lower end of the last range; None for the lower end of the space.
        end_high: Task at its upper end; None for the upper end of the space.
        steps: Environment steps over which the range moves.
        seed: Seed of the draws.
        return_range: Accepted for all teachers; nothing is scaled.

    Raises:
        InvalidValue: When an end is no task of the space, or an upper end is below the lower one.
    """

    tied_to_space = True
    state_names = ("steps_seen",)

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        start_low: Any,
        start_high: Any,
        end_low: Any | None = None,
        end_high: Any | None = None,
        steps: int = 200_000,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        require(self, steps=(steps, 1, None))
        self.steps = steps
        self._start = unit_range(self.task_space, start_low, start_high)
        self._end = unit_range(self.task_space, end_low, end_high)
        self.steps_seen = 0

    @property
    def box(self) -> tuple[Array, Array]:
        """Corners of the present range in the unit cube, each (d,)."""
        progress = min(1.0, self.steps_seen / self.steps)
        return blended(self._start[0], self._end[0], progress), blended(self._start[1], self._end[1], progress)

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        """Count the steps of finished lessons, also of those whose return is of no use."""
        ours = {outcome.lesson_id: outcome.length for outcome in outcomes if outcome.lesson_id in self._issued}
        self.steps_seen += sum(max(0, length) for length in ours.values())
        super().observe(outcomes)

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        low, high = self.box
        return low + (high - low) * self.rng.random((n, self.dimension)), ["annealing"] * n

    def portrait(self) -> dict[str, Array]:
        """Return the box."""
        low, high = self.box
        return {"boxes/low": low[None], "boxes/high": high[None]}

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        """Only the number of steps counts."""
