"""A fixed list of tasks: played in order, judged once each, and done."""

import pytest

from rlteach.errors import InvalidValue
from rlteach.files import pack_state, unpack_state
from rlteach.lesson import Outcome
from rlteach.protocols import Teacher
from rlteach.teachers.fixed_tasks import FixedTasks
from tests.teachers.students import outcome


def test_tasks_come_in_order_as_often_as_asked_for():
    teacher = FixedTasks(["a", "b", "c"], repeats=2)
    assert isinstance(teacher, Teacher) and teacher.fields == {"task"}
    lessons = [*teacher.propose(2), *teacher.propose(4)]
    assert [lesson.task for lesson in lessons] == ["a", "b", "c", "a", "b", "c"]
    assert [lesson.id for lesson in lessons] == [0, 1, 2, 3, 4, 5]


def test_it_is_done_when_every_task_was_played_and_outcomes_stand_in_the_order_of_the_tasks():
    teacher = FixedTasks(["a", "b", "c"])
    first, second, third = teacher.propose(3)
    teacher.observe([outcome(third, ret=3.0), outcome(first, ret=1.0)])
    assert not teacher.done
    assert teacher.outcomes[1] is None
    teacher.observe([outcome(second, ret=2.0)])
    assert teacher.done
    assert [o.ret for o in teacher.outcomes] == [1.0, 2.0, 3.0]


def test_what_is_played_beyond_the_last_task_is_not_kept():
    teacher = FixedTasks(["a", "b"])
    lessons = teacher.propose(5)
    assert [lesson.task for lesson in lessons] == ["a", "b", "a", "b", "a"]
    teacher.observe([outcome(lesson, ret=float(lesson.id)) for lesson in reversed(lessons)])
    assert teacher.done and [o.ret for o in teacher.outcomes] == [0.0, 1.0]


def test_the_first_outcome_of_a_task_counts():
    teacher = FixedTasks(["a", "b"])
    (lesson,) = teacher.propose(1)
    teacher.observe([outcome(lesson, ret=1.0)])
    teacher.observe([outcome(lesson, ret=9.0)])
    assert teacher.outcomes[0].ret == 1.0 and not teacher.done


@pytest.mark.parametrize("lesson_id", [-1, -2, 2, 10**9])
def test_outcomes_of_unknown_lessons_are_left_out(lesson_id):
    teacher = FixedTasks(["a", "b"])
    teacher.observe([Outcome(lesson_id, ret=1.0, discounted_ret=1.0, length=1, success=1.0, terminated=True)])
    assert teacher.outcomes == [None, None] and not teacher.done


def test_an_abandoned_task_stays_without_outcome():
    teacher = FixedTasks(["a", "b"])
    first, second = teacher.propose(2)
    teacher.forget([first.id])
    teacher.observe([outcome(second)])
    assert teacher.outcomes[0] is None and not teacher.done


def test_it_goes_on_where_it_was_saved():
    saved, loaded = FixedTasks(["a", "b", "c"]), FixedTasks(["a", "b", "c"])
    lessons = saved.propose(2)
    saved.observe([Outcome(lessons[1].id, ret=2.5, discounted_ret=2.0, length=7, success=0.5, terminated=False)])
    loaded.load_state_dict(unpack_state(*pack_state(saved.state_dict())))
    assert loaded.outcomes[0] is loaded.outcomes[2] is None
    kept = loaded.outcomes[1]
    assert (kept.lesson_id, kept.ret, kept.discounted_ret, kept.length) == (1, 2.5, 2.0, 7)
    assert (kept.success, kept.terminated) == (0.5, False)
    loaded.observe([outcome(lessons[0])])
    (last,) = loaded.propose(1)
    assert (last.id, last.task) == (2, "c") and not loaded.done
    loaded.observe([outcome(last)])
    assert loaded.done


def test_tasks_left_to_the_environment_fill_no_field():
    teacher = FixedTasks([None, None])
    assert teacher.fields == frozenset()
    assert [lesson.task for lesson in teacher.propose(2)] == [None, None]


@pytest.mark.parametrize(("tasks", "repeats"), [([], 1), (["a"], 0)])
def test_nothing_to_play_is_refused(tasks, repeats):
    with pytest.raises(InvalidValue, match="at least one task and one repeat"):
        FixedTasks(tasks, repeats=repeats)
