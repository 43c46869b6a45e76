"""What a curriculum costs: CPU seconds per 100k steps of PPO with 64 environments, and how fast the suite starts.

    python scripts/time_training.py

Stable-Baselines3's PPO and `fast_ppo` are timed on environments that do nothing (what they cost themselves), on the
native batch environments without a teacher, and taught by each teacher. All are timed in one process, in turn, several
times; the table shows medians.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

import rlteach
from rlteach.learners.fast_ppo import FastPPO

N_ENVS = 64
SETTINGS: dict[str, Any] = {"n_steps": 128, "batch_size": 1024, "n_epochs": 6, "learning_rate": 1e-3}
"""Those of benchmarks/goal_maze.py."""

LEARNERS: dict[str, type[PPO]] = {"ppo": PPO, "fast_ppo": FastPPO}
TEACHERS = ("uniform", "alp_gmm", "covar_gmm", "success_guided", "frontier")


class Idle(VecEnv):
    """Environments that do nothing, with the spaces of GoalMaze."""

    def __init__(self) -> None:
        super().__init__(N_ENVS, spaces.Box(-1.5, 1.5, (4,), np.float32), spaces.Box(-1.0, 1.0, (2,), np.float32))
        self._observation = np.zeros((N_ENVS, 4), np.float32)

    def reset(self) -> Any:
        return self._observation

    def step_async(self, actions: np.ndarray) -> None:
        pass

    def step_wait(self) -> Any:
        return self._observation, np.zeros(N_ENVS, np.float32), np.zeros(N_ENVS, bool), [{} for _ in range(N_ENVS)]

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [None] * N_ENVS

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        pass

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        return [None] * N_ENVS

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * N_ENVS


def untaught(env_id: str) -> VecEnv:
    return rlteach.make_vec_env(env_id, N_ENVS, seed=0)


def taught(env_id: str, teacher: str) -> VecEnv:
    venv = untaught(env_id)
    return_range = venv.get_attr("return_range")[0]
    kwargs = {} if teacher == "uniform" else {"return_range": return_range}
    return rlteach.attach(venv, rlteach.make_teacher(teacher, venv.get_attr("task_space")[0], seed=0, **kwargs))


def cpu_s_per_100k(learner: type[PPO], make: Callable[[], VecEnv], steps: int) -> float:
    model = learner("MlpPolicy", make(), seed=0, device="cpu", **SETTINGS)
    start = time.process_time()
    model.learn(steps)
    return (time.process_time() - start) / model.num_timesteps * 100_000


def start_up(arguments: list[str]) -> float:
    """Return the wall seconds of a fresh Python process, the fastest of five."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=98_304, help="environment steps of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each row")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, Callable[[], VecEnv]] = {"environments that do nothing": Idle}
    for env_id in ("rlteach/GoalMaze-v0", "rlteach/PointMassGate-v0"):
        rows[f"{env_id}, no teacher"] = lambda env_id=env_id: untaught(env_id)
        for teacher in TEACHERS:
            rows[f"{env_id}, {teacher}"] = lambda env_id=env_id, teacher=teacher: taught(env_id, teacher)
    measured: dict[tuple[str, str], list[float]] = {(name, learner): [] for name in rows for learner in LEARNERS}
    for learner in LEARNERS.values():
        cpu_s_per_100k(learner, Idle, 8_192)  # imports that torch puts off until the first optimiser step
    for _ in range(options.rounds):
        for name, learner in measured:
            measured[name, learner].append(cpu_s_per_100k(LEARNERS[learner], rows[name], options.steps))
    print(f"{N_ENVS} environments, {options.rounds} rounds of {options.steps:,} steps\n")
    print("| CPU s per 100k steps, median (min - max) | " + " | ".join(LEARNERS) + " | times faster |")
    print("|---|" + "--:|" * (len(LEARNERS) + 1))
    for name in rows:
        both = [measured[name, learner] for learner in LEARNERS]
        cells = [f"{median(values):.2f} ({min(values):.2f} - {max(values):.2f})" for values in both]
        print(f"| {name} | {' | '.join(cells)} | {median(both[0]) / median(both[1]):.2f} |")
    print("\n| start-up | s |\n|---|--:|")
    for shown, arguments in {
        "import rlteach": ["-c", "import rlteach"],
        "rlteach --help": ["-m", "rlteach", "--help"],
        "rlteach list teachers": ["-m", "rlteach", "list", "teachers"],
        "import stable_baselines3": ["-c", "import stable_baselines3"],
    }.items():
        print(f"| {shown} | {start_up(arguments):.2f} |")


if __name__ == "__main__":
    main()
