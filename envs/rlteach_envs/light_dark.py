"""LightDark: find a small goal in the dark, where it pays to go and look at a light first."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach_envs.arguments import fixed_sets
from rlteach_envs.batch import BatchEnv, Floats, SingleEnv
from rlteach_envs.strokes import BLUE, GREEN, RED, dot, stroke

LIGHT_X = 5.0
LEAST_NOISE = 0.05
METER_TOP = 0.5
STEP_LENGTH = 0.5
GOAL_RADIUS = 0.25
SLOPE = 0.02
FAR = 5.0
START_X = (-2.0, 4.0)
START_Y = (-3.0, 3.0)


def noise_std(x: Floats) -> Floats:
    """Return the standard deviation of a reading at x: its variance is (x - 5)^2 / 2 + 0.05^2."""
    return np.sqrt((x - LIGHT_X) ** 2 / 2 + LEAST_NOISE**2)


class LightDarkBatch(BatchEnv):
    """The light-dark domain of Platt et al. (2010, "Belief space planning assuming maximum likelihood observations").

    An expert that knows where it is goes straight to the goal, through the dark. A student that does the same knows
    its place to a metre or so when it arrives, even if it averages all it has read; moving is exact, so one look at
    the light would have told it for good.

    Task: `start_x` in [-2, 4] and `start_y` in [-3, 3], in m.
    State: position p in m. Action a in [-1, 1]^2: p += 0.5 a; nothing stands in the way, and moves are exact.
    Reading z = p + N(0, std^2) with fresh noise at each step, std^2 = (x - 5)^2 / 2 + 0.05^2: 3.5 m at the goal. The
    light at x = 5 and the growth of the variance are Platt's; ranges, moves and rewards are choices made here.
    Reward at each step: 1 within 0.25 m of the goal (0, 0), minus 0.02 min(|p|, 5). Success: within 0.25 m at the end.
    Truncation after `horizon` steps.
    Observation (float32): `policy`: z, a light meter, the last action; `privileged`: p. The meter shows std up to 0.5
    m and stays there in the dark, for a true std would tell x without any noise.

    Args:
        num_envs: Number of rows.
        horizon: Steps after which an episode is truncated.
    """

    task_units: ClassVar[dict[str, str]] = {"start_x": "m", "start_y": "m"}
    state_names = ("_positions", "_actions", "_noise")
    longest_horizon = 1_000_000  # of which the noise takes 16 MB for each row
    observation_groups: ClassVar[dict[str, tuple[str, ...]]] = {"policy": ("policy",), "privileged": ("privileged",)}
    observation_names: ClassVar[dict[str, tuple[str, ...]]] = {
        "policy": ("reading_x", "reading_y", "noise_std", "last_move_x", "last_move_y"),
        "privileged": ("x", "y"),
    }
    observation_units: ClassVar[dict[str, tuple[str, ...]]] = {
        "policy": ("m", "m", "m", "1", "1"),
        "privileged": ("m", "m"),
    }
    action_names = ("move_x", "move_y")
    action_units = ("1", "1")
    control_rate = 1.0

    def __init__(self, num_envs: int = 1, *, horizon: int = 60) -> None:
        self.task_space = spaces.Dict(
            {"start_x": spaces.Box(*START_X, (), np.float64), "start_y": spaces.Box(*START_Y, (), np.float64)}
        )
        self.single_observation_space = spaces.Dict(
            {
                "policy": spaces.Box(-np.inf, np.inf, (5,), np.float32),
                "privileged": spaces.Box(-np.inf, np.inf, (2,), np.float32),
            }
        )
        self.single_action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        super().__init__(num_envs, horizon)
        self.return_range = (-SLOPE * FAR * horizon, 1.0 * horizon)
        self._column = {name: place for place, name in enumerate(self._names)}
        self._positions: Floats = np.zeros((num_envs, 2))
        self._actions: Floats = np.zeros((num_envs, 2))
        self._noise: Floats = np.zeros((num_envs, horizon + 1, 2))

    @fixed_sets
    def test_sets(self) -> dict[str, list[Any]]:  # type: ignore[override]
        """`grid`: 16 x 16 starts, bounds included."""
        return {"grid": [self._task(x, y) for x in np.linspace(*START_X, 16) for y in np.linspace(*START_Y, 16)]}

    def _task(self, x: float, y: float) -> dict[str, Any]:
        return {"start_x": np.array(x), "start_y": np.array(y)}

    def _begin(self, rows: NDArray[np.int64]) -> None:
        self._positions[rows] = self._tasks[rows][:, [self._column["start_x"], self._column["start_y"]]]
        self._actions[rows] = 0.0
        for row in rows:
            # One draw for the whole episode keeps stepping free of per-row loops.
            self._noise[row] = self._generators[row].standard_normal(self._noise.shape[1:])

    def _advance(self, actions: NDArray[Any]) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        self._actions = np.clip(actions.astype(np.float64), -1.0, 1.0)
        self._positions = self._positions + STEP_LENGTH * self._actions
        distance = np.hypot(self._positions[:, 0], self._positions[:, 1])
        at_goal = distance < GOAL_RADIUS
        return at_goal - SLOPE * np.minimum(distance, FAR), np.zeros(self.num_envs, dtype=bool), at_goal

    def _observe(self) -> dict[str, NDArray[np.float32]]:
        std = noise_std(self._positions[:, 0])[:, None]
        noise = self._noise[np.arange(self.num_envs), self._clock]
        parts = [self._positions + std * noise, np.minimum(std, METER_TOP), self._actions]
        return {
            "policy": np.concatenate(parts, axis=1, dtype=np.float32),
            "privileged": self._positions.astype(np.float32),
        }

    def picture(self, row: int, pixels: int = 20) -> NDArray[np.uint8]:
        """Return a picture of x from -5 to 7 m and y from -6 to 6 m: the brighter, the less noise.

        Green the goal, blue where it is, at the edge when it has left the picture, and red where it reads that it is,
        when that lies inside.
        """
        x = (np.arange(12 * pixels) + 0.5) / pixels - 5
        dark = (noise_std(x) / noise_std(np.array(-5.0)))[:, None]
        ground = (1 - dark) * np.array([255, 245, 190]) + dark * np.array([45, 45, 70])
        image = np.tile(ground.astype(np.uint8), (12 * pixels, 1, 1))
        place = self._positions[row]
        reading = place + noise_std(place[:1]) * self._noise[row, self._clock[row]]
        inside = np.clip(place, (-5, -6), (7, 6))
        (goal_x, goal_y), at, read = (((x + 5) * pixels, (6 - y) * pixels) for x, y in ((0, 0), inside, reading))
        stroke(image, (goal_x, goal_y), (goal_x, goal_y), 2 * GOAL_RADIUS * pixels, GREEN)
        dot(image, at, 5, BLUE)
        dot(image, read, 3, RED)
        return image


class LightDark(SingleEnv):
    """Find a small goal in the dark, by way of a light; see `LightDarkBatch`."""

    def __init__(self, *, render_mode: str | None = None, **kwargs: Any) -> None:
        super().__init__(LightDarkBatch(1, **kwargs), render_mode)
