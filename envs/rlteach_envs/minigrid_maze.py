"""MiniGridMaze: GridMaze on the MiniGrid package, with its grid, its actions and its pictures.

    env = gymnasium.make("rlteach_envs:rlteach/MiniGridMaze-v0", render_mode="rgb_array")

For everything that is written for MiniGrid; `grid_maze` plays the same steps in much less time. Needs MiniGrid:
pip install rlteach[minigrid].
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from rlteach_envs.action_reader import ActionReader
from rlteach_envs.arguments import KeepsArguments, check_at_least_one, check_render_mode
from rlteach_envs.grid_levels import (
    FORWARD,
    MAX_DENSITY,
    Level,
    MazeTasks,
    path_lengths,
)
from rlteach_envs.grid_maze import (
    GridMazeBatch,
    check_view,
    full_map,
    level_info,
    observation_names,
    observation_space,
    places_of_cells,
    policy_view,
    with_agent,
)
from rlteach_envs.snapshot_reader import check_marks, marks_of, read_array, read_generator

try:
    from minigrid.core.grid import Grid
    from minigrid.core.mission import MissionSpace
    from minigrid.core.world_object import Goal, Wall
    from minigrid.minigrid_env import MiniGridEnv
except ModuleNotFoundError as error:
    if error.name is None or error.name.split(".")[0] != "minigrid":
        raise
    raise DependencyNotInstalled("MiniGridMaze needs MiniGrid: pip install rlteach[minigrid]") from error


def _mission() -> str:
    return "get to the green goal square"


class MiniGridMaze(KeepsArguments, MazeTasks, MiniGridEnv):
    """Find the goal of a maze seen five cells wide, on MiniGrid; tasks, steps and numbers are `GridMazeBatch`'s.

    Args:
        render_mode: None, `"rgb_array"` or `"human"`.
        size: Cells per side with the border; odd.
        view: Cells per side of the view; odd.
        see_through_walls: Whether the agent sees what is behind walls.
        max_density: Largest density of a task, in units of about ten blocks on 13 x 13 cells.
        horizon: Steps after which an episode is truncated.
    """

    env_version = GridMazeBatch.env_version
    return_range = GridMazeBatch.return_range
    observation_groups: ClassVar[dict[str, tuple[str, ...]]] = GridMazeBatch.observation_groups
    action_names = GridMazeBatch.action_names
    action_units = GridMazeBatch.action_units
    control_rate = GridMazeBatch.control_rate

    def __init__(
        self,
        *,
        render_mode: str | None = None,
        size: int = 15,
        view: int = 5,
        see_through_walls: bool = True,
        max_density: int = MAX_DENSITY,
        horizon: int = 250,
    ) -> None:
        check_view(view)
        check_at_least_one(horizon=horizon)
        check_render_mode(render_mode, self.metadata["render_modes"])
        self._offer_mazes(size, max_density)
        super().__init__(
            mission_space=MissionSpace(mission_func=_mission),
            grid_size=size,
            max_steps=horizon,
            see_through_walls=see_through_walls,
            agent_view_size=view,
            render_mode=render_mode,
        )
        self.horizon = horizon
        self.action_space = spaces.Discrete(FORWARD + 1)
        self.observation_space = observation_space(self.inner, view, see_through_walls)
        self.observation_names = observation_names(self.inner, view, see_through_walls)
        self.observation_units = {key: ("1",) * len(names) for key, names in self.observation_names.items()}
        self._places = places_of_cells(self.inner)
        self._level = self.level_of(self.empty_room)
        self._action_reader = ActionReader(self.action_space)
        self._marks = marks_of(self)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode, and tell of its level what `level_info` names."""
        task = (options or {}).get("task")
        self._given = None if task is None else self.level_of(task)
        observation, _ = super().reset(seed=seed)
        level = self._level
        length = path_lengths(level.walls[None], np.array([level.agent]), np.array([level.goal]))[0]
        return observation, level_info(int(length), int(level.walls.sum()))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step once; at the end the info tells whether it was a success."""
        read = int(self._action_reader.read(action)[0])
        observation, reward, terminated, truncated, _ = super().step(read)
        info = {"is_success": bool(terminated)} if terminated or truncated else {}
        return observation, float(reward), bool(terminated), bool(truncated and not terminated), info

    def gen_obs(self) -> dict[str, NDArray[np.float32]]:
        """Return the observation; MiniGrid's own image holds the same as `policy`."""
        codes = super().gen_obs()["image"][:, :, 0].T.reshape(1, -1)  # type: ignore[no-untyped-call]
        directions = np.array([self.agent_dir])
        x, y = self.agent_pos
        places = self._places[[(y - 1) * self.inner + x - 1]]
        return {
            "policy": policy_view(codes, directions, self.see_through_walls)[0],
            "privileged": with_agent(self._map, places, directions)[0],
        }

    def _gen_grid(self, width: int, height: int) -> None:
        if self._given is None:
            self._given = self.level_of(self.draw_task(self.np_random))
        self._build(self._given)

    def _build(self, level: Level) -> None:
        self._level = level
        self.grid = Grid(self.width, self.height)
        self.grid.wall_rect(0, 0, self.width, self.height)
        for y, x in np.argwhere(level.walls).tolist():
            self.grid.set(x + 1, y + 1, Wall())
        self.put_obj(Goal(), level.goal % self.inner + 1, level.goal // self.inner + 1)
        self.agent_pos = (level.agent % self.inner + 1, level.agent // self.inner + 1)
        self.agent_dir = level.direction
        self._map = full_map(level.walls[None], self._places[[level.goal]])

    def set_task(self, task: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Change walls and goal in the middle of an episode; the agent stays, and a wall under it gives way."""
        level, (x, y), direction = self.level_of(task), self.agent_pos, self.agent_dir
        level.walls[y - 1, x - 1] = False
        self._build(level)
        self.agent_pos, self.agent_dir = (x, y), direction
        return self.gen_obs(), {}

    def get_snapshot(self) -> dict[str, Any]:
        """Return the whole state: the level, the agent, the clock, and the generator as JSON."""
        if self.agent_pos is None:
            raise RuntimeError("call reset() before get_snapshot()")
        level = self._level
        return {
            "walls": level.walls.copy(),
            "level": np.array([level.agent, level.goal, level.direction]),
            "now": np.array([*self.agent_pos, self.agent_dir, self.step_count]),
            "generator": json.dumps(self.np_random.bit_generator.state),
            **self._marks,
        }

    def set_snapshot(self, snapshot: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Continue bit-exactly from a snapshot.

        Raises:
            ForeignSnapshot: When it is none of an environment like this; then nothing has changed.
        """
        check_marks(snapshot, self._marks)
        walls = read_array(snapshot, "walls", (self.inner, self.inner), np.bool_)
        level = read_array(snapshot, "level", (3,), np.int64).tolist()
        now = read_array(snapshot, "now", (4,), np.int64).tolist()
        generator = read_generator(snapshot, self.np_random)
        self._build(Level(walls.copy(), *level))
        x, y, self.agent_dir, self.step_count = now
        self.agent_pos, self.carrying = (x, y), None
        self.np_random.bit_generator.state = generator
        return self.gen_obs(), {}
