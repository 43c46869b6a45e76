"""A teacher's own roll-outs: what they return is what happened, and they change nothing that is learned."""

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import VecNormalize

import rlteach
from rlteach.errors import UserError
from rlteach.experiment import config
from rlteach.experiment.rollouts import Rollouts
from rlteach.experiment.run import Interrupted, resume, run
from rlteach.task_space import TaskSpace
from rlteach.teachers.uniform import Uniform

MAZE = "rlteach/GoalMaze-v0"
SMALL = {"layout": "corridor-6", "box_scale": 1, "horizon": 30}
ALL = frozenset({"values", "advantages", "td_errors", "initial_value"})


def venv(n=4):
    return rlteach.make_vec_env(MAZE, n, seed=0, env_kwargs=SMALL)


def rollouts(normalized=False, **kwargs):
    inner = rlteach.attach(venv(), rlteach.make_teacher("uniform", venv().get_attr("task_space")[0], seed=0))
    env = VecNormalize(inner, norm_obs=normalized, norm_reward=normalized)
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=32, seed=0, device="cpu", policy_kwargs={"net_arch": [8]})
    model.learn(64)
    return Rollouts(model, venv, seed=3, gamma=0.9, normalizer=env if normalized else None, **kwargs)


def goals(play, n):
    space = TaskSpace.of(play._make_venv().get_attr("task_space")[0])
    return space.sample(n, np.random.default_rng(0))


@pytest.mark.parametrize("normalized", [False, True])
def test_outcomes_come_in_the_order_of_tasks_and_repeats_with_true_signals(normalized):
    play = rollouts(normalized)
    near, far = np.array([1.5, 1.5]), np.array([8.5, 2.5])
    outcomes = play([near, far, near], repeats=3, signals=ALL)
    assert [o.success for o in outcomes] == [1, 1, 1, 0, 0, 0, 1, 1, 1]
    assert [o.length for o in outcomes[3:6]] == [30, 30, 30]
    assert play.steps >= sum(o.length for o in outcomes) and play.steps % 4 == 0
    scale = float(play.normalizer.ret_rms.var + play.normalizer.epsilon) ** 0.5 if normalized else 1.0
    for o in outcomes:
        values, errors, advantages = (o.signals[name] for name in ("values", "td_errors", "advantages"))
        assert len(values) == len(errors) == len(advantages) == o.length
        assert o.signals["initial_value"] == pytest.approx(values[0])
        if o.terminated:
            assert errors[-1] == pytest.approx(min(1.0 / scale, 10.0) - values[-1], abs=1e-4)
        lam = play.model.gae_lambda
        backwards = 0.0
        for t in reversed(range(o.length)):
            backwards = errors[t] + 0.9 * lam * backwards
            assert advantages[t] == pytest.approx(backwards, abs=1e-3)
        inner = errors[:-1] - (0.9 * values[1:] - values[:-1])
        assert inner == pytest.approx(0.0, abs=1e-4)  # nothing is earned on the way


def test_what_was_seen_and_done_is_told_where_asked_for():
    play = rollouts()
    (outcome,) = play([np.array([8.5, 2.5])], signals=frozenset({"observations", "actions"}))
    seen, done = outcome.signals["observations"], outcome.signals["actions"]
    assert seen.shape == (30, 4) and done.shape == (30, 2) and set(outcome.signals) == {"observations", "actions"}
    env = play._make_venv().batch_env
    moved = (seen[1:, :2] - seen[:-1, :2]) * env._scale
    wanted = 0.25 * np.clip(done[:-1], -1, 1)
    free = np.abs(moved) > 1e-6
    assert free.any() and np.allclose(moved[free], wanted[free], atol=1e-4)


def test_nothing_that_is_learned_changes():
    play = rollouts()
    weights = [p.clone() for p in play.model.policy.parameters()]
    before = torch.get_rng_state()
    first = play(goals(play, 5))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(weights, play.model.policy.parameters(), strict=True))
    assert play([]) == [] and len(first) == 5


def test_calls_differ_and_repeat_from_their_state():
    play, again = rollouts(), rollouts()
    tasks = goals(play, 6)
    values = frozenset({"values"})
    first, second = ([o.signals["values"].tolist() for o in play(tasks, signals=values)] for _ in range(2))
    assert first != second
    again.load_state_dict({"steps": 0, "calls": 1})
    assert [o.signals["values"].tolist() for o in again(tasks, signals=values)] == second


def test_a_learner_without_critic_of_states_is_refused():
    env = rlteach.make_vec_env("Pendulum-v1", 1)
    play = Rollouts(SAC("MlpPolicy", env, buffer_size=10), lambda: env, seed=0, gamma=0.9)
    with pytest.raises(UserError, match="on-policy"):
        play([None], signals=frozenset({"values"}))


class Curious(Uniform):
    """Tries each task out once before it proposes it."""

    wants_rollouts = True
    state_names = ("seen",)

    def __init__(self, task_space, *, seed=0, return_range=None):
        super().__init__(task_space, seed=seed, return_range=return_range)
        self.seen = []

    def _draw(self, n):
        points, origins = super()._draw(n)
        if self.rollouts is not None:
            tasks = self.task_space.tasks_of_unit(points)
            self.seen = [*self.seen, *(o.length for o in self.rollouts(tasks))]
        return points, origins


def test_a_run_gives_roll_outs_charges_them_and_resumes_bit_exactly(tmp_path):
    wanted = config.parse(
        {
            "env": {"id": MAZE, "n_envs": 4, "kwargs": SMALL},
            "teacher": {"name": f"{__name__}.Curious"},
            "learner": {"name": "ppo", "kwargs": {"n_steps": 32, "batch_size": 32, "policy_kwargs": {"net_arch": [8]}}},
            "evaluation": {"every": 256, "test_sets": ["feasible"]},
            "steps": 1024,
        }
    )
    run(wanted, tmp_path / "whole", quiet=True)
    asked = iter([False] * 4 + [True])
    with pytest.raises(Interrupted):
        run(wanted, tmp_path / "parts", quiet=True, stop=lambda: next(asked, False))
    resume(tmp_path / "parts", quiet=True)
    lessons, lines = (
        [(tmp_path / part / name).read_text() for part in ("whole", "parts")]
        for name in ("lessons.csv", "metrics.jsonl")
    )
    assert lessons[0] == lessons[1]
    spent = [text.splitlines()[-1].split('"steps_teacher": ')[1].split(",")[0] for text in lines]
    assert spent[0] == spent[1] and float(spent[0]) > 500
