"""A picture of a body in Parkour, drawn with numpy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlteach_envs.parkour_terrain import PARKOUR_GOAL, ParkourTerrain
from rlteach_envs.stump_picture import FLAG, GRASS, HEIGHT, HULL, SKY, WIDTH, Colour, Floats, fill, paint_body
from rlteach_envs.stump_terrain import START_PAD
from rlteach_envs.walker_bodies import PIXELS_PER_METRE, WalkerBody

WATER, ROCK, CREEPER, DEAD = (120, 172, 229), (120, 115, 110), (112, 129, 96), (60, 60, 60)


def draw(terrain: ParkourTerrain, body: WalkerBody, states: Floats, *, dead: bool) -> NDArray[np.uint8]:
    """Return a picture (400, 600, 3), 30 pixels to a metre, with the hull at mid-height, a fifth from the left.

    Args:
        terrain: Ground, ceiling, creepers and water.
        body: What moves in it.
        states: x, y and angle of each part in the first three columns.
        dead: Whether it is dead, which turns the hull grey.
    """
    assert terrain.ceiling is not None
    corner = states[0, :2] - np.array([WIDTH / 5, HEIGHT / 2]) / PIXELS_PER_METRE
    columns = corner[0] + (np.arange(WIDTH) + 0.5) / PIXELS_PER_METRE
    rows = (corner[1] + (HEIGHT - np.arange(HEIGHT) - 0.5) / PIXELS_PER_METRE)[:, None]
    ground, ceiling = (np.interp(columns, line[:, 0], line[:, 1]) for line in (terrain.ground, terrain.ceiling))
    beyond = (columns < 0.0) | (columns > terrain.ground[-1, 0])
    image = np.full((HEIGHT, WIDTH, 3), SKY, dtype=np.uint8)
    image[(rows < terrain.water) & ~beyond] = WATER
    for left, right, lower, upper in terrain.creepers:
        _box(image, left - corner[0], right - corner[0], lower - corner[1], upper - corner[1], CREEPER)
    image[(rows < ground) & ~beyond] = GRASS
    image[(rows > ceiling) & ~beyond] = ROCK
    for x in (START_PAD / 2, PARKOUR_GOAL):
        foot = float(np.interp(x, *terrain.ground.T)) - corner[1]
        _box(image, x - corner[0], x - corner[0] + 0.07, foot, foot + 1.7, FLAG)
    paint_body(image, body, states, corner, DEAD if dead else HULL)
    return image


def _box(image: NDArray[np.uint8], left: float, right: float, lower: float, upper: float, colour: Colour) -> None:
    fill(image, np.array([(left, lower), (right, lower), (right, upper), (left, upper)]), colour)
