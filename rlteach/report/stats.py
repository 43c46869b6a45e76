"""The statistics of a results table, on numpy and scipy alone.

    low, high = bootstrap_interval(scores, iqm, rng=np.random.default_rng(0))
    better = probability_of_improvement(frontier, uniform)
    corrected = holm([welch(frontier, uniform), welch(alp_gmm, uniform)])

Interquartile mean, stratified bootstrap and probability of improvement as in Agarwal et al. 2021, "Deep Reinforcement
Learning at the Edge of the Statistical Precipice". Everywhere, NaN stands for "cannot be said from these runs".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from scipy import stats as distributions

from rlteach.errors import InvalidValue

Vector = NDArray[np.float64]
Statistic = Callable[..., Any]
"""Reduces the `axis` it is given, as `np.mean` does."""

EXACT_COMBINATIONS = 200_000
"""A permutation test with at most this many regroupings (10 against 10 runs: 184,756) looks at all of them."""


@dataclass(frozen=True)
class PairedDifference:
    """How one arm differs from another on the seeds they share.

    Attributes:
        n: Number of shared seeds.
        mean: Mean of x - y.
        low: Lower end of the Student t interval of the mean; NaN with fewer than two seeds.
        high: Its upper end.
        wins: Seeds on which x is larger.
        losses: Seeds on which y is larger.
        ties: Seeds on which they are equal.
    """

    n: int
    mean: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int


def iqm(x: ArrayLike, axis: int | None = None) -> Any:
    """Return the interquartile mean: the mean without the lowest and the highest quarter of the values.

    With n values, `floor(n / 4)` are cut at either end, exactly as `scipy.stats.trim_mean(x, 0.25)` does and thus
    rliable; there is no interpolation, so with fewer than four values it is the mean.

    Args:
        x: Scores; runs x tasks count as one sample of all of them.
        axis: The axis to reduce; all of them when None.
    """
    values = np.asarray(x, dtype=np.float64)
    values = np.sort(values.ravel() if axis is None else np.moveaxis(values, axis, -1), axis=-1)
    n = values.shape[-1]
    if n == 0:
        return np.full(values.shape[:-1], np.nan)[()]
    cut = n // 4
    return values[..., cut : n - cut].mean(axis=-1)


def bootstrap_interval(
    scores: ArrayLike,
    statistic: Statistic = iqm,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a statistic over runs.

    Runs are resampled with replacement; in a matrix, within each task (column) by itself, so that every task keeps its
    weight. Intervals from fewer than about ten runs are known to be too narrow.

    Args:
        scores: Shape (runs,) or (runs, tasks).
        statistic: Reduces the `axis` it is given, e.g. `iqm`, `np.mean`, `np.median`.
        confidence: Share of intervals that should cover the true value.
        resamples: Number of bootstrap samples.
        rng: Where resampling draws from.
    """
    low, high = bootstrap_band(np.atleast_1d(scores)[None], statistic, confidence, resamples, rng)
    return float(low[0]), float(high[0])


def bootstrap_band(
    scores: ArrayLike, statistic: Statistic, confidence: float, resamples: int, rng: np.random.Generator
) -> tuple[Vector, Vector]:
    """Return `bootstrap_interval` for each entry of the first axis, every entry with the same resampled runs.

    Args:
        scores: Shape (entries, runs) or (entries, runs, tasks), e.g. one entry per point of a learning curve.
        statistic: See `bootstrap_interval`.
        confidence: See `bootstrap_interval`.
        resamples: See `bootstrap_interval`.
        rng: See `bootstrap_interval`.
    """
    matrix = np.asarray(scores, dtype=np.float64)
    if matrix.ndim not in (2, 3):
        raise InvalidValue(f"scores have shape (runs,) or (runs, tasks), not {matrix.shape[1:]}")
    if not 0 < confidence < 1 or resamples < 1:
        raise InvalidValue(f"confidence = {confidence} must lie between 0 and 1, resamples = {resamples} above 0")
    if matrix.size == 0:
        nothing = np.full(len(matrix), np.nan)
        return nothing, nothing
    matrix = matrix.reshape(*matrix.shape[:2], -1)
    _, runs, tasks = matrix.shape
    chosen = rng.integers(runs, size=(resamples, runs, tasks))
    tail = (1 - confidence) / 2
    bounds = [
        np.quantile(statistic(entry[chosen, np.arange(tasks)].reshape(resamples, -1), axis=-1), [tail, 1 - tail])
        for entry in matrix
    ]
    low, high = np.array(bounds).reshape(-1, 2).T
    return low, high


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> float:
    """Return how probable it is that a run of x scores higher than a run of y; a tie counts half."""
    a, b = np.asarray(x, dtype=np.float64).ravel(), np.asarray(y, dtype=np.float64).ravel()
    if not a.size or not b.size:
        return math.nan
    return float((np.sign(a[:, None] - b).mean() + 1) / 2)


def welch(x: ArrayLike, y: ArrayLike) -> float:
    """Return the two-sided p-value of Welch's t test for equal means, variances not assumed equal.

    NaN with fewer than two values on a side. Two constant samples: the limit, 1 when equal and else 0.
    """
    a, b = np.asarray(x, dtype=np.float64).ravel(), np.asarray(y, dtype=np.float64).ravel()
    if min(a.size, b.size) < 2:
        return math.nan
    difference = a.mean() - b.mean()
    va, vb = _square_error(a), _square_error(b)
    if va + vb == 0:
        return 1.0 if difference == 0 else 0.0
    share = va / (va + vb)  # the Welch-Satterthwaite formula in a form that cannot underflow
    freedom = 1 / (share**2 / (a.size - 1) + (1 - share) ** 2 / (b.size - 1))
    return float(2 * distributions.t.sf(abs(difference) / math.sqrt(va + vb), freedom))


def _square_error(values: Vector) -> float:
    """Return the squared standard error of the mean; exactly 0 for constant values."""
    return 0.0 if values.min() == values.max() else float(values.var(ddof=1)) / values.size


def permutation_test(x: ArrayLike, y: ArrayLike, *, rng: np.random.Generator, resamples: int = 10_000) -> float:
    """Return the two-sided p-value of the difference in means when the arms' labels are exchanged between runs.

    Exact when there are at most `EXACT_COMBINATIONS` regroupings. Otherwise from random ones, the observed one
    included (Phipson and Smyth 2010), so that it is never 0.

    Args:
        x: Scores of one arm.
        y: Scores of the other.
        rng: Where random regroupings are drawn from.
        resamples: Number of random regroupings.
    """
    a, b = np.asarray(x, dtype=np.float64).ravel(), np.asarray(y, dtype=np.float64).ravel()
    if not a.size or not b.size:
        return math.nan
    pooled = np.concatenate([a, b])
    pooled = pooled - pooled.mean()  # with mean 0, the first group's sum decides the difference
    observed = abs(pooled[: a.size].sum())
    threshold = observed - 1e-9 * np.abs(pooled).sum()  # equal sums differ by rounding
    if special.comb(pooled.size, a.size) <= EXACT_COMBINATIONS:
        sums = pooled[_groups(pooled.size, a.size)].sum(axis=1)
        return float((np.abs(sums) >= threshold).mean())
    sums = np.array([rng.permutation(pooled)[: a.size].sum() for _ in range(resamples)])
    return float((1 + (np.abs(sums) >= threshold).sum()) / (1 + resamples))


@lru_cache(maxsize=4)
def _groups(n: int, size: int) -> NDArray[np.intp]:
    """Return every choice of `size` out of `n`, shape (choices, size)."""
    return np.fromiter(chain.from_iterable(combinations(range(n), size)), dtype=np.intp).reshape(-1, size)


def paired_difference(
    x: Mapping[int, float], y: Mapping[int, float], *, confidence: float = 0.95
) -> PairedDifference | None:
    """Return how x differs from y, seed by seed, or None when they share no seed.

    Args:
        x: Score by seed.
        y: Score by seed.
        confidence: Of the Student t interval.
    """
    difference = np.array([x[seed] - y[seed] for seed in x if seed in y])
    n = difference.size
    if n == 0:
        return None
    mean = float(difference.mean())
    half = math.nan
    if n > 1:
        half = float(distributions.t.ppf((1 + confidence) / 2, n - 1)) * math.sqrt(_square_error(difference))
    wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
    return PairedDifference(n, mean, mean - half, mean + half, wins, losses, n - wins - losses)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's step-down procedure (1979); NaN stays NaN and is not counted."""
    p = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(p.shape, np.nan)
    order = [i for i in np.argsort(p) if not np.isnan(p[i])]
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, float(p[index]) * (len(order) - rank)))
        corrected[index] = largest
    return [float(value) for value in corrected]


def cvar(ranking_scores: ArrayLike, judged_scores: ArrayLike, share: float) -> float:
    """Return the mean judged score of the worst share of tasks, which another evaluation picked.

    Picking and judging on the same episodes would count bad luck as difficulty. Tasks that tie at the border enter in
    equal parts, so the order of the tasks does not matter.

    Args:
        ranking_scores: One score per task, by which the worst are picked.
        judged_scores: One score per task from other episodes, which is averaged.
        share: Share of tasks, in (0, 1]; at least one task is taken.
    """
    ranking, judged = np.asarray(ranking_scores, dtype=np.float64), np.asarray(judged_scores, dtype=np.float64)
    if ranking.shape != judged.shape or ranking.ndim != 1 or not 0 < share <= 1:
        raise InvalidValue(
            f"cvar takes two vectors of one score per task and a share in (0, 1], not shapes {ranking.shape} and "
            f"{judged.shape} with share {share}"
        )
    if ranking.size == 0:
        return math.nan
    count = max(1.0, share * ranking.size)
    border = np.sort(ranking)[math.ceil(count - 1e-9) - 1]
    below, tied = ranking < border, ranking == border
    return float((judged[below].sum() + judged[tied].mean() * (count - below.sum())) / count)
