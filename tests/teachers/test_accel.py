"""ACCEL: edits of what was replayed, which of it is edited, and the path from a simple start."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from hypothesis import given
from hypothesis import strategies as st

from rlteach.errors import ConfigError, InvalidValue
from rlteach.task_space import TaskSpace
from rlteach.teachers.accel import ACCEL, easiest, edited_vector, reflected
from rlteach.teachers.level_buffer import as_levels
from rlteach.teachers.uniform import Uniform
from rlteach.testing.teachers import SPACES
from tests.teachers.students import points_of
from tests.teachers.test_level_buffer import Climber
from tests.teachers.test_robust_plr import assert_sound_with_roll_outs, counted, observe_all

SQUARE = Box(0.0, 1.0, (2,), np.float64)
MIXED = Dict(kind=Discrete(4), x=Box(0.0, 1.0, (), np.float64))

# -- edits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "expected"), [(0.3, 0.3), (-0.2, 0.2), (1.25, 0.75), (0.0, 0.0), (1.0, 1.0)])
def test_what_leaves_the_cube_is_folded_back(value, expected):
    assert reflected(value) == pytest.approx(expected)


@given(seed=st.integers(0, 10_000), size=st.floats(0.01, 1.0), x=st.floats(0, 1), level=st.integers(0, 3))
def test_an_edit_changes_one_parameter_by_a_step_of_the_stated_size(seed, size, x, level):
    point = np.array([(level + 0.5) / 4, x])
    edited = edited_vector(point, [4, 0], size, np.random.default_rng(seed))
    assert (edited >= 0).all() and (edited <= 1).all()
    change = np.abs(edited - point)
    assert np.count_nonzero(change) <= 1
    assert change[1] <= size + 1e-12
    steps = change[0] * 4
    assert steps == pytest.approx(round(steps)) and round(steps) <= max(1, np.ceil(4 * size))


def test_edits_reach_every_level_and_do_not_pile_up_on_the_border():
    rng, point = np.random.default_rng(0), np.array([0.125, 0.02])
    visited = np.array([point := edited_vector(point, [4, 0], 0.2, rng) for _ in range(4000)])
    assert set(np.floor(4 * visited[:, 0])) == {0, 1, 2, 3}
    assert np.mean((visited[:, 1] < 0.001) | (visited[:, 1] > 0.999)) < 0.02
    np.testing.assert_allclose(np.histogram(visited[:, 1], 4, (0, 1))[0] / 4000, 0.25, atol=0.08)


def test_the_easiest_levels_are_those_of_high_return_and_low_regret():
    returns, regrets = np.array([1.0, 9.0, 5.0, 9.0, 0.0]), np.array([0.0, 1.0, 0.0, 8.0, 0.0])
    # 1, 8, 5, 1, 0: the published code sorts ascending and takes 4, 0, 3
    assert easiest(returns, regrets, 3).tolist() == [1, 2, 0]


# -- which levels are edited -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("base", "children"), [("all", 8), ("easy", 4)])
def test_a_batch_of_replayed_levels_has_the_stated_number_of_children(base, children):
    teacher = counted(ACCEL, SQUARE, base_levels=base, replay_probability=1.0, rollout_batch=8, capacity=64)
    teacher.forget([lesson.id for lesson in teacher.propose(1)])
    played = len(teacher.rollouts.tasks)
    for _ in range(7):
        observe_all(teacher, teacher.propose(1))
    assert len(teacher.rollouts.tasks) == played
    observe_all(teacher, teacher.propose(1))
    teacher.propose(1)
    assert len(teacher.rollouts.tasks) == played + children


def test_children_are_a_few_edits_from_a_replayed_level_and_are_offered_to_the_buffer():
    teacher = counted(ACCEL, SQUARE, edits=1, edit_size=0.01, replay_probability=1.0, rollout_batch=4, capacity=64)
    parents = []
    for _ in range(4):
        lessons = teacher.propose(1)
        parents += points_of(teacher, lessons).tolist()
        observe_all(teacher, lessons)
    before = len(teacher.buffer)
    teacher.propose(1)
    children = np.array(teacher.rollouts.tasks[-4:])
    np.testing.assert_array_less(np.abs(children - parents).sum(axis=1), 0.01 + 1e-12)
    assert len(teacher.buffer) == before + 4
    assert all(teacher.buffer.find(child) is not None for child in as_levels(teacher.task_space, children))


def test_only_easy_parents_are_edited_when_asked_for():
    teacher = counted(ACCEL, SQUARE, base_levels="easy", edits=1, edit_size=1e-6, rollout_batch=8, capacity=64)
    rows = []
    for _ in range(8):
        lessons = teacher.propose(1)
        observe_all(teacher, lessons)
        point = points_of(teacher, lessons)[0]
        rows.append((np.sin(20 * point.sum()) - teacher.buffer.scores[teacher.buffer.find(point)], *point))
    best = np.array(sorted(rows, reverse=True)[:4])[:, 1:]
    np.testing.assert_allclose(np.array(teacher._children), best, atol=1e-5)


def test_without_roll_outs_the_children_are_the_new_levels():
    teacher = ACCEL(SQUARE, seed=0, edits=1, edit_size=1e-3, capacity=32, start={"task": [0.5, 0.5]})
    play = counted(ACCEL, SQUARE).rollouts
    teacher_points = []
    for _ in range(400):
        lessons = teacher.propose(1)
        teacher_points += points_of(teacher, lessons).tolist()
        teacher.rollouts = play
        observe_all(teacher, lessons)
        teacher.rollouts = None
    distance = np.abs(np.array(teacher_points) - 0.5).max(axis=1)
    assert distance[:5].max() <= 1e-3 < distance.max() < 0.1
    assert len(teacher._children) <= 4 * teacher.rollout_batch


# -- start and edit_task -----------------------------------------------------------------------------------------------


def test_the_buffer_is_filled_from_the_start():
    teacher = counted(ACCEL, MIXED, start={"kind": 2, "x": 0.25}, edits=1, edit_size=0.05)
    teacher.propose(1)
    levels = teacher.buffer.levels
    assert (np.abs(levels[:, 1] - 0.25) <= 0.05).all()
    assert set(np.floor(4 * levels[:, 0])) <= {1, 2, 3}


def test_a_start_that_is_no_task_is_refused():
    with pytest.raises(ConfigError, match="kindd"):
        ACCEL(MIXED, start={"kindd": 2, "x": 0.25})


def test_the_environments_own_edit_is_used():
    def turn(task, rng):
        return {"kind": np.int64((task["kind"] + 1) % 4), "x": task["x"]}

    teacher = counted(ACCEL, MIXED, edit_task=turn, edits=3, replay_probability=1.0, rollout_batch=1, capacity=64)
    for _ in range(20):
        lessons = teacher.propose(1)
        observe_all(teacher, lessons)
        (child,) = teacher._children
        task = teacher.task_space.from_unit(child)
        assert task["kind"] == (lessons[0].task["kind"] + 3) % 4 and task["x"] == pytest.approx(lessons[0].task["x"])


def test_an_edit_that_returns_no_task_is_named():
    teacher = counted(ACCEL, SQUARE, edit_task=lambda task, rng: task + 2.0, rollout_batch=1)
    with pytest.raises(InvalidValue, match=r"edit_task returned .* which is no task of"):
        observe_all(teacher, teacher.propose(1))


# -- promises ----------------------------------------------------------------------------------------------------------


def test_it_keeps_the_promises_of_a_teacher_with_roll_outs_too():
    assert_sound_with_roll_outs(ACCEL, capacity=32)


@pytest.mark.parametrize("space", SPACES)
def test_children_are_tasks_of_every_space(space):
    tasks = TaskSpace.of(SPACES[space])
    teacher = counted(ACCEL, tasks, edits=5, edit_size=1.0)
    for _ in range(20):
        observe_all(teacher, teacher.propose(8))
    assert all(tasks.contains(task) for task in teacher.rollouts.tasks)


def test_hyperparameters_out_of_range_are_refused():
    with pytest.raises(ConfigError) as caught:
        ACCEL(SQUARE, edits=0, edit_size=2.0)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["edits", "edit_size"]
    with pytest.raises(ConfigError, match="base_levels = 'batch' must be one of all, easy"):
        ACCEL(SQUARE, base_levels="batch")


@pytest.mark.parametrize("start", [None, {"task": [0.0, 0.5]}])
def test_a_student_climbs_faster_than_on_uniform_tasks_although_children_are_charged(start):
    accel, uniform = [], []
    for seed in range(2):
        climber = Climber(ACCEL(SQUARE, seed=seed, start=start), seed=seed)
        climber.teacher.rollouts = climber.rollouts
        accel.append(climber.train(1000))
        uniform.append(Climber(Uniform(SQUARE, seed=seed), seed=seed).train(1000))
    assert min(accel) > 1.4 * max(uniform)
