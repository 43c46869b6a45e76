"""Reference state initialisation: a uniform phase of a uniform reference, all training long."""

import numpy as np
import pytest
from scipy.stats import chisquare

from rlteach.lesson import Outcome
from rlteach.teachers.reference_states import ReferenceStates
from tests.teachers.chain import filled, position_of

STORE = filled([{"episode": int(number >= 2)} for number in range(10)])
"""Two references, of two and of eight snapshots."""


def test_references_are_alike_and_so_are_the_phases_of_each():
    positions = [position_of(lesson) for lesson in ReferenceStates(STORE, seed=0).propose(8000)]
    expected = 8000 * np.array([1 / 4] * 2 + [1 / 16] * 8)
    assert chisquare(np.bincount(positions, minlength=10), expected).pvalue > 1e-3


def test_it_never_switches_off():
    teacher = ReferenceStates(STORE, seed=0)
    for _ in range(200):
        lessons = teacher.propose(5)
        assert all(lesson.start is not None for lesson in lessons)
        teacher.observe([Outcome(lesson.id, 1.0, 1.0, 1000, 1.0, True) for lesson in lessons])
    assert teacher.steps == 1_000_000


def test_a_share_of_ordinary_resets_can_be_kept():
    lessons = ReferenceStates(STORE, ordinary=0.25, seed=0).propose(4000)
    share = np.mean([lesson.start is None for lesson in lessons])
    assert share == pytest.approx(0.25, abs=0.03)
    assert all((lesson.origin == "reference_states/ordinary") == (lesson.start is None) for lesson in lessons)
