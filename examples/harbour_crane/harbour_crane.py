"""A harbour crane: drive the trolley so that the hanging load comes to rest over the target.

    env = HarbourCrane(rope=6.0, distance=8.0, wind=0.0)

The load is a pendulum under a pivot whose acceleration a is the action (textbook mechanics, e.g. Goldstein, Classical
Mechanics, chapter 1): rope * angle'' = -g sin(angle) - a cos(angle) + wind cos(angle) - friction * rope * angle'.
"""

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

GRAVITY = 9.81
"""Gravity in m/s^2."""
FRICTION = 0.05
"""Damping of the swing in 1/s."""
MAX_ACCELERATION = 1.0
"""Acceleration of the trolley at full throttle, in m/s^2."""
STEP = 0.1
"""Time between two actions in s."""
SUBSTEPS = 4
"""Integration steps between two actions."""
NEAR = 0.4
"""The load has arrived when it hangs this close to the target, in m,"""
SLOW = 0.3
"""and moves no faster than this, in m/s."""


def swing(angle: float, rate: float, acceleration: float, rope: float, wind: float) -> float:
    """Return the angular acceleration of the load in rad/s^2."""
    sideways = (wind - acceleration) * math.cos(angle)
    return (sideways - GRAVITY * math.sin(angle)) / rope - FRICTION * rate


class HarbourCrane(gym.Env[np.ndarray, np.ndarray]):
    """Brings a load over a target and stops its swing.

    The observation is the load's offset from the target (10 m), the trolley's speed (m/s), the angle (rad), its rate
    (rad/s) and the rope's length (10 m); the wind is not seen. A step costs 0.01 times the offset over the distance,
    arriving pays 1.

    Args:
        rope: Length of the rope in m.
        distance: How far the target is away, in m.
        wind: Acceleration that the wind gives the load, in m/s^2.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (5,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, rope: float = 6.0, distance: float = 8.0, wind: float = 0.0) -> None:
        self.rope, self.distance, self.wind = rope, distance, wind

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Hang the load still, with a little swing left."""
        super().reset(seed=seed)
        self.position = self.speed = 0.0
        self.angle = float(self.np_random.uniform(-0.02, 0.02))
        self.rate = 0.0
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Accelerate the trolley for a tenth of a second."""
        acceleration = MAX_ACCELERATION * float(np.clip(action[0], -1.0, 1.0))
        for _ in range(SUBSTEPS):  # semi-implicit Euler
            self.rate += swing(self.angle, self.rate, acceleration, self.rope, self.wind) * STEP / SUBSTEPS
            self.angle += self.rate * STEP / SUBSTEPS
            self.speed += acceleration * STEP / SUBSTEPS
            self.position += self.speed * STEP / SUBSTEPS
        offset = self._offset()
        load_speed = self.speed + self.rope * math.cos(self.angle) * self.rate
        arrived = abs(offset) < NEAR and abs(load_speed) < SLOW and abs(self.speed) < SLOW
        lost = abs(offset) > self.distance + 10.0
        reward = float(arrived) - 0.01 * min(abs(offset) / self.distance, 2.0)
        return self._observation(), reward, arrived or lost, False, {"is_success": arrived}

    def _offset(self) -> float:
        return self.distance - self.position - self.rope * math.sin(self.angle)

    def _observation(self) -> np.ndarray:
        seen = [self._offset() / 10, self.speed, self.angle, self.rate, self.rope / 10]
        return np.array(seen, dtype=np.float32)


gym.register("HarbourCrane-v0", entry_point=HarbourCrane, max_episode_steps=300)
