"""GridMaze: find the goal of a maze seen five cells wide, a thousand mazes at a time.

    env = gymnasium.make("rlteach_envs:rlteach/GridMaze-v0")
    env.reset(options={"task": env.unwrapped.named_mazes["SixteenRooms"]})

The same environment on the MiniGrid package, step for step, is `minigrid_maze`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach_envs.arguments import check_whole
from rlteach_envs.batch import BatchEnv, Floats, SingleEnv
from rlteach_envs.grid_levels import (
    DIRECTIONS,
    FORWARD,
    MAX_DENSITY,
    MazeTasks,
    decode,
    draw_vector,
    path_lengths,
)

UNSEEN, FLOOR, WALL, GOAL = 0, 1, 2, 8
"""What a cell is, in MiniGrid's numbers."""

ONE_HOT = np.eye(len(DIRECTIONS), dtype=np.float32)
TURNS = np.array([-1, 1, 0])
"""What each action adds to the direction."""

Codes = NDArray[np.uint8]
Float32s = NDArray[np.float32]


# -- what is seen ------------------------------------------------------------------------------------------------------


def check_view(view: int) -> None:
    """Raise ValueError unless a view may have so many cells per side."""
    check_whole(3, view=view)
    if view % 2 == 0:
        raise ValueError(f"view = {view} must be odd and at least 3")


def observation_space(inner: int, view: int, see_through_walls: bool) -> spaces.Dict:
    """Return the observation space of both environments."""
    labels = observation_names(inner, view, see_through_walls)
    low = np.zeros(len(labels["privileged"]), dtype=np.float32)
    low[inner * inner : inner * inner + 4] = -1.0
    return spaces.Dict(
        {
            "policy": spaces.Box(0.0, 1.0, (len(labels["policy"]),), np.float32),
            "privileged": spaces.Box(low, np.ones_like(low), dtype=np.float32),
        }
    )


def observation_names(inner: int, view: int, see_through_walls: bool) -> dict[str, tuple[str, ...]]:
    """Return the name of every column; [row,column] of the view counts from its far left corner."""
    kinds = ("wall", "goal") if see_through_walls else ("wall", "goal", "seen")
    seen = [f"{kind}[{j},{i}]" for kind in kinds for j in range(view) for i in range(view)]
    headings = [f"facing_{name}" for name in ("right", "down", "left", "up")]
    walls = [f"map[{y},{x}]" for y in range(inner) for x in range(inner)]
    places = ["goal_x", "goal_y", "agent_x", "agent_y"]
    return {"policy": (*seen, *headings), "privileged": (*walls, *places, *(f"map_{name}" for name in headings))}


def policy_view(codes: Codes, directions: NDArray[np.int64], see_through_walls: bool) -> Float32s:
    """Return what the agent sees (n, columns), from the cells of its view (n, view * view) and its directions (n,)."""
    n, cells = codes.shape
    kinds = 2 if see_through_walls else 3
    seen = np.empty((n, kinds * cells + len(DIRECTIONS)), dtype=np.float32)
    np.equal(codes, WALL, out=seen[:, :cells])
    np.equal(codes, GOAL, out=seen[:, cells : 2 * cells])
    if not see_through_walls:
        np.not_equal(codes, UNSEEN, out=seen[:, 2 * cells : 3 * cells])
    seen[:, kinds * cells :] = ONE_HOT[directions]
    return seen


def places_of_cells(inner: int) -> Float32s:
    """Return x and y in [-1, 1] of every cell (k * k, 2)."""
    rows, columns = np.divmod(np.arange(inner * inner), inner)
    return np.asarray(np.stack([columns, rows], axis=1) * (2 / (inner - 1)) - 1, dtype=np.float32)


def full_map(walls: NDArray[np.bool_], goal_places: Float32s) -> Float32s:
    """Return the privileged observations (n, columns) of mazes (n, k, k), with room for the agent."""
    agent = np.zeros((len(walls), 2 + len(DIRECTIONS)), dtype=np.float32)
    return np.concatenate([walls.reshape(len(walls), -1), goal_places, agent], axis=1, dtype=np.float32)


def with_agent(maps: Float32s, agent_places: Float32s, directions: NDArray[np.int64]) -> Float32s:
    """Return a copy of `full_map` with the agents in it."""
    seen = maps.copy()
    seen[:, -6:-4] = agent_places
    seen[:, -4:] = ONE_HOT[directions]
    return seen


def lit(codes: Codes, view: int) -> NDArray[np.bool_]:
    """Return which cells of views (n, view * view) are seen when walls hide what is behind them.

    MiniGrid's rule: light starts in the agent's cell, and from a cell that is no wall goes on sideways, forwards and
    to the cells diagonally ahead; first all the way to the right in each row, then to the left.
    """
    free = (codes != WALL).reshape(-1, view, view)
    light = np.zeros_like(free)
    light[:, -1, view // 2] = True
    for row in range(view - 1, -1, -1):
        for step, columns in ((1, range(view - 1)), (-1, range(view - 1, 0, -1))):
            for column in columns:
                passes = light[:, row, column] & free[:, row, column]
                light[:, row, column + step] |= passes
                if row > 0:
                    light[:, row - 1, column + step] |= passes
                    light[:, row - 1, column] |= passes
    return np.asarray(light.reshape(codes.shape))


def level_info(shortest_path: Any, blocks: Any) -> dict[str, Any]:
    """Return what `reset` tells of a level, or of several."""
    return {"shortest_path": shortest_path, "solvable": shortest_path >= 0, "blocks": blocks}


# -- the batch ---------------------------------------------------------------------------------------------------------


class GridMazeBatch(MazeTasks, BatchEnv):  # type: ignore[misc,override]
    """Find the goal of a maze on a grid, of which the agent sees a few cells ahead.

    The mazes of Dennis et al. (2020) and Parker-Holder et al. (2022): 13 x 13 cells inside a border, by default.

    Task: `cells`, a number from 0 to 16 for each cell, and `density` from 0 to `max_density`: a cell is a wall where
    its number is less than the density. So any maze is a task (0 for walls, 16 for floor, `task_of` and `level_of`
    translate), and uniform tasks are the usual random mazes, of 0 to 60 blocks. Further `agent` and `goal`, cells
    y * 13 + x, where walls give way, and `direction`, where the agent looks at first (0 right, 1 down, 2 left, 3 up).
    An agent on the goal starts half the maze away instead. 7 % of the uniform tasks cannot be solved.
    Actions: 0 turns left, 1 turns right, 2 goes forward unless there is a wall.
    Reward: 1 - 0.9 t / horizon on reaching the goal in step t, which terminates and is the success; else 0.
    Truncation after `horizon` steps.
    Observation (float32): `policy`: walls and goals (0 or 1) of the `view` x `view` cells whose nearest row has the
    agent in its middle, far left first (with `see_through_walls=False` also which cells are seen), and the direction
    as four numbers; `privileged`: the whole map of walls, x and y of goal and agent in [-1, 1], and the direction.
    `reset` tells `shortest_path` (moves, -1 where there is no way), `solvable` and `blocks` in its info.

    Args:
        num_envs: Number of rows.
        size: Cells per side with the border; odd. See `grid_levels.PERFECT_MAZES` for usual ones.
        view: Cells per side of the view; odd.
        see_through_walls: Whether the agent sees what is behind walls.
        max_density: Largest density of a task, in units of about ten blocks on 13 x 13 cells.
        horizon: Steps after which an episode is truncated.
    """

    state_names = ("_places", "_directions", "_grids", "_maps")
    return_range = (0.0, 1.0)
    observation_groups: ClassVar[dict[str, tuple[str, ...]]] = {"policy": ("policy",), "privileged": ("privileged",)}
    action_names = ("turn_left", "turn_right", "forward")
    action_units = ("1", "1", "1")
    control_rate = 1.0

    def __init__(
        self,
        num_envs: int = 1,
        *,
        size: int = 15,
        view: int = 5,
        see_through_walls: bool = True,
        max_density: int = MAX_DENSITY,
        horizon: int = 250,
    ) -> None:
        check_view(view)
        self._offer_mazes(size, max_density)
        self.view, self.see_through_walls = view, see_through_walls
        self.single_observation_space = observation_space(self.inner, view, see_through_walls)
        self.single_action_space = spaces.Discrete(3)
        self.observation_names = observation_names(self.inner, view, see_through_walls)  # type: ignore[misc]
        self.observation_units = {key: ("1",) * len(n) for key, n in self.observation_names.items()}  # type: ignore[misc]
        super().__init__(num_envs, horizon)
        # So many walls around the maze that a view never leaves the grid.
        self._margin = view - 1
        self._width = self.inner + 2 * self._margin
        self._moves = np.array([dx + dy * self._width for dx, dy in DIRECTIONS])
        self._view_cells = self._cells_of_views()
        self._offsets = np.arange(num_envs) * self._width**2
        cells = np.arange(self.inner**2)
        self._scaled = np.zeros((self._width**2, 2), dtype=np.float32)
        self._scaled[self._bordered(cells)] = places_of_cells(self.inner)
        self._places = np.full(num_envs, self._bordered(cells)[0])
        self._directions = np.zeros(num_envs, dtype=np.int64)
        self._grids: Codes = np.full((num_envs, self._width**2), WALL, dtype=np.uint8)
        self._maps = np.zeros((num_envs, self.inner**2 + 8), dtype=np.float32)
        self._paths, self._blocks = np.zeros((2, num_envs), dtype=np.int64)

    def _cells_of_views(self) -> NDArray[np.int64]:
        """Return, for each direction, where the cells of the view lie relative to the agent (4, view * view)."""
        ahead = np.arange(self.view - 1, -1, -1)[:, None]
        aside = np.arange(self.view) - self.view // 2
        right = np.roll(self._moves, -1)  # turning right adds one to the direction
        return np.stack([(ahead * f + aside * r).ravel() for f, r in zip(self._moves, right, strict=True)])

    def _bordered(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        rows, columns = np.divmod(cells, self.inner)
        return np.asarray((rows + self._margin) * self._width + columns + self._margin)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start the masked rows (all, without a mask), and tell of each level what `level_info` names."""
        observations, _ = super().reset(seed=seed, options=options)
        mask = np.zeros(self.num_envs, dtype=bool)
        mask[self._rows((options or {}).get("reset_mask"))] = True
        told = level_info(self._paths.copy(), self._blocks.copy())
        return observations, told | {f"_{key}": mask for key in told}

    def _uniform_tasks(self, rows: NDArray[np.int64]) -> Floats:
        draws = [draw_vector(self._high, self._generators[row]) for row in rows]
        return np.array(draws, dtype=np.float64).reshape(-1, len(self._high))

    def _begin(self, rows: NDArray[np.int64]) -> None:
        walls, agents, goals, directions = decode(self._tasks[rows].astype(np.int64), self.inner)
        self._places[rows], self._directions[rows] = self._bordered(agents), directions
        self._paths[rows], self._blocks[rows] = path_lengths(walls, agents, goals), walls.sum(axis=(1, 2))
        self._lay(rows, walls, goals)

    def set_task(self, task: Any, mask: NDArray[np.bool_] | None = None) -> tuple[Any, dict[str, Any]]:
        """Change walls and goals of the masked rows (all, without a mask); agents stay, walls under them give way."""
        rows = self._rows(mask)
        self._tasks[rows] = self._read_tasks(task, rows)
        walls, _, goals, _ = decode(self._tasks[rows].astype(np.int64), self.inner)
        y, x = np.divmod(self._places[rows], self._width)
        walls[np.arange(len(rows)), y - self._margin, x - self._margin] = False
        self._lay(rows, walls, goals)
        return self._observe(), {}

    def _lay(self, rows: NDArray[np.int64], walls: NDArray[np.bool_], goals: NDArray[np.int64]) -> None:
        """Put walls (n, k, k) and goals (n,) into the given rows."""
        inside = slice(self._margin, self._margin + self.inner)
        grids = np.full((len(rows), self._width, self._width), WALL, dtype=np.uint8)
        grids[:, inside, inside] = np.where(walls, WALL, FLOOR)
        self._grids[rows] = grids.reshape(len(rows), -1)
        goal_places = self._bordered(goals)
        self._grids[rows, goal_places] = GOAL
        self._maps[rows] = full_map(walls, self._scaled[goal_places])

    def _advance(self, actions: NDArray[Any]) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        ahead = self._places + self._moves[self._directions]
        cell = self._grids.reshape(-1).take(self._offsets + ahead)
        goes = (actions == FORWARD) & (cell != WALL)
        self._places = np.where(goes, ahead, self._places)
        self._directions = (self._directions + TURNS[actions]) & 3
        reached = goes & (cell == GOAL)
        return reached * (1 - 0.9 * ((self._clock + 1) / self.horizon)), reached, reached

    def _observe(self) -> dict[str, NDArray[np.float32]]:
        return {
            "policy": policy_view(self._seen(), self._directions, self.see_through_walls),
            "privileged": with_agent(self._maps, self._scaled[self._places], self._directions),
        }

    def _seen(self) -> Codes:
        """Return the cells of the agents' views (n, view * view)."""
        places = (self._offsets + self._places)[:, None] + self._view_cells[self._directions]
        codes = self._grids.reshape(-1).take(places)
        if not self.see_through_walls:
            codes = np.where(lit(codes, self.view), codes, np.uint8(UNSEEN))
        codes[:, self.view * (self.view - 1) + self.view // 2] = FLOOR  # the agent stands there, even on the goal
        return np.asarray(codes)

    def picture(self, row: int, pixels: int = 16) -> NDArray[np.uint8]:
        """Return a picture: walls dark, what is in view yellowish, the goal green, the agent blue."""
        margin, width = self._margin, self._width
        seen = np.zeros(width * width, dtype=bool)
        view = self._places[row] + self._view_cells[self._directions[row]]
        seen[view[self._seen()[row] != UNSEEN]] = True
        cells = np.full((width * width, 3), 255, dtype=np.uint8)
        cells[seen] = (250, 235, 150)
        cells[self._grids[row] == WALL] = (60, 60, 60)
        cells[seen & (self._grids[row] == WALL)] = (110, 105, 80)
        cells[self._grids[row] == GOAL] = (40, 160, 60)
        image = cells.reshape(width, width, 3).repeat(pixels, 0).repeat(pixels, 1)
        y, x = divmod(int(self._places[row]), width)
        along, across = np.meshgrid(np.linspace(-1, 1, pixels), np.linspace(-1, 1, pixels))
        wedge = np.rot90((along > -0.7) & (np.abs(across) < 0.4 * (0.8 - along)), -int(self._directions[row]))
        image[y * pixels : (y + 1) * pixels, x * pixels : (x + 1) * pixels][wedge] = (40, 80, 220)
        edge = slice((margin - 1) * pixels, (margin + 1 + self.inner) * pixels)
        return np.ascontiguousarray(image[edge, edge])


class GridMaze(MazeTasks, SingleEnv):  # type: ignore[misc]
    """Find the goal of a maze seen five cells wide; see `GridMazeBatch`."""

    def __init__(self, *, render_mode: str | None = None, **kwargs: Any) -> None:
        self._maze = GridMazeBatch(1, **kwargs)
        self._offer_mazes(self._maze.inner + 2, self._maze.max_density)
        super().__init__(self._maze, render_mode)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode, and tell of its level what `level_info` names."""
        observation, _ = super().reset(seed=seed, options=options)
        return observation, level_info(int(self._maze._paths[0]), int(self._maze._blocks[0]))
