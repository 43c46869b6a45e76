"""The teacher of an environment without tasks: every lesson leaves the episode to the environment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from rlteach.lesson import Lesson, Outcome
from rlteach.protocols import State


class NoTasks:
    """Issues empty lessons, so that an environment without a task space runs under `uniform` and is recorded."""

    needs: frozenset[str] = frozenset()
    fields: ClassVar[frozenset[str]] = frozenset()

    def __init__(self) -> None:
        self._next_id = 0

    def propose(self, n: int) -> list[Lesson]:
        """Return `n` empty lessons."""
        first, self._next_id = self._next_id, self._next_id + n
        return [Lesson(i, origin="environment") for i in range(first, self._next_id)]

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        """Learn nothing."""

    def forget(self, lesson_ids: Iterable[int]) -> None:
        """Keep nothing."""

    def state_dict(self) -> State:
        """Return the running number."""
        return {"next_id": self._next_id}

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        self._next_id = int(state["next_id"])
