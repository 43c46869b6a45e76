"""Stable-Baselines3's PPO with the arithmetic of its small networks done in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import CategoricalDistribution, DiagGaussianDistribution
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv

from rlteach.errors import InvalidValue
from rlteach.learners.dense import Categorical, Floats, Gaussian, Perceptron, Weights, adam_fault, layers_of


class FastPPO(PPO):
    """Stable-Baselines3's PPO for small networks on a CPU: the same algorithm, update by update, in numpy.

    Everything about it is `stable_baselines3.PPO`: arguments, callbacks, logs, files, random numbers. Only forward and
    backward passes and Adam are written out for perceptrons (see `dense`), so that one update equals torch's up to
    rounding, in a fraction of the time. It takes Box observations, Box or Discrete actions, and `MlpPolicy` with tanh,
    ReLU or ELU; for anything else use `ppo`.

    Raises:
        InvalidValue: For networks, spaces or options that it does not know.
    """

    def _setup_model(self) -> None:
        super()._setup_model()
        try:
            self._networks = Networks(self.policy)
        except InvalidValue as error:
            raise InvalidValue(f"fast_ppo: {error}. The learner 'ppo' takes this.") from error

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_networks"]

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Play, as Stable-Baselines3 does; the policy's own passes are the numpy ones meanwhile."""
        networks, policy = self._networks, self.policy
        networks.outdated = True
        policy.forward, policy.predict_values = networks.act, networks.values  # type: ignore[method-assign,assignment]
        try:
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        finally:
            del policy.forward, policy.predict_values

    def train(self) -> None:
        """Take the update steps of one rollout."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        progress = self._current_progress_remaining
        clip = float(self.clip_range(progress))  # type: ignore[operator]
        value_clip = None if self.clip_range_vf is None else float(self.clip_range_vf(progress))  # type: ignore[operator]
        networks = self._networks
        networks.weights.read()
        logs: list[tuple[float, float, float, float, float]] = []
        going = True
        for _ in range(self.n_epochs):
            first = len(logs)
            for batch in self.rollout_buffer.get(self.batch_size):
                advantages = batch.advantages.numpy()
                if self.normalize_advantage and len(advantages) > 1:
                    advantages = (advantages - advantages.mean()) / (advantages.std(ddof=1) + np.float32(1e-8))
                observations = np.asarray(batch.observations.numpy(), dtype=np.float32).reshape(len(advantages), -1)
                means = networks.actor.forward(observations)
                said = networks.head(means, batch.actions.numpy())
                log_ratio = said.log_prob - batch.old_log_prob.numpy()
                policy_loss, by_log_prob = clipped_surrogate(log_ratio, advantages, clip)
                values = networks.critic.forward(observations)[:, 0]
                value_loss, by_value = value_error(values, batch.returns.numpy(), batch.old_values.numpy(), value_clip)
                moved = float(np.mean(np.expm1(log_ratio) - log_ratio))
                beyond = float(np.mean(np.abs(np.expm1(log_ratio)) > clip))
                logs.append((policy_loss, value_loss, -float(said.entropy.mean()), moved, beyond))
                if self.target_kl is not None and moved > 1.5 * self.target_kl:
                    going = False
                    break
                networks.actor.backward(said.slope(by_log_prob, self.ent_coef))
                networks.critic.backward((self.vf_coef * by_value)[:, None])
                networks.weights.step(self.max_grad_norm)
            self._n_updates += 1
            if not going:
                break
        networks.weights.write()
        self._log(np.array(logs), first, clip, value_clip)

    def _log(self, logs: NDArray[np.float64], last_epoch: int, clip: float, value_clip: float | None) -> None:
        policy_loss, value_loss, entropy_loss, _, beyond = logs.mean(0).tolist()
        last = logs[-1]
        explained = explained_variance(self.rollout_buffer.values.flatten(), self.rollout_buffer.returns.flatten())
        written = {
            "entropy_loss": entropy_loss,
            "policy_gradient_loss": policy_loss,
            "value_loss": value_loss,
            "approx_kl": float(logs[last_epoch:, 3].mean()),
            "clip_fraction": beyond,
            "loss": float(last[0] + self.ent_coef * last[2] + self.vf_coef * last[1]),
            "explained_variance": explained,
            "clip_range": clip,
        }
        if isinstance(self.action_space, spaces.Box):
            written["std"] = float(self.policy.log_std.detach().exp().mean())
        if value_clip is not None:
            written["clip_range_vf"] = value_clip
        for name, value in written.items():
            self.logger.record(f"train/{name}", value)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")


def policy_faults(policy: Any) -> list[str]:
    """Return a sentence for everything about a policy that the numpy passes do not know."""
    faults = []
    if not isinstance(policy.observation_space, spaces.Box):
        faults.append(f"observations must be a Box, not {policy.observation_space}")
    elif not isinstance(policy.features_extractor, FlattenExtractor):
        faults.append(f"it knows no {type(policy.features_extractor).__name__}")
    if type(policy.action_dist) not in (DiagGaussianDistribution, CategoricalDistribution):
        faults.append(
            f"it knows no {type(policy.action_dist).__name__}: actions must be a Box, without gSDE, or Discrete"
        )
    if fault := adam_fault(policy.optimizer):
        faults.append(fault)
    return faults


class Networks:
    """The numpy side of a Stable-Baselines3 actor-critic policy.

    Args:
        policy: An `ActorCriticPolicy` of perceptrons.

    Attributes:
        weights: All parameters.
        actor: Observations to means or logits.
        critic: Observations to values.
        outdated: Whether `act` reads the weights before it acts: callbacks may change them when a rollout begins.

    Raises:
        InvalidValue: For a policy of another kind.
    """

    def __init__(self, policy: Any) -> None:
        if faults := policy_faults(policy):
            raise InvalidValue("; ".join(faults))
        self.weights = Weights(policy.optimizer)
        body = policy.mlp_extractor
        self.actor = Perceptron(self.weights, layers_of([*body.policy_net, policy.action_net]))
        self.critic = Perceptron(self.weights, layers_of([*body.value_net, policy.value_net]))
        self.outdated = True
        self._shape = policy.action_space.shape
        self._discrete = isinstance(policy.action_space, spaces.Discrete)
        self._log_std = None if self._discrete else self.weights.of(policy.log_std)

    def head(self, outputs: Floats, actions: Floats) -> Gaussian | Categorical:
        """Return the distribution of the actor's outputs (n, k), with what it says about actions (n, ...)."""
        if self._log_std is None:
            return Categorical(outputs, actions.reshape(-1).astype(np.int64))
        return Gaussian(outputs, actions.reshape(outputs.shape), *self._log_std)

    def act(self, observations: torch.Tensor, deterministic: bool = False) -> tuple[torch.Tensor, ...]:
        """Return actions, values and log probabilities, as the policy's `forward` does, by the same random numbers."""
        if self.outdated:
            self.weights.read()
            self.outdated = False
        rows = _rows(observations)
        outputs, values = self.actor.forward(rows), self.critic.forward(rows)
        says = torch.from_numpy(outputs)
        if self._log_std is None:
            drawn = says.argmax(1) if deterministic else torch.multinomial(says.softmax(-1), 1, True).squeeze(1)
        elif deterministic:
            drawn = says.clone()
        else:
            drawn = torch.normal(says, torch.from_numpy(np.exp(self._log_std[0])).expand_as(says))
        log_prob = self.head(outputs, drawn.numpy()).log_prob
        return drawn.reshape(-1, *self._shape), torch.from_numpy(values.copy()), torch.from_numpy(log_prob)

    def values(self, observations: torch.Tensor) -> torch.Tensor:
        """Return values (n, 1), as the policy's `predict_values` does."""
        return torch.from_numpy(self.critic.forward(_rows(observations)).copy())


def _rows(observations: torch.Tensor) -> Floats:
    return observations.numpy().reshape(len(observations), -1).astype(np.float32, copy=False)


def clipped_surrogate(log_ratio: Floats, advantages: Floats, clip: float) -> tuple[float, Floats]:
    """Return PPO's policy loss (Schulman et al., 2017, equation 7, negated) and its slope (n,) for the log ratios."""
    ratio = np.exp(log_ratio)
    free, bounded = advantages * ratio, advantages * np.clip(ratio, 1 - clip, 1 + clip)
    by_ratio = np.where(free <= bounded, free, 0)  # where the bound is the smaller one, it does not move
    return -float(np.minimum(free, bounded).mean()), np.asarray(by_ratio * np.float32(-1 / len(ratio)))


def value_error(values: Floats, returns: Floats, old_values: Floats, clip: float | None) -> tuple[float, Floats]:
    """Return the mean squared error of values that move at most by `clip`, and its slope (n,) for the values."""
    moves = values - old_values
    said = values if clip is None else old_values + np.clip(moves, -clip, clip)
    error = said - returns
    slope = error * np.float32(2 / len(values))
    return float(np.square(error).mean()), np.asarray(slope if clip is None else slope * (np.abs(moves) <= clip))
