"""Uniform starts: any snapshot alike, with a fixed chance, for as long as it is wanted."""

import numpy as np
import pytest
from scipy.stats import chisquare

from rlteach.lesson import Outcome
from rlteach.teachers.uniform_starts import UniformStarts
from tests.teachers.chain import filled, position_of

STORE = filled([{"episode": number // 3} for number in range(10)])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_snapshots_are_alike_and_the_rest_are_ordinary_resets(share):
    positions = [position_of(lesson) for lesson in UniformStarts(STORE, share=share, seed=0).propose(6000)]
    started = [position for position in positions if position is not None]
    assert abs(len(started) - 6000 * share) <= 4 * np.sqrt(6000 * share * (1 - share))
    if started:
        assert chisquare(np.bincount(started, minlength=10)).pvalue > 1e-3


@pytest.mark.parametrize(("until", "snapshots"), [(None, 6), (0, 0), (25, 3), (30, 3)])
def test_it_switches_where_it_is_told_to(until, snapshots):
    teacher = UniformStarts(STORE, until=until)
    started = 0
    for _ in range(6):
        (lesson,) = teacher.propose(1)
        started += lesson.start is not None
        teacher.observe([Outcome(lesson.id, 0.0, 0.0, 10, 0.0, False)])
    assert started == snapshots


def test_outcomes_change_nothing():
    told, deaf = UniformStarts(STORE, seed=3), UniformStarts(STORE, seed=3)
    for _ in range(5):
        lessons = told.propose(4)
        told.observe([Outcome(lesson.id, float(lesson.id), 0.0, 1, 1.0, True) for lesson in lessons])
        assert [position_of(a) for a in lessons] == [position_of(b) for b in deaf.propose(4)]
