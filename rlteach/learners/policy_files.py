"""Trained policies as files that execute nothing: `policy.json` (what it is) and `policy.safetensors` (its weights).

    save_policy(model, directory, view=view.describe(), normalizer=normalizer)
    policy = load_policy(directory)
    actions, state = policy.predict(observations)

Beside them a run keeps `learner.zip` as Stable-Baselines3 saves it, which only loads with trust: it holds pickles.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rlteach.errors import RunDirectoryError
from rlteach.files import read_json, write_atomically, write_json
from rlteach.jax_states import in_jax, jax_arrays, put_jax_arrays
from rlteach.learners import make_learner
from rlteach.space_files import describe_space, space_from

SCHEMA = 1
DESCRIPTION, WEIGHTS = "policy.json", "policy.safetensors"
KEPT_KWARGS = ("policy_kwargs", "use_sde", "sde_sample_freq")
"""Keyword arguments of a learner that shape its policy."""


@dataclass(frozen=True)
class ObservationScale:
    """What `VecNormalize` did to observations: (x - mean) / sqrt(var + epsilon), clipped.

    Attributes:
        mean: (d,).
        var: (d,).
        epsilon: Added to the variance.
        clip: Bound of the result.
    """

    mean: np.ndarray
    var: np.ndarray
    epsilon: float
    clip: float

    def __call__(self, observations: np.ndarray) -> np.ndarray:
        """Return observations (n, d) as the policy was trained on them."""
        scaled = (observations - self.mean) / np.sqrt(self.var + self.epsilon)
        clipped: np.ndarray = np.clip(scaled, -self.clip, self.clip).astype(np.float32)
        return clipped


@dataclass(frozen=True)
class SavedPolicy:
    """A Stable-Baselines3 policy with everything that belongs to its observations and actions.

    Attributes:
        policy: The policy, in evaluation mode.
        view: What it sees (`View.describe`), or None when it sees the observation as it is.
        scale: Its observation normaliser, or None.
        description: All of `policy.json`.
    """

    policy: BasePolicy
    view: dict[str, Any] | None
    scale: ObservationScale | None
    description: dict[str, Any]


def save_policy(
    model: Any, directory: Path, *, name: str, view: Mapping[str, Any] | None, normalizer: VecNormalize | None
) -> bool:
    """Write a learner's policy; return False for a learner without a Stable-Baselines3 policy over Boxes.

    Args:
        model: The learner.
        directory: Where to write.
        name: The learner's registered name or import path.
        view: What it saw, as `View.describe` says it.
        normalizer: The `VecNormalize` it was trained under.
    """
    policy = getattr(model, "policy", None)
    if not isinstance(policy, BasePolicy) or not isinstance(model.observation_space, spaces.Box):
        return False
    kwargs = {key: getattr(model, key) for key in KEPT_KWARGS if hasattr(model, key)}
    description = {
        "schema": SCHEMA,
        "learner": name,
        "policy": _alias(model),
        "kwargs": kwargs,
        "observation_space": describe_space(model.observation_space),
        "action_space": describe_space(model.action_space),
        "view": None if view is None else dict(view),
        "normalizer": _describe_normalizer(normalizer),
        "steps": int(model.num_timesteps),
    }
    try:
        json.dumps(description)
    except TypeError:  # classes among the policy's keyword arguments: only the learner's own file can hold them
        return False
    write_atomically(directory / WEIGHTS, _weights_of(policy))
    write_json(directory / DESCRIPTION, description)
    return True


def load_policy(directory: Path) -> SavedPolicy:
    """Rebuild the policy that `save_policy` wrote. Executes nothing that the files hold.

    Raises:
        RunDirectoryError: When the files are missing, damaged, or of another version.
    """
    description = read_json(directory / DESCRIPTION)
    if description.get("schema") != SCHEMA:
        raise RunDirectoryError(f"{directory / DESCRIPTION} has schema {description.get('schema')!r}, not {SCHEMA}")
    observation_space = space_from(description["observation_space"])
    action_space = space_from(description["action_space"])
    model = _empty_model(description, observation_space, action_space)
    try:
        _put_weights(model.policy, (directory / WEIGHTS).read_bytes())
    except (OSError, RuntimeError, SafetensorError) as error:
        raise RunDirectoryError(f"cannot read the weights in {directory / WEIGHTS}: {error}") from error
    model.policy.set_training_mode(False)
    return SavedPolicy(model.policy, description["view"], _read_normalizer(description["normalizer"]), description)


def scale_of(normalizer: VecNormalize | None) -> ObservationScale | None:
    """Return what a `VecNormalize` does to a Box observation, or None when it leaves it alone."""
    return _read_normalizer(_describe_normalizer(normalizer))


class SpacesOnly(gym.Env[Any, Any]):
    """An environment that is never played: learners want one to know their spaces."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space


def _empty_model(description: Mapping[str, Any], observed: spaces.Space[Any], acted: spaces.Space[Any]) -> Any:
    from rlteach import registry

    parameters = inspect.signature(registry.load("learner", description["learner"])).parameters
    small = {"n_steps": 2, "batch_size": 2} if "gae_lambda" in parameters else {"buffer_size": 1}
    kwargs = {k: v for k, v in {**small, **description["kwargs"]}.items() if k in parameters}
    venv = DummyVecEnv([lambda: SpacesOnly(observed, acted)])
    return make_learner(description["learner"], venv, policy=description["policy"], kwargs=kwargs, seed=0)


def _weights_of(policy: BasePolicy) -> bytes:
    if in_jax(policy):
        return save_arrays(jax_arrays(policy))
    return save_tensors({name: tensor.contiguous() for name, tensor in policy.state_dict().items()})


def _put_weights(policy: BasePolicy, data: bytes) -> None:
    if in_jax(policy):
        put_jax_arrays(policy, load_arrays(data))
    else:
        policy.load_state_dict(load_tensors(data))


def _alias(model: Any) -> str:
    names = [name for name, cls in model.policy_aliases.items() if cls is model.policy_class]
    return names[0] if names else str(model.policy_class)


def _describe_normalizer(normalizer: VecNormalize | None) -> dict[str, Any] | None:
    if normalizer is None or not normalizer.norm_obs:
        return None
    statistics: Any = normalizer.obs_rms
    return {
        "mean": np.ravel(statistics.mean).tolist(),
        "var": np.ravel(statistics.var).tolist(),
        "epsilon": float(normalizer.epsilon),
        "clip": float(normalizer.clip_obs),
    }


def _read_normalizer(described: Mapping[str, Any] | None) -> ObservationScale | None:
    if described is None:
        return None
    mean, var = (np.array(described[part], dtype=np.float64) for part in ("mean", "var"))
    return ObservationScale(mean, var, described["epsilon"], described["clip"])
