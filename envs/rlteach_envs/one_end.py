"""OneEnd: an episode that terminates at its last step is not truncated as well.

Gymnasium puts it around the time limit of an id that is registered with `additional_wrappers=ONE_END`.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import WrapperSpec
from gymnasium.utils import RecordConstructorArgs


class OneEnd(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Leaves `truncated` to the episodes that do not terminate; `TimeLimit` looks at the number of the step alone.

    Args:
        env: An environment with its time limit.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and say of a last step only that it terminated, where it did."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated and not terminated, info


ONE_END = (WrapperSpec("OneEnd", "rlteach_envs.one_end:OneEnd", {}),)
"""For `gymnasium.register(additional_wrappers=...)`, of environments that are no wrapper by their `spec`."""
