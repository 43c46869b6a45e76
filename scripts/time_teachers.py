"""Measure what teachers cost: processor time per episode and longest call as a markdown table, or memory.

    python scripts/time_teachers.py                                   # 2-D and 8-D, 1 and 64 lessons per call
    python scripts/time_teachers.py --dimensions 2 --teachers frontier alp_gmm
    python scripts/time_teachers.py --memory --episodes 1000000       # growth of the resident memory; takes minutes

A toy learner plays: its return rises with the episodes and falls with the distance from the origin of the unit cube.
Roll-outs and a second learner that a teacher asks for are such learners, too: what they would cost is not counted.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
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
    """Make a teacher with what it cannot do without; whatever it asks to be played costs next to nothing."""
    space = TaskSpace(Box(0.0, 1.0, (dimension,), np.float64))
    told: dict[str, dict[str, Any]] = {
        "oracle": {"oracle_window": partial(window_of, space)},
        "replay": {"lessons": [space.to_mapping(task) for task in space.test_set(1000, seed=0)]},
        "listed": {"tasks": space.test_set(1000, seed=0)},
        "adr": {"start": space.to_mapping(np.full(dimension, 0.1))},
        **{
            box: {key: space.to_mapping(np.full(dimension, x)) for key, x in (("start_low", 0.0), ("start_high", 0.2))}
            for box in ("annealing", "expanding_box")
        },
        "omni": {"interesting": few_mastered},
        "gradient": {"initial": {"mean": [0.1] * dimension, "std": 0.1}},
    }
    teacher = make_teacher(name, space, seed=0, **told.get(name, {}))
    if teacher.wants_rollouts:
        teacher.rollouts = roll_outs
    if teacher.wants_second_student:
        teacher.second_student = roll_outs
    return teacher


def few_mastered(task: Any, mastered: Any) -> bool:
    return len(mastered) < 3


def window_of(space: TaskSpace, progress: float, rng: np.random.Generator) -> Any:
    return space.from_unit((0.1 + 0.9 * progress) * rng.random(space.dimension))


LENGTH = 100
"""Steps of an episode, of which teachers that ask for the critic's signals get arrays."""

SIGNALS: dict[str, Any] = {
    **{name: np.linspace(0.0, 1.0, LENGTH) for name in ("advantages", "td_errors", "values")},
    "initial_value": 0.5,
    "observations": np.ones((LENGTH, 8)),
    "actions": np.ones((LENGTH, 2)),
}


def outcome(lesson_id: int, task: Any, level: float, signals: Iterable[str]) -> Outcome:
    ret = min(1.0, max(0.0, 0.5 + 4.0 * (level - 0.5 * float(task[0] + task[1]))))
    return Outcome(lesson_id, ret, ret, LENGTH, float(ret > 0.5), True, {name: SIGNALS[name] for name in signals})


def roll_outs(tasks: Sequence[Any], *, repeats: int = 1, signals: frozenset[str] = frozenset()) -> list[Outcome]:
    return [outcome(-1, task, 0.5, signals) for task in tasks for _ in range(repeats)]


def played(lessons: list[Lesson], episode: int, needs: frozenset[str]) -> list[Outcome]:
    return [outcome(lesson.id, lesson.task, episode / HARDEST_AFTER, needs) for lesson in lessons]


def teach(teacher: Any, episodes: int, batch: int, first: int = 0) -> tuple[float, float]:
    """Play episodes and return the processor seconds that the teacher alone spent, and those of its longest call."""
    spent = longest = 0.0
    for episode in range(first, first + episodes, batch):
        start = time.process_time()
        lessons = teacher.propose(batch)
        proposing = time.process_time() - start
        outcomes = played(lessons, episode, teacher.needs)
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
