"""What every back-end shares: a thin wrapper that offers `get_snapshot` and `set_snapshot` for others' environments."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np

from rlteach.environments import capability
from rlteach.errors import InvalidValue, UserError

BOOKKEEPING = frozenset(
    {"TimeLimit", "OneEnd", "OrderEnforcing", "PassiveEnvChecker", "RecordEpisodeStatistics", "RecordVideo", "Monitor"}
)
"""Wrappers, by class name, that count or check but change no observation, reward or termination.

Their counters are no part of a snapshot: whoever starts an episode from one puts them right.
"""

LIBRARIES = ("gymnasium", "stable_baselines3", "rlteach_envs")


class Restorable(gym.Wrapper[Any, Any, Any, Any], ABC):
    """Takes and puts back snapshots of an environment that offers none.

    Put it around everything that changes observations; `TimeLimit` and its like may stand on either side. Reset once
    through it before the first snapshot is taken.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._observation: Any = None

    @abstractmethod
    def get_snapshot(self) -> dict[str, Any]:
        """Return the whole state, in a form that `encode` takes; what is played later does not change it.

        Raises:
            UserError: When the state cannot be taken, for instance before the first reset.
        """

    @abstractmethod
    def set_snapshot(self, snapshot: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Continue from a snapshot of this or an equal environment; return its observation and an empty info.

        Raises:
            InvalidValue: When it is a snapshot of another kind of environment.
        """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset, and remember the observation."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._observation = copied(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and remember the observation."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._observation = copied(observation)
        return observation, reward, terminated, truncated, info

    def _last_observation(self) -> Any:
        """Return a copy of what was last observed, so that no back-end needs to know how observations are made."""
        if self._observation is None:
            raise UserError(f"call reset() before get_snapshot(): {self} has not started an episode")
        return copied(self._observation)

    def _observe_again(self, snapshot: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return the observation of a snapshot as `reset` does, with an info that is empty."""
        self._observation = copied(part(snapshot, "observation"))
        return copied(self._observation), {}

    def _ensure_started(self) -> None:
        """Reset unless that was done: wrappers inside, such as `OrderEnforcing`, refuse to step otherwise."""
        if self._observation is None:
            self.env.reset()


def is_bookkeeping(layer: gym.Env[Any, Any]) -> bool:
    """Tell whether a layer is one of the `BOOKKEEPING` wrappers of one of the `LIBRARIES`."""
    kind: Any = type(layer)
    return bool(_is_bookkeeper(kind))


@cache
def _is_bookkeeper(kind: type[Any]) -> bool:
    return kind.__name__ in BOOKKEEPING and kind.__module__.split(".")[0] in LIBRARIES


def part(snapshot: Mapping[str, Any], name: str) -> Any:
    """Return an entry of a snapshot.

    Raises:
        InvalidValue: When it has none of that name, so that it was taken by something else.
    """
    if name not in snapshot:
        held = ", ".join(map(str, snapshot)) or "nothing"
        raise InvalidValue(f"this snapshot has no {name!r}; it holds {held}, so another kind of environment took it")
    return snapshot[name]


def copied(observation: Any) -> Any:
    """Return a deep copy, quickly where it is one array or a dictionary of them."""
    if type(observation) is np.ndarray:
        return observation.copy()
    if type(observation) is dict:
        return {key: copied(value) for key, value in observation.items()}
    return copy.deepcopy(observation)


def layers_of(env: gym.Env[Any, Any]) -> Iterator[gym.Env[Any, Any]]:
    """Yield an environment's wrappers from the outside in, and last the bare environment."""
    while isinstance(env, gym.Wrapper):
        yield env
        env = env.env
    yield env


def own_elapsed(env: gym.Env[Any, Any]) -> int | None:
    """Return MiniGrid's count of steps; None for other environments, whose counts are in their snapshots."""
    bare: Any = env.unwrapped
    counts = "step_count" in vars(bare) and "max_steps" in vars(bare)
    return int(bare.step_count) if counts else None


def set_elapsed(env: gym.Env[Any, Any], steps: int) -> None:
    """Let every time limit of an environment say that `steps` steps are used up: those of wrappers and its own.

    An environment that counts by itself offers `set_elapsed(steps)`; MiniGrid's count in `step_count`.
    """
    for layer in layers_of(env):
        if "_elapsed_steps" in vars(layer):
            layer._elapsed_steps = steps  # type: ignore[attr-defined]
    own = capability(env, "set_elapsed")
    if own is not None:
        own(steps)
    elif own_elapsed(env) is not None:
        bare: Any = env.unwrapped
        bare.step_count = steps
