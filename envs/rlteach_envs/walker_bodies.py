"""Two- and four-legged walkers as plain data: shapes, joints, motors and starting poses.

Dimensions are those of Gymnasium's BipedalWalker and of the walkers of TeachMyAgent (Romac et al. 2021), which draw
them in pixels, 30 to a metre; here everything is in metres, radians, newton metres and seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

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
class Motor:
    """A motorised revolute joint between two parts.

    Attributes:
        parent: Index of one part.
        child: Index of the other; the joint's angle is the child's minus the parent's, 0 at the start.
        parent_anchor: The joint in coordinates of the parent, in m.
        child_anchor: The joint in coordinates of the child, in m.
        low: Smallest angle, in rad.
        high: Largest angle, in rad.
        speed: Speed that an action of 1 asks for, in rad/s.
        offset: What is added to the angle in the observation, in rad.
        reports_contact: Whether the child's contact with the ground follows in the observation.
    """

    parent: int
    child: int
    parent_anchor: Point
    child_anchor: Point
    low: float
    high: float
    speed: float
    offset: float = 0.0
    reports_contact: bool = False


@dataclass(frozen=True)
class WalkerBody:
    """A whole walker.

    Attributes:
        parts: The rigid parts, hull first.
        motors: The joints, in the order of actions and observations.
        torque: Largest torque of each motor, in N m.
        penalty: Reward lost per step by each motor at full torque.
        height: Height of the hull's origin above the ground at the start, in m.
    """

    parts: tuple[Part, ...]
    motors: tuple[Motor, ...]
    torque: float
    penalty: float
    height: float

    @property
    def observation_size(self) -> int:
        """Number of proprioceptive observations: 4 of the hull, 2 of each motor, 1 of each reported contact."""
        return 4 + sum(2 + motor.reports_contact for motor in self.motors)


def _metres(*pixels: Point) -> tuple[Point, ...]:
    return tuple((x / PIXELS_PER_METRE, y / PIXELS_PER_METRE) for x, y in pixels)


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


_HULL = ((-30.0, -8.0), (34.0, -8.0), (34.0, 1.0), (6.0, 9.0), (-30.0, 9.0))
_LONG_HULL = ((-46.0, -12.0), (50.0, -12.0), (50.0, 5.0), (6.0, 13.0), (-46.0, 13.0))

BODIES = {
    "classic_bipedal": _walker(_HULL, (8, 34)),
    "old_classic_bipedal": _walker(_HULL, (8, 34), hip_y=-8.0, old=True),
    "short": _walker(_HULL, (8, 17)),
    "quadruped": _walker(_LONG_HULL, (10, 51), hips=(-0.7 * 48, 0.5 * 48), torque=300.0, penalty=0.00035 * 80 / 2),
}
"""Bodies by name.

`classic_bipedal` and `short` (legs of half the length) stand straight, as TeachMyAgent's `classic_bipedal` and
`small_bipedal`. `old_classic_bipedal` is BipedalWalker's own body, of the published benchmark. `quadruped` is
TeachMyAgent's `big_quadru`: motors of 300 N m, half the penalty, legs of 1.7 m under a hull of 3.2 m.
"""
