"""A proof by trial that the snapshots of an environment are exact.

print(verify(restorable(gym.make("Hopper-v5"))))

Snapshots fail silently: `copy.deepcopy` and pickling of Gymnasium's MuJoCo and Box2D environments give an environment
that was rebuilt from its constructor's arguments, and training on it looks like training from ordinary resets.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TimeLimit

from rlteach.errors import EnvironmentFault, InvalidValue
from rlteach.snapshots.action_replay import ActionReplay
from rlteach.snapshots.base import Restorable, copied, layers_of
from rlteach.snapshots.restorable import capture, restore

DISTRACTION = 25
"""Steps of the other episode that is played before a state is restored for the second time."""


@dataclass(frozen=True)
class Report:
    """What `verify` measured.

    Attributes:
        exact: Whether everything that was played again was equal bit by bit.
        largest_difference: Largest absolute difference of an observation or a reward, in their own units.
        states: Number of states that were captured; each was restored twice.
        mean_bytes: Mean size of a captured state, in bytes.
        save_us: Median time of `capture`, in microseconds.
        restore_us: Median time of `restore`, in microseconds.
    """

    exact: bool
    largest_difference: float
    states: int
    mean_bytes: float
    save_us: float
    restore_us: float


def verify(env: gym.Env[Any, Any], n: int = 20, actions: int = 100, seed: int = 0, tolerance: float = 0.0) -> Report:
    """Demand that an environment goes on from a restored state as it went on from the state itself.

    Random actions lead to `n` random moments. From each on, steps are played and recorded, with an ordinary reset
    wherever an episode ends; then the moment is restored and the same actions are played again, and once more after a
    part of another episode. Observations, rewards, `terminated` and `truncated` must be equal. The counters of
    `TimeLimit` are put back here, as the delivery of lessons does it.

    Args:
        env: An environment that offers snapshots; it is left somewhere in an episode.
        n: Number of moments.
        actions: Number of steps that are compared for each.
        seed: Seed of the environment's first reset and of all choices here.
        tolerance: Largest absolute difference of an observation or a reward that passes; at 0 every bit must be equal.

    Raises:
        EnvironmentFault: At the first larger difference, with its step and what to do about it.
        MissingCapability: When the environment offers no snapshots.
    """
    if n < 1 or actions < 1 or not tolerance >= 0.0:
        raise InvalidValue(f"n = {n} and actions = {actions} must be at least 1, tolerance = {tolerance} at least 0")
    trial = _Trial(env, seed)
    largest, sizes, saving, restoring = 0.0, [], [], []
    for moment in range(n):
        last = trial.play(trial.draw(int(trial.rng.integers(1, actions + 1))))[-1]
        begun = time.perf_counter()
        data = capture(env)
        saving.append(time.perf_counter() - begun)
        sizes.append(len(data))
        counters = _time_limits(env)
        plan = trial.draw(actions)
        recorded = [last._replace(kind="restored"), *trial.play(plan)]
        for after in ("", ", after another episode"):
            if after:
                trial.distract()
            try:
                begun = time.perf_counter()
                observation, _ = restore(env, data)
                restoring.append(time.perf_counter() - begun)
                _set_time_limits(env, counters)
                again = [recorded[0]._replace(observation=observation), *trial.play(plan)]
            except Exception as error:  # whatever an environment raises that was put into a state it cannot be in
                what = f"it raised {error!r}"
                raise _fault(env, f"moment {moment + 1} of {n}{after}", what) from error
            difference, where = _largest_difference(recorded, again, tolerance)
            if difference > tolerance:
                what = f"{where} differs by {difference:.3g} (tolerance {tolerance:g})"
                raise _fault(env, f"moment {moment + 1} of {n}{after}", what)
            largest = max(largest, difference)
    return Report(largest == 0.0, largest, n, fmean(sizes), 1e6 * median(saving), 1e6 * median(restoring))


class _Step(NamedTuple):
    """What an environment returned from a step, a reset or a restoration."""

    kind: str
    observation: Any
    reward: float
    terminated: bool
    truncated: bool


class _Trial:
    """Plays random actions, over the ends of episodes."""

    def __init__(self, env: gym.Env[Any, Any], seed: int) -> None:
        self._env = env
        self._seed = seed
        self.rng = np.random.default_rng(seed)
        self._actions = copy.deepcopy(env.action_space)  # a copy, since others may draw from the environment's own
        self._actions.seed(seed)
        env.reset(seed=seed)

    def draw(self, count: int) -> list[Any]:
        """Return random actions."""
        return [self._actions.sample() for _ in range(count)]

    def play(self, actions: Sequence[Any]) -> list[_Step]:
        """Step with each action, and reset after each step that ends an episode."""
        steps = []
        for action in actions:
            observation, reward, terminated, truncated, _ = self._env.step(copy.deepcopy(action))
            steps.append(_Step("step", copied(observation), float(reward), bool(terminated), bool(truncated)))
            if terminated or truncated:
                observation, _ = self._env.reset()
                steps.append(_Step("reset", copied(observation), 0.0, False, False))
        return steps

    def distract(self) -> None:
        """Play a part of an episode with another seed."""
        self._seed += 1
        self._env.reset(seed=self._seed)
        self.play(self.draw(DISTRACTION))


def _time_limits(env: gym.Env[Any, Any]) -> list[Any]:
    return [layer._elapsed_steps for layer in layers_of(env) if isinstance(layer, TimeLimit)]


def _set_time_limits(env: gym.Env[Any, Any], counters: list[Any]) -> None:
    limits = [layer for layer in layers_of(env) if isinstance(layer, TimeLimit)]
    for layer, count in zip(limits, counters, strict=True):
        layer._elapsed_steps = count


# -- comparing ---------------------------------------------------------------------------------------------------------


def _largest_difference(first: Sequence[_Step], second: Sequence[_Step], tolerance: float) -> tuple[float, str]:
    """Return the first difference above the tolerance, or else the largest, and where it is."""
    largest, where, number = 0.0, "", 0
    for a, b in zip(first, second, strict=False):
        number += a.kind == "step"
        place = {"restored": "the restored", "reset": f"after step {number}, the reset's"}.get(
            a.kind, f"step {number}'s"
        )
        same_end = (a.kind, a.terminated, a.truncated) == (b.kind, b.terminated, b.truncated)
        found = {
            "observation": difference(a.observation, b.observation),
            "reward": difference(a.reward, b.reward),
            "end of the episode": 0.0 if same_end else np.inf,
        }
        for what, value in found.items():
            if value > largest:
                largest, where = value, f"{place} {what}"
        if largest > tolerance:
            break
    return largest, where


def difference(first: Any, second: Any) -> float:
    """Return the largest absolute difference of two observations: 0 only when they are equal bit by bit.

    Infinite when their structure, shape, dtype or text differs, or when only one of two numbers is not a number.
    """
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        if first.keys() != second.keys():
            return np.inf
        return max((difference(first[key], second[key]) for key in first), default=0.0)
    if isinstance(first, tuple | list) and isinstance(second, tuple | list):
        if len(first) != len(second):
            return np.inf
        return max((difference(a, b) for a, b in zip(first, second, strict=True)), default=0.0)
    a, b = np.asarray(first), np.asarray(second)
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return np.inf
    if a.tobytes() == b.tobytes():
        return 0.0
    if a.dtype.kind not in "buif":
        return np.inf
    equal = (a == b) | ((a != a) & (b != b))  # infinities, and two that are not a number, have no difference
    with np.errstate(invalid="ignore"):
        gap = np.abs(a.astype(np.float64) - b.astype(np.float64))
    largest = float(np.max(np.where(equal, 0.0, gap)))
    # Equal numbers of different bits, such as 0 and -0, are not equal bit by bit.
    return np.inf if np.isnan(largest) else max(largest, float(np.nextafter(0.0, 1.0)))


def _fault(env: gym.Env[Any, Any], moment: str, what: str) -> EnvironmentFault:
    return EnvironmentFault(f"a snapshot of {env} does not bring its state back ({moment}): {what}.\n{_advice(env)}")


def _advice(env: gym.Env[Any, Any]) -> str:
    kinds = [type(layer) for layer in layers_of(env) if isinstance(layer, Restorable)]
    if ActionReplay in kinds:
        return (
            "Seed and actions do not determine what it does: draw everything random from self.np_random, "
            "and build the world anew in reset()."
        )
    if kinds:
        return (
            f"It keeps state where {kinds[0].__name__} does not look. Replay its actions instead: "
            "from rlteach.snapshots.action_replay import ActionReplay; env = ActionReplay(env)"
        )
    return (
        "Its get_snapshot leaves out something that decides what comes next: state, task, counters or generator. "
        "For an environment without snapshots of its own: rlteach.snapshots.restorable.restorable(env)"
    )
