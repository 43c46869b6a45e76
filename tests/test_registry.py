"""The registry: names and import paths become classes; listing imports nothing."""

import subprocess
import sys

import pytest

from rlteach import registry
from rlteach.errors import MissingExtra, UnknownName, UserError
from rlteach.task_space import TaskSpace
from rlteach.teachers.uniform import Uniform


def test_a_registered_name_gives_its_class():
    assert registry.load("teacher", "uniform") is Uniform


@pytest.mark.parametrize("name", ["rlteach.task_space.TaskSpace", "rlteach.task_space:TaskSpace"])
def test_an_import_path_gives_its_class(name):
    assert registry.load("learner", name) is TaskSpace


def test_a_colon_lets_a_path_lead_into_a_class():
    assert registry.load("teacher", "rlteach.task_space:TaskSpace.of") == TaskSpace.of


@pytest.mark.parametrize(
    ("kind", "name", "nearest"),
    [("teacher", "unifrom", "uniform"), ("teacher", "ALP_GMM", "alp_gmm"), ("learner", "PPO", "ppo")],
)
def test_a_misspelt_name_gets_the_nearest_one_and_the_list_command(kind, name, nearest):
    with pytest.raises(UnknownName, match=f"no {kind} is called '{name}'. Did you mean '{nearest}'") as caught:
        registry.load(kind, name)
    assert f"`rlteach list {kind}s`" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_package.Thing", "No module named 'no_such_package'"),
        ("no_such_package:Thing", "No module named 'no_such_package'"),
        ("rlteach.task_space.Tusk", "has no attribute 'Tusk'"),
        ("rlteach.teachers:uniform.Nothing", "has no attribute"),
        (".", "cannot import teacher '.'"),
        (":", "cannot import teacher ':'"),
        (".uniform", "cannot import teacher '.uniform'"),
    ],
)
def test_an_import_path_that_leads_nowhere_says_why(name, reason):
    with pytest.raises(UserError, match="`rlteach list teachers`") as caught:
        registry.load("teacher", name)
    assert reason in str(caught.value)


@pytest.mark.parametrize("kind", registry.KINDS)
def test_entries_are_sorted_and_tell_who_registered_them(kind):
    found = registry.entries(kind)
    assert list(found) == sorted(found)
    assert {entry.package for entry in found.values() if entry.target.startswith("rlteach")} == {"rlteach"}


def test_the_summary_is_the_first_line_of_the_docstring():
    assert registry.entries("teacher")["uniform"].summary() == (Uniform.__doc__ or "").split("\n")[0]


def test_the_summary_of_a_package_is_its_own_first_line_and_of_nothing_is_empty():
    assert registry.Entry("t", "rlteach.teachers", "").summary().startswith("Curriculum teachers")
    assert registry.Entry("n", "no_such_package:Thing", "").summary() == ""
    assert registry.Entry("n", "rlteach.no_such_module:Thing", "").summary() == ""


def test_listing_and_summarising_imports_no_plug_in():
    script = (
        "import sys\n"
        "from rlteach import registry\n"
        "lines = [(e.name, e.summary()) for kind in registry.KINDS for e in registry.entries(kind).values()]\n"
        "assert ('uniform', 'Draws tasks uniformly and learns nothing.') in lines, lines\n"
        "heavy = ['torch', 'stable_baselines3', 'rlteach_envs', 'gymnasium', 'rlteach.teachers.uniform']\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_loading_everything_leaves_the_process_as_it_was():
    """PLR's published code makes every floating-point warning an error, for the whole process, when it is imported."""
    code = """
import numpy as np, torch, gymnasium
from rlteach import registry

def process():
    settings = np.geterr(), np.get_printoptions(), torch.get_default_dtype(), torch.get_num_threads()
    return settings, torch.initial_seed(), np.random.get_state()[1].tolist()

before = process()
for kind in ("teacher", "start", "method"):
    for name in registry.entries(kind):
        registry.load(kind, name)
assert process() == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_learner_of_an_extra_that_is_missing_names_the_command(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(registry.importlib, "import_module", missing)
    with pytest.raises(MissingExtra, match=r"pip install 'rlteach\[sbx\]'"):
        registry.load("learner", "sbx.SAC")


def test_a_faulty_import_from_an_extra_that_is_there_is_told_as_it_is(monkeypatch):
    def faulty(name):
        raise ImportError("cannot import name 'NewAlgorithm' from 'sbx'", name="sbx")

    monkeypatch.setattr(registry.importlib, "import_module", faulty)
    with pytest.raises(UserError, match="NewAlgorithm"):
        registry.load("learner", "mine.Learner")
