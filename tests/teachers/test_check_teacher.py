"""`check_teacher` is content with a sound teacher and names what is wrong with a broken one."""

import random
import threading
import warnings

import numpy as np
import pytest
from gymnasium.spaces import Box

from rlteach.task_space import TaskSpace
from rlteach.teachers.uniform import Uniform
from rlteach.testing import teachers as kit
from rlteach.testing.envs import Finding
from rlteach.testing.teachers import CHECKS, check_teacher


@pytest.fixture(autouse=True)
def fewer_identical_tasks(monkeypatch):
    monkeypatch.setattr(kit, "IDENTICAL", 250)


class Sound(Uniform):
    """Moves towards the task with the highest return; remembers all there is to remember."""

    state_names = ("best", "place")

    def __init__(self, task_space, *, seed=0):
        super().__init__(task_space, seed=seed, return_range=(0.0, 1.0))
        self.best, self.place = -1e308, [0.5] * self.dimension

    def _draw(self, n):
        return 0.5 * (np.array(self.place) + self.rng.random((n, self.dimension))), [""] * n

    def _learn(self, tasks, returns, successes):
        if returns.max() > self.best:
            self.best, self.place = float(returns.max()), tasks[returns.argmax()].tolist()


class TooFew(Sound):
    def propose(self, n):
        return super().propose(max(1, n - 1))


class SameIds(Sound):
    def propose(self, n):
        self._next_id = 0
        return super().propose(n)


class Outside(Sound):
    def propose(self, n):
        lessons = super().propose(n)
        return [type(one)(one.id, task=_doubled(one.task)) for one in lessons]


def _doubled(task):
    return {key: _doubled(part) for key, part in task.items()} if isinstance(task, dict) else np.asarray(task) * 2 + 1


class NotFinite(Sound):
    """Averages what it observes without looking."""

    def _usable(self, outcome):
        return True

    def _draw(self, n):
        return np.full((n, self.dimension), self.best) - self.best + self.rng.random((n, self.dimension)), [""] * n

    def _learn(self, tasks, returns, successes):
        self.best += float(returns.sum())


class Waiting(Sound):
    def propose(self, n):
        if len(self._issued) > 80:
            raise RuntimeError("80 lessons are out, observe them first")
        return super().propose(n)


class RandomZero(Sound):
    def __init__(self, task_space, *, seed=0):
        super().__init__(task_space, seed=seed or None)


class Shared(Sound):
    generator = np.random.default_rng(0)

    def _draw(self, n):
        return self.generator.random((n, self.dimension)), [""] * n


class OneIsZero(Sound):
    def __init__(self, task_space, *, seed=0):
        super().__init__(task_space, seed=max(seed, 1))


class NumpyGlobal(Sound):
    def _learn(self, tasks, returns, successes):
        np.random.rand()  # noqa: NPY002 - the fault


class StandardGlobal(Sound):
    def _learn(self, tasks, returns, successes):
        random.random()


class DividesByTheSpread(Sound):
    def _learn(self, tasks, returns, successes):
        if returns.max() == returns.min():
            raise ZeroDivisionError("no spread")


class Overflows(Sound):
    def _learn(self, tasks, returns, successes):
        if np.abs(returns).max() > 1e299:
            raise OverflowError("too large")


class StuckOnOneTask(Sound):
    """Raises where a published teacher would loop for ever: hundreds of equal tasks."""

    state_names = ("best", "place", "seen")

    def __init__(self, task_space, *, seed=0):
        super().__init__(task_space, seed=seed)
        self.seen = []

    def _learn(self, tasks, returns, successes):
        self.seen = [*self.seen, *self.task_space.vectors_of_unit(tasks)[:, 0].tolist()][-200:]
        if len(self.seen) == 200 and len(set(self.seen)) == 1:
            raise RuntimeError("no split")


class Gullible(Sound):
    def observe(self, outcomes):
        for outcome in outcomes:
            self._issued[outcome.lesson_id]
        super().observe(outcomes)


class KeepsATuple(Sound):
    def state_dict(self):
        return {**super().state_dict(), "extra": [(1, 2)]}


class KeepsAGenerator(Sound):
    def state_dict(self):
        return {**super().state_dict(), "extra": {"rng": self.rng}}


class KeepsObjects(Sound):
    def state_dict(self):
        return {**super().state_dict(), "extra": np.array([{}]), "next": {1: 2}}


class LendsItsState(Sound):
    def __init__(self, task_space, *, seed=0):
        super().__init__(task_space, seed=seed)
        self.counts = np.zeros(3)

    def _learn(self, tasks, returns, successes):
        self.counts += 1

    def state_dict(self):
        return {**super().state_dict(), "counts": self.counts}


class Forgetful(Sound):
    state_names = ("best",)


class ForgetsWhatIsOut(Sound):
    def load_state_dict(self, state):
        super().load_state_dict(state)
        self._issued.clear()

    def _learn(self, tasks, returns, successes):
        self.best += 1.0
        self.place = [self.best % 1.0 + len(tasks) / 1000] * self.dimension
        self.rng.random(len(tasks))


class Grows(Sound):
    state_names = ("best", "place", "diary")

    def __init__(self, task_space, *, seed=0):
        super().__init__(task_space, seed=seed)
        self.diary = []

    def _learn(self, tasks, returns, successes):
        super()._learn(tasks, returns, successes)
        self.diary += returns.tolist()


class Talkative(Sound):
    def _learn(self, tasks, returns, successes):
        warnings.warn("learning", UserWarning, stacklevel=2)


def failed(make):
    """Return the names of the checks that a teacher fails."""
    findings = [finding for finding in check_teacher(make, episodes=60) if finding.ok is False]
    assert all(finding.detail and finding.fix for finding in findings)
    return {finding.name for finding in findings}


@pytest.mark.parametrize("seed", [0, 5])
def test_a_sound_teacher_has_only_good_findings(seed):
    findings = check_teacher(Sound, seed=seed, episodes=60)
    assert [finding.name for finding in findings] == ["protocol", *CHECKS]
    assert [finding for finding in findings if not finding.ok] == []
    assert all(isinstance(finding, Finding) and finding.detail and not finding.fix for finding in findings)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (Waiting, "never waits"),
        (RandomZero, "determinism"),
        (OneIsZero, "seeds"),
        (NumpyGlobal, "global generators"),
        (StandardGlobal, "global generators"),
        (Overflows, "huge returns"),
        (StuckOnOneTask, "identical tasks"),
        (Gullible, "bookkeeping"),
        (KeepsATuple, "plain state"),
        (LendsItsState, "plain state"),
        (Forgetful, "resume"),
        (ForgetsWhatIsOut, "resume"),
        (Grows, "state size"),
    ],
)
def test_a_single_fault_is_found_and_not_taken_for_another(make, name):
    assert failed(make) == {name}


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (TooFew, {"proposals", "determinism"}),
        (SameIds, {"proposals", "never waits"}),
        (Outside, {"proposals", "constant returns"}),
        (DividesByTheSpread, {"constant returns"}),
        (NotFinite, {"returns that are not finite", "huge returns"}),
        (Shared, {"determinism", "resume"}),
        (KeepsAGenerator, {"plain state", "resume", "state size"}),
        (KeepsObjects, {"plain state", "resume", "state size"}),
        (Talkative, {"proposals", "determinism", "resume", "state size"}),
    ],
)
def test_a_fault_that_shows_in_several_checks_is_found_by_each(make, names):
    assert names <= failed(make)


def test_a_teacher_that_draws_nothing_has_no_seeds_to_tell_apart():
    class Grid(Sound):
        def _draw(self, n):
            return np.full((n, self.dimension), 0.5), [""] * n

    (seeds,) = [finding for finding in check_teacher(Grid, episodes=50) if finding.name == "seeds"]
    assert seeds.ok is None and "nothing is drawn" in seeds.detail


def test_something_that_is_no_teacher_gets_one_finding():
    class Half:
        needs = frozenset()

        def __init__(self, task_space, *, seed=0):
            pass

        def propose(self, n):
            return []

    (finding,) = check_teacher(Half)
    assert finding.name == "protocol" and finding.ok is False
    assert finding.detail == "Half lacks observe, forget, state_dict, load_state_dict"


def test_a_teacher_that_cannot_be_built_gets_one_finding():
    def make(task_space, *, seed):
        raise OSError("no disk")

    (finding,) = check_teacher(make)
    assert finding.name == "protocol" and finding.ok is False and "OSError: no disk" in finding.detail


def test_needs_have_to_be_a_frozenset():
    class Needy(Sound):
        needs = ("values",)

    (finding,) = check_teacher(Needy)
    assert finding.ok is False and "('values',)" in finding.detail


def test_a_teacher_that_hangs_is_a_finding(monkeypatch):
    monkeypatch.setattr(kit, "PATIENCE", 0.05)
    monkeypatch.setattr(kit, "CHECKS", {"never waits": CHECKS["never waits"]})
    end = threading.Event()

    class Hangs(Sound):
        def propose(self, n):
            end.wait(20)
            return super().propose(n)

    *_, finding = check_teacher(Hangs)
    end.set()
    assert finding.name == "never waits" and finding.ok is False and finding.detail.startswith("hangs")


def test_the_checks_leave_the_global_generators_and_the_warning_filters_alone():
    before = np.random.get_state(legacy=True)[1].tolist(), random.getstate(), list(warnings.filters)  # noqa: NPY002
    check_teacher(Sound, episodes=20)
    after = np.random.get_state(legacy=True)[1].tolist(), random.getstate(), list(warnings.filters)  # noqa: NPY002
    assert before == after


def test_the_teacher_gets_a_task_space_and_a_seed():
    asked = []

    def make(task_space, *, seed):
        asked.append((task_space, seed))
        return Sound(task_space, seed=seed)

    check_teacher(make, seed=4, episodes=10)
    assert all(isinstance(space, TaskSpace) for space, _ in asked)
    assert {0, 1, 4} <= {seed for _, seed in asked}
    assert any(space.space == Box(0.0, 1.0, (50,), np.float64) for space, _ in asked)
