"""The networks that are distilled into: one interface, memory explicit and one flat tensor.

    student = make_student("gru", env.observation_space, env.action_space, hidden=64, seed=0)
    features, state = student.step(observations, student.initial_state(n))      # (n, feature_size), (n, state_size)
    features, state = student.sequence(observations, starts, state)             # (t, n, feature_size), (n, state_size)
    student.distribution(features).log_prob(unit_actions)                       # actions in normalised units
    actions, memory = student.act(observations, memory, starts)                 # numpy in, numpy out

What trains, evaluates, stores and exports students therefore needs no case for any architecture. Observations are
flat, (n, observation_size), also where they are images. Actions of a Box are in normalised units, [-1, 1] per
dimension; `student.actions` maps them to the environment's units and back.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.nn import functional as F

from rlteach.errors import ConfigError, InvalidValue, RunDirectoryError, UnknownName, did_you_mean
from rlteach.files import read_json, write_atomically, write_json
from rlteach.teachers.base import hyperparameter_faults

SCHEMA = 1
WIDEST = 10_000_000
"""Largest width of one layer; beyond it the number of parameters no longer fits an integer."""
COPIES = 4
"""What training keeps of every parameter: itself, its gradient and the two moments of Adam."""
ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU}
SPACES = ("observation_space", "action_space")

ActionSpace: TypeAlias = spaces.Space[Any] | None
FloatArray: TypeAlias = NDArray[np.floating[Any]]


# -- what a student says about actions -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian over actions in normalised units.

    Attributes:
        mean: (..., dimensions).
        std: Broadcasts to `mean`, positive.
    """

    mean: Tensor
    std: Tensor

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return the log density (...) of actions (..., dimensions)."""
        z = (actions - self.mean) / self.std
        return -(0.5 * z.square() + self.std.log() + 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """Return the differential entropy (...)."""
        return (self.std.log() + 0.5 * math.log(2 * math.pi * math.e)).expand_as(self.mean).sum(-1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw actions (..., dimensions); no gradient flows through the draw."""
        with torch.no_grad():
            noise = torch.empty_like(self.mean).normal_(generator=generator)
            drawn: Tensor = self.mean + self.std * noise
        return drawn

    def mode(self) -> Tensor:
        """Return the most likely actions (..., dimensions)."""
        return self.mean


@dataclass(frozen=True)
class Categorical:
    """A choice among `logits.shape[-1]` actions.

    Attributes:
        logits: (..., actions), up to a constant.
    """

    logits: Tensor

    def log_probs(self) -> Tensor:
        """Return the log probabilities (..., actions) of all actions."""
        return F.log_softmax(self.logits, dim=-1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return the log probability (...) of action indices (...)."""
        return self.log_probs().gather(-1, actions.long().unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """Return the entropy in nats (...); an impossible action (logit -inf) adds nothing."""
        entropies: Tensor = torch.special.entr(self.log_probs().exp())
        return entropies.sum(-1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw action indices (...)."""
        with torch.no_grad():
            flat = self.log_probs().exp().reshape(-1, self.logits.shape[-1])
            return torch.multinomial(flat, 1, generator=generator).reshape(self.logits.shape[:-1])

    def mode(self) -> Tensor:
        """Return the most likely action indices (...)."""
        return self.logits.argmax(-1)


Distribution: TypeAlias = Gaussian | Categorical


@dataclass(frozen=True, eq=False)
class ActionScale:
    """Maps normalised units, [-1, 1] per dimension, to the units of a Box and back.

    Attributes:
        low: Lowest action, in the Box's shape and type.
        high: Highest action.
    """

    low: FloatArray
    high: FloatArray
    _centre: NDArray[np.float64] = field(init=False, repr=False)
    _half: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        low, high = np.asarray(self.low, dtype=np.float64), np.asarray(self.high, dtype=np.float64)
        if low.shape != high.shape or low.size == 0 or not (np.isfinite(low) & np.isfinite(high) & (low <= high)).all():
            raise InvalidValue(
                f"actions need finite bounds of one shape, low <= high, not low {self.low} and high {self.high}. "
                "gymnasium.wrappers.RescaleAction or ClipAction gives an unbounded Box bounds."
            )
        object.__setattr__(self, "_centre", low / 2 + high / 2)
        object.__setattr__(self, "_half", high / 2 - low / 2)

    @property
    def size(self) -> int:
        """Number of dimensions."""
        return int(self.low.size)

    def to_env(self, unit: FloatArray) -> FloatArray:
        """Return environment actions (n, *shape) for normalised ones (n, size), clipped to the bounds."""
        actions = unit.reshape(-1, *self.low.shape) * self._half + self._centre
        return np.minimum(np.maximum(actions, self.low), self.high).astype(self.low.dtype, copy=False)

    def to_unit(self, actions: FloatArray) -> NDArray[np.float32]:
        """Return normalised actions (n, size) for environment ones (n, *shape); where low == high, 0."""
        offset = np.asarray(actions, dtype=np.float64).reshape(-1, *self.low.shape) - self._centre
        unit = np.divide(offset, self._half, out=np.zeros_like(offset), where=self._half > 0)
        return unit.reshape(len(unit), -1).astype(np.float32)


@dataclass(frozen=True)
class ActionChoice:
    """Maps action indices 0 .. n - 1 to the actions of a Discrete space and back.

    Attributes:
        size: Number of actions.
        start: The first of them.
    """

    size: int
    start: int = 0

    def to_env(self, unit: NDArray[Any]) -> NDArray[np.int64]:
        """Return environment actions (n,) for indices (n,)."""
        return np.asarray(unit, dtype=np.int64) + self.start

    def to_unit(self, actions: NDArray[Any]) -> NDArray[np.int64]:
        """Return indices (n,) for environment actions (n,)."""
        return np.asarray(actions, dtype=np.int64).reshape(-1) - self.start


def actions_of(space: ActionSpace) -> ActionScale | ActionChoice | None:
    """Return how a student acts in a space; None for a body without a head.

    Raises:
        InvalidValue: For a space that no student can act in.
    """
    if space is None:
        return None
    if isinstance(space, spaces.Discrete):
        return ActionChoice(int(space.n), int(space.start))
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return ActionScale(space.low, space.high)
    raise InvalidValue(
        f"no student acts in {space}: the action spaces of students are Box with finite bounds and floating-point "
        "actions, and Discrete. A wrapper that enumerates the combinations turns MultiDiscrete and MultiBinary into "
        "Discrete."
    )


# -- the observation normaliser ------------------------------------------------------------------------------------


class Normalizer(nn.Module):
    """Shifts, scales and clips observations; the identity until statistics are given.

    Everything it knows is in buffers, hence in every checkpoint and export. A dimension that never varied keeps the
    scale 1, so that it does not explode when it varies at last.

    Args:
        size: Number of values of an observation.
        clip: Largest absolute value let through, in standard deviations.
        groups: Consecutive values that share their statistics (the pixels of a channel); 1 for none.
    """

    mean: Tensor
    std: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, size: int, *, clip: float, groups: int = 1) -> None:
        super().__init__()
        self.clip, self.groups = clip, groups
        for name, dtype in (("mean", torch.float32), ("std", torch.float32), ("variance", torch.float64)):
            self.register_buffer(name, torch.empty(size, dtype=dtype))
        self.register_buffer("count", torch.empty((), dtype=torch.float64))

    def reset(self, scale: float = 1.0) -> None:
        """Forget all statistics; `scale` is the standard deviation to begin with."""
        self.mean.zero_()
        self.std.fill_(scale)
        self.variance.zero_()
        self.count.zero_()

    def forward(self, observations: Tensor) -> Tensor:
        """Return normalised observations of the same shape."""
        return (observations.to(self.mean.dtype) - self.mean).div_(self.std).clamp_(-self.clip, self.clip)

    @torch.no_grad()
    def update(self, observations: Tensor) -> None:
        """Merge a batch (..., size) into the running statistics (Chan et al., 1983)."""
        batch = observations.reshape(-1, len(self.mean)).double()
        if self.groups > 1:
            channels = batch.reshape(len(batch), -1, self.groups).transpose(1, 2)
            batch = channels.reshape(-1, channels.shape[-1]).repeat_interleave(self.groups, dim=-1)
        if len(batch) == 0:
            return
        total = self.count + len(batch)
        delta = batch.mean(0) - self.mean
        share = len(batch) / total
        between = delta.square() * share * (1 - share)
        self.variance.copy_(self.variance * (1 - share) + batch.var(0, correction=0) * share + between)
        self.mean.add_((delta * share).float())
        self.count.copy_(total)
        std = self.variance.sqrt()
        self.std.copy_(torch.where(std > 1e-6 * self.mean.abs(), std, 1.0))  # below, it is rounding and no variation


# -- students ------------------------------------------------------------------------------------------------------


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


class MLP(Student):
    """A multilayer perceptron on the last observation.

    Args:
        observation_space: A Box; more than one axis is flattened.
        action_space: Box, Discrete or None.
        hidden: Widths of the hidden layers.
        activation: "tanh", "relu" or "elu", after every hidden layer.
        std: Standard deviation of a Gaussian head to begin with, in normalised units.
        train_std: Whether it is trained.
        clip: Largest absolute normalised observation, in standard deviations.
        seed: Seed of the weights; None draws it from torch's global generator.
    """

    architecture = "mlp"

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: ActionSpace,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        std: float = 0.5,
        train_std: bool = True,
        clip: float = 10.0,
        seed: int | None = None,
    ) -> None:
        faults = [*widths("hidden", hidden), one_of("activation", activation, ACTIVATIONS)]
        super().__init__(observation_space, action_space, *faults, std=std, train_std=train_std, clip=clip, seed=seed)
        self.hidden, self.activation = tuple(hidden), activation
        with on_meta():
            self.body = perceptron(self.observation_size, self.hidden, activation)
        self.feature_size = self.hidden[-1]
        self._complete()

    def step(self, observations: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.step`."""
        return self.body(self._normalised(observations)), state


class Stack(Student):
    """A multilayer perceptron on the last `history` observations, the oldest first.

    At an episode's start the history is filled with the first observation. See `Window` for the state.

    Args:
        observation_space: A Box; more than one axis is flattened.
        action_space: Box, Discrete or None.
        history: Number of observations that it sees, the newest included.
        hidden: Widths of the hidden layers.
        activation: "tanh", "relu" or "elu", after every hidden layer.
        std: Standard deviation of a Gaussian head to begin with, in normalised units.
        train_std: Whether it is trained.
        clip: Largest absolute normalised observation, in standard deviations.
        seed: Seed of the weights; None draws it from torch's global generator.
    """

    architecture = "stack"

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: ActionSpace,
        *,
        history: int = 8,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        std: float = 0.5,
        train_std: bool = True,
        clip: float = 10.0,
        seed: int | None = None,
    ) -> None:
        faults = [*widths("hidden", hidden), one_of("activation", activation, ACTIVATIONS)]
        faults += [whole("history", history, 1, 10_000)]
        super().__init__(observation_space, action_space, *faults, std=std, train_std=train_std, clip=clip, seed=seed)
        self.history, self.hidden, self.activation = history, tuple(hidden), activation
        self.window = Window(history, self.observation_size)
        self.state_size = self.window.state_size
        with on_meta():
            self.body = perceptron(history * self.observation_size, self.hidden, activation)
        self.feature_size = self.hidden[-1]
        self._complete()

    def step(self, observations: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.step`."""
        rows, _, state = self.window.step(observations.flatten(1), state)
        return self.body(self.normalizer(rows).flatten(-2)), state

    def sequence(self, observations: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.sequence`."""
        rows, _, state = self.window.sequence(observations.flatten(2), starts, state, self.normalizer)
        return self.body(rows.flatten(-2)), state


class GRU(Student):
    """Dense, ReLU, gated recurrent unit: the form of RAPTOR's foundation policy (Eschmann et al., 2025).

    With `hidden=16`, 22 observations and 4 actions it has RAPTOR's 2084 weights, plus the standard deviations. The
    state is the hidden vector; the one that an episode starts with is learnt.

    Args:
        observation_space: A Box; more than one axis is flattened.
        action_space: Box, Discrete or None.
        hidden: Width of the recurrent layer.
        embedding: Width of the dense layer before it; None for `hidden`.
        std: Standard deviation of a Gaussian head to begin with, in normalised units.
        train_std: Whether it is trained.
        clip: Largest absolute normalised observation, in standard deviations.
        seed: Seed of the weights; None draws it from torch's global generator.
    """

    architecture = "gru"
    state_is_data = False

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: ActionSpace,
        *,
        hidden: int = 64,
        embedding: int | None = None,
        std: float = 0.5,
        train_std: bool = True,
        clip: float = 10.0,
        seed: int | None = None,
    ) -> None:
        width = hidden if embedding is None else embedding
        faults = [
            whole("hidden", hidden, 1, WIDEST),
            None if embedding is None else whole("embedding", embedding, 1, WIDEST),
        ]
        super().__init__(observation_space, action_space, *faults, std=std, train_std=train_std, clip=clip, seed=seed)
        self.hidden, self.embedding = hidden, embedding
        self.state_size = self.feature_size = hidden
        with on_meta():
            self.embed = perceptron(self.observation_size, (width,), "relu")
            self.memory = nn.GRU(width, hidden)
            self.initial = nn.Parameter(torch.empty(hidden))
        self._complete()

    def _reset_own(self, generator: torch.Generator) -> None:
        self.initial.zero_()

    def initial_state(self, n: int) -> Tensor:
        """See `Student.initial_state`."""
        return self.initial.expand(n, -1)

    def step(self, observations: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.step`."""
        state = torch.gru_cell(self.embed(self._normalised(observations)), state, *self.memory.all_weights[0])
        return state, state

    def sequence(self, observations: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.sequence`."""
        return between_starts(self._run, self.embed(self._normalised(observations, 2)), starts, state, self.initial)

    def _run(self, rows: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs, after = self.memory(rows, state[None].contiguous())
        return outputs, after[0]


class LSTM(Student):
    """Dense, ReLU, long short-term memory (Hochreiter and Schmidhuber, 1997).

    The state is the hidden vector, which is also the feature, and behind it the cell. The one that an episode starts
    with is learnt.

    Args:
        observation_space: A Box; more than one axis is flattened.
        action_space: Box, Discrete or None.
        hidden: Width of the recurrent layer.
        embedding: Width of the dense layer before it; None for `hidden`.
        std: Standard deviation of a Gaussian head to begin with, in normalised units.
        train_std: Whether it is trained.
        clip: Largest absolute normalised observation, in standard deviations.
        seed: Seed of the weights; None draws it from torch's global generator.
    """

    architecture = "lstm"
    state_is_data = False

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: ActionSpace,
        *,
        hidden: int = 64,
        embedding: int | None = None,
        std: float = 0.5,
        train_std: bool = True,
        clip: float = 10.0,
        seed: int | None = None,
    ) -> None:
        width = hidden if embedding is None else embedding
        faults = [
            whole("hidden", hidden, 1, WIDEST),
            None if embedding is None else whole("embedding", embedding, 1, WIDEST),
        ]
        super().__init__(observation_space, action_space, *faults, std=std, train_std=train_std, clip=clip, seed=seed)
        self.hidden, self.embedding = hidden, embedding
        self.state_size, self.feature_size = 2 * hidden, hidden
        with on_meta():
            self.embed = perceptron(self.observation_size, (width,), "relu")
            self.memory = nn.LSTM(width, hidden)
            self.initial = nn.Parameter(torch.empty(2 * hidden))
        self._complete()

    def _reset_own(self, generator: torch.Generator) -> None:
        self.initial.zero_()

    def initial_state(self, n: int) -> Tensor:
        """See `Student.initial_state`."""
        return self.initial.expand(n, -1)

    def step(self, observations: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.step`."""
        embedded = self.embed(self._normalised(observations))
        features, cell = torch.lstm_cell(embedded, state.chunk(2, dim=1), *self.memory.all_weights[0])
        return features, torch.cat([features, cell], dim=1)

    def sequence(self, observations: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.sequence`."""
        return between_starts(self._run, self.embed(self._normalised(observations, 2)), starts, state, self.initial)

    def _run(self, rows: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        hidden, cell = (part[None].contiguous() for part in state.chunk(2, dim=1))
        outputs, (hidden, cell) = self.memory(rows, (hidden, cell))
        return outputs, torch.cat([hidden[0], cell[0]], dim=1)


class Attention(nn.Module):
    """One pre-norm block of causal self-attention and a perceptron (Vaswani et al., 2017; Xiong et al., 2020).

    Args:
        width: Width of a token.
        heads: Attention heads.
        newest_only: Whether only the newest token is computed, all that a last block is asked for.
    """

    def __init__(self, width: int, heads: int, *, newest_only: bool) -> None:
        super().__init__()
        self.heads, self.asked = heads, slice(-1, None) if newest_only else slice(None)
        self.before_attention, self.before_dense = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.joined = nn.Linear(width, width)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor, allowed: Tensor) -> Tensor:
        """Map tokens (m, history, width); `allowed` (m, history, history) says which (query, key) pairs meet."""
        normalised = self.before_attention(tokens)
        parts = (self.query(normalised[:, self.asked]), *self.key_value(normalised).chunk(2, dim=-1))
        query, key, value = (part.reshape(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in parts)
        met = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed[:, None, self.asked])
        tokens = tokens[:, self.asked] + self.joined(met.transpose(1, 2).flatten(2))
        result: Tensor = tokens + self.dense(self.before_dense(tokens))
        return result


class Transformer(Student):
    """Causal self-attention over the last `history` observations of the episode; see `Window` for the state.

    Each observation is attended to anew within every window, so that nothing older than the window reaches the
    feature, however many layers there are: `history` times the work of one token per observation.

    Args:
        observation_space: A Box; more than one axis is flattened.
        action_space: Box, Discrete or None.
        history: Number of observations that it sees, the newest included.
        width: Width of a token; a multiple of `heads`.
        heads: Attention heads.
        layers: Blocks of attention and perceptron.
        std: Standard deviation of a Gaussian head to begin with, in normalised units.
        train_std: Whether it is trained.
        clip: Largest absolute normalised observation, in standard deviations.
        seed: Seed of the weights; None draws it from torch's global generator.
    """

    architecture = "transformer"

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: ActionSpace,
        *,
        history: int = 16,
        width: int = 64,
        heads: int = 4,
        layers: int = 1,
        std: float = 0.5,
        train_std: bool = True,
        clip: float = 10.0,
        seed: int | None = None,
    ) -> None:
        faults = [
            whole("history", history, 1, 10_000),
            whole("width", width, 1, WIDEST // 4),
            whole("heads", heads, 1, 1024),
            whole("layers", layers, 1, 100),
        ]
        if not any(faults) and width % heads:
            faults = [f"width = {width} must be a multiple of heads = {heads}"]
        super().__init__(observation_space, action_space, *faults, std=std, train_std=train_std, clip=clip, seed=seed)
        self.history, self.width, self.heads, self.layers = history, width, heads, layers
        self.window = Window(history, self.observation_size)
        self.state_size, self.feature_size = self.window.state_size, width
        with on_meta():
            self.embed = nn.Linear(self.observation_size, width)
            self.places = nn.Parameter(torch.empty(history, width))
            self.blocks = nn.ModuleList([Attention(width, heads, newest_only=i == layers - 1) for i in range(layers)])
            self.last_norm = nn.LayerNorm(width)
        self._complete()

    def _reset_own(self, generator: torch.Generator) -> None:
        self.places.normal_(0.0, 0.02, generator=generator)

    def step(self, observations: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.step`."""
        rows, seen, state = self.window.step(observations.flatten(1), state)
        return self._attend(self.normalizer(rows), seen), state

    def sequence(self, observations: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.sequence`."""
        rows, seen, state = self.window.sequence(observations.flatten(2), starts, state, self.normalizer)
        return self._attend(rows.flatten(0, 1), seen.flatten(0, 1)).reshape(*starts.shape, -1), state

    def _attend(self, rows: Tensor, seen: Tensor) -> Tensor:
        """Return features (m, width) of windows (m, history, d), of which some places were seen (m, history)."""
        itself = torch.eye(self.history, dtype=torch.bool, device=rows.device)
        # A place always meets itself: one that was never seen would else meet nothing, and softmax would divide 0 by 0.
        allowed = (seen[:, None, :] & torch.ones_like(itself).tril()) | itself
        tokens = self.embed(rows) + self.places
        for block in self.blocks:
            tokens = block(tokens, allowed)
        features: Tensor = self.last_norm(tokens[:, -1])
        return features


class CNN(Student):
    """Convolutions on an image (channels, height, width), then a dense layer, in the manner of Mnih et al. (2015).

    Every convolution is padded by half its kernel, so that images of any size pass. The network of the Nature paper is
    nearly channels=[32, 64, 64], kernels=[8, 4, 3], strides=[4, 2, 1], hidden=[512]. Pixels of type uint8 are divided
    by 255 until the normaliser is given statistics, which all pixels of a channel share.

    Args:
        observation_space: A Box (channels, height, width).
        action_space: Box, Discrete or None.
        channels: Filters of each convolution.
        kernels: Their heights and widths, one for each convolution.
        strides: Their strides, one for each convolution.
        hidden: Widths of the dense layers behind them.
        activation: "tanh", "relu" or "elu", after every layer.
        std: Standard deviation of a Gaussian head to begin with, in normalised units.
        train_std: Whether it is trained.
        clip: Largest absolute normalised observation, in standard deviations.
        seed: Seed of the weights; None draws it from torch's global generator.
    """

    architecture = "cnn"

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: ActionSpace,
        *,
        channels: Sequence[int] = (16, 32, 32),
        kernels: Sequence[int] = (3, 3, 3),
        strides: Sequence[int] = (2, 2, 2),
        hidden: Sequence[int] = (128,),
        activation: str = "relu",
        std: float = 0.5,
        train_std: bool = True,
        clip: float = 10.0,
        seed: int | None = None,
    ) -> None:
        lists = {"channels": channels, "kernels": kernels, "strides": strides, "hidden": hidden}
        faults = [fault for name, values in lists.items() for fault in widths(name, values, 100_000)]
        if not any(faults) and not len(channels) == len(kernels) == len(strides):
            faults = [f"channels, kernels and strides must be equally many, not {channels}, {kernels}, {strides}"]
        faults += [one_of("activation", activation, ACTIVATIONS)]
        super().__init__(observation_space, action_space, *faults, std=std, train_std=train_std, clip=clip, seed=seed)
        check_image(observation_space)
        self.channels, self.kernels, self.strides = tuple(channels), tuple(kernels), tuple(strides)
        self.hidden, self.activation = tuple(hidden), activation
        layers: list[nn.Module] = []
        inputs, height, width = observation_space.shape
        with on_meta():
            for filters, kernel, stride in zip(channels, kernels, strides, strict=True):
                layers += [nn.Conv2d(inputs, filters, kernel, stride, kernel // 2), ACTIVATIONS[activation]()]
                height, width = ((side + kernel // 2 * 2 - kernel) // stride + 1 for side in (height, width))
                inputs = filters
            self.convolutions = nn.Sequential(*layers, nn.Flatten())
            self.body = perceptron(inputs * height * width, self.hidden, activation)
        self.feature_size = self.hidden[-1]
        self._complete(groups=math.prod(observation_space.shape[1:]))

    def step(self, observations: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.step`."""
        images = self._normalised(observations).reshape(-1, *self.observation_space.shape)
        return self.body(self.convolutions(images)), state


class Critic(nn.Module):
    """A state value on the body of a student, with the same interface.

    Args:
        body: A student, made with `action_space=None` unless it shares its body with a policy.
        seed: Seed of the last layer; None draws it from torch's global generator.
    """

    def __init__(self, body: Student, *, seed: int | None = None) -> None:
        super().__init__()
        self.body = body
        self.value = nn.Linear(body.feature_size, 1, device="meta").to_empty(device=body.normalizer.mean.device)
        generator = torch.default_generator if seed is None else torch.Generator().manual_seed(seed)
        with torch.no_grad():
            nn.init.orthogonal_(self.value.weight, 1.0, generator=generator)
            nn.init.zeros_(self.value.bias)

    @property
    def state_size(self) -> int:
        """Numbers that the memory of one row takes."""
        return self.body.state_size

    def initial_state(self, n: int) -> Tensor:
        """Return the memory (n, state_size) at an episode's start."""
        return self.body.initial_state(n)

    def step(self, observations: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return values (n,) of observations (n, d) and the next state; see `Student.step`."""
        features, state = self.body.step(observations, state)
        return self.value(features).squeeze(-1), state

    def sequence(self, observations: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return values (t, n) of observations (t, n, d) and the final state; see `Student.sequence`."""
        features, state = self.body.sequence(observations, starts, state)
        return self.value(features).squeeze(-1), state


def value_network(body: Student, *, seed: int | None = None) -> Critic:
    """Return V(s), or V(s, h) when the body has memory: the body and one linear output."""
    return Critic(body, seed=seed)


# -- memory --------------------------------------------------------------------------------------------------------


class Window:
    """The last `history` observations of every row as a flat state.

    The state holds the `history - 1` observations before the next one, raw, the oldest first, and the number of them
    that were seen in this episode. A place that nothing was seen for holds the episode's first observation. All zeros
    is the state before an episode: nothing seen.
    """

    def __init__(self, history: int, size: int) -> None:
        self.history, self.size = history, size
        self.state_size = (history - 1) * size + 1

    def _split(self, state: Tensor) -> tuple[Tensor, Tensor]:
        return state[:, :-1].reshape(len(state), self.history - 1, self.size), state[:, -1]

    def _join(self, rows: Tensor, seen: Tensor) -> Tensor:
        return torch.cat([rows.flatten(1), seen.clamp(max=self.history - 1)[:, None]], dim=1)

    def step(self, observations: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return rows (n, history, size), which of them were seen (n, history) and the next state."""
        observations = observations.to(state.dtype)
        before, seen = self._split(state)
        now = observations[:, None]
        rows = torch.cat([torch.where(seen[:, None, None] == 0, now, before), now], dim=1)
        ages = torch.arange(self.history - 1, -1, -1, device=state.device)
        return rows, ages <= seen[:, None], self._join(rows[:, 1:], seen + 1)

    def sequence(
        self, observations: Tensor, starts: Tensor, state: Tensor, normalizer: nn.Module
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return normalised rows (t, n, history, size), which were seen (t, n, history) and the final state."""
        t, n, _ = observations.shape
        before, seen = self._split(state)
        everything = torch.cat([before.transpose(0, 1), observations.to(state.dtype)])
        first = self.history - 1  # the place of the first new observation in `everything`
        times = torch.arange(t, device=state.device)[:, None]
        begins = torch.where(starts, first + times, first - seen.long())
        begins = begins.cummax(0).values
        places = times[:, :, None] + torch.arange(self.history, device=state.device)
        held = torch.maximum(places, begins[:, :, None])
        index = held * n + torch.arange(n, device=state.device)[:, None]
        normalised = normalizer(everything).flatten(0, 1)
        rows = normalised.index_select(0, index.flatten()).reshape(t, n, self.history, self.size)
        last = everything.flatten(0, 1).index_select(0, index[-1, :, 1:].flatten())
        after = self._join(last.reshape(n, first, self.size), (first + t - begins[-1]).to(state.dtype))
        return rows, places >= begins[:, :, None], after


def between_starts(
    run: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], rows: Tensor, starts: Tensor, state: Tensor, initial: Tensor
) -> tuple[Tensor, Tensor]:
    """Run a recurrent layer over stretches, memory put back where episodes start.

    All rows are cut wherever an episode of any of them starts, and one fused call runs over each piece. This beats
    packing episodes as ragged rows, which torch computes at about half the speed.

    Args:
        run: Maps rows (t, n, d) and the state before them (n, k) to outputs (t, n, f) and the state after them.
        rows: (t, n, d).
        starts: (t, n) bool.
        state: (n, k) before the first row.
        initial: (k,), the state at an episode's start.

    Returns:
        Outputs (t, n, f) and the final state (n, k).
    """
    t = len(rows)
    some = starts.any(1).tolist()
    cuts = [0, *(time for time in range(1, t) if some[time]), t]
    pieces = []
    for begin, end in pairwise(cuts):
        if some[begin]:
            state = torch.where(starts[begin, :, None], initial, state)
        outputs, state = run(rows[begin:end], state)
        pieces.append(outputs)
    return torch.cat(pieces), state


# -- building ------------------------------------------------------------------------------------------------------

ARCHITECTURES: dict[str, type[Student]] = {cls.architecture: cls for cls in (MLP, Stack, GRU, LSTM, Transformer, CNN)}
"""Name of an architecture to its class; the keyword arguments of the constructor are its hyperparameters."""


def make_student(architecture: str, observation_space: spaces.Box, action_space: ActionSpace, **kwargs: Any) -> Student:
    """Build a student.

    Args:
        architecture: A name in `ARCHITECTURES`.
        observation_space: A Box.
        action_space: Box with finite bounds, Discrete, or None for a body without a head.
        **kwargs: Hyperparameters of the architecture.

    Raises:
        UnknownName: For an unknown architecture, with the nearest known one.
        ConfigError: For hyperparameters that it does not take or that are out of range.
        InvalidValue: For spaces that no student handles, and for networks that do not fit into memory.
    """
    if architecture not in ARCHITECTURES:
        raise UnknownName("student architecture", architecture, ARCHITECTURES, next_step=f"There are: {_names()}.")
    cls = ARCHITECTURES[architecture]
    faults = hyperparameter_faults(cls, kwargs, reserved=SPACES)
    if faults:
        raise ConfigError(faults, where=f"student {architecture!r}")
    return cls(observation_space, action_space, **kwargs)


def student_faults(architecture: str, kwargs: Mapping[str, Any]) -> list[str]:
    """Return one sentence for everything wrong with a student's name and hyperparameters; allocates nothing."""
    shape = (1, 8, 8) if architecture == "cnn" else (1,)
    try:
        with on_meta():
            make_student(architecture, spaces.Box(0.0, 1.0, shape), None, **kwargs)
    except ConfigError as error:
        return error.faults
    except (UnknownName, InvalidValue) as error:
        return [str(error)]
    return []


def _names() -> str:
    return ", ".join(ARCHITECTURES)


@contextmanager
def on_meta() -> Iterator[None]:
    """Build modules without memory, so that their size can be checked before it is asked for."""
    with torch.device("meta"):
        yield


def check_size(module: nn.Module) -> None:
    """Raise InvalidValue when a module, its gradient and Adam's moments would not fit into the machine's memory."""
    count = sum(parameter.numel() for parameter in module.parameters())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    need = 4 * COPIES * count
    if need > memory:
        raise InvalidValue(
            f"{type(module).__name__} would have {count:,} parameters, {need / 2**30:,.0f} GiB with gradient and "
            f"optimiser; this machine has {memory / 2**30:,.0f} GiB. Make its layers narrower."
        )


def check_image(space: spaces.Box) -> None:
    """Raise InvalidValue when a Box is no image with its channels first."""
    if len(space.shape) != 3 or (space.shape[2] <= 4 < space.shape[0]):
        raise InvalidValue(
            f"a cnn sees images of shape (channels, height, width), not {space.shape}. "
            "stable_baselines3's VecTransposeImage puts the channels first; a flat Box takes mlp."
        )


def perceptron(inputs: int, hidden: Sequence[int], activation: str) -> nn.Sequential:
    """Return dense layers of the given widths, each followed by the activation."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), ACTIVATIONS[activation]()]
        inputs = width
    return nn.Sequential(*layers)


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Initialise the parameters of one layer; see `Student.reset`."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.orthogonal_(module.weight, math.sqrt(2), generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.RNNBase):
        gates = 4 if isinstance(module, nn.LSTM) else 3
        weights, biases = module.all_weights[0][:2], module.all_weights[0][2:]
        for gate in (part for weight in weights for part in weight.chunk(gates)):
            nn.init.orthogonal_(gate, generator=generator)
        for bias in biases:
            nn.init.zeros_(bias)
        if isinstance(module, nn.LSTM):
            biases[0][module.hidden_size : 2 * module.hidden_size] = 1.0  # a forget gate begins by keeping
    elif isinstance(module, nn.LayerNorm):
        module.reset_parameters()


# -- checks of hyperparameters -------------------------------------------------------------------------------------


def check(where: str, *faults: str | None) -> None:
    """Raise ConfigError when there is a fault among `faults`; None stands for none."""
    found = [fault for fault in faults if fault]
    if found:
        raise ConfigError(found, where=f"hyperparameters of {where}")


def whole(name: str, value: Any, low: int, high: int) -> str | None:
    """Return a sentence when a value is no whole number in [low, high]."""
    if isinstance(value, Integral) and not isinstance(value, bool) and low <= int(value) <= high:
        return None
    return f"{name} = {value!r} must be a whole number in [{low}, {high}]"


def number(name: str, value: Any, *, above: float) -> str | None:
    """Return a sentence when a value is no finite number above a limit."""
    if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) and float(value) > above:
        return None
    return f"{name} = {value!r} must be a finite number above {above:g}"


def widths(name: str, values: Any, high: int = WIDEST) -> list[str | None]:
    """Return a sentence for everything wrong with the widths of layers."""
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) == 0:
        return [f"{name} = {values!r} must be one or more widths, such as [64, 64]"]
    return [whole(f"{name}[{i}]", value, 1, high) for i, value in enumerate(values)]


def one_of(name: str, value: Any, known: Mapping[str, Any]) -> str | None:
    """Return a sentence when a value is none of the known names."""
    if isinstance(value, str) and value in known:
        return None
    return f"{name} = {value!r} must be one of {', '.join(known)}.{did_you_mean(str(value), known)}"


# -- files ---------------------------------------------------------------------------------------------------------


def describe_space(space: ActionSpace) -> dict[str, Any] | None:
    """Return a Box or Discrete space as JSON; bounds are one number where all are equal, null where infinite."""
    if space is None:
        return None
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
    assert isinstance(space, spaces.Box)
    bounds = {"low": _bounds(space.low), "high": _bounds(space.high)}
    return {"kind": "Box", "shape": list(space.shape), "dtype": str(space.dtype), **bounds}


def space_from(description: Mapping[str, Any] | None) -> Any:
    """Return the space that `describe_space` described."""
    if description is None:
        return None
    if description["kind"] == "Discrete":
        return spaces.Discrete(description["n"], start=description["start"])
    dtype: Any = np.dtype(description["dtype"]).type
    shape = tuple(description["shape"])
    low, high = (
        _full(description[side], missing, shape, dtype) for side, missing in (("low", -np.inf), ("high", np.inf))
    )
    return spaces.Box(low, high, shape, dtype)


def _bounds(values: NDArray[Any]) -> Any:
    plain = [value if math.isfinite(value) else None for value in values.ravel().tolist()]
    return plain[0] if len(set(plain)) == 1 else plain


def _full(bounds: Any, missing: float, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    values = bounds if isinstance(bounds, list) else [bounds] * math.prod(shape)
    return np.array([missing if value is None else value for value in values], dtype=dtype).reshape(shape)


def student_from(description: Mapping[str, Any]) -> Student:
    """Build a student, freshly initialised, from what `Student.describe` returned."""
    observation_space, action_space = (space_from(description[name]) for name in SPACES)
    return make_student(description["architecture"], observation_space, action_space, **description["kwargs"])


def save_student(student: Student, directory: Path | str) -> None:
    """Write `student.json` and `student.safetensors`, each in one step; nothing in them can execute."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    data = save_tensors({name: tensor.contiguous() for name, tensor in student.state_dict().items()})
    write_atomically(directory / "student.safetensors", data)
    write_json(directory / "student.json", {**student.describe(), "sha256": hashlib.sha256(data).hexdigest()})


def load_student(directory: Path | str) -> Student:
    """Return the student that `save_student` wrote.

    Raises:
        RunDirectoryError: When a file is missing, damaged, or of another version.
    """
    directory = Path(directory)
    description = read_json(directory / "student.json")
    if not isinstance(description, dict) or description.get("schema") != SCHEMA:
        raise RunDirectoryError(f"{directory / 'student.json'} describes no student of schema {SCHEMA}")
    path = directory / "student.safetensors"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunDirectoryError(f"cannot read {path}: {error.strerror or error}") from error
    if hashlib.sha256(data).hexdigest() != description.get("sha256"):
        raise RunDirectoryError(f"{path} is damaged: its sha256 is not the one in student.json beside it")
    try:
        student = student_from(description)
        student.load_state_dict(load_tensors(data))
    except (KeyError, TypeError, RuntimeError, ConfigError, InvalidValue) as error:
        raise RunDirectoryError(f"{directory} holds no student that fits its description: {error}") from error
    return student
