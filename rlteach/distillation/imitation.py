"""Learning from labels: what behavioural cloning, DAgger and on-policy distillation share.

Each round plays some steps, has the expert label every one of them, and takes Adam steps on the labelled data. Every
label reaches the optimiser in every epoch, whatever the numbers of steps, rounds, and the batch size are.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback

from rlteach.distillation.actions import Distribution, Gaussian
from rlteach.distillation.base import Distiller
from rlteach.distillation.dense_imitation import DenseImitation
from rlteach.distillation.labelled import Labelled, Rollout, flat, index_batches
from rlteach.distillation.losses import action_huber, action_mse, negative_log_likelihood
from rlteach.protocols import State

LEAST_STD, MOST_STD = 0.02, 1.0
"""Between these the deviation of a student that learned its mean only is set to its root mean square error."""

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]
"""Features, labels, and a mask (None for all)."""


@dataclass(kw_only=True, eq=False)
class Imitation(Distiller):
    """Base of the methods that learn from labels alone.

    Attributes:
        batch_size: Labelled steps of a minibatch; about, for recurrent students, whose minibatches hold whole episodes.
            0 is 256, and 1600 for recurrent students, which are slow with few episodes side by side.
        epochs: Passes over the data in each round.
        loss: `mse` or `huber` on the mean action, or `nll`, the negative log-likelihood, which trains the deviation
            too; actions in units of [-1, 1]. Discrete actions always take the cross-entropy.
        capacity: Labelled steps that are kept; the oldest rollouts are dropped beyond it.
        stochastic: Whether the student samples its actions while it plays.
    """

    batch_size: int = 0
    epochs: int = 4
    loss: Literal["mse", "huber", "nll"] = "mse"
    capacity: int = 1_000_000
    stochastic: bool = False

    aggregates: ClassVar[bool] = True
    """Whether a round learns from all rounds before it too."""

    def __post_init__(self) -> None:
        """Build it."""
        super().__post_init__()
        self.batch = self.batch_size or (256 if self.student.state_is_data else 1600)
        self.round = 0
        self.data = Labelled(self.capacity if self.aggregates else 1)

    @classmethod
    def setting_faults(cls, policy: str, kwargs: Mapping[str, Any]) -> list[str]:
        """Return a sentence for every wrong setting."""
        faults = super().setting_faults(policy, kwargs)
        loss = kwargs.get("loss", "mse")
        if loss not in ("mse", "huber", "nll"):
            faults.append(f"loss = {loss!r} must be one of mse, huber, nll")
        return faults

    @abstractmethod
    def drivers(self) -> np.ndarray:
        """Return (n,) whether the expert acts in each environment now, instead of the student."""

    def iterate(self, steps: int, hooks: BaseCallback) -> bool:
        """Play, label, and learn."""
        memory = self._memory.copy()
        rollout, going = self.collect(steps, hooks)
        hooks.on_rollout_end()
        if self.normalize_observations:
            self.student.update_normalizer(flat(rollout.observations))
        self.data.append(rollout)
        self.train(rollout, memory)
        self.round += 1
        return going

    def collect(self, steps: int, hooks: BaseCallback) -> tuple[Rollout, bool]:
        """Play `steps` steps; return them with their labels, and whether to go on."""
        assert self.teacher is not None
        played: dict[str, list[Any]] = {"seen": [], "states": [], "starts": [], "expert": [], "labels": []}
        going = True
        while going and len(played["starts"]) < steps:
            self.begin_memory()
            drivers = self.drivers()
            seen = self.student_view(self._last_obs)
            played["seen"].append(seen)
            played["starts"].append(self._last_episode_starts)
            played["states"].append(self._memory)
            labels = None
            if drivers.any() or self.teacher.recurrent:
                labels = self.label(self._last_obs, self._last_episode_starts)
            else:
                played["expert"].append(self.expert_view(self._last_obs))
            played["labels"].append(labels)
            going, _, _ = self.step_envs(self._driven(seen, drivers, labels), hooks)
        actions = self._labels_of(played)
        keeps = self.student.state_is_data and self.student.state_size > 0
        states = np.stack(played["states"]) if keeps else None
        return Rollout(np.stack(played["seen"]), states, np.stack(played["starts"]), self.unit_labels(actions)), going

    def _driven(self, seen: np.ndarray, drivers: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """Return the actions to take: the expert's where it drives, else the student's."""
        if labels is not None and drivers.all() and self.student.state_size == 0:
            return labels  # a student without memory has missed nothing
        actions = self.step_student(seen, deterministic=not self.stochastic)
        return actions if labels is None else np.where(_like(drivers, labels), labels, actions)

    def _labels_of(self, played: dict[str, list[Any]]) -> np.ndarray:
        """Return all labels (t, n, ...): those the expert gave while acting, and the others, asked for at once."""
        late = [place for place, labels in enumerate(played["labels"]) if labels is None]
        if late:
            asked = self.label_many(np.stack(played["expert"]))
            for place, labels in zip(late, asked, strict=True):
                played["labels"][place] = labels
        return np.stack(played["labels"])

    def train(self, rollout: Rollout, memory: np.ndarray) -> None:
        """Take Adam steps on the data; `memory` (n, k) is what the student remembered before `rollout`."""
        dense = DenseImitation.of(self.student, self.optimizer, self.loss, self.max_grad_norm)
        errors = self._train_torch(rollout, memory) if dense is None else self._train_dense(dense)
        if self.loss != "nll" and isinstance(self.action_space, spaces.Box) and self.student.train_std:
            self.student.log_std.data.copy_(torch.cat(errors).square().mean(0).sqrt().clamp(LEAST_STD, MOST_STD).log())

    def _train_torch(self, rollout: Rollout, memory: np.ndarray) -> list[torch.Tensor]:
        """Learn by torch's gradients; return the errors (..., a) of the last epoch, for Box actions."""
        for _ in range(self.epochs):
            errors: list[torch.Tensor] = []
            for features, labels, mask in self._batches(rollout, memory):
                said = self.student.distribution(features)
                self.descend(imitation_loss(said, labels, self.loss, mask))
                if isinstance(said, Gaussian):
                    error = said.mean.detach() - labels
                    errors.append((error if mask is None else error[mask > 0]).flatten(0, -2))
        return errors

    def _train_dense(self, dense: DenseImitation) -> list[torch.Tensor]:
        """Learn by numpy's gradients, several times faster and equal up to rounding; see `_train_torch`."""
        data = self.data.flat()
        for _ in range(self.epochs):
            errors = []
            for indices in index_batches(len(data.labels), self.batch, self.rng):
                states = None if data.states is None else data.states[indices]
                errors.append(dense.update(data.observations[indices], states, data.labels[indices]))
        dense.weights.write()
        return [torch.from_numpy(error) for error in errors]

    def _batches(self, rollout: Rollout, memory: np.ndarray) -> Iterator[Batch]:
        if self.student.state_is_data:
            yield from self._flat_batches()
        elif self.aggregates:
            yield from self._episode_batches()
        else:
            yield from self._row_batches(rollout, memory)

    def _flat_batches(self) -> Iterator[Batch]:
        data = self.data.flat()
        observations, labels = self._tensor(data.observations), self._tensor(data.labels)
        states = None if data.states is None else self._tensor(data.states)
        for indices in index_batches(len(labels), self.batch, self.rng):
            chosen = torch.from_numpy(indices)
            seen = observations.index_select(0, chosen)
            state = seen.new_zeros((len(indices), 0)) if states is None else states.index_select(0, chosen)
            yield self.student.step(seen, state)[0], labels.index_select(0, chosen), None

    def _episode_batches(self) -> Iterator[Batch]:
        for batch in self.data.episodes(self.batch, self.rng):
            starts = torch.zeros(batch.mask.shape, dtype=torch.bool)
            state = self.student.initial_state(batch.mask.shape[1])
            features, _ = self.student.sequence(self._tensor(batch.observations), starts, state)
            yield features, self._tensor(batch.labels), self._tensor(batch.mask)

    def _row_batches(self, rollout: Rollout, memory: np.ndarray) -> Iterator[Batch]:
        steps, rows = rollout.starts.shape
        observations, starts, labels, before = map(
            self._tensor, (rollout.observations, rollout.starts, rollout.labels, memory)
        )
        for indices in index_batches(rows, max(1, self.batch // steps), self.rng):
            chosen = torch.from_numpy(indices)
            features, _ = self.student.sequence(observations[:, chosen], starts[:, chosen], before[chosen])
            yield features, labels[:, chosen], None

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def _more_state(self) -> State:
        return {"round": self.round, "data": self.data.state_dict()}

    def _load_more_state(self, state: State) -> None:
        self.round = int(state["round"])
        self.data.load_state_dict(state["data"])


def imitation_loss(
    said: Distribution, labels: torch.Tensor, loss: str, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the mean loss of a student's distributions for labels in units of [-1, 1], or whole numbers."""
    if not isinstance(said, Gaussian) or loss == "nll":
        return negative_log_likelihood(said, labels, mask=mask)
    return (action_mse if loss == "mse" else action_huber)(said.mean, labels, mask=mask)


def _like(flags: np.ndarray, values: np.ndarray) -> np.ndarray:
    return flags.reshape(-1, *(1,) * (values.ndim - 1))
