"""Ground, ceiling, creepers and water of Parkour, from a random network that was never trained.

    terrain = make_parkour(ParkourNumbers(input_vector=(-0.2, 0.8, 0.1)), np.random.default_rng(0))

The family of terrains is that of TeachMyAgent (Romac et al. 2021): a network of four hidden layers, whose weights are
drawn and left as they are, maps the place along the track and a vector of three numbers to the heights of ground and
ceiling. Neighbouring vectors give similar terrains; the three numbers have no meaning of their own.

The published weights were chosen by eye. These are chosen by a rule instead: `NET_SEED` is the first seed whose
terrains `is_acceptable`. Nothing is stored; weights are drawn when the first terrain is made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from rlteach_envs.lidar import CREEPER, SOLID, sort_segments
from rlteach_envs.stump_terrain import GROUND_HEIGHT, START_PAD, STEP, Floats, Terrain

NET_SEED = 26
"""The first seed that is acceptable."""

NET_WIDTHS = (4, 64, 64, 64, 64, 2)
WEIGHT_STD = 2.0
"""Weights are normal, drawn again beyond two standard deviations."""

PLACES = 200
"""Steps of generated track; the pad comes before them."""

PAD = round(START_PAD / STEP)
PARKOUR_GOAL = (PLACES + PAD - 5) * STEP
"""Where an episode ends well, in m."""

CEILING_OFFSET = 200.0
"""Height of the ceiling above the ground at the beginning, times the scale, in m."""

DEPTH = 1000.0
"""How deep the water can go, times the scale, in m below 0."""

REMEMBERED = 256
"""Number of terrains, 7 kB each, that are not computed again when their task comes back, as in a test set."""

MIN_WATER = 0.01
MIN_CREEPER = 0.2
"""No creeper is shorter or narrower than this, in m."""

CREEPER_STD = 0.1
"""Standard deviation of the heights of creepers, in m."""

MEDIUM = ((-0.35, 0.6, -0.1), (0.05, 1.0, 0.3))
"""The box of vectors in which the weights are judged, TeachMyAgent's medium one: low and high ends."""


@dataclass(frozen=True)
class ParkourNumbers:
    """The task parameters.

    Attributes:
        input_vector: What the network is given (3,), the same all along the track.
        water_level: From 0, as far down as there is room, to 1, the highest point of the ceiling.
        creepers_height: Mean length of the creepers, in m; None leaves them out.
        creepers_spacing: From the left side of one creeper to that of the next at least, in m.
        creepers_width: Width of the creepers, in m.
        scale: What the heights are divided by: a larger one makes smoother ground and a lower ceiling.
    """

    input_vector: Sequence[float]
    water_level: float = 0.0
    creepers_height: float | None = None
    creepers_spacing: float = 1.0
    creepers_width: float = 0.25
    scale: float = 10.0


@dataclass(frozen=True)
class ParkourTerrain(Terrain):
    """Ground and ceiling, and what walkers pass through.

    Attributes:
        creepers: Left, right, lower and upper side of each creeper (k, 4), in m, from left to right.
        water: Height of the water's surface, in m.
    """

    creepers: Floats = field(default_factory=lambda: np.empty((0, 4)))
    water: float = -math.inf

    parts: ClassVar[dict[str, Any]] = Terrain.parts | {
        "ceiling": ((None, 2), float),
        "creepers": ((None, 4), float),
        "water": ((), float),
    }

    def _arrays(self) -> dict[str, Any]:
        more = {"ceiling": self.ceiling, "creepers": self.creepers, "water": np.array(self.water)}
        return super()._arrays() | more

    @classmethod
    def of(cls, arrays: Mapping[str, Any]) -> Self:
        """Return the terrain of which `arrays` holds the arrays."""
        ground, boxes, ceiling, creepers = (
            np.array(arrays[name]) for name in ("ground", "boxes", "ceiling", "creepers")
        )
        return cls(ground, boxes, (), ceiling, creepers, float(arrays["water"]))

    def segments(self) -> Floats:
        """Return all edges as a lidar takes them; creepers are seen from outside."""
        assert self.ceiling is not None
        left, right, lower, upper = (self.creepers[:, i] for i in range(4))
        pairs = [(self.ground[:-1], self.ground[1:]), (self.ceiling[:-1], self.ceiling[1:])]
        corners = [((left, lower), (right, lower)), ((left, upper), (left, lower)), ((right, lower), (right, upper))]
        pairs += [(np.stack(start, axis=1), np.stack(end, axis=1)) for start, end in corners]
        return sort_segments(pairs, (SOLID, SOLID, CREEPER, CREEPER, CREEPER))

    def gap(self) -> float:
        """Return the least height between ground and ceiling behind the pad, in m."""
        assert self.ceiling is not None
        return float((self.ceiling[:, 1] - self.ground[:, 1]).min())


def make_parkour(numbers: ParkourNumbers, rng: np.random.Generator) -> ParkourTerrain:
    """Make the terrain of a task; only the lengths of creepers are random."""
    ground, ceiling = _lines(tuple(numbers.input_vector), numbers.scale)
    depth = -DEPTH / numbers.scale
    level = depth + max(numbers.water_level, MIN_WATER) * (float(ceiling[:, 1].max()) - depth)
    creepers = _creepers(numbers, ceiling[:, 1], rng)
    return ParkourTerrain(ground, np.empty((0, 5)), (), ceiling, creepers, level)


@lru_cache(maxsize=REMEMBERED)
def _lines(vector: tuple[float, ...], scale: float) -> Floats:
    """Return the vertices (2, 220, 2) of ground and ceiling, in m, which are not to be written to."""
    x = STEP * np.arange(PAD + PLACES)
    lines = np.empty((2, len(x), 2))
    lines[:, :, 0] = x
    lines[0, :PAD, 1], lines[1, :PAD, 1] = GROUND_HEIGHT, GROUND_HEIGHT + CEILING_OFFSET / scale
    ground, ceiling = heights(net(NET_SEED), vector, scale)
    lines[0, PAD:, 1], lines[1, PAD:, 1] = ground, np.maximum(ground, ceiling)
    lines.flags.writeable = False
    return lines


def _creepers(numbers: ParkourNumbers, ceiling: Floats, rng: np.random.Generator) -> Floats:
    if numbers.creepers_height is None:
        return np.empty((0, 4))
    # One at every few vertices of the ceiling, hanging from the higher of those that it spans.
    period = 1 + math.ceil(max(numbers.creepers_spacing, 0.01) / STEP - 1e-9)
    width = max(MIN_CREEPER, numbers.creepers_width)
    places = np.arange(0, len(ceiling) - 1, period)
    ends = np.minimum(places + max(1, int(width / STEP)), len(ceiling) - 1)
    upper = np.maximum(ceiling[places], ceiling[ends])
    length = np.maximum(MIN_CREEPER, rng.normal(numbers.creepers_height, CREEPER_STD, len(places)))
    return np.stack([places * STEP, places * STEP + width, upper - length, upper], axis=1)


# -- the network -------------------------------------------------------------------------------------------------------

Net = tuple[NDArray[np.float32], ...]


@cache
def net(seed: int) -> Net:
    """Return the weights that a seed gives, by NumPy's frozen generator."""
    rng = np.random.RandomState(seed)
    layers = []
    for rows, columns in pairwise(NET_WIDTHS):
        weights = rng.standard_normal(rows * columns)
        while (beyond := np.abs(weights) > 2.0).any():
            weights[beyond] = rng.standard_normal(np.count_nonzero(beyond))
        layers.append((WEIGHT_STD * weights).reshape(rows, columns).astype(np.float32))
    return tuple(layers)


def outputs(weights: Net, vector: Sequence[float]) -> NDArray[np.float32]:
    """Return what the network says (200, 2) along the track: tanh, softplus, tanh, softplus, and no biases."""
    values = np.empty((PLACES, NET_WIDTHS[0]), np.float32)
    values[:, 0], values[:, 1:] = np.linspace(0.0, 1.0, PLACES), vector
    for k, layer in enumerate(weights[:-1]):
        values = values @ layer
        values = np.tanh(values, out=values) if k % 2 == 0 else _softplus(values)
    return values @ weights[-1]


def _softplus(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return log(1 + exp(values)), without a number that is too large for its kind."""
    small = np.abs(values)
    np.negative(small, out=small)
    np.exp(small, out=small)
    small += 1.0
    np.log(small, out=small)
    small += np.maximum(values, 0.0, out=values)
    return small


def heights(weights: Net, vector: Sequence[float], scale: float) -> tuple[Floats, Floats]:
    """Return the heights (200,) of ground and ceiling, in m, which begin where the pad ends."""
    said = outputs(weights, vector).astype(np.float64) / scale
    said += (GROUND_HEIGHT, GROUND_HEIGHT + CEILING_OFFSET / scale) - said[0]
    return said[:, 0], said[:, 1]


# -- choosing the network ----------------------------------------------------------------------------------------------


class NetStatistics(NamedTuple):
    """What the terrains of a network are like, at scale 10.

    Attributes:
        range: Median over terrains of the highest minus the lowest ground, in m.
        slope: Mean of |slope| of the ground.
        blocked: Share of terrains whose ceiling comes down to the ground.
        diversity: Mean over pairs of terrains of the root mean square difference of their ground, in m.
    """

    range: float
    slope: float
    blocked: float
    diversity: float


def net_statistics(weights: Net, count: int = 300) -> NetStatistics:
    """Return the statistics of terrains for vectors drawn from the medium box."""
    rng = np.random.RandomState(0)
    drawn = [heights(weights, rng.uniform(*MEDIUM).tolist(), 10.0) for _ in range(count)]
    grounds, ceilings = (np.array(part) for part in zip(*drawn, strict=True))
    squares = np.mean(grounds**2, axis=1)
    distances = squares[:, None] + squares - 2.0 * grounds @ grounds.T / PLACES
    pairs = count * (count - 1)
    return NetStatistics(
        range=float(np.median(np.ptp(grounds, axis=1))),
        slope=float(np.mean(np.abs(np.diff(grounds, axis=1)))) / STEP,
        blocked=float(np.mean((ceilings <= grounds).any(axis=1))),
        diversity=float(np.sqrt(np.maximum(distances, 0.0)).sum()) / pairs,
    )


def is_acceptable(statistics: NetStatistics) -> bool:
    """Tell whether terrains differ, rise and fall as those of the published network, and can be passed."""
    low, high = 15.0, 20.0
    lively = low <= statistics.range <= high and statistics.diversity >= 6.0
    return lively and statistics.slope <= 0.4 and statistics.blocked <= 0.05
