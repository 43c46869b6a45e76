"""Learners are found, built and refused as promised; the synthetic one keeps the API of the others."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO, SAC, TD3

import rlteach
from rlteach.errors import ConfigError, MissingCapability
from rlteach.learners import learner_faults, make_learner
from rlteach.learners.synthetic import SyntheticLearner, practise
from rlteach.teachers.uniform import Uniform
from rlteach.testing.learners import CHECKS, check_learner

NETS = {"policy_kwargs": {"net_arch": [8]}}
ON_POLICY = {"n_steps": 32, "batch_size": 32, "n_epochs": 2, **NETS}
OFF_POLICY = {"learning_starts": 20, "batch_size": 16, "buffer_size": 500, **NETS}
CUBES = "rlteach/ToyCubes-v0"
MAZE = "rlteach/GoalMaze-v0"


def on(env_id: str, learner: Any, kwargs: dict[str, Any] | None = None, **more: Any) -> Any:
    settings: dict[str, Any] = {"policy": "MlpPolicy", "seed": 0} | more
    return make_learner(learner, rlteach.make_vec_env(env_id, 2, seed=0), kwargs=kwargs or {}, **settings)


# -- building ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ppo", "stable_baselines3.PPO", "stable_baselines3.ppo.ppo:PPO", PPO])
def test_a_learner_is_built_by_name_by_import_path_or_by_class(name: Any) -> None:
    model = on(MAZE, name, ON_POLICY)
    assert type(model) is PPO and model.n_steps == 32 and model.seed == 0


@pytest.mark.parametrize(("name", "cls"), [("sac", SAC), ("td3", TD3), ("synthetic", SyntheticLearner)])
def test_registered_names_lead_to_their_classes(name: str, cls: type) -> None:
    built = on(CUBES, name) if cls is SyntheticLearner else on(MAZE, name, OFF_POLICY)
    assert type(built) is cls


def test_a_learner_computes_on_the_cpu_unless_told_otherwise() -> None:
    assert on(MAZE, "ppo", ON_POLICY).device == torch.device("cpu")
    with pytest.warns(UserWarning, match="PPO on the GPU"):
        assert on(MAZE, "ppo", {**ON_POLICY, "device": "meta"}).device == torch.device("meta")


def test_the_keyword_arguments_are_not_changed() -> None:
    given = {**OFF_POLICY, "policy_kwargs": {"net_arch": [8], "optimizer_kwargs": {"eps": 1e-5}}}
    before = copy.deepcopy(given)
    model = on(MAZE, "sac", given)
    model.policy_kwargs["net_arch"].append(99)
    assert given == before


@pytest.mark.parametrize(
    ("name", "kwargs", "says"),
    [
        ("pppo", {}, "no learner is called 'pppo'. Did you mean 'ppo'? `rlteach list learners`"),
        ("stable_baselines3.PPP", {}, "cannot import learner 'stable_baselines3.PPP'"),
        ("no_such_package.PPO", {}, "No module named 'no_such_package'. `rlteach list learners`"),
        ("ppo", {"n_stepz": 3}, "PPO has no hyperparameter 'n_stepz'. Did you mean 'n_steps'?"),
        ("ppo", {"seed": 3}, "no hyperparameter 'seed'"),
        ("synthetic", {"gian": 3}, "Did you mean 'gain'?"),
        ("collections.OrderedDict", {}, "is no learner: it has no learn, predict, save. `rlteach list learners`"),
        ("json.loads", {}, "is no learner"),
        ("rlteach.teachers.uniform.Uniform", {}, "it has no learn, predict, save"),
    ],
)
def test_a_wrong_learner_is_one_sentence_with_the_nearest_choice(name: str, kwargs: dict[str, Any], says: str) -> None:
    (fault,) = learner_faults(name, kwargs)
    assert says in fault
    with pytest.raises(ConfigError) as caught:
        on(MAZE, name, kwargs)
    assert caught.value.faults == [fault] and repr(name) in str(caught.value)


def test_every_unknown_keyword_argument_is_told_at_once() -> None:
    faults = learner_faults("ppo", {"gama": 0.9, "n_step": 3, "ent_coef": 0.1})
    assert len(faults) == 2 and "'gamma'" in faults[0] and "'n_steps'" in faults[1]


@pytest.mark.parametrize(
    ("name", "kwargs", "policy", "says"),
    [
        ("dqn", {}, "MlpPolicy", "action space"),
        ("ppo", {}, "MlpPolicyy", "MlpPolicyy"),
        ("ppo", {"n_steps": "many"}, "MlpPolicy", "many|multiply|int|str"),
        ("ppo", {"policy_kwargs": {"net_archi": [8]}}, "MlpPolicy", "net_archi"),
    ],
)
def test_what_the_constructor_refuses_is_a_configuration_error(
    name: str, kwargs: dict[str, Any], policy: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        on(MAZE, name, kwargs, policy=policy)


# -- the synthetic learner -----------------------------------------------------------------------------------------


def synthetic(n_envs: int = 3, **kwargs: Any) -> tuple[SyntheticLearner, Any]:
    base = rlteach.make_vec_env(CUBES, n_envs, seed=0, env_kwargs={"cubes": 3})
    teacher = Uniform(base.get_attr("task_space")[0], seed=1)
    venv = rlteach.attach(base, teacher)
    return make_learner("synthetic", venv, policy="", kwargs=kwargs, seed=0), venv


def test_a_step_of_every_environment_is_an_episode_each() -> None:
    learner, venv = synthetic(n_envs=4)
    assert learner.learn(400) is learner
    assert learner.num_timesteps == 400 and venv.teacher._next_id == 404
    learner.learn(10, reset_num_timesteps=False)
    assert learner.num_timesteps == 412, "whole steps of all environments"
    learner.learn(8)
    assert learner.num_timesteps == 8
    assert learner.competence.max() > 0 and learner.get_env() is venv and learner.get_vec_normalize_env() is None


def test_going_on_does_not_reset_the_environments() -> None:
    learner, venv = synthetic()
    learner.learn(30)
    playing = [lesson.id for lesson in venv._lessons]
    seen = learner._last_obs.copy()
    learner.learn(0, reset_num_timesteps=False)
    assert [lesson.id for lesson in venv._lessons] == playing and (learner._last_obs == seen).all()


def test_its_actions_claim_the_competence_of_each_observations_skill() -> None:
    learner, _ = synthetic()
    learner.competence[:] = np.arange(9) * 10.0
    observations = np.array([[0.1, 0.1], [0.1, 0.5], [0.9, 0.9]], np.float32)
    actions, state = learner.predict(observations, state="kept", deterministic=True)
    assert actions.dtype == np.float32 and actions.tolist() == pytest.approx(np.array([[0.0], [0.1], [0.8]]))
    assert state == "kept"


def test_practice_is_capped_locked_and_of_the_given_gain() -> None:
    learner, _ = synthetic()
    competence = np.zeros(9)
    practise(competence, np.array([0] * 50 + [-1, 8, 1]), learner.graph, 1.6)
    assert competence[0] == pytest.approx(80) and competence[8] == 0 and competence[1] == 1.6
    practise(competence, np.zeros(50, dtype=np.int64), learner.graph, 1.6)
    assert competence[0] == 100
    fast, _ = synthetic(gain=25.0)
    fast.learn(300)
    assert set(fast.competence.tolist()) <= {0.0, 25.0, 50.0, 75.0, 100.0} and fast.competence.max() == 100


def test_state_and_file_bring_back_everything_learned(tmp_path: Path) -> None:
    learner, venv = synthetic()
    learner.learn(300)
    other, _ = synthetic()
    other.load_state_dict(learner.state_dict())
    assert (other.competence == learner.competence).all() and other.num_timesteps == 300
    state = learner.state_dict()
    learner.learn(30, reset_num_timesteps=False)
    assert (state["competence"] == other.competence).all(), "a state is a copy"
    for name in ("learner.zip", "learner.npz", "learner"):
        learner.save(tmp_path / name)
        loaded = SyntheticLearner.load(tmp_path / name, venv)
        assert (loaded.competence == learner.competence).all() and loaded.num_timesteps == 330
    assert {path.name for path in tmp_path.iterdir()} == {"learner.zip", "learner.npz", "learner"}


def test_every_kind_of_callback_is_called_and_can_stop_the_learning() -> None:
    from stable_baselines3.common.callbacks import BaseCallback

    class Stopping(BaseCallback):
        def _on_step(self) -> bool:
            return self.n_calls < 4

    seen: list[int] = []

    def function(local: dict[str, Any], _global: dict[str, Any]) -> bool:
        seen.append(local["self"].num_timesteps)
        return len(seen) < 4

    for callback in (Stopping(), [Stopping()], function):
        learner, _ = synthetic()
        learner.learn(300, callback=callback)  # type: ignore[arg-type]
        assert learner.num_timesteps == 12
    assert len(seen) == 4


def test_an_environment_without_skills_is_refused_with_a_way_out() -> None:
    with pytest.raises(MissingCapability, match="rlteach/ToyCubes-v0; use learner: ppo"):
        on(MAZE, "synthetic")


# -- the public checks ---------------------------------------------------------------------------------------------


def test_the_synthetic_learner_passes_every_check() -> None:
    findings = check_learner("synthetic", env=CUBES)
    assert [finding for finding in findings if finding.ok is not True] == []
    assert [finding.name for finding in findings] == ["build", *CHECKS]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("learner", "kwargs"),
    [("ppo", ON_POLICY), ("fast_ppo", ON_POLICY), (SAC, OFF_POLICY), ("stable_baselines3.TD3", OFF_POLICY)],
    ids=["ppo", "fast_ppo", "sac", "td3"],
)
def test_learners_of_stable_baselines3_pass_every_check(learner: Any, kwargs: dict[str, Any]) -> None:
    findings = check_learner(learner, env=MAZE, kwargs=kwargs, steps=128)
    assert [finding for finding in findings if finding.ok is not True] == []


def test_a_learner_for_an_environment_without_tasks_is_checked_without_them() -> None:
    findings = check_learner("dqn", env="CartPole-v1", kwargs=OFF_POLICY, steps=64)
    assert [finding for finding in findings if finding.ok is not True] == []


@pytest.mark.parametrize(
    ("learner", "env", "says"),
    [
        ("pppo", MAZE, "Did you mean 'ppo'?"),
        ("dqn", MAZE, "action space"),
        ("synthetic", MAZE, "skill_graph"),
        ("collections.OrderedDict", MAZE, "is no learner"),
    ],
)
def test_a_learner_that_cannot_be_built_is_the_only_finding(learner: str, env: str, says: str) -> None:
    (finding,) = check_learner(learner, env=env)
    assert (finding.name, finding.ok) == ("build", False) and says in finding.detail and finding.fix


class Uncounted(SyntheticLearner):
    def _step(self, hooks: Any) -> bool:
        going = super()._step(hooks)
        self.hidden = getattr(self, "hidden", 0) + self.env.num_envs
        if self.num_timesteps > 100:
            self.num_timesteps = 10_000 if self.hidden >= 256 else 100
        return going

    def learn(self, *args: Any, **kwargs: Any) -> "Uncounted":
        super().learn(*args, **kwargs)
        self.num_timesteps = 7
        return self


class Unbatched(SyntheticLearner):
    def predict(self, *args: Any, **kwargs: Any) -> tuple[np.ndarray, Any]:
        return super().predict(*args, **kwargs)[0][0], None


class Boastful(SyntheticLearner):
    def predict(self, *args: Any, **kwargs: Any) -> tuple[np.ndarray, Any]:
        return super().predict(*args, **kwargs)[0] + 2, None


class Moody(SyntheticLearner):
    calls = 0

    def predict(self, *args: Any, **kwargs: Any) -> tuple[np.ndarray, Any]:
        self.calls += 1
        return np.clip(super().predict(*args, **kwargs)[0] + 0.001 * self.calls, 0, 1), None


class Forgetful(SyntheticLearner):
    def save(self, path: str | Path) -> None:
        kept, self.competence = self.competence, np.ones(100)
        super().save(path)
        self.competence = kept


class Unsaved(SyntheticLearner):
    def save(self, path: str | Path) -> None:
        super().save(f"{path}.npz")


class Unseeded(SyntheticLearner):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.competence += np.random.default_rng().random(len(self.competence))


class Deaf(SyntheticLearner):
    def learn(self, total_timesteps: int, callback: Any = None, *, reset_num_timesteps: bool = True) -> "Deaf":
        super().learn(total_timesteps, None, reset_num_timesteps=reset_num_timesteps)
        return self


class Elsewhere(SyntheticLearner):
    def get_env(self) -> Any:
        return None


class Broken(SyntheticLearner):
    def predict(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("out of ideas")


@pytest.mark.parametrize(
    ("learner", "wrong"),
    [
        (Uncounted, {"steps counted"}),
        (Unbatched, {"predict"}),
        (Boastful, {"predict"}),
        (Moody, {"deterministic", "save and load"}),
        (Forgetful, {"save and load"}),
        (Unsaved, {"save and load"}),
        (Unseeded, {"repeatable"}),
        (Deaf, {"callbacks"}),
        (Elsewhere, {"lessons", "predict"}),
        (Broken, {"predict", "deterministic", "save and load", "repeatable"}),
    ],
)
def test_what_is_wrong_with_a_learner_is_found(learner: type, wrong: set[str]) -> None:
    findings = check_learner(learner, env=CUBES, steps=128)
    assert {finding.name for finding in findings if finding.ok is False} == wrong
    assert all(finding.fix and finding.detail for finding in findings if finding.ok is False)


def test_the_seed_of_a_learner_decides_what_it_learns() -> None:
    results = []
    for seed in (0, 0, 1):
        model = on(MAZE, "ppo", ON_POLICY, seed=seed)
        model.learn(64)
        results.append(np.concatenate([p.detach().numpy().ravel() for p in model.policy.parameters()]))
    assert (results[0] == results[1]).all() and not (results[0] == results[2]).all()
    assert isinstance(model.action_space, spaces.Box)
