"""What an environment was built with, for whoever has to tell it from another one of its class."""

from __future__ import annotations

import inspect
from typing import Any


class KeepsArguments:
    """Base that keeps the arguments of the constructor, defaults included.

    Attributes:
        arguments: By name; those of the class's own `__init__`.
    """

    arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Note the arguments; ones that do not fit are left to `__init__`, which can tell why."""
        made = super().__new__(cls)
        try:
            bound = inspect.signature(cls).bind(*args, **kwargs)
        except TypeError:  # also when it is copied or unpickled: its attributes come afterwards
            return made
        bound.apply_defaults()
        made.arguments = dict(bound.arguments)
        return made
