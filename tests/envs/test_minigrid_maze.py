"""MiniGridMaze: GridMaze on the MiniGrid package, step for step; where MiniGrid is missing it says what to install."""

import copy
import pickle
import subprocess
import sys
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import rlteach_envs  # noqa: F401 - registers the ids
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from rlteach_envs.grid_levels import Level
from rlteach_envs.grid_maze import GridMaze
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import rlteach
from rlteach.task_space import TaskSpace
from rlteach.testing.envs import check_env

pytest.importorskip("minigrid", reason="MiniGridMaze needs MiniGrid: pip install rlteach[minigrid]")

from minigrid.minigrid_env import MiniGridEnv
from rlteach_envs.minigrid_maze import MiniGridMaze

FORMS = pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"see_through_walls": False, "horizon": 100},
        {"view": 7, "horizon": 60},
        {"view": 7, "see_through_walls": False, "size": 11, "max_density": 4, "horizon": 80},
    ],
    ids=str,
)


def same_bits(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return list(a) == list(b) and all(same_bits(a[key], b[key]) for key in a)
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@FORMS
def test_both_play_the_same_steps_on_random_and_named_mazes(kwargs: dict[str, Any]) -> None:
    ours, theirs = GridMaze(**kwargs), MiniGridMaze(**kwargs)
    rng = np.random.default_rng(0)
    tasks = [*TaskSpace.of(ours.task_space).test_set(4, 1), *ours.named_mazes.values(), *[None] * 5]
    endings = {"reached": 0, "late": 0}
    for episode, task in enumerate(tasks):
        options = None if task is None else {"task": task}
        first, info = ours.reset(seed=episode, options=options)
        second, other_info = theirs.reset(seed=episode, options=options)
        assert info == other_info and [type(v) for v in info.values()] == [type(v) for v in other_info.values()]
        ended = False
        while not ended:
            assert same_bits(first, second)
            action = ours.demonstrate(first) if episode % 3 else rng.choice(3, p=[0.2, 0.2, 0.6])
            first, *rest = ours.step(action)
            second, *other_rest = theirs.step(action)
            assert rest == other_rest
            ended = rest[1] or rest[2]
        assert same_bits(first, second)
        endings["reached" if rest[1] else "late"] += 1
    assert endings["reached"] >= 6 and endings["late"] >= 2, endings


def test_policy_holds_what_minigrid_itself_shows() -> None:
    env = MiniGridMaze(see_through_walls=False)
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        image = MiniGridEnv.gen_obs(env)
        for row in range(5):
            for column in range(5):
                kind = image["image"][column, row, 0]
                shown = observation["policy"][:75].reshape(3, 5, 5)[:, row, column]
                assert shown.tolist() == [kind == 2, kind == 8, kind != 0]
        assert observation["policy"][75:].tolist() == [image["direction"] == i for i in range(4)]


def test_it_is_a_minigrid_with_its_grid_and_its_pictures() -> None:
    env = gym.make("rlteach/MiniGridMaze-v0", render_mode="rgb_array")
    assert isinstance(env.unwrapped, MiniGridEnv)
    maze: Any = env.unwrapped
    env.reset(options={"task": maze.named_mazes["Rings"]})
    image = env.render()
    assert isinstance(image, np.ndarray) and image.shape == (480, 480, 3) and image.dtype == np.uint8
    assert image[7 * 32 + 16, 7 * 32 + 16].tolist() == [0, 255, 0], "MiniGrid's green square in the middle"
    level = maze.level_of(maze.named_mazes["Rings"])
    kinds = maze.grid.encode()[:, :, 0].T
    assert ((kinds == 2)[1:-1, 1:-1] == level.walls).all() and (kinds[0] == 2).all() and (kinds[:, -1] == 2).all()
    env.step(1)
    assert not np.array_equal(image, env.render())
    env.close()


def test_both_say_the_same_of_themselves() -> None:
    ours, theirs = GridMaze(view=7), MiniGridMaze(view=7)
    offers = ("observation_groups", "observation_names", "observation_units", "action_names", "action_units", "horizon")
    spaces = ("task_space", "observation_space", "action_space", "task_units", "return_range", "env_version")
    for offer in (*offers, *spaces, "control_rate"):
        assert getattr(ours, offer) == getattr(theirs, offer), offer
    assert str(ours.test_sets) == str(theirs.test_sets)


@pytest.mark.parametrize("where", ["the same", "another"])
def test_a_snapshot_continues_bit_exactly(where: str) -> None:
    env = MiniGridMaze(horizon=25)
    env.reset(seed=3)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(80)]

    def play(one: MiniGridMaze, moves: list[Any]) -> list[Any]:
        trace: list[Any] = []
        for action in moves:
            trace.append(one.step(action))
            if trace[-1][2] or trace[-1][3]:
                trace.append(one.reset())
        return trace

    play(env, actions[:7])
    snapshot = copy.deepcopy(env.get_snapshot())
    first = play(env, actions)
    other = env if where == "the same" else MiniGridMaze(horizon=25)
    other.reset(seed=8)
    observation, _ = other.set_snapshot(snapshot)
    assert other.observation_space.contains(observation)
    for a, b in zip(first, play(other, actions), strict=True):
        assert same_bits(a[0], b[0]) and a[1:] == b[1:]
    assert all(isinstance(value, np.ndarray | str) for value in snapshot.values())


@pytest.mark.parametrize("change", [{"env_version": "99"}, {"walls": np.zeros((9, 9), dtype=bool)}])
def test_a_foreign_snapshot_is_refused(change: dict[str, Any]) -> None:
    env = MiniGridMaze()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"env_version '99', not of|another size: walls has shape"):
        env.set_snapshot({**env.get_snapshot(), **change})


def test_walls_and_goal_change_under_way_as_in_the_batch() -> None:
    ours, theirs = GridMaze(), MiniGridMaze()
    for seed in range(10):
        for env in (ours, theirs):
            env.reset(seed=seed)
        for action in np.random.default_rng(seed).choice(3, size=12):
            assert same_bits(ours.step(action)[0], theirs.step(action)[0])
        task = TaskSpace.of(ours.task_space).test_set(1, seed)[0]
        assert same_bits(ours.set_task(task)[0], theirs.set_task(task)[0])
        assert same_bits(ours.step(2)[0], theirs.step(2)[0])


def test_it_can_be_copied_and_pickled() -> None:
    env = MiniGridMaze()
    env.reset(seed=1)
    twins = [pickle.loads(pickle.dumps(env)), copy.deepcopy(env)]
    first = env.step(2)
    for twin in twins:
        again = twin.step(2)
        assert same_bits(first[0], again[0]) and first[1:] == again[1:]


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda env: env.reset(options={"task": {**env.empty_room, "goal": 169}}), "goal = 169"),
        (lambda env: env.step(3), "actions are 0 to 2, not 3"),
        (lambda env: MiniGridMaze(view=2), "view = 2"),
        (lambda env: MiniGridMaze(horizon=0), "horizon = 0"),
        (lambda env: MiniGridMaze(size=8), "size = 8"),
    ],
)
def test_what_is_wrong_is_named(act: Any, says: str) -> None:
    env = MiniGridMaze()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=says):
        act(env)


def test_other_peoples_checks_and_our_own_are_content() -> None:
    gymnasium_check_env(MiniGridMaze(), skip_render_check=True)
    sb3_check_env(MiniGridMaze())
    findings = check_env(partial(MiniGridMaze, size=9))
    assert [finding for finding in findings if finding.ok is not True] == []


@pytest.mark.parametrize("vec", ["dummy", "auto"])
def test_a_taught_vecenv_plays_the_mazes_of_its_teacher(vec: str) -> None:
    venv = rlteach.make_vec_env("rlteach/MiniGridMaze-v0", 2, seed=0, env_kwargs={"horizon": 10}, vec=vec)
    teacher = rlteach.make_teacher("uniform", venv.get_attr("task_space")[0], seed=0)
    tasks = [lesson.task for lesson in copy.deepcopy(teacher).propose(2)]
    taught = rlteach.attach(venv, teacher)
    observation: Any = taught.reset()
    mazes: list[Level] = [GridMaze().level_of(task) for task in tasks]
    for row, level in enumerate(mazes):
        assert np.array_equal(observation["privileged"][row, :169], level.walls.ravel())
    for _ in range(25):
        taught.step(np.array([2, 1]))
    taught.close()


def test_without_minigrid_one_sentence_tells_what_to_install_and_all_else_works() -> None:
    script = (
        "import gymnasium, sys, rlteach_envs\n"
        "sys.modules['minigrid'] = None\n"
        "gymnasium.make('rlteach/GridMaze-v0').reset()\n"
        "try:\n    gymnasium.make('rlteach/MiniGridMaze-v0')\n"
        "except gymnasium.error.DependencyNotInstalled as error:\n    print(error)\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "MiniGridMaze needs MiniGrid: pip install rlteach[minigrid]"
