"""StumpTracks: a two- or four-legged walker on ground with stumps, with as many task parameters as one asks for.

    env = gymnasium.make("rlteach_envs:rlteach/StumpTracks-v0")
    env.reset(options={"task": {"stump_height": 1.2, "obstacle_spacing": 3.0}})

The tracks are those of Portelas et al. (2019, "Teacher algorithms for curriculum learning of Deep RL in continuously
parameterized environments") and Romac et al. (2021, "TeachMyAgent: a benchmark for automatic curriculum learning in
Deep RL"); walker, observation and reward those of Gymnasium's BipedalWalker. Needs Box2D: pip install rlteach[box2d].
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach_envs.lidar import RAYS, Lidar
from rlteach_envs.stump_terrain import GOAL, GROUND_HEIGHT, START_PAD, Terrain, TrackNumbers, make_terrain
from rlteach_envs.walker_bodies import BODIES, WalkerBody

Floats = NDArray[np.float64]

PUSH = 5.0
"""Largest force that pushes the hull sideways during the first step, in N."""

SUCCESS_RETURN = 230.0
"""An episode with a higher undiscounted return counts as a success (Portelas et al. 2019)."""

FALL_REWARD = -100.0
PROGRESS_REWARD = 130 / 30.0
"""Reward per metre forwards."""

TILT_REWARD = -5.0
"""Reward per rad that the hull leans further from level."""


@dataclass(frozen=True)
class TaskParameter:
    """What one task parameter is and may be.

    Attributes:
        unit: Its unit; steps are of 14/30 m.
        low: Lower end of the usual range.
        high: Upper end of the usual range.
        least: Smallest value that has a meaning.
        most: Largest value that has a meaning.
        size: Number of components; 0 for a scalar.
        trend: Whether larger values are harder (1), easier (-1), or neither (0).
    """

    unit: str
    low: float
    high: float
    least: float
    most: float
    size: int = 0
    trend: int = 1


PARAMETERS = {
    "stump_height": TaskParameter("steps", 0.0, 3.0, -10.0, 10.0),
    "obstacle_spacing": TaskParameter("m", 0.0, 6.0, 0.0, 80.0, trend=-1),
    "stump_width": TaskParameter("steps", 0.5, 4.0, 0.0, 100.0),
    "stump_rotation": TaskParameter("rad", 0.0, 3.1, 0.0, 6.3, trend=0),
    "roughness": TaskParameter("m/30", 0.0, 10.0, 0.0, 30.0),
    "poly_shape": TaskParameter("steps", 0.0, 4.0, -10.0, 10.0, size=12),
    "stump_sequence": TaskParameter("steps, m", 0.0, 6.0, 0.0, 20.0, size=10),
}
"""Every parameter that a track can have."""

Range = tuple[float, float]


class StumpTracks(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Walk over obstacles to the end of a track of 93 m.

    Task: by default `stump_height`, the mean height of the stumps, in [0, 3] steps of 14/30 m, and
    `obstacle_spacing`, the flat ground after each stump, in [0, 6] m. Heights scatter by 0.1 steps around the mean and
    are at least 0.05. Further parameters: `stump_width` (steps), `stump_rotation` (rad), `roughness` of the ground
    (1/30 m), `poly_shape` (twelve offsets of the corners of hexagons, in steps) and `stump_sequence` (height in steps
    and width in m of five stumps without gaps). The first alternates with the latter two where several are enabled.

    Physics: Box2D, steps of 1/50 s, warm starting. The hull is pushed by U(-5, 5) N during the first step.
    Action a in [-1, 1] per motor: full speed in the direction of sign(a), with |a| as the share of the torque.
    Observation (float32, 24 numbers for two legs, 34 for four; order as in BipedalWalker): hull angle (rad), angular
    velocity (2/50), horizontal and vertical velocity (0.12 and 0.08 per m/s); per leg hip angle, hip speed, knee angle
    + 1, knee speed (in units of 4 and 6 rad/s), ground contact; ten lidar distances, 1 = 160/30 m.
    Reward: 130/30 per m forwards, -5 per rad that the hull leans further, -0.028 per motor at full torque (half of it
    for the quadruped); -100 instead when the hull touches anything or gets behind the beginning of the track, which
    terminates. Reaching 88.7 m terminates too. Truncation after `horizon` steps. Success: a return above 230.

    `reset` takes no step of its own, so the first observation is of the pose in which the walker is put down.

    A snapshot holds no solver impulses, which Box2D does not give away. So that whoever continues from it continues
    exactly, `get_snapshot` also replaces the environment's own world by one rebuilt from the snapshot: saving changes
    the episode that goes on a little, and restored copies follow the changed one bit by bit.

    Args:
        body: `"classic_bipedal"`, `"old_classic_bipedal"`, `"short"` or `"quadruped"`; see `walker_bodies`.
        parameters: The task space, as `{name: (low, high)}`, or as names alone for their usual ranges. Vector
            parameters share one range.
        fixed: Values of further parameters, the same in every task.
        height_std: Standard deviation of stump heights, in steps.
        width_std: Standard deviation of stump widths, in steps.
        rotation_std: Standard deviation of stump angles, in rad.
        shape_std: Standard deviation of the corners of hexagons, in steps.
        sequence_std: Standard deviation of heights (steps) and widths (m) in a sequence.
        velocity_iterations: Solver iterations per step for velocities.
        position_iterations: Solver iterations per step for positions.
        horizon: Steps after which an episode is truncated.
        lidar: `"numba"`, `"numpy"`, or `"auto"`: numba where it is installed. They give equal numbers.
        render_mode: None or `"rgb_array"`.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 50}  # type: ignore[misc]
    env_version = "0"
    return_range = (-150.0, 350.0)

    def __init__(
        self,
        body: str = "classic_bipedal",
        *,
        parameters: Mapping[str, Range] | Sequence[str] = ("stump_height", "obstacle_spacing"),
        fixed: Mapping[str, Any] | None = None,
        height_std: float = 0.1,
        width_std: float = 0.1,
        rotation_std: float = 0.1,
        shape_std: float = 0.1,
        sequence_std: float = 0.1,
        velocity_iterations: int = 180,
        position_iterations: int = 60,
        horizon: int = 2000,
        lidar: str = "auto",
        render_mode: str | None = None,
    ) -> None:
        _check_name("body", body, BODIES)
        for name, count in (("velocity_iterations", velocity_iterations), ("position_iterations", position_iterations)):
            if count < 1:
                raise ValueError(f"{name} = {count} must be at least 1")
        if horizon < 1:
            raise ValueError(f"horizon = {horizon} must be at least 1")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode = {render_mode!r} must be None or 'rgb_array'")
        self.body, self.horizon, self.render_mode = body, horizon, render_mode
        self._ranges = _ranges(parameters)
        self._stds: dict[str, Any] = {
            "height_std": height_std,
            "width_std": width_std,
            "rotation_std": rotation_std,
            "shape_std": shape_std,
            "sequence_std": sequence_std,
        }
        _check_stds(self._stds)
        self._fixed = {name: _checked(name, value, PARAMETERS) for name, value in (fixed or {}).items()}
        _check_combination(self._ranges, self._fixed)
        self.task_space = spaces.Dict({name: _box(name, *ends) for name, ends in self._ranges.items()})
        self.task_units = {name: PARAMETERS[name].unit for name in self._ranges}
        self._body = BODIES[body]
        count, motors = self._body.observation_size + RAYS, len(self._body.motors)
        self.observation_space = spaces.Box(-np.inf, np.inf, (count,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (motors,), np.float32)
        self._senses = count - RAYS
        self._lidar = Lidar(lidar)
        self._world = _make_world(self._body, velocity_iterations, position_iterations)
        parts = len(self._body.parts)
        self._start = (
            _start_states(self._body),
            np.ones(parts, bool),
            np.zeros((motors, 2)),
            np.zeros(parts, np.int64),
        )
        self._terrain: Terrain | None = None

    # -- tasks -----------------------------------------------------------------------------------------------------

    @cached_property
    def test_sets(self) -> dict[str, list[Any]]:
        """`grid`: 10 x 10, bounds included, for the default two parameters; else `uniform`: 100 seeded tasks."""
        if set(self._ranges) == {"stump_height", "obstacle_spacing"}:
            heights, spacings = (np.linspace(*self._ranges[name], 10) for name in ("stump_height", "obstacle_spacing"))
            pairs = [(height, spacing) for height in heights for spacing in spacings]
            return {"grid": [{"stump_height": np.array(h), "obstacle_spacing": np.array(s)} for h, s in pairs]}
        rng = np.random.default_rng(31)
        return {"uniform": [self._draw_task(rng) for _ in range(100)]}

    def _task_of(self, *values: Any) -> dict[str, Any]:
        return {name: np.asarray(value, dtype=np.float64) for name, value in zip(self._ranges, values, strict=True)}

    def _draw_task(self, rng: np.random.Generator, low: float = 0.0, high: float = 1.0) -> dict[str, Any]:
        """Draw each parameter from the part low to high of its range, 0 being its easy end."""
        values = []
        for name, (least, most) in self._ranges.items():
            parameter = PARAMETERS[name]
            share = rng.uniform(*((low, high) if parameter.trend else (0.0, 1.0)), size=parameter.size or None)
            share = 1.0 - share if parameter.trend < 0 else share
            values.append(np.clip(least + share * (most - least), least, most))
        return self._task_of(*values)

    def oracle_window(self, progress: float, rng: np.random.Generator) -> dict[str, Any]:
        """Draw from a window of 20 % of every range, sliding from low, narrow and sparse to hard; at 1 from all."""
        if progress >= 1:
            return self._draw_task(rng)
        return self._draw_task(rng, 0.8 * progress, 0.8 * progress + 0.2)

    def _read_task(self, task: Any) -> dict[str, Any]:
        if not isinstance(task, Mapping):
            raise ValueError(f"a task is a mapping with {', '.join(self._ranges)}, not {task!r}")
        for name in task:
            _check_name("task parameter", name, self._ranges)
        if missing := [name for name in self._ranges if name not in task]:
            raise ValueError(f"the task lacks {', '.join(missing)}")
        return {name: _checked(name, task[name], self._ranges) for name in self._ranges}

    # -- episodes --------------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode in a new world, with `options["task"]` or a task drawn uniformly."""
        super().reset(seed=seed)
        given = (options or {}).get("task")
        self._task = self._draw_task(self.np_random) if given is None else self._read_task(given)
        self._terrain = make_terrain(self._numbers(), self.np_random)
        self._push = 2.0 * PUSH * self.np_random.random() - PUSH  # as `uniform` draws it, in half the time
        self._clock, self._return = 0, 0.0
        self._build(*self._start)
        senses = self._world.sense()
        x, y = self._world.hull_position()
        self._shaping = self._shape(x, senses[0])
        return self._observe(senses, x, y), {}

    def _numbers(self) -> TrackNumbers:
        values: dict[str, Any] = {name: value.tolist() for name, value in (self._fixed | self._task).items()}
        return TrackNumbers(**self._stds, **values)

    def _build(self, states: Floats, awake: NDArray[np.bool_], motors: Floats, contacts: NDArray[np.int64]) -> None:
        assert self._terrain is not None
        self._lidar.load(self._terrain.segments())
        self._world.build(self._terrain, states, awake, motors, contacts)
        if self._clock == 0:
            self._world.push(self._push)

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Advance by 1/50 s."""
        if self._terrain is None:
            raise RuntimeError("call reset() before step()")
        world = self._world
        effort = world.step(action.tolist() if isinstance(action, np.ndarray) else list(action))
        senses = world.sense()
        x, y = world.hull_position()
        shaping = self._shape(x, senses[0])
        reward = shaping - self._shaping - self._body.penalty * effort
        self._shaping = shaping
        fell = world.hull_touched or x < 0.0
        if fell:
            reward = FALL_REWARD
        self._clock += 1
        self._return += reward
        terminated = fell or x > GOAL
        truncated = not terminated and self._clock >= self.horizon
        info = {"is_success": self._return > SUCCESS_RETURN} if terminated or truncated else {}
        return self._observe(senses, x, y), reward, terminated, truncated, info

    @staticmethod
    def _shape(x: float, angle: float) -> float:
        return PROGRESS_REWARD * x + TILT_REWARD * abs(angle)

    def _observe(self, senses: list[float], x: float, y: float) -> NDArray[np.float32]:
        observation = np.empty(self._senses + RAYS, dtype=np.float32)
        observation[: self._senses] = senses
        self._lidar.scan(x, y, observation)
        return observation

    # -- snapshots -------------------------------------------------------------------------------------------------

    def get_snapshot(self) -> dict[str, Any]:
        """Return the whole state as arrays, numbers and strings, and go on in a world rebuilt from it."""
        if self._terrain is None:
            raise RuntimeError("call reset() before get_snapshot()")
        polygons = self._terrain.polygons
        snapshot = {
            "env_version": self.env_version,
            "body": self.body,
            "generator": json.dumps(self.np_random.bit_generator.state),
            "task": {name: value.copy() for name, value in self._task.items()},
            "ground": self._terrain.ground.copy(),
            "boxes": self._terrain.boxes.copy(),
            "polygons": np.concatenate([np.empty((0, 2)), *polygons]),
            "polygon_sizes": np.array([len(polygon) for polygon in polygons], dtype=np.int64),
            "states": self._world.states(),
            "awake": self._world.awake(),
            "motors": self._world.motors(),
            "contacts": self._world.contacts(),
            "hull_touched": self._world.hull_touched,
            "push": self._push,
            "shaping": self._shaping,
            "clock": self._clock,
            "return": self._return,
        }
        self._restore(snapshot)
        return snapshot

    def set_snapshot(self, snapshot: Mapping[str, Any]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Continue bit-exactly from a snapshot of this or another environment with the same body.

        Raises:
            ValueError: When it was made by another version or for another body.
        """
        version, body = snapshot.get("env_version"), snapshot.get("body")
        if version != self.env_version or body != self.body:
            wanted = f"{self.env_version!r} with {self.body!r}"
            raise ValueError(f"this snapshot is of version {version!r} with body {body!r}, not of {wanted}")
        return self._restore(snapshot)

    def _restore(self, snapshot: Mapping[str, Any]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        self.np_random.bit_generator.state = json.loads(snapshot["generator"])
        self._task = {name: np.array(value) for name, value in snapshot["task"].items()}
        ends = np.cumsum(snapshot["polygon_sizes"])[:-1]
        polygons = np.split(snapshot["polygons"], ends) if len(snapshot["polygon_sizes"]) else []
        self._terrain = Terrain(np.array(snapshot["ground"]), np.array(snapshot["boxes"]), tuple(polygons))
        self._push, self._shaping = float(snapshot["push"]), float(snapshot["shaping"])
        self._clock, self._return = int(snapshot["clock"]), float(snapshot["return"])
        self._build(snapshot["states"], snapshot["awake"], snapshot["motors"], snapshot["contacts"])
        self._world.hull_touched = bool(snapshot["hull_touched"])
        return self._observe(self._world.sense(), *self._world.hull_position()), {}

    # -- pictures --------------------------------------------------------------------------------------------------

    def render(self) -> NDArray[np.uint8] | None:
        """Return a picture (400, 600, 3), 30 pixels to a metre: ground green, obstacles grey, the walker in front."""
        if self.render_mode != "rgb_array" or self._terrain is None:
            return None
        from rlteach_envs.stump_picture import draw

        return draw(self._terrain, self._body, self._world.states())


def _start_states(body: WalkerBody) -> Floats:
    x, y = START_PAD / 2, GROUND_HEIGHT + body.height
    rows = [(x + part.start[0], y + part.start[1], part.tilt, 0.0, 0.0, 0.0) for part in body.parts]
    return np.array(rows)


# -- checking what users give ------------------------------------------------------------------------------------------


def _check_name(what: str, name: Any, known: Iterable[str]) -> None:
    names = list(known)
    if name in names:
        return
    near = difflib.get_close_matches(str(name), names, 1, 0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"unknown {what} {name!r}: {hint}There are {', '.join(names)}")


def _ranges(parameters: Mapping[str, Range] | Sequence[str]) -> dict[str, Range]:
    if isinstance(parameters, str):
        parameters = (parameters,)
    for name in parameters:
        _check_name("parameter", name, PARAMETERS)
    if not isinstance(parameters, Mapping):
        parameters = {name: (PARAMETERS[name].low, PARAMETERS[name].high) for name in parameters}
    if not parameters:
        raise ValueError(f"a task space needs at least one of {', '.join(PARAMETERS)}")
    ranges = {}
    for name, ends in parameters.items():
        known = PARAMETERS[name]
        try:
            low, high = map(float, ends)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the range of {name} is (low, high), not {ends!r}") from error
        if not known.least <= low < high <= known.most:
            raise ValueError(f"{name}: ({low:g}, {high:g}) must rise and lie inside [{known.least:g}, {known.most:g}]")
        ranges[name] = (low, high)
    return ranges


def _box(name: str, low: float, high: float) -> spaces.Box:
    size = PARAMETERS[name].size
    return spaces.Box(low, high, (size,) if size else (), np.float64)


def _checked(name: str, value: Any, limits: Mapping[str, Range] | Mapping[str, TaskParameter]) -> Floats:
    """Return a value as an array of the right shape, or say which parameter is wrong."""
    _check_name("parameter", name, limits)
    limit, size = limits[name], PARAMETERS[name].size
    low, high = (limit.least, limit.most) if isinstance(limit, TaskParameter) else limit
    shape = (size,) if size else ()
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} = {value!r} is not {f'{size} numbers' if size else 'a number'}") from error
    if array.size != (size or 1):
        raise ValueError(f"{name} has shape {array.shape}, not {shape}")
    array = array.reshape(shape)
    for i, number in enumerate(array.ravel().tolist()):
        if not low <= number <= high:
            raise ValueError(f"{name}{f'[{i}]' if size else ''} = {number:g} lies outside [{low:g}, {high:g}]")
    return array


def _check_stds(stds: Mapping[str, float]) -> None:
    for name, value in stds.items():
        if not 0.0 <= value < np.inf:
            raise ValueError(f"{name} = {value} must be a finite number of at least 0")


def _check_combination(ranges: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
    if twice := [name for name in fixed if name in ranges]:
        raise ValueError(f"{twice[0]} is both fixed and a task parameter")
    names = {*ranges, *fixed}
    if "stump_height" not in names and (orphans := names & {"stump_width", "stump_rotation"}):
        raise ValueError(f"{min(orphans)} needs stumps: add stump_height to the parameters or to the fixed values")


def _make_world(body: Any, velocity_iterations: int, position_iterations: int) -> Any:
    try:
        from rlteach_envs.walker_world import WalkerWorld
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("Box2D", "_Box2D"):
            raise
        raise gym.error.DependencyNotInstalled("StumpTracks needs Box2D: pip install rlteach[box2d]") from error
    return WalkerWorld(body, velocity_iterations, position_iterations)
