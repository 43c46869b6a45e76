"""What water does to bodies in it: it bears them up, resists them, and is pushed away by limbs that turn.

The rules are those of Box2D's well-known buoyancy tutorial (iforce2d.net), and a push by motors, as in TeachMyAgent
(Romac et al. 2021). The same functions run as plain Python, and compiled by numba where that is installed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

WATER_DENSITY = 1.0
"""In kg/m^2."""

GRAVITY = 10.0
DRAG, LIFT, PUSH = 0.25, 0.25, 0.05
MAX_DRAG, MAX_LIFT, MAX_PUSH = 2000.0, 500.0, 20.0
"""Largest forces, in N."""

EPSILON = 1.2e-7
"""Shorter edges, and slower ones, in m and m/s, have no direction."""

PART_NUMBERS, JOINT_NUMBERS = 9, 6


Pair = tuple[float, float]


def submerged(part: Any, corners: Any, first: int, last: int, water: float, xs: Any, ys: Any) -> int:
    """Write the corners of the part of an outline below the surface into `xs` and `ys`, and return their number.

    Args:
        part: x, y, and cos and sin of the angle.
        corners: x, y of corners in coordinates of the part, flat.
        first: Number of the outline's first corner.
        last: Number of its last one.
        water: Height of the surface, in m.
        xs: Room for one corner more than there are.
        ys: Likewise.
    """
    x, y, cos, sin = part
    count = 0
    before_x = x + cos * corners[2 * last] - sin * corners[2 * last + 1]
    before_y = y + sin * corners[2 * last] + cos * corners[2 * last + 1]
    for k in range(first, last + 1):
        here_x = x + cos * corners[2 * k] - sin * corners[2 * k + 1]
        here_y = y + sin * corners[2 * k] + cos * corners[2 * k + 1]
        if (here_y < water) != (before_y < water):
            share = (water - before_y) / (here_y - before_y)
            xs[count], ys[count] = before_x + share * (here_x - before_x), water
            count += 1
        if here_y < water:
            xs[count], ys[count] = here_x, here_y
            count += 1
        before_x, before_y = here_x, here_y
    return count


def buoyancy(xs: Any, ys: Any, count: int, centre_x: float, centre_y: float) -> Pair:
    """Return the force upwards, in N, and the torque about a centre, in N m: the weight of the water displaced."""
    area, moment = 0.0, 0.0
    for k in range(count):
        after = k + 1 if k + 1 < count else 0
        ax, ay, bx, by = xs[k] - centre_x, ys[k] - centre_y, xs[after] - centre_x, ys[after] - centre_y
        twice = ax * by - ay * bx
        area += twice / 2
        moment += twice * (ax + bx) / 6
    if area < EPSILON:
        return 0.0, 0.0
    return WATER_DENSITY * GRAVITY * area, WATER_DENSITY * GRAVITY * moment


def resistance(edge: Pair, length: float, velocity: Pair) -> Pair:
    """Return the force on an edge that moves outwards with speed v, its middle at an angle to the outward normal.

    With c and s the cosine and sine of that angle: drag 0.25 c l v^2 against the motion, lift 0.25 c s l v^2 across.

    Args:
        edge: Direction of the edge, counter-clockwise around the outline.
        length: Its length l, in m.
        velocity: Of its middle, in m/s.
    """
    speed = math.sqrt(velocity[0] * velocity[0] + velocity[1] * velocity[1])
    if speed < EPSILON:
        return 0.0, 0.0
    x, y = velocity[0] / speed, velocity[1] / speed
    facing = edge[1] * x - edge[0] * y
    if facing < 0.0:
        return 0.0, 0.0
    strength = facing * length * WATER_DENSITY * speed * speed
    drag = min(DRAG * strength, MAX_DRAG)
    lift = min(LIFT * strength * (edge[0] * x + edge[1] * y), MAX_LIFT)
    return -drag * x - lift * y, -drag * y + lift * x


def recoil(edge: Pair, length: float, throw: Pair, vigour: float) -> Pair:
    """Return what an edge is pushed back with that faces the way in which a motor would move the centre of its part.

    That is 0.05 c l w^2 u, at most 20 N along each axis.

    Args:
        edge: Direction of the edge, counter-clockwise around the outline.
        length: Its length l, in m.
        throw: u, the motor's torque times the lever from joint to centre, turned by a right angle; c is what of it
            lies along the outward normal.
        vigour: w, the torque, and what spins, in N m.
    """
    facing = edge[1] * throw[0] - edge[0] * throw[1]
    if facing <= 0.0:
        return 0.0, 0.0
    strength = facing * PUSH * length * WATER_DENSITY * vigour * vigour
    return (
        min(max(-strength * throw[0], -MAX_PUSH), MAX_PUSH),
        min(max(-strength * throw[1], -MAX_PUSH), MAX_PUSH),
    )


@cache
def water_forces(compiled: bool) -> Callable[..., None]:
    """Return the function that writes the force of the water on each part, for lists, or for arrays when compiled.

    It is called with (everything flat)
    - x, y, cos and sin of the angle, centre of mass x, y, velocity x, y of that, angular velocity: nine for each part;
    - x, y of the corners of all outlines in coordinates of their parts, counter-clockwise;
    - the number of the first corner of each part, and behind the last one;
    - for each part, of the motor that ties it to its parent: 1 if there is one, torque in N m, whether it is off its
      limits, anchor x and y in coordinates of the part, and the part's moment of inertia;
    - the height of the surface, in m;
    - room for three for each part: x and y of the force, in N, and the torque about the centre of mass, in N m.
    """
    jit: Callable[..., Any] = _njit() if compiled else _as_it_is
    clip, bear, resist, push_back = jit(submerged), jit(buoyancy), jit(resistance), jit(recoil)

    def forces(parts: Any, corners: Any, starts: Any, joints: Any, water: float, out: Any) -> None:
        xs, ys = [0.0] * 20, [0.0] * 20
        for p in range(len(starts) - 1):
            at, joint = PART_NUMBERS * p, JOINT_NUMBERS * p
            placed = (parts[at], parts[at + 1], parts[at + 2], parts[at + 3])
            count = clip(placed, corners, starts[p], starts[p + 1] - 1, water, xs, ys)
            if count < 3:
                out[3 * p], out[3 * p + 1], out[3 * p + 2] = 0.0, 0.0, 0.0
                continue
            centre_x, centre_y, spin = parts[at + 4], parts[at + 5], parts[at + 8]
            force_x = 0.0
            force_y, torque = bear(xs, ys, count, centre_x, centre_y)
            pushes = joints[joint] > 0.0 and joints[joint + 2] > 0.0
            lever_x = placed[0] + placed[2] * joints[joint + 3] - placed[3] * joints[joint + 4] - centre_x
            lever_y = placed[1] + placed[3] * joints[joint + 3] + placed[2] * joints[joint + 4] - centre_y
            turning = joints[joint + 1]
            for k in range(count):
                after = k + 1 if k + 1 < count else 0
                edge_x, edge_y = xs[after] - xs[k], ys[after] - ys[k]
                length = math.sqrt(edge_x * edge_x + edge_y * edge_y)
                if length < EPSILON:
                    continue
                edge = (edge_x / length, edge_y / length)
                arm_x, arm_y = (xs[k] + xs[after]) / 2 - centre_x, (ys[k] + ys[after]) / 2 - centre_y
                fx, fy = resist(edge, length, (parts[at + 6] - spin * arm_y, parts[at + 7] + spin * arm_x))
                force_x, force_y, torque = force_x + fx, force_y + fy, torque + arm_x * fy - arm_y * fx
                if pushes:
                    throw = (turning * lever_y, -turning * lever_x)
                    fx, fy = push_back(edge, length, throw, turning + joints[joint + 5] * spin)
                    force_x, force_y, torque = force_x + fx, force_y + fy, torque + lever_x * fy - lever_y * fx
            out[3 * p], out[3 * p + 1], out[3 * p + 2] = force_x, force_y, torque

    return jit(forces)  # type: ignore[no-any-return]


def _njit() -> Callable[..., Any]:
    import numba

    return numba.njit  # type: ignore[no-any-return]


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function
