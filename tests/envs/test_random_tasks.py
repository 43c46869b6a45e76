"""Random tasks in every environment of the family, corners of the task space among them: nothing breaks.

200 episodes of each, or as many as the variable RLTEACH_EPISODES says (`scripts/test --full`: 10,000). Most are short;
some are played to their end, and in some a walker is put down further on, where its track is no longer flat.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import rlteach_envs
from rlteach_envs.stump_tracks import StumpTracks
from rlteach_envs.walker_env import WalkerEnv

import rlteach
from rlteach.delivery import BatchVecEnv
from rlteach.task_space import TaskSpace
from tests.envs.family import CASES, IDS, MORE, made, named, put_further_on

EPISODES = int(os.environ.get("RLTEACH_EPISODES", "200"))
SHORT = 10
"""Steps after which most episodes are left."""

FURTHER_ON = 100
"""Steps after which an episode is left that began further on."""

ENDLESS = 5000
"""Steps after which an episode has to have ended."""

WHOLE_STEPS = 12 * EPISODES
"""Steps after which no further episode of a case is played to its end."""

HELD = 20
"""Steps for which an action is held, at most."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo writes its log into the working directory."""
    monkeypatch.chdir(tmp_path)


def task_of(space: TaskSpace, rng: np.random.Generator) -> Any:
    """Return a random task, each coordinate at one of its ends in one of five draws."""
    unit = rng.random(space.dimension)
    at_end = rng.random(len(unit)) < 0.2
    unit[at_end] = unit[at_end] > 0.5
    return space.from_unit(unit)


def tasks_of(env: gym.Env[Any, Any]) -> TaskSpace | None:
    """Return the tasks, which may be a wrapper's."""
    return TaskSpace.of(env.get_wrapper_attr("task_space")) if env.has_wrapper_attr("task_space") else None


class Held:
    """Random actions, every one of them held for some steps, and every other one at the ends of its range."""

    def __init__(self, space: gym.Space[Any], rng: np.random.Generator) -> None:
        self._space, self._rng, self._left = space, rng, 0

    def next(self) -> Any:
        if self._left == 0:
            self._action, self._left = self._space.sample(), int(self._rng.integers(1, HELD + 1))
            if isinstance(self._space, gym.spaces.Box) and self._rng.random() < 0.5:
                middle = (self._space.low + self._space.high) / 2
                self._action = np.where(self._action > middle, self._space.high, self._space.low)
        self._left -= 1
        return self._action


def check_random_tasks(env: gym.Env[Any, Any]) -> TaskSpace | None:
    """Play episodes, assert that all that comes back is as it should be, and return the tasks."""
    space = tasks_of(env)
    known = env.get_wrapper_attr("return_range") if env.has_wrapper_attr("return_range") else (-np.inf, np.inf)
    slack = 1e-6 * (known[1] - known[0]) if np.isfinite(known).all() else 0.0
    # Stump tracks have the range that was published for two legs: many motors at full torque get below it.
    published = isinstance(env.unwrapped, StumpTracks)
    rng = np.random.default_rng(0)
    env.action_space.seed(0)
    env.reset(seed=0)
    whole, successes = 0, set()
    for episode in range(EPISODES):
        task = None if space is None else task_of(space, rng)
        where = f"episode {episode}, task {task}"
        observation, _ = env.reset(options=None if task is None else {"task": task})
        assert observation in env.observation_space, where
        to_the_end = episode % 20 == 19 and whole < WHOLE_STEPS
        further = episode % 10 == 4 and put_further_on(env.unwrapped, rng) is not None
        longest = ENDLESS if to_the_end else FURTHER_ON if further else SHORT
        actions = Held(env.action_space, rng)
        total, ended = 0.0, False
        for step in range(longest):
            observation, reward, terminated, truncated, info = env.step(actions.next())
            assert observation in env.observation_space, f"{where}, step {step}: {observation}"
            assert np.isfinite(reward), f"{where}, step {step}: reward {reward}"
            assert {type(terminated), type(truncated)} <= {bool, np.bool_}, where
            total, ended, whole = total + float(reward), bool(terminated or truncated), whole + to_the_end
            if ended:
                success = info.get("is_success")
                assert success in (False, True, None), where
                successes.add(success)
                break
        assert ended or not to_the_end, f"{where}: no end after {ENDLESS} steps"
        if ended and not (further or published):
            assert known[0] - slack <= total <= known[1] + slack, f"{where}: return {total} outside {known}"
    assert successes, "no episode came to an end"
    assert successes == {None} or None not in successes, "some ends tell whether they are a success and some do not"
    if isinstance(env.unwrapped, WalkerEnv):
        assert True in successes, "nobody who was put down before the end of the track got there"
    env.close()
    return space


@pytest.mark.parametrize(("env_id", "kwargs"), CASES, ids=named)
def test_no_task_breaks_an_environment(env_id: str, kwargs: dict[str, Any]) -> None:
    space = check_random_tasks(made(env_id, **kwargs))
    assert (space is not None) == ("tasks" in rlteach_envs.OFFERS[env_id])


@pytest.mark.parametrize("make", MORE.values(), ids=MORE)
def test_no_task_breaks_what_is_optional(make: Callable[[], gym.Env[Any, Any]]) -> None:
    assert check_random_tasks(make()) is not None


BATCHES = [env_id for env_id in IDS if gym.registry[env_id].vector_entry_point is not None]


@pytest.mark.parametrize("env_id", BATCHES, ids=named)
def test_no_task_breaks_a_batch(env_id: str) -> None:
    rows = 50
    venv = rlteach.make_vec_env(env_id, rows, seed=0, vec="batch")
    rng = np.random.default_rng(0)
    space = TaskSpace.of(venv.get_attr("task_space")[0])
    tasks = [task_of(space, rng) for _ in range(EPISODES)]
    taught = rlteach.attach(venv, rlteach.make_teacher("listed", space, tasks=tasks, seed=0))
    assert isinstance(venv, BatchVecEnv)
    done, shown, acted = 0, taught.observation_space, taught.action_space
    taught.reset()
    while done < EPISODES:
        if isinstance(acted, gym.spaces.Discrete):
            actions = rng.integers(acted.n, size=rows)
        else:
            assert isinstance(acted, gym.spaces.Box)
            actions = rng.uniform(acted.low, acted.high, (rows, *acted.shape))
        observations, rewards, dones, _ = taught.step(actions)
        assert np.isfinite(rewards).all()
        for row in rng.integers(rows, size=3):
            one = {k: v[row] for k, v in observations.items()} if isinstance(observations, dict) else observations[row]
            assert one in shown, one
        done += int(dones.sum())
    taught.close()
