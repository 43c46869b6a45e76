"""Errors tell what is wrong, the nearest valid choice, and what to type next."""

import inspect

import pytest

from rlteach import errors
from rlteach.errors import (
    ConfigError,
    InvalidValue,
    MissingCapability,
    MissingExtra,
    RlteachError,
    UnknownName,
    UserError,
    did_you_mean,
)


def test_every_error_class_is_in_the_tree_at_the_top_of_the_module():
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, RlteachError)]
    assert len(classes) >= 9
    assert errors.__doc__ is not None
    assert [c.__name__ for c in classes if c.__name__ not in errors.__doc__] == []


def test_unknown_name_offers_the_nearest_one_and_is_also_a_key_error():
    error = UnknownName(
        "teacher", "alp_gm", ["uniform", "alp_gmm"], next_step="`rlteach list teachers` shows them all."
    )
    assert str(error) == (
        "no teacher is called 'alp_gm'. Did you mean 'alp_gmm'? `rlteach list teachers` shows them all."
    )
    assert isinstance(error, KeyError) and isinstance(error, UserError)
    assert error.known == ["alp_gmm", "uniform"]


def test_a_name_far_from_everything_gets_no_guess():
    assert str(UnknownName("teacher", "zzz", ["uniform"])) == "no teacher is called 'zzz'."


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("PPO", "stable_baselines3.PPO"),
        ("ppo", "stable_baselines3.PPO"),
        ("GoalMaze-v1", "rlteach/GoalMaze-v0"),
        ("rlteach/goalmaze-v0", "rlteach/GoalMaze-v0"),
        ("mine:Leraner", "mine:Learner"),
    ],
)
def test_the_last_part_of_a_name_is_enough_to_find_it(name, nearest):
    known = ["stable_baselines3.PPO", "rlteach/GoalMaze-v0", "mine:Learner"]
    assert did_you_mean(name, known) == f" Did you mean {nearest!r}?"


def test_a_name_that_is_known_itself_wins_over_the_tail_of_another():
    assert did_you_mean("ppo", ["stable_baselines3.PPO", "ppo"]) == " Did you mean 'ppo'?"


def test_config_error_lists_every_fault_with_its_place():
    error = ConfigError(["gamma = 2 must lie in [0, 1]", "unknown key 'sede'"], where="run.yaml")
    assert str(error) == "2 faults in run.yaml:\n  - gamma = 2 must lie in [0, 1]\n  - unknown key 'sede'"
    assert str(ConfigError(["x"])).startswith("1 fault in configuration:")


def test_missing_capability_shows_the_recipe():
    text = str(MissingCapability("`task_space`", where="CartPole-v1", recipe="class MyEnv:\n    task_space = ...\n\n"))
    assert text == "CartPole-v1 has no `task_space`. Add it like this:\n\nclass MyEnv:\n    task_space = ...\n"


def test_missing_extra_shows_the_install_command_and_is_an_import_error():
    error = MissingExtra("matplotlib", "report", purpose="a figure")
    assert str(error).endswith("pip install 'rlteach[report]'")
    assert isinstance(error, ImportError)


def test_invalid_value_can_be_caught_as_a_value_error():
    with pytest.raises(ValueError, match="too small"):
        raise InvalidValue("too small")
