"""The equations of a quadrotor, written once for numbers and for arrays.

Every function takes arrays whose first index is the component: one quadrotor is `(17,)`, n of them are `(17, n)`. numba
compiles the functions for one quadrotor and loops over rows; numpy runs them as they are over all rows. As both do the
same additions, multiplications, divisions and square roots in the same order, their results are equal bit by bit.

A state holds position (3, m), attitude quaternion w, x, y, z (4, body to world), velocity (3, m/s), angular velocity in
the body's frame (3, rad/s), and rotor speeds (4, 0 to 1). The body's x points forwards, y left, z up; rotors in order:
front right, back right, back left, front left.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled

DT = 0.01
"""One step, in s."""
GRAVITY = 9.81

STATE = 17
CRAFT = 12
# Places in the row that describes an airframe, after c0, c1 and c2. It holds quotients, as dividing is slow.
LEVERS, GYRO, RISE, FALL, LIMIT = 3, 6, 9, 10, 11

MAX_SPEED, MAX_RATE = 2.0, 35.0
"""Speeds (m/s) and angular rates (rad/s), per axis, beyond which an episode is lost."""

DAMPING, FREQUENCY, NOISE, SMOOTHING = 1.0, 2.0, 0.5, 0.01
"""The moving reference: gamma, omega, sigma, and the weight of each new velocity in the smoothed one."""

BACKENDS = ("auto", "numba", "numpy")


def describe(
    mass: Any, curve: Any, inertia: Any, lever: Any, torque_constant: Any, rise_time: Any, fall_time: Any, limit: Any
) -> Any:
    """Return what the other functions need to know of n airframes, (n, 12).

    c0, c1, c2 with c0 + c1 u + c2 u^2 the acceleration by one rotor at speed u (m/s^2); that acceleration's share in
    the angular ones about x, y, z (1/m); (J_y - J_z) / J_x and its cyclic kin; 1 / rise and 1 / fall time (1/s); limit.

    Args:
        mass: In kg, (n,).
        curve: The same polynomial for the thrust, in N, (n, 3).
        inertia: About x, y and z, in kg m^2, (n, 3).
        lever: Distance of the rotors from the x and from the y axis, in m, (n,).
        torque_constant: Torque about z by thrust, in m, (n,).
        rise_time: Of a rotor that speeds up, in s, (n,).
        fall_time: Of one that slows down, in s, (n,).
        limit: How far out an episode is lost, in m, (n,).
    """
    jx, jy, jz = inertia.T
    levers = (lever * mass / jx, lever * mass / jy, torque_constant * mass / jz)
    gyro = ((jy - jz) / jx, (jz - jx) / jy, (jx - jy) / jz)
    return np.stack([*(curve / mass[:, None]).T, *levers, *gyro, 1.0 / rise_time, 1.0 / fall_time, limit], axis=1)


def derivative(state: Any, craft: Any, push: Any, command: Any, out: Any) -> None:
    """Write d(state)/dt.

    p' = v; q' = q (0, omega) / 2; v' = R(q) (0, 0, sum of thrusts) / m + push - g;
    omega' = (torque - omega x J omega) / J; u' = (command - u) / (rise time, or fall time where command < u).

    Args:
        state: What is differentiated, (17, ...).
        craft: The airframe, (12, ...), see `describe`.
        push: Acceleration by the disturbance, (3, ...), m/s^2.
        command: Rotor speeds that are asked for, (4, ...), 0 to 1.
        out: Where it is written, (17, ...).
    """
    qw, qx, qy, qz = state[3], state[4], state[5], state[6]
    wx, wy, wz = state[10], state[11], state[12]
    c0, c1, c2 = craft[0], craft[1], craft[2]
    f0 = c0 + state[13] * (c1 + c2 * state[13])
    f1 = c0 + state[14] * (c1 + c2 * state[14])
    f2 = c0 + state[15] * (c1 + c2 * state[15])
    f3 = c0 + state[16] * (c1 + c2 * state[16])
    lift = f0 + f1 + f2 + f3
    out[0], out[1], out[2] = state[7], state[8], state[9]
    out[3] = -0.5 * (qx * wx + qy * wy + qz * wz)
    out[4] = 0.5 * (qw * wx + qy * wz - qz * wy)
    out[5] = 0.5 * (qw * wy + qz * wx - qx * wz)
    out[6] = 0.5 * (qw * wz + qx * wy - qy * wx)
    out[7] = 2.0 * (qx * qz + qw * qy) * lift + push[0]
    out[8] = 2.0 * (qy * qz - qw * qx) * lift + push[1]
    out[9] = (1.0 - 2.0 * (qx * qx + qy * qy)) * lift + push[2] - GRAVITY
    out[10] = craft[LEVERS] * (f2 + f3 - f0 - f1) + craft[GYRO] * wy * wz
    out[11] = craft[LEVERS + 1] * (f1 + f2 - f0 - f3) + craft[GYRO + 1] * wz * wx
    out[12] = craft[LEVERS + 2] * (f1 + f3 - f0 - f2) + craft[GYRO + 2] * wx * wy
    rise, fall = craft[RISE], craft[FALL]
    for i in range(4):
        gap = command[i] - state[13 + i]
        out[13 + i] = np.maximum(gap, 0.0) * rise + np.minimum(gap, 0.0) * fall


def integrate(
    slope_of: Callable[..., None], state: Any, craft: Any, push: Any, command: Any, slope: Any, probe: Any, total: Any
) -> None:
    """Move a state on by one step of 0.01 s, by the classical Runge-Kutta method of fourth order.

    The quaternion is made a unit again afterwards, and rotor speeds are kept within 0 and 1.

    Args:
        slope_of: `derivative`.
        state: Changed in place, (17, ...).
        craft: As in `derivative`.
        push: As in `derivative`.
        command: As in `derivative`.
        slope: Room to work in, (17, ...).
        probe: The same.
        total: The same.
    """
    slope_of(state, craft, push, command, total)
    for i in range(STATE):
        probe[i] = state[i] + (0.5 * DT) * total[i]
    slope_of(probe, craft, push, command, slope)
    for i in range(STATE):
        total[i] += 2.0 * slope[i]
        probe[i] = state[i] + (0.5 * DT) * slope[i]
    slope_of(probe, craft, push, command, slope)
    for i in range(STATE):
        total[i] += 2.0 * slope[i]
        probe[i] = state[i] + DT * slope[i]
    slope_of(probe, craft, push, command, slope)
    for i in range(STATE):
        state[i] += (DT / 6.0) * (total[i] + slope[i])
    norm = np.sqrt(state[3] * state[3] + state[4] * state[4] + state[5] * state[5] + state[6] * state[6])
    for i in range(3, 7):
        state[i] /= norm
    for i in range(13, 17):
        state[i] = np.minimum(np.maximum(state[i], 0.0), 1.0)


def wander(reference: Any, kick: Any) -> None:
    """Move a reference on by one step: a particle on a spring, kicked at random, and its smoothed shadow.

    The second-order Langevin equation dv = (-gamma v - omega^2 x) dt + sigma dW, dx = v dt, by Euler's method; the
    shadow's velocity is an exponential average of v with weight alpha, and its position the sum of these.

    Args:
        reference: Changed in place, (12, ...): position and velocity of the shadow, position and velocity of the
            particle, three of each.
        kick: Standard normal numbers, (3, ...); all zero, a reference at rest stays at rest.
    """
    for i in range(3):
        x, v = reference[6 + i], reference[9 + i]
        v = v + (-DAMPING * v - (FREQUENCY * FREQUENCY) * x) * DT + (NOISE * np.sqrt(DT)) * kick[i]
        smooth = SMOOTHING * v + (1.0 - SMOOTHING) * reference[3 + i]
        reference[9 + i] = v
        reference[6 + i] = x + v * DT
        reference[3 + i] = smooth
        reference[i] += smooth * DT


def costs(state: Any, reference: Any, previous: Any, action: Any) -> tuple[Any, Any, Any]:
    """Return distance to the reference (m), cosine of half the yaw cost, and how far the action jumped."""
    x, y, z = state[0] - reference[0], state[1] - reference[1], state[2] - reference[2]
    d0, d1, d2, d3 = (
        action[0] - previous[0],
        action[1] - previous[1],
        action[2] - previous[2],
        action[3] - previous[3],
    )
    distance = np.sqrt(x * x + y * y + z * z)
    return distance, 1.0 - np.abs(state[6]), np.sqrt(d0 * d0 + d1 * d1 + d2 * d2 + d3 * d3)


def lost(state: Any, limit: Any) -> Any:
    """Return whether any axis is further out than `limit` (m), faster than 2 m/s, or turns faster than 35 rad/s."""
    far = (np.abs(state[0]) > limit) | (np.abs(state[1]) > limit) | (np.abs(state[2]) > limit)
    fast = (np.abs(state[7]) > MAX_SPEED) | (np.abs(state[8]) > MAX_SPEED) | (np.abs(state[9]) > MAX_SPEED)
    spins = (np.abs(state[10]) > MAX_RATE) | (np.abs(state[11]) > MAX_RATE) | (np.abs(state[12]) > MAX_RATE)
    return far | fast | spins


def watch(state: Any, reference: Any, action: Any, seen: Any, hidden: Any) -> None:
    """Write what a student sees, (22, ...), and what only an expert sees, (4, ...); see `QuadrotorBatch`."""
    qw, qx, qy, qz = state[3], state[4], state[5], state[6]
    for i in range(3):
        seen[i] = state[i] - reference[i]
        seen[12 + i] = state[7 + i] - reference[3 + i]
        seen[15 + i] = state[10 + i]
    seen[3] = 1.0 - 2.0 * (qy * qy + qz * qz)
    seen[4] = 2.0 * (qx * qy - qw * qz)
    seen[5] = 2.0 * (qx * qz + qw * qy)
    seen[6] = 2.0 * (qx * qy + qw * qz)
    seen[7] = 1.0 - 2.0 * (qx * qx + qz * qz)
    seen[8] = 2.0 * (qy * qz - qw * qx)
    seen[9] = 2.0 * (qx * qz - qw * qy)
    seen[10] = 2.0 * (qy * qz + qw * qx)
    seen[11] = 1.0 - 2.0 * (qx * qx + qy * qy)
    for i in range(4):
        seen[18 + i] = action[i]
        hidden[i] = 2.0 * state[13 + i] - 1.0


# -- all rows at once --------------------------------------------------------------------------------------------------


def advance_numpy(
    states: Any, crafts: Any, pushes: Any, previous: Any, actions: Any, references: Any, kicks: Any, place: Any
) -> tuple[Any, Any, Any, Any]:
    """Step n rows, in place, and return the three costs before the step and whether each row was lost by it.

    Args:
        states: (n, 17), changed.
        crafts: (n, 12).
        pushes: (n, 3).
        previous: The actions before, (n, 4); these actions afterwards.
        actions: (n, 4), -1 to 1.
        references: (n, 12), changed.
        kicks: Random numbers of some steps, (n, steps, 3).
        place: Whose turn it is in each row, (n,).
    """
    state, reference = np.ascontiguousarray(states.T), np.ascontiguousarray(references.T)
    craft, push, action = (np.ascontiguousarray(rows.T) for rows in (crafts, pushes, actions))
    distance, cosine, jump = costs(state, reference, previous.T, action)
    integrate(derivative, state, craft, push, 0.5 * (action + 1.0), *np.empty((3, *state.shape)))
    wander(reference, kicks[np.arange(len(place)), place].T)
    states[:], references[:], previous[:] = state.T, reference.T, actions
    return distance, cosine, jump, lost(state, craft[LIMIT])


def watch_numpy(states: Any, references: Any, actions: Any, seen: Any, hidden: Any) -> None:
    """Write the observations of n rows into (n, 22) and (n, 4)."""
    watch(states.T, references.T, actions.T, seen.T, hidden.T)


@cache
def compiled() -> tuple[Callable[..., Any], Callable[..., None]]:
    """Return the numba forms of `advance_numpy` and `watch_numpy`."""
    import numba

    slope_of, move, roam, cost_of, is_lost, look = (
        numba.njit(function) for function in (derivative, integrate, wander, costs, lost, watch)
    )

    def advance(
        states: Any, crafts: Any, pushes: Any, previous: Any, actions: Any, references: Any, kicks: Any, place: Any
    ) -> tuple[Any, Any, Any, Any]:
        n = states.shape[0]
        distance, cosine, jump, over = np.empty(n), np.empty(n), np.empty(n), np.empty(n, dtype=np.bool_)
        slope, probe, total, command = np.empty(STATE), np.empty(STATE), np.empty(STATE), np.empty(4)
        for row in range(n):
            state, action = states[row], actions[row]
            distance[row], cosine[row], jump[row] = cost_of(state, references[row], previous[row], action)
            for i in range(4):
                command[i] = 0.5 * (action[i] + 1.0)
                previous[row, i] = action[i]
            move(slope_of, state, crafts[row], pushes[row], command, slope, probe, total)
            roam(references[row], kicks[row, place[row]])
            over[row] = is_lost(state, crafts[row, LIMIT])
        return distance, cosine, jump, over

    def watch_rows(states: Any, references: Any, actions: Any, seen: Any, hidden: Any) -> None:
        for row in range(states.shape[0]):
            look(states[row], references[row], actions[row], seen[row], hidden[row])

    return numba.njit(advance), numba.njit(watch_rows)


def chosen(backend: str) -> str:
    """Return `"numba"` or `"numpy"`.

    Raises:
        ValueError: For a name that is none of `BACKENDS`.
        DependencyNotInstalled: When numba is asked for and not there.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend = {backend!r} must be one of {', '.join(BACKENDS)}")
    installed = importlib.util.find_spec("numba") is not None
    if backend == "numba" and not installed:
        raise DependencyNotInstalled("backend='numba' needs numba: pip install rlteach[numba]")
    return backend if backend != "auto" else ("numba" if installed else "numpy")
