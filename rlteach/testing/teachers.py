"""Checks of a teacher: does it keep what `Teacher` promises, whatever it observes?

for finding in check_teacher(MyTeacher):
    print(finding.name, finding.ok, finding.detail, finding.fix)
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Protocol, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.random import get_state as numpy_global_state

from rlteach.files import pack_state, unpack_state
from rlteach.lesson import Lesson, Outcome
from rlteach.protocols import State, Teacher
from rlteach.task_space import TaskSpace, Vector
from rlteach.testing.envs import Finding, Verdict, told

SPACES: dict[str, spaces.Space[Any]] = {
    "1-D Box": spaces.Box(-2.0, 3.0, (), np.float32),
    "2-D Box": spaces.Box(np.array([0.0, -1.0]), np.array([1.0, 1000.0]), dtype=np.float64),
    "mixed Dict": spaces.Dict(
        shape=spaces.Box(0.0, 1.0, (2,), np.float64), map=spaces.Discrete(4), wind=spaces.Box(-5.0, 5.0, (), np.float32)
    ),
    "MultiDiscrete": spaces.MultiDiscrete([3, 5]),
    "50-D Box": spaces.Box(0.0, 1.0, (50,), np.float64),
}
"""The task spaces that a teacher has to cope with."""

BATCH = 8
"""Lessons that are out at the same time, as with 8 environments."""

IDENTICAL = 620
"""Episodes of one and the same task; published teachers hang on them."""

PATIENCE = 120.0
"""Seconds after which a check counts as hanging."""

MOST_WARNINGS = 10
"""A teacher may warn once of what it ignores, not at every episode."""

STATE_SLACK = 2048
"""Bytes by which the size of a state may vary with the digits of counters or the number of components."""


class MakeTeacher(Protocol):
    """Builds a teacher; a teacher's class is one, and so is a `functools.partial` of it."""

    def __call__(self, task_space: TaskSpace, *, seed: int) -> Teacher:
        """Return a new teacher for `task_space`."""


Score: TypeAlias = Callable[[Vector, int], tuple[float, float]]
"""What the synthetic learner achieves: (place of the task in the unit cube, episode) -> (return, success)."""


class _BrokenPromise(Exception):
    """A promise of the protocol that the teacher did not keep, and what to do about it."""

    def __init__(self, detail: str, fix: str) -> None:
        super().__init__(detail)
        self.fix = fix


def _improving(point: Vector, episode: int) -> tuple[float, float]:
    """A learner that masters ever harder tasks; the further from the origin of the unit cube, the harder."""
    ret = float(np.clip(episode / 300 - 2 * point.mean() + 0.2, 0.0, 1.0))
    return ret, float(ret > 0.5)


class _Session:
    """One teacher at work with a synthetic learner; every lesson it gives is examined and noted."""

    def __init__(self, teacher: Teacher, tasks: TaskSpace) -> None:
        self.teacher, self.tasks = teacher, tasks
        self.noted: list[tuple[int, bytes]] = []
        self.episode = 0
        self._ids: set[int] = set()

    def lessons(self, n: int) -> list[Lesson]:
        """Ask for lessons.

        Raises:
            _BrokenPromise: When there are too few or too many, an id comes twice, or a task is not in the space.
        """
        lessons = self.teacher.propose(n)
        if len(lessons) != n:
            raise _BrokenPromise(f"propose({n}) gave {len(lessons)} lessons", "return exactly as many as asked for")
        for lesson in lessons:
            if lesson.id in self._ids:
                raise _BrokenPromise(f"the id {lesson.id} was given twice", "count ids upwards, and save the counter")
            if not self.tasks.contains(lesson.task):
                raise _BrokenPromise(
                    f"the task {lesson.task!r} is not in {self.tasks.space}",
                    "clip points of the unit cube to [0, 1] and build tasks with TaskSpace.from_unit",
                )
            self._ids.add(lesson.id)
            self.noted.append((lesson.id, self.tasks.to_vector(lesson.task).tobytes()))
        return lessons

    def outcomes(self, lessons: Sequence[Lesson], score: Score = _improving) -> list[Outcome]:
        """Play lessons."""
        outcomes = []
        for lesson in lessons:
            ret, success = score(self.tasks.to_unit(lesson.task), self.episode)
            outcomes.append(Outcome(lesson.id, ret, 0.9 * ret, 10, success, terminated=success > 0.5))
            self.episode += 1
        return outcomes

    def play(self, episodes: int, score: Score = _improving) -> None:
        """Play a number of episodes, in batches."""
        for first in range(0, episodes, BATCH):
            self.teacher.observe(self.outcomes(self.lessons(min(BATCH, episodes - first)), score))


@dataclass(frozen=True)
class _Case:
    """The teacher to be checked."""

    make: MakeTeacher
    seed: int
    episodes: int

    def session(self, space: str = "2-D Box", seed: int | None = None) -> _Session:
        """Start anew in one of the `SPACES`."""
        return self.session_in(TaskSpace.of(SPACES[space]), seed)

    def session_in(self, tasks: TaskSpace, seed: int | None = None) -> _Session:
        """Start anew in a task space."""
        return _Session(self.make(tasks, seed=self.seed if seed is None else seed), tasks)


def check_teacher(make: MakeTeacher, *, seed: int = 0, episodes: int = 600) -> list[Finding]:
    """Check everything that delivery, runs and checkpoints rely on in a teacher that chooses tasks.

    Args:
        make: The teacher's class, or a function `make(task_space, seed=0)` that builds one.
        seed: Seed of the teacher wherever no check needs a certain one.
        episodes: Length of the sessions: more than the teacher's warm-up. The size of its state is compared after 5 and
            10 times as many, so that its buffers have to be full by then; give `make` small ones if need be.

    Returns:
        One finding for each check, in a fixed order; only the first when the teacher cannot be built.
    """
    case = _Case(make, seed, episodes)
    found = _guarded(_protocol, case)
    findings = [Finding("protocol", *found)]
    if found.ok:
        findings += [Finding(name, *_guarded(check, case)) for name, check in CHECKS.items()]
    return findings


def _guarded(check: Callable[[_Case], Verdict], case: _Case) -> Verdict:
    """Run a check in a thread of its own, so that a teacher that hangs is a finding as well."""
    verdicts: list[Verdict] = []

    def run() -> None:
        try:
            verdicts.append(check(case))
        except _BrokenPromise as broken:
            verdicts.append(Verdict(False, str(broken), broken.fix))
        except Exception as error:  # a broken teacher may raise anything, and the other checks still tell something
            verdicts.append(Verdict(False, told(error), "no method may raise, whatever the outcomes were"))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(PATIENCE)
    if not verdicts:
        return Verdict(False, f"hangs: no end after {PATIENCE:g} s", "bound every loop, and wait for nothing")
    if not caught or not verdicts[0].ok:
        return verdicts[0]
    message = f"warned {len(caught)} times: {caught[0].message}"
    if len(caught) > MOST_WARNINGS:
        return Verdict(False, message, "warn once, not at every episode")
    return verdicts[0]._replace(detail=f"{verdicts[0].detail}; {message}")


# -- lessons -----------------------------------------------------------------------------------------------------------


def _protocol(case: _Case) -> Verdict:
    teacher = case.session().teacher
    if not isinstance(teacher, Teacher):
        names = ("needs", "propose", "observe", "forget", "state_dict", "load_state_dict")
        lacking = ", ".join(name for name in names if not hasattr(teacher, name))
        return Verdict(False, f"{type(teacher).__name__} lacks {lacking}", "see rlteach.protocols.Teacher")
    if not isinstance(teacher.needs, frozenset) or not all(isinstance(name, str) for name in teacher.needs):
        return Verdict(False, f"needs is {teacher.needs!r}", "make it a frozenset of names, empty for none")
    return Verdict(True, type(teacher).__name__)


def _proposals(case: _Case) -> Verdict:
    for space in SPACES:
        session = case.session(space)
        try:
            for n in (1, 0, 2, 64):
                session.lessons(n)
            session.play(case.episodes)
            session.lessons(64)
        except _BrokenPromise as broken:
            return Verdict(False, f"{space}: {broken}", broken.fix)
    return Verdict(True, f"as many as asked for, each in its space: {', '.join(SPACES)}")


def _never_waits(case: _Case) -> Verdict:
    session = case.session()
    out = [lesson for _ in range(max(200, case.episodes)) for lesson in session.lessons(1)]
    session.teacher.observe(session.outcomes(out[-1:]))
    session.lessons(BATCH)
    return Verdict(True, f"{len(out)} lessons before the first outcome")


# -- seeds -------------------------------------------------------------------------------------------------------------


def _determinism(case: _Case) -> Verdict:
    for seed in sorted({0, 1, case.seed}):
        alone = case.session(seed=seed)
        alone.play(case.episodes)
        again, other = case.session(seed=seed), case.session(seed=seed + 1)
        for first in range(0, case.episodes, BATCH):
            for session in (again, other):
                session.play(min(BATCH, case.episodes - first))
        if alone.noted != again.noted:
            place = next(i for i, (a, b) in enumerate(zip(alone.noted, again.noted, strict=True)) if a != b)
            return Verdict(
                False,
                f"seed {seed}, played again beside another teacher, gave other lessons from lesson {place} on",
                "draw everything from one np.random.default_rng(seed) of the teacher's own; 0 is a seed",
            )
    return Verdict(True, "the same seed and outcomes give the same lessons, also beside another teacher")


def _seeds(case: _Case) -> Verdict:
    drawn = []
    for seed in range(4):
        session = case.session(seed=seed)
        session.play(case.episodes)
        drawn.append(session.noted)
    if all(other == drawn[0] for other in drawn):
        return Verdict(None, "nothing is drawn: every seed gives the same lessons")
    for seed, other in enumerate(drawn):
        if other in drawn[:seed]:
            fix = "hand the seed to np.random.default_rng as it is; test `is None`, not `not seed`"
            return Verdict(False, f"seeds {drawn.index(other)} and {seed} give the same lessons", fix)
    return Verdict(True, "seeds 0 to 3 give different lessons")


def _global_generators(case: _Case) -> Verdict:
    before = _global_states()
    for space in ("2-D Box", "mixed Dict"):
        case.session(space).play(case.episodes)
    changed = [name for name, state in _global_states().items() if state != before[name]]
    if changed:
        fix = "draw from the teacher's own np.random.Generator, and hand it (or an int drawn from it) to libraries"
        return Verdict(False, f"draws from the global generator of {' and '.join(changed)}", fix)
    return Verdict(True, "left alone")


def _global_states() -> dict[str, str]:
    standard = import_module("random")  # only looked at; the house rule against importing it is about drawing from it
    kind, keys, *rest = numpy_global_state(legacy=True)  # noqa: NPY002 - nothing is drawn
    return {"numpy": f"{kind} {np.asarray(keys).tolist()} {rest}", "random": str(standard.getstate())}


# -- odd outcomes ------------------------------------------------------------------------------------------------------


def _not_finite(point: Vector, episode: int) -> tuple[float, float]:
    ret, success = _improving(point, episode)
    return (np.nan, np.inf, -np.inf, ret)[episode % 4], (np.nan if episode % 9 == 0 else success)


def _constant(point: Vector, episode: int) -> tuple[float, float]:
    return 7.0, 0.0


def _huge(point: Vector, episode: int) -> tuple[float, float]:
    return (1.7e308, -1.7e308, 1e-308, 1e300)[episode % 4] * float(point[0]), float(episode % 2)


SURVIVED: dict[str, Score] = {
    "returns that are not finite": _not_finite,
    "constant returns": _constant,
    "huge returns": _huge,
}
"""Odd learners, by name of the check."""


def _survives(score: Score, case: _Case) -> Verdict:
    for space in ("2-D Box", "mixed Dict"):
        session = case.session(space)
        session.play(case.episodes, score)
        session.play(BATCH)
        session.lessons(64)
    return Verdict(True, f"{case.episodes} episodes, and every lesson is in its space")


def _identical_tasks(case: _Case) -> Verdict:
    session = case.session_in(TaskSpace.of(spaces.Discrete(2)))
    wanted, played = None, 0
    for _ in range(5 * IDENTICAL):
        (lesson,) = session.lessons(1)
        wanted = lesson.task if wanted is None else wanted
        if lesson.task == wanted:
            session.teacher.observe(session.outcomes([lesson]))
            played += 1
        else:
            session.teacher.forget([lesson.id])
        if played == IDENTICAL:
            break
    session.lessons(64)
    return Verdict(True, f"{played} times the same task")


def _bookkeeping(case: _Case) -> Verdict:
    """Outcomes out of order, late, twice, of unknown lessons; lessons that are abandoned, told and untold."""
    session, rng = case.session(), np.random.default_rng(case.seed)
    session.teacher.observe([])
    session.teacher.forget([])
    late: list[Lesson] = []
    for _ in range(case.episodes // BATCH + 1):
        out = [*late, *session.lessons(BATCH)]
        out = [out[i] for i in rng.permutation(len(out))]
        late, abandoned, played = out[:2], out[2:4], session.outcomes(out[4:])
        session.teacher.forget([lesson.id for lesson in abandoned[:1]])
        unknown = [Outcome(i, 1.0, 1.0, 1, 1.0, True) for i in (-1, 10**9)]
        session.teacher.observe([*unknown, *played, played[0]])
        session.teacher.observe(session.outcomes(abandoned[:1]))
    session.teacher.forget([-1, 10**9])
    session.lessons(64)
    return Verdict(True, "late, repeated, unknown and abandoned lessons")


# -- state -------------------------------------------------------------------------------------------------------------


def _plain_state(case: _Case) -> Verdict:
    session = case.session("mixed Dict")
    session.play(case.episodes)
    session.lessons(3)
    state = session.teacher.state_dict()
    if foreign := list(_foreign(state, "state")):
        fix = "a state is a nested dict of numeric arrays, numbers, strings, booleans, None, and lists of these"
        return Verdict(False, f"{'; '.join(foreign[:5])}", fix)
    before = pack_state(state)
    session.play(case.episodes)
    if pack_state(state) != before:
        return Verdict(False, "a state changes when the teacher goes on", "copy what state_dict returns")
    return Verdict(True, f"{sum(map(len, before))} bytes of JSON and arrays")


def _foreign(value: Any, place: str) -> Iterator[str]:
    """Yield what does not belong into a state, and where it is."""
    if isinstance(value, dict):
        yield from (f"{place} has the key {key!r}" for key in value if not isinstance(key, str))
        for key, part in value.items():
            yield from _foreign(part, f"{place}[{key!r}]")
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from _foreign(part, f"{place}[{i}]")
    elif isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            yield f"{place} is an array of {value.dtype}"
    elif value is not None and not isinstance(value, bool | int | float | str | np.bool_ | np.integer | np.floating):
        yield f"{place} is a {type(value).__name__}"


def _resume(case: _Case) -> Verdict:
    compared = max(50, case.episodes // 2)
    marks = (BATCH + 3, case.episodes // 2 + 3, case.episodes + 3)
    for space in ("2-D Box", "mixed Dict", "MultiDiscrete"):
        session = case.session(space)
        for mark in marks:
            session.play(mark - session.episode)
            out = session.lessons(5)
            state: State = unpack_state(*pack_state(session.teacher.state_dict()))
            resumed = case.session(space, seed=case.seed + 1)
            resumed.teacher.load_state_dict(state)
            resumed.episode = session.episode
            for one in (session, resumed):
                one.teacher.observe(one.outcomes(out))
                del one.noted[:]
                one.play(compared)
            if session.noted != resumed.noted:
                place = next(i for i, (a, b) in enumerate(zip(session.noted, resumed.noted, strict=True)) if a != b)
                return Verdict(
                    False,
                    f"{space}: saved after {mark} episodes and loaded into a new teacher, lesson {place} is another",
                    "state_dict has to hold all that decides what comes next: generator, ids, lessons in play, buffers",
                )
    return Verdict(True, f"bit for bit, over {compared} lessons after {', '.join(map(str, marks))} episodes")


def _state_size(case: _Case) -> Verdict:
    session = case.session()
    sizes = []
    for _ in range(2):
        session.play(5 * case.episodes)
        sizes.append(sum(map(len, pack_state(session.teacher.state_dict()))))
    grown = f"{sizes[0]} bytes after {5 * case.episodes} episodes, {sizes[1]} after {10 * case.episodes}"
    if sizes[1] > sizes[0] * 1.02 + STATE_SLACK:
        fix = "keep ring buffers, not lists that grow; set them so that they are full by then"
        return Verdict(False, f"the state grows: {grown}", fix)
    return Verdict(True, grown)


CHECKS: dict[str, Callable[[_Case], Verdict]] = {
    "proposals": _proposals,
    "never waits": _never_waits,
    "determinism": _determinism,
    "seeds": _seeds,
    "global generators": _global_generators,
    **{name: partial(_survives, score) for name, score in SURVIVED.items()},
    "identical tasks": _identical_tasks,
    "bookkeeping": _bookkeeping,
    "plain state": _plain_state,
    "resume": _resume,
    "state size": _state_size,
}
"""Every check by name, in the order of the findings; `protocol` comes first."""
