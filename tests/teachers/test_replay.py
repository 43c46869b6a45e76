"""The yoked control: recorded lessons in order of issue, then the last tenth again and again."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from rlteach.errors import ConfigError, InvalidValue
from rlteach.files import pack_state, unpack_state
from rlteach.teachers.base import make_teacher
from rlteach.teachers.replay import Replay
from rlteach.teachers.uniform import Uniform
from tests.teachers.students import outcome

LEVELS = Discrete(1000)


def numbered(count):
    return [{"task": i} for i in range(count)]


def levels(teacher, n):
    return [int(lesson.task) for lesson in teacher.propose(n)]


@pytest.mark.parametrize(("count", "tail"), [(40, 4), (49, 4), (10, 1), (3, 1), (1, 1)])
@pytest.mark.parametrize("batch", [1, 7])
def test_it_plays_all_lessons_in_order_and_then_cycles_through_the_last_tenth(count, tail, batch):
    teacher = Replay(LEVELS, lessons=numbered(count))
    played = [level for _ in range(count * 3) for level in levels(teacher, batch)]
    cycle = list(range(count - tail, count))
    expected = list(range(count)) + cycle * len(played)
    assert played == expected[: len(played)]


def test_lessons_of_a_mixed_space_come_back_as_they_were_recorded():
    space = Dict(
        a_shape=Box(-1.0, 1.0, (3,), np.float64), b_kind=Discrete(5, start=2), c_width=Box(3.0, 1e4, (), np.float32)
    )
    recorded = Uniform(space, seed=0)
    tasks = [lesson.task for lesson in recorded.propose(50)]
    teacher = Replay(space, lessons=[recorded.task_space.to_mapping(task) for task in tasks])
    for task, lesson in zip(tasks, teacher.propose(50), strict=True):
        np.testing.assert_allclose(lesson.task["a_shape"], task["a_shape"], atol=1e-15)
        assert lesson.task["b_kind"] == task["b_kind"]
        assert lesson.task["c_width"] == pytest.approx(float(task["c_width"]), rel=1e-7)
        assert lesson.origin == "replay"


def test_neither_outcomes_nor_the_seed_change_what_is_played():
    deaf, other = Replay(LEVELS, lessons=numbered(30), seed=0), Replay(LEVELS, lessons=numbered(30), seed=9)
    for _ in range(10):
        lessons = deaf.propose(5)
        deaf.observe([outcome(lesson, ret=float(lesson.id)) for lesson in lessons])
        assert [int(lesson.task) for lesson in lessons] == levels(other, 5)


@pytest.mark.parametrize("before", [12, 31, 55])
def test_it_goes_on_where_it_was_saved(before):
    saved, loaded = Replay(LEVELS, lessons=numbered(30)), Replay(LEVELS, lessons=numbered(30))
    levels(saved, before)
    loaded.load_state_dict(unpack_state(*pack_state(saved.state_dict())))
    assert levels(loaded, 40) == levels(saved, 40)


def test_it_needs_lessons():
    with pytest.raises(ConfigError, match="Replay needs 'lessons', which has no default"):
        make_teacher("replay", LEVELS)
    with pytest.raises(InvalidValue, match="no recorded lessons"):
        Replay(LEVELS, lessons=[])


def test_lessons_of_another_space_are_refused():
    with pytest.raises(ConfigError, match="unknown parameter 'tsk'"):
        Replay(LEVELS, lessons=[{"tsk": 3}])
    with pytest.raises(InvalidValue, match="task = 1000 is not a whole number in"):
        Replay(LEVELS, lessons=[{"task": 1000}])
