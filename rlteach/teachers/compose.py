"""Several teachers at once, each for its own part of the lesson: `Compose(task_teacher, start_teacher)`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from rlteach.errors import InvalidValue
from rlteach.lesson import FIELDS, Lesson, Outcome
from rlteach.protocols import State, Teacher
from rlteach.teachers.base import MAX_ISSUED, Array

ABANDONED = -1
"""Stands for the id of a part that was left out of its lesson."""


class Compose:
    """Merges the lessons of teachers that fill different fields, and gives each of them every outcome.

    Args:
        teachers: Two or more teachers; each says in `fields` which parts of a lesson it fills.
        keep_tasks: Whether an episode that starts in a snapshot keeps the task in which it was taken, for environments
            that cannot change it in the middle of an episode (no `set_task`). Whoever chooses tasks then never hears
            of these episodes.

    Raises:
        InvalidValue: When two teachers fill the same field.
    """

    def __init__(self, *teachers: Teacher, keep_tasks: bool = False) -> None:
        filled: dict[str, str] = {}
        for teacher in teachers:
            for name in getattr(teacher, "fields", ()):
                if name in filled:
                    raise InvalidValue(f"{filled[name]} and {type(teacher).__name__} both choose the {name}; keep one")
                filled[name] = type(teacher).__name__
        self.teachers, self.keep_tasks = teachers, keep_tasks
        self.fields = frozenset(filled)
        self.needs = frozenset[str]().union(*(teacher.needs for teacher in teachers))
        self.restores = any(getattr(t, "restores", True) for t in teachers if "start" in getattr(t, "fields", ()))
        self.task_space = next((t.task_space for t in teachers if hasattr(t, "task_space")), None)
        self._issued: dict[int, list[int]] = {}
        self._next_id = 0

    def propose(self, n: int) -> list[Lesson]:
        """Return `n` lessons, each merged from one lesson of every teacher."""
        lessons = []
        for parts in zip(*(teacher.propose(n) for teacher in self.teachers), strict=True):
            chosen = {f: value for part in parts for f in FIELDS if (value := getattr(part, f)) is not None}
            ids = [part.id for part in parts]
            if self.keep_tasks and getattr(chosen.get("start"), "snapshot", None) is not None:
                chosen.pop("task", None)
                for place, (teacher, part) in enumerate(zip(self.teachers, parts, strict=True)):
                    if part.task is not None:
                        teacher.forget([part.id])
                        ids[place] = ABANDONED
            said = [part.origin for part, i in zip(parts, ids, strict=True) if i != ABANDONED]
            lessons.append(Lesson(self._next_id, origin=" + ".join(said), **chosen))
            self._issued[self._next_id] = ids
            self._next_id += 1
        while len(self._issued) > MAX_ISSUED:
            del self._issued[next(iter(self._issued))]
        return lessons

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        """Give every teacher every outcome, under the id of its own part."""
        known = [(o, ids) for o in outcomes if (ids := self._issued.pop(o.lesson_id, None)) is not None]
        for place, teacher in enumerate(self.teachers):
            heard = [dataclasses.replace(o, lesson_id=ids[place]) for o, ids in known if ids[place] != ABANDONED]
            teacher.observe(heard)

    def forget(self, lesson_ids: Iterable[int]) -> None:
        """Tell every teacher which of its lessons were abandoned."""
        known = [ids for i in lesson_ids if (ids := self._issued.pop(i, None)) is not None]
        for place, teacher in enumerate(self.teachers):
            teacher.forget([ids[place] for ids in known if ids[place] != ABANDONED])

    def portrait(self) -> dict[str, Array]:
        """Return the portrait of the task teacher; see `TaskTeacher.portrait`."""
        found: dict[str, Array] = {}
        for teacher in self.teachers:
            found |= getattr(teacher, "portrait", dict)()
        return found

    def state_dict(self) -> State:
        """Return the states of all teachers."""
        return {
            "next_id": self._next_id,
            "issued": [[lesson_id, *ids] for lesson_id, ids in self._issued.items()],
            "teachers": [teacher.state_dict() for teacher in self.teachers],
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        self._next_id = int(state["next_id"])
        self._issued = {int(lesson_id): [int(i) for i in ids] for lesson_id, *ids in state["issued"]}
        for teacher, part in zip(self.teachers, state["teachers"], strict=True):
            teacher.load_state_dict(part)
