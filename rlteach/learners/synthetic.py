"""A learner without reinforcement learning: competence that grows along a skill graph, with the SB3 API.

For toy environments that offer a `skill_graph`: the observation tells the skill, the action claims the competence, the
return is the claim. It goes through the same kernel, sweep and table as any other learner, in microseconds an episode.

The rule is that of the toy space of Portelas et al. (2019, ALP-GMM, CoRL): an episode adds 1 to the competence of its
skill, at most 100, when the skill has no prerequisite or one of its prerequisites has at least 75.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.vec_env import VecEnv

from rlteach.errors import MissingCapability
from rlteach.learners.hooks import as_callback
from rlteach.protocols import SkillGraph, State

FULL = 100.0
UNLOCKS = 75.0


def practise(competence: np.ndarray, skills: np.ndarray, graph: SkillGraph, gain: float) -> None:
    """Play one episode in each of `skills`, in order, changing `competence` (n_skills,) in place; -1 is no skill."""
    for skill in skills:
        if skill >= 0:
            needed = graph.prerequisites[skill]
            if len(needed) == 0 or competence[needed].max() >= UNLOCKS:
                competence[skill] = min(competence[skill] + gain, FULL)


class SyntheticLearner:
    """Competence on a skill graph.

    Args:
        policy: Unused; there for the SB3 signature.
        env: A VecEnv whose environments offer `skill_graph`.
        gain: Competence gained per episode, of 100.
        seed: Unused: learning is deterministic.
        device: Unused.
    """

    def __init__(
        self, policy: str, env: VecEnv, *, gain: float = 1.0, seed: int | None = None, device: str = "cpu"
    ) -> None:
        if not env.has_attr("skill_graph"):
            raise MissingCapability(
                "`skill_graph`",
                where="this environment",
                recipe="The synthetic learner is for toy environments such as rlteach/ToyCubes-v0; use learner: ppo",
            )
        self.env = env
        self.gain = gain
        self.graph: SkillGraph = env.get_attr("skill_graph", [0])[0]
        self.competence = np.zeros(self.graph.n_skills)
        self.num_timesteps = 0
        self.logger = Logger(folder=None, output_formats=[])
        self._last_obs: Any = None

    def get_env(self) -> VecEnv:
        """Return the VecEnv it learns on."""
        return self.env

    def get_vec_normalize_env(self) -> None:
        """Return None: observations are never normalised."""
        return None

    def learn(
        self, total_timesteps: int, callback: MaybeCallback = None, *, reset_num_timesteps: bool = True
    ) -> SyntheticLearner:
        """Play episodes; each rollout is one step of every environment."""
        if reset_num_timesteps:
            self.num_timesteps = 0
        end = self.num_timesteps + total_timesteps
        if self._last_obs is None or reset_num_timesteps:
            self._last_obs = self.env.reset()
        hooks = as_callback(callback)
        hooks.init_callback(self)  # type: ignore[arg-type]
        hooks.on_training_start(locals(), globals())
        going = True
        while going and self.num_timesteps < end:
            hooks.on_rollout_start()
            going = self._step(hooks)
            hooks.on_rollout_end()
        hooks.on_training_end()
        return self

    def _step(self, hooks: BaseCallback) -> bool:
        skills = self.graph.skill_of(self._last_obs)
        practise(self.competence, skills, self.graph, self.gain)
        self._last_obs, _, _, _ = self.env.step(self._claim(skills))
        self.num_timesteps += self.env.num_envs
        return hooks.on_step()

    def _claim(self, skills: np.ndarray) -> np.ndarray:
        claims = np.where(skills >= 0, self.competence[skills], 0.0) / FULL
        return claims[:, None].astype(np.float32)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        """Return the competence of each observation's skill, in [0, 1]."""
        return self._claim(self.graph.skill_of(np.asarray(observation))), state

    def forget(self) -> None:
        """Lose all competence."""
        self.competence[:] = 0.0

    def state_dict(self) -> State:
        """Return everything that has been learned."""
        return {"competence": self.competence.copy(), "num_timesteps": self.num_timesteps}

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        self.competence = np.array(state["competence"], dtype=np.float64)
        self.num_timesteps = int(state["num_timesteps"])

    def save(self, path: str | Path) -> None:
        """Write the competence to `path` (npz)."""
        with Path(path).open("wb") as file:
            np.savez(file, **self.state_dict())

    @classmethod
    def load(cls, path: str | Path, env: VecEnv) -> SyntheticLearner:
        """Read what `save` wrote."""
        learner = cls("", env)
        with np.load(path) as arrays:
            learner.load_state_dict({key: arrays[key] for key in arrays.files})
        return learner
