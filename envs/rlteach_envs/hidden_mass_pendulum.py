"""HiddenMassPendulum: swing up a pendulum whose mass, length and speed cannot be seen."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach_envs.arguments import check_finite, clipped_progress, fixed_sets
from rlteach_envs.batch import BatchEnv, Floats, SingleEnv
from rlteach_envs.strokes import BLUE, DARK, GREEN, RED, arc, dot, on_circle, stroke

DT = 0.05
GRAVITY = 10.0
MAX_SPEED = 8.0
RANGE = (0.5, 2.0)
JUDGED_STEPS = 20
SUCCESS_ANGLE = 0.2


def upright_angle(theta: Floats) -> Floats:
    """Return angles in [-pi, pi), 0 upright."""
    return (theta + np.pi) % (2 * np.pi) - np.pi


def integrate(theta: Floats, speed: Floats, torque: Floats, mass: Floats, length: Floats) -> tuple[Floats, Floats]:
    """Return angle and speed after one step of 0.05 s, by semi-implicit Euler as in Pendulum-v1."""
    acceleration = 3 * GRAVITY / (2 * length) * np.sin(theta) + 3.0 / (mass * length**2) * torque
    speed = np.clip(speed + acceleration * DT, -MAX_SPEED, MAX_SPEED)
    return theta + speed * DT, speed


class HiddenMassPendulumBatch(BatchEnv):
    """Gymnasium's Pendulum-v1, the same equations and costs, with mass and length that only the expert knows.

    Task: `mass` in [0.5, 2] kg and `length` in [0.5, 2] m.
    State: angle theta (0 upright) and its speed. Start: theta ~ U(-pi, pi), speed ~ U(-1, 1). Action a in [-1, 1]:
    torque u = `max_torque` a. Per step of 0.05 s: speed += 0.05 (3 g / (2 l) sin theta + 3 / (m l^2) u), kept within 8
    rad/s; theta += 0.05 speed; g = 10 m/s^2. With mass = length = 1 and `max_torque=2` this is Pendulum-v1.
    Reward at each step: -(theta^2 + 0.1 speed^2 + 0.001 u^2), of the state before the step and theta in [-pi, pi).
    Success: |theta| is below 0.2 rad on average over the last 20 steps. Truncation after `horizon` steps.
    Gravity pulls with up to m g l / 2, from 1.25 to 20 N m. The default torque of 5 N m lifts three in ten of the
    pendulums directly and the others by pumping; the 2 N m of Pendulum-v1 take the heaviest nearly all 200 steps.
    Observation (float32): `policy`: cos theta, sin theta, last torque; `privileged`: speed, mass, length.

    Args:
        num_envs: Number of rows.
        max_torque: Torque of the action 1, in N m.
        horizon: Steps after which an episode is truncated.
    """

    task_units: ClassVar[dict[str, str]] = {"mass": "kg", "length": "m"}
    state_names = ("_theta", "_speed", "_torque", "_tilt")
    observation_groups: ClassVar[dict[str, tuple[str, ...]]] = {"policy": ("policy",), "privileged": ("privileged",)}
    observation_names: ClassVar[dict[str, tuple[str, ...]]] = {
        "policy": ("cos_theta", "sin_theta", "last_torque"),
        "privileged": ("theta_dot", "mass", "length"),
    }
    observation_units: ClassVar[dict[str, tuple[str, ...]]] = {
        "policy": ("1", "1", "N m"),
        "privileged": ("rad/s", "kg", "m"),
    }
    action_names = ("torque",)
    action_units = ("1",)
    control_rate = 1 / DT

    def __init__(self, num_envs: int = 1, *, max_torque: float = 5.0, horizon: int = 200) -> None:
        check_finite(max_torque=max_torque)
        if not max_torque > 0:
            raise ValueError(f"max_torque = {max_torque} must be positive")
        self.max_torque = max_torque
        self.task_space = spaces.Dict(
            {"mass": spaces.Box(*RANGE, (), np.float64), "length": spaces.Box(*RANGE, (), np.float64)}
        )
        seen = np.array([1.0, 1.0, max_torque], dtype=np.float32)
        hidden = np.array([MAX_SPEED, RANGE[1], RANGE[1]], dtype=np.float32)
        self.single_observation_space = spaces.Dict(
            {
                "policy": spaces.Box(-seen, seen, dtype=np.float32),
                "privileged": spaces.Box(-hidden, hidden, dtype=np.float32),
            }
        )
        self.single_action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        super().__init__(num_envs, horizon)
        self.return_range = (-horizon * (np.pi**2 + 0.1 * MAX_SPEED**2 + 0.001 * max_torque**2), 0.0)
        self._column = {name: place for place, name in enumerate(self._names)}
        self._theta: Floats = np.zeros(num_envs)
        self._speed: Floats = np.zeros(num_envs)
        self._torque: Floats = np.zeros(num_envs)
        self._tilt: Floats = np.zeros(num_envs)

    @fixed_sets
    def test_sets(self) -> dict[str, list[Any]]:  # type: ignore[override]
        """`grid`: 10 x 10 masses and lengths, bounds included; `corners`: the four extremes."""
        return {"grid": self._product(np.linspace(*RANGE, 10)), "corners": self._product(np.array(RANGE))}

    def _product(self, values: Floats) -> list[Any]:
        return [{"mass": np.array(mass), "length": np.array(length)} for mass in values for length in values]

    def oracle_window(self, progress: float, rng: np.random.Generator) -> Any:
        """Draw mass and length from the lower part of their ranges: 20 % of them at 0, everything at 1."""
        top = max(0.2, clipped_progress(progress))
        mass, length = RANGE[0] + (RANGE[1] - RANGE[0]) * top * rng.random(2)
        return {"mass": np.array(mass), "length": np.array(length)}

    def _begin(self, rows: NDArray[np.int64]) -> None:
        starts = np.array([self._generators[row].uniform([-np.pi, -1.0], [np.pi, 1.0]) for row in rows]).reshape(-1, 2)
        self._theta[rows], self._speed[rows] = starts[:, 0], starts[:, 1]
        self._torque[rows] = 0.0
        self._tilt[rows] = 0.0

    def _advance(self, actions: NDArray[Any]) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        mass, length = (self._tasks[:, self._column[name]] for name in ("mass", "length"))
        self._torque = self.max_torque * np.clip(actions[:, 0].astype(np.float64), -1.0, 1.0)
        costs = upright_angle(self._theta) ** 2 + 0.1 * self._speed**2 + 0.001 * self._torque**2
        self._theta, self._speed = integrate(self._theta, self._speed, self._torque, mass, length)
        judged = min(JUDGED_STEPS, self.horizon)
        self._tilt = self._tilt + np.abs(upright_angle(self._theta)) * (self._clock >= self.horizon - judged)
        return -costs, np.zeros(self.num_envs, dtype=bool), self._tilt < SUCCESS_ANGLE * judged

    def _observe(self) -> dict[str, NDArray[np.float32]]:
        policy = np.stack([np.cos(self._theta), np.sin(self._theta), self._torque], axis=1, dtype=np.float32)
        hidden = (self._speed, *(self._tasks[:, self._column[name]] for name in ("mass", "length")))
        return {"policy": policy, "privileged": np.stack(hidden, axis=1, dtype=np.float32)}

    def picture(self, row: int, pixels: int = 48) -> NDArray[np.uint8]:
        """Return a picture, 4.8 m wide, with angles anticlockwise as Gymnasium draws them.

        Blue is the rod in its length, with a disc at its end whose area is its mass, and pale where it was a step
        earlier, which shows its speed. Red around the pivot is the torque, a quarter turn for the largest, from the
        rod towards where it pushes. Green is where the end has to be kept.
        """
        size = round(4.8 * pixels)
        image = np.full((size, size, 3), 255, dtype=np.uint8)
        mass, length = (float(self._tasks[row, self._column[name]]) for name in ("mass", "length"))
        theta, pivot, reach = float(self._theta[row]), (size / 2, size / 2), length * pixels
        end = on_circle(pivot, reach, theta)
        arc(image, pivot, reach, -SUCCESS_ANGLE, SUCCESS_ANGLE, 6, GREEN)
        stroke(image, pivot, on_circle(pivot, reach, theta - DT * float(self._speed[row])), 4, (195, 208, 250))
        stroke(image, pivot, end, 4, BLUE)
        dot(image, end, 0.15 * pixels * mass**0.5, BLUE)
        if self._torque[row] != 0:
            tip = theta + float(self._torque[row]) / self.max_torque * np.pi / 2
            arc(image, pivot, 0.35 * pixels, theta, tip, 5, RED)
        dot(image, pivot, 4, DARK)
        return image


class HiddenMassPendulum(SingleEnv):
    """Swing up a pendulum of unknown mass and length; see `HiddenMassPendulumBatch`."""

    def __init__(self, *, render_mode: str | None = None, **kwargs: Any) -> None:
        super().__init__(HiddenMassPendulumBatch(1, **kwargs), render_mode)
