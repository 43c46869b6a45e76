"""The door to snapshots: any environment made restorable, and a snapshot that knows what it is a snapshot of.

    env = restorable(gym.make("Hopper-v5"))
    env.reset(seed=0)
    data = capture(env)                      # bytes, for a file or another process
    observation, info = restore(env, data)   # refused by another environment, version or model

Three back-ends, in the order in which they are tried: the state of MuJoCo (`MujocoState`), a copy of the attributes
(`AttributeCopy`), and a replay of the actions (`ActionReplay`). `rlteach.snapshots.verify` tells whether a snapshot of
some environment is exact.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import weakref
from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import is_not
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from rlteach import environments
from rlteach.errors import InvalidValue, MissingCapability
from rlteach.snapshots import mujoco_state
from rlteach.snapshots.action_replay import ActionReplay
from rlteach.snapshots.attributes import AttributeCopy, unfit
from rlteach.snapshots.base import layers_of
from rlteach.snapshots.encoding import decode, encode
from rlteach.snapshots.mujoco_state import MujocoState

RECIPE = """
class MyEnv(gymnasium.Env):
    def get_snapshot(self): return {"position": self.position.copy(), "generator": self.np_random.bit_generator.state}
    def set_snapshot(self, snapshot):
        self.position, self.np_random.bit_generator.state = snapshot["position"].copy(), snapshot["generator"]
        return self._observe(), {}

Most single environments need no change: from rlteach.snapshots.restorable import restorable; env = restorable(env)"""

MUJOCO_PICTURES = frozenset(
    {
        "render_mode",
        "width",
        "height",
        "camera_id",
        "camera_name",
        "default_camera_config",
        "max_geom",
        "visual_options",
    }
)
"""Keyword arguments that decide how a MuJoCo environment is drawn and nothing else."""


def restorable(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Return `env` itself where it offers snapshots, else `env` inside the back-end that suits it.

    Best called before the first reset: an environment that has no random generator yet is reset and stepped once, bare,
    to see what its state consists of, and `ActionReplay` can take snapshots only of episodes whose start it saw.

    Raises:
        MissingCapability: When it is no single Gymnasium environment and offers no snapshots itself.
    """
    if _offers_snapshots(env):
        return env
    if not isinstance(env, gym.Env):
        raise _missing(env)
    _try_out(env.unwrapped)
    if mujoco_state.is_mujoco(env):
        return ActionReplay(env) if mujoco_state.why_not(env) else MujocoState(env)
    return ActionReplay(env) if unfit(env) else AttributeCopy(env)


def capture(env: gym.Env[Any, Any]) -> bytes:
    """Return the state of an environment as bytes, with its fingerprint.

    Raises:
        MissingCapability: When it offers no snapshots.
        InvalidValue: When its snapshot holds something that has no bytes.
    """
    snapshot = _methods(env)[0]()
    marks = _marks(env)
    return encode({"env": _described(marks), "fingerprint": _digest(marks), "snapshot": snapshot})


def restore(env: gym.Env[Any, Any], data: bytes) -> tuple[Any, dict[str, Any]]:
    """Continue from what `capture` returned, here or in another process; return observation and info, as `reset` does.

    Raises:
        InvalidValue: When the bytes are damaged or were captured in another environment, version or model.
        MissingCapability: When the environment offers no snapshots.
    """
    set_snapshot = _methods(env)[1]
    content = decode(data)
    if "fingerprint" not in content:
        raise InvalidValue("these bytes hold no snapshot that `capture` took: they have no fingerprint")
    marks = _marks(env)
    if content["fingerprint"] != _digest(marks):
        raise InvalidValue(
            f"this snapshot was taken in\n    {content['env']}\nand cannot be restored in\n    {_described(marks)}\n"
            "Build the environment as it was there, or take the snapshot again"
        )
    if any(map(_refuses_to_step, layers_of(env))):
        env.reset()
    restored: tuple[Any, dict[str, Any]] = set_snapshot(content["snapshot"])
    return restored


def _refuses_to_step(layer: gym.Env[Any, Any]) -> bool:
    """Tell whether a wrapper still waits for its first reset."""
    waits = isinstance(layer, OrderEnforcing) and not layer.has_reset
    return waits or (isinstance(layer, TimeLimit) and layer._elapsed_steps is None)


def _offers_snapshots(env: Any) -> bool:
    return all(callable(environments.capability(env, name)) for name in ("get_snapshot", "set_snapshot"))


def _methods(env: Any) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    take, put = (environments.capability(env, name) for name in ("get_snapshot", "set_snapshot"))
    if not (callable(take) and callable(put)):
        raise _missing(env)
    return take, put


def _missing(env: Any) -> MissingCapability:
    return MissingCapability("`get_snapshot` and `set_snapshot`", where=str(env), recipe=RECIPE)


def _try_out(bare: gym.Env[Any, Any]) -> None:
    """Reset and step once, unless that was done: many environments make their state no sooner."""
    if vars(bare).get("_np_random") is None:
        bare.reset()
        bare.step(copy.deepcopy(bare.action_space).sample())  # a copy, since others may draw from its own


# -- whose snapshot it is ----------------------------------------------------------------------------------------------


class _Marks(NamedTuple):
    """What tells one environment from another."""

    name: str
    version: str
    arguments: str
    spaces: str
    model: str


def fingerprint(env: gym.Env[Any, Any]) -> str:
    """Return 16 hex digits that differ between environments which cannot exchange snapshots.

    They cover the id (else module and class), the environment's own `env_version`, the keyword arguments that it was
    made with (those for drawing apart), the spaces, and for MuJoCo everything in the compiled model as it is now.
    """
    return _digest(_marks(env))


class _Given(NamedTuple):
    """What decides the marks of an environment, apart from its version and its model; compared by identity."""

    kind: Any
    spec: Any
    observation_space: Any
    action_space: Any
    arguments: Any


_KNOWN: dict[int, tuple[_Given, _Marks]] = {}
"""The last marks of each environment, by its `id`: to write spaces and arguments as text takes longer than a snapshot.

An environment need not be hashable, so no weak dictionary. Whatever the key, the marks are those of what is given.
"""


def _marks(env: gym.Env[Any, Any]) -> _Marks:
    bare = env.unwrapped
    in_mujoco = mujoco_state.is_mujoco(env)
    version = str(environments.capability(env, "env_version", ""))
    model = mujoco_state.model_digest(env) if in_mujoco else ""
    given = _Given(type(bare), bare.spec, env.observation_space, env.action_space, _arguments(bare))
    known = _KNOWN.get(id(env))
    if known is None:
        weakref.finalize(env, _KNOWN.pop, id(env), None).atexit = False
    if known is None or any(map(is_not, given, known[0])):
        marks = _Marks(
            name=f"{type(bare).__module__}:{type(bare).__qualname__}" if bare.spec is None else bare.spec.id,
            version=version,
            arguments=_written(given.arguments, apart=MUJOCO_PICTURES if in_mujoco else frozenset({"render_mode"})),
            spaces=f"{given.observation_space!r} {given.action_space!r}",
            model=model,
        )
    elif (version, model) != (known[1].version, known[1].model):
        marks = known[1]._replace(version=version, model=model)
    else:
        return known[1]
    _KNOWN[id(env)] = given, marks
    return marks


@lru_cache(maxsize=256)
def _digest(marks: _Marks) -> str:
    return _short("\n".join(marks))


@lru_cache(maxsize=256)
def _described(marks: _Marks) -> str:
    told = [
        marks.name,
        f"version {marks.version}" if marks.version else "",
        f"arguments {marks.arguments}",
        f"spaces {_short(marks.spaces)}",
        f"model {marks.model[:16]}" if marks.model else "",
    ]
    return ", ".join(filter(None, told))


def _arguments(bare: gym.Env[Any, Any]) -> Any:
    """Return the keyword arguments that an environment was made with, as far as it is known, else None."""
    if bare.spec is not None:
        return bare.spec.kwargs
    kept = (vars(bare).get(name) for name in ("constructor_arguments", "_ezpickle_kwargs"))
    return next((told for told in kept if told is not None), None)


def _written(arguments: Mapping[str, Any] | None, apart: frozenset[str]) -> str:
    kept = {name: value for name, value in (arguments or {}).items() if name not in apart}
    return json.dumps(kept, sort_keys=True, default=_told)


def _told(value: Any) -> Any:
    """Return what stands for an argument that is no JSON; it must not differ between processes."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}:{value.__qualname__}"
    return re.sub(r"0x[0-9a-f]+", "0x", repr(value))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
