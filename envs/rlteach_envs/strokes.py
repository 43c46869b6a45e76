"""Strokes, dots and arcs with smooth edges, for small pictures drawn with numpy alone.

    image = np.full((100, 200, 3), 255, dtype=np.uint8)
    stroke(image, (10, 90), (150, 20), 3, DARK)
    dot(image, (150, 20), 6, BLUE)

Places are in pixels, (x to the right, y down) from the upper left corner: the middle of the first pixel is (0.5, 0.5).
What lies outside the picture is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
Place = tuple[float, float]

WHITE, DARK, BLUE, GREEN, RED = (255, 255, 255), (60, 60, 60), (40, 80, 220), (40, 160, 60), (200, 60, 50)


def stroke(image: NDArray[np.uint8], start: Place, end: Place, width: float, colour: Colour) -> None:
    """Draw a straight line with round ends, `width` pixels thick; a disc where it ends at its start."""
    x, y, part = _around(image, [start, end], width)
    dx, dy = end[0] - start[0], end[1] - start[1]
    x, y = x - start[0], y - start[1]
    along = np.clip((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-12), 0.0, 1.0)
    _paint(part, (x - along * dx) ** 2 + (y - along * dy) ** 2, width, colour)


def dot(image: NDArray[np.uint8], place: Place, radius: float, colour: Colour) -> None:
    """Draw a disc with a white rim, which sets it off from any ground."""
    stroke(image, place, place, 2 * radius + 3, WHITE)
    stroke(image, place, place, 2 * radius, colour)


def arc(
    image: NDArray[np.uint8], centre: Place, radius: float, first: float, last: float, width: float, colour: Colour
) -> None:
    """Draw a part of a circle between two angles, in radians anticlockwise from upwards."""
    middle, half = (first + last) / 2, abs(last - first) / 2
    bows = [on_circle(centre, radius, middle + half * share / 4) for share in range(-4, 5)]
    x, y, part = _around(image, bows, width + radius * half * half / 16)  # by so much it may bulge between them
    x, y = centre[0] - x, centre[1] - y
    away = np.abs((np.arctan2(x, y) - middle + math.pi) % (2 * math.pi) - math.pi)
    _paint(part, (np.hypot(x, y) - radius) ** 2 + (radius * np.maximum(away - half, 0.0)) ** 2, width, colour)


def on_circle(centre: Place, radius: float, angle: float) -> Place:
    """Return the place on a circle at an angle, in radians anticlockwise from upwards."""
    return centre[0] - radius * math.sin(angle), centre[1] - radius * math.cos(angle)


def _around(
    image: NDArray[np.uint8], places: Sequence[Place], width: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint8]]:
    """Return the part of an image around some places: x of its columns, y of its rows, and a view of it."""
    xs, ys = zip(*places, strict=True)
    margin = width / 2 + 1
    left, top = max(math.floor(min(xs) - margin), 0), max(math.floor(min(ys) - margin), 0)
    right, bottom = max(math.ceil(max(xs) + margin), left), max(math.ceil(max(ys) + margin), top)
    part = image[top:bottom, left:right]
    return left + np.arange(part.shape[1]) + 0.5, top + np.arange(part.shape[0])[:, None] + 0.5, part


def _paint(part: NDArray[np.uint8], squares: NDArray[np.float64], width: float, colour: Colour) -> None:
    """Colour what is nearer to a line than half its width, given squared distances; pixels on its edge in part."""
    reach = width / 2 + 0.5
    near = squares < reach * reach
    share = np.minimum(reach - np.sqrt(squares[near]), 1.0)[:, None]
    part[near] = (1.0 - share) * part[near] + share * colour + 0.5
