"""Distillation in one call: an expert in, a run directory with a student out.

    result = rlteach.distill(expert="runs/expert", method="dagger", student="stack", budget=64_000)
    student = result.student

It is a run like any other, whose learner is a method of distillation: `rlteach resume` and the rest work on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from rlteach import environments, registry
from rlteach.delivery import make_vec_env
from rlteach.distillation.base import Distiller
from rlteach.distillation.experts import STUDENT_FILES, Expert, load_expert
from rlteach.distillation.student import Student
from rlteach.distillation.students import load_student
from rlteach.errors import ConfigError, UserError
from rlteach.experiment import config as configuration
from rlteach.experiment.config import RunConfig
from rlteach.experiment.evaluate import evaluate, metrics_of
from rlteach.experiment.run import Result, run
from rlteach.learners.random import RandomLearner
from rlteach.task_space import TaskSpace

BATCH_ENVS, SINGLE_ENVS = 64, 8
"""Environments side by side, with and without a native batch form."""
EVALUATIONS = 10
PROBE_TASKS = 64
"""Tasks on which expert and random actions are compared before anything is trained."""


@dataclass(frozen=True)
class Distilled(Result):
    """A finished distillation; `student` is what came out of it."""

    @cached_property
    def student(self) -> Student:
        """The student, read from the run directory."""
        return load_student(self.directory / STUDENT_FILES)


def distill(
    *,
    expert: str | Path | Callable[..., Any],
    env: str = "",
    method: str = "dagger",
    student: str | Mapping[str, Any] = "mlp",
    budget: int = 64_000,
    student_obs: str = "student",
    expert_obs: str = "",
    expert_normalizer: str = "",
    trust: bool = False,
    teacher: str = "uniform",
    seed: int = 0,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Distilled:
    """Distil an expert into a student that sees its own observations only.

    Args:
        expert: Run directory, SB3 zip, ONNX file, `package.module:function`, or a function that can be imported.
        env: Environment; the expert's own by default.
        method: Name of a method (`rlteach list methods`).
        student: Architecture, or a mapping with `architecture` and its keyword arguments.
        budget: Environment steps that the student may use.
        student_obs: What it sees: a role, or observation groups joined by commas.
        expert_obs: What the expert sees; what it was trained on by default.
        expert_normalizer: File that `VecNormalize.save` wrote, where the expert is an SB3 zip trained under one.
        trust: Whether the expert's file may execute code that it holds.
        teacher: Curriculum teacher that proposes its tasks.
        seed: Seed of everything.
        out: Run directory; `runs/<run id>` by default.
        overrides: Further settings, `{"learner.kwargs.epochs": 8}`.
        quiet: Print no progress.

    Raises:
        UserError: Everything that is wrong, before anything is trained.
    """
    settings = config_of(
        expert=expert,
        env=env,
        method=method,
        student=student,
        budget=budget,
        student_obs=student_obs,
        expert_obs=expert_obs,
        expert_normalizer=expert_normalizer,
        trust=trust,
        teacher=teacher,
        seed=seed,
        overrides=overrides or {},
    )
    if not quiet:
        print(probe(settings).sentence())
    result = run(settings, Path(out) if out else default_out(settings), quiet=quiet)
    return Distilled(result.directory, result.metrics, result.cpu_s)


def default_out(settings: RunConfig) -> Path:
    """Return where a distillation goes that nobody named a directory for."""
    learner = settings.learner
    return Path("runs") / f"{learner.name}-{learner.policy}-s{settings.seed}-{settings.digest()}"


def config_of(
    *,
    expert: str | Path | Callable[..., Any],
    env: str,
    method: str,
    student: str | Mapping[str, Any],
    budget: int,
    student_obs: str,
    expert_obs: str,
    expert_normalizer: str = "",
    trust: bool,
    teacher: str,
    seed: int,
    overrides: Mapping[str, Any],
) -> RunConfig:
    """Return the run configuration of a distillation; see `distill` for the arguments."""
    source = _name_of(expert)
    home = _env_of(source, env)
    architecture, kwargs = _architecture(student)
    cls = registry.load("learner" if "." in method or ":" in method else "method", method)
    if not (isinstance(cls, type) and issubclass(cls, Distiller)):
        raise UserError(
            f"{method!r} is a learner, but no method of distillation: `rlteach list methods` shows them all"
        )
    batch = environments.has_batch_form(home["id"]) and home.get("vec", "auto") in ("auto", "batch")
    settings: dict[str, Any] = {"expert": source, "student_obs": student_obs, "policy_kwargs": kwargs}
    settings |= {"expert_obs": expert_obs} if expert_obs else {}
    settings |= {"expert_normalizer": expert_normalizer} if expert_normalizer else {}
    settings |= {"trust": True} if trust else {}
    data = {
        "env": {**home, "n_envs": BATCH_ENVS if batch else SINGLE_ENVS},
        "teacher": {"name": teacher},
        "learner": {"name": method, "policy": architecture, "kwargs": settings},
        "normalize": {"rewards": cls.scales_rewards},
        "evaluation": {"every": max(1, budget // EVALUATIONS)},
        "steps": budget,
        "seed": seed,
    }
    return configuration.parse(configuration.merge(data, overrides), where="distillation")


@dataclass(frozen=True)
class Probe:
    """What expert and random actions earn on some tasks of the test set.

    Attributes:
        expert: Mean return of the expert.
        random: Mean return of uniformly random actions.
        tasks: Number of tasks.
    """

    expert: float
    random: float
    tasks: int

    def sentence(self) -> str:
        """Return it in words."""
        return f"expert {self.expert:.4g}, random actions {self.random:.4g} (mean return over {self.tasks} tasks)"


def probe(settings: RunConfig) -> Probe:
    """Play expert and random actions on some test tasks.

    Raises:
        UserError: When the expert is no better than random actions: there would be nothing to learn from it.
    """
    kwargs = settings.learner.kwargs
    env = settings.env
    returns = []
    for role in ("expert", "random"):
        venv = make_vec_env(env.id, min(env.n_envs, PROBE_TASKS), env_kwargs=env.kwargs, vec=env.vec)
        try:
            tasks = test_tasks(venv)
            if role == "random":
                model: Any = RandomLearner("", venv, seed=settings.seed)
            else:
                sight, trust = kwargs.get("expert_obs", ""), kwargs.get("trust", False)
                normalizer = kwargs.get("expert_normalizer", "")
                model = _Acting(load_expert(kwargs["expert"], venv, sight=sight, trust=trust, normalizer=normalizer))
            outcomes = evaluate(model, venv, tasks, deterministic=True, seed=settings.seed)
        finally:
            venv.close()
        returns.append(metrics_of(outcomes, 1, "probe")["return/probe"])
    found = Probe(returns[0], returns[1], len(tasks))
    if not found.expert > found.random:
        raise UserError(
            f"the expert is no better than random actions on {env.id}: {found.sentence()}. Look at what it sees "
            f"(--expert-obs), its normaliser and its action scale; --no-probe distils it all the same"
        )
    return found


def test_tasks(venv: VecEnv) -> list[Any]:
    """Return tasks spread over the first test set, or drawn from the task space."""
    offered: Mapping[str, Any] = venv.get_attr("test_sets", [0])[0] if venv.has_attr("test_sets") else {}
    for tasks in offered.values():
        places = np.unique(np.linspace(0, len(tasks) - 1, PROBE_TASKS).round().astype(int))
        return [tasks[place] for place in places]
    if venv.has_attr("task_space"):
        return list(TaskSpace.of(venv.get_attr("task_space", [0])[0]).test_set(PROBE_TASKS, seed=0))
    return [None] * PROBE_TASKS


class _Acting:
    """An expert with the `predict` that an evaluation asks for."""

    def __init__(self, expert: Expert) -> None:
        self.expert = expert

    def predict(self, observation: Any, state: Any, episode_start: Any, deterministic: bool) -> tuple[Any, Any]:
        return self.expert.label(self.expert.view(observation), state, episode_start)


def _name_of(expert: str | Path | Callable[..., Any]) -> str:
    if isinstance(expert, str | Path):
        return str(expert)
    name = f"{getattr(expert, '__module__', '')}:{getattr(expert, '__qualname__', '')}"
    try:
        importable = registry.load("learner", name) is expert
    except UserError:
        importable = False
    if not importable:
        raise UserError(
            f"the expert {expert!r} cannot be imported as {name!r}, so that a run could not be resumed: give a "
            "function at the top of a module, or build the method itself: Dagger('mlp', venv, expert=function)"
        )
    return name


def _env_of(expert: str, env: str) -> dict[str, Any]:
    """Return the environment's part of a configuration: what was asked for, else the expert's own."""
    path = Path(expert)
    own = configuration.load(path / "config.yaml").env if (path / "config.yaml").is_file() else None
    if env and (own is None or own.id != env):
        return {"id": env}
    if own is None and ":" not in expert and not path.exists():
        raise UserError(
            f"there is no expert at {expert}: give a run directory, an SB3 .zip, an .onnx file, or a function"
        )
    if own is None:
        raise ConfigError(["env is missing: the expert is no run directory that would tell it"], where="distillation")
    return {"id": own.id, "kwargs": own.kwargs, "vec": own.vec}


def _architecture(student: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if isinstance(student, str):
        return student, {}
    kwargs = dict(student)
    if "architecture" not in kwargs:
        raise ConfigError([f"student = {dict(student)!r} needs the key 'architecture'"], where="distillation")
    return str(kwargs.pop("architecture")), kwargs
