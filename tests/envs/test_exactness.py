"""Every environment goes on bit by bit from a snapshot: in itself, in another one, and in another process.

From each state 100 steps are played, then from its snapshot again, and all observations, rewards and ends compared.
Where an episode ends, the next one is begun without a seed, so that generators are compared as well. 10 states of each
and 2 in another process, or as many as the variable RLTEACH_STATES says (`scripts/test --full`: 1,000).
"""

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rlteach.snapshots.restorable import capture, restorable, restore
from tests.envs.family import CASES, made, named, put_further_on

ROOT = Path(__file__).resolve().parents[2]
STATES = int(os.environ.get("RLTEACH_STATES", "10"))
ELSEWHERE = int(os.environ.get("RLTEACH_STATES", "2"))
STEPS = 100
BETWEEN = 40
"""Steps between two states, at most."""


def make(env_id: str, kwargs: dict[str, Any]) -> gym.Env[Any, Any]:
    """Build without the limit of a wrapper, whose count is no part of a snapshot."""
    env = restorable(made(env_id, max_episode_steps=-1, **kwargs))
    env.reset(seed=0)
    return env


def bytes_of(value: Any) -> bytes:
    if isinstance(value, dict):
        return b"".join(bytes_of(value[key]) for key in sorted(value))
    return np.ascontiguousarray(value).tobytes()


def digest(*told: bytes) -> str:
    return hashlib.sha256(b"".join(told)).hexdigest()[:16]


def played(env: gym.Env[Any, Any], actions: list[Any]) -> list[str]:
    """Return a digest of what each step brought, and each start of an episode after the first."""
    steps = []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        steps.append(digest(bytes_of(observation), np.float64(reward).tobytes(), bytes([terminated, truncated])))
        if terminated or truncated:
            steps.append(digest(bytes_of(env.reset()[0])))
    return steps


def states_of(
    env_id: str, kwargs: dict[str, Any], count: int, *, again: bool = True
) -> list[tuple[bytes, list[Any], list[str]]]:
    """Return snapshots of states of many episodes, actions, and what these brought.

    Args:
        env_id: What to play.
        kwargs: Its keyword arguments.
        count: How many states.
        again: Whether to play on from each snapshot here, too, and in another environment.
    """
    env = make(env_id, kwargs)
    others = [env, make(env_id, kwargs)] if again else []
    for other in others[1:]:
        other.reset(seed=99)
    env.action_space.seed(0)
    rng = np.random.default_rng(0)
    found = []
    while len(found) < count:
        if len(found) % 2:
            put_further_on(env.unwrapped, rng)
        data = capture(env)
        actions = [env.action_space.sample() for _ in range(STEPS)]
        first = played(env, actions)
        where = f"state {len(found)} of {env_id} {kwargs}"
        for restored in others:
            restore(restored, data)
            assert played(restored, actions) == first, where
        found.append((data, actions, first))
        restore(env, data)
        for _ in range(int(rng.integers(1, BETWEEN))):
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("env_id", "kwargs"), CASES, ids=named)
def test_states_come_back_bit_by_bit_in_this_environment_and_in_another(env_id: str, kwargs: dict[str, Any]) -> None:
    found = states_of(env_id, kwargs, STATES)
    assert len({data for data, _, _ in found}) == STATES


@pytest.mark.slow
@pytest.mark.parametrize("half", [0, 1])
def test_another_process_goes_on_bit_by_bit(tmp_path: Path, half: int) -> None:
    count = 0
    for number, (env_id, kwargs) in enumerate(CASES[half::2]):
        try:
            content = env_id, kwargs, states_of(env_id, kwargs, ELSEWHERE, again=False)
        except pytest.skip.Exception:  # the test above says what to install
            continue
        count += 1
        (tmp_path / f"{number}.states").write_bytes(pickle.dumps(content))
    told = subprocess.run(
        [sys.executable, "-m", "tests.envs.test_exactness", str(tmp_path)],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert told.stdout.decode().split() == [str(ELSEWHERE)] * count


def main(directory: str) -> None:
    """Play on in this process what another one has played, and print how many states of each environment that were."""
    for path in sorted(Path(directory).glob("*.states")):
        env_id, kwargs, found = pickle.loads(path.read_bytes())
        env = make(env_id, kwargs)
        for number, (data, actions, first) in enumerate(found):
            restore(env, data)
            assert played(env, actions) == first, f"state {number} of {env_id} {kwargs} in another process"
        print(len(found))


if __name__ == "__main__":
    main(sys.argv[1])
