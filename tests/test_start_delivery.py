"""Starts: an episode that begins elsewhere is an episode like any other, for the learner and for the wrappers."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import rlteach
from rlteach.errors import MissingCapability, UserError
from rlteach.lesson import Lesson, Start

MAZE = "rlteach/GoalMaze-v0"
UP = np.array([0.0, 1.0], dtype=np.float32)


class Starts:
    """Begins every episode with the next of the given starts, and again from the first; keeps what it observed."""

    needs: frozenset[str] = frozenset()

    def __init__(self, starts, task=None, restores=True):
        self.starts, self.task, self.restores = starts, task, restores
        self.fields = frozenset({"start"} if task is None else {"start", "task"})
        self.issued, self.outcomes, self.forgotten = 0, [], []

    def propose(self, n):
        first, self.issued = self.issued, self.issued + n
        return [Lesson(i, task=self.task, start=self.starts[i % len(self.starts)]) for i in range(first, self.issued)]

    def observe(self, outcomes):
        self.outcomes.extend(outcomes)

    def forget(self, ids):
        self.forgotten.extend(ids)

    def state_dict(self):
        return {"issued": self.issued}

    def load_state_dict(self, state):
        self.issued = state["issued"]


def walked(steps, goal=(20.0, 20.0)):
    """A snapshot of the maze after some steps to the left, and what was seen then."""
    env = gym.make("rlteach_envs:rlteach/GoalMaze-v0").unwrapped
    env.reset(seed=5, options={"task": np.array(goal)})
    for _ in range(steps):
        seen = env.step(np.array([-1.0, 0.0], dtype=np.float32))[0]
    return env.get_snapshot(), seen


def taught(teacher, n=1, vec="dummy", env=MAZE, **kwargs):
    return rlteach.attach(rlteach.make_vec_env(env, n, seed=0, vec=vec, **kwargs), teacher)


@pytest.mark.parametrize("vec", ["dummy", "batch", "subproc"])
def test_an_episode_starts_where_the_snapshot_was_taken_and_its_time_goes_on(vec):
    snapshot, seen = walked(20)
    teacher = Starts([Start(snapshot), None])
    venv = taught(teacher, 2, vec)
    observation = venv.reset()
    assert np.array_equal(observation[0], seen) and not np.array_equal(observation[1], seen)
    lengths = []
    while len(lengths) < 2:
        _, _, dones, infos = venv.step(np.stack([UP, UP]))
        for i in np.flatnonzero(dones):
            lengths.append((int(i), infos[i]["episode"]["l"], infos[i]["TimeLimit.truncated"]))
    assert sorted(lengths) == [(0, 130, True), (1, 150, True)]
    venv.close()


@pytest.mark.parametrize("vec", ["dummy", "batch"])
def test_chance_does_not_repeat_itself_after_a_snapshot(vec):
    snapshot, _ = walked(3)
    venv = taught(Starts([Start(snapshot, limit=1), None]), 1, vec)
    venv.reset()
    firsts = []
    for _ in range(6):
        while True:
            observation, _, dones, _ = venv.step(UP[None])
            if dones[0]:
                break
        firsts.append(observation[0].copy())
    ordinary = [tuple(first) for first in firsts[0::2]]
    assert len(set(ordinary)) == 3
    assert all(np.array_equal(firsts[1], again) for again in firsts[1::2])


@pytest.mark.parametrize("vec", ["dummy", "batch"])
def test_a_limit_truncates_and_the_last_state_is_kept_for_bootstrapping(vec):
    snapshot, seen = walked(3)
    teacher = Starts([Start(snapshot, limit=5)])
    venv = taught(teacher, 2, vec)
    venv.reset()
    for step in range(1, 11):
        observation, _, dones, infos = venv.step(np.stack([UP, -UP]))
        assert dones.all() == (step % 5 == 0)
        if dones.all():
            assert all(info["TimeLimit.truncated"] for info in infos)
            assert not np.array_equal(infos[1]["terminal_observation"], seen)
            assert np.array_equal(observation, np.stack([seen, seen]))
    assert [o.length for o in teacher.outcomes] == [5] * 4
    assert [o.terminated for o in teacher.outcomes] == [False] * 4


@pytest.mark.parametrize("vec", ["dummy", "batch"])
def test_what_the_limit_cuts_off_is_no_success_once_the_environment_tells(vec):
    near, _ = walked(3)
    teacher = Starts([Start(near, limit=300), Start(near, limit=2)])
    venv = taught(teacher, 1, vec)
    venv.reset()
    while len(teacher.outcomes) < 4:
        venv.step(UP[None])
    assert [o.success for o in teacher.outcomes] == [0.0] * 4


def test_the_limit_goes_with_the_lesson_to_the_end_only():
    snapshot, _ = walked(3)
    venv = taught(Starts([Start(snapshot, limit=4), None]), 1, "batch")
    venv.reset()
    lengths = []
    while len(lengths) < 3:
        _, _, dones, infos = venv.step(UP[None])
        if dones[0]:
            lengths.append(infos[0]["episode"]["l"])
    assert lengths == [4, 150, 4]


def pendulum(**kwargs):
    from rlteach.snapshots.restorable import restorable

    return rlteach.LessonEnv(restorable(gym.make("Pendulum-v1", **kwargs)))


def swung(steps):
    env = pendulum()
    env.reset(seed=0)
    for _ in range(steps):
        seen = env.step(np.array([2.0], dtype=np.float32))[0]
    return env.get_wrapper_attr("get_snapshot")(), seen


def test_the_time_limit_of_gymnasium_counts_what_elapsed():
    snapshot, seen = swung(10)
    teacher = Starts([Start(snapshot, elapsed=190), Start(snapshot)])
    venv = rlteach.attach(DummyVecEnv([pendulum]), teacher)
    assert np.array_equal(venv.reset()[0], seen)
    for _ in range(10 + 200):
        _, _, _, infos = venv.step(np.zeros((1, 1), dtype=np.float32))
    assert [o.length for o in teacher.outcomes] == [10, 200]
    assert infos[0]["TimeLimit.truncated"]


def test_monitor_and_normaliser_see_new_episodes():
    snapshot, _ = swung(10)
    teacher = Starts([Start(snapshot, limit=7)])

    def make():
        from rlteach.snapshots.restorable import restorable

        return rlteach.LessonEnv(Monitor(restorable(gym.make("Pendulum-v1"))))

    venv = VecNormalize(rlteach.attach(DummyVecEnv([make, make]), teacher))
    venv.reset()
    for step in range(1, 15):
        _, _, dones, _ = venv.step(np.zeros((2, 1), dtype=np.float32))
        if dones.any():
            assert step % 7 == 0
            assert (venv.returns == 0).all()
    assert [o.length for o in teacher.outcomes] == [7] * 4


def test_the_replay_buffer_holds_true_transitions():
    snapshot, seen = swung(10)
    venv = rlteach.attach(DummyVecEnv([pendulum]), Starts([Start(snapshot, elapsed=10, limit=9)]))
    model = SAC("MlpPolicy", venv, learning_starts=1000, buffer_size=100, seed=0).learn(60)
    buffer = model.replay_buffer
    ends = np.flatnonzero(buffer.dones[:60, 0])
    assert ends.tolist() == list(range(8, 60, 9)) and buffer.timeouts[ends, 0].all()
    for i in range(59):
        if i in ends:
            assert np.allclose(buffer.observations[i + 1, 0], seen)
            assert not np.allclose(buffer.next_observations[i, 0], seen)
        else:
            assert np.array_equal(buffer.next_observations[i], buffer.observations[i + 1])


@pytest.mark.parametrize("vec", ["dummy", "batch"])
def test_what_is_judged_starts_ordinarily(vec):
    snapshot, seen = walked(20)
    venv = taught(Starts([Start(snapshot, limit=3)]), 2, vec)
    firsts = []

    class Model:
        def predict(self, observation, state=None, episode_start=None, deterministic=True):
            firsts.extend(observation[i].copy() for i in np.flatnonzero(episode_start))
            return np.stack([UP, UP]), None

    _, lengths = evaluate_policy(Model(), venv, n_eval_episodes=4, return_episode_rewards=True, warn=False)
    assert lengths == [150] * 4
    assert len(firsts) >= 4 and not any(np.array_equal(first, seen) for first in firsts)
    assert np.array_equal(venv.reset()[0], seen)


def left(observation):
    return np.array([-1.0, 0.0], dtype=np.float32)


@pytest.mark.parametrize("vec", ["dummy", "batch", "subproc"])
def test_a_guide_plays_the_first_steps_and_they_are_counted(vec):
    teacher = Starts([Start(guide=left, roll_in=6), None, Start(guide=left, roll_in=4)], restores=False)
    venv = taught(teacher, 3, vec)
    plain = taught(Starts([None]), 3, vec)
    first, ordinary = venv.reset(), plain.reset()
    step = ordinary.copy()
    for _ in range(6):
        step = plain.step(np.stack([left(None)] * 3))[0]
        if _ == 3:
            after_four = step.copy()
    assert np.array_equal(first[0], step[0])
    assert np.array_equal(first[1], ordinary[1])
    assert np.array_equal(first[2], after_four[2])
    assert venv.steps_rolled_in == 10
    lengths = {}
    while len(lengths) < 3:
        _, _, dones, infos = venv.step(np.stack([UP] * 3))
        lengths.update({int(i): infos[i]["episode"]["l"] for i in np.flatnonzero(dones)})
    assert lengths == {0: 144, 1: 150, 2: 146}
    for each in (venv, plain):
        each.close()


@pytest.mark.parametrize("vec", ["dummy", "batch"])
def test_a_guide_that_ends_the_episode_leaves_an_ordinary_one(vec):
    teacher = Starts([Start(guide=left, roll_in=500)], restores=False)
    venv = taught(teacher, 1, vec)
    venv.reset()
    assert venv.steps_rolled_in == 150
    while not teacher.outcomes:
        venv.step(UP[None])
    assert teacher.outcomes[0].length == 150


@pytest.mark.parametrize("vec", ["dummy", "batch"])
def test_a_task_and_a_start_hold_together(vec):
    snapshot, seen = walked(8)
    goal = np.array([1.5, 1.5])
    venv = taught(Starts([Start(snapshot)], task=goal), 1, vec)
    observation = venv.reset()[0]
    assert np.array_equal(observation[:2], seen[:2])
    lone = rlteach.make_vec_env(MAZE, 1, vec=vec)
    shown = rlteach.attach(lone, rlteach.FixedTasks([goal])).reset()[0]
    assert np.array_equal(observation[2:], shown[2:])


def test_an_environment_that_cannot_be_restored_is_refused_before_anything_is_played():
    with pytest.raises(MissingCapability, match="restorable=True"):
        rlteach.attach(rlteach.make_vec_env("Pendulum-v1", 1), Starts([None]))
    with pytest.raises(UserError, match="LessonEnv"):
        rlteach.attach(DummyVecEnv([lambda: gym.make("Pendulum-v1")]), Starts([None]))
    with pytest.raises(MissingCapability, match="set_task"):
        rlteach.attach(rlteach.make_vec_env("rlteach/StumpTracks-v0", 1), Starts([None], task=np.zeros(2)))


def test_a_row_takes_the_snapshot_of_a_single_environment_only():
    env = rlteach.make_vec_env(MAZE, 3).batch_env
    env.reset(seed=0)
    with pytest.raises(ValueError, match="single environment"):
        env.set_row_snapshots({0: env.get_snapshot()})
