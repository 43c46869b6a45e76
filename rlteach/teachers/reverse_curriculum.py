"""Reverse curriculum generation: starts spread from the goal by random actions, as far as the learner keeps up.

    teacher = ReverseCurriculum(store, Explorer(env, seed=0), seed=0)

Florensa et al., "Reverse Curriculum Generation for Reinforcement Learning" (CoRL 2017). Needs a state in which the task
is as good as done, and no demonstration of how to get there.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlteach.errors import InvalidValue
from rlteach.lesson import Outcome, Start
from rlteach.protocols import Snapshot
from rlteach.snapshots.collect import Explorer
from rlteach.snapshots.store import SnapshotStore
from rlteach.teachers.base import require
from rlteach.teachers.start_base import ORDINARY, SnapshotPool, SnapshotTeacher, check_led, demonstrations, one_of

MAX_OLD = 200
"""Good starts of earlier iterations that are kept."""

TRIED, WON = 0, 1
"""What stands in a row of the pool: episodes from a start in this iteration, and the sum of their successes."""


def good_starts(rates: dict[int, float], low: float, high: float) -> tuple[list[int], list[int]]:
    """Return the starts with a success rate in [low, high] (Florensa et al., algorithm 1), and those above it."""
    good = [number for number, rate in rates.items() if low <= rate <= high]
    return good, [number for number, rate in rates.items() if rate > high]


class ReverseCurriculum(SnapshotTeacher):
    """Reverse curriculum generation (Florensa et al. 2017).

    Iteration: random walks of `walk` steps from the good starts (and from what these walks meet) until there are four
    times `new` states; of these `new` and of the good starts of earlier iterations `old` are drawn, and episodes start
    from them uniformly, `tries` of them for each. Good starts are then those with success in [low, high].

    Deviations: walks draw actions uniformly instead of from a Gaussian; when no start is good, those above `high` are
    walked from, and when there are none either, the same starts as before (the paper leaves this open); numbers are
    small enough for runs of a few hundred thousand steps (paper: 200 new, 100 old); a share of ordinary resets is kept.
    The time limit starts anew with each episode, since these starts belong to no trajectory.

    Args:
        store: Snapshots with their records.
        explorer: Walks at random; its steps are to be charged to the teacher.
        goals: Places in the store of the states from which starts spread; None takes the last snapshot of every
            trajectory that is not known to have failed.
        new: New starts of an iteration.
        old: Good starts of earlier iterations that are played again.
        tries: Episodes for each start of an iteration, on average.
        low: Success below which a start is too hard.
        high: Success above which a start is too easy.
        walk: Environment steps of a random walk.
        every: Environment steps between two states that a walk keeps.
        ordinary: Share of episodes that start at the ordinary reset.
        seed: Seed of the draws.

    Attributes:
        iteration: Number of the iteration, from 1.
        explored: Environment steps of all random walks.

    Raises:
        InvalidValue: For a place that is not in the store, snapshots of another environment than the explorer's, and
            without `goals`, when every trajectory failed, or has no snapshot but that of its reset.
    """

    tied_to_store = frozenset({"goals"})
    decides_by_success = True
    state_names = ("iteration", "explored", "_pool", "_current", "_seeds", "_old", "_finished")

    def __init__(
        self,
        store: SnapshotStore,
        explorer: Explorer,
        *,
        goals: Sequence[int] | None = None,
        new: int = 30,
        old: int = 15,
        tries: float = 3.0,
        low: float = 0.1,
        high: float = 0.9,
        walk: int = 50,
        every: int = 5,
        ordinary: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(store, seed=seed)
        require(
            self,
            new=(new, 1, None),
            old=(old, 0, MAX_OLD),
            tries=(tries, 0.1, None),
            low=(low, 0, high),
            high=(high, 0, 1),
            walk=(walk, 1, None),
            every=(every, 1, walk),
            ordinary=(ordinary, 0, 1),
        )
        store.check_env(explorer.env)
        self.explorer = explorer
        self.new, self.old, self.tries, self.low, self.high = new, old, tries, low, high
        self.walk, self.every, self.ordinary = walk, every, ordinary
        self._goals = _goals(store, goals)
        self.iteration = 0
        self.explored = 0
        self._pool = SnapshotPool()
        self._current: list[int] = []
        self._seeds: list[int] = []
        self._old: list[int] = []
        self._finished = 0

    def _choose(self, n: int) -> tuple[Sequence[int], Sequence[str]]:
        if not self._current:
            self._seeds = [self._pool.add(self.store.snapshot(goal), (0, 0)) for goal in self._goals]
            self._begin()
        chosen = self.rng.random(n) >= self.ordinary
        places = [one_of(self._current, self.rng) if c else ORDINARY for c in chosen]
        return places, ["reverse_curriculum" if c else "reverse_curriculum/ordinary" for c in chosen]

    def _start(self, place: int) -> Start:
        return Start(self._pool.snapshot(place), elapsed=0)

    def _learn(self, places: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        current = set(self._current)
        for place, outcome in zip(places, outcomes, strict=True):
            if place in current:
                row = self._pool.rows[place]
                row[TRIED] += 1
                row[WON] += min(max(outcome.success, 0.0), 1.0)
                self._finished += 1
        if self._finished >= self.tries * len(self._current):
            self._select()
            self._begin()

    def _select(self) -> None:
        rows = {number: self._pool.rows[number] for number in self._current}
        rates = {number: row[WON] / row[TRIED] for number, row in rows.items() if row[TRIED]}
        good, easy = good_starts(rates, self.low, self.high)
        self._seeds = good or easy or self._seeds
        self._old = list(dict.fromkeys([*self._old, *good]))[-MAX_OLD:]

    def _begin(self) -> None:
        """Start an iteration: new starts near the good ones, and some old ones."""
        old = self.rng.permutation(self._old).tolist()[: self.old]
        fresh = [self._pool.add(snapshot, (0, 0)) for snapshot in self._nearby()]
        self._current = [*fresh, *old] or list(self._seeds)
        self._pool.keep([*self._current, *self._seeds, *self._old])
        for number in self._current:
            self._pool.rows[number] = [0.0, 0.0]
        self._finished = 0
        self.iteration += 1

    def _nearby(self) -> list[Snapshot]:
        """Return at most `new` states that random walks from the seeds met (algorithm 2)."""
        met = [self._pool.snapshot(number) for number in self._seeds]
        origins, wanted = len(met), 4 * self.new
        for _ in range(wanted):  # a bound: where every walk ends at once, there is nothing to meet
            if len(met) - origins >= wanted:
                break
            met += self._walk_from(met[int(self.rng.integers(len(met)))])
        return [met[origins + i] for i in self.rng.permutation(len(met) - origins)[: self.new]]

    def _walk_from(self, snapshot: Snapshot) -> list[Snapshot]:
        before = self.explorer.steps
        found = self.explorer.explore(snapshot, elapsed=0, steps=self.walk, every=self.every, rng=self.rng)
        self.explored += self.explorer.steps - before
        return [state.snapshot for state in found if state.snapshot is not None]


def _goals(store: SnapshotStore, goals: Sequence[int] | None) -> list[int]:
    if goals is None:
        followed = demonstrations(store, wanted_by="ReverseCurriculum").values()
        if all(store.records[places[-1]].step == 0 for places in followed):  # nothing but resets: no state near a goal
            check_led(store, followed, wanted_by="ReverseCurriculum")
        return [places[-1] for places in followed]
    unknown = [goal for goal in goals if not 0 <= goal < len(store)]
    if unknown or not goals:
        raise InvalidValue(f"goals = {list(goals)} must be one or more places in the store, 0 to {len(store) - 1}")
    return list(goals)
