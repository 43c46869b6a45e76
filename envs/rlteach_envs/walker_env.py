"""What every walker on a track has in common: tasks, episodes, reward and snapshots; derived classes give the track.

Observation, reward and actions are those of Gymnasium's BipedalWalker, for any body of `walker_bodies`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach_envs.action_reader import ActionReader
from rlteach_envs.arguments import KeepsArguments, check_at_least_one, check_render_mode, clipped_progress
from rlteach_envs.lidar import RAYS, Lidar
from rlteach_envs.snapshot_reader import (
    NO_MATTER,
    ForeignSnapshot,
    check_marks,
    marks_of,
    read_array,
    read_generator,
    read_number,
)
from rlteach_envs.stump_terrain import STEP, Terrain
from rlteach_envs.walker_bodies import WalkerBody
from rlteach_envs.walker_tasks import Tasks

Observation = NDArray[np.float32]

PUSH = 5.0
"""Largest force that pushes the hull sideways during the first step, in N."""

SUCCESS_RETURN = 230.0
"""An episode with a higher undiscounted return counts as a success (Portelas et al. 2019)."""

FALL_REWARD = -100.0
PROGRESS_REWARD = 130 / 30.0
"""Reward per metre forwards."""

TILT_REWARD = -5.0
"""Reward per rad that the hull leans further from level."""


LAST_STEP = 0.5
"""Nobody gets further beyond the goal with the step that reaches it, in m: that would be 25 m/s."""

AHEAD = 20
"""Places ahead of the hull, two steps of the track apart, of which an expert may know the heights."""


def places_ahead(x: float) -> NDArray[np.float64]:
    """Return where these places (20,) are when the hull is at x, in m."""
    places: NDArray[np.float64] = x + 2 * STEP * np.arange(AHEAD)
    return places


def returns_of(
    body: WalkerBody, start: Mapping[str, Any], goal: float, horizon: int, turns: float
) -> tuple[float, float]:
    """Return bounds of the undiscounted return of an episode, as whole numbers.

    The least is that of a body which uses every motor at full torque until the end, turns over, gets back to the
    beginning of the track and falls there.

    Args:
        body: The body.
        start: The pose in which it starts.
        goal: Where an episode ends well, in m.
        horizon: Steps after which an episode is truncated.
        turns: How often it turns over, at most.
    """
    x = float(np.asarray(start["states"])[0, 0])
    effort = body.penalty * (len(body.motors) + len(body.hands)) * horizon
    least = FALL_REWARD - PROGRESS_REWARD * x + TILT_REWARD * 2 * math.pi * turns - effort
    return float(math.floor(least)), float(math.ceil(PROGRESS_REWARD * (goal + LAST_STEP - x)))


class WalkerEnv(KeepsArguments, gym.Env[Any, NDArray[np.float32]], ABC):
    """A walker that is to reach the end of a track.

    Args:
        tasks: What varies from task to task.
        name: Name of the body.
        body: The body.
        world: A `WalkerWorld` of that body.
        start: The pose in which it starts.
        goal: Where an episode ends well, in m.
        lidar: What it sees with.
        horizon: Steps after which an episode is truncated.
        render_mode: None or `"rgb_array"`.
        more_senses: Numbers that `_sense` gives beyond those of the body.
        more_actions: Numbers of an action beyond those of the motors.
        privileged: Numbers that `_look_ahead` gives, and only an expert sees; none are observed when it is 0.
        turns: How often the body turns over, at most, before an episode ends.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 50}  # type: ignore[misc]
    env_version = "0"
    terrain_type: ClassVar[type[Terrain]] = Terrain
    more_state: ClassVar[dict[str, type]] = {}
    """What a derived class adds to a snapshot: numbers by name, kept as attributes with an underscore."""

    def __init__(
        self,
        *,
        tasks: Tasks,
        name: str,
        body: WalkerBody,
        world: Any,
        start: Mapping[str, Any],
        goal: float,
        lidar: Lidar,
        horizon: int,
        render_mode: str | None,
        more_senses: int = 0,
        more_actions: int = 0,
        privileged: int = 0,
        turns: float = 0.5,
    ) -> None:
        check_at_least_one(horizon=horizon)
        check_render_mode(render_mode, self.metadata["render_modes"])
        self.body, self.horizon, self.render_mode = name, horizon, render_mode
        self._tasks, self._body, self._world, self._start = tasks, body, world, start
        self._goal, self._lidar = goal, lidar
        self.task_space, self.task_units = tasks.space, tasks.units
        self._seen = body.observation_size + more_senses + (2 if lidar.surfaces else 1) * RAYS
        self._size = self._seen + privileged
        self.observation_groups = {"policy": tuple(range(self._seen))}
        if privileged:
            self.observation_groups["privileged"] = tuple(range(self._seen, self._size))
        self.observation_space = spaces.Box(-np.inf, np.inf, (self._size,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (len(body.motors) + more_actions,), np.float32)
        self._action_reader = ActionReader(self.action_space)
        self.return_range = returns_of(body, start, goal, horizon, turns)
        self._terrain: Terrain | None = None
        self._marks = marks_of(self, NO_MATTER | {"body"}) | {"body": name}
        self._task_parts = {part: (tasks.space[part].shape, tasks.space[part].dtype) for part in tasks.names}
        self._pose_parts = {part: (np.shape(value), np.asarray(value).dtype) for part, value in start.items()}

    # -- what derived classes give ---------------------------------------------------------------------------------

    @abstractmethod
    def _make_terrain(self, numbers: dict[str, Any], rng: np.random.Generator) -> Terrain:
        """Return the track that a task's numbers draw."""

    @abstractmethod
    def _picture(self, terrain: Terrain) -> NDArray[np.uint8]:
        """Return a picture (height, width, 3) of the walker as it is now."""

    # -- episodes --------------------------------------------------------------------------------------------------

    def oracle_window(self, progress: float, rng: np.random.Generator) -> dict[str, Any]:
        """Draw from a window of 20 % of every range, sliding from its easy end to its hard one; at 1 from all."""
        progress = clipped_progress(progress)
        if progress >= 1:
            return self._tasks.draw(rng)
        return self._tasks.draw(rng, 0.8 * progress, 0.8 * progress + 0.2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode in a new world, with `options["task"]` or a task drawn uniformly."""
        given = (options or {}).get("task")
        task = None if given is None else self._tasks.read(given)  # a bad one is refused before anything changes
        super().reset(seed=seed)
        self._task = self._tasks.draw(self.np_random) if task is None else task
        self._terrain = self._make_terrain(self._tasks.numbers(self._task), self.np_random)
        self._push = 2.0 * PUSH * self.np_random.random() - PUSH  # as `uniform` draws it, in half the time
        self._clock, self._return = 0, 0.0
        self._begin()
        self._build(self._start)
        senses = self._sense()
        x, y = self._world.hull_position()
        self._shaping = self._shape(x, senses[0])
        return self._observe(senses, x, y), {}

    def _begin(self) -> None:
        """Prepare what a derived class keeps for an episode."""

    def _build(self, pose: Mapping[str, Any]) -> None:
        assert self._terrain is not None
        self._load_lidar(self._terrain)
        self._world.build(self._terrain, pose)
        self._push_first()

    def _load_lidar(self, terrain: Terrain) -> None:
        self._lidar.load(terrain.segments())

    def _push_first(self) -> None:
        if self._clock == 0:
            self._world.push(self._push)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Advance by 1/50 s."""
        if self._terrain is None:
            raise RuntimeError("call reset() before step()")
        world = self._world
        effort = self._act(self._action_reader.read(action)[0].tolist())
        senses = self._sense()
        x, y = world.hull_position()
        shaping = self._shape(x, senses[0])
        reward = shaping - self._shaping - self._body.penalty * effort
        self._shaping = shaping
        fell = world.fell or x < 0.0
        if fell:
            reward = FALL_REWARD
        self._clock += 1
        self._return += reward
        terminated = fell or x > self._goal
        truncated = not terminated and self._clock >= self.horizon
        info = {"is_success": self._succeeded(fell, truncated)} if terminated or truncated else {}
        return self._observe(senses, x, y), reward, terminated, truncated, info

    def _act(self, action: list[float]) -> float:
        """Step the world, and return the effort."""
        effort: float = self._world.step(action)
        return effort

    def _sense(self) -> list[float]:
        senses: list[float] = self._world.sense()
        return senses

    def _succeeded(self, fell: bool, truncated: bool) -> bool:
        return self._return > SUCCESS_RETURN

    def _shape(self, x: float, angle: float) -> float:
        return PROGRESS_REWARD * x + TILT_REWARD * abs(angle)

    def _observe(self, senses: list[float], x: float, y: float) -> Any:
        observation = np.empty(self._size, dtype=np.float32)
        observation[: len(senses)] = senses
        if self._size == self._seen:
            self._lidar.scan(x, y, observation)
        else:
            self._lidar.scan(x, y, observation[: self._seen])
            observation[self._seen :] = self._look_ahead(x, y)
        return observation

    def _look_ahead(self, x: float, y: float) -> NDArray[np.float64]:
        """Return what only an expert sees from (x, y): as many numbers as `privileged`."""
        assert self._terrain is not None
        return (self._terrain.surface(places_ahead(x)) - y) / 10.0

    # -- snapshots -------------------------------------------------------------------------------------------------

    def set_elapsed(self, steps: int) -> None:
        """Let `steps` steps of the horizon be used up."""
        self._clock = steps

    def get_snapshot(self) -> dict[str, Any]:
        """Return the whole state as plain values, and go on as whoever restores it will."""
        if self._terrain is None:
            raise RuntimeError("call reset() before get_snapshot()")
        pose = self._world.pose()
        snapshot = {
            **self._marks,
            "generator": self.np_random.bit_generator.state,
            "task": {name: value.copy() for name, value in self._task.items()},
            **self._terrain.arrays,
            **pose,
            **{name: getattr(self, f"_{name}") for name in self.more_state},
            "push": self._push,
            "shaping": self._shaping,
            "clock": self._clock,
            "return": self._return,
        }
        self._world.place(pose)
        self._push_first()
        return snapshot

    def set_snapshot(self, snapshot: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Continue bit-exactly from a snapshot of this environment or one that was built in the same way.

        On the track that it was taken on the walker is put in its place; else the world is built anew.

        Raises:
            ForeignSnapshot: When it was made by an environment of another kind, another version or for another body,
                or is damaged; then nothing has changed.
        """
        check_marks(snapshot, self._marks)
        names = ("push", "shaping", "clock", "return", *self.more_state)
        numbers = {name: read_number(snapshot, name) for name in names}
        pose = {name: read_array(snapshot, name, *part) for name, part in self._pose_parts.items()}
        is_here = self._terrain is not None and self._terrain.is_of(snapshot)
        terrain = self._terrain if is_here else self._read_terrain(snapshot)
        task, generator = self._read_task(snapshot), read_generator(snapshot, self.np_random)

        self.np_random.bit_generator.state = generator
        self._task, self._terrain = task, terrain
        self._push, self._shaping, self._return = numbers["push"], numbers["shaping"], numbers["return"]
        self._clock = int(numbers["clock"])
        for name, kind in self.more_state.items():
            setattr(self, f"_{name}", kind(numbers[name]))
        if is_here:
            self._world.place(pose)
            self._push_first()
        else:
            self._build(pose)
        return self._observe(self._sense(), *self._world.hull_position()), {}

    def _read_terrain(self, snapshot: Mapping[str, Any]) -> Terrain:
        parts = self.terrain_type.parts
        return self.terrain_type.of({name: read_array(snapshot, name, *part) for name, part in parts.items()})

    def _read_task(self, snapshot: Mapping[str, Any]) -> dict[str, Any]:
        task = snapshot.get("task")
        if not isinstance(task, Mapping):
            raise ForeignSnapshot("this snapshot is damaged: it has no task")
        return {name: read_array(task, name, *part).copy() for name, part in self._task_parts.items()}

    # -- pictures --------------------------------------------------------------------------------------------------

    def render(self) -> NDArray[np.uint8] | None:
        """Return a picture (400, 600, 3), 30 pixels to a metre, with the walker in front."""
        if self.render_mode != "rgb_array" or self._terrain is None:
            return None
        return self._picture(self._terrain)


def load_walker_world(name: str) -> Any:
    """Return the module `walker_world`.

    Args:
        name: Who needs it.

    Raises:
        gymnasium.error.DependencyNotInstalled: Without Box2D.
    """
    try:
        from rlteach_envs import walker_world
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("Box2D", "_Box2D"):
            raise
        raise gym.error.DependencyNotInstalled(f"{name} needs Box2D: pip install rlteach[box2d]") from error
    return walker_world
