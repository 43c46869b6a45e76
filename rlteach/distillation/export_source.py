"""Which policy a finished run holds.

source = load_source(Path("runs/dagger-s0"))
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlteach.distillation.contract import Identity
from rlteach.distillation.experts import STUDENT_FILES, TRAINING
from rlteach.distillation.portable import Network, Reference, StudentReference, of_student
from rlteach.distillation.portable_sb3 import PolicyReference, of_policy
from rlteach.distillation.students import load_student
from rlteach.errors import RunDirectoryError, UserError
from rlteach.files import read_json
from rlteach.learners.policy_files import DESCRIPTION, load_policy


@dataclass(frozen=True)
class Source:
    """The policy of a run."""

    network: Network
    reference: Reference
    identity: Identity


def load_source(run: Path) -> Source:
    """Return the policy of a finished run, student or Stable-Baselines3 policy.

    Raises:
        UserError: When there is none, or none that can be exported.
    """
    if not run.is_dir():
        raise RunDirectoryError(f"there is no run directory {run}")
    if not (run / "meta.json").is_file():
        raise RunDirectoryError(f"{run} holds no run (no meta.json); `rlteach run CONFIG --out {run}` begins one")
    if not (run / "DONE").is_file():
        raise RunDirectoryError(f"{run} is not finished, so it holds no policy yet: rlteach resume {run}")
    if (run / STUDENT_FILES).is_dir():
        return _source_of_student(run / STUDENT_FILES)
    if (run / DESCRIPTION).is_file():
        return _source_of_policy(run)
    raise UserError(
        f"{run} holds no policy that can be exported: its learner left neither a student ({STUDENT_FILES}/) nor a "
        f"Stable-Baselines3 policy over a Box ({DESCRIPTION}). Distil it: learner {{name: dagger, policy: mlp}}"
    )


def _source_of_student(place: Path) -> Source:
    student, training = load_student(place), read_json(place / TRAINING)
    student.eval()
    normalizer, seen = student.normalizer, None
    if float(normalizer.count) > 0:
        seen = (normalizer.mean.cpu().numpy(), normalizer.std.cpu().numpy())
    identity = Identity(
        str(training.get("method", "")),
        int(training.get("steps", 0)),
        training.get("view"),
        student.observation_space,
        student.action_space,  # type: ignore[arg-type]
        seen,
    )
    return Source(of_student(student), StudentReference(student), identity)


def _source_of_policy(run: Path) -> Source:
    saved = load_policy(run)
    space: Any = saved.policy.observation_space
    seen = None if saved.scale is None else (saved.scale.mean, np.sqrt(saved.scale.var))
    described = saved.description
    identity = Identity(
        str(described["learner"]), int(described["steps"]), saved.view, space, saved.policy.action_space, seen
    )
    return Source(of_policy(saved), PolicyReference(saved), identity)
