"""One self-contained HTML page about a benchmark: no script, no address outside the file, readable offline.

    write_report("benchmarks/results/goal_maze")      # -> benchmarks/results/goal_maze/report.html

Run directories add what each teacher proposed and what its learner mastered; where they are not kept, the page says so.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlteach.errors import RunDirectoryError, UserError
from rlteach.files import read_json, write_atomically
from rlteach.report import figures
from rlteach.report.results import (
    Cell,
    Results,
    Run,
    load_columns,
    load_config,
    load_portraits,
    load_results,
    load_task_space,
)
from rlteach.report.tables import Table, body, header, make_table, short_count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = 4
"""Metrics that get learning curves; the tables show all of them."""

STYLE = """
:root { color-scheme: light dark; --text: #1d1f21; --faint: #5d646b; --page: #ffffff; --line: #d6dade; --panel: #f4f5f7;
        --strong: #fff6dc; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e6e8; --faint: #a0a7ae; --page: #17191c; --line: #3a3f45; --panel: #212429; --strong: #3a3216; }
}
body { margin: 2rem auto; max-width: 70rem; padding: 0 1rem; background: var(--page); color: var(--text);
       font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin-bottom: .3rem; }
h2 { font-size: 1.25rem; margin-top: 2.4rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p.faint, .foot, figcaption { color: var(--faint); font-size: .9rem; }
.note { background: var(--strong); padding: .4rem .7rem; border-radius: 4px; font-size: .95rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; margin: .6rem 0; }
th, td { padding: .28rem .45rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
table.words td, table.words th { text-align: left; white-space: normal; overflow-wrap: anywhere; }
td.missing { background: var(--strong); }
figure { margin: .8rem 0; }
figure img { max-width: 100%; height: auto; background: #ffffff; border-radius: 4px; }
code, pre { background: var(--panel); border-radius: 4px; font-size: .88em; }
code { padding: .1rem .3rem; overflow-wrap: anywhere; }
pre { padding: .7rem; overflow-x: auto; }
"""


def write_report(
    directory: str | Path, output: str | Path | None = None, *, every_run: bool = False, force: bool = False
) -> Path:
    """Write the report of a results directory, or of a single run's, and return where it is.

    Args:
        directory: Holds `runs.csv`, `benchmark.json`, and perhaps `runs/`; or a run.
        output: The HTML file; `report.html` in the directory when None. Its directory must exist.
        every_run: Show the curriculum of every run whose directory was kept, not just of one for each arm.
        force: Compare runs of different versions all the same.

    Raises:
        RunDirectoryError: When the results are damaged or mixed, or the file cannot be written.
        MissingExtra: When matplotlib is not installed.
    """
    results = load_results(directory, force=force)
    path = Path(output) if output is not None else Path(directory) / "report.html"
    if not path.parent.is_dir():
        raise RunDirectoryError(f"cannot write {path}: there is no directory {path.parent}")
    write_atomically(path, page(results, every_run=every_run))
    return path


def write_figures(directory: str | Path, *, force: bool = False) -> list[Path]:
    """Write learning curves and the score of every run in the primary metric as PNG files; return where they are.

    Args:
        directory: Results directory; `curves.png` and `scores.png` go there.
        force: Compare runs of different versions all the same.

    Raises:
        RunDirectoryError: When the results are damaged or mixed, or a file cannot be written.
        MissingExtra: When matplotlib is not installed.
    """
    results = load_results(directory, force=force)
    drawn = {
        "curves.png": figures.learning_curves(results, results.benchmark.primary),
        "scores.png": figures.score_dots(results),
    }
    for name, figure in drawn.items():
        write_atomically(Path(directory) / name, figures.png(figure))
    return [Path(directory) / name for name in drawn]


def page(results: Results, *, every_run: bool = False) -> str:
    """Return the whole page; with the curriculum of every run, or of one for each arm."""
    title = escape(results.benchmark.title)
    curricula = partial(_curricula, every_run=every_run)
    sections = (_summary, _tables, _scores, curricula, _settings, _origin, _run_list)
    content = "\n".join(part for section in sections for part in section(results))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n<h1>{title}</h1>\n{content}\n</body>\n</html>\n"
    )


# -- sections ------------------------------------------------------------------------------------------------------


def _summary(results: Results) -> Iterator[str]:
    benchmark = results.benchmark
    done, expected = len(results.runs), len(benchmark.cells)
    cpu_hours = sum(max(run.last("cpu_s"), 0.0) for run in results.runs) / 3600
    arms = ", ".join(f"<b>{escape(arm)}</b>" for arm in benchmark.arms)
    own = any(cell.steps is not None for cell in benchmark.cells)
    steps = f"Every run has {'up to ' if own else ''}{short_count(benchmark.steps)}"
    yield (
        f"<p>Compared on <code>{escape(benchmark.env)}</code>: {arms}. {steps} "
        f"environment steps of its learner; {done} of {expected} runs are finished, {cpu_hours:.3g} CPU hours in all. "
        f"The primary metric is <code>{escape(benchmark.primary)}</code>, the baseline is "
        f"<b>{escape(benchmark.baseline)}</b>.</p>"
    )


def _tables(results: Results) -> Iterator[str]:
    yield "<h2>Results</h2>"
    for metric in results.benchmark.metrics:
        table = make_table(results, metric)
        kind = "primary metric" if table.is_primary else "further metric, not tested"
        yield f"<h3><code>{escape(metric)}</code> ({kind})</h3>"
        yield _table(table)
        if table.is_primary:
            yield from (f'<p class="note">Note: {escape(note)}</p>' for note in table.notes)
            yield f'<p class="foot">{"<br>".join(map(escape, table.footer))}</p>'


def _table(table: Table) -> str:
    heads, *rest = header(table)
    head = "".join(f"<th>{escape(text)}</th>" for text in (heads, *rest))
    rows = []
    for row, cells in zip(table.rows, body(table), strict=True):
        marks = [' class="missing"' if index == 1 and row.missing else "" for index in range(len(cells))]
        rows.append("".join(f"<td{mark}>{escape(text)}</td>" for mark, text in zip(marks, cells, strict=True)))
    lines = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="wide"><table>\n<tr>{head}</tr>\n{lines}\n</table></div>'


def _scores(results: Results) -> Iterator[str]:
    benchmark = results.benchmark
    yield "<h2>Learning curves</h2>"
    yield '<p class="faint">Interquartile mean over the finished runs, with 95 % bootstrap bands.</p>'
    for metric in benchmark.metrics[:CURVES]:
        yield _image(figures.learning_curves(results, metric), f"Learning curves of {metric}")
    if benchmark.metrics[CURVES:]:
        yield f"<p>Only the first {CURVES} metrics are drawn.</p>"
    yield "<h2>Every run</h2>"
    yield _image(figures.score_dots(results), f"Score of every run in {benchmark.primary}")


def _curricula(results: Results, *, every_run: bool) -> Iterator[str]:
    shown = "Every run" if every_run else "One run of each arm, the first seed"
    yield "<h2>What was proposed, and what was mastered</h2>"
    yield (
        f'<p class="faint">{shown} whose run directory was kept. Proposals: how often a '
        "value was proposed in each slice of training, relative to proposing uniformly. State: what the teacher had "
        "in mind, as its page in docs/teachers explains. "
        "Mastery: success on the test tasks.</p>"
    )
    for arm in results.benchmark.arms:
        kept = [run for run in results.of(arm) if results.run_directory(run.cell.run_id).is_dir()]
        yield f"<h3>{escape(arm)}</h3>"
        for run in kept if every_run else kept[:1]:
            yield f'<p class="faint">Run <code>{escape(run.cell.run_id)}</code>, seed {run.cell.seed}.</p>'
            yield _optional("What it proposed is not shown", _proposals, results, run)
            yield _optional("Its teacher's state is not shown", _portraits, results, run)
            yield _optional("What it mastered is not shown", _mastery, results, run)
        if not kept:
            yield "<p>No run directory of this arm was kept, so there is no picture of its curriculum.</p>"


def _optional(otherwise: str, draw: Callable[..., str], *arguments: Any) -> str:
    """Return a picture, or one sentence why there is none; a report never fails over a picture."""
    try:
        return draw(*arguments)
    except ImportError:
        raise
    except UserError as error:
        return f"<p>{escape(otherwise)}: {escape(str(error).rstrip('.'))}.</p>"


def _proposals(results: Results, run: Run) -> str:
    space = load_task_space(results.run_directory(run.cell.run_id))
    lessons = load_columns(results.run_directory(run.cell.run_id) / "lessons.csv")
    picture = _image(figures.proposals_over_time(lessons, space), f"Tasks proposed by {run.cell.arm} over time")
    return picture + _shortened(space)


def _portraits(results: Results, run: Run) -> str:
    path = results.run_directory(run.cell.run_id) / "teacher.jsonl"
    if not path.is_file():
        return "<p>Its teacher has no state that can be drawn, or the run did not record it.</p>"
    space = load_task_space(results.run_directory(run.cell.run_id))
    portraits = load_portraits(path, len(space))
    return _image(figures.teacher_over_time(portraits, space), f"State of the teacher of {run.cell.arm} over time")


def _mastery(results: Results, run: Run) -> str:
    space = load_task_space(results.run_directory(run.cell.run_id))
    evals = load_columns(results.run_directory(run.cell.run_id) / "evals.csv")
    chosen = figures.select(evals, results.benchmark.primary)
    return _image(figures.mastery_map(chosen, space), f"Success of {run.cell.arm} on the test tasks")


def _shortened(space: Sequence[Any]) -> str:
    most = figures.MAX_DIMENSIONS
    return f"<p>The first {most} of {len(space)} task parameters are shown.</p>" if len(space) > most else ""


def _settings(results: Results) -> Iterator[str]:
    benchmark = results.benchmark
    configs = {arm: _flat(_config_of(results, arm)) for arm in benchmark.arms}
    yield "<h2>Settings</h2>"
    known = {arm: config for arm, config in configs.items() if config}
    keys = dict.fromkeys(key for config in known.values() for key in config)
    differing = [key for key in keys if len({config.get(key) for config in known.values()}) > 1]
    if not known:
        yield "<p>The settings of the arms were not recorded.</p>"
    elif differing:
        yield "<p>Where the arms differ:</p>"
        rows = [[key, *(known[arm].get(key, "") for arm in known)] for key in differing]
        yield _words(["setting", *known], rows)
    else:
        yield "<p>The arms have the same settings.</p>"
    stated = {key: value for key, value in _flat(benchmark.config).items() if _is_shared(key, known.values())}
    shared = stated or {key: value for key, value in _first(known).items() if key not in differing}
    if shared:
        yield "<details><summary>What they share</summary>"
        yield _words(["setting", "value"], [[key, value] for key, value in shared.items()])
        yield "</details>"


def _is_shared(key: str, configs: Iterable[Mapping[str, str]]) -> bool:
    """Tell whether all arms whose settings say anything about the part that `key` belongs to say the same."""
    part = key.partition(".")[0]
    stating = [config for config in configs if any(other.partition(".")[0] == part for other in config)]
    return len({config.get(key) for config in stating}) <= 1


def _first(configs: Mapping[str, dict[str, str]]) -> dict[str, str]:
    return next(iter(configs.values()), {})


def _config_of(results: Results, arm: str) -> Mapping[str, Any]:
    """Return an arm's resolved configuration without its seed, from a run directory or else from `benchmark.json`."""
    cells = [cell for cell in results.benchmark.cells if cell.arm == arm]
    for cell in cells:
        try:
            config = load_config(results.run_directory(cell.run_id))
        except RunDirectoryError:
            continue
        return {key: value for key, value in config.items() if key != "seed"}
    return _stated(results, cells[0]) if cells else {}


def _stated(results: Results, cell: Cell) -> dict[str, Any]:
    """Return what `benchmark.json` says about a cell: its teacher, and whatever else differs between the cells."""
    stated: dict[str, Any] = {"teacher": cell.teacher} if cell.teacher else {}
    for name in ("steps", "learner", "observations"):
        if any(getattr(other, name) is not None for other in results.benchmark.cells):
            own = getattr(cell, name)
            stated[name] = results.benchmark.config.get(name, "") if own is None else own
    return stated


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat


def _words(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    lines = "\n".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="words">\n<tr>{head}</tr>\n{lines}\n</table></div>'


def _origin(results: Results) -> Iterator[str]:
    yield "<h2>How it was made</h2>"
    yield f"<pre>{escape(results.benchmark.command or 'The command was not recorded.')}</pre>"
    packages = sorted({f"rlteach {run.package_version}" for run in results.runs})
    environments = sorted({f"{results.benchmark.env} version {run.env_version}" for run in results.runs})
    yield f"<p>{escape(', '.join([*packages, *environments]) or 'No run is finished.')}</p>"
    yield _optional("Versions of other packages are not shown", _versions, results)


def _versions(results: Results) -> str:
    for run in results.runs:
        path = results.run_directory(run.cell.run_id) / "meta.json"
        if path.is_file():
            meta = read_json(path)
            if not isinstance(meta, dict):
                raise RunDirectoryError(f"{path} is not a mapping")
            versions = meta.get("versions") if isinstance(meta.get("versions"), dict) else {}
            items = [f"{name} {version}" for name, version in dict(versions or {}).items()]
            return f"<p>{escape(', '.join([*items, *([str(meta['machine'])] if 'machine' in meta else [])]))}</p>"
    raise RunDirectoryError("no run directory with a meta.json was kept")


def _run_list(results: Results) -> Iterator[str]:
    benchmark = results.benchmark
    runs = {(run.cell.arm, run.cell.seed): run for run in results.runs}
    scores = {arm: results.scores(arm, benchmark.primary) for arm in benchmark.arms}
    rows = []
    for cell in sorted(benchmark.cells, key=lambda cell: (benchmark.arms.index(cell.arm), cell.seed)):
        run = runs.get((cell.arm, cell.seed))
        score = scores[cell.arm].get(cell.seed)
        shown = "missing" if run is None else "not measured" if score is None else f"{score:.4g}"
        steps = short_count(float(run.steps[-1])) if run else "-"
        rows.append([cell.arm, str(cell.seed), shown, steps, cell.run_id, cell.config_hash])
    yield "<h2>Runs</h2>"
    yield f"<details><summary>All {len(rows)} runs with their ids</summary>"
    yield _words(["arm", "seed", benchmark.primary, "steps", "run id", "configuration hash"], rows)
    yield "</details>"


def _image(figure: Figure, text: str) -> str:
    """Return a figure as an image inside the page."""
    data = figures.png(figure)
    alt, (width, height) = escape(text), figures.png_size(data)
    source = f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
    return f'<figure><img src="{source}" alt="{alt}" width="{width}" height="{height}"></figure>'
