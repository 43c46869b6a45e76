"""The oracle: the environment's own order from easy to hard, moved on by success alone."""

import numpy as np
import pytest
from gymnasium.spaces import Box

from rlteach.errors import ConfigError
from rlteach.files import pack_state, unpack_state
from rlteach.teachers.base import make_teacher
from rlteach.teachers.oracle import Oracle
from tests.teachers.students import outcome, play

LINE = Box(0.0, 10.0, (1,), np.float64)


def window(progress, rng):
    return np.array([10.0 * (0.9 * progress + 0.1 * rng.random())])


def oracle(**hyperparameters):
    return Oracle(LINE, oracle_window=window, **{"over": 10, "step": 0.25, "threshold": 0.7, **hyperparameters})


def teach(teacher, successes):
    play(teacher, lambda point, episode: (0.0, float(successes[episode])), len(successes), batch=1)


def test_lessons_come_from_the_window_at_the_present_progress():
    teacher = oracle(seed=0)
    for progress in (0.0, 0.5, 1.0):
        teacher.progress = progress
        tasks = np.array([lesson.task[0] for lesson in teacher.propose(200)])
        assert 9.0 * progress <= tasks.min() and tasks.max() <= 9.0 * progress + 1.0
        assert len(np.unique(tasks)) == 200


def test_the_window_gets_the_generator_of_the_teacher():
    teacher, rng = oracle(seed=3), np.random.default_rng(3)
    tasks = [lesson.task for lesson in teacher.propose(5)]
    np.testing.assert_allclose(tasks, [window(0.0, rng) for _ in range(5)])


@pytest.mark.parametrize(
    ("successes", "progress"),
    [
        ([1] * 9, 0.0),  # ten are needed
        ([1] * 10, 0.25),
        ([1] * 8 + [0] * 2, 0.25),
        ([1] * 7 + [0] * 3, 0.0),  # 0.7 is not above 0.7
        ([0] * 10, 0.0),
        ([0] * 5 + [1] * 10, 0.0),  # the episodes are counted anew every ten: 5 of 10, and 5 so far
        ([1] * 20, 0.5),
        ([1] * 10 + [0] * 10 + [1] * 10, 0.5),  # it never moves back
        ([1] * 90, 1.0),
    ],
)
def test_the_window_moves_only_when_most_of_a_batch_succeeds(successes, progress):
    teacher = oracle()
    teach(teacher, successes)
    assert teacher.progress == progress


def test_returns_do_not_move_the_window():
    teacher = oracle()
    play(teacher, lambda point, episode: (1e6, 0.0), 50)
    assert teacher.progress == 0.0


def test_episodes_begun_in_the_window_before_do_not_count_for_the_next():
    teacher = oracle()
    early = teacher.propose(25)
    teacher.observe([outcome(lesson) for lesson in early])  # ten move the window; the others were easier tasks
    assert teacher.progress == 0.25
    late = teacher.propose(10)
    teacher.observe([outcome(lesson) for lesson in late[:9]])
    assert teacher.progress == 0.25
    teacher.observe([outcome(late[9])])
    assert teacher.progress == 0.5


def test_a_window_that_has_not_moved_counts_all_that_were_begun_in_it():
    teacher = oracle()
    lessons = teacher.propose(20)
    teacher.observe([outcome(lesson, success=float(place >= 10)) for place, lesson in enumerate(lessons)])
    assert teacher.progress == 0.25


def test_it_does_not_matter_how_outcomes_are_batched():
    progress = []
    for batch in (1, 7, 60):
        teacher = oracle(step=0.1)
        for _ in range(3):
            finished = [
                outcome(lesson, 0.0, float(place % 13 != 0)) for place, lesson in enumerate(teacher.propose(60))
            ]
            for at in range(0, 60, batch):
                teacher.observe(finished[at : at + batch])
        progress.append(teacher.progress)
    assert progress[0] == progress[1] == progress[2] == pytest.approx(0.3)


def test_progress_and_the_batch_under_way_are_saved():
    saved, loaded = oracle(seed=0), oracle(seed=5)
    teach(saved, [1] * 26)
    loaded.load_state_dict(unpack_state(*pack_state(saved.state_dict())))
    assert loaded.progress == 0.5
    for teacher in (saved, loaded):
        teach(teacher, [1, 1, 0, 0])
        assert teacher.progress == 0.75  # 8 of 10
    assert [a.task.tolist() for a in saved.propose(9)] == [b.task.tolist() for b in loaded.propose(9)]


def test_an_outcome_that_is_not_finite_does_not_count():
    teacher = oracle()
    teach(teacher, [1] * 9)
    with pytest.warns(RuntimeWarning, match="Oracle ignores outcomes that are not finite"):
        teacher.observe([outcome(lesson, np.nan, 1.0) for lesson in teacher.propose(3)])
    assert teacher.progress == 0.0


def test_it_needs_the_window_of_an_environment_and_sensible_numbers():
    with pytest.raises(ConfigError, match="Oracle needs 'oracle_window'"):
        make_teacher("oracle", LINE)
    with pytest.raises(ConfigError) as caught:
        oracle(threshold=1.2, step=-1.0, over=0)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["threshold", "step", "over"]
