"""Runs: the directory they leave, resume, refusals and faults."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from rlteach.delivery import make_vec_env
from rlteach.errors import ConfigError, EnvironmentFault, RunDirectoryError, UserError
from rlteach.experiment import checkpoint, config
from rlteach.experiment import run as run_module
from rlteach.experiment.config import RunConfig
from rlteach.experiment.run import Interrupted, resume, run
from rlteach.learners import make_learner

TINY_PPO = {"n_steps": 32, "batch_size": 32, "n_epochs": 2, "policy_kwargs": {"net_arch": [8]}}
TINY_SAC = {"learning_starts": 30, "batch_size": 16, "buffer_size": 1000, "policy_kwargs": {"net_arch": [8]}}


def run_config(env_id: str = "rlteach/GoalMaze-v0", **changes: Any) -> RunConfig:
    data: dict[str, Any] = {
        "env": {"id": env_id, "n_envs": 4},
        "teacher": {"name": "uniform"},
        "learner": {"name": "ppo", "kwargs": TINY_PPO},
        "evaluation": {"every": 256, "tasks": 6},
        "steps": 1024,
    }
    if env_id == "rlteach/GoalMaze-v0":
        data["env"]["kwargs"] = {"horizon": 30, "layout": "serpentine", "box_scale": 1}
        data["evaluation"]["test_sets"] = ["feasible"]
    for whole in {"learner", "env"} & set(changes):
        data[whole] = changes.pop(whole)
    return config.parse(config.merge(data, changes))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_run_directory_is_readable_without_rlteach(tmp_path: Path, echo: str) -> None:
    result = run(run_config(echo), tmp_path / "run", quiet=True)
    path = result.directory
    names = {p.name for p in path.iterdir()}
    assert names >= {"config.yaml", "meta.json", "task_space.json", "lessons.csv", "evals.csv", "metrics.jsonl", "DONE"}
    assert yaml.safe_load((path / "config.yaml").read_text())["steps"] == 1024
    meta = json.loads((path / "meta.json").read_text())
    assert meta["versions"]["torch"] and meta["config_hash"] == run_config(echo).digest()
    lessons = rows(path / "lessons.csv")
    assert len({row["id"] for row in lessons}) == len(lessons) > 50
    for row in lessons:
        assert float(row["ret"]) == pytest.approx((3 + float(row["task/k"])) * float(row["task/a"]), rel=1e-4)
    evals = rows(path / "evals.csv")
    assert [int(row["step"]) for row in evals] == [step for step in (256, 512, 768, 1024) for _ in range(6)]
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [256, 512, 768, 1024]
    assert lines[-1]["metrics"] == result.metrics and result.cpu_s > 0
    assert lines[-1]["metrics"]["success/test/det"] == np.mean([float(row["success"]) for row in evals[-6:]])


def test_the_learner_can_be_loaded_by_its_own_class_and_acts_the_same(tmp_path: Path, echo: str) -> None:
    from stable_baselines3 import PPO

    chosen = run_config(echo, normalize={"observations": True})
    run(chosen, tmp_path / "run", quiet=True)
    model = PPO.load(tmp_path / "run" / "learner.zip", device="cpu")
    found = checkpoint.latest(tmp_path / "run" / "checkpoints")
    assert found is not None and found[0] == 1024
    state = model.policy.state_dict()
    for name, value in found[1]["training"]["learner"]["parameters"]["policy"].items():
        assert np.array_equal(state[name].numpy(), value)
    statistics = json.loads((tmp_path / "run" / "normalizer.json").read_text())["observations"][""]
    assert len(statistics["mean"]) == 3 and statistics["count"] > 1000


def test_a_finished_run_is_not_run_again(tmp_path: Path, echo: str) -> None:
    first = run(run_config(echo), tmp_path / "run", quiet=True)
    before = (tmp_path / "run" / "lessons.csv").stat().st_mtime_ns
    assert run(run_config(echo), tmp_path / "run", quiet=True) == first
    assert (tmp_path / "run" / "lessons.csv").stat().st_mtime_ns == before


CASES = {
    "ppo, batch": {},
    "ppo, normalised": {"normalize": {"observations": True, "rewards": True}},
    "fast_ppo, batch": {"learner": {"name": "fast_ppo", "kwargs": TINY_PPO}},
    "sac, batch": {"learner": {"name": "sac", "kwargs": TINY_SAC}, "steps": 600, "env.n_envs": 2},
    "dqn, batch": {
        "env": {"id": "rlteach/GridMaze-v0", "n_envs": 2},
        "observations": "student",
        "learner": {"name": "dqn", "kwargs": {**TINY_SAC, "target_update_interval": 50, "exploration_fraction": 0.5}},
        "evaluation": {"test_sets": ["mazes"]},
        "steps": 600,
    },
    "recurrent ppo": {
        "learner": {
            "name": "sb3_contrib.RecurrentPPO",
            "policy": "MlpLstmPolicy",
            "kwargs": {**TINY_PPO, "policy_kwargs": {"net_arch": [8], "lstm_hidden_size": 8}},
        },
    },
    "synthetic": {
        "env": {"id": "rlteach/ToyCubes-v0", "kwargs": {"cubes": 3}, "n_envs": 4},
        "learner": {"name": "synthetic", "kwargs": {}},
        "evaluation": {"test_sets": []},
    },
}


def contents(path: Path) -> dict[str, Any]:
    """Everything that a run measured and learned, except times."""
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    found = checkpoint.latest(path / "checkpoints")
    assert found is not None
    return {
        "lessons": (path / "lessons.csv").read_text(),
        "evals": (path / "evals.csv").read_text(),
        "metrics": [{k: v for k, v in line.items() if k != "cpu_s"} for line in lines],
        "teacher": checkpoint.pack_state(found[1]["training"]["teacher"]),
    }


@pytest.mark.parametrize(
    ("case", "teacher"),
    [
        *((case, teacher) for case in CASES for teacher in ("uniform", "success_guided")),
        ("ppo, batch", "plr"),  # scores whole episodes by the critic, those too that a checkpoint falls into
        ("fast_ppo, batch", "robust_plr"),
    ],
)
def test_an_interrupted_run_that_is_resumed_equals_an_uninterrupted_one(
    tmp_path: Path, case: str, teacher: str
) -> None:
    chosen = run_config(**CASES[case], **{"teacher.name": teacher})
    run(chosen, tmp_path / "whole", quiet=True)
    calls = iter(range(10_000))
    stop_after = 5 if "ppo" in case else 60
    with pytest.raises(Interrupted, match="rlteach resume"):
        run(chosen, tmp_path / "parts", quiet=True, stop=lambda: next(calls) >= stop_after)
    assert not (tmp_path / "parts" / "DONE").exists()
    resume(tmp_path / "parts", quiet=True)
    whole, parts = contents(tmp_path / "whole"), contents(tmp_path / "parts")
    assert parts["lessons"] == whole["lessons"]
    assert parts["evals"] == whole["evals"]
    assert parts["metrics"] == whole["metrics"]
    assert parts["teacher"] == whole["teacher"]
    meta = json.loads((tmp_path / "parts" / "meta.json").read_text())
    assert [entry["exact"] for entry in meta["resumed"]] == [True]


def test_an_environment_without_snapshots_resumes_approximately_and_says_so(
    tmp_path: Path, echo: str, capsys: Any
) -> None:
    calls = iter(range(100))
    with pytest.raises(Interrupted):
        run(run_config(echo), tmp_path / "run", quiet=True, stop=lambda: next(calls) >= 4)
    resume(tmp_path / "run")
    assert "approximately" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "meta.json").read_text())["resumed"][0]["exact"] is False
    assert len({row["id"] for row in rows(tmp_path / "run" / "lessons.csv")}) == len(
        rows(tmp_path / "run" / "lessons.csv")
    )


def test_a_run_killed_before_its_first_checkpoint_starts_cleanly_again(tmp_path: Path, echo: str) -> None:
    chosen = run_config(echo)
    run(chosen, tmp_path / "whole", quiet=True)
    path = tmp_path / "killed"
    shutil.copytree(tmp_path / "whole", path)
    shutil.rmtree(path / "checkpoints")
    (path / "DONE").unlink()
    run(chosen, path, quiet=True)
    assert (path / "lessons.csv").read_text() == (tmp_path / "whole" / "lessons.csv").read_text()
    assert (path / "evals.csv").read_text() == (tmp_path / "whole" / "evals.csv").read_text()


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, echo: str) -> None:
    run(run_config(echo), tmp_path / "run", quiet=True)
    paths = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert len(paths) == 2
    rng = np.random.default_rng(0)
    for name in ("state.json", "arrays.safetensors"):
        file = paths[-1] / name
        original = file.read_bytes()
        for position in rng.integers(len(original), size=40):
            damaged = bytearray(original)
            damaged[position] ^= 1 << int(rng.integers(8))
            file.write_bytes(damaged)
            with pytest.raises(RunDirectoryError, match="damaged"):
                checkpoint.load(paths[-1])
            found = checkpoint.latest(paths[-1].parent)
            assert found is not None and found[0] == int(paths[0].name)
        file.write_bytes(original)


def test_an_environment_without_tasks_runs_under_uniform_and_refuses_other_teachers(
    tmp_path: Path, no_tasks: str
) -> None:
    assert run(run_config(no_tasks), tmp_path / "run", quiet=True).metrics["length/test/det"] == 5
    judged = [row["index"] for row in rows(tmp_path / "run" / "evals.csv") if int(row["step"]) >= 1024]
    assert judged == [str(i) for i in range(6)]  # as `evaluation.tasks` says
    with pytest.raises(UserError, match="task_space"):
        run(run_config(no_tasks, **{"teacher.name": "success_guided"}), tmp_path / "other", quiet=True)


def test_a_crashing_environment_leaves_failed_and_the_traceback(tmp_path: Path, echo: str) -> None:
    with pytest.raises(EnvironmentFault, match="on fire"):
        run(run_config(echo, **{"env.kwargs": {"crash_above": 0.9}}), tmp_path / "run", quiet=True)
    assert "the motor is on fire" in (tmp_path / "run" / "FAILED").read_text()
    assert not (tmp_path / "run" / "DONE").exists()


def test_a_directory_of_another_configuration_is_refused(tmp_path: Path, echo: str) -> None:
    run(run_config(echo), tmp_path / "run", quiet=True)
    with pytest.raises(RunDirectoryError, match="another configuration"):
        run(run_config(echo, seed=1), tmp_path / "run", quiet=True)


def test_a_directory_with_foreign_files_is_refused_and_left_alone(tmp_path: Path, echo: str) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RunDirectoryError, match="not empty"):
        run(run_config(echo), tmp_path, quiet=True)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_of_another_schema_is_refused_by_resume(tmp_path: Path, echo: str) -> None:
    run(run_config(echo), tmp_path / "run", quiet=True)
    meta = json.loads((tmp_path / "run" / "meta.json").read_text())
    (tmp_path / "run" / "meta.json").write_text(json.dumps(meta | {"schema": 99}))
    with pytest.raises(RunDirectoryError, match="schema 99"):
        resume(tmp_path / "run")
    with pytest.raises(RunDirectoryError, match="no run directory"):
        resume(tmp_path / "nowhere")


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, echo: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match="cannot make"):
        run(run_config(echo), tmp_path / "file" / "run", quiet=True)


def test_an_unknown_test_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no 'feasable'; known: feasible"):
        run(run_config(**{"evaluation.test_sets": ["feasable"]}), tmp_path / "run", quiet=True)


def test_evaluating_more_often_does_not_change_what_is_learned(tmp_path: Path) -> None:
    often = run_config(**{"evaluation.every": 128, "evaluation.policies": ["det", "sto"]})
    seldom = run_config(**{"evaluation.every": 1024})
    run(often, tmp_path / "often", quiet=True)
    run(seldom, tmp_path / "seldom", quiet=True)
    assert (tmp_path / "often" / "lessons.csv").read_text() == (tmp_path / "seldom" / "lessons.csv").read_text()


def test_a_yoked_run_replays_the_recorded_tasks_in_order_of_issue(tmp_path: Path) -> None:
    run(run_config(seed=1), tmp_path / "source", quiet=True)
    yoked = run_config(seed=2, teacher={"name": "replay", "kwargs": {"lessons": "source"}})
    run(yoked, tmp_path / "yoked", quiet=True)
    key = [name for name in rows(tmp_path / "source" / "lessons.csv")[0] if name.startswith("task/")]
    source = sorted(rows(tmp_path / "source" / "lessons.csv"), key=lambda row: int(row["id"]))
    replayed = {int(row["id"]): row for row in rows(tmp_path / "yoked" / "lessons.csv")}
    for place, row in enumerate(source[:20]):
        if place in replayed:
            assert [replayed[place][name] for name in key] == [row[name] for name in key]
    missing = run_config(teacher={"name": "replay", "kwargs": {"lessons": "nowhere"}})
    with pytest.raises(UserError, match="no lessons to replay"):
        run(missing, tmp_path / "missing", quiet=True)


@pytest.mark.parametrize("learner", ["stable_baselines3.TD3", "sb3_contrib.TQC"])
def test_other_learners_run_by_import_path(tmp_path: Path, learner: str) -> None:
    chosen = run_config(learner={"name": learner, "kwargs": TINY_SAC}, steps=300, **{"env.n_envs": 2})
    assert "success/feasible/det" in run(chosen, tmp_path / "run", quiet=True).metrics


@pytest.mark.parametrize(("n_envs", "expected"), [(None, 2), (4, 4), (50, 6)])
def test_evaluation_plays_as_many_episodes_side_by_side_as_it_is_told(
    tmp_path: Path, echo: str, monkeypatch: pytest.MonkeyPatch, n_envs: int | None, expected: int
) -> None:
    """There are six tasks, and two environments to train in."""
    sizes, evaluated = [], run_module.evaluate

    def listening(model: Any, venv: Any, *args: Any, **kwargs: Any) -> Any:
        sizes.append(venv.num_envs)
        return evaluated(model, venv, *args, **kwargs)

    monkeypatch.setattr(run_module, "evaluate", listening)
    chosen = run_config(echo, **{"env.n_envs": 2, "evaluation.n_envs": n_envs, "steps": 128})
    run(chosen, tmp_path / "run", quiet=True)
    assert set(sizes) == {expected}


def test_a_restored_dqn_explores_and_copies_its_target_as_it_would_have() -> None:
    """Its rate of exploration and the steps since its target was copied are counters of its own."""
    kwargs = {**TINY_SAC, "target_update_interval": 50, "exploration_fraction": 0.5}

    def built() -> Any:
        return make_learner("dqn", make_vec_env("CartPole-v1", 1, seed=0), policy="MlpPolicy", kwargs=kwargs, seed=0)

    trained = built().learn(70)
    fresh = built()
    checkpoint.restore_learner(fresh, checkpoint.learner_state(trained))
    assert (fresh._n_calls, fresh.exploration_rate) == (trained._n_calls, trained.exploration_rate)
    assert fresh._n_calls >= 70 and 0 < fresh.exploration_rate < 1
