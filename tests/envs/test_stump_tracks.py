"""StumpTracks: its terrain, lidar and reward against independent computations, its promises, and its mistakes."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("Box2D", reason="StumpTracks needs Box2D: pip install rlteach[box2d]")

import Box2D
from rlteach_envs import lidar, stump_terrain, walker_world
from rlteach_envs.stump_terrain import GROUND_HEIGHT, START_PAD, STEP, TRACK_LENGTH, TrackNumbers, make_terrain
from rlteach_envs.stump_tracks import PARAMETERS, StumpTracks
from rlteach_envs.walker_bodies import BODIES
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

import rlteach
from rlteach.testing.envs import check_env
from tests.envs.family import put_further_on

TASK = {"stump_height": 1.5, "obstacle_spacing": 3.0}
EVERY_KIND = TrackNumbers(
    stump_height=2.0,
    obstacle_spacing=2.0,
    stump_width=1.5,
    stump_rotation=0.5,
    roughness=2.0,
    poly_shape=np.linspace(0.0, 2.0, 12).tolist(),
    stump_sequence=[1.0, 0.5] * 5,
)
ALL = {"parameters": tuple(PARAMETERS)}


def make(**kwargs):
    """Return an environment that compiles nothing, unless asked for."""
    return StumpTracks(**{"lidar": "numpy", **kwargs})


def random_actions(env, count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, *env.action_space.shape)).astype(np.float32)


def rollout(env, actions, **reset):
    """Return observations and rewards as one list of bytes, to be compared bit by bit."""
    trace = [env.reset(**reset)[0].tobytes()] if reset else []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        trace.append(observation.tobytes() + np.float64(reward).tobytes())
        if terminated or truncated:
            break
    return trace


# -- terrain -----------------------------------------------------------------------------------------------------------


def heights_of(terrain):
    return 2 * terrain.boxes[:, 3] / STEP


def test_stump_heights_scatter_by_a_tenth_around_the_task():
    rng = np.random.default_rng(0)
    numbers = TrackNumbers(stump_height=1.7, obstacle_spacing=0.5)
    heights = np.concatenate([heights_of(make_terrain(numbers, rng)) for _ in range(60)])
    assert len(heights) > 5000
    assert heights.mean() == pytest.approx(1.7, abs=4 * 0.1 / np.sqrt(len(heights)))
    assert heights.std() == pytest.approx(0.1, rel=0.05)
    flat = make_terrain(TrackNumbers(stump_height=-3.0), rng)
    assert heights_of(flat) == pytest.approx(0.05)


@pytest.mark.parametrize("spacing", [0.0, 0.01, 1.0, 6.0])
def test_stumps_stand_behind_a_flat_pad_at_the_spacing_of_the_task(spacing):
    terrain = make_terrain(TrackNumbers(stump_height=1.0, obstacle_spacing=spacing), np.random.default_rng(0))
    left = terrain.boxes[:, 0] - terrain.boxes[:, 2]
    right = terrain.boxes[:, 0] + terrain.boxes[:, 2]
    assert left[0] == pytest.approx(START_PAD)
    assert left[1:] - right[:-1] == pytest.approx(max(spacing, 0.01))
    assert right - left == pytest.approx(STEP)
    assert left[-1] < TRACK_LENGTH <= right[-1] + max(spacing, 0.01) + 1e-9
    assert terrain.boxes[:, 1] - terrain.boxes[:, 3] == pytest.approx(GROUND_HEIGHT)
    assert (terrain.ground[:, 1] == GROUND_HEIGHT).all() and terrain.ground[-1, 0] >= TRACK_LENGTH - 1e-9


def test_widths_and_angles_scatter_around_the_task_and_stumps_turn_about_the_middle_of_their_base():
    numbers = TrackNumbers(stump_height=2.0, obstacle_spacing=0.2, stump_width=2.0, stump_rotation=1.0)
    terrain = make_terrain(numbers, np.random.default_rng(0))
    widths, angles = 2 * terrain.boxes[:, 2] / STEP, terrain.boxes[:, 4]
    assert len(widths) > 70
    assert widths.mean() == pytest.approx(2.0, abs=0.05) and widths.std() == pytest.approx(0.1, rel=0.4)
    assert angles.mean() == pytest.approx(1.0, abs=0.05) and angles.std() == pytest.approx(0.1, rel=0.4)
    corners = stump_terrain.box_corners(terrain.boxes)
    middle = (corners[0] + corners[1]) / 2
    assert middle[:, 1] == pytest.approx(GROUND_HEIGHT)
    assert np.diff(middle[:, 0]) == pytest.approx(STEP * (widths[1:] + widths[:-1]) / 2 + 0.2)


def test_rough_ground_follows_its_recursion_and_is_drawn_back():
    numbers = TrackNumbers(stump_height=0.0, obstacle_spacing=0.05, roughness=3.0)
    ground = make_terrain(numbers, np.random.default_rng(0)).ground
    levels = np.concatenate([ground[1:-1:2, 1], ground[-1:, 1]])
    slopes = np.diff(levels)
    pull = 0.01 * np.sign(GROUND_HEIGHT - levels[:-1])
    kicks = slopes - 0.8 * np.concatenate([[0.0], slopes[:-1]]) - pull
    assert len(kicks) > 150 and np.abs(kicks).max() <= 3.0 / 30 and kicks.std() == pytest.approx(0.1 / 3**0.5, rel=0.15)


def test_sequences_stand_wall_to_wall_and_hexagons_follow_their_corners():
    rng = np.random.default_rng(0)
    means = [1.0, 0.5, 2.0, 1.0, 0.0, 2.0, 3.0, 0.7, 1.0, 0.0]
    boxes = make_terrain(TrackNumbers(stump_sequence=means, obstacle_spacing=1.0, sequence_std=0.0), rng).boxes
    five = boxes.reshape(-1, 5, 5)
    assert 2 * five[:, :, 3] / STEP == pytest.approx(np.tile([1.0, 2.0, 0.05, 3.0, 1.0], (len(five), 1)))
    assert 2 * five[:, :, 2] == pytest.approx(np.tile([0.5, 1.0, 2.0, 0.7, 0.05], (len(five), 1)))
    assert (five[:, 1:, 0] - five[:, 1:, 2]) == pytest.approx(five[:, :-1, 0] + five[:, :-1, 2])
    shape = [0, 9, 0, 1, 0.25, 1, 0, 1, 0, 1, 0, 9]
    polygons = make_terrain(TrackNumbers(poly_shape=shape, shape_std=0.0), rng).polygons
    expected = [(-0.5, 0), (0.5, 0), (0.5, 1.25), (0.25, 1.5), (0, 1.5), (-0.5, 1.25)]
    assert len(polygons) == 10
    assert (polygons[0] - (START_PAD, GROUND_HEIGHT)) / STEP == pytest.approx(np.array(expected), abs=1e-9)


def test_every_kind_of_obstacle_appears_where_all_are_enabled():
    for seed in range(20):
        terrain = make_terrain(EVERY_KIND, np.random.default_rng(seed))
        assert (terrain.boxes[:, 4] > 0).any() and (terrain.boxes[:, 4] == 0).any() and terrain.polygons


# -- lidar -------------------------------------------------------------------------------------------------------------

TERRAINS = {
    "stumps": TrackNumbers(stump_height=2.0, obstacle_spacing=1.0),
    "dense": TrackNumbers(stump_height=2.0, obstacle_spacing=0.0, roughness=1.0),
    "every kind": EVERY_KIND,
    "bare": TrackNumbers(roughness=2.0),
}


def eyes(terrain, count, rng):
    """Return points above the ground and outside all obstacles."""
    x = rng.uniform(0, TRACK_LENGTH - 1, count)
    return np.stack([x, terrain.ground[:, 1].max() + rng.uniform(1.5, 6.0, count)], axis=1)


class Nearest(Box2D.b2RayCastCallback):
    """Keeps the nearest hit of a ray."""

    def __init__(self):
        super().__init__()
        self.fraction = 1.0

    def ReportFixture(self, fixture, point, normal, fraction):
        self.fraction = fraction
        return fraction


def box2d_fractions(world, x, y):
    fractions = []
    for i in range(10):
        ray = Nearest()
        end = (x + np.sin(0.15 * i) * 160 / 30, y - np.cos(0.15 * i) * 160 / 30)
        world.RayCast(ray, (x, y), tuple(map(float, end)))
        fractions.append(ray.fraction)
    return fractions


@pytest.mark.parametrize("name", TERRAINS)
def test_the_lidar_agrees_with_the_ray_casts_of_box2d(name):
    rng = np.random.default_rng(1)
    terrain = make_terrain(TERRAINS[name], rng)
    world = Box2D.b2World(gravity=(0, -10))
    walker_world.add_terrain(world, terrain)
    sight, seen = lidar.Lidar("numpy"), np.empty(10)
    sight.load(terrain.segments())
    hits = 0
    for x, y in np.float32(eyes(terrain, 60, rng)).astype(float).tolist():
        sight.scan(x, y, seen)
        expected = box2d_fractions(world, x, y)
        assert seen == pytest.approx(expected, abs=1e-5)
        hits += sum(fraction < 1.0 for fraction in expected)
    assert hits > 200


@pytest.mark.parametrize("name", TERRAINS)
def test_the_surface_is_what_a_ray_from_above_meets(name):
    rng = np.random.default_rng(3)
    terrain = make_terrain(TERRAINS[name], rng)
    world = Box2D.b2World(gravity=(0, -10))
    walker_world.add_terrain(world, terrain)
    places = rng.uniform(0, TRACK_LENGTH - 1, 300)
    top, bottom = float(terrain.ground[:, 1].max()) + 20.0, float(terrain.ground[:, 1].min()) - 20.0
    met = []
    for x in places.tolist():
        ray = Nearest()
        world.RayCast(ray, (x, top), (x, bottom))
        met.append(top + ray.fraction * (bottom - top))
    assert np.abs(terrain.surface(places) - met).max() < 1e-3
    assert np.std(met) > 0.01


@pytest.mark.parametrize("name", TERRAINS)
def test_numba_and_numpy_see_exactly_the_same(name):
    pytest.importorskip("numba", reason="lidar='numba' needs numba: pip install rlteach[numba]")
    rng = np.random.default_rng(2)
    terrain = make_terrain(TERRAINS[name], rng)
    fast, plain, a, b = lidar.Lidar("numba"), lidar.Lidar("numpy"), np.empty(10), np.empty(10)
    for sight in (fast, plain):
        sight.load(terrain.segments())
    for x, y in eyes(terrain, 200, rng).tolist():
        fast.scan(x, y, a)
        plain.scan(x, y, b)
        assert np.array_equal(a, b)
    fast.scan(TRACK_LENGTH + 50, 10.0, a)
    plain.scan(TRACK_LENGTH + 50, 10.0, b)
    assert (a == 1.0).all() and (b == 1.0).all()


# -- episodes ----------------------------------------------------------------------------------------------------------


def test_the_reward_follows_from_where_the_hull_is():
    env = make()
    env.reset(seed=3, options={"task": TASK})
    x, _, angle = env.get_snapshot()["states"][0, :3]
    for action in random_actions(env, 40) * 1.5:
        observation, reward, terminated, _, _ = env.step(action)
        if terminated:
            assert reward == -100.0
            break
        new_x, _, new_angle = env._world.states()[0, :3]
        gain = 130 / 30 * (new_x - x) - 5 * (abs(new_angle) - abs(angle))
        assert reward == pytest.approx(
            gain - 0.00035 * 80 * np.minimum(np.abs(action.astype(float)), 1).sum(), abs=1e-9
        )
        assert observation[0] == np.float32(new_angle)
        x, angle = new_x, new_angle


def test_falling_ends_an_episode_at_minus_100_and_without_success():
    env = make()
    env.reset(seed=0, options={"task": TASK})
    for action in random_actions(env, 500):
        _, reward, terminated, truncated, info = env.step(action)
        if terminated:
            break
        assert info == {}
    assert terminated and not truncated and reward == -100.0 and info == {"is_success": False}


def carried(env, x):
    """Put the walker down elsewhere on its track."""
    snapshot = env.get_snapshot()
    snapshot["states"][:, 0] += x - snapshot["states"][0, 0]
    snapshot["return"] = 231.0
    env.set_snapshot(snapshot)


def test_reaching_the_end_terminates_and_succeeds_by_the_return_and_the_beginning_is_a_fall():
    env = make()
    still = np.zeros(4, dtype=np.float32)
    for x, ends, succeeds in ((stump_terrain.GOAL + 0.5, True, True), (50.0, False, None), (-1.0, True, False)):
        env.reset(seed=0, options={"task": {"stump_height": 0.0, "obstacle_spacing": 6.0}})
        carried(env, x)
        env._shaping = env._shape(x, 0.0)
        _, reward, terminated, truncated, info = env.step(still)
        assert (terminated, truncated, info.get("is_success")) == (ends, False, succeeds)
        assert (reward == -100.0) == (succeeds is False)


def test_the_horizon_truncates_and_does_not_terminate():
    env = make(horizon=5)
    env.reset(seed=0, options={"task": TASK})
    ends = [env.step(np.zeros(4, dtype=np.float32))[2:4] for _ in range(5)]
    assert ends == [(False, False)] * 4 + [(False, True)]


def test_a_walker_that_does_nothing_stands_with_its_feet_on_the_ground():
    env = make(body="quadruped")
    observation, _ = env.reset(seed=0, options={"task": TASK})
    assert observation.shape == (34,) and not observation[[8, 13, 18, 23]].any()
    for _ in range(5):
        observation = env.step(np.zeros(8, dtype=np.float32))[0]
    assert observation[[8, 13, 18, 23]].all()


def bipedal_walker(x, y):
    """Return a world, hull and joints of BipedalWalker's walker on flat ground, in Box2D's ordinary words."""
    world = Box2D.b2World(gravity=(0, -10))
    edge = Box2D.b2EdgeShape(vertices=[(0, y - 68 / 30), (100, y - 68 / 30)])
    world.CreateStaticBody(fixtures=Box2D.b2FixtureDef(shape=edge, friction=2.5, categoryBits=1))
    kind = {"categoryBits": 0x20, "maskBits": 1}
    polygon = [(px / 30, py / 30) for px, py in ((-30, 9), (6, 9), (34, 1), (34, -8), (-30, -8))]
    shape = Box2D.b2PolygonShape(vertices=polygon)
    hull = world.CreateDynamicBody(
        position=(x, y), fixtures=Box2D.b2FixtureDef(shape=shape, density=5, friction=0.1, **kind)
    )
    joints = []
    for side in (-1, 1):
        above, anchor = hull, (0, -8 / 30)
        for width, drop, low, high in ((8, 9, -0.8, 1.1), (6.4, 43, -1.6, -0.1)):
            box = Box2D.b2PolygonShape(box=(width / 60, 17 / 30))
            part = world.CreateDynamicBody(
                position=(x, y - drop / 30),
                angle=0.05 * side,
                fixtures=Box2D.b2FixtureDef(shape=box, density=1, **kind),
            )
            limits = {"enableLimit": True, "lowerAngle": low, "upperAngle": high, "enableMotor": True}
            joint = Box2D.b2RevoluteJointDef(
                bodyA=above, bodyB=part, localAnchorA=anchor, localAnchorB=(0, 17 / 30), **limits
            )
            joints.append(world.CreateJoint(joint))
            above, anchor = part, (0, -17 / 30)
    return world, hull, joints


def test_the_old_body_moves_as_that_of_bipedal_walker_does():
    env = make(body="old_classic_bipedal", parameters=("roughness",))
    env.reset(seed=0, options={"task": {"roughness": 0.0}})
    world, hull, joints = bipedal_walker(*env._world.hull_position())
    hull.ApplyForceToCenter((env._push, 0), True)
    for action in random_actions(env, 25):
        observation = env.step(action)[0]
        for joint, a, speed in zip(joints, action.tolist(), (4, 6, 4, 6), strict=True):
            joint.motorSpeed, joint.maxMotorTorque = speed * np.sign(a), 80 * abs(a)
        world.Step(1 / 50, 180, 60)
        angles = [joint.angle + offset for joint, offset in zip(joints, (0, 1, 0, 1), strict=True)]
        assert observation[[4, 6, 9, 11]] == pytest.approx(angles, abs=1e-3)
        speeds = [0.04 * hull.angularVelocity, 0.12 * hull.linearVelocity.x, 0.08 * hull.linearVelocity.y]
        assert observation[:4] == pytest.approx([hull.angle, *speeds], abs=1e-3)


@pytest.mark.parametrize("body", BODIES)
def test_every_body_hangs_together_and_keeps_to_the_limits_of_its_joints(body):
    env = make(body=body, horizon=60)
    env.reset(seed=0, options={"task": {"stump_height": 0.0, "obstacle_spacing": 6.0}})
    for action in random_actions(env, 40):
        if env.step(action)[2]:
            break
    for joint, motor in zip(env._world._joints, BODIES[body].motors, strict=True):
        assert motor.low - 0.15 < joint.angle < motor.high + 0.15
        assert (joint.anchorA - joint.anchorB).length < 0.05
    assert env.observation_space.shape == (BODIES[body].observation_size + 10,)


@pytest.mark.parametrize("body", sorted(BODIES.keys() - {"old_classic_bipedal"}))
def test_every_body_starts_in_one_piece_with_its_joints_at_rest_and_above_the_ground(body):
    env = make(body=body)
    env.reset(seed=0, options={"task": {"stump_height": 0.0, "obstacle_spacing": 6.0}})
    joints = env._world._world.joints
    assert len(joints) == len(BODIES[body].motors) + len(BODIES[body].hinges)
    for joint in joints:
        assert (joint.anchorA - joint.anchorB).length < 1e-5 and abs(joint.angle) < 1e-6
    lowest = min((part.transform * v)[1] for part in env._world._parts for v in part.fixtures[0].shape.vertices)
    assert GROUND_HEIGHT - 1e-4 < lowest < GROUND_HEIGHT + 0.2


def test_spider_and_millipede_are_those_of_the_published_zoo():
    # To each side half the hull, three parts at an angle, and half the width of the last one.
    span = 20 + 40 * np.sin(np.pi * np.array([0.25, 0.7, 0.9])).sum() + 0.8 * 6 * np.cos(0.1 * np.pi)
    for body, motors, observed, torque, penalty, width in (
        ("spider", 12, 42, 100.0, 0.00035 / 2, span),
        ("millipede", 16, 54, 200.0, 0.00035 / 4, 80.0),
    ):
        env = make(body=body)
        env.reset(seed=0, options={"task": TASK})
        assert env.action_space.shape == (motors,) and env.observation_space.shape == (observed,)
        assert BODIES[body].torque == torque and BODIES[body].penalty == pytest.approx(80 * penalty)
        corners = [(part.transform * v)[0] for part in env._world._parts for v in part.fixtures[0].shape.vertices]
        assert 30 * np.ptp(corners) == pytest.approx(width, abs=0.01)
    head, *others = (part.start[0] for part in BODIES["millipede"].parts)
    assert head == max(head, *others) == 0.0


def test_a_millipede_bends_at_its_hinges_only_as_far_as_they_let_it():
    env = make(body="millipede", horizon=200)
    env.reset(seed=0, options={"task": {"stump_height": 3.0, "obstacle_spacing": 0.5}})
    bends = []
    for action in random_actions(env, 150):
        env.step(action)
        angles = [env._world._parts[k].angle for k in (0, 5, 10, 15)]
        bends.append(np.abs(np.diff(angles)).max())
    assert 0.1 < np.median(bends) < 0.05 * np.pi + 0.05 and max(bends) < 0.05 * np.pi + 0.15


# -- repeating and saving ----------------------------------------------------------------------------------------------


def test_a_rollout_does_not_depend_on_what_was_played_before():
    played = make()
    for seed in range(3):
        rollout(played, random_actions(played, 120, seed), seed=seed, options={"task": TASK})
    different, steps = 0, 0
    for seed in range(15):
        fresh = make()
        actions = random_actions(fresh, 120, 100 + seed)
        first = rollout(fresh, actions, seed=seed)
        different += first != rollout(played, actions, seed=seed)
        steps += len(first)
    assert different == 0 and steps > 500


@pytest.mark.parametrize("kwargs", [{}, {"body": "quadruped", **ALL}], ids=["default", "everything"])
def test_a_snapshot_continues_bit_by_bit_in_the_same_and_in_another_environment(kwargs):
    env, other = make(**kwargs), make(**kwargs)
    other.reset(seed=1000)
    rng, compared = np.random.default_rng(0), 0
    for seed in range(30):
        env.reset(seed=seed)
        observation = env.reset()[0]
        for action in random_actions(env, rng.integers(0, 50), seed):
            observation, _, terminated, _, _ = env.step(action)
            if terminated:
                break
        if seed % 3 == 0:
            observation = put_further_on(env, rng)
        snapshot = env.get_snapshot()
        actions = random_actions(env, 100, 1000 + seed)
        onwards = rollout(env, actions)
        after = env.np_random.random()
        for copy in (env, other):
            copy.reset(seed=seed + 1)
            assert np.array_equal(copy.set_snapshot(snapshot)[0], observation)
            assert rollout(copy, actions) == onwards
            assert copy.np_random.random() == after
        compared += len(onwards)
    assert compared > 600


@pytest.mark.parametrize("body", ["classic_bipedal", "spider", "millipede"])
def test_a_walker_put_into_place_goes_on_as_one_in_a_world_that_was_built_for_it(body):
    env, other = make(body=body), make(body=body)
    for seed in range(6):
        env.reset(seed=seed)
        for action in random_actions(env, 8 + seed, seed):
            env.step(action)
        snapshot, built = env.get_snapshot(), env._world._world
        env.step(random_actions(env, 1)[0])
        other.reset(seed=99)
        for copy in (env, other):
            copy.set_snapshot(snapshot)
        assert env._world._world is built
        assert rollout(env, random_actions(env, 60)) == rollout(other, random_actions(env, 60))


def test_saving_twice_saves_the_same_and_only_plain_values():
    env = make(**ALL)
    env.reset(seed=0)
    for action in random_actions(env, 20):
        env.step(action)
    first, second = env.get_snapshot(), env.get_snapshot()
    assert first["contacts"].any() and first["clock"] == 20
    for name, value in (first | first["task"]).items():
        assert isinstance(value, str | bool | int | float | np.ndarray | dict), name
        assert not isinstance(value, np.ndarray) or value.dtype != object
        assert isinstance(value, dict) or np.array_equal(value, (second | second["task"])[name]), name


def test_a_snapshot_of_another_body_is_refused():
    env, other = make(), make(body="short")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="'classic_bipedal', not of kind 'StumpTracks', env_version '0', body 'short'"):
        other.set_snapshot(env.get_snapshot())


# -- tasks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stump_height": np.nan}, r"stump_height = nan lies outside \[0, 3\]"),
        ({"stump_height": 3.01}, "stump_height = 3.01"),
        ({"obstacle_spacing": -0.1}, "obstacle_spacing = -0.1"),
        ({"stump_height": [1.0, 2.0]}, r"stump_height has shape \(2,\)"),
        ({"stump_height": "high"}, "stump_height = 'high' is not a number"),
        ({"stump_hight": 1.0}, "did you mean 'stump_height'"),
    ],
)
def test_a_wrong_task_is_refused_with_the_name_of_the_parameter(change, message):
    env = make()
    with pytest.raises(ValueError, match=message):
        env.reset(options={"task": TASK | change})


def test_a_task_with_a_parameter_missing_is_refused():
    with pytest.raises(ValueError, match="lacks obstacle_spacing"):
        make().reset(options={"task": {"stump_height": 1.0}})


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"body": "quadroped"}, "did you mean 'quadruped'"),
        ({"parameters": ("stump_hights",)}, "did you mean 'stump_height'"),
        ({"parameters": {"stump_height": (3, 0)}}, "must rise"),
        ({"parameters": ("obstacle_spacing", "stump_width")}, "stump_width needs stumps"),
        ({"fixed": {"stump_height": 1.0}}, "both fixed and a task parameter"),
        ({"fixed": {"roughness": np.inf}}, "roughness = inf lies outside"),
        ({"lidar": "jax"}, "auto, numba, numpy"),
        ({"height_std": -1.0}, "height_std"),
        ({"horizon": 0}, "horizon = 0"),
    ],
)
def test_a_wrong_constructor_argument_is_refused_with_the_nearest_choice(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make(**kwargs)


def test_vector_parameters_reach_the_track_whatever_stands_around_them():
    env = make(parameters={"poly_shape": (0, 4), "obstacle_spacing": (0, 6), "roughness": (0, 1)}, shape_std=0.0)
    shape = np.linspace(0.0, 1.1, 12)
    env.reset(seed=0, options={"task": {"roughness": 0.0, "obstacle_spacing": 5.0, "poly_shape": shape}})
    expected = make_terrain(
        TrackNumbers(poly_shape=shape.tolist(), obstacle_spacing=5.0, shape_std=0.0), np.random.default_rng(9)
    )
    assert len(env._terrain.polygons) == 14
    assert all(np.array_equal(a, b) for a, b in zip(env._terrain.polygons, expected.polygons, strict=True))


def test_the_test_sets_are_the_published_grid_or_seeded():
    grid = make().test_sets["grid"]
    pairs = {(float(task["stump_height"]), float(task["obstacle_spacing"])) for task in grid}
    assert pairs == {(h, s) for h in np.linspace(0, 3, 10) for s in np.linspace(0, 6, 10)}
    uniform, again = (make(parameters=("stump_height", "roughness")).test_sets["uniform"] for _ in range(2))
    assert len(uniform) == 100 and uniform == again and len({float(task["roughness"]) for task in uniform}) == 100


def test_the_oracle_goes_from_low_and_sparse_to_everything():
    env, rng = make(), np.random.default_rng(0)
    easy, hard, all_ = ([env.oracle_window(p, rng) for _ in range(200)] for p in (0.0, 0.999, 1.0))
    assert max(t["stump_height"] for t in easy) <= 0.6 and min(t["obstacle_spacing"] for t in easy) >= 4.8
    assert min(t["stump_height"] for t in hard) >= 2.3 and max(t["obstacle_spacing"] for t in hard) <= 1.3
    assert np.ptp([t["stump_height"] for t in all_]) > 2.7 and all(t in env.task_space for t in (*easy, *hard, *all_))


# -- fitting in --------------------------------------------------------------------------------------------------------


def test_the_suite_finds_nothing_wrong_with_it():
    findings = check_env("rlteach_envs:rlteach/StumpTracks-v0")
    assert len(findings) > 10
    assert [finding for finding in findings if not finding.ok] == []


def build_one():
    return gym.make("rlteach_envs:rlteach/StumpTracksFast-v0", horizon=20)


@pytest.mark.parametrize("make_vec", [DummyVecEnv, SubprocVecEnv])
def test_it_plays_lessons_in_vector_environments(make_vec):
    env = make_vec([lambda: rlteach.LessonEnv(build_one()), lambda: rlteach.LessonEnv(build_one())])
    try:
        env.seed(0)
        observations = env.reset()
        assert observations.shape == (2, 24) and np.isfinite(observations).all()
        ends = 0
        for _ in range(45):
            observations, _, _, infos = env.step(np.zeros((2, 4), dtype=np.float32))
            ends += sum("is_success" in info and info["TimeLimit.truncated"] for info in infos)
        assert ends == 4 and np.isfinite(observations).all()
    finally:
        env.close()


def test_the_fast_variant_differs_only_in_its_solver():
    fast = gym.make("rlteach_envs:rlteach/StumpTracksFast-v0").unwrapped
    exact = gym.make("rlteach_envs:rlteach/StumpTracks-v0").unwrapped
    assert fast._world._iterations == (60, 20) and exact._world._iterations == (180, 60)
    assert type(fast) is type(exact)
    first, second = (env.reset(seed=0, options={"task": TASK})[0] for env in (fast, exact))
    assert np.array_equal(first, second)


def test_importing_the_environments_imports_neither_box2d_nor_numba():
    script = (
        "import gymnasium, sys, rlteach_envs, rlteach_envs.stump_tracks\n"
        "import rlteach_envs.parkour, rlteach_envs.ued_walker\n"
        "assert not {'Box2D', 'numba'} & set(sys.modules)\n"
        "sys.modules['Box2D'] = None\n"
        "try:\n    rlteach_envs.stump_tracks.StumpTracks()\n"
        "except gymnasium.error.DependencyNotInstalled as error:\n    print(error)\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "StumpTracks needs Box2D: pip install rlteach[box2d]"


def test_a_picture_shows_sky_ground_stumps_and_walker():
    env = make(render_mode="rgb_array")
    env.reset(seed=0, options={"task": {"stump_height": 3.0, "obstacle_spacing": 0.0}})
    image = env.render()
    colours = {tuple(colour) for colour in image.reshape(-1, 3)}
    assert image.shape == (400, 600, 3) and image.dtype == np.uint8 and len(colours) >= 5
    # The hull is 64 x 17 pixels with one corner cut.
    assert (image == (127, 51, 229)).all(axis=2).sum() == pytest.approx(64 * 17 - 28 * 8 / 2, rel=0.05)
