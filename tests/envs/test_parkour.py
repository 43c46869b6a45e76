"""Parkour: its terrain, water, lidar and grip against independent computations, its promises, and its mistakes."""

import itertools

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("Box2D", reason="Parkour needs Box2D: pip install rlteach[box2d]")

import Box2D
from rlteach_envs import lidar, parkour_terrain, parkour_water, parkour_world, walker_world
from rlteach_envs.parkour import PARKOUR_BODIES, SURVIVAL, Parkour, heights_ahead, least_width
from rlteach_envs.parkour_terrain import NET_SEED, ParkourNumbers, ParkourTerrain, make_parkour
from rlteach_envs.stump_terrain import GROUND_HEIGHT, START_PAD, STEP
from rlteach_envs.walker_bodies import BODIES, CLIMBERS, SWIMMERS

from rlteach.testing.envs import check_env
from tests.envs.family import put_further_on

VECTOR = (-0.2, 0.8, 0.1)
TASK = {"input_vector": VECTOR, "water_level": 0.0, "creepers_height": 2.0, "creepers_spacing": 1.0}
SWIM = TASK | {"water_level": 1.0}
CLIMBER = "climbing_chimpanzee"


def make(body="classic_bipedal", **kwargs):
    """Return an environment that compiles nothing, unless asked for."""
    return Parkour(body, **{"lidar": "numpy", **kwargs})


def random_actions(env, count, seed=0, grip=None):
    actions = np.random.default_rng(seed).uniform(-1, 1, (count, *env.action_space.shape)).astype(np.float32)
    if grip is not None:
        actions[:, -2:] = grip
    return actions


def rollout(env, actions, **reset):
    """Return observations and rewards as one list of bytes, to be compared bit by bit."""
    trace = [env.reset(**reset)[0].tobytes()] if reset else []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        trace.append(observation.tobytes() + np.float64(reward).tobytes())
        if terminated or truncated:
            break
    return trace


def still(env, grip=0.0):
    action = np.zeros(env.action_space.shape, np.float32)
    action[len(env._body.motors) :] = grip
    return action


# -- terrain -----------------------------------------------------------------------------------------------------------


def is_acceptable(seed):
    return parkour_terrain.is_acceptable(parkour_terrain.net_statistics(parkour_terrain.net(seed)))


def test_the_terrains_of_the_network_are_acceptable():
    assert is_acceptable(NET_SEED) and not is_acceptable(0)


@pytest.mark.slow
def test_the_network_is_the_first_whose_terrains_are_acceptable():
    assert not any(map(is_acceptable, range(NET_SEED)))


def test_statistics_of_a_network_are_those_of_its_terrains():
    weights = parkour_terrain.net(3)
    statistics = parkour_terrain.net_statistics(weights, 12)
    rng = np.random.RandomState(0)
    boxes = [np.array([-0.35, 0.6, -0.1]), np.array([0.05, 1.0, 0.3])]
    lines = [parkour_terrain.heights(weights, rng.uniform(*boxes), 10.0) for _ in range(12)]
    grounds = np.array([ground for ground, _ in lines])
    apart = [np.sqrt(np.mean((a - b) ** 2)) for i, a in enumerate(grounds) for b in grounds[:i]]
    assert statistics.range == pytest.approx(np.median([ground.max() - ground.min() for ground in grounds]))
    assert statistics.slope == pytest.approx(np.abs(np.diff(grounds) / STEP).mean())
    assert statistics.blocked == np.mean([(ceiling - ground).min() <= 0 for ground, ceiling in lines])
    assert statistics.diversity == pytest.approx(np.mean(apart))


def test_the_weights_are_normal_and_cut_at_two_standard_deviations():
    weights = np.concatenate([layer.ravel() for layer in parkour_terrain.net(NET_SEED)])
    assert len(weights) == 50_688 / 4 and np.abs(weights).max() <= 4.0
    # A normal variable cut at 2 has the standard deviation 0.8796.
    assert weights.std() == pytest.approx(2 * 0.8796, rel=0.02) and abs(weights.mean()) < 0.06


def test_the_network_computes_what_its_definition_says():
    layers = [layer.astype(np.float64) for layer in parkour_terrain.net(NET_SEED)]
    expected = []
    for x in np.linspace(0, 1, 200):
        hidden = np.tanh(np.array([x, *VECTOR]) @ layers[0])
        hidden = np.tanh(np.logaddexp(0, hidden @ layers[1]) @ layers[2])
        expected.append(np.logaddexp(0, hidden @ layers[3]) @ layers[4])
    outputs = parkour_terrain.outputs(parkour_terrain.net(NET_SEED), VECTOR)
    assert np.ptp(expected, axis=0).min() > 50
    assert outputs == pytest.approx(np.array(expected), abs=0.05)


def test_the_terrain_begins_with_a_flat_pad_and_its_heights_shrink_with_the_scale():
    coarse, smooth = (
        make_parkour(ParkourNumbers(VECTOR, scale=scale), np.random.default_rng(0)) for scale in (10.0, 20.0)
    )
    for terrain, offset in ((coarse, 20.0), (smooth, 10.0)):
        assert terrain.ground.shape == terrain.ceiling.shape == (220, 2)
        assert np.diff(terrain.ground[:, 0]) == pytest.approx(STEP)
        assert terrain.ground[:21, 1] == pytest.approx(GROUND_HEIGHT)
        assert terrain.ceiling[:21, 1] == pytest.approx(GROUND_HEIGHT + offset)
        assert (terrain.ceiling[:, 1] >= terrain.ground[:, 1]).all()
    assert smooth.ground[:, 1] - GROUND_HEIGHT == pytest.approx((coarse.ground[:, 1] - GROUND_HEIGHT) / 2)
    outputs = parkour_terrain.outputs(parkour_terrain.net(NET_SEED), VECTOR)
    assert np.diff(coarse.ground[20:, 1]) == pytest.approx(np.diff(outputs[:, 0]) / 10, abs=1e-4)


@pytest.mark.parametrize("spacing", [0.0, 1.0, 5.0])
def test_creepers_hang_from_the_ceiling_at_their_spacing_with_lengths_that_scatter(spacing):
    numbers = ParkourNumbers(VECTOR, creepers_height=3.0, creepers_spacing=spacing, creepers_width=0.3)
    rng = np.random.default_rng(0)
    terrain = make_parkour(numbers, rng)
    left, right, _, upper = terrain.creepers.T
    assert left[0] == 0.0 and right - left == pytest.approx(0.3)
    gaps = np.diff(left)
    assert (gaps >= spacing).all() and (gaps < spacing + 2 * STEP + 1e-9).all()
    ceiling = np.interp([left, left + STEP], *terrain.ceiling.T)
    assert upper == pytest.approx(ceiling.max(axis=0))
    lengths = np.concatenate([(t := make_parkour(numbers, rng).creepers)[:, 3] - t[:, 2] for _ in range(30)])
    assert lengths.mean() == pytest.approx(3.0, abs=4 * 0.1 / np.sqrt(len(lengths)))
    assert lengths.std() == pytest.approx(0.1, rel=0.1)
    short = make_parkour(ParkourNumbers(VECTOR, creepers_height=0.0, creepers_width=0.0), rng).creepers
    assert (short[:, 3] - short[:, 2]).min() == pytest.approx(0.2) and short[0, 1] == pytest.approx(0.2)


def test_the_water_reaches_the_top_of_the_ceiling_at_most_and_is_never_quite_gone():
    for level, share in ((0.0, 0.01), (0.5, 0.5), (1.0, 1.0)):
        terrain = make_parkour(ParkourNumbers(VECTOR, water_level=level), np.random.default_rng(0))
        assert terrain.water == pytest.approx(-100 + share * (terrain.ceiling[:, 1].max() + 100))


def test_only_a_passage_too_low_for_the_hull_is_known_to_be_infeasible():
    env = make(parameters={"input_vector": (-1, 1)})
    verdicts = {}
    for vector in np.random.default_rng(0).uniform(-1, 1, (80, 3)):
        terrain = make_parkour(ParkourNumbers(vector), np.random.default_rng(0))
        gaps = terrain.ceiling[:, 1] - terrain.ground[:, 1]
        verdicts.setdefault(env.feasibility({"input_vector": vector}), []).append(gaps.min())
    assert verdicts.keys() == {False, None}
    assert max(verdicts[False]) < 17 / 30 <= min(verdicts[None])


def test_the_least_width_of_a_polygon_is_that_between_its_nearest_parallel_lines():
    assert least_width(np.array([(0, 0), (3, 0), (3, 1), (0, 1)])) == pytest.approx(1.0)
    assert least_width(np.array([(0, 0), (1, 0), (0.5, np.sqrt(0.75))])) == pytest.approx(np.sqrt(0.75))


# -- lidar -------------------------------------------------------------------------------------------------------------


class Nearest(Box2D.b2RayCastCallback):
    """Keeps the nearest hit of a ray and what it was."""

    def __init__(self):
        super().__init__()
        self.fraction, self.code = 1.0, 0.0

    def ReportFixture(self, fixture, point, normal, fraction):
        self.fraction, self.code = fraction, fixture.body.userData or 0.0
        return fraction


def world_of(terrain):
    """Return the terrain in Box2D's ordinary words, creepers and water as polygons."""
    world = Box2D.b2World(gravity=(0, -10))
    for line in (terrain.ground, terrain.ceiling):
        for a, b in zip(line[:-1].tolist(), line[1:].tolist(), strict=True):
            world.CreateStaticBody(shapes=Box2D.b2EdgeShape(vertices=[a, b]))
    for left, right, lower, upper in terrain.creepers.tolist():
        corners = [(left, lower), (right, lower), (right, upper), (left, upper)]
        world.CreateStaticBody(shapes=Box2D.b2PolygonShape(vertices=corners), userData=1.0)
    low, high = -100.0, terrain.water
    corners = [(-50, low), (200, low), (200, high), (-50, high)]
    world.CreateStaticBody(shapes=Box2D.b2PolygonShape(vertices=corners), userData=-1.0)
    return world


@pytest.mark.parametrize("body", ["classic_bipedal", "fish", CLIMBER])
def test_the_lidar_and_its_surface_codes_agree_with_the_ray_casts_of_box2d(body):
    kind, rng = PARKOUR_BODIES[body][1], np.random.default_rng(1)
    sight = lidar.Lidar("numpy", start=kind.first_ray, sweep=kind.sweep, surfaces=True)
    seen, codes = np.empty(20), []
    for level in (0.0, 0.82, 1.0):
        numbers = ParkourNumbers(VECTOR, level, 3.0, 1.0)
        terrain = make_parkour(numbers, rng)
        world = world_of(terrain)
        sight.load(terrain.segments(), terrain.water)
        for x in np.float32(rng.uniform(2, 98, 40)).tolist():
            ground, ceiling = (np.interp(x, *line.T) for line in (terrain.ground, terrain.ceiling))
            y = float(np.float32(rng.uniform(ground + 0.3, ceiling - 0.3)))
            sight.scan(x, y, seen)
            for i in range(10):
                angle = kind.first_ray + kind.sweep * i / 10
                ray = Nearest()
                end = (x + np.sin(angle) * 160 / 30, y - np.cos(angle) * 160 / 30)
                world.RayCast(ray, (x, y), tuple(map(float, end)))
                assert seen[i] == pytest.approx(ray.fraction, abs=2e-5)
                if 1e-4 < ray.fraction < 0.999:
                    assert seen[10 + i] == ray.code
                codes.append(ray.code)
    # Walkers' rays go down and rarely meet what hangs from the ceiling.
    assert codes.count(1.0) > (20 if body == CLIMBER else 1) and (body == CLIMBER or codes.count(-1.0) > 20)


@pytest.mark.parametrize("kind", [kind for _, kind in (PARKOUR_BODIES["fish"], PARKOUR_BODIES[CLIMBER])])
def test_numba_and_numpy_see_exactly_the_same(kind):
    pytest.importorskip("numba", reason="lidar='numba' needs numba: pip install rlteach[numba]")
    rng = np.random.default_rng(2)
    terrain = make_parkour(ParkourNumbers(VECTOR, 0.85, 3.0, 0.0), rng)
    fast, plain = (
        lidar.Lidar(name, start=kind.first_ray, sweep=kind.sweep, surfaces=True) for name in ("numba", "numpy")
    )
    a, b = np.empty(20), np.empty(20)
    for sight in (fast, plain):
        sight.load(terrain.segments(), terrain.water)
    for x, y in zip(rng.uniform(-3, 106, 300), rng.uniform(-5, 25, 300), strict=True):
        fast.scan(float(x), float(y), a)
        plain.scan(float(x), float(y), b)
        assert np.array_equal(a, b)


# -- water -------------------------------------------------------------------------------------------------------------

SQUARE = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]


def water_on(outline, at=(0.0, 0.0), angle=0.0, velocity=(0.0, 0.0), spin=0.0, water=10.0, joint=None):
    """Return the force (2,) and torque of the water on one polygon whose centre of mass is its origin."""
    corners = [number for corner in outline for number in corner]
    parts = [*at, np.cos(angle), np.sin(angle), *at, *velocity, spin]
    out = np.zeros(3)
    arrays = map(np.array, (list(map(float, parts)), corners, [0, len(outline)], joint or [0.0] * 6))
    parkour_water.water_forces(compiled=False)(*arrays, float(water), out)
    return out[:2], out[2]


def test_what_is_under_water_is_borne_up_by_the_weight_of_the_water_it_displaces():
    force, torque = water_on(SQUARE, angle=0.3)
    assert force == pytest.approx([0.0, 10.0]) and torque == pytest.approx(0.0, abs=1e-12)
    force, torque = water_on(SQUARE, water=-0.25)
    assert force == pytest.approx([0.0, 2.5]) and torque == pytest.approx(0.0, abs=1e-12)
    # Tilted, the half below the surface has its centroid beside the centre: by a grid of small squares.
    force, torque = water_on(SQUARE, angle=0.4, water=0.1)
    grid = (np.arange(1000) + 0.5) / 1000 - 0.5
    px, py = np.meshgrid(grid, grid)
    x, y = px * np.cos(0.4) - py * np.sin(0.4), px * np.sin(0.4) + py * np.cos(0.4)
    wet = y < 0.1
    assert force[1] == pytest.approx(10 * wet.mean(), rel=1e-3)
    assert torque == pytest.approx(10 * x[wet].sum() / 1e6, rel=1e-2) and abs(torque) > 0.01
    assert water_on(SQUARE, water=-2.0)[0] == pytest.approx([0.0, 0.0])


def drag_and_lift(outline, velocity, spin, centre):
    """Return force and torque of a moving fluid on a polygon's edges, in vectors."""
    total, torque = np.zeros(2), 0.0
    for a, b in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        middle, length = (a + b) / 2, np.linalg.norm(b - a)
        edge = (b - a) / length
        normal = np.array([edge[1], -edge[0]])
        arm = middle - centre
        motion = velocity + spin * np.array([-arm[1], arm[0]])
        speed = np.linalg.norm(motion)
        way = motion / speed
        if normal @ way < 0:
            continue
        drag = min(0.25 * (normal @ way) * length * speed**2, 2000.0)
        lift = min(0.25 * (normal @ way) * (edge @ way) * length * speed**2, 500.0)
        force = -drag * way + lift * np.array([-way[1], way[0]])
        total += force
        torque += arm[0] * force[1] - arm[1] * force[0]
    return total, torque


def test_moving_edges_are_dragged_and_lifted():
    rng = np.random.default_rng(0)
    for _ in range(30):
        outline = np.array(SQUARE) * rng.uniform(0.2, 2.0, 2)
        velocity, spin, speed = rng.normal(0, 1, 2), rng.normal(0, 3), rng.choice([1.0, 100.0])
        expected, expected_torque = drag_and_lift(outline, speed * velocity, spin, np.zeros(2))
        area = np.prod(np.ptp(outline, axis=0))
        force, torque = water_on(outline.tolist(), velocity=speed * velocity, spin=spin)
        assert force - [0.0, 10 * area] == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert torque == pytest.approx(expected_torque, rel=1e-9, abs=1e-9)


def test_a_motor_pushes_water_away_unless_it_is_at_its_limit():
    oar = [(-0.05, -0.5), (0.05, -0.5), (0.05, 0.5), (-0.05, 0.5)]
    inertia, torque, spin = 0.3, 2.0, 0.7
    rest, rest_torque = water_on(oar, spin=spin)
    pushed, pushed_torque = water_on(oar, spin=spin, joint=[1.0, torque, 1.0, 0.0, 0.5, inertia])
    # The joint is 0.5 above the centre: the torque throws the centre along +x, and the right edge, of length 1, faces
    # that way.
    strength = 0.05 * (torque * 0.5) * 1.0 * (torque + inertia * spin) ** 2
    assert pushed - rest == pytest.approx([-strength * torque * 0.5, 0.0])
    assert pushed_torque - rest_torque == pytest.approx(0.5 * strength * torque * 0.5)
    at_limit, _ = water_on(oar, spin=spin, joint=[1.0, torque, 0.0, 0.0, 0.5, inertia])
    assert at_limit == pytest.approx(rest)
    strong, _ = water_on(oar, spin=spin, joint=[1.0, 60.0, 1.0, 0.0, 0.5, inertia])
    assert strong - rest == pytest.approx([-20.0, 0.0])


def test_numba_and_python_compute_the_same_forces():
    pytest.importorskip("numba", reason="lidar='numba' needs numba: pip install rlteach[numba]")
    plain, fast = make("fish"), make("fish", lidar="numba")
    actions = random_actions(plain, 60)
    assert rollout(plain, actions, seed=0, options={"task": SWIM}) == rollout(
        fast, actions, seed=0, options={"task": SWIM}
    )
    assert np.abs(fast._world.water_forces()).max() > 0.1


# -- swimming and drowning ---------------------------------------------------------------------------------------------


def test_a_still_fish_rises_slowly_for_it_is_a_hundredth_lighter_than_water():
    env = make("fish")
    env.reset(seed=0, options={"task": SWIM})
    start = env._world.hull_position()[1]
    for _ in range(25):
        env.step(still(env))
    # Half a second at g (1 / 0.99 - 1) = 0.101 m/s^2, a little dragged.
    assert 0.5 * 0.008 < env._world.hull_position()[1] - start < 0.5 * 0.101 * 0.5**2 * 1.1


def test_a_walker_stays_on_the_ground_of_the_sea_and_an_amphibian_rises():
    for body, floats in (("classic_bipedal", False), ("amphibious_bipedal", True)):
        env = make(body)
        assert env.reset(seed=0, options={"task": SWIM})[0][4] == 1.0
        lift, weight = sum(env._world.water_forces()[1::3]), 10 * sum(part.mass for part in env._world._parts)
        area = sum(part.mass / shape.density for part, shape in zip(env._world._parts, env._body.parts, strict=True))
        assert lift == pytest.approx(10 * area) and (lift > weight) == floats
        start = env._world.hull_position()[1]
        for _ in range(100):
            env.step(still(env))
        assert (env._world.hull_position()[1] > start) == floats


@pytest.mark.parametrize(
    ("body", "task", "dies"),
    [
        ("classic_bipedal", SWIM, True),
        ("classic_bipedal", TASK, False),
        ("fish", TASK, True),
        ("fish", SWIM, False),
        ("amphibious_bipedal", SWIM, False),
        (CLIMBER, SWIM, True),
    ],
)
def test_bodies_die_after_twelve_seconds_where_they_cannot_breathe(body, task, dies):
    env = make(body, velocity_iterations=10, position_iterations=5, lidar="auto")
    env.reset(seed=0, options={"task": task})
    deaths = []
    for _ in range(SURVIVAL + 4):
        observation, reward, terminated, _, _ = env.step(still(env, grip=1.0))
        assert not terminated
        deaths.append(observation[5])
    # The flag is of the step whose action was ignored.
    assert deaths == [0.0] * (SURVIVAL + 1) + [float(dies)] * 3
    before = env._world.pose()["states"]
    x, _, angle = before[0, :3]
    _, reward, _, _, _ = env.step(np.ones(env.action_space.shape, np.float32))
    asked = env._world.pose()["motors"]
    assert (asked == 0.0).all() == dies
    new_x, _, new_angle = env._world.states()[0, :3]
    tilt = -5 * (abs(new_angle) - abs(angle)) if env._body.rewards_level else 0.0
    cost = 0.0 if dies else env._body.penalty * len(env.action_space.high)
    assert reward == pytest.approx(130 / 30 * (new_x - x) + tilt - cost, abs=1e-6)


def test_a_breath_puts_the_count_back():
    env = make()
    env.reset(seed=0, options={"task": SWIM})
    env.step(still(env))
    assert (env._under, env._outside) == (1, 0)
    snapshot = env.get_snapshot()
    snapshot["water"], snapshot["under"] = np.array(-50.0), 599
    env.set_snapshot(snapshot)
    env.step(still(env))
    assert (env._under, env._outside) == (0, 1)


# -- climbing ----------------------------------------------------------------------------------------------------------


def tips(env):
    return np.array([env._world._tip(hand) for hand in (0, 1)])


def test_a_climber_hangs_from_the_ceiling_and_holds_on_whatever_its_motors_do():
    env = make(CLIMBER)
    observation, _ = env.reset(seed=0, options={"task": TASK})
    assert (observation[30:34] == 1.0).all() and observation.shape == (54,) and env.action_space.shape == (12,)
    start = tips(env)
    assert start[:, 1] == pytest.approx(GROUND_HEIGHT + 20 - 0.02, abs=1e-4)
    for action in random_actions(env, 150, grip=1.0):
        observation, _, terminated, _, _ = env.step(action)
        assert not terminated and (observation[[31, 33]] == 1.0).all()
        assert np.abs(tips(env) - start).max() < 0.1
    assert np.abs(observation[6:30]).max() > 0.3


def test_a_climber_that_lets_go_falls_and_dies_on_the_ground():
    env = make(CLIMBER)
    env.reset(seed=0, options={"task": TASK})
    heights = []
    for _ in range(200):
        observation, reward, terminated, _, info = env.step(still(env))
        heights.append(env._world.hull_position()[1])
        if terminated:
            break
    assert terminated and reward == -100.0 and info == {"is_success": False}
    assert (observation[30:34] == 0.0).all()
    fall = heights[0] - heights[30]
    assert fall == pytest.approx(0.5 * 10 * 0.6**2, rel=0.15)


def test_one_hand_holds_alone_and_the_other_takes_hold_again_in_reach():
    env = make(CLIMBER)
    env.reset(seed=0, options={"task": TASK})
    loose = still(env, grip=1.0)
    loose[-1] = -0.5
    for _ in range(3):
        observation = env.step(loose)[0]
    assert observation[[31, 33]].tolist() == [1.0, 0.0]
    for _ in range(10):
        observation = env.step(still(env, grip=0.01))[0]
    if observation[32]:
        assert observation[33] == 1.0
    assert len(env._world._world.joints) == 11 + int(observation[31] + observation[33])


def hung_on_creeper(env, drop):
    """Move a climber, holding nothing, so that the tips of its hands are `drop` above the end of a creeper."""
    env.reset(seed=0, options={"task": TASK})
    snapshot = env.get_snapshot()
    left, right, lower, _ = snapshot["creepers"][6]
    middle = (left + right) / 2
    snapshot["states"][:, 0] += middle - tips(env)[0, 0]
    snapshot["states"][:, 1] += lower + drop - tips(env)[0, 1]
    snapshot["grips"] = np.zeros((2, 3))
    env.set_snapshot(snapshot)
    return middle, lower


def test_a_creeper_bears_a_climber_that_grips_it_and_none_that_is_out_of_reach():
    env = make(CLIMBER)
    middle, lower = hung_on_creeper(env, 0.3)
    env.step(random_actions(env, 1, grip=1.0)[0])
    held = env._world.pose()["grips"]
    assert held[:, 0].tolist() == [1.0, 1.0] and np.abs(held[:, 1:] - [middle, lower + 0.3]).max() < 0.2
    for action in random_actions(env, 80, grip=1.0):
        observation = env.step(action)[0]
    assert (observation[30:34] == 1.0).all() and np.abs(tips(env) - held[:, 1:]).max() < 0.03
    _, lower = hung_on_creeper(env, -0.2)
    for _ in range(40):
        observation = env.step(still(env, grip=1.0))[0]
    assert (observation[30:34] == 0.0).all() and tips(env)[0, 1] < lower - 1.0


def test_a_creeper_is_no_obstacle():
    env = make(CLIMBER)
    traces = []
    for height in (0.0, 4.0):
        env.reset(seed=0, options={"task": TASK | {"creepers_height": height, "creepers_spacing": 0.0}})
        for action in random_actions(env, 40, grip=-1.0):
            env.step(action)
        traces.append(env._world.states())
    assert np.array_equal(*traces)


def test_reach_is_measured_to_the_nearest_point_of_ceiling_or_creeper():
    line = [[0.0, 1.0], [STEP, 2.0], [2 * STEP, 1.5]]
    rng = np.random.default_rng(0)
    ends = np.array(line)
    dense = np.concatenate([np.linspace(a, b, 4000) for a, b in itertools.pairwise(ends)])
    box = [[1.0, 1.25, -2.0, 0.5], [2.0, 2.25, -2.0, 0.5]]
    for x, y in rng.uniform((-0.1, 0.8), (1.1, 2.2), (300, 2)):
        distance = np.hypot(*(dense - (x, y)).T).min()
        if abs(distance - 0.05) > 1e-3:
            assert parkour_world.near_line(line, x, y) == (distance < 0.05)
    inside = [(1.1, 0.0), (1.29, 0.0), (1.96, -2.04 + 0.02), (2.3, 0.5)]
    assert all(parkour_world.near_box(box, [1.0, 2.0], x, y) for x, y in inside)
    outside = [(0.9, 0.0), (1.6, 0.0), (1.1, 0.6), (2.29, 0.54), (9.0, 0.0)]
    assert not any(parkour_world.near_box(box, [1.0, 2.0], x, y) for x, y in outside)


# -- episodes ----------------------------------------------------------------------------------------------------------


def test_walkers_may_fall_over_and_their_reward_follows_from_where_the_hull_is():
    env = make()
    env.reset(seed=1, options={"task": TASK})
    x, _, angle = env._world.states()[0, :3]
    for action in random_actions(env, 120):
        observation, reward, terminated, _, _ = env.step(action)
        new_x, _, new_angle = env._world.states()[0, :3]
        gain = 130 / 30 * (new_x - x) - 5 * (abs(new_angle) - abs(angle))
        assert reward == pytest.approx(gain - 0.00035 * 80 * np.abs(action.astype(float)).sum(), abs=1e-9)
        assert not terminated
        x, angle = new_x, new_angle
    assert env._world._contacts.counts[0] > 0 and observation.shape == (36,)


def test_the_end_and_the_beginning_of_the_track_terminate_and_the_horizon_truncates():
    env = make("fish", horizon=7)
    for x, ends, succeeds in ((100.5, True, True), (60.0, False, None), (-1.0, True, False)):
        env.reset(seed=0, options={"task": SWIM})
        snapshot = env.get_snapshot()
        snapshot["states"][:, 0] += x - snapshot["states"][0, 0]
        snapshot["states"][:, 1] += np.interp(x, *snapshot["ground"].T) - GROUND_HEIGHT
        snapshot["return"], snapshot["shaping"] = 231.0, 130 / 30 * x
        env.set_snapshot(snapshot)
        _, reward, terminated, truncated, info = env.step(still(env))
        assert (terminated, truncated, info.get("is_success")) == (ends, False, succeeds)
        assert (reward == -100.0) == (x < 0)
    env.reset(seed=0, options={"task": SWIM})
    ends = [env.step(still(env))[2:4] for _ in range(7)]
    assert ends == [(False, False)] * 6 + [(False, True)]


@pytest.mark.parametrize("body", [*SWIMMERS, *CLIMBERS])
def test_fish_and_climber_start_in_one_piece(body):
    env = make(body)
    env.reset(seed=0, options={"task": SWIM})
    for joint in env._world._world.joints:
        assert (joint.anchorA - joint.anchorB).length < 1e-4
    size = {"fish": 38, CLIMBER: 54}[body]
    assert env.observation_space.shape == (size,)


def test_200_short_episodes_of_random_tasks_stay_finite_and_inside_their_spaces():
    envs = {body: make(body, lidar="auto") for body in ("classic_bipedal", "fish", CLIMBER, "amphibious_bipedal")}
    rng = np.random.default_rng(0)
    for k in range(200):
        env = envs[list(envs)[k % 4]]
        env.reset(seed=k)
        assert env._task in env.task_space
        if k % 8 < 4:
            put_further_on(env, rng)
        for _ in range(8):
            action = rng.uniform(-1.5, 1.5, env.action_space.shape).astype(np.float32)
            observation, reward, terminated, _, _ = env.step(action)
            assert np.isfinite(observation).all() and np.isfinite(reward)
            assert ((observation[-20:-10] >= 0) & (observation[-20:-10] <= 1)).all()
            assert np.isin(observation[-10:], (-1, 0, 1)).all()
            if terminated:
                break


def test_an_expert_sees_the_heights_ahead():
    env = make(privileged=True)
    observation, _ = env.reset(seed=0, options={"task": TASK})
    assert observation.shape == (77,) and env.observation_groups["privileged"] == tuple(range(36, 77))
    x, y = env._world.hull_position()
    ground, ceiling, water = np.split(observation[36:] * 10 + y, (20, 40))
    assert ground[0] == pytest.approx(GROUND_HEIGHT) and ceiling[0] == pytest.approx(GROUND_HEIGHT + 20, abs=1e-4)
    place = x + 15 * 2 * STEP
    assert ground[15] == pytest.approx(np.interp(place, *env._terrain.ground.T), abs=1e-4)
    assert water[0] == pytest.approx(env._terrain.water, abs=1e-4)
    assert heights_ahead(env._terrain, x, y) == pytest.approx(observation[36:], abs=1e-5)
    assert make().observation_groups == {"policy": tuple(range(36))}


# -- repeating and saving ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["classic_bipedal", "fish", CLIMBER])
def test_a_rollout_does_not_depend_on_what_was_played_before(body):
    played = make(body, lidar="auto")
    for seed in range(3):
        rollout(played, random_actions(played, 60, seed), seed=seed)
    different, steps = 0, 0
    for seed in range(8):
        fresh = make(body, lidar="auto")
        actions = random_actions(fresh, 60, 100 + seed)
        first = rollout(fresh, actions, seed=seed)
        different += first != rollout(played, actions, seed=seed)
        steps += len(first)
    assert different == 0 and steps > 400


def replay_states(body, count, steps):
    """Save `count` states, and demand that the same and another environment go on from them bit by bit."""
    env, other = (make(body, lidar="auto") for _ in range(2))
    other.reset(seed=1000)
    rng, compared, seed, ended = np.random.default_rng(0), 0, 0, True
    for k in range(count):
        for action in random_actions(env, rng.integers(1, 20), k):
            if ended or rng.random() < 0.02:
                seed += 1
                env.reset(seed=seed)
            action[len(env._body.motors) :] += rng.choice([0.0, 0.7])
            observation, _, ended, _, _ = env.step(action)
        if ended:
            continue
        if k % 3 == 0:
            observation = put_further_on(env, rng)
        snapshot = env.get_snapshot()
        actions = random_actions(env, steps, 1000 + k)
        onwards = rollout(env, actions)
        for copy in (env, other):
            assert np.array_equal(copy.set_snapshot(snapshot)[0], observation)
            assert rollout(copy, actions) == onwards
        env.set_snapshot(snapshot)
        compared += len(onwards)
    return compared


@pytest.mark.parametrize("body", ["classic_bipedal", "fish", CLIMBER, "quadruped"])
def test_a_snapshot_continues_bit_by_bit_in_the_same_and_in_another_environment(body):
    assert replay_states(body, 12, 60) > 400


def test_a_snapshot_of_another_body_is_refused_and_a_snapshot_holds_plain_values():
    env, other = make(CLIMBER), make("fish")
    env.reset(seed=0)
    env.step(random_actions(env, 1)[0])
    first, second = env.get_snapshot(), env.get_snapshot()
    for name, value in first.items():
        assert isinstance(value, str | bool | int | float | np.ndarray | dict), name
        assert isinstance(value, dict) or np.array_equal(value, second[name]), name
    with pytest.raises(ValueError, match="'climbing_chimpanzee', not of kind 'Parkour', env_version '0', body 'fish'"):
        other.set_snapshot(first)


# -- tasks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"water_level": np.nan}, r"water_level = nan lies outside \[0, 1\]"),
        ({"creepers_height": 4.1}, r"creepers_height = 4.1 lies outside \[0, 4\]"),
        ({"creepers_spacing": -0.1}, "creepers_spacing = -0.1"),
        ({"input_vector": [0.0, 0.8, 0.0, 0.0]}, r"input_vector has shape \(4,\), not \(3,\)"),
        ({"input_vector": [0.0, 0.5, 0.0]}, r"input_vector\[1\] = 0.5 lies outside \[0.6, 1\]"),
        ({"input_vector": "flat"}, "input_vector = 'flat' is not 3 numbers"),
        ({"water": 1.0}, "did you mean 'water_level'"),
    ],
)
def test_a_wrong_task_is_refused_with_the_name_of_the_parameter(change, message):
    with pytest.raises(ValueError, match=message):
        make().reset(options={"task": TASK | change})


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"body": "fisch"}, "did you mean 'fish'"),
        ({"parameters": ("water",)}, "did you mean 'water_level'"),
        ({"parameters": {"input_vector": (1, -1)}}, "must rise"),
        ({"parameters": {"input_vector": ([0, 0], [1, 1])}}, "range of input_vector"),
        ({"parameters": ("water_level", "creepers_spacing")}, "creepers_spacing needs creepers"),
        ({"fixed": {"water_level": 1.0}}, "both fixed and a task parameter"),
        ({"fixed": {"scale": 0.5}}, r"scale = 0.5 lies outside \[2, 100\]"),
        ({"lidar": "jax"}, "auto, numba, numpy"),
        ({"horizon": 0}, "horizon = 0"),
        ({"velocity_iterations": 1.5}, "velocity_iterations = 1.5"),
        ({"render_mode": "human"}, "render_mode"),
    ],
)
def test_a_wrong_constructor_argument_is_refused_with_the_nearest_choice(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make(**kwargs)


def test_each_kind_of_body_is_tested_first_where_it_belongs_and_the_rest_of_its_tasks_is_the_same():
    sets = {body: make(body).test_sets for body in ("classic_bipedal", "fish", CLIMBER)}
    assert [next(iter(of)) for of in sets.values()] == ["walking", "swimming", "climbing"]
    for of in sets.values():
        assert set(of) == {"walking", "swimming", "climbing", "uniform"}
        water = {name: [float(task["water_level"]) for task in tasks] for name, tasks in of.items()}
        assert set(water["walking"]) == {0.0} and set(water["swimming"]) == {1.0}
        assert 0.0 <= min(water["climbing"]) and 0.7 < max(water["climbing"]) <= 0.8
        assert all(
            np.array_equal(a["input_vector"], b["input_vector"]) for a, b in zip(*list(of.values())[:2], strict=True)
        )
    assert list(make(parameters=("input_vector",)).test_sets) == ["uniform"]
    assert make(parameters={"input_vector": (-1, 1)}).task_space["input_vector"].low.tolist() == [-1.0] * 3


def test_a_fixed_scale_and_no_creepers_reach_the_track():
    env = make(parameters=("input_vector", "water_level"), fixed={"scale": 20.0})
    env.reset(seed=0, options={"task": {"input_vector": VECTOR, "water_level": 1.0}})
    assert len(env._terrain.creepers) == 0
    assert env._terrain.ceiling[0, 1] == pytest.approx(GROUND_HEIGHT + 10)


# -- fitting in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["classic_bipedal", CLIMBER])
def test_the_suite_finds_nothing_wrong_with_it(body):
    findings = check_env(lambda: gym.make("rlteach_envs:rlteach/Parkour-v0", body=body, horizon=300))
    assert len(findings) > 10
    assert [finding for finding in findings if not finding.ok] == []


def test_a_picture_shows_ground_ceiling_creepers_water_and_the_body():
    env = make(CLIMBER, render_mode="rgb_array")
    env.reset(seed=0, options={"task": TASK | {"water_level": 0.87}})
    image = env.render()
    colours = {tuple(colour) for colour in image.reshape(-1, 3).tolist()}
    assert image.shape == (400, 600, 3) and image.dtype == np.uint8
    assert {(120, 115, 110), (112, 129, 96), (127, 51, 229), (215, 235, 255)} <= colours
    fish = make("fish", render_mode="rgb_array")
    fish.reset(seed=0, options={"task": SWIM})
    image = fish.render()
    assert {(120, 172, 229), (105, 165, 80)} <= {tuple(colour) for colour in image.reshape(-1, 3).tolist()}
    # The head is 35 x 24 pixels with two corners cut.
    assert (image == (127, 51, 229)).all(axis=2).sum() == pytest.approx(26 * 24 + 9 * (24 + 8) / 2, rel=0.05)


def test_the_bodies_are_those_of_the_zoo():
    assert BODIES.keys() < PARKOUR_BODIES.keys()
    terrain = ParkourTerrain(np.zeros((2, 2)), np.empty((0, 5)), (), np.ones((2, 2)))
    assert terrain.gap() == 1.0 and walker_world.CEILING != walker_world.GROUND
    assert make("fish")._body.torque == 80.0 and make(CLIMBER)._body.torque == 100.0
    assert START_PAD == 20 * STEP
