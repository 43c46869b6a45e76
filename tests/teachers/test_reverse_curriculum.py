"""Reverse curriculum: starts spread from the goal by random actions, as far as the learner keeps up."""

import gymnasium as gym
import numpy as np
import pytest

from rlteach.errors import InvalidValue
from rlteach.lesson import Outcome
from rlteach.snapshots.collect import Explorer
from rlteach.snapshots.store import SnapshotStore
from rlteach.teachers.reverse_curriculum import ReverseCurriculum, good_starts
from tests.teachers.chain import LENGTH, Chain, ChainLearner, chain_store, explorer, position_of, train


def make(seed=0, **hyperparameters):
    settings = {"new": 12, "old": 6, "walk": 10, "every": 2, "ordinary": 0.0, **hyperparameters}
    return ReverseCurriculum(chain_store(), explorer(), seed=seed, **settings)


def play_iteration(teacher, success):
    """Play until the next iteration; `success(position)` is what an episode gives. Returns the positions played."""
    positions = []
    iteration = max(teacher.iteration, 1)
    while teacher.iteration <= iteration:
        (lesson,) = teacher.propose(1)
        positions.append(position_of(lesson))
        score = success(positions[-1])
        teacher.observe([Outcome(lesson.id, score, score, 3, score, True)])
    return positions


def test_good_starts_are_neither_too_hard_nor_too_easy():
    rates = {1: 0.0, 2: 0.1, 3: 0.5, 4: 0.9, 5: 0.91, 6: 1.0}
    assert good_starts(rates, 0.1, 0.9) == ([2, 3, 4], [5, 6])


@pytest.mark.parametrize("seed", [0, 1])
def test_it_leads_a_learner_from_the_goal_to_the_ordinary_start(seed):
    learner = ChainLearner(seed)
    teacher = make(seed)
    played = train(teacher, learner, 8000, until=lambda: learner.success_from(0) > 0.8)
    assert played < 8000
    early, late = np.array(learner.starts[:40]), np.array(learner.starts[-40:])
    assert early.min() >= LENGTH - 1 - 10 and late.min() < 8


def test_the_first_starts_are_near_the_goal_and_not_all_the_same():
    positions = {position_of(lesson) for lesson in make().propose(200)}
    assert min(positions) >= LENGTH - 1 - 10 * 4 and len(positions) > 2  # walks go on from what walks met


def test_starts_do_not_spread_while_the_learner_fails():
    teacher = make()
    nearest = [np.mean(play_iteration(teacher, lambda position: 0.0)) for _ in range(8)]
    assert min(nearest) > LENGTH - 10


def test_starts_spread_from_those_that_are_mastered_when_none_is_between():
    teacher = make()
    means = [np.mean(play_iteration(teacher, lambda position: 1.0)) for _ in range(12)]
    assert means[-1] < means[0] - 4


def test_the_next_starts_are_near_the_good_ones():
    teacher = make(walk=2, every=1, old=0)
    for _ in range(12):
        play_iteration(teacher, lambda position: 1.0)
    luck = np.random.default_rng(0)
    play_iteration(teacher, lambda position: float(luck.random() < 0.5) if position == 15 else float(position > 15))
    seeds = {teacher._pool.snapshot(number)["position"] for number in teacher._seeds}
    current = {teacher._pool.snapshot(number)["position"] for number in teacher._current}
    assert all(any(abs(p - s) <= 8 for s in seeds) for p in current)


def test_old_good_starts_are_played_again():
    teacher = make(old=6)
    luck = np.random.default_rng(0)
    for _ in range(5):
        play_iteration(teacher, lambda position: float(luck.random() < 0.5))
    replayed = set(teacher._old) & set(teacher._current)
    assert len(replayed) == 6 and len(teacher._current) == 18


def test_walks_are_counted():
    teacher = make()
    assert teacher.explored == 0
    teacher.propose(1)
    assert teacher.explored == teacher.explorer.steps > 12
    before = teacher.explored
    play_iteration(teacher, lambda position: 1.0)
    assert teacher.explored == teacher.explorer.steps > before


def test_the_time_limit_starts_anew():
    assert {(x.start.elapsed, x.start.limit) for x in make().propose(20)} == {(0, None)}


def test_where_every_walk_ends_at_once_the_goals_themselves_are_the_starts():
    class Ending(Chain):
        def step(self, action):
            observation, reward, _, _, info = super().step(action)
            return observation, reward, True, False, info

    store = SnapshotStore()
    store.claim(Ending())
    store.add({"position": 4}, episode=0, step=4, remaining=1, ret=1.0, success=1.0)
    teacher = ReverseCurriculum(store, Explorer(Ending(), seed=0), ordinary=0.0)
    assert {position_of(lesson) for lesson in teacher.propose(10)} == {4}


def test_goals_may_be_named():
    teacher = ReverseCurriculum(chain_store(), explorer(), goals=[3], walk=1, every=1, new=1, ordinary=0.0)
    assert {position_of(lesson) for lesson in teacher.propose(10)} <= set(range(8))
    for goals in ([], [99], [-1]):
        with pytest.raises(InvalidValue, match=rf"one or more places in the store, 0 to {LENGTH - 1}"):
            ReverseCurriculum(chain_store(), explorer(), goals=goals)


def test_snapshots_of_another_environment_than_the_explorers_are_refused():
    class Other(Chain):
        observation_space = gym.spaces.Box(0.0, 1.0, (3,), np.float64)

    with pytest.raises(InvalidValue, match="holds snapshots of"):
        ReverseCurriculum(chain_store(), Explorer(Other(), seed=0))
