"""Snapshots of something else, or damaged ones, are refused by the environment itself, which goes on unchanged."""

import copy
import itertools
import json
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from rlteach_envs.snapshot_reader import ForeignSnapshot, marks_of

NUMPY = {"lidar": "numpy"}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "GoalMaze": ("GoalMaze", {}),
    "another maze": ("GoalMaze", {"layout": "serpentine"}),
    "GridMaze": ("GridMaze", {}),
    "GridMaze, another view": ("GridMaze", {"view": 7}),
    "HiddenMassPendulum": ("HiddenMassPendulum", {}),
    "LightDark": ("LightDark", {}),
    "MemoryTMaze": ("MemoryTMaze", {}),
    "MiniGridMaze": ("MiniGridMaze", {}),
    "Parkour": ("Parkour", NUMPY),
    "Parkour, fish": ("Parkour", {"body": "fish", **NUMPY}),
    "PointMassGate": ("PointMassGate", {}),
    "PointMassGate, longer": ("PointMassGate", {"horizon": 101}),
    "Quadrotor": ("Quadrotor", {"backend": "numpy"}),
    "StumpTracks": ("StumpTracks", NUMPY),
    "StumpTracks, height": ("StumpTracks", {"parameters": ["stump_height"], **NUMPY}),
    "StumpTracksFast": ("StumpTracksFast", NUMPY),
    "TigerRoom": ("TigerRoom", {}),
    "ToyCubes": ("ToyCubes", {}),
    "UEDWalker": ("UEDWalker", NUMPY),
    "WindGain": ("WindGain", {}),
    "CarRacing": ("CarRacingFeatures", {}),
}
COMPILES = [pytest.param(kind, marks=[pytest.mark.slow] * (kind == "CarRacing")) for kind in KINDS]
SHARED = ("kind", "env_version", "body")


@cache
def made(kind: str, which: int) -> Any:
    """Return an environment that is kept; those of another `which` are other ones."""
    name, kwargs = KINDS[kind]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # SWIG's own types, at the import of Box2D
            env = gym.make(f"rlteach/{name}-v0", **kwargs).unwrapped
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        pytest.skip(str(error))
    return env


def played(kind: str, which: int = 0, seed: int = 0) -> Any:
    env = made(kind, which)
    env.reset(seed=seed)
    env.action_space.seed(seed)
    env.step(env.action_space.sample())
    return env


def text(value: Any) -> str:
    """Return a snapshot such that equal ones, and no others, are the same text."""
    return json.dumps(value, default=lambda array: [str(array.dtype), array.tolist()])


def damaged(snapshot: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every way in which one part of a snapshot may be wrong."""
    for name, value in snapshot.items():
        yield f"without {name}", {k: v for k, v in snapshot.items() if k != name}
        yield f"None for {name}", snapshot | {name: None}
        if isinstance(value, np.ndarray):
            yield f"shape of {name}", snapshot | {name: value[None]}
            if value.size:  # one without elements holds no text either
                yield f"text for {name}", snapshot | {name: np.full(value.shape, "x")}
            yield f"ragged {name}", snapshot | {name: [[1.0], [1.0, 2.0]]}
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size:
            for wrong in (np.nan, np.inf):
                spoilt = value.copy()
                spoilt.flat[-1] = wrong
                yield f"{wrong} in {name}", snapshot | {name: spoilt}
        if isinstance(value, float):
            yield f"nan for {name}", snapshot | {name: np.nan}
        if isinstance(value, str):
            for wrong in ("", "[]", "{}", '[{"bit_generator": "PCG64"}]', b"{}", 3):
                yield f"{wrong!r} for {name}", snapshot | {name: wrong}


@pytest.mark.parametrize("kind", COMPILES)
def test_what_is_damaged_is_refused_and_the_episode_goes_on(kind: str) -> None:
    env, twin = played(kind), played(kind, 1)
    snapshot = env.get_snapshot()
    twin.get_snapshot()
    state = text(snapshot)
    cases = list(damaged(snapshot))
    for what, value in [*cases, *((repr(wrong), wrong) for wrong in (None, b"", "", [], 3, {}))]:
        with pytest.raises(ForeignSnapshot, match="snapshot"):
            env.set_snapshot(value)
            pytest.fail(f"accepted: {what}")
    assert text(env.get_snapshot()) == state
    twin.get_snapshot()
    action = env.action_space.sample()
    for one in (env, twin):
        one.step(action)
    assert text(env.get_snapshot()) == text(twin.get_snapshot())


def test_no_environment_takes_the_snapshot_of_another() -> None:
    kinds = [kind for kind in KINDS if kind != "CarRacing"]
    snapshots = {kind: played(kind).get_snapshot() for kind in kinds}
    states = {kind: text(snapshot) for kind, snapshot in snapshots.items()}
    for ours, theirs in itertools.permutations(kinds, 2):
        with pytest.raises(ForeignSnapshot) as told:
            made(ours, 0).set_snapshot(snapshots[theirs])
            pytest.fail(f"{ours} took a snapshot of {theirs}")
        for kind in (ours, theirs):
            assert repr(snapshots[kind]["kind"]) in str(told.value)
    assert {kind: text(made(kind, 0).get_snapshot()) for kind in kinds} == states


@pytest.mark.parametrize("kind", COMPILES)
def test_an_environment_built_alike_takes_it_before_its_first_episode(kind: str) -> None:
    env = played(kind)
    name, kwargs = KINDS[kind]
    snapshot = env.get_snapshot()
    fresh = gym.make(f"rlteach/{name}-v0", render_mode="rgb_array", **kwargs).unwrapped
    with pytest.raises(ForeignSnapshot):
        fresh.set_snapshot(None)
    fresh.set_snapshot(copy.deepcopy(snapshot))
    assert text(fresh.get_snapshot()) == text(snapshot)


def test_rows_take_snapshots_of_single_environments_all_or_none() -> None:
    batch = gym.make_vec("rlteach/GoalMaze-v0", num_envs=3).unwrapped
    batch.reset(seed=0)
    before = text(batch.get_snapshot())
    good = played("GoalMaze").get_snapshot()
    for bad in (
        played("another maze").get_snapshot(),
        batch.get_snapshot(),
        {**good, "_positions": [[np.nan, 0]]},
        None,
    ):
        with pytest.raises(ForeignSnapshot, match=r"row 2 needs the snapshot of a single environment: .*snapshot is"):
            batch.set_row_snapshots({0: good, 2: bad})
    with pytest.raises(ForeignSnapshot, match=r"another size: \w+ has shape \(1,"):
        batch.set_snapshot(good)
    assert text(batch.get_snapshot()) == before
    batch.set_row_snapshots({0: good})
    assert np.array_equal(batch.get_snapshot()["_positions"][0], good["_positions"][0])


def test_the_kind_names_what_is_not_the_default_and_matters() -> None:
    kind = marks_of(made("GoalMaze", 0))["kind"]
    assert kind == "GoalMaze"
    said = {which: played(which).get_snapshot()["kind"] for which in ("another maze", "StumpTracksFast", "Quadrotor")}
    assert said == {
        "another maze": 'GoalMaze(layout="serpentine")',
        "StumpTracksFast": "StumpTracks(velocity_iterations=60, position_iterations=20)",
        "Quadrotor": "Quadrotor",
    }
    equal = [{"box_scale": 2}, {"box_scale": 2.0}, {"box_scale": np.float64(2.0)}]
    kinds = {gym.make("rlteach/GoalMaze-v0", **kwargs).unwrapped.get_snapshot()["kind"] for kwargs in equal}
    assert kinds == {"GoalMaze(box_scale=2)"}
