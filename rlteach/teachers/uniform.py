"""Uniform task sampling, also called domain randomisation: the baseline that every teacher has to beat."""

from __future__ import annotations

from collections.abc import Sequence

from rlteach.teachers.base import Array, TaskTeacher


class Uniform(TaskTeacher):
    """Draws tasks uniformly and learns nothing."""

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        return self.rng.random((n, self.dimension)), ["uniform"] * n

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        """Uniform sampling has nothing to learn."""
