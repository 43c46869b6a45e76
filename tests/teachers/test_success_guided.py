"""Success-guided sampling: weights by success, candidates for any space, and the step that is tried next."""

import math

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from scipy.stats import beta

from rlteach.errors import ConfigError
from rlteach.task_space import TaskSpace
from rlteach.teachers.success_guided import SuccessGuided, candidate_points, posterior_mean, success_weight
from tests.teachers.students import drawn, outcome, play, points_of

LINE = Box(0.0, 1.0, (1,), np.float64)
SQUARE = Box(0.0, 1.0, (2,), np.float64)


# -- equations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "sharpness"), [(0.3, 12.0), (0.66, 5.0), (0.5, 0.0), (0.0, 3.0), (1.0, 3.0)])
def test_the_weight_is_that_of_the_paper_with_a_floor_of_two_hundredths(target, sharpness):
    rates = np.linspace(0.0, 1.0, 11)
    expected = [
        math.exp(sharpness * (target * math.log(p + 0.02) + (1 - target) * math.log(1.02 - p))) for p in rates.tolist()
    ]
    np.testing.assert_allclose(success_weight(rates, target, sharpness), expected, rtol=1e-12)


@pytest.mark.parametrize("target", [0.2, 0.3, 0.5, 0.8])
def test_the_weight_is_highest_where_success_equals_the_target(target):
    rates = np.linspace(0.0, 1.0, 1001)
    assert rates[success_weight(rates, target, 12.0).argmax()] == pytest.approx(target, abs=0.015)


def test_the_posterior_mean_is_that_of_a_beta_distribution():
    successes, counts = np.array([1.0, 3.0, 7.5]), np.array([4.0, 3.0, 8.0])
    expected = [beta.mean(s, n - s + 0.5) for s, n in zip(successes, counts, strict=True)]
    np.testing.assert_allclose(posterior_mean(successes, counts, 0.5), expected)
    assert posterior_mean(np.zeros(1), np.zeros(1), 0.5) == 0.0


def test_a_candidate_remembers_its_recent_outcomes_with_exponentially_falling_weight():
    teacher = SuccessGuided(Discrete(4), memory=5.0, prior_failures=0.5)
    results = np.random.default_rng(0).integers(2, size=30).astype(float)
    teacher._learn(np.full((30, 1), 0.4), results, results)  # 0.4 is nearest to level 1, at 0.375
    kept = 0.8 ** np.arange(29, -1, -1)
    np.testing.assert_allclose(teacher._counts, [0, kept.sum(), 0, 0])
    np.testing.assert_allclose(teacher._successes, [0, (kept * results).sum(), 0, 0])
    assert teacher.success_rates()[1] == pytest.approx((kept * results).sum() / (kept.sum() + 0.5))


def test_an_outcome_counts_for_the_nearest_candidate():
    teacher = SuccessGuided(SQUARE, candidates=50)
    tasks = np.random.default_rng(1).random((40, 2))
    for task in tasks:
        distances = [math.dist(task, candidate) for candidate in teacher.points]
        before = teacher._counts.copy()
        teacher._learn(task[None], np.ones(1), np.ones(1))
        assert np.flatnonzero(teacher._counts != before).tolist() == [int(np.argmin(distances))]


def test_the_success_rate_is_at_least_a_share_of_the_best_neighbours():
    teacher = SuccessGuided(Box(0, 19, (1,), np.int64), optimism=0.35, prior_failures=0.5)
    place = np.array([[teacher.points[7, 0]]])
    for _ in range(10):
        teacher._learn(place, np.ones(1), np.ones(1))
    rates, own = teacher.success_rates(), teacher.success_rates()[7]
    assert own == pytest.approx(teacher._counts[7] / (teacher._counts[7] + 0.5))
    expected = np.zeros(20)
    expected[4:11] = 0.35 * own  # 2 d + 4 = 6 neighbours, three on each side
    expected[7] = own
    np.testing.assert_allclose(rates, expected)


# -- candidates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "levels"),
    [
        (Discrete(7, start=3), 7),
        (MultiDiscrete([3, 5]), 15),
        (MultiBinary(4), 16),
        (Dict(a=Discrete(4), b=Box(-2, 2, (2,), np.int32)), 100),
        (Tuple((Discrete(2), Discrete(3))), 6),
    ],
)
def test_a_discrete_space_has_every_level_as_a_candidate(space, levels):
    tasks = TaskSpace.of(space)
    points = candidate_points(tasks, 256)
    vectors = {tuple(tasks.to_vector(tasks.from_unit(point))) for point in points}
    assert len(points) == len(vectors) == levels
    teacher = SuccessGuided(space, seed=0, sharpness=0.0)
    proposed = {tuple(tasks.to_vector(lesson.task)) for lesson in teacher.propose(60 * levels)}
    assert proposed == vectors


@pytest.mark.parametrize(
    ("space", "count"), [(SQUARE, 256), (SQUARE, 100), (Discrete(1000), 256), (Box(0.0, 1.0, (50,)), 256)]
)
def test_a_large_space_has_a_bounded_even_set_of_candidates(space, count):
    tasks = TaskSpace.of(space)
    points = candidate_points(tasks, count)
    assert 0.7 * count <= len(points) <= count
    assert len(np.unique(points, axis=0)) == len(points)
    occupied = [np.unique(np.floor(4 * axis)) for axis in points.T]
    assert all(quarters.tolist() == [0, 1, 2, 3] for quarters in occupied)
    np.testing.assert_allclose(points.mean(axis=0), 0.5, atol=0.05)


def test_candidates_do_not_depend_on_the_seed_of_the_teacher():
    assert np.array_equal(SuccessGuided(SQUARE, seed=0).points, SuccessGuided(SQUARE, seed=5).points)


def test_lessons_spread_over_the_cells_of_continuous_dimensions_only():
    space = Dict(level=Discrete(3), x=Box(0.0, 1.0, (), np.float64))
    teacher = SuccessGuided(space, seed=0, uniform_share=0.0, candidates=64)
    points = points_of(teacher, teacher.propose(500))
    levels, places = points.T
    np.testing.assert_allclose(np.unique(levels), [1 / 6, 1 / 2, 5 / 6])
    assert len(np.unique(places)) > 450
    distances = np.linalg.norm(points[:, None] - teacher.points[None], axis=2).min(axis=1)
    assert 0 < distances.max() <= 0.5 * teacher._spacing + 1e-12


# -- behaviour ---------------------------------------------------------------------------------------------------------


def test_every_candidate_is_drawn_alike_before_anything_is_known():
    teacher = SuccessGuided(Discrete(5), seed=0)
    levels = [int(lesson.task) for lesson in teacher.propose(5000)]
    assert (np.abs(np.bincount(levels, minlength=5) - 1000) < 5 * np.sqrt(800)).all()


def test_a_share_of_the_tasks_is_uniform():
    origins = [lesson.origin for lesson in SuccessGuided(SQUARE, seed=0, uniform_share=0.25).propose(4000)]
    assert origins.count("success_guided/uniform") / 4000 == pytest.approx(0.25, abs=0.03)
    assert set(origins) == {"success_guided", "success_guided/uniform"}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_concentrates_between_never_and_always_solved(seed):
    luck = np.random.default_rng(seed)

    def student(point, episode):
        chance = np.clip((0.7 - point[0]) / 0.4, 0.0, 1.0)  # always solved below 0.3, never above 0.7
        return 0.0, float(luck.random() < chance)

    points, _ = play(SuccessGuided(SQUARE, seed=seed), student, 2500)
    late = points[1500:, 0]
    assert ((late > 0.3) & (late < 0.7)).mean() > 0.8
    assert (late < 0.15).mean() < 0.05 and (late > 0.85).mean() < 0.05


def test_the_neighbours_of_what_is_solved_are_tried_before_their_first_success():
    teacher = SuccessGuided(LINE, seed=0, candidates=64, uniform_share=0.0)
    points, _ = play(teacher, lambda point, episode: (0.0, float(point[0] < 0.2)), 1500)
    late = points[1000:, 0]
    next_step, far = ((late >= 0.2) & (late < 0.3)).sum(), (late > 0.5).sum()
    assert next_step > 10 * max(far, 1)


def test_it_follows_a_learner_that_gets_better():
    teacher = SuccessGuided(LINE, seed=0, candidates=64)
    points, _ = play(teacher, lambda point, episode: (0.0, float(point[0] < 0.2 + 0.6 * episode / 3000)), 3000)
    early, late = (np.median(points[span, 0]) for span in (slice(500, 1000), slice(2500, 3000)))
    assert 0.2 < early < 0.5 < late < 0.95


def test_the_weights_are_computed_anew_after_the_stated_number_of_episodes():
    teacher = SuccessGuided(Discrete(4), seed=0, refresh_every=10)
    uniform = teacher._cumulative.copy()
    play(teacher, lambda point, episode: (0.0, 1.0), 9, batch=1)
    assert np.array_equal(teacher._cumulative, uniform)
    play(teacher, lambda point, episode: (0.0, 1.0), 1)
    expected = np.cumsum(success_weight(teacher.success_rates(), teacher.target, teacher.sharpness))
    assert np.array_equal(teacher._cumulative, expected)


def test_returns_do_not_matter_when_there_is_a_success():
    lessons = []
    for unit in (1.0, 1e6):
        teacher = SuccessGuided(SQUARE, seed=0)
        lessons.append(play(teacher, lambda p, e, unit=unit: (unit * e, float(p[0] < 0.5)), 200)[0].tolist())
    assert lessons[0] == lessons[1]


def test_seed_zero_is_a_seed():
    assert drawn(SuccessGuided(SQUARE, seed=0), 20) == drawn(SuccessGuided(SQUARE, seed=0), 20)
    assert drawn(SuccessGuided(SQUARE, seed=0), 20) != drawn(SuccessGuided(SQUARE, seed=1), 20)


def test_an_axis_a_thousand_times_wider_changes_nothing():
    wide = Box(np.array([0.0, -300.0]), np.array([1.0, 700.0]), dtype=np.float64)
    score = lambda point, episode: (0.0, float(np.floor(9 * point[1]) < episode / 30))  # noqa: E731
    points = [play(SuccessGuided(space, seed=0), score, 300)[0] for space in (SQUARE, wide)]
    np.testing.assert_allclose(points[0], points[1], rtol=0, atol=1e-9)


def test_a_success_that_is_not_a_number_is_ignored_with_one_warning():
    teacher = SuccessGuided(SQUARE, seed=0)
    with pytest.warns(RuntimeWarning, match="SuccessGuided ignores outcomes that are not finite") as caught:
        teacher.observe([outcome(lesson, 1.0, np.nan) for lesson in teacher.propose(30)])
    assert len(caught) == 1 and teacher._counts.sum() == 0


def test_hyperparameters_out_of_range_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        SuccessGuided(SQUARE, target=1.5, candidates=1, memory=0.5, refresh_every=0)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["target", "candidates", "memory", "refresh_every"]
