"""The backward algorithm: from the end of one demonstration back to the ordinary reset, as the learner keeps up."""

import numpy as np
import pytest
from scipy.stats import chisquare

from rlteach.errors import InvalidValue
from rlteach.lesson import Outcome
from rlteach.teachers.backward import Backward, keeps_up
from rlteach.teachers.uniform_starts import UniformStarts
from tests.teachers.chain import LENGTH, ChainLearner, chain_store, filled, position_of, train

DEMONSTRATION = [{"success": 1.0}] * 10


def answer(teacher, success, wanted=None):
    """Let an episode from a snapshot (from the wanted position) succeed or fail."""
    while True:
        (lesson,) = teacher.propose(1)
        if position_of(lesson) is not None and wanted in (None, position_of(lesson)):
            teacher.observe([Outcome(lesson.id, success, success, 3, success, True)])
            return
        teacher.forget([lesson.id])


@pytest.mark.parametrize(
    ("results", "recent", "threshold", "expected"),
    [
        ([], 10, 0.2, False),
        ([True], 10, 0.2, False),
        ([True, True], 10, 0.2, True),  # two of ten, whatever becomes of the other eight
        ([True] + [False] * 9 + [True], 10, 0.2, False),  # the first one is too long ago
        ([True] + [False] * 8 + [True], 10, 0.2, True),
        ([True, False, True], 3, 0.7, False),
        ([False], 5, 0.0, True),
    ],
)
def test_keeping_up_is_a_share_of_the_recent_rollouts(results, recent, threshold, expected):
    assert keeps_up(results, recent, threshold) is expected


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_leads_a_learner_back_to_the_ordinary_start(seed):
    learner = ChainLearner(seed)
    alone = ChainLearner(seed)
    teacher = Backward(chain_store(), seed=seed)
    played = train(teacher, learner, 4000, until=lambda: teacher.done)
    assert teacher.done and played < 2000
    train(teacher, learner, 200)
    assert learner.success_from(0) > 0.8
    train(UniformStarts(chain_store(), share=0.0, seed=seed), alone, played + 200)
    assert alone.success_from(0) < 0.01


def test_the_start_moves_back_with_the_learner_and_never_runs_ahead():
    learner = ChainLearner(0)
    teacher = Backward(chain_store(), ordinary=0.0, seed=0)
    places = [teacher.at]
    for _ in range(300):
        train(teacher, learner, 4)
        places.append(teacher.at)
        assert min(learner.starts[-4:]) >= teacher.at or teacher.done
    moves = -np.diff(places)
    assert (moves >= 0).all() and moves.max() <= 2 and places[0] == LENGTH - 1 and places[-1] == 0


def test_starts_lie_in_the_window_but_for_a_share_spread_over_the_rest():
    teacher = Backward(filled(DEMONSTRATION), window=3, recent=1, spread=0.2, ordinary=0.1, seed=0)
    for _ in range(5):
        answer(teacher, 1.0)
    assert teacher.at == 4
    positions = [position_of(lesson) for lesson in teacher.propose(6000)]
    started = np.array([position for position in positions if position is not None])
    assert (len(positions) - len(started)) / 6000 == pytest.approx(0.1, abs=0.02)
    expected = np.array([0.8 / 3] * 3 + [0.0] * 3) + 0.2 / 6
    assert chisquare(np.bincount(started, minlength=10)[4:], len(started) * expected).pvalue > 1e-3
    assert started.min() == 4


def test_only_rollouts_from_the_window_count():
    teacher = Backward(filled(DEMONSTRATION), window=2, recent=2, threshold=1.0, spread=0.9, ordinary=0.0, seed=0)
    while teacher.at > 4:
        answer(teacher, 1.0)
    for _ in range(20):
        answer(teacher, 1.0, wanted=8)
    assert teacher.at == 4
    answer(teacher, 1.0, wanted=4)
    answer(teacher, 1.0, wanted=5)
    assert teacher.at == 3


def test_failures_keep_the_start_where_it_is():
    teacher = Backward(filled(DEMONSTRATION), seed=0)
    for _ in range(100):
        answer(teacher, 0.0)
    assert teacher.at == 9 and not teacher.done


def test_it_ends_at_the_ordinary_reset_with_a_share_kept():
    teacher = Backward(filled(DEMONSTRATION), recent=1, step=4, window=1, spread=0.2, seed=0)
    for expected in (9, 5, 1, 0):
        assert teacher.at == expected and not teacher.done
        answer(teacher, 1.0, wanted=expected)
    assert teacher.done
    positions = [position_of(lesson) for lesson in teacher.propose(4000)]
    assert positions.count(None) / 4000 == pytest.approx(0.8, abs=0.03)
    assert {position for position in positions if position is not None} == set(range(10))


def test_the_best_demonstration_is_taken_unless_one_is_named():
    rows = [
        {"episode": 0, "ret": 5.0, "success": 0.0, "to_go": 5.0},
        {"episode": 1, "ret": 2.0, "success": 1.0, "remaining": 9, "step": 0},
        {"episode": 2, "ret": 3.0, "success": 1.0, "remaining": 9, "step": 0},
        {"episode": 3, "ret": 3.0, "success": 1.0, "remaining": 4, "step": 0},
    ]
    store = filled([*rows, *({**row, "step": 1, "remaining": 8} for row in rows)])
    best = Backward(store, ordinary=0.0)
    assert {position_of(lesson) for lesson in best.propose(20)} == {7}
    named = Backward(store, episode=0, ordinary=0.0)
    assert {position_of(lesson) for lesson in named.propose(20)} == {4}
    with pytest.raises(InvalidValue, match="no demonstration 7; the store holds the trajectories 0, 1, 2, 3"):
        Backward(store, episode=7)


def test_a_demonstration_without_success_asks_for_its_return_to_go():
    rows = [{"to_go": 10.0 - number} for number in range(4)]
    teacher = Backward(filled(rows), recent=1, window=1, seed=0, ordinary=0.0)
    for ret, place in ((6.9, 3), (7.0, 2), (7.9, 2), (8.0, 1)):
        (lesson,) = teacher.propose(1)
        while position_of(lesson) != teacher.at:
            (lesson,) = teacher.propose(1)
        teacher.observe([Outcome(lesson.id, ret, ret, 3, 0.0, True)])
        assert teacher.at == place
