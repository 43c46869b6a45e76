"""Rapid motor adaptation: act on what matters of the hidden world, and learn to recall it from what was seen.

Kumar et al. (2021). Phase one trains a policy pi(o, z) by PPO, with z = enc(e) of what is hidden from the student.
Phase two freezes it and trains an adapter phi(history) to give z, on what happens while the student acts on its own
guess. That guess and that policy are the student: one network, `Adapter`, which evaluations judge from the beginning.
Until phase two its guess is 0, so that the curve rises only then.

One-stage form (Margolis and Agrawal 2022, "Walk these ways"): PPO on pi(o, phi(history)) from the start, its gradient
reaching the adapter, which also learns, by an optimiser of its own, to regress on e.

Choices made here: e is what the expert's view shows beyond the student's; the adapter is any student's body instead of
a convolution over fifty steps; phase two learns from all of its rollouts and not the last alone.
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

from rlteach.distillation.adapter import Adapter
from rlteach.distillation.base import ALIASES
from rlteach.distillation.gpo import width_faults
from rlteach.distillation.guided_ppo import Experience, GuidedPPO, Minibatch, draw
from rlteach.distillation.labelled import Labelled, Rollout, index_batches
from rlteach.distillation.layers import Normalizer, perceptron
from rlteach.distillation.losses import action_mse
from rlteach.distillation.students import make_student
from rlteach.errors import InvalidValue
from rlteach.observations import View
from rlteach.protocols import State


class HiddenWorld(nn.Module):
    """z = enc(e): what is hidden from the student, normalised, and encoded unless `hidden` is None.

    Args:
        size: Values of e.
        latent: Values of z.
        hidden: Widths of the layers between them; None for z = e.
    """

    def __init__(self, size: int, latent: int, hidden: tuple[int, ...] | None) -> None:
        super().__init__()
        self.normalizer = Normalizer(size, clip=10.0)
        self.normalizer.reset()
        self.body: nn.Module = nn.Identity()
        if hidden is not None:
            self.body = nn.Sequential(perceptron(size, hidden, "tanh"), nn.Linear(hidden[-1], latent))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight, math.sqrt(2) if module.out_features != latent else 1.0)
                nn.init.zeros_(module.bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return z (rows, latent) of e (rows, size)."""
        latents: torch.Tensor = self.body(self.normalizer(hidden))
        return latents


def hidden_columns(student: View, expert: View) -> np.ndarray:
    """Return the columns of the expert's view that the student's does not show.

    Raises:
        InvalidValue: When there are none.
    """
    shown = set(student.columns)
    columns = [place for place, column in enumerate(expert.columns) if column not in shown]
    if not columns:
        raise InvalidValue(
            f"nothing is hidden from the student that the expert's view ({', '.join(expert.groups)}) would show, and "
            "so there is nothing to adapt to"
        )
    return np.array(columns)


@dataclass(kw_only=True, eq=False)
class RMA(GuidedPPO):
    """Rapid motor adaptation: a policy of the observation and a latent, and an adapter that recalls the latent.

    Attributes:
        stage: `two_phase` as Kumar et al., or `one_stage`, policy and adapter together.
        phase_one: Of `two_phase`: share of the steps after which the policy is frozen and the adapter trained.
        latent: Of `two_phase`: values of z.
        encoder_hidden: Of `two_phase`: widths of the encoder's layers.
        policy_hidden: Widths of the policy's layers.
        adapter_learning_rate: Of the adapter's Adam.
        adapter_batch_size: Of phase two: steps of a minibatch, about; 0 is 256, and 1600 for recurrent adapters.
        adapter_epochs: Of phase two: passes over all of its rollouts after each.
        capacity: Of phase two: steps that are kept.
    """

    stage: Literal["two_phase", "one_stage"] = "two_phase"
    phase_one: float = 0.8
    latent: int = 8
    encoder_hidden: tuple[int, ...] = (64,)
    policy_hidden: tuple[int, ...] = (64, 64)
    adapter_learning_rate: float = 1e-3
    adapter_batch_size: int = 0
    adapter_epochs: int = 4
    capacity: int = 1_000_000

    needs_expert: ClassVar[bool] = False
    asks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Build it."""
        super().__post_init__()
        self.adapter_optimizer = torch.optim.Adam(self.adapter.adapter_parameters(), lr=self.adapter_learning_rate)
        self.adapting = False
        self.data = Labelled(self.capacity)

    @classmethod
    def setting_faults(cls, policy: str, kwargs: Mapping[str, Any]) -> list[str]:
        """Return a sentence for every wrong setting."""
        faults = super().setting_faults(policy, kwargs)
        if ALIASES.get(policy, policy) == "cnn":
            faults.append("policy = 'cnn': the policy sees a flat observation beside the latent, and no image")
        if kwargs.get("stage", "one_stage") not in ("two_phase", "one_stage"):
            faults.append(f"stage = {kwargs['stage']!r} must be two_phase or one_stage")
        if not isinstance(kwargs.get("phase_one", 0.5), int | float) or not 0 < kwargs.get("phase_one", 0.5) < 1:
            faults.append(f"phase_one = {kwargs['phase_one']!r} must lie in (0, 1)")
        for name, least in {"latent": 1, "adapter_batch_size": 0, "adapter_epochs": 1, "capacity": 1}.items():
            if not isinstance(kwargs.get(name, least), int) or kwargs.get(name, least) < least:
                faults.append(f"{name} = {kwargs[name]!r} must be a whole number of at least {least}")
        rate = kwargs.get("adapter_learning_rate", 1.0)
        if not isinstance(rate, int | float) or not rate > 0:
            faults.append(f"adapter_learning_rate = {rate!r} must be above 0")
        if kwargs.get("start"):
            faults.append("start: a student of rma begins anew, since its latent belongs to an encoder that does")
        return faults + width_faults("encoder_hidden", kwargs) + width_faults("policy_hidden", kwargs)

    def _new_student(self) -> Adapter:
        self.columns = hidden_columns(self.student_view, self.expert_view)
        name, kwargs = ALIASES.get(self.policy, self.policy), dict(self.policy_kwargs)
        if name != Adapter.architecture:  # what `save` wrote says everything itself
            shared: dict[str, Any] = {key: kwargs[key] for key in ("std", "train_std", "clip", "seed") if key in kwargs}
            latent = self.latent if self.stage == "two_phase" else len(self.columns)
            own: dict[str, Any] = {"latent": latent, "hidden": self.policy_hidden}
            kwargs = {"body": name, "body_kwargs": kwargs, **own, **shared}
        kwargs = {"seed": int(self.rng.integers(2**31)), **kwargs}
        student = make_student(Adapter.architecture, self.student_view.space, self.action_space, **kwargs)
        assert isinstance(student, Adapter)
        return student.to(self.device)

    def _parameters(self) -> list[nn.Parameter]:
        if not hasattr(self, "world"):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(self.rng.integers(2**31)))
                between = tuple(self.encoder_hidden) if self.stage == "two_phase" else None
                self.world = HiddenWorld(len(self.columns), self.adapter.latent, between).to(self.device)
        return [*super()._parameters(), *self.world.parameters()]

    def _modules(self) -> dict[str, nn.Module]:
        return {**super()._modules(), "world": self.world}

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {**super()._optimizers(), "adapter": self.adapter_optimizer}

    @property
    def knows(self) -> bool:
        """Return whether the policy is given z instead of its guess: in phase one."""
        return self.stage == "two_phase" and not self.adapting

    @property
    def adapter(self) -> Adapter:
        """Return the student, as what it is."""
        assert isinstance(self.student, Adapter)
        return self.student

    def hidden_of(self, full: np.ndarray) -> torch.Tensor:
        """Return e (rows, size) of what the expert's view showed (rows, d)."""
        return self._tensor(full[..., self.columns])

    # -- one iteration ---------------------------------------------------------------------------------------------

    def iterate(self, steps: int, hooks: BaseCallback) -> bool:
        """Play a rollout and learn from it, by the rule of the phase; there is no way back from the second."""
        if self.num_timesteps == 0:
            self.world.normalizer.update(self.hidden_of(self.expert_view(self._last_obs)))
        self.adapting = self.adapting or (self.stage == "two_phase" and self.progress >= self.phase_one)
        if not self.adapting:
            return super().iterate(steps, hooks)
        experience, going = self.collect(steps, hooks)
        hooks.on_rollout_end()
        self.adapt(experience)
        return going

    @torch.inference_mode()
    def sample(self, seen: np.ndarray, full: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return actions, their log densities and values: sampled, but as deployed while the adapter is trained."""
        rows = self._rows(seen)
        features, memory = self.student.step(rows, torch.from_numpy(self._memory))
        if self.knows:
            features = self.adapter.decide(rows, self.world(self.hidden_of(full)))
        said = self.student.distribution(features)
        actions = said.mode() if self.adapting else draw(said, self.rng)
        values = self.value_network(self._tensor(full), features)
        self._memory = memory.numpy()
        return actions.numpy(), said.log_prob(actions).numpy(), values.numpy()

    def values_of(self, seen: np.ndarray, full: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the values of what the environments `rows` show."""
        if not self.knows:
            return super().values_of(seen, full, rows)
        with torch.inference_mode():
            features = self.adapter.decide(self._rows(seen), self.world(self.hidden_of(full)))
            values: np.ndarray = self.value_network(self._tensor(full), features).numpy()
        return values

    # -- learning by reward ----------------------------------------------------------------------------------------

    def update(self, experience: Experience) -> None:
        """Take PPO's steps, and in one stage the adapter's."""
        super().update(experience)
        if self.stage == "one_stage":
            self.adapt(experience)
        self.world.normalizer.update(self.hidden_of(experience.full))

    def minibatches(self, experience: Experience, advantages: np.ndarray, returns: np.ndarray) -> Iterator[Minibatch]:
        """Yield every step once; in phase one the policy remembers nothing, and the latents are computed anew."""
        if not self.knows:
            yield from super().minibatches(experience, advantages, returns)
            return
        seen, full = (values.reshape(-1, *values.shape[2:]) for values in (experience.seen, experience.full))
        for chosen in index_batches(len(seen), self.batch_size, self.rng):
            features = self.adapter.decide(self._rows(seen[chosen]), self.world(self.hidden_of(full[chosen])))
            yield self._minibatch(experience, advantages, returns, chosen, features)

    # -- learning to recall ----------------------------------------------------------------------------------------

    @torch.no_grad()
    def wanted(self, experience: Experience) -> np.ndarray:
        """Return z (t, n, latent) of a rollout: what the adapter should recall."""
        latents: np.ndarray = self.world(self.hidden_of(experience.full)).numpy()
        return latents

    def adapt(self, experience: Experience) -> None:
        """Take the adapter's steps: on this rollout in one stage, on all of phase two's in two."""
        states = experience.states if self.student.state_is_data else None
        rollout = Rollout(experience.seen, states, experience.starts, self.wanted(experience))
        if self.stage == "two_phase":
            self.data.append(rollout)
        for _ in range(self.adapter_epochs if self.adapting else self.epochs):
            for latents, wanted, mask in self._recollections(rollout, experience.memory):
                self.adapter_optimizer.zero_grad(set_to_none=True)
                action_mse(latents, wanted, mask=mask).backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(self.adapter.adapter_parameters(), self.max_grad_norm)
                self.adapter_optimizer.step()

    def _recollections(
        self, rollout: Rollout, memory: np.ndarray
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
        """Yield what the adapter recalls, what it should, and a mask, in minibatches of the data."""
        recalling, recall = self.adapter.recalling, self.adapter.recall
        size = self.adapter_batch_size or (256 if recalling.state_is_data else 1600)
        if recalling.state_is_data:
            data = self.data.flat() if self.adapting else _flattened(rollout)
            for chosen in index_batches(len(data.labels), size, self.rng):
                seen = self._rows(data.observations[chosen])
                state = seen.new_zeros((len(chosen), 0)) if data.states is None else self._tensor(data.states[chosen])
                yield recall(recalling.step(seen, state)[0]), self._tensor(data.labels[chosen]), None
        elif self.adapting:
            for batch in self.data.episodes(size, self.rng):
                starts = torch.zeros(batch.mask.shape, dtype=torch.bool)
                before = recalling.initial_state(batch.mask.shape[1])
                features = recalling.sequence(self._tensor(batch.observations).flatten(2), starts, before)[0]
                yield recall(features), self._tensor(batch.labels), self._tensor(batch.mask)
        else:
            steps, count = rollout.starts.shape
            for rows in index_batches(count, max(1, size // steps), self.rng):
                parts = (rollout.observations[:, rows], rollout.starts[:, rows], memory[rows])
                seen, starts, before = map(self._tensor, parts)
                features = recalling.sequence(seen.flatten(2), starts, before)[0]
                yield recall(features), self._tensor(rollout.labels[:, rows]), None

    def _more_state(self) -> State:
        return {"adapting": self.adapting, "data": self.data.state_dict()}

    def _load_more_state(self, state: State) -> None:
        self.adapting = bool(state["adapting"])
        self.data.load_state_dict(state["data"])


def _flattened(rollout: Rollout) -> Rollout:
    alone = Labelled(1)
    alone.append(rollout)
    return alone.flat()
