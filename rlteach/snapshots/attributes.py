"""Snapshots by copying attributes, for environments whose state is plain Python and numpy (classic control and such).

env = AttributeCopy(gym.make("Pendulum-v1"))

Every attribute of the bare environment and of the wrappers inside is copied, random generators included, except what
is no state: spaces, specs, functions, classes, and what belongs to drawing. An attribute that is neither plain nor one
of these (an object of a class of its own, or two names for one array) makes `unfit` say so, and then nothing is copied.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import BuiltinFunctionType, MethodWrapperType, ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from rlteach.errors import InvalidValue, UserError
from rlteach.snapshots.base import Restorable, is_bookkeeping, layers_of, part

FIXED = frozenset(
    {
        "spec",
        "metadata",
        "render_mode",
        "env",
        "_cached_spec",
        "_action_space",
        "_observation_space",
        "_metadata",
        "_saved_kwargs",
        "_ezpickle_args",
        "_ezpickle_kwargs",
        "constructor_arguments",
    }
)
"""Attributes that Gymnasium (and the last, this family) keeps and that no step changes."""

DRAWING = frozenset({"screen", "surf", "clock", "isopen", "viewer", "window", "renderer", "font"})
"""Attributes that hold a window in most environments, and None until it is opened."""

MANY = 5_000
"""Values, each counted alone and an array as one, from which on copying them all takes longer than replaying."""

ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})

_SKIPPED = FIXED | DRAWING
_STATE = frozenset({list, tuple, dict, np.ndarray, np.random.Generator})

Layer = dict[str, Any]
"""The attributes of one wrapper or environment, by name."""


class Unfit(Exception):
    """An attribute that cannot be copied; the message names it and says why."""


class AttributeCopy(Restorable):
    """Copies the attributes of the environment and of the wrappers inside this one."""

    def get_snapshot(self) -> dict[str, Any]:
        """Return the attributes, and the observation that was last seen."""
        observation = self._last_observation()
        return {"observation": observation, "attributes": read_attributes(self.env)}

    def set_snapshot(self, snapshot: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Put the attributes back."""
        self._ensure_started()
        write_attributes(self.env, part(snapshot, "attributes"))
        return self._observe_again(snapshot)


def unfit(env: gym.Env[Any, Any], *, apart: frozenset[str] = frozenset()) -> str | None:
    """Return why copying attributes would not restore this environment, or None when nothing speaks against it.

    Args:
        env: An environment that has been reset, so that all its attributes are there.
        apart: Attributes of the bare environment that are saved in another way.
    """
    seen: dict[int, str] = {}
    count = 0
    try:
        for layer in _stateful_layers(env):
            for name, plain in _copies(layer, _SKIPPED | apart).items():
                place = f"{type(layer).__name__}.{name}"
                count += _count(plain)
                if count > MANY:
                    return f"the attributes up to {place} hold {count} values"
                for key in _identities(vars(layer)[name]):
                    if seen.setdefault(key, place) != place:
                        return f"{place} and {seen[key]} share memory"
    except Unfit as error:
        return str(error)
    return None


def read_attributes(env: gym.Env[Any, Any], *, apart: frozenset[str] = frozenset()) -> list[Layer]:
    """Return copies of the attributes of every layer of `env`, in a form that `encode` takes.

    Raises:
        UserError: When one of them cannot be copied.
    """
    try:
        skipped = _SKIPPED | apart
        return [_copies(layer, skipped) for layer in _stateful_layers(env)]
    except Unfit as error:
        recipe = "from rlteach.snapshots.action_replay import ActionReplay; env = ActionReplay(env)"
        raise UserError(f"{error}, so a snapshot would be incomplete. Replay actions instead: {recipe}") from None


def write_attributes(env: gym.Env[Any, Any], attributes: list[Layer]) -> None:
    """Put back what `read_attributes` returned, into this or an equal environment.

    Raises:
        InvalidValue: When it has another number of wrappers.
    """
    layers = _stateful_layers(env)
    if len(layers) != len(attributes):
        raise InvalidValue(f"this snapshot is of {len(attributes)} layers of wrappers, but {env} has {len(layers)}")
    for layer, values in zip(layers, attributes, strict=True):
        present = vars(layer)
        for name, value in values.items():
            present[name] = value if type(value) in ATOMS else from_plain(value, present.get(name))


def _stateful_layers(env: gym.Env[Any, Any]) -> list[gym.Env[Any, Any]]:
    return [layer for layer in layers_of(env) if not is_bookkeeping(layer)]


def _copies(layer: gym.Env[Any, Any], skipped: frozenset[str]) -> Layer:
    """Return copies of those attributes of one layer that are state; most of them are atoms, which need none.

    Raises:
        Unfit: When one of them cannot be copied.
    """
    copies = {}
    for name, value in vars(layer).items():
        if name in skipped:
            continue
        kind: Any = type(value)
        if kind in ATOMS:
            copies[name] = value
        elif kind in _STATE or not _is_no_state(kind):
            copies[name] = to_plain(value, f"{type(layer).__name__}.{name}")
    return copies


@functools.lru_cache(maxsize=1024)  # asked for every attribute at every save, while there are few kinds
def _is_no_state(kind: type) -> bool:
    """Tell whether what is of this kind is a space, a specification, a module, a class, a routine, or draws."""
    if issubclass(kind, spaces.Space | EnvSpec | ModuleType | type | BuiltinFunctionType | MethodWrapperType):
        return True
    if hasattr(kind, "__get__") and not hasattr(kind, "__set__"):  # functions and methods, as in inspect.isroutine
        return True
    module = kind.__module__
    return module.split(".")[0] in ("pygame", "glfw") or module == "gymnasium.envs.mujoco.mujoco_rendering"


def _identities(value: Any) -> set[int]:
    """Return what tells whether two attributes share something that can change."""
    if isinstance(value, np.ndarray):
        while isinstance(value.base, np.ndarray):
            value = value.base
        return {id(value)}
    if isinstance(value, list | tuple):
        own = {id(value)} if isinstance(value, list) else set()
        return own.union(*map(_identities, value))
    if isinstance(value, dict):
        return {id(value)}.union(*map(_identities, value.values()))
    return set()


def _count(plain: Any) -> int:
    if isinstance(plain, dict):
        plain = list(plain.values())
    return sum(map(_count, plain)) + 1 if isinstance(plain, list | tuple) else 1


# -- one value ---------------------------------------------------------------------------------------------------------


def to_plain(value: Any, place: str) -> Any:
    """Return a copy of an attribute in a form that `encode` takes; mappings become `{"items": [[key, value], ...]}`.

    Raises:
        Unfit: When that would lose something.
    """
    kind = type(value)
    if kind in ATOMS or isinstance(value, np.generic):
        return value
    if kind is np.ndarray:
        return _own_array(value, place)
    if kind is tuple and ATOMS.issuperset(map(type, value)):
        return value
    if kind is list or kind is tuple:
        return kind([to_plain(item, place) for item in value])
    if kind is dict:
        # Pairs keep the order, in which an environment may go through them, and keys that are no text.
        return {"items": [[to_plain(key, place), to_plain(item, place)] for key, item in value.items()]}
    if kind is np.random.Generator:
        return {"generator": value.bit_generator.state}
    raise Unfit(f"{place} holds a {kind.__module__}.{kind.__qualname__}, which is not plain data")


def _own_array(value: np.ndarray, place: str) -> np.ndarray:
    if value.dtype.hasobject or value.dtype.kind == "V":
        raise Unfit(f"{place} is an array of {value.dtype}")
    root: Any = value
    while isinstance(root.base, np.ndarray):
        root = root.base
    if root.base is not None:
        raise Unfit(f"{place} is a view of memory that belongs to {type(root.base).__name__}")
    return value.copy()


def from_plain(value: Any, present: Any) -> Any:
    """Return what `to_plain` copied; a generator is put back in place, since others may hold the same one."""
    kind = type(value)
    if kind is np.ndarray:
        return value.copy()
    if kind is tuple and ATOMS.issuperset(map(type, value)):
        return value
    if kind is list or kind is tuple:
        return kind([from_plain(item, None) for item in value])
    if kind is not dict:
        return value
    if "items" in value:
        return {from_plain(key, None): from_plain(item, None) for key, item in value["items"]}
    state = value["generator"]
    name = state["bit_generator"]
    if type(present) is not np.random.Generator or type(present.bit_generator).__name__ != name:
        present = np.random.Generator(getattr(np.random, name)())
    present.bit_generator.state = state
    return present
