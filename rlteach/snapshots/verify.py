"""A proof by trial that the snapshots of an environment are exact.

print(verify(restorable(gym.make("Hopper-v5")), make=lambda: restorable(gym.make("Hopper-v5"))))

Snapshots fail silently: `copy.deepcopy` and pickling of Gymnasium's MuJoCo and Box2D environments give an environment
that was rebuilt from its constructor's arguments, and training on it looks like training from ordinary resets.
"""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rlteach.environments import capability
from rlteach.errors import EnvironmentFault, InvalidValue
from rlteach.snapshots.action_replay import ActionReplay
from rlteach.snapshots.base import Restorable, copied, is_bookkeeping, layers_of, set_elapsed, told_success
from rlteach.snapshots.restorable import capture, restore

DISTRACTION = 25
"""Steps of the other episode that is played before a state is restored for the second time."""

LATER = ", after another episode"
"""Where that is, in messages."""


@dataclass(frozen=True)
class Report:
    """What `verify` measured.

    Attributes:
        exact: Whether everything that was played again was equal bit by bit.
        largest_difference: Largest absolute difference of an observation or a reward, in their own units.
        states: Number of states that were captured; each was restored twice, and once more in another instance.
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


def verify(
    env: gym.Env[Any, Any],
    n: int = 20,
    actions: int = 100,
    seed: int = 0,
    tolerance: float = 0.0,
    make: Callable[[], gym.Env[Any, Any]] | None = None,
) -> Report:
    """Demand that an environment goes on from a restored state as it went on from the state itself.

    Random actions lead to `n` random moments, every second one in a new episode, of a random task where there is a task
    space. From each on, steps are played and recorded, with a reset wherever an episode ends; then the moment is
    restored and the same actions are played again, once more after a part of another episode, and again in another
    instance. Observations, rewards, `terminated`, `truncated` and the success that infos tell must be equal. Time
    limits are put right here (`set_elapsed`), as the delivery of lessons does it.

    Args:
        env: An environment that offers snapshots; it is left somewhere in an episode.
        n: Number of moments.
        actions: Number of steps that are compared for each.
        seed: Seed of the environment's first reset and of all choices here.
        tolerance: Largest absolute difference of an observation or a reward that passes; at 0 every bit must be equal.
            `ActionReplay` demands that of the observation at the restored moment in any case.
        make: Builds the other instance, which is closed again; without it there is none.

    Raises:
        EnvironmentFault: At the first larger difference, with its step and what to do about it.
        MissingCapability: When the environment offers no snapshots.

    Warns:
        UserWarning: About an attribute that counts the steps of an episode and does not come back: if a time limit
            goes by it, an episode that starts late has its whole time all the same.
    """
    if n < 1 or actions < 1 or not tolerance >= 0.0:
        raise InvalidValue(f"n = {n} and actions = {actions} must be at least 1, tolerance = {tolerance} at least 0")
    trial, clocks = _Trial(env, seed), _Clocks()
    largest, sizes, saving, restoring = 0.0, [], [], []
    with ExitStack() as opened:
        places = [(env, ""), (env, LATER)]
        if make is not None:
            other = opened.enter_context(closing(make()))
            other.reset(seed=seed + 1)  # as whoever delivers lessons does it first
            places.append((other, ", in another instance"))
        for number in range(n):
            if number % 2:
                trial.reset()
            last = trial.play(env, trial.draw(int(trial.rng.integers(1, actions + 1))))[-1]
            age = trial.age
            data, seconds = _timed(capture, env)
            saving.append(seconds)
            sizes.append(len(data))
            clocks.note(env, age)
            moment = _Moment(data, age, trial.draw(actions))
            recorded = [_Step("restored", last.observation), *trial.play(env, moment.plan)]
            for place, where in places:
                if where is LATER:
                    trial.distract()
                which = f"moment {number + 1} of {n}{where}"
                try:
                    again, seconds = trial.play_again(place, moment, clocks)
                except Exception as error:  # whatever an environment raises that was put into a state it cannot be in
                    raise _fault(env, which, f"it raised {error!r}") from error
                restoring.append(seconds)
                difference, found = _largest_difference(recorded, again, tolerance)
                if difference > tolerance:
                    raise _fault(env, which, f"{found} differs by {difference:.3g} (tolerance {tolerance:g})")
                largest = max(largest, difference)
    for name in clocks.lost():
        warnings.warn(
            f"{name} counts the steps of an episode, and snapshots of {env} do not bring it back: if a time limit goes "
            "by it, an episode that starts late has its whole time all the same. Keep it in get_snapshot, or offer "
            "set_elapsed(steps)",
            stacklevel=2,
        )
    return Report(largest == 0.0, largest, n, fmean(sizes), 1e6 * median(saving), 1e6 * median(restoring))


def _timed(call: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    begun = time.perf_counter()
    return call(*args), time.perf_counter() - begun


class _Step(NamedTuple):
    """What an environment returned from a step, a reset or a restoration."""

    kind: str
    observation: Any
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    success: float = math.nan


class _Plan(NamedTuple):
    """Actions, and the options of the resets that follow when they end an episode."""

    actions: Sequence[Any]
    options: dict[str, Any] | None


class _Moment(NamedTuple):
    """A snapshot, the steps since its episode began, and what is played from there."""

    data: bytes
    age: int
    plan: _Plan


class _Trial:
    """Plays random actions, over the ends of episodes.

    Attributes:
        age: Steps since the last reset.
    """

    def __init__(self, env: gym.Env[Any, Any], seed: int) -> None:
        self._env = env
        self._seed = seed
        self.rng = np.random.default_rng(seed)
        self._actions = _own(env.action_space, seed)
        tasks = capability(env, "task_space")
        self._tasks = None if tasks is None else _own(getattr(tasks, "space", tasks), seed)
        self.age = 0
        env.reset(seed=seed)

    def draw(self, count: int) -> _Plan:
        """Return random actions, and a random task."""
        options = None if self._tasks is None else {"task": self._tasks.sample()}
        return _Plan([self._actions.sample() for _ in range(count)], options)

    def play(self, env: gym.Env[Any, Any], plan: _Plan) -> list[_Step]:
        """Step with each action, and reset after each step that ends an episode."""
        steps = []
        for action in plan.actions:
            observation, reward, terminated, truncated, info = env.step(copy.deepcopy(action))
            ends = bool(terminated), bool(truncated)
            steps.append(_Step("step", copied(observation), float(reward), *ends, told_success(info)))
            self.age += 1
            if terminated or truncated:
                observation, _ = env.reset(options=copy.deepcopy(plan.options))
                steps.append(_Step("reset", copied(observation)))
                self.age = 0
        return steps

    def play_again(self, env: gym.Env[Any, Any], moment: _Moment, clocks: _Clocks) -> tuple[list[_Step], float]:
        """Restore a moment and play on from there; return that, and the seconds that restoring took."""
        (observation, _), seconds = _timed(restore, env, moment.data)
        set_elapsed(env, moment.age)
        clocks.compare(env, moment.age)
        self.age = moment.age
        return [_Step("restored", observation), *self.play(env, moment.plan)], seconds

    def reset(self) -> None:
        """Begin another episode, with another seed and another task."""
        self._seed += 1
        self._env.reset(seed=self._seed, options=self.draw(0).options)
        self.age = 0

    def distract(self) -> None:
        """Play a part of another episode."""
        self.reset()
        self.play(self._env, self.draw(DISTRACTION))


def _own(space: spaces.Space[Any], seed: int) -> spaces.Space[Any]:
    """Return a copy of a space to draw from, since others may draw from the environment's own."""
    own = copy.deepcopy(space)
    own.seed(seed)
    return own


class _Clocks:
    """Finds attributes that have counted the steps of an episode whenever one looked, and do not come back."""

    def __init__(self) -> None:
        self._right: list[set[str]] = []
        self._wrong: set[str] = set()

    def note(self, env: gym.Env[Any, Any], age: int) -> None:
        """Look at a state that is captured at this age of its episode, in steps."""
        self._right.append(_whole_numbers(env, age))

    def compare(self, env: gym.Env[Any, Any], age: int) -> None:
        """Look at the same state after it was restored."""
        self._wrong |= self._right[-1] - _whole_numbers(env, age)

    def lost(self) -> list[str]:
        """Return what was right in every state, and wrong after some restoration."""
        return sorted(self._wrong.intersection(*self._right))


def _whole_numbers(env: gym.Env[Any, Any], value: int) -> set[str]:
    """Return where an environment and its wrappers hold this number; those that only keep books are left out."""
    return {
        f"{type(layer).__name__}.{name}"
        for layer in layers_of(env)
        if not is_bookkeeping(layer)
        for name, held in vars(layer).items()
        if isinstance(held, int | np.integer) and not isinstance(held, bool) and held == value
    }


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
            "success": difference(a.success, b.success),
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
