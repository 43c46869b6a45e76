"""RIAC: progress of regions, cuts by balance and difference, and the faults of the published code."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete

from rlteach.errors import ConfigError
from rlteach.files import pack_state, unpack_state
from rlteach.teachers.riac import RIAC, Regions, progress_of_parts, region_progress, split_score
from rlteach.teachers.uniform import Uniform
from tests.teachers.students import Toy, outcome, play, points_of

LINE = Box(0.0, 1.0, (1,), np.float64)
SQUARE = Box(0.0, 1.0, (2,), np.float64)
QUICK = {"region_size": 40}


def leaves(teacher):
    return [region for region in teacher._regions.all if region.axis < 0]


# -- equations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returns", "progress"),
    [([], 0.0), ([1.0, 5.0], 0.0), ([9.0, 1.0, 3.0], 2.0), ([1.0, 2.0, 5.0, 6.0], 4.0), ([5.0, 6.0, 1.0, 2.0], 4.0)],
)
def test_progress_is_the_distance_of_the_means_of_the_older_and_the_newer_half(returns, progress):
    assert region_progress(returns) == pytest.approx(progress)


def test_progress_of_many_parts_at_once_is_that_of_each():
    rng = np.random.default_rng(0)
    returns = rng.normal(size=60)
    members = rng.random((30, 60)) < rng.random((30, 1))
    members[:3] = [np.zeros(60), np.arange(60) == 7, np.ones(60)]
    sizes, progress = progress_of_parts(returns, members.astype(bool))
    assert sizes.tolist() == members.sum(axis=1).tolist()
    np.testing.assert_allclose(progress, [region_progress(returns[part].tolist()) for part in members], atol=1e-12)


def test_the_score_of_a_cut_grows_with_balance_and_with_the_difference_of_progress():
    sizes = np.array([10.0, 50.0, 90.0]), np.array([90.0, 50.0, 10.0])
    progress = np.array([0.4, 0.4, 0.1]), np.array([0.1, 0.1, 0.1])
    np.testing.assert_allclose(split_score(sizes, progress), [270.0, 750.0, 0.0])


# -- the tree ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [LINE, SQUARE, Box(0.0, 1.0, (5,), np.float64), MultiDiscrete([3, 7])])
def test_leaves_tile_the_space_and_every_region_holds_only_tasks_of_its_own(space):
    teacher = RIAC(space, seed=0, region_size=30)
    play(teacher, lambda point, episode: float(np.floor(4 * point[0])) * (episode % 11), 900)
    volumes = [np.prod(region.high - region.low) for region in leaves(teacher)]
    assert len(volumes) > 2 and sum(volumes) == pytest.approx(1.0)
    for region in teacher._regions.all:
        tasks = np.array(region.tasks)
        assert len(tasks) == len(region.returns) <= 31
        assert ((tasks >= region.low) & (tasks <= region.high)).all()
        if region.axis >= 0:
            parts = [teacher._regions.all[part] for part in region.parts]
            assert parts[0].high[region.axis] == parts[1].low[region.axis] == region.threshold
            assert (np.subtract(parts[0].high, parts[0].low) >= 1 / 6 - 1e-9).all()


def test_a_task_on_a_bound_lies_in_one_leaf():
    regions = Regions(1, 10)
    regions.split(0, 0, 0.5)
    assert regions.add((0.5,), 1.0) == 2
    assert [len(region.tasks) for region in regions.all] == [1, 0, 1]


def test_the_best_cut_is_the_one_between_progress_and_none():
    teacher = RIAC(LINE, seed=0, region_size=200, split_attempts=200)
    rng = np.random.default_rng(0)
    tasks = rng.random((201, 1))
    teacher._learn(tasks, np.where(tasks[:, 0] > 0.6, np.arange(201) / 200, 0.5), np.zeros(201))
    assert teacher._regions.all[0].threshold == pytest.approx(0.6, abs=0.05)


def test_the_number_of_tasks_on_both_sides_counts_in_a_cut():
    """The published code multiplies by the length of a pair, so that a cut next to the border wins by its noise."""
    thresholds = []
    for seed in range(20):
        teacher = RIAC(LINE, seed=seed, region_size=200, min_width=0.0)
        noise = np.random.default_rng(seed).normal(size=201)
        teacher._learn(np.random.default_rng(100 + seed).random((201, 1)), noise, np.zeros(201))
        thresholds.append(teacher._regions.all[0].threshold)
    middle = np.abs(np.array(thresholds) - 0.5)
    assert np.mean(middle) < 0.29  # 0.22; by difference alone 0.36


def test_parts_begin_with_the_progress_of_their_own_tasks():
    teacher = RIAC(LINE, seed=0, **QUICK)
    play(teacher, lambda point, episode: float(point[0] > 0.5) * episode, 41)
    regions = teacher._regions
    assert len(regions.all) == 3
    for k, region in enumerate(regions.all):
        assert regions.progress[k] == pytest.approx(region_progress(list(region.returns)))
    assert regions.progress[1] != regions.progress[2]


@pytest.mark.parametrize("space", [SQUARE, Discrete(2), LINE])
def test_hundreds_of_identical_tasks_neither_hang_nor_fill_the_memory(space):
    teacher = RIAC(space, seed=0, **QUICK)
    teacher._learn(np.full((620, teacher.dimension), 0.25), np.arange(620.0), np.zeros(620))
    (only,) = teacher._regions.all
    assert 30 <= len(only.tasks) <= 41
    assert only.returns == list(np.arange(620.0)[-len(only.returns) :])  # the oldest went
    teacher.propose(50)


def test_a_region_that_could_not_be_split_at_first_stays_bounded_as_a_parent():
    teacher = RIAC(LINE, seed=0, **QUICK)
    teacher._learn(np.full((200, 1), 0.25), np.arange(200.0), np.zeros(200))
    play(teacher, lambda point, episode: float(point[0] > 0.5) * episode, 1000)
    assert len(teacher._regions.all) > 3
    assert max(len(region.tasks) for region in teacher._regions.all) <= 41


def test_the_number_of_regions_is_bounded():
    teacher = RIAC(SQUARE, seed=0, region_size=20, min_width=0.01, max_regions=15)
    play(teacher, lambda point, episode: float(point[0] > 0.5) * episode, 1500)
    assert len(teacher._regions.all) == 15


def test_integer_parameters_are_cut_between_levels():
    space = Dict(kind=Discrete(4), x=Box(0.0, 1.0, (), np.float64))
    teacher = RIAC(space, seed=0, region_size=30)
    play(teacher, lambda point, episode: float(point[0] > 0.5) * episode, 1500)
    cuts = {region.threshold for region in teacher._regions.all if region.axis == 0}
    assert cuts and cuts <= {0.25, 0.5, 0.75}


# -- sampling ----------------------------------------------------------------------------------------------------------


def test_regions_are_drawn_in_proportion_to_progress_and_points_uniformly_in_them():
    teacher = RIAC(LINE, seed=0, uniform_share=0.0, worst_share=0.0)
    teacher._regions.split(0, 0, 0.25)
    teacher._regions.progress = np.array([0.2, 0.6, 0.2])
    points = points_of(teacher, teacher.propose(6000))[:, 0]
    low = points < 0.25
    assert low.mean() == pytest.approx(0.6 + 0.2 * 0.25, abs=0.02)  # the root is a region as well
    assert points[low].mean() == pytest.approx(0.125, abs=0.01)


def test_tasks_are_drawn_in_the_stated_shares():
    teacher = RIAC(SQUARE, seed=0, uniform_share=0.2, worst_share=0.1, **QUICK)
    play(teacher, lambda point, episode: point[0], 30)
    origins = [lesson.origin for lesson in teacher.propose(5000)]
    shares = [origins.count(name) / 5000 for name in ("riac/uniform", "riac/worst", "riac")]
    np.testing.assert_allclose(shares, [0.2, 0.1, 0.7], atol=0.02)


def test_exploitation_stays_near_the_worst_task_of_a_region_and_off_its_border():
    wide = Box(np.array([0.0, -300.0]), np.array([1.0, 700.0]), dtype=np.float64)
    teacher = RIAC(wide, seed=0, uniform_share=0.0, worst_share=1.0)
    play(teacher, lambda point, episode: float(episode), 5)
    teacher._learn(np.array([[0.1, 0.5]]), np.array([-1.0]), np.zeros(1))
    points = points_of(teacher, teacher.propose(3000))
    assert np.median(points, axis=0) == pytest.approx([0.12, 0.5], abs=0.02)
    assert points[:, 1].std() == pytest.approx(0.1, abs=0.01)  # a share of the range, not raw units
    assert ((points == 0.0) | (points == 1.0)).mean() == 0.0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_samples_where_returns_change(seed):
    teacher = RIAC(SQUARE, seed=seed, region_size=60)
    points, origins = play(teacher, lambda point, episode: float(point[0] > 0.7) * (episode / 300), 1500)
    guided = points[(origins == "riac") & (np.arange(1500) >= 700)]
    assert (guided[:, 0] > 0.7).mean() > 0.6  # 0.3 is uniform


def test_it_masters_more_of_the_toy_space_than_uniform_tasks():
    mastered = []
    for teacher in (RIAC(SQUARE, seed=0), Uniform(SQUARE, seed=0)):
        toy = Toy(full=40.0)
        play(teacher, toy, 4000)
        mastered.append((toy.competence >= 30).mean())
    assert mastered[0] > 0.12 and mastered[1] < 0.05


# -- promises ----------------------------------------------------------------------------------------------------------


def test_seed_zero_is_a_seed():
    runs = [play(RIAC(SQUARE, seed=seed, **QUICK), lambda p, e: p[0] * e, 200)[0].tolist() for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_returns_in_other_units_change_nothing():
    runs = [play(RIAC(SQUARE, seed=0, **QUICK), lambda p, e, u=unit: u * p[0] * e, 300)[0] for unit in (1.0, 1024.0)]
    assert runs[0].tolist() == runs[1].tolist()


def test_the_tree_goes_on_from_its_state():
    first, second = RIAC(SQUARE, seed=0, **QUICK), RIAC(SQUARE, seed=1, **QUICK)
    play(first, lambda point, episode: point[0] * episode, 500)
    second.load_state_dict(unpack_state(*pack_state(first.state_dict())))
    assert len(second._regions.all) == len(first._regions.all) > 5
    ours, theirs = (play(teacher, lambda p, e: p[1] * e, 500)[0].tolist() for teacher in (first, second))
    assert ours == theirs


def test_a_return_that_is_not_a_number_is_ignored_with_one_warning():
    teacher = RIAC(SQUARE, seed=0, **QUICK)
    with pytest.warns(RuntimeWarning, match="RIAC ignores outcomes that are not finite") as caught:
        teacher.observe([outcome(lesson, np.nan) for lesson in teacher.propose(60)])
    assert len(caught) == 1 and not teacher._regions.all[0].tasks


def test_huge_returns_neither_break_nor_overflow_it():
    teacher = RIAC(SQUARE, seed=0, **QUICK)
    play(teacher, lambda point, episode: 1.7e308 * (-1) ** episode * float(point[0] > 0.5), 400)
    assert np.isfinite(teacher._regions.progress).all() and len(teacher._regions.all) > 1


def test_hyperparameters_out_of_range_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        RIAC(SQUARE, region_size=2, min_width=0.7, worst_share=0.9)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["region_size", "min_width", "worst_share"]
