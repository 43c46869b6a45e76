"""The dynamics of MuJoCo environments as tasks: as if the model had been compiled that way, and undone bit by bit."""

import importlib.util
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import rlteach_envs  # noqa: F401 - registers the ids
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

import rlteach
from rlteach.errors import InvalidValue
from rlteach.snapshots.mujoco_state import MujocoState
from rlteach.snapshots.restorable import capture, restorable, restore
from rlteach.snapshots.verify import verify
from rlteach.teachers.uniform import Uniform
from rlteach.testing.envs import check_env

if any(importlib.util.find_spec(module) is None for module in ("mujoco", "imageio")):
    pytest.skip("needs MuJoCo: pip install rlteach[mujoco]", allow_module_level=True)

import mujoco
from rlteach_envs.mujoco_dynamics import AIR_DENSITY, PARAMETERS, MujocoDynamics

REGISTERED = ("Hopper", "HalfCheetah", "Walker2d", "Ant")
ROBOTS = (*REGISTERED, "Humanoid", "Swimmer", "InvertedDoublePendulum")
ALL = (*ROBOTS, "Reacher", "Pusher")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo writes its log into the working directory."""
    monkeypatch.chdir(tmp_path)


pytestmark = pytest.mark.filterwarnings("ignore:.*settotalmass")


def make(name: str, **kwargs: Any) -> MujocoDynamics:
    return MujocoDynamics(gym.make(f"{name}-v5"), **kwargs)


@cache
def kept(name: str, *parameters: str) -> MujocoDynamics:
    """Return an environment that tests share."""
    return make(name, parameters=parameters or None)


def bare(env: Any) -> Any:
    return env.unwrapped


def content(model: Any) -> bytes:
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer.tobytes()


def rollout(env: Any, steps: int, seed: int, **options: Any) -> list[Any]:
    observation = env.reset(seed=seed, **options)[0]
    trace = [observation]
    env.action_space.seed(seed)
    for _ in range(steps):
        trace += env.step(env.action_space.sample())[:4]
        if trace[-1] or trace[-2]:
            break
    return trace


def play(env: Any, steps: int, seed: int = 0) -> None:
    env.action_space.seed(seed)
    for _ in range(steps):
        env.step(env.action_space.sample())


# -- nothing changes by itself -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_the_nominal_task_is_the_original_environment_whatever_was_set_before(name: str) -> None:
    env, known = make(name), gym.make(f"{name}-v5")
    rng = np.random.default_rng(0)
    for _ in range(5):
        env.reset(options={"task": env.oracle_window(1.0, rng)})
        play(env, 3)
        assert content(bare(env).model) != content(bare(known).model)
    for one, other in zip(rollout(env, 40, 3, options={"task": env.nominal_task}), rollout(known, 40, 3), strict=True):
        assert np.array_equal(one["policy"] if isinstance(one, dict) else one, other)
    assert content(bare(env).model) == content(bare(known).model) == content(env.nominal_model)
    assert np.array_equal(bare(env).init_qpos, bare(known).init_qpos)


def test_setting_the_task_that_is_set_disturbs_nothing() -> None:
    task = {name: np.array(1.1) for name in PARAMETERS}
    first, second = make("Ant"), make("Ant")
    for env in (first, second):
        env.reset(seed=1, options={"task": task})
    for i in range(20):
        action = first.action_space.sample()
        one, other = first.step(action), second.step(action)
        assert np.array_equal(one[0]["policy"], other[0]["policy"]) and one[1] == other[1]
        if i == 10:
            assert np.array_equal(second.set_task(task)[0]["policy"], other[0]["policy"])


# -- against a model that was compiled with the change ---------------------------------------------------------------


def compiled(env: MujocoDynamics, size: float = 1.0, mass: float = 1.0) -> Any:
    """Return the model of which all lengths of the body, and all densities, were multiplied before compiling."""
    spec = mujoco.MjSpec.from_file(bare(env).fullpath)
    for body in spec.bodies:
        if body.name == "world":
            continue
        stands = body.parent.name == "world"
        body.pos = body.pos * ([1.0, 1.0, size] if stands else size)
        for geom in body.geoms:
            geom.pos, geom.size, geom.fromto = geom.pos * size, geom.size * size, geom.fromto * size
            geom.density, geom.mass = geom.density * mass, geom.mass * mass * size**3
        for site in body.sites:
            site.pos, site.size = site.pos * size, site.size * size
        for joint in body.joints:
            joint.pos = joint.pos * size
            if joint.type == mujoco.mjtJoint.mjJNT_SLIDE and stands and joint.axis[2]:
                joint.ref *= size
    if spec.compiler.settotalmass > 0:
        spec.compiler.settotalmass *= mass * size**3
    return spec.compile()


def differing(one: Any, other: Any) -> list[str]:
    """Return which arrays of two models differ by more than rounding; those that MuJoCo derives are among them."""
    names = [name for name in dir(one) if isinstance(getattr(one, name), np.ndarray) and name != "key_qpos"]
    assert {"body_subtreemass", "dof_invweight0", "body_invweight0", "dof_M0", "bvh_aabb", "actuator_acc0"} < set(names)
    pairs = [(name, getattr(one, name), getattr(other, name)) for name in names]
    return [name for name, a, b in pairs if not np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True)]


@pytest.mark.parametrize("name", ROBOTS)
@pytest.mark.parametrize(("size", "mass"), [(1.2, 1.0), (0.85, 1.7)])
def test_size_and_mass_are_those_of_a_compiled_model(name: str, size: float, mass: float) -> None:
    env = make(name, parameters=["size", "mass"])
    env.reset(options={"task": {"size": 1.1, "mass": 0.6}})
    env.reset(options={"task": {"size": size, "mass": mass}})
    model, other = bare(env).model, compiled(env, size, mass)
    assert differing(model, other) == []
    assert model.stat.meaninertia == pytest.approx(other.stat.meaninertia)
    unchanged = differing(model, env.nominal_model)
    assert {"body_mass", "geom_size", "dof_invweight0", "body_subtreemass"} < set(unchanged)


@pytest.mark.parametrize("name", ["Hopper", "HalfCheetah", "Ant"])
def test_episodes_are_those_of_a_compiled_model(name: str) -> None:
    env = make(name, parameters=["size", "mass", "gravity", "friction", "motor_gain", "damping", "wind"])
    task = {"size": 1.15, "mass": 0.8, "gravity": 0.7, "friction": 0.5, "motor_gain": 1.3, "damping": 2.0, "wind": 4.0}
    env.reset(seed=0, options={"task": task})
    model = compiled(env, 1.15, 0.8)
    model.opt.gravity[2] *= 0.7
    model.geom_friction *= 0.5
    model.actuator_gear *= 1.3  # another way to the same forces
    model.dof_damping *= 2.0
    model.opt.wind[0], model.opt.density = 4.0, AIR_DENSITY
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = bare(env).data.qpos, bare(env).data.qvel
    for _ in range(25):
        action = env.action_space.sample()
        env.step(action)
        data.ctrl[:] = action
        mujoco.mj_step(model, data, nstep=bare(env).frame_skip)
        assert data.qpos == pytest.approx(bare(env).data.qpos, abs=1e-7)


# -- what each parameter does ----------------------------------------------------------------------------------------


def falling(env: MujocoDynamics, **task: float) -> Any:
    """Return the data of the robot high above the ground, at rest."""
    env.reset(seed=0, options={"task": task})
    data = bare(env).data
    data.qpos[:], data.qvel[:] = bare(env).init_qpos, 0.0
    data.qpos[env._vertical] += 10.0
    mujoco.mj_forward(bare(env).model, data)
    return data


@given(st.floats(0.5, 1.5))
@settings(max_examples=10, deadline=None)
def test_gravity_decides_how_fast_it_falls(factor: float) -> None:
    assert falling(kept("Hopper", "gravity"), gravity=factor).qacc[1] == pytest.approx(-9.81 * factor)


@given(st.floats(-5.0, 5.0))
@settings(max_examples=10, deadline=None)
def test_wind_pushes_with_the_square_of_its_speed(speed: float) -> None:
    push, gale = (falling(kept("Hopper", "wind"), wind=wind).qfrc_passive[0] for wind in (speed, 5.0))
    assert gale > 1.0 and push == pytest.approx(gale * speed * abs(speed) / 25, abs=1e-9)
    assert bare(kept("Hopper", "wind")).model.opt.density == AIR_DENSITY


def test_water_flows_where_there_is_water() -> None:
    env = make("Swimmer", parameters=["wind"])
    env.reset(options={"task": {"wind": 0.5}})
    assert bare(env).model.opt.density == 4000.0 and bare(env).model.opt.wind.tolist() == [0.5, 0.0, 0.0]
    for _ in range(50):
        env.step(np.zeros(2))
    assert 0.1 < bare(env).data.qvel[0] < 0.6


def test_motors_and_damping_multiply_their_forces() -> None:
    env = make("HalfCheetah", parameters=["motor_gain", "damping"])
    forces = []
    for gain, damping in ((1.0, 1.0), (1.25, 3.0)):
        data = falling(env, motor_gain=gain, damping=damping)
        data.ctrl[:], data.qvel[:] = 0.5, 1.0
        mujoco.mj_forward(bare(env).model, data)
        forces.append((data.qfrc_actuator.copy(), data.qfrc_damper.copy()))
    assert np.abs(forces[0][0]).max() > 10 and np.abs(forces[0][1]).max() > 3
    assert forces[1][0] == pytest.approx(1.25 * forces[0][0]) and forces[1][1] == pytest.approx(3 * forces[0][1])


def test_friction_is_that_of_the_contacts() -> None:
    env = make("Hopper", parameters=["friction"])
    for factor in (0.5, 2.0):
        env.reset(options={"task": {"friction": factor}})
        bare(env).data.qpos[1] -= 0.05
        mujoco.mj_forward(bare(env).model, bare(env).data)
        contacts, foot = bare(env).data.contact, bare(env).model.geom("foot_geom").id
        touching = contacts.friction[(contacts.geom == foot).any(axis=1), 0]
        assert len(touching) and touching == pytest.approx(2.0 * factor)


@pytest.mark.parametrize("name", REGISTERED)
@pytest.mark.parametrize("size", [0.8, 1.25])
def test_every_size_stands_on_the_ground_and_is_healthy(name: str, size: float) -> None:
    env = make(name, parameters=["size"])
    env.reset(seed=0, options={"task": {"size": size}})
    assert not env.step(np.zeros(env.action_space.shape or ()))[2]
    known = gym.make(f"{name}-v5")
    known.reset(seed=0)
    points = [lowest_point(one, bare(one).init_qpos) for one in (env, known)]
    assert points[0] == pytest.approx(size * points[1])


def lowest_point(env: Any, place: Any) -> float:
    """Return the height of the lowest point of the robot's capsules and spheres, in m."""
    model, data = bare(env).model, bare(env).data
    data.qpos[:] = place
    mujoco.mj_forward(model, data)
    half = np.where(model.geom_type == mujoco.mjtGeom.mjGEOM_CAPSULE, model.geom_size[:, 1], 0.0)
    return float((data.geom_xpos[:, 2] - half * np.abs(data.geom_xmat[:, 8]) - model.geom_size[:, 0])[1:].min())


def test_a_body_grows_from_the_ground_up_in_the_middle_of_an_episode() -> None:
    env = make("Walker2d", parameters=["size", "mass"])
    env.reset(seed=0, options={"task": {"size": 1.0, "mass": 1.0}})
    play(env, 8)
    place = bare(env).data.qpos.copy()
    before = lowest_point(env, place)
    observation, info = env.set_task({"size": 1.2, "mass": 0.7})
    after = bare(env).data.qpos
    assert after[1] == pytest.approx(1.2 * place[1]) and np.array_equal(np.delete(after, 1), np.delete(place, 1))
    assert lowest_point(env, after) == pytest.approx(1.2 * before)
    assert observation["policy"][0] == after[1] and info == {}
    assert observation["privileged"] == pytest.approx([2 * 0.4 / 0.45 - 1, 2 * 0.2 / 1.5 - 1])
    assert differing(bare(env).model, compiled(env, 1.2, 0.7)) == []
    env.set_task({"size": 1.0, "mass": 1.0})
    assert content(bare(env).model) == content(env.nominal_model) and bare(env)._healthy_z_range == (0.8, 2.0)


# -- snapshots ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*ROBOTS, "Reacher"])
def test_snapshots_are_exact_and_bring_the_task_back(name: str) -> None:
    env = restorable(make(name))
    assert isinstance(env, MujocoState) and verify(env, n=3, actions=20).exact
    task = env.get_wrapper_attr("oracle_window")(1.0, np.random.default_rng(1))
    env.reset(seed=1, options={"task": task})
    play(env, 7)
    data, model = capture(env), content(bare(env).model)
    onwards = [env.step(np.full(env.action_space.shape or (), 0.3))[:3] for _ in range(10)]
    other = restorable(make(name))
    for again in (env, other):
        again.reset(seed=2)
        play(again, 3, seed=5)
        observation, _ = restore(again, data)
        assert content(bare(again).model) == model
        low, high = env.get_wrapper_attr("_low"), env.get_wrapper_attr("_high")
        values = np.array([float(task[key]) for key in env.get_wrapper_attr("_tasks").names])
        assert observation["privileged"] == pytest.approx(2 * (values - low) / (high - low) - 1, abs=1e-6)
        for step in onwards:
            one = again.step(np.full(env.action_space.shape or (), 0.3))
            assert np.array_equal(one[0]["policy"], step[0]["policy"]) and one[1:3] == step[1:]
        again.reset(options={"task": again.get_wrapper_attr("nominal_task")})
        assert content(bare(again).model) == content(again.get_wrapper_attr("nominal_model"))


ELSEWHERE = """
import sys, gymnasium as gym, numpy as np, rlteach_envs
from rlteach_envs.mujoco_dynamics import MujocoDynamics
from rlteach.snapshots.restorable import restorable, restore
for name in sys.argv[1:]:
    env = restorable(MujocoDynamics(gym.make(f"{name}-v5")))
    restore(env, open(f"{name}.snapshot", "rb").read())
    steps = [env.step(np.full(env.action_space.shape, 0.2)) for _ in range(20)]
    seen, rewards = [step[0] for step in steps], [step[1] for step in steps]
    np.savez(name, observation=[o["policy"] for o in seen], hidden=seen[0]["privileged"], reward=rewards)
"""


def test_another_process_continues_bit_by_bit() -> None:
    names, expected = ("Hopper", "Ant", "Humanoid"), {}
    for name in names:
        env = restorable(make(name))
        env.reset(seed=4)
        play(env, 6)
        Path(f"{name}.snapshot").write_bytes(capture(env))
        expected[name] = [env.step(np.full(env.action_space.shape or (), 0.2)) for _ in range(20)]
    subprocess.run([sys.executable, "-c", ELSEWHERE, *names], check=True)
    for name, steps in expected.items():
        with np.load(f"{name}.npz") as found:
            assert np.array_equal(found["observation"], [step[0]["policy"] for step in steps])
            assert np.array_equal(found["reward"], [step[1] for step in steps])
            assert np.array_equal(found["hidden"], steps[0][0]["privileged"])


def test_a_snapshot_of_other_parameters_or_ranges_is_refused() -> None:
    env = restorable(make("Hopper", parameters=["mass"]))
    env.reset(seed=0)
    data = capture(env)
    for parameters in (["gravity"], {"mass": (0.5, 1.5)}):
        with pytest.raises(InvalidValue, match=r"mass \[0.5, 2\]"):
            restore(restorable(make("Hopper", parameters=parameters)), data)


# -- tasks, groups and errors ----------------------------------------------------------------------------------------


def test_groups_names_and_spaces_describe_the_observation() -> None:
    env = make("Hopper")
    assert list(env.observation_space.spaces) == ["policy", "privileged"]  # type: ignore[attr-defined]
    assert env.observation_groups == {"policy": ("policy",), "privileged": ("privileged",)}
    names = env.observation_names
    assert names["policy"][:2] == ("rootz", "rooty") and names["policy"][5:7] == ("rootx_dot", "rootz_dot")
    assert set(names["privileged"]) == set(PARAMETERS) == set(env.task_space.spaces)
    assert env.task_units["wind"] == "m/s"
    low = {name: part.low for name, part in env.task_space.spaces.items()}
    assert env.reset(options={"task": low})[0]["privileged"].tolist() == [-1.0] * 7
    observation = env.reset(seed=0)[0]
    assert observation in env.observation_space and observation["privileged"].dtype == np.float32
    assert np.array_equal(observation["policy"], np.append(bare(env).data.qpos[1:], bare(env).data.qvel))
    assert make("Ant").observation_names["policy"][:2] == ("root_z", "root_qw")
    for name in ALL:
        env = make(name)
        assert len(env.observation_names["policy"]) == env.observation_space["policy"].shape[0]  # type: ignore[index]


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_random_tasks_give_finite_observations_inside_their_spaces(seed: int) -> None:
    env = kept(REGISTERED[seed % len(REGISTERED)])
    for item in rollout(env, 25, seed):
        if isinstance(item, dict):
            assert item in env.observation_space and np.isfinite(item["policy"]).all()
        else:
            assert np.isfinite(item)
    assert not any(warning.number for warning in bare(env).data.warning)


def test_without_a_task_it_is_drawn_from_the_seed_and_independent_of_the_start() -> None:
    env = kept("Hopper")
    drawn = [env.reset(seed=seed)[0] for seed in range(200)]
    hidden = np.array([observation["privileged"] for observation in drawn])
    assert np.abs(hidden.mean(axis=0)).max() < 0.16 and hidden.min() > -1 and hidden.max() < 1
    start = np.array([observation["policy"][1:4] for observation in drawn])
    assert np.abs(np.corrcoef(hidden.T, start.T)[:7, 7:]).max() < 0.25
    assert np.array_equal(env.reset(seed=7)[0]["privileged"], hidden[7])
    assert not np.array_equal(env.reset()[0]["privileged"], env.reset()[0]["privileged"])


def test_test_sets_and_the_hand_made_order_stay_in_the_space() -> None:
    env = kept("Walker2d")
    sets = env.test_sets
    assert {name: len(tasks) for name, tasks in sets.items()} == {"uniform": 100, "axes": 35, "corners": 128}
    assert all(env.task_space.contains(task) for tasks in sets.values() for task in tasks)
    assert all(sum(float(t[n]) != float(env.nominal_task[n]) for n in t) <= 1 for t in sets["axes"])
    rng = np.random.default_rng(0)
    for progress, share in ((0.0, 0.2), (0.5, 0.5), (1.0, 1.0)):
        masses = [float(env.oracle_window(progress, rng)["mass"]) for _ in range(300)]
        assert min(masses) == pytest.approx(1 - 0.5 * share, abs=0.02)
        assert max(masses) == pytest.approx(1 + share, abs=0.02)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mass": np.array(2.1)}, r"mass = 2.1 lies outside \[0.5, 2\]"),
        ({"wind": np.array(np.nan)}, r"wind = nan lies outside \[-5, 5\]"),
        ({"gravity": "much"}, "gravity = 'much' is not a number"),
        ({"windy": np.array(1.0)}, "unknown task parameter 'windy': did you mean 'wind'"),
    ],
)
def test_a_task_outside_is_refused_by_name_and_range(change: dict[str, Any], says: str) -> None:
    env = kept("Hopper")
    env.reset(seed=0)
    for way in (lambda task: env.reset(options={"task": task}), env.set_task):
        with pytest.raises(ValueError, match=says):
            way(env.nominal_task | change)
    assert env.step(np.zeros(3))[0] in env.observation_space


def test_environments_and_parameters_that_do_not_suit_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"size cannot be changed here: the model has 2 separate bodies \(body0, target"
    ):
        make("Reacher", parameters=["size"])
    with pytest.raises(ValueError, match="unknown parameter 'masses': did you mean 'mass'"):
        make("Hopper", parameters=["masses"])
    with pytest.raises(ValueError, match=r"mass: \(0, 2\) must rise and lie inside \[0.01, 100\]"):
        make("Hopper", parameters={"mass": (0.0, 2.0)})
    with pytest.raises(ValueError, match=r"MuJoCo's model and data, which .*CartPole"):
        MujocoDynamics(gym.make("CartPole-v1"))
    with pytest.raises(ValueError, match="needs a Box observation, not Dict"):
        MujocoDynamics(make("Hopper"))
    with pytest.raises(gym.error.ResetNeeded, match="reset"):
        make("Hopper").set_task({})


WITHOUT = """
import sys
sys.modules["mujoco"] = None
import gymnasium as gym, rlteach_envs
from rlteach_envs.egocentric import EgocentricView
from rlteach_envs.mujoco_dynamics import MujocoDynamics
ways = {
    "HopperDynamics": lambda: gym.make("rlteach/HopperDynamics-v0"),
    "TerrainWalker": lambda: gym.make("rlteach/TerrainWalker-v0"),
    "MujocoDynamics": lambda: MujocoDynamics(gym.make("CartPole-v1")),
    "EgocentricView": lambda: EgocentricView(gym.make("CartPole-v1")),
}
for name, make in ways.items():
    try:
        make()
    except gym.error.DependencyNotInstalled as error:
        assert str(error) == f"{name} needs MuJoCo: pip install rlteach[mujoco]", error
    else:
        raise AssertionError(name)
"""


def test_without_mujoco_the_message_says_what_to_install() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT], check=True)


# -- the registered ids ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REGISTERED)
def test_no_finding_of_our_own_checks_fails(name: str) -> None:
    findings = check_env(f"rlteach/{name}Dynamics-v0")
    assert [finding for finding in findings if finding.ok is False] == []
    assert {finding.name for finding in findings if finding.ok is None} == {"return range", "snapshots"}
    detail = next(finding.detail for finding in findings if finding.name == "task honoured")
    assert "no effect" not in detail or detail.endswith("damping")  # too small in Ant's random steps to be seen
    spec = gym.spec(f"rlteach/{name}Dynamics-v0")
    assert spec.max_episode_steps == 1000


def test_arguments_reach_the_environment_and_the_wrapper() -> None:
    env = gym.make("rlteach/HopperDynamics-v0", parameters={"mass": (0.9, 1.1)}, ctrl_cost_weight=0.5)
    assert list(env.get_wrapper_attr("task_space")) == ["mass"] and bare(env)._ctrl_cost_weight == 0.5
    assert isinstance(env.observation_space["privileged"], spaces.Box)  # type: ignore[index]


@pytest.mark.parametrize("name", REGISTERED)
def test_success_is_having_come_as_far_as_the_goal(name: str) -> None:
    env = gym.make(f"rlteach/{name}Dynamics-v0", goal=3.0)
    env.reset(seed=0)
    told = {}
    for place in (2.5, 3.5):
        bare(env).data.qpos[0] = place
        told[place] = env.step(np.zeros(env.action_space.shape))[4]["is_success"]  # type: ignore[arg-type]
    assert told == {2.5: False, 3.5: True}
    usual = gym.make(f"rlteach/{name}Dynamics-v0")
    usual.reset(seed=0)
    bare(usual).data.qpos[0] = 50.0
    assert usual.step(np.zeros(env.action_space.shape))[4]["is_success"] is (name in ("Hopper", "Walker2d"))


def test_robots_without_a_goal_have_no_success() -> None:
    env = make("Hopper")
    env.reset(seed=0)
    assert "is_success" not in env.step(np.zeros(3))[4]
    for name, goal in (("Hopper", 0.0), ("Hopper", float("nan")), ("Reacher", 1.0)):
        with pytest.raises(ValueError, match=r"goal = .* must be a distance"):
            make(name, goal=goal)


def test_a_teacher_chooses_the_dynamics() -> None:
    base = rlteach.make_vec_env("rlteach/HopperDynamics-v0", 2, seed=0)
    venv = rlteach.attach(base, Uniform(base.get_attr("task_space")[0], seed=0))
    observations: Any = venv.reset()
    column = base.get_attr("observation_names")[0]["privileged"].index("wind")
    for _ in range(60):
        lessons: Any = venv._lessons
        winds = [float(lesson.task["wind"]) / 5 for lesson in lessons]
        assert observations["privileged"][:, column] == pytest.approx(winds, abs=1e-6)
        observations, *_ = venv.step(np.zeros((2, 3), np.float32))
    venv.close()
