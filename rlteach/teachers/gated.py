"""What the oracle and the expanding box share: they go on to harder tasks when most of a batch of episodes succeed."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces

from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, TaskTeacher, require


class GatedTeacher(TaskTeacher):
    """Base of teachers whose tasks depend on a progress that success moves on, and nothing moves back.

    Episodes are counted in the order in which they were begun, and anew after each `over` of them. Those that were
    begun before the progress moved are of easier tasks, and say nothing about the present ones: they do not count. With
    64 environments side by side they were two thirds of the next hundred; GoalMaze's oracle then ran away from its
    learner in one of ten seeds.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        threshold: Mean success above which the progress moves.
        step: How far it moves, in [0, 1].
        over: Number of episodes over which success is averaged.
        seed: Seed of the teacher's own generator.
        return_range: Accepted for all teachers; nothing is scaled.

    Attributes:
        progress: From 0, easy, to 1.
    """

    learns_in_order = True
    state_names = ("progress", "_episodes", "_successes", "_from_before")

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        threshold: float,
        step: float,
        over: int,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        require(self, threshold=(threshold, 0, 1), step=(step, 0, 1), over=(over, 1, None))
        self.threshold, self.step, self.over = threshold, step, over
        self.progress = 0.0
        self._episodes = 0
        self._successes = 0.0
        self._from_before = 0

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        for place, success in enumerate(successes.tolist(), start=1):
            if self._from_before:
                self._from_before -= 1
                continue
            self._episodes += 1
            self._successes += success
            if self._episodes == self.over:
                if self._successes / self.over > self.threshold and self.progress < 1.0:
                    self.progress = min(1.0, self.progress + self.step)
                    self._from_before = len(successes) - place + len(self._issued)
                self._episodes, self._successes = 0, 0.0
