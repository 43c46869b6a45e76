"""Tasks for environments that take their parameters in the constructor or as attributes."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Tuple
from stable_baselines3.common.vec_env.base_vec_env import CloudpickleWrapper

import rlteach
from rlteach.errors import ConfigError, InvalidValue, UserError
from rlteach.snapshots.restorable import fingerprint
from rlteach.task_space import TaskSpace
from rlteach.teachers.uniform import Uniform
from rlteach.user_envs import TaskFromAttr, TaskFromKwargs

SPACE = Dict(size=Box(0.0, 2.0, (), np.float64), level=Discrete(3, start=1))


class Drift(gym.Env):
    """Walks `size` further plus noise at every step; `level` is only kept. Counts what is built and closed."""

    observation_space = Box(-np.inf, np.inf, (1,), np.float32)
    action_space = Discrete(2)
    metadata = {"render_modes": ["ansi"]}  # noqa: RUF012
    built = 0
    closed = 0

    def __init__(self, size=1.0, level=1, *, wide=False, render_mode=None, noise=0.1):
        type(self).built += 1
        self.size, self.level, self.noise, self.render_mode = size, level, noise, render_mode
        self.inside = type("Inside", (), {"depth": 0.5, "curve": np.zeros(2)})()
        if wide and level == 3:
            self.observation_space = Box(-1.0, 1.0, (9,), np.float32)
        self.options = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.options = options
        self.x = float(self.np_random.normal())
        return np.array([self.x], np.float32), {"size": self.size}

    def step(self, action):
        self.x += self.size + self.noise * float(self.np_random.normal())
        return np.array([self.x], np.float32), self.x, abs(self.x) > 30, False, {}

    def render(self):
        return f"x={self.x:.1f}"

    def close(self):
        type(self).closed += 1

    @property
    def fixed_width(self):
        return 1.0

    def set_difficulty(self, size, level=1):
        self.size, self.level = size, level


class Resumable(Drift):
    def get_snapshot(self):
        return {"x": self.x, "rng": self.np_random.bit_generator.state}

    def set_snapshot(self, snapshot):
        self.x = snapshot["x"]
        self.np_random.bit_generator.state = snapshot["rng"]
        return np.array([self.x], np.float32), {}


@pytest.fixture(autouse=True)
def fresh_counts():
    Drift.built = Drift.closed = Resumable.built = Resumable.closed = 0


def task(size=1.5, level=2):
    return {"size": np.array(size), "level": np.int64(level)}


def play(env, n=5):
    return [env.step(0)[0].tolist() for _ in range(n)]


# -- constructor arguments ---------------------------------------------------------------------------------------------


def test_the_task_arrives_as_plain_keyword_arguments_next_to_the_fixed_ones():
    env = TaskFromKwargs(Drift, SPACE, fixed={"noise": 0.0})
    env.reset(options={"task": task(0.5, 3)})
    assert (env.size, env.level, env.noise) == (0.5, 3, 0.0)
    assert type(env.size) is float and type(env.level) is int


def test_nested_and_vector_parameters_keep_their_structure():
    space = Dict(
        size=Box(0.0, 1.0, (2,), np.float64), level=Tuple([Discrete(2), Dict(z=Box(0.0, 1.0, (), np.float64))])
    )
    env = TaskFromKwargs(Drift, space)
    env.reset(options={"task": {"size": [0.25, 0.5], "level": (1, {"z": 0.5})}})
    assert env.size.tolist() == [0.25, 0.5]
    assert env.level == (1, {"z": 0.5})


def test_it_plays_exactly_like_the_environment_built_by_hand():
    env, by_hand = TaskFromKwargs(Drift, SPACE), Drift(size=1.5, level=2)
    assert env.reset(seed=7, options={"task": task()})[0] == by_hand.reset(seed=7)[0]
    assert play(env) == play(by_hand)


def test_it_is_built_anew_for_another_task_only_and_the_old_one_is_closed():
    env = TaskFromKwargs(Drift, SPACE)
    env.reset(options={"task": task(0.5)})
    assert (Drift.built, Drift.closed) == (2, 1)
    env.reset(options={"task": task(0.5)})
    env.reset(options={"task": {"size": 0.5, "level": 2}})
    assert (Drift.built, Drift.closed) == (2, 1)
    env.reset(options={"task": task(0.6)})
    assert (Drift.built, Drift.closed) == (3, 2)
    env.close()
    env.close()
    assert (Drift.built, Drift.closed) == (3, 3)


def test_an_id_is_as_good_as_a_class():
    space = Dict(sutton_barto_reward=Discrete(2))
    env = TaskFromKwargs("CartPole-v1", space)
    for flag in (0, 1):
        env.reset(seed=0, options={"task": {"sutton_barto_reward": flag}})
        assert env.step(0)[1] == 1.0 - flag
    assert env.spec.id == "CartPole-v1"


def test_the_other_options_reach_the_environment_and_the_task_does_not():
    env = TaskFromKwargs(Drift, SPACE)
    env.reset(options={"task": task(), "low": 3})
    assert env.options == {"low": 3}
    env.reset(options={"task": task()})
    assert env.options is None


def test_without_a_task_a_uniform_one_is_drawn_and_the_seed_decides_which():
    env, other = TaskFromKwargs(Drift, SPACE), TaskFromKwargs(Drift, SPACE)

    def sizes(made, seed):
        return [made.reset(seed=seed)[1]["size"], *(made.reset()[1]["size"] for _ in range(40))]

    first = sizes(env, 0)
    assert first == sizes(other, 0) == sizes(env, 0)
    assert first != sizes(env, 1)
    assert min(first) < 0.4 and max(first) > 1.6


def test_a_seeded_run_repeats_itself_through_rebuilds_that_get_no_seed():
    def run():
        env = TaskFromKwargs(Drift, SPACE)
        env.reset(seed=3)
        seen = []
        for size in (0.5, 0.5, 1.0, 1.5):
            seen.append((env.reset(options={"task": task(size)})[0].tolist(), play(env)))
        return seen

    assert run() == run()


def test_the_drawn_task_and_the_first_draw_inside_are_not_the_same_number():
    class Echo(Drift):
        def reset(self, *, seed=None, options=None):
            gym.Env.reset(self, seed=seed)
            return np.array([self.np_random.random()], np.float32), {}

    env = TaskFromKwargs(Echo, Dict(size=Box(0.0, 1.0, (), np.float64)))
    pairs = np.array([(env.reset(seed=seed)[0][0], env.size) for seed in range(200)])
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 0.3


def test_what_the_environment_offers_is_found_through_the_wrapper():
    env = TaskFromKwargs(Drift, TaskSpace(SPACE, units={"size": "m"}), fixed={"render_mode": "ansi"})
    env.reset(seed=0, options={"task": task()})
    assert env.get_wrapper_attr("size") == 1.5
    assert not env.has_wrapper_attr("no_such_thing") and not env.has_wrapper_attr("get_snapshot")
    assert env.task_space == SPACE and env.task_units == {"size": "m"}
    assert env.render_mode == "ansi" and env.metadata == Drift.metadata
    assert env.render().startswith("x=")
    assert env.observation_space == Drift.observation_space and env.action_space == Drift.action_space


def test_a_task_that_changes_the_spaces_is_refused_and_another_one_still_plays():
    env = TaskFromKwargs(Drift, SPACE, fixed={"wide": True})
    with pytest.raises(InvalidValue, match=r"'level': 3} changes the observation_space from .*\(1,\).* to .*\(9,\)"):
        env.reset(options={"task": task(level=3)})
    assert Drift.built == Drift.closed
    with pytest.raises(UserError, match="`reset` builds it again"):
        env.step(0)
    assert env.reset(options={"task": task(1.25)})[1] == {"size": 1.25}


@pytest.mark.parametrize("build", [lambda: TaskFromKwargs(Drift, SPACE), lambda: TaskFromAttr(Drift(), SPACE)])
def test_a_task_outside_the_space_names_the_parameter(build):
    with pytest.raises(InvalidValue, match=r"size = 9 is not in \[0, 2\]"):
        build().reset(options={"task": task(9.0)})


def test_keys_that_the_constructor_does_not_take_are_a_clear_error():
    with pytest.raises(UserError, match=r"cannot build .*Drift with .*'height'"):
        TaskFromKwargs(Drift, Dict(height=Box(0.0, 1.0, ())))


def test_a_key_cannot_be_a_task_and_fixed():
    with pytest.raises(InvalidValue, match="size: both in the task space and in `fixed`"):
        TaskFromKwargs(Drift, SPACE, fixed={"size": 1.0})


def test_keyword_arguments_need_a_dict_space():
    with pytest.raises(InvalidValue, match="needs a Dict space"):
        TaskFromKwargs(Drift, Box(0.0, 1.0, (2,)))


# -- attributes and setters --------------------------------------------------------------------------------------------


def test_attributes_are_set_on_the_innermost_environment_before_it_resets():
    env = TaskFromAttr(gym.wrappers.TimeLimit(Drift(noise=0.0), 3), SPACE)
    _, info = env.reset(seed=0, options={"task": task(0.75, 3)})
    assert info == {"size": 0.75}
    assert env.unwrapped.level == 3 and type(env.unwrapped.size) is float
    assert [env.step(0)[3] for _ in range(3)] == [False, False, True]


def test_a_dotted_key_leads_into_objects():
    space = Dict({"inside.depth": Box(0.0, 1.0, (), np.float64), "inside.curve": Box(0.0, 1.0, (2,), np.float64)})
    env = TaskFromAttr(Drift(), space)
    env.reset(options={"task": {"inside.depth": 0.25, "inside.curve": [0.0, 1.0]}})
    assert env.unwrapped.inside.depth == 0.25
    assert env.unwrapped.inside.curve.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("setter", ["set_difficulty", Drift.set_difficulty])
def test_a_setter_gets_the_task_as_keyword_arguments(setter):
    env = TaskFromAttr(gym.wrappers.OrderEnforcing(Drift()), SPACE, setter=setter)
    assert env.reset(options={"task": task(0.25, 3)})[1] == {"size": 0.25}
    assert env.unwrapped.level == 3


@pytest.mark.parametrize("setter", ["set_difficulty", Drift.set_difficulty])
def test_a_setter_gets_a_task_that_is_no_dict_as_its_one_argument(setter):
    env = TaskFromAttr(Drift(), Box(0.0, 1.0, (), np.float64), setter=setter)
    assert env.reset(options={"task": 0.25})[1] == {"size": 0.25}


def test_a_well_known_environment_becomes_teachable():
    space = Dict(g=Box(1.0, 12.0, (), np.float64), l=Box(0.5, 2.0, (), np.float64))
    env = TaskFromAttr(gym.make("Pendulum-v1"), space)
    returns = []
    for gravity in (1.0, 12.0):
        env.reset(seed=0, options={"task": {"g": gravity, "l": 1.0}})
        returns.append(sum(float(env.step(np.zeros(1, np.float32))[1]) for _ in range(50)))
    assert returns[0] != returns[1]


def test_all_missing_attributes_are_named_at_once_with_the_nearest_one():
    with pytest.raises(ConfigError) as caught:
        TaskFromAttr(Drift(), Dict({k: Box(0.0, 1.0, ()) for k in ("sise", "inside.deep", "outside.x", "level")}))
    assert len(caught.value.faults) == 3
    assert "Drift has no attribute 'sise' (from 'sise'). Did you mean 'size'?" in caught.value.faults
    assert "Inside has no attribute 'deep' (from 'inside.deep'). Did you mean 'depth'?" in caught.value.faults


def test_an_attribute_of_a_wrapper_does_not_count_as_one_of_the_environment():
    with pytest.raises(ConfigError, match="_max_episode_steps"):
        TaskFromAttr(gym.wrappers.TimeLimit(Drift(), 3), Dict(_max_episode_steps=Discrete(5)))


def test_a_missing_setter_is_named_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"no attribute 'set_dificulty'.*Did you mean 'set_difficulty'"):
        TaskFromAttr(Drift(), SPACE, setter="set_dificulty")


def test_an_attribute_that_cannot_be_set_is_a_clear_error():
    env = TaskFromAttr(Drift(), Dict(fixed_width=Box(0.0, 1.0, ())))
    with pytest.raises(UserError, match="cannot set fixed_width of Drift to"):
        env.reset()


def test_without_a_setter_the_space_needs_names():
    with pytest.raises(InvalidValue, match="needs a Dict space whose keys are attributes"):
        TaskFromAttr(Drift(), Box(0.0, 1.0, (2,)))


def test_the_wrapper_strips_the_task_and_draws_a_uniform_one_when_none_is_given():
    env = TaskFromAttr(Drift(), SPACE)
    env.reset(options={"task": task(), "low": 3})
    assert env.unwrapped.options == {"low": 3}
    first = [env.reset(seed=5)[1]["size"], *(env.reset()[1]["size"] for _ in range(20))]
    assert first == [env.reset(seed=5)[1]["size"], *(env.reset()[1]["size"] for _ in range(20))]
    assert min(first) < 0.6 and max(first) > 1.4


def test_names_and_units_of_a_vector_task_space_are_offered():
    space = TaskSpace(Box(0.0, 1.0, (2,), np.float64), names=["size", "level"], units={"size": "m"})
    env = TaskFromAttr(Drift(), space, setter=lambda env, task: env.set_difficulty(*task))
    assert TaskSpace.of(env.task_space, env) == space
    assert env.reset(options={"task": [0.5, 1.0]})[1] == {"size": 0.5}


# -- under a teacher ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [lambda: TaskFromKwargs(Drift, SPACE), lambda: TaskFromAttr(Drift(), SPACE)])
def test_every_episode_plays_the_task_that_was_issued_for_it(build):
    issued = []

    class Noting(Uniform):
        def propose(self, n):
            lessons = super().propose(n)
            issued.extend(float(lesson.task["size"]) for lesson in lessons)
            return lessons

    venv = rlteach.attach(rlteach.make_vec_env(build, 2, seed=0), Noting(SPACE, seed=0))
    venv.reset()
    played = [info["size"] for info in venv.reset_infos]
    for _ in range(200):
        _, _, dones, _ = venv.step([0, 0])
        played += [venv.reset_infos[i]["size"] for i in np.flatnonzero(dones)]
    assert len(played) > 6
    assert played == issued
    venv.close()


# -- snapshots and pickles ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [lambda: TaskFromKwargs(Resumable, SPACE), lambda: TaskFromAttr(Resumable(), SPACE)])
def test_a_snapshot_brings_back_the_task_and_the_tasks_to_come(build):
    env, other = build(), build()
    env.reset(seed=1, options={"task": task(1.5)})
    play(env, 3)
    snapshot = env.get_wrapper_attr("get_snapshot")()
    onwards = [play(env), env.reset()[1], play(env)]
    other.reset(seed=9, options={"task": task(0.1)})
    for again in (env, other):
        observation, _ = again.get_wrapper_attr("set_snapshot")(snapshot)
        assert observation == pytest.approx(snapshot["env"]["x"])
        assert [play(again), again.reset()[1], play(again)] == onwards


def test_snapshots_are_offered_only_where_the_environment_has_them():
    assert not TaskFromAttr(Drift(), SPACE).has_wrapper_attr("get_snapshot")
    assert TaskFromAttr(Resumable(), SPACE).has_wrapper_attr("set_snapshot")


@pytest.mark.parametrize("build", [lambda: TaskFromKwargs(Drift, SPACE), lambda: TaskFromAttr(Drift(), SPACE)])
def test_both_can_be_sent_to_a_worker_and_go_on_there(build):
    env = build()
    env.reset(seed=2, options={"task": task()})
    there = CloudpickleWrapper(None)
    there.__setstate__(CloudpickleWrapper(env).__getstate__())
    assert play(there.var) == play(env)


def test_snapshots_are_told_apart_by_what_the_environment_was_made_with() -> None:
    first = fingerprint(TaskFromKwargs(Resumable, SPACE))
    assert first == fingerprint(TaskFromKwargs(Resumable, SPACE, fixed={}))
    others = [
        TaskFromKwargs(Resumable, SPACE, fixed={"noise": 0.5}),
        TaskFromKwargs(Drift, SPACE),
        TaskFromKwargs(Resumable, Dict(size=Box(0.0, 1.0, (), np.float64))),
    ]
    assert len({first, *map(fingerprint, others)}) == 4
