"""The learner that learns nothing: random actions, the lower end of a scale.

    learner: {name: random}

Its steps are counted and not played, since nothing could be learned from them: it takes no environment step and no
time beyond its evaluations, which happen at the same steps as those of any other learner. A table shows 0 steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from rlteach.errors import InvalidValue
from rlteach.files import read_json, write_json
from rlteach.learners.hooks import as_callback
from rlteach.protocols import State


def sample_actions(space: spaces.Space[Any], n: int, rng: np.random.Generator) -> np.ndarray:
    """Return `n` actions drawn uniformly from an action space, (n, *shape of the space).

    Raises:
        InvalidValue: For a space without bounds, or one that Stable-Baselines3 does not act in.
    """
    shape = (n, *(space.shape or ()))
    if isinstance(space, spaces.Box) and np.isfinite([space.low, space.high]).all():
        whole = np.issubdtype(space.dtype, np.integer)
        drawn: np.ndarray = (
            rng.integers(space.low, space.high, shape, dtype=np.int64, endpoint=True)
            if whole
            else rng.uniform(space.low, space.high, shape)
        )
    elif isinstance(space, spaces.Discrete):
        drawn = space.start + rng.integers(space.n, size=shape)
    elif isinstance(space, spaces.MultiDiscrete):
        drawn = space.start + rng.integers(space.nvec, size=shape)
    elif isinstance(space, spaces.MultiBinary):
        drawn = rng.integers(2, size=shape)
    else:
        raise InvalidValue(f"actions cannot be drawn uniformly from {space}")
    return drawn.astype(space.dtype)


class RandomLearner:
    """Random actions, whatever is observed and also when the mode of the policy is asked for.

    Args:
        policy: Unused; there for the SB3 signature.
        env: VecEnv whose actions are drawn.
        seed: Seed of the actions.
        device: Unused.
    """

    file_name = "random.json"

    def __init__(self, policy: str, env: VecEnv, *, seed: int | None = None, device: str = "cpu") -> None:
        self.env = env
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.rng = np.random.default_rng(seed)
        self.num_timesteps = 0
        self.logger = Logger(folder=None, output_formats=[])
        self._last_obs: Any = None
        sample_actions(self.action_space, 0, self.rng)  # refuses a space that it cannot act in

    def get_env(self) -> VecEnv:
        """Return the VecEnv that it is given."""
        return self.env

    def get_vec_normalize_env(self) -> Any:
        """Return the `VecNormalize` around the environments, if there is one."""
        return unwrap_vec_normalize(self.env)

    def learn(
        self, total_timesteps: int, callback: MaybeCallback = None, *, reset_num_timesteps: bool = True
    ) -> RandomLearner:
        """Count `total_timesteps` without playing them; a rollout is one step of every environment."""
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
            self.num_timesteps += self.env.num_envs
            going = hooks.on_step()
            hooks.on_rollout_end()
        hooks.on_training_end()
        return self

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        """Return a random action for each row of a batch of observations."""
        first = next(iter(observation.values())) if isinstance(observation, Mapping) else observation
        return sample_actions(self.action_space, len(first), self.rng), state

    def budget(self) -> dict[str, float]:
        """Return that no step was taken, however many were counted."""
        return {"steps_learner": 0}

    def state_dict(self) -> State:
        """Return the generator and what has been counted."""
        return {"rng": self.rng.bit_generator.state, "num_timesteps": self.num_timesteps}

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        self.rng.bit_generator.state = state["rng"]
        self.num_timesteps = int(state["num_timesteps"])

    def save(self, path: str | Path) -> None:
        """Write the state to `path` (JSON)."""
        write_json(Path(path), {"schema": 1, **self.state_dict()})

    @classmethod
    def load(cls, path: str | Path, env: VecEnv) -> RandomLearner:
        """Read what `save` wrote."""
        learner = cls("", env)
        learner.load_state_dict(read_json(Path(path)))
        return learner
