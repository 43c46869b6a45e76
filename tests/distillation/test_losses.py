"""Losses and divergences, each against a calculation that shares nothing with it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import distributions as td

from rlteach.distillation.actions import Categorical, Gaussian
from rlteach.distillation.losses import (
    action_huber,
    action_mse,
    categorical_kl,
    gae,
    gaussian_kl,
    k1,
    k2,
    k3,
    kl,
    negative_log_likelihood,
    soft_cross_entropy,
    squashed_gaussian_kl,
)
from rlteach.errors import InvalidValue

torch.set_num_threads(1)


def gaussians(seed, *shape):
    """Return means and standard deviations of two Gaussians in double precision."""
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(4)]
    return draw[0], draw[1].mul(0.5).exp(), draw[2], draw[3].mul(0.5).exp()


# -- Gaussians -----------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 6))
def test_the_gaussian_divergence_is_that_of_torch(seed, n, d):
    mean_p, std_p, mean_q, std_q = gaussians(seed, n, d)
    expected = td.kl_divergence(td.Normal(mean_p, std_p), td.Normal(mean_q, std_q)).sum(-1)
    assert torch.allclose(gaussian_kl(mean_p, std_p, mean_q, std_q), expected, rtol=1e-10)
    assert torch.all(gaussian_kl(mean_p, std_p, mean_q, std_q) >= 0)
    assert torch.equal(gaussian_kl(mean_p, std_p, mean_p, std_p), torch.zeros(n, dtype=torch.float64))


def test_the_gaussian_divergence_is_the_integral_that_defines_it():
    mean_p, std_p, mean_q, std_q = gaussians(3, 1)
    p, q = Gaussian(mean_p, std_p), Gaussian(mean_q, std_q)

    def integrand(x):
        at = torch.tensor([x], dtype=torch.float64)
        return float(p.log_prob(at).exp() * (p.log_prob(at) - q.log_prob(at)))

    middle, reach = float(mean_p), 12 * float(std_p)
    value, _ = quad(integrand, middle - reach, middle + reach, limit=200)
    assert float(gaussian_kl(mean_p, std_p, mean_q, std_q)) == pytest.approx(value, rel=1e-8)


def test_its_gradients_are_finite_differences_and_flow_into_both_sides():
    leaves = [part.requires_grad_() for part in gaussians(4, 3, 2)]
    assert torch.autograd.gradcheck(lambda *a: gaussian_kl(*a, std_floor=0.1), leaves)


def test_a_deviation_for_all_rows_counts_in_every_row():
    mean_p, _, mean_q, _ = gaussians(5, 4, 3)
    std_p, std_q = torch.full((3,), 0.3).double(), torch.full((3,), 0.7).double()
    full = gaussian_kl(mean_p, std_p.expand(4, 3), mean_q, std_q.expand(4, 3))
    assert torch.equal(gaussian_kl(mean_p, std_p, mean_q, std_q), full)
    same_mean = gaussian_kl(mean_p[0], std_p, mean_p[0], std_q)
    assert float(same_mean) == pytest.approx(3 * (math.log(7 / 3) + 0.5 * (9 / 49) - 0.5))


def test_a_floor_bounds_the_divergence_from_a_deterministic_expert_and_keeps_its_gradient():
    mean = torch.zeros(1, 1)
    assert gaussian_kl(mean, torch.ones(1), mean + 1, torch.full((1,), 1e-4)) > 1e7
    std = torch.tensor([1e-4], requires_grad=True)
    value = gaussian_kl(mean, std, mean + 1, torch.ones(1), std_floor=0.1)
    value.backward()
    assert 0 < value.item() < 5 and float(std.grad) < 0  # a deviation below the floor can still grow
    blurred = math.sqrt(0.09 + 0.01)
    floored = gaussian_kl(mean, torch.full((1,), 0.3), mean + 1, torch.zeros(1), std_floor=0.1)
    expected = td.kl_divergence(td.Normal(0.0, blurred), td.Normal(1.0, 0.1))
    assert float(floored) == pytest.approx(float(expected), rel=1e-5)


def test_squashing_both_sides_leaves_the_divergence_as_it_is():
    mean_p, std_p, mean_q, std_q = gaussians(6, 2)
    tanh = [td.TanhTransform(cache_size=1)]
    p, q = (td.TransformedDistribution(td.Normal(m, s), tanh) for m, s in ((mean_p, std_p), (mean_q, std_q)))
    generator = torch.Generator().manual_seed(0)
    before = mean_p + std_p * torch.randn(400_000, 2, generator=generator, dtype=torch.float64)
    inside = before.abs().amax(1) < 15  # beyond, tanh is 1 and has no inverse
    before = before[inside]
    actions = before.tanh()

    def log_density(distribution, x):  # the transform's own inverse would lose digits near 1
        base = distribution.base_dist.log_prob(x)
        return (base - distribution.transforms[0].log_abs_det_jacobian(x, actions)).sum(-1)

    samples = log_density(p, before) - log_density(q, before)
    error = float(samples.std()) / math.sqrt(len(samples))
    assert abs(float(samples.mean()) - float(squashed_gaussian_kl(mean_p, std_p, mean_q, std_q))) < 5 * error
    assert error < 0.02


# -- categoricals --------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 7))
def test_the_categorical_divergence_is_that_of_torch(seed, actions):
    generator = torch.Generator().manual_seed(seed)
    p, q = 3 * torch.randn(2, 5, actions, generator=generator, dtype=torch.float64)
    expected = td.kl_divergence(td.Categorical(logits=p), td.Categorical(logits=q))
    assert torch.allclose(categorical_kl(p, q), expected)
    assert torch.allclose(categorical_kl(p + 7.0, q - 3.0), expected)  # logits are up to a constant


def test_an_action_that_nobody_takes_adds_nothing_and_spoils_no_gradient():
    p = torch.tensor([0.0, 1.0, -math.inf], requires_grad=True)
    q = torch.tensor([0.5, 0.0, -math.inf], requires_grad=True)
    value = categorical_kl(p, q)
    value.backward()
    assert value.item() == pytest.approx(categorical_kl(p[:2], q[:2]).item())
    assert p.grad.isfinite().all() and q.grad.isfinite().all()
    assert categorical_kl(torch.zeros(3), q).isinf()
    assert Categorical(p).entropy().item() == pytest.approx(td.Categorical(logits=p[:2]).entropy().item())


def test_the_order_of_the_arguments_is_the_direction():
    p, q = Gaussian(torch.zeros(1, 2), torch.ones(2)), Gaussian(torch.ones(1, 2), torch.full((2,), 2.0))
    assert torch.allclose(kl(p, q), td.kl_divergence(td.Normal(0.0, 1.0), td.Normal(1.0, 2.0)) * 2)
    assert torch.allclose(kl(q, p), td.kl_divergence(td.Normal(1.0, 2.0), td.Normal(0.0, 1.0)) * 2)
    a, b = Categorical(torch.tensor([[0.0, 1.0]])), Categorical(torch.tensor([[2.0, 0.0]]))
    assert torch.equal(kl(a, b), categorical_kl(a.logits, b.logits)) and not torch.allclose(kl(a, b), kl(b, a))
    with pytest.raises(InvalidValue, match="between a Gaussian and a Categorical"):
        kl(p, a)


# -- estimators ----------------------------------------------------------------------------------------------------


def expected_gradient(estimator, student, teacher):
    """Return the exact expectation, over the student's actions, of the gradient through an estimator as a loss."""
    logits = student.clone().requires_grad_()
    log_s, log_t = logits.log_softmax(-1), teacher.log_softmax(-1)
    (log_s.exp().detach() * estimator(log_t - log_s)).sum().backward()
    return logits.grad


def gradient(divergence, student):
    logits = student.clone().requires_grad_()
    divergence(logits).backward()
    return logits.grad


@pytest.fixture
def logits():
    return torch.tensor([[0.1, -0.2, 0.3, 3.0], [3.0, 0.2, 0.0, -0.1]], dtype=torch.float64)


def test_k1_and_k3_have_the_reverse_divergence_as_their_mean_and_k2_does_not(logits):
    student, teacher = logits
    d = teacher.log_softmax(-1) - student.log_softmax(-1)
    means = [float((student.softmax(-1) * estimator(d)).sum()) for estimator in (k1, k2, k3)]
    exact = float(categorical_kl(student, teacher))
    assert means[0] == pytest.approx(exact) and means[2] == pytest.approx(exact)
    assert abs(means[1] - exact) > 0.05 * exact
    assert (k2(d) >= 0).all() and (k3(d) >= 0).all()
    assert torch.allclose(k3(torch.tensor(1e-6).double()), torch.tensor(0.5e-12).double(), rtol=1e-3)


def test_k2_as_a_loss_has_the_gradient_of_the_reverse_divergence(logits):
    student, teacher = logits
    exact = gradient(lambda s: categorical_kl(s, teacher), student)
    assert torch.allclose(expected_gradient(k2, student, teacher), exact)


def test_k3_as_a_loss_has_the_gradient_of_the_forward_divergence_instead(logits):
    student, teacher = logits
    reverse = gradient(lambda s: categorical_kl(s, teacher), student)
    forward = gradient(lambda s: categorical_kl(teacher, s), student)
    biased = expected_gradient(k3, student, teacher)
    assert torch.allclose(biased, forward)
    assert (biased - reverse).norm() > 0.3 * reverse.norm()


def test_k1_as_a_loss_has_no_gradient_at_all_and_in_the_reward_the_right_one(logits):
    student, teacher = logits
    assert torch.allclose(expected_gradient(k1, student, teacher), torch.zeros(4, dtype=torch.float64), atol=1e-12)

    def score_function(s):
        d = (teacher.log_softmax(-1) - s.log_softmax(-1)).detach()
        return (s.softmax(-1).detach() * k1(d) * s.log_softmax(-1)).sum()

    exact = gradient(lambda s: categorical_kl(s, teacher), student)
    assert torch.allclose(gradient(score_function, student), exact)


def test_k2_as_a_loss_agrees_on_sampled_gaussian_actions_too():
    mean = torch.tensor([0.2, -0.4], dtype=torch.float64, requires_grad=True)
    std, expert = torch.tensor([0.5, 0.8]).double(), Gaussian(torch.zeros(2).double(), torch.ones(2).double())
    said = Gaussian(mean.expand(200_000, 2), std)
    actions = said.sample(torch.Generator().manual_seed(0))
    k2(expert.log_prob(actions) - said.log_prob(actions)).mean().backward()
    sampled, mean.grad = mean.grad, None
    kl(Gaussian(mean, std), expert).backward()
    assert torch.allclose(sampled, mean.grad, atol=0.02)


# -- imitation -----------------------------------------------------------------------------------------------------


def test_squared_and_huber_errors_are_means_over_steps_and_dimensions():
    actions, labels, _, _ = gaussians(7, 6, 3)
    difference = (actions - labels).numpy()
    assert float(action_mse(actions, labels)) == pytest.approx((difference**2).mean())
    huber = np.where(np.abs(difference) <= 0.5, difference**2 / 2, 0.5 * (np.abs(difference) - 0.25))
    assert float(action_huber(actions, labels, delta=0.5)) == pytest.approx(huber.mean())


def test_weights_multiply_and_a_mask_leaves_out():
    actions, labels, _, _ = gaussians(8, 4, 2, 3)
    per_step = (actions - labels).square().mean(-1)
    mask = torch.tensor([[1, 1], [1, 0], [1, 0], [0, 0]], dtype=torch.bool)
    weights = torch.arange(8.0).double().reshape(4, 2)
    kept = per_step[mask]
    assert torch.allclose(action_mse(actions, labels, mask=mask), kept.mean())
    assert torch.allclose(action_mse(actions, labels, mask=mask.float()), kept.mean())
    assert torch.allclose(action_mse(actions, labels, weights=weights), (per_step * weights).mean())
    both = action_mse(actions, labels, weights=weights, mask=mask)
    assert torch.allclose(both, (per_step * weights)[mask].mean())
    assert float(action_mse(actions, labels, mask=mask & False)) == 0.0


def test_what_is_masked_has_no_gradient():
    actions = torch.zeros(3, 1, requires_grad=True)
    action_huber(actions, torch.ones(3, 1), mask=torch.tensor([True, False, True])).backward()
    assert actions.grad[:, 0].tolist() == pytest.approx([-0.5, 0.0, -0.5])


def test_the_likelihood_is_that_of_torch_for_both_kinds():
    mean, std, labels, _ = gaussians(9, 5, 3)
    expected = -td.Normal(mean, std).log_prob(labels).sum(-1).mean()
    assert torch.allclose(negative_log_likelihood(Gaussian(mean, std), labels), expected)
    logits, index = mean, torch.tensor([0, 2, 1, 1, 0])
    assert torch.allclose(
        negative_log_likelihood(Categorical(logits), index), torch.nn.functional.cross_entropy(logits, index)
    )


def test_soft_labels_are_those_of_torch_and_differ_from_the_forward_divergence_by_the_entropy():
    logits, _, expert, _ = gaussians(10, 5, 4)
    probabilities = expert.softmax(-1)
    value = soft_cross_entropy(logits, probabilities)
    assert torch.allclose(value, torch.nn.functional.cross_entropy(logits, probabilities))
    assert torch.allclose(value - Categorical(expert).entropy().mean(), categorical_kl(expert, logits).mean())
    masked = torch.tensor([[0.0, 1.0, -math.inf]], requires_grad=True)
    loss = soft_cross_entropy(masked, torch.tensor([[0.5, 0.5, 0.0]]))
    loss.backward()
    assert loss.isfinite() and masked.grad.isfinite().all()


# -- distributions -------------------------------------------------------------------------------------------------


def test_the_distributions_are_those_of_torch():
    mean, std, actions, _ = gaussians(11, 4, 3)
    ours, theirs = Gaussian(mean, std), td.Independent(td.Normal(mean, std), 1)
    assert torch.allclose(ours.log_prob(actions), theirs.log_prob(actions))
    assert torch.allclose(ours.entropy(), theirs.entropy())
    assert torch.equal(ours.mode(), mean)
    categorical, index = Categorical(mean), torch.tensor([0, 2, 1, 2])
    assert torch.allclose(categorical.log_prob(index), td.Categorical(logits=mean).log_prob(index))
    assert torch.allclose(categorical.entropy(), td.Categorical(logits=mean).entropy())
    assert torch.equal(categorical.mode(), mean.argmax(-1))


def test_draws_have_the_moments_of_their_distribution_and_follow_the_generator():
    said = Gaussian(torch.tensor([[1.0, -2.0]]).expand(50_000, 2), torch.tensor([0.5, 3.0]))
    draws = said.sample(torch.Generator().manual_seed(1))
    assert torch.equal(draws, said.sample(torch.Generator().manual_seed(1)))
    assert torch.allclose(draws.mean(0), torch.tensor([1.0, -2.0]), atol=0.06)
    assert torch.allclose(draws.std(0), torch.tensor([0.5, 3.0]), atol=0.05)
    choice = Categorical(torch.tensor([0.2, 0.3, 0.5]).log().expand(3, 10_000, 3))
    picked = choice.sample(torch.Generator().manual_seed(2))
    assert picked.shape == (3, 10_000)
    shares = torch.bincount(picked.flatten(), minlength=3) / picked.numel()
    assert torch.allclose(shares, torch.tensor([0.2, 0.3, 0.5]), atol=0.015)


# -- advantages ----------------------------------------------------------------------------------------------------


def naive_gae(rewards, values, last_values, ended, gamma, lam, bootstraps):
    """Return advantages as the sum over all later steps of the same episode, row by row."""
    t, n = rewards.shape
    advantages = np.zeros((t, n))
    for row in range(n):
        for begin in range(t):
            weight = 1.0
            for time in range(begin, t):
                following = last_values[row] if time == t - 1 else values[time + 1, row]
                if ended[time, row]:
                    following = bootstraps[time, row]
                advantages[begin, row] += weight * (rewards[time, row] + gamma * following - values[time, row])
                weight *= gamma * lam
                if ended[time, row]:
                    break
    return advantages


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 4), st.floats(0, 1), st.floats(0, 1))
def test_advantages_are_those_of_a_naive_loop_for_arrays_and_tensors(seed, t, n, gamma, lam):
    rng = np.random.default_rng(seed)
    rewards, values, last = rng.normal(size=(t, n)), rng.normal(size=(t, n)), rng.normal(size=n)
    ended = rng.random((t, n)) < 0.3
    bootstraps = np.where(ended & (rng.random((t, n)) < 0.5), rng.normal(size=(t, n)), 0.0)
    given_rewards = rewards.copy()
    advantages, returns = gae(rewards, values, last, ended, gamma=gamma, lam=lam, truncation_bootstraps=bootstraps)
    assert np.allclose(advantages, naive_gae(rewards, values, last, ended, gamma, lam, bootstraps))
    assert np.allclose(returns, advantages + values) and np.array_equal(rewards, given_rewards)
    tensors = [torch.from_numpy(part) for part in (rewards, values, last, ended, bootstraps)]
    theirs, _ = gae(*tensors[:4], gamma=gamma, lam=lam, truncation_bootstraps=tensors[4])
    assert np.allclose(theirs.numpy(), advantages, atol=1e-5)  # flags are single precision in torch
    without, _ = gae(rewards, values, last, ended, gamma=gamma, lam=lam)
    assert np.allclose(without, naive_gae(rewards, values, last, ended, gamma, lam, 0 * bootstraps))


def test_with_lambda_one_the_return_is_the_discounted_sum_of_rewards():
    rewards, values = np.array([[1.0], [2.0], [4.0]]), np.array([[9.0], [-3.0], [5.0]])
    ended = np.array([[False], [False], [True]])
    _, returns = gae(rewards, values, np.array([100.0]), ended, gamma=0.5, lam=1.0)
    assert returns[:, 0].tolist() == [3.0, 4.0, 4.0]
