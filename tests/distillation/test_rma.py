"""RMA: a student that recalls, both stages, and training that can be interrupted."""

import numpy as np
import pytest
import torch

from rlteach.distillation.adapter import Adapter, body_faults
from rlteach.distillation.rma import RMA, hidden_columns
from rlteach.distillation.students import load_student, make_student
from rlteach.errors import ConfigError, InvalidValue
from rlteach.observations import View
from tests.distillation.learning import SMALL, WIND, StopAt, discrete, envs, parameters, played, resumed


def adapter(body, **kwargs):
    venv = envs(WIND)
    space = View.of(venv, "student").space
    student = make_student("adapter", space, venv.action_space, body=body, seed=0, **kwargs)
    with torch.no_grad():
        student.recall.weight.normal_(generator=torch.Generator().manual_seed(0))
    return student


@pytest.mark.parametrize("body", ["mlp", "stack", "gru", "lstm"])
def test_an_adapter_recalls_the_same_step_by_step_and_all_at_once(body):
    student = adapter(body)
    generator = torch.Generator().manual_seed(1)
    seen, starts = torch.randn(9, 3, 4, generator=generator), torch.rand(9, 3, generator=generator) < 0.3
    state = student.initial_state(3)
    features = []
    for now, begun in zip(seen, starts, strict=True):
        state = torch.where(begun[:, None], student.initial_state(3), state)
        feature, state = student.step(now, state)
        features.append(feature)
    at_once, last = student.sequence(seen, starts, student.initial_state(3))
    assert torch.allclose(torch.stack(features), at_once, atol=1e-5)
    assert torch.allclose(state, last, atol=1e-5)


def test_an_adapter_decides_by_observation_and_latent():
    student = adapter("stack", latent=3)
    seen = torch.randn(2, 4)
    remembered, _ = student.recalling.step(seen, student.initial_state(2))
    wanted = student.deciding(torch.cat([seen, student.recall(remembered)], dim=1))
    assert torch.allclose(student.step(seen, student.initial_state(2))[0], wanted)


def test_an_adapter_refuses_what_cannot_recall():
    assert body_faults("cnn", {}) and body_faults("adapter", {}) and body_faults("stack", {"history": 0})
    with pytest.raises(ConfigError, match="history"):
        adapter("stack", body_kwargs={"history": 0})


def test_hidden_columns_are_those_that_only_the_expert_sees():
    venv = envs(WIND)
    student, expert = View.of(venv, "student"), View.of(venv, "expert")
    assert hidden_columns(student, expert).tolist() == [4, 5, 6, 7, 8, 9]
    with pytest.raises(InvalidValue, match="nothing is hidden"):
        hidden_columns(student, student)


@pytest.mark.parametrize("stage", ["two_phase", "one_stage"])
@pytest.mark.parametrize("policy", ["mlp", "gru"])
def test_trains_and_is_saved_as_one_student(policy, stage, tmp_path):
    learner = RMA(policy, envs(), stage=stage, phase_one=0.5, **SMALL)
    learner.learn(640)
    assert learner.num_timesteps == 640
    assert learner.adapting == (stage == "two_phase")
    assert float(learner.adapter.recall.weight.detach().abs().sum()) > 0
    learner.save(tmp_path)
    student = load_student(tmp_path)
    assert isinstance(student, Adapter)
    starts = np.ones(8, dtype=bool)
    wanted, memory = learner.predict(learner._last_obs, None, starts, deterministic=True)
    got, state = student.act(learner.student_view(learner._last_obs), None, starts)
    assert np.array_equal(got, wanted) and np.array_equal(state, memory)
    assert RMA.load(tmp_path, envs(), stage=stage).adapter.body == policy


def test_discrete_actions_train_too():
    learner = RMA("gru", envs(discrete), phase_one=0.5, **SMALL)
    learner.learn(640)
    assert learner.num_timesteps == 640


def test_phase_two_freezes_policy_and_encoder_and_recalls_better():
    learner = RMA("stack", envs(WIND), phase_one=0.25, **SMALL)
    learner.learn(3200, callback=StopAt(960))
    assert learner.adapting
    frozen = [*learner.adapter.deciding.parameters(), *learner.adapter.head.parameters(), *learner.world.parameters()]
    before = [value.detach().clone() for value in frozen]
    mean = learner.student.normalizer.mean.clone()

    @torch.no_grad()
    def error():
        data = learner.data.flat()
        remembered, _ = learner.adapter.recalling.step(torch.tensor(data.observations), torch.tensor(data.states))
        return float((learner.adapter.recall(remembered) - torch.tensor(data.labels)).square().mean())

    first = error()
    learner.learn(2240, reset_num_timesteps=False)
    assert error() < first
    assert all(torch.equal(a, b) for a, b in zip(before, frozen, strict=True))
    assert torch.equal(mean, learner.student.normalizer.mean)


def test_one_stage_recalls_the_hidden_values_themselves():
    learner = RMA("stack", envs(WIND), stage="one_stage", **SMALL)
    assert learner.adapter.latent == 6
    learner.learn(160)
    experience, _ = played(learner, 3)
    scale = learner.world.normalizer
    wanted = (experience.full[..., 4:] - scale.mean.numpy()) / scale.std.numpy()
    assert np.allclose(learner.wanted(experience), np.clip(wanted, -10, 10), atol=1e-4)


@pytest.mark.parametrize("stage", ["two_phase", "one_stage"])
@pytest.mark.parametrize("policy", ["stack", "gru"])
def test_resumed_training_equals_uninterrupted_training(policy, stage):
    second, whole = resumed(lambda venv: RMA(policy, venv, stage=stage, phase_one=0.3, **SMALL), 960)
    assert all(torch.equal(a, b) for a, b in zip(parameters(second), parameters(whole), strict=True))


def test_every_wrong_setting_is_named():
    wrong = {"stage": "three", "phase_one": 1, "latent": 0, "adapter_epochs": 0, "capacity": 0, "gamma": 2}
    wrong |= {"adapter_batch_size": -1, "adapter_learning_rate": 0, "encoder_hidden": [], "policy_hidden": [0]}
    faults = " ".join(RMA.setting_faults("cnn", wrong))
    assert all(f"{name} = " in faults for name in (*wrong, "policy"))
    assert "begins anew" in " ".join(RMA.setting_faults("gru", {"start": "runs/student"}))
    assert RMA.setting_faults("gru", {}) == []
