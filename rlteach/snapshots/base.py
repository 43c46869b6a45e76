"""What every back-end shares: a thin wrapper that offers `get_snapshot` and `set_snapshot` for others' environments."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import takewhile
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

COUNTERS = {"_elapsed_steps": "_max_episode_steps", "step_count": "max_steps"}
"""Attributes that count the steps of an episode, each with that of its limit: Gymnasium's `TimeLimit`, and MiniGrid."""


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


def wrappers_of(env: gym.Env[Any, Any]) -> list[gym.Wrapper[Any, Any, Any, Any]]:
    """Return an environment's wrappers from the outside in."""
    return [layer for layer in layers_of(env) if isinstance(layer, gym.Wrapper)]


def restoring_layer(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Return the layer that takes and puts back snapshots, which know nothing of those around it; else `env`."""
    return next((layer for layer in layers_of(env) if _restores(layer)), env)


def _restores(layer: gym.Env[Any, Any]) -> bool:
    """Tell whether a layer takes snapshots itself; a wrapper may pass on what is asked of it."""
    is_wrapper = isinstance(layer, gym.Wrapper)
    return hasattr(type(layer) if is_wrapper else layer, "get_snapshot") or "get_snapshot" in vars(layer)


def around_restoring(env: gym.Env[Any, Any]) -> list[gym.Wrapper[Any, Any, Any, Any]]:
    """Return the wrappers around the layer that restores, from the outside in."""
    restoring = restoring_layer(env)
    return list(takewhile(lambda layer: layer is not restoring, wrappers_of(env)))


def as_seen(env: gym.Env[Any, Any], observation: Any) -> Any:
    """Return a restored observation as the wrappers around the layer that restores show it."""
    for layer in reversed(around_restoring(env)):
        if isinstance(layer, gym.ObservationWrapper):
            observation = layer.observation(observation)
    return observation


def step_counters(layer: gym.Env[Any, Any]) -> dict[str, Any]:
    """Return those of the `COUNTERS` that one layer keeps, with what they say."""
    own = vars(layer)
    return {name: own[name] for name, limit in COUNTERS.items() if name in own and limit in own}


def set_elapsed(env: gym.Env[Any, Any], steps: int) -> None:
    """Let every time limit of an environment say that `steps` steps are used up: those of wrappers and its own.

    An environment that counts in something else than `COUNTERS` offers `set_elapsed(steps)`.
    """
    for layer in layers_of(env):
        for name in step_counters(layer):
            setattr(layer, name, steps)
    own = capability(env, "set_elapsed")
    if own is not None:
        own(steps)


def told_success(info: Mapping[str, Any]) -> float:
    """Return the success that an info tells, nan where it tells none."""
    return next((float(info[key]) for key in ("is_success", "success") if key in info), math.nan)
