"""What an environment was built with, for whoever has to tell it from another one of its class."""

from __future__ import annotations

import inspect
from typing import Any


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
