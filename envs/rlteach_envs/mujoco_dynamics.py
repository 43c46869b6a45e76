"""MujocoDynamics: gravity, friction, mass, size, motors, damping and wind of any MuJoCo environment as its task.

    env = MujocoDynamics(gymnasium.make("Hopper-v5"), parameters={"mass": (0.5, 2.0), "wind": (-10.0, 10.0)})
    env.reset(options={"task": {"mass": 1.4, "wind": -3.0}})

The compiled model is changed in place: nothing is parsed or compiled again. Needs MuJoCo: pip install rlteach[mujoco].
"""

from __future__ import annotations

import copy
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach_envs.action_reader import ActionReader
from rlteach_envs.arguments import clipped_progress, fixed_sets
from rlteach_envs.mujoco_opengl import check_opengl, no_opengl
from rlteach_envs.walker_tasks import Range, TaskParameter, Tasks

Floats = NDArray[np.float64]

PARAMETERS = {
    "gravity": TaskParameter("1", 0.5, 1.5, 0.0, 10.0, trend=0),
    "friction": TaskParameter("1", 0.3, 2.0, 0.0, 10.0, trend=0),
    "mass": TaskParameter("1", 0.5, 2.0, 0.01, 100.0, trend=0),
    "size": TaskParameter("1", 0.8, 1.25, 0.1, 10.0, trend=0),
    "motor_gain": TaskParameter("1", 0.5, 1.5, 0.0, 10.0, trend=0),
    "damping": TaskParameter("1", 0.3, 3.0, 0.0, 100.0, trend=0),
    "wind": TaskParameter("m/s", -5.0, 5.0, -100.0, 100.0, trend=0),
}
"""Every parameter: factors of what the model has, and the speed of the air."""

NOMINAL = dict.fromkeys(PARAMETERS, 1.0) | {"wind": 0.0}
"""What changes nothing."""

AIR_DENSITY = 1.2
"""Of air at 20 degrees Celsius and sea level, in kg/m^3."""

LEAST_WINDOW = 0.2
"""Share of the ranges around the nominal dynamics that `oracle_window` starts with."""


class MujocoDynamics(gym.Wrapper[Any, Any, Any, Any]):
    """The dynamics of a MuJoCo environment as task parameters, and as what only the expert sees.

    Task, each within the given range and nominally 1, wind 0:

    * `gravity`: factor of the acceleration of gravity.
    * `friction`: factor of all friction coefficients (sliding, torsional, rolling) of all geoms, the ground's included.
    * `mass`: factor of all masses and moments of inertia, as if every density were multiplied.
    * `size`: factor of all lengths of the body at equal density: geoms, sites, the places of joints and of bodies, so
      that masses grow with its third and moments of inertia with its fifth power. The height at which an episode starts
      and the heights within which the environment calls the body healthy grow with it, since it stands on ground at
      z = 0. No other length does: contact margins, the range of sliding joints and rewards stay as they are. Neither
      do armature, damping, stiffness and motors. The model has to have one body with all limbs in the world, no meshes,
      no equality constraints, no tendons along sites, and no sliding joints between limbs.
    * `motor_gain`: factor of the force of each actuator for the same control (gains and biases; limits stay).
    * `damping`: factor of the damping of all joints.
    * `wind`: speed of the medium along x, in m/s. A model without a medium gets air of 1.2 kg/m^3 while the wind is not
      0, and MuJoCo's own model of drag. Swimmer has its water: there it is a current.

    All are set at `reset`, from `options["task"]` or else uniformly at random, and in the middle of an episode by
    `set_task`; a body that changes its size then grows from the ground up. The nominal task gives the original
    environment bit by bit, whatever was set before. Constants that MuJoCo derives from masses and sizes are derived
    again, so that a new task takes about 0.2 ms; the scales for drawing forces and contacts are not.

    A light, small and strongly damped body can be too stiff for the model's time step: in the usual ranges none of the
    four registered robots is, but some Humanoids are. MuJoCo then warns and starts again from the initial position.

    Observation: `policy` is the environment's own, `privileged` (float32) each parameter, -1 and 1 being the ends of
    its range. Reward and termination are the environment's own. Success, with a `goal`: being that far along x at the
    last step; it does not end the episode. Without one there is none, and there is no threshold and no range of
    returns, since what can be reached in all these dynamics is not known.

    Snapshots: rlteach's `MujocoState` saves the parameters with the state. It relies on `nominal_model`, which never
    changes, on `no_state`, and on `refresh_model`, which makes the model what the attributes say.

    Args:
        env: An environment whose bare form holds an `mjModel` as `model` and an `mjData` as `data`, as Gymnasium's do,
            and which observes a Box. Its model must be as it was compiled.
        parameters: The task space, as `{name: (low, high)}`, or as names alone for their usual ranges; None stands for
            every parameter that suits the model.
        goal: Distance along x that counts as success, in m; None for no success.

    Raises:
        ValueError: Names the parameter, its range and what would do.
        gymnasium.error.DependencyNotInstalled: Without MuJoCo.
    """

    observation_groups: ClassVar[dict[str, tuple[str, ...]]] = {"policy": ("policy",), "privileged": ("privileged",)}
    no_state = frozenset(
        {
            "nominal_model",
            "env_version",
            "test_sets",
            "_action_reader",
            "scratch",
            "_goal",
            "task_units",
            "_tasks",
            "_low",
            "_high",
            "_middle",
            "_start",
            "_vertical",
            "_lengths",
            "_in_force",
        }
    )
    """Attributes that snapshots leave out: they never change, or describe the model as it is."""

    def __init__(
        self,
        env: gym.Env[Any, Any],
        *,
        parameters: Mapping[str, Range] | Sequence[str] | None = None,
        goal: float | None = None,
    ) -> None:
        super().__init__(env)
        self._mujoco = mujoco = load_mujoco("MujocoDynamics")
        bare: Any = env.unwrapped
        if not isinstance(getattr(bare, "model", None), mujoco.MjModel) or not hasattr(bare, "data"):
            raise ValueError(f"MujocoDynamics needs an environment with MuJoCo's model and data, which {env} has not")
        if not isinstance(env.observation_space, spaces.Box):
            raise ValueError(
                f"MujocoDynamics needs a Box observation, not {env.observation_space}; "
                "gymnasium.wrappers.FlattenObservation makes one"
            )
        if goal is not None and not (np.isfinite(goal) and goal > 0 and _moves_along_x(mujoco, bare.model)):
            raise ValueError(
                f"goal = {goal!r} must be a distance in m above 0, for a model whose first joint moves along x; "
                "leave it out for no success"
            )
        self._goal = goal
        self.nominal_model = copy.copy(bare.model)
        self.scratch = mujoco.MjData(bare.model)
        unsuited = _unsuited(mujoco, bare.model)
        if parameters is None:
            parameters = [name for name in PARAMETERS if name not in unsuited]
        self._tasks = Tasks(PARAMETERS, parameters)
        for name in self._tasks.names:
            if name in unsuited:
                raise ValueError(f"{name} cannot be changed here: {unsuited[name]}. Leave it out of `parameters`")
        self._low, self._high = np.array([ends for _, ends in self._ranges()]).T
        self._middle = np.clip([NOMINAL[name] for name in self._tasks.names], self._low, self._high)
        self._values = self._middle.copy()
        self._in_force: Any = None
        self._start = (bare.init_qpos.copy(), getattr(bare, "_healthy_z_range", None))
        self._vertical = vertical_positions(mujoco, bare.model)
        self._lengths = lengths_of(bare.model, self._vertical)
        self._observation: Any = None
        self._action_reader = ActionReader(env.action_space)
        self.task_space = self._tasks.space
        self.task_units = self._tasks.units
        self.observation_space = spaces.Dict(
            {"policy": env.observation_space, "privileged": spaces.Box(-1.0, 1.0, self._low.shape, np.float32)}
        )

    # -- what it offers ------------------------------------------------------------------------------------------------

    @cached_property
    def env_version(self) -> str:
        """The version, and the ranges: without them a snapshot would be put back as what it is not."""
        return " ".join(["0", *(f"{name} [{low:g}, {high:g}]" for name, (low, high) in self._ranges())])

    def _ranges(self) -> list[tuple[str, Range]]:
        return [(name, self._tasks.range(name)) for name in self._tasks.names]

    @property
    def observation_names(self) -> dict[str, tuple[str, ...]]:
        """Name of every column, by key."""
        return {"policy": tuple(column_names(self.env)), "privileged": self._tasks.names}

    @property
    def observation_units(self) -> dict[str, tuple[str, ...]]:
        """Unit of the columns that have none; `policy` keeps those of MuJoCo, which are m, rad, s, kg."""
        return {"privileged": ("1",) * len(self._tasks.names)}

    @property
    def nominal_task(self) -> dict[str, Any]:
        """The task that changes nothing, or what is nearest to it in the ranges."""
        return self._task(self._middle)

    @fixed_sets
    def test_sets(self) -> dict[str, list[Any]]:
        """By rule.

        `uniform`: 100 seeded tasks; `axes`: five values of each parameter, bounds included, the others nominal;
        `corners`: every combination of bounds, for at most seven parameters.
        """
        rng = np.random.default_rng(31)
        sets = {"uniform": [self._tasks.draw(rng) for _ in range(100)], "axes": self._axes()}
        if len(self._tasks.names) <= 7:
            sets["corners"] = [self._task(ends) for ends in itertools.product(*(ends for _, ends in self._ranges()))]
        return sets

    def _axes(self) -> list[Any]:
        chosen = np.eye(len(self._middle), dtype=bool)
        shares = np.linspace(self._low, self._high, 5).T
        return [
            self._task(np.where(one, share, self._middle))
            for one, values in zip(chosen, shares, strict=True)
            for share in values
        ]

    def oracle_window(self, progress: float, rng: np.random.Generator) -> Any:
        """Draw around the nominal dynamics: from 20 % of the way to the bounds at 0, from everything at 1."""
        return self._task(draw_around(self._middle, self._low, self._high, clipped_progress(progress), rng))

    def _task(self, values: Sequence[float] | Floats) -> dict[str, Any]:
        return self._tasks.task(**dict(zip(self._tasks.names, values, strict=True)))

    # -- episodes ------------------------------------------------------------------------------------------------------

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Set the dynamics and start an episode; without a task they are drawn uniformly."""
        options = dict(options or {})
        task = options.pop("task", None)
        if task is None:
            # A seed gives another stream here than inside, or starts and dynamics would depend on each other.
            task = self._tasks.draw(self.np_random if seed is None else np.random.default_rng([seed, 1]))
        self._set_values(task)
        self.refresh_model()
        self._observation, info = self.env.reset(seed=seed, options=options)
        return self._with_dynamics(), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step under the dynamics of the task."""
        self._observation, reward, terminated, truncated, info = self.env.step(self._action_reader.read(action)[0])
        if self._goal is not None:
            info["is_success"] = bool(self.env.unwrapped.data.qpos[0] >= self._goal)  # type: ignore[attr-defined]
        return self._with_dynamics(), reward, terminated, truncated, info

    def set_task(self, task: Any) -> tuple[Any, dict[str, Any]]:
        """Change the dynamics at once, in the middle of an episode; return the observation and an empty info."""
        if self._observation is None:
            raise gym.error.ResetNeeded("call reset() before set_task(): no episode has started")
        before = self._value("size")
        self._set_values(task)
        self.refresh_model()
        if (size := self._value("size")) != before:
            bare: Any = self.env.unwrapped
            bare.data.qpos[self._vertical] *= size / before
            self._mujoco.mj_forward(bare.model, bare.data)
            self._observation = _observed(self.env)
        return self._with_dynamics(), {}

    def render(self) -> Any:
        """Return a picture as the environment draws it.

        Raises:
            gymnasium.error.DependencyNotInstalled: When there is no OpenGL for it, with what to install.
        """
        check_opengl(str(self), self.render_mode)
        return self.env.render()

    def _set_values(self, task: Any) -> None:
        self._values = np.array([float(value) for value in self._tasks.read(task).values()])

    def _value(self, name: str) -> float:
        names = self._tasks.names
        return float(self._values[names.index(name)]) if name in names else NOMINAL[name]

    def _with_dynamics(self) -> dict[str, Any]:
        shares = 2 * (self._values - self._low) / (self._high - self._low) - 1
        return {"policy": self._observation, "privileged": shares.astype(np.float32)}

    # -- the model -----------------------------------------------------------------------------------------------------

    def refresh_model(self) -> None:
        """Make the model, and where episodes start, what the parameters in force say."""
        if np.array_equal(self._values, self._in_force):
            return
        self._in_force = self._values
        bare: Any = self.env.unwrapped
        for name, value in zip(self._tasks.names, self._values.tolist(), strict=True):
            if name in SETTERS:
                SETTERS[name](bare.model, self.nominal_model, value)
        if {"mass", "size"} & set(self._tasks.names):
            self._refresh_bodies(bare)

    def _refresh_bodies(self, bare: Any) -> None:
        model, known, size = bare.model, self.nominal_model, self._value("size")
        mass = known.body_mass * (self._value("mass") * size**3)
        inertia = known.body_inertia * (self._value("mass") * size**5)
        if np.array_equal(model.body_mass, mass) and np.array_equal(model.body_inertia, inertia):
            return  # together they tell both factors, so that the sizes are right as well
        model.body_mass[:], model.body_inertia[:] = mass, inertia
        if "size" in self._tasks.names:
            set_size(model, self._lengths, size)
            place, healthy = self._start
            bare.init_qpos = place.copy()
            bare.init_qpos[self._vertical] *= size
            if healthy is not None:
                bare._healthy_z_range = tuple(size * z for z in healthy)
        self._mujoco.mj_setConst(model, self.scratch)
        # Scales the solver's tolerance; only the compiler computes it, as the mean of this.
        model.stat.meaninertia = known.stat.meaninertia * (model.dof_M0.mean() / known.dof_M0.mean())


# -- changing a model in place: from the one that was compiled, so that nothing depends on what was set before ---------


def set_gravity(model: Any, known: Any, factor: float) -> None:
    """Multiply the acceleration of gravity."""
    model.opt.gravity[:] = known.opt.gravity * factor


def set_friction(model: Any, known: Any, factor: float) -> None:
    """Multiply every coefficient of friction; a contact has the larger ones of its two geoms."""
    model.geom_friction[:] = known.geom_friction * factor
    model.pair_friction[:] = known.pair_friction * factor


def set_motor_gain(model: Any, known: Any, factor: float) -> None:
    """Multiply what actuators produce from a control: gain and bias, so that a servo keeps its target."""
    model.actuator_gainprm[:] = known.actuator_gainprm * factor
    model.actuator_biasprm[:] = known.actuator_biasprm * factor


def set_damping(model: Any, known: Any, factor: float) -> None:
    """Multiply the damping of every joint."""
    model.dof_damping[:] = known.dof_damping * factor
    if hasattr(model, "dof_dampingpoly"):  # since MuJoCo 4: terms of higher order in the speed
        model.dof_dampingpoly[:] = known.dof_dampingpoly * factor


def set_wind(model: Any, known: Any, speed: float) -> None:
    """Let the medium move along x, and where there is none let there be air."""
    model.opt.wind[:] = known.opt.wind + np.array([speed, 0.0, 0.0])
    model.opt.density = AIR_DENSITY if speed and not known.opt.density else known.opt.density


SETTERS: dict[str, Callable[[Any, Any, float], None]] = {
    "gravity": set_gravity,
    "friction": set_friction,
    "motor_gain": set_motor_gain,
    "damping": set_damping,
    "wind": set_wind,
}
"""Parameters that are independent of the others; masses depend on two of them."""


class Length(NamedTuple):
    """Lengths in one array of a model: which elements they are, and their values as the model was compiled."""

    array: str
    index: Any
    values: Floats


def lengths_of(known: Any, vertical: NDArray[np.int64]) -> list[Length]:
    """Return all lengths of the bodies that move, and the height of the one that stands in the world.

    Args:
        known: The model as it was compiled.
        vertical: Places in qpos that hold heights, see `vertical_positions`.
    """
    moving = known.body_weldid != 0
    limb = moving & (known.body_parentid != 0)
    geoms = np.flatnonzero(moving[known.geom_bodyid])
    sites = np.flatnonzero(moving[known.site_bodyid])
    spans = [(known.body_bvhadr[body], known.body_bvhnum[body]) for body in np.flatnonzero(moving)]
    boxes = np.concatenate([np.arange(start, start + count) for start, count in spans])
    places: list[tuple[str, Any]] = [
        ("body_pos", np.flatnonzero(limb)),
        ("body_pos", (np.flatnonzero(moving & ~limb), 2)),
        ("body_ipos", np.flatnonzero(moving)),
        ("jnt_pos", np.flatnonzero(moving[known.jnt_bodyid])),
        *((name, geoms) for name in ("geom_pos", "geom_size", "geom_rbound", "geom_aabb")),
        *((name, sites) for name in ("site_pos", "site_size")),
        ("bvh_aabb", boxes),  # in which collisions are looked for
        ("qpos0", vertical),
        ("qpos_spring", vertical),
    ]
    lengths = [Length(name, index, getattr(known, name)[index].copy()) for name, index in places]
    return [length for length in lengths if length.values.size]


def set_size(model: Any, lengths: Sequence[Length], factor: float) -> None:
    """Multiply lengths."""
    for length in lengths:
        getattr(model, length.array)[length.index] = length.values * factor


def vertical_positions(mujoco: ModuleType, model: Any) -> NDArray[np.int64]:
    """Return the places in qpos that hold the height of bodies which stand in the world."""
    places = []
    for joint in range(model.njnt):
        body = model.jnt_bodyid[joint]
        if model.body_parentid[body] != 0:
            continue
        axis = np.empty(3)
        mujoco.mju_rotVecQuat(axis, model.jnt_axis[joint], model.body_quat[body])
        if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE:
            places.append(model.jnt_qposadr[joint] + 2)
        elif model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE and abs(axis[2]) > 0.99:
            places.append(model.jnt_qposadr[joint])
    return np.array(places, dtype=np.int64)


def _moves_along_x(mujoco: ModuleType, model: Any) -> bool:
    """Tell whether qpos[0] is a place along x."""
    if model.njnt == 0:
        return False
    kinds = mujoco.mjtJoint
    slides = model.jnt_type[0] == kinds.mjJNT_SLIDE and model.jnt_axis[0][0] == 1.0
    return bool(slides or model.jnt_type[0] == kinds.mjJNT_FREE)


def _unsuited(mujoco: ModuleType, model: Any) -> dict[str, str]:
    """Return which parameters a model cannot have, and why."""
    reasons = {"size": _why_no_size(mujoco, model)}
    simple = [int(mujoco.mjtGain.mjGAIN_FIXED), int(mujoco.mjtGain.mjGAIN_AFFINE)]
    if not np.isin(model.actuator_gaintype, simple).all() or model.nu == 0:
        reasons["motor_gain"] = "the model has no actuators, or some that are no motors or servos"
    return {name: reason for name, reason in reasons.items() if reason}


def _why_no_size(mujoco: ModuleType, model: Any) -> str:
    moving = model.body_weldid != 0
    roots = np.flatnonzero(moving & ~moving[model.body_parentid])
    if len(roots) != 1 or model.body_parentid[roots[0]] != 0:
        names = ", ".join(model.body(root).name for root in roots)
        return f"the model has {len(roots)} separate bodies ({names}), or one that hangs on something fixed"
    kinds = mujoco.mjtGeom
    solids = (
        kinds.mjGEOM_SPHERE,
        kinds.mjGEOM_CAPSULE,
        kinds.mjGEOM_ELLIPSOID,
        kinds.mjGEOM_CYLINDER,
        kinds.mjGEOM_BOX,
    )
    if not np.isin(model.geom_type[moving[model.geom_bodyid]], [int(kind) for kind in solids]).all():
        return "a part of the body is no sphere, capsule, ellipsoid, cylinder or box"
    limbs = moving[model.body_parentid[model.jnt_bodyid]]
    if (limbs & (model.jnt_type == int(mujoco.mjtJoint.mjJNT_SLIDE))).any():
        return "two limbs are connected by a sliding joint"
    if model.neq or (model.wrap_type != int(mujoco.mjtWrap.mjWRAP_JOINT)).any():
        return "the model has equality constraints or tendons along sites"
    return "the model has ellipsoid drag" if model.geom_fluid[:, 0].any() else ""


def draw_around(middle: Floats, low: Floats, high: Floats, progress: float, rng: np.random.Generator) -> Floats:
    """Return a point between the middle and the bounds: within 20 % of the way to them at progress 0, anywhere at 1."""
    share = max(LEAST_WINDOW, progress)
    ends = (middle + share * (end - middle) for end in (low, high))
    return np.clip(rng.uniform(*ends), low, high)


# -- the environment inside --------------------------------------------------------------------------------------------


def _observed(env: gym.Env[Any, Any]) -> Any:
    """Return a new observation of a Gymnasium MuJoCo environment, through the wrappers that only translate it."""
    if not isinstance(env, gym.Wrapper):
        return env._get_obs()  # type: ignore[attr-defined]
    observation = _observed(env.env)
    return env.observation(observation) if isinstance(env, gym.ObservationWrapper) else observation


_BALL = (("_qw", "_qx", "_qy", "_qz"), ("_wx", "_wy", "_wz"))
_FREE = (("_x", "_y", "_z", *_BALL[0]), ("_vx", "_vy", "_vz", *_BALL[1]))
_SIMPLE = (("",), ("_dot",))
JOINT_PARTS = (_FREE, _BALL, _SIMPLE, _SIMPLE)
"""Endings of a joint's name in qpos and in qvel, by MuJoCo's number of its type: free, ball, slide, hinge."""


def column_names(env: gym.Env[Any, Any]) -> list[str]:
    """Return names of the columns of an observation, after the joints where the environment says what they are."""
    bare: Any = env.unwrapped
    width = int(np.prod(env.observation_space.shape or ()))
    structure = getattr(bare, "observation_structure", {})
    joints = [
        (bare.model.joint(j).name or f"joint{j}", JOINT_PARTS[bare.model.jnt_type[j]]) for j in range(bare.model.njnt)
    ]
    known = {
        "qpos": [name + part for name, parts in joints for part in parts[0]][structure.get("skipped_qpos", 0) :],
        "qvel": [name + part for name, parts in joints for part in parts[1]],
    }
    names = [
        known[part][i] if part in known else f"{part}[{i}]"
        for part, size in structure.items()
        if not part.startswith("skipped")
        for i in range(size)
    ]
    return names if len(names) == width else [f"policy[{i}]" for i in range(width)]


def load_mujoco(name: str) -> ModuleType:
    """Return the module `mujoco`.

    Args:
        name: Who needs it.

    Raises:
        gymnasium.error.DependencyNotInstalled: Without MuJoCo, without what Gymnasium needs for it, or when MUJOCO_GL
            asks for an OpenGL that is not installed.
    """
    try:
        import mujoco
        from gymnasium.envs.mujoco import mujoco_rendering  # noqa: F401 - needs more than MuJoCo
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        raise gym.error.DependencyNotInstalled(f"{name} needs MuJoCo: pip install rlteach[mujoco]") from error
    except Exception as error:  # what MuJoCo raises when it cannot load what MUJOCO_GL says
        if kind := os.environ.get("MUJOCO_GL"):
            raise no_opengl(name, kind, error) from error
        raise
    module: ModuleType = mujoco
    return module


# -- Gymnasium's environments ------------------------------------------------------------------------------------------


GOALS = {"Hopper": 10.0, "Walker2d": 10.0, "HalfCheetah": 100.0, "Ant": 100.0}
"""Distances that count as success, in m: those of a robot that goes at 1.25 m/s, or at 2 m/s, for 1000 steps.

Ours, and modest: trained in the nominal dynamics the four are two to five times as fast.
"""


class RobotDynamics(MujocoDynamics):
    """One of Gymnasium's robots with its dynamics as task.

    Args:
        robot: `"Hopper"`, `"HalfCheetah"`, `"Walker2d"`, `"Ant"`, or another of Gymnasium's v5.
        parameters: See `MujocoDynamics`.
        goal: Distance along x that counts as success, in m; None for that of `GOALS`, where the robot has one.
        **kwargs: Arguments of the environment.
    """

    def __init__(
        self,
        robot: str,
        *,
        parameters: Mapping[str, Range] | Sequence[str] | None = None,
        goal: float | None = None,
        **kwargs: Any,
    ) -> None:
        load_mujoco(f"{robot}Dynamics")
        creator: Any = gym.spec(f"{robot}-v5").entry_point
        make: Any = gym.envs.registration.load_env_creator(creator)
        super().__init__(make(**kwargs), parameters=parameters, goal=GOALS.get(robot) if goal is None else goal)

    @property
    def spec(self) -> Any:  # type: ignore[override]
        """That of the id, which makes all of this: it is no wrapper that came later."""
        return self.unwrapped.spec


class HopperDynamics(RobotDynamics):
    """Hop forwards on one leg, as Gymnasium's Hopper-v5, with its dynamics as task."""


class HalfCheetahDynamics(RobotDynamics):
    """Run forwards on two legs, as Gymnasium's HalfCheetah-v5, with its dynamics as task."""


class Walker2dDynamics(RobotDynamics):
    """Walk forwards on two legs, as Gymnasium's Walker2d-v5, with its dynamics as task."""


class AntDynamics(RobotDynamics):
    """Walk forwards on four legs, as Gymnasium's Ant-v5, with its dynamics as task."""
