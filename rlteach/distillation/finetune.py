"""From a student to reinforcement learning: Stable-Baselines3's PPO goes on where a distillation ended.

    learner: {name: finetune, kwargs: {student: runs/dagger, critic_warm_up: 25000}}

A return collapses after the hand-over for known reasons, and each is seen to here: an untrained critic steers the
policy anywhere (only the critic learns at first), a normaliser is lost or goes on moving (the student's own stays, and
stays as it is), exploration noise is set anew (it stays what the student's error was), actions are scaled differently
(the same scale applies). The actor's optimiser begins afresh: its moments belonged to another loss.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn
from torch import nn

from rlteach.distillation.actions import ActionScale
from rlteach.distillation.base import write_student
from rlteach.distillation.experts import STUDENT_FILES, read_student
from rlteach.distillation.layers import perceptron
from rlteach.distillation.student import Student
from rlteach.errors import InvalidValue, UserError
from rlteach.observations import View, first_row


class StudentVecEnv(VecEnvWrapper):
    """Shows what a student sees, followed by what it remembers, so that a learner without memory can train it.

    Args:
        venv: VecEnv that shows everything.
        view: What the student sees.
        student: A student whose memory is made of observations.
    """

    def __init__(self, venv: VecEnv, view: View, student: Student) -> None:
        size = student.observation_size + student.state_size
        super().__init__(venv, observation_space=spaces.Box(-np.inf, np.inf, (size,), np.float32))
        self.view, self.student = view, student
        self.memory = np.zeros((venv.num_envs, student.state_size), dtype=np.float32)

    def reset(self) -> np.ndarray:
        """Reset; nothing is remembered."""
        self.memory = np.zeros_like(self.memory)
        return self._with_memory(self.view(self.venv.reset()), self.memory)

    def step_wait(self) -> VecEnvStepReturn:
        """Step; rows that begin an episode remember nothing."""
        observation, rewards, dones, infos = self.venv.step_wait()
        for index in np.flatnonzero(dones):
            last = first_row(self.view, infos[index]["terminal_observation"])
            infos[index]["terminal_observation"] = self._with_memory(last[None], self.memory[[index]])[0]
        self.memory = np.where(dones[:, None], np.float32(0), self.memory)
        return self._with_memory(self.view(observation), self.memory), rewards, dones, infos

    def step_async(self, actions: np.ndarray) -> None:
        """Move the memory on past what was last shown, and step."""
        with torch.inference_mode():
            seen, memory = torch.from_numpy(self._seen), torch.from_numpy(self.memory)
            self.memory = self.student.step(seen, memory)[1].numpy()
        self.venv.step_async(actions)

    def restore(self, shown: np.ndarray) -> None:
        """Continue from what was shown last, memory included."""
        size = self.student.observation_size
        self._seen, self.memory = shown[:, :size].copy(), shown[:, size:].copy()

    def _with_memory(self, seen: np.ndarray, memory: np.ndarray) -> np.ndarray:
        flat = seen.reshape(len(seen), -1).astype(np.float32)
        if len(flat) == self.num_envs:
            self._seen = flat
        return np.concatenate([flat, memory], axis=1)


class StudentActorCritic(ActorCriticPolicy):
    """An actor that is a student, and a critic of its own.

    Attributes:
        warming: While True, nothing but the critic gets gradients.
    """

    def __init__(self, *args: Any, student: Student, **kwargs: Any) -> None:
        self._given = (student,)  # a tuple: a module cannot hold modules before it is built
        super().__init__(*args, **kwargs)
        self.warming = False

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        (self.student,) = self._given
        width = self.student.observation_size + self.student.feature_size
        self.critic = nn.Sequential(perceptron(width, (64, 64), "tanh"), nn.Linear(64, 1))
        for part in ("mlp_extractor", "action_net", "value_net", "log_std"):
            if hasattr(self, part):
                delattr(self, part)  # the student and the critic take their places
        rate = lr_schedule(1)
        self.optimizer = self.optimizer_class(self.parameters(), lr=rate, **self.optimizer_kwargs)  # type: ignore[call-arg]

    def _features(self, shown: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen = shown[:, : self.student.observation_size]
        return seen, self.student.step(seen, shown[:, self.student.observation_size :])[0]

    def _said(self, features: torch.Tensor) -> Distribution:
        outputs = self.student.head(features)
        scale = self.student.actions
        if not isinstance(scale, ActionScale):
            return self.action_dist.proba_distribution(action_logits=outputs)
        low, high = (torch.as_tensor(side).flatten() for side in (scale.low, scale.high))
        half = (high - low) / 2
        return self.action_dist.proba_distribution((low + high) / 2 + half * outputs, self.student.log_std + half.log())

    def _value(self, seen: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        known: torch.Tensor = self.critic(torch.cat([self.student.normalizer(seen), features.detach()], dim=1))
        return known

    def forward(self, obs: Any, deterministic: bool = False) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return actions, values and log densities."""
        seen, features = self._features(obs)
        said = self._said(features)
        actions = said.get_actions(deterministic=deterministic)
        shaped = actions.reshape((-1, *(self.action_space.shape or ())))
        return shaped, self._value(seen, features), said.log_prob(actions)

    def evaluate_actions(
        self, obs: Any, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return values, log densities and entropies; while warming, only the values have gradients."""
        seen, features = self._features(obs)
        said = self._said(features)
        log_prob, entropy = said.log_prob(actions), said.entropy()
        if self.warming:
            log_prob, entropy = log_prob.detach(), None if entropy is None else entropy.detach()
        return self._value(seen, features), log_prob, entropy

    def get_distribution(self, obs: Any) -> Distribution:
        """Return the student's distribution."""
        return self._said(self._features(obs)[1])

    def predict_values(self, obs: Any) -> torch.Tensor:
        """Return the critic's values."""
        return self._value(*self._features(obs))


class FineTune(PPO):
    """Stable-Baselines3's PPO that goes on training a student; other keyword arguments are PPO's.

    Args:
        policy: Unused: the student's files say what it is.
        env: VecEnv that shows everything.
        student: Run directory of a distillation, or the directory of a student.
        critic_warm_up: Environment steps in which only the critic learns.
        learning_rate: Of Adam, for actor and critic.
    """

    file_name: ClassVar[str] = STUDENT_FILES

    def __init__(
        self,
        policy: str,
        env: VecEnv,
        *,
        student: str | Path,
        critic_warm_up: int = 25_000,
        learning_rate: float = 1e-4,
        **kwargs: Any,
    ) -> None:
        if critic_warm_up < 0:
            raise InvalidValue(f"critic_warm_up = {critic_warm_up} must be at least 0")
        found, view, described = read_student(student, env)
        if not found.state_is_data:
            raise UserError(
                f"the student in {student} is a {found.architecture}, and Stable-Baselines3's PPO trains no recurrent "
                f"policies: learner asymmetric with start: {student} goes on with it"
            )
        self.critic_warm_up, self.view, self.steps_before = critic_warm_up, view, int(described.get("steps", 0))
        kwargs["policy_kwargs"] = {"student": found}
        shown = StudentVecEnv(env, view, found)
        super().__init__(StudentActorCritic, shown, learning_rate=learning_rate, **kwargs)

    @property
    def student(self) -> Student:
        """The student that is trained."""
        policy: Any = self.policy
        student: Student = policy.student
        return student

    def collect_rollouts(self, env: VecEnv, *args: Any, **kwargs: Any) -> bool:
        """Continue from what was shown last, also after a resume."""
        assert isinstance(env, StudentVecEnv)
        env.restore(np.asarray(self._last_obs))
        return super().collect_rollouts(env, *args, **kwargs)

    def train(self) -> None:
        """Train the critic alone at first, then both."""
        policy: Any = self.policy
        policy.warming = self.num_timesteps <= self.critic_warm_up
        super().train()

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        """Return the student's actions for a batch of whole observations, and its memory."""
        draws = np.random.default_rng(int(torch.randint(2**31, ()))) if not deterministic else None
        seen = self.view(observation)
        return self.student.act(seen, state, episode_start, deterministic=deterministic, generator=draws)

    def save(self, path: Any, *_: Any, **__: Any) -> None:
        """Write the student into the directory `path`, as a distillation does."""
        write_student(
            self.student,
            Path(path),
            view=self.view,
            space=self.action_space,
            method="FineTune",
            steps=self._all_steps(),
        )

    def budget(self) -> dict[str, float]:
        """Return the steps that made the student it began with."""
        return {"steps_expert": self.steps_before}

    def _all_steps(self) -> int:
        return self.num_timesteps + self.steps_before


def _signature() -> inspect.Signature:
    own = dict(inspect.signature(FineTune.__init__).parameters)
    own.pop("self"), own.pop("kwargs")
    inherited = inspect.signature(PPO.__init__).parameters
    taken = {*own, "self", "policy_kwargs", "_init_setup_model"}
    more = [p.replace(kind=p.KEYWORD_ONLY) for name, p in inherited.items() if name not in taken]
    return inspect.Signature([*own.values(), *more])


FineTune.__signature__ = _signature()  # type: ignore[attr-defined]
