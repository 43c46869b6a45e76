"""A walker on still ground in Box2D: built anew for every episode, stepped with as little Python as possible.

Only environments import this module, when they are built, because it needs Box2D. A fresh world for every episode is
cheaper than emptying the old one, and is what makes an episode independent of those before it: whatever Box2D keeps
between steps (contact order, impulses for warm starting) is gone.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlteach_envs.stump_terrain import Terrain
from rlteach_envs.walker_bodies import WalkerBody

with warnings.catch_warnings():
    # SWIG's own types lack a __module__, which newer Pythons deprecate at import.
    warnings.simplefilter("ignore", DeprecationWarning)
    import Box2D
    from Box2D import _Box2D as raw

Floats = NDArray[np.float64]

FPS = 50
GRAVITY = (0.0, -10.0)
GROUND_FRICTION = 2.5
GROUND_CATEGORY, GROUND_MASK = 0x0001, 0xFFFF
WALKER_CATEGORY, WALKER_MASK = 0x0020, 0x000F
"""Parts of the walker touch the ground, never each other."""

SPEED_X, SPEED_Y = 0.3 * (600 / 30) / FPS, 0.3 * (400 / 30) / FPS
"""What scales the hull's velocity to about [-1, 1]."""

# Box2D's own properties make an object at every call; these are the functions beneath them.
_step, _set_speed, _set_torque = (
    raw.b2World_Step,
    raw.b2RevoluteJoint___SetMotorSpeed,
    raw.b2RevoluteJoint___SetMaxMotorTorque,
)
_angle, _spin = raw.b2Body___GetAngle, raw.b2Body___GetAngularVelocity
_joint_angle, _joint_speed = raw.b2RevoluteJoint___GetJointAngle, raw.b2RevoluteJoint___GetJointSpeed
_x, _y, _set_x, _set_y = raw.b2Vec2_x_get, raw.b2Vec2_y_get, raw.b2Vec2_x_set, raw.b2Vec2_y_set
_create_fixture, _set_as_box = raw.b2Body___CreateFixture, raw.b2PolygonShape_SetAsBox
_create_body, _create_joint = raw.b2World___CreateBody, raw.b2World___CreateJoint
_fixture_a, _fixture_b = raw.b2Contact___GetFixtureA, raw.b2Contact___GetFixtureB
_tag = raw.b2Fixture___GetUserData


class _Contacts(Box2D.b2ContactListener):  # type: ignore[misc]
    """Counts how many contacts each part of the walker has; the ground carries no tag."""

    def __init__(self, counts: list[int]) -> None:
        super().__init__()
        self.counts = counts
        self.hull_touched = False

    def BeginContact(self, contact: Any) -> None:
        part = _part(contact)
        self.counts[part] += 1
        if part == 0:
            self.hull_touched = True

    def EndContact(self, contact: Any) -> None:
        self.counts[_part(contact)] -= 1


def _part(contact: Any) -> int:
    part = _tag(_fixture_b(contact))
    return _tag(_fixture_a(contact)) if part is None else part  # type: ignore[no-any-return]


class WalkerWorld:
    """One walker of a given body, in a world that `build` replaces.

    Args:
        body: What to build.
        velocity_iterations: Solver iterations per step for velocities.
        position_iterations: Solver iterations per step for positions.
    """

    def __init__(self, body: WalkerBody, velocity_iterations: int, position_iterations: int) -> None:
        self._body = body
        self._iterations = velocity_iterations, position_iterations
        self._part_defs = [self._part_def(i) for i in range(len(body.parts))]
        self._body_defs = [Box2D.b2BodyDef(type=Box2D.b2_dynamicBody) for _ in body.parts]
        self._joint_defs = [self._joint_def(i) for i in range(len(body.motors))]
        self._world: Any = None

    def _part_def(self, index: int) -> Any:
        part = self._body.parts[index]
        return Box2D.b2FixtureDef(
            shape=Box2D.b2PolygonShape(vertices=list(part.polygon)),
            density=part.density,
            friction=part.friction,
            categoryBits=WALKER_CATEGORY,
            maskBits=WALKER_MASK,
            userData=index,
        )

    def _joint_def(self, index: int) -> Any:
        motor, parts = self._body.motors[index], self._body.parts
        return Box2D.b2RevoluteJointDef(
            localAnchorA=motor.parent_anchor,
            localAnchorB=motor.child_anchor,
            referenceAngle=parts[motor.child].tilt - parts[motor.parent].tilt,
            lowerAngle=motor.low,
            upperAngle=motor.high,
            enableLimit=True,
            enableMotor=True,
        )

    # -- building --------------------------------------------------------------------------------------------------

    def build(
        self,
        terrain: Terrain,
        states: Floats,
        awake: NDArray[Any],
        motors: Floats,
        contacts: NDArray[Any],
    ) -> None:
        """Make a new world, always in the same order: ground, parts, joints.

        Args:
            terrain: The ground.
            states: x, y, angle, vx, vy, angular velocity of each part (parts, 6).
            awake: Whether each part is awake (parts,).
            motors: Speed and largest torque of each motor (motors, 2).
            contacts: Number of contacts of each part (parts,), to be told until the first step finds them again.
        """
        world = Box2D.b2World(gravity=GRAVITY)
        self._contacts = _Contacts(contacts.tolist())
        self._contacts_are_old = True
        world.contactListener = self._contacts
        _add_ground(world, terrain)
        placed = enumerate(zip(states.tolist(), awake.tolist(), strict=True))
        self._parts = [self._add_part(world, i, state, is_awake) for i, (state, is_awake) in placed]
        self._joints = [self._add_joint(world, i, *asked) for i, asked in enumerate(motors.tolist())]
        self._world = world
        # Box2D hands out references into its bodies, so these two always show the present.
        self._hull = self._parts[0]
        self._position, self._velocity = self._hull.position, self._hull.linearVelocity
        self._drives = [(joint, motor.speed) for joint, motor in zip(self._joints, self._body.motors, strict=True)]
        self._senses = [
            (joint, motor.offset, motor.speed, motor.child if motor.reports_contact else 0)
            for joint, motor in zip(self._joints, self._body.motors, strict=True)
        ]

    def _add_part(self, world: Any, index: int, state: Sequence[float], awake: bool) -> Any:
        x, y, angle, vx, vy, spin = state
        definition = self._body_defs[index]
        definition.position, definition.angle, definition.awake = (x, y), angle, awake
        part = _create_body(world, definition)
        _create_fixture(part, self._part_defs[index])
        # Only now: a fixture moves the centre of mass, and with it the velocity.
        part.linearVelocity, part.angularVelocity = (vx, vy), spin
        return part

    def _add_joint(self, world: Any, index: int, speed: float, torque: float) -> Any:
        motor, definition = self._body.motors[index], self._joint_defs[index]
        definition.bodyA, definition.bodyB = self._parts[motor.parent], self._parts[motor.child]
        definition.motorSpeed, definition.maxMotorTorque = speed, torque
        return _create_joint(world, definition)

    def push(self, force: float) -> None:
        """Push the hull sideways during the next step, with a force in N."""
        self._hull.ApplyForceToCenter((force, 0.0), True)

    # -- playing ---------------------------------------------------------------------------------------------------

    def step(self, action: Sequence[float]) -> float:
        """Advance by 1/50 s; return the sum of |action|, each cut at 1.

        An action asks its motor for full speed in the direction of its sign, with its size as the share of the torque.
        """
        if self._contacts_are_old:
            self._contacts.counts = [0] * len(self._parts)
            self._contacts_are_old = False
        strength, effort = self._body.torque, 0.0
        for (joint, speed), a in zip(self._drives, action, strict=True):
            share = min(abs(a), 1.0)
            effort += share
            _set_speed(joint, speed if a > 0 else -speed if a < 0 else 0.0)
            _set_torque(joint, strength * share)
        _step(self._world, 1.0 / FPS, *self._iterations)
        return effort

    def sense(self) -> list[float]:
        """Return hull angle, scaled angular and linear velocity, then angle, scaled speed and contact of the motors."""
        hull, velocity, counts = self._hull, self._velocity, self._contacts.counts
        senses = [_angle(hull), 2.0 / FPS * _spin(hull), SPEED_X * _x(velocity), SPEED_Y * _y(velocity)]
        for joint, offset, speed, touching in self._senses:
            senses.append(_joint_angle(joint) + offset)
            senses.append(_joint_speed(joint) / speed)
            if touching:
                senses.append(1.0 if counts[touching] else 0.0)
        return senses

    def hull_position(self) -> tuple[float, float]:
        """Return x and y of the hull, in m."""
        return _x(self._position), _y(self._position)

    @property
    def hull_touched(self) -> bool:
        """Whether the hull has touched the ground in this episode."""
        return self._contacts.hull_touched

    @hull_touched.setter
    def hull_touched(self, touched: bool) -> None:
        self._contacts.hull_touched = touched

    # -- saving ----------------------------------------------------------------------------------------------------

    def states(self) -> Floats:
        """Return x, y, angle, vx, vy, angular velocity of each part (parts, 6)."""
        rows = [(*b.position, b.angle, *b.linearVelocity, b.angularVelocity) for b in self._parts]
        return np.array(rows, dtype=np.float64)

    def awake(self) -> NDArray[np.bool_]:
        """Return whether each part is awake."""
        return np.array([part.awake for part in self._parts])

    def motors(self) -> Floats:
        """Return speed and largest torque that each motor was last asked for (motors, 2)."""
        return np.array([(joint.motorSpeed, joint.GetMaxMotorTorque()) for joint in self._joints])

    def contacts(self) -> NDArray[np.int64]:
        """Return the number of contacts of each part."""
        return np.array(self._contacts.counts, dtype=np.int64)


_GROUND_BODY = Box2D.b2BodyDef()
_EDGE, _BOX, _CENTRE = Box2D.b2EdgeShape(), Box2D.b2PolygonShape(), Box2D.b2Vec2(0.0, 0.0)
_EDGE_FIXTURE, _BOX_FIXTURE, _POLYGON_FIXTURE = (
    Box2D.b2FixtureDef(shape=shape, friction=GROUND_FRICTION, categoryBits=GROUND_CATEGORY, maskBits=GROUND_MASK)
    for shape in (_EDGE, _BOX, Box2D.b2PolygonShape())
)


def _add_ground(world: Any, terrain: Terrain) -> None:
    """Put the whole terrain on one static body: edges of the ground line, boxes, polygons.

    An edge has two sides, so it may run either way. A chain is no alternative: pybox2d never frees the vertices of one
    that has become a fixture, 8 bytes each in every episode.
    """
    body = _create_body(world, _GROUND_BODY)
    here, there = _EDGE.vertex1, _EDGE.vertex2
    for i, (x, y) in enumerate(_without_level_vertices(terrain.ground.tolist())):
        _set_x(here, x)
        _set_y(here, y)
        if i > 0:
            _create_fixture(body, _EDGE_FIXTURE)
        here, there = there, here
    for x, y, half_width, half_height, angle in terrain.boxes.tolist():
        _set_x(_CENTRE, x)
        _set_y(_CENTRE, y)
        _set_as_box(_BOX, half_width, half_height, _CENTRE, angle)
        _create_fixture(body, _BOX_FIXTURE)
    for polygon in terrain.polygons:
        _POLYGON_FIXTURE.shape = Box2D.b2PolygonShape(vertices=polygon.tolist())
        body.CreateFixture(_POLYGON_FIXTURE)


def _without_level_vertices(line: list[list[float]]) -> list[list[float]]:
    """Return a line without the vertices that have the height of both their neighbours."""
    neighbours = zip(line[:-2], line[1:-1], line[2:], strict=True)
    return [line[0], *(here for before, here, after in neighbours if not before[1] == here[1] == after[1]), line[-1]]
