"""Asymmetric actor-critic: no expert at all, but a critic that sees everything while the student sees its own view.

Pinto et al. (2017); V(s, h) instead of V(s), which is biased under partial observability (Baisero and Amato 2022).
With `critic: student` it is reinforcement learning on the student's view alone: the row that every other one is
compared with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rlteach.distillation.guided_ppo import GuidedPPO


@dataclass(kw_only=True, eq=False)
class AsymmetricActorCritic(GuidedPPO):
    """Asymmetric actor-critic: PPO on the student's view with a critic V(s, h) that sees everything."""

    needs_expert: ClassVar[bool] = False
    asks: ClassVar[bool] = False
