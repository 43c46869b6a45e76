"""Uniform sampling: even in every dimension of every space, and deaf."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from scipy.stats import chisquare, kstest

from rlteach.teachers.uniform import Uniform
from tests.teachers.students import drawn, outcome, points_of

SQUARE = Box(0.0, 1.0, (2,), np.float64)


@pytest.mark.parametrize("space", [SQUARE, Box(-7.0, 1000.0, (3,), np.float64)])
def test_continuous_dimensions_are_uniform(space):
    teacher = Uniform(space, seed=0)
    points = points_of(teacher, teacher.propose(3000))
    assert all(kstest(axis, "uniform").pvalue > 0.001 for axis in points.T)
    assert np.abs(np.corrcoef(points.T) - np.eye(points.shape[1])).max() < 0.1


def test_every_combination_of_levels_comes_equally_often():
    teacher = Uniform(MultiDiscrete([3, 5]), seed=0)
    tasks = np.array([lesson.task for lesson in teacher.propose(3000)])
    counts = np.bincount(5 * tasks[:, 0] + tasks[:, 1], minlength=15)
    assert len(counts) == 15 and chisquare(counts).pvalue > 0.001


def test_categories_and_numbers_are_mixed():
    teacher = Uniform(Dict(kind=Discrete(3, start=4), x=Box(-1.0, 1.0, (), np.float32)), seed=0)
    lessons = teacher.propose(3000)
    kinds = np.array([int(lesson.task["kind"]) for lesson in lessons])
    places = np.array([float(lesson.task["x"]) for lesson in lessons])
    assert set(kinds) == {4, 5, 6} and chisquare(np.bincount(kinds)[4:]).pvalue > 0.001
    assert all(kstest((places[kinds == kind] + 1) / 2, "uniform").pvalue > 0.001 for kind in (4, 5, 6))


def test_seed_zero_is_a_seed_and_outcomes_change_nothing():
    deaf, alone, other = Uniform(SQUARE, seed=0), Uniform(SQUARE, seed=0), Uniform(SQUARE, seed=1)
    first = deaf.propose(50)
    deaf.observe([outcome(lesson, ret=float(lesson.id)) for lesson in first])
    second = drawn(deaf, 50)
    assert points_of(deaf, first).tolist() + second == drawn(alone, 50) + drawn(alone, 50)
    assert second != drawn(other, 50)
