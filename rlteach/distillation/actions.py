"""What a student says about actions: distributions in units of [-1, 1], and the scale of the environment's actions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from rlteach.errors import InvalidValue

ActionSpace: TypeAlias = spaces.Space[Any] | None
FloatArray: TypeAlias = NDArray[np.floating[Any]]


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
