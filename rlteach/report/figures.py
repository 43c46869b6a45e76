"""Pictures of a benchmark, drawn without a display and without any global state of matplotlib.

    learning_curves(results, "success/feasible/det").savefig("curves.svg")

Colours are Okabe and Ito's (2008), which colour-blind readers can tell apart; beyond seven arms the line style changes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rlteach.errors import InvalidValue, MissingExtra
from rlteach.report import stats
from rlteach.report.results import Columns, Results
from rlteach.report.tables import short_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4B2A")
BASELINE_COLOR = "#444444"
LINES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)))
GREY = "#8a8a8a"
DOTS_PER_INCH = 120
MAX_DIMENSIONS = 12
"""Task parameters that get a panel; a space may have more."""

TaskSpace = Sequence[Mapping[str, Any]]
"""Name, low, high, unit of each task parameter, as in `task_space.json`."""


def _figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "report", purpose="drawing figures") from error
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file with a palette, a third of the size of a true-colour one."""
    from PIL import Image

    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=DOTS_PER_INCH)
    Image.open(raw).convert("RGB").quantize(256).save(small, format="png", optimize=True)
    return small.getvalue()


def png_size(data: bytes) -> tuple[int, int]:
    """Return width and height of a PNG file, in pixels (they stand in its header)."""
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)


def _style(results: Results, arm: str) -> tuple[str, Any]:
    """Return an arm's colour and line, the same in every figure of a benchmark."""
    if arm == results.benchmark.baseline:
        return BASELINE_COLOR, (0, (4, 1.5))
    index = [other for other in results.benchmark.arms if other != results.benchmark.baseline].index(arm)
    return COLORS[index % len(COLORS)], LINES[index // len(COLORS) % len(LINES)]


def _count_axis(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: short_count(value)))


def _literal(text: str) -> str:
    """Keep a dollar in a name from starting a formula."""
    return text.replace("$", r"\$")


def _is_share(metric: str) -> bool:
    return metric.startswith(("success/", "cvar"))


# -- scores --------------------------------------------------------------------------------------------------------


def learning_curves(results: Results, metric: str) -> Figure:
    """Draw each arm's interquartile mean over the learner's steps, with its 95 % bootstrap band and its name beside it.

    Args:
        results: What was measured.
        metric: Which metric.
    """
    figure = _figure(8.4, 4.4)
    axes = figure.add_subplot()
    _plain(axes)
    ends = []
    for arm in results.benchmark.arms:
        steps, values = results.curve(arm, metric)
        if not steps.size:
            continue
        color, line = _style(results, arm)
        middle = stats.iqm(values, axis=0)
        if len(values) > 1:
            low, high = stats.bootstrap_band(values.T, stats.iqm, 0.95, 1000, np.random.default_rng(0))
            axes.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
        marker = "o" if steps.size <= 12 else ""
        axes.plot(steps, middle, color=color, linestyle=line, linewidth=1.8, marker=marker, markersize=3.5)
        ends.append((float(middle[-1]), int(steps[-1]), arm, color))
    axes.set(xlabel="environment steps of the learner", ylabel=_literal(metric))
    axes.margins(x=0.02)
    if _is_share(metric):
        axes.set_ylim(-0.02, 1.02)
    if ends:
        _name_lines(axes, ends)
    else:
        axes.text(0.5, 0.5, "no finished run measured this", transform=axes.transAxes, ha="center", color=GREY)
        axes.set_xticks([])
    _count_axis(axes.xaxis)
    return figure


def _name_lines(axes: Axes, ends: Sequence[tuple[float, int, str, str]]) -> None:
    """Write each line's name at the right edge, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    ordered = sorted(ends)
    places = spread_out([(value - low) / (high - low) for value, *_ in ordered], gap=0.055)
    for (value, step, arm, color), place in zip(ordered, places, strict=True):
        axes.annotate(
            _literal(arm),
            xy=(step, value),
            xytext=(1.03, place),
            textcoords=axes.transAxes,
            color=color,
            fontsize=9,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3},
        )


def spread_out(places: Sequence[float], gap: float) -> list[float]:
    """Return ascending places in [0, 1] moved as little as needed to be `gap` apart, closer when there are many."""
    n = len(places)
    gap = min(gap, 1 / max(n - 1, 1))
    moved = np.asarray(places, dtype=np.float64) - gap * np.arange(n)
    blocks: list[list[float]] = []  # pool adjacent violators: neighbours that would collide share one offset
    for value in moved:
        blocks.append([float(value)])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    offsets = np.concatenate([np.full(len(block), np.mean(block)) for block in blocks]) if blocks else moved
    return [float(v) for v in np.clip(offsets, 0, 1 - gap * max(n - 1, 0)) + gap * np.arange(n)]


def score_dots(results: Results, metric: str | None = None) -> Figure:
    """Draw every run's score as a dot, and each arm's interquartile mean with its 95 % interval.

    Args:
        results: What was measured.
        metric: Which metric; the primary one when None.
    """
    metric = metric or results.benchmark.primary
    arms = results.benchmark.arms
    figure = _figure(8.4, 0.9 + 0.42 * len(arms))
    axes = figure.add_subplot()
    _plain(axes)
    axes.grid(visible=False, axis="y")
    for place, arm in enumerate(arms):
        scores = np.array(list(results.scores(arm, metric).values()))
        if not scores.size:
            axes.text(0.01, place, "no finished run", transform=axes.get_yaxis_transform(), va="center", color=GREY)
            continue
        color, _ = _style(results, arm)
        axes.scatter(scores, place + _jitter(scores.size), s=22, color=color, alpha=0.45, linewidths=0)
        axes.plot([stats.iqm(scores)], [place], marker="|", markersize=17, markeredgewidth=2.4, color=color)
        if scores.size > 1:
            low, high = stats.bootstrap_interval(scores, rng=np.random.default_rng(0))
            axes.plot([low, high], [place, place], color=color, linewidth=2.2)
    axes.set_yticks(range(len(arms)), [_literal(arm) for arm in arms])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlabel(f"{_literal(metric)}  (dot: one run; bar: interquartile mean with 95 % interval)")
    return figure


def _jitter(n: int) -> NDArray[np.float64]:
    """Return vertical offsets that keep equal dots apart, the same every time."""
    return np.asarray(0.24 * ((np.arange(n) * 0.618034) % 1 - 0.5), dtype=np.float64)


# -- curricula -----------------------------------------------------------------------------------------------------


def proposals_over_time(lessons: Columns, task_space: TaskSpace) -> Figure:
    """Draw which tasks a teacher proposed as training went on.

    One panel per task parameter: how often each value was proposed in each slice of training. For two parameters
    also eight maps, one per eighth of training.

    Args:
        lessons: The columns of `lessons.csv`.
        task_space: The task parameters.
    """
    steps = _column(lessons, "step")
    space = task_space[:MAX_DIMENSIONS]
    tasks = _tasks(lessons, space)
    known = np.isfinite(tasks).all(axis=1) & np.isfinite(steps)
    if not known.any():
        raise InvalidValue("the lessons hold no task")
    steps, tasks = steps[known], tasks[known]
    columns = min(len(space), 3)
    rows = math.ceil(len(space) / columns)
    maps = len(task_space) == 2
    figure = _figure(10, 2.7 * rows + (4.6 if maps else 0))
    parts: Any = figure.subfigures(2, 1, height_ratios=[2.7, 4.6]) if maps else (figure, None)
    top, below = parts
    grid = top.subplots(rows, columns, sharex=True, squeeze=False)
    for index, axes in enumerate(grid.flat):
        if index < len(space):
            image = _history(axes, steps, tasks[:, index], space[index], labelled=index >= len(space) - columns)
        else:
            axes.set_axis_off()
    bar = top.colorbar(image, ax=grid, shrink=0.9, pad=0.015, aspect=25, extend="max")
    bar.set_label("relative to uniform")
    if below is not None:
        _proposal_maps(below, steps, tasks, space)
    return figure


def _tasks(columns: Columns, space: TaskSpace) -> NDArray[np.float64]:
    """Return the task vectors in real units, shape (rows, parameters)."""
    return np.column_stack([_column(columns, f"task/{p['name']}") for p in space])


def _column(columns: Columns, name: str) -> NDArray[Any]:
    if name not in columns:
        raise InvalidValue(f"there is no column {name!r} among {', '.join(columns)}")
    return columns[name]


def _label(parameter: Mapping[str, Any]) -> str:
    unit = f" [{parameter['unit']}]" if parameter["unit"] else ""
    return _literal(f"{parameter['name']}{unit}")


def _edges(parameter: Mapping[str, Any], most: int) -> NDArray[np.float64]:
    """Return histogram edges: one bin per level of a discrete parameter, else `most` equal ones."""
    levels = int(parameter.get("levels") or 0)
    if 0 < levels <= most:
        return np.linspace(parameter["low"] - 0.5, parameter["high"] + 0.5, levels + 1)
    return np.linspace(parameter["low"], parameter["high"], most + 1)


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))


def _history(
    axes: Axes, steps: NDArray[Any], values: NDArray[Any], parameter: Mapping[str, Any], *, labelled: bool
) -> Any:
    """Draw the density of proposed values in each slice of training, relative to uniform proposals."""
    slices = np.linspace(0, steps.max(), _between(4, steps.size // 60, 40) + 1)
    edges = _edges(parameter, _between(6, steps.size // (4 * slices.size), 30))
    counts, _, _ = np.histogram2d(steps, values, bins=(slices, edges))
    total = counts.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        density = counts / total * (edges.size - 1)
    image = axes.pcolormesh(slices, edges, density.T, cmap="magma_r", vmin=0, vmax=5)
    axes.set_facecolor("#dddddd")
    axes.set_title(_label(parameter), fontsize=10)
    if labelled:
        axes.set_xlabel("environment steps")
        axes.tick_params(labelbottom=True)
    axes.locator_params(axis="x", nbins=5)
    _value_ticks(axes.yaxis, parameter)
    _count_axis(axes.xaxis)
    return image


def _value_ticks(axis: Any, parameter: Mapping[str, Any]) -> None:
    """Put ticks at whole numbers where a parameter has no others."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10], integer=bool(parameter.get("levels"))))


def _proposal_maps(figure: Any, steps: NDArray[Any], tasks: NDArray[Any], space: TaskSpace) -> None:
    """Draw where tasks were proposed in each eighth of training."""
    bounds = np.linspace(0, steps.max(), 9)
    panels = figure.subplots(2, 4, sharex=True, sharey=True)
    bins = _between(6, math.isqrt(steps.size // 32), 24)  # about four episodes a cell, were they spread evenly
    edges = (_edges(space[0], bins), _edges(space[1], bins))
    for index, axes in enumerate(panels.flat):
        inside = (steps > bounds[index]) & (steps <= bounds[index + 1])
        counts, _, _ = np.histogram2d(tasks[inside, 0], tasks[inside, 1], bins=edges)
        density = counts / max(counts.sum(), 1) * counts.size
        axes.pcolormesh(*edges, density.T, cmap="magma_r", vmin=0, vmax=5)
        title = f"{short_count(bounds[index], 3)} to {short_count(bounds[index + 1], 3)} steps"
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=8)
    figure.supxlabel(_label(space[0]), fontsize=10)
    figure.supylabel(_label(space[1]), fontsize=10)


def mastery_map(evals: Columns, task_space: TaskSpace) -> Figure:
    """Draw on which test tasks the learner succeeds, at up to six evaluations.

    Two parameters: a map of the test tasks. Otherwise: the success rate against each parameter.

    Args:
        evals: The columns of `evals.csv`, of one test set and one policy (`select`).
        task_space: The task parameters.
    """
    _column(evals, "success")
    steps = _column(evals, "step")
    steps = np.unique(steps[np.isfinite(steps)])
    if not steps.size:
        raise InvalidValue("there is no evaluation")
    shown = steps[np.unique(np.linspace(0, steps.size - 1, 6).round().astype(int))]
    if len(task_space) == 2:
        return _mastery_2d(evals, task_space, shown)
    return _mastery_per_dimension(evals, task_space[:MAX_DIMENSIONS], shown)


def select(evals: Columns, metric: str) -> Columns:
    """Return the rows of `evals.csv` behind a metric named `<what>/<test set>/<policy>`."""
    _, name, policy = (*metric.split("/"), "", "")[:3]
    chosen = (_column(evals, "set") == name) & (_column(evals, "policy") == policy)
    return {key: column[chosen] for key, column in evals.items()}


def _mastery_2d(evals: Columns, space: TaskSpace, shown: NDArray[Any]) -> Figure:
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = _figure(10, 0.5 + 2.9 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    tasks = _tasks(evals, space)
    for axes, step in zip(panels.flat, shown, strict=False):
        now = evals["step"] == step
        places, which = np.unique(tasks[now], axis=0, return_inverse=True)
        success = np.bincount(which.ravel(), evals["success"][now]) / np.bincount(which.ravel())
        size = float(np.clip(11_000 / len(places), 6, 160))
        image = axes.scatter(*places.T, c=success, s=size, marker="s", cmap="viridis", vmin=0, vmax=1, linewidths=0)
        axes.set_title(f"{short_count(step)} steps: {success.mean():.0%}", fontsize=10)
        _value_ticks(axes.xaxis, space[0])
        _value_ticks(axes.yaxis, space[1])
    for axes in panels.flat[len(shown) :]:
        axes.set_axis_off()
    figure.supxlabel(_label(space[0]), fontsize=10)
    figure.supylabel(_label(space[1]), fontsize=10)
    figure.colorbar(image, ax=panels, shrink=0.85, pad=0.015).set_label("success rate")
    return figure


def _mastery_per_dimension(evals: Columns, space: TaskSpace, shown: NDArray[Any]) -> Figure:
    from matplotlib import colormaps

    columns = min(len(space), 3)
    rows = math.ceil(len(space) / columns)
    figure = _figure(10, 0.6 + 2.7 * rows)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    tasks = _tasks(evals, space)
    for index, axes in enumerate(panels.flat):
        if index >= len(space):
            axes.set_axis_off()
            continue
        _plain(axes)
        edges = _edges(space[index], 10)
        for order, step in enumerate(shown):
            now = evals["step"] == step
            bins = np.clip(np.digitize(tasks[now, index], edges) - 1, 0, edges.size - 2)
            count = np.bincount(bins, minlength=edges.size - 1)
            rate = np.bincount(bins, evals["success"][now], edges.size - 1)[count > 0] / count[count > 0]
            color = colormaps["viridis"](0.9 * (1 - order / max(len(shown) - 1, 1)))
            middle = ((edges[1:] + edges[:-1]) / 2)[count > 0]
            axes.plot(middle, rate, marker="o", markersize=3, color=color, label=f"{short_count(step)} steps")
        axes.set_title(_label(space[index]), fontsize=10)
        axes.set_ylim(-0.03, 1.03)
        _value_ticks(axes.xaxis, space[index])
    for row in panels:
        row[0].set_ylabel("success rate")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return figure
