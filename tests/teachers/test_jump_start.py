"""JSRL: a guide plays the first steps, fewer and fewer of them."""

import numpy as np
import pytest
from scipy.stats import chisquare

from rlteach.errors import ConfigError
from rlteach.lesson import Outcome
from rlteach.teachers.jump_start import JumpStart, stage_horizons, tolerated
from rlteach.teachers.uniform_starts import UniformStarts
from tests.teachers.chain import LENGTH, ChainLearner, chain_store, straight, train


def window(teacher, *scores, score="success"):
    """Let a window of episodes end with the given scores."""
    for value in scores:
        (lesson,) = teacher.propose(1)
        ret, success = (0.0, value) if score == "success" else (value, 0.0)
        teacher.observe([Outcome(lesson.id, ret, ret, 3, success, True)])
    return teacher.horizon


@pytest.mark.parametrize(
    ("horizon", "stages", "expected"),
    [(10, 5, [10, 8, 6, 4, 2, 0]), (3, 10, [3, 2, 1, 0]), (1, 1, [1, 0]), (100, 2, [100, 50, 0])],
)
def test_stages_are_equal_steps_down_to_no_guide(horizon, stages, expected):
    assert stage_horizons(horizon, stages) == expected


@pytest.mark.parametrize(("best", "expected"), [(1.0, 0.9), (0.5, 0.45), (0.0, 0.0), (-100.0, -110.0)])
def test_the_tolerance_is_a_share_of_the_best_score_whatever_its_sign(best, expected):
    assert tolerated(best, 0.1) == pytest.approx(expected)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_leads_a_learner_to_play_alone(seed):
    learner, alone = ChainLearner(seed), ChainLearner(seed)
    teacher = JumpStart(straight, LENGTH - 1, stages=12, window=10, seed=seed)
    played = train(teacher, learner, 6000, until=lambda: teacher.horizon == 0)
    assert teacher.horizon == 0 and played < 4000
    assert teacher.propose(1)[0].start is None
    train(teacher, learner, 200)
    assert learner.success_from(0) > 0.8
    train(UniformStarts(chain_store(), share=0.0), alone, played)
    assert alone.success_from(0) < 0.01


def test_a_guide_that_plays_too_long_is_shortened_until_the_learner_has_something_to_do():
    learner = ChainLearner(0)
    teacher = JumpStart(straight, 10 * LENGTH, stages=100, window=10, seed=0)
    played = train(teacher, learner, 6000, until=lambda: teacher.horizon == 0 and teacher.best > 0)
    assert teacher.best > 0 and played < 6000
    train(teacher, learner, 200)
    assert learner.success_from(0) > 0.8


def test_as_long_as_nothing_succeeds_it_goes_round():
    teacher = JumpStart(straight, 4, stages=2, window=2)
    seen = [window(teacher, 0.0, 0.0) for _ in range(7)]
    assert seen == [2, 0, 4, 2, 0, 4, 2]


def test_the_guide_plays_less_when_the_score_is_within_tolerance_of_the_best():
    teacher = JumpStart(straight, 10, stages=5, beta=0.1, window=4)
    assert window(teacher, 1, 1, 1, 0) == 10  # sets the score to beat: 0.75
    assert window(teacher, 1, 1, 0, 0) == 10
    assert window(teacher, 1, 1, 1) == 10  # not all of the window yet
    assert window(teacher, 0) == 8
    assert window(teacher, 1, 1, 1, 1) == 6
    assert window(teacher, 1, 1, 1, 0) == 6  # the score to beat is 1 now
    assert teacher.best == 1.0


def test_returns_are_compared_where_success_is_not_told():
    teacher = JumpStart(straight, 10, stages=5, beta=0.1, window=2, score="return")
    assert window(teacher, -100.0, -100.0, score="return") == 10
    assert window(teacher, -112.0, -110.0, score="return") == 10
    assert window(teacher, -109.0, -110.0, score="return") == 8


def test_episodes_with_another_number_of_guided_steps_are_not_scored():
    teacher = JumpStart(straight, 10, stages=5, window=2)
    lessons = teacher.propose(8)
    teacher.observe([Outcome(lesson.id, 1.0, 1.0, 3, 1.0, True) for lesson in lessons[:4]])
    assert teacher.horizon == 8
    teacher.observe([Outcome(lesson.id, 0.0, 0.0, 3, 0.0, True) for lesson in lessons[4:]])
    assert window(teacher, 1, 1) == 6


def test_the_random_variant_draws_uniformly_and_never_shortens():
    teacher = JumpStart(straight, 7, variant="random", seed=0)
    lessons = teacher.propose(4000)
    drawn = [0 if lesson.start is None else lesson.start.roll_in for lesson in lessons]
    assert chisquare(np.bincount(drawn, minlength=8)).pvalue > 1e-3
    teacher.observe([Outcome(lesson.id, 1.0, 1.0, 3, 1.0, True) for lesson in lessons])
    assert teacher.horizon == 7


def test_a_share_of_episodes_can_do_without_the_guide():
    lessons = JumpStart(straight, 7, ordinary=0.2, seed=0).propose(4000)
    assert np.mean([lesson.start is None for lesson in lessons]) == pytest.approx(0.2, abs=0.03)
    assert {lesson.start.roll_in for lesson in lessons if lesson.start} == {7}


def test_the_start_carries_the_guide_and_no_snapshot():
    start = JumpStart(straight, 9).propose(1)[0].start
    assert (start.snapshot, start.guide, start.roll_in, start.limit) == (None, straight, 9, None)


def test_a_guide_that_is_none_and_unknown_names_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        JumpStart("expert", 10, variant="ramdom", score="reward")
    assert len(caught.value.faults) == 3
    assert "callable" in caught.value.faults[0] and "Did you mean 'random'?" in caught.value.faults[1]
