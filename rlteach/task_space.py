"""Task spaces: any Gymnasium space with names, units and exact maps to vectors, mappings and the unit cube.

    space = TaskSpace(gym.spaces.Dict(height=Box(0, 3, ()), spacing=Box(0, 6, ())), units={"height": "m"})
    space.to_vector({"height": 1.5, "spacing": 6.0})      # array([1.5, 6. ]): real units
    space.from_unit([0.5, 1.0])                           # {"height": array(1.5), "spacing": array(6.)}

Teachers work in the unit cube, environments get elements of the space, files hold mappings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from rlteach.errors import ConfigError, InvalidValue, did_you_mean

Vector: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Parameter:
    """One scalar dimension of a task space.

    Attributes:
        name: `"height"`, or `"shape[3]"` for a component of a vector parameter.
        low: Smallest value, in `unit`.
        high: Largest value, in `unit`.
        unit: Unit for labels, may be empty.
        levels: Number of values of an integer or categorical parameter, 0 for a continuous one.
    """

    name: str
    low: float
    high: float
    unit: str = ""
    levels: int = 0


@dataclass(frozen=True)
class _Leaf:
    """A part of the space that is no Dict or Tuple, and where its components stand in the vector."""

    name: str
    space: spaces.Space[Any]
    columns: slice

    @property
    def size(self) -> int:
        return int(self.columns.stop - self.columns.start)

    def element(self, vector: Vector) -> Any:
        """Return the element of this part that a vector of the whole space stands for."""
        if isinstance(self.space, spaces.Discrete):
            return self.space.dtype.type(vector[self.columns.start])
        return vector[self.columns].astype(self.space.dtype).reshape(self.space.shape)


@dataclass(frozen=True)
class _Branch:
    """A Dict of the space, or a Tuple, which has no keys: asking the space itself what it is takes longer."""

    keys: tuple[Any, ...] | None
    parts: tuple[_Branch | _Leaf, ...]

    def element(self, vector: Vector) -> Any:
        """Return the element of this part that a vector of the whole space stands for."""
        elements = [part.element(vector) for part in self.parts]
        return tuple(elements) if self.keys is None else dict(zip(self.keys, elements, strict=True))


def clipped(values: Vector, low: ArrayLike, high: ArrayLike) -> Vector:
    """Return `np.clip(values, low, high)`, several times faster for the few values of one call."""
    return np.asarray(np.minimum(np.maximum(values, low), high))


class TaskSpace:
    """A Gymnasium space seen as a list of named scalar parameters.

    Args:
        space: `Box` (float or integer), `Discrete`, `MultiDiscrete`, `MultiBinary`, or a `Dict` or `Tuple` of them.
        names: Names of the components of a space that is one vector `Box`, `MultiDiscrete` or `MultiBinary`.
        units: Unit of each named parameter, e.g. `{"height": "m"}`.

    Raises:
        ConfigError: Every infinite, zero-width or unsupported dimension, by name.
    """

    def __init__(
        self, space: spaces.Space[Any], *, names: Sequence[str] | None = None, units: Mapping[str, str] | None = None
    ) -> None:
        self.space = space
        self._leaves = list(_leaves(space))
        faults = [fault for leaf in self._leaves for fault in _leaf_faults(leaf)]
        if not faults and not sum(leaf.size for leaf in self._leaves):
            faults = ["the space has no dimension at all"]
        if names is not None and len(self._leaves) != 1:
            faults.append("`names` only fits a space that is one vector; use a Dict space to name its parts")
        if faults:
            raise ConfigError(faults, where="task space")
        self.parameters = tuple(_parameters(self._leaves, names, dict(units or {})))
        self._named = names is not None
        if len(set(self.names)) < self.dimension:
            raise ConfigError([f"two parameters have the same name: {', '.join(self.names)}"], where="task space")
        self.low = np.array([p.low for p in self.parameters])
        self.high = np.array([p.high for p in self.parameters])
        self._bounds = [(p.low, p.high) for p in self.parameters]
        self._width = self.high - self.low
        self._levels = np.array([p.levels for p in self.parameters])
        self._integer = self._levels > 0
        self._whole = np.flatnonzero(self._integer).tolist()
        self._tree = _tree(space, iter(self._leaves))
        self._narrow = [leaf for leaf in self._leaves if leaf.space.dtype in (np.float16, np.float32)]

    @classmethod
    def of(cls, space: TaskSpace | spaces.Space[Any], env: Any = None) -> TaskSpace:
        """Return `space` as a TaskSpace, with the `task_names` and `task_units` of `env` or of a wrapper in it."""
        if isinstance(space, TaskSpace):
            return space
        if not isinstance(space, spaces.Space):
            raise InvalidValue(f"a task space must be a gymnasium.Space, not {type(space).__name__}: {space!r}")
        return cls(space, names=_offered(env, "task_names"), units=_offered(env, "task_units"))

    @property
    def dimension(self) -> int:
        """Number of scalar parameters."""
        return len(self.parameters)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the scalar parameters, in vector order."""
        return tuple(p.name for p in self.parameters)

    def __repr__(self) -> str:
        return f"TaskSpace({', '.join(f'{p.name} [{p.low:g}, {p.high:g}]{p.unit}' for p in self.parameters)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskSpace) and self.parameters == other.parameters and self.space == other.space

    __hash__ = None  # type: ignore[assignment]

    def contains(self, task: Any) -> bool:
        """Tell whether `task` is an element of the Gymnasium space."""
        return bool(self.space.contains(task))

    # -- tasks and vectors in real units ---------------------------------------------------------------------------

    def to_vector(self, task: Any) -> Vector:
        """Return the task as a float64 vector in real units, shape (dimension,).

        Raises:
            InvalidValue: When the task lies outside the space.
        """
        vector = np.empty(self.dimension)
        for leaf, value in zip(self._leaves, _leaf_values(self.space, task), strict=True):
            try:
                vector[leaf.columns] = np.asarray(value, dtype=np.float64).reshape(leaf.size)
            except (TypeError, ValueError) as error:
                raise InvalidValue(f"{leaf.name} needs {_count(leaf)}, not {value!r}") from error
        return self._checked(vector)

    def from_vector(self, vector: ArrayLike) -> Any:
        """Return the element of the space that a vector in real units stands for: the inverse of `to_vector`.

        Raises:
            InvalidValue: When the vector has the wrong length, leaves the bounds, or has a fraction where levels are.
        """
        array = np.asarray(vector, dtype=np.float64)
        if array.shape != (self.dimension,):
            raise InvalidValue(f"a task vector has shape ({self.dimension},) for {self!r}, not {array.shape}")
        return self._tree.element(self._checked(array))

    def _checked(self, vector: Vector) -> Vector:
        if self._narrow:
            vector = vector.copy()
            with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused below
                for leaf in self._narrow:  # 0.1 lies inside a float32 Box that starts at 0.1
                    vector[leaf.columns] = vector[leaf.columns].astype(leaf.space.dtype)
        values = vector.tolist()  # for so few numbers several times faster than array operations
        if not (self._inside(values) and all(values[i].is_integer() for i in self._whole)):
            faults = [
                f"{p.name} = {value:g} is not {'a whole number ' if p.levels else ''}in [{p.low:g}, {p.high:g}]"
                for p, value in zip(self.parameters, values, strict=True)
                if not (p.low <= value <= p.high and (not p.levels or value.is_integer()))
            ]
            raise InvalidValue(f"task outside its space: {'; '.join(faults)}")
        return vector

    def _inside(self, values: list[float]) -> bool:
        for value, (low, high) in zip(values, self._bounds, strict=True):
            if not low <= value <= high:
                return False
        return True

    # -- mappings --------------------------------------------------------------------------------------------------

    def to_mapping(self, task: Any) -> dict[str, Any]:
        """Return the task as `{name: number or list of numbers}`, ready for JSON."""
        vector = self.to_vector(task)
        return {leaf.name: _plain(leaf, vector[leaf.columns]) for leaf in self._leaves}

    def from_mapping(self, mapping: Mapping[str, Any]) -> Any:
        """Return the task that a mapping made by `to_mapping` (or written by hand) stands for.

        A part of several components may also be given component by component, by their `names`.

        Raises:
            ConfigError: Every missing, unknown, doubled or misshapen name at once.
        """
        known = {*(leaf.name for leaf in self._leaves), *self.names}
        faults = [f"unknown parameter {name!r}.{did_you_mean(name, known)}" for name in mapping if name not in known]
        misshapen, vector = [], np.empty(self.dimension)
        for leaf in self._leaves:
            components = self.names[leaf.columns]
            given = [name for name in components if name in mapping and name != leaf.name]
            if leaf.name in mapping and not (given and leaf.name in components):
                faults += [f"{name!r} is a part of {leaf.name!r}, which is given too" for name in given]
                value = mapping[leaf.name]
            else:
                wanted = components if given or self._named else (leaf.name,)
                faults += [f"missing parameter {name!r}" for name in wanted if name not in mapping]
                value = [mapping.get(name, 0.0) for name in components]
            try:
                vector[leaf.columns] = np.asarray(value, dtype=np.float64).reshape(leaf.size)
            except (TypeError, ValueError):
                misshapen.append(f"{leaf.name} needs {_count(leaf)}, not {value!r}")
        if faults or misshapen:
            raise ConfigError([*faults, *misshapen], where="task")
        return self.from_vector(vector)

    # -- the unit cube ---------------------------------------------------------------------------------------------

    def unit_of_vectors(self, vectors: ArrayLike) -> Vector:
        """Map vectors in real units (..., dimension) to the unit cube; a level of n sits at the middle of its 1/n."""
        array = np.asarray(vectors, dtype=np.float64)
        width = np.where(self._integer, self._levels, self._width)
        return np.asarray((array - self.low + 0.5 * self._integer) / width)

    def vectors_of_unit(self, points: ArrayLike) -> Vector:
        """Map points of the unit cube (..., dimension) to vectors in real units, inside the bounds."""
        array = np.asarray(points, dtype=np.float64)
        real = self.low + array * self._width
        if self._whole:
            whole = self.low + np.minimum(np.floor(array * self._levels), self._levels - 1)
            real = np.where(self._integer, whole, real)
        return clipped(real, self.low, self.high)

    def to_unit(self, task: Any) -> Vector:
        """Return the place of a task in the unit cube, shape (dimension,)."""
        return self.unit_of_vectors(self.to_vector(task))

    def from_unit(self, point: ArrayLike) -> Any:
        """Return the task at a point of the unit cube."""
        return self.from_vector(self.vectors_of_unit(point))

    def tasks_of_unit(self, points: Vector) -> list[Any]:
        """Return the tasks at points of the unit cube (n, dimension): `from_unit` of each, in less time."""
        if len(points) == 1:
            vectors = [self.vectors_of_unit(points[0])]  # one row without an axis to broadcast over
        else:
            vectors = list(self.vectors_of_unit(points))
        for vector in vectors:
            if not self._inside(vector.tolist()):
                self._checked(vector)  # raises, since something is not a number: all else has been clipped
        return [self._tree.element(vector) for vector in vectors]

    # -- sets of tasks ---------------------------------------------------------------------------------------------

    def sample(self, n: int, rng: np.random.Generator) -> list[Any]:
        """Draw `n` tasks uniformly."""
        return self.tasks_of_unit(rng.random((n, self.dimension)))

    def test_set(self, n: int, seed: int) -> list[Any]:
        """Return the `n` uniform tasks that belong to `seed`, the same on every machine."""
        return self.sample(n, np.random.default_rng(seed))

    def grid(self, points: int | Sequence[int]) -> list[Any]:
        """Return the regular grid with `points` values per dimension, bounds included; levels are never repeated."""
        counts = [points] * self.dimension if isinstance(points, int) else list(points)
        if len(counts) != self.dimension or min(counts) < 1:
            raise InvalidValue(f"a grid needs {self.dimension} positive numbers of points, not {counts}")
        axes = [_grid_axis(p, count) for p, count in zip(self.parameters, counts, strict=True)]
        return [self.from_vector(np.array(vector)) for vector in itertools.product(*axes)]

    def batch(self, tasks: Mapping[int, Any], num_envs: int) -> Any:
        """Return a fresh element of `batch_space(space, num_envs)` holding `tasks` at their indices.

        The other rows hold an arbitrary valid task; batch environments ignore them.
        """
        filler = next(iter(tasks.values()))
        rows = [tasks.get(index, filler) for index in range(num_envs)]
        empty: Any = gym.vector.utils.create_empty_array(self.space, num_envs)
        return gym.vector.utils.concatenate(self.space, rows, empty)

    def describe(self) -> list[dict[str, Any]]:
        """Return the parameters as plain data for files."""
        return [
            {"name": p.name, "low": p.low, "high": p.high, "unit": p.unit, "levels": p.levels} for p in self.parameters
        ]


def _offered(env: Any, name: str) -> Any:
    """Return an attribute that an environment or a wrapper in it has, else None."""
    if isinstance(env, gym.Env):
        return env.get_wrapper_attr(name) if env.has_wrapper_attr(name) else None
    return getattr(getattr(env, "unwrapped", env), name, None)


def _leaves(space: spaces.Space[Any], path: str = "", offset: int = 0) -> Iterator[_Leaf]:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        items = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for key, part in items:
            for leaf in _leaves(part, f"{path}.{key}" if path else str(key), offset):
                yield leaf
                offset = leaf.columns.stop
    else:
        size = int(np.prod(space.shape)) if space.shape else 1
        yield _Leaf(path or "task", space, slice(offset, offset + size))


def _bounds(space: spaces.Space[Any]) -> tuple[Vector, Vector]:
    if isinstance(space, spaces.Discrete):
        return np.array([float(space.start)]), np.array([float(space.start + space.n - 1)])
    if isinstance(space, spaces.MultiDiscrete):
        start = np.asarray(space.start, dtype=np.float64).ravel()
        return start, start + np.asarray(space.nvec, dtype=np.float64).ravel() - 1
    if isinstance(space, spaces.MultiBinary):
        size = int(np.prod(space.shape))
        return np.zeros(size), np.ones(size)
    assert isinstance(space, spaces.Box)
    return np.asarray(space.low, dtype=np.float64).ravel(), np.asarray(space.high, dtype=np.float64).ravel()


def _is_integer(space: spaces.Space[Any]) -> bool:
    return not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating)


def _count(leaf: _Leaf) -> str:
    return "1 number" if leaf.size == 1 else f"{leaf.size} numbers"


def _component_names(leaf: _Leaf, names: Sequence[str] | None) -> list[str]:
    if names is not None:
        return list(names)
    return [leaf.name] if not leaf.space.shape else [f"{leaf.name}[{i}]" for i in range(leaf.size)]


def _leaf_faults(leaf: _Leaf) -> Iterator[str]:
    if not isinstance(leaf.space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        supported = "Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple"
        yield f"{leaf.name} is a {type(leaf.space).__name__} space; use {supported}"
        return
    low, high = _bounds(leaf.space)
    for name, a, b in zip(_component_names(leaf, None), low, high, strict=True):
        if not np.isfinite(float(b) - float(a)):  # the width too must fit into a float
            yield f"{name} has the bounds [{a:g}, {b:g}]; give it finite ones"
        elif a >= b:
            yield f"{name} has zero width (always {a:g}); leave it out of the task space and set it in the constructor"
        elif max(abs(a), abs(b)) > 2**53 and _is_integer(leaf.space):
            yield f"{name} has integers beyond 2^53, which a float64 vector cannot hold"


def _parameters(leaves: Sequence[_Leaf], names: Sequence[str] | None, units: Mapping[str, str]) -> Iterator[Parameter]:
    for leaf in leaves:
        components = _component_names(leaf, names)
        if len(components) != leaf.size:
            raise InvalidValue(f"{len(components)} names given for {leaf.size} dimensions: {components}")
        low, high = _bounds(leaf.space)
        for name, a, b in zip(components, low, high, strict=True):
            levels = int(b - a) + 1 if _is_integer(leaf.space) else 0
            yield Parameter(name, float(a), float(b), units.get(name, units.get(leaf.name, "")), levels)


def _leaf_values(space: spaces.Space[Any], task: Any) -> Iterator[Any]:
    try:
        if isinstance(space, spaces.Dict):
            if unknown := [key for key in task if key not in space.spaces]:
                raise KeyError(unknown[0])
            for key, part in space.spaces.items():
                yield from _leaf_values(part, task[key])
        elif isinstance(space, spaces.Tuple):
            if len(task) != len(space.spaces):
                raise IndexError(len(task))
            for part, value in zip(space.spaces, task, strict=True):
                yield from _leaf_values(part, value)
        else:
            yield task
    except (KeyError, TypeError, IndexError) as error:
        raise InvalidValue(f"{task!r} does not have the structure of {space}") from error


def _plain(leaf: _Leaf, values: Vector) -> Any:
    numbers = [int(v) for v in values] if _is_integer(leaf.space) else [float(v) for v in values]
    return numbers if leaf.space.shape else numbers[0]


def _tree(space: spaces.Space[Any], leaves: Iterator[_Leaf]) -> _Branch | _Leaf:
    if isinstance(space, spaces.Dict):
        return _Branch(tuple(space.spaces), tuple(_tree(part, leaves) for part in space.spaces.values()))
    if isinstance(space, spaces.Tuple):
        return _Branch(None, tuple(_tree(part, leaves) for part in space.spaces))
    return next(leaves)


def _grid_axis(parameter: Parameter, count: int) -> Vector:
    if count == 1:
        middle = (parameter.low + parameter.high) / 2
        return np.array([np.floor(middle) if parameter.levels else middle])
    axis = np.linspace(parameter.low, parameter.high, count)
    return np.unique(np.round(axis)) if parameter.levels else axis
