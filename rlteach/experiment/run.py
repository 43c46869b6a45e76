"""A run: a resolved configuration in, a run directory out.

    result = run(load("config.yaml"), "runs/mine")
    result = resume("runs/mine")

A run directory holds `config.yaml`, `meta.json`, `task_space.json`, `lessons.csv` (what was proposed and what became of
it), `evals.csv` (every test episode), `metrics.jsonl` (a line per evaluation), `teacher.jsonl` (what the teacher had in
mind at each evaluation, where it has a portrait), `checkpoints/`, `learner.zip` (as the learner's class saves it;
`normalizer.json` beside it), and `DONE` or `FAILED`.
"""

from __future__ import annotations

import inspect
import json
import os
import platform
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

import rlteach
from rlteach import environments, registry
from rlteach.delivery import LessonVecEnv, TeacherCallback, attach, make_vec_env
from rlteach.errors import ConfigError, MissingCapability, RlteachError, RunDirectoryError, UserError
from rlteach.experiment import checkpoint, config
from rlteach.experiment.config import RunConfig, env_version
from rlteach.experiment.evaluate import evaluate, metrics_of
from rlteach.experiment.progress import Progress
from rlteach.experiment.recording import Recorded, recorded_tasks
from rlteach.experiment.resets import Resets
from rlteach.experiment.rollouts import Rollouts
from rlteach.experiment.second_student import SecondStudent, Student, check_second_student
from rlteach.experiment.seeding import Seeds
from rlteach.experiment.starts import Starts, place_faults
from rlteach.files import Table, read_json, write_atomically, write_json
from rlteach.learners import make_learner
from rlteach.learners.policy_files import save_policy
from rlteach.observations import View, ViewVecEnv
from rlteach.protocols import Teacher
from rlteach.task_space import TaskSpace
from rlteach.teachers.base import make_teacher
from rlteach.teachers.compose import Compose

SCHEMA = 1
EVAL_COLUMNS = ("step", "set", "policy", "index", "ret", "success", "length")
MOST_ALIKE = 20
"""Episodes of an evaluation, at most, where no task tells one from another."""
BATCH_EVALUATION_ENVS = 512

OFFERED = ("return_range", "oracle_window", "edit_task")
"""Hyperparameters that a teacher gets from the environment, when it takes them and the environment offers them."""


DOUBTFUL_EPISODES = 20
"""Episodes without a word of success after which a teacher that decides by success is doubted."""


class Interrupted(RlteachError):
    """The run was asked to stop; it has been checkpointed, or had nothing yet to be kept."""


@dataclass(frozen=True)
class Result:
    """What a finished run reports.

    Attributes:
        directory: The run directory.
        metrics: Metrics of the last evaluation.
        cpu_s: CPU seconds of the whole run, evaluation included.
    """

    directory: Path
    metrics: dict[str, float]
    cpu_s: float


def run(
    run_config: RunConfig,
    directory: str | Path,
    *,
    quiet: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Train from the beginning, or go on where the directory stands.

    Args:
        run_config: What to do.
        directory: The run directory; made when missing. A finished run of the same configuration returns at once.
        quiet: Print no progress.
        stop: Asked at every rollout; True checkpoints and raises `Interrupted`. Asked before each episode, too, from
            which snapshots are collected; they are not kept then.

    Raises:
        ConfigError: When the expert or the store of a start teacher is not there; nothing has been written then.
        RunDirectoryError: When the directory belongs to another configuration or cannot be written.
        Interrupted: When `stop` asked for it.
    """
    path = Path(directory)
    if run_config.starts is not None and not (path / "meta.json").exists():
        if faults := place_faults(run_config.starts, path.parent):
            raise ConfigError(faults)
    done = _prepare_directory(run_config, path)
    if done is not None:
        return done
    torch.set_num_threads(1)
    training = _Training(run_config, path, quiet=quiet, stop=stop)
    try:
        training.build()
        result = training.play()
    except Interrupted:
        raise
    except BaseException as error:
        _write_failure(path, error)
        raise
    finally:
        training.close()
    write_json(path / "DONE", {"schema": SCHEMA, "metrics": result.metrics, "cpu_s": result.cpu_s})
    return result


def resume(directory: str | Path, *, quiet: bool = False, stop: Callable[[], bool] = lambda: False) -> Result:
    """Go on with a run from nothing but its directory."""
    path = Path(directory)
    if not path.is_dir():
        raise RunDirectoryError(f"there is no run directory {path}; `rlteach run CONFIG` starts one")
    if not (path / "meta.json").exists():
        raise RunDirectoryError(
            f"{path} holds no run that was begun (no meta.json); `rlteach run CONFIG --out {path}` begins one"
        )
    meta = _read_meta(path)
    if meta.get("schema") != SCHEMA:
        raise RunDirectoryError(
            f"{path} has schema {meta.get('schema')!r}; this version of rlteach reads schema {SCHEMA}"
        )
    return run(config.load(path / "config.yaml"), path, quiet=quiet, stop=stop)


def _prepare_directory(run_config: RunConfig, path: Path) -> Result | None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(f"cannot make the run directory {path}: {error.strerror}") from error
    if (path / "meta.json").exists():
        meta = _read_meta(path)
        if meta.get("config_hash") != run_config.digest():
            raise RunDirectoryError(
                f"{path} holds a run of another configuration, environment version or rlteach "
                f"({meta.get('package_version')}); choose another directory, or remove it"
            )
        if (path / "DONE").exists():
            done = read_json(path / "DONE")
            return Result(path, done["metrics"], done["cpu_s"])
        (path / "FAILED").unlink(missing_ok=True)
        return None
    if not _is_ours(path, run_config):
        raise RunDirectoryError(f"{path} is not empty and holds no meta.json; choose another directory")
    write_atomically(path / "config.yaml", run_config.to_yaml())
    write_json(path / "meta.json", _meta(run_config))
    return None


def _read_meta(path: Path) -> dict[str, Any]:
    meta = read_json(path / "meta.json")
    if not isinstance(meta, dict):
        raise RunDirectoryError(f"{path / 'meta.json'} is damaged: it holds no mapping; choose another directory")
    return meta


def _is_ours(path: Path, run_config: RunConfig) -> bool:
    """Tell whether a directory without meta.json is empty, or was left by a kill between its first two files."""
    begun = path / "config.yaml"
    leftovers = {*path.glob(".config.yaml.*.tmp"), *path.glob(".meta.json.*.tmp")}
    if begun.is_file() and begun.read_bytes() == run_config.to_yaml().encode():
        leftovers.add(begun)
    return set(path.iterdir()) == leftovers


def _meta(run_config: RunConfig) -> dict[str, Any]:
    packages = ("torch", "stable-baselines3", "gymnasium", "numpy", "scikit-learn", "scipy")
    return {
        "schema": SCHEMA,
        "run_id": run_config.run_id(),
        "config_hash": run_config.digest(),
        "env_version": env_version(run_config.env.id),
        "package_version": rlteach.__version__,
        "versions": {name: metadata.version(name) for name in packages} | {"python": platform.python_version()},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "resumed": [],
    }


def _write_failure(path: Path, error: BaseException) -> None:
    try:
        text = "".join(traceback.format_exception(error))
        write_atomically(path / "FAILED", f"{type(error).__name__}: {error}\n\n{text}")
    except RunDirectoryError:  # the error itself matters more than the note about it
        pass


class _Training:
    """The parts of one run, and the order in which they are built and played."""

    def __init__(self, run_config: RunConfig, path: Path, *, quiet: bool, stop: Callable[[], bool]) -> None:
        self.config, self.path, self.stop = run_config, path, stop
        self.seeds = Seeds.of(run_config.seed)
        self.gamma = float(run_config.learner.kwargs.get("gamma", 0.99))
        self.progress = Progress(run_config.steps, quiet=quiet)
        self._open: list[Any] = []
        self._doubted_success = False
        self._cpu_before = 0.0
        self._cpu_start = time.process_time()

    def build(self) -> None:
        """Build environments, teacher and learner."""
        env = self.config.env
        base = self._vec_env(env.n_envs)
        space = base.get_attr("task_space", [0])[0] if base.has_attr("task_space") else None
        names = _Named(base)
        self.task_space = None if space is None else TaskSpace.of(space, names)
        teacher = _build_teacher(self.config, self.task_space, base, self.seeds.teacher, self.path)
        if self.task_space is not None:
            write_json(self.path / "task_space.json", self.task_space.describe())
        task_teacher: Any = teacher
        self.second_student = None
        if getattr(task_teacher, "wants_second_student", False):
            self.second_student = task_teacher.second_student = self._second_student(type(teacher).__name__)
        self.starts = None
        if self.config.starts is not None:
            self.starts = self._start_teacher(teacher, base)
            teacher = Compose(teacher, self.starts.teacher, keep_tasks=not base.has_attr("set_task"))
        self.recorded = Recorded(teacher, self.task_space, self.path / "lessons.csv")
        self._open.append(self.recorded.table)
        base.seed(self.seeds.environments)
        self.view = View.of(base, self.config.observations) if self.config.observations else None
        student = self._student(base, self.recorded, self.seeds.learner)
        self.model, self.venv = student.model, student.venv
        self.lesson_venv, self.normalizer = student.lesson_venv, student.normalizer
        self.rollouts = None
        start_teacher: Any = None if self.starts is None else self.starts.teacher
        for playing in (task_teacher, start_teacher):
            if getattr(playing, "wants_rollouts", False):
                self.rollouts = playing.rollouts = self.rollouts or self._rollouts()
        self.resets = Resets(self.config.learner.resets, self.config.steps, self.seeds.learner)
        self.judge = _Judge(self)

    def _student(self, base: VecEnv, teacher: Teacher, seed: int) -> Student:
        """Build a learner as configured on `base`, taught by `teacher`."""
        lesson_venv = self._attach(base, teacher)
        seen = lesson_venv if self.view is None else ViewVecEnv(lesson_venv, self.view)
        venv, normalizer = self._normalized(seen)
        learner = self.config.learner
        kwargs = with_expert_found(learner.kwargs, self.path.parent)
        model = make_learner(learner.name, venv, policy=learner.policy, kwargs=kwargs, seed=seed)
        return Student(model, venv, lesson_venv, normalizer)

    def _second_student(self, teacher: str) -> SecondStudent:
        check_second_student(teacher, self.config.learner.name)
        seeds = Seeds.of(self.seeds.rollouts)  # as different from the run's as those of another run
        return SecondStudent(
            lambda first: self._student(self._vec_env(self.config.env.n_envs), first, seeds.learner),
            seed=seeds.rollouts,
            steps=self.config.steps,
        )

    def _rollouts(self) -> Rollouts:
        return Rollouts(
            self.model,
            partial(self._vec_env, self.config.env.n_envs),
            seed=self.seeds.rollouts,
            gamma=self.gamma,
            success_threshold=self.config.success_threshold,
            normalizer=self.normalizer,
            view=self.view,
        )

    def _start_teacher(self, teacher: Teacher, venv: VecEnv) -> Starts:
        def tasks(episodes: int) -> list[Any]:
            """Return the tasks that the learner would be set: of a twin, lest lessons of the teacher itself be lost."""
            twin: Any = _build_teacher(self.config, self.task_space, venv, self.seeds.teacher, self.path)
            twin.second_student = getattr(teacher, "second_student", None)
            return [lesson.task for lesson in twin.propose(episodes)]

        def stop_if_asked(played: int) -> None:
            if self.stop():
                assert self.config.starts is not None
                raise Interrupted(
                    f"stopped after {played} of {self.config.starts.episodes} episodes that snapshots are collected "
                    f"from, before any was kept; collect them anew with: rlteach resume {self.path}"
                )

        return Starts(self.config, self.path, tasks, venv, self.seeds.starts, before_episode=stop_if_asked)

    def _vec_env(self, n_envs: int) -> VecEnv:
        env = self.config.env
        restorable = self.config.starts is not None
        venv = make_vec_env(env.id, n_envs, env_kwargs=env.kwargs, vec=env.vec, restorable=restorable)
        self._open.append(venv)
        return venv

    def _attach(self, base: VecEnv, teacher: Teacher) -> LessonVecEnv:
        return attach(base, teacher, gamma=self.gamma, success_threshold=self.config.success_threshold)

    def _normalized(self, venv: VecEnv) -> tuple[VecEnv, VecNormalize | None]:
        normalize = self.config.normalize
        if not (normalize.observations or normalize.rewards):
            return venv, None
        wrapped = VecNormalize(venv, norm_obs=normalize.observations, norm_reward=normalize.rewards, gamma=self.gamma)
        return wrapped, wrapped

    def play(self) -> Result:
        """Train from the newest checkpoint, or from the beginning, to the end."""
        found = checkpoint.latest(self.path / "checkpoints")
        if found is None:
            self.recorded.restart()
            self.judge.restart()
        else:
            self._continue_from(*found)
        hooks: list[BaseCallback] = [_RunCallback(self)]
        if self.recorded.needs:
            hooks.append(TeacherCallback(self.recorded))
        remaining = self.config.steps - self.model.num_timesteps
        if remaining > 0:
            self.model.learn(remaining, callback=hooks, reset_num_timesteps=found is None)
        if self.judge.last_step < self.model.num_timesteps:
            self.judge.judge(self.model.num_timesteps)
        self.save()
        self._save_learner()
        self.progress.finish(self._line())
        return Result(self.path, self.judge.metrics, self.cpu_s())

    def _continue_from(self, step: int, state: dict[str, Any]) -> None:
        checkpoint.restore(self.model, self.venv, state["training"], seed=(self.seeds.environments + step) % 2**31)
        self.judge.load_state_dict(state["judge"])
        self.resets.done = int(state.get("resets", 0))
        if self.rollouts is not None:
            self.rollouts.load_state_dict(state["rollouts"])
        if self.second_student is not None:
            self.second_student.load_state_dict(state["second_student"])
        self._cpu_before = float(state["cpu_s"])
        meta = read_json(self.path / "meta.json")
        exact = checkpoint.is_exact(self.model, state["training"])
        meta["resumed"].append({"step": step, "exact": exact})
        write_json(self.path / "meta.json", meta)
        how = "bit-exactly" if exact else "approximately (these environments cannot be restored: new episodes begin)"
        self.progress.say(f"resuming {how} at step {step:,}")

    def save(self) -> None:
        """Write a checkpoint of everything."""
        state = {
            "training": checkpoint.capture(self.model, self.venv),
            "judge": self.judge.state_dict(),
            "resets": self.resets.done,
            "rollouts": None if self.rollouts is None else self.rollouts.state_dict(),
            "second_student": None if self.second_student is None else self.second_student.state_dict(),
            "cpu_s": self.cpu_s(),
        }
        checkpoint.save(self.path / "checkpoints", self.model.num_timesteps, state)

    def _save_learner(self) -> None:
        """Write the learner as its own class saves it, and what its observations were normalised with."""
        self.model.save(self.path / getattr(self.model, "file_name", "learner.zip"))
        view = None if self.view is None else self.view.describe()
        save_policy(self.model, self.path, name=self.config.learner.name, view=view, normalizer=self.normalizer)
        if self.normalizer is not None:
            statistics = checkpoint.normalizer_statistics(self.normalizer)
            write_json(
                self.path / "normalizer.json", {"schema": SCHEMA, "epsilon": self.normalizer.epsilon, **statistics}
            )

    def spent(self) -> dict[str, float]:
        """Return what the learner used besides its own steps: environment steps by other roles, labels."""
        spent = dict(self.model.budget()) if hasattr(self.model, "budget") else {}
        played = [part.steps for part in (self.rollouts, self.second_student) if part is not None]
        if played:
            spent["steps_teacher"] = float(sum(played))
        if self.starts is not None:
            spent |= {"steps_roll_in": float(self.lesson_venv.steps_rolled_in)}
            for role, steps in self.starts.spent().items():
                spent[role] = spent.get(role, 0.0) + steps
        return spent

    def cpu_s(self) -> float:
        """Return the CPU seconds spent on this run so far, over all its sittings."""
        return self._cpu_before + time.process_time() - self._cpu_start

    def doubt_success(self) -> None:
        """Warn, once, of a start teacher that decides by success where nobody has told any in its first episodes."""
        teacher: Any = None if self.starts is None else self.starts.teacher
        if self._doubted_success or not getattr(teacher, "decides_by_success", False):
            return
        if self.recorded.episodes < DOUBTFUL_EPISODES:
            return
        self._doubted_success = True
        if not self.lesson_venv.tells_success and self.lesson_venv.success_threshold is None:
            name = type(teacher).__name__
            warnings.warn(
                f"{name} decides by success, and nobody told any in the first {self.recorded.episodes} episodes: it "
                "goes by the rank of a return among recent ones. State success_threshold, or let `info` hold is_success"
                + (", or give starts.kwargs.score: return" if hasattr(teacher, "score") else ""),
                stacklevel=2,
            )

    def show(self) -> None:
        """Update the live line."""
        self.progress.update(self.model.num_timesteps, self._line)

    def _line(self) -> str:
        recent = self.recorded.recent
        if not recent:
            return "no episode finished yet"
        ret = sum(r for r, _ in recent) / len(recent)
        success = sum(s for _, s in recent) / len(recent)
        return f"{self.recorded.episodes:,} episodes, return {ret:.3g}, success {success:.2f}"

    def close(self) -> None:
        """Close environments and files; safe to call twice."""
        self.progress.close()
        while self._open:
            part = self._open.pop()
            try:
                part.close()
            except (OSError, EOFError):  # a VecEnv whose worker was killed cannot be told to close
                for process in getattr(part, "processes", ()):
                    process.terminate()
                    process.join()


class _Named:
    """Names and units that the environments of a VecEnv offer for their task space."""

    def __init__(self, venv: VecEnv) -> None:
        for name in ("task_names", "task_units"):
            setattr(self, name, venv.get_attr(name, [0])[0] if venv.has_attr(name) else None)


def _build_teacher(run_config: RunConfig, task_space: TaskSpace | None, venv: VecEnv, seed: int, path: Path) -> Teacher:
    name, kwargs = run_config.teacher.name, dict(run_config.teacher.kwargs)
    if task_space is None:
        if name != "uniform":
            raise MissingCapability("`task_space`", where=run_config.env.id, recipe=environments.TASK_RECIPE)
        from rlteach.teachers.no_tasks import NoTasks

        return NoTasks()
    parameters = inspect.signature(registry.load("teacher", name)).parameters
    for offered in OFFERED:
        if offered in parameters and offered not in kwargs:
            if venv.has_attr(offered):
                kwargs[offered] = venv.get_attr(offered, [0])[0]
            elif parameters[offered].default is inspect.Parameter.empty:
                recipe = (
                    f"class MyEnv:\n    def {offered}(self, progress, rng): return task  # progress from 0 (easy) to 1"
                )
                raise MissingCapability(f"`{offered}`", where=run_config.env.id, recipe=recipe)
    if "seed" in parameters:
        kwargs.setdefault("seed", seed)
    if isinstance(kwargs.get("lessons"), str):
        kwargs["lessons"] = recorded_tasks(_lessons_file(kwargs["lessons"], path), task_space)
    return make_teacher(name, task_space, **kwargs)


def _lessons_file(text: str, path: Path) -> Path:
    """Find the lessons of another run: a CSV file, a run directory, or the id of a run beside this one."""
    for candidate in (Path(text), Path(text) / "lessons.csv", path.parent / text / "lessons.csv"):
        if candidate.is_file():
            return candidate
    raise UserError(f"there are no lessons to replay at {text!r}: give a lessons.csv, a run directory, or a run id")


def with_expert_found(kwargs: Mapping[str, Any], beside: Path) -> dict[str, Any]:
    """Return a learner's keyword arguments, an expert named by the id of a run in `beside` replaced by its path."""
    expert = kwargs.get("expert")
    if isinstance(expert, str) and (beside / expert / "meta.json").is_file():
        return {**kwargs, "expert": str(beside / expert)}
    return dict(kwargs)


class _Judge:
    """Evaluates on the environment's test sets and writes `evals.csv` and `metrics.jsonl`."""

    def __init__(self, training: _Training) -> None:
        self.training = training
        self.config = training.config.evaluation
        env = training.config.env
        probe = training.lesson_venv
        self.test_sets = self._choose_sets(probe)
        largest = max(len(tasks) for tasks in self.test_sets.values()) * self.config.repeats
        batch = environments.has_batch_form(env.id) and env.vec in ("auto", "batch")
        most = self.config.n_envs or (BATCH_EVALUATION_ENVS if batch else env.n_envs)
        self.venv = training._vec_env(min(largest, most))
        names = training.task_space.names if training.task_space is not None else ()
        self.table = Table(training.path / "evals.csv", [*EVAL_COLUMNS, *(f"task/{name}" for name in names)])
        training._open.append(self.table)
        self.lines = training.path / "metrics.jsonl"
        self.metrics: dict[str, float] = {}
        self.last_step = -1

    def _choose_sets(self, venv: VecEnv) -> dict[str, Sequence[Any]]:
        space = self.training.task_space
        offered: dict[str, Sequence[Any]] = venv.get_attr("test_sets", [0])[0] if venv.has_attr("test_sets") else {}
        if not offered:
            offered = {
                "test": [None] * min(self.config.tasks, MOST_ALIKE)
                if space is None
                else space.test_set(self.config.tasks, seed=0)
            }
        unknown = [name for name in self.config.test_sets if name not in offered]
        if unknown:
            raise ConfigError(
                [f"evaluation.test_sets: there is no {name!r}; known: {', '.join(offered)}" for name in unknown]
            )
        return {name: offered[name] for name in self.config.test_sets or offered}

    def due(self, step: int) -> bool:
        """Tell whether an evaluation should happen now."""
        return step > 0 and step // self.config.every > max(self.last_step, 0) // self.config.every

    def judge(self, step: int) -> None:
        """Evaluate every test set with every policy, and write it down."""
        training = self.training
        self.metrics = {}
        normalizer = training.normalizer if training.config.normalize.observations else None
        for set_name, tasks in self.test_sets.items():
            for policy in self.config.policies:
                outcomes = evaluate(
                    training.model,
                    self.venv,
                    tasks,
                    deterministic=policy == "det",
                    seed=training.seeds.evaluation,
                    repeats=self.config.repeats,
                    gamma=training.gamma,
                    success_threshold=training.config.success_threshold,
                    normalizer=normalizer,
                    view=training.view,
                )
                self.metrics |= metrics_of(outcomes, self.config.repeats, f"{set_name}/{policy}")
                for index, outcome in enumerate(outcomes):
                    task = tasks[index % len(tasks)]
                    row = [
                        step,
                        set_name,
                        policy,
                        index,
                        f"{outcome.ret:.6g}",
                        f"{outcome.success:.6g}",
                        outcome.length,
                    ]
                    vector: Any = [] if training.task_space is None else training.task_space.to_vector(task)
                    self.table.append([*row, *(f"{v:.6g}" for v in vector)])
        self.last_step = step
        record = {
            "step": step,
            "episodes": training.recorded.episodes,
            "cpu_s": round(training.cpu_s(), 2),
            "steps_learner": step,
            "steps_teacher": 0,
            **training.spent(),
            "metrics": self.metrics,
        }
        with self.lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        training.recorded.portray(step)

    def restart(self) -> None:
        """Forget what an earlier, unfinished sitting without a checkpoint wrote."""
        self.lines.unlink(missing_ok=True)
        self.table.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return how far the files reach."""
        lines = self.lines.stat().st_size if self.lines.exists() else 0
        return {"last_step": self.last_step, "metrics": self.metrics, "table": self.table.size(), "lines": lines}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Cut the files back to where they were."""
        self.last_step, self.metrics = int(state["last_step"]), dict(state["metrics"])
        self.table.truncate(int(state["table"]))
        if self.lines.exists():
            os.truncate(self.lines, int(state["lines"]))


class _RunCallback(BaseCallback):
    """At the start of a rollout: evaluate, checkpoint, or stop."""

    def __init__(self, training: _Training) -> None:
        super().__init__()
        self.run = training
        every = training.config.checkpoint_every
        self._every = every or training.config.evaluation.every
        self._next_save = self._every * (training.model.num_timesteps // self._every + 1)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        step = self.model.num_timesteps
        if self.run.judge.due(step) and step < self.run.config.steps:
            self.run.judge.judge(step)
        if self.run.stop():
            self.run.save()
            raise Interrupted(f"stopped at step {step:,}; go on with: rlteach resume {self.run.path}")
        if step >= self._next_save:
            self.run.save()
            self._next_save = self._every * (step // self._every + 1)
        self.run.resets.reset_if_due(self.model, step)
        self.run.doubt_success()
        self.run.show()


def remove_checkpoints(path: Path) -> None:
    """Remove the checkpoints of a finished run."""
    shutil.rmtree(path / "checkpoints", ignore_errors=True)
