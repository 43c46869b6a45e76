"""Snapshots of MuJoCo environments: the engine's own integration state, put back in place.

env = MujocoState(gym.make("Ant-v5"))

Any environment will do whose bare form holds an `mjModel` as `model` and an `mjData` as `data`, as Gymnasium's do.
Copying or pickling those would lose the state: they rebuild themselves from the arguments of their constructors.

Besides the state that MuJoCo integrates, two arrays are kept. The rewards of Ant and Humanoid are differences of
positions that MuJoCo computes before it moves the bodies; after a step they are those of one sub-step ago, and cannot
be computed from the new state. The model is no part of a snapshot: whoever changes it must change it back.

A layer that changes the model after attributes of its own, such as a task, can have that done for it. It keeps the
model as it was compiled in `nominal_model`, which then stands for the environment; it has a method `refresh_model()`,
which is called once its attributes are back; and it may name attributes that never change in `no_state`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any
from weakref import WeakKeyDictionary

import gymnasium as gym
import numpy as np

from rlteach import environments
from rlteach.errors import InvalidValue
from rlteach.snapshots.attributes import read_attributes, unfit, write_attributes
from rlteach.snapshots.base import Restorable, layers_of, part

LAGGING = ("xpos", "xipos")
"""Arrays of mjData that environments read before they step: positions of body frames and of centres of mass, in m."""

APART = frozenset({"model", "data", "fullpath", "width", "height", "camera_id", "camera_name", "observation_structure"})
"""Attributes that are saved in another way, or that say where the model came from and how it is drawn and observed."""


class MujocoState(Restorable):
    """Takes and puts back the state of MuJoCo, of the random generator, and of the environment's own attributes."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._apart = _apart(env)

    def get_snapshot(self) -> dict[str, Any]:
        """Return the integration state, lagging arrays and attributes, and the observation that was last seen."""
        mujoco = sys.modules["mujoco"]
        observation = self._last_observation()
        model, data = _simulation(self.env)
        state = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION))
        mujoco.mj_getState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        return {
            "observation": observation,
            "integration": state,
            **{name: getattr(data, name).copy() for name in LAGGING},
            "attributes": read_attributes(self.env, apart=self._apart),
        }

    def set_snapshot(self, snapshot: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Put everything back; what MuJoCo derives from its state is computed anew, except for the lagging arrays."""
        mujoco = sys.modules["mujoco"]
        self._ensure_started()
        model, data = _simulation(self.env)
        state = part(snapshot, "integration")
        size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION)
        if state.shape != (size,):
            raise InvalidValue(f"this snapshot has {state.size} state variables, but {self} has {size}")
        write_attributes(self.env, part(snapshot, "attributes"))
        for layer in layers_of(self.env):
            if hasattr(layer, "refresh_model"):
                layer.refresh_model()
        mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        mujoco.mj_forward(model, data)
        mujoco.mj_rnePostConstraint(model, data)
        # mj_forward of MuJoCo 4.0 leaves the state alone, warm start included, but nothing promises that it must.
        mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        for name in LAGGING:
            getattr(data, name)[:] = part(snapshot, name)
        return self._observe_again(snapshot)


def is_mujoco(env: gym.Env[Any, Any]) -> bool:
    """Tell whether the bare environment holds a MuJoCo model and its data."""
    mujoco = sys.modules.get("mujoco")
    if mujoco is None:
        return False
    model, data = _simulation(env)
    return isinstance(model, mujoco.MjModel) and isinstance(data, mujoco.MjData)


def why_not(env: gym.Env[Any, Any]) -> str | None:
    """Return what of a MuJoCo environment `MujocoState` could not save, or None."""
    return unfit(env, apart=_apart(env))


def _apart(env: gym.Env[Any, Any]) -> frozenset[str]:
    return APART.union(*(getattr(layer, "no_state", ()) for layer in layers_of(env)))


class _Watched:
    """Where a model can change, what was there last, and the digest that belongs to it.

    Writing a whole model of half a megabyte, mostly textures, takes 0.1 ms; reading what steps depend on a tenth.
    """

    def __init__(self, model: Any) -> None:
        # Views hold the engine's model, not Python's, so that this does not keep its own key alive.
        self._views = _arrays(model, apart=("tex_data",)) + _arrays(model.opt) + _arrays(model.stat)
        self._options, self._statistics = _numbers(model.opt), _numbers(model.stat)
        self._content: tuple[Any, ...] | None = None
        self._digest = ""

    def digest(self, model: Any) -> str:
        content = b"".join(self._views), self._options(model.opt), self._statistics(model.stat)
        if content != self._content:
            mujoco = sys.modules["mujoco"]
            buffer: Any = np.empty(mujoco.mj_sizeModel(model), np.uint8)
            mujoco.mj_saveModel(model, None, buffer)
            self._content, self._digest = content, hashlib.sha256(buffer).hexdigest()
        return self._digest


def _arrays(struct: Any, apart: tuple[str, ...] = ()) -> list[memoryview]:
    named = [getattr(struct, name) for name in dir(struct) if name[0] != "_" and name not in apart]
    arrays: list[Any] = [value for value in named if isinstance(value, np.ndarray) and value.size]
    return [memoryview(array) for array in arrays]


def _numbers(struct: Any) -> Callable[[Any], Any]:
    return attrgetter(
        *(name for name in dir(struct) if name[0] != "_" and isinstance(getattr(struct, name), int | float))
    )


_MODELS: WeakKeyDictionary[Any, _Watched] = WeakKeyDictionary()


def model_digest(env: gym.Env[Any, Any]) -> str:
    """Return the SHA-256 of everything in the compiled model of a MuJoCo environment as it is now, in hex.

    That of `nominal_model` where the environment offers one: then the model changes with the task. Textures and `vis`,
    which only pictures show, are read anew only when something else has changed.
    """
    model = environments.capability(env, "nominal_model") or _simulation(env)[0]
    watched = _MODELS.get(model)
    if watched is None:
        watched = _MODELS[model] = _Watched(model)
    return watched.digest(model)


def _simulation(env: gym.Env[Any, Any]) -> tuple[Any, Any]:
    bare = env.unwrapped
    return getattr(bare, "model", None), getattr(bare, "data", None)
