"""What an environment was built with, for whoever has to tell it from another one of its class, and checks of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, wraps
from typing import Any

import numpy as np

from rlteach_envs.task_reader import is_number, short


class KeepsArguments:
    """Base that keeps the arguments of the constructor.

    Attributes:
        constructor_arguments: By name, those that the class's own `__init__` names with their defaults.
    """

    constructor_arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Note the arguments; ones that do not fit are left to `__init__`, which can tell why."""
        made = super().__new__(cls)
        try:
            bound = inspect.signature(cls).bind(*args, **kwargs)
        except TypeError:  # also when it is copied or unpickled: its attributes come afterwards
            return made
        bound.apply_defaults()
        rest = [p.name for p in bound.signature.parameters.values() if p.kind is p.VAR_KEYWORD]
        named = {name: value for name, value in bound.arguments.items() if name not in rest}
        made.constructor_arguments = {**named, **{k: v for name in rest for k, v in bound.arguments[name].items()}}
        return made


# -- checks ------------------------------------------------------------------------------------------------------------


def check_whole(least: int, most: float = np.inf, **counts: Any) -> None:
    """Raise a ValueError for a count that is no whole number from `least` to `most`."""
    for name, count in counts.items():
        is_whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
        if not is_whole or not least <= count <= most:
            end = f"of at least {least}" if most == np.inf else f"in [{least}, {most}]"
            raise ValueError(f"{name} = {short(count)} must be a whole number {end}")


def check_at_least_one(**counts: Any) -> None:
    """Raise a ValueError for a count that is no whole number of at least 1."""
    check_whole(1, **counts)


def check_finite(**numbers: Any) -> None:
    """Raise a ValueError for what is no finite number."""
    for name, number in numbers.items():
        if not is_number(number) or not np.isfinite(number):
            raise ValueError(f"{name} = {short(number)} must be a finite number")


def check_render_mode(render_mode: Any, known: Iterable[str]) -> None:
    """Raise a ValueError for what is neither None nor a known way to draw."""
    modes = list(known)
    if render_mode is not None and render_mode not in modes:
        raise ValueError(f"render_mode = {short(render_mode)} must be None or {' or '.join(map(repr, modes))}")


def clipped_progress(progress: Any) -> float:
    """Return the progress of an `oracle_window` within [0, 1].

    Raises:
        ValueError: When it is no finite number.
    """
    check_finite(progress=progress)
    return min(max(float(progress), 0.0), 1.0)


# -- what must not change ----------------------------------------------------------------------------------------------


def fixed_sets(make: Callable[[Any], dict[str, list[Any]]]) -> cached_property[dict[str, list[Any]]]:
    """Return the property of the `test_sets` that a method makes: made once, and its arrays cannot be written to."""

    @wraps(make)
    def made(env: Any) -> dict[str, list[Any]]:
        sets = make(env)
        for task in (task for tasks in sets.values() for task in tasks):
            for value in task.values() if isinstance(task, Mapping) else [task]:
                if isinstance(value, np.ndarray):
                    value.flags.writeable = False
        return sets

    return cached_property(made)
