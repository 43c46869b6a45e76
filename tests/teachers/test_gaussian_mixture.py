"""The lean EM repeats scikit-learn's arithmetic, AIC counts every parameter, and draws do not pile up on the border."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from rlteach.teachers.gaussian_mixture import (
    MAX_ITERATIONS,
    REGULARISATION,
    TOLERANCE,
    Mixture,
    MixtureSearch,
    TaskMixture,
    aic,
    em,
    initial_responsibilities,
    log_densities,
    maximise,
)


class StartedSklearn(GaussianMixture):
    """scikit-learn's mixture, started from given responsibilities."""

    def __init__(self, responsibilities):
        super().__init__(responsibilities.shape[1], reg_covar=REGULARISATION, tol=TOLERANCE, max_iter=MAX_ITERATIONS)
        self.responsibilities = responsibilities

    def _initialize_parameters(self, X, random_state, *args, **kwargs):
        self._initialize(X, self.responsibilities)


def best_mixture(rows, components, rng):
    search = MixtureSearch(components)
    search.begin(rows)
    return search.finish(rng)


def blobs(rng, centres, n=60, spread=0.02):
    return np.concatenate([centre + spread * rng.standard_normal((n, len(centre))) for centre in np.array(centres)])


def rows_and_start(k, dimension, seed=0):
    rng = np.random.default_rng(seed)
    rows = blobs(rng, rng.random((k + 1, dimension)), n=50, spread=0.15)
    return rows, initial_responsibilities(rows, k, rng)


@pytest.mark.parametrize(("k", "dimension"), [(1, 2), (2, 1), (3, 3), (5, 4), (9, 3)])
def test_em_gives_what_scikit_learn_gives_from_the_same_responsibilities(k, dimension):
    rows, start = rows_and_start(k, dimension)
    ours, theirs = em(rows, start), StartedSklearn(start).fit(rows)
    assert theirs.converged_
    np.testing.assert_allclose(ours.weights, theirs.weights_, rtol=1e-7)
    np.testing.assert_allclose(ours.means, theirs.means_, rtol=1e-7)
    np.testing.assert_allclose(ours.covariances, theirs.covariances_, rtol=1e-6, atol=1e-10)
    assert ours.log_likelihood == pytest.approx(theirs.lower_bound_, rel=1e-9)


@pytest.mark.parametrize(("k", "dimension"), [(1, 3), (4, 2), (10, 3)])
def test_aic_is_that_of_scikit_learn(k, dimension):
    rows, start = rows_and_start(k, dimension, seed=1)
    theirs = StartedSklearn(start).fit(rows)
    same = Mixture(theirs.weights_, theirs.means_, theirs.covariances_, theirs.score(rows))
    assert aic(same, len(rows)) == pytest.approx(theirs.aic(rows), rel=1e-12)
    # em knows the likelihood of its last but one step, which differs by less than the tolerance once it has converged
    assert abs(aic(em(rows, start), len(rows)) - theirs.aic(rows)) < 2 * len(rows) * TOLERANCE


def test_log_densities_are_those_of_scipy_plus_the_log_weight():
    rng = np.random.default_rng(2)
    rows, means, roots = rng.random((20, 3)), rng.random((4, 3)), rng.standard_normal((4, 3, 3))
    covariances = roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(3)
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    expected = [
        [np.log(w) + multivariate_normal(m, c).logpdf(row) for w, m, c in zip(weights, means, covariances, strict=True)]
        for row in rows
    ]
    np.testing.assert_allclose(log_densities(rows, weights, means, covariances), expected, rtol=1e-10)


def test_the_m_step_is_the_weighted_mean_and_covariance_of_each_component():
    rng = np.random.default_rng(3)
    rows, responsibilities = rng.random((40, 3)), rng.dirichlet(np.ones(4), size=40)
    weights, means, covariances = maximise(rows, responsibilities)
    for k in range(4):
        own = responsibilities[:, k]
        assert weights[k] == pytest.approx(own.mean())
        np.testing.assert_allclose(means[k], np.average(rows, axis=0, weights=own))
        spread = np.cov(rows.T, aweights=own, ddof=0) + REGULARISATION * np.eye(3)
        np.testing.assert_allclose(covariances[k], spread)


def test_initial_responsibilities_put_distant_groups_into_components_of_their_own():
    rng = np.random.default_rng(4)
    rows = blobs(rng, [[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]], n=20)
    responsibilities = initial_responsibilities(rows, 3, rng)
    groups = responsibilities.argmax(axis=1).reshape(3, 20)
    assert (responsibilities.sum(axis=1) == 1.0).all() and set(np.unique(responsibilities)) == {0.0, 1.0}
    assert all(len(set(group)) == 1 for group in groups) and len(set(groups[:, 0])) == 3


@pytest.mark.parametrize("blob_count", [2, 3, 5])
def test_the_number_of_components_is_chosen_and_the_largest_can_be_chosen(blob_count):
    rng = np.random.default_rng(5)
    centres = [[0.1, 0.1], [0.9, 0.1], [0.1, 0.9], [0.9, 0.9], [0.5, 0.5]][:blob_count]
    chosen = best_mixture(blobs(rng, centres), range(2, blob_count + 1), rng)
    assert len(chosen.means) == blob_count
    gaps = np.linalg.norm(chosen.means[:, None] - np.array(centres)[None], axis=2)
    assert (gaps.min(axis=0) < 0.02).all()


def test_the_mixture_with_the_lowest_aic_wins():
    rows, _ = rows_and_start(3, 2, seed=6)
    chosen = best_mixture(rows, range(1, 7), np.random.default_rng(7))
    rng = np.random.default_rng(7)
    criteria = [aic(em(rows, initial_responsibilities(rows, k, rng)), len(rows)) for k in range(1, 7)]
    assert aic(chosen, len(rows)) == min(criteria) and len(set(criteria)) == 6


@pytest.mark.parametrize("steps", [1, 15, 64, 10_000])
def test_a_search_in_pieces_finds_the_same(steps):
    rows, _ = rows_and_start(3, 2, seed=6)
    search, rng = MixtureSearch(range(2, 11)), np.random.default_rng(7)
    search.begin(rows)
    found = None
    while found is None:
        assert search
        found = search.advance(steps, rng)
    assert not search
    assert search.advance(steps, rng) is None
    at_once = best_mixture(rows, range(2, 11), np.random.default_rng(7))
    for name in ("weights", "means", "covariances", "log_likelihood"):
        assert np.array_equal(getattr(found, name), getattr(at_once, name)), name


@pytest.mark.parametrize("steps", [1, 17, 40])
def test_a_search_goes_on_where_it_was_saved(steps):
    rows, _ = rows_and_start(3, 2, seed=6)
    search, rng = MixtureSearch(range(2, 9)), np.random.default_rng(7)
    search.begin(rows)
    assert search.advance(steps, rng) is None
    other, own = MixtureSearch(range(2, 9)), np.random.default_rng()
    other.load_state_dict(search.state_dict())
    own.bit_generator.state = rng.bit_generator.state
    assert np.array_equal(search.finish(rng).means, other.finish(own).means)


@pytest.mark.parametrize("rows", [np.full((30, 3), 0.5), np.repeat(np.eye(3), 10, axis=0)], ids=["one", "three"])
def test_identical_rows_give_finite_gaussians(rows):
    mixture = best_mixture(rows, range(2, 8), np.random.default_rng(0))
    for part in (mixture.weights, mixture.means, mixture.covariances, np.array(mixture.log_likelihood)):
        assert np.isfinite(part).all()
    assert (np.linalg.eigvalsh(mixture.covariances) > 0).all()


# -- drawing -----------------------------------------------------------------------------------------------------------

NARROW = 1e-8 * np.eye(2)


def mixture_of(means, scores, covariance=NARROW):
    mixture = TaskMixture(2)
    mixture.set(np.array(means, dtype=float), np.repeat(covariance[None], len(means), axis=0), np.array(scores))
    return mixture


def shares(mixture, means, n=4000, seed=0):
    rng = np.random.default_rng(seed)
    draws = np.array([mixture.draw(rng) for _ in range(n)])
    nearest = np.linalg.norm(draws[:, None] - np.array(means)[None], axis=2).argmin(axis=1)
    return np.bincount(nearest, minlength=len(means)) / n


MEANS = [[0.2, 0.2], [0.8, 0.2], [0.5, 0.8]]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1.0, 3.0, 6.0], [0.1, 0.3, 0.6]),
        ([0.0, 0.5, 0.0], [0.0, 1.0, 0.0]),
        ([0.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]),
        ([-2.0, np.nan, 0.25], [0.0, 0.0, 1.0]),
        ([np.nan, -1.0, np.inf], [1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_gaussians_are_drawn_in_proportion_to_their_scores(scores, expected):
    np.testing.assert_allclose(shares(mixture_of(MEANS, scores), MEANS), expected, atol=0.03)


def test_draws_have_the_mean_and_the_covariance_of_their_gaussian():
    covariance = np.array([[0.004, -0.003], [-0.003, 0.009]])
    mixture = mixture_of([[0.5, 0.5]], [1.0], covariance)
    rng = np.random.default_rng(1)
    draws = np.array([mixture.draw(rng) for _ in range(8000)])
    np.testing.assert_allclose(draws.mean(axis=0), [0.5, 0.5], atol=0.005)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=5e-4)


def test_draws_do_not_pile_up_on_the_border():
    mean, covariance = np.array([0.08, 0.93]), 0.01 * np.eye(2)
    rng = np.random.default_rng(2)
    clipped = np.clip(rng.multivariate_normal(mean, covariance, 4000), 0.0, 1.0)
    assert on_the_border(clipped) > 0.3
    mixture = mixture_of([mean], [1.0], covariance)
    draws = np.array([mixture.draw(rng) for _ in range(4000)])
    assert on_the_border(draws) < 0.005


def on_the_border(points):
    return ((points == 0.0) | (points == 1.0)).any(axis=1).mean()


def test_a_gaussian_beside_the_cube_is_clipped_in_the_end():
    mixture = mixture_of([[3.0, 0.5]], [1.0])
    assert mixture.draw(np.random.default_rng(0))[0] == 1.0


def test_a_mixture_is_false_until_it_is_set_and_goes_on_from_its_state():
    empty = TaskMixture(2)
    assert not empty
    full = mixture_of(MEANS, [1.0, 2.0, 3.0])
    assert full
    empty.load_state_dict(full.state_dict())
    one, two = np.random.default_rng(0), np.random.default_rng(0)
    assert [full.draw(one).tolist() for _ in range(20)] == [empty.draw(two).tolist() for _ in range(20)]
