"""S3RL: snapshots of a trained teacher, classified by its critic, start short episodes of the student.

    teacher = S3RL(store, clusters=6, truncate=100, until=100_000, seed=0)

Zhao et al., "Snapshot Reinforcement Learning" (2024), and its published code.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from rlteach.errors import InvalidValue
from rlteach.lesson import Outcome
from rlteach.snapshots.store import Record, SnapshotStore
from rlteach.teachers.base import Array, require
from rlteach.teachers.start_base import ORDINARY, SnapshotTeacher, one_of


def value_clusters(values: Array, clusters: int) -> list[list[int]]:
    """Return the members of each non-empty cluster of 1-D k-means over finite `values` (n,).

    Fewer distinct values than `clusters` give one cluster each.
    """
    scale = np.abs(values).max()
    scaled = (values / scale if scale > 0 else values)[:, None]  # squares of huge values would overflow
    fitted = KMeans(min(clusters, len(np.unique(scaled))), n_init=10, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # values too close to be told apart share a cluster
        labels = fitted.fit_predict(scaled)
    return [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]


class S3RL(SnapshotTeacher):
    """S3RL (Zhao et al. 2024): status classification (SC) and student trajectory truncation (STT).

    SC: k-means with k = `clusters` on the critic's value of each snapshot; p(s) = 1 / (k |cluster of s|), which raises
    rare values. STT: an episode from a snapshot is truncated (not terminated, so it is bootstrapped) `truncate` steps
    later. Schedule: only snapshots until the learner has made `until` steps, then only ordinary resets. The published
    code uses k = 6 (PPO, TD3) or 4 (SAC), 100 steps, and a switch after 100k of 1M steps; the switches `classify` and
    `truncate` are its ablations.

    Deviations: steps are counted at the ends of episodes; `until` is smaller by default, for runs of 100k steps. An
    expert that collects acts deterministically (the code samples from those of SAC and PPO), and a snapshot's value is
    the least of an off-policy expert's critics (the code takes the first). The environment's own limit holds as well
    (the code puts it `truncate` steps beyond the snapshot), and nothing that was learned from snapshots is dropped when
    the ordinary resets begin.

    Args:
        store: Snapshots with their records; with `classify`, each with the critic's value.
        clusters: Number k of classes of value.
        classify: Draw uniformly over classes, then within one; off, uniformly over snapshots.
        truncate: Steps after which an episode from a snapshot is truncated; None or 0 leaves it to the environment.
        until: Learner steps after which all episodes start at the ordinary reset.
        seed: Seed of the draws; the clustering always uses 0, as published.

    Raises:
        InvalidValue: When `classify` is on and a record has no finite value.
    """

    def __init__(
        self,
        store: SnapshotStore,
        *,
        clusters: int = 6,
        classify: bool = True,
        truncate: int | None = 100,
        until: int = 10_000,
        seed: int = 0,
    ) -> None:
        super().__init__(store, seed=seed)
        require(self, clusters=(clusters, 1, None), truncate=(truncate or 0, 0, None), until=(until, 0, None))
        self.clusters, self.classify, self.truncate, self.until = clusters, classify, truncate, until
        self._classes = [list(range(len(store)))]
        if classify:
            self._classes = value_clusters(_values(store), clusters)

    def _choose(self, n: int) -> tuple[Sequence[int], Sequence[str]]:
        if self.steps >= self.until:
            return [ORDINARY] * n, ["s3rl/over"] * n
        classes = self.rng.integers(len(self._classes), size=n).tolist()
        return [one_of(self._classes[c], self.rng) for c in classes], [f"s3rl/{c}" for c in classes]

    def _learn(self, places: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        """S3RL does not adapt, but for the steps that the base counts."""

    def _limit(self, record: Record) -> int | None:
        return self.truncate or None


def _values(store: SnapshotStore) -> Array:
    values = np.array([record.value for record in store.records], dtype=np.float64)
    missing = int((~np.isfinite(values)).sum())
    if missing:
        how_many = "no record has one" if missing == len(values) else f"{missing} of {len(values)} records have none"
        raise InvalidValue(
            f"S3RL classifies snapshots by a critic's value, and {how_many}; collect "
            "with a policy that has a critic (any SB3 PPO, A2C, SAC or TD3 model), or pass classify=False"
        )
    return values
