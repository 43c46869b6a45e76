"""ELF: an explorer that is rewarded for getting to where a student that only imitates would do well.

Walsman et al. (ICLR 2023, "Impossibly good experts and how to follow them"). A follower imitates the expert on all
that is met, and its value V_F is learned from its own steps. The explorer takes PPO's steps with the reward
r + gamma V_F(o') - V_F(o), which changes no optimum and leads it to where the expert's advice becomes usable. The
explorer is what is deployed.

The shaped reward does not appear below. Shaping by a potential is the same as starting the critic from it (Wiewiora
2003), and with generalised advantages it is so exactly, term by term: the explorer's critic is V_F plus a correction
that it learns, and advantages come from plain rewards. With `gae_lambda` near 1, V_F therefore hardly matters.

Where a follower never goes by itself, it cannot learn what it would get there. So the explorer begins each of the
follower's episodes, and hands over after a number of steps drawn anew. These steps train nothing but the imitation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback

from rlteach.distillation.guided_ppo import Critic, Experience, Minibatch
from rlteach.distillation.imitation import LEAST_STD, MOST_STD, imitation_loss
from rlteach.distillation.losses import gae, weighted_mean
from rlteach.distillation.paired import Paired, part_of
from rlteach.protocols import State

SHARE_OF_NEW = 0.1
"""Share of new episodes in the running mean of their length, up to which the explorer may keep its turn."""


def shaped(
    rewards: np.ndarray, potentials: np.ndarray, last_potentials: np.ndarray, ended: np.ndarray, gamma: float
) -> np.ndarray:
    """Return r + gamma V_F(o') - V_F(o), (t, n); V_F is 0 where an episode has ended.

    What the explorer learns from equals advantages of these rewards; this is the definition that a test compares with.
    """
    following = np.concatenate([potentials[1:], last_potentials[None]])
    changed: np.ndarray = rewards + gamma * np.where(ended, 0.0, following) - potentials
    return changed


@dataclass(kw_only=True, eq=False)
class ELF(Paired):
    """ELF: an explorer learns by reward, shaped by what a follower that only imitates would get.

    Attributes:
        share: Share of the environments in which the follower plays.
        gae_lambda: Lambda of the advantages: the lower, the more the explorer trusts the follower's value.
    """

    share: float = 0.5
    gae_lambda: float = 0.9

    def __post_init__(self) -> None:
        """Build it."""
        super().__post_init__()
        n = self.env.num_envs
        followed = min(max(round(self.share * n), 1), max(n - 1, 1))
        self.explores = np.ones(n, dtype=bool)
        self.explores[np.linspace(0, n - 1, followed).round().astype(int)] = False
        self.is_student = self.explores.copy()
        self._age, self._handover = np.zeros(n, dtype=int), np.zeros(n, dtype=int)
        self._length = 0.0
        self._follows: list[np.ndarray] = []

    @classmethod
    def setting_faults(cls, policy: str, kwargs: Mapping[str, Any]) -> list[str]:
        """Return a sentence for every wrong setting."""
        faults = super().setting_faults(policy, kwargs)
        if not isinstance(kwargs.get("share", 0.5), int | float) or not 0 < kwargs.get("share", 0.5) < 1:
            faults.append(f"share = {kwargs['share']!r} must lie in (0, 1)")
        return faults

    def new_other_critic(self) -> Critic:
        """Return V_F, a function of what the follower knows."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self.rng.integers(2**31)))
            return Critic(0, self.student.feature_size, tuple(self.critic_hidden)).to(self.device)

    # -- playing ---------------------------------------------------------------------------------------------------

    def collect(self, steps: int, hooks: BaseCallback) -> tuple[Experience, bool]:
        """Play `steps` steps; the follower takes over where its turn has come."""
        self._follows = []
        experience, going = super().collect(steps, hooks)
        experience.extra["follows"] = np.stack(self._follows)
        return experience, going

    def sample(self, seen: np.ndarray, full: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return whoever's turn it is its sampled actions, their log densities and values."""
        self._take_turns()
        self._follows.append(~self.is_student)
        return super().sample(seen, full)

    def _take_turns(self) -> None:
        begun = self._last_episode_starts
        if begun.any():
            self._length += SHARE_OF_NEW * (float(self._age[begun].mean()) - self._length)
            draws = self.rng.integers(0, int(self._length) + 1, size=len(begun))
            self._handover = np.where(begun, draws, self._handover)
            self._age = np.where(begun, 0, self._age)
        self.is_student = self.explores | (self._age < self._handover)
        self._age = self._age + 1

    def join_values(self, mine: np.ndarray, its: np.ndarray, turn: np.ndarray) -> np.ndarray:
        """Return V_F, plus the explorer's correction where it is the explorer's turn."""
        return np.where(turn, mine + its, its)

    # -- learning --------------------------------------------------------------------------------------------------

    def update(self, experience: Experience) -> None:
        """Take the explorer's steps on what it did, and the follower's on everything."""
        followed = self.of_other(experience)
        experience.extra["potential"] = self._potentials(followed)
        super().update(part_of(experience, self.explores))
        with self.as_other():
            self._follow(followed)

    @torch.inference_mode()
    def _potentials(self, followed: Experience) -> np.ndarray:
        """Return V_F (t, n) as it was while the rollout was played."""
        with self.as_other():
            features = self._stretch(followed, np.arange(self.env.num_envs))
            values: np.ndarray = self.value_network(self._tensor(followed.full), features).numpy()
        return values

    def _minibatch(self, *parts: Any) -> Minibatch:
        """Return a minibatch; the explorer's critic learns what is missing from V_F."""
        batch = super()._minibatch(*parts)
        if "potential" in batch.extra:
            batch.returns = batch.returns - batch.extra["potential"]
        return batch

    def _follow(self, followed: Experience) -> None:
        """Imitate the expert wherever anybody was, and learn V_F from the follower's own steps."""
        returns = gae(
            followed.rewards,
            followed.values,
            followed.last_values,
            followed.ended,
            gamma=self.gamma,
            lam=self.gae_lambda,
        )[1]
        fits_std = isinstance(self.action_space, spaces.Box) and self.student.train_std
        for _ in range(self.epochs):
            squared = []
            for batch in self.minibatches(followed, returns, returns):
                assert batch.labels is not None
                error = (self.value_network(batch.full, batch.features) - batch.returns).square()
                worth = weighted_mean(error, mask=batch.extra["follows"])
                self.descend(imitation_loss(batch.said, batch.labels, "mse") + self.vf_coef * worth)
                if fits_std:
                    squared.append((batch.said.mode().detach() - batch.labels).square())
            if fits_std:
                std = torch.cat(squared).mean(0).sqrt().clamp(LEAST_STD, MOST_STD)
                self.student.log_std.data.copy_(std.log())

    def _more_state(self) -> State:
        turns = {"age": self._age.copy(), "handover": self._handover.copy(), "length": self._length}
        return {**super()._more_state(), **turns}

    def _load_more_state(self, state: State) -> None:
        super()._load_more_state(state)
        self._age, self._handover = np.array(state["age"]), np.array(state["handover"])
        self._length = float(state["length"])
