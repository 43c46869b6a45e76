"""Student-informed teacher: its reward, its common head, and training that can be interrupted."""

import numpy as np
import pytest
import torch

from rlteach.distillation.losses import gaussian_kl
from rlteach.distillation.sitt import StudentInformedTeacher, by_fixed_head, informed
from tests.distillation.learning import SMALL, TIGER, WIND, discrete, envs, parameters, played, resumed


def test_the_teacher_pays_for_what_the_student_cannot_tell():
    assert informed(np.array([[1.0, 2.0]]), np.array([[10.0, 0.0]]), 0.05).tolist() == [[0.5, 2.0]]


def test_rewards_of_a_rollout_are_those_of_the_task_minus_the_divergence():
    learner = StudentInformedTeacher("mlp", envs(), weight=0.5, **SMALL)
    learner.learn(160)
    experience, _ = played(learner, 5)
    full, seen = torch.tensor(experience.full[2]), torch.tensor(experience.seen[2])
    with torch.no_grad():
        teacher = learner.student.head(learner.encoder(full))
        student = learner.student.head(learner.student.step(seen, torch.zeros(8, 0))[0])
        std = learner.student.log_std.exp()
    wanted = experience.raw_rewards[2] - 0.5 * gaussian_kl(teacher, std, student, std, std_floor=0.05).numpy()
    assert np.allclose(experience.rewards[2], wanted, atol=1e-5)


def test_alignment_leaves_the_common_head_alone():
    learner = StudentInformedTeacher("mlp", envs(), **SMALL)
    features = torch.zeros(3, learner.student.feature_size, requires_grad=True)
    said = by_fixed_head(learner.student, features)
    assert torch.equal(said.mean, learner.student.distribution(features).mean)
    said.log_prob(torch.ones(3, 2)).sum().backward()
    assert features.grad is not None
    assert learner.student.head.weight.grad is None and learner.student.log_std.grad is None


@pytest.mark.parametrize("env", [TIGER, discrete])
@pytest.mark.parametrize("policy", ["mlp", "gru"])
def test_trains(policy, env):
    learner = StudentInformedTeacher(policy, envs(env), **SMALL)
    before = [value.clone() for value in learner.student.parameters()]
    learner.learn(480)
    assert learner.num_timesteps == 480
    assert any(not torch.equal(a, b) for a, b in zip(before, learner.student.parameters(), strict=True))
    learner.predict(learner._last_obs, None, np.ones(8, dtype=bool), deterministic=True)


def test_the_student_follows_a_teacher_that_it_can_follow():
    learner = StudentInformedTeacher("mlp", envs(WIND), **SMALL)
    learner.learn(3200)
    assert np.mean(learner._apart[-20:]) < 0.05


@pytest.mark.parametrize("policy", ["stack", "gru"])
def test_resumed_training_equals_uninterrupted_training(policy):
    second, whole = resumed(lambda venv: StudentInformedTeacher(policy, venv, **SMALL), 640)
    assert all(torch.equal(a, b) for a, b in zip(parameters(second), parameters(whole), strict=True))


def test_every_wrong_setting_is_named():
    wrong = {"weight": -1, "share": 1, "teacher_hidden": [0], "gamma": 2}
    faults = " ".join(StudentInformedTeacher.setting_faults("mlp", wrong))
    assert all(f"{name} = " in faults for name in wrong)
    assert "critic_warm_up" in " ".join(StudentInformedTeacher.setting_faults("mlp", {"critic_warm_up": 100}))
    assert StudentInformedTeacher.setting_faults("mlp", {}) == []
