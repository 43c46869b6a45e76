"""TigerRoom: two doors, one of them right, and a place from which it can be seen which."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach_envs.arguments import check_finite, fixed_sets
from rlteach_envs.batch import BatchEnv, Floats, SingleEnv

STEP_LENGTH = 0.12
START_NOISE = 0.05
DOOR = 0.95
TIME_COST = 0.005


class TigerRoomBatch(BatchEnv):
    """A room where the expert knows the right door and a student has to go and look first.

    An expert that knows never looks, so imitating it teaches a student to guess, or to stand still between two
    doors: the imitation gap of Weihs et al. (2021, "Bridging the imitation gap by adaptive insubordination"), with
    the tiger problem of Kaelbling et al. (1998) moved into a plane. What was seen stays in the observation, so that
    memory is not the question.

    Task: `side` in [-1, 1]; the right door is the one at x > 0 exactly when side > 0.
    State: position (x, y), and whether the side has been seen. Start: U(-0.05, 0.05)^2. Action a in [-1, 1]^2:
    (x, y) += 0.12 a, with y kept in [-1, 1].
    The episode ends at |x| > 0.95: +1 at the right door, `wrong` at the other one. Every step costs 0.005. Success:
    the right door. Truncation after `horizon` steps. From y > `peep` the side is seen, and remains so.
    Observation (float32): `policy`: x, y, revealed (the side as -1 or 1, 0 before it is seen); `privileged`: the side
    as -1 or 1.
    Going straight to the right door earns 0.958 on average, looking first 0.938, standing still -0.3.

    Args:
        num_envs: Number of rows.
        peep: Height in the room from which the side is seen.
        wrong: Reward at the wrong door.
        horizon: Steps after which an episode is truncated.
    """

    task_units: ClassVar[dict[str, str]] = {"side": "1"}
    state_names = ("_positions", "_seen")
    observation_groups: ClassVar[dict[str, tuple[str, ...]]] = {"policy": ("policy",), "privileged": ("privileged",)}
    observation_names: ClassVar[dict[str, tuple[str, ...]]] = {
        "policy": ("x", "y", "revealed"),
        "privileged": ("side",),
    }
    observation_units: ClassVar[dict[str, tuple[str, ...]]] = {"policy": ("1", "1", "1"), "privileged": ("1",)}
    action_names = ("move_x", "move_y")
    action_units = ("1", "1")
    control_rate = 1.0

    def __init__(self, num_envs: int = 1, *, peep: float = 0.4, wrong: float = -2.0, horizon: int = 60) -> None:
        check_finite(peep=peep, wrong=wrong)
        if not START_NOISE <= peep < 1:
            raise ValueError(f"peep = {peep} must be in [{START_NOISE}, 1): above the start and inside the room")
        if not wrong < 1:
            raise ValueError(f"wrong = {wrong} must be finite and less than what the right door earns, 1")
        self.peep, self.wrong = peep, wrong
        self.task_space = spaces.Dict({"side": spaces.Box(-1.0, 1.0, (), np.float64)})
        reach = np.array([DOOR + STEP_LENGTH, 1.0, 1.0], dtype=np.float32)
        self.single_observation_space = spaces.Dict(
            {
                "policy": spaces.Box(-reach, reach, dtype=np.float32),
                "privileged": spaces.Box(-1.0, 1.0, (1,), np.float32),
            }
        )
        self.single_action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        super().__init__(num_envs, horizon)
        self.return_range = (min(wrong, 0.0) - TIME_COST * horizon, 1.0)
        self._positions: Floats = np.zeros((num_envs, 2))
        self._seen = np.zeros(num_envs, dtype=bool)

    @fixed_sets
    def test_sets(self) -> dict[str, list[Any]]:  # type: ignore[override]
        """`sides`: 128 times left and 128 times right, in turn."""
        return {"sides": [{"side": np.array(side)} for side in (-0.5, 0.5) * 128]}

    def _begin(self, rows: NDArray[np.int64]) -> None:
        starts = [self._generators[row].uniform(-START_NOISE, START_NOISE, 2) for row in rows]
        self._positions[rows] = np.array(starts).reshape(-1, 2)
        self._seen[rows] = False

    def _side(self) -> Floats:
        return np.where(self._tasks[:, 0] > 0, 1.0, -1.0)

    def _advance(self, actions: NDArray[Any]) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        self._positions = self._positions + STEP_LENGTH * np.clip(actions.astype(np.float64), -1.0, 1.0)
        self._positions[:, 1] = np.clip(self._positions[:, 1], -1.0, 1.0)
        self._seen = self._seen | (self._positions[:, 1] > self.peep)
        along = self._positions[:, 0] * self._side()
        right, wrong = along > DOOR, along < -DOOR
        return 1.0 * right + self.wrong * wrong - TIME_COST, right | wrong, right

    def _observe(self) -> dict[str, NDArray[np.float32]]:
        side = self._side()[:, None]
        revealed = np.where(self._seen[:, None], side, 0.0)
        return {
            "policy": np.concatenate([self._positions, revealed], axis=1, dtype=np.float32),
            "privileged": side.astype(np.float32),
        }

    def picture(self, row: int, pixels: int = 100) -> NDArray[np.uint8]:
        """Return a picture of the room: right door green, wrong door red, where it is seen yellow, the agent blue."""
        image = np.full((2 * pixels, 2 * pixels, 3), 255, dtype=np.uint8)
        image[: int((1 - self.peep) * pixels)] = (250, 235, 150)
        edge = int((1 - DOOR) * pixels)
        right, wrong = (40, 160, 60), (200, 60, 50)
        image[:, :edge], image[:, -edge:] = (wrong, right) if self._tasks[row, 0] > 0 else (right, wrong)
        x, y = np.clip(self._positions[row], -1, 1)
        left, top = int((1 + x) * pixels), int((1 - y) * pixels)
        image[max(top - 4, 0) : top + 4, max(left - 4, 0) : left + 4] = (40, 80, 220)
        return image


class TigerRoom(SingleEnv):
    """Two doors and a place to look first; see `TigerRoomBatch`."""

    def __init__(self, *, render_mode: str | None = None, **kwargs: Any) -> None:
        super().__init__(TigerRoomBatch(1, **kwargs), render_mode)
