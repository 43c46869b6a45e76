"""Setter-Solver: an invertible network sets tasks of a wanted feasibility, a judge tells how feasible they are.

teacher = SetterSolver(task_space, seed=0)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, TaskTeacher, require
from rlteach.teachers.distributions import distribution
from rlteach.teachers.history import History
from rlteach.teachers.networks import Trained, array, mlp, steps_due, tensor

MOST_STEPS = 2
"""Training steps in one call of `observe`."""

BATCH = 64

POOL = 32
"""Tasks that are set at a time."""

EDGE = 1e-3
"""Tasks and feasibilities keep this distance from 0 and 1, where their logits are infinite."""


def feasibility_loss(judged: Tensor, wanted: Tensor) -> Tensor:
    """Return E[(D(S(z, f)) - logit(f))^2], for logits `judged` and feasibilities `wanted` (equation 2)."""
    return ((judged - torch.logit(wanted, EDGE)) ** 2).mean()


def validity_loss(log_densities: Tensor) -> Tensor:
    """Return -E[log p_S(g | f)] over solved tasks g (equation 1), and 0 when there are none."""
    return -log_densities.mean() if len(log_densities) else torch.zeros(())


def coverage_loss(log_densities: Tensor) -> Tensor:
    """Return E[log p_S(S(z, f) | f)], the negative entropy of what is set (equation 3)."""
    return log_densities.mean()


class Setter(nn.Module):
    """A flow from noise and a wanted feasibility to tasks in the unit cube: affine couplings, then a sigmoid.

    Real-valued non-volume-preserving transformations (Dinh et al., 2017), conditional on the feasibility.

    Args:
        dimension: Dimensions of noise and task.
        blocks: Coupling layers; each moves every other dimension, in turn (with a single one all move it).
        hidden: Units of the two hidden layers of each.
        rng: Generator of the initial weights.
    """

    def __init__(self, dimension: int, blocks: int, hidden: int, rng: np.random.Generator) -> None:
        super().__init__()
        places = torch.arange(dimension)
        self.moved = [places[k % min(2, dimension) :: 2] for k in range(blocks)]
        self.kept = [places[~torch.isin(places, moved)] for moved in self.moved]
        self.networks = nn.ModuleList(
            mlp([len(kept) + 1, hidden, hidden, 2 * len(moved)], rng, nn.Tanh)
            for kept, moved in zip(self.kept, self.moved, strict=True)
        )

    def _coupling(self, block: int, x: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        raw: Tensor = self.networks[block](torch.cat([x[:, self.kept[block]], 2.0 * wanted - 1.0], dim=1))
        log_scale, shift = raw.chunk(2, dim=1)
        return torch.tanh(log_scale), shift

    def forward(self, noise: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Return tasks (n, d) for noise (n, d) and feasibilities (n, 1), and their log densities (n,)."""
        x, log_density = noise, _standard_normal(noise)
        for block, moved in enumerate(self.moved):
            log_scale, shift = self._coupling(block, x, wanted)
            x = x.index_copy(1, moved, x[:, moved] * torch.exp(log_scale) + shift)
            log_density = log_density - log_scale.sum(dim=1)
        return torch.sigmoid(x), log_density - _log_slope(x)

    def log_density(self, tasks: Tensor, wanted: Tensor) -> Tensor:
        """Return the log density (n,) of tasks (n, d) at wanted feasibilities (n, 1)."""
        x = torch.logit(tasks, EDGE)
        total = -_log_slope(x)
        for block in reversed(range(len(self.moved))):
            moved = self.moved[block]
            log_scale, shift = self._coupling(block, x, wanted)
            x = x.index_copy(1, moved, (x[:, moved] - shift) * torch.exp(-log_scale))
            total = total - log_scale.sum(dim=1)
        return total + _standard_normal(x)


def _standard_normal(x: Tensor) -> Tensor:
    return -0.5 * (x**2).sum(dim=1) - 0.5 * x.shape[1] * math.log(2.0 * math.pi)


def _log_slope(x: Tensor) -> Tensor:
    """Return the logarithm of the derivative of the sigmoid, summed over dimensions."""
    return (nn.functional.logsigmoid(x) + nn.functional.logsigmoid(-x)).sum(dim=1)


class SetterSolver(TaskTeacher):
    """Setter-Solver: a flow sets tasks of a wanted feasibility, a judge predicts it (Racaniere et al., 2020).

    Source: "Automated curricula through setter-solver interactions", ICLR 2020. The judge D(task) is trained by
    cross-entropy to predict success; the setter S(z, f) minimises the sum of `feasibility_loss` (the judge agrees that
    the task has feasibility f), `validity_loss` (solved tasks are likely) and `coverage_loss` (tasks differ). A lesson
    is S(z, f) with noise z ~ N(0, 1) and f ~ U(0, 1).

    Needs of the learner: a success flag. Plays nothing of its own.

    Deviations from the published re-implementations: the judge has all three of its hidden layers; the latents of
    feasibility and coverage are fresh draws, not inferred from past tasks; without a success the validity loss is 0
    and not the mean of nothing; the noise on solved tasks is centred; plain layers of 32 units in place of highway
    layers of 128; one training step every few episodes on the last `window` of them. When it fails: with no success to
    begin with the judge knows one answer only; the paper's setter needs many thousand episodes, and in 20 million steps
    of stump tracks it did not beat uniform sampling (Romac et al., 2021).

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        initial: Distribution of the tasks of the warm-up, None for uniform; see `rlteach.teachers.distributions`.
        warm_up: Episodes of the warm-up.
        train_every: Episodes between training steps, of which one call of `observe` takes at most 2.
        window: Number of recent episodes that are trained on.
        noise: Width of the noise on solved tasks, in unit-cube lengths.
        blocks: Coupling layers of the setter.
        hidden: Units of the hidden layers of setter (two per block) and judge (three).
        learning_rate: Step size of Adam.
        seed: Seed of the draws and the networks.
        return_range: Accepted for all teachers; success needs no range.
    """

    tied_to_space = True
    state_names = ("_setter", "_judge", "_history", "_since_step", "_pool")

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        initial: Mapping[str, Any] | None = None,
        warm_up: int = 200,
        train_every: int = 10,
        window: int = 500,
        noise: float = 0.05,
        blocks: int = 3,
        hidden: int = 32,
        learning_rate: float = 1e-3,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        require(
            self,
            warm_up=(warm_up, 1, None),
            train_every=(train_every, 1, None),
            window=(window, 1, None),
            noise=(noise, 0, 1),
            blocks=(blocks, 1, 100),
            hidden=(hidden, 1, 4096),
            learning_rate=(learning_rate, 0, 1),
        )
        self.warm_up, self.train_every, self.noise = warm_up, train_every, noise
        self.initial = distribution(self.task_space, "initial", initial)
        self._setter = Trained(Setter(self.dimension, blocks, hidden, self.rng), learning_rate)
        self._judge = Trained(mlp([self.dimension, hidden, hidden, hidden, 1], self.rng), learning_rate)
        self._history = History(window, self.dimension + 1)
        self._since_step = 0
        self._pool: Array = np.zeros((0, self.dimension))

    def feasibility(self, tasks: Array) -> Array:
        """Return the judge's chance of success at points of the unit cube (n, d)."""
        with torch.no_grad():
            return array(torch.sigmoid(self._judge.network(tensor(tasks))[:, 0]))

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        if self._history.total < self.warm_up:
            return self.initial.sample(n, self.rng), ["setter_solver/warm-up"] * n
        while len(self._pool) < n:
            with torch.no_grad():
                tasks, _ = self._setter.network(self._noise(POOL), self._wanted(POOL))
            self._pool = np.concatenate([self._pool, array(tasks)])
        points, self._pool = self._pool[:n], self._pool[n:]
        return points, ["setter_solver"] * n

    def _noise(self, n: int) -> Tensor:
        return tensor(self.rng.standard_normal((n, self.dimension)))

    def _wanted(self, n: int) -> Tensor:
        return tensor(self.rng.random((n, 1)))

    def portrait(self) -> dict[str, Array]:
        """Return the judge's chance of success at fixed places, after the warm-up."""
        if self._history.total < self.warm_up:
            return {}
        places = np.random.default_rng(0).random((256, self.dimension))
        return {"field/place": places, "field/predicted success": self.feasibility(places)}

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        self._history.append(np.column_stack([tasks, successes]))
        steps, self._since_step = steps_due(self._since_step + len(tasks), self.train_every, MOST_STEPS)
        for _ in range(steps):
            self._train()

    def _train(self) -> None:
        rows = self._history.unordered()
        rows = rows[self.rng.integers(len(rows), size=BATCH)]
        tasks, successes = tensor(rows[:, :-1]), tensor(rows[:, -1:])
        judge = self._judge.network
        self._judge.descend(nn.functional.binary_cross_entropy_with_logits(judge(tasks), successes))
        self._setter.descend(self._setter_loss(rows[rows[:, -1] > 0.5, :-1]))

    def _setter_loss(self, solved: Array) -> Tensor:
        wanted = self._wanted(BATCH)
        tasks, densities = self._setter.network(self._noise(BATCH), wanted)
        near = np.clip(solved + self.noise * (self.rng.random(solved.shape) - 0.5), 0.0, 1.0)
        setter = self._setter.network
        assert isinstance(setter, Setter)
        valid = validity_loss(setter.log_density(tensor(near), self._wanted(len(near))))
        return feasibility_loss(self._judge.network(tasks), wanted) + valid + coverage_loss(densities)
