"""What every method of distillation shares: a learner with the Stable-Baselines3 API that has an expert to look at.

    learner = Dagger("gru", venv, expert="runs/expert", seed=0)
    learner.learn(64_000)
    actions, memory = learner.predict(observation, memory, starts, deterministic=True)

The VecEnv shows everything; expert and student each look at it through their own view. So a method runs wherever a
learner does: under any curriculum teacher, in a sweep, resumed from a checkpoint, in the same table.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from rlteach.distillation.experts import (
    STUDENT_FILES,
    TRAINING,
    Expert,
    StudentExpert,
    check_labels,
    load_expert,
)
from rlteach.distillation.student import Student
from rlteach.distillation.students import load_student, make_student, save_student, student_faults
from rlteach.errors import ConfigError, InvalidValue
from rlteach.files import write_json
from rlteach.learners.hooks import as_callback
from rlteach.learners.tensors import to_arrays, to_tensors
from rlteach.observations import View, hidden_groups
from rlteach.protocols import State
from rlteach.space_files import describe_space

ALIASES = {"MlpPolicy": "mlp", "CnnPolicy": "cnn"}
"""Stable-Baselines3's names for what a policy is made of."""


@dataclass(kw_only=True, eq=False)
class Distiller(ABC):
    """Base of the methods; the fields are the keyword arguments of every one of them.

    Attributes:
        policy: The student's architecture: mlp, stack, gru, lstm, transformer, cnn.
        env: VecEnv that shows what expert and student see.
        expert: Run directory, SB3 zip, ONNX file, `package.module:function`, or a function.
        student_obs: What the student sees: a role, or observation groups joined by commas.
        expert_obs: What the expert sees; what it was trained on by default.
        trust: Whether the expert's file may execute code that it holds (SB3 zips do).
        expert_normalizer: File of the `VecNormalize` that an SB3 zip was trained under.
        policy_kwargs: Keyword arguments of the architecture.
        n_steps: Steps of each environment in a rollout.
        learning_rate: Of Adam.
        max_grad_norm: Bound of the gradient's norm.
        normalize_observations: Whether the student scales its observations by their running mean and deviation.
        seed: Seed of networks, sampled actions and minibatches.
        device: Where the networks live.
    """

    policy: str = field(kw_only=False)
    env: VecEnv = field(kw_only=False)
    expert: Any = None
    student_obs: str = "student"
    expert_obs: str = ""
    trust: bool = False
    expert_normalizer: str = ""
    policy_kwargs: Mapping[str, Any] = field(default_factory=dict)
    n_steps: int = 100
    learning_rate: float = 1e-3
    max_grad_norm: float = 1.0
    normalize_observations: bool = True
    seed: int | None = None
    device: str = "cpu"

    file_name: ClassVar[str] = STUDENT_FILES
    needs_expert: ClassVar[bool] = True
    scales_rewards: ClassVar[bool] = False
    """Whether it learns from rewards, which `normalize.rewards` then should scale."""

    def __post_init__(self) -> None:
        """Build the student, load the expert, and refuse what cannot work."""
        if faults := self.setting_faults(self.policy, self._settings()):
            raise ConfigError(faults, where=type(self).__name__)
        self._refuse_normalized_observations()
        self.action_space = self.env.action_space
        self.observation_space = self.env.observation_space
        self.teacher: Expert | None = None
        if self.expert is not None:
            self.teacher = load_expert(
                self.expert, self.env, sight=self.expert_obs, trust=self.trust, normalizer=self.expert_normalizer
            )
        self.student_view = View.of(self.env, self.student_obs)
        self.expert_view = View.of(self.env, self.expert_obs or "expert") if self.teacher is None else self.teacher.view
        if not isinstance(self.teacher, StudentExpert):  # one student may be made of another with nothing hidden
            for sentence in hidden_groups(self.student_view, self.expert_view):
                warnings.warn(sentence, stacklevel=2)
        self.rng = np.random.default_rng(self.seed)
        self.student = self._new_student()
        self.optimizer = torch.optim.Adam(self._parameters(), lr=self.learning_rate, foreach=True)
        self.num_timesteps = self._end = 0
        self.labels = 0
        self.logger = Logger(folder=None, output_formats=[])
        self._last_obs: Any = None
        self._last_episode_starts = np.ones(self.env.num_envs, dtype=bool)
        self._memory = self._fresh_memory(self.env.num_envs)
        self._expert_state: Any = None

    # -- settings --------------------------------------------------------------------------------------------------

    @classmethod
    def setting_faults(cls, policy: str, kwargs: Mapping[str, Any]) -> list[str]:
        """Return a sentence for every wrong setting that can be known before anything is built."""
        faults = student_faults(ALIASES.get(policy, policy), kwargs.get("policy_kwargs") or {})
        if cls.needs_expert and kwargs.get("expert") in (None, ""):
            faults.append("expert is missing: a run directory, an SB3 .zip, an .onnx file, or package.module:function")
        for name, least in {"n_steps": 1, "batch_size": 0, "epochs": 1}.items():
            value = kwargs.get(name, least)
            if not isinstance(value, int) or value < least:
                faults.append(f"{name} = {value!r} must be a whole number of at least {least}")
        for name in ("learning_rate", "max_grad_norm"):
            value = kwargs.get(name, 1.0)
            if not isinstance(value, int | float) or not value > 0:
                faults.append(f"{name} = {value!r} must be above 0")
        return faults

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("policy", "env")}

    def _refuse_normalized_observations(self) -> None:
        normalizer = unwrap_vec_normalize(self.env)
        if normalizer is not None and normalizer.norm_obs:
            raise InvalidValue(
                "VecNormalize scales the observations here, and the expert was not trained on these: leave "
                "normalize.observations off (a student scales its own observations, an expert brings its scale along)"
            )

    def _new_student(self) -> Student:
        architecture = ALIASES.get(self.policy, self.policy)
        kwargs = {"seed": int(self.rng.integers(2**31)), **self.policy_kwargs}
        return make_student(architecture, self.student_view.space, self.action_space, **kwargs).to(self.device)

    def _parameters(self) -> list[torch.nn.Parameter]:
        return list(self.student.parameters())

    # -- the learner's API -----------------------------------------------------------------------------------------

    def get_env(self) -> VecEnv:
        """Return the VecEnv it learns on."""
        return self.env

    def get_vec_normalize_env(self) -> Any:
        """Return the `VecNormalize` around the environments, if there is one (for rewards)."""
        return unwrap_vec_normalize(self.env)

    def learn(
        self, total_timesteps: int, callback: MaybeCallback = None, *, reset_num_timesteps: bool = True
    ) -> Distiller:
        """Play and learn for `total_timesteps` environment steps, in rollouts of `n_steps`, the last one shorter."""
        if reset_num_timesteps:
            self.num_timesteps = 0
        end = self._end = self.num_timesteps + total_timesteps
        if self._last_obs is None or reset_num_timesteps:
            self._last_obs = self.env.reset()
            self._last_episode_starts = np.ones(self.env.num_envs, dtype=bool)
        hooks = as_callback(callback)
        hooks.init_callback(self)  # type: ignore[arg-type]
        hooks.on_training_start(locals(), globals())
        going = True
        while going and self.num_timesteps < end:
            steps = min(self.n_steps, -(-(end - self.num_timesteps) // self.env.num_envs))
            hooks.on_rollout_start()
            going = self.iterate(steps, hooks)
        hooks.on_training_end()
        return self

    @abstractmethod
    def iterate(self, steps: int, hooks: BaseCallback) -> bool:
        """Play `steps` steps of every environment and learn from them; return False when a hook wants to stop."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        """Return the student's actions for a batch of whole observations, and its memory."""
        seen = self.student_view(observation)
        return self.student.act(seen, state, episode_start, deterministic=deterministic, generator=self.rng)

    @property
    def progress(self) -> float:
        """Return how much of the training is done, in [0, 1]."""
        return self.num_timesteps / self._end if self._end else 0.0

    def budget(self) -> dict[str, float]:
        """Return what was used besides the student's own steps."""
        return {"steps_expert": 0 if self.teacher is None else self.teacher.steps, "labels": self.labels}

    def save(self, path: str | Path) -> None:
        """Write the student into the directory `path`; nothing in it can execute."""
        write_student(
            self.student,
            Path(path),
            view=self.student_view,
            space=self.action_space,
            method=type(self).__name__,
            steps=self.num_timesteps + (0 if self.teacher is None else self.teacher.steps),
        )

    @classmethod
    def load(cls, path: str | Path, env: VecEnv, **kwargs: Any) -> Distiller:
        """Read what `save` wrote, to go on learning in `env`; keyword arguments are those of the constructor."""
        student = load_student(Path(path))
        learner = cls(student.architecture, env, policy_kwargs=student.kwargs(), **kwargs)
        learner.student.load_state_dict(student.state_dict())
        return learner

    def state_dict(self) -> State:
        """Return everything that has been learned, and where the rollouts stand."""
        return {
            "networks": {name: to_arrays(module.state_dict()) for name, module in self._modules().items()},
            "optimizers": {name: to_arrays(part.state_dict()) for name, part in self._optimizers().items()},
            "rng": self.rng.bit_generator.state,
            "num_timesteps": self.num_timesteps,
            "labels": self.labels,
            "starts": self._last_episode_starts.copy(),
            "memory": self._memory.copy(),
            "expert_state": to_arrays(self._expert_state),
            "more": self._more_state(),
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        for name, module in self._modules().items():
            module.load_state_dict(to_tensors(state["networks"][name]))
        for name, optimizer in self._optimizers().items():
            optimizer.load_state_dict(to_tensors(state["optimizers"][name]))
        self.rng.bit_generator.state = state["rng"]
        self.num_timesteps, self.labels = int(state["num_timesteps"]), int(state["labels"])
        self._last_episode_starts = np.array(state["starts"], dtype=bool)
        self._memory = np.array(state["memory"])
        self._expert_state = state["expert_state"]
        self._load_more_state(state["more"])

    def _modules(self) -> dict[str, torch.nn.Module]:
        """Return the networks that a checkpoint keeps."""
        return {"student": self.student}

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers that a checkpoint keeps."""
        return {"student": self.optimizer}

    def _more_state(self) -> State:
        """Return what a method has to remember beyond networks."""
        return {}

    def _load_more_state(self, state: State) -> None:
        """Continue from `_more_state`."""
        assert not state, f"{type(self).__name__} remembers {list(state)} and does not say how to continue from it"

    # -- playing ---------------------------------------------------------------------------------------------------

    def label(self, observation: Any, starts: np.ndarray) -> np.ndarray:
        """Return the expert's actions for a batch of whole observations, its memory carried along."""
        assert self.teacher is not None
        seen = self.expert_view(observation)
        actions, self._expert_state = self.teacher.label(seen, self._expert_state, starts)
        return self._counted(np.asarray(actions), len(seen))

    def label_many(self, seen: np.ndarray) -> np.ndarray:
        """Return an expert without memory's actions for what its view shows, (t, n, d), all at once."""
        assert self.teacher is not None and not self.teacher.recurrent
        flat = seen.reshape(-1, *seen.shape[2:])
        actions = self._counted(np.asarray(self.teacher.label(flat)[0]), len(flat))
        return actions.reshape(*seen.shape[:2], *actions.shape[1:])

    def _counted(self, actions: np.ndarray, count: int) -> np.ndarray:
        check_labels(actions, count, self.action_space)
        self.labels += count
        return actions

    def unit_labels(self, actions: np.ndarray) -> np.ndarray:
        """Return actions of the environment as the student's losses want them: in [-1, 1], or whole numbers."""
        if isinstance(self.action_space, spaces.Discrete):
            return np.asarray(actions, dtype=np.int64) - int(self.action_space.start)
        leading = actions.shape[: actions.ndim - len(self.action_space.shape or ())]
        unit: np.ndarray = self.student.actions.to_unit(actions)  # type: ignore[union-attr]
        return unit.reshape(*leading, -1)

    def step_student(self, seen: np.ndarray, *, deterministic: bool) -> np.ndarray:
        """Return the student's actions and move its memory on; `_memory` must have been begun for this step."""
        actions, self._memory = self.student.act(
            seen, self._memory, None, deterministic=deterministic, generator=self.rng
        )
        return actions

    def _fresh_memory(self, rows: int) -> np.ndarray:
        memory: np.ndarray = self.student.initial_state(rows).detach().cpu().numpy().copy()
        return memory

    def begin_memory(self) -> None:
        """Put the memory of rows that begin an episode back to its beginning."""
        if self._last_episode_starts.any():
            self._memory = np.where(self._last_episode_starts[:, None], self._fresh_memory(1), self._memory)

    def step_envs(self, actions: np.ndarray, hooks: BaseCallback) -> tuple[bool, np.ndarray, list[dict[str, Any]]]:
        """Step all environments; return whether to go on, the rewards, and the infos."""
        self._last_obs, rewards, self._last_episode_starts, infos = self.env.step(actions)
        self.num_timesteps += self.env.num_envs
        return hooks.on_step(), rewards, infos

    def descend(self, loss: torch.Tensor) -> None:
        """Take one step of the optimiser."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._parameters(), self.max_grad_norm)
        self.optimizer.step()


def write_student(
    student: Student, path: Path, *, view: View, space: spaces.Space[Any], method: str, steps: int
) -> None:
    """Write a student with what it saw and how it acted into the directory `path`."""
    save_student(student, path)
    described = {"view": view.describe(), "action_space": describe_space(space), "method": method, "steps": steps}
    write_json(path / TRAINING, described)
