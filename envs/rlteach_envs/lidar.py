"""A fan of ten distance rays against line segments, computed instead of asked from a physics engine.

A ray sees 160/30 m far, and may tell what it met. Two equal implementations: compiled by numba where it is installed,
and numpy.
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

SOLID, CREEPER, WATER = 0.0, 1.0, -1.0
"""What a ray meets; SOLID also when it meets nothing."""

BACKENDS = ("auto", "numba", "numpy")


def resolved(backend: str) -> str:
    """Return `"numba"` or `"numpy"`.

    Raises:
        ValueError: For another name.
        DependencyNotInstalled: When numba is asked for and not installed.
    """
    if backend not in BACKENDS:
        raise ValueError(f"lidar = {backend!r} must be one of {', '.join(BACKENDS)}")
    installed = importlib.util.find_spec("numba") is not None
    if backend == "numba" and not installed:
        raise DependencyNotInstalled("lidar='numba' needs numba: pip install rlteach[numba]")
    return backend if backend != "auto" else ("numba" if installed else "numpy")


def sort_segments(pieces: Sequence[tuple[Floats, Floats]], codes: Sequence[float] = ()) -> Floats:
    """Return segments as rows x0, y0, x1, y1, reach, code, with x0 <= x1, sorted by x0.

    `reach` is the largest x1 of this row and all before it: rows whose reach lies behind the eye cannot be hit.
    Segments that are not SOLID are met from one side only: by rays d with d x (end - start) < 0.

    Args:
        pieces: Pairs of starts (m, 2) and ends (m, 2).
        codes: What each piece is; all are SOLID when not given.
    """
    rows = np.empty((sum(len(starts) for starts, _ in pieces), 6))
    first = 0
    for k, (starts, ends) in enumerate(pieces):
        last = first + len(starts)
        rows[first:last, 0:2], rows[first:last, 2:4] = starts, ends
        rows[first:last, 5] = codes[k] if codes else SOLID
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
        start: Angle of the first ray from straight down, turning forwards, in rad.
        sweep: Ten times the angle between two rays, in rad.
        surfaces: Whether to tell what each ray met, after the distances.
    """

    def __init__(
        self, backend: str = "auto", *, start: float = 0.0, sweep: float = 1.5, surfaces: bool = False
    ) -> None:
        self.backend = resolved(backend)
        angles = [sweep * i / RAYS + start for i in range(RAYS)]
        x, y = [math.sin(angle) * RANGE for angle in angles], [-math.cos(angle) * RANGE for angle in angles]
        self.rays: Floats = np.array([x, y])
        self.surfaces = surfaces
        self._behind = max(0.0, -min(x))
        self._rows: Floats = np.empty((0, 6))
        self._water = -math.inf
        self._starts: list[float] = []
        self._reaches: list[float] = []
        self._compiled: Callable[..., None] | None = None

    def load(self, rows: Floats, water: float = -math.inf) -> None:
        """Take the segments of an episode, as `sort_segments` returns them, and the level of the water in m."""
        self._rows, self._water = rows, water
        if self.backend == "numba":
            self._compiled = compiled_scan()
        else:
            self._starts, self._reaches = rows[:, 0].tolist(), rows[:, 4].tolist()

    def scan(self, x: float, y: float, out: NDArray[Any]) -> None:
        """Write how far each ray gets from (x, y), as a share of its range, into the last 10 places of `out`.

        With `surfaces` it is the 10 places before, and the last 10 are what each ray met.
        """
        if self._compiled is not None:
            self._compiled(x, y, self.rays, self._behind, self._rows, self._water, self.surfaces, out)
            return
        first = bisect_left(self._reaches, x - self._behind)
        last = bisect_right(self._starts, x + RANGE, first)
        rows = self._rows[first:last]
        if self.surfaces:
            out[-2 * RAYS : -RAYS], out[-RAYS:] = scan_surfaces(x, y, self.rays, rows, self._water)
        else:
            out[-RAYS:] = along_rays(x, y, self.rays, rows, None).min(axis=1, initial=1.0)


def along_rays(x: float, y: float, rays: Floats, rows: Floats, one_sided: NDArray[np.bool_] | None) -> Floats:
    """Return which share of its range each ray gets from (x, y) before it meets each segment (10, m); 1 if it does not.

    With eye p, ray d and a segment from a along e, p + t d = a + s e gives t = q x e / d x e and s = q x d / d x e,
    where q = a - p.

    Args:
        x: Where the eye is, in m.
        y: Likewise.
        rays: Where the rays (2, 10) end, from the eye, in m.
        rows: Segments (m, 6).
        one_sided: Which segments (m,) are met from one side only; None for none.
    """
    ray_x, ray_y = rays[:, :, None]
    x0, y0, x1, y1 = rows.T[:4]
    edge_x, edge_y = x1 - x0, y1 - y0
    to_x, to_y = x0 - x, y0 - y
    cross = ray_x * edge_y - ray_y * edge_x
    blind = cross == 0.0
    if one_sided is not None:
        blind |= (cross > 0.0) & one_sided
    cross[blind] = 1.0
    along_ray: Floats = (to_x * edge_y - to_y * edge_x) / cross
    along_edge = (to_x * ray_y - to_y * ray_x) / cross
    misses = blind | (along_ray < 0.0) | (along_edge < 0.0) | (along_edge > 1.0)
    along_ray[misses] = 1.0
    return along_ray


def scan_surfaces(x: float, y: float, rays: Floats, rows: Floats, water: float) -> tuple[Floats, Floats]:
    """Return the share of its range that each ray gets from (x, y), and what stops it there; water from above only."""
    along_ray = along_rays(x, y, rays, rows, rows[:, 5] != SOLID)
    shares: Floats = along_ray.min(axis=1, initial=1.0)
    codes = np.zeros(RAYS)
    if len(rows):
        hit = shares < 1.0
        codes[hit] = rows[along_ray.argmin(axis=1)[hit], 5]
    if y > water:
        down = rays[1] < 0.0
        to_water = np.ones(RAYS)
        to_water[down] = (water - y) / rays[1, down]
        first = to_water < shares
        shares[first], codes[first] = to_water[first], WATER
    return shares, codes


@cache
def compiled_scan() -> Callable[..., None]:
    """Return the numba form of the scan, which writes into `out` as `Lidar.scan` does."""
    import numba

    def scan(x: float, y: float, rays: Any, behind: float, rows: Any, water: float, surfaces: bool, out: Any) -> None:
        first, last = 0, rows.shape[0]
        while first < last:
            middle = (first + last) // 2
            if rows[middle, 4] < x - behind:
                first = middle + 1
            else:
                last = middle
        place = out.shape[0] - RAYS
        if surfaces:
            place -= RAYS
        for i in range(RAYS):
            dx, dy = rays[0, i], rays[1, i]
            nearest, met = 1.0, SOLID
            for k in range(first, rows.shape[0]):
                x0, y0 = rows[k, 0], rows[k, 1]
                if x0 > x + RANGE:
                    break
                edge_x, edge_y = rows[k, 2] - x0, rows[k, 3] - y0
                cross = dx * edge_y - dy * edge_x
                if cross < 0.0 or (cross > 0.0 and rows[k, 5] == SOLID):
                    along_ray = ((x0 - x) * edge_y - (y0 - y) * edge_x) / cross
                    along_edge = ((x0 - x) * dy - (y0 - y) * dx) / cross
                    if 0.0 <= along_ray < nearest and 0.0 <= along_edge <= 1.0:
                        nearest, met = along_ray, rows[k, 5]
            if dy < 0.0 and y > water and (water - y) / dy < nearest:
                nearest, met = (water - y) / dy, WATER
            out[place + i] = nearest
            if surfaces:
                out[place + RAYS + i] = met

    return numba.njit(scan)  # type: ignore[no-any-return]
