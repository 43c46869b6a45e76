"""Experts: from runs, zips, ONNX and functions; on their own observations, or not at all."""

import inspect
import json
import shutil
import zipfile

import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import VecNormalize

import rlteach
from rlteach import protocols
from rlteach.distillation.experts import CallableExpert, Expert, OnnxExpert, PolicyExpert, StudentExpert, load_expert
from rlteach.errors import ConfigError, InvalidValue, RunDirectoryError, UntrustedFile, UserError
from rlteach.experiment import config
from rlteach.experiment.run import run
from rlteach.learners.policy_files import load_policy
from rlteach.observations import View, ViewVecEnv

WIND = "rlteach/WindGain-v0"
PPO_KWARGS = {"n_steps": 16, "batch_size": 32, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}}
SAC_KWARGS = {"learning_starts": 20, "batch_size": 8, "buffer_size": 500, "policy_kwargs": {"net_arch": [8]}}


def expert_config(**changes):
    data = {
        "env": {"id": WIND, "n_envs": 4},
        "observations": "expert",
        "learner": {"name": "ppo", "kwargs": PPO_KWARGS},
        "normalize": {"observations": True, "rewards": True},
        "evaluation": {"every": 128, "test_sets": ["corners"]},
        "steps": 128,
    }
    return config.parse({**data, **changes})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "expert"
    run(expert_config(), path, quiet=True)
    return path


def venv(env=WIND, n=5):
    return rlteach.make_vec_env(env, n, seed=3)


def test_a_run_labels_as_its_learner_acts_its_normaliser_applied(trained):
    envs = venv()
    expert = load_expert(trained, envs)
    observation = envs.reset()
    seen = View.of(envs, "expert")(observation)
    scale = json.loads((trained / "normalizer.json").read_text())["observations"][""]
    scaled = (seen - scale["mean"]) / np.sqrt(np.array(scale["var"]) + 1e-8)
    model = PPO.load(trained / "learner.zip", device="cpu")
    wanted, _ = model.predict(np.clip(scaled, -10, 10).astype(np.float32), deterministic=True)
    labels, _ = expert.label(expert.view(observation))
    assert np.allclose(labels, wanted, atol=1e-6)
    assert expert.steps == 128
    said = expert.distribution(expert.view(observation))
    assert np.allclose(np.clip(said.mean.numpy(), -1, 1), labels, atol=1e-5)


@pytest.mark.parametrize(("learner", "kwargs"), [("sac", SAC_KWARGS), ("td3", SAC_KWARGS)])
def test_policies_of_other_learners_are_rebuilt_too(learner, kwargs, tmp_path):
    run(expert_config(learner={"name": learner, "kwargs": kwargs}, steps=64), tmp_path / "run", quiet=True)
    envs = venv()
    expert = load_expert(tmp_path / "run", envs)
    seen = expert.view(envs.reset())
    labels, _ = expert.label(seen)
    wanted, _ = expert.policy.predict(expert.scale(seen), deterministic=True)
    assert np.allclose(labels, wanted, atol=1e-6)
    assert (expert.distribution(seen) is None) == (learner == "td3")


def test_nothing_in_a_policy_file_can_execute(trained):
    policy = load_policy(trained)
    assert policy.view["groups"] == ["policy", "privileged"]
    text = (trained / "policy.json").read_text()
    assert "serialized" not in text and json.loads(text)["schema"] == 1


def test_a_policy_of_another_version_or_damaged_is_told(trained, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    (copy / "policy.safetensors").write_bytes(b"nonsense")
    with pytest.raises(RunDirectoryError, match=r"policy\.safetensors"):
        load_expert(copy, venv())
    described = json.loads((copy / "policy.json").read_text())
    (copy / "policy.json").write_text(json.dumps({**described, "schema": 99}))
    with pytest.raises(RunDirectoryError, match="schema 99"):
        load_expert(copy, venv())


def test_an_unfinished_run_is_told_with_the_command_that_finishes_it(trained, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    (copy / "policy.json").unlink()
    (copy / "DONE").unlink()
    with pytest.raises(UserError, match="rlteach resume"):
        load_expert(copy, venv())


def test_an_expert_of_other_groups_or_another_order_is_refused(trained):
    with pytest.raises(ConfigError, match="groups"):
        load_expert(trained, venv(), sight="privileged,policy")
    with pytest.raises(ConfigError, match="shape"):
        load_expert(trained, venv(), sight="policy")
    with pytest.raises(ConfigError, match="names"):
        load_expert(trained, venv("rlteach/TigerRoom-v0"))


def test_an_expert_of_another_action_scale_is_refused(trained, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    described = json.loads((copy / "policy.json").read_text())
    described["action_space"]["high"] = [2.0, 2.0]
    (copy / "policy.json").write_text(json.dumps(described))
    with pytest.raises(ConfigError, match="another scale"):
        load_expert(copy, venv())


def sb3_zip(path, observations="expert", normalized=False):
    envs = venv(n=2)
    seen = ViewVecEnv(envs, View.of(envs, observations))
    if normalized:
        seen = VecNormalize(seen)
    model = PPO("MlpPolicy", seen, device="cpu", seed=0, **PPO_KWARGS)
    if normalized:
        model.learn(32)
        seen.save(path.with_suffix(".pkl"))
    model.save(path)
    return model, seen


def test_a_zip_needs_trust(tmp_path):
    model, _ = sb3_zip(tmp_path / "ppo.zip")
    with pytest.raises(UntrustedFile, match="--trust"):
        load_expert(tmp_path / "ppo.zip", venv())
    envs = venv()
    expert = load_expert(tmp_path / "ppo.zip", envs, trust=True)
    seen = expert.view(envs.reset())
    assert np.allclose(expert.label(seen)[0], model.predict(seen, deterministic=True)[0], atol=1e-6)


def test_the_normaliser_of_a_zip_is_applied(tmp_path):
    model, normalized = sb3_zip(tmp_path / "ppo.zip", normalized=True)
    envs = venv()
    expert = load_expert(tmp_path / "ppo.zip", envs, trust=True, normalizer=str(tmp_path / "ppo.pkl"))
    seen = expert.view(envs.reset())
    wanted, _ = model.predict(normalized.normalize_obs(seen), deterministic=True)
    assert np.allclose(expert.label(seen)[0], wanted, atol=1e-6)


def test_a_zip_of_another_view_is_told(tmp_path):
    sb3_zip(tmp_path / "ppo.zip", observations="student")
    with pytest.raises(InvalidValue, match="--expert-obs"):
        load_expert(tmp_path / "ppo.zip", venv(), trust=True)
    assert load_expert(tmp_path / "ppo.zip", venv(), trust=True, sight="policy").view.size == 4


def test_the_class_of_a_zip_is_told_by_what_it_holds(tmp_path):
    envs = venv(n=1)
    model = SAC("MlpPolicy", ViewVecEnv(envs, View.of(envs, "expert")), device="cpu", **SAC_KWARGS)
    model.save(tmp_path / "sac.zip")
    expert = load_expert(tmp_path / "sac.zip", venv(), trust=True)
    assert isinstance(expert, PolicyExpert)
    assert expert.policy.squash_output


@pytest.mark.parametrize("name", ["A2C", "TD3", "TQC", "TRPO"])
def test_zips_of_other_algorithms_are_read_too(tmp_path, name):
    home = stable_baselines3
    if name in ("TQC", "TRPO"):
        home = pytest.importorskip("sb3_contrib", reason="experts of sb3-contrib need it: pip install rlteach[contrib]")
    envs = venv(n=1)
    model = getattr(home, name)("MlpPolicy", ViewVecEnv(envs, View.of(envs, "expert")), device="cpu", seed=0)
    model.save(tmp_path / "it.zip")
    expert = load_expert(tmp_path / "it.zip", venv(), trust=True)
    seen = np.random.default_rng(0).normal(size=(5, expert.view.size)).astype(np.float32)
    assert np.array_equal(expert.label(seen)[0], model.predict(seen, deterministic=True)[0])


def test_a_zip_of_an_unknown_algorithm_is_refused(tmp_path):
    sb3_zip(tmp_path / "ppo.zip")
    with zipfile.ZipFile(tmp_path / "ppo.zip") as file, zipfile.ZipFile(tmp_path / "own.zip", "w") as other:
        for name in file.namelist():
            text = file.read(name)
            if name == "data":
                text = text.replace(b"stable_baselines3.common.policies", b"mine.policies")
            other.writestr(name, text)
    with pytest.raises(UserError, match="which is not one of sac"):
        load_expert(tmp_path / "own.zip", venv(), trust=True)


def test_a_recurrent_policy_keeps_its_memory(tmp_path):
    contrib = pytest.importorskip(
        "sb3_contrib", reason="recurrent experts need sb3-contrib: pip install rlteach[contrib]"
    )
    envs = venv(n=2)
    seen = ViewVecEnv(envs, View.of(envs, "expert"))
    kwargs = {"n_steps": 8, "batch_size": 8, "policy_kwargs": {"lstm_hidden_size": 8, "net_arch": [8]}}
    model = contrib.RecurrentPPO("MlpLstmPolicy", seen, device="cpu", seed=0, **kwargs)
    model.save(tmp_path / "lstm.zip")
    expert = load_expert(tmp_path / "lstm.zip", venv(n=2), trust=True)
    assert expert.recurrent
    shown = expert.view(envs.reset())
    _, state = expert.label(shown, None, np.ones(2, dtype=bool))
    going, _ = expert.label(shown, state, np.zeros(2, dtype=bool))
    mixed, _ = expert.label(shown, state, np.array([True, False]))
    fresh, _ = expert.label(shown, None, np.ones(2, dtype=bool))
    assert np.allclose(mixed[0], fresh[0], atol=1e-6) and np.allclose(mixed[1], going[1], atol=1e-6)
    assert not np.allclose(going, fresh, atol=1e-6)


@pytest.mark.parametrize("cls", [Expert, PolicyExpert, StudentExpert, OnnxExpert, CallableExpert])
def test_the_protocol_says_how_experts_are_asked(cls):
    def asked(owner):
        parameters = inspect.signature(owner.label).parameters.values()
        return [(parameter.name, parameter.kind, parameter.default) for parameter in parameters]

    assert issubclass(cls, protocols.Expert)
    assert asked(cls) == asked(protocols.Expert)
    assert [name for name, _, _ in asked(cls)] == ["self", "observations", "state", "starts"]


def test_a_function_is_an_expert_and_what_it_returns_is_checked():
    assert np.array_equal(
        load_expert(lambda seen: seen[:, :2] * 0, venv()).label(np.ones((3, 10)))[0], np.zeros((3, 2))
    )
    with pytest.raises(UserError, match=r"shape \(2, 3\), not \(2, 2\)"):
        load_expert(lambda seen: np.zeros((len(seen), 3)), venv())
    with pytest.raises(UserError, match="cannot label"):
        load_expert(lambda seen: seen @ np.ones((3, 3)), venv())


def test_an_import_path_is_an_expert():
    expert = load_expert("numpy:sign", venv("rlteach/LightDark-v0"), sight="privileged")  # two positions, two actions
    assert np.array_equal(expert.label(np.array([[2.0, -3.0]]))[0], [[1, -1]])
    with pytest.raises(UserError, match="cannot import"):
        load_expert("no_such_package:fn", venv())
    with pytest.raises(UserError, match="there is no expert at nowhere"):
        load_expert("nowhere", venv())


def test_a_student_can_be_an_expert_in_its_turn(trained, tmp_path):
    data = {
        "env": {"id": WIND, "n_envs": 4},
        "learner": {"name": "dagger", "policy": "gru", "kwargs": {"expert": str(trained), "n_steps": 16}},
        "evaluation": {"every": 128, "test_sets": ["corners"]},
        "steps": 128,
    }
    run(config.parse(data), tmp_path / "student", quiet=True)
    expert = load_expert(tmp_path / "student", venv())
    assert isinstance(expert, StudentExpert) and expert.recurrent
    assert expert.view.groups == ("policy",)
    assert expert.steps == 256
    with torch.no_grad():
        labels, state = expert.label(np.zeros((2, 4), np.float32), None, np.ones(2, dtype=bool))
    assert labels.shape == (2, 2) and state.shape[0] == 2


@pytest.mark.parametrize("policy", ["stack", "gru"])
def test_an_exported_student_is_an_expert_with_its_own_memory(trained, tmp_path, policy):
    pytest.importorskip("onnxruntime", reason="ONNX experts need onnxruntime: pip install rlteach[export]")
    from rlteach.experiment.exporting import export

    data = {
        "env": {"id": WIND, "n_envs": 4},
        "learner": {"name": "dagger", "policy": policy, "kwargs": {"expert": str(trained), "n_steps": 16}},
        "evaluation": {"every": 256, "test_sets": ["corners"]},
        "steps": 256,
    }
    run(config.parse(data), tmp_path / "student", quiet=True)
    export(tmp_path / "student", tmp_path / "out", formats=("onnx",))
    envs = venv(n=4)
    onnx = load_expert(tmp_path / "out" / "student.onnx", envs, sight="policy")
    student = load_expert(tmp_path / "student", envs)
    observation, states, starts = envs.reset(), [None, None], np.ones(4, dtype=bool)
    for _ in range(120):
        (ours, states[0]), (theirs, states[1]) = (
            expert.label(observation["policy"], state, starts)
            for expert, state in zip((onnx, student), states, strict=True)
        )
        assert np.allclose(ours, theirs, atol=1e-5)
        observation, _, starts, _ = envs.step(theirs)


def test_a_zip_that_acts_on_another_scale_is_refused(tmp_path):
    seen = ViewVecEnv(venv(n=2), View.of(venv(n=2), "expert"))
    seen.action_space = spaces.Box(-2.0, 2.0, seen.action_space.shape, np.float32)
    PPO("MlpPolicy", seen, device="cpu", seed=0, **PPO_KWARGS).save(tmp_path / "ppo.zip")
    with pytest.raises(InvalidValue, match="another scale"):
        load_expert(tmp_path / "ppo.zip", venv(), trust=True)


def test_a_normaliser_that_is_not_there_or_of_another_size_is_told(tmp_path):
    sb3_zip(tmp_path / "ppo.zip")
    VecNormalize(ViewVecEnv(venv(n=2), View.of(venv(n=2), "student"))).save(tmp_path / "other.pkl")
    for name, says in (("none.pkl", "there is no file"), ("other.pkl", "is no normaliser of the")):
        with pytest.raises(UserError, match=says):
            load_expert(tmp_path / "ppo.zip", venv(), trust=True, normalizer=str(tmp_path / name))
