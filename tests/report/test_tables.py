"""The table says what was found, what is missing, and where it came from, in every format and at every width."""

import csv
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats as scipy_stats

from rlteach.errors import UnknownName
from rlteach.report.results import load_results
from rlteach.report.tables import (
    NOTHING,
    Table,
    body,
    header,
    make_table,
    p_text,
    short_count,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
    to_rich,
)
from tests.report.make_results import ARMS, METRICS, benchmark_json, rows_of, write_results

PRIMARY, RETURN = METRICS


def table_of(directory: Path, rows: list[dict[str, Any]] | None = None, metric: str = PRIMARY, **changes: Any) -> Table:
    benchmark = benchmark_json(**changes)
    chosen = rows_of(benchmark) if rows is None else rows
    return make_table(load_results(write_results(directory, benchmark, chosen), force=True), metric)


def final_scores(arm: str, metric: str = PRIMARY) -> np.ndarray:
    rows = rows_of(benchmark_json())
    return np.array([float(row[metric]) for row in rows if row["arm"] == arm and row["step"] == 500_000])


def shown(table: Table, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(to_rich(table))
    return console.file.getvalue()


def test_the_rows_hold_what_the_scores_say(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    assert [row.arm for row in table.rows] == list(ARMS)
    uniform, frontier = final_scores("uniform"), final_scores("frontier")
    row = table.rows[2]
    assert (row.mean, row.sd) == pytest.approx((frontier.mean(), frontier.std(ddof=1)))
    assert row.iqm == pytest.approx(np.sort(frontier)[1:5].mean())
    assert row.interval[0] < row.iqm < row.interval[1]
    assert row.improvement == np.mean([a > b for a in frontier for b in uniform])
    assert row.paired is not None and row.paired.mean == pytest.approx((frontier - uniform).mean())
    assert (row.steps, row.cpu_s, row.n, row.n_expected) == (500_000, 25, 6, 6)


def test_p_values_are_corrected_over_the_arms(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    raw = {
        arm: float(scipy_stats.ttest_ind(final_scores(arm), final_scores("uniform"), equal_var=False).pvalue)
        for arm in ARMS[1:]
    }
    corrected, largest = {}, 0.0
    for rank, arm in enumerate(sorted(raw, key=raw.__getitem__)):
        largest = max(largest, min(1.0, raw[arm] * (3 - rank)))
        corrected[arm] = largest
    assert {row.arm: row.welch_p for row in table.rows[1:]} == pytest.approx(corrected, rel=1e-6)
    assert table.rows[2].permutation_p == pytest.approx(3 * 2 / math.comb(12, 6))


def test_the_baseline_is_compared_with_nothing(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    row = table.rows[0]
    assert row.paired is None
    assert all(math.isnan(value) for value in (row.improvement, row.welch_p, row.permutation_p))
    cells = [cell.strip() for cell in to_markdown(table).splitlines()[4].strip("|").split("|")]
    assert cells[0] == "uniform" and cells[4:9] == [NOTHING] * 5


def test_missing_cells_are_shown_as_missing(tmp_path: Path) -> None:
    rows = [r for r in rows_of(benchmark_json()) if not (r["arm"] == "alp_gmm" and r["seed"] in (1, 2, 5))]
    table = table_of(tmp_path, rows)
    assert table.rows[1].missing == (1, 2, 5)
    for text in (to_markdown(table), to_latex(table), shown(table, 300)):
        assert "3/6" in text
    assert "missing runs: alp_gmm (seeds 1-2, 5)." in table.notes
    assert "21 of 24 runs, 21 configuration hashes" in table.footer[1]


def test_an_arm_without_any_run_keeps_its_row(tmp_path: Path) -> None:
    rows = [row for row in rows_of(benchmark_json()) if row["arm"] != "frontier"]
    table = table_of(tmp_path, rows)
    line = next(line for line in to_markdown(table).splitlines() if line.startswith("| frontier "))
    assert "0/6" in line and "nan" not in to_markdown(table) + to_latex(table) + shown(table, 300)
    assert json.loads(to_json(table))["rows"][2]["mean"] is None


def test_a_table_without_any_run_is_still_a_table(tmp_path: Path) -> None:
    header_only = rows_of(benchmark_json())[:1]
    header_only[0]["run_id"] = "other"
    table = table_of(tmp_path, header_only)
    assert [row.n for row in table.rows] == [0, 0, 0, 0]
    assert "nan" not in to_markdown(table)


def test_few_runs_are_not_tested_and_the_table_says_so(tmp_path: Path) -> None:
    table = table_of(tmp_path, seeds=range(3))
    assert all(math.isnan(row.welch_p) and math.isnan(row.permutation_p) for row in table.rows)
    assert not math.isnan(table.rows[1].improvement)
    assert any("fewer than 5 runs" in note for note in table.notes)


def test_one_run_has_no_interval(tmp_path: Path) -> None:
    row = table_of(tmp_path, seeds=range(1)).rows[1]
    assert math.isnan(row.sd) and math.isnan(row.interval[0])
    assert row.paired is not None and math.isnan(row.paired.low)


def test_other_metrics_are_compared_but_not_tested(tmp_path: Path) -> None:
    table = table_of(tmp_path, metric=RETURN)
    assert not table.is_primary and "p Welch" not in header(table)
    assert all(math.isnan(row.welch_p) for row in table.rows)
    assert table.rows[2].mean == pytest.approx(final_scores("frontier", RETURN).mean())


def test_where_lower_is_better_the_lower_arm_is_better(tmp_path: Path) -> None:
    high = table_of(tmp_path / "high").rows[2]
    low = table_of(tmp_path / "low", higher_is_better=False).rows[2]
    assert low.improvement == pytest.approx(1 - high.improvement)
    assert high.paired is not None and low.paired is not None
    assert (low.paired.mean, low.paired.wins) == (pytest.approx(-high.paired.mean), high.paired.losses)
    assert low.mean == high.mean and low.welch_p == pytest.approx(high.welch_p)


def test_a_baseline_that_was_not_run_is_said_and_nothing_is_compared(tmp_path: Path) -> None:
    table = table_of(tmp_path, baseline="oracle")
    assert all(row.paired is None for row in table.rows)
    assert any("'oracle' is not among the arms" in note for note in table.notes)


def test_steps_of_the_teacher_are_counted_and_unequal_budgets_noted(tmp_path: Path) -> None:
    rows = rows_of(benchmark_json())
    for row in rows:
        if row["arm"] == "frontier":
            row["steps_teacher"] = row["step"] // 5
    table = table_of(tmp_path, rows)
    assert table.rows[2].steps == 600_000
    assert "600k (100k teacher)" in to_markdown(table)
    assert any("same number of environment steps" in note for note in table.notes)


def distilled(directory: Path, metric: str = PRIMARY, **changes: Any) -> Table:
    """Return a table in which `alp_gmm` and `frontier` are the students of an expert, on two scales."""
    scales = {"score": ["uniform", "frontier (yoked)"], "gap": ["alp_gmm", "frontier"]}
    benchmark = benchmark_json(**{"scales": scales} | changes)
    rows = rows_of(benchmark)
    for row in rows:
        if row["arm"] in ("alp_gmm", "frontier"):
            row |= {"steps_expert": 400_000, "labels": row["step"] // 2}
        if row["arm"] == "frontier":
            row["steps_teacher"] = 10_000
    return make_table(load_results(write_results(directory, benchmark, rows)), metric)


def test_steps_of_the_expert_are_counted_and_split_from_the_others(tmp_path: Path) -> None:
    table = distilled(tmp_path)
    assert [row.steps for row in table.rows] == [500_000, 900_000, 910_000, 500_000]
    assert [row.steps_expert for row in table.rows] == [0, 400_000, 400_000, 0]
    for text in (to_markdown(table), to_latex(table), shown(table, 300)):
        assert "900k (400k expert) " in text and "910k (400k expert, 10k teacher)" in text
        assert "Steps include those of the expert's training, CPU s does not." in text
    assert any("same number of environment steps" in note for note in table.notes)


def test_labels_have_a_column_where_an_arm_used_any(tmp_path: Path) -> None:
    table = distilled(tmp_path)
    assert header(table)[-3:] == ["steps", "labels", "CPU s"]
    assert [cells[-2] for cells in body(table)] == [NOTHING, "250k", "250k", NOTHING]
    assert "Labels: actions that the expert was asked for." in table.footer[0]
    rows = rows_of(benchmark_json())
    for row in rows:
        row["labels"] = 0
    without = table_of(tmp_path / "none", rows)
    assert "labels" not in header(without) and "Labels" not in without.footer[0]


def test_scores_are_scaled_between_two_arms(tmp_path: Path) -> None:
    table = distilled(tmp_path)
    low, high = final_scores("uniform").mean(), final_scores("frontier (yoked)").mean()
    for row in table.rows:
        scaled = row.scaled["score"]
        assert scaled.mean == pytest.approx(((final_scores(row.arm) - low) / (high - low)).mean())
        assert scaled.low < scaled.mean < scaled.high
    assert [table.rows[i].scaled["score"].mean for i in (0, 3)] == pytest.approx([0, 1])
    assert [table.rows[i].scaled["gap"].mean for i in (1, 2)] == pytest.approx([0, 1])
    assert body(table)[0][4].startswith("0.00 [-0."), "never -0.00"
    assert header(table)[4:6] == ["score [95 %]", "gap [95 %]"]
    assert re.fullmatch(r"1\.\d\d \[1\.\d\d, 1\.\d\d\]", body(table)[2][4])
    assert "score: 0 is the mean of uniform, 1 the mean of frontier (yoked); the mean over the runs" in table.footer[1]
    assert table.footer[-1].startswith("Command: ")


def test_scales_apply_to_every_metric_and_do_not_depend_on_its_direction(tmp_path: Path) -> None:
    scaled = [row.scaled for row in distilled(tmp_path, RETURN).rows]
    assert scaled[1]["gap"].mean == pytest.approx(0) and scaled[2]["gap"].mean == pytest.approx(1)
    assert [row.scaled for row in distilled(tmp_path, RETURN, higher_is_better=False).rows] == scaled


@pytest.mark.parametrize(
    ("ends", "why"),
    [
        (["random", "frontier"], "it cannot be said, because random has no score."),
        (["random", "expert"], "it cannot be said, because random and expert have no score."),
        (["uniform", "uniform"], "it cannot be said, because the two do not differ."),
    ],
)
def test_a_scale_without_two_ends_that_differ_is_empty_and_the_footer_says_why(
    tmp_path: Path, ends: list[str], why: str
) -> None:
    table = distilled(tmp_path, scales={"score": ends})
    assert [cells[4] for cells in body(table)] == [NOTHING] * 4
    assert table.footer[1].endswith(why) and why in " ".join(to_markdown(table).split())
    assert json.loads(to_json(table))["rows"][0]["scaled"] == {"score": {"mean": None, "low": None, "high": None}}


def test_one_run_has_a_scaled_score_without_an_interval(tmp_path: Path) -> None:
    table = distilled(tmp_path, seeds=range(1))
    assert body(table)[3][4] == "1.00" and math.isnan(table.rows[3].scaled["score"].low)


def test_files_hold_expert_labels_and_scales(tmp_path: Path) -> None:
    table = distilled(tmp_path)
    first, _, student, _ = csv.DictReader(io.StringIO(to_csv(table)))
    assert (first["steps_expert"], first["labels"]) == ("0.0", "")
    assert (student["steps"], student["steps_expert"], student["labels"]) == ("910000.0", "400000.0", "250000.0")
    assert float(student["scaled_gap"]) == table.rows[2].scaled["gap"].mean
    assert float(student["scaled_gap_low"]) < float(student["scaled_gap"]) < float(student["scaled_gap_high"])
    data = json.loads(to_json(table))
    assert data["scales"] == ["score", "gap"] and data["rows"][2]["labels"] == 250_000
    assert data["rows"][2]["scaled"]["gap"]["mean"] == pytest.approx(1)


def test_arms_that_train_for_less_are_named_with_their_steps(tmp_path: Path) -> None:
    benchmark = benchmark_json()
    for cell in benchmark["cells"]:
        if "frontier" in cell["arm"]:
            cell["steps"] = 80_000
        elif cell["arm"] == "alp_gmm":
            cell["steps"] = 9_000
    table = make_table(load_results(write_results(tmp_path, benchmark, rows_of(benchmark))))
    assert "at 500,000 steps or more (alp_gmm: 9,000; frontier, frontier (yoked): 80,000). IQM" in table.footer[0]


def test_mixed_versions_are_noted_when_forced(tmp_path: Path) -> None:
    rows = rows_of(benchmark_json())
    rows[5]["env_version"] = "1"
    table = table_of(tmp_path, rows)
    assert any("different versions of the environment" in note for note in table.notes)


def test_the_same_results_give_the_same_table(tmp_path: Path) -> None:
    first, second = (to_json(table_of(tmp_path)) for _ in range(2))
    assert first == second


def test_an_unknown_metric_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'success/feasible/det'"):
        table_of(tmp_path, metric="sucess/feasible/det")


def test_the_footer_traces_the_numbers(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    expected = ("python benchmarks/maze.py --profile small", "rlteach 0.1.0", "env version 0", "seeds 0-5", "24 of 24")
    for text in (to_markdown(table), " ".join(table.footer), " ".join(shown(table, 200).split())):
        assert all(part in text for part in expected)


def test_csv_holds_unrounded_numbers_and_run_ids(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [float(row["mean"]) for row in rows] == [row.mean for row in table.rows]
    assert rows[0]["welch_p"] == "" and float(rows[2]["welch_p"]) == table.rows[2].welch_p
    assert rows[0]["run_ids"].split() == list(table.rows[0].run_ids)
    assert float(rows[2]["paired_low"]) == table.rows[2].paired.low  # type: ignore[union-attr]


def test_json_holds_everything_and_null_for_what_cannot_be_said(tmp_path: Path) -> None:
    data = json.loads(to_json(table_of(tmp_path)), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert data["rows"][0]["welch_p"] is None and len(data["rows"][0]["run_ids"]) == 6
    assert data["metric"] == PRIMARY and data["schema"] == 1


def test_names_cannot_break_a_format(tmp_path: Path) -> None:
    name = "a|b_<i>&50%\\[red]"
    arms = ("uniform", name)
    table = table_of(tmp_path, arms=arms, title="T | *x*\n# heading")
    markdown = to_markdown(table)
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {len(line.replace("\\|", "").split("|")) for line in lines} == {13}
    assert "\n# heading" not in markdown and "a\\|b_\\<i>&50%\\\\[red]" in markdown
    assert r"a|b\_$<$i$>$\&50\%\textbackslash{}[red]" in to_latex(table)
    assert name in shown(table, 300)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 250])
def test_the_terminal_table_fits_any_width_and_loses_no_column(tmp_path: Path, width: int) -> None:
    table = table_of(tmp_path)
    text = shown(table, width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert all(head in text for head in header(table))
    assert "+0." in text and "…" not in text


def test_a_wide_terminal_shows_one_block(tmp_path: Path) -> None:
    lines = shown(table_of(tmp_path), 250).splitlines()
    assert sum(line.startswith("arm ") for line in lines) == 1


def test_colour_is_left_out_where_nobody_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of(tmp_path, seeds=range(2))  # few runs: there is a note, which is yellow
    monkeypatch.setenv("TERM", "xterm-256color")

    def colours() -> list[str]:
        console = Console(file=io.StringIO(), force_terminal=True, width=100)
        console.print(to_rich(table))
        return re.findall(r"\x1b\[3\dm", console.file.getvalue())

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colours()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colours()


@pytest.mark.parametrize(
    ("p", "text"), [(0.04321, "0.043"), (0.001, "0.001"), (0.00012, "1e-04"), (0.0, "0"), (math.nan, "-")]
)
def test_p_values_are_short(p: float, text: str) -> None:
    assert p_text(p) == text


@pytest.mark.parametrize(("count", "text"), [(950, "950"), (16_384, "16.38k"), (500_000, "500k"), (2.5e6, "2.5M")])
def test_counts_are_short(count: float, text: str) -> None:
    assert short_count(count) == text
