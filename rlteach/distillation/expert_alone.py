"""The expert itself as a row of a table, and the control that shows whether its privilege matters at all.

With `shuffled` it is given the privileged observations of another episode that is being played at the same time. Where
its return does not fall, what is hidden did not matter, and the task says nothing about distillation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from rlteach.distillation.experts import load_expert
from rlteach.learners.random import RandomLearner
from rlteach.observations import View


class ExpertAlone(RandomLearner):
    """The expert itself, learning nothing; with `shuffled` it sees another episode's privileged observations.

    Args:
        policy: Unused; there for the SB3 signature.
        env: VecEnv whose observations it acts on.
        expert: As for every method of distillation.
        student_obs: What a student would see: the rest is shuffled.
        expert_obs: What the expert sees; what it was trained on by default.
        shuffled: Whether to hand on the privileged observations of the next environment.
        trust: Whether the expert's file may execute code that it holds.
        seed: Unused.
        device: Unused.
    """

    file_name = "expert.json"

    def __init__(
        self,
        policy: str,
        env: VecEnv,
        *,
        expert: Any,
        student_obs: str = "student",
        expert_obs: str = "",
        shuffled: bool = False,
        trust: bool = False,
        seed: int | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__(policy, env, seed=seed, device=device)
        self.teacher = load_expert(expert, env, sight=expert_obs, trust=trust)
        self.student_view = View.of(env, student_obs)
        self.shuffled = shuffled
        known = set(self.student_view.names)
        self._public = np.array([name in known for name in self.teacher.view.names])

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        """Return the expert's actions for a batch of whole observations."""
        seen = self.teacher.view(observation)
        if self.shuffled:
            seen = np.where(self._public, seen, np.roll(seen, 1, axis=0))
        return self.teacher.label(seen, state, episode_start)

    def budget(self) -> dict[str, float]:
        """Return whose steps the row stands for: the expert's training, and none of its own."""
        return {**super().budget(), "steps_expert": self.teacher.steps}
