"""Tasks from a list."""

import numpy as np
import pytest
from gymnasium import spaces

import rlteach
from rlteach.errors import ConfigError, InvalidValue
from rlteach.experiment.config import parse
from rlteach.teachers.listed import Listed

BOX = spaces.Box(np.array([0.0, -5.0]), np.array([10.0, 5.0]), dtype=np.float64)


def test_every_task_of_the_list_comes_equally_often_and_no_other():
    teacher = Listed(BOX, tasks=[[1.0, 2.0], np.array([3.0, -4.0]), [9.5, 0.0]], seed=0)
    drawn = np.array([lesson.task for lesson in teacher.propose(3000)])
    tasks, counts = np.unique(drawn.round(9), axis=0, return_counts=True)
    assert tasks.tolist() == [[1.0, 2.0], [3.0, -4.0], [9.5, 0.0]]
    assert (abs(counts - 1000) < 120).all()


@pytest.mark.parametrize(
    ("tasks", "says"),
    [
        ([], "at least one"),
        (None, "at least one"),
        ([[1.0]], "2 numbers"),
        ([[1.0, np.nan]], "2 numbers"),
        ([[11.0, 0.0]], "outside"),
        ([["a", "b"]], "2 numbers"),
        ([np.array([11.0, 0.0])], "no task"),
    ],
)
def test_what_is_no_task_is_refused(tasks, says):
    with pytest.raises((InvalidValue, ConfigError), match=says):
        Listed(BOX, tasks=tasks)


def test_a_configuration_may_list_tasks_of_any_space():
    settings = {"env": {"id": "rlteach/GoalMaze-v0"}, "teacher": {"name": "listed", "kwargs": {"tasks": [[5.0, 5.0]]}}}
    assert parse({**settings, "steps": 10}).teacher.name == "listed"
    teacher = rlteach.make_teacher("listed", spaces.Discrete(5), tasks=[3])
    assert {lesson.task for lesson in teacher.propose(20)} == {3}
