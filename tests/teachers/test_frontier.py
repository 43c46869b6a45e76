"""The forest frontier: tasks between mastered and hopeless, along any direction, whatever dimensions are useless."""

import math

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from rlteach.errors import ConfigError
from rlteach.teachers.frontier import LIGHT, NOTHING, Frontier, frontier_weight, hopeful, oblique_directions
from tests.teachers.students import drawn, outcome, play, points_of

SQUARE = Box(0.0, 1.0, (2,), np.float64)
QUICK = {"candidates": 512, "return_range": (0.0, 1.0)}


def ramp(distance):
    """A return of 1 well before a frontier, 0 well behind it, and 0.5 on it."""
    return float(np.clip(0.5 - distance / 0.2, 0.0, 1.0))


# -- equations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "sharpness"), [(0.4, 8.0), (0.5, 0.0), (0.0, 2.0), (1.0, 2.0)])
def test_the_weight_is_a_product_of_two_powers_with_a_floor_of_a_hundredth(target, sharpness):
    levels = np.linspace(0.0, 1.0, 11)
    expected = [
        math.exp(sharpness * (target * math.log(p + 0.01) + (1 - target) * math.log(1.01 - p))) for p in levels.tolist()
    ]
    np.testing.assert_allclose(frontier_weight(levels, target, sharpness), expected, rtol=1e-12)


@pytest.mark.parametrize("target", [0.3, 0.4, 0.5, 0.7])
def test_the_weight_is_highest_at_the_target(target):
    levels = np.linspace(0.0, 1.0, 1001)
    assert levels[frontier_weight(levels, target, 8.0).argmax()] == pytest.approx(target, abs=0.01)


@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 20])
def test_directions_are_unit_vectors_that_mix_two_dimensions_when_there_are_many(dimension):
    directions = oblique_directions(dimension, np.random.default_rng(0))
    assert directions.shape == (4 * dimension, dimension)
    np.testing.assert_allclose((directions**2).sum(axis=1), 1.0)
    mixed = np.count_nonzero(directions, axis=1)
    assert (mixed == (dimension if dimension <= 3 else 2)).all()


def test_directions_favour_no_dimension():
    directions = oblique_directions(10, np.random.default_rng(1))
    for seed in range(2, 40):
        directions = np.concatenate([directions, oblique_directions(10, np.random.default_rng(seed))])
    used = np.count_nonzero(directions, axis=0)
    expected = len(directions) * 2 / 10
    assert (np.abs(used - expected) < 5 * np.sqrt(expected)).all()
    assert np.abs(directions.mean(axis=0)).max() < 0.05


def test_candidates_are_drawn_in_proportion_to_their_weights():
    teacher = Frontier(SQUARE, seed=0, uniform_share=0.0)
    teacher._candidates = np.array([[0.1, 0.1], [0.5, 0.5], [0.9, 0.9]])
    teacher._cumulative = np.cumsum([1.0, 3.0, 6.0])
    places = np.array(drawn(teacher, 6000))[:, 0]
    shares = [np.isclose(places, place).mean() for place in (0.1, 0.5, 0.9)]
    np.testing.assert_allclose(shares, [0.1, 0.3, 0.6], atol=0.02)


def test_the_weights_after_a_fit_follow_the_returns():
    teacher = Frontier(SQUARE, seed=0, min_leaf=1, trees=32, **QUICK)
    play(teacher, lambda point, episode: ramp(point[0] - 0.5), 240)
    weights = np.diff(teacher._cumulative, prepend=0.0)
    expected = frontier_weight(np.array([ramp(x - 0.5) for x in teacher._candidates[:, 0]]), 0.3, 10.0)
    assert np.corrcoef(weights, expected)[0, 1] > 0.9


@pytest.mark.parametrize("dimension", [1, 2, 6])
def test_a_place_is_hopeful_when_one_of_the_three_nearest_tasks_returned_something(dimension):
    rng = np.random.default_rng(dimension)
    tasks, places = rng.random((150, dimension)), rng.random((400, dimension))
    levels = np.where(rng.random(150) < 0.3, rng.random(150), 0.0)
    nearest = np.argsort(((places[:, None] - tasks[None]) ** 2).sum(axis=2), axis=1)[:, :3]
    expected = (levels[nearest] > NOTHING).any(axis=1)
    assert 0 < expected.sum() < 400
    np.testing.assert_array_equal(hopeful(places, tasks, levels), expected)


def test_tasks_that_are_alike_stay_hopeful_when_any_of_them_returned_something():
    tasks = np.repeat([[0.2], [0.8]], 50, axis=0)
    levels = np.zeros(100)
    levels[30] = 1.0
    assert hopeful(np.array([[0.2], [0.8]]), tasks, levels).tolist() == [True, False]


@pytest.mark.parametrize("levels", [[0.0] * 5, [1.0] * 5, [1.0, 1.0, 1.0, 0.0, 0.0]])
def test_all_places_are_hopeful_where_nothing_can_be_told_apart(levels):
    assert hopeful(
        np.random.default_rng(0).random((20, 2)), np.random.default_rng(1).random((5, 2)), np.array(levels)
    ).all()


def test_in_many_dimensions_nothing_is_hopeless():
    rng = np.random.default_rng(0)
    levels = (np.arange(50) == 0).astype(float)
    assert not hopeful(rng.random((20, 6)), rng.random((50, 6)), levels).all()
    assert hopeful(rng.random((20, 7)), rng.random((50, 7)), levels).all()


def test_only_candidates_that_are_drawn_at_all_are_looked_up_in_the_memory(monkeypatch):
    asked = []

    def counted(places, tasks, levels):
        asked.append(len(places))
        return hopeful(places, tasks, levels)

    monkeypatch.setattr("rlteach.teachers.frontier.hopeful", counted)
    teacher = Frontier(SQUARE, seed=0, warm_up=300, refit_every=40, **QUICK)
    play(teacher, lambda point, episode: ramp(point[0] - 0.5), 302, batch=1)
    weights = frontier_weight(teacher._predicted / teacher.trees, 0.3, 10.0)
    heavy = weights > LIGHT * weights.max()
    rows = teacher._history.rows()
    hopeless = heavy & ~hopeful(teacher._candidates, rows[:, :2], rows[:, 2])
    assert asked == [heavy.sum()] and hopeless.any() and (~heavy).sum() > 100
    drawn_by = np.diff(teacher._cumulative, prepend=0.0)
    np.testing.assert_allclose(drawn_by, np.where(hopeless, 0.02 * weights, weights), atol=1e-12)


def test_nothing_is_looked_up_when_nothing_would_change(monkeypatch):
    monkeypatch.delattr("rlteach.teachers.frontier.hopeful")
    teacher = Frontier(SQUARE, seed=0, doubt=1.0, **QUICK)
    play(teacher, lambda point, episode: ramp(point[0] - 0.5), 300)
    assert len(teacher._candidates)


def test_what_lies_between_mastered_and_impossible_tasks_is_left_alone():
    """An edge that does not move: whatever a forest predicts there, nothing is to be learned."""
    shares = []
    for doubt in (1.0, 0.02):
        teacher = Frontier(SQUARE, seed=0, doubt=doubt, **QUICK)
        points, origins = play(teacher, lambda point, episode: float(point[0] < 0.5), 2500)
        late = points[(origins == "frontier/forest") & (np.arange(2500) >= 1500)]
        shares.append((late[:, 0] > 0.5).mean())
    assert shares[1] < 0.8 * shares[0]


# -- behaviour ---------------------------------------------------------------------------------------------------------


def test_tasks_are_uniform_until_the_first_forest_has_grown():
    teacher = Frontier(SQUARE, seed=0, warm_up=60, refit_every=40, **QUICK)
    _, origins = play(teacher, lambda point, episode: ramp(point[0] - 0.5), 140, batch=1)
    assert set(origins[:62]) == {"frontier/warm-up"}
    assert set(origins[62:]) == {"frontier/forest", "frontier/uniform"}


def test_a_forest_is_begun_after_the_stated_number_of_episodes_and_has_grown_two_calls_later():
    teacher = Frontier(SQUARE, seed=0, warm_up=60, refit_every=40, **QUICK)
    fits = []
    for episode in range(150):
        before = teacher._cumulative
        play(teacher, lambda point, _: ramp(point[0] - 0.5), 1)
        if teacher._cumulative is not before:
            fits.append(episode + 1)
    assert fits == [62, 102, 142]


@pytest.mark.parametrize(("batch", "most", "begun"), [(1, 4, 11), (3, 4, 10), (64, 4, 8), (300, 8, 4)])
def test_a_call_grows_a_few_trees_and_none_is_lost(batch, most, begun, monkeypatch):
    from sklearn.tree import ExtraTreeRegressor

    grown, fit = [0], ExtraTreeRegressor.fit

    def counted(*args, **kwargs):
        grown[-1] += 1
        return fit(*args, **kwargs)

    monkeypatch.setattr(ExtraTreeRegressor, "fit", counted)
    teacher = Frontier(SQUARE, seed=0, warm_up=200, refit_every=100, **QUICK)
    for _ in range(1200 // batch):
        play(teacher, lambda point, _: ramp(point[0] - 0.5), batch, batch=batch)
        grown.append(0)
    assert max(grown) == most  # more only where every call begins a forest
    assert sum(grown) + teacher._trees_left == 8 * begun


@pytest.mark.parametrize("angle", [0.0, 30.0, 45.0, 110.0])
def test_it_finds_a_frontier_of_any_direction(angle):
    normal = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    distance = lambda points: (points - 0.5) @ normal  # noqa: E731
    teacher = Frontier(SQUARE, seed=0, **QUICK)
    points, origins = play(teacher, lambda point, episode: ramp(distance(point)), 700)
    near = np.abs(distance(points[origins == "frontier/forest"][200:])) < 0.1
    uniform = np.abs(distance(np.random.default_rng(0).random((4000, 2)))) < 0.1
    assert uniform.mean() < 0.3 and near.mean() > 0.75


@pytest.mark.parametrize("useless", [1, 6])
def test_it_ignores_useless_dimensions(useless):
    teacher = Frontier(Box(0.0, 1.0, (1 + useless,), np.float64), seed=0, **QUICK)
    points, origins = play(teacher, lambda point, episode: ramp(point[0] - 0.6), 900)
    late = points[(origins == "frontier/forest") & (np.arange(900) >= 500)]
    assert (np.abs(late[:, 0] - 0.6) < 0.15).mean() > 0.75
    assert (late[:, 1:].std(axis=0) > 0.2).all()  # 0.29 is uniform


def test_it_takes_categories():
    teacher = Frontier(Dict(kind=Discrete(4), x=Box(0.0, 1.0, (), np.float64)), seed=0, **QUICK)
    places = np.array([0.2, 0.8, -1.0, 2.0])  # two kinds with a frontier, a hopeless one, a trivial one

    def student(point, episode):
        return ramp(point[1] - places[int(4 * point[0])])

    points, origins = play(teacher, student, 900)
    late = points[(origins == "frontier/forest") & (np.arange(900) >= 500)]
    kinds = (4 * late[:, 0]).astype(int)
    assert (kinds < 2).mean() > 0.65  # uniform is a half
    assert np.median(late[kinds == 0, 1]) == pytest.approx(0.2, abs=0.12)
    assert np.median(late[kinds == 1, 1]) == pytest.approx(0.8, abs=0.12)


def test_it_follows_a_learner_that_gets_better_and_one_that_forgets():
    def student(point, episode):
        return ramp(point[0] - (0.3 if episode < 700 else 0.8 if episode < 1500 else 0.3))

    teacher = Frontier(SQUARE, seed=0, **QUICK)
    points, _ = play(teacher, student, 2300)
    medians = [np.median(points[end - 200 : end, 0]) for end in (700, 1500, 2300)]
    np.testing.assert_allclose(medians, [0.3, 0.8, 0.3], atol=0.1)


def test_only_the_memory_is_kept_and_the_forest_sees_only_the_window(monkeypatch):
    from sklearn.tree import ExtraTreeRegressor

    seen, fit = [], ExtraTreeRegressor.fit
    monkeypatch.setattr(ExtraTreeRegressor, "fit", lambda self, x, y, **kw: seen.append(y) or fit(self, x, y, **kw))
    teacher = Frontier(SQUARE, seed=0, window=20, memory=30, warm_up=40, refit_every=40, **QUICK)
    points, _ = play(teacher, lambda point, episode: 0.01 * episode, 50)
    rows = teacher._history.rows()
    np.testing.assert_allclose(rows[:, :2], points[-30:])
    np.testing.assert_allclose(rows[:, 2], 0.01 * np.arange(20, 50))
    np.testing.assert_allclose(seen[0], 0.01 * np.arange(25, 45))


def test_seed_zero_is_a_seed_and_two_teachers_do_not_disturb_each_other():
    score = lambda point, episode: ramp(point[0] - 0.5)  # noqa: E731
    first, second, other = (Frontier(SQUARE, seed=seed, warm_up=60, **QUICK) for seed in (0, 0, 1))
    expected = play(first, score, 300)[0].tolist()
    points, others = [], []
    for _ in range(60):
        points += play(second, score, 5)[0].tolist()
        others += play(other, score, 5)[0].tolist()
    assert points == expected != others


def test_an_axis_a_thousand_times_wider_changes_nothing():
    wide = Box(np.array([0.0, -300.0]), np.array([1.0, 700.0]), dtype=np.float64)
    score = lambda point, episode: np.floor(7 * point[1]) / 7  # noqa: E731
    points = [play(Frontier(space, seed=0, warm_up=60, **QUICK), score, 200)[0] for space in (SQUARE, wide)]
    np.testing.assert_allclose(points[0], points[1], rtol=0, atol=1e-9)


def test_a_return_that_is_not_a_number_is_ignored_with_one_warning():
    teacher = Frontier(SQUARE, seed=0, **QUICK)
    with pytest.warns(RuntimeWarning, match="Frontier ignores outcomes that are not finite") as caught:
        teacher.observe([outcome(lesson, np.nan) for lesson in teacher.propose(300)])
    assert len(caught) == 1 and len(teacher._history) == 0 and len(teacher._candidates) == 0


def test_hundreds_of_identical_tasks_neither_hang_nor_break_it():
    teacher = Frontier(SQUARE, seed=0, **QUICK)
    for _ in range(62):
        teacher._learn(np.full((10, 2), 0.25), np.full(10, 0.5), np.full(10, 0.5))
    points = points_of(teacher, teacher.propose(300))
    assert (np.linalg.norm(points - 0.25, axis=1) < 0.3).mean() > 0.4 and points.std() > 0.1


def test_hyperparameters_out_of_range_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        Frontier(SQUARE, target=-0.1, window=5, doubt=0.0, trees=0)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["target", "window", "doubt", "trees"]
