"""WindGain against its equations one number at a time, and what knowing more is worth in it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rlteach_envs.wind_gain import WindGain, WindGainBatch


class Axis:
    """One axis of the mass, one number at a time."""

    def __init__(self, position: float, gain: float, wind: float) -> None:
        self.position, self.gain, self.wind = position, gain, wind
        self.velocity = self.command = 0.0

    def step(self, action: float) -> None:
        self.command += (1 - math.exp(-0.5)) * (action - self.command)
        self.velocity += 0.05 * (self.gain * self.command + self.wind)
        self.position += 0.05 * self.velocity


def test_every_step_equals_the_equations_one_number_at_a_time() -> None:
    rows, rng = 16, np.random.default_rng(0)
    env = WindGainBatch(rows)
    observations, _ = env.reset(seed=1)
    axes = []
    for i in range(rows):
        hidden = observations["privileged"][i]
        assert observations["policy"][i, 2:].tolist() == [0, 0] and hidden[:2].tolist() == [0, 0]
        start, task = env._positions[i], env._tasks[i]
        axes.append([Axis(start[k], math.exp(task[k]), task[2 + k]) for k in range(2)])
    over, crashes = np.zeros(rows, dtype=bool), 0
    for t in range(100):
        if t % 7 == 0:
            actions = (rng.uniform(-1, 1, (rows, 2)) * np.linspace(0.05, 1, rows)[:, None]).astype(np.float32)
        observations, rewards, terminations, truncations, infos = env.step(actions)
        for i in np.flatnonzero(~over):
            pair = axes[i]
            for k, axis in enumerate(pair):
                axis.step(float(actions[i, k]))
            distance = math.sqrt(sum(axis.position**2 for axis in pair))
            reward = 1 - min(distance, 2) - 0.02 * sum(float(a) ** 2 for a in actions[i]) - 20 * (distance > 4)
            assert rewards[i] == pytest.approx(reward, abs=1e-9)
            assert terminations[i] == (distance > 4) and truncations[i] == (t == 99 and distance <= 4)
            seen = [axis.position for axis in pair] + [axis.command for axis in pair]
            assert observations["policy"][i] == pytest.approx(seen, rel=1e-6, abs=1e-6)
            hidden = [*(axis.velocity for axis in pair), *env._tasks[i]]
            assert observations["privileged"][i] == pytest.approx(hidden, rel=1e-6, abs=1e-6)
            if terminations[i] or truncations[i]:
                assert infos["is_success"][i] == (distance < 0.25)
            crashes += bool(terminations[i])
        over |= terminations | truncations
    assert over.all() and 3 <= crashes < rows


def test_starts_are_uniform_within_a_metre_of_the_origin() -> None:
    env = WindGainBatch(2000)
    env.reset(seed=0)
    assert np.abs(env._positions).max() <= 1 and np.abs(env._positions.mean(axis=0)).max() < 0.05
    assert env._positions.std() == pytest.approx(1 / math.sqrt(3), rel=0.03)


# -- what knowing more is worth ----------------------------------------------------------------------------------------

Policy = Callable[[Any, dict[str, Any]], Any]


def expert(observations: Any, _: dict[str, Any]) -> Any:
    """Cancel the wind and divide by the gain."""
    position, velocity = observations["policy"][:, :2], observations["privileged"][:, :2]
    gain, wind = np.exp(observations["privileged"][:, 2:4]), observations["privileged"][:, 4:]
    return (-6 * position - 4 * velocity - wind) / gain


def with_memory(observations: Any, memory: dict[str, Any]) -> Any:
    """Take the velocity from two positions, and the wind from the error that stays."""
    position = observations["policy"][:, :2]
    velocity = (position - memory.get("position", position)) / 0.05
    memory["position"] = position
    memory["sum"] = memory.get("sum", 0) + 0.05 * np.clip(position, -0.5, 0.5)
    return -2 * position - 1.5 * velocity - 0.5 * memory["sum"]


def one_frame(observations: Any, _: dict[str, Any]) -> Any:
    """Push back, and brake by the last command; the best of its kind."""
    return -2 * observations["policy"][:, :2] - 2 * observations["policy"][:, 2:]


def score(policy: Policy, shuffle: bool = False) -> float:
    env = WindGainBatch(256)
    tasks = env.test_sets["uniform"]
    task = {name: np.array([task[name] for task in tasks]) for name in tasks[0]}
    observations, _ = env.reset(seed=0, options={"task": task})
    memory: dict[str, Any] = {}
    total = np.zeros(256)
    others = np.roll(np.arange(256), 1)
    for _ in range(100):
        if shuffle:
            observations["privileged"][:, 2:] = observations["privileged"][others, 2:]
        observations, rewards, *_ = env.step(np.clip(policy(observations, memory), -1, 1))
        total += rewards
    return float(total.mean())


def test_velocity_gain_and_wind_are_worth_much_and_memory_makes_up_for_most_of_it() -> None:
    scores = {policy.__name__: score(policy) for policy in (expert, with_memory, one_frame)}
    assert scores["expert"] == pytest.approx(87, abs=3)
    assert scores["with_memory"] == pytest.approx(81, abs=3)
    assert scores["one_frame"] < 45


def test_the_hidden_parameters_of_another_episode_are_worse_than_the_right_ones() -> None:
    assert score(expert, shuffle=True) < score(expert) - 5


def test_the_test_sets_have_the_stated_sizes_and_corners() -> None:
    sets = WindGain().test_sets
    assert {name: len(tasks) for name, tasks in sets.items()} == {"uniform": 256, "corners": 16}
    corners = {tuple(round(float(value), 3) for value in task.values()) for task in sets["corners"]}
    assert len(corners) == 16 and (0.0, 2.079, -0.8, 0.8) in corners
