"""The oracle: the environment's own easy-to-hard order, moved on by success."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, TaskTeacher, require


class Oracle(TaskTeacher):
    """Draws from a hand-made window and moves it on when most of its episodes succeed: an upper row for tables.

    As the oracle of Portelas et al. (2019, ALP-GMM), with success in place of a return threshold. It needs the success
    of every episode and, of the environment, to know what is hard; it pays no roll-outs of its own.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        oracle_window: The environment's function of that name: (progress from 0, easy, to 1; rng) -> task.
        threshold: Mean success above which the window moves on.
        step: How far it moves, in [0, 1].
        over: Number of episodes over which success is averaged; counted anew after each move.
        seed: Seed of the draws.
    """

    learns_in_order = True
    state_names = ("progress", "_episodes", "_successes")

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        oracle_window: Callable[[float, np.random.Generator], Any],
        threshold: float = 0.7,
        step: float = 0.05,
        over: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__(task_space, seed=seed)
        require(self, threshold=(threshold, 0, 1), step=(step, 0, 1), over=(over, 1, None))
        self.oracle_window, self.threshold, self.step, self.over = oracle_window, threshold, step, over
        self.progress = 0.0
        self._episodes = 0
        self._successes = 0.0

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        tasks = [self.oracle_window(self.progress, self.rng) for _ in range(n)]
        return np.array([self.task_space.to_unit(task) for task in tasks]), ["oracle"] * n

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        for success in successes:
            self._episodes += 1
            self._successes += success
            if self._episodes == self.over:
                if self._successes / self.over > self.threshold:
                    self.progress = min(1.0, self.progress + self.step)
                self._episodes, self._successes = 0, 0.0
