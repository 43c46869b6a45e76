"""ToyCubes: the n-dimensional toy space for teachers, without reinforcement learning."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from rlteach_envs.arguments import check_finite, check_whole, clipped_progress, fixed_sets
from rlteach_envs.batch import BatchEnv, Floats, SingleEnv
from rlteach_envs.rugged import piece_orders, rearranged
from rlteach_envs.strokes import BLUE, DARK, WHITE, dot

MASTERED = 0.75


def previous_neighbours(index: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the cubes whose index is lower by 1 in a non-empty subset of dimensions, clipped at 0, except itself."""
    steps = itertools.product((0, 1), repeat=len(index))
    lowered = {tuple(max(i - s, 0) for i, s in zip(index, step, strict=True)) for step in steps}
    return sorted(lowered - {index})


@dataclass(frozen=True, eq=False)
class SkillGraph:
    """The cubes as skills, and which of them unlock which.

    Attributes:
        dimensions: Dimensions of the grid.
        cubes: Cubes per dimension.
        rotation: Angle between the first two axes of task space and grid, in radians.
        live: Which cubes can be learned (cubes ** dimensions,).
        prerequisites: For each cube its live previous neighbours; empty only for the origin, and unused for dead ones.
        box_scale: Edge of the box in grids; the grid lies in the middle.
        trivial: Share of the box, at the lower end of its first axis, that is no grid: there everything succeeds.
        mirrored: Axes along which the grid begins at the upper end.
        orders: Where the pieces of each axis go (dimensions, 4), see `rearranged`; None for nowhere.
    """

    dimensions: int
    cubes: int
    rotation: float
    live: NDArray[np.bool_]
    prerequisites: tuple[NDArray[np.int64], ...]
    box_scale: float = 1.0
    trivial: float = 0.0
    mirrored: tuple[int, ...] = ()
    orders: NDArray[np.int64] | None = None

    @property
    def n_skills(self) -> int:
        """Number of cubes, dead ones included."""
        return len(self.live)

    def skill_of(self, observations: ArrayLike) -> NDArray[np.int64]:
        """Return the cube of each observation (n, d); -1 outside the grid and in dead cubes."""
        grid = self._to_grid(np.asarray(observations, dtype=np.float64)[:, : self.dimensions])
        index = np.minimum(np.floor(grid * self.cubes).astype(np.int64), self.cubes - 1)
        inside = ((grid >= 0) & (grid <= 1)).all(axis=1)
        skill = np.ravel_multi_index(tuple(np.clip(index, 0, None).T), (self.cubes,) * self.dimensions)
        return np.where(inside & self.live[skill], skill, -1).astype(np.int64)

    def is_trivial(self, observations: ArrayLike) -> NDArray[np.bool_]:
        """Tell which observations (n, d) lie where everything succeeds."""
        points = np.asarray(observations, dtype=np.float64)[:, : self.dimensions]
        return np.asarray(self._in_order(points)[:, 0] < self.trivial)

    def centre(self, skill: int) -> Floats:
        """Return the middle of a cube in task space (dimensions,)."""
        return self.near_centre(skill, np.zeros(self.dimensions))

    def near_centre(self, skill: int, offset: Floats) -> Floats:
        """Return the point in task space that lies `offset` (dimensions,), in cubes, from the middle of a cube."""
        index = np.array(np.unravel_index(skill, (self.cubes,) * self.dimensions), dtype=np.float64)
        return self._from_grid((index + 0.5) / self.cubes + offset / self.cubes)

    @property
    def _enlargement(self) -> float:
        return float(abs(np.cos(self.rotation)) + abs(np.sin(self.rotation)))

    def _in_order(self, points: Floats) -> Floats:
        return points if self.orders is None else rearranged(points, self.orders)

    def _mirror(self, points: Floats) -> Floats:
        if not self.mirrored:
            return points
        return np.where(np.isin(np.arange(self.dimensions), self.mirrored), 1.0 - points, points)

    def _to_grid(self, points: Floats) -> Floats:
        points = self._in_order(points)
        if self.trivial > 0:
            points = np.concatenate([(points[:, :1] - self.trivial) / (1 - self.trivial), points[:, 1:]], axis=1)
        if self.box_scale != 1:
            points = (points - 0.5) * self.box_scale + 0.5
        if self.rotation != 0:
            a, b = ((points[:, :2] - 0.5) * self._enlargement).T
            cosine, sine = np.cos(self.rotation), np.sin(self.rotation)
            turned = np.stack([cosine * a + sine * b, cosine * b - sine * a], axis=1) + 0.5
            points = np.concatenate([turned, points[:, 2:]], axis=1)
        return self._mirror(points)

    def _from_grid(self, point: Floats) -> Floats:
        point = self._mirror(point)
        if self.rotation != 0:
            a, b = point[:2] - 0.5
            cosine, sine = np.cos(self.rotation), np.sin(self.rotation)
            turned = np.array([cosine * a - sine * b, sine * a + cosine * b]) / self._enlargement + 0.5
            point = np.concatenate([turned, point[2:]])
        if self.box_scale != 1:
            point = (point - 0.5) / self.box_scale + 0.5
        if self.trivial > 0:
            point = np.concatenate([self.trivial + (1 - self.trivial) * point[:1], point[1:]])
        return point if self.orders is None else rearranged(point[None], np.argsort(self.orders, axis=1))[0]


def dead_cubes(dimensions: int, cubes: int, share: float) -> NDArray[np.bool_]:
    """Return which cubes are live when up to `share` of them die, drawn with seed 0.

    The origin lives, and every live cube keeps a live previous neighbour, so that all live cubes can be mastered.
    """
    shape = (cubes,) * dimensions
    live = np.ones(cubes**dimensions, dtype=bool)
    before = [_flat(previous_neighbours(index), shape) for index in np.ndindex(*shape)]
    after: list[list[int]] = [[] for _ in before]
    for cube, earlier in enumerate(before):
        for neighbour in earlier:
            after[neighbour].append(cube)
    for cube in 1 + np.random.default_rng(0).permutation(len(live) - 1):
        if (~live).sum() >= int(share * len(live)):
            break
        live[cube] = False
        live[cube] = any(live[later] and not live[before[later]].any() for later in after[cube])
    return live


def draw_cubes(graph: SkillGraph, others: Sequence[float], pixels: int) -> NDArray[np.uint8]:
    """Return a picture (pixels, pixels, 3) of the first two axes, at `others` along the further ones."""
    across, up = np.meshgrid(*[(np.arange(pixels) + 0.5) / pixels] * 2)
    axes = [across.ravel(), up[::-1].ravel(), *(np.full(pixels**2, value) for value in others)]
    points = np.stack(axes[: graph.dimensions], axis=1)
    skills = graph.skill_of(points)
    farthest = np.indices((graph.cubes,) * graph.dimensions).max(axis=0).ravel()
    share = farthest[:, None] / (graph.cubes - 1)
    shades = (1 - share) * np.array([225, 245, 215]) + share * np.array([60, 130, 75])
    image = np.concatenate([shades, [DARK]]).astype(np.uint8)[skills]
    image[graph.is_trivial(points)] = WHITE
    image, grid = image.reshape(pixels, pixels, 3), skills.reshape(pixels, pixels)
    image[:, 1:][grid[:, 1:] != grid[:, :-1]] = DARK
    image[1:][grid[1:] != grid[:-1]] = DARK
    return image


def _flat(indices: list[tuple[int, ...]], shape: tuple[int, ...]) -> NDArray[np.int64]:
    return np.array([np.ravel_multi_index(index, shape) for index in indices], dtype=np.int64)


class ToyCubesBatch(BatchEnv):
    """The toy space of Portelas et al. (2019, "Teacher algorithms for curriculum learning...", CoRL), with variants.

    [0, 1]^dimensions is cut into cubes. What grows is the learner's competence in a cube, and it grows only where a
    previous neighbour is mastered; the environment itself has no dynamics. An episode is one step.

    Task and observation: a point of the unit cube, `useless` more dimensions included.
    Action in [0, 1]: the competence that the learner claims. Return: the claim, plus N(0, `noise`). Success: a claim
    above 0.75. Where the task is trivial every claim counts as 1; where it is infeasible no learner can claim any.
    `skill_graph` tells a synthetic learner which cube an observation lies in and what unlocks it.

    Args:
        num_envs: Number of rows.
        dimensions: Dimensions of the grid.
        cubes: Cubes per dimension.
        useless: Further dimensions without any effect.
        dead: Share of the cubes that can never be learned; see `dead_cubes`.
        rotation: Angle between task space and grid in degrees; the box is enlarged so that the grid fits, the rest of
            it is infeasible.
        noise: Standard deviation of the noise on the return.
        box_scale: Edge of the box in grids, the grid in its middle; the rest is infeasible.
        trivial: Share of the box, beside the lower end of the grid's first axis, where every episode succeeds.
        mirrored: Axes along which the grid begins at the upper end of the box: another learner, for whom other cubes
            are easy.
        shuffle: Seed of a rugged difficulty: each axis cut in 4 and the pieces permuted, see `piece_orders`; None for
            the axes as they are.
    """

    return_range = (0.0, 1.0)
    state_names = ()

    def __init__(
        self,
        num_envs: int = 1,
        *,
        dimensions: int = 2,
        cubes: int = 10,
        useless: int = 0,
        dead: float = 0.0,
        rotation: float = 0.0,
        noise: float = 0.0,
        box_scale: float = 1.0,
        trivial: float = 0.0,
        mirrored: Sequence[int] = (),
        shuffle: int | None = None,
    ) -> None:
        check_finite(dead=dead, rotation=rotation, noise=noise, box_scale=box_scale, trivial=trivial)
        check_whole(1, dimensions=dimensions)
        check_whole(2, cubes=cubes)
        check_whole(0, useless=useless)
        if not 0 <= dead < 1 or noise < 0:
            raise ValueError(f"dead = {dead} in [0, 1) and noise = {noise} >= 0 must both hold")
        if rotation and dimensions < 2:
            raise ValueError("a rotation needs at least two dimensions")
        if not box_scale >= 1 or not 0 <= trivial < 1 or not set(mirrored) <= set(range(dimensions)):
            raise ValueError(
                f"box_scale = {box_scale} >= 1, trivial = {trivial} in [0, 1) and mirrored = {list(mirrored)} "
                f"among the axes 0 to {dimensions - 1} must all hold"
            )
        self.noise = noise
        size = dimensions + useless
        self.task_space = spaces.Box(0.0, 1.0, (size,), np.float64)
        self.single_observation_space = spaces.Box(0.0, 1.0, (size,), np.float32)
        self.single_action_space = spaces.Box(0.0, 1.0, (1,), np.float32)
        live = dead_cubes(dimensions, cubes, dead)
        shape = (cubes,) * dimensions
        before = [_flat(previous_neighbours(index), shape) for index in np.ndindex(*shape)]
        alive = tuple(neighbours[live[neighbours]] for neighbours in before)
        self.skill_graph = SkillGraph(
            dimensions,
            cubes,
            np.deg2rad(rotation),
            live,
            alive,
            box_scale=box_scale,
            trivial=trivial,
            mirrored=tuple(mirrored),
            orders=None if shuffle is None else piece_orders(dimensions, shuffle),
        )
        self._useless = useless
        self.task_names = tuple(f"x{i}" for i in range(dimensions)) + tuple(f"useless{i}" for i in range(useless))  # type: ignore[misc]
        self.task_units = dict.fromkeys(self.task_names, "1")  # type: ignore[misc]
        super().__init__(num_envs, horizon=1)
        self._ground: tuple[int, tuple[float, ...], NDArray[np.uint8]] | None = None

    @fixed_sets
    def test_sets(self) -> dict[str, list[Any]]:  # type: ignore[override]
        """`cubes`: the middle of every learnable cube, so that success is the share of cubes mastered."""
        graph = self.skill_graph
        middle = np.full(self._useless, 0.5)
        return {"cubes": [np.concatenate([graph.centre(int(s)), middle]) for s in np.flatnonzero(graph.live)]}

    def oracle_window(self, progress: float, rng: np.random.Generator) -> Any:
        """Draw a point near the middle of a live cube on one of three neighbouring diagonals; at 1 of any live cube."""
        progress = clipped_progress(progress)
        graph = self.skill_graph
        sums = np.indices((graph.cubes,) * graph.dimensions).sum(axis=0).ravel()
        near = np.abs(sums - progress * sums.max()) <= 1
        chosen = np.flatnonzero(graph.live & (near if progress < 1 else True))
        chosen = chosen if len(chosen) else np.flatnonzero(graph.live)
        skill = int(chosen[rng.integers(len(chosen))])
        point = graph.near_centre(skill, rng.uniform(-0.25, 0.25, graph.dimensions))
        return np.clip(np.concatenate([point, rng.random(self._useless)]), 0.0, 1.0)

    def feasibility(self, task: Any) -> bool:
        """Tell whether a task lies in a cube that can be learned, or where everything succeeds."""
        seen = self._read_one(task).astype(np.float32)[None]
        return bool(self.skill_graph.skill_of(seen)[0] >= 0 or self.skill_graph.is_trivial(seen)[0])

    def _begin(self, rows: NDArray[np.int64]) -> None:
        """Nothing but the task makes an episode."""

    def _advance(self, actions: NDArray[Any]) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        claims = np.clip(actions[:, 0].astype(np.float64), 0.0, 1.0)
        if self.skill_graph.trivial > 0:
            claims = np.where(self.skill_graph.is_trivial(self._observe()), 1.0, claims)
        rewards = claims
        if self.noise > 0:
            draws = [g.standard_normal() if on else 0.0 for g, on in zip(self._generators, self._playing, strict=True)]
            rewards = claims + self.noise * np.array(draws)
        return rewards.copy(), np.ones(self.num_envs, dtype=bool), claims > MASTERED

    def _observe(self) -> NDArray[np.float32]:
        return self._tasks.astype(np.float32)

    def picture(self, row: int, pixels: int = 160) -> NDArray[np.uint8]:
        """Return a picture of the box, the first axis to the right and the second up: the task is the blue dot.

        The cubes are green, the darker the farther from where the grid begins. White is where everything succeeds,
        dark grey where nothing can be learned. Further dimensions are cut where the task lies; a grid of one dimension
        is the same everywhere along the second axis.
        """
        task = self._tasks[row].tolist()
        others = tuple(task[2 : self.skill_graph.dimensions])
        # The cubes take far longer than the dot, and on two axes are the same for all tasks.
        if self._ground is None or self._ground[:2] != (pixels, others):
            self._ground = (pixels, others, draw_cubes(self.skill_graph, others, pixels))
        image = self._ground[2].copy()
        across, up = (*task, 0.5)[:2]
        dot(image, (across * pixels, (1 - up) * pixels), 4, BLUE)
        return image


class ToyCubes(SingleEnv):
    """The toy space for teachers, without reinforcement learning; see `ToyCubesBatch`."""

    def __init__(self, *, render_mode: str | None = None, **kwargs: Any) -> None:
        super().__init__(ToyCubesBatch(1, **kwargs), render_mode)
        self.task_names = self._batch.task_names
