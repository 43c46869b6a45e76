"""Random tasks in every environment of the family, corners of the task space among them: nothing breaks.

200 episodes of each, or as many as the variable RLTEACH_EPISODES says (`scripts/test --full`: 10,000).
"""

import os
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import rlteach
from rlteach.delivery import BatchVecEnv
from rlteach.task_space import TaskSpace
from tests.envs.family import CASES, IDS, named

EPISODES = int(os.environ.get("RLTEACH_EPISODES", "200"))
LONGEST = 25
"""Steps after which an episode is left: most end, or meet all there is to meet at random, well before."""


def task_of(space: TaskSpace, rng: np.random.Generator) -> Any:
    """Return a random task, each coordinate at one of its ends in one of five draws."""
    unit = rng.random(space.dimension)
    at_end = rng.random(len(unit)) < 0.2
    unit[at_end] = unit[at_end] > 0.5
    return space.from_unit(unit)


@pytest.mark.parametrize(("env_id", "kwargs"), CASES, ids=named)
def test_no_task_breaks_an_environment(env_id: str, kwargs: dict[str, Any]) -> None:
    env = gym.make(env_id, disable_env_checker=True, **kwargs)
    bare: Any = env.unwrapped
    space = TaskSpace.of(bare.task_space, bare) if hasattr(bare, "task_space") else None
    rng = np.random.default_rng(0)
    env.action_space.seed(0)
    env.reset(seed=0)
    for episode in range(EPISODES):
        task = None if space is None else task_of(space, rng)
        where = f"episode {episode}, task {task}"
        observation, _ = env.reset(options=None if task is None else {"task": task})
        assert observation in env.observation_space, where
        for step in range(LONGEST):
            observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
            assert observation in env.observation_space, f"{where}, step {step}: {observation}"
            assert np.isfinite(reward), f"{where}, step {step}: reward {reward}"
            assert {type(terminated), type(truncated)} <= {bool, np.bool_}, where
            if terminated or truncated:
                assert info.get("is_success") in (False, True, None), where
                break
    env.close()


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
