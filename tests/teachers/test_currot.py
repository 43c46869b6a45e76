"""CURROT: its parts against slow and independent calculations, and particles that stay within reach."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from rlteach.errors import ConfigError
from rlteach.teachers.currot import (
    CURROT,
    SuccessBuffer,
    chosen_candidates,
    half_ball,
    kernel_regression,
    sliced_displacements,
)
from rlteach.teachers.uniform import Uniform
from tests.teachers.students import Toy, drawn, play

LINE = Box(0.0, 1.0, (1,), np.float64)
SQUARE = Box(0.0, 1.0, (2,), np.float64)
KNOWN = {"return_range": (0.0, 1.0)}


# -- equations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "bandwidth"), [(1, 0.015), (2, 0.1), (6, 0.3)])
def test_the_regression_is_that_of_nadaraya_and_watson(d, bandwidth):
    rng = np.random.default_rng(0)
    tasks, levels = rng.random((30, d)), rng.random(30)
    queries = tasks[:10] + 0.5 * bandwidth * rng.standard_normal((10, d))
    expected = []
    for query in queries:
        weights = [np.exp(-((query - task) ** 2).sum() / (2 * bandwidth**2)) for task in tasks]
        expected.append(np.dot(weights, levels) / np.sum(weights))
    np.testing.assert_allclose(kernel_regression(queries, tasks, levels, bandwidth), expected, atol=1e-3)


def test_far_from_all_tasks_the_level_is_that_of_the_nearest():
    tasks, levels = np.array([[0.1, 0.1], [0.3, 0.1]]), np.array([1.0, 0.2])
    queries = np.array([[0.0, 1.0], [1.0, 1.0], [0.15, 0.9]])
    np.testing.assert_allclose(kernel_regression(queries, tasks, levels, 0.01), [1.0, 0.2, 1.0])


def test_goals_that_are_the_particles_shifted_draw_every_particle_by_the_shift():
    rng = np.random.default_rng(1)
    particles, shift = rng.random((50, 3)), np.array([0.3, -0.1, 0.05])
    turned = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    found = sliced_displacements(particles, rng.permutation(particles + shift), turned.T)
    np.testing.assert_allclose(found, np.tile(shift, (50, 1)), atol=1e-12)


def test_in_one_dimension_particles_are_drawn_to_their_optimal_match():
    rng = np.random.default_rng(2)
    particles, goals = rng.random((2, 20, 1))
    match = goals[linear_sum_assignment(cdist(particles, goals, "sqeuclidean"))[1]]
    np.testing.assert_allclose(sliced_displacements(particles, goals, np.array([[1.0], [-1.0]])), match - particles)


@pytest.mark.parametrize("d", [1, 2, 6])
def test_candidates_lie_in_the_half_ball_that_faces_the_goal(d):
    rng = np.random.default_rng(3)
    towards = rng.standard_normal((40, d)) * rng.random((40, 1))
    offsets = half_ball(towards, np.full(40, 0.3), 50, rng)
    length = np.linalg.norm(towards, axis=1)
    assert (np.linalg.norm(offsets, axis=2) <= np.minimum(0.3, length)[:, None] + 1e-12).all()
    assert (np.einsum("ncd,nd->nc", offsets, towards) >= 0.0).all()
    reach = np.minimum(1.0, 0.3 / length)[:, None]
    np.testing.assert_allclose(offsets[:, 0], towards * reach)
    if d == 2:  # uniform in the half disc: the mean distance is two thirds of the radius
        shares = np.linalg.norm(offsets[:, 1:], axis=2) / np.minimum(0.3, length)[:, None]
        assert shares.mean() == pytest.approx(2 / 3, abs=0.02)


def test_a_particle_at_its_target_stays_there():
    offsets = half_ball(np.zeros((2, 3)), np.full(2, 0.1), 5, np.random.default_rng(0))
    assert not offsets.any()
    teacher = CURROT(LINE, seed=0, target={"mean": 0.5, "std": 0.001}, initial={"mean": 0.5, "std": 0.001}, **KNOWN)
    teacher._particles[:] = 0.5
    play(teacher, lambda point, episode: 1.0, 200)
    assert np.abs(teacher._particles - 0.5).max() < 0.01


def test_the_candidate_nearest_to_the_goal_is_chosen_among_those_within_reach():
    rng = np.random.default_rng(4)
    candidates, levels, goals = rng.random((30, 6, 2)), rng.random((30, 6)), rng.random((30, 2))
    levels[:5] *= 0.5  # out of reach altogether
    for row, found in enumerate(chosen_candidates(candidates, levels, goals, 0.6)):
        reached = [c for c in range(6) if levels[row, c] >= 0.6]
        if reached:
            best = min(reached, key=lambda c: np.linalg.norm(candidates[row, c] - goals[row]))
        else:
            best = int(np.argmax(levels[row]))
        assert found.tolist() == candidates[row, best].tolist()


# -- the buffer of successes -------------------------------------------------------------------------------------------


def filled(returns, capacity):
    buffer = SuccessBuffer(capacity, 1)
    buffer.tasks, buffer.returns = np.array(returns, dtype=float)[:, None] / 100, np.array(returns, dtype=float)
    return buffer


def collected(buffer, returns):
    new = np.array(returns, dtype=float)
    buffer.collect(new[:, None] / 100, new)
    np.testing.assert_allclose(buffer.tasks[:, 0], buffer.returns / 100)
    return sorted(buffer.returns.tolist())


def test_before_the_bound_is_reached_what_is_as_good_as_the_median_replaces_the_worst():
    assert collected(filled([], 4), [3, 1, 2]) == [1, 2, 3]
    assert collected(filled([1, 2, 3], 6), [1, 2, 5]) == [1, 2, 2, 3, 5]
    assert collected(filled([1, 2, 3, 4], 4), [2, 9]) == [2, 3, 4, 9]
    assert collected(filled([1, 2, 3, 4], 4), [9, 8, 7, 6]) == [3, 4, 8, 9]  # at most half are dropped


def test_after_the_bound_is_reached_failures_make_room_for_successes():
    buffer = filled([1, 6, 2, 7], 4)
    buffer.renew(np.array([[0.09]]), np.array([9.0]), buffer.returns >= 5, np.zeros((4, 1)))
    assert sorted(buffer.returns.tolist()) == [2, 6, 7, 9]


def test_a_buffer_full_of_successes_keeps_those_that_resemble_the_target():
    rng = np.random.default_rng(5)
    buffer = filled([6, 7, 8, 9], 4)
    tasks, goals = rng.random((5, 1)), rng.random((4, 1))
    everything = np.concatenate([buffer.tasks, tasks])
    buffer.renew(tasks, np.full(5, 6.0), np.ones(4, dtype=bool), goals)
    expected = everything[linear_sum_assignment(cdist(goals, everything, "sqeuclidean"))[1]]
    np.testing.assert_allclose(np.sort(buffer.tasks, axis=0), np.sort(expected, axis=0))


# -- behaviour ---------------------------------------------------------------------------------------------------------


def test_particles_reach_a_target_that_the_learner_can_do():
    target = {"mean": [0.9, 0.2], "std": 0.03}
    teacher = CURROT(SQUARE, seed=0, initial={"mean": [0.1, 0.1], "std": 0.05}, target=target, **KNOWN)
    play(teacher, lambda point, episode: 1.0, 2500)
    np.testing.assert_allclose(teacher._particles.mean(axis=0), [0.9, 0.2], atol=0.02)
    assert teacher._particles.std(axis=0).max() < 0.06


def test_no_particle_moves_farther_than_the_radius_in_an_update():
    teacher = CURROT(SQUARE, seed=0, initial={"mean": [0.1, 0.1], "std": 0.05}, radius=0.02, **KNOWN)
    play(teacher, lambda point, episode: 1.0, 100)
    before = teacher._particles.copy()
    play(teacher, lambda point, episode: 1.0, 50)
    moves = np.linalg.norm(teacher._particles - before, axis=1)
    assert 0.01 < moves.max() <= 0.02 * np.sqrt(2) + 1e-9


def test_particles_stay_where_the_learner_succeeds_also_in_two_modes():
    def student(point, episode):
        return float(min(abs(point[0] - 0.15), abs(point[0] - 0.85)) < 0.1)

    teacher = CURROT(LINE, seed=0, **KNOWN)
    points, _ = play(teacher, student, 4000)
    late = points[-1000:, 0]
    solved = np.array([student(point, 0) for point in points[-1000:]])
    assert solved.mean() > 0.55  # 0.4 by chance
    assert (late < 0.3).mean() > 0.3 and (late > 0.7).mean() > 0.3


def test_from_the_first_successes_particles_gather_there():
    teacher = CURROT(SQUARE, seed=0, **KNOWN)
    points, _ = play(teacher, lambda point, episode: float(max(point) < 0.3), 3000)
    assert ((points[:50] < 0.3).all(axis=1)).mean() < 0.25
    assert ((points[-500:] < 0.35).all(axis=1)).mean() > 0.6


def test_it_masters_more_of_the_toy_space_than_uniform_without_prior_knowledge():
    mastered = []
    for teacher in (CURROT(SQUARE, seed=0, **KNOWN), Uniform(SQUARE, seed=0)):
        toy = Toy(6, full=40.0)
        play(teacher, toy, 3000)
        mastered.append((toy.competence > 30.0).mean())
    assert mastered[0] > 1.5 * mastered[1]


# -- odd corners -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 50, 300])
def test_batches_of_any_size_are_taken(size):
    teacher = CURROT(SQUARE, seed=0, particles=10, update_every=size, **KNOWN)
    points, _ = play(teacher, lambda point, episode: float(1.0 - point[0]), 2 * size + 20, batch=20)
    assert np.isfinite(points).all() and np.isfinite(teacher._particles).all()


@pytest.mark.parametrize("ret", [0.0, 7.0, 1e308, -1e308])
def test_identical_tasks_and_constant_returns_do_not_break_it(ret):
    teacher = CURROT(SQUARE, seed=0, particles=20, performance_bound=0.0 if ret == 7.0 else 0.5)
    teacher._learn(np.full((620, 2), 0.25), np.full(620, ret), np.zeros(620))
    assert np.isfinite(teacher._particles).all()
    assert len(teacher._successes.returns) <= 20


def test_the_levels_of_a_discrete_space_are_all_played():
    points, _ = play(CURROT(Discrete(5), seed=0, **KNOWN), lambda point, episode: 1.0, 500)
    assert set(np.floor(5 * points[-250:, 0]).astype(int)) == {0, 1, 2, 3, 4}


def test_seed_zero_is_a_seed():
    assert drawn(CURROT(SQUARE, seed=0), 20) == drawn(CURROT(SQUARE, seed=0), 20)
    assert drawn(CURROT(SQUARE, seed=0), 20) != drawn(CURROT(SQUARE, seed=1), 20)


def test_an_axis_a_thousand_times_wider_changes_nothing():
    wide = Box(np.array([0.0, -300.0]), np.array([1.0, 700.0]), dtype=np.float64)
    score = lambda point, episode: float(np.floor(9 * point[0])) + episode % 3  # noqa: E731
    points = [play(CURROT(space, seed=0), score, 150)[0] for space in (SQUARE, wide)]
    np.testing.assert_allclose(points[0], points[1], rtol=0, atol=1e-6)


def test_hyperparameters_out_of_range_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        CURROT(SQUARE, performance_bound=2, radius=0.0, particles=1)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["performance_bound", "radius", "particles"]
