"""Snapshots as tasks: any task teacher of the suite chooses among the snapshots of a store.

    teacher = StartsAsTasks(store, teacher="success_guided", seed=0)

A snapshot is one more dimension of the task, as in success-guided sampling (2026), where reset states belong to the
configuration.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces

from rlteach.errors import ConfigError
from rlteach.lesson import Outcome
from rlteach.snapshots.store import SnapshotStore
from rlteach.task_space import TaskSpace
from rlteach.teachers.base import MAX_ISSUED, Array, make_teacher, require
from rlteach.teachers.start_base import ORDINARY, SnapshotTeacher, reached


def phases(store: SnapshotStore, places: Sequence[int]) -> Array:
    """Return the phase t / T in [0, 1] of some records of one trajectory of T steps (places,)."""
    records = [store.records[place] for place in places]
    return np.array([record.step / max(record.step + record.remaining, 1) for record in records])


def start_space(trajectories: int) -> TaskSpace:
    """Return the space of starts: a phase in [0, 1], and which trajectory where there are several."""
    parts: dict[str, spaces.Space[Any]] = {"phase": spaces.Box(0.0, 1.0, (), np.float64)}
    if trajectories > 1:
        parts["trajectory"] = spaces.Discrete(trajectories)
    return TaskSpace(spaces.Dict(parts))


class StartsAsTasks(SnapshotTeacher):
    """Lets a task teacher choose starts: neighbours in time are neighbours in its task space.

    A proposed (trajectory, phase) becomes the record of that trajectory with the nearest phase; what comes of it is
    told to the task teacher as the outcome of the proposal. Where the task teacher plays tasks of its own (`sfl`),
    those begin at these records too.

    Args:
        store: Snapshots with their records.
        teacher: Name or import path of a task teacher.
        ordinary: Share of episodes that start at the ordinary reset; the task teacher does not hear of them.
        seed: Seed of this teacher's draws and of the task teacher.
        **hyperparameters: Those of the task teacher; unknown ones are refused.

    Attributes:
        teacher: The task teacher.

    Raises:
        UnknownName: When no task teacher has that name.
        InvalidValue: When it needs a second student (`paired`, `clutr`), who would have to start there too.
        ConfigError: For every unknown or out-of-range hyperparameter.
    """

    state_names = ("teacher", "_inner_ids")

    def __init__(
        self,
        store: SnapshotStore,
        *,
        teacher: str = "success_guided",
        ordinary: float = 0.1,
        seed: int = 0,
        **hyperparameters: Any,
    ) -> None:
        super().__init__(store, seed=seed)
        require(self, ordinary=(ordinary, 0, 1))
        self.ordinary = ordinary
        self._trajectories = list(store.episodes().values())
        self._phases = [phases(store, places) for places in self._trajectories]
        self.start_space = start_space(len(self._trajectories))
        self.teacher = make_teacher(teacher, self.start_space, seed=seed, **hyperparameters)
        if getattr(self.teacher, "wants_second_student", False):
            raise ConfigError(
                [f"teacher = {teacher!r} needs a second student, which snapshot starts do not have: take sfl or plr"],
                where="hyperparameters of StartsAsTasks",
            )
        self.needs = self.teacher.needs
        self.wants_rollouts = bool(getattr(self.teacher, "wants_rollouts", False))
        self._inner_ids: dict[int, int] = {}

    @property
    def rollouts(self) -> Callable[..., list[Outcome]] | None:
        """What plays tasks with the current learner; the task teacher's are played from where they stand for."""
        return getattr(self.teacher, "rollouts", None)

    @rollouts.setter
    def rollouts(self, play: Callable[..., list[Outcome]] | None) -> None:
        inner: Any = self.teacher
        inner.rollouts = None if play is None else partial(self._play, play)

    def _play(
        self,
        play: Callable[..., list[Outcome]],
        tasks: Sequence[Any],
        *,
        repeats: int = 1,
        signals: frozenset[str] = frozenset(),
    ) -> list[Outcome]:
        places = [self._nearest(task) for task in tasks]
        starts = [self._start(place) for place in places]
        outcomes = play([None] * len(starts), repeats=repeats, signals=signals, starts=starts)
        return [self._judged(places[k // repeats], outcome) for k, outcome in enumerate(outcomes)]

    def _judged(self, place: int, outcome: Outcome) -> Outcome:
        record = self.store.records[place]
        if not math.isnan(record.success) or math.isnan(record.to_go):  # or nothing that it could be compared with
            return outcome
        # nobody tells: as good as whoever showed it
        return dataclasses.replace(outcome, success=float(reached(outcome, record)))

    def _choose(self, n: int) -> tuple[Sequence[int], Sequence[str]]:
        chosen = self.rng.random(n) >= self.ordinary
        lessons = iter(self.teacher.propose(int(chosen.sum())))
        places, origins = [], []
        for lesson_id, c in enumerate(chosen, self._next_id):
            if not c:
                places.append(ORDINARY)
                origins.append("starts_as_tasks/ordinary")
                continue
            lesson = next(lessons)
            self._inner_ids[lesson_id] = lesson.id
            places.append(self._nearest(lesson.task))
            origins.append(f"starts_as_tasks/{lesson.origin}")
        while len(self._inner_ids) > MAX_ISSUED:
            del self._inner_ids[next(iter(self._inner_ids))]
        return places, origins

    def _nearest(self, task: Any) -> int:
        trajectory = int(task.get("trajectory", 0))
        return self._trajectories[trajectory][int(np.abs(self._phases[trajectory] - float(task["phase"])).argmin())]

    def _learn(self, places: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        told = []
        for place, outcome in zip(places, outcomes, strict=True):
            inner = self._inner_ids.pop(outcome.lesson_id, None)
            if inner is not None:
                told.append(dataclasses.replace(self._judged(place, outcome), lesson_id=inner))
        self.teacher.observe(told)

    def forget(self, lesson_ids: Iterable[int]) -> None:
        """Drop abandoned lessons here and in the task teacher."""
        dropped = list(lesson_ids)
        super().forget(dropped)
        self.teacher.forget([i for lesson in dropped if (i := self._inner_ids.pop(lesson, None)) is not None])
