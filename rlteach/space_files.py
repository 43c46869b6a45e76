"""Box and Discrete spaces as JSON and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach.errors import RunDirectoryError


def describe_space(space: spaces.Space[Any] | None) -> dict[str, Any] | None:
    """Return a Box or Discrete space as JSON; bounds are one number where all are equal, null where infinite."""
    if space is None:
        return None
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
    if not isinstance(space, spaces.Box):
        return {"kind": type(space).__name__}
    bounds = {"low": _bounds(space.low), "high": _bounds(space.high)}
    return {"kind": "Box", "shape": list(space.shape), "dtype": str(space.dtype), **bounds}


def space_from(description: Mapping[str, Any] | None) -> Any:
    """Return the space that `describe_space` described."""
    if description is None:
        return None
    if description["kind"] == "Discrete":
        return spaces.Discrete(description["n"], start=description["start"])
    if description["kind"] != "Box":
        raise RunDirectoryError(f"nothing is rebuilt over a {description['kind']} space from its description")
    dtype: Any = np.dtype(description["dtype"]).type
    shape = tuple(description["shape"])
    low, high = (
        _full(description[side], missing, shape, dtype) for side, missing in (("low", -np.inf), ("high", np.inf))
    )
    return spaces.Box(low, high, shape, dtype)


def _bounds(values: NDArray[Any]) -> Any:
    plain = [value if math.isfinite(value) else None for value in values.ravel().tolist()]
    return plain[0] if len(set(plain)) == 1 else plain


def _full(bounds: Any, missing: float, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    values = bounds if isinstance(bounds, list) else [bounds] * math.prod(shape)
    return np.array([missing if value is None else value for value in values], dtype=dtype).reshape(shape)
