"""`check_env` is content with sound environments and finds what is wrong with broken ones."""

import itertools
import math
import threading

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from rlteach.task_space import TaskSpace
from rlteach.testing.envs import CHECKS, Finding, _outside, check_env

TASKS = Dict(push=Box(0.0, 1.0, (), np.float64), lane=Discrete(3))


class Sound(gym.Env):
    """A walk that is pushed along; everything that can be offered is offered."""

    task_space = TASKS
    return_range = (-40.0, 40.0)
    observation_space = Box(-100.0, 100.0, (2,), np.float32)
    action_space = Box(-1.0, 1.0, (1,), np.float32)

    @property
    def test_sets(self):
        return {"uniform": TaskSpace(TASKS).test_set(5, seed=0)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        task = (options or {}).get("task")
        if task is None:
            task = TaskSpace(TASKS).sample(1, self.np_random)[0]
        TaskSpace(TASKS).to_vector(task)
        self.push, self.lane = float(task["push"]), int(task["lane"])
        self.x, self.t = 0.1 * float(self.np_random.normal()), 0
        return self._observation(), {}

    def step(self, action):
        self.x += 0.1 * (self.push + float(action[0])) + 0.01 * float(self.np_random.normal())
        self.t += 1
        terminated, truncated = self.x > 1.0, self.t >= 20
        info = {"is_success": terminated} if terminated or truncated else {}
        return self._observation(), self.x, terminated, truncated, info

    def _observation(self):
        return np.array([self.x, self.lane], np.float32)

    def oracle_window(self, progress, rng):
        return {"push": np.array(1.0 - progress * rng.random()), "lane": np.int64(rng.integers(3))}

    def get_snapshot(self):
        return {**{k: getattr(self, k) for k in ("x", "t", "push", "lane")}, "rng": self.np_random.bit_generator.state}

    def set_snapshot(self, snapshot):
        for name in ("x", "t", "push", "lane"):
            setattr(self, name, snapshot[name])
        self.np_random.bit_generator.state = snapshot["rng"]
        return self._observation(), {}


def found(env) -> dict[str, Finding]:
    return {finding.name: finding for finding in check_env(env)}


def wrong(env) -> set[str]:
    return {finding.name for finding in check_env(env) if finding.ok is False}


def test_nothing_is_wrong_with_a_sound_environment():
    findings = check_env(Sound)
    assert [(f.name, f.detail) for f in findings if f.ok is not True] == []
    assert [f.name for f in findings] == ["build", *CHECKS]
    assert all(f.fix == "" for f in findings)


def test_wrappers_hide_nothing():
    assert wrong(lambda: gym.wrappers.TimeLimit(gym.wrappers.OrderEnforcing(Sound()), 500)) == set()


def test_one_built_environment_is_checked_as_far_as_it_goes_and_left_open():
    class Closing(Sound):
        closed = False

        def close(self):
            self.closed = True

    env = Closing()
    findings = {finding.name: finding for finding in check_env(env)}
    assert findings.pop("pickling").ok is None
    assert all(finding.ok for finding in findings.values())
    assert not env.closed


def test_an_id_without_tasks_is_sound_and_its_missing_offers_are_told_apart_from_faults():
    findings = found("CartPole-v1")
    assert all(finding.ok is not False for finding in findings.values())
    offers = ["task space", "task honoured", "is_success", "test sets", "return range", "oracle window", "snapshots"]
    assert [name for name, finding in findings.items() if finding.ok is None] == [
        "task space", "task honoured", "task outside refused", *offers[2:],
    ]  # fmt: skip
    assert "task_space =" in findings["task space"].fix


def test_every_fault_comes_with_a_fix():
    class Hopeless(Sound):
        return_range = (1.0, 0.0)

        def step(self, action):
            return self._observation(), 0.0, False, False, {}

    faults = [finding for finding in check_env(Hopeless) if finding.ok is False]
    assert {"return range", "episodes end"} <= {finding.name for finding in faults}
    assert all(finding.fix for finding in faults)


# -- deliberately broken -----------------------------------------------------------------------------------------------


class NeedsAnArgument(Sound):
    def __init__(self, size):
        self.size = size


class WrongShape(Sound):
    def _observation(self):
        return np.zeros(3, np.float32)


class ZeroWidth(Sound):
    task_space = Dict(push=Box(0.5, 0.5, (), np.float64), lane=Discrete(3))


class IgnoresTask(Sound):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed, options={"task": {"push": 0.5, "lane": 1}})


class IgnoresLane(Sound):
    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed, options=options)
        self.lane = 0
        return self._observation() * [1, 0] if observation[1] else observation, info

    def _observation(self):
        return np.array([self.x, 0.0], np.float32)


class PlaysAnything(Sound):
    def reset(self, *, seed=None, options=None):
        options = dict(options or {})
        if "task" in options:
            push, lane = float(options["task"]["push"]), int(options["task"]["lane"])
            options["task"] = {"push": min(max(push, 0.0), 1.0), "lane": min(max(lane, 0), 2)}
        return super().reset(seed=seed, options=options)


class BreaksOnATaskOutside(Sound):
    def reset(self, *, seed=None, options=None):
        lane = (options or {}).get("task", {"lane": 0})["lane"]
        _ = ["left", "middle", "right"][int(lane)]
        return super().reset(seed=seed, options=options)


class IgnoresTheSeed(Sound):
    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed, options=options)
        self.np_random = np.random.default_rng()
        return observation, info


class RemembersEarlierEpisodes(Sound):
    worn = 0.0

    def step(self, action):
        self.worn = min(self.worn + 1e-3, 5.0) if self.t else self.worn
        observation, reward, *rest = super().step(action)
        return observation, reward - self.worn, *rest


class Endless(Sound):
    def step(self, action):
        observation, reward, *_ = super().step(action)
        return observation, 0.0 * reward, False, False, {}


class NanReward(Sound):
    def step(self, action):
        observation, _, *rest = super().step(action)
        return observation, math.nan, *rest


class SuccessOnlyWhenTerminated(Sound):
    def step(self, action):
        *step, info = super().step(np.array([2.0 * (self.push > 0.5) - 1.0], np.float32))
        return *step, info if step[2] else {}


class SuccessIsAScore(Sound):
    def step(self, action):
        *step, info = super().step(action)
        return *step, {key: 0.7 for key in info}


class TestSetOutside(Sound):
    test_sets = {"hard": [{"push": np.array(1.5), "lane": np.int64(0)}]}  # noqa: RUF012


class EmptyTestSet(Sound):
    test_sets = {"hard": []}  # noqa: RUF012


class FreshTestSets(Sound):
    def __init__(self):
        self.own = {"uniform": TaskSpace(TASKS).sample(4, np.random.default_rng())}

    @property
    def test_sets(self):
        return self.own


class NarrowReturnRange(Sound):
    return_range = (100.0, 101.0)


class InfiniteReturnRange(Sound):
    return_range = (-np.inf, 0.0)


class WindowOutside(Sound):
    def oracle_window(self, progress, rng):
        return {"push": np.array(2.0 * progress), "lane": np.int64(0)}


class ForgetfulSnapshot(Sound):
    def set_snapshot(self, snapshot):
        return super().set_snapshot({**snapshot, "push": self.push})


class SnapshotWithoutGenerator(Sound):
    def set_snapshot(self, snapshot):
        return super().set_snapshot({**snapshot, "rng": self.np_random.bit_generator.state})


class SnapshotShowsTheWrongObservation(Sound):
    def set_snapshot(self, snapshot):
        observation, info = super().set_snapshot(snapshot)
        return observation + 1, info


@pytest.mark.parametrize(
    ("env", "name", "words"),
    [
        (NeedsAnArgument, "build", "size"),
        (WrongShape, "gymnasium", "observation"),
        (WrongShape, "stable-baselines3", ""),
        (ZeroWidth, "task space", "push has zero width"),
        (IgnoresTask, "task honoured", "four different tasks"),
        (PlaysAnything, "task outside refused", "as if it were inside"),
        (BreaksOnATaskOutside, "task outside refused", "IndexError"),
        (IgnoresTheSeed, "determinism", "gave another rollout from step 1 on"),
        (RemembersEarlierEpisodes, "determinism", "rollout from step"),
        (Endless, "episodes end", "within 5000 steps"),
        (NanReward, "episodes end", "nan"),
        (SuccessOnlyWhenTerminated, "is_success", "some episodes end without it"),
        (SuccessIsAScore, "is_success", "0.7"),
        (TestSetOutside, "test sets", "hard"),
        (EmptyTestSet, "test sets", "hard"),
        (FreshTestSets, "test sets", "a second copy has other test sets"),
        (NarrowReturnRange, "return range", "outside [100, 101]"),
        (InfiniteReturnRange, "return range", "two finite numbers"),
        (WindowOutside, "oracle window", "outside the task space"),
        (ForgetfulSnapshot, "snapshots", "goes on differently"),
        (SnapshotWithoutGenerator, "snapshots", "goes on differently"),
        (SnapshotShowsTheWrongObservation, "snapshots", "goes on differently"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else value[:20],
)
def test_a_broken_environment_is_found_out_by_the_check_meant_for_it(env, name, words):
    finding = found(env)[name]
    assert finding.ok is False
    assert words in finding.detail
    assert finding.fix


def test_a_fault_in_one_place_is_no_fault_in_the_others():
    assert wrong(PlaysAnything) == {"task outside refused"}
    assert wrong(NarrowReturnRange) == {"return range"}
    assert wrong(ForgetfulSnapshot) == {"snapshots"}
    assert wrong(SuccessIsAScore) == {"is_success"}


def test_an_environment_that_cannot_be_built_has_one_finding():
    (finding,) = check_env(NeedsAnArgument)
    assert finding.name == "build" and finding.ok is False


def test_a_parameter_without_effect_is_mentioned():
    finding = found(IgnoresLane)["task honoured"]
    assert finding.ok
    assert finding.detail.endswith("no effect seen in 100 random steps: lane")


def test_a_function_that_closes_over_a_lock_cannot_be_sent_to_workers():
    lock = threading.Lock()

    def make():
        with lock:
            return Sound()

    finding = found(make)["pickling"]
    assert finding.ok is False and "lock" in finding.detail


def test_an_exception_in_a_step_is_a_finding_and_not_a_crash():
    class Burning(Sound):
        def step(self, action):
            raise RuntimeError("the motor is on fire")

    findings = found(Burning)
    assert findings["determinism"].ok is False
    assert "RuntimeError: the motor is on fire" in findings["determinism"].detail
    assert findings["task space"].ok


def test_remarks_of_the_other_checkers_are_shown_without_becoming_faults():
    class Lopsided(Sound):
        action_space = Box(0.0, 5.0, (1,), np.float32)

    finding = found(Lopsided)["stable-baselines3"]
    assert finding.ok and "symmetric and normalized Box action space" in finding.detail


def test_every_copy_that_was_made_is_closed():
    count = itertools.count()

    class Counted(Sound):
        opened = closed = 0

        def __init__(self):
            next(count)
            Counted.opened += 1

        def close(self):
            Counted.closed += 1

    check_env(lambda: Counted())
    assert Counted.opened >= 3
    assert Counted.opened == Counted.closed


@pytest.mark.parametrize(
    "space",
    [
        Dict(a=Box(-2.0, 3.0, (2,), np.float32), b=Tuple([Discrete(3, start=-1), MultiDiscrete([2, 4])])),
        MultiBinary(3),
        Box(0, 255, (2,), np.uint8),
    ],
)
def test_a_task_outside_has_the_structure_of_a_task_and_every_part_of_it_is_outside(space):
    with pytest.raises(ValueError, match="outside its space") as caught:
        TaskSpace(space).to_vector(_outside(space))
    assert str(caught.value).count(" = ") == TaskSpace(space).dimension
