"""Environments stepped one after the other in this process."""

from __future__ import annotations

import copy

from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn


class SyncVecEnv(DummyVecEnv):
    """Stable-Baselines3's `DummyVecEnv` with infos copied one level deep.

    There every step copies all infos in depth, a tenth of what a step of a MuJoCo environment costs. Here this is done
    where an episode ends, for what the next reset may overwrite. An array in another info that the environment changes
    later changes in what was returned too; to fill the same dictionary is fine.
    """

    def step_wait(self) -> VecEnvStepReturn:
        """Step every environment, and reset those whose episode is over."""
        infos = []
        for place, (env, action) in enumerate(zip(self.envs, self.actions, strict=True)):
            observation, self.buf_rews[place], terminated, truncated, info = env.step(action)
            info = {**info, "TimeLimit.truncated": truncated and not terminated}
            self.buf_dones[place] = terminated or truncated
            if terminated or truncated:
                info = copy.deepcopy({**info, "terminal_observation": observation})
                observation, self.reset_infos[place] = env.reset()
            self._save_obs(place, observation)
            infos.append(info)
        self.buf_infos = infos
        return self._obs_from_buf(), self.buf_rews.copy(), self.buf_dones.copy(), infos
