"""FastPPO is Stable-Baselines3's PPO, update by update."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import VecNormalize

import rlteach
from rlteach.errors import ConfigError, InvalidValue
from rlteach.experiment.resets import forget
from rlteach.learners import make_learner
from rlteach.learners.fast_ppo import FastPPO, clipped_surrogate, policy_faults, value_error

BOX, DISCRETE = "rlteach/GoalMaze-v0", "CartPole-v1"
SETTINGS: dict[str, Any] = {"n_steps": 32, "batch_size": 64, "n_epochs": 3, "learning_rate": 1e-3}


def build(cls: type[PPO], env_id: str = BOX, **more: Any) -> PPO:
    return cls("MlpPolicy", rlteach.make_vec_env(env_id, 8, seed=0), seed=0, device="cpu", **{**SETTINGS, **more})


def weights(model: PPO) -> np.ndarray:
    return torch.cat([p.detach().flatten() for p in model.policy.parameters()]).numpy()


@pytest.mark.parametrize("env_id", [BOX, DISCRETE])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"ent_coef": 0.01, "vf_coef": 0.2, "max_grad_norm": 0.01},
        {"clip_range": 0.02, "clip_range_vf": 0.01, "normalize_advantage": False},
        {"target_kl": 1e-4, "learning_rate": 1e-2},
        {"policy_kwargs": {"net_arch": {"pi": [16], "vf": [8, 8]}, "activation_fn": torch.nn.ReLU}},
        {"policy_kwargs": {"net_arch": [], "share_features_extractor": False}},
        {"learning_rate": lambda left: 1e-2 * left},
    ],
    ids=lambda more: "-".join(more) or "plain",
)
def test_a_rollout_and_its_update_are_those_of_stable_baselines3(env_id: str, more: dict[str, Any]) -> None:
    theirs, ours = (build(cls, env_id, **more).learn(512) for cls in (PPO, FastPPO))  # the second rollout shows both
    np.testing.assert_allclose(weights(ours), weights(theirs), rtol=0, atol=2e-5)
    for name in ("actions", "values", "log_probs", "advantages"):
        found, wanted = (getattr(model.rollout_buffer, name) for model in (ours, theirs))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-3, err_msg=name)
    logged, wanted_logs = (
        {k: v for k, v in model.logger.name_to_value.items() if k.startswith("train/")} for model in (ours, theirs)
    )
    assert set(logged) == set(wanted_logs)
    for name, value in wanted_logs.items():
        assert logged[name] == pytest.approx(value, rel=1e-2, abs=1e-3), name


def test_target_kl_stops_both_at_the_same_epoch() -> None:
    theirs, ours = (build(cls, target_kl=1e-4, learning_rate=1e-2).learn(256) for cls in (PPO, FastPPO))
    assert ours._n_updates == theirs._n_updates == 1


def test_truncated_episodes_are_valued_alike() -> None:
    kwargs = {"horizon": 5}
    models = []
    for cls in (PPO, FastPPO):
        venv = VecNormalize(rlteach.make_vec_env(BOX, 8, seed=0, env_kwargs=kwargs))
        models.append(cls("MlpPolicy", venv, seed=0, device="cpu", **SETTINGS).learn(256))
    np.testing.assert_allclose(models[0].rollout_buffer.returns, models[1].rollout_buffer.returns, atol=1e-4)


def test_what_it_saves_is_a_model_of_stable_baselines3_and_the_other_way_round(tmp_path: Path) -> None:
    trained = build(FastPPO).learn(256)
    trained.save(tmp_path / "model")
    here, there = FastPPO.load(tmp_path / "model", env=trained.get_env()), PPO.load(tmp_path / "model")
    seen = trained.get_env().reset()  # type: ignore[union-attr]
    for loaded in (here, there):
        np.testing.assert_array_equal(
            loaded.predict(seen, deterministic=True)[0], trained.predict(seen, deterministic=True)[0]
        )
    before = weights(here)
    here.learn(256)
    assert np.abs(weights(here) - before).max() > 1e-4
    steps = {int(state["step"]) for state in here.policy.optimizer.state.values()}
    assert steps == {24}, "Adam went on counting where it was"


def test_a_copy_learns_as_the_original_does() -> None:
    model = build(FastPPO).learn(256)
    weights_before = weights(model)
    twin = copy.deepcopy(model)
    twin.set_env(rlteach.make_vec_env(BOX, 8, seed=0))
    twin.learn(256)
    assert np.abs(weights(twin) - weights_before).max() > 1e-4
    np.testing.assert_array_equal(weights(model), weights_before)


def test_frozen_parameters_and_another_optimiser_are_respected() -> None:
    model = build(FastPPO)
    model.policy.log_std.requires_grad_(False)  # type: ignore[union-attr,operator]
    model.learn(256)
    assert (model.policy.log_std == 0).all()  # type: ignore[union-attr]
    model.policy.optimizer = torch.optim.Adam(model.policy.parameters(), lr=1e-3, weight_decay=0.1)
    with pytest.raises(InvalidValue, match="without weight decay"):
        model.learn(256)


def test_outputs_that_are_not_finite_are_refused_before_anything_is_played() -> None:
    model = build(FastPPO)
    model.policy.action_net.bias.data[:] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        model.learn(256)
    assert model.num_timesteps == 0


class ForgetsAt(BaseCallback):
    """Makes the learner forget when its second rollout begins."""

    def _on_rollout_start(self) -> None:
        if self.num_timesteps == 256:
            forget(self.model, seed=3)

    def _on_step(self) -> bool:
        return True


def test_a_learner_that_forgets_acts_by_its_new_weights_at_once() -> None:
    theirs, ours = (build(cls).learn(512, callback=ForgetsAt()) for cls in (PPO, FastPPO))
    np.testing.assert_allclose(ours.rollout_buffer.values, theirs.rollout_buffer.values, rtol=0, atol=1e-4)
    np.testing.assert_allclose(weights(ours), weights(theirs), rtol=0, atol=2e-5)
    steps = {int(state["step"]) for state in ours.policy.optimizer.state.values()}
    assert steps == {12}, "Adam has begun anew"


class Squared(FlattenExtractor):
    """Flattens, and squares."""

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return super().forward(observations) ** 2


class Own(ActorCriticPolicy):
    """A policy with code of its own."""


@pytest.mark.parametrize(
    ("env_id", "policy", "kwargs", "says"),
    [
        (BOX, "MlpPolicy", {"use_sde": True}, "without gSDE"),
        (BOX, "MlpPolicy", {"policy_kwargs": {"activation_fn": torch.nn.SiLU}}, "SiLU"),
        (BOX, "MlpPolicy", {"policy_kwargs": {"optimizer_class": torch.optim.SGD}}, "not SGD"),
        (BOX, "MlpPolicy", {"policy_kwargs": {"features_extractor_class": Squared}}, "not Squared"),
        (BOX, Own, {}, "not Own"),
    ],
)
def test_what_it_does_not_know_it_refuses_and_names_the_learner_that_does(
    env_id: str, policy: Any, kwargs: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        make_learner("fast_ppo", rlteach.make_vec_env(env_id, 2, seed=0), policy=policy, kwargs=kwargs, seed=0)
    assert "'ppo' takes this" in str(caught.value)


# -- the equations, against torch's distributions and autograd ---------------------------------------------------


def test_surrogate_and_value_losses_and_slopes() -> None:
    rng = np.random.default_rng(1)
    draws = (rng.standard_normal(200).astype(np.float32) for _ in range(5))
    ratios, advantages, values, returns, old = (0.3 * next(draws), *draws)
    log = torch.tensor(ratios, requires_grad=True)
    gain = torch.tensor(advantages)
    wanted = -torch.min(gain * log.exp(), gain * log.exp().clamp(0.8, 1.2)).mean()
    wanted.backward()  # type: ignore[no-untyped-call]
    loss, slope = clipped_surrogate(np.exp(ratios), advantages, 0.2)
    assert loss == pytest.approx(wanted.item(), rel=1e-5)
    np.testing.assert_allclose(slope, log.grad, rtol=1e-4, atol=1e-7)
    for clip in (None, 0.5):
        value = torch.tensor(values, requires_grad=True)
        moved = value if clip is None else torch.tensor(old) + (value - torch.tensor(old)).clamp(-clip, clip)
        error = torch.nn.functional.mse_loss(moved, torch.tensor(returns))
        error.backward()  # type: ignore[no-untyped-call]
        loss, slope = value_error(values, returns, old, clip)
        assert loss == pytest.approx(error.item(), rel=1e-5)
        np.testing.assert_allclose(slope, value.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("space", "says"),
    [
        (spaces.Dict({"a": spaces.Box(0, 1)}), "must be a Box"),
        (spaces.Box(0, 255, (36, 36, 3), np.uint8), "images have to be scaled"),
    ],
)
def test_images_and_dictionaries_are_refused(space: spaces.Space[Any], says: str) -> None:
    kind = MultiInputActorCriticPolicy if isinstance(space, spaces.Dict) else ActorCriticPolicy
    policy = kind(space, spaces.Discrete(2), lambda _: 1e-3)
    assert any(says in fault for fault in policy_faults(policy))
