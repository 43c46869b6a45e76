"""Pictures of MuJoCo without a screen: EGL is chosen by itself, and what is missing is named, also the second time."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gymnasium.error import DependencyNotInstalled
from rlteach_envs import mujoco_opengl

if any(importlib.util.find_spec(module) is None for module in ("mujoco", "imageio")):
    pytest.skip("needs MuJoCo: pip install rlteach[mujoco]", allow_module_level=True)

DRAW = """
import sys
import gymnasium as gym, rlteach_envs
for name in sys.argv[1:]:
    env = gym.make(f"rlteach/{name}-v0", render_mode="rgb_array", width=32, height=32)
    env.reset(seed=0)
    for _ in range(2):
        try:
            print(name, env.render().shape)
        except gym.error.DependencyNotInstalled as error:
            print(error)
    env.close()
"""
NAMES = ("TerrainWalker", "MaskedHopper", "AntDynamics")


def drawn(directory: Path, **environment: str) -> list[str]:
    """Return what a process prints that draws each of the three twice."""
    apart = ("MUJOCO_GL", "PYOPENGL_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY")
    known = {name: value for name, value in os.environ.items() if name not in apart}
    command = [sys.executable, "-c", DRAW, *NAMES]
    done = subprocess.run(command, env=known | environment, cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere OpenGL needs no choice")
def test_without_a_screen_pictures_are_drawn_by_egl(tmp_path: Path) -> None:
    try:
        mujoco_opengl.open_context("this test", 8, "egl").free()
    except DependencyNotInstalled as error:
        pytest.skip(str(error))
    assert drawn(tmp_path) == [f"{name} (32, 32, 3)" for name in NAMES for _ in range(2)]


@pytest.mark.skipif(sys.platform != "linux", reason="a window needs no DISPLAY elsewhere")
@pytest.mark.filterwarnings("ignore")
def test_without_opengl_each_attempt_says_what_to_install(tmp_path: Path) -> None:
    lines = drawn(tmp_path, MUJOCO_GL="glfw")
    assert len(lines) == 6
    for name, *told in zip(NAMES, lines[::2], lines[1::2], strict=True):
        for line in told:
            assert name.removesuffix("Dynamics") in line and "cannot draw with MUJOCO_GL=glfw" in line
            assert "apt install libegl1 libgl1, or MUJOCO_GL=osmesa and apt install libosmesa6" in line


WITHOUT = """
import gymnasium as gym, rlteach_envs
try:
    gym.make("rlteach/TerrainWalker-v0")
except gym.error.DependencyNotInstalled as error:
    print(error)
"""


def test_an_opengl_that_mujoco_cannot_be_imported_with_is_named(tmp_path: Path) -> None:
    environment, command = {**os.environ, "MUJOCO_GL": "nothing"}, [sys.executable, "-c", WITHOUT]
    done = subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "TerrainWalker cannot draw with MUJOCO_GL=nothing (RuntimeError: invalid value" in done.stdout


@pytest.mark.parametrize(
    ("variables", "mode", "opened", "chosen"),
    [
        ({}, "rgb_array", [None], "egl"),
        ({}, None, [], None),
        ({}, "human", ["glfw"], None),
        ({"DISPLAY": ":0"}, "rgb_array", [], None),
        ({"WAYLAND_DISPLAY": "w"}, "rgb_array", [], None),
        ({"MUJOCO_GL": "osmesa"}, "rgb_array", ["osmesa"], "osmesa"),
    ],
)
def test_only_what_nobody_chose_is_chosen(
    variables: dict[str, str],
    mode: str | None,
    opened: list[str | None],
    chosen: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[str | None] = []
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "environ", dict(variables))
    monkeypatch.setattr(mujoco_opengl, "_open_once", lambda name, kind: found.append(kind))
    mujoco_opengl.check_opengl("this test", mode)
    assert found == opened and os.environ.get("MUJOCO_GL") == chosen
