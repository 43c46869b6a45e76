"""The backward algorithm: start near the end of one demonstration, and move the start back as the learner keeps up.

    teacher = Backward(store, seed=0)

Salimans and Chen, "Learning Montezuma's Revenge from a Single Demonstration" (2018).
"""

from __future__ import annotations

from collections.abc import Sequence

from rlteach.errors import InvalidValue
from rlteach.lesson import Outcome
from rlteach.snapshots.store import SnapshotStore
from rlteach.teachers.base import require
from rlteach.teachers.start_base import (
    ORDINARY,
    SnapshotTeacher,
    check_comparable,
    check_led,
    demonstrations,
    one_of,
    reached,
)


def keeps_up(results: Sequence[bool], recent: int, threshold: float) -> bool:
    """Tell whether at least `threshold` of the last `recent` rollouts reach the demonstration, whatever is still out.

    With fewer results than `recent`, the missing ones count as failures.
    """
    return sum(results[-recent:]) >= threshold * recent


class Backward(SnapshotTeacher):
    """The backward algorithm (Salimans and Chen 2018) over the snapshots of one demonstration.

    Episodes start uniformly in a window of `window` snapshots that begins at place k, a share of them anywhere after k.
    When at least `threshold` of the last `recent` rollouts from the window do as well as the demonstration did from
    there (`start_base.reached`), k moves back by `step` snapshots and the count starts anew. When this holds at the
    first snapshot, episodes start at the ordinary reset, but for the same share spread over the demonstration.

    Deviations from the published code: places are snapshots, not single steps; a window is judged by its rollouts since
    the last move instead of by the last rate of each starting point; k never moves forward again; there is no lag limit
    of 50 steps behind the demonstration, and no stop at its score.

    Args:
        store: Snapshots with their records.
        episode: Number of the demonstration; None takes the one with the best return (the shortest of equal ones)
            among those not known to have failed.
        threshold: Share of rollouts that has to do as well as the demonstration.
        window: Number of snapshots that are starts at the same time.
        step: Snapshots by which the window moves back.
        recent: Number of rollouts that the share is taken over.
        spread: Share of episodes that start anywhere between the window's beginning and the end (published: 0.2).
        ordinary: Share of episodes that start at the ordinary reset before the window gets there (published: 0).
        seed: Seed of the draws.

    Attributes:
        at: Place k of the window's beginning in the demonstration.
        done: Whether the learner has been led back to the ordinary reset.

    Raises:
        InvalidValue: When there is no such demonstration, all of them failed, or it has a single snapshot.
    """

    state_names = ("at", "done", "_results")

    def __init__(
        self,
        store: SnapshotStore,
        *,
        episode: int | None = None,
        threshold: float = 0.2,
        window: int = 4,
        step: int = 1,
        recent: int = 10,
        spread: float = 0.2,
        ordinary: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(store, seed=seed)
        require(
            self,
            threshold=(threshold, 0, 1),
            window=(window, 1, None),
            step=(step, 1, None),
            recent=(recent, 1, None),
            spread=(spread, 0, 1),
            ordinary=(ordinary, 0, 1),
        )
        self.threshold, self.window, self.step = threshold, window, step
        self.recent, self.spread, self.ordinary = recent, spread, ordinary
        self._demonstration = _demonstration(store, episode)
        check_led(store, [self._demonstration], wanted_by="Backward")
        self.at = len(self._demonstration) - 1
        self.done = False
        self._results: list[bool] = []

    def _choose(self, n: int) -> tuple[Sequence[int], Sequence[str]]:
        chosen = [self._one() for _ in range(n)]
        return [place for place, _ in chosen], [origin for _, origin in chosen]

    def _one(self) -> tuple[int, str]:
        spread = self.rng.random() < self.spread
        if self.done:
            return (one_of(self._demonstration, self.rng), "backward/kept") if spread else (ORDINARY, "backward/over")
        if self.rng.random() < self.ordinary:
            return ORDINARY, "backward/ordinary"
        if spread:
            return one_of(self._demonstration[self.at :], self.rng), "backward/spread"
        return one_of(self._window(), self.rng), "backward"

    def _window(self) -> Sequence[int]:
        return self._demonstration[self.at : self.at + self.window]

    def _learn(self, places: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        for place, outcome in zip(places, outcomes, strict=True):
            if not self.done and place in self._window():
                self._judge(reached(outcome, self.store.records[place]))

    def _judge(self, result: bool) -> None:
        self._results = [*self._results, result][-self.recent :]
        if keeps_up(self._results, self.recent, self.threshold):
            self._results = []
            self.done = self.at == 0
            self.at = max(self.at - self.step, 0)


def _demonstration(store: SnapshotStore, episode: int | None) -> list[int]:
    if episode is None:
        found = demonstrations(store, wanted_by="Backward")

        def quality(places: Sequence[int]) -> tuple[float, int]:
            first = store.records[places[0]]
            return first.ret, -(first.step + first.remaining)

        return max(found.values(), key=quality)
    episodes = store.episodes()
    if episode not in episodes:
        known = ", ".join(map(str, episodes))
        raise InvalidValue(f"Backward has no demonstration {episode}; the store holds the trajectories {known}")
    check_comparable(store, episode, episodes[episode], wanted_by="Backward")
    return episodes[episode]
