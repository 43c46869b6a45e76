"""Several teachers at once: their parts are merged, and every one of them hears of every outcome."""

import pytest
from gymnasium.spaces import Discrete

from rlteach.errors import InvalidValue
from rlteach.files import pack_state, unpack_state
from rlteach.lesson import Lesson, Outcome, Start
from rlteach.protocols import Teacher
from rlteach.teachers import compose
from rlteach.teachers.compose import Compose
from rlteach.teachers.success_guided import SuccessGuided
from rlteach.teachers.uniform import Uniform
from tests.teachers.students import outcome

TASKS = Discrete(50)


class Part:
    """Fills one field with a running number, counts from its own first id, and notes what it is told."""

    def __init__(self, field, first=0, needs=()):
        self.field, self.fields, self.needs = field, frozenset({field}), frozenset(needs)
        self.next_id = first
        self.observed, self.forgotten = [], []

    def propose(self, n):
        first, self.next_id = self.next_id, self.next_id + n
        return [
            Lesson(i, origin=f"part {self.field}", **{self.field: f"{self.field} {i}"}) for i in range(first, first + n)
        ]

    def observe(self, outcomes):
        self.observed += [(o.lesson_id, o.ret) for o in outcomes]

    def forget(self, lesson_ids):
        self.forgotten += list(lesson_ids)

    def state_dict(self):
        return {"next_id": self.next_id}

    def load_state_dict(self, state):
        self.next_id = state["next_id"]


def test_disjoint_fields_are_merged_into_one_lesson():
    teacher = Compose(Part("start", 100), Part("goal", 7), Part("task"))
    assert isinstance(teacher, Teacher)
    first, second = teacher.propose(2)
    assert (first.id, first.start, first.goal, first.task) == (0, "start 100", "goal 7", "task 0")
    assert (second.id, second.start, second.goal, second.task) == (1, "start 101", "goal 8", "task 1")
    assert first.shaping is None and first.origin == "part start + part goal + part task"
    assert teacher.fields == {"start", "goal", "task"}


def test_an_environment_that_cannot_change_its_task_keeps_that_of_the_snapshot():
    tasks, starts = Part("task"), Part("start", 100)
    starts.propose = lambda n: [
        Lesson(i, start=Start({"x": i} if i % 2 else None, limit=9), origin="s") for i in range(n)
    ]
    teacher = Compose(tasks, starts, keep_tasks=True)
    ordinary, restored = teacher.propose(2)
    assert (ordinary.task, ordinary.origin) == ("task 0", "part task + s")
    assert (restored.task, restored.start.snapshot, restored.origin) == (None, {"x": 1}, "s")
    assert tasks.forgotten == [1]
    again = Compose(Part("task"), Part("start"), keep_tasks=True)
    again.load_state_dict(unpack_state(*pack_state(teacher.state_dict())))
    again.observe([outcome(ordinary, 0.5), outcome(restored, 0.7)])
    assert [part.observed for part in again.teachers] == [[(0, 0.5)], [(0, 0.5), (1, 0.7)]]
    teacher.forget([0, 1])
    assert tasks.forgotten == [1, 0] and starts.forgotten == [0, 1]


def test_two_teachers_for_one_field_are_refused():
    with pytest.raises(InvalidValue, match="Uniform and SuccessGuided both choose the task; keep one"):
        Compose(Uniform(TASKS), Part("start"), SuccessGuided(TASKS))


def test_the_needs_of_all_are_asked_for():
    assert Compose(Part("start", needs=["values"]), Part("goal", needs=["values", "td_errors"])).needs == {
        "values",
        "td_errors",
    }


def test_every_teacher_hears_of_every_outcome_under_its_own_id():
    start, goal = Part("start", 100), Part("goal", 7)
    teacher = Compose(start, goal)
    lessons = teacher.propose(3)
    teacher.observe([outcome(lessons[2], ret=2.0), outcome(lessons[0], ret=0.5)])
    assert start.observed == [(102, 2.0), (100, 0.5)]
    assert goal.observed == [(9, 2.0), (7, 0.5)]


def test_every_teacher_forgets_under_its_own_id():
    start, goal = Part("start", 100), Part("goal", 7)
    teacher = Compose(start, goal)
    lessons = teacher.propose(3)
    teacher.forget([lessons[1].id, 999])
    assert start.forgotten == [101] and goal.forgotten == [8]
    teacher.observe([outcome(lessons[1])])
    assert start.observed == goal.observed == []


def test_unknown_and_repeated_outcomes_are_left_out():
    start = Part("start")
    teacher = Compose(start, Part("goal"))
    (lesson,) = teacher.propose(1)
    stranger = Outcome(42, ret=9.0, discounted_ret=9.0, length=1, success=1.0, terminated=True)
    teacher.observe([stranger, outcome(lesson)])
    teacher.observe([outcome(lesson)])
    assert start.observed == [(0, 1.0)]


def test_lessons_that_never_come_back_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(compose, "MAX_ISSUED", 10)
    teacher = Compose(Part("start"), Part("goal"))
    for _ in range(8):
        teacher.propose(3)
    assert [row[0] for row in teacher.state_dict()["issued"]] == list(range(14, 24))


def test_it_resumes_with_lessons_in_play():
    def made(seed):
        return Compose(Part("start", 50), SuccessGuided(TASKS, seed=seed))

    saved, loaded = made(0), made(9)
    lessons = saved.propose(40)
    saved.observe([outcome(lesson, success=lesson.id % 2) for lesson in lessons[:30]])
    loaded.load_state_dict(unpack_state(*pack_state(saved.state_dict())))
    for teacher in (saved, loaded):
        teacher.observe([outcome(lesson, success=1.0) for lesson in lessons[30:]])
    ours, theirs = saved.propose(50), loaded.propose(50)
    assert [(a.id, a.start, a.task) for a in ours] == [(b.id, b.start, b.task) for b in theirs]
    assert ours[0].id == 40 and ours[0].start == "start 90"
    assert loaded.teachers[0].observed == [(50 + i, 1.0) for i in range(30, 40)]


def test_a_state_of_other_parts_is_refused():
    one, two = Compose(Part("start"), Uniform(TASKS)), Compose(Part("start"), SuccessGuided(TASKS))
    with pytest.raises(InvalidValue, match="this state belongs to Uniform"):
        two.load_state_dict(one.state_dict())


def test_the_task_space_is_that_of_the_task_teacher():
    tasks = Uniform(TASKS)
    assert Compose(Part("start"), tasks).task_space is tasks.task_space
    assert Compose(Part("start"), Part("goal")).task_space is None
