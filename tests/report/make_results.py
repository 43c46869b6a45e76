"""Results directories for tests: plausible numbers, written as `bench` writes them."""

import csv
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ARMS = ("uniform", "alp_gmm", "frontier", "frontier (yoked)")
METRICS = ("success/feasible/det", "return/feasible/det")
LEVELS = {"uniform": 0.42, "alp_gmm": 0.55, "frontier": 0.85, "frontier (yoked)": 0.7}
MAZE = [
    {"name": "goal_x", "low": -2.0, "high": 2.0, "unit": "m", "levels": 0},
    {"name": "goal_y", "low": 0.0, "high": 3.0, "unit": "m", "levels": 0},
]


def hash_of(arm: str, seed: int) -> str:
    return f"{(hash_number(arm) + seed):012x}"


def hash_number(text: str) -> int:
    return zlib.crc32(text.encode())


def run_id(arm: str, seed: int) -> str:
    return f"run-{''.join(c for c in arm if c.isalnum())}-s{seed}-{hash_of(arm, seed)}"


def benchmark_json(arms: Sequence[str] = ARMS, seeds: Sequence[int] = range(6), **changes: Any) -> dict[str, Any]:
    cells = [
        {
            "arm": arm,
            "seed": seed,
            "run_id": run_id(arm, seed),
            "config_hash": hash_of(arm, seed),
            "teacher": {"name": arm, "kwargs": {"share": 0.1} if "frontier" in arm else {}},
        }
        for arm in arms
        for seed in seeds
    ]
    return {
        "schema": 1,
        "name": "maze",
        "title": "Maze with a folded corridor",
        "env": "rlteach/GoalMaze-v0",
        "primary": METRICS[0],
        "metrics": list(METRICS),
        "baseline": "uniform",
        "arms": list(arms),
        "seeds": list(seeds),
        "steps": 500_000,
        "last_k": 1,
        "cells": cells,
        "command": "python benchmarks/maze.py --profile small",
        "higher_is_better": True,
        "config": {"env": {"id": "rlteach/GoalMaze-v0"}, "learner": {"name": "stable_baselines3.PPO"}},
    } | changes


def rows_of(benchmark: dict[str, Any], evaluations: int = 6) -> list[dict[str, Any]]:
    """Return rows of `runs.csv` for every cell; scores rise to the arm's level, other for each seed."""
    rows = []
    for cell in benchmark["cells"]:
        rng = np.random.default_rng([cell["seed"], hash_number(cell["arm"])])
        final = LEVELS.get(cell["arm"], 0.5) + rng.normal(0, 0.04)
        for k in range(1, evaluations + 1):
            step = benchmark["steps"] * k // evaluations
            success = float(np.clip(final * (1 - np.exp(-3 * k / evaluations)) + rng.normal(0, 0.01), 0, 1))
            row = {"arm": cell["arm"], "teacher": "t", "env": benchmark["env"], "seed": cell["seed"], "step": step}
            row |= {"episodes": step // 100, "cpu_s": step / 20_000, "run_id": cell["run_id"]}
            row |= {"config_hash": cell["config_hash"], "env_version": "0", "package_version": "0.1.0"}
            row |= {"steps_learner": step, "steps_teacher": 0}
            rows.append(row | {METRICS[0]: f"{success:.6g}", METRICS[1]: f"{100 * success - 50:.6g}"})
    return rows


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_results(directory: Path, benchmark: dict[str, Any], rows: Sequence[dict[str, Any]]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "benchmark.json").write_text(json.dumps(benchmark), encoding="utf-8")
    write_csv(directory / "runs.csv", rows)
    return directory


def write_run(directory: Path, space: Sequence[dict[str, Any]] = MAZE, episodes: int = 600, seed: int = 0) -> None:
    """Write a run directory: proposals and levels that wander from the middle outwards, and a growing success."""
    rng = np.random.default_rng(seed)
    low, high = (np.array([p[key] for p in space]) for key in ("low", "high"))
    names = [f"task/{p['name']}" for p in space]
    lessons = []
    for k in range(episodes):
        spread = 0.08 + 0.42 * k / episodes
        unit = np.clip(0.5 + spread * rng.uniform(-1, 1, len(space)), 0, 1)
        lesson = {"id": k, "step": 100 * (k + 1), "origin": "frontier", "ret": f"{rng.random():.6g}"}
        lesson |= {"success": int(rng.random() < 0.6), "length": 100}
        lessons.append(lesson | dict(zip(names, (low + unit * (high - low)).round(6), strict=True)))
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 12 if len(space) <= 2 else 4)] * len(space)), -1)
    tasks = grid.reshape(-1, len(space))
    evals = []
    for k in range(1, 7):
        for index, unit in enumerate(np.concatenate([tasks, tasks])):
            reached = np.abs(unit - 0.5).max() < 0.1 + 0.08 * k + rng.normal(0, 0.04)
            row = {"step": 100 * episodes * k // 6, "set": "feasible", "policy": "det", "index": index, "ret": 0}
            row |= {"success": int(reached), "length": 100}
            evals.append(row | dict(zip(names, (low + unit * (high - low)).round(6), strict=True)))
    lines = []
    for k in range(1, 7):
        places = 0.5 + (0.1 + 0.06 * k) * rng.uniform(-1, 1, (40, len(space)))
        score = np.abs(places - 0.5).max(axis=1)
        portrait = {"points/place": places.tolist(), "points/score": score.tolist()}
        lines.append(json.dumps({"step": 100 * episodes * k // 6, **portrait}) + "\n")
    write_csv(directory / "lessons.csv", lessons)
    write_csv(directory / "evals.csv", evals)
    (directory / "teacher.jsonl").write_text("".join(lines), encoding="utf-8")
    (directory / "task_space.json").write_text(json.dumps(list(space)), encoding="utf-8")
    (directory / "config.yaml").write_text(f"teacher:\n  name: t{seed}\nseed: {seed}\nsteps: 1\n", encoding="utf-8")
    meta = {"schema": 1, "versions": {"numpy": "2.4", "python": "3.11"}, "machine": "Linux x86_64, 2 cores"}
    (directory / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
