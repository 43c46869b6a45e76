"""A fan of ten distance rays against line segments, computed instead of asked from a physics engine.

Ray i of 10 leaves the eye at the angle 0.15 i rad from straight down, forwards, and sees 160/30 m far. Two equal
implementations: compiled by numba where it is installed, and numpy.
"""

from __future__ import annotations

import importlib.util
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RAYS = 10
RANGE = 160 / 30.0
"""How far a ray sees, in m."""

_X = tuple(math.sin(1.5 * i / RAYS) * RANGE for i in range(RAYS))
_Y = tuple(-math.cos(1.5 * i / RAYS) * RANGE for i in range(RAYS))
_RAY_X, _RAY_Y = np.array(_X)[:, None], np.array(_Y)[:, None]

BACKENDS = ("auto", "numba", "numpy")


def sort_segments(pieces: Sequence[tuple[Floats, Floats]]) -> Floats:
    """Return segments as rows x0, y0, x1, y1, reach, with x0 <= x1, sorted by x0.

    `reach` is the largest x1 of this row and all before it: rows whose reach lies behind the eye cannot be hit.

    Args:
        pieces: Pairs of starts (m, 2) and ends (m, 2).
    """
    rows = np.empty((sum(len(starts) for starts, _ in pieces), 5))
    first = 0
    for starts, ends in pieces:
        last = first + len(starts)
        rows[first:last, 0:2], rows[first:last, 2:4] = starts, ends
        first = last
    backwards = rows[:, 0] > rows[:, 2]
    if backwards.any():
        rows[backwards, :4] = rows[backwards][:, (2, 3, 0, 1)]
    rows = rows.take(rows[:, 0].argsort(kind="stable"), axis=0)
    np.maximum.accumulate(rows[:, 2], out=rows[:, 4])
    return rows


class Lidar:
    """Ten rays against segments that stay the same for a whole episode.

    Args:
        backend: `"numba"`, `"numpy"`, or `"auto"`, which is numba where it is installed. numba compiles at the first
            ray of the process, for about a second, and keeps nothing on disk.
    """

    def __init__(self, backend: str = "auto") -> None:
        if backend not in BACKENDS:
            raise ValueError(f"lidar = {backend!r} must be one of {', '.join(BACKENDS)}")
        installed = importlib.util.find_spec("numba") is not None
        if backend == "numba" and not installed:
            raise DependencyNotInstalled("lidar='numba' needs numba: pip install rlteach[numba]")
        self.backend = backend if backend != "auto" else ("numba" if installed else "numpy")
        self._rows: Floats = np.empty((0, 5))
        self._starts: list[float] = []
        self._reaches: list[float] = []
        self._compiled: Callable[..., None] | None = None

    def load(self, rows: Floats) -> None:
        """Take the segments of an episode, as `sort_segments` returns them."""
        self._rows = rows
        if self.backend == "numba":
            self._compiled = compiled_scan()
        else:
            self._starts, self._reaches = rows[:, 0].tolist(), rows[:, 4].tolist()

    def scan(self, x: float, y: float, out: NDArray[Any]) -> None:
        """Write how far each ray gets from (x, y), as a share of its range, into the last 10 places of `out`."""
        if self._compiled is not None:
            self._compiled(x, y, self._rows, out)
            return
        first = bisect_left(self._reaches, x)
        last = bisect_right(self._starts, x + RANGE, first)
        out[-RAYS:] = scan_numpy(x, y, self._rows[first:last])


def scan_numpy(x: float, y: float, rows: Floats) -> Floats:
    """Return the share of its range that each ray gets from (x, y) before it meets one of the segments (m, 5).

    With eye p, ray d and a segment from a along e, p + t d = a + s e gives t = q x e / d x e and s = q x d / d x e,
    where q = a - p.
    """
    x0, y0, x1, y1, _ = rows.T
    edge_x, edge_y = x1 - x0, y1 - y0
    to_x, to_y = x0 - x, y0 - y
    cross = _RAY_X * edge_y - _RAY_Y * edge_x
    parallel = cross == 0.0
    cross[parallel] = 1.0
    along_ray = (to_x * edge_y - to_y * edge_x) / cross
    along_edge = (to_x * _RAY_Y - to_y * _RAY_X) / cross
    misses = parallel | (along_ray < 0.0) | (along_edge < 0.0) | (along_edge > 1.0)
    along_ray[misses] = 1.0
    nearest: Floats = along_ray.min(axis=1, initial=1.0)
    return nearest


@cache
def compiled_scan() -> Callable[..., None]:
    """Return the numba form of the scan: (x, y, rows, out) writes the last 10 places of `out`."""
    import numba

    ray_x, ray_y = np.array(_X), np.array(_Y)

    def scan(x: float, y: float, rows: Any, out: Any) -> None:
        first, last = 0, rows.shape[0]
        while first < last:
            middle = (first + last) // 2
            if rows[middle, 4] < x:
                first = middle + 1
            else:
                last = middle
        place = out.shape[0] - RAYS
        for i in range(RAYS):
            dx, dy = ray_x[i], ray_y[i]
            nearest = 1.0
            for k in range(first, rows.shape[0]):
                x0, y0 = rows[k, 0], rows[k, 1]
                if x0 > x + RANGE:
                    break
                edge_x, edge_y = rows[k, 2] - x0, rows[k, 3] - y0
                cross = dx * edge_y - dy * edge_x
                if cross != 0.0:
                    along_ray = ((x0 - x) * edge_y - (y0 - y) * edge_x) / cross
                    along_edge = ((x0 - x) * dy - (y0 - y) * dx) / cross
                    if 0.0 <= along_ray < nearest and 0.0 <= along_edge <= 1.0:
                        nearest = along_ray
            out[place + i] = nearest

    return numba.njit(scan)  # type: ignore[no-any-return]
