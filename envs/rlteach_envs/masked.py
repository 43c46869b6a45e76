"""Known single environments of which a student sees only a part of the observation.

    env = gymnasium.make("rlteach_envs:rlteach/MaskedHopper-v0")
    env.get_wrapper_attr("observation_groups")["policy"]      # columns of the student

Observations stay the flat vectors they are; the groups say which of their columns are whose. MaskedHopper needs MuJoCo,
pip install rlteach[mujoco], and MaskedLunarLander Box2D, pip install rlteach[box2d].
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rlteach_envs.action_reader import ActionReader
from rlteach_envs.arguments import check_finite, clipped_progress, fixed_sets
from rlteach_envs.mujoco_dynamics import GOALS, load_mujoco
from rlteach_envs.mujoco_opengl import check_opengl
from rlteach_envs.task_reader import TaskReader

WIND = {"wind_power": 20.0, "turbulence_power": 2.0}
"""Upper bounds of the task parameters, those that Gymnasium recommends."""


class Grouped(gym.Wrapper[Any, Any, Any, Any]):
    """Says of a flat observation which columns are hidden from a student, and what all of them are.

    Args:
        env: An environment with a flat Box observation.
        hidden: Columns that only the expert sees.
        names: A name for each column.
        units: A unit for each column, "1" where there is none.
    """

    def __init__(
        self, env: gym.Env[Any, Any], hidden: Sequence[int], names: Sequence[str], units: Sequence[str]
    ) -> None:
        super().__init__(env)
        shape = env.observation_space.shape
        if not isinstance(env.observation_space, spaces.Box) or shape != (len(names),) or len(units) != len(names):
            raise ValueError(f"{len(names)} names and {len(units)} units do not describe {env.observation_space}")
        columns = range(len(names))
        if not 0 < len(set(hidden) & set(columns)) == len(hidden) < len(names):
            raise ValueError(f"hidden = {list(hidden)} must be some, not all, of the columns 0 to {len(names) - 1}")
        self.observation_groups = {
            "policy": tuple(column for column in columns if column not in set(hidden)),
            "privileged": tuple(sorted(hidden)),
        }
        self.observation_names = self._by_group(names)
        self.observation_units = self._by_group(units)

    def _by_group(self, labels: Sequence[str]) -> dict[str, tuple[str, ...]]:
        return {group: tuple(labels[c] for c in columns) for group, columns in self.observation_groups.items()}


class MaskedHopper(Grouped):
    """Gymnasium's Hopper-v5, of which a student sees the five positions and not the six velocities.

    Reward: as in Hopper-v5, for a step of 8 ms: speed in m/s, +1 for being healthy, -0.001 |action|^2. Healthy is a
    torso above 0.7 m that leans by less than 0.2 rad, and every other number of the state within +-100.
    Termination: not healthy. Truncation after 1000 steps, by registration. Success: being `goal` metres along at the
    last step. The id has a reward threshold of 3800. There is no task; in HopperDynamics the dynamics are one.

    Args:
        goal: Distance that counts as success, in m.
        **kwargs: Arguments of Hopper-v5.

    Raises:
        gymnasium.error.DependencyNotInstalled: Without MuJoCo.
    """

    action_names = ("thigh", "leg", "foot")
    action_units = ("1", "1", "1")
    control_rate = 125.0
    no_state = frozenset({"_action_reader", "_goal"})
    """Attributes that never change and that snapshots leave out."""

    def __init__(self, *, goal: float = GOALS["Hopper"], **kwargs: Any) -> None:
        check_finite(goal=goal)
        load_mujoco("MaskedHopper")
        from gymnasium.envs.mujoco.hopper_v5 import HopperEnv

        joints = ("torso", "thigh", "leg", "foot")
        names = ("z", *joints, "x_dot", "z_dot", *(f"{joint}_dot" for joint in joints))
        units = ("m", *["rad"] * 4, "m/s", "m/s", *["rad/s"] * 4)
        super().__init__(HopperEnv(**kwargs), range(5, 11), names, units)
        self._action_reader = ActionReader(self.action_space)
        self._goal = goal

    @property
    def spec(self) -> Any:  # type: ignore[override]
        """That of the id, which makes all of this: it is no wrapper that came later."""
        return self.unwrapped.spec

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step as Hopper-v5 does, and tell success."""
        observation, reward, terminated, truncated, info = self.env.step(self._action_reader.read(action)[0])
        info["is_success"] = bool(self.env.unwrapped.data.qpos[0] >= self._goal)  # type: ignore[attr-defined]
        return observation, reward, terminated, truncated, info

    def render(self) -> Any:
        """Return a picture as Hopper-v5 draws it.

        Raises:
            gymnasium.error.DependencyNotInstalled: When there is no OpenGL for it, with what to install.
        """
        check_opengl("MaskedHopper", self.render_mode)
        return self.env.render()


class Windy(gym.Wrapper[Any, Any, Any, Any]):
    """LunarLander with the wind as task, and as two more columns of the observation.

    Args:
        env: Gymnasium's LunarLander, made with `enable_wind=True`.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.task_space = spaces.Dict({name: spaces.Box(0.0, top, (), np.float64) for name, top in WIND.items()})
        self._reader = TaskReader(self.task_space)
        self._action_reader = ActionReader(self.action_space)
        # LunarLander states bounds for place, angle and velocities, and flies beyond them.
        self.observation_space = spaces.Box(
            np.array([-np.inf] * 6 + [0.0] * 4, np.float32), np.array([np.inf] * 6 + [1.0] * 4, np.float32)
        )
        self._generator = np.random.default_rng()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Set the wind and start an episode; without a task the wind is drawn uniformly."""
        given = (options or {}).get("task")
        winds = None if given is None else self._reader.read(given)[0]
        if seed is not None:
            self._generator = np.random.default_rng(seed)
        if winds is None:
            winds = self._reader.read(_wind(self._generator.random(2)))[0]
        for name, value in zip(self._reader.parts, winds.tolist(), strict=True):
            setattr(self.env.unwrapped, name, value)
        observation, info = self.env.reset(seed=seed, options=options)
        return self._with_wind(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step; success is coming to rest on the ground, which LunarLander rewards with exactly 100."""
        observation, reward, terminated, truncated, info = self.env.step(self._action_reader.read(action)[0])
        success = bool(terminated and reward == 100)
        return self._with_wind(observation), reward, terminated, truncated, {**info, "is_success": success}

    def _with_wind(self, observation: Any) -> Any:
        wind = [getattr(self.env.unwrapped, name) / top for name, top in WIND.items()]
        return np.append(observation, np.array(wind, dtype=np.float32))


class MaskedLunarLander(Grouped):
    """Gymnasium's LunarLanderContinuous-v3 in a wind, of which a student sees neither velocities nor the wind.

    Task: `wind_power` in [0, 20] and `turbulence_power` in [0, 2]. Observation: LunarLander's eight values, the first
    six without its bounds, beyond which it flies; then both parameters in units of their upper bounds. Success: at rest
    on the ground.

    Args:
        **kwargs: Arguments of LunarLander-v3 other than `continuous` and those of the wind.

    Raises:
        gymnasium.error.DependencyNotInstalled: Without Box2D.
    """

    task_units: ClassVar[dict[str, str]] = dict.fromkeys(WIND, "1")

    action_names = ("main_engine", "side_engines")
    action_units = ("1", "1")
    control_rate = 50.0

    def __init__(self, **kwargs: Any) -> None:
        with warnings.catch_warnings():
            # SWIG's own types lack a __module__, which newer Pythons deprecate at import.
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                from gymnasium.envs.box2d.lunar_lander import LunarLander
            except (ImportError, gym.error.DependencyNotInstalled) as error:
                message = "MaskedLunarLander needs Box2D: pip install rlteach[box2d]"
                raise gym.error.DependencyNotInstalled(message) from error

        env = Windy(LunarLander(continuous=True, enable_wind=True, **kwargs))
        place = ("x", "y", "x_dot", "y_dot", "angle", "angle_dot")
        super().__init__(env, (2, 3, 5, 8, 9), (*place, "left_contact", "right_contact", *WIND), ["1"] * 10)
        self.task_space = env.task_space

    @property
    def spec(self) -> Any:  # type: ignore[override]
        """That of the id, which makes all of this: it is no wrapper that came later."""
        return self.unwrapped.spec

    @fixed_sets
    def test_sets(self) -> dict[str, list[Any]]:
        """`grid`: 6 x 6 winds, bounds included."""
        shares = np.linspace(0, 1, 6)
        return {"grid": [_wind((power, turbulence)) for power in shares for turbulence in shares]}

    def oracle_window(self, progress: float, rng: np.random.Generator) -> Any:
        """Draw from the calm end of the winds: 20 % of the ranges at 0, everything at 1."""
        return _wind(max(0.2, clipped_progress(progress)) * rng.random(2))


def _wind(shares: Any) -> dict[str, Any]:
    return {name: np.array(share * top) for (name, top), share in zip(WIND.items(), shares, strict=True)}
