"""The README's Python is run as it stands."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=lambda code: re.sub(r"\W+", "-", code[:40]))
def test_every_python_block_runs(code: str) -> None:
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    if "model" in names:
        assert names["model"].num_timesteps >= 2_048  # type: ignore[attr-defined]
    if "make" in names:
        names["make"]().reset(seed=0, options={"task": {"g": 9.0, "m": 1.5}})  # type: ignore[operator]


def test_the_readme_has_all_blocks() -> None:
    assert len(BLOCKS) == 4
