"""The layout of the code: imports point one way, the front door is light, and nothing global is drawn from."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rlteach

ROOT = Path(__file__).resolve().parents[1]
RLTEACH = sorted((ROOT / "rlteach").rglob("*.py"))
ENVS = sorted((ROOT / "envs" / "rlteach_envs").rglob("*.py"))

LAYERS = (
    {"errors", "lesson"},
    {"task_space", "registry", "report.stats", "dense", "jax_states"},
    {"protocols", "critics"},
    {"environments", "files", "space_files", "sync_vec_env"},
    {"snapshots"},
    {"teachers", "user_envs"},
    {"delivery", "observations"},
    {"learners"},
    {"distillation"},
    {"experiment"},
    {"report", "testing"},
    {"cli"},
    {"__main__"},
)
"""What may import what: only from a layer further up in this list, or within the same part.

`report.stats` stands apart from the rest of `report`: it is arithmetic that imports nothing of rlteach but errors.
"""

PICKLE = {"pickle", "cloudpickle", "dill", "marshal", "shelve"}
PICKLE_ALLOWED: set[str] = set()

GLOBAL_GENERATOR_ALLOWED = {"rlteach/experiment/evaluate.py": {"seed", "get_state", "set_state"}}
"""Stable-Baselines3 draws from the global generator, so a run has to seed, save and restore it: in this one module."""


def name_of(path: Path) -> str:
    """Return the dotted name of a module inside rlteach, without the leading `rlteach.`."""
    parts = path.relative_to(ROOT / "rlteach").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def level_of(module: str) -> tuple[int, str]:
    """Return the layer and the part that a module inside rlteach belongs to; the longest match counts."""
    matches = [(i, part) for i, layer in enumerate(LAYERS) for part in layer if f"{module}.".startswith(f"{part}.")]
    assert matches, f"rlteach.{module} is in no layer of this test: add it where DESIGN wants it"
    return max(matches, key=lambda match: len(match[1]))


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted name of everything that a module imports, at its top, in functions and for typing."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def roots(path: Path) -> set[str]:
    """Return the top-level packages that a module imports."""
    return {name.split(".")[0] for name in imports(path)}


def in_python(script: str) -> str:
    """Run a script in a fresh interpreter and return what it prints."""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", RLTEACH, ids=relative)
def test_imports_point_one_way(path):
    module = name_of(path)
    if module == "":
        return  # the front door names everything, lazily
    layer, part = level_of(module)
    for name in imports(path):
        if not name.startswith("rlteach.") or name == "rlteach.__version__":
            continue
        other_layer, other_part = level_of(name.removeprefix("rlteach."))
        assert other_part == part or other_layer < layer, f"rlteach.{module} must not import {name}"


def test_every_layer_is_named_once():
    parts = [part for layer in LAYERS for part in layer]
    assert len(parts) == len(set(parts))


@pytest.mark.parametrize("path", RLTEACH, ids=relative)
def test_the_suite_never_imports_its_own_environments(path):
    assert "rlteach_envs" not in roots(path)


def test_there_are_environments_and_they_never_import_the_suite_or_a_learner():
    assert ENVS
    forbidden = {"rlteach", "torch", "stable_baselines3", "sb3_contrib"}
    assert {relative(path): found for path in ENVS if (found := roots(path) & forbidden)} == {}


@pytest.mark.parametrize("path", [p for p in RLTEACH if relative(p) not in PICKLE_ALLOWED], ids=relative)
def test_nothing_is_pickled(path):
    assert roots(path) & PICKLE == set()
    loads = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.keyword) and node.arg in {"allow_pickle", "weights_only"}
    ]
    safe = {"allow_pickle": False, "weights_only": True}
    assert all(isinstance(k.value, ast.Constant) and k.value.value is safe[str(k.arg)] for k in loads)


@pytest.mark.parametrize("path", RLTEACH + ENVS, ids=relative)
def test_nobody_draws_from_the_global_generator(path):
    allowed = GLOBAL_GENERATOR_ALLOWED.get(relative(path), set())
    if not allowed:
        assert "random" not in roots(path), "use a np.random.Generator"
    used = {
        node.attr
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"np.random", "numpy.random"}
    }
    assert {name for name in used if name[0].islower()} <= {"default_rng"} | allowed


@pytest.mark.parametrize("path", RLTEACH + ENVS, ids=relative)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_importing_rlteach_imports_nothing_heavy():
    heavy = ["torch", "mujoco", "matplotlib", "stable_baselines3", "sklearn", "pandas", "gymnasium"]
    script = f"import sys, rlteach; print([name for name in {heavy} if name in sys.modules])"
    assert in_python(script) == "[]"


def test_the_help_of_the_command_line_imports_nothing_heavy():
    script = (
        "import contextlib, io, sys\n"
        "from rlteach.cli import main\n"
        "sys.argv = ['rlteach', '--help']\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main()\n"
        "print([name for name in ('torch', 'mujoco', 'matplotlib', 'stable_baselines3') if name in sys.modules])\n"
    )
    assert in_python(script) == "[]"


@pytest.mark.parametrize("name", rlteach.__all__)
def test_every_public_name_resolves(name):
    assert getattr(rlteach, name).__name__ == name


def test_the_list_of_public_names_is_sorted_and_shown_by_dir():
    assert rlteach.__all__ == sorted(rlteach.__all__)
    assert set(rlteach.__all__) <= set(dir(rlteach))


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'rlteach' has no attribute 'nothing'"):
        _ = rlteach.nothing
