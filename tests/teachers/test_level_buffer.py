"""The level buffer: scores, priorities, staleness, eviction; and a student that level-replay teachers are tried on."""

import math

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad
from scipy.stats import beta, rankdata

from rlteach.errors import ConfigError
from rlteach.files import pack_state, unpack_state
from rlteach.lesson import Outcome
from rlteach.task_space import TaskSpace
from rlteach.teachers.level_buffer import (
    SCORES,
    LevelBuffer,
    Past,
    as_levels,
    drawn_places,
    max_mc,
    number_of_tasks,
    positive_value_loss,
    proportional_priorities,
    rank_priorities,
    replay_distribution,
    require_one_of,
    score_of,
    staleness_priorities,
    success_variance,
    td_error_l1,
    value_l1,
)

STEPS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)
LEVEL_SCORES = arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e300, 1e300))


class Climber:
    """A student with a skill: it solves the tasks below it, and learns from those it sometimes solves.

    Tasks are points of the unit square, the first coordinate is the difficulty x. The chance of success is
    1 / (1 + exp((x - skill) / width)), an episode raises the skill by gain * p (1 - p), and the critic knows p.
    """

    def __init__(self, teacher, *, seed=0, skill=0.05, width=0.02, gain=0.01):
        self.teacher, self.skill, self.width, self.gain = teacher, skill, width, gain
        self.luck = np.random.default_rng(seed + 1000)
        self.trained = self.charged = 0

    def plays(self, lesson_id, task):
        chance = 1.0 / (1.0 + math.exp((float(task[0]) - self.skill) / self.width))
        success = float(self.luck.random() < chance)
        surprise = np.array([success - chance])
        signals = {"advantages": surprise, "td_errors": surprise, "values": np.array([chance]), "initial_value": chance}
        return Outcome(lesson_id, success, success, 10, success, True, signals), chance

    def rollouts(self, tasks, *, repeats=1, signals=frozenset()):
        self.charged += len(tasks) * repeats
        return [self.plays(-1, task)[0] for task in tasks for _ in range(repeats)]

    def train(self, budget, batch=8):
        """Play until training and the teacher's own roll-outs have taken `budget` episodes; return the skill."""
        while self.trained + self.charged < budget:
            played = []
            for lesson in self.teacher.propose(batch):
                outcome, chance = self.plays(lesson.id, lesson.task)
                self.skill += self.gain * chance * (1.0 - chance)
                played.append(outcome)
            self.trained += batch
            self.teacher.observe(played)
        return self.skill


def roll_outs(space):
    """Roll-outs of a student that does not change, for checks that compare runs bit by bit."""
    space = TaskSpace.of(space)

    def play(tasks, *, repeats=1, signals=frozenset()):
        outcomes = []
        for task in tasks:
            ret = float(np.sin(20.0 * space.to_unit(task).sum()))
            for repeat in range(repeats):
                given = {name: np.array([ret, -ret, 0.5]) for name in signals}
                outcomes.append(Outcome(-1, ret, 0.9 * ret, 3, float(ret > 0.3 * repeat), True, given))
        return outcomes

    return play


def outcome(ret=1.0, success=1.0, **signals):
    return Outcome(0, ret, ret, 3, success, True, {name: np.array(values) for name, values in signals.items()})


def buffer_of(scores, **hyperparameters):
    buffer = LevelBuffer(len(scores), 1, **hyperparameters)
    for place, score in enumerate(scores):
        buffer.offer(np.array([place / 1000]), score, Past())
    return buffer


# -- scores ------------------------------------------------------------------------------------------------------------


@given(steps=STEPS)
def test_scores_of_an_episode_are_means_over_its_steps(steps):
    n, values = len(steps), np.array(steps)
    assert positive_value_loss(values) == pytest.approx(math.fsum(max(a, 0.0) for a in steps) / n, abs=1e-6)
    assert value_l1(values) == pytest.approx(math.fsum(abs(a) for a in steps) / n, abs=1e-6)
    assert td_error_l1(values) == pytest.approx(math.fsum(abs(d) for d in steps) / n, abs=1e-6)
    assert max_mc(values, 3.0) == pytest.approx(math.fsum(3.0 - v for v in steps) / n, abs=1e-6)


@pytest.mark.parametrize(("successes", "plays"), [(0, 0), (0, 1), (1, 1), (2, 4), (0, 9), (3.5, 7.25)])
def test_success_variance_is_the_posterior_mean_of_p_times_one_minus_p(successes, plays):
    density = beta(successes + 1, plays - successes + 1).pdf
    expected, _ = quad(lambda p: p * (1 - p) * density(p), 0, 1)
    assert success_variance(float(successes), float(plays)) == pytest.approx(expected, rel=1e-6)


def test_what_is_known_of_a_level_forgets_slowly_but_never_its_best_return():
    past, returns = Past(), [-5.0, -3.0, -4.0]
    for ret in returns:
        past = past.after(outcome(ret, success=0.5))
    assert past.best == -3.0  # a maximum that starts at 0 would hide that all returns are negative
    assert past.plays == pytest.approx(1 + 0.9 + 0.81)
    assert past.successes == pytest.approx(0.5 * past.plays)


def test_max_mc_of_a_level_with_negative_returns_starts_at_its_first_return():
    played = outcome(-5.0, values=[-6.0, -4.0])
    assert score_of("max_mc", played, Past().after(played)) == pytest.approx(0.0)


@pytest.mark.parametrize("name", SCORES)
def test_every_score_reads_its_own_signal_only(name):
    signals = {"advantages": [1.0, -3.0], "td_errors": [2.0, -6.0], "values": [0.25, 0.75]}
    past = Past(best=2.0, successes=1.0, plays=2.0)
    kept = {signal: values for signal, values in signals.items() if signal in SCORES[name].needs}
    assert len(kept) == (name != "success_variance")
    expected = {"positive_value_loss": 0.5, "value_l1": 2.0, "td_error_l1": 4.0, "max_mc": 1.5, "success_variance": 0.2}
    assert score_of(name, outcome(**kept), past) == pytest.approx(expected[name])


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("signals", [{}, {"advantages": [], "td_errors": [], "values": []}])
def test_an_outcome_without_its_signal_is_scored_by_success_variance(name, signals):
    assert score_of(name, outcome(**signals), Past(0.0, 1.0, 2.0)) == success_variance(1.0, 2.0)


# -- priorities --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.1, 0.3, 1.0])
def test_rank_priorities_are_powers_of_one_over_the_rank(temperature):
    scores = np.random.default_rng(0).normal(size=20)
    weights = (1.0 / rankdata(-scores)) ** (1.0 / temperature)
    np.testing.assert_allclose(rank_priorities(scores, temperature), weights / weights.sum())


def test_equal_scores_have_equal_chances():
    chances = rank_priorities(np.array([5.0, 1.0, 5.0, 0.0, 1.0]), 1.0)
    total = sum(1 / rank for rank in range(1, 6))
    first, second = (1 + 1 / 2) / 2 / total, (1 / 3 + 1 / 4) / 2 / total
    np.testing.assert_allclose(chances, [first, second, first, 1 / 5 / total, second])


def test_proportional_priorities_are_powers_of_the_score():
    chances = proportional_priorities(np.array([1.0, -2.0, 2.0, 0.0]), 0.5)
    np.testing.assert_allclose(chances, [0.2, 0.0, 0.8, 0.0])
    np.testing.assert_allclose(proportional_priorities(np.array([-1.0, 0.0]), 0.5), [0.5, 0.5])


def test_staleness_priorities_are_proportional_to_the_time_since_a_level_was_drawn():
    np.testing.assert_allclose(staleness_priorities(np.array([0.0, 1.0, 3.0])), [0.0, 0.25, 0.75])
    np.testing.assert_allclose(staleness_priorities(np.zeros(4)), 0.25)
    mixed = replay_distribution(np.array([1.0, 0.0]), np.array([0.25, 0.75]), 0.4)
    np.testing.assert_allclose(mixed, [0.6 + 0.1, 0.3])


@settings(deadline=None)
@given(scores=LEVEL_SCORES, temperature=st.sampled_from([1e-3, 0.1, 1.0, 10.0]))
def test_priorities_are_probabilities_whatever_the_scores_and_leave_them_alone(scores, temperature):
    before = scores.copy()
    for prioritise in (rank_priorities, proportional_priorities):
        chances = prioritise(scores, temperature)
        assert (chances >= 0).all() and chances.sum() == pytest.approx(1.0)
        assert chances[scores.argmax()] == chances.max()
    assert np.array_equal(scores, before)  # a published transform wrote -inf into the scores themselves


# -- the buffer --------------------------------------------------------------------------------------------------------


def test_levels_are_drawn_as_the_probabilities_say():
    buffer = buffer_of([0.0, 3.0, 1.0], prioritisation="proportional", temperature=1.0, staleness=0.5)
    rng = np.random.default_rng(0)
    for _ in range(4):
        buffer.draw(1, rng)
    expected = 0.5 * np.array([0.0, 0.75, 0.25]) + 0.5 * staleness_priorities(4 - buffer._numbers[:, 1])
    np.testing.assert_allclose(buffer.probabilities(), expected)
    counts = np.bincount(buffer.draw(20_000, rng), minlength=3)
    np.testing.assert_allclose(counts / 20_000, expected, atol=0.015)


def test_a_level_without_score_is_drawn_again_for_its_age():
    buffer, rng = buffer_of([1.0] * 9 + [-1.0], temperature=0.1, staleness=0.3), np.random.default_rng(0)
    assert 9 in [int(buffer.draw(1, rng)[0]) for _ in range(200)]
    alone = buffer_of([1.0] * 9 + [-1.0], temperature=0.1, staleness=0.0)
    assert 9 not in [int(alone.draw(1, rng)[0]) for _ in range(200)]


def test_a_full_buffer_gives_up_the_level_that_is_least_likely_to_be_replayed():
    buffer = buffer_of([3.0, 1.0, 2.0], staleness=0.0)
    assert buffer.offer(np.array([0.9]), 0.5, Past()) is None and len(buffer) == 3
    assert buffer.offer(np.array([0.9]), 1.0, Past(best=7.0)) == 1
    assert buffer.levels[:, 0].tolist() == [0.0, 0.9, 0.002] and buffer.past(1).best == 7.0


def test_the_newest_level_does_not_inherit_the_chances_of_the_one_that_left():
    buffer = buffer_of(list(range(1, 201)), staleness=0.0)
    assert buffer.offer(np.array([0.91]), 500.0, Past()) == 0
    assert buffer.offer(np.array([0.92]), 500.0, Past()) == 1
    assert buffer.find(np.array([0.91])) == 0


def test_a_level_that_was_replaced_is_not_found_any_more():
    buffer = buffer_of([3.0, 1.0], staleness=0.0)
    assert buffer.find(np.array([0.001])) == 1
    buffer.offer(np.array([0.5]), 2.0, Past())
    assert buffer.find(np.array([0.001])) is None and buffer.find(np.array([0.5])) == 1


@pytest.mark.parametrize("n", [10, 40, 400])
def test_probabilities_are_never_older_than_a_fortieth_of_the_buffer(n):
    buffer = buffer_of(np.linspace(1.0, 2.0, n).tolist(), staleness=0.0)
    buffer.probabilities()
    for change in range(max(1, n // 40)):
        buffer.update(change, 3.0 + change, Past())
    np.testing.assert_array_equal(buffer.probabilities(), rank_priorities(buffer.scores, 0.1))


def test_places_are_drawn_inside_however_the_numbers_round():
    class Last:
        def random(self, n):
            return np.full(n, np.nextafter(1.0, 0.0))

    assert drawn_places(np.cumsum(np.full(10, 0.1)), 2, Last()).tolist() == [9, 9]


def test_a_loaded_buffer_goes_on_bit_for_bit():
    rng = np.random.default_rng(3)
    one = LevelBuffer(50, 2, temperature=0.5, staleness=0.2)
    for step in range(300):
        one.offer(rng.random(2), rng.random(), Past(rng.random(), rng.random(), 1.0))
        if step % 3 == 0:
            one.draw(2, rng)
            one.update(int(rng.integers(len(one))), rng.random(), Past())
    other = LevelBuffer(50, 2, temperature=0.5, staleness=0.2)
    other.load_state_dict(unpack_state(*pack_state(one.state_dict())))
    assert other.find(one.levels[17]) == 17 and other.past(17) == one.past(17)
    drawn = []
    for buffer in (one, other):
        dice = np.random.default_rng(5)
        drawn.append([(buffer.draw(3, dice).tolist(), buffer.offer(dice.random(2), 0.9, Past())) for _ in range(50)])
    assert drawn[0] == drawn[1]


# -- levels ------------------------------------------------------------------------------------------------------------


def test_equal_tasks_are_equal_levels():
    space = TaskSpace.of(Dict(kind=Discrete(3), x=Box(0.0, 4.0, (), np.float64)))
    points = np.random.default_rng(0).random((200, 2))
    levels = as_levels(space, points)
    assert set(np.round(levels[:, 0], 12)) == {round(1 / 6, 12), 0.5, round(5 / 6, 12)}
    np.testing.assert_allclose(levels[:, 1], points[:, 1])
    np.testing.assert_array_equal(levels[:, 0], as_levels(space, levels)[:, 0])


@pytest.mark.parametrize(
    ("space", "count"),
    [(Discrete(7), 7), (MultiDiscrete([3, 5]), 15), (MultiBinary(4), 16), (Dict(a=Discrete(2), b=Box(0, 1)), math.inf)],
)
def test_the_number_of_tasks_is_known_when_it_is_finite(space, count):
    assert number_of_tasks(TaskSpace.of(space)) == count


def test_a_wrong_choice_is_answered_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"score = 'max_mcc' must be one of .*Did you mean 'max_mc'"):
        require_one_of(object(), score=("max_mcc", SCORES))
