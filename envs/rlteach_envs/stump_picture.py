"""A picture of a walker on its track, drawn with numpy alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rlteach_envs.stump_terrain import GOAL, GROUND_HEIGHT, START_PAD, Terrain, box_corners
from rlteach_envs.walker_bodies import PIXELS_PER_METRE, WalkerBody

Floats = NDArray[np.float64]
Colour = tuple[int, int, int]

WIDTH, HEIGHT = 600, 400
SKY, GRASS, STUMP, HULL, FLAG = (215, 235, 255), (105, 165, 80), (150, 150, 150), (127, 51, 229), (220, 60, 30)
LIMBS: tuple[Colour, Colour] = ((178, 101, 152), (128, 51, 102))


def draw(terrain: Terrain, body: WalkerBody, states: Floats) -> NDArray[np.uint8]:
    """Return a picture (400, 600, 3), 30 pixels to a metre, with the hull a fifth of the way from the left.

    Args:
        terrain: The ground.
        body: What walks on it.
        states: x, y and angle of each part in the first three columns.
    """
    left = float(states[0, 0]) - WIDTH / PIXELS_PER_METRE / 5
    bottom = float(np.interp(states[0, 0], *terrain.ground.T)) - GROUND_HEIGHT
    corner = np.array([left, bottom])
    columns = left + (np.arange(WIDTH) + 0.5) / PIXELS_PER_METRE
    rows = bottom + (HEIGHT - np.arange(HEIGHT) - 0.5) / PIXELS_PER_METRE
    image = np.full((HEIGHT, WIDTH, 3), SKY, dtype=np.uint8)
    ground = np.interp(columns, *terrain.ground.T)
    ground[(columns < 0.0) | (columns > terrain.ground[-1, 0])] = -math.inf
    image[rows[:, None] < ground] = GRASS
    for x in (START_PAD / 2, GOAL):
        pole = np.array([(x, 0.0), (x + 0.07, 0.0), (x + 0.07, 1.7), (x, 1.7)])
        fill(image, pole - corner + np.array([0.0, GROUND_HEIGHT]), FLAG)
    for polygon in (*box_corners(terrain.boxes).transpose(1, 0, 2), *terrain.polygons):
        fill(image, polygon - corner, STUMP)
    paint_body(image, body, states, corner)
    return image


def paint_body(image: NDArray[np.uint8], body: WalkerBody, states: Floats, corner: Floats, hull: Colour = HULL) -> None:
    """Paint the parts of a walker, its hull in front.

    Args:
        image: The picture.
        body: The walker.
        states: x, y and angle of each part in the first three columns.
        corner: What the lower left corner of the picture shows, in m.
        hull: Colour of the hull.
    """
    for i in (*range(len(body.parts) - 1, 0, -1), 0):
        x, y, angle = states[i, :3]
        cos, sin = math.cos(angle), math.sin(angle)
        points = np.array([(x + px * cos - py * sin, y + px * sin + py * cos) for px, py in body.parts[i].polygon])
        fill(image, points - corner, hull if i == 0 else LIMBS[(i - 1) // 2 % 2])


def fill(image: NDArray[np.uint8], polygon: Floats, colour: Colour) -> None:
    """Colour the pixels whose middles lie in a convex, counter-clockwise polygon, in m from the lower left corner."""
    points = polygon * PIXELS_PER_METRE
    x0, y0 = np.maximum(np.floor(points.min(axis=0)), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(points.max(axis=0)), (WIDTH, HEIGHT)).astype(int)
    if x0 >= x1 or y0 >= y1:
        return
    x, y = np.arange(x0, x1)[None, :] + 0.5, np.arange(y0, y1)[::-1, None] + 0.5
    inside = np.ones((y1 - y0, x1 - x0), dtype=bool)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0), strict=True):
        inside &= (bx - ax) * (y - ay) - (by - ay) * (x - ax) >= 0.0
    image[HEIGHT - y1 : HEIGHT - y0, x0:x1][inside] = colour
