"""OMNI: who is asked what and when, and that the answers count in every draw."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from rlteach.errors import ConfigError, InvalidValue, UserError
from rlteach.files import pack_state, unpack_state
from rlteach.teachers.learning_progress import LearningProgress
from rlteach.teachers.omni import OMNI, interest_factor
from tests.teachers.students import play

EIGHT = Discrete(8)


def odd_is_boring(task, mastered):
    return task["task"] % 2 == 0


class Critic:
    """Notes what it is asked."""

    def __init__(self, answer=True):
        self.answer, self.asked = answer, []

    def __call__(self, task, mastered):
        self.asked.append((task["task"], [other["task"] for other in mastered]))
        return self.answer


def learn(teacher, level, times=100, success=1.0):
    for _ in range(times):
        teacher._learn(np.array([[(level + 0.5) / 8]]), np.zeros(1), np.array([success]))


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "factor"),
    [
        (True, 1.0),
        (False, 1e-3),
        (np.True_, 1.0),
        (np.False_, 1e-3),
        (0.5, 0.5),
        (0, 1e-3),
        (1, 1.0),
        (np.float32(0.25), 0.25),
    ],
)
def test_an_answer_is_a_factor(answer, factor):
    assert interest_factor(answer) == pytest.approx(factor)


@pytest.mark.parametrize("answer", [None, "yes", np.nan, -0.1, 1.5, [True]])
def test_what_is_no_answer_is_refused(answer):
    with pytest.raises(InvalidValue, match=r"interesting\(task, mastered\) gave"):
        interest_factor(answer)


# -- chances -----------------------------------------------------------------------------------------------------------


def test_the_chances_of_learning_progress_are_multiplied_by_interest():
    teacher, plain = OMNI(EIGHT, interesting=grade, uniform_share=0.3), LearningProgress(EIGHT, uniform_share=0.3)
    for one in (teacher, plain):
        learn(one, 1, 3)
        learn(one, 2, 5, success=0.5)
        learn(one, 2, 5)
    product = plain.chances() * [max(0.001, level / 10) for level in range(8)]
    np.testing.assert_allclose(teacher.chances(), product / product.sum())


def grade(task, mastered):
    return task["task"] / 10


def test_interest_counts_in_every_draw_and_not_only_in_the_first_after_an_update():
    teacher = OMNI(EIGHT, interesting=odd_is_boring, seed=0, refresh_every=50)
    levels = []
    for _ in range(40):
        points, _ = play(teacher, lambda point, episode: (0.0, float(episode % 2)), 50, batch=5)
        levels += (8 * points[:, 0]).astype(int).tolist()
    first, later = np.array(levels[50:]).reshape(-1, 50)[:, :5], np.array(levels[50:]).reshape(-1, 50)[:, 5:]
    assert (first % 2 == 1).mean() < 0.02 and (later % 2 == 1).mean() < 0.02


def test_boring_tasks_keep_a_small_chance():
    teacher = OMNI(EIGHT, interesting=odd_is_boring)
    teacher._refresh()
    np.testing.assert_allclose(teacher.chances(), np.where(np.arange(8) % 2, 0.001, 1.0) / 4.004)


def test_when_everything_is_boring_nothing_changes():
    teacher = OMNI(EIGHT, interesting=lambda task, mastered: False)
    np.testing.assert_allclose(teacher.chances(), 1 / 8)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_spends_fewer_episodes_on_variants_of_what_is_mastered(seed):
    """24 tasks in 6 families: once one of a family is mastered, the other three are boring."""

    def novel(task, mastered):
        return all(task["task"] // 4 != other["task"] // 4 for other in mastered)

    variants = []
    for teacher in (OMNI(Discrete(24), interesting=novel, seed=seed), LearningProgress(Discrete(24), seed=seed)):
        practice = np.zeros(24)

        def student(point, episode, practice=practice):
            practice[int(24 * point[0])] += 1
            return 0.0, float(min(practice[int(24 * point[0])] / 30, 1.0))

        play(teacher, student, 900)
        before = practice.copy()
        play(teacher, student, 300)
        late = np.sort((practice - before).reshape(6, 4), axis=1)
        variants.append(late[:, :3].sum() / 300)
        assert (practice.reshape(6, 4).max(axis=1) >= 30).all()  # one of each family is mastered all the same
    assert variants[0] < 0.35 and variants[1] > 0.6


# -- questions ---------------------------------------------------------------------------------------------------------


def test_it_asks_about_tasks_that_are_not_mastered_given_those_that_are_and_again_only_when_these_change():
    critic = Critic()
    teacher = OMNI(EIGHT, interesting=critic, refresh_every=5, mastered_at=0.8)
    learn(teacher, 0, 5)  # lucky so far
    assert critic.asked == [(level, []) for level in range(8)]
    learn(teacher, 0, 95)
    assert critic.asked[8:] == [(level, [0]) for level in range(1, 8)]
    learn(teacher, 3, 9)
    assert len(critic.asked) == 15
    learn(teacher, 3, 91)
    assert critic.asked[15:] == [(level, [0, 3]) for level in (1, 2, 4, 5, 6, 7)]


def test_tasks_are_told_by_name():
    seen = []
    space = Dict(kind=Discrete(2), height=Box(0.0, 3.0, (), np.float64))
    OMNI(space, candidates=4, interesting=lambda task, mastered: seen.append(task) or True)._refresh()
    assert len(seen) == 4 and all(task.keys() == {"kind", "height"} and task["kind"] in (0, 1) for task in seen)


def test_a_resumed_teacher_remembers_the_answers():
    critics = [Critic(), Critic()]
    first, second = (OMNI(EIGHT, interesting=critic, seed=seed) for seed, critic in enumerate(critics))
    learn(first, 0, 100)
    second.load_state_dict(unpack_state(*pack_state(first.state_dict())))
    ours, theirs = (
        play(teacher, lambda p, e: (0.0, float(p[0] < 0.1)), 200)[0].tolist() for teacher in (first, second)
    )
    assert ours == theirs and not critics[1].asked


def test_it_evaluates_like_learning_progress():
    teacher = OMNI(EIGHT, interesting=odd_is_boring, evaluated=True)
    assert teacher.wants_rollouts and teacher.uniform_share == 0.0


def test_the_model_of_interestingness_may_be_an_import_path():
    teacher = OMNI(EIGHT, interesting="operator:is_")
    assert teacher.interesting(EIGHT, EIGHT)
    with pytest.raises(UserError, match="no_such"):
        OMNI(EIGHT, interesting="operator:no_such")
    with pytest.raises(InvalidValue, match="must be a callable"):
        OMNI(EIGHT, interesting=3)


def test_hyperparameters_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="mastered_at"):
        OMNI(EIGHT, interesting=odd_is_boring, mastered_at=0.0)
    with pytest.raises(ConfigError, match="theta"):
        OMNI(EIGHT, interesting=odd_is_boring, theta=2.0)


def test_an_average_that_never_moves_is_refused():
    with pytest.raises(ConfigError, match="fast"):
        OMNI(Box(0.0, 1.0, (2,)), interesting=lambda task, mastered: True, fast=0.0)
