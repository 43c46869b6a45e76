"""TRACED: the transition predictor, co-learnability, and how both enter the scores."""

import numpy as np
import pytest
from gymnasium.spaces import Box
from scipy.optimize import approx_fprime

from rlteach.errors import ConfigError
from rlteach.files import pack_state, unpack_state
from rlteach.lesson import Outcome
from rlteach.teachers.traced import (
    TRACED,
    TransitionPredictor,
    _loss_and_gradients,
    co_learnability,
    difficulty,
    transitions_of,
)
from rlteach.teachers.uniform import Uniform
from tests.teachers.students import points_of
from tests.teachers.test_level_buffer import Climber
from tests.teachers.test_robust_plr import assert_sound_with_roll_outs

SQUARE = Box(0.0, 1.0, (2,), np.float64)

# -- equations ---------------------------------------------------------------------------------------------------------


def test_difficulty_is_regret_and_weighted_transition_error():
    assert difficulty(0.5, 2.0, 0.25) == 1.0


def test_co_learnability_is_the_mean_fall_of_the_difficulties():
    assert co_learnability(np.array([3.0, 1.0]), np.array([1.0, 2.0])) == 0.5


def test_the_gradients_of_the_predictor_are_those_of_its_loss():
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=shape) for shape in ((3, 4), (1, 4), (4, 2), (1, 2))]
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    loss, gradients = _loss_and_gradients(weights, x, y)
    hidden = np.tanh(x @ weights[0] + weights[1])
    assert loss == pytest.approx(np.mean((hidden @ weights[2] + weights[3] - y) ** 2))
    for i, gradient in enumerate(gradients):

        def loss_of(flat, i=i):
            changed = [flat.reshape(w.shape) if j == i else w for j, w in enumerate(weights)]
            return _loss_and_gradients(changed, x, y)[0]

        numeric = approx_fprime(weights[i].ravel(), loss_of, 1e-7).reshape(gradient.shape)
        np.testing.assert_allclose(gradient, numeric, atol=1e-5)


# -- transitions -------------------------------------------------------------------------------------------------------


def test_transitions_join_observation_and_action_to_the_next_observation():
    observations, actions = np.arange(8.0).reshape(4, 2), np.array([10.0, 11.0, 12.0, 13.0])
    inputs, outputs = transitions_of({"observations": observations, "actions": actions})
    assert inputs.tolist() == [[0, 1, 10], [2, 3, 11], [4, 5, 12]]
    assert outputs.tolist() == [[2, 3], [4, 5], [6, 7]]


def test_long_episodes_and_large_observations_are_thinned_out_evenly():
    inputs, outputs = transitions_of({"observations": np.zeros((500, 20, 30), np.uint8), "actions": np.zeros((500, 2))})
    assert inputs.shape == (64, 130) and outputs.shape == (64, 128)


@pytest.mark.parametrize(
    "signals", [{}, {"observations": np.zeros((1, 3))}, {"observations": np.array(["a", "b"])}, {"observations": 3.0}]
)
def test_an_episode_without_transitions_has_none(signals):
    assert len(transitions_of(signals)[0]) == 0
    assert TransitionPredictor(1e-3).error(*transitions_of(signals), np.random.default_rng(0)) == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e308])
def test_odd_observations_change_nothing_or_stay_finite(bad):
    predictor, rng = TransitionPredictor(1e-2), np.random.default_rng(0)
    for _ in range(5):
        observations = rng.normal(size=(20, 3))
        observations[7, 1] = bad
        assert np.isfinite(predictor.error(*transitions_of({"observations": observations}), rng))
    assert np.isfinite(predictor.error(*transitions_of({"observations": rng.normal(size=(20, 3))}), rng))
    assert predictor.error(*transitions_of({"observations": rng.normal(size=(20, 5))}), rng) == 0.0  # another width


def walk(rng, randomness):
    """An episode of a linear system, in numbers far from 1, with noise."""
    states = [rng.normal(size=2)]
    actions = rng.normal(size=(40, 1))
    for action in actions[:-1]:
        states.append(np.array([[0.6, 0.4], [-0.4, 0.6]]) @ states[-1] + action + randomness * rng.normal(size=2))
    return {"observations": 1000.0 * np.array(states), "actions": actions}


def test_the_predictor_learns_what_can_be_predicted_and_nothing_else():
    errors = {}
    for randomness in (0.0, 3.0):
        predictor, rng = TransitionPredictor(3e-3), np.random.default_rng(0)
        errors[randomness] = [predictor.error(*transitions_of(walk(rng, randomness)), rng) for _ in range(200)]
    early, late = np.mean(errors[0.0][:20]), np.mean(errors[0.0][-20:])
    assert late < 0.1 * early
    assert np.mean(errors[3.0][-20:]) > 5 * late


def test_a_loaded_predictor_goes_on_bit_for_bit():
    rng, one, other = np.random.default_rng(0), TransitionPredictor(1e-2), TransitionPredictor(1e-2)
    for _ in range(20):
        one.error(*transitions_of(walk(rng, 0.1)), rng)
    other.load_state_dict(unpack_state(*pack_state(one.state_dict())))
    for _ in range(5):
        episode = transitions_of(walk(rng, 0.1))
        assert one.error(*episode, rng) == other.error(*episode, rng)


# -- scores ------------------------------------------------------------------------------------------------------------


def told(lesson_id, advantage, **signals):
    return Outcome(lesson_id, 0.0, 0.0, 3, 0.0, True, {"advantages": np.array([advantage]), **signals})


def replayed(teacher, plays):
    """Let a teacher observe one batch of (level, advantage) episodes."""
    outcomes = []
    for level, advantage in plays:
        teacher._issued[teacher._next_id] = np.array(level)
        outcomes.append(told(teacher._next_id, advantage))
        teacher._next_id += 1
    teacher.observe(outcomes)


def test_the_batch_before_is_credited_with_what_it_did_for_the_levels_just_played():
    teacher = TRACED(SQUARE, seed=0, co_weight=0.5)
    a, b, c, d = ([x, x] for x in (0.1, 0.2, 0.3, 0.4))
    replayed(teacher, [(a, 1.0), (b, 2.0), (c, 3.0), (d, 4.0)])  # met
    replayed(teacher, [(a, 1.0), (b, 2.5)])  # -0.25 in the mean, but nothing was replayed before
    assert teacher.buffer.scores.tolist() == [1.0, 2.5, 3.0, 4.0]
    replayed(teacher, [(c, 1.0), (d, 3.0)])  # fell by 2 and 1
    assert teacher.buffer.scores.tolist() == [1.0 + 0.75, 2.5 + 0.75, 1.0, 3.0]
    replayed(teacher, [(a, 1.0)])  # its difficulty is what it was: the credit is no difficulty
    assert teacher.buffer.scores.tolist() == [1.0, 3.25, 1.0, 3.0]


def test_the_transition_error_is_part_of_the_score():
    scores = []
    for weight in (0.0, 2.0):
        teacher = TRACED(SQUARE, seed=0, transition_weight=weight)
        (lesson,) = teacher.propose(1)
        teacher.observe([told(lesson.id, 1.0, **walk(np.random.default_rng(0), 0.5))])
        scores.append(float(teacher.buffer.scores[0]))
    error = TransitionPredictor(1e-3).error(
        *transitions_of(walk(np.random.default_rng(0), 0.5)), _generator_after_one_draw()
    )
    assert scores == [1.0, pytest.approx(1.0 + 2.0 * error)] and error > 0.1


def _generator_after_one_draw():
    teacher = TRACED(SQUARE, seed=0)
    teacher.propose(1)
    return teacher.rng


def test_tasks_whose_transitions_surprise_are_replayed_more():
    teacher, rng = TRACED(SQUARE, seed=0, learning_rate=3e-3, capacity=64), np.random.default_rng(1)
    points = []
    for _ in range(40):
        lessons = teacher.propose(8)
        places = points_of(teacher, lessons)
        points += places[:, 0].tolist()
        teacher.observe(
            [
                told(lesson.id, 0.0, **walk(rng, 2.0 * (x > 0.8)))
                for lesson, x in zip(lessons, places[:, 0], strict=True)
            ]
        )
    assert np.mean(np.array(points[160:]) > 0.8) > 0.4


def test_it_asks_for_advantages_observations_and_actions():
    assert TRACED(SQUARE).needs == {"advantages", "observations", "actions"}


def test_it_keeps_the_promises_of_a_teacher_with_roll_outs_too():
    assert_sound_with_roll_outs(TRACED, capacity=32)


def test_hyperparameters_out_of_range_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        TRACED(SQUARE, transition_weight=-1, co_weight=-1, learning_rate=2)
    assert [f.split(" ")[0] for f in caught.value.faults] == ["transition_weight", "co_weight", "learning_rate"]


def test_a_student_climbs_faster_than_on_uniform_tasks_although_children_are_charged():
    traced, uniform = [], []
    for seed in range(2):
        climber = Climber(TRACED(SQUARE, seed=seed), seed=seed)
        climber.teacher.rollouts = climber.rollouts
        traced.append(climber.train(1000))
        uniform.append(Climber(Uniform(SQUARE, seed=seed), seed=seed).train(1000))
    assert min(traced) > 1.4 * max(uniform)
