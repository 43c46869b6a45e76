"""Rugged difficulty: every axis of a task space is cut into pieces, and the pieces change places.

The challenge of TeachMyAgent (Romac et al., ICML 2021): neighbouring tasks are no longer of neighbouring difficulty.

    orders = piece_orders(2, seed=0)
    rearranged(tasks, orders)                       # what is really played, for tasks of the unit square (n, 2)
    rearranged(played, np.argsort(orders, axis=1))  # and back
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PIECES = 4
HAIR = 1e-6
"""Share of a piece that points keep from its ends: rounding, to float32 too, must not put them into another piece."""


def piece_orders(dimensions: int, seed: int) -> NDArray[np.int64]:
    """Return where the pieces of each axis go (dimensions, 4): random orders, none of which leaves all in place."""
    rng = np.random.default_rng(seed)
    orders = np.tile(np.arange(PIECES), (dimensions, 1))
    for axis in range(dimensions):
        while (orders[axis] == np.arange(PIECES)).all():
            orders[axis] = rng.permutation(PIECES)
    return orders


def rearranged(points: NDArray[np.float64], orders: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return points of the unit cube (n, d) after piece k of axis j has moved to place `orders[j, k]`."""
    pieces = np.clip(np.floor(points * PIECES), 0, PIECES - 1).astype(np.int64)
    within = np.clip(points * PIECES - pieces, HAIR, 1.0 - HAIR)
    return np.asarray((np.take_along_axis(orders.T, pieces, axis=0) + within) / PIECES)
