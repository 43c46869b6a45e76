"""Filling a snapshot store: whole episodes of a policy, or random walks from states that are known already.

    store = SnapshotStore()
    collect(env, policy_of(model), store, critic=critic_of(model))   # S3RL: 10 episodes, a snapshot every 10 steps
    collect(env, None, store)                                        # its control: the same, acting at random

    found = Explorer(env, seed=0).explore(store.snapshot(3), elapsed=30, steps=20, every=5, rng=rng)

S3RL: https://github.com/sdpkjc/snapshotrl. Growing start states by random actions: Florensa et al., "Reverse curriculum
generation for reinforcement learning" (CoRL 2017), section 4.3.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rlteach.critics import critic_values, has_critic
from rlteach.environments import capability
from rlteach.errors import EnvironmentFault, InvalidValue, MissingCapability, UserError
from rlteach.protocols import Snapshot
from rlteach.snapshots.base import set_elapsed, told_success
from rlteach.snapshots.store import SnapshotStore
from rlteach.snapshots.verify import verify

Policy = Callable[[Any], Any]
"""From one observation to one action."""

Critic = Callable[[Any], float]
"""From one observation to the return that is to be expected from there on."""

ENDLESS = 100_000
"""Steps after which an episode that nothing limits is taken for endless."""

COLLECTION = "collection"
"""The role to which `collect` charges its environment steps."""

VERIFIED_STATES = 5
"""States that are tried out before anything is collected."""

RECIPE = """
from rlteach.snapshots.restorable import restorable

env = restorable(env)"""


# -- whole episodes ------------------------------------------------------------------------------------------------


def collect(
    env: gym.Env[Any, Any],
    policy: Policy | None,
    store: SnapshotStore,
    *,
    episodes: int = 10,
    every: int = 10,
    seed: int = 0,
    critic: Critic | None = None,
    max_steps: int | None = None,
    keep: Literal["all", "best"] = "all",
    tasks: Sequence[Any] | None = None,
    verified: bool = False,
) -> None:
    """Play whole episodes and add a snapshot of the reset and of every `every`-th step after it to `store`.

    The state in which an episode ends is never one of them. The defaults are those of S3RL. All steps are charged to
    `store.costs["collection"]`, those of episodes that are not kept too.

    Args:
        env: One environment that offers snapshots, as it will be when students start from them.
        policy: What acts; None draws actions uniformly from the action space.
        store: Where the snapshots go.
        episodes: Number of episodes played.
        every: Environment steps between two snapshots.
        seed: Seed of the first reset, and of the random actions.
        critic: Estimates `Record.value`; None leaves it nan.
        max_steps: Environment steps after which an episode is cut off; None leaves that to the environment.
        keep: `"all"`, or `"best"` for the trajectory with the highest return only (the first of several).
        tasks: Tasks of the episodes, in order and from the first again when there are fewer than episodes; None, or a
            task that is None, leaves it to the environment.
        verified: Whether somebody has seen that the environment's snapshots are exact; else that is tried out here
            first (`verify`), in steps that are not charged; a `Monitor` inside counts their episodes too.

    Raises:
        InvalidValue: For an argument that is out of range, or a store of another environment's snapshots.
        MissingCapability: When the environment offers no snapshots.
        EnvironmentFault: When its snapshots do not bring its states back, when it returns a reward that is not finite,
            or when an episode does not end.
    """
    _check_counts(episodes=episodes, every=every, max_steps=1 if max_steps is None else max_steps)
    if keep not in ("all", "best"):
        raise InvalidValue(f"keep = {keep!r} must be 'all' or 'best'")
    if tasks is not None and not len(tasks):
        raise InvalidValue("tasks = [] must hold a task, or be None")
    _check_offers_snapshots(env)
    if not verified:
        verify(env, n=VERIFIED_STATES, seed=seed)
    store.claim(env)
    act = _random_policy(env.action_space, seed) if policy is None else policy
    end = math.inf if max_steps is None else max_steps
    best: _Trajectory | None = None
    for episode in range(episodes):
        task = None if tasks is None else tasks[episode % len(tasks)]
        first = env.reset(seed=seed if episode == 0 else None, options=None if task is None else {"task": task})[0]
        played = _play(env, first, act, critic, every=every, end=end)
        store.costs[COLLECTION] = store.costs.get(COLLECTION, 0) + len(played.rewards)
        if keep == "all":
            played.add_to(store)
        elif best is None or played.ret > best.ret:
            best = played
    if best is not None:
        best.add_to(store)


@dataclass(slots=True)
class _Trajectory:
    """One episode; `snapshots` and `values` are by the step at which they were taken."""

    rewards: list[float] = field(default_factory=list)
    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    values: dict[int, float] = field(default_factory=dict)
    success: float = math.nan

    @property
    def ret(self) -> float:
        return sum(self.rewards)

    def add_to(self, store: SnapshotStore) -> None:
        episode = store.next_episode
        for step, snapshot in self.snapshots.items():
            store.add(
                snapshot,
                episode=episode,
                step=step,
                remaining=len(self.rewards) - step,
                ret=self.ret,
                success=self.success,
                value=self.values[step],
                to_go=sum(self.rewards[step:]),
            )


def _play(
    env: gym.Env[Any, Any], observation: Any, act: Policy, critic: Critic | None, *, every: int, end: float
) -> _Trajectory:
    take = capability(env, "get_snapshot")
    played = _Trajectory()
    ended = False
    info: dict[str, Any] = {}
    while not ended:
        step = len(played.rewards)
        if step == ENDLESS and math.isinf(end):
            raise EnvironmentFault(
                f"{env} has not ended an episode after {ENDLESS:,} steps, and has no time limit: say when episodes are "
                "cut off while snapshots are collected, max_steps (starts.max_steps in a run)"
            )
        if step % every == 0:
            played.snapshots[step] = take()
            played.values[step] = math.nan if critic is None else float(critic(observation))
        observation, reward, terminated, truncated, info = env.step(act(observation))
        played.rewards.append(_finite(float(reward), env, step))
        ended = terminated or truncated or step + 1 >= end
    played.success = told_success(info)
    return played


def _finite(reward: float, env: gym.Env[Any, Any], step: int) -> float:
    if not math.isfinite(reward):
        raise EnvironmentFault(f"{env} returned the reward {reward} in step {step + 1} while snapshots were collected")
    return reward


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise InvalidValue(f"{name} = {count} must be at least 1")


def _random_policy(space: spaces.Space[Any], seed: int) -> Policy:
    own = copy.deepcopy(space)
    own.seed(seed)
    return lambda _: own.sample()


def _check_offers_snapshots(env: gym.Env[Any, Any]) -> None:
    if not isinstance(env, gym.Env):
        raise UserError(
            f"snapshots are taken from one Gymnasium environment, not from a {type(env).__name__}: "
            "collect(gymnasium.make(...), policy, store)"
        )
    for method in ("get_snapshot", "set_snapshot"):
        if capability(env, method) is None:
            raise MissingCapability(f"`{method}`", where=str(env), recipe=RECIPE)


# -- random walks from a snapshot ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A state that a random walk met.

    Attributes:
        snapshot: The state; None where the episode ended, since nothing can start there.
        steps: Environment steps since the walk's start.
        elapsed: Environment steps of the time limit that are used up here.
        observation: What was observed here.
        ret: Undiscounted return since the walk's start.
        ended: Whether the episode ended here.
    """

    snapshot: Snapshot | None
    steps: int
    elapsed: int
    observation: Any
    ret: float
    ended: bool


class Explorer:
    """Walks at random from snapshots, in an environment of its own.

    Args:
        env: An environment that nobody else plays.
        seed: Seed of its reset before each walk, so that a walk depends on its arguments only.
        sticky: Probability that an action is the one before once more, in [0, 1).

    Attributes:
        steps: Environment steps played so far, replays included (`ActionReplay`), to be charged to the teacher.

    Raises:
        InvalidValue: When `sticky` is out of range.
        MissingCapability: When the environment offers no snapshots.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int, *, sticky: float = 0.0) -> None:
        if not 0.0 <= sticky < 1.0:
            raise InvalidValue(f"sticky = {sticky} must lie in [0, 1)")
        _check_offers_snapshots(env)
        self.env, self.seed, self.sticky = env, seed, sticky
        self.steps = 0

    def explore(
        self, snapshot: Snapshot, *, elapsed: int, steps: int, every: int, rng: np.random.Generator
    ) -> list[Found]:
        """Walk until the episode ends, at most `steps` steps, and return what was met every `every` steps.

        Args:
            snapshot: Where to start.
            elapsed: Environment steps of the time limit that are used up there.
            steps: Length of the walk.
            every: Environment steps between two states that are returned.
            rng: Draws the actions.

        Returns:
            The states met, in order, without the start; the one in which the episode ended comes last, if it did.

        Raises:
            InvalidValue: When `steps` or `every` is less than 1.
            EnvironmentFault: When the environment returns a reward that is not finite.
        """
        _check_counts(steps=steps, every=every)
        actions = self._actions(rng)
        self._start(snapshot, elapsed)
        found: list[Found] = []
        ret = 0.0
        for step in range(1, steps + 1):
            observation, reward, terminated, truncated, _ = self.env.step(next(actions))
            self.steps += 1
            ret += _finite(float(reward), self.env, step)
            ended = terminated or truncated
            if ended or step % every == 0:
                here = None if ended else capability(self.env, "get_snapshot")()
                found.append(Found(here, step, elapsed + step, copy.deepcopy(observation), ret, ended))
            if ended:
                break
        return found

    def _start(self, snapshot: Snapshot, elapsed: int) -> None:
        self.env.reset(seed=self.seed)
        replayed = capability(self.env, "replayed_steps", 0)
        capability(self.env, "set_snapshot")(snapshot)
        self.steps += capability(self.env, "replayed_steps", 0) - replayed
        set_elapsed(self.env, elapsed)

    def _actions(self, rng: np.random.Generator) -> Iterator[Any]:
        space = copy.deepcopy(self.env.action_space)
        space.seed(int(rng.integers(2**31)))
        action = space.sample()
        while True:
            yield action
            if not (self.sticky and rng.random() < self.sticky):
                action = space.sample()


# -- policies and critics of learners ------------------------------------------------------------------------------


def policy_of(model: Any, scale: Callable[[Any], Any] | None = None, *, deterministic: bool = True) -> Policy:
    """Return a callable from one observation to one action, which pickles where the model's policy does.

    Args:
        model: What `load_expert` returned, or anything with the `predict` of Stable-Baselines3.
        scale: What the model's observations went through in training, a function of an observation, such as
            `scale_of(normalizer)` of `rlteach.learners.policy_files`. An expert carries its own.
        deterministic: Whether the mode of the policy is taken. A sample comes from torch's global generator; experts
            are always deterministic.

    Raises:
        InvalidValue: For a policy with memory, an expert that is given a normaliser or asked to sample, something that
            is neither an expert nor a model, or a `VecNormalize` itself as `scale`.
    """
    _refuse_memory(model)
    if hasattr(model, "label"):
        if scale is not None or not deterministic:
            raise InvalidValue(
                f"{type(model).__name__} has its own normaliser and always acts deterministically: policy_of(expert)"
            )
        return _ExpertPolicy(model)
    if not hasattr(model, "predict"):
        raise InvalidValue(f"policy_of needs a model with `predict`, or an expert, not {_described(model)}")
    _check_scale(scale)
    return _ModelPolicy(getattr(model, "policy", model), scale, deterministic)


def critic_of(model: Any, scale: Callable[[Any], Any] | None = None) -> Critic:
    """Return a callable from one observation to what the model's critic expects of the model's own policy.

    V(s) for PPO and A2C; the smallest Q(s, pi(s)) of all critics for SAC, TD3 and DDPG, which is what they learn from.
    It is in units of the rewards that the critic was trained on: under `VecNormalize` not those of the environment.

    Args:
        model: A model of Stable-Baselines3, or what `load_expert` returned for one.
        scale: See `policy_of`.

    Raises:
        InvalidValue: When the model has no critic, or memory.
    """
    _refuse_memory(model)
    policy = getattr(model, "policy", model)
    if not has_critic(policy):
        raise InvalidValue(f"{_described(model)} has no critic; PPO, A2C, SAC, TD3 and DDPG of Stable-Baselines3 have")
    if not hasattr(model, "label"):
        _check_scale(scale)
        return _ModelCritic(policy, scale)
    if scale is not None:
        raise InvalidValue(f"{type(model).__name__} has its own normaliser: critic_of(expert)")
    return _ModelCritic(policy, _ExpertSight(model))


@dataclass(frozen=True)
class _ExpertPolicy:
    expert: Any

    def __call__(self, observation: Any) -> Any:
        actions, _ = self.expert.label(self.expert.view(_batch_of_one(observation)))
        return actions[0]


@dataclass(frozen=True)
class _ModelPolicy:
    policy: Any
    scale: Callable[[Any], Any] | None
    deterministic: bool

    def __call__(self, observation: Any) -> Any:
        seen = observation if self.scale is None else self.scale(observation)
        return self.policy.predict(seen, deterministic=self.deterministic)[0]


@dataclass(frozen=True)
class _ExpertSight:
    """What an expert's policy is given for one observation."""

    expert: Any

    def __call__(self, observation: Any) -> Any:
        seen = self.expert.view(_batch_of_one(observation))
        return seen if self.expert.scale is None else self.expert.scale(seen)


@dataclass(frozen=True)
class _ModelCritic:
    policy: Any
    scale: Callable[[Any], Any] | None

    def __call__(self, observation: Any) -> float:
        return float(critic_values(self.policy, observation if self.scale is None else self.scale(observation))[0])


def _check_scale(scale: Any) -> None:
    if hasattr(scale, "normalize_obs"):
        raise InvalidValue(
            f"a {type(scale).__name__} moves on with training and does not pickle: pass what it does now, "
            "rlteach.learners.policy_files.scale_of(normalizer)"
        )
    if scale is not None and not callable(scale):
        raise InvalidValue(f"the normaliser must be a function of an observation, not {_described(scale)}")


def _batch_of_one(observation: Any) -> Any:
    if isinstance(observation, Mapping):
        return {key: np.asarray(value)[None] for key, value in observation.items()}
    return np.asarray(observation)[None]


def _refuse_memory(model: Any) -> None:
    if getattr(model, "recurrent", False) or hasattr(getattr(model, "policy", model), "lstm_actor"):
        raise InvalidValue(
            f"{_described(model)} has memory, and here one observation must be enough to act on: pass a function that "
            "keeps the memory itself, or a model without"
        )


def _described(model: Any) -> str:
    if isinstance(model, str | Path):
        return f"'{model}' (load a run or a file first: rlteach.distillation.experts.load_expert('{model}', venv))"
    return type(model).__name__
