"""Every environment of the family, with every body of those that have several: what tests of all of them go through."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from rlteach_envs.parkour import PARAMETERS as PARKOUR_PARAMETERS
from rlteach_envs.parkour import PARKOUR_BODIES
from rlteach_envs.stump_terrain import GROUND_HEIGHT, START_PAD, Terrain, box_corners
from rlteach_envs.stump_tracks import PARAMETERS as STUMP_PARAMETERS
from rlteach_envs.ued_walker import PARAMETERS as UED_PARAMETERS
from rlteach_envs.walker_bodies import BODIES
from rlteach_envs.walker_env import WalkerEnv

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "rlteach/Parkour-v0": [{"body": body} for body in PARKOUR_BODIES],
    "rlteach/StumpTracksFast-v0": [{"body": body} for body in BODIES],
}
IDS = sorted(env_id for env_id in gym.registry if env_id.startswith("rlteach/"))
CASES = [(env_id, kwargs) for env_id in IDS for kwargs in VARIANTS.get(env_id, [{}])]


def named(value: Any) -> str:
    """Return what a case is called in the report."""
    return value.removeprefix("rlteach/") if isinstance(value, str) else "-".join(map(str, value.values())) or "plain"


def made(env_id: str, **kwargs: Any) -> gym.Env[Any, Any]:
    """Make an environment, or skip the test with the environment's own sentence on what to install."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # SWIG's own types, at the import of Box2D
            return gym.make(env_id, disable_env_checker=True, **kwargs)
    except gym.error.DependencyNotInstalled as error:
        pytest.skip(str(error))


def seen_by_a_camera(env_id: str) -> gym.Env[Any, Any]:
    """Make an environment of MuJoCo with a small picture as observation, or skip the test where none can be drawn."""
    inside = made(env_id)
    from rlteach_envs.egocentric import EgocentricView

    env = EgocentricView(inside, size=16)
    try:
        env.reset(seed=0)
    except gym.error.DependencyNotInstalled as error:
        pytest.skip(str(error))
    return env


MORE: dict[str, Callable[[], gym.Env[Any, Any]]] = {
    "StumpTracks-every-parameter": partial(
        made, "rlteach/StumpTracksFast-v0", parameters=tuple(STUMP_PARAMETERS), privileged=True
    ),
    "StumpTracks-no-stumps": partial(
        made, "rlteach/StumpTracksFast-v0", parameters=("poly_shape", "stump_sequence"), fixed={"roughness": 30.0}
    ),
    "Parkour-every-parameter": partial(
        made,
        "rlteach/Parkour-v0",
        body="climbing_chimpanzee",
        parameters=tuple(PARKOUR_PARAMETERS),
        privileged=True,
    ),
    "Parkour-dense-creepers": partial(
        made,
        "rlteach/Parkour-v0",
        body="climbing_chimpanzee",
        parameters=("creepers_height", "water_level"),
        fixed={"creepers_spacing": 0.0, "creepers_width": 0.2},
    ),
    "UEDWalker-privileged": partial(made, "rlteach/UEDWalker-v0", parameters=tuple(UED_PARAMETERS), privileged=True),
    "CarRacing-both": partial(made, "rlteach/CarRacing-v0", observation="both"),
    "HumanoidDynamics": partial(made, "rlteach/AntDynamics-v0", robot="Humanoid"),
    "EgocentricView": partial(seen_by_a_camera, "rlteach/HopperDynamics-v0"),
}
"""Optional task parameters, observations and wrappers, by name."""


def highest(terrain: Terrain, left: float, right: float) -> float:
    """Return the height of the ground and of what stands on it from left to right."""
    ends = np.interp([left, right], *terrain.ground.T)
    corners = box_corners(terrain.boxes).reshape(-1, 2)
    points = np.concatenate([terrain.ground, corners, *terrain.polygons])
    return float(max(*ends, *points[(left < points[:, 0]) & (points[:, 0] < right), 1]))


def put_further_on(bare: Any, rng: np.random.Generator) -> Any:
    """Put a walker down anywhere beyond the flat start of its track, or running just before its end.

    Args:
        bare: A bare environment in the middle of an episode.
        rng: Draws where.

    Returns:
        What it observes there; None for environments without a track, in which nothing changes.
    """
    if isinstance(bare, WalkerEnv):
        snapshot: Any = bare.get_snapshot()
        states = snapshot["states"].copy()
        states[:, 0] += rng.uniform(START_PAD, bare._goal) - states[:, 0].mean()
        if rng.random() < 0.5:
            states[:, 0] += bare._goal - 0.1 - states[:, 0].max()
            states[:, 3] = 5.0
        states[:, 1] += highest(bare._terrain, states[:, 0].min() - 1, states[:, 0].max() + 1) - GROUND_HEIGHT
        grips = {"grips": np.zeros_like(snapshot["grips"])} if "grips" in snapshot else {}
        return bare.set_snapshot({**snapshot, "states": states, **grips})[0]
    if type(bare).__name__ == "TerrainWalker":
        place, speed = bare.data.qpos.copy(), bare.data.qvel.copy()
        place[0] = rng.uniform(2.0, 59.0)
        place[1] += bare._ground(place[0] + np.linspace(-0.3, 0.3, 7)).max()
        speed[0] = rng.uniform(0.0, 5.0)
        bare.set_state(place, speed)
        return bare._get_obs()
    return None
