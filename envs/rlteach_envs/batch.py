"""One base for numpy environments: a masked-reset `VectorEnv`, and a single `Env` that is its one-row view.

A subclass holds only its own dynamics: it names its spaces and implements `_begin`, `_advance` and `_observe`. Row i
of a batch seeded with s behaves exactly like a single environment seeded with s + i: every row owns a generator.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from rlteach_envs.action_reader import ActionReader
from rlteach_envs.arguments import KeepsArguments, check_render_mode, check_whole
from rlteach_envs.snapshot_reader import (
    ForeignSnapshot,
    check_generator,
    check_marks,
    marks_of,
    read_array,
    read_generators,
)
from rlteach_envs.task_reader import TaskReader

Floats = NDArray[np.float64]
Observations = NDArray[np.float32] | dict[str, NDArray[np.float32]]
"""One row per environment, under each key of a Dict observation space."""

OFFERS = (
    "skill_graph",
    "oracle_window",
    "demonstrate",
    "feasibility",
    "horizon",
    "picture",
    "observation_groups",
    "observation_names",
    "observation_units",
    "action_names",
    "action_units",
    "control_rate",
)
"""What the one-row view offers exactly when its batch does."""


class BatchEnv(KeepsArguments, VectorEnv[Any, Any, Any], ABC):
    """A batch of numpy environments that never reset themselves.

    `reset(options={"reset_mask": (n,) bool, "task": element of batch_space(task_space, n)})` resets the masked rows
    only and ignores the other rows of `task`; without a task each row draws one uniformly. A task that is none is
    refused with a ValueError before anything changes, and so are actions that are none. A row that has finished and not
    been reset stays as it is and earns 0.

    Args:
        num_envs: Number of rows.
        horizon: Steps after which an episode is truncated.
    """

    metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}  # type: ignore[misc]
    env_version = "0"
    state_names: ClassVar[tuple[str, ...]]
    """Arrays with one row per environment that, with clocks, tasks and generators, are the whole state."""
    longest_horizon: ClassVar[int] = 10**9
    """Less where memory grows with the horizon."""

    task_space: spaces.Space[Any]
    task_units: ClassVar[dict[str, str]] = {}
    task_names: ClassVar[tuple[str, ...] | None] = None
    """Names of the components of a task space that is one vector."""
    test_sets: dict[str, list[Any]]
    return_range: tuple[float, float]
    render_mode: str | None = None

    # Environments that hide something from a student state who sees what, by the names of the Dict observation's keys.
    observation_groups: ClassVar[dict[str, tuple[str, ...]]]
    """Group name to keys of the observation space."""
    observation_names: ClassVar[dict[str, tuple[str, ...]]]
    """Name of every column, by key."""
    observation_units: ClassVar[dict[str, tuple[str, ...]]]
    action_names: ClassVar[tuple[str, ...]]
    action_units: ClassVar[tuple[str, ...]]
    control_rate: ClassVar[float]
    """Actions per second; 1 where time has no unit."""

    def __init__(self, num_envs: int, horizon: int) -> None:
        check_whole(1, num_envs=num_envs)
        check_whole(1, self.longest_horizon, horizon=horizon)
        self.num_envs = num_envs
        self.horizon = horizon
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._names = list(self.task_space.spaces) if isinstance(self.task_space, spaces.Dict) else []
        self._reader = TaskReader(self.task_space, self.task_names, num_envs)
        self._low, self._high = self._reader.low, self._reader.high
        self._action_reader = ActionReader(self.single_action_space, num_envs)
        self._marks = marks_of(self)
        self._generators = [np.random.default_rng() for _ in range(num_envs)]
        self._tasks: Floats = np.tile(self._low, (num_envs, 1))
        self._clock = np.zeros(num_envs, dtype=np.int64)
        self._playing = np.zeros(num_envs, dtype=bool)

    @abstractmethod
    def _begin(self, rows: NDArray[np.int64]) -> None:
        """Put the given rows into their initial states, from `self._tasks` and `self._generators`."""

    @abstractmethod
    def _advance(self, actions: NDArray[Any]) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        """Step all rows; return rewards, terminations, and whether each episode counts as a success so far."""

    @abstractmethod
    def _observe(self) -> Observations:
        """Return fresh observations of all rows, by key for a Dict observation space."""

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start the masked rows (all, without a mask)."""
        options = options or {}
        rows = self._rows(options.get("reset_mask"), "reset_mask")
        task = options.get("task")
        tasks = None if task is None else self._read_tasks(task, rows)
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int | np.integer) else seed
        for row in rows if seeds is not None else ():
            if seeds[row] is not None:  # type: ignore[index]
                self._generators[row] = np.random.default_rng(seeds[row])  # type: ignore[index]
        self._tasks[rows] = self._uniform_tasks(rows) if tasks is None else tasks
        self._clock[rows] = 0
        self._playing[rows] = True
        self._begin(rows)
        return self._observe(), {}

    def _uniform_tasks(self, rows: NDArray[np.int64]) -> Floats:
        draws = np.empty((len(rows), len(self._low)))
        for row, draw in zip(rows.tolist(), draws, strict=True):
            self._generators[row].random(out=draw)
        return np.clip(self._low + draws * (self._high - self._low), self._low, self._high)

    def _rows(self, mask: Any, name: str = "mask") -> NDArray[np.int64]:
        """Return the rows that a mask names; all, without one."""
        if mask is None:
            return np.arange(self.num_envs)
        mask = np.asarray(mask, dtype=bool)
        if mask.shape != (self.num_envs,):
            raise ValueError(f"{name} has shape {mask.shape}, not ({self.num_envs},)")
        return np.flatnonzero(mask)

    def _read_one(self, task: Any) -> Floats:
        """Return the numbers (d,) of one task, whatever the number of rows."""
        return TaskReader(self.task_space, self.task_names).read(task)[0]

    def _read_tasks(self, task: Any, rows: NDArray[np.int64]) -> Floats:
        return self._reader.read(task, rows)

    def step(self, actions: Any) -> tuple[Any, Floats, NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step every row that has not finished."""
        actions = self._action_reader.read(actions)
        frozen = None if self._playing.all() else ~self._playing
        before = None if frozen is None else {name: getattr(self, name)[frozen].copy() for name in self.state_names}
        rewards, terminations, successes = self._advance(actions)
        self._clock += self._playing
        if frozen is not None and before is not None:
            for name, values in before.items():
                getattr(self, name)[frozen] = values
            rewards[frozen] = 0.0
            terminations = terminations & self._playing
        truncations = (self._clock >= self.horizon) & ~terminations & self._playing
        finished = terminations | truncations
        infos: dict[str, Any] = {}
        if finished.any():
            self._playing &= ~finished
            infos = {"is_success": successes & finished, "_is_success": finished}
        return self._observe(), rewards, terminations, truncations, infos

    def set_task(self, task: Any, mask: NDArray[np.bool_] | None = None) -> tuple[Any, dict[str, Any]]:
        """Change the tasks of the masked rows (all, without a mask) in the middle of their episodes.

        What a task decides in every step changes at once; what it decides at an episode's start stays as it is.
        """
        rows = self._rows(mask)
        self._tasks[rows] = self._read_tasks(task, rows)
        return self._observe(), {}

    def set_elapsed(self, steps: Mapping[int, int]) -> None:
        """Let as many steps of the horizon be used up as `steps` says, row by row."""
        for row, count in steps.items():
            self._clock[row] = count

    def get_snapshot(self) -> dict[str, Any]:
        """Return the whole state of the batch, generators included: arrays, and the generators as JSON."""
        arrays = {name: own.copy() for name, own in self._arrays().items()}
        generators = json.dumps([generator.bit_generator.state for generator in self._generators])
        return {**arrays, "generators": generators, **self._marks}

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in (*self.state_names, "_tasks", "_clock", "_playing")}

    def set_snapshot(
        self, snapshot: dict[str, Any], mask: NDArray[np.bool_] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Continue bit-exactly from a snapshot, in the masked rows only when a mask is given.

        Raises:
            ForeignSnapshot: When it is none of an environment like this, with as many rows; then nothing has changed.
        """
        rows = self._rows(mask)
        check_marks(snapshot, self._marks)
        own = self._arrays()
        arrays = {name: read_array(snapshot, name, array.shape, array.dtype) for name, array in own.items()}
        states = read_generators(snapshot, "generators", self.num_envs)
        states = [check_generator(states[row], self._generators[row]) for row in rows.tolist()]
        for name, array in arrays.items():
            own[name][rows] = array[rows]
        for row, state in zip(rows.tolist(), states, strict=True):
            self._generators[row].bit_generator.state = state
        return self._observe(), {}

    def set_row_snapshots(self, snapshots: Mapping[int, Mapping[str, Any]]) -> tuple[Any, dict[str, Any]]:
        """Put rows into the states of one-row snapshots; they keep their own generators, and begin an episode.

        Raises:
            ForeignSnapshot: When one is none of a single environment like this; then nothing has changed.
        """
        own, read = self._arrays(), {}
        for row, snapshot in snapshots.items():
            try:
                check_marks(snapshot, self._marks)
                read[row] = {n: read_array(snapshot, n, (1, *a.shape[1:]), a.dtype) for n, a in own.items()}
            except ForeignSnapshot as error:
                raise ForeignSnapshot(f"row {row} needs the snapshot of a single environment: {error}") from None
        for row, arrays in read.items():
            for name, array in arrays.items():
                own[name][row] = array[0]
        return self._observe(), {}


class SingleEnv(KeepsArguments, gym.Env[Any, Any]):
    """The one-row view of a batch environment, as an ordinary Gymnasium environment.

    Args:
        batch: A batch of one row.
        render_mode: None or `"rgb_array"`.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}  # type: ignore[misc]
    env_version = BatchEnv.env_version

    def __init__(self, batch: BatchEnv, render_mode: str | None = None) -> None:
        check_render_mode(render_mode, self.metadata["render_modes"])
        self._batch = batch
        # Of one task and one action, without a row's dimension.
        batch._reader = TaskReader(batch.task_space, batch.task_names)
        batch._action_reader = ActionReader(batch.single_action_space)
        self.render_mode = render_mode
        self.observation_space = batch.single_observation_space
        self.action_space = batch.single_action_space
        self.task_space = batch.task_space
        self.task_units = batch.task_units
        self.return_range = batch.return_range

    @property
    def np_random(self) -> np.random.Generator:
        """The generator of the only row."""
        return self._batch._generators[0]

    @np_random.setter
    def np_random(self, generator: np.random.Generator) -> None:
        self._batch._generators[0] = generator

    @property
    def test_sets(self) -> dict[str, list[Any]]:
        """Fixed sets of tasks, the primary one first."""
        return self._batch.test_sets

    def __getattr__(self, name: str) -> Any:
        """Return what the batch offers, so that both forms offer the same."""
        if name not in OFFERS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._batch, name)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        task = (options or {}).get("task")
        observations, _ = self._batch.reset(seed=None if seed is None else [seed], options={"task": task})
        super().reset(seed=seed)
        return _first(observations), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step once."""
        observations, rewards, terminations, truncations, infos = self._batch.step(action)
        info = {"is_success": bool(infos["is_success"][0])} if infos else {}
        return _first(observations), float(rewards[0]), bool(terminations[0]), bool(truncations[0]), info

    def set_task(self, task: Any) -> tuple[Any, dict[str, Any]]:
        """Change the task in the middle of an episode; see `BatchEnv.set_task`."""
        observations, infos = self._batch.set_task(task)
        return _first(observations), infos

    def set_elapsed(self, steps: int) -> None:
        """Let `steps` steps of the horizon be used up."""
        self._batch.set_elapsed({0: steps})

    def render(self) -> Any:
        """Return a picture (height, width, 3), where the environment draws one."""
        return self.picture(0) if self.render_mode == "rgb_array" else None

    def get_snapshot(self) -> dict[str, Any]:
        """Return the whole state."""
        return self._batch.get_snapshot()

    def set_snapshot(self, snapshot: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Continue bit-exactly from a snapshot; see `BatchEnv.set_snapshot`."""
        observations, infos = self._batch.set_snapshot(snapshot)
        return _first(observations), infos


def _first(observations: Any) -> Any:
    if isinstance(observations, dict):
        return {key: values[0] for key, values in observations.items()}
    return observations[0]
