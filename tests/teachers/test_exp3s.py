"""Exp3.S: the bandit's equations, rewards from the change of returns, and what it is for."""

import math

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from hypothesis import given
from hypothesis import strategies as st

from rlteach.errors import ConfigError
from rlteach.files import pack_state, unpack_state
from rlteach.teachers.exp3s import Exp3S, RewardScale, policy, raised_weight, rescaled_reward, shared_weights
from rlteach.teachers.uniform import Uniform
from tests.teachers.students import Toy, outcome, play, points_of

SQUARE = Box(0.0, 1.0, (2,), np.float64)


# -- equations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reward", "expected"), [(-3.0, -1.0), (1.0, -1.0), (2.0, 0.0), (2.5, 0.5), (3.0, 1.0), (9, 1)]
)
def test_a_reward_is_rescaled_by_the_quantiles_and_clipped(reward, expected):
    assert rescaled_reward(reward, 1.0, 3.0) == pytest.approx(expected)


def test_where_the_quantiles_coincide_only_other_rewards_count():
    assert [rescaled_reward(r, 0.0, 0.0) for r in (-0.1, 0.0, 0.1)] == [-1.0, 0.0, 1.0]


def test_rewards_are_scaled_by_the_quantiles_of_the_last_thousand():
    scale, rewards = RewardScale(), np.random.default_rng(0).exponential(size=1500)
    for reward in rewards:
        scale.see(np.array([reward]))
    np.testing.assert_allclose(scale.bounds(), np.quantile(rewards[-1000:], [0.2, 0.8]))


WEIGHTS = st.lists(st.floats(1e-6, 1.0), min_size=2, max_size=12).map(np.array)


@given(WEIGHTS, st.floats(1e-6, 0.5))
def test_arms_share_their_weight_as_in_the_sum_over_all_others(weights, alpha):
    others = [sum(w for j, w in enumerate(weights) if j != i) for i in range(len(weights))]
    expected = [(1 - alpha) * w + alpha / (len(weights) - 1) * o for w, o in zip(weights, others, strict=True)]
    np.testing.assert_allclose(shared_weights(weights, alpha), expected, rtol=1e-9)


@given(WEIGHTS, st.floats(0.0, 1.0))
def test_chances_sum_to_one_and_none_is_below_its_uniform_share(weights, epsilon):
    chances = policy(weights, epsilon)
    assert chances.sum() == pytest.approx(1.0) and (chances >= epsilon / len(weights) - 1e-12).all()
    np.testing.assert_allclose(chances - epsilon / len(weights), (1 - epsilon) * weights / weights.sum(), atol=1e-12)


def test_a_paid_arm_gains_by_its_importance():
    assert raised_weight(0.5, 0.8, 0.1, 0.01) == pytest.approx(0.5 * math.exp(0.01 * 0.8 / 0.1))
    assert math.isfinite(raised_weight(1.0, 1.0, 1e-9, 1.0))


def test_the_weights_are_those_of_the_paper_in_logarithms():
    teacher = Exp3S(Discrete(4), eta=0.05, epsilon=0.1, smoothing=1.0, return_range=(0.0, 1.0))
    rng = np.random.default_rng(0)
    log_weights, last, rewards, t = np.zeros(4), {}, [], 1
    for _ in range(60):
        arm, ret = int(rng.integers(4)), float(rng.random())
        teacher._learn(np.array([[(arm + 0.5) / 4]]), np.array([ret]), np.zeros(1))
        if arm in last:
            rewards.append(abs(ret - last[arm]))
            low, high = np.quantile(rewards, [0.2, 0.8])
            spread = max(high - low, 1e-300)
            reward = float(np.clip(2 * (rewards[-1] - low) / spread - 1, -1, 1)) if high > low else 0.0
            chances = 0.9 * np.exp(log_weights) / np.exp(log_weights).sum() + 0.1 / 4
            t += 1
            raised = log_weights + 0.05 * reward / chances * (np.arange(4) == arm)
            others = np.array([np.exp(raised[np.arange(4) != i]).sum() for i in range(4)])
            log_weights = np.log((1 - 1 / t) * np.exp(raised) + others / (3 * t))
        last[arm] = ret
    np.testing.assert_allclose(np.log(teacher._weights), log_weights - log_weights.max(), atol=1e-10)
    assert teacher._weights.min() < 0.9


# -- behaviour ---------------------------------------------------------------------------------------------------------


def test_the_arms_are_the_levels_of_a_discrete_space():
    teacher = Exp3S(MultiDiscrete([3, 4]), seed=0)
    assert len(teacher.cells) == 12
    assert len({tuple(lesson.task) for lesson in teacher.propose(400)}) == 12


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_finds_the_level_with_progress_and_leaves_it_when_progress_ends(seed):
    noise, practice = np.random.default_rng(seed), {2: 0, 5: 0}

    def student(point, episode):
        level = int(8 * point[0])
        if level == (2 if episode < 3000 else 5):
            practice[level] += 1
        return practice.get(level, 0) * 0.001 + 0.002 * noise.random()

    teacher = Exp3S(Discrete(8), seed=seed, eta=0.01, return_range=(0.0, 3.0))
    points, _ = play(teacher, student, 8000)
    levels = (8 * points[:, 0]).astype(int)
    assert np.bincount(levels[2000:3000], minlength=8).argmax() == 2
    assert np.bincount(levels[7000:], minlength=8).argmax() == 5
    assert (levels[7000:] == 5).mean() > 0.4


def test_noise_around_a_constant_weighs_less_than_progress():
    noise = np.random.default_rng(0)

    def student(point, episode):
        return {0: 0.5 + 0.1 * noise.normal(), 1: 0.5, 2: episode / 3000}[int(3 * point[0])]

    teacher = Exp3S(Discrete(3), seed=0, smoothing=0.02, return_range=(0.0, 1.0))
    points, _ = play(teacher, student, 3000)
    counts = np.bincount((3 * points[1500:, 0]).astype(int), minlength=3)
    assert counts[1] == counts.min()


def test_it_masters_more_of_the_toy_space_than_uniform_tasks():
    mastered = []
    for teacher in (Exp3S(SQUARE, seed=0, return_range=(0.0, 1.0)), Uniform(SQUARE, seed=0)):
        toy = Toy(full=40.0)
        play(teacher, toy, 4000)
        mastered.append((toy.competence >= 30).mean())
    assert mastered[0] > 0.1 and mastered[1] < 0.05


@pytest.mark.parametrize("score", [lambda p, e: 0.3, lambda p, e: 1.7e308 * (-1) ** e, lambda p, e: float(e)])
@pytest.mark.parametrize("eta", [0.01, 1.0])
def test_chances_stay_chances_whatever_the_returns(score, eta):
    teacher = Exp3S(SQUARE, seed=0, candidates=16, eta=eta, epsilon=1e-6)
    play(teacher, score, 600)
    assert np.isfinite(teacher._chances).all() and teacher._chances.sum() == pytest.approx(1.0)
    assert points_of(teacher, teacher.propose(50)).shape == (50, 2)


def test_constant_returns_leave_all_arms_alike():
    teacher = Exp3S(Discrete(6), seed=0)
    play(teacher, lambda point, episode: 0.7, 500)
    np.testing.assert_allclose(teacher._chances, 1 / 6)


def test_seed_zero_is_a_seed_and_a_state_goes_on():
    make = lambda seed: Exp3S(SQUARE, seed=seed, candidates=16)  # noqa: E731
    runs = [play(make(seed), lambda p, e: p[0] * e, 200)[0].tolist() for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]
    first, second = make(0), make(1)
    play(first, lambda p, e: p[0] * e, 300)
    second.load_state_dict(unpack_state(*pack_state(first.state_dict())))
    ours, theirs = (play(teacher, lambda p, e: p[1] * e, 200)[0].tolist() for teacher in (first, second))
    assert ours == theirs


def test_a_return_that_is_not_a_number_is_ignored_with_one_warning():
    teacher = Exp3S(SQUARE, seed=0)
    with pytest.warns(RuntimeWarning, match="Exp3S ignores outcomes that are not finite") as caught:
        teacher.observe([outcome(lesson, np.nan) for lesson in teacher.propose(30)])
    assert len(caught) == 1 and np.isnan(teacher._last).all()


def test_hyperparameters_out_of_range_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        Exp3S(SQUARE, candidates=1, eta=2.0, epsilon=0.0)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["candidates", "eta", "epsilon"]
