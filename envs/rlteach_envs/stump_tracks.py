"""StumpTracks: a walker on ground with stumps, with as many task parameters as one asks for.

    env = gymnasium.make("rlteach_envs:rlteach/StumpTracks-v0")
    env.reset(options={"task": {"stump_height": 1.2, "obstacle_spacing": 3.0}})

The tracks are those of Portelas et al. (2019, "Teacher algorithms for curriculum learning of Deep RL in continuously
parameterized environments") and Romac et al. (2021, "TeachMyAgent: a benchmark for automatic curriculum learning in
Deep RL"); walker, observation and reward those of Gymnasium's BipedalWalker. Needs Box2D: pip install rlteach[box2d].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlteach_envs.arguments import check_at_least_one, check_finite, fixed_sets
from rlteach_envs.lidar import Lidar
from rlteach_envs.stump_terrain import GOAL, GROUND_HEIGHT, START_PAD, Terrain, TrackNumbers, make_terrain
from rlteach_envs.walker_bodies import BODIES
from rlteach_envs.walker_env import AHEAD, WalkerEnv, load_walker_world
from rlteach_envs.walker_tasks import Range, TaskParameter, Tasks, check_name

PARAMETERS = {
    "stump_height": TaskParameter("steps", 0.0, 3.0, -10.0, 10.0),
    "obstacle_spacing": TaskParameter("m", 0.0, 6.0, 0.0, 80.0, trend=-1),
    "stump_width": TaskParameter("steps", 0.5, 4.0, 0.0, 100.0),
    "stump_rotation": TaskParameter("rad", 0.0, 3.1, 0.0, 6.3, trend=0),
    "roughness": TaskParameter("m/30", 0.0, 10.0, 0.0, 30.0),
    "poly_shape": TaskParameter("steps", 0.0, 4.0, -10.0, 10.0, size=12),
    "stump_sequence": TaskParameter("steps, m", 0.0, 6.0, 0.0, 20.0, size=10),
}
"""Every parameter that a track can have."""

PUBLISHED_RETURNS = (-150.0, 350.0)
"""Bounds to which TeachMyAgent scales returns (Romac et al. 2021)."""


class StumpTracks(WalkerEnv):
    """Walk over obstacles to the end of a track of 93 m.

    Task: by default `stump_height`, the mean height of the stumps, in [0, 3] steps of 14/30 m, and
    `obstacle_spacing`, the flat ground after each stump, in [0, 6] m. Heights scatter by 0.1 steps around the mean and
    are at least 0.05. Further parameters: `stump_width` (steps), `stump_rotation` (rad), `roughness` of the ground
    (1/30 m), `poly_shape` (twelve offsets of the corners of hexagons, in steps) and `stump_sequence` (height in steps
    and width in m of five stumps without gaps). The first alternates with the latter two where several are enabled.

    Physics: Box2D, steps of 1/50 s, warm starting. The hull is pushed by U(-5, 5) N during the first step.
    Action a in [-1, 1] per motor: full speed in the direction of sign(a), with |a| as the share of the torque.
    Observation (float32, 24 numbers for two legs, 34 for the quadruped, 42 for the spider, 54 for the millipede; order
    as in BipedalWalker): hull angle (rad), angular velocity (2/50), horizontal and vertical velocity (0.12 and 0.08 per
    m/s); per leg hip angle, hip speed, knee angle + 1, knee speed (in units of 4 and 6 rad/s), ground contact; ten
    lidar distances, 1 = 160/30 m. A spider's leg has a third joint between the two, and nothing is added to its angles.
    With `privileged` 20 numbers follow, of which `observation_groups` says that only an expert sees them: the height
    of the surface, obstacles included, at places up to 17.7 m ahead, above the hull, in 10 m.
    Reward: 130/30 per m forwards, -5 per rad that the hull leans further, -0.028 per motor at full torque (half of it
    for quadruped and spider, a quarter for the millipede, whose hull is its foremost part); -100 instead when the hull
    touches anything or gets behind the beginning of the track, which terminates. Reaching 88.7 m terminates too.
    Truncation after `horizon` steps. Success: a return above 230.
    `return_range` is the published one, to which teachers scale: many motors at full torque get below it.

    `reset` takes no step of its own, so the first observation is of the pose in which the walker is put down.

    A snapshot holds no solver impulses, which Box2D does not give away. So that whoever continues from it continues
    exactly, `get_snapshot` also lets the environment's own world forget them: saving changes the episode that goes on
    a little, and restored copies follow the changed one bit by bit.

    Args:
        body: `"classic_bipedal"`, `"old_classic_bipedal"`, `"short"`, `"quadruped"`, `"spider"` or `"millipede"`; see
            `walker_bodies`.
        parameters: The task space, as `{name: (low, high)}`, or as names alone for their usual ranges. Vector
            parameters share one range.
        fixed: Values of further parameters, the same in every task.
        privileged: Whether to observe what is ahead.
        height_std: Standard deviation of stump heights, in steps.
        width_std: Standard deviation of stump widths, in steps.
        rotation_std: Standard deviation of stump angles, in rad.
        shape_std: Standard deviation of the corners of hexagons, in steps.
        sequence_std: Standard deviation of heights (steps) and widths (m) in a sequence.
        velocity_iterations: Solver iterations per step for velocities.
        position_iterations: Solver iterations per step for positions.
        horizon: Steps after which an episode is truncated.
        lidar: `"numba"`, `"numpy"`, or `"auto"`: numba where it is installed. They give equal numbers.
        render_mode: None or `"rgb_array"`.
    """

    def __init__(
        self,
        body: str = "classic_bipedal",
        *,
        parameters: Mapping[str, Range] | Sequence[str] = ("stump_height", "obstacle_spacing"),
        fixed: Mapping[str, Any] | None = None,
        privileged: bool = False,
        height_std: float = 0.1,
        width_std: float = 0.1,
        rotation_std: float = 0.1,
        shape_std: float = 0.1,
        sequence_std: float = 0.1,
        velocity_iterations: int = 180,
        position_iterations: int = 60,
        horizon: int = 2000,
        lidar: str = "auto",
        render_mode: str | None = None,
    ) -> None:
        check_name("body", body, BODIES)
        check_at_least_one(velocity_iterations=velocity_iterations, position_iterations=position_iterations)
        self._stds: dict[str, Any] = {
            "height_std": height_std,
            "width_std": width_std,
            "rotation_std": rotation_std,
            "shape_std": shape_std,
            "sequence_std": sequence_std,
        }
        check_finite(**self._stds)
        _check_stds(self._stds)
        tasks = Tasks(PARAMETERS, parameters, fixed)
        _check_combination({*tasks.names, *tasks.fixed})
        walker, boxed = BODIES[body], load_walker_world("StumpTracks")
        super().__init__(
            tasks=tasks,
            name=body,
            body=walker,
            world=boxed.WalkerWorld(walker, velocity_iterations, position_iterations),
            start=boxed.start_pose(walker, START_PAD / 2, GROUND_HEIGHT + walker.height),
            goal=GOAL,
            lidar=Lidar(lidar),
            horizon=horizon,
            render_mode=render_mode,
            privileged=AHEAD if privileged else 0,
        )
        self.return_range = PUBLISHED_RETURNS

    @fixed_sets
    def test_sets(self) -> dict[str, list[Any]]:
        """`grid`: 10 x 10, bounds included, for the default two parameters; else `uniform`: 100 seeded tasks."""
        tasks = self._tasks
        if set(tasks.names) == {"stump_height", "obstacle_spacing"}:
            heights, spacings = (np.linspace(*tasks.range(name), 10) for name in ("stump_height", "obstacle_spacing"))
            return {"grid": [tasks.task(stump_height=h, obstacle_spacing=s) for h in heights for s in spacings]}
        rng = np.random.default_rng(31)
        return {"uniform": [tasks.draw(rng) for _ in range(100)]}

    def _make_terrain(self, numbers: dict[str, Any], rng: np.random.Generator) -> Terrain:
        return make_terrain(TrackNumbers(**self._stds, **numbers), rng)

    def _picture(self, terrain: Terrain) -> NDArray[np.uint8]:
        from rlteach_envs.stump_picture import draw

        return draw(terrain, self._body, self._world.states())


def _check_stds(stds: Mapping[str, float]) -> None:
    for name, value in stds.items():
        if value < 0.0:
            raise ValueError(f"{name} = {value} must be a finite number of at least 0")


def _check_combination(names: set[str]) -> None:
    if "stump_height" not in names and (orphans := names & {"stump_width", "stump_rotation"}):
        raise ValueError(f"{min(orphans)} needs stumps: add stump_height to the parameters or to the fixed values")
