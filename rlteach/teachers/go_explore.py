"""Go-Explore: an archive of cells, each with a state that is returned to and explored from.

    teacher = GoExplore(store, Explorer(env, seed=0), seed=0)

Ecoffet et al., "First return, then explore" (2021), the variant that returns by restoring states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rlteach.lesson import Outcome, Start
from rlteach.snapshots.collect import Explorer, Found
from rlteach.snapshots.store import SnapshotStore
from rlteach.teachers.base import Array, require
from rlteach.teachers.start_base import ORDINARY, SnapshotPool, SnapshotTeacher

ELAPSED, RETURN, VISITS = 0, 1, 2
"""What stands in a row of the pool: steps and return from the reset to here, and how often this was chosen."""

GREATEST = 1e9
"""Grid coordinates are clipped to this, so that any observation has some."""

LARGEST = 1e100
"""Observations are clipped to this before the grid is laid, so that their squares do not overflow."""


def selection_weights(visits: Array) -> Array:
    """Return the chance of each cell, in proportion to 1 / sqrt(visits + 1) (Ecoffet et al. 2021, methods)."""
    weights = 1.0 / np.sqrt(visits + 1.0)
    return np.asarray(weights / weights.sum())


def grid_cell(observation: Array, centre: Array, scale: Array) -> Array:
    """Return the integer coordinates of an observation in a grid of cells as wide as `scale` (dimension,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        places = np.nan_to_num((observation - centre) / scale, nan=0.0, posinf=GREATEST, neginf=-GREATEST)
    return np.floor(np.minimum(np.maximum(places, -GREATEST), GREATEST)).astype(np.int64)


def flat(observation: Any) -> Array:
    """Return an observation, or a dict of them in the order of its keys, as one vector."""
    if isinstance(observation, Mapping):
        return np.concatenate([flat(observation[key]) for key in sorted(observation)])
    return np.asarray(observation, dtype=np.float64).ravel()


class GoExplore(SnapshotTeacher):
    """Go-Explore (Ecoffet et al. 2021) as a source of starts.

    A cell is chosen with p ~ 1 / sqrt(visits + 1), its state restored, and `walk` random actions are taken from there;
    what they meet fills new cells, or replaces the state of a known one when it was reached with a higher return, or an
    equal one in fewer steps (its visits then count anew). A walk follows every `walk_every` finished episodes, and a
    share of the learner's episodes start from cells that are chosen in the same way.

    Deviations: the learner trains while the archive grows, instead of on its best trajectories afterwards; the default
    cells are a grid over the observation with steps of `width` standard deviations of what the first walks met, which
    suits a few dimensions only (published: downscaled images, or positions); neighbours carry no weight; a full archive
    drops its most visited cell.

    Args:
        store: Snapshots with their records; the first of each trajectory are the archive at the beginning.
        explorer: Walks at random; its steps are to be charged to the teacher.
        cell: From an observation to what tells cells apart, a number, text or array; None takes the grid.
        width: Width of a grid cell, in standard deviations of each dimension.
        share: Share of the learner's episodes that start from cells; the rest starts at the ordinary reset.
        walk: Environment steps of a random walk.
        every: Environment steps between two states that a walk tells.
        walk_every: Finished episodes from one walk to the next.
        first_walks: Walks before the first lesson.
        max_cells: Number of cells kept.
        seed: Seed of the draws.

    Attributes:
        explored: Environment steps of all random walks.

    Raises:
        InvalidValue: When the store is empty, or its snapshots are of another environment than the explorer's.
    """

    state_names = ("explored", "_pool", "_cells", "_centre", "_scale", "_finished")

    def __init__(
        self,
        store: SnapshotStore,
        explorer: Explorer,
        *,
        cell: Callable[[Any], Any] | None = None,
        width: float = 0.5,
        share: float = 0.5,
        walk: int = 50,
        every: int = 5,
        walk_every: int = 1,
        first_walks: int = 10,
        max_cells: int = 1000,
        seed: int = 0,
    ) -> None:
        super().__init__(store, seed=seed)
        require(
            self,
            width=(width, 1e-6, None),
            share=(share, 0, 1),
            walk=(walk, 1, None),
            every=(every, 1, walk),
            walk_every=(walk_every, 1, None),
            first_walks=(first_walks, 1, None),
            max_cells=(max_cells, 2, None),
        )
        store.check_env(explorer.env)
        self.explorer, self.cell, self.width, self.share = explorer, cell, width, share
        self.walk, self.every, self.walk_every = walk, every, walk_every
        self.first_walks, self.max_cells = first_walks, max_cells
        self.explored = 0
        self._pool = SnapshotPool()
        self._cells: dict[str, int] = {}
        self._centre = np.zeros(0)
        self._scale = np.zeros(0)
        self._finished = 0

    @property
    def cells(self) -> int:
        """Number of cells in the archive."""
        return len(self._cells)

    def _choose(self, n: int) -> tuple[Sequence[int], Sequence[str]]:
        if not self._cells:
            self._open_archive()
        chosen = self.rng.random(n) < self.share
        numbers = iter(self._selected(int(chosen.sum())))
        places = [next(numbers) if c else ORDINARY for c in chosen]
        return places, ["go_explore" if c else "go_explore/ordinary" for c in chosen]

    def _start(self, place: int) -> Start:
        return Start(self._pool.snapshot(place), elapsed=int(self._pool.rows[place][ELAPSED]))

    def _learn(self, places: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        walks, self._finished = divmod(self._finished + len(outcomes), self.walk_every)
        for number in self._selected(walks):
            if number in self._pool.rows:  # an earlier one of these walks may have found a better state
                self._take_in(number, self._walk_from(number))

    def _selected(self, n: int) -> list[int]:
        """Draw `n` numbers of cells, and count the visits."""
        numbers = list(self._pool.rows)
        weights = selection_weights(np.array([row[VISITS] for row in self._pool.rows.values()]))
        drawn = [numbers[i] for i in self.rng.choice(len(numbers), size=n, p=weights)]
        for number in drawn:
            self._pool.rows[number][VISITS] += 1
        return drawn

    def _open_archive(self) -> None:
        for place in [places[0] for places in self.store.episodes().values()][: self.max_cells]:
            record = self.store.records[place]
            so_far = record.ret - record.to_go if np.isfinite(record.to_go) else 0.0
            self._cells[f"first {place}"] = self._pool.add(self.store.snapshot(place), (record.step, so_far, 0))
        origins = self._selected(self.first_walks)
        walks = [self._walk_from(number) for number in origins]
        self._lay_grid([found.observation for walk in walks for found in walk])
        for number, walk in zip(origins, walks, strict=True):
            if number in self._pool.rows:
                self._take_in(number, walk)

    def _lay_grid(self, observations: Sequence[Any]) -> None:
        met = np.clip([np.nan_to_num(flat(observation)) for observation in observations], -LARGEST, LARGEST)
        spread = met.std(axis=0)
        self._centre = met.mean(axis=0)
        self._scale = self.width * np.where(spread > 0, spread, 1.0)

    def _walk_from(self, number: int) -> list[Found]:
        before = self.explorer.steps
        elapsed = int(self._pool.rows[number][ELAPSED])
        snapshot = self._pool.snapshot(number)
        found = self.explorer.explore(snapshot, elapsed=elapsed, steps=self.walk, every=self.every, rng=self.rng)
        self.explored += self.explorer.steps - before
        return found

    def _take_in(self, origin: int, walk: Sequence[Found]) -> None:
        so_far = self._pool.rows[origin][RETURN]
        for found in walk:
            if found.snapshot is not None:
                row = (found.elapsed, so_far + found.ret, 0)
                self._consider(self._key(found.observation), found, row)

    def _consider(self, key: str, found: Found, row: tuple[float, float, float]) -> None:
        known = self._cells.get(key)
        if known is not None and not _better(row, self._pool.rows[known]):
            return
        if known is not None:
            self._pool.drop(known)
        elif len(self._cells) >= self.max_cells:
            fullest = max(self._cells, key=lambda other: self._pool.rows[self._cells[other]][VISITS])
            self._pool.drop(self._cells.pop(fullest))
        assert found.snapshot is not None
        self._cells[key] = self._pool.add(found.snapshot, row)

    def _key(self, observation: Any) -> str:
        if self.cell is None:
            coordinates = grid_cell(flat(observation), self._centre, self._scale).tolist()
        else:
            coordinates = np.asarray(self.cell(observation)).ravel().tolist()
        return " ".join(map(str, coordinates))


def _better(row: Sequence[float], known: Sequence[float]) -> bool:
    return (row[RETURN], -row[ELAPSED]) > (known[RETURN], -known[ELAPSED])
