"""The examples run as their README says."""

import subprocess
import sys
import tomllib
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from rlteach.environments import build
from rlteach.testing.envs import check_env

CRANE = Path(__file__).resolve().parents[1] / "examples" / "harbour_crane"


@pytest.fixture
def crane(monkeypatch):
    monkeypatch.syspath_prepend(str(CRANE))
    yield f"{CRANE}/train.py:make_env"
    gym.registry.pop("HarbourCrane-v0", None)
    sys.modules.pop("harbour_crane", None)


def test_the_crane_knows_nothing_of_rlteach():
    assert "rlteach" not in (CRANE / "harbour_crane.py").read_text(encoding="utf-8")
    project = tomllib.loads((CRANE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert not any("rlteach" in dependency for dependency in project["dependencies"])


def test_every_check_that_applies_to_the_crane_passes(crane):
    findings = {finding.name: finding for finding in check_env(crane)}
    assert {name for name, finding in findings.items() if finding.ok is False} == set()
    assert findings["task honoured"].ok and findings["determinism"].ok and findings["is_success"].ok


def test_an_unsteered_load_swings_with_the_period_of_a_pendulum(crane):
    env = build(f"{CRANE}/harbour_crane.py:HarbourCrane", rope=8.0, distance=5.0)
    env.reset(seed=0)
    env.unwrapped.angle = 0.05
    angles = []
    for _ in range(300):
        env.step(np.zeros(1, np.float32))
        angles.append(env.unwrapped.angle)
    falling = [i for i in range(1, 300) if angles[i - 1] > 0 >= angles[i]]
    assert np.diff(falling).mean() * 0.1 == pytest.approx(2 * np.pi * np.sqrt(8.0 / 9.81), rel=0.02)


@pytest.mark.slow
def test_the_training_script_runs_with_a_teacher():
    command = [
        sys.executable,
        str(CRANE / "train.py"),
        "--steps",
        "2048",
        "--test-episodes",
        "3",
        "--teacher",
        "uniform",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "on 3 uniform tasks after 2048 steps" in done.stdout
