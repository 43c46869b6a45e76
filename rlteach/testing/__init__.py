"""Checks that anybody can run on environments, teachers and learners of their own.

from rlteach.testing import check_env, check_learner, check_teacher
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlteach.testing.envs import check_env
    from rlteach.testing.learners import check_learner
    from rlteach.testing.teachers import check_teacher

_HOMES = {
    "check_env": "rlteach.testing.envs",
    "check_learner": "rlteach.testing.learners",
    "check_teacher": "rlteach.testing.teachers",
}

__all__ = ["check_env", "check_learner", "check_teacher"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'rlteach.testing' has no attribute {name!r}")
