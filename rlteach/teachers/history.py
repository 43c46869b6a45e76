"""Ring buffers: what teachers remember, in constant memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlteach.protocols import State


class History:
    """The last `capacity` rows of numbers, in order.

    Args:
        capacity: Number of rows kept.
        width: Numbers per row.
    """

    def __init__(self, capacity: int, width: int) -> None:
        self._rows = np.zeros((capacity, width))
        self.total = 0

    def __len__(self) -> int:
        return min(self.total, len(self._rows))

    def append(self, rows: ArrayLike) -> None:
        """Add rows (n, width), oldest first."""
        new = np.asarray(rows, dtype=np.float64).reshape(-1, self._rows.shape[1])
        if len(new) == 1:
            self._rows[self.total % len(self._rows)] = new[0]
        else:
            kept = new[-len(self._rows) :]
            start = self.total + len(new) - len(kept)
            self._rows[np.arange(start, start + len(kept)) % len(self._rows)] = kept
        self.total += len(new)

    def rows(self) -> NDArray[np.float64]:
        """Return the rows kept, oldest first, as a new array (len, width)."""
        if self.total <= len(self._rows):
            return self._rows[: self.total].copy()
        return np.roll(self._rows, -(self.total % len(self._rows)), axis=0)

    def unordered(self) -> NDArray[np.float64]:
        """Return the rows kept, in any order, as a view (len, width) for a moment's reading."""
        return self._rows[: len(self)]

    def state_dict(self) -> State:
        """Return the rows and the running count."""
        return {"rows": self.rows(), "total": self.total}

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        rows = np.asarray(state["rows"], dtype=np.float64).reshape(-1, self._rows.shape[1])
        self.total = int(state["total"])
        self._rows[np.arange(self.total - len(rows), self.total) % len(self._rows)] = rows
