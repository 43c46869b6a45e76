"""Tasks as vectors of numbers, read with one check for every environment and every shape of task space.

    reader = TaskReader(spaces.Dict({"width": spaces.Box(0.5, 8.0, ())}))
    reader.read({"width": 2.0})           # [[2.0]]
    reader.read({"widht": 2.0})           # ValueError: unknown task parameter 'widht': did you mean 'width'? ...

What is right is read in a few operations on whole arrays; only what is wrong is looked at part by part, for a sentence
on everything that is wrong with it.
"""

from __future__ import annotations

import difflib
import math
import reprlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NUMERIC = "biuf"
"""Kinds of dtype whose elements are real numbers."""

ALL = slice(None)
FIRST: NDArray[np.int64] = np.zeros(1, dtype=np.int64)
FEW = 32
"""Numbers up to which looking at each is faster than asking numpy."""
SHOWN = 4
"""Components whose bounds a sentence names."""


@dataclass(frozen=True)
class Part:
    """One parameter of a task.

    Attributes:
        shape: Shape in a single task.
        low: Smallest value of each component (d,).
        high: Largest value of each component (d,).
        whole: Whether only whole numbers are meant.
        names: Name of each component; empty where the parameter's own name says enough.
    """

    shape: tuple[int, ...]
    low: Floats
    high: Floats
    whole: bool
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, space: spaces.Space[Any], names: Sequence[str] | None = None) -> Part:
        """Return what a Box, Discrete or MultiDiscrete space says."""
        if isinstance(space, spaces.Box):
            low, high, whole = space.low, space.high, bool(np.issubdtype(space.dtype, np.integer))
        elif isinstance(space, spaces.Discrete):
            low, high, whole = np.asarray(space.start), np.asarray(space.start + space.n - 1), True
        elif isinstance(space, spaces.MultiDiscrete):
            low, high, whole = space.start, space.start + space.nvec - 1, True
        else:
            raise TypeError(f"a task parameter is a Box, Discrete or MultiDiscrete space, not {space}")
        return cls(low.shape, np.float64(low).ravel(), np.float64(high).ravel(), whole, tuple(names or ()))

    def label(self, name: str, column: int) -> str:
        """Return the name of a component."""
        if self.names:
            return self.names[column]
        place = ",".join(str(i) for i in np.unravel_index(column, self.shape)) if self.shape else ""
        return f"{name}[{place}]" if place else name

    def __str__(self) -> str:
        kind = "whole number" if self.whole else "number"
        count = f"{self.low.size} {kind}s" if self.shape else f"a {kind}"
        if (self.low == self.low[0]).all() and (self.high == self.high[0]).all():
            return f"{count} in {self.bounds(0)}"
        shown = [f"{self.label('', i)} in {self.bounds(i)}" for i in range(min(self.low.size, SHOWN))]
        return f"{count}, {', '.join(shown)}{', ...' if self.low.size > SHOWN else ''}"

    def bounds(self, column: int) -> str:
        """Return the bounds of a component as text."""
        return f"[{self.low[column]:g}, {self.high[column]:g}]"


class TaskReader:
    """Reads the tasks of one space, of a single environment or of a batch.

    Args:
        space: A Dict of Box, Discrete and MultiDiscrete spaces, or one of them alone.
        names: Names of the components of a space that is no Dict.
        num_envs: Rows of a batch, whose tasks are elements of `batch_space(space, num_envs)`; None for one task.
    """

    def __init__(
        self, space: spaces.Space[Any], names: Sequence[str] | None = None, num_envs: int | None = None
    ) -> None:
        self._named = isinstance(space, spaces.Dict)
        leaves = dict(space.spaces) if isinstance(space, spaces.Dict) else {"task": space}
        self.parts = {name: Part.of(leaf, None if self._named else names) for name, leaf in leaves.items()}
        self.low = np.concatenate([part.low for part in self.parts.values()])
        """Smallest number of each column (d,)."""
        self.high = np.concatenate([part.high for part in self.parts.values()])
        self._fractions = np.concatenate([np.full(part.low.size, not part.whole) for part in self.parts.values()])
        self._any_whole = not self._fractions.all()
        ends = np.cumsum([part.low.size for part in self.parts.values()]).tolist()
        self.columns = {
            name: slice(end - part.low.size, end) for (name, part), end in zip(self.parts.items(), ends, strict=True)
        }
        """Where each parameter's numbers are in a vector."""
        self._rows, self._batched = num_envs or 1, num_envs is not None
        lead = () if num_envs is None else (num_envs,)
        self._places = [(name, (*lead, *part.shape), self.columns[name]) for name, part in self.parts.items()]

    def read(self, task: Any, rows: NDArray[np.int64] = FIRST) -> Floats:
        """Return the numbers of the given rows of a batch of tasks, or of one task as its only row, (len(rows), d).

        Raises:
            ValueError: Names everything that is wrong in these rows, and what it may be.
        """
        values = self._numbers(task if self._named else {"task": task})
        if values is not None:
            values = values[rows]
            if self._right(values).all():
                return values
        raise ValueError("; ".join(self._faults(task if self._named else {"task": task}, rows)))

    def _right(self, values: Floats, columns: slice = ALL) -> NDArray[np.bool_]:
        """Tell which of the numbers (n, d) of some columns are what they may be."""
        right = (values >= self.low[columns]) & (values <= self.high[columns])
        return right & (self._fractions[columns] | (values == np.rint(values))) if self._any_whole else right

    def _numbers(self, task: Any) -> Floats | None:
        """Return all numbers (n, d), nan for what is none; None when names or shapes are wrong."""
        values = np.empty((self._rows, len(self.low)))
        try:
            for name, shape, columns in self._places:
                array = np.asarray(task[name])
                if array.shape != shape:
                    return None
                numbers = array if array.dtype.kind in NUMERIC else _as_floats(array)
                values[:, columns] = numbers.reshape(self._rows, -1)
            return values if len(task) == len(self._places) else None
        except (KeyError, TypeError, ValueError, IndexError):
            return None

    def _faults(self, task: Any, rows: NDArray[np.int64]) -> Iterator[str]:
        if not isinstance(task, Mapping):
            what = f"the task of {self._rows} rows" if self._batched else "a task"
            yield f"{what} is a mapping with {', '.join(self.parts)}, not {short(task)}"
            return
        yield from (unknown_name("task parameter", name, self.parts) for name in task if name not in self.parts)
        if missing := [name for name in self.parts if name not in task]:
            yield f"the task lacks {', '.join(missing)}"
        for name, shape, _ in self._places:
            if name in task:
                yield from self._faults_of(name, shape, task[name], rows)

    def _faults_of(self, name: str, shape: tuple[int, ...], value: Any, rows: NDArray[np.int64]) -> Iterator[str]:
        part = self.parts[name]
        meant = f"{part} for each of {self._rows} rows" if self._batched else str(part)
        try:
            array = np.asarray(value)
        except ValueError:  # rows of different lengths
            yield f"{name} = {short(value)} is not {meant}"
            return
        if array.shape != shape:
            if array.dtype.kind in NUMERIC:
                yield f"{name} has shape {array.shape}, not {shape}: {meant}"
            else:
                yield f"{name} = {short(value)} is not {meant}"
            return
        elements = array.reshape(self._rows, -1)[rows]
        wrong = np.argwhere(~self._right(_as_floats(elements), self.columns[name]))
        if len(wrong):
            row, column = wrong[0].tolist()
            where = f" of row {rows[row]}" if self._batched else ""
            more = f" (and {len(wrong) - 1} more of {name})" if len(wrong) > 1 else ""
            yield _fault(part, part.label(name, column), elements[row, column], column, where) + more


def _fault(part: Part, label: str, value: Any, column: int, where: str) -> str:
    """Return what is wrong with one component, `where` being said after its value."""
    bounds, kind = part.bounds(column), "whole number" if part.whole else "number"
    if not is_number(value):
        return f"{label} = {short(value)}{where} is not a {kind} in {bounds}"
    inside = part.low[column] <= value <= part.high[column]
    return f"{label} = {float(value):g}{where} {'must be a whole number in' if inside else 'lies outside'} {bounds}"


def _as_floats(array: NDArray[Any]) -> Floats:
    """Return an array of the same shape with nan for whatever is no number that a float can hold."""
    if array.dtype.kind in NUMERIC:
        return array.astype(np.float64)
    values = [float(x) if is_number(x) else np.nan for x in array.ravel()]
    return np.array(values, dtype=np.float64).reshape(array.shape)


def is_number(value: Any) -> bool:
    """Tell whether a value is a real number, and no whole number so large that no float can hold it."""
    if not isinstance(value, Real | np.bool_):
        return False
    number: Any = value.item() if isinstance(value, np.generic) else value
    return not (sys.float_info.max < number < np.inf or -np.inf < number < -sys.float_info.max)


def all_finite(array: NDArray[Any]) -> bool:
    """Tell whether an array of real numbers holds neither nan nor infinity."""
    if array.size <= FEW:
        return all(map(math.isfinite, array.ravel().tolist()))
    return bool(np.isfinite(array).all())


def short(value: Any) -> str:
    """Return a value as text of one line, cut where it is long."""
    plain = value.item() if isinstance(value, np.generic) else value
    return " ".join(reprlib.repr(plain).split())


def unknown_name(what: str, name: Any, known: Iterable[str]) -> str:
    """Return the sentence on a name that is not among the known ones, with the nearest of them."""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, 1, 0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {what} {name!r}: {hint}There are {', '.join(names)}"
