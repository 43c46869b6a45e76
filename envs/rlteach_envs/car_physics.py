"""A car seen from above: a hull, four wheels that roll and slide, and where it is on its track.

The forces are those of Gymnasium's CarRacing. What Box2D solves there by iteration, a hull that carries its wheels on
motor-driven pivots, is solved here in closed form: the whole car is one rigid body on which the front wheels turn, and
linear and angular momentum are kept. So a step takes microseconds, and its state is a handful of numbers.

Only environments import this module, when they are built: its functions are compiled by numba where that is installed,
and are plain Python with the same results where it is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rlteach_envs.car_track import FIELD, HALF_WIDTH

_Function = TypeVar("_Function", bound=Callable[..., Any])

try:
    from numba import njit as _njit
except ImportError:
    _njit = None  # type: ignore[assignment]


def compiled(function: _Function) -> _Function:
    """Return a function compiled by numba at its first call; as it is where numba is not installed."""
    return function if _njit is None else _njit(function)  # type: ignore[no-any-return]


Floats = NDArray[np.float64]

FPS = 50
DT = 1.0 / FPS

_SIZE = 0.02
HULL: tuple[Floats, ...] = tuple(
    _SIZE * np.array(polygon, dtype=np.float64)
    for polygon in (
        ((-60, 110), (60, 110), (60, 130), (-60, 130)),
        ((-20, 20), (20, 20), (15, 120), (-15, 120)),
        ((-25, 20), (-50, -10), (-50, -40), (-20, -90), (20, -90), (50, -40), (50, -10), (25, 20)),
        ((-50, -120), (50, -120), (50, -90), (-50, -90)),
    )
)
"""Convex parts of the hull, counter-clockwise, in m to the right and forwards of its origin; where they overlap, the
mass counts twice, as in Box2D."""

PIVOTS = _SIZE * np.array([(-55.0, 80.0), (55.0, 80.0), (-55.0, -82.0), (55.0, -82.0)])
"""Middles of the wheels, front left, front right, rear left, rear right, in m from the origin of the hull."""

WHEEL_RADIUS, WHEEL_HALF_WIDTH = _SIZE * 27, _SIZE * 14
HULL_DENSITY, WHEEL_DENSITY = 1.0, 0.1
"""In kg/m^2."""

ENGINE_POWER = 1e8 * _SIZE**2
"""Of each rear wheel at full gas, in W."""

WHEEL_INERTIA = 4000 * _SIZE**2
"""Against rolling, in kg m^2; that against turning follows from the shape."""

GRIP = 1e6 * _SIZE**2
"""Largest friction force of a wheel on the road, in N."""

GRASS = 0.6
"""Share of that force on grass."""

STIFFNESS = 205_000 * _SIZE**2
"""Friction force per m/s of slip, below its largest, in N s/m."""

GAS_RISE = 0.1
"""Largest rise of the gas in a step; it falls at once."""

BRAKE_SPEED = 15.0
"""What the full brake takes off a wheel's speed in a step, in rad/s."""

BRAKE_LOCK = 0.9
"""With this brake or more the wheels stand still."""

STEER_GAIN, STEER_SPEED = 50.0, 3.0
"""Speed of the front wheels' pivots per rad still to go, in 1/s, and at most, in rad/s."""

STEER_LIMIT = 0.4
"""A pivot that has turned so far is not driven further, in rad."""

STEER_SLACK = 2.0 / 180 * math.pi
"""How far it may stay beyond its limit, in rad, as in Box2D; what it overshoots further, it loses a step later."""


def mass_of(polygons: tuple[Floats, ...], density: float) -> tuple[float, Floats, float]:
    """Return mass, centre (2,) and moment of inertia around the centre of counter-clockwise polygons (m, 2)."""
    mass, moment, inertia = 0.0, np.zeros(2), 0.0
    for polygon in polygons:
        after = np.roll(polygon, -1, axis=0)
        cross = polygon[:, 0] * after[:, 1] - polygon[:, 1] * after[:, 0]
        mass += density * float(cross.sum()) / 2
        moment += density * (cross[:, None] * (polygon + after)).sum(axis=0) / 6
        squares = (polygon * polygon + polygon * after + after * after).sum(axis=1)
        inertia += density * float((cross * squares).sum()) / 12
    centre = moment / mass
    return mass, centre, inertia - mass * float(centre @ centre)


_WHEEL_SHAPE = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]) * (WHEEL_HALF_WIDTH, WHEEL_RADIUS)
_hull_mass, _hull_centre, _hull_inertia = mass_of(HULL, HULL_DENSITY)
_wheel_mass, _, _TURN_INERTIA = mass_of((_WHEEL_SHAPE,), WHEEL_DENSITY)
MASS = _hull_mass + 4 * _wheel_mass
CENTRE: Floats = (_hull_mass * _hull_centre + _wheel_mass * PIVOTS.sum(axis=0)) / MASS
"""Centre of mass of the whole car, in m from the origin of the hull."""

_ARMS: Floats = PIVOTS - CENTRE
_CARRIED = float(_hull_mass * ((_hull_centre - CENTRE) ** 2).sum() + _wheel_mass * (_ARMS**2).sum())
"""What the places of hull and wheels add to their own moments of inertia."""

_INERTIA = _hull_inertia + _CARRIED + 4 * _TURN_INERTIA

# The places in the state of a car.
X, Y, ANGLE, VX, VY, SPIN, STEER, STEER_RATE, GAS, WHEEL, PHASE, TOUCH = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 17
STATE_SIZE = 21
"""Centre of mass x, y in m; angle of the hull, 0 forwards along y, in rad; velocity in m/s; angular velocity in rad/s;
angle of the front wheels in rad and its speed in rad/s; gas 0 to 1; speeds of the wheels in rad/s; how far they have
rolled in rad; the tile under each wheel, -1 for grass."""


def at_start(nodes: Floats) -> Floats:
    """Return the state (21,) of a car that rests on the first node of a track, along it."""
    state = np.zeros(STATE_SIZE)
    state[X], state[Y] = nodes[0, :2]
    state[ANGLE] = math.atan2(nodes[0, 3], nodes[0, 2]) - math.pi / 2
    touch(state, nodes)
    return state


@compiled
def locate(x: float, y: float, nodes: Floats) -> tuple[int, float, float]:
    """Return tile, share of its length (0 to 1) and distance from its middle line (m, left positive) of a point.

    It is the tile next to the nearest node, so the answer has a meaning on the road and near it.
    """
    nearest = int(((nodes[:, 0] - x) ** 2 + (nodes[:, 1] - y) ** 2).argmin())
    ahead = (x - nodes[nearest, 0]) * nodes[nearest, 2] + (y - nodes[nearest, 1]) * nodes[nearest, 3]
    tile = nearest if ahead >= 0.0 else nearest - 1
    if tile < 0:
        tile += nodes.shape[0]
    end = tile + 1 if tile + 1 < nodes.shape[0] else 0
    x0, y0, x1, y1 = nodes[tile, 0], nodes[tile, 1], nodes[end, 0], nodes[end, 1]
    done = (x - x0) * nodes[tile, 2] + (y - y0) * nodes[tile, 3]
    left = (x1 - x) * nodes[end, 2] + (y1 - y) * nodes[end, 3]
    share = 0.5
    if done + left > 0.0:
        share = min(max(done / (done + left), 0.0), 1.0)
    dx, dy = x - (x0 + share * (x1 - x0)), y - (y0 + share * (y1 - y0))
    distance = math.sqrt(dx * dx + dy * dy)
    if (x1 - x0) * dy - (y1 - y0) * dx < 0.0:
        distance = -distance
    return tile, share, distance


@compiled
def touch(state: Floats, nodes: Floats) -> None:
    """Write which tile is under the middle of each wheel."""
    cos, sin = math.cos(state[ANGLE]), math.sin(state[ANGLE])
    for i in range(4):
        x = state[X] + _ARMS[i, 0] * cos - _ARMS[i, 1] * sin
        y = state[Y] + _ARMS[i, 0] * sin + _ARMS[i, 1] * cos
        tile, _, distance = locate(x, y, nodes)
        state[TOUCH + i] = tile if abs(distance) <= HALF_WIDTH else -1.0


@compiled
def roll(speed: float, gas: float, brake: float) -> float:
    """Return the speed of a wheel, in rad/s, after a step's work of engine and brake.

    Power P at speed w gives dw = dt P / (J (|w| + 5)), the 5 keeping it finite at rest.
    """
    speed += DT * ENGINE_POWER * gas / WHEEL_INERTIA / (abs(speed) + 5.0)
    if brake >= BRAKE_LOCK:
        return 0.0
    slower = min(BRAKE_SPEED * brake, abs(speed))
    return speed - slower if speed > 0.0 else speed + slower


@compiled
def friction(ahead: float, aside: float, grip: float) -> tuple[float, float]:
    """Return the force, in N, on a wheel that slips by velocities in m/s: against the slip, of at most `grip`."""
    ahead, aside = STIFFNESS * ahead, STIFFNESS * aside
    force = math.sqrt(ahead * ahead + aside * aside)
    if force > grip:
        ahead, aside = ahead / force * grip, aside / force * grip
    return ahead, aside


@compiled
def move(state: Floats, steer: float, gas: float, brake: float) -> None:
    """Advance a car by 1/50 s, but for the tiles under its wheels.

    Args:
        state: Its state (21,), which is changed.
        steer: Wanted angle of the front wheels, left positive, in rad.
        gas: 0 to 1.
        brake: 0 to 1.
    """
    state[GAS] += min(gas - state[GAS], GAS_RISE)
    cos, sin = math.cos(state[ANGLE]), math.sin(state[ANGLE])
    # The wheels still have the velocities that the pivots forced on them before the car turned on.
    lag = DT * state[SPIN]
    cos_lag, sin_lag = math.cos(state[ANGLE] - lag), math.sin(state[ANGLE] - lag)
    push_x, push_y, torque = 0.0, 0.0, 0.0
    for i in range(4):
        arm_x, arm_y = _ARMS[i, 0], _ARMS[i, 1]
        vx = state[VX] - state[SPIN] * (arm_x * sin_lag + arm_y * cos_lag)
        vy = state[VY] + state[SPIN] * (arm_x * cos_lag - arm_y * sin_lag)
        angle = state[ANGLE] + (state[STEER] if i < 2 else 0.0)
        side_x, side_y = math.cos(angle), math.sin(angle)
        speed = roll(state[WHEEL + i], state[GAS] if i >= 2 else 0.0, brake)
        state[PHASE + i] += DT * speed
        ahead = speed * WHEEL_RADIUS - (vy * side_x - vx * side_y)
        grip = GRIP if state[TOUCH + i] >= 0.0 else GRASS * GRIP
        ahead, aside = friction(ahead, -(vx * side_x + vy * side_y), grip)
        state[WHEEL + i] = speed - DT * ahead * WHEEL_RADIUS / WHEEL_INERTIA
        force_x, force_y = aside * side_x - ahead * side_y, aside * side_y + ahead * side_x
        push_x += force_x
        push_y += force_y
        torque += (arm_x * cos - arm_y * sin) * force_y - (arm_x * sin + arm_y * cos) * force_x
    rate = STEER_GAIN * (steer - state[STEER])
    rate = min(max(rate, -STEER_SPEED), STEER_SPEED)
    limited = abs(state[STEER]) >= STEER_LIMIT
    if limited and rate * state[STEER] > 0.0:
        rate = 0.0
    state[VX] += DT * push_x / MASS
    state[VY] += DT * push_y / MASS
    # Angular momentum: what turning the front wheels takes, the hull gives.
    kept = _INERTIA - _CARRIED + _CARRIED * math.cos(lag)
    momentum = kept * state[SPIN] + 2.0 * _TURN_INERTIA * (state[STEER_RATE] - rate) + DT * torque
    state[SPIN] = momentum / _INERTIA
    state[STEER_RATE] = rate
    state[STEER] += DT * rate
    if limited:
        most = STEER_LIMIT + STEER_SLACK
        state[STEER] = min(max(state[STEER], -most), most)
    state[X] += DT * state[VX]
    state[Y] += DT * state[VY]
    state[ANGLE] += DT * state[SPIN]


@compiled
def drive(
    state: Floats, steer: float, gas: float, brake: float, nodes: Floats, visited: NDArray[np.bool_]
) -> tuple[int, bool]:
    """Advance a car by 1/50 s; return how many tiles it touched first, and whether a wheel is on tile 0.

    Args:
        state: Its state (21,), which is changed.
        steer: Wanted angle of the front wheels, left positive, in rad.
        gas: 0 to 1.
        brake: 0 to 1.
        nodes: Of its track (n, 5).
        visited: Which tiles have been touched (n,), which is changed.
    """
    move(state, steer, gas, brake)
    touch(state, nodes)
    fresh, on_start = 0, False
    for i in range(4):
        tile = int(state[TOUCH + i])
        if tile >= 0:
            on_start = on_start or tile == 0
            if not visited[tile]:
                visited[tile] = True
                fresh += 1
    return fresh, on_start


# -- what a driver knows -----------------------------------------------------------------------------------------------

SPEED_UNIT, SPIN_UNIT, WHEEL_UNIT, BEND_UNIT = 50.0, 5.0, 100.0, 0.1
"""What scales m/s, rad/s of the car, rad/s of a wheel and 1/m to about [-1, 1]."""

POINTS_AHEAD, POINT_GAP = 7, 5.0
"""Points of the middle of the road ahead, and the way from each to the next, in m: as far as the camera sees."""

REACH = POINTS_AHEAD * POINT_GAP
BENDS_AHEAD, BEND_GAP = 5, 20.0
"""Places beyond them whose curvature is told, and the way from each to the next, in m."""

SEEN = 10 + 2 * POINTS_AHEAD
HIDDEN = 11 + BENDS_AHEAD
"""Number of features that a camera and the gauges give, and of those that they do not."""


@compiled
def sense(state: Floats, nodes: Floats, gap: float, done: float, out: NDArray[np.float32]) -> None:
    """Write the features of a car on its track: first those that a camera knows, then the others.

    Args:
        state: Its state (21,).
        nodes: Of its track (n, 5).
        gap: Way from node to node, in m.
        done: Share of the tiles that it has touched.
        out: Where they go (24 + 16,).
    """
    x, y = state[X], state[Y]
    cos, sin = math.cos(state[ANGLE]), math.sin(state[ANGLE])
    tile, share, distance = locate(x, y, nodes)
    out[0] = math.sqrt(state[VX] ** 2 + state[VY] ** 2) / SPEED_UNIT
    out[1] = state[STEER] / STEER_LIMIT
    out[2] = state[SPIN] / SPIN_UNIT
    for i in range(4):
        out[3 + i] = state[WHEEL + i] / WHEEL_UNIT
        out[SEEN + 2 + i] = 1.0 if state[TOUCH + i] >= 0.0 else GRASS
    out[7] = distance / HALF_WIDTH
    # From the direction of the tile to that of the car, (-sin, cos): positive to the left.
    out[8] = cos * nodes[tile, 2] + sin * nodes[tile, 3]
    out[9] = cos * nodes[tile, 3] - sin * nodes[tile, 2]
    here = tile + share
    for i in range(POINTS_AHEAD + BENDS_AHEAD):
        seen = i < POINTS_AHEAD
        place = here + (POINT_GAP * (i + 1) if seen else REACH + BEND_GAP * (i - POINTS_AHEAD + 1)) / gap
        node = int(place)
        rest = place - node
        a, b = node % nodes.shape[0], (node + 1) % nodes.shape[0]
        if seen:
            dx = nodes[a, 0] + rest * (nodes[b, 0] - nodes[a, 0]) - x
            dy = nodes[a, 1] + rest * (nodes[b, 1] - nodes[a, 1]) - y
            out[10 + 2 * i] = (dx * cos + dy * sin) / REACH
            out[11 + 2 * i] = (dy * cos - dx * sin) / REACH
        else:
            bend = nodes[a, 4] + rest * (nodes[b, 4] - nodes[a, 4])
            out[SEEN + 6 + i - POINTS_AHEAD] = bend / BEND_UNIT
    out[SEEN] = (state[VY] * cos - state[VX] * sin) / SPEED_UNIT
    out[SEEN + 1] = (state[VX] * cos + state[VY] * sin) / SPEED_UNIT
    last = SEEN + 6 + BENDS_AHEAD
    out[last], out[last + 1] = x / FIELD, y / FIELD
    out[last + 2], out[last + 3] = cos, sin
    out[last + 4] = done
