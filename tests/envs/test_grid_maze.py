"""GridMaze against graphs and rules written anew, its two forms against each other, and what it says of itself."""

import copy
import time
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import rlteach_envs  # noqa: F401 - registers the ids
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from rlteach_envs.grid_levels import (
    PERFECT_MAZES,
    Level,
    distances,
    edited,
    named_levels,
    path_lengths,
    perfect_maze,
    random_level,
)
from rlteach_envs.grid_maze import GridMaze, GridMazeBatch, lit
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, shortest_path
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import rlteach
from rlteach.delivery import BatchVecEnv
from rlteach.experiment.config import parse
from rlteach.experiment.run import run
from rlteach.files import read_rows
from rlteach.observations import View, ViewVecEnv
from rlteach.task_space import TaskSpace
from rlteach.testing.envs import check_env

MAZE = GridMaze()
MIDDLE = 84

PICTURE = """
>....
.###.
.#.#.
.##..
...#G
"""


def floor_graph(walls: np.ndarray) -> coo_array:
    """The graph of neighbouring floor cells, edge by edge."""
    k = len(walls)
    edges = [
        (y * k + x, (y + dy) * k + x + dx)
        for y in range(k)
        for x in range(k)
        for dx, dy in ((1, 0), (0, 1))
        if x + dx < k and y + dy < k and not walls[y, x] and not walls[y + dy, x + dx]
    ]
    rows, columns = np.array(edges, dtype=int).reshape(-1, 2).T
    return coo_array((np.ones(len(edges)), (rows, columns)), shape=(k * k, k * k))


def moves_by_graph(level: Level) -> int:
    found = shortest_path(floor_graph(level.walls), directed=False, unweighted=True, indices=level.goal)[level.agent]
    return int(found) if np.isfinite(found) else -1


def same_bits(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return list(a) == list(b) and all(same_bits(a[key], b[key]) for key in a)
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def row_of(observations: Any, row: Any) -> Any:
    return {key: values[row] for key, values in observations.items()}


def batched(tasks: list[Any]) -> Any:
    return TaskSpace.of(MAZE.task_space).batch(dict(enumerate(tasks)), len(tasks))


# -- shortest paths ----------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 120), st.sampled_from([7, 9, 13, 20]))
def test_distances_are_those_of_the_graph_of_floor_cells(seed: int, blocks: int, inner: int) -> None:
    level = random_level(inner, np.random.default_rng(seed), blocks)
    expected = shortest_path(floor_graph(level.walls), directed=False, unweighted=True, indices=level.goal)
    expected[np.isinf(expected)] = -1
    assert np.array_equal(distances(level.walls, level.goal).ravel(), expected)
    assert path_lengths(level.walls[None], np.array([level.agent]), np.array([level.goal]))[0] == expected[level.agent]


def test_path_lengths_of_many_mazes_are_those_of_each_and_some_have_no_way() -> None:
    levels = [random_level(13, np.random.default_rng(seed), 75) for seed in range(100)]
    walls = np.array([level.walls for level in levels])
    found = path_lengths(walls, np.array([x.agent for x in levels]), np.array([x.goal for x in levels]))
    assert found.tolist() == [moves_by_graph(level) for level in levels]
    assert 10 < (found == -1).sum() < 90


def test_the_path_of_a_maze_drawn_by_hand_is_counted_right() -> None:
    level = Level.parse(PICTURE)
    assert (level.agent, level.goal, level.direction) == (0, 24, 0)
    assert path_lengths(level.walls[None], np.array([0]), np.array([24])).tolist() == [8]
    assert distances(level.walls, 24)[2, 2] == -1, "walled in"
    assert str(level) == PICTURE.strip()


# -- tasks -------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_a_cell_is_a_wall_where_its_number_is_less_than_the_density(seed: int) -> None:
    task = TaskSpace.of(MAZE.task_space).test_set(1, seed)[0]
    level = MAZE.level_of(task)
    if task["agent"] == task["goal"]:
        assert level.agent == (task["goal"] + 84) % 169
    else:
        assert level.agent == task["agent"]
    assert level.goal == task["goal"] != level.agent and level.direction == task["direction"]
    for cell in range(169):
        wall = task["cells"][cell // 13, cell % 13] < task["density"] and cell not in (level.agent, level.goal)
        assert level.walls[cell // 13, cell % 13] == wall


def test_the_agent_never_starts_on_the_goal() -> None:
    task = MAZE.empty_room
    for cell in range(169):
        level = MAZE.level_of({**task, "agent": np.int64(cell), "goal": np.int64(cell)})
        assert level.goal == cell and level.agent != cell


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 169))
def test_every_maze_is_a_task_and_comes_back_from_it(seed: int, blocks: int) -> None:
    level = random_level(13, np.random.default_rng(seed), blocks)
    task = MAZE.task_of(level)
    assert MAZE.task_space.contains(task)
    back = MAZE.level_of(task)
    assert np.array_equal(back.walls, level.walls)
    assert (back.agent, back.goal, back.direction) == (level.agent, level.goal, level.direction)
    assert task["density"] == min(6, int(np.ceil(level.walls.sum() / 10)))
    mapping = TaskSpace.of(MAZE.task_space)
    assert str(MAZE.level_of(mapping.from_mapping(mapping.to_mapping(task)))) == str(level)


def test_uniform_tasks_have_0_to_60_blocks_and_93_percent_can_be_solved() -> None:
    env = GridMazeBatch(3000)
    _, info = env.reset(seed=0)
    blocks = info["blocks"]
    # p uniform on 0, 1/17, ..., 6/17; a wall under the agent or the goal is taken away.
    shares = np.arange(7) / 17
    variance = (167 * shares * (1 - shares)).mean() + 167**2 * shares.var()
    assert blocks.mean() == pytest.approx(167 * shares.mean(), rel=0.03)
    assert blocks.std() == pytest.approx(variance**0.5, rel=0.03)
    assert info["solvable"].mean() == pytest.approx(0.93, abs=0.015)
    assert ((info["shortest_path"] >= 0) == info["solvable"]).all() and info["_solvable"].all()
    drawn = TaskSpace.of(env.task_space).test_set(500, 1)
    assert np.mean([env.feasibility(task) for task in drawn]) == pytest.approx(0.93, abs=0.04), "as teachers draw them"


def test_max_density_keeps_uniform_tasks_easy() -> None:
    _, info = GridMazeBatch(1000, max_density=1).reset(seed=0)
    assert info["blocks"].mean() == pytest.approx(167 / 34, rel=0.1) and info["solvable"].mean() > 0.99


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"agent": 169}, r"^agent = 169 lies outside \[0, 168\]$"),
        ({"goal": -1}, r"^goal = -1 lies outside"),
        ({"direction": 4}, r"^direction = 4 lies outside \[0, 3\]$"),
        ({"density": 0.5}, r"^density = 0.5 must be a whole number in \[0, 6\]$"),
        ({"density": np.nan}, r"^density = nan lies outside"),
        ({"cells": np.full((13, 13), 17)}, r"^cells\[0,0\] = 17 lies outside \[0, 16\] \(and 168 more of cells\)$"),
        (
            {"cells": np.zeros((12, 13))},
            r"^cells has shape \(12, 13\), not \(13, 13\): 169 whole numbers in \[0, 16\]$",
        ),
    ],
)
def test_a_task_outside_is_refused_by_name(change: dict[str, Any], says: str) -> None:
    env = GridMaze()
    env.reset(seed=0)
    before = env.get_snapshot()
    with pytest.raises(ValueError, match=says):
        env.reset(options={"task": {**env.empty_room, **change}})
    assert same_bits(before["_tasks"], env.get_snapshot()["_tasks"])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: GridMazeBatch(1, size=14), "size = 14"),
        (lambda: GridMazeBatch(1, size=7), "size = 7"),
        (lambda: GridMazeBatch(1, view=4), "view = 4"),
        (lambda: GridMazeBatch(1, max_density=0), "max_density = 0"),
        (lambda: GridMazeBatch(1, horizon=0), "horizon = 0"),
        (lambda: Level.parse("##\n.#"), "one 'G'"),
        (lambda: Level.parse(">>\nG#"), "one of '>v<\\^'"),
        (lambda: Level.parse(">G\n#"), "as many rows as columns"),
        (lambda: Level.parse(">G\nx#"), "as many rows as columns"),
        (lambda: MAZE.task_of(Level.parse(PICTURE)), r"\(5, 5\) cells, not \(13, 13\)"),
    ],
)
def test_wrong_arguments_are_named(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


# -- edits -------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 90))
def test_an_edit_changes_one_cell_and_leaves_agent_and_goal_on_floor(seed: int, blocks: int) -> None:
    rng = np.random.default_rng(seed)
    level = random_level(13, rng, blocks)
    for _ in range(10):
        after = edited(level, rng)
        moved = {level.agent, after.agent, level.goal, after.goal}
        changed = set(np.flatnonzero(level.walls != after.walls).tolist())
        assert len(changed) <= 1 and len({level.agent, level.goal} - {after.agent, after.goal}) <= 1
        if after.agent != level.agent or after.goal != level.goal:
            assert changed <= moved
        assert after.agent != after.goal and not after.walls.flat[[after.agent, after.goal]].any()
        assert (after.direction, after.walls.shape) == (level.direction, (13, 13))
        level = after


def test_the_four_edits_are_equally_likely() -> None:
    rng, level = np.random.default_rng(0), random_level(13, np.random.default_rng(1), 60)
    counts = {"wall": 0, "floor": 0, "agent": 0, "goal": 0}
    for _ in range(6000):
        after = edited(level, rng)
        grown = int(after.walls.sum()) - int(level.walls.sum())
        if after.agent != level.agent:
            counts["agent"] += 1
        elif after.goal != level.goal:
            counts["goal"] += 1
        elif grown:
            counts["wall" if grown > 0 else "floor"] += 1
    # A wall edit shows on floor only, a floor edit on walls only; none touches agent or goal.
    walls, cells = int(level.walls.sum()), 169
    assert counts["agent"] == pytest.approx(6000 / 4 * (cells - 2) / cells, rel=0.1)
    assert counts["goal"] == pytest.approx(6000 / 4 * (cells - 2) / cells, rel=0.1)
    assert counts["wall"] == pytest.approx(6000 / 4 * (cells - 2 - walls) / cells, rel=0.1)
    assert counts["floor"] == pytest.approx(6000 / 4 * walls / cells, rel=0.15)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 30))
def test_edited_tasks_stay_inside_the_space_and_the_given_task_as_it_is(seed: int, edits: int) -> None:
    task = TaskSpace.of(MAZE.task_space).test_set(1, seed)[0]
    kept = copy.deepcopy(task)
    after = MAZE.edit_task(task, np.random.default_rng(seed), edits)
    assert MAZE.task_space.contains(after) and same_bits(dict(task), dict(kept))
    assert (np.sum(MAZE.level_of(after).walls != MAZE.level_of(task).walls)) <= edits


def test_the_empty_room_has_no_walls_and_its_goal_two_steps_ahead() -> None:
    env = GridMaze()
    _, info = env.reset(options={"task": env.empty_room})
    assert info == {"shortest_path": 2, "solvable": True, "blocks": 0}
    assert [env.step(2)[2] for _ in range(2)] == [False, True]


# -- named mazes and test sets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", [7, 13, 19])
def test_there_is_a_way_through_every_named_maze(inner: int) -> None:
    levels = named_levels(inner)
    assert len(levels) == 13
    for name, level in levels.items():
        assert moves_by_graph(level) >= inner - 1, name
        assert not level.walls.flat[[level.agent, level.goal]].any()


@pytest.mark.parametrize(
    ("name", "side", "doors"),
    [("FourRooms", 2, 4), ("NineRooms", 3, 12), ("SixteenRooms", 4, 24), ("SixteenRoomsFewerDoors", 4, 15)],
)
def test_rooms_have_so_many_doors_and_are_as_many_as_their_name_says(name: str, side: int, doors: int) -> None:
    walls = named_levels(13)[name].walls
    lines = [i for i in range(13) if walls[i].sum() >= 13 - 2 * side]
    assert len(lines) == side - 1
    closed = walls.copy()
    closed[lines, :] = closed[:, lines] = True
    assert closed.sum() - walls.sum() == doors
    _, labels = connected_components(floor_graph(closed), directed=False)
    assert len(set(labels[~closed.ravel()])) == side * side
    assert connected_components(floor_graph(walls), directed=False)[0] == walls.sum() + 1


@pytest.mark.parametrize("seed", range(5))
def test_a_perfect_maze_is_a_tree_and_loops_add_edges(seed: int) -> None:
    level = perfect_maze(13, np.random.default_rng(seed))
    cells, edges = int((~level.walls).sum()), floor_graph(level.walls).nnz
    assert (cells, edges) == (97, 96)
    assert connected_components(floor_graph(level.walls), directed=False)[0] == level.walls.sum() + 1
    braided = perfect_maze(13, np.random.default_rng(seed), loops=0.25).walls
    assert (~braided).sum() == 97 + 9 and not (braided & ~level.walls).any()


@pytest.mark.parametrize(("name", "cells"), [("S", 9), ("M", 19), ("L", 49), ("XL", 99)])
def test_perfect_mazes_come_in_four_sizes_and_whoever_knows_the_way_has_time_for_it(name: str, cells: int) -> None:
    env = GridMaze(**PERFECT_MAZES[f"PerfectMaze{name}"])
    level = env.level_of(task := env.named_mazes["PerfectMaze"])
    assert level.walls.shape == (cells, cells) and (level.agent, level.goal) == (0, cells * cells - 1)
    assert floor_graph(level.walls).nnz == (~level.walls).sum() - 1, "as many edges as a tree has"
    observation, info = env.reset(options={"task": task})
    assert info["shortest_path"] == moves_by_graph(level)
    assert observation["policy"].shape == MAZE.observation_space["policy"].shape, "a student fits every size"
    steps, over = 0, False
    while not over:
        observation, _, terminated, truncated, info = env.step(env.demonstrate(observation))
        steps, over = steps + 1, terminated or truncated
    assert info["is_success"] and steps <= 3 * moves_by_graph(level) < env.horizon


def test_a_spiral_is_one_corridor_and_rings_need_a_way_around_each() -> None:
    spiral, rings = named_levels(13)["Spiral"], named_levels(13)["Rings"]
    neighbours = floor_graph(spiral.walls)
    degrees = (neighbours + neighbours.T).sum(axis=1)[~spiral.walls.ravel()]
    assert sorted(degrees)[:2] == [1, 1] and set(degrees[degrees != 1]) == {2}
    assert moves_by_graph(spiral) == (~spiral.walls).sum() - 1
    assert rings.goal == MIDDLE and moves_by_graph(rings) > 24


def test_crossings_have_rivers_on_odd_lines_with_one_opening_each() -> None:
    for place, task in enumerate(MAZE.test_sets["crossings"]):
        level = MAZE.level_of(task)
        assert moves_by_graph(level) >= 24
        lines = [(walls, i) for walls in (level.walls, level.walls.T) for i in range(13) if walls[i].sum() > 6]
        assert len(lines) == 1 + place % 5
        assert all(i % 2 == 1 and walls[i].sum() == 12 for walls, i in lines)


def test_test_sets_are_fixed_inside_the_space_and_labelled() -> None:
    sets = MAZE.test_sets
    labels = {name: [MAZE.feasibility(task) for task in tasks] for name, tasks in sets.items()}
    assert {name: len(tasks) for name, tasks in sets.items()} == {
        "mazes": 13, "perfect": 20, "crossings": 20, "blocks": 50, "solvable": 200,
    }  # fmt: skip
    assert next(iter(sets)) == "mazes" and list(MAZE.named_mazes) == list(named_levels(13))
    again = GridMaze().test_sets
    for name, tasks in sets.items():
        assert all(MAZE.task_space.contains(task) for task in tasks)
        assert str(tasks) == str(again[name])
        assert labels[name] == [moves_by_graph(MAZE.level_of(task)) >= 0 for task in tasks]
    assert all(map(all, (labels["mazes"], labels["perfect"], labels["crossings"], labels["solvable"])))
    assert 0 < labels["blocks"].count(False) < 15


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.integers(0, 2**32))
def test_the_oracle_stays_inside_the_task_space_and_gives_what_can_be_solved(progress: float, seed: int) -> None:
    task = MAZE.oracle_window(progress, np.random.default_rng(seed))
    assert MAZE.task_space.contains(task)
    assert progress >= 1 or MAZE.feasibility(task)


def test_the_oracle_goes_from_short_ways_in_empty_rooms_to_long_ones_among_blocks() -> None:
    rng = np.random.default_rng(0)
    ways, blocks = [], []
    for progress in (0.0, 0.5, 0.95):
        tasks = [MAZE.oracle_window(progress, rng) for _ in range(100)]
        ways.append(np.mean([MAZE.shortest_path(task) for task in tasks]))
        blocks.append(np.mean([MAZE.level_of(task).walls.sum() for task in tasks]))
    assert ways[0] < 5 and ways[1] > ways[0] + 3 and ways[2] > ways[1] + 3
    assert blocks[0] == 0 and blocks[1] == pytest.approx(27, abs=3) and blocks[2] == pytest.approx(48, abs=4)
    assert not all(MAZE.feasibility(MAZE.oracle_window(1.0, rng)) for _ in range(150))


# -- steps -------------------------------------------------------------------------------------------------------------


AHEAD = {"right": (1, 0), "down": (0, 1), "left": (-1, 0), "up": (0, -1)}
TO_THE_RIGHT = {"right": "down", "down": "left", "left": "up", "up": "right"}


class Walker:
    """The rules, one maze and one number at a time."""

    def __init__(self, level: Level, view: int) -> None:
        self.walls, self.view = level.walls, view
        self.goal = (level.goal % 13, level.goal // 13)
        self.x, self.y, self.heading = (
            level.agent % 13,
            level.agent // 13,
            "right down left up".split()[level.direction],
        )

    def wall(self, x: int, y: int) -> bool:
        return not (0 <= x < 13 and 0 <= y < 13) or bool(self.walls[y, x])

    def step(self, action: int) -> bool:
        dx, dy = AHEAD[self.heading]
        if action == 1:
            self.heading = TO_THE_RIGHT[self.heading]
        elif action == 0:
            self.heading = {right: old for old, right in TO_THE_RIGHT.items()}[self.heading]
        elif not self.wall(self.x + dx, self.y + dy):
            self.x, self.y = self.x + dx, self.y + dy
            return (self.x, self.y) == self.goal
        return False

    def sees(self) -> list[float]:
        (fx, fy), (rx, ry) = AHEAD[self.heading], AHEAD[TO_THE_RIGHT[self.heading]]
        half = self.view // 2
        places = [
            (self.x + ahead * fx + aside * rx, self.y + ahead * fy + aside * ry)
            for ahead in range(self.view - 1, -1, -1)
            for aside in range(-half, half + 1)
        ]
        goals = [float(place == self.goal and place != (self.x, self.y)) for place in places]
        return [float(self.wall(*place)) for place in places] + goals + self.compass()

    def compass(self) -> list[float]:
        return [float(self.heading == name) for name in AHEAD]


@pytest.mark.parametrize("view", [5, 7])
def test_every_step_follows_the_rules_one_number_at_a_time(view: int) -> None:
    rows, horizon, rng = 48, 60, np.random.default_rng(view)
    env = GridMazeBatch(rows, view=view, horizon=horizon)
    tasks = (
        TaskSpace.of(env.task_space).test_set(rows - 8, 3) + list(env.named_mazes.values())[:6] + [env.empty_room] * 2
    )
    observations, info = env.reset(seed=0, options={"task": batched(tasks)})
    levels = [env.level_of(task) for task in tasks]
    assert info["shortest_path"].tolist() == [moves_by_graph(level) for level in levels]
    assert info["blocks"].tolist() == [int(level.walls.sum()) for level in levels]
    walkers = [Walker(level, view) for level in levels]
    over = np.zeros(rows, dtype=bool)
    counts = {"reached": 0, "late": 0, "blocked": 0}
    for t in range(horizon + 1):
        for i in np.flatnonzero(~over):
            walker = walkers[i]
            assert observations["policy"][i].tolist() == walker.sees()
            place = [(v - 6) / 6 for v in (*walker.goal, walker.x, walker.y)]
            expected = [*levels[i].walls.ravel().astype(float), *place, *walker.compass()]
            assert observations["privileged"][i] == pytest.approx(expected, abs=1e-6)
        if over.all():
            break
        actions = rng.choice(3, size=rows, p=[0.2, 0.2, 0.6])
        observations, rewards, terminations, truncations, infos = env.step(actions)
        for i in np.flatnonzero(~over):
            before = (walkers[i].x, walkers[i].y)
            reached = walkers[i].step(int(actions[i]))
            counts["blocked"] += actions[i] == 2 and before == (walkers[i].x, walkers[i].y)
            assert rewards[i] == (1 - 0.9 * ((t + 1) / horizon) if reached else 0)
            assert (terminations[i], truncations[i]) == (reached, t + 1 == horizon and not reached)
            if reached or t + 1 == horizon:
                assert infos["is_success"][i] == reached
                counts["reached"] += reached
                counts["late"] += not reached
        assert not rewards[over].any()
        over |= terminations | truncations
    assert over.all() and counts["reached"] >= 5 and counts["late"] >= 5 and counts["blocked"] >= 100, counts


def test_a_goal_reached_with_the_last_step_counts() -> None:
    env = GridMaze(horizon=2)
    env.reset(options={"task": env.empty_room})
    env.step(2)
    _, reward, terminated, truncated, info = env.step(2)
    assert (reward, terminated, truncated, info) == (1 - 0.9, True, False, {"is_success": True})


def test_walls_hide_what_is_behind_them_where_asked_to() -> None:
    level = Level(np.zeros((13, 13), dtype=bool), MIDDLE, 0, direction=3)
    level.walls[5, :] = True
    env = GridMaze(see_through_walls=False)
    observation, _ = env.reset(options={"task": env.task_of(level)})
    assert observation["policy"].shape == (79,)
    walls, _, seen = observation["policy"][:75].reshape(3, 5, 5)
    assert (seen == [[0] * 5, [0] * 5, [0] * 5, [1] * 5, [1] * 5]).all(), "the wall ahead is seen, nothing behind it"
    assert (walls[3] == 1).all() and not walls[:3].any(), "what is not seen is no wall either"
    open_view, _ = GridMaze().reset(options={"task": env.task_of(level)})
    assert not open_view["policy"][:15].any()
    assert lit(np.full((1, 25), 1, dtype=np.uint8), 5).all()


@pytest.mark.parametrize("action", [-1, 3])
def test_other_actions_are_refused(action: int) -> None:
    env = GridMazeBatch(2)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="actions are 0 to 2"):
        env.step(np.array([0, action]))


def test_the_demonstration_takes_a_shortest_path_and_turns_where_there_is_none() -> None:
    env = GridMaze()
    for task in [*env.named_mazes.values(), *env.test_sets["blocks"][:20]]:
        observation, info = env.reset(options={"task": task})
        if not info["solvable"]:
            assert {int(env.demonstrate(observation)) for _ in range(4)} == {0}
            continue
        moves, ended = 0, False
        while not ended:
            action = env.demonstrate(observation)
            moves += int(action == 2)
            observation, _, ended, truncated, _ = env.step(action)
            assert not truncated
        assert moves == info["shortest_path"]


def test_walls_and_goal_can_be_changed_under_way_and_the_agent_stays() -> None:
    env, walled = GridMaze(), np.ones((13, 13), dtype=bool)
    env.reset(options={"task": env.empty_room})
    env.step(2)
    observation, _ = env.set_task(env.task_of(Level(walled, 0, 12)))
    assert observation["privileged"][169 + 2 : 169 + 4] == pytest.approx([1 / 6, 0])
    assert observation["privileged"][169:171].tolist() == [1, -1]
    assert (observation["privileged"][:169] == 0).nonzero()[0].tolist() == [0, 12, MIDDLE + 1], (
        "floor under the goal, the agent, and where the task starts"
    )
    after, *_ = env.step(2)
    assert same_bits(after, observation), "walls all around"


# -- two forms, one environment ----------------------------------------------------------------------------------------


def play_on(env: GridMazeBatch, steps: int, rng: np.random.Generator) -> list[Any]:
    trace: list[Any] = []
    for _ in range(steps):
        *seen, infos = env.step(rng.choice(3, size=env.num_envs, p=[0.2, 0.2, 0.6]))
        trace += [*seen, infos.get("is_success", np.zeros(0))]
        finished = seen[2] | seen[3]
        if finished.any():
            trace.append(env.reset(options={"reset_mask": finished})[0])
    return trace


def same_traces(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(same_bits(a, b) for a, b in zip(first, second, strict=True))


def test_each_row_of_a_batch_plays_like_a_single_environment() -> None:
    rows, rng = 5, np.random.default_rng(0)
    batch, singles = GridMazeBatch(rows, horizon=60), [GridMaze(horizon=60) for _ in range(rows)]
    tasks = TaskSpace.of(batch.task_space).test_set(500, 2)
    given_tasks = [tasks.pop() for _ in range(rows)]
    observations, infos = batch.reset(seed=11, options={"task": batched(given_tasks)})
    for i, single in enumerate(singles):
        alone, info = single.reset(seed=11 + i, options={"task": given_tasks[i]})
        assert same_bits(row_of(observations, i), alone)
        assert info == {key: infos[key][i] for key in ("shortest_path", "solvable", "blocks")}
    ended = reached = 0
    for step in range(150):
        actions = rng.choice(3, size=rows, p=[0.2, 0.2, 0.6])
        actions[:2] = [single.demonstrate(row_of(observations, i)) for i, single in enumerate(singles[:2])]
        observations, rewards, terminations, truncations, infos = batch.step(actions)
        for i, single in enumerate(singles):
            observation, reward, terminated, truncated, info = single.step(actions[i])
            assert same_bits(row_of(observations, i), observation)
            assert (rewards[i], terminations[i], truncations[i]) == (reward, terminated, truncated)
            assert info == ({"is_success": bool(infos["is_success"][i])} if terminated or truncated else {})
        finished = terminations | truncations
        ended, reached = ended + int(finished.sum()), reached + int(terminations.sum())
        if finished.any():
            # Half of the time each row draws its own.
            options: dict[str, Any] = {"reset_mask": finished}
            given_tasks = [tasks.pop() for _ in range(rows)]
            if step % 2:
                options["task"] = batched(given_tasks)
            observations, _ = batch.reset(options=options)
            for i in np.flatnonzero(finished):
                alone, _ = singles[i].reset(options={"task": given_tasks[i]} if step % 2 else None)
                assert same_bits(row_of(observations, i), alone)
    assert ended >= 3 * rows and reached >= 3


def test_a_masked_reset_touches_no_other_row_and_ignores_their_tasks() -> None:
    masked, left_alone = GridMazeBatch(4), GridMazeBatch(4)
    for env in (masked, left_alone):
        env.reset(seed=4)
        play_on(env, 7, np.random.default_rng(8))
    mask = np.array([True, False, True, False])
    task = batched([MAZE.named_mazes["Rings"]] * 4)
    task["agent"][1] = 999
    _, info = masked.reset(options={"reset_mask": mask, "task": task})
    assert (info["_blocks"] == mask).all() and (info["blocks"][mask] == 69).all()
    actions = np.array([2, 2, 2, 1])
    mine, theirs = masked.step(actions), left_alone.step(actions)
    assert same_bits(row_of(mine[0], ~mask), row_of(theirs[0], ~mask))
    assert not same_bits(row_of(mine[0], mask), row_of(theirs[0], mask))


@pytest.mark.parametrize("where", ["the same", "another"])
@pytest.mark.parametrize("kwargs", [{}, {"see_through_walls": False, "view": 7}])
def test_a_snapshot_continues_bit_exactly(where: str, kwargs: dict[str, Any]) -> None:
    env = GridMazeBatch(5, horizon=30, **kwargs)
    env.reset(seed=5)
    play_on(env, 13, np.random.default_rng(0))
    snapshot = env.get_snapshot()
    first = play_on(env, 80, np.random.default_rng(1))
    if where == "another":
        env = GridMazeBatch(5, horizon=30, **kwargs)
        env.reset(seed=99)
    restored, _ = env.set_snapshot(snapshot)
    assert same_bits(restored, env._observe())
    assert same_traces(first, play_on(env, 80, np.random.default_rng(1)))
    assert all(isinstance(value, np.ndarray | str) for value in snapshot.values())


def test_the_same_seed_gives_the_same_rollout_whatever_was_played_before() -> None:
    env = GridMazeBatch(3, horizon=25)
    traces = []
    for played_before in (0, 20):
        env.reset(seed=1)
        play_on(env, played_before, np.random.default_rng(played_before))
        first, _ = env.reset(seed=21)
        traces.append([first, *play_on(env, 60, np.random.default_rng(7))])
    assert same_traces(*traces)
    assert not same_bits(traces[0][0], env.reset(seed=22)[0])


def test_observations_are_fresh_inside_their_space_and_every_column_has_a_name() -> None:
    env = GridMazeBatch(16, size=11, view=3, see_through_walls=False)
    first, _ = env.reset(seed=0)
    kept = copy.deepcopy(first)
    second, rewards, *_ = env.step(np.full(16, 1))
    assert same_bits(first, kept) and not same_bits(first, second) and rewards.dtype == np.float64
    assert env.observation_space.contains(second)
    for key, names in env.observation_names.items():
        assert len(names) == len(set(names)) == len(env.observation_units[key]) == second[key].shape[1]
    alone = GridMaze(size=11, view=3, see_through_walls=False)
    assert alone.observation_names == env.observation_names and alone.observation_units == env.observation_units
    assert set(env.observation_names["policy"]).isdisjoint(env.observation_names["privileged"])


def test_every_door_opens_the_same_environment() -> None:
    env_id = "rlteach_envs:rlteach/GridMaze-v0"
    single, vector = gym.make(env_id), gym.make_vec(env_id, num_envs=3)
    venv, dummy = rlteach.make_vec_env(env_id, 3, seed=6), rlteach.make_vec_env(env_id, 3, seed=6, vec="dummy")
    assert isinstance(vector.unwrapped, GridMazeBatch) and isinstance(venv, BatchVecEnv)
    firsts: Any = venv.reset(), vector.reset(seed=6)[0], dict(dummy.reset())  # type: ignore[arg-type]
    assert same_bits(firsts[0], firsts[1]) and same_bits(firsts[1], firsts[2])
    assert same_bits(row_of(firsts[0], 0), single.reset(seed=6)[0])
    assert single.get_wrapper_attr("task_space") == venv.get_attr("task_space")[0] == vector.unwrapped.task_space
    for door in (single, vector, venv, dummy):
        door.close()


def test_a_picture_shows_walls_the_goal_and_the_agent_where_they_are() -> None:
    env = GridMaze(render_mode="rgb_array")
    env.reset(options={"task": env.empty_room})
    image = env.render()
    assert image.shape == (240, 240, 3) and image.dtype == np.uint8

    def colour(cell: int) -> list[int]:
        middle_y, middle_x = (16 * (1 + v) + 8 for v in divmod(cell, 13))
        return image[middle_y, middle_x].tolist()  # type: ignore[no-any-return]

    assert colour(MIDDLE) == [40, 80, 220] and colour(MIDDLE + 2) == [40, 160, 60]
    assert colour(MIDDLE + 1) != colour(MIDDLE - 1) == [255, 255, 255], "what lies ahead is in view"
    assert (image[:16] == 60).all() and (image[:, -16:] == 60).all()
    env.step(1)
    assert not np.array_equal(image, env.render()), "the agent has turned"


# -- other people's checks, teachers, learning -------------------------------------------------------------------------


@pytest.mark.parametrize("kwargs", [{}, {"see_through_walls": False, "view": 7, "size": 9}])
def test_gymnasium_and_stable_baselines3_are_content(kwargs: dict[str, Any]) -> None:
    gymnasium_check_env(GridMaze(**kwargs), skip_render_check=True)
    sb3_check_env(GridMaze(**kwargs))


def test_no_finding_of_our_own_checks_fails() -> None:
    findings = check_env(partial(GridMaze, size=9))  # each of the many cells of a larger one would be tried
    assert [finding for finding in findings if finding.ok is not True] == []


@pytest.mark.parametrize("teacher", ["uniform", "plr", "accel", "sfl"])
def test_a_run_with_each_kind_of_level_teacher_meets_solvable_mazes(teacher: str, tmp_path: Path) -> None:
    config = {
        "env": {"id": "rlteach/GridMaze-v0", "n_envs": 16, "kwargs": {"horizon": 40}},
        "teacher": {"name": teacher},
        "learner": {"name": "stable_baselines3.PPO", "kwargs": {"n_steps": 64, "batch_size": 512, "n_epochs": 1}},
        "observations": "student",
        "evaluation": {"every": 1024, "test_sets": ["mazes"]},
        "steps": 1024,
    }
    run(parse(config), tmp_path, quiet=True)
    lessons = list(read_rows(tmp_path / "lessons.csv"))
    assert len(lessons) >= 15
    names = TaskSpace.of(MAZE.task_space).names
    vectors = [np.array([float(row[f"task/{name}"]) for name in names]) for row in lessons]
    solvable = [MAZE.feasibility(TaskSpace.of(MAZE.task_space).from_vector(vector)) for vector in vectors]
    assert np.mean(solvable) > 0.8


def test_accel_grows_mazes_from_the_empty_room_with_the_edits_of_the_environment() -> None:
    space = TaskSpace.of(MAZE.task_space)
    start = space.to_mapping(MAZE.empty_room)
    teacher: Any = rlteach.make_teacher("accel", space, start=start, edit_task=MAZE.edit_task, edits=5, seed=0)
    tasks = [lesson.task for lesson in teacher.propose(40)]
    levels = [MAZE.level_of(task) for task in tasks]
    assert all(level.walls.sum() <= 5 for level in levels) and len({str(level) for level in levels}) == 40
    assert 0.5 < np.mean([level.walls.sum() for level in levels]) < 2 and all(map(MAZE.feasibility, tasks))


def test_the_batch_plays_more_than_100_000_steps_a_second() -> None:
    env = GridMazeBatch(512)
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(0, 3, (60, 512))
    times = []
    for _ in range(3):
        begun = time.process_time()
        for action in actions:
            _, _, terminations, truncations, _ = env.step(action)
            if (finished := terminations | truncations).any():
                env.reset(options={"reset_mask": finished})
        times.append(time.process_time() - begun)
    assert actions.size / min(times) > 100_000


@pytest.mark.slow
def test_ppo_learns_to_find_goals_among_few_blocks() -> None:
    base = rlteach.make_vec_env("rlteach/GridMaze-v0", 64, seed=0, env_kwargs={"max_density": 2})
    venv = ViewVecEnv(base, View.of(base, "student"))
    model = PPO(
        "MlpPolicy",
        venv,
        n_steps=64,
        batch_size=1024,
        n_epochs=4,
        learning_rate=1e-3,
        ent_coef=0.01,
        seed=0,
        device="cpu",
    )

    def success() -> float:
        env = GridMazeBatch(200, max_density=2)
        observations, _ = env.reset(seed=1000)
        solved = np.zeros(200, dtype=bool)
        for _ in range(env.horizon):
            actions, _ = model.predict(observations["policy"])
            observations, _, terminations, _, _ = env.step(actions)
            solved |= terminations
        return float(solved.mean())

    before = success()
    model.learn(80_000)
    assert before < 0.45 and success() > 0.7
