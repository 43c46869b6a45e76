"""CarRacing: its car against Box2D, its picture and features against independent computations, and its promises."""

import hashlib
import json
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
import rlteach_envs  # noqa: F401
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rlteach_envs import car_physics, car_picture
from rlteach_envs.car_racing import HIDDEN_NAMES, SEEN_NAMES, CarRacing
from rlteach_envs.car_track import FIELD, HALF_WIDTH, SPREAD, Track, make_track
from stable_baselines3.common.vec_env import DummyVecEnv

import rlteach
from rlteach.observations import View
from rlteach.snapshots.restorable import capture
from rlteach.testing.envs import check_env

NAMES = [*SEEN_NAMES, *HIDDEN_NAMES]
SPEED, AHEAD = NAMES.index("speed"), NAMES.index("right_at_5m")


def random_actions(count, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.uniform(-1, 1, count), rng.random(count), rng.random(count) ** 4], axis=1).astype(np.float32)


def as_bytes(observation):
    parts = observation.values() if isinstance(observation, dict) else [observation]
    return b"".join(part.tobytes() for part in parts)


def play(env, actions):
    """Return observations, rewards and ends as one list of bytes; an episode that ends is followed by another."""
    trace = []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        trace.append(as_bytes(observation) + np.float64(reward).tobytes() + bytes([terminated, truncated]))
        if terminated or truncated:
            trace.append(as_bytes(env.reset()[0]))
    return trace


def pilot(features, pace=55.0):
    """Follow the middle of the road by pure pursuit, slower where it bends within sight."""
    speed = 50.0 * float(features[SPEED])
    points = 35.0 * features[AHEAD : AHEAD + 14].reshape(7, 2)
    right, ahead = points[min(1 + int(speed / 12), 6)]
    bend = np.abs(np.arctan2(points[:, 0], points[:, 1])).max()
    wanted = max(pace * (1.15 - bend), 0.35 * pace)
    steer = np.clip(12.0 * right / (right * right + ahead * ahead), -1, 1)
    return np.array([steer, 0.5 * (speed < wanted), 0.3 * (speed > 1.2 * wanted)], dtype=np.float32)


# -- the car -----------------------------------------------------------------------------------------------------------


def test_mass_centre_and_inertia_are_those_of_the_shapes():
    box = np.array([(1.0, 1.0), (4.0, 1.0), (4.0, 3.0), (1.0, 3.0)])
    mass, centre, inertia = car_physics.mass_of((box,), 2.0)
    assert (mass, centre.tolist(), inertia) == (12.0, [2.5, 2.0], pytest.approx(12.0 * (9 + 4) / 12))
    mass, centre, inertia = car_physics.mass_of((box, box + np.array([10.0, 0.0])), 2.0)
    assert (mass, centre.tolist(), inertia) == (24.0, [7.5, 2.0], pytest.approx(2 * (13.0 + 12.0 * 25)))


@pytest.mark.parametrize("on_road", [True, False])
@pytest.mark.parametrize("repeat", [1, 7])
def test_the_car_drives_as_that_of_gymnasium_does_in_box2d(on_road, repeat):
    pytest.importorskip("Box2D", reason="Gymnasium's car needs Box2D: pip install rlteach[box2d]")
    import Box2D
    from gymnasium.envs.box2d.car_dynamics import Car

    class Tile:
        road_friction = 1.0

    world = Box2D.b2World((0, 0))
    theirs = Car(world, 0.0, 0.0, 0.0)
    tile = Tile()
    for wheel in theirs.wheels:
        wheel.tiles.update([tile] if on_road else [])
    ours = np.zeros(car_physics.STATE_SIZE)
    ours[:2] = car_physics.CENTRE
    ours[car_physics.TOUCH :] = 0.0 if on_road else -1.0
    fastest = 0.0
    for i, action in enumerate(np.repeat(random_actions(200, 3), repeat, axis=0)[:200].astype(float)):
        steer, gas, brake = action
        theirs.steer(-steer)
        theirs.gas(gas)
        theirs.brake(brake)
        theirs.step(1 / 50)
        world.Step(1 / 50, 180, 60)
        car_physics.move(ours, -steer, gas, brake)
        cos, sin = np.cos(ours[car_physics.ANGLE]), np.sin(ours[car_physics.ANGLE])
        origin = ours[:2] - np.array([[cos, -sin], [sin, cos]]) @ car_physics.CENTRE
        tolerance = 1e-4 if i < 10 else 0.05
        assert origin == pytest.approx(np.array(theirs.hull.position), abs=tolerance)
        assert ours[car_physics.ANGLE] == pytest.approx(theirs.hull.angle, abs=tolerance)
        wheels = ours[car_physics.WHEEL : car_physics.WHEEL + 4]
        assert wheels == pytest.approx([wheel.omega for wheel in theirs.wheels], abs=10 * tolerance)
        fastest = max(fastest, np.hypot(*theirs.hull.linearVelocity))
    assert fastest > 5.0


def test_points_are_located_on_the_tile_that_they_were_put_on():
    rng = np.random.default_rng(0)
    for seed in range(4):
        nodes = make_track(np.random.default_rng(seed).uniform(-SPREAD, SPREAD, (12, 2))).nodes
        for _ in range(200):
            tile, share = int(rng.integers(len(nodes))), rng.uniform(0.1, 0.9)
            after = nodes[(tile + 1) % len(nodes)]
            # Not nearer to the inner edge than bends allow, where the corners of tiles all but meet.
            offset = rng.uniform(-0.8, 0.8) * HALF_WIDTH
            ends = [node[:2] + offset * np.array([-node[3], node[2]]) for node in (nodes[tile], after)]
            point = (1 - share) * ends[0] + share * ends[1]
            found, there, distance = car_physics.locate(*point.tolist(), nodes)
            assert found == tile and there == pytest.approx(share, abs=0.05)
            assert distance == pytest.approx(offset, abs=0.25)


# -- episodes ----------------------------------------------------------------------------------------------------------


def test_a_scripted_driver_laps_every_test_track():
    env = CarRacing("features")
    tasks = env.test_sets["tracks"]
    assert len(tasks) == 20
    for task in tasks:
        observation, _ = env.reset(options={"task": task})
        total, steps, ended = 0.0, 0, False
        while not ended:
            observation, reward, terminated, truncated, info = env.step(pilot(observation))
            total, steps, ended = total + reward, steps + 1, terminated or truncated
        assert terminated and not truncated and info["is_success"] and info["tiles"] >= 0.95
        assert total == pytest.approx(1000 * info["tiles"] - 0.1 * steps)
        assert total > 750


def test_every_tile_pays_once_and_a_lap_needs_95_of_100_and_the_first_tile():
    env = CarRacing("features")
    env.reset(seed=0)
    snapshot = env.get_snapshot()
    count = len(snapshot["visited"])
    still = np.zeros(3, dtype=np.float32)
    env.step(still)
    under = env.get_snapshot()["visited"]
    assert under[0] and 2 <= under.sum() <= 4
    assert env.step(still)[1] == -0.1
    for share, place, ends in ((0.97, 0, True), (0.9, 0, False), (0.97, count // 2, False), (1.0, count // 2, True)):
        visited = np.arange(count) < round(share * count)
        visited[np.arange(place - 2, place + 3) % count] = True  # none of them is new
        state = car_physics.at_start(np.roll(snapshot["nodes"], -place, axis=0))
        car_physics.touch(state, snapshot["nodes"])
        env.set_snapshot(snapshot | {"visited": visited, "state": state})
        _, reward, terminated, truncated, info = env.step(still)
        assert (reward, terminated, truncated) == (-0.1, ends, False)
        assert not ends or info["is_success"]


def test_leaving_the_field_costs_a_hundred_and_is_no_success():
    env = CarRacing("features")
    for place, velocity in ((0, 1.0), (0, -1.0), (1, 1.0), (1, -1.0)):
        env.reset(seed=0)
        snapshot = env.get_snapshot()
        snapshot["state"][place] = velocity * (FIELD - 0.5)
        snapshot["state"][car_physics.VX + place] = 60.0 * velocity
        env.set_snapshot(snapshot)
        _, reward, terminated, truncated, info = env.step(np.zeros(3, dtype=np.float32))
        assert (reward, terminated, truncated, info["is_success"]) == (-100.0, True, False, False)


def test_the_horizon_truncates_and_is_five_steps_for_each_tile_by_default():
    env = CarRacing("features", horizon=3)
    env.reset(seed=0)
    still = np.zeros(3, dtype=np.float32)
    assert [env.step(still)[2:4] for _ in range(3)] == [(False, False)] * 2 + [(False, True)]
    env = CarRacing("features")
    env.reset(seed=0)
    snapshot = env.get_snapshot()
    env.set_snapshot(snapshot | {"clock": 5 * len(snapshot["nodes"]) - 2})
    assert [env.step(still)[3] for _ in range(2)] == [False, True]


def test_grass_slows_a_car_that_spins_its_wheels():
    env = CarRacing("features")
    travelled = []
    for aside in (0.0, 3 * HALF_WIDTH):
        env.reset(seed=0)
        snapshot = env.get_snapshot()
        x, y, cos, sin, _ = snapshot["nodes"][0]
        snapshot["state"][:2] = x - aside * sin, y + aside * cos
        env.set_snapshot(snapshot)
        env._physics.touch(env._state, snapshot["nodes"])
        for _ in range(20):
            observation = env.step(np.array([0, 1, 0], dtype=np.float32))[0]
        travelled.append(observation[SPEED])
        grip = observation[NAMES.index("grip_front_left")]
        assert grip == (np.float32(0.6) if aside else 1.0)
    assert travelled[1] == pytest.approx(0.6 * travelled[0], rel=0.1)


# -- what is seen ------------------------------------------------------------------------------------------------------


def driven(kind="features", seed=0, steps=120):
    """Return an environment some way into an episode."""
    env = CarRacing(kind)
    env.reset(seed=seed)
    for action in random_actions(steps, seed):
        env.step(action * (0.3, 0.5, 0.0))
    return env


def test_features_tell_where_the_car_is_and_where_the_road_goes():
    for seed in range(8):
        env = driven(seed=seed)
        snapshot = env.get_snapshot()
        state, nodes, length = snapshot["state"], snapshot["nodes"], snapshot["length"]
        told = dict(zip(NAMES, env._observe().tolist(), strict=True))
        place = state[0] + 1j * state[1]
        line = nodes[:, 0] + 1j * nodes[:, 1]
        fine = np.concatenate([line, line[:1]])
        shares = np.linspace(0, len(nodes), 200 * len(nodes), endpoint=False)
        curve = np.interp(shares, np.arange(len(fine)), fine.real) + 1j * np.interp(
            shares, np.arange(len(fine)), fine.imag
        )
        near = int(np.abs(curve - place).argmin())
        towards = np.exp(1j * (state[car_physics.ANGLE] + np.pi / 2))
        assert abs(told["offset"]) * HALF_WIDTH == pytest.approx(abs(curve[near] - place), abs=0.1)
        for metres in range(5, 40, 5):
            ahead = curve[(near + round(200 * metres * len(nodes) / length)) % len(curve)]
            seen = (ahead - place) / towards * 1j  # forwards along the imaginary axis
            assert told[f"right_at_{metres}m"] * 35 == pytest.approx(seen.real, abs=1.0)
            assert told[f"ahead_at_{metres}m"] * 35 == pytest.approx(seen.imag, abs=1.0)
        velocity = (state[car_physics.VX] + 1j * state[car_physics.VY]) / towards
        assert told["velocity_ahead"] * 50 == pytest.approx(velocity.real, abs=1e-4)
        assert told["velocity_right"] * 50 == pytest.approx(-velocity.imag, abs=1e-4)
        assert told["speed"] * 50 == pytest.approx(abs(velocity), abs=1e-4)
        tile = int(shares[near])
        road = complex(nodes[tile, 2], nodes[tile, 3])
        turned = np.angle(towards / road)
        assert (told["heading_sin"], told["heading_cos"]) == pytest.approx((np.sin(turned), np.cos(turned)), abs=0.1)
        assert told["tiles_touched"] == pytest.approx(snapshot["visited"].mean())


def test_the_picture_shows_road_where_the_road_is_and_grass_where_it_is_not():
    shown = {True: 0, False: 0}
    for seed in range(6):
        env = driven("pixels", seed)
        state, track = env._state, env.track
        picture = env._observe()
        angle = state[car_physics.ANGLE]
        for row in range(2, 80, 5):
            for column in range(2, 96, 5):
                right, ahead = (column + 0.5 - 48) / (16.2 * 0.096), (72 - row - 0.5) / (16.2 * 0.12)
                if abs(right) < 2 and abs(ahead) < 4:
                    continue  # the car itself
                x = state[0] + right * np.cos(angle) - ahead * np.sin(angle)
                y = state[1] + right * np.sin(angle) + ahead * np.cos(angle)
                distance = np.hypot(track.nodes[:, 0] - x, track.nodes[:, 1] - y).min()
                if distance < HALF_WIDTH - 1.5:
                    assert np.ptp(picture[row, column]) == 0 and 102 <= picture[row, column, 0] <= 107
                    shown[True] += 1
                elif distance > HALF_WIDTH + 3:
                    colour = picture[row, column].tolist()
                    assert colour[0] == colour[2] == 102 and colour[1] in range(204, 231)
                    shown[False] += 1
    assert shown[True] > 100 and shown[False] > 500


def test_the_picture_shows_the_car_its_gauges_and_the_end_of_the_field():
    env = driven("pixels", seed=1)
    picture = env._observe()
    assert picture[72, 48, 0] > 190 and picture[72, 48, 1] < 60  # the hull
    assert picture[84:, :10].max() == 0 and picture[84:, 12:14].max() > 100  # no gauge, and speed
    snapshot = env.get_snapshot()
    snapshot["state"][:3] = FIELD - 10, 0.0, -np.pi / 2
    edge = env.set_snapshot(snapshot)[0]
    assert edge[:50].max() == 0 and edge[60, 48, 1] >= 204


def test_a_quadrilateral_covers_the_places_whose_middles_it_holds():
    rng = np.random.default_rng(0)
    x, y = np.arange(60)[None, :] + 0.5, np.arange(50)[:, None] + 0.5
    for _ in range(60):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 4))
        quad = np.stack([30 + 40 * np.cos(angles), 25 + 40 * np.sin(angles)], axis=1)
        canvas = np.zeros((50, 60), dtype=np.uint8)
        car_picture.fill(canvas, quad[None], np.ones(1, dtype=np.uint8))
        inside = np.ones(canvas.shape, dtype=bool)
        for (ax, ay), (bx, by) in zip(quad, np.roll(quad, -1, axis=0), strict=True):
            inside &= (bx - ax) * (y - ay) - (by - ay) * (x - ax) >= 0.0
        assert np.array_equal(canvas.astype(bool), inside)


def test_both_ways_to_halve_a_canvas_are_equal_to_the_mean():
    canvas = np.random.default_rng(0).integers(0, len(car_picture.PALETTE), (20, 30)).astype(np.uint8)
    canvas[:10] = 5
    colours = car_picture.PALETTE[canvas].astype(int)
    mean = colours.reshape(10, 2, 15, 2, 3).sum(axis=(1, 3)) // 4
    assert np.array_equal(car_picture._halve(canvas), mean)
    assert np.array_equal(car_picture._halve_in_a_loop(canvas), mean)


@pytest.mark.parametrize("name", ["CarRacing", "CarRacingFeatures"])
def test_a_rendered_picture_is_the_observation_at_another_size(name):
    env = gym.make(f"rlteach/{name}-v0", disable_env_checker=True, render_mode="rgb_array").unwrapped
    assert env.render() is None
    env.reset(seed=0)
    image = env.render()
    assert image.shape == (400, 600, 3) and image.dtype == np.uint8
    assert image[300, 300, 0] > 190 and (image == 102).all(axis=2).mean() > 0.02
    assert CarRacing("features").render() is None


# -- repeating and saving ----------------------------------------------------------------------------------------------


def test_a_rollout_does_not_depend_on_what_was_played_before():
    played = CarRacing("both")
    for seed in range(3):
        played.reset(seed=seed)
        play(played, random_actions(100, seed))
    for seed in range(10):
        fresh, actions = CarRacing("both"), random_actions(100, 100 + seed)
        starts = [as_bytes(env.reset(seed=seed)[0]) for env in (fresh, played)]
        assert starts[0] == starts[1]
        assert play(fresh, actions) == play(played, actions)


def test_200_states_continue_bit_by_bit_in_the_same_and_in_another_environment():
    env, other = CarRacing("both", horizon=150), CarRacing("both", horizon=150)
    other.reset(seed=1000)
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    ends = 0
    for moment in range(200):
        if moment % 10 == 0:
            env.reset()
        play(env, random_actions(int(rng.integers(1, 60)), moment))
        snapshot = env.get_snapshot()
        observation = as_bytes(env._observe())
        actions = random_actions(100, 1000 + moment)
        onwards, after = play(env, actions), env.np_random.random()
        ends += len(onwards) > 100
        copy = (env, other)[moment % 2]
        assert as_bytes(copy.set_snapshot(snapshot)[0]) == observation
        assert play(copy, actions) == onwards and copy.np_random.random() == after
        env.set_snapshot(snapshot)
    assert ends > 10


ANOTHER_PROCESS = """
import hashlib, json, sys
import rlteach_envs, rlteach_envs.car_racing
assert "numba" not in sys.modules, "imported with the environments"
sys.modules["numba"] = None
import gymnasium as gym, numpy as np
from rlteach.snapshots.restorable import restore
env = gym.make("rlteach/CarRacing-v0", observation="both")
assert not hasattr(env.unwrapped._physics.locate, "py_func"), "compiled"
with open(sys.argv[1], "rb") as file:
    observation, _ = restore(env, file.read())
digest = hashlib.sha256(observation["policy"].tobytes() + observation["privileged"].tobytes())
for action in json.loads(sys.argv[2]):
    observation, reward, *_ = env.step(np.array(action, dtype=np.float32))
    digest.update(observation["policy"].tobytes() + observation["privileged"].tobytes() + np.float64(reward).tobytes())
print(digest.hexdigest())
"""


def test_another_process_without_numba_continues_bit_by_bit(tmp_path):
    env = gym.make("rlteach/CarRacing-v0", observation="both")
    env.reset(seed=5)
    for action in random_actions(80, 5):
        env.step(action)
    (tmp_path / "state").write_bytes(capture(env))
    actions = random_actions(100, 6)
    digest = hashlib.sha256(as_bytes(env.unwrapped._observe()))
    for action in actions:
        observation, reward, *_ = env.step(action)
        digest.update(as_bytes(observation) + np.float64(reward).tobytes())
    command = [sys.executable, "-c", ANOTHER_PROCESS, str(tmp_path / "state"), json.dumps(actions.tolist())]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.strip() == digest.hexdigest()


def test_a_snapshot_holds_plain_values_of_its_own():
    env = driven()
    first = env.get_snapshot()
    second = env.get_snapshot()
    env.step(np.ones(3, dtype=np.float32))
    env.reset()
    for name, value in first.items():
        assert isinstance(value, str | int | float | np.ndarray), name
        assert np.array_equal(value, second[name]), name
    env.set_snapshot(first)
    assert isinstance(env.track, Track) and env.track.nodes is not first["nodes"]
    env.step(np.ones(3, dtype=np.float32))
    assert np.array_equal(first["state"], second["state"])
    with pytest.raises(ValueError, match="env_version '9', not of kind 'CarRacing', env_version '0'"):
        env.set_snapshot(first | {"env_version": "9"})


# -- tasks -------------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(arrays(np.float64, 24, elements=st.floats(-SPREAD, SPREAD)), st.integers(0, 1000), st.floats(0, 1))
def test_whatever_the_task_and_the_actions_every_number_is_finite(task, seed, gas):
    env = CarRacing("both")
    observation, _ = env.reset(options={"task": task})
    for action in random_actions(60, seed) * (1, gas, 1):
        observation, reward, *_ = env.step(action.astype(np.float32))
        assert env.observation_space.contains(observation) and np.isfinite(observation["privileged"]).all()
        assert np.isfinite(reward) and np.abs(observation["privileged"]).max() < 20
    assert np.isfinite(env.get_snapshot()["state"]).all()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (np.r_[np.zeros(7), 200.0, np.zeros(16)], r"y3 = 200 lies outside \[-166.667, 166.667\]"),
        (np.r_[np.nan, np.zeros(23)], "x0 = nan lies outside"),
        (np.r_[np.zeros(23), -np.inf], "y11 = -inf lies outside"),
        (np.zeros((12, 2)), r"task has shape \(12, 2\), not \(24,\)"),
        ("fast", "is not 24 numbers in"),
        ({"x0": 1.0}, "is not 24 numbers in"),
    ],
)
def test_a_wrong_task_is_refused_with_the_name_of_the_parameter(task, message):
    with pytest.raises(ValueError, match=message):
        CarRacing("features").reset(options={"task": task})


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"observation": "image"}, "'image' must be one of pixels, features, both"),
        ({"horizon": 0}, "horizon = 0"),
        ({"render_mode": "human"}, "'human' must be None or 'rgb_array'"),
    ],
)
def test_a_wrong_constructor_argument_is_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        CarRacing(**kwargs)


def test_stepping_and_saving_need_an_episode():
    env = CarRacing("features")
    for call in (lambda: env.step(np.zeros(3, dtype=np.float32)), env.get_snapshot):
        with pytest.raises(RuntimeError, match=r"call reset\(\) before"):
            call()


def test_the_oracle_goes_from_even_rings_to_everything():
    env, rng = CarRacing("features"), np.random.default_rng(0)

    def bends(progress):
        tracks = [make_track(env.oracle_window(progress, rng).reshape(12, 2)) for _ in range(20)]
        return np.mean([np.abs(track.nodes[:, 4]).mean() * track.length for track in tracks])

    assert bends(0.0) < 1.2 * 2 * np.pi < bends(0.5) < bends(1.0)
    assert all(env.oracle_window(p, rng) in env.task_space for p in np.linspace(0, 1, 30))


# -- fitting in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CarRacing", "CarRacingFeatures"])
def test_the_suite_finds_nothing_wrong_with_it(name):
    findings = check_env(f"rlteach_envs:rlteach/{name}-v0")
    assert len(findings) > 10
    assert [finding for finding in findings if not finding.ok] == []


def test_groups_name_every_feature_with_its_unit():
    env = gym.make("rlteach/CarRacingFeatures-v0").unwrapped
    assert env.observation_groups["policy"] + env.observation_groups["privileged"] == tuple(range(40))
    for group, columns in env.observation_groups.items():
        assert len(env.observation_names[group]) == len(env.observation_units[group]) == len(columns)
    assert (len(SEEN_NAMES), len(HIDDEN_NAMES)) == (car_physics.SEEN, car_physics.HIDDEN)
    both = CarRacing("both")
    assert both.observation_space["policy"].shape == (96, 96, 3) and both.observation_space["privileged"].shape == (40,)


def test_it_plays_lessons_and_shows_roles_what_is_theirs():
    make = lambda: rlteach.LessonEnv(gym.make("rlteach/CarRacingFeatures-v0", horizon=20))  # noqa: E731
    venv = rlteach.attach(
        DummyVecEnv([make, make]), rlteach.make_teacher("uniform", CarRacing("features").task_space, seed=0)
    )
    student = View.of(venv, "student")
    observations = venv.reset()
    assert student(observations).shape == (2, 24) and student.names == SEEN_NAMES
    ends = 0
    for _ in range(45):
        observations, _, _, infos = venv.step(np.tile(np.array([0, 1, 0], dtype=np.float32), (2, 1)))
        ends += sum("is_success" in info for info in infos)
    assert ends == 4 and np.isfinite(observations).all()
