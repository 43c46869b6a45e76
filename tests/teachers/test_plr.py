"""Prioritised level replay: what is replayed, how often, and what an episode does to its level."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from rlteach_envs.toy_cubes import ToyCubes
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from rlteach.delivery import TeacherCallback, attach
from rlteach.errors import ConfigError
from rlteach.lesson import Outcome
from rlteach.task_space import TaskSpace
from rlteach.teachers.level_buffer import SCORES
from rlteach.teachers.plr import PLR, replay_chance
from rlteach.teachers.uniform import Uniform
from tests.teachers.students import drawn, points_of
from tests.teachers.test_level_buffer import Climber

SQUARE = Box(0.0, 1.0, (2,), np.float64)


def told(lesson, advantages=(1.0,), *, ret=1.0, success=1.0):
    return Outcome(lesson.id, ret, ret, 3, success, True, {"advantages": np.array(advantages)})


def met(teacher, scores):
    """Let a teacher meet new levels, one for each score."""
    lessons = [lesson for _ in scores for lesson in teacher.propose(1)]
    teacher.observe([told(lesson, [score]) for lesson, score in zip(lessons, scores, strict=True)])
    return lessons


# -- replay or new -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fill", "schedule", "expected"),
    [
        (0.0, "proportionate", 0.0),
        (0.19, "proportionate", 0.0),
        (0.3, "proportionate", 0.3),
        (1.0, "proportionate", 0.8),
        (0.19, "fixed", 0.0),
        (0.2, "fixed", 0.8),
    ],
)
def test_the_chance_of_replay_follows_the_schedule(fill, schedule, expected):
    assert replay_chance(fill, 0.2, 0.8, schedule) == expected


def test_nothing_is_replayed_from_an_empty_buffer():
    assert replay_chance(0.0, 0.0, 0.8, "fixed") == 0.0


def test_the_stated_share_of_lessons_is_replayed_once_the_buffer_is_full():
    teacher = PLR(SQUARE, seed=0, capacity=20, replay_probability=0.6)
    met(teacher, np.ones(20))
    while len(teacher.buffer) < 20:
        met(teacher, [1.0])
    lessons = teacher.propose(5000)
    replayed = np.array([lesson.origin == "plr/replay" for lesson in lessons])
    assert replayed.mean() == pytest.approx(0.6, abs=0.03)
    known = np.array([teacher.buffer.find(point) is not None for point in points_of(teacher, lessons)])
    assert np.array_equal(known, replayed)


def test_a_finite_space_is_only_replayed_once_every_task_was_met():
    teacher = PLR(MultiDiscrete([3, 4]), seed=0, capacity=1000)
    assert teacher.buffer.capacity == 12
    for _ in range(400):
        met(teacher, [1.0])
    assert len(teacher.buffer) == 12
    assert {lesson.origin for lesson in teacher.propose(300)} == {"plr/replay"}


# -- what an episode does ----------------------------------------------------------------------------------------------


def test_an_episode_scores_its_level_and_the_next_one_replaces_or_averages():
    for alpha, expected in ((1.0, 4.0), (0.25, 0.75 * 1.0 + 0.25 * 4.0)):
        teacher = PLR(Discrete(1 << 20), seed=0, alpha=alpha, capacity=4, min_fill=0.0)
        (lesson,) = met(teacher, [1.0])
        point = points_of(teacher, [lesson])[0]
        assert teacher.buffer.scores.tolist() == [1.0] and teacher.buffer.find(point) == 0
        teacher._issued[77] = point
        teacher.observe([Outcome(77, 0.0, 0.0, 3, 0.0, True, {"advantages": np.array([9.0, -1.0, 3.0])})])
        assert teacher.buffer.scores.tolist() == pytest.approx([expected]) and len(teacher.buffer) == 1


def test_a_late_outcome_of_a_replaced_level_does_not_score_the_one_in_its_place():
    teacher = PLR(SQUARE, seed=0, capacity=1, replay_probability=1.0, min_fill=0.0, schedule="fixed", staleness=0.0)
    met(teacher, [1.0])
    (late,) = teacher.propose(1)
    assert late.origin == "plr/replay"
    teacher._issued[99] = np.array([0.123, 0.456])  # a better level takes its place
    teacher.observe([Outcome(99, 1.0, 1.0, 3, 1.0, True, {"advantages": np.array([5.0])})])
    teacher.observe([told(late, [0.25])])
    assert teacher.buffer.levels.tolist() == [[0.123, 0.456]] and teacher.buffer.scores.tolist() == [5.0]


def test_every_outcome_is_scored_by_its_own_signals():
    teacher = PLR(SQUARE, seed=0)
    lessons = teacher.propose(4)
    outcomes = [told(lesson, [score]) for lesson, score in zip(lessons, (1.0, 2.0, 3.0, 4.0), strict=True)]
    outcomes[1] = Outcome(lessons[1].id, np.nan, 0.0, 3, 0.0, True, outcomes[1].signals)
    with pytest.warns(RuntimeWarning, match="PLR ignores outcomes that are not finite"):
        teacher.observe([*outcomes, outcomes[0]])
    scores = {tuple(p): s for p, s in zip(teacher.buffer.levels.tolist(), teacher.buffer.scores.tolist(), strict=True)}
    expected = {tuple(p): s for p, s in zip(points_of(teacher, lessons).tolist(), (1.0, 2.0, 3.0, 4.0), strict=True)}
    assert scores == {point: score for point, score in expected.items() if score != 2.0}


@pytest.mark.parametrize("bad", [[np.nan], [np.inf], [1.7e308, 1.7e308]])
def test_a_score_that_is_not_finite_changes_nothing(bad):
    teacher = PLR(SQUARE, seed=0)
    lessons = met(teacher, [1.0])
    teacher._issued[50] = points_of(teacher, lessons)[0]
    teacher.observe([Outcome(50, 1.0, 1.0, 3, 1.0, True, {"advantages": np.array(bad)}), told(lessons[0], bad)])
    assert teacher.buffer.scores.tolist() == [1.0]


def test_high_scores_are_replayed_most():
    teacher = PLR(SQUARE, seed=0, capacity=50, staleness=0.0)
    met(teacher, np.linspace(0.0, 1.0, 50))
    while len(teacher.buffer) < 50:
        met(teacher, [0.5])
    lessons = [lesson for lesson in teacher.propose(2000) if lesson.origin == "plr/replay"]
    scores = [teacher.buffer.scores[teacher.buffer.find(point)] for point in points_of(teacher, lessons)]
    assert np.mean(scores) > np.quantile(teacher.buffer.scores, 0.9)


# -- signals, seeds, hyperparameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("score", "needs"), [(name, score.needs) for name, score in SCORES.items()])
def test_it_asks_the_learner_for_what_its_score_needs(score, needs):
    assert PLR(SQUARE, score=score).needs == needs


def test_seed_zero_is_a_seed():
    assert drawn(PLR(SQUARE, seed=0), 20) == drawn(PLR(SQUARE, seed=0), 20) != drawn(PLR(SQUARE, seed=1), 20)


def test_hyperparameters_out_of_range_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        PLR(SQUARE, temperature=0.0, staleness=1.5, capacity=0, replay_probability=-1)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == [
        "temperature",
        "staleness",
        "capacity",
        "replay_probability",
    ]
    with pytest.raises(ConfigError) as caught:
        PLR(SQUARE, score="regret", schedule="sometimes")
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["score", "schedule"]


# -- what it is for ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", SCORES)
def test_a_student_climbs_faster_than_on_uniform_tasks(score):
    plr = Climber(PLR(SQUARE, seed=0, score=score), seed=0).train(1000)
    uniform = Climber(Uniform(SQUARE, seed=0), seed=0).train(1000)
    assert plr > 1.4 * uniform


@pytest.mark.parametrize("score", ["positive_value_loss", "max_mc", "td_error_l1"])
def test_a_run_of_ppo_scores_the_levels_it_has_finished(score):
    teacher = PLR(TaskSpace.of(ToyCubes().task_space), seed=0, score=score, capacity=16)
    venv = attach(DummyVecEnv([ToyCubes] * 2), teacher)
    model = PPO("MlpPolicy", venv, n_steps=16, batch_size=16, n_epochs=1, seed=0, device="cpu")
    model.learn(64, callback=TeacherCallback(teacher))
    assert len(teacher.buffer) == 16 and np.isfinite(teacher.buffer.scores).all()
    assert len(set(teacher.buffer.scores.tolist())) > 8  # success variance alone would tell only two
