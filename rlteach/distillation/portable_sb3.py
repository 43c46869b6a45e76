"""Policies of Stable-Baselines3 as networks: PPO, A2C, SAC, TD3, DDPG, DQN, and RecurrentPPO with one LSTM.

network = of_policy(load_policy(run))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from rlteach.distillation.portable import (
    Arrays,
    Floats,
    Network,
    action_arrays,
    cell_arrays,
    dense_arrays,
    linear_layers,
)
from rlteach.errors import UserError
from rlteach.jax_states import in_jax
from rlteach.learners.policy_files import SavedPolicy


def of_policy(saved: SavedPolicy) -> Network:
    """Return a Stable-Baselines3 policy as a network, together with its `VecNormalize` scale.

    Raises:
        UserError: For a policy that is more than dense layers and one LSTM.
    """
    policy: Any = saved.policy
    if in_jax(policy):
        raise UserError("a policy in JAX cannot be exported; distil it first: rlteach distill --expert RUN --method bc")
    body, arrays, modules, squashed = _policy_parts(policy)
    layers = linear_layers(modules)
    if squashed:
        layers[-1] = (layers[-1][0], "tanh")
    scale = saved.scale
    if scale is not None:
        arrays |= {"mean": np.asarray(scale.mean), "std": np.sqrt(scale.var + scale.epsilon)}
    space = policy.action_space
    if isinstance(space, spaces.Box):
        arrays |= _box_of_policy(space, policy.squash_output)
    elif not isinstance(space, spaces.Discrete) or space.start != 0:
        raise UserError(f"policies over {space} cannot be exported: Box, and Discrete from 0, can")
    return Network(
        kind=body.pop("kind"),
        observation_shape=tuple(policy.observation_space.shape),
        action_shape=tuple(space.shape or ()),
        discrete=isinstance(space, spaces.Discrete),
        clip=None if scale is None else scale.clip,
        layers=tuple(activation for _, activation in layers),
        arrays=arrays | dense_arrays("layers", layers),
        **body,
    )


@dataclass(frozen=True)
class PolicyReference:
    """A Stable-Baselines3 policy behind its observation normaliser, one step at a time."""

    saved: SavedPolicy

    def __call__(self, observations: Floats, state: Floats) -> tuple[NDArray[Any], Floats]:
        """See `Reference`."""
        policy, scale = self.saved.policy, self.saved.scale
        seen = observations if scale is None else scale(observations)
        shaped = seen.reshape(-1, *(policy.observation_space.shape or ()))
        memory = None
        if state.shape[1]:
            memory = tuple(half[None].copy() for half in np.split(state, 2, axis=1))
        actions, after = policy.predict(shaped, memory, np.zeros(len(seen), dtype=bool), deterministic=True)
        if after is None:
            return actions, state
        return actions, np.concatenate([part[0] for part in after], axis=1, dtype=np.float32)


def _policy_parts(policy: Any) -> tuple[dict[str, Any], Arrays, list[nn.Module], bool]:
    """Return description, arrays, modules from features to outputs, and whether outputs are squashed by tanh."""
    extractors = [part for part in policy.modules() if hasattr(part, "features_dim") and hasattr(part, "_features_dim")]
    if any(not isinstance(extractor, FlattenExtractor) for extractor in extractors):
        raise UserError(
            "the policy has a features extractor of its own, and only those that flatten can be exported: "
            "distil it into a student, e.g. learner {name: dagger, policy: cnn}"
        )
    empty: Arrays = {"initial_state": np.zeros(0, dtype=np.float32)}
    if isinstance(policy, ActorCriticPolicy):
        modules = [policy.mlp_extractor.policy_net, policy.action_net]
        if hasattr(policy, "lstm_actor"):
            cell: Any = policy.lstm_actor
            if cell.num_layers != 1:
                raise UserError(f"the policy has {cell.num_layers} layers of LSTM; policies with one can be exported")
            state = {"initial_state": np.zeros(2 * cell.hidden_size, dtype=np.float32)}
            return {"kind": "lstm"}, state | cell_arrays(cell), modules, policy.squash_output
        return {"kind": "mlp"}, empty, modules, policy.squash_output
    actor = getattr(policy, "actor", None)
    if actor is not None and hasattr(actor, "latent_pi"):
        return {"kind": "mlp"}, empty, [actor.latent_pi, actor.mu], True
    if actor is not None and isinstance(getattr(actor, "mu", None), nn.Sequential):
        return {"kind": "mlp"}, empty, [actor.mu], False  # its tanh is among its layers
    if hasattr(policy, "q_net") and isinstance(getattr(policy.q_net, "q_net", None), nn.Sequential):
        return {"kind": "mlp"}, empty, [policy.q_net.q_net], False
    raise UserError(f"a {type(policy).__name__} cannot be exported: distil it into a student")


def _box_of_policy(space: spaces.Box, squashed: bool) -> Arrays:
    low, high = (np.asarray(side, dtype=np.float64) for side in (space.low, space.high))
    if squashed:
        return action_arrays(low / 2 + high / 2, high / 2 - low / 2, low, high)
    return action_arrays(np.zeros_like(low), np.ones_like(low), low, high)
