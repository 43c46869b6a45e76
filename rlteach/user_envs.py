"""Tasks for environments that take their parameters in the constructor or as attributes, wrapped from outside.

    space = spaces.Dict(gravity=spaces.Box(-12.0, -1.0, (), np.float64))
    env = TaskFromKwargs("LunarLander-v3", space)                # LunarLander-v3(gravity=...), rebuilt for a new task
    env = TaskFromAttr(gym.make("Pendulum-v1"), spaces.Dict(g=spaces.Box(1.0, 12.0, (), np.float64)))

Both take a task in `reset(options={"task": ...})`, draw a uniform one when none is given, and pass on everything else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rlteach import environments
from rlteach.environments import EnvLike
from rlteach.errors import ConfigError, InvalidValue, UserError, did_you_mean
from rlteach.task_space import TaskSpace, Vector

Reset = tuple[Any, dict[str, Any]]


class _Tasks:
    """Reads tasks from reset options, and draws those that nobody gave."""

    def __init__(self, task_space: TaskSpace | spaces.Space[Any]) -> None:
        self.space = TaskSpace.of(task_space)
        self.rng = np.random.default_rng()

    def take(self, seed: int | None, options: Mapping[str, Any] | None) -> tuple[Vector, dict[str, Any] | None]:
        """Return the task of an episode as a vector, and the options that are left for the inner environment."""
        if seed is not None:
            # Not the seed itself: the environment inside is seeded with that, and the two must not draw alike.
            self.rng = np.random.default_rng([seed, 1])
        rest = dict(options or {})
        task = rest.pop("task", None)
        vector = (
            self.space.vectors_of_unit(self.rng.random(self.space.dimension))
            if task is None
            else self.space.to_vector(task)
        )
        return vector, rest or None

    def arguments(self, vector: Vector) -> Any:
        """Return a task as plain numbers, arrays, dicts and tuples: what constructors and attributes expect."""
        return _plain(self.space.space, self.space.from_vector(vector))

    def describe(self, env: Any) -> None:
        """Give `env` the attributes by which a task space is found."""
        env.task_space = self.space.space
        env.task_units = {p.name: p.unit for p in self.space.parameters if p.unit}
        env.task_names = None if isinstance(env.task_space, spaces.Dict | spaces.Tuple) else list(self.space.names)

    def state(self) -> str:
        """Return the state of the generator."""
        return json.dumps(self.rng.bit_generator.state)

    def restore(self, state: str) -> None:
        """Continue from `state`."""
        self.rng.bit_generator.state = json.loads(state)


class TaskFromKwargs(gym.Env[Any, Any]):
    """Builds the environment anew, with the task as keyword arguments, whenever an episode has another task.

    Args:
        make: Class, function or id that takes the parameters as keyword arguments.
        task_space: A `Dict` space whose keys are those keyword arguments.
        fixed: Keyword arguments that stay the same.

    Where the environment offers snapshots, so does this one; they hold the task too.

    Raises:
        InvalidValue: When a task changes the observation or action space.
        UserError: When the constructor refuses the arguments.
    """

    def __init__(
        self,
        make: EnvLike,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        fixed: Mapping[str, Any] | None = None,
    ) -> None:
        self._make = make
        self._tasks = _Tasks(task_space)
        self._fixed = dict(fixed or {})
        self._check_keys()
        # By which its snapshots are told from those of others: kept as Gymnasium's wrappers keep theirs.
        self._saved_kwargs = {"make": make, "fixed": self._fixed, "task_space": self._tasks.space.space}
        self._tasks.describe(self)
        self._vector = self._tasks.space.vectors_of_unit(np.full(self._tasks.space.dimension, 0.5))
        self._env: gym.Env[Any, Any] | None = self._build(self._vector)
        self.observation_space = self._env.observation_space
        self.action_space = self._env.action_space
        self.metadata = self._env.metadata
        self.render_mode = self._env.render_mode
        self.spec = self._env.spec
        if self._env.has_wrapper_attr("get_snapshot"):
            self.get_snapshot, self.set_snapshot = self._get_snapshot, self._set_snapshot

    def _check_keys(self) -> None:
        space = self._tasks.space.space
        if not isinstance(space, spaces.Dict):
            raise InvalidValue(f"TaskFromKwargs needs a Dict space whose keys are keyword arguments, not {space}")
        if both := sorted(set(space.spaces) & set(self._fixed)):
            raise InvalidValue(f"{', '.join(both)}: both in the task space and in `fixed`")

    def _build(self, vector: Vector) -> gym.Env[Any, Any]:
        return environments.build(self._make, **self._fixed, **self._tasks.arguments(vector))

    def __getattr__(self, name: str) -> Any:
        # A leading underscore also keeps copying and unpickling from asking an unfinished object.
        if name.startswith("_") or self._env is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._inner.get_wrapper_attr(name)

    @property
    def _inner(self) -> gym.Env[Any, Any]:
        if self._env is None:
            raise UserError(
                f"{environments.label(self._make)} is closed, or its last task was refused; `reset` builds it again"
            )
        return self._env

    def _become(self, vector: Vector) -> bool:
        """Build the environment of a task unless it is there; tell whether it was built."""
        if self._env is not None and np.array_equal(vector, self._vector):
            return False
        self.close()
        env = self._build(vector)
        for name in ("observation_space", "action_space"):
            if getattr(env, name) != getattr(self, name):
                env.close()
                raise InvalidValue(
                    f"the task {self._tasks.arguments(vector)} changes the {name} from {getattr(self, name)} to "
                    f"{getattr(env, name)}. A learner needs the same spaces in every task: take that parameter out of "
                    "the task space, or pad what it changes"
                )
        self._env, self._vector = env, vector
        return True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Start an episode with `options["task"]`, or with a task drawn uniformly."""
        super().reset(seed=seed)
        vector, rest = self._tasks.take(seed, options)
        if self._become(vector) and seed is None:
            # A new environment would seed itself from the operating system and no run could be repeated.
            seed = int(self._tasks.rng.integers(2**31))
        return self._inner.reset(seed=seed, options=rest)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment of the current task."""
        return self._inner.step(action)

    def render(self) -> Any:
        """Render the environment of the current task."""
        return self._inner.render()

    def close(self) -> None:
        """Close the environment of the current task; the next reset builds one."""
        if self._env is not None:
            self._env.close()
            self._env = None

    def _get_snapshot(self) -> dict[str, Any]:
        inner = self._inner.get_wrapper_attr("get_snapshot")()
        return {"task": self._vector.copy(), "tasks": self._tasks.state(), "env": inner}

    def _set_snapshot(self, snapshot: Mapping[str, Any]) -> Reset:
        self._tasks.restore(snapshot["tasks"])
        if self._become(np.array(snapshot["task"])):
            self._inner.reset()  # wrappers refuse to step what was never reset
        restored: Reset = self._inner.get_wrapper_attr("set_snapshot")(snapshot["env"])
        return restored


class TaskFromAttr(gym.Wrapper[Any, Any, Any, Any]):
    """Sets the task as attributes of the innermost environment, or through its setter, before every reset.

    Args:
        env: Any environment.
        task_space: Without `setter`, a `Dict` space whose keys are attributes of `env.unwrapped`; a key such as
            `"model.opt.timestep"` leads into objects.
        setter: Name of a method, or a callable that gets `env.unwrapped` first. It takes the task as keyword
            arguments where the task space is a `Dict`, else as its one argument.

    Where the environment offers snapshots, so does this one; they hold the task too.

    Raises:
        ConfigError: Every attribute that the environment does not have.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        task_space: TaskSpace | spaces.Space[Any],
        *,
        setter: str | Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(env)
        self._tasks = _Tasks(task_space)
        self._setter = setter
        self._check()
        self._saved_kwargs = {"task_space": self._tasks.space.space, "setter": setter}
        self._tasks.describe(self)
        self._vector: Vector | None = None
        if env.has_wrapper_attr("get_snapshot"):
            self.get_snapshot, self.set_snapshot = self._get_snapshot, self._set_snapshot

    def _check(self) -> None:
        space = self._tasks.space.space
        if callable(self._setter):
            return
        if isinstance(self._setter, str):
            found = self.env.has_wrapper_attr(self._setter)
            faults = [] if found else list(_path_faults(self.env.unwrapped, self._setter))
        elif isinstance(space, spaces.Dict):
            faults = [fault for path in space.spaces for fault in _path_faults(self.env.unwrapped, path)]
        else:
            raise InvalidValue(
                f"without a setter TaskFromAttr needs a Dict space whose keys are attributes, not {space}"
            )
        if faults:
            raise ConfigError(faults, where=f"tasks of {type(self.env.unwrapped).__name__}")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Start an episode with `options["task"]`, or with a task drawn uniformly."""
        vector, rest = self._tasks.take(seed, options)
        self._become(vector)
        return self.env.reset(seed=seed, options=rest)

    def _become(self, vector: Vector) -> None:
        task = self._tasks.arguments(vector)
        if self._setter is None:
            for path, value in task.items():
                _set_path(self.env.unwrapped, path, value)
        else:
            positional, named = ((), task) if isinstance(task, dict) else ((task,), {})
            if isinstance(self._setter, str):
                self.env.get_wrapper_attr(self._setter)(*positional, **named)
            else:
                self._setter(self.env.unwrapped, *positional, **named)
        self._vector = vector

    def _get_snapshot(self) -> dict[str, Any]:
        inner = self.env.get_wrapper_attr("get_snapshot")()
        task = np.zeros(0) if self._vector is None else self._vector.copy()
        return {"task": task, "tasks": self._tasks.state(), "env": inner}

    def _set_snapshot(self, snapshot: Mapping[str, Any]) -> Reset:
        self._tasks.restore(snapshot["tasks"])
        if len(snapshot["task"]):
            self._become(np.array(snapshot["task"]))
        restored: Reset = self.env.get_wrapper_attr("set_snapshot")(snapshot["env"])
        return restored


def _plain(space: spaces.Space[Any], value: Any) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: _plain(part, value[key]) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_plain(part, item) for part, item in zip(space.spaces, value, strict=True))
    return value if space.shape else value.item()


def _path_faults(owner: Any, path: str) -> Iterator[str]:
    """Yield one sentence when a path leads nowhere."""
    for part in path.split("."):
        if not hasattr(owner, part):
            known = [name for name in dir(owner) if not name.startswith("_")]
            yield f"{type(owner).__name__} has no attribute {part!r} (from {path!r}).{did_you_mean(part, known)}"
            return
        owner = getattr(owner, part)


def _set_path(env: Any, path: str, value: Any) -> None:
    *parts, name = path.split(".")
    try:
        setattr(reduce(getattr, parts, env), name, value)
    except (AttributeError, TypeError) as error:
        raise UserError(f"cannot set {path} of {type(env).__name__} to {value!r}: {error}") from error
