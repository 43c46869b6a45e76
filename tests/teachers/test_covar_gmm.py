"""Covar-GMM: the covariance of return and time decides, and only where it is positive."""

import numpy as np
import pytest
from gymnasium.spaces import Box

from rlteach.errors import ConfigError
from rlteach.teachers.covar_gmm import CovarGMM, covariance_progress
from rlteach.teachers.gaussian_mixture import em
from tests.teachers.students import Toy, drawn, outcome, play, points_of

LINE = Box(0.0, 1.0, (1,), np.float64)
SQUARE = Box(0.0, 1.0, (2,), np.float64)
QUICK = {"fit_every": 60, "max_components": 4}


def ripple(point, episode):
    return float(np.floor(10 * point[0]) + episode % 7)


@pytest.mark.parametrize("slope", [0.6, -0.6])
def test_progress_is_the_covariance_of_time_and_return_of_the_data_where_it_is_positive(slope):
    rng = np.random.default_rng(0)
    time = np.arange(200) / 200
    rows = np.column_stack([rng.random((200, 2)), time, 0.5 + slope * (time - 0.5) + 0.1 * rng.standard_normal(200)])
    progress = covariance_progress(em(rows, np.ones((200, 1))).covariances)
    expected = np.cov(rows[:, 2], rows[:, 3], ddof=0)[0, 1]
    assert np.sign(expected) == np.sign(slope)
    np.testing.assert_allclose(progress, [max(0.0, expected)], atol=1e-12)


def test_the_fit_sees_tasks_their_place_in_the_batch_and_scaled_returns():
    seen = []
    teacher = CovarGMM(SQUARE, seed=0, fit_every=20, min_components=2, max_components=5, return_range=(0.0, 20.0))
    begin = teacher._search.begin
    teacher._search.begin = lambda rows: seen.append(rows.copy()) or begin(rows)
    points, _ = play(teacher, ripple, 60)
    assert len(seen) == 3
    for batch, rows in enumerate(seen):
        own = range(20 * batch, 20 * batch + 20)
        np.testing.assert_allclose(rows[:, :2], points[own])
        np.testing.assert_allclose(rows[:, 2], [i / 20 for i in range(20)])
        np.testing.assert_allclose(rows[:, 3], [ripple(points[i], i) / 20.0 for i in own])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_samples_where_the_return_rises_with_time_and_not_where_it_falls(seed):
    def student(point, episode):
        phase = (episode % 150) / 150
        return {0: phase, 1: 1.0 - phase, 2: 0.5}[min(int(3 * point[0]), 2)]

    teacher = CovarGMM(LINE, seed=seed, fit_every=150, return_range=(0.0, 1.0))
    points, origins = play(teacher, student, 900)
    guided = points[(origins == "covar_gmm") & (np.arange(900) >= 150), 0]
    rising = (guided < 0.36).mean()
    assert len(guided) > 400 and rising > 0.7 and ((guided > 0.36) & (guided < 0.63)).mean() < 0.5 * (1 - rising) + 0.05


def test_when_nothing_rises_all_gaussians_are_drawn_alike():
    teacher = CovarGMM(LINE, seed=0, fit_every=100, uniform_share=0.0, max_components=3)
    play(teacher, lambda point, episode: -float(episode), 100)
    teacher._take(teacher._search.finish(teacher.rng))
    scores = np.diff(teacher._mixture._cumulative, prepend=0.0)
    assert len(scores) >= 2 and (scores == 1.0).all()


def test_tasks_are_uniform_until_the_first_fit_and_then_a_share_of_them():
    teacher = CovarGMM(SQUARE, seed=0, uniform_share=0.3, **QUICK)
    _, origins = play(teacher, ripple, 60)
    assert set(origins) == {"covar_gmm/bootstrap"}
    teacher._take(teacher._search.finish(teacher.rng))
    origins = [lesson.origin for lesson in teacher.propose(2000)]
    assert np.mean([origin == "covar_gmm/uniform" for origin in origins]) == pytest.approx(0.3, abs=0.04)


def test_lessons_do_not_pile_up_on_the_border_of_the_toy_space():
    teacher = CovarGMM(SQUARE, seed=0)
    play(teacher, Toy(), 1000)
    points = points_of(teacher, teacher.propose(4000))
    assert ((points == 0.0) | (points == 1.0)).any(axis=1).mean() < 0.005


def test_seed_zero_is_a_seed_and_two_teachers_do_not_disturb_each_other():
    first, second, other = (CovarGMM(SQUARE, seed=seed, **QUICK) for seed in (0, 0, 1))
    expected = play(first, ripple, 150)[0].tolist()
    points, others = [], []
    for start in range(0, 150, 5):
        score = lambda point, episode, start=start: ripple(point, start + episode)  # noqa: E731
        points += play(second, score, 5)[0].tolist()
        others += play(other, score, 5)[0].tolist()
    assert points == expected != others


def test_an_axis_a_thousand_times_wider_changes_nothing():
    wide = Box(np.array([0.0, -300.0]), np.array([1.0, 700.0]), dtype=np.float64)
    points = [play(CovarGMM(space, seed=0, **QUICK), ripple, 200)[0] for space in (SQUARE, wide)]
    np.testing.assert_allclose(points[0], points[1], rtol=0, atol=1e-9)


def test_returns_in_other_units_change_nothing():
    points = [
        play(CovarGMM(SQUARE, seed=0, **QUICK), lambda p, e, u=unit: u * ripple(p, e), 200)[0] for unit in (1.0, 1024.0)
    ]
    np.testing.assert_allclose(points[0], points[1], rtol=0, atol=1e-9)


def test_a_return_that_is_not_a_number_is_ignored_with_one_warning():
    teacher = CovarGMM(SQUARE, seed=0, **QUICK)
    with pytest.warns(RuntimeWarning, match="CovarGMM ignores outcomes that are not finite") as caught:
        teacher.observe([outcome(lesson, np.nan) for lesson in teacher.propose(60)])
    assert len(caught) == 1
    assert len(teacher._history) == 0 and not teacher._mixture


def test_hundreds_of_identical_tasks_neither_hang_nor_break_it():
    teacher = CovarGMM(SQUARE, seed=0, **QUICK)
    teacher._learn(np.full((620, 2), 0.25), np.full(620, 3.0), np.zeros(620))
    points = np.array(drawn(teacher, 200))
    assert (np.linalg.norm(points - 0.25, axis=1) < 0.01).sum() > 120


def test_hyperparameters_out_of_range_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        CovarGMM(SQUARE, fit_every=10, uniform_share=-0.1)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["fit_every", "uniform_share"]
