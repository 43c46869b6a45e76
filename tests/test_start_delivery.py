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
from rlteach.errors import InvalidValue, MissingCapability, UserError
from rlteach.lesson import Lesson, Start
from rlteach.snapshots.action_replay import ActionReplay
from rlteach.snapshots.base import set_elapsed
from rlteach.snapshots.collect import collect
from rlteach.snapshots.restorable import restorable
from rlteach.snapshots.store import SnapshotStore
from rlteach.teachers.jump_start import JumpStart
from rlteach.teachers.no_tasks import NoTasks
from rlteach.teachers.rfcl import RFCL
from rlteach.teachers.uniform_starts import UniformStarts

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

    monitors = [Monitor(restorable(gym.make("Pendulum-v1")), allow_early_resets=False) for _ in range(2)]
    makers = [lambda m=m: rlteach.LessonEnv(m) for m in monitors]
    venv = VecNormalize(rlteach.attach(DummyVecEnv(makers), teacher))
    venv.reset()
    for step in range(1, 15):
        _, _, dones, infos = venv.step(np.zeros((2, 1), dtype=np.float32))
        if dones.any():
            assert step % 7 == 0
            assert (venv.returns == 0).all()
            assert [info["episode"]["l"] for info in infos] == [7, 7]
    assert [o.length for o in teacher.outcomes] == [7] * 4
    for monitor in monitors:
        assert monitor.get_episode_lengths() == [7, 7] and monitor.get_total_steps() == 14
    told = sorted(ret for monitor in monitors for ret in monitor.get_episode_rewards())
    np.testing.assert_allclose(told, sorted(o.ret for o in teacher.outcomes), rtol=1e-6)


class OwnDice(gym.Env):
    """Begins at random by a generator of its own, which its snapshots hold."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def __init__(self):
        self.dice, self.place = np.random.default_rng(3), 0.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.dice.random()
        return np.array([self.place]), {}

    def step(self, action):
        return np.array([self.place]), 0.0, False, True, {}

    def get_snapshot(self):
        return {"dice": self.dice.bit_generator.state, "place": self.place}

    def set_snapshot(self, snapshot):
        self.dice.bit_generator.state, self.place = snapshot["dice"], snapshot["place"]
        return np.array([self.place]), {}


def test_chance_goes_on_in_generators_of_the_environments_own():
    env = OwnDice()
    env.reset()
    snapshot = env.get_snapshot()
    venv = rlteach.attach(DummyVecEnv([lambda: rlteach.LessonEnv(OwnDice())]), Starts([Start(snapshot), None]))
    firsts = [venv.reset()[0, 0], *(venv.step(np.zeros(1, int))[0][0, 0] for _ in range(5))]
    assert firsts[0::2] == [snapshot["place"]] * 3 and len(set(firsts[1::2])) == 3


def doubled(env):
    return gym.wrappers.TransformObservation(env, lambda seen: 2.0 * seen, env.observation_space)


def test_wrappers_around_what_restores_show_restored_observations_too():
    snapshot, seen = walked(20)
    make = lambda: rlteach.LessonEnv(doubled(gym.make(f"rlteach_envs:{MAZE}")))  # noqa: E731
    venv = rlteach.attach(DummyVecEnv([make]), Starts([Start(snapshot)]))
    np.testing.assert_allclose(venv.reset()[0], 2.0 * seen)


def test_wrappers_that_a_restored_observation_does_not_pass_are_refused():
    stacked = lambda: rlteach.LessonEnv(gym.wrappers.FrameStackObservation(gym.make(f"rlteach_envs:{MAZE}"), 3))  # noqa: E731
    with pytest.raises(UserError, match=r"FrameStackObservation changes observations .*restorable\(env\)"):
        rlteach.attach(DummyVecEnv([stacked]), Starts([Start(walked(3)[0])]))


def test_a_time_limit_around_the_lessons_is_refused_for_starts_only():
    make = lambda: gym.wrappers.TimeLimit(rlteach.LessonEnv(OwnDice()), 30)  # noqa: E731
    with pytest.raises(UserError, match=r"TimeLimit of 30 steps .* put LessonEnv outermost"):
        rlteach.attach(DummyVecEnv([make]), Starts([Start({})]))
    rlteach.attach(DummyVecEnv([make]), NoTasks())


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


@pytest.mark.parametrize("vec", ["dummy", "batch"])
@pytest.mark.parametrize(("elapsed", "left"), [(None, 130), (0, 150), (140, 10)])
def test_what_an_environment_counts_itself_follows_the_elapsed_steps(vec, elapsed, left):
    snapshot, _ = walked(20)
    teacher = Starts([Start(snapshot, elapsed=elapsed)])
    venv = taught(teacher, 2, vec)
    venv.reset()
    while len(teacher.outcomes) < 4:
        venv.step(np.stack([UP, UP]))
    assert [o.length for o in teacher.outcomes] == [left] * 4


@pytest.mark.parametrize(
    ("env", "limit"),
    [
        ("rlteach/MiniGridMaze-v0", 250),
        ("MiniGrid-Empty-5x5-v0", 100),
        ("rlteach/StumpTracksFast-v0", 60),
        ("Pendulum-v1", 200),
    ],
)
def test_so_do_limits_of_other_kinds(env, limit):
    if env.startswith("MiniGrid"):
        pytest.importorskip("minigrid")
    made = restorable(
        gym.make(env if "/" not in env else f"rlteach_envs:{env}", **({"horizon": 60} if limit == 60 else {}))
    )
    made.reset(seed=0)
    set_elapsed(made, limit - 3)
    still = np.zeros(made.action_space.shape, made.action_space.dtype)
    assert [made.step(still)[3] for _ in range(3)] == [False, False, True]


def test_a_replayed_start_repeats_no_ordinary_one_and_is_charged():
    def make():
        return rlteach.LessonEnv(ActionReplay(gym.make("Pendulum-v1")))

    env = make()
    env.reset(seed=3)
    for _ in range(7):
        env.step(np.zeros(1, dtype=np.float32))
    snapshot = env.get_wrapper_attr("get_snapshot")()
    venv = rlteach.attach(DummyVecEnv([make]), Starts([Start(snapshot, limit=1), None]))
    venv.seed(0)
    firsts = [venv.reset()[0].copy()]
    while len(firsts) < 8:
        observation, _, dones, _ = venv.step(np.zeros((1, 1), dtype=np.float32))
        if dones[0]:
            firsts.append(observation[0].copy())
    assert len({tuple(first) for first in firsts[1::2]}) == 4
    assert venv.steps_rolled_in == 7 * 4


def test_a_guide_needs_no_snapshots():
    def still(observation):
        return np.zeros(1, dtype=np.float32)

    venv = rlteach.attach(rlteach.make_vec_env("Pendulum-v1", 1), JumpStart(still, 40, seed=0))
    venv.reset()
    assert venv.steps_rolled_in == 40
    space = rlteach.make_vec_env("rlteach_envs:rlteach/StumpTracksFast-v0", 1).get_attr("task_space")[0]
    both = rlteach.Compose(rlteach.make_teacher("uniform", space, seed=0), JumpStart(still, 40, seed=0))
    rlteach.attach(rlteach.make_vec_env("rlteach_envs:rlteach/StumpTracksFast-v0", 1), both)


def test_statistics_inside_leave_out_what_the_guide_played():
    def make():
        return rlteach.LessonEnv(gym.wrappers.RecordEpisodeStatistics(gym.make("Pendulum-v1")))

    def still(observation):
        return np.zeros(1, dtype=np.float32)

    teacher = Starts([Start(guide=still, roll_in=150)], restores=False)
    venv = rlteach.attach(DummyVecEnv([make]), teacher)
    venv.reset()
    while not teacher.outcomes:
        infos = venv.step(np.zeros((1, 1), dtype=np.float32))[3]
    assert infos[0]["episode"]["l"] == teacher.outcomes[0].length == 50
    assert infos[0]["episode"]["r"] == pytest.approx(teacher.outcomes[0].ret, rel=1e-5)


def test_monitor_inside_logs_episodes_from_where_they_started():
    snapshot, _ = swung(10)

    def make():
        return rlteach.LessonEnv(Monitor(restorable(gym.make("Pendulum-v1"))))

    teacher = Starts([Start(snapshot, elapsed=190)])
    venv = rlteach.attach(DummyVecEnv([make]), teacher)
    venv.reset()
    while len(teacher.outcomes) < 3:
        venv.step(np.zeros((1, 1), dtype=np.float32))
    assert venv.env_method("get_episode_lengths")[0] == [10, 10, 10]
    assert venv.env_method("get_episode_rewards")[0] == pytest.approx([o.ret for o in teacher.outcomes], rel=1e-5)


# -- whose snapshots they are ------------------------------------------------------------------------------------------


PLANE = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)


def stored(env, actions=3, **kwargs):
    store = SnapshotStore()
    collect(restorable(gym.make(env, **kwargs)), None, store, episodes=1, every=actions, max_steps=3 * actions)
    return store


def test_snapshots_of_another_environment_are_refused_before_anything_is_played():
    teacher = UniformStarts(stored("Pendulum-v1", g=9.8), seed=0)
    same, other = (rlteach.make_vec_env("Pendulum-v1", 1, env_kwargs={"g": g}, restorable=True) for g in (9.8, 2.0))
    rlteach.attach(same, teacher).reset()
    with pytest.raises(InvalidValue, match="which mean nothing in"):
        rlteach.attach(other, teacher)


def test_snapshots_that_another_version_of_the_engine_has_made_are_refused_before_anything_is_played(monkeypatch):
    mujoco = pytest.importorskip("mujoco")
    teacher = UniformStarts(stored("Hopper-v5"), seed=0)
    rlteach.attach(rlteach.make_vec_env("Hopper-v5", 1, restorable=True), teacher)
    version = mujoco.__version__
    monkeypatch.setattr(mujoco, "__version__", "9.9")
    with pytest.raises(InvalidValue, match=rf"under mujoco {version}, and here is mujoco 9\.9.*collect again"):
        rlteach.attach(rlteach.make_vec_env("Hopper-v5", 1, restorable=True), teacher)


def test_what_stands_around_the_layer_that_restores_makes_no_other_environment():
    teacher = UniformStarts(stored("Pendulum-v1"), seed=0)

    def make():
        seen = gym.wrappers.TransformObservation(restorable(gym.make("Pendulum-v1")), lambda o: o[:2], PLANE)
        return rlteach.LessonEnv(seen)

    assert rlteach.attach(DummyVecEnv([make]), teacher).reset().shape == (1, 2)
    store = SnapshotStore()
    collect(make(), None, store, episodes=1, every=100)
    assert store.fingerprint == teacher.store.fingerprint


@pytest.mark.parametrize("vec", ["batch", "dummy"])
def test_snapshots_of_another_layout_are_refused_in_both_forms(vec):
    mazes = stored(f"rlteach_envs:{MAZE}", layout="serpentine")
    for teacher in (UniformStarts(mazes, seed=0), rlteach.Compose(NoTasks(), UniformStarts(mazes, seed=0))):
        taught(teacher, 2, vec, env_kwargs={"layout": "serpentine"}).reset()
        with pytest.raises(InvalidValue, match="which mean nothing in"):
            taught(teacher, 2, vec, env_kwargs={"layout": "corridor-12"})


@pytest.mark.parametrize("vec", ["dummy", "batch"])
def test_what_the_limit_cuts_off_is_no_success_where_the_snapshots_tell_success(vec):
    store = SnapshotStore()
    shown = gym.make(f"rlteach_envs:{MAZE}")
    collect(
        shown,
        shown.get_wrapper_attr("demonstrate"),
        store,
        episodes=1,
        tasks=[shown.get_wrapper_attr("test_sets")["feasible"][0]],
    )
    assert store.records[0].success == 1.0
    teacher = RFCL(store, limit_slack=2, limit_ratio=0.0, seed=0)
    venv = taught(teacher, 2, vec)
    venv.reset()
    at = teacher.at.copy()
    for _ in range(60):
        venv.step(np.zeros((2, 2), dtype=np.float32))
    assert (teacher.at == at).all() and venv.tells_success


def test_a_resumed_episode_has_the_time_left_that_it_had():
    pytest.importorskip("minigrid")
    minigrid = rlteach.LessonEnv(ActionReplay(gym.make("MiniGrid-Empty-8x8-v0")))
    minigrid.arm_lessons(0)
    minigrid.reset(seed=0)
    minigrid.begin_lesson({0: (None, None, None)})
    for _ in range(5):
        minigrid.step(0)
    snapshot = minigrid.get_wrapper_attr("get_snapshot")()
    minigrid.reset()
    minigrid.begin_lesson({0: (None, Start(snapshot, elapsed=0), None)})
    minigrid.step(0)
    assert minigrid.unwrapped.step_count == 1
    state = minigrid.get_episode_state()
    minigrid.step(0)
    minigrid.set_episode_state(state)
    assert minigrid.unwrapped.step_count == 1


def test_the_limits_of_wrappers_start_anew_after_a_replay_too():
    env = rlteach.LessonEnv(ActionReplay(gym.make("Pendulum-v1")))
    env.reset(seed=0)
    for _ in range(7):
        env.step(np.zeros(1, dtype=np.float32))
    snapshot = env.get_wrapper_attr("get_snapshot")()
    teacher = Starts([Start(snapshot)])
    venv = rlteach.attach(DummyVecEnv([lambda: rlteach.LessonEnv(ActionReplay(gym.make("Pendulum-v1")))]), teacher)
    venv.reset()
    while not teacher.outcomes:
        venv.step(np.zeros((1, 1), dtype=np.float32))
    assert teacher.outcomes[0].length == 200


def test_a_threshold_decides_on_success_although_the_snapshots_tell_it():
    store = SnapshotStore()
    env = restorable(gym.make("CartPole-v1"))
    env.reset(seed=0)
    store.claim(env)
    store.add(env.get_wrapper_attr("get_snapshot")(), episode=0, step=0, remaining=20, ret=20.0, success=1.0)
    teacher = UniformStarts(store, seed=0)
    venv = rlteach.attach(rlteach.make_vec_env("CartPole-v1", 2, restorable=True), teacher, success_threshold=5.0)
    heard = []
    teacher.observe = heard.extend
    venv.reset()
    while len(heard) < 4:
        venv.step(np.zeros(2, dtype=np.int64))
    assert all(outcome.success == 1.0 for outcome in heard if outcome.ret >= 5.0) and heard


def test_a_store_of_another_kind_is_none_of_ours():
    teacher = Starts([None])
    teacher.store = {}
    taught(teacher).reset()
