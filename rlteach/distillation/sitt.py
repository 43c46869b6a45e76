"""Student-informed teacher training: a teacher that pays for doing what its student cannot tell to do.

Messikommer et al. (ICLR 2025, arXiv 2412.09149). A teacher that sees everything takes PPO's steps on the reward minus
the divergence between its actions and its student's, whose gradient it takes too; the student is aligned with it by
supervision. Both act through one head: the teacher encodes what it sees into the student's features. A teacher that
has to be imitated learns to go and look, where one trained alone would know without looking.

There, a cheap proxy stands for a student whose observations are expensive to render; here the student itself does.
Choices made here: the student also plays a share of the environments, so that it is aligned where it gets to by
itself; its alignment leaves the common head alone; divergences of Gaussians carry noise of `STD_FLOOR`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn
from torch.nn import functional as F

from rlteach.distillation.actions import Categorical, Distribution, Gaussian
from rlteach.distillation.gpo import frozen, width_faults
from rlteach.distillation.guided_ppo import Experience, GuidedPPO, Minibatch, draw
from rlteach.distillation.kickstarting import STD_FLOOR
from rlteach.distillation.layers import Normalizer, perceptron
from rlteach.distillation.losses import kl
from rlteach.distillation.paired import part_of
from rlteach.distillation.student import Student


def informed(rewards: np.ndarray, apart: np.ndarray, weight: float) -> np.ndarray:
    """Return the teacher's rewards (t, n): those of the task, minus the weighted divergence from its student."""
    return rewards - weight * apart


class Encoder(nn.Module):
    """What the expert's view shows, as features that the student's head understands.

    Args:
        seen: Values of the expert's view.
        features: Width of the student's features.
        hidden: Widths of the layers before them.
    """

    def __init__(self, seen: int, features: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.normalizer = Normalizer(seen, clip=10.0)
        self.normalizer.reset()
        self.body = perceptron(seen, (*hidden, features), "tanh")
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight, math.sqrt(2))
                nn.init.zeros_(module.bias)

    def forward(self, full: torch.Tensor) -> torch.Tensor:
        """Return features (rows, f) of views (rows, d)."""
        features: torch.Tensor = self.body(self.normalizer(full.flatten(1)))
        return features


@dataclass(kw_only=True, eq=False)
class StudentInformedTeacher(GuidedPPO):
    """Student-informed teacher: PPO on everything, minus what the student cannot follow, and a student that follows.

    Attributes:
        weight: Of the divergence in the teacher's reward and loss; too little, and it does not mind not being followed.
        share: Share of the environments in which the student plays.
        teacher_hidden: Widths of the teacher's layers before the features.
    """

    weight: float = 0.5
    share: float = 0.5
    teacher_hidden: tuple[int, ...] = (64,)

    needs_expert: ClassVar[bool] = False
    asks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Build it."""
        super().__post_init__()
        n = self.env.num_envs
        played = min(round(self.share * n), n - 1)
        self.teaches = np.ones(n, dtype=bool)
        self.teaches[np.linspace(0, n - 1, played).round().astype(int)] = False
        self._apart: list[np.ndarray] = []

    @classmethod
    def setting_faults(cls, policy: str, kwargs: Mapping[str, Any]) -> list[str]:
        """Return a sentence for every wrong setting."""
        faults = super().setting_faults(policy, kwargs)
        if not isinstance(kwargs.get("weight", 0), int | float) or not kwargs.get("weight", 0) >= 0:
            faults.append(f"weight = {kwargs['weight']!r} must be at least 0")
        if not isinstance(kwargs.get("share", 0), int | float) or not 0 <= kwargs.get("share", 0) < 1:
            faults.append(f"share = {kwargs['share']!r} must lie in [0, 1)")
        if kwargs.get("critic_warm_up", 0):
            faults.append("critic_warm_up: the teacher has no student to start from, so nothing waits for the critic")
        return faults + width_faults("teacher_hidden", kwargs)

    def _parameters(self) -> list[nn.Parameter]:
        if not hasattr(self, "encoder"):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(self.rng.integers(2**31)))
                widths = tuple(self.teacher_hidden)
                self.encoder = Encoder(self.expert_view.size, self.student.feature_size, widths).to(self.device)
        return [*super()._parameters(), *self.encoder.parameters()]

    def _modules(self) -> dict[str, nn.Module]:
        return {**super()._modules(), "encoder": self.encoder}

    # -- playing ---------------------------------------------------------------------------------------------------

    def collect(self, steps: int, hooks: BaseCallback) -> tuple[Experience, bool]:
        """Play `steps` steps, the student in its share of the environments."""
        if self.num_timesteps == 0:
            self.encoder.normalizer.update(self._rows(self.expert_view(self._last_obs)))
        self._apart = []
        experience, going = super().collect(steps, hooks)
        experience.rewards = informed(experience.rewards, np.stack(self._apart), self.weight)
        return experience, going

    @torch.inference_mode()
    def sample(self, seen: np.ndarray, full: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return sampled actions of whoever acts in each environment, their log densities and values."""
        features, memory = self.student.step(self._rows(seen), torch.from_numpy(self._memory))
        student = self.student.distribution(features)
        teacher = self.student.distribution(self.encoder(self._tensor(full)))
        self._apart.append(kl(teacher, student, std_floor=STD_FLOOR).numpy())
        taught, own = draw(teacher, self.rng), draw(student, self.rng)
        turn = torch.from_numpy(self.teaches)
        actions = torch.where(turn.reshape(-1, *(1,) * (taught.ndim - 1)), taught, own)
        log_probs = torch.where(turn, teacher.log_prob(actions), student.log_prob(actions))
        values = self.value_network(self._tensor(full), features)
        self._memory = memory.numpy()
        return actions.numpy(), log_probs.numpy(), values.numpy()

    # -- learning --------------------------------------------------------------------------------------------------

    def acting(self, batch: Minibatch) -> Distribution:
        """Return the teacher's distribution."""
        return self.student.distribution(self.encoder(batch.full))

    def update(self, experience: Experience) -> None:
        """Take PPO's steps with what the teacher did, and align the student there and where it got to by itself."""
        super().update(part_of(experience, self.teaches))
        if not self.teaches.all():
            own = part_of(experience, ~self.teaches)
            for _ in range(self.epochs):
                for batch in self.minibatches(own, own.values, own.values):
                    self.descend(self.misalignment(batch, self.acting(batch)))
        self.encoder.normalizer.update(self._tensor(experience.full).flatten(2))

    def loss_of(self, batch: Minibatch, log_ratio: torch.Tensor) -> torch.Tensor:
        """Return the teacher's loss, the critic's, and how far the student is from the teacher."""
        teacher = self.acting(batch)
        drawn = self.weight * kl(teacher, frozen(batch.said), std_floor=STD_FLOOR).mean()
        own = Minibatch(**{**vars(batch), "said": teacher})
        return super().loss_of(own, log_ratio) + drawn + self.misalignment(batch, teacher)

    def misalignment(self, batch: Minibatch, teacher: Distribution) -> torch.Tensor:
        """Return KL(teacher || student), the gradient of which reaches the student's features alone."""
        said = by_fixed_head(self.student, batch.features)
        return kl(frozen(teacher), said, std_floor=STD_FLOOR).mean()


def by_fixed_head(student: Student, features: torch.Tensor) -> Distribution:
    """Return a student's distribution for features (rows, f), its head and deviation without gradients."""
    outputs = F.linear(features, student.head.weight.detach(), student.head.bias.detach())
    if hasattr(student, "log_std"):
        return Gaussian(outputs, student.log_std.detach().exp())
    return Categorical(outputs)
