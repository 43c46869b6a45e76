"""GRADIENT: an exact matching, a geodesic at constant speed, and stages that wait for the learner."""

from itertools import permutations

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from scipy.stats import kstest

from rlteach.errors import ConfigError
from rlteach.teachers.gradient import Gradient, interpolated, optimal_matching
from rlteach.teachers.uniform import Uniform
from tests.teachers.students import Toy, drawn, outcome, play, points_of

LINE = Box(0.0, 1.0, (1,), np.float64)
SQUARE = Box(0.0, 1.0, (2,), np.float64)
CORNER = {"mean": [0.0, 0.0], "std": 0.1}
KNOWN = {"return_range": (0.0, 1.0)}


def transport_cost(source, target):
    return ((source - target[optimal_matching(source, target)]) ** 2).sum()


def test_the_matching_is_the_cheapest_of_all():
    rng = np.random.default_rng(0)
    for _ in range(5):
        source, target = rng.random((2, 5, 2))
        cheapest = min(((source - target[list(order)]) ** 2).sum() for order in permutations(range(5)))
        assert transport_cost(source, target) == pytest.approx(cheapest)


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (0.2, 0.7), (0.5, 0.6)])
def test_the_geodesic_is_walked_at_constant_speed(a, b):
    rng = np.random.default_rng(1)
    source, target = rng.random((2, 40, 2))
    target = target[optimal_matching(source, target)]
    whole = transport_cost(source, target)
    here, there = interpolated(source, target, a), interpolated(source, target, b)
    assert transport_cost(here, there) == pytest.approx((b - a) ** 2 * whole)


def test_between_gaussians_means_and_deviations_go_straight():
    ends = {"initial": {"mean": 0.2, "std": 0.02}, "target": {"mean": 0.7, "std": 0.1}}
    teacher = Gradient(LINE, seed=0, particles=400, jitter=0.0, **ends)
    for stage in range(11):
        teacher._stage = stage
        points = points_of(teacher, teacher.propose(2000))
        share = stage / 10
        assert points.mean() == pytest.approx(0.2 + 0.5 * share, abs=0.02)
        assert points.std() == pytest.approx(0.02 + 0.08 * share, abs=0.012)


def test_a_stage_ends_when_the_mean_return_of_a_window_reaches_the_bound():
    teacher = Gradient(LINE, seed=0, window=10, stages=4, performance_bound=0.5, **KNOWN)

    def finish(returns):
        teacher.observe([outcome(lesson, ret) for lesson, ret in zip(teacher.propose(10), returns, strict=True)])
        return teacher.alpha

    assert finish([0.0] * 6 + [1.0] * 4) == 0.0
    assert finish([1.0] * 5 + [0.0] * 5) == 0.25
    assert finish([1.0] * 9 + [0.0]) == 0.5
    assert finish([0.49] * 10) == 0.5
    assert [finish([1.0] * 10) for _ in range(4)] == [0.75, 1.0, 1.0, 1.0]


def test_outcomes_that_come_one_by_one_or_together_count_alike():
    stages = []
    for batch in (1, 7, 64):
        teacher = Gradient(LINE, seed=0, window=10, **KNOWN)
        play(teacher, lambda point, episode: float(episode < 35), 60, batch=batch)
        stages.append(teacher._stage)
    assert stages == [4, 4, 4]  # the fourth window still has a mean of one half


def test_lessons_begin_at_the_source_and_end_at_the_target():
    teacher = Gradient(SQUARE, seed=0, initial=CORNER, target={"mean": [1.0, 0.5], "std": 0.05}, **KNOWN)
    points, origins = play(teacher, lambda point, episode: 1.0, 700)
    assert points[:50].mean() < 0.15 and origins[0] == "gradient/0"
    late = points[-150:]
    assert late[:, 0].mean() > 0.93 and abs(late[:, 1].mean() - 0.5) < 0.03 and origins[-1] == "gradient/10"


def test_it_waits_where_the_learner_fails():
    teacher = Gradient(LINE, seed=0, initial={"mean": 0.0, "std": 0.05}, target={"mean": 1.0, "std": 0.05}, **KNOWN)
    points, _ = play(teacher, lambda point, episode: float(point[0] < 0.45), 2000)
    assert 0.3 < teacher.alpha < 0.6 and points[-500:, 0].max() < 0.75


def test_without_knowledge_every_stage_is_the_uniform_target():
    teacher = Gradient(LINE, seed=0, particles=1000)
    for stage in (0, 5, 10):
        teacher._stage = stage
        assert kstest(points_of(teacher, teacher.propose(1000))[:, 0], "uniform").pvalue > 1e-4


def test_told_where_to_begin_it_masters_more_of_the_toy_space_than_uniform():
    mastered = []
    for teacher in (Gradient(SQUARE, seed=0, initial=CORNER, **KNOWN), Uniform(SQUARE, seed=0)):
        toy = Toy(6, full=40.0)
        play(teacher, toy, 4000)
        mastered.append((toy.competence > 30.0).mean())
    assert mastered[0] > 1.3 * mastered[1]


def test_levels_are_passed_through_in_their_order():
    teacher = Gradient(
        Discrete(5), seed=0, initial={"mean": 0, "std": 0.02}, target={"mean": 4, "std": 0.02}, window=20, **KNOWN
    )
    points, _ = play(teacher, lambda point, episode: 1.0, 400)
    levels = np.floor(5 * points[:, 0])
    assert [int(np.median(levels[first : first + 20])) for first in range(0, 220, 50)] == [0, 1, 2, 3, 4]


def test_lessons_do_not_pile_up_on_the_border():
    teacher = Gradient(SQUARE, seed=0, initial=CORNER, jitter=0.1)
    points = points_of(teacher, teacher.propose(2000))
    assert ((points > 0.0) & (points < 1.0)).all()


def test_seed_zero_is_a_seed():
    assert drawn(Gradient(SQUARE, seed=0), 20) == drawn(Gradient(SQUARE, seed=0), 20)
    assert drawn(Gradient(SQUARE, seed=0), 20) != drawn(Gradient(SQUARE, seed=1), 20)


def test_hyperparameters_out_of_range_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        Gradient(SQUARE, performance_bound=-0.1, stages=0, window=0)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["performance_bound", "stages", "window"]


def test_early_successes_do_not_end_a_stage_before_the_failures_that_were_issued_before_them():
    teacher = Gradient(SQUARE, initial=CORNER, performance_bound=0.5, window=4, seed=0, **KNOWN)
    lessons = teacher.propose(8)
    teacher.observe([outcome(lesson, 1.0) for lesson in lessons[4:]])  # ended early
    assert teacher.alpha == 0.0
    teacher.observe([outcome(lesson, 0.0) for lesson in lessons[:4]])
    assert teacher.alpha == pytest.approx(1 / teacher.stages)  # the first four failed, the next four did not
