"""ELF: what is left out because it cancels, who plays when, and training that can be interrupted."""

import numpy as np
import pytest
import torch

from rlteach.distillation.elf import ELF, shaped
from rlteach.distillation.losses import gae
from rlteach.errors import InvalidValue
from tests.distillation.learning import SMALL, discrete, envs, parameters, played, resumed, straight


def test_shaping_equals_a_critic_that_starts_from_the_potential():
    rng = np.random.default_rng(0)
    rewards, corrections, potentials = rng.normal(size=(3, 12, 5))
    last_correction, last_potential = rng.normal(size=(2, 5))
    ended = rng.random((12, 5)) < 0.2
    settings = {"gamma": 0.97, "lam": 0.8}
    direct, _ = gae(
        shaped(rewards, potentials, last_potential, ended, 0.97), corrections, last_correction, ended, **settings
    )
    ours, returns = gae(rewards, corrections + potentials, last_correction + last_potential, ended, **settings)
    assert np.allclose(direct, ours)
    assert np.allclose(direct + corrections, returns - potentials)


def test_shaping_of_one_episode_by_hand():
    got = shaped(
        np.array([[1.0], [2.0]]), np.array([[10.0], [20.0]]), np.array([99.0]), np.array([[False], [True]]), 0.5
    )
    assert got.tolist() == [[1 + 0.5 * 20 - 10], [2 - 20]]


@pytest.mark.parametrize("policy", ["mlp", "gru"])
def test_trains(policy):
    learner = ELF(policy, envs(), expert=straight, **SMALL)
    learner.learn(480)
    assert learner.num_timesteps == learner.labels == 480
    actions, _ = learner.predict(learner._last_obs, None, np.ones(8, dtype=bool), deterministic=True)
    assert actions.shape == (8, 2)


def test_the_follower_only_imitates_and_learns_to():
    learner = ELF("mlp", envs(), expert=lambda seen: np.full((len(seen), 2), 0.5, dtype=np.float32), **SMALL)
    learner.learn(3200)
    seen = learner.student_view(learner._last_obs)
    assert np.abs(learner.other.act(seen)[0] - 0.5).mean() < 0.15


def test_the_explorer_begins_the_followers_episodes_and_hands_over():
    learner = ELF("mlp", envs(), expert=straight, share=0.5, **SMALL)
    learner.learn(8 * 20 * 10)
    experience, _ = played(learner, 60)
    follows = experience.extra["follows"]
    assert not follows[:, learner.explores].any()
    theirs, starts = follows[:, ~learner.explores], experience.starts[:, ~learner.explores]
    assert theirs.any() and not theirs.all()
    back = theirs[:-1] & ~theirs[1:]
    assert starts[1:][back].all()  # the explorer gets its turn back with a new episode only


def test_potentials_are_the_followers_values_while_it_played():
    learner = ELF("gru", envs(), expert=straight, **SMALL)
    learner.learn(160)
    experience, _ = played(learner, 30)
    potentials = learner._potentials(learner.of_other(experience))
    follows = experience.extra["follows"]
    assert np.allclose(potentials[follows], experience.values[follows], atol=1e-5)


def test_discrete_actions_train_too():
    learner = ELF("gru", envs(discrete), expert=lambda seen: np.zeros(len(seen), dtype=int), **SMALL)
    learner.learn(480)
    assert learner.num_timesteps == learner.labels == 480


def test_one_environment_is_refused():
    with pytest.raises(InvalidValue, match="at least 2"):
        ELF("mlp", envs(n=1), expert=straight, **SMALL)


@pytest.mark.parametrize("policy", ["stack", "gru"])
def test_resumed_training_equals_uninterrupted_training(policy):
    second, whole = resumed(lambda venv: ELF(policy, venv, expert=straight, **SMALL), 640)
    assert all(torch.equal(a, b) for a, b in zip(parameters(second), parameters(whole), strict=True))


def test_every_wrong_setting_is_named():
    faults = " ".join(ELF.setting_faults("mlp", {"share": 1, "gamma": 2}))
    assert "expert is missing" in faults and "share = 1" in faults and "gamma = 2" in faults
    assert ELF.setting_faults("mlp", {"expert": "x.onnx"}) == []
