"""What was seen and how the expert would have acted: rollouts of many environments, kept as streams.

A stream is what one environment showed, step after step, over all rollouts; `starts` marks where episodes begin. Flat
minibatches are for students whose memory is made of observations (it is stored beside them); whole episodes, shorter
ones padded, are for recurrent students, whose memory must be computed anew with every change of their weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

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
        self._joined: Rollout | None = None

    def __len__(self) -> int:
        return sum(rollout.size for rollout in self._rollouts)

    @property
    def rollouts(self) -> tuple[Rollout, ...]:
        """The rollouts that are kept, the oldest first."""
        return tuple(self._rollouts)

    def append(self, rollout: Rollout) -> None:
        """Add a rollout; drop the oldest ones while there are more steps than fit, but never the newest."""
        self._rollouts.append(replace(rollout))  # `_whole` puts other arrays into ours
        self._joined = None
        while len(self) > self.capacity and len(self._rollouts) > 1:
            self._rollouts.pop(0)

    def flat(self) -> Rollout:
        """Return every step, as (steps, ...) arrays, which are views of what is kept."""
        whole = self._whole()
        states = None if whole.states is None else flat(whole.states)
        return Rollout(flat(whole.observations), states, flat(whole.starts), flat(whole.labels))

    def _whole(self) -> Rollout:
        """Return all rollouts as one, (t, n, ...), joined at the first call after an `append`.

        One array at a time is joined, and the rollouts become views into it, so that nothing is held twice.
        """
        if len(self._rollouts) == 1:
            return self._rollouts[0]
        if self._joined is None:
            ends = np.cumsum([len(rollout.starts) for rollout in self._rollouts])
            joined = replace(self._rollouts[0])
            for name in (field.name for field in fields(Rollout) if getattr(joined, field.name) is not None):
                setattr(joined, name, None)  # else the first rollout's array would outlive its replacement
                whole = np.concatenate([getattr(rollout, name) for rollout in self._rollouts])
                setattr(joined, name, whole)
                for rollout, end in zip(self._rollouts, ends, strict=True):
                    setattr(rollout, name, whole[end - len(rollout.starts) : end])
            self._joined = joined
        return self._joined

    def episodes(self, batch_size: int, generator: np.random.Generator) -> Iterator[Episodes]:
        """Yield every step once, in batches of whole episodes with about `batch_size` steps each."""
        whole = self._whole()
        observations, labels = whole.observations, whole.labels
        for batch in episode_batches(whole.starts, batch_size, generator):
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
        self._rollouts, self._joined = [Rollout(**parts) for parts in state["rollouts"]], None


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
