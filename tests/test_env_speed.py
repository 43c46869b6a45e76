"""The speed benchmark measures what it says, and its check fails for what is slow and for nothing else."""

import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.envs.classic_control.pendulum import PendulumEnv

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "env_speed.py"


@pytest.fixture(scope="module")
def speed() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[SCRIPT.stem] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[SCRIPT.stem]


class Slowed(PendulumEnv):
    """Pendulum-v1, every step of which wastes some CPU time."""

    def __init__(self, wasted_us: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._wasted = wasted_us * 1000

    def step(self, action: Any) -> Any:
        until = time.process_time_ns() + self._wasted
        while time.process_time_ns() < until:
            pass
        return super().step(action)


@pytest.fixture
def slowed(speed: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Register the environment, and return a function that measures it with so many wasted microseconds."""
    gym.register("rlteach/Slowed-v0", Slowed, max_episode_steps=200)

    def run(wasted: float) -> int:
        case = speed.Case(
            "rlteach/Slowed-v0", kwargs={"wasted_us": wasted}, counterpart="Pendulum-v1", goals={"step": 9.1}
        )
        monkeypatch.setattr(speed, "SPECIAL", (case,))
        code: int = speed.main(["--quick", "--only", "Slowed-v0"])
        return code

    yield run
    del gym.registry["rlteach/Slowed-v0"]


def test_the_check_passes_what_is_as_fast_as_its_yardstick(slowed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert slowed(0.0) == 0
    assert "FAILED" not in capsys.readouterr().out


def test_the_check_fails_what_is_slower(slowed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert slowed(2000.0) == 1
    assert "FAILED  Slowed-v0: step reaches 0.0" in capsys.readouterr().out


def test_the_short_form_measures_every_form(speed: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert speed.main(["--quick", "--rounds", "3", "--only", "HiddenMassPendulum-v0", "GoalMaze-v0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines[2:4]}
    maze, pendulum = cells["GoalMaze-v0"], cells["HiddenMassPendulum-v0"]
    assert maze[6] == "its single form" and maze[7:9] == ["-", "-"]
    assert pendulum[6] == "Pendulum-v1" and "-" not in pendulum
    for row in (maze, pendulum):
        step, batch = float(row[1].replace(",", "")), float(row[2].removesuffix(" (1024)"))
        assert batch < step / 5, "a row of a thousand costs far less than a single environment"
        assert float(row[9].replace(",", "")) > 1


def test_every_registered_environment_has_a_row(speed: ModuleType) -> None:
    measured = [case.env for case in speed.cases()]
    assert set(measured) >= {name for name in gym.registry if name.startswith("rlteach/")}
    assert {case.env for case in speed.SPECIAL} <= set(measured), "a case of an environment that there is not"
    names = [case.name for case in speed.cases()]
    assert len(set(names)) == len(names)


def test_what_lacks_an_extra_is_left_out_and_named(
    speed: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [
        name for name in sys.modules if name.partition(".")[0] == "minigrid" or name.endswith(".minigrid_maze")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "minigrid", None)
    monkeypatch.setattr(speed, "has_numba", lambda: False)
    assert speed.main(["--quick", "--rounds", "1", "--only", "MiniGridMaze-v0", "GridMaze-v0", "Quadrotor-v0"]) == 0
    out = capsys.readouterr().out
    assert "Left out: MiniGridMaze-v0 (MiniGridMaze needs MiniGrid: pip install rlteach[minigrid])" in out
    assert "Left out: the counterpart of GridMaze-v0, rlteach/MiniGridMaze-v0" in out
    assert "goals of what it compiles are left out (pip install rlteach[numba])" in out
    assert "| MiniGridMaze-v0" not in out and "| Quadrotor-v0 | batch step" not in out
    assert "| GridMaze-v0 | batch step | 10 |" in out


def test_an_unknown_row_is_named(speed: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"unknown: GoalMaz; known are .*GoalMaze-v0"):
        speed.main(["--only", "GoalMaz"])


@pytest.mark.parametrize(
    ("own", "yardstick", "share"),
    [
        (50.0, 100.0, 1.0),  # at the goal on a quiet machine
        (100.0, 200.0, 1.0),  # at the goal on one of half the speed
        (100.0, 100.0, 0.5),  # twice as slow as the goal
        (25.0, 200.0, 4.0),
    ],
)
def test_the_share_of_a_goal_does_not_depend_on_the_machine(
    speed: ModuleType, own: float, yardstick: float, share: float
) -> None:
    assert speed.share_of_goal(yardstick / own, quiet=100.0, goal=50.0) == pytest.approx(share)


def test_ratios_are_medians_of_rounds(speed: ModuleType) -> None:
    # A burst of other work in one round hits one of the two, and changes nothing.
    assert speed.times_faster([10, 10, 900, 10, 10], [5, 5, 5, 5, 400]) == 2.0


@pytest.mark.parametrize(
    ("took", "share", "said"), [(50.0, 1.2, "yes"), (50.0, 0.9, "yes"), (51.0, 1.0, "by ratio"), (51.0, 0.99, "no")]
)
def test_a_goal_is_met_in_microseconds_or_by_ratio_or_not(
    speed: ModuleType, took: float, share: float, said: str
) -> None:
    assert speed.verdict(took, 50.0, share) == said


def test_a_goal_known_as_missed_is_held_to_what_was_reached(speed: ModuleType) -> None:
    def found(share: float, **reached: float) -> list[str]:
        case = speed.Case("rlteach/Any-v0", goals={"step": 10.0}, reached=reached)
        faster = share * speed.QUIET[speed.YARDSTICK] / 10.0
        row = speed.Measured(case, {"step": 1.0}, {}, {"step": faster}, 1.0)
        sentences: list[str] = speed.failures([row])
        return sentences

    assert found(0.51) == [] and len(found(0.49)) == 1
    assert found(0.26, step=20.0) == [] and "less than 0.25" in found(0.24, step=20.0)[0]


# -- the page ----------------------------------------------------------------------------------------------------------


def page_rows(speed: ModuleType, text: str, name: str) -> list[list[str]]:
    """Return the cells of the table between the markers of that name."""
    part = text.partition(speed.BEGIN.format(name))[2].partition(speed.END)[0].strip()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines()[2:]]


def test_the_page_has_every_row_and_every_goal(speed: ModuleType) -> None:
    text = speed.PAGE.read_text(encoding="utf-8")
    assert [row[0] for row in page_rows(speed, text, "times")] == [case.name for case in speed.cases()]
    names = {"batch": "batch step", "snapshot": "save and restore"}
    wanted = {
        (case.name, names.get(what, what), speed.number(goal))
        for case in speed.cases()
        for what, goal in (case.goals | {"snapshot": speed.SNAPSHOT_GOAL}).items()
    }
    assert {tuple(row[:3]) for row in page_rows(speed, text, "goals")} == wanted


def test_what_is_written_replaces_its_own_rows_and_leaves_the_others(
    speed: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = speed.PAGE.read_text(encoding="utf-8")
    page = tmp_path / "performance.md"
    page.write_text(before, encoding="utf-8")
    monkeypatch.setattr(speed, "PAGE", page)
    assert speed.main(["--write", "--rounds", "2", "--only", "ToyCubes-v0", "LightDark-v0"]) == 0
    after = page.read_text(encoding="utf-8")
    assert after.split(speed.BEGIN.format("times"))[0] == before.split(speed.BEGIN.format("times"))[0]
    assert after.split(speed.END)[-1] == before.split(speed.END)[-1]
    for name in ("times", "goals"):
        old, new = page_rows(speed, before, name), page_rows(speed, after, name)
        assert [row[0] for row in new] == [row[0] for row in old]
        assert {a[0] for a, b in zip(old, new, strict=True) if a != b} == {"ToyCubes-v0", "LightDark-v0"}


def test_a_row_that_the_page_never_had_comes_where_it_belongs_and_one_of_no_case_goes(speed: ModuleType) -> None:
    head = "| environment | step |\n|---|--:|\n"
    old = head + "| GoalMaze-v0 | 1 |\n| Gone-v0 | 2 |\n| ToyCubes-v0 | 3 |"
    new = head + "| LightDark-v0 | 4 |\n| GoalMaze-v0 | 5 |"
    assert speed.merged(old, new) == head + "| GoalMaze-v0 | 5 |\n| LightDark-v0 | 4 |\n| ToyCubes-v0 | 3 |"


def test_a_page_without_the_markers_is_named(speed: ModuleType) -> None:
    with pytest.raises(
        SystemExit, match=r"performance\.md lacks <!-- times: python benchmarks/env_speed\.py --write -->"
    ):
        speed.with_tables("nothing", [])


def test_the_short_form_is_not_written(speed: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        speed.main(["--quick", "--write"])
    assert "--quick measures too little for the page" in capsys.readouterr().err


def test_every_environment_has_the_goal_for_snapshots(speed: ModuleType) -> None:
    goals = {case.name: speed.goals_of(case).get("snapshot") for case in speed.cases()}
    assert set(goals.values()) == {100.0}
    assert {"Ant-v5", "Humanoid-v5", "TerrainWalker-v0", "MaskedLunarLander-v0"} <= set(goals)
