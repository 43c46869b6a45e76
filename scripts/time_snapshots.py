"""Time taking and restoring snapshots: python scripts/time_snapshots.py [--states 200].

Prints a markdown table of microseconds: saving and restoring in place, turning a snapshot into bytes and back, and of
bytes. States come from an episode of random actions; times are CPU times of the one thread, medians over the states.
What a step of Pendulum-v1 took between them tells how busy the machine was.
Action replay restores by playing the episode again, so it costs as much as the episode is old: there, states are
50 steps old at most.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym

from rlteach.snapshots.encoding import decode, encode
from rlteach.snapshots.restorable import restorable

ENVIRONMENTS = (
    "Hopper-v5",
    "HalfCheetah-v5",
    "Walker2d-v5",
    "Ant-v5",
    "Humanoid-v5",
    "Pendulum-v1",
    "CartPole-v1",
    "rlteach_envs:rlteach/GoalMaze-v0",
    "rlteach_envs:rlteach/StumpTracks-v0",
    "LunarLanderContinuous-v3",
    "BipedalWalker-v3",
)
OLDEST = 50
YARDSTICK = "Pendulum-v1"
YARDSTICK_STEPS = 20


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the microseconds that a call took, and what it returned."""
    begun = time.thread_time_ns()
    result = call()
    return (time.thread_time_ns() - begun) / 1000, result


def measure(name: str, states: int) -> list[float]:
    """Return the medians for one environment: save, restore, encode, decode, bytes, and a step of the yardstick."""
    env = restorable(gym.make(name, disable_env_checker=True))
    yardstick = gym.make(YARDSTICK, disable_env_checker=True, max_episode_steps=states * YARDSTICK_STEPS)
    yardstick.reset(seed=0)
    push = yardstick.action_space.sample()
    env.action_space.seed(0)
    env.reset(seed=0)
    take, put = env.get_wrapper_attr("get_snapshot"), env.get_wrapper_attr("set_snapshot")
    rows: list[tuple[float, ...]] = []
    age = 0
    while len(rows) < states:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        age += 1
        if terminated or truncated or age >= OLDEST:
            env.reset()
            age = 0
        save, snapshot = timed(take)
        restore, _ = timed(lambda s=snapshot: put(s))
        encoding, data = timed(lambda s=snapshot: encode(s))
        decoding, _ = timed(lambda d=data: decode(d))
        stepping, _ = timed(lambda: [yardstick.step(push) for _ in range(YARDSTICK_STEPS)])
        rows.append((save, restore, encoding, decoding, float(len(data)), stepping / YARDSTICK_STEPS))
    env.close()
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=200)
    states = parser.parse_args().states
    print(f"| environment | save | restore | encode | decode | bytes | a step of {YARDSTICK} |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in ENVIRONMENTS:
        values = " | ".join(f"{value:.0f}" for value in measure(name, states))
        print(f"| {name.rpartition(':')[2]} | {values} |", flush=True)


if __name__ == "__main__":
    main()
