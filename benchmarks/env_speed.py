"""How long every environment of the family takes, beside its Gymnasium counterpart: python benchmarks/env_speed.py.

    python benchmarks/env_speed.py --only GridMaze-v0 "Parkour-v0, swimming"  # some of them
    python benchmarks/env_speed.py --quick                              # the short form, for continuous integration
    python benchmarks/env_speed.py --write                              # and put the tables into docs/performance.md

Prints two tables in markdown, of CPU microseconds in one process with one thread. Random actions; every round plays a
little of an environment, of its batch form and of the counterpart in turn, so that what else the machine does hits them
alike, and medians are over the rounds. A batch step is per row. Resets, each of a task that was never seen before, and
steps, in tasks of the first test set, are timed apart. Save and restore are of one episode in place, through
`rlteach.snapshots.restorable` where the environment offers none itself; "both, as bytes" is `capture` and `restore`,
which make bytes and check them. With `--write` and `--only` the other rows of the page stay as they are.

Goals are microseconds on a quiet core. What decides is how many times faster than its yardstick an environment is: the
yardstick is measured in the same rounds, and `QUIET` tells what it takes on a quiet core. Where a goal is missed by
more than a factor of two in that sense, twice, `--quick` ends with the exit code 1.
"""

import argparse
import functools
import importlib.util
import itertools
import os
import pkgutil
import re
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym
import numpy as np

from rlteach.environments import has_batch_form
from rlteach.snapshots.restorable import capture, restorable, restore
from rlteach.task_space import TaskSpace

QUIET = {
    "BipedalWalkerHardcore-v3": 133.0,
    "CarRacing-v3": 6916.0,
    "HalfCheetah-v5": 34.5,
    "Pendulum-v1": 9.1,
}
"""Microseconds per step of the yardsticks on a quiet core of the machine that the goals were set for."""

YARDSTICK = "Pendulum-v1"
"""For environments without a counterpart."""

SNAPSHOT_GOAL = 100.0
"""Microseconds for saving and restoring in place, of every environment, in whatever way it is done."""

FACTOR = 2.0
"""By how much `--quick` lets a goal be missed: what a busy machine can do to a ratio."""

MOST = 2000
"""Times at most that one thing is done in one round."""


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        env: Id.
        label: What the row is called beyond that.
        kwargs: Arguments of the constructor.
        batch: Rows of the batch form.
        counterpart: What it is measured against, an id; None for its own single form.
        counterpart_kwargs: Arguments of the counterpart's constructor.
        goals: Microseconds at most of a `"step"`, of a `"batch"` step per row, or of a `"reset"`.
        reached: Microseconds of goals that are known to be missed: what `--quick` holds them to instead.
        compiled: Whether the goals need numba.
        wrapper: What is measured is this around the environment, as `"module:class"`.
    """

    env: str
    label: str = ""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 1024
    counterpart: str | None = None
    counterpart_kwargs: Mapping[str, Any] = field(default_factory=dict)
    goals: Mapping[str, float] = field(default_factory=dict)
    reached: Mapping[str, float] = field(default_factory=dict)
    compiled: bool = False
    wrapper: str = ""

    @property
    def name(self) -> str:
        """Return what the row is called."""
        return self.env.removeprefix("rlteach/") + (f", {self.label}" if self.label else "")


HARDCORE = "BipedalWalkerHardcore-v3"


def parkour(body: str, label: str, step: float, **reached: float) -> Case:
    goals = {"step": step, "reset": 1000.0}
    return Case(
        "rlteach/Parkour-v0",
        label,
        {"body": body},
        counterpart=HARDCORE,
        goals=goals,
        reached=reached,
        compiled=True,
    )


SPECIAL: tuple[Case, ...] = (
    Case("rlteach/StumpTracks-v0", counterpart=HARDCORE, goals={"step": 45.0}, compiled=True),
    Case("rlteach/StumpTracksFast-v0", counterpart=HARDCORE),
    Case("rlteach/UEDWalker-v0", counterpart=HARDCORE),
    parkour("classic_bipedal", "walking", 70.0),
    parkour("fish", "swimming", 150.0),
    parkour("climbing_chimpanzee", "climbing", 120.0, snapshot=177.0),
    Case("rlteach/Parkour-v0", "quadruped", {"body": "quadruped"}, counterpart=HARDCORE, reached={"snapshot": 130.0}),
    Case("rlteach/Parkour-v0", "spider", {"body": "spider"}, counterpart=HARDCORE, reached={"snapshot": 180.0}),
    Case("rlteach/Parkour-v0", "millipede", {"body": "millipede"}, counterpart=HARDCORE, reached={"snapshot": 250.0}),
    Case("rlteach/CarRacing-v0", counterpart="CarRacing-v3", goals={"step": 200.0}, compiled=True),
    Case("rlteach/CarRacingFeatures-v0", counterpart="CarRacing-v3", goals={"step": 90.0}, compiled=True),
    Case("rlteach/Quadrotor-v0", batch=4096, goals={"batch": 1.0}, compiled=True),
    Case("rlteach/GridMaze-v0", counterpart="rlteach/MiniGridMaze-v0", goals={"batch": 10.0}),
    Case(
        "rlteach/MiniGridMaze-v0",
        counterpart="MiniGrid-Empty-16x16-v0",
        counterpart_kwargs={"size": 15, "agent_view_size": 5},
        reached={"snapshot": 130.0},
    ),
    Case("rlteach/HiddenMassPendulum-v0", counterpart="Pendulum-v1"),
    Case("rlteach/MaskedHopper-v0", counterpart="Hopper-v5"),
    Case("rlteach/MaskedLunarLander-v0", counterpart="LunarLanderContinuous-v3", reached={"snapshot": 2500.0}),
    Case("rlteach/HopperDynamics-v0", counterpart="Hopper-v5"),
    Case("rlteach/HalfCheetahDynamics-v0", counterpart="HalfCheetah-v5"),
    Case("rlteach/Walker2dDynamics-v0", counterpart="Walker2d-v5"),
    Case("rlteach/AntDynamics-v0", counterpart="Ant-v5"),
    Case("rlteach/TerrainWalker-v0", counterpart="Walker2d-v5"),
)
"""Environments with a counterpart, a goal or several forms; all others are measured too."""

OTHERS = (
    Case("Ant-v5"),
    Case("Humanoid-v5"),
    Case(
        "HalfCheetah-v5",
        "egocentric camera",
        counterpart="HalfCheetah-v5",
        goals={"step": 2500.0},
        reached={"snapshot": 180.0},
        wrapper="rlteach_envs.egocentric:EgocentricView",
    ),
)
"""Others' environments: those with the largest states among MuJoCo's, for their snapshots, and one with a camera."""


def cases() -> list[Case]:
    """Return a case at least for every registered environment, in the order of the ids."""
    import rlteach_envs  # noqa: F401  (registers the ids)

    ids = sorted(name for name in gym.registry if name.startswith("rlteach/"))
    return [case for name in ids for case in ([c for c in SPECIAL if c.env == name] or [Case(name)])] + [*OTHERS]


# -- measuring ---------------------------------------------------------------------------------------------------------


def clock() -> float:
    """Return the CPU microseconds of this process."""
    return time.process_time_ns() / 1000


class Single:
    """An environment that is played with random actions, task after task."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self.env = env
        self.env.action_space.seed(0)
        sets = offered(self.env, "test_sets")
        tasks = next(iter(sets.values())) if sets else []
        space = offered(self.env, "task_space")
        self._space = None if space is None else TaskSpace.of(space)
        self._generator = np.random.default_rng(0)
        self._options: Iterator[Any] = itertools.cycle([{"task": task} for task in tasks] or [None])
        self.env.reset(seed=0, options=next(self._options))

    def reset(self, count: int) -> float:
        """Return the microseconds of one of `count` resets, each of another task drawn uniformly."""
        options = [self._new() for _ in range(count)]
        begun = clock()
        for chosen in options:
            self.env.reset(options=chosen)
        return (clock() - begun) / count

    def _new(self) -> dict[str, Any] | None:
        if self._space is None:
            return None
        return {"task": self._space.from_unit(self._generator.random(self._space.dimension))}

    def step(self, count: int) -> float:
        """Return the microseconds of one of `count` steps, those of resets apart."""
        actions = iter([self.env.action_space.sample() for _ in range(count)])
        spent, played = 0.0, 0
        while played < count:
            begun = clock()
            for action in actions:
                _, _, terminated, truncated, _ = self.env.step(action)
                played += 1
                if terminated or truncated:
                    break
            spent += clock() - begun
            if terminated or truncated:
                self.env.reset(options=next(self._options))
        return spent / count


class Batch:
    """A batch form, whose rows are reset as they finish."""

    def __init__(self, name: str, rows: int, kwargs: Mapping[str, Any]) -> None:
        self.env = gym.make_vec(name, num_envs=rows, vectorization_mode="vector_entry_point", **kwargs)
        self.env.action_space.seed(0)
        self._actions = itertools.cycle([self.env.action_space.sample() for _ in range(8)])
        self.env.reset(seed=0)

    def step(self, count: int) -> float:
        """Return the microseconds of one of `count` steps, per row, those of resets apart."""
        spent = 0.0
        for _ in range(count):
            action = next(self._actions)
            begun = clock()
            _, _, terminated, truncated, _ = self.env.step(action)
            spent += clock() - begun
            if (finished := terminated | truncated).any():
                self.env.reset(options={"reset_mask": finished})
        return spent / count / self.env.num_envs


class Snapshots:
    """Saving and restoring, in an environment of its own: an adapter may cost something in every step."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self.env = restorable(env)
        self.env.action_space.seed(0)
        self.env.reset(seed=0)
        self._take, self._put = (offered(self.env, name) for name in ("get_snapshot", "set_snapshot"))

    def save_and_restore(self, count: int) -> tuple[float, float]:
        """Return the microseconds of a save and of a restore, each after a step."""
        saving, restoring = [], []
        for _ in range(count):
            save, snapshot = timed(self._take)
            self.env.step(self.env.action_space.sample())
            restore, _ = timed(lambda s=snapshot: self._put(s))
            saving.append(save)
            restoring.append(restore)
            _, _, terminated, truncated, _ = self.env.step(self.env.action_space.sample())
            if terminated or truncated:
                self.env.reset()
        return statistics.median(saving), statistics.median(restoring)

    def as_bytes(self, count: int) -> float:
        """Return the microseconds of saving and restoring bytes, which `capture` makes and `restore` checks."""
        took = []
        for _ in range(count):
            saving, data = timed(lambda: capture(self.env))
            self.env.step(self.env.action_space.sample())
            restoring, _ = timed(lambda d=data: restore(self.env, d))
            took.append(saving + restoring)
            _, _, terminated, truncated, _ = self.env.step(self.env.action_space.sample())
            if terminated or truncated:
                self.env.reset()
        return statistics.median(took)


def make(name: str, kwargs: Mapping[str, Any], wrapper: str = "") -> gym.Env[Any, Any]:
    """Make an environment without Gymnasium's checks of every step, which are no part of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that the counterparts import
        env: gym.Env[Any, Any] = gym.make(name, disable_env_checker=True, **kwargs)
        return pkgutil.resolve_name(wrapper)(env) if wrapper else env


def offered(env: gym.Env[Any, Any], name: str) -> Any:
    """Return an attribute of an environment or of one inside it, else None."""
    return env.get_wrapper_attr(name) if env.has_wrapper_attr(name) else None


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the microseconds that a call took, and what it returned."""
    begun = clock()
    result = call()
    return clock() - begun, result


def calibrated(measure: Callable[[int], Any], budget: float) -> Callable[[], Any]:
    """Return a function that measures as many times as take about `budget` microseconds."""
    measure(2)  # compiles, and fills caches
    took, _ = timed(lambda: measure(2))
    return functools.partial(measure, min(max(int(2 * budget / took), 1), MOST))


@dataclass(frozen=True)
class Measured:
    """What one case took: medians over the rounds, in microseconds; None where there is no such thing.

    Attributes:
        case: What was measured.
        times: Of `reset`, `step`, `batch`, `save`, `restore`, `bytes` and `counterpart`, as far as there are any.
        ratios: How many times faster than the counterpart's (else the single form's) step `step` and `batch` are, the
            median over the rounds.
        against: How many times faster than the yardstick's step each thing with a goal is, likewise.
        yardstick: Microseconds of the yardstick's step.
    """

    case: Case
    times: Mapping[str, float]
    ratios: Mapping[str, float]
    against: Mapping[str, float]
    yardstick: float


def measure(case: Case, rounds: int, budget: float) -> Measured:
    """Measure one case: in every round, `budget` CPU microseconds of each thing in turn."""
    single = Single(make(case.env, case.kwargs, case.wrapper))
    snapshots = Snapshots(make(case.env, case.kwargs, case.wrapper))
    things = {
        "reset": single.reset,
        "step": single.step,
        "save": snapshots.save_and_restore,
        "bytes": snapshots.as_bytes,
    }
    if has_batch_form(case.env):
        things["batch"] = Batch(case.env, case.batch, case.kwargs).step
    if case.counterpart:
        things["counterpart"] = Single(make(case.counterpart, case.counterpart_kwargs)).step
    yardstick = yardstick_of(case)
    if yardstick != case.counterpart:
        things["yardstick"] = Single(make(yardstick, {})).step
    calls = {name: calibrated(call, budget) for name, call in things.items()}
    found: dict[str, list[float]] = {name: [] for name in (*things, "restore")}
    for _ in range(rounds):
        for name, call in calls.items():
            if name == "save":
                saving, restoring = call()
                found["save"].append(saving)
                found["restore"].append(restoring)
            else:
                found[name].append(call())
    found["snapshot"] = [a + b for a, b in zip(found["save"], found["restore"], strict=True)]
    goals = goals_of(case)
    scale = found["yardstick" if "yardstick" in found else "counterpart"]
    own = None if case.counterpart else "step"
    base = found[own or "counterpart"]
    return Measured(
        case,
        {name: statistics.median(values) for name, values in found.items()},
        {
            name: times_faster(base, found[name])
            for name in ("step", "batch")
            if name in found and found[name] is not base
        },
        {name: times_faster(scale, found[name]) for name in goals},
        statistics.median(scale),
    )


def times_faster(base: Sequence[float], own: Sequence[float]) -> float:
    """Return the median over the rounds of how many times `own` goes into `base`."""
    return statistics.median(b / o for b, o in zip(base, own, strict=True))


# -- goals -------------------------------------------------------------------------------------------------------------


def yardstick_of(case: Case) -> str:
    """Return the id of the environment that tells how fast the machine is."""
    return case.counterpart if case.counterpart in QUIET else YARDSTICK


def goals_of(case: Case) -> dict[str, float]:
    """Return the goals of a case, in microseconds; without numba those of compiled code are left out."""
    goals = dict(case.goals) if not case.compiled or has_numba() else {}
    return goals | {"snapshot": SNAPSHOT_GOAL}


def share_of_goal(times_faster: float, quiet: float, goal: float) -> float:
    """Return what part of the goal was reached: measured times faster than the yardstick / wanted times faster.

    Args:
        times_faster: Yardstick's microseconds / own microseconds, in this run.
        quiet: Yardstick's microseconds on a quiet core.
        goal: Own microseconds at most on a quiet core.
    """
    return times_faster / (quiet / goal)


def shares(measured: Measured) -> dict[str, float]:
    """Return what part of each goal was reached; 1 is exactly that, more is better."""
    quiet, goals = QUIET[yardstick_of(measured.case)], goals_of(measured.case)
    return {name: share_of_goal(faster, quiet, goals[name]) for name, faster in measured.against.items()}


def verdict(took: float, goal: float, share: float) -> str:
    """Return whether a goal was met: in microseconds, only relative to the yardstick, or not."""
    return "yes" if took <= goal else "by ratio" if share >= 1 else "no"


def failures(rows: Sequence[Measured]) -> list[str]:
    """Return a sentence for every goal that was missed by more than `FACTOR`."""
    found = []
    for row in rows:
        goals = goals_of(row.case)
        for name, share in shares(row).items():
            held_to = max(goals[name], row.case.reached.get(name, 0.0))
            if share * held_to / goals[name] < 1 / FACTOR:
                found.append(
                    f"{row.case.name}: {name} reaches {share:.2f} of its goal relative to {yardstick_of(row.case)}, "
                    f"less than {goals[name] / held_to / FACTOR:.2g}"
                )
    return found


def has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None


# -- tables ------------------------------------------------------------------------------------------------------------

COLUMNS = ("reset", "step", "batch", "save", "restore", "bytes", "counterpart")

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN = "<!-- {}: python benchmarks/env_speed.py --write -->"
END = "<!-- end -->"


def number(value: float | None) -> str:
    """Return a number of three digits, a dash for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.3g}"


def table(rows: Sequence[Measured]) -> str:
    """Return what everything took."""
    lines = [
        "| environment | reset | step | batch step (rows) | save | restore | both, as bytes | counterpart | its step "
        "| times faster: step | batch |",
        "|---|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|",
    ]
    for row in rows:
        cells = [number(row.times.get(name)) for name in COLUMNS]
        if "batch" in row.times:
            cells[2] += f" ({row.case.batch})"
        against = (row.case.counterpart or ("its single form" if "batch" in row.times else "-")).removeprefix(
            "rlteach/"
        )
        cells[6:6] = [against]
        cells += [number(row.ratios.get(name)) for name in ("step", "batch")]
        lines.append(f"| {row.case.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def goal_table(rows: Sequence[Measured]) -> str:
    """Return what became of the goals."""
    lines = [
        "| environment | what | goal | measured | met | yardstick | quiet | here | share of the goal, relative to it |",
        "|---|---|--:|--:|---|---|--:|--:|--:|",
    ]
    for row in rows:
        yardstick, goals = yardstick_of(row.case), goals_of(row.case)
        for name, share in shares(row).items():
            took = row.times[name]
            what = "save and restore" if name == "snapshot" else "batch step" if name == "batch" else name
            lines.append(
                f"| {row.case.name} | {what} | {number(goals[name])} | {number(took)} "
                f"| {verdict(took, goals[name], share)} | {yardstick} | {number(QUIET[yardstick])} "
                f"| {number(row.yardstick)} | {share:.2f} |"
            )
    return "\n".join(lines)


def name_in(line: str) -> str:
    """Return what the row is called that a line of a table stands for."""
    return line.split("|")[1].strip()


def merged(old: str, new: str) -> str:
    """Return a new table with the rows of an old one for those cases that it lacks, in the order of the cases."""
    order = [case.name for case in cases()]
    head, rows = new.splitlines()[:2], new.splitlines()[2:]
    measured = {name_in(line) for line in rows}
    kept = [line for line in old.strip().splitlines()[2:] if name_in(line) in set(order) - measured]
    return "\n".join([*head, *sorted([*rows, *kept], key=lambda line: order.index(name_in(line)))])


def with_tables(text: str, rows: Sequence[Measured]) -> str:
    """Return the page with these rows written anew."""
    for name, new in {"times": table(rows), "goals": goal_table(rows)}.items():
        before, begin, rest = text.partition(BEGIN.format(name))
        old, end, after = rest.partition(END)
        if not end:
            raise SystemExit(f"{PAGE} lacks {END if begin else BEGIN.format(name)}")
        text = f"{before}{begin}\n\n{merged(old, new)}\n\n{end}{after}"
    return text


def chosen(names: Sequence[str]) -> list[Case]:
    """Return the cases of those names, by the whole name or by the id without `rlteach/`; all of them without names."""
    known = cases()
    if unknown := [name for name in names if not any(matches(case, name) for case in known)]:
        raise SystemExit(f"unknown: {', '.join(unknown)}; known are {'; '.join(case.name for case in known)}")
    return [case for case in known if not names or any(matches(case, name) for name in names)]


def lacking(name: str, kwargs: Mapping[str, Any], wrapper: str = "") -> str:
    """Return what is missing for an environment, nothing when it can be made."""
    try:
        make(name, kwargs, wrapper).close()
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        return str(error)
    return ""


def matches(case: Case, name: str) -> bool:
    return name.removeprefix("rlteach/") in (case.name, re.sub(",.*", "", case.name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="rows of the table")
    parser.add_argument("--quick", action="store_true", help="few rounds, and the exit code 1 for a goal far missed")
    parser.add_argument("--write", action="store_true", help=f"put the rows into docs/{PAGE.name}")
    parser.add_argument("--rounds", type=int, help="rounds that are measured; 15, or 7 with --quick")
    options = parser.parse_args(arguments)
    if options.quick and options.write:
        parser.error("--quick measures too little for the page; leave out --quick or --write")
    rounds, budget = options.rounds or (7 if options.quick else 15), 5_000.0 if options.quick else 15_000.0
    rows, left_out = [], []
    for case in chosen(options.only):
        if fault := lacking(case.env, case.kwargs, case.wrapper):
            left_out.append(f"Left out: {case.name} ({fault}).")
            continue
        if case.counterpart and (fault := lacking(case.counterpart, case.counterpart_kwargs)):
            left_out.append(f"Left out: the counterpart of {case.name}, {case.counterpart} ({fault}).")
            case = replace(case, counterpart=None)
        row = measure(case, rounds, budget)
        if options.quick and failures([row]):
            row = measure(case, 3 * rounds, budget)  # what other work did to one measurement, it does not do to two
        rows.append(row)
    if not has_numba() and any(row.case.compiled for row in rows):
        left_out.append("numba is not installed: goals of what it compiles are left out (pip install rlteach[numba]).")
    print("\n".join([table(rows), "", goal_table(rows), *([""] if left_out else []), *left_out]))
    if options.write:
        PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
    wrong = failures(rows) if options.quick else []
    for sentence in wrong:
        print(f"FAILED  {sentence}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
