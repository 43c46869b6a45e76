"""The contract of an exported policy: what every number that goes in or comes out means.

    contract = describe_contract(source, facts)         # for contract.json

It says what the weights cannot: names, order, units and ranges of observations and actions, the control rate, what the
memory holds and when to put it back.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

import rlteach
from rlteach.distillation.portable import Network

SCHEMA = 1
PACKAGES = ("torch", "stable-baselines3", "gymnasium", "numpy")


@dataclass(frozen=True)
class EnvFacts:
    """What an environment states about itself.

    Attributes:
        control_rate: Actions per second, None where it is not stated.
        action_names: A name for every component of an action, or for every Discrete action.
        action_units: A unit for every component.
        identity: Id and keyword arguments.
    """

    control_rate: float | None = None
    action_names: tuple[str, ...] = ()
    action_units: tuple[str, ...] = ()
    identity: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, venv: VecEnv, identity: Mapping[str, Any]) -> EnvFacts:
        """Ask an environment."""
        rate = _stated(venv, "control_rate")
        names, units = (tuple(_stated(venv, what) or ()) for what in ("action_names", "action_units"))
        return cls(None if rate is None else float(rate), names, units, dict(identity))


@dataclass(frozen=True)
class Identity:
    """What a policy is and what it was made for.

    Attributes:
        method: Class or name of what trained it.
        steps: Environment steps that it cost.
        view: What it sees, as `View.describe` says it, or None.
        observation_space: Its Box.
        action_space: Box or Discrete.
        seen: Mean and standard deviation of the observations it was trained on, each (d,), or None.
    """

    method: str
    steps: int
    view: Mapping[str, Any] | None
    observation_space: spaces.Box
    action_space: spaces.Space[Any]
    seen: tuple[NDArray[Any], NDArray[Any]] | None


def describe_contract(network: Network, identity: Identity, facts: EnvFacts) -> dict[str, Any]:
    """Return everything but files and parity."""
    d, k = network.observation_size, network.state_size
    inputs, outputs = {"observations": ["n", d]}, {"actions": ["n", *network.action_shape]}
    if k:
        inputs, outputs = inputs | {"state": ["n", k]}, outputs | {"next_state": ["n", k]}
    return {
        "schema": SCHEMA,
        "format": "rlteach policy contract",
        "method": identity.method,
        "architecture": network.architecture,
        "training_steps": identity.steps,
        "environment": dict(facts.identity),
        "control_rate": facts.control_rate,
        "observation": _observation(network, identity),
        "action": _action(network, identity.action_space, facts),
        "state": _state(network),
        "inputs": inputs,
        "outputs": outputs,
        "network": network.describe(),
        "versions": {
            "rlteach": rlteach.__version__,
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in PACKAGES},
        },
    }


def _stated(venv: VecEnv, name: str) -> Any:
    return venv.get_attr(name, [0])[0] if venv.has_attr(name) else None


def _observation(network: Network, identity: Identity) -> dict[str, Any]:
    space, view = identity.observation_space, identity.view or {}
    described: dict[str, Any] = {
        "shape": list(network.observation_shape),
        "dtype": "float32",
        "normalised": "inside: give raw values, in the units below and in this order, flattened row by row",
        "clip": network.clip,
        "groups": list(view.get("groups", ())),
    }
    if len(network.observation_shape) != 1:
        return {**described, "low": _number(space.low.min()), "high": _number(space.high.max()), "components": []}
    size = network.observation_size
    mean, std = identity.seen or ((None,) * size, (None,) * size)
    columns = {
        "name": _labels(view.get("names", ()), [f"observation[{i}]" for i in range(size)]),
        "unit": _labels(view.get("units", ()), [""] * size),
        "low": space.low,
        "high": space.high,
        "mean": mean,
        "std": std,
    }
    return {**described, "components": _rows(columns)}


def _action(network: Network, space: spaces.Space[Any], facts: EnvFacts) -> dict[str, Any]:
    if isinstance(space, spaces.Discrete):
        n, start = int(space.n), int(space.start)
        names = _labels(facts.action_names, [str(start + i) for i in range(n)])
        return {"kind": "discrete", "dtype": "int64", "n": n, "start": start, "names": names}
    assert isinstance(space, spaces.Box)
    size = network.action_size
    columns = {
        "name": _labels(facts.action_names, [f"action[{i}]" for i in range(size)]),
        "unit": _labels(facts.action_units, [""] * size),
        "low": np.ravel(space.low),
        "high": np.ravel(space.high),
    }
    shape = list(network.action_shape)
    return {
        "kind": "box",
        "shape": shape,
        "dtype": "float32",
        "scaled": "inside: in the units below, clipped to the bounds",
        "components": _rows(columns),
    }


def _state(network: Network) -> dict[str, Any]:
    k, d = network.state_size, network.observation_size
    reset = (
        "Set the state to `initial` at the start of every episode, before its first observation is taken in; then "
        "hand each step's next state to the step after it."
    )
    parts = {
        "stack": _window_parts(network.history, d),
        "transformer": _window_parts(network.history, d),
        "gru": [("hidden", k, "the recurrent layer's output")],
        "lstm": [("hidden", k // 2, "the recurrent layer's output"), ("cell", k // 2, "its cell")],
    }.get(network.kind, [])
    return {
        "size": k,
        "dtype": "float32",
        "history": network.history,
        "layout": [{"name": name, "size": size, "meaning": meaning} for name, size, meaning in parts],
        "initial": network.arrays["initial_state"].tolist(),
        "reset": reset if k else "There is no memory, and nothing to put back between episodes.",
    }


def _window_parts(history: int, d: int) -> list[tuple[str, int, str]]:
    before = history - 1
    meaning = f"the {before} observations before the next one, raw, the oldest first, each of {d} values; a place that "
    meaning += "nothing was seen for holds the episode's first observation"
    return [("observations", before * d, meaning), ("seen", 1, "how many of them were seen in this episode")]


def _labels(stated: Sequence[str], default: list[str]) -> list[str]:
    return [str(label) for label in stated] if len(stated) == len(default) else default


def _rows(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = zip(*columns.values(), strict=True)
    return [{name: _number(value) for name, value in zip(columns, row, strict=True)} for row in rows]


def _number(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    return float(value) if np.isfinite(value) else None
