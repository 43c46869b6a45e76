"""Snapshots, checked in one place for every environment before anything changes.

    marks = marks_of(env)                              # {"kind": "GoalMaze(horizon=200)", "env_version": "0"}
    check_marks(snapshot, marks)                       # whose it is
    read_array(snapshot, "_clock", (4,), np.int64)     # the parts of it, one by one

Whatever is wrong is a `ForeignSnapshot`.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rlteach_envs.task_reader import all_finite, is_number, short

Shape = tuple[int | None, ...]
"""Of an array; None stands for any number."""

NO_MATTER = frozenset({"render_mode", "num_envs", "lidar", "backend"})
"""Arguments of constructors that change nothing in what is played."""

LONGEST = 300
"""Characters of a mark that a message shows."""


class ForeignSnapshot(ValueError):
    """What was to be restored is no snapshot, or that of another environment, version or size."""


def marks_of(env: Any, apart: frozenset[str] = NO_MATTER) -> dict[str, str]:
    """Return what every snapshot of an environment says of whose it is: its kind and its version.

    Args:
        env: What keeps its arguments; a batch is of the same kind as its rows.
        apart: Arguments that its snapshots do not depend on; all others that are not the default make the kind.
    """
    defaults = {name: p.default for name, p in inspect.signature(type(env)).parameters.items()}
    given = ((k, v) for k, v in getattr(env, "constructor_arguments", {}).items() if k not in apart)
    told = {name: (_told(value), _told(defaults.get(name, inspect.Parameter.empty))) for name, value in given}
    arguments = ", ".join(f"{name}={text}" for name, (text, default) in told.items() if text != default)
    name = type(env).__name__.removesuffix("Batch")
    return {"kind": f"{name}({arguments})" if arguments else name, "env_version": env.env_version}


def _told(value: Any) -> str:
    return json.dumps(_plain(value), default=repr)


def _plain(value: Any) -> Any:
    """Return an argument such that equal ones, 2 and 2.0 or tuple and list, become the same JSON."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def check_marks(snapshot: Any, marks: Mapping[str, str]) -> None:
    """Raise a ForeignSnapshot unless `snapshot` is a mapping that says the same of itself as `marks`."""
    if not isinstance(snapshot, Mapping):
        raise ForeignSnapshot(f"a snapshot is the mapping that get_snapshot returned, not {short(snapshot)}")
    theirs = {name: snapshot.get(name) for name in marks}
    if not all(isinstance(theirs[name], str) and theirs[name] == mark for name, mark in marks.items()):
        told = (", ".join(f"{name} {_cut(repr(mark))}" for name, mark in each.items()) for each in (theirs, marks))
        raise ForeignSnapshot("this snapshot is of {}, not of {}".format(*told))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _part(snapshot: Mapping[str, Any], name: str) -> Any:
    if name not in snapshot:
        raise ForeignSnapshot(f"this snapshot is damaged: it lacks {name}")
    return snapshot[name]


def read_array(snapshot: Mapping[str, Any], name: str, shape: Shape, dtype: DTypeLike) -> NDArray[Any]:
    """Return the array `name`, of finite numbers in this shape and of a kind that fits `dtype`."""
    value = _part(snapshot, name)
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        raise ForeignSnapshot(f"this snapshot is damaged: {name} = {short(value)} is no array") from None
    if array.dtype != dtype and not np.can_cast(array.dtype, dtype, "same_kind"):
        raise ForeignSnapshot(f"this snapshot is damaged: {name} holds {array.dtype}, not {np.dtype(dtype)}")
    if array.shape != shape and not _fits(array.shape, shape):
        meant = str(shape).replace("None", "n")
        raise ForeignSnapshot(f"this snapshot is of another size: {name} has shape {array.shape}, not {meant}")
    if array.dtype.kind == "f" and not all_finite(array):
        raise ForeignSnapshot(f"this snapshot is damaged: {name} is not finite")
    return array


def _fits(shape: tuple[int, ...], meant: Shape) -> bool:
    return len(shape) == len(meant) and all(n in (size, None) for size, n in zip(shape, meant, strict=True))


def read_number(snapshot: Mapping[str, Any], name: str) -> float:
    """Return the finite number `name`."""
    number: Any = _part(snapshot, name)
    if (type(number) not in (float, int, bool) and not is_number(number)) or not math.isfinite(number):
        raise ForeignSnapshot(f"this snapshot is damaged: {name} = {short(number)} is no finite number")
    return float(number)


def read_generators(snapshot: Mapping[str, Any], name: str, count: int) -> list[Any]:
    """Return the states of so many generators, which are kept as JSON; `check_generator` looks at each."""
    try:
        states = json.loads(_part(snapshot, name))
    except (TypeError, ValueError):
        states = None
    if not isinstance(states, list) or len(states) != count:
        raise ForeignSnapshot(f"this snapshot is damaged: {name} are not {count} states of generators")
    return states


def check_generator(state: Any, generator: np.random.Generator) -> Any:
    """Return a state after trying it on another generator of the same kind."""
    kind = type(generator.bit_generator)
    try:
        _spare(kind).state = state
    except (TypeError, ValueError, KeyError, OverflowError, AttributeError):
        raise ForeignSnapshot(f"this snapshot is damaged: {short(state)} is no state of a {kind.__name__}") from None
    return state


def read_generator(snapshot: Mapping[str, Any], generator: np.random.Generator) -> Any:
    """Return the state `generator`, kept as it is or as JSON."""
    state = _part(snapshot, "generator")
    if isinstance(state, str):
        try:
            state = json.loads(state)
        except ValueError:
            raise ForeignSnapshot(f"this snapshot is damaged: generator = {short(state)} is no JSON") from None
    return check_generator(state, generator)


@lru_cache(maxsize=8)
def _spare(kind: Any) -> Any:
    return kind(0)
