"""Annealing: the range moves with the steps trained, and nothing else moves it."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple

from rlteach.errors import ConfigError, InvalidValue
from rlteach.lesson import Outcome
from rlteach.task_space import TaskSpace
from rlteach.teachers.annealing import Annealing, blended, unit_range, vector_of
from tests.teachers.students import Toy, outcome, play, points_of

SQUARE = Box(0.0, 1.0, (2,), np.float64)
TRACK = Dict(height=Box(0.0, 3.0, (), np.float64), gaps=Box(0, 4, (), np.int64))


# -- places ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("progress", "expected"), [(0.0, [2.0, 0.0]), (0.25, [1.75, 1.0]), (1.0, [1.0, 4.0])])
def test_a_blend_goes_straight_from_start_to_end(progress, expected):
    np.testing.assert_allclose(blended(np.array([2.0, 0.0]), np.array([1.0, 4.0]), progress), expected)


@pytest.mark.parametrize(
    ("space", "task", "expected"),
    [
        (SQUARE, [0.25, 1.0], [0.25, 1.0]),
        (SQUARE, {"task": [0.25, 1.0]}, [0.25, 1.0]),
        (SQUARE, np.array([0.25, 1.0]), [0.25, 1.0]),
        (Discrete(4, start=2), 3, [3.0]),
        (Discrete(4, start=2), [3], [3.0]),
        (MultiDiscrete([3, 5]), [2, 4], [2.0, 4.0]),
        (TRACK, {"gaps": 2, "height": 1.5}, [1.5, 2.0]),
        (TRACK, [1.5, 2], [1.5, 2.0]),
        (Dict(walker=Dict(leg=Box(0.0, 1.0, (2,)))), {"walker": {"leg": np.array([0.5, 0.25])}}, [0.5, 0.25]),
        (Dict(walker=Dict(leg=Box(0.0, 1.0, (2,)))), {"walker.leg": [0.5, 0.25]}, [0.5, 0.25]),
        (Tuple((Discrete(2), Discrete(3))), (1, 2), [1.0, 2.0]),
    ],
)
def test_a_task_may_be_an_element_a_mapping_or_a_list_of_numbers(space, task, expected):
    assert vector_of(TaskSpace.of(space), task).tolist() == expected


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ([0.5], "shape"),
        ([0.5, 2.0], "outside"),
        ({"tsk": [0.5, 0.5]}, "Did you mean"),
        ("easy", "numbers"),
        (["a", 1], "no task"),
    ],
)
def test_what_is_no_task_is_refused_with_the_reason(task, message):
    with pytest.raises(InvalidValue, match=message):
        vector_of(TaskSpace.of(SQUARE), task)


def test_a_range_of_levels_includes_the_levels_it_ends_with():
    low, high = unit_range(TaskSpace.of(TRACK), {"height": 0.0, "gaps": 1}, {"height": 1.5, "gaps": 2})
    np.testing.assert_allclose([low, high], [[0.0, 0.2], [0.5, 0.6]])
    whole = unit_range(TaskSpace.of(TRACK), None, None)
    np.testing.assert_allclose(whole, [[0.0, 0.0], [1.0, 1.0]], atol=1e-15)


def test_a_range_that_ends_below_its_start_is_refused_by_name():
    with pytest.raises(InvalidValue, match=r"height from 2 to 1; swap"):
        unit_range(TaskSpace.of(TRACK), {"height": 2.0, "gaps": 1}, {"height": 1.0, "gaps": 2})


# -- the schedule ------------------------------------------------------------------------------------------------------


def test_lessons_are_uniform_in_the_box_of_the_present_step():
    teacher = Annealing(SQUARE, start_low=[0.0, 0.8], start_high=[0.2, 1.0], end_low=[0.4, 0.0], steps=3000, seed=0)
    for steps, low, high in [
        (0, [0.0, 0.8], [0.2, 1.0]),
        (1500, [0.2, 0.4], [0.6, 1.0]),
        (9000, [0.4, 0.0], [1.0, 1.0]),
    ]:
        while teacher.steps_seen < steps:
            teacher.observe([outcome(lesson) for lesson in teacher.propose(20)])  # three steps each
        points = points_of(teacher, teacher.propose(3000))
        np.testing.assert_allclose(points.min(axis=0), low, atol=0.02)
        np.testing.assert_allclose(points.max(axis=0), high, atol=0.02)
        np.testing.assert_allclose(points.mean(axis=0), np.add(low, high) / 2, atol=0.03)


def test_levels_are_drawn_alike_once_the_range_is_whole():
    teacher = Annealing(Discrete(5), start_low=0, start_high=0, steps=30, seed=0)
    assert {int(lesson.task) for lesson in teacher.propose(100)} == {0}
    teacher.observe([outcome(lesson) for lesson in teacher.propose(10)])
    counts = np.bincount([int(lesson.task) for lesson in teacher.propose(5000)], minlength=5)
    assert (np.abs(counts - 1000) < 150).all()


def test_steps_count_once_and_only_those_of_lessons_of_its_own():
    teacher = Annealing(SQUARE, start_low=[0, 0], start_high=[0, 0], steps=100)
    first, second = teacher.propose(2)
    played = Outcome(first.id, 1.0, 1.0, 7, 1.0, True)
    teacher.observe([played, played, Outcome(999, 1.0, 1.0, 50, 1.0, True)])
    assert teacher.steps_seen == 7
    with pytest.warns(RuntimeWarning, match="not finite"):
        teacher.observe([Outcome(second.id, np.nan, np.nan, 5, 1.0, True)])
    assert teacher.steps_seen == 12  # they were trained, whatever the return was


def test_a_resumed_schedule_goes_on_where_it_was():
    teachers = [Annealing(SQUARE, start_low=[0, 0], start_high=[0.1, 0.1], steps=300, seed=seed) for seed in (0, 1)]
    play(teachers[0], lambda point, episode: 1.0, 40)
    teachers[1].load_state_dict(teachers[0].state_dict())
    assert teachers[1].steps_seen == 120
    ours, theirs = (play(teacher, lambda point, episode: 1.0, 60)[0].tolist() for teacher in teachers)
    assert ours == theirs


def test_a_fitting_schedule_masters_more_of_the_toy_space_than_uniform_tasks():
    mastered = []
    for start_high, steps in ([[0.1, 0.1], 5600], [[1.0, 1.0], 1]):
        toy = Toy(full=20.0)
        play(Annealing(SQUARE, start_low=[0, 0], start_high=start_high, steps=steps, seed=0), toy, 2500)
        mastered.append((toy.competence >= 15).mean())
    assert mastered[0] > 0.2 and mastered[1] < 0.05


def test_mistakes_are_told():
    with pytest.raises(ConfigError, match="steps = 0 must lie"):
        Annealing(SQUARE, start_low=[0, 0], start_high=[1, 1], steps=0)
    with pytest.raises(InvalidValue, match="no task"):
        Annealing(SQUARE, start_low=[0], start_high=[1, 1])
