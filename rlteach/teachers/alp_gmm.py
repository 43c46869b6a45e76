"""ALP-GMM: Gaussians over task and absolute learning progress, drawn where progress is large."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gymnasium import spaces
from scipy.spatial import cKDTree

from rlteach.protocols import State
from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, TaskTeacher, require
from rlteach.teachers.gaussian_mixture import Mixture, MixtureSearch, TaskMixture, steps_after
from rlteach.teachers.history import History

FIRST_WITH_PROGRESS = 6
"""As published, the first tasks of a run have progress 0: too little is known to compare with."""


def absolute_learning_progress(ret: float, earlier: float) -> float:
    """Return |r - r'|: the return of a task against that of the nearest task played before (equation 1)."""
    return abs(ret - earlier)


class NearestReturn:
    """The return of the nearest task among the last `capacity` ones, in less than linear time.

    Most rows sit in a k-d tree; rows added since it was built are searched directly. Old rows leave when it is built
    anew, after `REBUILD_AFTER` rows or after `capacity` if that is less.
    """

    REBUILD_AFTER = 512

    def __init__(self, capacity: int, dimension: int) -> None:
        self._history = History(capacity, dimension + 1)
        self._rebuild_after = min(self.REBUILD_AFTER, capacity)
        self._index()

    def _index(self) -> None:
        self._rows = self._history.rows()
        self._fresh = np.zeros((self._rows.shape[1], self._rebuild_after))
        self._n_fresh = 0
        self._tree = cKDTree(self._rows[:, :-1]) if len(self._rows) else None

    def __len__(self) -> int:
        return len(self._history)

    def find(self, task: Array) -> float:
        """Return the raw return of the nearest task; there must be one."""
        best, ret = np.inf, np.nan
        if self._tree is not None:
            distance, nearest = self._tree.query(task)
            best, ret = float(distance) ** 2, self._rows[int(nearest), -1]
        if self._n_fresh:
            fresh = self._fresh[:, : self._n_fresh]
            squared = ((fresh[:-1] - task[:, None]) ** 2).sum(axis=0)
            place = int(squared.argmin())
            if squared[place] < best:
                ret = fresh[-1, place]
        return float(ret)

    def add(self, task: Array, ret: float) -> None:
        """Remember a task and its raw return."""
        row = np.array((*task.tolist(), ret))
        self._history.append(row)
        self._fresh[:, self._n_fresh] = row
        self._n_fresh += 1
        if self._n_fresh == self._rebuild_after:
            self._index()

    def state_dict(self) -> State:
        """Return the rows and how many of them are not in the tree yet."""
        return {"history": self._history.state_dict(), "fresh": self._n_fresh, "indexed": self._rows}

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        self._history.load_state_dict(state["history"])
        self._rows = np.array(state["indexed"], dtype=np.float64)
        self._tree = cKDTree(self._rows[:, :-1]) if len(self._rows) else None
        self._n_fresh = int(state["fresh"])
        if self._n_fresh:
            self._fresh[:, : self._n_fresh] = self._history.rows()[-self._n_fresh :].T


class ALPGMM(TaskTeacher):
    """ALP-GMM: Gaussians over task and absolute learning progress (Portelas et al., 2019).

    Source: "Teacher algorithms for curriculum learning of deep RL in continuously parameterized environments", CoRL
    2019, algorithm 1. The absolute learning progress of a task is the difference between its return and that of the
    nearest task played before. Every `fit_every` episodes mixtures of `min_components` to `max_components` Gaussians
    are fitted to the last `fit_every` rows (task, progress), the one with the lowest AIC is kept, and a Gaussian is
    drawn in proportion to its mean progress. It needs the return of every episode and pays no roll-outs of its own.

    Deviations from the published code: tasks in the unit cube and returns scaled to [0, 1] (raw units let the widest
    axis decide), an own generator in which seed 0 is a seed, samples outside the space are drawn again before they are
    clipped, `max_components` is included, the history is bounded, and a fit is spread over the outcomes that follow, so
    that no environment waits for all of it. With noisy returns of standard deviation s the progress has a floor of
    about 1.13 s everywhere, as published.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        fit_every: Episodes between fits, rows of a fit, and length of the uniform bootstrap.
        min_components: Smallest number of Gaussians.
        max_components: Largest number of Gaussians.
        uniform_share: Share of tasks drawn uniformly.
        history: Number of past tasks among which the nearest is sought.
        seed: Seed of the draws.
        return_range: Smallest and largest return, if known.
    """

    state_names = ("_past", "_recent", "_since_fit", "_search", "_mixture")

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[object],
        *,
        fit_every: int = 250,
        min_components: int = 2,
        max_components: int = 10,
        uniform_share: float = 0.2,
        history: int = 50_000,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        require(
            self,
            fit_every=(fit_every, max_components + 1, None),
            min_components=(min_components, 1, max_components),
            uniform_share=(uniform_share, 0, 1),
            history=(history, FIRST_WITH_PROGRESS, None),
        )
        self.fit_every, self.uniform_share = fit_every, uniform_share
        self._past = NearestReturn(history, self.dimension)
        self._recent = History(fit_every, self.dimension + 1)
        self._since_fit = 0
        self._search = MixtureSearch(range(min_components, max_components + 1))
        self._mixture = TaskMixture(self.dimension)

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        points = self.rng.random((n, self.dimension))
        if not self._mixture:
            return points, ["alp_gmm/bootstrap"] * n
        guided = self.rng.random(n) >= self.uniform_share
        for row in np.flatnonzero(guided):
            points[row] = self._mixture.draw(self.rng)
        return points, ["alp_gmm" if g else "alp_gmm/uniform" for g in guided]

    def portrait(self) -> dict[str, Array]:
        """Return the Gaussians, once there are any."""
        return self._mixture.portrait()

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        for task, ret in zip(tasks, returns.tolist(), strict=True):
            progress = 0.0
            if len(self._past) >= FIRST_WITH_PROGRESS:
                progress = absolute_learning_progress(self.scale.one(ret), self.scale.one(self._past.find(task)))
            self._past.add(task, ret)
            self._recent.append((*task.tolist(), progress))
            self._since_fit += 1
            if self._since_fit == self.fit_every:
                self._since_fit = 0
                self._take(self._search.finish(self.rng))  # as a rule nothing is left of the last search
                self._search.begin(self._recent.rows())
        self._take(self._search.advance(steps_after(len(tasks)), self.rng))

    def _take(self, found: Mixture | None) -> None:
        if found is not None:
            d = self.dimension
            self._mixture.set(found.means[:, :d], found.covariances[:, :d, :d], found.means[:, d])
