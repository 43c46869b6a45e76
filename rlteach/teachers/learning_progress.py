"""Learning progress over a fixed set of tasks: those whose success rate is on the move are drawn.

teacher = LearningProgress(task_space, seed=0)                  # from the episodes of training
teacher = LearningProgress(task_space, evaluated=True)          # from roll-outs of its own
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from rlteach.lesson import Outcome
from rlteach.task_space import TaskSpace, clipped
from rlteach.teachers.base import Array, TaskTeacher, require
from rlteach.teachers.success_guided import candidate_points

HIGHEST_BASELINE = 0.75
"""A task that the first learner solves more often than this counts as if it solved it this often."""

REACH = 1.25
"""How far from a candidate its cell is searched, in typical distances of neighbours: 98 to 100 % of it is found."""

DRAWS = 8
"""Points drawn around a candidate, the first of which that lies in its cell is taken, else the candidate itself."""


def normalised(success: Array, baseline: Array) -> Array:
    """Return max(0, (p - b) / (1 - b)): success beyond that of the first learner, b capped at 0.75."""
    capped = np.minimum(baseline, HIGHEST_BASELINE)
    return np.maximum(0.0, (success - capped) / (1.0 - capped))


def reweighted(success: Array, theta: float) -> Array:
    """Return p (1 - theta) / (p + theta (1 - 2 p)): theta below one half magnifies what happens at low success."""
    return np.asarray(success * (1.0 - theta) / (success + theta * (1.0 - 2.0 * success)))


def learning_progress(fast: Array, slow: Array, theta: float) -> Array:
    """Return |f(p_fast) - f(p_slow)| of two averages of success, f being `reweighted`."""
    return np.abs(reweighted(fast, theta) - reweighted(slow, theta))


def progress_weights(progress: Array, success: Array, quantile: float) -> Array:
    """Return probabilities (n,): sigmoid(z - z_q) of z-scored progress over tasks with progress or success.

    z_q is the quantile of the scores on which the sigmoid is centred; all other tasks get 0, and all tasks the same
    when there are no others.
    """
    known = (progress > 0.0) | (success > 0.0)
    if not known.any():
        return np.full(len(progress), 1.0 / len(progress))
    spread = progress[known].std()
    scores = (progress[known] - progress[known].mean()) / (spread if spread > 0.0 else 1.0)
    weights = np.zeros(len(progress))
    weights[known] = 1.0 / (1.0 + np.exp(np.quantile(scores, quantile) - scores))
    return np.asarray(weights / weights.sum())


class Cells:
    """A fixed set of tasks spread over the space, and for each the part of the space that is nearest to it.

    Args:
        space: The task space; of a discrete one with few tasks every task is in the set.
        count: Number of tasks, at most.
    """

    def __init__(self, space: TaskSpace, count: int) -> None:
        self.points = candidate_points(space, count)
        self._columns = np.ascontiguousarray(self.points.T)
        self._half_squares = 0.5 * (self.points**2).sum(axis=1)  # |c - x|^2 / 2 = |c|^2 / 2 - c x + |x|^2 / 2
        found: Any = cKDTree(self.points).query(self.points, k=2)
        continuous = np.array([p.levels == 0 for p in space.parameters])
        reach = REACH * float(np.median(found[0][:, 1])) * continuous
        self._low = np.maximum(self.points - reach, 0.0)
        self._width = np.minimum(self.points + reach, 1.0) - self._low
        self._spread = bool(continuous.any())

    def __len__(self) -> int:
        return len(self.points)

    def nearest(self, tasks: Array) -> NDArray[np.int64]:
        """Return the index of the candidate that is nearest to each task (n, d)."""
        return np.asarray((self._half_squares - tasks @ self._columns).argmin(axis=1))

    def draw(self, index: int, rng: np.random.Generator) -> Array:
        """Return a point near a candidate that is nearer to no other one, so that what it shows counts for it."""
        if self._spread:
            points = self._low[index] + self._width[index] * rng.random((DRAWS, self._low.shape[1]))
            own = np.flatnonzero(self.nearest(points) == index)
            if len(own):
                return np.asarray(points[own[0]])
        return np.asarray(self.points[index])


class LearningProgress(TaskTeacher):
    """Learning progress (Kanitscheider et al., 2021), from training episodes or from roll-outs of its own.

    Source: "Multi-task curriculum learning in a complex, visual, hard-exploration domain: Minecraft", arXiv 2106.14876;
    constants as in Syllabus (2024). For each of a fixed set of tasks it keeps a fast average of success and a slow
    average of the fast one; progress is their difference after `reweighted`, and tasks are drawn by `progress_weights`.
    Of a Box the tasks are a low-discrepancy set; each stands for the part of the space nearest to it.

    It needs a success in [0, 1]. With `evaluated` it pays `repeats` roll-outs of every candidate after each
    `evaluate_every` training episodes, the first of which is the baseline for `normalised`; without, it pays nothing
    and knows only what was trained, so that a share of the tasks is uniform. Where a run offers no roll-outs, an
    evaluated teacher learns from training episodes. It fails when few tasks are ever solved by chance (nothing has
    progress, so all is uniform), and with few repeats it takes luck for progress.

    Deviations from the published code: any task space (there discrete ones only), partial success counts (the online
    form rounds it down to 0), the online averages move once for each episode of a task, and there is no baseline
    online.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        evaluated: Whether success is measured by roll-outs apart from training; `fast` and `slow` then count
            evaluations.
        candidates: Number of tasks that are told apart, at most.
        fast: Share of the newest success in its fast average.
        slow: Share of the fast average in the slow one.
        theta: Reweighting of success rates; one half changes nothing.
        centre: Quantile of progress on which the sigmoid is centred; higher ones draw fewer tasks.
        uniform_share: Share of tasks drawn uniformly over the candidates; None for 0.25, or 0 when `evaluated`.
        refresh_every: Episodes between updates of the probabilities.
        evaluate_every: Episodes between evaluations.
        repeats: Roll-outs of each candidate in an evaluation.
        seed: Seed of the draws.
        return_range: Accepted for all teachers; nothing is scaled.
    """

    state_names: ClassVar[tuple[str, ...]] = (
        "_fast",
        "_slow",
        "_moves",
        "_baseline",
        "_cumulative",
        "_since_refresh",
        "_since_evaluation",
    )
    _origin: ClassVar[str] = "learning_progress"

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        evaluated: bool = False,
        candidates: int = 128,
        fast: float = 0.1,
        slow: float = 0.1,
        theta: float = 0.1,
        centre: float = 0.9,
        uniform_share: float | None = None,
        refresh_every: int = 20,
        evaluate_every: int = 500,
        repeats: int = 1,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        if uniform_share is None:
            uniform_share = 0.0 if evaluated else 0.25
        require(
            self,
            candidates=(candidates, 2, None),
            fast=(fast, 0, 1),
            slow=(slow, 0, 1),
            theta=(theta, 1e-6, 1 - 1e-6),
            centre=(centre, 0, 1),
            uniform_share=(uniform_share, 0, 1),
            refresh_every=(refresh_every, 1, None),
            evaluate_every=(evaluate_every, 1, None),
            repeats=(repeats, 1, None),
        )
        self.wants_rollouts = evaluated  # one teacher of this class plays tasks, another does not
        self.fast, self.slow, self.theta, self.centre = fast, slow, theta, centre
        self.uniform_share, self.refresh_every = uniform_share, refresh_every
        self.evaluate_every, self.repeats = evaluate_every, repeats
        self.cells = Cells(self.task_space, candidates)
        self._tasks = self.task_space.tasks_of_unit(self.cells.points)
        self._fast = np.zeros(len(self.cells))
        self._slow = np.zeros(len(self.cells))
        self._moves = np.zeros(len(self.cells), dtype=np.int64)
        self._baseline: Array | None = None
        self._cumulative = np.arange(1.0, len(self.cells) + 1)
        self._since_refresh = 0
        self._since_evaluation = 0

    def chances(self) -> Array:
        """Return the chance of each candidate (candidates,)."""
        progress = learning_progress(self._fast, self._slow, self.theta)
        guided = progress_weights(progress, self._fast, self.centre)
        return (1.0 - self.uniform_share) * guided + self.uniform_share / len(self.cells)

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        places = self._cumulative.searchsorted(self.rng.random(n) * self._cumulative[-1], side="right")
        cells = np.minimum(places, len(self.cells) - 1).tolist()
        return np.array([self.cells.draw(cell, self.rng) for cell in cells]), [self._origin] * n

    def portrait(self) -> dict[str, Array]:
        """Return the candidates with the chance of each."""
        chances = np.diff(self._cumulative, prepend=0.0) / self._cumulative[-1]
        return {"field/place": self.cells.points.copy(), "field/chance": chances}

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        if self.wants_rollouts and self.rollouts is not None:
            self._since_evaluation += len(tasks)
            if self._baseline is None or self._since_evaluation >= self.evaluate_every:
                self._since_evaluation = 0
                self._evaluate(self.rollouts)
            return
        for cell, success in zip(self.cells.nearest(tasks).tolist(), successes.tolist(), strict=True):
            self._move(cell, success)
        self._since_refresh += len(tasks)
        if self._since_refresh >= self.refresh_every:
            self._refresh()

    def _evaluate(self, rollouts: Callable[..., list[Outcome]]) -> None:
        """Play every candidate with the present learner and take in its success."""
        outcomes = rollouts(self._tasks, repeats=self.repeats)
        found = np.nan_to_num(np.array([outcome.success for outcome in outcomes], dtype=np.float64))
        success = clipped(found, 0.0, 1.0).reshape(len(self.cells), self.repeats).mean(axis=1)
        if self._baseline is None:
            self._baseline = success
        self._move(slice(None), normalised(success, self._baseline))
        self._refresh()

    def _move(self, where: int | slice, success: float | Array) -> None:
        """Move the averages of candidates; both begin at the first success, so that what is known is no progress."""
        first = self._moves[where] == 0
        self._fast[where] += np.maximum(first, self.fast) * (success - self._fast[where])
        self._slow[where] += np.maximum(first, self.slow) * (self._fast[where] - self._slow[where])
        self._moves[where] += 1

    def _refresh(self) -> None:
        """Compute the probabilities anew; every draw until the next time uses them."""
        self._since_refresh = 0
        self._cumulative = self.chances().cumsum()
