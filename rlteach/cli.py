"""The command line: `rlteach COMMAND`, also `python -m rlteach COMMAND`.

Heavy modules are imported by the command that needs them, so that `--help` and `list` answer at once.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from rlteach.errors import EnvironmentFault, InvalidValue, UserError

if TYPE_CHECKING:
    from rlteach.experiment.bench import Benchmark


@dataclass(frozen=True)
class Run:
    """Train a learner under a teacher, from a YAML or Python configuration."""

    config: tyro.conf.Positional[Path]
    """Configuration file."""
    out: Path | None = None
    """Run directory; runs/<run id> by default."""
    seed: int | None = None
    """Overrides the configuration's seed."""
    set: tuple[str, ...] = ()
    """Further overrides, e.g. --set steps=1000 teacher.name=frontier."""

    def __call__(self) -> int:
        """Do it; return the exit code."""
        from rlteach.experiment import config as configuration

        overrides = _overrides(self.set)
        if self.seed is not None:
            overrides["seed"] = self.seed
        run_config = configuration.load(self.config, overrides)
        return _play(lambda stop: _run(run_config, self.out or Path("runs") / run_config.run_id(), stop))


@dataclass(frozen=True)
class Resume:
    """Go on with an interrupted run."""

    run: tyro.conf.Positional[Path]
    """Run directory."""

    def __call__(self) -> int:
        """Do it; return the exit code."""
        from rlteach.experiment.run import resume

        return _play(lambda stop: resume(self.run, stop=stop))


@dataclass(frozen=True)
class Distill:
    """Distil a privileged expert into a student that sees its own observations only."""

    expert: str
    """Run directory, SB3 .zip (with --trust), .onnx file, or package.module:function."""
    env: str = ""
    """Environment; the expert's own by default."""
    method: str = "dagger"
    """Method; `rlteach list methods` shows them all."""
    student: str = "mlp"
    """Architecture: mlp, stack, gru, lstm, transformer, cnn."""
    student_obs: str = "student"
    """What the student sees: a role, or observation groups joined by commas."""
    expert_obs: str = ""
    """What the expert sees; what it was trained on by default."""
    expert_normalizer: str = ""
    """What `VecNormalize.save` wrote, where the expert is an SB3 .zip that was trained under one."""
    steps: int = 64_000
    """Environment steps that the student may use."""
    teacher: str = "uniform"
    """Curriculum teacher that proposes the tasks."""
    trust: bool = False
    """Whether the expert's file may execute code that it holds."""
    advise: bool = False
    """Only find out, for a few thousand steps, whether the expert can be distilled."""
    probe: bool = True
    """Whether expert and random actions are compared first."""
    out: Path | None = None
    """Run directory; runs/<run id> by default."""
    seed: int = 0
    """Seed of everything."""
    set: tuple[str, ...] = ()
    """Further settings of the run, e.g. --set learner.kwargs.epochs=8 env.n_envs=16."""

    def __call__(self) -> int:
        """Do it; return the exit code."""
        from rlteach.experiment import distill

        run_config = distill.config_of(
            expert=self.expert,
            env=self.env,
            method=self.method,
            student=self.student,
            budget=self.steps,
            student_obs=self.student_obs,
            expert_obs=self.expert_obs,
            expert_normalizer=self.expert_normalizer,
            trust=self.trust,
            teacher=self.teacher,
            seed=self.seed,
            overrides=_overrides(self.set),
        )
        if self.advise:
            from rlteach.experiment.advise import advise

            print(advise(run_config).text())
            return 0
        if self.probe:
            print(distill.probe(run_config).sentence(), file=sys.stderr)
        return _play(lambda stop: _run(run_config, self.out or distill.default_out(run_config), stop))


@dataclass(frozen=True)
class Export:
    """Export a finished run's policy: ONNX, numpy runner, C header, and a contract that says what the numbers mean."""

    run: tyro.conf.Positional[Path]
    """Run directory."""
    out: Path | None = None
    """Where to write; `export` in the run directory by default."""
    formats: str = ""
    """Some of onnx,numpy,c; by default all that can be had here."""
    name: str = "policy"
    """Prefix of what the C header defines."""

    def __call__(self) -> int:
        """Do it; return the exit code."""
        from rlteach.experiment.exporting import export

        formats = [part.strip() for part in self.formats.split(",")] if self.formats else None
        exported = export(self.run, self.out, formats=formats, name=self.name)
        for file in exported.files:
            errors = exported.parity.get(file, {}).values()
            print(f"{exported.directory / file}{f'  max error {max(errors):.2g}' if errors else ''}")
        for note in exported.notes:
            print(note, file=sys.stderr)
        return 0


@dataclass(frozen=True)
class Bench:
    """Run a benchmark: arms x seeds, skipping what is done, and print the table."""

    script: tyro.conf.Positional[Path]
    """Benchmark script, or a run configuration (its teacher is then compared with uniform)."""
    profile: str = "smoke"
    """Size: smoke, small, long, paper, or whatever the script offers."""
    jobs: Annotated[int, tyro.conf.arg(aliases=["-j"])] = 1
    """Runs at a time, each with one torch thread."""
    out: Path | None = None
    """Results directory."""
    only: str = ""
    """Name of one of the script's benchmarks; all of them by default."""
    arms: tuple[str, ...] = ()
    """Arms to run; all by default."""
    seeds: int | None = None
    """Number of seeds; the profile's by default."""
    tune: bool = False
    """Run the baseline's tuning grid instead, on its own seeds."""
    executor: Literal["local"] = "local"
    """Where runs are placed."""

    def __call__(self) -> int:
        """Do it; return the exit code."""
        return run_benchmarks(_benchmarks_in(self.script), self, self.script)


@dataclass(frozen=True)
class TableCommand:
    """Print the results table of a benchmark."""

    directory: tyro.conf.Positional[Path]
    """Results directory."""
    format: Literal["terminal", "markdown", "csv", "json", "latex"] = "terminal"
    """How to print it."""
    metric: str = ""
    """Metric; the primary one by default."""
    output: Path | None = None
    """Write to this file instead."""
    force: bool = False
    """Mix environment or package versions."""

    def __call__(self) -> int:
        """Do it; return the exit code."""
        from rlteach.report import tables
        from rlteach.report.results import load_results

        results = load_results(self.directory, force=self.force)
        table = tables.make_table(results, metric=self.metric or None)
        if self.format == "terminal" and self.output is None:
            _print_table(table)
            return 0
        writers = {
            "markdown": tables.to_markdown,
            "terminal": tables.to_markdown,
            "csv": tables.to_csv,
            "json": tables.to_json,
            "latex": tables.to_latex,
        }
        text = writers[self.format](table)
        if self.output is None:
            print(text)
        else:
            from rlteach.files import write_atomically

            write_atomically(self.output, text)
        return 0


@dataclass(frozen=True)
class ReportCommand:
    """Write a self-contained HTML report of a benchmark, or of a single run."""

    directory: tyro.conf.Positional[Path]
    """Results directory, or the directory of a run."""
    output: Path | None = None
    """HTML file; report.html in the directory by default."""
    every_run: bool = False
    """Show the curriculum of every run, not just of one for each arm."""
    figures: bool = False
    """Also write curves.png and scores.png into the directory."""
    force: bool = False
    """Mix environment or package versions."""

    def __call__(self) -> int:
        """Do it; return the exit code."""
        from rlteach.report import html

        print(html.write_report(self.directory, self.output, every_run=self.every_run, force=self.force))
        for path in html.write_figures(self.directory, force=self.force) if self.figures else ():
            print(path)
        return 0


@dataclass(frozen=True)
class ListCommand:
    """List what is registered: environments, teachers of tasks and of starts, learners, methods of distillation."""

    what: tyro.conf.Positional[Literal["all", "envs", "teachers", "starts", "learners", "methods"]] = "all"
    """What to list."""

    def __call__(self) -> int:
        """Do it; return the exit code."""
        from rlteach import registry

        for kind in registry.KINDS:
            if self.what in ("all", f"{kind}s"):
                print(f"{kind}s")
                shown = [e for e in registry.entries(kind).values() if kind != "learner" or e.kind == "learner"]
                rows = _env_rows() if kind == "env" else [(e.name, e.summary()) for e in shown]
                width = max((len(name) for name, _ in rows), default=0)
                for name, summary in rows:
                    print(f"  {name:{width}}  {summary}".rstrip())
        return 0


@dataclass(frozen=True)
class Check:
    """Check an environment: Gymnasium, Stable-Baselines3, tasks, determinism, pickling."""

    env: tyro.conf.Positional[str]
    """Id, module:id or file.py:Class."""

    def __call__(self) -> int:
        """Do it; return the exit code."""
        from rlteach import environments
        from rlteach.testing.envs import check_env

        environments.check_known(self.env)
        findings = check_env(environments.factory(self.env))
        for finding in findings:
            mark = {True: "ok  ", False: "FAIL", None: "-   "}[finding.ok]
            print(f"{mark}  {finding.name}: {finding.detail}")
            if finding.ok is False and finding.fix:
                print(f"      fix: {finding.fix}")
        return 1 if any(finding.ok is False for finding in findings) else 0


@dataclass(frozen=True)
class Doctor:
    """Show versions, extras, threads and disk, to paste into a bug report."""

    def __call__(self) -> int:
        """Do it; return the exit code."""
        import platform
        import shutil
        from importlib import metadata

        import rlteach

        print(f"rlteach {rlteach.__version__}, Python {platform.python_version()}, {platform.platform()}")
        for name in ("torch", "stable-baselines3", "gymnasium", "numpy", "scipy", "scikit-learn", "pydantic"):
            print(f"  {name} {metadata.version(name)}")
        for extra, packages in _extras().items():
            missing = [package for package in packages if not _is_installed(package)]
            there = f"missing {', '.join(missing)}: pip install 'rlteach[{extra}]'" if missing else "installed"
            print(f"  extra {extra}: {there}")
        print(f"  {os.cpu_count()} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}")
        print(f"  {shutil.disk_usage('.').free / 1e9:.0f} GB free here")
        return 0


def _extras() -> dict[str, list[str]]:
    """Return the optional extras of rlteach with the packages that each brings, those of its own tests left out."""
    from importlib import metadata

    extras: dict[str, list[str]] = {}
    for requirement in metadata.requires("rlteach") or []:
        found = re.fullmatch(r"""([\w.-]+).*extra == ["']([\w-]+)["'].*""", requirement)
        if found and found[2] not in ("test", "dev"):
            extras.setdefault(found[2], []).append(found[1])
    return extras


def _is_installed(package: str) -> bool:
    from importlib import metadata

    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


@dataclass(frozen=True)
class Demo:
    """Compare four teachers on the toy space, without reinforcement learning, in about a minute."""

    jobs: Annotated[int, tyro.conf.arg(aliases=["-j"])] = 2
    """Runs at a time."""
    out: Path = field(default_factory=lambda: Path("runs/demo"))
    """Results directory."""

    def __call__(self) -> int:
        """Do it; return the exit code."""
        from rlteach.experiment.demo import DEMO

        return run_benchmarks([DEMO], Bench(Path("demo"), "demo", self.jobs, self.out), Path("demo"))


COMMANDS: dict[str, Any] = {
    "run": Run,
    "resume": Resume,
    "distill": Distill,
    "export": Export,
    "bench": Bench,
    "table": TableCommand,
    "report": ReportCommand,
    "list": ListCommand,
    "check": Check,
    "doctor": Doctor,
    "demo": Demo,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: exits with 0, 1 (something failed), 2 (the user can mend it), 130 or 143 (stopped)."""
    sys.exit(_guarded(lambda: tyro.extras.subcommand_cli_from_dict(COMMANDS, args=arguments, prog="rlteach")()))


def bench_main(benchmarks: Sequence[Benchmark], script: str) -> None:
    """Entry point of a benchmark script: the same as `rlteach bench SCRIPT`."""

    def play() -> int:
        options = tyro.cli(Bench, args=[script, *sys.argv[1:]], prog=f"python {Path(script).name}")
        return run_benchmarks(benchmarks, options, Path(script))

    sys.exit(_guarded(play))


def _guarded(play: Any) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.showwarning = _show_warning
    try:
        return int(play())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except EnvironmentFault as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on where this one was", file=sys.stderr)
        return 130


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _overrides(items: Sequence[str]) -> dict[str, Any]:
    import yaml

    overrides = {}
    for item in items:
        key, separator, value = item.partition("=")
        if not separator:
            raise InvalidValue(f"--set takes key=value, not {item!r}")
        try:
            overrides[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InvalidValue(f"--set {item}: {value!r} is not valid YAML: {error}") from None
    return overrides


def _run(run_config: Any, directory: Path, stop: Any) -> Any:
    from rlteach.experiment.run import run

    teacher, learner, env = run_config.teacher.name, run_config.learner.name, run_config.env
    print(
        f"{teacher} teaches {learner} on {env.id} ({env.n_envs} environments), seed {run_config.seed}, "
        f"{run_config.steps:,} steps, 1 torch thread\n"
        f"run directory {directory} (go on later: rlteach resume {directory})",
        file=sys.stderr,
    )
    return run(run_config, directory, stop=stop)


def _play(play: Any) -> int:
    """Run with signals turned into a checkpoint at the next rollout."""
    from rlteach.experiment.run import Interrupted

    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _frame: received.append(n))
    try:
        result = play(lambda: bool(received))
    except Interrupted as error:
        print(error, file=sys.stderr)
        return 128 + received[0]
    for name, value in result.metrics.items():
        print(f"{name:32} {value:.4g}")
    where = result.directory
    print(f"{result.cpu_s:.1f} CPU seconds; everything is in {where}; pictures: rlteach report {where}")
    return 0


def _env_rows() -> list[tuple[str, str]]:
    import gymnasium as gym

    from rlteach import registry

    rows = []
    for entry in registry.entries("env").values():
        if entry.package == "rlteach":
            package = entry.load()
            offered, extras = getattr(package, "OFFERS", {}), getattr(package, "EXTRAS", {})
            for env_id, spec in sorted(gym.registry.items()):
                target = spec.entry_point
                if isinstance(target, str) and target.split(".")[0] == entry.target:
                    summary = registry.Entry(env_id, target, entry.package).summary().partition("; see `")[0]
                    given = ", ".join(f"{name}={value}" for name, value in spec.kwargs.items())
                    offers = ", ".join(offered.get(env_id, ()))
                    needs = f"needs rlteach[{extras[env_id]}]" if env_id in extras else ""
                    parts = [summary.rstrip("."), f"({given})" if given else "", f"[{offers}]" if offers else "", needs]
                    rows.append((env_id, " ".join(part for part in parts if part)))
        else:
            rows.append((entry.name, f"environments of the package {entry.package} (not imported)"))
    return rows


def _benchmarks_in(script: Path) -> list[Benchmark]:
    import runpy

    if not script.is_file():
        from rlteach.errors import did_you_mean

        near = [str(p) for p in script.parent.glob("*.py")] if script.parent.is_dir() else []
        raise UserError(f"there is no benchmark {script}.{did_you_mean(str(script), near)}")
    if script.suffix == ".py":
        found = runpy.run_path(str(script)).get("BENCHMARKS")
        if not found:
            raise UserError(f"{script} defines no BENCHMARKS (a list of rlteach.experiment.bench.Benchmark)")
        return list(found)
    from rlteach.experiment.bench import benchmark_of
    from rlteach.experiment.config import load

    return [benchmark_of(load(script), script.stem)]


def run_benchmarks(benchmarks: Sequence[Benchmark], options: Bench, script: Path) -> int:
    """Run benchmarks as `rlteach bench` does and print their tables; return the exit code."""
    from rlteach.experiment import bench

    by_name = {benchmark.name: benchmark for benchmark in benchmarks}
    chosen = [bench.choose(by_name, options.only, "benchmark")] if options.only else list(benchmarks)
    if options.jobs < 1:
        raise InvalidValue(f"jobs = {options.jobs} must be at least 1")
    code = 0
    for benchmark in chosen:
        if options.only or options.profile in benchmark.profiles:
            code = max(code, _run_benchmark(benchmark, options, script))
        elif not any(options.profile in other.profiles for other in chosen):
            bench.choose(benchmark.profiles, options.profile, "profile")
    return code


def _run_benchmark(benchmark: Benchmark, options: Bench, script: Path) -> int:
    from dataclasses import replace

    from rlteach.experiment import bench
    from rlteach.files import write_atomically
    from rlteach.report import tables
    from rlteach.report.results import load_results

    profile = bench.choose(benchmark.profiles, options.profile, "profile")
    known = {arm.label: arm for arm in benchmark.arms}
    for label in options.arms:
        bench.choose(known, label, "arm")
    seeds = profile.seeds if options.seeds is None else options.seeds
    if seeds < 1:
        raise InvalidValue(f"seeds = {seeds} must be at least 1")
    more_seeds = profile.more_seeds if options.seeds is None else {}
    profile = replace(profile, arms=options.arms or profile.arms, seeds=seeds, more_seeds=more_seeds)
    cells = bench.tuning_cells(benchmark) if options.tune else bench.cells_of(benchmark, profile)
    home = script.parent / "results" if profile.publish or options.tune else Path("runs")
    name = f"{benchmark.name}_tuning" if options.tune else benchmark.name
    directory = (options.out / name if options.out and not options.only else options.out) or home / (
        name if profile.publish or options.tune else f"{name}-{options.profile}"
    )
    tail = " --tune" if options.tune else ""
    command = f"python {_shown(script)} --only {benchmark.name} --profile {options.profile}{tail} -j {options.jobs}"
    done = bench.bench(benchmark, cells, directory, jobs=options.jobs, command=benchmark.command or command)
    if done.done + done.skipped:
        table = tables.make_table(load_results(directory))
        write_atomically(directory / "table.md", tables.to_markdown(table))
        _print_table(table)
        print(f"{directory / 'table.md'}; pictures: rlteach report {directory}", file=sys.stderr)
    for run_id, error in done.failed.items():
        print(f"FAILED {run_id}: {error}", file=sys.stderr)
    return 1 if done.failed else 0


def _shown(script: Path) -> str:
    """Return a script's path without anything of this machine in it."""
    path = script.resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name


def _print_table(table: Any) -> None:
    from rich.console import Console

    from rlteach.report import tables

    Console().print(tables.to_rich(table))


if __name__ == "__main__":
    main()
