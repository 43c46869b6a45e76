"""Self-paced deep RL: a Gaussian over tasks that moves to the target as fast as the learner's performance allows.

    teacher = SPDL(task_space, seed=0, initial={"mean": [0.0, 6.0], "std": 0.1}, return_range=(-150, 350))

A Gaussian N(m, L L^T) becomes N(m + L a, L T T^T L^T) in a step (a, T), with T lower triangular: seen from the Gaussian
itself the step starts at N(0, 1), where the Fisher information is diagonal and every divergence has a short form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium import spaces
from scipy.optimize import minimize

from rlteach.errors import ConfigError, did_you_mean
from rlteach.lesson import Outcome
from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, ReturnScale, TaskTeacher, require
from rlteach.teachers.distributions import LEAST_STD, distribution, draw_inside, gaussian_kl
from rlteach.teachers.history import History

FULL_UP_TO = 8
"""Dimensions up to which the covariance is full; beyond, a batch is too small for one and only variances change."""

LARGEST_ALPHA = 1e5
LARGEST_LOG_RATIO = 50.0
LARGEST_LOG = 5.0
"""Bounds of exponents, far beyond any trust region: the solver probes steps that it does not take."""

HALVINGS = 10
ITERATIONS = 10

RULES = ("constraint", "penalty")
VALUES = ("return", "discounted_return", "initial_value")

Objective = Callable[[Array], tuple[float, Array]]
"""A function of a step that returns its value and gradient."""


@dataclass(frozen=True, eq=False)
class Steps:
    """How a vector holds a step (a, T): `a`, then the entries of T in `mask`, those on its diagonal as logarithms."""

    mask: Array

    @classmethod
    def of(cls, dimension: int, *, full: bool) -> Steps:
        """Return steps that change the whole covariance, or only the variances."""
        return cls(np.tril(np.ones((dimension, dimension), dtype=bool)) if full else np.eye(dimension, dtype=bool))

    @property
    def fisher(self) -> Array:
        """The diagonal of the Fisher information at no step: 1, but 2 for the logarithm of a standard deviation."""
        return np.concatenate(
            [np.ones(len(self.mask)), np.where(np.eye(len(self.mask), dtype=bool), 2.0, 1.0)[self.mask]]
        )

    def zero(self) -> Array:
        """Return the vector of no step."""
        return np.zeros(len(self.mask) + int(self.mask.sum()))

    def parts(self, step: Array) -> tuple[Array, Array]:
        """Return a (d,) and T (d, d)."""
        d = len(self.mask)
        factor = np.zeros((d, d))
        factor[self.mask] = step[d:]
        np.fill_diagonal(factor, np.exp(np.clip(np.diagonal(factor), -LARGEST_LOG, LARGEST_LOG)))
        return step[:d], factor

    def gradient(self, by_shift: Array, by_factor: Array, factor: Array) -> Array:
        """Return the gradient in the vector from those in a (d,) and T (d, d)."""
        chained = by_factor.copy()
        np.fill_diagonal(chained, np.diagonal(by_factor) * np.diagonal(factor))
        return np.concatenate([by_shift, chained[self.mask]])


def performance(step: Array, steps: Steps, places: Array, values: Array) -> tuple[float, Array]:
    """Return the expected value after a step, by importance sampling, and its gradient.

    J = mean of p_new(c) / p_old(c) V(c). What a step moves out of the cube counts as value 0.

    Args:
        step: The step.
        steps: What it means.
        places: Tasks as the old Gaussian sees them, L^-1 (c - m), (n, d).
        values: Value of each task (n,).
    """
    shift, factor = steps.parts(step)
    inverse = np.linalg.inv(factor)
    whitened = (places - shift) @ inverse.T
    log_ratio = 0.5 * ((places**2).sum(axis=1) - (whitened**2).sum(axis=1))
    log_ratio -= float(np.log(np.diagonal(factor)).sum())
    pulls = np.exp(np.minimum(log_ratio, LARGEST_LOG_RATIO)) * values / len(values)
    level = float(pulls.sum())
    by_factor = inverse.T @ (whitened.T * pulls) @ whitened - level * np.diag(1.0 / np.diagonal(factor))
    return level, steps.gradient(inverse.T @ (pulls @ whitened), by_factor, factor)


def kl_from_old(step: Array, steps: Steps) -> tuple[float, Array]:
    """Return KL(old || new) of a step and its gradient."""
    shift, factor = steps.parts(step)
    inverse = np.linalg.inv(factor)
    moved = inverse @ shift
    logs = float(np.log(np.diagonal(factor)).sum())
    value = 0.5 * float((inverse**2).sum() + moved @ moved - len(shift)) + logs
    by_factor = -inverse.T @ (inverse @ inverse.T + np.outer(moved, moved)) + np.diag(1.0 / np.diagonal(factor))
    return value, steps.gradient(inverse.T @ moved, by_factor, factor)


def kl_to_target(step: Array, steps: Steps, place: Array, precision: Array) -> tuple[float, Array]:
    """Return KL(new || target) after a step and its gradient.

    Args:
        step: The step.
        steps: What it means.
        place: Mean of the target as the old Gaussian sees it (d,).
        precision: Inverse covariance of the target, likewise (d, d).
    """
    shift, factor = steps.parts(step)
    gap = shift - place
    spread = precision @ factor
    logs = 2.0 * float(np.log(np.diagonal(factor)).sum()) + float(np.linalg.slogdet(precision)[1])
    value = 0.5 * (float((factor * spread).sum()) + float(gap @ precision @ gap) - len(shift) - logs)
    return value, steps.gradient(precision @ gap, spread - np.diag(1.0 / np.diagonal(factor)), factor)


def penalty_weight(update: int, level: float, divergence: float, zeta: float, offset: int) -> float:
    """Return alpha = zeta max(0, J) / KL (Klink et al., 2020, equation 8): 0 in the first `offset` updates, capped."""
    if update < offset:
        return 0.0
    return min(zeta * max(0.0, level) / max(divergence, 1e-12), LARGEST_ALPHA)


def natural_step(objective: Objective, steps: Steps, most_kl: float) -> Array:
    """Return one step up the natural gradient within KL(old || new) <= most_kl, halved until the objective rises."""
    before, gradient = objective(steps.zero())
    direction = gradient / steps.fisher
    slope = float(gradient @ direction)
    if not slope > 1e-16:
        return steps.zero()
    step = math.sqrt(2.0 * most_kl / slope) * direction
    for _ in range(HALVINGS):
        if kl_from_old(step, steps)[0] <= most_kl and objective(step)[0] >= before:
            return np.asarray(step)
        step = step / 2.0
    return steps.zero()


def remembered(function: Objective) -> Objective:
    """Return the function with a memory of its last result: SLSQP asks for value and gradient of a step separately."""
    last: list[tuple[Array, tuple[float, Array]]] = []

    def asked(step: Array) -> tuple[float, Array]:
        if not last or not np.array_equal(last[0][0], step):
            last[:] = [(step.copy(), function(step))]
        return last[0][1]

    return asked


def constrained_step(objective: Objective, bounds: Sequence[Objective], steps: Steps) -> Array:
    """Return the step that minimises an objective where every function of `bounds` is at least 0.

    Sequential quadratic programming; what misses a bound or does not improve is halved, at last to no step.
    """

    def inequality(bound: Objective) -> Any:
        known = remembered(bound)
        return {"type": "ineq", "fun": lambda step: known(step)[0], "jac": lambda step: known(step)[1]}

    function: Any = objective  # scipy's annotations want one-dimensional arrays
    with np.errstate(over="ignore", invalid="ignore"):
        found = minimize(
            function,
            steps.zero(),
            jac=True,
            method="SLSQP",
            constraints=[inequality(bound) for bound in bounds],
            options={"maxiter": ITERATIONS, "ftol": 1e-3},
        )
    step = np.asarray(found.x) if np.isfinite(found.x).all() else steps.zero()
    before = objective(steps.zero())[0]
    for _ in range(HALVINGS):
        if objective(step)[0] <= before and all(bound(step)[0] >= -1e-3 for bound in bounds):
            return step
        step = step / 2.0
    return steps.zero()


class SPDL(TaskTeacher):
    """Self-paced deep RL: a Gaussian over tasks that moves to the target as fast as performance allows.

    Two rules. "penalty" is Klink et al., "Self-paced deep reinforcement learning", NeurIPS 2020: one natural-gradient
    step up J - alpha KL(p || target), where alpha follows `penalty_weight`. "constraint" is Klink et al., "A
    probabilistic interpretation of self-paced learning with applications to reinforcement learning", JMLR 2021: the
    step that minimises KL(p || target) while the expected performance J stays at or above `performance_bound`, or, as
    long as J is below it, the step that maximises J. Both keep KL(old || new) within `most_kl`, and J after a step is
    estimated from the last `update_every` episodes by importance sampling.

    Needs of the learner: returns; with `values="initial_value"` the critic's value of the first state (on-policy
    learners only; an outcome without one counts with its discounted return). Plays nothing of its own.

    Deviations: updates are counted in episodes; values are scaled to [0, 1] by the range of returns; the step lives in
    the old Gaussian's own coordinates, where the natural gradient needs no conjugate gradients; the constrained step is
    found by SLSQP with exact gradients in place of scipy's trust-constr, and the one that maximises J is a natural one;
    more than 8 dimensions have variances only; draws outside the space are drawn again and not clipped. A uniform
    target is the Gaussian of its mean and variance. When it fails: one Gaussian holds neither two modes nor a non-
    convex feasible set; where most tasks cannot be solved and nothing is known beforehand, a uniform start sees too few
    successes.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        initial: First distribution, None for uniform; see `rlteach.teachers.distributions`.
        target: Target distribution, None for uniform.
        rule: "constraint" (2021) or "penalty" (2020).
        values: What is held high: "return", "discounted_return" or "initial_value".
        performance_bound: Rule "constraint": least expected value, as a share of the range.
        zeta: Rule "penalty": share of J that the penalty may take.
        offset: Rule "penalty": updates before the target begins to pull.
        most_kl: Largest KL divergence of one update; None for 0.25 ("constraint") or 0.1 ("penalty").
        least_std: Least standard deviation in every direction, in unit-cube lengths, far from the target.
        least_std_until: KL divergence to the target below which `least_std` no longer holds.
        update_every: Episodes between updates.
        seed: Seed of the draws.
        return_range: Smallest and largest return, if known; without effect on discounted and initial values.

    Raises:
        ConfigError: When `rule` or `values` is none of those named, or a number is out of range.
    """

    tied_to_space = True
    state_names = ("_mean", "_factor", "_batch", "_update")

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        initial: Mapping[str, Any] | None = None,
        target: Mapping[str, Any] | None = None,
        rule: str = "constraint",
        values: str = "return",
        performance_bound: float = 0.5,
        zeta: float = 0.25,
        offset: int = 10,
        most_kl: float | None = None,
        least_std: float = 0.1,
        least_std_until: float = 1.0,
        update_every: int = 100,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        for name, value, known in (("rule", rule, RULES), ("values", values, VALUES)):
            if value not in known:
                hint = did_you_mean(str(value), known)
                raise ConfigError([f"{name} = {value!r} must be one of {', '.join(known)}.{hint}"], where="SPDL")
        most_kl = {"constraint": 0.25, "penalty": 0.1}[rule] if most_kl is None else most_kl
        require(
            self,
            performance_bound=(performance_bound, 0, 1),
            zeta=(zeta, 0, None),
            offset=(offset, 0, None),
            most_kl=(most_kl, 1e-6, 10),
            least_std=(least_std, 0, 1),
            least_std_until=(least_std_until, 0, None),
            update_every=(update_every, 4, None),
        )
        self.rule, self.values, self.performance_bound = rule, values, performance_bound
        self.zeta, self.offset, self.most_kl = zeta, offset, most_kl
        self.least_std, self.least_std_until, self.update_every = least_std, least_std_until, update_every
        if values != "return":
            self.scale = ReturnScale(None)  # the range of undiscounted returns is another
        if values == "initial_value":
            self.needs = frozenset({"initial_value"})
        first = distribution(self.task_space, "initial", initial)
        self._target = distribution(self.task_space, "target", target)
        self._steps = Steps.of(self.dimension, full=self.dimension <= FULL_UP_TO)
        self._mean, self._factor = first.mean, np.diag(first.std)
        self._batch = History(update_every, self.dimension + 1)
        self._update = 0

    @property
    def gaussian(self) -> tuple[Array, Array]:
        """The mean (d,) and covariance (d, d) of the tasks, in the unit cube, before what lies outside is redrawn."""
        return self._mean.copy(), self._factor @ self._factor.T

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        """Learn from finished lessons; see `TaskTeacher.observe`."""
        if self.values != "return":
            outcomes = [replace(outcome, ret=self._value(outcome)) for outcome in outcomes]
        super().observe(outcomes)

    def _value(self, outcome: Outcome) -> float:
        if not math.isfinite(outcome.ret):
            return outcome.ret  # and so left out
        if self.values == "initial_value":
            return float(outcome.signals.get("initial_value", outcome.discounted_ret))
        return outcome.discounted_ret

    def portrait(self) -> dict[str, Array]:
        """Return the Gaussian."""
        mean, covariance = self.gaussian
        return {"ellipses/mean": mean[None], "ellipses/covariance": covariance[None]}

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        return draw_inside(self._mean, self._factor, n, self.rng), ["spdl"] * n

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        for row in np.column_stack([tasks, returns]):
            self._batch.append(row)
            if len(self._batch) == self.update_every:
                self._improve()
                self._batch.total = 0

    def _improve(self) -> None:
        rows = self._batch.rows()
        inverse = np.linalg.inv(self._factor)
        places, values = (rows[:, :-1] - self._mean) @ inverse.T, self.scale(rows[:, -1])
        place = inverse @ (self._target.mean - self._mean)
        precision = self._factor.T @ np.diag(self._target.std**-2) @ self._factor
        level = lambda step: performance(step, self._steps, places, values)  # noqa: E731
        divergence = lambda step: kl_to_target(step, self._steps, place, precision)  # noqa: E731
        step = self._penalised(level, divergence) if self.rule == "penalty" else self._constrained(level, divergence)
        self._take(step)
        self._update += 1

    def _penalised(self, level: Objective, divergence: Objective) -> Array:
        zero = self._steps.zero()
        alpha = penalty_weight(self._update, level(zero)[0], divergence(zero)[0], self.zeta, self.offset)

        def objective(step: Array) -> tuple[float, Array]:
            (gain, up), (loss, down) = level(step), divergence(step)
            return gain - alpha * loss, up - alpha * down

        return natural_step(objective, self._steps, self.most_kl)

    def _constrained(self, level: Objective, divergence: Objective) -> Array:
        def near(step: Array) -> tuple[float, Array]:
            value, gradient = kl_from_old(step, self._steps)
            return self.most_kl - value, -gradient

        def good(step: Array) -> tuple[float, Array]:
            value, gradient = level(step)
            return value - self.performance_bound, gradient

        if good(self._steps.zero())[0] < 0.0:
            return natural_step(level, self._steps, self.most_kl)
        return constrained_step(divergence, [near, good], self._steps)

    def _take(self, step: Array) -> None:
        """Move the Gaussian; its mean stays in the cube, its deviations between a floor and the cube's width."""
        shift, factor = self._steps.parts(step)
        mean, factor = np.clip(self._mean + self._factor @ shift, 0.0, 1.0), self._factor @ factor
        gap = gaussian_kl(mean, factor @ factor.T, self._target.mean, self._target.covariance)
        floor = max(LEAST_STD, self.least_std if gap > self.least_std_until else 0.0)
        variances, axes = np.linalg.eigh(factor @ factor.T)
        axes = axes * np.sqrt(np.clip(variances, floor**2, 1.0))
        self._mean, self._factor = mean, np.linalg.cholesky(axes @ axes.T)
