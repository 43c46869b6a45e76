"""ADR: a box of tasks whose bounds are tested one at a time, and moved by what they show.

teacher = ADR(task_space, start=[0.0, 6.0])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces

from rlteach.errors import InvalidValue, did_you_mean
from rlteach.task_space import TaskSpace, clipped
from rlteach.teachers.annealing import vector_of
from rlteach.teachers.base import HUGE, Array, TaskTeacher, require

Measure = Literal["success", "return"]
LOWER, UPPER = 0, 1


def moved_bound(low: float, high: float, side: int, outward: bool, step: float) -> tuple[float, float]:
    """Return [low, high] of one dimension after one of its bounds moved a step out or in.

    Algorithm 1 of OpenAI et al. (2019): outwards up to the unit interval, inwards up to the other bound.
    """
    if side == LOWER:
        return (max(0.0, low - step), high) if outward else (min(high, low + step), high)
    return (low, min(1.0, high + step)) if outward else (low, max(low, high - step))


def free_sides(low: float, high: float) -> list[int]:
    """Return which bounds of a dimension are worth a test: those inside the space, or both when none is.

    Bounds that have all reached the space are tested too, since only a test can move them in again.
    """
    return [side for side, inside in ((LOWER, low > 0.0), (UPPER, high < 1.0)) if inside] or [LOWER, UPPER]


class ADR(TaskTeacher):
    """Automatic domain randomisation (OpenAI et al., 2019): a box that grows where its bounds are mastered.

    Source: "Solving Rubik's cube with a robot hand", arXiv 1910.07113, algorithm 1; settings as in TeachMyAgent (2021).
    Tasks are uniform in a box that begins as one point. With probability `boundary_share` one dimension is pinned to
    one of its bounds; what such tasks achieve fills that bound's queue, and a full queue moves the bound: outwards when
    its mean is at least `widen_at`, inwards when it is at most `narrow_at`.

    It needs a start that the learner can master and an outcome on a known scale, and pays no roll-outs. It fails on
    rugged difficulty and where tasks next to the start are infeasible: no bound ever moves past them (published: worse
    than random tasks there). The rank that stands in for a success where the environment tells none hovers around one
    half; then use `measure="return"` with thresholds in the units of the return.

    Deviations from TeachMyAgent's code: steps are shares of each dimension's range, a bound that has reached the end of
    the space is not tested while the other has not (two branches there are never reached), an outcome counts for
    one bound even when several coincide, as all do at the start (one lucky queue there widens every dimension), and the
    stream of draws goes on when the box changes.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        start: First task: an element of the space, a mapping of names, or a list of numbers; None draws one uniformly.
        measure: What is judged, `"success"` or the raw `"return"`.
        widen_at: Mean of a queue, in units of the measure, at which its bound moves outwards.
        narrow_at: Mean at which it moves inwards.
        step: How far, as a share of the dimension's range.
        boundary_share: Share of tasks that test a bound.
        queue: Outcomes per test.
        seed: Seed of the draws.
        return_range: Accepted for all teachers; nothing is scaled.

    Raises:
        InvalidValue: When the start is no task of the space, the measure is unknown, or the thresholds are crossed.
    """

    tied_to_space = True
    learns_in_order = True
    state_names = ("low", "high", "_sums", "_counts")

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        start: Any | None = None,
        measure: Measure = "success",
        widen_at: float = 0.7,
        narrow_at: float = 0.3,
        step: float = 0.05,
        boundary_share: float = 0.7,
        queue: int = 10,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        require(
            self,
            widen_at=(widen_at, None, None),
            narrow_at=(narrow_at, None, widen_at),
            step=(step, 1e-9, 1),
            boundary_share=(boundary_share, 0, 1),
            queue=(queue, 1, None),
        )
        if measure not in get_args(Measure):
            known = list(get_args(Measure))
            hint = did_you_mean(str(measure), known)
            raise InvalidValue(f"measure = {measure!r} is unknown.{hint} It is one of {', '.join(known)}.")
        self.measure, self.widen_at, self.narrow_at = measure, widen_at, narrow_at
        self.step, self.boundary_share, self.queue = step, boundary_share, queue
        space = self.task_space
        place = self.rng.random(self.dimension) if start is None else space.unit_of_vectors(vector_of(space, start))
        self.low, self.high = place.copy(), place.copy()
        self._sums = np.zeros((self.dimension, 2))
        self._counts = np.zeros((self.dimension, 2), dtype=np.int64)

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        points = self.low + (self.high - self.low) * self.rng.random((n, self.dimension))
        origins = []
        for point, pinned in zip(points, (self.rng.random(n) < self.boundary_share).tolist(), strict=True):
            origins.append("adr/boundary" if pinned else "adr")
            if pinned:
                k = int(self.rng.integers(self.dimension))
                sides = free_sides(float(self.low[k]), float(self.high[k]))
                side = sides[int(self.rng.integers(len(sides)))]
                point[k] = (self.low, self.high)[side][k]
        return points, origins

    def portrait(self) -> dict[str, Array]:
        """Return the box."""
        return {"boxes/low": self.low[None].copy(), "boxes/high": self.high[None].copy()}

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        measured = returns if self.measure == "return" else successes
        for task, result in zip(tasks.tolist(), clipped(measured, -HUGE, HUGE).tolist(), strict=True):
            bounds = enumerate(zip(task, self.low.tolist(), self.high.tolist(), strict=True))
            met = [(k, side) for k, (x, *sides) in bounds for side in (LOWER, UPPER) if x == sides[side]]
            if met:
                self._judge(*met[int(self.rng.integers(len(met)))], result)

    def _judge(self, k: int, side: int, result: float) -> None:
        """Put a result into a bound's queue, and move the bound when that is full."""
        self._sums[k, side] += result / self.queue
        self._counts[k, side] += 1
        if self._counts[k, side] < self.queue:
            return
        mean = self._sums[k, side]
        if mean >= self.widen_at or mean <= self.narrow_at:
            outward = bool(mean >= self.widen_at)
            self.low[k], self.high[k] = moved_bound(self.low[k], self.high[k], side, outward, self.step)
        self._sums[k, side], self._counts[k, side] = 0.0, 0
