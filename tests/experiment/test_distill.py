"""Distillation in one call and on the command line: an expert in, a run directory with a student out."""

import csv
import json
import sys

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

import rlteach
from rlteach.cli import main
from rlteach.distillation.students import load_student
from rlteach.errors import ConfigError, UnknownName, UserError
from rlteach.experiment import config, distill
from rlteach.experiment.run import Interrupted, resume, run
from rlteach.observations import View, ViewVecEnv

WIND = "rlteach/WindGain-v0"


def steer(seen):
    """Push towards the origin, from everything that there is to see."""
    position, velocity, gains, wind = seen[:, :2], seen[:, 4:6], np.exp(seen[:, 6:8]), seen[:, 8:10]
    return np.clip((-2 * position - 2 * velocity - wind) / gains, -1, 1)


def to_the_tiger(seen):
    """Go to the wrong one of two doors, from x, y, what was revealed, and the right side."""
    return np.stack([-seen[:, 3], 0 * seen[:, 3]], axis=1)


@pytest.fixture(scope="module")
def expert(tmp_path_factory):
    data = {
        "env": {"id": WIND, "n_envs": 16, "kwargs": {"horizon": 40}},
        "observations": "expert",
        "learner": {"name": "ppo", "kwargs": {"n_steps": 64, "batch_size": 256, "learning_rate": 1e-3}},
        "evaluation": {"every": 20_000, "test_sets": ["corners"]},
        "steps": 4096,
    }
    path = tmp_path_factory.mktemp("runs") / "expert"
    run(config.parse(data), path, quiet=True)
    return path


def test_one_call_distils_an_expert(tmp_path):
    result = rlteach.distill(
        expert=steer, env=WIND, student={"architecture": "stack", "history": 4}, budget=19_200, out=tmp_path / "r"
    )
    assert {"DONE", "config.yaml", "lessons.csv", "student"} <= {p.name for p in result.directory.iterdir()}
    assert result.student.architecture == "stack" and result.student.history == 4
    lines = [json.loads(line) for line in (result.directory / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["labels"] == lines[-1]["steps_learner"] == 19_200
    assert lines[-1]["metrics"]["return/uniform/det"] > lines[0]["metrics"]["return/uniform/det"]


def test_the_environment_of_an_expert_with_a_run_is_its_own(expert):
    settings = distill.config_of(**asked(expert=expert))
    assert settings.env.id == WIND and settings.env.kwargs == {"horizon": 40} and settings.env.n_envs == 64
    assert not settings.normalize.rewards
    assert distill.config_of(**asked(expert=expert, method="advisor")).normalize.rewards


def asked(**changes):
    return {
        "expert": "",
        "env": "",
        "method": "dagger",
        "student": "mlp",
        "budget": 640,
        "student_obs": "student",
        "expert_obs": "",
        "trust": False,
        "teacher": "uniform",
        "seed": 0,
        "overrides": {},
    } | changes


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"expert": "nowhere"}, UserError, "there is no expert at nowhere"),
        ({"expert": "numpy:sign"}, ConfigError, "env is missing"),
        ({"expert": lambda seen: seen, "env": WIND}, UserError, "cannot be imported"),
        ({"expert": "numpy:sign", "env": WIND, "method": "daggr"}, UnknownName, "dagger"),
        (
            {"expert": "numpy:sign", "env": WIND, "method": "stable_baselines3.PPO"},
            UserError,
            "no method of distillation",
        ),
        ({"expert": "numpy:sign", "env": WIND, "student": "grue"}, ConfigError, "'gru'"),
        ({"expert": "numpy:sign", "env": WIND, "student": {"history": 3}}, ConfigError, "'architecture'"),
        (
            {"expert": "numpy:sign", "env": WIND, "student": {"architecture": "mlp", "hidden": (10**6, 10**6)}},
            ConfigError,
            "narrower",
        ),
        ({"expert": "numpy:sign", "env": "rlteach/WindGane-v0"}, UserError, "WindGain"),
        ({"expert": "numpy:sign", "env": WIND, "teacher": "frontierr"}, ConfigError, "frontier"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_built(changes, error, says):
    with pytest.raises(error, match=says):
        distill.config_of(**asked(**changes))


def test_expert_and_random_actions_are_compared_before_anything_is_trained(tmp_path):
    found = distill.probe(distill.config_of(**asked(expert=steer, env=WIND)))
    assert found.expert > 60 > 0 > found.random and found.tasks == 64
    with pytest.raises(UserError, match="no better than random actions"):
        rlteach.distill(expert=to_the_tiger, env="rlteach/TigerRoom-v0", budget=640, out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_student_distils_under_a_curriculum(tmp_path, expert):
    result = rlteach.distill(expert=expert, teacher="frontier", budget=12_800, out=tmp_path / "r", quiet=True)
    text = (result.directory / "lessons.csv").read_text()
    assert "frontier" in text and text.count("\n") > 200


@pytest.mark.parametrize("method", ["dagger", "advisor"])
def test_a_student_distils_while_a_start_teacher_chooses_where_its_episodes_begin(tmp_path, expert, method):
    starts = {"name": "uniform_starts", "policy": "random", "episodes": 4, "every": 10, "kwargs": {"share": 0.7}}
    result = rlteach.distill(
        expert=expert, method=method, budget=6_400, out=tmp_path / "r", quiet=True, overrides={"starts": starts}
    )
    with (result.directory / "lessons.csv").open() as file:
        lessons = list(csv.DictReader(file))
    late = [row for row in lessons if row["origin"].endswith("uniform_starts") and int(row["length"]) < 40]
    assert len(late) > 0.4 * len(lessons)  # the episode goes on where it was recorded, so it is shorter
    last = json.loads((result.directory / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["labels"] == last["steps_learner"] and last["steps_expert"] == 4096 and last["steps_collection"] == 160
    assert last["metrics"]["length/uniform/det"] > 38  # judged from the ordinary reset


@pytest.mark.parametrize(("method", "student"), [("dagger", "gru"), ("advisor", "stack")])
def test_a_distillation_that_was_stopped_goes_on_bit_exactly(tmp_path, expert, method, student):
    settings = distill.config_of(
        **asked(
            expert=expert,
            method=method,
            student=student,
            budget=1_600,
            overrides={"env.n_envs": 8, "learner.kwargs.n_steps": 25},
        )
    )
    whole = run(settings, tmp_path / "whole", quiet=True)
    calls = iter([False, False, False, True])
    with pytest.raises(Interrupted):
        run(settings, tmp_path / "parts", quiet=True, stop=lambda: next(calls, True))
    parts = resume(tmp_path / "parts", quiet=True)
    assert json.loads((tmp_path / "parts" / "meta.json").read_text())["resumed"][0]["exact"]
    assert parts.metrics == whole.metrics
    for ours, theirs in zip(*(load_student(r.directory / "student").parameters() for r in (whole, parts)), strict=True):
        assert (ours == theirs).all()


def command(capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["rlteach", *arguments])
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def test_the_command_line_distils(tmp_path, monkeypatch, capsys, expert):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(
        capsys,
        monkeypatch,
        "distill",
        "--expert",
        str(expert),
        "--student",
        "stack",
        "--steps",
        "1280",
        "--out",
        "made",
    )
    assert code == 0, err
    assert "return/uniform/det" in out and "random actions" in err
    assert (tmp_path / "made" / "student" / "student.json").is_file()


def test_the_command_line_takes_a_zips_normaliser(tmp_path, monkeypatch, capsys):
    envs = rlteach.make_vec_env(WIND, 2, seed=0)
    seen = VecNormalize(ViewVecEnv(envs, View.of(envs, "expert")))
    model = PPO("MlpPolicy", seen, device="cpu", seed=0, n_steps=16, batch_size=32, n_epochs=1)
    model.learn(32)
    model.save(tmp_path / "ppo.zip")
    seen.save(tmp_path / "ppo.pkl")
    monkeypatch.chdir(tmp_path)
    common = ("distill", "--expert", "ppo.zip", "--env", WIND, "--trust", "--no-probe", "--steps", "128")
    code, _, err = command(capsys, monkeypatch, *common, "--out", "with", "--expert-normalizer", "ppo.pkl")
    assert code == 0, err
    assert "expert_normalizer: ppo.pkl" in (tmp_path / "with" / "config.yaml").read_text()
    code, _, err = command(capsys, monkeypatch, *common, "--out", "without", "--expert-normalizer", "nowhere.pkl")
    assert code == 2
    assert "no file nowhere.pkl" in err


def test_the_command_line_tells_what_is_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, _, err = command(capsys, monkeypatch, "distill", "--expert", "nowhere", "--env", WIND)
    assert code == 2 and "there is no expert at nowhere" in err and "Traceback" not in err


def test_methods_are_listed_apart_from_learners(capsys, monkeypatch):
    _, methods, _ = command(capsys, monkeypatch, "list", "methods")
    _, learners, _ = command(capsys, monkeypatch, "list", "learners")
    assert "dagger" in methods and "ppo" not in methods.replace("PPO", "")
    assert "dagger" not in learners and "ppo" in learners
