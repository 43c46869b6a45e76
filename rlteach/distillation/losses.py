"""What distillation minimises: divergences in closed form, their estimators, imitation losses, and advantages.

    loss = kl(student.distribution(features), expert).mean()               # reverse KL: mode-seeking
    loss = action_mse(said.mean, labels, mask=mask)                        # labels in normalised units
    advantages, returns = gae(rewards, values, last_values, ended, gamma=0.99, lam=0.95)

The order of arguments is that of KL(p || q), the expectation being over p. With the student first, it is the reverse
KL: the student keeps to what the expert would do, at the price of variety. With the expert first, it is the forward
KL: the student covers everything that the expert might do, which is safer while it cannot tell situations apart.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from rlteach.distillation.actions import Categorical, Distribution, Gaussian
from rlteach.errors import InvalidValue

Array = TypeVar("Array", Tensor, NDArray[np.floating[Any]])


# -- divergences in closed form ------------------------------------------------------------------------------------


def gaussian_kl(mean_p: Tensor, std_p: Tensor, mean_q: Tensor, std_q: Tensor, *, std_floor: float = 0.0) -> Tensor:
    """Return KL(p || q) of diagonal Gaussians, summed over the last axis.

    Args:
        mean_p: (..., d).
        std_p: Broadcasts to it, positive.
        mean_q: (..., d).
        std_q: Broadcasts to it, positive.
        std_floor: Standard deviation of noise that both are thought to carry on top. The divergence from a nearly
            deterministic expert grows without bound; with a floor it does not, and unlike where a deviation is cut
            off, its gradient never vanishes.

    Returns:
        (...), in nats.
    """
    var_p, var_q = std_p.square() + std_floor**2, std_q.square() + std_floor**2
    ratio = var_p / var_q
    return 0.5 * ((mean_p - mean_q).square() / var_q + ratio - 1 - ratio.log()).sum(-1)


def squashed_gaussian_kl(
    mean_p: Tensor, std_p: Tensor, mean_q: Tensor, std_q: Tensor, *, std_floor: float = 0.0
) -> Tensor:
    """Return KL(p || q) of two tanh-squashed Gaussians (as SAC's), given by their parameters before the tanh.

    A divergence does not change under a bijection applied to both sides, so this is the closed form of what is
    squashed. Both must be squashed: there is no closed form between a squashed and a plain Gaussian.
    """
    return gaussian_kl(mean_p, std_p, mean_q, std_q, std_floor=std_floor)


def categorical_kl(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """Return KL(p || q) of categoricals with logits (..., actions).

    An action that p never takes (logit -inf) adds nothing; one that p takes and q never does makes it infinite.
    """
    log_p, log_q = F.log_softmax(logits_p, dim=-1), F.log_softmax(logits_q, dim=-1)
    p = log_p.exp()
    return (p * torch.where(p > 0, log_p - log_q, 0.0)).sum(-1)


def kl(p: Distribution, q: Distribution, *, std_floor: float = 0.0) -> Tensor:
    """Return KL(p || q) (...) of two Gaussians or two categoricals.

    Raises:
        InvalidValue: When one is a Gaussian and the other a categorical.
    """
    if isinstance(p, Gaussian) and isinstance(q, Gaussian):
        return gaussian_kl(p.mean, p.std, q.mean, q.std, std_floor=std_floor)
    if isinstance(p, Categorical) and isinstance(q, Categorical):
        return categorical_kl(p.logits, q.logits)
    raise InvalidValue(f"there is no divergence between a {type(p).__name__} and a {type(q).__name__}")


# -- estimators of the reverse KL, for when there is no closed form ------------------------------------------------
#
# All take d = log pi_T(a) - log pi_S(a) of actions drawn from the student, and are at every state an estimate of
# KL(S || T) (Schulman, "Approximating KL divergence", 2020). Their values agree on average; the gradients through
# them do not (Liu et al., arXiv 2510.01555). Where a closed form exists, nothing needs to be sampled.


def k1(log_ratio: Tensor) -> Tensor:
    """Return -d: unbiased, may be negative, high variance.

    In the reward (detached) it gives the gradient of the reverse KL. As a loss it gives none: E[grad log pi_S] = 0.
    """
    return -log_ratio


def k2(log_ratio: Tensor) -> Tensor:
    """Return d^2 / 2: biased as an estimate, never negative.

    As a loss, on actions of the student as it is now, its expected gradient is that of the reverse KL exactly.
    """
    return 0.5 * log_ratio.square()


def k3(log_ratio: Tensor) -> Tensor:
    """Return e^d - 1 - d: unbiased, never negative, low variance where d is small: the one to report.

    As a loss its expected gradient is that of the forward KL(T || S), not of what it estimates, and its variance is
    that of an importance weight.
    """
    return log_ratio.expm1() - log_ratio


# -- imitation -----------------------------------------------------------------------------------------------------


def weighted_mean(losses: Tensor, weights: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """Return the mean of losses (...) over what the mask keeps, each times its weight.

    Args:
        losses: (...), finite also where masked.
        weights: (...) or None for 1; not normalised, so that halving all of them halves the result.
        mask: (...), bool or 0 and 1; None keeps everything. Where nothing is kept, the result is 0.
    """
    if weights is not None:
        losses = losses * weights
    if mask is None:
        return losses.mean()
    mask = mask.to(losses.dtype)
    return (losses * mask).sum() / mask.sum().clamp(min=1.0)


def action_mse(actions: Tensor, labels: Tensor, *, weights: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """Return the mean squared error of actions (..., a) in normalised units, a mean over dimensions too."""
    return weighted_mean((actions - labels).square().mean(-1), weights, mask)


def action_huber(
    actions: Tensor, labels: Tensor, *, delta: float = 1.0, weights: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """Return the mean Huber loss of actions (..., a): squares / 2 up to `delta` (normalised units), linear beyond."""
    return weighted_mean(F.huber_loss(actions, labels, reduction="none", delta=delta).mean(-1), weights, mask)


def negative_log_likelihood(
    said: Distribution, labels: Tensor, *, weights: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """Return the mean negative log-likelihood of labels: actions (..., a) in normalised units, or indices (...).

    With deterministic labels and a trained deviation it has no minimum: the deviation shrinks for ever.
    """
    return weighted_mean(-said.log_prob(labels), weights, mask)


def soft_cross_entropy(
    logits: Tensor, probabilities: Tensor, *, weights: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """Return the mean cross-entropy of logits (..., actions) for an expert's probabilities (..., actions).

    Its gradient is that of the forward KL, from which it differs by the expert's entropy. An action that the student
    cannot take (logit -inf) and the expert never does adds nothing.
    """
    log_probs = torch.where(probabilities > 0, F.log_softmax(logits, dim=-1), 0.0)
    return weighted_mean(-(probabilities * log_probs).sum(-1), weights, mask)


# -- advantages ----------------------------------------------------------------------------------------------------


def gae(
    rewards: Array,
    values: Array,
    last_values: Array,
    ended: Array,
    *,
    gamma: float,
    lam: float,
    truncation_bootstraps: Array | None = None,
) -> tuple[Array, Array]:
    """Return advantages and returns by generalised advantage estimation (Schulman et al., 2016).

    Args:
        rewards: (t, n) floats.
        values: (t, n), of the observation that each step acted on.
        last_values: (n,), of the observation after the last step; not used in rows whose last step ended an episode.
        ended: (t, n) whether the step ended its episode, by termination or truncation.
        gamma: Discount.
        lam: 0 for one-step advantages, 1 for Monte Carlo.
        truncation_bootstraps: (t, n), the value of the final observation where a step was truncated, else 0; None
            counts truncations as terminations.

    Returns:
        Advantages (t, n), and returns (t, n) = advantages + values: what the values should have been.
    """
    advantages = rewards + 0.0  # a copy, of either kind
    going = 1.0 - ended * 1.0
    after, advantage = last_values, last_values * 0.0
    for t in range(len(rewards) - 1, -1, -1):
        following = going[t] * after
        if truncation_bootstraps is not None:
            following = following + (1.0 - going[t]) * truncation_bootstraps[t]
        delta = rewards[t] + gamma * following - values[t]
        advantage = delta + gamma * lam * going[t] * advantage
        advantages[t], after = advantage, values[t]
    return advantages, advantages + values
