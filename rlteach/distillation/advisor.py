"""ADVISOR: imitate where the expert can be imitated, explore where it cannot, and find out which by trying.

Weihs et al. (2021). A head that only imitates tells how well the expert's action follows from what the student sees:
its error is small where it does and large where the expert knows more. Each step weighs imitation with
w = exp(-alpha error) and PPO with 1 - w. Which alpha is right decides between the best and the worst of results, and
was searched for by hand; here it comes from the data (`automatic_alpha`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from rlteach.distillation.actions import Categorical
from rlteach.distillation.guided_ppo import Experience, GuidedPPO, Minibatch
from rlteach.protocols import State

NOTHING = math.log(1000.0)
"""Imitation counts one part in a thousand where its error is that of knowing nothing."""
LEAST_SHARE = 0.25


def automatic_alpha(errors: np.ndarray, spread: float) -> float:
    """Return the alpha at which a step that cannot be imitated weighs one part in a thousand.

    What cannot be imitated has the error of the 90th percentile, but at least a quarter and at most the whole of what
    an answer that ignores the observation would get: below that the expert can be imitated everywhere.

    Args:
        errors: Errors of the imitating head on a rollout.
        spread: Error of the best constant answer: the variance of the labels, or their entropy.
    """
    if not spread > 0:
        return NOTHING
    return NOTHING / float(np.clip(np.quantile(errors, 0.9), LEAST_SHARE * spread, spread))


@dataclass(kw_only=True, eq=False)
class Advisor(GuidedPPO):
    """ADVISOR: PPO and imitation, weighed at each step by how well the expert can be imitated there.

    Attributes:
        alpha: Sharpness of the weight; 0 sets it from the data after each rollout.
        smoothing: Share of the old value when alpha is set anew.
    """

    alpha: float = 0.0
    smoothing: float = 0.8

    def __post_init__(self) -> None:
        """Build it."""
        super().__post_init__()
        self.alpha_now = self.alpha

    @classmethod
    def setting_faults(cls, policy: str, kwargs: Mapping[str, Any]) -> list[str]:
        """Return a sentence for every wrong setting."""
        faults = super().setting_faults(policy, kwargs)
        if not isinstance(kwargs.get("alpha", 0), int | float) or not kwargs.get("alpha", 0) >= 0:
            faults.append(f"alpha = {kwargs['alpha']!r} must be at least 0; 0 sets it from the data")
        if not 0 <= kwargs.get("smoothing", 0) < 1:
            faults.append(f"smoothing = {kwargs['smoothing']!r} must lie in [0, 1)")
        return faults

    def _parameters(self) -> list[nn.Parameter]:
        if not hasattr(self, "imitator"):
            self.imitator = nn.Linear(self.student.feature_size, self.student.head_size).to(self.device)
            nn.init.zeros_(self.imitator.weight)
            nn.init.zeros_(self.imitator.bias)
        return [*super()._parameters(), *self.imitator.parameters()]

    def _modules(self) -> dict[str, nn.Module]:
        return {**super()._modules(), "imitator": self.imitator}

    def prepare(self, experience: Experience) -> None:
        """Set alpha from the imitating head's errors on this rollout, before it learns from it."""
        assert experience.labels is not None
        if self.alpha:
            return
        with torch.inference_mode():
            errors = np.concatenate(
                [
                    self.errors(batch).numpy()
                    for batch in self.minibatches(experience, experience.values, experience.values)
                ]
            )
        found = automatic_alpha(errors, self._spread(experience.labels))
        self.alpha_now = (
            found if self.alpha_now == 0 else self.smoothing * self.alpha_now + (1 - self.smoothing) * found
        )

    def _spread(self, labels: np.ndarray) -> float:
        if isinstance(self.action_space, spaces.Discrete):
            shares = np.bincount(labels.ravel(), minlength=self.student.head_size) / labels.size
            return float(-(shares * np.log(np.maximum(shares, 1e-12))).sum())
        return float(labels.reshape(-1, labels.shape[-1]).var(axis=0).sum())

    def errors(self, batch: Minibatch) -> torch.Tensor:
        """Return the imitating head's error of each row: squared distance, or the negative log-probability."""
        assert batch.labels is not None
        answers = self.imitator(batch.features)
        if isinstance(self.action_space, spaces.Discrete):
            return -Categorical(answers).log_prob(batch.labels)
        squared: torch.Tensor = (answers - batch.labels).square().sum(-1)
        return squared

    def policy_loss(self, batch: Minibatch, surrogate: torch.Tensor) -> torch.Tensor:
        """Weigh imitation and PPO row by row, and train the imitating head."""
        assert batch.labels is not None
        error = self.errors(batch)
        weight = torch.exp(-self.alpha_now * error.detach())
        if isinstance(self.action_space, spaces.Discrete):
            apart = -batch.said.log_prob(batch.labels)
        else:
            apart = (batch.said.mode() - batch.labels).square().sum(-1)
        return (weight * apart + (1 - weight) * surrogate).mean() + error.mean()

    def _more_state(self) -> State:
        return {"alpha_now": self.alpha_now}

    def _load_more_state(self, state: State) -> None:
        self.alpha_now = float(state["alpha_now"])
