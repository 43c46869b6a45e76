"""Guided policy optimisation: a guider that sees everything learns by reward and never runs away from its learner.

Li, Xie and Lu (ICLR 2026, arXiv 2505.15418). The guider acts and takes PPO's steps; the learner imitates it on what
they met; the guider is drawn back towards the learner, so that it does nothing that the learner could not follow.
`penalty` draws it back by a divergence whose coefficient keeps the two at a fixed distance; `clip` by clipping the
guider's ratio around the learner too, and by the divergence wherever it is outside. A share of PPO's loss goes to the
learner itself, on the guider's actions.

Equations and constants are those of the authors' code. Choices made here: guider and learner have networks of their
own (theirs share one, hidden observations being zeroed for the learner), and the guider also sees the learner's
features, without gradient, so that it can follow a learner that remembers; divergences of Gaussians carry noise of
`STD_FLOOR`, so that they stay finite; and the distance is a tenth of theirs. Small divergences add up over an episode:
a guider that leans a little to where it knows it should go tells its learner by where they are, and the learner then
goes on in whatever direction it happens to drift.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

from rlteach.distillation.actions import Categorical, Distribution, Gaussian
from rlteach.distillation.guided_ppo import Experience, GuidedPPO, Minibatch, clipped_surrogate, draw
from rlteach.distillation.kickstarting import STD_FLOOR
from rlteach.distillation.layers import Normalizer, perceptron
from rlteach.distillation.losses import kl
from rlteach.distillation.student import Student
from rlteach.protocols import State

STEP, LEAST, FIRST, MOST = 1.2, 1e-5, 0.1, 10.0
"""Factor by which the coefficient changes, and where it begins, begins anew, and ends."""
FARTHEST = 10.0
"""Largest log ratio of the learner that is exponentiated: the actions are not its own."""


def adapted(coefficient: float, apart: float, target: float) -> float:
    """Return the coefficient after a pass in which guider and learner were `apart`, where they should be `target`."""
    if coefficient < LEAST and apart > target:
        coefficient = FIRST
    if apart > target * STEP:
        coefficient *= STEP
    elif apart < target / STEP:
        coefficient /= STEP
    return min(coefficient, MOST)


def outside(guider: torch.Tensor, learner: torch.Tensor, leash: float) -> torch.Tensor:
    """Return whether the ratio of guider and learner leaves [1 - leash, 1 + leash], from log probabilities (rows,)."""
    ratio = guider - learner
    return (ratio > math.log1p(leash)) | (ratio < math.log1p(-leash))


def double_clipped(
    guider: torch.Tensor,
    learner: torch.Tensor,
    behaviour: torch.Tensor,
    advantages: torch.Tensor,
    *,
    leash: float,
    clip_range: float,
) -> torch.Tensor:
    """Return the guider's loss (rows,) with its ratio clipped around the learner first and the behaviour then.

    Args:
        guider: Log probabilities of the actions, with gradient.
        learner: The same of the learner, without.
        behaviour: The same when they were taken.
        advantages: Of the actions.
        leash: Clipping around the learner.
        clip_range: PPO's.
    """
    near = (guider - learner).clamp(math.log1p(-leash), math.log1p(leash)) + learner
    clipped = (near - behaviour).exp().clamp(1 - clip_range, 1 + clip_range)
    return -torch.minimum(advantages * (guider - behaviour).exp(), advantages * clipped)


class Guider(nn.Module):
    """A policy of everything: a perceptron on what the expert's view shows and on the learner's features.

    Args:
        seen: Values of the expert's view.
        learner: Whose features it sees, and whose kind of actions it takes.
        hidden: Widths of the hidden layers.
    """

    def __init__(self, seen: int, learner: Student, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.normalizer = Normalizer(seen, clip=10.0)
        self.normalizer.reset()
        self.body = perceptron(seen + learner.feature_size, hidden, "tanh")
        self.head = nn.Linear(hidden[-1], learner.head_size)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight, 0.01 if module is self.head else math.sqrt(2))
                nn.init.zeros_(module.bias)
        if hasattr(learner, "log_std"):
            self.log_std = nn.Parameter(learner.log_std.detach().clone(), requires_grad=learner.train_std)

    def forward(self, full: torch.Tensor, features: torch.Tensor) -> Distribution:
        """Return what it would do for views (rows, d) and features (rows, f)."""
        outputs = self.head(self.body(torch.cat([self.normalizer(full.flatten(1)), features.detach()], dim=-1)))
        return Gaussian(outputs, self.log_std.exp()) if hasattr(self, "log_std") else Categorical(outputs)


@dataclass(kw_only=True, eq=False)
class GPO(GuidedPPO):
    """Guided policy optimisation: a guider that sees everything learns by reward, its learner by imitation.

    Attributes:
        variant: `penalty` or `clip`: how the guider is drawn back.
        distance: Of `penalty`: nats per action dimension at which guider and learner are kept.
        leash: Of `clip`: how far the ratio of guider and learner may be from 1.
        share: Of `clip`: weight of the learner's own PPO loss; `penalty` takes its coefficient.
        guider_hidden: Widths of the guider's layers.
    """

    variant: Literal["penalty", "clip"] = "penalty"
    distance: float = 0.001
    leash: float = 0.3
    share: float = 2.0
    guider_hidden: tuple[int, ...] = (64, 64)

    needs_expert: ClassVar[bool] = False
    asks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Build it."""
        super().__post_init__()
        self.coefficient = 0.0
        self._apart: list[float] = []

    @classmethod
    def setting_faults(cls, policy: str, kwargs: Mapping[str, Any]) -> list[str]:
        """Return a sentence for every wrong setting."""
        faults = super().setting_faults(policy, kwargs)
        if kwargs.get("variant", "clip") not in ("penalty", "clip"):
            faults.append(f"variant = {kwargs['variant']!r} must be penalty or clip")
        if not isinstance(kwargs.get("distance", 1), int | float) or not kwargs.get("distance", 1) > 0:
            faults.append(f"distance = {kwargs['distance']!r} must be above 0")
        if not isinstance(kwargs.get("leash", 0.5), int | float) or not 0 < kwargs.get("leash", 0.5) < 1:
            faults.append(f"leash = {kwargs['leash']!r} must lie in (0, 1)")
        if not isinstance(kwargs.get("share", 0), int | float) or not kwargs.get("share", 0) >= 0:
            faults.append(f"share = {kwargs['share']!r} must be at least 0")
        if kwargs.get("critic_warm_up", 0):
            faults.append("critic_warm_up: the guider has no student to start from, so nothing waits for the critic")
        return faults + width_faults("guider_hidden", kwargs)

    def _parameters(self) -> list[nn.Parameter]:
        if not hasattr(self, "guider"):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(self.rng.integers(2**31)))
                self.guider = Guider(self.expert_view.size, self.student, tuple(self.guider_hidden)).to(self.device)
        return [*super()._parameters(), *self.guider.parameters()]

    def _modules(self) -> dict[str, nn.Module]:
        return {**super()._modules(), "guider": self.guider}

    def iterate(self, steps: int, hooks: BaseCallback) -> bool:
        """Play a rollout and learn from it."""
        if self.num_timesteps == 0:
            self.guider.normalizer.update(self._rows(self.expert_view(self._last_obs)))
        return super().iterate(steps, hooks)

    @torch.inference_mode()
    def sample(self, seen: np.ndarray, full: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the guider's sampled actions, their log densities and values; moves the learner's memory on."""
        features, memory = self.student.step(self._rows(seen), torch.from_numpy(self._memory))
        said = self.guider(self._tensor(full), features)
        actions = draw(said, self.rng)
        values = self.value_network(self._tensor(full), features)
        self._memory = memory.numpy()
        return actions.numpy(), said.log_prob(actions).numpy(), values.numpy()

    def acting(self, batch: Minibatch) -> Distribution:
        """Return the guider's distribution."""
        said: Distribution = self.guider(batch.full, batch.features)
        return said

    def update(self, experience: Experience) -> None:
        """Take the steps of guider, learner and critic."""
        super().update(experience)
        self.guider.normalizer.update(self._tensor(experience.full).flatten(2))

    def minibatches(self, experience: Experience, advantages: np.ndarray, returns: np.ndarray) -> Iterator[Minibatch]:
        """Yield every step once, and adapt the coefficient after each pass."""
        self._apart = []
        yield from super().minibatches(experience, advantages, returns)
        if self.variant == "penalty":
            self.coefficient = adapted(self.coefficient, float(np.mean(self._apart)), self.distance)

    def loss_of(self, batch: Minibatch, log_ratio: torch.Tensor) -> torch.Tensor:
        """Return the guider's and the learner's losses, and the critic's."""
        guide = self.acting(batch)
        followed = apart(frozen(guide), batch.said).mean()
        self._apart.append(float(followed.detach()))
        drawn = apart(guide, frozen(batch.said))
        own = (batch.said.log_prob(batch.actions) - batch.log_probs).clamp(max=FARTHEST)
        by_reward = clipped_surrogate(own, batch.advantages, self.clip_range).mean()
        if self.variant == "penalty":
            guided = clipped_surrogate(log_ratio, batch.advantages, self.clip_range).mean()
            back, share = self.coefficient * drawn.mean(), self.coefficient
        else:
            guider, learner = guide.log_prob(batch.actions), batch.said.log_prob(batch.actions).detach()
            limits = {"leash": self.leash, "clip_range": self.clip_range}
            guided = double_clipped(guider, learner, batch.log_probs, batch.advantages, **limits).mean()
            back, share = (drawn * outside(guider.detach(), learner, self.leash)).mean(), self.share
        error: torch.Tensor = (self.value_network(batch.full, batch.features) - batch.returns).square().mean()
        bonus = self.ent_coef * guide.entropy().mean()
        return guided + back - bonus + followed + share * by_reward + self.vf_coef * error

    def _more_state(self) -> State:
        return {"coefficient": self.coefficient}

    def _load_more_state(self, state: State) -> None:
        self.coefficient = float(state["coefficient"])


def frozen(said: Distribution) -> Distribution:
    """Return a distribution through which no gradient flows."""
    if isinstance(said, Gaussian):
        return Gaussian(said.mean.detach(), said.std.detach())
    return Categorical(said.logits.detach())


def apart(p: Distribution, q: Distribution) -> torch.Tensor:
    """Return KL(p || q) of each row, in nats per action dimension."""
    dimensions = p.mean.shape[-1] if isinstance(p, Gaussian) else 1
    return kl(p, q, std_floor=STD_FLOOR) / dimensions


def width_faults(name: str, kwargs: Mapping[str, Any]) -> list[str]:
    """Return a sentence when `name` is given and does not hold the widths of layers."""
    values = kwargs.get(name, (1,))
    right = isinstance(values, list | tuple) and len(values) > 0
    if right and all(isinstance(value, int) and value > 0 for value in values):
        return []
    return [f"{name} = {values!r} must be one or more whole numbers above 0, such as [64, 64]"]
