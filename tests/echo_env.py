"""Environments whose return tells which task was played."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


def expected(task: dict[str, Any]) -> tuple[float, int, bool]:
    """Return, length and termination of an episode of EchoEnv with a task."""
    length = 3 + int(task["k"])
    return length * float(task["a"]), length, bool(task["a"] <= 0.5)


class EchoEnv(gym.Env[np.ndarray, np.ndarray]):
    """Pays `a` at each of 3 + k steps, then terminates (a <= 0.5) or truncates; crashes or hangs on request."""

    task_space = spaces.Dict(a=spaces.Box(0.0, 1.0, (), np.float64), k=spaces.Discrete(5))
    observation_space = spaces.Box(-1.0, 10.0, (3,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, noise: float = 0.0, crash_above: float = 2.0, nan_above: float = 2.0) -> None:
        self.noise, self.crash_above, self.nan_above = noise, crash_above, nan_above
        self.t = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        task = (options or {}).get("task")
        if task is None:
            task = {"a": np.array(self.np_random.random()), "k": self.np_random.integers(5)}
        self.task = task
        self.t = 0
        return self._observation(), {"a": float(task["a"])}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        a = float(self.task["a"])
        if a > self.crash_above:
            raise RuntimeError("the motor is on fire")
        self.t += 1
        reward = a + self.noise * (self.np_random.standard_normal() - float(action[0] - a) ** 2)
        if a > self.nan_above:
            reward = float("nan")
        _, length, terminates = expected(self.task)
        over = self.t >= length
        info = {"is_success": a > 0.5} if over else {}
        return self._observation(), reward, over and terminates, over and not terminates, info

    def _observation(self) -> np.ndarray:
        return np.array([self.task["a"], self.task["k"], self.t], dtype=np.float32)


class NoTaskEnv(gym.Env[np.ndarray, np.ndarray]):
    """Offers no task space."""

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return np.zeros(1, np.float32), float(action[0]), self.t >= 5, False, {}
