"""The expanding box: it grows on success, on all sides, and by nothing else."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from rlteach.errors import ConfigError, InvalidValue
from rlteach.lesson import Outcome
from rlteach.teachers.expanding_box import ExpandingBox
from tests.teachers.students import Toy, play, points_of

SQUARE = Box(0.0, 1.0, (2,), np.float64)
CORNER = {"start_low": [0.0, 0.5], "start_high": [0.2, 0.5]}


def test_lessons_are_uniform_in_the_box():
    teacher = ExpandingBox(SQUARE, seed=0, **CORNER)
    for progress, low, high in [(0.0, [0.0, 0.5], [0.2, 0.5]), (0.5, [0.0, 0.25], [0.6, 0.75]), (1.0, [0, 0], [1, 1])]:
        teacher.progress = progress
        points = points_of(teacher, teacher.propose(3000))
        np.testing.assert_allclose([points.min(axis=0), points.max(axis=0)], [low, high], atol=0.01)
        np.testing.assert_allclose(points.mean(axis=0), np.add(low, high) / 2, atol=0.03)


def test_it_grows_after_every_batch_whose_mean_success_is_above_the_threshold():
    teacher = ExpandingBox(SQUARE, threshold=0.6, step=0.3, over=10, **CORNER)
    batches = [0.7, 0.6, 0.0, 0.61, 1.0, 1.0, 1.0]
    progress = []
    for mean in batches:
        teacher._learn(np.zeros((10, 2)), np.zeros(10), np.full(10, mean))
        progress.append(teacher.progress)
    np.testing.assert_allclose(progress, [0.3, 0.3, 0.3, 0.6, 0.9, 1.0, 1.0])


def test_a_batch_begins_anew_after_each_judgement():
    teacher = ExpandingBox(SQUARE, threshold=0.5, over=4, **CORNER)
    for success in (1, 1, 1, 0, 0, 0, 0, 1):  # one good batch, and one bad one that the good one must not help
        teacher._learn(np.zeros((1, 2)), np.zeros(1), np.array([float(success)]))
    assert teacher.progress == pytest.approx(0.05)


def test_levels_are_added_and_in_the_end_drawn_alike():
    teacher = ExpandingBox(Discrete(5), start_low=2, start_high=2, seed=0)
    assert {int(lesson.task) for lesson in teacher.propose(200)} == {2}
    teacher.progress = 1.0
    counts = np.bincount([int(lesson.task) for lesson in teacher.propose(5000)], minlength=5)
    assert (np.abs(counts - 1000) < 150).all()


def test_a_failing_learner_stays_where_it_began():
    teacher = ExpandingBox(SQUARE, **CORNER)
    points, _ = play(teacher, lambda point, episode: 0.0, 300)
    assert points[:, 0].max() <= 0.2 and (points[:, 1] == 0.5).all()


def test_it_masters_more_of_the_toy_space_than_uniform_tasks():
    mastered = []
    for high in ([0.1, 0.1], [1.0, 1.0]):
        toy = Toy(full=20.0)
        play(ExpandingBox(SQUARE, start_low=[0, 0], start_high=high, seed=0, over=20), toy, 2500)
        mastered.append((toy.competence >= 15).mean())
    assert mastered[0] > 0.25 and mastered[1] < 0.05


def test_mistakes_are_told_together():
    with pytest.raises(ConfigError) as caught:
        ExpandingBox(SQUARE, threshold=2, over=0, **CORNER)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["threshold", "over"]
    with pytest.raises(InvalidValue, match="swap the two"):
        ExpandingBox(SQUARE, start_low=[0.5, 0.5], start_high=[0.2, 0.6])


def test_early_successes_are_not_judged_before_the_failures_that_were_issued_before_them():
    teacher = ExpandingBox(SQUARE, threshold=0.5, over=4, **CORNER)
    lessons = teacher.propose(8)
    ended = [Outcome(lesson.id, 0.0, 0.0, 1, float(lesson.id % 2), True) for lesson in lessons]
    teacher.observe([outcome for outcome in ended if outcome.success])  # at once; failures last until the time limit
    assert teacher.progress == 0.0
    teacher.observe([outcome for outcome in ended if not outcome.success])
    assert teacher.progress == 0.0  # two batches, half of each successful
