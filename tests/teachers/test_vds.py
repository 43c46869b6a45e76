"""Value disagreement: equations, an ensemble whose training can be checked, and a state that goes on exactly."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete

from rlteach.errors import ConfigError
from rlteach.files import pack_state, unpack_state
from rlteach.teachers.vds import VDS, Ensemble, disagreement, disagreement_weights
from tests.teachers.students import outcome, play, points_of

SQUARE = Box(0.0, 1.0, (2,), np.float64)
QUICK = {"hidden": 16, "candidates": 200, "learning_rate": 0.01}


def ensemble(seed=0, members=3, learning_rate=0.01):
    return Ensemble(2, members=members, hidden=8, learning_rate=learning_rate, rng=np.random.default_rng(seed))


# -- equations ---------------------------------------------------------------------------------------------------------


def test_disagreement_is_the_standard_deviation_over_the_members():
    values = np.array([[1.0, 2.0, 5.0], [3.0, 2.0, 5.0], [5.0, 2.0, 8.0]])
    np.testing.assert_allclose(disagreement(values), [np.sqrt(8 / 3), 0.0, np.sqrt(2)])
    weights = disagreement_weights(values)
    np.testing.assert_allclose(weights, np.array([np.sqrt(8 / 3), 0.0, np.sqrt(2)]) / (np.sqrt(8 / 3) + np.sqrt(2)))


def test_members_that_agree_everywhere_leave_all_tasks_alike():
    np.testing.assert_allclose(disagreement_weights(np.full((4, 5), 0.3)), 0.2)


def test_a_single_task_may_be_asked_about():
    assert ensemble().values(np.array([[0.2, 0.7]])).shape == (3, 1)  # the published code fails here


# -- the ensemble ------------------------------------------------------------------------------------------------------


def test_each_member_is_a_network_of_its_own():
    many, places = ensemble(members=3), np.random.default_rng(1).random((7, 2))
    w_1, b_1, w_2, b_2, w_3, b_3 = (values.astype(np.float64) for values, _ in many.parameters())
    for k in range(3):
        hidden = np.tanh(np.tanh((places - 0.5) @ w_1[k] + b_1[k]) @ w_2[k] + b_2[k])
        np.testing.assert_allclose(many.values(places)[k], (hidden @ w_3[k] + b_3[k])[:, 0], atol=1e-6)


def test_a_step_of_one_member_changes_no_other():
    first, second, rng = ensemble(), ensemble(), np.random.default_rng(0)
    places, targets = rng.random((3, 16, 2)), rng.random((3, 16)).astype(np.float32)
    first.step(places, targets)
    places[1], targets[1] = rng.random((16, 2)), rng.random(16)
    second.step(places, targets)
    same = [np.array_equal(a, b) for a, b in zip(first.values(places[0]), second.values(places[0]), strict=True)]
    assert same == [True, False, True]


def test_steps_are_those_of_torch():
    many, rng = ensemble(members=3), np.random.default_rng(2)
    copies = [torch.tensor(values.copy(), requires_grad=True) for values, _ in many.parameters()]
    adam = torch.optim.Adam(copies, lr=0.01)
    for _ in range(5):
        places, targets = rng.random((3, 16, 2)), rng.random((3, 16))
        many.step(places, targets)
        w_1, b_1, w_2, b_2, w_3, b_3 = copies
        hidden = torch.tanh(torch.tanh(torch.tensor(places - 0.5).float() @ w_1 + b_1) @ w_2 + b_2)
        errors = (hidden @ w_3 + b_3)[..., 0] - torch.tensor(targets).float()
        adam.zero_grad()
        errors.square().mean(dim=1).sum().backward()
        adam.step()
    for (values, _), copy in zip(many.parameters(), copies, strict=True):
        np.testing.assert_allclose(values, copy.detach().numpy(), atol=2e-6)


def test_it_learns_a_function_of_the_place():
    learner, rng = ensemble(), np.random.default_rng(0)
    for _ in range(400):
        places = rng.random((3, 64, 2))
        learner.step(places, (places[..., 0] > 0.5).astype(np.float32))
    values = learner.values(np.array([[0.1, 0.5], [0.9, 0.5]]))
    assert (np.abs(values - [0.0, 1.0]) < 0.2).all()


def test_an_ensemble_goes_on_from_its_state_before_and_after_its_first_step():
    rng = np.random.default_rng(0)
    batches = [(rng.random((3, 8, 2)), rng.random((3, 8)).astype(np.float32)) for _ in range(6)]
    for trained in (0, 3):
        first, second = ensemble(0), ensemble(1)
        second.step(*batches[0])
        for batch in batches[:trained]:
            first.step(*batch)
        second.load_state_dict(unpack_state(*pack_state(first.state_dict())))
        for batch in batches[trained:]:
            first.step(*batch)
            second.step(*batch)
        assert np.array_equal(first.values(batches[0][0][0]), second.values(batches[0][0][0]))


# -- the teacher -------------------------------------------------------------------------------------------------------


def test_tasks_are_uniform_during_the_warm_up_and_candidates_afterwards():
    teacher = VDS(SQUARE, seed=0, warm_up=60, refresh_every=20, **QUICK)
    _, origins = play(teacher, lambda point, episode: point[0], 120, batch=1)
    assert set(origins[:60]) == {"vds/warm-up"} and set(origins[60:]) == {"vds"}
    last = points_of(teacher, teacher.propose(50))
    assert all((teacher._candidates == point).all(axis=1).any() for point in last)


def test_candidates_are_drawn_in_proportion_to_disagreement():
    teacher = VDS(SQUARE, seed=0, **{**QUICK, "candidates": 4})
    play(teacher, lambda point, episode: point[0], 150)
    expected = disagreement_weights(teacher._ensemble.values(teacher._candidates))
    points = points_of(teacher, teacher.propose(4000))
    found = [(points == candidate).all(axis=1).mean() for candidate in teacher._candidates]
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_it_samples_where_success_is_uncertain():
    luck = np.random.default_rng(0)

    def student(point, episode):
        return float(luck.random() < np.clip((0.85 - point[0]) / 0.3, 0.0, 1.0))

    teacher = VDS(SQUARE, seed=0, return_range=(0.0, 1.0), train_every=2, **QUICK)
    points, _ = play(teacher, student, 1200)
    near = np.abs(points[600:, 0] - 0.7) < 0.2
    assert near.mean() > 0.5  # 0.4 is uniform


def test_no_generator_of_torch_is_touched():
    before = torch.get_rng_state()
    play(VDS(SQUARE, seed=0, **QUICK), lambda point, episode: point[0], 120)
    assert torch.equal(before, torch.get_rng_state())


def test_a_teacher_goes_on_from_its_state_in_a_mixed_space():
    space = Dict(kind=Discrete(3), x=Box(0.0, 1.0, (), np.float64))
    teachers = [VDS(space, seed=seed, **QUICK) for seed in (0, 1)]
    play(teachers[0], lambda p, e: p[0] * e, 203)
    teachers[1].load_state_dict(unpack_state(*pack_state(teachers[0].state_dict())))
    ours, theirs = (play(teacher, lambda p, e: p[1] * e, 200)[0].tolist() for teacher in teachers)
    assert ours == theirs


@pytest.mark.parametrize("score", [lambda p, e: 0.3, lambda p, e: 1.7e308 * (-1) ** e])
def test_constant_and_huge_returns_leave_finite_chances(score):
    teacher = VDS(SQUARE, seed=0, **QUICK)
    play(teacher, score, 300)
    assert np.isfinite(teacher._cumulative).all() and teacher._cumulative[-1] == pytest.approx(1.0)


def test_a_return_that_is_not_a_number_is_ignored_with_one_warning():
    teacher = VDS(SQUARE, seed=0, **QUICK)
    with pytest.warns(RuntimeWarning, match="VDS ignores outcomes that are not finite") as caught:
        teacher.observe([outcome(lesson, np.nan) for lesson in teacher.propose(30)])
    assert len(caught) == 1 and len(teacher._history) == 0


def test_hyperparameters_out_of_range_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        VDS(SQUARE, members=1, learning_rate=-1.0, candidates=1)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["members", "learning_rate", "candidates"]


def test_a_call_takes_a_bounded_number_of_steps_and_later_ones_catch_up(monkeypatch):
    taken = []
    monkeypatch.setattr(Ensemble, "step", lambda self, places, targets: taken.append(len(places)))
    teacher = VDS(SQUARE, seed=0, train_every=4, warm_up=10)
    lessons = teacher.propose(100)
    teacher.observe([outcome(lesson, 1.0) for lesson in lessons])
    assert len(taken) == 16
    teacher.observe([outcome(lesson, 1.0) for lesson in teacher.propose(4)])
    assert len(taken) == 26
