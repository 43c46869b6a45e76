"""Results are read as `bench` writes them, and what cannot be compared or read is refused with its place."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlteach.errors import ConfigError, RunDirectoryError, UnknownName
from rlteach.report.results import load_columns, load_config, load_results, load_task_space
from tests.report.make_results import METRICS, benchmark_json, rows_of, write_csv, write_results, write_run

PRIMARY = METRICS[0]


def test_a_score_is_the_last_evaluation(tmp_path: Path) -> None:
    benchmark = benchmark_json()
    rows = rows_of(benchmark)
    results = load_results(write_results(tmp_path, benchmark, rows))
    last = {row["seed"]: float(row[PRIMARY]) for row in rows if row["arm"] == "frontier"}
    assert results.scores("frontier", PRIMARY) == last
    assert list(last) == [0, 1, 2, 3, 4, 5]
    assert results.metrics == METRICS
    assert not results.unfinished


def test_a_score_is_the_mean_of_the_last_k_evaluations_whatever_the_order_of_the_rows(tmp_path: Path) -> None:
    benchmark = benchmark_json(last_k=3)
    rows = rows_of(benchmark)
    results = load_results(write_results(tmp_path, benchmark, rows[::-1]))
    mine = [float(row[PRIMARY]) for row in rows if row["arm"] == "uniform" and row["seed"] == 2]
    assert results.scores("uniform", PRIMARY)[2] == pytest.approx(np.mean(mine[-3:]))


def test_fewer_evaluations_than_a_score_needs_are_refused(tmp_path: Path) -> None:
    benchmark = benchmark_json(last_k=9)
    with pytest.raises(RunDirectoryError, match=r"last 9 evaluations, but run run-uniform-s0-.* has only 6"):
        load_results(write_results(tmp_path, benchmark, rows_of(benchmark)))


def test_rows_of_other_profiles_are_left_out_even_when_their_versions_differ(tmp_path: Path) -> None:
    benchmark = benchmark_json()
    rows = rows_of(benchmark)
    other = {**rows[0], "run_id": "smoke", "config_hash": "smoke", "env_version": "7", PRIMARY: "0.99"}
    with_other = load_results(write_results(tmp_path / "a", benchmark, [other, *rows, other]))
    without = load_results(write_results(tmp_path / "b", benchmark, rows))
    assert with_other.scores("uniform", PRIMARY) == without.scores("uniform", PRIMARY)


def test_missing_and_unfinished_cells_have_no_score(tmp_path: Path) -> None:
    benchmark = benchmark_json()
    rows = [
        row
        for row in rows_of(benchmark)
        if not (row["arm"] == "alp_gmm" and (row["seed"] == 1 or (row["seed"] == 4 and row["step"] >= 500_000)))
    ]
    results = load_results(write_results(tmp_path, benchmark, rows))
    assert results.missing("alp_gmm") == [1, 4]
    assert list(results.scores("alp_gmm", PRIMARY)) == [0, 2, 3, 5]
    assert results.missing("uniform") == []


def test_a_cell_with_steps_of_its_own_is_complete_there(tmp_path: Path) -> None:
    benchmark = benchmark_json()
    rows = [row for row in rows_of(benchmark) if row["arm"] != "frontier" or row["step"] <= 100_000]
    for cell in benchmark["cells"]:
        if cell["arm"] == "frontier":
            cell["steps"] = 80_000 if cell["seed"] else 200_000
    results = load_results(write_results(tmp_path, benchmark, rows))
    assert results.missing("frontier") == [0] and list(results.scores("frontier", PRIMARY)) == [1, 2, 3, 4, 5]
    assert not results.missing("uniform")


def test_what_an_expert_cost_is_no_metric(tmp_path: Path) -> None:
    benchmark = benchmark_json()
    rows = rows_of(benchmark)
    for row in rows:
        if row["arm"] == "frontier":
            row |= {"steps_expert": 400_000, "labels": 7}
    results = load_results(write_results(tmp_path, benchmark, rows))
    assert results.metrics == METRICS
    assert results.of("frontier")[0].last("steps_expert") == 400_000
    assert np.isnan(results.of("uniform")[0].last("labels"))


def test_scales_and_learners_are_read_and_their_absence_is_an_old_file(tmp_path: Path) -> None:
    benchmark = benchmark_json(scales={"gap": ["uniform", "frontier"]})
    benchmark["cells"][0] |= {"learner": {"name": "dagger"}, "observations": "student"}
    read = load_results(write_results(tmp_path / "new", benchmark, rows_of(benchmark))).benchmark
    assert read.scales == {"gap": ("uniform", "frontier")}
    assert read.cells[0].learner == {"name": "dagger"} and read.cells[0].observations == "student"
    assert read.cells[1].learner is read.cells[1].steps is None
    old = load_results(write_results(tmp_path / "old", benchmark_json(), rows_of(benchmark))).benchmark
    assert old.scales == {}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"scales": ["gap"]}, "scales = ['gap'] is not of type dict"),
        ({"scales": {"gap": ["uniform"]}}, "scales.gap = ['uniform'] does not name two arms"),
        ({"scales": {"gap": "ab"}}, "scales.gap = 'ab' does not name two arms"),
        ({"cell": {"steps": "many"}}, "cells[0].steps = 'many' is not of type int"),
        ({"cell": {"learner": "dagger"}}, "cells[0].learner = 'dagger' is not of type dict"),
    ],
)
def test_damaged_scales_and_cells_are_named(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    benchmark = benchmark_json(**{key: value for key, value in changes.items() if key != "cell"})
    benchmark["cells"][0] |= changes.get("cell", {})
    with pytest.raises(ConfigError) as caught:
        load_results(write_results(tmp_path, benchmark, rows_of(benchmark_json())))
    assert caught.value.faults == [fault]


def test_a_metric_that_was_not_measured_leaves_the_run_out(tmp_path: Path) -> None:
    benchmark = benchmark_json()
    rows = rows_of(benchmark)
    for row in rows:
        if row["arm"] == "uniform" and row["seed"] == 3:
            row[PRIMARY] = ""
    results = load_results(write_results(tmp_path, benchmark, rows))
    assert 3 not in results.scores("uniform", PRIMARY)
    assert 3 in results.scores("uniform", METRICS[1])


def test_of_two_rows_for_one_step_the_later_wins(tmp_path: Path) -> None:
    benchmark = benchmark_json()
    rows = rows_of(benchmark)
    again = {**rows[5], PRIMARY: "0.123"}
    results = load_results(write_results(tmp_path, benchmark, [*rows, again]))
    assert again["step"] == 500_000
    assert results.scores("uniform", PRIMARY)[0] == 0.123
    assert results.curve("uniform", PRIMARY)[1].shape == (6, 6)


def test_a_curve_holds_the_steps_that_all_runs_measured(tmp_path: Path) -> None:
    benchmark = benchmark_json()
    rows = rows_of(benchmark)
    dropped = [r for r in rows if not (r["arm"] == "uniform" and r["seed"] == 0 and r["step"] == 166_666)]
    steps, values = load_results(write_results(tmp_path, benchmark, dropped)).curve("uniform", PRIMARY)
    assert steps.tolist() == [83_333, 250_000, 333_333, 416_666, 500_000]
    second = [float(r[PRIMARY]) for r in rows if r["arm"] == "uniform" and r["seed"] == 1 and r["step"] != 166_666]
    np.testing.assert_array_equal(values[1], second)


def test_an_arm_without_runs_has_an_empty_curve(tmp_path: Path) -> None:
    benchmark = benchmark_json()
    rows = [row for row in rows_of(benchmark) if row["arm"] != "frontier"]
    steps, values = load_results(write_results(tmp_path, benchmark, rows)).curve("frontier", PRIMARY)
    assert steps.shape == (0,) and values.shape == (0, 0)


@pytest.mark.parametrize(
    ("arm", "metric", "near"), [("frontir", PRIMARY, "frontier"), ("uniform", "succes", "success")]
)
def test_unknown_names_are_answered_with_the_nearest(tmp_path: Path, arm: str, metric: str, near: str) -> None:
    benchmark = benchmark_json()
    results = load_results(write_results(tmp_path, benchmark, rows_of(benchmark)))
    with pytest.raises(UnknownName, match=near):
        results.scores(arm, metric)


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [("env_version", "1", "the environment: 0 .*23 runs.*, 1 .*1 runs"), ("package_version", "0.2.0", "rlteach: 0.1")],
)
def test_different_versions_are_mixed_only_by_force(tmp_path: Path, column: str, value: str, what: str) -> None:
    benchmark = benchmark_json()
    rows = rows_of(benchmark)
    for row in rows[:6]:
        row[column] = value
    directory = write_results(tmp_path, benchmark, rows)
    with pytest.raises(RunDirectoryError, match=f"different versions of {what}.*--force"):
        load_results(directory)
    forced = load_results(directory, force=True)
    assert len(forced.runs) == 24 and len(forced.mixed) == 1


def test_patch_releases_may_be_mixed(tmp_path: Path) -> None:
    benchmark = benchmark_json()
    rows = rows_of(benchmark)
    rows[5]["package_version"] = "0.1.7"
    assert load_results(write_results(tmp_path, benchmark, rows)).mixed == ()


def test_a_directory_without_results_says_what_makes_them(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"no results directory.*rlteach bench"):
        load_results(tmp_path / "nowhere")
    with pytest.raises(RunDirectoryError, match=r"no benchmark\.json.*rlteach bench"):
        load_results(tmp_path)
    (tmp_path / "benchmark.json").write_text(json.dumps(benchmark_json()), encoding="utf-8")
    with pytest.raises(RunDirectoryError, match=r"no runs\.csv.*rlteach bench"):
        load_results(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [*lines[:3], lines[3].replace(",250000,", ",many,"), *lines[4:]], "line 4.*'step'.*'many'"),
        (lambda lines: [*lines[:3], lines[3] + ",1", *lines[4:]], "line 4: 16 columns, but the header has 15"),
        (lambda lines: [*lines[:-1], lines[-1][:20]], "line 145: 3 columns"),
        (lambda lines: [lines[0].replace("run_id", "id"), *lines[1:]], "line 1: there is no column run_id"),
        (lambda lines: [lines[0].replace("cpu_s", "step"), *lines[1:]], "line 1: the column 'step' is there twice"),
        (lambda lines: [*lines[:2], lines[2].rsplit(",", 1)[0] + ",high"], "line 3.*'return/feasible/det'.*'high'"),
        (lambda lines: [], "line 1: there is no column arm"),
        (lambda lines: [*lines, 'a,"b'], "line 146"),
    ],
)
def test_a_damaged_table_names_line_and_column(tmp_path: Path, damage: Any, message: str) -> None:
    benchmark = benchmark_json()
    write_results(tmp_path, benchmark, rows_of(benchmark))
    path = tmp_path / "runs.csv"
    lines = damage(path.read_text(encoding="utf-8").splitlines())
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(RunDirectoryError, match=rf"runs\.csv, {message}"):
        load_results(tmp_path)


def test_a_table_that_is_not_text_is_refused(tmp_path: Path) -> None:
    write_results(tmp_path, benchmark_json(), [])
    (tmp_path / "runs.csv").write_bytes(b"arm,\xff\xfe\n")
    with pytest.raises(RunDirectoryError, match=r"runs\.csv"):
        load_results(tmp_path)


@pytest.mark.parametrize("text", ['{"schema": 2}', "[]", "{}"])
def test_another_schema_is_refused(tmp_path: Path, text: str) -> None:
    write_results(tmp_path, benchmark_json(), [])
    (tmp_path / "benchmark.json").write_text(text, encoding="utf-8")
    with pytest.raises(RunDirectoryError, match=r"schema .*reads schema 1"):
        load_results(tmp_path)


def test_a_half_written_benchmark_is_refused(tmp_path: Path) -> None:
    write_results(tmp_path, benchmark_json(), [])
    (tmp_path / "benchmark.json").write_text('{"schema": 1, "name"', encoding="utf-8")
    with pytest.raises(RunDirectoryError, match=r"cannot read .*benchmark\.json"):
        load_results(tmp_path)


def test_all_faults_of_a_benchmark_are_listed_at_once(tmp_path: Path) -> None:
    broken = benchmark_json(steps="many", last_k=True)
    del broken["title"]
    with pytest.raises(ConfigError) as caught:
        load_results(write_results(tmp_path, broken, rows_of(benchmark_json())))
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        ({"run_id": "../../etc"}, "not a plain directory name"),
        ({"run_id": ".."}, "not a plain directory name"),
        ({"run_id": ""}, "not a plain directory name"),
        ({"arm": "nobody"}, "not one of the arms"),
        ({"seed": 1}, "repeats arm 'uniform' with seed 1"),
        ({"seed": "0"}, r"cells\[0\]\.seed = '0' is not of type int"),
    ],
)
def test_a_cell_that_makes_no_sense_is_refused(tmp_path: Path, cell: dict[str, Any], fault: str) -> None:
    benchmark = benchmark_json()
    rows = rows_of(benchmark)
    benchmark["cells"][0] |= cell
    with pytest.raises(ConfigError, match=fault):
        load_results(write_results(tmp_path, benchmark, rows))


@pytest.mark.parametrize(("key", "value"), [("arms", [1]), ("seeds", ["0"]), ("metrics", [None]), ("cells", [3])])
def test_lists_of_the_wrong_things_are_refused(tmp_path: Path, key: str, value: list[Any]) -> None:
    with pytest.raises(ConfigError, match=key):
        load_results(write_results(tmp_path, {**benchmark_json(), key: value}, []))


def test_columns_of_an_interrupted_run_end_before_the_broken_line(tmp_path: Path) -> None:
    write_run(tmp_path)
    path = tmp_path / "lessons.csv"
    path.write_text(path.read_text(encoding="utf-8") + "600,60100,fron", encoding="utf-8")
    columns = load_columns(path)
    assert columns["step"].shape == (600,) and columns["step"][-1] == 60_000
    assert columns["origin"][0] == "frontier"


def test_lessons_without_a_task_are_unknown_not_an_error(tmp_path: Path) -> None:
    (tmp_path / "lessons.csv").write_text("id,step,origin,task/x\n0,10,uniform\n1,20,uniform,0.5\n", encoding="utf-8")
    np.testing.assert_array_equal(load_columns(tmp_path / "lessons.csv")["task/x"], [np.nan, 0.5])


@pytest.mark.parametrize("text", ["", "id,step\n0,soon\n"])
def test_damaged_columns_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "lessons.csv").write_text(text, encoding="utf-8")
    with pytest.raises(RunDirectoryError, match=r"lessons\.csv"):
        load_columns(tmp_path / "lessons.csv")


def test_the_task_space_is_found_beside_the_run_or_beside_all_runs(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "one"
    write_csv(run / "lessons.csv", [{"id": 0}])
    with pytest.raises(RunDirectoryError, match="task_space"):
        load_task_space(run)
    (tmp_path / "task_space.json").write_text('[{"name": "x", "low": 0, "high": 3, "unit": "m"}]', encoding="utf-8")
    assert load_task_space(run) == [{"name": "x", "low": 0.0, "high": 3.0, "unit": "m", "levels": 0}]
    (run / "task_space.json").write_text('[{"name": "y", "low": 0, "high": 1}]', encoding="utf-8")
    assert load_task_space(run)[0]["name"] == "y"


@pytest.mark.parametrize("text", ["[]", "3", '[{"name": "x"}]', '["x"]', "{"])
def test_a_damaged_task_space_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "task_space.json").write_text(text, encoding="utf-8")
    with pytest.raises(RunDirectoryError, match="task_space"):
        load_task_space(tmp_path)


@pytest.mark.parametrize("text", ["a: [", "- 1", "!!python/object/apply:os.getcwd []"])
def test_a_damaged_configuration_is_refused_and_nothing_in_it_is_executed(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RunDirectoryError, match="config"):
        load_config(tmp_path)
