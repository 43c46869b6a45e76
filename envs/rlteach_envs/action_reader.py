"""Actions as arrays, checked in one place for every environment before anything changes.

reader = ActionReader(spaces.Box(-1.0, 1.0, (2,)))
reader.read([0.5, 3.0])          # [[0.5, 3.0]]: what lies outside the bounds is left to the environment
reader.read([0.5, np.nan])       # ValueError: action[1] = nan is not finite: an action is 2 numbers in [-1, 1]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach_envs.task_reader import NUMERIC, Part, all_finite, short


class ActionReader:
    """Reads the actions of one space, of a single environment or of a batch.

    Args:
        space: A Box or Discrete space of one action.
        num_envs: Rows of a batch, whose actions are elements of `batch_space(space, num_envs)`; None for one action.
    """

    def __init__(self, space: spaces.Space[Any], num_envs: int | None = None) -> None:
        self._part = Part.of(space)
        self._rows = num_envs
        self._shape = self._part.shape if num_envs is None else (num_envs, *self._part.shape)
        self._whole = self._part.whole
        self._kinds = "iu" if self._whole else NUMERIC
        self._first, self._last = float(self._part.low.min()), float(self._part.high.max())

    def read(self, action: Any) -> NDArray[Any]:
        """Return the actions of all rows, or one action as the only row, as they came.

        Raises:
            ValueError: When the shape is wrong, a number is not finite, or a whole number is out of range.
        """
        try:
            actions = np.asarray(action)
        except ValueError:  # rows of different lengths
            raise ValueError(f"action = {short(action)} is none: {self}") from None
        if actions.shape != self._shape or actions.dtype.kind not in self._kinds or not self._right(actions):
            raise ValueError(self._fault(action, actions))
        return actions if self._rows is not None else actions[None]

    def _right(self, actions: NDArray[Any]) -> bool:
        if self._whole:
            numbers = (actions.item(),) if actions.size == 1 else (actions.min(), actions.max())
            return all(self._first <= number <= self._last for number in numbers)
        return all_finite(actions)

    def _fault(self, action: Any, actions: NDArray[Any]) -> str:
        if actions.dtype.kind not in NUMERIC:
            return f"action = {short(action)} is none: {self}"
        if actions.shape != self._shape:
            hint = "; give the action of the only row" if actions.shape == (1, *self._shape) else ""
            return f"action has shape {actions.shape}, not {self._shape}: {self}{hint}"
        if self._whole:
            return f"actions are {self._first:g} to {self._last:g}, not {short(actions.tolist())}: {self}"
        place = np.argwhere(~np.isfinite(actions))[0].tolist()
        row = "" if self._rows is None else f" of row {place.pop(0)}"
        label = f"action[{','.join(map(str, place))}]" if place else "action"
        return f"{label} = {actions[~np.isfinite(actions)][0]}{row} is not finite: {self}"

    def __str__(self) -> str:
        return f"an action is {self._part}{'' if self._rows is None else f' for each of {self._rows} rows'}"
