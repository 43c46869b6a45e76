"""Collecting: records that are true when they are played out, walks that depend on their arguments only."""

import copy
import itertools
import math
import pickle
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rlteach.distillation.experts import CallableExpert, load_expert
from rlteach.errors import EnvironmentFault, InvalidValue, MissingCapability, UserError
from rlteach.experiment.evaluate import global_randomness
from rlteach.learners.policy_files import save_policy, scale_of
from rlteach.observations import View
from rlteach.snapshots.action_replay import ActionReplay
from rlteach.snapshots.collect import Explorer, collect, critic_of, policy_of
from rlteach.snapshots.restorable import restorable
from rlteach.snapshots.store import SnapshotStore
from tests.echo_env import EchoEnv

MAZE = "rlteach_envs:rlteach/GoalMaze-v0"
GATE = "rlteach_envs:rlteach/PointMassGate-v0"


def maze(**kwargs):
    return gymnasium.make(MAZE, layout="corridor-12", **{"horizon": 45, **kwargs})


def pendulum():
    return gymnasium.make("Pendulum-v1")


def towards_the_goal(observation):
    """Straight to the goal, which in the first row of the corridor is enough; elsewhere it ends at a wall."""
    return np.clip(20 * (observation[2:4] - observation[:2]), -1.0, 1.0)


def some_action(observation):
    """Any deterministic function of the observation."""
    return np.array([np.sin(7 * observation.sum())], dtype=np.float32)


def near_goals(store, **kwargs):
    """Collect with goals 3 cells from the start, far outside of the maze, and 1.5 cells from the start."""
    env = maze()
    space, start = env.unwrapped.task_space, np.array(env.unwrapped._batch.start) + 0.5
    goals = [np.clip(start + np.array(offset), space.low, space.high) for offset in ((3, 0), (20, 20), (1.5, 0))]
    collect(env, towards_the_goal, store, episodes=3, tasks=goals, **kwargs)


@pytest.fixture(scope="module")
def solved():
    store = SnapshotStore()
    near_goals(store, every=4)
    return store


# -- whole episodes ------------------------------------------------------------------------------------------------


def test_what_a_record_says_comes_true_when_it_is_played_out(solved):
    env = maze()
    env.reset(seed=5)
    assert {record.success for record in solved.records} == {0.0, 1.0}
    for index, record in enumerate(solved.records):
        observation, _ = env.unwrapped.set_snapshot(solved.snapshot(index))
        rewards, over = [], False
        while not over:
            observation, reward, terminated, truncated, info = env.step(towards_the_goal(observation))
            rewards.append(reward)
            over = terminated or truncated
        assert (len(rewards), sum(rewards)) == (record.remaining, record.to_go)
        assert float(info["is_success"]) == record.success
        assert record.ret == record.to_go  # rewards come at the end only
        assert env.unwrapped._batch._clock[0] == record.step + record.remaining


def test_what_is_to_go_is_what_the_rewards_from_there_add_up_to():
    env = restorable(pendulum())
    store = SnapshotStore()
    collect(env, some_action, store, episodes=2, every=30)
    env = restorable(pendulum())
    env.reset(seed=7)
    for index, record in enumerate(store.records):
        observation, _ = env.get_wrapper_attr("set_snapshot")(store.snapshot(index))
        rewards = []
        for _ in range(record.remaining):
            observation, reward, _, _, _ = env.unwrapped.step(some_action(observation))
            rewards.append(float(reward))
        assert sum(rewards) == pytest.approx(record.to_go, rel=1e-9)
        assert record.step + record.remaining == 200
        assert record.step > 0 or record.to_go == record.ret
        assert math.isnan(record.success) and math.isnan(record.value)


def test_a_snapshot_is_taken_at_the_reset_and_every_so_many_steps_but_never_where_an_episode_ended(solved):
    for places in solved.episodes().values():
        records = [solved.records[place] for place in places]
        length = records[0].remaining
        assert [record.step for record in records] == list(range(0, length, 4))
        assert all(record.step + record.remaining == length for record in records)
        assert all(solved.snapshot(place)["_playing"].all() for place in places)


def test_a_snapshot_that_falls_on_the_end_is_left_out():
    store = SnapshotStore()
    collect(maze(horizon=20), None, store, episodes=1, every=10)
    assert [record.step for record in store.records] == [0, 10]


def test_every_step_is_charged_also_of_what_is_not_kept():
    everything, best = SnapshotStore(), SnapshotStore()
    for _ in range(2):
        near_goals(everything, keep="all")
        near_goals(best, keep="best")
    assert everything.costs == best.costs
    lengths = [everything.records[places[0]].remaining for places in everything.episodes().values()]
    assert everything.costs == {"collection": sum(lengths)} and len(lengths) == 6
    assert [best.records[places[0]].ret for places in best.episodes().values()] == [1.0, 1.0]
    assert best.records[0] == everything.records[0]  # the first of the two that reached their goals


def test_the_best_trajectory_is_the_one_of_the_highest_return():
    everything, best = SnapshotStore(), SnapshotStore()
    for store, keep in ((everything, "all"), (best, "best")):
        collect(restorable(EchoEnv()), None, store, episodes=12, every=1, keep=keep)
    highest = max(record.ret for record in everything.records)
    assert {record.ret for record in best.records} == {highest} and len(best.episodes()) == 1
    assert min(record.ret for record in everything.records) < highest


def test_each_episode_has_the_task_that_was_asked_for_and_they_start_again_when_they_are_used_up():
    tasks = [{"a": np.array(0.25), "k": np.int64(1)}, None, {"a": np.array(0.75), "k": np.int64(4)}]
    store = SnapshotStore()
    collect(restorable(EchoEnv()), None, store, episodes=6, every=1, tasks=tasks)
    rets = [store.records[places[0]].ret for places in store.episodes().values()]
    assert (rets[0], rets[2], rets[3], rets[5]) == (4 * 0.25, 7 * 0.75, 4 * 0.25, 7 * 0.75)
    assert rets[1] != rets[4]


def test_an_episode_without_an_end_of_its_own_is_cut_off():
    store = SnapshotStore()
    collect(maze(), None, store, episodes=2, every=5, max_steps=15)
    assert [(record.step, record.remaining) for record in store.records] == [(0, 15), (5, 10), (10, 5)] * 2
    assert store.costs == {"collection": 30}


def test_a_critic_is_asked_about_the_observation_of_the_snapshot():
    env, store = maze(), SnapshotStore()
    collect(env, None, store, episodes=2, every=7, critic=lambda observation: float(observation[:2].sum()))
    for index, record in enumerate(store.records):
        observation, _ = env.unwrapped.set_snapshot(store.snapshot(index))
        assert record.value == float(observation[:2].sum())


def test_the_same_seed_collects_the_same_and_another_seed_something_else():
    keys = []
    for seed in (0, 0, 1):
        env, store = maze(), SnapshotStore()
        collect(env, None, store, episodes=2, seed=seed)
        keys.append([record.key for record in store.records])
    assert keys[0] == keys[1] and not set(keys[0]) & set(keys[2])


def test_random_actions_draw_from_nobody_elses_generator():
    env = maze()
    env.action_space.seed(3)
    mine = copy.deepcopy(env.action_space)
    before = global_randomness()["numpy"]
    collect(env, None, SnapshotStore(), episodes=1)
    assert str(global_randomness()["numpy"]) == str(before)
    assert np.array_equal(env.action_space.sample(), mine.sample())


def test_collecting_more_continues_the_numbers_of_trajectories():
    env, store = maze(), SnapshotStore()
    for seed in (0, 1):
        collect(env, None, store, episodes=2, seed=seed)
    assert list(store.episodes()) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"episodes": 0}, "episodes = 0 must be at least 1"),
        ({"every": 0}, "every = 0"),
        ({"max_steps": 0}, "max_steps = 0"),
        ({"keep": "worst"}, "keep = 'worst' must be 'all' or 'best'"),
        ({"tasks": []}, "must hold a task"),
    ],
)
def test_arguments_out_of_range_are_refused_before_anything_is_played(wrong, told):
    store = SnapshotStore()
    with pytest.raises(InvalidValue, match=told):
        collect(maze(), None, store, **wrong)
    assert store.costs == {}


def test_an_episode_that_never_ends_is_told_and_can_be_cut_off(monkeypatch):
    monkeypatch.setattr("rlteach.snapshots.collect.ENDLESS", 300)
    endless, store = restorable(gymnasium.make("Pendulum-v1").unwrapped), SnapshotStore()
    with pytest.raises(EnvironmentFault, match=r"not ended an episode after 300 steps.*starts\.max_steps"):
        collect(endless, None, store, episodes=1)
    assert len(store) == 0
    collect(endless, None, store, episodes=2, every=10, max_steps=301)
    assert store.costs == {"collection": 602}


def test_another_environments_store_is_refused_before_anything_is_played(solved):
    costs = dict(solved.costs)
    with pytest.raises(InvalidValue, match="corridor-14"):
        collect(gymnasium.make(MAZE, layout="corridor-14"), None, solved)
    assert solved.costs == costs


def test_an_environment_without_snapshots_is_told_how_to_get_them():
    for refused in (lambda env: collect(env, None, SnapshotStore()), lambda env: Explorer(env, 0)):
        with pytest.raises(MissingCapability, match=r"env = restorable\(env\)"):
            refused(gymnasium.make("Pendulum-v1"))


def test_many_environments_at_once_are_refused():
    with pytest.raises(UserError, match="one Gymnasium environment, not from a DummyVecEnv"):
        collect(DummyVecEnv([maze]), None, SnapshotStore())


def test_a_reward_that_is_no_number_is_told():
    env = restorable(EchoEnv(nan_above=-1.0))
    with pytest.raises(EnvironmentFault, match="reward nan in step 1"):
        collect(env, None, SnapshotStore())


def test_snapshots_that_do_not_bring_their_states_back_are_refused_before_anything_is_kept():
    store = SnapshotStore()
    with pytest.raises(EnvironmentFault, match="does not bring its state back"):
        collect(Forgetful(), None, store, episodes=1, max_steps=20)
    assert (len(store), store.costs, store.fingerprint) == (0, {}, "")
    collect(pendulum_again := restorable(pendulum()), None, store, episodes=1, every=50)
    again = SnapshotStore()
    collect(pendulum_again, None, again, episodes=1, every=50, verified=True)
    assert store.records == again.records and store.costs == again.costs == {"collection": 200}


# -- random walks --------------------------------------------------------------------------------------------------


def walk(explorer, store, index=0, steps=12, every=4, seed=0):
    record = store.records[index]
    rng = np.random.default_rng(seed)
    return explorer.explore(store.snapshot(index), elapsed=record.step, steps=steps, every=every, rng=rng)


def seen(found):
    return [(state.steps, state.elapsed, state.observation.tolist(), state.ret, state.ended) for state in found]


@pytest.fixture(scope="module")
def gate_store():
    store = SnapshotStore()
    collect(gymnasium.make(GATE), None, store, episodes=3, every=5)
    return store


def test_a_walk_finds_states_that_can_be_started_from(gate_store):
    found = walk(Explorer(gymnasium.make(GATE), 0), gate_store, 1)
    assert [state.steps for state in found] == [4, 8, 12]
    assert [state.elapsed for state in found] == [9, 13, 17]
    fresh = gymnasium.make(GATE)
    fresh.reset(seed=9)
    for state in found:
        observation, _ = fresh.unwrapped.set_snapshot(state.snapshot)
        assert np.array_equal(observation, state.observation)
    assert len({state.observation.tobytes() for state in found}) == 3


def test_a_walk_depends_on_its_arguments_only(gate_store):
    fresh, used = Explorer(gymnasium.make(GATE), 0), Explorer(gymnasium.make(GATE), 0)
    before = [walk(used, gate_store, index, seed=index) for index in range(3)]
    again, other = walk(used, gate_store, 2, seed=8), walk(used, gate_store, 2, seed=9)
    assert seen(again) == seen(walk(fresh, gate_store, 2, seed=8)) != seen(other)
    assert used.steps == sum(found[-1].steps for found in [*before, again, other])
    assert fresh.steps == again[-1].steps


class Forgetful(gymnasium.Env):
    """Moves by chance, and leaves its generator out of its snapshots."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = np.zeros(1)
        return self.position.copy(), {}

    def step(self, action):
        self.position += self.np_random.normal()
        return self.position.copy(), 0.0, False, False, {}

    def get_snapshot(self):
        return {"position": self.position.copy()}

    def set_snapshot(self, snapshot):
        self.position = snapshot["position"].copy()
        return self.position.copy(), {}


def test_a_walk_depends_on_its_arguments_only_also_where_snapshots_leave_out_chance():
    store = SnapshotStore()
    collect(Forgetful(), None, store, episodes=1, max_steps=20, verified=True)
    fresh, used = Explorer(Forgetful(), 0), Explorer(Forgetful(), 0)
    walk(used, store, 0)
    assert seen(walk(used, store, 1)) == seen(walk(fresh, store, 1)) != seen(walk(Explorer(Forgetful(), 1), store, 1))


def test_two_walks_with_one_generator_differ(gate_store):
    explorer, rng = Explorer(gymnasium.make(GATE), 0), np.random.default_rng(0)
    start = gate_store.snapshot(0)
    first, second = (explorer.explore(start, elapsed=0, steps=4, every=4, rng=rng) for _ in range(2))
    assert seen(first) != seen(second)


def test_a_walk_stops_where_the_episode_ends_and_nothing_starts_there(solved):
    last = max(solved.episodes()[1])  # of the episode that ran into the horizon of 45 steps
    found = walk(Explorer(maze(), 0), solved, last, steps=50, every=100)
    assert seen(found)[0][:2] == (45 - solved.records[last].step, 45)
    assert found[-1].ended and found[-1].snapshot is None and len(found) == 1


def test_a_walk_earns_the_rewards_of_its_steps():
    env, store = restorable(EchoEnv()), SnapshotStore()
    collect(env, None, store, episodes=1, every=1, tasks=[{"a": np.array(0.5), "k": np.int64(4)}])
    found = walk(Explorer(env, 0), store, 1, steps=10, every=2)
    assert [state.ret for state in found] == [1.0, 2.0, 3.0]
    assert [state.ended for state in found] == [False, False, True]


def test_the_time_limit_counts_what_was_used_up_before_the_walk():
    env, store = restorable(pendulum()), SnapshotStore()
    collect(env, None, store, episodes=1, every=95)
    explorer = Explorer(restorable(pendulum()), 0)
    found = walk(explorer, store, 2, steps=50, every=100)
    assert [(state.steps, state.elapsed, state.ended) for state in found] == [(10, 200, True)]
    assert explorer.steps == 10


def test_steps_that_restoring_replays_are_charged():
    env, store = ActionReplay(pendulum()), SnapshotStore()
    collect(env, None, store, episodes=1, every=20, max_steps=60)
    explorer = Explorer(ActionReplay(pendulum()), 0)
    walk(explorer, store, 2, steps=3, every=3)
    assert explorer.steps == 40 + 3


class Recorder(gymnasium.Wrapper):
    """Keeps the actions that it passes on."""

    def __init__(self, env):
        super().__init__(env)
        self.actions = []

    def step(self, action):
        self.actions.append(np.array(action))
        return super().step(action)


@pytest.mark.parametrize(("sticky", "low", "high"), [(0.0, 0.0, 0.0), (0.8, 0.7, 0.9)])
def test_sticky_walks_repeat_their_actions(gate_store, sticky, low, high):
    recorder = Recorder(gymnasium.make(GATE))
    explorer = Explorer(recorder, 0, sticky=sticky)
    for seed in range(30):
        walk(explorer, gate_store, seed=seed, steps=20)
    repeated = [np.array_equal(a, b) for a, b in itertools.pairwise(recorder.actions)]
    assert low <= np.mean(repeated) <= high
    actions = np.array(recorder.actions)
    assert actions.min() < -0.8 and actions.max() > 0.8


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"every": 0}])
def test_a_walk_needs_steps(gate_store, wrong):
    with pytest.raises(InvalidValue, match="must be at least 1"):
        walk(Explorer(gymnasium.make(GATE), 0), gate_store, **wrong)


@pytest.mark.parametrize("sticky", [-0.1, 1.0])
def test_stickiness_is_a_probability_below_one(sticky):
    with pytest.raises(InvalidValue, match="sticky"):
        Explorer(gymnasium.make(GATE), 0, sticky=sticky)


# -- policies and critics ------------------------------------------------------------------------------------------


def small():
    return {"policy_kwargs": {"net_arch": [16]}, "seed": 0, "device": "cpu"}


OBSERVATIONS = pendulum().observation_space.sample() * np.linspace(0.2, 1.0, 5)[:, None].astype(np.float32)


@pytest.fixture(scope="module")
def normalized():
    venv = VecNormalize(DummyVecEnv([pendulum]), clip_obs=3.0)
    venv.obs_rms.mean, venv.obs_rms.var = np.array([0.1, -0.2, 1.0]), np.array([0.5, 2.0, 9.0])
    return venv


@pytest.fixture(scope="module")
def models(normalized):
    return {
        "ppo": PPO("MlpPolicy", normalized, n_steps=8, batch_size=8, **small()),
        "sac": SAC("MlpPolicy", normalized, buffer_size=10, **small()),
        "td3": TD3("MlpPolicy", normalized, buffer_size=10, **small()),
    }


def normal(observation):
    """What VecNormalize does, from its own documentation."""
    scaled = (observation - [0.1, -0.2, 1.0]) / np.sqrt(np.array([0.5, 2.0, 9.0]) + 1e-8)
    return np.clip(scaled, -3.0, 3.0).astype(np.float32)


@pytest.mark.parametrize("name", ["ppo", "sac", "td3"])
def test_a_model_acts_on_one_observation_as_it_does_on_its_normalised_batch(models, normalized, name):
    policy = policy_of(models[name], scale_of(normalized))
    expected, _ = models[name].predict(normal(OBSERVATIONS), deterministic=True)
    got = np.array([policy(observation) for observation in OBSERVATIONS])
    assert got.shape == (5, 1) and np.allclose(got, expected, atol=1e-6)
    assert len(np.unique(got)) == 5
    assert not np.allclose(got, [policy_of(models[name])(observation) for observation in OBSERVATIONS])


@pytest.mark.parametrize("name", ["ppo", "sac", "td3"])
def test_a_policy_survives_the_way_into_a_worker(models, normalized, name):
    policy = policy_of(models[name], scale_of(normalized))
    again = pickle.loads(pickle.dumps(policy))
    assert all(np.array_equal(again(observation), policy(observation)) for observation in OBSERVATIONS)


def test_a_normaliser_that_moves_on_is_refused_with_what_to_pass_instead(models, normalized):
    for refused in (policy_of, critic_of):
        with pytest.raises(InvalidValue, match=r"scale_of\(normalizer\)"):
            refused(models["ppo"], normalized)


def test_a_policy_that_is_asked_to_samples(models):
    policy = policy_of(models["ppo"], deterministic=False)
    assert len({float(policy(OBSERVATIONS[0])[0]) for _ in range(5)}) == 5


def test_the_critic_of_ppo_is_its_value(models, normalized):
    critic = critic_of(models["ppo"], scale_of(normalized))
    with torch.no_grad():
        policy = models["ppo"].policy
        latent = policy.mlp_extractor.forward_critic(torch.as_tensor(normal(OBSERVATIONS)))
        expected = policy.value_net(latent).numpy().ravel()
    assert np.allclose([critic(observation) for observation in OBSERVATIONS], expected, atol=1e-6)
    assert np.ptp(expected) > 1e-3


@pytest.mark.parametrize("name", ["sac", "td3"])
def test_the_critic_of_off_policy_learners_is_the_smaller_value_of_their_own_action(models, normalized, name):
    model = models[name]
    seen_by_it = torch.as_tensor(normal(OBSERVATIONS))
    actions, _ = model.predict(normal(OBSERVATIONS), deterministic=True)  # within [-2, 2]; critics see [-1, 1]
    both = torch.cat([seen_by_it, torch.as_tensor(actions / 2)], dim=1)
    with torch.no_grad():
        estimates = torch.cat([network(both) for network in model.critic.q_networks], dim=1).numpy()
    critic = critic_of(model, scale_of(normalized))
    assert np.allclose([critic(observation) for observation in OBSERVATIONS], estimates.min(axis=1), atol=1e-5)
    assert estimates.shape == (5, 2) and not np.allclose(estimates[:, 0], estimates[:, 1])


@pytest.fixture
def run_of_ppo(models, normalized, tmp_path):
    view = View.of(normalized, "policy")
    assert save_policy(models["ppo"], tmp_path, name="ppo", view=view.describe(), normalizer=normalized)
    return tmp_path


def test_an_expert_from_a_run_acts_and_judges_as_the_model_it_was(models, normalized, run_of_ppo):
    expert = load_expert(run_of_ppo, DummyVecEnv([pendulum]))
    for observation in OBSERVATIONS:
        assert np.allclose(
            policy_of(expert)(observation), policy_of(models["ppo"], scale_of(normalized))(observation), atol=1e-5
        )
        ours, theirs = critic_of(expert)(observation), critic_of(models["ppo"], scale_of(normalized))(observation)
        assert ours == pytest.approx(theirs, abs=1e-5)
    again = pickle.loads(pickle.dumps(policy_of(expert)))
    assert np.array_equal(again(OBSERVATIONS[0]), policy_of(expert)(OBSERVATIONS[0]))


def test_an_expert_carries_its_own_normaliser(normalized, run_of_ppo):
    expert = load_expert(run_of_ppo, DummyVecEnv([pendulum]))
    for refused in (
        lambda: policy_of(expert, scale_of(normalized)),
        lambda: policy_of(expert, deterministic=False),
        lambda: critic_of(expert, scale_of(normalized)),
    ):
        with pytest.raises(InvalidValue, match="its own normaliser"):
            refused()


class Privileged(gymnasium.Env):
    """Shows a position, and a secret beside it."""

    observation_space = spaces.Dict(
        policy=spaces.Box(-1, 1, (2,), np.float32), privileged=spaces.Box(-1, 1, (1,), np.float32)
    )
    action_space = spaces.Box(-1, 1, (1,), np.float32)


def test_an_expert_sees_its_own_groups():
    expert = CallableExpert(lambda seen: 10 * seen[:, 2:] + seen[:, :1], View.of(DummyVecEnv([Privileged]), "expert"))
    observation = {"policy": np.array([0.25, 9.0], np.float32), "privileged": np.array([0.5], np.float32)}
    assert policy_of(expert)(observation).tolist() == [5.25]


def test_what_cannot_act_or_judge_is_told_and_what_to_do_instead():
    with pytest.raises(InvalidValue, match=r"load_expert\('runs/expert', venv\)"):
        policy_of(Path("runs/expert"))
    with pytest.raises(InvalidValue, match="object has no critic; PPO, A2C, SAC, TD3 and DDPG"):
        critic_of(object())
    dqn = DQN("MlpPolicy", gymnasium.make("CartPole-v1"), buffer_size=10, **small())
    with pytest.raises(InvalidValue, match="DQN has no critic"):
        critic_of(dqn)
    with pytest.raises(InvalidValue, match="must be a function of an observation, not int"):
        policy_of(dqn, 3)


def test_a_policy_with_memory_is_refused():
    contrib = pytest.importorskip("sb3_contrib")
    model = contrib.RecurrentPPO("MlpLstmPolicy", pendulum(), n_steps=8, batch_size=8, device="cpu")
    for refused in (policy_of, critic_of):
        with pytest.raises(InvalidValue, match="RecurrentPPO has memory"):
            refused(model)


def test_an_expert_collects_what_it_plays(run_of_ppo):
    env, store = restorable(pendulum()), SnapshotStore()
    expert = load_expert(run_of_ppo, DummyVecEnv([pendulum]))
    collect(env, policy_of(expert), store, episodes=1, every=50, critic=critic_of(expert))
    values = [record.value for record in store.records]
    assert [record.step for record in store.records] == [0, 50, 100, 150]
    assert np.isfinite(values).all() and len(set(values)) == 4
