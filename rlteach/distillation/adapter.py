"""The student of rapid motor adaptation: it decides on what it sees and on what a body with memory recalls.

See `rma` for how it is trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from gymnasium import spaces
from torch import nn

from rlteach.distillation.actions import ActionSpace
from rlteach.distillation.layers import ACTIVATIONS, on_meta, one_of, perceptron, whole, widths
from rlteach.distillation.student import Student


class Adapter(Student):
    """A perceptron on the last observation and on what a body with memory recalls of the hidden world.

    Args:
        observation_space: A flat Box.
        action_space: Box, Discrete or None.
        body: Architecture of what recalls.
        body_kwargs: Its hyperparameters.
        latent: Number of values recalled.
        hidden: Widths of the perceptron's layers.
        activation: "tanh", "relu" or "elu", after every one of them.
        std: Standard deviation of a Gaussian head to begin with, in normalised units.
        train_std: Whether it is trained.
        clip: Largest absolute normalised observation, in standard deviations.
        seed: Seed of the weights; None draws it from torch's global generator.
    """

    architecture = "adapter"

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: ActionSpace,
        *,
        body: str = "stack",
        body_kwargs: Mapping[str, Any] | None = None,
        latent: int = 8,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        std: float = 0.5,
        train_std: bool = True,
        clip: float = 10.0,
        seed: int | None = None,
    ) -> None:
        from rlteach.distillation import students  # which lists this class too

        faults = [*widths("hidden", hidden), one_of("activation", activation, ACTIVATIONS)]
        faults += [whole("latent", latent, 1, 10_000), *body_faults(body, body_kwargs or {})]
        super().__init__(observation_space, action_space, *faults, std=std, train_std=train_std, clip=clip, seed=seed)
        self.body, self.body_kwargs, self.latent = body, dict(body_kwargs or {}), latent
        self.hidden, self.activation = tuple(hidden), activation
        with on_meta():
            self.recalling = students.make_student(body, observation_space, None, **self.body_kwargs)
            self.recall = nn.Linear(self.recalling.feature_size, latent)
            self.deciding = perceptron(self.observation_size + latent, self.hidden, activation)
        self.state_is_data = self.recalling.state_is_data  # type: ignore[misc]
        self.state_size, self.feature_size = self.recalling.state_size, self.hidden[-1]
        self._complete()

    def _reset_own(self, generator: torch.Generator) -> None:
        self.recalling._reset_own(generator)
        self.recalling.normalizer.reset()
        self.recall.weight.zero_()
        self.recall.bias.zero_()

    def initial_state(self, n: int) -> torch.Tensor:
        """See `Student.initial_state`."""
        return self.recalling.initial_state(n)

    def decide(self, observations: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """Return features (..., f) for observations (..., d) and what is known of the hidden world (..., latent)."""
        features: torch.Tensor = self.deciding(torch.cat([self.normalizer(observations), latents], dim=-1))
        return features

    def step(self, observations: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Student.step`."""
        observations = observations.flatten(1)
        remembered, state = self.recalling.step(observations, state)
        return self.decide(observations, self.recall(remembered)), state

    def sequence(
        self, observations: torch.Tensor, starts: torch.Tensor, state: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Student.sequence`."""
        observations = observations.flatten(2)
        remembered, state = self.recalling.sequence(observations, starts, state)
        return self.decide(observations, self.recall(remembered)), state

    def fit_normalizer(self, observations: Any) -> None:
        """Set both normalisers; see `Student.fit_normalizer`."""
        self.recalling.normalizer.reset()
        super().fit_normalizer(observations)

    def update_normalizer(self, observations: Any) -> None:
        """Update both normalisers; see `Student.update_normalizer`."""
        super().update_normalizer(observations)
        self.recalling.update_normalizer(observations)

    def adapter_parameters(self) -> list[nn.Parameter]:
        """Return the weights of what recalls."""
        return [*self.recalling.parameters(), *self.recall.parameters()]


def body_faults(body: str, kwargs: Mapping[str, Any]) -> list[str]:
    """Return a sentence for everything wrong with the body of an adapter."""
    if body in ("cnn", Adapter.architecture):
        return [f"body = {body!r} cannot recall: an adapter takes flat observations and a body without another in it"]
    from rlteach.distillation import students

    return [f"body: {fault}" for fault in students.student_faults(body, kwargs)]
