"""Benchmarks: each cell is run once, whatever happens to the others, and what it measured is kept."""

import csv
import json
import runpy
import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest

from rlteach.errors import ConfigError, InvalidValue, RunDirectoryError, UserError
from rlteach.experiment import bench as benches
from rlteach.experiment.bench import Arm, Benchmark, Cell, Profile, Tuning, bench, cells_of, tuning_cells
from rlteach.experiment.config import EnvConfig, RunConfig
from rlteach.experiment.run import Interrupted, run
from rlteach.report.results import load_results
from rlteach.report.tables import make_table

BASE: dict[str, Any] = {
    "env": {"id": "rlteach/ToyCubes-v0", "kwargs": {"cubes": 3}, "n_envs": 2},
    "learner": {"name": "synthetic"},
    "evaluation": {"every": 100},
}


def benchmark(*arms: Arm, **changes: Any) -> Benchmark:
    fields: dict[str, Any] = {
        "name": "small_cubes",
        "title": "Small cubes",
        "base": BASE,
        "arms": arms or (Arm("uniform"), Arm("success_guided")),
        "primary": "success/cubes/det",
        "profiles": {"smoke": Profile(steps=200, seeds=2)},
    }
    return Benchmark(**fields | changes)


def cells(chosen: Benchmark, profile: str = "smoke") -> list[Cell]:
    return cells_of(chosen, chosen.profiles[profile])


def rows(directory: Path) -> list[dict[str, str]]:
    with (directory / "runs.csv").open() as file:
        return list(csv.DictReader(file))


def measured(directory: Path) -> list[dict[str, str]]:
    """Rows without what differs from machine to machine, sorted."""
    kept = [{key: value for key, value in row.items() if key != "cpu_s"} for row in rows(directory)]
    return sorted(kept, key=lambda row: (row["arm"], row["seed"], int(row["step"])))


# -- cells ---------------------------------------------------------------------------------------------------------


def test_cells_are_arms_times_seeds_with_resolved_configurations() -> None:
    chosen = benchmark(
        Arm("uniform"),
        Arm("guided, more random", teacher="success_guided", kwargs={"uniform_share": 0.3}),
        Arm("uniform, five cubes", teacher="uniform", overrides={"env.kwargs": {"cubes": 5}}),
        profiles={"smoke": Profile(steps=300, seeds=3, overrides={"evaluation.every": 50})},
    )
    found = cells(chosen)
    assert [(cell.arm, cell.seed) for cell in found] == [(arm.label, s) for arm in chosen.arms for s in range(3)]
    assert len({cell.config.digest() for cell in found}) == 9
    assert {cell.config.steps for cell in found} == {300} and {cell.config.evaluation.every for cell in found} == {50}
    assert found[3].config.teacher.name == "success_guided" and found[3].config.teacher.kwargs == {"uniform_share": 0.3}
    assert [cell.config.env.kwargs["cubes"] for cell in found[::3]] == [3, 3, 5]
    assert all(cell.config.seed == cell.seed and not cell.after for cell in found)
    assert BASE["env"]["kwargs"] == {"cubes": 3}, "the base is not changed"


def test_single_arms_may_have_more_seeds() -> None:
    chosen = benchmark(profiles={"smoke": Profile(steps=200, seeds=2, more_seeds={"success_guided": 4, "uniform": 1})})
    assert [(cell.arm, cell.seed) for cell in cells(chosen)] == [
        *(("uniform", seed) for seed in range(2)),
        *(("success_guided", seed) for seed in range(4)),
    ]


def test_the_hash_of_a_cell_depends_on_what_is_run_and_on_nothing_else() -> None:
    one = cells(benchmark())[0].config
    assert cells(benchmark(name="other", title="Other", primary="return/cubes/det"))[0].config.digest() == one.digest()
    changed = [
        one.model_copy(update={"steps": 201}),
        one.model_copy(update={"seed": 5}),
        one.model_copy(update={"env": EnvConfig(id="rlteach/ToyCubes-v0", kwargs={"cubes": 4}, n_envs=2)}),
    ]
    assert len({one.digest(), *(config.digest() for config in changed)}) == 4
    assert RunConfig.model_validate(one.model_dump(mode="json")).digest() == one.digest()
    assert one.run_id() == f"uniform-s0-{one.digest()}"


def test_a_profile_runs_the_arms_it_names() -> None:
    chosen = benchmark(profiles={"smoke": Profile(steps=100, seeds=1, arms=("success_guided",))})
    assert [cell.arm for cell in cells(chosen)] == ["success_guided"]


def test_every_fault_of_every_arm_is_told_once() -> None:
    chosen = benchmark(
        Arm("unifrom"),
        Arm("guided", teacher="success_guided", kwargs={"uniform_share": 7, "sharpness": -1}),
        Arm("lonely", yoked_to="frontier"),
    )
    with pytest.raises(ConfigError, match="benchmark 'small_cubes'") as caught:
        cells(chosen)
    told = "\n".join(caught.value.faults)
    assert len(caught.value.faults) == 4
    for part in (
        "arm 'unifrom': teacher.name",
        "'uniform'?",
        "uniform_share = 7",
        "sharpness = -1",
        "'frontier', which",
    ):
        assert part in told


def test_tuning_runs_the_baseline_with_each_setting_on_seeds_of_its_own() -> None:
    tuning = Tuning(settings=[{"learner.kwargs.gain": 1.0}, {"learner.kwargs.gain": 2.0}], steps=150)
    found = tuning_cells(benchmark(tuning=tuning))
    assert [(cell.arm, cell.seed) for cell in found] == [
        (f"gain {gain}", seed) for gain in (1.0, 2.0) for seed in (1000, 1001, 1002)
    ]
    assert {cell.config.teacher.name for cell in found} == {"uniform"} and {cell.config.steps for cell in found} == {
        150
    }
    with pytest.raises(UserError, match="'small_cubes' states no tuning"):
        tuning_cells(benchmark())


def test_a_wrong_name_is_answered_with_the_nearest_and_with_all() -> None:
    with pytest.raises(
        InvalidValue, match=r"no profile is called 'smok'. Did you mean 'smoke'\? Known: smoke, small\."
    ):
        benches.choose({"smoke": 1, "small": 2}, "smok", "profile")


# -- playing -------------------------------------------------------------------------------------------------------


def test_rows_hold_every_evaluation_of_every_cell_and_done_cells_are_skipped(tmp_path: Path) -> None:
    chosen = benchmark()
    report = bench(chosen, cells(chosen), tmp_path, command="python small.py")
    assert (report.done, report.skipped, report.failed) == (4, 0, {})
    found = measured(tmp_path)
    assert [(row["arm"], row["seed"], row["step"]) for row in found] == [
        (arm, seed, step) for arm in ("success_guided", "uniform") for seed in "01" for step in ("100", "200")
    ]
    by_id = {cell.config.run_id(): cell for cell in cells(chosen)}
    for row in found:
        cell = by_id[row["run_id"]]
        assert (row["arm"], int(row["seed"]), row["config_hash"]) == (cell.arm, cell.seed, cell.config.digest())
        assert row["steps_learner"] == row["step"] and row["steps_teacher"] == "0" and row["env_version"] == "0"
        lines = (tmp_path / "runs" / row["run_id"] / "metrics.jsonl").read_text().splitlines()
        metrics = {json.loads(line)["step"]: json.loads(line)["metrics"] for line in lines}
        value = metrics[int(row["step"])]["success/cubes/det"]
        assert float(row["success/cubes/det"]) == pytest.approx(value, rel=1e-5)
    stated = json.loads((tmp_path / "benchmark.json").read_text())
    assert stated["arms"] == ["uniform", "success_guided"] and stated["seeds"] == [0, 1]
    assert (stated["steps"], stated["command"], len(stated["cells"])) == (200, "python small.py", 4)
    assert not list(tmp_path.glob("runs/*/checkpoints")), "finished runs keep no checkpoints"

    before = (tmp_path / "runs.csv").read_bytes()
    again = bench(chosen, cells(chosen), tmp_path)
    assert (again.done, again.skipped) == (0, 4) and (tmp_path / "runs.csv").read_bytes() == before


@pytest.mark.slow
def test_the_same_benchmark_elsewhere_and_on_two_processes_measures_the_same(tmp_path: Path) -> None:
    chosen = benchmark(Arm("success_guided"), Arm("yoked", yoked_to="success_guided"))
    bench(chosen, cells(chosen), tmp_path / "one")
    report = bench(chosen, cells(chosen), tmp_path / "two", jobs=2)
    assert report.done == 4
    assert measured(tmp_path / "one") == measured(tmp_path / "two")
    name = cells(chosen)[0].config.run_id()
    for file in ("lessons.csv", "evals.csv", "learner.zip"):
        assert (tmp_path / "one" / "runs" / name / file).exists()
    for file in ("lessons.csv", "evals.csv"):
        texts = [(tmp_path / where / "runs" / name / file).read_bytes() for where in ("one", "two")]
        assert texts[0] == texts[1]


def test_more_seeds_and_arms_are_added_to_what_is_there(tmp_path: Path) -> None:
    chosen = benchmark(Arm("uniform"))
    bench(chosen, cells(chosen), tmp_path)
    before = measured(tmp_path)
    larger = benchmark(profiles={"smoke": Profile(steps=200, seeds=3)})
    report = bench(larger, cells(larger), tmp_path)
    assert (report.done, report.skipped) == (4, 2)
    assert [row for row in measured(tmp_path) if row["run_id"] in {r["run_id"] for r in before}] == before
    assert len(measured(tmp_path)) == 12


def without(directory: Path, run_id: str) -> None:
    lines = (directory / "runs.csv").read_text().splitlines(keepends=True)
    (directory / "runs.csv").write_text("".join(line for line in lines if run_id not in line))


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_whose_rows_are_deleted_is_measured_again(tmp_path: Path, kept: bool) -> None:
    chosen = benchmark()
    bench(chosen, cells(chosen), tmp_path)
    before = measured(tmp_path)
    run_id = cells(chosen)[2].config.run_id()
    without(tmp_path, run_id)
    if not kept:
        shutil.rmtree(tmp_path / "runs" / run_id)
    assert len(rows(tmp_path)) == 6
    report = bench(chosen, cells(chosen), tmp_path)
    assert (report.done, report.skipped) == (1, 3)
    assert measured(tmp_path) == before


def test_a_partial_run_is_resumed_where_it_stands(tmp_path: Path) -> None:
    chosen = benchmark(base={**BASE, "checkpoint_every": 20})
    bench(chosen, cells(chosen), tmp_path / "whole")
    cell = cells(chosen)[1]
    calls = iter(range(1000))
    with pytest.raises(Interrupted):
        run(cell.config, tmp_path / "parts" / "runs" / cell.config.run_id(), quiet=True, stop=lambda: next(calls) > 66)
    report = bench(chosen, cells(chosen), tmp_path / "parts")
    assert report.done == 4 and measured(tmp_path / "parts") == measured(tmp_path / "whole")
    meta = json.loads((tmp_path / "parts" / "runs" / cell.config.run_id() / "meta.json").read_text())
    assert [entry["exact"] for entry in meta["resumed"]] == [True] and 100 < meta["resumed"][0]["step"] < 200


def test_a_failing_cell_stops_nobody_and_is_tried_again(
    tmp_path: Path, echo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = benchmark(
        Arm("broken", teacher="uniform", overrides={"env.kwargs": {"crash_above": 0.5}}),
        Arm("uniform"),
        base={
            "env": {"id": echo, "n_envs": 2},
            "learner": {"name": "ppo", "kwargs": {"n_steps": 32, "batch_size": 32, "policy_kwargs": {"net_arch": [4]}}},
            "evaluation": {"every": 64, "tasks": 3},
        },
        primary="success/test/det",
        profiles={"smoke": Profile(steps=64, seeds=2)},
    )
    report = bench(chosen, cells(chosen), tmp_path)
    assert report.done == 2 and len(report.failed) == 2
    assert all("the motor is on fire" in error for error in report.failed.values())
    assert {row["arm"] for row in rows(tmp_path)} == {"uniform"}
    for run_id in report.failed:
        assert "Traceback" in (tmp_path / "runs" / run_id / "FAILED").read_text()
    err = capsys.readouterr().err
    assert err.count("FAILED broken, seed") == 2 and "Traceback" not in err.split("4/4")[1]
    again = bench(chosen, cells(chosen), tmp_path)
    assert (again.done, again.skipped, len(again.failed)) == (0, 2, 2)


def test_a_yoked_arm_replays_its_sources_lessons_in_order_with_other_seeds(tmp_path: Path) -> None:
    chosen = benchmark(Arm("guided (yoked)", yoked_to="success_guided"), Arm("success_guided"))
    found = cells(chosen)
    assert [cell.arm for cell in found] == ["success_guided"] * 2 + ["guided (yoked)"] * 2, "sources come first"
    sources, yoked = found[:2], found[2:]
    for source, follower in zip(sources, yoked, strict=True):
        assert follower.after == (source.config.run_id(),) and follower.seed == source.seed
        assert follower.config.seed == source.config.seed + benches.YOKED_SEED_OFFSET
        assert follower.config.teacher.kwargs == {"lessons": source.config.run_id()}
    report = bench(chosen, found, tmp_path)
    assert report.done == 4 and report.failed == {}
    for source, follower in zip(sources, yoked, strict=True):
        lessons = []
        for cell in (source, follower):
            with (tmp_path / "runs" / cell.config.run_id() / "lessons.csv").open() as file:
                found_rows = sorted(csv.DictReader(file), key=lambda row: int(row["id"]))
            lessons.append([[row[key] for key in row if key.startswith("task/")] for row in found_rows])
        assert len(lessons[0]) == 200 and lessons[0] == lessons[1]
    assert {row["teacher"] for row in rows(tmp_path) if row["arm"] == "guided (yoked)"} == {"replay"}


def test_a_source_that_is_no_longer_on_the_disk_is_played_again_for_its_lessons(tmp_path: Path) -> None:
    chosen = benchmark(Arm("success_guided"), Arm("yoked", yoked_to="success_guided"))
    bench(chosen, cells(chosen), tmp_path)
    before = measured(tmp_path)
    source, follower = cells(chosen)[0], cells(chosen)[2]
    without(tmp_path, follower.config.run_id())
    shutil.rmtree(tmp_path / "runs")
    report = bench(chosen, cells(chosen), tmp_path)
    assert report.failed == {} and measured(tmp_path) == before
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {source.config.run_id(), follower.config.run_id()}


def test_a_yoked_run_is_not_played_on_the_lessons_of_a_failed_source(tmp_path: Path, echo: str) -> None:
    chosen = benchmark(
        Arm("uniform", overrides={"env.kwargs": {"nan_above": 0.97}}),
        Arm("yoked", yoked_to="uniform"),
        base={
            "env": {"id": echo, "n_envs": 2},
            "learner": {"name": "ppo", "kwargs": {"n_steps": 128, "batch_size": 64}},
            "evaluation": {"every": 1000, "tasks": 3},
        },
        profiles={"smoke": Profile(steps=2000, seeds=1)},
    )
    source, follower = cells(chosen)
    report = bench(chosen, [source, follower], tmp_path)
    assert (tmp_path / "runs" / source.config.run_id() / "lessons.csv").stat().st_size > 100
    assert report.done == 0 and set(report.failed) == {source.config.run_id(), follower.config.run_id()}
    assert source.config.run_id() in report.failed[follower.config.run_id()]
    assert not (tmp_path / "runs" / follower.config.run_id()).exists()


def test_a_finished_run_whose_directory_is_damaged_fails_alone(tmp_path: Path) -> None:
    chosen = benchmark()
    bench(chosen, cells(chosen), tmp_path)
    run_id = cells(chosen)[0].config.run_id()
    without(tmp_path, run_id)
    without(tmp_path, cells(chosen)[1].config.run_id())
    (tmp_path / "runs" / run_id / "metrics.jsonl").unlink()
    report = bench(chosen, cells(chosen), tmp_path)
    assert report.done == 1 and list(report.failed) == [run_id]
    assert f"remove {tmp_path / 'runs' / run_id}" in report.failed[run_id]


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    chosen = benchmark()
    with pytest.raises(RunDirectoryError, match="cannot make the results directory"):
        bench(chosen, cells(chosen), tmp_path / "file" / "results")
    assert (tmp_path / "file").read_text() == "precious"


# -- experts -------------------------------------------------------------------------------------------------------

EXPERT = Arm(
    "expert",
    teacher="uniform",
    overrides={
        "observations": "expert",
        "learner": {
            "name": "ppo",
            "kwargs": {"n_steps": 50, "batch_size": 100, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}},
        },
    },
)
DAGGER = {"learner": {"name": "dagger", "policy": "mlp", "kwargs": {"n_steps": 25, "policy_kwargs": {"hidden": [8]}}}}
STUDENT = Arm("student", teacher="uniform", expert="expert", share=0.5, overrides=DAGGER)
TUNED = Arm(
    "tuned",
    teacher="uniform",
    expert="student",
    share=0.25,
    overrides={**DAGGER, "learner.kwargs.student_obs": "privileged"},  # seeing the same as its expert is warned of
)
RANDOM = Arm("random", teacher="uniform", overrides={"learner": {"name": "random"}})


def distillation(*arms: Arm, seeds: int = 1, steps: int = 400, **changes: Any) -> Benchmark:
    fields: dict[str, Any] = {
        "name": "small_tiger",
        "base": {"env": {"id": "rlteach/TigerRoom-v0", "n_envs": 4}, "evaluation": {"every": 10_000}},
        "primary": "return/sides/det",
        "profiles": {"smoke": Profile(steps=steps, seeds=seeds)},
        "baseline": "random",
    }
    return benchmark(*arms, **fields | changes)


def test_an_arms_expert_is_the_run_of_another_arm_with_the_same_seed() -> None:
    found = cells(distillation(TUNED, STUDENT, RANDOM, EXPERT, seeds=2))
    assert [cell.arm for cell in found] == ["random"] * 2 + ["expert"] * 2 + ["student"] * 2 + ["tuned"] * 2
    for expert, student, tuned in zip(found[2:4], found[4:6], found[6:], strict=True):
        assert student.config.learner.kwargs["expert"] == expert.config.run_id() == student.expert
        assert student.after == (expert.config.run_id(),) and tuned.after == (student.config.run_id(),)
        assert expert.seed == student.seed == student.config.seed == tuned.config.seed
        assert student.config.learner.kwargs["n_steps"] == 25, "the arm's own settings stay"
        assert not expert.after and not expert.expert
    assert STUDENT.overrides == DAGGER and "expert" not in DAGGER["learner"]["kwargs"], "the arm is not changed"


def test_an_arm_trains_for_its_share_of_the_steps_and_for_one_at_least() -> None:
    for steps, expected in ((400, [400, 200, 100]), (2, [2, 1, 1])):
        found = cells(distillation(EXPERT, STUDENT, TUNED, steps=steps))
        assert [cell.config.steps for cell in found] == expected
    whole = Arm("uniform", share=1.0)
    assert cells(benchmark(whole))[0].config.digest() == cells(benchmark(Arm("uniform")))[0].config.digest()


def test_faults_of_experts_shares_and_scales_are_told_all_at_once() -> None:
    chosen = distillation(
        STUDENT,
        Arm("idle", teacher="uniform", share=0.0, overrides=RANDOM.overrides),
        Arm("stranger", teacher="uniform", expert="expret", overrides=DAGGER),
        Arm("own expert", teacher="uniform", expert="own expert", overrides=DAGGER),
        scales={"score": ("random", "studnet")},
    )
    with pytest.raises(ConfigError) as caught:
        cells(chosen)
    assert caught.value.faults == [
        "scale 'score': no arm is called 'random'.",
        "scale 'score': no arm is called 'studnet'. Did you mean 'student'?",
        "arm 'idle': share = 0.0 must be above 0",
        "arm 'student': its expert is 'expert', which is not run in this profile",
        "arm 'stranger': its expert is 'expret', which is not run in this profile",
    ]


def test_what_follows_from_an_arms_fault_is_not_told_again() -> None:
    broken = Arm("expert", teacher="unifrom", overrides=EXPERT.overrides)
    with pytest.raises(ConfigError) as caught:
        cells(distillation(broken, STUDENT, TUNED))
    assert len(caught.value.faults) == 1 and "arm 'expert': teacher.name" in caught.value.faults[0]


def test_an_expert_is_refused_by_a_learner_that_takes_none() -> None:
    with pytest.raises(ConfigError, match="expert"):
        cells(distillation(EXPERT, Arm("uniform", expert="expert", overrides=EXPERT.overrides)))


@pytest.mark.slow
def test_expert_student_and_its_student_are_played_in_turn_and_their_costs_are_added_up(tmp_path: Path) -> None:
    yoked = Arm("yoked", yoked_to="student", expert="expert", share=0.5, overrides=DAGGER)
    chosen = distillation(
        yoked,
        TUNED,
        STUDENT,
        EXPERT,
        RANDOM,
        seeds=2,
        steps=800,
        scales={"gap": ("random", "expert"), "none": ("student", "random")},
    )
    report = bench(chosen, cells(chosen), tmp_path, jobs=2)
    assert report.failed == {} and report.done == 10
    last = {(row["arm"], row["seed"]): row for row in rows(tmp_path)}
    assert len(rows(tmp_path)) == 10, "the final evaluation, although they are due at steps beyond the end"
    for seed in "01":
        steps = {arm: int(last[arm, seed]["step"]) for arm in ("expert", "student", "tuned", "yoked", "random")}
        assert steps == {"expert": 800, "student": 400, "tuned": 200, "yoked": 400, "random": 800}
        assert [last[arm, seed]["steps_expert"] for arm in steps] == ["", "800", "1200", "800", ""]
        assert last["random", seed]["steps_learner"] == "0"
        assert all(int(last[arm, seed]["labels"]) > 0 for arm in ("student", "tuned", "yoked"))
    stated = json.loads((tmp_path / "benchmark.json").read_text())
    assert stated["steps"] == 800 and stated["scales"]["gap"] == ["random", "expert"]
    assert {cell["arm"]: cell.get("steps") for cell in stated["cells"]} == {
        "expert": None,
        "random": None,
        "student": 400,
        "tuned": 200,
        "yoked": 400,
    }
    results = load_results(tmp_path)
    assert not results.unfinished
    table = {row.arm: row for row in make_table(results).rows}
    assert (table["tuned"].steps, table["tuned"].steps_expert, table["random"].steps) == (1400, 1200, 0)
    assert table["random"].scaled["gap"].mean == pytest.approx(0) and table["expert"].scaled[
        "gap"
    ].mean == pytest.approx(1)

    before = measured(tmp_path)
    again = bench(chosen, cells(chosen), tmp_path)
    assert (again.done, again.skipped) == (0, 10) and measured(tmp_path) == before


def test_an_expert_without_a_policy_on_the_disk_is_played_again_and_so_is_its_own_expert(tmp_path: Path) -> None:
    chosen = distillation(EXPERT, STUDENT, TUNED, RANDOM)
    bench(chosen, cells(chosen), tmp_path)
    before = measured(tmp_path)
    ids = {cell.arm: cell.config.run_id() for cell in cells(chosen)}
    runs = tmp_path / "runs"
    (runs / ids["expert"] / "policy.safetensors").unlink()
    without(tmp_path, ids["tuned"])
    shutil.rmtree(runs / ids["tuned"])
    report = bench(chosen, cells(chosen), tmp_path)
    assert report.done == 1 and not (runs / ids["expert"] / "policy.safetensors").exists(), "the student is still there"

    without(tmp_path, ids["tuned"])
    shutil.rmtree(runs / ids["tuned"])
    shutil.rmtree(runs / ids["student"])
    report = bench(chosen, cells(chosen), tmp_path)
    assert report.failed == {} and report.done == 3 and report.skipped == 3
    assert (runs / ids["expert"] / "policy.safetensors").is_file() and (runs / ids["student"] / "student").is_dir()
    assert measured(tmp_path) == before


def test_a_failed_expert_leaves_its_students_and_theirs_unplayed(tmp_path: Path) -> None:
    silent = Arm("expert", teacher="uniform", overrides=RANDOM.overrides)  # it finishes, and leaves no policy behind
    chosen = distillation(silent, STUDENT, TUNED, Arm("yoked", yoked_to="tuned", overrides=RANDOM.overrides))
    report = bench(chosen, cells(chosen), tmp_path)
    expert, student, tuned, yoked = (cell.config.run_id() for cell in cells(chosen))
    assert report.done == 1 and list(report.failed) == [student, tuned, yoked]
    assert f"{expert} holds no policy" in report.failed[student]
    assert report.failed[tuned] == f"the run that is its expert failed: {student}"
    assert report.failed[yoked] == f"the run whose lessons it replays failed: {tuned}"
    assert not (tmp_path / "runs" / tuned).exists()


def test_columns_that_no_run_has_are_not_written_and_come_beside_rows_without_them(tmp_path: Path) -> None:
    chosen = distillation(RANDOM, EXPERT)
    bench(chosen, cells(chosen), tmp_path)
    assert not {"steps_expert", "labels"} & set(rows(tmp_path)[0])
    assert "scales" not in json.loads((tmp_path / "benchmark.json").read_text())
    before = measured(tmp_path)
    larger = distillation(RANDOM, EXPERT, STUDENT)
    bench(larger, cells(larger), tmp_path)
    header = list(rows(tmp_path)[0])
    assert header[header.index("steps_teacher") + 1 :][:2] == ["steps_expert", "labels"]
    kept = [row for row in measured(tmp_path) if row["arm"] != "student"]
    assert [{key: row[key] for key in before[0]} for row in kept] == before
    assert {row["steps_expert"] for row in kept} == {""}


# -- what has been measured ----------------------------------------------------------------------------------------

PUBLISHED = sorted(Path(__file__).parents[2].glob("benchmarks/results/*/benchmark.json"))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name)
def test_the_runs_of_published_results_are_those_that_their_script_would_make(path: Path) -> None:
    stated = json.loads(path.read_text())
    command = stated["command"].split()
    script = runpy.run_path(str(path.parents[3] / command[1]))
    (chosen,) = (each for each in script["BENCHMARKS"] if each.name == stated["name"])
    if "--tune" in command:
        found = tuning_cells(chosen)
    else:
        found = cells(chosen, command[command.index("--profile") + 1])
    hashes = {(cell.arm, cell.seed): cell.config.digest() for cell in found}
    assert {(cell["arm"], cell["seed"]): cell["config_hash"] for cell in stated["cells"]}.items() <= hashes.items()


DEADLY = '''
import os
import signal

from tests.echo_env import EchoEnv


class DeadlyEnv(EchoEnv):
    """Kills its own process in tasks above a bound, and notes every start."""

    def __init__(self, log, deadly_above=2.0):
        super().__init__()
        self.log, self.deadly_above = log, deadly_above
        with open(log, "a") as file:
            file.write(f"{deadly_above}\\n")

    def reset(self, *, seed=None, options=None):
        result = super().reset(seed=seed, options=options)
        if float(self.task["a"]) > self.deadly_above:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
'''


@pytest.mark.slow
def test_a_killed_worker_fails_after_two_deaths_and_the_others_finish(tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text(textwrap.dedent(DEADLY))
    log = tmp_path / "starts.txt"
    chosen = benchmark(
        Arm("deadly", teacher="uniform", overrides={"env.kwargs": {"deadly_above": 0.7}}),
        Arm("uniform"),
        base={
            "env": {"id": f"{tmp_path / 'deadly.py'}:DeadlyEnv", "kwargs": {"log": str(log)}, "n_envs": 1},
            "learner": {"name": "ppo", "kwargs": {"n_steps": 64, "batch_size": 64, "policy_kwargs": {"net_arch": [4]}}},
            "evaluation": {"every": 512, "tasks": 2},
        },
        primary="success/test/det",
        profiles={"smoke": Profile(steps=512, seeds=2)},
    )
    found = [cell for cell in cells(chosen) if cell.arm == "uniform" or cell.seed == 0]
    report = bench(chosen, found, tmp_path / "results", jobs=2)
    assert list(report.failed) == [found[0].config.run_id()]
    assert "killed twice" in report.failed[found[0].config.run_id()]
    assert report.done == 2 and {(row["arm"], row["seed"]) for row in rows(tmp_path / "results")} == {
        ("uniform", "0"),
        ("uniform", "1"),
    }
    assert log.read_text().splitlines().count("0.7") == 4, "built twice to train and to judge, and never a third time"
