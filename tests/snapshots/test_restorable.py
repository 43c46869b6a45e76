"""Environments that nobody changed go on bit by bit from a snapshot, here, in another copy and in another process."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import rlteach_envs  # noqa: F401  (registers our environments)
from gymnasium import spaces
from gymnasium.wrappers import (
    FlattenObservation,
    FrameStackObservation,
    RescaleAction,
    RescaleObservation,
    StickyAction,
    TransformReward,
)
from rlteach_envs.goal_maze import GoalMaze

from rlteach import TaskFromAttr, TaskFromKwargs, environments
from rlteach.errors import EnvironmentFault, InvalidValue, MissingCapability, UserError
from rlteach.snapshots import mujoco_state
from rlteach.snapshots import restorable as restorable_module
from rlteach.snapshots.action_replay import ActionReplay
from rlteach.snapshots.attributes import AttributeCopy, unfit
from rlteach.snapshots.encoding import decode, encode
from rlteach.snapshots.mujoco_state import MujocoState
from rlteach.snapshots.restorable import capture, fingerprint, identity_of, restorable, restore
from rlteach.snapshots.verify import difference

BACK_ENDS = {
    "Hopper-v5": MujocoState,
    "HalfCheetah-v5": MujocoState,
    "Walker2d-v5": MujocoState,
    "Ant-v5": MujocoState,
    "Swimmer-v5": MujocoState,
    "Humanoid-v5": MujocoState,
    "InvertedDoublePendulum-v5": MujocoState,
    "Pusher-v5": MujocoState,
    "Reacher-v5": MujocoState,
    "CartPole-v1": AttributeCopy,
    "Pendulum-v1": AttributeCopy,
    "Acrobot-v1": AttributeCopy,
    "MountainCar-v0": AttributeCopy,
    "MountainCarContinuous-v0": AttributeCopy,
    "FrozenLake-v1": AttributeCopy,
    "LunarLander-v3": ActionReplay,
    "BipedalWalker-v3": ActionReplay,
}
MUJOCO = [name for name, kind in BACK_ENDS.items() if kind is MujocoState]
STEPS = 30
"""Together with those before a snapshot fewer than Reacher is given: time limits are not put back here."""


def needs(name):
    """Skip unless the engine of an environment is installed."""
    if name in MUJOCO:
        pytest.importorskip("mujoco")
    if BACK_ENDS.get(name) is ActionReplay or name == "rlteach/StumpTracks-v0":
        pytest.importorskip("Box2D")


def make(name, **kwargs):
    needs(name)
    return restorable(gym.make(name, **kwargs))


def actions_of(env, count=STEPS, seed=0):
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(count)]


def play(env, actions):
    """Return what an environment returns, with a reset at every end of an episode."""
    trace = []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        trace.append((np.array(observation), float(reward), terminated))
        if terminated or truncated:
            trace.append((np.array(env.reset()[0]), 0.0, False))
    return trace


def after_some_steps(env, count=15, seed=3):
    env.reset(seed=seed)
    return play(env, actions_of(env, count, seed=1))[-1][0]


# -- which back-end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), BACK_ENDS.items())
def test_every_environment_gets_the_back_end_that_suits_it(name, kind):
    assert type(make(name)) is kind


@pytest.mark.parametrize("name", ["rlteach/GoalMaze-v0", "rlteach/StumpTracks-v0"])
def test_an_environment_that_offers_snapshots_is_left_alone(name):
    needs(name)
    env = gym.make(name)
    assert restorable(env) is env
    wrapped = restorable(gym.make("Pendulum-v1"))
    assert restorable(wrapped) is wrapped


def test_something_else_is_refused_with_a_recipe():
    for door in (restorable, capture, lambda env: restore(env, b"")):
        with pytest.raises(MissingCapability, match=r"get_snapshot.*(\n.*){2,}def set_snapshot"):
            door(gym.make_vec("CartPole-v1", 2))
    with pytest.raises(MissingCapability, match=r"env = restorable\(env\)"):
        capture(gym.make("CartPole-v1"))


def test_the_imports_load_no_engine():
    modules = ("base", "encoding", "attributes", "mujoco_state", "action_replay", "restorable", "verify")
    script = f"import sys; {'; '.join(f'import rlteach.snapshots.{name}' for name in modules)}\n"
    script += "print([name for name in ('mujoco', 'Box2D', 'torch', 'minigrid') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


# -- into another copy, and into another process -----------------------------------------------------------------------


@pytest.mark.parametrize("name", [*BACK_ENDS, "rlteach/GoalMaze-v0", "rlteach/StumpTracks-v0"])
def test_another_copy_goes_on_bit_by_bit(name):
    first, second = make(name), make(name)
    last = after_some_steps(first)
    data = capture(first)
    onwards = play(first, actions_of(first))
    observation, info = restore(second, data)  # the copy has never been reset
    assert difference(observation, last) == 0.0 and info == {}
    assert difference(play(second, actions_of(first)), onwards) == 0.0


@pytest.mark.parametrize("name", ["Hopper-v5", "Pendulum-v1", "LunarLander-v3"])
def test_a_restored_state_gives_the_same_bytes_again(name):
    first, second = make(name), make(name)
    after_some_steps(first)
    data = capture(first)
    restore(second, data)
    assert capture(second) == data


def test_another_process_goes_on_bit_by_bit(tmp_path):
    env = make("Hopper-v5")
    after_some_steps(env)
    data, actions = capture(env), actions_of(env)
    (tmp_path / "state").write_bytes(data)
    script = f"""
import pathlib, sys
import gymnasium as gym
from rlteach.snapshots.restorable import capture, restorable, restore
env = restorable(gym.make("Hopper-v5"))
restore(env, pathlib.Path(sys.argv[1]).read_bytes())
env.action_space.seed(0)
for action in [env.action_space.sample() for _ in range({STEPS})]:
    _, _, terminated, truncated, _ = env.step(action)
    if terminated or truncated:
        env.reset()
sys.stdout.buffer.write(capture(env))
"""
    command = [sys.executable, "-c", script, str(tmp_path / "state")]
    there = subprocess.run(command, capture_output=True, check=True).stdout
    play(env, actions)
    assert capture(env) == there != data


@pytest.mark.parametrize("name", ["Hopper-v5", "MountainCarContinuous-v0", "LunarLander-v3"])
def test_what_is_played_later_changes_no_snapshot(name):
    env = make(name)
    after_some_steps(env)
    snapshot = env.get_snapshot()
    before = encode(snapshot)
    for _ in range(2):
        env.set_snapshot(snapshot)[0][:] = 9.0
        play(env, actions_of(env))
        assert encode(snapshot) == before


def test_nobody_can_restore_a_snapshot_of_something_that_never_began():
    with pytest.raises(UserError, match=r"call reset\(\) before get_snapshot"):
        restorable(gym.make("Pendulum-v1")).get_snapshot()
    with pytest.raises(UserError, match=r"call reset\(\) before get_snapshot"):
        ActionReplay(gym.make("Pendulum-v1")).get_snapshot()


def test_a_snapshot_of_another_kind_is_refused():
    by_copy, by_replay = restorable(gym.make("Pendulum-v1")), ActionReplay(gym.make("Pendulum-v1"))
    after_some_steps(by_copy)
    after_some_steps(by_replay)
    with pytest.raises(InvalidValue, match="has no 'seed'"):
        by_replay.set_snapshot(by_copy.get_snapshot())
    with pytest.raises(InvalidValue, match="has no 'attributes'"):
        by_copy.set_snapshot(by_replay.get_snapshot())


def test_it_may_stand_inside_the_usual_wrappers_too():
    env = gym.wrappers.TimeLimit(gym.wrappers.OrderEnforcing(restorable(gym.make("Pendulum-v1").unwrapped)), 200)
    last = after_some_steps(env)
    data = capture(env)
    onwards = play(env, actions_of(env))
    env.reset()
    assert difference(restore(env, data)[0], last) == 0.0
    assert difference(play(env, actions_of(env)), onwards) == 0.0


# -- MuJoCo ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "array"), [("Ant-v5", "xpos"), ("Humanoid-v5", "xipos")])
def test_without_its_lagging_array_the_next_reward_differs(name, array, monkeypatch):
    assert array in mujoco_state.LAGGING
    monkeypatch.setattr(mujoco_state, "LAGGING", tuple(other for other in mujoco_state.LAGGING if other != array))
    env = make(name)
    after_some_steps(env)
    snapshot, actions = env.get_snapshot(), actions_of(env, 3)
    onwards = play(env, actions)
    env.set_snapshot(snapshot)
    again = play(env, actions)
    assert 0.0 < abs(onwards[0][1] - again[0][1]) < 0.1
    assert difference(onwards[0][0], again[0][0]) == 0.0 and difference(onwards[1:], again[1:]) == 0.0


def test_a_mujoco_environment_with_state_that_is_not_plain_is_replayed():
    class Odd(gym.Wrapper):
        def __init__(self, env):
            super().__init__(env)
            self.memory = {1, 2}

    needs("Reacher-v5")
    assert type(restorable(Odd(gym.make("Reacher-v5")))) is ActionReplay


# -- attributes --------------------------------------------------------------------------------------------------------


class Plain(gym.Env):
    """Keeps its state in as many ways as `AttributeCopy` must know."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self):
        self.other_rng = np.random.default_rng(5)
        self.same_rng = self.other_rng
        self.legacy = np.random.Generator(np.random.MT19937(3))
        self.helper = abs
        self.kind = dict

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = np.zeros(3, np.float32)
        self.visits = {(0, 0): 1, "late": [1.5, (2, None)]}
        self.best = np.float32(0.1)
        return self._look(), {}

    def step(self, action):
        self.position[:2] += action
        self.position[2] += self.np_random.normal() + self.same_rng.normal() - self.other_rng.normal()
        key = tuple(np.round(self.position[:2]).astype(int).tolist())
        self.visits[key] = self.visits.pop(key, 0) + 1  # the order of the keys is state too
        self.visits["late"][0] += 0.5
        self.best = max(self.best, np.float32(self.position[0]))
        return self._look(), float(self.best + self.legacy.random()), False, False, {}

    def _look(self):
        weights = [value for key, value in self.visits.items() if key != "late"]
        return np.array([*self.position[:2], np.dot(weights, np.arange(len(weights)))]) + self.visits["late"][0]


def test_every_kind_of_plain_attribute_comes_back():
    first, second = restorable(Plain()), restorable(Plain())
    assert type(first) is AttributeCopy
    after_some_steps(first)
    data, actions = capture(first), actions_of(first)
    onwards = play(first, actions)
    second.reset(seed=9)
    restore(second, data)
    assert second.unwrapped.same_rng is second.unwrapped.other_rng
    assert difference(play(second, actions), onwards) == 0.0


class Held:
    pass


def holding(**attributes):
    env = Plain()
    for name, value in attributes.items():
        setattr(env, name, value)
    return env


SHARED = np.zeros(4)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"a": Held()}, "Plain.a holds a"),
        ({"a": [1, {"b": Held()}]}, "Plain.a holds a"),
        ({"a": {1, 2}}, "builtins.set"),
        ({"a": np.array([None])}, "array of object"),
        ({"a": SHARED, "b": SHARED[1:]}, "Plain.b and Plain.a share memory"),
        ({"a": np.frombuffer(bytearray(8))}, "view of memory that belongs to memoryview"),
        ({"a": list(range(6000))}, "hold 6023 values"),
    ],
)
def test_what_cannot_be_copied_is_replayed_instead_of_dropped(attributes, reason):
    env = holding(**attributes)
    env.reset(seed=0)
    assert reason in unfit(env)
    assert type(restorable(env)) is ActionReplay
    env = restorable(env)
    after_some_steps(env)
    assert decode(capture(env))["snapshot"]["seed"] == 3


def test_an_attribute_that_turns_up_later_and_cannot_be_copied_is_told():
    env = restorable(Plain())
    env.reset(seed=0)
    env.unwrapped.late = Held()
    with pytest.raises(UserError, match=r"Plain\.late holds a .*Held.*env = ActionReplay\(env\)"):
        env.get_snapshot()


def test_wrappers_inside_are_copied_where_they_can_be_and_replayed_where_not():
    assert type(restorable(RescaleAction(gym.make("Pendulum-v1"), np.float32(-1), np.float32(1)))) is AttributeCopy
    assert type(restorable(TransformReward(gym.make("Pendulum-v1"), lambda reward: 2 * reward))) is AttributeCopy
    env = restorable(FrameStackObservation(gym.make("Pendulum-v1"), 3))
    assert type(env) is ActionReplay
    last = after_some_steps(env)
    data = capture(env)
    onwards = play(env, actions_of(env))
    env.reset(seed=8)
    assert difference(restore(env, data)[0], last) == 0.0
    assert difference(play(env, actions_of(env)), onwards) == 0.0


# -- replay ------------------------------------------------------------------------------------------------------------


def test_an_unseeded_reset_can_be_repeated_and_follows_from_the_last_seed():
    def firsts(env):
        return [env.reset(seed=4)[0], env.reset()[0], env.reset()[0]]

    one, two = (make("LunarLander-v3", continuous=True) for _ in range(2))
    assert difference(firsts(one), firsts(two)) == 0.0
    assert difference(*[env.reset()[0] for env in (one, one)]) > 0.0
    fresh = make("LunarLander-v3", continuous=True)
    first, _ = fresh.reset()
    data = capture(fresh)
    fresh.reset(seed=1)
    assert difference(restore(fresh, data)[0], first) == 0.0


def test_replayed_steps_are_counted_and_grow_with_the_age_of_the_episode():
    env = make("LunarLander-v3")
    env.reset(seed=0)
    sizes = []
    for age in (0, 10, 20):
        while len(env.get_snapshot()["actions"]) < age:
            env.step(0)
        sizes.append(len(capture(env)))
    restore(env, capture(env))
    assert env.replayed_steps == 20
    assert sizes[0] < sizes[1] < sizes[2]


def test_the_options_of_the_reset_are_replayed():
    env = ActionReplay(gym.make("Pendulum-v1"))
    first, _ = env.reset(seed=0, options={"x_init": 0.0, "y_init": 0.0})
    data = capture(env)
    env.reset(seed=1)
    assert difference(restore(env, data)[0], first) == 0.0
    np.testing.assert_array_equal(first, [1.0, 0.0, 0.0])


def test_a_generator_that_others_move_in_the_middle_is_replayed_too():
    env = ActionReplay(Plain())
    after_some_steps(env)
    env.unwrapped.np_random.bit_generator.state = np.random.PCG64(77).state
    play(env, actions_of(env, 5))
    env.unwrapped.np_random.bit_generator.state = np.random.PCG64(78).state
    data, actions = capture(env), actions_of(env, 5, seed=2)
    chance = env.unwrapped.np_random.random()
    env.reset(seed=1)
    restore(env, data)
    assert env.unwrapped.np_random.random() == chance
    assert len(actions) == 5


class Windy(gym.Env):
    """Drifts as something says that neither seed nor actions decide."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Discrete(2)
    wind = 1.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = np.zeros(1)
        return self.x.copy(), {}

    def step(self, action):
        self.x += self.wind
        return self.x.copy(), 0.0, False, False, {}


def test_a_replay_that_leads_elsewhere_is_refused():
    env = ActionReplay(Windy())
    env.reset(seed=0)
    env.step(0)
    snapshot = env.get_snapshot()
    np.testing.assert_array_equal(env.set_snapshot(snapshot)[0], [1.0])
    env.unwrapped.wind = 1.0 + 1e-15
    with pytest.raises(EnvironmentFault, match=r"the 1 actions .* lead elsewhere: the observation differs"):
        env.set_snapshot(snapshot)
    del snapshot["seen"]  # as snapshots were that did not tell
    np.testing.assert_array_equal(env.set_snapshot(snapshot)[0], [1.0 + 1e-15])


def test_an_observation_that_has_no_bytes_is_not_compared():
    class Shown(Windy):
        def step(self, action):
            return Held(), *super().step(action)[1:]

    env = ActionReplay(Shown())
    env.reset(seed=0)
    env.step(0)
    assert isinstance(env.set_snapshot(env.get_snapshot())[0], Held)


def test_bipedal_walker_repeats_itself_whatever_its_world_has_seen():
    env = make("BipedalWalker-v3")
    actions, first = actions_of(env, 15), {}
    for episode in range(60):
        seed = episode % 4
        observation, _ = env.reset(seed=seed)
        trace = [observation, *(env.step(action)[0] for action in actions)]
        assert difference(trace, first.setdefault(seed, trace)) == 0.0


def test_minigrid_goes_on_bit_by_bit():
    pytest.importorskip("minigrid", reason="MiniGrid is not installed: pip install minigrid")
    env, other = (restorable(gym.make("MiniGrid-DoorKey-5x5-v0")) for _ in range(2))
    env.reset(seed=0)
    actions = actions_of(env, 60)
    for action in actions[:20]:
        env.step(action)
    data = capture(env)
    onwards = [env.step(action)[:4] for action in actions[20:]]
    restore(other, data)
    assert difference([other.step(action)[:4] for action in actions[20:]], onwards) == 0.0


# -- whose snapshot it is ----------------------------------------------------------------------------------------------


def test_another_environment_is_refused_and_both_are_named():
    hopper, walker = make("Hopper-v5"), make("Walker2d-v5")
    hopper.reset(seed=0)
    with pytest.raises(InvalidValue, match=r"taken in\n.*Hopper-v5.*\n.*restored in\n.*Walker2d-v5"):
        restore(walker, capture(hopper))
    with pytest.raises(InvalidValue, match="has 58 state variables, but"):
        walker.set_snapshot(hopper.get_snapshot())


def test_other_arguments_and_other_models_are_refused_but_other_pictures_are_not():
    plain = make("Hopper-v5")
    plain.reset(seed=0)
    data = capture(plain)
    restore(make("Hopper-v5", render_mode="rgb_array", width=96, height=96), data)
    with pytest.raises(InvalidValue, match="reset_noise_scale"):
        restore(make("Hopper-v5", reset_noise_scale=0.1), data)
    heavy = make("Hopper-v5")
    heavy.unwrapped.model.body_mass[1] += 0.1
    with pytest.raises(InvalidValue, match=r"model \w{16}\nand cannot .*\n.*model \w{16}"):
        restore(heavy, data)
    heavy.unwrapped.model.body_mass[1] = plain.unwrapped.model.body_mass[1]
    restore(heavy, data)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.body_mass.__setitem__(1, 9.0),
        lambda model: model.geom_friction.__setitem__((0, 0), 0.3),
        lambda model: model.opt.gravity.__setitem__(2, -1.6),
        lambda model: setattr(model.opt, "timestep", 0.001),
        lambda model: setattr(model.opt, "iterations", 3),
        lambda model: setattr(model.stat, "meaninertia", 2.0),
    ],
)
def test_a_change_of_the_model_between_two_snapshots_is_noticed_and_so_is_its_return(change):
    env = make("Hopper-v5")
    env.reset(seed=0)
    original, before, data = gym.make("Hopper-v5"), fingerprint(env), capture(env)
    assert fingerprint(original) == before
    change(env.unwrapped.model)
    assert fingerprint(env) != before
    with pytest.raises(InvalidValue, match=r"model \w{16}\nand cannot .*\n.*model \w{16}"):
        restore(env, data)
    assert fingerprint(original) == before
    change(original.unwrapped.model)
    assert fingerprint(original) == fingerprint(env)


def test_what_is_remembered_of_an_environment_goes_with_it():
    env = make("Hopper-v5")
    env.reset(seed=0)
    models, known = len(mujoco_state._MODELS), len(restorable_module._KNOWN)
    restore(env, capture(env))
    assert (len(mujoco_state._MODELS), len(restorable_module._KNOWN)) == (models + 1, known + 1)
    env.close()
    del env
    gc.collect()
    assert len(mujoco_state._MODELS) <= models and len(restorable_module._KNOWN) <= known


def test_new_spaces_and_a_new_spec_are_noticed():
    env = Plain()
    prints = [fingerprint(env)]
    env.action_space = spaces.Box(-2.0, 1.0, (2,), np.float32)
    prints.append(fingerprint(env))
    env.spec = gym.envs.registration.EnvSpec("Marked-v0", entry_point=Plain)
    prints.append(fingerprint(env))
    assert len(set(prints)) == 3


def test_an_environment_without_a_hash_has_a_fingerprint():
    class Equal(Plain):
        def __eq__(self, other):
            return True

        __hash__ = None

    env, other = Equal(), Equal()
    other.action_space = spaces.Discrete(2)
    assert fingerprint(env) == fingerprint(env) != fingerprint(other)


def test_another_version_of_the_environment_is_refused():
    env = gym.make("rlteach/GoalMaze-v0")
    env.reset(seed=0)
    data, before = capture(env), fingerprint(env)
    env.unwrapped.env_version = "99"
    assert fingerprint(env) != before
    with pytest.raises(InvalidValue, match="version 99"):
        restore(env, data)


def test_environments_without_an_id_are_told_apart_by_their_class():
    class Other(Plain):
        pass

    assert fingerprint(Plain()) == fingerprint(Plain()) != fingerprint(Other())


def test_arguments_that_are_functions_or_arrays_keep_the_fingerprint_steady():
    def marked(**kwargs):
        env = Plain()
        env.spec = gym.envs.registration.EnvSpec("Marked-v0", entry_point=Plain, kwargs=kwargs)
        return fingerprint(env)

    same = {"f": abs, "a": np.arange(3), "h": Held}
    assert marked(**same) == marked(**same)
    assert marked(h=Held()) == marked(h=Held())  # whose repr shows an address
    assert len({marked(**same), marked(**{**same, "f": sum}), marked(**{**same, "a": np.arange(4)})}) == 3


def test_bytes_that_are_a_snapshot_but_not_a_captured_one_are_refused():
    env = make("Pendulum-v1")
    with pytest.raises(InvalidValue, match="they have no fingerprint"):
        restore(env, encode({"a": 1}))


def test_arguments_tell_environments_apart_however_they_were_built():
    pytest.importorskip("mujoco")
    from gymnasium.envs.classic_control import PendulumEnv
    from gymnasium.envs.mujoco.hopper_v5 import HopperEnv

    noisy, plain = HopperEnv(reset_noise_scale=0.1), HopperEnv()
    assert len({fingerprint(env) for env in (noisy, plain, HopperEnv(forward_reward_weight=2.0))}) == 3
    assert fingerprint(HopperEnv("hopper.xml", 4, width=96)) == fingerprint(plain)
    assert "reset_noise_scale" in identity_of(noisy).name
    made = [GoalMaze(layout=layout) for layout in ("corridor-12", "corridor-14")]
    assert fingerprint(made[0]) != fingerprint(made[1])
    noisy = restorable(noisy)
    noisy.reset(seed=0)
    with pytest.raises(InvalidValue, match="reset_noise_scale"):
        restore(restorable(plain), capture(noisy))
    heavy, light = (spaces.Dict(g=spaces.Box(1.0, high, (), np.float64)) for high in (12.0, 9.0))
    kinds = {fingerprint(TaskFromKwargs(PendulumEnv, space)) for space in (heavy, light)}
    assert len(kinds) == 2 and fingerprint(TaskFromKwargs(PendulumEnv, heavy)) in kinds


def test_a_base_class_that_keeps_arguments_under_another_constructor_is_told_by_their_places():
    pytest.importorskip("Box2D")
    from gymnasium.envs.box2d import LunarLander

    class Moon(LunarLander):
        def __init__(self, pull):
            super().__init__(gravity=pull)

    assert fingerprint(Moon(-5.0)) == fingerprint(Moon(-5.0)) != fingerprint(Moon(-6.0))


def test_wrappers_inside_with_other_arguments_are_told_apart_and_those_outside_are_none_of_its_business():
    def sticky(chance):
        return restorable(StickyAction(gym.make("Pendulum-v1"), chance))

    env = sticky(0.25)
    env.reset(seed=0)
    with pytest.raises(InvalidValue, match=r"in StickyAction.*0\.25.*\n.*\n.*in StickyAction.*0\.75"):
        restore(sticky(0.75), capture(env))
    restore(FrameStackObservation(sticky(0.25), 3), capture(env))
    assert fingerprint(FlattenObservation(env)) == fingerprint(env)


def test_tasks_put_on_from_outside_are_told_apart_and_the_engine_inside_is_found():
    pytest.importorskip("Box2D")
    low, high = (spaces.Dict(gravity=spaces.Box(g, g + 3.0, (), np.float64)) for g in (-11.0, -8.0))
    landers = [TaskFromKwargs("LunarLander-v3", low), TaskFromKwargs("LunarLander-v3", high)]
    plain = gym.make("LunarLander-v3", gravity=-9.5)
    assert len({fingerprint(env) for env in (*landers, plain)}) == 3
    assert identity_of(landers[0]).engines == identity_of(plain).engines != {}
    tasks = [spaces.Dict({name: spaces.Box(1.0, 9.0, (), np.float64)}) for name in ("g", "m")]
    pendulums = [TaskFromAttr(restorable(gym.make("Pendulum-v1")), space) for space in tasks]
    assert len({fingerprint(env) for env in (*pendulums, restorable(gym.make("Pendulum-v1")))}) == 3


def test_a_wrapper_that_passes_on_what_it_is_asked_is_not_the_one_that_restores():
    class Passing(gym.Wrapper):
        def __getattr__(self, name):
            return self.env.get_wrapper_attr(name)

    env = Passing(RescaleObservation(restorable(gym.make("MountainCar-v0")), np.float32(0), np.float32(1)))
    env.reset(seed=0)
    seen = env.step(1)[0]
    assert np.array_equal(restore(env, capture(env))[0], seen)


WRITTEN = """
from rlteach.snapshots.restorable import _written
print(_written({"a": {"left", "right", "up"}, "b": [].append}, frozenset()))
"""


def test_sets_and_methods_among_the_arguments_are_told_alike_in_every_process():
    told = {
        subprocess.run(
            [sys.executable, "-c", WRITTEN], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1


def test_files_count_by_their_content_in_lists_and_as_the_source_of_a_class(tmp_path):
    def told(name, code):
        place = tmp_path / name / "mine.py"
        place.parent.mkdir()
        place.write_text(code)
        return restorable_module._written({"files": [str(place)], "make": f"{place}:Mine"}, frozenset())

    first = told("a", HERE)
    assert first == told("b", HERE) != told("c", f"{HERE}    pass\n") and "Mine" in first


HERE = """
import gymnasium

class Mine(gymnasium.Env):
    observation_space = gymnasium.spaces.Discrete(2)
    action_space = gymnasium.spaces.Discrete(2)
"""


def test_a_file_counts_by_what_is_in_it_and_not_by_where_it_is(tmp_path):
    pytest.importorskip("mujoco")
    model = Path(gym.make("Hopper-v5").unwrapped.fullpath).read_text()

    def in_file(name, xml=model, code=HERE):
        place = tmp_path / name
        place.mkdir()
        (place / "hopper.xml").write_text(xml)
        (place / "mine.py").write_text(code)
        hopper = gym.make("Hopper-v5", xml_file=str(place / "hopper.xml"))
        return fingerprint(hopper), fingerprint(environments.build(f"{place / 'mine.py'}:Mine"))

    heavier = model.replace('density="1000"', 'density="1100"')
    first, again, other = in_file("a"), in_file("b"), in_file("c", f"{heavier}\n", f"{HERE}    pass\n")
    assert first == again
    assert first[0] != other[0] and first[1] != other[1]
    told = in_file("d", code=f'{HERE}    env_version = "1"\n')
    assert told[1] == in_file("e", code=f'{HERE}    # the same\n    env_version = "1"\n')[1] != first[1]
    assert "mine:Mine" in identity_of(environments.build(f"{tmp_path / 'a' / 'mine.py'}:Mine")).name


def test_text_that_only_looks_like_a_path_stays_what_it_is(tmp_path):
    for text in ("no/file", f"{tmp_path}/", "~nobody/here", "a/\0", "/" * 5000):
        assert restorable_module._content(text) == text


# -- engines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("Hopper-v5", "mujoco"),
        ("LunarLander-v3", "Box2D"),
        ("rlteach/StumpTracks-v0", "Box2D"),
        ("rlteach/MiniGridMaze-v0", "minigrid"),
    ],
)
def test_what_plays_on_from_a_state_is_known_with_its_version(name, engine):
    module = pytest.importorskip(engine)
    assert identity_of(make(name)).engines == {engine: module.__version__}
    assert identity_of(gym.make("rlteach/GoalMaze-v0")).engines == identity_of(make("CartPole-v1")).engines == {}


def test_another_version_of_the_engine_is_refused_with_both_and_the_way_out(monkeypatch):
    mujoco = pytest.importorskip("mujoco")
    env = make("Hopper-v5")
    env.reset(seed=0)
    data, version = capture(env), mujoco.__version__
    monkeypatch.setattr(mujoco, "__version__", "9.9")
    told = rf"taken under mujoco {version}, and here is mujoco 9\.9.*collect again, or install mujoco {version}"
    with pytest.raises(InvalidValue, match=told):
        restore(env, data)
    untold = {name: part for name, part in decode(data).items() if name != "engines"}
    restore(env, encode(untold))  # as snapshots were that did not tell


def test_minigrid_has_one_fingerprint_in_every_process():
    pytest.importorskip("minigrid")
    script = "import minigrid, gymnasium as gym; from rlteach.snapshots.restorable import fingerprint, restorable;"
    script += "pad = [object() for _ in range(int(__import__('sys').argv[1]))];"
    script += "print(fingerprint(restorable(gym.make('MiniGrid-DoorKey-5x5-v0'))))"
    runs = [[sys.executable, "-c", script, pad] for pad in ("1", "100000")]
    told = {subprocess.run(run, capture_output=True, text=True, check=True).stdout for run in runs}
    assert len(told) == 1
