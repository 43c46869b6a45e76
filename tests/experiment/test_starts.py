"""Runs whose episodes start elsewhere: what they keep, what is charged, resume, and what is refused beforehand."""

import csv
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rlteach.errors import ConfigError, EnvironmentFault, InvalidValue, MissingCapability, RunDirectoryError, UserError
from rlteach.experiment import config
from rlteach.experiment.bench import Arm, Benchmark, Profile, cells_of
from rlteach.experiment.config import RunConfig, StartsConfig
from rlteach.experiment.run import Interrupted, resume, run
from rlteach.experiment.starts import place_faults
from rlteach.files import write_json
from rlteach.snapshots.collect import collect
from rlteach.snapshots.store import SnapshotStore
from rlteach.teachers.uniform_starts import UniformStarts

TINY_PPO = {"n_steps": 32, "batch_size": 32, "n_epochs": 2, "policy_kwargs": {"net_arch": [8]}}
FAR = {"name": "listed", "kwargs": {"tasks": [[7.5, 5.5]]}}


def maze(name: str, *, policy: str = "environment", every: int = 4, vec: str = "auto", **kwargs: Any) -> RunConfig:
    data = {
        "env": {
            "id": "rlteach/GoalMaze-v0",
            "n_envs": 4,
            "vec": vec,
            "kwargs": {"horizon": 90, "layout": "serpentine", "box_scale": 1},
        },
        "teacher": FAR,
        "learner": {"name": "ppo", "kwargs": TINY_PPO},
        "evaluation": {"every": 512, "test_sets": ["far"]},
        "steps": 1536,
        "starts": {"name": name, "policy": policy, "episodes": 2, "every": every, "kwargs": kwargs},
    }
    return config.parse(data)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def lessons(path: Path) -> list[dict[str, str]]:
    with (path / "lessons.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("vec", ["batch", "dummy"])
def test_a_run_keeps_its_snapshots_and_charges_for_them(tmp_path: Path, vec: str) -> None:
    run(maze("uniform_starts", share=0.8, vec=vec), tmp_path / "run", quiet=True)
    store = SnapshotStore.load(tmp_path / "run" / "snapshots")
    assert len(store.episodes()) == 2 and all(record.success == 1.0 for record in store.records)
    last = lines(tmp_path / "run")[-1]
    assert last["steps_collection"] == sum(store.records[e[0]].remaining for e in store.episodes().values())
    assert (last["steps_expert"], last["steps_roll_in"], last["steps_teacher"]) == (0, 0, 0)
    origins = {row["origin"] for row in lessons(tmp_path / "run")}
    assert any("uniform_starts" in origin for origin in origins)
    assert last["metrics"]["length/far/det"] == 90  # judged from the ordinary reset, where it has learned nothing yet
    assert any(int(row["length"]) < 85 for row in lessons(tmp_path / "run"))


@pytest.mark.parametrize("name", ["backward", "go_explore", "jump_start", "starts_as_tasks"])
def test_a_run_with_starts_resumes_bit_exactly(tmp_path: Path, name: str) -> None:
    wanted = maze(name)
    run(wanted, tmp_path / "whole", quiet=True)
    asked = iter([False, False, False, False, False, False, True])
    with pytest.raises(Interrupted):
        run(wanted, tmp_path / "parts", quiet=True, stop=lambda: next(asked, False))
    resume(tmp_path / "parts", quiet=True)
    assert json.loads((tmp_path / "parts" / "meta.json").read_text())["resumed"][0]["exact"]
    assert lessons(tmp_path / "whole") == lessons(tmp_path / "parts")
    spent = [{k: v for k, v in line.items() if k != "cpu_s"} for line in lines(tmp_path / "whole")]
    assert spent == [{k: v for k, v in line.items() if k != "cpu_s"} for line in lines(tmp_path / "parts")]


def test_guided_steps_are_charged(tmp_path: Path) -> None:
    run(maze("jump_start", horizon=40), tmp_path / "run", quiet=True)
    assert lines(tmp_path / "run")[-1]["steps_roll_in"] > 100


def test_walks_are_charged_to_the_teacher(tmp_path: Path) -> None:
    run(maze("go_explore", policy="random", first_walks=3, walk=20), tmp_path / "run", quiet=True)
    assert lines(tmp_path / "run")[-1]["steps_teacher"] >= 60


def pendulum(**changes: Any) -> RunConfig:
    data = {
        "env": {"id": "Pendulum-v1", "n_envs": 2},
        "learner": {"name": "ppo", "kwargs": TINY_PPO},
        "normalize": {"observations": True, "rewards": True},
        "evaluation": {"every": 500},
        "steps": 512,
    }
    return config.parse(config.merge(data, changes))


def test_an_experts_states_and_values_serve_s3rl_on_an_environment_nobody_changed(tmp_path: Path) -> None:
    run(pendulum(), tmp_path / "expert", quiet=True)
    starts = {"name": "s3rl", "policy": "expert", "episodes": 2, "kwargs": {"until": 400, "truncate": 50}}
    run(pendulum(starts=starts, steps=1024), tmp_path / "student", quiet=True)
    last = lines(tmp_path / "student")[-1]
    assert (last["steps_expert"], last["steps_collection"]) == (512, 400)
    played = lessons(tmp_path / "student")
    assert {int(row["length"]) for row in played[:6]} <= {*range(1, 51)}
    assert int(played[-1]["length"]) == 200
    store = SnapshotStore.load(tmp_path / "student" / "snapshots")
    assert np.isfinite([record.value for record in store.records]).all()


class Forgetful(gym.Env[Any, Any]):
    """Offers snapshots that leave the velocity out."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.v, self.t = float(self.np_random.normal()), 0.0, 0
        return self.seen(), {}

    def seen(self):
        return np.array([self.x], dtype=np.float32)

    def step(self, action):
        self.v += 0.1 * float(action[0])
        self.x += self.v
        self.t += 1
        return self.seen(), -abs(self.x), False, self.t >= 40, {}

    def get_snapshot(self):
        return {"x": self.x, "t": self.t, "generator": self.np_random.bit_generator.state}

    def set_snapshot(self, snapshot):
        self.x, self.t = snapshot["x"], snapshot["t"]
        return self.seen(), {}


def test_an_environment_that_does_not_come_back_exactly_is_refused_before_training(tmp_path: Path) -> None:
    here = f"{Path(__file__)}:Forgetful"
    with pytest.raises(EnvironmentFault):
        run(pendulum(env={"id": here, "n_envs": 2}, starts={"name": "uniform_starts"}), tmp_path / "run", quiet=True)
    assert not lessons(tmp_path / "run") if (tmp_path / "run" / "lessons.csv").exists() else True
    assert not (tmp_path / "run" / "snapshots").exists()


class Private(Forgetful):
    """Offers whole snapshots, which no other instance understands."""

    def get_snapshot(self):
        self.kept = [*getattr(self, "kept", []), (super().get_snapshot(), self.v)]
        return {"number": len(self.kept) - 1}

    def set_snapshot(self, snapshot):
        state, self.v = self.kept[snapshot["number"]]
        self.np_random.bit_generator.state = state["generator"]
        return super().set_snapshot(state)


def test_snapshots_that_only_one_instance_understands_are_refused_before_training(tmp_path: Path) -> None:
    here = f"{Path(__file__)}:Private"
    with pytest.raises(EnvironmentFault, match="in another instance"):
        run(pendulum(env={"id": here, "n_envs": 2}, starts={"name": "uniform_starts"}), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "snapshots").exists()


def test_a_store_of_another_environment_is_refused(tmp_path: Path) -> None:
    env = gym.make("rlteach_envs:rlteach/GoalMaze-v0", layout="corridor-12")
    store = SnapshotStore()
    collect(env, None, store, episodes=1)
    store.save(tmp_path / "store")
    wanted = maze("uniform_starts").model_dump(mode="json")
    wanted["starts"] |= {"store": str(tmp_path / "store"), "policy": "random"}
    with pytest.raises((UserError, InvalidValue), match=r"corridor-12|fingerprint"):
        run(config.parse(wanted), tmp_path / "run", quiet=True)


def test_a_damaged_store_is_refused(tmp_path: Path) -> None:
    env = gym.make("rlteach_envs:rlteach/GoalMaze-v0", layout="serpentine", box_scale=1, horizon=90)
    store = SnapshotStore()
    collect(env, None, store, episodes=1)
    store.save(tmp_path / "store")
    largest = max((tmp_path / "store").iterdir(), key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-3])
    wanted = maze("uniform_starts").model_dump(mode="json")
    wanted["starts"] |= {"store": str(tmp_path / "store"), "policy": "random"}
    with pytest.raises(RunDirectoryError, match=largest.name):
        run(config.parse(wanted), tmp_path / "run", quiet=True)


def test_names_and_hyperparameters_are_checked_at_once() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'backward'"):
        maze("backwards")
    with pytest.raises(ConfigError, match="Did you mean 'threshold'"):
        maze("backward", treshold=0.3)
    with pytest.raises(ConfigError, match="Did you mean 'policy'"):
        config.parse({**maze("backward").model_dump(mode="json"), "starts": {"name": "backward", "polcy": "random"}})


def with_starts(**starts: Any) -> RunConfig:
    return config.parse({**pendulum().model_dump(mode="json"), "starts": starts})


@pytest.mark.parametrize(
    ("starts", "sentences"),
    [
        ({"name": "uniform_starts", "kwargs": {"share": 2, "until": -1}}, ["share = 2 must lie in", "until = -1"]),
        ({"name": "backward", "kwargs": {"treshold": 0.3, "window": 0}}, ["Did you mean 'threshold'", "window = 0"]),
        ({"name": "backward", "kwargs": {"episode": 12}}, ["no demonstration 12"]),
        ({"name": "starts_as_tasks", "kwargs": {"teacher": "nope"}}, ["no teacher is called 'nope'"]),
        ({"name": "starts_as_tasks", "kwargs": {"teacher": "paired"}}, ["needs a second student"]),
        ({"name": "starts_as_tasks", "kwargs": {"bogus": 3}}, ["no hyperparameter 'bogus'"]),
        ({"name": "s3rl"}, ["no record has one; collect with a policy that has a critic"]),
        ({"name": "s3rl", "policy": "environment", "kwargs": {"clusters": 0}}, ["clusters = 0"]),
        ({"name": "jump_start", "kwargs": {"stages": 0}}, ["'random' cannot guide", "stages = 0"]),
        ({"name": "jump_start", "policy": "environment", "store": "x"}, ["starts from no snapshots"]),
        ({"name": "backward", "policy": "runs/expert", "store": "x"}, ["leave out the other"]),
        ({"name": "go_explore", "store": "x", "kwargs": {"walk": 0}}, ["walk = 0", "every = 5"]),
        ({"name": "rlteach.lesson.Lesson"}, ["starts.name: 'rlteach.lesson.Lesson' is no start"]),
        ({"name": "tests.experiment.test_starts.Wanting"}, ["Wanting needs 'pace', which has no default"]),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_built(starts: dict[str, Any], sentences: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        with_starts(**starts)
    assert len(caught.value.faults) == len(sentences)
    for fault, sentence in zip(caught.value.faults, sentences, strict=True):
        assert sentence in fault and fault.startswith("starts.")


class Wanting(UniformStarts):
    def __init__(self, store: SnapshotStore, *, pace: float, seed: int = 0) -> None:
        super().__init__(store, seed=seed)


@pytest.mark.parametrize(
    "starts",
    [
        {"name": "s3rl", "kwargs": {"classify": False}},
        {"name": "s3rl", "policy": "an-expert-that-has-not-run-yet"},
        {"name": "s3rl", "store": "somewhere"},
        {"name": "backward", "store": "somewhere", "kwargs": {"episode": 12}},
        {"name": "reverse_curriculum", "kwargs": {"goals": [500]}},
        {"name": "starts_as_tasks", "kwargs": {"teacher": "plr", "score": "success_variance"}},
    ],
)
def test_what_only_the_store_or_the_expert_can_tell_is_left_open(starts: dict[str, Any]) -> None:
    assert with_starts(**starts).starts == StartsConfig(**starts)


def test_a_store_or_an_expert_that_is_not_there_leaves_no_directory(tmp_path: Path) -> None:
    for starts, sentence in (
        ({"name": "backward", "store": str(tmp_path / "none")}, "there is no snapshot store at"),
        ({"name": "backward", "policy": "expart"}, "Did you mean 'expert-s0'"),
    ):
        (tmp_path / "expert-s0").mkdir(exist_ok=True)
        write_json(tmp_path / "expert-s0" / "meta.json", {})
        with pytest.raises(ConfigError, match=sentence):
            run(with_starts(**starts), tmp_path / "run", quiet=True)
        assert not (tmp_path / "run").exists()


def test_places_are_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "done" / "snapshots").mkdir(parents=True)
    (tmp_path / "done" / "snapshots" / "snapshots.json").touch()
    write_json(tmp_path / "done" / "meta.json", {})
    (tmp_path / "model.zip").touch()

    def told(**starts: Any) -> str:
        return "\n".join(place_faults(StartsConfig(name="backward", **starts), tmp_path))

    assert f"its snapshots are in {tmp_path / 'done' / 'snapshots'}" in told(store=str(tmp_path / "done"))
    assert told(store=str(tmp_path / "done" / "snapshots")) == "" == told(policy="environment")
    assert "starts.trust: true" in told(policy=str(tmp_path / "model.zip"))
    assert told(policy=str(tmp_path / "model.zip"), trust=True) == ""
    assert "there is no file" in told(policy=str(tmp_path / "other.zip")) and "no file" in told(policy="other.onnx")
    assert f"holds no policy. It is not finished: rlteach resume {tmp_path / 'done'}" in told(policy="done")
    assert (
        "cannot import" in told(policy="nobody.knows:this") and told(policy="tests.experiment.test_starts:still") == ""
    )
    assert "It may be random" in told(policy="")


def test_who_cannot_guide_or_demonstrate_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot guide"):
        run(maze("jump_start", policy="random"), tmp_path / "a", quiet=True)
    with pytest.raises(MissingCapability, match="demonstrate"):
        run(pendulum(starts={"name": "backward", "policy": "environment"}), tmp_path / "b", quiet=True)


def test_an_arm_takes_its_expert_from_the_same_table() -> None:
    starts = {"starts": {"name": "uniform_starts", "policy": "", "kwargs": {}}}
    arms = [Arm("expert", teacher="uniform"), Arm("student", teacher="uniform", overrides=starts, expert="expert")]
    base = pendulum().model_dump(mode="json", exclude={"teacher", "seed", "steps", "starts"})
    benchmark = Benchmark("b", "b", base, arms, "return/test/det", {}, baseline="expert")
    expert, student = cells_of(benchmark, Profile(steps=512, seeds=1))
    assert student.config.starts is not None and student.config.starts.policy == expert.config.run_id()
    assert student.after == (expert.config.run_id(),) and student.expert == expert.config.run_id()
    assert "expert" not in student.config.learner.kwargs


def test_a_configuration_without_starts_keeps_its_hash() -> None:
    assert pendulum().starts is None
    assert pendulum().digest() == config.parse({**pendulum().model_dump(mode="json"), "starts": None}).digest()
    assert pendulum(starts={"name": "backward"}).run_id().startswith("uniform-backward-s0-")


def test_a_task_teacher_over_starts_plays_tasks_of_its_own_and_pays_for_them(tmp_path: Path) -> None:
    settings = {"teacher": "sfl", "candidates": 24, "keep": 4, "repeats": 6, "refresh_every": 10, "ordinary": 0.0}
    wanted = maze("starts_as_tasks", **settings)
    run(wanted, tmp_path / "whole", quiet=True)
    assert lines(tmp_path / "whole")[-1]["steps_teacher"] > 500
    origins = {row["origin"] for row in lessons(tmp_path / "whole")}
    assert any(origin.endswith("starts_as_tasks/sfl") for origin in origins), origins
    asked = iter([False] * 6 + [True])
    with pytest.raises(Interrupted):
        run(wanted, tmp_path / "parts", quiet=True, stop=lambda: next(asked, False))
    resume(tmp_path / "parts", quiet=True)
    assert lessons(tmp_path / "whole") == lessons(tmp_path / "parts")


@pytest.mark.parametrize("name", ["success_guided", "plr"])
def test_other_task_teachers_choose_among_starts(tmp_path: Path, name: str) -> None:
    kwargs = {"score": "success_variance"} if name == "plr" else {}
    run(maze("starts_as_tasks", teacher=name, **kwargs), tmp_path / "run", quiet=True)
    assert any(f"starts_as_tasks/{name}" in row["origin"] for row in lessons(tmp_path / "run"))


def test_a_run_that_could_not_write_its_snapshots_collects_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise RunDirectoryError("cannot write snapshots: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("rlteach.snapshots.store.write_atomically", full)
        with pytest.raises(RunDirectoryError, match="No space left"):
            run(maze("uniform_starts"), tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "snapshots").is_dir()
    run(maze("uniform_starts"), tmp_path / "run", quiet=True)
    assert len(SnapshotStore.load(tmp_path / "run" / "snapshots")) > 0


def test_a_collection_that_is_stopped_ends_between_episodes_and_comes_out_the_same_later(tmp_path: Path) -> None:
    wanted = maze("uniform_starts")
    asked = iter([False, True])
    with pytest.raises(Interrupted, match=f"stopped after 1 of 2 episodes.*rlteach resume {tmp_path / 'parts'}"):
        run(wanted, tmp_path / "parts", quiet=True, stop=lambda: next(asked, False))
    assert not (tmp_path / "parts" / "FAILED").exists() and not (tmp_path / "parts" / "snapshots").exists()
    resume(tmp_path / "parts", quiet=True)
    run(wanted, tmp_path / "whole", quiet=True)
    stores = [SnapshotStore.load(tmp_path / name / "snapshots") for name in ("parts", "whole")]
    assert stores[0].records == stores[1].records and stores[0].costs == stores[1].costs


def test_a_damaged_store_of_the_runs_own_is_told_with_the_way_out(tmp_path: Path) -> None:
    asked = iter([False] * 4 + [True])
    with pytest.raises(Interrupted):
        run(maze("uniform_starts"), tmp_path / "run", quiet=True, stop=lambda: next(asked, False))
    kept = tmp_path / "run" / "snapshots"
    (payloads,) = kept.glob("payloads-*.bin")
    payloads.write_bytes(payloads.read_bytes()[:-3])
    with pytest.raises(
        RunDirectoryError, match=rf"delete {kept}, then `rlteach resume {kept.parent}` collects the sam"
    ):
        resume(tmp_path / "run", quiet=True)
    for file in kept.iterdir():
        file.unlink()
    kept.rmdir()
    resume(tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "DONE").exists()


def test_whoever_shows_how_it_is_done_takes_no_lesson_from_the_learner(tmp_path: Path) -> None:
    alone, led = maze("uniform_starts").model_dump(mode="json"), maze("uniform_starts", share=0.5)
    for data in (alone, led := led.model_dump(mode="json")):
        data |= {"teacher": {"name": "uniform"}, "steps": 512}
    alone["starts"] = None
    for name, data in (("alone", alone), ("led", led)):
        run(config.parse(data), tmp_path / name, quiet=True)
    tasks = [
        {row["id"]: [row[key] for key in sorted(row) if key.startswith("task/")] for row in lessons(tmp_path / name)}
        for name in ("alone", "led")
    ]
    assert {"0", "1", "2"} <= tasks[0].keys() & tasks[1].keys()
    assert all(tasks[0][key] == tasks[1][key] for key in tasks[0].keys() & tasks[1].keys())


def test_trajectories_that_found_no_room_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(SnapshotStore):
        def __init__(self, capacity: int = 5) -> None:
            super().__init__(capacity)

    monkeypatch.setattr("rlteach.experiment.starts.SnapshotStore", Small)
    starts = {"name": "uniform_starts", "episodes": 2, "every": 50}
    with pytest.warns(UserWarning, match=r"4 of 8 snapshots were dropped, .* 1 of 2 episodes are left"):
        run(pendulum(starts=starts), tmp_path / "run", quiet=True)


def still(observations: np.ndarray) -> np.ndarray:
    return np.zeros((len(observations), 1), np.float32)


STILL = "tests.experiment.test_starts:still"


def test_who_goes_by_success_is_doubted_where_nobody_tells_any_and_unknown_costs_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlteach.experiment.run.DOUBTFUL_EPISODES", 2)
    starts = {"name": "jump_start", "policy": STILL, "kwargs": {"horizon": 10}}
    with pytest.warns(UserWarning) as caught:
        run(pendulum(starts=starts), tmp_path / "success", quiet=True)
    told = [str(one.message) for one in caught]
    assert len(told) == 2 and f"how many environment steps {STILL} was trained for" in told[0]
    assert "JumpStart decides by success, and nobody told any in the first" in told[1] and "score: return" in told[1]
    starts["kwargs"] = {"horizon": 10, "score": "return"}
    with pytest.warns(UserWarning) as caught:
        run(pendulum(starts=starts), tmp_path / "return", quiet=True)
    assert len(caught) == 1
