"""`verify` passes what is exact, and rejects every way of losing the state that looks right."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
import rlteach_envs  # noqa: F401  (registers our environments)
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.monitor import Monitor

from rlteach.errors import EnvironmentFault, InvalidValue, MissingCapability
from rlteach.snapshots.action_replay import ActionReplay
from rlteach.snapshots.restorable import restorable
from rlteach.snapshots.verify import Report, difference, verify

MUJOCO = ("Hopper-v5", "HalfCheetah-v5", "Walker2d-v5", "Swimmer-v5", "Ant-v5", "Humanoid-v5")
CLASSIC = ("CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0")
BOX2D = ("LunarLander-v3", "BipedalWalker-v3", "rlteach/StumpTracks-v0")


def make(name):
    if name in MUJOCO:
        pytest.importorskip("mujoco")
    if name in BOX2D:
        pytest.importorskip("Box2D")
    return gym.make(name, **({"continuous": True} if name == "LunarLander-v3" else {}))


# -- what passes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*MUJOCO, *CLASSIC, *BOX2D, "rlteach/GoalMaze-v0"])
def test_every_back_end_is_exact(name):
    report = verify(restorable(make(name)), n=2, actions=30 if name in BOX2D else 60)
    assert (report.exact, report.largest_difference, report.states) == (True, 0.0, 2)
    assert 100 < report.mean_bytes < 100_000 and report.save_us > 0 < report.restore_us


@pytest.mark.parametrize("name", ["MiniGrid-DoorKey-5x5-v0", "MiniGrid-Dynamic-Obstacles-6x6-v0", "BabyAI-GoToObj-v0"])
def test_minigrid_is_exact(name):
    pytest.importorskip("minigrid", reason="MiniGrid is not installed: pip install rlteach[minigrid]")
    report = verify(restorable(gym.make(name)), n=3, actions=60)
    assert (report.exact, report.states) == (True, 3)


def test_time_limits_and_monitors_are_no_obstacle():
    env = gym.wrappers.TimeLimit(Monitor(restorable(gym.make("Pendulum-v1"))), 7)
    assert verify(env, n=10, actions=30).exact
    env = restorable(gym.wrappers.RecordEpisodeStatistics(gym.make("Pendulum-v1", max_episode_steps=9)))
    assert verify(env, n=10, actions=30).exact


def test_the_same_seed_looks_at_the_same_states():
    first, second, third = (verify(restorable(gym.make("CartPole-v1")), n=4, seed=seed) for seed in (1, 1, 2))
    assert first.mean_bytes == second.mean_bytes
    assert isinstance(third, Report) and third.exact


# -- what must not pass ------------------------------------------------------------------------------------------------


class Naive(gym.Wrapper):
    """Remembers the observation, so that only the state behind it can be wrong."""

    def reset(self, **kwargs):
        self.last, info = self.env.reset(**kwargs)
        return self.last, info

    def step(self, action):
        result = self.env.step(action)
        self.last = result[0]
        return result


class Copying(Naive):
    """Keeps deep copies of the environment, and plays a copy of those."""

    def __init__(self, env):
        super().__init__(env)
        self.kept = []

    def get_snapshot(self):
        self.kept.append(copy.deepcopy(self.env))
        return {"number": len(self.kept) - 1, "last": self.last.copy()}

    def set_snapshot(self, snapshot):
        self.env = copy.deepcopy(self.kept[snapshot["number"]])
        return snapshot["last"], {}


class Pickling(Naive):
    """Keeps pickles of the environment."""

    def get_snapshot(self):
        return {"pickle": pickle.dumps(self.env), "last": self.last.copy()}

    def set_snapshot(self, snapshot):
        self.env = pickle.loads(snapshot["pickle"])
        return snapshot["last"], {}


class Positions(Naive):
    """Position and velocity, as `MujocoEnv.set_state` takes them, and the generator, but nothing that lags."""

    def get_snapshot(self):
        data = self.unwrapped.data
        generator = self.unwrapped.np_random.bit_generator.state
        return {"qpos": data.qpos.copy(), "qvel": data.qvel.copy(), "generator": generator, "last": self.last}

    def set_snapshot(self, snapshot):
        self.unwrapped.set_state(snapshot["qpos"], snapshot["qvel"])
        self.unwrapped.np_random.bit_generator.state = snapshot["generator"]
        return snapshot["last"], {}


@pytest.mark.parametrize("naive", [Copying, Pickling])
@pytest.mark.parametrize("name", ["Hopper-v5", "HalfCheetah-v5", "Ant-v5", "LunarLander-v3", "BipedalWalker-v3"])
def test_copied_and_pickled_environments_are_rejected(name, naive):
    with pytest.raises(EnvironmentFault, match="does not bring its state back") as caught:
        verify(naive(make(name)), n=5)
    assert "snapshots.restorable.restorable(env)" in str(caught.value)
    assert "step 1's" in str(caught.value) or "raised AssertionError" in str(caught.value)


@pytest.mark.parametrize("naive", [Copying, Pickling])
@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_copies_and_pickles_are_accepted_where_they_are_exact(name, naive):
    assert verify(naive(gym.make(name)), n=5).exact


def test_position_and_velocity_alone_are_rejected_unless_a_tolerance_allows_it():
    with pytest.raises(EnvironmentFault, match=r"step 1's reward differs by 0\.00\d+ \(tolerance 0\)"):
        verify(Positions(make("Ant-v5")), n=2)
    report = verify(Positions(make("Ant-v5")), n=2, tolerance=0.1)
    assert not report.exact and 0.0 < report.largest_difference < 0.1


class Drifting(gym.Env):
    """A walk with an end, and with a defect where `defect` says so."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float64)
    hidden = np.random.default_rng(0)

    def __init__(self, defect=""):
        self.defect = defect

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t = self.np_random.normal(), 0
        return self._look(), {}

    def step(self, action):
        self.x += float(action[0]) + 0.1 * self.np_random.normal()
        self.t += 1
        reward = self.x
        if self.defect == "reward":
            reward += self.hidden.normal()
        if self.defect == "observation":
            self.x += self.hidden.normal()
        if self.defect == "slight":
            reward += 1e-9 * self.hidden.random()
        late = 0 if self.defect != "end" else int(self.hidden.integers(2))
        return self._look(), reward, self.t >= 30 + late, False, {}

    def _look(self):
        return np.array([self.x, self.t])


class Own(Drifting):
    """Offers snapshots of its own, of which a part may be missing."""

    def get_snapshot(self):
        state = {"x": self.x, "t": self.t, "generator": self.np_random.bit_generator.state}
        return {name: value for name, value in state.items() if name != self.defect}

    def set_snapshot(self, snapshot):
        self.x, self.t = snapshot.get("x", self.x), snapshot.get("t", self.t)
        if "generator" in snapshot:
            self.np_random.bit_generator.state = snapshot["generator"]
        observation = self._look()
        return observation + 1.0 if self.defect == "first" else observation, {}


@pytest.mark.parametrize("back_end", [restorable, ActionReplay])
@pytest.mark.parametrize("defect", ["reward", "observation", "end"])
def test_randomness_outside_the_generator_is_rejected_and_named(defect, back_end):
    words = {"reward": "reward differs", "observation": "observation differs", "end": "differs by inf"}[defect]
    with pytest.raises(EnvironmentFault, match=words):
        verify(back_end(Drifting(defect)), n=10)
    assert verify(back_end(Drifting()), n=5).exact


def test_the_advice_is_to_replay_and_after_that_to_mend_the_environment():
    with pytest.raises(EnvironmentFault, match=r"where AttributeCopy does not look[^$]*env = ActionReplay\(env\)"):
        verify(restorable(Drifting("observation")))
    with pytest.raises(EnvironmentFault, match=r"draw everything random from self\.np_random"):
        verify(ActionReplay(Drifting("observation")))


@pytest.mark.parametrize("missing", ["x", "t", "generator", "first"])
def test_whatever_is_left_out_of_a_snapshot_is_noticed(missing):
    with pytest.raises(EnvironmentFault, match="leaves out something that decides what comes next"):
        verify(Own(missing), n=5)
    assert verify(Own(), n=5).exact


def test_a_step_is_named_by_its_number():
    class Late(Own):
        def step(self, action):
            observation, reward, terminated, truncated, info = super().step(action)
            self.since = getattr(self, "since", 0) + 1
            return observation, reward + (self.since == 4), terminated, truncated, info

        def set_snapshot(self, snapshot):
            self.since = 0
            return super().set_snapshot(snapshot)

    with pytest.raises(EnvironmentFault, match=r"moment 1 of 5\): step 4's reward differs by 1 \(tolerance 0\)"):
        verify(Late(), n=5)


def test_a_tolerance_lets_small_differences_pass_and_reports_them():
    with pytest.raises(EnvironmentFault):
        verify(restorable(Drifting("slight")), n=3)
    report = verify(restorable(Drifting("slight")), n=3, tolerance=1e-6)
    assert not report.exact and 0.0 < report.largest_difference <= 2e-9


def test_an_exception_after_a_restoration_is_a_fault_of_the_snapshot():
    class Broken(Own):
        def set_snapshot(self, snapshot):
            raise KeyError("nothing")

    with pytest.raises(EnvironmentFault, match=r"it raised KeyError\('nothing'\)"):
        verify(Broken(), n=1)


class Tasked(Own):
    """Takes a speed as its task, which `defect` may leave out of a snapshot, as it may what infos tell."""

    task_space = spaces.Box(0.5, 2.0, (), np.float64)
    beaten = 0

    def reset(self, *, seed=None, options=None):
        self.speed = float((options or {}).get("task", 1.0))
        self.beaten = 0
        return super().reset(seed=seed)

    def step(self, action):
        *result, _ = super().step(action * self.speed)
        self.beaten += 1
        return *result, {"is_success": self.beaten > 3}

    def get_snapshot(self):
        own = {"speed": self.speed, "beaten": np.int64(self.beaten)}
        return super().get_snapshot() | {name: value for name, value in own.items() if name != self.defect}

    def set_snapshot(self, snapshot):
        self.speed, self.beaten = snapshot.get("speed", self.speed), int(snapshot.get("beaten", 0))
        return super().set_snapshot(snapshot)


def test_random_tasks_show_that_a_snapshot_leaves_out_the_task():
    assert verify(Tasked(), n=5).exact
    with pytest.raises(EnvironmentFault, match=r"step \d+'s observation differs"):
        verify(Tasked("speed"), n=5)


def test_success_is_compared_too():
    with pytest.raises(EnvironmentFault, match=r"step 1's success differs by 1"):
        verify(Tasked("beaten"), n=5)


def test_what_only_this_instance_remembers_is_rejected_when_there_is_another():
    def make_one():
        return Copying(gym.make("CartPole-v1"))

    assert verify(make_one(), n=2).exact
    with pytest.raises(EnvironmentFault, match=r"moment 1 of 2, in another instance\): it raised IndexError"):
        verify(make_one(), n=2, make=make_one)


@pytest.mark.parametrize("name", ["Pendulum-v1", "LunarLander-v3", "rlteach/GoalMaze-v0"])
def test_another_instance_goes_on_as_exactly(name):
    report = verify(restorable(make(name)), n=3, make=lambda: restorable(make(name)))
    assert (report.exact, report.states) == (True, 3)


def test_another_instance_is_reset_first_and_closed_whatever_happens():
    class MadeByReset(Own):
        closed = 0

        def reset(self, *, seed=None, options=None):
            self.body = [0.0]
            return super().reset(seed=seed)

        def set_snapshot(self, snapshot):
            self.body[0] = 1.0
            return super().set_snapshot(snapshot)

        def close(self):
            type(self).closed += 1

    assert verify(MadeByReset(), n=2, make=MadeByReset).exact and MadeByReset.closed == 1
    with pytest.raises(EnvironmentFault):
        verify(MadeByReset("x"), n=2, make=MadeByReset)
    assert MadeByReset.closed == 2


class Patient(Own):
    """Counts its steps where nobody sees it, for a limit that is far away, and leaves them out of its snapshots."""

    def reset(self, *, seed=None, options=None):
        self.waited = 0
        return super().reset(seed=seed)

    def step(self, action):
        self.waited += 1
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, self.waited >= 1000, info


def test_a_counter_of_steps_that_does_not_come_back_is_told_with_what_to_add():
    with pytest.warns(UserWarning, match=r"Patient\.waited counts the steps.*its whole time.*set_elapsed\(steps\)"):
        assert verify(Patient(), n=4).exact

    class Told(Patient):
        def set_elapsed(self, steps):
            self.waited = steps

    class Kept(Patient):
        def get_snapshot(self):
            return super().get_snapshot() | {"waited": self.waited}

        def set_snapshot(self, snapshot):
            self.waited = snapshot["waited"]
            return super().set_snapshot(snapshot)

    for right in (Told(), Kept(), restorable(Drifting())):  # a warning would be an error
        assert verify(right, n=4).exact


def test_wrong_arguments_are_refused_before_anything_is_played():
    for wrong in ({"n": 0}, {"actions": 0}, {"tolerance": -1.0}, {"tolerance": float("nan")}):
        with pytest.raises(InvalidValue, match="must be at least"):
            verify(Drifting(), **wrong)
    with pytest.raises(MissingCapability, match="get_snapshot"):
        verify(Drifting(), n=1)


# -- differences -------------------------------------------------------------------------------------------------------


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_the_difference_of_two_numbers_is_zero_only_for_the_same_bits(a, b):
    expected = 0.0 if np.float64(a).tobytes() == np.float64(b).tobytes() else max(abs(a - b), 5e-324)
    assert difference(a, b) == difference(b, a) == expected
    assert difference({"k": (0, [a])}, {"k": (0, [b])}) == expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (np.array([1.0, np.nan, np.inf]), np.array([1.0, np.nan, np.inf]), 0.0),
        (np.array([1.0, np.nan]), np.array([1.5, np.nan]), 0.5),
        (np.array([1.0, np.inf]), np.array([1.5, np.inf]), 0.5),
        (np.array([np.nan]), np.array([0.0]), np.inf),
        (np.zeros(2), np.zeros(3), np.inf),
        (np.zeros(2), np.zeros(2, np.float32), np.inf),
        (np.uint8(3), np.uint8(5), 2.0),
        ({"a": 1}, {"b": 1}, np.inf),
        ((1, 2), (1, 2, 3), np.inf),
        ("go left", "go right", np.inf),
        ("go left", "go left", 0.0),
    ],
)
def test_differences_of_special_values_and_structures(a, b, expected):
    assert difference(a, b) == expected
