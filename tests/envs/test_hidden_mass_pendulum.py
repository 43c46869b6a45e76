"""HiddenMassPendulum against Gymnasium's Pendulum-v1, against scalar equations, and with everything known."""

import itertools
import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from rlteach_envs.hidden_mass_pendulum import HiddenMassPendulum, HiddenMassPendulumBatch, upright_angle


def test_with_unit_mass_and_length_it_is_pendulum_v1() -> None:
    ours, theirs = HiddenMassPendulum(max_torque=2.0), gym.make("Pendulum-v1").unwrapped
    batch, known = ours._batch, theirs
    rng = np.random.default_rng(0)
    for seed in range(5):
        ours.reset(seed=seed, options={"task": {"mass": np.array(1.0), "length": np.array(1.0)}})
        known.reset(seed=seed)
        known.state = np.array([batch._theta[0], batch._speed[0]])  # type: ignore[attr-defined]
        for step in range(200):
            if step % 6 == 0:
                action = rng.uniform(-1.3, 1.3, 1).astype(np.float32)
            observation, reward, _, truncated, _ = ours.step(action)
            expected, expected_reward, *_ = known.step(2 * np.clip(action, -1, 1).astype(np.float64))
            seen = [*observation["policy"][:2], observation["privileged"][0]]
            assert seen == pytest.approx(expected.tolist(), abs=1e-6)
            assert reward == pytest.approx(float(expected_reward), abs=1e-6)
            assert observation["policy"][2] == pytest.approx(2 * float(np.clip(action[0], -1, 1)))
        assert truncated


def test_every_step_equals_the_equations_one_number_at_a_time() -> None:
    rows, rng = 12, np.random.default_rng(0)
    env = HiddenMassPendulumBatch(rows, max_torque=6.0, horizon=60)
    env.reset(seed=3)
    states = list(zip(env._theta.tolist(), env._speed.tolist(), strict=True))
    mass, length = (env._tasks[:, env._column[name]].tolist() for name in ("mass", "length"))
    assert all(abs(theta) <= math.pi and abs(speed) <= 1 for theta, speed in states)
    fast = 0
    for t in range(60):
        if t % 10 == 0:
            actions = rng.uniform(-1, 1, (rows, 1)).astype(np.float32)
        observations, rewards, terminations, truncations, _ = env.step(actions)
        for i, (theta, speed) in enumerate(states):
            torque = 6.0 * float(actions[i, 0])
            angle = math.remainder(theta, 2 * math.pi)
            assert rewards[i] == pytest.approx(-(angle**2 + 0.1 * speed**2 + 0.001 * torque**2), abs=1e-8)
            pull = 15.0 / length[i] * math.sin(theta) + 3.0 * torque / (mass[i] * length[i] ** 2)
            speed = max(-8.0, min(8.0, speed + 0.05 * pull))
            theta += 0.05 * speed
            states[i], fast = (theta, speed), fast + (abs(speed) == 8)
            seen = [math.cos(theta), math.sin(theta), torque]
            assert observations["policy"][i] == pytest.approx(seen, abs=1e-5)
            assert observations["privileged"][i] == pytest.approx([speed, mass[i], length[i]], abs=1e-5)
        assert not terminations.any() and truncations.all() == (t == 59)
    assert fast >= 3


@pytest.mark.parametrize(("angle", "success"), [(0.19, True), (0.21, False), (-0.19, True), (2 * math.pi + 0.1, True)])
def test_success_is_judged_by_the_last_twenty_steps(angle: float, success: bool) -> None:
    env = HiddenMassPendulumBatch(1, horizon=30)
    env.reset(seed=0, options={"task": {"mass": np.ones(1), "length": np.ones(1)}})
    for t in range(30):
        env._theta[:], env._speed[:] = (3.0, 0.0) if t < 10 else (angle, 0.0)
        torque = -15 * math.sin(env._theta[0]) / 3  # holds it in place
        *_, infos = env.step(np.array([[np.clip(torque / env.max_torque, -1, 1)]]))
    assert infos["is_success"].tolist() == [success]


def test_angles_are_counted_from_upright() -> None:
    angles = upright_angle(np.array([0.0, math.pi, -math.pi, 2 * math.pi + 0.5, -7.0]))
    assert angles == pytest.approx([0, -math.pi, -math.pi, 0.5, 2 * math.pi - 7])


# -- with everything known -------------------------------------------------------------------------------------------


def swing_up(observations: Any, max_torque: float) -> np.ndarray:
    """Pump energy until upright is in reach, then hold; hold at once where the torque is enough."""
    cos, sin, _ = observations["policy"].T.astype(np.float64)
    speed, mass, length = observations["privileged"].T.astype(np.float64)
    theta, gravity, lever = np.arctan2(sin, cos), 15 / length, 3 / (mass * length**2)
    energy = speed**2 / 2 + gravity * (cos - 1)
    hold = -(2 * gravity * theta + 2 * np.sqrt(gravity) * speed) / lever
    pump = np.where(speed < 0, -1.0, 1.0) * np.where(energy < 0, 1, -1) * max_torque
    near = (np.abs(theta) < 0.35) & (np.abs(hold) < 3 * max_torque) & (np.abs(energy) < gravity / 2)
    strong = max_torque * lever > 1.15 * gravity
    return np.clip(np.where(near | strong, hold, pump) / max_torque, -1, 1)[:, None]


def play(**kwargs: float) -> tuple[np.ndarray, np.ndarray, HiddenMassPendulumBatch]:
    env = HiddenMassPendulumBatch(200, **kwargs)
    tasks = env.test_sets["grid"] * 2
    task = {name: np.array([task[name] for task in tasks]) for name in tasks[0]}
    observations, _ = env.reset(seed=0, options={"task": task})
    returns = np.zeros(200)
    for _ in range(200):
        observations, rewards, _, _, infos = env.step(swing_up(observations, env.max_torque))
        returns += rewards
    return returns, infos["is_success"], env


def test_whoever_knows_everything_swings_up_every_pendulum_most_of_them_by_pumping() -> None:
    returns, successes, env = play()
    assert successes.all()
    assert returns.mean() == pytest.approx(-103, abs=10)
    mass, length = (env._tasks[:, env._column[name]] for name in ("mass", "length"))
    assert 0.2 < np.mean(env.max_torque > mass * 10 * length / 2) < 0.4
    assert returns[mass * length > 2].mean() < returns[mass * length < 1].mean() - 50


def test_the_torque_of_pendulum_v1_is_barely_enough_for_the_heaviest() -> None:
    returns, successes, _ = play(max_torque=2.0)
    assert 0.97 < successes.mean() <= 1 and returns.mean() < -190


def test_the_test_sets_have_the_stated_sizes_and_the_order_goes_from_light_to_heavy() -> None:
    env = HiddenMassPendulum()
    assert {name: len(tasks) for name, tasks in env.test_sets.items()} == {"grid": 100, "corners": 4}
    corners = {(float(task["mass"]), float(task["length"])) for task in env.test_sets["corners"]}
    assert corners == {(0.5, 0.5), (0.5, 2.0), (2.0, 0.5), (2.0, 2.0)}
    rng = np.random.default_rng(0)
    tops = [max(float(env.oracle_window(p, rng)["mass"]) for _ in range(400)) for p in (0.0, 0.5, 1.0)]
    assert tops == pytest.approx([0.8, 1.25, 2.0], abs=0.02)


@pytest.mark.parametrize("torque", [0.0, -1.0, float("nan"), float("inf")])
def test_wrong_torques_are_named(torque: float) -> None:
    with pytest.raises(ValueError, match="max_torque = "):
        HiddenMassPendulumBatch(1, max_torque=torque)


def pictured(theta: float, speed: float = 0.0, torque: float = 0.0, mass: float = 1.0, length: float = 1.0) -> Any:
    env = HiddenMassPendulum(render_mode="rgb_array")
    env.reset(seed=0, options={"task": {"mass": np.array(mass), "length": np.array(length)}})
    batch: Any = env._batch
    batch._theta[0], batch._speed[0], batch._torque[0] = theta, speed, torque
    return env.render()


def coloured(image: Any, colour: tuple[int, int, int]) -> np.ndarray:
    """Return the places of a colour relative to the pivot (n, 2), in m, x to the right and y up."""
    rows, columns = np.nonzero((image == colour).all(axis=2))
    return np.stack([columns + 0.5 - 115, 115 - rows - 0.5], axis=1) / 48


BLUE, PALE, RED, GREEN = (40, 80, 220), (195, 208, 250), (200, 60, 50), (40, 160, 60)


@pytest.mark.parametrize("theta", [0.0, 0.6, -1.9, 3.0])
@pytest.mark.parametrize(("mass", "length"), [(0.5, 2.0), (1.0, 1.0), (2.0, 0.5)])
def test_a_picture_shows_angle_length_and_mass(theta: float, mass: float, length: float) -> None:
    image = pictured(theta, mass=mass, length=length)
    assert image.dtype == np.uint8 and image.shape == (230, 230, 3)
    blue = coloured(image, BLUE)
    end = length * np.array([-math.sin(theta), math.cos(theta)])  # anticlockwise, as Gymnasium draws it
    radius = 0.15 * math.sqrt(mass)
    bob = blue[np.hypot(*(blue - end).T) < 1.1 * radius]
    assert bob.mean(axis=0) == pytest.approx(end, abs=0.04)
    assert len(bob) / 48**2 == pytest.approx(math.pi * 0.15**2 * mass, rel=0.25), "its area is the mass"
    assert np.hypot(*blue.T).max() == pytest.approx(length + radius, abs=0.04)


def test_a_picture_shows_speed_torque_and_where_to_keep_it() -> None:
    still = pictured(2.5)
    assert len(coloured(still, RED)) == 0 == len(coloured(still, PALE))
    for speed in (-6.0, 6.0):
        pale = coloured(pictured(2.5, speed=speed), PALE)
        angles = np.arctan2(-pale[:, 0], pale[:, 1])
        far = np.hypot(*pale.T) > 0.5
        assert np.median(angles[far]) == pytest.approx(2.5 - 0.05 * speed, abs=0.05)
    for torque in (-5.0, -2.0, 3.0):
        red = coloured(pictured(1.0, torque=torque), RED)
        angles = np.arctan2(-red[:, 0], red[:, 1]) - 1.0
        reach = angles.max() if torque > 0 else angles.min()
        assert reach == pytest.approx(torque / 5 * math.pi / 2, abs=0.2) and np.sign(np.median(angles)) == np.sign(
            torque
        )
    green = coloured(pictured(2.5, length=2.0), GREEN)
    assert np.hypot(*green.T) == pytest.approx(2.0, abs=0.07)
    assert np.abs(np.arctan2(green[:, 0], green[:, 1])).max() == pytest.approx(0.2, abs=0.03)


def test_every_step_is_another_picture() -> None:
    env = HiddenMassPendulum(render_mode="rgb_array")
    env.action_space.seed(0)
    env.reset(seed=0)
    pictures = [env.render()]
    for _ in range(20):
        env.step(env.action_space.sample())
        pictures.append(env.render())
    assert not any(np.array_equal(*pair) for pair in itertools.pairwise(pictures))
