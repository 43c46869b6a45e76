"""Arguments that are none are refused in words, progress is clipped, and test sets cannot be changed."""

import re
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import rlteach_envs
from rlteach_envs.wind_gain import WindGainBatch

NUMPY: dict[str, dict[str, Any]] = {
    **{name: {"lidar": "numpy"} for name in ("Parkour", "StumpTracks", "StumpTracksFast", "UEDWalker")},
    "Quadrotor": {"backend": "numpy"},
}
NAMES = [env_id.removeprefix("rlteach/")[:-3] for env_id in rlteach_envs.OFFERS]
OTHERS = ("MaskedLunarLander", "MaskedHopper", "TerrainWalker")
OWN = [name for name in NAMES if name not in ("CarRacing", *OTHERS) and "Dynamics" not in name]
WITH_SETS = [name for name in NAMES if "tasks" in rlteach_envs.OFFERS[f"rlteach/{name}-v0"]]
WINDOWS = [name for name in NAMES if "oracle_window" in rlteach_envs.OFFERS[f"rlteach/{name}-v0"]]


def made(name: str, **kwargs: Any) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SWIG's own types, and Gymnasium's own words on a render_mode
            return gym.make(f"rlteach/{name}-v0", **NUMPY.get(name, {}), **kwargs)
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", [name for name in OWN if name != "ToyCubes"])
@pytest.mark.parametrize("horizon", [0, -1, 2.5, "x", True, np.nan, [3]])
def test_a_horizon_is_a_whole_number(name: str, horizon: Any) -> None:
    with pytest.raises(ValueError, match=rf"horizon = {re.escape(repr(horizon))} must be a whole number"):
        made(name, horizon=horizon)


@pytest.mark.parametrize("name", OWN)
def test_a_way_to_draw_is_known(name: str) -> None:
    with pytest.raises(ValueError, match="render_mode = 'bogus' must be None or "):
        made(name, render_mode="bogus")


@pytest.mark.parametrize(
    ("name", "argument", "value", "says"),
    [
        ("PointMassGate", "horizon", 10**9, r"horizon = 1000000000 must be a whole number in \[1, 100000\]"),
        ("LightDark", "horizon", 10**9, r"horizon = 1000000000 must be a whole number in \[1, 1000000\]"),
        ("GridMaze", "view", "a", "view = 'a' must be a whole number of at least 3"),
        ("GridMaze", "view", 3.5, "view = 3.5 must be a whole number"),
        ("GridMaze", "size", "a", "size = 'a' must be a whole number"),
        ("MiniGridMaze", "view", None, "view = None must be a whole number"),
        ("MiniGridMaze", "max_density", 1.5, "max_density = 1.5 must be a whole number"),
        ("StumpTracks", "height_std", "a", "height_std = 'a' must be a finite number"),
        ("StumpTracks", "shape_std", np.inf, "shape_std = inf must be a finite number"),
        ("StumpTracks", "width_std", -1, "width_std = -1 must be"),
        ("TigerRoom", "peep", "a", "peep = 'a' must be a finite number"),
        ("TigerRoom", "wrong", np.nan, "wrong = nan must be a finite number"),
        ("HiddenMassPendulum", "max_torque", "a", "max_torque = 'a' must be a finite number"),
        ("HiddenMassPendulum", "max_torque", 0, "max_torque = 0 must be positive"),
        ("Quadrotor", "moving", None, "moving = None must be a finite number"),
        ("GoalMaze", "box_scale", "a", "box_scale = 'a' must be a finite number"),
        ("ToyCubes", "dimensions", 1.5, "dimensions = 1.5 must be a whole number of at least 1"),
        ("ToyCubes", "noise", np.nan, "noise = nan must be a finite number"),
        ("ToyCubes", "useless", "a", "useless = 'a' must be a whole number of at least 0"),
    ],
)
def test_what_is_no_number_is_refused(name: str, argument: str, value: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        made(name, **{argument: value})


def test_a_batch_has_a_whole_number_of_rows() -> None:
    for rows in (0, 2.5, "3", None):
        with pytest.raises(ValueError, match=rf"num_envs = {rows!r} must be a whole number of at least 1"):
            WindGainBatch(rows)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", WINDOWS)
def test_progress_is_clipped_and_what_is_no_progress_refused(name: str) -> None:
    env = made(name)
    window, space = env.get_wrapper_attr("oracle_window"), env.get_wrapper_attr("task_space")
    for progress, end in ((-1, 0.0), (-1e300, 0.0), (1.5, 1.0), (np.float32(7), 1.0)):
        task, same = (window(value, np.random.default_rng(0)) for value in (progress, end))
        assert space.contains(task) and str(task) == str(same)
    for progress in (np.nan, np.inf, -np.inf, "0.5", None, [0.5]):
        with pytest.raises(ValueError, match=rf"progress = {re.escape(repr(progress))} must be a finite number"):
            window(progress, np.random.default_rng(0))


@pytest.mark.parametrize("name", WITH_SETS)
def test_the_arrays_of_test_sets_cannot_be_written_to(name: str) -> None:
    sets = made(name).get_wrapper_attr("test_sets")
    arrays = [
        value
        for tasks in sets.values()
        for task in tasks
        for value in (task.values() if isinstance(task, dict) else [task])
        if isinstance(value, np.ndarray)
    ]
    assert arrays
    assert not any(array.flags.writeable for array in arrays)
