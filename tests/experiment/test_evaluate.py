"""Judging a learner: every task once, in order, and nothing of it reaches the training."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

import rlteach
from rlteach.experiment.evaluate import (
    evaluate,
    global_randomness,
    metrics_of,
    own_randomness,
    restore_global_randomness,
)
from rlteach.lesson import Outcome
from rlteach.teachers.uniform import Uniform
from tests.echo_env import EchoEnv, expected

TASKS = [{"a": np.array(a), "k": np.int64(k)} for k in range(5) for a in (0.1, 0.45, 0.55, 0.9)]


class Still:
    """Acts with zeros, and keeps everything that it was asked."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []
        self.asked: list[tuple[bool, np.ndarray]] = []

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        self.seen.append(np.array(observation))
        self.asked.append((deterministic, np.array(episode_start)))
        return np.zeros((len(observation), 1), np.float32), state


class Watching(Uniform):
    observed = 0

    def observe(self, outcomes: Any) -> None:
        self.observed += len(outcomes)
        super().observe(outcomes)


def envs(n: int, **kwargs: Any) -> VecEnv:
    return rlteach.make_vec_env(EchoEnv, n, env_kwargs=kwargs)


@pytest.mark.parametrize("n_envs", [1, 3, 7, 32])
@pytest.mark.parametrize("repeats", [1, 2])
def test_every_task_is_played_so_many_times_and_told_in_order(n_envs: int, repeats: int) -> None:
    outcomes = evaluate(Still(), envs(n_envs), TASKS, deterministic=True, seed=0, repeats=repeats)
    assert [outcome.lesson_id for outcome in outcomes] == list(range(repeats * len(TASKS)))
    for outcome, task in zip(outcomes, TASKS * repeats, strict=True):
        ret, length, terminated = expected(task)
        assert (outcome.ret, outcome.length, outcome.terminated) == (pytest.approx(ret, rel=1e-6), length, terminated)
        assert outcome.success == float(task["a"] > 0.5)


def test_the_learner_is_told_how_to_act_and_where_episodes_begin() -> None:
    model = Still()
    evaluate(model, envs(2), TASKS[:4], deterministic=False, seed=0)
    assert {deterministic for deterministic, _ in model.asked} == {False}
    times = np.array([observation[:, 2] for observation in model.seen])
    starts = np.array([start for _, start in model.asked])
    assert (starts == (times == 0)).all() and starts.sum() >= 4


def test_a_recurrent_state_is_handed_on() -> None:
    class Counting(Still):
        def predict(self, observation: Any, state: Any = None, **kwargs: Any) -> tuple[np.ndarray, Any]:
            assert state == (len(self.seen) or None)
            super().predict(observation, state, **kwargs)
            return np.zeros((len(observation), 1), np.float32), len(self.seen)

    evaluate(Counting(), envs(2), TASKS[:4], deterministic=True, seed=0)


def ppo(venv: VecEnv) -> PPO:
    return PPO("MlpPolicy", venv, n_steps=32, batch_size=32, seed=0, device="cpu", policy_kwargs={"net_arch": [8]})


@pytest.mark.parametrize("deterministic", [True, False])
def test_evaluating_during_training_feeds_no_teacher_and_changes_nothing(deterministic: bool) -> None:
    weights, observed = [], []
    for evaluations in (0, 3):
        base = envs(2, noise=0.2)
        base.seed(1)
        teacher = Watching(base.get_attr("task_space")[0], seed=0)
        model = ppo(rlteach.attach(base, teacher))
        judge = envs(3, noise=0.2)
        for _ in range(3):
            model.learn(64, reset_num_timesteps=False)
            before = teacher.observed
            for _ in range(evaluations):
                evaluate(model, judge, TASKS, deterministic=deterministic, seed=5)
            assert teacher.observed == before
        weights.append(np.concatenate([p.detach().numpy().ravel() for p in model.policy.parameters()]))
        observed.append(teacher.observed)
    assert (weights[0] == weights[1]).all() and observed[0] == observed[1] > 0


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_result_depends_on_its_seed_and_not_on_the_randomness_of_training(deterministic: bool) -> None:
    model = ppo(envs(1))

    def returns(seed: int, disturbance: int, judge: VecEnv) -> list[float]:
        torch.manual_seed(disturbance)
        random.seed(disturbance)
        return [o.ret for o in evaluate(model, judge, TASKS, deterministic=deterministic, seed=seed)]

    used = envs(3, noise=0.3)
    first = returns(7, 0, envs(3, noise=0.3))
    assert returns(7, 1, envs(3, noise=0.3)) == first
    returns(8, 2, used)
    assert returns(7, 3, used) == first, "nor on what was played before"
    assert returns(8, 0, used) != first


def test_the_global_generators_are_as_before_afterwards() -> None:
    torch.manual_seed(3)
    random.seed(3)
    saved = global_randomness()
    following = (torch.rand(3).tolist(), random.random(), random.gauss(0, 1))
    restore_global_randomness(saved)
    evaluate(ppo(envs(1)), envs(2), TASKS[:3], deterministic=False, seed=0)
    torch.manual_seed(3)
    random.seed(3)
    with own_randomness(99):
        inside = torch.rand(3).tolist()
    with own_randomness(99):
        assert torch.rand(3).tolist() == inside
    assert (torch.rand(3).tolist(), random.random(), random.gauss(0, 1)) == following


def test_the_global_generators_are_put_back_even_when_judging_fails() -> None:
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="stop"), own_randomness(1):
        torch.rand(5)
        raise RuntimeError("stop")
    assert torch.equal(torch.get_rng_state(), before)


def test_observations_are_normalised_with_the_statistics_of_training_which_stay() -> None:
    base = envs(2)
    trained = VecNormalize(rlteach.attach(base, Uniform(base.get_attr("task_space")[0], seed=0)), norm_reward=False)
    trained.reset()
    for _ in range(50):
        trained.step(np.zeros((2, 1), np.float32))
    rms: Any = trained.obs_rms
    mean, var, count = rms.mean.copy(), rms.var.copy(), rms.count
    plain, normalised = Still(), Still()
    evaluate(plain, envs(2), TASKS, deterministic=True, seed=0)
    outcomes = evaluate(normalised, envs(2), TASKS, deterministic=True, seed=0, normalizer=trained)
    for raw, seen in zip(plain.seen, normalised.seen, strict=True):
        assert seen == pytest.approx(np.clip((raw - mean) / np.sqrt(var + trained.epsilon), -10, 10), abs=1e-5)
        assert not np.allclose(raw, seen)
    assert (rms.mean == mean).all() and (rms.var == var).all() and rms.count == count
    assert [o.ret for o in outcomes] == pytest.approx([expected(task)[0] for task in TASKS], rel=1e-6)


def test_success_and_discount_are_judged_as_asked(no_tasks: str) -> None:
    class Full(Still):
        def predict(self, observation: Any, **kwargs: Any) -> tuple[np.ndarray, Any]:
            return np.full((len(observation), 1), 0.5, np.float32), None

    venv = rlteach.make_vec_env(no_tasks, 2)
    for threshold, success in ((2.4, 1.0), (2.6, 0.0)):
        outcomes = evaluate(
            Full(), venv, [None] * 5, deterministic=True, seed=0, gamma=0.5, success_threshold=threshold
        )
        assert [o.success for o in outcomes] == [success] * 5
        assert [o.discounted_ret for o in outcomes] == pytest.approx([0.5 * (2 - 2**-4)] * 5)


# -- metrics -------------------------------------------------------------------------------------------------------


def outcomes_of(success: np.ndarray) -> list[Outcome]:
    return [Outcome(i, 2.0 * s, 0.0, 3 + i % 2, float(s), True) for i, s in enumerate(success.ravel())]


def test_means_are_named_after_the_set_and_the_policy() -> None:
    metrics = metrics_of(outcomes_of(np.array([[1.0, 0.0, 0.0, 1.0]])), 1, "grid/det")
    assert metrics == {"success/grid/det": 0.5, "return/grid/det": 1.0, "length/grid/det": 3.5}


@pytest.mark.parametrize(("repeats", "tasks"), [(2, 40), (3, 40), (5, 7), (4, 101)])
def test_the_worst_tasks_are_ranked_on_one_half_of_the_repeats_and_judged_on_the_other(
    repeats: int, tasks: int
) -> None:
    rng = np.random.default_rng(tasks)
    success = (rng.random((repeats, tasks)) < rng.random(tasks)).astype(float)
    metrics = metrics_of(outcomes_of(success), repeats, "x")
    for share in (5, 10, 20):
        half = repeats // 2
        ranked = sorted(range(tasks), key=lambda i: sum(success[r][i] for r in range(half)))
        worst = max(1, round(tasks * share / 100))
        judged = [sum(success[r][i] for r in range(half, repeats)) / (repeats - half) for i in range(tasks)]
        # Ties in the ranking leave open which tasks are worst: the value lies between the two extreme choices.
        last = sum(success[r][ranked[worst - 1]] for r in range(half))
        below = [judged[i] for i in range(tasks) if sum(success[r][i] for r in range(half)) < last]
        tied = sorted(judged[i] for i in range(tasks) if sum(success[r][i] for r in range(half)) == last)
        left = worst - len(below)
        low, high = (sum(below) + sum(tied[:left])) / worst, (sum(below) + sum(tied[len(tied) - left :])) / worst
        assert low - 1e-9 <= metrics[f"cvar{share}/x"] <= high + 1e-9


def test_the_worst_case_is_exact_where_the_ranking_has_no_ties() -> None:
    """Ten repeats of twenty tasks: task i succeeds in the first half i times out of 20, so its rank is i."""
    repeats, tasks = 40, 20
    success = np.zeros((repeats, tasks))
    for task in range(tasks):
        success[:task, task] = 1.0
        success[20:, task] = float(task % 3 == 0)
    metrics = metrics_of(outcomes_of(success), repeats, "x")
    assert metrics["cvar5/x"] == 1.0
    assert metrics["cvar10/x"] == pytest.approx(1 / 2)
    assert metrics["cvar20/x"] == pytest.approx(2 / 4)


def test_without_repeats_nothing_is_said_about_the_worst_case() -> None:
    assert not [name for name in metrics_of(outcomes_of(np.ones((1, 50))), 1, "x") if name.startswith("cvar")]
