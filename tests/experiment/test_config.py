"""Configurations are checked in full before anything is built."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlteach.errors import ConfigError, UserError
from rlteach.experiment import config


def base(**changes: Any) -> dict[str, Any]:
    return config.merge({"env": {"id": "CartPole-v1"}, "steps": 100}, changes)


def faults(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        config.parse(base(**changes))
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"stepz": 3}, "Did you mean 'steps'"),
        ({"env.n_env": 3}, "Did you mean 'n_envs'"),
        ({"steps": 0}, "steps = 0"),
        ({"steps": "many"}, "steps = 'many'"),
        ({"seed": -1}, "seed = -1"),
        ({"env.id": "CartPol-v1"}, "Did you mean 'CartPole-v1'"),
        ({"env.vec": "fast"}, "env.vec = 'fast'"),
        ({"teacher": {"name": "uniforn"}}, "Did you mean 'uniform'"),
        ({"teacher": {"name": "uniform", "kwargs": {"sed": 1}}}, "Did you mean 'seed'"),
        ({"learner": {"name": "PPO"}}, "Did you mean 'ppo'"),
        ({"learner": {"name": "stable_baselines3.POP"}}, "cannot import"),
        ({"learner": {"name": "ppo", "kwargs": {"n_step": 8}}}, "Did you mean 'n_steps'"),
        ({"learner": {"name": "ppo", "kwargs": {"n_steps": 4, "batch_size": 64}}}, "larger than a rollout"),
        ({"learner": {"name": "ppo", "kwargs": {"gamma": 1.5}}}, "gamma"),
        ({"evaluation": {"every": 0}}, "evaluation.every"),
        ({"evaluation": {"policies": ["best"]}}, "evaluation.policies"),
    ],
)
def test_each_fault_is_named_with_the_nearest_choice(change: dict[str, Any], says: str) -> None:
    assert says in faults(**change)


def test_all_faults_are_told_at_once() -> None:
    text = faults(steps=-5, stepz=1, **{"env.n_envs": 0})
    assert "3 faults" in text and "steps = -5" in text and "stepz" in text and "env.n_envs = 0" in text
    names = faults(**{"env.id": "Nope-v0", "teacher": {"name": "nope"}, "learner": {"name": "nope"}})
    assert "3 faults" in names


def test_yaml_faults_tell_the_line(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("env:\n  id: CartPole-v1\n  n_env: 3\nsteps: 10\n")
    with pytest.raises(ConfigError, match=r"line 3: unknown key 'env.n_env'"):
        config.load(file)


@pytest.mark.parametrize("text", ["env: [", "- a\n- b\n", ""])
def test_files_that_are_no_mapping_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(UserError):
        config.load(tmp_path / "run.yaml")


def test_yaml_cannot_execute_code(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("env: !!python/object/apply:os.mkdir ['owned']\nsteps: 1\n")
    with pytest.raises(UserError):
        config.load(tmp_path / "run.yaml")
    assert not Path("owned").exists()


def test_a_missing_file_gets_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "maze.yaml").write_text("")
    with pytest.raises(UserError, match=r"Did you mean 'maze.yaml'"):
        config.load(tmp_path / "maze.yml")


def test_python_configurations_define_config(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("CONFIG = {'env': {'id': 'CartPole-v1'}, 'steps': 7}\n")
    assert config.load(tmp_path / "run.py").steps == 7
    (tmp_path / "run.py").write_text("X = 1\n")
    with pytest.raises(UserError, match="CONFIG"):
        config.load(tmp_path / "run.py")


def test_a_resolved_configuration_reads_back_to_the_same_run(tmp_path: Path) -> None:
    one = config.parse(base(seed=3, teacher={"name": "uniform"}))
    (tmp_path / "config.yaml").write_text(one.to_yaml())
    assert config.load(tmp_path / "config.yaml") == one
    assert config.load(tmp_path / "config.yaml").run_id() == one.run_id()


def test_the_run_id_depends_on_seed_and_every_setting() -> None:
    ids = {config.parse(base(**change)).run_id() for change in ({}, {"seed": 1}, {"steps": 101}, {"env.n_envs": 9})}
    assert len(ids) == 4


def test_merge_reaches_into_mappings_and_leaves_its_input_alone() -> None:
    before = {"a": {"b": 1, "c": 2}}
    assert config.merge(before, {"a.b": 3, "d": {"e": 1}}) == {"a": {"b": 3, "c": 2}, "d": {"e": 1}}
    assert before == {"a": {"b": 1, "c": 2}}


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "env",
                "env.id",
                "env.n_envs",
                "steps",
                "seed",
                "teacher",
                "teacher.name",
                "learner.kwargs",
                "evaluation",
                "x",
            ]
        ),
        st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=4), st.lists(st.integers(), max_size=2)),
        min_size=1,
        max_size=4,
    )
)
def test_no_mutated_configuration_gives_anything_but_a_user_error(changes: dict[str, Any]) -> None:
    data: dict[str, Any] = base()
    for key, value in sorted(changes.items()):
        try:
            data = config.merge(data, {key: value})
        except (TypeError, AttributeError, ValueError):  # the mutation itself does not apply
            return
    try:
        config.parse(data)
    except UserError:
        pass
