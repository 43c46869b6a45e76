"""Writing down what a teacher proposed and what became of it, and what it had in mind.

`lessons.csv` has a row per finished lesson, `teacher.jsonl` the teacher's portrait (`TaskTeacher.portrait`) at each
evaluation; a teacher without one leaves no such file.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlteach.files import Table, read_rows
from rlteach.lesson import Lesson, Outcome
from rlteach.protocols import State, Teacher
from rlteach.task_space import TaskSpace

COLUMNS = ("id", "step", "origin", "ret", "success", "length")

MOST_ROWS = 300
"""Rows of a shape of a portrait that are kept, evenly chosen."""


class Recorded:
    """A teacher whose finished lessons are written to a table, in the order in which they finish.

    Args:
        teacher: The teacher that decides.
        task_space: Names the task columns; None for an environment without tasks.
        path: The CSV file; portraits go into `teacher.jsonl` beside it.
    """

    def __init__(self, teacher: Teacher, task_space: TaskSpace | None, path: Path) -> None:
        self.teacher = teacher
        self.needs = teacher.needs
        self.fields = getattr(teacher, "fields", frozenset({"task"}))
        self.restores = getattr(teacher, "restores", True)
        self.keep_tasks = getattr(teacher, "keep_tasks", False)
        self.task_space = task_space
        names = [f"task/{name}" for name in task_space.names] if task_space is not None else []
        self.table = Table(path, [*COLUMNS, *names])
        self.portraits = path.with_name("teacher.jsonl")
        self.episodes = 0
        self.steps = 0
        self.recent: deque[tuple[float, float]] = deque(maxlen=100)
        self._out: dict[int, tuple[str, list[float]]] = {}

    def propose(self, n: int) -> list[Lesson]:
        """Pass on, and remember the tasks."""
        lessons = self.teacher.propose(n)
        for lesson in lessons:
            vector: Any = (
                [] if self.task_space is None or lesson.task is None else self.task_space.to_vector(lesson.task)
            )
            self._out[lesson.id] = (lesson.origin, [float(v) for v in vector])
        return lessons

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        """Write the outcomes, then pass them on."""
        for outcome in outcomes:
            origin, vector = self._out.pop(outcome.lesson_id, ("", []))
            self.episodes += 1
            self.steps += outcome.length
            self.recent.append((outcome.ret, outcome.success))
            row = [outcome.lesson_id, self.steps, origin, f"{outcome.ret:.6g}", f"{outcome.success:.6g}"]
            self.table.append([*row, outcome.length, *(f"{v:.6g}" for v in vector)])
        self.teacher.observe(outcomes)

    def forget(self, lesson_ids: Iterable[int]) -> None:
        """Pass on."""
        ids = list(lesson_ids)
        for lesson_id in ids:
            self._out.pop(lesson_id, None)
        self.teacher.forget(ids)

    def portray(self, step: int) -> None:
        """Add what the teacher has in mind after `step` steps of the learner, where it has a portrait."""
        portrait: dict[str, Any] = getattr(self.teacher, "portrait", dict)()
        if portrait:
            with self.portraits.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **{name: _short(rows) for name, rows in portrait.items()}}) + "\n")

    def restart(self) -> None:
        """Forget what an earlier, unfinished sitting without a checkpoint wrote."""
        self.table.clear()
        self.portraits.unlink(missing_ok=True)

    def state_dict(self) -> State:
        """Return the teacher's state, the lessons that are out, and how long the files are."""
        return {
            "teacher": self.teacher.state_dict(),
            "episodes": self.episodes,
            "steps": self.steps,
            "recent": [list(pair) for pair in self.recent],
            "out_ids": np.array(list(self._out), dtype=np.int64),
            "out_origins": [origin for origin, _ in self._out.values()],
            "out_tasks": np.array([vector for _, vector in self._out.values()], dtype=np.float64),
            "table": self.table.size(),
            "portraits": self.portraits.stat().st_size if self.portraits.exists() else 0,
        }

    def load_state_dict(self, state: State) -> None:
        """Continue, cutting off rows written after the state was taken."""
        self.teacher.load_state_dict(state["teacher"])
        self.episodes, self.steps = int(state["episodes"]), int(state["steps"])
        self.recent.clear()
        self.recent.extend((float(ret), float(success)) for ret, success in state["recent"])
        rows = zip(state["out_ids"], state["out_origins"], np.array(state["out_tasks"]).tolist(), strict=True)
        self._out = {int(lesson_id): (origin, vector) for lesson_id, origin, vector in rows}
        self.table.truncate(int(state["table"]))
        if self.portraits.exists():
            os.truncate(self.portraits, int(state.get("portraits", 0)))  # 0: saved before there were any


def _short(rows: Any) -> Any:
    """Return the rows of an array (k, ...), at most `MOST_ROWS` of them, as nested lists of four digits."""
    array = np.asarray(rows, dtype=np.float64)
    kept = array[np.linspace(0, len(array) - 1, min(len(array), MOST_ROWS)).round().astype(int)]
    return np.array([float(f"{value:.4g}") for value in kept.ravel()]).reshape(kept.shape).tolist()


def recorded_tasks(path: Path, task_space: TaskSpace) -> list[dict[str, Any]]:
    """Return the tasks in a `lessons.csv` as mappings, in the order in which they were issued."""
    rows = sorted(read_rows(path), key=lambda row: int(row["id"]))
    vectors = (np.array([float(row[f"task/{name}"]) for name in task_space.names]) for row in rows)
    clipped = (np.clip(vector, task_space.low, task_space.high) for vector in vectors)
    return [task_space.to_mapping(task_space.from_vector(vector)) for vector in clipped]
