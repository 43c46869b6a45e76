"""Quadrotor: airframes, equations and rewards against independent calculations, and what it promises as it plays."""

import copy
import json
import math
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from statistics import NormalDist
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import DependencyNotInstalled
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from rlteach_envs import quadrotor_physics as physics
from rlteach_envs.quadrotor import TASKS, Quadrotor, QuadrotorBatch, airframes, attitudes, size_factor
from scipy.integrate import solve_ivp
from scipy.spatial.transform import Rotation
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import rlteach
from rlteach.delivery import BatchVecEnv
from rlteach.observations import View
from rlteach.task_space import TaskSpace
from rlteach.teachers.uniform import Uniform
from rlteach.testing.envs import check_env

NAMES = list(TASKS)
MIDDLE = {name: (low + high) / 2 for name, (low, high, _) in TASKS.items()}


def vector(**changes: float) -> np.ndarray:
    return np.array([[{**MIDDLE, **changes}[name] for name in NAMES]])


def batched(tasks: list[Any]) -> dict[str, np.ndarray]:
    return {name: np.array([task[name] for task in tasks]) for name in NAMES}


def same_bits(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return list(a) == list(b) and all(same_bits(a[key], b[key]) for key in a)
    a, b = np.asarray(a), np.asarray(b)
    return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())


def numpy_batch(rows: int, **kwargs: Any) -> QuadrotorBatch:
    return QuadrotorBatch(rows, backend="numpy", **kwargs)


# -- airframes ---------------------------------------------------------------------------------------------------------


def derived_step_by_step(task: dict[str, float]) -> dict[str, Any]:
    """Scale the nominal airframe factor by factor, as the published code does."""
    mass, thrust, lever, jx = 0.0323, 0.00352526 + 0.01437313 + 0.09223048, 0.028, 9.416556729130406e-06
    nominal_ratio = 4 * thrust / (mass * 9.81)
    new_mass = task["cube_root_mass"] ** 3
    coefficients = task["thrust_to_weight"] / nominal_ratio * (new_mass / mass)
    torque = lever * math.sqrt(2) * task["thrust_to_weight"] * new_mass * 9.81 / 4
    torque_factor = task["torque_to_inertia"] / (torque / jx)
    deviation = NormalDist().inv_cdf(task["arm_quantile"]) * 0.1 - 0.1
    arm_factor = (new_mass / mass) ** (1 / 3) * (1 + deviation if deviation > 0 else 1 / (1 - deviation))
    surplus = task["disturbance"] * (task["thrust_to_weight"] - 1)
    return {
        "mass": new_mass,
        "full_thrust": coefficients * thrust,
        "middle_thrust": coefficients * (0.00352526 + 0.01437313 * 0.5 + 0.09223048 * 0.25),
        "lever": lever * arm_factor,
        "inertia": [j / (torque_factor / arm_factor) for j in (jx, 9.644051701582312e-06, 1.745951732253285e-05)],
        "force": surplus * task["thrust_to_weight"] * new_mass / 3,
    }


def test_airframes_are_derived_as_the_published_code_derives_them() -> None:
    tasks = QuadrotorBatch().test_sets["uniform"][:50]
    frames = airframes(np.array([[float(task[name]) for name in NAMES] for task in tasks]))
    for i, task in enumerate(tasks):
        expected = derived_step_by_step({name: float(value) for name, value in task.items()})
        curve = frames.curve[i]
        assert frames.mass[i] == pytest.approx(expected["mass"])
        assert curve.sum() == pytest.approx(expected["full_thrust"])
        assert curve @ [1, 0.5, 0.25] == pytest.approx(expected["middle_thrust"])
        assert frames.lever[i] == pytest.approx(expected["lever"])
        assert frames.inertia[i] == pytest.approx(expected["inertia"])
        assert frames.force[i] == pytest.approx(expected["force"])
        assert 4 * curve.sum() == pytest.approx(float(task["thrust_to_weight"]) * frames.mass[i] * 9.81)


def test_uniform_tasks_are_the_published_distribution() -> None:
    env = numpy_batch(3000)
    env.reset(seed=0)
    tasks = dict(zip(NAMES, env._tasks.T, strict=True))
    mass = tasks["cube_root_mass"] ** 3
    assert 0.02 <= mass.min() < 0.03 and 4.9 < mass.max() <= 5
    assert np.median(mass) == pytest.approx(((0.02 ** (1 / 3) + 5 ** (1 / 3)) / 2) ** 3, rel=0.05)
    factors = np.array([size_factor(q) for q in tasks["arm_quantile"]])
    deviations = np.where(factors >= 1, factors - 1, 1 - 1 / factors)
    assert deviations.mean() == pytest.approx(-0.1, abs=0.005) and deviations.std() == pytest.approx(0.1, abs=0.005)
    for name, low, high in (
        ("thrust_to_weight", 1.5, 5),
        ("torque_to_inertia", 40, 1200),
        ("torque_constant", 0.005, 0.05),
        ("rise_time", 0.03, 0.1),
        ("fall_time", 0.03, 0.3),
        ("disturbance", 0, 0.3),
    ):
        drawn = tasks[name]
        assert low <= drawn.min() and drawn.max() <= high
        assert drawn.mean() == pytest.approx((low + high) / 2, rel=0.03)
        assert drawn.std() == pytest.approx((high - low) / math.sqrt(12), rel=0.03)
    standard = env._pushes * (mass / airframes(env._tasks).force)[:, None]
    assert standard.mean(axis=0) == pytest.approx(0, abs=0.06) and standard.std(axis=0) == pytest.approx(1, abs=0.05)


# -- the equations -----------------------------------------------------------------------------------------------------


def flight(
    state: np.ndarray, frame: Any, command: np.ndarray, steps: int, push: np.ndarray | None = None
) -> np.ndarray:
    """Return the states (steps + 1, 17) of one quadrotor."""
    craft = physics.describe(*frame[:7], np.ones(1))[0]
    push = np.zeros(3) if push is None else push
    state, path, room = state.copy(), [state.copy()], np.empty((3, 17))
    for _ in range(steps):
        physics.integrate(physics.derivative, state, craft, push, command, *room)
        path.append(state.copy())
    return np.array(path)


def at_rest(**changes: Any) -> np.ndarray:
    state = np.zeros(17)
    state[3] = 1.0
    for first, values in changes.items():
        start = {"q": 3, "v": 7, "omega": 10, "rotors": 13}[first]
        state[start : start + len(values)] = values
    return state


def tilted(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x, y, z, w = Rotation.random(random_state=seed).as_quat()
    return at_rest(q=[w, x, y, z], v=rng.normal(size=3), omega=rng.normal(size=3) * 5, rotors=rng.random(4))


def without_thrust(frame: Any) -> Any:
    return frame._replace(curve=np.zeros((1, 3)))


def test_the_thrust_that_carries_the_weight_keeps_a_quadrotor_where_it_is() -> None:
    frame = airframes(vector())
    c0, c1, c2 = frame.curve[0]
    u = (-c1 + math.sqrt(c1**2 - 4 * c2 * (c0 - frame.mass[0] * 9.81 / 4))) / (2 * c2)
    path = flight(at_rest(rotors=[u] * 4), frame, np.full(4, u), 500)
    assert np.abs(path - path[0]).max() < 1e-9
    assert flight(at_rest(rotors=[u] * 4), frame, np.full(4, u * 1.01), 500)[-1, 2] > 0.1


def test_without_thrust_it_falls_as_a_stone_however_it_tumbles() -> None:
    start, push, t = tilted(), np.array([0.3, -0.2, 0.1]), 1.0
    end = flight(start, without_thrust(airframes(vector())), np.zeros(4), 100, push)[-1]
    acceleration = push - [0, 0, 9.81]
    assert end[:3] == pytest.approx(start[7:10] * t + acceleration * t**2 / 2, abs=1e-9)
    assert end[7:10] == pytest.approx(start[7:10] + acceleration * t, abs=1e-9)


def test_without_torque_angular_momentum_and_energy_stay_and_the_quaternion_stays_a_unit() -> None:
    frame = without_thrust(airframes(vector()))
    path = flight(tilted(1), frame, np.zeros(4), 500)
    turned = Rotation.from_quat(path[:, [4, 5, 6, 3]])
    momentum = turned.apply(path[:, 10:13] * frame.inertia[0])
    energy = (path[:, 10:13] ** 2 * frame.inertia[0]).sum(axis=1)
    assert np.abs(momentum - momentum[0]).max() < 1e-4 * np.linalg.norm(momentum[0])
    assert energy == pytest.approx(energy[0], rel=1e-5)
    assert np.abs(np.linalg.norm(path[:, 3:7], axis=1) - 1).max() < 1e-12
    assert np.ptp(path[:, 10:13], axis=0).max() > 0.5, "a body of three moments of inertia does tumble"


def test_a_turn_about_a_principal_axis_has_the_angle_of_rate_times_time() -> None:
    path = flight(at_rest(omega=[0, 0, 2.0]), without_thrust(airframes(vector())), np.zeros(4), 100)
    assert 2 * math.atan2(path[-1, 6], path[-1, 3]) == pytest.approx(2.0, abs=1e-8)


@pytest.mark.parametrize(("start", "command", "tau"), [(0.0, 1.0, "rise_time"), (1.0, 0.0, "fall_time")])
def test_rotors_follow_with_their_time_constants(start: float, command: float, tau: str) -> None:
    frame = airframes(vector(rise_time=0.05, fall_time=0.2))
    steps = 5 if tau == "rise_time" else 20
    path = flight(at_rest(rotors=[start] * 4), frame, np.full(4, command), steps)
    assert path[-1, 13:] == pytest.approx(command + (start - command) / math.e, abs=1e-4)


@pytest.mark.parametrize(
    ("faster", "axis", "sign"),
    [((2, 3), 0, 1), ((0, 1), 0, -1), ((1, 2), 1, 1), ((0, 3), 1, -1), ((1, 3), 2, 1), ((0, 2), 2, -1)],
)
def test_pairs_of_rotors_turn_it_about_the_right_axis(faster: tuple[int, int], axis: int, sign: int) -> None:
    """Left lifts: +x; back lifts: +y; back right and front left: +z."""
    rotors = np.full(4, 0.5)
    rotors[list(faster)] = 0.8
    frame, out = airframes(vector()), np.empty(17)
    craft = physics.describe(*frame[:7], np.ones(1))[0]
    physics.derivative(at_rest(rotors=rotors), craft, np.zeros(3), rotors, out)
    thrust = frame.curve[0] @ [[1, 1], [0.5, 0.8], [0.25, 0.64]]
    arm = frame.torque_constant[0] if axis == 2 else frame.lever[0]
    expected = np.zeros(3)
    expected[axis] = sign * 2 * arm * (thrust[1] - thrust[0]) / frame.inertia[0, axis]
    assert out[10:13] == pytest.approx(expected)
    assert out[9] == pytest.approx(2 * thrust.sum() / frame.mass[0] - 9.81)
    assert out[7] == out[8] == 0


@pytest.mark.parametrize("seed", range(4))
def test_a_step_agrees_with_a_much_finer_integration_of_rotation_matrices(seed: int) -> None:
    frame = airframes(vector(torque_to_inertia=300.0))
    rng = np.random.default_rng(seed)
    start, command, push = tilted(seed), rng.random(4), rng.normal(size=3)
    mass, inertia, lever = frame.mass[0], frame.inertia[0], frame.lever[0]
    places = lever * np.array([[1, -1, 0], [-1, -1, 0], [-1, 1, 0], [1, 1, 0]])

    def slope(_: float, y: np.ndarray) -> np.ndarray:
        velocity, turn, omega, rotors = y[3:6], y[6:15].reshape(3, 3), y[15:18], y[18:]
        forces = np.array([[0, 0, frame.curve[0] @ [1, u, u * u]] for u in rotors])
        torque = np.cross(places, forces).sum(axis=0)
        torque[2] += frame.torque_constant[0] * (forces[:, 2] @ [-1, 1, -1, 1])
        x, z = np.cross(omega, np.eye(3)), torque - np.cross(omega, inertia * omega)
        tau = np.where(command >= rotors, frame.rise_time[0], frame.fall_time[0])
        acceleration = turn @ forces.sum(axis=0) / mass + push - [0, 0, 9.81]
        return np.concatenate([velocity, acceleration, (turn @ x.T).ravel(), z / inertia, (command - rotors) / tau])

    turn = Rotation.from_quat(start[[4, 5, 6, 3]]).as_matrix()
    begin = np.concatenate([start[:3], start[7:10], turn.ravel(), start[10:]])
    end = solve_ivp(slope, (0, 0.1), begin, rtol=1e-10, atol=1e-12).y[:, -1]
    ours = flight(start, frame, command, 10, push)[-1]
    assert ours[:3] == pytest.approx(end[:3], abs=2e-5) and ours[7:10] == pytest.approx(end[3:6], abs=2e-4)
    assert Rotation.from_quat(ours[[4, 5, 6, 3]]).as_matrix().ravel() == pytest.approx(end[6:15], abs=5e-4)
    assert ours[10:] == pytest.approx(end[15:], abs=5e-3)


def test_a_moving_reference_has_the_spread_of_its_langevin_equation() -> None:
    """In the long run the particle has Var v = sigma^2 / (2 gamma) and Var x = Var v / omega^2."""
    n, rng = 1500, np.random.default_rng(0)
    reference = np.zeros((12, n))
    for _ in range(800):
        before = reference.copy()
        physics.wander(reference, rng.standard_normal((3, n)))
    assert reference[9:].var() == pytest.approx(0.5**2 / 2, rel=0.06)
    assert reference[6:9].var() == pytest.approx(0.5**2 / 2 / 4, rel=0.06)
    assert reference[3:6] == pytest.approx(0.99 * before[3:6] + 0.01 * reference[9:])
    assert reference[:3] == pytest.approx(before[:3] + 0.01 * reference[3:6])
    assert reference[6:9] == pytest.approx(before[6:9] + 0.01 * reference[9:])
    still = np.zeros(12)
    physics.wander(still, np.zeros(3))
    assert not still.any()


# -- starts, rewards, ends ---------------------------------------------------------------------------------------------


def test_starts_are_as_stated() -> None:
    env = numpy_batch(3000)
    env.reset(seed=0)
    states, arms = env._states, env._crafts[:, physics.LIMIT] / 20
    resting = (states[:, :3] == 0).all(axis=1)
    assert resting.mean() == pytest.approx(0.1, abs=0.02)
    assert np.array_equal(states[resting, 3:13], np.tile([1.0, *[0] * 9], (resting.sum(), 1)))
    others = states[~resting]
    relative = others[:, :3] / arms[~resting, None]
    assert 9.9 < np.abs(relative).max() <= 10 and relative.std() == pytest.approx(10 / math.sqrt(3), rel=0.03)
    angles = 2 * np.arccos(others[:, 3])
    assert angles.max() <= np.pi / 2 + 1e-9 and angles.mean() == pytest.approx(np.pi / 4, rel=0.03)
    axes = others[:, 4:7] / np.linalg.norm(others[:, 4:7], axis=1)[:, None]
    assert np.abs(axes.mean(axis=0)).max() < 0.04 and (axes**2).mean(axis=0) == pytest.approx(1 / 3, abs=0.02)
    assert np.linalg.norm(states[:, 3:7], axis=1) == pytest.approx(1)
    for part in (others[:, 7:10], others[:, 10:13]):
        assert 0.99 < np.abs(part).max() <= 1 and part.std() == pytest.approx(1 / math.sqrt(3), rel=0.03)
    assert states[:, 13:].min() >= 0 and 0.49 < states[:, 13:].max() <= 0.5
    assert np.array_equal(env._previous, 2 * states[:, 13:] - 1)
    assert env._moving.mean() == pytest.approx(0.5, abs=0.03) and not env._references.any()
    assert arms.mean() == pytest.approx(airframes(env._tasks).lever.mean() * math.sqrt(2))


def test_attitudes_turn_by_the_angle_that_was_drawn() -> None:
    draws = np.random.default_rng(0).random((50, 3))
    turns = Rotation.from_quat(attitudes(draws)[:, [1, 2, 3, 0]])
    assert turns.magnitude() == pytest.approx(draws[:, 2] * np.pi / 2)


def test_rewards_and_ends_equal_the_equations_one_number_at_a_time() -> None:
    rows, rng = 64, np.random.default_rng(0)
    env = numpy_batch(rows, horizon=25)
    env.reset(seed=3)
    limits, lost = 20 * airframes(env._tasks).arm, 0
    for t in range(25):
        if t % 4 == 0:
            actions = rng.uniform(0.1, 1.3, (rows, 4)).astype(np.float32)
        before, reference, previous, playing = (
            part.copy() for part in (env._states, env._references, env._previous, env._playing)
        )
        _, rewards, terminations, truncations, infos = env.step(actions)
        for i in np.flatnonzero(playing):
            position, _, velocity, omega = np.split(env._states[i][:13], [3, 7, 10])
            out = max(abs(position)) > limits[i] or max(abs(velocity)) > 2 or max(abs(omega)) > 35
            distance = math.dist(before[i][:3], reference[i][:3])
            jump = math.dist(np.clip(actions[i].astype(float), -1, 1), previous[i])
            reward = 1.5 - (distance + 0.1 * 2 * math.acos(1 - abs(before[i][6])) + jump)
            assert rewards[i] == pytest.approx(-100 if out else reward, abs=1e-9)
            assert terminations[i] == out and truncations[i] == (t == 24 and not out)
            lost += out
            if out:
                assert not infos["is_success"][i]
    assert 10 < lost < rows


@pytest.mark.parametrize("place", [0, 1, 2, 7, 8, 9, 10, 11, 12])
def test_every_axis_has_its_limit(place: int) -> None:
    limit = {0: 3.0, 7: 2.0, 10: 35.0}[
        place if place in (0, 7, 10) else {1: 0, 2: 0, 8: 7, 9: 7, 11: 10, 12: 10}[place]
    ]
    for sign in (-1, 1):
        state = at_rest()
        state[place] = sign * limit
        assert not physics.lost(state, 3.0)
        state[place] = sign * (limit + 1e-9)
        assert physics.lost(state, 3.0)


def test_success_is_to_be_near_on_average_over_the_last_hundred_steps() -> None:
    env = numpy_batch(2, horizon=150, moving=0.0)
    env.reset(seed=0, options={"task": {name: np.full(2, value) for name, value in MIDDLE.items()}})
    for t in range(150):
        env._states[:] = at_rest(rotors=[0.5] * 4)
        env._states[:, 0] = [0.19, 0.21] if t >= 50 else 1.0
        *_, infos = env.step(np.zeros((2, 4), np.float32))
    assert infos["is_success"].tolist() == [True, False]


# -- observations ------------------------------------------------------------------------------------------------------


def test_a_student_sees_22_numbers_a_published_teacher_26_and_anyone_the_context_who_asks() -> None:
    venv = rlteach.make_vec_env("rlteach/Quadrotor-v0", 3, seed=0)
    batch: Any = venv.batch_env  # type: ignore[attr-defined]
    observations = venv.reset()
    for _ in range(30):
        observations, *_ = venv.step(np.full((3, 4), 0.6, np.float32))
    student, teacher = View.of(venv, "student"), View.of(venv, "expert")
    assert (student.size, teacher.size, View.of(venv, "policy,privileged,context").size) == (22, 26, 37)
    seen, state, reference = teacher(observations), batch._states, batch._references
    assert np.array_equal(seen[:, :22], student(observations))
    for i in range(3):
        turn = Rotation.from_quat(state[i][[4, 5, 6, 3]]).as_matrix().ravel()
        expected = [*(state[i, :3] - reference[i, :3]), *turn, *(state[i, 7:10] - reference[i, 3:6]), *state[i, 10:13]]
        expected += [*batch._previous[i], *(2 * state[i, 13:] - 1)]
        assert seen[i] == pytest.approx(expected, abs=1e-6)
        unit = TaskSpace.of(batch.task_space).to_unit(dict(zip(NAMES, batch._tasks[i], strict=True)))
        assert observations["context"][i] == pytest.approx([*(2 * unit - 1), *batch._pushes[i]], abs=1e-6)
    assert len(set(teacher.names)) == 26 and all(teacher.units)
    venv.close()


def test_every_column_has_a_name_and_a_unit_and_the_tasks_their_order() -> None:
    env = Quadrotor()
    space: Any = env.observation_space
    for key, box in space.spaces.items():
        assert len(env.observation_names[key]) == len(env.observation_units[key]) == box.shape[0]
        assert box.dtype == np.float32
    assert list(env.task_space.spaces) == NAMES == list(env.task_units) == sorted(NAMES)  # type: ignore[attr-defined]
    assert (env.control_rate, env.horizon) == (100, 500)
    assert len(env.action_names) == len(env.action_units) == 4


@pytest.mark.parametrize("kind", ["random", "corners"])
def test_a_hundred_episodes_of_wild_actions_stay_finite_and_inside_every_space(kind: str) -> None:
    env, rng = numpy_batch(100), np.random.default_rng(0)
    tasks = env.test_sets["uniform" if kind == "random" else "corners"]
    env.reset(seed=1, options={"task": batched([tasks[i] for i in rng.permutation(256)[:100]])})
    returns = np.zeros(100)
    for t in range(500):
        if t % 5 == 0:
            wild = rng.choice([-1.0, 1.0], (100, 4)) if kind == "corners" else rng.uniform(-1, 1, (100, 4))
        observations, rewards, terminations, truncations, _ = env.step(wild.astype(np.float32))
        assert env.observation_space.contains(observations)
        assert all(np.isfinite(part).all() for part in (*observations.values(), rewards, env._states))
        assert not (terminations & truncations).any()
        returns += rewards
        if not env._playing.any():
            break
    assert not env._playing.any()
    low, high = env.return_range
    assert ((low <= returns) & (returns <= high)).all()


# -- two backends, two forms -------------------------------------------------------------------------------------------


def play_on(env: QuadrotorBatch, steps: int, rng: np.random.Generator) -> list[Any]:
    """Play with resets to tasks that the environment draws itself; return everything that was seen."""
    trace: list[Any] = []
    for step in range(steps):
        if step % 3 == 0:
            actions = rng.uniform(-0.2, 1.1, (env.num_envs, 4)).astype(np.float32)
        *seen, infos = env.step(actions)
        trace += [*seen, infos.get("is_success", np.zeros(0))]
        finished = seen[2] | seen[3]
        if finished.any():
            trace.append(env.reset(options={"reset_mask": finished})[0])
    return trace


def same_traces(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(same_bits(a, b) for a, b in zip(first, second, strict=True))


def test_numba_and_numpy_are_equal_bit_by_bit() -> None:
    pytest.importorskip("numba", reason="backend='numba' needs numba: pip install rlteach[numba]")
    traces = []
    for backend in ("numba", "numpy"):
        env = QuadrotorBatch(40, backend=backend, horizon=45)
        first, _ = env.reset(seed=2)
        traces.append([first, *play_on(env, 250, np.random.default_rng(4)), *env.get_snapshot().values()])
    assert len(traces[0]) > 1 + 5 * 250 + 100, "many rows have ended and begun again"
    assert same_traces(*traces)


def test_without_numba_numpy_is_chosen_and_asking_for_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert QuadrotorBatch().backend == "numpy"
    with pytest.raises(DependencyNotInstalled, match=r"pip install rlteach\[numba\]"):
        QuadrotorBatch(backend="numba")


def test_neither_importing_nor_building_imports_numba() -> None:
    code = "import sys, rlteach_envs.quadrotor as q; q.QuadrotorBatch(2); assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_each_row_of_a_batch_plays_like_a_single_environment() -> None:
    rows, rng = 5, np.random.default_rng(1)
    batch, singles = QuadrotorBatch(rows, horizon=40), [Quadrotor(horizon=40) for _ in range(rows)]
    tasks = TaskSpace.of(batch.task_space).test_set(200, 2)
    given = [tasks.pop() for _ in range(rows)]
    observations, _ = batch.reset(seed=11, options={"task": batched(given)})
    for i, single in enumerate(singles):
        first = single.reset(seed=11 + i, options={"task": given[i]})[0]
        assert same_bits({key: part[i] for key, part in observations.items()}, first)
    endings = np.zeros(2, dtype=int)
    for step in range(150):
        if step % 6 == 0:
            actions = rng.uniform(0, 0.8, (rows, 4)).astype(np.float32)
        observations, rewards, terminations, truncations, infos = batch.step(actions)
        for i, single in enumerate(singles):
            observation, reward, terminated, truncated, info = single.step(actions[i])
            assert same_bits({key: part[i] for key, part in observations.items()}, observation)
            assert (rewards[i], terminations[i], truncations[i]) == (reward, terminated, truncated)
            assert info == ({"is_success": bool(infos["is_success"][i])} if terminated or truncated else {})
        finished = terminations | truncations
        endings += [terminations.sum(), truncations.sum()]
        if finished.any():
            given = [tasks.pop() if done else task for done, task in zip(finished, given, strict=True)]
            observations, _ = batch.reset(options={"reset_mask": finished, "task": batched(given)})
            for i in np.flatnonzero(finished):
                first = singles[i].reset(options={"task": given[i]})[0]
                assert same_bits({key: part[i] for key, part in observations.items()}, first)
    assert (endings > 0).all()


def test_every_door_opens_the_same_environment() -> None:
    env_id = "rlteach_envs:rlteach/Quadrotor-v0"
    single, vector_env = gym.make(env_id), gym.make_vec(env_id, num_envs=3)
    venv = rlteach.make_vec_env(env_id, 3, seed=6)
    assert isinstance(vector_env.unwrapped, QuadrotorBatch) and isinstance(venv, BatchVecEnv)
    first = vector_env.reset(seed=6)[0]
    assert same_bits(venv.reset(), first)
    assert same_bits(single.reset(seed=6)[0], {key: part[0] for key, part in first.items()})
    for env in (single, vector_env, venv):
        env.close()


# -- resets, seeds, snapshots ------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_rollout_whatever_was_played_before() -> None:
    env, traces = QuadrotorBatch(3), []
    for played_before in (0, 20):
        env.reset(seed=1)
        play_on(env, played_before, np.random.default_rng(played_before))
        first, _ = env.reset(seed=21)
        traces.append([first, *play_on(env, 60, np.random.default_rng(7))])
    assert same_traces(*traces)
    assert not same_bits(traces[0][0], env.reset(seed=22)[0])


def test_a_masked_reset_touches_no_other_row_and_a_finished_one_stays_as_it_is() -> None:
    masked, left_alone = QuadrotorBatch(6, moving=1.0), QuadrotorBatch(6, moving=1.0)
    mask = np.array([True, False, True, False, False, False])
    for env in (masked, left_alone):
        env.reset(seed=4)
        env.step(np.full((6, 4), 0.3, np.float32))
    masked.reset(options={"reset_mask": mask})
    for _ in range(45):
        mine, theirs = (env.step(np.full((6, 4), 0.3, np.float32)) for env in (masked, left_alone))
        assert all(same_bits(mine[0][key][~mask], theirs[0][key][~mask]) for key in mine[0])
        assert all(same_bits(a[~mask], b[~mask]) for a, b in zip(mine[1:4], theirs[1:4], strict=True))
    over = ~masked._playing
    assert over.any()
    before = masked.get_snapshot()
    _, rewards, *_ = masked.step(np.ones((6, 4), np.float32))
    assert not rewards[over].any()
    assert all(same_bits(getattr(masked, name)[over], before[name][over]) for name in masked.state_names)


@pytest.mark.parametrize("where", ["the same", "another"])
def test_a_snapshot_continues_bit_exactly(where: str) -> None:
    env = QuadrotorBatch(5)
    env.reset(seed=5)
    play_on(env, 13, np.random.default_rng(0))
    snapshot = env.get_snapshot()
    first = play_on(env, 120, np.random.default_rng(1))
    if where == "another":
        env = QuadrotorBatch(5)
        env.reset(seed=99)
    restored, _ = env.set_snapshot(snapshot)
    assert same_bits(restored, env._observe())
    assert same_traces(first, play_on(env, 120, np.random.default_rng(1)))
    assert all(isinstance(value, np.ndarray | str) for value in snapshot.values())


def test_a_snapshot_continues_bit_exactly_in_another_process(tmp_path: Path) -> None:
    env = Quadrotor(backend="numpy")
    env.reset(seed=3)
    for _ in range(7):
        env.step(np.full(4, 0.6, np.float32))
    np.savez(tmp_path / "state.npz", **env.get_snapshot())
    here = [env.step(np.full(4, 0.5, np.float32)) for _ in range(30)]
    code = """
import json, sys, numpy as np
from rlteach_envs.quadrotor import Quadrotor
data = np.load(sys.argv[1], allow_pickle=False)
env = Quadrotor(backend="numpy")
env.set_snapshot({key: value if value.ndim else value.item() for key, value in data.items()})
steps = [env.step(np.full(4, 0.5, np.float32)) for _ in range(30)]
print(json.dumps([[s[0]["policy"].tolist(), s[1], s[2]] for s in steps]))
"""
    there = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "state.npz")], check=True, capture_output=True, text=True
    )
    assert json.loads(there.stdout) == [[s[0]["policy"].tolist(), s[1], s[2]] for s in here]


def test_a_single_environment_can_be_pickled_copied_and_restored() -> None:
    env = Quadrotor()
    env.reset(seed=2)
    twins = [copy.deepcopy(env), pickle.loads(pickle.dumps(env)), Quadrotor()]
    twins[2].set_snapshot(env.get_snapshot())
    env.action_space.seed(0)
    for _ in range(40):
        action = env.action_space.sample()
        first = env.step(action)
        for twin in twins:
            again = twin.step(action)
            assert same_bits(first[0], again[0]) and first[1:] == again[1:]


# -- other people's checks, tasks, pictures, teachers ------------------------------------------------------------------


def test_gymnasium_stable_baselines3_and_our_own_checks_are_content() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*A Box observation space m(in|ax)imum value is -?infinity")
        gymnasium_check_env(Quadrotor(), skip_render_check=True)
        sb3_check_env(Quadrotor())
    findings = check_env("rlteach/Quadrotor-v0")
    assert [finding for finding in findings if not finding.ok] == []


def test_the_test_sets_are_fixed_and_have_the_stated_sizes() -> None:
    env = Quadrotor()
    sets = env.test_sets
    assert {name: len(tasks) for name, tasks in sets.items()} == {"uniform": 256, "corners": 256, "systems": 1000}
    again = QuadrotorBatch(2).test_sets
    assert all(str(tasks[-20:]) == str(again[name][-20:]) for name, tasks in sets.items())
    assert all(env.task_space.contains(task) for tasks in sets.values() for task in tasks)
    assert len({tuple(map(float, task.values())) for task in sets["corners"]}) == 256
    agilities = [{float(task["torque_to_inertia"]) for task in sets[name]} for name in ("systems", "uniform")]
    assert not agilities[0] & agilities[1]


def test_the_order_from_easy_to_hard_begins_with_fast_rotors_and_calm_air_and_ends_at_everything() -> None:
    env, rng = Quadrotor(), np.random.default_rng(0)
    space = TaskSpace.of(env.task_space)
    first, last = (
        np.array([space.to_unit(env.oracle_window(progress, rng)) for _ in range(400)]) for progress in (0.0, 1.0)
    )
    assert np.ptp(first, axis=0).max() <= 0.2 + 1e-9
    assert first.max(axis=0)[[NAMES.index(name) for name in ("rise_time", "fall_time", "disturbance")]].max() <= 0.2
    assert (last.min(axis=0) < 0.03).all() and (last.max(axis=0) > 0.97).all()


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [({"backend": "jax"}, "auto, numba, numpy"), ({"moving": 1.5}, "moving = 1.5"), ({"horizon": 0}, "horizon = 0")],
)
def test_wrong_arguments_are_named(kwargs: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        QuadrotorBatch(1, **kwargs)


def test_a_picture_shows_the_quadrotor_and_the_reference() -> None:
    env = gym.make("rlteach/Quadrotor-v0", render_mode="rgb_array", backend="numpy")
    env.reset(seed=0)
    before: Any = env.render()
    for _ in range(8):
        env.step(np.full(4, 0.7, np.float32))
    after: Any = env.render()
    assert before.dtype == np.uint8 and before.shape == (200, 400, 3) and not np.array_equal(before, after)
    for colour in ((220, 50, 40), (40, 80, 220), (40, 160, 60)):
        assert (before == colour).all(axis=2).sum() > 20
    env.close()


def test_a_teacher_chooses_the_task_of_every_episode() -> None:
    base = rlteach.make_vec_env("rlteach/Quadrotor-v0", 4, seed=0, env_kwargs={"horizon": 20})
    venv = rlteach.attach(base, Uniform(base.get_attr("task_space")[0], seed=0))
    batch: Any = base.batch_env  # type: ignore[attr-defined]
    space = TaskSpace.of(batch.task_space)
    venv.reset()
    ended = 0
    for _ in range(50):
        lessons: Any = venv._lessons
        assert np.array_equal(batch._tasks, [space.to_vector(lesson.task) for lesson in lessons])
        _, _, dones, infos = venv.step(np.zeros((4, 4), np.float32))
        ended += int(dones.sum())
        assert all(isinstance(infos[i]["is_success"], bool | np.bool_) for i in np.flatnonzero(dones))
    assert ended >= 8
    venv.close()


# -- what knowing the airframe is worth --------------------------------------------------------------------------------


def pilot(env: QuadrotorBatch, tasks: np.ndarray, pushes: np.ndarray) -> np.ndarray:
    """Fly by hand, from the true state, in airframes and disturbances that one believes in: return actions (n, 4).

    Proportional and damped to an acceleration, from there to a thrust and a tilt; the fastest tilting that the torques
    allow; rotors are asked for three times the change that is wanted, because they are slow.
    """
    frames, state, reference = airframes(tasks), env._states, env._references
    wanted = np.clip(-4 * (state[:, :3] - reference[:, :3]) - 4 * (state[:, 7:10] - reference[:, 3:6]), -5, 5)
    wanted += [0, 0, 9.81] - pushes
    turn = Rotation.from_quat(state[:, [4, 5, 6, 3]]).as_matrix()
    lift = frames.mass * np.maximum((wanted * turn[:, :, 2]).sum(axis=1), 0)
    up = np.einsum("nij,ni->nj", turn, wanted / np.linalg.norm(wanted, axis=1)[:, None])
    tilt = np.arctan2(np.hypot(up[:, 0], up[:, 1]), up[:, 2])
    axis = np.stack([-up[:, 1], up[:, 0]], axis=1) / np.maximum(np.hypot(up[:, 0], up[:, 1]), 1e-9)[:, None]
    pace = np.minimum(np.sqrt(tasks[:, NAMES.index("torque_to_inertia")]), 14)[:, None]
    spin = np.empty((len(state), 3))
    spin[:, :2] = pace**2 * tilt[:, None] * axis - 2 * pace * state[:, 10:12]
    spin[:, 2] = -8 * np.arctan2(state[:, 6], state[:, 3]) - 4 * state[:, 12]
    torque, top = frames.inertia * spin / 4, frames.curve.sum(axis=1)
    x, y = torque[:, 0] / frames.lever, torque[:, 1] / frames.lever
    z = np.clip(torque[:, 2] / frames.torque_constant, -0.1 * top, 0.1 * top)
    split = np.stack([-x - y - z, -x + y + z, x + y - z, x - y + z], axis=1)
    split *= np.minimum(1, 0.5 * top / np.maximum(np.abs(split).max(axis=1), 1e-12))[:, None]
    thrust = np.clip(lift / 4, -split.min(axis=1), top - split.max(axis=1))[:, None] + split
    c0, c1, c2 = (frames.curve[:, i : i + 1] for i in range(3))
    speed = (-c1 + np.sqrt(c1**2 + 4 * c2 * np.maximum(thrust - c0, 0))) / (2 * c2)
    rotors = state[:, 13:]
    return 2 * np.clip(rotors + 3 * (np.clip(speed, 0, 1) - rotors), 0, 1) - 1


def test_who_knows_airframe_and_wind_flies_nearly_everything_and_who_believes_in_anothers_does_not() -> None:
    scores = {}
    for known in (True, False):
        env = QuadrotorBatch(256)
        env.reset(seed=0, options={"task": batched(env.test_sets["uniform"])})
        believed = [part if known else np.roll(part, 1, axis=0) for part in (env._tasks, env._pushes)]
        total = np.zeros(256)
        for _ in range(500):
            _, rewards, _, _, infos = env.step(pilot(env, *believed))
            total += rewards
        scores[known] = total.mean(), infos["is_success"].mean()
    assert scores[True][0] > 500 and scores[True][1] > 0.9
    assert scores[False][0] < 350 and scores[False][1] < 0.4
