"""The start teacher of a run: who collects snapshots for it, where they are kept, and what that costs.

starts: {name: s3rl, policy: runs/expert, episodes: 10, every: 10, kwargs: {until: 10000}}

Snapshots are collected once, before training, in an environment of their own whose restoring is checked first, and kept
in the run directory. Every step of the expert's training, of the collection, and of walks that the teacher takes by
itself is charged.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
from stable_baselines3.common.vec_env import VecEnv

from rlteach import environments, registry
from rlteach.errors import MissingCapability, UserError
from rlteach.experiment.config import RunConfig, StartsConfig
from rlteach.protocols import Teacher
from rlteach.snapshots.collect import Explorer, collect, critic_of, policy_of
from rlteach.snapshots.restorable import restorable
from rlteach.snapshots.store import INDEX, SnapshotStore
from rlteach.snapshots.verify import verify
from rlteach.teachers.base import hyperparameter_faults

SNAPSHOTS = "snapshots"
"""Where a run directory keeps its store."""
RANDOM, ENVIRONMENT = "random", "environment"
"""Players that are no expert: random actions, and the demonstrations that an environment offers itself."""
VERIFIED_STATES = 5

DEMONSTRATION_RECIPE = """class MyEnv:
    def demonstrate(self, observation):  # a hand-written policy
        return action"""


class Starts:
    """Builds a start teacher and keeps account of what its snapshots cost.

    Args:
        run_config: The run, with `starts`.
        path: The run directory.
        tasks: Tasks of the episodes that are collected, in order; None leaves them to the environment.
        venv: Environments that an expert's view is checked against.
        seed: Seed of everything here.

    Raises:
        UserError: When the policy, the store or the environment does not fit, before anything is trained.
        EnvironmentFault: When the environment does not come back exactly from a snapshot.
    """

    def __init__(self, run_config: RunConfig, path: Path, tasks: Sequence[Any], venv: VecEnv, seed: int) -> None:
        assert run_config.starts is not None
        self.config, self.env, self.path, self.seed = run_config.starts, run_config.env, path, seed
        self.tasks = tasks
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
        verify(env, n=VERIFIED_STATES, seed=self.seed)
        kept = self.path / SNAPSHOTS
        if (kept / INDEX).is_file():  # else it was never finished: the disk was full, or somebody ended the run
            self._store = SnapshotStore.load(kept)
            self._store.check_env(env)
            return self._store
        if self.config.store:
            self._store = SnapshotStore.load(self.config.store)
            self._store.check_env(env)
        else:
            self._store = SnapshotStore()
            policy = None if self.config.policy == RANDOM else self._policy(env)
            critic = critic_of(self._expert) if self._has_critic() else None
            collect(
                env,
                policy,
                self._store,
                episodes=self.config.episodes,
                every=self.config.every,
                max_steps=self.config.max_steps,
                seed=self.seed,
                critic=critic,
                tasks=self.tasks,
            )
            self._store.costs["expert"] = int(getattr(self._expert, "steps", 0))
        self._store.save(kept)
        return self._store

    def _policy(self, env: gym.Env[Any, Any]) -> Callable[[Any], Any]:
        if self.config.policy == ENVIRONMENT:
            demonstrate: Callable[[Any], Any] | None = environments.capability(env, "demonstrate")
            if demonstrate is None:
                raise MissingCapability("`demonstrate`", where=self.env.id, recipe=DEMONSTRATION_RECIPE)
            return demonstrate
        if self.config.policy == RANDOM:
            raise UserError("starts.policy = 'random' cannot guide: name an expert's run, or 'environment'")
        from rlteach.distillation.experts import load_expert

        beside = self.path.parent / self.config.policy
        source = beside if (beside / "meta.json").is_file() else self.config.policy
        self._expert = load_expert(source, self._venv, trust=self.config.trust)
        return policy_of(self._expert)

    def _has_critic(self) -> bool:
        policy = getattr(self._expert, "policy", None)
        return hasattr(policy, "predict_values") or getattr(policy, "critic", None) is not None


def start_faults(config: StartsConfig) -> list[str]:
    """Return one sentence for everything wrong with a start teacher's settings, before there is an environment."""
    try:
        cls = registry.load("start", config.name)
    except UserError as error:
        return [f"starts.name: {error}"]
    faults = hyperparameter_faults(cls, config.kwargs, reserved=["store", "explorer", "guide"])
    return [f"starts.kwargs: {fault}" for fault in faults]
