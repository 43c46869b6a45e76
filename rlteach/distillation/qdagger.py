"""QDagger's weight: listen to the expert for as long as it is better, and stop by itself.

Agarwal et al. (2022, "Reincarnating reinforcement learning"). There the weight is max(1 - R_student / R_expert, 0),
which breaks where returns are negative; here returns count from that of the untrained student.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback

from rlteach.distillation.guided_ppo import Experience, GuidedPPO, Minibatch
from rlteach.distillation.imitation import imitation_loss
from rlteach.distillation.kickstarting import divergence, divergence_faults
from rlteach.errors import InvalidValue
from rlteach.protocols import State


def deficit(student: float, expert: float, untrained: float) -> float:
    """Return what the student lacks of the expert's return, counted from the untrained student's, in [0, 1]."""
    if not expert > untrained:
        return 0.0
    return float(np.clip(1.0 - (student - untrained) / (expert - untrained), 0.0, 1.0))


@dataclass(kw_only=True, eq=False)
class QDagger(GuidedPPO):
    """QDagger: PPO plus a divergence whose weight is what the student still lacks of the expert's return.

    It begins like QDagger's offline phase: expert and untrained student each act in half of the environments until as
    many episodes have ended, and the student learns from the expert's labels of both halves. That gives the two
    returns between which the weight is measured; the steps count.

    Attributes:
        weight: Weight of the divergence while the student is no better than untrained.
        divergence: See `Kickstarting`.
        window: Episodes over which the student's return is averaged.
    """

    weight: float = 1.0
    divergence: Literal["forward", "reverse", "k1", "k2", "k3"] = "forward"
    window: int = 100

    def __post_init__(self) -> None:
        """Build it.

        Raises:
            InvalidValue: For a single environment, in which only the expert or the student could be measured.
        """
        n = self.env.num_envs
        if n < 2:
            raise InvalidValue(
                "QDagger measures expert and student side by side, and there is one environment: n_envs must be at "
                "least 2"
            )
        super().__post_init__()
        self._expert_rows = np.arange(n) % 2 == 0
        self._running = np.zeros(n)
        self._begun_by_expert = self._expert_rows.copy()
        self._given: list[np.ndarray] = []
        self._first: dict[bool, list[float]] = {True: [], False: []}
        self._recent: deque[float] = deque(maxlen=self.window)
        self.measured = False

    @classmethod
    def setting_faults(cls, policy: str, kwargs: Mapping[str, Any]) -> list[str]:
        """Return a sentence for every wrong setting."""
        faults = [*super().setting_faults(policy, kwargs), *divergence_faults(kwargs)]
        if not isinstance(kwargs.get("window", 1), int) or kwargs.get("window", 1) < 1:
            faults.append(f"window = {kwargs['window']!r} must be a whole number of at least 1")
        return faults

    @property
    def coefficient(self) -> float:
        """Return the weight of the divergence now."""
        if not self._recent:
            return self.weight
        expert, untrained = (float(np.mean(self._first[who] or [0.0])) for who in (True, False))
        return self.weight * deficit(float(np.mean(self._recent)), expert, untrained)

    def iterate(self, steps: int, hooks: BaseCallback) -> bool:
        """Play a rollout and learn from it."""
        going = super().iterate(steps, hooks)
        least = -(-self.env.num_envs // 2)
        if not self.measured and all(len(self._first[who]) >= least for who in (True, False)):
            self.measured = True
        return going

    def sample(self, seen: np.ndarray, full: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sample actions; while returns are measured, the expert acts in every other environment."""
        actions, log_probs, values = super().sample(seen, full)
        if not self.measured:
            self._given.append(self.label(self._last_obs, self._last_episode_starts))
            labels = self.unit_labels(self._given[-1])
            rows = self._expert_rows.reshape(-1, *(1,) * (actions.ndim - 1))
            actions = np.where(rows, labels, actions)
        return actions, log_probs, values

    def labels_of(self, experience: Experience) -> np.ndarray:
        """Return the expert's actions; those that it gave while it acted are not asked for again."""
        if not self._given:
            return super().labels_of(experience)
        given, self._given = np.concatenate(self._given), []
        return given

    def prepare(self, experience: Experience) -> None:
        """Count the returns of the episodes that ended, but none that the expert began and the student ended."""
        for rewards, ended in zip(experience.raw_rewards, experience.ended, strict=True):
            self._running += rewards
            for row in np.flatnonzero(ended):
                if not self.measured:
                    self._first[bool(self._expert_rows[row])].append(float(self._running[row]))
                elif not self._begun_by_expert[row]:
                    self._recent.append(float(self._running[row]))
            self._running[ended] = 0.0
            if self.measured:
                self._begun_by_expert &= ~ended

    def policy_loss(self, batch: Minibatch, surrogate: torch.Tensor) -> torch.Tensor:
        """Imitate while returns are measured; then add the divergence with the weight of the deficit."""
        if not self.measured:
            assert batch.labels is not None
            return imitation_loss(batch.said, batch.labels, "mse")
        assert batch.advice is not None
        apart = divergence(self.divergence, batch.advice, batch.said, batch.actions)
        return surrogate.mean() + self.coefficient * apart.mean()

    def _more_state(self) -> State:
        return {
            "running": self._running.copy(),
            "first": [list(self._first[False]), list(self._first[True])],
            "recent": list(self._recent),
            "measured": self.measured,
            "begun_by_expert": self._begun_by_expert.copy(),
        }

    def _load_more_state(self, state: State) -> None:
        self._running = np.array(state["running"])
        self._first = {False: list(state["first"][0]), True: list(state["first"][1])}
        self._recent = deque(state["recent"], maxlen=self.window)
        self.measured = bool(state["measured"])
        self._begun_by_expert = np.array(state["begun_by_expert"], dtype=bool)
