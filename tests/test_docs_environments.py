"""Every environment has its section and its picture, and what a table says is what the environment says."""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import rlteach_envs
from PIL import Image

from rlteach.task_space import TaskSpace

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
IDS = sorted(name for name in gym.registry if name.startswith("rlteach/"))
SECTIONS = dict(zip(*[iter(re.split(r"^## (.+)\n", PAGE, flags=re.MULTILINE)[1:])] * 2, strict=True))


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    path = ROOT / "scripts" / "draw_environments.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[path.stem]


def name_of(env_id: str) -> str:
    return env_id.removeprefix("rlteach/").rpartition("-v")[0]


@pytest.mark.parametrize("env_id", IDS)
def test_a_section_agrees_with_its_environment(env_id: str, script: ModuleType) -> None:
    try:
        reference = script.reference(env_id)
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        pytest.skip(str(error))
    section = SECTIONS[name_of(env_id)]
    assert reference in section, "run: python scripts/draw_environments.py --text"
    assert f"\n`{env_id}`\n" in section and "**Reward and success.**" in section


@pytest.mark.parametrize("env_id", IDS)
def test_a_section_shows_a_small_picture(env_id: str) -> None:
    name = name_of(env_id)
    assert f"](pictures/environments/{name}.png)" in SECTIONS[name]
    path = ROOT / "docs" / "pictures" / "environments" / f"{name}.png"
    assert path.stat().st_size <= 30_000
    with Image.open(path) as picture:
        assert picture.width > 600 and len(picture.convert("RGB").getcolors(1 << 20) or ()) > 5


def test_nothing_else_is_described_and_nothing_is_left_over() -> None:
    names = {name_of(env_id) for env_id in IDS}
    assert set(SECTIONS) - names == {"Wrappers for other environments"}
    assert {path.stem for path in (ROOT / "docs" / "pictures" / "environments").iterdir()} == names
    listed = re.findall(r"\[(\w+)\]\(#(\w+)\)", PAGE.partition("\n## ")[0])
    assert sorted(name for name, _ in listed) == sorted(names)
    assert all(link == name.lower() for name, link in listed)


class Sample(gym.Env[Any, Any]):
    """An environment with everything that a table may hold."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}
    observation_space = gym.spaces.Dict(
        seen=gym.spaces.Box(0, 255, (8, 8, 3), np.uint8), hidden=gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    )
    action_space = gym.spaces.Box(np.array([-1, 0], np.float32), np.ones(2, np.float32))
    action_names = ("turn", "go")
    observation_groups: ClassVar[dict[str, Any]] = {"policy": ("seen",), "privileged": ("hidden",)}
    observation_names: ClassVar[dict[str, Any]] = {"privileged": ("a", "b")}
    task_space = gym.spaces.Dict(
        cells=gym.spaces.MultiDiscrete([3] * 7), height=gym.spaces.Box(0.5, 2.0, (), np.float64)
    )
    task_units: ClassVar[dict[str, Any]] = {"height": "m"}
    test_sets: ClassVar[dict[str, Any]] = {"grid": [{}, {}]}
    return_range = (-1.0, 1000.0)
    horizon = 1500

    def edit_task(self, task: Any, rng: np.random.Generator) -> Any:
        return task

    def get_snapshot(self) -> dict[str, Any]:
        return {}

    def set_snapshot(self, snapshot: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return self.observation_space.sample(), {}


def test_a_table_is_read_off_the_environment(script: ModuleType) -> None:
    gym.register("rlteach/Sample-v0", Sample)
    try:
        lines = script.reference("rlteach/Sample-v0").splitlines()
    finally:
        del gym.registry["rlteach/Sample-v0"]
    assert lines[2:6] == [
        "| task parameter | bounds | unit |",
        "|---|---|---|",
        "| `cells[0]` ... `cells[6]` (7) | 0 to 2, whole |  |",
        "| `height` | 0.5 to 2 | m |",
    ]
    assert lines[9:14] == [
        "| observation | `policy`, 8 x 8 x 3 uint8; `privileged`, 2 numbers: `a`, `b` |",
        "| action | 2 numbers in [-1, 1] or [0, 1]: `turn`, `go` |",
        "| episode | at most 1,500 steps, returns from -1 to 1,000 |",
        "| test sets | `grid` (2) |",
        "| offers | snapshots, `edit_task`, pictures |",
    ]


def test_a_page_is_written_anew_only_between_its_marks(script: ModuleType) -> None:
    begin, end = script.begin("rlteach/TigerRoom-v0"), script.END
    written = script.with_tables(f"before\n{begin}\nold\n{end}\nafter\n")
    assert written == f"before\n{script.reference('rlteach/TigerRoom-v0')}\nafter\n"


def test_a_picture_is_drawn_and_small(script: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(script.draw("PointMassGate", "rlteach/PointMassGate-v0"))
    assert path.stat().st_size <= 30_000
    with Image.open(path) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or ()}
    assert any(b > 180 and r < 80 for r, _, b in colours), "the mass is blue"


@pytest.mark.parametrize("env_id", IDS)
def test_the_list_agrees_with_the_environment(env_id, script):
    try:
        env = script.make(env_id)
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        pytest.skip(str(error))
    found = ["tasks"] if script.capability(env, "task_space") is not None else []
    found += ["privileged"] if len(script.capability(env, "observation_groups") or {}) > 1 else []
    for offer in script.offers(env_id, env):
        found.append(rlteach_envs.ADAPTED if offer.startswith("snapshots through") else offer.strip("`"))
    assert rlteach_envs.OFFERS[env_id] == tuple(found)


@pytest.mark.parametrize("env_id", IDS)
def test_every_task_parameter_has_a_unit_or_says_that_it_has_none(env_id, script):
    try:
        env = script.make(env_id)
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        pytest.skip(str(error))
    space = script.capability(env, "task_space")
    parameters = () if space is None else TaskSpace.of(space, env).parameters
    assert [parameter.name for parameter in parameters if not parameter.unit] == []


WITHOUT = """
import json, sys
sys.modules.update(mujoco=None, Box2D=None, minigrid=None, numba=None)
import gymnasium as gym, rlteach_envs
needed = {}
for env_id in rlteach_envs.OFFERS:
    try:
        gym.make(env_id)
    except gym.error.DependencyNotInstalled as error:
        needed[env_id] = str(error).partition("pip install rlteach[")[2].partition("]")[0]
print(json.dumps(needed))
"""


def test_the_list_names_the_extra_that_an_environment_needs():
    done = subprocess.run([sys.executable, "-c", WITHOUT], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == rlteach_envs.EXTRAS
