"""A learner that forgets in the middle of a run, its teacher and environments going on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rlteach
from rlteach.errors import ConfigError
from rlteach.experiment import checkpoint, config
from rlteach.experiment.config import RunConfig
from rlteach.experiment.resets import Resets, forget
from rlteach.experiment.run import Interrupted, resume, run
from rlteach.files import read_rows
from rlteach.learners import make_learner
from rlteach.learners.tensors import to_arrays

TINY_PPO = {"n_steps": 32, "batch_size": 32, "n_epochs": 2, "policy_kwargs": {"net_arch": [8]}}
TINY_SAC = {"learning_starts": 30, "batch_size": 16, "buffer_size": 1000, "policy_kwargs": {"net_arch": [8]}}
MAZE = {"horizon": 20, "layout": "corridor-3", "box_scale": 1}


def maze(name: str, kwargs: dict[str, Any], *resets: float, steps: int = 512, **changes: Any) -> RunConfig:
    data = {
        "env": {"id": "rlteach/GoalMaze-v0", "kwargs": MAZE, "n_envs": 4},
        "learner": {"name": name, "kwargs": kwargs, "resets": resets},
        "teacher": {"name": "success_guided"},
        "evaluation": {"every": 512, "test_sets": ["feasible"]},
        "steps": steps,
    }
    return config.parse(data | changes)


def cubes(*resets: float) -> RunConfig:
    return config.parse(
        {
            "env": {"id": "rlteach/ToyCubes-v0", "kwargs": {"cubes": 3}, "n_envs": 4},
            "learner": {"name": "synthetic", "resets": resets},
            "teacher": {"name": "success_guided"},
            "evaluation": {"every": 512},
            "steps": 1024,
        }
    )


CASES = {
    "ppo": maze("ppo", TINY_PPO, 0.5, normalize={"observations": True, "rewards": True}),
    "sac": maze("sac", TINY_SAC, 0.5, steps=128),
    "synthetic": cubes(0.5),
}
PER_ROLLOUT = {"ppo": 128, "sac": 4, "synthetic": 4}


def contents(path: Path) -> dict[str, Any]:
    """Everything that a run measured and learned, except times."""
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    found = checkpoint.latest(path / "checkpoints")
    assert found is not None
    learned = {"parameters", "variables", "replay_buffer", "own"} & found[1]["training"]["learner"].keys()
    return {
        "lessons": (path / "lessons.csv").read_text(),
        "evals": (path / "evals.csv").read_text(),
        "metrics": [{k: v for k, v in line.items() if k != "cpu_s"} for line in lines],
        "learner": checkpoint.pack_state({name: found[1]["training"]["learner"][name] for name in sorted(learned)}),
        "resets": found[1]["resets"],
    }


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_run_interrupted_around_a_reset_equals_an_uninterrupted_one(tmp_path: Path, case: str) -> None:
    made = CASES[case]
    run(made, tmp_path / "whole", quiet=True)
    rollout = made.steps // 2 // PER_ROLLOUT[case]  # at whose start the learner forgets
    for place, forgot in ((rollout - 1, 0), (rollout, 0), (rollout + 1, 1)):
        calls = iter(range(10_000))
        path = tmp_path / f"stopped at {place}"
        with pytest.raises(Interrupted):
            run(made, path, quiet=True, stop=lambda place=place, calls=calls: next(calls) >= place)  # type: ignore[misc]
        found = checkpoint.latest(path / "checkpoints")
        assert found is not None and found[1]["resets"] == forgot
        resume(path, quiet=True)
        assert contents(path) == contents(tmp_path / "whole")
        assert json.loads((path / "meta.json").read_text())["resumed"][0]["exact"]


def test_until_the_reset_the_run_is_the_one_without_and_afterwards_the_teacher_goes_on(tmp_path: Path) -> None:
    run(cubes(0.5), tmp_path / "reset", quiet=True)
    run(cubes(), tmp_path / "plain", quiet=True)
    reset, plain = (read_rows(tmp_path / name / "lessons.csv") for name in ("reset", "plain"))
    assert reset[:512] == plain[:512]
    best = max(reset[:512], key=lambda row: float(row["ret"]))
    assert float(best["ret"]) > 0.2 and max(float(row["ret"]) for row in reset[512:516]) <= 0.04
    assert [row["task/x0"] for row in reset[512:516]] == [row["task/x0"] for row in plain[512:516]]
    assert max(float(row["ret"]) for row in reset[512:]) < max(float(row["ret"]) for row in plain[512:])


@pytest.mark.parametrize("learner", ["ppo", "a2c", "sac", "td3", "ddpg"])
def test_forgetting_gives_back_what_a_new_learner_has_and_touches_nothing_else(learner: str) -> None:
    kwargs: dict[str, Any] = {
        "ppo": TINY_PPO,
        "a2c": {"policy_kwargs": {"net_arch": [8]}},
    }.get(learner, TINY_SAC)
    venv = rlteach.make_vec_env("rlteach/GoalMaze-v0", 2, seed=0, env_kwargs=MAZE)
    venv = rlteach.attach(venv, rlteach.make_teacher("uniform", venv.get_attr("task_space")[0], seed=0))
    model = make_learner(learner, venv, policy="MlpPolicy", kwargs=kwargs, seed=0)
    model.learn(150)
    parts = [model.policy, getattr(model, "replay_buffer", None), getattr(model, "rollout_buffer", None)]
    steps, trained = model.num_timesteps, to_arrays(model.get_parameters())
    snapshot, chance = venv.venv.get_episode_states(), torch.get_rng_state()
    forget(model, 7)
    fresh = to_arrays(model.get_parameters())
    assert (torch.get_rng_state() == chance).all() and model.num_timesteps == steps
    assert repr(venv.venv.get_episode_states()) == repr(snapshot)
    assert venv.venv._seeds == [None, None]
    now = [model.policy, getattr(model, "replay_buffer", None), getattr(model, "rollout_buffer", None)]
    assert all(a is b for a, b in zip(parts, now, strict=True))
    for name, value in trained["policy"].items():
        if value.size > 1 and value.any():
            assert not np.array_equal(value, fresh["policy"][name]), name
    for name, state in fresh.items():
        if "optimizer" in name:
            assert not state["state"] and trained[name]["state"], "the optimiser has no momentum left"
    if learner == "sac":
        assert float(model.log_ent_coef.detach()) == 0.0
    if getattr(model, "replay_buffer", None) is not None:
        assert model.replay_buffer.size() == 0
    # The same seed gives the same weights, another one others; it is the distribution of a new learner's weights.
    forget(model, 7)
    again = to_arrays(model.get_parameters())["policy"]
    assert all(np.array_equal(again[name], fresh["policy"][name]) for name in again)
    forget(model, 8)
    other = to_arrays(model.get_parameters())["policy"]
    assert any(not np.array_equal(other[name], fresh["policy"][name]) for name in other)
    with torch.random.fork_rng():
        born = make_learner(learner, venv, policy="MlpPolicy", kwargs=kwargs, seed=7)
    venv.venv._reset_seeds()
    expected = to_arrays(born.get_parameters())["policy"]
    assert all(np.array_equal(expected[name], fresh["policy"][name]) for name in expected)
    model.learn(50, reset_num_timesteps=False)
    assert model.num_timesteps > steps


def test_a_reset_learner_really_learns_again() -> None:
    venv = rlteach.make_vec_env("rlteach/ToyCubes-v0", 1, seed=0)
    venv = rlteach.attach(venv, rlteach.FixedTasks([np.array([0.05, 0.05])] * 300))
    model = make_learner("synthetic", venv, policy="", kwargs={}, seed=0)
    model.learn(90)
    assert model.competence[0] == 90
    forget(model, 0)
    assert not model.competence.any() and model.num_timesteps == 90
    model.learn(20, reset_num_timesteps=False)
    assert model.competence[0] == 20


def test_resets_happen_once_each_at_the_first_rollout_that_begins_late_enough() -> None:
    class Learner:
        forgot = 0

        def forget(self) -> None:
            self.forgot += 1

    learner, resets, seen = Learner(), Resets([0.25, 0.5], 1000, 0), []
    for step in range(0, 1000, 96):
        resets.reset_if_due(learner, step)
        seen.append((step, learner.forgot))
    assert [step for (step, now), (_, before) in zip(seen[1:], seen, strict=False) if now > before] == [288, 576]
    late, both = Learner(), Resets([0.1, 0.2], 1000, 0)
    both.reset_if_due(late, 999)
    assert late.forgot == 2 and both.done == 2


def test_without_resets_the_hash_of_a_run_is_what_it_was_before_there_were_any() -> None:
    plain = cubes()
    stated = plain.model_dump(mode="json")
    del stated["learner"]["resets"]
    assert config.parse(stated).digest() == plain.digest()
    assert len({plain.digest(), cubes(0.5).digest(), cubes(0.6).digest()}) == 3


@pytest.mark.parametrize(
    ("learner", "message"),
    [
        ({"name": "synthetic", "resets": [0.5, 0.5]}, "rising shares"),
        ({"name": "synthetic", "resets": [0.0]}, "above 0"),
        ({"name": "synthetic", "resets": [1.0]}, "below 1"),
        ({"name": "synthetic", "resets": [float("nan")]}, "rising shares"),
        ({"name": "synthetic", "resets": "half"}, "learner.resets"),
        ({"name": "random", "resets": [0.5]}, "random cannot forget"),
        ({"name": "bc", "policy": "mlp", "kwargs": {"expert": "x"}, "resets": [0.5]}, "bc cannot forget"),
    ],
)
def test_resets_that_cannot_be_are_refused_before_anything_is_built(learner: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.parse(cubes().model_dump(mode="json") | {"learner": learner})
