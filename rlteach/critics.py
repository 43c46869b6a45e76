"""What a learner's critic expects of the learner's own policy, for policies in torch and in JAX."""

from __future__ import annotations

from typing import Any

import numpy as np

from rlteach.jax_states import in_jax


def has_critic(policy: Any) -> bool:
    """Tell whether `critic_values` knows this policy's critic."""
    if in_jax(policy):
        return hasattr(policy, "vf_state") or _has_plain_q(policy)
    return hasattr(policy, "predict_values") or getattr(policy, "critic", None) is not None


def critic_values(policy: Any, observations: Any) -> np.ndarray:
    """Return V(s) of PPO and A2C, (n,); the smallest Q(s, pi(s)) of all critics for SAC, TD3 and DDPG.

    Args:
        policy: A policy for which `has_critic`.
        observations: What it sees, (n, ...), or a Dict of such.
    """
    if in_jax(policy):
        return _values_in_jax(policy, observations)
    import torch

    with torch.no_grad():
        seen, _ = policy.obs_to_tensor(observations)
        if hasattr(policy, "predict_values"):
            values: np.ndarray = policy.predict_values(seen).cpu().numpy().ravel()
            return values
        estimates = policy.critic(seen, policy._predict(seen, deterministic=True))
        smallest: np.ndarray = torch.cat(estimates, dim=1).amin(dim=1).cpu().numpy()
        return smallest


def _has_plain_q(policy: Any) -> bool:
    """Tell whether a policy in JAX has an actor, and critics that know nothing of batches (CrossQ) and drop nothing."""
    return (
        all(hasattr(policy, name) for name in ("actor_state", "qf_state"))
        and not hasattr(policy.qf_state, "batch_stats")
        and not getattr(policy, "dropout_rate", None)
    )


def _values_in_jax(policy: Any, observations: Any) -> np.ndarray:
    # `apply` of the networks is compiled; the `apply_fn` of their states was bound before it was
    seen, _ = policy.prepare_obs(observations)
    if hasattr(policy, "vf_state"):
        return np.ravel(policy.vf.apply(policy.vf_state.params, seen))
    actions = policy._predict(seen, deterministic=True)
    estimates = np.asarray(policy.qf.apply(policy.qf_state.params, seen, actions))  # (critics, n, 1)
    smallest: np.ndarray = estimates[:, :, 0].min(axis=0)
    return smallest
