"""Benchmarks: arms x seeds, run once, kept for good.

A benchmark script states what is run, with which settings, and how it is scored:

    BENCHMARK = Benchmark(name="goal_maze", title=..., base={...}, arms=[Arm("uniform"), Arm("frontier")],
                          primary="success/feasible/det", profiles={"smoke": Profile(steps=2_000, seeds=1), ...})
    if __name__ == "__main__":
        main([BENCHMARK])

A cell is one run. What it measured becomes rows of `runs.csv`; cells whose rows are there are not run again, partial
ones are resumed, and a failed one stops nobody else. A cell may need what another leaves behind: a yoked run its
lessons, a student its expert. It starts when that run is done, whose id is part of its own configuration.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rlteach
from rlteach.errors import ConfigError, InvalidValue, RlteachError, RunDirectoryError, UserError, did_you_mean
from rlteach.experiment import config as configuration
from rlteach.experiment.config import RunConfig, env_version
from rlteach.files import csv_text, locked, read_json, read_rows, write_atomically, write_json

KEYS = ("arm", "teacher", "env", "seed", "step", "episodes", "cpu_s", "run_id", "config_hash", "env_version")
MORE_KEYS = ("package_version", "steps_learner", "steps_teacher")
SPENT_KEYS = ("steps_expert", "steps_collection", "steps_roll_in", "labels")
"""Columns that are only there when a learner or a start teacher states them."""
YOKED_SEED_OFFSET = 100_000
"""A yoked run replays the lessons of run i to a learner and environments with seed i plus this."""


@dataclass(frozen=True)
class Arm:
    """One row of the table.

    Attributes:
        label: Name of the row; also the teacher's name unless `teacher` says otherwise.
        teacher: Registered name or import path of the teacher.
        kwargs: Its hyperparameters.
        yoked_to: Label of an arm whose lessons this arm replays, run by run.
        overrides: Further settings of this arm only, laid over the base.
        expert: Label of an arm whose run with the same seed is the expert of this arm's learner, or of its start
            teacher where it has one.
        share: Part of the profile's steps that this arm trains for; at least one step is.
    """

    label: str
    teacher: str = ""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    yoked_to: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    expert: str = ""
    share: float = 1.0

    @property
    def sources(self) -> tuple[str, ...]:
        """Labels of the arms whose runs must be there before this arm's."""
        return tuple(dict.fromkeys(label for label in (self.yoked_to, self.expert) if label))


STANDARD_ARMS = (
    Arm("uniform"),
    Arm("alp_gmm"),
    Arm("covar_gmm"),
    Arm("success_guided"),
    Arm("frontier"),
    Arm("oracle"),
    Arm("frontier (yoked)", yoked_to="frontier"),
)
"""The rows of every comparison: the baseline, each adaptive teacher, the upper row, and the yoked control."""


@dataclass(frozen=True)
class Profile:
    """How large a benchmark is run.

    Attributes:
        steps: Environment steps of each run.
        seeds: Seeds 0 to seeds - 1.
        overrides: Settings laid over the base, e.g. `{"evaluation.every": 1000}`.
        arms: Labels to run; all when empty.
        more_seeds: Number of seeds of arms that get more than the others, by label.
        publish: Whether results belong into the committed results directory by default.
    """

    steps: int
    seeds: int
    overrides: Mapping[str, Any] = field(default_factory=dict)
    arms: tuple[str, ...] = ()
    more_seeds: Mapping[str, int] = field(default_factory=dict)
    publish: bool = False


@dataclass(frozen=True)
class Tuning:
    """How the baseline's learner settings were chosen, on seeds of their own, before any arm was run.

    Attributes:
        settings: Candidate settings, laid over the base.
        steps: Environment steps of each run.
        seeds: The seeds, disjoint from those of the benchmark.
        arm: The arm that is tuned; every arm then uses its best settings.
    """

    settings: Sequence[Mapping[str, Any]]
    steps: int
    seeds: Sequence[int] = (1000, 1001, 1002)
    arm: str = "uniform"


@dataclass(frozen=True)
class Benchmark:
    """What is run, with which settings, and how it is scored.

    Attributes:
        name: Name of the results directory.
        title: One line for tables.
        base: Run configuration shared by all arms (without steps, seed and teacher).
        arms: The rows of the table.
        primary: Metric that decides; fixed before anything is run.
        profiles: Sizes by name; `smoke` takes seconds.
        metrics: Further metrics worth a table.
        baseline: Label of the arm that the others are compared with.
        last_k: Evaluations at the end over which a run's score is the mean.
        tuning: How the learner settings in `base` were chosen.
        command: Command for the table's footer, for a benchmark that is no script.
        scales: Further columns of the table by name: the arm that counts 0 there, and the one that counts 1, e.g.
            `{"score": ("random", "expert"), "gap": ("bc", "expert")}`.
    """

    name: str
    title: str
    base: Mapping[str, Any]
    arms: Sequence[Arm]
    primary: str
    profiles: Mapping[str, Profile]
    metrics: Sequence[str] = ()
    baseline: str = "uniform"
    last_k: int = 1
    tuning: Tuning | None = None
    command: str = ""
    scales: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One run of a benchmark."""

    arm: str
    seed: int
    config: RunConfig
    after: tuple[str, ...] = ()
    """Run ids that must be finished before this one starts: whose lessons it replays, who its expert is."""

    @property
    def expert(self) -> str:
        """Run id of the expert, "" for none among the runs that it comes after."""
        starts = self.config.starts
        expert = self.config.learner.kwargs.get("expert") if starts is None else starts.policy
        return expert if expert in self.after else ""


def cells_of(benchmark: Benchmark, profile: Profile) -> list[Cell]:
    """Return every cell of a profile, configurations resolved.

    Raises:
        ConfigError: Every fault of every arm, once.
    """
    cells: list[Cell] = []
    faults = list(_scale_faults(benchmark))
    run_ids: dict[tuple[str, int], str] = {}
    played = [arm for arm in benchmark.arms if not profile.arms or arm.label in profile.arms]
    labels = {arm.label for arm in played}
    for arm in _in_order(played):
        for seed in range(max(profile.seeds, profile.more_seeds.get(arm.label, 0))):
            sources = {label: run_ids.get((label, seed), "") for label in arm.sources}
            if faults and any(label in labels and not run_id for label, run_id in sources.items()):
                continue  # the fault is its source's
            try:
                cell = _cell(benchmark, profile, arm, seed, sources)
            except ConfigError as error:
                faults += [fault for fault in (f"arm {arm.label!r}: {f}" for f in error.faults) if fault not in faults]
                continue
            run_ids[arm.label, seed] = cell.config.run_id()
            cells.append(cell)
    if faults:
        raise ConfigError(faults, where=f"benchmark {benchmark.name!r}")
    return cells


def _in_order(arms: Sequence[Arm]) -> list[Arm]:
    """Return arms so that each follows those it needs; those that wait for one another, or for nobody, come last."""
    left, placed = list(arms), list[Arm]()
    while left:
        labels = {arm.label for arm in placed}
        ready = [arm for arm in left if labels.issuperset(arm.sources)] or left
        placed += ready
        left = [arm for arm in left if arm not in ready]
    return placed


def _scale_faults(benchmark: Benchmark) -> Iterator[str]:
    labels = [arm.label for arm in benchmark.arms]
    for name, ends in benchmark.scales.items():
        for label in ends:
            if label not in labels:
                yield f"scale {name!r}: no arm is called {label!r}.{did_you_mean(label, labels)}"


def _cell(benchmark: Benchmark, profile: Profile, arm: Arm, seed: int, sources: Mapping[str, str]) -> Cell:
    if faults := list(_arm_faults(arm, sources)):
        raise ConfigError(faults)
    kwargs = {**arm.kwargs, "lessons": sources[arm.yoked_to]} if arm.yoked_to else dict(arm.kwargs)
    data = configuration.merge(benchmark.base, profile.overrides)
    data = configuration.merge(data, arm.overrides)
    if arm.expert:
        place = "starts.policy" if data.get("starts") else "learner.kwargs.expert"
        data = configuration.merge(data, {place: sources[arm.expert]})
    data["teacher"] = {"name": "replay" if arm.yoked_to else arm.teacher or arm.label, "kwargs": kwargs}
    data["steps"] = max(1, round(arm.share * profile.steps))
    data["seed"] = seed + YOKED_SEED_OFFSET if arm.yoked_to else seed
    return Cell(arm.label, seed, configuration.parse(data), after=tuple(sources.values()))


def _arm_faults(arm: Arm, sources: Mapping[str, str]) -> Iterator[str]:
    if not 0 < arm.share < math.inf:
        yield f"share = {arm.share} must be above 0"
    if arm.yoked_to and not sources[arm.yoked_to]:
        yield f"it is yoked to {arm.yoked_to!r}, which is not run in this profile"
    if arm.expert and not sources[arm.expert]:
        yield f"its expert is {arm.expert!r}, which is not run in this profile"


def tuning_cells(benchmark: Benchmark) -> list[Cell]:
    """Return the cells that choose the learner settings; the arm label is the setting."""
    tuning = benchmark.tuning
    if tuning is None:
        raise UserError(f"benchmark {benchmark.name!r} states no tuning")
    cells = []
    for setting in tuning.settings:
        for seed in tuning.seeds:
            data = configuration.merge(configuration.merge(benchmark.base, setting), {"steps": tuning.steps})
            data |= {"teacher": {"name": tuning.arm}, "seed": seed}
            label = ", ".join(f"{key.rsplit('.', 1)[-1]} {value}" for key, value in setting.items())
            cells.append(Cell(label, seed, configuration.parse(data)))
    return cells


# -- playing -------------------------------------------------------------------------------------------------------


@dataclass
class Report:
    """What a call of `bench` did."""

    done: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def bench(
    benchmark: Benchmark,
    cells: Sequence[Cell],
    directory: str | Path,
    *,
    jobs: int = 1,
    command: str = "",
    steps: int | None = None,
    last_k: int | None = None,
) -> Report:
    """Run the cells that are missing in `directory/runs.csv`, and write down how the table is to be made.

    Args:
        benchmark: What is measured.
        cells: What to run, from `cells_of` or `tuning_cells`.
        directory: Results directory.
        jobs: Processes at a time, each with one torch thread.
        command: Command line for the table's footer.
        steps: Steps at which a cell is complete; the cells' own by default.
        last_k: Overrides the benchmark's.
    """
    path = Path(directory)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as refusal:
        raise RunDirectoryError(f"cannot make the results directory {path}: {refusal.strerror}") from refusal
    _write_benchmark(benchmark, cells, path, command, last_k)
    finished = finished_hashes(path)
    report = Report()
    waiting = [cell for cell in cells if cell.config.digest() not in finished]
    report.skipped = len(cells) - len(waiting)
    waiting = _with_sources(waiting, cells, path)
    show = _SweepLine(len(waiting), report)
    show.say(f"{benchmark.name}: {len(waiting)} of {len(cells)} runs to do, {jobs} at a time, into {path}")
    while waiting:
        orphans = [cell for cell in waiting if not report.failed.keys().isdisjoint(cell.after)]
        left = {cell.config.run_id() for cell in waiting}
        ready = [cell for cell in waiting if left.isdisjoint(cell.after) and cell not in orphans]
        without_sources = ((cell, _why_orphaned(cell, report.failed)) for cell in orphans)
        for cell, fault in itertools.chain(without_sources, _play_all(ready, path / "runs", jobs)):
            error = fault or _collected(path, cell)
            if error:
                report.failed[cell.config.run_id()] = error
            else:
                report.done += 1
            show.update(cell, error)
        waiting = [cell for cell in waiting if cell not in orphans and cell not in ready]
    show.close()
    return report


def _why_orphaned(cell: Cell, failed: Mapping[str, str]) -> str:
    run_id = next(run_id for run_id in cell.after if run_id in failed)
    if run_id == cell.expert:
        return f"the run that is its expert failed: {run_id}"
    return f"the run whose lessons it replays failed: {run_id}"


def _with_sources(waiting: Sequence[Cell], cells: Sequence[Cell], path: Path) -> list[Cell]:
    """Add finished runs whose lessons or policy a waiting run needs and which are not on this disk, and what they need.

    A run that finished without leaving a policy that can be loaded is opened again.
    """
    by_id = {cell.config.run_id(): cell for cell in cells}
    planned = {cell.config.run_id() for cell in waiting}
    needing = list(waiting)
    while needing:
        cell = needing.pop()
        for run_id in cell.after:
            directory = path / "runs" / run_id
            if run_id in planned or run_id not in by_id or _is_usable(directory, as_expert=run_id == cell.expert):
                continue
            (directory / "DONE").unlink(missing_ok=True)
            planned.add(run_id)
            needing.append(by_id[run_id])
    return [cell for cell in cells if cell.config.run_id() in planned]


def _is_usable(directory: Path, *, as_expert: bool) -> bool:
    policies = (directory / "policy.safetensors", directory / "student")
    return (directory / "DONE").is_file() and (not as_expert or any(policy.exists() for policy in policies))


def _play_all(cells: Sequence[Cell], runs: Path, jobs: int) -> Iterator[tuple[Cell, str]]:
    """Play cells in worker processes; a cell whose worker dies twice, the second time alone, counts as failed."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    pending = {cell.config.run_id(): cell for cell in cells}
    while pending:
        try:
            for run_id, error in _results(list(pending.values()), runs, jobs):
                yield pending.pop(run_id), error
        except TerminatedWorkerError:
            # All workers go down with the one that was killed, so those that were running play again, each alone.
            suspects = [run_id for run_id in pending if _was_running(runs / run_id)] or list(pending)[:1]
            for run_id in suspects:
                message = "its process was killed twice (out of memory?)"
                with suppress(TerminatedWorkerError):
                    [(_, message)] = _results([pending[run_id]], runs, jobs)
                yield pending.pop(run_id), message


def _results(cells: Sequence[Cell], runs: Path, jobs: int) -> Iterator[tuple[str, str]]:
    from joblib import Parallel, delayed

    if jobs == 1:
        return (play_cell(cell, runs) for cell in cells)
    parallel = Parallel(n_jobs=jobs, backend="loky", return_as="generator_unordered")
    results: Iterator[tuple[str, str]] = parallel(delayed(play_cell)(cell, runs, parent=os.getpid()) for cell in cells)
    return results


def _was_running(path: Path) -> bool:
    return (path / "meta.json").exists() and not (path / "DONE").exists() and not (path / "FAILED").exists()


def play_cell(cell: Cell, runs: Path, parent: int | None = None) -> tuple[str, str]:
    """Play one cell to its end; return its run id and an error message, empty when all went well.

    Args:
        cell: What to run.
        runs: Where run directories are.
        parent: Process that waits for the result; when it dies, the run is checkpointed and stopped.
    """
    from rlteach.experiment.run import remove_checkpoints, run

    run_id = cell.config.run_id()
    try:
        run(cell.config, runs / run_id, quiet=True, stop=lambda: parent not in (None, os.getppid()))
    except RlteachError as error:
        return run_id, str(error)
    except Exception as error:  # one failed cell must not stop the others; its directory holds the traceback
        return run_id, f"{type(error).__name__}: {error}"
    remove_checkpoints(runs / run_id)
    return run_id, ""


class _SweepLine:
    def __init__(self, total: int, report: Report) -> None:
        self._total, self._report, self._start = total, report, time.monotonic()
        self._live = sys.stderr.isatty()

    def update(self, cell: Cell, error: str) -> None:
        count = self._report.done + len(self._report.failed)
        left = (time.monotonic() - self._start) / max(count, 1) * (self._total - count)
        if error:
            self.say(f"FAILED {cell.arm}, seed {cell.seed}: {error.splitlines()[0]}")
        line = f"{count}/{self._total} runs  {left / 60:.0f} min left  last: {cell.arm}, seed {cell.seed}"
        if self._live:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
        elif count == self._total or 10 * count // self._total > 10 * (count - 1) // self._total:
            self.say(line)

    def say(self, text: str) -> None:
        sys.stderr.write(("\r\x1b[K" if self._live else "") + text + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[K")


# -- results -------------------------------------------------------------------------------------------------------


def finished_hashes(path: Path) -> set[str]:
    """Return the config hashes whose rows are complete in `runs.csv`: rows are only written for finished runs."""
    file = path / "runs.csv"
    return {row["config_hash"] for row in read_rows(file)} if file.exists() else set()


def rows_of(cell: Cell, run_directory: Path) -> list[dict[str, Any]]:
    """Return a run's evaluations as rows of `runs.csv`."""
    import json

    lines = (run_directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    meta = read_json(run_directory / "meta.json")
    rows = []
    for record in map(json.loads, lines):
        row = {
            "arm": cell.arm,
            "teacher": cell.config.teacher.name,
            "env": cell.config.env.id,
            "seed": cell.seed,
            "run_id": meta["run_id"],
            "config_hash": meta["config_hash"],
            "env_version": meta["env_version"],
            "package_version": meta["package_version"],
        }
        row |= {key: record[key] for key in ("step", "episodes", "cpu_s", "steps_learner", "steps_teacher")}
        row |= {key: f"{record[key]:.15g}" for key in SPENT_KEYS if key in record}
        rows.append(row | {name: f"{value:.6g}" for name, value in record["metrics"].items()})
    return rows


def _collected(path: Path, cell: Cell) -> str:
    """Write down what a finished run measured; return an error message, empty when all went well."""
    try:
        collect(path, [cell])
    except (FileNotFoundError, ValueError, KeyError) as error:
        directory = path / "runs" / cell.config.run_id()
        return f"its run directory is damaged ({error}); remove {directory} to run it again"
    return ""


def collect(path: Path, cells: Sequence[Cell]) -> None:
    """Add the rows of finished cells to `runs.csv`, replacing earlier rows of the same runs."""
    new = [row for cell in cells for row in rows_of(cell, path / "runs" / cell.config.run_id())]
    hashes = {row["config_hash"] for row in new}
    with locked(path / ".runs.lock"):
        file = path / "runs.csv"
        old = [dict(row) for row in read_rows(file)] if file.exists() else []
        rows = [row for row in old if row["config_hash"] not in hashes] + new
        there = dict.fromkeys(key for row in rows for key in row)
        spent = [key for key in SPENT_KEYS if key in there]
        metrics = [key for key in there if key not in (*KEYS, *MORE_KEYS, *SPENT_KEYS)]
        write_atomically(file, csv_text(rows, [*KEYS, *MORE_KEYS, *spent, *metrics]))


def _write_benchmark(benchmark: Benchmark, cells: Sequence[Cell], path: Path, command: str, last_k: int | None) -> None:
    arms = [arm.label for arm in benchmark.arms if any(cell.arm == arm.label for cell in cells)]
    longest = max(cells, key=lambda cell: cell.config.steps).config
    stated = {
        "schema": 1,
        "name": benchmark.name,
        "title": benchmark.title,
        "env": longest.env.id,
        "env_version": env_version(longest.env.id),
        "package_version": rlteach.__version__,
        "primary": benchmark.primary,
        "metrics": [benchmark.primary, *(m for m in benchmark.metrics if m != benchmark.primary)],
        "baseline": benchmark.baseline,
        "arms": arms or list(dict.fromkeys(cell.arm for cell in cells)),
        "seeds": sorted({cell.seed for cell in cells}),
        "steps": longest.steps,
        "last_k": benchmark.last_k if last_k is None else last_k,
        "higher_is_better": True,
        "command": command,
        "config": longest.model_dump(mode="json", exclude={"teacher", "seed"}),
        "cells": [_stated(cell, longest) for cell in cells],
    }
    if benchmark.scales:
        stated["scales"] = {name: list(ends) for name, ends in benchmark.scales.items()}
    write_json(path / "benchmark.json", stated)


def _stated(cell: Cell, shared: RunConfig) -> dict[str, Any]:
    """Return a cell as `benchmark.json` holds it: with its own steps and learner where they are not the shared ones."""
    stated = {
        "arm": cell.arm,
        "seed": cell.seed,
        "run_id": cell.config.run_id(),
        "config_hash": cell.config.digest(),
        "teacher": cell.config.teacher.model_dump(mode="json"),
    }
    if cell.config.steps != shared.steps:
        stated["steps"] = cell.config.steps
    if cell.config.learner != shared.learner:
        stated["learner"] = cell.config.learner.model_dump(mode="json")
    if cell.config.observations != shared.observations:
        stated["observations"] = cell.config.observations
    return stated


def choose(named: Mapping[str, Any], name: str, kind: str) -> Any:
    """Return `named[name]`.

    Raises:
        InvalidValue: With the nearest name.
    """
    if name not in named:
        raise InvalidValue(f"no {kind} is called {name!r}.{did_you_mean(name, named)} Known: {', '.join(named)}.")
    return named[name]


def benchmark_of(run_config: RunConfig, name: str) -> Benchmark:
    """Return the benchmark that compares a configuration's teacher with `uniform` on its environment."""
    from rlteach import environments
    from rlteach.delivery import make_vec_env

    venv = make_vec_env(run_config.env.id, 1, env_kwargs=run_config.env.kwargs, vec=run_config.env.vec)
    offered = venv.get_attr("test_sets", [0])[0] if venv.has_attr("test_sets") else {"test": []}
    venv.close()
    base = run_config.model_dump(mode="json", exclude={"teacher", "seed", "steps"})
    arms = [Arm("uniform")]
    if run_config.teacher.name != "uniform":
        arms.append(Arm(run_config.teacher.name, kwargs=run_config.teacher.kwargs))
    return Benchmark(
        name=name,
        title=f"{environments.label(run_config.env.id)}, {run_config.learner.name}",
        base=base,
        arms=arms,
        primary=f"success/{next(iter(run_config.evaluation.test_sets or offered))}/{run_config.evaluation.policies[0]}",
        profiles={
            "smoke": Profile(steps=min(run_config.steps, 2_000), seeds=1),
            "small": Profile(steps=run_config.steps, seeds=5, publish=True),
            "long": Profile(steps=run_config.steps, seeds=10, publish=True),
        },
    )
