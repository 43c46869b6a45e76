"""Two students side by side: each acts in its own environments and learns by its own rule.

Both see all environments and carry their own memory along everywhere, so that either can be asked about any step. The
first, `student`, is the one of every other method; the second is `other`. While `as_other` lasts, the second stands
in for the first, so that what is written for one student serves both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

from rlteach.distillation.guided_ppo import Critic, Experience, GuidedPPO, rows_of
from rlteach.errors import InvalidValue
from rlteach.protocols import State


@dataclass(kw_only=True, eq=False)
class Paired(GuidedPPO):
    """Base of the methods with two students."""

    def __post_init__(self) -> None:
        """Build both.

        Raises:
            InvalidValue: For a single environment, in which only one of them could act.
        """
        if self.env.num_envs < 2:
            raise InvalidValue(
                f"{type(self).__name__} has two students that act side by side, and there is one environment: n_envs "
                "must be at least 2"
            )
        super().__post_init__()
        self.other = self._new_student()
        self.other.normalizer = self.student.normalizer
        self.other_critic = self.new_other_critic()
        self.other_optimizer, self._other_memory = self.optimizer, self._memory
        with self.as_other():
            self.optimizer = torch.optim.Adam(self._parameters(), lr=self.learning_rate)
            self._memory = self._fresh_memory(self.env.num_envs)
        self.is_student = np.arange(self.env.num_envs) % 2 == 0
        self._memory_before = self._other_memory

    def new_other_critic(self) -> Critic:
        """Return the second student's critic; by default, of the same kind as the first one's."""
        critic = self.new_critic()
        critic.normalizer = self.value_network.normalizer
        return critic

    @contextmanager
    def as_other(self) -> Iterator[None]:
        """Let the second student stand in for the first."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, other in PLACES.items():
            mine, its = getattr(self, name), getattr(self, other)
            setattr(self, name, its)
            setattr(self, other, mine)

    # -- playing ---------------------------------------------------------------------------------------------------

    def begin_memory(self) -> None:
        """Put both memories of rows that begin an episode back to their beginnings."""
        super().begin_memory()
        with self.as_other():
            super().begin_memory()

    def collect(self, steps: int, hooks: BaseCallback) -> tuple[Experience, bool]:
        """Play `steps` steps; each student acts where it is its turn."""
        self._memory_before = self._other_memory.copy()
        return super().collect(steps, hooks)

    def sample(self, seen: np.ndarray, full: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return whoever's turn it is its sampled actions, their log densities and values."""
        student = super().sample(seen, full)
        with self.as_other():
            other = super().sample(seen, full)
        turn = self.is_student.reshape(-1, *(1,) * (student[0].ndim - 1))
        actions = np.where(turn, student[0], other[0])
        log_probs = np.where(self.is_student, student[1], other[1])
        return actions, log_probs, self.join_values(student[2], other[2], self.is_student)

    def join_values(self, mine: np.ndarray, its: np.ndarray, turn: np.ndarray) -> np.ndarray:
        """Return the values (rows,) that count, given what both critics say and whether it is the first one's turn."""
        return np.where(turn, mine, its)

    def values_of(self, seen: np.ndarray, full: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the values that whoever acts there gives to what the environments `rows` show."""
        mine = super().values_of(seen, full, rows)
        with self.as_other():
            its = super().values_of(seen, full, rows)
        return self.join_values(mine, its, self.is_student[rows])

    def of_other(self, experience: Experience) -> Experience:
        """Return a rollout with the second student's memory in it."""
        return replace(experience, memory=self._memory_before)

    # -- state -----------------------------------------------------------------------------------------------------

    def _modules(self) -> dict[str, nn.Module]:
        return {**super()._modules(), "other": self.other, "other_critic": self.other_critic}

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {**super()._optimizers(), "other": self.other_optimizer}

    def _more_state(self) -> State:
        return {**super()._more_state(), "other_memory": self._other_memory.copy()}

    def _load_more_state(self, state: State) -> None:
        self._other_memory = np.array(state["other_memory"])


PLACES = {
    "student": "other",
    "value_network": "other_critic",
    "optimizer": "other_optimizer",
    "_memory": "_other_memory",
}
"""Attributes of the first student, and where the second has its own."""


def part_of(experience: Experience, rows: np.ndarray) -> Experience:
    """Return a rollout with some of its environments only; `rows` (n,) bool."""
    steps, count = experience.starts.shape
    names = ("seen", "states", "starts", "full", "actions", "log_probs", "values", "rewards", "raw_rewards", "ended")
    parts: dict[str, Any] = {name: getattr(experience, name) for name in (*names, "labels")}
    flat = torch.from_numpy((np.arange(steps)[:, None] * count + np.flatnonzero(rows)).ravel())
    kept: dict[str, Any] = {name: None if values is None else values[:, rows] for name, values in parts.items()}
    return Experience(
        **kept,
        last_values=experience.last_values[rows],
        memory=experience.memory[rows],
        advice=None if experience.advice is None else rows_of(experience.advice, flat),
        extra={name: values[:, rows] for name, values in experience.extra.items()},
    )
