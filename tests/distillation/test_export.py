"""An exported policy computes what the policy computes, in every form, and its contract says what the numbers mean."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rlteach import make_vec_env
from rlteach.cli import main
from rlteach.distillation import export as exporting
from rlteach.distillation import parity
from rlteach.distillation.c_source import c_header
from rlteach.distillation.export import export_run
from rlteach.distillation.export_source import load_source
from rlteach.distillation.numpy_runner import Policy
from rlteach.distillation.onnx_graph import onnx_bytes
from rlteach.distillation.portable import of_student
from rlteach.distillation.students import load_student, make_student, save_student
from rlteach.errors import InvalidValue, MissingExtra, RunDirectoryError, UserError
from rlteach.experiment import config
from rlteach.experiment.exporting import export
from rlteach.experiment.run import run as carry_out
from rlteach.files import write_json
from rlteach.learners import make_learner
from rlteach.learners.policy_files import save_policy

FLAT = spaces.Box(-np.inf, np.inf, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (2, 9, 7), np.uint8)
BOX = spaces.Box(np.array([-1, 2], np.float32), np.array([3, 2.5], np.float32))
CHOICE = spaces.Discrete(4, start=2)
SMALL = {
    "mlp": {"hidden": [8, 6], "activation": "elu"},
    "stack": {"history": 4, "hidden": [8]},
    "gru": {"hidden": 6, "embedding": 5},
    "lstm": {"hidden": 6},
    "transformer": {"history": 4, "width": 8, "heads": 2, "layers": 2},
    "cnn": {"channels": [3, 4], "kernels": [3, 2], "strides": [2, 1], "hidden": [8]},
}
BODIES = ("mlp", "stack", "gru", "lstm", "transformer")
SMALL["adapter"] = {"body": "gru", "body_kwargs": SMALL["gru"], "latent": 3, "hidden": [7], "clip": 3.0}
IN_C = ("mlp", "stack", "gru", "lstm", "adapter")
ALL = ["runner.py", "weights.npz", "student.onnx", "policy.h", "test_vectors.npz", "contract.json"]

needs_compiler = pytest.mark.skipif(parity.c_compiler() is None, reason="there is no C compiler (gcc or cc)")

NUMPY_ONLY = """
import importlib.abc, runpy, sys
class OnlyNumpy(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in {"numpy", *sys.stdlib_module_names}:
            raise ImportError(f"{name} must not be imported")
sys.meta_path.insert(0, OnlyNumpy())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(autouse=True)
def short_rollouts(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(parity, "STEPS", 60)
    monkeypatch.setattr(parity, "RANDOM_STEPS", 20)


@pytest.fixture
def long_rollouts(short_rollouts, monkeypatch):
    monkeypatch.undo()
    torch.set_num_threads(1)


def perturbed(architecture, action_space=BOX, seed=0, **kwargs):
    """Return a student with arbitrary weights, also of its first memory, and a normaliser that has seen something."""
    observation_space = IMAGE if architecture == "cnn" else FLAT
    student = make_student(
        architecture, observation_space, action_space, seed=seed, **{**SMALL[architecture], **kwargs}
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    seen = np.random.default_rng(seed).normal(size=(50, student.observation_size)) * 3 + 20
    student.update_normalizer(seen.astype(np.float32))
    if architecture == "adapter":  # so that the scale of what recalls and of what decides cannot be mistaken
        student.recalling.update_normalizer((seen * 2 - 5).astype(np.float32))
    return student


def run_with(student, directory, view=None):
    directory.mkdir(parents=True)
    save_student(student, directory / "student")
    write_json(directory / "student" / "training.json", {"view": view, "method": "Dagger", "steps": 7})
    write_json(directory / "meta.json", {"schema": 1})
    write_json(directory / "DONE", {"schema": 1})
    return directory


def observations_for(student, steps, rows, seed=1):
    draws = np.random.default_rng(seed).normal(size=(steps, rows, student.observation_size)) * 40 + 20
    return np.round(np.clip(draws, 0, 255)).astype(np.float32) if student.architecture == "cnn" else draws.astype("f4")


def contract_of(directory):
    return json.loads((Path(directory) / "contract.json").read_text())


def check_with_numpy_only(directory):
    command = [sys.executable, "-I", "-c", NUMPY_ONLY, str(directory / "runner.py"), "--check"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


class TestForms:
    @pytest.mark.parametrize("architecture", SMALL)
    def test_a_thousand_steps_in_every_form_agree(self, architecture, tmp_path, long_rollouts):
        exported = export_run(run_with(perturbed(architecture, seed=2), tmp_path / "run"))
        assert contract_of(exported.directory)["parity"]["steps"] == 1200 and not [
            n for n in exported.notes if "C form" not in n
        ]
        assert all(error <= 1e-5 for errors in exported.parity.values() for error in errors.values())

    @pytest.mark.parametrize("body", BODIES)
    def test_an_adapter_agrees_for_a_thousand_steps_whatever_recalls(self, body, tmp_path, long_rollouts):
        student = perturbed("adapter", seed=2, body=body, body_kwargs=SMALL[body])
        exported = export_run(run_with(student, tmp_path / "run"))
        assert set(exported.parity) == {"runner.py", "student.onnx", *(["policy.h"] if body in IN_C else [])}
        assert all(error <= 1e-5 for errors in exported.parity.values() for error in errors.values())
        contract = contract_of(exported.directory)
        assert (contract["architecture"], contract["network"]["kind"]) == ("adapter", body)
        assert contract["parity"]["steps"] == 1200 and contract["parity"]["tolerance"] == 1e-5
        assert contract["state"]["size"] == student.state_size

    @pytest.mark.parametrize("space", [BOX, CHOICE], ids=["box", "discrete"])
    @pytest.mark.parametrize("architecture", SMALL)
    def test_every_architecture_is_exported_in_every_form_there_is(self, architecture, space, tmp_path):
        run = run_with(perturbed(architecture, space), tmp_path / "run")
        exported = export_run(run)
        assert exported.directory == run / "export"
        expected = [name for name in ALL if architecture in IN_C or name != "policy.h"]
        assert list(exported.files) == expected == [n for n in ALL if (run / "export" / n).exists()]
        assert all(error <= 1e-5 for errors in exported.parity.values() for error in errors.values())
        assert set(exported.parity) == {n for n in expected if n in ("runner.py", "student.onnx", "policy.h")}
        checked = check_with_numpy_only(run / "export")
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert checked.stdout.startswith("max error ") and checked.stdout.endswith(": ok\n")

    @pytest.mark.parametrize("space", [BOX, CHOICE], ids=["box", "discrete"])
    @pytest.mark.parametrize("architecture", SMALL)
    def test_the_runner_acts_as_the_student_does_through_resets(self, architecture, space, tmp_path):
        student = perturbed(architecture, space, seed=3)
        policy = Policy.load(export_run(run_with(student, tmp_path / "run"), formats=["numpy"]).directory)
        seen = observations_for(student, 20, 3)
        starts = np.random.default_rng(0).random((20, 3)) < 0.2
        starts[0] = True
        memory = None
        for t in range(20):
            actions, memory = student.act(seen[t], memory, starts[t])
            policy.reset(rows=starts[t])
            np.testing.assert_allclose(policy.act(seen[t]), actions, rtol=1e-5, atol=1e-5)
            if student.state_size:
                np.testing.assert_allclose(policy.state, memory, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("architecture", SMALL)
    def test_one_observation_gives_one_action(self, architecture, tmp_path):
        student = perturbed(architecture)
        policy = Policy.load(export_run(run_with(student, tmp_path / "run"), formats=["numpy"]).directory)
        seen, memory = observations_for(student, 8, 1), None
        for t in range(8):
            if t == 5:
                policy.reset()
            actions, memory = student.act(seen[t], memory, np.array([t in (0, 5)]))
            single = policy.act(seen[t, 0].reshape(student.observation_space.shape))
            assert single.shape == (2,) and single.dtype == np.float32
            np.testing.assert_allclose(single, actions[0], rtol=1e-5, atol=1e-5)

    def test_actions_of_the_runner_are_not_overwritten_by_the_next_call(self, tmp_path):
        run = run_with(perturbed("mlp", spaces.Box(-1.0, 1.0, (2,))), tmp_path / "run")
        policy = Policy.load(export_run(run, formats=["numpy"]).directory)
        first = policy.act(np.zeros(3))
        kept = first.copy()
        policy.act(np.full(3, 30.0))
        assert np.array_equal(first, kept)

    def test_the_runner_refuses_observations_of_another_shape(self, tmp_path):
        policy = Policy.load(export_run(run_with(perturbed("mlp"), tmp_path / "run"), formats=["numpy"]).directory)
        with pytest.raises(ValueError, match=r"observations have the shape \(3,\)"):
            policy.act(np.zeros(4))

    @pytest.mark.parametrize("architecture", SMALL)
    def test_onnx_takes_any_number_of_rows_and_carries_the_memory(self, architecture, tmp_path):
        student = perturbed(architecture, seed=5)
        network = of_student(student)
        session = parity.onnx_session(onnx_bytes(network))
        for rows in (1, 4):
            seen, memory = observations_for(student, 12, rows), None
            state = np.tile(network.arrays["initial_state"], (rows, 1))
            for t in range(12):
                starts = np.full(rows, t in (0, 7))
                actions, memory = student.act(seen[t], memory, starts)
                state = np.where(starts[:, None], network.arrays["initial_state"], state)
                feed = {"observations": seen[t]} | ({"state": state} if student.state_size else {})
                got, *after = session.run(None, feed)
                state = after[0] if after else state
                np.testing.assert_allclose(got, actions, rtol=1e-5, atol=1e-5)
                np.testing.assert_allclose(state, memory, rtol=1e-5, atol=1e-5)

    def test_onnx_names_its_inputs_and_outputs_as_the_contract_does(self, tmp_path):
        out = export_run(run_with(perturbed("gru"), tmp_path / "run")).directory
        session, contract = parity.onnx_session((out / "student.onnx").read_bytes()), contract_of(out)
        assert {part.name: list(part.shape) for part in session.get_inputs()} == contract["inputs"]
        assert {part.name: list(part.shape) for part in session.get_outputs()} == contract["outputs"]
        stated = json.loads(session.get_modelmeta().custom_metadata_map["initial_state"])
        assert stated == contract["state"]["initial"] and any(stated)

    def test_the_same_run_gives_the_same_onnx_bytes(self):
        assert onnx_bytes(of_student(perturbed("lstm"))) == onnx_bytes(of_student(perturbed("lstm")))

    @pytest.mark.parametrize("history", [1, 2])
    @pytest.mark.parametrize("architecture", ["stack", "transformer"])
    def test_short_histories_are_exported_too(self, architecture, history, tmp_path):
        run = run_with(perturbed(architecture, history=history), tmp_path / "run")
        assert max(max(errors.values()) for errors in export_run(run).parity.values()) <= 1e-5

    def test_actions_keep_the_shape_of_their_space(self, tmp_path):
        student = perturbed("mlp", spaces.Box(-1.0, 2.0, (2, 2)))
        out = export_run(run_with(student, tmp_path / "run")).directory
        assert Policy.load(out).act(np.zeros(3)).shape == (2, 2)
        session = parity.onnx_session((out / "student.onnx").read_bytes())
        assert session.run(None, {"observations": np.zeros((5, 3), np.float32)})[0].shape == (5, 2, 2)


class TestC:
    def header_of(self, tmp_path, student, name="policy"):
        return export_run(run_with(student, tmp_path / "run"), formats=["c"], name=name).directory / "policy.h"

    def compiled(self, tmp_path, header, call, compiler="gcc", flags=("-std=c99", "-pedantic")):
        include = f'#include <stdio.h>\n#include "{header}"\n'
        source = tmp_path / ("main.cc" if "++" in compiler else "main.c")
        source.write_text(f'{include}int main(void) {{ printf("%g", (double){call}); return 0; }}\n')
        program = tmp_path / "program"
        command = [compiler, *flags, "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(source), "-lm"]
        subprocess.run(command, check=True, timeout=60)
        return float(subprocess.run([program], capture_output=True, text=True, check=True).stdout)

    @needs_compiler
    @pytest.mark.parametrize("architecture", IN_C)
    def test_the_header_compiles_without_warnings_and_passes_its_own_test(self, architecture, tmp_path):
        header = self.header_of(tmp_path, perturbed(architecture), name="walk")
        assert self.compiled(tmp_path, header, "walk_test()") <= 1e-5

    @pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
    def test_the_header_is_c_plus_plus_as_well(self, tmp_path):
        header = self.header_of(tmp_path, perturbed("stack", CHOICE))
        assert self.compiled(tmp_path, header, "policy_test()", "g++", ("-std=c++11",)) <= 1e-5

    @needs_compiler
    def test_its_own_test_finds_a_changed_weight(self, tmp_path):
        header = self.header_of(tmp_path, perturbed("gru"))
        before, name, after = header.read_text().partition("policy_layers_0_bias[2] = {\n    ")
        header.write_text(before + name + "9" + after)
        assert self.compiled(tmp_path, header, "policy_test()") > 1e-3

    @needs_compiler
    def test_its_own_test_finds_what_is_not_a_number(self, tmp_path):
        header = self.header_of(tmp_path, perturbed("mlp"))
        before, name, after = header.read_text().partition("policy_layers_0_bias[8] = {\n    ")
        header.write_text(before + name + "NAN + " + after)
        assert not self.compiled(tmp_path, header, "policy_test()") <= 1e-5

    def test_a_long_state_takes_fewer_test_vectors(self, tmp_path):
        student = perturbed("stack", history=300)
        text = self.header_of(tmp_path, student).read_text()
        assert "policy_test_starts[8]" in text

    def test_an_attention_network_has_no_c_form(self, tmp_path):
        run = run_with(perturbed("transformer"), tmp_path / "run")
        with pytest.raises(UserError, match="there is no C form of a transformer, only of mlp, stack, gru, lstm"):
            export_run(run, formats=["c"])
        assert export_run(run).notes == ("policy.h was left out: there is no C form of a transformer.",)

    def test_a_name_must_be_one_in_c(self):
        with pytest.raises(InvalidValue, match="name = '2 legs' must begin a C identifier"):
            c_header(of_student(perturbed("mlp")), "2 legs", {})

    def test_without_a_compiler_the_header_is_written_unchecked_and_that_is_told(self, tmp_path, monkeypatch):
        monkeypatch.setattr(parity, "c_compiler", lambda: None)
        exported = export_run(run_with(perturbed("mlp"), tmp_path / "run"))
        assert "policy.h" in exported.files and "policy.h" not in exported.parity
        assert exported.notes == ("policy.h was not compiled here (no gcc, no cc): call policy_test() on the target.",)


class NoisyEnv(gym.Env):
    """Observations around 1000, 0 and 5 whatever is done; refuses actions that are not in its space."""

    def __init__(self, action_space):
        self.observation_space, self.action_space = FLAT, action_space

    def _observe(self):
        return (self.np_random.normal(size=3) * [1, 100, 0.1] + [1000, 0, 5]).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._observe(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.steps += 1
        return self._observe(), 0.0, False, self.steps == 50, {}


class TestStableBaselines3:
    @pytest.mark.parametrize("normalized", [True, False], ids=["VecNormalize", "raw"])
    @pytest.mark.parametrize(
        ("learner", "space"),
        [("ppo", BOX), ("ppo", spaces.Discrete(3)), ("sac", BOX), ("td3", BOX), ("dqn", spaces.Discrete(3))],
    )
    def test_policies_of_ordinary_runs_are_exported_with_their_scale(self, learner, space, normalized, tmp_path):
        venv = DummyVecEnv([lambda: NoisyEnv(space)] * 2)
        venv.seed(0)
        run = self.run_of(learner, "MlpPolicy", venv, normalized, tmp_path, {"policy_kwargs": {"net_arch": [16]}})
        exported = export_run(run, venv=venv)
        assert set(exported.parity) >= {"runner.py", "student.onnx"} and not exported.notes
        assert max(max(errors.values()) for errors in exported.parity.values()) <= 1e-5
        assert check_with_numpy_only(exported.directory).returncode == 0
        first = contract_of(exported.directory)["observation"]["components"][0]
        assert (first["mean"] or 0) == pytest.approx(1000 if normalized else 0, abs=2)

    def test_a_recurrent_policy_is_exported_with_its_memory(self, tmp_path):
        pytest.importorskip("sb3_contrib", reason="recurrent policies need sb3-contrib: pip install rlteach[contrib]")
        venv = DummyVecEnv([lambda: NoisyEnv(BOX)] * 2)
        kwargs = {"policy_kwargs": {"lstm_hidden_size": 8, "net_arch": [8]}}
        run = self.run_of("sb3_contrib.RecurrentPPO", "MlpLstmPolicy", venv, True, tmp_path, kwargs)
        exported = export_run(run, venv=venv)
        assert contract_of(exported.directory)["state"]["size"] == 16
        assert max(max(errors.values()) for errors in exported.parity.values()) <= 1e-5

    def test_a_layer_that_has_no_exported_form_is_named(self, tmp_path):
        venv = DummyVecEnv([lambda: NoisyEnv(BOX)])
        run = self.run_of("sac", "MlpPolicy", venv, False, tmp_path, {"use_sde": True})
        with pytest.raises(UserError, match="the layer Hardtanh cannot be exported"):
            export_run(run)

    def run_of(self, learner, policy, venv, normalized, tmp_path, kwargs):
        seen = VecNormalize(venv, norm_reward=False) if normalized else venv
        model = make_learner(learner, seen, policy=policy, kwargs=kwargs, seed=0)
        seen.reset()
        for _ in range(30):
            seen.step(np.array([venv.action_space.sample() for _ in range(venv.num_envs)]))
        run = tmp_path / "run"
        run.mkdir()
        scale = seen if normalized else None
        assert save_policy(model, run, name=learner, view=None, normalizer=scale)
        write_json(run / "meta.json", {"schema": 1})
        write_json(run / "DONE", {"schema": 1})
        return run


WIND = {
    "groups": ["policy"],
    "shape": [4],
    "names": ["x", "y", "command_x", "command_y"],
    "units": ["m", "m", "1", "1"],
}


def wind_run(directory, architecture="gru", view=WIND):
    observed, acted = spaces.Box(-np.inf, np.inf, (4,), np.float32), spaces.Box(-1.0, 1.0, (2,), np.float32)
    student = make_student(architecture, observed, acted, seed=0, **SMALL[architecture])
    student.update_normalizer(np.random.default_rng(0).normal(size=(99, 4)).astype(np.float32) * [1, 2, 3, 4])
    run = run_with(student, directory, view)
    (run / "config.yaml").write_text(
        "env: {id: rlteach/WindGain-v0}\nlearner: {name: dagger, policy: gru, kwargs: {expert: expert}}\nsteps: 64\n"
    )
    return run


class TestContract:
    def test_it_says_what_the_numbers_mean(self, tmp_path):
        contract = contract_of(export(wind_run(tmp_path / "run")).directory)
        assert contract["environment"] == {"id": "rlteach/WindGain-v0", "kwargs": {}}
        assert (contract["control_rate"], contract["method"]) == (20.0, "Dagger")
        assert [part["name"] for part in contract["observation"]["components"]] == WIND["names"]
        assert [part["unit"] for part in contract["observation"]["components"]] == WIND["units"]
        last = contract["observation"]["components"][3]
        assert last["low"] is None and last["std"] == pytest.approx(4, rel=0.2)
        assert contract["action"]["components"][0] == {"name": "command_x", "unit": "1", "low": -1.0, "high": 1.0}
        assert contract["state"]["layout"] == [{"name": "hidden", "size": 6, "meaning": "the recurrent layer's output"}]
        assert "at the start of every episode" in contract["state"]["reset"]
        assert contract["parity"]["observations"] == "the environment, then random"

    def test_it_holds_the_sums_of_all_other_files(self, tmp_path):
        out = export_run(run_with(perturbed("stack"), tmp_path / "run")).directory
        files = contract_of(out)["files"]
        assert sorted([*files, "contract.json"]) == sorted(path.name for path in out.iterdir())
        for name, stated in files.items():
            assert hashlib.sha256((out / name).read_bytes()).hexdigest() == stated["sha256"]

    def test_it_lists_the_layout_of_a_window(self, tmp_path):
        state = contract_of(export_run(run_with(perturbed("stack"), tmp_path / "run")).directory)["state"]
        assert [(part["name"], part["size"]) for part in state["layout"]] == [("observations", 9), ("seen", 1)]
        assert state["size"] == 10 == len(state["initial"]) and state["history"] == 4

    def test_it_names_discrete_actions_by_their_number_when_the_environment_does_not(self, tmp_path):
        action = contract_of(export_run(run_with(perturbed("mlp", CHOICE), tmp_path / "run")).directory)["action"]
        expected = {"kind": "discrete", "dtype": "int64", "n": 4, "start": 2, "names": ["2", "3", "4", "5"]}
        assert action == expected

    def test_the_test_vectors_hold_a_reset_in_the_middle_and_values_that_are_clipped(self, tmp_path):
        student = perturbed("gru")
        out = export_run(run_with(student, tmp_path / "run")).directory
        with np.load(out / "test_vectors.npz", allow_pickle=False) as vectors:
            starts, seen = vectors["starts"], vectors["observations"]
        assert starts[0].all() and starts[12, 0] and not starts[12, 1]
        scaled = (seen - student.normalizer.mean.numpy()) / student.normalizer.std.numpy()
        assert np.abs(scaled).max() > student.clip


class TestFaults:
    @pytest.mark.parametrize("name", ["weights.npz", "test_vectors.npz"])
    def test_a_damaged_file_is_told_by_its_sum(self, name, tmp_path):
        out = export_run(run_with(perturbed("mlp"), tmp_path / "run")).directory
        data = bytearray((out / name).read_bytes())
        data[len(data) // 2] ^= 1
        (out / name).write_bytes(bytes(data))
        checked = check_with_numpy_only(out)
        assert checked.returncode == 2 and f"{name} is damaged" in checked.stderr

    def test_a_runner_that_computes_something_else_fails_its_check(self, tmp_path):
        out = export_run(run_with(perturbed("mlp"), tmp_path / "run")).directory
        text = (out / "runner.py").read_text()
        (out / "runner.py").write_text(text.replace("np.expm1(", "np.expm1(0.99 * "))
        checked = check_with_numpy_only(out)
        assert checked.returncode == 1 and "FAILED" in checked.stdout

    def test_a_form_that_computes_something_else_is_not_written(self, tmp_path, monkeypatch):
        run, other = run_with(perturbed("gru"), tmp_path / "run"), of_student(perturbed("gru", seed=1))
        monkeypatch.setattr(exporting, "onnx_bytes", lambda network: onnx_bytes(other))
        with pytest.raises(UserError, match=r"student.onnx does not compute .* at step 0, row 0, actions\[0\] is"):
            export_run(run)
        assert not (run / "export").exists()

    def test_a_wrong_memory_is_found_even_where_actions_agree(self):
        student = perturbed("lstm")
        network = of_student(student)
        played = parity.play_reference(
            network, lambda seen, state: student.act(seen, state), (FLAT.low, FLAT.high), None, lambda raw: raw
        )
        wrong = parity.Played(played.observations, played.starts, played.actions, played.states.copy())
        wrong.states[77, 1, 3] += 1e-3
        with pytest.raises(UserError, match=r"at step 77, row 1, states\[3\]"):
            parity.compare(network, "it", played, wrong)

    def test_a_chaotic_policy_is_allowed_what_rounding_does_to_it_but_no_other_step(self, tmp_path, monkeypatch):
        student = perturbed("gru", hidden=32)
        with torch.no_grad():
            student.memory.weight_hh_l0.mul_(12.0)
        run = run_with(student, tmp_path / "run")
        exported = export_run(run)
        assert "amplifies rounding" in exported.notes[0]
        assert contract_of(exported.directory)["parity"]["tolerance"] > 1e-3
        assert check_with_numpy_only(exported.directory).returncode == 0
        other = load_student(run / "student")
        with torch.no_grad():
            other.memory.weight_hh_l0[3, 3] += 0.01
        monkeypatch.setattr(exporting, "onnx_bytes", lambda network: onnx_bytes(of_student(other)))
        with pytest.raises(UserError, match=r"student.onnx does not compute"):
            export_run(run)

    def test_without_onnx_the_rest_is_written_and_that_is_told(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "onnx", None)
        run = run_with(perturbed("mlp"), tmp_path / "run")
        exported = export_run(run)
        assert "student.onnx" not in exported.files and "runner.py" in exported.files
        assert exported.notes[0].startswith("student.onnx was left out: it needs onnx, which is not installed: pip ")
        with pytest.raises(MissingExtra, match=r"pip install 'rlteach\[export\]'"):
            export_run(run, formats=["onnx"])

    def test_an_unknown_format_is_answered_with_the_nearest(self, tmp_path):
        with pytest.raises(
            InvalidValue, match=r"no format is called 'onx'. Did you mean 'onnx'\? Formats: onnx, numpy"
        ):
            export_run(tmp_path, formats=["onx"])

    def test_what_is_no_finished_run_with_a_policy_is_told(self, tmp_path):
        with pytest.raises(RunDirectoryError, match="there is no run directory"):
            export_run(tmp_path / "nothing")
        with pytest.raises(RunDirectoryError, match="holds no run"):
            export_run(tmp_path)
        write_json(tmp_path / "meta.json", {"schema": 1})
        with pytest.raises(RunDirectoryError, match="is not finished, so it holds no policy yet: rlteach resume"):
            export_run(tmp_path)
        write_json(tmp_path / "DONE", {"schema": 1})
        with pytest.raises(UserError, match="holds no policy that can be exported"):
            export_run(tmp_path)

    def test_files_of_somebody_else_are_not_overwritten(self, tmp_path):
        run = run_with(perturbed("mlp"), tmp_path / "run")
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "runner.py").write_text("mine")
        with pytest.raises(RunDirectoryError, match=r"runner.py and no contract.json, so these come from elsewhere"):
            export_run(run, tmp_path / "mine")
        assert (tmp_path / "mine" / "runner.py").read_text() == "mine"

    def test_exporting_again_leaves_nothing_behind_that_the_contract_does_not_know(self, tmp_path):
        run = run_with(perturbed("mlp"), tmp_path / "run")
        export_run(run)
        (run / "export" / "notes.txt").write_text("mine")
        again = export_run(run, formats=["onnx"])
        left = sorted(path.name for path in again.directory.iterdir())
        assert left == ["contract.json", "notes.txt", "student.onnx", "test_vectors.npz"]

    def test_nothing_but_the_output_directory_changes(self, tmp_path):
        run = run_with(perturbed("mlp"), tmp_path / "run")
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        export_run(run, tmp_path / "out")
        after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert {path for path in after if path not in before} == {tmp_path / "out" / name for name in ALL}
        assert all(after[path] == data for path, data in before.items())

    def test_an_environment_that_breaks_costs_the_check_in_it_and_no_more(self, tmp_path):
        run = wind_run(tmp_path / "run", view={**WIND, "names": ["a", "b", "c", "d"]})
        exported = export(run)
        assert exported.notes[0].startswith("The environment could not be played in (") and "names" in exported.notes[0]
        assert contract_of(exported.directory)["parity"]["observations"] == "random"

    def test_an_environment_that_is_gone_costs_what_it_states_and_no_more(self, tmp_path):
        run = wind_run(tmp_path / "run")
        (run / "config.yaml").write_text("env: {id: Gone-v0}\nsteps: 64\n")
        exported = export(run)
        assert "environment could not be built" in exported.notes[0] and "Gone-v0" in exported.notes[0]
        contract = contract_of(exported.directory)
        assert contract["control_rate"] is None
        assert [part["name"] for part in contract["observation"]["components"]] == WIND["names"]


class TestCommand:
    def test_a_run_of_rapid_motor_adaptation_is_exported(self, tmp_path, capsys, long_rollouts):
        data = {
            "env": {"id": "rlteach/WindGain-v0", "n_envs": 4, "kwargs": {"horizon": 40}},
            "learner": {"name": "rma", "policy": "gru", "kwargs": {"n_steps": 16, "batch_size": 32, "phase_one": 0.5}},
            "evaluation": {"every": 512, "test_sets": ["corners"]},
            "steps": 512,
        }
        carry_out(config.parse(data), tmp_path / "run", quiet=True)
        assert float(load_student(tmp_path / "run" / "student").recall.weight.detach().abs().sum()) > 0
        with pytest.raises(SystemExit) as stopped:
            main(["export", str(tmp_path / "run")])
        assert stopped.value.code == 0, capsys.readouterr().err
        contract = contract_of(tmp_path / "run" / "export")
        assert (contract["architecture"], contract["method"]) == ("adapter", "RMA")
        assert contract["parity"]["observations"] == "the environment, then random"
        assert contract["parity"]["steps"] == 1200
        errors = contract["parity"]["errors"]
        assert set(errors) >= {"runner.py", "student.onnx"}
        assert all(error <= 1e-5 for found in errors.values() for error in found.values())
        assert check_with_numpy_only(tmp_path / "run" / "export").returncode == 0

    def test_an_adapter_whose_recollection_was_lost_on_the_way_is_not_written(self, tmp_path, monkeypatch):
        run = run_with(perturbed("adapter"), tmp_path / "run")
        other = perturbed("adapter")
        with torch.no_grad():
            other.recall.weight[1].zero_()
        monkeypatch.setattr(exporting, "onnx_bytes", lambda network: onnx_bytes(of_student(other)))
        with pytest.raises(UserError, match=r"student.onnx does not compute"):
            export_run(run)
        assert not (run / "export").exists()

    def test_it_prints_the_files_and_their_errors(self, tmp_path, capsys):
        run = wind_run(tmp_path / "run", "stack")
        with pytest.raises(SystemExit) as stopped:
            main(["export", str(run), "--out", str(tmp_path / "out"), "--formats", "onnx,numpy"])
        assert stopped.value.code == 0
        lines = capsys.readouterr().out.splitlines()
        assert [Path(line.split("  ")[0]).name for line in lines] == [n for n in ALL if n != "policy.h"]
        assert "max error" in lines[0]

    def test_what_is_wrong_is_one_line_and_no_traceback(self, tmp_path, capsys):
        with pytest.raises(SystemExit) as stopped:
            main(["export", str(tmp_path / "nothing")])
        assert stopped.value.code == 2
        assert capsys.readouterr().err == f"error: there is no run directory {tmp_path / 'nothing'}\n"

    def test_the_policy_in_a_batch_of_environments_is_what_was_exported(self, tmp_path):
        run = wind_run(tmp_path / "run")
        policy, student = Policy.load(export(run).directory), load_student(run / "student")
        venv = make_vec_env("rlteach/WindGain-v0", 2, seed=3)
        observation, memory, starts = venv.reset(), None, np.ones(2, dtype=bool)
        for _ in range(130):
            policy.reset(rows=starts)
            actions, memory = student.act(observation["policy"], memory, starts)
            np.testing.assert_allclose(policy.act(observation["policy"]), actions, atol=1e-5)
            observation, _, starts, _ = venv.step(actions)
        assert load_source(run).identity.method == "Dagger"
