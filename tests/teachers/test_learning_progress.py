"""Learning progress: equations, both sources of success, cells of a Box, and the faults of the published code."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from hypothesis import given
from hypothesis import strategies as st

from rlteach.errors import ConfigError
from rlteach.files import pack_state, unpack_state
from rlteach.lesson import Outcome
from rlteach.task_space import TaskSpace
from rlteach.teachers.learning_progress import (
    Cells,
    LearningProgress,
    learning_progress,
    normalised,
    progress_weights,
    reweighted,
)
from rlteach.teachers.uniform import Uniform
from tests.teachers.students import Toy, outcome, play, points_of

SQUARE = Box(0.0, 1.0, (2,), np.float64)
RATES = st.lists(st.floats(0.0, 1.0), min_size=2, max_size=30).map(np.array)


# -- equations ---------------------------------------------------------------------------------------------------------


def test_success_is_counted_beyond_that_of_the_first_learner():
    success, baseline = np.array([0.5, 0.2, 1.0, 0.9]), np.array([0.2, 0.5, 0.9, 0.0])
    np.testing.assert_allclose(normalised(success, baseline), [0.3 / 0.8, 0.0, 1.0, 0.9])  # 0.9 is capped at 0.75


@given(RATES, st.floats(0.01, 0.99))
def test_reweighting_keeps_the_ends_and_the_order(rates, theta):
    found = reweighted(rates, theta)
    assert ((found >= -1e-12) & (found <= 1 + 1e-12)).all()
    order = np.argsort(rates, kind="stable")
    assert (np.diff(found[order]) >= -1e-12).all()
    np.testing.assert_allclose(reweighted(np.array([0.0, 1.0]), theta), [0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(reweighted(rates, 0.5), rates, atol=1e-12)


def test_progress_at_low_success_is_magnified():
    low, high = (learning_progress(np.array([p + 0.05]), np.array([p]), 0.1)[0] for p in (0.05, 0.9))
    assert low == pytest.approx(0.9 * (0.1 / (0.1 + 0.08) - 0.05 / (0.05 + 0.09)))
    assert low > 5 * high


def test_weights_are_sigmoids_of_standard_scores_around_a_quantile():
    progress, success = np.array([0.0, 0.1, 0.0, 0.4, 0.2]), np.array([0.0, 0.3, 0.9, 0.5, 0.0])
    known = np.array([0.1, 0.0, 0.4, 0.2])
    scores = (known - known.mean()) / known.std()
    sigmoids = 1 / (1 + np.exp(-(scores - np.quantile(scores, 0.8))))
    expected = np.insert(sigmoids / sigmoids.sum(), 0, 0.0)
    np.testing.assert_allclose(progress_weights(progress, success, 0.8), expected)


@given(RATES, st.floats(0.0, 1.0))
def test_weights_are_probabilities(progress, quantile):
    weights = progress_weights(progress, np.zeros(len(progress)), quantile)
    assert np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() == pytest.approx(1.0)


def test_all_tasks_are_alike_when_nothing_is_known():
    np.testing.assert_allclose(progress_weights(np.zeros(5), np.zeros(5), 0.9), 0.2)


# -- cells -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", [1, 2, 6])
def test_points_drawn_in_a_cell_belong_to_it_and_cells_cover_the_space(dimension):
    cells, rng = Cells(TaskSpace.of(Box(0.0, 1.0, (dimension,), np.float64)), 64), np.random.default_rng(0)
    points = np.array([cells.draw(k, rng) for k in range(64) for _ in range(30)])
    distances = np.linalg.norm(points[:, None] - cells.points, axis=2)
    assert (distances.argmin(axis=1) == np.repeat(np.arange(64), 30)).all()
    assert ((points >= 0) & (points <= 1)).all() and ((points == 0) | (points == 1)).mean() == 0
    reach = (np.abs(rng.random((3000, dimension))[:, None] - cells.points) <= 0.5).all(axis=2)
    assert reach.any(axis=1).all()
    np.testing.assert_allclose(points.std(axis=0), 12**-0.5, rtol=0.2)  # that of a uniform distribution


def test_levels_are_not_jittered():
    cells = Cells(TaskSpace.of(Dict(kind=Discrete(3), x=Box(0.0, 1.0, ()))), 32)
    points = np.array([cells.draw(k, np.random.default_rng(0)) for k in range(len(cells))])
    np.testing.assert_allclose(points[:, 0], cells.points[:, 0])
    assert (points[:, 1] != cells.points[:, 1]).mean() > 0.5


# -- from training episodes --------------------------------------------------------------------------------------------


def test_averages_move_with_each_episode_of_their_own_task():
    teacher = LearningProgress(Discrete(4), fast=0.3, slow=0.2)
    results = np.random.default_rng(0).random(40)  # partial success counts: the published online form floors it
    fast = slow = results[0]
    for k, result in enumerate(results):
        teacher._learn(np.array([[0.4]]), np.zeros(1), np.array([result]))
        if k:
            fast = 0.7 * fast + 0.3 * result
            slow = 0.8 * slow + 0.2 * fast
    np.testing.assert_allclose([teacher._fast, teacher._slow], [[0, fast, 0, 0], [0, slow, 0, 0]])
    assert teacher._moves.tolist() == [0, 40, 0, 0]
    assert fast > 0.3


def test_every_draw_until_the_next_refresh_uses_the_same_chances():
    teacher = LearningProgress(Discrete(4), seed=0, refresh_every=10, uniform_share=0.2)
    play(teacher, lambda point, episode: (0.0, float(point[0] < 0.25)), 9, batch=1)
    assert teacher._cumulative.tolist() == [1, 2, 3, 4]
    play(teacher, lambda point, episode: (0.0, float(point[0] < 0.25)), 1)
    np.testing.assert_allclose(teacher._cumulative, np.cumsum([0.85, 0.05, 0.05, 0.05]))


def test_what_the_learner_can_do_from_the_start_is_no_progress():
    teacher = LearningProgress(Discrete(4), uniform_share=0.0)
    teacher._learn(np.array([[0.1], [0.4], [0.4]]), np.zeros(3), np.array([1.0, 0.0, 1.0]))
    chances = teacher.chances()
    assert chances[1] > 2 * chances[0] > 0 and chances[2] == chances[3] == 0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_prefers_what_is_being_learned_to_what_is_known_or_out_of_reach(seed):
    practice = np.zeros(9)

    def student(point, episode):
        level = int(9 * point[0])
        practice[level] += 1
        return 0.0, 1.0 if level < 3 else 0.0 if level >= 6 else min(practice[level] / 400, 1.0)

    points, _ = play(LearningProgress(Discrete(9), seed=seed, uniform_share=0.1), student, 1500)
    counts = np.bincount((9 * points[500:, 0]).astype(int), minlength=9)
    assert counts[3:6].sum() > 0.5 * counts.sum() and counts[6:].sum() < 0.1 * counts.sum()


def test_it_masters_more_of_the_toy_space_than_uniform_tasks():
    mastered = []
    for teacher in (LearningProgress(SQUARE, seed=0), Uniform(SQUARE, seed=0)):
        toy = Toy(full=40.0)
        play(teacher, lambda point, episode, toy=toy: (0.0, toy(point, episode)), 5000)
        mastered.append((toy.competence >= 30).mean())
    assert mastered[0] > 2 * mastered[1] + 0.03


# -- from roll-outs ----------------------------------------------------------------------------------------------------


class Player:
    """Plays tasks with a learner whose chance of success is a function of the task's place and of its calls."""

    def __init__(self, space, score):
        self.space, self.score, self.calls = TaskSpace.of(space), score, []

    def __call__(self, tasks, *, repeats=1, signals=frozenset()):
        self.calls.append((len(tasks), repeats))
        played = [(self.space.to_unit(task), j) for task in tasks for j in range(repeats)]
        return [Outcome(i, 0.0, 0.0, 1, self.score(p, j, len(self.calls)), True) for i, (p, j) in enumerate(played)]


def test_only_an_evaluated_teacher_wants_rollouts():
    assert LearningProgress(SQUARE, evaluated=True).wants_rollouts
    assert not LearningProgress(SQUARE).wants_rollouts


def test_all_candidates_are_played_at_the_stated_times_and_the_first_is_the_baseline():
    space = MultiDiscrete([2, 3])
    teacher = LearningProgress(space, evaluated=True, evaluate_every=30, repeats=4, fast=0.5, slow=0.5)
    first, later = (0.25, 0.75), (0.5, 1.0)  # of two kinds of task, as shares of four repeats

    def score(point, repeat, call):
        return float(repeat < 4 * (first if call == 1 else later)[int(point[0] > 0.5)])

    teacher.rollouts = player = Player(space, score)
    played = []
    for _ in range(70):
        play(teacher, lambda point, episode: (0.0, 1.0), 1)  # training success must not count
        played.append(len(player.calls))
    assert played[0] == 1 and played[29] == 1 and played[30] == 2 and played[60] == 3
    assert player.calls == [(6, 4)] * 3
    rows = np.array([first if point[0] < 0.5 else later for point in teacher.cells.points])
    assert rows.shape == (6, 2)
    np.testing.assert_allclose(teacher._baseline, [first[int(p[0] > 0.5)] for p in teacher.cells.points])
    once = np.array([(0.5 - 0.25) / 0.75 if p[0] < 0.5 else 1.0 for p in teacher.cells.points])
    fast = np.zeros(6)
    slow = np.zeros(6)
    for success in (np.zeros(6), once, once):
        fast = 0.5 * fast + 0.5 * success
        slow = 0.5 * slow + 0.5 * fast
    np.testing.assert_allclose([teacher._fast, teacher._slow], [fast, slow])


def test_rollouts_that_tell_nothing_are_survived():
    teacher = LearningProgress(SQUARE, evaluated=True, candidates=8, evaluate_every=5)
    teacher.rollouts = Player(SQUARE, lambda point, repeat, call: (np.nan, np.inf, 7.0)[call % 3])
    play(teacher, lambda point, episode: 1.0, 60)
    assert np.isfinite(teacher.chances()).all() and teacher.chances().sum() == pytest.approx(1.0)


def test_without_rollouts_an_evaluated_teacher_learns_from_training():
    teacher = LearningProgress(Discrete(4), evaluated=True, seed=0)
    play(teacher, lambda point, episode: (0.0, float(point[0] < 0.25)), 200)
    assert teacher._fast[0] > 0.5 and teacher._baseline is None
    assert teacher.chances()[0] == pytest.approx(1.0)


def test_evaluation_follows_a_learner_that_gets_better():
    teacher = LearningProgress(Discrete(20), evaluated=True, evaluate_every=20, seed=0, fast=0.3, slow=0.3)
    teacher.rollouts = Player(Discrete(20), lambda point, repeat, call: float(point[0] < call / 40))
    points, _ = play(teacher, lambda point, episode: 0.0, 600)
    late = points[400:, 0]
    assert np.median(late) > 0.35 and (late > 0.8).sum() == 0  # mastered up to 0.5 to 0.75; beyond is no progress


# -- promises ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("evaluated", [False, True])
def test_a_state_goes_on_in_the_middle_of_everything(evaluated):
    teachers = [LearningProgress(SQUARE, seed=s, evaluated=evaluated, candidates=16, evaluate_every=50) for s in (0, 1)]
    if evaluated:
        for teacher in teachers:
            teacher.rollouts = Player(SQUARE, lambda point, repeat, call: float(point[0] < 0.5))
    play(teachers[0], lambda p, e: (0.0, float(p[0] < 0.5)), 133)
    teachers[1].load_state_dict(unpack_state(*pack_state(teachers[0].state_dict())))
    ours, theirs = (play(teacher, lambda p, e: (0.0, float(p[1] < 0.5)), 200)[0].tolist() for teacher in teachers)
    assert ours == theirs


def test_seed_zero_is_a_seed():
    runs = [points_of(t, t.propose(20)).tolist() for t in (LearningProgress(SQUARE, seed=seed) for seed in (0, 0, 1))]
    assert runs[0] == runs[1] != runs[2]


def test_a_success_that_is_not_a_number_is_ignored_with_one_warning():
    teacher = LearningProgress(SQUARE, seed=0)
    with pytest.warns(RuntimeWarning, match="LearningProgress ignores outcomes that are not finite") as caught:
        teacher.observe([outcome(lesson, 1.0, np.nan) for lesson in teacher.propose(30)])
    assert len(caught) == 1 and not teacher._moves.any()


def test_hyperparameters_out_of_range_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        LearningProgress(SQUARE, candidates=1, theta=0.0, uniform_share=1.5, repeats=0)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["candidates", "theta", "uniform_share", "repeats"]
