"""PPO for students of any architecture, with a critic that may see everything, and room for an expert's advice.

Schulman et al. (2017), with generalised advantages, as in Stable-Baselines3; what differs is what users of privileged
information need: the policy has explicit memory and is updated on stretches that carry it along, the critic is V(s, h)
of the expert's view s and the student's features h (V(s) alone is biased where s does not tell what the student
remembers: Baisero and Amato 2022), and a method adds its own term to the loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

from rlteach.distillation.actions import Categorical, Distribution, Gaussian
from rlteach.distillation.base import ALIASES, Distiller
from rlteach.distillation.experts import check_labels, read_student
from rlteach.distillation.labelled import flat, index_batches
from rlteach.distillation.layers import Normalizer, perceptron
from rlteach.distillation.losses import gae
from rlteach.distillation.student import Student
from rlteach.errors import InvalidValue
from rlteach.observations import first_row


@dataclass
class Experience:
    """One rollout, all arrays (t, n, ...).

    Attributes:
        seen: What the student saw.
        states: Its memory before each step, None where it is computed from its weights.
        starts: Whether an episode begins with this step.
        full: What the expert's view showed.
        actions: Sampled actions, normalised and unclipped, or action numbers.
        log_probs: Their log densities when they were sampled.
        values: The critic's estimates.
        rewards: Rewards, the value of a truncated episode's last state added.
        raw_rewards: Rewards as the environments gave them.
        ended: Whether the episode ended with this step.
        last_values: (n,) estimates after the last step.
        memory: (n, k) the student's memory before the first step.
        labels: The expert's actions, normalised or numbers; None when nobody asked.
        advice: The expert's distribution, of (t * n) rows; None when nobody asked.
        extra: Whatever else a method keeps for each step.
    """

    seen: np.ndarray
    states: np.ndarray | None
    starts: np.ndarray
    full: np.ndarray
    actions: np.ndarray
    log_probs: np.ndarray
    values: np.ndarray
    rewards: np.ndarray
    raw_rewards: np.ndarray
    ended: np.ndarray
    last_values: np.ndarray
    memory: np.ndarray
    labels: np.ndarray | None = None
    advice: Distribution | None = None
    extra: dict[str, np.ndarray] = dataclass_field(default_factory=dict)


@dataclass
class Minibatch:
    """What a loss sees, all tensors with rows first.

    Attributes:
        features: The student's features, with gradients.
        said: The student's distribution, with gradients.
        full: What the expert's view showed.
        actions: Actions that were taken.
        log_probs: Their log densities at that time.
        advantages: Normalised over the minibatch.
        returns: Targets of the critic.
        labels: The expert's actions, or None.
        advice: The expert's distribution, or None.
        extra: What the method added to the experience.
    """

    features: torch.Tensor
    said: Distribution
    full: torch.Tensor
    actions: torch.Tensor
    log_probs: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor
    labels: torch.Tensor | None
    advice: Distribution | None
    extra: dict[str, torch.Tensor]


class Critic(nn.Module):
    """V(s, h): a perceptron on what the expert sees and on the student's features, which get no gradient from it.

    Args:
        seen: Values of the expert's view; 0 for a critic that only has the features.
        features: Width of the student's features.
        hidden: Widths of the hidden layers.
    """

    def __init__(self, seen: int, features: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.normalizer = Normalizer(max(seen, 1), clip=10.0)
        self.normalizer.reset()
        self.seen = seen
        self.body = perceptron(seen + features, hidden, "tanh")
        self.head = nn.Linear(hidden[-1], 1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight, 2**0.5 if module is not self.head else 1.0)
                nn.init.zeros_(module.bias)

    def forward(self, full: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Return values (rows,) for views (rows, d) and features (rows, f)."""
        parts = [features.detach()] if self.seen == 0 else [self.normalizer(full), features.detach()]
        values: torch.Tensor = self.head(self.body(torch.cat(parts, dim=-1))).squeeze(-1)
        return values


@dataclass(kw_only=True, eq=False)
class GuidedPPO(Distiller):
    """Base of the methods that join reinforcement learning and an expert's advice.

    Attributes:
        n_steps: Steps of each environment in a rollout.
        batch_size: Steps of a minibatch; students with recurrent memory take whole rows of the rollout.
        epochs: Passes over a rollout.
        gamma: Discount.
        gae_lambda: Lambda of the generalised advantages.
        clip_range: Clipping of PPO's ratio.
        ent_coef: Weight of the entropy bonus.
        vf_coef: Weight of the critic's loss.
        target_kl: No more passes once the policy has moved 1.5 times this far, in nats; 0 for no limit.
        critic: Whether the critic sees the expert's view too (`privileged`) or the student's features only (`student`).
        critic_hidden: Widths of its layers.
        start: Run directory of a distillation whose student goes on here, its normaliser as it is.
        critic_warm_up: Environment steps in which only the critic learns.
    """

    n_steps: int = 128
    batch_size: int = 1024
    epochs: int = 6
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    target_kl: float = 0.0
    max_grad_norm: float = 0.5
    critic: Literal["privileged", "student"] = "privileged"
    critic_hidden: tuple[int, ...] = (64, 64)
    start: str = ""
    critic_warm_up: int = 0

    scales_rewards: ClassVar[bool] = True
    asks: ClassVar[bool] = True
    """Whether the expert labels every rollout."""

    @classmethod
    def setting_faults(cls, policy: str, kwargs: Mapping[str, Any]) -> list[str]:
        """Return a sentence for every wrong setting."""
        faults = super().setting_faults(policy, kwargs)
        for name in ("gamma", "gae_lambda", "clip_range"):
            value = kwargs.get(name, 0.5)
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                faults.append(f"{name} = {value!r} must lie in [0, 1]")
        for name in ("ent_coef", "vf_coef", "target_kl", "critic_warm_up"):
            value = kwargs.get(name, 0.0)
            if not isinstance(value, int | float) or not value >= 0:
                faults.append(f"{name} = {value!r} must be at least 0")
        if kwargs.get("critic", "student") not in ("privileged", "student"):
            faults.append(f"critic = {kwargs['critic']!r} must be privileged or student")
        return faults

    def _new_student(self) -> Student:
        if not self.start:
            return super()._new_student()
        student, self.student_view, described = read_student(self.start, self.env)
        if student.architecture != ALIASES.get(self.policy, self.policy):
            raise InvalidValue(f"the student in {self.start} is a {student.architecture}, not a {self.policy}")
        self.normalize_observations = False  # what it learned, it learned under the scale that it has
        self._steps_before = int(described["steps"])
        return student.to(self.device)

    def budget(self) -> dict[str, float]:
        """Return what was used besides the student's own steps."""
        spent = super().budget()
        return {**spent, "steps_expert": spent["steps_expert"] + getattr(self, "_steps_before", 0)}

    def _parameters(self) -> list[nn.Parameter]:
        if not hasattr(self, "value_network"):
            self.value_network = self.new_critic()
        return [*self.student.parameters(), *self.value_network.parameters()]

    def new_critic(self) -> Critic:
        """Return an untrained critic."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self.rng.integers(2**31)))
            seen = self.expert_view.size if self.critic == "privileged" else 0
            return Critic(seen, self.student.feature_size, tuple(self.critic_hidden)).to(self.device)

    def _modules(self) -> dict[str, nn.Module]:
        return {**super()._modules(), "critic": self.value_network}

    # -- one iteration ---------------------------------------------------------------------------------------------

    def iterate(self, steps: int, hooks: BaseCallback) -> bool:
        """Play a rollout and learn from it."""
        experience, going = self.collect(steps, hooks)
        hooks.on_rollout_end()
        if self.asks and self.teacher is not None:
            self.ask(experience)
        self.prepare(experience)
        self.update(experience)
        if self.normalize_observations:  # after the update: the ratio needs the scale that actions were sampled under
            self.student.update_normalizer(experience.seen.reshape(-1, self.student.observation_size))
        self.value_network.normalizer.update(self._tensor(experience.full).reshape(-1, experience.full.shape[-1]))
        return going

    def collect(self, steps: int, hooks: BaseCallback) -> tuple[Experience, bool]:
        """Play `steps` steps with the sampling student."""
        before = self._memory.copy()
        if self.normalize_observations and self.num_timesteps == 0:  # a first guess, before the first rollout
            self.student.update_normalizer(self.student_view(self._last_obs))
        played: dict[str, list[np.ndarray]] = {name: [] for name in STEP_FIELDS}
        going = True
        while going and len(played["seen"]) < steps:
            self.begin_memory()
            played["states"].append(self._memory)
            played["starts"].append(self._last_episode_starts)
            seen, full = self.student_view(self._last_obs), self.expert_view(self._last_obs)
            actions, log_probs, values = self.sample(seen, full)
            going, rewards, infos = self.step_envs(self.student.actions.to_env(actions), hooks)  # type: ignore[union-attr]
            bootstrapped = self._with_truncated(rewards, infos)
            raw = self.raw_rewards(rewards)
            step = (seen, full, actions, log_probs, values, bootstrapped, raw, self._last_episode_starts)
            for name, value in zip(STEP_FIELDS[2:], step, strict=True):
                played[name].append(value)
        self.begin_memory()
        arrays: dict[str, Any] = {name: np.stack(values) for name, values in played.items()}
        if not (self.student.state_is_data and self.student.state_size):
            arrays["states"] = None
        last = self.values_of(
            self.student_view(self._last_obs), self.expert_view(self._last_obs), np.arange(self.env.num_envs)
        )
        return Experience(**arrays, last_values=last, memory=before), going

    def raw_rewards(self, rewards: np.ndarray) -> np.ndarray:
        """Return the rewards of the step just taken as the environments gave them."""
        normalizer = self.get_vec_normalize_env()
        return rewards if normalizer is None else np.asarray(normalizer.get_original_reward())

    @torch.inference_mode()
    def sample(self, seen: np.ndarray, full: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return sampled actions, their log densities and values; moves the memory on."""
        features, memory = self.student.step(self._rows(seen), torch.from_numpy(self._memory))
        said = self.student.distribution(features)
        actions = draw(said, self.rng)
        values = self.value_network(self._tensor(full), features)
        self._memory = memory.numpy()
        return actions.numpy(), said.log_prob(actions).numpy(), values.numpy()

    @torch.inference_mode()
    def values_of(self, seen: np.ndarray, full: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the values of what the environments `rows` show, their memory as it is."""
        features, _ = self.student.step(self._rows(seen), torch.from_numpy(self._memory[rows]))
        values: np.ndarray = self.value_network(self._tensor(full), features).numpy()
        return values

    def _with_truncated(self, rewards: np.ndarray, infos: list[dict[str, Any]]) -> np.ndarray:
        """Add the discounted value of the last state to the reward of episodes that were cut off."""
        cut = [i for i in np.flatnonzero(self._last_episode_starts) if infos[i].get("TimeLimit.truncated", False)]
        if not cut:
            return rewards
        seen, full = (
            np.stack([first_row(view, infos[i]["terminal_observation"]) for i in cut])
            for view in (self.student_view, self.expert_view)
        )
        rewards = rewards.copy()
        rewards[cut] += self.gamma * self.values_of(seen, full, np.array(cut))
        return rewards

    def ask(self, experience: Experience) -> None:
        """Have the expert label every step, and say how sure it is where it can."""
        assert self.teacher is not None
        labels = self.labels_of(experience)
        experience.labels = self.unit_labels(labels).reshape(experience.actions.shape)
        if not self.teacher.recurrent:
            experience.advice = self.teacher.distribution(flat(experience.full))
        if experience.advice is None and isinstance(self.action_space, spaces.Box):
            mean = self._tensor(flat(experience.labels))
            experience.advice = Gaussian(mean, torch.full_like(mean, SURE))
        elif experience.advice is None:
            chosen = nn.functional.one_hot(self._tensor(flat(experience.labels)), self.student.head_size)
            experience.advice = Categorical((chosen * (1 - SURE) + SURE / self.student.head_size).log())

    def labels_of(self, experience: Experience) -> np.ndarray:
        """Return the expert's actions for every step, (t * n, ...), its memory carried along."""
        assert self.teacher is not None
        rows = flat(experience.full)
        if not self.teacher.recurrent:
            return self._counted(np.asarray(self.teacher.label(rows)[0]), len(rows))
        labels = []
        for full, starts in zip(experience.full, experience.starts, strict=True):
            actions, self._expert_state = self.teacher.label(full, self._expert_state, starts)
            check_labels(np.asarray(actions), len(full), self.action_space)
            labels.append(actions)
        self.labels += experience.starts.size
        return np.concatenate(labels)

    def prepare(self, experience: Experience) -> None:
        """Do what a method has to do between a rollout and its updates."""

    # -- learning --------------------------------------------------------------------------------------------------

    def update(self, experience: Experience) -> None:
        """Take PPO's steps on a rollout."""
        advantages, returns = gae(
            experience.rewards,
            experience.values,
            experience.last_values,
            experience.ended,
            gamma=self.gamma,
            lam=self.gae_lambda,
        )
        for _ in range(self.epochs):
            for batch in self.minibatches(experience, advantages, returns):
                log_ratio = self.acting(batch).log_prob(batch.actions) - batch.log_probs
                if self.target_kl and float((log_ratio.exp() - 1 - log_ratio).mean()) > 1.5 * self.target_kl:
                    return
                self.descend(self.loss_of(batch, log_ratio))

    def acting(self, batch: Minibatch) -> Distribution:
        """Return the distribution, with gradients, of whoever acted: what PPO's ratio is about."""
        return batch.said

    def loss_of(self, batch: Minibatch, log_ratio: torch.Tensor) -> torch.Tensor:
        """Return what is minimised on a minibatch; the critic's part alone while it warms up."""
        error: torch.Tensor = (self.value_network(batch.full, batch.features) - batch.returns).square().mean()
        if self.num_timesteps <= self.critic_warm_up:
            return self.vf_coef * error
        surrogate = clipped_surrogate(log_ratio, batch.advantages, self.clip_range)
        surrogate = surrogate - self.ent_coef * batch.said.entropy()
        return self.policy_loss(batch, surrogate) + self.vf_coef * error

    def policy_loss(self, batch: Minibatch, surrogate: torch.Tensor) -> torch.Tensor:
        """Return the policy's loss; `surrogate` (rows,) is PPO's for each row, the entropy bonus in it."""
        return surrogate.mean()

    def minibatches(self, experience: Experience, advantages: np.ndarray, returns: np.ndarray) -> Iterator[Minibatch]:
        """Yield every step of a rollout once, in random order."""
        steps, rows = experience.starts.shape
        by_row = not self.student.state_is_data
        count, size = (rows, max(1, self.batch_size // steps)) if by_row else (steps * rows, self.batch_size)
        for indices in index_batches(count, size, self.rng):
            if by_row:
                chosen = (np.arange(steps)[:, None] * rows + indices).ravel()
                features = self._stretch(experience, indices).flatten(0, 1)
            else:
                chosen = indices
                features = self._steps(experience, indices)
            yield self._minibatch(experience, advantages, returns, chosen, features)

    def _stretch(self, experience: Experience, rows: np.ndarray) -> torch.Tensor:
        seen, starts, memory = experience.seen[:, rows], experience.starts[:, rows], experience.memory[rows]
        wide = seen.reshape(*seen.shape[:2], -1)
        return self.student.sequence(self._tensor(wide), self._tensor(starts), self._tensor(memory))[0]

    def _steps(self, experience: Experience, indices: np.ndarray) -> torch.Tensor:
        seen = self._rows(flat(experience.seen)[indices])
        if experience.states is None:
            state = seen.new_zeros((len(indices), 0))
        else:
            state = self._tensor(flat(experience.states)[indices])
        features: torch.Tensor = self.student.step(seen, state)[0]
        return features

    def _minibatch(
        self,
        experience: Experience,
        advantages: np.ndarray,
        returns: np.ndarray,
        chosen: np.ndarray,
        features: torch.Tensor,
    ) -> Minibatch:
        def take(values: np.ndarray) -> torch.Tensor:
            return self._tensor(flat(values)[chosen])

        gain = take(advantages)
        if len(gain) > 1:
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)
        return Minibatch(
            features=features,
            said=self.student.distribution(features),
            full=take(experience.full),
            actions=take(experience.actions),
            log_probs=take(experience.log_probs),
            advantages=gain,
            returns=take(returns),
            labels=None if experience.labels is None else take(experience.labels),
            advice=None if experience.advice is None else rows_of(experience.advice, torch.from_numpy(chosen)),
            extra={name: take(values) for name, values in experience.extra.items()},
        )

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def _rows(self, seen: np.ndarray) -> torch.Tensor:
        return self._tensor(seen.reshape(len(seen), -1))


STEP_FIELDS = (
    "states",
    "starts",
    "seen",
    "full",
    "actions",
    "log_probs",
    "values",
    "rewards",
    "raw_rewards",
    "ended",
)
SURE = 0.1
"""Deviation (or share of other actions) ascribed to an expert that only says what it would do."""


def clipped_surrogate(log_ratio: torch.Tensor, advantages: torch.Tensor, clip_range: float) -> torch.Tensor:
    """Return PPO's loss of each row."""
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return -torch.minimum(advantages * ratio, advantages * clipped)


def draw(said: Distribution, rng: np.random.Generator) -> torch.Tensor:
    """Return actions drawn from a distribution, normalised ones or numbers."""
    if isinstance(said, Gaussian):
        return said.mean + said.std * torch.from_numpy(rng.standard_normal(said.mean.shape, dtype=np.float32))
    return (said.logits + torch.from_numpy(rng.gumbel(size=said.logits.shape))).argmax(-1)


def rows_of(said: Distribution, rows: torch.Tensor) -> Distribution:
    """Return some rows of a distribution."""
    if isinstance(said, Gaussian):
        return Gaussian(said.mean[rows], said.std.expand_as(said.mean)[rows])
    return Categorical(said.logits[rows])
