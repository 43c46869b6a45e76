"""Exp3.S: a bandit over tasks whose reward is the learner's progress on them.

teacher = Exp3S(task_space, seed=0)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, ReturnScale, TaskTeacher, quantile, require
from rlteach.teachers.learning_progress import Cells


def rescaled_reward(reward: float, low: float, high: float) -> float:
    """Return the reward mapped from [low, high] to [-1, 1] and clipped (Graves et al., 2017).

    Where the quantiles coincide, as when most tasks have no progress, rewards equal to them are 0.
    """
    if reward < low:
        return -1.0
    if reward > high:
        return 1.0
    return 2.0 * (reward - low) / (high - low) - 1.0 if high > low else 0.0


def raised_weight(weight: float, reward: float, chance: float, eta: float) -> float:
    """Return w e^(eta r / pi): the weight of an arm that was played with chance pi and paid r (Graves et al., 2017)."""
    return weight * math.exp(min(eta * reward / chance, 600.0))  # any larger one leaves nothing of the others either


def shared_weights(weights: Array, alpha: float) -> Array:
    """Return (1 - alpha) w_i + alpha / (N - 1) sum over j != i of w_j (Graves et al., 2017).

    The share that arms give each other is what lets an arm come back that has been useless for long.
    """
    share = alpha / (len(weights) - 1)
    return np.asarray((1.0 - alpha - share) * weights + share * weights.sum())


def policy(weights: Array, epsilon: float) -> Array:
    """Return (1 - epsilon) w_i / sum of w + epsilon / N, the chance of each arm (Graves et al., 2017)."""
    return np.asarray((1.0 - epsilon) / weights.sum() * weights + epsilon / len(weights))


class RewardScale(ReturnScale):
    """The 20 % and 80 % quantiles of the last 1000 rewards."""

    def __init__(self) -> None:
        super().__init__(None)

    def bounds(self) -> tuple[float, float]:
        """Return the rewards that are mapped to -1 and to 1."""
        return quantile(self._ordered, 0.2), quantile(self._ordered, 0.8)


class Exp3S(TaskTeacher):
    """Exp3.S over tasks (Graves et al., 2017), with the change of returns as reward (Matiisen et al., 2017).

    Sources: "Automated curriculum learning for neural networks", arXiv 1704.03003 (the bandit, its mixing 1 / t and the
    rescaling of rewards by quantiles); "Teacher-student curriculum learning", arXiv 1707.00183 (the reward: a running
    average of the change of a task's return since its last episode, of which the absolute value counts, so that
    forgetting is a reason to train as well). The arms are all levels of a discrete space, or cells around a
    low-discrepancy set of tasks.

    It needs the return only and pays no roll-outs. It fails with many arms and few episodes: every arm has to be played
    to show progress, neighbours tell it nothing of each other, and useless dimensions multiply the arms. Deviations:
    quantiles are of the last 1000 rewards, not of a reservoir of all; a reward is divided by the arm's chance at the
    time it is observed, not at that of its lesson; the first return of an arm brings no reward; beta is 0, as in the
    paper's experiments; and eta is ten times the published one, which learns little in the tens of thousands of
    episodes that a run has.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        candidates: Number of arms, at most.
        eta: Step size of the logarithms of the weights; published 0.001.
        epsilon: Share of tasks drawn uniformly over the arms.
        smoothing: Share of the newest change in the running average of an arm; 1 takes it alone.
        seed: Seed of the draws.
        return_range: Smallest and largest return, if known.
    """

    state_names = ("_weights", "_rounds", "_last", "_change", "_rewards", "_chances")

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        candidates: int = 128,
        eta: float = 0.01,
        epsilon: float = 0.05,
        smoothing: float = 0.1,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        require(
            self,
            candidates=(candidates, 2, None),
            eta=(eta, 0, 1),
            epsilon=(epsilon, 1e-6, 1),
            smoothing=(smoothing, 0, 1),
        )
        self.eta, self.epsilon, self.smoothing = eta, epsilon, smoothing
        self.cells = Cells(self.task_space, candidates)
        self._weights = np.ones(len(self.cells))
        self._rounds = 1
        self._last = np.full(len(self.cells), np.nan)
        self._change = np.zeros(len(self.cells))
        self._rewards = RewardScale()
        self._chances = policy(self._weights, epsilon)

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        cumulative = self._chances.cumsum()
        places = cumulative.searchsorted(self.rng.random(n) * cumulative[-1], side="right")
        arms = np.minimum(places, len(self.cells) - 1).tolist()
        return np.array([self.cells.draw(arm, self.rng) for arm in arms]), ["exp3s"] * n

    def portrait(self) -> dict[str, Array]:
        """Return the arms with the chance of each."""
        return {"field/place": self.cells.points.copy(), "field/chance": self._chances.copy()}

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        for arm, ret in zip(self.cells.nearest(tasks).tolist(), returns.tolist(), strict=True):
            before, self._last[arm] = float(self._last[arm]), ret
            if not math.isnan(before):
                change = self.scale.one(ret) - self.scale.one(before)
                self._change[arm] += self.smoothing * (change - self._change[arm])
                self._reward(arm, abs(float(self._change[arm])))

    def _reward(self, arm: int, progress: float) -> None:
        """Update the weights for one play of an arm."""
        self._rewards.see(np.array([progress]))
        reward = rescaled_reward(progress, *self._rewards.bounds())
        weights = self._weights.copy()
        weights[arm] = raised_weight(float(weights[arm]), reward, float(self._chances[arm]), self.eta)
        self._rounds += 1
        shared = shared_weights(weights, 1.0 / self._rounds)
        self._weights = shared / shared.max()  # only ratios count
        self._chances = policy(self._weights, self.epsilon)
