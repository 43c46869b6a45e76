"""PAIRED: what its adversary earns, how it chooses and learns, and whom it cannot do without."""

import itertools

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete

import rlteach
from rlteach.errors import ConfigError, UserError
from rlteach.files import pack_state, unpack_state
from rlteach.lesson import Outcome
from rlteach.task_space import TaskSpace
from rlteach.teachers.networks import array, tensor
from rlteach.teachers.paired import (
    OPEN_TASKS,
    PAIRED,
    Adversary,
    Proposals,
    clipped_surrogate,
    flexible_regret,
    minimax_reward,
    regret,
)
from tests.teachers.students import drawn, outcome, play, points_of

SQUARE = Box(0.0, 1.0, (2,), np.float64)
QUICK = {"batch": 16, "hidden": 16, "noise": 2, "learning_rate": 3e-3}


class Second:
    """A second student that does not change: `score(point)` is its return, or a list of those of all plays."""

    def __init__(self, space, score):
        self.space, self.score, self.tasks, self.repeats = TaskSpace.of(space), score, [], []

    def __call__(self, tasks, *, repeats=1):
        self.tasks.append([self.space.to_unit(task).tolist() for task in tasks])
        self.repeats.append(repeats)
        returns = [np.broadcast_to(self.score(self.space.to_unit(task)), (repeats,)) for task in tasks]
        return [Outcome(-1, float(ret), 0.0, 3, 0.0, True) for ret in np.concatenate(returns)]


def paired(space=SQUARE, score=lambda point: 1.0, cls=PAIRED, **hyperparameters):
    teacher = cls(space, **{"seed": 0, **QUICK, **hyperparameters})
    if teacher.wants_second_student:
        teacher.second_student = Second(space, score)
    return teacher


def fails(point, episode):
    return 0.0, 0.0


# -- rewards -----------------------------------------------------------------------------------------------------------


def test_regret_is_the_best_of_the_antagonist_less_the_mean_of_the_protagonist_and_never_negative():
    rng = np.random.default_rng(0)
    ant, pro = rng.normal(size=(50, 3)), rng.normal(size=(50, 3))
    expected = [max(0.0, max(a) - sum(p) / 3) for a, p in zip(ant.tolist(), pro.tolist(), strict=True)]
    np.testing.assert_allclose(regret(ant, pro), expected)
    assert 0.0 in expected and max(expected) > 1.0
    np.testing.assert_allclose(minimax_reward(pro), [-max(p) for p in pro.tolist()])


def test_flexible_regret_lets_the_better_one_be_the_antagonist():
    rng = np.random.default_rng(1)
    ant, pro = rng.normal(size=(50, 2)), rng.normal(size=(50, 2))
    expected = []
    for a, p in zip(ant.tolist(), pro.tolist(), strict=True):
        better, other = (a, p) if max(a) >= max(p) else (p, a)
        expected.append(max(0.0, max(better) - sum(other) / 2))
    np.testing.assert_allclose(flexible_regret(ant, pro), expected)
    np.testing.assert_allclose(flexible_regret(ant, pro), flexible_regret(pro, ant))


# -- the policy --------------------------------------------------------------------------------------------------------


def adversary(bins=(3, 2), sequential=True, trained=True, seed=0):
    rng = np.random.default_rng(seed)
    network = Adversary(bins, sequential=sequential, noise=2, hidden=8, rng=rng)
    if trained:  # any weights but those of the uniform beginning
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(tensor(rng.normal(size=tuple(parameter.shape))))
    return network


@pytest.mark.parametrize("sequential", [True, False])
def test_the_chances_of_all_choices_add_up_to_one_and_are_those_of_the_draws(sequential):
    network = adversary(sequential=sequential)
    every = np.array([[(i + 0.5) / 3, (j + 0.5) / 2] for i, j in itertools.product(range(3), range(2))])
    noise = np.repeat([[0.3, -1.0]], 6, axis=0)
    chances = np.exp(array(network.judge(noise, every)[0]).sum(axis=1))
    assert chances.sum() == pytest.approx(1.0, abs=1e-5) and chances.std() > 0.01

    class Same(np.random.Generator):
        def standard_normal(self, size):
            return np.repeat([[0.3, -1.0]], size[0], axis=0)

    seen, points = network.draw(20_000, Same(np.random.PCG64(0)))
    assert seen.shape == (20_000, 2) and points.min() >= 0.0 and points.max() <= 1.0
    places = np.floor(points[:, 0] * 3) * 2 + np.floor(points[:, 1] * 2)
    np.testing.assert_allclose(np.bincount(places.astype(int), minlength=6) / 20_000, chances, atol=0.015)
    inner = np.modf(points * [3, 2])[0]
    np.testing.assert_allclose(inner.mean(axis=0), 0.5, atol=0.01)  # uniform within the bin
    np.testing.assert_allclose(inner.std(axis=0), 1 / np.sqrt(12), atol=0.01)


@pytest.mark.parametrize("sequential", [True, False])
def test_entropies_are_those_of_the_chances(sequential):
    network = adversary(bins=(4, 2, 3), sequential=sequential)
    noise, points = network.draw(5, np.random.default_rng(0))
    logs = array(network._log_chances(tensor(noise), tensor(points), slice(None)))
    expected = np.zeros((5, 3))
    for n, i in itertools.product(range(5), range(3)):
        p = np.exp(logs[n, i, : network.bins[i]])
        assert p.sum() == pytest.approx(1.0, abs=1e-5)
        expected[n, i] = -(p * np.log(p)).sum()
    found = array(network.judge(noise, points)[1])
    np.testing.assert_allclose(found, expected if sequential else expected.sum(axis=1, keepdims=True), rtol=1e-4)


def test_a_choice_knows_those_before_it_and_none_after_it():
    network = adversary(bins=(4, 4, 4))
    noise, points = network.draw(1, np.random.default_rng(0))
    before = array(network._log_chances(tensor(noise), tensor(points), slice(None)))[0]
    for changed in range(3):
        other = points.copy()
        other[0, changed] = 1.0 - other[0, changed]
        after = array(network._log_chances(tensor(noise), tensor(other), slice(None)))[0]
        same = [np.array_equal(before[i], after[i]) for i in range(3)]
        assert same == [i <= changed for i in range(3)]


@pytest.mark.parametrize("sequential", [True, False])
def test_it_begins_uniform(sequential):
    _, points = adversary((10, 10), sequential, trained=False).draw(5000, np.random.default_rng(0))
    for column in points.T:
        np.testing.assert_allclose(np.histogram(column, bins=10, range=(0, 1))[0] / 5000, 0.1, atol=0.02)


# -- PPO ---------------------------------------------------------------------------------------------------------------


def test_the_surrogate_is_that_of_the_paper():
    rng = np.random.default_rng(0)
    now, before, advantages = rng.normal(size=40), rng.normal(size=40), rng.normal(size=40)
    terms = []
    for n, b, a in zip(now, before, advantages, strict=True):
        ratio = np.exp(n - b)
        terms.append(min(ratio * a, min(max(ratio, 0.8), 1.2) * a))
    found = clipped_surrogate(torch.tensor(now), torch.tensor(before), torch.tensor(advantages), 0.2)
    assert float(found) == pytest.approx(np.mean(terms))


def test_its_first_gradient_is_that_of_reinforce():
    network = adversary(bins=(4,), sequential=False)
    noise, points = network.draw(30, np.random.default_rng(0))
    advantages = np.random.default_rng(1).normal(size=(30, 1))
    log_chances, _, _ = network.judge(noise, points)
    last = network.policy[-1]
    (found,) = torch.autograd.grad(
        clipped_surrogate(log_chances, log_chances.detach(), tensor(advantages), 0.2), [last.bias]
    )
    logs = array(network._log_chances(tensor(noise), tensor(points), slice(None)))[:, 0]
    chosen = np.eye(4)[np.floor(points[:, 0] * 4).astype(int)]
    np.testing.assert_allclose(array(found), (advantages * (chosen - np.exp(logs))).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    ("sequential", "rewards"), [(True, [[0.0, 0.9], [0.2, 0.5]]), (False, [[0.0, 0.6], [0.3, 0.9]])]
)
def test_it_comes_to_rest_where_chances_are_proportional_to_the_exponential_of_the_reward(sequential, rewards):
    teacher = PAIRED(MultiDiscrete([2, 2]), seed=0, sequential=sequential, entropy=0.5, hidden=8, learning_rate=1e-2)
    table = np.array(rewards)  # without knowledge of each other, parameters can only follow rewards that add up
    for _ in range(50):
        proposals = teacher._proposed(256)
        i, j = (proposals[:, -2:] * 2).astype(int).T
        teacher._improve(proposals, table[i, j])
    i, j = (teacher._proposed(4000)[:, -2:] * 2).astype(int).T
    expected = np.exp(table / 0.5) / np.exp(table / 0.5).sum()
    np.testing.assert_allclose(np.bincount(2 * i + j, minlength=4) / 4000, expected.ravel(), atol=0.06)


# -- what is out -------------------------------------------------------------------------------------------------------


def test_the_plays_of_a_task_find_each_other_in_any_order():
    proposals, rng = Proposals(3, 2, 1), np.random.default_rng(0)
    points, returns = rng.random((5, 2)), rng.random((3, 5))
    for number, point in enumerate(points):
        proposals.issue(point, np.array([float(number)]))
    found = {}
    for k in range(3):
        for task in rng.permutation(5):
            row = proposals.add(points[task].copy(), returns[k, task])
            assert (row is not None) == (k == 2)
            found[task] = row
    assert all(found[task].tolist() == [task, *returns[:, task]] for task in range(5))
    assert proposals.add(points[0], 1.0) is None and proposals.state_dict()["points"].shape == (0, 2)


def test_tasks_that_are_abandoned_do_not_pile_up():
    proposals = Proposals(2, 1, 1)
    for place in np.linspace(0.0, 1.0, OPEN_TASKS + 50):
        proposals.issue(np.array([place]), np.zeros(1))
    assert len(proposals.state_dict()["rows"]) == OPEN_TASKS
    for _ in range(2):
        gone, kept = proposals.add(np.array([0.0]), 1.0), proposals.add(np.array([1.0]), 1.0)
    assert gone is None and kept.tolist() == [0.0, 1.0, 1.0]


# -- the game ----------------------------------------------------------------------------------------------------------


def test_both_students_play_the_same_tasks_and_proposing_never_waits():
    teacher = paired(batch=4, repeats=3)
    lessons = [lesson for _ in range(20) for lesson in teacher.propose(3)]
    points = points_of(teacher, lessons)
    assert all(len(np.unique(points[i : i + 3], axis=0)) == 1 for i in range(0, 60, 3))
    assert len(np.unique(points, axis=0)) == 20 and teacher.second_student.tasks == []
    for lesson in lessons[:11]:
        teacher.observe([outcome(lesson)])
    assert teacher.second_student.tasks == []  # three tasks and two plays
    teacher.observe([outcome(lesson) for lesson in lessons[11:21]])
    assert teacher.second_student.tasks == [points[:21:3].tolist()] and teacher.second_student.repeats == [3]


def test_an_outcome_earns_what_it_should_in_units_of_the_range_of_returns():
    teacher = paired(return_range=(0.0, 10.0))
    earned = teacher._rewards(np.array([[2.0, 8.0], [0.0, 1.0]]), np.array([[1.0, 3.0], [4.0, 4.0]]))
    np.testing.assert_allclose(earned, [0.6, 0.0])
    teacher.reward = "flexible"
    earned = teacher._rewards(np.array([[2.0, 8.0], [0.0, 1.0]]), np.array([[1.0, 3.0], [4.0, 4.0]]))
    np.testing.assert_allclose(earned, [0.6, 0.35])
    teacher.reward = "minimax"
    np.testing.assert_allclose(teacher._rewards(np.array([[5.0]]), np.array([[1.0, 3.0]])), [-0.3])
    assert abs(teacher._scaled(np.array([1e300, -1.7e308]))).tolist() == [10.0, 10.0]


def share_of(teacher, score, where, episodes):
    points, _ = play(teacher, score, episodes, batch=8)
    return np.mean([where(point) for point in points[-200:]])


@pytest.mark.parametrize("sequential", [True, False])
def test_it_moves_to_the_tasks_that_only_the_second_student_masters(sequential):
    teacher = paired(score=lambda point: float(point[0] > 0.5), sequential=sequential)
    assert share_of(teacher, fails, lambda point: point[0] > 0.5, 1200) > 0.95


def test_it_shuns_what_both_master_and_what_neither_does():
    teacher = paired(score=lambda point: float(point[0] > 0.3))
    share = share_of(teacher, lambda point, _: float(point[0] > 0.6), lambda point: 0.3 < point[0] < 0.6, 1200)
    assert share > 0.9


def test_it_finds_combinations_of_parameters():
    def where(point):
        return (point[0] > 0.5) != (point[1] > 0.5)

    assert share_of(paired(score=lambda point: float(where(point))), fails, where, 2000) > 0.9


def test_it_finds_a_level_of_a_discrete_parameter():
    space = Dict(kind=Discrete(5), x=Box(0.0, 1.0, (), np.float32))
    teacher = paired(space, lambda point: float(0.6 < point[0] < 0.8))
    assert share_of(teacher, fails, lambda point: 0.6 < point[0] < 0.8, 1200) > 0.9
    assert teacher._network.bins.tolist() == [5, 10]
    assert paired(MultiDiscrete([3, 40]))._network.bins.tolist() == [3, 10]


def test_minimax_needs_no_second_student_and_seeks_failure():
    teacher = paired(reward="minimax")
    assert not teacher.wants_second_student and teacher.second_student is None
    share = share_of(teacher, lambda point, _: float(point[0] < 0.7), lambda point: point[0] >= 0.7, 1200)
    assert share > 0.9


def test_flexible_also_goes_where_the_learner_is_the_better_one():
    for reward, found in (("flexible", True), ("regret", False)):
        teacher = paired(score=lambda point: 0.0, reward=reward)
        share = share_of(teacher, lambda point, _: float(point[0] < 0.5), lambda point: point[0] < 0.5, 800)
        assert (share > 0.9) == found


def test_where_both_do_the_same_the_adversary_stays_as_it_is():
    teacher = paired(score=lambda point: 0.0, entropy=0.0)
    points, _ = play(teacher, fails, 800, batch=8)
    assert len(teacher.second_student.tasks) > 20
    np.testing.assert_allclose(points[-400:].std(axis=0), 1 / np.sqrt(12), atol=0.04)


def test_the_scale_of_returns_does_not_matter():
    seen = []
    for factor in (1.0, 8.0):
        teacher = paired(score=lambda point, f=factor: f * point[0], return_range=(0.0, factor))
        seen.append(play(teacher, lambda point, _, f=factor: (f * point[1], 0.0), 200, batch=8)[0].tolist())
    assert seen[0] == seen[1]


# -- whatever happens --------------------------------------------------------------------------------------------------


def weights(teacher):
    return [part["parameter"].copy() for part in teacher._adversary.state_dict()["parts"]]


def test_outcomes_of_the_second_student_that_are_not_finite_are_left_out():
    teacher = paired(score=lambda point: np.nan)
    before = weights(teacher)
    with pytest.warns(RuntimeWarning, match="PAIRED ignores outcomes that are not finite"):
        play(teacher, fails, 200)
    assert all(np.array_equal(a, b) for a, b in zip(before, weights(teacher), strict=True))
    teacher = paired(score=lambda point: [1.0, np.inf] if point[1] > 0.5 else float(point[0] > 0.5))
    with pytest.warns(RuntimeWarning, match="not finite"):
        share = share_of(teacher, fails, lambda point: point[0] > 0.5, 1000)
    assert share > 0.9


def test_without_a_second_student_it_says_in_one_sentence_what_is_missing():
    sentence = "PAIRED has no second student to compare the learner with: `rlteach run CONFIG` gives it one"
    with pytest.raises(UserError, match=sentence) as caught:
        PAIRED(SQUARE).propose(1)
    assert "\n" not in str(caught.value) and "reward='minimax'" in str(caught.value)
    venv = rlteach.make_vec_env("rlteach/PointMassGate-v0", 2)
    taught = rlteach.attach(venv, PAIRED(venv.get_attr("task_space")[0], seed=0))
    with pytest.raises(UserError, match=sentence):
        taught.reset()  # the first thing that training does


def test_it_goes_on_bit_by_bit_in_the_middle_of_a_batch():
    def score(point):
        return [point[0], point[1]]

    one = paired(score=score, batch=7)
    play(one, lambda point, _: float(point.sum()), 103, batch=1)
    state = unpack_state(*pack_state(one.state_dict()))
    assert len(state["own"]["_finished"]) > 0 and len(state["own"]["_proposals"]["rows"]) > 0
    other = paired(score=score, batch=7, seed=5)
    other.load_state_dict(state)
    later = [play(teacher, lambda point, _: float(point.sum()), 120, batch=4)[0].tolist() for teacher in (one, other)]
    assert later[0] == later[1]
    assert all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def test_global_generators_are_left_alone_and_a_portrait_changes_nothing():
    before = torch.random.get_rng_state()
    teacher, alone = paired(), paired()
    for one in (teacher, alone):
        play(one, fails, 80)
    places = teacher.portrait()["points/place"]
    assert places.shape == (256, 2) and np.array_equal(places, teacher.portrait()["points/place"])
    assert pack_state(teacher.state_dict()) == pack_state(alone.state_dict())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_seed_zero_is_a_seed():
    assert drawn(paired(seed=0), 20) == drawn(paired(seed=0), 20) != drawn(paired(seed=1), 20)


def test_hyperparameters_out_of_range_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        PAIRED(SQUARE, bins=1, batch=0, repeats=0, entropy=-1, clip=2)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["bins", "batch", "repeats", "entropy", "clip"]
    with pytest.raises(ConfigError, match="Did you mean 'regret'"):
        PAIRED(SQUARE, reward="regrets")
