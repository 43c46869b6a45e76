"""ADVISOR: imitate where the expert can be imitated, explore where it cannot, and find out which by trying.

Weihs et al. (2021). A head that only imitates tells how well the expert's action follows from what the student sees:
its error is small where it does and large where the expert knows more. Each step weighs imitation with
w = exp(-alpha error) and PPO with 1 - w. There, alpha was searched for by hand, task by task, and decides between the
best and the worst of results. Here one alpha serves all tasks, for three reasons:

* Errors count in units of what an answer that ignores the observation would get, for each part of the action by itself;
  the part that can least be imitated decides.
* A single error is an accident: where half of the expert's answers are left and half are right, an answer that leans to
  the left would be thought good wherever the expert goes left, and be learned. So a second head tells which error is to
  be expected, from the same features, and this is what weighs.
* Where rewards say nothing yet, Adam turns the smallest steady pull into a drift away from where they would. So what
  cannot be imitated weighs 1e-7, not one part in some thousands.

The critic is the student's by default, as in the paper: one that knows what the student cannot know takes the noise out
of the advantages that finds the way to where things can be seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from rlteach.distillation.actions import Categorical
from rlteach.distillation.guided_ppo import Experience, GuidedPPO, Minibatch
from rlteach.distillation.layers import perceptron
from rlteach.protocols import State

HOPELESS = math.log(1e7)
"""Imitation weighs 1e-7 where the expert's action cannot be told from the observation at all."""
SMOOTHING = 0.8
"""Share of the old spread of the labels when a rollout brings a new one."""
LEAST_SPREAD = 0.01
"""A part of the action that hardly ever moves (by a tenth of its half range) has errors of no importance."""
DOUBT_WIDTH = 64


def imitation_weight(doubt: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return exp(-alpha d) (rows,) of expected errors (rows, parts of the action), d the largest, at least 0."""
    return torch.exp(-alpha * doubt.amax(-1).clamp(min=0.0))


def spread_of(labels: np.ndarray, choices: int) -> np.ndarray:
    """Return the error of the best answer that ignores the observation: the labels' variances, or their entropy.

    Args:
        labels: (rows, parts) numbers, or (rows,) choices.
        choices: Number of choices; 0 for numbers.
    """
    if not choices:
        return np.asarray(labels.var(axis=0))
    shares = np.bincount(labels, minlength=choices) / len(labels)
    return np.array([-(shares * np.log(np.maximum(shares, 1e-12))).sum()])


@dataclass(kw_only=True, eq=False)
class Advisor(GuidedPPO):
    """ADVISOR: PPO and imitation, weighed at each step by how well the expert can be imitated there.

    Attributes:
        alpha: Sharpness of the weight exp(-alpha d), d the expected error as a share of the labels' spread.
        critic: See `GuidedPPO`.
    """

    alpha: float = HOPELESS
    critic: Literal["privileged", "student"] = "student"

    def __post_init__(self) -> None:
        """Build it."""
        super().__post_init__()
        self._choices = self.student.head_size if isinstance(self.action_space, spaces.Discrete) else 0
        self.spread: np.ndarray | None = None

    @classmethod
    def setting_faults(cls, policy: str, kwargs: Mapping[str, Any]) -> list[str]:
        """Return a sentence for every wrong setting."""
        faults = super().setting_faults(policy, kwargs)
        if not isinstance(kwargs.get("alpha", 0), int | float) or not kwargs.get("alpha", 0) >= 0:
            faults.append(f"alpha = {kwargs['alpha']!r} must be at least 0")
        return faults

    def _parameters(self) -> list[nn.Parameter]:
        if not hasattr(self, "imitator"):
            self.imitator = nn.Linear(self.student.feature_size, self.student.head_size).to(self.device)
            parts = 1 if isinstance(self.action_space, spaces.Discrete) else self.student.head_size
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(self.rng.integers(2**31)))
                body, head = (
                    perceptron(self.student.feature_size, (DOUBT_WIDTH,), "tanh"),
                    nn.Linear(DOUBT_WIDTH, parts),
                )
            self.doubt = nn.Sequential(body, head).to(self.device)
            for layer, bias in ((self.imitator, 0.0), (head, 1.0)):  # at first nothing can be imitated
                nn.init.zeros_(layer.weight)
                nn.init.constant_(layer.bias, bias)
        return [*super()._parameters(), *self.imitator.parameters(), *self.doubt.parameters()]

    def _modules(self) -> dict[str, nn.Module]:
        return {**super()._modules(), "imitator": self.imitator, "doubt": self.doubt}

    def prepare(self, experience: Experience) -> None:
        """Bring the spread of the labels up to date."""
        assert experience.labels is not None
        labels = experience.labels.ravel() if self._choices else experience.labels.reshape(-1, self.student.head_size)
        found = np.maximum(spread_of(labels, self._choices), LEAST_SPREAD)
        self.spread = found if self.spread is None else SMOOTHING * self.spread + (1 - SMOOTHING) * found

    def errors(self, batch: Minibatch) -> torch.Tensor:
        """Return the imitating head's errors (rows, parts): squared distances, or the negative log-probability."""
        assert batch.labels is not None
        answers = self.imitator(batch.features)
        if self._choices:
            surprise: torch.Tensor = -Categorical(answers).log_prob(batch.labels).unsqueeze(-1)
            return surprise
        squared: torch.Tensor = (answers - batch.labels).square()
        return squared

    def policy_loss(self, batch: Minibatch, surrogate: torch.Tensor) -> torch.Tensor:
        """Weigh imitation and PPO row by row, and train the two heads."""
        assert batch.labels is not None and self.spread is not None
        error = self.errors(batch)
        expected = self.doubt(batch.features.detach())
        share = error.detach() / self._tensor(self.spread.astype(np.float32))
        weight = imitation_weight(expected.detach(), self.alpha)
        if self._choices:
            apart = -batch.said.log_prob(batch.labels)
        else:
            apart = (batch.said.mode() - batch.labels).square().sum(-1)
        guided = (weight * apart + (1 - weight) * surrogate).mean()
        loss: torch.Tensor = guided + error.sum(-1).mean() + (expected - share).square().sum(-1).mean()
        return loss

    def _more_state(self) -> State:
        return {"spread": None if self.spread is None else self.spread.copy()}

    def _load_more_state(self, state: State) -> None:
        self.spread = None if state["spread"] is None else np.array(state["spread"])
