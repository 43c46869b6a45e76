"""GPO: the guider's and the learner's equations, and training that can be interrupted."""

import math

import numpy as np
import pytest
import torch

from rlteach.distillation.actions import Categorical, Gaussian
from rlteach.distillation.gpo import GPO, adapted, apart, double_clipped, frozen, outside
from tests.distillation.learning import SMALL, StopAt, discrete, envs


def test_coefficient_follows_the_distance():
    assert adapted(1.0, apart=0.02, target=0.01) == pytest.approx(1.2)
    assert adapted(1.0, apart=0.005, target=0.01) == pytest.approx(1 / 1.2)
    assert adapted(1.0, apart=0.011, target=0.01) == 1.0
    assert adapted(0.0, apart=0.011, target=0.01) == 0.1
    assert adapted(0.0, apart=0.005, target=0.01) == 0.0
    assert adapted(9.9, apart=1.0, target=0.01) == 10.0


def test_mask_is_where_the_ratio_leaves_the_leash():
    learner = torch.zeros(4)
    guider = torch.log(torch.tensor([0.69, 0.71, 1.29, 1.31]))
    assert outside(guider, learner, 0.3).tolist() == [True, False, False, True]


def test_double_clipping_equals_its_definition_number_by_number():
    rng = np.random.default_rng(0)
    guider, learner, behaviour = rng.normal(size=(3, 50)) * 0.5
    advantages = rng.normal(size=50)
    tensors = map(torch.tensor, (guider, learner, behaviour, advantages))
    got = double_clipped(*tensors, leash=0.3, clip_range=0.2).numpy()
    for i in range(50):
        mu, pi, beta = math.exp(guider[i]), math.exp(learner[i]), math.exp(behaviour[i])
        near = min(max(mu / pi, 0.7), 1.3) * pi / beta
        near = min(max(near, 0.8), 1.2)
        assert got[i] == pytest.approx(-min(mu / beta * advantages[i], near * advantages[i]))


def test_distance_is_per_dimension_and_freezing_stops_gradients():
    p = Gaussian(torch.zeros(1, 2, requires_grad=True), torch.ones(2))
    q = Gaussian(torch.ones(1, 2, requires_grad=True), torch.ones(2))
    assert apart(p, q).item() == pytest.approx(0.5 / 1.0025, rel=1e-6)
    apart(p, frozen(q)).sum().backward()
    assert p.mean.grad is not None and q.mean.grad is None
    assert not frozen(Categorical(torch.zeros(1, 3, requires_grad=True))).logits.requires_grad


@pytest.mark.parametrize("variant", ["penalty", "clip"])
@pytest.mark.parametrize("policy", ["mlp", "gru"])
def test_trains(policy, variant):
    learner = GPO(policy, envs(), variant=variant, **SMALL)
    before = [parameter.detach().clone() for parameter in learner.student.parameters()]
    learner.learn(480)
    assert learner.num_timesteps == 480
    assert learner.budget() == {"steps_expert": 0, "labels": 0}
    assert any(not torch.equal(a, b) for a, b in zip(before, learner.student.parameters(), strict=True))
    actions, _ = learner.predict(learner._last_obs, None, np.ones(8, dtype=bool), deterministic=True)
    assert actions.shape == (8, 2)


def test_discrete_actions_train_too():
    learner = GPO("mlp", envs(discrete), **SMALL)
    learner.learn(320)
    assert learner.num_timesteps == 320


@pytest.mark.parametrize("policy", ["stack", "gru"])
def test_resumed_training_equals_uninterrupted_training(policy):
    settings = {**SMALL, "distance": 1e-4}
    whole = GPO(policy, envs(), **settings)
    whole.learn(640)
    first = GPO(policy, envs(), **settings)
    first.learn(640, callback=StopAt(320))
    second = GPO(policy, first.env, **settings)
    second.load_state_dict(first.state_dict())
    second._last_obs = first._last_obs
    second.learn(320, reset_num_timesteps=False)
    assert second.coefficient == whole.coefficient > 0
    for a, b in zip(whole._parameters(), second._parameters(), strict=True):
        assert torch.equal(a, b)


def test_every_wrong_setting_is_named():
    wrong = {"variant": "both", "distance": 0, "leash": 1, "share": -1, "guider_hidden": [], "gamma": 2}
    faults = " ".join(GPO.setting_faults("mlp", wrong))
    assert all(f"{name} = " in faults for name in wrong)
    assert "critic_warm_up" in " ".join(GPO.setting_faults("mlp", {"critic_warm_up": 100}))
    assert GPO.setting_faults("mlp", {}) == []
