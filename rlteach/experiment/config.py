"""Run configuration: one YAML file or Python value, checked in full before anything is built.

env: {id: rlteach/GoalMaze-v0, n_envs: 64}
teacher: {name: frontier}
learner: {name: stable_baselines3.PPO, kwargs: {n_steps: 128, batch_size: 1024}}
steps: 500000
"""

from __future__ import annotations

import hashlib
import inspect
import json
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import gymnasium as gym
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import rlteach
from rlteach import environments, registry
from rlteach.errors import ConfigError, InvalidValue, UserError, did_you_mean
from rlteach.learners import learner_faults
from rlteach.teachers.base import teacher_faults

SCHEMA = 1
LATER: dict[str, Any] = {
    "observations": "",
    "starts": None,
    "starts.max_steps": None,
    "learner.resets": [],
    "evaluation.n_envs": None,
}
"""Settings that came after the first results, and the value at which they leave a run's hash as it was."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EnvConfig(_Strict):
    """The environment: `id` may also be `module:id` or `file.py:Class`."""

    id: str
    kwargs: dict[str, Any] = Field(default_factory=dict)
    n_envs: int = Field(default=8, ge=1)
    vec: Literal["auto", "batch", "dummy", "subproc"] = "auto"


class TeacherConfig(_Strict):
    """The teacher: a registered name or an import path, and its hyperparameters."""

    name: str = "uniform"
    kwargs: dict[str, Any] = Field(default_factory=dict)


class StartsConfig(_Strict):
    """The start teacher: where episodes begin, from snapshots of whose episodes.

    Attributes:
        name: A registered start teacher (`rlteach list starts`) or an import path.
        kwargs: Its hyperparameters.
        policy: Who plays the episodes: `random`, `environment` (its own demonstrations), or an expert: the directory or
            id of a run, an SB3 zip, an ONNX file, `module:function`.
        episodes: Number of episodes that are collected.
        every: Environment steps between two snapshots.
        max_steps: Environment steps after which a collected episode is cut off; None leaves that to the environment.
        store: Directory of a saved store to use instead.
        trust: Whether the expert's file may execute code that it holds.
    """

    name: str
    kwargs: dict[str, Any] = Field(default_factory=dict)
    policy: str = "random"
    episodes: int = Field(default=10, ge=1)
    every: int = Field(default=10, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    store: str = ""
    trust: bool = False


class LearnerConfig(_Strict):
    """The learner: any class with the Stable-Baselines3 API.

    Attributes:
        name: A registered learner (`rlteach list learners`) or an import path.
        policy: First argument of its constructor.
        kwargs: Its other keyword arguments.
        resets: Shares of the steps after which it loses what it has learned; see `rlteach.experiment.resets`.
    """

    name: str = "stable_baselines3.PPO"
    policy: str = "MlpPolicy"
    kwargs: dict[str, Any] = Field(default_factory=dict)
    resets: tuple[float, ...] = ()


class NormalizeConfig(_Strict):
    """What `VecNormalize` normalises."""

    observations: bool = False
    rewards: bool = False


class EvaluationConfig(_Strict):
    """When, and how, the learner is judged on the environment's fixed test sets.

    Attributes:
        every: Environment steps between evaluations; one more at the end.
        policies: `det`erministic and `sto`chastic actions.
        test_sets: Names of test sets; the environment's own list when empty.
        repeats: Episodes per test task; with two or more the worst-case metrics are reported.
        tasks: Number of uniform test tasks for an environment that has no test set of its own; of episodes, 20 at most,
            for one without tasks.
        n_envs: Environments that episodes are played in side by side, at most; by default as many as the learner has,
            and of a native batch as many as there are tasks.
    """

    every: int = Field(default=100_000, ge=1)
    policies: tuple[Literal["det", "sto"], ...] = ("det",)
    test_sets: tuple[str, ...] = ()
    repeats: int = Field(default=1, ge=1)
    tasks: int = Field(default=100, ge=1)
    n_envs: int | None = Field(default=None, ge=1)


class RunConfig(_Strict):
    """Everything that decides what a run does.

    Attributes:
        observations: What the learner sees: a role (`expert`, `student`), groups joined by commas, or "" for all.
        steps: Environment steps of the learner.
        checkpoint_every: Environment steps between checkpoints; 0 for at each evaluation.
        success_threshold: Return that counts as success where the environment does not say.
        starts: Where episodes begin; None for the ordinary reset.
    """

    schema_version: Literal[1] = 1
    env: EnvConfig
    teacher: TeacherConfig = TeacherConfig()
    learner: LearnerConfig = LearnerConfig()
    normalize: NormalizeConfig = NormalizeConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    steps: int = Field(ge=1)
    seed: int = Field(default=0, ge=0)
    checkpoint_every: int = Field(default=0, ge=0)
    success_threshold: float | None = None
    observations: str = ""
    starts: StartsConfig | None = None

    def to_yaml(self) -> str:
        """Return the resolved configuration as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def digest(self) -> str:
        """Return the hash that identifies the run: configuration with seed, environment version, package version."""
        stated = self.model_dump(mode="json")
        for key, value in LATER.items():
            stated = _without(stated, key, value)
        parts = {
            "config": stated,
            "env": env_version(self.env.id),
            "package": rlteach.__version__,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    def run_id(self) -> str:
        """Return a readable, unique name for the run."""
        names = [self.teacher.name, *([self.starts.name] if self.starts is not None else [])]
        teachers = "-".join(name.rsplit(".", 1)[-1] for name in names)
        return f"{teachers}-s{self.seed}-{self.digest()}"


def _without(data: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return `data` without `key` (`a.b` reaches into mappings, if they are there) where it holds `value`."""
    head, _, rest = key.partition(".")
    if rest:
        return {**data, head: _without(data[head], rest, value)} if data.get(head) else dict(data)
    return {k: v for k, v in data.items() if k != head or v != value}


def env_version(env_id: str) -> str:
    """Return the version that an environment's class declares (`env_version`), without building it."""
    if ".py:" in env_id:
        return "file"
    spec = environments.find_spec(env_id)
    creator: Any = spec.entry_point
    if isinstance(creator, str):
        creator = gym.envs.registration.load_env_creator(creator)
    return str(getattr(creator, "env_version", spec.version if spec.version is not None else 0))


def parse(
    data: Mapping[str, Any], *, where: str = "configuration", lines: Mapping[str, int] | None = None
) -> RunConfig:
    """Return the configuration in `data`, fully checked.

    Raises:
        ConfigError: Every fault: unknown keys with the nearest one, wrong types and ranges, unknown names.
    """
    try:
        config = RunConfig.model_validate(dict(data))
    except ValidationError as error:
        faults = [_sentence(fault, lines or {}) for fault in error.errors()]
        raise ConfigError(faults, where=where) from None
    faults = list(_name_faults(config))
    if faults:
        raise ConfigError(faults, where=where)
    return config


def load(path: str | Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Read a YAML file, or a Python file that defines `CONFIG` (a RunConfig or a dict)."""
    file = Path(path)
    if not file.is_file():
        near = did_you_mean(file.name, [p.name for p in file.parent.glob("*")] if file.parent.is_dir() else [])
        raise UserError(f"there is no configuration file {file}.{near}")
    if file.suffix == ".py":
        data = runpy.run_path(str(file)).get("CONFIG")
        if data is None:
            raise UserError(f"{file} defines no CONFIG (a RunConfig or a dict)")
        plain = data.model_dump(mode="json") if isinstance(data, RunConfig) else data
        if not isinstance(plain, Mapping):
            raise UserError(f"CONFIG in {file} must be a RunConfig or a dict, not {type(plain).__name__}")
        return parse(merge(plain, overrides or {}), where=str(file))
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {error}") from None
    try:
        data = yaml.safe_load(text)
        lines = dict(_key_lines(yaml.compose(text, Loader=yaml.SafeLoader)))
    except yaml.YAMLError as error:
        raise UserError(f"{file} is not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise UserError(f"{file} must hold a mapping with at least `env` and `steps`")
    return parse(merge(data, overrides or {}), where=str(file), lines=lines)


def merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `overrides` laid over it, mapping by mapping; `a.b` reaches into mappings."""
    merged = dict(base)
    for key, value in overrides.items():
        head, _, rest = key.partition(".")
        if rest:
            inner = merged.get(head)
            if inner is not None and not isinstance(inner, Mapping):
                raise InvalidValue(f"cannot set {key}: {head} = {inner!r} is no mapping")
            merged[head] = merge(inner or {}, {rest: value})
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _key_lines(node: Any, path: str = "") -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{path}.{key.value}" if path else str(key.value)
            found += [(name, key.start_mark.line + 1), *_key_lines(value, name)]
    return found


def _sentence(fault: Any, lines: Mapping[str, int]) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    line = f"line {lines[where]}: " if where in lines else ""
    if fault["type"] == "extra_forbidden":
        *parents, key = [str(part) for part in fault["loc"]]
        known = list(_fields_at(parents))
        return f"{line}unknown key {where!r}.{did_you_mean(key, known)} Known here: {', '.join(known)}."
    if fault["type"] == "missing":
        return f"missing key {where!r}"
    return f"{line}{where} = {fault['input']!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def _fields_at(parents: Sequence[str]) -> Sequence[str]:
    model: Any = RunConfig
    for part in parents:
        found = model.model_fields[part].annotation
        model = next((kind for kind in get_args(found) if kind is not type(None)), found)
    return list(model.model_fields)


def _name_faults(config: RunConfig) -> Sequence[str]:
    faults: list[str] = []
    try:
        environments.check_known(config.env.id)
    except UserError as error:
        faults.append(f"env.id: {error}")
    try:
        faults += [f"teacher: {fault}" for fault in teacher_faults(config.teacher.name, config.teacher.kwargs)]
    except UserError as error:
        faults.append(f"teacher.name: {error}")
    if config.starts is not None:
        from rlteach.experiment.starts import start_faults

        faults += start_faults(config.starts)
    learner = learner_faults(config.learner.name, config.learner.kwargs, config.learner.policy)
    if not learner and config.learner.resets:
        from rlteach.experiment.resets import reset_faults

        faults += [f"learner.{fault}" for fault in reset_faults(config.learner.name, config.learner.resets)]
    faults += [f"learner: {fault}" for fault in learner]
    kwargs = config.learner.kwargs
    if not learner and _is_on_policy(config.learner.name):
        faults += _rollout_faults(kwargs, config.env.n_envs)
    gamma = kwargs.get("gamma", 0.99)
    if not isinstance(gamma, int | float) or not 0 <= gamma <= 1:
        faults.append(f"learner.kwargs.gamma = {gamma!r} must lie in [0, 1]")
    return faults


def _rollout_faults(kwargs: Mapping[str, Any], n_envs: int) -> list[str]:
    n_steps, batch_size = kwargs.get("n_steps", 2048), kwargs.get("batch_size", 64)
    sizes = {"n_steps": n_steps, "batch_size": batch_size}
    wrong = [
        f"learner.kwargs.{name} = {size!r} must be a whole number of at least 1"
        for name, size in sizes.items()
        if not isinstance(size, int) or size < 1
    ]
    if wrong or batch_size <= n_steps * n_envs:
        return wrong
    return [
        f"learner.kwargs.batch_size = {batch_size} is larger than a rollout "
        f"(n_steps {n_steps} x n_envs {n_envs} = {n_steps * n_envs})"
    ]


def _is_on_policy(learner: str) -> bool:
    return "gae_lambda" in inspect.signature(registry.load("learner", learner)).parameters
