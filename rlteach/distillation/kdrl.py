"""KDRL: reinforcement learning with a reverse divergence from the expert, annealed, and none on what goes well.

Xu et al. (2025), written for language models, whose constants are the defaults. The divergence is estimated from the
student's own actions; k2 is the estimator whose gradient as a loss is that of the reverse KL (arXiv 2510.01555).
Masking by reward drops it where the outcome was right; here, where the advantage is above 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from rlteach.distillation.guided_ppo import Experience, GuidedPPO, Minibatch
from rlteach.distillation.kickstarting import divergence, divergence_faults
from rlteach.distillation.losses import gae


def annealed_weight(first: float, last: float, progress: float) -> float:
    """Return a weight that goes linearly from `first` to `last` while `progress` goes from 0 to 1."""
    return first + (last - first) * min(max(progress, 0.0), 1.0)


@dataclass(kw_only=True, eq=False)
class KDRL(GuidedPPO):
    """KDRL: PPO plus an annealed reverse divergence, dropped where the student does well already.

    Attributes:
        weight_from: Weight of the divergence at the beginning.
        weight_to: Weight at the end.
        divergence: `k2` by default; see `Kickstarting`.
        mask: `advantage` drops the divergence on steps with a positive advantage, `none` keeps it everywhere.
    """

    weight_from: float = 5e-3
    weight_to: float = 1e-3
    divergence: Literal["forward", "reverse", "k1", "k2", "k3"] = "k2"
    mask: Literal["advantage", "none"] = "advantage"

    @classmethod
    def setting_faults(cls, policy: str, kwargs: Mapping[str, Any]) -> list[str]:
        """Return a sentence for every wrong setting."""
        faults = [*super().setting_faults(policy, kwargs), *divergence_faults(kwargs)]
        if kwargs.get("mask", "none") not in ("advantage", "none"):
            faults.append(f"mask = {kwargs['mask']!r} must be advantage or none")
        return faults

    def prepare(self, experience: Experience) -> None:
        """Mark the steps on which the expert is listened to."""
        listened = np.ones_like(experience.values)
        if self.mask == "advantage":
            advantages, _ = gae(
                experience.rewards,
                experience.values,
                experience.last_values,
                experience.ended,
                gamma=self.gamma,
                lam=self.gae_lambda,
            )
            listened = (advantages <= 0).astype(np.float32)
        experience.extra["listened"] = listened

    def policy_loss(self, batch: Minibatch, surrogate: torch.Tensor) -> torch.Tensor:
        """Add the weighted divergence on the steps where the expert is listened to."""
        assert batch.advice is not None
        weight = annealed_weight(self.weight_from, self.weight_to, self.progress)
        apart = divergence(self.divergence, batch.advice, batch.said, batch.actions)
        return surrogate.mean() + weight * (batch.extra["listened"] * apart).mean()
