"""A closed race track through twelve points, as arrays: no physics engine and no picture needed.

    track = make_track(np.random.default_rng(0).uniform(-SPREAD, SPREAD, (POINTS, 2)))
    track.length, len(track.nodes), track.evened

The points are joined by cubic Bezier curves in the order in which they stand around their mean, as in the CarRacing
tracks of Jiang et al. (2021, "Replay-guided adversarial environment design"): at each point the track runs in a
direction between those of the two edges that meet there. Road and tiles are as wide and as long as in Gymnasium's
CarRacing. Unlike there, every track can be driven: see `make_track`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

POINTS = 12
"""Number of control points."""

FIELD = 2000 / 6.0
"""Half the width of the playing field, in m: cars further out have left it."""

SPREAD = FIELD / 2
"""Largest coordinate of a control point, in m; the middle of the field is 0."""

HALF_WIDTH = 40 / 6.0
"""Half the width of the road, in m."""

KERB = 8 / 6.0
"""Width of a kerb, in m."""

TILE = 21 / 6.0
"""About the length of a tile, in m: the road is divided into a whole number of equal ones."""

EDGY = 0.2
"""How far the direction at a point leans to the edge that leaves it: atan(EDGY)/pi + 1/2 of the turn."""

HANDLE = 0.35
"""Length of the handles of a Bezier curve, as a share of the distance between its ends."""

MIN_RADIUS = 7.0
"""No bend of the middle of the road is tighter, in m: its inner edge would fold at 6.7; the car steers 7.7 at least."""

CLEARANCE = 14.0
"""Least distance between the middles of two stretches of road, in m: the road is 13.3 wide."""

MIN_RING = 60.0
"""Least radius of the ring to which points are moved that no road can follow, in m."""

SHARES = np.arange(21) / 20
"""How far points may be moved to the ring."""

KERB_RUN = 4
"""A kerb needs so many successive tiles that bend one way, each more than the mean."""

_BEND_PLACES = (1 - np.cos(np.linspace(0.0, np.pi, 33))) / 2
"""Parameters of each curve at which its curvature is looked at: more of them near the ends, where it is largest."""

_SAMPLES = 64
"""Parts of each curve of which the length is computed."""


@dataclass(frozen=True)
class Track:
    """A closed road, counter-clockwise.

    Attributes:
        points: The control points that it runs through (12, 2), in m.
        evened: How far those given had to be moved to their ring, 0 to 1.
        length: Of its middle, in m.
        nodes: Points of its middle at equal distances along it (n, 5): x, y in m, cosine and sine of its direction,
            curvature in 1/m, positive to the left. Tile i lies between nodes i and i + 1, the last before node 0.
        kerbs: Side of the kerb along each tile (n,): 1 left, -1 right, 0 none.
    """

    points: Floats
    evened: float
    length: float
    nodes: Floats
    kerbs: NDArray[np.int8]


def make_track(points: Floats) -> Track:
    """Return the track through control points (12, 2), which may stand anywhere and in any order.

    Points that no road can follow are moved: all of them by the same share towards a ring (see `evened`), the smallest
    of 0, 0.05, ... 1 with which no bend is tighter than `MIN_RADIUS` and no two stretches of road come nearer to each
    other than `CLEARANCE`. So the road never crosses or touches itself. It starts in the middle of its longest curve.
    """
    ring = evened(points, SHARES)
    controls = bezier(ring)
    bends = curvature(*derivatives(controls, _BEND_PLACES))
    smooth = np.abs(bends).max(axis=(1, 2)) <= 1 / MIN_RADIUS
    for i in np.flatnonzero(smooth).tolist():
        length, nodes = _nodes(controls[i])
        if nearest_approach(nodes[:, :2], length) >= CLEARANCE:
            break
    return Track(ring[i], float(SHARES[i]), length, nodes, kerb_sides(nodes[:, 4]))


# -- control points ----------------------------------------------------------------------------------------------------


def evened(points: Floats, shares: Floats) -> Floats:
    """Return points (m, 12, 2), ordered counter-clockwise around their mean, moved to a ring by shares (m,) of the way.

    The ring has the mean as its middle, their mean distance from it as its radius (at least `MIN_RING`), and even
    angles as near to the points' own as a rotation of all brings them. Angle and distance move separately, so the order
    stays.
    """
    middle = points.mean(axis=0)
    x, y = (points - middle).T
    angles, radii = np.arctan2(y, x), np.hypot(x, y)
    order = np.lexsort((radii, angles))
    angles, radii = angles[order], radii[order]
    even = 2 * np.pi * np.arange(len(points)) / len(points)
    angles = angles + np.multiply.outer(shares, even + (angles - even).mean() - angles)
    radii = radii + np.multiply.outer(shares, max(radii.mean(), MIN_RING) - radii)
    moved: Floats = middle + np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=-1)
    return moved


# -- curves ------------------------------------------------------------------------------------------------------------


def bezier(points: Floats) -> Floats:
    """Return the four control points of each curve (..., n, 4, 2) of the closed line through points (..., n, 2)."""
    after = np.roll(points, -1, axis=-2)
    edges = after - points
    leaving = np.arctan2(edges[..., 1], edges[..., 0])
    arriving = np.roll(leaving, 1, axis=-1)
    turns = (leaving - arriving + np.pi) % (2 * np.pi) - np.pi
    angles = arriving + (math.atan(EDGY) / math.pi + 0.5) * turns
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    reach = HANDLE * np.hypot(edges[..., 0], edges[..., 1])[..., None]
    return np.stack([points, points + reach * directions, after - reach * np.roll(directions, -1, axis=-2), after], -2)


def positions(controls: Floats, u: Floats) -> Floats:
    """Return the points (..., m, 2) at the parameters u (m,) or (..., m), 0 to 1, of curves (..., 4, 2)."""
    return _mix(controls, (1 - u) ** 3, 3 * u * (1 - u) ** 2, 3 * u**2 * (1 - u), u**3)


def derivatives(controls: Floats, u: Floats) -> tuple[Floats, Floats]:
    """Return the first and second derivative (..., m, 2) of curves (..., 4, 2) by their parameter u."""
    steps = 3 * np.diff(controls, axis=-2)
    changes = 2 * np.diff(steps, axis=-2)
    return _mix(steps, (1 - u) ** 2, 2 * u * (1 - u), u**2), _mix(changes, 1 - u, u)


def _mix(controls: Floats, *weights: Floats) -> Floats:
    total: Floats = sum(  # type: ignore[assignment]
        weight[..., None] * controls[..., None, i, :] for i, weight in enumerate(weights)
    )
    return total


def curvature(first: Floats, second: Floats) -> Floats:
    """Return (x' y'' - y' x'') / |v|^3 of derivatives (..., 2), in 1/m, positive where the line bends to the left.

    Not a number where the line stands still, as it does between two points in the same place.
    """
    (vx, vy), (ax, ay) = np.moveaxis(first, -1, 0), np.moveaxis(second, -1, 0)
    speeds = np.hypot(vx, vy)
    with np.errstate(divide="ignore", invalid="ignore"):
        bend: Floats = (vx * ay - vy * ax) / (speeds * speeds * speeds)
    return bend


def _nodes(controls: Floats) -> tuple[float, Floats]:
    """Return the length of a closed line of curves (n, 4, 2), and its nodes, from the middle of the longest curve."""
    steps, _ = derivatives(controls, np.linspace(0.0, 1.0, _SAMPLES + 1))
    speeds = np.hypot(steps[..., 0], steps[..., 1])
    along = np.concatenate([[0.0], np.cumsum((speeds[:, 1:] + speeds[:, :-1]) / (2 * _SAMPLES))])
    length = float(along[-1])
    ends = along[::_SAMPLES]
    longest = int(np.argmax(np.diff(ends)))
    count = round(length / TILE)
    places = (ends[longest : longest + 2].mean() + np.arange(count) * (length / count)) % length
    u = np.interp(places, along, np.arange(len(along)) / _SAMPLES)
    curve = np.minimum(u.astype(np.int64), len(controls) - 1)
    chosen, rest = controls[curve], (u - curve)[:, None]
    first, second = derivatives(chosen, rest)
    directions = first / np.hypot(first[..., :1], first[..., 1:])
    parts = [positions(chosen, rest), directions, curvature(first, second)[..., None]]
    return length, np.concatenate(parts, axis=-1)[:, 0]


# -- held-out tracks ---------------------------------------------------------------------------------------------------

TEST_LENGTH, TEST_TIGHT, TIGHT_RADIUS = 1300.0, 70.0, 15.0
"""A test track is at least so long, and bends at least on so many of its m more tightly than the radius, in m."""

TEST_SEEDS = (4, 46, 98, 175, 212, 240, 353, 441, 504, 509, 530, 636, 652, 659, 714, 715, 821, 854, 910, 925)
"""The first 20 seeds whose zigzag is a test track."""


def zigzag(seed: int) -> Floats:
    """Return points (12, 2) that stand in turn far out and further in around the middle of the square of tasks.

    One of them, drawn at random, is out instead of in or in instead of out. Angles are even but for U(-0.4, 0.4) of
    their gap; distances are U(0.7, 1) and U(0.2, 0.6) of the way to the edge of the square.
    """
    rng = np.random.default_rng(seed)
    angles = 2 * np.pi / POINTS * (np.arange(POINTS) + rng.uniform(-0.4, 0.4, POINTS))
    out = np.arange(POINTS) % 2 == 0
    out[rng.integers(POINTS)] ^= True
    shares = np.where(out, rng.uniform(0.7, 1.0, POINTS), rng.uniform(0.2, 0.6, POINTS))
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points: Floats = SPREAD * shares[:, None] * directions / np.abs(directions).max(axis=1, keepdims=True)
    return points


def is_test_track(track: Track) -> bool:
    """Tell whether a track is long and tight by its points as given; of uniform ones 95 % are shorter, 95 % wider."""
    return track.evened == 0.0 and track.length >= TEST_LENGTH and tight_length(track) >= TEST_TIGHT


def tight_length(track: Track) -> float:
    """Return on how many m a track bends more tightly than `TIGHT_RADIUS`."""
    return float((np.abs(track.nodes[:, 4]) > 1 / TIGHT_RADIUS).mean() * track.length)


# -- the road ----------------------------------------------------------------------------------------------------------


def nearest_approach(middle: Floats, length: float) -> float:
    """Return how near two stretches of a closed line come to each other, in m; infinite when it is too short for that.

    Neighbouring stretches do not count: those less than the half of a circle of diameter `CLEARANCE` apart along it.

    Args:
        middle: Points at equal distances along it (n, 2).
        length: Its length, in m.
    """
    count = len(middle)
    nearest = math.ceil(CLEARANCE * math.pi / 2 / (length / count))
    twice = np.concatenate([middle, middle]).T.copy()
    # Each pair once: the points that lie up to half way round further on.
    further = np.lib.stride_tricks.sliding_window_view(twice, count // 2 + 1 - nearest, axis=1)
    dx, dy = further[:, nearest : nearest + count] - twice[:, :count, None]
    return math.sqrt((dx * dx + dy * dy).min(initial=math.inf))


def kerb_sides(bends: Floats) -> NDArray[np.int8]:
    """Return the side of the kerb along each tile (n,) from the curvature at each node (n,): the inner one, or 0.

    Tiles have one that belong to a run of at least `KERB_RUN` which all bend one way, and more than the mean.
    """
    size = np.abs(bends)
    sides = np.where(size > size.mean(), np.sign(bends), 0.0)
    runs = np.abs(sum(np.roll(sides, i) for i in range(KERB_RUN))) == KERB_RUN
    kept = np.logical_or.reduce([np.roll(runs, -i) for i in range(KERB_RUN)])
    return np.where(kept, sides, 0.0).astype(np.int8)
