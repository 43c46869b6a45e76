"""The results table: one row per arm, with what is missing shown as missing, in every format.

    table = make_table(load_results("benchmarks/results/goal_maze"))
    print(to_markdown(table))

Tests are made for the primary metric only, which was fixed before anything was run, and only between arms with at least
`TEST_RUNS` runs each. Bootstrap and permutations draw from a fixed seed: the same results give the same table.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rlteach.report import stats
from rlteach.report.results import Results
from rlteach.report.stats import PairedDifference, Vector

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

TEST_RUNS = 5
"""Fewest runs per arm for a test. With four against four, no permutation test can fall below p = .029."""

NOTHING = "-"


@dataclass(frozen=True)
class Scaled:
    """A score between two arms: 0 where the mean of the one is, 1 where the mean of the other is.

    Attributes:
        mean: Mean over the runs; NaN where the two ends are not known or do not differ.
        low: Lower end of its 95 % bootstrap interval over the runs, the ends held fixed; NaN with fewer than two.
        high: Its upper end.
    """

    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Row:
    """One arm. NaN and None stand for what cannot be said.

    Attributes:
        arm: Label.
        n: Finished runs that measured the metric.
        n_expected: Runs that the benchmark asks for.
        mean: Mean score.
        sd: Standard deviation between runs.
        iqm: Interquartile mean.
        interval: 95 % bootstrap interval of the interquartile mean.
        improvement: Probability that a run is better than a run of the baseline.
        paired: Difference from the baseline on the seeds in common; positive when the arm is better.
        welch_p: Welch's test against the baseline, Holm-corrected over the arms.
        permutation_p: Permutation test against the baseline, Holm-corrected over the arms.
        steps_learner: Median environment steps that the learner used.
        steps_teacher: Median environment steps that the teacher used by itself.
        steps_expert: Median environment steps that the training of the expert used.
        steps_collection: Median environment steps in which snapshots were collected.
        steps_roll_in: Median environment steps that a guide played before the learner's own.
        labels: Median labels of the expert; NaN for a learner that counts none.
        cpu_s: Median CPU seconds.
        missing: Seeds without a score.
        run_ids: The runs behind the row.
        scaled: The score on each of the benchmark's scales.
    """

    arm: str
    n: int
    n_expected: int
    mean: float
    sd: float
    iqm: float
    interval: tuple[float, float]
    improvement: float
    paired: PairedDifference | None
    welch_p: float
    permutation_p: float
    steps_learner: float
    steps_teacher: float
    steps_expert: float
    steps_collection: float
    steps_roll_in: float
    labels: float
    cpu_s: float
    missing: tuple[int, ...]
    run_ids: tuple[str, ...]
    scaled: Mapping[str, Scaled]

    @property
    def steps(self) -> float:
        """Environment steps in all, whoever caused them."""
        return self.steps_learner + sum(self.steps_of_others.values())

    @property
    def steps_of_others(self) -> dict[str, float]:
        """Environment steps of everybody but the learner, by role."""
        return {
            "expert": self.steps_expert,
            "teacher": self.steps_teacher,
            "collection": self.steps_collection,
            "roll-in": self.steps_roll_in,
        }


@dataclass(frozen=True)
class Table:
    """A results table, free of any format.

    Attributes:
        title: What was measured.
        metric: Name of the metric.
        is_primary: Whether it is the metric that decides.
        baseline: Label of the arm that the others are compared with.
        higher_is_better: Direction of the metric.
        scales: Names of the columns with scores between two arms.
        rows: One per arm, in the benchmark's order.
        notes: What a reader must know, one sentence each.
        footer: Where the numbers come from: command, versions, seeds, runs.
    """

    title: str
    metric: str
    is_primary: bool
    baseline: str
    higher_is_better: bool
    scales: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    footer: tuple[str, ...]


def make_table(results: Results, metric: str | None = None) -> Table:
    """Compare the arms on a metric, the primary one when None.

    Raises:
        UnknownName: When there is no such metric.
    """
    benchmark = results.benchmark
    metric = metric or benchmark.primary
    results.check_metric(metric)
    is_primary = metric == benchmark.primary
    comparisons = _compare(results, metric, tested=is_primary)
    rows = tuple(_row(results, arm, metric, comparisons[arm]) for arm in benchmark.arms)
    return Table(
        title=benchmark.title,
        metric=metric,
        is_primary=is_primary,
        baseline=benchmark.baseline,
        higher_is_better=benchmark.higher_is_better,
        scales=tuple(benchmark.scales),
        rows=rows,
        notes=tuple(_notes(results, rows, is_primary)),
        footer=tuple(_footer(results, rows, metric, is_primary)),
    )


@dataclass
class _Comparison:
    improvement: float = math.nan
    paired: PairedDifference | None = None
    welch_p: float = math.nan
    permutation_p: float = math.nan


def _compare(results: Results, metric: str, *, tested: bool) -> dict[str, _Comparison]:
    """Compare every arm with the baseline; p-values are corrected over all arms that are tested."""
    benchmark = results.benchmark
    sign = 1 if benchmark.higher_is_better else -1
    scores = {arm: {seed: sign * s for seed, s in results.scores(arm, metric).items()} for arm in benchmark.arms}
    base = scores.get(benchmark.baseline, {})
    comparisons = {arm: _Comparison() for arm in benchmark.arms}
    for arm, own in scores.items():
        if arm == benchmark.baseline or not own or not base:
            continue
        x, y = list(own.values()), list(base.values())
        compared = comparisons[arm]
        compared.improvement = stats.probability_of_improvement(x, y)
        compared.paired = stats.paired_difference(own, base)
        if tested and min(len(x), len(y)) >= TEST_RUNS:
            compared.welch_p = stats.welch(x, y)
            compared.permutation_p = stats.permutation_test(x, y, rng=np.random.default_rng(0))
    ordered = list(comparisons.values())
    for name in ("welch_p", "permutation_p"):
        for compared, p in zip(ordered, stats.holm([getattr(c, name) for c in ordered]), strict=True):
            setattr(compared, name, p)
    return comparisons


def _row(results: Results, arm: str, metric: str, compared: _Comparison) -> Row:
    by_seed = results.scores(arm, metric)
    scores = np.array(list(by_seed.values()))
    runs = [run for run in results.of(arm) if run.cell.seed in by_seed]
    expected = [cell.seed for cell in results.benchmark.cells if cell.arm == arm]
    unknown = (math.nan, math.nan)
    return Row(
        arm=arm,
        n=scores.size,
        n_expected=len(expected),
        mean=float(scores.mean()) if scores.size else math.nan,
        sd=float(scores.std(ddof=1)) if scores.size > 1 else math.nan,
        iqm=float(stats.iqm(scores)),
        interval=stats.bootstrap_interval(scores, rng=np.random.default_rng(0)) if scores.size > 1 else unknown,
        improvement=compared.improvement,
        paired=compared.paired,
        welch_p=compared.welch_p,
        permutation_p=compared.permutation_p,
        steps_learner=_median([_known(run.last("steps_learner"), float(run.steps[-1])) for run in runs]),
        steps_teacher=_median([_known(run.last("steps_teacher"), 0.0) for run in runs]),
        steps_expert=_median([_known(run.last("steps_expert"), 0.0) for run in runs]),
        steps_collection=_median([_known(run.last("steps_collection"), 0.0) for run in runs]),
        steps_roll_in=_median([_known(run.last("steps_roll_in"), 0.0) for run in runs]),
        labels=_median([run.last("labels") for run in runs]),
        cpu_s=_median([run.last("cpu_s") for run in runs]),
        missing=tuple(sorted(set(expected) - set(by_seed))),
        run_ids=tuple(run.cell.run_id for run in runs),
        scaled={name: _scaled(scores, *_ends(results, metric, name)) for name in results.benchmark.scales},
    )


def _ends(results: Results, metric: str, scale: str) -> tuple[float, float]:
    """Return the mean scores of the arms that count 0 and 1; NaN for one without a score."""
    low, high = (
        list(results.scores(arm, metric).values()) if arm in results.benchmark.arms else []
        for arm in results.benchmark.scales[scale]
    )
    return float(np.mean(low)) if low else math.nan, float(np.mean(high)) if high else math.nan


def _scaled(scores: Vector, low: float, high: float) -> Scaled:
    if not scores.size or not _differ(low, high):
        return Scaled()
    values = (scores - low) / (high - low)
    interval = (math.nan, math.nan)
    if values.size > 1:
        interval = stats.bootstrap_interval(values, np.mean, rng=np.random.default_rng(0))
    return Scaled(float(values.mean()), *interval)


def _differ(low: float, high: float) -> bool:
    return math.isfinite(low) and math.isfinite(high) and not math.isclose(low, high, rel_tol=1e-9, abs_tol=1e-12)


def _known(value: float, otherwise: float) -> float:
    return value if math.isfinite(value) else otherwise


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.median(known)) if known else math.nan


def _notes(results: Results, rows: Sequence[Row], is_primary: bool) -> list[str]:
    benchmark = results.benchmark
    notes = list(results.mixed)
    if missing := [f"{row.arm} (seeds {_ranges(row.missing)})" for row in rows if row.missing]:
        notes.append(f"missing runs: {'; '.join(missing)}.")
    if benchmark.baseline not in benchmark.arms:
        notes.append(f"nothing is compared, because the baseline {benchmark.baseline!r} is not among the arms.")
    elif is_primary and any(0 < row.n < TEST_RUNS for row in rows):
        notes.append(f"fewer than {TEST_RUNS} runs per arm are not tested, and their intervals are too narrow.")
    steps = [row.steps for row in rows if math.isfinite(row.steps)]
    if steps and max(steps) > 1.02 * min(steps):
        notes.append("the arms did not use the same number of environment steps; compare the steps column.")
    return notes


def _footer(results: Results, rows: Sequence[Row], metric: str, is_primary: bool) -> list[str]:
    benchmark = results.benchmark
    hashes = {run.cell.config_hash for run in results.runs}
    packages = ", ".join(sorted({run.package_version for run in results.runs})) or "of unknown version"
    environments = ", ".join(sorted({run.env_version for run in results.runs})) or "unknown"
    last = f"the last {benchmark.last_k} evaluations" if benchmark.last_k > 1 else "the last evaluation"
    tests = " p: two-sided, Holm-corrected over the arms." if is_primary else ""
    done, expected = sum(row.n for row in rows), sum(row.n_expected for row in rows)
    return [
        f"Score: {last} of a run, at {_completion(results)}. IQM: interquartile mean with a 95 % bootstrap "
        f"interval. P(better): that a run beats a run of {benchmark.baseline}. Difference: from {benchmark.baseline}, "
        f"paired by seed, with a 95 % Student t interval.{tests} Costs: median."
        + (" Steps include those of the expert's training, CPU s does not." if _any_expert(rows) else "")
        + (" Labels: actions that the expert was asked for." if _any_labels(rows) else ""),
        *(_scale_sentence(results, metric, name) for name in benchmark.scales),
        f"rlteach {packages}, {benchmark.env} (env version {environments}), seeds {_ranges(benchmark.seeds)}, "
        f"{done} of {expected} runs, {len(hashes)} configuration hashes.",
        f"Command: {benchmark.command or 'not recorded'}",
    ]


def _completion(results: Results) -> str:
    benchmark = results.benchmark
    shorter: dict[int, dict[str, None]] = {}
    for cell in benchmark.cells:
        if cell.steps is not None:
            shorter.setdefault(cell.steps, {})[cell.arm] = None
    others = "; ".join(f"{', '.join(arms)}: {steps:,}" for steps, arms in shorter.items())
    return f"{benchmark.steps:,} steps or more" + (f" ({others})" if others else "")


def _scale_sentence(results: Results, metric: str, name: str) -> str:
    """Explain a column of scaled scores, or say why it is empty."""
    arms, ends = results.benchmark.scales[name], _ends(results, metric, name)
    meaning = f"{name}: 0 is the mean of {arms[0]}, 1 the mean of {arms[1]}"
    if unknown := [arm for arm, end in zip(arms, ends, strict=True) if not math.isfinite(end)]:
        return f"{meaning}; it cannot be said, because {' and '.join(unknown)} {_have(len(unknown))} no score."
    if not _differ(*ends):
        return f"{meaning}; it cannot be said, because the two do not differ."
    return f"{meaning}; the mean over the runs, with a 95 % bootstrap interval in which these two ends are fixed."


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _any_expert(rows: Sequence[Row]) -> bool:
    return any(row.steps_expert > 0 for row in rows)


def _any_labels(rows: Sequence[Row]) -> bool:
    return any(row.labels > 0 for row in rows)


def _ranges(numbers: Sequence[int]) -> str:
    """Return `0-3, 7` for 0, 1, 2, 3, 7."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts) or NOTHING


# -- numbers as text -----------------------------------------------------------------------------------------------


def header(table: Table) -> list[str]:
    """Return the column heads of `body`."""
    heads = ["arm", "n", "mean ± sd", "IQM [95 %]", *(f"{name} [95 %]" for name in table.scales)]
    heads += ["P(better)", "difference [95 %]", "won-lost"]
    if table.is_primary:
        heads += ["p Welch", "p permut."]
    return [*heads, "steps", *(["labels"] if _any_labels(table.rows) else []), "CPU s"]


def body(table: Table) -> list[list[str]]:
    """Return the rows as text."""
    digits = _digits([row.mean for row in table.rows])
    return [_texts(row, digits, table) for row in table.rows]


def _texts(row: Row, digits: int, table: Table) -> list[str]:
    def number(value: float, sign: str = "") -> str:
        return f"{value:{sign}.{digits}f}" if math.isfinite(value) else NOTHING

    def scaled(score: Scaled) -> str:
        known = [value for value in (score.mean, score.low, score.high) if math.isfinite(value)]
        texts = [f"{round(value, 2) + 0.0:.2f}" for value in known]  # + 0.0: no -0.00
        return f"{texts[0]} [{texts[1]}, {texts[2]}]" if len(texts) == 3 else texts[0] if texts else NOTHING

    def interval(middle: float, low: float, high: float, sign: str = "") -> str:
        if not math.isfinite(low):
            return number(middle, sign)
        return f"{number(middle, sign)} [{number(low, sign)}, {number(high, sign)}]"

    paired = row.paired
    cells = [
        row.arm,
        str(row.n) if row.n == row.n_expected else f"{row.n}/{row.n_expected}",
        f"{number(row.mean)} ± {number(row.sd)}" if math.isfinite(row.sd) else number(row.mean),
        interval(row.iqm, *row.interval),
        *(scaled(row.scaled[name]) for name in table.scales),
        f"{row.improvement:.2f}" if math.isfinite(row.improvement) else NOTHING,
        interval(paired.mean, paired.low, paired.high, "+") if paired else NOTHING,
        f"{paired.wins}-{paired.losses}" if paired else NOTHING,
    ]
    if table.is_primary:
        cells += [p_text(row.welch_p), p_text(row.permutation_p)]
    cells.append(_steps_text(row))
    if _any_labels(table.rows):
        cells.append(short_count(row.labels) if math.isfinite(row.labels) else NOTHING)
    return [*cells, f"{row.cpu_s:,.0f}" if math.isfinite(row.cpu_s) else NOTHING]


def _digits(values: Sequence[float]) -> int:
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return 3 if largest < 10 else 2 if largest < 100 else 1 if largest < 1000 else 0


def p_text(p: float) -> str:
    """Return a p-value with as many digits as it deserves."""
    if not math.isfinite(p):
        return NOTHING
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}" if p > 0 else "0"


def _steps_text(row: Row) -> str:
    if not math.isfinite(row.steps):
        return NOTHING
    split = ", ".join(f"{short_count(steps)} {role}" for role, steps in row.steps_of_others.items() if steps)
    return f"{short_count(row.steps)} ({split})" if split else short_count(row.steps)


def short_count(count: float, digits: int = 4) -> str:
    """Return 500000 as `500k` and 2500000 as `2.5M`."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.{digits}g}{letter}"
    return f"{count:.{digits}g}"


def heading(table: Table) -> str:
    """Return the line above the table."""
    direction = "higher is better" if table.higher_is_better else "lower is better"
    return f"{table.title} · {table.metric} ({'primary, ' if table.is_primary else ''}{direction})"


# -- formats -------------------------------------------------------------------------------------------------------


def to_markdown(table: Table) -> str:
    """Return a GitHub Markdown table with title, notes and footer."""
    rows = [[_markdown(text) for text in row] for row in (header(table), *body(table))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [f"| {' | '.join(text.ljust(w) for text, w in zip(row, widths, strict=True))} |" for row in rows]
    rule = "|".join(f"{'-' * (w + 1)}{'-' if i == 0 else ':'}" for i, w in enumerate(widths))
    lines.insert(1, f"|{rule}|")
    notes = [f"Note: {_markdown(note)}" for note in table.notes]
    *footer, command = table.footer
    tail = [*notes, *map(_markdown, footer), f"Command: `{command.removeprefix('Command: ').replace('`', '')}`"]
    return "\n".join([f"**{_markdown(heading(table))}**", "", *lines, "", "\n\n".join(tail), ""])


def _markdown(text: str) -> str:
    """Keep names from breaking the table or becoming markup."""
    flat = " ".join(text.split())
    for special in "\\|*<`":
        flat = flat.replace(special, f"\\{special}")
    return flat


def to_csv(table: Table) -> str:
    """Return one line per arm with unrounded numbers; what cannot be said is empty."""
    rows = [_flat(row) for row in table.rows]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in rows)
    return buffer.getvalue()


def _flat(row: Row) -> dict[str, Any]:
    data = {**asdict(row), "steps": row.steps}
    low, high = data.pop("interval")
    for name, score in data.pop("scaled").items():
        data |= {f"scaled_{name}": score["mean"]} | {f"scaled_{name}_{end}": score[end] for end in ("low", "high")}
    paired = data.pop("paired") or dict.fromkeys(("n", "mean", "low", "high", "wins", "losses", "ties"))
    data |= {"iqm_low": low, "iqm_high": high} | {f"paired_{key}": value for key, value in paired.items()}
    data |= {"missing": " ".join(map(str, row.missing)), "run_ids": " ".join(row.run_ids)}
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in data.items()
    }


def to_json(table: Table) -> str:
    """Return everything in the table as JSON; what cannot be said is null."""
    return json.dumps(_plain({"schema": 1, **asdict(table)}), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_LATEX = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "<": r"$<$",
    ">": r"$>$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def to_latex(table: Table) -> str:
    """Return a `table` environment for the package booktabs."""
    heads, rows = header(table), body(table)
    lines = [" & ".join(map(_latex, row)) + r" \\" for row in (heads, *rows)]
    notes = " ".join([*(f"Note: {note}" for note in table.notes), *table.footer])
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex(heading(table))}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            "",
            rf"\smallskip {{\footnotesize {_latex(notes)}}}",
            r"\end{table}",
            "",
        ]
    )


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def to_rich(table: Table) -> RichTable:
    """Return something that `rich.console.Console.print` shows at any width."""
    return RichTable(table)


class RichTable:
    """A table for the terminal. Columns that do not fit beside the others continue in a further block below."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        yield Text(heading(self._table), style="bold")
        columns = list(zip(header(self._table), *body(self._table), strict=True))
        for block in _blocks(columns, options.max_width):
            yield self._block(block)
        for line in (*(f"note: {note}" for note in self._table.notes), *self._table.footer):
            yield Text(line, style="yellow" if line.startswith("note: ") else "dim")

    def _block(self, columns: Sequence[Sequence[str]]) -> Any:
        from rich import box, table, text

        grid = table.Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for index, column in enumerate(columns):
            arm = index == 0
            grid.add_column(text.Text(column[0]), justify="left" if arm else "right", no_wrap=not arm, overflow="fold")
        for cells in list(zip(*columns, strict=True))[1:]:
            grid.add_row(*(text.Text(cell) for cell in cells))
        return grid


def _blocks(columns: Sequence[Sequence[str]], width: int) -> list[list[Sequence[str]]]:
    """Share the columns out over blocks that fit into `width`, each beginning with the arms."""
    arms, *rest = columns
    blocks: list[list[Sequence[str]]] = [[arms]]
    for column in rest:
        if len(blocks[-1]) > 1 and sum(_width(c) + 3 for c in (*blocks[-1], column)) > width:
            blocks.append([arms])
        blocks[-1].append(column)
    return blocks


def _width(column: Sequence[str]) -> int:
    return max(len(text) for text in column)
