"""What all environments with a hidden part promise: two forms of one environment, groups, snapshots, lessons."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import rlteach_envs  # noqa: F401 - registers the ids
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from rlteach_envs.batch import BatchEnv, SingleEnv
from rlteach_envs.hidden_mass_pendulum import HiddenMassPendulum, HiddenMassPendulumBatch
from rlteach_envs.light_dark import LightDark, LightDarkBatch
from rlteach_envs.memory_t_maze import MemoryTMaze, MemoryTMazeBatch
from rlteach_envs.tiger_room import TigerRoom, TigerRoomBatch
from rlteach_envs.wind_gain import WindGain, WindGainBatch
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import rlteach
from rlteach.delivery import BatchVecEnv
from rlteach.task_space import TaskSpace
from rlteach.teachers.uniform import Uniform
from rlteach.testing.envs import check_env


@dataclass(frozen=True)
class Pair:
    batch: Callable[..., BatchEnv]
    single: Callable[..., SingleEnv]
    horizon: int
    unordered: bool = False
    endless: bool = False

    def batch_of(self, rows: int) -> BatchEnv:
        return self.batch(rows, horizon=self.horizon)

    def one(self) -> SingleEnv:
        return self.single(horizon=self.horizon)


PAIRS = {
    "WindGain": Pair(WindGainBatch, WindGain, 40),
    "TigerRoom": Pair(TigerRoomBatch, TigerRoom, 30, unordered=True),
    "MemoryTMaze": Pair(MemoryTMazeBatch, MemoryTMaze, 40),
    "LightDark": Pair(LightDarkBatch, LightDark, 30, unordered=True, endless=True),
    "HiddenMassPendulum": Pair(HiddenMassPendulumBatch, HiddenMassPendulum, 30, endless=True),
}
named = pytest.mark.parametrize("name", PAIRS)


def same_bits(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return list(a) == list(b) and all(same_bits(a[key], b[key]) for key in a)
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def row_of(observations: Any, row: Any) -> Any:
    return {key: values[row] for key, values in observations.items()}


def tasks_of(env: BatchEnv, seed: int) -> list[Any]:
    return TaskSpace.of(env.task_space).test_set(env.num_envs, seed)


def batched(env: BatchEnv, tasks: list[Any]) -> Any:
    return TaskSpace.of(env.task_space).batch(dict(enumerate(tasks)), env.num_envs)


def actions_of(env: BatchEnv, rng: np.random.Generator) -> np.ndarray:
    """Return actions with a preference for the positive, which gets one along a corridor."""
    space: Any = env.action_space
    return rng.uniform(space.low + 0.4, space.high + 0.2).astype(np.float32)


def play_on(env: BatchEnv, steps: int, rng: np.random.Generator) -> list[Any]:
    """Play with resets to tasks that the environment draws itself; return everything that was seen."""
    trace: list[Any] = []
    for step in range(steps):
        if step % 5 == 0:
            actions = actions_of(env, rng)
        *seen, infos = env.step(actions)
        trace += [*seen, infos.get("is_success", np.zeros(0))]
        finished = seen[2] | seen[3]
        if finished.any():
            trace.append(env.reset(options={"reset_mask": finished})[0])
    return trace


def same_traces(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(same_bits(a, b) for a, b in zip(first, second, strict=True))


# -- two forms, one environment --------------------------------------------------------------------------------------


@named
def test_each_row_of_a_batch_plays_like_a_single_environment(name: str) -> None:
    pair, rows = PAIRS[name], 6
    batch, singles = pair.batch_of(rows), [pair.one() for _ in range(rows)]
    rng = np.random.default_rng(1)
    tasks = TaskSpace.of(batch.task_space).test_set(200, 2)
    given = [tasks.pop() for _ in range(rows)]
    observations, _ = batch.reset(seed=11, options={"task": batched(batch, given)})
    for i, single in enumerate(singles):
        assert same_bits(row_of(observations, i), single.reset(seed=11 + i, options={"task": given[i]})[0])
    endings = {"terminated": 0, "truncated": 0}
    for step in range(130):
        if step % 8 == 0:
            actions = actions_of(batch, rng)
        observations, rewards, terminations, truncations, infos = batch.step(actions)
        for i, single in enumerate(singles):
            observation, reward, terminated, truncated, info = single.step(actions[i])
            assert same_bits(row_of(observations, i), observation)
            assert (rewards[i], terminations[i], truncations[i]) == (reward, terminated, truncated)
            assert info == ({"is_success": bool(infos["is_success"][i])} if terminated or truncated else {})
        finished = terminations | truncations
        endings["terminated"] += int(terminations.sum())
        endings["truncated"] += int(truncations.sum())
        if finished.any():
            given = [tasks.pop() if done else task for done, task in zip(finished, given, strict=True)]
            observations, _ = batch.reset(options={"reset_mask": finished, "task": batched(batch, given)})
            for i in np.flatnonzero(finished):
                assert same_bits(row_of(observations, i), singles[i].reset(options={"task": given[i]})[0])
    assert (endings["terminated"] == 0) == pair.endless and sum(endings.values()) >= 3 * rows


@named
def test_without_tasks_each_row_draws_its_own_as_a_single_environment_does(name: str) -> None:
    pair = PAIRS[name]
    batch = pair.batch_of(4)
    observations, _ = batch.reset(seed=3)
    for i in range(4):
        assert same_bits(pair.one().reset(seed=3 + i)[0], row_of(observations, i))
    assert len(np.unique(batch._tasks, axis=0)) == 4


@named
def test_every_door_opens_the_same_environment(name: str) -> None:
    env_id = f"rlteach_envs:rlteach/{name}-v0"
    single, vector = gym.make(env_id, render_mode=None), gym.make_vec(env_id, num_envs=3)
    venv = rlteach.make_vec_env(env_id, 3, seed=6)
    dummy = rlteach.make_vec_env(env_id, 3, seed=6, vec="dummy")
    assert isinstance(vector.unwrapped, PAIRS[name].batch) and isinstance(venv, BatchVecEnv)  # type: ignore[arg-type]
    firsts = venv.reset(), vector.reset(seed=6)[0], dummy.reset()
    assert same_bits(firsts[0], firsts[1]) and same_bits(firsts[1], dict(firsts[2]))
    assert same_bits(row_of(firsts[0], 0), single.reset(seed=6)[0])
    for env in (single, vector, venv, dummy):
        env.close()


@named
def test_both_forms_say_the_same_of_themselves(name: str) -> None:
    batch, single = PAIRS[name].batch_of(2), PAIRS[name].one()
    offers = ("observation_groups", "observation_names", "observation_units", "action_names", "action_units")
    for offer in (*offers, "control_rate", "return_range", "task_space", "task_units", "env_version"):
        assert getattr(single, offer) == getattr(batch, offer)
    assert str(single.test_sets) == str(batch.test_sets)
    assert hasattr(single, "oracle_window") == hasattr(batch, "oracle_window") == (not PAIRS[name].unordered)


@named
def test_every_column_of_every_group_has_a_name_and_a_unit(name: str) -> None:
    env = PAIRS[name].one()
    space: Any = env.observation_space
    assert isinstance(space, spaces.Dict) and list(space.spaces) == ["policy", "privileged"]
    assert env.observation_groups == {"policy": ("policy",), "privileged": ("privileged",)}
    for key, box in space.spaces.items():
        assert box.dtype == np.float32
        assert len(env.observation_names[key]) == len(env.observation_units[key]) == box.shape[0]
    names = [column for group in env.observation_names.values() for column in group]
    assert len(set(names)) == len(names) and all(unit for group in env.observation_units.values() for unit in group)
    assert (len(env.action_names),) == (len(env.action_units),) == env.action_space.shape
    assert isinstance(env.control_rate, float) and env.control_rate > 0


# -- resets, seeds, snapshots ----------------------------------------------------------------------------------------


@named
def test_a_masked_reset_touches_no_other_row(name: str) -> None:
    masked, left_alone = PAIRS[name].batch_of(6), PAIRS[name].batch_of(6)
    tasks, others = tasks_of(masked, 1), tasks_of(masked, 2)
    mask = np.array([True, False, True, False, False, False])
    for env in (masked, left_alone):
        env.reset(seed=4, options={"task": batched(env, tasks)})
        env.step(actions_of(env, np.random.default_rng(8)))
    masked.reset(options={"reset_mask": mask, "task": batched(masked, others)})
    assert (masked._clock == [0, 1, 0, 1, 1, 1]).all()
    vector = TaskSpace.of(masked.task_space).to_vector
    assert np.array_equal(masked._tasks, [vector((others if row else tasks)[i]) for i, row in enumerate(mask)])
    rng = np.random.default_rng(9)
    for _ in range(10):
        actions = actions_of(masked, rng)
        mine, theirs = masked.step(actions), left_alone.step(actions)
        assert same_bits(row_of(mine[0], ~mask), row_of(theirs[0], ~mask))
        assert all(same_bits(one[~mask], other[~mask]) for one, other in zip(mine[1:4], theirs[1:4], strict=True))


@named
def test_a_finished_row_stays_as_it_is_and_earns_nothing(name: str) -> None:
    env = PAIRS[name].batch_of(12)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    seen: dict[int, Any] = {}
    for step in range(50):
        snapshot = env.get_snapshot()
        if step % 8 == 0:
            actions = actions_of(env, rng)
        observations, rewards, terminations, truncations, infos = env.step(actions)
        for row, final in seen.items():
            assert same_bits(row_of(observations, row), final)
            assert rewards[row] == 0 and not terminations[row] and not truncations[row]
            assert not (infos and infos["_is_success"][row])
            for part in (*env.state_names, "_clock", "_tasks"):
                assert same_bits(getattr(env, part)[row], snapshot[part][row])
        seen |= {int(row): row_of(observations, row) for row in np.flatnonzero(terminations | truncations)}
    assert len(seen) == 12


@named
def test_the_same_seed_gives_the_same_rollout_whatever_was_played_before(name: str) -> None:
    env = PAIRS[name].batch_of(3)
    traces = []
    for played_before in (0, 20):
        env.reset(seed=1)
        play_on(env, played_before, np.random.default_rng(played_before))
        first, _ = env.reset(seed=21)
        traces.append([first, *play_on(env, 60, np.random.default_rng(7))])
    assert same_traces(*traces)
    assert not same_bits(traces[0][0], env.reset(seed=22)[0])


@named
@pytest.mark.parametrize("where", ["the same", "another"])
def test_a_snapshot_continues_bit_exactly(name: str, where: str) -> None:
    env = PAIRS[name].batch_of(5)
    env.reset(seed=5)
    play_on(env, 13, np.random.default_rng(0))
    snapshot = env.get_snapshot()
    first = play_on(env, 90, np.random.default_rng(1))
    if where == "another":
        env = PAIRS[name].batch_of(5)
        env.reset(seed=99)
    restored, _ = env.set_snapshot(snapshot)
    assert same_bits(restored, env._observe())
    assert same_traces(first, play_on(env, 90, np.random.default_rng(1)))
    assert all(isinstance(value, np.ndarray | str) for value in snapshot.values())


@named
def test_a_masked_snapshot_restores_the_masked_rows_only(name: str) -> None:
    env, untouched = PAIRS[name].batch_of(4), PAIRS[name].batch_of(4)
    for one in (env, untouched):
        one.reset(seed=1)
    snapshot = env.get_snapshot()
    for one in (env, untouched):
        play_on(one, 10, np.random.default_rng(3))
    mask = np.array([False, True, True, False])
    env.set_snapshot(snapshot, mask=mask)
    for part in (*env.state_names, "_clock", "_tasks"):
        assert same_bits(getattr(env, part)[mask], snapshot[part][mask])
        assert same_bits(getattr(env, part)[~mask], getattr(untouched, part)[~mask])


@named
def test_a_single_environment_can_be_copied_and_restored(name: str) -> None:
    env = PAIRS[name].one()
    env.reset(seed=2)
    other, third = copy.deepcopy(env), PAIRS[name].one()
    first, _ = third.set_snapshot(env.get_snapshot())
    assert env.observation_space.contains(first)
    env.action_space.seed(0)
    for _ in range(20):
        action = env.action_space.sample()
        steps = [one.step(action) for one in (env, other, third)]
        assert same_bits(steps[0][0], steps[1][0]) and same_bits(steps[0][0], steps[2][0])
        assert steps[0][1:] == steps[1][1:] == steps[2][1:]


# -- observations and actions ----------------------------------------------------------------------------------------


@named
def test_observations_are_fresh_and_inside_their_space_and_returns_inside_their_range(name: str) -> None:
    env = PAIRS[name].batch_of(64)
    first, _ = env.reset(seed=0)
    kept = copy.deepcopy(first)
    returns, rng = np.zeros(64), np.random.default_rng(0)
    for _ in range(env.horizon):
        observations, rewards, *_ = env.step(actions_of(env, rng))
        assert env.observation_space.contains(observations)
        assert rewards.dtype == np.float64
        returns += rewards
    assert same_bits(first, kept)
    assert not env._playing.any()
    low, high = env.return_range
    assert ((low <= returns) & (returns <= high)).all()
    for part in observations.values():
        part[:] = 0
    assert not same_bits(env._observe(), observations)


@named
def test_actions_beyond_the_bounds_count_as_the_bound(name: str) -> None:
    inside, beyond = PAIRS[name].batch_of(2), PAIRS[name].batch_of(2)
    for env in (inside, beyond):
        env.reset(seed=0)
    high: Any = inside.action_space.high  # type: ignore[attr-defined]
    assert same_traces(list(inside.step(high)[:4]), list(beyond.step(3 * high)[:4]))


# -- other people's checks, teachers, orders, pictures -----------------------------------------------------------------


@named
def test_gymnasium_and_stable_baselines3_are_content(name: str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*A Box observation space m(in|ax)imum value is -?infinity")
        gymnasium_check_env(PAIRS[name].one(), skip_render_check=True)
        sb3_check_env(PAIRS[name].one())


@named
def test_no_finding_of_our_own_checks_fails(name: str) -> None:
    findings = check_env(f"rlteach/{name}-v0")
    assert [finding for finding in findings if finding.ok is False] == []
    missing = {finding.name for finding in findings if finding.ok is None}
    assert missing == ({"oracle window"} if PAIRS[name].unordered else set())


@named
def test_a_teacher_chooses_the_task_of_every_episode(name: str) -> None:
    base = rlteach.make_vec_env(f"rlteach/{name}-v0", 4, seed=0, env_kwargs={"horizon": 20})
    venv = rlteach.attach(base, Uniform(base.get_attr("task_space")[0], seed=0))
    batch: Any = base.batch_env  # type: ignore[attr-defined]
    space = TaskSpace.of(batch.task_space)
    observations, ended = venv.reset(), 0
    for _ in range(50):
        assert venv.observation_space.contains(row_of(observations, 0))
        lessons: Any = venv._lessons
        assert np.array_equal(batch._tasks, [space.to_vector(lesson.task) for lesson in lessons])
        observations, _, dones, infos = venv.step(np.zeros((4, *batch.single_action_space.shape), np.float32))
        for i in np.flatnonzero(dones):
            ended += 1
            assert venv.observation_space.contains(infos[i]["terminal_observation"])
            assert isinstance(infos[i]["is_success"], bool | np.bool_)
    assert ended >= 8
    venv.close()


@pytest.mark.parametrize("name", [name for name, pair in PAIRS.items() if not pair.unordered])
def test_the_order_from_easy_to_hard_ends_at_everything(name: str) -> None:
    env = PAIRS[name].one()
    space, rng = TaskSpace.of(env.task_space), np.random.default_rng(0)

    def unit(progress: float) -> np.ndarray:
        tasks = [env.oracle_window(progress, rng) for _ in range(400)]
        assert all(space.contains(task) for task in tasks)
        return np.array([space.to_unit(task) for task in tasks])

    first, _, last = (unit(progress) for progress in (0.0, 0.5, 1.0))
    ordered = np.ptp(first, axis=0) <= 0.2 + 1e-9
    assert ordered.sum() >= 1
    assert (last.min(axis=0) < 0.03).all() and (last.max(axis=0) > 0.97).all()


@pytest.mark.parametrize("name", ["WindGain", "TigerRoom"])
def test_pictures_are_drawn_where_they_are_offered(name: str) -> None:
    env = gym.make(f"rlteach/{name}-v0", render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    for _ in range(5):
        env.step(np.array([0.5, 0.9], np.float32))
    after = env.render()
    assert isinstance(before, np.ndarray) and before.dtype == np.uint8 and before.ndim == 3 and before.shape[2] == 3
    assert not np.array_equal(before, after)
    env.close()
