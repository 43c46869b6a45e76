"""Every teacher has its page, and what a page says of a constructor is what the constructor says."""

import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from rlteach.registry import entries

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "teachers"
TASKS, STARTS = ([n for n, e in entries(kind).items() if e.package == "rlteach"] for kind in ("teacher", "start"))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "scripts" / "draw_teachers.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[path.stem]


def text_of(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*TASKS, *STARTS])
def test_a_page_agrees_with_the_constructor(name: str, script: ModuleType) -> None:
    cls = script.registered()[name]
    assert script.reference(cls) in text_of(name), "run: python scripts/draw_teachers.py --text"
    assert all(script.arguments(cls).values()), "an argument has no meaning in the docstring"


@pytest.mark.parametrize("name", [*TASKS, *STARTS])
def test_a_page_has_all_its_parts(name: str) -> None:
    text = text_of(name)
    assert re.match(rf"# .+ \(`{name}`\)\n", text)
    assert "$$" in text.split("<!--")[0], "an equation comes before the reference part"
    assert all(f"\n**{part}.** " in text for part in ("Needs and pays", "When it fails", "Source"))
    assert text.count("$$") % 2 == 0 and len(text.splitlines()) < 70


def test_every_link_of_a_page_leads_somewhere() -> None:
    for page in PAGES.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
        for place in re.findall(r"`(benchmarks/results/[a-z_]+)`", page.read_text(encoding="utf-8")):
            assert (ROOT / place / "table.md").exists(), f"{page.name}: {place}"


def test_there_is_a_page_for_every_teacher_a_row_for_every_page_and_nothing_else() -> None:
    pages = {page.stem for page in PAGES.glob("*.md")} - {"README"}
    assert pages == {*TASKS, *STARTS}
    rows = re.findall(r"^\| \[`(\w+)`\]\((\w+)\.md\) \| (task|start) \|", text_of("README"), flags=re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted([*TASKS, *STARTS])
    assert all(name == link and kind == ("task" if name in TASKS else "start") for name, link, kind in rows)


def test_every_task_teacher_has_a_small_picture_that_its_page_shows() -> None:
    assert {path.stem for path in (PAGES / "pictures").iterdir()} == set(TASKS)
    for name in TASKS:
        path = PAGES / "pictures" / f"{name}.png"
        assert f"(pictures/{name}.png)" in text_of(name)
        assert path.stat().st_size <= 40_000
        with Image.open(path) as picture:
            assert picture.width > 600 and len(picture.convert("RGB").getcolors(1 << 20) or ()) > 10


# -- the script ----------------------------------------------------------------------------------------------------


class Sample:
    """A class with everything that a signature may hold.

    Args:
        space: The first one,
            over two lines.
        share: A share; `None` | a number.
        **more: The rest.
    """

    def __init__(self, space: int, *, share: "float | None" = None, name: str = "a", **more: object) -> None:
        """Store nothing."""


class Derived(Sample):
    """One that explains one argument anew.

    Args:
        name: A name.
    """


def test_a_signature_is_one_that_python_reads_back(script: ModuleType) -> None:
    text = script.signature(Sample)
    assert text == "Sample(\n    space: int, *, share: float | None = None, name: str = 'a', **more: object,\n)"
    for cls in script.registered().values():
        lines = script.signature(cls).splitlines()
        assert max(map(len, lines)) <= 100
        body = "\n".join(lines[1:-1]).rstrip(",")
        namespace: dict[str, object] = {}
        exec(f"from __future__ import annotations\ndef f(\n{body}\n): pass", {}, namespace)
        read, real = inspect.signature(namespace["f"]), inspect.signature(cls)  # type: ignore[arg-type]
        assert [(p.name, p.kind, p.default) for p in read.parameters.values()] == [
            (p.name, p.kind, p.default) for p in real.parameters.values()
        ]


def test_meanings_come_from_the_class_and_then_from_its_base(script: ModuleType) -> None:
    assert script.arguments(Derived) == {
        "space": "The first one, over two lines.",
        "share": "A share; `None` | a number.",
        "name": "A name.",
        "more": "The rest.",
    }
    assert "| `share` | A share; `None` \\| a number. |" in script.reference(Derived)


def test_only_the_reference_part_of_a_page_is_written_anew(script: ModuleType) -> None:
    page = f"before\n\n{script.BEGIN}\nold\n{script.END}\n\nafter\n"
    written = script.with_reference(page, Sample)
    assert written == f"before\n\n{script.reference(Sample)}\n\nafter\n"
    assert script.with_reference(written, Sample) == written
