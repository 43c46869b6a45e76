"""Distributions over tasks: units, draws inside the cube, and what each level of prior knowledge tells."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, truncnorm

from rlteach.errors import ConfigError, InvalidValue
from rlteach.task_space import TaskSpace
from rlteach.teachers.distributions import (
    LEVELS,
    distribution,
    draw_inside,
    folded,
    gaussian_kl,
    prior_knowledge,
)

SPACE = TaskSpace.of(Dict(height=Box(0.0, 3.0, (), np.float64), spacing=Box(0.0, 6.0, (), np.float64)))


def test_the_divergence_is_that_of_another_implementation():
    rng = np.random.default_rng(0)
    for d in (1, 2, 5):
        means, roots = rng.standard_normal((2, d)), rng.standard_normal((2, d, d))
        covariances = roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(d)
        ours, other = (
            torch.distributions.MultivariateNormal(torch.tensor(mean), torch.tensor(covariance))
            for mean, covariance in zip(means, covariances, strict=True)
        )
        expected = float(torch.distributions.kl_divergence(ours, other))
        assert gaussian_kl(means[0], covariances[0], means[1], covariances[1]) == pytest.approx(expected)
        assert gaussian_kl(means[0], covariances[0], means[0], covariances[0]) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("mean", "std"), [(0.1, 0.1), (0.0, 0.2), (0.5, 0.3)])
def test_draws_follow_the_truncated_gaussian(mean, std):
    points = draw_inside(np.array([mean]), np.array([[std]]), 4000, np.random.default_rng(0))[:, 0]
    expected = truncnorm((0.0 - mean) / std, (1.0 - mean) / std, mean, std)
    assert kstest(points, expected.cdf).pvalue > 0.01


def test_draws_have_the_covariance_of_the_factor():
    factor = np.array([[0.05, 0.0], [0.03, 0.04]])
    points = draw_inside(np.array([0.5, 0.5]), factor, 20_000, np.random.default_rng(0))
    np.testing.assert_allclose(np.cov(points.T), factor @ factor.T, atol=1e-4)


@pytest.mark.parametrize("d", [1, 2, 50])
def test_draws_lie_inside_and_never_pile_up_on_the_border(d):
    for mean, std in ((0.0, 0.1), (0.5, 0.3), (1.0, 3.0)):
        points = draw_inside(np.full(d, mean), std * np.eye(d), 500, np.random.default_rng(0))
        assert ((points > 0.0) & (points < 1.0)).all()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.floats(-50.0, 50.0))
def test_folding_reflects_at_both_borders(x):
    def fold(value):
        return float(folded(np.array([value]))[0])

    assert 0.0 <= fold(x) <= 1.0
    assert fold(-x) == pytest.approx(fold(x), abs=1e-9) and fold(2.0 - x) == pytest.approx(fold(x), abs=1e-9)
    if 0.0 <= x <= 1.0:
        assert fold(x) == x


def test_a_gaussian_is_given_in_the_units_of_the_space_and_in_shares_of_its_ranges():
    given = distribution(SPACE, "initial", {"mean": [0.3, 6.0], "std": 0.1})
    np.testing.assert_allclose(given.mean, [0.1, 1.0])
    np.testing.assert_allclose(given.covariance, [[0.01, 0.0], [0.0, 0.01]])
    points = given.sample(2000, np.random.default_rng(0))
    real = SPACE.vectors_of_unit(points)
    assert real[:, 0].mean() == pytest.approx(0.3 + 0.06, abs=0.08) and real[:, 1].min() > 3.0
    np.testing.assert_allclose(distribution(SPACE, "x", {"mean": [0, 0], "std": [0.1, 0.2]}).std, [0.1, 0.2])


def test_the_mean_of_a_discrete_parameter_is_the_middle_of_a_level():
    given = distribution(TaskSpace.of(Discrete(4, start=2)), "initial", {"mean": 3, "std": 0.05})
    np.testing.assert_allclose(given.mean, [0.375])


def test_nothing_given_is_uniform_with_its_moments():
    given = distribution(SPACE, "target", None)
    points = given.sample(20_000, np.random.default_rng(0))
    assert given.uniform and kstest(points[:, 0], "uniform").pvalue > 0.01
    np.testing.assert_allclose(points.mean(axis=0), given.mean, atol=0.01)
    np.testing.assert_allclose(points.std(axis=0), given.std, atol=0.01)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mean": [0.0, 7.0], "std": 0.1}, ["initial.mean lies outside the space: spacing"]),
        ({"mean": [0.0], "std": [0.1, 0.1, 0.1]}, ["initial.mean", "initial.std"]),
        ({"mean": [0.0, float("nan")], "std": 0.0}, ["initial.mean", "initial.std"]),
        ({"mean": "low", "std": -1}, ["initial.mean", "initial.std"]),
        ({"mean": [0.0, 0.0]}, ["initial = "]),
        ([0.0, 0.1], ["initial = "]),
    ],
)
def test_everything_wrong_with_a_distribution_is_told_at_once(given, said):
    with pytest.raises(ConfigError) as caught:
        distribution(SPACE, "initial", given)
    assert len(caught.value.faults) == len(said)
    assert all(fault.startswith(part) for fault, part in zip(caught.value.faults, said, strict=True))


KNOWN = {
    "return_range": (-150.0, 350.0),
    "performance_bound": 0.7,
    "initial": {"mean": [0.0, 6.0], "std": 0.1},
    "target": {"mean": [3.0, 0.0], "std": 0.1},
}


def test_each_level_of_knowledge_tells_more_than_the_one_before():
    told = [set(prior_knowledge(level, KNOWN)) for level in ("none", "low", "high")]
    assert told == [{"target"}, {"target", "return_range", "performance_bound"}, set(KNOWN)]
    assert list(LEVELS) == ["none", "low", "high"]
    assert prior_knowledge("high", KNOWN) == KNOWN and prior_knowledge("high", {}) == {}


def test_levels_and_knowledge_that_do_not_exist_are_refused():
    with pytest.raises(InvalidValue, match=r"'hihg' is no level of prior knowledge. Did you mean 'high'\?"):
        prior_knowledge("hihg", KNOWN)
    with pytest.raises(InvalidValue, match=r"'intial' is no prior knowledge. Did you mean 'initial'"):
        prior_knowledge("none", {"intial": None})
