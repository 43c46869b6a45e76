"""What every task teacher needs and none should write twice.

A teacher subclasses `TaskTeacher`, names its state in `state_names`, and implements two methods in the unit cube:

    class Uniform(TaskTeacher):
        def _draw(self, n):
            return self.rng.random((n, self.dimension)), ["uniform"] * n

        def _learn(self, tasks, returns, successes):
            pass
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import warnings
from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach import registry
from rlteach.errors import ConfigError, InvalidValue, did_you_mean
from rlteach.lesson import Lesson, Outcome
from rlteach.protocols import State, Teacher
from rlteach.task_space import TaskSpace, clipped

Array: TypeAlias = NDArray[np.float64]

MAX_ISSUED = 65_536
"""Lessons that may be out at once; older ones count as abandoned."""

MAX_WAITING = 4096
"""Outcomes that wait for a lesson issued before theirs."""

NEEDED = ("propose", "observe", "state_dict")
"""What makes a class a teacher."""

RECENT = 1000
"""Number of returns from which the scale of returns is estimated."""

HUGE = 1e300
"""Returns are clipped to this before they are scaled, so that no difference of two overflows."""


_ZERO, _ONE = np.zeros(()), np.ones(())
"""As arrays, since numpy takes longer over Python's numbers."""


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return `np.quantile(ordered, share)` of ascending numbers, bit for bit, in a fraction of its time."""
    place = (len(ordered) - 1) * share
    below = math.floor(place)
    a, b, t = ordered[below], ordered[min(below + 1, len(ordered) - 1)], place - below
    return a + (b - a) * t if t < 0.5 else b - (b - a) * (1.0 - t)


class ReturnScale:
    """Maps returns to [0, 1]: by a known range, else by the 5 % and 95 % quantiles of the last 1000 returns."""

    def __init__(self, return_range: tuple[float, float] | None) -> None:
        if return_range is not None and not (np.isfinite(return_range).all() and return_range[0] < return_range[1]):
            raise InvalidValue(f"return_range needs two finite numbers, the smaller first, not {return_range}")
        self.known = return_range
        self._total = 0
        self._recent: deque[float] = deque()
        self._ordered: list[float] = []  # the recent returns, ascending: sorting them for every task would take longer

    def see(self, returns: Array) -> None:
        """Take in finished returns."""
        if self.known is not None:
            return
        for ret in returns.tolist():
            if len(self._recent) == RECENT:
                del self._ordered[bisect_left(self._ordered, self._recent.popleft())]
            self._recent.append(min(max(ret, -HUGE), HUGE))
            insort(self._ordered, self._recent[-1])
        self._total += len(returns)

    def bounds(self) -> tuple[float, float]:
        """Return the returns that are mapped to 0 and to 1."""
        if self.known is not None:
            return self.known
        if not self._ordered:
            return 0.0, 1.0
        low, high = quantile(self._ordered, 0.05), quantile(self._ordered, 0.95)
        least = max(1.0, 1e-9 * abs(low))  # 1 is lost when it is added to a number beyond 2^53
        return low, high if high > low else low + least

    def __call__(self, returns: Array) -> Array:
        """Scale returns of any shape, clipped to [0, 1]."""
        low, high = self.bounds()
        with np.errstate(over="ignore"):  # an overflow is clipped to 0 or 1 like any other return outside the bounds
            return clipped((clipped(returns, -HUGE, HUGE) - low) / (high - low), 0.0, 1.0)

    def one(self, ret: float) -> float:
        """Scale a single return, several times faster than an array of one."""
        low, high = self.bounds()
        return min(max((min(max(ret, -HUGE), HUGE) - low) / (high - low), 0.0), 1.0)

    def state_dict(self) -> State:
        """Return the recent returns."""
        return {"recent": {"rows": np.array(self._recent, dtype=np.float64)[:, None], "total": self._total}}

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        self._total = int(state["recent"]["total"])
        self._recent = deque(np.asarray(state["recent"]["rows"], dtype=np.float64).ravel().tolist())
        self._ordered = sorted(self._recent)


class OnlyFinite:
    """Leaves out outcomes that are not finite, and says so once."""

    _ignored = 0

    def _usable(self, outcome: Outcome) -> bool:
        if math.isfinite(outcome.ret) and math.isfinite(outcome.success):
            return True
        if self._ignored == 0:
            warnings.warn(
                f"{type(self).__name__} ignores outcomes that are not finite (lesson {outcome.lesson_id}: "
                f"return {outcome.ret}, success {outcome.success})",
                RuntimeWarning,
                stacklevel=3,
            )
        self._ignored += 1
        return False


class InOrder:
    """Hands outcomes on in the order in which their lessons were issued, not in which they ended.

    Side by side, a success ends early and a failure at the time limit: whoever judges the first outcomes to come in
    judges successes.
    """

    _issued: dict[int, Any]
    _waiting: dict[int, Outcome]

    def _arrive(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Keep outcomes of issued lessons until their turn comes; return those that are new."""
        new = [o for o in outcomes if o.lesson_id in self._issued and o.lesson_id not in self._waiting]
        self._waiting.update((outcome.lesson_id, outcome) for outcome in new)
        return new

    def _in_turn(self) -> Iterator[tuple[Any, Outcome]]:
        """Take out what was issued and what became of it, for the lessons before which none is still being played."""
        while self._issued:
            oldest = next(iter(self._issued))
            if oldest in self._waiting:
                yield self._issued.pop(oldest), self._waiting.pop(oldest)
            elif len(self._waiting) > MAX_WAITING:  # whoever is waited for will not come any more
                del self._issued[oldest]
            else:
                return

    def _saved_waiting(self) -> list[State]:
        return [{**dataclasses.asdict(outcome), "signals": dict(outcome.signals)} for outcome in self._waiting.values()]

    def _load_waiting(self, saved: Iterable[State]) -> None:
        self._waiting = {int(values["lesson_id"]): Outcome(**values) for values in saved}


class TaskTeacher(InOrder, OnlyFinite, ABC):
    """Base of teachers that choose tasks: keeps issued lessons, the generator, scaling and state.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        seed: Seed of the teacher's own generator.
        return_range: Smallest and largest undiscounted return of the environment, if known.
    """

    needs: frozenset[str] = frozenset()
    fields: ClassVar[frozenset[str]] = frozenset({"task"})
    """The parts of a lesson that this kind of teacher fills."""
    wants_rollouts: bool = False
    """Whether it plays tasks with the current learner itself, through `rollouts`."""
    wants_second_student: bool = False
    """Whether it lets a second learner play tasks and learn from them, through `second_student`."""
    tied_to_space: ClassVar[bool] = False
    """Whether its hyperparameters mean something in their own task space only, so that no other can check them."""
    learns_in_order: ClassVar[bool] = False
    """Whether it learns from lessons in the order in which they were issued; whoever decides by few outcomes should."""
    state_names: ClassVar[tuple[str, ...]] = ()
    """Attributes that, with the generator and the issued lessons, are the teacher's whole state."""

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        self.task_space = TaskSpace.of(task_space)
        self.dimension = self.task_space.dimension
        self.rng = np.random.default_rng(seed)
        self.scale = ReturnScale(return_range)
        self.rollouts: Callable[..., list[Outcome]] | None = None
        self.second_student: Callable[..., list[Outcome]] | None = None
        self._issued: dict[int, Array] = {}
        self._waiting: dict[int, Outcome] = {}
        self._next_id = 0

    @abstractmethod
    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        """Return `n` points of the unit cube (n, dimension) and where each came from."""

    @abstractmethod
    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        """Take in finished tasks (n, dimension), raw returns (n,) and successes in [0, 1] (n,); all are finite."""

    def propose(self, n: int) -> list[Lesson]:
        """Return `n` lessons whose tasks are elements of the task space."""
        if n == 0:
            return []
        points, origins = self._draw(n)
        points = clipped(points, _ZERO, _ONE)
        lessons = []
        for point, task, origin in zip(points, self.task_space.tasks_of_unit(points), origins, strict=True):
            lessons.append(Lesson(self._next_id, task=task, origin=origin))
            self._issued[self._next_id] = point
            self._next_id += 1
        while len(self._issued) > MAX_ISSUED:
            del self._issued[next(iter(self._issued))]
        return lessons

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        """Learn from finished lessons; ones never issued here, and ones with a non-finite return, are left out."""
        if self.learns_in_order:
            self._arrive(outcomes)
            self._take_in(self._in_turn())
        else:
            self._take_in((self._issued.pop(o.lesson_id), o) for o in outcomes if o.lesson_id in self._issued)

    def _take_in(self, finished: Iterable[tuple[Array, Outcome]]) -> None:
        kept, tasks = [], []
        for task, outcome in finished:
            if self._usable(outcome):
                kept.append(outcome)
                tasks.append(task)
        if not kept:
            return
        returns = np.array([outcome.ret for outcome in kept], dtype=np.float64)
        successes = np.array([min(max(outcome.success, 0.0), 1.0) for outcome in kept], dtype=np.float64)
        self.scale.see(returns)
        self._learn(np.array(tasks), returns, successes)

    def forget(self, lesson_ids: Iterable[int]) -> None:
        """Drop abandoned lessons."""
        for lesson_id in lesson_ids:
            self._issued.pop(lesson_id, None)
            self._waiting.pop(lesson_id, None)
        if self._waiting:
            self._take_in(self._in_turn())

    def portrait(self) -> dict[str, Array]:
        """Return what the teacher has in mind, for pictures, in the unit cube; empty when there is nothing to draw.

        Columns of one length k, named `shape/column`: `ellipses/mean` (k, d) with `ellipses/covariance` (k, d, d),
        `boxes/low` with `boxes/high` (k, d), `points/place` (k, d), or `field/place` (k, d) for points that stand for
        the whole space. A further column (k,) colours them and is named for what it is, as `boxes/learning progress`.

        Asking changes nothing: no state, and no draw from the teacher's generator.
        """
        return {}

    def state_dict(self) -> State:
        """Return everything that decides what the teacher does next."""
        return {
            "schema": 1,
            "teacher": type(self).__name__,
            "dimension": self.dimension,
            "rng": self.rng.bit_generator.state,
            "next_id": self._next_id,
            "issued_ids": np.array(list(self._issued), dtype=np.int64),
            "issued_tasks": np.array(list(self._issued.values())).reshape(-1, self.dimension),
            "waiting": self._saved_waiting(),
            "scale": self.scale.state_dict(),
            "own": {name: saved(getattr(self, name)) for name in self.state_names},
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`, bit-exactly.

        Raises:
            InvalidValue: When the state is another teacher's.
        """
        found = tuple(state.get(key) for key in ("teacher", "dimension", "schema"))
        if found != (type(self).__name__, self.dimension, 1):
            ours = f"{type(self).__name__} in {self.dimension} dimensions (schema 1)"
            raise InvalidValue(
                f"this state belongs to {found[0]} in {found[1]} dimensions (schema {found[2]}), not to {ours}"
            )
        self.rng.bit_generator.state = state["rng"]
        self._next_id = int(state["next_id"])
        ids = [int(i) for i in state["issued_ids"]]
        self._issued = dict(zip(ids, np.array(state["issued_tasks"]), strict=True))
        self._load_waiting(state.get("waiting", ()))  # not there: saved before anything could wait
        self.scale.load_state_dict(state["scale"])
        for name in self.state_names:
            current = getattr(self, name)
            if hasattr(current, "load_state_dict"):
                current.load_state_dict(state["own"][name])
            else:
                setattr(self, name, saved(state["own"][name]))


def saved(value: Any) -> Any:
    """Return the state of an object that has one, else a copy of a plain value."""
    if hasattr(value, "state_dict"):
        return value.state_dict()
    return copy.deepcopy(value)


def require(owner: object, **ranges: tuple[float, float | None, float | None]) -> None:
    """Check hyperparameters given as `name=(value, low, high)`; None leaves a side open.

    Raises:
        ConfigError: Every hyperparameter that is out of range, at once.
    """
    faults = []
    for name, (value, low, high) in ranges.items():
        if not isinstance(value, Real):
            faults.append(f"{name} = {value!r} must be a number")
        elif not (np.isfinite(value) and (low is None or value >= low) and (high is None or value <= high)):
            left = "-inf" if low is None else f"{low:g}"
            right = "inf" if high is None else f"{high:g}"
            faults.append(f"{name} = {value!r} must lie in [{left}, {right}]")
    if faults:
        raise ConfigError(faults, where=f"hyperparameters of {type(owner).__name__}")


def hyperparameter_faults(cls: type, given: Iterable[str], *, reserved: Iterable[str] = ()) -> list[str]:
    """Return one sentence for each keyword argument that the constructor of `cls` does not take."""
    parameters = inspect.signature(cls).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return []
    known = [name for name in parameters if name not in set(reserved)]
    return [
        f"{cls.__name__} has no hyperparameter {name!r}.{did_you_mean(name, known)} It takes: {', '.join(known)}."
        for name in given
        if name not in known
    ]


def teacher_faults(name: str, hyperparameters: Mapping[str, Any]) -> list[str]:
    """Return one sentence for everything wrong with a teacher's hyperparameters, before there is an environment.

    Raises:
        UserError: When no teacher has that name.
    """
    cls = registry.load("teacher", name)
    faults = class_faults("teacher", name, cls, NEEDED) or hyperparameter_faults(
        cls, hyperparameters, reserved=["task_space"]
    )
    if faults or getattr(cls, "tied_to_space", False):
        return faults
    parameters = inspect.signature(cls).parameters.values()
    # What only the environment or an earlier run can give is left open: a constructor stores and validates.
    unknown = {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
    try:
        cls(TaskSpace(spaces.Box(0.0, 1.0, (1,))), **{**hyperparameters, **unknown})
    except ConfigError as error:
        return error.faults
    except InvalidValue as error:
        return [str(error)]
    except Exception:  # it wants more than that; whatever is wrong is told when it is built
        return []
    return []


def class_faults(kind: str, name: Any, cls: Any, needed: Sequence[str]) -> list[str]:
    """Return a sentence when `cls`, found under `name`, is no class with the methods that its kind needs."""
    missing = [part for part in needed if not callable(getattr(cls, part, None))]
    if isinstance(cls, type) and not missing:
        return []
    return [
        f"{name!r} is no {kind}: it has no {', '.join(missing) or 'constructor'}. "
        f"`rlteach list {kind}s` shows every registered one."
    ]


def make_teacher(name: str, task_space: TaskSpace | spaces.Space[Any], **hyperparameters: Any) -> Teacher:
    """Build a registered teacher (or one given as import path) for a task space.

    Raises:
        UnknownName: When no teacher has that name.
        ConfigError: For every unknown or out-of-range hyperparameter.
    """
    cls = registry.load("teacher", name)
    if faults := class_faults("teacher", name, cls, NEEDED):
        raise ConfigError(faults, where=f"teacher {name!r}")
    faults = hyperparameter_faults(cls, hyperparameters, reserved=["task_space"])
    faults += [
        f"{cls.__name__} needs {p.name!r}, which has no default"
        for p in inspect.signature(cls).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.default is p.empty and p.name not in hyperparameters
    ]
    if faults:
        raise ConfigError(faults, where=f"teacher {name!r}")
    teacher: Teacher = cls(TaskSpace.of(task_space), **hyperparameters)
    return teacher
