"""SyncVecEnv shows what Stable-Baselines3's DummyVecEnv shows."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

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


def test_an_environment_that_fills_one_dictionary_again_and_again_does_not_change_what_was_returned() -> None:
    venv = SyncVecEnv([lambda: OneInfo(gym.make("Pendulum-v1", max_episode_steps=3))])
    venv.reset()
    infos = [venv.step(np.zeros((1, 1)))[3][0] for _ in range(4)]
    assert [info["count"] for info in infos] == [1, 2, 3, 4]
    assert ["terminal_observation" in info for info in infos] == [False, False, True, False]
