"""Masked Hopper and LunarLander: the original environments, with groups; and the wrapper that states groups."""

import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import rlteach_envs  # noqa: F401 - registers the ids
from rlteach_envs.masked import Grouped

import rlteach
from rlteach.teachers.uniform import Uniform
from rlteach.testing.envs import check_env


def missing(*modules: str) -> bool:
    return any(importlib.util.find_spec(module) is None for module in modules)


needs_mujoco = pytest.mark.skipif(missing("mujoco", "imageio"), reason="needs MuJoCo: pip install rlteach[mujoco]")
needs_box2d = pytest.mark.skipif(missing("Box2D", "pygame"), reason="needs Box2D: pip install rlteach[box2d]")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo writes its log into the working directory."""
    monkeypatch.chdir(tmp_path)


def rollout(env: Any, steps: int, seed: int, **options: Any) -> list[Any]:
    trace = [env.reset(seed=seed, **options)[0]]
    env.action_space.seed(seed)
    for _ in range(steps):
        trace += env.step(env.action_space.sample())[:4]
        if trace[-1] or trace[-2]:
            break
    return trace


# -- groups over a flat observation ----------------------------------------------------------------------------------


def pendulum() -> gym.Env[Any, Any]:
    return gym.make("Pendulum-v1")


def test_groups_are_columns_and_carry_their_names_and_units() -> None:
    env = Grouped(pendulum(), [2], ("cos", "sin", "speed"), ("1", "1", "rad/s"))
    assert env.observation_groups == {"policy": (0, 1), "privileged": (2,)}
    assert env.observation_names == {"policy": ("cos", "sin"), "privileged": ("speed",)}
    assert env.observation_units == {"policy": ("1", "1"), "privileged": ("rad/s",)}
    for one, other in zip(rollout(env, 20, 0), rollout(pendulum(), 20, 0), strict=True):
        assert np.array_equal(one, other)
    assert env.observation_space == pendulum().observation_space


@pytest.mark.parametrize(
    ("hidden", "names", "says"),
    [
        ([], "abc", r"hidden = \[\]"),
        ([0, 1, 2], "abc", "not all"),
        ([3], "abc", "columns 0 to 2"),
        ([-1], "abc", "columns 0 to 2"),
        ([1, 1], "abc", "some, not all"),
        ([0], "ab", "2 names and 2 units do not describe"),
    ],
)
def test_wrong_groups_are_named(hidden: list[int], names: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Grouped(pendulum(), hidden, names, names)


# -- Hopper ------------------------------------------------------------------------------------------------------------


@needs_mujoco
def test_masked_hopper_is_hopper_with_its_velocities_hidden() -> None:
    env, known = gym.make("rlteach/MaskedHopper-v0"), gym.make("Hopper-v5")
    for seed in range(3):
        for one, other in zip(rollout(env, 60, seed), rollout(known, 60, seed), strict=True):
            assert np.array_equal(one, other)
    assert env.observation_space == known.observation_space
    groups = env.get_wrapper_attr("observation_groups")
    assert groups == {"policy": (0, 1, 2, 3, 4), "privileged": (5, 6, 7, 8, 9, 10)}
    observation, data = env.reset(seed=0)[0], env.unwrapped.data  # type: ignore[attr-defined]
    assert np.array_equal(observation[list(groups["policy"])], data.qpos[1:])
    assert np.array_equal(observation[list(groups["privileged"])], data.qvel)
    assert env.get_wrapper_attr("control_rate") == pytest.approx(1 / env.unwrapped.dt)  # type: ignore[attr-defined]
    assert env.spec is not None and env.spec.max_episode_steps == 1000
    env.close()


@needs_mujoco
def test_masked_hopper_tells_success_by_how_far_it_is() -> None:
    env = gym.make("rlteach/MaskedHopper-v0")
    env.reset(seed=0)
    bare: Any = env.unwrapped
    for x, reached in ((9.0, False), (10.5, True), (0.0, False)):
        place = bare.data.qpos.copy()
        place[0] = x
        bare.set_state(place, bare.data.qvel.copy())
        assert env.step(np.zeros(3, np.float32))[4]["is_success"] is reached
    env.close()


# -- LunarLander -------------------------------------------------------------------------------------------------------


@pytest.fixture
def lander() -> gym.Env[Any, Any]:
    with warnings.catch_warnings():
        # Box2D's own types lack a __module__; the environment itself imports it under the same filter.
        warnings.simplefilter("ignore", DeprecationWarning)
        return gym.make("rlteach/MaskedLunarLander-v0")


@needs_box2d
def test_masked_lander_is_the_lander_with_its_wind_told_and_hidden(lander: gym.Env[Any, Any]) -> None:
    task = {"wind_power": np.array(12.0), "turbulence_power": np.array(0.5)}
    known = gym.make("LunarLanderContinuous-v3", enable_wind=True, wind_power=12.0, turbulence_power=0.5)
    for seed in range(3):
        ours = rollout(lander, 80, seed, options={"task": task})
        theirs = rollout(known, 80, seed)
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            if isinstance(one, np.ndarray):
                assert one.dtype == np.float32 and lander.observation_space.shape == one.shape == (10,)
                assert one[8:].tolist() == pytest.approx([0.6, 0.25])
                assert np.array_equal(one[:8], other)
            else:
                assert one == other
    names = lander.get_wrapper_attr("observation_names")
    assert names["policy"] == ("x", "y", "angle", "left_contact", "right_contact")
    assert names["privileged"] == ("x_dot", "y_dot", "angle_dot", "wind_power", "turbulence_power")
    assert lander.get_wrapper_attr("observation_groups")["privileged"] == (2, 3, 5, 8, 9)


@needs_box2d
def test_without_a_task_the_wind_is_drawn_from_the_seed(lander: gym.Env[Any, Any]) -> None:
    winds = np.array([lander.reset(seed=seed)[0][8:] for seed in range(200)])
    assert (winds >= 0).all() and (winds <= 1).all() and np.abs(winds.mean(axis=0) - 0.5).max() < 0.08
    assert np.array_equal(winds[7], lander.reset(seed=7)[0][8:])
    assert not np.array_equal(lander.reset()[0][8:], lander.reset()[0][8:])


@needs_box2d
@pytest.mark.parametrize(("name", "value"), [("wind_power", 20.1), ("turbulence_power", -0.1), ("wind_power", np.nan)])
def test_a_wind_outside_is_refused(lander: gym.Env[Any, Any], name: str, value: float) -> None:
    task = {"wind_power": np.array(1.0), "turbulence_power": np.array(1.0), name: np.array(value)}
    with pytest.raises(ValueError, match=f"{name} = .* lies outside"):
        lander.reset(options={"task": task})


@needs_box2d
def test_success_is_coming_to_rest(lander: gym.Env[Any, Any]) -> None:
    from gymnasium.envs.box2d.lunar_lander import heuristic

    landed = []
    for seed in range(6):
        observation, _ = lander.reset(seed=seed, options={"task": lander.get_wrapper_attr("test_sets")["grid"][0]})
        over = False
        while not over:
            action = np.clip(heuristic(lander.unwrapped, observation[:8]), -1, 1).astype(np.float32)
            observation, reward, terminated, truncated, info = lander.step(action)
            over = terminated or truncated
            assert info["is_success"] == (over and reward == 100)
        landed.append(info["is_success"])
    assert sum(landed) >= 3
    lander.reset(seed=0)
    terminated = False
    while not terminated:  # with the engines off it falls
        _, reward, terminated, _, info = lander.step(np.array([-1.0, 0.0], np.float32))
    assert reward == -100 and info["is_success"] is False


@needs_box2d
def test_a_teacher_chooses_the_wind() -> None:
    base = rlteach.make_vec_env("rlteach/MaskedLunarLander-v0", 2, seed=0)
    venv = rlteach.attach(base, Uniform(base.get_attr("task_space")[0], seed=0))
    observations: Any = venv.reset()
    for _ in range(150):
        lessons: Any = venv._lessons
        powers = [float(lesson.task["wind_power"]) / 20 for lesson in lessons]
        assert observations[:, 8] == pytest.approx(powers, abs=1e-6)
        observations, *_ = venv.step(np.zeros((2, 2), np.float32))
    venv.close()


@needs_box2d
def test_the_order_of_winds_goes_from_calm_to_all() -> None:
    env = gym.make("rlteach/MaskedLunarLander-v0")
    window, rng = env.get_wrapper_attr("oracle_window"), np.random.default_rng(0)
    tops = [max(float(window(progress, rng)["wind_power"]) for _ in range(300)) for progress in (0.0, 0.5, 1.0)]
    assert tops == pytest.approx([4, 10, 20], rel=0.05)
    assert len(env.get_wrapper_attr("test_sets")["grid"]) == 36


# -- both --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "lacks"),
    [
        pytest.param("MaskedHopper", {"task space", "test sets", "oracle window"}, marks=needs_mujoco),
        pytest.param("MaskedLunarLander", set(), marks=needs_box2d),
    ],
)
def test_no_finding_of_our_own_checks_fails(name: str, lacks: set[str]) -> None:
    findings = check_env(f"rlteach/{name}-v0")
    assert [finding for finding in findings if finding.ok is False] == []
    absent = {finding.name for finding in findings if finding.ok is None}
    assert absent - {"task honoured", "task outside refused"} == lacks | {"return range", "snapshots"}
    env = gym.make(f"rlteach/{name}-v0")
    groups, columns = env.get_wrapper_attr("observation_groups"), env.observation_space.shape[0]  # type: ignore[index]
    assert sorted(groups["policy"] + groups["privileged"]) == list(range(columns))
    assert len(env.get_wrapper_attr("action_names")) == env.action_space.shape[0]  # type: ignore[index]
    env.close()


WITHOUT = """
import sys
sys.modules.update(mujoco=None, Box2D=None, numba=None)
import gymnasium as gym, rlteach_envs
from rlteach_envs.lidar import resolved
extras = {"MaskedHopper": "mujoco", "MaskedLunarLander": "box2d", "Parkour": "box2d", "UEDWalker": "box2d"}
ways = {
    f"{name} needs {'MuJoCo' if extra == 'mujoco' else 'Box2D'}: pip install rlteach[{extra}]":
    lambda name=name: gym.make(f"rlteach/{name}-v0")
    for name, extra in extras.items()
} | {"lidar='numba' needs numba: pip install rlteach[numba]": lambda: resolved("numba")}
for says, make in ways.items():
    try:
        make()
    except gym.error.DependencyNotInstalled as error:
        assert str(error) == says, error
    else:
        raise AssertionError(says)
assert resolved("auto") == "numpy"
"""


def test_without_an_extra_the_message_says_what_to_install() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT], check=True)
