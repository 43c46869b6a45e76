"""Levels of the grid mazes: tasks, shortest paths, edits, random and named mazes.

    maze = GridMaze()                                 # or MiniGridMaze(): both are MazeTasks
    level = Level.parse(picture)                      # "#" wall, "." floor, "G" goal, ">v<^" the agent
    maze.shortest_path(maze.task_of(level))           # moves from the agent to the goal, -1 when there is no way
    maze.edit_task(task, rng, edits=5)

Facts (size, blocks, edits, reward) of Dennis et al. (2020, "Emergent complexity and zero-shot transfer via unsupervised
environment design") and Parker-Holder et al. (2022, "Evolving curricula with regret-based environment design").
Layouts are our own: where theirs are drawn by hand, a maze of the same kind has a name of its own here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach_envs.arguments import check_whole, clipped_progress, fixed_sets
from rlteach_envs.task_reader import TaskReader

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

HEIGHTS = 17
"""Values of a cell. A cell is a wall where its value is less than the density, hence with a chance of density / 17."""

MAX_DENSITY = 6
"""In units of about ten blocks on 13 x 13 cells: uniform tasks have 0 to 60 blocks, as usual for these mazes."""

TURN_LEFT, TURN_RIGHT, FORWARD = range(3)
DIRECTIONS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Steps (x, y) of the directions 0 to 3: right, down, left, up; y points down."""

HEADINGS = ">v<^"


@dataclass(frozen=True)
class Level:
    """One maze.

    Attributes:
        walls: (k, k), row y from the top and column x, without the border around it.
        agent: Cell y * k + x in which the agent starts.
        goal: Cell of the goal.
        direction: Where the agent looks at first: 0 right, 1 down, 2 left, 3 up.
    """

    walls: Bools
    agent: int
    goal: int
    direction: int = 0

    @classmethod
    def parse(cls, picture: str) -> Level:
        """Read lines of "#" and "." with one "G" and one of ">v<^", without the border."""
        rows = picture.split()
        text = "".join(rows)
        agents = [place for place, c in enumerate(text) if c in HEADINGS]
        if any(len(row) != len(rows) for row in rows) or set(text) - set("#.G" + HEADINGS):
            raise ValueError(f"a level has as many rows as columns, of '#', '.', 'G' and one of '>v<^':\n{picture}")
        if len(agents) != 1 or text.count("G") != 1:
            raise ValueError(f"a level needs one 'G' and one of '>v<^':\n{picture}")
        walls = np.array([c == "#" for c in text]).reshape(len(rows), len(rows))
        return cls(walls, agents[0], text.index("G"), HEADINGS.index(text[agents[0]]))

    def __str__(self) -> str:
        text = np.where(self.walls, "#", ".").ravel()
        text[self.goal], text[self.agent] = "G", HEADINGS[self.direction]
        return "\n".join("".join(row) for row in text.reshape(self.walls.shape))


# -- tasks as vectors --------------------------------------------------------------------------------------------------


def maze_space(inner: int, max_density: int = MAX_DENSITY) -> spaces.Dict:
    """Return the task space of mazes of `inner` x `inner` cells."""
    return spaces.Dict(
        {
            "agent": spaces.Discrete(inner * inner),
            "cells": spaces.MultiDiscrete(np.full((inner, inner), HEIGHTS)),
            "density": spaces.Discrete(max_density + 1),
            "direction": spaces.Discrete(len(DIRECTIONS)),
            "goal": spaces.Discrete(inner * inner),
        }
    )


def draw_vector(high: NDArray[np.float64], rng: np.random.Generator) -> Ints:
    """Draw a task uniformly, from the largest value of each of its numbers (d,); the smallest is 0."""
    return np.asarray(rng.random(len(high)) * (high + 1), dtype=np.int64)


def decode(vectors: Ints, inner: int) -> tuple[Bools, Ints, Ints, Ints]:
    """Return walls (n, k, k), agents, goals and directions (n,) of tasks given as vectors (n, d).

    The agent and the goal remove a wall under them; an agent on the goal starts half the maze away from it instead.
    """
    agents, goals, directions = vectors[:, 0], vectors[:, -1], vectors[:, -2]
    agents = np.where(agents == goals, (goals + inner * inner // 2) % (inner * inner), agents)
    walls = vectors[:, 1:-3] < vectors[:, -3:-2]
    every = np.arange(len(vectors))
    walls[every, agents] = walls[every, goals] = False
    return walls.reshape(-1, inner, inner), agents, goals, directions


# -- shortest paths ----------------------------------------------------------------------------------------------------


def _floor_bits(walls: Bools) -> list[int]:
    """Return the floor of mazes (n, k, k) as the bits of one integer each; cell x, y is bit y (k + 1) + x."""
    n, inner = len(walls), walls.shape[1]
    floor = np.zeros((n, inner, inner + 1), dtype=bool)  # a column of border keeps rows apart
    floor[:, :, :-1] = ~walls
    return [int.from_bytes(row.tobytes(), "little") for row in np.packbits(floor.reshape(n, -1), 1, bitorder="little")]


def _bit(cell: int, inner: int) -> int:
    return 1 << (cell // inner * (inner + 1) + cell % inner)


def _waves(floor: int, start: int, inner: int) -> Iterator[int]:
    """Yield the cells that are 0, 1, 2, ... moves away: breadth-first search, a whole wave in a few operations."""
    wave, width = start, inner + 1
    while wave:
        yield wave
        floor &= ~wave
        wave = (wave << 1 | wave >> 1 | wave << width | wave >> width) & floor


def path_lengths(walls: Bools, agents: Ints, goals: Ints) -> Ints:
    """Return the moves (turning is none) of a shortest path from each agent to its goal, -1 where there is no way.

    Args:
        walls: (n, k, k).
        agents: Cells y * k + x (n,).
        goals: Cells (n,).
    """
    inner = walls.shape[1]
    lengths = []
    for floor, agent, goal in zip(_floor_bits(walls), agents.tolist(), goals.tolist(), strict=True):
        end = _bit(agent, inner)
        waves = enumerate(_waves(floor, _bit(goal, inner), inner))
        lengths.append(next((length for length, wave in waves if wave & end), -1))
    return np.array(lengths, dtype=np.int64)


def distances(walls: Bools, goal: int) -> Ints:
    """Return the number of moves from every cell of a maze (k, k) to a goal, -1 where there is no way."""
    inner = len(walls)
    found = np.full(inner * (inner + 1), -1)
    for length, wave in enumerate(_waves(_floor_bits(walls[None])[0], _bit(goal, inner), inner)):
        cells = np.frombuffer(wave.to_bytes(len(found) // 8 + 1, "little"), dtype=np.uint8)
        found[np.unpackbits(cells, count=len(found), bitorder="little") > 0] = length
    return found.reshape(inner, inner + 1)[:, :-1]


@lru_cache(maxsize=1024)
def _distances_of(walls: bytes, inner: int, goal: int) -> Ints:
    return distances(np.frombuffer(walls, dtype=bool).reshape(inner, inner), goal)


# -- random mazes ------------------------------------------------------------------------------------------------------


def random_level(inner: int, rng: np.random.Generator, blocks: int = 60) -> Level:
    """Put blocks anywhere, one on another where it happens; then the goal, and the agent elsewhere."""
    walls = np.zeros(inner * inner, dtype=bool)
    walls[rng.integers(len(walls), size=blocks)] = True
    goal, agent = rng.choice(len(walls), size=2, replace=False).tolist()
    walls[[goal, agent]] = False
    return Level(walls.reshape(inner, inner), agent, goal, int(rng.integers(len(DIRECTIONS))))


def edited(level: Level, rng: np.random.Generator) -> Level:
    """Turn one random cell into wall, floor, the goal or the agent's start, each with the same chance.

    Agent and goal are never overwritten; where they were there is floor.
    """
    cell, kind = int(rng.integers(level.walls.size)), int(rng.integers(4))
    if cell in (level.agent, level.goal):
        return level
    walls = level.walls.copy()
    walls.flat[cell] = kind == 0
    agent, goal = (cell if kind == 2 else level.agent), (cell if kind == 3 else level.goal)
    return Level(walls, agent, goal, level.direction)


Edge = tuple[int, int]


def _spanning_tree(side: int, rng: np.random.Generator) -> tuple[list[Edge], list[Edge]]:
    """Return the edges of a random spanning tree of a square grid of nodes, and the other edges (Kruskal)."""
    nodes = range(side * side)
    edges = [(i, i + 1) for i in nodes if (i + 1) % side] + [(i, i + side) for i in nodes if i + side < side * side]
    root = list(nodes)
    tree: list[Edge] = []
    others: list[Edge] = []
    for place in rng.permutation(len(edges)).tolist():
        a, b = (_root_of(root, node) for node in edges[place])
        (others if a == b else tree).append(edges[place])
        root[a] = b
    return tree, others


def _root_of(root: list[int], node: int) -> int:
    while root[node] != node:
        root[node] = root[root[node]]
        node = root[node]
    return node


def perfect_maze(inner: int, rng: np.random.Generator, loops: float = 0.0) -> Level:
    """Return a maze of corridors one cell wide in which one path joins any two places; agent and goal anywhere.

    Args:
        inner: Odd number of cells per side.
        rng: What it is drawn with.
        loops: Share of the walls between neighbouring corridors that are opened all the same.
    """
    side = (inner + 1) // 2
    tree, others = _spanning_tree(side, rng)
    walls = np.ones((inner, inner), dtype=bool)
    walls[::2, ::2] = False
    for a, b in tree + others[: round(loops * len(others))]:
        walls[a // side + b // side, a % side + b % side] = False
    agent, goal = (2 * (i // side) * inner + 2 * (i % side) for i in rng.choice(side * side, 2, replace=False).tolist())
    return Level(walls, agent, goal, int(rng.integers(len(DIRECTIONS))))


def crossing(inner: int, rng: np.random.Generator, rivers: int) -> Level:
    """Return a room crossed by walls with one opening each on the way from the upper left to the lower right corner.

    The rule of MiniGrid's SimpleCrossing: walls lie on odd rows and columns, and a staircase over all the rooms they
    make passes each of them once.
    """
    lines = [(axis, place) for axis in (0, 1) for place in range(1, inner - 1, 2)]
    chosen = [lines[i] for i in rng.choice(len(lines), size=min(rivers, len(lines)), replace=False).tolist()]
    places = [sorted(place for axis, place in chosen if axis == which) for which in (0, 1)]
    walls = np.zeros((inner, inner), dtype=bool)
    walls[places[0], :] = True
    walls[:, places[1]] = True
    bounds = [[-1, *some, inner] for some in places]
    room = [0, 0]
    for axis in rng.permutation([0] * len(places[0]) + [1] * len(places[1])).tolist():
        along = 1 - axis
        gap = [0, 0]
        gap[axis] = bounds[axis][room[axis] + 1]
        gap[along] = int(rng.integers(bounds[along][room[along]] + 1, bounds[along][room[along] + 1]))
        walls[tuple(gap)] = False
        room[axis] += 1
    return Level(walls, 0, inner * inner - 1)


# -- named mazes -------------------------------------------------------------------------------------------------------


def rooms(inner: int, side: int, rng: np.random.Generator, *, every_door: bool = True) -> Level:
    """Return `side` x `side` rooms with a door between neighbours, or only as many doors as join all rooms."""
    lines = [round(i * (inner + 1) / side) - 1 for i in range(1, side)]
    spans = [range(a + 1, b) for a, b in zip([-1, *lines], [*lines, inner], strict=True)]
    walls = np.zeros((inner, inner), dtype=bool)
    walls[lines, :] = True
    walls[:, lines] = True
    tree, others = _spanning_tree(side, rng)
    for a, b in tree + (others if every_door else []):
        row, column = divmod(a, side)
        if b == a + 1:
            walls[int(rng.choice(spans[row])), lines[column]] = False
        else:
            walls[lines[row], int(rng.choice(spans[column]))] = False
    return Level(walls, 0, inner * inner - 1)


def rings(inner: int) -> Level:
    """Return walls around walls around the goal, each with one gap, by turns on the right and on the left."""
    middle = inner // 2
    offsets = np.abs(np.arange(inner) - middle)
    ring = np.maximum(offsets[:, None], offsets)
    walls = (ring % 2 == 1) & (ring < middle)
    for place, radius in enumerate(range(1, middle, 2)):
        walls[middle, middle + radius * (1 if place % 2 else -1)] = False
    return Level(walls, 0, middle * inner + middle)


def spiral(inner: int) -> Level:
    """Return one corridor that winds inwards from the upper left corner to the goal at its end."""
    walls = np.ones((inner, inner), dtype=bool)
    x = y = heading = 0
    walls[0, 0] = False
    while True:
        for turn in (heading, (heading + 1) % 4):
            dx, dy = DIRECTIONS[turn]
            there = [(x + i * dx, y + i * dy) for i in (1, 2)]
            inside = all(0 <= c < inner for cell in there[:1] for c in cell)
            beyond = all(0 <= c < inner for cell in there for c in cell) and not walls[there[1][1], there[1][0]]
            if inside and walls[there[0][1], there[0][0]] and not beyond:
                (x, y), heading = there[0], turn
                walls[y, x] = False
                break
        else:
            return Level(walls, 0, y * inner + x)


def comb(inner: int, depth: int) -> Level:
    """Return a corridor with blind alleys on both sides; the goal lies at the end of the second to last one."""
    middle = inner // 2
    walls = np.ones((inner, inner), dtype=bool)
    walls[middle] = False
    walls[max(middle - depth, 0) : middle + depth + 1, ::2] = False
    return Level(walls, middle * inner, max(middle - depth, 0) * inner + 2 * ((inner - 1) // 2 - 1))


PERFECT_MAZES = {
    f"PerfectMaze{name}": {"size": size, "horizon": 2 * size * size}
    for name, size in (("S", 11), ("M", 21), ("L", 51), ("XL", 101))
}
"""Arguments of an environment in which `named_mazes["PerfectMaze"]` has the size that its name says.

    maze = gymnasium.make("rlteach_envs:rlteach/GridMaze-v0", **PERFECT_MAZES["PerfectMazeXL"]).unwrapped
    maze.reset(options={"task": maze.named_mazes["PerfectMaze"]})      # maze.test_sets["perfect"] holds 20 more

What a student sees (`policy`) has the same columns in all of them, so whoever learned on 13 x 13 cells can be judged
there. Sizes with the border and horizons of Parker-Holder et al. (2022), who judge on L and XL.
"""


def named_levels(inner: int) -> dict[str, Level]:
    """Return the mazes that learners are judged on, by name; there is a way in all of them.

    Each is made for `inner` x `inner` cells: see `PERFECT_MAZES` for the sizes in which perfect mazes are usual.
    """

    def drawn(seed: int, make: Callable[..., Level], **kwargs: Any) -> Level:
        level = make(inner, rng=np.random.default_rng([seed, inner]), **kwargs)
        return replace(level, agent=0, goal=inner * inner - 1, direction=0)

    return {
        "FourRooms": drawn(1, rooms, side=2),
        "NineRooms": drawn(2, rooms, side=3),
        "SixteenRooms": drawn(3, rooms, side=4),
        "SixteenRoomsFewerDoors": drawn(4, rooms, side=4, every_door=False),
        "SimpleCrossing": drawn(5, crossing, rivers=(inner - 1) // 4),
        "Rings": rings(inner),
        "Spiral": spiral(inner),
        "ShortComb": comb(inner, 2),
        "LongComb": comb(inner, inner // 2),
        "Braid1": drawn(6, perfect_maze, loops=0.3),
        "Braid2": drawn(7, perfect_maze, loops=0.2),
        "Braid3": drawn(8, perfect_maze, loops=0.1),
        "PerfectMaze": drawn(9, perfect_maze),
    }


# -- what both environments offer --------------------------------------------------------------------------------------


class MazeTasks:
    """What an environment of mazes knows of its tasks. It has to call `_offer_mazes`."""

    task_units: ClassVar[dict[str, str]] = {
        "agent": "1",
        "cells": "1",
        "density": "10 blocks",
        "direction": "quarter turns",
        "goal": "1",
    }
    inner: int
    """Cells per side, without the border."""
    max_density: int
    task_space: spaces.Dict

    def _offer_mazes(self, size: int, max_density: int) -> None:
        check_whole(1, size=size, max_density=max_density)
        if size < 9 or size % 2 == 0 or not 1 <= max_density < HEIGHTS:
            raise ValueError(
                f"size = {size} must be odd and at least 9, max_density = {max_density} in [1, {HEIGHTS - 1}]"
            )
        self.inner, self.max_density = size - 2, max_density
        self.task_space = maze_space(self.inner, max_density)
        self._one_maze = TaskReader(self.task_space)

    def level_of(self, task: Mapping[str, Any]) -> Level:
        """Return the maze that a task stands for.

        Raises:
            ValueError: When it is none of the task space, with everything that is wrong.
        """
        walls, agents, goals, directions = decode(self._one_maze.read(task).astype(np.int64), self.inner)
        return Level(walls[0], int(agents[0]), int(goals[0]), int(directions[0]))

    def task_of(self, level: Level) -> dict[str, Any]:
        """Return a task that stands for a maze: walls are 0, floor is 16, and the density tells how many walls."""
        if level.walls.shape != (self.inner, self.inner):
            raise ValueError(f"the level has {level.walls.shape} cells, not {(self.inner, self.inner)}")
        tens = -(-int(level.walls.sum()) * 169 // (10 * level.walls.size))  # rounded up
        return {
            "agent": np.int64(level.agent),
            "cells": np.where(level.walls, 0, HEIGHTS - 1).astype(np.int64),
            "density": np.int64(min(tens, self.max_density)),
            "direction": np.int64(level.direction),
            "goal": np.int64(level.goal),
        }

    def shortest_path(self, task: Mapping[str, Any]) -> int:
        """Return the moves of a shortest path from the agent to the goal (turns are not counted), -1 without one."""
        level = self.level_of(task)
        return int(path_lengths(level.walls[None], np.array([level.agent]), np.array([level.goal]))[0])

    def feasibility(self, task: Mapping[str, Any]) -> bool:
        """Tell whether there is a way to the goal (the horizon may be too short for it)."""
        return self.shortest_path(task) >= 0

    @property
    def empty_room(self) -> dict[str, Any]:
        """The simplest task, from which edits may start: no walls, and the goal two cells before the agent."""
        middle = self.inner * self.inner // 2
        return self.task_of(Level(np.zeros((self.inner, self.inner), dtype=bool), middle, middle + 2))

    @cached_property
    def named_mazes(self) -> dict[str, dict[str, Any]]:
        """The named mazes as tasks."""
        return {name: self.task_of(level) for name, level in named_levels(self.inner).items()}

    @fixed_sets
    def test_sets(self) -> dict[str, list[Any]]:
        """Tasks by set, the primary one first.

        `mazes`: the named ones; `perfect`: 20 spanning-tree mazes; `crossings`: 20 rooms crossed by 1 to 5 walls;
        `blocks`: 50 random mazes of 60 blocks, solvable or not; `solvable`: 200 that are.
        """
        rng = np.random.default_rng(0)
        perfect = [perfect_maze(self.inner, rng) for _ in range(20)]
        crossings = [crossing(self.inner, rng, 1 + i % 5) for i in range(20)]
        blocks = [random_level(self.inner, rng) for _ in range(50)]
        drawn = {"perfect": perfect, "crossings": crossings, "blocks": blocks}
        sets = {"mazes": list(self.named_mazes.values())} | {k: list(map(self.task_of, v)) for k, v in drawn.items()}
        sets["solvable"] = []
        while len(sets["solvable"]) < 200:
            if self.feasibility(task := self.task_of(random_level(self.inner, rng))):
                sets["solvable"].append(task)
        return sets

    def edit_task(self, task: Mapping[str, Any], rng: np.random.Generator, edits: int = 1) -> dict[str, Any]:
        """Return a task that differs by random edits, see `edited`."""
        level = self.level_of(task)
        for _ in range(edits):
            level = edited(level, rng)
        return self.task_of(level)

    def oracle_window(self, progress: float, rng: np.random.Generator) -> Any:
        """Draw a maze that can be solved, with more blocks and a longer way as progress rises; at 1 any task.

        Of eight random mazes with the number of blocks that belongs to `progress`, the one at that rank of path length.
        """
        progress = clipped_progress(progress)
        if progress >= 1:
            return self.draw_task(rng)
        blocks = round(progress * 10 * self.max_density * self.inner**2 / 169)
        levels = [random_level(self.inner, rng, blocks) for _ in range(8)]
        walls = np.array([level.walls for level in levels])
        lengths = path_lengths(walls, np.array([x.agent for x in levels]), np.array([x.goal for x in levels]))
        solvable = [place for place in np.argsort(lengths, kind="stable").tolist() if lengths[place] >= 0]
        if not solvable:
            return self.empty_room
        return self.task_of(levels[solvable[int(progress * len(solvable))]])

    def draw_task(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw a task uniformly."""
        vector = draw_vector(self._one_maze.high, rng)
        parts = vector[0], vector[1:-3].reshape(self.inner, self.inner), *vector[-3:]
        return dict(zip(self.task_space.spaces, parts, strict=True))

    def demonstrate(self, observation: Mapping[str, NDArray[np.float32]]) -> np.int64:
        """Return an action along a shortest path to the goal; where there is none, turn left."""
        map_ = np.asarray(observation["privileged"])
        cells, rest = map_[: self.inner**2], map_[self.inner**2 :]
        goal_x, goal_y, x, y = np.rint((rest[:4] + 1) / 2 * (self.inner - 1)).astype(int).tolist()
        heading = int(rest[4:].argmax())
        left = _distances_of((cells > 0.5).tobytes(), self.inner, goal_y * self.inner + goal_x)
        for turn, action in ((0, FORWARD), (1, TURN_RIGHT), (3, TURN_LEFT), (2, TURN_RIGHT)):
            dx, dy = DIRECTIONS[(heading + turn) % 4]
            inside = 0 <= x + dx < self.inner and 0 <= y + dy < self.inner
            if inside and 0 <= left[y + dy, x + dx] < left[y, x]:
                return np.int64(action)
        return np.int64(TURN_LEFT)
