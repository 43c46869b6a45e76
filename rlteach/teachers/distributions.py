"""Distributions over tasks: where a curriculum starts, what it aims at, and what a teacher may know of them.

    start = distribution(space, "initial", {"mean": [0.0, 6.0], "std": 0.1})
    start.sample(100, rng)      # points of the unit cube (100, 2)

A distribution is given as None, for uniform, or as a Gaussian: `mean` in the units of the task space, one number per
parameter, and `std` as a share of each parameter's range, one number for all or one per parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from rlteach.errors import ConfigError, InvalidValue, did_you_mean
from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array

DRAWS = 8
"""Draws of one point; when all lie outside the cube, the first is folded back into it."""

LEAST_STD = 1e-3
"""Smallest standard deviation, as a share of the range: covariances stay invertible."""

LOW_KNOWLEDGE = ("return_range", "performance_bound")
HIGH_KNOWLEDGE = (*LOW_KNOWLEDGE, "initial")

LEVELS: dict[str, tuple[str, ...]] = {"none": (), "low": LOW_KNOWLEDGE, "high": HIGH_KNOWLEDGE}
"""What each level of prior knowledge tells (Romac et al., TeachMyAgent, ICML 2021): nothing; the range of returns and
what counts as mastery; also where the easy tasks are. The target is no knowledge but the problem: every level has it.
"""


def prior_knowledge(level: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters of `known` that a teacher may have at a level of prior knowledge.

    Args:
        level: "none", "low" or "high"; see `LEVELS`.
        known: Values of `return_range`, `performance_bound`, `initial` and `target`, or some of them.

    Raises:
        InvalidValue: When there is no such level, or something is known that no level tells.
    """
    if level not in LEVELS:
        raise InvalidValue(
            f"{level!r} is no level of prior knowledge.{did_you_mean(level, LEVELS)} Levels: {', '.join(LEVELS)}"
        )
    told = (*HIGH_KNOWLEDGE, "target")
    for name in known:
        if name not in told:
            raise InvalidValue(
                f"{name!r} is no prior knowledge.{did_you_mean(name, told)} There are: {', '.join(told)}"
            )
    return {name: value for name, value in known.items() if name in LEVELS[level] or name == "target"}


@dataclass(frozen=True, eq=False)
class TaskDistribution:
    """A distribution over the unit cube: uniform, or a Gaussian with independent axes.

    Attributes:
        mean: Mean (d,).
        std: Standard deviations (d,).
        uniform: Whether it is the uniform distribution, which `mean` and `std` then describe.
    """

    mean: Array
    std: Array
    uniform: bool

    @property
    def covariance(self) -> Array:
        """The covariance (d, d)."""
        return np.diag(self.std**2)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw points of the unit cube (n, d)."""
        if self.uniform:
            return rng.random((n, len(self.mean)))
        return draw_inside(self.mean, np.diag(self.std), n, rng)


def distribution(space: TaskSpace, name: str, given: Mapping[str, Any] | None) -> TaskDistribution:
    """Return the distribution that a hyperparameter stands for.

    Args:
        space: The task space.
        name: Name of the hyperparameter, for errors.
        given: None for uniform, or `{"mean": ..., "std": ...}`.

    Raises:
        ConfigError: Everything that is wrong with it, at once.
    """
    d = space.dimension
    if given is None:
        return TaskDistribution(np.full(d, 0.5), np.full(d, 1.0 / np.sqrt(12.0)), uniform=True)
    if not isinstance(given, Mapping) or set(given) != {"mean", "std"}:
        raise ConfigError([f'{name} = {given!r} must be None (uniform) or {{"mean": [...], "std": ...}}'])
    faults = []
    mean, std = _numbers(given["mean"], d), _numbers(given["std"], d, repeat=True)
    if mean is None:
        faults.append(f"{name}.mean = {given['mean']!r} must be {d} finite number(s), one for each of {space!r}")
    elif (outside := [p for p, x in zip(space.parameters, mean, strict=True) if not p.low <= x <= p.high]) != []:
        faults.append(f"{name}.mean lies outside the space: {', '.join(p.name for p in outside)} in {space!r}")
    if std is None or (std < LEAST_STD).any():
        faults.append(
            f"{name}.std = {given['std']!r} must be one number or {d}, each a share of a parameter's range "
            f"and at least {LEAST_STD:g}"
        )
    if mean is None or std is None or faults:
        raise ConfigError(faults)
    return TaskDistribution(space.unit_of_vectors(mean), std, uniform=False)


def _numbers(given: Any, count: int, *, repeat: bool = False) -> Array | None:
    """Return `count` finite numbers, or None when that is not what was given."""
    values = list(given) if isinstance(given, Sequence | np.ndarray) and not isinstance(given, str) else [given]
    if not all(isinstance(value, Real) and np.isfinite(float(value)) for value in values):
        return None
    if repeat and len(values) == 1:
        values *= count
    return np.array(values, dtype=np.float64) if len(values) == count else None


def draw_inside(mean: Array, factor: Array, n: int, rng: np.random.Generator) -> Array:
    """Draw from the Gaussian N(mean, factor factor^T) within the unit cube (n, d).

    Of eight draws the first inside is taken, and when there is none the first is folded back at the borders that it
    crossed: clipping would pile tasks up on the border, and in many dimensions hardly any draw lies inside.
    """
    draws = mean + rng.standard_normal((n, DRAWS, len(mean))) @ factor.T
    first = (abs(draws - 0.5) <= 0.5).all(axis=2).argmax(axis=1)
    return folded(draws[np.arange(n), first])


def folded(points: Array) -> Array:
    """Reflect points at the borders of the unit cube, as often as it takes to bring them inside."""
    wrapped = np.mod(points, 2.0)
    return np.asarray(np.minimum(wrapped, 2.0 - wrapped))


def gaussian_kl(mean: Array, covariance: Array, other_mean: Array, other_covariance: Array) -> float:
    """Return the Kullback-Leibler divergence KL(N(mean, covariance) || N(other_mean, other_covariance)) in nats."""
    precision = np.linalg.inv(other_covariance)
    gap = other_mean - mean
    log_ratio = np.linalg.slogdet(other_covariance)[1] - np.linalg.slogdet(covariance)[1]
    return float(0.5 * (np.trace(precision @ covariance) + gap @ precision @ gap - len(mean) + log_ratio))
