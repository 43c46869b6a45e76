"""NCC: its equations against independent solvers, the buffer, and what it is for."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import approx_fprime, minimize
from scipy.special import softmax
from scipy.stats import norm

from rlteach.errors import ConfigError
from rlteach.teachers.level_buffer import success_variance
from rlteach.teachers.ncc import FLOOR, NCC, entropic_gradient, generalised_learnability, projected, ti_ada_step
from rlteach.teachers.uniform import Uniform
from tests.teachers.students import drawn, play
from tests.teachers.test_level_buffer import Climber

SQUARE = Box(0.0, 1.0, (2,), np.float64)

# -- equations ---------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(vector=arrays(np.float64, st.integers(1, 8), elements=st.floats(-3, 3)), floor=st.sampled_from([0.0, 1e-5, 0.1]))
def test_the_projection_is_the_nearest_point_of_the_simplex_with_a_floor(vector, floor):
    found = projected(vector, floor)
    assert found.sum() == pytest.approx(1.0) and (found >= floor - 1e-12).all()
    best = minimize(
        lambda y: ((y - vector) ** 2).sum(),
        np.full(len(vector), 1 / len(vector)),
        jac=lambda y: 2 * (y - vector),
        bounds=[(floor, 1.0)] * len(vector),
        constraints={"type": "eq", "fun": lambda y: y.sum() - 1, "jac": lambda y: np.ones_like(y)},
        options={"ftol": 1e-12},
    )
    assert ((found - vector) ** 2).sum() <= best.fun + 1e-6
    np.testing.assert_allclose(found, best.x, atol=1e-3)


def test_the_gradient_is_that_of_the_objective_along_the_simplex():
    rng = np.random.default_rng(0)
    y, s = rng.dirichlet(np.ones(6)), rng.random(6)
    expected = approx_fprime(y, lambda y: y @ s - 0.05 * y @ np.log(y), 1e-8)
    np.testing.assert_allclose(entropic_gradient(y, s, 0.05), expected - expected.mean(), atol=1e-5)


def test_steps_of_ti_ada_are_divided_by_the_power_of_what_was_accumulated_in_each_coordinate():
    gradient, squares = np.array([1.0, -2.0]), np.array([32.0, 1.0])
    np.testing.assert_allclose(ti_ada_step(gradient, squares, 0.1), [0.1 / 4.0, -0.2])


@pytest.mark.parametrize("entropy", [0.02, 0.05, 0.5])
def test_the_steps_end_at_the_softmax_of_the_scores(entropy):
    teacher = NCC(MultiDiscrete([2, 3]), seed=0, entropy=entropy)
    while len(teacher.buffer) < 6:
        play(teacher, lambda point, episode: (0.0, 0.0), 8)
    scores = np.array([0.25, 0.2, 0.16, 0.05, 0.0, 0.24])
    teacher.learnabilities = lambda: scores
    for _ in range(2000):
        teacher._step()
    expected = softmax(scores / entropy)
    np.testing.assert_allclose(teacher.distribution, np.maximum(expected, FLOOR), atol=0.01)


def test_generalised_learnability_is_the_formula_of_the_paper():
    rng = np.random.default_rng(1)
    returns = rng.normal(size=(20, 5)) + 2 * rng.normal(size=(20, 1))
    means, variances = returns.mean(axis=1), returns.var(axis=1)
    expected = np.sqrt(variances) / np.sqrt(5) * norm.pdf(means, means.mean(), means.std())
    np.testing.assert_allclose(generalised_learnability(means, variances, 5), expected)
    # with the variance in place of the standard deviation, as published, the unit of the returns would matter
    np.testing.assert_allclose(generalised_learnability(50 * means, 2500 * variances, 5), expected)
    assert generalised_learnability(np.ones(3), np.ones(3), 5).tolist() == [0.0, 0.0, 0.0]


# -- levels and scores -------------------------------------------------------------------------------------------------


def level_history(teacher, plays):
    """Let a teacher learn plays of (point, return, success), one by one."""
    for point, ret, success in plays:
        teacher.scale.see(np.array([ret]))
        teacher._learn(np.array([point]), np.array([ret]), np.array([success]))


def test_the_score_of_a_level_comes_from_its_last_episodes():
    teacher = NCC(SQUARE, seed=0, memory=4, update_every=10**6)
    plays = [([0.1, 0.1], 0.0, s) for s in (1, 1, 1, 0, 1, 0, 0)] + [([0.2, 0.2], 0.0, 1)]
    level_history(teacher, plays)
    np.testing.assert_allclose(teacher.learnabilities(), [success_variance(1.0, 4.0), success_variance(1.0, 1.0)])


def test_scores_by_return_come_from_the_spread_of_a_level_and_one_return_at_large():
    teacher = NCC(SQUARE, seed=0, score="returns", memory=4, update_every=10**6, return_range=(0.0, 10.0))
    returns = {(0.1, 0.1): [0.0, 4.0, 2.0], (0.2, 0.2): [5.0], (0.3, 0.3): [9.0, 9.0]}
    level_history(teacher, [(point, ret, 0.0) for point, many in returns.items() for ret in many])
    scaled = [np.array(many) / 10 for many in returns.values()]
    overall = np.concatenate(scaled).var()
    means = np.array([r.mean() for r in scaled])
    variances = np.array([(((r - r.mean()) ** 2).sum() + overall) / (len(r) + 1) for r in scaled])
    np.testing.assert_allclose(teacher.learnabilities(), generalised_learnability(means, variances, 4))


def test_a_new_level_has_an_even_share_and_the_least_likely_one_makes_room():
    teacher = NCC(SQUARE, seed=0, capacity=4, update_every=10**6)
    level_history(teacher, [([x, x], 0.0, 1) for x in (0.1, 0.2, 0.3, 0.4)])
    np.testing.assert_allclose(teacher.distribution, 0.25)
    teacher.distribution = np.array([0.4, 0.3, 0.1, 0.2])
    level_history(teacher, [([0.5, 0.5], 0.0, 0)])
    assert teacher.buffer.levels[:, 0].tolist() == [0.1, 0.2, 0.5, 0.4] and teacher._plays.tolist() == [1, 1, 1, 1]
    np.testing.assert_allclose(teacher.distribution, [0.75 * 0.4 / 0.9, 0.75 * 0.3 / 0.9, 0.25, 0.75 * 0.2 / 0.9])
    teacher.buffer.scores[:] = 0.25
    level_history(teacher, [([0.6, 0.6], 0.0, 0)])  # promises less than what is there
    assert teacher.buffer.find(np.array([0.6, 0.6])) is None


@settings(max_examples=10, deadline=None)
@given(
    score=st.sampled_from(["success", "returns"]),
    capacity=st.integers(1, 12),
    results=st.lists(st.tuples(st.floats(-1e300, 1e300), st.floats(0, 1)), min_size=20, max_size=60),
)
def test_the_distribution_stays_one_whatever_is_observed(score, capacity, results):
    teacher = NCC(SQUARE, seed=0, score=score, capacity=capacity, update_every=3)
    play(teacher, lambda point, episode: results[episode], len(results))
    assert len(teacher.distribution) == len(teacher.buffer) <= capacity
    assert teacher.distribution.sum() == pytest.approx(1.0) and (teacher.distribution > 0).all()


def test_a_finite_space_needs_no_new_tasks_once_all_are_known():
    teacher = NCC(Discrete(4), seed=0)
    _, origins = play(teacher, lambda point, episode: (0.0, 1.0), 400)
    assert len(teacher.buffer) == 4 and set(origins[-100:]) == {"ncc"}


# -- what it is for ----------------------------------------------------------------------------------------------------


def test_a_student_climbs_faster_than_on_uniform_tasks():
    ncc = [Climber(NCC(SQUARE, seed=seed), seed=seed, gain=0.005).train(1500) for seed in range(2)]
    uniform = [Climber(Uniform(SQUARE, seed=seed), seed=seed, gain=0.005).train(1500) for seed in range(2)]
    assert min(ncc) > 1.4 * max(uniform)


def test_tasks_whose_returns_vary_are_drawn_most_when_there_is_no_success():
    luck = np.random.default_rng(0)

    def student(point, episode):
        noise = 0.3 if 0.4 < point[0] < 0.6 else 0.02
        return float(point[0] + noise * luck.normal()), 0.0

    teacher = NCC(SQUARE, seed=0, score="returns", return_range=(-0.5, 1.5))
    points, origins = play(teacher, student, 1500)
    late = points[900:][origins[900:] == "ncc"]
    assert ((late[:, 0] > 0.4) & (late[:, 0] < 0.6)).mean() > 0.6  # uniform: 0.2


def test_seed_zero_is_a_seed():
    assert drawn(NCC(SQUARE, seed=0), 20) == drawn(NCC(SQUARE, seed=0), 20) != drawn(NCC(SQUARE, seed=1), 20)


def test_hyperparameters_out_of_range_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        NCC(SQUARE, learning_rate=0, entropy=-1, capacity=100_000, memory=0)
    assert [f.split(" ")[0] for f in caught.value.faults] == ["learning_rate", "entropy", "capacity", "memory"]
    with pytest.raises(ConfigError, match="score = 'return' must be one of success, returns"):
        NCC(SQUARE, score="return")
