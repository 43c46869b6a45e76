"""Robust level replay: only replayed levels are trained on, and what the others cost."""

from functools import partial

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from rlteach.errors import ConfigError
from rlteach.files import pack_state, unpack_state
from rlteach.lesson import Outcome
from rlteach.task_space import TaskSpace
from rlteach.teachers.robust_plr import RobustPLR, new_levels_per_lesson
from rlteach.teachers.uniform import Uniform
from rlteach.testing.teachers import SPACES
from tests.teachers.students import drawn, points_of
from tests.teachers.test_level_buffer import Climber, roll_outs

SQUARE = Box(0.0, 1.0, (2,), np.float64)


def with_roll_outs(cls):
    """Return a function that builds a teacher whose roll-outs are those of a student that does not change."""

    def make(space, *, seed, **hyperparameters):
        teacher = cls(space, seed=seed, **hyperparameters)
        teacher.rollouts = roll_outs(space)
        return teacher

    return make


class Counted:
    """Roll-outs that are counted, with the levels that were asked for."""

    def __init__(self, space):
        self.play, self.tasks, self.calls, self.signals = roll_outs(space), [], 0, set()

    def __call__(self, tasks, *, repeats=1, signals=frozenset()):
        self.tasks += tasks
        self.calls += 1
        self.signals.add(signals)
        return self.play(tasks, repeats=repeats, signals=signals)


def counted(cls, space, **hyperparameters):
    teacher = cls(space, seed=0, **hyperparameters)
    teacher.rollouts = Counted(space)
    return teacher


def observe_all(teacher, lessons):
    outcomes = teacher.rollouts.play([lesson.task for lesson in lessons], signals=teacher.needs)
    teacher.observe(
        [
            Outcome(lesson.id, o.ret, o.discounted_ret, 3, o.success, True, o.signals)
            for lesson, o in zip(lessons, outcomes, strict=True)
        ]
    )


def assert_sound_with_roll_outs(cls, **hyperparameters):
    """Check what `check_teacher` does not, since it knows no roll-outs: lessons in every space, and resuming."""
    make = partial(with_roll_outs(cls), **hyperparameters)
    for space in SPACES.values():
        tasks = TaskSpace.of(space)
        one, play = make(tasks, seed=0), roll_outs(tasks)

        def go_on(teacher, batches, play=play):
            lessons = []
            for _ in range(batches):
                lessons += (out := teacher.propose(8))
                teacher.observe(
                    [
                        Outcome(lesson.id, o.ret, o.ret, 3, o.success, True, o.signals)
                        for lesson, o in zip(out, play([lesson.task for lesson in out]), strict=True)
                    ]
                )
            return lessons

        assert all(tasks.contains(lesson.task) for lesson in go_on(one, 6))
        other = make(tasks, seed=1)
        other.load_state_dict(unpack_state(*pack_state(one.state_dict())))
        assert points_of(one, go_on(one, 5)).tolist() == points_of(other, go_on(other, 5)).tolist()


@pytest.mark.parametrize(("replay", "new"), [(0.8, 0.25), (0.5, 1.0), (1.0, 0.0)])
def test_new_levels_per_lesson_keep_the_share_of_the_paper(replay, new):
    assert new_levels_per_lesson(replay) == pytest.approx(new)
    assert 1 / (1 + new_levels_per_lesson(replay)) == pytest.approx(replay)


@pytest.mark.parametrize("batch", [1, 8])
def test_every_lesson_is_a_level_that_roll_outs_have_scored(batch):
    teacher = counted(RobustPLR, SQUARE, capacity=64)
    for _ in range(120 // batch):
        lessons = teacher.propose(batch)
        scored = set(map(tuple, teacher.rollouts.tasks))
        assert {tuple(point) for point in points_of(teacher, lessons)} <= scored
        assert {lesson.origin for lesson in lessons} == {"robust_plr/replay"}
        observe_all(teacher, lessons)
    assert teacher.rollouts.signals == {frozenset({"advantages"})}


@pytest.mark.parametrize("replay", [0.5, 0.8])
def test_roll_outs_cost_what_is_stated(replay):
    teacher = counted(RobustPLR, SQUARE, capacity=64, min_fill=0.25, replay_probability=replay, rollout_batch=8)
    for _ in range(500):
        observe_all(teacher, teacher.propose(1))
    assert len(teacher.rollouts.tasks) == pytest.approx(16 + 500 * (1 - replay) / replay, abs=10)
    assert teacher.rollouts.calls <= 1 + len(teacher.rollouts.tasks) / 8


def test_a_roll_out_scores_a_level_by_its_signals_and_is_never_counted_as_a_lesson():
    teacher = counted(RobustPLR, SQUARE, capacity=8, min_fill=1.0)
    teacher.propose(1)
    expected = [
        max(np.sin(20 * x), 0) / 3 + max(-np.sin(20 * x), 0) / 3 + 0.5 / 3 for x in teacher.buffer.levels.sum(1)
    ]
    np.testing.assert_allclose(teacher.buffer.scores, expected)
    assert list(teacher._issued) == [0]


def test_a_finite_space_costs_nothing_more_once_every_task_is_known():
    teacher = counted(RobustPLR, MultiDiscrete([2, 3]), min_fill=0.5)
    while not teacher.knows_every_task:
        observe_all(teacher, teacher.propose(1))
    before = len(teacher.rollouts.tasks)
    for _ in range(100):
        observe_all(teacher, teacher.propose(1))
    assert len(teacher.rollouts.tasks) == before and len(teacher.buffer) == 6


def test_without_roll_outs_new_levels_are_trained_on():
    teacher = RobustPLR(SQUARE, seed=0, capacity=32)
    play = roll_outs(SQUARE)
    origins = []
    for _ in range(300):
        lessons = teacher.propose(1)
        origins += [lesson.origin for lesson in lessons]
        (o,) = play([lessons[0].task], signals=teacher.needs)
        teacher.observe([Outcome(lessons[0].id, o.ret, o.ret, 3, o.success, True, o.signals)])
    assert set(origins) == {"robust_plr/new", "robust_plr/replay"}


def test_lessons_are_uniform_when_no_roll_out_tells_anything():
    teacher = RobustPLR(SQUARE, seed=0)
    teacher.rollouts = lambda tasks, *, repeats=1, signals=frozenset(): [
        Outcome(-1, np.nan, 0.0, 1, 0.0, True) for _ in tasks
    ]
    with pytest.warns(RuntimeWarning, match="RobustPLR ignores outcomes that are not finite"):
        assert {lesson.origin for lesson in teacher.propose(4)} == {"robust_plr/bootstrap"}


def test_it_keeps_the_promises_of_a_teacher_with_roll_outs_too():
    assert_sound_with_roll_outs(RobustPLR, capacity=32)


def test_seed_zero_is_a_seed():
    make = with_roll_outs(RobustPLR)
    assert drawn(make(SQUARE, seed=0), 20) == drawn(make(SQUARE, seed=0), 20) != drawn(make(SQUARE, seed=1), 20)
    assert {int(lesson.task) for lesson in make(Discrete(3), seed=0).propose(100)} <= {0, 1, 2}


def test_hyperparameters_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="rollout_batch = 0"):
        RobustPLR(SQUARE, rollout_batch=0)
    with pytest.raises(ConfigError, match="replay_probability = 0"):
        RobustPLR(SQUARE, replay_probability=0)


def test_a_student_climbs_faster_than_on_uniform_tasks_although_roll_outs_are_charged():
    robust, uniform = [], []
    for seed in range(2):
        climber = Climber(RobustPLR(SQUARE, seed=seed), seed=seed)
        climber.teacher.rollouts = climber.rollouts
        robust.append(climber.train(1000))
        assert 0.2 < climber.charged / (climber.charged + climber.trained) < 0.3
        uniform.append(Climber(Uniform(SQUARE, seed=seed), seed=seed).train(1000))
    assert min(robust) > 1.4 * max(uniform)
