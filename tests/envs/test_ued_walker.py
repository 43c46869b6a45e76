"""UEDWalker: its tracks against the rules they are drawn by, its edits, its promises, and its mistakes."""

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("Box2D", reason="UEDWalker needs Box2D: pip install rlteach[box2d]")

from rlteach_envs.stump_terrain import GOAL, GROUND_HEIGHT, START_PAD, STEP, TRACK_LENGTH
from rlteach_envs.ued_walker import (
    CHALLENGES,
    EASY,
    EDITS,
    LEVEL,
    PARAMETERS,
    POET_LEVEL,
    UEDNumbers,
    UEDWalker,
    make_track,
)

from rlteach.task_space import TaskSpace
from rlteach.teachers.accel import ACCEL
from rlteach.testing.envs import check_env
from tests.envs.family import put_further_on

HARD = dict(zip(LEVEL, CHALLENGES["hardcore"], strict=True))


def make(**kwargs):
    """Return an environment that compiles nothing, unless asked for."""
    return UEDWalker(**{"lidar": "numpy", **kwargs})


def random_actions(count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 4)).astype(np.float32)


def rollout(env, actions, **reset):
    """Return observations and rewards as one list of bytes, to be compared bit by bit."""
    trace = [env.reset(**reset)[0].tobytes()] if reset else []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        trace.append(observation.tobytes() + np.float64(reward).tobytes())
        if terminated or truncated:
            break
    return trace


def steep(ground):
    """Return place, height before and height behind of each vertical piece of a ground line, in m and steps."""
    walls = np.flatnonzero(np.diff(ground[:, 0]) == 0.0)
    return ground[walls, 0], ground[walls, 1] / STEP, ground[walls + 1, 1] / STEP


# -- tracks ------------------------------------------------------------------------------------------------------------


def test_every_track_begins_with_a_flat_pad_and_covers_the_whole_length():
    for seed, values in enumerate(CHALLENGES.values()):
        track = make_track(UEDNumbers(*values), np.random.default_rng(seed))
        assert track.ground[:2].tolist() == [[0.0, GROUND_HEIGHT], [START_PAD, GROUND_HEIGHT]]
        assert (np.diff(track.ground[:, 0]) >= 0).all() and track.ground[-1, 0] >= TRACK_LENGTH
        assert (track.boxes[:, 0] > START_PAD).all() and np.isfinite(track.ground).all()


def test_bare_ground_follows_its_recursion_and_roughness_multiplies_it():
    smooth, rough = (make_track(UEDNumbers(roughness=r), np.random.default_rng(3)) for r in (1.0, 5.0))
    assert np.ptp(make_track(UEDNumbers(), np.random.default_rng(3)).ground[:, 1]) == 0.0
    kicks = {}
    for track, roughness in ((smooth, 1.0), (rough, 5.0)):
        y = track.ground[1:, 1]
        slopes = np.diff(y) / roughness
        pull = 0.01 * np.sign(GROUND_HEIGHT - y[:-1])
        kicks[roughness] = slopes - 0.8 * np.concatenate([[0.0], slopes[:-1]]) - pull
        assert len(slopes) == 180 and np.diff(track.ground[1:, 0]) == pytest.approx(STEP)
    assert np.abs(kicks[1.0]).max() <= 1 / 30 + 1e-9 and kicks[1.0].std() == pytest.approx(1 / 30 / 3**0.5, rel=0.1)
    assert kicks[5.0] == pytest.approx(kicks[1.0], abs=1e-9)


def test_pits_are_four_steps_deep_and_a_step_wider_than_the_task_says():
    rng, widths = np.random.default_rng(0), []
    for _ in range(20):
        track = make_track(UEDNumbers(pit_low=3.0, pit_high=5.0), rng)
        x, before, behind = steep(track.ground)
        assert behind[::2] - before[::2] == pytest.approx(-4.0) and behind[1::2] - before[1::2] == pytest.approx(4.0)
        widths += (np.diff(x)[::2] / STEP).tolist()
        assert len(track.boxes) == 0
    assert 4.0 <= min(widths) < 4.2 and 5.8 < max(widths) <= 6.0 and np.mean(widths) == pytest.approx(5.0, abs=0.15)


def test_stumps_are_one_step_wide_and_as_high_as_the_task_says():
    rng = np.random.default_rng(0)
    boxes = np.concatenate([make_track(UEDNumbers(stump_low=1.0, stump_high=2.5), rng).boxes for _ in range(20)])
    heights = 2 * boxes[:, 3] / STEP
    assert 2 * boxes[:, 2] / STEP == pytest.approx(1.0) and boxes[:, 1] - boxes[:, 3] == pytest.approx(GROUND_HEIGHT)
    assert 1.0 <= heights.min() < 1.1 and 2.4 < heights.max() <= 2.5


def test_obstacles_are_five_to_nine_steps_apart():
    gaps = []
    for seed in range(20):
        boxes = make_track(UEDNumbers(stump_high=1.0), np.random.default_rng(seed)).boxes
        gaps += (np.diff(boxes[:, 0]) / STEP - 1).tolist()
    assert sorted(set(np.rint(gaps))) == [5, 6, 7, 8, 9]
    assert np.rint(gaps) == pytest.approx(gaps) and np.mean(gaps) == pytest.approx(7.0, abs=0.3)


def test_stairs_lead_up_or_down_by_as_many_steps_as_the_task_says():
    rng, rises = np.random.default_rng(0), []
    for _ in range(20):
        ground = make_track(UEDNumbers(stair_low=1.0, stair_high=2.0, stair_steps=3), rng).ground
        x, before, behind = steep(ground)
        flights = (behind - before)[: len(x) // 3 * 3].reshape(-1, 3)
        assert flights == pytest.approx(np.tile(flights[:, :1], 3))
        assert np.diff(x.reshape(-1, 3), axis=1) / STEP == pytest.approx(4.0)
        rises += flights[:, 0].tolist()
    assert 1.0 <= np.abs(rises).min() < 1.1 and 1.9 < np.abs(rises).max() <= 2.0
    assert 0.3 < np.mean(np.array(rises) > 0) < 0.7


def test_kinds_that_are_too_small_are_left_out_and_the_others_are_equally_likely():
    assert UEDNumbers(pit_high=0.79, stump_high=0.19, stair_high=0.19).kinds() == ()
    assert UEDNumbers(pit_low=0.8, stump_low=0.2, stair_high=0.2).kinds() == ("pit", "stump", "stairs")
    counts = np.zeros(3)
    for seed in range(40):
        track = make_track(
            UEDNumbers(pit_high=1.0, stump_high=1.0, stair_low=0.3, stair_high=0.3, stair_steps=1),
            np.random.default_rng(seed),
        )
        _, before, behind = steep(track.ground)
        counts += (np.sum(behind - before < -3), len(track.boxes), np.sum(np.abs(behind - before) < 1))
    assert counts / counts.sum() == pytest.approx(np.full(3, 1 / 3), abs=0.05)


def test_the_ends_of_an_interval_may_come_in_either_order():
    one = make_track(UEDNumbers(1.0, 2.0, 5.0, 1.0, 3.0, 0.5, 1.0, 4), np.random.default_rng(0))
    other = make_track(UEDNumbers(1.0, 5.0, 2.0, 3.0, 1.0, 1.0, 0.5, 4), np.random.default_rng(0))
    assert np.array_equal(one.ground, other.ground) and np.array_equal(one.boxes, other.boxes)


def test_a_layout_is_one_track_and_without_one_every_reset_draws_another():
    env = make(parameters=(*LEVEL, "layout"))
    grounds = []
    for seed, layout in ((0, 7), (1, 7), (1, 8)):
        env.reset(seed=seed, options={"task": HARD | {"layout": layout}})
        grounds.append(env._terrain.ground)
    assert np.array_equal(grounds[0], grounds[1]) and not np.array_equal(grounds[1], grounds[2])
    env = make()
    env.reset(seed=0, options={"task": HARD})
    first = env._terrain.ground
    env.reset(options={"task": HARD})
    assert not np.array_equal(first, env._terrain.ground)


def test_an_expert_sees_the_surface_ahead_with_its_stumps():
    env = make(privileged=True)
    observation, _ = env.reset(seed=0, options={"task": HARD})
    assert observation.shape == (44,) and env.observation_groups["privileged"] == tuple(range(24, 44))
    _, y = env._world.hull_position()
    assert observation[24:29] * 10 + y == pytest.approx(GROUND_HEIGHT, abs=1e-5)
    track = make_track(UEDNumbers(stump_low=2.0, stump_high=2.0), np.random.default_rng(0))
    x = np.linspace(START_PAD, TRACK_LENGTH - 1, 500)
    on_stumps = [np.any(np.abs(track.boxes[:, 0] - place) < STEP / 2) for place in x]
    assert track.surface(x) == pytest.approx(GROUND_HEIGHT + 2 * STEP * np.array(on_stumps))


# -- tasks -------------------------------------------------------------------------------------------------------------


def test_an_edit_moves_one_parameter_by_one_step_or_none_and_stays_in_range():
    env, rng = make(), np.random.default_rng(0)
    task = env._tasks.task(**HARD)
    moves = {name: [] for name in LEVEL}
    for _ in range(3000):
        edited = env.edit_task(task, rng)
        assert edited in env.task_space
        changed = [name for name in LEVEL if edited[name] != task[name]]
        assert len(changed) <= 1
        for name in changed:
            moves[name].append(float(edited[name] - task[name]))
    for name, step in EDITS.items():
        found = np.array(moves[name])
        # Each is chosen every eighth time, and then moves two times out of three.
        assert len(found) == pytest.approx(3000 / 8 * 2 / 3, rel=0.25)
        assert (found > 0).mean() == pytest.approx(0.5, abs=0.12)
        if name == "roughness":
            assert np.abs(found).max() <= step and np.abs(found).mean() == pytest.approx(step / 2, rel=0.15)
        else:
            assert np.abs(found) == pytest.approx(step)
    lowest = env._tasks.task(**dict.fromkeys(LEVEL[:7], 0.0), stair_steps=1)
    assert all(env.edit_task(lowest, rng) in env.task_space for _ in range(200))


def test_accel_breeds_with_these_edits():
    env = make()
    start = dict(zip(LEVEL, EASY, strict=True))
    teacher = ACCEL(TaskSpace.of(env.task_space), seed=0, start=start, edit_task=env.edit_task)
    tasks = [lesson.task for lesson in teacher.propose(40)]
    assert all(task in env.task_space for task in tasks)
    assert max(abs(float(task["pit_high"]) - 0.8) for task in tasks) in (pytest.approx(0.4), pytest.approx(0.8))


def test_the_challenges_are_tasks_and_further_test_sets_are_seeded():
    env = make()
    assert list(env.test_sets) == ["challenges", "uniform"]
    assert len(env.test_sets["challenges"]) == len(CHALLENGES) and len(env.test_sets["uniform"]) == 100
    assert all(task in env.task_space for tasks in env.test_sets.values() for task in tasks)
    steps = {int(task["stair_steps"]) for task in env.test_sets["uniform"]}
    assert steps == set(range(1, 10)) and env.test_sets["uniform"] == make().test_sets["uniform"]
    assert list(make(parameters=POET_LEVEL).test_sets) == ["uniform"]
    assert list(make(parameters={name: (0, 2) for name in POET_LEVEL}).test_sets) == ["uniform"]


def test_only_what_bipedal_walker_asks_for_is_known_to_be_feasible():
    env = make()
    labels = {name: env.feasibility(dict(zip(LEVEL, values, strict=True))) for name, values in CHALLENGES.items()}
    assert labels.pop("bipedal_walker") is True and set(labels.values()) == {None}


def test_the_oracle_goes_from_easy_to_everything():
    env, rng = make(), np.random.default_rng(0)
    easy, hard, all_ = ([env.oracle_window(p, rng) for _ in range(200)] for p in (0.0, 0.999, 1.0))
    assert max(t["roughness"] for t in easy) <= 2.0 and {int(t["stair_steps"]) for t in easy} == {1, 2}
    assert min(t["pit_low"] for t in hard) >= 7.9 and {int(t["stair_steps"]) for t in all_} == set(range(1, 10))
    assert all(t in env.task_space for t in (*easy, *hard, *all_))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"roughness": np.nan}, r"roughness = nan lies outside \[0, 10\]"),
        ({"pit_high": 10.5}, r"pit_high = 10.5 lies outside \[0, 10\]"),
        ({"stair_steps": 10}, r"stair_steps = 10 lies outside \[1, 9\]"),
        ({"stair_steps": 2.5}, r"stair_steps = 2.5 must be a whole number in \[1, 9\]"),
        ({"stump_low": [1.0, 2.0]}, r"stump_low has shape \(2,\), not \(\)"),
        ({"stumps": 1.0}, "unknown task parameter 'stumps'"),
    ],
)
def test_a_wrong_task_is_refused_with_the_name_of_the_parameter(change, message):
    with pytest.raises(ValueError, match=message):
        make().reset(options={"task": HARD | change})


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"body": "spyder"}, "did you mean 'spider'"),
        ({"parameters": ("pits",)}, "unknown parameter 'pits'"),
        ({"parameters": {"stair_steps": (1.5, 3)}}, "must be whole numbers"),
        ({"fixed": {"layout": -1}}, "layout = -1 lies outside"),
        ({"horizon": 0}, "horizon = 0"),
    ],
)
def test_a_wrong_constructor_argument_is_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make(**kwargs)


# -- episodes ----------------------------------------------------------------------------------------------------------


def test_reaching_the_end_succeeds_and_falling_or_running_out_of_time_does_not():
    env = make(horizon=5)
    flat = dict.fromkeys(LEVEL, 0.0) | {"stair_steps": 1}
    for x, ends, succeeds in ((GOAL + 0.5, True, True), (-1.0, True, False)):
        env.reset(seed=0, options={"task": flat})
        snapshot = env.get_snapshot()
        snapshot["states"][:, 0] += x - snapshot["states"][0, 0]
        env.set_snapshot(snapshot)
        _, reward, terminated, truncated, info = env.step(np.zeros(4, np.float32))
        assert (terminated, truncated, info) == (ends, False, {"is_success": succeeds})
        assert (reward == -100.0) != succeeds
    env.reset(seed=0, options={"task": flat})
    *_, last = [env.step(np.zeros(4, np.float32)) for _ in range(5)]
    assert last[2:] == (False, True, {"is_success": False})


def test_200_short_episodes_of_random_tasks_stay_finite():
    env, rng = make(parameters=tuple(PARAMETERS)), np.random.default_rng(0)
    for seed in range(200):
        env.reset(seed=seed)
        assert env._task in env.task_space
        if seed % 2:
            put_further_on(env, rng)
        for _ in range(6):
            observation, reward, terminated, _, _ = env.step(rng.uniform(-1.5, 1.5, 4).astype(np.float32))
            assert np.isfinite(observation).all() and np.isfinite(reward)
            assert ((observation[-10:] >= 0) & (observation[-10:] <= 1)).all()
            if terminated:
                break


def test_a_rollout_does_not_depend_on_what_was_played_before():
    played = make()
    for seed in range(3):
        rollout(played, random_actions(60, seed), seed=seed)
    for seed in range(8):
        actions = random_actions(60, 100 + seed)
        assert rollout(make(), actions, seed=seed) == rollout(played, actions, seed=seed)


def test_a_snapshot_continues_bit_by_bit_in_the_same_and_in_another_environment():
    env, other = make(parameters=tuple(PARAMETERS)), make(parameters=tuple(PARAMETERS))
    other.reset(seed=1000)
    compared = 0
    for seed in range(12):
        observation, _ = env.reset(seed=seed)
        for action in random_actions(seed, seed):
            observation, _, terminated, _, _ = env.step(action)
            if terminated:
                break
        if seed % 3 == 0:
            observation = put_further_on(env, np.random.default_rng(seed))
        snapshot = env.get_snapshot()
        onwards = rollout(env, random_actions(60, 1000 + seed))
        after = env.np_random.random()
        for copy in (env, other):
            copy.reset(seed=seed + 1)
            assert np.array_equal(copy.set_snapshot(snapshot)[0], observation)
            assert rollout(copy, random_actions(60, 1000 + seed)) == onwards
            assert copy.np_random.random() == after
        compared += len(onwards)
    assert compared > 200


# -- fitting in --------------------------------------------------------------------------------------------------------


def test_the_suite_finds_nothing_wrong_with_it():
    findings = check_env("rlteach_envs:rlteach/UEDWalker-v0")
    assert len(findings) > 10
    assert [finding for finding in findings if not finding.ok] == []


def test_a_picture_shows_sky_ground_stumps_and_walker():
    env = gym.make("rlteach_envs:rlteach/UEDWalker-v0", render_mode="rgb_array", lidar="numpy")
    env.reset(
        seed=0, options={"task": dict.fromkeys(LEVEL, 0.0) | {"stump_low": 3.0, "stump_high": 3.0, "stair_steps": 1}}
    )
    colours = {tuple(colour) for colour in env.render().reshape(-1, 3).tolist()}
    assert {(215, 235, 255), (105, 165, 80), (150, 150, 150), (127, 51, 229)} <= colours
