"""An id with Gymnasium's time limit: a fall at the last step terminates the episode and does not truncate it."""

import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import rlteach_envs
from rlteach_envs.one_end import OneEnd

from rlteach.snapshots.base import layers_of, set_elapsed
from rlteach.snapshots.restorable import capture, restorable, restore

LIMITED = sorted(
    env_id for env_id, spec in gym.registry.items() if env_id in rlteach_envs.OFFERS and spec.max_episode_steps
)
FALLING = [env_id for env_id in LIMITED if "HalfCheetah" not in env_id and "Ant" not in env_id]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo writes its log into the working directory."""
    monkeypatch.chdir(tmp_path)


def made(env_id: str | Any, **kwargs: Any) -> gym.Env[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Box2D's own types lack a __module__
            return gym.make(env_id, **kwargs)
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        pytest.skip(str(error))


def ends(env: gym.Env[Any, Any]) -> tuple[int, bool, bool]:
    """Return number, `terminated` and `truncated` of the last step of an episode of random actions."""
    env.reset(seed=0)
    env.action_space.seed(0)
    for step in range(1, 1001):
        terminated, truncated = env.step(env.action_space.sample())[2:4]
        if terminated or truncated:
            return step, bool(terminated), bool(truncated)
    raise AssertionError("no end")


def test_every_id_with_a_limit_has_one_end() -> None:
    assert len(LIMITED) == 7
    assert all(gym.spec(env_id).max_episode_steps == 1000 for env_id in LIMITED)
    assert all(wrapper.name == "OneEnd" for env_id in LIMITED for wrapper in gym.spec(env_id).additional_wrappers)


@pytest.mark.parametrize("env_id", FALLING)
def test_a_fall_at_the_last_step_is_no_truncation(env_id: str) -> None:
    fall, terminated, truncated = ends(made(env_id))
    assert terminated and not truncated
    assert ends(made(env_id, max_episode_steps=fall)) == (fall, True, False)
    assert ends(made(env_id, max_episode_steps=fall - 1)) == (fall - 1, False, True)


@pytest.mark.parametrize("env_id", LIMITED)
def test_the_limit_is_told_counted_and_no_part_of_a_snapshot(env_id: str) -> None:
    env = made(env_id, max_episode_steps=30)
    assert isinstance(env, OneEnd)
    assert env.spec is not None and env.spec.max_episode_steps == 30
    again = restorable(made(env.spec))
    env = restorable(env)
    assert [type(layer) for layer in layers_of(env)] == [type(layer) for layer in layers_of(again)]
    env.reset(seed=0)
    data = capture(env)
    unlimited = restorable(made(env_id, max_episode_steps=-1).env)  # type: ignore[attr-defined] - without OneEnd
    restore(unlimited, data)
    restore(again, data)
    set_elapsed(again, 29)
    assert again.step(again.action_space.sample())[3]
