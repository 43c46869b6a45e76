"""GoalGAN: its losses, repeats that find each other, labels, and a generator that finds what is sometimes solved."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from rlteach.errors import ConfigError
from rlteach.teachers.goal_gan import OPEN_TRIALS, GoalGAN, Trials, discriminator_loss, generator_loss
from tests.teachers.students import drawn, outcome, play, points_of

LINE = Box(0.0, 1.0, (1,), np.float64)
SQUARE = Box(0.0, 1.0, (2,), np.float64)
QUICK = {"update_every": 20, "iterations": 10, "hidden": 16}


def test_the_losses_are_those_of_the_paper():
    rng = np.random.default_rng(0)
    known, labels, made = rng.standard_normal(50), rng.integers(2, size=50).astype(float), rng.standard_normal(30)
    expected = np.mean([(d - 1) ** 2 if y else (d + 1) ** 2 for d, y in zip(known, labels, strict=True)])
    expected += np.mean([(d + 1) ** 2 for d in made])
    found = discriminator_loss(torch.tensor(known), torch.tensor(labels), torch.tensor(made))
    assert float(found) == pytest.approx(expected)
    assert float(generator_loss(torch.tensor(made))) == pytest.approx(np.mean(made**2))


def test_the_repeats_of_a_task_find_each_other_in_any_order():
    trials, rng = Trials(3, 2), np.random.default_rng(0)
    tasks = rng.random((5, 2))
    results = rng.random((3, 5))
    rates = {}
    for repeat in range(3):
        for task in rng.permutation(5):
            rate = trials.add(tasks[task].copy(), results[repeat, task])
            assert (rate is not None) == (repeat == 2)
            rates[task] = rate
    assert [rates[task] for task in range(5)] == pytest.approx(results.mean(axis=0).tolist())
    assert trials.state_dict()["tasks"].shape == (0, 2)


def test_tasks_that_are_abandoned_do_not_pile_up():
    trials = Trials(2, 1)
    for place in np.linspace(0.0, 1.0, OPEN_TRIALS + 50):
        trials.add(np.array([place]), 1.0)
    assert len(trials.state_dict()["tasks"]) == OPEN_TRIALS
    assert trials.add(np.array([0.0]), 1.0) is None and trials.add(np.array([1.0]), 0.0) == 0.5


def test_every_task_is_proposed_as_often_as_it_is_to_be_played():
    teacher = GoalGAN(SQUARE, seed=0, repeats=3)
    points = np.concatenate([points_of(teacher, teacher.propose(n)) for n in (1, 1, 2, 5, 3)])
    assert [len(np.unique(points[first : first + 3], axis=0)) for first in range(0, 12, 3)] == [1, 1, 1, 1]
    assert len(np.unique(points, axis=0)) == 4


def test_parallel_plays_of_a_task_in_a_space_of_single_precision_count_together():
    teacher = GoalGAN(Box(0.0, 0.1, (2,), np.float32), seed=0, repeats=2)
    lessons = teacher.propose(6)
    teacher.observe([outcome(lesson, success=float(i % 2)) for i, lesson in enumerate(lessons[::-1])])
    assert teacher._unused == 3 and teacher._labelled.rows()[-3:, -1].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("rate", "label", "mastered"), [(0.0, 0, 0), (0.24, 0, 0), (0.25, 1, 0), (0.5, 1, 0), (0.75, 1, 0), (0.76, 0, 1)]
)
def test_a_task_is_of_intermediate_difficulty_between_the_two_rates(rate, label, mastered):
    teacher = GoalGAN(LINE, seed=0)
    teacher._label(np.array([0.3]), rate)
    assert teacher._labelled.rows()[-1].tolist() == [0.3, label] and len(teacher._mastered) == mastered


def test_it_trains_only_when_a_task_had_intermediate_difficulty():
    for success, owed in ((0.0, 0), (0.5, 10)):
        teacher = GoalGAN(LINE, seed=0, **QUICK)
        teacher._owed = 0
        teacher._labelled.total = 0
        tasks = np.repeat(np.random.default_rng(0).random((20, 1)), 2, axis=0)
        teacher._learn(tasks[:39], np.zeros(39), np.full(39, success))
        assert teacher._owed == 0
        before = teacher._generator.state_dict()["parts"][0]["step"]
        teacher._label(tasks[39], success)
        assert (teacher._owed, teacher._generator.state_dict()["parts"][0]["step"]) == (owed, before)


def test_mastered_tasks_keep_apart_and_within_bounds():
    teacher = GoalGAN(LINE, seed=0, memory=5)
    for place in (0.1, 0.105, 0.2, 0.3, 0.4, 0.5, 0.6):
        teacher._remember(np.array([place]))
    assert teacher._mastered[:, 0].tolist() == [0.2, 0.3, 0.4, 0.5, 0.6]


def test_mastered_tasks_are_a_share_of_those_after_the_first_training():
    teacher = GoalGAN(LINE, seed=0, mastered_share=0.3, uniform_share=0.0, **QUICK)
    teacher._ready, teacher._mastered = True, np.array([[0.4], [0.6]])
    origins = [lesson.origin for lesson in teacher.propose(3000)]
    assert origins.count("goal_gan/mastered") / 3000 == pytest.approx(0.3, abs=0.05)
    assert set(origins) == {"goal_gan", "goal_gan/mastered"}


def test_a_share_of_tasks_is_uniform_so_that_a_collapsed_generator_finds_labels_again():
    teacher = GoalGAN(LINE, seed=0, uniform_share=0.25, **QUICK)
    teacher._ready = True
    lessons = teacher.propose(2000)
    uniform = points_of(teacher, [lesson for lesson in lessons if lesson.origin == "goal_gan/uniform"])
    assert len(uniform) / 2000 == pytest.approx(0.25, abs=0.05)
    assert uniform.std() == pytest.approx(1 / np.sqrt(12), abs=0.03)


def test_it_begins_with_the_initial_distribution_and_trains_the_generator_on_it():
    teacher = GoalGAN(SQUARE, seed=0, initial={"mean": [0.2, 0.8], "std": 0.05}, uniform_share=0.0)
    points, origins = play(teacher, lambda point, episode: (0.0, 0.0), 110, batch=1)
    assert origins[0] == "goal_gan/bootstrap" and origins[-1] == "goal_gan"
    np.testing.assert_allclose(points[:100].mean(axis=0), [0.2, 0.8], atol=0.05)
    made = points_of(teacher, teacher.propose(400))
    np.testing.assert_allclose(made.mean(axis=0), [0.2, 0.8], atol=0.15)


def test_it_finds_what_is_sometimes_solved():
    luck = np.random.default_rng(2)

    def student(point, episode):
        return 0.0, float(luck.random() < np.clip((0.4 - point[0]) / 0.2, 0.0, 1.0))

    teacher = GoalGAN(SQUARE, seed=2, hidden=32, iterations=50)
    points, origins = play(teacher, student, 1200)
    late = points[800:, 0][origins[800:] == "goal_gan"]
    assert ((late > 0.15) & (late < 0.45)).mean() > 0.6  # 0.3 by chance


def test_no_call_trains_for_long_and_global_generators_are_left_alone():
    before = torch.random.get_rng_state()
    teacher = GoalGAN(LINE, seed=0)
    lessons = teacher.propose(64)
    teacher.observe([outcome(lesson, success=0.5) for lesson in lessons])
    assert teacher._generator.state_dict()["parts"][0]["step"] == 4
    assert torch.equal(torch.random.get_rng_state(), before)


def test_seed_zero_is_a_seed():
    assert drawn(GoalGAN(SQUARE, seed=0), 20) == drawn(GoalGAN(SQUARE, seed=0), 20)
    assert drawn(GoalGAN(SQUARE, seed=0), 20) != drawn(GoalGAN(SQUARE, seed=1), 20)


def test_hyperparameters_out_of_range_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        GoalGAN(SQUARE, repeats=0, mastered_share=2, update_every=0)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["repeats", "mastered_share", "update_every"]
