"""ToyCubes and the learner that grows on it, against the rule of Portelas et al. (2019) written out by hand."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rlteach_envs.rugged import piece_orders
from rlteach_envs.toy_cubes import ToyCubes, ToyCubesBatch, dead_cubes, previous_neighbours

import rlteach
from rlteach.learners.synthetic import SyntheticLearner, practise
from rlteach.teachers.fixed_tasks import FixedTasks


class Pupil:
    """The rule as published: competence per cube, one episode at a time."""

    def __init__(self, dimensions: int, cubes: int) -> None:
        self.dimensions, self.cubes = dimensions, cubes
        self.competence = dict.fromkeys(itertools.product(range(cubes), repeat=dimensions), 0)

    def episode(self, task: Any) -> float:
        """Play one episode; return its return."""
        index = tuple(min(int(x * self.cubes), self.cubes - 1) for x in task[: self.dimensions])
        earlier = set()
        for lowered in itertools.product((True, False), repeat=self.dimensions):
            earlier.add(tuple(max(0, i - 1) if low else i for i, low in zip(index, lowered, strict=True)))
        earlier.discard(index)
        if index == (0,) * self.dimensions or any(self.competence[other] >= 75 for other in earlier):
            self.competence[index] = min(100, self.competence[index] + 1)
        return self.competence[index] / 100

    def mastered(self) -> float:
        return sum(value > 75 for value in self.competence.values()) / len(self.competence)


def taught(tasks: list[Any], n_envs: int = 1, **kwargs: Any) -> tuple[SyntheticLearner, FixedTasks]:
    """Return a learner that has played the tasks in order."""
    teacher = FixedTasks(tasks)
    venv = rlteach.attach(rlteach.make_vec_env("rlteach/ToyCubes-v0", n_envs, seed=0, env_kwargs=kwargs), teacher)
    learner = SyntheticLearner("", venv)
    learner.learn(len(tasks))
    return learner, teacher


@pytest.mark.parametrize(("dimensions", "cubes", "useless"), [(1, 7, 0), (2, 4, 0), (2, 4, 2), (3, 3, 0)])
def test_competence_and_returns_follow_the_published_rule(dimensions: int, cubes: int, useless: int) -> None:
    rng = np.random.default_rng(dimensions)
    env = ToyCubesBatch(1, dimensions=dimensions, cubes=cubes, useless=useless)
    tasks = []
    for _ in range(1200):
        # Mostly near the origin, so that some cubes are mastered, some half learned and some locked.
        reach = rng.choice([1 / cubes, 2 / cubes, 1.0], p=[0.6, 0.2, 0.2])
        tasks.append(np.concatenate([rng.uniform(0, reach, dimensions), rng.random(useless)]))
    pupil = Pupil(dimensions, cubes)
    expected = [pupil.episode(task.astype(np.float32)) for task in tasks]
    learner, teacher = taught(tasks, dimensions=dimensions, cubes=cubes, useless=useless)
    got = dict(zip(np.ndindex(*(cubes,) * dimensions), learner.competence, strict=True))
    assert got == pupil.competence
    assert {0, 100} <= set(got.values()) and len(set(got.values())) > 2
    returns = [outcome.ret for outcome in teacher.outcomes if outcome is not None]
    assert returns == pytest.approx(expected, abs=1e-6)
    assert [o.success for o in teacher.outcomes if o is not None] == [float(value > 0.75) for value in expected]
    assert env.skill_graph.n_skills == cubes**dimensions


def test_ten_by_ten_cubes_need_7600_episodes_and_an_ideal_order_needs_no_more() -> None:
    env = ToyCubesBatch(1)
    nearest_first = sorted(range(100), key=lambda skill: sum(np.unravel_index(skill, (10, 10))))
    tasks = [env.skill_graph.centre(skill) for skill in nearest_first for _ in range(76)]
    assert len(tasks) == 7600
    learner, _ = taught(tasks, n_envs=76)  # in each step every environment plays an episode, in order
    assert (learner.competence == 76).all()
    almost, backwards = np.zeros(100), np.zeros(100)
    practise(almost, env.skill_graph.skill_of(np.array(tasks[:-1])), env.skill_graph, 1.0)
    assert np.sum(almost > 75) == 99, "one episode fewer leaves one cube: 76 per cube are needed"
    practise(backwards, env.skill_graph.skill_of(np.array(tasks[:75:-1])), env.skill_graph, 1.0)
    assert (backwards == 0).all(), "nothing is learned before its previous neighbour"


def test_the_previous_neighbours_are_those_of_the_paper() -> None:
    assert previous_neighbours((0, 0)) == []
    assert previous_neighbours((0, 3)) == [(0, 2)]
    assert previous_neighbours((2, 3)) == [(1, 2), (1, 3), (2, 2)]
    assert len(previous_neighbours((1, 1, 1))) == 7


def test_a_neighbour_unlocks_at_75_and_counts_as_mastered_above_it() -> None:
    origin, second = np.array([0.05, 0.05]), np.array([0.05, 0.15])
    locked, _ = taught([origin] * 74 + [second] * 5)
    unlocked, teacher = taught([origin] * 75 + [second] * 5)
    assert locked.competence[1] == 0 and unlocked.competence[1] == 5
    outcomes = [outcome for outcome in teacher.outcomes if outcome is not None]
    assert outcomes[74].ret == pytest.approx(0.75) and outcomes[74].success == 0.0


def test_the_primary_test_set_scores_the_share_of_live_cubes_mastered() -> None:
    for kwargs, live in (({}, 100), ({"dead": 0.5}, 50), ({"rotation": 30.0}, 100), ({"useless": 3, "cubes": 4}, 16)):
        env = ToyCubes(**kwargs)
        assert list(env.test_sets) == ["cubes"] and len(env.test_sets["cubes"]) == live
        assert all(env.task_space.contains(task) for task in env.test_sets["cubes"])
        skills = env.skill_graph.skill_of(np.array(env.test_sets["cubes"]))
        assert len(set(skills.tolist())) == live and (skills >= 0).all()


def test_dead_cubes_learn_nothing_and_leave_every_live_one_learnable() -> None:
    for dimensions, cubes, share in ((2, 10, 0.5), (3, 4, 0.3), (2, 5, 0.9)):
        live = dead_cubes(dimensions, cubes, share)
        assert live[0] and (~live).sum() <= int(share * cubes**dimensions)
        assert (dead_cubes(dimensions, cubes, share) == live).all()
        shape = (cubes,) * dimensions
        reached = {(0,) * dimensions}
        for index in sorted(np.ndindex(*shape), key=sum):
            if live[np.ravel_multi_index(index, shape)] and reached & set(previous_neighbours(index)):
                reached.add(index)
        assert len(reached) == live.sum()
    assert (~dead_cubes(2, 10, 0.5)).sum() == 50
    assert dead_cubes(2, 10, 0.0).all()


def test_an_episode_in_a_dead_cube_is_wasted() -> None:
    env = ToyCubes(dead=0.5)
    graph = env.skill_graph
    dead = int(np.flatnonzero(~graph.live)[0])
    middle = (np.array(np.unravel_index(dead, (10, 10))) + 0.5) / 10
    assert graph.skill_of(middle[None]).tolist() == [-1]
    learner, teacher = taught([np.array([0.05, 0.05])] * 80 + [middle] * 20, dead=0.5)
    assert learner.competence[dead] == 0 and learner.competence[0] == 80
    assert [outcome.ret for outcome in teacher.outcomes[80:] if outcome is not None] == [0.0] * 20


def test_a_learner_can_master_every_live_cube() -> None:
    env = ToyCubes(cubes=4, dead=0.4)
    order = sorted(np.flatnonzero(env.skill_graph.live), key=lambda skill: sum(np.unravel_index(skill, (4, 4))))
    learner, _ = taught([env.skill_graph.centre(int(s)) for s in order for _ in range(76)], cubes=4, dead=0.4)
    assert (learner.competence[env.skill_graph.live] == 76).all()


def test_useless_dimensions_change_nothing() -> None:
    rng = np.random.default_rng(0)
    tasks = [rng.uniform(0, 0.3, 2) for _ in range(1000)]
    plain, _ = taught(tasks)
    padded, _ = taught([np.concatenate([task, rng.random(4)]) for task in tasks], useless=4)
    assert (plain.competence == padded.competence).all() and plain.competence.max() == 100
    assert ToyCubes(useless=4).task_space.shape == (6,)


@pytest.mark.parametrize("degrees", [1.0, 30.0, 45.0, 90.0, 200.0, -30.0])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_rotated_grid_fits_into_the_box_and_its_map_has_an_inverse(degrees: float, dimensions: int) -> None:
    graph = ToyCubes(rotation=degrees, dimensions=dimensions, cubes=5).skill_graph
    corners = np.array(list(itertools.product((0.0, 1.0), repeat=dimensions)))
    placed = np.array([graph._from_grid(corner) for corner in corners])
    assert placed.min() > -1e-12 and placed.max() < 1 + 1e-12
    assert min(placed[:, 0].min(), placed[:, 1].min()) == pytest.approx(0, abs=1e-12), "no larger than it must be"
    points = np.random.default_rng(0).random((50, dimensions))
    assert graph._to_grid(np.array([graph._from_grid(p) for p in points])) == pytest.approx(points, abs=1e-12)
    centres = np.array([graph.centre(skill) for skill in range(graph.n_skills)])
    assert graph.skill_of(centres).tolist() == list(range(graph.n_skills))
    # A rotation keeps shapes: all neighbouring centres along the first axis are equally far apart.
    gaps = np.linalg.norm(centres[5 ** (dimensions - 1) :] - centres[: -(5 ** (dimensions - 1))], axis=1)
    assert gaps == pytest.approx(gaps[0])


def test_a_rotation_turns_by_the_stated_angle_and_leaves_the_corners_infeasible() -> None:
    graph = ToyCubes(rotation=30.0).skill_graph
    direction = graph.centre(90) - graph.centre(0)  # along the first axis of the grid
    assert np.rad2deg(np.arctan2(direction[1], direction[0])) == pytest.approx(30.0)
    assert graph.skill_of(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])).tolist() == [-1] * 4
    points = np.random.default_rng(0).random((20_000, 2))
    expected = 1 / (np.cos(np.pi / 6) + np.sin(np.pi / 6)) ** 2
    assert np.mean(graph.skill_of(points) >= 0) == pytest.approx(expected, abs=0.02)


def test_the_return_carries_normal_noise_and_success_does_not() -> None:
    env = ToyCubesBatch(2000, noise=0.2)
    rng_free = []
    for seed in range(5):
        env.reset(seed=10_000 * seed)
        _, rewards, terminations, truncations, infos = env.step(np.full((2000, 1), 0.7, np.float32))
        rng_free.append(rewards - np.float64(np.float32(0.7)))
        assert terminations.all() and not truncations.any() and not infos["is_success"].any()
    noise = np.concatenate(rng_free)
    assert noise.std() == pytest.approx(0.2, rel=0.03) and abs(noise.mean()) < 0.01
    assert np.mean(np.abs(noise) < 0.2) == pytest.approx(0.683, abs=0.02)
    quiet = ToyCubesBatch(3)
    quiet.reset(seed=0)
    claims = np.array([[0.2], [0.76], [1.0]], np.float32)
    _, rewards, _, _, infos = quiet.step(claims)
    assert (rewards == claims[:, 0].astype(np.float64)).all() and infos["is_success"].tolist() == [False, True, True]


VARIANTS: list[dict[str, Any]] = [
    {},
    {"dimensions": 3, "cubes": 5},
    {"useless": 4},
    {"dead": 0.5},
    {"rotation": 30.0},
    {"dimensions": 1, "cubes": 2},
    {"box_scale": 2.25},
    {"trivial": 0.8},
    {"shuffle": 0},
    {"mirrored": [0, 1]},
    {"shuffle": 3, "trivial": 0.4, "box_scale": 1.5, "rotation": 20.0, "mirrored": [1], "dead": 0.2, "useless": 1},
]
BUILT = [ToyCubesBatch(1, **kwargs) for kwargs in VARIANTS]


@settings(max_examples=80, deadline=None)
@given(st.floats(0, 1), st.integers(0, 2**32), st.sampled_from(BUILT))
def test_the_oracle_stays_in_learnable_cubes_for_any_progress(progress: float, seed: int, env: ToyCubesBatch) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(5):
        task = env.oracle_window(progress, rng)
        assert env.task_space.contains(task)
        assert env.skill_graph.skill_of(task[None])[0] >= 0


def test_in_a_larger_box_the_grid_lies_in_the_middle_and_the_rest_is_infeasible() -> None:
    graph = ToyCubes(box_scale=2.5).skill_graph
    assert graph.centre(0) == pytest.approx([0.5 - 0.2 + 0.02] * 2) and graph.centre(99) == pytest.approx([0.68] * 2)
    points = np.random.default_rng(0).random((20_000, 2))
    inside = (abs(points - 0.5) < 0.2).all(axis=1)
    assert ((graph.skill_of(points) >= 0) == inside).all()
    assert inside.mean() == pytest.approx(1 / 2.5**2, abs=0.01)
    learner, teacher = taught([np.array([0.31, 0.31])] * 80 + [np.array([0.05, 0.9])] * 9, box_scale=2.5)
    assert learner.competence[0] == 80 and learner.competence.sum() == 80
    assert [o.ret for o in teacher.outcomes[80:] if o is not None] == [0.0] * 9


def test_a_trivial_part_of_the_box_succeeds_at_once_and_teaches_nothing() -> None:
    graph = ToyCubes(trivial=0.8).skill_graph
    assert graph.centre(0) == pytest.approx([0.8 + 0.2 * 0.05, 0.05])
    rng = np.random.default_rng(0)
    points = rng.random((20_000, 2))
    assert (graph.is_trivial(points) == (points[:, 0] < 0.8)).all()
    assert ((graph.skill_of(points) >= 0) == (points[:, 0] >= 0.8)).all()
    easy = [np.array([rng.uniform(0, 0.79), rng.random()]) for _ in range(50)]
    learner, teacher = taught([*easy, np.array([0.99, 0.99])], trivial=0.8)
    outcomes = [outcome for outcome in teacher.outcomes if outcome is not None]
    assert [(o.ret, o.success) for o in outcomes] == [(1.0, 1.0)] * 50 + [(0.0, 0.0)]
    assert not learner.competence.any()
    env = ToyCubesBatch(400, trivial=0.8, noise=0.2)
    env.reset(seed=0, options={"task": np.tile([0.1, 0.5], (400, 1))})
    _, rewards, _, _, _ = env.step(np.zeros((400, 1), np.float32))
    assert rewards.mean() == pytest.approx(1.0, abs=0.04) and rewards.std() == pytest.approx(0.2, rel=0.15)


def test_a_mirrored_learner_begins_in_another_corner() -> None:
    for axes, corner in (([0], [0.95, 0.05]), ([1], [0.05, 0.95]), ([0, 1], [0.95, 0.95])):
        graph = ToyCubes(mirrored=axes).skill_graph
        assert graph.centre(0) == pytest.approx(corner)
        rng = np.random.default_rng(0)
        tasks = rng.uniform(0, 0.2, (500, 2))
        there = np.where(np.isin([0, 1], axes), 1 - tasks, tasks)
        plain, _ = taught(list(tasks))
        mirrored, _ = taught(list(there), mirrored=axes)
        assert (plain.competence == mirrored.competence).all() and plain.competence.max() == 100


def test_shuffled_axes_are_the_plain_ones_cut_in_four_and_put_in_another_order() -> None:
    plain, rugged = ToyCubes().skill_graph, ToyCubes(shuffle=0).skill_graph
    orders = piece_orders(2, 0)
    points = np.random.default_rng(0).random((5000, 2))
    by_hand = np.array(
        [[(orders[axis][int(4 * x)] + 4 * x % 1) / 4 for axis, x in enumerate(point)] for point in points]
    )
    assert (rugged.skill_of(points) == plain.skill_of(by_hand)).all()
    assert np.mean(rugged.skill_of(points) == plain.skill_of(points)) < 0.2
    counts = np.bincount(rugged.skill_of(points), minlength=100)
    assert counts.min() > 20 and counts.max() < 90, "every cube keeps its share of the box"


@pytest.mark.parametrize("kwargs", VARIANTS)
def test_the_batch_equals_single_environments_and_every_variant_can_be_mastered(kwargs: dict[str, Any]) -> None:
    batch = ToyCubesBatch(3, noise=0.1, **kwargs)
    singles = [ToyCubes(noise=0.1, **kwargs) for _ in range(3)]
    tasks = np.random.default_rng(0).random((20, 3, batch.task_space.shape[0]))
    batch.reset(seed=5)
    for index, single in enumerate(singles):
        single.reset(seed=5 + index)
    for row in tasks:
        observations, _ = batch.reset(options={"task": row})
        firsts = [single.reset(options={"task": task})[0] for single, task in zip(singles, row, strict=True)]
        assert np.array_equal(observations, firsts)
        claims = np.full((3, 1), 0.76, np.float32)
        _, rewards, _, _, infos = batch.step(claims)
        steps = [single.step(claims[0]) for single in singles]
        assert [step[1] for step in steps] == rewards.tolist()
        assert [step[4]["is_success"] for step in steps] == infos["is_success"].tolist()
    graph = batch.skill_graph
    live = np.flatnonzero(graph.live)
    order = sorted(live, key=lambda skill: sum(np.unravel_index(skill, (graph.cubes,) * graph.dimensions)))
    competence = np.zeros(graph.n_skills)
    for skill in order:
        seen = np.array([batch.test_sets["cubes"][int(np.searchsorted(live, skill))]], np.float32)
        practise(competence, graph.skill_of(np.repeat(seen, 76, axis=0)), graph, 1.0)
    assert (competence[live] == 76).all() and competence.sum() == 76 * len(live)


@pytest.mark.parametrize("kwargs", [{"box_scale": 0.5}, {"trivial": 1.0}, {"mirrored": [2]}, {"trivial": -0.1}])
def test_variants_that_cannot_be_are_refused(kwargs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        ToyCubes(**kwargs)


def test_the_oracle_goes_from_the_origin_to_everything() -> None:
    env = ToyCubesBatch(1)
    rng = np.random.default_rng(0)

    def skills(progress: float) -> set[int]:
        tasks = np.array([env.oracle_window(progress, rng) for _ in range(3000)])
        return set(env.skill_graph.skill_of(tasks).tolist())

    assert skills(0.0) == {0, 1, 10}
    assert {sum(np.unravel_index(skill, (10, 10))) for skill in skills(0.5)} == {8, 9, 10}
    assert skills(1.0) == set(range(100))


@pytest.mark.parametrize("kwargs", VARIANTS)
def test_feasible_is_what_can_be_learned_and_what_succeeds_by_itself(kwargs: dict[str, Any]) -> None:
    env = ToyCubesBatch(1, **kwargs)
    assert all(env.feasibility(task) for task in env.test_sets["cubes"])
    draws = np.random.default_rng(0).random((2000, env.task_space.shape[0]))
    feasible = np.array([env.feasibility(task) for task in draws])
    learnable, trivial = env.skill_graph.skill_of(draws) >= 0, env.skill_graph.is_trivial(draws)
    assert (feasible == learnable | trivial).mean() > 0.999, "all but those on an edge in float32"
    grid = (1 - kwargs.get("dead", 0.0)) / kwargs.get("box_scale", 1.0) ** kwargs.get("dimensions", 2)
    degrees = np.deg2rad(kwargs.get("rotation", 0.0))
    turned = grid / (abs(np.cos(degrees)) + abs(np.sin(degrees))) ** 2
    easy = kwargs.get("trivial", 0.0)
    assert feasible.mean() == pytest.approx(easy + (1 - easy) * turned, abs=0.03)


def test_what_is_infeasible_is_never_learned_and_what_is_feasible_can_be() -> None:
    kwargs: dict[str, Any] = {"cubes": 3, "dead": 0.4, "trivial": 0.3, "box_scale": 1.5, "rotation": 20.0}
    env = ToyCubes(**kwargs)
    batch = env._batch
    assert isinstance(batch, ToyCubesBatch)
    graph = env.skill_graph
    order = sorted(np.flatnonzero(graph.live), key=lambda skill: sum(np.unravel_index(skill, (3, 3))))
    ideal = [graph.centre(int(skill)) for skill in order for _ in range(76)]
    probes = list(np.random.default_rng(1).random((60, 2)))
    _, teacher = taught([*ideal, *probes], **kwargs)
    earned = [outcome.success for outcome in teacher.outcomes[len(ideal) :] if outcome is not None]
    assert earned == [float(batch.feasibility(probe)) for probe in probes] and 0 < sum(earned) < 60


@pytest.mark.parametrize("form", [ToyCubes, ToyCubesBatch])
def test_every_dimension_has_a_name_and_a_unit(form: Any) -> None:
    env = form(dimensions=3, cubes=2, useless=2)
    space = rlteach.TaskSpace.of(env.task_space, env)
    assert space.names == ("x0", "x1", "x2", "useless0", "useless1")
    assert [parameter.unit for parameter in space.parameters] == ["1"] * 5
    with pytest.raises(ValueError, match=r"useless1 = 2 of row 0 lies outside \[0, 1\]"):
        ToyCubesBatch(1, cubes=2, useless=2).reset(options={"task": np.array([[0.1, 0.1, 0.5, 2.0]])})


GREY, WHITE = (60, 60, 60), (255, 255, 255)


@pytest.mark.parametrize("kwargs", VARIANTS)
def test_a_picture_shows_the_task_and_what_can_be_learned_where(kwargs: dict[str, Any]) -> None:
    env = ToyCubes(render_mode="rgb_array", **kwargs)
    graph, rng, shown = env.skill_graph, np.random.default_rng(0), min(2, env.task_space.shape[0])
    reds: dict[int, int] = {}
    kinds, before = set(), None
    for _ in range(150):
        task = rng.random(env.task_space.shape[0])
        env.reset(options={"task": task})
        image = env.render()
        assert image.dtype == np.uint8 and image.shape == (160, 160, 3)
        assert before is None or not np.array_equal(image, before), "another task, another picture"
        before = image
        across, up = (*task, 0.5)[:2]
        assert tuple(image[int((1 - up) * 160), int(across * 160)]) == (40, 80, 220)
        # Another place of the cut through the box that the task lies in, away from the dot and from every line.
        column, row = rng.integers(3, 157, 2)
        around = np.tile(task, (4, 1))
        corners = itertools.product((column - 1.0, column + 2.0), (158.0 - row, 161.0 - row))
        around[:, :shown] = np.array(list(corners))[:, :shown] / 160
        skills, trivial = graph.skill_of(around), graph.is_trivial(around)
        near = abs(column - across * 160) < 9 and abs(row - (1 - up) * 160) < 9
        if near or len(set(skills)) > 1 or len(set(trivial)) > 1:
            continue
        red, green, _ = colour = tuple(image[row, column].tolist())
        kinds.add("trivial" if trivial[0] else "learnable" if skills[0] >= 0 else "hopeless")
        if trivial[0] or skills[0] < 0:
            assert colour == (WHITE if trivial[0] else GREY)
        else:
            assert green > red
            distance = max(np.unravel_index(skills[0], (graph.cubes,) * graph.dimensions))
            assert reds.setdefault(int(distance), red) == red
    shades = [reds[distance] for distance in sorted(reds)]
    assert shades == sorted(set(shades), reverse=True), "the farther, the darker"
    expected = {"learnable"} | ({"trivial"} & kwargs.keys())
    assert kinds == expected | ({"hopeless"} if {"dead", "rotation", "box_scale"} & kwargs.keys() else set())
