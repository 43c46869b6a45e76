"""Learners in JAX: what they hold is kept, restored, forgotten and evaluated as that of learners in torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback

import rlteach
from rlteach.critics import critic_values, has_critic
from rlteach.delivery import TeacherCallback
from rlteach.distillation.experts import load_expert
from rlteach.distillation.export import export_run
from rlteach.errors import RunDirectoryError, UserError
from rlteach.experiment import checkpoint, config
from rlteach.experiment.evaluate import evaluate
from rlteach.experiment.resets import forget
from rlteach.experiment.run import Interrupted, resume, run
from rlteach.jax_states import jax_arrays, put_jax_arrays
from rlteach.learners import make_learner
from rlteach.learners.policy_files import WEIGHTS, load_policy
from rlteach.snapshots.collect import critic_of
from rlteach.teachers.uniform import Uniform

pytest.importorskip("sbx", reason="learners in JAX need SBX: pip install 'rlteach[sbx]'")

TINY = {"policy_kwargs": {"net_arch": [8]}}
LEARNERS: dict[str, dict[str, Any]] = {
    "sbx.PPO": {"n_steps": 32, "batch_size": 32, "n_epochs": 1, "target_kl": 1e-4, **TINY},  # its step size adapts
    "sbx.SAC": {"learning_starts": 20, "batch_size": 16, "buffer_size": 500, "param_resets": [40], **TINY},
}
MAZE = {"horizon": 30, "layout": "serpentine", "box_scale": 1}
OBSERVATIONS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def settings(name: str, **changes: Any) -> config.RunConfig:
    data: dict[str, Any] = {
        "env": {
            "id": "rlteach/GoalMaze-v0",
            "n_envs": 4 if name == "sbx.PPO" else 1,
            "kwargs": MAZE,
        },
        "teacher": {"name": "plr" if name == "sbx.PPO" else "frontier"},  # the first is told by the critic
        "learner": {"name": name, "kwargs": LEARNERS[name]},
        "evaluation": {"every": 256, "tasks": 4, "test_sets": ["feasible"], "policies": ["det", "sto"]},
        "steps": 512 if name == "sbx.PPO" else 256,
    }
    return config.parse(config.merge(data, changes))


@pytest.fixture(scope="module", params=LEARNERS)
def model(request: Any) -> Any:
    """A learner that was trained a little, on a pendulum."""
    venv = rlteach.make_vec_env("Pendulum-v1", 1, seed=0)
    return make_learner(request.param, venv, policy="MlpPolicy", kwargs=LEARNERS[request.param], seed=0).learn(64)


@pytest.fixture(scope="module", params=LEARNERS)
def finished(request: Any, tmp_path_factory: Any) -> tuple[str, Path]:
    """A learner's name and the directory of a run of it."""
    path = tmp_path_factory.mktemp("run") / "whole"
    run(settings(request.param), path, quiet=True)
    return request.param, path


def equal(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> bool:
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_an_interrupted_run_that_is_resumed_equals_an_uninterrupted_one(
    finished: tuple[str, Path], tmp_path: Path
) -> None:
    name, whole = finished
    calls = iter(range(10_000))
    with pytest.raises(Interrupted):
        run(settings(name), tmp_path / "parts", quiet=True, stop=lambda: next(calls) >= (2 if "PPO" in name else 60))
    resume(tmp_path / "parts", quiet=True)
    for file in ("lessons.csv", "evals.csv"):
        assert (tmp_path / "parts" / file).read_text() == (whole / file).read_text(), file
    found = [checkpoint.latest(path / "checkpoints") for path in (whole, tmp_path / "parts")]
    assert found[0] is not None and found[1] is not None
    learned = [step_and_state[1]["training"]["learner"]["jax"] for step_and_state in found if step_and_state]
    assert all(equal(learned[0][part], learned[1][part]) for part in ("model", "policy"))
    assert len(learned[0]["policy"]) > 10
    assert learned[0]["adaptive_lr"] == learned[1]["adaptive_lr"]


def test_a_finished_run_is_an_expert_that_acts_as_the_learner_did(finished: tuple[str, Path]) -> None:
    name, path = finished
    venv = rlteach.make_vec_env("rlteach/GoalMaze-v0", 4, seed=0, env_kwargs=MAZE)
    learned: Any = rlteach.registry.load("learner", name).load(path / "learner.zip")
    expert = load_expert(path, venv)
    seen = venv.reset()
    np.testing.assert_array_equal(expert.label(seen)[0], learned.predict(seen, deterministic=True)[0])
    assert expert.distribution(seen) is None
    zipped = load_expert(path / "learner.zip", venv, trust=True)
    np.testing.assert_array_equal(zipped.label(seen)[0], expert.label(seen)[0])
    assert critic_of(zipped)(seen[0]) == pytest.approx(critic_of(expert)(seen[0]), rel=1e-5)
    assert np.isfinite(critic_of(expert)(seen[0]))
    with pytest.raises(UserError, match="JAX cannot be exported"):
        export_run(path, path.parent / "exported")


def test_a_checkpoint_without_what_was_learned_is_refused(model: Any) -> None:
    state = checkpoint.learner_state(model)
    del state["jax"]
    with pytest.raises(RunDirectoryError, match="run it anew"):
        checkpoint.restore_learner(model, state)


class Needy(Uniform):
    """Asks for what the critic got wrong."""

    needs = frozenset({"td_errors"})


class AtRolloutEnd(BaseCallback):
    """Works out the last errors of a rollout from what the next one begins with, before the update changes values."""

    def _on_rollout_end(self) -> None:
        model: Any = self.model
        self.after, self.before = critic_values(model.policy, model._last_obs), model.rollout_buffer.values[-1].copy()
        goes_on = 1.0 - model._last_episode_starts
        self.errors = model.rollout_buffer.rewards[-1] + model.gamma * self.after * goes_on - self.before

    def _on_step(self) -> bool:
        return True


def test_the_last_error_of_a_rollout_goes_by_what_comes_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    base = rlteach.make_vec_env("rlteach/GoalMaze-v0", 2, seed=0, env_kwargs=MAZE)
    teacher, heard, expected = Needy(base.get_attr("task_space")[0], seed=0), [], AtRolloutEnd()
    taught = rlteach.attach(base, teacher)
    monkeypatch.setattr(taught, "deliver_signals", heard.append)
    model = make_learner("sbx.PPO", taught, policy="MlpPolicy", kwargs={**LEARNERS["sbx.PPO"], "n_steps": 16}, seed=0)
    model.learn(32, callback=[TeacherCallback(teacher), expected])
    np.testing.assert_allclose(heard[0]["td_errors"][-1], expected.errors, rtol=1e-5)
    assert not np.allclose(expected.after, expected.before, rtol=1e-3)


def test_damaged_weights_are_refused(finished: tuple[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in finished[1].glob("policy.*"):
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / WEIGHTS).write_bytes((copy / WEIGHTS).read_bytes()[:-8])
    with pytest.raises(RunDirectoryError, match="cannot read the weights"):
        load_policy(copy)


def test_arrays_of_another_network_are_refused_and_nothing_changes(model: Any) -> None:
    before = jax_arrays(model.policy)
    wrong = {**before, "actor_state/1": np.zeros((2, 2))}
    with pytest.raises(RuntimeError, match="actor_state/1"):
        put_jax_arrays(model.policy, wrong)
    assert equal(jax_arrays(model.policy), before)


def test_a_learner_forgets_its_networks_and_its_optimisers(model: Any) -> None:
    kept = checkpoint.learner_state(model)
    forget(model, 3)
    new = jax_arrays(model.policy)
    old = kept["jax"]["policy"]
    assert all(not np.array_equal(new[k], old[k]) for k in new if new[k].ndim == 2 and k.startswith("actor_state"))
    assert int(new["actor_state/0"]) == 0  # updates of a training state
    checkpoint.restore_learner(model, kept)
    assert equal(jax_arrays(model.policy), old)


def test_evaluating_does_not_change_what_is_learned(model: Any) -> None:
    venv, before = rlteach.make_vec_env("Pendulum-v1", 2, seed=1), jax_arrays(model.policy)
    returns = [
        [outcome.ret for outcome in evaluate(model, venv, [None], deterministic=False, seed=seed)] for seed in (5, 5, 6)
    ]
    assert equal(jax_arrays(model.policy), before)
    assert returns[0] == returns[1] != returns[2]


def test_what_the_critic_expects_is_its_network_worked_out_by_hand(model: Any) -> None:
    assert has_critic(model.policy)
    policy: Any = model.policy

    def dense(x: np.ndarray, layers: Any, activation: Any) -> np.ndarray:
        weights = [
            (np.asarray(layers[f"Dense_{i}"]["kernel"]), np.asarray(layers[f"Dense_{i}"]["bias"])) for i in (0, 1)
        ]
        return activation(x @ weights[0][0] + weights[0][1]) @ weights[1][0] + weights[1][1]

    if hasattr(policy, "vf_state"):
        expected = dense(OBSERVATIONS, policy.vf_state.params["params"], np.tanh)[:, 0]
    else:
        actions = policy.scale_action(policy.predict(OBSERVATIONS, deterministic=True)[0])
        both = policy.qf_state.params["params"]["VmapContinuousCritic_0"]
        each = [
            {name: {part: np.asarray(value)[k] for part, value in layer.items()} for name, layer in both.items()}
            for k in (0, 1)
        ]
        rows = np.concatenate([OBSERVATIONS, actions], axis=1)
        expected = np.minimum(*(dense(rows, layers, lambda x: np.maximum(x, 0))[:, 0] for layers in each))
    np.testing.assert_allclose(critic_values(policy, OBSERVATIONS), expected, rtol=1e-4, atol=1e-5)
