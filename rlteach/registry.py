"""Names to things, through entry points, lazily.

    rlteach.registry.load("teacher", "alp_gmm")           # the class, imported now
    rlteach.registry.entries("teacher")                   # what is known; imports nothing

A package adds its own with `[project.entry-points."rlteach.teachers"] mine = "my_package.mine:Mine"`.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from rlteach.errors import MissingExtra, UnknownName, UserError, did_you_mean

KINDS = ("env", "teacher", "start", "learner", "method")
GROUPS = {"learner": ("rlteach.learners", "rlteach.methods")}
"""Entry-point groups of a kind where it is not the one of its name: a method of distillation is a learner too."""

EXTRAS = {"sb3_contrib": "contrib", "sbx": "sbx"}
"""Packages that learners are imported from, and the extra that brings each."""


@dataclass(frozen=True)
class Entry:
    """One registered name.

    Attributes:
        name: What users type.
        target: `"module:attribute"`, or `"module"` for an environment package.
        package: The distribution that registered it.
        kind: What it was registered as.
    """

    name: str
    target: str
    package: str
    kind: str = ""

    def load(self) -> Any:
        """Import the target."""
        return _import_target(self.target)

    def summary(self) -> str:
        """Return the first line of the target's docstring, read from its source without importing it."""
        module, _, attribute = self.target.partition(":")
        path = _source_of(module)
        if path is None:
            return ""
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = [n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name == attribute]
        doc = ast.get_docstring(nodes[0]) if nodes else ast.get_docstring(tree)
        return (doc or "").strip().split("\n", 1)[0]


@cache
def entries(kind: str) -> dict[str, Entry]:
    """Return every registered name of a kind (one of `KINDS`), sorted; imports none of them."""
    found = [e for group in GROUPS.get(kind, (f"rlteach.{kind}s",)) for e in metadata.entry_points(group=group)]
    named = {
        e.name: Entry(
            e.name, e.value, e.dist.name if e.dist else "", e.group.removeprefix("rlteach.").removesuffix("s")
        )
        for e in found
    }
    return dict(sorted(named.items()))


def load(kind: str, name: str) -> Any:
    """Return the class or function that `name` stands for: a registered name, or an import path `package.Class`.

    Raises:
        UnknownName: With the nearest registered name.
    """
    known = entries(kind)
    if name in known:
        return known[name].load()
    if "." in name or ":" in name:
        target = name if ":" in name else ":".join(name.rsplit(".", 1))
        try:
            return _import_target(target)
        except (ImportError, AttributeError, TypeError, ValueError) as error:  # the last two: "." or ":" alone
            if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
                raise MissingExtra(error.name, EXTRAS[error.name], purpose=f"the {kind} {name}") from error
            raise UserError(
                f"cannot import {kind} {name!r}: {error}.{did_you_mean(name, known)} "
                f"`rlteach list {kind}s` shows every registered one."
            ) from error
    raise UnknownName(kind, name, known, next_step=f"`rlteach list {kind}s` shows them all.")


def _import_target(target: str) -> Any:
    module, _, attribute = target.partition(":")
    loaded = importlib.import_module(module)
    for part in attribute.split(".") if attribute else []:
        loaded = getattr(loaded, part)
    return loaded


def _source_of(module: str) -> Path | None:
    """Find a module's source from its top-level package, so that no package code runs."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return None
    base = Path(spec.origin)
    if not rest:
        return base
    folder = base.parent.joinpath(*rest)
    for candidate in (folder.with_suffix(".py"), folder / "__init__.py"):
        if candidate.exists():
            return candidate
    return None
