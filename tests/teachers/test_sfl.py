"""Sampling for learnability: what is tried, what is kept, and what it costs."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from rlteach.errors import ConfigError
from rlteach.lesson import Outcome
from rlteach.teachers.sfl import SFL, learnability, most_learnable
from rlteach.teachers.uniform import Uniform
from tests.teachers.students import drawn, play, points_of
from tests.teachers.test_level_buffer import Climber
from tests.teachers.test_robust_plr import Counted, assert_sound_with_roll_outs, with_roll_outs

SQUARE = Box(0.0, 1.0, (2,), np.float64)


class Sometimes:
    """Roll-outs of a student that solves every other play of the tasks between 0.4 and 0.5, and all of those below."""

    def __init__(self, space):
        self.space, self.tasks, self.repeats = space, [], []

    def __call__(self, tasks, *, repeats=1, signals=frozenset()):
        self.tasks.append(len(tasks))
        self.repeats.append(repeats)
        successes = [
            float(x < 0.4 or (x < 0.5 and repeat % 2 == 0))
            for x in (task[0] for task in tasks)
            for repeat in range(repeats)
        ]
        return [Outcome(-1, success, success, 1, success, True) for success in successes]


def test_learnability_is_the_variance_of_a_success():
    rates = np.array([0.0, 0.25, 0.5, 1.0])
    coins = [np.array([0, 0, 0, 0]), np.array([0, 0, 0, 1]), np.array([0, 1, 0, 1]), np.ones(4)]
    np.testing.assert_allclose(learnability(rates), [coin.var() for coin in coins])


def test_only_learnable_tasks_are_kept_and_the_most_learnable_first():
    scores = np.array([0.0, 0.1, 0.25, 0.0, 0.2])
    assert most_learnable(scores, 2).tolist() == [2, 4]
    # the published code fills up with tasks of learnability 0, which may be impossible
    assert most_learnable(scores, 5).tolist() == [2, 4, 1]
    assert most_learnable(np.array([0.0, np.nan]), 5).tolist() == []


def test_lessons_come_from_the_learnable_tasks_and_from_all():
    teacher = SFL(SQUARE, seed=0, candidates=400, keep=10, learnable_share=0.7)
    teacher.rollouts = Sometimes(SQUARE)
    lessons = teacher.propose(4000)
    kept = np.array([lesson.origin == "sfl" for lesson in lessons])
    points = points_of(teacher, lessons)
    assert kept.mean() == pytest.approx(0.7, abs=0.03)
    assert ((points[kept, 0] > 0.4) & (points[kept, 0] < 0.5)).all() and len(np.unique(points[kept], axis=0)) == 10
    np.testing.assert_allclose(points[~kept].mean(axis=0), 0.5, atol=0.05)
    assert teacher.rollouts.tasks == [400] and teacher.rollouts.repeats == [2]


def test_the_set_is_refreshed_after_the_stated_number_of_episodes():
    teacher = SFL(SQUARE, seed=0, refresh_every=50, candidates=20, repeats=3)
    teacher.rollouts = Sometimes(SQUARE)
    play(teacher, lambda point, episode: (0.0, 0.0), 149, batch=1)
    assert teacher.rollouts.tasks == [20] * 3 and teacher.rollouts.repeats == [3] * 3
    play(teacher, lambda point, episode: (0.0, 0.0), 1, batch=1)
    assert len(teacher.rollouts.tasks) == 3
    teacher.propose(1)
    assert len(teacher.rollouts.tasks) == 4


def test_a_discrete_task_is_tried_once_at_each_refresh():
    teacher = SFL(Discrete(5), seed=0, candidates=64)
    teacher.rollouts = Counted(Discrete(5))
    teacher.propose(1)
    assert sorted(int(task) for task in teacher.rollouts.tasks) == [0, 1, 2, 3, 4]


def test_lessons_are_uniform_without_roll_outs_and_when_nothing_is_learnable():
    hopeless = SFL(SQUARE, seed=0)
    hopeless.rollouts = lambda tasks, *, repeats, signals=frozenset(): [
        Outcome(-1, 0.0, 0.0, 1, 0.0, True) for _ in range(len(tasks) * repeats)
    ]
    for teacher in (SFL(SQUARE, seed=0), hopeless):
        points, origins = play(teacher, lambda point, episode: (0.0, 0.0), 2000)
        assert set(origins) == {"sfl/bootstrap"}
        np.testing.assert_allclose(points.mean(axis=0), 0.5, atol=0.04)


def test_it_keeps_the_promises_of_a_teacher_with_roll_outs_too():
    assert_sound_with_roll_outs(SFL, refresh_every=40, candidates=16)


def test_seed_zero_is_a_seed():
    make = with_roll_outs(SFL)
    assert drawn(make(SQUARE, seed=0), 20) == drawn(make(SQUARE, seed=0), 20) != drawn(make(SQUARE, seed=1), 20)


def test_hyperparameters_out_of_range_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        SFL(SQUARE, candidates=0, repeats=1, keep=0, refresh_every=0, learnable_share=2)
    assert [f.split(" ")[0] for f in caught.value.faults] == [
        "candidates",
        "repeats",
        "keep",
        "refresh_every",
        "learnable_share",
    ]


def test_a_student_climbs_faster_than_on_uniform_tasks_although_roll_outs_are_charged():
    sfl, uniform = [], []
    for seed in range(2):
        climber = Climber(SFL(SQUARE, seed=seed), seed=seed, gain=0.005)
        climber.teacher.rollouts = climber.rollouts
        sfl.append(climber.train(2000))
        assert climber.charged / climber.trained == pytest.approx(64 * 2 / 250, rel=0.25)
        uniform.append(Climber(Uniform(SQUARE, seed=seed), seed=seed, gain=0.005).train(2000))
    assert min(sfl) > 1.4 * max(uniform)
