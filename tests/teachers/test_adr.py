"""ADR: bounds that are tested one by one, moved by full queues, and the faults of the published code."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from rlteach.errors import ConfigError, InvalidValue
from rlteach.teachers.adr import ADR, LOWER, UPPER, free_sides, moved_bound
from rlteach.teachers.uniform import Uniform
from tests.teachers.students import Toy, drawn, outcome, play, points_of

LINE = Box(0.0, 1.0, (1,), np.float64)
SQUARE = Box(0.0, 1.0, (2,), np.float64)


# -- equations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "outward", "expected"),
    [
        (LOWER, True, (0.3, 0.45)),
        (UPPER, True, (0.4, 0.55)),
        (LOWER, False, (0.45, 0.45)),
        (UPPER, False, (0.4, 0.4)),
    ],
)
def test_a_bound_moves_by_a_step_and_inwards_no_further_than_the_other(side, outward, expected):
    assert moved_bound(0.4, 0.45, side, outward, 0.1) == pytest.approx(expected)


def test_a_bound_stops_at_the_end_of_the_space():
    assert moved_bound(0.05, 0.95, LOWER, True, 0.1) == (0.0, 0.95)
    assert moved_bound(0.05, 0.95, UPPER, True, 0.1) == (0.05, 1.0)


def test_a_bound_at_the_end_of_the_space_is_tested_only_when_both_are_there():
    assert free_sides(0.2, 0.8) == [LOWER, UPPER]
    assert free_sides(0.0, 0.8) == [UPPER]
    assert free_sides(0.2, 1.0) == [LOWER]
    assert free_sides(0.0, 1.0) == [LOWER, UPPER]


# -- sampling ----------------------------------------------------------------------------------------------------------


def test_lessons_are_uniform_in_the_box_with_a_share_on_one_bound():
    teacher = ADR(SQUARE, seed=0, start=[0.5, 0.5], boundary_share=0.4)
    teacher.low, teacher.high = np.array([0.2, 0.0]), np.array([0.4, 0.5])
    lessons = teacher.propose(4000)
    points, pinned = points_of(teacher, lessons), np.array([lesson.origin == "adr/boundary" for lesson in lessons])
    assert ((points >= teacher.low) & (points <= teacher.high)).all()
    on_bound = (points == teacher.low) | (points == teacher.high)
    assert pinned.mean() == pytest.approx(0.4, abs=0.03)
    assert np.array_equal(on_bound.sum(axis=1), pinned.astype(int))
    shares = [(points == bounds).mean(axis=0) for bounds in (teacher.low, teacher.high)]
    np.testing.assert_allclose(shares, [[0.1, 0.0], [0.1, 0.2]], atol=0.02)  # the low end of the second is the space's
    np.testing.assert_allclose(points[~pinned].mean(axis=0), [0.3, 0.25], atol=0.02)


def test_the_start_is_the_one_given_or_drawn_from_the_seed():
    space = Dict(height=Box(0.0, 3.0, (), np.float64), kind=Discrete(4))
    teacher = ADR(space, start={"height": 1.5, "kind": 3})
    assert all(float(lesson.task["height"]) == 1.5 and lesson.task["kind"] == 3 for lesson in teacher.propose(20))
    starts = [drawn(ADR(SQUARE, seed=seed), 1) for seed in (0, 0, 1)]
    assert starts[0] == starts[1] != starts[2]


# -- moving ------------------------------------------------------------------------------------------------------------


def learn(teacher, point, result, times):
    for _ in range(times):
        teacher._learn(np.array([point]), np.array([result]), np.array([result]))


@pytest.mark.parametrize(("result", "bound"), [(0.8, 0.7), (0.75, 0.7), (0.5, 0.6), (0.25, 0.5), (0.0, 0.5)])
def test_a_full_queue_moves_its_bound(result, bound):
    teacher = ADR(LINE, start=[0.5], step=0.1, queue=5, widen_at=0.75, narrow_at=0.25)
    teacher.low, teacher.high = np.array([0.2]), np.array([0.6])
    learn(teacher, [0.6], result, 4)
    assert teacher.high.tolist() == [0.6]
    learn(teacher, [0.6], result, 1)
    assert teacher.high.tolist() == pytest.approx([bound]) and teacher.low.tolist() == [0.2]
    assert not teacher._counts.any() and not teacher._sums.any()


def test_outcomes_inside_the_box_or_on_a_bound_that_has_moved_count_for_nothing():
    teacher = ADR(LINE, start=[0.5], queue=5)
    teacher.low, teacher.high = np.array([0.2]), np.array([0.6])
    learn(teacher, [0.4], 1.0, 20)
    learn(teacher, [0.55], 1.0, 20)
    assert (teacher.low, teacher.high) == (np.array([0.2]), np.array([0.6])) and not teacher._counts.any()


def test_one_lucky_queue_at_the_start_does_not_widen_every_dimension():
    teacher = ADR(Box(0.0, 1.0, (4,), np.float64), seed=0, start=[0.5] * 4, queue=10)
    teacher.observe([outcome(lesson) for lesson in teacher.propose(10)])
    assert np.array_equal(teacher.low, teacher.high) and teacher._counts.sum() == 10  # the published code: 8 bounds
    teacher.observe([outcome(lesson) for lesson in teacher.propose(200)])
    assert (teacher.low < 0.5).any() or (teacher.high > 0.5).any()


def test_a_bound_that_reached_the_end_can_come_back():
    teacher = ADR(LINE, seed=0, start=[0.5])
    teacher.low, teacher.high = np.array([0.0]), np.array([1.0])
    play(teacher, lambda point, episode: float(point[0] < 0.5), 400)
    assert teacher.low[0] == 0.0 and 0.4 < teacher.high[0] < 0.7


def test_returns_are_judged_in_their_own_units_when_asked():
    teachers = [
        ADR(LINE, seed=0, start=[0.5], measure=measure, widen_at=180.0, narrow_at=0.0, queue=3)
        for measure in ("return", "success")
    ]
    for teacher in teachers:
        play(teacher, lambda point, episode: (200.0, 0.0), 100)
    assert teachers[0].high[0] > 0.6 and teachers[1].high[0] == 0.5


def test_the_stream_of_draws_goes_on_when_the_box_grows():
    teacher = ADR(SQUARE, seed=0, start=[0.5, 0.5], boundary_share=0.0)
    teacher.low, teacher.high = np.zeros(2), np.full(2, 0.5)
    before = np.array(drawn(teacher, 50))
    teacher.high = np.ones(2)
    assert not np.isclose(np.array(drawn(teacher, 50)), 2 * before).any()  # the published code seeds the box anew


def test_it_masters_more_of_the_toy_space_than_uniform_tasks():
    mastered = []
    for teacher in (ADR(SQUARE, seed=0, start=[0, 0]), Uniform(SQUARE, seed=0)):
        toy = Toy(full=20.0)
        play(teacher, toy, 2500)
        mastered.append((toy.competence >= 15).mean())
    assert mastered[0] > 0.45 and mastered[1] < 0.05


def test_huge_returns_neither_break_nor_overflow_it():
    teacher = ADR(SQUARE, seed=0, measure="return", widen_at=1.0, narrow_at=-1.0)
    play(teacher, lambda point, episode: (1.7e308 * (-1) ** episode, 0.0), 300)
    assert np.isfinite([teacher.low, teacher.high]).all() and np.isfinite(teacher._sums).all()


def test_mistakes_are_told():
    with pytest.raises(ConfigError) as caught:
        ADR(SQUARE, widen_at=0.2, narrow_at=0.5, queue=0)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["narrow_at", "queue"]
    with pytest.raises(InvalidValue, match=r"'sucess' is unknown. Did you mean 'success'"):
        ADR(SQUARE, measure="sucess")
    with pytest.raises(InvalidValue, match="no task"):
        ADR(SQUARE, start=[0.5, 7.0])


def test_early_successes_are_not_judged_before_the_failures_that_were_issued_before_them():
    teacher = ADR(LINE, start=[0.5], boundary_share=1.0, queue=2, seed=0)
    lessons = teacher.propose(8)
    late = [lesson for lesson in lessons if lesson.id % 2 == 0]
    teacher.observe([outcome(lesson, success=1.0) for lesson in lessons if lesson not in late])
    assert teacher.low == teacher.high == 0.5 and not teacher._counts.any()
    teacher.observe([outcome(lesson, success=0.0) for lesson in late])
    assert not teacher._issued


def test_a_step_is_a_share_of_each_range_and_not_a_distance_in_its_own_units():
    wide = Box(np.array([0.0, 0.0]), np.array([1.0, 1000.0]), dtype=np.float64)
    unit = ADR(SQUARE, seed=3, start=[0.5, 0.5], step=0.1, queue=2, widen_at=0.6, narrow_at=0.1)
    other = ADR(wide, seed=3, start=[0.5, 500.0], step=0.1, queue=2, widen_at=0.6, narrow_at=0.1)
    for _ in range(200):
        pairs = list(zip(unit.propose(4), other.propose(4), strict=True))
        for small, large in pairs:
            assert np.allclose(small.task * np.array([1.0, 1000.0]), large.task)
        for teacher, place in ((unit, 0), (other, 1)):
            teacher.observe([outcome(pair[place], 1.0) for pair in pairs])
    assert max(lesson.task[1] for lesson in other.propose(200)) > 900.0
