"""ALP-GMM: progress against the nearest earlier task, mixtures of it, and the faults of the published code."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict

from rlteach.errors import ConfigError
from rlteach.files import pack_state, unpack_state
from rlteach.teachers.alp_gmm import ALPGMM, NearestReturn, absolute_learning_progress
from tests.teachers.students import Toy, drawn, outcome, play, points_of

SQUARE = Box(0.0, 1.0, (2,), np.float64)
QUICK = {"fit_every": 60, "max_components": 4}


def ripple(point, episode):
    """A return that needs no memory, differs everywhere, and takes few values (rounding cannot change it)."""
    return float(np.floor(10 * point[0]) + np.floor(3 * point[1]) * (episode % 7))


# -- learning progress -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("now", "earlier", "progress"), [(0.7, 0.2, 0.5), (0.2, 0.7, 0.5), (0.3, 0.3, 0.0)])
def test_learning_progress_is_the_distance_of_two_returns(now, earlier, progress):
    assert absolute_learning_progress(now, earlier) == pytest.approx(progress)


@pytest.mark.parametrize(("capacity", "rebuild"), [(1000, 16), (40, 16), (10, 16), (40, 512)])
def test_the_nearest_return_is_that_of_a_search_through_all_remembered_tasks(monkeypatch, capacity, rebuild):
    monkeypatch.setattr(NearestReturn, "REBUILD_AFTER", rebuild)
    rng = np.random.default_rng(0)
    nearest, rows = NearestReturn(capacity, 3), []
    every = min(rebuild, capacity)
    for i in range(200):
        task, ret = rng.random(3), rng.random()
        if rows:
            built = i // every * every
            remembered = np.array(rows[max(0, built - capacity) :])
            distances = [sum((a - b) ** 2 for a, b in zip(row[:3], task, strict=True)) for row in remembered]
            assert nearest.find(task) == remembered[int(np.argmin(distances)), 3]
        nearest.add(task, ret)
        rows.append([*task, ret])
        assert len(nearest) == min(capacity, i + 1)


@pytest.mark.parametrize("capacity", [6, 100, 2000])
@pytest.mark.parametrize("before", [3, 130, 700])
def test_the_search_goes_on_from_its_state_whatever_its_capacity(capacity, before):
    rng = np.random.default_rng(1)
    saved, loaded = NearestReturn(capacity, 2), NearestReturn(capacity, 2)
    for _ in range(before):
        saved.add(rng.random(2), rng.random())
    loaded.load_state_dict(unpack_state(*pack_state(saved.state_dict())))
    for _ in range(600):
        task, ret = rng.random(2), rng.random()
        assert saved.find(task) == loaded.find(task)
        saved.add(task, ret)
        loaded.add(task, ret)


def test_the_fit_sees_each_task_with_its_progress_and_none_for_the_first_six():
    teacher = ALPGMM(SQUARE, seed=0, return_range=(0.0, 21.0), **QUICK)
    points, _ = play(teacher, ripple, 50)
    rows, returns = teacher._recent.rows(), [ripple(point, i) for i, point in enumerate(points)]
    np.testing.assert_allclose(rows[:, :2], points)
    for i, (point, ret) in enumerate(zip(points, returns, strict=True)):
        earlier = [np.linalg.norm(point - other) for other in points[:i]]
        expected = abs(ret - returns[int(np.argmin(earlier))]) / 21.0 if i >= 6 else 0.0
        assert rows[i, 2] == pytest.approx(expected)


def test_noise_looks_like_progress_of_a_known_size():
    noise = np.random.default_rng(2)
    teacher = ALPGMM(SQUARE, seed=0, return_range=(-10.0, 10.0), fit_every=2000, max_components=2)
    play(teacher, lambda point, episode: noise.normal(), 1999)
    assert teacher._recent.rows()[6:, 2].mean() * 20.0 == pytest.approx(2 / np.sqrt(np.pi), rel=0.1)


# -- sampling ----------------------------------------------------------------------------------------------------------


def test_tasks_are_uniform_until_the_first_fit_and_then_a_share_of_them():
    teacher = ALPGMM(SQUARE, seed=0, uniform_share=0.3, **QUICK)
    _, origins = play(
        teacher, ripple, 70
    )  # five at a time: the fit goes on for three calls, one for each number of components
    assert set(origins) == {"alp_gmm/bootstrap"}
    teacher._take(teacher._search.finish(teacher.rng))
    lessons = teacher.propose(2000)
    assert {lesson.origin for lesson in lessons} == {"alp_gmm", "alp_gmm/uniform"}
    assert np.mean([lesson.origin == "alp_gmm/uniform" for lesson in lessons]) == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_samples_where_returns_change(seed):
    teacher = ALPGMM(SQUARE, seed=seed, fit_every=150, max_components=5, return_range=(0.0, 1.0))
    points, origins = play(teacher, lambda point, episode: float(point[0] > 0.7) * ((episode // 40) % 2), 900)
    guided = points[(origins == "alp_gmm") & (np.arange(900) >= 300)]
    assert len(guided) > 300 and (guided[:, 0] > 0.65).mean() > 0.7


def test_a_gaussian_is_drawn_by_its_mean_progress_and_not_by_its_weight():
    teacher = ALPGMM(SQUARE, seed=0, fit_every=200, min_components=2, max_components=2, uniform_share=0.0)
    rng = np.random.default_rng(3)
    many = [[*(0.2 + 0.02 * rng.standard_normal(2)), 0.2 + 0.01 * rng.standard_normal()] for _ in range(180)]
    few = [[*(0.8 + 0.02 * rng.standard_normal(2)), 0.6 + 0.01 * rng.standard_normal()] for _ in range(20)]
    teacher._recent.append(many + few)
    teacher._search.begin(teacher._recent.rows())
    teacher._take(teacher._search.finish(teacher.rng))
    points = np.array(drawn(teacher, 3000))
    assert (points[:, 0] > 0.5).mean() == pytest.approx(0.6 / 0.8, abs=0.03)


def test_the_largest_number_of_components_is_used():
    teacher = ALPGMM(SQUARE, seed=0, fit_every=160, min_components=2, max_components=4)
    rng = np.random.default_rng(4)
    centres = np.array([[0.1, 0.1, 0.1], [0.9, 0.1, 0.4], [0.1, 0.9, 0.6], [0.9, 0.9, 0.9]])
    teacher._recent.append(np.repeat(centres, 40, axis=0) + 0.01 * rng.standard_normal((160, 3)))
    teacher._search.begin(teacher._recent.rows())
    teacher._take(teacher._search.finish(teacher.rng))
    assert len(teacher.state_dict()["own"]["_mixture"]["means"]) == 4


def test_lessons_do_not_pile_up_on_the_border():
    teacher, noise = ALPGMM(SQUARE, seed=0, uniform_share=0.0), np.random.default_rng(0)
    play(teacher, lambda point, episode: noise.normal(), 250)
    teacher._take(teacher._search.finish(teacher.rng))
    points = points_of(teacher, teacher.propose(4000))
    assert on_the_border(points) < 0.005
    mixture = teacher._mixture
    chosen = np.searchsorted(mixture._cumulative, noise.random(4000) * mixture._cumulative[-1], side="right")
    far = np.einsum("nij,nj->ni", mixture._factors[chosen], noise.standard_normal((4000, 2)))
    assert on_the_border(np.clip(mixture._means[chosen] + far, 0.0, 1.0)) > 0.03  # what clipping alone would give


def on_the_border(points):
    return ((points == 0.0) | (points == 1.0)).any(axis=1).mean()


def test_lessons_do_not_pile_up_on_the_border_of_the_toy_space():
    teacher = ALPGMM(SQUARE, seed=0)
    play(teacher, Toy(), 1000)
    assert on_the_border(points_of(teacher, teacher.propose(4000))) < 0.005


# -- faults of the published code --------------------------------------------------------------------------------------


def test_seed_zero_is_a_seed():
    runs = [play(ALPGMM(SQUARE, seed=seed, **QUICK), ripple, 150)[0].tolist() for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_two_teachers_in_one_process_do_not_disturb_each_other():
    alone = ALPGMM(SQUARE, seed=0, **QUICK)
    expected, _ = play(alone, ripple, 200)
    first, second = ALPGMM(SQUARE, seed=0, **QUICK), ALPGMM(SQUARE, seed=7, **QUICK)
    points = []
    for start in range(0, 200, 5):
        points.append(play(first, lambda point, episode, start=start: ripple(point, start + episode), 5)[0])
        play(second, ripple, 5)
    assert np.concatenate(points).tolist() == expected.tolist()


def test_an_axis_a_thousand_times_wider_changes_nothing():
    wide = Box(np.array([0.0, -300.0]), np.array([1.0, 700.0]), dtype=np.float64)
    points = [play(ALPGMM(space, seed=0, **QUICK), ripple, 200)[0] for space in (SQUARE, wide)]
    np.testing.assert_allclose(points[0], points[1], rtol=0, atol=1e-9)


def test_a_vector_parameter_before_a_scalar_one_keeps_its_place():
    space = Dict(a_shape=Box(0.0, 1.0, (3,), np.float64), b_width=Box(5.0, 6.0, (), np.float64))
    teacher = ALPGMM(space, seed=0, uniform_share=0.0)
    teacher._mixture.set(np.array([[0.1, 0.2, 0.3, 0.9]]), 1e-12 * np.eye(4)[None], np.ones(1))
    (lesson,) = teacher.propose(1)
    np.testing.assert_allclose(lesson.task["a_shape"], [0.1, 0.2, 0.3], atol=1e-4)
    assert float(lesson.task["b_width"]) == pytest.approx(5.9, abs=1e-4)


def test_the_history_is_bounded():
    teacher = ALPGMM(SQUARE, seed=0, history=50, fit_every=40, max_components=2, return_range=(0.0, 21.0))
    sizes = []
    for _ in range(3):
        play(teacher, ripple, 300)
        sizes.append(sum(map(len, pack_state(teacher.state_dict()))))
    assert len(teacher._past) == 50 and max(sizes) - min(sizes) < 200


def test_a_return_that_is_not_a_number_is_ignored_with_one_warning():
    told, spared = ALPGMM(SQUARE, seed=0, **QUICK), ALPGMM(SQUARE, seed=0, **QUICK)
    for teacher in (told, spared):
        play(teacher, ripple, 30)
    lessons = [teacher.propose(4) for teacher in (told, spared)]
    with pytest.warns(RuntimeWarning, match="ALPGMM ignores outcomes that are not finite") as caught:
        told.observe(
            [outcome(lesson, ret) for lesson, ret in zip(lessons[0], [np.nan, np.inf, -np.inf, 1.0], strict=True)]
        )
    assert len(caught) == 1
    spared.observe([outcome(lessons[1][3], 1.0)])
    spared.forget([lesson.id for lesson in lessons[1][:3]])
    ours, theirs = (play(teacher, ripple, 120)[0].tolist() for teacher in (told, spared))
    assert ours == theirs


@pytest.mark.parametrize("ret", [0.0, 1e300])
def test_hundreds_of_identical_tasks_neither_hang_nor_break_it(ret):
    teacher = ALPGMM(SQUARE, seed=0, **QUICK)
    teacher._learn(np.full((620, 2), 0.25), np.full(620, ret), np.zeros(620))
    points = np.array(drawn(teacher, 200))
    # a component without rows of its own stands in the corner, and without progress all components are drawn alike
    assert (np.linalg.norm(points - 0.25, axis=1) < 0.01).sum() > 50


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"fit_every": 10}, "fit_every = 10 must lie in"),
        ({"min_components": 11}, "min_components = 11 must lie in"),
        ({"uniform_share": 1.5}, "uniform_share = 1.5 must lie in"),
        ({"history": 2}, "history = 2 must lie in"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(wrong, text):
    with pytest.raises(ConfigError, match=text):
        ALPGMM(SQUARE, **wrong)
