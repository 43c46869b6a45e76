"""Lessons reach the episode they were issued for, and outcomes the lesson they belong to."""

import os
import signal
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecMonitor, VecNormalize

import rlteach
from rlteach import environments
from rlteach.delivery import BatchVecEnv, TeacherCallback, find_lesson_venv, td_error
from rlteach.errors import EnvironmentFault, InvalidValue, MissingCapability, UnknownName, UserError
from rlteach.lesson import Lesson, Outcome
from rlteach.teachers.uniform import Uniform


class Remembering(Uniform):
    """Uniform, keeping every lesson and outcome."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lessons: dict[int, Lesson] = {}
        self.outcomes: list[Outcome] = []
        self.forgotten: list[int] = []

    def propose(self, n: int) -> list[Lesson]:
        lessons = super().propose(n)
        self.lessons |= {lesson.id: lesson for lesson in lessons}
        return lessons

    def observe(self, outcomes: Any) -> None:
        self.outcomes += outcomes
        super().observe(outcomes)

    def forget(self, lesson_ids: Any) -> None:
        ids = list(lesson_ids)
        self.forgotten += ids
        super().forget(ids)


def echo_expected(echo: str, task: Any) -> tuple[float, int, bool]:
    module = environments._load_file(environments.Path(echo.rpartition(":")[0]).resolve())
    result: tuple[float, int, bool] = module.expected(task)
    return result


def teacher_for(venv: VecEnv, **kwargs: Any) -> Remembering:
    return Remembering(venv.get_attr("task_space", [0])[0], **kwargs)


def play(venv: VecEnv, episodes: int) -> None:
    venv.reset()
    seen = 0
    while seen < episodes:
        _, _, dones, _ = venv.step(np.zeros((venv.num_envs, 1), np.float32))
        seen += int(dones.sum())


@pytest.mark.parametrize("kind", ["dummy", "subproc"])
@pytest.mark.parametrize("monitored", ["no", "inside", "outside"])
def test_each_of_1000_episodes_plays_its_lesson_and_is_credited_to_it(echo: str, kind: str, monitored: str) -> None:
    if monitored == "no":
        base = rlteach.make_vec_env(echo, 8, seed=3, vec=kind)
    else:
        base = (SubprocVecEnv if kind == "subproc" else DummyVecEnv)([partial(monitored_echo, echo, monitored)] * 8)
    teacher = teacher_for(base, seed=1)
    venv = rlteach.attach(base, teacher, gamma=0.9)
    play(venv, 1000)
    venv.close()
    assert len(teacher.outcomes) >= 1000
    assert len({outcome.lesson_id for outcome in teacher.outcomes}) == len(teacher.outcomes)
    for outcome in teacher.outcomes:
        task = teacher.lessons[outcome.lesson_id].task
        ret, length, terminated = echo_expected(echo, task)
        assert outcome.ret == pytest.approx(ret, rel=1e-5)
        assert outcome.discounted_ret == pytest.approx(float(task["a"]) * sum(0.9**t for t in range(length)), rel=1e-5)
        assert (outcome.length, outcome.terminated) == (length, terminated)
        assert outcome.success == float(task["a"] > 0.5)


def monitored_echo(echo: str, where: str) -> gym.Env[Any, Any]:
    env = environments.build(echo)
    return rlteach.LessonEnv(Monitor(env)) if where == "inside" else Monitor(rlteach.LessonEnv(env))


def test_a_vec_env_without_lesson_env_inside_is_served_by_a_second_reset(echo: str, capsys: Any) -> None:
    base = DummyVecEnv([partial(environments.build, echo)] * 3)
    teacher = teacher_for(base)
    play(rlteach.attach(base, teacher), 50)
    assert "LessonEnv would save that" in capsys.readouterr().err
    for outcome in teacher.outcomes:
        assert outcome.ret == pytest.approx(echo_expected(echo, teacher.lessons[outcome.lesson_id].task)[0], rel=1e-5)


def test_the_first_observation_and_reset_info_are_those_of_the_lesson(echo: str) -> None:
    teacher = teacher_for(base := rlteach.make_vec_env(echo, 4, seed=0))
    venv = rlteach.attach(base, teacher)
    observation = venv.reset()
    for _ in range(60):
        playing = [lesson.task for lesson in venv._lessons]  # type: ignore[union-attr]
        assert np.allclose(observation[:, 0], [float(task["a"]) for task in playing])
        assert [info["a"] for info in venv.reset_infos] == [float(task["a"]) for task in playing]
        observation, _, dones, infos = venv.step(np.zeros((4, 1), np.float32))
        for index in np.flatnonzero(dones):
            assert infos[index]["terminal_observation"][0] == pytest.approx(float(playing[index]["a"]), rel=1e-6)
            assert infos[index]["TimeLimit.truncated"] == (float(playing[index]["a"]) > 0.5)


def weights_after_training(echo: str, algorithm: Any, kind: str, normalized: bool) -> list[np.ndarray]:
    torch.set_num_threads(1)
    base = rlteach.make_vec_env(echo, 3, seed=5, vec=kind, env_kwargs={"noise": 0.3})
    venv: VecEnv = rlteach.attach(base, teacher_for(base, seed=2))
    if normalized:
        venv = VecNormalize(venv)
    small = {"n_steps": 32, "batch_size": 32} if algorithm is PPO else {"learning_starts": 20, "batch_size": 16}
    model = algorithm("MlpPolicy", venv, seed=0, device="cpu", policy_kwargs={"net_arch": [8]}, **small)
    model.learn(200)
    venv.close()
    return [parameter.detach().numpy().copy() for parameter in model.policy.parameters()]


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("algorithm", [PPO, SAC])
def test_dummy_and_subproc_train_to_byte_identical_weights(echo: str, algorithm: Any, normalized: bool) -> None:
    one = weights_after_training(echo, algorithm, "dummy", normalized)
    other = weights_after_training(echo, algorithm, "subproc", normalized)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def test_an_unarmed_lesson_env_is_transparent(echo: str) -> None:
    plain, wrapped = environments.build(echo), rlteach.LessonEnv(environments.build(echo))
    task = {"a": np.array(0.25), "k": np.int64(2)}
    assert np.array_equal(
        plain.reset(seed=1, options={"task": task})[0], wrapped.reset(seed=1, options={"task": task})[0]
    )
    assert plain.step(np.zeros(1))[1:4] == wrapped.step(np.zeros(1))[1:4]


def test_evaluate_policy_on_the_taught_venv_feeds_no_teacher(echo: str) -> None:
    teacher = teacher_for(base := rlteach.make_vec_env(echo, 2, seed=0))
    model = PPO("MlpPolicy", rlteach.attach(base, teacher), n_steps=16, batch_size=16, device="cpu")
    model.learn(64)
    before = len(teacher.outcomes)
    env = model.get_env()
    assert env is not None and before > 0
    evaluate_policy(model, env, n_eval_episodes=20, warn=False)
    assert len(teacher.outcomes) == before
    model.learn(64, reset_num_timesteps=False)
    assert len(teacher.outcomes) > before


def test_the_evaluating_block_feeds_no_teacher(echo: str) -> None:
    teacher = teacher_for(base := rlteach.make_vec_env(echo, 2, seed=0))
    venv = rlteach.attach(base, teacher)
    with venv.evaluating():
        play(venv, 20)
    assert teacher.outcomes == []
    play(venv, 20)
    assert len(teacher.outcomes) >= 18


def test_reset_tells_the_teacher_to_forget_abandoned_lessons(echo: str) -> None:
    teacher = teacher_for(base := rlteach.make_vec_env(echo, 4, seed=0))
    venv = rlteach.attach(base, teacher)
    venv.reset()
    venv.reset()
    assert teacher.forgotten == [0, 1, 2, 3]


def test_success_falls_back_to_the_threshold_and_then_to_the_rank(no_tasks: str) -> None:
    from rlteach.teachers.no_tasks import NoTasks

    class Remember(NoTasks):
        def __init__(self) -> None:
            super().__init__()
            self.successes: list[float] = []

        def observe(self, outcomes: Any) -> None:
            self.successes += [outcome.success for outcome in outcomes]

    for threshold, expected in ((2.0, [0.0, 1.0, 1.0]), (None, [0.5, 1.0, 0.5])):
        teacher = Remember()
        venv = rlteach.attach(rlteach.make_vec_env(no_tasks, 1), teacher, success_threshold=threshold)
        venv.reset()
        for action in (0.2, 0.6, 0.4):  # returns 1, 3, 2
            for _ in range(5):
                venv.step(np.full((1, 1), action, np.float32))
        assert teacher.successes == expected


def test_shaping_changes_the_reward_but_not_the_return(echo: str) -> None:
    class Shaped(Remembering):
        def propose(self, n: int) -> list[Lesson]:
            lessons = super().propose(n)
            return [Lesson(l.id, task=l.task, shaping=lambda before, action, after, done: 100.0) for l in lessons]  # noqa: E741

    base = rlteach.make_vec_env(echo, 2, seed=0)
    teacher = Shaped(base.get_attr("task_space")[0])
    venv = rlteach.attach(base, teacher)
    venv.reset()
    for _ in range(20):
        _, rewards, _, _ = venv.step(np.zeros((2, 1), np.float32))
        assert (rewards >= 100).all()
    assert teacher.outcomes and max(outcome.ret for outcome in teacher.outcomes) <= 7


# -- signals -------------------------------------------------------------------------------------------------------


class Needy(Remembering):
    needs = frozenset({"values", "td_errors", "initial_value", "observations", "actions"})


def test_a_teacher_with_needs_gets_the_signals_of_whole_episodes_in_order(echo: str) -> None:
    base = rlteach.make_vec_env(echo, 2, seed=0)
    teacher = Needy(base.get_attr("task_space")[0], seed=0)
    model = PPO("MlpPolicy", rlteach.attach(base, teacher), n_steps=8, batch_size=16, device="cpu", learning_rate=0.0)
    model.learn(160, callback=TeacherCallback(teacher))
    assert len(teacher.outcomes) > 20
    for outcome in teacher.outcomes:
        task = teacher.lessons[outcome.lesson_id].task
        assert len(outcome.signals["values"]) == outcome.length == len(outcome.signals["td_errors"])
        states = np.array([[task["a"], task["k"], t] for t in range(outcome.length)], dtype=np.float32)
        with torch.no_grad():
            values = model.policy.predict_values(torch.from_numpy(states)).numpy()[:, 0]
        assert np.array_equal(outcome.signals["observations"], states)
        assert outcome.signals["actions"].shape == (outcome.length, 1)
        assert np.allclose(outcome.signals["values"], values, atol=1e-5)
        assert outcome.signals["initial_value"] == pytest.approx(values[0], abs=1e-5)
        inner = float(task["a"]) + model.gamma * values[1:] - values[:-1]
        assert np.allclose(outcome.signals["td_errors"][:-1], inner, atol=1e-4)


def test_a_teacher_with_needs_is_refused_without_its_callback(echo: str) -> None:
    base = rlteach.make_vec_env(echo, 1)
    teacher = Needy(base.get_attr("task_space")[0])
    model = PPO("MlpPolicy", rlteach.attach(base, teacher), n_steps=8, batch_size=8, device="cpu")
    with pytest.raises(UserError, match="TeacherCallback"):
        model.learn(8)


def test_signals_need_an_on_policy_learner(echo: str) -> None:
    base = rlteach.make_vec_env(echo, 1)
    teacher = Needy(base.get_attr("task_space")[0])
    model = SAC("MlpPolicy", rlteach.attach(base, teacher), device="cpu", buffer_size=100)
    with pytest.raises(UserError, match="on-policy"):
        model.learn(8, callback=TeacherCallback(teacher))


def test_td_error_on_a_hand_worked_example() -> None:
    rewards, values, after = np.array([[1.0], [2.0]]), np.array([[0.5], [1.0]]), np.array([[1.0], [4.0]])
    assert td_error(rewards, values, after, np.array([[0.0], [1.0]]), 0.5).tolist() == [[1.0], [1.0]]


# -- native batch environments -------------------------------------------------------------------------------------


def test_a_native_batch_environment_plays_the_lessons_issued(monkeypatch: pytest.MonkeyPatch) -> None:
    base = rlteach.make_vec_env("rlteach/ToyCubes-v0", 16, seed=0)
    assert isinstance(base, BatchVecEnv)
    teacher = teacher_for(base, seed=0)
    venv = rlteach.attach(base, teacher)
    observation = venv.reset()
    for _ in range(20):
        tasks = np.array([lesson.task for lesson in venv._lessons])  # type: ignore[union-attr]
        assert np.allclose(observation, tasks, atol=1e-6)
        actions = tasks[:, :1].astype(np.float32)
        observation, rewards, dones, infos = venv.step(actions)
        assert dones.all() and np.allclose(rewards, actions[:, 0])
        assert all(info["terminal_observation"].shape == (2,) for info in infos)
    for outcome in teacher.outcomes:
        assert outcome.ret == pytest.approx(float(teacher.lessons[outcome.lesson_id].task[0]), abs=1e-6)


@pytest.mark.parametrize("vec", ["batch", "dummy"])
def test_a_native_batch_and_single_environments_deliver_the_same_rollout(vec: str) -> None:
    base = rlteach.make_vec_env("rlteach/GoalMaze-v0", 4, seed=0, vec=vec, env_kwargs={"horizon": 20})
    venv = rlteach.attach(base, teacher_for(base, seed=3))
    rng = np.random.default_rng(0)
    trace = [venv.reset()]
    for _ in range(70):
        observation, rewards, dones, infos = venv.step(rng.uniform(-1, 1, (4, 2)).astype(np.float32))
        trace += [observation, rewards, dones, np.array([info.get("TimeLimit.truncated", False) for info in infos])]
    digest = hash(b"".join(np.ascontiguousarray(part).tobytes() for part in trace))
    known = _ROLLOUTS.setdefault("goal maze", digest)
    assert digest == known


_ROLLOUTS: dict[str, int] = {}


def test_an_unattached_batch_vec_env_resets_itself() -> None:
    venv = rlteach.make_vec_env("rlteach/GoalMaze-v0", 3, seed=0, env_kwargs={"horizon": 7})
    venv.reset()
    lengths = 0
    for step in range(1, 22):
        _, _, dones, infos = venv.step(np.zeros((3, 2), np.float32))
        if dones.any():
            assert step % 7 == 0 and all(info["TimeLimit.truncated"] for info in infos)
            lengths += 1
    assert lengths == 3


def test_gymnasiums_own_vector_envs_are_refused(echo: str) -> None:
    env = gym.vector.SyncVectorEnv([partial(environments.build, echo)] * 2)
    with pytest.raises(UserError, match="make_vec_env"):
        rlteach.attach(env, Uniform(env.envs[0].unwrapped.task_space))  # type: ignore[attr-defined]


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapper", [VecNormalize, VecMonitor])
def test_attach_goes_inside_vec_env_wrappers(echo: str, wrapper: Any) -> None:
    base = rlteach.make_vec_env(echo, 1)
    with pytest.raises(UserError, match=rf"{wrapper.__name__}\(rlteach.attach\(venv, teacher\)\)"):
        rlteach.attach(wrapper(base), teacher_for(base))


def test_a_second_teacher_is_refused(echo: str) -> None:
    base = rlteach.make_vec_env(echo, 1)
    venv = rlteach.attach(base, teacher_for(base))
    assert find_lesson_venv(VecNormalize(venv)) is venv
    with pytest.raises(UserError, match="has a teacher already"):
        rlteach.attach(venv, teacher_for(base))


@pytest.mark.parametrize("vec", ["dummy", "subproc"])
def test_an_env_without_tasks_is_refused_with_a_recipe(no_tasks: str, vec: str) -> None:
    venv = rlteach.make_vec_env(no_tasks, 1, vec=vec)
    with pytest.raises(MissingCapability, match="def reset"):
        rlteach.attach(venv, Uniform(gym.spaces.Box(0.0, 1.0, (1,))))
    venv.close()


def test_a_teacher_for_another_task_space_is_refused(echo: str) -> None:
    with pytest.raises(InvalidValue, match="task space"):
        rlteach.attach(rlteach.make_vec_env(echo, 1), Uniform(gym.spaces.Box(0.0, 1.0, (1,))))


def test_a_monitor_that_forbids_early_resets_is_refused_only_where_a_second_reset_is_needed(echo: str) -> None:
    base = DummyVecEnv([lambda: Monitor(environments.build(echo), allow_early_resets=False)])
    with pytest.raises(UserError, match=r"wrapper_class=rlteach.LessonEnv"):
        rlteach.attach(base, teacher_for(base))


@pytest.mark.parametrize("wrong", [{"gamma": 1.5}, {"gamma": float("nan")}])
def test_gamma_is_checked(echo: str, wrong: dict[str, float]) -> None:
    base = rlteach.make_vec_env(echo, 1)
    with pytest.raises(InvalidValue, match="gamma"):
        rlteach.attach(base, teacher_for(base), **wrong)


def test_a_plain_environment_is_refused_with_the_line_that_works(echo: str) -> None:
    env = environments.build(echo)
    with pytest.raises(UserError, match="DummyVecEnv"):
        rlteach.attach(env, Uniform(env.get_wrapper_attr("task_space")))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: rlteach.make_vec_env("rlteach/GoalMase-v0", 1), UnknownName, "GoalMaze-v0"),
        (lambda: rlteach.make_vec_env("no_such_module:x", 1), UserError, "no_such_module"),
        (lambda: rlteach.make_vec_env("nowhere.py:Env", 1), UserError, "there is no file"),
        (lambda: rlteach.make_vec_env("CartPole-v1", 0), InvalidValue, "n_envs"),
        (lambda: rlteach.make_vec_env("CartPole-v1", 1, vec="fast"), InvalidValue, "vec"),
        (lambda: rlteach.make_vec_env("CartPole-v1", 1, vec="batch"), UserError, "no native batch form"),
        (lambda: rlteach.make_vec_env("CartPole-v1", 1, env_kwargs={"wheels": 3}), UserError, "wheels"),
    ],
)
def test_wrong_environments_are_named(call: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call()


def test_a_wrong_class_in_a_file_gets_the_nearest_one(echo: str) -> None:
    with pytest.raises(UserError, match="Did you mean 'EchoEnv'"):
        environments.build(echo.replace("EchoEnv", "EkoEnv"))


# -- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vec", ["dummy", "subproc"])
def test_an_exception_in_an_environment_names_the_lesson(echo: str, vec: str) -> None:
    base = rlteach.make_vec_env(echo, 2, seed=0, vec=vec, env_kwargs={"crash_above": 0.8})
    venv = rlteach.attach(base, teacher_for(base))
    with pytest.raises(EnvironmentFault, match=r"RuntimeError: the motor is on fire in lesson \d+, task"):
        play(venv, 1000)
    venv.close()


def test_a_killed_worker_is_named(echo: str) -> None:
    base = rlteach.make_vec_env(echo, 2, seed=0, vec="subproc")
    venv = rlteach.attach(base, teacher_for(base))
    venv.reset()
    os.kill(base.processes[1].pid, signal.SIGKILL)  # type: ignore[attr-defined]
    with pytest.raises(EnvironmentFault, match=r"worker process of environment 1 \(exit code -9\)"):
        play(venv, 1000)
    base.processes[0].terminate()  # type: ignore[attr-defined]


def test_a_reward_that_is_not_a_number_names_the_lesson(echo: str) -> None:
    base = rlteach.make_vec_env(echo, 2, seed=0, env_kwargs={"nan_above": 0.8})
    venv = rlteach.attach(base, teacher_for(base))
    with pytest.raises(EnvironmentFault, match=r"not finite .* in lesson \d+: task"):
        play(venv, 1000)
