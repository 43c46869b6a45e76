"""GoalMaze: sparse goal-reaching in a folded corridor, where most of the goal box cannot be reached."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach_envs.arguments import check_finite, clipped_progress, fixed_sets
from rlteach_envs.batch import BatchEnv, Floats, SingleEnv
from rlteach_envs.rugged import piece_orders, rearranged

SPOUT = (
    "###########",
    "#.........#",
    "#.#######.#",
    "#.#.....#.#",
    "#.#.###.#.#",
    "#.#.#...#.#",
    "#.#.#####.#",
    "#.#.......#",
    "#.#########",
    "#........S#",
    "###########",
)
STEP_LENGTH = 0.25
GOAL_RADIUS = 0.5
START_NOISE = 0.3
FEATURE_WIDTH = 0.6

Cell = tuple[int, int]


def corridor(cells: int, row_length: int = 7) -> tuple[str, ...]:
    """Return the layout of a folded corridor of `cells` cells, rows of `row_length` joined at alternating ends."""
    if cells < 2:
        raise ValueError(f"a corridor needs at least 2 cells, not {cells}")
    path: list[Cell] = []
    for index in range(cells):
        fold, place = divmod(index, row_length + 1)
        x = place if fold % 2 == 0 else row_length - 1 - place
        path.append((1 + min(max(x, 0), row_length - 1), 1 + 2 * fold + (place == row_length)))
    height = 2 + max(y for _, y in path)
    free = dict.fromkeys(path, ".") | {path[0]: "S"}
    rows = ["".join(free.get((x, y), "#") for x in range(row_length + 2)) for y in range(height)]
    return tuple(reversed(rows))


def read_layout(layout: str | Sequence[str]) -> tuple[NDArray[np.bool_], Cell]:
    """Return the free cells (width, height), x to the right and y up, and the start cell.

    Args:
        layout: `"spout"`, `"serpentine"` (23 cells), `"corridor-N"`, or rows of `#`, `.` and one `S`, top row first.
    """
    if isinstance(layout, str):
        if layout == "spout":
            rows: Sequence[str] = SPOUT
        elif layout == "serpentine":
            rows = corridor(23)
        elif layout.startswith("corridor-") and layout[9:].isdigit():
            rows = corridor(int(layout[9:]))
        else:
            raise ValueError(
                f"layout {layout!r} must be 'spout', 'serpentine', 'corridor-N' or rows of '#', '.' and 'S'"
            )
    else:
        rows = layout
    ragged = len({len(row) for row in rows}) != 1
    grid = np.array([[]] if ragged else [list(row) for row in reversed(rows)]).T
    starts = np.argwhere(grid == "S")
    free = grid != "#"
    if len(starts) != 1 or free[[0, -1]].any() or free[:, [0, -1]].any():
        raise ValueError("a layout needs rows of equal length, one 'S', and walls all around")
    return free, (int(starts[0][0]), int(starts[0][1]))


def path_lengths(free: NDArray[np.bool_], start: Cell) -> dict[Cell, int]:
    """Return the number of cells walked from `start` to each reachable cell, nearest first (breadth-first search)."""
    lengths = {start: 0}
    queue = deque([start])
    while queue:
        x, y = queue.popleft()
        for cell in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
            if free[cell] and cell not in lengths:
                lengths[cell] = lengths[x, y] + 1
                queue.append(cell)
    return lengths


def position_features(positions: Floats, width: int, height: int) -> Floats:
    """Return Gaussians of width 0.6 at the middle of every cell of the grid, (n, width * height).

    A Gaussian of two coordinates is the product of two of one, which saves most of the exponentials.
    """
    columns = np.exp(-((positions[:, :1] - np.arange(width) - 0.5) ** 2) / (2 * FEATURE_WIDTH**2))
    rows = np.exp(-((positions[:, 1:] - np.arange(height) - 0.5) ** 2) / (2 * FEATURE_WIDTH**2))
    return (columns[:, :, None] * rows[:, None, :]).reshape(len(positions), width * height)


class GoalMazeBatch(BatchEnv):
    """Reach a goal in a folded corridor; the goal box is larger than the maze, so most goals are infeasible.

    Task: the goal (x, y), in cells, in a box `box_scale` times the maze per axis and centred on it; walls and the
    outside are part of the box. In the default layout 49 of 1089 unit cells (4.5 %) are feasible.
    State: position in cells. Action in [-1, 1]^2: a move of up to 0.25 cells per axis; each axis is applied by itself
    and cancelled when it would enter a wall. Start: middle of the start cell + U(-0.3, 0.3)^2.
    Reward: 1 and termination within 0.5 cells of the goal, else 0. Truncation after `horizon` steps.
    Observation (float32): position and goal, centred and scaled by the goal box to [-1.5, 1.5], with shuffled axes
    too; with `features="rbf"` also a Gaussian of the position for every cell of the grid.

    Args:
        num_envs: Number of rows.
        layout: See `read_layout`.
        box_scale: Size of the goal box per axis, in mazes.
        horizon: Steps after which an episode is truncated.
        features: `"position"` or `"rbf"`.
        shuffle: Seed of a rugged difficulty: each axis of the goal box cut in 4 and the pieces permuted, so that the
            goal lies elsewhere than the task says (see `piece_orders`); None for the axes as they are.
    """

    task_units: ClassVar[dict[str, str]] = {"x": "cells", "y": "cells"}
    task_names = ("x", "y")
    return_range = (0.0, 1.0)
    state_names = ("_positions",)

    def __init__(
        self,
        num_envs: int = 1,
        *,
        layout: str | Sequence[str] = "spout",
        box_scale: float = 3.0,
        horizon: int = 150,
        features: str = "position",
        shuffle: int | None = None,
    ) -> None:
        if features not in ("position", "rbf"):
            raise ValueError(f"features = {features!r} must be 'position' or 'rbf'")
        check_finite(box_scale=box_scale)
        if not box_scale > 0:
            raise ValueError(f"box_scale = {box_scale} must be positive")
        self.free, self.start = read_layout(layout)
        self.features = features
        size = np.array(self.free.shape, dtype=np.float64)
        low, high = size / 2 - size * box_scale / 2, size / 2 + size * box_scale / 2
        self.task_space = spaces.Box(low, high, dtype=np.float64)
        self._centre, self._scale = (low + high) / 2, (high - low) / 3
        self._orders = None if shuffle is None else piece_orders(2, shuffle)
        n_features = 4 + (self.free.size if features == "rbf" else 0)
        self.single_observation_space = spaces.Box(-1.5, 1.5, (n_features,), np.float32)
        self.single_action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._wall = ~self.free.ravel()
        self._distances: dict[Cell, dict[Cell, int]] = {}
        self._height = self.free.shape[1]
        super().__init__(num_envs, horizon)
        self._positions: Floats = np.zeros((num_envs, 2))

    @cached_property
    def cells(self) -> list[Cell]:
        """Reachable cells, in order of their distance along the corridor."""
        return list(path_lengths(self.free, self.start))

    @fixed_sets
    def test_sets(self) -> dict[str, list[Any]]:  # type: ignore[override]
        """Goals, the primary set first.

        `feasible`: 3 x 3 goals in each reachable cell; `box`: 200 goals drawn uniformly from the box (seed 0); `far`:
        64 times the middle of the cell at the corridor's end, which only the starts tell apart.
        """
        offsets = [(i, j) for i in (1 / 6, 3 / 6, 5 / 6) for j in (1 / 6, 3 / 6, 5 / 6)]
        goals = [np.array([x + i, y + j]) for x, y in self.cells for i, j in offsets]
        inside = [self._task_of(goal) for goal in goals if self.task_space.contains(goal)]
        draws = np.random.default_rng(0).random((200, 2))
        low, high = _edges(self.task_space)
        end = self._task_of(np.array(self.cells[-1]) + 0.5)
        return {"feasible": inside, "box": list(low + draws * (high - low)), "far": [end.copy() for _ in range(64)]}

    def feasibility(self, task: Any) -> bool:
        """Tell whether a task's goal lies in a cell that can be reached (in space; the horizon may be too short)."""
        x, y = (int(np.floor(value)) for value in self._goals_of(self._read_one(task)[None])[0])
        return (x, y) in set(self.cells)

    @property
    def _goals(self) -> Floats:
        return self._goals_of(self._tasks)

    def _goals_of(self, tasks: Floats) -> Floats:
        return tasks if self._orders is None else self._moved(tasks, self._orders)

    def _task_of(self, goal: Floats) -> Floats:
        return goal if self._orders is None else self._moved(goal[None], np.argsort(self._orders, axis=1))[0]

    def _moved(self, points: Floats, orders: NDArray[np.int64]) -> Floats:
        return self._low + (self._high - self._low) * rearranged(
            (points - self._low) / (self._high - self._low), orders
        )

    def oracle_window(self, progress: float, rng: np.random.Generator) -> Any:
        """Draw a goal from the last 4 of the first `progress` x all cells along the corridor; at 1 from all cells."""
        progress = clipped_progress(progress)
        last = max(4, int(np.ceil(progress * len(self.cells))))
        window = self.cells if progress >= 1 else self.cells[last - 4 : last]
        goal = np.array(window[rng.integers(len(window))]) + rng.random(2)
        return self._task_of(np.clip(goal, *_edges(self.task_space)))

    def demonstrate(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the action (2,) that goes along a shortest path to the goal; nowhere when it cannot be reached."""
        x, y = observation[:2] * self._scale + self._centre
        goal = observation[2:4] * self._scale + self._centre
        here, end = (int(np.floor(x)), int(np.floor(y))), (int(np.floor(goal[0])), int(np.floor(goal[1])))
        if end not in self._distances:
            inside = (np.array(end) >= 0).all() and (np.array(end) < self.free.shape).all()
            self._distances[end] = path_lengths(self.free, end) if inside and self.free[end] else {}
        left = self._distances[end]
        if here not in left:
            return np.zeros(2, dtype=np.float32)
        steps = [(here[0] + i, here[1] + j) for i, j in ((1, 0), (-1, 0), (0, 1), (0, -1))]
        following = min((cell for cell in steps if cell in left), key=left.__getitem__, default=here)
        aim = goal if left[here] == 0 else np.array(following) + 0.5
        return np.asarray(np.clip((aim - (x, y)) / STEP_LENGTH, -1.0, 1.0), dtype=np.float32)

    def _begin(self, rows: NDArray[np.int64]) -> None:
        noise = np.array([self._generators[row].uniform(-START_NOISE, START_NOISE, 2) for row in rows]).reshape(-1, 2)
        self._positions[rows] = np.array(self.start) + 0.5 + noise

    def _advance(self, actions: NDArray[Any]) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        moves = STEP_LENGTH * np.clip(actions.astype(np.float64), -1.0, 1.0)
        x, y = self._positions[:, 0], self._positions[:, 1]
        new_x = x + moves[:, 0]
        x = np.where(self._wall[new_x.astype(np.int64) * self._height + y.astype(np.int64)], x, new_x)
        new_y = y + moves[:, 1]
        y = np.where(self._wall[x.astype(np.int64) * self._height + new_y.astype(np.int64)], y, new_y)
        self._positions[:, 0], self._positions[:, 1] = x, y
        goals = self._goals
        dx, dy = x - goals[:, 0], y - goals[:, 1]
        reached = dx * dx + dy * dy <= GOAL_RADIUS**2
        return reached.astype(np.float64), reached, reached

    def _observe(self) -> NDArray[np.float32]:
        parts = [(self._positions - self._centre) / self._scale, (self._goals - self._centre) / self._scale]
        if self.features == "rbf":
            parts.append(position_features(self._positions, *self.free.shape))
        return np.concatenate(parts, axis=1).astype(np.float32)

    def picture(self, row: int, pixels: int = 16) -> NDArray[np.uint8]:
        """Return a picture of the maze: walls dark, the agent blue, the goal green where it lies inside."""
        image = np.where(self.free.T[::-1, :, None], 255, 60).astype(np.uint8).repeat(3, 2)
        image = image.repeat(pixels, 0).repeat(pixels, 1)
        for (x, y), colour in ((self._goals[row], (40, 160, 60)), (self._positions[row], (40, 80, 220))):
            top, left = int((self.free.shape[1] - y) * pixels), int(x * pixels)
            if 0 <= top < image.shape[0] and 0 <= left < image.shape[1]:
                image[max(top - 4, 0) : top + 4, max(left - 4, 0) : left + 4] = colour
        return image


def _edges(space: Any) -> tuple[Floats, Floats]:
    return space.low, space.high


class GoalMaze(SingleEnv):
    """Sparse goal-reaching in a folded corridor, most goals infeasible; see `GoalMazeBatch`."""

    task_names = GoalMazeBatch.task_names

    def __init__(self, *, render_mode: str | None = None, **kwargs: Any) -> None:
        self._maze = GoalMazeBatch(1, **kwargs)
        super().__init__(self._maze, render_mode)
