"""Measure what students cost: transitions per processor second of training, microseconds per call of acting.

    python scripts/time_students.py                 # all architectures, as a markdown table
    python scripts/time_students.py --quick         # fewer repetitions
    python scripts/time_students.py --architectures gru lstm

Training is forward, backward and Adam over sequences of 100 steps in 64 rows, with 12 observations and 4 actions, for
three shares of steps that begin an episode. Times are those of the process on one thread, medians, taken in turn, so
that a busy machine slows all alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from gymnasium import spaces
from torch.nn import functional as F

from rlteach.distillation.architectures import MLP
from rlteach.distillation.losses import action_mse
from rlteach.distillation.student import Student
from rlteach.distillation.students import make_student

STEPS, ROWS, SEEN, ACTIONS = 100, 64, 12, 4
STARTS = (0.0, 0.01, 0.2)
FLAT = ["mlp", "stack", "gru", "lstm", "transformer"]


def new_student(architecture: str) -> Student:
    return make_student(architecture, spaces.Box(-9, 9, (SEEN,)), spaces.Box(-1, 1, (ACTIONS,)), seed=0)


def training(student: Student, share: float) -> Callable[[], None]:
    """Return a function that takes one step of Adam over a batch of sequences."""
    generator = torch.Generator().manual_seed(0)
    seen = torch.randn(STEPS, ROWS, SEEN, generator=generator)
    labels = torch.rand(STEPS, ROWS, ACTIONS, generator=generator)
    starts = torch.rand(STEPS, ROWS, generator=generator) < share
    starts[0] = True
    optimizer = torch.optim.Adam(student.parameters())

    def update() -> None:
        features, _ = student.sequence(seen, starts, student.initial_state(ROWS))
        optimizer.zero_grad()
        action_mse(student.head(features), labels).backward()
        optimizer.step()

    return update


def acting(student: Student, rows: int) -> Callable[[], object]:
    """Return a function that acts once in `rows` environments, memory carried along."""
    seen = np.random.default_rng(0).normal(size=(rows, SEEN)).astype(np.float32)
    starts = np.zeros(rows, dtype=bool)
    state = student.act(seen)[1]
    return lambda: student.act(seen, state, starts)


def bare(student: MLP, rows: int) -> Callable[[], object]:
    """Return a function that does nothing but the matrix products and activations of an MLP."""
    layers = [(layer.weight, layer.bias) for layer in student.body if isinstance(layer, torch.nn.Linear)]
    seen = torch.randn(rows, SEEN)

    @torch.inference_mode()
    def forward() -> object:
        x = seen
        for weight, bias in layers:
            x = F.linear(x, weight, bias).tanh()
        return student.head(x)

    return forward


def medians(calls: dict[str, Callable[[], object]], rounds: int, each: int) -> dict[str, float]:
    """Return processor seconds per call, the calls taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(rounds + 1):
        for name, call in calls.items():
            begun = time.process_time()
            for _ in range(each):
                call()
            if round_:  # the first round warms up
                times[name].append((time.process_time() - begun) / each)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--architectures", nargs="+", choices=FLAT, default=FLAT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    students = {name: new_student(name) for name in arguments.architectures}

    updates = {f"{n} {p}": training(student, p) for n, student in students.items() for p in STARTS}
    trained = medians(updates, 3 if arguments.quick else 21, 1)
    acts: dict[str, Callable[[], object]] = {f"{n} {m}": acting(s, m) for n, s in students.items() for m in (1, 64)}
    mlp = students.get("mlp")
    if isinstance(mlp, MLP):
        acts |= {f"bare mlp {m}": bare(mlp, m) for m in (1, 64)}
    acted = medians(acts, 11 if arguments.quick else 101, 20)

    shares = " | ".join(f"{share:.0%} starts" for share in STARTS)
    print(f"thousand transitions per processor second, {ROWS} rows of {STEPS} steps; us per call of `act`\n")
    print(f"| student | weights | {shares} | act, 1 row | act, 64 rows |")
    print("|" + "---|" * (4 + len(STARTS)))
    for name, student in students.items():
        speeds = " | ".join(f"{STEPS * ROWS / trained[f'{name} {share}'] / 1000:.0f}k" for share in STARTS)
        calls = " | ".join(f"{1e6 * acted[f'{name} {rows}']:.0f}" for rows in (1, 64))
        print(f"| {name} | {student.parameter_count} | {speeds} | {calls} |")
    if mlp is not None:
        calls = " | ".join(f"{1e6 * acted[f'bare mlp {rows}']:.0f}" for rows in (1, 64))
        print(f"| products and activations of mlp alone | | {' | '.join('' for _ in STARTS)} | {calls} |")


if __name__ == "__main__":
    main()
