"""What every task teacher shares: lessons by id, scaling, state, and refusals before anything is trained."""

import warnings

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st

from rlteach.errors import ConfigError, InvalidValue, UnknownName
from rlteach.lesson import Outcome
from rlteach.protocols import Teacher
from rlteach.teachers import base
from rlteach.teachers.base import ReturnScale, TaskTeacher, hyperparameter_faults, make_teacher, require
from rlteach.teachers.history import History
from rlteach.teachers.uniform import Uniform

SPACE = Dict(x=Box(-1.0, 1.0, (), np.float64), k=Discrete(5))


class Recorder(TaskTeacher):
    """Notes what it is taught; its state holds a buffer, an array, a number and a list."""

    state_names = ("memory", "array", "count", "notes")

    def __init__(self, task_space=SPACE, *, seed=0, return_range=None):
        super().__init__(task_space, seed=seed, return_range=return_range)
        self.memory = History(4, 1)
        self.array = np.zeros(2)
        self.count = 0
        self.notes = []

    def _draw(self, n):
        return self.rng.random((n, self.dimension)), ["here"] * n

    def _learn(self, tasks, returns, successes):
        self.memory.append(returns[:, None])
        self.array = self.array + returns.sum()
        self.count += len(tasks)
        self.notes.append([tasks, returns.tolist(), successes.tolist()])


class Careless(Recorder):
    """Proposes points outside the unit cube."""

    def _draw(self, n):
        return self.rng.normal(0.5, 20.0, (n, self.dimension)), ["far"] * n


def outcome(lesson, ret=1.0, success=1.0):
    return Outcome(lesson.id, ret=ret, discounted_ret=ret, length=3, success=success, terminated=True)


# -- lessons -----------------------------------------------------------------------------------------------------------


def test_a_task_teacher_fulfils_the_protocol():
    assert isinstance(Recorder(), Teacher)


@pytest.mark.parametrize("n", [0, 1, 17])
def test_propose_gives_exactly_as_many_lessons_as_asked_each_with_its_own_id(n):
    teacher = Recorder()
    lessons = [*teacher.propose(n), *teacher.propose(n)]
    assert [lesson.id for lesson in lessons] == list(range(2 * n))
    assert all(SPACE.contains(lesson.task) and lesson.origin == "here" for lesson in lessons)


def test_a_point_outside_the_cube_is_moved_to_its_border():
    lessons = Careless().propose(50)
    assert all(SPACE.contains(lesson.task) for lesson in lessons)
    assert {float(lesson.task["x"]) for lesson in lessons} >= {-1.0, 1.0}


def test_outcomes_reach_the_teacher_with_the_unit_cube_point_of_their_lesson_whatever_their_order():
    teacher = Recorder()
    first, second = teacher.propose(2)
    teacher.observe([outcome(second, ret=2.0, success=0.0), outcome(first, ret=1.0)])
    tasks, returns, successes = teacher.notes[0]
    assert returns == [2.0, 1.0] and successes == [0.0, 1.0]
    again = [teacher.task_space.from_unit(task) for task in tasks]
    assert again == [second.task, first.task]


def test_a_lesson_is_credited_once():
    teacher = Recorder()
    (lesson,) = teacher.propose(1)
    teacher.observe([outcome(lesson)])
    teacher.observe([outcome(lesson)])
    assert teacher.count == 1


def test_forgotten_and_foreign_lessons_are_not_learned_from():
    teacher = Recorder()
    kept, dropped = teacher.propose(2)
    teacher.forget([dropped.id, 12345])
    stranger = Outcome(999, ret=5.0, discounted_ret=5.0, length=1, success=1.0, terminated=True)
    teacher.observe([outcome(dropped), stranger])
    assert teacher.count == 0
    teacher.observe([outcome(kept)])
    assert teacher.count == 1


def test_lessons_that_never_come_back_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(base, "MAX_ISSUED", 10)
    teacher = Recorder()
    lessons = [lesson for _ in range(8) for lesson in teacher.propose(3)]
    assert len(teacher.state_dict()["issued_ids"]) == 10
    teacher.observe([outcome(lesson) for lesson in lessons])
    assert teacher.count == 10
    assert len(teacher.state_dict()["issued_ids"]) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["ret", "success"])
def test_an_outcome_that_is_not_finite_is_warned_about_once_and_ignored(field, bad):
    teacher = Recorder()
    lessons = teacher.propose(4)
    with pytest.warns(RuntimeWarning, match="Recorder ignores outcomes that are not finite") as caught:
        teacher.observe([outcome(lessons[0], **{field: bad}), outcome(lessons[1], **{field: bad})])
        teacher.observe([outcome(lessons[2], **{field: bad}), outcome(lessons[3])])
    assert len(caught) == 1
    assert teacher.count == 1


def test_success_is_clipped_to_the_unit_interval():
    teacher = Recorder()
    low, high = teacher.propose(2)
    teacher.observe([outcome(low, success=-3.0), outcome(high, success=7.0)])
    assert teacher.notes[0][2] == [0.0, 1.0]


# -- seeds and state ---------------------------------------------------------------------------------------------------


def drawn(teacher, n=5):
    return [teacher.task_space.to_vector(lesson.task).tolist() for lesson in teacher.propose(n)]


def test_the_same_seed_draws_the_same_lessons_and_seed_zero_is_a_seed():
    assert drawn(Recorder(seed=0)) == drawn(Recorder(seed=0))
    assert drawn(Recorder(seed=0)) != drawn(Recorder(seed=1))


def test_a_teacher_resumes_bit_exactly_with_lessons_in_play():
    saved = Recorder(seed=3)
    lessons = saved.propose(6)
    saved.observe([outcome(lesson, ret=float(lesson.id)) for lesson in lessons[:4]])
    loaded = Recorder(seed=99)
    loaded.load_state_dict(saved.state_dict())
    for teacher in (saved, loaded):
        teacher.observe([outcome(lesson, ret=10.0) for lesson in lessons[4:]])
    assert saved.count == loaded.count == 6
    assert np.array_equal(saved.array, loaded.array)
    assert np.array_equal(saved.memory.rows(), loaded.memory.rows())
    assert saved.scale.bounds() == loaded.scale.bounds()
    assert drawn(saved) == drawn(loaded)
    assert [lesson.id for lesson in saved.propose(2)] == [lesson.id for lesson in loaded.propose(2)]


def test_a_state_is_a_copy_that_later_lessons_do_not_change():
    teacher = Recorder()
    state = teacher.state_dict()
    teacher.observe([outcome(lesson) for lesson in teacher.propose(3)])
    assert state["own"]["notes"] == [] and state["own"]["count"] == 0
    other = Recorder()
    other.load_state_dict(teacher.state_dict())
    other.notes.append("mine")
    assert len(teacher.notes) == 1


@pytest.mark.parametrize(
    ("theirs", "text"),
    [
        (Uniform(SPACE), "Uniform in 2 dimensions"),
        (Recorder(Box(0.0, 1.0, (3,))), "Recorder in 3 dimensions"),
    ],
)
def test_the_state_of_another_teacher_or_space_is_refused(theirs, text):
    with pytest.raises(InvalidValue, match=f"this state belongs to {text} .* not to Recorder in 2 dimensions"):
        Recorder().load_state_dict(theirs.state_dict())


def test_a_state_of_another_schema_is_refused():
    state = Recorder().state_dict()
    with pytest.raises(InvalidValue, match="schema 2"):
        Recorder().load_state_dict({**state, "schema": 2})


# -- scaling of returns ------------------------------------------------------------------------------------------------


def test_a_known_range_scales_linearly_and_clips():
    scale = ReturnScale((-10.0, 30.0))
    scale.see(np.array([500.0]))
    assert scale(np.array([-10.0, 0.0, 30.0, 99.0, -99.0])).tolist() == [0.0, 0.25, 1.0, 1.0, 0.0]


def test_an_unknown_range_is_taken_from_the_quantiles_of_recent_returns():
    scale = ReturnScale(None)
    assert scale.bounds() == (0.0, 1.0)
    scale.see(np.full(300, 1e6))
    scale.see(np.arange(1001.0))
    assert scale.bounds() == pytest.approx((1 + 0.05 * 999, 1 + 0.95 * 999))


def test_a_constant_return_is_scaled_to_zero_and_not_divided_by_zero():
    scale = ReturnScale(None)
    scale.see(np.full(5, 7.0))
    assert scale(np.array([7.0, 7.5, 8.0])).tolist() == [0.0, 0.5, 1.0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_scaled_returns_lie_in_the_unit_interval_whatever_the_returns(returns):
    scale = ReturnScale(None)
    values = np.array(returns)
    scale.see(values)
    scaled = scale(values)
    assert ((scaled >= 0.0) & (scaled <= 1.0)).all()


@pytest.mark.parametrize("bad", [(1.0, 1.0), (2.0, 1.0), (0.0, np.inf), (np.nan, 1.0)])
def test_a_range_without_two_finite_ordered_ends_is_refused(bad):
    with pytest.raises(InvalidValue, match="return_range needs two finite numbers"):
        Uniform(SPACE, return_range=bad)


# -- hyperparameters ---------------------------------------------------------------------------------------------------


def test_require_lists_every_hyperparameter_that_is_out_of_range():
    with pytest.raises(ConfigError) as caught:
        require(
            Recorder(),
            alpha=(1.5, 0.0, 1.0),
            size=(0, 1, None),
            top=(9, None, 5),
            rate=(np.nan, 0.0, None),
            text=("1e-3", 0.0, 1.0),
            nothing=(None, 0.0, 1.0),
            edge=(1.0, 0.0, 1.0),
        )
    assert caught.value.faults == [
        "alpha = 1.5 must lie in [0, 1]",
        "size = 0 must lie in [1, inf]",
        "top = 9 must lie in [-inf, 5]",
        "rate = nan must lie in [0, inf]",
        "text = '1e-3' must be a number",
        "nothing = None must be a number",
    ]
    assert "hyperparameters of Recorder" in str(caught.value)


def test_require_is_silent_when_all_is_well():
    require(Recorder(), alpha=(0, 0.0, 1.0), count=(np.int64(3), 1, None))


def test_a_misspelt_hyperparameter_gets_the_nearest_one_and_the_whole_list():
    assert hyperparameter_faults(Uniform, ["return_rang", "seed"], reserved=["task_space"]) == [
        "Uniform has no hyperparameter 'return_rang'. Did you mean 'return_range'? It takes: seed, return_range."
    ]


def test_a_constructor_that_takes_anything_has_no_unknown_hyperparameters():
    class Anything:
        def __init__(self, **kwargs):
            self.kwargs = kwargs

    assert hyperparameter_faults(Anything, ["whatever"]) == []


def test_make_teacher_builds_by_name_and_by_import_path():
    assert drawn(make_teacher("uniform", SPACE, seed=4)) == drawn(Uniform(SPACE, seed=4))
    assert isinstance(make_teacher("rlteach.teachers.uniform.Uniform", SPACE), Uniform)


class NeedsLessons(Recorder):
    def __init__(self, task_space, *, lessons, seed=0):
        super().__init__(task_space, seed=seed)


def test_make_teacher_reports_unknown_and_missing_hyperparameters_together(monkeypatch):
    monkeypatch.setattr(base.registry, "load", lambda kind, name: NeedsLessons)
    with pytest.raises(ConfigError) as caught:
        make_teacher("mine", SPACE, sede=1)
    assert caught.value.faults == [
        "NeedsLessons has no hyperparameter 'sede'. Did you mean 'seed'? It takes: lessons, seed.",
        "NeedsLessons needs 'lessons', which has no default",
    ]


def test_make_teacher_refuses_unknown_names_and_unusable_spaces():
    with pytest.raises(UnknownName, match="Did you mean 'uniform'"):
        make_teacher("unifrm", SPACE)
    with pytest.raises(ConfigError, match="zero width"):
        make_teacher("uniform", Box(1.0, 1.0, ()))


def test_uniform_covers_the_whole_space_evenly_and_learns_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        teacher = Uniform(Box(0.0, 1.0, (1,), np.float64), seed=5)
        lessons = teacher.propose(4000)
        counts, _ = np.histogram([float(lesson.task[0]) for lesson in lessons], bins=10, range=(0, 1))
        assert (np.abs(counts - 400) < 5 * np.sqrt(400)).all()
        teacher.observe([outcome(lesson) for lesson in lessons[:10]])
    assert all(lesson.origin == "uniform" for lesson in lessons)


# -- order -------------------------------------------------------------------------------------------------------------


class Patient(Recorder):
    """Learns in the order in which its lessons were issued."""

    learns_in_order = True


def returns_seen(teacher):
    return [ret for _, returns, _ in teacher.notes for ret in returns]


def test_whoever_learns_in_order_waits_for_the_lessons_issued_before():
    patient, hasty = Patient(), Recorder()
    for teacher in (patient, hasty):
        lessons = teacher.propose(4)
        for place in (2, 0, 3):
            teacher.observe([outcome(lessons[place], ret=float(place))])
    assert returns_seen(patient) == [0.0] and returns_seen(hasty) == [2.0, 0.0, 3.0]
    patient.observe([outcome(lessons[2], ret=9.0), outcome(lessons[1], ret=1.0)])
    assert returns_seen(patient) == [0.0, 1.0, 2.0, 3.0]


def test_nobody_waits_for_a_lesson_that_was_abandoned():
    teacher = Patient()
    lessons = teacher.propose(3)
    teacher.observe([outcome(lessons[1], ret=1.0), outcome(lessons[2], ret=float("nan"))])
    assert returns_seen(teacher) == []
    with pytest.warns(RuntimeWarning, match="not finite"):
        teacher.forget([lessons[0].id])
    assert returns_seen(teacher) == [1.0] and not teacher._issued and not teacher._waiting


def test_what_waits_is_bounded():
    teacher = Patient()
    lessons = teacher.propose(base.MAX_WAITING + 2)
    teacher.observe([outcome(lesson, ret=2.0) for lesson in lessons[1:]])
    assert len(returns_seen(teacher)) == base.MAX_WAITING + 1


def test_what_waits_is_part_of_the_state():
    first, second = Patient(seed=1), Patient(seed=2)
    lessons = first.propose(3)
    first.observe([outcome(lessons[2], ret=2.0)])
    second.load_state_dict(first.state_dict())
    for teacher in (first, second):
        teacher.observe([outcome(lessons[1], ret=1.0), outcome(lessons[0], ret=0.0)])
    assert returns_seen(first) == returns_seen(second) == [0.0, 1.0, 2.0]
