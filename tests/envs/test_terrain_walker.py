"""Walker2d on uneven ground: the ground as it is asked for, overwritten in place, and seen by the expert alone."""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import rlteach_envs  # noqa: F401 - registers the ids
from hypothesis import given, settings
from hypothesis import strategies as st

from rlteach.snapshots.mujoco_state import MujocoState
from rlteach.snapshots.restorable import capture, restorable, restore
from rlteach.snapshots.verify import verify
from rlteach.testing.envs import check_env

if any(importlib.util.find_spec(module) is None for module in ("mujoco", "imageio")):
    pytest.skip("needs MuJoCo: pip install rlteach[mujoco]", allow_module_level=True)

import mujoco
from rlteach_envs.terrain_walker import (
    AHEAD,
    BEHIND,
    PAD,
    PLACES,
    SEEN,
    TREADS,
    TerrainWalker,
    make_heights,
    steps,
    value_noise,
)

FLAT = {"roughness": 0.0, "wavelength": 4.0, "slope": 0.0, "step_height": 0.0}
ROUGH = {"roughness": 0.3, "wavelength": 1.0, "slope": -0.15, "step_height": 0.2}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo writes its log into the working directory."""
    monkeypatch.chdir(tmp_path)


@cache
def walker() -> TerrainWalker:
    """Return the environment that tests share."""
    return TerrainWalker()


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# -- the ground --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.floats(0.5, 5.0))
@settings(max_examples=20, deadline=None)
def test_noise_joins_random_values_by_half_a_cosine(seed: int, wavelength: float) -> None:
    places = np.arange(0.0, 20.0, 0.1)
    found = value_noise(places, wavelength, generator(seed))
    knots = generator(seed).uniform(-1, 1, 200)
    for place, value in zip(places, found, strict=True):
        k, rest = divmod(place, wavelength / 2)
        a, b = knots[int(k)], knots[int(k) + 1]
        assert value == pytest.approx((a + b) / 2 + (a - b) / 2 * np.cos(2 * np.pi * rest / wavelength), abs=1e-6)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_steps_go_up_or_down_by_one_on_treads_of_the_stated_lengths(seed: int) -> None:
    places = np.arange(-2.0, 60.0, 0.001)
    levels = steps(places, generator(seed))
    changes = places[1:][np.diff(levels) != 0]
    assert set(np.diff(levels)) == {-1.0, 0.0, 1.0} and levels[0] == 0
    assert changes[0] == pytest.approx(PAD, abs=0.002) and changes[-1] > 60.0 - TREADS[1] - 0.002
    lengths = np.diff(changes)
    assert TREADS[0] - 0.002 < lengths.min() and lengths.max() < TREADS[1] + 0.002


def test_the_ground_is_the_sum_of_what_was_asked_for() -> None:
    ground = {name: make_heights(**(FLAT | {name: ROUGH[name]}), rng=generator()) for name in ROUGH}
    beyond = PLACES > PAD
    assert ground["slope"] == pytest.approx(np.where(beyond, -0.15 * (PLACES - PAD), 0.0))
    assert (ground["wavelength"] == 0).all()
    levels = ground["step_height"] / 0.2
    assert levels == pytest.approx(np.rint(levels)) and np.abs(np.diff(levels)).max() == pytest.approx(1)
    rough = make_heights(**(FLAT | {"roughness": 0.3, "wavelength": 1.0}), rng=generator())
    assert 0.2 < np.abs(rough).max() <= 0.3 and (rough[PLACES <= PAD] == 0).all()
    crossings = (np.diff(np.sign(rough[beyond])) != 0).sum() / (AHEAD - PAD)
    assert 0.4 < crossings < 2.0  # two random values a metre, half of the neighbours of other sign
    parts = rough + ground["slope"] + ground["step_height"]
    assert make_heights(**ROUGH, rng=generator()) == pytest.approx(parts)


def ray(env: TerrainWalker, place: float) -> float:
    """Return the height that MuJoCo finds by looking straight down beside the walker."""
    geom = np.zeros(1, np.int32)
    start, down = np.array([place, 1.0, 30.0]), np.array([0.0, 0.0, -1.0])
    distance = mujoco.mj_ray(env.model, env.data, start, down, None, 1, -1, geom, None)
    assert env.model.geom(int(geom[0])).name == "terrain"
    return float(30.0 - distance)


def test_mujoco_has_the_ground_that_the_expert_sees_and_nothing_was_compiled_again() -> None:
    env = walker()
    model = env.model
    for seed, task in enumerate((ROUGH, FLAT, ROUGH)):
        observation, _ = env.reset(seed=seed, options={"task": task})
        assert env.model is model
        for place in np.linspace(BEHIND + 0.5, AHEAD - 0.5, 40):
            assert ray(env, place) == pytest.approx(env._ground(place), abs=1e-4)
        env.set_state(np.r_[5.03, env.data.qpos[1:]], env.data.qvel)
        below = [env.data.qpos[1] - 1.25 - ray(env, 5.03 + ahead) for ahead in SEEN]
        assert env._get_obs()["privileged"][: len(SEEN)] == pytest.approx(below, abs=1e-4)
        assert np.abs(observation["privileged"][:3]).max() < 0.02  # near the start it is flat


def test_the_walker_is_gymnasiums() -> None:
    env, known = walker(), gym.make("Walker2d-v5").unwrapped
    ours, theirs = env.model, known.model  # type: ignore[attr-defined]
    names = [{model.geom(i).name for i in range(model.ngeom)} for model in (ours, theirs)]
    assert names[0] - {"terrain"} == names[1] - {"floor"} and len(names[0]) == theirs.ngeom
    for name in ("body_mass", "body_inertia", "jnt_pos", "dof_damping", "actuator_gear", "qpos0", "dof_invweight0"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-12)
    assert np.array_equal(ours.geom("terrain").friction, theirs.geom("floor").friction)
    assert env.action_space == known.action_space


def test_flat_ground_carries_like_a_plane() -> None:
    env, known = walker(), gym.make("Walker2d-v5")
    env.reset(seed=0, options={"task": FLAT})
    known.reset(seed=0)
    other: Any = known.unwrapped
    other.set_state(env.data.qpos.copy(), env.data.qvel.copy())
    for _ in range(12):
        one, two = env.step(np.zeros(6)), known.step(np.zeros(6))
        assert one[1] == pytest.approx(two[1], abs=0.1)
    assert env.data.qpos == pytest.approx(other.data.qpos, abs=0.02) and len(env.data.contact)


# -- episodes ----------------------------------------------------------------------------------------------------------


def test_ground_and_start_come_from_the_seed_whatever_the_task() -> None:
    env = walker()
    grounds = {}
    for seed in (1, 2, 1):
        env.reset(seed=seed, options={"task": ROUGH})
        if seed in grounds:
            assert np.array_equal(grounds[seed], env._heights)
        grounds[seed] = env._heights
    start = env.data.qpos.copy()
    assert not np.array_equal(grounds[1], grounds[2])
    env.reset(options={"task": ROUGH})
    assert not np.array_equal(grounds[1], env._heights)
    drawn = env.reset(seed=1)[0]["privileged"][len(SEEN) :]
    assert np.array_equal(start, env.data.qpos) and np.abs(drawn).max() < 1
    assert not np.array_equal(drawn, env.reset()[0]["privileged"][len(SEEN) :])


def test_the_student_sees_neither_place_nor_height_and_the_expert_the_parameters() -> None:
    env = walker()
    observation = env.reset(seed=0, options={"task": ROUGH})[0]
    order = env.observation_names["privileged"][len(SEEN) :]
    told = dict(zip(order, observation["privileged"][len(SEEN) :], strict=True))
    assert told == pytest.approx({"roughness": 1, "wavelength": -0.875, "slope": -0.75, "step_height": 1})
    env.set_state(env.data.qpos + np.r_[3.0, 0.5, np.zeros(7)], env.data.qvel)
    assert np.array_equal(env._get_obs()["policy"], observation["policy"])
    for group, columns in env.observation_groups.items():
        width = env.observation_space[columns[0]].shape[0]
        assert len(env.observation_names[group]) == len(env.observation_units[group]) == width
    assert env.action_names[0] == "thigh_joint"


def test_success_is_the_distance_and_the_track_has_ends() -> None:
    env = TerrainWalker(parameters=["slope"], goal=4.0)
    env.reset(seed=0, options={"task": {"slope": 0.2}})
    assert env.step(np.zeros(6))[4]["is_success"] is False

    def put(place: float) -> Any:
        z = 1.25 + env._ground(place)
        env.set_state(np.r_[place, z, np.zeros(7)], np.zeros(9))
        return env.step(np.zeros(6))

    assert put(3.9)[4]["is_success"] is False
    *_, terminated, _, info = put(4.1)
    assert info["is_success"] is True and terminated is False
    assert put(1.0)[4]["is_success"] is True  # it was reached
    assert put(AHEAD + 0.1)[2] is True and put(BEHIND - 0.1)[2] is True
    env.reset(seed=0)
    assert env.step(np.zeros(6))[4]["is_success"] is False


def test_healthy_is_measured_from_the_ground() -> None:
    env = walker()
    env.reset(seed=0, options={"task": FLAT | {"slope": 0.2}})
    for height, healthy in ((1.25, True), (0.75, False), (2.1, False)):
        env.set_state(np.r_[30.0, 0.2 * (30 - PAD) + height, np.zeros(7)], np.zeros(9))
        assert env.is_healthy is healthy


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_random_tasks_give_finite_observations_inside_their_spaces(seed: int) -> None:
    env = walker()
    observation = env.reset(seed=seed)[0]
    env.action_space.seed(seed)
    for _ in range(40):
        assert observation in env.observation_space and all(np.isfinite(part).all() for part in observation.values())
        observation, reward, terminated, *_ = env.step(env.action_space.sample())
        assert np.isfinite(reward)
        if terminated:
            break
    assert not any(warning.number for warning in env.data.warning)


# -- what it offers ----------------------------------------------------------------------------------------------------


def test_snapshots_are_exact_and_bring_the_ground_back() -> None:
    env = restorable(gym.make("rlteach/TerrainWalker-v0"))
    assert isinstance(env, MujocoState) and verify(env, n=4, actions=30).exact
    env.reset(seed=3, options={"task": ROUGH})
    bare: Any = env.unwrapped
    bare.set_state(np.r_[20.0, bare._ground(20.0) + 1.3, np.zeros(7)], np.zeros(9))
    env.step(np.zeros(6))
    data, field = capture(env), bare.model.hfield_data.copy()
    onwards = [env.step(np.full(6, 0.2)) for _ in range(15)]
    other = restorable(gym.make("rlteach/TerrainWalker-v0"))
    for again in (env, other):
        again.reset(seed=8)
        restore(again, data)
        assert np.array_equal(again.unwrapped.model.hfield_data, field)  # type: ignore[attr-defined]
        for step in onwards:
            one = again.step(np.full(6, 0.2))
            assert all(np.array_equal(one[0][key], step[0][key]) for key in step[0]) and one[1] == step[1]


def test_test_sets_and_the_hand_made_order_stay_in_the_space() -> None:
    env = walker()
    assert {name: len(tasks) for name, tasks in env.test_sets.items()} == {"uniform": 100, "axes": 20}
    assert all(env.task_space.contains(task) for tasks in env.test_sets.values() for task in tasks)
    rng = generator()
    for progress, roughness, slope, wavelength in ((0.0, 0.06, 0.04, 3.36), (1.0, 0.3, 0.2, 0.8)):
        drawn = [env.oracle_window(progress, rng) for _ in range(300)]
        assert max(float(task["roughness"]) for task in drawn) == pytest.approx(roughness, rel=0.03)
        assert max(abs(float(task["slope"])) for task in drawn) == pytest.approx(slope, rel=0.03)
        assert min(float(task["wavelength"]) for task in drawn) == pytest.approx(wavelength, rel=0.03)


def test_wrong_values_are_named_with_their_range() -> None:
    env = walker()
    with pytest.raises(ValueError, match=r"slope = 0.3 lies outside \[-0.2, 0.2\]"):
        env.reset(options={"task": FLAT | {"slope": 0.3}})
    with pytest.raises(ValueError, match="the task lacks step_height"):
        env.reset(options={"task": {name: FLAT[name] for name in ("roughness", "wavelength", "slope")}})
    with pytest.raises(ValueError, match="unknown parameter 'stepheight': did you mean 'step_height'"):
        TerrainWalker(parameters=["stepheight"])
    with pytest.raises(ValueError, match=r"goal = 61 must lie on the track"):
        TerrainWalker(goal=61)


def test_a_fixed_parameter_is_the_same_in_every_task() -> None:
    env = TerrainWalker(parameters=["roughness"], fixed={"slope": 0.1})
    env.reset(seed=0, options={"task": {"roughness": 0.0}})
    assert env._heights == pytest.approx(0.1 * np.maximum(PLACES - PAD, 0))


def test_no_finding_of_our_own_checks_fails() -> None:
    findings = check_env("rlteach/TerrainWalker-v0")
    assert [finding for finding in findings if finding.ok is False] == []
    assert {finding.name for finding in findings if finding.ok is None} == {"snapshots"}
    spec = gym.spec("rlteach/TerrainWalker-v0")
    assert spec.max_episode_steps == 1000
