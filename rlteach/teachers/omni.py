"""OMNI: learning progress on tasks that somebody finds interesting, given those already mastered.

def novel(task, mastered):
    return all(abs(task["height"] - other["height"]) > 0.5 for other in mastered)

teacher = OMNI(task_space, interesting=novel)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach import registry
from rlteach.errors import InvalidValue
from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, require
from rlteach.teachers.learning_progress import LearningProgress

BORING = 1e-3
"""Factor of the chance of a task that nobody finds interesting (Zhang et al., 2023)."""

Interest: TypeAlias = Callable[[Mapping[str, Any], Sequence[Mapping[str, Any]]], bool | float]
"""(task, mastered tasks) -> whether, or in [0, 1] how much, the task is of interest; tasks are mappings of names."""


def interest_factor(answer: Any) -> float:
    """Return 1 for True, 0.001 for False, and a number in [0, 1] itself, at least 0.001.

    Raises:
        InvalidValue: When the answer is neither.
    """
    if not isinstance(answer, Real | np.bool_) or not math.isfinite(float(answer)) or not 0.0 <= float(answer) <= 1.0:
        raise InvalidValue(f"interesting(task, mastered) gave {answer!r}; it has to give a bool or a number in [0, 1]")
    return max(BORING, float(answer))


class OMNI(LearningProgress):
    """OMNI (Zhang et al., 2023): learning progress times interestingness.

    Source: "OMNI: Open-endedness via models of human notions of interestingness", arXiv 2306.01711. The chance that
    `LearningProgress` gives a task is multiplied by `interest_factor` of what `interesting` says of it, given the tasks
    mastered so far. The model of interestingness is any callable: a rule, a table, a call of a language model. It is
    asked about every candidate that is not mastered, once at the start and again whenever the mastered set has changed,
    so that it should be quick or remember its answers; mastered tasks keep factor 1, since progress itself is
    small there. The answers are part of the state, so that a resumed run does not ask again.

    What it needs, what it pays and how it fails are those of `LearningProgress`; beyond that it is as good as the
    answers, and never lets a task fall below 0.001 of its chance. Deviation from Syllabus (2024): the product is kept,
    while there only the first draw after an update sees it.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        interesting: The callable, or its import path `"package.module:function"`.
        mastered_at: Fast average of success from which a task counts as mastered, once 1 / `fast` successes are in it.
        evaluated: As for `LearningProgress`, like all that follow.
        candidates: Number of tasks that are told apart, at most.
        fast: Share of the newest success in its fast average.
        slow: Share of the fast average in the slow one.
        theta: Reweighting of success rates; one half changes nothing.
        centre: Quantile of progress on which the sigmoid is centred.
        uniform_share: Share of tasks drawn uniformly before interest counts; None for 0.25, or 0 when `evaluated`.
        refresh_every: Episodes between updates of the probabilities.
        evaluate_every: Episodes between evaluations.
        repeats: Roll-outs of each candidate in an evaluation.
        seed: Seed of the draws.
        return_range: Accepted for all teachers; nothing is scaled.

    Raises:
        InvalidValue: When `interesting` cannot be called.
    """

    tied_to_space = True
    _origin = "omni"
    state_names = (*LearningProgress.state_names, "_mastered", "_interest")

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        interesting: Interest | str,
        mastered_at: float = 0.8,
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
        super().__init__(
            task_space,
            evaluated=evaluated,
            candidates=candidates,
            fast=fast,
            slow=slow,
            theta=theta,
            centre=centre,
            uniform_share=uniform_share,
            refresh_every=refresh_every,
            evaluate_every=evaluate_every,
            repeats=repeats,
            seed=seed,
            return_range=return_range,
        )
        require(self, mastered_at=(mastered_at, 1e-6, 1), fast=(fast, 1e-6, 1))
        self.interesting: Interest = (
            registry.load("teacher", interesting) if isinstance(interesting, str) else interesting
        )
        if not callable(self.interesting):
            raise InvalidValue(f"interesting = {interesting!r} must be a callable (task, mastered) -> bool or number")
        self.mastered_at = mastered_at
        self._mappings = [self.task_space.to_mapping(task) for task in self._tasks]
        self._mastered: NDArray[np.bool_] | None = None
        self._interest: Array = np.ones(len(self.cells))

    def chances(self) -> Array:
        """Return the chance of each candidate (candidates,): that of learning progress times interest."""
        mastered = (self._fast >= self.mastered_at) & (self._moves >= 1.0 / self.fast)
        if self._mastered is None or not np.array_equal(mastered, self._mastered):
            self._mastered = mastered
            self._interest = self._asked(mastered)
        product = super().chances() * self._interest
        return np.asarray(product / product.sum())

    def _asked(self, mastered: NDArray[np.bool_]) -> Array:
        """Ask about every candidate that is not mastered."""
        known = [task for task, done in zip(self._mappings, mastered.tolist(), strict=True) if done]
        answers = zip(self._mappings, mastered.tolist(), strict=True)
        return np.array([1.0 if done else interest_factor(self.interesting(task, known)) for task, done in answers])
