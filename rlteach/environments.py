"""Finding environments by what a user types: an id, `module:id`, `file.py:Class`, or a callable.

    make = factory("rlteach/GoalMaze-v0", horizon=150)
    env = make()

Environments with a native batch form (a Gymnasium `VectorEnv` that does not reset itself) say so in `has_batch_form`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import gymnasium as gym

from rlteach import registry
from rlteach.errors import MissingCapability, UnknownName, UserError, did_you_mean

EnvLike: TypeAlias = str | Callable[..., gym.Env[Any, Any]]

REFUSALS = (TypeError, ValueError, AssertionError)
"""What a constructor raises that does not like its arguments."""

TASK_RECIPE = """
class MyEnv(gymnasium.Env):
    task_space = gymnasium.spaces.Dict(height=gymnasium.spaces.Box(0.0, 3.0, shape=()))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.height = float((options or {}).get("task", {"height": 1.5})["height"])

Parameters that sit in the constructor or in a setter need no change of the environment: wrap it in
rlteach.TaskFromKwargs(MyEnv, task_space) or rlteach.TaskFromAttr(env, task_space).
`rlteach check ENV` tells what else is missing."""


def load_plugins() -> list[str]:
    """Import every package that registers environments for rlteach; return a sentence for each that cannot be."""
    faults = []
    for entry in registry.entries("env").values():
        try:
            entry.load()
        except Exception as error:  # a broken plug-in must not take the others down
            faults.append(f"environment package {entry.target!r} cannot be imported: {error}")
    return faults


def find_spec(env: str) -> gym.envs.registration.EnvSpec:
    """Return the Gymnasium spec of an id or `module:id`.

    Raises:
        UnknownName: With the nearest registered id.
    """
    module, _, env_id = env.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except Exception as error:  # importing runs code of the user's own
            raise UserError(f"cannot import {module!r} for the environment {env!r}: {_cause(error)}") from error
    if env_id not in gym.registry:
        faults = load_plugins()
        if env_id not in gym.registry:
            hint = " ".join(["`rlteach list envs` shows them all.", *faults])
            raise UnknownName("environment", env_id, gym.registry, next_step=hint)
    return gym.registry[env_id]


def label(env: EnvLike) -> str:
    """Return the name under which an environment appears in files and tables."""
    return (
        env if isinstance(env, str) else f"{getattr(env, '__module__', '')}.{getattr(env, '__qualname__', repr(env))}"
    )


def check_known(env: EnvLike) -> None:
    """Raise the error that `factory(env)()` would raise for a wrong name, without building anything."""
    if isinstance(env, str):
        if _is_file(env):
            _class_in_file(env)
        else:
            find_spec(env)


def factory(env: EnvLike, **kwargs: Any) -> Callable[[], gym.Env[Any, Any]]:
    """Return a picklable function that builds the environment."""
    return partial(build, env, **kwargs)


def build(env: EnvLike, **kwargs: Any) -> gym.Env[Any, Any]:
    """Build one environment.

    Raises:
        UserError: When the constructor refuses the keyword arguments.
    """
    try:
        if callable(env):
            return env(**kwargs)
        if _is_file(env):
            built: gym.Env[Any, Any] = _class_in_file(env)(**kwargs)
            return built
        return gym.make(find_spec(env), **kwargs)
    except REFUSALS as error:
        raise _refused(env, kwargs, error) from error


def has_batch_form(env: EnvLike) -> bool:
    """Tell whether the environment registers a native batch form that leaves resets to its user."""
    if not isinstance(env, str) or _is_file(env):
        return False
    creator: Any = find_spec(env).vector_entry_point
    if isinstance(creator, str):
        creator = gym.envs.registration.load_env_creator(creator)
    return getattr(creator, "metadata", {}).get("autoreset_mode") == gym.vector.AutoresetMode.DISABLED


def build_batch(env: str, num_envs: int, **kwargs: Any) -> gym.vector.VectorEnv[Any, Any, Any]:
    """Build the native batch form."""
    try:
        return gym.make_vec(find_spec(env), num_envs=num_envs, vectorization_mode="vector_entry_point", **kwargs)
    except REFUSALS as error:
        raise _refused(env, kwargs, error) from error


def _refused(env: EnvLike, kwargs: dict[str, Any], error: Exception) -> UserError:
    return error if isinstance(error, UserError) else UserError(f"cannot build {label(env)} with {kwargs}: {error}")


def capability(env: Any, name: str, default: Any = None) -> Any:
    """Return an attribute that an environment offers through all its wrappers, else `default`."""
    if isinstance(env, gym.Env):
        return env.get_wrapper_attr(name) if env.has_wrapper_attr(name) else default
    return getattr(getattr(env, "unwrapped", env), name, default)


def task_space_of(env: Any, name: str) -> Any:
    """Return the Gymnasium task space of an environment.

    Raises:
        MissingCapability: With a recipe, when it has none.
    """
    space = capability(env, "task_space")
    if space is None:
        raise MissingCapability("`task_space`", where=name, recipe=TASK_RECIPE)
    return space


def _is_file(env: str) -> bool:
    return ".py:" in env


def _class_in_file(env: str) -> Any:
    path_text, _, name = env.rpartition(":")
    path = Path(path_text).expanduser().resolve()
    if not path.is_file():
        raise UserError(f"there is no file {path} (from {env!r}, which reads as file.py:Class)")
    try:
        module = _load_file(path)
    except Exception as error:  # importing runs code of the user's own
        raise UserError(f"cannot import {path} (from {env!r}): {_cause(error)}") from error
    if not hasattr(module, name):
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise UserError(f"{path} has no {name!r}.{did_you_mean(name, classes)}")
    return getattr(module, name)


def _cause(error: Exception) -> str:
    return str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"


def _load_file(path: Path) -> ModuleType:
    # The digest keeps two files of one name apart and makes the module importable by pickled instances.
    module_name = f"rlteach_file_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}_{path.stem}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module
