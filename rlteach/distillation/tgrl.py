"""TGRL: listen to the expert exactly as long as that does better than not listening, found out by trying both.

Shenfeld et al. (ICML 2023, arXiv 2307.03186). A main student maximises the reward plus the agreement with the expert,
under the constraint that it earns no less than an auxiliary student that maximises the reward alone; the multiplier of
that constraint sets the expert's weight. There, both learn off-policy from shared data; here both take PPO's steps,
each acting in every other environment, and what the multiplier moves by is the difference of their recent returns in
units of its own standard error, so that no reward scale, and no coefficient, has to be known. It gives way quickly and
comes back slowly.

Without shared data, the main student finds out late what only the auxiliary one has explored. So whichever of the two
has the higher recent returns is what is deployed: evaluated, saved, and asked to predict.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from rlteach.distillation.guided_ppo import Experience, Minibatch
from rlteach.distillation.kickstarting import divergence, divergence_faults
from rlteach.distillation.paired import Paired, part_of
from rlteach.protocols import State

LEAST_WEIGHT = 1e-4
RISE, FALL = math.log(1.1), math.log(2.0)
"""Largest changes of the weight's logarithm after a rollout.

That a student which listens is ahead is no evidence that it should listen more: where the advice misleads, a weight
that rises as fast as it falls has ruined the student before the returns can tell.
"""


def lead(main: Sequence[float], auxiliary: Sequence[float]) -> float:
    """Return by how much the first returns are higher, in standard errors of the difference of means, within [-1, 1].

    Where nothing varies it is 1 or -1, and 1 for equals: the expert's advice does no harm.
    """
    apart = float(np.mean(main) - np.mean(auxiliary))
    error = math.sqrt(np.var(main) / len(main) + np.var(auxiliary) / len(auxiliary))
    if error < 1e-9 * (1 + abs(apart)):
        return 1.0 if apart >= 0 else -1.0
    return float(np.clip(apart / error, -1.0, 1.0))


def next_weight(weight: float, lead: float) -> float:
    """Return the expert's weight after a rollout: higher if listening does at least as well, else lower."""
    return float(np.clip(weight * math.exp((RISE if lead > 0 else FALL) * lead), LEAST_WEIGHT, 1.0))


@dataclass(kw_only=True, eq=False)
class TGRL(Paired):
    """TGRL: two students, with and without the expert's advice; the advice weighs more while it pays.

    Attributes:
        divergence: See `Kickstarting`.
        window: Episodes of each student whose returns are compared.
    """

    divergence: Literal["forward", "reverse", "k1", "k2", "k3"] = "forward"
    window: int = 100

    def __post_init__(self) -> None:
        """Build it."""
        super().__post_init__()
        self.weight = 1.0
        self._running = np.zeros(self.env.num_envs)
        self._recent: dict[bool, deque[float]] = {who: deque(maxlen=self.window) for who in (True, False)}
        self._listens = True
        self.best_is_other = False

    @classmethod
    def setting_faults(cls, policy: str, kwargs: Mapping[str, Any]) -> list[str]:
        """Return a sentence for every wrong setting."""
        faults = [*super().setting_faults(policy, kwargs), *divergence_faults(kwargs)]
        if not isinstance(kwargs.get("window", 2), int) or kwargs.get("window", 2) < 2:
            faults.append(f"window = {kwargs['window']!r} must be a whole number of at least 2")
        return faults

    def prepare(self, experience: Experience) -> None:
        """Count the returns of the episodes that ended, and set the expert's weight."""
        for rewards, ended in zip(experience.raw_rewards, experience.ended, strict=True):
            self._running += rewards
            for row in np.flatnonzero(ended):
                self._recent[bool(self.is_student[row])].append(float(self._running[row]))
            self._running[ended] = 0.0
        main, auxiliary = self._recent[True], self._recent[False]
        if len(main) > 1 and len(auxiliary) > 1:
            self.weight = next_weight(self.weight, lead(main, auxiliary))
            self.best_is_other = float(np.mean(auxiliary)) > float(np.mean(main))

    def ask(self, experience: Experience) -> None:
        """Leave it to `update`: the expert labels what the listening student did, and nothing else."""

    def update(self, experience: Experience) -> None:
        """Take PPO's steps of both students, each on what it did."""
        listened = part_of(experience, self.is_student)
        if self.teacher is not None:
            super().ask(listened)
        super().update(listened)
        self._listens = False
        with self.as_other():
            super().update(part_of(self.of_other(experience), ~self.is_student))
        self._listens = True

    def policy_loss(self, batch: Minibatch, surrogate: torch.Tensor) -> torch.Tensor:
        """Add the weighted divergence, for the student that listens."""
        if not self._listens:
            return surrogate.mean()
        assert batch.advice is not None
        apart = divergence(self.divergence, batch.advice, batch.said, batch.actions)
        return surrogate.mean() + self.weight * apart.mean()

    # -- deployment ------------------------------------------------------------------------------------------------

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        """Return the actions of whichever student has the higher recent returns, and its memory."""
        student = self.other if self.best_is_other else self.student
        seen = self.student_view(observation)
        return student.act(seen, state, episode_start, deterministic=deterministic, generator=self.rng)

    def save(self, path: str | Path) -> None:
        """Write whichever student has the higher recent returns into the directory `path`."""
        if not self.best_is_other:
            return super().save(path)
        with self.as_other():
            return super().save(path)

    def _more_state(self) -> State:
        return {
            **super()._more_state(),
            "weight": self.weight,
            "running": self._running.copy(),
            "recent": [list(self._recent[False]), list(self._recent[True])],
            "best_is_other": self.best_is_other,
        }

    def _load_more_state(self, state: State) -> None:
        super()._load_more_state(state)
        self.weight, self.best_is_other = float(state["weight"]), bool(state["best_is_other"])
        self._running = np.array(state["running"])
        self._recent = {who: deque(state["recent"][who], maxlen=self.window) for who in (False, True)}
