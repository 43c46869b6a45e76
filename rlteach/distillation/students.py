"""The networks that are distilled into: one interface, memory explicit and one flat tensor.

    student = make_student("gru", env.observation_space, env.action_space, hidden=64, seed=0)
    features, state = student.step(observations, student.initial_state(n))      # (n, feature_size), (n, state_size)
    features, state = student.sequence(observations, starts, state)             # (t, n, feature_size), (n, state_size)
    student.distribution(features).log_prob(unit_actions)                       # actions in normalised units
    actions, memory = student.act(observations, memory, starts)                 # numpy in, numpy out

What trains, evaluates, stores and exports students therefore needs no case for any architecture. Observations are
flat, (n, observation_size), also where they are images. Actions of a Box are in normalised units, [-1, 1] per
dimension; `student.actions` maps them to the environment's units and back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gymnasium import spaces
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from rlteach.distillation.actions import ActionSpace
from rlteach.distillation.adapter import Adapter
from rlteach.distillation.architectures import CNN, GRU, LSTM, MLP, Stack, Transformer
from rlteach.distillation.layers import on_meta
from rlteach.distillation.student import SCHEMA, SPACES, Student
from rlteach.errors import ConfigError, InvalidValue, RunDirectoryError, UnknownName
from rlteach.files import read_json, write_atomically, write_json
from rlteach.space_files import space_from
from rlteach.teachers.base import hyperparameter_faults

ARCHITECTURES: dict[str, type[Student]] = {
    cls.architecture: cls for cls in (MLP, Stack, GRU, LSTM, Transformer, CNN, Adapter)
}
"""Name of an architecture to its class; the keyword arguments of the constructor are its hyperparameters."""


def make_student(architecture: str, observation_space: spaces.Box, action_space: ActionSpace, **kwargs: Any) -> Student:
    """Build a student.

    Args:
        architecture: A name in `ARCHITECTURES`.
        observation_space: A Box.
        action_space: Box with finite bounds, Discrete, or None for a body without a head.
        **kwargs: Hyperparameters of the architecture.

    Raises:
        UnknownName: For an unknown architecture, with the nearest known one.
        ConfigError: For hyperparameters that it does not take or that are out of range.
        InvalidValue: For spaces that no student handles, and for networks that do not fit into memory.
    """
    if architecture not in ARCHITECTURES:
        raise UnknownName("student architecture", architecture, ARCHITECTURES, next_step=f"There are: {_names()}.")
    cls = ARCHITECTURES[architecture]
    faults = hyperparameter_faults(cls, kwargs, reserved=SPACES)
    if faults:
        raise ConfigError(faults, where=f"student {architecture!r}")
    return cls(observation_space, action_space, **kwargs)


def student_faults(architecture: str, kwargs: Mapping[str, Any]) -> list[str]:
    """Return one sentence for everything wrong with a student's name and hyperparameters; allocates nothing."""
    shape = (1, 8, 8) if architecture == "cnn" else (1,)
    try:
        with on_meta():
            make_student(architecture, spaces.Box(0.0, 1.0, shape), None, **kwargs)
    except ConfigError as error:
        return error.faults
    except (UnknownName, InvalidValue) as error:
        return [str(error)]
    return []


def _names() -> str:
    return ", ".join(ARCHITECTURES)


def student_from(description: Mapping[str, Any]) -> Student:
    """Build a student, freshly initialised, from what `Student.describe` returned."""
    observation_space, action_space = (space_from(description[name]) for name in SPACES)
    return make_student(description["architecture"], observation_space, action_space, **description["kwargs"])


def save_student(student: Student, directory: Path | str) -> None:
    """Write `student.json` and `student.safetensors`, each in one step; nothing in them can execute."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    data = save_tensors({name: tensor.contiguous() for name, tensor in student.state_dict().items()})
    write_atomically(directory / "student.safetensors", data)
    write_json(directory / "student.json", {**student.describe(), "sha256": hashlib.sha256(data).hexdigest()})


def load_student(directory: Path | str) -> Student:
    """Return the student that `save_student` wrote.

    Raises:
        RunDirectoryError: When a file is missing, damaged, or of another version.
    """
    directory = Path(directory)
    description = read_json(directory / "student.json")
    if not isinstance(description, dict) or description.get("schema") != SCHEMA:
        raise RunDirectoryError(f"{directory / 'student.json'} describes no student of schema {SCHEMA}")
    path = directory / "student.safetensors"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunDirectoryError(f"cannot read {path}: {error.strerror or error}") from error
    if hashlib.sha256(data).hexdigest() != description.get("sha256"):
        raise RunDirectoryError(f"{path} is damaged: its sha256 is not the one in student.json beside it")
    try:
        student = student_from(description)
        student.load_state_dict(load_tensors(data))
    except (KeyError, TypeError, RuntimeError, ConfigError, InvalidValue) as error:
        raise RunDirectoryError(f"{directory} holds no student that fits its description: {error}") from error
    return student
