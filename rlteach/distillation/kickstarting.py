"""Kickstarting: reinforcement learning, and at first a divergence from the expert on the student's own trajectories.

Schmitt et al. (2018). Where they searched for the weight by population-based training, it falls linearly here. While it
is on, a student is pulled towards what it cannot know; how long that does harm depends on the task, so that this is
the method whose coefficient has to be tuned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from rlteach.distillation.actions import Distribution, Gaussian
from rlteach.distillation.guided_ppo import Experience, GuidedPPO, Minibatch
from rlteach.distillation.losses import k2, k3, kl
from rlteach.errors import did_you_mean

DIVERGENCES = ("forward", "reverse", "k1", "k2", "k3")
STD_FLOOR = 0.05
"""Least deviation of an expert, in units of [-1, 1]: without it the reverse divergence from a sure one explodes."""


def divergence(name: str, advice: Distribution, said: Distribution, actions: torch.Tensor) -> torch.Tensor:
    """Return for each row what, as a loss, pulls the student towards the expert.

    Args:
        name: `forward` KL(expert || student) or `reverse` KL(student || expert), both in closed form; or from the
            student's own actions `k1` (as a reward: its value times the score), `k2`, or `k3` (biased as a loss).
        advice: The expert's distribution.
        said: The student's.
        actions: What the student did, (rows, a), or numbers (rows,).
    """
    if name == "forward":
        return kl(advice, said, std_floor=STD_FLOOR)
    if name == "reverse":
        return kl(said, advice, std_floor=STD_FLOOR)
    if isinstance(advice, Gaussian):
        advice = Gaussian(advice.mean, advice.std.clamp(min=STD_FLOOR))
    log_prob = said.log_prob(actions)
    log_ratio = advice.log_prob(actions) - log_prob
    if name == "k1":
        return -log_ratio.detach() * log_prob
    return (k2 if name == "k2" else k3)(log_ratio)


def falling_weight(weight: float, progress: float, until: float) -> float:
    """Return a weight that falls linearly from `weight` to 0 when `progress` reaches `until`; 0 for no fall at all."""
    return weight if until == 0 else weight * max(0.0, 1.0 - progress / until)


@dataclass(kw_only=True, eq=False)
class Kickstarting(GuidedPPO):
    """Kickstarting: PPO plus a weighted divergence from the expert that fades out.

    Attributes:
        weight: Weight of the divergence at the beginning.
        until: Share of the training after which it is 0; 0 keeps it constant.
        divergence: `forward` KL(expert || student), `reverse` KL(student || expert), in closed form, or an estimate of
            the latter from sampled actions: `k1`, `k2`, `k3`.
    """

    weight: float = 1.0
    until: float = 0.5
    divergence: Literal["forward", "reverse", "k1", "k2", "k3"] = "forward"

    @classmethod
    def setting_faults(cls, policy: str, kwargs: Mapping[str, Any]) -> list[str]:
        """Return a sentence for every wrong setting."""
        return [*super().setting_faults(policy, kwargs), *divergence_faults(kwargs)]

    @property
    def coefficient(self) -> float:
        """Return the weight of the divergence now."""
        return falling_weight(self.weight, self.progress, self.until)

    def ask(self, experience: Experience) -> None:
        """Have the expert label every step, for as long as its advice has any weight."""
        if self.coefficient > 0:
            super().ask(experience)

    def policy_loss(self, batch: Minibatch, surrogate: torch.Tensor) -> torch.Tensor:
        """Add the weighted divergence."""
        if batch.advice is None:
            return surrogate.mean()
        weight = self.coefficient
        return surrogate.mean() + weight * divergence(self.divergence, batch.advice, batch.said, batch.actions).mean()


def divergence_faults(kwargs: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each wrong setting that has to do with a divergence and its weight."""
    faults = []
    name = kwargs.get("divergence", "forward")
    if name not in DIVERGENCES:
        faults.append(
            f"no divergence is called {name!r}.{did_you_mean(str(name), DIVERGENCES)} Known: {', '.join(DIVERGENCES)}."
        )
    for key in ("weight", "weight_from", "weight_to", "until"):
        value = kwargs.get(key, 0.0)
        if not isinstance(value, int | float) or not value >= 0:
            faults.append(f"{key} = {value!r} must be at least 0")
    return faults
