"""Delivery: hand a teacher's lesson to an environment at the start of every episode, and its outcome back at the end.

    venv = rlteach.attach(DummyVecEnv([make] * 8), teacher)         # the two-line door for a plain SB3 script
    model = PPO("MlpPolicy", venv).learn(100_000)

Stable-Baselines3 resets a finished environment inside the worker and passes no options (its issue 1790). Three ways
around that, chosen by `attach`: `LessonEnv` inside the workers turns that reset into a no-op and takes the lesson in a
second, cheap call; a native batch environment takes all lessons in one masked reset; any other VecEnv has its finished
environments reset once more.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import RecordEpisodeStatistics
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from rlteach import environments
from rlteach.critics import critic_values
from rlteach.errors import EnvironmentFault, InvalidValue, MissingCapability, UserError
from rlteach.jax_states import in_jax
from rlteach.lesson import Lesson, Outcome, Start
from rlteach.protocols import State, Teacher
from rlteach.snapshots.base import around_restoring, as_seen, layers_of, set_elapsed, step_counters, wrappers_of
from rlteach.snapshots.restorable import Identity, identity_of
from rlteach.snapshots.restorable import restorable as made_restorable
from rlteach.snapshots.store import SnapshotStore
from rlteach.sync_vec_env import SyncVecEnv
from rlteach.task_space import TaskSpace
from rlteach.teachers.history import History

FAULT = "lesson_fault"
"""Key of the info under which an environment's traceback travels out of its worker."""

NO_LIMIT = np.iinfo(np.int64).max
"""Steps left of an episode that only the environment cuts off."""

ROLLED_IN = "rolled_in"
"""Key of the reset info that holds how many steps were played before the learner's first one, by a guide or again."""

Brief = tuple[Any, Start | None, Any]
"""The part of a lesson that an environment sees: task, start, goal. It must pickle."""

Started = tuple[Any, dict[int, dict[str, Any]]]
"""The observation of all environments, and the reset info of each one that was just started."""


# -- inside the environment ----------------------------------------------------------------------------------------


class LessonEnv(gym.Wrapper[Any, Any, Any, Any]):
    """Makes room for a lesson between the VecEnv's automatic reset and the next step.

    Until `attach` arms it, it is transparent. Put it outermost: `wrapper_class=rlteach.LessonEnv`.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._index: int | None = None
        self._seed: int | None = None
        self._options: dict[str, Any] = {}
        self._held: Any = None
        self._steps_left: int | None = None

    def arm_lessons(self, index: int) -> None:
        """From now on wait for a lesson after every reset; `index` is this environment's place in its VecEnv."""
        self._index = index

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset when not armed; else keep seed and options for the lesson that is about to come."""
        if self._index is None:
            return self.env.reset(seed=seed, options=options)
        self._seed, self._options = seed, dict(options or {})
        if self._held is None:
            self._held = self.observation_space.sample()  # never seen: the first lesson replaces it
        return self._held, {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step; once armed, an exception travels as `info["lesson_fault"]`, since a worker process would swallow it."""
        if self._index is None:
            return self.env.step(action)
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
        except Exception:
            return self.reset()[0], 0.0, False, False, {FAULT: traceback.format_exc()}
        if self._steps_left is not None:
            self._steps_left -= 1
            if self._steps_left <= 0 and not (terminated or truncated):
                truncated, info = True, self._told_monitors(observation, info)
        return observation, reward, terminated, truncated, info

    def _told_monitors(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        """Let every Monitor inside close an episode that ends here, with the step it saw last played to it again."""
        for layer in reversed(wrappers_of(self.env)):
            if isinstance(layer, Monitor):
                inner = layer.env
                layer.env = _LastStep(inner, (observation, layer.rewards.pop(), False, True, info))
                layer.total_steps -= 1
                try:
                    info = layer.step(None)[4]
                finally:
                    layer.env = inner
        return info

    def begin_lesson(self, briefs: Mapping[int, Brief]) -> tuple[Any, dict[str, Any]]:
        """Start the episode that `briefs` holds for this environment."""
        assert self._index is not None
        try:
            return self._begin(*briefs[self._index])
        except Exception:
            return self.reset()[0], {FAULT: traceback.format_exc()}

    def _begin(self, task: Any, start: Start | None, goal: Any) -> tuple[Any, dict[str, Any]]:
        if goal is not None:
            self.env.get_wrapper_attr("set_goal")(goal)
        options = self._options if task is None else {**self._options, "task": task}
        observation, info = self.env.reset(seed=self._seed, options=options or None)
        self._seed, self._options, self._steps_left = None, {}, None
        if start is None:
            return observation, info
        if start.snapshot is not None:
            observation, info = self._restore(start, task)
        if start.guide is not None and start.roll_in > 0:
            replayed = info.get(ROLLED_IN, 0)
            observation, info = self._roll_in(start.guide, start.roll_in, observation, options)
            info[ROLLED_IN] += replayed
        self._steps_left = start.limit
        return observation, info

    def _restore(self, start: Start, task: Any) -> tuple[Any, dict[str, Any]]:
        """Put the environment into a snapshot, which begins an episode: chance goes on as it would have anyway."""
        chances = {place: generator.bit_generator.state for place, generator in self._generators().items()}
        replayed = environments.capability(self.env, "replayed_steps", 0)
        observation, info = self.env.get_wrapper_attr("set_snapshot")(start.snapshot)
        for place, generator in self._generators().items():
            if place in chances:
                generator.bit_generator.state = chances[place]
        if task is not None:
            observation, info = self.env.get_wrapper_attr("set_task")(task)
        if start.elapsed is not None:
            set_elapsed(self.env, start.elapsed)
        else:
            for layer in wrappers_of(self.env):
                for name in step_counters(layer):  # replayed steps are no steps of this episode
                    setattr(layer, name, 0)
        observation = as_seen(self.env, observation)
        if replayed := environments.capability(self.env, "replayed_steps", 0) - replayed:
            info = {**info, ROLLED_IN: replayed}
        return observation, info

    def unknown_views(self) -> list[str]:
        """Return the wrappers that show a restored observation in a way that only their own `reset` knows."""
        return [
            type(layer).__name__
            for layer in around_restoring(self.env)
            if not isinstance(layer, gym.ObservationWrapper) and layer.observation_space != layer.env.observation_space
        ]

    def time_limit(self) -> int | None:
        """Return the steps of the outermost `TimeLimit` inside, None without one."""
        limit = environments.capability(self.env, "_max_episode_steps")
        return None if limit is None else int(limit)

    def _generators(self) -> dict[str, np.random.Generator]:
        """Return what chance is drawn from, by place: the generators of all layers, and that of replayed episodes."""
        found = {"np_random": self.env.unwrapped.np_random}
        for depth, layer in enumerate(layers_of(self.env)):
            for name, value in vars(layer).items():
                if isinstance(value, np.random.Generator):
                    found[f"{depth}.{name}"] = value
        own = environments.capability(self.env, "seed_generator")
        return found if own is None else {**found, "seed_generator": own}

    def _roll_in(
        self, guide: Callable[[Any], Any], steps: int, observation: Any, options: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """Let `guide` play the first steps; where it ends the episode, begin an ordinary one."""
        for step in range(steps):
            observation, _, terminated, truncated, info = self.env.step(guide(observation))
            if terminated or truncated:
                observation, info = self.env.reset(options=options or None)
                return observation, {**info, ROLLED_IN: step + 1}
        for layer in wrappers_of(self.env):  # the learner's episode begins here
            if isinstance(layer, Monitor):
                layer.rewards = []
            if isinstance(layer, RecordEpisodeStatistics):
                layer.episode_returns, layer.episode_lengths = 0.0, 0
        return observation, {**info, ROLLED_IN: steps}

    def identity(self) -> Identity:
        """Return whose snapshots the environment takes and puts back."""
        return identity_of(self.env)

    def get_episode_state(self) -> State:
        """Return the environment's snapshot with the counters of the wrappers around it."""
        counters = [
            {name: getattr(layer, name) for name in WRAPPER_COUNTERS if name in vars(layer)}
            for layer in wrappers_of(self.env)
        ]
        snapshot = dict(self.env.get_wrapper_attr("get_snapshot")())
        return {
            "snapshot": snapshot,
            "counters": counters,
            "steps_left": self._steps_left,
            "own_elapsed": next(iter(step_counters(self.env.unwrapped).values()), None),
        }

    def set_episode_state(self, state: State) -> None:
        """Continue from `get_episode_state`, in this process or another."""
        self.env.reset()
        self.env.get_wrapper_attr("set_snapshot")(state["snapshot"])
        self._steps_left = state["steps_left"]
        if state.get("own_elapsed") is not None:  # a replayed episode has counted every step since its reset
            set_elapsed(self.env, state["own_elapsed"])
        for layer, counters in zip(wrappers_of(self.env), state["counters"], strict=True):
            for name, value in counters.items():
                setattr(layer, name, value)


WRAPPER_COUNTERS = ("_elapsed_steps", "rewards", "needs_reset", "total_steps")
"""What `TimeLimit` and `Monitor` remember of an episode."""


class _LastStep(gym.Wrapper[Any, Any, Any, Any]):
    """Says once more what a step came to."""

    def __init__(self, env: gym.Env[Any, Any], result: tuple[Any, Any, bool, bool, dict[str, Any]]) -> None:
        super().__init__(env)
        self._result = result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return self._result


class _Starter(Protocol):
    """Starts some environments of a VecEnv with their lessons, after `venv.reset()` or at an episode's end."""

    def __call__(self, briefs: Mapping[int, Brief], observation: Any) -> Started:
        """Return `observation` with the rows of the started environments replaced, and their infos."""


class _InsideStarter:
    """For VecEnvs whose environments carry `LessonEnv`: one call to all workers concerned."""

    def __init__(self, venv: VecEnv) -> None:
        self._venv = venv
        for index in range(venv.num_envs):
            venv.env_method("arm_lessons", index, indices=[index])

    def __call__(self, briefs: Mapping[int, Brief], observation: Any) -> Started:
        indices = list(briefs)
        firsts = self._venv.env_method("begin_lesson", dict(briefs), indices=indices)
        return _with_rows(observation, dict(zip(indices, firsts, strict=True)))


class _SecondResetStarter:
    """For any other VecEnv: reset once more, now with the task."""

    def __init__(self, venv: VecEnv) -> None:
        self._venv = venv

    def __call__(self, briefs: Mapping[int, Brief], observation: Any) -> Started:
        return _with_rows(observation, {index: self._start(index, *brief) for index, brief in briefs.items()})

    def _start(self, index: int, task: Any, _: Start | None, goal: Any) -> tuple[Any, dict[str, Any]]:
        if goal is not None:
            self._venv.env_method("set_goal", goal, indices=[index])
        options = None if task is None else {"task": task}
        observation, info = self._venv.env_method("reset", options=options, indices=[index])[0]
        return observation, info


def _with_rows(observation: Any, firsts: Mapping[int, tuple[Any, dict[str, Any]]]) -> Started:
    for index, (first, _) in firsts.items():
        if isinstance(observation, Mapping):
            for key in observation:
                observation[key][index] = first[key]
        else:
            observation[index] = first
    return observation, {index: info for index, (_, info) in firsts.items()}


# -- native batch environments -------------------------------------------------------------------------------------


VECTOR_KWARGS = frozenset({"num_envs", "vectorization_mode", "vector_kwargs", "wrappers"})
"""What `gymnasium.make_vec` adds to an environment's keyword arguments."""


class BatchVecEnv(VecEnv):
    """A Gymnasium `VectorEnv` that does not reset itself, as a Stable-Baselines3 `VecEnv`.

    Args:
        env: A batch environment with `autoreset_mode` DISABLED that honours `reset(options={"reset_mask", "task"})`.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        if isinstance(env, SyncVectorEnv | AsyncVectorEnv):
            raise UserError(
                f"Gymnasium's {type(env).__name__} cannot hand a different task to each of its environments. "
                "Use DummyVecEnv or SubprocVecEnv of Stable-Baselines3: rlteach.make_vec_env(env_id, n, vec='dummy')"
            )
        if env.metadata.get("autoreset_mode") != AutoresetMode.DISABLED:
            raise UserError(f"{env} resets itself; a batch environment needs metadata['autoreset_mode'] = DISABLED")
        self.batch_env = env
        self._actions: Any = None
        self.task_space = environments.capability(env, "task_space")
        self._tasks = None if self.task_space is None else TaskSpace.of(self.task_space, env)
        self._waits_for_lessons = False
        self._steps_left = np.full(env.num_envs, NO_LIMIT)
        self._counts_down = False  # until the first limited episode: it would cost every step of those who never limit
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def arm(self) -> None:
        """Leave every reset to `begin_lessons` from now on."""
        self._waits_for_lessons = True

    def reset(self) -> Any:
        """Reset all environments; once armed, `begin_lessons` must follow before the observation means anything."""
        if self._waits_for_lessons:
            return self.observation_space.sample()  # replaced by begin_lessons
        observation, infos = self.batch_env.reset(seed=self._take_seeds(), options=None)
        self.reset_infos = _split_infos(infos, self.num_envs)
        return _as_sb3(observation)

    def begin_lessons(self, briefs: Mapping[int, Brief], observation: Any) -> Started:
        """Start the given environments with their tasks, in one masked reset."""
        options: dict[str, Any] = {"reset_mask": _mask(briefs, self.num_envs)}
        tasks = {index: task for index, (task, _, _) in briefs.items() if task is not None}
        if tasks and self._tasks is not None:
            options["task"] = self._tasks.batch(tasks, self.num_envs)
        observation, infos = self.batch_env.reset(seed=self._take_seeds(), options=options)
        split = _split_infos(infos, self.num_envs)
        self._steps_left[list(briefs)] = NO_LIMIT
        starts = {index: start for index, (_, start, _) in briefs.items() if start is not None}
        if starts:
            observation = self._restore(starts, options, tasks, observation)
            observation, played = self._roll_in(starts, options, observation)
            for index, steps in played.items():
                split[index][ROLLED_IN] = steps
            for index, start in starts.items():
                if start.limit is not None:
                    self._steps_left[index], self._counts_down = start.limit, True
        return _as_sb3(observation), {index: split[index] for index in briefs}

    def _restore(
        self, starts: Mapping[int, Start], options: Mapping[str, Any], tasks: Mapping[int, Any], observation: Any
    ) -> Any:
        """Put rows into their snapshots; the rest of the lesson, their tasks, holds all the same."""
        snapshots = {index: start.snapshot for index, start in starts.items() if start.snapshot is not None}
        if not snapshots:
            return observation
        observation, _ = environments.capability(self.batch_env, "set_row_snapshots")(snapshots)
        elapsed = {i: steps for i in snapshots if (steps := starts[i].elapsed) is not None}
        if elapsed and (set_rows := environments.capability(self.batch_env, "set_elapsed")) is not None:
            set_rows(elapsed)
        if "task" in options and (tasked := [index for index in snapshots if index in tasks]):
            mask = _mask(tasked, self.num_envs)
            observation, _ = environments.capability(self.batch_env, "set_task")(options["task"], mask)
        return observation

    def _roll_in(
        self, starts: Mapping[int, Start], options: Mapping[str, Any], observation: Any
    ) -> tuple[Any, dict[int, int]]:
        """Let guides play the first steps of some rows, the others untouched; return how many each has played."""
        guides = {i: s.guide for i, s in starts.items() if s.guide is not None and s.roll_in > 0}
        played = dict.fromkeys(guides, 0)
        frozen = ~_mask(guides, self.num_envs)
        capture, restore = (environments.capability(self.batch_env, name) for name in ("get_snapshot", "set_snapshot"))
        saved = None if frozen.all() else capture()
        actions = np.zeros(self.batch_env.action_space.shape or (), dtype=self.batch_env.action_space.dtype)
        while not frozen.all():
            for index in np.flatnonzero(~frozen).tolist():
                actions[index] = guides[index](_row(observation, index))
                played[index] += 1
            observation, _, terminations, truncations, _ = self.batch_env.step(actions)
            ended = (terminations | truncations) & ~frozen
            observation, _ = restore(saved, frozen)
            if ended.any():  # the guide has ended the episode: begin an ordinary one
                observation, _ = self.batch_env.reset(options={**options, "reset_mask": ended})
            finished = ended | _mask([i for i in guides if played[i] >= starts[i].roll_in], self.num_envs)
            if (finished & ~frozen).any():
                frozen |= finished
                saved = capture()
        return observation, played

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Step all environments; unless lessons are awaited, finished ones are reset."""
        observation, rewards, terminations, truncations, vector_infos = self.batch_env.step(self._actions)
        observation = _as_sb3(observation)
        if self._counts_down:
            self._steps_left -= 1
            truncations = truncations | ((self._steps_left <= 0) & ~terminations)
        dones = terminations | truncations
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if dones.any():
            infos = _split_infos(vector_infos, self.num_envs)
            self._steps_left[dones] = NO_LIMIT
            for index in np.flatnonzero(dones).tolist():
                infos[index]["TimeLimit.truncated"] = bool(truncations[index] and not terminations[index])
                infos[index]["terminal_observation"] = _row(observation, index)
            if not self._waits_for_lessons:
                observation, reset_infos = self.batch_env.reset(options={"reset_mask": dones})
                observation = _as_sb3(observation)
                for index, info in enumerate(_split_infos(reset_infos, self.num_envs)):
                    self.reset_infos[index] = info if dones[index] else self.reset_infos[index]
        return observation, rewards.astype(np.float32), dones, infos

    def get_episode_states(self) -> State | None:
        """Return the state of the batch and what is left of limited episodes; None where there are no snapshots."""
        capture = environments.capability(self.batch_env, "get_snapshot")
        return None if capture is None else {"snapshot": dict(capture()), "steps_left": self._steps_left.copy()}

    def set_episode_states(self, state: State) -> None:
        """Continue from `get_episode_states`."""
        environments.capability(self.batch_env, "set_snapshot")(state["snapshot"])
        self._steps_left = np.array(state["steps_left"])
        self._counts_down = bool((self._steps_left < NO_LIMIT).any())

    def _take_seeds(self) -> Any:
        seeds = list(self._seeds)
        self._reset_seeds()
        return None if all(seed is None for seed in seeds) else seeds

    def close(self) -> None:
        """Close the batch environment."""
        self.batch_env.close()

    def identity(self) -> Identity | None:
        """Return whose snapshots the single form takes and puts back; None where nobody says how it is made."""
        spec = self.batch_env.spec
        if spec is None or spec.entry_point is None:
            return None
        kwargs = {name: value for name, value in spec.kwargs.items() if name not in VECTOR_KWARGS}
        single = made_restorable(environments.build(spec.id, **kwargs))
        identity = identity_of(single)
        single.close()
        return identity

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of the batch environment, once per index."""
        missing = object()
        value = environments.capability(self.batch_env, attr_name, missing)
        if value is missing:
            raise AttributeError(f"{self.batch_env} has no attribute {attr_name!r}")
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the batch environment, which all its rows share."""
        setattr(self.batch_env.unwrapped, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the batch environment once and return its result for each index."""
        result = self.get_attr(method_name)[0](*method_args, **method_kwargs)
        return [result for _ in self._get_indices(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Tell that no row of a batch environment has wrappers of its own."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return pictures, where the batch environment draws them."""
        images: Any = self.batch_env.render()
        return list(images) if images is not None else [None] * self.num_envs


def _as_sb3(observation: Any) -> Any:
    return dict(observation) if isinstance(observation, Mapping) else observation


def _row(observation: Any, index: int) -> Any:
    if isinstance(observation, Mapping):
        return {key: value[index] for key, value in observation.items()}
    return observation[index]


def _mask(indices: Mapping[int, Any] | Sequence[int], size: int) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[list(indices)] = True
    return mask


def _split_infos(infos: Mapping[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """Turn Gymnasium's `{"key": array, "_key": mask}` into one dict for each environment."""
    split: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for key, values in infos.items():
        mask = infos.get(f"_{key}")
        if key.startswith("_") or mask is None:
            continue
        for index in np.flatnonzero(mask):
            split[index][key] = values[index]
    return split


# -- the teacher's side --------------------------------------------------------------------------------------------


class LessonVecEnv(VecEnvWrapper):
    """Starts every episode with a lesson of `teacher` and gives it the outcome. Made by `attach`.

    Environments that finish in the same step are observed in env order, then `propose` is called once. Rewards leave
    as float32, so that every kind of VecEnv trains to the same weights.
    """

    def __init__(
        self, venv: VecEnv, teacher: Teacher, starter: _Starter, *, gamma: float, success_threshold: float | None
    ) -> None:
        super().__init__(venv)
        self.teacher = teacher
        self.gamma = gamma
        self.success_threshold = success_threshold
        self.callback_connected = False
        self._starter = starter
        self._lessons: list[Lesson | None] = [None] * self.num_envs
        self._judged = np.zeros(self.num_envs, dtype=bool)
        self._returns = np.zeros(self.num_envs)
        self._discounted = np.zeros(self.num_envs)
        self._discounts = np.ones(self.num_envs)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)
        self._recent_returns = History(1000, 1)
        self.tells_success = False
        self.steps_rolled_in = 0
        self._paused = False
        self._signals = _SignalBook(self.num_envs) if teacher.needs else None
        self._shaped = False
        self._previous: Any = None
        self._actions: Any = None
        self._start_time = time.time()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Keep the teacher from observing what begins or ends in this block (`evaluate_policy` needs no block)."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def reset(self) -> Any:
        """Abandon what is being played and start every environment with a new lesson."""
        self.teacher.forget([lesson.id for lesson in self._lessons if lesson is not None])
        if self._signals is not None:
            self._signals.clear()
        with self._dead_workers_named():
            observation = self.venv.reset()
        return self._begin(list(range(self.num_envs)), observation, judged=self._is_evaluation())

    def step_async(self, actions: np.ndarray) -> None:
        """Pass the actions on."""
        if self.teacher.needs and not self.callback_connected and not self._is_evaluation():
            raise UserError(
                f"{type(self.teacher).__name__} needs {', '.join(sorted(self.teacher.needs))}, which exist only after "
                "a rollout: pass its callback, model.learn(..., callback=rlteach.TeacherCallback(teacher))"
            )
        self._actions = actions
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Step, credit rewards to lessons, and start the finished environments with their next lessons."""
        with self._dead_workers_named():
            observation, raw_rewards, dones, infos = self.venv.step_wait()
        self._raise_faults(dict(enumerate(infos)))
        rewards = np.array(raw_rewards, dtype=np.float32)
        self._returns += rewards
        self._discounted += self._discounts * rewards
        self._discounts *= self.gamma
        self._lengths += 1
        if self._signals is not None:
            self._signals.steps += 1
        if self._shaped:
            self._add_shaping(rewards, observation, dones, infos)
        finished = [int(index) for index in np.flatnonzero(dones)]
        if finished:
            judged = self._is_evaluation()
            self._finish(finished, infos, judged)
            observation = self._begin(finished, observation, judged=judged)
        if self._shaped:
            self._previous = observation
        return observation, rewards, dones, infos

    def _begin(self, indices: Sequence[int], observation: Any, *, judged: bool) -> Any:
        lessons = dict(zip(indices, self.teacher.propose(len(indices)), strict=True))
        briefs = {
            index: (lesson.task, None if judged else lesson.start, lesson.goal)  # what is judged starts ordinarily
            for index, lesson in lessons.items()
        }
        with self._dead_workers_named():
            observation, infos = self._starter(briefs, observation)
        self._lessons = [lessons.get(index, lesson) for index, lesson in enumerate(self._lessons)]
        self._raise_faults(infos)
        self.reset_infos = list(self.reset_infos)
        for index in lessons:
            self.reset_infos[index] = infos[index]
            self.steps_rolled_in += int(infos[index].get(ROLLED_IN, 0))
        rows = list(indices)
        self._judged[rows] = judged
        self._returns[rows] = self._discounted[rows] = 0.0
        self._discounts[rows] = 1.0
        self._lengths[rows] = 0
        self._shaped = any(lesson is not None and lesson.shaping is not None for lesson in self._lessons)
        self._previous = observation
        return observation

    def _raise_faults(self, infos: Mapping[int, Mapping[str, Any]]) -> None:
        for index, info in infos.items():
            if FAULT in info:
                lesson = self._lessons[index]
                cause = info[FAULT].strip().rsplit("\n", 1)[-1]
                raise EnvironmentFault(
                    f"environment {index} raised {cause} in lesson {lesson.id if lesson else '?'}, "
                    f"task {lesson.task if lesson else None!r}, after {self._lengths[index]} steps. "
                    f"Its traceback:\n\n{info[FAULT]}"
                )

    @contextmanager
    def _dead_workers_named(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            processes = getattr(self.venv, "processes", [])
            for process in processes:
                process.join(timeout=0.5)
            dead = [f"{i} (exit code {p.exitcode})" for i, p in enumerate(processes) if not p.is_alive()]
            raise EnvironmentFault(
                f"the worker process of environment {', '.join(dead) or '?'} is gone: killed or crashed. "
                "What it printed stands above; vec='dummy' runs the environments in this process."
            ) from error

    def _finish(self, finished: Sequence[int], infos: Sequence[dict[str, Any]], judged: bool) -> None:
        outcomes = [(index, self._outcome(index, infos[index])) for index in finished]
        for index, outcome in outcomes:
            infos[index].setdefault(
                "episode", {"r": outcome.ret, "l": outcome.length, "t": round(time.time() - self._start_time, 6)}
            )
        learned = [(i, outcome) for i, outcome in outcomes if not (judged or self._judged[i])]
        self.teacher.forget([outcome.lesson_id for i, outcome in outcomes if judged or self._judged[i]])
        if self._signals is not None:
            self._signals.episode_ends(outcomes, {i for i, _ in learned})
        elif learned:
            self.teacher.observe([outcome for _, outcome in learned])

    def _outcome(self, index: int, info: Mapping[str, Any]) -> Outcome:
        lesson = self._lessons[index]
        assert lesson is not None
        ret = float(self._returns[index])
        if not np.isfinite(ret):
            raise EnvironmentFault(
                f"environment {index} returned a reward that is not finite (return {ret} after {self._lengths[index]} "
                f"steps) in lesson {lesson.id}: task {lesson.task!r}. Play it again with "
                f"env.reset(options={{'task': ...}}) and check the reward."
            )
        return Outcome(
            lesson_id=lesson.id,
            ret=ret,
            discounted_ret=float(self._discounted[index]),
            length=int(self._lengths[index]),
            success=self._success(ret, info),
            terminated=not info.get("TimeLimit.truncated", False),
        )

    def _success(self, ret: float, info: Mapping[str, Any]) -> float:
        for key in ("is_success", "success"):
            if key in info:
                self.tells_success = True
                return float(info[key])
        if self.tells_success:  # cut off from outside, before the environment had anything to tell
            return 0.0
        if self.success_threshold is not None:
            return float(ret >= self.success_threshold)
        recent = self._recent_returns.rows()[:, 0]
        self._recent_returns.append([[ret]])
        return float(np.mean(recent < ret) + 0.5 * np.mean(recent == ret)) if len(recent) else 0.5

    def _add_shaping(self, rewards: np.ndarray, observation: Any, dones: np.ndarray, infos: Sequence[Any]) -> None:
        for index, lesson in enumerate(self._lessons):
            if lesson is not None and lesson.shaping is not None:
                after = infos[index]["terminal_observation"] if dones[index] else _row(observation, index)
                before = _row(self._previous, index)
                rewards[index] += lesson.shaping(before, self._actions[index], after, bool(dones[index]))

    def _is_evaluation(self) -> bool:
        return self._paused or _called_by_evaluate_policy()

    def begin_rollout(self) -> None:
        """Count signals from here: evaluations since the last rollout do not belong to the next one."""
        if self._signals is not None:
            self._signals.begin_rollout()

    def deliver_signals(self, signals: Mapping[str, np.ndarray]) -> None:
        """Give the teacher the outcomes of the rollout that just ended; arrays are (n_steps, n_envs)."""
        assert self._signals is not None
        outcomes = self._signals.deliver(signals)
        if outcomes:
            self.teacher.observe(outcomes)

    def state_dict(self) -> State:
        """Return the lessons in play and what they have earned so far."""
        lessons = [lesson for lesson in self._lessons if lesson is not None]
        return {
            "ids": np.array([lesson.id for lesson in lessons], dtype=np.int64),
            "origins": [lesson.origin for lesson in lessons],
            "returns": self._returns.copy(),
            "discounted": self._discounted.copy(),
            "discounts": self._discounts.copy(),
            "lengths": self._lengths.copy(),
            "judged": self._judged.copy(),
            "recent": self._recent_returns.state_dict(),
            "tells_success": self.tells_success,
            "steps_rolled_in": self.steps_rolled_in,
            "signals": None if self._signals is None else [list(pieces) for pieces in self._signals.carried],
        }

    def load_state_dict(self, state: State) -> None:
        """Continue with the lessons in play; the environments must be put into their states apart from this."""
        pairs = zip(state["ids"], state["origins"], strict=True)
        self._lessons = [Lesson(int(lesson_id), origin=str(origin)) for lesson_id, origin in pairs]
        self._returns = np.array(state["returns"])
        self._discounted = np.array(state["discounted"])
        self._discounts = np.array(state["discounts"])
        self._lengths = np.array(state["lengths"])
        self._judged = np.array(state["judged"])
        self._recent_returns.load_state_dict(state["recent"])
        self.tells_success = bool(state["tells_success"])
        self.steps_rolled_in = int(state["steps_rolled_in"])
        if self._signals is not None and state.get("signals") is not None:  # older states have none
            self._signals.carried = [list(pieces) for pieces in state["signals"]]


def _called_by_evaluate_policy() -> bool:
    """Tell whether Stable-Baselines3's `evaluate_policy` is on the stack: it marks its episodes in no other way."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "evaluate_policy":
            return True
        if frame.f_code.co_name == "learn":
            return False
        frame = frame.f_back  # type: ignore[assignment]
    return False


class _SignalBook:
    """Cuts per-step signals of rollouts into episodes, across rollout borders.

    Attributes:
        carried: For each environment, the signals of its episode from the rollouts before, in pieces.
    """

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.clear()

    def clear(self) -> None:
        self.steps = 0
        self._ends: list[tuple[int, int, Outcome | None]] = []
        self.carried: list[list[dict[str, np.ndarray]]] = [[] for _ in range(self.num_envs)]

    def begin_rollout(self) -> None:
        self.steps, self._ends = 0, []

    def episode_ends(self, outcomes: Sequence[tuple[int, Outcome]], learned: set[int]) -> None:
        self._ends += [(self.steps, index, outcome if index in learned else None) for index, outcome in outcomes]

    def deliver(self, signals: Mapping[str, np.ndarray]) -> list[Outcome]:
        starts = [0] * self.num_envs
        delivered = []
        for end, index, outcome in self._ends:
            self._carry(signals, index, starts[index], end)
            starts[index] = end
            pieces, self.carried[index] = self.carried[index], []
            if outcome is not None:
                whole = {name: np.concatenate([piece[name] for piece in pieces]) for name in signals}
                delivered.append(with_signals(outcome, whole))
        for index, start in enumerate(starts):
            self._carry(signals, index, start, self.steps)
        self.begin_rollout()
        return delivered

    def _carry(self, signals: Mapping[str, np.ndarray], index: int, start: int, end: int) -> None:
        self.carried[index].append({name: values[start:end, index].copy() for name, values in signals.items()})


def with_signals(outcome: Outcome, signals: dict[str, Any]) -> Outcome:
    """Return an outcome with the per-step signals of its episode, and the first value as `initial_value`."""
    if "values" in signals:
        signals["initial_value"] = float(signals["values"][0])
    return Outcome(
        outcome.lesson_id,
        outcome.ret,
        outcome.discounted_ret,
        outcome.length,
        outcome.success,
        outcome.terminated,
        signals,
    )


class TeacherCallback(BaseCallback):
    """Gives a teacher the per-step signals it asks for in `needs`, at the end of every rollout.

    Args:
        teacher: The teacher that was attached.

    Signals, each an array over the steps of the episode: `values` (critic), `advantages` (GAE), `td_errors`
    (r + gamma V' - V), and where they are asked for `observations` (as the learner sees them, where that is an array)
    and `actions`; and `initial_value`, a number. They need an on-policy learner.
    """

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher

    def _on_training_start(self) -> None:
        self._venv = find_lesson_venv(self.training_env)
        if self._venv is None or self._venv.teacher is not self.teacher:
            raise UserError("TeacherCallback got a teacher that is not attached to this learner's VecEnv")
        if self.teacher.needs and not isinstance(self.model, OnPolicyAlgorithm):
            raise UserError(
                f"{type(self.teacher).__name__} needs {', '.join(sorted(self.teacher.needs))}, which only on-policy "
                f"learners have (PPO, A2C), not {type(self.model).__name__}"
            )
        self._venv.callback_connected = True

    def _on_rollout_start(self) -> None:
        if self._venv is not None:
            self._venv.begin_rollout()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self._venv is None or not self.teacher.needs:
            return
        assert isinstance(self.model, OnPolicyAlgorithm)
        buffer = self.model.rollout_buffer
        policy = self.model.policy
        if in_jax(policy):  # SBX does not tell callbacks what it valued last
            last_values = critic_values(policy, self.model._last_obs)
        else:
            last_values = self.locals["values"].detach().cpu().numpy()
        episode_ends = np.concatenate([buffer.episode_starts[1:], self.locals["dones"][None]])
        next_values = np.concatenate([buffer.values[1:], last_values.reshape(1, -1)])
        td_errors = td_error(buffer.rewards, buffer.values, next_values, episode_ends, self.model.gamma)
        signals = {"values": buffer.values, "advantages": buffer.advantages, "td_errors": td_errors}
        for name in ("observations", "actions"):
            if name in self.teacher.needs and isinstance(getattr(buffer, name), np.ndarray):
                signals[name] = getattr(buffer, name)
        self._venv.deliver_signals(signals)


def td_error(
    rewards: np.ndarray, values: np.ndarray, next_values: np.ndarray, ended: np.ndarray, gamma: float
) -> np.ndarray:
    """Return r + gamma V(s') - V(s), with V(s') = 0 where the episode ended; all arrays (n_steps, n_envs)."""
    return np.asarray(rewards + gamma * next_values * (1.0 - ended) - values)


# -- doors ---------------------------------------------------------------------------------------------------------


def find_lesson_venv(venv: VecEnv | None) -> LessonVecEnv | None:
    """Return the `LessonVecEnv` inside a nest of VecEnv wrappers."""
    while venv is not None and not isinstance(venv, LessonVecEnv):
        venv = getattr(venv, "venv", None) if isinstance(venv, VecEnvWrapper) else None
    return venv


def attach(
    venv: VecEnv | VectorEnv[Any, Any, Any],
    teacher: Teacher,
    *,
    gamma: float = 0.99,
    success_threshold: float | None = None,
) -> LessonVecEnv:
    """Let `teacher` choose the lesson of every episode that `venv` plays.

    Args:
        venv: The base VecEnv (`DummyVecEnv`, `SubprocVecEnv`, `rlteach.make_vec_env(...)`) or a native batch
            environment; wrappers such as `VecNormalize` go outside.
        teacher: Any teacher.
        gamma: Discount of `Outcome.discounted_ret`.
        success_threshold: Return from which an episode counts as success where the environment does not say; by
            default the environment's `reward_threshold`.

    Raises:
        UserError: When the VecEnv cannot deliver lessons, with the line that can.
        MissingCapability: When the environments lack what the teacher fills in.
    """
    if not 0.0 <= gamma <= 1.0:
        raise InvalidValue(f"gamma = {gamma!r} must lie in [0, 1]")
    base = _base_venv(venv)
    if "start" in getattr(teacher, "fields", ()) and not (
        isinstance(base, BatchVecEnv) or all(base.env_is_wrapped(LessonEnv))
    ):
        raise UserError(
            f"{type(teacher).__name__} chooses where episodes start, which needs rlteach.LessonEnv inside the VecEnv: "
            "rlteach.make_vec_env(env, n, restorable=True), or wrapper_class=rlteach.LessonEnv"
        )
    _check_capabilities(base, teacher)
    if _restores(teacher) and not isinstance(base, BatchVecEnv):
        _check_layers(base)
    stores = list(_stores(teacher))
    _check_stores(base, stores)
    if success_threshold is None and base.has_attr("spec"):
        spec = base.get_attr("spec", [0])[0]
        success_threshold = getattr(spec, "reward_threshold", None)
    taught = LessonVecEnv(base, teacher, _starter_for(base), gamma=gamma, success_threshold=success_threshold)
    if success_threshold is None:  # else that decides, until the environment tells
        taught.tells_success = any(np.isfinite(record.success) for store in stores for record in store.records)
    return taught


def _base_venv(venv: Any) -> VecEnv:
    if isinstance(venv, VectorEnv):
        return BatchVecEnv(venv)
    if find_lesson_venv(venv) is not None:
        raise UserError("this VecEnv has a teacher already; build a second one for a second teacher")
    if isinstance(venv, VecEnvWrapper):
        name = type(venv).__name__
        raise UserError(
            f"attach goes on the base VecEnv, inside {name}, so that the teacher sees raw returns: "
            f"{name}(rlteach.attach(venv, teacher))"
        )
    if not isinstance(venv, VecEnv):
        raise UserError(
            f"attach needs a Stable-Baselines3 VecEnv, not {type(venv).__name__}: "
            "rlteach.attach(DummyVecEnv([lambda: rlteach.LessonEnv(env)]), teacher)"
        )
    return venv


CAPABILITY_OF_FIELD = {"task": "task_space", "goal": "set_goal"}


def _restores(teacher: Teacher) -> bool:
    return "start" in getattr(teacher, "fields", ()) and getattr(teacher, "restores", True)


def _needed(venv: VecEnv, teacher: Teacher) -> Iterator[tuple[str, str]]:
    """Yield what the environments must offer for a teacher's lessons, each with what an implementation looks like."""
    fields = getattr(teacher, "fields", frozenset({"task"}))
    for field in sorted(fields & set(CAPABILITY_OF_FIELD)):
        needed = CAPABILITY_OF_FIELD[field]
        yield (
            needed,
            environments.TASK_RECIPE if field == "task" else f"class MyEnv:\n    def {needed}(self, value): ...",
        )
    if "start" not in fields:
        return
    if _restores(teacher):
        yield ("set_row_snapshots" if isinstance(venv, BatchVecEnv) else "set_snapshot"), SNAPSHOT_RECIPE
        if "task" in fields and not getattr(teacher, "keep_tasks", False):
            yield "set_task", "class MyEnv:\n    def set_task(self, task):  # in the middle of an episode\n        ..."
    elif isinstance(venv, BatchVecEnv):
        yield "set_snapshot", SNAPSHOT_RECIPE


SNAPSHOT_RECIPE = """# an environment nobody changed (MuJoCo, Box2D, classic control, MiniGrid):
venv = rlteach.make_vec_env("Hopper-v5", 8, restorable=True)
# your own:
class MyEnv:
    def get_snapshot(self): ...  # everything that decides what comes next, as a dict of arrays, numbers, strings
    def set_snapshot(self, snapshot): ...  # returns (observation, info), as reset does"""


def _check_capabilities(venv: VecEnv, teacher: Teacher) -> None:
    where = (
        str(getattr(venv.get_attr("spec", [0])[0], "id", "this environment"))
        if venv.has_attr("spec")
        else "this environment"
    )
    for needed, recipe in _needed(venv, teacher):
        if not venv.has_attr(needed):
            raise MissingCapability(f"`{needed}`", where=where, recipe=recipe)
    ours = getattr(teacher, "task_space", None)
    if isinstance(ours, TaskSpace) and venv.has_attr("task_space"):
        theirs = venv.get_attr("task_space", [0])[0]
        if ours.space != getattr(theirs, "space", theirs):
            raise InvalidValue(f"the teacher was made for {ours!r}, but {where} has the task space {theirs}")


def _check_layers(venv: VecEnv) -> None:
    """Refuse wrappers around LessonEnv, or around the layer that restores, which a start would leave behind."""
    if views := venv.env_method("unknown_views", indices=[0])[0]:
        raise UserError(
            f"{', '.join(views)} changes observations outside the layer that restores snapshots, where a restored one "
            "does not pass: put what restores outside it, rlteach.snapshots.restorable(env), or make it a "
            "gymnasium.ObservationWrapper"
        )
    inside = venv.env_method("time_limit", indices=[0])[0]
    limit = venv.get_attr("_max_episode_steps", [0])[0] if venv.has_attr("_max_episode_steps") else None
    if limit != inside:
        raise UserError(
            f"a TimeLimit of {limit} steps around rlteach.LessonEnv does not see where episodes start: put LessonEnv "
            "outermost, LessonEnv(TimeLimit(env))"
        )


def _stores(teacher: Any) -> Iterator[SnapshotStore]:
    """Yield the snapshot stores of a teacher and of those that it joins."""
    if isinstance(getattr(teacher, "store", None), SnapshotStore):
        yield teacher.store
    for inner in (getattr(teacher, "teacher", None), *getattr(teacher, "teachers", ())):
        if inner is not None:
            yield from _stores(inner)


def _check_stores(venv: VecEnv, stores: Sequence[SnapshotStore]) -> None:
    """Refuse snapshots that were taken in another environment than those of `venv`."""
    if not stores:
        return
    identity: Identity | None
    identity = venv.identity() if isinstance(venv, BatchVecEnv) else venv.env_method("identity", indices=[0])[0]
    if identity is not None:
        for store in stores:
            store.refuse_other(identity)


def _starter_for(venv: VecEnv) -> _Starter:
    if isinstance(venv, BatchVecEnv):
        venv.arm()
        return venv.begin_lessons
    if all(venv.env_is_wrapped(LessonEnv)):
        return _InsideStarter(venv)
    if venv.has_attr("allow_early_resets") and not all(venv.get_attr("allow_early_resets")):
        raise UserError(
            "a Monitor inside this VecEnv forbids early resets, so tasks cannot be delivered: build the VecEnv with "
            "wrapper_class=rlteach.LessonEnv (saves a reset too), or Monitor(env, allow_early_resets=True)"
        )
    print(
        "rlteach: every finished episode is reset twice; wrapper_class=rlteach.LessonEnv would save that",
        file=sys.stderr,
    )
    return _SecondResetStarter(venv)


def make_vec_env(
    env: environments.EnvLike,
    n_envs: int = 1,
    *,
    seed: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    vec: str = "auto",
    restorable: bool = False,
) -> VecEnv:
    """Build a VecEnv that `attach` can serve without a second reset.

    Args:
        env: Id, `module:id`, `file.py:Class`, or a callable that returns an environment.
        n_envs: Number of environments.
        seed: Environment i is seeded with `seed + i` at the first reset.
        env_kwargs: Keyword arguments of the environment.
        vec: `"batch"` (native), `"dummy"`, `"subproc"`, or `"auto"`: batch where the environment has one, else dummy.
        restorable: Give environments that offer no snapshots the means to be restored (`rlteach.snapshots`).
    """
    if vec not in ("auto", "batch", "dummy", "subproc"):
        raise InvalidValue(f"vec = {vec!r} must be one of auto, batch, dummy, subproc")
    if n_envs < 1:
        raise InvalidValue(f"n_envs = {n_envs} must be at least 1")
    kwargs = dict(env_kwargs or {})
    batch = environments.has_batch_form(env)
    if vec == "batch" and not batch:
        raise UserError(f"{environments.label(env)} has no native batch form; use vec='dummy' or vec='subproc'")
    venv: VecEnv
    if batch and vec in ("auto", "batch"):
        assert isinstance(env, str)
        venv = BatchVecEnv(environments.build_batch(env, n_envs, **kwargs))
    else:
        makers: list[Callable[[], gym.Env[Any, Any]]] = [
            partial(_lesson_env, env, kwargs, restorable) for _ in range(n_envs)
        ]
        venv = _subproc(makers) if vec == "subproc" else SyncVecEnv(makers)
    if seed is not None:
        venv.seed(seed)
    return venv


def _subproc(makers: list[Callable[[], gym.Env[Any, Any]]]) -> SubprocVecEnv:
    try:
        return SubprocVecEnv(makers)
    except (EOFError, BrokenPipeError, ConnectionResetError) as error:
        makers[0]().close()  # what the constructor refused in a worker, it refuses here, where it can be told
        raise EnvironmentFault(
            "a worker process is gone before its environment was built: killed or crashed. "
            "What it printed stands above; vec='dummy' runs the environments in this process."
        ) from error


def _lesson_env(env: environments.EnvLike, kwargs: Mapping[str, Any], restorable: bool) -> LessonEnv:
    built = environments.build(env, **kwargs)
    return LessonEnv(made_restorable(built) if restorable else built)
