"""The statistics agree with brute force, with scipy, and with hand-worked examples."""

import itertools
import math
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from rlteach.errors import InvalidValue
from rlteach.report.stats import (
    Statistic,
    bootstrap_band,
    bootstrap_interval,
    cvar,
    holm,
    iqm,
    paired_difference,
    permutation_test,
    probability_of_improvement,
    welch,
)

scores = st.lists(st.integers(-20, 20).map(lambda k: k / 8), min_size=2, max_size=6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40))
def test_the_interquartile_mean_is_scipys_trimmed_mean(x: list[float]) -> None:
    assert iqm(x) == pytest.approx(float(scipy_stats.trim_mean(x, 0.25)), abs=1e-9)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([7.0], 7.0),
        ([0.0, 10.0, 2.0], 4.0),  # too few to cut
        ([0.0, 1.0, 2.0, 100.0], 1.5),
        ([0.0, 1.0, 2.0, 3.0, 100.0], 2.0),  # floor(5 / 4) = 1 at either end
        (list(range(10)), 4.5),
        ([[0.0, 1.0], [2.0, 100.0]], 1.5),  # runs x tasks, flattened
    ],
)
def test_the_interquartile_mean_of_small_samples(x: list[float], expected: float) -> None:
    assert iqm(x) == expected


def test_the_interquartile_mean_reduces_one_axis() -> None:
    x = np.random.default_rng(0).random((3, 9, 4))
    np.testing.assert_allclose(iqm(x, axis=1), scipy_stats.trim_mean(x, 0.25, axis=1))


def test_the_interquartile_mean_of_nothing_is_unknown() -> None:
    assert math.isnan(iqm([]))


# Mean of the middle half of the exponential distribution: twice the integral of -log(v) over [1/4, 3/4].
EXPONENTIAL_IQM = 2 * ((0.25 * math.log(0.25) - 0.25) - (0.75 * math.log(0.75) - 0.75))


@pytest.mark.parametrize(("statistic", "truth"), [(np.mean, 1.0), (iqm, EXPONENTIAL_IQM)])
def test_bootstrap_intervals_cover_the_truth_as_often_as_they_say(statistic: Statistic, truth: float) -> None:
    rng = np.random.default_rng(5)
    samples = rng.exponential(size=(600, 80))
    bounds = [bootstrap_interval(sample, statistic, resamples=400, rng=rng) for sample in samples]
    coverage = fmean(low <= truth <= high for low, high in bounds)
    assert 0.92 <= coverage <= 0.98


def test_the_bootstrap_resamples_runs_within_each_task() -> None:
    constant_per_task = np.tile([0.0, 10.0, 20.0], (5, 1))
    rng = np.random.default_rng(0)
    assert bootstrap_interval(constant_per_task, np.mean, rng=rng) == (10.0, 10.0)
    tasks = np.column_stack([[0.0, 1.0], [0.0, 1.0]])
    means = {0.0, 0.25, 0.5, 0.75, 1.0}  # tasks resampled together would never give the quarters
    seen = {bootstrap_interval(tasks, np.mean, resamples=1, rng=rng)[0] for _ in range(200)}
    assert seen <= means and {0.25, 0.75} <= seen


def test_the_bootstrap_of_two_runs_matches_its_exact_distribution() -> None:
    exact = sorted(fmean(pair) for pair in itertools.product([0.0, 1.0], repeat=2))  # 0, .5, .5, 1
    low, high = bootstrap_interval([0.0, 1.0], np.mean, confidence=0.4, rng=np.random.default_rng(0))
    assert (low, high) == (exact[1], exact[2])


def test_the_same_generator_gives_the_same_interval() -> None:
    x = np.random.default_rng(1).random(10)
    first, second = (bootstrap_interval(x, iqm, rng=np.random.default_rng(3)) for _ in range(2))
    assert first == second


def test_a_band_is_one_interval_per_point() -> None:
    curves = np.random.default_rng(2).random((4, 7))
    low, high = bootstrap_band(curves, iqm, 0.95, 500, np.random.default_rng(3))
    one_by_one = [bootstrap_interval(point, iqm, resamples=500, rng=np.random.default_rng(3)) for point in curves]
    np.testing.assert_array_equal(np.column_stack([low, high]), one_by_one)


def test_the_interval_of_no_run_is_unknown() -> None:
    assert all(math.isnan(bound) for bound in bootstrap_interval([], iqm, rng=np.random.default_rng(0)))


@pytest.mark.parametrize("wrong", [{"confidence": 1.0}, {"confidence": 0.0}, {"resamples": 0}])
def test_a_bootstrap_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidValue, match="must lie between 0 and 1"):
        bootstrap_interval([1.0, 2.0], iqm, rng=np.random.default_rng(0), **wrong)


def test_scores_of_three_dimensions_are_refused() -> None:
    with pytest.raises(InvalidValue, match="runs, tasks"):
        bootstrap_interval(np.zeros((2, 2, 2)), iqm, rng=np.random.default_rng(0))


@settings(max_examples=50, deadline=None)
@given(scores, scores)
def test_probability_of_improvement_counts_pairs(x: list[float], y: list[float]) -> None:
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in x for b in y]
    assert probability_of_improvement(x, y) == pytest.approx(fmean(pairs))
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1)


def test_probability_of_improvement_over_nothing_is_unknown() -> None:
    assert math.isnan(probability_of_improvement([1.0], []))


@settings(max_examples=50, deadline=None)
@given(scores, scores)
def test_welch_is_scipys_unequal_variance_t_test(x: list[float], y: list[float]) -> None:
    if len(set(x)) > 1 and len(set(y)) > 1:  # scipy warns of constant samples
        expected = float(scipy_stats.ttest_ind(x, y, equal_var=False).pvalue)
        assert welch(x, y) == pytest.approx(expected, rel=1e-9)


def test_welch_of_constant_samples_is_the_limit() -> None:
    assert welch([1.0, 1.0], [1.0, 1.0, 1.0]) == 1.0
    assert welch([0.1] * 10, [0.7] * 10) == 0.0
    assert math.isnan(welch([1.0], [0.0, 2.0]))


@settings(max_examples=40, deadline=None)
@given(scores.filter(lambda x: len(x) <= 5), scores.filter(lambda y: len(y) <= 5))
def test_small_permutation_tests_look_at_every_regrouping(x: list[float], y: list[float]) -> None:
    pooled = x + y
    observed = abs(fmean(x) - fmean(y))
    count = total = 0
    for group in itertools.combinations(range(len(pooled)), len(x)):
        rest = [pooled[i] for i in range(len(pooled)) if i not in group]
        total += 1
        count += abs(fmean(pooled[i] for i in group) - fmean(rest)) >= observed - 1e-12
    assert permutation_test(x, y, rng=np.random.default_rng(0)) == pytest.approx(count / total)


def test_ten_clearly_separated_pairs_have_the_smallest_exact_p_value() -> None:
    x, y = np.arange(10) + 100.0, np.arange(10.0)
    assert permutation_test(x, y, rng=np.random.default_rng(0)) == pytest.approx(2 / math.comb(20, 10))


def test_a_large_permutation_test_samples_regroupings_and_is_never_zero() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(0.4, 1, 30), rng.normal(0, 1, 30)
    assert permutation_test(x, y, rng=rng, resamples=4000) == pytest.approx(welch(x, y), abs=0.03)
    assert permutation_test(x + 50, y, rng=rng, resamples=99) == 1 / 100


def test_a_permutation_test_against_nothing_is_unknown() -> None:
    assert math.isnan(permutation_test([], [1.0], rng=np.random.default_rng(0)))


def test_the_paired_difference_uses_the_seeds_in_common() -> None:
    x, y = {0: 0.9, 1: 0.5, 2: 0.7, 5: 0.4}, {5: 0.4, 1: 0.6, 0: 0.2, 7: 1.0}
    paired = paired_difference(x, y)
    assert paired is not None
    differences = [0.9 - 0.2, 0.5 - 0.6, 0.4 - 0.4]
    interval = scipy_stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (paired.n, paired.wins, paired.losses, paired.ties) == (3, 1, 1, 1)
    assert (paired.mean, paired.low, paired.high) == pytest.approx((0.2, interval.low, interval.high))


def test_one_common_seed_gives_a_difference_without_an_interval_and_none_gives_nothing() -> None:
    paired = paired_difference({0: 1.0}, {0: 0.5, 1: 3.0})
    assert paired is not None and paired.mean == 0.5 and math.isnan(paired.low) and math.isnan(paired.high)
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_holm_against_a_hand_worked_example() -> None:
    # sorted: .005 x 4 = .02, .01 x 3 = .03, .03 x 2 = .06, .04 x 1 = .04 raised to .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_stays_within_one_and_leaves_unknowns_out_of_the_count() -> None:
    corrected = holm([0.6, math.nan, 0.02])
    assert corrected[::2] == pytest.approx([0.6, 0.04]) and math.isnan(corrected[1])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_exactly_what_the_step_down_procedure_rejects(p: list[float]) -> None:
    order = sorted(range(len(p)), key=p.__getitem__)
    rejected = set()
    for rank, index in enumerate(order):
        if p[index] * (len(p) - rank) > 0.05:
            break
        rejected.add(index)
    assert {i for i, value in enumerate(holm(p)) if value <= 0.05} == rejected


def test_the_worst_share_is_ranked_on_one_evaluation_and_scored_on_another() -> None:
    ranking = [0.9, 0.1, 0.5, 0.2, 0.8]
    judged = [0.0, 1.0, 0.3, 0.6, 0.0]
    assert cvar(ranking, judged, 0.4) == pytest.approx((1.0 + 0.6) / 2)
    assert cvar(ranking, judged, 1.0) == pytest.approx(fmean(judged))
    assert cvar(ranking, judged, 0.01) == 1.0  # at least one task


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=5), st.data())
def test_tied_tasks_enter_the_worst_share_as_random_tie_breaking_would_on_average(
    ranking: list[int], data: st.DataObject
) -> None:
    judged = data.draw(st.lists(st.integers(0, 4), min_size=len(ranking), max_size=len(ranking)))
    k = data.draw(st.integers(1, len(ranking)))
    means = []
    for order in itertools.permutations(range(len(ranking))):
        worst = sorted(order, key=lambda i: ranking[i])[:k]  # stable: ties in the order of the permutation
        means.append(fmean(judged[i] for i in worst))
    assert cvar(ranking, judged, k / len(ranking)) == pytest.approx(fmean(means))


@pytest.mark.parametrize(("ranking", "judged", "share"), [([1, 2], [1], 0.5), ([1], [1], 0.0), ([1], [1], 1.1)])
def test_a_worst_share_that_makes_no_sense_is_refused(ranking: list[int], judged: list[int], share: float) -> None:
    with pytest.raises(InvalidValue, match="share"):
        cvar(ranking, judged, share)


def test_the_worst_share_of_no_task_is_unknown() -> None:
    assert math.isnan(cvar([], [], 0.1))
