"""RFCL: learn every demonstration backwards, then play initial states in order of how much there is to learn.

    teacher = RFCL(store, seed=0)

Tao et al., "Reverse Forward Curriculum Learning for Extreme Sample and Demonstration Efficiency in RL" (ICLR 2024).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlteach.lesson import Outcome
from rlteach.snapshots.store import Record, SnapshotStore
from rlteach.teachers.base import Array, require
from rlteach.teachers.start_base import ORDINARY, SnapshotTeacher, check_led, demonstrations, reached

OFFSETS = np.array([0.5, 0.25, 0.125, 0.0625, 0.0625])
"""Chance of a start 0, 1, 2, 3 or 4 snapshots after the current one: geometric, the rest on the last."""

JUDGED = 5
"""Number of outcomes that the forward score looks at."""


def demonstration_weights(starts: Array, lengths: Array) -> Array:
    """Return the chance of each demonstration: t / T for its current start t of T steps, 1e-6 where t is 0 (d,)."""
    weights = np.where(starts > 0, starts / np.maximum(lengths, 1.0), 1e-6)
    return np.asarray(weights / weights.sum())


def forward_score(successes: int) -> int:
    """Return 2 for no success in the last 5 outcomes, 3 for some (below 75 %), 1 for more."""
    if successes == 0:
        return 2
    return 3 if successes < 0.75 * JUDGED else 1


def rank_weights(scores: Array, temperature: float) -> Array:
    """Return h_i ~ (1 / rank_i)^(1 / temperature), equal scores sharing the lowest of their ranks (n,).

    The rank is 1 + the number of scores that are at least as high, as coded by the authors ("rankmin").
    """
    ranks = 1 + len(scores) - np.searchsorted(np.sort(scores), scores)
    weights = (ranks.min() / ranks) ** (1.0 / temperature)
    return np.asarray(weights / weights.sum())


def forward_weights(scores: Array, staleness: Array, temperature: float, staleness_share: float) -> Array:
    """Return (1 - c) P_score + c P_staleness, both by rank (n,)."""
    by_score, by_age = rank_weights(scores, temperature), rank_weights(staleness, temperature)
    return np.asarray((1 - staleness_share) * by_score + staleness_share * by_age)


class RFCL(SnapshotTeacher):
    """RFCL (Tao et al. 2024): a reverse curriculum for each demonstration, then a forward one over initial states.

    Stage 1. A demonstration is drawn by `demonstration_weights`, and a start geometrically at or after its current one.
    `streak` successes in a row from exactly the current start move it back by `step` environment steps, or solve the
    demonstration when it is at its beginning. The episode limit follows what is left of the demonstration. Stage 2
    begins when more than `solved_share` of the demonstrations are solved: initial states are prioritised as in PLR
    (`forward_weights`).

    All of this is in the authors' code, and deviations are: the starts of a store are snapshots, so that a step back
    ends at the last snapshot at least `step` environment steps earlier; the forward stage of the code prioritises 1000
    seeds of the ordinary reset, which a teacher cannot choose, so here it prioritises the beginnings of the
    demonstrations beside a fixed share of ordinary resets; the code allows 16 + remaining / 3 steps, because its
    demonstrations (planners, people) are slow, and since that makes an efficient demonstration impossible to follow,
    here it is 16 + 3 remaining by default. What concerns the learner (demonstrations in the replay buffer, ten critics)
    is not the teacher's.

    Args:
        store: Snapshots with their records; trajectories known to have failed are left out.
        step: Environment steps by which a start moves back.
        streak: Number m of successes in a row that move it.
        limit_slack: Steps that an episode of stage 1 may always take.
        limit_ratio: Further steps for each step that is left of the demonstration (1 / 3 as coded by the authors).
        solved_share: Share of solved demonstrations beyond which stage 2 begins.
        ordinary: Share of ordinary resets in stage 2; stage 1 has none.
        temperature: Temperature of both rankings of stage 2.
        staleness: Weight c of the ranking by age.
        seed: Seed of the draws.

    Attributes:
        at: Place of each demonstration's current start among its snapshots (demonstrations,).
        solved: Whether each demonstration is solved from its beginning (demonstrations,).

    Raises:
        InvalidValue: When every trajectory failed, or each of the others has a single snapshot.
    """

    state_names = ("at", "solved", "_streaks", "_results", "_staleness")

    def __init__(
        self,
        store: SnapshotStore,
        *,
        step: int = 4,
        streak: int = 3,
        limit_slack: int = 16,
        limit_ratio: float = 3.0,
        solved_share: float = 0.9,
        ordinary: float = 0.5,
        temperature: float = 0.1,
        staleness: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(store, seed=seed)
        require(
            self,
            step=(step, 1, None),
            streak=(streak, 1, None),
            limit_slack=(limit_slack, 1, None),
            limit_ratio=(limit_ratio, 0, None),
            solved_share=(solved_share, 0, 1),
            ordinary=(ordinary, 0, 1),
            temperature=(temperature, 1e-3, None),
            staleness=(staleness, 0, 1),
        )
        self.step, self.streak, self.solved_share, self.ordinary = step, streak, solved_share, ordinary
        self.limit_slack, self.limit_ratio = limit_slack, limit_ratio
        self.temperature, self.staleness = temperature, staleness
        self._demonstrations = list(demonstrations(store, wanted_by="RFCL").values())
        check_led(store, self._demonstrations, wanted_by="RFCL")
        self._place_of = {p: (d, k) for d, places in enumerate(self._demonstrations) for k, p in enumerate(places)}
        count = len(self._demonstrations)
        self.at = np.array([len(places) - 1 for places in self._demonstrations])
        self.solved = np.zeros(count, dtype=bool)
        self._streaks = np.zeros(count, dtype=np.int64)
        self._results: list[list[bool]] = [[] for _ in range(count)]
        self._staleness = np.zeros(count)

    @property
    def forward(self) -> bool:
        """Whether stage 2 has begun."""
        return bool(self.solved.all() or self.solved.mean() > self.solved_share)

    def _choose(self, n: int) -> tuple[Sequence[int], Sequence[str]]:
        if not self.forward:
            return [self._backward_start() for _ in range(n)], ["rfcl/reverse"] * n
        places = [ORDINARY if self.rng.random() < self.ordinary else self._initial_state() for _ in range(n)]
        return places, ["rfcl/ordinary" if place == ORDINARY else "rfcl/forward" for place in places]

    def _backward_start(self) -> int:
        records = [self.store.records[places[k]] for places, k in zip(self._demonstrations, self.at, strict=True)]
        starts = np.array([record.step for record in records], dtype=np.float64)
        lengths = np.array([record.step + record.remaining for record in records], dtype=np.float64)
        chosen = int(self.rng.choice(len(records), p=demonstration_weights(starts, lengths)))
        places = self._demonstrations[chosen]
        offset = int(self.rng.choice(len(OFFSETS), p=OFFSETS))
        return places[min(int(self.at[chosen]) + offset, len(places) - 1)]

    def _initial_state(self) -> int:
        scores = np.array([forward_score(sum(results)) for results in self._results], dtype=np.float64)
        weights = forward_weights(scores, self._staleness, self.temperature, self.staleness)
        chosen = int(self.rng.choice(len(weights), p=weights))
        self._staleness = self._staleness + 1
        self._staleness[chosen] = 0
        return self._demonstrations[chosen][0]

    def _elapsed(self, record: Record) -> int:
        """An episode's own limit replaces the environment's."""
        return 0

    def _limit(self, record: Record) -> int | None:
        return None if self.forward else self.limit_slack + int(self.limit_ratio * record.remaining)

    def _learn(self, places: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        for place, outcome in zip(places, outcomes, strict=True):
            if place == ORDINARY:
                continue
            demonstration, k = self._place_of[place]
            result = reached(outcome, self.store.records[place])
            if k == 0:
                self._results[demonstration] = [*self._results[demonstration], result][-JUDGED:]
            if k == self.at[demonstration]:
                self._judge(demonstration, result)

    def _judge(self, demonstration: int, result: bool) -> None:
        self._streaks[demonstration] = self._streaks[demonstration] + 1 if result else 0
        if self._streaks[demonstration] < self.streak:
            return
        self._streaks[demonstration] = 0
        if self.at[demonstration] == 0:
            self.solved[demonstration] = True
        else:
            self.at[demonstration] = self._earlier(demonstration)

    def _earlier(self, demonstration: int) -> int:
        """Return the last snapshot that is at least `step` environment steps before the current one, else the first."""
        steps = [self.store.records[place].step for place in self._demonstrations[demonstration]]
        latest = steps[self.at[demonstration]] - self.step
        return max((k for k, step in enumerate(steps) if step <= latest), default=0)
