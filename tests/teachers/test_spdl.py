"""Self-paced deep RL: its divergences and gradients, both rules, and what the Gaussian does with a learner."""

import numpy as np
import pytest
from gymnasium.spaces import Box
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal

from rlteach.errors import ConfigError
from rlteach.lesson import Outcome
from rlteach.teachers import spdl
from rlteach.teachers.distributions import gaussian_kl, prior_knowledge
from rlteach.teachers.spdl import (
    SPDL,
    Steps,
    constrained_step,
    kl_from_old,
    kl_to_target,
    natural_step,
    penalty_weight,
    performance,
)
from rlteach.teachers.uniform import Uniform
from tests.teachers.students import Toy, drawn, outcome, play, points_of

LINE = Box(0.0, 1.0, (1,), np.float64)
SQUARE = Box(0.0, 1.0, (2,), np.float64)
CORNER = {"mean": [0.0, 0.0], "std": 0.1}
KNOWN = {"return_range": (0.0, 1.0)}

STEPS = [Steps.of(3, full=True), Steps.of(3, full=False), Steps.of(1, full=True)]


def random_step(steps, rng, size=0.3):
    return size * rng.standard_normal(len(steps.zero()))


def moved(mean, factor, step, steps):
    shift, change = steps.parts(step)
    after = factor @ change
    return mean + factor @ shift, after @ after.T


def random_gaussian(d, rng):
    return rng.random(d), np.tril(0.2 * rng.standard_normal((d, d))) + 0.3 * np.eye(d)


# -- equations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", STEPS)
def test_the_performance_after_a_step_is_importance_sampled(steps):
    rng = np.random.default_rng(0)
    mean, factor = random_gaussian(len(steps.mask), rng)
    tasks, values = mean + rng.standard_normal((40, len(mean))) @ factor.T, rng.random(40)
    step = random_step(steps, rng)
    new, old = multivariate_normal(*moved(mean, factor, step, steps)), multivariate_normal(mean, factor @ factor.T)
    expected = np.mean(new.pdf(tasks) / old.pdf(tasks) * values)
    places = (tasks - mean) @ np.linalg.inv(factor).T
    assert performance(step, steps, places, values)[0] == pytest.approx(expected)
    assert performance(steps.zero(), steps, places, values)[0] == pytest.approx(values.mean())


@pytest.mark.parametrize("steps", STEPS)
def test_the_divergences_of_a_step_are_those_of_the_gaussians(steps):
    rng = np.random.default_rng(1)
    d = len(steps.mask)
    mean, factor = random_gaussian(d, rng)
    target, target_factor = random_gaussian(d, rng)
    step = random_step(steps, rng)
    new_mean, new_covariance = moved(mean, factor, step, steps)
    expected = gaussian_kl(mean, factor @ factor.T, new_mean, new_covariance)
    assert kl_from_old(step, steps)[0] == pytest.approx(expected)
    expected = gaussian_kl(new_mean, new_covariance, target, target_factor @ target_factor.T)
    place = np.linalg.solve(factor, target - mean)
    precision = factor.T @ np.linalg.inv(target_factor @ target_factor.T) @ factor
    assert kl_to_target(step, steps, place, precision)[0] == pytest.approx(expected)


@pytest.mark.parametrize("steps", STEPS)
def test_gradients_are_those_of_finite_differences(steps):
    rng = np.random.default_rng(2)
    d = len(steps.mask)
    places, values, root = rng.standard_normal((30, d)), rng.random(30), rng.standard_normal((d, d))
    functions = (
        lambda step: performance(step, steps, places, values),
        lambda step: kl_from_old(step, steps),
        lambda step: kl_to_target(step, steps, places[0], root @ root.T + np.eye(d)),
    )
    for function in functions:
        for size in (0.0, 0.4):
            step = random_step(steps, rng, size)
            expected = approx_fprime(step, lambda x, f=function: f(x)[0], 1e-7)
            np.testing.assert_allclose(function(step)[1], expected, atol=1e-5)


@pytest.mark.parametrize("steps", STEPS)
def test_the_fisher_information_is_the_curvature_of_the_divergence(steps):
    zero = steps.zero()
    hessian = np.array(
        [approx_fprime(zero, lambda x, i=i: kl_from_old(x, steps)[1][i], 1e-6) for i in range(len(zero))]
    )
    np.testing.assert_allclose(hessian, np.diag(steps.fisher), atol=1e-4)


def test_the_penalty_takes_a_share_of_the_performance_after_the_offset():
    assert penalty_weight(9, 0.8, 2.0, 0.25, 10) == 0.0
    assert penalty_weight(10, 0.8, 2.0, 0.25, 10) == pytest.approx(0.25 * 0.8 / 2.0)
    assert penalty_weight(10, -0.8, 2.0, 0.25, 10) == 0.0
    assert penalty_weight(10, 0.8, 0.0, 0.25, 10) == 1e5


def test_a_natural_step_rises_within_the_trust_region_and_is_no_step_at_the_top():
    steps = STEPS[0]
    rng = np.random.default_rng(3)
    places = rng.standard_normal((200, 3))
    objective = lambda step: performance(step, steps, places, (places[:, 0] > 0.0).astype(float))  # noqa: E731
    step = natural_step(objective, steps, 0.1)
    assert objective(step)[0] > objective(steps.zero())[0] + 0.05
    assert 0.01 < kl_from_old(step, steps)[0] <= 0.1
    flat = natural_step(lambda step: performance(step, steps, places, np.zeros(200)), steps, 0.1)
    assert not flat.any()


def test_a_constrained_step_is_the_best_one_of_a_grid():
    steps, place, precision = STEPS[2], np.array([3.0]), np.array([[0.5]])
    objective = lambda step: kl_to_target(step, steps, place, precision)  # noqa: E731
    near = lambda step: (0.25 - kl_from_old(step, steps)[0], -kl_from_old(step, steps)[1])  # noqa: E731
    step = constrained_step(objective, [near], steps)
    grid = [np.array([a, s]) for a in np.linspace(0.0, 1.5, 61) for s in np.linspace(-0.5, 1.0, 61)]
    best = min(objective(x)[0] for x in grid if near(x)[0] >= 0.0)
    assert objective(step)[0] == pytest.approx(best, abs=0.02)
    assert near(step)[0] == pytest.approx(0.0, abs=2e-3)


def test_a_target_within_reach_is_reached_in_one_step():
    steps, place, precision = STEPS[0], np.array([0.2, -0.1, 0.0]), np.diag([0.9, 1.0, 1.2])
    objective = lambda step: kl_to_target(step, steps, place, precision)  # noqa: E731
    near = lambda step: (1.0 - kl_from_old(step, steps)[0], -kl_from_old(step, steps)[1])  # noqa: E731
    assert objective(constrained_step(objective, [near], steps))[0] < 1e-3


# -- behaviour ---------------------------------------------------------------------------------------------------------


def easy_until(edge):
    return lambda point, episode: float(point[0] < edge)


@pytest.mark.parametrize("rule", ["constraint", "penalty"])
def test_it_moves_from_easy_tasks_to_the_target_when_the_learner_can_do_them(rule):
    teacher = SPDL(
        LINE, seed=0, rule=rule, initial={"mean": 0.1, "std": 0.1}, target={"mean": 0.9, "std": 0.05}, **KNOWN
    )
    play(teacher, lambda point, episode: 1.0, 6000)
    mean, covariance = teacher.gaussian
    assert mean[0] == pytest.approx(0.9, abs=0.03) and covariance[0, 0] == pytest.approx(0.05**2, rel=0.5)


@pytest.mark.parametrize("rule", ["constraint", "penalty"])
def test_it_does_not_move_beyond_what_the_learner_can_do(rule):
    teacher = SPDL(
        LINE, seed=0, rule=rule, initial={"mean": 0.1, "std": 0.1}, target={"mean": 0.9, "std": 0.05}, **KNOWN
    )
    points, _ = play(teacher, easy_until(0.4), 4000)
    assert (points[-1000:, 0] < 0.4).mean() > 0.4
    assert 0.1 < teacher.gaussian[0][0] < 0.55


def test_below_the_bound_it_turns_to_where_the_learner_succeeds():
    teacher = SPDL(LINE, seed=0, performance_bound=0.6, **KNOWN)
    points, _ = play(teacher, easy_until(0.3), 3000)
    assert (points[:100, 0] < 0.3).mean() < 0.45
    assert (points[-1000:, 0] < 0.3).mean() > 0.55


def test_an_update_keeps_to_the_trust_region(monkeypatch):
    taken = []
    original = SPDL._take
    monkeypatch.setattr(
        SPDL, "_take", lambda self, step: (taken.append(kl_from_old(step, self._steps)[0]), original(self, step))
    )
    for rule, most in (("constraint", 0.25), ("penalty", 0.1)):
        taken.clear()
        play(SPDL(SQUARE, seed=0, rule=rule, initial=CORNER, offset=2, **KNOWN), lambda p, e: float(1 - p.mean()), 2000)
        assert len(taken) == 20 and max(taken) <= most + 2e-3 and max(taken) > 0.01


def test_high_prior_knowledge_reaches_the_teacher():
    known = {"return_range": (0.0, 1.0), "performance_bound": 0.7, "initial": CORNER}
    teachers = {level: SPDL(SQUARE, seed=0, **prior_knowledge(level, known)) for level in ("none", "low", "high")}
    means = {level: points_of(teacher, teacher.propose(500)).mean() for level, teacher in teachers.items()}
    assert means["high"] < 0.15 and means["none"] > 0.45 and means["low"] > 0.45
    assert [teachers[level].performance_bound for level in ("none", "low", "high")] == [0.5, 0.7, 0.7]


def test_the_gaussian_keeps_a_least_width_in_every_direction_far_from_the_target():
    teacher = SPDL(SQUARE, seed=0, rule="penalty", initial=CORNER, target={"mean": [1, 1], "std": 0.05}, **KNOWN)
    play(teacher, lambda point, episode: float(point.sum() < 0.1), 3000)
    assert np.linalg.eigvalsh(teacher.gaussian[1]).min() >= 0.1**2 - 1e-9


@pytest.mark.parametrize("rule", ["constraint", "penalty"])
def test_lessons_do_not_pile_up_on_the_border(rule):
    teacher = SPDL(SQUARE, seed=0, rule=rule, initial=CORNER, **KNOWN)
    points, _ = play(teacher, Toy(), 1000)
    assert not ((points == 0.0) | (points == 1.0)).any()


@pytest.mark.parametrize("rule", ["constraint", "penalty"])
def test_told_where_to_begin_it_masters_more_of_the_toy_space_than_uniform(rule):
    mastered = []
    for teacher in (SPDL(SQUARE, seed=0, rule=rule, initial=CORNER, zeta=1.0, **KNOWN), Uniform(SQUARE, seed=0)):
        toy = Toy(6, full=40.0)
        play(teacher, toy, 4000)
        mastered.append((toy.competence > 30.0).mean())
    assert mastered[0] > 1.3 * mastered[1]


def test_many_dimensions_have_variances_only():
    teacher = SPDL(Box(0.0, 1.0, (20,), np.float64), seed=0, **KNOWN)
    play(teacher, lambda point, episode: float(point[0] < 0.3), 1000)
    mean, covariance = teacher.gaussian
    assert not (covariance - np.diag(np.diagonal(covariance))).any() and mean[0] < 0.4


# -- signals -----------------------------------------------------------------------------------------------------------


def valued(lesson, ret, discounted, **signals):
    return Outcome(lesson.id, ret, discounted, 3, 0.0, True, signals)


def test_the_value_of_the_first_state_is_asked_for_and_used():
    teacher = SPDL(LINE, seed=0, values="initial_value", **KNOWN)
    assert teacher.needs == {"initial_value"} and SPDL(LINE).needs == frozenset()
    lessons = teacher.propose(3)
    signals = ({"initial_value": 0.3}, {}, {"initial_value": 0.5})
    teacher.observe([valued(lesson, 9.0, 0.7, **s) for lesson, s in zip(lessons, signals, strict=True)])
    assert teacher._batch.rows()[:, -1].tolist() == [0.3, 0.7, 0.5]
    discounted = SPDL(LINE, seed=0, values="discounted_return")
    discounted.observe([valued(lesson, 9.0, 0.7) for lesson in discounted.propose(1)])
    assert discounted._batch.rows()[:, -1].tolist() == [0.7]


def test_values_are_scaled_by_their_own_range():
    teacher = SPDL(LINE, seed=0, values="initial_value", return_range=(0.0, 1000.0))
    teacher.observe(
        [valued(lesson, 500.0, 5.0, initial_value=float(i)) for i, lesson in enumerate(teacher.propose(21))]
    )
    assert teacher.scale.bounds() == (1.0, 19.0)


@pytest.mark.parametrize(("ret", "value"), [(np.nan, 0.5), (0.5, np.nan), (0.5, np.inf)])
def test_a_return_or_value_that_is_not_finite_is_ignored(ret, value):
    teacher = SPDL(LINE, seed=0, values="initial_value")
    with pytest.warns(RuntimeWarning, match="SPDL ignores outcomes that are not finite"):
        teacher.observe([valued(lesson, ret, ret, initial_value=value) for lesson in teacher.propose(2)])
    assert len(teacher._batch) == 0


# -- odd corners -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["constraint", "penalty"])
@pytest.mark.parametrize("ret", [0.0, 7.0, 1e308])
def test_identical_tasks_and_constant_returns_do_not_break_it(rule, ret):
    teacher = SPDL(SQUARE, seed=0, rule=rule, offset=0, update_every=50)
    teacher._learn(np.full((620, 2), 0.25), np.full(620, ret), np.zeros(620))
    mean, covariance = teacher.gaussian
    assert np.isfinite(mean).all() and np.linalg.eigvalsh(covariance).min() > 0.0


def test_a_solver_that_fails_leaves_the_gaussian_as_it_is(monkeypatch):
    class Failed:
        x = np.full(5, np.nan)

    monkeypatch.setattr(spdl, "minimize", lambda *args, **kwargs: Failed)
    teacher = SPDL(SQUARE, seed=0, initial=CORNER, **KNOWN)
    before = teacher.gaussian
    play(teacher, lambda point, episode: 1.0, 100)
    assert teacher._update == 1
    np.testing.assert_allclose(
        np.concatenate([before[0], before[1].ravel()]),
        np.concatenate([teacher.gaussian[0], teacher.gaussian[1].ravel()]),
        atol=1e-12,
    )


def test_seed_zero_is_a_seed():
    assert drawn(SPDL(SQUARE, seed=0), 20) == drawn(SPDL(SQUARE, seed=0), 20)
    assert drawn(SPDL(SQUARE, seed=0), 20) != drawn(SPDL(SQUARE, seed=1), 20)


def test_an_axis_a_thousand_times_wider_changes_nothing():
    wide = Box(np.array([0.0, -300.0]), np.array([1.0, 700.0]), dtype=np.float64)
    score = lambda point, episode: float(np.floor(9 * point[0])) + episode % 3  # noqa: E731
    points = [play(SPDL(space, seed=0), score, 300)[0] for space in (SQUARE, wide)]
    np.testing.assert_allclose(points[0], points[1], rtol=0, atol=1e-6)


def test_a_late_outcome_counts_like_any_other():
    teacher = SPDL(LINE, seed=0, update_every=4)
    lessons = teacher.propose(6)
    teacher.observe([outcome(lesson, 0.5) for lesson in lessons[::-1]])
    assert teacher._update == 1 and len(teacher._batch) == 2


def test_hyperparameters_out_of_range_are_refused():
    with pytest.raises(ConfigError) as caught:
        SPDL(SQUARE, performance_bound=1.5, most_kl=0.0, update_every=1)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["performance_bound", "most_kl", "update_every"]
    with pytest.raises(
        ConfigError, match=r"rule = 'penalti' must be one of constraint, penalty. Did you mean 'penalty'"
    ):
        SPDL(SQUARE, rule="penalti")
    with pytest.raises(ConfigError, match="values = 'q'"):
        SPDL(SQUARE, values="q")


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-6])
def test_small_returns_move_it_like_large_ones(size):
    teacher = SPDL(SQUARE, seed=0, **KNOWN)
    play(teacher, lambda point, episode: size * float(point[0] < 0.4), 300)
    assert teacher.gaussian[0][0] < 0.4 and 0.4 < teacher.gaussian[0][1] < 0.6


def test_without_knowledge_it_masters_more_of_the_toy_space_than_uniform():
    mastered = []
    for teacher in (SPDL(SQUARE, seed=0, **KNOWN), Uniform(SQUARE, seed=0)):
        toy = Toy(8, full=60.0)
        play(teacher, toy, 4000)
        mastered.append((toy.competence > 45.0).mean())
    assert mastered[0] > 1.3 * mastered[1]
