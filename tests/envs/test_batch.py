"""Batch and single forms are one environment: same numbers, same rules, for every small environment."""

import copy
import pickle
import re
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
from gymnasium.vector import AutoresetMode
from rlteach_envs.batch import BatchEnv, SingleEnv
from rlteach_envs.goal_maze import GoalMaze, GoalMazeBatch
from rlteach_envs.point_mass_gate import PointMassGate, PointMassGateBatch
from rlteach_envs.toy_cubes import ToyCubes, ToyCubesBatch
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import rlteach
from rlteach.delivery import BatchVecEnv
from rlteach.task_space import TaskSpace
from rlteach.testing.envs import check_env


@dataclass(frozen=True)
class Pair:
    batch: Callable[..., BatchEnv]
    single: Callable[..., SingleEnv]
    kwargs: dict[str, Any]

    def batch_of(self, rows: int) -> BatchEnv:
        return self.batch(rows, **self.kwargs)

    def one(self) -> SingleEnv:
        return self.single(**self.kwargs)


PAIRS = {
    "maze": Pair(GoalMazeBatch, GoalMaze, {"horizon": 25, "box_scale": 1}),
    "maze, features": Pair(
        GoalMazeBatch, GoalMaze, {"horizon": 25, "layout": "serpentine", "box_scale": 1, "features": "rbf"}
    ),
    "gate": Pair(PointMassGateBatch, PointMassGate, {"horizon": 40}),
    "gate, friction": Pair(PointMassGateBatch, PointMassGate, {"horizon": 40, "friction": True}),
    "cubes": Pair(ToyCubesBatch, ToyCubes, {"noise": 0.3, "useless": 1}),
}
IDS = ("rlteach/GoalMaze-v0", "rlteach/PointMassGate-v0", "rlteach/ToyCubes-v0")

pair_named = pytest.mark.parametrize("name", PAIRS)


def tasks_of(env: Any, n: int, seed: int) -> list[Any]:
    return TaskSpace.of(env.task_space).test_set(n, seed)


def mixed_tasks(env: Any, n: int, seed: int) -> list[Any]:
    """Return easy and hard tasks in turn, so that episodes end in every way."""
    rng = np.random.default_rng(seed)
    return [env.oracle_window(0.9 * (i % 2), rng) for i in range(n)]


def batched(env: BatchEnv, tasks: list[Any]) -> Any:
    return TaskSpace.of(env.task_space).batch(dict(enumerate(tasks)), env.num_envs)


def actions_of(env: BatchEnv, rng: np.random.Generator) -> np.ndarray:
    space: Any = env.action_space
    return rng.uniform(space.low, space.high).astype(space.dtype)


def same_bits(a: Any, b: Any) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pair_named
def test_each_row_of_a_batch_plays_like_a_single_environment(name: str) -> None:
    pair, rows = PAIRS[name], 7
    batch, singles = pair.batch_of(rows), [pair.one() for _ in range(rows)]
    rng = np.random.default_rng(1)
    tasks = mixed_tasks(batch, 2000, seed=2)
    given = [tasks.pop() for _ in range(rows)]
    observations, _ = batch.reset(seed=11, options={"task": batched(batch, given)})
    for i, single in enumerate(singles):
        assert same_bits(observations[i], single.reset(seed=11 + i, options={"task": given[i]})[0])
    endings = {"terminated": 0, "truncated": 0}
    for step in range(150):
        if step % 10 == 0:  # held for a while, or a mass at random never reaches the wall
            actions = actions_of(batch, rng)
        observations, rewards, terminations, truncations, infos = batch.step(actions)
        for i, single in enumerate(singles):
            observation, reward, terminated, truncated, info = single.step(actions[i])
            assert same_bits(observations[i], observation)
            assert (rewards[i], terminations[i], truncations[i]) == (reward, terminated, truncated)
            assert info == ({"is_success": bool(infos["is_success"][i])} if terminated or truncated else {})
        finished = terminations | truncations
        endings["terminated"] += int(terminations.sum())
        endings["truncated"] += int(truncations.sum())
        if finished.any():
            given = [tasks.pop() if done else task for done, task in zip(finished, given, strict=True)]
            options = {"reset_mask": finished, "task": batched(batch, given)}
            observations, _ = batch.reset(options=options)
            for i in np.flatnonzero(finished):
                assert same_bits(observations[i], singles[i].reset(options={"task": given[i]})[0])
    assert endings["terminated"] >= 2 and sum(endings.values()) >= 3 * rows
    assert endings["truncated"] >= 1 or name == "cubes"


@pair_named
def test_without_tasks_each_row_draws_its_own_as_a_single_environment_does(name: str) -> None:
    pair = PAIRS[name]
    batch = pair.batch_of(5)
    observations, _ = batch.reset(seed=3)
    for i in range(5):
        single = pair.one()
        assert same_bits(single.reset(seed=3 + i)[0], observations[i])
    assert len(np.unique(batch._tasks, axis=0)) == 5
    assert ((batch._tasks >= batch._low) & (batch._tasks <= batch._high)).all()


@pair_named
def test_tasks_drawn_by_an_environment_are_uniform(name: str) -> None:
    batch = PAIRS[name].batch_of(4000)
    batch.reset(seed=0)
    unit = (batch._tasks - batch._low) / (batch._high - batch._low)
    assert np.abs(unit.mean(axis=0) - 0.5).max() < 0.03
    assert np.abs(unit.var(axis=0) - 1 / 12).max() < 0.01
    assert np.abs(np.corrcoef(unit.T) - np.eye(unit.shape[1])).max() < 0.08


@pair_named
def test_a_masked_reset_touches_no_other_row(name: str) -> None:
    masked, left_alone = PAIRS[name].batch_of(6), PAIRS[name].batch_of(6)
    tasks, others = tasks_of(masked, 6, 1), tasks_of(masked, 6, 2)
    mask = np.array([True, False, True, False, False, False])
    for env in (masked, left_alone):
        env.reset(seed=4, options={"task": batched(env, tasks)})
        env.step(actions_of(env, np.random.default_rng(8)))
    masked.reset(options={"reset_mask": mask, "task": batched(masked, others)})
    assert (masked._clock == [0, 1, 0, 1, 1, 1]).all()
    rng = np.random.default_rng(9)
    for _ in range(10):
        actions = actions_of(masked, rng)
        mine, theirs = masked.step(actions), left_alone.step(actions)
        for one, other in zip(mine[:4], theirs[:4], strict=True):
            assert same_bits(one[~mask], other[~mask])
    vector = TaskSpace.of(masked.task_space).to_vector
    expected = [vector((others if row else tasks)[i]) for i, row in enumerate(mask)]
    assert np.array_equal(masked._tasks, expected)


@pair_named
def test_a_seed_reaches_the_masked_rows_only(name: str) -> None:
    env, other = PAIRS[name].batch_of(3), PAIRS[name].batch_of(3)
    for one in (env, other):
        one.reset(seed=0)
    env.reset(seed=50, options={"reset_mask": np.array([False, True, False])})
    other.reset(seed=[7, 51, None], options={"reset_mask": np.array([False, True, False])})
    states = [[g.bit_generator.state["state"] for g in one._generators] for one in (env, other)]
    assert states[0] == states[1]
    assert same_bits(env._tasks, other._tasks)


@pair_named
def test_the_task_of_a_masked_off_row_is_ignored_whatever_it_is(name: str) -> None:
    env = PAIRS[name].batch_of(3)
    tasks = batched(env, tasks_of(env, 3, 0))
    spoilt = {k: v.copy() for k, v in tasks.items()} if isinstance(tasks, dict) else tasks.copy()
    for part in spoilt.values() if isinstance(spoilt, dict) else [spoilt]:
        part[0], part[2] = np.nan, 1e9
    env.reset(seed=0, options={"task": tasks})
    before = env._tasks.copy()
    env.reset(options={"reset_mask": np.array([False, True, False]), "task": spoilt})
    assert same_bits(env._tasks, before)


@pair_named
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e3])
def test_a_task_outside_names_the_parameter_and_the_row_and_changes_nothing(name: str, value: float) -> None:
    env = PAIRS[name].batch_of(3)
    env.reset(seed=0)
    space = TaskSpace.of(env.task_space, env)
    before = env._tasks.copy()
    for column, parameter in enumerate(space.names):
        tasks: Any = batched(env, tasks_of(env, 3, 0))
        place: Any = (tasks[parameter], 2) if isinstance(tasks, dict) else (tasks, (2, column))
        place[0][place[1]] = value
        with pytest.raises(ValueError, match=rf"^{re.escape(parameter)} = .* of row 2 lies outside \["):
            env.reset(options={"task": tasks})
        assert same_bits(env._tasks, before)


@pair_named
def test_a_single_environment_refuses_a_task_outside_and_speaks_of_no_row(name: str) -> None:
    env = PAIRS[name].one()
    space = TaskSpace.of(env.task_space, env)
    task: Any = space.from_unit(np.full(space.dimension, 0.5))
    if isinstance(task, dict):
        task = {**task, space.names[0]: np.array(np.nan)}
    else:
        task[0] = np.nan
    with pytest.raises(ValueError, match=rf"^{re.escape(space.names[0])} = nan lies outside \["):
        env.reset(options={"task": task})


@pair_named
def test_a_finished_row_stays_as_it_is_and_earns_nothing(name: str) -> None:
    env = PAIRS[name].batch_of(12)
    env.reset(seed=0, options={"task": batched(env, mixed_tasks(env, 12, 0))})
    rng = np.random.default_rng(0)
    seen: dict[int, np.ndarray] = {}
    reported = np.zeros(12, dtype=int)
    for _ in range(60):
        snapshot = env.get_snapshot()
        observations, rewards, terminations, truncations, infos = env.step(actions_of(env, rng))
        for row, final in seen.items():
            assert same_bits(observations[row], final)
            assert rewards[row] == 0 and not terminations[row] and not truncations[row]
            assert not (infos and infos["_is_success"][row])
            for part in (*env.state_names, "_clock", "_tasks"):
                assert same_bits(getattr(env, part)[row], snapshot[part][row])
        finished = terminations | truncations
        reported += finished
        seen |= {int(row): observations[row].copy() for row in np.flatnonzero(finished)}
    assert (reported == 1).all()


@pair_named
def test_the_horizon_truncates_and_never_both(name: str) -> None:
    env = PAIRS[name].batch_of(50)
    env.reset(seed=0)
    lengths = np.zeros(50, dtype=int)
    rng = np.random.default_rng(0)
    for step in range(1, env.horizon + 1):
        _, _, terminations, truncations, _ = env.step(actions_of(env, rng))
        assert not (terminations & truncations).any()
        assert not truncations.any() or step == env.horizon
        lengths[terminations | truncations] = step
    assert (lengths >= 1).all()
    assert not env._playing.any()


def play_on(env: BatchEnv, steps: int, rng: np.random.Generator) -> list[Any]:
    """Play with resets to tasks that the environment draws itself; return everything that was seen."""
    trace: list[Any] = []
    for _ in range(steps):
        *seen, infos = env.step(actions_of(env, rng))
        trace += [*seen, infos.get("is_success", np.zeros(0))]
        finished = seen[2] | seen[3]
        if finished.any():
            trace.append(env.reset(options={"reset_mask": finished})[0])
    return trace


@pair_named
@pytest.mark.parametrize("where", ["the same", "another"])
def test_a_snapshot_continues_bit_exactly_over_100_steps(name: str, where: str) -> None:
    pair = PAIRS[name]
    env = pair.batch_of(6)
    env.reset(seed=5)
    play_on(env, 13, np.random.default_rng(0))
    snapshot = env.get_snapshot()
    first = play_on(env, 100, np.random.default_rng(1))
    if where == "another":
        env = pair.batch_of(6)
        env.reset(seed=99)
        play_on(env, 3, np.random.default_rng(2))
    restored, _ = env.set_snapshot(snapshot)
    assert same_bits(restored, env._observe())
    second = play_on(env, 100, np.random.default_rng(1))
    assert len(first) == len(second)
    assert all(same_bits(a, b) for a, b in zip(first, second, strict=True))


@pair_named
def test_a_snapshot_is_a_copy_and_plain_data(name: str) -> None:
    env = PAIRS[name].batch_of(2)
    env.reset(seed=0)
    snapshot = env.get_snapshot()
    kept = {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in snapshot.items()}
    play_on(env, 30, np.random.default_rng(0))
    env.set_snapshot(snapshot)
    play_on(env, 30, np.random.default_rng(0))
    assert all(np.array_equal(snapshot[key], kept[key]) for key in kept)
    assert all(isinstance(value, np.ndarray | str) for value in snapshot.values())


@pair_named
def test_a_masked_snapshot_restores_the_masked_rows_only(name: str) -> None:
    env, untouched = PAIRS[name].batch_of(4), PAIRS[name].batch_of(4)
    for one in (env, untouched):
        one.reset(seed=1)
    snapshot = env.get_snapshot()
    for one in (env, untouched):
        play_on(one, 10, np.random.default_rng(3))
    mask = np.array([False, True, True, False])
    env.set_snapshot(snapshot, mask=mask)
    fresh = PAIRS[name].batch_of(4)
    fresh.reset(seed=1)
    got, kept, new = (play_on(one, 40, np.random.default_rng(4)) for one in (env, untouched, fresh))
    steps = [trace[0] for trace in (got, kept, new)]
    assert same_bits(steps[0][mask], steps[2][mask]) and same_bits(steps[0][~mask], steps[1][~mask])
    for row, source in ((1, fresh), (2, fresh), (0, untouched), (3, untouched)):
        for part in (*env.state_names, "_clock", "_tasks"):
            assert same_bits(getattr(env, part)[row], getattr(source, part)[row])
        assert env._generators[row].bit_generator.state == source._generators[row].bit_generator.state


@pair_named
def test_a_foreign_snapshot_is_refused(name: str) -> None:
    snapshot = PAIRS[name].batch_of(3).get_snapshot()
    with pytest.raises(ValueError, match=r"another size: .* has shape \(3,.*, not \(4,"):
        PAIRS[name].batch_of(4).set_snapshot(snapshot)
    with pytest.raises(ValueError, match=r"env_version '99', not of kind .*, env_version '0'"):
        PAIRS[name].batch_of(3).set_snapshot({**snapshot, "env_version": "99"})


@pair_named
def test_single_snapshots_continue_bit_exactly_in_another_instance(name: str) -> None:
    env, other = PAIRS[name].one(), PAIRS[name].one()
    env.reset(seed=2)
    env.action_space.seed(0)
    snapshot = env.get_snapshot()
    actions = [env.action_space.sample() for _ in range(100)]

    def play(one: SingleEnv) -> list[Any]:
        trace: list[Any] = []
        for action in actions:
            trace.append(one.step(action))
            if trace[-1][2] or trace[-1][3]:
                trace.append(one.reset())
        return trace

    first = play(env)
    other.set_snapshot(snapshot)
    for a, b in zip(first, play(other), strict=True):
        assert same_bits(a[0], b[0]) and a[1:] == b[1:]


@pair_named
def test_the_same_seed_gives_the_same_rollout_whatever_was_played_before(name: str) -> None:
    env = PAIRS[name].batch_of(3)
    traces = []
    for played_before in (0, 3, 30):
        play_on(env, played_before, np.random.default_rng(played_before))
        first, _ = env.reset(seed=21)
        traces.append([first, *play_on(env, 60, np.random.default_rng(7))])
    for trace in traces[1:]:
        assert all(same_bits(a, b) for a, b in zip(traces[0], trace, strict=True))
    env.reset(seed=22)
    assert not all(same_bits(a, b) for a, b in zip(traces[0], play_on(env, 60, np.random.default_rng(7)), strict=False))


@pair_named
def test_observations_and_rewards_are_fresh_and_of_the_promised_type(name: str) -> None:
    env = PAIRS[name].batch_of(3)
    first, _ = env.reset(seed=0)
    kept = first.copy()
    second, rewards, *_ = env.step(actions_of(env, np.random.default_rng(0)))
    assert same_bits(first, kept) and second is not first
    assert second.dtype == np.float32 and rewards.dtype == np.float64
    assert env.observation_space.contains(second)
    second[:] = 0
    assert not np.array_equal(env._observe(), second)


@pair_named
def test_actions_beyond_the_bounds_count_as_the_bound(name: str) -> None:
    inside, beyond = PAIRS[name].batch_of(2), PAIRS[name].batch_of(2)
    for env in (inside, beyond):
        env.reset(seed=0)
    high: Any = inside.action_space.high  # type: ignore[attr-defined]
    a, b = inside.step(high), beyond.step(3 * high)
    assert all(same_bits(x, y) for x, y in zip(a[:4], b[:4], strict=True))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: GoalMazeBatch(0), "num_envs = 0"),
        (lambda: GoalMazeBatch(1, horizon=0), "horizon = 0"),
        (lambda: GoalMazeBatch(1, features="pixels"), "features = 'pixels'"),
        (lambda: GoalMazeBatch(1, box_scale=-1), "box_scale = -1"),
        (lambda: GoalMazeBatch(1, box_scale=float("nan")), "box_scale = nan"),
        (
            lambda: GoalMazeBatch(2).reset(options={"reset_mask": np.ones(3, dtype=bool)}),
            r"^reset_mask has shape \(3,\)",
        ),
        (lambda: GoalMazeBatch(2).set_task(np.zeros((2, 2)), np.ones(3, dtype=bool)), r"^mask has shape \(3,\)"),
        (lambda: ToyCubesBatch(1, cubes=1), "cubes = 1 must be a whole number of at least 2"),
        (lambda: ToyCubesBatch(1, dead=1.0), r"dead = 1.0 in \[0, 1\)"),
        (lambda: ToyCubesBatch(1, dimensions=1, rotation=30), "two dimensions"),
    ],
)
def test_wrong_arguments_are_named(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


def test_a_single_environment_offers_what_its_batch_offers_and_nothing_else() -> None:
    assert hasattr(ToyCubes(), "skill_graph") and not hasattr(GoalMaze(), "skill_graph")
    assert hasattr(GoalMaze(), "demonstrate") and not hasattr(ToyCubes(), "demonstrate")
    assert not hasattr(GoalMaze(), "observation_groups")
    assert GoalMaze().feasibility([1.5, 1.5]) and not GoalMaze().feasibility([0.5, 0.5])
    with pytest.raises(AttributeError, match="'GoalMaze' object has no attribute 'set_goal'"):
        _ = GoalMaze().set_goal
    assert gym.make("rlteach/GoalMaze-v0").has_wrapper_attr("oracle_window")


@pair_named
def test_a_single_environment_can_be_pickled_and_copied(name: str) -> None:
    env = PAIRS[name].one()
    env.reset(seed=1)
    twins = [pickle.loads(pickle.dumps(env)), copy.deepcopy(env)]
    env.action_space.seed(0)
    action = env.action_space.sample()
    first = env.step(action)
    for twin in twins:
        again = twin.step(action)
        assert same_bits(first[0], again[0]) and first[1:] == again[1:]


# -- other people's checks, and every door -------------------------------------------------------------------------


@pair_named
def test_gymnasium_and_stable_baselines3_are_content(name: str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*A Box observation space m(in|ax)imum value is -?infinity")
        warnings.filterwarnings("ignore", "We recommend you to use a symmetric and normalized Box action space")
        gymnasium_check_env(PAIRS[name].one(), skip_render_check=True)
        sb3_check_env(PAIRS[name].one())


@pytest.mark.parametrize("env_id", IDS)
def test_no_finding_of_our_own_checks_fails(env_id: str) -> None:
    findings = check_env(env_id)
    assert [finding for finding in findings if finding.ok is False] == []
    missing = {finding.name for finding in findings if finding.ok is None}
    assert missing == set(), f"an environment of ours offers everything, but not {missing}"


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("prefix", ["", "rlteach_envs:"])
def test_every_door_opens_the_same_environment(env_id: str, prefix: str) -> None:
    single = gym.make(prefix + env_id)
    assert single.unwrapped.metadata["render_modes"] in ([], ["rgb_array"])
    vector = gym.make_vec(prefix + env_id, num_envs=3)
    assert vector.metadata["autoreset_mode"] == AutoresetMode.DISABLED
    assert isinstance(vector.unwrapped, BatchEnv)
    venv = rlteach.make_vec_env(prefix + env_id, 3, seed=6)
    assert isinstance(venv, BatchVecEnv)
    ours = venv.reset()
    theirs, _ = vector.reset(seed=6)
    alone, _ = single.reset(seed=6)
    assert same_bits(ours, theirs) and same_bits(theirs[0], alone)
    for space in (single.get_wrapper_attr("task_space"), venv.get_attr("task_space")[0]):
        assert space == vector.unwrapped.task_space
    for env in (single, vector, venv):
        env.close()


@pytest.mark.parametrize("env_id", IDS)
def test_what_an_environment_offers_is_the_same_in_both_forms(env_id: str) -> None:
    single, vector = gym.make(env_id).unwrapped, gym.make_vec(env_id, num_envs=2).unwrapped
    for offer in ("task_space", "return_range", "task_units", "env_version"):
        assert getattr(single, offer) == getattr(vector, offer)
    assert list(single.test_sets) == list(vector.test_sets)  # type: ignore[attr-defined]
    for name, tasks in single.test_sets.items():  # type: ignore[attr-defined]
        space = TaskSpace.of(single.task_space)  # type: ignore[attr-defined]
        vectors = [np.array([space.to_vector(task) for task in some]) for some in (tasks, vector.test_sets[name])]
        assert same_bits(*vectors)
    draws = [e.oracle_window(0.4, np.random.default_rng(3)) for e in (single, vector)]  # type: ignore[attr-defined]
    assert str(draws[0]) == str(draws[1])
    assert isinstance(single.task_space, spaces.Box | spaces.Dict)  # type: ignore[attr-defined]


@pytest.mark.parametrize("env_id", IDS[:2])
def test_pictures_are_drawn_where_they_are_offered(env_id: str) -> None:
    env = gym.make(env_id, render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    for _ in range(10):
        env.step(np.array([-1.0, 0.3], np.float32))
    after = env.render()
    assert isinstance(before, np.ndarray) and before.dtype == np.uint8 and before.ndim == 3 and before.shape[2] == 3
    assert not np.array_equal(before, after)
    env.close()
