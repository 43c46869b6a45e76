"""What a benchmark measured, read back: `benchmark.json` says what there should be, `runs.csv` what there is.

    results = load_results("benchmarks/results/goal_maze")
    results.scores("frontier", "success/feasible/det")     # {seed: score}
    results.missing("frontier")                            # seeds that are not finished

A cell of the benchmark is one run, an arm with a seed. Rows of `runs.csv` that belong to no cell are left out, since
other profiles live in the same file. Run directories under `runs/` are optional and only add pictures. A run directory
by itself is read as a benchmark of one arm and one seed.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from rlteach.errors import ConfigError, RunDirectoryError, UnknownName
from rlteach.files import read_json

SCHEMA = 1
TEXTS = ("arm", "run_id", "config_hash", "env_version", "package_version")
NUMBERS = ("seed", "step")
LABELS = ("teacher", "env")
COSTS = (
    "episodes",
    "cpu_s",
    "steps_learner",
    "steps_teacher",
    "steps_expert",
    "steps_collection",
    "steps_roll_in",
    "labels",
)

Columns = dict[str, NDArray[Any]]
"""A CSV file as one array per column: numbers as float64 (NaN where empty), everything else as strings."""

SHAPES = {"ellipses": ("mean", "covariance"), "boxes": ("low", "high"), "points": ("place",), "field": ("place",)}
"""Shapes of a teacher's portrait (`TaskTeacher.portrait`), and the columns that say where they are."""


@dataclass(frozen=True)
class Cell:
    """One run that the table should have.

    Attributes:
        arm: Label of its arm.
        seed: Its seed.
        run_id: Name of its run directory.
        config_hash: Hash of its configuration.
        teacher: Name and keyword arguments of its teacher.
        steps: Environment steps after which it is complete; None for those of the benchmark.
        learner: Name, policy and keyword arguments of its learner; None for the one that all share.
        observations: What its learner sees; None for what all see.
    """

    arm: str
    seed: int
    run_id: str
    config_hash: str
    teacher: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    learner: Mapping[str, Any] | None = None
    observations: str | None = None


@dataclass(frozen=True)
class Benchmark:
    """What `benchmark.json` states.

    Attributes:
        name: Name of the benchmark.
        title: One line for tables.
        env: Environment id.
        primary: Metric that decides.
        metrics: Metrics that get a table, the primary one first.
        baseline: Label of the arm that the others are compared with.
        arms: Labels in the order of the table.
        seeds: Seeds of every arm.
        steps: Environment steps after which a run is complete, unless its cell says otherwise.
        cells: Every run that the table should have.
        last_k: Evaluations at the end of a run over which its score is the mean.
        command: What was typed.
        higher_is_better: Direction of the metrics.
        config: Settings that all arms share, where their cells say nothing else.
        scales: Names of columns, and for each the arm that counts 0 there and the one that counts 1.
    """

    name: str
    title: str
    env: str
    primary: str
    metrics: tuple[str, ...]
    baseline: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int
    cells: tuple[Cell, ...]
    last_k: int = 1
    command: str = ""
    higher_is_better: bool = True
    config: Mapping[str, Any] = field(default_factory=dict)
    scales: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def steps_of(self, cell: Cell) -> int:
        """Return the environment steps after which a cell's run is complete."""
        return self.steps if cell.steps is None else cell.steps


@dataclass(frozen=True)
class Run:
    """The evaluations of one run, in order of steps.

    Attributes:
        cell: The cell it fills.
        steps: Learner steps of each evaluation, shape (evaluations,).
        values: Every metric by name, and the columns in `COSTS`; NaN where not measured, shape (evaluations,) each.
        env_version: Version of the environment.
        package_version: Version of rlteach.
    """

    cell: Cell
    steps: NDArray[np.int64]
    values: Mapping[str, NDArray[np.float64]]
    env_version: str
    package_version: str

    def last(self, column: str) -> float:
        """Return a column's value at the last evaluation; NaN where there is none."""
        return float(self.values[column][-1]) if column in self.values else math.nan


@dataclass(frozen=True)
class Results:
    """A benchmark and what is finished of it.

    Attributes:
        directory: Where it was read from.
        benchmark: What there should be.
        runs: The finished runs, in the order of the benchmark's cells.
        unfinished: Cells without a run, or whose run stops before its last step.
        mixed: Why the runs should not be compared, one sentence each; only with `force`.
        kept: Where run directories are if they were kept; `runs` in the directory when None.
    """

    directory: Path
    benchmark: Benchmark
    runs: tuple[Run, ...]
    unfinished: tuple[Cell, ...]
    mixed: tuple[str, ...] = ()
    kept: Path | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that was measured in some run."""
        return tuple(dict.fromkeys(name for run in self.runs for name in run.values if name not in COSTS))

    def of(self, arm: str) -> list[Run]:
        """Return the finished runs of an arm in order of their seeds."""
        if arm not in self.benchmark.arms:
            raise UnknownName("arm", arm, self.benchmark.arms)
        return sorted((run for run in self.runs if run.cell.arm == arm), key=lambda run: run.cell.seed)

    def check_metric(self, metric: str) -> None:
        """Refuse a metric that no run could have measured, with the nearest that exists."""
        known = {*self.metrics, *self.benchmark.metrics, self.benchmark.primary}
        if metric not in known:
            raise UnknownName("metric", metric, known, next_step=f"There are: {', '.join(sorted(known))}.")

    def scores(self, arm: str, metric: str) -> dict[int, float]:
        """Return each finished run's score by seed: the mean of the metric over its last `last_k` evaluations.

        A run that did not measure the metric in each of them is left out.
        """
        self.check_metric(metric)
        scores = {}
        for run in self.of(arm):
            last = run.values[metric][-self.benchmark.last_k :] if metric in run.values else np.array([math.nan])
            if np.isfinite(last).all():
                scores[run.cell.seed] = float(last.mean())
        return scores

    def curve(self, arm: str, metric: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the steps at which every finished run of an arm measured the metric, and the values (runs, steps)."""
        self.check_metric(metric)
        runs = [run for run in self.of(arm) if metric in run.values]
        measured = [dict(zip(run.steps.tolist(), run.values[metric].tolist(), strict=True)) for run in runs]
        common = sorted(set[int]().union(*measured))
        steps = [step for step in common if all(math.isfinite(curve.get(step, math.nan)) for curve in measured)]
        values = np.array([[curve[step] for step in steps] for curve in measured], dtype=np.float64)
        return np.array(steps, dtype=np.int64), values.reshape(len(runs), len(steps))

    def missing(self, arm: str) -> list[int]:
        """Return the seeds of an arm that are not finished."""
        return sorted(cell.seed for cell in self.unfinished if cell.arm == arm)

    def run_directory(self, run_id: str) -> Path:
        """Return where the run directory is when it was kept."""
        return (self.kept or self.directory / "runs") / run_id


def load_results(directory: str | Path, *, force: bool = False) -> Results:
    """Read a results directory, or the directory of a run as far as it got.

    Args:
        directory: Holds `runs.csv` and `benchmark.json`, or what a run writes.
        force: Compare runs of different environment or package versions all the same.

    Raises:
        RunDirectoryError: When a file is missing or damaged, or runs of different versions would be compared.
        ConfigError: Every fault of `benchmark.json`.
    """
    path = Path(directory)
    if not path.is_dir():
        raise RunDirectoryError(f"there is no results directory {path}; `rlteach bench SCRIPT` makes one")
    if (path / "metrics.jsonl").is_file():
        return _load_run(path)
    for name in ("benchmark.json", "runs.csv"):
        if not (path / name).is_file():
            inside = ", ".join(str(found.parent) for found in sorted(path.glob(f"*/{name}")))
            hint = f"there are results in {inside}" if inside else f"`rlteach bench SCRIPT --out {path}` writes it"
            raise RunDirectoryError(f"{path} has no {name}; {hint}")
    benchmark = _benchmark(path / "benchmark.json")
    evaluations = _evaluations(path / "runs.csv")
    runs, unfinished = [], []
    for cell in benchmark.cells:
        run = _run(cell, evaluations.get((cell.run_id, cell.config_hash), []))
        if run is None or run.steps[-1] < benchmark.steps_of(cell):
            unfinished.append(cell)
        elif len(run.steps) < benchmark.last_k:
            raise RunDirectoryError(
                f"{path}: a score is the mean of the last {benchmark.last_k} evaluations, but run {cell.run_id} has "
                f"only {len(run.steps)}; lower last_k in benchmark.json, or evaluate more often"
            )
        else:
            runs.append(run)
    mixed = tuple(_mixed(runs))
    if mixed and not force:
        raise RunDirectoryError(f"{path}: {' '.join(mixed)} Run the older ones again, or add --force to mix them.")
    return Results(path, benchmark, tuple(runs), tuple(unfinished), mixed)


def _load_run(path: Path) -> Results:
    """Return a run as the results of a benchmark of one arm and one seed, done with its last evaluation."""
    path = path.resolve()
    config, meta = load_config(path), read_json(path / "meta.json")
    try:
        lines = (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        rows = [
            {
                "step": int(record["step"]),
                "env_version": str(meta["env_version"]),
                "package_version": str(meta["package_version"]),
                **{name: float(record[name]) for name in COSTS if name in record},
                **{name: float(value) for name, value in record["metrics"].items()},
            }
            for record in records
        ]
        arm, env, seed = config["teacher"]["name"], config["env"]["id"], int(config["seed"])
        cell = Cell(arm, seed, path.name, str(meta["config_hash"]), config["teacher"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunDirectoryError(f"the run {path} is damaged: {error!r}") from error
    run = _run(cell, rows)
    if run is None:
        raise RunDirectoryError(f"the run {path} has no evaluation yet; `rlteach resume {path}` goes on with it")
    metrics = [name for name in run.values if name not in COSTS]
    primary = next((name for name in metrics if name.startswith("success/")), metrics[0])
    benchmark = Benchmark(
        name=path.name,
        title=f"{env}, {arm}, seed {seed}",
        env=env,
        primary=primary,
        metrics=tuple(dict.fromkeys([primary, *metrics])),
        baseline=arm,
        arms=(arm,),
        seeds=(seed,),
        steps=int(run.steps[-1]),
        cells=(cell,),
        command=str(meta.get("command", "")),
        config=config,
    )
    return Results(path, benchmark, (run,), (), kept=path.parent)


# -- benchmark.json ------------------------------------------------------------------------------------------------

_KINDS: dict[str, Any] = {
    "name": str,
    "title": str,
    "env": str,
    "primary": str,
    "metrics": list,
    "baseline": str,
    "arms": list,
    "seeds": list,
    "steps": int,
    "cells": list,
}
_OPTIONAL_KINDS: dict[str, Any] = {
    "last_k": int,
    "command": str,
    "higher_is_better": bool,
    "config": dict,
    "scales": dict,
}
_CELL_KINDS: dict[str, Any] = {"arm": str, "seed": int, "run_id": str, "config_hash": str}
_OPTIONAL_CELL_KINDS: dict[str, Any] = {"steps": int, "learner": dict, "observations": str}


def _benchmark(path: Path) -> Benchmark:
    data = read_json(path)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else None
        raise RunDirectoryError(f"{path} has schema {found!r}; this version of rlteach reads schema {SCHEMA}")
    faults = [*_kind_faults(data, _KINDS, ""), *_kind_faults(data, _OPTIONAL_KINDS, "", optional=True)]
    if not faults:
        faults = list(_content_faults(data))
    if faults:
        raise ConfigError(faults, where=str(path))
    cells = [_cell(cell) for cell in data["cells"]]
    fields: dict[str, Any] = {key: data[key] for key in (*_KINDS, *_OPTIONAL_KINDS) if key in data}
    fields |= {"arms": tuple(data["arms"]), "seeds": tuple(data["seeds"]), "cells": tuple(cells)}
    fields["scales"] = {name: (low, high) for name, (low, high) in data.get("scales", {}).items()}
    fields["metrics"] = tuple(dict.fromkeys([data["primary"], *data["metrics"]]))
    return Benchmark(**fields)


def _cell(data: Mapping[str, Any]) -> Cell:
    fields = {key: data[key] for key in (*_CELL_KINDS, *_OPTIONAL_CELL_KINDS) if key in data}
    return Cell(**fields, teacher=data.get("teacher") or {})


def _kind_faults(
    data: Mapping[str, Any], kinds: Mapping[str, Any], where: str, *, optional: bool = False
) -> Iterator[str]:
    for key, kind in kinds.items():
        if key not in data:
            if not optional:
                yield f"{where}{key} is missing"
        elif not isinstance(data[key], kind) or (kind is int and isinstance(data[key], bool)):
            yield f"{where}{key} = {data[key]!r} is not of type {kind.__name__}"


def _content_faults(data: Mapping[str, Any]) -> Iterator[str]:
    for key, kind in (("metrics", str), ("arms", str), ("seeds", int)):
        if wrong := [item for item in data[key] if not isinstance(item, kind)]:
            yield f"{key} holds {wrong[0]!r}, which is not of type {kind.__name__}"
    if data["steps"] < 0 or data.get("last_k", 1) < 1:
        yield f"steps = {data['steps']} must not be negative, and last_k = {data.get('last_k', 1)} not below 1"
    for name, ends in data.get("scales", {}).items():
        if not (isinstance(ends, list) and len(ends) == 2 and all(isinstance(end, str) for end in ends)):
            yield f"scales.{name} = {ends!r} does not name two arms"
    seen = set()
    for index, cell in enumerate(data["cells"]):
        where = f"cells[{index}]"
        if not isinstance(cell, dict):
            yield f"{where} is not a mapping"
            continue
        faults = list(_kind_faults(cell, _CELL_KINDS, f"{where}."))
        faults += _kind_faults(cell, _OPTIONAL_CELL_KINDS, f"{where}.", optional=True)
        yield from faults
        if faults:
            continue
        if cell["arm"] not in data["arms"]:
            yield f"{where}.arm = {cell['arm']!r} is not one of the arms"
        if not cell["run_id"] or Path(cell["run_id"]).name != cell["run_id"] or cell["run_id"] == "..":
            yield f"{where}.run_id = {cell['run_id']!r} is not a plain directory name"
        if (cell["arm"], cell["seed"]) in seen:
            yield f"{where} repeats arm {cell['arm']!r} with seed {cell['seed']}"
        seen.add((cell["arm"], cell["seed"]))


# -- runs.csv ------------------------------------------------------------------------------------------------------


def _evaluations(path: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the rows by run id and configuration hash, sorted by step; of two rows for one step the later wins."""
    runs: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for row in _rows(path):
        runs.setdefault((row["run_id"], row["config_hash"]), {})[row["step"]] = row
    return {key: [rows[step] for step in sorted(rows)] for key, rows in runs.items()}


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of `runs.csv`, numbers parsed; a fault names file, line and column."""
    reader: Any = None
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            header: list[str] = next(reader, [])
            for fault in _header_faults(header):
                raise RunDirectoryError(f"{path}, line 1: {fault}")
            for row in reader:
                if len(row) not in (0, len(header)):
                    raise RunDirectoryError(
                        f"{path}, line {reader.line_num}: {len(row)} columns, but the header has {len(header)}"
                    )
                if row:
                    where = f"{path}, line {reader.line_num}"
                    yield {name: _value(name, text, where) for name, text in zip(header, row, strict=True)}
    except (OSError, UnicodeError, csv.Error) as error:
        where = f"{path}, line {reader.line_num}" if reader is not None else str(path)
        raise RunDirectoryError(f"cannot read {where}: {error}") from error


def _header_faults(header: Sequence[str]) -> Iterator[str]:
    if missing := [name for name in (*TEXTS, *NUMBERS) if name not in header]:
        yield f"there is no column {', '.join(missing)}"
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        yield f"the column {repeated[0]!r} is there twice"


def _value(name: str, text: str, where: str) -> str | float:
    if name in (*TEXTS, *LABELS):
        return text
    try:
        return int(text) if name in NUMBERS else float(text) if text else math.nan
    except ValueError:
        kind = "a whole number" if name in NUMBERS else "a number"
        raise RunDirectoryError(f"{where}, column {name!r}: {text!r} is not {kind}") from None


def _run(cell: Cell, rows: Sequence[Mapping[str, Any]]) -> Run | None:
    if not rows:
        return None
    numbers = [name for name in rows[0] if name not in (*TEXTS, *NUMBERS, *LABELS)]
    values = {name: np.array([row[name] for row in rows], dtype=np.float64) for name in numbers}
    measured = {name: column for name, column in values.items() if np.isfinite(column).any()}
    steps = np.array([row["step"] for row in rows], dtype=np.int64)
    return Run(cell, steps, measured, rows[-1]["env_version"], rows[-1]["package_version"])


def _mixed(runs: Sequence[Run]) -> Iterator[str]:
    environments: dict[str, int] = {}
    packages: dict[str, int] = {}
    for run in runs:
        minor = ".".join(run.package_version.split(".")[:2])
        environments[run.env_version] = environments.get(run.env_version, 0) + 1
        packages[minor] = packages.get(minor, 0) + 1
    for what, versions in (("the environment", environments), ("rlteach", packages)):
        if len(versions) > 1:
            shares = ", ".join(f"{version or 'unknown'} ({count} runs)" for version, count in sorted(versions.items()))
            yield f"the runs come from different versions of {what}: {shares}."


# -- run directories -----------------------------------------------------------------------------------------------


def load_columns(path: Path) -> Columns:
    """Read `lessons.csv` or `evals.csv` of a run, which may end in the middle of a line.

    Raises:
        RunDirectoryError: When it is missing, empty or damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
        rows = list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))
    except (OSError, ValueError, csv.Error) as error:
        raise RunDirectoryError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if not rows:
        raise RunDirectoryError(f"{path} is empty")
    header = rows[0]
    columns: Columns = {}
    for index, name in enumerate(header):
        texts = [row[index] if index < len(row) else "" for row in rows[1:]]
        if name in ("origin", "set", "policy"):
            columns[name] = np.array(texts, dtype=np.str_)
            continue
        try:
            columns[name] = np.array([float(text) if text else math.nan for text in texts], dtype=np.float64)
        except ValueError as error:
            raise RunDirectoryError(f"{path}, column {name!r}: {error}") from error
    return columns


def load_portraits(path: Path, dimension: int) -> list[tuple[int, Columns]]:
    """Read `teacher.jsonl` of a run: step and columns of each portrait, in the unit cube, by step.

    Raises:
        RunDirectoryError: When it is missing, empty or damaged, or belongs to another task space.
    """
    try:
        text = path.read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        portraits = [
            (int(line.pop("step")), {k: np.array(v, dtype=np.float64) for k, v in line.items()}) for line in lines
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunDirectoryError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    for step, columns in portraits:
        for fault in _portrait_faults(columns, dimension):
            raise RunDirectoryError(f"{path}, step {step}: {fault}")
    if not portraits:
        raise RunDirectoryError(f"{path} holds no portrait")
    return sorted(portraits, key=lambda portrait: portrait[0])


def _portrait_faults(columns: Columns, dimension: int) -> Iterator[str]:
    """Say which columns of a portrait cannot be drawn."""
    shapes = {name.partition("/")[0] for name in columns}
    yield from (f"{shape!r} is none of {', '.join(SHAPES)}" for shape in sorted(shapes - SHAPES.keys()))
    for shape in sorted(shapes & SHAPES.keys()):
        first = columns.get(f"{shape}/{SHAPES[shape][0]}", np.zeros(()))
        rows = len(first) if first.ndim else 0
        wanted = {f"{shape}/{name}": (rows, *[dimension] * (1 + (name == "covariance"))) for name in SHAPES[shape]}
        for name in dict.fromkeys([*wanted, *(name for name in columns if name.partition("/")[0] == shape)]):
            found = columns[name].shape if name in columns else "missing"
            if not rows or found != wanted.get(name, (rows,)):
                yield f"{name} has the shape {found}, not {wanted.get(name, (rows,))}"


def load_task_space(run_directory: Path) -> list[dict[str, Any]]:
    """Return names, bounds and units of the task parameters of a run, from its directory or from beside all runs.

    Raises:
        RunDirectoryError: When there is none, or it is damaged.
    """
    own = run_directory / "task_space.json"
    path = own if own.is_file() else run_directory.parent.parent / "task_space.json"
    space = read_json(path)
    try:
        parameters = [
            {
                "name": str(p["name"]),
                "low": float(p["low"]),
                "high": float(p["high"]),
                "unit": str(p.get("unit") or ""),
                "levels": int(p.get("levels") or 0),
            }
            for p in space
        ]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise RunDirectoryError(f"{path} does not list name, low and high of each parameter") from error
    if not parameters:
        raise RunDirectoryError(f"{path} lists no parameter")
    return parameters


def load_config(directory: Path) -> dict[str, Any]:
    """Return the resolved configuration of a run directory.

    Raises:
        RunDirectoryError: When it is missing or damaged.
    """
    path = directory / "config.yaml"
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RunDirectoryError(f"cannot read {path}: {error}") from error
    if not isinstance(config, dict):
        raise RunDirectoryError(f"{path} holds no settings")
    return config
