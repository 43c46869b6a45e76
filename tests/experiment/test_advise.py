"""Distil or decide: what can be known is told apart from what cannot."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlteach.distillation.actions import Categorical, Gaussian
from rlteach.distillation.labelled import Rollout
from rlteach.errors import InvalidValue, UserError
from rlteach.experiment.advise import Advice, _Held, advise, recommend, unexplained_share
from rlteach.experiment.distill import config_of


def steer(seen):
    """Push towards the origin, from everything that there is to see."""
    position, velocity, gains, wind = seen[:, :2], seen[:, 4:6], np.exp(seen[:, 6:8]), seen[:, 8:10]
    return np.clip((-2 * position - 2 * velocity - wind) / gains, -1, 1)


def to_the_right_door(seen):
    """Go to the right one of two doors, from x, y, what was revealed, and the right side."""
    return np.stack([seen[:, 3], 0 * seen[:, 3]], axis=1)


def settings(expert, env):
    return config_of(
        expert=expert,
        env=env,
        method="dagger",
        student="mlp",
        budget=640,
        student_obs="student",
        expert_obs="",
        trust=False,
        teacher="uniform",
        seed=0,
        overrides={"env.n_envs": 32},
    )


@pytest.mark.slow
def test_an_expert_that_can_be_copied_is_told_apart_from_one_that_cannot(monkeypatch):
    monkeypatch.setattr("rlteach.experiment.advise.UPDATES", 150)
    wind = advise(settings(steer, "rlteach/WindGain-v0"), budget=6_400)
    assert wind.recommendation != "rl" and min(wind.unexplained.values()) < 0.5
    assert wind.unexplained[1] > wind.unexplained[4] + 0.05
    assert "--student stack" in wind.command()
    tiger = advise(settings(to_the_right_door, "rlteach/TigerRoom-v0"), budget=6_400)
    assert tiger.recommendation == "rl"
    assert min(tiger.unexplained.values()) > 0.8
    assert tiger.student < 0


def test_too_small_a_budget_is_told():
    with pytest.raises(InvalidValue, match="four rounds"):
        advise(settings(steer, "rlteach/WindGain-v0"), budget=100)


@pytest.mark.parametrize(
    ("unexplained", "score", "expected"),
    [(0.05, 0.2, "distil"), (0.3, 0.95, "distil"), (0.3, 0.5, "kd_rl"), (0.75, 0.1, "kd_rl"), (0.95, 0.1, "rl")],
)
def test_what_is_recommended(unexplained, score, expected):
    assert recommend(unexplained, score) == expected


def advice(shares):
    return Advice("distil", shares, expert=1.0, random=0.0, student=0.5, steps=100, labels=100)


def test_the_shortest_history_that_explains_enough_is_recommended():
    assert advice({1: 0.5, 2: 0.21, 4: 0.2, 8: 0.2, 0: 0.3}).history == 2
    assert advice({1: 0.5, 2: 0.5, 0: 0.1}).history == 0
    assert "--student gru" in advice({1: 0.5, 0: 0.1}).command()
    assert "--student mlp" in advice({1: 0.1, 0: 0.1}).command()
    assert "score 0.50" in advice({1: 0.1}).text()


@given(st.integers(0, 2**31), st.floats(0.1, 10))
def test_the_unexplained_share_is_error_over_variance(seed, scale):
    rng = np.random.default_rng(seed)
    labels, answers = scale * rng.normal(size=(50, 3)), scale * rng.normal(size=(50, 3))
    wanted = min(1.0, ((labels - answers) ** 2).sum(1).mean() / labels.var(axis=0).sum())
    said = Gaussian(torch.from_numpy(answers), torch.ones(3))
    assert unexplained_share(said, torch.from_numpy(labels)) == pytest.approx(wanted)
    constant = Gaussian(torch.from_numpy(np.repeat(labels.mean(0)[None], 50, 0)), torch.ones(3))
    assert unexplained_share(constant, torch.from_numpy(labels)) == pytest.approx(1.0)


def test_the_unexplained_share_of_choices_is_cross_entropy_over_entropy():
    labels = torch.tensor([0, 0, 1, 1])
    assert unexplained_share(Categorical(torch.zeros(4, 2)), labels) == pytest.approx(1.0)
    sure = Categorical(20.0 * torch.nn.functional.one_hot(labels, 2).float())
    assert unexplained_share(sure, labels) == pytest.approx(0.0, abs=1e-6)


def test_too_few_environments_to_hold_some_out_are_told():
    rows = np.zeros((4, 3))
    rollout = Rollout(rows[..., None], rows.astype(bool), rows[..., None], rows[..., None])
    with pytest.raises(UserError, match="every fourth environment, and there are 3"):
        _Held.of(rollout)
