"""Curriculum teachers and teacher-student distillation for Gymnasium and Stable-Baselines3.

    import rlteach
    venv = rlteach.make_vec_env("rlteach/GoalMaze-v0", 64, seed=0)
    teacher = rlteach.make_teacher("frontier", venv.get_attr("task_space")[0], seed=0)
    venv = rlteach.attach(venv, teacher)

Names are imported when they are first used, so `import rlteach` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlteach.delivery import LessonEnv, TeacherCallback, attach, make_vec_env
    from rlteach.experiment.distill import distill
    from rlteach.lesson import Lesson, Outcome
    from rlteach.observations import HideCoordinates
    from rlteach.task_space import TaskSpace
    from rlteach.teachers.base import make_teacher
    from rlteach.teachers.compose import Compose
    from rlteach.teachers.fixed_tasks import FixedTasks
    from rlteach.user_envs import TaskFromAttr, TaskFromKwargs

__version__ = "0.1.0"

_HOMES = {
    "Compose": "rlteach.teachers.compose",
    "FixedTasks": "rlteach.teachers.fixed_tasks",
    "HideCoordinates": "rlteach.observations",
    "Lesson": "rlteach.lesson",
    "LessonEnv": "rlteach.delivery",
    "Outcome": "rlteach.lesson",
    "TaskFromAttr": "rlteach.user_envs",
    "TaskFromKwargs": "rlteach.user_envs",
    "TaskSpace": "rlteach.task_space",
    "TeacherCallback": "rlteach.delivery",
    "attach": "rlteach.delivery",
    "distill": "rlteach.experiment.distill",
    "make_teacher": "rlteach.teachers.base",
    "make_vec_env": "rlteach.delivery",
}

__all__ = [
    "Compose",
    "FixedTasks",
    "HideCoordinates",
    "Lesson",
    "LessonEnv",
    "Outcome",
    "TaskFromAttr",
    "TaskFromKwargs",
    "TaskSpace",
    "TeacherCallback",
    "attach",
    "distill",
    "make_teacher",
    "make_vec_env",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'rlteach' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
