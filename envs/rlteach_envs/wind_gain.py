"""WindGain: hold a point mass at the origin with motors of unknown gain, in a wind that cannot be seen."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach_envs.arguments import clipped_progress, fixed_sets
from rlteach_envs.batch import BatchEnv, Floats, SingleEnv

DT = 0.05
LAG = 0.1
START = 1.0
BOUNDARY = 4.0
CRASH = -20.0
TOP_LOG_GAIN = float(np.log(8.0))
TOP_WIND = 0.8
SUCCESS_RADIUS = 0.25


def integrate(
    positions: Floats, velocities: Floats, commands: Floats, actions: Floats, gains: Floats, wind: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return positions, velocities and motor commands (n, 2) after one step of 0.05 s, by semi-implicit Euler.

    The command follows the action exactly, with a time constant of 0.1 s; then v' = gain command + wind, x' = v.
    """
    commands = commands + (1 - np.exp(-DT / LAG)) * (actions - commands)
    velocities = velocities + DT * (gains * commands + wind)
    return positions + DT * velocities, velocities, commands


class WindGainBatch(BatchEnv):
    """A point mass on a plane, of which a student sees neither velocity, gain nor wind.

    What has to be identified while acting is what rapid motor adaptation (Kumar et al. 2021, "RMA") and its kin hide
    on real robots; here it is small enough for minutes of training.

    Task: `log_gain_x` and `log_gain_y` in [0, ln 8], the logarithms of what a full command accelerates per axis (1 to
    8 m/s^2), and `wind_x`, `wind_y` in [-0.8, 0.8] m/s^2.
    State: position p and velocity v per axis, motor command u. Start: p ~ U(-1, 1)^2 m, v = u = 0.
    Action a in [-1, 1]^2. Per step of 0.05 s: u += (1 - exp(-0.05/0.1)) (a - u), v += 0.05 (gain u + wind),
    p += 0.05 v. The start, the lag of 0.1 s and the absence of drag are choices made here.
    Reward at each step: 1 - min(|p|, 2) - 0.02 |a|^2, and -20 more with termination when |p| > 4 m. Success: within
    0.25 m of the origin at the end. Truncation after 100 steps.
    Observation (float32): `policy`: p, u; `privileged`: v, log gains, wind. Together they are the whole state.

    Args:
        num_envs: Number of rows.
        horizon: Steps after which an episode is truncated.
    """

    task_units: ClassVar[dict[str, str]] = {
        "log_gain_x": "ln(m/s^2)",
        "log_gain_y": "ln(m/s^2)",
        "wind_x": "m/s^2",
        "wind_y": "m/s^2",
    }
    state_names = ("_positions", "_velocities", "_commands")
    observation_groups: ClassVar[dict[str, tuple[str, ...]]] = {"policy": ("policy",), "privileged": ("privileged",)}
    observation_names: ClassVar[dict[str, tuple[str, ...]]] = {
        "policy": ("x", "y", "command_x", "command_y"),
        "privileged": ("velocity_x", "velocity_y", "log_gain_x", "log_gain_y", "wind_x", "wind_y"),
    }
    observation_units: ClassVar[dict[str, tuple[str, ...]]] = {
        "policy": ("m", "m", "1", "1"),
        "privileged": ("m/s", "m/s", "ln(m/s^2)", "ln(m/s^2)", "m/s^2", "m/s^2"),
    }
    action_names = ("command_x", "command_y")
    action_units = ("1", "1")
    control_rate = 1 / DT

    def __init__(self, num_envs: int = 1, *, horizon: int = 100) -> None:
        self.task_space = spaces.Dict(
            {
                "log_gain_x": spaces.Box(0.0, TOP_LOG_GAIN, (), np.float64),
                "log_gain_y": spaces.Box(0.0, TOP_LOG_GAIN, (), np.float64),
                "wind_x": spaces.Box(-TOP_WIND, TOP_WIND, (), np.float64),
                "wind_y": spaces.Box(-TOP_WIND, TOP_WIND, (), np.float64),
            }
        )
        self.single_observation_space = spaces.Dict(
            {
                "policy": spaces.Box(-np.inf, np.inf, (4,), np.float32),
                "privileged": spaces.Box(-np.inf, np.inf, (6,), np.float32),
            }
        )
        self.single_action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        super().__init__(num_envs, horizon)
        self.return_range = (-1.04 * horizon + CRASH, 1.0 * horizon)
        self._positions: Floats = np.zeros((num_envs, 2))
        self._velocities: Floats = np.zeros((num_envs, 2))
        self._commands: Floats = np.zeros((num_envs, 2))

    @fixed_sets
    def test_sets(self) -> dict[str, list[Any]]:  # type: ignore[override]
        """`uniform`: 256 tasks drawn uniformly (seed 0); `corners`: all 16 extremes of gains and wind."""
        draws = np.random.default_rng(0).random((256, 4))
        corners = np.array(np.meshgrid(*[[0.0, 1.0]] * 4, indexing="ij")).reshape(4, -1).T
        return {"uniform": [self._task(unit) for unit in draws], "corners": [self._task(unit) for unit in corners]}

    def _task(self, unit: Floats) -> dict[str, Any]:
        values = np.clip(self._low + unit * (self._high - self._low), self._low, self._high)
        return {name: np.array(value) for name, value in zip(self._names, values, strict=True)}

    def oracle_window(self, progress: float, rng: np.random.Generator) -> Any:
        """Draw from a box around middling gains and no wind, 20 % of the range wide at 0, everything at 1."""
        width = max(0.2, clipped_progress(progress))
        return self._task(0.5 + width * (rng.random(4) - 0.5))

    def _begin(self, rows: NDArray[np.int64]) -> None:
        starts = [self._generators[row].uniform(-START, START, 2) for row in rows]
        self._positions[rows] = np.array(starts).reshape(-1, 2)
        self._velocities[rows] = 0.0
        self._commands[rows] = 0.0

    def _advance(self, actions: NDArray[Any]) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        actions = np.clip(actions.astype(np.float64), -1.0, 1.0)
        self._positions, self._velocities, self._commands = integrate(
            self._positions, self._velocities, self._commands, actions, np.exp(self._tasks[:, :2]), self._tasks[:, 2:]
        )
        distance = np.hypot(self._positions[:, 0], self._positions[:, 1])
        crashed = distance > BOUNDARY
        effort = actions[:, 0] ** 2 + actions[:, 1] ** 2
        rewards = 1 - np.minimum(distance, 2.0) - 0.02 * effort + CRASH * crashed
        return rewards, crashed, distance < SUCCESS_RADIUS

    def _observe(self) -> dict[str, NDArray[np.float32]]:
        return {
            "policy": np.concatenate([self._positions, self._commands], axis=1, dtype=np.float32),
            "privileged": np.concatenate([self._velocities, self._tasks], axis=1, dtype=np.float32),
        }

    def picture(self, row: int, pixels: int = 24) -> NDArray[np.uint8]:
        """Return a picture, 8 m wide: the circle that must not be left white, the origin green, the mass blue."""
        across = (np.arange(8 * pixels) + 0.5) / pixels - 4
        inside = across[:, None] ** 2 + across[None, :] ** 2 <= BOUNDARY**2
        image = np.where(inside[:, :, None], 255, 60).astype(np.uint8).repeat(3, 2)
        for place, colour in ((np.zeros(2), (40, 160, 60)), (self._positions[row], (40, 80, 220))):
            left, top = (int(np.clip(v, 0, 8) * pixels) for v in (place[0] + 4, 4 - place[1]))
            image[max(top - 4, 0) : top + 4, max(left - 4, 0) : left + 4] = colour
        return image


class WindGain(SingleEnv):
    """Hold a point mass with unknown gains in an unseen wind; see `WindGainBatch`."""

    def __init__(self, *, render_mode: str | None = None, **kwargs: Any) -> None:
        super().__init__(WindGainBatch(1, **kwargs), render_mode)
