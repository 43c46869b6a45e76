"""What teachers have in mind: asked without a trace, recorded at each evaluation, drawn in real units."""

import copy
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from rlteach.errors import RunDirectoryError
from rlteach.experiment.config import RunConfig
from rlteach.experiment.recording import MOST_ROWS, Recorded
from rlteach.experiment.run import Interrupted, resume, run
from rlteach.lesson import Outcome
from rlteach.report import figures
from rlteach.report.results import SHAPES, load_portraits
from rlteach.task_space import TaskSpace
from rlteach.teachers.base import make_teacher
from rlteach.teachers.compose import Compose
from rlteach.teachers.frontier import frontier_weight
from tests.teachers.students import Toy, play
from tests.teachers.test_compose import Part
from tests.teachers.test_conformance import REGISTERED, SMALL, TINY, make

SQUARE = TaskSpace(Box(0.0, 1.0, (2,), np.float64))
MIXED = TaskSpace(Dict(height=Box(-1.0, 3.0, ()), kind=Discrete(4)), units={"height": "m"})
WITHOUT = {"listed", "oracle", "replay", "uniform"}
"""Teachers that have nothing in mind but what they propose."""


def teacher_of(name: str, space: TaskSpace = SQUARE, **hyperparameters: Any) -> Any:
    return make(space, seed=3, name=name, **{**SMALL.get(name, TINY.get(name, {})), **hyperparameters})


def recorded(teacher: Any, space: TaskSpace, directory: Path, step: int) -> dict[str, Any]:
    """Return what a run's directory keeps of a teacher's portrait."""
    record = Recorded(teacher, space, directory / "lessons.csv")
    record.portray(step)
    record.table.close()
    ((found, columns),) = load_portraits(directory / "teacher.jsonl", space.dimension)
    assert found == step
    return columns


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(np.array_equal(a, b, equal_nan=True)) if isinstance(a, np.ndarray) else a == b


@pytest.mark.parametrize("name", REGISTERED)
def test_asking_for_a_portrait_changes_nothing(name: str) -> None:
    asked, other = teacher_of(name), teacher_of(name)
    score = lambda point, episode: float(point.sum() < 0.3 + episode / 300)  # noqa: E731
    for _ in range(8):
        before = copy.deepcopy(asked.state_dict())
        for column in asked.portrait().values():
            column[:] = np.nan  # what is handed out is the asker's own
        assert equal(before, asked.state_dict())
        np.testing.assert_array_equal(play(asked, score, 25)[0], play(other, score, 25)[0])


@pytest.mark.parametrize("name", REGISTERED)
def test_a_portrait_fits_the_vocabulary_and_the_unit_cube(name: str, tmp_path: Path) -> None:
    teacher = teacher_of(name, MIXED)
    play(teacher, lambda point, episode: float(point.sum() < 0.3 + episode / 200), 200)
    assert bool(teacher.portrait()) == (name not in WITHOUT | {"sfl"})  # sfl has no roll-outs here, so keeps nothing
    if not teacher.portrait():
        return
    for key, column in recorded(teacher, MIXED, tmp_path, 300).items():
        shape, _, kind = key.partition("/")
        assert np.isfinite(column).all()
        if kind in SHAPES[shape] and kind != "covariance":
            assert ((column >= 0) & (column <= 1)).all()


def test_kept_tasks_of_sfl_are_its_portrait() -> None:
    teacher = teacher_of("sfl", candidates=30, keep=20)
    teacher.rollouts = lambda tasks, *, repeats: [
        Outcome(0, 0.0, 0.0, 1, float(task[0] < 0.5 and k == 0), True) for task in tasks for k in range(repeats)
    ]
    assert teacher.portrait() == {}
    teacher.propose(1)
    places = teacher.portrait()["points/place"]
    assert len(places) > 5 and (places[:, 0] < 0.5).all()  # solved in one of two plays


def test_the_leaves_of_riac_tile_the_space_and_carry_their_progress() -> None:
    teacher = teacher_of("riac", region_size=30, max_regions=51)
    play(teacher, Toy(cubes=4, full=20.0), 800)
    portrait = teacher.portrait()
    sizes = (portrait["boxes/high"] - portrait["boxes/low"]).prod(axis=1)
    assert len(sizes) > 5 and sizes.sum() == pytest.approx(1.0)
    inside = np.random.default_rng(0).random((200, 2))[:, None]
    held = ((inside >= portrait["boxes/low"]) & (inside < portrait["boxes/high"])).all(axis=2)
    assert (held.sum(axis=1) == 1).all()
    assert portrait["boxes/learning progress"].max() > 0


def test_the_gaussians_of_alp_gmm_are_those_that_tasks_are_drawn_from() -> None:
    teacher = teacher_of("alp_gmm", uniform_share=0.0)
    play(teacher, lambda point, episode: float(np.hypot(*(point - 0.5)) < 0.2) * episode / 400, 400)
    portrait = teacher.portrait()
    chances, means = portrait["ellipses/chance"], portrait["ellipses/mean"]
    assert chances.sum() == pytest.approx(1.0)
    drawn = np.array([lesson.task for lesson in teacher.propose(4000)])
    spread = np.sqrt(chances @ (np.trace(portrait["ellipses/covariance"], axis1=1, axis2=2)) / 2)
    assert np.abs(drawn.mean(axis=0) - chances @ means).max() < max(0.03, 0.2 * spread)


def test_the_map_of_success_guided_knows_what_is_solved() -> None:
    teacher = teacher_of("success_guided", candidates=64, optimism=0.0)
    play(teacher, lambda point, episode: float(point[0] < 0.5), 600)
    portrait = teacher.portrait()
    left = portrait["field/place"][:, 0] < 0.4
    success = portrait["field/estimated success"]
    assert success[left].mean() > 0.5 > 0.1 > success[portrait["field/place"][:, 0] > 0.6].mean()


def test_the_frontier_weighs_what_is_neither_solved_nor_out_of_reach() -> None:
    teacher = teacher_of("frontier", candidates=512, trees=20, min_leaf=3, window=300)
    play(teacher, lambda point, episode: float(np.clip(1.5 - 2 * point[0], 0, 1)), 300)
    portrait = teacher.portrait()
    levels = np.clip(1.5 - 2 * portrait["field/place"][:, 0], 0, 1)
    expected = frontier_weight(levels, teacher.target, teacher.sharpness)
    assert len(expected) == 256
    assert np.corrcoef(portrait["field/weight"], expected)[0, 1] > 0.9
    assert 0.8 < portrait["field/weight"].max() <= 1.0


def test_particles_and_boxes_are_where_tasks_are_drawn() -> None:
    for name in ("gradient", "currot"):
        teacher = teacher_of(name, jitter=0.0)
        places = {tuple(place) for place in teacher.portrait()["points/place"].round(12)}
        assert {tuple(np.round(lesson.task, 12)) for lesson in teacher.propose(50)} <= places
    for name in ("adr", "annealing", "expanding_box"):
        teacher = teacher_of(name)
        play(teacher, lambda point, episode: 1.0, 200)
        low, high = (teacher.portrait()[f"boxes/{end}"][0] for end in ("low", "high"))
        tasks = np.array([lesson.task for lesson in teacher.propose(300)])
        assert (tasks >= low - 1e-9).all() and (tasks <= high + 1e-9).all()
        assert (tasks.max(axis=0) - tasks.min(axis=0) > 0.8 * (high - low)).all()


def test_a_composition_passes_the_portrait_of_its_task_teacher_on() -> None:
    teacher = teacher_of("success_guided")
    assert equal(Compose(Part("start", 1000), teacher).portrait(), teacher.portrait())


# -- recording -----------------------------------------------------------------------------------------------------


def toy_run(teacher: str, **kwargs: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "env": {"id": "rlteach/ToyCubes-v0", "n_envs": 4, "kwargs": {"cubes": 4}},
            "teacher": {"name": teacher, "kwargs": kwargs},
            "learner": {"name": "synthetic"},
            "evaluation": {"every": 100},
            "steps": 400,
        }
    )


def test_a_run_records_a_portrait_at_each_evaluation(tmp_path: Path) -> None:
    path = run(toy_run("success_guided", candidates=16), tmp_path / "guided", quiet=True).directory
    portraits = load_portraits(path / "teacher.jsonl", 2)
    assert [step for step, _ in portraits] == [100, 200, 300, 400]
    assert {key: column.shape for key, column in portraits[-1][1].items()} == {
        "field/place": (16, 2),
        "field/estimated success": (16,),
    }
    assert not (run(toy_run("uniform"), tmp_path / "uniform", quiet=True).directory / "teacher.jsonl").exists()
    late = run(toy_run("alp_gmm", fit_every=150), tmp_path / "late", quiet=True).directory
    assert [step for step, _ in load_portraits(late / "teacher.jsonl", 2)] == [200, 300, 400]


def test_a_resumed_run_leaves_the_same_portraits(tmp_path: Path) -> None:
    settings = toy_run("frontier", warm_up=50, refit_every=50)
    whole = run(settings, tmp_path / "whole", quiet=True).directory / "teacher.jsonl"
    calls = count()
    with pytest.raises(Interrupted):
        run(settings, tmp_path / "parts", quiet=True, stop=lambda: next(calls) > 60)
    parts = tmp_path / "parts" / "teacher.jsonl"
    with parts.open("a") as file:
        file.write('{"step": 250, "points/pla')  # of a sitting that was killed after its last checkpoint
    resume(tmp_path / "parts", quiet=True)
    assert parts.read_bytes() == whole.read_bytes()


def test_portraits_of_a_sitting_without_a_checkpoint_are_forgotten(tmp_path: Path) -> None:
    settings = toy_run("success_guided", candidates=16)
    path = run(settings, tmp_path / "run", quiet=True).directory
    before = (path / "teacher.jsonl").read_bytes()
    (path / "DONE").unlink()
    for checkpoint in (path / "checkpoints").rglob("*"):
        if checkpoint.is_file():
            checkpoint.unlink()
    run(settings, path, quiet=True)
    assert (path / "teacher.jsonl").read_bytes() == before


def test_a_portrait_is_bounded_and_rounded(tmp_path: Path) -> None:
    teacher = make_teacher("plr", SQUARE, capacity=600, score="success_variance")
    play(teacher, lambda point, episode: float(point[0] < 0.5), 2500)
    assert len(teacher.portrait()["points/place"]) == 600
    columns = recorded(teacher, SQUARE, tmp_path, 1)
    assert (tmp_path / "teacher.jsonl").stat().st_size < 12_000
    assert len(columns["points/place"]) == len(columns["points/score"]) == MOST_ROWS
    rows = teacher.portrait()["points/place"]
    np.testing.assert_allclose(columns["points/place"][[0, -1]], rows[[0, -1]], rtol=1e-3)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("", "no portrait"),
        ("[1]\n", "cannot read"),
        ('{"points/place": [[0.5, 0.5]]}\n', "cannot read"),
        ('{"step": 1, "points/place": [[0.5], [0.5, 1]]}\n', "cannot read"),
        ('{"step": 1, "clouds/place": [[0.5, 0.5]]}\n', "'clouds' is none of ellipses, boxes"),
        ('{"step": 1, "boxes/low": [[0.5, 0.5]]}\n', "boxes/high has the shape missing"),
        ('{"step": 1, "points/place": [[0.5, 0.5, 0.5]]}\n', r"points/place has the shape \(1, 3\)"),
        ('{"step": 1, "points/place": [[0.5, 0.5]], "points/score": [1, 2]}\n', r"points/score has the shape \(2,\)"),
        ('{"step": 1, "points/place": []}\n', "points/place has the shape"),
    ],
)
def test_a_damaged_file_of_portraits_is_refused(tmp_path: Path, line: str, fault: str) -> None:
    (tmp_path / "teacher.jsonl").write_text(line, encoding="utf-8")
    with pytest.raises(RunDirectoryError, match=fault):
        load_portraits(tmp_path / "teacher.jsonl", 2)


# -- drawing -------------------------------------------------------------------------------------------------------

HEIGHT = {"name": "height", "low": -1.0, "high": 3.0, "unit": "m", "levels": 0}
KIND = {"name": "kind", "low": 0.0, "high": 3.0, "unit": "", "levels": 4}
USELESS = [{"name": f"useless{k}", "low": 0.0, "high": 1.0, "unit": "", "levels": 0} for k in range(3)]


def some_portrait(shape: str, dimension: int, *, valued: bool = True) -> dict[str, Any]:
    rng = np.random.default_rng(dimension)
    low = 0.5 * rng.random((6, dimension))
    columns: dict[str, dict[str, Any]] = {
        "ellipses": {"mean": low, "covariance": np.tile(0.01 * np.eye(dimension), (6, 1, 1))},
        "boxes": {"low": low, "high": low + 0.4},
        "points": {"place": low},
        "field": {"place": low},
    }
    value = {f"{shape}/chance": rng.random(6)} if valued else {}
    return {f"{shape}/{name}": column for name, column in columns[shape].items()} | value


@pytest.mark.parametrize("space", [[HEIGHT], [HEIGHT, KIND], [*USELESS, HEIGHT]], ids=["1-D", "2-D", "4-D"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_drawn_in_any_number_of_dimensions(
    shape: str, space: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "DOTS_PER_INCH", 20)
    valued = len(space) != 2
    portraits = [(1000 * k, some_portrait(shape, len(space), valued=valued)) for k in range(1, 10)]
    figure = figures.teacher_over_time(portraits, space)
    panels = [axes for axes in figure.axes if "steps" in axes.get_title()]
    assert [axes.get_title() for axes in panels] == [f"{k}k steps" for k in (1, 3, 4, 6, 7, 9)]
    assert all(axes.has_data() or axes.images for axes in panels)
    assert len(figure.axes) == 6 + (valued and len(space) > 1)  # and the colour bar
    width, height = figures.png_size(figures.png(figure))
    assert width == 200 and height > 100


def test_axes_and_places_are_in_real_units() -> None:
    mean, covariance = np.array([[0.75, 0.125]]), np.array([[[0.01, 0.0], [0.0, 0.0025]]])
    portrait = {"ellipses/mean": mean, "ellipses/covariance": covariance}
    figure = figures.teacher_over_time([(10, portrait)], [HEIGHT, KIND])
    axes = figure.axes[0]
    assert axes.get_xlim() == (-1.0, 3.0) and axes.get_ylim() == (-0.5, 3.5)  # a level is one unit wide
    outline = axes.patches[0].get_xy()
    np.testing.assert_allclose((outline.max(axis=0) + outline.min(axis=0)) / 2, [2.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(np.ptp(outline, axis=0) / 2, [2 * 0.1 * 4, 2 * 0.05 * 4], rtol=5e-3)
    assert "height [m]" in figure._supxlabel.get_text()  # type: ignore[attr-defined]


def test_every_column_of_panels_has_numbers_at_its_foot() -> None:
    portraits = [(k, {"points/place": np.full((2, 2), 0.5)}) for k in range(1, 5)]
    panels = figures.teacher_over_time(portraits, [HEIGHT, KIND]).axes[:6]
    numbered = [axes.xaxis.get_tick_params()["labelbottom"] for axes in panels[:4]]
    assert numbered == [False, True, True, True] and not any(axes.axison for axes in panels[4:])


def test_a_tilted_gaussian_is_drawn_tilted() -> None:
    covariance = np.array([[0.02, 0.015], [0.015, 0.02]])
    outline = figures._ellipse(np.zeros(2), covariance)
    squared = np.einsum("ni,ij,nj->n", outline, np.linalg.inv(covariance), outline)
    np.testing.assert_allclose(squared, 4.0)  # two standard deviations everywhere


def test_a_map_takes_the_value_of_the_nearest_point() -> None:
    portrait = {"field/place": np.array([[0.25, 0.5], [0.75, 0.5]]), "field/success": np.array([0.0, 1.0])}
    axes = figures.teacher_over_time([(10, portrait)], [HEIGHT, KIND]).axes[0]
    pixels = np.asarray(axes.images[0].get_array())
    half = pixels.shape[1] // 2
    assert len(np.unique(pixels.reshape(-1, 4), axis=0)) == 2
    assert (pixels[:, : half - 1] == pixels[0, 0]).all() and (pixels[:, half + 1 :] == pixels[0, -1]).all()


def test_of_many_parameters_those_are_drawn_where_the_teacher_is_uneven() -> None:
    rng = np.random.default_rng(0)
    places = rng.random((400, 6))
    value = (places[:, 4] < 0.3) * (places[:, 1] > 0.5)
    field = {"field/place": places, "field/success": value.astype(float)}
    assert figures.uneven_dimensions([field], 6) == [1, 4]
    narrow = np.diag([0.08, 0.001, 0.08, 0.002])
    ellipses = {"ellipses/mean": np.full((1, 4), 0.5), "ellipses/covariance": narrow[None]}
    assert figures.uneven_dimensions([ellipses], 4) == [1, 3]
    boxes = {"boxes/low": np.zeros((1, 3)), "boxes/high": np.array([[1.0, 0.2, 0.4]])}
    assert figures.uneven_dimensions([boxes], 3) == [1, 2]
    assert figures.uneven_dimensions([{"points/place": rng.random((5, 1))}], 1) == [0]


def test_one_colour_means_the_same_in_every_panel() -> None:
    portraits = [(k, {"points/place": np.full((1, 2), 0.5), "points/score": np.array([float(k)])}) for k in (1, 2)]
    figure = figures.teacher_over_time(portraits, [HEIGHT, KIND])
    drawn = [axes.collections[0].get_facecolor()[0] for axes in figure.axes[:2]]
    colors = figures.PortraitColors([portrait for _, portrait in portraits])
    np.testing.assert_allclose(drawn, [colors.of(np.array([value]), 1)[0] for value in (1.0, 2.0)])
    assert colors.name == "score" and not np.allclose(*drawn)
