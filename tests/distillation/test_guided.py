"""Rewards and advice: what the methods' weights are, and that the update sees the policy that acted."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import rlteach
from rlteach import registry
from rlteach.distillation.actions import Categorical, Gaussian
from rlteach.distillation.advisor import HOPELESS, imitation_weight, spread_of
from rlteach.distillation.experts import Expert
from rlteach.distillation.kdrl import annealed_weight
from rlteach.distillation.kickstarting import STD_FLOOR, divergence, falling_weight
from rlteach.distillation.losses import gae, kl
from rlteach.distillation.qdagger import deficit
from rlteach.errors import InvalidValue
from rlteach.learners import make_learner

WIND, TIGER = "rlteach/WindGain-v0", "rlteach/TigerRoom-v0"


def to_the_right_door(seen):
    """Go to the right one of two doors, from x, y, what was revealed, and the right side."""
    return np.stack([seen[:, 3], 0 * seen[:, 3]], axis=1)


def make(method, policy="mlp", n_envs=8, env=TIGER, **kwargs):
    cls = registry.load("method", method)
    venv = rlteach.make_vec_env(env, n_envs, seed=0)
    kwargs = {"n_steps": 70, "seed": 0, **kwargs}
    return cls(policy, venv, **({"expert": to_the_right_door, **kwargs} if cls.needs_expert else kwargs))


@pytest.mark.parametrize("policy", ["mlp", "stack", "gru", "lstm", "transformer"])
def test_the_update_sees_the_policy_that_acted(policy, monkeypatch):
    """Before the first step of the optimiser every ratio is 1, over episode ends and rollouts."""
    learner = make("asymmetric", policy, normalize_observations=False)
    ratios = []

    def watched(batch, log_ratio):
        ratios.append(log_ratio.detach().abs().max())
        return (batch.features * 0).sum() + log_ratio.sum() * 0

    monkeypatch.setattr(learner, "loss_of", watched)
    learner.learn(8 * 210)
    assert len(ratios) >= 3
    assert max(ratios) < 1e-4


def test_truncated_episodes_are_worth_what_their_last_state_is():
    learner = make("asymmetric", env=TIGER, gamma=0.5)
    experience = collected(learner, 61)
    cut = experience.ended & (experience.raw_rewards > -0.5) & (experience.raw_rewards < 0.5)
    assert cut.any()
    added = experience.rewards - experience.raw_rewards
    assert (added[~cut] == 0).all()
    assert (added[cut] != 0).any()


def collected(learner, steps):
    learner._last_obs = learner.env.reset()
    return learner.collect(steps, Silent())[0]


class Silent:
    """The one method of a callback that a rollout calls."""

    def on_step(self):
        return True


@given(st.floats(0, 5), st.floats(0, 1), st.floats(0, 1))
def test_a_falling_weight_is_linear_and_never_negative(weight, progress, until):
    expected = weight if until == 0 else max(0.0, weight * (until - progress) / until)
    assert falling_weight(weight, progress, until) == pytest.approx(expected, abs=1e-9)


def test_an_annealed_weight_goes_from_one_end_to_the_other():
    assert [annealed_weight(5e-3, 1e-3, p) for p in (-1, 0, 0.5, 1, 2)] == pytest.approx([5e-3, 5e-3, 3e-3, 1e-3, 1e-3])


@pytest.mark.parametrize(
    ("student", "expert", "untrained", "expected"),
    [
        (-0.3, 0.9, -0.3, 1.0),
        (0.9, 0.9, -0.3, 0.0),
        (0.3, 0.9, -0.3, 0.5),
        (2.0, 0.9, -0.3, 0),
        (-9, 0.9, -0.3, 1),
        (1, 0, 0, 0),
    ],
)
def test_the_deficit_counts_from_the_untrained_student(student, expert, untrained, expected):
    assert deficit(student, expert, untrained) == pytest.approx(expected)


def test_the_part_of_an_action_that_can_least_be_imitated_decides():
    doubt = torch.tensor([[0.0, 0.0], [0.1, 1.0], [1.0, 0.2], [-0.5, 0.0]])
    weight = imitation_weight(doubt, HOPELESS)
    assert weight.tolist() == pytest.approx([1.0, 1e-7, 1e-7, 1.0], rel=1e-4)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60))
def test_the_spread_of_choices_is_what_the_best_constant_answer_loses(labels):
    labels = np.array(labels)
    shares = np.array([(labels == k).mean() for k in range(4)])
    lost = -np.mean([np.log(shares[k]) for k in labels])
    assert spread_of(labels, 4) == pytest.approx([lost], abs=1e-9)


def test_the_spread_of_numbers_is_their_variance():
    labels = np.random.default_rng(0).normal(2.0, [0.5, 3.0], size=(50_000, 2))
    assert spread_of(labels, 0) == pytest.approx([0.25, 9.0], rel=0.03)


def gaussians(rows=20_000):
    said = Gaussian(torch.tensor([[0.3, -0.2]], requires_grad=True).expand(rows, 2), torch.tensor([0.4, 0.5]))
    advice = Gaussian(torch.tensor([[0.1, 0.1]]).expand(rows, 2), torch.tensor([0.6, 0.3]))
    return advice, said


def test_divergences_in_closed_form_are_those_of_the_losses():
    advice, said = gaussians(3)
    actions = said.sample()
    assert torch.equal(divergence("forward", advice, said, actions), kl(advice, said, std_floor=STD_FLOOR))
    assert torch.equal(divergence("reverse", advice, said, actions), kl(said, advice, std_floor=STD_FLOOR))


@pytest.mark.parametrize("name", ["k1", "k2"])
def test_estimates_pull_as_the_reverse_divergence_does(name):
    rows = 400_000
    mean = torch.tensor([0.3, -0.2], requires_grad=True)
    advice = Gaussian(torch.tensor([0.1, 0.1]).expand(rows, 2), torch.tensor([0.6, 0.3]))
    generator = torch.Generator().manual_seed(0)
    actions = Gaussian(mean.detach().expand(rows, 2), torch.tensor([0.4, 0.5])).sample(generator)
    said = Gaussian(mean.expand(rows, 2), torch.tensor([0.4, 0.5]))
    (pull,) = torch.autograd.grad(divergence(name, advice, said, actions).mean(), mean, retain_graph=True)
    exact = Gaussian(mean, torch.tensor([0.4, 0.5]))
    (wanted,) = torch.autograd.grad(kl(exact, Gaussian(advice.mean[0], advice.std)), mean)
    assert torch.allclose(pull, wanted, atol=0.03)


def test_divergences_of_choices():
    said, advice = Categorical(torch.tensor([[0.2, 0.8]])), Categorical(torch.tensor([[2.0, 0.0]]))
    for name in ("forward", "reverse", "k1", "k2", "k3"):
        assert divergence(name, advice, said, torch.tensor([1])).shape == (1,)


def test_kdrl_listens_only_where_things_go_badly():
    learner = make("kdrl")
    experience = collected(learner, 70)
    learner.prepare(experience)
    advantages, _ = gae(
        experience.rewards, experience.values, experience.last_values, experience.ended, gamma=0.99, lam=0.95
    )
    assert np.array_equal(experience.extra["listened"] > 0, advantages <= 0)
    assert 0 < experience.extra["listened"].mean() < 1


def test_qdagger_measures_both_ends_before_it_begins():
    learner = make("qdagger", n_envs=8)
    learner.learn(8 * 70)
    assert learner.measured
    assert np.mean(learner._first[True]) > 0.9 > 0 > np.mean(learner._first[False])
    assert learner.coefficient == learner.weight
    learner._recent.extend([np.mean(learner._first[True])] * 100)
    assert learner.coefficient == pytest.approx(0.0)


def test_qdagger_asks_once_about_each_step_and_moves_the_experts_memory_once():
    class Counting(Expert):
        """Counts the steps of its episode, and goes right where they are odd."""

        recurrent = True

        def __init__(self, view):
            self.view = view

        def label(self, observations, state=None, starts=None):
            state = np.zeros(len(observations)) if state is None else np.where(starts, 0.0, state)
            return np.stack([state % 2, 0 * state], axis=1).astype(np.float32), state + 1

    learner = make("qdagger", n_envs=8, n_steps=30)
    learner.teacher = Counting(learner.expert_view)
    learner.learn(8 * 30)
    assert not learner.measured
    assert learner.labels == 8 * 30
    assert np.asarray(learner._expert_state).max() == 30


def test_an_episode_that_the_expert_began_does_not_count_as_the_students():
    learner = make("qdagger", n_envs=8)
    learner.measured = True
    recent = []
    for _ in range(3):
        learner.prepare(collected(learner, 61))
        recent.append(len(learner._recent))
    learner._begun_by_expert = learner._expert_rows.copy()
    experience = collected(learner, 61)
    ends = experience.ended.sum(axis=0)
    before = len(learner._recent)
    learner.prepare(experience)
    late = ends[learner._expert_rows] - 1
    assert len(learner._recent) - before == ends[~learner._expert_rows].sum() + late.clip(min=0).sum()
    assert not learner._begun_by_expert[ends > 0].any()


def test_advice_that_has_no_weight_is_not_asked_for():
    learner = make("kickstarting", n_steps=50, until=0.5)
    learner.learn(8 * 50 * 10)
    assert learner.labels == 8 * 50 * 4  # the fifth rollout ends at half, where the weight is 0
    always = make("kickstarting", n_steps=50, until=0)
    always.learn(8 * 50 * 4)
    assert always.labels == 8 * 50 * 4


def test_tgrl_asks_about_what_the_listening_student_did_and_nothing_else():
    learner = make("tgrl", n_steps=50)
    learner.learn(8 * 50 * 3)
    assert learner.labels == 4 * 50 * 3


def test_advisor_learns_which_steps_can_be_imitated():
    learner = make("advisor", n_envs=32, n_steps=60)
    learner.learn(32 * 60 * 20)
    venv = rlteach.make_vec_env(TIGER, 2, seed=0)
    observation = venv.reset()
    revealed = observation["policy"].copy()
    revealed[:, 2] = observation["privileged"][:, 0]
    side = to_the_right_door(learner.expert_view(observation))[:, 0]
    with torch.no_grad():
        known, unknown = (
            learner.student.step(torch.from_numpy(seen), torch.zeros(2, 0))[0]
            for seen in (revealed, observation["policy"])
        )
        error = [(learner.imitator(features)[:, 0].numpy() - side) ** 2 for features in (known, unknown)]
        weight = [imitation_weight(learner.doubt(features), learner.alpha) for features in (known, unknown)]
    assert error[0].max() < error[1].min()
    assert weight[0].min() > 100 * weight[1].max()


def test_an_experts_doubt_is_its_own_where_it_tells():
    learner = make("kickstarting")
    experience = collected(learner, 5)
    learner.ask(experience)
    assert experience.advice.std.unique().tolist() == pytest.approx([0.1])
    assert experience.labels.shape == experience.actions.shape


def test_choices_can_be_distilled_too():
    venv = rlteach.make_vec_env("CartPole-v1", 8, seed=0)
    pole = rlteach.HideCoordinates

    def lean(seen):
        return (seen[:, 2] + 0.3 * seen[:, 3] > 0).astype(np.int64)

    venv.close()
    import gymnasium as gym
    from stable_baselines3.common.vec_env import DummyVecEnv

    for method in ("bc", "dagger", "kickstarting", "kdrl", "qdagger", "advisor"):
        envs = DummyVecEnv([lambda: pole(gym.make("CartPole-v1"), [1, 3])] * 8)
        envs.seed(0)
        learner = make_learner(
            method, envs, policy="stack", kwargs={"expert": lean, "n_steps": 50, "epochs": 2}, seed=0
        )
        learner.learn(1200)
        actions, _ = learner.predict(envs.reset(), deterministic=True)
        assert set(actions.tolist()) <= {0, 1}


@pytest.mark.parametrize("name", ["k1", "k2", "k3"])
def test_estimates_of_a_divergence_from_a_certain_expert_are_finite(name):
    mean = torch.zeros(5, 2, requires_grad=True)
    said, certain = Gaussian(mean, torch.full((2,), 0.5)), Gaussian(torch.ones(5, 2), torch.zeros(5, 2))
    pull = divergence(name, certain, said, torch.full((5, 2), 0.3)).mean()
    (slope,) = torch.autograd.grad(pull, mean)
    assert torch.isfinite(pull) and torch.isfinite(slope).all()


def test_qdagger_needs_a_second_environment_to_measure_in():
    with pytest.raises(InvalidValue, match="n_envs must be at least 2"):
        make("qdagger", n_envs=1)
