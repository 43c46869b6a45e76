"""S3RL: uniform over classes of value, truncated episodes, a hard switch to ordinary resets."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from rlteach.errors import InvalidValue
from rlteach.lesson import Outcome
from rlteach.teachers.s3rl import S3RL, value_clusters
from tests.teachers.chain import filled, position_of

GROUPS = {0.0: 40, 10.0: 10, 20.0: 5, 30.0: 1}
"""Value and number of its snapshots; the values within a group differ by less than 1."""


def grouped():
    values = [value + 0.9 * i / count for value, count in GROUPS.items() for i in range(count)]
    return filled([{"value": value} for value in values])


def counts(teacher, n):
    positions = [position_of(lesson) for lesson in teacher.propose(n)]
    return np.bincount(positions, minlength=len(teacher.store))


def test_frequencies_are_uniform_over_classes_and_then_within_one():
    drawn = counts(S3RL(grouped(), clusters=4, seed=0), 20_000)
    expected = np.concatenate([np.full(size, 1 / (4 * size)) for size in GROUPS.values()])
    assert chisquare(drawn, 20_000 * expected).pvalue > 1e-3


def test_without_classes_frequencies_are_uniform_over_snapshots():
    drawn = counts(S3RL(grouped(), classify=False, seed=0), 20_000)
    assert chisquare(drawn).pvalue > 1e-3


def test_classes_are_those_of_the_least_squared_distance():
    values = np.random.default_rng(0).normal(size=14)
    order = np.argsort(values)
    # The best 1-D clustering cuts the sorted values in two places; all of them are tried.
    cuts = [(i, j) for i in range(1, 13) for j in range(i + 1, 14)]
    costs = [sum(((part - part.mean()) ** 2).sum() for part in np.split(values[order], cut)) for cut in cuts]
    best = {frozenset(part.tolist()) for part in np.split(order, cuts[int(np.argmin(costs))])}
    assert {frozenset(members) for members in value_clusters(values, 3)} == best


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    values=st.lists(st.floats(-1.7e308, 1.7e308) | st.sampled_from([0.0, 1.0, 5e-324]), min_size=1, max_size=20),
    clusters=st.integers(1, 8),
)
def test_every_snapshot_is_in_one_class_whatever_the_values(values, clusters):
    classes = value_clusters(np.array(values), clusters)
    assert sorted(place for members in classes for place in members) == list(range(len(values)))
    assert all(classes) and len(classes) <= min(clusters, len(set(values)))


def test_fewer_distinct_values_than_classes_give_a_class_each():
    classes = value_clusters(np.array([1.0, 2.0, 1.0, 2.0, 2.0]), 6)
    assert sorted(classes) == [[0, 2], [1, 3, 4]]


def test_snapshots_without_a_value_are_refused_unless_they_are_not_classified():
    store = filled([{"value": 1.0}, {"value": math.nan}])
    with pytest.raises(InvalidValue, match="1 of 2 records have none; collect with a policy that has a critic"):
        S3RL(store)
    assert S3RL(store, classify=False).propose(1)[0].start is not None


@pytest.mark.parametrize(("truncate", "limit"), [(100, 100), (7, 7), (0, None), (None, None)])
def test_episodes_are_truncated_and_keep_their_counter(truncate, limit):
    lessons = S3RL(filled([{"value": 1.0, "step": 930}]), truncate=truncate).propose(3)
    assert [(lesson.start.elapsed, lesson.start.limit) for lesson in lessons] == [(930, limit)] * 3


def test_it_switches_to_ordinary_resets_after_the_stated_number_of_learner_steps():
    teacher = S3RL(grouped(), until=100)
    for expected in [True] * 10 + [False] * 3:
        (lesson,) = teacher.propose(1)
        assert (lesson.start is not None) is expected
        teacher.observe([Outcome(lesson.id, 0.0, 0.0, 10, 0.0, False)])
    assert teacher.propose(1)[0].origin == "s3rl/over"


def test_the_origin_tells_the_class():
    teacher = S3RL(grouped(), clusters=4)
    for lesson in teacher.propose(200):
        kind = int(lesson.origin.removeprefix("s3rl/"))
        assert position_of(lesson) in teacher._classes[kind]
