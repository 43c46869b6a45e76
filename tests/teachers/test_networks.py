"""Small networks: seeded by their owner alone, and resumed bit for bit."""

import numpy as np
import pytest
import torch
from torch import nn

from rlteach.files import pack_state, unpack_state
from rlteach.teachers.networks import Trained, array, mlp, tensor


def loss_of(trained, rng):
    return (trained.network(tensor(rng.standard_normal((8, 3)))) ** 2).mean()


def test_layers_have_their_sizes_and_draw_from_the_given_generator_alone():
    before = torch.random.get_rng_state()
    first, second, other = (mlp([3, 7, 5, 1], np.random.default_rng(seed), nn.Tanh) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [type(layer) for layer in first] == [nn.Linear, nn.Tanh, nn.Linear, nn.Tanh, nn.Linear]
    assert [tuple(p.shape) for p in first.parameters()] == [(7, 3), (7,), (5, 7), (5,), (1, 5), (1,)]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first[0].weight, other[0].weight)
    assert first[2].weight.abs().max() <= 1 / np.sqrt(7)


@pytest.mark.parametrize("steps", [0, 3])
def test_a_resumed_network_goes_on_bit_for_bit(steps):
    one = Trained(mlp([3, 4, 1], np.random.default_rng(0)), 1e-2)
    for step in range(steps):
        one.descend(loss_of(one, np.random.default_rng(step)))
    state = unpack_state(*pack_state(one.state_dict()))
    two = Trained(mlp([3, 4, 1], np.random.default_rng(9)), 1e-2)
    two.load_state_dict(state)
    for step in range(5):
        for trained in (one, two):
            trained.descend(loss_of(trained, np.random.default_rng(10 + step)))
    assert pack_state(one.state_dict()) == pack_state(two.state_dict())
    assert pack_state(one.state_dict()) != pack_state(state)


def test_a_loss_falls_and_one_that_is_not_finite_changes_nothing():
    trained = Trained(mlp([3, 8, 1], np.random.default_rng(0)), 1e-2)
    first = loss_of(trained, np.random.default_rng(0)).item()
    for _ in range(50):
        trained.descend(loss_of(trained, np.random.default_rng(0)))
    assert loss_of(trained, np.random.default_rng(0)).item() < 0.2 * first
    before = pack_state(trained.state_dict())
    trained.descend(loss_of(trained, np.random.default_rng(0)) * float("nan"))
    assert pack_state(trained.state_dict()) == before


def test_arrays_become_tensors_and_back():
    numbers = np.array([[0.5, -2.0]])
    assert tensor(numbers).dtype == torch.float32 and array(tensor(numbers)).tolist() == numbers.tolist()
