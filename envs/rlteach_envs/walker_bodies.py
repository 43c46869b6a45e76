"""Walkers, a fish and a climber as plain data: shapes, joints, motors and starting poses.

Dimensions are those of Gymnasium's BipedalWalker and of the walkers of TeachMyAgent (Romac et al. 2021), which draw
them in pixels, 30 to a metre; here everything is in metres, radians, newton metres and seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

PIXELS_PER_METRE = 30.0
HULL_DENSITY, HULL_FRICTION = 5.0, 0.1
LIMB_DENSITY, LIMB_FRICTION = 1.0, 0.2
"""Density in kg/m^2; the friction of limbs is Box2D's default."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Part:
    """One rigid part; part 0 of a body is its hull.

    Attributes:
        polygon: Corners of a convex polygon around the part's own origin, counter-clockwise, in m.
        density: In kg/m^2.
        friction: Coulomb coefficient; Box2D takes the geometric mean with that of the ground.
        start: Position (x, y) relative to the hull at the start, in m.
        tilt: Angle at the start, in rad.
    """

    polygon: tuple[Point, ...]
    density: float = LIMB_DENSITY
    friction: float = LIMB_FRICTION
    start: Point = (0.0, 0.0)
    tilt: float = 0.0


@dataclass(frozen=True)
class Hinge:
    """A revolute joint between two parts.

    Attributes:
        parent: Index of one part.
        child: Index of the other; the joint's angle is the child's minus the parent's, 0 at the start.
        parent_anchor: The joint in coordinates of the parent, in m.
        child_anchor: The joint in coordinates of the child, in m.
        low: Smallest angle, in rad.
        high: Largest angle, in rad.
    """

    parent: int
    child: int
    parent_anchor: Point
    child_anchor: Point
    low: float
    high: float


@dataclass(frozen=True)
class Motor(Hinge):
    """A hinge with a motor.

    Attributes:
        speed: Speed that an action of 1 asks for, in rad/s.
        offset: What is added to the angle in the observation, in rad.
        reports_contact: Whether the child's contact with the ground follows in the observation.
    """

    speed: float
    offset: float = 0.0
    reports_contact: bool = False


NOTHING, GROUND, CEILING = 0, -1, -2
"""Tags of terrain; nothing carries the first."""


@dataclass(frozen=True)
class WalkerBody:
    """A whole walker.

    Attributes:
        parts: The rigid parts, hull first.
        motors: The joints, in the order of actions and observations.
        torque: Largest torque of each motor, in N m.
        penalty: Reward lost per step by each motor at full torque.
        height: Height of the hull's origin above the ground at the start, in m.
        hinges: Joints without a motor.
        fatal: Parts whose contact with the terrain ends an episode.
        harmless: Tag of that part of the terrain whose contact is never fatal.
        hands: Parts that can hold on to something, each with its tip in coordinates of the part, in m.
        rewards_level: Whether leaning away from level costs reward.
    """

    parts: tuple[Part, ...]
    motors: tuple[Motor, ...]
    torque: float
    penalty: float
    height: float
    hinges: tuple[Hinge, ...] = ()
    fatal: tuple[int, ...] = (0,)
    harmless: int = NOTHING
    hands: tuple[tuple[int, Point], ...] = ()
    rewards_level: bool = True

    @property
    def observation_size(self) -> int:
        """Number of proprioceptive observations: 4 of the hull, 2 of each motor, 1 of each reported contact."""
        return 4 + sum(2 + motor.reports_contact for motor in self.motors)


def _metres(*pixels: Point) -> tuple[Point, ...]:
    return tuple((x / PIXELS_PER_METRE, y / PIXELS_PER_METRE) for x, y in pixels)


def _metre(x: float, y: float) -> Point:
    return x / PIXELS_PER_METRE, y / PIXELS_PER_METRE


def _box(width: float, height: float) -> tuple[Point, ...]:
    w, h = width / 2, height / 2
    return _metres((-w, -h), (w, -h), (w, h), (-w, h))


def _walker(
    hull: tuple[Point, ...],
    leg: Point,
    hip_y: float = -3.0,
    hips: tuple[float, ...] = (0.0,),
    torque: float = 80.0,
    penalty: float = 0.00035 * 80,
    *,
    old: bool = False,
) -> WalkerBody:
    """Return a walker with one pair of two-part legs at each hip; all lengths in pixels.

    Args:
        hull: Corners of the hull.
        leg: Width and length of the upper leg; the lower leg has 0.8 of the width.
        hip_y: Height of the hips in the hull.
        hips: Where along the hull each pair of legs hangs.
        torque: Largest torque of each motor, in N m.
        penalty: Reward lost per step by each motor at full torque.
        old: Whether legs start spread by 0.05 rad and, as in BipedalWalker, away from the hips that they hang on; the
            first step of the physics pulls them there.
    """
    width, length = leg
    drop = -hip_y if old else hip_y
    parts = [Part(_metres(*hull), HULL_DENSITY, HULL_FRICTION)]
    motors = []
    for x in hips:
        for side in (-1, 1):
            tilt = 0.05 * side if old else 0.0
            upper, lower = len(parts), len(parts) + 1
            parts.append(Part(_box(width, length), start=_metres((x, drop - length / 2))[0], tilt=tilt))
            parts.append(Part(_box(0.8 * width, length), start=_metres((x, drop - 1.5 * length))[0], tilt=tilt))
            hip, bottom, top = _metres((x, hip_y), (0, -length / 2), (0, length / 2))
            motors.append(Motor(0, upper, hip, top, -0.8, 1.1, speed=4.0))
            motors.append(Motor(upper, lower, bottom, top, -1.6, -0.1, speed=6.0, offset=1.0, reports_contact=True))
    height = (2 * length if old else 2 * length - hip_y) / PIXELS_PER_METRE
    return WalkerBody(tuple(parts), tuple(motors), torque, penalty, height)


def _spider() -> WalkerBody:
    """Return a square with two pairs of three-part legs; a pair is one leg to each side."""
    size, width, length, hip_y = 10.0, 6.0, 20.0, -4.0
    parts = [Part(_box(2 * size, 2 * size), HULL_DENSITY, HULL_FRICTION)]
    motors = []
    for side in (1, -1) * 2:
        anchor, parent, at = (-side * size, hip_y), 0, (-side * size, hip_y)
        # The first part rises from the body, the others hang on its outer end.
        for k, (turn, limit, speed) in enumerate(((0.25, 0.1, 4.0), (0.7, 0.15, 4.0), (0.9, 0.2, 6.0))):
            tilt = turn * math.pi * side
            # A box's lower end is where it is tied to the one before, seen along its own axis.
            x, y = at[0] - math.sin(tilt) * length / 2, at[1] + math.cos(tilt) * length / 2
            child, last = len(parts), k == 2
            parts.append(Part(_box(0.8 * width if last else width, length), start=_metre(x, y), tilt=tilt))
            motors.append(
                Motor(
                    parent,
                    child,
                    _metre(*anchor),
                    _metre(0, -length / 2),
                    -limit * math.pi,
                    limit * math.pi,
                    speed=speed,
                    reports_contact=last,
                )
            )
            at = (2 * x - at[0], 2 * y - at[1])
            anchor, parent = (0.0, length / 2), child
    return WalkerBody(tuple(parts), tuple(motors), 100.0, 0.00035 * 80 / 2, (length - hip_y) / PIXELS_PER_METRE)


def _millipede(segments: int = 4) -> WalkerBody:
    """Return a row of squares, each with a pair of two-part legs; the foremost is the hull."""
    size, width, length, hip_y = 20.0, 4.0, 10.0, -3.0
    parts, motors, hinges = [], [], []
    for k in range(segments):
        x, segment = -size * k, len(parts)
        parts.append(Part(_box(size, size), HULL_DENSITY, HULL_FRICTION, start=_metre(x, 0)))
        for _ in range(2):
            upper, lower = len(parts), len(parts) + 1
            parts.append(Part(_box(width, length), start=_metre(x, hip_y - length / 2)))
            parts.append(Part(_box(0.8 * width, length), start=_metre(x, hip_y - 1.5 * length)))
            hip, bottom, top = _metres((0, hip_y), (0, -length / 2), (0, length / 2))
            motors.append(Motor(segment, upper, hip, top, -0.8, 1.1, speed=4.0))
            motors.append(Motor(upper, lower, bottom, top, -1.6, -0.1, speed=6.0, offset=1.0, reports_contact=True))
        if k > 0:
            behind, front, bend = _metre(-size / 2, 0), _metre(size / 2, 0), 0.05 * math.pi
            hinges.append(Hinge(segment - 5, segment, behind, front, -bend, bend))
    height, penalty = (2 * length - hip_y) / PIXELS_PER_METRE, 0.00035 * 80 / segments
    return WalkerBody(tuple(parts), tuple(motors), 200.0, penalty, height, tuple(hinges))


FISH_DENSITY = 0.99
"""A hundredth less than that of water, in kg/m^2."""


def _fish() -> WalkerBody:
    """Return a head that drags three tapering segments, with a fin below."""
    hull = _metres((-20, -12), (6, -12), (15, -4), (15, 4), (6, 12), (-20, 12))
    parts = [Part(hull, FISH_DENSITY, HULL_FRICTION)]
    motors = []
    x, behind = -17.5, (-17.5, 0.0)
    segments = ((8.0, 9.0, 12.0, -0.1, 0.2), (8.0, 4.0, 9.0, -0.15, 0.15), (4.0, 2.0, 4.0, -0.3, 0.3))
    for k, (half, back, front, low, high) in enumerate(segments):
        parts.append(
            Part(
                _metres((-half, -back), (half, -front), (half, front), (-half, back)),
                FISH_DENSITY,
                start=_metre(x - half, 0),
            )
        )
        joint = Motor(
            k, k + 1, _metre(*behind), _metre(half, 0), low * math.pi, high * math.pi, speed=6.0, reports_contact=True
        )
        motors.append(joint)
        x, behind = x - 2 * half, (-half, 0.0)
    root, tilt, half = (0.0, -11.0 + 0.2 * PIXELS_PER_METRE), -0.2 * math.pi, 10.0
    fin = (root[0] + math.sin(tilt) * half, root[1] - math.cos(tilt) * half)
    parts.append(Part(_box(2, 2 * half), FISH_DENSITY, start=_metre(*fin), tilt=tilt))
    motors.append(
        Motor(0, 4, _metre(*root), _metre(0, half), -0.3 * math.pi, 0.2 * math.pi, speed=6.0, reports_contact=True)
    )
    height = 9 / PIXELS_PER_METRE + 1.0
    return WalkerBody(tuple(parts), tuple(motors), 80.0, 0.00035 * 80, height, fatal=(), rewards_level=False)


def _chimpanzee() -> WalkerBody:
    """Return head, chest, two legs and two arms with hands, the arms straight up."""
    limb, width, hand, palm, hip_y, shoulder_y = 28.0, 8.0, 8.0, 4.0, -12.0, 22.0
    head_y, neck_y = 45 / 2 + 20 / 2 + 0.2 * PIXELS_PER_METRE, 45 / 2
    chest = (0.0, -head_y)
    parts = [
        Part(_box(10, 20), HULL_DENSITY, HULL_FRICTION),
        Part(_metres((-8, -20), (8, -20), (12, 25), (-12, 25)), HULL_DENSITY, HULL_FRICTION, start=_metre(*chest)),
    ]
    neck = Hinge(0, 1, _metre(0, neck_y - head_y), _metre(0, neck_y), -0.1 * math.pi, 0.1 * math.pi)
    motors, shins, hands = [], [], []
    bottom, top = _metre(0, -limb / 2), _metre(0, limb / 2)
    for _ in range(2):
        upper, lower = len(parts), len(parts) + 1
        parts.append(Part(_box(width, limb), start=_metre(0, chest[1] + hip_y - limb / 2)))
        parts.append(Part(_box(0.8 * width, limb), start=_metre(0, chest[1] + hip_y - 1.5 * limb)))
        motors.append(Motor(1, upper, _metre(0, hip_y), top, -0.3 * math.pi, 0.6 * math.pi, speed=4.0))
        motors.append(
            Motor(upper, lower, bottom, top, -0.75 * math.pi, -0.1, speed=6.0, offset=1.0, reports_contact=True)
        )
        shins.append(lower)
    for _ in range(2):
        upper, lower, end = len(parts), len(parts) + 1, len(parts) + 2
        y = chest[1] + shoulder_y
        parts.append(Part(_box(width, limb), start=_metre(0, y + limb / 2)))
        parts.append(Part(_box(0.8 * width, limb), start=_metre(0, y + 1.5 * limb)))
        parts.append(Part(_box(palm, hand), start=_metre(0, y + 2 * limb + hand / 2)))
        motors.append(Motor(1, upper, _metre(0, shoulder_y), bottom, -1.5 * math.pi, 0.0, speed=4.0))
        motors.append(Motor(upper, lower, top, bottom, 0.0, 0.75 * math.pi, speed=4.0))
        wrist, bend = _metre(0, -hand / 2), 0.5 * math.pi
        motors.append(Motor(lower, end, top, wrist, -bend, bend, speed=8.0, reports_contact=True))
        hands.append((end, _metre(0, hand / 2)))
    return WalkerBody(
        tuple(parts),
        tuple(motors),
        100.0,
        0.00035 * 80 / 5,
        (2 * limb - hip_y + head_y) / PIXELS_PER_METRE,
        (neck,),
        (0, 1, *shins),
        CEILING,
        tuple(hands),
        rewards_level=False,
    )


def _amphibian(body: WalkerBody) -> WalkerBody:
    """Return a walker whose hull is a quarter heavier than water, and whose limbs weigh a quarter of it."""
    hull, *limbs = body.parts
    return replace(body, parts=(replace(hull, density=1.25), *(replace(limb, density=0.25) for limb in limbs)))


_HULL = ((-30.0, -8.0), (34.0, -8.0), (34.0, 1.0), (6.0, 9.0), (-30.0, 9.0))
_LONG_HULL = ((-46.0, -12.0), (50.0, -12.0), (50.0, 5.0), (6.0, 13.0), (-46.0, 13.0))

BODIES = {
    "classic_bipedal": _walker(_HULL, (8, 34)),
    "old_classic_bipedal": _walker(_HULL, (8, 34), hip_y=-8.0, old=True),
    "short": _walker(_HULL, (8, 17)),
    "quadruped": _walker(_LONG_HULL, (10, 51), hips=(-0.7 * 48, 0.5 * 48), torque=300.0, penalty=0.00035 * 80 / 2),
    "spider": _spider(),
    "millipede": _millipede(),
}
"""Walkers by name.

`classic_bipedal` and `short` (legs of half the length) stand straight, as TeachMyAgent's `classic_bipedal` and
`small_bipedal`. `old_classic_bipedal` is BipedalWalker's own body, of the published benchmark. `quadruped` is
TeachMyAgent's `big_quadru`: motors of 300 N m, half the penalty, legs of 1.7 m under a hull of 3.2 m. `spider` has a
square hull of 0.67 m and two legs of three parts on each side, `millipede` four such squares in a row, each with two
legs of 0.67 m; its hull is the foremost, and touching the ground with that ends an episode, as with all of these.
"""

AMPHIBIANS = {"amphibious_bipedal": _amphibian(BODIES["classic_bipedal"])}
SWIMMERS = {"fish": _fish()}
CLIMBERS = {"climbing_chimpanzee": _chimpanzee()}
"""Further bodies, of TeachMyAgent's Parkour: `AmphibiousBipedal`, `Fish` and `ClimbingProfileChimpanzee`."""
