"""A fixed list of tasks, played in order: how learners are judged.

teacher = FixedTasks(env.test_sets["grid"])
venv = attach(eval_venv, teacher)
...                                  # step until teacher.done
teacher.outcomes                     # one Outcome per task, in order
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rlteach.errors import InvalidValue
from rlteach.lesson import Lesson, Outcome, Start
from rlteach.protocols import State


class FixedTasks:
    """Proposes the given tasks in order and keeps their outcomes.

    Environments that are free after the last task get tasks from the beginning again, whose outcomes are not kept.

    Args:
        tasks: Elements of the environment's task space; None leaves an episode to the environment.
        repeats: How often the whole list is played.
        starts: Where the episode of each task starts; the ordinary reset by default.
    """

    needs: frozenset[str] = frozenset()

    def __init__(self, tasks: Sequence[Any], *, repeats: int = 1, starts: Sequence[Start] | None = None) -> None:
        if len(tasks) == 0 or repeats < 1:
            raise InvalidValue(f"FixedTasks needs at least one task and one repeat, not {len(tasks)} and {repeats}")
        self.tasks, self.starts = list(tasks), [None] * len(tasks) if starts is None else list(starts)
        filled = {"task": self.tasks, "start": self.starts}
        self.fields = frozenset(name for name, values in filled.items() if any(value is not None for value in values))
        self.outcomes: list[Outcome | None] = [None] * (len(tasks) * repeats)
        self._next_id = 0
        self._left = len(self.outcomes)

    @property
    def done(self) -> bool:
        """Whether every task has been played `repeats` times."""
        return self._left == 0

    def propose(self, n: int) -> list[Lesson]:
        """Return the next `n` tasks of the list."""
        first, self._next_id = self._next_id, self._next_id + n
        places = [(i, i % len(self.tasks)) for i in range(first, self._next_id)]
        return [Lesson(i, task=self.tasks[k], start=self.starts[k], origin="fixed") for i, k in places]

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        """Keep the outcomes of the first play of each task."""
        for outcome in outcomes:
            if 0 <= outcome.lesson_id < len(self.outcomes) and self.outcomes[outcome.lesson_id] is None:
                self.outcomes[outcome.lesson_id] = outcome
                self._left -= 1

    def forget(self, lesson_ids: Iterable[int]) -> None:
        """Refuse nothing: a task that was abandoned stays without outcome."""

    def state_dict(self) -> State:
        """Return how far the list has been played."""
        played = [outcome for outcome in self.outcomes if outcome is not None]
        return {
            "next_id": self._next_id,
            "outcomes": [[o.lesson_id, o.ret, o.discounted_ret, o.length, o.success, o.terminated] for o in played],
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        self._next_id = int(state["next_id"])
        self.outcomes = [None] * len(self.outcomes)
        self._left = len(self.outcomes)
        self.observe([Outcome(*row) for row in state["outcomes"]])
