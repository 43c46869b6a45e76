"""MemoryTMaze against its rules one number at a time; without memory half, with memory everything."""

from typing import Any

import numpy as np
import pytest
from rlteach_envs.memory_t_maze import MemoryTMaze, MemoryTMazeBatch


def test_every_step_follows_the_rules_one_number_at_a_time() -> None:
    rows, rng = 40, np.random.default_rng(0)
    env = MemoryTMazeBatch(rows)
    observations, _ = env.reset(seed=0)
    goals, lengths = env._tasks[:, env._column["goal"]], env._tasks[:, env._column["length"]]
    assert (lengths >= 10).all() and (np.abs(goals) <= 1).all()
    sides = [1 if goal > 0 else -1 for goal in goals]
    assert observations["policy"].tolist() == [[side, 0, 0] for side in sides]
    x, y, over = [0.0] * rows, [0.0] * rows, np.zeros(rows, dtype=bool)
    counts = {"right": 0, "wrong": 0, "late": 0}
    for t in range(120):
        if t % 6 == 0:
            actions = rng.uniform(-0.6, 1.1, (rows, 2)).astype(np.float32) * np.array([1, 0.4], np.float32)
        observations, rewards, terminations, truncations, infos = env.step(actions)
        for i in np.flatnonzero(~over):
            forward, sideways = (max(-1, min(1, float(a))) for a in actions[i])
            if x[i] < lengths[i]:
                x[i] = min(x[i] + (1 + forward) / 2, lengths[i])
            else:
                y[i] += sideways
            right, wrong = y[i] * sides[i] >= 1, y[i] * sides[i] <= -1
            assert rewards[i] == right and terminations[i] == (right or wrong)
            assert truncations[i] == (t == 119 and not (right or wrong))
            assert observations["policy"][i] == pytest.approx([0, float(x[i] == lengths[i]), y[i]], abs=1e-6)
            assert observations["privileged"][i] == pytest.approx([sides[i], (lengths[i] - x[i]) / 80], abs=1e-6)
            if terminations[i] or truncations[i]:
                assert infos["is_success"][i] == right
                counts["right"] += right
                counts["wrong"] += wrong
                counts["late"] += not (right or wrong)
        over |= terminations | truncations
    assert over.all() and all(count >= 3 for count in counts.values()), counts


def turns(name: str, test_set: str = "all") -> tuple[float, int]:
    """Walk to the junction and turn as one of four policies does; return the success rate and the longest episode."""
    tasks = MemoryTMaze().test_sets[test_set]
    env = MemoryTMazeBatch(len(tasks))
    task = {key: np.array([task[key] for task in tasks]) for key in tasks[0]}
    observations, _ = env.reset(seed=0, options={"task": task})
    shown = observations["policy"][:, 0]
    successes, steps = np.zeros(len(tasks)), 0
    while env._playing.any():
        steps += 1
        sideways: Any = {
            "expert": observations["privileged"][:, 0],
            "memory": shown,
            "what is shown now": observations["policy"][:, 0],
            "always one way": np.ones(len(tasks)),
        }[name]
        observations, _, _, _, infos = env.step(np.stack([np.ones(len(tasks)), sideways], axis=1))
        successes += infos["is_success"] if infos else 0
    return float(successes.mean()), steps


@pytest.mark.parametrize(
    ("name", "success"), [("expert", 1.0), ("memory", 1.0), ("always one way", 0.5), ("what is shown now", 0.0)]
)
def test_the_right_turn_takes_knowledge_or_memory(name: str, success: float) -> None:
    for test_set in ("all", "long"):
        assert turns(name, test_set)[0] == success


def test_two_corridors_of_a_length_differ_only_in_what_is_shown_first() -> None:
    env = MemoryTMazeBatch(2)
    observations, _ = env.reset(seed=0, options={"task": {"length": np.full(2, 12.0), "goal": np.array([-1.0, 1.0])}})
    assert observations["policy"][:, 0].tolist() == [-1, 1]
    for _ in range(13):
        observations, *_ = env.step(np.array([[1.0, 0.5]] * 2))
        assert observations["policy"][0].tolist() == observations["policy"][1].tolist()
        assert observations["policy"][0, 0] == 0
    assert observations["policy"][0].tolist() == [0.0, 1.0, 0.5]


def test_the_longest_corridor_takes_its_length_and_one_step_and_is_too_long_for_half_speed() -> None:
    assert turns("expert", "long")[1] == 81
    env = MemoryTMaze()
    env.reset(seed=0, options={"task": {"length": np.array(80.0), "goal": np.array(1.0)}})
    for step in range(1, 121):
        observation, _, terminated, truncated, info = env.step(np.zeros(2, np.float32))
        assert not terminated and truncated == (step == 120)
    assert observation["policy"][1] == 0 and info == {"is_success": False}


def test_the_test_sets_hold_every_length_with_both_goals() -> None:
    sets = MemoryTMaze().test_sets
    pairs = {(float(task["length"]), float(task["goal"]) > 0) for task in sets["all"]}
    assert pairs == {(length, goal) for length in range(10, 81, 5) for goal in (False, True)}
    assert [float(task["length"]) for task in sets["long"]] == [80.0, 80.0]


def test_the_order_goes_from_short_to_long() -> None:
    env, rng = MemoryTMazeBatch(1), np.random.default_rng(0)
    for progress, low, high in ((0.0, 10, 24), (0.5, 38, 52), (0.999, 66, 80)):
        lengths = [float(env.oracle_window(progress, rng)["length"]) for _ in range(500)]
        assert min(lengths) == pytest.approx(low, abs=0.3) and max(lengths) == pytest.approx(high, abs=0.3)


def test_a_picture_shows_the_corridor_the_agent_the_right_arm_and_the_cue_at_first() -> None:
    env = MemoryTMaze(render_mode="rgb_array")
    yellow, blue, green, red = (250, 215, 70), (40, 80, 220), (40, 160, 60), (200, 60, 50)

    def at(image: Any, x: float, y: float) -> tuple[int, ...]:
        return tuple(image[int(36 - 24 * y), int((8 + x) * 3)].tolist())

    rng = np.random.default_rng(0)
    for length, goal in ((10.0, 1.0), (45.5, -0.3), (80.0, 0.01)):
        observation, _ = env.reset(seed=0, options={"task": {"length": np.array(length), "goal": np.array(goal)}})
        image, side = env.render(), 1 if goal > 0 else -1
        assert image.dtype == np.uint8 and image.shape == (72, 288, 3)
        assert at(image, length, side) == green and at(image, length, -side) == red
        assert at(image, length, 0) == (255, 255, 255) == at(image, length - 1, 0)
        assert at(image, length + 3, 0) == (60, 60, 60) == at(image, length - 3, 1)
        yellows = np.argwhere((image == yellow).all(axis=2))
        assert len(yellows) > 20 and (np.sign(36 - yellows[:, 0]) == side).all(), "the cue points to the right arm"
        terminated, turned = False, side * rng.uniform(0.2, 0.4)
        while not terminated:
            x, y = env._batch._x[0], env._batch._y[0]  # type: ignore[attr-defined]
            assert at(image, x, np.clip(y, -1, 1)) == blue
            observation, _, terminated, _, _ = env.step(np.array([0.9, turned], np.float32))
            after = env.render()
            assert not np.array_equal(image, after) and not (after == yellow).all(axis=2).any()
            image = after
        assert observation["policy"][1] == 1 and at(image, length, side) == blue


def test_both_parameters_have_a_unit() -> None:
    assert set(MemoryTMaze().task_units) == set(MemoryTMaze().task_space.spaces)  # type: ignore[attr-defined]
