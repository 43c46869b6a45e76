"""PointMassGate against scalar Euler integration written out by hand."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rlteach_envs.point_mass_gate import PointMassGate, PointMassGateBatch, integrate, wall_contact


class Mass:
    """One point mass, one number at a time."""

    def __init__(self, gate: float, width: float, friction: float) -> None:
        self.gate, self.width, self.friction = gate, width, friction
        self.x, self.y, self.vx, self.vy = 0.0, 3.0, 0.0, 0.0
        self.crashed = self.succeeded = False

    def step(self, action: Any, noise: Any) -> float:
        """Ten explicit Euler steps of 0.01 s; return the reward."""
        ax, ay = (15.0 * max(-1.0, min(1.0, float(a))) for a in action)
        for k in range(10):
            x, y = self.x + 0.01 * self.vx, self.y + 0.01 * self.vy
            self.vx += 0.01 * (ax + float(noise[k][0]) - self.friction * self.vx)
            self.vy += 0.01 * (ay + float(noise[k][1]) - self.friction * self.vy)
            if (self.y > 0) != (y > 0):
                share = self.y / (self.y - y)
                at = self.x + share * (x - self.x)
                if abs(at - self.gate) > self.width / 2:
                    self.x, self.y, self.vx, self.vy, self.crashed = at, 0.0, 0.0, 0.0, True
                    break
            self.x, self.y = x, y
        distance = math.sqrt(self.x**2 + (self.y + 3.0) ** 2)
        self.succeeded = self.succeeded or distance < 0.25
        return math.exp(-0.6 * distance)


def pilot(mass: Mass, skill: float, rng: np.random.Generator) -> np.ndarray:
    """Steer through the gate and to the goal, or wherever chance leads."""
    target = (mass.gate, -0.6) if mass.y > 0 else (0.0, -3.0)
    away = np.array([2 * (target[0] - mass.x) - 1.2 * mass.vx, (target[1] - mass.y) - 1.2 * mass.vy])
    wanted = np.clip(away, -1, 1) if abs(mass.x - mass.gate) < mass.width / 3 or mass.y < 0 else [away[0], 0.3]
    return np.asarray(skill * np.asarray(wanted) + (1 - skill) * rng.uniform(-1.5, 1.5, 2), dtype=np.float32)


@pytest.mark.parametrize("friction", [False, True])
def test_every_step_equals_scalar_euler_integration(friction: bool) -> None:
    rows, rng = 24, np.random.default_rng(0)
    env = PointMassGateBatch(rows, friction=friction)
    tasks = {"position": rng.uniform(-4, 4, rows), "width": rng.uniform(0.5, 8, rows)}
    if friction:
        tasks["friction"] = rng.uniform(0, 4, rows)
    env.reset(seed=1, options={"task": tasks})
    masses = [
        Mass(tasks["position"][i], tasks["width"][i], tasks["friction"][i] if friction else 0) for i in range(rows)
    ]
    noise = env._noise.copy()
    over = np.zeros(rows, dtype=bool)
    counts = {"crashed": 0, "succeeded": 0, "failed": 0}
    for t in range(100):
        actions = np.array([pilot(mass, i / rows, rng) for i, mass in enumerate(masses)])
        actions[:8] = [[-np.sign(mass.gate), -1.0] for mass in masses[:8]]  # these fly past the gate into the wall
        observations, rewards, terminations, truncations, infos = env.step(actions)
        for i in np.flatnonzero(~over):
            mass = masses[i]
            assert rewards[i] == pytest.approx(mass.step(actions[i], noise[i, t]), rel=1e-9)
            assert terminations[i] == mass.crashed
            assert truncations[i] == (t == 99 and not mass.crashed)
            state = [mass.x / 4, mass.vx / 6, mass.y / 4, mass.vy / 6]
            scaled = [tasks["friction"][i] / 2 - 1] if friction else []
            scaled += [tasks["position"][i] / 4, (tasks["width"][i] - 4.25) / 3.75]
            assert observations[i] == pytest.approx([*state, *scaled], abs=1e-5)
            if terminations[i] or truncations[i]:
                assert infos["is_success"][i] == mass.succeeded
                counts["crashed"] += mass.crashed
                counts["succeeded"] += mass.succeeded
                counts["failed"] += not mass.succeeded
        over |= terminations | truncations
    assert over.all()
    assert all(count >= 3 for count in counts.values()), counts


def test_forces_carry_fresh_normal_noise_in_every_substep() -> None:
    env = PointMassGateBatch(20)
    env.reset(seed=0)
    assert env._noise.shape == (20, 100, 10, 2)
    assert env._noise.std() == pytest.approx(0.05, rel=0.02) and abs(env._noise.mean()) < 1e-3
    assert len(np.unique(env._noise)) == env._noise.size
    before = env._noise.copy()
    env.reset(options={"reset_mask": np.arange(20) < 3})
    assert (env._noise[:3] != before[:3]).all() and (env._noise[3:] == before[3:]).all()


def test_friction_of_zero_is_no_friction_and_more_of_it_slows_down() -> None:
    speeds = []
    for value in (None, 0.0, 1.0, 4.0):
        env = PointMassGateBatch(1, friction=value is not None)
        task = {"position": np.array([0.0]), "width": np.array([8.0])}
        env.reset(seed=0, options={"task": task | ({} if value is None else {"friction": np.array([value])})})
        for _ in range(5):
            env.step(np.array([[1.0, 0.0]], np.float32))
        speeds.append(float(env._velocities[0, 0]))
    assert speeds[0] == pytest.approx(speeds[1], rel=1e-12)
    assert speeds[1] > speeds[2] > speeds[3] > 0
    assert speeds[3] == pytest.approx(15 / 4 * (1 - 0.96**50), rel=0.02)


@pytest.mark.parametrize(("x", "hits"), [(1.0, False), (1.49, False), (1.51, True), (0.49, True), (0.51, False)])
@pytest.mark.parametrize("downwards", [True, False])
def test_the_wall_is_touched_outside_the_gate_from_either_side(x: float, hits: bool, downwards: bool) -> None:
    ends = [[x, 0.2], [x, -0.2]] if downwards else [[x, -0.2], [x, 0.2]]
    touched, where = wall_contact(np.array([ends]), np.array([1.0]), np.array([1.0]))
    assert touched.tolist() == [hits]
    if hits:
        assert where[0].tolist() == pytest.approx([x, 0.0])


def test_the_first_contact_counts_and_paths_that_never_cross_touch_nothing() -> None:
    zigzag = np.array([[[0.0, 1.0], [1.0, -1.0], [3.0, 1.0], [5.0, 1.0]]])
    touched, where = wall_contact(zigzag, np.array([0.5]), np.array([0.2]))
    assert touched[0] and where[0].tolist() == pytest.approx([2.0, 0.0])
    above = np.array([[[0.0, 1.0], [9.0, 0.5], [0.0, 2.0]]])
    assert wall_contact(above, np.array([0.0]), np.array([0.5]))[0].tolist() == [False]


def test_positions_advance_with_the_velocity_before_the_substep() -> None:
    path, speed = integrate(np.zeros((1, 2)), np.array([[1.0, 0.0]]), np.full((1, 10, 2), 2.0), None)
    assert path[0, 1].tolist() == pytest.approx([0.01, 0.0]) and speed[0, 1].tolist() == pytest.approx([1.02, 0.02])
    assert path[0, 2].tolist() == pytest.approx([0.0202, 0.0002])


@pytest.mark.parametrize(("distance", "success"), [(0.2499, True), (0.2501, False)])
def test_success_is_a_quarter_metre_around_the_goal_and_is_kept(distance: float, success: bool) -> None:
    env = PointMassGate(horizon=2)
    env.reset(seed=0, options={"task": {"position": np.array(0.0), "width": np.array(8.0)}})
    batch: Any = env._batch
    batch._noise[:] = 0.0
    batch._positions[0] = [distance, -3.0]
    _, reward, _, _, _ = env.step(np.zeros(2, np.float32))
    assert reward == pytest.approx(math.exp(-0.6 * distance))
    batch._positions[0] = [3.0, -1.0]
    _, _, terminated, truncated, info = env.step(np.zeros(2, np.float32))
    assert (terminated, truncated, info) == (False, True, {"is_success": success})


def test_the_test_sets_have_the_stated_sizes_and_tasks() -> None:
    sets = PointMassGate().test_sets
    assert {name: len(tasks) for name, tasks in sets.items()} == {"grid": 400, "hard": 116, "target": 2}
    grid = {(float(t["position"]), float(t["width"])) for t in sets["grid"]}
    assert len(grid) == 400 and {(-4.0, 0.5), (-4.0, 8.0), (4.0, 0.5), (4.0, 8.0)} <= grid
    assert {float(t["width"]) for t in sets["hard"]} == {0.5, 0.6, 0.75, 1.0}
    assert len({float(t["position"]) for t in sets["hard"]}) == 29
    assert [(float(t["position"]), float(t["width"])) for t in sets["target"]] == [(-3.0, 0.5), (3.0, 0.5)]
    for friction in (False, True):
        env = PointMassGate(friction=friction)
        assert all(env.task_space.contains(task) for tasks in env.test_sets.values() for task in tasks)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.integers(0, 2**32), st.booleans())
def test_the_oracle_stays_inside_the_task_space_for_any_progress(progress: float, seed: int, friction: bool) -> None:
    env = PointMassGateBatch(1, friction=friction)
    rng = np.random.default_rng(seed)
    assert all(env.task_space.contains(env.oracle_window(progress, rng)) for _ in range(10))


def test_the_oracle_goes_from_wide_gates_to_narrow_ones_to_everything() -> None:
    env = PointMassGateBatch(1)
    rng = np.random.default_rng(0)

    def spread(progress: float, name: str) -> tuple[float, float]:
        values = [float(env.oracle_window(progress, rng)[name]) for _ in range(2000)]
        return min(values), max(values)

    assert spread(0.0, "width") == pytest.approx((6.5, 8.0), abs=0.02)
    assert spread(0.5, "width") == pytest.approx((3.5, 5.0), abs=0.02)
    assert spread(0.999, "width") == pytest.approx((0.5, 2.0), abs=0.03)
    assert spread(1.0, "width") == pytest.approx((0.5, 8.0), abs=0.03)
    assert all(spread(p, "position") == pytest.approx((-4, 4), abs=0.03) for p in (0.0, 0.5, 1.0))


def test_returns_stay_in_the_stated_range() -> None:
    env = PointMassGateBatch(64)
    env.reset(seed=0)
    returns, rng = np.zeros(64), np.random.default_rng(0)
    for _ in range(100):
        returns += env.step(rng.uniform(-1, 1, (64, 2)).astype(np.float32))[1]
    assert env.return_range == (0.0, 60.0)
    assert (returns > 0).all() and (returns < 60).all()


@pytest.mark.parametrize("friction", [False, True])
def test_the_demonstration_masters_the_whole_task_space_so_that_every_task_is_feasible(friction: bool) -> None:
    axes = [np.linspace(-4, 4, 21), np.array([0.5, 1.0, 8.0]), np.array([0.0, 1.0, 4.0] if friction else [0.0])]
    position, width, rubbing = (axis.ravel() for axis in np.meshgrid(*axes))
    tasks = {"position": position, "width": width} | ({"friction": rubbing} if friction else {})
    env = PointMassGateBatch(len(position), friction=friction)
    observations, _ = env.reset(seed=0, options={"task": tasks})
    for _ in range(env.horizon):
        actions = np.array([env.demonstrate(observation) for observation in observations])
        observations, _, terminated, _, info = env.step(actions)
        assert not terminated.any()
    assert info["is_success"].all() and len(position) >= 63
    single = PointMassGate(friction=friction)
    assert all(single.feasibility({name: values[i] for name, values in tasks.items()}) for i in range(len(position)))
    with pytest.raises(ValueError, match="width"):
        single.feasibility({"position": 0.0, "width": 9.0} | ({"friction": 0.0} if friction else {}))
