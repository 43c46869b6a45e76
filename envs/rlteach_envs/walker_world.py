"""A walker on still ground in Box2D: built anew for every episode, stepped with as little Python as possible.

Only environments import this module, when they are built, because it needs Box2D. A fresh world for every episode is
cheaper than emptying the old one, and is what makes an episode independent of those before it: whatever Box2D keeps
between steps (contact order, impulses for warm starting) is gone.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlteach_envs.stump_terrain import Terrain
from rlteach_envs.walker_bodies import CEILING, GROUND, Hinge, WalkerBody

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
_angle, _spin, _is_awake = raw.b2Body___GetAngle, raw.b2Body___GetAngularVelocity, raw.b2Body___IsAwake
_set_velocity, _set_spin = raw.b2Body___SetLinearVelocity, raw.b2Body___SetAngularVelocity
_set_transform, _set_awake, _set_active = (
    raw.b2Body___SetTransform,
    raw.b2Body___SetAwake,
    raw.b2Body___SetActive,
)
_set_warm_starting = raw.b2World___SetWarmStarting
_get_speed, _get_torque = raw.b2RevoluteJoint___GetMotorSpeed, raw.b2RevoluteJoint_GetMaxMotorTorque
_joint_angle, _joint_speed = raw.b2RevoluteJoint___GetJointAngle, raw.b2RevoluteJoint___GetJointSpeed
_x, _y, _set_x, _set_y = raw.b2Vec2_x_get, raw.b2Vec2_y_get, raw.b2Vec2_x_set, raw.b2Vec2_y_set
_create_fixture, _destroy_fixture = raw.b2Body___CreateFixture, raw.b2Body_DestroyFixture
_set_as_box = raw.b2PolygonShape_SetAsBox
_create_body, _create_joint = raw.b2World___CreateBody, raw.b2World___CreateJoint
_fixture_a, _fixture_b = raw.b2Contact___GetFixtureA, raw.b2Contact___GetFixtureB
_tag = raw.b2Fixture___GetUserData


class _Contacts(Box2D.b2ContactListener):  # type: ignore[misc]
    """Counts how many contacts each part of the walker has, and notes the fatal ones."""

    def __init__(self, counts: list[int], fatal: frozenset[int], harmless: int) -> None:
        super().__init__()
        self.counts = counts
        self.fell = False
        self._fatal, self._harmless = fatal, harmless

    def BeginContact(self, contact: Any) -> None:
        part, other = _tag(_fixture_a(contact)), _tag(_fixture_b(contact))
        if part < 0:
            part, other = other, part
        self.counts[part] += 1
        if part in self._fatal and other != self._harmless:
            self.fell = True

    def EndContact(self, contact: Any) -> None:
        # One of the two is of the terrain, whose tags are negative.
        self.counts[max(_tag(_fixture_a(contact)), _tag(_fixture_b(contact)))] -= 1


class WalkerWorld:
    """One walker of a given body, in a world that `build` replaces.

    A pose is a mapping of what decides how a walker goes on: `states`, x, y, angle, vx, vy, angular velocity of each
    part (parts, 6); `awake` (parts,); `motors`, speed and largest torque of each (motors, 2); `contacts`, the number
    of contacts of each part (parts,); and `fell`, whether one of them was fatal.

    Box2D does not give away the impulses of its solver, which it starts the next step from, nor in which order it
    found its contacts. So `place` and `build` both forget them: the first step from a pose starts without impulses,
    and finds its contacts anew. A world is the same after `place` as one that was built with that pose, bit by bit.

    Args:
        body: What to build.
        velocity_iterations: Solver iterations per step for velocities.
        position_iterations: Solver iterations per step for positions.
        fatal: Parts that must not touch the terrain; those of the body when None.
    """

    def __init__(
        self,
        body: WalkerBody,
        velocity_iterations: int,
        position_iterations: int,
        fatal: Iterable[int] | None = None,
    ) -> None:
        self._body = body
        self._iterations = velocity_iterations, position_iterations
        self._fatal = frozenset(body.fatal if fatal is None else fatal)
        self._part_defs = [self._part_def(i) for i in range(len(body.parts))]
        self._body_defs = [Box2D.b2BodyDef(type=Box2D.b2_dynamicBody) for _ in body.parts]
        self._motor_defs = [_joint_def(motor, body, enableMotor=True) for motor in body.motors]
        self._hinge_defs = [_joint_def(hinge, body) for hinge in body.hinges]
        self._vector = Box2D.b2Vec2(0.0, 0.0)
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

    # -- building --------------------------------------------------------------------------------------------------

    def build(self, terrain: Terrain, pose: Mapping[str, Any]) -> None:
        """Make a new world with a walker in a pose, always in the same order: terrain, parts, joints."""
        world = Box2D.b2World(gravity=GRAVITY)
        self._contacts = _Contacts(pose["contacts"].tolist(), self._fatal, self._body.harmless)
        self._contacts.fell = bool(pose["fell"])
        world.contactListener = self._contacts
        self._ground = add_terrain(world, terrain)
        placed = enumerate(zip(pose["states"].tolist(), pose["awake"].tolist(), strict=True))
        self._parts = [self._add_part(world, i, state, is_awake) for i, (state, is_awake) in placed]
        self._joints = [
            self._add_joint(world, definition, motor, *asked)
            for definition, motor, asked in zip(
                self._motor_defs, self._body.motors, pose["motors"].tolist(), strict=True
            )
        ]
        for definition, hinge in zip(self._hinge_defs, self._body.hinges, strict=True):
            self._add_joint(world, definition, hinge)
        self._world = world
        # Box2D hands out references into its bodies, so these always show the present.
        self._hull = self._parts[0]
        self._position, self._velocity = self._hull.position, self._hull.linearVelocity
        self._places: list[tuple[Any, Any, Any]] = []
        self._drives = [(joint, motor.speed) for joint, motor in zip(self._joints, self._body.motors, strict=True)]
        self._senses = [
            (joint, motor.offset, motor.speed, motor.child if motor.reports_contact else 0)
            for joint, motor in zip(self._joints, self._body.motors, strict=True)
        ]
        self._begin()

    def _begin(self) -> None:
        """Let the next step start without impulses, and tell the contacts of the pose until it finds them again."""
        self._is_fresh = True
        _set_warm_starting(self._world, False)

    def _add_part(self, world: Any, index: int, state: Sequence[float], awake: bool) -> Any:
        x, y, angle, vx, vy, spin = state
        definition = self._body_defs[index]
        definition.position, definition.angle, definition.awake = (x, y), angle, awake
        part = _create_body(world, definition)
        _create_fixture(part, self._part_defs[index])
        # Only now: a fixture moves the centre of mass, and with it the velocity.
        part.linearVelocity, part.angularVelocity = (vx, vy), spin
        return part

    def _add_joint(self, world: Any, definition: Any, hinge: Hinge, speed: float = 0.0, torque: float = 0.0) -> Any:
        definition.bodyA, definition.bodyB = self._parts[hinge.parent], self._parts[hinge.child]
        definition.motorSpeed, definition.maxMotorTorque = speed, torque
        return _create_joint(world, definition)

    def place(self, pose: Mapping[str, Any]) -> None:
        """Put the walker into a pose without building the world anew."""
        vector = self._vector
        for joint, (speed, torque) in zip(self._joints, pose["motors"].tolist(), strict=True):
            _set_speed(joint, speed)
            _set_torque(joint, torque)
        states = pose["states"].tolist()
        for part, (x, y, angle, *_) in zip(self._parts, states, strict=True):
            _set_x(vector, x)
            _set_y(vector, y)
            _set_transform(part, vector, angle)
        for part, (_, _, _, vx, vy, spin), awake in zip(self._parts, states, pose["awake"].tolist(), strict=True):
            # Leaving the world drops the contacts, and coming back gives the number in Box2D's tree of boxes that was
            # just freed: one after the other, so that all keep those of a new world, which order the contacts.
            _set_active(part, False)
            _set_active(part, True)
            # Falling asleep clears velocity, forces and how long it has been still.
            _set_awake(part, False)
            if awake:
                _set_awake(part, True)
                _set_x(vector, vx)
                _set_y(vector, vy)
                _set_velocity(part, vector)
                _set_spin(part, spin)
        # Box2D looks for new contacts at the beginning of a step only where there is a new fixture.
        _destroy_fixture(self._ground, _create_fixture(self._ground, _NOTHING_FIXTURE))
        self._contacts.counts = pose["contacts"].tolist()
        self._contacts.fell = bool(pose["fell"])
        self._begin()

    def push(self, force: float) -> None:
        """Push the hull sideways during the next step, with a force in N."""
        self._hull.ApplyForceToCenter((force, 0.0), True)

    # -- playing ---------------------------------------------------------------------------------------------------

    def step(self, action: Sequence[float]) -> float:
        """Advance by 1/50 s; return the sum of |action|, each cut at 1.

        An action asks its motor for full speed in the direction of its sign, with its size as the share of the torque.
        """
        strength, effort = self._body.torque, 0.0
        for (joint, speed), a in zip(self._drives, action, strict=True):
            share = min(abs(a), 1.0)
            effort += share
            _set_speed(joint, speed if a > 0 else -speed if a < 0 else 0.0)
            _set_torque(joint, strength * share)
        self._advance()
        return effort

    def _advance(self) -> None:
        if self._is_fresh:
            self._contacts.counts = [0] * len(self._parts)
        _step(self._world, 1.0 / FPS, *self._iterations)
        if self._is_fresh:
            self._is_fresh = False
            _set_warm_starting(self._world, True)

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
    def fell(self) -> bool:
        """Whether a part has touched the terrain that must not, in this episode."""
        return self._contacts.fell

    # -- saving ----------------------------------------------------------------------------------------------------

    def pose(self) -> dict[str, Any]:
        """Return the pose of the walker."""
        return {
            "states": self.states(),
            "awake": np.array([_is_awake(part) for part in self._parts]),
            "motors": np.array([(_get_speed(joint), _get_torque(joint)) for joint in self._joints]),
            "contacts": np.array(self._contacts.counts, dtype=np.int64),
            "fell": self._contacts.fell,
        }

    def states(self) -> Floats:
        """Return x, y, angle, vx, vy, angular velocity of each part (parts, 6)."""
        rows = [(_x(p), _y(p), _angle(part), _x(v), _y(v), _spin(part)) for part, p, v in self._references()]
        return np.array(rows, dtype=np.float64)

    def _references(self) -> list[tuple[Any, Any, Any]]:
        """Return each part with references to its position and velocity; most episodes do without them."""
        if not self._places:
            self._places = [(part, part.position, part.linearVelocity) for part in self._parts]
        return self._places


def start_pose(body: WalkerBody, x: float, y: float) -> dict[str, Any]:
    """Return the pose in which a walker is put down at rest, its hull at (x, y)."""
    parts, motors = len(body.parts), len(body.motors)
    states = [(x + part.start[0], y + part.start[1], part.tilt, 0.0, 0.0, 0.0) for part in body.parts]
    return {
        "states": np.array(states),
        "awake": np.ones(parts, bool),
        "motors": np.zeros((motors, 2)),
        "contacts": np.zeros(parts, np.int64),
        "fell": False,
    }


def _joint_def(hinge: Hinge, body: WalkerBody, **more: Any) -> Any:
    return Box2D.b2RevoluteJointDef(
        localAnchorA=hinge.parent_anchor,
        localAnchorB=hinge.child_anchor,
        referenceAngle=body.parts[hinge.child].tilt - body.parts[hinge.parent].tilt,
        lowerAngle=hinge.low,
        upperAngle=hinge.high,
        enableLimit=True,
        **more,
    )


# -- terrain -----------------------------------------------------------------------------------------------------------

_GROUND_BODY = Box2D.b2BodyDef()
_EDGE, _BOX, _CENTRE = Box2D.b2EdgeShape(), Box2D.b2PolygonShape(), Box2D.b2Vec2(0.0, 0.0)


def _solid(shape: Any, tag: int = GROUND) -> Any:
    return Box2D.b2FixtureDef(
        shape=shape, friction=GROUND_FRICTION, categoryBits=GROUND_CATEGORY, maskBits=GROUND_MASK, userData=tag
    )


_BOX_FIXTURE, _POLYGON_FIXTURE = _solid(_BOX), _solid(Box2D.b2PolygonShape())
_EDGE_FIXTURES = {tag: _solid(_EDGE, tag) for tag in (GROUND, CEILING)}
_NOTHING_FIXTURE = Box2D.b2FixtureDef(
    shape=Box2D.b2EdgeShape(vertices=[(0.0, -1e4), (1.0, -1e4)]), isSensor=True, categoryBits=0, maskBits=0
)


def add_terrain(world: Any, terrain: Terrain) -> Any:
    """Put a whole terrain on one static body, and return that: edges of its lines, boxes, polygons.

    An edge has two sides, so it may run either way. A chain is no alternative: pybox2d never frees the vertices of one
    that has become a fixture, 8 bytes each in every episode.
    """
    body = _create_body(world, _GROUND_BODY)
    _add_edges(body, terrain.ground, _EDGE_FIXTURES[GROUND])
    if terrain.ceiling is not None:
        _add_edges(body, terrain.ceiling, _EDGE_FIXTURES[CEILING])
    for x, y, half_width, half_height, angle in terrain.boxes.tolist():
        _set_x(_CENTRE, x)
        _set_y(_CENTRE, y)
        _set_as_box(_BOX, half_width, half_height, _CENTRE, angle)
        _create_fixture(body, _BOX_FIXTURE)
    for polygon in terrain.polygons:
        _POLYGON_FIXTURE.shape = Box2D.b2PolygonShape(vertices=polygon.tolist())
        body.CreateFixture(_POLYGON_FIXTURE)
    return body


def _add_edges(body: Any, line: Floats, fixture: Any) -> None:
    here, there = _EDGE.vertex1, _EDGE.vertex2
    for i, (x, y) in enumerate(_without_level_vertices(line)):
        _set_x(here, x)
        _set_y(here, y)
        if i > 0:
            _create_fixture(body, fixture)
        here, there = there, here


def _without_level_vertices(line: Floats) -> list[list[float]]:
    """Return a line (n, 2) without the vertices that have the height of both their neighbours."""
    heights = line[:, 1]
    bends = np.ones(len(line), dtype=bool)
    changes = heights[1:] != heights[:-1]
    np.logical_or(changes[:-1], changes[1:], out=bends[1:-1])
    kept: list[list[float]] = line[bends].tolist()
    return kept
