"""Learners: any class with the Stable-Baselines3 API, by registered name or import path.

model = make_learner("stable_baselines3.PPO", venv, policy="MlpPolicy", kwargs={"n_steps": 128}, seed=0)
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from rlteach import registry
from rlteach.errors import ConfigError
from rlteach.teachers.base import hyperparameter_faults

SET_BY_THE_RUN = ("env", "policy", "seed", "_init_setup_model")


def learner_faults(name: str, kwargs: Mapping[str, Any]) -> list[str]:
    """Return one sentence for everything wrong with a learner's name and keyword arguments; builds nothing."""
    try:
        cls = registry.load("learner", name)
    except Exception as error:
        return [str(error)]
    return hyperparameter_faults(cls, kwargs, reserved=SET_BY_THE_RUN)


def make_learner(name: str, venv: Any, *, policy: str, kwargs: Mapping[str, Any], seed: int) -> Any:
    """Build a learner on a VecEnv, on the CPU unless `kwargs` says otherwise.

    Raises:
        ConfigError: For an unknown class, unknown keyword arguments, or values that its constructor refuses.
    """
    faults = learner_faults(name, kwargs)
    if faults:
        raise ConfigError(faults, where=f"learner {name!r}")
    own = copy.deepcopy(dict(kwargs))  # SB3 writes into the policy_kwargs it is given
    try:
        return registry.load("learner", name)(policy, venv, seed=seed, **{"device": "cpu", **own})
    except (AssertionError, TypeError, ValueError) as error:
        raise ConfigError([str(error)], where=f"learner {name!r}") from error
