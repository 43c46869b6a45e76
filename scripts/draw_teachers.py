"""Make the pictures and the reference parts of the pages in docs/teachers.

    python scripts/draw_teachers.py                        # a picture of every teacher; some five minutes
    python scripts/draw_teachers.py frontier alp_gmm       # of these
    python scripts/draw_teachers.py --text                 # the signatures and arguments on all pages, from the code

A task teacher plays 6,000 episodes with the synthetic learner on the toy space of Portelas et al. (2019) in 6 x 6
cubes: nothing but the corner of the origin can be learned at first, and a cube only next to a mastered one. Those that
need a policy to be trained play 65,536 steps of GoalMaze with PPO. The upper row is what was proposed in each quarter,
relative to uniform, with a cross at every test task solved at its end; the lower row is what the teacher had in mind at
the end of each quarter (`TaskTeacher.portrait`).
"""

from __future__ import annotations

import argparse
import inspect
import io
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from rlteach.experiment.config import RunConfig
from rlteach.experiment.run import run
from rlteach.registry import entries, load
from rlteach.report.figures import PortraitColors, draw_portrait
from rlteach.report.results import load_columns, load_portraits, load_task_space
from rlteach.report.tables import short_count
from rlteach.teachers.base import TaskTeacher

PAGES = Path(__file__).resolve().parents[1] / "docs" / "teachers"
PICTURES = PAGES / "pictures"
QUARTERS = 4
TOY = {
    "env": {"id": "rlteach/ToyCubes-v0", "kwargs": {"cubes": 6}, "n_envs": 1},
    "learner": {"name": "synthetic"},
    "steps": 6_000,
    "test_set": "cubes",
}
MAZE = {
    "env": {
        "id": "rlteach/GoalMaze-v0",
        "kwargs": {"layout": "serpentine", "box_scale": 1.0, "horizon": 60},
        "n_envs": 64,
    },
    "learner": {"name": "ppo", "kwargs": {"n_steps": 128, "batch_size": 1024, "n_epochs": 6, "learning_rate": 1e-3}},
    "steps": 65_536,
    "test_set": "feasible",
}
ON_POLICY = ("clutr", "paired", "traced")
"""Teachers that cannot do with the synthetic learner, which has no policy that could be trained twice and no critic."""

EASY = {"mean": [0.05, 0.05], "std": 0.1}
HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "adr": {"start": [0.08, 0.08], "measure": "return"},
    "annealing": {"start_low": [0.0, 0.0], "start_high": [0.2, 0.2], "steps": TOY["steps"]},
    "expanding_box": {"start_low": [0.0, 0.0], "start_high": [0.2, 0.2]},
    "spdl": {"initial": EASY},
    "gradient": {"initial": EASY},
    "goal_gan": {"initial": EASY},
    "listed": {"tasks": [[0.1, 0.1], [0.25, 0.1], [0.1, 0.25], [0.4, 0.4], [0.9, 0.9]]},
    "omni": {"interesting": "draw_teachers:above_the_diagonal"},
    "plr": {"score": "success_variance"},
    "robust_plr": {"score": "success_variance"},
    "accel": {"score": "success_variance", "start": {"task": [0.05, 0.05]}},
}
"""What a teacher has to be told, or would be told by anybody who knows which corner is easy."""


def above_the_diagonal(task: Mapping[str, Any], mastered: Sequence[Mapping[str, Any]]) -> bool:
    """Find those tasks interesting whose second parameter is no smaller than the first."""
    first, second = task["task"]
    return bool(second >= first)


# -- pictures ------------------------------------------------------------------------------------------------------


def play(name: str, directory: Path) -> Path:
    """Play a teacher and return its run directory."""
    kwargs = dict(HYPERPARAMETERS.get(name, {}))
    if name == "replay":
        kwargs["lessons"] = str(play("frontier", directory))
    game: dict[str, Any] = MAZE if name in ON_POLICY else TOY
    evaluation = {"every": game["steps"] // QUARTERS, "test_sets": [game["test_set"]]}
    shared = {key: game[key] for key in ("env", "learner", "steps")}
    config = {**shared, "teacher": {"name": name, "kwargs": kwargs}, "evaluation": evaluation}
    return run(RunConfig.model_validate(config), directory / name, quiet=True).directory


def picture(directory: Path) -> bytes:
    """Return the picture of a run as a small PNG file."""
    lessons, evals = load_columns(directory / "lessons.csv"), load_columns(directory / "evals.csv")
    space, recorded = load_task_space(directory, ""), directory / "teacher.jsonl"
    portraits = load_portraits(recorded, len(space)) if recorded.exists() else []
    ends = np.linspace(0, evals["step"].max(), QUARTERS + 1)
    rows = 2 if portraits else 1
    figure = Figure(figsize=(8.6, 0.5 + 2.05 * rows), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, QUARTERS, sharex=True, sharey=True, squeeze=False)
    for axes, first, last in zip(panels[0], ends, ends[1:], strict=False):
        image = _proposals(axes, lessons, space, first, last)
        _solved(axes, evals, space, last)
        axes.set_title(f"steps {short_count(first, 3)} to {short_count(last, 3)}", fontsize=9)
    figure.colorbar(image, ax=panels[0], pad=0.01, extend="max").set_label("proposed /\nuniform", fontsize=8)
    if portraits:
        colors = PortraitColors([columns for _, columns in portraits])
        for step, columns in portraits:
            quarter = int(np.searchsorted(ends, step)) - 1
            draw_portrait(panels[1][quarter], columns, space, (0, 1), colors)
        if colors.name:
            figure.colorbar(colors.mappable, ax=panels[1], pad=0.01, extend="max").set_label(colors.name, fontsize=8)
    limits = [(parameter["low"], parameter["high"]) for parameter in space]
    for axes in panels.flat:
        axes.set(xlim=limits[0], ylim=limits[1], xticks=limits[0], yticks=limits[1], box_aspect=1)
        axes.tick_params(labelsize=8)
    return _small(figure)


def _proposals(axes: Any, lessons: Any, space: Any, first: float, last: float) -> Any:
    inside = (lessons["step"] > first) & (lessons["step"] <= last)
    count = 18 if inside.sum() > 1000 else 9
    bins = [np.linspace(parameter["low"], parameter["high"], count + 1) for parameter in space]
    x, y = (lessons[f"task/{parameter['name']}"][inside] for parameter in space)
    counts, _, _ = np.histogram2d(x, y, bins=bins)
    density = counts / max(counts.sum(), 1) * counts.size
    return axes.pcolormesh(*bins, density.T, cmap="magma_r", vmin=0, vmax=5)


def _solved(axes: Any, evals: Any, space: Any, step: float) -> None:
    won = (evals["step"] == step) & (evals["success"] > 0)
    places = (evals[f"task/{parameter['name']}"][won] for parameter in space)
    axes.plot(*places, "+", color="#0072B2", markersize=4, markeredgewidth=0.8)


def _small(figure: Figure) -> bytes:
    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", dpi=100)
    Image.open(raw).convert("RGB").quantize(64).save(small, format="png", optimize=True)
    return small.getvalue()


# -- reference parts -----------------------------------------------------------------------------------------------

BEGIN, END = "<!-- from the code: python scripts/draw_teachers.py --text -->", "<!-- end -->"


def signature(cls: type) -> str:
    """Return the constructor's signature as it would be written, in lines of at most 100 characters."""
    parts, starred = [], False
    for p in inspect.signature(cls).parameters.values():
        if p.kind is p.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        default = "" if p.default is p.empty else f" = {p.default!r}"
        annotation = p.annotation if isinstance(p.annotation, str) else inspect.formatannotation(p.annotation)
        parts.append(f"{'**' if p.kind is p.VAR_KEYWORD else ''}{p.name}: {annotation}{default}")
    lines = [f"{cls.__name__}("]
    for part in parts:
        fits = len(lines) > 1 and len(lines[-1]) + len(part) + 2 <= 100
        lines[-1:] = [f"{lines[-1]} {part},"] if fits else [lines[-1], f"    {part},"]
    return "\n".join([*lines, ")"])


def arguments(cls: type) -> dict[str, str]:
    """Return what each argument of the constructor means, from the docstring of the class or of its base."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        section = re.search(r"\nArgs:\n((?:    .*\n|\n)+)", inspect.cleandoc(base.__dict__.get("__doc__") or "") + "\n")
        for entry in re.split(r"\n    (?=\S)", "\n" + (section[1] if section else ""))[1:]:
            name, _, meaning = entry.partition(":")
            found[name.strip("*")] = " ".join(meaning.split())
    return {name: found.get(name, "") for name in inspect.signature(cls).parameters}


def reference(cls: type) -> str:
    """Return the part of a page that comes from the code: the signature, and a table of the arguments."""
    rows = [f"| `{name}` | {meaning.replace('|', chr(92) + '|')} |" for name, meaning in arguments(cls).items()]
    table = "\n".join(["| argument | meaning |", "|---|---|", *rows])
    return f"{BEGIN}\n\n```python\n{signature(cls)}\n```\n\n{table}\n\n{END}"


def with_reference(text: str, cls: type) -> str:
    """Return a page with its reference part written anew."""
    before, _, rest = text.partition(BEGIN)
    return before + reference(cls) + rest.partition(END)[2]


def registered() -> dict[str, type]:
    """Return every teacher and start teacher of this package by name."""
    return {
        name: load(kind, name)
        for kind in ("teacher", "start")
        for name, entry in entries(kind).items()
        if entry.package == "rlteach"
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="task teachers; all of them when none is named")
    parser.add_argument("--text", action="store_true", help="write the reference parts of the pages, draw nothing")
    options = parser.parse_args()
    if options.text:
        for name, cls in registered().items():
            page = PAGES / f"{name}.md"
            page.write_text(with_reference(page.read_text(encoding="utf-8"), cls), encoding="utf-8")
        return
    known = [name for name, cls in registered().items() if issubclass(cls, TaskTeacher)]
    with tempfile.TemporaryDirectory() as directory:
        for name in options.names or known:
            data = picture(play(name, Path(directory)))
            (PICTURES / f"{name}.png").write_bytes(data)
            print(f"{name}: {len(data) / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
