"""The methods as learners: they learn, repeat themselves, go on where they stopped, and lose no label."""

import warnings

import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete

import rlteach
from rlteach import registry
from rlteach.distillation.base import Distiller
from rlteach.distillation.dagger import Dagger, expert_share
from rlteach.distillation.dense_imitation import DenseImitation
from rlteach.distillation.experts import Expert, check_labels
from rlteach.distillation.on_policy import OnPolicyDistillation
from rlteach.errors import ConfigError, EnvironmentFault, InvalidValue, UserError
from rlteach.learners import learner_faults

WIND = "rlteach/WindGain-v0"
IMITATION = ("bc", "dagger", "on_policy")
GUIDED = ("asymmetric", "kickstarting", "kdrl", "qdagger", "advisor")
SMALL = {
    "mlp": {"hidden": (16,)},
    "stack": {"history": 3, "hidden": (16,)},
    "gru": {"hidden": 8},
    "lstm": {"hidden": 8},
    "transformer": {"history": 4, "width": 8, "heads": 2},
}


def steer(seen):
    """Push towards the origin, from the expert's view: position, command, velocity, log gains, wind."""
    position, velocity, gains, wind = seen[:, :2], seen[:, 4:6], np.exp(seen[:, 6:8]), seen[:, 8:10]
    return np.clip((-2 * position - 2 * velocity - wind) / gains, -1, 1)


def make(method, policy="mlp", n_envs=4, env=WIND, **kwargs):
    cls = registry.load("method", method)
    venv = rlteach.make_vec_env(env, n_envs, seed=0)
    taught = rlteach.attach(venv, rlteach.make_teacher("uniform", venv.get_attr("task_space")[0], seed=0))
    if cls.needs_expert:
        kwargs = {"expert": steer, **kwargs}
    return cls(policy, taught, policy_kwargs=SMALL[policy], seed=0, **{"n_steps": 20, **kwargs})


def weights(learner):
    return torch.cat([p.detach().ravel() for p in learner.student.parameters()])


@pytest.mark.parametrize("policy", SMALL)
@pytest.mark.parametrize("method", [*IMITATION, *GUIDED])
def test_the_same_seed_gives_the_same_student(method, policy):
    first, second = (make(method, policy).learn(160) for _ in range(2))
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(make(method, policy)))


@pytest.mark.parametrize("policy", ["stack", "gru"])
@pytest.mark.parametrize("method", [*IMITATION, *GUIDED])
def test_a_learner_goes_on_from_its_state_as_if_it_had_not_stopped(method, policy):
    whole = make(method, policy)
    whole.learn(80)
    state, last = whole.state_dict(), {key: value.copy() for key, value in whole._last_obs.items()}
    inner = whole.env
    snapshot, delivery, teacher = (
        inner.venv.env_method("get_snapshot")[0],
        inner.state_dict(),
        inner.teacher.state_dict(),
    )
    whole.learn(160, reset_num_timesteps=False)

    other = make(method, policy)
    other.env.reset()
    other.load_state_dict(state)
    other._last_obs = last
    other.env.venv.env_method("set_snapshot", snapshot)
    other.env.teacher.load_state_dict(teacher)
    other.env.load_state_dict(delivery)
    other.learn(160, reset_num_timesteps=False)
    assert other.num_timesteps == whole.num_timesteps == 240
    assert torch.equal(weights(other), weights(whole))


@pytest.mark.parametrize("policy", ["mlp", "stack", "gru"])
@pytest.mark.parametrize(("method", "steps", "n_steps", "batch"), [("dagger", 93, 7, 5), ("on_policy", 50, 50, 3)])
def test_every_label_reaches_the_optimiser_in_every_epoch(method, policy, steps, n_steps, batch, monkeypatch):
    learner = make(method, policy, n_envs=3, n_steps=n_steps, batch_size=batch, epochs=2)
    seen, asked = [], []
    original = learner._batches
    monkeypatch.setattr(learner, "_batches", lambda *given: watched(original(*given), seen))
    update = DenseImitation.update
    monkeypatch.setattr(DenseImitation, "update", lambda *given: [seen.append(given[-1]), update(*given)][-1])
    train = learner.train

    def trained(rollout, memory):
        asked.append(rollout.labels.reshape(-1, 2))
        seen.clear()
        train(rollout, memory)
        expected = np.concatenate(asked) if learner.aggregates else asked[-1]
        assert np.array_equal(ordered(np.concatenate(seen)), ordered(np.concatenate([expected] * 2)))

    monkeypatch.setattr(learner, "train", trained)
    learner.learn(steps * 3)
    assert learner.labels == sum(map(len, asked)) == steps * 3


def watched(batches, seen):
    for features, labels, mask in batches:
        kept = labels if mask is None else labels[mask > 0]
        seen.append(kept.reshape(-1, 2).numpy())
        yield features, labels, mask


def ordered(rows):
    return rows[np.lexsort(rows.T)]


def test_behavioural_cloning_lets_the_expert_act_and_dagger_after_the_first_round_does_not():
    learner = make("bc")
    assert learner.drivers().all()
    learner = make("dagger")
    assert learner.drivers().all()
    learner.learn(80)
    assert not learner.drivers().any()


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("first", [1, 0, 0]),
        ("linear", [1, 0.75, 0.5]),
        ("exponential", [1, 0.7, 0.49]),
        ("constant", [0.3, 0.3, 0.3]),
        ("none", [0, 0, 0]),
    ],
)
def test_the_share_of_the_expert_falls_as_its_schedule_says(schedule, expected):
    assert [expert_share(schedule, r, rounds=4, share=0.3) for r in range(3)] == pytest.approx(expected)
    assert expert_share("linear", 99, rounds=4) == 0


def test_a_constant_share_of_the_steps_is_driven_by_the_expert_in_every_round():
    learner = make("dagger", beta="constant", beta_share=0.25, n_envs=64)
    for learner.round in (0, 9):
        assert np.mean([learner.drivers().mean() for _ in range(100)]) == pytest.approx(0.25, abs=0.02)
    assert "beta_share = 2" in " ".join(Dagger.setting_faults("mlp", {"expert": "x", "beta_share": 2}))
    assert "beta_decay = 'a'" in " ".join(Dagger.setting_faults("mlp", {"expert": "x", "beta_decay": "a"}))


@pytest.mark.parametrize("policy", ["stack", "transformer"])
def test_a_student_that_sees_the_last_steps_gets_its_driver_at_every_step(policy):
    learner = make("dagger", policy, beta="constant", beta_share=0.5, n_envs=64)
    learner._last_episode_starts = np.zeros(64, dtype=bool)
    assert not np.array_equal(learner.drivers(), learner.drivers())


def test_a_student_with_memory_keeps_its_driver_for_a_whole_episode():
    learner = make("dagger", "gru", beta="exponential", beta_decay=0.5, n_envs=64)
    learner.round = 1
    first = learner.drivers()
    assert 0 < first.sum() < 64
    learner._last_episode_starts = np.arange(64) >= 60
    for learner.round in range(1, 9):  # a round may end within an episode
        assert np.array_equal(learner.drivers()[:60], first[:60])
    assert not learner.drivers()[60:].all()
    assert not np.array_equal(make_mlp_drivers(learner), first)


def make_mlp_drivers(learner):
    learner._by_episode = False
    return learner.drivers()


@pytest.mark.parametrize("policy", ["mlp", "gru"])
def test_the_memory_of_the_student_is_carried_over_rollouts_and_begins_anew_with_an_episode(policy):
    learner = make("dagger", policy, beta="none")
    learner.learn(4 * 90)
    learner.begin_memory()
    seen = learner.student_view(learner._last_obs)
    actions, _ = learner.student.act(seen, learner._memory)
    learner._last_episode_starts[:] = True
    learner.begin_memory()
    fresh, _ = learner.student.act(seen, None)
    again, _ = learner.student.act(seen, learner._memory)
    assert np.allclose(again, fresh, atol=1e-6)
    assert (policy == "gru") == (not np.allclose(actions, fresh))


class Clock(Expert):
    """An expert with memory: its label is how many steps of the episode it has seen, in hundredths."""

    recurrent = True

    def __init__(self, view):
        self.view = view

    def label(self, observations, state=None, starts=None):
        state = np.zeros(len(observations)) if state is None else state
        state = state if starts is None else np.where(starts, 0, state)
        return np.repeat(state[:, None] / 100, 2, 1), state + 1


def test_an_expert_with_memory_keeps_it_over_rollouts():
    for method in ("dagger", "advisor"):
        learner = make(method, "gru", n_steps=30)
        learner.teacher = Clock(learner.expert_view)
        labels = []
        original = learner.unit_labels
        learner.unit_labels = lambda actions, f=original, kept=labels: kept.append(np.asarray(actions)) or f(actions)
        learner.learn(4 * 45)
        found = np.concatenate([part.reshape(-1, 4, 2) for part in labels])[:, 0, 0]
        assert found == pytest.approx(np.arange(45) / 100), method


def test_labels_that_are_not_finite_are_told_and_not_learned_from():
    learner = make("dagger", expert=lambda seen: np.where(seen[:, :2] > 1e9, 0, np.nan if len(seen) > 2 else 0))
    before = weights(learner)
    with pytest.raises(EnvironmentFault, match="not finite"):
        learner.learn(80)
    assert torch.equal(weights(learner), before)


def test_observations_that_are_normalised_from_outside_are_refused():
    from stable_baselines3.common.vec_env import VecNormalize

    venv = VecNormalize(rlteach.make_vec_env(WIND, 2, seed=0), norm_obs=True)
    with pytest.raises(InvalidValue, match=r"normalize\.observations"):
        Dagger("mlp", venv, expert=steer)


def test_nothing_hidden_is_warned_of():
    with pytest.warns(UserWarning, match="nothing is hidden"):
        make("dagger", student_obs="expert")


def test_a_student_of_a_student_is_no_reason_to_warn(tmp_path):
    make("dagger", "gru").learn(80).save(tmp_path / "student")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smaller = make("dagger", expert=tmp_path).learn(80)
    assert smaller.labels == 80 and smaller.student.parameter_count < smaller.teacher.student.parameter_count


def test_every_wrong_setting_is_told_at_once():
    kwargs = {"epochs": 0, "beta": "lineer", "loss": "mae", "learning_rate": -1, "policy_kwargs": {"hiden": 3}}
    faults = learner_faults("dagger", kwargs, "mlpp")
    text = "\n".join(faults)
    for says in (
        "expert is missing",
        "epochs = 0",
        "'lineer'. Did you mean 'linear'",
        "'mae'",
        "learning_rate = -1",
        "mlp",
    ):
        assert says in text
    assert "hiden" in "\n".join(learner_faults("dagger", {**kwargs, "expert": "x"}, "mlp"))
    for method, wrong in {
        "kickstarting": {"divergence": "revers", "weight": -1},
        "kdrl": {"mask": "reward", "weight_from": -1},
        "qdagger": {"window": 0},
        "advisor": {"alpha": -1, "critic": "none"},
        "asymmetric": {"critic": "all", "gamma": 2, "ent_coef": -1},
    }.items():
        assert len(learner_faults(method, {"expert": "x", **wrong} if method != "asymmetric" else wrong)) == len(wrong)


def test_a_wrong_setting_is_told_when_a_method_is_built_by_hand_too():
    with pytest.raises(ConfigError, match="epochs = 0"):
        make("bc", epochs=0)


def test_a_student_is_saved_and_read_and_nothing_in_its_files_can_execute(tmp_path):
    learner = make("dagger", "gru").learn(80)
    learner.save(tmp_path / "student")
    assert sorted(p.name for p in (tmp_path / "student").iterdir()) == [
        "student.json",
        "student.safetensors",
        "training.json",
    ]
    other = Dagger.load(tmp_path / "student", rlteach.make_vec_env(WIND, 4, seed=1), expert=steer)
    observation = other.env.reset()
    assert np.array_equal(
        other.predict(observation, deterministic=True)[0], learner.predict(observation, deterministic=True)[0]
    )


def test_predicting_takes_whole_observations_and_carries_memory():
    learner = make("dagger", "gru").learn(80)
    venv = rlteach.make_vec_env(WIND, 3, seed=5)
    observation, state = venv.reset(), None
    starts = np.ones(3, dtype=bool)
    for _ in range(3):
        actions, state = learner.predict(observation, state, starts, deterministic=True)
        observation, _, starts, _ = venv.step(actions)
    assert state.shape == (3, learner.student.state_size)


def test_what_was_used_is_told_by_role():
    learner = make("dagger").learn(80)
    assert learner.budget() == {"steps_expert": 0, "labels": 80}


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["stack", "gru"])
def test_students_with_memory_learn_what_dagger_without_memory_cannot(policy):
    kwargs = {"batch_size": 1600, "epochs": 8, "learning_rate": 2e-3} if policy == "gru" else {}
    returns = {}
    for kind in ("mlp", policy):
        learner = make("dagger", kind, n_envs=32, n_steps=100, **(kwargs if kind == policy else {}))
        returns[kind] = mean_return(
            Dagger(kind, learner.env, expert=steer, seed=0, **(kwargs if kind == policy else {})).learn(25_600)
        )
    assert returns[policy] > returns["mlp"] + 10


def mean_return(learner: Distiller) -> float:
    venv = rlteach.make_vec_env(WIND, 64, seed=9)
    observation, state, starts, total = venv.reset(), None, np.ones(64, dtype=bool), 0.0
    for _ in range(100):
        actions, state = learner.predict(observation, state, starts, deterministic=True)
        observation, rewards, starts, _ = venv.step(actions)
        total += rewards.mean()
    return float(total)


def test_on_policy_distillation_keeps_nothing_but_the_last_rollout():
    learner = make("on_policy")
    assert isinstance(learner, OnPolicyDistillation)
    learner.learn(400)
    assert len(learner.data) == 80


def test_labels_that_are_no_actions_of_the_environment_are_refused():
    space = Discrete(3, start=1)
    check_labels(np.array([1, 3]), 2, space)
    for wrong, says in ((np.array([0, 1]), "from 0 to 1, outside of 1 to 3"), (np.array([2, 4]), "from 2 to 4")):
        with pytest.raises(UserError, match=says):
            check_labels(wrong, 2, space)
