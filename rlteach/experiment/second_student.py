"""A second student: a copy of the run's learner that plays the tasks a teacher gives it, and learns from them.

    class MyTeacher(TaskTeacher):
        wants_second_student = True                             # then a run sets `second_student`
    outcomes = teacher.second_student(tasks, repeats=2)         # outcome k * 2 + j is the j-th play of task k

Unlike `Rollouts`, which plays with the policy of the one learner and leaves it as it is, this is a learner of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from rlteach import registry
from rlteach.delivery import LessonVecEnv
from rlteach.errors import UserError
from rlteach.experiment import checkpoint
from rlteach.experiment.evaluate import own_randomness
from rlteach.lesson import Outcome
from rlteach.protocols import State, Teacher
from rlteach.teachers.fixed_tasks import FixedTasks


@dataclass(frozen=True)
class Student:
    """A learner with the environments that it learns on.

    Attributes:
        model: The learner.
        venv: What it learns on, wrappers included.
        lesson_venv: The part of `venv` that asks the teacher.
        normalizer: The `VecNormalize` in `venv`, or None.
    """

    model: Any
    venv: VecEnv
    lesson_venv: LessonVecEnv
    normalizer: VecNormalize | None


def check_second_student(teacher: str, learner: str) -> None:
    """Refuse a learner of which there can be no second one.

    Args:
        teacher: The teacher's name, for the message.
        learner: Registered name or import path of the learner.

    Raises:
        UserError: When the learner is not on-policy: what it plays would then not be what it learns from.
    """
    cls = registry.load("learner", learner)
    if not issubclass(cls, OnPolicyAlgorithm):
        raise UserError(
            f"{teacher} trains a second student beside the learner, which has to be on-policy for that (PPO, A2C), "
            f"not {cls.__name__}: learner: {{name: ppo}}"
        )


class SecondStudent:
    """Plays tasks with a second learner, which learns from every step of it.

    Every call begins new episodes and trains in whole rollouts, as many as it takes to finish all plays; environments
    that are free before that play the tasks from the beginning again. A call of few steps thus costs a rollout all the
    same (`n_steps * n_envs` steps). Nothing of it touches the learner of the run or the global random generators, and
    since no episode goes on from call to call, resuming is bit-exact with any environment.

    Args:
        build: Builds the student for a teacher, at the first call.
        seed: Seed of environments and actions; each call has its own.
        steps: Steps of the learner of the run: schedules of the second one reach their end after as many.
    """

    def __init__(self, build: Callable[[Teacher], Student], *, seed: int, steps: int) -> None:
        self.seed, self.total_steps = seed, steps
        self.calls = 0
        self._build = build
        self._student: Student | None = None

    @property
    def steps(self) -> int:
        """Return the environment steps that it has played so far."""
        return 0 if self._student is None else int(self._student.model.num_timesteps)

    def __call__(self, tasks: Sequence[Any], *, repeats: int = 1) -> list[Outcome]:
        """Play every task `repeats` times and learn from it; outcome k * repeats + j is the j-th play of task k.

        Args:
            tasks: Elements of the task space.
            repeats: Episodes of each.
        """
        if not len(tasks):
            return []
        self.calls += 1
        student = self._built()
        teacher = FixedTasks([task for task in tasks for _ in range(repeats)])
        seed = (self.seed + self.calls) % 2**31
        with own_randomness(seed):
            student.lesson_venv.teacher = teacher
            student.lesson_venv.seed(seed)
            student.model._last_obs = None  # makes `learn` begin new episodes
            self._train(student.model, teacher)
        return [outcome for outcome in teacher.outcomes if outcome is not None]

    def _train(self, model: OnPolicyAlgorithm, teacher: FixedTasks) -> None:
        until = _UntilPlayed(teacher)
        while not teacher.done:
            left = max(self.total_steps - model.num_timesteps, model.n_steps * model.n_envs)
            try:
                model.learn(left, callback=until, reset_num_timesteps=False)
            except _Played:
                pass

    def _built(self) -> Student:
        if self._student is None:
            with own_randomness(self.seed):  # Stable-Baselines3 seeds the global generators when a learner is built
                self._student = self._build(FixedTasks([None]))
            self._student.model.set_logger(Logger(folder=None, output_formats=[]))  # the log is the learner's
        return self._student

    def state_dict(self) -> State:
        """Return the learner with its optimiser, its normaliser, and how much was played."""
        state: State = {"calls": self.calls, "student": None}
        if self._student is not None:
            normalizer = self._student.normalizer
            state["student"] = {
                "learner": checkpoint.learner_state(self._student.model),
                "normalizer": None if normalizer is None else checkpoint.normalizer_state(normalizer),
                "delivery": self._student.lesson_venv.state_dict(),
            }
        return state

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`, bit-exactly."""
        self.calls = int(state["calls"])
        saved = state["student"]
        if saved is None:
            return
        student = self._built()
        checkpoint.restore_learner(student.model, saved["learner"])
        if student.normalizer is not None:
            checkpoint.restore_normalizer(student.normalizer, saved["normalizer"])
        student.lesson_venv.load_state_dict(saved["delivery"])


class _Played(Exception):
    """All plays are finished."""


class _UntilPlayed(BaseCallback):
    """Leaves `learn` between two rollouts, once all plays are finished: a stop within one would waste its steps."""

    def __init__(self, teacher: FixedTasks) -> None:
        super().__init__()
        self._teacher = teacher

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self._teacher.done:
            raise _Played
