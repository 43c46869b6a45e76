"""The oracle: the environment's own easy-to-hard order, moved on by success."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array
from rlteach.teachers.gated import GatedTeacher


class Oracle(GatedTeacher):
    """Draws from a hand-made window and moves it on when most of its episodes succeed: an upper row for tables.

    As the oracle of Portelas et al. (2019, ALP-GMM), with success in place of a return threshold. It needs the success
    of every episode and, of the environment, to know what is hard; it pays no roll-outs of its own.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        oracle_window: The environment's function of that name: (progress from 0, easy, to 1; rng) -> task.
        threshold: Mean success above which the window moves on.
        step: How far it moves, in [0, 1].
        over: Number of episodes over which success is averaged: of the present window, counted anew each time.
        seed: Seed of the draws.
    """

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
        super().__init__(task_space, threshold=threshold, step=step, over=over, seed=seed)
        self.oracle_window = oracle_window

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        tasks = [self.oracle_window(self.progress, self.rng) for _ in range(n)]
        return np.array([self.task_space.to_unit(task) for task in tasks]), ["oracle"] * n
