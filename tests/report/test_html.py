"""The report is one file that a real browser shows without asking anybody for anything."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rlteach.errors import MissingExtra, RunDirectoryError
from rlteach.experiment.config import RunConfig
from rlteach.experiment.run import run
from rlteach.report import figures, html
from rlteach.report.html import write_report
from rlteach.report.results import load_results
from tests.report.make_results import MAZE, METRICS, benchmark_json, rows_of, run_id, write_results, write_run

CHROMIUM = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
).split()
HARMFUL = "<script>alert(1)</script>\"'&<img src=x> $\\frac$"
SIX_PARAMETERS = [{"name": f"p{i}", "low": 0, "high": i + 1, "unit": "", "levels": 2 * (i == 1)} for i in range(6)]


class Page(HTMLParser):
    """Every tag with its attributes, the text, and whether tags are closed in order."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def images(self) -> list[bytes]:
        sources = [str(attributes["src"]) for tag, attributes in self.tags if tag == "img"]
        assert all(source.startswith("data:image/png;base64,") for source in sources)
        return [base64.b64decode(source.partition(",")[2]) for source in sources]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of three arms: one with a full run directory, one with a damaged one, one without."""
    benchmark = benchmark_json(arms=("uniform", "alp_gmm", "frontier"))
    rows = [row for row in rows_of(benchmark) if not (row["arm"] == "alp_gmm" and row["seed"] == 5)]
    path = write_results(tmp_path_factory.mktemp("results"), benchmark, rows)
    write_run(path / "runs" / run_id("frontier", 0))
    write_run(path / "runs" / run_id("alp_gmm", 2), SIX_PARAMETERS)
    for name in ("lessons.csv", "teacher.jsonl"):
        (path / "runs" / run_id("alp_gmm", 2) / name).unlink()
    return path


@pytest.fixture(scope="module")
def report(directory: Path) -> Path:
    return write_report(directory)


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page(report.read_text(encoding="utf-8"))


def test_the_report_is_well_formed_and_small(report: Path, page: Page) -> None:
    assert report.name == "report.html" and report.stat().st_size < 5_000_000
    assert page.open == []


def test_nothing_in_the_report_leaves_the_file(report: Path, page: Page) -> None:
    text = report.read_text(encoding="utf-8")
    assert re.search(r"https?:|//[a-z]|@import|url\(|file:", re.sub(r"base64,[\w+/=]+", "", text)) is None
    loading = {"src", "href", "srcset", "data", "action", "poster"}
    addresses = [value for _, attributes in page.tags for key, value in attributes.items() if key in loading]
    assert addresses and all(str(address).startswith("data:") for address in addresses)
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed", "base", "form"}
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]


def test_every_image_is_a_picture_of_something_with_a_description(page: Page) -> None:
    images = [Image.open(io.BytesIO(data)) for data in page.images()]
    assert len(images) == 2 + 1 + 4  # curves of two metrics, dots, three of frontier, one of alp_gmm
    alts = [str(attributes["alt"]) for tag, attributes in page.tags if tag == "img"]
    assert "State of the teacher of frontier over time" in alts
    for image in images:
        assert min(image.size) > 150 and np.asarray(image.convert("L")).std() > 10
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")


def test_the_report_says_what_was_compared_and_how_it_was_made(page: Page) -> None:
    for part in (
        "Maze with a folded corridor",
        "17 of 18 runs are finished",
        "python benchmarks/maze.py --profile small",
        "rlteach 0.1.0",
        "rlteach/GoalMaze-v0 version 0",
        "numpy 2.4",
        run_id("frontier", 3),
        "missing runs: alp_gmm (seeds 5)",
        "5/6",
        *METRICS,
    ):
        assert part in page.text
    assert "prefers-color-scheme: dark" in page.text


def test_what_was_not_kept_is_said_in_one_sentence(page: Page) -> None:
    assert "No run directory of this arm was kept" in page.text  # uniform
    assert re.search(
        r"What it proposed is not shown: cannot read \S*lessons\.csv: No such file or directory\.", page.text
    )
    assert page.text.count("has no state that can be drawn, or the run did not record it") == 1  # alp_gmm


def test_every_run_whose_directory_was_kept_is_shown_when_asked_for(tmp_path: Path) -> None:
    benchmark = benchmark_json(arms=("uniform", "frontier"))
    path = write_results(tmp_path, benchmark, rows_of(benchmark))
    for seed in (1, 4):
        write_run(path / "runs" / run_id("frontier", seed), seed=seed)
    one, every = (Page(html.page(load_results(path), every_run=every_run)) for every_run in (False, True))
    assert len(every.images()) == len(one.images()) + 3  # proposals, state and mastery of the other run
    assert "seed 4." not in one.text and "seed 4." in every.text


def toy_run(directory: Path) -> Path:
    toy = {"id": "rlteach/ToyCubes-v0", "kwargs": {"cubes": 3}, "n_envs": 4}
    settings = {"env": toy, "learner": {"name": "synthetic"}, "teacher": {"name": "frontier"}, "steps": 800}
    return run(RunConfig.model_validate(settings | {"evaluation": {"every": 400}}), directory).directory


def test_a_single_run_has_a_report_and_a_table_too(tmp_path: Path) -> None:
    directory = toy_run(tmp_path)
    page = Page(write_report(directory).read_text(encoding="utf-8"))
    assert len(page.images()) == 3 + 1 + 3  # curves of success, return and length, the dot, the curriculum
    assert "rlteach/ToyCubes-v0, frontier, seed 0" in page.text and "1 of 1 runs are finished" in page.text
    scores = load_results(directory).scores("frontier", "success/cubes/det")
    last = json.loads((directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert scores == {0: last["metrics"]["success/cubes/det"]}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("metrics.jsonl", "", "has no evaluation yet; `rlteach resume"),
        ("metrics.jsonl", "{\n", "is damaged"),
        ("config.yaml", "steps: 3\n", "is damaged: KeyError"),
        ("meta.json", "[]", "is damaged"),
    ],
)
def test_a_run_that_tells_nothing_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    whole = {
        "config.yaml": "env: {id: E}\nteacher: {name: uniform}\nseed: 0\n",
        "meta.json": '{"env_version": "0", "package_version": "0.1.0", "config_hash": "0a"}',
        "metrics.jsonl": '{"step": 1, "metrics": {"success/a/det": 0.5}}\n',
    }
    for file, content in (whole | {name: text}).items():
        (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(RunDirectoryError, match=said):
        load_results(tmp_path)


def test_settings_show_where_the_arms_differ(page: Page) -> None:
    assert "Where the arms differ" in page.text
    assert "teacher.name" in page.text and "learner.name" in page.text


def test_a_report_on_distillation_shows_experts_scales_and_how_the_learners_differ(tmp_path: Path) -> None:
    config = {"env": {"id": "E"}, "learner": {"name": "ppo", "kwargs": {"n_steps": 7}}, "observations": "expert"}
    benchmark = benchmark_json(("uniform", "frontier"), config=config, scales={"gap": ["uniform", "frontier"]})
    for cell in benchmark["cells"]:
        if cell["arm"] == "frontier":
            cell |= {"steps": 80_000, "learner": {"name": "dagger", "kwargs": {"expert": "x-s0"}}, "observations": ""}
    rows = rows_of(benchmark)
    for row in rows:
        row |= {"steps_expert": 400_000, "labels": 70} if row["arm"] == "frontier" else {}
    page = Page(write_report(write_results(tmp_path, benchmark, rows)).read_text(encoding="utf-8"))
    for part in (
        "(400k expert)",
        "gap [95 %]",
        "labels",
        "gap: 0 is the mean of uniform",
        "has up to 500k environment",
    ):
        assert part in page.text
    differing, shared = page.text.split("Where the arms differ:")[1].split("What they share")
    assert all(part in differing for part in ("dagger", "ppo", "learner.kwargs.expert", "observations", "80000"))
    assert "env.id" in shared and not any(part in shared.split("How it")[0] for part in ("learner", "observations"))


def test_results_without_any_run_directory_make_a_report(tmp_path: Path) -> None:
    benchmark = benchmark_json(arms=("uniform", "frontier"), command="", config={})
    for cell in benchmark["cells"]:
        del cell["teacher"]
    output = tmp_path / "elsewhere.html"
    write_results(tmp_path / "results", benchmark, rows_of(benchmark))
    assert write_report(tmp_path / "results", output) == output
    page = Page(output.read_text(encoding="utf-8"))
    assert page.text.count("No run directory of this arm was kept") == 2
    assert "The settings of the arms were not recorded" in page.text
    assert "The command was not recorded" in page.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere.html", "results"]  # no temporary file


def test_a_benchmark_of_which_nothing_is_finished_makes_a_report(tmp_path: Path) -> None:
    benchmark = benchmark_json(arms=("uniform", "frontier"))
    unfinished = [row for row in rows_of(benchmark) if row["step"] < 400_000]
    page = Page(write_report(write_results(tmp_path, benchmark, unfinished)).read_text(encoding="utf-8"))
    assert "0 of 12 runs are finished" in page.text and len(page.images()) == 3
    assert "nan" not in page.text


def test_names_are_escaped_everywhere(tmp_path: Path) -> None:
    arms = ("uniform", HARMFUL)
    config = {HARMFUL: {HARMFUL: HARMFUL}}
    benchmark = benchmark_json(arms, title=HARMFUL, env=HARMFUL, command=HARMFUL, config=config)
    benchmark["cells"][-1]["teacher"] = {"name": HARMFUL, "kwargs": {HARMFUL: HARMFUL}}
    write_results(tmp_path, benchmark, rows_of(benchmark))
    space = [{"name": "<b>x</b>$\\frac$", "low": 0, "high": 1, "unit": "<i>$"}]
    kept = tmp_path / "runs" / run_id(HARMFUL, 0)
    write_run(kept, space)
    (kept / "meta.json").write_text(json.dumps({"versions": {HARMFUL: HARMFUL}, "machine": HARMFUL}), encoding="utf-8")
    (kept / "evals.csv").write_text("step,<script>\n1,2\n", encoding="utf-8")
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    tags = {tag for tag, _ in page.tags}
    assert "script" not in tags and "i" not in tags
    assert [attributes["src"] for tag, attributes in page.tags if tag == "img" and "data:" not in str(attributes)] == []
    assert page.text.count("alert(1)") > 10


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("lessons.csv", "", "What it proposed is not shown"),
        ("lessons.csv", "id,step\n1,2\n", "What it proposed is not shown"),
        ("lessons.csv", "id,step,task/goal_x\n", "What it proposed is not shown"),
        ("lessons.csv", "id,step,task/goal_x\n0,5\n", "What it proposed is not shown"),
        ("teacher.jsonl", "", "Its teacher's state is not shown"),
        ("teacher.jsonl", '{"step": 1, "points/place": [[0.5, 0.5]]}\n', "Its teacher's state is not shown"),
        ("teacher.jsonl", '{"step": 1, "<b>/place": [[0.5]]}\n', "is none of ellipses, boxes, points, field"),
        ("evals.csv", "step,set\n1,2\n", "What it mastered is not shown"),
        ("evals.csv", "step,set,policy,success,task/goal_x\n1,other,det,1,1\n", "What it mastered is not shown"),
        ("task_space.json", "[]", "What it mastered is not shown"),
        ("meta.json", "[]", "Versions of other packages are not shown"),
        ("config.yaml", "- [", "Where the arms differ"),
    ],
)
def test_a_damaged_run_directory_costs_a_picture_never_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, sentence: str
) -> None:
    monkeypatch.setattr(figures, "DOTS_PER_INCH", 30)
    benchmark = benchmark_json(arms=("uniform", "frontier"), metrics=[])
    write_results(tmp_path, benchmark, rows_of(benchmark))
    write_run(tmp_path / "runs" / run_id("frontier", 0), MAZE[:1], episodes=60)
    (tmp_path / "runs" / run_id("frontier", 0) / name).write_text(text, encoding="utf-8")
    assert sentence in Page(write_report(tmp_path).read_text(encoding="utf-8")).text


def test_mixed_versions_make_a_report_only_by_force(tmp_path: Path) -> None:
    benchmark = benchmark_json(arms=("uniform", "frontier"))
    rows = rows_of(benchmark)
    rows[5]["env_version"] = "1"
    write_results(tmp_path, benchmark, rows)
    with pytest.raises(RunDirectoryError, match="--force"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()
    text = write_report(tmp_path, force=True).read_text(encoding="utf-8")
    assert "different versions of the environment" in text


def test_an_output_that_cannot_be_written_leaves_the_old_report_alone(directory: Path, report: Path) -> None:
    before = report.read_bytes()
    with pytest.raises(RunDirectoryError, match="there is no directory"):
        write_report(directory, directory / "nowhere" / "report.html")
    assert report.read_bytes() == before


def test_the_same_results_make_the_same_bytes(tmp_path: Path) -> None:
    benchmark = benchmark_json(arms=("uniform", "frontier"), metrics=[])
    results = load_results(write_results(tmp_path, benchmark, rows_of(benchmark)))
    assert html.page(results) == html.page(results)


def test_the_figures_for_a_paper_are_real_pictures_of_the_primary_metric(tmp_path: Path) -> None:
    benchmark = benchmark_json(arms=("uniform", "frontier"), metrics=[])
    files = html.write_figures(write_results(tmp_path, benchmark, rows_of(benchmark)))
    assert [file.name for file in files] == ["curves.png", "scores.png"]
    for file in files:
        with Image.open(file) as picture:
            assert picture.size == figures.png_size(file.read_bytes())
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 10, "an empty picture has a colour or two"


def test_drawing_touches_no_global_state_of_matplotlib(directory: Path) -> None:
    script = (
        "import sys, warnings; warnings.simplefilter('error')\n"
        "from rlteach.report.results import load_results\n"
        "from rlteach.report.figures import score_dots\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"score_dots(load_results({str(directory)!r}))\n"
        "print('matplotlib.pyplot' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_without_matplotlib_the_missing_extra_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"rlteach\[report\]"):
        write_report(directory, directory / "other.html")
    assert not (directory / "other.html").exists()


def test_names_beside_lines_never_overlap() -> None:
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, 7, 15):
        places = np.sort(rng.random(n) ** 3)
        moved = np.array(figures.spread_out(list(places), gap=0.06))
        assert ((moved > -1e-9) & (moved < 1 + 1e-9)).all()
        assert (np.diff(moved) >= 0.06 - 1e-9).all()
    assert figures.spread_out([0.1, 0.5, 0.9], 0.05) == pytest.approx([0.1, 0.5, 0.9])


def test_more_task_parameters_than_there_is_room_for_are_said(tmp_path: Path) -> None:
    space = [{"name": f"p{i}", "low": 0, "high": 1} for i in range(figures.MAX_DIMENSIONS + 1)]
    benchmark = benchmark_json(arms=("uniform", "frontier"), metrics=[])
    write_results(tmp_path, benchmark, rows_of(benchmark))
    kept = tmp_path / "runs" / run_id("frontier", 0)
    kept.mkdir(parents=True)
    (kept / "task_space.json").write_text(json.dumps(space), encoding="utf-8")
    row = ",".join(["0.5"] * len(space))
    names = ",".join(f"task/p{i}" for i in range(len(space)))
    (kept / "lessons.csv").write_text(f"id,step,{names}\n0,10,{row}\n", encoding="utf-8")
    assert "The first 12 of 13 task parameters" in write_report(tmp_path).read_text(encoding="utf-8")


# -- in a real browser ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> str:
    if os.environ.get("RLTEACH_NO_BROWSER") == "1":
        pytest.skip("RLTEACH_NO_BROWSER=1: the page is not looked at in a browser")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    assert found, "install Chromium (Debian: apt install chromium), or set RLTEACH_NO_BROWSER=1 to skip this"
    return found


def look(chromium: str, page: Path, home: Path, *options: str) -> str:
    arguments = [chromium, *CHROMIUM, f"--user-data-dir={home / 'profile'}", *options, page.as_uri()]
    return subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=120).stdout


def test_a_browser_shows_every_image_and_asks_nobody_for_anything(chromium: str, report: Path, tmp_path: Path) -> None:
    """A script added to a copy of the page writes what the browser saw into its title."""
    probe = (
        "<script>addEventListener('load', () => {"
        "const images = [...document.images].map(i => [i.complete, i.naturalWidth, i.naturalHeight, i.clientWidth]);"
        "const loaded = performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'));"
        "const rows = document.querySelectorAll('table')[0].rows.length;"
        "const wide = document.documentElement.scrollWidth <= innerWidth;"
        "document.title = JSON.stringify({images, loaded, rows, wide, mode: document.compatMode}); });</script>"
    )
    copy = tmp_path / "probed.html"
    copy.write_text(report.read_text(encoding="utf-8").replace("</body>", f"{probe}</body>"), encoding="utf-8")
    shown = look(chromium, copy, tmp_path, "--window-size=800,900", "--dump-dom")
    title = re.search(r"<title>(.*?)</title>", shown)
    assert title is not None
    seen = json.loads(title[1])
    assert len(seen["images"]) == 7
    assert all(complete and min(size) > 100 for complete, *size in seen["images"])
    assert seen["loaded"] == [] and seen["rows"] == 4 and seen["mode"] == "CSS1Compat"
    assert seen["wide"], "the page scrolls sideways"


def test_a_browser_follows_the_preferred_colour_scheme(chromium: str, report: Path, tmp_path: Path) -> None:
    brightness = {}
    for name, scheme in (("dark", 0), ("light", 1)):
        picture = tmp_path / f"{name}.png"
        options = (
            f"--blink-settings=preferredColorScheme={scheme}",
            "--window-size=900,600",
            f"--screenshot={picture}",
        )
        look(chromium, report, tmp_path, *options)
        pixels = np.asarray(Image.open(picture).convert("L"))
        assert pixels.shape == (600, 900) and pixels.std() > 5
        brightness[name] = pixels.mean()
    assert brightness["dark"] < 80 and brightness["light"] > 200
