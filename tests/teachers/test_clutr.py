"""CLUTR: its autoencoder, and an adversary that chooses in what that has learned."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete
from scipy.stats import norm

from rlteach.errors import ConfigError, UserError
from rlteach.files import pack_state, unpack_state
from rlteach.task_space import TaskSpace
from rlteach.teachers.clutr import CLUTR, REACH, SPREAD, TaskVAE, divergence, log_likelihood
from rlteach.teachers.networks import array, tensor
from rlteach.teachers.paired import PAIRED
from tests.teachers.students import drawn, play, points_of
from tests.teachers.test_paired import QUICK, SQUARE, fails, paired, share_of

SMALL = {"latent": 3, "vae_iterations": 150, "vae_hidden": 32}


def clutr(space=SQUARE, score=lambda point: 1.0, **hyperparameters):
    return paired(space, score, cls=CLUTR, **{**SMALL, **hyperparameters})


def bound(vae, points, noise):
    with torch.no_grad():
        return float(vae.elbo(tensor(points), tensor(noise)))


def test_the_likelihood_is_that_of_a_normal_distribution():
    rng = np.random.default_rng(0)
    points, decoded = rng.random((20, 3)), rng.random((20, 3))
    expected = norm.logpdf(points, decoded, SPREAD).sum(axis=1)
    np.testing.assert_allclose(log_likelihood(torch.tensor(points), torch.tensor(decoded)), expected)


def test_the_divergence_is_that_of_normal_distributions():
    rng = np.random.default_rng(0)
    mean, log_variance = rng.normal(size=(4, 2)), rng.normal(size=(4, 2))
    found = divergence(torch.tensor(mean), torch.tensor(log_variance)).numpy()
    ours = torch.distributions.Normal(torch.tensor(mean), torch.tensor(np.exp(0.5 * log_variance)))
    unit = torch.distributions.Normal(torch.zeros(4, 2).double(), torch.ones(4, 2).double())
    np.testing.assert_allclose(found, torch.distributions.kl_divergence(ours, unit).sum(dim=1))
    draws = mean + np.exp(0.5 * log_variance) * rng.normal(size=(200_000, 4, 2))
    sampled = norm.logpdf(draws, mean, np.exp(0.5 * log_variance)) - norm.logpdf(draws)
    np.testing.assert_allclose(found, sampled.sum(axis=2).mean(axis=0), rtol=0.02)


def test_the_bound_is_put_together_as_in_the_paper():
    rng = np.random.default_rng(0)
    vae = TaskVAE(2, 3, 8, rng)
    points, noise = rng.random((10, 2)), rng.normal(size=(10, 3))
    mean, log_variance = (array(part) for part in vae.encode(tensor(points)))
    u = mean + np.exp(0.5 * log_variance) * noise
    decoded = array(vae.decode(tensor(4.0 * np.tanh(u))))
    likelihood = norm.logpdf(points, decoded, SPREAD).sum(axis=1)
    divergences = 0.5 * (mean**2 + np.exp(log_variance) - 1.0 - log_variance).sum(axis=1)
    assert bound(vae, points, noise) == pytest.approx((likelihood - divergences).mean(), rel=1e-4)
    assert decoded.min() > 0.0 and decoded.max() < 1.0


def test_it_is_trained_before_the_first_lesson_and_then_stays_as_it_is():
    teacher = clutr()
    rng = np.random.default_rng(1)
    points, noise = rng.random((200, 2)), rng.normal(size=(200, 3))
    bounds = [bound(teacher._tasks, points, noise)]
    assert teacher.portrait() == {}
    teacher.propose(1)
    bounds.append(bound(teacher._tasks, points, noise))
    assert bounds[1] > bounds[0] + 10.0
    play(teacher, fails, 100)
    assert bound(teacher._tasks, points, noise) == bounds[1]
    assert teacher.portrait()["points/place"].shape == (256, 2)


def test_every_task_can_be_reached_from_some_latent():
    teacher = clutr(vae_iterations=300)
    teacher.propose(1)
    decoded = teacher._points(np.random.default_rng(0).random((4000, 3)))
    cells, _, _ = np.histogram2d(*decoded.T, bins=8, range=[[0, 1]] * 2)
    assert cells.min() > 0
    np.testing.assert_allclose(decoded.mean(axis=0), 0.5, atol=0.06)


def test_the_adversary_chooses_a_latent_within_reach_in_one_step():
    teacher = clutr(latent=5, bins=7)
    lessons = teacher.propose(8)
    rows = teacher._proposals.state_dict()["rows"][:, :-2]
    noise, choices, log_chance, points = np.split(rows, [2, 7, 8], axis=1)
    assert (noise.shape, choices.shape, log_chance.shape, points.shape) == ((4, 2), (4, 5), (4, 1), (4, 2))
    np.testing.assert_allclose(log_chance, -5 * np.log(7), rtol=1e-5)  # uniform at first
    latents = REACH * (2.0 * choices - 1.0)
    assert np.abs(latents).max() <= REACH
    np.testing.assert_allclose(array(teacher._tasks.decode(tensor(latents))), points, atol=1e-6)
    np.testing.assert_allclose(points_of(teacher, lessons)[::2], points, atol=1e-6)


def test_tasks_of_any_kind_are_decoded_into_their_space():
    space = TaskSpace.of(Dict(kind=Discrete(4), x=Box(-3.0, 5.0, (2,), np.float32)))
    lessons = clutr(space, vae_iterations=200).propose(200)
    assert all(space.contains(lesson.task) for lesson in lessons)
    assert {int(lesson.task["kind"]) for lesson in lessons} == {0, 1, 2, 3}


def test_it_moves_to_the_tasks_that_only_the_second_student_masters():
    teacher = clutr(score=lambda point: float(point[0] > 0.5))
    assert share_of(teacher, fails, lambda point: point[0] > 0.5, 1200) > 0.9
    assert {lesson.origin for lesson in teacher.propose(3)} == {"clutr"}


def test_it_shares_the_game_with_paired():
    changed = {name for name, value in vars(CLUTR).items() if callable(value)}
    assert issubclass(CLUTR, PAIRED) and changed == {"__init__", "_bins", "_points", "_draw", "portrait"}
    with pytest.raises(UserError, match="CLUTR has no second student"):
        CLUTR(SQUARE, vae_iterations=1).propose(1)


@pytest.mark.parametrize("episodes", [0, 50])
def test_it_goes_on_bit_by_bit_also_from_before_the_training(episodes):
    one, other = clutr(vae_iterations=20), clutr(vae_iterations=20, seed=5)
    play(one, fails, episodes, batch=5)
    other.load_state_dict(unpack_state(*pack_state(one.state_dict())))
    later = [play(teacher, fails, 80, batch=4)[0].tolist() for teacher in (one, other)]
    assert later[0] == later[1]


def test_seed_zero_is_a_seed():
    teachers = [clutr(seed=seed, vae_iterations=5) for seed in (0, 0, 1)]
    first, again, other = (drawn(teacher, 20) for teacher in teachers)
    assert first == again != other


def test_hyperparameters_out_of_range_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        CLUTR(SQUARE, latent=0, vae_iterations=0, **QUICK)
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["latent", "vae_iterations"]
    with pytest.raises(ConfigError, match="batch = 0"):
        CLUTR(SQUARE, batch=0)
