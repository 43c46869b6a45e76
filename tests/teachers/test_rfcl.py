"""RFCL: every demonstration backwards, then initial states in order of how much there is to learn."""

import math

import numpy as np
import pytest
from scipy.stats import chisquare

from rlteach.errors import InvalidValue
from rlteach.lesson import Outcome
from rlteach.teachers.rfcl import (
    OFFSETS,
    RFCL,
    demonstration_weights,
    forward_score,
    forward_weights,
    rank_weights,
)
from tests.teachers.chain import ChainLearner, chain_store, filled, position_of, train


def lesson_from(teacher, position):
    """Return a lesson that starts from a position, the others forgotten."""
    while True:
        (lesson,) = teacher.propose(1)
        if position_of(lesson) == position:
            return lesson
        teacher.forget([lesson.id])


def answer(teacher, position, *successes):
    for success in successes:
        lesson = lesson_from(teacher, position)
        teacher.observe([Outcome(lesson.id, success, success, 3, success, True)])


# -- equations ---------------------------------------------------------------------------------------------------------


def test_demonstrations_are_weighed_by_what_is_left_of_them():
    weights = demonstration_weights(np.array([30.0, 5.0, 0.0]), np.array([40.0, 10.0, 20.0]))
    total = 0.75 + 0.5 + 1e-6
    np.testing.assert_allclose(weights, [0.75 / total, 0.5 / total, 1e-6 / total], rtol=1e-12)
    np.testing.assert_allclose(demonstration_weights(np.zeros(4), np.zeros(4)), 0.25)


@pytest.mark.parametrize(("successes", "score"), [(0, 2), (1, 3), (2, 3), (3, 3), (4, 1), (5, 1)])
def test_states_that_succeed_sometimes_score_most_and_those_that_do_mostly_least(successes, score):
    assert forward_score(successes) == score


@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
def test_rank_weights_by_hand(temperature):
    scores = np.array([2.0, 3.0, 1.0, 2.0, 3.0])
    ranks = [4 + 1, 2 + 1, 5 + 1, 4 + 1, 2 + 1]  # one more than the number of scores at least as high
    expected = np.array([(1 / rank) ** (1 / temperature) for rank in ranks])
    np.testing.assert_allclose(rank_weights(scores, temperature), expected / expected.sum(), rtol=1e-12)


def test_score_and_staleness_are_mixed():
    scores, ages = np.array([3.0, 1.0, 2.0]), np.array([0.0, 7.0, 2.0])
    expected = 0.7 * rank_weights(scores, 0.5) + 0.3 * rank_weights(ages, 0.5)
    np.testing.assert_allclose(forward_weights(scores, ages, 0.5, 0.3), expected)


def test_tiny_temperatures_do_not_underflow():
    np.testing.assert_allclose(rank_weights(np.arange(50.0), 1e-3), [0.0] * 49 + [1.0], atol=1e-100)


# -- the reverse stage -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("demonstrations", [1, 3])
def test_it_leads_a_learner_back_to_the_ordinary_start(seed, demonstrations):
    learner = ChainLearner(seed)
    teacher = RFCL(chain_store(episodes=demonstrations), seed=seed)
    played = train(teacher, learner, 4000, until=lambda: teacher.forward)
    assert teacher.forward and played < 3000
    train(teacher, learner, 200)
    assert learner.success_from(0) > 0.8


def test_starts_are_geometric_at_and_after_the_current_one():
    teacher = RFCL(filled([{"success": 1.0}] * 12), seed=0)
    teacher.at[0] = 3
    positions = [position_of(lesson) for lesson in teacher.propose(2000)]
    assert chisquare(np.bincount(positions, minlength=8)[3:8], 2000 * OFFSETS).pvalue > 1e-3
    teacher.at[0] = 10
    positions = [position_of(lesson) for lesson in teacher.propose(2000)]
    assert set(positions) == {10, 11} and positions.count(10) / 2000 == pytest.approx(0.5, abs=0.05)


def test_a_streak_from_exactly_the_current_start_moves_it_by_environment_steps():
    steps = [0, 1, 3, 4, 7, 9, 10]
    rows = [{"success": 1.0, "step": step, "remaining": 12 - step} for step in steps]
    teacher = RFCL(filled(rows), step=4, streak=3, seed=0)
    assert teacher.at.tolist() == [6]
    answer(teacher, 6, 1, 1, 0, 1, 1)  # no three in a row
    assert teacher.at.tolist() == [6]
    answer(teacher, 6, 1)
    assert steps[teacher.at[0]] == 4  # the last one that is at least 4 steps before 10
    answer(teacher, 4, 1, 1, 1, 1)  # later than the current start: not judged
    assert steps[teacher.at[0]] == 4
    answer(teacher, 3, 1, 1, 1)
    assert steps[teacher.at[0]] == 0 and not teacher.solved[0]
    answer(teacher, 0, 1, 1, 1)
    assert teacher.solved[0] and teacher.forward


def test_the_limit_follows_what_is_left_of_the_demonstration():
    rows = [{"success": 1.0, "step": step, "remaining": 60 - step} for step in (0, 30, 55)]
    for ratio, limit in ((3.0, 16 + 15), (1 / 3, 16 + 1), (0.0, 16)):
        start = lesson_from(RFCL(filled(rows), limit_ratio=ratio), 2).start
        assert (start.limit, start.elapsed) == (limit, 0)


# -- the forward stage -------------------------------------------------------------------------------------------------


def solved(demonstrations, **hyperparameters):
    rows = [{"episode": n, "success": 1.0, "step": step} for step in (0, 5) for n in range(demonstrations)]
    teacher = RFCL(filled(rows), seed=0, **hyperparameters)
    teacher.solved[:] = True
    return teacher


def test_the_forward_stage_begins_when_more_than_the_stated_share_is_solved():
    teacher = solved(10)
    assert teacher.forward
    teacher.solved[:1] = False
    assert not teacher.forward  # 90 % are not more than 90 %
    assert RFCL(filled([{"success": 1.0, "episode": n} for n in range(20) for _ in range(2)])).forward is False


def test_the_forward_stage_keeps_a_share_of_ordinary_resets_without_limits():
    lessons = solved(3, ordinary=0.3).propose(3000)
    assert np.mean([lesson.start is None for lesson in lessons]) == pytest.approx(0.3, abs=0.03)
    assert {lesson.start.limit for lesson in lessons if lesson.start} == {None}


def test_the_forward_stage_plays_what_succeeds_sometimes_most():
    teacher = solved(3, ordinary=0.0, staleness=0.0)
    for position, successes in ((0, (1, 1, 1, 1, 1)), (1, (1, 0, 1, 0, 0)), (2, (0, 0, 0, 0, 0))):
        teacher._results[position] = [bool(success) for success in successes]
    positions = [position_of(lesson) for lesson in teacher.propose(500)]
    expected = rank_weights(np.array([1.0, 3.0, 2.0]), 0.1)
    assert positions.count(1) / 500 == pytest.approx(expected[1], abs=0.03)
    assert expected[1] > 0.9


def test_what_was_not_played_for_long_comes_up():
    teacher = solved(3, ordinary=0.0, staleness=1.0)
    positions = [position_of(lesson) for lesson in teacher.propose(300)]
    assert max(np.diff(np.flatnonzero(np.array(positions) == 1))) < 12


def test_only_the_last_five_outcomes_of_an_initial_state_count():
    teacher = solved(1, ordinary=0.0)
    answer(teacher, 0, 0, 0, 0, 1, 1, 1, 1, 1)
    assert teacher._results == [[True] * 5]


def test_demonstrations_that_failed_are_left_out():
    rows = [{"episode": 0, "success": 0.0}, {"episode": 1, "success": 1.0}, {"episode": 2, "success": math.nan}]
    store = filled([{**row, "to_go": 1.0} for row in rows for _ in range(2)])
    positions = {position_of(lesson) for lesson in RFCL(store).propose(50)}
    assert positions == {3, 5}
    with pytest.raises(InvalidValue, match="RFCL follows trajectories that succeeded"):
        RFCL(filled([{"success": 0.0}]))
