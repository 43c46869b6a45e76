"""Pictures of a benchmark, drawn without a display and without any global state of matplotlib.

    learning_curves(results, "success/feasible/det").savefig("curves.svg")

Colours are Okabe and Ito's (2008), which colour-blind readers can tell apart; beyond seven arms the line style changes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rlteach.errors import InvalidValue, MissingExtra
from rlteach.report import stats
from rlteach.report.results import SHAPES, Columns, Results
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
FIELD_PIXELS = 72
MAX_PORTRAITS = 6
"""Moments of training at which a teacher's state is drawn."""

TaskSpace = Sequence[Mapping[str, Any]]
"""Name, low, high, unit of each task parameter, as in `task_space.json`."""

Portraits = Sequence[tuple[int, Columns]]
"""Step and columns of what a teacher had in mind (`TaskTeacher.portrait`), at least one."""


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


def teacher_over_time(portraits: Portraits, task_space: TaskSpace) -> Figure:
    """Draw what a teacher had in mind at up to six moments of training, in the units of the task space.

    Two parameters: maps. More: maps of the two along which the teacher is most uneven. One: the value over it.

    Args:
        portraits: Step and portrait, by step.
        task_space: The task parameters.
    """
    shown = [portraits[place] for place in _spread_places(len(portraits), MAX_PORTRAITS)]
    axis = uneven_dimensions([columns for _, columns in shown], len(task_space))
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = _figure(10, 0.5 + 2.9 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    colors = PortraitColors([portrait for _, portrait in shown])
    for axes, (step, portrait) in zip(panels.flat, shown, strict=False):
        draw_portrait(axes, portrait, task_space, axis, colors)
        axes.set_title(f"{short_count(step)} steps", fontsize=10)
    _close_grid(panels, len(shown))
    figure.supxlabel(_label(task_space[axis[0]]), fontsize=10)
    figure.supylabel(_label(task_space[axis[1]]) if len(axis) > 1 else colors.name, fontsize=10)
    if colors.name and len(axis) > 1:
        figure.colorbar(colors.mappable, ax=panels, shrink=0.85, pad=0.015, extend="max").set_label(colors.name)
    return figure


def _close_grid(panels: Any, used: int) -> None:
    """Empty the panels that are not used, and number the axis of those above them."""
    for axes in panels.flat[used:]:
        axes.set_axis_off()
    for axes in panels.flat[max(used - panels.shape[1], 0) : used]:
        axes.tick_params(labelbottom=True)


def _spread_places(count: int, most: int) -> list[int]:
    """Return at most `most` of the places 0 ... count - 1, evenly spread, first and last among them."""
    return [int(place) for place in np.unique(np.linspace(0, count - 1, min(count, most)).round())]


class PortraitColors:
    """One colour scale for all portraits of a figure, between the 2 % and 98 % quantiles of their values.

    Attributes:
        name: What the value is, empty when no portrait has one.
        norm: From a value to its place on the scale, 0 to 1 inside it.
        mappable: What a colour bar is made from.
    """

    def __init__(self, portraits: Sequence[Columns]) -> None:
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        found = [value for portrait in portraits for value in (_value_of(portrait, shape) for shape in SHAPES) if value]
        values = np.concatenate([value for _, value in found]) if found else np.zeros(0)
        values = values[np.isfinite(values)]
        self.name = found[0][0] if found else ""
        low, high = np.quantile(values, (0.02, 0.98)).tolist() if values.size else (0.0, 1.0)
        if not high > low:
            low, high = min(0.0, low), max(0.0, low, 1e-12)
        self.norm = Normalize(low, high)
        self.mappable = ScalarMappable(self.norm, colormaps["viridis"])

    def of(self, value: NDArray[np.float64] | None, rows: int) -> NDArray[np.float64]:
        """Return a colour for each row (rows, 4); one blue when the rows have no value."""
        from matplotlib.colors import to_rgba

        if value is None:
            return np.tile(to_rgba(COLORS[0]), (rows, 1))
        return np.asarray(self.mappable.to_rgba(value), dtype=np.float64)


def _value_of(portrait: Columns, shape: str) -> tuple[str, NDArray[np.float64]] | None:
    """Return name and numbers of the column that colours a shape."""
    for key, column in portrait.items():
        kind, _, name = key.partition("/")
        if kind == shape and name not in SHAPES[shape]:
            return name, column
    return None


def uneven_dimensions(portraits: Sequence[Columns], dimension: int, bins: int = 5) -> list[int]:
    """Return the one or two dimensions along which portraits weigh tasks least evenly, in ascending order.

    Measured by the total variation distance between uniform and the shares, by value, of five equal parts of a
    dimension, over all portraits.
    """
    shares = np.zeros((dimension, bins))
    for portrait in portraits:
        for places, weights in _samples(portrait):
            cells = np.clip((places * bins).astype(int), 0, bins - 1)
            for axis in range(dimension):
                found = np.bincount(cells[:, axis], weights, bins)
                shares[axis] += np.abs(found / max(found.sum(), 1e-300) - 1 / bins)
    order = np.argsort(-shares.sum(axis=1), kind="stable")
    return sorted(order[:2].tolist())


def _samples(portrait: Columns) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield points (n, d) that stand for the shapes of a portrait, and their weights (n,)."""
    inside = (np.arange(9) + 0.5) / 9
    for shape in {key.partition("/")[0] for key in portrait}:
        if shape == "ellipses":
            middle, widths = portrait["ellipses/mean"], np.sqrt(_variances(portrait["ellipses/covariance"]))
            parts = middle + (4 * inside - 2)[:, None, None] * widths
        elif shape == "boxes":
            low, high = portrait["boxes/low"], portrait["boxes/high"]
            parts = low + inside[:, None, None] * (high - low)
        else:
            parts = portrait[f"{shape}/place"][None]
        value = _value_of(portrait, shape)
        weights = np.ones(parts.shape[1]) if value is None else np.maximum(np.nan_to_num(value[1]), 0.0)
        yield parts.reshape(-1, parts.shape[2]), np.tile(weights, len(parts))


def _variances(covariances: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(np.diagonal(covariances, axis1=1, axis2=2), 0.0)


def draw_portrait(
    axes: Axes, portrait: Columns, task_space: TaskSpace, axis: Sequence[int], colors: PortraitColors
) -> None:
    """Draw one portrait over one or two task parameters.

    Args:
        axes: Where to.
        portrait: The columns, in the unit cube.
        task_space: All task parameters.
        axis: Which of them are drawn.
        colors: The colour scale of the figure.
    """
    space = [task_space[k] for k in axis]
    for shape in dict.fromkeys(key.partition("/")[0] for key in portrait):
        named = _value_of(portrait, shape)
        value = None if named is None else np.nan_to_num(named[1], posinf=0.0, neginf=0.0)
        rows = len(portrait[f"{shape}/{SHAPES[shape][0]}"])
        order = np.arange(rows) if value is None else np.argsort(value, kind="stable")
        parts = {name: portrait[f"{shape}/{name}"][order] for name in SHAPES[shape]}
        draw = _draw_over_one if len(axis) == 1 else _draw_map
        draw(axes, shape, parts, None if value is None else value[order], space, axis, colors)
    axes.set_xlim(*_ends(space[0]))
    _value_ticks(axes.xaxis, space[0])
    if len(space) > 1:
        axes.set_ylim(*_ends(space[1]))
        _value_ticks(axes.yaxis, space[1])


def _draw_map(
    axes: Axes,
    shape: str,
    parts: Columns,
    value: NDArray[np.float64] | None,
    space: TaskSpace,
    axis: Sequence[int],
    colors: PortraitColors,
) -> None:
    shades = colors.of(value, len(next(iter(parts.values()))))
    if shape == "field" and parts["place"].shape[1] == 2:
        _draw_field(axes, parts["place"][:, axis], shades, space)
        return
    if shape in ("points", "field"):
        places = _in_units(parts["place"][:, axis], space)
        axes.scatter(places[:, 0], places[:, 1], c=shades, s=14, linewidths=0)
        return
    for row, shade in enumerate(shades):
        if shape == "ellipses":
            outline = _ellipse(parts["mean"][row, axis], parts["covariance"][row][np.ix_(axis, axis)])
        else:
            low, high = parts["low"][row, axis], parts["high"][row, axis]
            outline = np.array([low, [high[0], low[1]], high, [low[0], high[1]]])
        share = 1.0 if value is None else float(np.clip(colors.norm(value[row]), 0.0, 1.0))
        tiled = shape == "boxes" and value is not None
        solid, edge = (0.9, "white") if tiled else (0.05 + 0.25 * share, shade)
        axes.fill(*_in_units(outline, space).T, facecolor=(*shade[:3], solid), edgecolor=edge, linewidth=1.3)


def _draw_field(axes: Axes, places: NDArray[np.float64], shades: NDArray[np.float64], space: TaskSpace) -> None:
    """Colour every part of a map as the nearest of some points of the unit square (n, 2)."""
    from scipy.spatial import cKDTree

    middles = (np.arange(FIELD_PIXELS) + 0.5) / FIELD_PIXELS
    grid = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 2)
    nearest = np.asarray(cKDTree(places).query(grid)[1]).reshape(FIELD_PIXELS, FIELD_PIXELS)
    axes.imshow(shades[nearest], extent=(*_ends(space[0]), *_ends(space[1])), origin="lower", aspect="auto")


def _ellipse(mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the outline (65, 2) at two standard deviations of a Gaussian."""
    variances, directions = np.linalg.eigh(covariance)
    angle = np.linspace(0, 2 * np.pi, 65)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.asarray(mean + 2 * circle * np.sqrt(np.maximum(variances, 0.0)) @ directions.T, dtype=np.float64)


def _draw_over_one(
    axes: Axes,
    shape: str,
    parts: Columns,
    value: NDArray[np.float64] | None,
    space: TaskSpace,
    axis: Sequence[int],
    colors: PortraitColors,
) -> None:
    _plain(axes)
    if shape in ("points", "field"):
        places = _in_units(parts["place"][:, axis], space)[:, 0]
        if value is None:
            axes.hist(places, bins=_edges(space[0], 20).tolist(), color=COLORS[0])
        else:
            axes.scatter(places, value, s=12, color=COLORS[0], linewidths=0)
        return
    if shape == "boxes":
        low, high = parts["low"][:, axis], parts["high"][:, axis]
    else:
        spread = 2 * np.sqrt(_variances(parts["covariance"])[:, axis])
        low, high = parts["mean"][:, axis] - spread, parts["mean"][:, axis] + spread
    left, right = _in_units(low, space)[:, 0], _in_units(high, space)[:, 0]
    heights = np.ones(len(left)) if value is None else value
    axes.bar(left, heights, width=right - left, align="edge", color=COLORS[0], alpha=0.35)


def _ends(parameter: Mapping[str, Any]) -> tuple[float, float]:
    """Return where a parameter's axis ends: the levels of a discrete one are half a level wide on each side."""
    half = 0.5 if parameter.get("levels") else 0.0
    return parameter["low"] - half, parameter["high"] + half


def _in_units(unit: NDArray[np.float64], space: TaskSpace) -> NDArray[np.float64]:
    """Return points of the unit cube (n, parameters) in the units of the parameters."""
    low, high = np.array([_ends(parameter) for parameter in space]).T
    return np.asarray(low + unit * (high - low), dtype=np.float64)


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
    shown = steps[_spread_places(steps.size, MAX_PORTRAITS)]
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
    _close_grid(panels, len(shown))
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
