"""The yoked control: the recorded lessons of another run, in order of issue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from rlteach.errors import InvalidValue
from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, TaskTeacher


class Replay(TaskTeacher):
    """Replays recorded tasks; when they are used up it cycles through the last 10 %.

    If a learner does as well on another learner's lessons, adapting to the learner was not what helped.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        lessons: Tasks as mappings (`TaskSpace.from_mapping`), in the order in which they were issued.
        seed: Unused: nothing is drawn.
    """

    state_names = ("_place",)

    def __init__(
        self, task_space: TaskSpace | spaces.Space[Any], *, lessons: Sequence[Mapping[str, Any]], seed: int = 0
    ) -> None:
        super().__init__(task_space, seed=seed)
        if len(lessons) == 0:
            raise InvalidValue("there are no recorded lessons to replay")
        self._points = np.array([self.task_space.to_unit(self.task_space.from_mapping(task)) for task in lessons])
        self._tail = max(1, len(self._points) // 10)
        self._place = 0

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        places = np.arange(self._place, self._place + n)
        self._place += n
        over = places >= len(self._points)
        cycled = len(self._points) - self._tail + (places - len(self._points)) % self._tail
        return self._points[np.where(over, cycled, places)], ["replay"] * n

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        """A replay does not adapt."""
