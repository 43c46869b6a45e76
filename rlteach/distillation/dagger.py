"""DAgger: the student acts, the expert says what it would have done, and everything is kept.

Ross, Gordon and Bagnell (2011). Regret grows linearly with the horizon, provided that the label is a function of what
the student sees; where it is not, no amount of labels helps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rlteach.distillation.imitation import Imitation
from rlteach.errors import did_you_mean
from rlteach.protocols import State

SCHEDULES = ("first", "linear", "exponential", "constant", "none")


def expert_share(schedule: str, round_: int, *, rounds: int = 15, decay: float = 0.7, share: float = 0.5) -> float:
    """Return beta, the probability that the expert acts.

    Args:
        schedule: `first`: 1 in the first round, then 0; `linear`: (rounds - r) / rounds, at least 0; `exponential`:
            decay to the power of r; `constant`: share; `none`: 0.
        round_: Number of the round, from 0.
        rounds: Rounds of the linear schedule.
        decay: Factor of the exponential schedule.
        share: Of the constant schedule.
    """
    shares = {
        "first": float(round_ == 0),
        "linear": max(0.0, (rounds - round_) / rounds),
        "exponential": decay**round_,
        "constant": share,
        "none": 0.0,
    }
    return shares[schedule]


@dataclass(kw_only=True, eq=False)
class Dagger(Imitation):
    """DAgger: the student acts, the expert labels what it meets, all of it is kept and learned from.

    Attributes:
        beta: How the share of the expert falls: `first`, `linear`, `exponential`, `constant` (not at all), `none`.
        beta_rounds: Rounds of the linear schedule.
        beta_decay: Factor of the exponential schedule.
        beta_share: Share of the constant schedule; ResiP (Ankile et al. 2024) takes 0.5.
        mixing: Whether it is drawn for each `step` who acts, or for each `episode`; `auto` takes episodes for recurrent
            students, which would otherwise remember, to an episode's end, what nobody did.
    """

    beta: Literal["first", "linear", "exponential", "constant", "none"] = "first"
    beta_rounds: int = 15
    beta_decay: float = 0.7
    beta_share: float = 0.5
    mixing: Literal["auto", "step", "episode"] = "auto"

    def __post_init__(self) -> None:
        """Build it."""
        super().__post_init__()
        recurrent = self.student.state_size > 0 and not self.student.state_is_data
        self._by_episode = self.mixing == "episode" or (self.mixing == "auto" and recurrent)
        self._drivers = np.zeros(self.env.num_envs, dtype=bool)

    @classmethod
    def setting_faults(cls, policy: str, kwargs: Mapping[str, Any]) -> list[str]:
        """Return a sentence for every wrong setting."""
        faults = super().setting_faults(policy, kwargs)
        for name, known in {"beta": SCHEDULES, "mixing": ("auto", "step", "episode")}.items():
            value = kwargs.get(name, known[0])
            if value not in known:
                faults.append(
                    f"no {name} is called {value!r}.{did_you_mean(str(value), known)} Known: {', '.join(known)}."
                )
        if not isinstance(kwargs.get("beta_rounds", 1), int) or kwargs.get("beta_rounds", 1) < 1:
            faults.append(f"beta_rounds = {kwargs['beta_rounds']!r} must be a whole number of at least 1")
        for name in ("beta_decay", "beta_share"):
            value = kwargs.get(name, 0.5)
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                faults.append(f"{name} = {value!r} must lie in [0, 1]")
        return faults

    def drivers(self) -> np.ndarray:
        """Draw who acts: for each step, or for each episode where it begins, even when a round ends within it."""
        settings = {"decay": self.beta_decay, "share": self.beta_share}
        share = expert_share(self.beta, self.round, rounds=self.beta_rounds, **settings)
        certain = share in (0.0, 1.0)
        draws = np.full(self.env.num_envs, share == 1.0) if certain else self.rng.random(self.env.num_envs) < share
        self._drivers = np.where(self._last_episode_starts | (not self._by_episode), draws, self._drivers)
        return self._drivers

    def _more_state(self) -> State:
        return {**super()._more_state(), "drivers": self._drivers.copy()}

    def _load_more_state(self, state: State) -> None:
        super()._load_more_state(state)
        self._drivers = np.array(state["drivers"], dtype=bool)
