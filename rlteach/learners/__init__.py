"""Learners: any class with the Stable-Baselines3 API, by registered name or import path.

model = make_learner("stable_baselines3.PPO", venv, policy="MlpPolicy", kwargs={"n_steps": 128}, seed=0)
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from rlteach import registry
from rlteach.errors import ConfigError
from rlteach.teachers.base import class_faults, hyperparameter_faults

SET_BY_THE_RUN = ("env", "policy", "seed", "_init_setup_model")
NEEDED = ("learn", "predict", "save")
"""What makes a class a learner."""


def learner_faults(learner: str | type, kwargs: Mapping[str, Any], policy: str = "MlpPolicy") -> list[str]:
    """Return one sentence for everything wrong with a learner's name and keyword arguments; builds nothing.

    A class may know more about its settings than their names: `setting_faults(policy, kwargs)` is asked if it has it.
    """
    try:
        cls = _class_of(learner)
    except Exception as error:
        return [str(error)]
    faults = class_faults("learner", learner, cls, NEEDED) or hyperparameter_faults(
        cls, kwargs, reserved=SET_BY_THE_RUN
    )
    if not faults and hasattr(cls, "setting_faults"):
        faults = list(cls.setting_faults(policy, kwargs))
    return faults


def make_learner(learner: str | type, venv: Any, *, policy: str, kwargs: Mapping[str, Any], seed: int) -> Any:
    """Build a learner on a VecEnv, on the CPU unless `kwargs` says otherwise.

    Args:
        learner: Registered name, import path, or class.
        venv: The VecEnv it learns on.
        policy: First argument of its constructor.
        kwargs: Its other keyword arguments; they are not changed.
        seed: Seed of the learner.

    Raises:
        ConfigError: For an unknown class, unknown keyword arguments, or values that its constructor refuses.
    """
    faults = learner_faults(learner, kwargs, policy)
    if faults:
        raise ConfigError(faults, where=f"learner {learner!r}")
    own = copy.deepcopy(dict(kwargs))  # SB3 writes into the policy_kwargs it is given
    try:
        return _class_of(learner)(policy, venv, seed=seed, **{"device": "cpu", **own})
    except (AssertionError, TypeError, ValueError) as error:
        raise ConfigError([str(error)], where=f"learner {learner!r}") from error


def _class_of(learner: str | type) -> Any:
    return registry.load("learner", learner) if isinstance(learner, str) else learner
