"""RIAC: regions of the task space, split where progress differs, and drawn by their progress."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach.protocols import State
from rlteach.task_space import TaskSpace, clipped
from rlteach.teachers.base import HUGE, Array, TaskTeacher, require

REDRAWS = 10
"""Draws of a task near another one before it is clipped into the region."""

FORGOTTEN = 4
"""A region that cannot be split drops the oldest of its tasks: one in this many."""


def region_progress(returns: Sequence[float]) -> float:
    """Return |mean of the older half - mean of the newer half|, 0 for fewer than three returns.

    As by Baranes and Oudeyer (2009), absolute as by Portelas et al. (2019); of an odd number the oldest is left out.
    """
    half = len(returns) // 2
    if len(returns) < 3:
        return 0.0
    return abs(sum(returns[-2 * half : -half]) - sum(returns[-half:])) / half


def progress_of_parts(returns: Array, members: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return size and `region_progress` of many parts of one sequence of returns (n,), given as masks (m, n)."""
    ranks = np.cumsum(members, axis=1)
    sizes = ranks[:, -1]
    halves = (sizes // 2)[:, None]
    newer = members & (ranks > sizes[:, None] - halves)
    older = members & ~newer & (ranks > sizes[:, None] - 2 * halves)
    difference = np.abs((older - 1.0 * newer) @ returns) / np.maximum(halves[:, 0], 1)
    return sizes.astype(np.float64), np.where(sizes < 3, 0.0, difference)


def split_score(sizes: tuple[Array, Array], progress: tuple[Array, Array]) -> Array:
    """Return n_1 n_2 |ALP_1 - ALP_2|: high for balanced parts of different progress."""
    return np.asarray(sizes[0] * sizes[1] * np.abs(progress[0] - progress[1]))


class Region:
    """A box of the unit cube with the last tasks that fell into it, and its two parts once it is split."""

    def __init__(self, low: Array, high: Array, capacity: int) -> None:
        self.low, self.high, self.capacity = low, high, capacity
        self.tasks: list[tuple[float, ...]] = []
        self.returns: list[float] = []
        self.axis = -1
        self.threshold = 0.0
        self.parts: tuple[int, int] = (-1, -1)

    def add(self, task: tuple[float, ...], ret: float) -> None:
        """Remember a task and its raw return."""
        if len(self.tasks) == self.capacity:
            self.forget(1)
        self.tasks.append(task)
        self.returns.append(ret)

    def forget(self, count: int) -> None:
        """Drop the oldest tasks."""
        del self.tasks[:count], self.returns[:count]

    def worst(self) -> tuple[float, ...]:
        """Return the task with the lowest return; there must be one."""
        return self.tasks[min(range(len(self.returns)), key=self.returns.__getitem__)]


class Regions:
    """The binary tree of regions; region 0 is the unit cube.

    Args:
        dimension: Number of dimensions.
        capacity: Tasks that a region remembers.
    """

    def __init__(self, dimension: int, capacity: int) -> None:
        self.capacity = capacity
        self.all = [Region(np.zeros(dimension), np.ones(dimension), capacity)]
        self.progress: Array = np.zeros(1)

    def add(self, task: tuple[float, ...], ret: float) -> int:
        """Put a task into every region that holds it, and return the smallest one; a bound belongs to the part above.

        So no task lies in two leaves, as it does in the published code.
        """
        place = 0
        while True:
            region = self.all[place]
            region.add(task, ret)
            self._measure(place)
            if region.axis < 0:
                return place
            place = region.parts[int(task[region.axis] >= region.threshold)]

    def forget(self, place: int) -> None:
        """Drop the oldest quarter of a region's tasks, which cannot be split now."""
        region = self.all[place]
        region.forget(max(1, len(region.tasks) // FORGOTTEN))
        self._measure(place)

    def split(self, place: int, axis: int, threshold: float) -> None:
        """Give a region two parts, each with its share of the tasks, in order, and the progress that these show."""
        region = self.all[place]
        below, above = region.high.copy(), region.low.copy()
        below[axis] = above[axis] = threshold
        region.axis, region.threshold = axis, threshold
        region.parts = (len(self.all), len(self.all) + 1)
        self.all += [Region(region.low, below, self.capacity), Region(above, region.high, self.capacity)]
        self.progress = np.append(self.progress, [0.0, 0.0])
        for task, ret in zip(region.tasks, region.returns, strict=True):
            self.all[region.parts[int(task[axis] >= threshold)]].add(task, ret)
        for part in region.parts:
            self._measure(part)

    def _measure(self, place: int) -> None:
        self.progress[place] = region_progress(self.all[place].returns)

    def state_dict(self) -> State:
        """Return the regions as arrays."""
        return {
            "low": np.array([region.low for region in self.all]),
            "high": np.array([region.high for region in self.all]),
            "axis": np.array([region.axis for region in self.all]),
            "threshold": np.array([region.threshold for region in self.all]),
            "parts": np.array([region.parts for region in self.all]),
            "sizes": np.array([len(region.tasks) for region in self.all]),
            "tasks": np.array([task for region in self.all for task in region.tasks]),
            "returns": np.array([ret for region in self.all for ret in region.returns]),
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        sizes = np.asarray(state["sizes"]).tolist()
        tasks, returns = iter(np.asarray(state["tasks"]).tolist()), iter(np.asarray(state["returns"]).tolist())
        self.all = []
        for k, size in enumerate(sizes):
            region = Region(np.array(state["low"][k]), np.array(state["high"][k]), self.capacity)
            region.axis, region.threshold = int(state["axis"][k]), float(state["threshold"][k])
            region.parts = (int(state["parts"][k][0]), int(state["parts"][k][1]))
            for task, ret in zip(islice(tasks, size), islice(returns, size), strict=True):
                region.add(tuple(task), ret)
            self.all.append(region)
        self.progress = np.zeros(len(sizes))
        for k in range(len(sizes)):
            self._measure(k)


class RIAC(TaskTeacher):
    """RIAC: robust intelligent adaptive curiosity (Baranes and Oudeyer, 2009), as teacher of Portelas et al. (2019).

    Sources: "R-IAC: Robust intrinsically motivated exploration and active learning", IEEE TAMD 2009; "Teacher
    algorithms for curriculum learning...", CoRL 2019, appendix. The space is a tree of boxes. A leaf with more than
    `region_size` tasks is split in two where `split_score` is highest among `split_attempts` random cuts. Tasks are
    drawn uniformly in a region drawn in proportion to its `region_progress` (share 1 - `uniform_share` -
    `worst_share`), uniformly in the space, or near the task with the lowest return of a region drawn by progress.

    It needs the return only and pays no roll-outs. Progress of regions is compared with progress of other regions, so
    that returns need no scale; with `return_range` known they are clipped to it. It fails when what can be learned is
    smaller than the smallest region or is no box, and takes noise of returns for progress, though less than ALP-GMM:
    the means of halves have less of it.

    Deviations from the published code: the score of a cut uses the numbers of tasks of both parts (there both are 2),
    parts start with their own progress (there with that of the last cut tried), cuts are drawn where both parts are
    wide enough and a bounded number of times (identical tasks hang it), a region that cannot be split stays bounded, a
    task on a bound belongs to one part, integer parameters are cut between levels, noise is relative to the range and
    is drawn again before it is clipped, and the number of regions is bounded.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        region_size: Tasks that a region remembers, and beyond which it is split.
        split_attempts: Valid cuts among which the best is chosen; ten times as many are drawn.
        min_width: Least width of a region as a share of the dimension's range.
        max_regions: Regions, parents included, at most.
        uniform_share: Share of tasks drawn uniformly in the space.
        worst_share: Share of tasks drawn near a region's worst one.
        noise: Standard deviation of that nearness, as a share of each dimension's range.
        seed: Seed of the draws.
        return_range: Smallest and largest return, if known.
    """

    state_names = ("_regions",)

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        region_size: int = 200,
        split_attempts: int = 50,
        min_width: float = 1 / 6,
        max_regions: int = 501,
        uniform_share: float = 0.2,
        worst_share: float = 0.1,
        noise: float = 0.1,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        require(
            self,
            region_size=(region_size, 4, None),
            split_attempts=(split_attempts, 1, None),
            min_width=(min_width, 0, 0.5),
            max_regions=(max_regions, 1, None),
            uniform_share=(uniform_share, 0, 1),
            worst_share=(worst_share, 0, 1 - uniform_share),
            noise=(noise, 0, None),
        )
        self.region_size, self.split_attempts, self.min_width = region_size, split_attempts, min_width
        self.max_regions, self.uniform_share, self.worst_share = max_regions, uniform_share, worst_share
        self.noise = noise
        self._levels = np.array([p.levels for p in self.task_space.parameters])
        self._regions = Regions(self.dimension, region_size + 1)

    # -- drawing ---------------------------------------------------------------------------------------------------

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        points = self.rng.random((n, self.dimension))
        cumulative = self._regions.progress.cumsum()
        origins = []
        for row, choice in enumerate(self.rng.random(n).tolist()):
            if choice < self.uniform_share:
                origins.append("riac/uniform")
                continue
            region = self._region(cumulative)
            if choice < self.uniform_share + self.worst_share and region.tasks:
                points[row] = self._near_worst(region)
                origins.append("riac/worst")
            else:
                points[row] = region.low + points[row] * (region.high - region.low)
                origins.append("riac")
        return points, origins

    def _region(self, cumulative: Array) -> Region:
        """Draw a region in proportion to its progress, or any when there is no progress."""
        regions = self._regions.all
        if cumulative[-1] <= 0.0:
            return regions[int(self.rng.integers(len(regions)))]
        place = int(cumulative.searchsorted(self.rng.random() * cumulative[-1], side="right"))
        return regions[min(place, len(regions) - 1)]

    def _near_worst(self, region: Region) -> Array:
        worst = np.array(region.worst())
        for _ in range(REDRAWS):
            point = worst + self.noise * self.rng.standard_normal(self.dimension)
            if ((point >= region.low) & (point <= region.high)).all():
                return np.asarray(point)
        return clipped(point, region.low, region.high)

    def portrait(self) -> dict[str, Array]:
        """Return the leaves of the tree with their learning progress."""
        leaves = [k for k, region in enumerate(self._regions.all) if region.axis < 0]
        return {
            "boxes/low": np.array([self._regions.all[k].low for k in leaves]),
            "boxes/high": np.array([self._regions.all[k].high for k in leaves]),
            "boxes/learning progress": self._regions.progress[leaves],
        }

    # -- learning --------------------------------------------------------------------------------------------------

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        low, high = self.scale.known or (-HUGE, HUGE)
        for task, ret in zip(self._places(tasks), clipped(returns, low, high).tolist(), strict=True):
            leaf = self._regions.add(task, ret)
            if len(self._regions.all[leaf].tasks) > self.region_size:
                self._split(leaf)

    def _places(self, tasks: Array) -> Iterable[tuple[float, ...]]:
        """Return tasks as played: an integer parameter in the middle of its level."""
        if self._levels.any():
            tasks = self.task_space.unit_of_vectors(self.task_space.vectors_of_unit(tasks))
        return map(tuple, tasks.tolist())

    def _split(self, place: int) -> None:
        """Cut a full leaf where the score is best; where no cut is valid, its oldest tasks go."""
        region = self._regions.all[place]
        axes, thresholds = self._cuts(region)
        if len(self._regions.all) + 2 > self.max_regions or not len(axes):
            return self._regions.forget(place)
        tasks, returns = np.array(region.tasks), np.array(region.returns)
        below = tasks.T[axes] < thresholds[:, None]
        sizes = below.sum(axis=1)
        least = max(1, self.region_size // 20)
        valid = np.flatnonzero((sizes >= least) & (len(tasks) - sizes >= least))[: self.split_attempts]
        if not len(valid):
            return self._regions.forget(place)
        (n_1, progress_1), (n_2, progress_2) = (
            progress_of_parts(returns, part) for part in (below[valid], ~below[valid])
        )
        best = valid[split_score((n_1, n_2), (progress_1, progress_2)).argmax()]
        return self._regions.split(place, int(axes[best]), float(thresholds[best]))

    def _cuts(self, region: Region) -> tuple[NDArray[np.int64], Array]:
        """Draw axes and thresholds (m,) that leave both parts at least the least width, between levels if any."""
        wide = np.flatnonzero(region.high - region.low >= 2 * self.min_width)
        if not len(wide):
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        axes = wide[self.rng.integers(len(wide), size=10 * self.split_attempts)]
        lowest, highest = region.low[axes] + self.min_width, region.high[axes] - self.min_width
        thresholds = lowest + (highest - lowest) * self.rng.random(len(axes))
        levels = self._levels[axes]
        thresholds = np.where(levels > 0, np.round(thresholds * levels) / np.maximum(levels, 1), thresholds)
        kept = (thresholds >= lowest - 1e-9) & (thresholds <= highest + 1e-9)
        return axes[kept], thresholds[kept]
