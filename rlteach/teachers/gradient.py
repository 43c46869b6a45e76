"""GRADIENT: along the Wasserstein geodesic from easy tasks to the target, one stage after the other.

teacher = Gradient(task_space, seed=0, initial={"mean": [0.0, 6.0], "std": 0.1}, return_range=(-150, 350))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, TaskTeacher, require
from rlteach.teachers.distributions import distribution, folded
from rlteach.teachers.history import History


def optimal_matching(source: Array, target: Array) -> Array:
    """Return, for each source point (n, d), the row of the target point (n, d) that optimal transport takes it to.

    The cost is the squared Euclidean distance, as in the 2-Wasserstein distance.
    """
    return np.asarray(linear_sum_assignment(cdist(source, target, "sqeuclidean"))[1])


def interpolated(source: Array, target: Array, alpha: float) -> Array:
    """Return (1 - alpha) x + alpha T(x): the 2-Wasserstein geodesic between matched points (McCann, 1997)."""
    return np.asarray((1.0 - alpha) * source + alpha * target)


class Gradient(TaskTeacher):
    """GRADIENT: tasks along the Wasserstein geodesic from the source to the target (Huang et al., 2022).

    Source: "Curriculum reinforcement learning using optimal transport via gradual domain adaptation", NeurIPS 2022,
    algorithm 1: the tasks of stage k are the Wasserstein barycentre of source and target with weights 1 - alpha and
    alpha, alpha = k / K, and the next stage begins when the mean return passes a threshold. Needs of the learner:
    returns. Plays nothing of its own.

    Deviations: the source is `initial`; both ends are `particles` draws that an exact matching in the unit cube joins,
    where the paper solves regularised transport; a stage is judged after every `window` episodes, the first of which
    may belong to the stage before; the ground metric is Euclidean, not the learned one of the paper. When it fails:
    without an `initial` distribution source and target are alike and so are all stages; a straight line through tasks
    that nobody can solve is never left; levels of a categorical parameter are passed through in their order.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        initial: Source distribution, None for uniform; see `rlteach.teachers.distributions`.
        target: Target distribution, None for uniform.
        performance_bound: Mean return that ends a stage, as a share of the return range.
        stages: Number K of steps from source to target.
        window: Episodes whose mean return is compared.
        particles: Number of matched points.
        jitter: Standard deviation of the noise on a particle, in unit-cube lengths.
        seed: Seed of the draws.
        return_range: Smallest and largest return, if known.
    """

    tied_to_space = True
    learns_in_order = True  # what ends early is mostly success, and would end a stage too soon
    state_names = ("_source", "_goal", "_stage", "_returns")

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        initial: Mapping[str, Any] | None = None,
        target: Mapping[str, Any] | None = None,
        performance_bound: float = 0.5,
        stages: int = 10,
        window: int = 50,
        particles: int = 256,
        jitter: float = 0.01,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        require(
            self,
            performance_bound=(performance_bound, 0, 1),
            stages=(stages, 1, None),
            window=(window, 1, None),
            particles=(particles, 2, 1000),
            jitter=(jitter, 0, 1),
        )
        self.performance_bound, self.stages = performance_bound, stages
        self.window, self.jitter = window, jitter
        self._source = distribution(self.task_space, "initial", initial).sample(particles, self.rng)
        goal = distribution(self.task_space, "target", target).sample(particles, self.rng)
        self._goal = goal[optimal_matching(self._source, goal)]
        self._stage = 0
        self._returns = History(window, 1)

    @property
    def alpha(self) -> float:
        """The share of the way from source to target that has been gone."""
        return self._stage / self.stages

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        chosen = self.rng.integers(len(self._source), size=n)
        points = interpolated(self._source[chosen], self._goal[chosen], self.alpha)
        points += self.jitter * self.rng.standard_normal(points.shape)
        return folded(points), [f"gradient/{self._stage}"] * n

    def portrait(self) -> dict[str, Array]:
        """Return the particles of the present stage."""
        return {"points/place": interpolated(self._source, self._goal, self.alpha)}

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        for ret in returns:
            self._returns.append(ret)
            if len(self._returns) == self.window:
                self._stage += self._stage < self.stages and self._is_mastered()
                self._returns.total = 0

    def _is_mastered(self) -> bool:
        return float(self.scale(self._returns.unordered()).mean()) >= self.performance_bound
