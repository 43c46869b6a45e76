"""SyncVecEnv shows what Stable-Baselines3's DummyVecEnv shows."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

import rlteach
from rlteach.sync_vec_env import SyncVecEnv


class OneInfo(gym.Wrapper[Any, Any, Any, Any]):
    """Fills the same dictionary at every step."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._info: dict[str, Any] = {"count": 0}

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, _ = self.env.step(action)
        self._info["count"] += 1
        return observation, reward, terminated, truncated, self._info


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_steps_resets_and_infos_are_those_of_dummy_vec_env(env_id: str) -> None:
    limited: dict[str, Any] = {"max_episode_steps": 15}  # CartPole falls before or is cut, Pendulum is cut
    venvs = [cls([lambda: gym.make(env_id, **limited)] * 3) for cls in (DummyVecEnv, SyncVecEnv)]
    for venv in venvs:
        venv.seed(3)
    first, second = (venv.reset() for venv in venvs)
    np.testing.assert_array_equal(first, second)
    rng = np.random.default_rng(0)
    for _ in range(60):
        actions = np.stack(
            [np.asarray(rng.integers(2)) if "Cart" in env_id else rng.uniform(-2, 2, 1) for _ in range(3)]
        )
        (*wanted, their_infos), (*found, infos) = (venv.step(actions) for venv in venvs)
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        for mine, theirs in zip(infos, their_infos, strict=True):
            assert set(mine) == set(theirs)
            for name, value in theirs.items():
                np.testing.assert_array_equal(mine[name], value)
    assert second.base is None and not np.shares_memory(found[0], venvs[1].step(actions)[0])
    assert venvs[1].reset_infos == venvs[0].reset_infos


class OneArray(gym.Env[Any, Any]):
    """Shows the same array again and again, in its observations and in its infos."""

    observation_space, action_space = gym.spaces.Box(0, 99, (1,), np.float32), gym.spaces.Box(-1, 1, (1,), np.float32)
    task_space = gym.spaces.Box(0, 1, (1,), np.float64)

    def __init__(self) -> None:
        self._shown = np.zeros(1, np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._shown[:] = 0
        return self._shown, {}

    def step(self, action: Any) -> Any:
        self._shown += 1
        return self._shown, 1.0, False, bool(self._shown[0] == 5), {"place": self._shown}


def test_what_an_ended_episode_showed_last_outlives_the_reset_of_an_environment_with_one_array() -> None:
    venv = rlteach.make_vec_env(OneArray, 2)
    taught = rlteach.attach(venv, rlteach.make_teacher("uniform", venv.get_attr("task_space")[0], seed=0))
    taught.reset()
    for _ in range(5):
        observations, _, dones, infos = taught.step(np.zeros((2, 1), np.float32))
    assert dones.all() and (observations == 0).all()
    assert [info["terminal_observation"].item() for info in infos] == [5, 5]
    assert [info["place"].item() for info in infos] == [5, 5]


def test_an_environment_that_fills_one_dictionary_again_and_again_does_not_change_what_was_returned() -> None:
    venv = SyncVecEnv([lambda: OneInfo(gym.make("Pendulum-v1", max_episode_steps=3))])
    venv.reset()
    infos = [venv.step(np.zeros((1, 1)))[3][0] for _ in range(4)]
    assert [info["count"] for info in infos] == [1, 2, 3, 4]
    assert ["terminal_observation" in info for info in infos] == [False, False, True, False]
