"""A second student: what it returns is what happened, it learns from that and nothing else does, and it is charged."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.vec_env import VecNormalize

import rlteach
from rlteach.cli import main
from rlteach.errors import UserError
from rlteach.experiment import config
from rlteach.experiment.evaluate import own_randomness
from rlteach.experiment.run import Interrupted, run
from rlteach.experiment.second_student import SecondStudent, Student, check_second_student
from rlteach.files import pack_state, unpack_state
from rlteach.teachers.fixed_tasks import FixedTasks
from rlteach.teachers.uniform import Uniform

MAZE = "rlteach/GoalMaze-v0"
SMALL = {"layout": "corridor-6", "box_scale": 1, "horizon": 30}
NEAR, FAR = np.array([1.5, 1.5]), np.array([8.5, 2.5])
ROLLOUT = 64


def build(teacher, *, normalized=False, cls=PPO, **kwargs):
    lessons = rlteach.attach(rlteach.make_vec_env(MAZE, 4, env_kwargs=SMALL), teacher, gamma=0.9)
    venv = VecNormalize(lessons, gamma=0.9) if normalized else lessons
    settings = {"n_steps": 16, "policy_kwargs": {"net_arch": [8]}, **({"batch_size": 32} if cls is PPO else {})}
    model = cls("MlpPolicy", venv, seed=7, device="cpu", **settings, **kwargs)
    return Student(model, venv, lessons, venv if normalized else None)


def second(steps=10_000, **kwargs):
    return SecondStudent(partial(build, **kwargs), seed=3, steps=steps)


def weights(student):
    return [p.detach().numpy().copy() for p in student._student.model.policy.parameters()]


def same(ones, others):
    return all(np.array_equal(a, b) for a, b in zip(ones, others, strict=True))


@pytest.mark.parametrize("cls", [PPO, A2C])
def test_outcomes_come_in_the_order_of_tasks_and_repeats_and_every_step_is_counted(cls):
    student = second(cls=cls)
    assert student([]) == [] and student.steps == 0
    outcomes = student([NEAR, FAR, NEAR], repeats=3)
    assert [o.success for o in outcomes] == [1, 1, 1, 0, 0, 0, 1, 1, 1]
    assert [o.length for o in outcomes[3:6]] == [30] * 3
    played, steps = sum(o.length for o in outcomes), student.steps
    assert played <= steps <= played + 3 * 30 + ROLLOUT and steps % ROLLOUT == 0  # whole rollouts, until the last is in
    student([NEAR])
    assert student.steps == steps + ROLLOUT  # one short episode costs a rollout


@pytest.mark.parametrize("normalized", [False, True])
def test_it_learns_exactly_what_its_class_learns_from_these_episodes(normalized):
    student = second(normalized=normalized)
    student([NEAR, FAR])
    student([FAR, NEAR], repeats=2)
    with own_randomness(3):
        alone = build(FixedTasks([None]), normalized=normalized)
    for call, (tasks, rollouts) in enumerate((([NEAR, FAR], 2), ([FAR, FAR, NEAR, NEAR], 2)), 1):
        with own_randomness(3 + call):
            alone.lesson_venv.teacher = FixedTasks(tasks)
            alone.lesson_venv.seed(3 + call)
            alone.model.learn(rollouts * ROLLOUT)  # from new episodes
    assert student.steps == 4 * ROLLOUT
    assert same(weights(student), [p.detach().numpy() for p in alone.model.policy.parameters()])
    if normalized:
        assert student._student.normalizer.obs_rms.mean.tolist() == alone.normalizer.obs_rms.mean.tolist()


def test_the_learner_and_the_global_generators_are_left_alone():
    def learn(student):
        venv = rlteach.make_vec_env(MAZE, 4, env_kwargs=SMALL)
        teacher = Asking(venv.get_attr("task_space")[0], seed=0)
        teacher.second_student = student
        taught = rlteach.attach(venv, teacher)
        model = PPO("MlpPolicy", taught, n_steps=16, batch_size=32, n_epochs=3, seed=0, device="cpu")
        model.learn(192)
        return [p.detach().numpy() for p in model.policy.parameters()], torch.get_rng_state()

    student = second()
    (ours, generator), (alone, other) = learn(student), learn(lambda tasks: [])
    assert student.calls > 1 and same(ours, alone) and torch.equal(generator, other)


@pytest.mark.parametrize("normalized", [False, True])
def test_it_goes_on_bit_by_bit_from_its_state(normalized):
    student = second(normalized=normalized)
    state = unpack_state(*pack_state(student.state_dict()))
    fresh = second(normalized=normalized)
    fresh.load_state_dict(state)
    for one in (student, fresh):
        one([FAR, NEAR], repeats=2)
    resumed = second(normalized=normalized)
    resumed.load_state_dict(unpack_state(*pack_state(student.state_dict())))
    assert resumed.steps == student.steps > 0
    for one in (student, resumed):
        one([NEAR, FAR])
    states = [pack_state(without_clock(one.state_dict())) for one in (student, resumed)]
    assert states[0] == states[1] and same(weights(student), weights(resumed))
    before = weights(fresh)
    fresh([NEAR, FAR])
    assert same(weights(student), weights(fresh)) and not same(before, weights(fresh))


def without_clock(state):
    state["student"]["learner"]["episodes"] = []  # they say how many seconds they took
    return state


def test_schedules_end_with_the_steps_of_the_run_and_stay_there():
    student = second(steps=4 * ROLLOUT, learning_rate=lambda left: 1e-3 * left)
    rates = []
    for _ in range(6):
        student([NEAR])
        rates.append(student._student.model.policy.optimizer.param_groups[0]["lr"])
    assert student.steps == 6 * ROLLOUT
    np.testing.assert_allclose(rates, [0.75e-3, 0.5e-3, 0.25e-3, 0.0, 0.0, 0.0], atol=1e-12)


# -- in a run ----------------------------------------------------------------------------------------------------------


class Asking(Uniform):
    """Lets the second student play what it proposes."""

    wants_second_student = True

    def _draw(self, n):
        points, origins = super()._draw(n)
        if self.second_student is not None:
            self.second_student(self.task_space.tasks_of_unit(points))
        return points, origins


def settings(teacher, learner="ppo", **more):
    kwargs = {"policy_kwargs": {"net_arch": [16]}}
    if learner == "ppo":
        kwargs |= {"n_steps": 64, "batch_size": 64, "n_epochs": 3}
    return {
        "env": {"id": "rlteach/PointMassGate-v0", "n_envs": 4},
        "teacher": teacher,
        "learner": {"name": learner, "kwargs": kwargs},
        "evaluation": {"every": 1024, "test_sets": ["target"]},
        "steps": 2048,
        **more,
    }


def exit_code(*arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return caught.value.code


def lines_of(directory):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "cpu_s"} for line in lines]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("paired", {}),
        ("clutr", {"vae_iterations": 20, "reward": "flexible"}),
    ],
)
def test_a_run_gives_it_charges_it_and_resumes_bit_exactly(tmp_path, monkeypatch, name, more):
    monkeypatch.chdir(tmp_path)
    normalize = {"observations": name == "clutr"}
    data = settings({"name": name, "kwargs": {"batch": 3, "hidden": 8, **more}}, normalize=normalize)
    wanted = config.parse(data)
    (tmp_path / "config.yaml").write_text(wanted.to_yaml())
    assert exit_code("run", "config.yaml", "--out", "whole") == 0
    asked = iter([False] * 5 + [True])
    with pytest.raises(Interrupted):
        run(wanted, tmp_path / "parts", quiet=True, stop=lambda: next(asked, False))
    assert exit_code("resume", "parts") == 0
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert json.loads((parts / "meta.json").read_text())["resumed"] == [{"step": 5 * 256, "exact": True}]
    assert (whole / "lessons.csv").read_text() == (parts / "lessons.csv").read_text()
    assert (whole / "policy.safetensors").read_bytes() == (parts / "policy.safetensors").read_bytes()
    lines = lines_of(whole)
    assert lines == lines_of(parts)
    charged = [line["steps_teacher"] for line in lines]
    assert 0 < charged[0] < charged[-1] and all(steps % 256 == 0 for steps in charged)  # also before the interruption
    assert lines[-1]["steps_learner"] == 2048
    assert f",{name}," in (whole / "lessons.csv").read_text()


def test_a_run_of_minimax_has_no_second_student(tmp_path):
    wanted = settings({"name": "paired", "kwargs": {"reward": "minimax", "batch": 6}}, steps=1024)
    run(config.parse(wanted), tmp_path / "run", quiet=True)
    assert lines_of(tmp_path / "run")[-1]["steps_teacher"] == 0


def test_a_learner_that_is_not_on_policy_is_refused_before_anything_is_trained(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sentence = (
        "PAIRED trains a second student beside the learner, which has to be on-policy for that (PPO, A2C), not SAC"
    )
    wanted = config.parse(settings({"name": "paired"}, learner="sac"))
    (tmp_path / "config.yaml").write_text(wanted.to_yaml())
    assert exit_code("run", "config.yaml", "--out", "run") == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run" / "lessons.csv").exists()
    with pytest.raises(UserError, match="not RandomLearner"):
        check_second_student("Any", "random")
