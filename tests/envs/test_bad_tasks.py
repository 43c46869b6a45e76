"""Tasks that are none are refused in words, whatever is wrong with them, and the episode in progress goes on."""

import re
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import rlteach_envs
from gymnasium import spaces
from rlteach_envs.grid_maze import GridMaze, GridMazeBatch
from rlteach_envs.point_mass_gate import PointMassGateBatch
from rlteach_envs.task_reader import TaskReader

from rlteach.task_space import TaskSpace

IDS = [env_id for env_id, offers in rlteach_envs.OFFERS.items() if "tasks" in offers]
IDS.remove("rlteach/CarRacing-v0")  # CarRacingFeatures is the same, and compiles no pictures
COMPILES = [pytest.param(env_id, marks=[pytest.mark.slow] * ("CarRacing" in env_id)) for env_id in IDS]
WALKERS = ("StumpTracks", "StumpTracksFast", "Parkour", "UEDWalker")
NUMPY: dict[str, Any] = {f"rlteach/{name}-v0": {"lidar": "numpy"} for name in WALKERS} | {
    "rlteach/Quadrotor-v0": {"backend": "numpy"}
}
"""Arguments for environments that need not compile anything here."""
BATCH_IDS = [env_id for env_id, offers in rlteach_envs.OFFERS.items() if "batch form" in offers]
SEED_AFTER_TASK = [
    *BATCH_IDS,
    "rlteach/CarRacingFeatures-v0",
    "rlteach/MaskedLunarLander-v0",
    "rlteach/MiniGridMaze-v0",
    "rlteach/Parkour-v0",
    "rlteach/StumpTracksFast-v0",
    "rlteach/UEDWalker-v0",
]
ROWS = 3

Bad = dict[str, tuple[Any, str]]
"""What is wrong: the task, and what the error says."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo writes its log into the working directory."""
    monkeypatch.chdir(tmp_path)


@cache
def made(env_id: str, which: int = 0) -> gym.Env[Any, Any]:
    """Return an environment that is kept; those of another `which` are other ones."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # SWIG's own types, at the import of Box2D
            return gym.make(env_id, **NUMPY.get(env_id, {}))
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        pytest.skip(str(error))


def batch_of(env_id: str) -> Any:
    return gym.make_vec(env_id, num_envs=ROWS, **NUMPY.get(env_id, {})).unwrapped


def capability(env: Any, name: str) -> Any:
    return env.get_wrapper_attr(name) if env.has_wrapper_attr(name) else None


def task_of(space: Any) -> Any:
    return TaskSpace.of(space).test_set(1, 0)[0]


def batched(env: Any) -> Any:
    space = TaskSpace.of(env.task_space)
    return space.batch(dict(enumerate(space.test_set(env.num_envs, 0))), env.num_envs)


def highest_of(space: Any) -> Any:
    if isinstance(space, spaces.Box):
        return space.high
    return (space.nvec if isinstance(space, spaces.MultiDiscrete) else space.n) - 1


def bad_values(name: str, label: str, good: Any, high: Any, row: str = "") -> Bad:
    """Return what may be wrong with the value of one parameter, whose last component is called `label`."""
    good, called = np.asarray(good), re.escape(name)
    beyond, unknown = good.astype(float), good.astype(float)
    beyond[...] = good
    beyond.reshape(-1)[-1], unknown.reshape(-1)[-1] = np.ravel(high)[-1] + 1, np.nan
    return {
        f"text for {name}": ("wide", rf"{called} = 'wide' is not (a|\d+) (whole )?numbers? "),
        f"a list of text for {name}": (np.full(good.shape, "1").tolist(), r" = \S*'1'.* is not "),
        f"None for {name}": (None, rf"{called} = None is not (a|\d+) (whole )?numbers? "),
        f"shape of {name}": ([good, good], re.escape(f"{name} has shape {(2, *good.shape)}, not {good.shape}: ")),
        f"{name} outside": (beyond, rf"{re.escape(label)} = \S+{row} lies outside \["),
        f"nan for {name}": (unknown, rf"{re.escape(label)} = nan{row} lies outside \["),
    }


def bad_tasks(space: Any, names: Any, good: Any, row: str = "") -> Bad:
    """Return everything that may be wrong with the one parameter that comes last, and with names."""
    if not isinstance(space, spaces.Dict):
        label = (names or [f"task[{i}]" for i in range(space.shape[0])])[-1]
        bad = bad_values("task", label, good, space.high, row)
        few = np.asarray(good)[..., :1]
        bad["too few numbers"] = (few, re.escape(f"task has shape {few.shape}, not {np.shape(good)}: "))
        bad["one number"] = (0.5, re.escape(f"task has shape (), not {np.shape(good)}: "))
        bad["a mapping"] = ({"x": 0.5}, r"task = {'x': 0.5} is not ")
        return bad
    name = list(space.spaces)[-1]
    part = np.asarray(good[name])
    single = space[name].shape
    label = f"{name}[{','.join(str(n - 1) for n in single)}]" if single else name
    bad = {
        what: ({**good, name: value}, says)
        for what, (value, says) in bad_values(name, label, part, highest_of(space[name]), row).items()
    }
    lacking = {key: value for key, value in good.items() if key != name}
    bad["a missing name"] = (lacking, f"the task lacks {name}")
    bad["an unknown name"] = ({**good, name + "x": part}, f"unknown task parameter '{name}x': did you mean '{name}'")
    bad["a name misspelt"] = ({**lacking, name + "x": part}, f"'{name}x': did you mean '{name}'.*the task lacks {name}")
    bad["no mapping"] = ([0.5], rf"is a mapping with .*{name}, not \[0.5\]")
    bad["text"] = ("easy", r"is a mapping with .*, not 'easy'")
    return bad


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return all(same(a[key], b[key]) for key in a)
    return np.array_equal(np.asarray(a), np.asarray(b))


def actions_of(env: Any, n: int) -> list[Any]:
    env.action_space.seed(0)
    return [env.action_space.sample() for _ in range(n)]


@pytest.mark.parametrize("env_id", COMPILES)
def test_a_single_environment_says_what_is_wrong_and_goes_on(env_id: str) -> None:
    env, twin = made(env_id), made(env_id, 1)
    space, set_task = capability(env, "task_space"), capability(env, "set_task")
    good = task_of(space)
    for one in (env, twin):
        one.reset(seed=3, options={"task": good})
    actions = actions_of(env, 6)
    assert all(same(*pair) for pair in zip(env.step(actions[0])[:4], twin.step(actions[0])[:4], strict=True))
    for what, (task, says) in bad_tasks(space, capability(env, "task_names"), good).items():
        seed = 5 if env_id in SEED_AFTER_TASK else None
        if task is not None:  # None is no task: one is drawn
            with pytest.raises(ValueError, match=says):
                env.reset(seed=seed, options={"task": task})
                pytest.fail(f"accepted: {what}")
        if set_task is not None:
            with pytest.raises(ValueError, match=says):
                set_task(task)
                pytest.fail(f"accepted under way: {what}")
    for action in actions[1:]:
        assert all(same(*pair) for pair in zip(env.step(action)[:4], twin.step(action)[:4], strict=True))
    assert same(env.reset()[0], twin.reset()[0]), "a refused task drew from no generator"


@pytest.mark.parametrize("env_id", BATCH_IDS)
def test_a_batch_says_what_is_wrong_and_in_which_row_and_goes_on(env_id: str) -> None:
    env, twin = batch_of(env_id), batch_of(env_id)
    good: Any = batched(env)
    for one in (env, twin):
        one.reset(seed=3, options={"task": good})
    bad = bad_tasks(env.task_space, env.task_names, good, f" of row {ROWS - 1}")
    bad["the task of one row"] = (task_of(env.task_space), "has shape|is not")
    bad["a list of tasks"] = ([task_of(env.task_space)] * (ROWS + 1), "has shape|is a mapping")
    rows = np.array([True, False, True])
    for what, (task, says) in bad.items():
        for options in ({"task": task}, {"task": task, "reset_mask": rows}):
            if task is not None:
                with pytest.raises(ValueError, match=says):
                    env.reset(seed=5, options=options)
                    pytest.fail(f"accepted: {what}")
        with pytest.raises(ValueError, match=says):
            env.set_task(task, rows)
            pytest.fail(f"accepted under way: {what}")
    assert env.get_snapshot()["generators"] == twin.get_snapshot()["generators"]
    for action in actions_of(env, 4):
        assert all(same(*pair) for pair in zip(env.step(action)[:4], twin.step(action)[:4], strict=True))
    assert same(env.reset()[0], twin.reset()[0])


@pytest.mark.parametrize("env_id", BATCH_IDS)
@pytest.mark.parametrize("spoil", [np.nan, 1e9, None, "text"])
def test_what_rows_outside_the_mask_hold_does_not_matter(env_id: str, spoil: Any) -> None:
    env, twin = batch_of(env_id), batch_of(env_id)
    good: Any = batched(env)
    parts = (
        {k: np.array(v, dtype=object) for k, v in good.items()} if isinstance(good, dict) else np.array(good, object)
    )
    for part in parts.values() if isinstance(parts, dict) else [parts]:
        part[1] = spoil
    mask = np.array([True, False, True])
    for one, task in ((env, parts), (twin, good)):
        one.reset(seed=0)
        one.reset(options={"task": task, "reset_mask": mask})
        one.set_task(task, mask)
    assert same(env.get_snapshot(), twin.get_snapshot())


@pytest.mark.parametrize("env_id", IDS)
def test_every_parameter_of_a_task_has_a_name_and_a_unit(env_id: str) -> None:
    env = made(env_id)
    space: Any = capability(env, "task_space")
    names, units = capability(env, "task_names"), capability(env, "task_units")
    assert [p.name for p in TaskSpace(space, names=names, units=units).parameters if not p.unit] == []
    assert isinstance(space, spaces.Dict) != bool(names)


# -- the reader itself -------------------------------------------------------------------------------------------------


def test_everything_that_is_wrong_is_said_at_once() -> None:
    gate = PointMassGateBatch(2)
    with pytest.raises(ValueError) as told:
        gate.reset(options={"task": {"widht": np.ones(2), "position": [0.0, 9.0], 3: 1}})
    assert str(told.value) == (
        "unknown task parameter 'widht': did you mean 'width'? There are position, width; "
        "unknown task parameter 3: There are position, width; the task lacks width; "
        "position = 9 of row 1 lies outside [-4, 4]"
    )
    with pytest.raises(ValueError) as told:
        gate.set_task({"position": [0.0, None], "width": [1.0, 2.0, 3.0]})
    assert str(told.value) == (
        "position = None of row 1 is not a number in [-4, 4]; "
        "width has shape (3,), not (2,): a number in [0.5, 8] for each of 2 rows"
    )


BOX = spaces.Box(np.array([0.0, -1.0]), np.array([1.0, 2.0]), dtype=np.float64)
WIDE = spaces.Box(np.arange(6.0), np.arange(6.0) + 1, dtype=np.float64)
MANY = spaces.Dict({"kind": spaces.Discrete(3, start=1), "shape": spaces.MultiDiscrete(np.array([[2, 3], [4, 5]]))})


@pytest.mark.parametrize(
    ("space", "task", "says"),
    [
        (BOX, [0.5], r"^task has shape \(1,\), not \(2,\): 2 numbers, x in \[0, 1\], y in \[-1, 2\]$"),
        (BOX, [[0.5, 0.5]], r"^task has shape \(1, 2\), not \(2,\)"),
        (BOX, [[0.5], [0.5, 1.0]], r"^task = \[\[0.5\], \[0.5, 1.0\]\] is not 2 numbers, x in"),
        (BOX, [0.5, 1j], r"^x = \(?0.5\+0j\)? is not a number|^x = .*0.5\+0j.* is not a number in \[0, 1\]"),
        (BOX, [0.5, 10**400], r"^y = 1000\S+ is not a number in \[-1, 2\]$"),
        (BOX, [0.5, np.inf], r"^y = inf lies outside \[-1, 2\]$"),
        (BOX, np.array([0.5, "2"], dtype=object), r"^y = '2' is not a number"),
        (BOX, {0.5, 1.0}, r"^task = {.*} is not 2 numbers"),
        (MANY, {"kind": 1.5, "shape": np.zeros((2, 2))}, r"^kind = 1.5 must be a whole number in \[1, 3\]$"),
        (MANY, {"kind": 0, "shape": np.full((2, 2), 4)}, r"^kind = 0 .*; shape\[0,0\] = 4 .* \(and 2 more of shape\)$"),
        (MANY, {"kind": 1, "shape": np.zeros(4)}, r"not \(2, 2\): 4 whole numbers, \[0,0\] in \[0, 1\], \[0,1\] in"),
    ],
)
def test_the_reader_says_what_came_and_what_may_come(space: Any, task: Any, says: str) -> None:
    reader = TaskReader(space, ("x", "y") if space is BOX else None)
    with pytest.raises(ValueError, match=says):
        reader.read(task)


def test_long_values_and_many_bounds_are_cut_short() -> None:
    with pytest.raises(ValueError) as told:
        TaskReader(WIDE).read("long " * 1000)
    assert len(str(told.value)) < 200 and str(told.value).endswith("[3] in [3, 4], ...")
    with pytest.raises(ValueError) as told:
        GridMazeBatch(2).reset(options={"task": [GridMaze().empty_room] * 2})
    assert len(str(told.value)) < 400 and "a mapping with agent, cells, density, direction, goal" in str(told.value)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.uint8, bool, object])
def test_every_kind_of_number_is_read(kind: Any) -> None:
    values = TaskReader(BOX).read(np.array([1, 0], dtype=kind))
    assert values.dtype == np.float64 and values.tolist() == [[1.0, 0.0]]
    mapping = {"kind": np.array(1, dtype=kind), "shape": np.ones((2, 2), dtype=kind)}
    assert TaskReader(MANY).read(mapping).tolist() == [[1.0] * 5]


def test_a_space_that_is_no_numbers_is_refused() -> None:
    with pytest.raises(TypeError, match="a Box, Discrete or MultiDiscrete space, not Text"):
        TaskReader(spaces.Dict({"word": spaces.Text(5)}))
