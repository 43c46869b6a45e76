"""PointMassGate: steer a point mass through a gate, with a dense reward."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach_envs.arguments import clipped_progress, fixed_sets
from rlteach_envs.batch import BatchEnv, Floats, SingleEnv

SUBSTEPS = 10
DT = 0.01
ACCELERATION = 15.0
FORCE_NOISE = 0.05
START = np.array([0.0, 3.0])
GOAL = np.array([0.0, -3.0])
GOAL_RADIUS = 0.25
BEFORE_GATE = 0.5
"""How high above the wall the demonstration waits until it is in line with the gate, in m."""


def integrate(positions: Floats, velocities: Floats, forces: Floats, friction: Floats | None) -> tuple[Floats, Floats]:
    """Return positions and velocities (n, substeps + 1, 2) under explicit Euler steps of 0.01 s.

    x' = v, v' = force - friction v. Positions advance with the velocity before the step.

    Args:
        positions: Positions at the beginning (n, 2), in m.
        velocities: Velocities at the beginning (n, 2), in m/s.
        forces: Acceleration during each substep (n, substeps, 2), in m/s^2.
        friction: Friction of each row (n,), in 1/s, or None for none.
    """
    count = forces.shape[1]
    path = np.empty((len(positions), count + 1, 2))
    speed = np.empty_like(path)
    path[:, 0], speed[:, 0] = positions, velocities
    if friction is None:
        speed[:, 1:] = velocities[:, None] + DT * np.cumsum(forces, axis=1)
        path[:, 1:] = positions[:, None] + DT * np.cumsum(speed[:, :-1], axis=1)
        return path, speed
    for k in range(count):
        path[:, k + 1] = path[:, k] + DT * speed[:, k]
        speed[:, k + 1] = speed[:, k] + DT * (forces[:, k] - friction[:, None] * speed[:, k])
    return path, speed


def wall_contact(path: Floats, gate: Floats, width: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Return which paths (n, k, 2) cross y = 0 outside their gate, and where (x, 0) the first such crossing is.

    Args:
        path: Positions at successive substeps.
        gate: Middle of the gate (n,), in m.
        width: Width of the gate (n,), in m.
    """
    y0, y1 = path[:, :-1, 1], path[:, 1:, 1]
    crosses = (y0 > 0) != (y1 > 0)
    if not crosses.any():
        return np.zeros(len(path), dtype=bool), np.zeros((len(path), 2))
    share = np.divide(y0, y0 - y1, out=np.zeros_like(y0), where=crosses)
    x = path[:, :-1, 0] + share * (path[:, 1:, 0] - path[:, :-1, 0])
    hits = crosses & (np.abs(x - gate[:, None]) > width[:, None] / 2)
    first = hits.argmax(axis=1)
    where = np.stack([x[np.arange(len(path)), first], np.zeros(len(path))], axis=1)
    return hits.any(axis=1), where


class PointMassGateBatch(BatchEnv):
    """The point mass of Klink et al. (2020, "Self-paced deep RL"; 2022, CURROT): through a gate in a wall to a goal.

    Task: `position` of the gate in [-4, 4] m and its `width` in [0.5, 8] m; with `friction=True` also a viscous
    `friction` in [0, 4] 1/s.
    State: x, vx, y, vy; start (0, 3) at rest, goal (0, -3). Action a in [-1, 1]^2: 15 a + N(0, 0.05) m/s^2 for 10
    explicit Euler steps of 0.01 s, with the noise drawn anew in each. Touching the wall y = 0 outside the
    gate terminates. Reward at each step: exp(-0.6 d), d the distance to the goal in m. Success: d < 0.25 m at the end
    of any step. Truncation after 100 steps.
    Observation (float32): x/4, vx/6, y/4, vy/6, and the task scaled to [-1, 1].

    Args:
        num_envs: Number of rows.
        friction: Whether friction is a third parameter.
        horizon: Steps after which an episode is truncated.
    """

    task_units: ClassVar[dict[str, str]] = {"position": "m", "width": "m", "friction": "1/s"}
    return_range = (0.0, 60.0)
    state_names = ("_positions", "_velocities", "_noise", "_succeeded")
    longest_horizon = 100_000  # of which the noise takes 16 MB for each row

    def __init__(self, num_envs: int = 1, *, friction: bool = False, horizon: int = 100) -> None:
        parameters = {
            "position": spaces.Box(-4.0, 4.0, (), np.float64),
            "width": spaces.Box(0.5, 8.0, (), np.float64),
        }
        if friction:
            parameters["friction"] = spaces.Box(0.0, 4.0, (), np.float64)
        self.task_space = spaces.Dict(parameters)
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (4 + len(parameters),), np.float32)
        self.single_action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        super().__init__(num_envs, horizon)
        self._column = {name: place for place, name in enumerate(self._names)}
        self._positions: Floats = np.zeros((num_envs, 2))
        self._velocities: Floats = np.zeros((num_envs, 2))
        self._noise: Floats = np.zeros((num_envs, horizon, SUBSTEPS, 2))
        self._succeeded = np.zeros(num_envs, dtype=bool)

    @fixed_sets
    def test_sets(self) -> dict[str, list[Any]]:  # type: ignore[override]
        """`grid`: 20 x 20, bounds included; `hard`: 29 positions x narrow widths; `target`: +-3 m, 0.5 m wide."""
        return {
            "grid": self._product(np.linspace(-4, 4, 20), np.linspace(0.5, 8, 20)),
            "hard": self._product(np.linspace(-4, 4, 29), np.array([0.5, 0.6, 0.75, 1.0])),
            "target": self._product(np.array([-3.0, 3.0]), np.array([0.5])),
        }

    def _product(self, positions: Floats, widths: Floats) -> list[Any]:
        return [self._task(position, width, 0.0) for position in positions for width in widths]

    def _task(self, position: float, width: float, friction: float) -> dict[str, Any]:
        values = {"position": position, "width": width, "friction": friction}
        return {name: np.array(values[name]) for name in self._column}

    def oracle_window(self, progress: float, rng: np.random.Generator) -> Any:
        """Draw any position, and a width from a window of 20 % sliding from wide to narrow; at 1 any task."""
        progress = clipped_progress(progress)
        top = 1.0 - 0.8 * progress
        share = rng.random() if progress >= 1 else rng.uniform(top - 0.2, top)
        return self._task(rng.uniform(-4, 4), 0.5 + 7.5 * share, rng.uniform(0, 4))

    def demonstrate(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the action (2,) of a controller that masters every task.

        It goes before the gate, then through it, then to the goal: as if by springs, with damping against the speed.
        """
        x, vx, y, vy = (observation[:4] * (4, 6, 4, 6)).tolist()
        aim_x = 4.0 * float(observation[4 + self._column["position"]]) if y > 0 else GOAL[0]
        aim_y = GOAL[1] if y < 0 or abs(x - aim_x) < 0.1 else BEFORE_GATE
        return np.clip([2 * (aim_x - x) - vx, 2 * (aim_y - y) - vy], -1.0, 1.0).astype(np.float32)

    def feasibility(self, task: Any) -> bool:
        """Return True: `demonstrate` masters every task in 100 steps (a shorter horizon may be too short)."""
        self._read_one(task)
        return True

    def _begin(self, rows: NDArray[np.int64]) -> None:
        self._positions[rows], self._velocities[rows] = START, 0.0
        self._succeeded[rows] = False
        for row in rows:
            # One draw for the whole episode keeps stepping free of per-row loops.
            self._noise[row] = self._generators[row].normal(0.0, FORCE_NOISE, self._noise.shape[1:])

    def _advance(self, actions: NDArray[Any]) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        everyone = np.arange(self.num_envs)
        noise = self._noise[everyone, np.minimum(self._clock, self.horizon - 1)]
        forces = ACCELERATION * np.clip(actions.astype(np.float64), -1.0, 1.0)[:, None] + noise
        friction = self._tasks[:, self._column["friction"]] if "friction" in self._column else None
        path, speed = integrate(self._positions, self._velocities, forces, friction)
        gate, width = (self._tasks[:, self._column[name]] for name in ("position", "width"))
        crashed, where = wall_contact(path, gate, width)
        self._positions = np.where(crashed[:, None], where, path[:, -1])
        self._velocities = np.where(crashed[:, None], 0.0, speed[:, -1])
        distance = np.hypot(self._positions[:, 0] - GOAL[0], self._positions[:, 1] - GOAL[1])
        self._succeeded = self._succeeded | (distance < GOAL_RADIUS)
        return np.exp(-0.6 * distance), crashed, self._succeeded

    def _observe(self) -> NDArray[np.float32]:
        tasks = 2 * (self._tasks - self._low) / (self._high - self._low) - 1
        state = np.stack([self._positions / 4, self._velocities / 6], axis=2).reshape(self.num_envs, 4)
        return np.concatenate([state, tasks], axis=1).astype(np.float32)

    def picture(self, row: int, pixels: int = 24) -> NDArray[np.uint8]:
        """Return a picture, 10 m wide: wall dark, goal green, the mass blue."""
        image = np.full((10 * pixels, 10 * pixels, 3), 255, dtype=np.uint8)
        gate, width = (self._tasks[row, self._column[name]] for name in ("position", "width"))
        x = (np.arange(10 * pixels) + 0.5) / pixels - 5
        image[5 * pixels - 2 : 5 * pixels + 2, np.abs(x - gate) > width / 2] = 60
        for place, colour in ((GOAL, (40, 160, 60)), (self._positions[row], (40, 80, 220))):
            left, top = (int(np.clip(v, 0, 10) * pixels) for v in (place[0] + 5, 5 - place[1]))
            image[max(top - 5, 0) : top + 5, max(left - 5, 0) : left + 5] = colour
        return image


class PointMassGate(SingleEnv):
    """Steer a point mass through a gate, with a dense reward; see `PointMassGateBatch`."""

    def __init__(self, *, render_mode: str | None = None, **kwargs: Any) -> None:
        super().__init__(PointMassGateBatch(1, **kwargs), render_mode)
