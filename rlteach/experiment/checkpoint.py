"""Checkpoints: learner, optimiser, replay buffer, normaliser, environments, generators and teacher, without pickle.

A checkpoint is a directory `checkpoints/<step>/` with `state.json`, `arrays.safetensors` and `manifest.json` (sha256 of
both). It is written beside its place and moved there whole; the previous one is kept until the new one verifies.

It is taken at the start of a rollout, where SB3's own state is small. Continuing is bit-exact when the environments
offer `get_snapshot` / `set_snapshot`; else the environments begin new episodes and the run says "approximate".
"""

from __future__ import annotations

import hashlib
import shutil
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

from rlteach.delivery import BatchVecEnv, find_lesson_venv
from rlteach.errors import RunDirectoryError
from rlteach.experiment.evaluate import global_randomness, restore_global_randomness
from rlteach.files import pack_state, read_json, unpack_state, write_atomically, write_json
from rlteach.jax_states import in_jax, jax_state, put_jax_state
from rlteach.learners.tensors import to_arrays, to_tensors
from rlteach.protocols import State

SCHEMA = 1
COUNTERS = (
    "num_timesteps",
    "_n_updates",
    "_episode_num",
    "_num_timesteps_at_start",
    "_current_progress_remaining",
    "_n_calls",  # of DQN, as is the next
    "exploration_rate",
    "reset_idx",  # of SBX
)
LAST_SEEN = ("_last_obs", "_last_episode_starts", "_last_original_obs")
MEMORY = "_last_lstm_states"
"""Where RecurrentPPO keeps the hidden and cell states of its actor and its critic."""
NORMALIZER_PARTS = ("mean", "var", "count")


def save(directory: Path, step: int, state: State, *, keep: int = 2) -> Path:
    """Write a checkpoint and return its directory; older ones than the last `keep` are removed."""
    final = directory / f"{step:012d}"
    partial = directory / f".{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        text, data = pack_state(state)
        write_atomically(partial / "state.json", text)
        write_atomically(partial / "arrays.safetensors", data)
        digests = {name: _digest(partial / name) for name in ("state.json", "arrays.safetensors")}
        write_json(partial / "manifest.json", {"schema": SCHEMA, "step": step, "sha256": digests})
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
    except OSError as error:
        raise RunDirectoryError(f"cannot write the checkpoint {final}: {error.strerror or error}") from error
    for old in _all(directory)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def latest(directory: Path) -> tuple[int, State] | None:
    """Return step and state of the newest checkpoint that verifies, or None; damaged ones are passed over."""
    for path in reversed(_all(directory)):
        try:
            return load(path)
        except RunDirectoryError:
            continue
    return None


def load(path: Path) -> tuple[int, State]:
    """Read one checkpoint.

    Raises:
        RunDirectoryError: When a file is missing or its sha256 differs.
    """
    manifest = read_json(path / "manifest.json")
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise RunDirectoryError(f"{path} was written by another version of rlteach (schema is not {SCHEMA})")
    for name, digest in manifest["sha256"].items():
        if not (path / name).is_file() or _digest(path / name) != digest:
            raise RunDirectoryError(f"{path / name} is damaged: its sha256 is not the one in the manifest")
    text = (path / "state.json").read_text(encoding="utf-8")
    return int(manifest["step"]), unpack_state(text, (path / "arrays.safetensors").read_bytes())


def _all(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("[0-9]*") if path.is_dir())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# -- what is in a checkpoint ---------------------------------------------------------------------------------------


def capture(model: Any, venv: VecEnv) -> State:
    """Return the whole state of a training: call it at the start of a rollout."""
    lesson_venv = find_lesson_venv(venv)
    assert lesson_venv is not None
    normalizer = unwrap_vec_normalize(venv)
    return {
        "randomness": global_randomness(),
        "learner": learner_state(model),
        "normalizer": None if normalizer is None else normalizer_state(normalizer),
        "delivery": lesson_venv.state_dict(),
        "environments": environment_states(lesson_venv.venv),
        "teacher": lesson_venv.teacher.state_dict(),
    }


def is_exact(model: Any, state: State) -> bool:
    """Tell whether continuing from `state` is bit-exact."""
    redraws = getattr(model, "use_sde", False) or getattr(model, "action_noise", None) is not None
    return state["environments"] is not None and not redraws


def restore(model: Any, venv: VecEnv, state: State, *, seed: int) -> None:
    """Put a freshly built training into `state`; `seed` reseeds environments that have no snapshots."""
    lesson_venv = find_lesson_venv(venv)
    assert lesson_venv is not None
    lesson_venv.teacher.load_state_dict(state["teacher"])
    normalizer = unwrap_vec_normalize(venv)
    if normalizer is not None:
        restore_normalizer(normalizer, state["normalizer"])
    restore_learner(model, state["learner"])
    if state["environments"] is not None:
        restore_environments(lesson_venv.venv, state["environments"])
        lesson_venv.load_state_dict(state["delivery"])
    else:
        lesson_venv.teacher.forget([int(i) for i in state["delivery"]["ids"]])
        lesson_venv.seed(seed)
        model._last_obs = venv.reset()
        model._last_episode_starts = np.ones(venv.num_envs, dtype=bool)
        if normalizer is not None:
            model._last_original_obs = normalizer.get_original_obs()
    restore_global_randomness(state["randomness"])


def environment_states(venv: VecEnv) -> Any:
    """Return the state of every environment, or None where they cannot be captured exactly."""
    if isinstance(venv, BatchVecEnv):
        state = venv.get_episode_states()
        return None if state is None else [state]
    if not venv.has_attr("begin_lesson") or not venv.has_attr("get_snapshot"):
        return None
    return venv.env_method("get_episode_state")


def restore_environments(venv: VecEnv, states: Any) -> None:
    """Put environments into the states that `environment_states` returned."""
    venv._reset_seeds()  # a seed still waiting for the first reset would reseed an episode later on
    if isinstance(venv, BatchVecEnv):
        venv.set_episode_states(states[0])
    else:
        for index, state in enumerate(states):
            venv.env_method("set_episode_state", state, indices=[index])


def learner_state(model: Any) -> State:
    """Return the state of a learner with its optimiser and replay buffer: call it between two rollouts."""
    if hasattr(model, "state_dict"):
        own: State = {"own": model.state_dict(), "last_obs": to_arrays(model._last_obs)}
        return own
    assert isinstance(model, BaseAlgorithm)
    _, variables = model._get_torch_save_params()
    buffer = getattr(model, "replay_buffer", None)
    return {
        "parameters": to_arrays(model.get_parameters()),
        "variables": {name: to_arrays(getattr(model, name).detach()) for name in variables},
        "jax": jax_state(model) if in_jax(model.policy) else None,
        "counters": {name: getattr(model, name) for name in COUNTERS if hasattr(model, name)},
        "last_seen": {name: to_arrays(getattr(model, name)) for name in LAST_SEEN if hasattr(model, name)},
        "memory": [to_arrays(list(states)) for states in getattr(model, MEMORY, [])],
        "episodes": [dict(info) for info in model.ep_info_buffer or []],
        "successes": [float(success) for success in model.ep_success_buffer or []],
        "action_space": model.action_space.np_random.bit_generator.state,
        "replay_buffer": None if buffer is None else _buffer_state(buffer),
    }


def restore_learner(model: Any, state: State) -> None:
    """Put a freshly built learner into a state that `learner_state` returned."""
    if "own" in state:
        model.load_state_dict(state["own"])
        model._last_obs = state["last_obs"]
        return
    model.set_parameters(to_tensors(state["parameters"]), exact_match=True, device=model.device)
    for name, value in state["variables"].items():
        getattr(model, name).data.copy_(torch.from_numpy(value))
    if in_jax(model.policy):
        if state.get("jax") is None:
            raise RunDirectoryError(
                "this checkpoint holds nothing of what its learner in JAX had learned, as all of earlier versions of "
                "rlteach; run it anew"
            )
        put_jax_state(model, state["jax"])
    for name, value in {**state["counters"], **state["last_seen"]}.items():
        setattr(model, name, value)
    if state.get("memory"):
        kind = type(getattr(model, MEMORY))
        setattr(model, MEMORY, kind(*(tuple(to_tensors(states)) for states in state["memory"])))
    model.ep_info_buffer = deque(state["episodes"], maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(state["successes"], maxlen=model._stats_window_size)
    model.action_space.np_random.bit_generator.state = state["action_space"]
    if state["replay_buffer"] is not None:
        _restore_buffer(model.replay_buffer, state["replay_buffer"])


def _buffer_state(buffer: Any) -> State:
    filled = buffer.buffer_size if buffer.full else buffer.pos
    arrays = {
        name: {key: part[:filled].copy() for key, part in value.items()}
        if isinstance(value, dict)
        else value[:filled].copy()
        for name, value in vars(buffer).items()
        if isinstance(value, np.ndarray) or (isinstance(value, dict) and _all_arrays(value))
    }
    return {"arrays": arrays, "pos": int(buffer.pos), "full": bool(buffer.full)}


def _all_arrays(value: Mapping[str, Any]) -> bool:
    return bool(value) and all(isinstance(part, np.ndarray) for part in value.values())


def _restore_buffer(buffer: Any, state: State) -> None:
    for name, value in state["arrays"].items():
        target = getattr(buffer, name)
        for into, part in (
            zip(target.values(), value.values(), strict=True) if isinstance(value, dict) else [(target, value)]
        ):
            into[: len(part)] = part
    buffer.pos, buffer.full = int(state["pos"]), bool(state["full"])


def normalizer_statistics(normalizer: VecNormalize) -> State:
    """Return the running means and variances, which evaluation and deployment need."""
    observation = normalizer.obs_rms if normalizer.norm_obs else None
    many = observation if isinstance(observation, dict) else {"": observation}
    return {
        "observations": {
            k: {p: to_arrays(getattr(r, p)) for p in NORMALIZER_PARTS} for k, r in many.items() if r is not None
        },
        "rewards": {part: to_arrays(getattr(normalizer.ret_rms, part)) for part in NORMALIZER_PARTS},
    }


def normalizer_state(normalizer: VecNormalize) -> State:
    """Return everything that a `VecNormalize` goes on with."""
    return {
        **normalizer_statistics(normalizer),
        "returns": normalizer.returns.copy(),
        "last_obs": to_arrays(normalizer.old_obs),
        "last_reward": to_arrays(normalizer.old_reward),
    }


def restore_normalizer(normalizer: VecNormalize, state: State) -> None:
    """Put a `VecNormalize` into a state that `normalizer_state` returned."""
    observation = normalizer.obs_rms if normalizer.norm_obs else None
    many = observation if isinstance(observation, dict) else {"": observation}
    for key, parts in state["observations"].items():
        for part, value in parts.items():
            setattr(many[key], part, value)
    for part, value in state["rewards"].items():
        setattr(normalizer.ret_rms, part, value)
    normalizer.returns = np.array(state["returns"])
    normalizer.old_obs = state["last_obs"]
    normalizer.old_reward = state["last_reward"]
