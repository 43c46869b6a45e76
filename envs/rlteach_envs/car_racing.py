"""CarRacing: a car seen from above on a closed track through twelve points, with those points as the task.

    env = gymnasium.make("rlteach_envs:rlteach/CarRacing-v0")                    # pictures
    env = gymnasium.make("rlteach_envs:rlteach/CarRacingFeatures-v0")            # 40 numbers
    env.reset(options={"task": env.get_wrapper_attr("task_space").sample()})

The tracks are of the kind of Jiang et al. (2021, "Replay-guided adversarial environment design"), the car, its reward
and its picture those of Gymnasium's CarRacing. Install numba for it, pip install rlteach[numba]: without it every
number is the same, but a picture takes some 20 ms instead of 0.05, and 40 features 0.3 ms instead of 0.01. numba
compiles at the first step of a process, for a few seconds, and keeps nothing on disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach_envs.action_reader import ActionReader
from rlteach_envs.arguments import KeepsArguments, check_at_least_one, check_render_mode, clipped_progress, fixed_sets
from rlteach_envs.car_track import FIELD, POINTS, SPREAD, TEST_SEEDS, Track, evened, make_track, zigzag
from rlteach_envs.snapshot_reader import (
    NO_MATTER,
    ForeignSnapshot,
    check_marks,
    marks_of,
    read_array,
    read_generator,
    read_number,
)
from rlteach_envs.task_reader import TaskReader

Floats = NDArray[np.float64]
Observation = NDArray[Any] | dict[str, NDArray[Any]]

LAP_SHARE = 0.95
"""Share of the tiles that a lap needs."""

FRAME_REWARD = -0.1
TRACK_REWARD = 1000.0
"""What all tiles together are worth."""

OUT_REWARD = -100.0

STEPS_PER_TILE = 5
"""What an episode may last where no horizon is given."""

OBSERVATIONS = ("pixels", "features", "both")
PICTURE, RENDERED = (96, 96), (400, 600)

SEEN_NAMES = (
    "speed",
    "front_wheel_angle",
    "spin",
    *(f"wheel_speed_{place}" for place in ("front_left", "front_right", "rear_left", "rear_right")),
    "offset",
    "heading_sin",
    "heading_cos",
    *(f"{side}_at_{metres}m" for metres in range(5, 40, 5) for side in ("right", "ahead")),
)
SEEN_UNITS = ("50 m/s", "0.4 rad", "5 rad/s", *["100 rad/s"] * 4, "6.67 m", "1", "1", *["35 m"] * 14)
HIDDEN_NAMES = (
    "velocity_ahead",
    "velocity_right",
    *(f"grip_{place}" for place in ("front_left", "front_right", "rear_left", "rear_right")),
    *(f"bend_at_{metres}m" for metres in range(55, 136, 20)),
    "x",
    "y",
    "angle_cos",
    "angle_sin",
    "tiles_touched",
)
HIDDEN_UNITS = ("50 m/s", "50 m/s", *["1"] * 4, *["1/10m"] * 5, "333 m", "333 m", "1", "1", "1")
_COLUMNS = tuple(range(len(SEEN_NAMES) + len(HIDDEN_NAMES)))


class CarRacing(KeepsArguments, gym.Env[Any, NDArray[np.float32]]):
    """Drive one lap on a track that the task draws.

    Task: 24 numbers `x0`, `y0`, ... `x11`, `y11` in [-167, 167] m, the points through which the track runs in the order
    in which they stand around their mean; so permuting the points changes nothing. Every task gives a road that can be
    driven: where it would bend more tightly than a radius of 7 m, or come nearer than 14 m to itself, all points are
    moved to a ring by the smallest sufficient share of the way; `env.unwrapped.track.evened` tells which (of uniform
    tasks one in five needs none; the median is a fifth). The road is 13.3 m wide. Test set `tracks`: 20 held-out tracks
    with frozen seeds, longer and more winding than uniform ones; `uniform`: 20 uniform ones.

    Car: on the first node of the track, at rest. Steps of 1/50 s. Forces and masses are those of Gymnasium's car, its
    pivots are solved exactly instead of by Box2D's iterations: both stay within 5 cm for 200 random steps. A wheel is
    on the road, and touches a tile, where its middle is (in Gymnasium: any part of it, one step later). Nothing is
    random but the task: all else follows from the actions.
    Action (float32): steering, -1 left to 1 right; gas, 0 to 1; brake, 0 to 1, from 0.9 on the wheels lock.
    Reward: 1000/n for each of the n tiles that is touched for the first time, -0.1 per step. Getting further than 333 m
    from the middle of the field in x or y costs 100 instead, and terminates. A lap terminates too: all tiles touched,
    or 95 % of them and the car back on the first. Success: a lap. Truncation after `horizon` steps.

    Observation `pixels`: (96, 96, 3) uint8, the road from above, turning with the car, and below it gauges of speed,
    wheel speeds, steering and turning. `features`: 40 float32, named in `observation_names`; the group `policy` is what
    the picture shows (gauges; place on the road; its middle line up to 35 m ahead), `privileged` is what it does not
    (sideways velocity, grip of each wheel, bends up to 135 m ahead, place on the field, tiles touched). `both`: a dict
    of the pixels as `policy` and all features as `privileged`.

    A snapshot is exact in any environment of this class, and holds the track, so restoring builds nothing.

    Args:
        observation: `"pixels"`, `"features"` or `"both"`.
        horizon: Steps after which an episode is truncated; None is 5 for each tile, 1450 in the median.
        render_mode: None or `"rgb_array"`.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 50}  # type: ignore[misc]
    env_version = "0"
    task_names = tuple(f"{axis}{i}" for i in range(POINTS) for axis in "xy")
    task_units: ClassVar[dict[str, str]] = dict.fromkeys(task_names, "m")
    action_names = ("steering", "gas", "brake")
    action_units = ("1", "1", "1")
    control_rate = 50.0

    def __init__(
        self, observation: str = "pixels", *, horizon: int | None = None, render_mode: str | None = None
    ) -> None:
        if observation not in OBSERVATIONS:
            raise ValueError(f"observation = {observation!r} must be one of {', '.join(OBSERVATIONS)}")
        if horizon is not None:
            check_at_least_one(horizon=horizon)
        check_render_mode(render_mode, self.metadata["render_modes"])
        # Only now, because they import numba.
        from rlteach_envs import car_physics, car_picture

        self._physics, self._picture = car_physics, car_picture
        self.observation, self.horizon, self.render_mode = observation, horizon, render_mode
        self.return_range = (OUT_REWARD + FRAME_REWARD * (horizon or 4000), TRACK_REWARD)
        self.task_space = spaces.Box(-SPREAD, SPREAD, (2 * POINTS,), np.float64)
        self.action_space = spaces.Box(np.array([-1, 0, 0], np.float32), np.ones(3, np.float32))
        self.observation_groups: dict[str, tuple[int, ...] | tuple[str, ...]]
        self._describe()
        self._action_reader = ActionReader(self.action_space)
        self._parts = {
            "task": ((2 * POINTS,), np.float64),
            "points": ((POINTS, 2), np.float64),
            "nodes": ((None, 5), np.float64),
            "kerbs": ((None,), np.int8),
            "state": ((car_physics.STATE_SIZE,), np.float64),
            "visited": ((None,), np.bool_),
        }
        self._marks = marks_of(self, NO_MATTER | {"observation", "horizon"})
        self.track: Track | None = None

    def _describe(self) -> None:
        pixels = spaces.Box(0, 255, (*PICTURE, 3), np.uint8)
        features = spaces.Box(-np.inf, np.inf, (len(_COLUMNS),), np.float32)
        if self.observation == "pixels":
            self.observation_space = pixels
        elif self.observation == "features":
            seen = len(SEEN_NAMES)
            self.observation_space = features
            self.observation_groups = {"policy": _COLUMNS[:seen], "privileged": _COLUMNS[seen:]}
            self.observation_names = {"policy": SEEN_NAMES, "privileged": HIDDEN_NAMES}
            self.observation_units = {"policy": SEEN_UNITS, "privileged": HIDDEN_UNITS}
        else:
            self.observation_space = spaces.Dict({"policy": pixels, "privileged": features})
            self.observation_groups = {"policy": ("policy",), "privileged": ("privileged",)}
            self.observation_names = {"privileged": SEEN_NAMES + HIDDEN_NAMES}
            self.observation_units = {"privileged": SEEN_UNITS + HIDDEN_UNITS}

    # -- tasks -----------------------------------------------------------------------------------------------------

    @fixed_sets
    def test_sets(self) -> dict[str, list[Any]]:
        """`tracks`: 20 held-out long and winding tracks; `uniform`: 20 tasks drawn uniformly (seed 0)."""
        rng = np.random.default_rng(0)
        return {
            "tracks": [zigzag(seed).ravel() for seed in TEST_SEEDS],
            "uniform": [self._draw_task(rng) for _ in range(20)],
        }

    def oracle_window(self, progress: float, rng: np.random.Generator) -> Floats:
        """Draw uniformly, and move the points to their ring by the share 1 - progress."""
        progress = clipped_progress(progress)
        task = self._draw_task(rng)
        if progress >= 1.0:
            return task
        moved: Floats = evened(task.reshape(POINTS, 2), np.array([1.0 - progress])).ravel()
        return np.clip(moved, -SPREAD, SPREAD)

    @staticmethod
    def _draw_task(rng: np.random.Generator) -> Floats:
        return rng.uniform(-SPREAD, SPREAD, 2 * POINTS)

    # -- episodes --------------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode with `options["task"]`, or with a task drawn uniformly."""
        given = (options or {}).get("task")
        reader = TaskReader(self.task_space, self.task_names)
        task = None if given is None else reader.read(given)[0]  # a bad one is refused before anything changes
        super().reset(seed=seed)
        self._task = self._draw_task(self.np_random) if task is None else task
        self.track = make_track(self._task.reshape(POINTS, 2))
        self._state = self._physics.at_start(self.track.nodes)
        self._visited = np.zeros(len(self.track.nodes), dtype=np.bool_)
        self._touched, self._clock = 0, 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Advance by 1/50 s."""
        track = self.track
        if track is None:
            raise RuntimeError("call reset() before step()")
        steer, gas, brake = self._action_reader.read(action)[0].tolist()
        fresh, on_start = self._physics.drive(
            self._state,
            -min(max(steer, -1.0), 1.0),
            min(max(gas, 0.0), 1.0),
            min(max(brake, 0.0), 1.0),
            track.nodes,
            self._visited,
        )
        count = len(self._visited)
        self._touched += fresh
        self._clock += 1
        reward = FRAME_REWARD + TRACK_REWARD / count * fresh
        lap = self._touched == count or (on_start and self._touched >= LAP_SHARE * count)
        x, y = self._state[:2].tolist()
        out = bool(abs(x) > FIELD or abs(y) > FIELD)
        if out:
            reward = OUT_REWARD
        terminated = lap or out
        truncated = not terminated and self._clock >= (self.horizon or STEPS_PER_TILE * count)
        info = {"is_success": bool(lap and not out), "tiles": self._touched / count} if terminated or truncated else {}
        return self._observe(), reward, terminated, truncated, info

    def _observe(self) -> Observation:
        track = self.track
        assert track is not None
        if self.observation == "pixels":
            return self._picture.draw(self._state, track, *PICTURE)
        count = len(self._visited)
        features = np.empty(len(_COLUMNS), dtype=np.float32)
        self._physics.sense(self._state, track.nodes, track.length / count, self._touched / count, features)
        if self.observation == "features":
            return features
        return {"policy": self._picture.draw(self._state, track, *PICTURE), "privileged": features}

    # -- snapshots -------------------------------------------------------------------------------------------------

    def set_elapsed(self, steps: int) -> None:
        """Let `steps` steps of the horizon be used up."""
        self._clock = steps

    def get_snapshot(self) -> dict[str, Any]:
        """Return the whole state, and the track, as arrays, numbers and strings."""
        if self.track is None:
            raise RuntimeError("call reset() before get_snapshot()")
        return {
            **self._marks,
            "generator": json.dumps(self.np_random.bit_generator.state),
            "task": self._task.copy(),
            "points": self.track.points.copy(),
            "evened": self.track.evened,
            "length": self.track.length,
            "nodes": self.track.nodes.copy(),
            "kerbs": self.track.kerbs.copy(),
            "state": self._state.copy(),
            "visited": self._visited.copy(),
            "clock": self._clock,
        }

    def set_snapshot(self, snapshot: Mapping[str, Any]) -> tuple[Observation, dict[str, Any]]:
        """Continue bit-exactly from a snapshot of this or another environment.

        Raises:
            ForeignSnapshot: When it is none of such an environment, or is damaged; then nothing has changed.
        """
        check_marks(snapshot, self._marks)
        arrays = {name: read_array(snapshot, name, *part).copy() for name, part in self._parts.items()}
        evened, length, clock = (read_number(snapshot, name) for name in ("evened", "length", "clock"))
        nodes, kerbs, visited = (arrays[name] for name in ("nodes", "kerbs", "visited"))
        if not 0 < len(nodes) == len(kerbs) == len(visited):
            raise ForeignSnapshot("this snapshot is damaged: nodes, kerbs and visited differ in length")
        generator = read_generator(snapshot, self.np_random)
        self.np_random.bit_generator.state = generator
        self._task, self._state, self._visited = arrays["task"], arrays["state"], visited
        self.track = Track(arrays["points"], evened, length, nodes, kerbs)
        self._touched, self._clock = int(visited.sum()), int(clock)
        return self._observe(), {}

    # -- pictures --------------------------------------------------------------------------------------------------

    def render(self) -> NDArray[np.uint8] | None:
        """Return a picture (400, 600, 3) of what the observation shows."""
        if self.render_mode != "rgb_array" or self.track is None:
            return None
        picture: NDArray[np.uint8] = self._picture.draw(self._state, self.track, *RENDERED)
        return picture
