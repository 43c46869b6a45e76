"""Checks of a learner: does it train, predict, keep and repeat itself as a run needs it to?

for finding in check_learner("my_package.MyAlgorithm", env="CartPole-v1"):
    print(finding.name, finding.ok, finding.detail, finding.fix)
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from rlteach.delivery import LessonVecEnv, attach, make_vec_env
from rlteach.environments import EnvLike
from rlteach.experiment.evaluate import own_randomness
from rlteach.learners import make_learner
from rlteach.protocols import Teacher
from rlteach.teachers.no_tasks import NoTasks
from rlteach.teachers.uniform import Uniform
from rlteach.testing.envs import Finding, Verdict, told

N_ENVS = 2


@dataclass(frozen=True)
class _Case:
    """The learner to be checked, and how to build one."""

    cls: str | type
    env: EnvLike
    policy: str
    kwargs: Mapping[str, Any]
    steps: int
    seed: int
    opened: list[VecEnv] = field(default_factory=list)

    def venv(self, n_envs: int = N_ENVS) -> VecEnv:
        """Return fresh environments without a teacher."""
        venv = make_vec_env(self.env, n_envs, seed=self.seed)
        self.opened.append(venv)
        return venv

    def taught(self) -> LessonVecEnv:
        """Return fresh environments under a teacher that draws uniformly."""
        venv = self.venv()
        teacher: Teacher = NoTasks()
        if venv.has_attr("task_space"):
            teacher = Uniform(venv.get_attr("task_space", [0])[0], seed=self.seed)
        return attach(venv, teacher)

    def build(self, venv: VecEnv) -> Any:
        """Return an untrained learner."""
        return make_learner(self.cls, venv, policy=self.policy, kwargs=self.kwargs, seed=self.seed)

    def trained(self) -> Any:
        """Return a learner trained under a teacher."""
        with own_randomness(self.seed):
            learner = self.build(self.taught())
            learner.learn(self.steps)
        return learner

    @cached_property
    def learner(self) -> Any:
        """The trained learner that the checks share."""
        return self.trained()

    def observations(self, n: int) -> Any:
        """Return `n` observations that environments really give."""
        return self.venv(n).reset()

    def actions(self, learner: Any, n: int, *, deterministic: bool = True) -> np.ndarray:
        """Return the actions of a learner for `n` observations."""
        return np.asarray(learner.predict(self.observations(n), deterministic=deterministic)[0])


def check_learner(
    learner: str | type,
    *,
    env: EnvLike = "rlteach/GoalMaze-v0",
    policy: str = "MlpPolicy",
    kwargs: Mapping[str, Any] | None = None,
    steps: int = 256,
    seed: int = 0,
) -> list[Finding]:
    """Check everything that a run relies on.

    Args:
        learner: A class with the Stable-Baselines3 API, its registered name or its import path.
        env: An environment with the observations and actions that the learner is made for; with a task space, the
            learner is checked under a teacher.
        policy: First argument of its constructor.
        kwargs: Further keyword arguments; small ones (networks, buffers) keep the check fast.
        steps: Environment steps of each short training.
        seed: Seed of learner, environments and teacher.

    Returns:
        One finding for each check, in a fixed order; only the first when the learner cannot be built.
    """
    case = _Case(learner, env, policy, dict(kwargs or {}), steps, seed)
    try:
        built = case.build(case.venv())
        findings = [Finding(name, *_guarded(check, case)) for name, check in CHECKS.items()]
    except Exception as error:  # whatever the constructor raises is the finding
        return [Finding("build", False, told(error), "the constructor has to take (policy, env, *, seed, device)")]
    finally:
        for venv in case.opened:
            venv.close()
    return [Finding("build", True, type(built).__name__), *findings]


def _guarded(check: Callable[[_Case], Verdict], case: _Case) -> Verdict:
    try:
        return check(case)
    except Exception as error:  # a broken learner may raise anything, and the other checks still tell something
        return Verdict(False, told(error), "it must not raise on the observations and actions of its environment")


# -- the checks --------------------------------------------------------------------------------------------------------


def _steps_are_counted(case: _Case) -> Verdict:
    learner = case.build(case.venv())
    counts = [int(learner.num_timesteps)]
    learner.learn(case.steps)
    counts.append(int(learner.num_timesteps))
    learner.learn(case.steps, reset_num_timesteps=False)
    counts.append(int(learner.num_timesteps))
    if counts[0] != 0 or counts[1] < case.steps or counts[2] < counts[1] + case.steps:
        fix = "add the number of environments to num_timesteps at every step; reset_num_timesteps=False goes on"
        return Verdict(False, f"two trainings of {case.steps} steps counted {counts[1:]} from {counts[0]}", fix)
    return Verdict(True, f"two trainings of {case.steps} steps: {counts[1]} and {counts[2]} in all")


def _a_lesson_vec_env_is_learned_on(case: _Case) -> Verdict:
    venv = case.taught()
    learner = case.build(venv)
    if not _learns_on(learner, venv):
        return Verdict(False, "get_env does not return the VecEnv it learns on", "return self.env from get_env")
    learner.learn(case.steps)
    issued = getattr(venv.teacher, "_next_id", 0)
    if issued < N_ENVS:
        return Verdict(False, "no lesson was played", "reset the VecEnv when a training begins, and step it")
    return Verdict(True, f"{issued} lessons were issued in {case.steps} steps")


def _learns_on(learner: Any, venv: VecEnv) -> bool:
    """Tell whether the learner's own VecEnv is `venv` or wraps it."""
    mine = learner.get_env()
    while mine is not None and mine is not venv:
        mine = getattr(mine, "venv", None)
    return mine is venv


def _callbacks_are_called(case: _Case) -> Verdict:
    from stable_baselines3.common.callbacks import BaseCallback

    class Counting(BaseCallback):
        rollouts = steps = 0

        def _on_rollout_start(self) -> None:
            self.rollouts += 1

        def _on_step(self) -> bool:
            self.steps += 1
            return self.steps < 3

    counting = Counting()
    learner = case.build(case.taught())
    learner.learn(case.steps, callback=counting)
    if counting.rollouts == 0 or counting.steps != 3:
        fix = "call callback.on_rollout_start and callback.on_step, and stop when on_step returns False"
        return Verdict(False, f"{counting.rollouts} rollouts and {counting.steps} steps where 3 were to be", fix)
    return Verdict(True, "at rollouts and steps; False stops the training")


def _predict_is_batched(case: _Case) -> Verdict:
    space = case.learner.get_env().action_space
    for n in (1, 3, 5):
        for deterministic in (True, False):
            actions = case.actions(case.learner, n, deterministic=deterministic)
            if actions.shape != (n, *space.shape):
                fix = "return an array with one action for each observation"
                return Verdict(False, f"{n} observations gave actions {actions.shape}, not {(n, *space.shape)}", fix)
            outside = [action for action in actions if not _within(space, action)]
            if outside:
                return Verdict(False, f"the action {outside[0]} lies outside {space}", "clip actions in predict")
    return Verdict(True, f"n observations give actions (n, {', '.join(map(str, space.shape))}), inside the space")


def _within(space: spaces.Space[Any], action: np.ndarray) -> bool:
    return bool(space.contains(action.astype(space.dtype) if space.shape else space.dtype.type(action)))  # type: ignore[union-attr]


def _deterministic_predict_repeats(case: _Case) -> Verdict:
    first, second = case.actions(case.learner, 5), case.actions(case.learner, 5)
    alone = np.concatenate([case.learner.predict(row, deterministic=True)[0] for row in _rows(case.observations(5))])
    if not np.array_equal(first, second):
        return Verdict(False, "deterministic=True gave two answers to one question", "draw nothing when deterministic")
    if not np.allclose(first, alone, rtol=1e-4, atol=1e-5):
        return Verdict(False, "an observation alone gave another action than in a batch", "keep rows independent")
    return Verdict(True, "the same actions twice, in a batch and one by one")


def _rows(observations: Any) -> list[Any]:
    if isinstance(observations, Mapping):
        size = len(next(iter(observations.values())))
        return [{key: value[i : i + 1] for key, value in observations.items()} for i in range(size)]
    return [observations[i : i + 1] for i in range(len(observations))]


def _saved_learners_act_the_same(case: _Case) -> Verdict:
    fix = "save everything that predict depends on, and give the class a `load(path, env=...)`"
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "learner.zip"
        case.learner.save(path)
        if not path.is_file():
            return Verdict(False, f"save({path.name!r}) wrote no file of that name", fix)
        load = type(case.learner).load
        device = {"device": "cpu"} if "device" in inspect.signature(load).parameters else {}
        loaded = load(path, env=case.venv(), **device)
    before, after = case.actions(case.learner, 5), case.actions(loaded, 5)
    if not np.array_equal(before, after):
        return Verdict(False, "after save and load the actions differ", fix)
    if loaded.num_timesteps != case.learner.num_timesteps:
        return Verdict(False, f"num_timesteps is {loaded.num_timesteps} after save and load", fix)
    return Verdict(True, "the same actions after save and load")


def _the_same_seed_trains_the_same(case: _Case) -> Verdict:
    one, other = case.actions(case.trained(), 5), case.actions(case.trained(), 5)
    if not np.array_equal(one, other):
        fix = "draw everything random from generators that the seed of the constructor seeds"
        return Verdict(False, "two trainings with the same seeds gave different actions", fix)
    return Verdict(True, "two trainings with the same seeds: the same actions, bit for bit")


CHECKS: dict[str, Callable[[_Case], Verdict]] = {
    "steps counted": _steps_are_counted,
    "lessons": _a_lesson_vec_env_is_learned_on,
    "callbacks": _callbacks_are_called,
    "predict": _predict_is_batched,
    "deterministic": _deterministic_predict_repeats,
    "save and load": _saved_learners_act_the_same,
    "repeatable": _the_same_seed_trains_the_same,
}
"""Name and function of every check that follows `build`."""
