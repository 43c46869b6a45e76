"""Covar-GMM: Gaussians over task, time and return, drawn where the return rises with time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gymnasium import spaces

from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, TaskTeacher, require
from rlteach.teachers.gaussian_mixture import Mixture, MixtureSearch, TaskMixture, steps_after
from rlteach.teachers.history import History


def covariance_progress(covariances: Array) -> Array:
    """Return max(0, cov(time, return)) of each Gaussian; time and return are the last two of its dimensions."""
    return np.maximum(covariances[:, -2, -1], 0.0)


class CovarGMM(TaskTeacher):
    """Covar-GMM: Gaussians over task, time and return (Moulin-Frier et al., 2014).

    In the form that Portelas et al. (2019) compared ALP-GMM with. Every `fit_every` episodes mixtures of
    `min_components` to `max_components` Gaussians are fitted to the last `fit_every` rows (task, position in the batch
    in [0, 1), return), and the one with the lowest AIC is kept; a Gaussian is drawn in proportion to its
    `covariance_progress`. It needs the return of every episode and pays no roll-outs of its own.

    Deviations from the published code: tasks in the unit cube and returns scaled to [0, 1] (raw units let the widest
    axis decide), an own generator (its mixtures had no seed), samples outside the space are drawn again before they
    are clipped, `max_components` is included, and a fit is spread over the outcomes that follow.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        fit_every: Episodes between fits, and rows of a fit.
        min_components: Smallest number of Gaussians.
        max_components: Largest number of Gaussians.
        uniform_share: Share of tasks drawn uniformly.
        seed: Seed of the draws.
        return_range: Smallest and largest return, if known.
    """

    state_names = ("_history", "_since_fit", "_search", "_mixture")

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[object],
        *,
        fit_every: int = 250,
        min_components: int = 2,
        max_components: int = 10,
        uniform_share: float = 0.2,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        require(
            self,
            fit_every=(fit_every, max_components + 1, None),
            min_components=(min_components, 1, max_components),
            uniform_share=(uniform_share, 0, 1),
        )
        self.fit_every, self.uniform_share = fit_every, uniform_share
        self._history = History(fit_every, self.dimension + 1)
        self._since_fit = 0
        self._search = MixtureSearch(range(min_components, max_components + 1))
        self._mixture = TaskMixture(self.dimension)

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        points = self.rng.random((n, self.dimension))
        if not self._mixture:
            return points, ["covar_gmm/bootstrap"] * n
        guided = self.rng.random(n) >= self.uniform_share
        for row in np.flatnonzero(guided):
            points[row] = self._mixture.draw(self.rng)
        return points, ["covar_gmm" if g else "covar_gmm/uniform" for g in guided]

    def portrait(self) -> dict[str, Array]:
        """Return the Gaussians, once there are any."""
        return self._mixture.portrait()

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        for row in np.column_stack([tasks, returns]):
            self._history.append(row)
            self._since_fit += 1
            if self._since_fit == self.fit_every:
                self._since_fit = 0
                self._take(self._search.finish(self.rng))  # as a rule nothing is left of the last search
                self._search.begin(self._rows_to_fit())
        self._take(self._search.advance(steps_after(len(tasks)), self.rng))

    def _rows_to_fit(self) -> Array:
        rows = self._history.rows()
        time = np.arange(len(rows)) / len(rows)
        return np.column_stack([rows[:, :-1], time, self.scale(rows[:, -1])])

    def _take(self, found: Mixture | None) -> None:
        if found is not None:
            d, progress = self.dimension, covariance_progress(found.covariances)
            self._mixture.set(found.means[:, :d], found.covariances[:, :d, :d], progress)
