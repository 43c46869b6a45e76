"""CURROT: particles that move to the target as far as every one of them stays within the learner's reach.

teacher = CURROT(task_space, seed=0, return_range=(0.0, 1.0))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from rlteach.protocols import State
from rlteach.task_space import TaskSpace, clipped
from rlteach.teachers.base import HUGE, Array, TaskTeacher, require
from rlteach.teachers.distributions import distribution
from rlteach.teachers.history import History

PROJECTIONS = 100
"""Random lines on which particles and target are compared."""

BANDWIDTH = 0.3
"""Length scale of the performance model, as a share of the trust-region radius."""


def kernel_regression(queries: Array, tasks: Array, levels: Array, bandwidth: float) -> Array:
    """Return the Nadaraya-Watson estimate of the level at each query (n,), with a Gaussian kernel.

    Weights are relative to the nearest task's, so that far from all of them the nearest one's level is the limit. In
    single precision, which is exact enough for a bandwidth that is no less than a thousandth.
    """
    asked, known = queries.astype(np.float32), tasks.astype(np.float32)
    scale = np.float32(bandwidth**-2)
    exponents = asked @ (scale * known.T)
    exponents -= 0.5 * scale * (known**2).sum(axis=1)
    exponents -= exponents.max(axis=1, keepdims=True)
    np.exp(exponents, out=exponents)
    sums = exponents @ np.column_stack([levels, np.ones(len(levels))]).astype(np.float32)
    return np.asarray(sums[:, 0] / sums[:, 1], dtype=np.float64)


def sliced_displacements(particles: Array, goals: Array, directions: Array) -> Array:
    """Return where to each particle (n, d) is drawn by n goals: d times the mean step over directions (k, d).

    On each line the particles and goals are matched in order, which is optimal transport in one dimension; the mean
    over lines is the gradient of the sliced Wasserstein distance (Bonneel et al., 2015). The factor d makes it exact
    for goals that are the particles, shifted.
    """
    lines, ends = particles @ directions.T, np.sort(goals @ directions.T, axis=0)
    steps = np.empty_like(lines)
    np.put_along_axis(steps, lines.argsort(axis=0), ends, axis=0)
    return np.asarray((steps - lines) @ directions * (particles.shape[1] / len(directions)))


def half_ball(towards: Array, radius: Array, count: int, rng: np.random.Generator) -> Array:
    """Draw `count` offsets (n, count, d) from the half of each ball that faces `towards` (n, d), of given radius (n,).

    The first goes straight there. Where `towards` is zero, so are the offsets.
    """
    n, d = towards.shape
    length = np.linalg.norm(towards, axis=1)
    heading = towards / np.where(length > 0.0, length, 1.0)[:, None]
    offsets = rng.standard_normal((n, count, d))
    offsets /= np.maximum(np.linalg.norm(offsets, axis=2, keepdims=True), 1e-12)
    offsets *= np.where((offsets * heading[:, None]).sum(axis=2) < 0.0, -1.0, 1.0)[:, :, None]
    offsets *= (rng.random((n, count, 1)) ** (1.0 / d)) * np.minimum(radius, length)[:, None, None]
    offsets[:, 0] = heading * np.minimum(radius, length)[:, None]
    return np.asarray(offsets)


def chosen_candidates(candidates: Array, levels: Array, goals: Array, bound: float) -> Array:
    """Return of each row of candidates (n, c, d) the one nearest to the goal (n, d) among those with level >= bound.

    Where no candidate reaches the bound it is the one with the highest level (n, c).
    """
    squared = ((candidates - goals[:, None]) ** 2).sum(axis=2)
    nearest = np.where(levels >= bound, squared, np.inf).argmin(axis=1)
    best = np.where((levels >= bound).any(axis=1), nearest, levels.argmax(axis=1))
    return np.asarray(candidates[np.arange(len(candidates)), best])


class SuccessBuffer:
    """At most `capacity` tasks (capacity, d) with the returns that they are kept for.

    Until the median of its levels has passed the bound it collects the best tasks; afterwards it keeps those above the
    bound that resemble the target.
    """

    def __init__(self, capacity: int, dimension: int) -> None:
        self.capacity = capacity
        self.tasks: Array = np.zeros((0, dimension))
        self.returns: Array = np.zeros(0)
        self.reached = False

    def collect(self, tasks: Array, returns: Array) -> None:
        """Before the bound is reached: take what is at least as good as the median, for at most half of the rest."""
        order = np.argsort(-self.returns, kind="stable")
        old_tasks, old_returns = self.tasks[order], self.returns[order]
        median = np.median(old_returns) if len(old_returns) else -np.inf
        good = np.flatnonzero(returns >= median)
        good = good[np.argsort(-returns[good], kind="stable")]
        surplus = min(max(0, len(old_returns) + len(good) - self.capacity), len(old_returns) // 2)
        kept = len(old_returns) - surplus
        good = good[: self.capacity - kept]
        self.tasks = np.concatenate([old_tasks[:kept], tasks[good]])
        self.returns = np.concatenate([old_returns[:kept], returns[good]])

    def renew(self, tasks: Array, returns: Array, above: NDArray[np.bool_], goals: Array) -> None:
        """After the bound is reached: replace what lies below it, then keep what is assigned to `goals` (capacity, d).

        Args:
            tasks: New successes (n, d).
            returns: Their returns (n,).
            above: Which tasks of the buffer lie above the bound (len,).
            goals: Draws from the target.
        """
        worst = np.flatnonzero(~above)[np.argsort(self.returns[~above], kind="stable")]
        free = self.capacity - len(self.returns)
        dropped = worst[: max(0, min(len(worst), len(returns) - free))]
        self.tasks = np.concatenate([np.delete(self.tasks, dropped, axis=0), tasks])
        self.returns = np.concatenate([np.delete(self.returns, dropped), returns])
        if len(self.returns) > self.capacity:
            kept = np.sort(linear_sum_assignment(cdist(goals, self.tasks, "sqeuclidean"))[1])
            self.tasks, self.returns = self.tasks[kept], self.returns[kept]

    def state_dict(self) -> State:
        """Return tasks and returns, and whether the bound has been reached."""
        return {"tasks": self.tasks.copy(), "returns": self.returns.copy(), "reached": self.reached}

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        self.tasks = np.array(state["tasks"], dtype=np.float64)
        self.returns = np.array(state["returns"], dtype=np.float64)
        self.reached = bool(state["reached"])


class CURROT(TaskTeacher):
    """CURROT: particles that approach the target by optimal transport, within the learner's reach (Klink et al., 2022).

    Source: "Curriculum reinforcement learning via constrained optimal transport", ICML 2022, in the particle form of
    the authors' later code. Every `update_every` episodes: successes enter a buffer; a `kernel_regression` over them
    and the recent failures predicts performance; particles predicted below `performance_bound` are put onto assigned
    successes; then every particle moves at most `radius` towards where the target draws it, to the nearest candidate
    that is predicted above the bound. A lesson is a particle with a little noise. Unlike a Gaussian, particles hold
    several modes and sets of any form.

    Needs of the learner: returns. Plays nothing of its own.

    Deviations: everything in the unit cube with returns scaled to [0, 1]; the kernel regression in numpy, with the
    nearest task's level as its limit far from all; a particle at its target stays there (the published step divides by
    a zero norm); batches of any size; one candidate goes straight to the target; 24 candidates in place of 100. When it
    fails: with nothing known beforehand particles begin uniform, and progress waits for the first successes; kept
    successes are never played again to see whether they still are ones; in dozens of dimensions the model sees no
    neighbours.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        initial: First distribution of the particles, None for uniform; see `rlteach.teachers.distributions`.
        target: Target distribution, None for uniform.
        performance_bound: Least level of return (delta), as a share of the return range.
        radius: Farthest move of a particle in one update (epsilon), as a share of the cube's diagonal.
        particles: Number of particles, and capacity of the buffers of successes and failures.
        candidates: Candidates for each particle's move.
        update_every: Episodes between updates.
        jitter: Half width of the uniform noise on a particle, in unit-cube lengths.
        seed: Seed of the draws.
        return_range: Smallest and largest return, if known.
    """

    tied_to_space = True
    state_names = ("_particles", "_successes", "_failures", "_batch")

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        initial: Mapping[str, Any] | None = None,
        target: Mapping[str, Any] | None = None,
        performance_bound: float = 0.5,
        radius: float = 0.05,
        particles: int = 100,
        candidates: int = 24,
        update_every: int = 50,
        jitter: float = 1e-3,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        require(
            self,
            performance_bound=(performance_bound, 0, 1),
            radius=(radius, 0.005, 1),
            particles=(particles, 2, 1000),
            candidates=(candidates, 1, None),
            update_every=(update_every, 1, None),
            jitter=(jitter, 0, 1),
        )
        self.performance_bound, self.radius = performance_bound, radius * float(np.sqrt(self.dimension))
        self.candidates, self.update_every, self.jitter = candidates, update_every, jitter
        self.target = distribution(self.task_space, "target", target)
        self._particles = distribution(self.task_space, "initial", initial).sample(particles, self.rng)
        self._successes = SuccessBuffer(particles, self.dimension)
        self._failures = History(particles, self.dimension + 1)
        self._batch = History(update_every, self.dimension + 1)

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        chosen = self._particles[self.rng.integers(len(self._particles), size=n)]
        noise = self.rng.uniform(-self.jitter, self.jitter, chosen.shape)
        return chosen + noise, ["currot"] * n

    def portrait(self) -> dict[str, Array]:
        """Return the particles."""
        return {"points/place": self._particles.copy()}

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        for row in np.column_stack([tasks, clipped(returns, -HUGE, HUGE)]):
            self._batch.append(row)
            if len(self._batch) == self.update_every:
                self._update(self._batch.rows())
                self._batch.total = 0

    def _update(self, batch: Array) -> None:
        goals = self.target.sample(len(self._particles), self.rng)
        self._remember(batch[:, :-1], batch[:, -1], goals)
        self._return_to_successes()
        directions = self.rng.standard_normal((PROJECTIONS, self.dimension))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        towards = sliced_displacements(self._particles, goals, directions)
        ends = self._particles + towards
        offsets = half_ball(towards, np.full(len(towards), self.radius), self.candidates, self.rng)
        candidates = clipped(self._particles[:, None] + offsets, 0.0, 1.0)
        levels = self._predict(candidates.reshape(-1, self.dimension)).reshape(candidates.shape[:2])
        self._particles = chosen_candidates(candidates, levels, ends, self.performance_bound)

    def _remember(self, tasks: Array, returns: Array, goals: Array) -> None:
        buffer, good = self._successes, self.scale(returns) >= self.performance_bound
        if not buffer.reached:
            buffer.collect(tasks, returns)
            buffer.reached = bool(np.median(self.scale(buffer.returns)) > self.performance_bound)
            return
        above = self.scale(buffer.returns) >= self.performance_bound
        buffer.renew(tasks[good], returns[good], above, goals)
        self._failures.append(np.column_stack([tasks[~good], returns[~good]]))

    def _predict(self, points: Array) -> Array:
        failures = self._failures.unordered()
        tasks = np.concatenate([self._successes.tasks, failures[:, :-1]])
        levels = self.scale(np.concatenate([self._successes.returns, failures[:, -1]]))
        return kernel_regression(points, tasks, levels, BANDWIDTH * self.radius)

    def _return_to_successes(self) -> None:
        """Put particles that are out of reach onto successes, the farther from them the less sure those are."""
        lost = np.flatnonzero(self._predict(self._particles) < self.performance_bound)
        if not len(lost):
            return
        rows, places = linear_sum_assignment(cdist(self._particles[lost], self._successes.tasks, "sqeuclidean"))
        lack = self.performance_bound - self.scale(self._successes.returns[places])
        std = np.maximum(lack, 0.0) / max(self.performance_bound, 1e-12) / 4.0 + 0.005 * self.radius
        noise = std[:, None] * self.rng.standard_normal((len(rows), self.dimension))
        self._particles[lost[rows]] = clipped(self._successes.tasks[places] + noise, 0.0, 1.0)
