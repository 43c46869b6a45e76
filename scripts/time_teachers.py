"""Measure what teachers cost: processor time per episode and longest call as a markdown table, or memory.

    python scripts/time_teachers.py                                   # 2-D and 8-D, 1 and 64 lessons per call
    python scripts/time_teachers.py --dimensions 2 --teachers frontier alp_gmm
    python scripts/time_teachers.py --memory --episodes 1000000       # growth of the resident memory; takes minutes

A toy learner plays: its return rises with the episodes and falls with the distance from the origin of the unit cube.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from rlteach.lesson import Lesson, Outcome
from rlteach.registry import entries
from rlteach.task_space import TaskSpace
from rlteach.teachers.base import make_teacher

HARDEST_AFTER = 5_000
"""Episodes after which the toy learner masters everything."""


def build(name: str, dimension: int) -> Any:
    space = TaskSpace(Box(0.0, 1.0, (dimension,), np.float64))
    extra: dict[str, Any] = {}
    if name == "oracle":
        extra["oracle_window"] = partial(window_of, space)
    elif name == "replay":
        extra["lessons"] = [space.to_mapping(task) for task in space.test_set(1000, seed=0)]
    return make_teacher(name, space, seed=0, **extra)


def window_of(space: TaskSpace, progress: float, rng: np.random.Generator) -> Any:
    return space.from_unit((0.1 + 0.9 * progress) * rng.random(space.dimension))


def played(lessons: list[Lesson], episode: int) -> list[Outcome]:
    level = episode / HARDEST_AFTER
    outcomes = []
    for lesson in lessons:
        ret = min(1.0, max(0.0, 0.5 + 4.0 * (level - 0.5 * float(lesson.task[0] + lesson.task[1]))))
        outcomes.append(Outcome(lesson.id, ret, ret, 100, float(ret > 0.5), True))
    return outcomes


def teach(teacher: Any, episodes: int, batch: int, first: int = 0) -> tuple[float, float]:
    """Play episodes and return the processor seconds that the teacher alone spent, and those of its longest call."""
    spent = longest = 0.0
    for episode in range(first, first + episodes, batch):
        start = time.process_time()
        lessons = teacher.propose(batch)
        proposing = time.process_time() - start
        outcomes = played(lessons, episode)
        start = time.process_time()
        teacher.observe(outcomes)
        observing = time.process_time() - start
        spent += proposing + observing
        longest = max(longest, proposing, observing)
    return spent, longest


def clock() -> float:
    """Return the processor seconds that two readings of the clock take."""
    start = time.process_time()
    for _ in range(20_000):
        time.process_time()
    return (time.process_time() - start) / 20_000


def time_table(names: list[str], dimensions: list[int], batches: list[int], episodes: int, repeats: int) -> None:
    columns = [(d, n) for d in dimensions for n in batches]
    print("us per episode, propose + observe, and the longest call, in ms: processor time, ", end="")
    print(f"medians of {repeats} runs of {episodes} episodes\n")
    print("| teacher | " + " | ".join(f"{d}-D, {n} per call" for d, n in columns) + " |")
    print("|---|" + "---:|" * len(columns))
    for name in names:
        teach(build(name, dimensions[0]), 600, 1)  # imports and caches
        cells = []
        for dimension, batch in columns:
            runs, calls = [], []
            for _ in range(repeats):
                spent, longest = teach(build(name, dimension), episodes, batch)
                runs.append(1e6 * (spent / episodes - 2 * clock() / batch))
                calls.append(1e3 * longest)
            cells.append(f"{statistics.median(runs):.0f} ({statistics.median(calls):.0f})")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print(f"\nyardstick on this machine, now: gymnasium's Box.sample takes {yardstick():.0f} us")


def yardstick() -> float:
    """Return the processor time of `Box.sample`, in us, by which tables of busy and idle machines can be compared."""
    space, runs = Box(0.0, 1.0, (2,), np.float32), []
    for _ in range(15):
        start = time.process_time()
        for _ in range(1000):
            space.sample()
        runs.append(1e3 * (time.process_time() - start))
    return statistics.median(runs)


def resident_kib() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def memory_row(name: str, episodes: int) -> None:
    """Print how the resident memory of this process grows while one teacher is at work."""
    teacher = build(name, 2)
    marks = [resident_kib()]
    for tenth in range(10):
        teach(teacher, episodes // 10, 10, first=tenth * (episodes // 10))
        marks.append(resident_kib())
    late = 1024 * (marks[10] - marks[5]) / (episodes / 2)
    print(f"| {name} | {marks[0]} | {marks[1]} | {marks[5]} | {marks[10]} | {late:.2f} |", flush=True)


def memory_table(names: list[str], episodes: int) -> None:
    print(f"resident memory over {episodes} episodes in 2-D, each teacher in a process of its own\n")
    print("| teacher | start, KiB | after 10 % | after 50 % | at the end | bytes per episode, second half |")
    print("|---|---:|---:|---:|---:|---:|", flush=True)
    for name in names:
        command = [sys.executable, __file__, "--memory-row", "--episodes", str(episodes), "--teachers", name]
        subprocess.run(command, check=True)


def main() -> int:
    known = list(entries("teacher"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--teachers", nargs="+", default=known, choices=known, metavar="NAME")
    parser.add_argument("--dimensions", nargs="+", type=int, default=[2, 8], metavar="D")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64], metavar="N", help="lessons per call")
    parser.add_argument("--episodes", type=int, help="10000 for times, 1000000 for memory")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="measure memory instead of time (Linux)")
    parser.add_argument("--memory-row", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if min(options.dimensions) < 2:
        parser.error("the toy learner needs at least 2 dimensions")
    if options.memory_row:
        memory_row(options.teachers[0], options.episodes or 1_000_000)
    elif options.memory:
        memory_table(options.teachers, options.episodes or 1_000_000)
    else:
        time_table(options.teachers, options.dimensions, options.batches, options.episodes or 10_000, options.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
