"""Task parameters of walkers: their ranges, the task space they make, and kind errors for whatever lies outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach_envs.task_reader import TaskReader, unknown_name

Numbers = NDArray[Any]
Range = tuple[float, float]


@dataclass(frozen=True)
class TaskParameter:
    """What one task parameter is and may be.

    Attributes:
        unit: Its unit; steps are of 14/30 m.
        low: Lower end of the usual range.
        high: Upper end of the usual range.
        least: Smallest value that has a meaning.
        most: Largest value that has a meaning.
        size: Number of components; 0 for a scalar.
        trend: Whether larger values are harder (1), easier (-1), or neither (0).
        whole: Whether it is a whole number; only a scalar may be.
    """

    unit: str
    low: float
    high: float
    least: float
    most: float
    size: int = 0
    trend: int = 1
    whole: bool = False


class Tasks:
    """The tasks of one environment: which parameters vary, in which ranges, and which are the same in every task.

    Args:
        known: Every parameter that the environment has.
        parameters: The task space, as `{name: (low, high)}`, or as names alone for their usual ranges. A range may
            hold one sequence of ends for each component of a vector; else all components share it.
        fixed: Values of further parameters.

    Raises:
        ValueError: Says which parameter is wrong, and what it may be.
    """

    def __init__(
        self,
        known: Mapping[str, TaskParameter],
        parameters: Mapping[str, Any] | Sequence[str],
        fixed: Mapping[str, Any] | None = None,
    ) -> None:
        self._known = known
        self._ranges = _ranges(parameters, known)
        self.fixed = self._fixed(fixed or {})
        self.space = self._space(self._ranges)
        self._reader = TaskReader(self.space)
        self.units = {name: known[name].unit for name in self._ranges}

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that vary, in order."""
        return tuple(self._ranges)

    @property
    def further(self) -> dict[str, TaskParameter]:
        """The parameters that could vary too, in order."""
        return {name: parameter for name, parameter in self._known.items() if name not in self._ranges}

    def range(self, name: str) -> Range:
        """Return the ends of a scalar parameter."""
        low, high = self._ranges[name]
        return float(low), float(high)

    def _space(self, ranges: Mapping[str, tuple[Any, Any]]) -> spaces.Dict:
        return spaces.Dict({name: self._part(name, *ends) for name, ends in ranges.items()})

    def _part(self, name: str, low: Any, high: Any) -> spaces.Space[Any]:
        if self._known[name].whole:
            return spaces.Discrete(int(high) - int(low) + 1, start=int(low))
        return spaces.Box(low, high, (self._known[name].size,) if self._known[name].size else (), np.float64)

    def _fixed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        for name in values:
            check_name("parameter", name, self._known)
            if name in self._ranges:
                raise ValueError(f"{name} is both fixed and a task parameter")
        if not values:
            return {}
        widest = {name: (self._known[name].least, self._known[name].most) for name in values}
        return self._arrays(TaskReader(self._space(widest)), values, values)

    def task(self, **values: Any) -> dict[str, Any]:
        """Return a task with these values for the parameters that vary."""
        kinds = {name: np.int64 if self._known[name].whole else np.float64 for name in self._ranges}
        return {name: np.asarray(values[name], dtype=kinds[name]) for name in self._ranges}

    def draw(self, rng: np.random.Generator, low: float = 0.0, high: float = 1.0) -> dict[str, Any]:
        """Draw each parameter from the part low to high of its range, 0 being its easy end."""
        values: dict[str, Any] = {}
        for name, (least, most) in self._ranges.items():
            parameter = self._known[name]
            if parameter.whole:
                least, most = least - 0.5, most + 0.5
            share = rng.uniform(*((low, high) if parameter.trend else (0.0, 1.0)), size=parameter.size or None)
            share = 1.0 - share if parameter.trend < 0 else share
            value = np.minimum(least + share * (most - least), most)
            values[name] = np.clip(np.rint(value), least + 0.5, most - 0.5) if parameter.whole else value
        return self.task(**values)

    def read(self, task: Any) -> dict[str, Any]:
        """Return a task as arrays.

        Raises:
            ValueError: When it is none, with every parameter that is wrong and its range.
        """
        return self._arrays(self._reader, task, self._ranges)

    def _arrays(self, reader: TaskReader, task: Any, names: Iterable[str]) -> dict[str, Any]:
        vector = reader.read(task)[0]
        arrays = {name: vector[reader.columns[name]].reshape(reader.parts[name].shape) for name in names}
        return {name: array.astype(np.int64) if self._known[name].whole else array for name, array in arrays.items()}

    def numbers(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of a task and the fixed ones, as plain numbers and lists."""
        return {name: value.tolist() for name, value in (self.fixed | task).items()}


def check_name(what: str, name: Any, known: Iterable[str]) -> None:
    """Raise a ValueError with the nearest name unless `name` is known."""
    names = list(known)
    if name not in names:
        raise ValueError(unknown_name(what, name, names))


def _ranges(
    parameters: Mapping[str, Any] | Sequence[str], known: Mapping[str, TaskParameter]
) -> dict[str, tuple[Numbers, Numbers]]:
    if isinstance(parameters, str):
        parameters = (parameters,)
    for name in parameters:
        check_name("parameter", name, known)
    if not isinstance(parameters, Mapping):
        parameters = {name: (known[name].low, known[name].high) for name in parameters}
    if not parameters:
        raise ValueError(f"a task space needs at least one of {', '.join(known)}")
    return {name: _range(name, ends, known[name]) for name, ends in parameters.items()}


def _range(name: str, ends: Any, parameter: TaskParameter) -> tuple[Numbers, Numbers]:
    shape = (parameter.size,) if parameter.size else ()
    try:
        low, high = (np.broadcast_to(np.asarray(end, np.float64), shape).copy() for end in ends)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the range of {name} is (low, high), not {ends!r}") from error
    least, most = parameter.least, parameter.most
    for a, b in zip(low.flat, high.flat, strict=True):
        if not least <= a < b <= most:
            raise ValueError(f"{name}: ({a:g}, {b:g}) must rise and lie inside [{least:g}, {most:g}]")
        if parameter.whole and not (a == round(a) and b == round(b)):
            raise ValueError(f"{name}: ({a:g}, {b:g}) must be whole numbers")
    return low, high
