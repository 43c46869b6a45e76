"""What every start-state teacher needs and none should write twice.

A teacher of snapshots subclasses `SnapshotTeacher`, names its state in `state_names`, and implements two methods:

    class First(SnapshotTeacher):
        def _choose(self, n):
            return [0] * n, ["first"] * n  # places in the store; ORDINARY stands for the ordinary reset

        def _learn(self, places, outcomes):
            pass
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from rlteach.errors import InvalidValue
from rlteach.lesson import Lesson, Outcome, Start
from rlteach.protocols import Snapshot, State
from rlteach.snapshots.encoding import decode, encode
from rlteach.snapshots.store import Record, SnapshotStore
from rlteach.teachers.base import MAX_ISSUED, InOrder, OnlyFinite, saved

ORDINARY = -1
"""The place that stands for the ordinary reset; its lessons have no start."""

SLACK = 1e-6
"""Share of a return that may be lost to rounding (rewards pass through float32) and still count as reached."""


class StartTeacher(InOrder, OnlyFinite, ABC):
    """Base of teachers that choose where episodes start: keeps issued lessons, the generator, steps seen and state.

    Outcomes are learned from in the order in which lessons were issued, not in which they ended (`InOrder`).

    Args:
        seed: Seed of the teacher's own generator.

    Attributes:
        steps: Environment steps of the learner in the finished lessons of this teacher; schedules count in these.
    """

    needs: frozenset[str] = frozenset()
    fields: ClassVar[frozenset[str]] = frozenset({"start"})
    """The parts of a lesson that this kind of teacher fills."""
    tied_to_store: ClassVar[frozenset[str]] = frozenset()
    """Hyperparameters that mean something in their own store only, so that a made-up one cannot check them."""
    decides_by_success: bool = False
    """Whether it goes by `Outcome.success` alone, which is a mere rank of returns where nobody tells success."""
    state_names: ClassVar[tuple[str, ...]] = ()
    """Attributes that, with the generator, the issued lessons and `steps`, are the teacher's whole state."""

    def __init__(self, *, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.steps = 0
        self._issued: dict[int, int] = {}
        self._waiting: dict[int, Outcome] = {}
        self._next_id = 0

    @abstractmethod
    def _choose(self, n: int) -> tuple[Sequence[int], Sequence[str]]:
        """Return `n` places (integers, `ORDINARY` for the ordinary reset) and where each came from."""

    @abstractmethod
    def _start(self, place: int) -> Start:
        """Return the start that a place other than `ORDINARY` stands for."""

    @abstractmethod
    def _learn(self, places: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        """Take in finished lessons with the places they started from; returns and successes are finite."""

    def propose(self, n: int) -> list[Lesson]:
        """Return `n` lessons; those of the ordinary reset have `start=None`."""
        lessons = []
        for place, origin in zip(*self._choose(n), strict=True):
            start = None if place == ORDINARY else self._start(place)
            lessons.append(Lesson(self._next_id, start=start, origin=origin))
            self._issued[self._next_id] = int(place)
            self._next_id += 1
        self.forget(
            [lesson_id for lesson_id, _ in zip(self._issued, range(len(self._issued) - MAX_ISSUED), strict=False)]
        )
        return lessons

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        """Learn from finished lessons; ones never issued here, and ones that are not finite, are left out."""
        self.steps += sum(outcome.length for outcome in self._arrive(outcomes))
        self._learn_in_order()

    def forget(self, lesson_ids: Iterable[int]) -> None:
        """Drop abandoned lessons."""
        for lesson_id in lesson_ids:
            self._issued.pop(lesson_id, None)
            self._waiting.pop(lesson_id, None)
        self._learn_in_order()

    def _learn_in_order(self) -> None:
        """Learn from the finished lessons before which none is still being played."""
        places, kept = [], []
        for place, outcome in self._in_turn():
            if self._usable(outcome):
                places.append(place)
                kept.append(outcome)
        if kept:
            self._learn(places, kept)

    def _identity(self) -> State:
        """Return what a saved state must have in common with this teacher."""
        return {"schema": 1, "teacher": type(self).__name__}

    def state_dict(self) -> State:
        """Return everything that decides what the teacher does next."""
        return {
            **self._identity(),
            "rng": self.rng.bit_generator.state,
            "steps": self.steps,
            "next_id": self._next_id,
            "issued": np.array(list(self._issued.items()), dtype=np.int64).reshape(-1, 2),
            "waiting": self._saved_waiting(),
            "own": {name: saved(getattr(self, name)) for name in self.state_names},
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`, bit-exactly.

        Raises:
            InvalidValue: When the state is another teacher's, or belongs to other snapshots.
        """
        for key, ours in self._identity().items():
            if state.get(key) != ours:
                raise InvalidValue(
                    f"this state has the {key} {state.get(key)!r}, not {ours!r} as this {type(self).__name__}; "
                    "build the teacher as it was built when the state was saved"
                )
        self.rng.bit_generator.state = state["rng"]
        self.steps = int(state["steps"])
        self._next_id = int(state["next_id"])
        self._issued = {int(lesson_id): int(place) for lesson_id, place in state["issued"]}
        self._load_waiting(state["waiting"])
        for name in self.state_names:
            current = getattr(self, name)
            if hasattr(current, "load_state_dict"):
                current.load_state_dict(state["own"][name])
            else:
                setattr(self, name, saved(state["own"][name]))


class SnapshotTeacher(StartTeacher):
    """Base of teachers whose episodes start from the snapshots of a store.

    Args:
        store: Snapshots with their records; complete, since places in it must go on meaning the same.
        seed: Seed of the teacher's own generator.

    Raises:
        InvalidValue: When the store is empty, or (by `propose`) when it dropped records since.
    """

    def __init__(self, store: SnapshotStore, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        if len(store) == 0:
            raise InvalidValue(
                f"{type(self).__name__} starts episodes from snapshots, and this store holds none. Collect some first: "
                "rlteach.snapshots.collect.collect(env, policy, store), with policy=None for random actions"
            )
        self.store = store
        self._dropped = store.dropped
        self._content = hashlib.sha256("".join(record.key for record in store.records).encode()).hexdigest()

    def _start(self, place: int) -> Start:
        if self.store.dropped != self._dropped:
            raise InvalidValue(
                f"the store dropped {self.store.dropped - self._dropped} records since this {type(self).__name__} was "
                "built, so that its places mean other snapshots now; collect before, or with a larger capacity"
            )
        record = self.store.records[place]
        return Start(self.store.snapshot(place), elapsed=self._elapsed(record), limit=self._limit(record))

    def _elapsed(self, record: Record) -> int:
        """Return how much of the time limit is used up: as much as when the snapshot was taken."""
        return record.step

    def _limit(self, record: Record) -> int | None:
        """Return the number of steps after which the episode is truncated; None leaves that to the environment."""
        return None

    def _identity(self) -> State:
        return {**super()._identity(), "fingerprint": self.store.fingerprint, "snapshots": self._content}


class SnapshotPool:
    """Snapshots that a teacher found itself, under running numbers that are never used twice, and saved with it.

    Attributes:
        rows: A few numbers of the teacher's own beside each snapshot.
    """

    def __init__(self) -> None:
        self.rows: dict[int, list[float]] = {}
        self._payloads: dict[int, bytes] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, snapshot: Snapshot, row: Sequence[float]) -> int:
        """Keep a snapshot and return its number."""
        number, self._next = self._next, self._next + 1
        self._payloads[number] = encode(snapshot)
        self.rows[number] = list(row)
        return number

    def snapshot(self, number: int) -> Snapshot:
        """Return a snapshot, as a copy that its user may change."""
        return decode(self._payloads[number])

    def keep(self, numbers: Iterable[int]) -> None:
        """Drop all but these."""
        kept = set(numbers)
        for number in [number for number in self.rows if number not in kept]:
            self.drop(number)

    def drop(self, number: int) -> None:
        """Drop one."""
        del self.rows[number], self._payloads[number]

    def state_dict(self) -> State:
        """Return all snapshots with their rows."""
        payloads = [self._payloads[number] for number in self.rows]
        return {
            "next": self._next,
            "numbers": np.array(list(self.rows), dtype=np.int64),
            "rows": np.array(list(self.rows.values()), dtype=np.float64),
            "sizes": np.array([len(payload) for payload in payloads], dtype=np.int64),
            "payloads": np.frombuffer(b"".join(payloads), dtype=np.uint8),
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        numbers = np.asarray(state["numbers"]).tolist()
        ends = np.cumsum(state["sizes"]).tolist()
        data = np.asarray(state["payloads"], dtype=np.uint8).tobytes()
        self._next = int(state["next"])
        self.rows = dict(zip(numbers, np.asarray(state["rows"]).tolist(), strict=True))
        pieces = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        self._payloads = dict(zip(numbers, pieces, strict=True))


def reached(outcome: Outcome, record: Record) -> bool:
    """Tell whether an episode from `record` did as well as the trajectory that the record belongs to.

    A trajectory that succeeded asks for success; of one that failed, or whose success is unknown, its undiscounted
    return from that record on is asked for.
    """
    if record.success > 0:  # False for nan
        return outcome.success >= 0.5
    return outcome.ret >= record.to_go - SLACK * max(1.0, abs(record.to_go))


def demonstrations(store: SnapshotStore, *, wanted_by: str) -> dict[int, list[int]]:
    """Return the places of every trajectory worth following, in order of step: all but those known to have failed.

    Args:
        store: Snapshots with their records.
        wanted_by: The teacher that asks, for the message.

    Raises:
        InvalidValue: When every trajectory failed, or tells nothing that an episode could be compared with.
    """
    found = store.episodes()
    worthy = {number: places for number, places in found.items() if not store.records[places[0]].success <= 0}
    if not worthy:
        raise InvalidValue(
            f"{wanted_by} follows trajectories that succeeded, and all {len(found)} of this store failed. The tasks "
            "that were drawn may be impossible: look at them, let the task teacher draw others, or collect more "
            "episodes. If they are not, it takes a better policy, or a teacher that needs no success (UniformStarts)"
        )
    for number, places in worthy.items():
        check_comparable(store, number, places, wanted_by=wanted_by)
    return worthy


def check_led(store: SnapshotStore, demonstrated: Iterable[Sequence[int]], *, wanted_by: str) -> None:
    """Refuse trajectories of one snapshot each, along which nobody can be led back.

    Raises:
        InvalidValue: When none has two.
    """
    followed = list(demonstrated)
    if max(map(len, followed)) > 1:
        return
    longest = max(store.records[places[0]].step + store.records[places[0]].remaining for places in followed)
    if longest < 2:  # whoever is done after one step has no second place
        return
    raise InvalidValue(
        f"{wanted_by} goes back along demonstrations, and none that it would follow has a second snapshot (the longest "
        f"of {len(followed)} takes {longest} steps); collect with a smaller `every` (starts.every in a run)"
    )


def check_comparable(store: SnapshotStore, number: int, places: Sequence[int], *, wanted_by: str) -> None:
    """Refuse a trajectory that `reached` cannot compare an episode with.

    Raises:
        InvalidValue: When it did not succeed and does not tell its return to go.
    """
    records = [store.records[place] for place in places]
    if not all(record.success > 0 or math.isfinite(record.to_go) for record in records):
        raise InvalidValue(
            f"{wanted_by} compares episodes with trajectory {number}, which tells neither success nor its return to "
            "go; collect it with rlteach.snapshots.collect, or give `to_go` to SnapshotStore.add"
        )


def one_of(places: Sequence[int], rng: np.random.Generator) -> int:
    """Draw one place uniformly."""
    return int(places[int(rng.integers(len(places)))])
