"""Measure what acting costs in every exported form: microseconds per observation, one at a time.

    python scripts/time_export.py                   # all architectures of 64 units, and SB3's `predict`, as a table
    python scripts/time_export.py --quick           # fewer repetitions

12 observations, 4 actions. Times are those of the process on one thread, medians, taken in turn, so that a busy machine
slows all alike. C is compiled with -O3 and times itself.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from rlteach.distillation.c_source import KINDS, c_header
from rlteach.distillation.numpy_runner import Policy
from rlteach.distillation.onnx_graph import onnx_bytes
from rlteach.distillation.parity import c_compiler, onnx_session
from rlteach.distillation.portable import Network, of_student
from rlteach.distillation.student import Student
from rlteach.distillation.students import make_student
from rlteach.learners.policy_files import SpacesOnly

SEEN, ACTIONS = spaces.Box(-9, 9, (12,)), spaces.Box(-1, 1, (4,))
ARCHITECTURES = ["mlp", "stack", "gru", "lstm", "transformer"]

TIMER = """\
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>
#include "policy.h"
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return 1e6 * t.tv_sec + 1e-3 * t.tv_nsec;
}
int main(void)
{
    policy_state memory;
    float seen[POLICY_OBSERVATIONS] = {0}, action[POLICY_ACTIONS];
    volatile float kept = 0.0f;
    int round, i;
    policy_init(&memory);
    for (round = 0; round < 101; round++) {
        const double begun = now();
        for (i = 0; i < 1000; i++) {
            seen[i % POLICY_OBSERVATIONS] = 0.001f * i;
            policy_act(&memory, seen, action);
            kept += action[0];
        }
        printf("%g\\n", (now() - begun) / 1000);
    }
    return 0;
}
"""


def in_c(network: Network) -> float | None:
    """Return microseconds per act of the compiled header; None where there is no C form or no compiler."""
    compiler = c_compiler()
    if compiler is None or network.kind not in KINDS:
        return None
    vectors = {"observations": np.zeros((1, 12)), "starts": [True], "actions": np.zeros((1, 4))}
    header = c_header(network, "policy", vectors | {"states": np.zeros((1, network.state_size))})
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "policy.h").write_text(header)
        (Path(place) / "time.c").write_text(TIMER)
        subprocess.run([compiler, "-std=c99", "-O3", "-o", "time", "time.c", "-lm"], cwd=place, check=True)
        printed = subprocess.run([f"{place}/time"], capture_output=True, text=True, check=True).stdout
    return statistics.median(float(line) for line in printed.split()[1:])


def forms(student: Student) -> dict[str, Callable[[], Any]]:
    """Return functions that act once, memory carried along."""
    network = of_student(student)
    policy, session = Policy({"network": network.describe()}, network.arrays), onnx_session(onnx_bytes(network))
    seen = np.random.default_rng(0).normal(size=12).astype(np.float32)
    row, memory = seen[None], student.act(seen[None])[1]
    feed = {"observations": row} | ({"state": memory} if network.state_size else {})
    return {
        "numpy": lambda: policy.act(seen),
        "onnxruntime": lambda: session.run(None, feed),
        "torch": lambda: student.act(row, memory),
    }


def predict() -> Callable[[], Any]:
    """Return a function that calls the `predict` of a PPO of the same size once."""
    model = PPO("MlpPolicy", DummyVecEnv([lambda: SpacesOnly(SEEN, ACTIONS)]), seed=0, device="cpu")
    seen = np.random.default_rng(0).normal(size=12).astype(np.float32)
    return lambda: model.predict(seen, deterministic=True)


def medians(calls: dict[str, Callable[[], Any]], rounds: int, each: int) -> dict[str, float]:
    """Return microseconds of processor time per call, the calls taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(rounds + 1):
        for name, call in calls.items():
            begun = time.process_time()
            for _ in range(each):
                call()
            if round_:  # the first round warms up
                times[name].append(1e6 * (time.process_time() - begun) / each)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    rounds = 5 if parser.parse_args().quick else 51
    torch.set_num_threads(1)
    students = {name: make_student(name, SEEN, ACTIONS, seed=0) for name in ARCHITECTURES}
    calls = {f"{name} {form}": call for name, student in students.items() for form, call in forms(student).items()}
    times = medians({**calls, "predict": predict()}, rounds, 100)
    columns = ["numpy", "onnxruntime", "torch"]
    print("us per observation, one at a time, 12 observations, 4 actions\n")
    print(f"| student | C | {' | '.join(columns)} |")
    print("|---|---|---|---|---|")
    for name, student in students.items():
        compiled = in_c(of_student(student))
        cells = ["-" if compiled is None else f"{compiled:.1f}", *(f"{times[f'{name} {c}']:.0f}" for c in columns)]
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\nPPO.predict of Stable-Baselines3, 64x64: {times['predict']:.0f}")


if __name__ == "__main__":
    main()
