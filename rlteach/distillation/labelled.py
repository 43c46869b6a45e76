"""What was seen and how the expert would have acted: rollouts of many environments, kept as streams.

A stream is what one environment showed, step after step, over all rollouts; `starts` marks where episodes begin. Flat
minibatches are for students whose memory is made of observations (it is stored beside them); whole episodes, shorter
ones padded, are for recurrent students, whose memory must be computed anew with every change of their weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rlteach.protocols import State


@dataclass
class Rollout:
    """Some steps of all environments.

    Attributes:
        observations: What the student saw, (t, n, *shape).
        states: The student's memory before each step, (t, n, k), or None where it is computed from its weights.
        starts: (t, n) whether an episode begins with this step.
        labels: The expert's actions in units of [-1, 1], (t, n, a), or action numbers (t, n).
    """

    observations: np.ndarray
    states: np.ndarray | None
    starts: np.ndarray
    labels: np.ndarray

    @property
    def size(self) -> int:
        """Return the number of labelled steps."""
        return int(self.starts.size)


@dataclass(frozen=True)
class Episodes:
    """Some episodes side by side, padded behind.

    Attributes:
        observations: (t, m, *shape).
        labels: (t, m, a) or (t, m).
        mask: (t, m) 1 where there is a step, 0 where there is padding.
    """

    observations: np.ndarray
    labels: np.ndarray
    mask: np.ndarray


class Labelled:
    """All rollouts so far, the oldest dropped beyond `capacity`.

    Args:
        capacity: Labelled steps that are kept.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._rollouts: list[Rollout] = []

    def __len__(self) -> int:
        return sum(rollout.size for rollout in self._rollouts)

    @property
    def rollouts(self) -> tuple[Rollout, ...]:
        """The rollouts that are kept, the oldest first."""
        return tuple(self._rollouts)

    def append(self, rollout: Rollout) -> None:
        """Add a rollout; drop the oldest ones while there are more steps than fit, but never the newest."""
        self._rollouts.append(rollout)
        while len(self) > self.capacity and len(self._rollouts) > 1:
            self._rollouts.pop(0)

    def flat(self) -> Rollout:
        """Return every step, as (steps, ...) arrays."""
        parts = self._rollouts
        states = [p.states for p in parts if p.states is not None]
        return Rollout(
            np.concatenate([flat(p.observations) for p in parts]),
            np.concatenate([flat(s) for s in states]) if states else None,
            np.concatenate([flat(p.starts) for p in parts]),
            np.concatenate([flat(p.labels) for p in parts]),
        )

    def episodes(self, batch_size: int, generator: np.random.Generator) -> Iterator[Episodes]:
        """Yield every step once, in batches of whole episodes with about `batch_size` steps each."""
        observations, starts, labels = (
            np.concatenate([getattr(p, name) for p in self._rollouts]) for name in ("observations", "starts", "labels")
        )
        for batch in episode_batches(starts, batch_size, generator):
            longest = max(end - begin for _, begin, end in batch)
            seen = np.zeros((longest, len(batch), *observations.shape[2:]), dtype=observations.dtype)
            wanted = np.zeros((longest, len(batch), *labels.shape[2:]), dtype=labels.dtype)
            mask = np.zeros((longest, len(batch)), dtype=np.float32)
            for place, (row, begin, end) in enumerate(batch):
                seen[: end - begin, place] = observations[begin:end, row]
                wanted[: end - begin, place] = labels[begin:end, row]
                mask[: end - begin, place] = 1.0
            yield Episodes(seen, wanted, mask)

    def state_dict(self) -> State:
        """Return everything that is kept."""
        return {"rollouts": [dict(vars(rollout)) for rollout in self._rollouts]}

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        self._rollouts = [Rollout(**parts) for parts in state["rollouts"]]


def index_batches(count: int, batch_size: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Return a random partition of range(count) into batches of at most `batch_size`, as equal as can be."""
    return np.array_split(generator.permutation(count), max(1, -(-count // batch_size)))


def episode_batches(
    starts: np.ndarray, batch_size: int, generator: np.random.Generator
) -> list[list[tuple[int, int, int]]]:
    """Partition streams into batches of episodes (row, begin, end), in random order, of about `batch_size` steps.

    Args:
        starts: (t, n) whether an episode begins with this step. What comes before a row's first start (its beginning
            was dropped) is an episode too: its memory begins there.
        batch_size: Steps of a batch, padding not counted; an episode is never cut.
        generator: Decides the order.
    """
    spans: list[tuple[int, int, int]] = []
    length = len(starts)
    for row in range(starts.shape[1]):
        cuts = np.union1d([0], np.flatnonzero(starts[:, row]))
        spans += [(row, int(b), int(e)) for b, e in zip(cuts, [*cuts[1:], length], strict=True)]
    batches: list[list[tuple[int, int, int]]] = []
    steps = batch_size
    for place in generator.permutation(len(spans)):
        row, begin, end = spans[place]
        if steps >= batch_size:
            batches.append([])
            steps = 0
        batches[-1].append((row, begin, end))
        steps += end - begin
    return batches


def flat(values: np.ndarray) -> np.ndarray:
    """Return (t, n, ...) as (t * n, ...)."""
    return values.reshape(-1, *values.shape[2:])
