"""Every registered id, made with its default arguments, passes the checks of others and our own, and draws a picture.

Most ids are checked in the file of their environment, which says what each of them lacks; here are those that are not,
and every one that comes new. The checks are short here: ten steps in place of a hundred.
"""

import re
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import rlteach_envs
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from rlteach.testing import envs as checks
from tests.envs.family import IDS, made, named

ELSEWHERE = {
    "test_batch": {"GoalMaze", "PointMassGate", "ToyCubes"},
    "test_hidden": {"HiddenMassPendulum", "LightDark", "MemoryTMaze", "TigerRoom", "WindGain"},
    "test_quadrotor": {"Quadrotor"},
    "test_stump_tracks": {"StumpTracks"},
    "test_ued_walker": {"UEDWalker"},
    "test_car_racing": {"CarRacing", "CarRacingFeatures"},
    "test_terrain_walker": {"TerrainWalker"},
    "test_mujoco_dynamics": {"HopperDynamics", "HalfCheetahDynamics", "Walker2dDynamics", "AntDynamics"},
    "test_masked": {"MaskedHopper", "MaskedLunarLander"},
}
"""Names of ids that other files pass to our `check_env` with default arguments."""

HERE = [i for i in IDS if not any(re.search(rf"/({'|'.join(names)})-v0$", i) for names in ELSEWHERE.values())]

WRAPPED = [i for i in IDS if re.search(r"Dynamics|Masked", i)]
"""Ids whose bare environment, which our `check_env` gives to Gymnasium's, is not yet ours."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo writes its log into the working directory."""
    monkeypatch.chdir(tmp_path)


def test_the_other_files_check_what_is_left_to_them() -> None:
    for file, names in ELSEWHERE.items():
        text = Path(__file__).with_name(f"{file}.py").read_text()
        assert re.search(r" check_env\(", text), f"{file} checks nothing"
        for name in names:
            assert f"rlteach/{name}-v0" in IDS and name.removesuffix("Dynamics") in text, name


@pytest.mark.parametrize("env_id", HERE, ids=named)
def test_no_check_of_ours_or_of_others_finds_anything(env_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "COMPARED_STEPS", 10)
    made(env_id).close()  # or it is skipped
    findings = checks.check_env(env_id)
    assert [finding.name for finding in findings] == ["build", *checks.CHECKS]
    assert [finding for finding in findings if finding.ok is False] == []


@pytest.mark.parametrize("env_id", WRAPPED, ids=named)
def test_gymnasium_and_stable_baselines3_are_content_with_what_is_wrapped(env_id: str) -> None:
    env = made(env_id)
    while isinstance(env, gym.wrappers.TimeLimit | gym.wrappers.OrderEnforcing):
        env = env.env
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is different from the unwrapped version")
        warnings.filterwarnings("ignore", ".*A Box observation space m(in|ax)imum value is -?infinity")
        gymnasium_check_env(env, skip_render_check=True)
        sb3_check_env(env)
    env.close()


NOT_COMPILED: dict[str, dict[str, Any]] = {"rlteach/Quadrotor-v0": {"backend": "numpy"}}
"""Arguments for environments that need not compile anything for a picture."""

DRAWN = [i for i in IDS if "CarRacing" not in i]
"""All but those that compile for many seconds, whose pictures are looked at in test_car_racing."""


@pytest.mark.parametrize("env_id", DRAWN, ids=named)
def test_a_picture_shows_something(env_id: str) -> None:
    assert "pictures" in rlteach_envs.OFFERS[env_id]
    env = made(env_id, render_mode="rgb_array", **NOT_COMPILED.get(env_id, {}))
    env.reset(seed=0)
    env.action_space.seed(0)
    env.step(env.action_space.sample())
    try:
        picture: Any = env.render()
    except gym.error.DependencyNotInstalled as error:
        pytest.skip(str(error))
    assert isinstance(picture, np.ndarray) and picture.dtype == np.uint8
    assert picture.ndim == 3 and picture.shape[2] == 3 and min(picture.shape) > 2
    assert (picture != picture[0, 0]).any(), "all of one colour"
    env.close()
