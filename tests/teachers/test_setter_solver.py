"""Setter-Solver: an exact flow, the three losses, and tasks of the feasibility that was asked for."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from scipy.stats import kstest
from torch import nn

from rlteach.errors import ConfigError
from rlteach.teachers.networks import array, tensor
from rlteach.teachers.setter_solver import (
    Setter,
    SetterSolver,
    coverage_loss,
    feasibility_loss,
    validity_loss,
)
from tests.teachers.students import drawn, outcome, play

SQUARE = Box(0.0, 1.0, (2,), np.float64)


def flow(d, blocks=3):
    return Setter(d, blocks, 8, np.random.default_rng(0)).double()


@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_density_of_what_is_set_follows_from_the_jacobian(d):
    setter, rng = flow(d), np.random.default_rng(1)
    for _ in range(5):
        noise, wanted = torch.tensor(rng.standard_normal((1, d))), torch.tensor(rng.random((1, 1)))
        tasks, density = setter(noise, wanted)
        jacobian = torch.autograd.functional.jacobian(lambda z, w=wanted: setter(z, w)[0][0], noise)[:, 0]
        normal = torch.distributions.Normal(0.0, 1.0).log_prob(noise).sum()
        expected = normal - torch.linalg.slogdet(jacobian).logabsdet
        assert density.item() == pytest.approx(expected.item())
        assert ((tasks > 0) & (tasks < 1)).all()


@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_density_of_a_task_is_that_with_which_it_is_set(d):
    setter, rng = flow(d), np.random.default_rng(2)
    noise, wanted = torch.tensor(rng.standard_normal((50, d))), torch.tensor(rng.random((50, 1)))
    tasks, density = setter(noise, wanted)
    inside = ((tasks > 1e-3) & (tasks < 1 - 1e-3)).all(dim=1)
    assert inside.sum() > 40
    torch.testing.assert_close(setter.log_density(tasks, wanted)[inside], density[inside])


def test_the_density_integrates_to_one():
    places = (np.arange(2000) + 0.5) / 2000
    density = flow(1).log_density(torch.tensor(places[:, None]), torch.full((2000, 1), 0.3, dtype=torch.float64)).exp()
    assert density.mean().item() == pytest.approx(1.0, abs=0.01)


def test_every_dimension_is_moved():
    for d in (1, 2, 3, 7):
        moved = {int(place) for block in Setter(d, 2, 4, np.random.default_rng(0)).moved for place in block}
        assert moved == set(range(d))


def test_the_losses_are_those_of_the_paper():
    judged, wanted = np.array([0.3, -1.0]), np.array([0.6, 0.2])
    expected = np.mean((judged - np.log(wanted / (1 - wanted))) ** 2)
    assert float(feasibility_loss(torch.tensor(judged), torch.tensor(wanted))) == pytest.approx(expected)
    densities = torch.tensor([0.5, -1.5, 4.0])
    assert float(validity_loss(densities)) == -1.0 and float(coverage_loss(densities)) == 1.0


def test_without_a_success_the_validity_is_nothing_and_not_undefined():
    assert float(validity_loss(torch.zeros(0))) == 0.0
    teacher = SetterSolver(SQUARE, seed=0, warm_up=10, train_every=1)
    points, _ = play(teacher, lambda point, episode: (0.0, 0.0), 60)
    assert np.isfinite(points).all()
    assert np.isfinite(teacher._setter_loss(np.zeros((0, 2))).item())


def test_feasibilities_and_tasks_at_the_border_have_finite_losses():
    edge = torch.tensor([[0.0], [1.0]])
    assert np.isfinite(float(feasibility_loss(torch.zeros(2, 1), edge)))
    assert torch.isfinite(
        flow(2).log_density(torch.tensor([[0.0, 1.0]], dtype=torch.float64), torch.tensor([[1.0]]))
    ).all()


def test_the_judge_has_three_hidden_layers():
    layers = [layer for layer in SetterSolver(SQUARE, hidden=16)._judge.network if isinstance(layer, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in layers] == [(16, 2), (16, 16), (16, 16), (1, 16)]


def test_the_judge_learns_what_succeeds_and_the_setter_sets_what_is_asked_for():
    luck = np.random.default_rng(0)

    def chance(points):
        return np.clip((0.5 - points[..., 0]) / 0.4 + 0.5, 0.0, 1.0)

    teacher = SetterSolver(SQUARE, seed=0, train_every=4, hidden=16, learning_rate=5e-3)
    points, origins = play(teacher, lambda point, episode: (0.0, float(luck.random() < chance(point))), 1000)
    assert set(origins[:200]) == {"setter_solver/warm-up"} and set(origins[200:]) == {"setter_solver"}
    judged = teacher.feasibility(np.array([[0.1, 0.5], [0.5, 0.5], [0.9, 0.5]]))
    assert judged[0] > 0.8 and 0.2 < judged[1] < 0.8 and judged[2] < 0.2
    noise = tensor(np.random.default_rng(1).standard_normal((500, 2)))
    with torch.no_grad():
        hard, easy = (
            chance(array(teacher._setter.network(noise, torch.full((500, 1), f))[0])).mean() for f in (0.1, 0.9)
        )
    assert hard < 0.45 and easy > 0.6
    assert points[-400:, 1].std() > 0.15  # covers what does not matter


def test_a_call_trains_twice_at_most_and_global_generators_are_left_alone():
    before = torch.random.get_rng_state()
    teacher = SetterSolver(SQUARE, seed=0, train_every=2)
    teacher.observe([outcome(lesson) for lesson in teacher.propose(64)])
    assert teacher._judge.state_dict()["parts"][0]["step"] == 2
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_warm_up_follows_the_initial_distribution():
    teacher = SetterSolver(SQUARE, seed=0, initial={"mean": [0.0, 1.0], "std": 0.1}, warm_up=50)
    points, _ = play(teacher, lambda point, episode: (0.0, 0.0), 50)
    assert points[:, 0].max() < 0.4 and points[:, 1].min() > 0.6


def test_seed_zero_is_a_seed():
    same = [drawn(SetterSolver(SQUARE, seed=0), 20) for _ in range(2)]
    assert same[0] == same[1] != drawn(SetterSolver(SQUARE, seed=1), 20)


def test_hyperparameters_out_of_range_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        SetterSolver(SQUARE, warm_up=0, train_every=0, noise=2)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["warm_up", "train_every", "noise"]


def test_noise_and_feasibility_are_fresh_draws_whatever_was_played():
    """A published implementation infers them from past tasks, so that they are where these were."""
    teacher = SetterSolver(SQUARE, seed=0, warm_up=10, initial={"mean": [0.05, 0.05], "std": 0.02})
    for _ in range(5):
        teacher.observe([outcome(lesson, 1.0) for lesson in teacher.propose(40)])
    noise, wanted = array(teacher._noise(2000)), array(teacher._wanted(2000))
    assert min(kstest(noise[:, k], "norm").pvalue for k in range(2)) > 0.01
    assert kstest(wanted[:, 0], "uniform").pvalue > 0.01
