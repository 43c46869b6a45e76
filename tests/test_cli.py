"""The command line: every command, and what it says to every bad input."""

import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlteach.cli import main

ROOT = Path(__file__).resolve().parents[1]
CUBES: dict[str, Any] = {
    "env": {"id": "rlteach/ToyCubes-v0", "kwargs": {"cubes": 3}, "n_envs": 2},
    "learner": {"name": "synthetic"},
    "teacher": {"name": "success_guided"},
    "evaluation": {"every": 100},
    "steps": 200,
}
TINY_PPO = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "policy_kwargs": {"net_arch": [4]}}


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty directory, and put signal handlers and the environment back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


class Said:
    """What a command printed and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def error(self) -> str:
        """The one message of a command that failed."""
        assert "Traceback" not in self.out + self.err
        assert self.err.count("error: ") == 1, self.err
        return self.err.split("error: ")[1]


@pytest.fixture
def rlteach(capfd: pytest.CaptureFixture[str]) -> Any:
    """The command line, called in this process; workers' output is seen too."""

    def call(*arguments: Any) -> Said:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        code: Any = ended.value.code
        return Said(code, out, err)

    return call


def configuration(**changes: Any) -> Path:
    """Write a configuration file and return its path."""
    file = Path(f"run{len(list(Path().glob('run*.yaml')))}.yaml")
    file.write_text(yaml.safe_dump(CUBES | changes))
    return file


def echoing(echo: str, **kwargs: Any) -> dict[str, Any]:
    """The parts of a configuration that train PPO on an environment of a file."""
    return {
        "env": {"id": echo, "n_envs": 2, "kwargs": kwargs},
        "learner": {"name": "ppo", "kwargs": TINY_PPO},
        "teacher": {"name": "uniform"},
        "evaluation": {"every": 64, "tasks": 3},
    }


def files(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


# -- list and check ------------------------------------------------------------------------------------------------


def test_list_names_what_is_registered_with_a_line_each(rlteach: Any) -> None:
    said = rlteach("list")
    assert said.code == 0
    for name in ("rlteach/GoalMaze-v0", "rlteach/PointMassGate-v0", "rlteach/ToyCubes-v0"):
        assert any(line.split()[0] == name and len(line.split()) > 3 for line in said.out.splitlines() if line.strip())
    for name in ("uniform", "alp_gmm", "frontier", "replay", "ppo", "synthetic"):
        assert f"\n  {name} " in said.out
    hopper = next(line for line in said.out.splitlines() if "rlteach/HopperDynamics-v0" in line)
    assert "Hop forwards on one leg" in hopper and "snapshots (through rlteach.snapshots)" in hopper
    assert hopper.endswith("needs rlteach[mujoco]")
    only = rlteach("list", "teachers").out
    assert only.startswith("teachers\n") and "alp_gmm" in only and "GoalMaze" not in only and "ppo" not in only


def test_doctor_names_every_extra_and_what_is_missing_of_it(rlteach: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["torch>=2.4", "here>=1 ; extra == 'whole'", "absent-thing>=2; extra == 'half'", 'here; extra == "half"']
    monkeypatch.setattr(metadata, "requires", lambda name: [*wanted, "here; extra == 'dev'"])
    installed = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1" if name == "here" else installed(name))
    said = rlteach("doctor")
    assert said.code == 0
    assert "extra whole: installed" in said.out
    assert "extra half: missing absent-thing: pip install 'rlteach[half]'" in said.out
    assert "extra dev" not in said.out


def test_check_tells_of_snapshots_what_list_tells(rlteach: Any) -> None:
    said = rlteach("check", "CartPole-v1")
    assert said.code == 0 and "-     snapshots: through rlteach.snapshots (AttributeCopy), for start" in said.out


def test_check_is_content_with_ids_and_tells_what_it_saw(rlteach: Any) -> None:
    for env in ("rlteach/GoalMaze-v0", "rlteach_envs:rlteach/ToyCubes-v0"):
        said = rlteach("check", env)
        assert said.code == 0 and "FAIL" not in said.out and said.err == ""
        assert "ok    snapshots: exact over" in said.out and "ok    test sets: " in said.out


def test_check_reads_files_and_its_exit_code_tells_faults_from_offers_not_made(rlteach: Any, no_tasks: str) -> None:
    said = rlteach("check", no_tasks)
    assert said.code == 0 and "-     task space: not offered" in said.out
    Path("mine.py").write_text(
        textwrap.dedent("""
        import gymnasium as gym, numpy as np
        class Endless(gym.Env):
            observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
            action_space = gym.spaces.Discrete(2)
            def reset(self, *, seed=None, options=None):
                super().reset(seed=seed)
                return np.zeros(1, np.float32), {}
            def step(self, action):
                return np.zeros(1, np.float32), 0.0, False, False, {}
        """)
    )
    said = rlteach("check", "mine.py:Endless")
    assert said.code == 1 and "FAIL  episodes end" in said.out and "fix: give it a time limit" in said.out


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ("rlteach/GoalMase-v0", "Did you mean 'rlteach/GoalMaze-v0'? `rlteach list envs` shows them all."),
        ("rlteach_envs:rlteach/GoalMase-v0", "Did you mean 'rlteach/GoalMaze-v0'?"),
        ("no_such_module:Env-v0", "cannot import 'no_such_module'"),
        ("nowhere.py:Env", "there is no file"),
        (f"{ROOT / 'tests/echo_env.py'}:EkoEnv", "Did you mean 'EchoEnv'?"),
        ("broken.py:Env", "broken.py, line 2"),
        ("raising.py:Env", "ZeroDivisionError"),
    ],
)
def test_check_names_an_environment_that_cannot_be_found(rlteach: Any, env: str, says: str) -> None:
    Path("broken.py").write_text("import os\nclass Env(:\n")
    Path("raising.py").write_text("1 / 0\n")
    said = rlteach("check", env)
    assert said.code == 2 and says in said.error


# -- run and resume ------------------------------------------------------------------------------------------------


def test_run_trains_and_says_where_everything_is(rlteach: Any) -> None:
    said = rlteach("run", configuration(), "--out", "mine", "--seed", 3, "--set", "steps=300")
    assert said.code == 0
    assert "success/cubes/det" in said.out and "everything is in mine" in said.out
    assert "success_guided teaches synthetic on rlteach/ToyCubes-v0 (2 environments), seed 3, 300 steps" in said.err
    assert "rlteach resume mine" in said.err and "300/300 steps" in said.err
    resolved = yaml.safe_load(Path("mine/config.yaml").read_text())
    assert (resolved["seed"], resolved["steps"]) == (3, 300)
    before = files(Path("mine"))
    again = rlteach("run", configuration(), "--out", "mine", "--seed", 3, "--set", "steps=300")
    assert again.code == 0 and again.out == said.out and files(Path("mine")) == before


def test_run_makes_a_directory_named_after_the_run(rlteach: Any) -> None:
    assert rlteach("run", configuration()).code == 0
    (directory,) = Path("runs").iterdir()
    assert directory.name.startswith("success_guided-s0-") and (directory / "DONE").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_checkpoints_and_resume_goes_on_as_if_nothing_had_been(
    rlteach: Any, number: signal.Signals, code: int
) -> None:
    config = configuration(steps=10_000, evaluation={"every": 10_000})
    command = [sys.executable, "-m", "rlteach", "run", str(config), "--out", "parts"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (Path("parts/lessons.csv").exists() and Path("parts/lessons.csv").stat().st_size > 10_000):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code and "rlteach resume parts" in err and "Traceback" not in err
    assert not Path("parts/DONE").exists() and not Path("parts/FAILED").exists()
    assert rlteach("resume", "parts").code == 0
    assert rlteach("run", config, "--out", "whole").code == 0
    assert Path("parts/lessons.csv").read_bytes() == Path("whole/lessons.csv").read_bytes()
    assert Path("parts/evals.csv").read_bytes() == Path("whole/evals.csv").read_bytes()


# -- bench, table and report ---------------------------------------------------------------------------------------

SCRIPT = """
from rlteach.cli import bench_main
from rlteach.experiment.bench import Arm, Benchmark, Profile

BENCHMARKS = [
    Benchmark(
        name=name,
        title="Cubes",
        base={"env": {"id": "rlteach/ToyCubes-v0", "kwargs": {"cubes": cubes}, "n_envs": 2},
              "learner": {"name": "synthetic"}, "evaluation": {"every": 50}},
        arms=[Arm("uniform"), Arm("frontier"), Arm("frontier (yoked)", yoked_to="frontier")],
        primary="success/cubes/det",
        metrics=["return/cubes/det"],
        profiles={"smoke": Profile(steps=100, seeds=2), "large": Profile(steps=10_000, seeds=9, publish=True)},
    )
    for name, cubes in (("cubes", 3), ("more_cubes", 4))
]

if __name__ == "__main__":
    bench_main(BENCHMARKS, __file__)
"""


@pytest.fixture
def script() -> Path:
    Path("cubes.py").write_text(SCRIPT)
    return Path("cubes.py")


def test_bench_runs_every_benchmark_of_a_script_and_writes_its_tables(rlteach: Any, script: Path) -> None:
    said = rlteach("bench", script)
    assert said.code == 0
    for name in ("cubes-smoke", "more_cubes-smoke"):
        directory = Path("runs") / name
        assert {"runs.csv", "benchmark.json", "table.md"} <= {path.name for path in directory.iterdir()}
        table = (directory / "table.md").read_text()
        assert "frontier (yoked)" in table and "success/cubes/det" in table
        assert f"python cubes.py --only {name.removesuffix('-smoke')} --profile smoke -j 1" in table
        assert str(directory / "table.md") in said.err
    assert said.out.count("frontier (yoked)") >= 2
    again = rlteach("bench", script)
    assert again.code == 0 and "0 of 6 runs to do" in again.err


def test_bench_runs_only_what_is_asked_for(rlteach: Any, script: Path) -> None:
    chosen = ("--only", "cubes", "--arms", "uniform", "--seeds", 1, "--out", "here")
    assert rlteach("bench", script, *chosen).code == 0
    with Path("here/runs.csv").open() as file:
        assert {(row["arm"], row["seed"]) for row in csv.DictReader(file)} == {("uniform", "0")}
    assert not Path("runs").exists()


def test_bench_takes_a_configuration_and_compares_its_teacher_with_uniform(rlteach: Any) -> None:
    said = rlteach("bench", configuration(), "--out", "here")
    assert said.code == 0
    table = Path("here/run0/table.md").read_text()
    assert "success_guided" in table and "uniform" in table


@pytest.mark.slow
def test_a_benchmark_script_is_the_same_as_bench_of_it(rlteach: Any, tmp_path: Path) -> None:
    options = ["--profile", "smoke", "--only", "toy_cubes", "--arms", "uniform", "success_guided", "--out"]
    path = ROOT / "benchmarks" / "toy_cubes.py"
    by_script = subprocess.run(
        [sys.executable, path, *options, "by_script"], capture_output=True, text=True, check=False
    )
    assert by_script.returncode == 0, by_script.stderr
    assert rlteach("bench", path, *options, "by_bench").code == 0
    tables, results = [], []
    for name in ("by_script", "by_bench"):
        with Path(name, "runs.csv").open() as file:
            results.append([{k: v for k, v in row.items() if k != "cpu_s"} for row in csv.DictReader(file)])
        tables.append(json.loads(Path(name, "benchmark.json").read_text()))
    assert results[0] == results[1] and len(results[0]) == 8
    assert tables[0] == tables[1]


def test_a_failed_cell_makes_the_exit_code_1_and_the_rest_is_kept(rlteach: Any, echo: str) -> None:
    base = {"env": {"id": echo, "n_envs": 2}, "learner": {"name": "ppo", "kwargs": TINY_PPO}}
    Path("bench.py").write_text(
        textwrap.dedent(f"""
        from rlteach.experiment.bench import Arm, Benchmark, Profile
        BENCHMARKS = [Benchmark(name="mixed", title="Mixed", base={base | {"evaluation": {"every": 32, "tasks": 2}}!r},
            arms=[Arm("bad", teacher="uniform", overrides={{"env.kwargs": {{"crash_above": 0.0}}}}), Arm("uniform")],
            primary="success/test/det", profiles={{"smoke": Profile(steps=32, seeds=1)}})]
        """)
    )
    said = rlteach("bench", "bench.py", "--out", "here")
    assert said.code == 1 and "on fire" in said.err
    assert "FAILED bad, seed 0" in said.err and "FAILED uniform-s0-" in said.err
    assert "uniform" in Path("here/mixed/table.md").read_text()


FORMATS = {"terminal": "uniform", "markdown": "| uniform", "csv": "uniform,", "json": '"uniform"', "latex": r"\begin{"}


@pytest.fixture
def results(rlteach: Any, script: Path) -> Path:
    rlteach("bench", script, "--only", "cubes", "--out", "here")
    return Path("here")


def test_table_prints_every_format_and_writes_files(rlteach: Any, results: Path) -> None:
    for name, sign in FORMATS.items():
        said = rlteach("table", results, "--format", name)
        assert said.code == 0 and sign in said.out
        assert rlteach("table", results, "--format", name, "--output", f"table.{name}").out == ""
        assert Path(f"table.{name}").stat().st_size > 100
    assert json.loads(Path("table.json").read_text())
    assert Path("table.csv").read_text() == rlteach("table", results, "--format", "csv").out.removesuffix("\n")
    assert "return/cubes/det" in rlteach("table", results, "--metric", "return/cubes/det").out


@pytest.mark.slow
def test_report_writes_one_html_file(rlteach: Any, results: Path) -> None:
    pytest.importorskip("matplotlib")
    said = rlteach("report", results)
    assert said.code == 0 and said.out.strip() == str(results / "report.html")
    assert (results / "report.html").read_text().lstrip().lower().startswith("<!doctype html>")
    assert rlteach("report", results, "--output", "elsewhere.html").out.strip() == "elsewhere.html"


def test_table_and_report_say_what_makes_results_and_where_they_are(rlteach: Any, script: Path) -> None:
    for command in ("table", "report"):
        assert "`rlteach bench SCRIPT` makes one" in rlteach(command, "nowhere").error
        assert "`rlteach bench SCRIPT --out .` writes it" in rlteach(command, ".").error
    rlteach("bench", script, "--out", "all", "--seeds", 1, "--arms", "uniform")
    said = rlteach("table", "all")
    assert said.code == 2 and "there are results in all/cubes, all/more_cubes" in said.error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("table", "here", "--metric", "sucess/cubes/det"), "Did you mean 'success/cubes/det'"),
        (("table", "here", "--output", "file/table.md"), "cannot write file/table.md: Not a directory"),
        (("table", "here", "--output", "nowhere/table.md"), "cannot write nowhere/table.md: No such file"),
        (("report", "here", "--output", "file/report.html"), "cannot write file/report.html"),
    ],
)
def test_wrong_arguments_of_table_and_report_are_named(
    rlteach: Any, results: Path, arguments: tuple[str, ...], says: str
) -> None:
    Path("file").write_text("precious")
    before = files(results)
    said = rlteach(*arguments)
    assert said.code == 2 and says in said.error
    assert files(results) == before and Path("file").read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--profile", "smok"), "no profile is called 'smok'. Did you mean 'smoke'? Known: smoke, large."),
        (("--arms", "unifrom"), "no arm is called 'unifrom'. Did you mean 'uniform'? Known: uniform, frontier"),
        (("--only", "cube"), "no benchmark is called 'cube'. Did you mean 'cubes'? Known: cubes, more_cubes."),
        (("--arms", "frontier (yoked)"), "yoked to 'frontier', which is not run in this profile"),
        (("--jobs", "0"), "jobs = 0 must be at least 1"),
        (("--seeds", "0"), "seeds = 0 must be at least 1"),
        (("--seeds=-3",), "seeds = -3 must be at least 1"),
        (("--tune",), "benchmark 'cubes' states no tuning"),
        (("--out", "file"), "cannot make the results directory file/cubes: Not a directory"),
        (("--out", "file", "--only", "cubes"), "cannot make the results directory file: File exists"),
    ],
)
def test_wrong_arguments_of_bench_are_named_before_anything_is_run(
    rlteach: Any, script: Path, arguments: tuple[str, ...], says: str
) -> None:
    Path("file").write_text("precious")
    said = rlteach("bench", script, *arguments)
    assert said.code == 2 and says in said.error
    assert sorted(path.name for path in Path().iterdir()) == ["cubes.py", "file"]


def test_a_script_without_benchmarks_and_one_that_is_not_there_are_named(rlteach: Any, script: Path) -> None:
    Path("empty.py").write_text("BENCHMARKS = []\n")
    assert "empty.py defines no BENCHMARKS" in rlteach("bench", "empty.py").error
    said = rlteach("bench", "cube.py")
    assert said.code == 2 and "there is no benchmark cube.py. Did you mean 'cubes.py'?" in said.error


def test_unknown_commands_and_options_end_with_2(rlteach: Any) -> None:
    for arguments in (("runn",), ("list", "teacherz"), ("run",), ("bench", "x.py", "--job", "1"), ("run", "x", "--ot")):
        said = rlteach(*arguments)
        assert said.code == 2 and "Traceback" not in said.out + said.err


# -- bad input of a run --------------------------------------------------------------------------------------------

BAD = {
    "environment": (
        {"env": {"id": "rlteach/ToyCube-v0"}},
        ["Did you mean 'rlteach/ToyCubes-v0'?", "rlteach list envs"],
    ),
    "environment argument": (
        {"env": {"id": "rlteach/ToyCubes-v0", "kwargs": {"cubez": 3}}},
        ["cannot build rlteach/ToyCubes-v0 with {'cubez': 3}", "cubez"],
    ),
    "environment value": (
        {"env": {"id": "rlteach/ToyCubes-v0", "kwargs": {"cubes": 1}}},
        ["cannot build rlteach/ToyCubes-v0 with {'cubes': 1}", "cubes = 1 must be a whole number of at least 2"],
    ),
    "teacher": ({"teacher": {"name": "sucess_guided"}}, ["Did you mean 'success_guided'?", "rlteach list teachers"]),
    "teacher that is none": ({"teacher": {"name": "json.loads"}}, ["is no teacher", "rlteach list teachers"]),
    "teacher class that is none": ({"teacher": {"name": "collections.OrderedDict"}}, ["it has no propose, observe"]),
    "hyperparameter": (
        {"teacher": {"name": "success_guided", "kwargs": {"uniform_shar": 0.1}}},
        ["SuccessGuided has no hyperparameter 'uniform_shar'. Did you mean 'uniform_share'?"],
    ),
    "hyperparameter out of range": (
        {"teacher": {"name": "success_guided", "kwargs": {"uniform_share": 1.5, "sharpness": "high"}}},
        ["uniform_share = 1.5 must lie in [0, 1]", "sharpness = 'high' must be a number", "2 faults"],
    ),
    "return range": (
        {"teacher": {"name": "alp_gmm", "kwargs": {"return_range": [1.0, 0.0]}}},
        ["return_range needs two finite numbers"],
    ),
    "learner": ({"learner": {"name": "sythetic"}}, ["Did you mean 'synthetic'?", "rlteach list learners"]),
    "learner that is none": ({"learner": {"name": "json.JSONDecoder"}}, ["is no learner", "rlteach list learners"]),
    "learner value": ({"learner": {"name": "ppo", "kwargs": {"n_steps": "many"}}}, ["n_steps = 'many'"]),
    "batch": ({"learner": {"name": "ppo", "kwargs": {"n_steps": 2}}}, ["batch_size = 64 is larger than a rollout"]),
    "learner for other environments": (
        {"env": {"id": "rlteach/GoalMaze-v0"}, "learner": {"name": "synthetic"}},
        ["skill_graph", "use learner: ppo"],
    ),
    "test set": ({"evaluation": {"test_sets": ["cube"]}}, ["there is no 'cube'; known: cubes"]),
    "many": (
        {"env": {"id": "Nope-v0"}, "teacher": {"name": "unifrom"}, "learner": {"name": "pppo"}},
        ["3 faults", "'Nope-v0'", "'uniform'?", "'ppo'?"],
    ),
    "names and values": (
        {
            "env": {"id": "Nope-v0"},
            "teacher": {"name": "frontier", "kwargs": {"tree": 1}},
            "learner": {"name": "ppo", "kwargs": {"gamma": 2, "n_steps": 0}},
        },
        ["4 faults", "'Nope-v0'", "'tree'", "gamma = 2 must lie in [0, 1]", "n_steps = 0"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_configuration_is_one_message_with_the_nearest_choice(rlteach: Any, case: str) -> None:
    changes, says = BAD[case]
    said = rlteach("run", configuration(**changes), "--out", "mine")
    assert said.code == 2
    for part in says:
        assert part in said.error
    assert not Path("mine/DONE").exists()


@pytest.mark.parametrize("case", ["teacher", "hyperparameter out of range", "learner value", "many"])
def test_names_and_values_are_refused_before_anything_is_written(rlteach: Any, case: str) -> None:
    rlteach("run", configuration(**BAD[case][0]), "--out", "mine")
    assert [path.name for path in Path().iterdir()] == ["run0.yaml"]


@pytest.mark.slow
def test_a_constructor_that_refuses_in_a_worker_is_told_like_any_other(rlteach: Any) -> None:
    env = {"id": "rlteach/ToyCubes-v0", "kwargs": {"cubes": 1}, "vec": "subproc", "n_envs": 2}
    said = rlteach("run", configuration(env=env), "--out", "mine")
    assert said.code == 2
    assert said.err.splitlines()[-1].startswith("error: cannot build rlteach/ToyCubes-v0 with {'cubes': 1}")


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (b"env: [", "bad.yaml", "bad.yaml is not valid YAML"),
        (b"- 1\n", "bad.yaml", "must hold a mapping with at least `env` and `steps`"),
        (b"\xff\xfe\x00", "bad.yaml", "cannot read bad.yaml"),
        (
            b"env: {id: CartPole-v1}\nsteps: 10\nsede: 1\n",
            "bad.yaml",
            "line 3: unknown key 'sede'. Did you mean 'seed'?",
        ),
        (b"teacher: uniform\n", "bad.yaml", "teacher = 'uniform'"),
        (b"CONFIG = [1, 2]\n", "bad.py", "must be a RunConfig or a dict, not list"),
        (b"X = 1\n", "bad.py", "defines no CONFIG"),
    ],
)
def test_a_broken_configuration_file_is_named(rlteach: Any, content: bytes, name: str, says: str) -> None:
    Path(name).write_bytes(content)
    for command in ("run", "bench"):
        if command == "run" or name.endswith(".yaml"):
            said = rlteach(command, name)
            assert said.code == 2 and says in said.error


def test_a_missing_configuration_is_named_with_the_nearest(rlteach: Any) -> None:
    configuration()
    said = rlteach("run", "run.yml")
    assert said.code == 2 and "there is no configuration file run.yml. Did you mean 'run0.yaml'?" in said.error


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("steps", "--set takes key=value, not 'steps'"),
        ("steps=[", "'[' is not valid YAML"),
        ("step=3", "unknown key 'step'. Did you mean 'steps'?"),
        ("steps=-3", "steps = -3"),
        ("steps.many=3", "steps = 200 is no mapping"),
        ("teacher.nam=uniform", "Did you mean 'name'?"),
    ],
)
def test_a_wrong_override_is_named(rlteach: Any, override: str, says: str) -> None:
    said = rlteach("run", configuration(), "--set", override)
    assert said.code == 2 and says in said.error and not Path("runs").exists()


SPACES = {
    "Zero": ("gym.spaces.Dict(push=gym.spaces.Box(0.5, 0.5, ()))", ["push has zero width", "leave it out"]),
    "Infinite": ("gym.spaces.Box(-np.inf, np.inf, (1,))", ["task[0] has the bounds [-inf, inf]; give it finite ones"]),
    "Words": ("gym.spaces.Text(5)", ["is a Text space; use Box, Discrete"]),
    "Nothing": ("3", ["a task space must be a gymnasium.Space, not int"]),
}


@pytest.mark.parametrize("name", SPACES)
def test_a_task_space_that_cannot_be_taught_is_named(rlteach: Any, name: str) -> None:
    space, says = SPACES[name]
    Path("mine.py").write_text(
        textwrap.dedent(f"""
        import gymnasium as gym
        import numpy as np
        from tests.echo_env import NoTaskEnv
        class Mine(NoTaskEnv):
            task_space = {space}
        """)
    )
    said = rlteach("run", configuration(**echoing("mine.py:Mine")), "--out", "mine")
    assert said.code == 2
    for part in says:
        assert part in said.error
    assert rlteach("check", "mine.py:Mine").code == 1


def test_a_real_teacher_without_a_task_space_gets_a_recipe(rlteach: Any, no_tasks: str) -> None:
    for teacher in ("alp_gmm", "oracle"):
        said = rlteach("run", configuration(**echoing(no_tasks) | {"teacher": {"name": teacher}}), "--out", teacher)
        assert said.code == 2 and "has no `task_space`. Add it like this:" in said.error
        assert "def reset(self" in said.error and "rlteach check ENV" in said.error


def test_an_oracle_without_a_window_gets_a_recipe(rlteach: Any, echo: str) -> None:
    said = rlteach("run", configuration(**echoing(echo) | {"teacher": {"name": "oracle"}}))
    assert said.code == 2 and "has no `oracle_window`" in said.error and "def oracle_window" in said.error


NAN = ["a reward that is not finite", "in lesson", "env.reset(options={'task': ...})"]
CRASH = ["RuntimeError: the motor is on fire in lesson", "Its traceback:"]


@pytest.mark.parametrize(
    ("vec", "fault", "says"),
    [
        ("dummy", {"nan_above": 0.9}, NAN),
        ("dummy", {"crash_above": 0.9}, CRASH),
        pytest.param("subproc", {"crash_above": 0.9}, CRASH, marks=pytest.mark.slow),
    ],
)
def test_a_misbehaving_environment_ends_with_1_and_loses_nothing(
    rlteach: Any, echo: str, vec: str, fault: dict[str, float], says: list[str]
) -> None:
    parts = echoing(echo, **fault)
    parts["env"]["vec"] = vec
    said = rlteach("run", configuration(**parts, steps=5000), "--out", "mine")
    assert said.code == 1 and said.err.count("error: ") == 1
    message = said.err.split("error: ")[1]
    for part in says:
        assert part in message
    # The environment's own traceback belongs to the message; ours does not.
    assert "rlteach/experiment" not in said.err and "rlteach/cli" not in said.err
    assert says[0] in Path("mine/FAILED").read_text() and not Path("mine/DONE").exists()
    with Path("mine/lessons.csv").open() as file:
        lessons = list(csv.DictReader(file))
    assert len(lessons) >= 1 and all(float(lesson["task/a"]) <= 0.9 for lesson in lessons)


@pytest.mark.slow
def test_a_killed_worker_ends_with_1_and_leaves_no_process_behind(rlteach: Any) -> None:
    Path("mine.py").write_text(
        textwrap.dedent("""
        import os, signal
        from tests.echo_env import EchoEnv
        class Deadly(EchoEnv):
            def step(self, action):
                if float(self.task["a"]) > 0.9:
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().step(action)
        """)
    )
    before = set(multiprocessing.active_children())
    parts = echoing("mine.py:Deadly")
    parts["env"]["vec"] = "subproc"
    said = rlteach("run", configuration(**parts, steps=5000), "--out", "mine")
    assert said.code == 1 and "the worker process of environment" in said.error and "exit code -9" in said.error
    assert "vec='dummy'" in said.error and "worker process" in Path("mine/FAILED").read_text()
    with Path("mine/lessons.csv").open() as file:
        assert all(float(lesson["task/a"]) <= 0.9 for lesson in csv.DictReader(file))
    deadline = time.monotonic() + 5
    while set(multiprocessing.active_children()) - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert set(multiprocessing.active_children()) - before == set()


# -- run directories -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", ["nothing", "temporary", "config", "config and temporary"])
def test_a_run_killed_while_its_directory_was_made_begins_again(rlteach: Any, left: str) -> None:
    config = configuration()
    rlteach("run", config, "--out", "whole")
    Path("mine").mkdir()
    if "config" in left:
        Path("mine/config.yaml").write_bytes(Path("whole/config.yaml").read_bytes())
    if "temporary" in left:
        Path(f"mine/.{'meta.json' if 'config' in left else 'config.yaml'}.123.tmp").write_text("{")
    said = rlteach("resume", "mine")
    assert said.code == 2 and "`rlteach run CONFIG --out mine` begins one" in said.error
    assert rlteach("run", config, "--out", "mine").code == 0
    assert Path("mine/lessons.csv").read_bytes() == Path("whole/lessons.csv").read_bytes()


def test_a_directory_with_somebody_elses_configuration_is_left_alone(rlteach: Any) -> None:
    Path("mine").mkdir()
    Path("mine/config.yaml").write_text("precious: 1\n")
    said = rlteach("run", configuration(), "--out", "mine")
    assert said.code == 2 and "not empty and holds no meta.json; choose another directory" in said.error
    assert files(Path("mine")) == {"mine/config.yaml": b"precious: 1\n"}


def test_run_directories_that_cannot_be_used_are_named_and_stay_as_they_are(rlteach: Any) -> None:
    config = configuration()
    rlteach("run", config, "--out", "mine")
    meta = json.loads(Path("mine/meta.json").read_text())
    before = files(Path("mine"))
    cases = [
        (("run", configuration(steps=201), "--out", "mine"), "another configuration, environment version or rlteach"),
        (("run", config, "--out", "run0.yaml/mine"), "cannot make the run directory run0.yaml/mine: Not a directory"),
        (("run", config, "--out", "run0.yaml"), "cannot make the run directory run0.yaml: File exists"),
        (("resume", "nowhere"), "there is no run directory nowhere; `rlteach run CONFIG` starts one"),
        (("resume", "run0.yaml"), "there is no run directory run0.yaml"),
    ]
    for arguments, says in cases:
        said = rlteach(*arguments)
        assert said.code == 2 and says in said.error
    assert files(Path("mine")) == before
    for damage, says in (
        ("{", "cannot read mine/meta.json"),
        ("[]", "mine/meta.json is damaged"),
        (json.dumps(meta | {"schema": 2}), "schema 2; this version of rlteach reads schema 1"),
        (json.dumps(meta | {"config_hash": "0" * 12, "package_version": "0.0.9"}), "(0.0.9); choose another directory"),
    ):
        Path("mine/meta.json").write_text(damage)
        said = rlteach("resume", "mine")
        assert said.code == 2 and says in said.error
        assert {**files(Path("mine")), "mine/meta.json": b""} == {**before, "mine/meta.json": b""}


def test_a_resolved_configuration_that_was_damaged_is_named(rlteach: Any) -> None:
    rlteach("run", configuration(), "--out", "mine")
    Path("mine/config.yaml").unlink()
    said = rlteach("resume", "mine")
    assert said.code == 2 and "there is no configuration file mine/config.yaml" in said.error
