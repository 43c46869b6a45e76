"""The expanding box: a range of tasks that grows from an easy one to the whole space as the learner succeeds.

teacher = ExpandingBox(task_space, start_low=[0.0, 5.0], start_high=[0.5, 6.0])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gymnasium import spaces

from rlteach.task_space import TaskSpace
from rlteach.teachers.annealing import blended, unit_range
from rlteach.teachers.base import Array
from rlteach.teachers.gated import GatedTeacher


class ExpandingBox(GatedTeacher):
    """Expanding box: uniform in a range that grows on all sides at once when most of its episodes succeed.

    The curriculum on a range of Syllabus (2024), gated by success: after `over` episodes with a mean success above
    `threshold` all sides move by `step` of their way to the ends of the space (`blended`), and the count begins anew.
    It never shrinks. Growth with time alone is what `annealing` does; one bound at a time is what `adr` does.

    It needs a success (or a return threshold that makes one; the rank among recent returns, which stands in where there
    is none, hovers around one half and never passes a higher threshold) and pays no roll-outs. It fails where the way
    to the whole space leads over infeasible tasks: their share in the box holds the mean success down for ever.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        start_low: Task at the lower end of the first range, in every parameter: an element of the space, a mapping of
            names, or a list of numbers.
        start_high: Task at its upper end.
        threshold: Mean success above which the box grows.
        step: Share of the way from the first range to the whole space by which it grows.
        over: Episodes of the present range over which success is averaged.
        seed: Seed of the draws.
        return_range: Accepted for all teachers; nothing is scaled.

    Raises:
        InvalidValue: When an end is no task of the space, or the upper end is below the lower one.
    """

    tied_to_space = True

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        start_low: Any,
        start_high: Any,
        threshold: float = 0.7,
        step: float = 0.05,
        over: int = 50,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, threshold=threshold, step=step, over=over, seed=seed, return_range=return_range)
        self._start = unit_range(self.task_space, start_low, start_high)
        self._whole = unit_range(self.task_space, None, None)

    @property
    def box(self) -> tuple[Array, Array]:
        """Corners of the present range in the unit cube, each (d,)."""
        low, high = (blended(a, b, self.progress) for a, b in zip(self._start, self._whole, strict=True))
        return low, high

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        low, high = self.box
        return low + (high - low) * self.rng.random((n, self.dimension)), ["expanding_box"] * n

    def portrait(self) -> dict[str, Array]:
        """Return the box."""
        low, high = self.box
        return {"boxes/low": low[None], "boxes/high": high[None]}
