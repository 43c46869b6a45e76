"""A car on its track as its driver's camera sees it, drawn polygon by polygon into an array.

The camera hangs above the car and turns with it; what it sees, its colours and its gauges are those of Gymnasium's
CarRacing, but for the zoom in the first second, the score in digits and the skid marks. Edges are smoothed by drawing
twice as large.

Only environments import this module, when they are built: see `car_physics` for what compiles it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rlteach_envs.car_physics import (
    ANGLE,
    CENTRE,
    HULL,
    PHASE,
    PIVOTS,
    SPIN,
    STEER,
    VX,
    VY,
    WHEEL,
    WHEEL_HALF_WIDTH,
    WHEEL_RADIUS,
    Floats,
    X,
    Y,
    compiled,
)
from rlteach_envs.car_track import FIELD, HALF_WIDTH, KERB, Track

Image = NDArray[np.uint8]

ZOOM = 16.2
"""Pixels to a metre in a window of 1000 x 800; other sizes show the same stretched."""

SIGHT = 50.0
"""The camera sees nothing that is further away, in m."""

_PATCH = FIELD / 20
"""Side of the lighter squares of grass, in m; every second place has one, in every second row."""

_STRIPE = 1.2
"""Part of the circumference of a wheel that is lighter, in rad."""

OUTSIDE, GRASS, PATCH, ROAD, WHITE, RED, TYRE, STRIPE, BODY, BLUE, VIOLET, GREEN = (
    0,
    1,
    2,
    3,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
    13,
)
PALETTE = np.array(
    [
        (0, 0, 0),
        (102, 204, 102),
        (102, 230, 102),
        (102, 102, 102),
        (105, 105, 105),
        (107, 107, 107),
        (255, 255, 255),
        (255, 0, 0),
        (0, 0, 0),
        (77, 77, 77),
        (204, 0, 0),
        (0, 0, 255),
        (51, 0, 255),
        (0, 255, 0),
    ],
    dtype=np.uint8,
)
"""Colours by number; three successive greys belong to the road."""


def _strips(polygon: Floats) -> list[Floats]:
    """Return a convex polygon of 2 m corners as m - 1 quadrilaterals (4, 2)."""
    last = len(polygon) - 1
    return [polygon[[i, i + 1, last - 1 - i, last - i]] for i in range(last // 2)]


_BODY: Floats = np.array([strip for polygon in HULL for strip in _strips(polygon - CENTRE)])
_PIVOTS: Floats = PIVOTS - CENTRE
_PATCHES = np.array([(i * _PATCH, j * _PATCH) for i in range(-20, 20, 2) for j in range(-20, 20, 2)])


def draw(state: Floats, track: Track, height: int, width: int) -> Image:
    """Return a picture (height, width, 3) of a car in a state (21,) on its track."""
    canvas = np.empty((2 * height, 2 * width), dtype=np.uint8)
    paint(canvas, state, track.nodes, track.kerbs)
    return shrink(canvas)


# -- what there is to see: quadrilaterals (m, 4, 2), those behind first, and the numbers of their colours (m,) ---------


@compiled
def put(quads: Floats, colours: Image, count: int, x0: float, y0: float, x1: float, y1: float, colour: int) -> int:
    """Append a rectangle between two corners; return the new count."""
    quads[count, 0, 0], quads[count, 0, 1] = x0, y0
    quads[count, 1, 0], quads[count, 1, 1] = x1, y0
    quads[count, 2, 0], quads[count, 2, 1] = x1, y1
    quads[count, 3, 0], quads[count, 3, 1] = x0, y1
    colours[count] = colour
    return count + 1


@compiled
def place_ground(quads: Floats, colours: Image, x: float, y: float, nodes: Floats, kerbs: NDArray[np.int8]) -> int:
    """Write what lies around a point, in m: field, lighter squares, tiles, kerbs; return how many."""
    count = put(quads, colours, 0, -FIELD, -FIELD, FIELD, FIELD, GRASS)
    for i in range(_PATCHES.shape[0]):
        left, lower = _PATCHES[i, 0], _PATCHES[i, 1]
        if abs(left + _PATCH / 2 - x) < SIGHT + _PATCH / 2 and abs(lower + _PATCH / 2 - y) < SIGHT + _PATCH / 2:
            count = put(quads, colours, count, left, lower, left + _PATCH, lower + _PATCH, PATCH)
    reach = SIGHT + HALF_WIDTH + KERB
    for layer in range(2):
        for tile in range(nodes.shape[0]):
            dx, dy = nodes[tile, 0] - x, nodes[tile, 1] - y
            if dx * dx + dy * dy > reach * reach or (layer == 1 and kerbs[tile] == 0):
                continue
            inner, outer, colour = -HALF_WIDTH, HALF_WIDTH, ROAD + tile % 3
            if layer == 1:
                inner, outer = kerbs[tile] * HALF_WIDTH, kerbs[tile] * (HALF_WIDTH + KERB)
                colour = WHITE if tile % 2 == 0 else RED
            for k in range(4):
                node = tile if k < 2 else (tile + 1) % nodes.shape[0]
                side = inner if k == 0 or k == 3 else outer
                quads[count, k, 0] = nodes[node, 0] - side * nodes[node, 3]
                quads[count, k, 1] = nodes[node, 1] + side * nodes[node, 2]
            colours[count] = colour
            count += 1
    return count


@compiled
def stripe(phase: float) -> tuple[float, float]:
    """Return from where to where a wheel shows its stripe, in radii forwards; the same twice when it is below."""
    first, last = math.cos(phase), math.cos(phase + _STRIPE)
    hidden_first, hidden_last = math.sin(phase) > 0.0, math.sin(phase + _STRIPE) > 0.0
    if hidden_first and hidden_last:
        return 0.0, 0.0
    if hidden_first:
        first = 1.0 if first > 0.0 else -1.0
    if hidden_last:
        last = 1.0 if last > 0.0 else -1.0
    return first, last


@compiled
def place_car(quads: Floats, colours: Image, count: int, state: Floats) -> int:
    """Append wheels and hull, in m to the right and forwards of the centre of mass; return the new count."""
    for i in range(4):
        turn = state[STEER] if i < 2 else 0.0
        cos, sin = math.cos(turn), math.sin(turn)
        rear, front = stripe(state[PHASE + i])
        wide, high = WHEEL_HALF_WIDTH, WHEEL_RADIUS
        put(quads, colours, count, -wide, -high, wide, high, TYRE)
        put(quads, colours, count + 1, -wide, rear * high, wide, front * high, STRIPE)
        for _ in range(2):
            for k in range(4):
                right, ahead = quads[count, k, 0], quads[count, k, 1]
                quads[count, k, 0] = _PIVOTS[i, 0] + right * cos - ahead * sin
                quads[count, k, 1] = _PIVOTS[i, 1] + right * sin + ahead * cos
            count += 1
    for i in range(_BODY.shape[0]):
        for k in range(4):
            quads[count, k, 0], quads[count, k, 1] = _BODY[i, k, 0], _BODY[i, k, 1]
        colours[count] = BODY
        count += 1
    return count


@compiled
def place_gauges(quads: Floats, colours: Image, count: int, state: Floats) -> int:
    """Append speed, speeds of the wheels, their angle and the turning, in 40ths of the picture from its upper left."""
    count = put(quads, colours, count, 0.0, 35.0, 40.0, 40.0, OUTSIDE)
    speed = math.sqrt(state[VX] ** 2 + state[VY] ** 2)
    count = put(quads, colours, count, 5.0, 39.0, 6.0, 39.0 - 0.02 * speed, WHITE)
    for i in range(4):
        upper = 39.0 - 0.01 * state[WHEEL + i]
        count = put(quads, colours, count, 7.0 + i, 39.0, 8.0 + i, upper, BLUE if i < 2 else VIOLET)
    count = put(quads, colours, count, 20.0, 36.0, 20.0 - 10.0 * state[STEER], 38.0, GREEN)
    return put(quads, colours, count, 30.0, 36.0, 30.0 - 0.8 * state[SPIN], 38.0, RED)


# -- how it is painted -------------------------------------------------------------------------------------------------


@compiled
def look(quads: Floats, xx: float, xy: float, yx: float, yy: float, column: float, row: float) -> None:
    """Replace points (m, 4, 2) by their column and row: (xx x + xy y + column, yx x + yy y + row)."""
    for i in range(quads.shape[0]):
        for k in range(4):
            x, y = quads[i, k, 0], quads[i, k, 1]
            quads[i, k, 0], quads[i, k, 1] = xx * x + xy * y + column, yx * x + yy * y + row


@compiled
def fill(canvas: Image, quads: Floats, colours: Image) -> None:
    """Colour the places whose middles lie in convex quadrilaterals (m, 4, 2), given by column and row."""
    rows, columns = canvas.shape
    for i in range(quads.shape[0]):
        top, bottom = np.inf, -np.inf
        for k in range(4):
            top, bottom = min(top, quads[i, k, 1]), max(bottom, quads[i, k, 1])
        for row in range(max(math.ceil(top - 0.5), 0), min(math.ceil(bottom - 0.5), rows)):
            y = row + 0.5
            left, right = np.inf, -np.inf
            for k in range(4):
                x0, y0, x1, y1 = quads[i, k - 1, 0], quads[i, k - 1, 1], quads[i, k, 0], quads[i, k, 1]
                if (y0 <= y) != (y1 <= y):
                    x = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
                    left, right = min(left, x), max(right, x)
            first = math.ceil(min(max(left - 0.5, 0.0), columns))
            last = math.ceil(min(max(right - 0.5, 0.0), columns))
            canvas[row, first:last] = colours[i]


@compiled
def paint(canvas: Image, state: Floats, nodes: Floats, kerbs: NDArray[np.int8]) -> None:
    """Paint everything on a canvas (rows, columns), as numbers of colours."""
    rows, columns = canvas.shape
    quads = np.empty((_PATCHES.shape[0] + 2 * nodes.shape[0] + 40, 4, 2))
    colours = np.empty(quads.shape[0], dtype=np.uint8)
    ground = place_ground(quads, colours, state[X], state[Y], nodes, kerbs)
    car = place_car(quads, colours, ground, state)
    gauges = place_gauges(quads, colours, car, state)
    across, along = ZOOM * columns / 1000, ZOOM * rows / 800
    column, row = columns / 2, rows * 3 / 4
    look(quads[ground:car], across, 0.0, 0.0, -along, column, row)
    look(quads[car:gauges], columns / 40, 0.0, 0.0, rows / 40, 0.0, 0.0)
    xx, xy = across * math.cos(state[ANGLE]), across * math.sin(state[ANGLE])
    yx, yy = along * math.sin(state[ANGLE]), -along * math.cos(state[ANGLE])
    column -= xx * state[X] + xy * state[Y]
    row -= yx * state[X] + yy * state[Y]
    look(quads[:ground], xx, xy, yx, yy, column, row)
    canvas[:] = OUTSIDE
    fill(canvas, quads[:gauges], colours)


def _halve(canvas: Image) -> Image:
    colours = PALETTE.astype(np.uint16)[canvas]
    total = colours[::2, ::2] + colours[::2, 1::2] + colours[1::2, ::2] + colours[1::2, 1::2]
    return (total // 4).astype(np.uint8)


@compiled
def _halve_in_a_loop(canvas: Image) -> Image:
    rows, columns = canvas.shape[0] // 2, canvas.shape[1] // 2
    image = np.empty((rows, columns, 3), dtype=np.uint8)
    for row in range(rows):
        for column in range(columns):
            a, b = canvas[2 * row, 2 * column], canvas[2 * row, 2 * column + 1]
            c, d = canvas[2 * row + 1, 2 * column], canvas[2 * row + 1, 2 * column + 1]
            for k in range(3):
                if a == b and a == c and a == d:
                    image[row, column, k] = PALETTE[a, k]
                else:
                    total = np.int64(PALETTE[a, k]) + PALETTE[b, k] + PALETTE[c, k] + PALETTE[d, k]
                    image[row, column, k] = total // 4
    return image


shrink: Callable[[Image], Image] = _halve_in_a_loop if hasattr(_halve_in_a_loop, "py_func") else _halve
"""Returns a picture (r, c, 3) of half the size of a canvas (2 r, 2 c): the mean colour of each four places."""
