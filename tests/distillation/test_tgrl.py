"""TGRL: when the expert gains weight, who is deployed, and training that can be interrupted."""

import numpy as np
import pytest
import torch

from rlteach.distillation.guided_ppo import GuidedPPO, rows_of
from rlteach.distillation.paired import part_of
from rlteach.distillation.students import load_student
from rlteach.distillation.tgrl import LEAST_WEIGHT, TGRL, lead, next_weight
from rlteach.errors import InvalidValue
from tests.distillation.learning import SMALL, discrete, envs, parameters, played, resumed, straight


def test_lead_is_in_standard_errors_and_free_of_scale():
    rng = np.random.default_rng(0)
    main, auxiliary = rng.normal(0.05, 1, 40), rng.normal(0, 1, 50)
    error = np.sqrt(main.var() / 40 + auxiliary.var() / 50)
    assert lead(main, auxiliary) == pytest.approx(np.clip((main.mean() - auxiliary.mean()) / error, -1, 1))
    assert lead(1e6 * main, 1e6 * auxiliary) == pytest.approx(lead(main, auxiliary))
    assert lead(main - 7, auxiliary - 7) == pytest.approx(lead(main, auxiliary))


def test_lead_where_nothing_varies():
    assert lead([1.0, 1.0], [1.0, 1.0]) == 1.0
    assert lead([0.0, 0.0], [1.0, 1.0]) == -1.0


def test_weight_rises_exactly_when_listening_does_as_well():
    assert next_weight(0.1, 1.0) == pytest.approx(0.11)
    assert next_weight(0.1, 0.0) == pytest.approx(0.1)
    assert next_weight(0.1, -1.0) == pytest.approx(0.05)
    assert next_weight(1.0, 1.0) == 1.0
    assert next_weight(LEAST_WEIGHT, -1.0) == LEAST_WEIGHT


@pytest.mark.parametrize("policy", ["mlp", "gru"])
def test_trains_both(policy):
    learner = TGRL(policy, envs(), expert=straight, **SMALL)
    before = [value.clone() for value in parameters(learner)]
    learner.learn(800)
    assert learner.num_timesteps == 2 * learner.labels == 800
    for name in ("student", "other"):
        assert any(not torch.equal(a, b) for a, b in zip(before, parameters(learner), strict=True)), name
    assert all(learner._recent.values())


def test_each_student_learns_from_its_own_environments():
    learner = TGRL("gru", envs(), expert=straight, **SMALL)
    learner.learn(160)
    experience, _ = played(learner, 20)
    GuidedPPO.ask(learner, experience)
    for rows, whose in ((learner.is_student, experience), (~learner.is_student, learner.of_other(experience))):
        part = part_of(whose, rows)
        if rows is not learner.is_student:
            learner._swap()
        for batch in learner.minibatches(part, part.values, part.values):
            assert torch.allclose(batch.said.log_prob(batch.actions), batch.log_probs, atol=1e-4)
        if rows is not learner.is_student:
            learner._swap()
    part = part_of(experience, learner.is_student)
    wanted = experience.advice.mean.reshape(20, 8, 2)[:, learner.is_student].reshape(-1, 2)
    assert torch.equal(part.advice.mean, wanted)
    assert torch.equal(rows_of(part.advice, torch.tensor([0])).mean[0], wanted[0])


def test_the_better_of_both_is_deployed(tmp_path):
    learner = TGRL("mlp", envs(), expert=straight, **SMALL)
    learner.learn(160)
    for is_other, student in ((False, learner.student), (True, learner.other)):
        learner.best_is_other = is_other
        seen = learner.student_view(learner._last_obs)
        assert np.array_equal(learner.predict(learner._last_obs, deterministic=True)[0], student.act(seen)[0])
        learner.save(tmp_path)
        assert np.array_equal(load_student(tmp_path).act(seen)[0], student.act(seen)[0])


def test_discrete_actions_train_too():
    learner = TGRL("gru", envs(discrete), expert=lambda seen: np.zeros(len(seen), dtype=int), **SMALL)
    learner.learn(480)
    assert learner.num_timesteps == 2 * learner.labels == 480


def test_one_environment_is_refused():
    with pytest.raises(InvalidValue, match="at least 2"):
        TGRL("mlp", envs(n=1), expert=straight, **SMALL)


@pytest.mark.parametrize("policy", ["stack", "gru"])
def test_resumed_training_equals_uninterrupted_training(policy):
    second, whole = resumed(lambda venv: TGRL(policy, venv, expert=straight, **SMALL), 960)
    assert second.weight == whole.weight
    assert all(torch.equal(a, b) for a, b in zip(parameters(second), parameters(whole), strict=True))


def test_every_wrong_setting_is_named():
    faults = " ".join(TGRL.setting_faults("mlp", {"window": 1, "divergence": "sideways", "gamma": 2}))
    assert all(part in faults for part in ("expert is missing", "window = 1", "sideways", "gamma = 2"))
    assert TGRL.setting_faults("mlp", {"expert": "x.onnx"}) == []
