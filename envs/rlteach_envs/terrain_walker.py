"""TerrainWalker: Gymnasium's Walker2d on rough ground, slopes and steps.

    env = gymnasium.make("rlteach_envs:rlteach/TerrainWalker-v0")
    env.reset(options={"task": {"roughness": 0.1, "wavelength": 2.0, "slope": 0.1, "step_height": 0.05}})

The ground is a height field that is overwritten in place. Needs MuJoCo: pip install rlteach[mujoco].
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces, utils
from numpy.typing import NDArray

from rlteach_envs.action_reader import ActionReader
from rlteach_envs.arguments import KeepsArguments, clipped_progress, fixed_sets
from rlteach_envs.mujoco_dynamics import draw_around, load_mujoco
from rlteach_envs.mujoco_opengl import check_opengl
from rlteach_envs.walker_tasks import Range, TaskParameter, Tasks

mujoco: Any = load_mujoco("TerrainWalker")

from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv  # noqa: E402 - only after the check for MuJoCo

Floats = NDArray[np.float64]

PARAMETERS = {
    "roughness": TaskParameter("m", 0.0, 0.3, 0.0, 2.0),
    "wavelength": TaskParameter("m", 0.8, 4.0, 0.2, 20.0, trend=-1),
    "slope": TaskParameter("1", -0.2, 0.2, -0.25, 0.25, trend=0),
    "step_height": TaskParameter("m", 0.0, 0.2, 0.0, 0.2),
}
"""Every parameter of the ground."""

EASIEST = {"roughness": 0.0, "wavelength": np.inf, "slope": 0.0, "step_height": 0.0}
"""Flat ground, or what is nearest to it in the ranges."""

SPACING = 0.1
"""Distance of the points of the height field, in m; the riser of a step is as wide."""

BEHIND, AHEAD = -5.0, 60.0
"""Ends of the track, in m."""

PAD = 1.5
"""Where flat ground ends, in m; the walker starts at 0."""

RAMP = 1.0
"""Length over which the roughness grows to its full size, in m."""

TREADS = (0.6, 1.2)
"""Shortest and longest tread between two steps, in m."""

HALF_WIDTH = 2.0
"""Of the track, in m; the walker stays in its middle."""

HIGHEST = 40.0
"""Largest height above and below the start that the height field can hold, in m."""

SEEN = np.arange(-2, 14) * 0.2
"""Where the expert sees the ground, in m ahead of the torso."""

PLACES: Floats = np.linspace(BEHIND, AHEAD, round((AHEAD - BEHIND) / SPACING) + 1)
"""Where the points of the height field are, in m."""


# -- the ground --------------------------------------------------------------------------------------------------------


def value_noise(places: Floats, wavelength: float, rng: np.random.Generator) -> Floats:
    """Return smooth noise in [-1, 1]: random values every half wavelength, joined by half a cosine.

    Args:
        places: Where, rising, in m.
        wavelength: In m.
        rng: Draws the values.
    """
    along = (places - places[0]) / (wavelength / 2)
    knots: Floats = rng.uniform(-1.0, 1.0, int(along[-1]) + 2)
    before = along.astype(np.int64)
    share: Floats = (1 - np.cos(np.pi * (along - before))) / 2
    return np.asarray(knots[before] * (1 - share) + knots[before + 1] * share)


def steps(places: Floats, rng: np.random.Generator) -> Floats:
    """Return a staircase of unit risers, each up or down with equal probability, on treads of random length."""
    lengths = rng.uniform(*TREADS, int((places[-1] - PAD) / TREADS[0]) + 1)
    edges = PAD + np.cumsum(lengths) - lengths[0]
    levels = np.concatenate([[0.0], np.cumsum(rng.choice([-1.0, 1.0], len(edges)))])
    return np.asarray(levels[np.searchsorted(edges, places, side="right")])


def make_heights(
    roughness: float, wavelength: float, slope: float, step_height: float, rng: np.random.Generator
) -> Floats:
    """Return the height of the ground at each of `PLACES`, in m: 0 up to the end of the pad.

    Args:
        roughness: Largest departure of the noise from the mean, in m.
        wavelength: Of the noise, in m.
        slope: Rise per m.
        step_height: Height of each step up or down, in m.
        rng: Draws everything else, equally often whatever the parameters are.
    """
    beyond = np.maximum(PLACES - PAD, 0.0)
    stairs = steps(PLACES, rng)
    noise = value_noise(PLACES, wavelength, rng)
    grown = roughness * np.minimum(beyond / RAMP, 1.0)
    return np.asarray(slope * beyond + step_height * stairs + grown * noise)


def to_field(heights: Floats) -> NDArray[np.float32]:
    """Return heights as MuJoCo keeps them: shares, in [0, 1], of the height of the field."""
    return ((np.clip(heights, -HIGHEST, HIGHEST) + HIGHEST) / (2 * HIGHEST)).astype(np.float32)


# -- the environment ---------------------------------------------------------------------------------------------------


class TerrainWalker(KeepsArguments, Walker2dEnv):
    """Walk forwards over uneven ground.

    Task: `roughness`, the largest departure of smooth noise from the mean, in [0, 0.3] m; its `wavelength` in
    [0.8, 4] m; `slope`, the rise per m, in [-0.2, 0.2]; and `step_height` in [0, 0.2] m of steps that go up or down
    with equal probability, 0.6 to 1.2 m apart. Without a task the parameters are drawn uniformly. The rest of the
    ground comes from a generator that the environment's own seeds at each reset. It is flat from -5 to 1.5 m, the
    walker starts at 0, and the track ends at 60 m. Heights are kept every 0.1 m, to 5 micrometres.

    Physics: those of Walker2d-v5, whose model is read from Gymnasium; the plane is replaced by a height field of the
    same friction. Steps of 8 ms. Action: as in Walker2d-v5, torques of six joints, 1 being 100 N m.
    Reward: as in Walker2d-v5: speed in m/s, +1 for being healthy, -0.001 |action|^2. Healthy is a torso 0.8 to 2 m
    above the ground below it that leans by at most 1 rad.
    Termination: not healthy, or at either end of the track. Truncation after 1000 steps, by registration.
    Success: `goal` metres were reached in this episode; it does not end there, or walking on would earn less.
    Observation (float32): `policy`: angle of the torso and of six joints (rad), velocities of the torso (m/s, rad/s)
    and joints (rad/s), within +-10 as in Walker2d-v5, neither place nor height; `privileged`: how far the ground lies
    below the torso, less the 1.25 m at which it starts, at 16 places from 0.4 m behind to 2.6 m ahead (m), then the
    parameters, -1 and 1 being the ends of their ranges.

    Snapshots: rlteach's `MujocoState` saves the ground with the state; see there for `nominal_model`, `no_state` and
    `refresh_model`.

    Args:
        parameters: The task space, as `{name: (low, high)}`, or as names alone for their usual ranges.
        fixed: Values of further parameters, the same in every task; those of flat ground by default.
        goal: Distance that counts as success, in m.
        **kwargs: `render_mode`, `width`, `height`, `camera_id`, `camera_name` of Gymnasium's MuJoCo environments.

    Raises:
        ValueError: Names the parameter, its range and what would do.
    """

    env_version = "0"
    return_range = (-1000.0, 9000.0)
    observation_groups: ClassVar[dict[str, tuple[str, ...]]] = {"policy": ("policy",), "privileged": ("privileged",)}
    control_rate = 125.0
    no_state = frozenset(
        {"nominal_model", "task_units", "test_sets", "_action_reader", "_tasks", "_low", "_high", "_easiest"}
    )
    """Attributes that never change and that snapshots leave out."""

    def __init__(
        self,
        *,
        parameters: Mapping[str, Range] | Sequence[str] = tuple(PARAMETERS),
        fixed: Mapping[str, float] | None = None,
        goal: float = 10.0,
        **kwargs: Any,
    ) -> None:
        if not PAD < goal < AHEAD:
            raise ValueError(f"goal = {goal} must lie on the track beyond the flat start, between {PAD} and {AHEAD} m")
        self._tasks = Tasks(PARAMETERS, parameters, fixed)
        self._low, self._high = np.array([self._tasks.range(name) for name in self._tasks.names]).T
        self._easiest = np.clip([EASIEST[name] for name in self._tasks.names], self._low, self._high)
        self._values = self._easiest.copy()
        self._heights = np.zeros(len(PLACES))
        self._goal = goal
        self._reached = False
        self._given: Any = None
        super().__init__(**kwargs)
        utils.EzPickle.__init__(self, parameters=parameters, fixed=fixed, goal=goal, **kwargs)
        self.nominal_model = copy.copy(self.model)
        self._action_reader = ActionReader(self.action_space)
        self.task_space = self._tasks.space
        self.task_units = self._tasks.units
        hidden = len(SEEN) + len(self._low)
        self.observation_space = spaces.Dict(
            {
                "policy": spaces.Box(-np.inf, np.inf, (16,), np.float32),
                "privileged": spaces.Box(-np.inf, np.inf, (hidden,), np.float32),
            }
        )

    def _initialize_simulation(self) -> tuple[Any, Any]:
        spec = mujoco.MjSpec.from_file(self.fullpath)
        plane = spec.geom("floor")
        length = (AHEAD - BEHIND) / 2
        spec.material(plane.material).texrepeat = [2 * length, 2 * HALF_WIDTH]  # squares of half a metre
        # The base below the lowest height has no meaning here, but has to be there.
        spec.add_hfield(
            name="terrain",
            nrow=2,
            ncol=len(PLACES),
            size=[length, HALF_WIDTH, 2 * HIGHEST, 1.0],
            userdata=np.zeros(2 * len(PLACES)),
        )
        spec.worldbody.add_geom(
            name="terrain",
            type=mujoco.mjtGeom.mjGEOM_HFIELD,
            hfieldname="terrain",
            pos=[BEHIND + length, 0.0, -HIGHEST],
            conaffinity=plane.conaffinity,
            contype=plane.contype,
            condim=plane.condim,
            friction=plane.friction,
            material=plane.material,
            rgba=plane.rgba,
        )
        spec.delete(plane)
        model = spec.compile()
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, self.width)
        model.vis.global_.offheight = max(model.vis.global_.offheight, self.height)
        # Only now: the compiler would stretch what it is given to all of [0, 1].
        model.hfield_data.reshape(2, -1)[:] = to_field(self._heights)
        return model, mujoco.MjData(model)

    # -- what it offers ------------------------------------------------------------------------------------------------

    @property
    def observation_names(self) -> dict[str, tuple[str, ...]]:
        """Name of every column, by key."""
        joints = [self.model.joint(j).name for j in range(self.model.njnt)]
        ground = [f"ground[{place:+.1f}]" for place in SEEN]
        return {
            "policy": (*joints[2:], *(f"{joint}_dot" for joint in joints)),
            "privileged": (*ground, *self._tasks.names),
        }

    @property
    def observation_units(self) -> dict[str, tuple[str, ...]]:
        """Unit of every column, by key."""
        return {
            "policy": ("rad",) * 7 + ("m/s",) * 2 + ("rad/s",) * 7,
            "privileged": ("m",) * len(SEEN) + ("1",) * len(self._low),
        }

    @property
    def action_names(self) -> tuple[str, ...]:
        """Joint of each torque."""
        return tuple(self.model.joint(self.model.actuator_trnid[i, 0]).name for i in range(self.model.nu))

    @fixed_sets
    def test_sets(self) -> dict[str, list[Any]]:
        """By rule: `uniform`: 100 seeded tasks; `axes`: five values of each parameter, the others at their easiest."""
        rng = np.random.default_rng(32)
        sets = {"uniform": [self._tasks.draw(rng) for _ in range(100)], "axes": []}
        for column, values in enumerate(np.linspace(self._low, self._high, 5).T):
            for value in values:
                point = self._easiest.copy()
                point[column] = value
                sets["axes"].append(self._task(point))
        return sets

    def oracle_window(self, progress: float, rng: np.random.Generator) -> Any:
        """Draw around the easiest ground: from 20 % of the way to the bounds at 0, from everything at 1."""
        return self._task(draw_around(self._easiest, self._low, self._high, clipped_progress(progress), rng))

    def _task(self, values: Floats) -> dict[str, Any]:
        return self._tasks.task(**dict(zip(self._tasks.names, values, strict=True)))

    # -- episodes ------------------------------------------------------------------------------------------------------

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Lay the ground and start an episode; without a task its parameters are drawn uniformly."""
        task = (options or {}).get("task")
        self._given = None if task is None else self._read(task)
        result: tuple[Any, dict[str, Any]] = super().reset(seed=seed, options=options)
        return result

    def _read(self, task: Any) -> Floats:
        return np.array([float(value) for value in self._tasks.read(task).values()])

    def reset_model(self) -> Any:
        """Lay the ground, put the walker on its start, and return the first observation."""
        drawn = self._read(self._tasks.draw(self.np_random))
        # Drawn even if not used, so that the ground and the start of a seed are the same with and without a task.
        self._values = drawn if self._given is None else self._given
        self._given = None
        self._reached = False
        numbers = EASIEST | {"wavelength": 2.0} | self._tasks.numbers(self._task(self._values))
        self._heights = make_heights(**numbers, rng=np.random.default_rng(int(self.np_random.integers(2**63))))
        self.refresh_model()
        return super().reset_model()  # type: ignore[no-untyped-call]

    def refresh_model(self) -> None:
        """Make the height field what the heights say."""
        self.model.hfield_data.reshape(2, -1)[:] = to_field(self._heights)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step once."""
        observation, reward, terminated, truncated, info = super().step(self._action_reader.read(action)[0])  # type: ignore[no-untyped-call]
        place = self.data.qpos[0]
        self._reached |= bool(place >= self._goal)
        info["is_success"] = self._reached
        return observation, reward, bool(terminated or not BEHIND < place < AHEAD), truncated, info

    def render(self) -> Any:
        """Return a picture as Walker2d-v5 draws it.

        Raises:
            gymnasium.error.DependencyNotInstalled: When there is no OpenGL for it, with what to install.
        """
        check_opengl("TerrainWalker", self.render_mode)
        return super().render()  # type: ignore[no-untyped-call]

    @property
    def is_healthy(self) -> bool:
        """Tell whether the torso is upright and at its height above the ground."""
        place, z, angle = self.data.qpos[:3]
        (lowest, highest), (left, right) = self._healthy_z_range, self._healthy_angle_range
        return bool(lowest < z - self._ground(place) < highest and left < angle < right)

    def _ground(self, places: Any) -> Any:
        return np.interp(places, PLACES, self._heights)

    def _get_obs(self) -> dict[str, NDArray[np.float32]]:
        place, z = self.data.qpos[:2]
        below = z - self._ground(place + SEEN) - self.init_qpos[1]
        shares = 2 * (self._values - self._low) / (self._high - self._low) - 1
        velocities = np.clip(self.data.qvel, -10, 10)
        return {
            "policy": np.concatenate([self.data.qpos[2:], velocities]).astype(np.float32),
            "privileged": np.concatenate([below, shares]).astype(np.float32),
        }
