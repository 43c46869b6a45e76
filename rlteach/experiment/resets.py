"""A learner that loses what it has learned in the middle of a run, while its teacher and environments go on.

The forgetting student of TeachMyAgent (Romac et al., ICML 2021): does a teacher notice that what was mastered no longer
is? `learner: {resets: [0.5]}` in a configuration makes the learner forget when half of the steps are over.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from rlteach import registry
from rlteach.experiment.evaluate import own_randomness
from rlteach.jax_states import in_jax, jax_state, put_jax_state


class Resets:
    """Says when a learner forgets, and makes it.

    Args:
        shares: Shares of the steps after which it forgets, at the first rollout that begins there or later.
        steps: Environment steps of the run.
        seed: Decides what the learner begins again with.

    Attributes:
        done: Number of times that it has forgotten: all that a checkpoint has to remember.
    """

    def __init__(self, shares: Sequence[float], steps: int, seed: int) -> None:
        self._due_at = [share * steps for share in shares]
        self._seed = seed
        self.done = 0

    def reset_if_due(self, model: Any, step: int) -> None:
        """Make `model` forget when it should; call it at the start of a rollout, after saving."""
        while self.done < len(self._due_at) and step >= self._due_at[self.done]:
            words = np.random.SeedSequence([self._seed, self.done]).generate_state(1)
            forget(model, int(words[0]) & 0x7FFFFFFF)
            self.done += 1


def forget(model: Any, seed: int) -> None:
    """Put networks, optimisers and replay buffer into the state of a learner that has just been made.

    Counters and schedules go on, as do running normalisers: the observations keep their meaning. A learner that is not
    Stable-Baselines3's brings a method `forget()`.

    Args:
        model: The learner, at the start of a rollout; it stays the same object, and so do its parts.
        seed: Seed of the new weights; the global generators are as before afterwards.
    """
    if hasattr(model, "forget"):
        model.forget()
        return
    fresh = copy.copy(model)
    fresh.seed = None  # SB3 would hand a seed on to the environments
    fresh.policy = None  # else SBX keeps it, as all do with the buffer
    if hasattr(model, "replay_buffer"):
        fresh.replay_buffer = None
    with own_randomness(seed):
        fresh._setup_model()
    model.set_parameters(fresh.get_parameters(), exact_match=True, device=model.device)
    for name in model._get_torch_save_params()[1]:
        getattr(model, name).data.copy_(getattr(fresh, name).data)
    if in_jax(model.policy):
        put_jax_state(model, jax_state(fresh))
    if hasattr(model, "replay_buffer"):
        vars(model.replay_buffer).update(vars(fresh.replay_buffer))


def reset_faults(learner: str, shares: Sequence[float]) -> Iterator[str]:
    """Yield what is wrong with the resets of a known learner."""
    if not shares:
        return
    if not all(0 < share < 1 for share in shares) or list(shares) != sorted(set(shares)):
        yield f"resets = {list(shares)} must be rising shares of the steps, each above 0 and below 1, such as [0.5]"
    cls = registry.load("learner", learner)
    if not hasattr(cls, "forget") and (not issubclass(cls, BaseAlgorithm) or hasattr(cls, "state_dict")):
        yield (
            f"resets: {learner} cannot forget; Stable-Baselines3's learners and `synthetic` can, "
            "and any class with a method `forget()`"
        )
