"""GoalMaze against an independent re-implementation, and the numbers that its documentation states."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rlteach_envs.goal_maze import GoalMaze, GoalMazeBatch, corridor, path_lengths, position_features, read_layout
from rlteach_envs.rugged import piece_orders

PICTURE = """
###########
#.........#
#.#######.#
#.#.....#.#
#.#.###.#.#
#.#.#...#.#
#.#.#####.#
#.#.......#
#.#########
#.........#
###########
"""
"""The published layout, by hand and independent of the module; the start is the cell (9, 1), y upwards."""

ROWS = list(reversed(PICTURE.split()))


def is_wall(x: float, y: float) -> bool:
    return ROWS[int(y // 1)][int(x // 1)] == "#"


def moved(x: float, y: float, action: Any) -> tuple[float, float]:
    """One move: each axis by itself, cancelled in a wall."""
    step_x, step_y = (0.25 * max(-1.0, min(1.0, float(a))) for a in action)
    if not is_wall(x + step_x, y):
        x += step_x
    if not is_wall(x, y + step_y):
        y += step_y
    return x, y


def test_moves_rewards_and_observations_follow_the_rule_step_by_step() -> None:
    rows, rng = 40, np.random.default_rng(0)
    env = GoalMazeBatch(rows, box_scale=1.0, horizon=400)
    env.reset(seed=3)
    # Spread over the maze, so that every kind of corner is met; goals near some of them.
    cells = [(x, y) for y, row in enumerate(ROWS) for x, c in enumerate(row) if c != "#"]
    env._positions[:] = [np.array(cells[i % len(cells)]) + rng.uniform(0.1, 0.9, 2) for i in range(rows)]
    goals = env._tasks.copy()
    places = [tuple(map(float, place)) for place in env._positions]
    playing = [True] * rows
    blocked = reached = 0
    for t in range(1, 301):
        # A direction held for a while walks along corridors and into walls.
        if t % 8 == 1:
            actions = np.sign(rng.uniform(-1, 1, (rows, 2))).astype(np.float32) * rng.uniform(0.2, 1.3, (rows, 2))
            actions = actions.astype(np.float32)
        observations, rewards, terminations, truncations, _ = env.step(actions)
        for i in range(rows):
            if not playing[i]:
                assert rewards[i] == 0
                continue
            x, y = moved(*places[i], actions[i])
            blocked += x == places[i][0] or y == places[i][1]
            places[i] = (x, y)
            assert (env._positions[i] == (x, y)).all()
            assert not is_wall(x, y)
            close = (x - goals[i][0]) ** 2 + (y - goals[i][1]) ** 2 <= 0.25
            assert (rewards[i], terminations[i], truncations[i]) == (float(close), close, False)
            expected = [(v - 5.5) / (11 / 3) for v in (x, y, *goals[i])]
            assert observations[i] == pytest.approx(expected, abs=1e-6)
            playing[i] = not close
            reached += close
    assert blocked > 1000 and reached >= 5


@pytest.mark.parametrize(("distance", "success"), [(0.4999, True), (0.5001, False), (0.0, True)])
@pytest.mark.parametrize("angle", [0.3, 2.0, 4.4])
def test_success_is_half_a_cell_around_the_goal(distance: float, success: bool, angle: float) -> None:
    env = GoalMaze()
    env.reset(seed=0, options={"task": np.array([6.5, 1.5])})
    offset = distance * np.array([np.cos(angle), np.sin(angle) * 0.9])
    offset *= distance / max(np.linalg.norm(offset), 1e-12)
    env._batch._positions[0] = np.array([6.5, 1.5]) + offset  # type: ignore[attr-defined]
    _, reward, terminated, truncated, info = env.step(np.zeros(2, np.float32))
    assert (reward, terminated, truncated) == (float(success), success, False)
    assert info == ({"is_success": True} if success else {})


def test_episodes_start_in_the_middle_of_the_start_cell_with_uniform_noise() -> None:
    env = GoalMazeBatch(4000)
    env.reset(seed=0)
    offsets = env._positions - np.array([9.5, 1.5])
    assert np.abs(offsets).max() <= 0.3 and np.abs(offsets).max() > 0.299
    assert np.abs(offsets.mean(axis=0)).max() < 0.01
    assert offsets.var(axis=0) == pytest.approx([0.6**2 / 12] * 2, rel=0.05)


def test_49_of_1089_unit_cells_of_the_goal_box_are_feasible_and_the_longest_path_is_48() -> None:
    env = GoalMazeBatch(1)
    assert env.task_space.low.tolist() == [-11, -11] and env.task_space.high.tolist() == [22, 22]  # type: ignore[attr-defined]
    unit_cells = [(x + 0.5, y + 0.5) for x in range(-11, 22) for y in range(-11, 22)]
    feasible = [cell for cell in unit_cells if env.feasibility(np.array(cell))]
    assert (len(feasible), len(unit_cells)) == (49, 1089)
    assert len(feasible) / len(unit_cells) == pytest.approx(0.045, abs=0.0005)
    assert sorted(feasible) == sorted(
        (x + 0.5, y + 0.5) for y, row in enumerate(ROWS) for x, c in enumerate(row) if c != "#"
    )
    lengths = path_lengths(env.free, env.start)
    assert max(lengths.values()) == 48 and len(lengths) == 49
    assert list(lengths.values()) == list(range(49)), "a single corridor: every cell has its own distance"


@pytest.mark.parametrize(("scale", "percent"), [(1, 36.5), (2, 9.1), (3, 4.1)])
def test_the_serpentine_has_23_cells_and_the_stated_share_of_feasible_goals(scale: int, percent: float) -> None:
    env = GoalMazeBatch(1, layout="serpentine", box_scale=scale)
    assert len(env.cells) == 23 and max(path_lengths(env.free, env.start).values()) == 22
    width, height = env.task_space.high - env.task_space.low  # type: ignore[attr-defined]
    assert (width, height) == (9 * scale, 7 * scale)
    assert 100 * 23 / (width * height) == pytest.approx(percent, abs=0.05)
    draws = np.random.default_rng(0).uniform(env.task_space.low, env.task_space.high, (4000, 2))  # type: ignore[attr-defined]
    share = np.mean([env.feasibility(goal) for goal in draws])
    assert 100 * share == pytest.approx(percent, abs=2.5)


def test_the_test_sets_hold_441_feasible_goals_200_of_the_box_and_the_far_end() -> None:
    env = GoalMazeBatch(1)
    assert list(env.test_sets) == ["feasible", "box", "far"]
    assert {tuple(goal) for goal in env.test_sets["far"]} == {tuple(np.array(env.cells[-1]) + 0.5)}
    goals = np.array(env.test_sets["feasible"])
    assert goals.shape == (441, 2) and len(np.unique(goals, axis=0)) == 441
    assert all(env.feasibility(goal) for goal in goals)
    cells, counts = np.unique(np.floor(goals), axis=0, return_counts=True)
    assert len(cells) == 49 and (counts == 9).all()
    assert np.unique(np.round(goals % 1, 9)).tolist() == pytest.approx([1 / 6, 3 / 6, 5 / 6])
    box = np.array(env.test_sets["box"])
    assert box.shape == (200, 2) and np.mean([env.feasibility(goal) for goal in box]) < 0.15
    assert all(env.task_space.contains(goal) for goal in (*goals, *box))


def test_the_last_cell_of_the_corridor_can_be_walked_to_only_with_time_enough() -> None:
    """39 of 49 cells can be reached within the default horizon: the rest of the goals are out of reach in time."""
    env = GoalMazeBatch(1, horizon=1000)
    lengths = path_lengths(env.free, env.start)
    path = sorted(lengths, key=lambda cell: lengths[cell])
    env.reset(seed=0, options={"task": np.array([[path[-1][0] + 0.5, path[-1][1] + 0.5]])})
    place, steps, entered = 1, 0, {path[0]: 0}
    while True:
        target = np.array(path[place]) + 0.5
        action = np.clip((target - env._positions[0]) / 0.25, -1, 1)
        _, reward, terminated, _, _ = env.step(action[None].astype(np.float32))
        steps += 1
        entered.setdefault(tuple(map(int, env._positions[0])), steps)
        if terminated[0]:
            break
        if np.abs(env._positions[0] - target).max() < 1e-6:
            place += 1
    assert reward[0] == 1 and steps > 150
    assert 36 <= sum(step <= 150 for step in entered.values()) <= 42


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0, 1), st.integers(0, 2**32), st.sampled_from([("spout", 3.0), ("serpentine", 0.7), ("corridor-9", 1)])
)
def test_the_oracle_stays_inside_the_task_space_for_any_progress(
    progress: float, seed: int, form: tuple[str, float]
) -> None:
    env = GoalMazeBatch(1, layout=form[0], box_scale=form[1])
    rng = np.random.default_rng(seed)
    for _ in range(5):
        goal = env.oracle_window(progress, rng)
        assert env.task_space.contains(goal)
        assert form[1] < 1 or env.feasibility(goal)


def test_the_oracle_goes_from_the_nearest_cells_to_all_of_them() -> None:
    env = GoalMazeBatch(1)
    rng = np.random.default_rng(0)
    lengths = path_lengths(env.free, env.start)

    def distances(progress: float) -> set[int]:
        goals = (env.oracle_window(progress, rng) for _ in range(800))
        return {lengths[tuple(map(int, goal))] for goal in goals}

    assert distances(0.0) == {0, 1, 2, 3}
    assert distances(0.5) == {21, 22, 23, 24}
    assert distances(0.999) == {45, 46, 47, 48}
    assert distances(1.0) == set(range(49))


@pytest.mark.parametrize("cells", [2, 7, 8, 9, 23, 40])
def test_a_corridor_is_one_path_of_so_many_cells_starting_at_its_end(cells: int) -> None:
    free, start = read_layout(f"corridor-{cells}")
    lengths = path_lengths(free, start)
    assert int(free.sum()) == cells and sorted(lengths.values()) == list(range(cells))
    assert corridor(cells) == tuple(corridor(cells))


def test_layouts_are_read_with_y_upwards() -> None:
    free, start = read_layout(["####", "#..#", "##S#", "####"])
    assert start == (2, 1)
    assert sorted(map(tuple, np.argwhere(free).tolist())) == [(1, 2), (2, 1), (2, 2)]


@pytest.mark.parametrize(
    "layout",
    ["maze", "corridor-x", "corridor-1", ["####", "#..#", "####"], ["####", "#SS#", "####"], ["#S.", "###", "###"]],
)
def test_layouts_that_make_no_maze_are_refused(layout: Any) -> None:
    with pytest.raises(ValueError, match=r"layout|corridor"):
        GoalMazeBatch(1, layout=layout)


def test_rows_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="equal length"):
        GoalMazeBatch(1, layout=["#####", "#S#", "#####"])


def test_position_features_are_gaussians_at_the_middle_of_every_cell() -> None:
    points = np.random.default_rng(0).uniform(0, [9, 7], (20, 2))
    features = position_features(points, 9, 7)
    for point, row in zip(points, features, strict=True):
        for x in range(9):
            for y in range(7):
                squared = (point[0] - x - 0.5) ** 2 + (point[1] - y - 0.5) ** 2
                assert row[x * 7 + y] == pytest.approx(np.exp(-squared / (2 * 0.6**2)), rel=1e-9)
    env = GoalMaze(layout="serpentine", features="rbf")
    observation, _ = env.reset(seed=0)
    position = env._batch._positions  # type: ignore[attr-defined]
    assert observation.shape == (4 + 63,)
    assert observation[4:] == pytest.approx(position_features(position, 9, 7)[0], abs=1e-6)


@pytest.mark.parametrize("layout", ["spout", "serpentine", "corridor-18"])
def test_the_demonstration_goes_straight_to_goals_that_can_be_reached_and_nowhere_else(layout: str) -> None:
    env = GoalMaze(layout=layout, horizon=300)
    batch = GoalMazeBatch(1, layout=layout)
    lengths = path_lengths(batch.free, batch.start)
    for goal in [*batch.test_sets["feasible"][::40], batch.test_sets["far"][0]]:
        observation, _ = env.reset(seed=0, options={"task": goal})
        steps, reached = 0, False
        while not reached and steps < 300:
            observation, _, reached, _, _ = env.step(env.demonstrate(observation))
            steps += 1
        assert reached and steps <= 4 * lengths[int(goal[0]), int(goal[1])] + 4
    outside = np.asarray(batch.task_space.low) + 0.01  # type: ignore[attr-defined]
    observation, _ = env.reset(seed=0, options={"task": outside})
    assert not env.demonstrate(observation).any()


def test_a_goal_can_be_moved_in_the_middle_of_an_episode() -> None:
    env = GoalMaze(layout="corridor-12")
    env.reset(seed=0, options={"task": np.array([5.0, 5.0])})
    before, *_ = env.step(np.array([1.0, 0.0], dtype=np.float32))
    after, _ = env.set_task(np.array([1.5, 1.5]))
    assert np.array_equal(before[:2], after[:2]) and not np.array_equal(before[2:], after[2:])
    with pytest.raises(ValueError, match="outside"):
        env.set_task(np.array([500.0, 0.0]))


@pytest.mark.parametrize(
    "kwargs", [{}, {"layout": "serpentine", "box_scale": 2}, {"box_scale": 1.3, "features": "rbf"}]
)
def test_with_shuffled_axes_the_goal_lies_where_its_piece_went(kwargs: dict[str, Any]) -> None:
    plain, rugged = GoalMazeBatch(64, **kwargs), GoalMazeBatch(64, shuffle=1, **kwargs)
    low, high = plain.task_space.low, plain.task_space.high  # type: ignore[attr-defined]
    orders = piece_orders(2, 1)
    tasks = np.random.default_rng(0).uniform(low, high, (64, 2))
    goals = tasks.copy()
    for goal in goals:
        for axis in range(2):
            place = 4 * (goal[axis] - low[axis]) / (high - low)[axis]
            goal[axis] = low[axis] + (orders[axis][int(place)] + place % 1) / 4 * (high - low)[axis]
    seen, _ = rugged.reset(seed=0, options={"task": tasks})
    meant, _ = plain.reset(seed=0, options={"task": goals})
    assert seen == pytest.approx(meant, abs=1e-6) and not np.allclose(goals, tasks)
    rng = np.random.default_rng(1)
    for _ in range(100):
        actions = rng.uniform(-1, 1, (64, 2)).astype(np.float32)
        for a, b in zip(rugged.step(actions)[:4], plain.step(actions)[:4], strict=True):
            assert np.allclose(a, b, atol=1e-6)
    assert [rugged.feasibility(task) for task in tasks] == [plain.feasibility(goal) for goal in goals]
    moved, _ = rugged.set_task(tasks[::-1])
    again, _ = plain.set_task(goals[::-1])
    assert moved == pytest.approx(again, abs=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_test_sets_oracle_and_demonstration_stay_right_with_shuffled_axes(seed: int) -> None:
    for kwargs in ({}, {"layout": "serpentine", "box_scale": 2, "horizon": 300}):
        plain, env = GoalMazeBatch(1, **kwargs), GoalMaze(shuffle=seed, **kwargs)  # type: ignore[arg-type]
        batch = GoalMazeBatch(1, shuffle=seed, **kwargs)  # type: ignore[arg-type]
        for name in ("feasible", "far"):
            tasks = np.array(batch.test_sets[name])
            assert batch._goals_of(tasks) == pytest.approx(np.array(plain.test_sets[name]), abs=1e-4)
            assert all(batch.feasibility(task) and env.task_space.contains(task) for task in tasks)
        assert np.array_equal(batch.test_sets["box"], plain.test_sets["box"])
        lengths = path_lengths(batch.free, batch.start)
        rng = np.random.default_rng(0)
        near = [batch._goals_of(batch.oracle_window(0.0, rng)[None])[0] for _ in range(100)]
        assert {lengths[tuple(map(int, goal))] for goal in near} == {0, 1, 2, 3}
        task = batch.test_sets["feasible"][50]
        observation, _ = env.reset(seed=0, options={"task": task})
        for _ in range(100):
            observation, _, reached, _, _ = env.step(env.demonstrate(observation))
            if reached:
                break
        assert reached
        picture = env._batch.picture(0)  # type: ignore[attr-defined]
        x, y = env._batch._goals[0]  # type: ignore[attr-defined]
        assert tuple(picture[int((batch.free.shape[1] - y) * 16), int(x * 16)]) in ((40, 160, 60), (40, 80, 220))
