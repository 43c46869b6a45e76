"""Time StumpTracks against BipedalWalker-v3: python scripts/time_stump_tracks.py [--rounds 15] [--steps 1000].

Prints a markdown table of microseconds per step and milliseconds per reset, with the ratios to BipedalWalker. All
environments play random actions in turn, so that a busy machine slows them alike; times are CPU times of the one
thread, resets apart from steps, and medians over the rounds. StumpTracks plays stumps of 1.5 steps every 3 m.
BipedalWalker needs pygame, also where nothing is drawn: pip install gymnasium[box2d].
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym
import numpy as np

TASK = {"stump_height": 1.5, "obstacle_spacing": 3.0}
REFERENCE = "BipedalWalker-v3"

ENVIRONMENTS: dict[str, Callable[[], gym.Env[Any, Any]]] = {
    REFERENCE: lambda: gym.make("BipedalWalker-v3"),
    "StumpTracks-v0, numba": lambda: gym.make("rlteach_envs:rlteach/StumpTracks-v0", lidar="numba"),
    "StumpTracks-v0, numpy": lambda: gym.make("rlteach_envs:rlteach/StumpTracks-v0", lidar="numpy"),
    "StumpTracksFast-v0, numba": lambda: gym.make("rlteach_envs:rlteach/StumpTracksFast-v0", lidar="numba"),
    "StumpTracksFast-v0, numpy": lambda: gym.make("rlteach_envs:rlteach/StumpTracksFast-v0", lidar="numpy"),
}


def play(env: gym.Env[Any, Any], actions: np.ndarray, seed: int, options: dict[str, Any] | None) -> tuple[float, float]:
    """Return seconds per step and per reset of playing the actions, episode after episode."""
    stepping, resetting, resets = 0.0, 0.0, 0
    queue = iter(actions)
    action = next(queue, None)
    while action is not None:
        start = time.thread_time()
        env.reset(seed=None if resets else seed, options=options)
        resets += 1
        begun = time.thread_time()
        over = False
        while action is not None and not over:
            _, _, terminated, truncated, _ = env.step(action)
            over = terminated or truncated
            action = next(queue, None)
        stepping += time.thread_time() - begun
        resetting += begun - start
    return stepping / len(actions), resetting / resets


def measure(rounds: int, steps: int) -> dict[str, tuple[float, float]]:
    """Return the medians over the rounds, after one round that does not count."""
    envs = {name: make().unwrapped for name, make in ENVIRONMENTS.items()}
    options = {name: None if name == REFERENCE else {"task": TASK} for name in envs}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in envs}
    for i in range(rounds + 1):
        actions = np.random.default_rng(i).uniform(-1, 1, (steps, 4)).astype(np.float32)
        for name, env in envs.items():
            times[name].append(play(env, actions, 1000 * i, options[name]))
    return {
        name: (statistics.median(s for s, _ in found[1:]), statistics.median(r for _, r in found[1:]))
        for name, found in times.items()
    }


def table(times: dict[str, tuple[float, float]]) -> str:
    step_0, reset_0 = times[REFERENCE]
    lines = ["| environment | us/step | x faster | ms/reset | x faster |", "|---|---|---|---|---|"]
    for name, (step, reset) in times.items():
        ratios = f"{step * 1e6:.1f} | {step_0 / step:.2f} | {reset * 1e3:.3f} | {reset_0 / reset:.1f}"
        lines.append(f"| {name} | {ratios} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="rounds that count")
    parser.add_argument("--steps", type=int, default=1000, help="steps of each environment per round")
    chosen = parser.parse_args()
    print(table(measure(chosen.rounds, chosen.steps)))
