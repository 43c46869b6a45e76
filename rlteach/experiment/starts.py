"""The start teacher of a run: who collects snapshots for it, where they are kept, and what that costs.

starts: {name: s3rl, policy: runs/expert, episodes: 10, every: 10, kwargs: {until: 10000}}

Snapshots are collected once, before training, in an environment of their own whose restoring is checked first, and kept
in the run directory. Every step of the expert's training, of the collection, and of walks that the teacher takes by
itself is charged; those of the check (`verify`), and of collections that came to nothing, are not.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from rlteach import environments, registry
from rlteach.critics import has_critic
from rlteach.errors import ConfigError, InvalidValue, MissingCapability, RunDirectoryError, UserError, did_you_mean
from rlteach.experiment.config import RunConfig, StartsConfig
from rlteach.protocols import Teacher
from rlteach.snapshots.collect import VERIFIED_STATES, Explorer, collect, critic_of, policy_of
from rlteach.snapshots.restorable import restorable
from rlteach.snapshots.store import INDEX, SnapshotStore
from rlteach.snapshots.verify import verify
from rlteach.teachers.base import NEEDED, class_faults, hyperparameter_faults

SNAPSHOTS = "snapshots"
"""Where a run directory keeps its store."""
RANDOM, ENVIRONMENT = "random", "environment"
"""Players that are no expert: random actions, and the demonstrations that an environment offers itself."""
RESERVED = ("store", "explorer", "guide")
"""What a start teacher is given by the run alone."""

DEMONSTRATION_RECIPE = """class MyEnv:
    def demonstrate(self, observation):  # a hand-written policy
        return action"""


class Starts:
    """Builds a start teacher and keeps account of what its snapshots cost.

    Args:
        run_config: The run, with `starts`.
        path: The run directory.
        tasks: Returns the tasks of that many episodes that are collected, in order; asked only when some are. A task
            that is None leaves it to the environment.
        venv: Environments that an expert's view is checked against.
        seed: Seed of everything here.
        before_episode: Told before each collected episode how many there are already; may raise to end the collection.

    Raises:
        UserError: When the policy, the store or the environment does not fit, before anything is trained.
        EnvironmentFault: When the environment does not come back exactly from a snapshot.
    """

    def __init__(
        self,
        run_config: RunConfig,
        path: Path,
        tasks: Callable[[int], Sequence[Any]],
        venv: VecEnv,
        seed: int,
        *,
        before_episode: Callable[[int], None] = lambda played: None,
    ) -> None:
        assert run_config.starts is not None
        self.config, self.env, self.path, self.seed = run_config.starts, run_config.env, path, seed
        self._tasks, self._before_episode = tasks, before_episode
        self._venv = venv
        self._expert: Any = None
        self._explorer: Explorer | None = None
        self._store: SnapshotStore | None = None
        self.teacher = self._teacher()

    def spent(self) -> dict[str, float]:
        """Return the environment steps of others than the learner, by role."""
        if self._store is None:  # an expert that guides
            spent = {"steps_expert": float(getattr(self._expert, "steps", 0))}
        else:
            spent = {f"steps_{role}": float(self._store.costs.get(role, 0)) for role in ("expert", "collection")}
        if self._explorer is not None:
            spent["steps_teacher"] = float(getattr(self.teacher, "explored", self._explorer.steps))
        return spent

    def _teacher(self) -> Teacher:
        cls = registry.load("start", self.config.name)
        parameters = inspect.signature(cls).parameters
        offered: dict[str, Callable[[], Any]] = {
            "store": self._filled_store,
            "explorer": self._new_explorer,
            "guide": lambda: self._policy(self._new_env()),
            "horizon": self._horizon,
            "seed": lambda: self.seed,
        }
        kwargs = dict(self.config.kwargs)
        for name, make in offered.items():
            if name in parameters and name not in kwargs:
                kwargs[name] = make()
        teacher: Teacher = cls(**kwargs)
        return teacher

    def _new_env(self) -> gym.Env[Any, Any]:
        return restorable(environments.build(self.env.id, **self.env.kwargs))

    def _new_explorer(self) -> Explorer:
        self._explorer = Explorer(self._new_env(), self.seed)
        return self._explorer

    def _horizon(self) -> int:
        env = self._new_env()
        known = environments.capability(env, "horizon") or (
            env.spec.max_episode_steps if env.spec is not None else None
        )
        if known is None:
            raise UserError(
                f"{self.env.id} has no time limit: give starts.kwargs.horizon, the steps of a guided episode"
            )
        return int(known)

    def _filled_store(self) -> SnapshotStore:
        env = self._new_env()
        verify(env, n=VERIFIED_STATES, seed=self.seed, make=self._new_env)
        kept = self.path / SNAPSHOTS
        if (kept / INDEX).is_file():  # else it was never finished: the disk was full, or somebody ended the run
            self._store = self._kept_store(kept)
            self._store.check_env(env)
            return self._store
        if self.config.store:
            self._store = SnapshotStore.load(self.config.store)
            self._store.check_env(env)
        else:
            self._store = self._collected_store(env)
        self._store.save(kept)
        return self._store

    def _kept_store(self, kept: Path) -> SnapshotStore:
        try:
            return SnapshotStore.load(kept)
        except RunDirectoryError as error:
            again = f"copies {self.config.store} again" if self.config.store else "collects the same ones, by its seed"
            raise RunDirectoryError(
                f"{error} This run does it by itself: delete {kept}, then `rlteach resume {self.path}` {again}."
            ) from error

    def _collected_store(self, env: gym.Env[Any, Any]) -> SnapshotStore:
        store = SnapshotStore()
        policy = None if self.config.policy == RANDOM else self._policy(env)
        collect(
            env,
            policy,
            store,
            episodes=self.config.episodes,
            every=self.config.every,
            max_steps=self.config.max_steps,
            seed=self.seed,
            critic=critic_of(self._expert) if self._has_critic() else None,
            tasks=_OneByOne(self._tasks(self.config.episodes), self._before_episode),
            verified=True,
        )
        store.costs["expert"] = int(getattr(self._expert, "steps", 0))
        if store.dropped:
            warnings.warn(
                f"{store.dropped:,} of {store.dropped + len(store):,} snapshots were dropped, since a store holds "
                f"{store.capacity:,}: {len(store.episodes())} of {self.config.episodes} episodes are left. Raise "
                f"starts.every above {self.config.every}, or collect fewer episodes",
                stacklevel=2,
            )
        return store

    def _policy(self, env: gym.Env[Any, Any]) -> Callable[[Any], Any]:
        if self.config.policy == ENVIRONMENT:
            demonstrate: Callable[[Any], Any] | None = environments.capability(env, "demonstrate")
            if demonstrate is None:
                raise MissingCapability("`demonstrate`", where=self.env.id, recipe=DEMONSTRATION_RECIPE)
            return demonstrate
        from rlteach.distillation.experts import load_expert

        source = _expert_place(self.config.policy, self.path.parent)
        self._expert = load_expert(source, self._venv, trust=self.config.trust)
        if not self._expert.steps:
            warnings.warn(
                f"nobody knows how many environment steps {self.config.policy} was trained for: steps_expert is 0, "
                "which is no measurement",
                stacklevel=2,
            )
        return policy_of(self._expert)

    def _has_critic(self) -> bool:
        return has_critic(getattr(self._expert, "policy", None))


class _OneByOne(Sequence[Any]):
    """Tasks that are handed out one by one, before each of which somebody hears how many there were already."""

    def __init__(self, tasks: Sequence[Any], before: Callable[[int], None]) -> None:
        self._tasks, self._before = tasks, before

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, index: Any) -> Any:
        self._before(index)
        return self._tasks[index]


# -- what is wrong, before there is an environment ------------------------------------------------------------------


def start_faults(config: StartsConfig) -> list[str]:
    """Return one sentence for everything wrong with a start teacher's settings, before there is an environment.

    Hyperparameters are checked by building the teacher over made-up snapshots.
    """
    try:
        cls = registry.load("start", config.name)
    except UserError as error:
        return [f"starts.name: {error}"]
    if faults := class_faults("start", config.name, cls, NEEDED):
        return [f"starts.name: {fault}" for fault in faults]
    parameters = inspect.signature(cls).parameters
    return [*_source_faults(config, cls.__name__, parameters), *_kwargs_faults(config, cls, parameters)]


def place_faults(config: StartsConfig, beside: Path) -> list[str]:
    """Return one sentence for the store and for the expert where there is none, or none that may be loaded.

    Not part of `start_faults`, since an expert's run may be planned, and a run that has collected needs neither again.

    Args:
        config: Checked settings.
        beside: The directory in which runs may be named by their ids.
    """
    faults = [f"starts.store: {fault}" for fault in _store_faults(Path(config.store))] if config.store else []
    if config.policy in (RANDOM, ENVIRONMENT):
        return faults
    return faults + [f"starts.policy: {fault}" for fault in _policy_faults(config, beside)]


def _source_faults(config: StartsConfig, name: str, parameters: Mapping[str, Any]) -> list[str]:
    faults = []
    if "guide" in parameters and config.policy == RANDOM:
        faults.append(f"starts.policy = {RANDOM!r} cannot guide: name an expert's run, or {ENVIRONMENT!r}")
    if config.store and "store" not in parameters:
        faults.append(f"starts.store = {config.store!r}: {name} starts from no snapshots; leave it out")
    elif config.store and config.policy != RANDOM and "guide" not in parameters:
        faults.append(
            f"starts.store = {config.store!r} and starts.policy = {config.policy!r}: snapshots come from one of them; "
            "leave out the other"
        )
    return faults


def _kwargs_faults(config: StartsConfig, cls: Any, parameters: Mapping[str, Any]) -> list[str]:
    faults = hyperparameter_faults(cls, config.kwargs, reserved=RESERVED)
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    given = {k: v for k, v in config.kwargs.items() if (takes_all or k in parameters) and k not in RESERVED}
    given = {k: v for k, v in given.items() if k not in getattr(cls, "tied_to_store", ())}
    made_up = {name: make for name, make in _made_up(config).items() if name in parameters and name not in given}
    faults += [
        f"{cls.__name__} needs {p.name!r}, which has no default"
        for p in parameters.values()
        if p.default is p.empty
        and p.name not in {*given, *made_up}
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    try:
        cls(**given, **{name: make() for name, make in made_up.items()})
    except ConfigError as error:
        faults += error.faults
    except InvalidValue as error:
        faults += [] if config.store else [str(error)]  # what is in a store is told when it is read
    except UserError as error:
        faults.append(str(error))
    except Exception:  # it wants more than that; whatever is wrong is told when it is built
        pass
    return [f"starts.kwargs: {fault}" for fault in faults]


def _made_up(config: StartsConfig) -> dict[str, Callable[[], Any]]:
    """Return what stands in for everything that a start teacher is offered in a run, by name."""
    env = _Nowhere()

    def store() -> SnapshotStore:
        filled = SnapshotStore(capacity=2 * config.episodes)
        filled.claim(env)
        value = 0.0 if config.store or _may_have_critic(config.policy) else np.nan
        for episode in range(config.episodes):
            for step in (0, 1):
                told = {"ret": 1.0, "success": 1.0, "value": value, "to_go": 1.0}
                filled.add(env.get_snapshot(), episode=episode, step=step, remaining=2 - step, **told)
        return filled

    return {
        "store": store,
        "explorer": lambda: Explorer(env, 0),
        "guide": lambda: lambda observation: 0,
        "horizon": lambda: 1,
        "seed": lambda: 0,
    }


class _Nowhere(gym.Env[Any, Any]):
    """An environment of which there are snapshots, and nothing to play."""

    observation_space = spaces.Box(0.0, 1.0, (1,))
    action_space = spaces.Discrete(2)

    def get_snapshot(self) -> dict[str, Any]:
        return {"step": 0}

    def set_snapshot(self, snapshot: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        return np.zeros(1, np.float32), {}


def _may_have_critic(policy: str) -> bool:
    is_function = ":" in policy and not policy.endswith(".zip")
    return not (policy in (RANDOM, ENVIRONMENT) or policy.endswith(".onnx") or is_function)


def _store_faults(place: Path) -> list[str]:
    if (place / INDEX).is_file():
        return []
    inner = place / SNAPSHOTS
    if (inner / INDEX).is_file():
        return [f"{place} is a run; its snapshots are in {inner}"]
    return [
        f"there is no snapshot store at {place}: {INDEX} is missing. SnapshotStore.save and runs with starts write one"
    ]


def _expert_place(policy: str, beside: Path) -> str | Path:
    """Return where an expert is: the run of that id in `beside`, if there is one."""
    return beside / policy if (beside / policy / "meta.json").is_file() else policy


def _policy_faults(config: StartsConfig, beside: Path) -> list[str]:
    from rlteach.distillation.experts import STUDENT_FILES
    from rlteach.learners.policy_files import DESCRIPTION

    policy = config.policy
    place = Path(_expert_place(policy, beside))
    if policy and place.is_dir():
        if (place / STUDENT_FILES).is_dir() or (place / DESCRIPTION).is_file():
            return []
        unfinished = (place / "meta.json").is_file() and not (place / "DONE").exists()
        return [f"{place} holds no policy." + (f" It is not finished: rlteach resume {place}" if unfinished else "")]
    if place.suffix in (".zip", ".onnx"):
        if not place.is_file():
            return [f"there is no file {place}"]
        if place.suffix == ".zip" and not config.trust:
            return [
                f"{place} is an SB3 zip, and loading one executes code that it holds. If you trust where it comes "
                "from: starts.trust: true. A run directory of rlteach needs no trust"
            ]
        return []
    if ":" in policy:
        try:
            registry.load("learner", policy)
        except UserError as error:
            return [str(error)]
        return []
    known = [RANDOM, ENVIRONMENT, *(run.parent.name for run in beside.glob("*/meta.json"))]
    return [
        f"there is no {policy!r}.{did_you_mean(policy, known)} It may be {RANDOM}, {ENVIRONMENT}, a run's directory or "
        "id, an SB3 .zip, an .onnx file, or package.module:function"
    ]
