"""Actions that are none are refused in words before anything changes, and the episode goes on as without them."""

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import rlteach_envs
from gymnasium import spaces
from rlteach_envs.action_reader import ActionReader

BATCH_IDS = [env_id for env_id, offers in rlteach_envs.OFFERS.items() if "batch form" in offers]
CASES: list[tuple[str, dict[str, Any]]] = [
    *((env_id, {"backend": "numpy"} if "Quadrotor" in env_id else {}) for env_id in BATCH_IDS),
    ("rlteach/CarRacingFeatures-v0", {}),
    ("rlteach/HopperDynamics-v0", {}),
    ("rlteach/MaskedHopper-v0", {}),
    ("rlteach/MaskedLunarLander-v0", {}),
    ("rlteach/MiniGridMaze-v0", {}),
    ("rlteach/Parkour-v0", {"lidar": "numpy", "body": "climbing_chimpanzee"}),
    ("rlteach/StumpTracksFast-v0", {"lidar": "numpy"}),
    ("rlteach/TerrainWalker-v0", {}),
    ("rlteach/UEDWalker-v0", {"lidar": "numpy"}),
]
COMPILES = [
    pytest.param(*case, id=case[0].removeprefix("rlteach/"), marks=[pytest.mark.slow] * ("CarRacing" in case[0]))
    for case in CASES
]
ROWS = 3


def made(env_id: str, kwargs: dict[str, Any]) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # SWIG's own types, at the import of Box2D
            return gym.make(env_id, disable_env_checker=True, **kwargs)
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        pytest.skip(str(error))


def bad_actions(space: Any, rows: int | None = None) -> list[tuple[Any, str]]:
    """Return what is no action, and what the error says."""
    lead = () if rows is None else (rows,)
    shape = (*lead, *space.shape)
    bad: list[tuple[Any, str]] = [
        (None, "action = None is none: an action is "),
        ("left", "action = 'left' is none"),
        ({"a": 1}, "action = {'a': 1} is none"),
        ([[0.0], [0.0, 1.0]], r"action = .* is none"),
        (np.zeros((1, *shape), np.int64), r"action has shape .*give the action of the only row"),
        (np.zeros((*shape, 2), np.int64), r"action has shape \(.*\), not \(.*\): an action is "),
    ]
    if isinstance(space, spaces.Discrete):
        for wrong in (-1, int(space.n)):
            bad.append((np.full(shape, wrong), rf"actions are 0 to {space.n - 1}, not "))
        return [*bad, (np.zeros(shape), "none|whole number"), (np.zeros(shape, bool), "none|whole number")]
    for wrong in (np.nan, np.inf, -np.inf):
        action = np.zeros(shape, np.float32)
        action.flat[-1] = wrong
        row = "" if rows is None else f" of row {rows - 1}"
        bad.append((action, rf"action\[{space.shape[0] - 1}\] = {wrong}{row} is not finite: an action is "))
    bad.append((np.zeros((*lead, space.shape[0] + 1), np.float32), "action has shape"))
    bad.append((np.zeros((*lead, space.shape[0] - 1), np.float32), "action has shape"))
    bad.append((0.5, r"action has shape \(\), not "))
    bad.append((np.zeros(shape, complex), "is none"))
    return bad


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return all(same(a[key], b[key]) for key in a)
    return np.array_equal(np.asarray(a), np.asarray(b))


def goes_on_as_its_twin(env: Any, twin: Any, bad: list[tuple[Any, str]], space: Any) -> None:
    space.seed(0)
    actions = [space.sample() for _ in range(4)]
    for one in (env, twin):
        one.reset(seed=3)
        one.step(actions[0])
    for action, says in bad:
        with pytest.raises(ValueError, match=says):
            env.step(action)
            pytest.fail(f"accepted: {action!r}")
    for action in actions[1:]:
        assert all(same(*pair) for pair in zip(env.step(action)[:4], twin.step(action)[:4], strict=True))
    assert same(env.reset()[0], twin.reset()[0])


@pytest.mark.parametrize(("env_id", "kwargs"), COMPILES)
def test_a_single_environment_refuses_what_is_no_action_and_goes_on(env_id: str, kwargs: dict[str, Any]) -> None:
    env, twin = made(env_id, kwargs), made(env_id, kwargs)
    goes_on_as_its_twin(env, twin, bad_actions(env.action_space), env.action_space)


@pytest.mark.parametrize("env_id", BATCH_IDS)
def test_a_batch_refuses_what_is_no_action_of_its_rows_and_goes_on(env_id: str) -> None:
    kwargs: dict[str, Any] = {"backend": "numpy"} if "Quadrotor" in env_id else {}
    env, twin = (gym.make_vec(env_id, num_envs=ROWS, **kwargs).unwrapped for _ in range(2))
    single = env.single_action_space
    bad = [*bad_actions(single, ROWS), (single.sample(), "action has shape"), (np.zeros((0, 0)), "action has shape")]
    goes_on_as_its_twin(env, twin, bad, env.action_space)


@pytest.mark.parametrize(("given", "kind"), [([3.0, -5.0], list), ([1, 0], list), ((0.5, 0.5), tuple)])
def test_every_kind_of_number_is_an_action_whatever_its_size(given: Any, kind: type) -> None:
    reader = ActionReader(spaces.Box(-1.0, 1.0, (2,)))
    assert isinstance(given, kind) and np.array_equal(reader.read(given), [given])
    for dtype in (np.float16, np.float32, np.float64, np.int8, np.uint64):
        array = np.array([1, 0], dtype=dtype)
        assert reader.read(array)[0].base is array, "no copy"


def test_a_large_batch_is_looked_at_as_a_small_one_is() -> None:
    for rows in (2, 500):
        reader = ActionReader(spaces.Box(-1.0, 1.0, (3,)), rows)
        actions = np.zeros((rows, 3))
        assert reader.read(actions) is actions
        for wrong in (np.nan, np.inf, -np.inf):
            actions[1, 2] = wrong
            with pytest.raises(ValueError, match=rf"action\[2\] = {wrong} of row 1 is not finite.* of {rows} rows"):
                reader.read(actions)
        reader = ActionReader(spaces.Discrete(3), rows)
        for wrong in (-1, 3):
            with pytest.raises(ValueError, match="actions are 0 to 2, not "):
                reader.read(np.append(np.zeros(rows - 1, np.int64), wrong))
