"""A teacher's own roll-outs: tasks that the current learner plays outside of its training, charged to the teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from rlteach.critics import critic_values
from rlteach.delivery import attach, td_error, with_signals
from rlteach.distillation.losses import gae
from rlteach.errors import UserError
from rlteach.experiment.evaluate import own_randomness
from rlteach.lesson import Outcome, Start
from rlteach.observations import View
from rlteach.protocols import State
from rlteach.teachers.fixed_tasks import FixedTasks

CRITICS = frozenset({"values", "advantages", "td_errors", "initial_value"})
PLAYED = frozenset({"observations", "actions"})


class Rollouts:
    """Plays tasks with the current policy, sampling, in environments of its own.

    Args:
        model: The learner.
        make_venv: Builds the environments, at the first call.
        seed: Seed of environments and actions; each call has its own.
        gamma: Discount.
        success_threshold: See `attach`.
        normalizer: The learner's `VecNormalize`, whose statistics apply and stay as they are.
        view: What the learner sees of an observation.

    Attributes:
        steps: Environment steps played so far.
    """

    def __init__(
        self,
        model: Any,
        make_venv: Callable[[], VecEnv],
        *,
        seed: int,
        gamma: float,
        success_threshold: float | None = None,
        normalizer: VecNormalize | None = None,
        view: View | None = None,
    ) -> None:
        self.model, self.seed, self.gamma, self.success_threshold = model, seed, gamma, success_threshold
        self.normalizer, self.view = normalizer, view
        self.steps = self.calls = 0
        self._make_venv = make_venv
        self._venv: VecEnv | None = None

    def __call__(
        self,
        tasks: Sequence[Any],
        *,
        repeats: int = 1,
        signals: frozenset[str] = frozenset(),
        starts: Sequence[Start] | None = None,
    ) -> list[Outcome]:
        """Play every task `repeats` times; outcome k * repeats + j is the j-th play of task k.

        Args:
            tasks: Elements of the task space.
            repeats: Episodes of each.
            signals: What goes into `Outcome.signals`: `values`, `advantages`, `td_errors` and `initial_value`;
                `observations` (what the learner saw, where that is an array) and `actions`.
            starts: Where the episodes of each task start; the ordinary reset by default.

        Raises:
            UserError: When the learner has no critic for the signals.
        """
        if not len(tasks):
            return []
        if signals & CRITICS and not isinstance(self.model, OnPolicyAlgorithm):
            raise UserError(
                f"{', '.join(sorted(signals))} need an on-policy learner (PPO, A2C), not {type(self.model).__name__}"
            )
        if self._venv is None:
            self._venv = self._make_venv()
        self.calls += 1
        again = np.repeat(np.arange(len(tasks)), repeats).tolist()
        teacher = FixedTasks([tasks[k] for k in again], starts=None if starts is None else [starts[k] for k in again])
        with own_randomness((self.seed + self.calls) % 2**31, self.model):
            self._venv.seed((self.seed + self.calls) % 2**31)
            return self._play(teacher, signals)

    def _play(self, teacher: FixedTasks, signals: frozenset[str]) -> list[Outcome]:
        assert self._venv is not None
        taught = attach(self._venv, teacher, gamma=self.gamma, success_threshold=self.success_threshold)
        n = taught.num_envs
        seen, starts, state = self._seen(taught.reset()), np.ones(n, dtype=bool), None
        rows = _Rows(n)
        told: dict[int, dict[str, np.ndarray]] = {}
        ids = list(range(n))
        issued = n
        while not teacher.done:
            columns = {"values": critic_values(self.model.policy, seen)} if signals & CRITICS else {}
            if "observations" in signals and isinstance(seen, np.ndarray):
                columns["observations"] = seen
            actions, state = self.model.predict(seen, state=state, episode_start=starts, deterministic=False)
            if "actions" in signals:
                columns["actions"] = actions
            observation, rewards, starts, infos = taught.step(actions)
            self.steps += n
            seen = self._seen(observation)
            rows.add({**columns, "rewards": self._scaled(rewards)})
            for index in np.flatnonzero(starts).tolist():
                told[ids[index]] = self._signals(rows.take(index), infos[index], signals)
                ids[index], issued = issued, issued + 1
        self.steps += taught.steps_rolled_in
        found = [outcome for outcome in teacher.outcomes if outcome is not None]
        return [with_signals(outcome, dict(told[outcome.lesson_id])) for outcome in found]

    def _seen(self, observation: Any) -> Any:
        seen = observation if self.view is None else self.view(observation)
        return seen if self.normalizer is None else self.normalizer.normalize_obs(seen)

    def _scaled(self, rewards: np.ndarray) -> np.ndarray:
        return rewards if self.normalizer is None else self.normalizer.normalize_reward(rewards)

    def _signals(
        self, played: dict[str, np.ndarray], info: dict[str, Any], signals: frozenset[str]
    ) -> dict[str, np.ndarray]:
        """Return the signals of one episode from what was played in it, all (steps, ...)."""
        told = {name: values for name, values in played.items() if name in PLAYED}
        if not signals & CRITICS:
            return told
        values, rewards = played["values"], played["rewards"]
        if info.get("TimeLimit.truncated", False):
            rewards[-1] += self.gamma * self._last_value(info["terminal_observation"])
        ended = np.zeros((len(values), 1), dtype=bool)
        ended[-1] = True
        column, nothing = values[:, None], np.zeros(1, dtype=np.float32)
        advantages, _ = gae(
            rewards[:, None], column, nothing, ended, gamma=self.gamma, lam=float(self.model.gae_lambda)
        )
        following = np.concatenate([column[1:], nothing[None]])
        errors = td_error(rewards[:, None], column, following, ended.astype(np.float32), self.gamma)
        return {**told, "values": values, "advantages": advantages[:, 0], "td_errors": errors[:, 0]}

    def _last_value(self, observation: Any) -> float:
        rows = (
            {key: np.asarray(value)[None] for key, value in observation.items()}
            if isinstance(observation, dict)
            else np.asarray(observation)[None]
        )
        return float(critic_values(self.model.policy, self._seen(rows))[0])

    def state_dict(self) -> State:
        """Return how much was played."""
        return {"steps": self.steps, "calls": self.calls}

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        self.steps, self.calls = int(state["steps"]), int(state["calls"])


class _Rows:
    """What the episodes in play have brought so far, one list of steps for each environment."""

    def __init__(self, n: int) -> None:
        self._steps: list[list[dict[str, np.ndarray]]] = [[] for _ in range(n)]

    def add(self, columns: dict[str, np.ndarray]) -> None:
        for index, row in enumerate(self._steps):
            row.append({name: values[index] for name, values in columns.items()})

    def take(self, index: int) -> dict[str, np.ndarray]:
        taken, self._steps[index] = self._steps[index], []
        return {name: np.stack([step[name] for step in taken]) for name in taken[0]}
