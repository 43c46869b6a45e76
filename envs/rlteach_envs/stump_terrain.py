"""Ground with obstacles as arrays, from a handful of numbers and a generator: no physics engine needed.

    terrain = make_terrain(TrackNumbers(stump_height=1.5, obstacle_spacing=3.0), np.random.default_rng(0))

The rules are those of the stump and hexagon tracks of Portelas et al. (2019, "Teacher algorithms for curriculum
learning of Deep RL in continuously parameterized environments") and of TeachMyAgent (Romac et al. 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from rlteach_envs.lidar import sort_segments

Floats = NDArray[np.float64]

STEP = 14 / 30.0
"""The unit of obstacle heights and of the track, in m."""

TRACK_LENGTH = 200 * STEP
GOAL = 190 * STEP
"""Where an episode ends well, in m."""

START_PAD = 20 * STEP
"""Flat ground at the beginning, in m; the walker starts in its middle."""

GROUND_HEIGHT = 400 / 30.0 / 4
"""Height to which the ground is drawn back, in m."""

MIN_SIZE = 0.05
"""No obstacle is lower (in steps) or narrower (in steps; in m in a sequence) than this."""

MIN_SPACING = 0.01
"""Less ground than this between obstacles, in m, counts as this."""

HEXAGON = np.array([(-0.5, 0.0), (-0.5, 0.25), (-0.25, 0.5), (0.25, 0.5), (0.5, 0.25), (0.5, 0.0)])
"""Corners of a hexagon before they are moved, in steps; the first and last stay on the ground."""

HEXAGON_ADVANCE = 1.0
"""Ground that a hexagon takes, in m."""

SAME_POINT = 1e-6
"""Vertices of bare ground nearer than this, in m, are one."""


@dataclass(frozen=True)
class TrackNumbers:
    """The task parameters and the noise around them; None leaves an obstacle or a feature out.

    Attributes:
        stump_height: Mean height of stumps, in steps.
        obstacle_spacing: Flat ground after each obstacle, in m.
        stump_width: Mean width of stumps, in steps; None is exactly 1.
        stump_rotation: Mean angle of stumps, turned about the middle of their base, in rad.
        roughness: Size of the random change of the ground's slope at each obstacle, in 1/30 m.
        poly_shape: Mean offset x, y of the six corners of hexagons (12,), in steps.
        stump_sequence: Mean height (in steps) and width (in m) of five stumps that stand wall to wall (10,).
        height_std: Standard deviation of stump heights, in steps.
        width_std: Standard deviation of stump widths, in steps.
        rotation_std: Standard deviation of stump angles, in rad.
        shape_std: Standard deviation of the corners of hexagons, in steps.
        sequence_std: Standard deviation of heights and widths in a sequence.
    """

    stump_height: float | None = None
    obstacle_spacing: float = 8.0
    stump_width: float | None = None
    stump_rotation: float | None = None
    roughness: float = 0.0
    poly_shape: Sequence[float] | None = None
    stump_sequence: Sequence[float] | None = None
    height_std: float = 0.1
    width_std: float = 0.1
    rotation_std: float = 0.1
    shape_std: float = 0.1
    sequence_std: float = 0.1


@dataclass(frozen=True)
class Terrain:
    """Solid ground and what stands on it.

    Attributes:
        ground: Vertices of the ground line (n, 2), x rising, in m; it goes on below the obstacles.
        boxes: Stumps (m, 5): centre x, centre y, half width, half height in m, and angle in rad.
        polygons: Convex obstacles, counter-clockwise (k, 2) each, in m.
        ceiling: Vertices of a line above (n, 2), in m.
    """

    ground: Floats
    boxes: Floats
    polygons: tuple[Floats, ...] = ()
    ceiling: Floats | None = None

    parts: ClassVar[dict[str, tuple[tuple[int | None, ...], type]]] = {
        "ground": ((None, 2), float),
        "boxes": ((None, 5), float),
        "polygons": ((None, 2), float),
        "polygon_sizes": ((None,), int),
    }
    """Shape and type of each of the `arrays`; None stands for any number."""

    @cached_property
    def arrays(self) -> dict[str, Floats | NDArray[np.int64]]:
        """Everything as arrays that must not be written to; `of` makes an equal terrain of them."""
        arrays = self._arrays()
        for array in arrays.values():
            array.flags.writeable = False
        return arrays

    def _arrays(self) -> dict[str, Any]:
        return {
            "ground": self.ground,
            "boxes": self.boxes,
            "polygons": np.concatenate([np.empty((0, 2)), *self.polygons]),
            "polygon_sizes": np.array([len(polygon) for polygon in self.polygons], dtype=np.int64),
        }

    @classmethod
    def of(cls, arrays: Mapping[str, Any]) -> Self:
        """Return the terrain of which `arrays` holds the arrays."""
        return cls(np.array(arrays["ground"]), np.array(arrays["boxes"]), _split(arrays))

    def is_of(self, arrays: Mapping[str, Any]) -> bool:
        """Tell whether `arrays` holds the arrays of an equal terrain."""
        pairs = ((arrays.get(name), own) for name, own in self.arrays.items())
        return all(theirs is own or np.array_equal(theirs, own) for theirs, own in pairs)

    def segments(self) -> Floats:
        """Return all edges as a lidar takes them; of boxes the left, upper and right ones, or all four if turned."""
        pieces = [(self.ground[:-1], self.ground[1:])]
        if self.boxes[:, 4].any():
            corners = box_corners(self.boxes)
            pieces += [(corners[i], corners[(i + 1) % 4]) for i in range(4)]
        else:
            pieces.append(_level_sides(self.boxes))
        pieces += [(polygon, np.roll(polygon, -1, axis=0)) for polygon in self.polygons]
        return sort_segments(pieces)

    def surface(self, places: Floats) -> Floats:
        """Return the height of the ground, or of what stands on it, at places (n,), in m."""
        heights = np.interp(places, *self.ground.T)
        left, right, at_left, slope = self._roofs
        above = (left <= places[:, None]) & (places[:, None] <= right)
        tops = np.where(above, at_left + slope * (places[:, None] - left), -math.inf)
        higher: Floats = np.maximum(heights, tops.max(axis=1, initial=-math.inf))
        return higher

    @cached_property
    def _roofs(self) -> Floats:
        """The edges of boxes and polygons that are not upright: x at both ends, height at the left one, slope."""
        corners = box_corners(self.boxes).transpose(1, 0, 2)
        edges = [np.hstack([outline, np.roll(outline, -1, axis=0)]) for outline in (*corners, *self.polygons)]
        x, y, other_x, other_y = np.concatenate([np.empty((0, 4)), *edges]).T
        lies = np.abs(other_x - x) > SAME_POINT
        x, y, other_x, other_y = x[lies], y[lies], other_x[lies], other_y[lies]
        at_left = np.where(x < other_x, y, other_y)
        return np.stack([np.minimum(x, other_x), np.maximum(x, other_x), at_left, (other_y - y) / (other_x - x)])


def _split(arrays: Mapping[str, Any]) -> tuple[Floats, ...]:
    sizes = arrays["polygon_sizes"]
    return tuple(np.split(np.array(arrays["polygons"]), np.cumsum(sizes)[:-1])) if len(sizes) else ()


def box_corners(boxes: Floats) -> Floats:
    """Return the corners (4, m, 2) of boxes (m, 5), counter-clockwise from the lower left one."""
    corners = np.empty((4, len(boxes), 2))
    x, y = np.multiply.outer(_CORNER_X, boxes[:, 2]), np.multiply.outer(_CORNER_Y, boxes[:, 3])
    if boxes[:, 4].any():
        cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
        x, y = x * cos - y * sin, x * sin + y * cos
    corners[..., 0], corners[..., 1] = x, y
    corners += boxes[:, :2]
    return corners


def _level_sides(boxes: Floats) -> tuple[Floats, Floats]:
    """Return the starts and ends (3 m, 2) of the right, upper and left sides of boxes that are not turned."""
    centres, halves = boxes[:, :2], boxes[:, 2:4]
    bounds = np.concatenate((centres - halves, centres + halves), axis=1)
    sides = bounds[:, _LEVEL_SIDES].transpose(1, 0, 2).reshape(-1, 4)
    return sides[:, :2], sides[:, 2:]


_LEVEL_SIDES = np.array([(2, 1, 2, 3), (0, 3, 2, 3), (0, 3, 0, 1)])
"""Start and end of each side, as columns of left, lower, right and upper bound."""

_CORNER_X, _CORNER_Y = np.array([-1.0, 1.0, 1.0, -1.0]), np.array([-1.0, -1.0, 1.0, 1.0])


def make_terrain(numbers: TrackNumbers, rng: np.random.Generator) -> Terrain:
    """Draw a track: a flat pad, then obstacles of the enabled kinds in random order with ground between them."""
    spacing = max(numbers.obstacle_spacing, MIN_SPACING)
    rules = _enabled(numbers)
    if not rules:
        rules, spacing = [(STEP, _bare_ground)], 0.0
    room = math.ceil((TRACK_LENGTH - START_PAD) / (min(width for width, _ in rules) + spacing)) + 1
    drawn = [draw(numbers, room, rng) for _, draw in rules]
    if len(drawn) > 1:
        kinds = rng.integers(len(drawn), size=room)
        widths = np.choose(kinds, [obstacles.widths for obstacles in drawn])
    else:
        widths = drawn[0].widths
    rights = START_PAD - spacing + np.cumsum(widths + spacing)
    lefts = rights - widths
    count = int(lefts.searchsorted(TRACK_LENGTH))
    heights = _ground_heights(count, numbers.roughness, rng)
    line = _ground_line(lefts[:count], rights[:count], heights)
    boxes, polygons = [], []
    for kind, obstacles in enumerate(drawn):
        places = np.flatnonzero(kinds[:count] == kind) if len(drawn) > 1 else np.arange(count)
        boxes.append(_stand(obstacles.boxes[places], lefts[places], heights[places]))
        if len(obstacles.polygons):
            polygons += [convex_hull(obstacles.polygons[k] + line[2 * k + 1]) for k in places]
    if spacing == 0.0:
        line = line[np.diff(line[:, 0], prepend=-1.0) > SAME_POINT]
    return Terrain(line, np.concatenate(boxes), tuple(polygons))


def _stand(boxes: Floats, lefts: Floats, heights: Floats) -> Floats:
    """Return boxes (n, b, 5) moved to where each n stands, as one row each."""
    boxes[..., 0] += lefts[:, None]
    boxes[..., 1] += heights[:, None]
    return boxes.reshape(-1, 5)


def _ground_line(lefts: Floats, rights: Floats, heights: Floats) -> Floats:
    """Return the ground line: level up to each obstacle, and changing its height below it."""
    line = np.empty((2 * len(lefts) + 2, 2))
    line[0] = 0.0, GROUND_HEIGHT
    line[1:-1:2, 0], line[1:-1:2, 1] = lefts, heights[:-1]
    line[2:-1:2, 0], line[2:-1:2, 1] = rights, heights[1:]
    line[-1] = max(rights[-1] + STEP, TRACK_LENGTH), heights[-1]
    return line


# -- obstacles ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Obstacles:
    """Many obstacles of one kind (n), each with its left end at (0, 0): widths, boxes (n, b, 5), polygons (n, k, 2)."""

    widths: Floats
    boxes: Floats
    polygons: Floats


_Draw = Callable[[TrackNumbers, int, np.random.Generator], _Obstacles]


def _enabled(numbers: TrackNumbers) -> list[tuple[float, _Draw]]:
    """Return the least width and the rule of each kind of obstacle that the numbers ask for."""
    rules: list[tuple[float, _Draw]] = []
    if numbers.stump_height is not None:
        rules.append((STEP if numbers.stump_width is None else MIN_SIZE * STEP, _stumps))
    if numbers.poly_shape is not None:
        rules.append((HEXAGON_ADVANCE, _hexagons))
    if numbers.stump_sequence is not None:
        rules.append((MIN_SIZE * len(numbers.stump_sequence) / 2, _sequences))
    return rules


def _stumps(numbers: TrackNumbers, count: int, rng: np.random.Generator) -> _Obstacles:
    assert numbers.stump_height is not None
    heights = STEP * np.maximum(MIN_SIZE, rng.normal(numbers.stump_height, numbers.height_std, count))
    if numbers.stump_width is None:
        widths = np.empty(count)
        widths.fill(STEP)
    else:
        widths = STEP * np.maximum(MIN_SIZE, rng.normal(numbers.stump_width, numbers.width_std, count))
    boxes = np.zeros((count, 5))
    halves = boxes[:, 2:4]
    halves[:, 0], halves[:, 1] = widths, heights
    halves /= 2
    boxes[:, :2] = halves
    if numbers.stump_rotation is not None:
        angles = np.clip(rng.normal(numbers.stump_rotation, numbers.rotation_std, count), 0.0, 2 * np.pi)
        boxes[:, 0] -= heights / 2 * np.sin(angles)
        boxes[:, 1] *= np.cos(angles)
        boxes[:, 4] = angles
    return _Obstacles(widths, boxes[:, None], np.empty((0, 0, 2)))


def _hexagons(numbers: TrackNumbers, count: int, rng: np.random.Generator) -> _Obstacles:
    assert numbers.poly_shape is not None
    offsets = rng.normal(np.reshape(numbers.poly_shape, (6, 2)), numbers.shape_std, (count, 6, 2))
    offsets[:, [0, -1], 1] = 0.0
    return _Obstacles(np.full(count, HEXAGON_ADVANCE), np.empty((count, 0, 5)), STEP * (HEXAGON + offsets))


def _sequences(numbers: TrackNumbers, count: int, rng: np.random.Generator) -> _Obstacles:
    assert numbers.stump_sequence is not None
    means = np.reshape(numbers.stump_sequence, (-1, 2))
    drawn = np.maximum(MIN_SIZE, rng.normal(means, numbers.sequence_std, (count, *means.shape)))
    heights, widths = STEP * drawn[..., 0], drawn[..., 1]
    ends = np.cumsum(widths, axis=1)
    boxes = np.stack([ends - widths / 2, heights / 2, widths / 2, heights / 2, np.zeros_like(ends)], axis=-1)
    return _Obstacles(ends[:, -1], boxes, np.empty((0, 0, 2)))


def _bare_ground(numbers: TrackNumbers, count: int, rng: np.random.Generator) -> _Obstacles:
    """Return obstacles that are nothing but a vertex of the ground at every step, as in BipedalWalker."""
    return _Obstacles(np.full(count, STEP), np.empty((count, 0, 5)), np.empty((0, 0, 2)))


# -- ground ------------------------------------------------------------------------------------------------------------


def _ground_heights(count: int, roughness: float, rng: np.random.Generator) -> Floats:
    """Return the height of the ground before each of `count` obstacles and behind the last, in m.

    A slope v follows v = 0.8 v + 0.01 sign(H - y) + U(-roughness, roughness)/30, and y += v at every obstacle.
    """
    heights = np.empty(count + 1)
    heights.fill(GROUND_HEIGHT)
    if roughness == 0.0:
        return heights
    y, slope = GROUND_HEIGHT, 0.0
    for k, kick in enumerate((rng.uniform(-roughness, roughness, count) / 30.0).tolist()):
        slope = 0.8 * slope + 0.01 * ((y < GROUND_HEIGHT) - (y > GROUND_HEIGHT)) + kick
        y += slope
        heights[k + 1] = y
    return heights


def convex_hull(points: Floats) -> Floats:
    """Return the corners of the convex hull of points (n, 2), counter-clockwise (Andrew's monotone chain)."""
    ordered = sorted(map(tuple, points.tolist()))
    sides = []
    for row in (ordered, ordered[::-1]):
        side: list[tuple[float, float]] = []
        for point in row:
            while len(side) >= 2 and _turn(side[-2], side[-1], point) <= 0.0:
                side.pop()
            side.append(point)
        sides.extend(side[:-1])
    return np.array(sides)


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    """Return twice the area of a triangle, positive where a, b, c turn left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
