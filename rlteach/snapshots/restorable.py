"""The door to snapshots: any environment made restorable, and a snapshot that knows what it is a snapshot of.

    env = restorable(gym.make("Hopper-v5"))
    env.reset(seed=0)
    data = capture(env)                      # bytes, for a file or another process
    observation, info = restore(env, data)   # refused by another environment, version, model or engine

Three back-ends, in the order in which they are tried: the state of MuJoCo (`MujocoState`), a copy of the attributes
(`AttributeCopy`), and a replay of the actions (`ActionReplay`). `rlteach.snapshots.verify` tells whether a snapshot of
some environment is exact.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import re
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from operator import is_not
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from rlteach import environments
from rlteach.errors import InvalidValue, MissingCapability
from rlteach.snapshots import mujoco_state
from rlteach.snapshots.action_replay import ActionReplay
from rlteach.snapshots.attributes import AttributeCopy, unfit
from rlteach.snapshots.base import as_seen, is_bookkeeping, layers_of, restoring_layer
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

FROM_FILE = "^rlteach_file_[0-9a-f]{12}_"
"""How the name of a module begins that `file.py:Class` has loaded; the digits are those of the file's place."""


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
    """Return the state of an environment as bytes, with what tells whose it is.

    Raises:
        MissingCapability: When it offers no snapshots.
        InvalidValue: When its snapshot holds something that has no bytes.
    """
    snapshot = _methods(env)[0]()
    name, print_, engines = identity_of(env)
    return encode({"env": name, "fingerprint": print_, "engines": dict(engines), "snapshot": snapshot})


def restore(env: gym.Env[Any, Any], data: bytes) -> tuple[Any, dict[str, Any]]:
    """Continue from what `capture` returned, here or in another process; return observation and info, as `reset` does.

    Raises:
        InvalidValue: When the bytes are damaged or were captured in another environment, version, model or engine.
        MissingCapability: When the environment offers no snapshots.
    """
    set_snapshot = _methods(env)[1]
    content = decode(data)
    if "fingerprint" not in content:
        raise InvalidValue("these bytes hold no snapshot that `capture` took: they have no fingerprint")
    here = identity_of(env)
    refuse_other_engines(content.get("engines", {}), here.engines)
    if content["fingerprint"] != here.fingerprint:
        raise InvalidValue(
            f"this snapshot was taken in\n    {content['env']}\nand cannot be restored in\n    {here.name}\n"
            "Build the environment as it was there, or take the snapshot again"
        )
    if any(map(_refuses_to_step, layers_of(env))):
        env.reset()
    observation, info = set_snapshot(content["snapshot"])
    return as_seen(env, observation), info


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


ENGINES = frozenset({"mujoco", "Box2D", "minigrid"})
"""Packages, by the name that is imported, whose every version may play on from a state in another way."""


class Identity(NamedTuple):
    """What tells whether an environment can take another one's snapshots.

    Attributes:
        name: For messages: id or class, version, arguments, digests of spaces and model.
        fingerprint: See `fingerprint`.
        engines: Versions of the `ENGINES` that it plays with, by name.
    """

    name: str
    fingerprint: str
    engines: Mapping[str, str]


def identity_of(env: gym.Env[Any, Any]) -> Identity:
    """Return whose the snapshots of an environment are: those of its layer that takes them, whatever is around that."""
    layer = restoring_layer(env)
    marks = _marks(layer)
    return Identity(
        _described(marks), _digest(marks), {name: str(sys.modules[name].__version__) for name in marks.engines}
    )


def fingerprint(env: gym.Env[Any, Any]) -> str:
    """Return 16 hex digits that differ between environments which cannot exchange snapshots.

    They cover the id (else module and class), the environment's own `env_version`, the arguments that it and the
    wrappers inside were made with, as far as they keep them (those for drawing apart), the spaces, and for MuJoCo
    everything in the compiled model as it is now. What is in a file counts, not where it is. A class that keeps
    no arguments had better tell them in `env_version`.
    """
    return identity_of(env).fingerprint


def refuse_other_engines(theirs: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Refuse states of another version of an engine.

    Args:
        theirs: Versions under which states were taken, by engine.
        ours: Versions that are installed here.

    Raises:
        InvalidValue: Naming both versions and what to do.
    """
    for name, version in theirs.items():
        if ours.get(name, version) != version:
            raise InvalidValue(
                f"this was taken under {name} {version}, and here is {name} {ours[name]}, which may go on from the "
                f"same numbers in another way: collect again, or install {name} {version}"
            )


class _Marks(NamedTuple):
    """What tells one environment from another."""

    name: str
    version: str
    arguments: str
    spaces: str
    model: str
    engines: tuple[str, ...]


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
    kind: Any = type(bare)
    in_mujoco = mujoco_state.is_mujoco(env)
    version = str(environments.capability(env, "env_version", "")) or _file_digest(kind)
    model = mujoco_state.model_digest(env) if in_mujoco else ""
    given = _Given(kind, bare.spec, env.observation_space, env.action_space, _kept_arguments(bare))
    known = _KNOWN.get(id(env))
    if known is None:
        weakref.finalize(env, _KNOWN.pop, id(env), None).atexit = False
    if known is None or any(map(is_not, given, known[0])):
        apart = MUJOCO_PICTURES if in_mujoco else frozenset({"render_mode"})
        marks = _Marks(
            name=_kind_name(kind) if bare.spec is None else bare.spec.id,
            version=version,
            arguments="".join((_written(_arguments(bare), apart), *_layers_with_arguments(env))),
            spaces=f"{_shown(given.observation_space)} {_shown(given.action_space)}",
            model=model,
            engines=_engines(env),
        )
    elif (version, model) != (known[1].version, known[1].model):
        marks = known[1]._replace(version=version, model=model)
    else:
        return known[1]
    _KNOWN[id(env)] = given, marks
    return marks


@lru_cache(maxsize=256)
def _digest(marks: _Marks) -> str:
    return _short("\n".join((marks.name, marks.version, marks.arguments, marks.spaces, marks.model)))


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


def _kept_arguments(bare: gym.Env[Any, Any]) -> Any:
    """Return what an environment keeps of the arguments that it was made with, None where it keeps nothing."""
    if bare.spec is not None:
        return bare.spec.kwargs
    own = vars(bare)
    told = own.get("constructor_arguments")
    return told if isinstance(told, Mapping) else own.get("_ezpickle_args")


def _arguments(bare: gym.Env[Any, Any]) -> Mapping[str, Any]:
    """Return the arguments that an environment was made with, by name, as far as it is known.

    Gymnasium's `EzPickle` keeps those of its classes by position; what is the default there is left out. Of a class
    that keeps none the space of its tasks says something.
    """
    kept = _kept_arguments(bare)
    if kept is None:
        space = environments.capability(bare, "task_space")
        return {} if space is None else {"task_space": space}
    if isinstance(kept, Mapping):
        return kept
    named = vars(bare)["_ezpickle_kwargs"]
    try:
        signature = inspect.signature(type(bare))
        given = signature.bind(*kept, **named).arguments
    except TypeError:  # what a base class was given
        return {**{str(place): value for place, value in enumerate(kept)}, **named}
    rest = given.pop(next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), ""), {})
    told = {name: value for name, value in given.items() if _json(value) != _json(signature.parameters[name].default)}
    return {**told, **rest}


def _layers_with_arguments(env: gym.Env[Any, Any]) -> Iterator[str]:
    """Yield the layers that keep their arguments as Gymnasium's wrappers do, apart from those that change nothing."""
    for layer in layers_of(env):
        if "_saved_kwargs" in vars(layer) and not is_bookkeeping(layer):
            yield f" in {type(layer).__name__}{_written(vars(layer)['_saved_kwargs'], frozenset())}"


def _written(arguments: Mapping[str, Any], apart: frozenset[str]) -> str:
    return _json(_content({name: value for name, value in arguments.items() if name not in apart}))


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=_told)


def _content(value: Any) -> Any:
    """Return an argument with the contents of the files that it names in place of their paths."""
    if isinstance(value, Mapping):
        return {name: _content(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_content(part) for part in value]
    if isinstance(value, Path) or (isinstance(value, str) and "/" in value):
        file, _, inside = str(value).partition(".py:")  # `file.py:Class`
        with suppress(OSError, ValueError, RuntimeError):  # no file is there, or the text is no path at all
            return f"file {_short(Path(f'{file}.py' if inside else value).expanduser().read_bytes())} {inside}".strip()
    return value


def _told(value: Any) -> Any:
    """Return what stands for an argument that is no JSON; it must not differ between processes."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):  # in an order that is the same in every process
        return sorted(map(_json, value))
    if hasattr(value, "__qualname__"):
        return _kind_name(value)
    return _shown(value)


def _shown(value: Any) -> str:
    """Return the `repr` of something without addresses, which functions in MiniGrid's spaces have too."""
    return re.sub(r"0x[0-9a-f]+", "0x", repr(value))


def _kind_name(kind: Any) -> str:
    """Return where a class or function is defined; for `file.py:Class` the name of the file, not its place."""
    return f"{re.sub(FROM_FILE, '', getattr(kind, '__module__', None) or '')}:{kind.__qualname__}"


@lru_cache(maxsize=256)
def _file_digest(kind: type) -> str:
    """Return the digest of the file that a class of `file.py:Class` comes from: nothing else tells its version."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return _short(Path(file).read_bytes()) if file and re.match(FROM_FILE, kind.__module__) else ""


def _engines(env: gym.Env[Any, Any]) -> tuple[str, ...]:
    """Return the names of the engines that the layers of an environment, or what they hold, are made of."""
    kinds: set[Any] = {type(part) for layer in layers_of(env) for part in (layer, *vars(layer).values())}
    names = {name for kind in kinds for name in _engines_of(kind)}
    held = [part for part in vars(env.unwrapped).values() if isinstance(part, gym.Env)]
    return tuple(sorted(names.union(*map(_engines, held))))


@lru_cache(maxsize=4096)
def _engines_of(kind: type) -> frozenset[str]:
    """Return the engines that a class belongs to, or that a module imports which defines it or one of its bases."""
    modules = [sys.modules[base.__module__] for base in kind.__mro__ if base.__module__ in sys.modules]
    imported = [value for module in modules for value in vars(module).values() if isinstance(value, ModuleType)]
    return ENGINES & {module.__name__.split(".")[0] for module in (*modules, *imported)}


def _short(content: str | bytes) -> str:
    data = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()[:16]
