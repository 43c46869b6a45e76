"""The challenge suite: its spaces are as hard as they say, its arms are all there, and every one of them runs."""

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from rlteach import registry
from rlteach.experiment.bench import Benchmark, Profile, cells_of
from rlteach.experiment.run import run
from rlteach.task_space import TaskSpace

SCRIPT = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "challenges.py"))
BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in SCRIPT["BENCHMARKS"]}
NO_RIVALS = {"replay", "listed", "omni", "paired", "clutr"} - set(SCRIPT["SECOND_LEARNERS"])
SYNTHETIC = [name for name, benchmark in BENCHMARKS.items() if benchmark.base["learner"]["name"] == "synthetic"]
PPO = [name for name in BENCHMARKS if name.startswith(("challenge_maze", "challenge_gate"))]


def made(name: str) -> Any:
    env = BENCHMARKS[name].base["env"]
    return gymnasium.make(f"rlteach_envs:{env['id']}", disable_env_checker=True, **env["kwargs"]).unwrapped


def drawn(name: str) -> np.ndarray:
    env = made(name)
    space = TaskSpace.of(env.task_space, env)
    return np.random.default_rng(0).uniform(space.low, space.high, (5000, space.dimension))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_profile_makes_cells_without_a_fault(name: str) -> None:
    for profile in BENCHMARKS[name].profiles.values():
        found = cells_of(BENCHMARKS[name], replace(profile, seeds=1))
        labels = {cell.arm for cell in found}
        assert labels == set(profile.arms or (arm.label for arm in BENCHMARKS[name].arms))
        assert len({cell.config.digest() for cell in found}) == len(found), "no two arms are the same run"


def test_every_registered_teacher_of_tasks_has_a_row_or_is_left_out_by_name() -> None:
    every = set(registry.entries("teacher"))
    for name in PPO:
        rows = {arm.teacher or arm.label for arm in BENCHMARKS[name].arms if not arm.yoked_to}
        assert every - rows == NO_RIVALS & every
    for name in SYNTHETIC:
        rows = {arm.teacher or arm.label for arm in BENCHMARKS[name].arms if not arm.yoked_to}
        assert every - rows - {"paired", "clutr"} == (NO_RIVALS | {"traced"}) - {"paired", "clutr"}


def test_seeds_steps_and_learners_are_those_of_the_plan() -> None:
    assert len(SYNTHETIC) == 10 and len(PPO) == 10
    for name in SYNTHETIC:
        assert (BENCHMARKS[name].profiles["small"].seeds, BENCHMARKS[name].profiles["small"].steps) == (30, 20_000)
    for name in PPO:
        assert (BENCHMARKS[name].profiles["small"].seeds, BENCHMARKS[name].profiles["long"].seeds) == (5, 10)
    stumps = BENCHMARKS["challenge_stumps"]
    long = stumps.profiles["long"]
    assert long.steps >= 5_000_000 and long.seeds >= 3 and not long.arms
    assert {arm.label for arm in stumps.arms} == {
        *("uniform", "alp_gmm", "covar_gmm", "success_guided", "plr", "currot", "frontier")
    }
    learners = {
        (BENCHMARKS[name].base["learner"]["kwargs"]["learning_rate"], str(BENCHMARKS[name].base["learner"]["kwargs"]))
        for name in ("challenge_maze_9", *(name for name in PPO if "learner" in name))
    }
    assert len(learners) == 4 and len({rate for rate, _ in learners}) == 2
    forgetting = [name for name, benchmark in BENCHMARKS.items() if benchmark.base["learner"].get("resets")]
    assert forgetting == ["challenge_forgetting", "challenge_maze_forgetting", "challenge_gate_forgetting"]


def test_the_spaces_are_as_infeasible_and_as_trivial_as_they_say() -> None:
    infeasible, trivial = made("challenge_infeasible"), made("challenge_trivial")
    assert np.mean(infeasible.skill_graph.skill_of(drawn("challenge_infeasible")) < 0) == pytest.approx(0.8, abs=0.02)
    assert trivial.skill_graph.is_trivial(drawn("challenge_trivial")).mean() == pytest.approx(0.8, abs=0.02)
    for percent in (36, 9, 4):
        env, tasks = made(f"challenge_maze_{percent}"), drawn(f"challenge_maze_{percent}")
        assert 100 * np.mean([env._maze.feasibility(task) for task in tasks]) == pytest.approx(percent, abs=1.5)
    rugged = made("challenge_maze_rugged")._maze
    feasible = [rugged.feasibility(task) for task in drawn("challenge_maze_rugged")]
    assert 100 * np.mean(feasible) == pytest.approx(9, abs=1.5)


@pytest.mark.parametrize("name", [*SYNTHETIC, *PPO])
def test_what_is_known_beforehand_is_where_the_learner_begins(name: str) -> None:
    arms = {arm.label: arm.kwargs for arm in BENCHMARKS[name].arms}
    env = made(name)
    space = TaskSpace.of(env.task_space, env)
    task = space.from_mapping(arms["adr (high)"]["start"])
    assert arms["currot (high)"]["initial"]["mean"] == pytest.approx(space.to_vector(task).tolist())
    box = [
        space.to_vector(space.from_mapping(arms["expanding_box (high)"][end])) for end in ("start_low", "start_high")
    ]
    assert (box[0] <= space.to_vector(task)).all() and (space.to_vector(task) <= box[1]).all()
    assert (box[1] - box[0] <= 0.2 * (space.high - space.low) + 1e-9).all()
    if name in SYNTHETIC:
        assert env.skill_graph.skill_of(np.asarray(task)[None]).tolist() == [0]
    elif "maze" in name:
        x, y = env._maze._goals_of(np.asarray(task)[None])[0]
        assert (int(x), int(y)) == env._maze.start
    else:
        assert (float(task["position"]), float(task["width"])) == (0.0, 8.0)


@pytest.mark.slow
def test_every_row_of_a_synthetic_challenge_runs(tmp_path: Path) -> None:
    chosen = BENCHMARKS["challenge_noise"]
    for cell in cells_of(chosen, Profile(steps=120, seeds=1, overrides={"evaluation.every": 120})):
        result = run(cell.config, tmp_path / cell.config.run_id(), quiet=True)
        assert set(result.metrics) >= {chosen.primary}, cell.arm
