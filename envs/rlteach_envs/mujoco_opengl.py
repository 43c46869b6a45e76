"""OpenGL for pictures of MuJoCo: opened without a window, chosen where nobody chose, and its absence explained.

check_opengl("AntDynamics", "rgb_array")    # before Gymnasium draws; EGL where there is no screen
context = open_context("EgocentricView", 84)

MUJOCO_GL says which OpenGL to use: egl (Debian's libegl1 and libgl1) or osmesa (libosmesa6) without a screen, or glfw.
"""

from __future__ import annotations

import importlib
import os
import sys
from functools import cache
from typing import Any

from gymnasium.error import DependencyNotInstalled

KINDS = ("egl", "osmesa", "glfw", "cgl")


def open_context(name: str, size: int, kind: str | None = None) -> Any:
    """Return an OpenGL context without a visible window.

    Args:
        name: Who needs it.
        size: Width and height of its pictures, in pixels.
        kind: Of `KINDS`; by default what the environment variable MUJOCO_GL says, else EGL on Linux.

    Raises:
        gymnasium.error.DependencyNotInstalled: When it cannot be opened, with what to install.
    """
    kind = kind or os.environ.get("MUJOCO_GL", "").lower()
    if kind not in KINDS:
        kind = {"linux": "egl", "darwin": "cgl"}.get(sys.platform, "glfw")
    try:
        base = importlib.import_module(f"mujoco.{kind}").GLContext
        # Only who opened it frees it: a garbage collector would do that in any order.
        context = type(base.__name__, (base,), {"__del__": lambda self: None})(size, size)
        if not getattr(context, "_context", True):
            raise RuntimeError("there is no screen")  # of which GLFW only warns
    except Exception as error:  # whatever OpenGL and its loaders raise: a missing library is an AttributeError of None
        raise no_opengl(name, kind, error) from error
    return context


def no_opengl(name: str, kind: str, error: Exception) -> DependencyNotInstalled:
    """Return the error for an OpenGL that does not work."""
    return DependencyNotInstalled(
        f"{name} cannot draw with MUJOCO_GL={kind} ({type(error).__name__}: {error}). "
        "Without a screen it needs EGL, apt install libegl1 libgl1, "
        "or MUJOCO_GL=osmesa and apt install libosmesa6"
    )


def check_opengl(name: str, render_mode: str | None) -> None:
    """Open OpenGL once before Gymnasium draws, since MuJoCo aborts the process at the second failure.

    Where Linux has no screen and MUJOCO_GL is not set, it is set to egl: Gymnasium would ask for a window. Not sooner,
    since MuJoCo cannot even be imported with an OpenGL that is not installed.

    Args:
        name: Who draws.
        render_mode: How; a person looks at a window, whatever MUJOCO_GL says, and nothing is drawn without a mode.

    Raises:
        gymnasium.error.DependencyNotInstalled: When it cannot be opened, with what to install.
    """
    if render_mode is None:
        return
    chosen = os.environ.get("MUJOCO_GL")
    screen = sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if render_mode == "human":
        _open_once(name, "glfw")
    elif chosen or not screen:
        _open_once(name, chosen)
        os.environ.setdefault("MUJOCO_GL", "egl")


@cache
def _open_once(name: str, kind: str | None) -> None:
    open_context(name, 8, kind).free()
