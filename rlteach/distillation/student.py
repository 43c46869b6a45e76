"""The base of all students: one interface, memory explicit and one flat tensor; see `students`."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from rlteach.distillation.actions import (
    ActionScale,
    ActionSpace,
    Categorical,
    Distribution,
    FloatArray,
    Gaussian,
    actions_of,
)
from rlteach.distillation.layers import Normalizer, check, check_size, initialise, number, on_meta, whole
from rlteach.errors import InvalidValue
from rlteach.space_files import describe_space

SCHEMA = 1
SPACES = ("observation_space", "action_space")


class Student(nn.Module, ABC):
    """Observations to head outputs, with memory explicit.

    Args:
        observation_space: A Box.
        action_space: A Box with finite bounds, a Discrete space, or None for a body without a head.
        faults: What the architecture finds wrong with its own hyperparameters; see `check`.
        std: Standard deviation of a Gaussian head to begin with, in normalised units.
        train_std: Whether it is trained; if not, it stays as given.
        clip: Largest absolute normalised observation, in standard deviations.
        seed: Seed of the weights; None draws it from torch's global generator.

    Attributes:
        observation_size: Values of one observation, d.
        feature_size: Width of what enters the head, f.
        head_size: Outputs of the head: action dimensions, logits, or 0 without a head.
        state_size: Numbers that the memory of one row takes, k; 0 without memory.
        actions: Maps what the head says to environment actions and back.
    """

    architecture: ClassVar[str]
    state_is_data: ClassVar[bool] = True
    """Whether the memory is made of observations alone, so that it can be kept beside them while the weights change."""
    state_size: int = 0
    feature_size: int

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: ActionSpace,
        *faults: str | None,
        std: float,
        train_std: bool,
        clip: float,
        seed: int | None,
    ) -> None:
        super().__init__()
        check(
            type(self).__name__,
            number("std", std, above=0.0),
            number("clip", clip, above=0.0),
            None if seed is None else whole("seed", seed, 0, 2**63 - 1),
            *faults,
        )
        if not isinstance(observation_space, spaces.Box) or math.prod(observation_space.shape) == 0:
            raise InvalidValue(
                f"students see a Box with at least one value, not {observation_space}. "
                "gymnasium.wrappers.FlattenObservation turns most other spaces into one."
            )
        self.observation_space, self.action_space = observation_space, action_space
        self.std, self.train_std, self.clip, self.seed = float(std), bool(train_std), float(clip), seed
        self.observation_size = math.prod(observation_space.shape)
        self.actions = actions_of(action_space)
        self.head_size = self.actions.size if self.actions else 0

    def _complete(self, *, groups: int = 1) -> None:
        """Add normaliser and head to a body built on the meta device, check the size, allocate and initialise."""
        with on_meta():
            self.normalizer = Normalizer(self.observation_size, clip=self.clip, groups=groups)
            if self.actions:
                self.head = nn.Linear(self.feature_size, self.head_size)
            if isinstance(self.actions, ActionScale):
                self.log_std = nn.Parameter(torch.empty(self.head_size), requires_grad=self.train_std)
        check_size(self)
        if torch.get_default_device().type == "meta":
            return  # the caller wants the shapes only
        self.to_empty(device=torch.get_default_device())
        self.reset(self.seed)

    @torch.no_grad()
    def reset(self, seed: int | None) -> None:
        """Draw new weights and forget the normaliser's statistics.

        Orthogonal matrices keep the length of what passes through them, forward and backward; the gain sqrt(2) makes
        up for what the activation takes away (as Stable-Baselines3 does for tanh and ReLU alike). The head gets 0.01,
        so that a fresh student stands near the middle of the action range, or chooses uniformly, whatever it sees.
        """
        generator = torch.default_generator if seed is None else torch.Generator().manual_seed(seed)
        for module in self.modules():
            initialise(module, generator)
        self._reset_own(generator)
        self.normalizer.reset(255.0 if self.observation_space.dtype == np.uint8 else 1.0)
        if self.actions:
            nn.init.orthogonal_(self.head.weight, 0.01, generator=generator)
        if isinstance(self.actions, ActionScale):
            self.log_std.fill_(math.log(self.std))

    def _reset_own(self, generator: torch.Generator) -> None:
        """Initialise parameters that belong to no layer."""

    # -- the interface --

    def initial_state(self, n: int) -> Tensor:
        """Return the memory (n, state_size) at an episode's start; learnable where the architecture has it."""
        return self.normalizer.mean.new_zeros((n, self.state_size))

    @abstractmethod
    def step(self, observations: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Take in one observation per row.

        Args:
            observations: (n, observation_size) or (n, *shape), raw.
            state: (n, state_size).

        Returns:
            Features (n, feature_size) and the next state (n, state_size).
        """

    def sequence(self, observations: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Take in whole stretches; equals `step` called t times.

        Args:
            observations: (t, n, observation_size) or (t, n, *shape), raw.
            starts: (t, n) bool; where True, the row's memory is put back to its initial state before the observation
                is taken in.
            state: (n, state_size) before the first observation.

        Returns:
            Features (t, n, feature_size) and the final state (n, state_size); gradients flow through time.
        """
        features, _ = self.step(observations.flatten(0, 1), state)
        return features.reshape(*observations.shape[:2], -1), state

    def _normalised(self, observations: Tensor, leading: int = 1) -> Tensor:
        """Return flat, normalised observations that keep their `leading` first axes."""
        normalised: Tensor = self.normalizer(observations.flatten(leading))
        return normalised

    def forward(self, observations: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return head outputs (n, head_size), means or logits, and the next state: what an export contains."""
        features, state = self.step(observations, state)
        return self.head(features), state

    def distribution(self, features: Tensor) -> Distribution:
        """Return the distribution over actions for features (..., feature_size)."""
        if isinstance(self.actions, ActionScale):
            return Gaussian(self.head(features), self.log_std.exp())
        if self.actions is None:
            raise InvalidValue("this student has no head: it was made without an action space")
        return Categorical(self.head(features))

    @torch.inference_mode()
    def act(
        self,
        observations: NDArray[Any],
        state: FloatArray | None = None,
        starts: NDArray[np.bool_] | None = None,
        *,
        deterministic: bool = True,
        generator: np.random.Generator | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Act in the environment, numpy in and numpy out.

        Args:
            observations: (n, *shape) or (n, observation_size), raw.
            state: (n, state_size) as returned before; None at the start of all episodes.
            starts: (n,) bool, rows whose episode begins with this observation.
            deterministic: Most likely action instead of a draw.
            generator: Of the draws; needed when not deterministic.

        Returns:
            Actions in the environment's units and shape, clipped to its bounds, and the next state.
        """
        if self.actions is None or not (deterministic or generator is not None):
            raise InvalidValue("to act, a student needs an action space, and a generator unless deterministic=True")
        n, device = len(observations), self.normalizer.mean.device
        seen = _tensor(observations.reshape(n, -1)).to(device)
        memory = self.initial_state(n) if state is None else _tensor(state).to(device)
        if self.state_size and state is not None and starts is not None:
            memory = torch.where(_tensor(starts).to(device)[:, None], self.initial_state(n), memory)
        outputs, after = self.forward(seen, memory)
        says = outputs.cpu().numpy()
        if generator is not None and not deterministic:
            says = says + self._noise(says, generator)
        said = says if isinstance(self.actions, ActionScale) else says.argmax(-1)
        return self.actions.to_env(said), after.cpu().numpy()

    def _noise(self, outputs: FloatArray, generator: np.random.Generator) -> FloatArray:
        """Return what makes the most likely action a draw: Gaussian noise, or Gumbel noise on logits."""
        if isinstance(self.actions, ActionScale):
            std: FloatArray = self.log_std.exp().cpu().numpy()
            return std * generator.standard_normal(outputs.shape, dtype=np.float32)
        return generator.gumbel(size=outputs.shape)

    def fit_normalizer(self, observations: Tensor | NDArray[Any]) -> None:
        """Set the normaliser to the mean and standard deviation of observations (..., observation_size)."""
        self.normalizer.reset()
        self.update_normalizer(observations)

    def update_normalizer(self, observations: Tensor | NDArray[Any]) -> None:
        """Merge observations (..., observation_size) into the normaliser's running statistics."""
        self.normalizer.update(torch.as_tensor(observations).reshape(-1, self.observation_size))

    # -- what it is --

    @property
    def parameter_count(self) -> int:
        """Number of weights, trained or not; the normaliser's statistics do not count."""
        return sum(parameter.numel() for parameter in self.parameters())

    def kwargs(self) -> dict[str, Any]:
        """Return the keyword arguments that it was made with, defaults included."""
        names = [name for name in inspect.signature(type(self)).parameters if name not in SPACES]
        values = {name: getattr(self, name) for name in names}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def describe(self) -> dict[str, Any]:
        """Return everything but the weights, fit for JSON; `student_from` builds the same student from it."""
        return {
            "schema": SCHEMA,
            "architecture": self.architecture,
            "kwargs": self.kwargs(),
            "observation_space": describe_space(self.observation_space),
            "action_space": describe_space(self.action_space),
        }


def _tensor(array: NDArray[Any]) -> Tensor:
    """Return a tensor that shares the array's memory where torch can: it wants it contiguous and writable."""
    array = np.ascontiguousarray(array)
    return torch.from_numpy(array if array.flags.writeable else array.copy())
