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
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv

from rlteach.dense import Categorical, Floats, Gaussian, Perceptron, Weights, adam_fault, layers_of
from rlteach.errors import InvalidValue


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
            Networks(self.policy)
        except InvalidValue as error:
            raise InvalidValue(f"fast_ppo: {error}. The learner 'ppo' takes this.") from error

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Play a rollout into the buffer; return whether the callback wants to go on.

        Callbacks find `actions`, `clipped_actions`, `values`, `log_probs`, `new_obs`, `rewards`, `dones` and `infos`
        under these names of Stable-Baselines3's. Weights that they change count from the next rollout on, or from this
        one if they change them when it begins.
        """
        assert self._last_obs is not None
        self.policy.set_training_mode(False)
        rollout_buffer.reset()
        callback.on_rollout_start()
        networks = Networks(self.policy)
        n_steps = 0
        while n_steps < n_rollout_steps:
            observations: Any = self._last_obs
            actions, values, log_probs = networks.act(observations)
            clipped_actions = actions
            if isinstance(self.action_space, spaces.Box):
                clipped_actions = np.clip(actions, self.action_space.low, self.action_space.high)
            new_obs, rewards, dones, infos = env.step(clipped_actions)
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            self._update_info_buffer(infos, dones)
            n_steps += 1
            for row in np.flatnonzero(dones):
                last = infos[row].get("terminal_observation")
                if last is not None and infos[row].get("TimeLimit.truncated", False):
                    rewards[row] += self.gamma * float(networks.values(np.asarray(last)[None])[0, 0])
            starts: Any = self._last_episode_starts
            rollout_buffer.add(observations, actions, rewards, starts, values, log_probs)
            self._last_obs, self._last_episode_starts = new_obs, dones  # type: ignore[assignment]
        values = networks.values(new_obs)  # type: ignore[arg-type]
        rollout_buffer.compute_returns_and_advantage(last_values=values, dones=dones)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def train(self) -> None:
        """Take the update steps of one rollout."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        progress = self._current_progress_remaining
        clip = float(self.clip_range(progress))  # type: ignore[operator]
        value_clip = None if self.clip_range_vf is None else float(self.clip_range_vf(progress))  # type: ignore[operator]
        networks = Networks(self.policy)
        logs: list[tuple[float, float, float, float, float]] = []
        going = True
        for epoch in range(self.n_epochs):
            epoch_begins = len(logs)
            for batch in self.rollout_buffer.get(self.batch_size):
                advantages = batch.advantages.numpy()
                if self.normalize_advantage and len(advantages) > 1:
                    advantages = (advantages - advantages.mean()) / (advantages.std(ddof=1) + np.float32(1e-8))
                observations = rows_of(batch.observations.numpy())
                means = networks.actor.forward(observations)
                said = networks.head(means, batch.actions.numpy())
                log_ratio = said.log_prob - batch.old_log_prob.numpy()
                ratio = ratio_of(log_ratio)
                policy_loss, by_log_prob = clipped_surrogate(ratio, advantages, clip)
                values = networks.critic.forward(observations)[:, 0]
                value_loss, by_value = value_error(values, batch.returns.numpy(), batch.old_values.numpy(), value_clip)
                approx_kl = float(np.mean(ratio - 1 - log_ratio))
                beyond = float(np.mean(np.abs(ratio - 1) > clip))
                logs.append((policy_loss, value_loss, -float(said.entropy.mean()), approx_kl, beyond))
                if self.target_kl is not None and approx_kl > 1.5 * self.target_kl:
                    going = False
                    if self.verbose:
                        print(f"fast_ppo: stopped in epoch {epoch}, the approximate KL divergence is {approx_kl:.2f}")
                    break
                networks.actor.backward(said.slope(by_log_prob, self.ent_coef))
                networks.critic.backward((self.vf_coef * by_value)[:, None])
                networks.weights.step(self.max_grad_norm)
            self._n_updates += 1
            if not going:
                break
        networks.weights.write()
        self._log(np.array(logs), epoch_begins, clip, value_clip)

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
    elif policy.normalize_images and is_image_space(policy.observation_space):
        faults.append("images have to be scaled, which it does not do")
    for part, known in (
        (policy, ActorCriticPolicy),
        (policy.features_extractor, FlattenExtractor),
        (policy.mlp_extractor, MlpExtractor),
    ):
        if type(part) is not known:
            faults.append(f"it knows {known.__name__} and nothing derived from it, not {type(part).__name__}")
    if type(policy.action_dist) not in (DiagGaussianDistribution, CategoricalDistribution):
        faults.append(
            f"it knows no {type(policy.action_dist).__name__}: actions must be a Box, without gSDE, or Discrete"
        )
    if fault := adam_fault(policy.optimizer):
        faults.append(fault)
    return faults


class Networks:
    """The numpy side of a Stable-Baselines3 actor-critic policy, its weights as they are now.

    Args:
        policy: An `ActorCriticPolicy` of perceptrons.

    Attributes:
        weights: All parameters.
        actor: Observations to means or logits.
        critic: Observations to values.

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
        self._shape = policy.action_space.shape
        self._log_std = None if isinstance(policy.action_space, spaces.Discrete) else self.weights.of(policy.log_std)

    def head(self, outputs: Floats, actions: Floats) -> Gaussian | Categorical:
        """Return the distribution of the actor's outputs (n, k), with what it says about actions (n, ...)."""
        if self._log_std is None:
            return Categorical(outputs, actions.reshape(-1).astype(np.int64))
        return Gaussian(outputs, actions.reshape(outputs.shape), *self._log_std)

    def act(self, observations: NDArray[Any]) -> tuple[NDArray[Any], torch.Tensor, torch.Tensor]:
        """Return actions (n, ...), values (n, 1) and log probabilities (n,), drawn by torch's generator as SB3 does.

        Raises:
            ValueError: When an output of the actor is not finite.
        """
        rows = rows_of(observations)
        outputs = self.actor.forward(rows)
        if not np.isfinite(outputs).all():
            raise ValueError(
                "the policy says something that is not finite: look at the observations, their normaliser, and the "
                "learning rate"
            )
        says = torch.from_numpy(outputs)
        if self._log_std is None:
            drawn = torch.multinomial(says.softmax(-1), 1, True).squeeze(1)
        else:
            drawn = torch.normal(says, torch.from_numpy(np.exp(self._log_std[0])).expand_as(says))
        log_prob = torch.from_numpy(self.head(outputs, drawn.numpy()).log_prob)
        return drawn.numpy().reshape(-1, *self._shape), self.values(observations), log_prob

    def values(self, observations: NDArray[Any]) -> torch.Tensor:
        """Return values (n, 1)."""
        return torch.from_numpy(self.critic.forward(rows_of(observations)).copy())


def rows_of(observations: NDArray[Any]) -> Floats:
    """Return observations as flat rows in single precision."""
    return observations.reshape(len(observations), -1).astype(np.float32, copy=False)


def ratio_of(log_ratio: Floats) -> Floats:
    """Return exp(log_ratio); infinite where that is too large for single precision."""
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(log_ratio))


def clipped_surrogate(ratio: Floats, advantages: Floats, clip: float) -> tuple[float, Floats]:
    """Return PPO's policy loss (Schulman et al., 2017, equation 7, negated) and its slope (n,) for the log ratios."""
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
