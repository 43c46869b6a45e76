"""MemoryTMaze: walk a corridor, and remember at its end what was shown at its beginning."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach_envs.arguments import clipped_progress, fixed_sets
from rlteach_envs.batch import BatchEnv, Floats, SingleEnv
from rlteach_envs.strokes import BLUE, DARK, GREEN, RED, dot, stroke

SHORTEST = 10.0
LONGEST = 80.0


class MemoryTMazeBatch(BatchEnv):
    """The T-maze of Bakker (2001, "RL with long short-term memory"), continuous, with a corridor of chosen length.

    Task: `length` of the corridor in [10, 80] steps at full speed, and `goal` in [-1, 1]: the right arm is the one at
    y > 0 exactly when goal > 0.
    State: x along the corridor and y across the junction; start (0, 0). Action (forward, sideways) in [-1, 1]^2: while
    x < length, x += (1 + forward) / 2, at most to the junction at x = length; from the next step on y += sideways.
    The episode ends at |y| >= 1: reward 1 in the right arm, 0 in the other one and everywhere else. Steps cost
    nothing, so that the return is the share of right turns: 0.5 for everybody who does not know, and discounting is
    what makes haste. Success: the right arm. Truncation after `horizon` steps, which is too early for a long corridor
    walked at half speed.
    Observation (float32): `policy`: cue (the goal's side as -1 or 1 before the first step, 0 afterwards), junction (1
    at x = length, else 0), y; `privileged`: the goal's side, and what is left of the corridor in units of 80 steps.
    The student does not see x: whoever sees it can write the cue down in the length of the first step.

    Args:
        num_envs: Number of rows.
        horizon: Steps after which an episode is truncated.
    """

    task_units: ClassVar[dict[str, str]] = {"length": "steps", "goal": "1"}
    state_names = ("_x", "_y")
    return_range = (0.0, 1.0)
    observation_groups: ClassVar[dict[str, tuple[str, ...]]] = {"policy": ("policy",), "privileged": ("privileged",)}
    observation_names: ClassVar[dict[str, tuple[str, ...]]] = {
        "policy": ("cue", "junction", "y"),
        "privileged": ("goal", "remaining"),
    }
    observation_units: ClassVar[dict[str, tuple[str, ...]]] = {
        "policy": ("1", "1", "1"),
        "privileged": ("1", "80 steps"),
    }
    action_names = ("forward", "sideways")
    action_units = ("1", "1")
    control_rate = 1.0

    def __init__(self, num_envs: int = 1, *, horizon: int = 120) -> None:
        self.task_space = spaces.Dict(
            {
                "length": spaces.Box(SHORTEST, LONGEST, (), np.float64),
                "goal": spaces.Box(-1.0, 1.0, (), np.float64),
            }
        )
        reach = np.array([1.0, 1.0, 2.0], dtype=np.float32)
        self.single_observation_space = spaces.Dict(
            {
                "policy": spaces.Box(-reach, reach, dtype=np.float32),
                "privileged": spaces.Box(-1.0, 1.0, (2,), np.float32),
            }
        )
        self.single_action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        super().__init__(num_envs, horizon)
        self._column = {name: place for place, name in enumerate(self._names)}
        self._x: Floats = np.zeros(num_envs)
        self._y: Floats = np.zeros(num_envs)

    @fixed_sets
    def test_sets(self) -> dict[str, list[Any]]:  # type: ignore[override]
        """`all`: 15 lengths from 10 to 80, both goals; `long`: the longest corridor, both goals."""
        lengths = np.linspace(SHORTEST, LONGEST, 15)
        return {
            "all": [self._task(length, goal) for length in lengths for goal in (-0.5, 0.5)],
            "long": [self._task(LONGEST, goal) for goal in (-0.5, 0.5)],
        }

    def _task(self, length: float, goal: float) -> dict[str, Any]:
        return {"length": np.array(length), "goal": np.array(goal)}

    def oracle_window(self, progress: float, rng: np.random.Generator) -> Any:
        """Draw any goal, and a length from a window of 20 % sliding from short to long; at 1 any task."""
        progress = clipped_progress(progress)
        share = rng.random() if progress >= 1 else 0.8 * progress + 0.2 * rng.random()
        return self._task(SHORTEST + (LONGEST - SHORTEST) * share, rng.uniform(-1, 1))

    def _begin(self, rows: NDArray[np.int64]) -> None:
        self._x[rows] = 0.0
        self._y[rows] = 0.0

    def _parameters(self) -> tuple[Floats, Floats]:
        side = np.where(self._tasks[:, self._column["goal"]] > 0, 1.0, -1.0)
        return self._tasks[:, self._column["length"]], side

    def _advance(self, actions: NDArray[Any]) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        length, side = self._parameters()
        moves = np.clip(actions.astype(np.float64), -1.0, 1.0)
        walking = self._x < length
        self._x = np.where(walking, np.minimum(self._x + (1 + moves[:, 0]) / 2, length), self._x)
        self._y = np.where(walking, self._y, self._y + moves[:, 1])
        right, ended = self._y * side >= 1, np.abs(self._y) >= 1
        return right.astype(np.float64), ended, right

    def _observe(self) -> dict[str, NDArray[np.float32]]:
        length, side = self._parameters()
        cue = np.where(self._clock == 0, side, 0.0)
        return {
            "policy": np.stack([cue, self._x >= length, self._y], axis=1, dtype=np.float32),
            "privileged": np.stack([side, (length - self._x) / LONGEST], axis=1, dtype=np.float32),
        }

    def picture(self, row: int, pixels: int = 3) -> NDArray[np.uint8]:
        """Return a picture of the corridor, `pixels` to a step of its length and 8 times as many to one of an arm.

        The right arm ends green, the wrong one red; blue is the agent. The cue is a yellow arrow at the start, towards
        the side of the right arm, as long as it is shown.
        """
        arm, half, middle = 8 * pixels, 2 * pixels, 12 * pixels
        image = np.full((2 * middle, int(LONGEST + 16) * pixels, 3), DARK, dtype=np.uint8)
        lengths, sides = self._parameters()
        start, end, up = 8 * pixels, round((8 + lengths[row]) * pixels), sides[row] > 0
        image[middle - half : middle + half, start - half : end + half] = 255
        image[middle - arm - half : middle + arm + half, end - half : end + half] = 255
        image[middle - arm - half : middle - arm + half, end - half : end + half] = GREEN if up else RED
        image[middle + arm - half : middle + arm + half, end - half : end + half] = RED if up else GREEN
        if self._clock[row] == 0:
            near, far, barb = (middle - sides[row] * k * pixels for k in (4, 9.5, 7))
            for left, right in (((start, near), (start, far)), *(((start, far), (start + b, barb)) for b in (-7, 7))):
                stroke(image, left, right, pixels, (250, 215, 70))
        # A task that changes on the way may leave less corridor than was walked.
        x, y = min(self._x[row], lengths[row]), np.clip(self._y[row], -1, 1)
        dot(image, ((8 + x) * pixels, middle - y * arm), 4, BLUE)
        return image


class MemoryTMaze(SingleEnv):
    """Remember at the end of a corridor what was shown at its beginning; see `MemoryTMazeBatch`."""

    def __init__(self, *, render_mode: str | None = None, **kwargs: Any) -> None:
        super().__init__(MemoryTMazeBatch(1, **kwargs), render_mode)
