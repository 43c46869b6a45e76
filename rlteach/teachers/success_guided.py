"""Success-guided sampling: tasks are drawn where the chance of success is neither low nor high.

    teacher = SuccessGuided(task_space, seed=0)

The simplest strong method there is for tasks with a success flag, made to fit any task space.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from scipy.spatial import cKDTree
from scipy.stats import qmc

from rlteach.task_space import TaskSpace, clipped
from rlteach.teachers.base import Array, TaskTeacher, require

EPSILON = 0.02
"""Floor inside the weight, so that tasks never solved and tasks always solved keep a small chance."""


def success_weight(success: Array, target: float, sharpness: float) -> Array:
    """Return (p + eps)^(k t) (1 - p + eps)^(k (1 - t)) for success rates p in [0, 1] (SGS, 2026)."""
    return np.asarray(
        (success + EPSILON) ** (sharpness * target) * (1 - success + EPSILON) ** (sharpness * (1 - target))
    )


def posterior_mean(successes: Array, counts: Array, prior_failures: float) -> Array:
    """Return S / (n + c), the mean of the Beta posterior after S successes in n episodes and c failures beforehand."""
    return np.asarray(successes / (counts + prior_failures))


class SuccessGuided(TaskTeacher):
    """Success-guided sampling (SGS, 2026), for any task space: tasks between never and always solved.

    SGS keeps the mean of the last H outcomes of each of a fixed set of configurations and samples them in proportion to
    `success_weight`. Deviations: the set is a scrambled Sobol sequence (all levels of a discrete space), an outcome
    counts for the nearest candidate, success rates are posterior means under a Beta prior but never below a share of
    the best neighbour's (which is what makes the next step tried before its first success), and a draw is spread over
    the candidate's cell. It needs the success of every episode and pays no roll-outs of its own.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        target: Success rate t that is sampled most.
        sharpness: Exponent kappa of the weight.
        candidates: Number of candidates.
        memory: Effective number H of outcomes that a candidate remembers.
        optimism: Least success assumed of a candidate, as a share of its best neighbour's.
        prior_failures: Failed episodes that the Beta prior is worth.
        uniform_share: Share of tasks drawn uniformly.
        refresh_every: Episodes between two computations of the weights.
        seed: Seed of the draws.
        return_range: Accepted for all teachers; success needs no range.
    """

    state_names = ("_successes", "_counts", "_cumulative", "_since_refresh")

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        target: float = 0.3,
        sharpness: float = 12.0,
        candidates: int = 256,
        memory: float = 8.0,
        optimism: float = 0.35,
        prior_failures: float = 0.5,
        uniform_share: float = 0.05,
        refresh_every: int = 20,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        require(
            self,
            target=(target, 0, 1),
            sharpness=(sharpness, 0, None),
            candidates=(candidates, 2, None),
            memory=(memory, 1, None),
            optimism=(optimism, 0, 1),
            prior_failures=(prior_failures, 1e-6, None),
            uniform_share=(uniform_share, 0, 1),
            refresh_every=(refresh_every, 1, None),
        )
        self.target, self.sharpness, self.memory = target, sharpness, memory
        self.optimism, self.prior_failures = optimism, prior_failures
        self.uniform_share, self.refresh_every = uniform_share, refresh_every
        self.points = candidate_points(self.task_space, candidates)
        self._columns = np.ascontiguousarray(self.points.T)
        neighbours = min(2 * self.dimension + 4, len(self.points) - 1)
        found: Any = cKDTree(self.points).query(self.points, k=neighbours + 1)
        self._neighbours = found[1][:, 1:]
        self._spacing = float(np.median(found[0][:, 1]))
        self._cell = self._spacing * np.array([p.levels == 0 for p in self.task_space.parameters], dtype=np.float64)
        self._successes = np.zeros(len(self.points))
        self._counts = np.zeros(len(self.points))
        self._cumulative = np.arange(1.0, len(self.points) + 1)
        self._since_refresh = 0

    def success_rates(self) -> Array:
        """Return the estimated chance of success at every candidate (candidates,)."""
        seen = posterior_mean(self._successes, self._counts, self.prior_failures)
        return np.asarray(np.maximum(seen, self.optimism * seen[self._neighbours].max(axis=1)))

    def portrait(self) -> dict[str, Array]:
        """Return the estimated chance of success at every candidate."""
        return {"field/place": self.points.copy(), "field/estimated success": self.success_rates()}

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        points = self.rng.random((n, self.dimension))
        chosen = self.rng.random(n) >= self.uniform_share
        places = np.searchsorted(self._cumulative, self.rng.random(n) * self._cumulative[-1], side="right")
        guided = self.points[np.minimum(places, len(self.points) - 1)] + (points - 0.5) * self._cell
        points = np.where(chosen[:, None], clipped(guided, 0.0, 1.0), points)
        return points, ["success_guided" if c else "success_guided/uniform" for c in chosen]

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        for task, success in zip(tasks, successes, strict=True):
            nearest = ((self._columns - task[:, None]) ** 2).sum(axis=0).argmin()
            self._counts[nearest] += 1.0 - self._counts[nearest] / self.memory
            self._successes[nearest] += success - self._successes[nearest] / self.memory
        self._since_refresh += len(tasks)
        if self._since_refresh >= self.refresh_every:
            self._since_refresh = 0
            weights = success_weight(self.success_rates(), self.target, self.sharpness)
            self._cumulative = np.cumsum(weights)


def candidate_points(space: TaskSpace, count: int) -> Array:
    """Return a low-discrepancy set of at most `count` different tasks in the unit cube (n, dimension)."""
    levels = [p.levels for p in space.parameters]
    if all(levels) and np.prod(levels, dtype=np.float64) <= count:
        return np.array([space.to_unit(task) for task in space.grid(max(levels))])
    sobol = qmc.Sobol(space.dimension, scramble=True, rng=np.random.default_rng(0))
    points = sobol.random_base2(int(np.ceil(np.log2(count))))[:count]
    return np.unique(space.unit_of_vectors(space.vectors_of_unit(points)), axis=0)
