"""The random learner acts uniformly, repeats itself from its seed, learns nothing, and runs like any other."""

import csv
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

import rlteach
from rlteach.errors import ConfigError, InvalidValue
from rlteach.experiment.config import parse
from rlteach.experiment.run import Interrupted, resume, run
from rlteach.learners import make_learner
from rlteach.learners.random import RandomLearner, sample_actions
from rlteach.testing.learners import CHECKS, check_learner

TIGER = "rlteach/TigerRoom-v0"
SPACES: list[spaces.Space[Any]] = [
    spaces.Box(np.array([-1, 0], np.float32), np.array([2, 0.5], np.float32)),
    spaces.Box(-3, 3, (2, 2), np.int64),
    spaces.Discrete(4, start=-1),
    spaces.MultiDiscrete([3, 5]),
    spaces.MultiBinary(3),
]


def on(env_id: str, seed: int | None = 0) -> RandomLearner:
    learner = make_learner("random", rlteach.make_vec_env(env_id, 2, seed=0), policy="", kwargs={}, seed=seed)
    assert isinstance(learner, RandomLearner)
    return learner


# -- actions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_actions_lie_in_the_space_and_reach_all_of_it(space: spaces.Space[Any]) -> None:
    drawn = sample_actions(space, 4000, np.random.default_rng(0))
    assert drawn.shape == (4000, *(space.shape or ())) and drawn.dtype == space.dtype
    for action in drawn[:200]:
        assert space.contains(action if space.shape else space.dtype.type(action))  # type: ignore[union-attr]
    if isinstance(space, spaces.Box) and space.dtype == np.float32:
        middle, width = (space.high + space.low) / 2, space.high - space.low
        assert np.abs(drawn.mean(axis=0) - middle).max() < 0.05
        assert drawn.std(axis=0) == pytest.approx(width / 12**0.5, rel=0.05)
    else:
        counts = [np.unique(column, return_counts=True)[1] for column in drawn.reshape(4000, -1).T]
        assert all(column.min() > 0.8 * column.mean() for column in counts)
        assert [len(column) for column in counts] == {1: [4], 2: [3, 5], 3: [2] * 3, 4: [7] * 4}[len(counts)]


@pytest.mark.parametrize("space", [spaces.Box(-np.inf, np.inf, (2,)), spaces.Dict({"a": spaces.Discrete(2)})])
def test_a_space_without_bounds_or_with_parts_is_refused_when_the_learner_is_built(space: spaces.Space[Any]) -> None:
    class Odd(gym.Env[Any, Any]):
        observation_space = spaces.Box(-1, 1, (1,))
        action_space = space

    with pytest.raises(InvalidValue, match="cannot be drawn uniformly"):
        RandomLearner("", DummyVecEnv([Odd]))


@pytest.mark.parametrize("deterministic", [True, False])
def test_an_action_is_drawn_for_every_row_of_flat_and_of_dict_observations(deterministic: bool) -> None:
    for env_id in ("rlteach/GoalMaze-v0", TIGER):
        learner = on(env_id)
        observation = rlteach.make_vec_env(env_id, 5, seed=0).reset()
        assert isinstance(observation, dict) == (env_id == TIGER)
        actions, state = learner.predict(observation, state="kept", deterministic=deterministic)
        assert actions.shape == (5, *(learner.action_space.shape or ())) and state == "kept"
        assert len(np.unique(actions, axis=0)) == 5, "the mode of this policy is as random as its samples"


def test_the_seed_decides_the_actions_and_0_is_a_seed() -> None:
    observation = np.zeros((9, 2))
    drawn = [on("rlteach/GoalMaze-v0", seed).predict(observation)[0].tolist() for seed in (0, 0, 1, None, None)]
    assert drawn[0] == drawn[1]
    assert len({str(actions) for actions in drawn}) == 4


# -- the API of a learner ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", ["rlteach/GoalMaze-v0", TIGER])
def test_it_passes_every_check_of_a_learner_but_that_of_determinism(env_id: str) -> None:
    findings = {finding.name: finding for finding in check_learner("random", env=env_id, steps=64)}
    assert set(findings) == {"build", *CHECKS}
    assert [name for name, finding in findings.items() if not finding.ok] == ["deterministic"], findings


def test_steps_are_counted_and_the_environments_are_left_alone() -> None:
    class Counting(BaseCallback):
        rollouts = 0

        def _on_rollout_start(self) -> None:
            self.rollouts += 1

        def _on_step(self) -> bool:
            return True

    learner, counting = on("rlteach/GoalMaze-v0"), Counting()
    learner.env.step_async = None  # type: ignore[assignment, method-assign]
    learner.learn(41, callback=counting)
    assert (learner.num_timesteps, counting.rollouts) == (42, 21)
    assert learner.budget() == {"steps_learner": 0}


def test_state_and_file_hold_where_the_generator_stands(tmp_path: Path) -> None:
    learner, other = on("rlteach/GoalMaze-v0", 3), on("rlteach/GoalMaze-v0", 4)
    observation = np.zeros((3, 2))
    learner.learn(10)
    learner.predict(observation)
    learner.save(tmp_path / "random.json")
    other.load_state_dict(json.loads(json.dumps(learner.state_dict())))
    loaded = RandomLearner.load(tmp_path / "random.json", learner.env)
    actions = [each.predict(observation)[0].tolist() for each in (learner, other, loaded)]
    assert actions[0] == actions[1] == actions[2]
    assert learner.num_timesteps == other.num_timesteps == loaded.num_timesteps == 10


def test_keyword_arguments_of_other_learners_are_refused() -> None:
    with pytest.raises(ConfigError, match="learning_rate"):
        make_learner("random", rlteach.make_vec_env(TIGER, 2), policy="", kwargs={"learning_rate": 1e-3}, seed=0)


# -- a run ---------------------------------------------------------------------------------------------------------


def config(**changes: Any) -> Any:
    settings: dict[str, Any] = {
        "env": {"id": TIGER, "n_envs": 4},
        "learner": {"name": "random"},
        "evaluation": {"every": 400},
        "steps": 1000,
        "observations": "student",
    }
    return parse(settings | changes)


def measured(directory: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key != "cpu_s"} for record in records]


def test_a_run_is_evaluated_as_any_other_and_costs_no_step(tmp_path: Path) -> None:
    run(config(), tmp_path / "run", quiet=True)
    records = measured(tmp_path / "run")
    assert [record["step"] for record in records] == [400, 800, 1000]
    assert {record["steps_learner"] for record in records} == {0}
    assert all(record["metrics"]["success/sides/det"] < 0.6 for record in records)
    assert len({record["metrics"]["return/sides/det"] for record in records}) == 3, "other episodes each time"
    assert (tmp_path / "run" / "random.json").is_file() and (tmp_path / "run" / "DONE").is_file()
    with (tmp_path / "run" / "lessons.csv").open() as file:
        assert list(csv.DictReader(file)) == []


def test_a_resumed_run_measures_the_same(tmp_path: Path) -> None:
    run(config(), tmp_path / "whole", quiet=True)
    calls = iter(range(1000))
    with pytest.raises(Interrupted):
        run(config(), tmp_path / "parts", quiet=True, stop=lambda: next(calls) > 150)
    resume(tmp_path / "parts", quiet=True)
    assert measured(tmp_path / "parts") == measured(tmp_path / "whole")
