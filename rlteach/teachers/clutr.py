"""CLUTR: PAIRED whose adversary picks a point of a latent space of tasks, learned beforehand, in one step.

teacher = CLUTR(task_space, seed=0)
teacher.second_student = ...    # set by a run
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, require
from rlteach.teachers.level_buffer import as_levels
from rlteach.teachers.networks import Trained, array, mlp, tensor
from rlteach.teachers.paired import PAIRED

REACH = 4.0
"""Latent coordinates lie in [-4, 4]."""

BATCH = 64

SPREAD = 0.05
"""Standard deviation of a decoded parameter, in unit-cube lengths: differences below it are not worth a latent."""


def log_likelihood(points: Tensor, decoded: Tensor) -> Tensor:
    """Return log N(x; decoded, SPREAD^2) of points (n, d), summed over parameters (n,)."""
    d = points.shape[1]
    return -((points - decoded) ** 2).sum(dim=1) / (2.0 * SPREAD**2) - d * math.log(SPREAD * math.sqrt(2.0 * math.pi))


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(0, 1)) summed over coordinates (n,), from arguments (n, latent)."""
    return 0.5 * (mean**2 + torch.exp(log_variance) - 1.0 - log_variance).sum(dim=1)


class TaskVAE(nn.Module):
    """A variational autoencoder of points of the unit cube (Kingma and Welling, 2014).

    The latent is z = 4 tanh(u) of a normal u, drawn before the tanh: being one to one it leaves the divergence as it
    is, and it keeps the latent in [-4, 4].

    Args:
        dimension: Numbers of a point.
        latent: Numbers of a latent.
        hidden: Units of the two hidden layers of encoder and decoder.
        rng: Generator of the initial weights.
    """

    def __init__(self, dimension: int, latent: int, hidden: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.encoder = mlp([dimension, hidden, hidden, 2 * latent], rng)
        self.decoder = mlp([latent, hidden, hidden, dimension], rng)

    def encode(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and logarithm of the variance of u (n, latent) for points (n, d)."""
        mean, log_variance = self.encoder(2.0 * points - 1.0).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latents: Tensor) -> Tensor:
        """Return points (n, d) for latents z (n, latent)."""
        return torch.sigmoid(self.decoder(latents))

    def elbo(self, points: Tensor, noise: Tensor) -> Tensor:
        """Return the evidence lower bound, averaged over points (n, d), with normal noise (n, latent) for u."""
        mean, log_variance = self.encode(points)
        latents = REACH * torch.tanh(mean + torch.exp(0.5 * log_variance) * noise)
        return (log_likelihood(points, self.decode(latents)) - divergence(mean, log_variance)).mean()


class CLUTR(PAIRED):
    """CLUTR: PAIRED in a latent space of tasks that is learned beforehand (Azad et al., 2023).

    Source: "CLUTR: curriculum learning via unsupervised task representation learning", ICML 2023. Before the first
    lesson a variational autoencoder is trained on random tasks; from then on it stays as it is. The adversary chooses
    all coordinates of a latent in [-4, 4] at once, a bandit, and the task is what the decoder makes of them. All else
    is `PAIRED`, with its options.

    Needs and pays what `PAIRED` does, and no environment steps for the autoencoder: tasks are drawn, not played.

    Deviations: those of `PAIRED` (latent coordinates come in `bins`, as in the paper's variant for mazes; its
    continuous ones have no bins). Tasks are vectors of parameters, so there is no sequence to be sorted and no
    recurrent network: plain layers, a Gaussian likelihood in the unit cube (discrete parameters at the middle of their
    level), a fixed weight of the divergence, 8 latents in place of 64 and thousands of steps in place of a million.
    The paper's gain over PAIRED comes from tasks whose parts interact (walls of a maze, points of a track) and of which
    many encodings mean the same; in a plain box of parameters there is little of either to learn.

    It fails as `PAIRED` does, where tasks are told apart by less than 0.05 of a parameter's range or by levels whose
    order means nothing, for the decoder blurs both, and with fewer latents than parameters, which leaves tasks out (20
    parameters in 8 latents come back with an error of 0.22 of their range, 8 with 0.05).

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        latent: Coordinates of a latent.
        vae_iterations: Training steps of the autoencoder, each on 64 new random tasks.
        vae_hidden: Units of the two hidden layers of encoder and decoder.
        vae_learning_rate: Step size of Adam for it.
        reward: `"regret"`, `"flexible"` or `"minimax"`, see `PAIRED`.
        bins: Bins of a latent coordinate.
        batch: Tasks between two steps of adversary and second student.
        repeats: Plays of one task by each student.
        entropy: Weight of the entropy bonus, in ranges of return per nat.
        epochs: Passes over a batch.
        clip: Clipping range c of PPO.
        learning_rate: Step size of Adam for the adversary.
        hidden: Units of the two hidden layers of policy and critic.
        noise: Random numbers that the adversary sees for each task.
        seed: Seed of the draws and the networks.
        return_range: Smallest and largest return, if known.
    """

    origin: ClassVar[str] = "clutr"
    state_names: ClassVar[tuple[str, ...]] = (*PAIRED.state_names, "_vae", "_trained")

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        latent: int = 8,
        vae_iterations: int = 1000,
        vae_hidden: int = 64,
        vae_learning_rate: float = 3e-3,
        reward: str = "regret",
        bins: int = 10,
        batch: int = 32,
        repeats: int = 2,
        entropy: float = 0.01,
        epochs: int = 5,
        clip: float = 0.2,
        learning_rate: float = 1e-3,
        hidden: int = 64,
        noise: int = 8,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        require(
            self,
            latent=(latent, 1, 4096),
            vae_iterations=(vae_iterations, 1, None),
            vae_hidden=(vae_hidden, 1, 4096),
            vae_learning_rate=(vae_learning_rate, 0, 1),
        )
        self.latent, self.vae_iterations = latent, vae_iterations
        super().__init__(
            task_space,
            reward=reward,
            sequential=False,
            bins=bins,
            batch=batch,
            repeats=repeats,
            entropy=entropy,
            epochs=epochs,
            clip=clip,
            learning_rate=learning_rate,
            hidden=hidden,
            noise=noise,
            seed=seed,
            return_range=return_range,
        )
        self._tasks = TaskVAE(self.dimension, latent, vae_hidden, self.rng)
        self._vae = Trained(self._tasks, vae_learning_rate)
        self._trained = False

    def _bins(self, bins: int) -> list[int]:
        return [bins] * self.latent

    def _points(self, choices: Array) -> Array:
        with torch.no_grad():
            return array(self._tasks.decode(tensor(REACH * (2.0 * choices - 1.0))))

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        if not self._trained:
            for _ in range(self.vae_iterations):
                points = as_levels(self.task_space, self.rng.random((BATCH, self.dimension)))
                noise = self.rng.standard_normal((BATCH, self.latent))
                self._vae.descend(-self._tasks.elbo(tensor(points), tensor(noise)))
            self._trained = True
        return super()._draw(n)

    def portrait(self) -> dict[str, Array]:
        """Return tasks that the adversary proposes with always the same random numbers, once the decoder is trained."""
        return super().portrait() if self._trained else {}
