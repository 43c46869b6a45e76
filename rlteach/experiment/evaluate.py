"""Judging a learner: every task of a fixed test set, from the ordinary reset, never under the teacher."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from rlteach.delivery import attach
from rlteach.jax_states import own_keys
from rlteach.lesson import Outcome
from rlteach.observations import View
from rlteach.report.stats import cvar
from rlteach.teachers.fixed_tasks import FixedTasks

WORST_SHARES = (5, 10, 20)
"""Percentages of tasks for which worst-case metrics are reported."""


def evaluate(
    model: Any,
    venv: VecEnv,
    tasks: Sequence[Any],
    *,
    deterministic: bool,
    seed: int,
    repeats: int = 1,
    gamma: float = 0.99,
    success_threshold: float | None = None,
    normalizer: VecNormalize | None = None,
    view: View | None = None,
) -> list[Outcome]:
    """Play every task `repeats` times and return the outcomes in task order, repeat by repeat.

    The global random generators are as before afterwards, so evaluating never changes what is learned.

    Args:
        model: Anything with the SB3 `predict`.
        venv: A base VecEnv of its own, not the one trained on.
        tasks: Elements of the task space.
        deterministic: Whether actions are the mode of the policy.
        seed: Seed of environments and sampled actions.
        repeats: Episodes per task.
        gamma: Discount of `Outcome.discounted_ret`.
        success_threshold: See `attach`.
        normalizer: The training `VecNormalize`, whose observation statistics apply.
        view: What the model sees of an observation; all of it by default.
    """
    teacher = FixedTasks(tasks, repeats=repeats)
    with own_randomness(seed, model):
        venv.seed(seed)
        taught = attach(venv, teacher, gamma=gamma, success_threshold=success_threshold)
        observation: Any = taught.reset()
        starts = np.ones(venv.num_envs, dtype=bool)
        state = None
        while not teacher.done:
            seen = observation if view is None else view(observation)
            seen = seen if normalizer is None else normalizer.normalize_obs(seen)
            actions, state = model.predict(seen, state=state, episode_start=starts, deterministic=deterministic)
            observation, _, starts, _ = taught.step(actions)
    return [outcome for outcome in teacher.outcomes if outcome is not None]


def metrics_of(outcomes: Sequence[Outcome], repeats: int, name: str) -> dict[str, float]:
    """Return success, return, length and worst-case success of an evaluation, named `success/<name>` and so on."""
    success = np.array([o.success for o in outcomes]).reshape(repeats, -1)
    metrics = {
        f"success/{name}": float(success.mean()),
        f"return/{name}": float(np.mean([o.ret for o in outcomes])),
        f"length/{name}": float(np.mean([o.length for o in outcomes])),
    }
    if repeats > 1:
        half = repeats // 2
        ranking, judged = success[:half].mean(axis=0), success[half:].mean(axis=0)
        metrics |= {f"cvar{share}/{name}": float(cvar(ranking, judged, share / 100)) for share in WORST_SHARES}
    return metrics


@contextmanager
def own_randomness(seed: int, model: Any = None) -> Iterator[None]:
    """Seed torch's, numpy's and Python's global generators for this block and put them back afterwards.

    So are the keys that a model in JAX draws its actions from.
    """
    saved = global_randomness()
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:  # it would note the stack of its caller for every kind of device that is not there, at 0.5 ms a call
        torch.default_generator.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - SB3 draws from numpy's global generator
    random.seed(seed)
    try:
        with own_keys(getattr(model, "policy", None), seed):
            yield
    finally:
        restore_global_randomness(saved)


def global_randomness() -> dict[str, Any]:
    """Return the state of every global generator that SB3 draws from."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    version, numbers, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state().numpy().copy(),
        "numpy": [str(kind), np.asarray(keys).copy(), int(position), int(has_gauss), float(cached)],
        "python": [version, np.array(numbers, dtype=np.uint32), gauss],
    }


def restore_global_randomness(state: Mapping[str, Any]) -> None:
    """Put back what `global_randomness` returned."""
    torch.set_rng_state(torch.from_numpy(np.array(state["torch"])))
    np.random.set_state(tuple(state["numpy"]))  # noqa: NPY002
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(np.asarray(numbers).tolist()), gauss))
