"""A walker's world with water, which pushes its parts about, and hands that hold on to ceiling and creepers.

Only environments import this module, when they are built, because it needs Box2D.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import Box2D
import numpy as np
from Box2D import _Box2D as raw

from rlteach_envs.parkour_terrain import ParkourTerrain
from rlteach_envs.parkour_water import water_forces
from rlteach_envs.stump_terrain import STEP
from rlteach_envs.walker_bodies import WalkerBody
from rlteach_envs.walker_world import WalkerWorld, start_pose

REACH = 0.05
"""A hand holds on to what is at most this far from its tip, in m."""

HANG_GAP = 0.02
"""How far below the ceiling the tips of hands are at the start, in m."""

TORQUE_RATE = 60.0
"""A motor's torque is told from its impulse as if there were this many steps in a second (Romac et al. 2021)."""

_apply_force, _apply_torque = raw.b2Body_ApplyForceToCenter, raw.b2Body_ApplyTorque
_motor_torque, _destroy_joint = raw.b2RevoluteJoint_GetMotorTorque, raw.b2World_DestroyJoint
_joint_angle, _angle, _spin = (
    raw.b2RevoluteJoint___GetJointAngle,
    raw.b2Body___GetAngle,
    raw.b2Body___GetAngularVelocity,
)
_x, _y, _set_x, _set_y = raw.b2Vec2_x_get, raw.b2Vec2_y_get, raw.b2Vec2_x_set, raw.b2Vec2_y_set


class ParkourWorld(WalkerWorld):
    """A `WalkerWorld` whose poses also hold `torques` of the motors (motors,), in N m, and `grips` (hands, 3).

    A grip is 1, x and y of where a hand holds on to something, in m; else zeros. The last numbers of an action, one
    for each hand, decide whether it grips: a hand whose number is above 0 holds on as soon as its tip is in reach of
    ceiling or creeper, and lets go when it is not.

    Args:
        body: What to build.
        velocity_iterations: Solver iterations per step for velocities.
        position_iterations: Solver iterations per step for positions.
        fatal: Parts that must not touch the terrain; those of the body when None.
        compiled: Whether numba works out the forces of the water.
    """

    def __init__(
        self,
        body: WalkerBody,
        velocity_iterations: int,
        position_iterations: int,
        fatal: Iterable[int] | None,
        *,
        compiled: bool,
    ) -> None:
        super().__init__(body, velocity_iterations, position_iterations, fatal)
        self._compiled, self._forces_of = compiled, water_forces(compiled)
        outlines = [part.polygon for part in body.parts]
        corners = [number for outline in outlines for corner in outline for number in corner]
        starts = np.cumsum([0, *map(len, outlines)])
        self._outlines = (np.array(corners), starts) if compiled else (corners, starts.tolist())
        ties = {motor.child: k for k, motor in enumerate(body.motors)}
        self._ties = [ties.get(part) for part in range(len(body.parts))]
        # No part is further from the hull than all of them are long together.
        self._extent = sum(math.hypot(*np.ptp(outline, axis=0)) for outline in outlines)
        self._grip_defs = [Box2D.b2RevoluteJointDef(localAnchorB=tip, collideConnected=True) for _, tip in body.hands]

    # -- building --------------------------------------------------------------------------------------------------

    def build(self, terrain: ParkourTerrain, pose: Mapping[str, Any]) -> None:  # type: ignore[override]
        """Make a new world with a walker in a pose."""
        self._grips: list[Any] = [None] * len(self._body.hands)
        super().build(terrain, pose)
        self._water = terrain.water
        assert terrain.ceiling is not None
        self._ceiling: list[list[float]] = terrain.ceiling.tolist()
        self._creepers: list[list[float]] = terrain.creepers.tolist()
        self._lefts = terrain.creepers[:, 0].tolist()
        self._centres: list[Any] = []
        self._grip_again(pose)

    def place(self, pose: Mapping[str, Any]) -> None:
        """Put the walker into a pose without building the world anew."""
        for hand in range(len(self._grips)):
            self._let_go(hand)
        super().place(pose)
        self._grip_again(pose)

    def _grip_again(self, pose: Mapping[str, Any]) -> None:
        self._torques = pose["torques"].tolist()
        self._grip_places = pose["grips"].tolist()
        for hand, (held, x, y) in enumerate(self._grip_places):
            if held:
                self._hold(hand, x, y)
        self._in_reach = [self._reaches(*self._tip(hand)) for hand in range(len(self._grips))]

    def pose(self) -> dict[str, Any]:
        """Return the pose of the walker."""
        places = np.array(self._grip_places, dtype=np.float64).reshape(-1, 3)
        return super().pose() | {"torques": np.array(self._torques), "grips": places}

    # -- hands -----------------------------------------------------------------------------------------------------

    def _tip(self, hand: int) -> tuple[float, float]:
        index, (x, y) = self._body.hands[hand]
        part, position, _ = self._references()[index]
        angle = _angle(part)
        cos, sin = math.cos(angle), math.sin(angle)
        return _x(position) + cos * x - sin * y, _y(position) + sin * x + cos * y

    def _reaches(self, x: float, y: float) -> bool:
        return near_line(self._ceiling, x, y) or near_box(self._creepers, self._lefts, x, y)

    def _hold(self, hand: int, x: float, y: float) -> None:
        definition = self._grip_defs[hand]
        definition.bodyA, definition.bodyB = self._ground, self._parts[self._body.hands[hand][0]]
        definition.localAnchorA = (x, y)
        self._grips[hand] = self._world.CreateJoint(definition)
        self._grip_places[hand] = [1.0, x, y]

    def _let_go(self, hand: int) -> None:
        if self._grips[hand] is not None:
            _destroy_joint(self._world, self._grips[hand])
            self._grips[hand] = None
            self._grip_places[hand] = [0.0, 0.0, 0.0]

    def hands(self) -> list[float]:
        """Return for each hand whether something to hold is in reach, and whether it holds on."""
        pairs = zip(self._in_reach, self._grips, strict=True)
        return [number for near, grip in pairs for number in (float(near), float(grip is not None))]

    # -- playing ---------------------------------------------------------------------------------------------------

    def step(self, action: Sequence[float]) -> float:
        """Advance by 1/50 s; return the sum of |action|, each cut at 1."""
        motors = len(self._drives)
        wills = action[motors:]
        for hand, will in enumerate(wills):
            if not will > 0.0:
                self._let_go(hand)
        if _y(self._position) - self._extent < self._water:
            self._apply_water()
        effort = super().step(action[:motors])
        self._torques = [_motor_torque(joint, TORQUE_RATE) for joint in self._joints]
        for hand, will in enumerate(wills):
            x, y = self._tip(hand)
            near = self._reaches(x, y)
            self._in_reach[hand] = near
            if near and will > 0.0 and self._grips[hand] is None:
                self._hold(hand, x, y)
        return effort + sum(min(abs(will), 1.0) for will in wills)

    def _apply_water(self) -> None:
        out = self.water_forces()
        vector = self._vector
        for k, part in enumerate(self._parts):
            force_x, force_y, torque = out[3 * k : 3 * k + 3]
            if force_x or force_y or torque:
                _set_x(vector, force_x)
                _set_y(vector, force_y)
                _apply_force(part, vector, True)
                _apply_torque(part, torque, True)

    def water_forces(self) -> list[float]:
        """Return x and y of the force of the water on each part, in N, and its torque, in N m: three for each part."""
        if not self._centres:
            self._centres = [part.worldCenter for part in self._parts]
            self._inertias = [part.inertia for part in self._parts]
        parts: list[float] = []
        joints: list[float] = []
        for (part, position, velocity), centre, inertia, tie in zip(
            self._references(), self._centres, self._inertias, self._ties, strict=True
        ):
            angle = _angle(part)
            parts += (_x(position), _y(position), math.cos(angle), math.sin(angle), _x(centre), _y(centre))
            parts += (_x(velocity), _y(velocity), _spin(part))
            if tie is None:
                joints += (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
            else:
                motor = self._body.motors[tie]
                is_free = motor.low < _joint_angle(self._joints[tie]) < motor.high
                joints += (1.0, self._torques[tie], float(is_free), *motor.child_anchor, inertia)
        if self._compiled:
            out = np.zeros(3 * len(self._parts))
            self._forces_of(np.array(parts), *self._outlines, np.array(joints), self._water, out)
            return out.tolist()
        plain = [0.0] * (3 * len(self._parts))
        self._forces_of(parts, *self._outlines, joints, self._water, plain)
        return plain


def parkour_start(body: WalkerBody, x: float, ground: float, ceiling: float) -> dict[str, Any]:
    """Return the pose in which a body is put down, or hung up by its hands, between ground and ceiling."""
    pose = start_pose(body, x, ground + body.height)
    grips = np.zeros((len(body.hands), 3))
    if body.hands:
        (part, (tip_x, tip_y)), *_ = body.hands
        top = pose["states"][part, 1] + tip_y
        pose["states"][:, 1] += ceiling - HANG_GAP - top
        grips[:] = 1.0, x + tip_x, ceiling - HANG_GAP
    return pose | {"torques": np.zeros(len(body.motors)), "grips": grips}


# -- what is in reach --------------------------------------------------------------------------------------------------


def near_line(line: Sequence[Sequence[float]], x: float, y: float) -> bool:
    """Tell whether a point is in reach of a line whose vertices are a step of the track apart."""
    first = max(0, int((x - REACH) / STEP))
    last = min(len(line) - 1, int((x + REACH) / STEP) + 1)
    for k in range(first, last):
        start, end = line[k], line[k + 1]
        # Hands are mostly far below the ceiling.
        is_below = y + REACH < start[1] and y + REACH < end[1]
        if not is_below and _squared_distance(x, y, start, end) <= REACH * REACH:
            return True
    return False


def _squared_distance(x: float, y: float, start: Sequence[float], end: Sequence[float]) -> float:
    edge_x, edge_y, to_x, to_y = end[0] - start[0], end[1] - start[1], x - start[0], y - start[1]
    share = min(max((to_x * edge_x + to_y * edge_y) / (edge_x * edge_x + edge_y * edge_y), 0.0), 1.0)
    away_x, away_y = to_x - share * edge_x, to_y - share * edge_y
    return away_x * away_x + away_y * away_y


def near_box(boxes: Sequence[Sequence[float]], lefts: Sequence[float], x: float, y: float) -> bool:
    """Tell whether a point is in or in reach of a box (left, right, lower, upper) of equally wide ones, sorted."""
    for k in range(bisect_left(lefts, x + REACH) - 1, -1, -1):
        left, right, lower, upper = boxes[k]
        if right < x - REACH:
            return False
        away_x, away_y = max(left - x, 0.0, x - right), max(lower - y, 0.0, y - upper)
        if away_x * away_x + away_y * away_y <= REACH * REACH:
            return True
    return False
