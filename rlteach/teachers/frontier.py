"""The forest frontier: a regression forest of return on task, sampled where the return is between low and high.

    teacher = Frontier(task_space, seed=0, return_range=(0, 1))

Trees ignore useless dimensions by themselves, need no bins, take categorical dimensions, and smooth over neighbours,
which is where the optimism about untried neighbouring tasks comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, TaskTeacher, require
from rlteach.teachers.history import History

JITTER = 0.05
"""Standard deviation of the noise that turns recent tasks into candidates, in unit-cube lengths."""

MOST_TREES = 4
"""Trees grown in one call: each takes one to three milliseconds, in which the learner waits."""

NOTHING = 0.005
"""Level above which a task returned something."""

LIGHT = 1e-3
"""Share of the highest weight up to which candidates are hardly drawn, and not looked up in the memory, which saves
about half of the time that finding the nearest tasks takes."""

MOST_DIMENSIONS = 6
"""With more, nothing is held to be hopeless: the nearest tasks are hardly nearer than others, and finding them would
take longer than a learner should wait."""

TRIES = 3
"""Number of tasks that returned nothing, nearer than any that did, after which a place is held to be hopeless."""


def frontier_weight(level: Array, target: float, sharpness: float) -> Array:
    """Return (p + .01)^(s t) (1 - p + .01)^(s (1 - t)): highest at level p = target t, for levels in [0, 1].

    The weight of success-guided sampling (2026), applied to a predicted return.
    """
    return np.asarray((level + 0.01) ** (sharpness * target) * (1.0 - level + 0.01) ** (sharpness * (1.0 - target)))


def oblique_directions(dimension: int, rng: np.random.Generator) -> Array:
    """Draw 4 d unit vectors (4 d, d) along which trees may split; with more than 3 dimensions each mixes only two."""
    directions = rng.standard_normal((4 * dimension, dimension))
    if dimension > 3:
        kept = np.argsort(rng.random(directions.shape), axis=1)[:, :2]
        mask = np.zeros_like(directions)
        np.put_along_axis(mask, kept, 1.0, axis=1)
        directions *= mask
    return np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True))


def hopeful(places: Array, tasks: Array, levels: Array) -> NDArray[np.bool_]:
    """Tell of places (m, d) whether one of the three nearest of the tasks (n, d) returned something (m,), as booleans.

    All are while none of the tasks did, or in more than six dimensions: nothing can be told apart there. What is at the
    same distance as the third one counts, too, so that tasks that are alike may return something in turn.
    """
    from scipy.spatial import KDTree

    returned = levels > NOTHING
    if places.shape[1] > MOST_DIMENSIONS or not returned.any() or (~returned).sum() < TRIES:
        return np.ones(len(places), dtype=bool)
    to_return = np.asarray(KDTree(tasks[returned]).query(places)[0])
    to_nothing = np.asarray(KDTree(tasks[~returned]).query(places, k=TRIES)[0])[:, -1]
    return np.asarray(to_return <= to_nothing)


class Frontier(TaskTeacher):
    """Forest frontier: a regression forest of return on task, sampled where the return is between low and high.

    Every `refit_every` episodes a forest of extremely randomised trees (Geurts et al., 2006) is begun, which grows by
    four trees a call, fitted to the (task, return) pairs that are recent then; candidates are uniform points and
    jittered recent tasks; they are drawn in proportion to `frontier_weight` of the forest's prediction from its last
    tree until that of the next. The trees see the task and, drawn anew for each forest, random directions of it, so
    that frontiers need not follow the axes. Between tasks that are mastered and tasks that cannot be, a forest predicts
    a middling return, too: candidates that are not `hopeful` by a longer memory weigh less. It needs the return of
    every episode and pays no roll-outs of its own.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        target: Level of return, in [0, 1], that is sampled most; below 0.5 keeps the frontier moving, but where returns
            are noisy, a level as low as the noise of hopeless tasks holds it there.
        sharpness: Exponent of the weight; higher is faster under noise, and leaves more behind the frontier alone.
        window: Number of recent episodes that the forest sees.
        memory: Number of recent episodes by which tasks are held to be hopeless, in spaces of up to six dimensions.
        doubt: What the weight of hopeless tasks is multiplied by, above 0; 1 leaves all as they are.
        refit_every: Episodes between the beginnings of two forests.
        warm_up: Episodes before the first forest is begun, drawn uniformly.
        uniform_share: Share of tasks drawn uniformly afterwards.
        candidates: Number of candidates, half uniform, half near recent tasks.
        trees: Trees of the forest.
        min_leaf: Episodes in a leaf, at least.
        oblique: Whether trees may split along random directions.
        seed: Seed of the draws.
        return_range: Smallest and largest return, if known.
    """

    state_names = (
        "_history",
        "_since_fit",
        "_candidates",
        "_cumulative",
        "_trees_left",
        "_next_candidates",
        "_directions",
        "_predicted",
    )

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        target: float = 0.3,
        sharpness: float = 10.0,
        window: int = 500,
        memory: int = 3000,
        doubt: float = 0.02,
        refit_every: int = 100,
        warm_up: int = 200,
        uniform_share: float = 0.05,
        candidates: int = 2048,
        trees: int = 8,
        min_leaf: int = 5,
        oblique: bool = True,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        import scipy.spatial  # noqa: F401
        import sklearn.tree  # noqa: F401 - takes half a second, in which the first fit would keep a learner waiting

        super().__init__(task_space, seed=seed, return_range=return_range)
        require(
            self,
            target=(target, 0, 1),
            sharpness=(sharpness, 0, None),
            window=(window, 10, None),
            memory=(memory, 10, None),
            doubt=(doubt, 1e-6, 1),
            refit_every=(refit_every, 1, None),
            warm_up=(warm_up, 10, None),
            uniform_share=(uniform_share, 0, 1),
            candidates=(candidates, 2, None),
            trees=(trees, 1, None),
            min_leaf=(min_leaf, 1, None),
        )
        self.target, self.sharpness, self.uniform_share = target, sharpness, uniform_share
        self.refit_every, self.warm_up, self.candidates = refit_every, warm_up, candidates
        self.trees, self.min_leaf, self.oblique = trees, min_leaf, oblique
        self.window, self.doubt = window, doubt
        self._history = History(max(window, memory), self.dimension + 1)
        self._since_fit = refit_every - warm_up
        self._candidates: Array = np.zeros((0, self.dimension))
        self._cumulative: Array = np.zeros(0)
        self._trees_left = 0  # of the forest that is growing: its candidates, directions, and the sum of its trees
        self._next_candidates, self._directions, self._predicted = self._candidates, self._candidates, self._cumulative
        self._tree_rng = np.random.RandomState(0)  # seeded anew for every tree; scikit-learn takes no other kind

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        points = self.rng.random((n, self.dimension))
        if len(self._candidates) == 0:
            return points, ["frontier/warm-up"] * n
        chosen = self.rng.random(n) >= self.uniform_share
        places = self._cumulative.searchsorted(self.rng.random(n) * self._cumulative[-1], side="right")
        origins = []
        for row, (is_chosen, place) in enumerate(zip(chosen.tolist(), places.tolist(), strict=True)):
            if is_chosen:
                points[row] = self._candidates[min(place, len(self._candidates) - 1)]
            origins.append("frontier/forest" if is_chosen else "frontier/uniform")
        return points, origins

    def portrait(self) -> dict[str, Array]:
        """Return how the uniform half of the candidates is weighted, relative to the highest, after the warm-up."""
        if not len(self._candidates):
            return {}
        weights = np.diff(self._cumulative, prepend=0.0)
        shown = slice(0, min(256, len(weights) - self.candidates // 2))
        return {
            "field/place": self._candidates[shown].copy(),
            "field/weight": weights[shown] / max(weights.max(), 1e-300),
        }

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        self._history.append([(*task, ret) for task, ret in zip(tasks.tolist(), returns.tolist(), strict=True)])
        self._since_fit += len(tasks)
        if self._since_fit >= self.refit_every:
            self._since_fit = 0
            self._grow(self._trees_left)  # as a rule nothing is left of the last forest
            self._begin_forest()
        else:
            self._grow(min(MOST_TREES, self._trees_left))

    def _begin_forest(self) -> None:
        tasks = self._history.rows()[-self.window :, :-1]
        half = self.candidates // 2
        near = tasks[self.rng.integers(len(tasks), size=half)] + self.rng.normal(0.0, JITTER, (half, self.dimension))
        fresh = self.rng.random((self.candidates - half, self.dimension))
        self._next_candidates = np.clip(np.concatenate([fresh, near]), 0.0, 1.0)
        no_directions: Array = np.zeros((0, self.dimension))
        self._directions = oblique_directions(self.dimension, self.rng) if self.oblique else no_directions
        self._predicted = np.zeros(self.candidates)
        self._trees_left = self.trees

    def _grow(self, trees: int) -> None:
        """Grow trees of the current forest; with its last one its candidates take the place of those before."""
        if trees == 0:
            return
        from sklearn import config_context
        from sklearn.tree import ExtraTreeRegressor

        rows = self._history.rows()[-self.window :]
        tasks, levels = rows[:, :-1], self.scale(rows[:, -1])
        features, wanted = (
            np.hstack([p, p @ self._directions.T]).astype(np.float32) for p in (tasks, self._next_candidates)
        )
        weights = 0.3 + np.linspace(0.0, 1.0, len(tasks))  # newest heaviest
        # The checks of parameters and inputs, which are sound, take longer than half a tree, and a fresh RandomState
        # first gathers entropy that seeding throws away.
        with config_context(skip_parameter_validation=True, assume_finite=True):
            for _ in range(trees):
                self._tree_rng.seed(int(self.rng.integers(2**31)))
                tree = ExtraTreeRegressor(min_samples_leaf=self.min_leaf, random_state=self._tree_rng)
                tree.fit(features, levels, sample_weight=weights, check_input=False)
                self._predicted += tree.tree_.predict(wanted)[:, 0]
        self._trees_left -= trees
        if self._trees_left == 0:
            self._candidates = self._next_candidates
            weights = frontier_weight(self._predicted / self.trees, self.target, self.sharpness)
            self._cumulative = np.cumsum(self._doubted(weights) if self.doubt < 1 else weights)

    def _doubted(self, weights: Array) -> Array:
        """Return the candidates' weights (n,) with less for those that are hopeless by the memory."""
        remembered = self._history.rows()
        heavy = np.flatnonzero(weights > LIGHT * weights.max())
        is_hopeful = hopeful(self._candidates[heavy], remembered[:, :-1], self.scale(remembered[:, -1]))
        weights[heavy[~is_hopeful]] *= self.doubt
        return weights
