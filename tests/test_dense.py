"""The numpy passes of dense networks equal torch's, and they take over from its optimiser and hand back."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rlteach.dense import Categorical, Gaussian, Perceptron, Weights, layers_of
from rlteach.errors import InvalidValue

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU}


def network(widths: list[int], activation: str, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    modules: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        modules += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*modules[:-1])


def mirrored(modules: nn.Sequential, **adam: Any) -> tuple[torch.optim.Adam, Weights, Perceptron]:
    optimizer = torch.optim.Adam(modules.parameters(), lr=1e-2, **adam)
    weights = Weights(optimizer)
    return optimizer, weights, Perceptron(weights, layers_of(modules))


@settings(deadline=None)
@given(
    widths=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    rows=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_outputs_and_gradients_are_those_of_torch(
    widths: list[int], activation: str, rows: list[int], seed: int
) -> None:
    modules = network(widths, activation, seed)
    _, weights, perceptron = mirrored(modules)
    for n in rows:  # fewer and more rows than before
        inputs, slope = torch.randn(n, widths[0]), torch.randn(n, widths[-1])
        modules.zero_grad()
        outputs = modules(inputs)
        (outputs * slope).sum().backward()
        np.testing.assert_allclose(perceptron.forward(inputs.numpy()), outputs.detach().numpy(), rtol=1e-4, atol=1e-5)
        perceptron.backward(slope.numpy().copy())
        for parameter in modules.parameters():
            assert parameter.grad is not None
            np.testing.assert_allclose(weights.of(parameter)[1], parameter.grad.numpy(), rtol=1e-3, atol=1e-4)


@settings(deadline=None)
@given(
    most=st.sampled_from([1e-3, 0.5, 1e9]),
    betas=st.sampled_from([(0.9, 0.999), (0.0, 0.5)]),
    steps=st.integers(1, 12),
    handed=st.integers(0, 12),
)
def test_adam_is_torchs_and_may_change_hands_at_any_step(
    most: float, betas: tuple[float, float], steps: int, handed: int
) -> None:
    """Torch goes on where numpy stopped, and the other way round."""
    ours, torchs = (network([3, 5, 2], "tanh", 0) for _ in range(2))
    optimizer, weights, _ = mirrored(ours, betas=betas, eps=1e-5)
    reference = torch.optim.Adam(torchs.parameters(), lr=1e-2, betas=betas, eps=1e-5)
    generator = torch.Generator().manual_seed(steps)

    def descend(modules: nn.Module, by: torch.optim.Optimizer, slopes: list[torch.Tensor]) -> None:
        for parameter, slope in zip(modules.parameters(), slopes, strict=True):
            parameter.grad = slope.clone()
        torch.nn.utils.clip_grad_norm_(modules.parameters(), most)
        by.step()

    for step in range(steps):
        slopes = [torch.randn(p.shape, generator=generator) for p in torchs.parameters()]
        descend(torchs, reference, slopes)
        if step == handed:
            weights.write()
            descend(ours, optimizer, slopes)
            weights = Weights(optimizer)
        else:
            for parameter, slope in zip(ours.parameters(), slopes, strict=True):
                weights.of(parameter)[1][:] = slope.numpy()
            weights.step(most)
    weights.write()
    for mine, theirs in zip(ours.parameters(), torchs.parameters(), strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), theirs.detach().numpy(), rtol=1e-4, atol=1e-6)
        for name in ("step", "exp_avg", "exp_avg_sq"):
            found, wanted = optimizer.state[mine][name], reference.state[theirs][name]
            np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-7, err_msg=name)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), "not SGD"),
        (lambda p: torch.optim.AdamW(p, lr=0.1), "not AdamW"),
        (lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1), "without weight decay"),
        (lambda p: torch.optim.Adam([{"params": [x]} for x in p], lr=0.1), "one group"),
        (lambda p: torch.optim.Adam([x.double().detach().requires_grad_() for x in p], lr=0.1), "single precision"),
    ],
)
def test_other_optimisers_are_refused(make: Any, says: str) -> None:
    with pytest.raises(InvalidValue, match=says):
        Weights(make(list(network([2, 3], "tanh", 0).parameters())))


@pytest.mark.parametrize(
    "modules",
    [
        [nn.Tanh()],
        [nn.Linear(2, 2), nn.Sigmoid()],
        [nn.Linear(2, 2), nn.Tanh(), nn.Tanh()],
        [nn.Linear(2, 2), nn.ELU(alpha=0.5)],
        [nn.Linear(2, 2, bias=False)],
    ],
)
def test_other_layers_are_refused(modules: list[nn.Module]) -> None:
    with pytest.raises(InvalidValue, match="perceptron is made of"):
        layers_of(modules)


def test_what_is_frozen_stays_and_what_is_not_finite_is_refused() -> None:
    modules = network([2, 3, 1], "tanh", 0)
    modules[2].bias.requires_grad_(False)
    _, weights, perceptron = mirrored(modules)
    before = modules[2].bias.detach().clone()
    perceptron.forward(np.ones((4, 2), np.float32))
    perceptron.backward(np.ones((4, 1), np.float32))
    weights.step(1.0)
    weights.write()
    assert torch.equal(modules[2].bias, before) and len(weights.values) == 2 * 3 + 3 + 3
    values = weights.values.copy()
    weights.gradient[0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        weights.step(1.0)
    np.testing.assert_array_equal(weights.values, values)


def test_a_network_that_the_optimiser_does_not_move_is_refused() -> None:
    _, weights, _ = mirrored(network([2, 3], "tanh", 0))
    with pytest.raises(InvalidValue, match="not among those"):
        Perceptron(weights, layers_of(network([2, 3], "tanh", 0)))


def test_gaussian_log_density_entropy_and_slopes() -> None:
    rng = np.random.default_rng(0)
    means, actions, by = (rng.standard_normal(shape).astype(np.float32) for shape in ((7, 3), (7, 3), (7,)))
    log_std = rng.standard_normal(3).astype(np.float32)
    mean, log = torch.tensor(means, requires_grad=True), torch.tensor(log_std, requires_grad=True)
    wanted = torch.distributions.Normal(mean, log.exp())
    loss = (wanted.log_prob(torch.tensor(actions)).sum(1) * torch.tensor(by)).sum()
    (loss - 0.3 * wanted.entropy().sum(1).mean()).backward()  # type: ignore[no-untyped-call]
    slope_of_log = np.zeros(3, np.float32)
    said = Gaussian(means, actions, log_std, slope_of_log)
    np.testing.assert_allclose(said.log_prob, wanted.log_prob(torch.tensor(actions)).sum(1).detach(), rtol=1e-5)
    np.testing.assert_allclose(said.entropy[0], wanted.entropy().sum(1).mean().item(), rtol=1e-5)
    np.testing.assert_allclose(said.slope(by, 0.3), mean.grad, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(slope_of_log, log.grad, rtol=1e-4, atol=1e-5)


def test_categorical_log_probability_entropy_and_slopes() -> None:
    rng = np.random.default_rng(0)
    logits, by = (10 * rng.standard_normal((7, 4))).astype(np.float32), rng.standard_normal(7).astype(np.float32)
    actions = rng.integers(4, size=7)
    tensor = torch.tensor(logits, requires_grad=True)
    wanted = torch.distributions.Categorical(logits=tensor)
    loss = (wanted.log_prob(torch.tensor(actions)) * torch.tensor(by)).sum()
    (loss - 0.3 * wanted.entropy().mean()).backward()  # type: ignore[no-untyped-call]
    said = Categorical(logits, actions)
    np.testing.assert_allclose(said.log_prob, wanted.log_prob(torch.tensor(actions)).detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(said.entropy, wanted.entropy().detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(said.slope(by, 0.3), tensor.grad, rtol=1e-4, atol=1e-5)
