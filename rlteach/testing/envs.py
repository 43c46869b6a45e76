"""Checks of an environment: can it be taught, judged and repeated? `rlteach check ENV` prints what they find.

for finding in check_env(lambda: MyEnv(size=5)):
    print(finding.name, finding.ok, finding.detail, finding.fix)
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rlteach import environments
from rlteach.environments import EnvLike
from rlteach.errors import RlteachError
from rlteach.task_space import TaskSpace

MAX_STEPS = 5_000
"""An episode of random actions that has not ended after so many steps counts as endless."""

COMPARED_STEPS = 100
"""Steps after which two rollouts that did not differ count as equal."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: What was checked.
        ok: True, False, or None when the environment does not offer what was to be checked.
        detail: What was seen.
        fix: What to do about it; empty when there is nothing to do.
    """

    name: str
    ok: bool | None
    detail: str
    fix: str = ""


class Verdict(NamedTuple):
    """What a check returns: a finding without its name."""

    ok: bool | None
    detail: str
    fix: str = ""


class _Step(NamedTuple):
    """One step of a rollout, its observation as bytes so that equal means bit for bit."""

    observation: bytes
    reward: float
    terminated: bool
    truncated: bool


class _Episode(NamedTuple):
    ret: float
    ended: bool
    info: Mapping[str, Any]


@dataclass(frozen=True)
class _Case:
    """The environment to be checked; `make` is None when only this one copy exists."""

    env: gym.Env[Any, Any]
    make: Callable[[], gym.Env[Any, Any]] | None
    tasks: TaskSpace | None
    seed: int

    @contextmanager
    def another(self) -> Iterator[gym.Env[Any, Any]]:
        """Yield a fresh copy, or the only one."""
        if self.make is None:
            yield self.env
        else:
            env = self.make()
            try:
                yield env
            finally:
                env.close()

    def task(self, place: float) -> Any:
        """Return the task at a place of the diagonal of the task space, 0 to 1; None without tasks."""
        return None if self.tasks is None else self.tasks.from_unit(np.full(self.tasks.dimension, place))

    @cached_property
    def episodes(self) -> list[_Episode]:
        """Episodes of random actions in three tasks, fewer when one of them does not end."""
        episodes: list[_Episode] = []
        for i, place in enumerate((0.1, 0.5, 0.9)):
            episodes.append(_episode(self.env, self.seed + i, self.task(place)))
            if not episodes[-1].ended:
                break
        return episodes


def check_env(env: EnvLike | gym.Env[Any, Any], *, seed: int = 0) -> list[Finding]:
    """Check everything that teachers, runs and tables rely on.

    Args:
        env: Id, `module:id`, `file.py:Class` or a function that makes the environment; or one environment, which then
            cannot be checked for pickling, nor against a fresh copy.
        seed: Seed of every rollout.

    Returns:
        One finding for each check, in a fixed order; only the first when the environment cannot be built.
    """
    make = None if isinstance(env, gym.Env) else environments.factory(env)
    try:
        built = env if isinstance(env, gym.Env) else environments.build(env)
    except Exception as error:  # whatever the constructor raises is the finding
        return [Finding("build", False, told(error), "the constructor has to work without arguments")]
    try:
        case = _Case(built, make, _usable_tasks(built), seed)
        findings = [Finding(name, *_guarded(check, case)) for name, check in CHECKS.items()]
    finally:
        if make is not None:
            built.close()
    return [Finding("build", True, str(built)), *findings]


def _guarded(check: Callable[[_Case], Verdict], case: _Case) -> Verdict:
    try:
        return check(case)
    except Exception as error:  # a broken environment may raise anything, and the other checks still tell something
        return Verdict(False, told(error), "reset and step must not raise for a task or an action inside its space")


def told(error: BaseException) -> str:
    """Return what an exception says, with its type unless it is one of ours."""
    return str(error) if isinstance(error, RlteachError) else f"{type(error).__name__}: {error}"


def _usable_tasks(env: gym.Env[Any, Any]) -> TaskSpace | None:
    try:
        return _tasks(env)
    except RlteachError:
        return None  # the check of the task space reports it


def _tasks(env: gym.Env[Any, Any]) -> TaskSpace | None:
    space = environments.capability(env, "task_space")
    if space is None or isinstance(space, TaskSpace):
        return space
    return TaskSpace.of(space, env)


# -- playing -----------------------------------------------------------------------------------------------------------


def _reset(env: gym.Env[Any, Any], seed: int, task: Any) -> Any:
    observation, _ = env.reset(seed=seed, options=None if task is None else {"task": task})
    env.action_space.seed(seed)
    return observation


def _steps(env: gym.Env[Any, Any], actions: Sequence[Any]) -> list[_Step]:
    steps = []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        steps.append(_Step(_bytes(observation), float(reward), bool(terminated), bool(truncated)))
        if terminated or truncated:
            break
    return steps


def _rollout(env: gym.Env[Any, Any], seed: int, task: Any) -> list[_Step]:
    first = _Step(_bytes(_reset(env, seed, task)), 0.0, False, False)
    return [first, *_steps(env, [env.action_space.sample() for _ in range(COMPARED_STEPS)])]


def _episode(env: gym.Env[Any, Any], seed: int, task: Any) -> _Episode:
    _reset(env, seed, task)
    ret, ended = 0.0, False
    info: Mapping[str, Any] = {}
    for _ in range(MAX_STEPS):
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        ret, ended = ret + float(reward), bool(terminated or truncated)
        if ended:
            break
    return _Episode(ret, ended, info)


def _bytes(observation: Any) -> bytes:
    if isinstance(observation, Mapping):
        return b"".join(_bytes(observation[key]) for key in sorted(observation))
    if isinstance(observation, tuple):
        return b"".join(map(_bytes, observation))
    array = np.asarray(observation)
    return str((array.dtype, array.shape)).encode() + array.tobytes()


# -- the checks --------------------------------------------------------------------------------------------------------


def _gymnasium(case: _Case) -> Verdict:
    from gymnasium.utils.env_checker import check_env as check

    env = case.env
    if env.spec is not None and any(wrapper.kwargs is None for wrapper in env.spec.additional_wrappers):
        env = env.unwrapped  # the check makes another one, which it cannot where a wrapper keeps no arguments
    return _foreign(lambda: check(env, skip_render_check=True), "Gymnasium's own check_env")


def _stable_baselines3(case: _Case) -> Verdict:
    from stable_baselines3.common.env_checker import check_env as check

    return _foreign(lambda: check(case.env), "Stable-Baselines3's own check_env")


def _foreign(check: Callable[[], None], name: str) -> Verdict:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            check()
        except Exception as error:  # these checks raise assertions and whatever the environment raises
            return Verdict(False, told(error), f"follow the message of {name}")
    remarks = [re.sub(r"\x1b\[\d+m|WARN: ", "", str(warning.message)).strip() for warning in caught]
    # Gymnasium would rather check the bare environment, which may be another one than what its id makes of it.
    remarks = [remark for remark in remarks if "different from the unwrapped version" not in remark]
    return Verdict(True, "; ".join(["passed", *dict.fromkeys(remarks)]))


def _task_space(case: _Case) -> Verdict:
    tasks = _tasks(case.env)
    if tasks is None:
        return Verdict(None, "not offered: only teachers that choose no task can be used", environments.TASK_RECIPE)
    return Verdict(True, f"{tasks.dimension} parameters: {tasks!r}")


def _task_is_honoured(case: _Case) -> Verdict:
    if case.tasks is None:
        return _NO_TASKS
    low = _rollout(case.env, case.seed, case.task(0.1))
    if all(_rollout(case.env, case.seed, case.task(place)) == low for place in (0.4, 0.6, 0.9)):
        return Verdict(
            False,
            f"four different tasks gave the same observations and rewards for {len(low) - 1} steps",
            "read options['task'] in reset, and let it decide where or in which world the episode starts",
        )
    idle = [name for i, name in enumerate(case.tasks.names) if _is_idle(case, i)]
    remark = f"; no effect seen in {COMPARED_STEPS} random steps: {', '.join(idle)}" if idle else ""
    return Verdict(True, f"different tasks give different episodes{remark}")


def _is_idle(case: _Case, parameter: int) -> bool:
    """Tell whether moving one parameter alone from 0.1 to 0.9 of its range changes nothing."""
    assert case.tasks is not None
    point = np.full(case.tasks.dimension, 0.5)
    rollouts = []
    for place in (0.1, 0.9):
        point[parameter] = place
        rollouts.append(_rollout(case.env, case.seed, case.tasks.from_unit(point)))
    return rollouts[0] == rollouts[1]


def _task_outside_is_refused(case: _Case) -> Verdict:
    if case.tasks is None:
        return _NO_TASKS
    fix = "raise ValueError in reset unless the task is in the task space, with the name of the parameter"
    outside = _outside(case.tasks.space)
    try:
        case.env.reset(seed=case.seed, options={"task": outside})
    except (ValueError, AssertionError) as error:
        return Verdict(True, f"refused: {error}")
    except Exception as error:  # it is refused, but by accident
        return Verdict(False, f"a task outside the space fails with {told(error)}", fix)
    return Verdict(False, f"a task outside the space is played as if it were inside: {outside}", fix)


def _outside(space: spaces.Space[Any]) -> Any:
    """Return something with the structure of an element of the space, every part of it beyond its bounds."""
    if isinstance(space, spaces.Dict):
        return {key: _outside(part) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_outside(part) for part in space.spaces)
    if isinstance(space, spaces.Discrete):
        return space.start + space.n
    if isinstance(space, spaces.MultiDiscrete):
        return space.start + space.nvec
    if isinstance(space, spaces.MultiBinary):
        return np.full(space.shape, 2, dtype=space.dtype)
    assert isinstance(space, spaces.Box)
    whole = not np.issubdtype(space.dtype, np.floating)
    beyond = space.high + 1.0 + (space.high.astype(np.float64) - space.low)
    return beyond.astype(np.int64 if whole else space.dtype)


def _determinism(case: _Case) -> Verdict:
    task, fix = case.task(0.5), "draw everything random from self.np_random after super().reset(seed=seed)"
    with case.another() as fresh:
        first = _rollout(fresh, case.seed, task)
    again = _rollout(case.env, case.seed, task)
    if again != first:
        return Verdict(False, f"the same seed, task and actions gave another rollout {_where(first, again)}", fix)
    for i, place in enumerate((0.9, 0.1)):
        _rollout(case.env, case.seed + 1 + i, case.task(place))
    later = _rollout(case.env, case.seed, task)
    if later != first:
        return Verdict(
            False,
            f"after other episodes the same seed, task and actions gave another rollout {_where(first, later)}",
            "build the world anew in reset, or put every part of it back",
        )
    return Verdict(True, f"same seed, task and actions: the same {len(first) - 1} steps, whatever was played before")


def _where(first: Sequence[_Step], second: Sequence[_Step]) -> str:
    step = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    return "from the first observation on" if step == 0 else f"from step {step} on"


def _pickling(case: _Case) -> Verdict:
    if case.make is None:
        return Verdict(None, "an environment that is built already cannot be sent to workers; check a function instead")
    # What SubprocVecEnv sends to its workers, and how.
    from stable_baselines3.common.vec_env.base_vec_env import CloudpickleWrapper

    try:
        there = CloudpickleWrapper(None)
        there.__setstate__(CloudpickleWrapper(case.make).__getstate__())
        env = there.var()
    except Exception as error:  # pickling runs code of the user's own
        fix = "make the environment in a function that closes over plain values only, not over files, locks or windows"
        return Verdict(False, f"the function that makes it cannot be sent to a worker: {told(error)}", fix)
    env.close()
    return Verdict(True, "the function that makes it can be sent to a worker")


def _episodes_end(case: _Case) -> Verdict:
    if not all(episode.ended for episode in case.episodes):
        fix = "give it a time limit: max_episode_steps at registration, or gymnasium.wrappers.TimeLimit"
        return Verdict(False, f"random actions did not end an episode within {MAX_STEPS} steps", fix)
    bad = [episode.ret for episode in case.episodes if not math.isfinite(episode.ret)]
    if bad:
        return Verdict(False, f"an episode had the return {bad[0]}", "keep every reward finite")
    return Verdict(True, f"returns of random actions: {', '.join(f'{episode.ret:.4g}' for episode in case.episodes)}")


def _is_success(case: _Case) -> Verdict:
    found = [e.info.get("is_success", e.info.get("success")) for e in case.episodes if e.ended]
    fix = 'put info["is_success"] = True or False into the last step of every episode, terminated or truncated'
    if all(value is None for value in found):
        return Verdict(None, "not offered: success is judged by reward_threshold, else by the rank of the return", fix)
    if any(value is None for value in found):
        return Verdict(False, "some episodes end without it", fix)
    if wrong := [value for value in found if float(value) not in (0.0, 1.0)]:
        return Verdict(False, f"is_success was {wrong[0]!r}", fix)
    return Verdict(True, "reported at the end of every episode")


def _test_sets(case: _Case) -> Verdict:
    sets = environments.capability(case.env, "test_sets")
    if sets is None:
        fix = 'test_sets = {"name": [task, ...]}, fixed and seeded; the first is the primary one'
        return Verdict(None, "not offered: evaluation draws a seeded uniform set", fix)
    if case.tasks is None:
        return _NO_TASKS
    outside = [name for name, tasks in sets.items() if not tasks or not all(map(case.tasks.contains, tasks))]
    if outside or not sets:
        return Verdict(
            False,
            f"empty, or with tasks outside the task space: {', '.join(outside) or 'test_sets'}",
            "every entry must be an element of task_space; spaces.Box needs arrays of its own dtype and shape",
        )
    with case.another() as other:
        again = environments.capability(other, "test_sets")
    if not all(_same_tasks(case.tasks, tasks, again[name]) for name, tasks in sets.items()):
        return Verdict(False, "a second copy has other test sets", "draw them from np.random.default_rng with a seed")
    return Verdict(True, ", ".join(f"{name}: {len(tasks)} tasks" for name, tasks in sets.items()))


def _same_tasks(space: TaskSpace, first: Sequence[Any], second: Sequence[Any]) -> bool:
    pairs = zip(first, second, strict=False)
    return len(first) == len(second) and all(np.array_equal(space.to_vector(a), space.to_vector(b)) for a, b in pairs)


def _return_range(case: _Case) -> Verdict:
    known = environments.capability(case.env, "return_range")
    fix = "return_range = (smallest, largest undiscounted return of an episode)"
    if known is None:
        return Verdict(None, "not offered: teachers scale returns by running quantiles", fix)
    low, high = map(float, known)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return Verdict(False, f"{known} is not two finite numbers, the smaller first", fix)
    returns = [episode.ret for episode in case.episodes if episode.ended]
    slack = 1e-6 * (high - low)
    beyond = [ret for ret in returns if not low - slack <= ret <= high + slack]
    if beyond:
        return Verdict(
            False, f"an episode of random actions returned {beyond[0]:.6g}, outside [{low:g}, {high:g}]", fix
        )
    return Verdict(True, f"[{low:g}, {high:g}]")


def _oracle_window(case: _Case) -> Verdict:
    window = environments.capability(case.env, "oracle_window")
    if window is None:
        return Verdict(None, "not offered: the `oracle` teacher cannot be used")
    if case.tasks is None:
        return _NO_TASKS
    rng = np.random.default_rng(case.seed)
    for progress in np.linspace(0.0, 1.0, 11):
        task = window(float(progress), rng)
        if not case.tasks.contains(task):
            fix = "return an element of task_space for every progress from 0 to 1"
            return Verdict(False, f"at progress {progress:g} it gives {task!r}, outside the task space", fix)
    return Verdict(True, "inside the task space at every progress")


def _snapshots(case: _Case) -> Verdict:
    if environments.capability(case.env, "get_snapshot") is None:
        from rlteach.snapshots.restorable import restorable

        adapter = type(restorable(case.env)).__name__
        return Verdict(None, f"through rlteach.snapshots ({adapter}), for start states; runs resume approximately")
    observation = _bytes(_reset(case.env, case.seed, case.task(0.5)))
    actions = [case.env.action_space.sample() for _ in range(COMPARED_STEPS)]
    before = _steps(case.env, actions[:5])
    if before[-1].terminated or before[-1].truncated:
        observation = _bytes(_reset(case.env, case.seed, case.task(0.5)))
    else:
        observation = before[-1].observation
    snapshot = case.env.get_wrapper_attr("get_snapshot")()
    onwards = _steps(case.env, actions[5:])
    with case.another() as other:
        for env in (case.env, other):
            _rollout(env, case.seed + 1, case.task(0.9))
            _reset(env, case.seed + 2, case.task(0.1))
            restored, _ = env.get_wrapper_attr("set_snapshot")(snapshot)
            again = _steps(env, actions[5:])
            # A TimeLimit keeps its own count, which is put right elsewhere: how long an episode lasts is not compared.
            pairs = zip(onwards, again, strict=False)
            if _bytes(restored) != observation or any(a[:3] != b[:3] for a, b in pairs):
                return Verdict(
                    False,
                    "an episode goes on differently after set_snapshot",
                    "put everything into the snapshot that decides what comes next: state, task, counters, generator",
                )
    return Verdict(True, f"exact over {len(onwards)} steps, also in another copy")


_NO_TASKS = Verdict(None, "needs a usable task space")

CHECKS: dict[str, Callable[[_Case], Verdict]] = {
    "gymnasium": _gymnasium,
    "stable-baselines3": _stable_baselines3,
    "task space": _task_space,
    "task honoured": _task_is_honoured,
    "task outside refused": _task_outside_is_refused,
    "determinism": _determinism,
    "pickling": _pickling,
    "episodes end": _episodes_end,
    "is_success": _is_success,
    "test sets": _test_sets,
    "return range": _return_range,
    "oracle window": _oracle_window,
    "snapshots": _snapshots,
}
"""Every check by name, in the order of the findings."""
