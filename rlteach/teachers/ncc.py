"""NCC: a learned distribution over a buffer of tasks, moved by gradient ascent towards what can be learned.

teacher = NCC(task_space, seed=0)
teacher = NCC(task_space, seed=0, score="returns")         # no success flag needed
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, TaskTeacher, require
from rlteach.teachers.level_buffer import (
    LevelBuffer,
    Past,
    as_levels,
    drawn_places,
    number_of_tasks,
    require_one_of,
    success_variance,
)

FLOOR = 1e-5
"""Smallest probability of a level that is kept, as published."""

TI_ADA_POWER, TI_ADA_START = 0.4, 0.1
"""Exponent and first value of the squared gradients that divide a step of TiAda's maximising player."""

SCORES = ("success", "returns")


def generalised_learnability(means: Array, variances: Array, attempts: int) -> Array:
    """Return sqrt(Var_k) / sqrt(n) * N(mean_k; mean of all, variance of all means), each (levels,), for n attempts.

    Levels count whose returns vary and lie near what the learner achieves elsewhere. The unit of the returns cancels.
    """
    spread = means.var()
    if spread <= 0.0:
        return np.zeros(len(means))
    density = np.exp(-0.5 * (means - means.mean()) ** 2 / spread) / math.sqrt(2.0 * math.pi * spread)
    return np.asarray(np.sqrt(variances / attempts) * density)


def entropic_gradient(probabilities: Array, scores: Array, entropy: float) -> Array:
    """Return the gradient of y . s - c y . log y along the simplex: s - c (log y + 1), less its mean."""
    gradient = scores - entropy * (np.log(probabilities) + 1.0)
    return np.asarray(gradient - gradient.mean())


def ti_ada_step(gradient: Array, squares: Array, learning_rate: float) -> Array:
    """Return the step eta g / v^0.4 of the maximising player, coordinate by coordinate (n,).

    Source: "TiAda: a time-scale adaptive algorithm for nonconvex minimax optimization" (Li et al., ICLR 2023).

    Args:
        gradient: Gradient g.
        squares: Sums v of the squared gradients, this one included.
        learning_rate: Step size eta.
    """
    return learning_rate * gradient / squares**TI_ADA_POWER


def projected(vector: Array, floor: float) -> Array:
    """Return the nearest point (n,) of the simplex whose coordinates are all at least `floor`, at most 1 / n.

    Source: Held, Wolfe and Crowder (1974).
    """
    mass = 1.0 - len(vector) * floor
    above = vector - floor
    falling = np.sort(above)[::-1]
    excess = (np.cumsum(falling) - mass) / np.arange(1, len(vector) + 1)
    return np.asarray(np.maximum(above - excess[np.flatnonzero(falling > excess)[-1]], 0.0) + floor)


class NCC(TaskTeacher):
    """NCC: curriculum learning as a saddle point, with a learned distribution over levels.

    Source: "An optimisation framework for unsupervised environment design" (Monette et al., RLC 2025). The teacher
    holds a buffer of levels and a distribution y over them, and maximises y . s - c y . log y, whose optimum is
    softmax(s / c), by steps y <- Proj(y + TiAda(gradient)) onto the simplex with a floor of 1e-5. The score s of a
    level is its learnability: E[p (1 - p)] of its chance of success, or, for tasks without a success flag,
    `generalised_learnability` of its returns.

    Needs from the learner: nothing. Plays no episodes of its own.

    Deviations: the published code plays every level of a buffer of 4000 anew before each step, which only an
    accelerator bears; here a level's score comes from the last `memory` episodes it was trained on, with a prior: a
    chance of success that is uniform beforehand, or one more return as far from the level's mean as returns are at
    large. The rest of the lessons, `new_share`, are new tasks; one that promises no less than the least likely level
    takes its place. TiAda accumulates the gradient along the simplex only: what the projection takes away would move
    the optimum. The normal density gets a standard deviation (the published code hands it a variance, so that the unit
    of the returns matters). The entropy does not fade. Steps of the policy's side belong to the learner.

    It fails where returns are noisy without anything to learn; with `"returns"` where most tasks return the same, so
    that those which can be learned are far from the mean; and where the buffer is so large that a score is out of date
    when it is used.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        score: `"success"`: p (1 - p); `"returns"`: generalised learnability.
        learning_rate: Step size of y; 0.1 as published.
        entropy: Weight c of the entropy; the smaller, the more concentrated. Published: 0.05, fading.
        capacity: Number of levels kept.
        new_share: Share of lessons that are new tasks, once the buffer is full.
        memory: Episodes of a level that its score is computed from.
        update_every: Episodes between two steps.
        seed: Seed of the draws.
        return_range: Smallest and largest return, if known.
    """

    state_names: ClassVar[tuple[str, ...]] = (
        "buffer",
        "distribution",
        "_returns",
        "_successes",
        "_plays",
        "_squares",
        "_since_step",
    )

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        score: str = "success",
        learning_rate: float = 0.1,
        entropy: float = 0.02,
        capacity: int = 128,
        new_share: float = 0.2,
        memory: int = 8,
        update_every: int = 8,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        require_one_of(self, score=(score, SCORES))
        require(
            self,
            learning_rate=(learning_rate, 1e-6, None),
            entropy=(entropy, 0, None),
            capacity=(capacity, 1, int(0.5 / FLOOR)),
            new_share=(new_share, 0, 1),
            memory=(memory, 1, None),
            update_every=(update_every, 1, None),
        )
        self.score, self.learning_rate, self.entropy = score, learning_rate, entropy
        self.new_share, self.update_every = new_share, update_every
        self.n_tasks = number_of_tasks(self.task_space)
        self.buffer = LevelBuffer(int(min(capacity, self.n_tasks)), self.dimension)
        self.distribution: Array = np.zeros(0)
        self._returns = np.zeros((self.buffer.capacity, memory))
        self._successes = np.zeros((self.buffer.capacity, memory))
        self._plays = np.zeros(self.buffer.capacity, dtype=np.int64)
        self._squares = np.full(self.buffer.capacity, TI_ADA_START)
        self._since_step = 0

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        share = len(self.buffer) / self.buffer.capacity
        if len(self.buffer) < self.n_tasks:
            share = min(share, 1.0 - self.new_share)
        known = self.rng.random(n) < share
        count = int(np.count_nonzero(known))
        points = np.empty((n, self.dimension))
        if count < n:
            points[~known] = as_levels(self.task_space, self.rng.random((n - count, self.dimension)))
        if count:
            points[known] = self.buffer.levels[drawn_places(np.cumsum(self.distribution), count, self.rng)]
        return points, ["ncc" if k else "ncc/new" for k in known.tolist()]

    def portrait(self) -> dict[str, Array]:
        """Return the levels in the buffer with the chance of each, once there are any."""
        if not len(self.buffer):
            return {}
        return {"points/place": self.buffer.levels.copy(), "points/chance": self.distribution.copy()}

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        for task, ret, success in zip(tasks, returns.tolist(), successes.tolist(), strict=True):
            place = self.buffer.find(task)
            if place is None:
                place = self._enter(task, success)
            if place is not None:
                column = self._plays[place] % self._returns.shape[1]
                self._returns[place, column], self._successes[place, column] = ret, success
                self._plays[place] += 1
        self._since_step += len(tasks)
        if self._since_step >= self.update_every and len(self.buffer):
            self._since_step = 0
            self._step()

    def _enter(self, level: Array, success: float) -> int | None:
        """Take in a new level with an even share of the probability, when there is room or it promises more."""
        before = len(self.buffer)
        if self.score == "success":
            promise = success_variance(success, 1.0)
        else:  # one return tells nothing of its variance
            promise = float(self.buffer.scores.mean()) if before else 0.0
        place = self.buffer.offer(level, promise, Past(), self.distribution)
        if place is None:
            return None
        if len(self.buffer) > before:
            self.distribution = np.append(self.distribution, 0.0)
        share = 1.0 / len(self.buffer)
        self.distribution[place] = 0.0
        self.distribution *= (1.0 - share) / max(self.distribution.sum(), FLOOR)
        self.distribution[place] = share
        self._plays[place], self._squares[place] = 0, TI_ADA_START
        return place

    def learnabilities(self) -> Array:
        """Return the score of every level kept (len,)."""
        n, memory = len(self.buffer), self._returns.shape[1]
        counts = np.minimum(self._plays[:n], memory)
        there = np.arange(memory) < counts[:, None]
        if self.score == "success":
            solved = np.where(there, self._successes[:n], 0.0).sum(axis=1)
            return success_variance(solved, counts.astype(np.float64))
        returns = self.scale(self._returns[:n])
        means = np.where(there, returns, 0.0).sum(axis=1) / counts
        squares = (np.where(there, returns - means[:, None], 0.0) ** 2).sum(axis=1)
        overall = (np.where(there, returns - returns[there].mean(), 0.0) ** 2).sum() / counts.sum()
        return generalised_learnability(means, (squares + overall) / (counts + 1.0), memory)

    def _step(self) -> None:
        """Score every level, and take one step of TiAda."""
        scores = self.learnabilities()
        self.buffer.scores[:] = scores
        gradient = entropic_gradient(np.maximum(self.distribution, FLOOR), scores, self.entropy)
        squares = self._squares[: len(gradient)]
        squares += gradient**2
        self.distribution = projected(self.distribution + ti_ada_step(gradient, squares, self.learning_rate), FLOOR)
