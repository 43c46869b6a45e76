"""Gaussian mixtures for teachers: a lean EM, and the choice of the number of components by AIC.

A fit has a few hundred rows and a handful of dimensions, where scikit-learn's `GaussianMixture` spends most of its time
outside the arithmetic; `em` repeats its arithmetic (same updates, same stopping rule) in a few array operations.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from rlteach.protocols import State
from rlteach.teachers.base import Array

REGULARISATION = 1e-6
TOLERANCE = 1e-3
MAX_ITERATIONS = 100
REDRAWS = 10


@dataclass(frozen=True, eq=False)
class Mixture:
    """A fitted mixture: weights (k,), means (k, d), covariances (k, d, d), and its mean log-likelihood per row."""

    weights: Array
    means: Array
    covariances: Array
    log_likelihood: float


def log_densities(rows: Array, weights: Array, means: Array, covariances: Array) -> Array:
    """Return log(weight_k) + log N(row; mean_k, covariance_k), shape (n, k)."""
    factors = np.linalg.cholesky(covariances)
    inverse = np.linalg.inv(factors)
    log_determinants = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
    constant = np.log(weights) - log_determinants - 0.5 * rows.shape[1] * np.log(2 * np.pi)
    return np.asarray((constant[:, None] - 0.5 * squared_distances(rows, means, inverse)).T)


def squared_distances(rows: Array, means: Array, inverse: Array) -> Array:
    """Return |inverse_k (row - mean_k)|^2, shape (k, n).

    In up to six dimensions column by column, which is two or three times faster. Even and odd places are added apart
    because `einsum` does so with two lanes: the results have been equal bit for bit.
    """
    d = rows.shape[1]
    if not 2 <= d <= 6:
        whitened = np.einsum("kij,knj->kni", inverse, rows[None] - means[:, None])
        return np.asarray((whitened**2).sum(axis=2))
    centred = rows.T[:, None] - means.T[:, :, None]
    squares = np.zeros(centred.shape[1:])
    for i in range(d):
        terms = [inverse[:, i, j, None] * centred[j] for j in range(d)]
        squares += (sum(terms[2::2], terms[0]) + sum(terms[3::2], terms[1])) ** 2
    return squares


def maximise(rows: Array, responsibilities: Array) -> tuple[Array, Array, Array]:
    """Return weights, means and covariances (k, d, d) given responsibilities (n, k): the M step."""
    counts = responsibilities.sum(axis=0) + 10 * np.finfo(float).eps
    means = responsibilities.T @ rows / counts[:, None]
    centred = rows[None] - means[:, None]
    covariances = np.matmul((responsibilities.T[:, :, None] * centred).transpose(0, 2, 1), centred)
    covariances /= counts[:, None, None]
    covariances[:, np.arange(rows.shape[1]), np.arange(rows.shape[1])] += REGULARISATION
    return counts / counts.sum(), means, covariances


def started(rows: Array, responsibilities: Array) -> Mixture:
    """Return the mixture of initial responsibilities (n, k), its likelihood not known yet."""
    return Mixture(*maximise(rows, responsibilities), -np.inf)


def improved(rows: Array, mixture: Mixture) -> Mixture:
    """Return the mixture after one E and M step; the likelihood is that of the one before."""
    joint = log_densities(rows, mixture.weights, mixture.means, mixture.covariances)
    top = joint.max(axis=1, keepdims=True)
    scaled = np.exp(joint - top)
    total = scaled.sum(axis=1, keepdims=True)
    return Mixture(*maximise(rows, scaled / total), float((top + np.log(total)).mean()))


def settled(before: Mixture, after: Mixture, iterations: int) -> bool:
    """Return whether expectation maximisation ends: the likelihood gained under 1e-3, or 100 iterations are done."""
    return abs(after.log_likelihood - before.log_likelihood) < TOLERANCE or iterations == MAX_ITERATIONS


def em(rows: Array, responsibilities: Array) -> Mixture:
    """Run expectation maximisation from initial responsibilities (n, k) to its end."""
    after = started(rows, responsibilities)
    for iterations in range(1, MAX_ITERATIONS + 1):
        before, after = after, improved(rows, after)
        if settled(before, after, iterations):
            break
    return after


def initial_responsibilities(rows: Array, k: int, rng: np.random.Generator) -> Array:
    """Return one-hot responsibilities (n, k) from k-means++ seeding and a few Lloyd steps."""
    centres = rows[rng.integers(len(rows))][None]
    nearest = ((rows - centres[0]) ** 2).sum(axis=1)
    for _ in range(1, k):
        total = nearest.sum()
        place = np.searchsorted(np.cumsum(nearest), rng.random() * total) if total > 0 else rng.integers(len(rows))
        centres = np.concatenate([centres, rows[min(int(place), len(rows) - 1)][None]])
        nearest = np.minimum(nearest, ((rows - centres[-1]) ** 2).sum(axis=1))
    for _ in range(5):
        distances = ((rows[:, None] - centres[None]) ** 2).sum(axis=2)
        chosen = np.eye(k)[distances.argmin(axis=1)]
        counts = chosen.sum(axis=0)
        centres = np.where(counts[:, None] > 0, chosen.T @ rows / np.maximum(counts, 1)[:, None], centres)
    return np.asarray(chosen)


def aic(mixture: Mixture, n: int) -> float:
    """Return Akaike's criterion of a full-covariance mixture fitted to n rows: 2 p - 2 log L."""
    k, d = mixture.means.shape
    parameters = k * d + k * d * (d + 1) / 2 + k - 1
    return float(2 * parameters - 2 * n * mixture.log_likelihood)


class MixtureSearch:
    """Fits one mixture for each number of components, the smallest first, and keeps the one with the lowest AIC.

    Nine fits at once would keep every environment waiting for the tenth part of a second, so a teacher goes on with
    its search a little whenever outcomes come in.

    Args:
        components: Numbers of components, in ascending order.
    """

    def __init__(self, components: range) -> None:
        self.components = components
        self._rows: Array = np.zeros((0, 0))
        self._tried = self._iterations = 0
        self._now: Mixture | None = None
        self._best: Mixture | None = None

    def __bool__(self) -> bool:
        return len(self._rows) > 0

    def begin(self, rows: Array) -> None:
        """Begin anew, for rows (n, d); there must be more of them than components."""
        self._rows, self._tried, self._now, self._best = rows, 0, None, None

    def advance(self, steps: int, rng: np.random.Generator) -> Mixture | None:
        """Take so many steps of expectation maximisation; return the best mixture once it is found."""
        for _ in range(steps):
            if not self:
                break
            if self._now is None:
                start = initial_responsibilities(self._rows, self.components[self._tried], rng)
                self._now, self._iterations = started(self._rows, start), 0
            before, self._now = self._now, improved(self._rows, self._now)
            self._iterations += 1
            if settled(before, self._now, self._iterations):
                self._compare(self._now)
                if self._tried == len(self.components):
                    self._rows = np.zeros((0, 0))
                    return self._best
        return None

    def _compare(self, fitted: Mixture) -> None:
        n = len(self._rows)
        if self._best is None or aic(fitted, n) < aic(self._best, n):
            self._best = fitted
        self._now = None
        self._tried += 1

    def finish(self, rng: np.random.Generator) -> Mixture | None:
        """Take all steps that are left; return the best mixture if there were any."""
        return self.advance(len(self.components) * MAX_ITERATIONS, rng)

    def state_dict(self) -> State:
        """Return the rows, and how far the search has come."""
        now, best = (
            None if mixture is None or not self else dataclasses.asdict(mixture) for mixture in (self._now, self._best)
        )
        return {"rows": self._rows, "tried": self._tried, "iterations": self._iterations, "now": now, "best": best}

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        self._rows = np.array(state["rows"], dtype=np.float64)
        self._tried, self._iterations = int(state["tried"]), int(state["iterations"])
        self._now, self._best = (None if state[name] is None else Mixture(**state[name]) for name in ("now", "best"))


def steps_after(outcomes: int) -> int:
    """Return how many steps a search takes after so many outcomes at once.

    A step takes up to a millisecond in six dimensions, and some 250 of them find a mixture: no single environment waits
    for more than fifteen; where outcomes come in by the dozen, one for each is done before the next search.
    """
    return max(15, outcomes)


class TaskMixture:
    """Gaussians over the unit cube with one score each, drawn in proportion to the scores.

    Holds nothing until `set` is called.
    """

    def __init__(self, dimension: int) -> None:
        self._means: Array = np.zeros((0, dimension))
        self._factors: Array = np.zeros((0, dimension, dimension))
        self._cumulative: Array = np.zeros(0)

    def __bool__(self) -> bool:
        return len(self._means) > 0

    def set(self, means: Array, covariances: Array, scores: Array) -> None:
        """Take means (k, d), covariances (k, d, d) and non-negative scores (k,); all zero means all equal."""
        scores = np.where(np.isfinite(scores), np.maximum(scores, 0.0), 0.0)
        self._means = means.copy()
        self._factors = np.asarray(np.linalg.cholesky(covariances), dtype=np.float64)
        self._cumulative = np.cumsum(scores if scores.sum() > 0 else np.ones(len(scores)))

    def draw(self, rng: np.random.Generator) -> Array:
        """Draw one point (d,): outside the cube it is drawn again, up to ten times, and only then clipped.

        Clipping alone piles samples up on the border (2 to 7 % of them in the published code).
        """
        place = self._cumulative.searchsorted(rng.random() * self._cumulative[-1], side="right")
        k = min(int(place), len(self._means) - 1)
        for _ in range(REDRAWS):
            point = self._means[k] + self._factors[k] @ rng.standard_normal(self._means.shape[1])
            if all(0.0 <= x <= 1.0 for x in point.tolist()):
                return np.asarray(point)
        return np.asarray(np.clip(point, 0.0, 1.0))

    def portrait(self) -> dict[str, Array]:
        """Return the Gaussians with the chance of each, see `TaskTeacher.portrait`."""
        if not self:
            return {}
        return {
            "ellipses/mean": self._means.copy(),
            "ellipses/covariance": self._factors @ self._factors.transpose(0, 2, 1),
            "ellipses/chance": np.diff(self._cumulative, prepend=0.0) / self._cumulative[-1],
        }

    def state_dict(self) -> State:
        """Return the arrays."""
        return {"means": self._means, "factors": self._factors, "cumulative": self._cumulative}

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        self._means = np.array(state["means"], dtype=np.float64)
        self._factors = np.array(state["factors"], dtype=np.float64)
        self._cumulative = np.array(state["cumulative"], dtype=np.float64)
