"""Quadrotor: hold a place or follow a path with a quadrotor of unknown size, mass, strength and speed of its motors."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach_envs import quadrotor_physics as physics
from rlteach_envs.arguments import check_finite, clipped_progress, fixed_sets
from rlteach_envs.batch import BatchEnv, Floats, SingleEnv

# The nominal airframe, a Crazyflie 2.1, as in the training code of RAPTOR.
MASS = 0.0323
CURVE = (0.00352526, 0.01437313, 0.09223048)
INERTIA = (9.416556729130406e-06, 9.644051701582312e-06, 1.745951732253285e-05)
LEVER = 0.028

ARM_DEVIATION = NormalDist(-0.1, 0.1)
TAIL = 0.001
START_ARMS, LIMIT_ARMS = 10.0, 20.0
AT_REST = 0.1
CRASH = -100.0
JUDGED_STEPS = 100
SUCCESS_DISTANCE = 0.2
BLOCK = 20
"""Steps of a moving reference whose random numbers are drawn at once."""

TASKS: dict[str, tuple[float, float, str]] = {
    "arm_quantile": (TAIL, 1.0 - TAIL, "1"),
    "cube_root_mass": (0.02 ** (1 / 3), 5.0 ** (1 / 3), "kg^(1/3)"),
    "disturbance": (0.0, 0.3, "1"),
    "fall_time": (0.03, 0.30, "s"),
    "rise_time": (0.03, 0.10, "s"),
    "thrust_to_weight": (1.5, 5.0, "1"),
    "torque_constant": (0.005, 0.05, "m"),
    "torque_to_inertia": (40.0, 1200.0, "1/s^2"),
}
"""Lower bound, upper bound and unit of every task parameter, by name: the order of a `spaces.Dict`."""

EASIEST = np.array([0.5, 0.5, 0.0, 0.0, 0.0, 0.5, 0.5, 0.5])
"""Where the order from easy to hard begins, in the unit cube of `TASKS`."""


class Airframes(NamedTuple):
    """What n quadrotors are made of.

    Attributes:
        mass: In kg, (n,).
        curve: Thrust of one rotor at speed u is curve[0] + curve[1] u + curve[2] u^2, in N, (n, 3).
        inertia: About x, y and z, in kg m^2, (n, 3).
        lever: Distance of every rotor from the x axis and from the y axis, in m, (n,).
        torque_constant: Torque about z by the thrust of a rotor, in m, (n,).
        rise_time: Time constant of a rotor that speeds up, in s, (n,).
        fall_time: Time constant of a rotor that slows down, in s, (n,).
        force: Standard deviation of the disturbing force, per axis, in N, (n,).
    """

    mass: Floats
    curve: Floats
    inertia: Floats
    lever: Floats
    torque_constant: Floats
    rise_time: Floats
    fall_time: Floats
    force: Floats

    @property
    def arm(self) -> Floats:
        """Return the distance of the rotors from the centre, in m, (n,)."""
        arm: Floats = self.lever * np.sqrt(2.0)
        return arm


def size_factor(quantile: float) -> float:
    """Return how much longer than its mass suggests an arm is: N(-0.1, 0.1), 1 + d above 0 and 1 / (1 - d) below."""
    deviation = ARM_DEVIATION.inv_cdf(quantile)
    return 1.0 + deviation if deviation >= 0.0 else 1.0 / (1.0 - deviation)


def airframes(tasks: Floats) -> Airframes:
    """Return the airframes that tasks (n, 8) stand for, as the RAPTOR training code derives them.

    thrust curve: the nominal one, times what makes four rotors at full speed lift `thrust_to_weight` times the weight;
    lever: 0.028 m * cbrt(m / 0.0323 kg) * f; inertia: the nominal one, scaled to J_x = sqrt(2) lever F /
    `torque_to_inertia`, with F the thrust of one rotor at full speed; disturbing force: N(0, s) per axis, s =
    `disturbance` (t - 1) t m / 3, in N, with t = `thrust_to_weight` (the code has no g in it).
    """
    quantile, size, disturbance, fall_time, rise_time, strength, torque_constant, agility = tasks.T
    mass = size * size * size
    thrust = strength * mass * physics.GRAVITY / 4
    factor = np.array([size_factor(q) for q in quantile.tolist()])
    lever = LEVER * (size / MASS ** (1 / 3)) * factor
    inertia = np.sqrt(2.0) * lever * thrust / agility
    return Airframes(
        mass=mass,
        curve=(thrust / sum(CURVE))[:, None] * np.array(CURVE),
        inertia=(inertia / INERTIA[0])[:, None] * np.array(INERTIA),
        lever=lever,
        torque_constant=torque_constant,
        rise_time=rise_time,
        fall_time=fall_time,
        force=disturbance * (strength - 1.0) * strength * mass / 3,
    )


def attitudes(draws: Floats, largest: float = np.pi / 2) -> Floats:
    """Return unit quaternions (n, 4) from uniform draws (n, 3): a uniform axis, and a uniform angle up to `largest`."""
    around, height = 2 * np.pi * draws[:, 0], 1.0 - 2.0 * draws[:, 1]
    half = 0.5 * largest * draws[:, 2]
    across = np.sqrt(1.0 - height * height) * np.sin(half)
    return np.stack([np.cos(half), across * np.cos(around), across * np.sin(around), height * np.sin(half)], axis=1)


class QuadrotorBatch(BatchEnv):
    """The quadrotor family of RAPTOR (Eschmann, Albani, Loianno 2025, "A foundation policy for quadrotor control").

    Distribution, dynamics, reward, references and observations are those of the published training code (rl-tools,
    `foundation_policy`), where 1000 quadrotors have one teacher each and a single recurrent student flies them all.

    Task, eight numbers; drawn uniformly they are the published distribution:
        `thrust_to_weight` in [1.5, 5], of all rotors at full speed; `cube_root_mass` in cbrt [0.02, 5] kg;
        `torque_to_inertia` in [40, 1200] 1/s^2; `arm_quantile` in [0.001, 0.999], the place in N(-0.1, 0.1) of the
        deviation d of the arms from what the mass suggests, the published normal without its outermost tails;
        `torque_constant` in [0.005, 0.05] m; `rise_time` in [0.03, 0.1] s and `fall_time` in [0.03, 0.3] s of the
        rotors; `disturbance` in [0, 0.3], how strong a constant force may be. `airframes` derives the rest.
    Action a in [-1, 1]^4: the rotors front right, back right, back left, front left tend to speeds u = (a + 1) / 2.
    State: position, attitude quaternion, velocity, angular velocity in the body's frame, four rotor speeds from 0 to 1;
    and the last action. Fourth-order Runge-Kutta steps of 0.01 s; first-order rotors (`quadrotor_physics.derivative`).
    The disturbing force is drawn once per episode.
    Start: in 10 % of episodes at rest at the origin; else position U(-10, 10) arms per axis, attitude up to 90 degrees
    about a uniform axis, velocity U(-1, 1) m/s and angular velocity U(-1, 1) rad/s per axis. Rotors always U(0, 0.5).
    Reference: half of the episodes hover at the origin, half follow a smoothed second-order Langevin path from there
    (gamma 1, omega 2, sigma 0.5, alpha 0.01; `quadrotor_physics.wander`).
    Reward at each step, of the state before it: 1.5 - |p - p_ref| - 0.1 * 2 acos(1 - |q_z|) - |a - previous a|.
    Termination, with the reward -100 instead: any axis beyond 20 arms from the origin, 2 m/s, or 35 rad/s.
    Truncation after 500 steps. Success: flown to the end, with |p - p_ref| below 0.2 m on average over the last 100
    steps; this is a definition of ours.
    Observation (float32), `policy`, 22 numbers: p - p_ref (m), rotation matrix body to world row by row, v - v_ref
    (m/s), angular velocity (rad/s), previous action; `privileged`, 4: rotor speeds, from -1 to 1. Together they are the
    26 that a published teacher sees, and the first 22 are the student's. `context`, 11, which neither has: the task,
    each parameter scaled to [-1, 1], and the acceleration by the disturbing force (m/s^2); for one teacher of all
    quadrotors (`observations: policy,privileged,context` in a run).

    Where the code was not followed or is not public in this form: the action before the first is what the rotors do,
    2 u - 1, for the observation as in the code and for the reward too, where the code takes 0; the attitude at the
    start is that of its present version.

    Args:
        num_envs: Number of rows.
        horizon: Steps after which an episode is truncated.
        moving: Share of the episodes that follow a path.
        backend: `"numba"`, `"numpy"`, or `"auto"`, which is numba where it is installed. They give equal numbers; numba
            compiles at the first observation of the process, for about three seconds, and keeps nothing on disk.
    """

    task_units: ClassVar[dict[str, str]] = {name: unit for name, (_, _, unit) in TASKS.items()}
    state_names = (
        "_states",
        "_previous",
        "_references",
        "_kicks",
        "_moving",
        "_crafts",
        "_pushes",
        "_context",
        "_strayed",
    )
    observation_groups: ClassVar[dict[str, tuple[str, ...]]] = {
        "policy": ("policy",),
        "privileged": ("privileged",),
        "context": ("context",),
    }
    observation_names: ClassVar[dict[str, tuple[str, ...]]] = {
        "policy": (
            *(f"position_error_{axis}" for axis in "xyz"),
            *(f"rotation_{row}{column}" for row in "xyz" for column in "xyz"),
            *(f"velocity_error_{axis}" for axis in "xyz"),
            *(f"angular_velocity_{axis}" for axis in "xyz"),
            *(f"previous_action_{rotor}" for rotor in range(4)),
        ),
        "privileged": tuple(f"rotor_speed_{rotor}" for rotor in range(4)),
        "context": (*TASKS, *(f"push_{axis}" for axis in "xyz")),
    }
    observation_units: ClassVar[dict[str, tuple[str, ...]]] = {
        "policy": ("m",) * 3 + ("1",) * 9 + ("m/s",) * 3 + ("rad/s",) * 3 + ("1",) * 4,
        "privileged": ("1",) * 4,
        "context": ("1",) * 8 + ("m/s^2",) * 3,
    }
    action_names = ("rotor_front_right", "rotor_back_right", "rotor_back_left", "rotor_front_left")
    action_units = ("1",) * 4
    control_rate = 1 / physics.DT

    def __init__(self, num_envs: int = 1, *, horizon: int = 500, moving: float = 0.5, backend: str = "auto") -> None:
        check_finite(moving=moving)
        if not 0.0 <= moving <= 1.0:
            raise ValueError(f"moving = {moving} must be a share, from 0 to 1")
        self.backend = physics.chosen(backend)
        self.moving = moving
        self.task_space = spaces.Dict(
            {name: spaces.Box(low, high, (), np.float64) for name, (low, high, _) in TASKS.items()}
        )
        free, unit = np.full(3, np.inf, dtype=np.float32), np.ones(9, dtype=np.float32)
        seen = np.concatenate([free, unit, free, free, unit[:4]])
        known = np.concatenate([unit[:8], free])
        self.single_observation_space = spaces.Dict(
            {
                "context": spaces.Box(-known, known, dtype=np.float32),
                "policy": spaces.Box(-seen, seen, dtype=np.float32),
                "privileged": spaces.Box(-unit[:4], unit[:4], dtype=np.float32),
            }
        )
        self.single_action_space = spaces.Box(-1.0, 1.0, (4,), np.float32)
        super().__init__(num_envs, horizon)
        widest = LIMIT_ARMS * float(airframes(self._high[None]).arm[0])
        self.return_range = (horizon * (1.5 - np.sqrt(3.0) * widest - 0.1 * np.pi - 4.0) + CRASH, 1.5 * horizon)
        self._states: Floats = np.zeros((num_envs, physics.STATE))
        self._states[:, 3] = 1.0
        self._previous: Floats = np.zeros((num_envs, 4))
        self._references: Floats = np.zeros((num_envs, 12))
        self._kicks: Floats = np.zeros((num_envs, BLOCK, 3))
        self._moving = np.zeros(num_envs, dtype=bool)
        self._crafts: Floats = np.ones((num_envs, physics.CRAFT))
        self._pushes: Floats = np.zeros((num_envs, 3))
        self._context = np.zeros((num_envs, 11), dtype=np.float32)
        self._strayed: Floats = np.zeros(num_envs)

    @fixed_sets
    def test_sets(self) -> dict[str, list[Any]]:  # type: ignore[override]
        """`uniform`: 256 tasks (seed 1); `corners`: all 256 extremes; `systems`: 1000 tasks to train on (seed 0)."""
        corners = np.array(np.meshgrid(*[[0.0, 1.0]] * 8, indexing="ij")).reshape(8, -1).T
        draws = {"uniform": np.random.default_rng(1).random((256, 8)), "corners": corners}
        draws["systems"] = np.random.default_rng(0).random((1000, 8))
        return {name: [self._task(unit) for unit in units] for name, units in draws.items()}

    def _task(self, unit: Floats) -> dict[str, Any]:
        values = np.clip(self._low + unit * (self._high - self._low), self._low, self._high)
        return {name: np.array(value) for name, value in zip(self._names, values, strict=True)}

    def oracle_window(self, progress: float, rng: np.random.Generator) -> Any:
        """Draw from a box around middling airframes with fast rotors and no disturbance.

        It is 20 % of every range wide at 0, and everything at 1.
        """
        width = max(0.2, clipped_progress(progress))
        return self._task((1.0 - width) * EASIEST + width * rng.random(8))

    def _begin(self, rows: NDArray[np.int64]) -> None:
        draws, normals = np.empty((len(rows), 18)), np.zeros((len(rows), 3 * (1 + BLOCK)))
        for i, row in enumerate(rows.tolist()):
            generator = self._generators[row]
            generator.random(out=draws[i])
            generator.standard_normal(out=normals[i] if draws[i, 17] < self.moving else normals[i, :3])
        frames = airframes(self._tasks[rows])
        free = draws[:, 0] >= AT_REST
        spread = 2.0 * draws[:, 1:10] - 1.0
        states = np.zeros((len(rows), physics.STATE))
        states[:, 3] = 1.0
        states[free, 0:3] = (START_ARMS * frames.arm[:, None] * spread[:, 0:3])[free]
        states[free, 3:7] = attitudes(draws[free, 10:13])
        states[free, 7:13] = spread[free, 3:9]
        states[:, 13:17] = 0.5 * draws[:, 13:17]
        self._states[rows] = states
        self._previous[rows] = 2.0 * states[:, 13:17] - 1.0
        self._references[rows] = 0.0
        self._strayed[rows] = 0.0
        self._crafts[rows] = physics.describe(*frames[:7], LIMIT_ARMS * frames.arm)
        self._moving[rows] = draws[:, 17] < self.moving
        self._kicks[rows] = normals[:, 3:].reshape(-1, BLOCK, 3)
        pushes = normals[:, :3] * (frames.force / frames.mass)[:, None]
        self._context[rows, :8] = 2.0 * (self._tasks[rows] - self._low) / (self._high - self._low) - 1.0
        self._context[rows, 8:] = self._pushes[rows] = pushes

    def _draw_kicks(self, rows: NDArray[np.int64]) -> None:
        for row in rows.tolist():
            self._generators[row].standard_normal(out=self._kicks[row])

    def _advance(self, actions: NDArray[Any]) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        actions = np.clip(actions.astype(np.float64), -1.0, 1.0)
        place = self._clock % BLOCK
        self._draw_kicks(np.flatnonzero(self._moving & self._playing & (place == 0) & (self._clock > 0)))
        advance = physics.compiled()[0] if self.backend == "numba" else physics.advance_numpy
        distance, cosine, jump, crashed = advance(
            self._states, self._crafts, self._pushes, self._previous, actions, self._references, self._kicks, place
        )
        rewards = np.where(crashed, CRASH, 1.5 - distance - 0.2 * np.arccos(cosine) - jump)
        judged = min(JUDGED_STEPS, self.horizon)
        self._strayed += distance * (self._clock >= self.horizon - judged)
        return rewards, crashed, (self._strayed < SUCCESS_DISTANCE * judged) & ~crashed

    def _observe(self) -> dict[str, NDArray[np.float32]]:
        seen = np.empty((self.num_envs, 22), dtype=np.float32)
        hidden = np.empty((self.num_envs, 4), dtype=np.float32)
        watch = physics.compiled()[1] if self.backend == "numba" else physics.watch_numpy
        watch(self._states, self._references, self._previous, seen, hidden)
        return {"context": self._context.copy(), "policy": seen, "privileged": hidden}

    def picture(self, row: int, pixels: int = 200) -> NDArray[np.uint8]:
        """Return two pictures side by side, from above and from the right, of the space that must not be left.

        Green the reference, blue the quadrotor with its front rotors red, drawn three times as large as it is.
        """
        state, limit = self._states[row], float(self._crafts[row, physics.LIMIT])
        qw, qx, qy, qz = state[3:7]
        forwards = np.array([1 - 2 * (qy * qy + qz * qz), 2 * (qx * qy + qw * qz), 2 * (qx * qz - qw * qy)])
        leftwards = np.array([2 * (qx * qy - qw * qz), 1 - 2 * (qx * qx + qz * qz), 2 * (qy * qz + qw * qx)])
        lever = 3.0 * limit / (LIMIT_ARMS * np.sqrt(2.0))
        rotors = [state[:3] + lever * (a * forwards + b * leftwards) for a, b in ((1, -1), (-1, -1), (-1, 1), (1, 1))]
        along = np.linspace(0.0, 1.0, 12)[:, None]
        views = []
        for across, up in ((0, 1), (0, 2)):
            view = np.full((pixels, pixels, 3), 255, dtype=np.uint8)
            view[:, :1], view[-1:] = 160, 160
            dots = [(self._references[row, :3], (40, 160, 60), 4)]
            dots += [(point, (40, 80, 220), 1) for rotor in rotors for point in state[:3] + along * (rotor - state[:3])]
            dots += [(rotor, (220, 50, 40) if i in (0, 3) else (40, 80, 220), 3) for i, rotor in enumerate(rotors)]
            for point, colour, size in dots:
                left = int(np.clip((point[across] / limit + 1) / 2, 0, 1) * (pixels - 1))
                top = int(np.clip((1 - point[up] / limit) / 2, 0, 1) * (pixels - 1))
                view[max(top - size, 0) : top + size, max(left - size, 0) : left + size] = colour
            views.append(view)
        return np.concatenate(views, axis=1)


class Quadrotor(SingleEnv):
    """Fly one quadrotor of a family; see `QuadrotorBatch`."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 100}  # type: ignore[misc]

    def __init__(self, *, render_mode: str | None = None, **kwargs: Any) -> None:
        super().__init__(QuadrotorBatch(1, **kwargs), render_mode)
