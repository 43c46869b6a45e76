"""EgocentricView: what a camera on the body of any MuJoCo environment sees, as its observation.

    env = EgocentricView(gymnasium.make("HalfCheetah-v5"))
    env.reset()[0]["camera"]      # (84, 84, 3) uint8

Needs MuJoCo, pip install rlteach[mujoco], and OpenGL without a window: EGL (Debian's libegl1 and libgl1), or OSMesa
with MUJOCO_GL=osmesa (libosmesa6). MuJoCo's model is neither changed nor compiled again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlteach_envs.mujoco_dynamics import load_mujoco
from rlteach_envs.mujoco_opengl import open_context

Floats = NDArray[np.float64]
Picture = NDArray[np.uint8]

LUMINANCE = np.array([0.299, 0.587, 0.114])
"""Shares of red, green and blue in the brightness of a pixel: ITU-R BT.601."""

GAP = 0.02
"""Distance of the camera from the front of the body, in m."""

TILE = 2.0
"""Planes are drawn in tiles of at least this width, in m: those of 0.125 m of some models take most of the time."""

MAX_GEOMS = 2000
"""Shapes that one picture can hold."""


class EgocentricView(gym.Wrapper[Any, Any, Any, Any]):
    """Adds the picture of a camera that is fixed to a body, and hides what it replaces from the student.

    Observation: a Dict with `camera` (size, size, 3 or 1) uint8, and beside it the environment's own: as `state`, or
    under its own keys when it is a Dict already. Groups: `policy` sees the camera, and `privileged` the rest. With
    `proprioception`, `policy` also sees what it saw before, and `privileged` only what was hidden already.

    Shadows, reflections and multisampling are off, which on a CPU is 25 times faster and loses little at this size.
    The renderer is built for the first picture and kept. Whatever changes between pictures is seen: poses, sizes,
    colours and height fields; textures and meshes are not loaded again.

    Args:
        env: An environment whose bare form holds an `mjModel` as `model` and an `mjData` as `data`.
        body: Name of the body; by default the first that moves.
        position: Place of the camera in the frame of the body, in m; by default just before the front of the body.
        direction: Where it looks, in the frame of the body.
        field_of_view: Vertical angle of the picture, in degrees.
        size: Height and width of the picture, in pixels.
        grey: Give brightness instead of red, green and blue.
        proprioception: Leave the student what it saw without a camera.

    Raises:
        ValueError: For an unknown body, which names those that there are, or a number out of its range.
        gymnasium.error.DependencyNotInstalled: Without MuJoCo.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        *,
        body: str | None = None,
        position: Sequence[float] | None = None,
        direction: Sequence[float] = (1.0, 0.0, -0.3),
        field_of_view: float = 90.0,
        size: int = 84,
        grey: bool = False,
        proprioception: bool = False,
    ) -> None:
        super().__init__(env)
        mujoco = load_mujoco("EgocentricView")
        bare: Any = env.unwrapped
        if not isinstance(getattr(bare, "model", None), mujoco.MjModel) or not hasattr(bare, "data"):
            raise ValueError(f"EgocentricView needs an environment with MuJoCo's model and data, which {env} has not")
        if not 1 <= size <= 1024:
            raise ValueError(f"size = {size} must be between 1 and 1024 pixels")
        if not 1 <= field_of_view <= 170:
            raise ValueError(f"field_of_view = {field_of_view} must be between 1 and 170 degrees")
        self._body = _body(bare.model, body)
        self._axes = camera_axes(direction)
        forward = self._axes[0]
        self._position = front(bare.model, self._body, forward) if position is None else _three("position", position)
        self._shape = (size, size, 1 if grey else 3)
        self._field_of_view = field_of_view
        self.renderer: Any = None
        inside = env.observation_space
        own = dict(inside.spaces) if isinstance(inside, spaces.Dict) else {"state": inside}
        if "camera" in own:
            raise ValueError(f"{env} has an observation named camera already")
        self.observation_space = spaces.Dict({"camera": spaces.Box(0, 255, self._shape, np.uint8), **own})
        self.observation_groups = _groups(env, tuple(own), proprioception)
        if env.has_wrapper_attr("set_task"):
            self.set_task = self._set_task

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode and look."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._with_picture(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step and look."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._with_picture(observation), reward, terminated, truncated, info

    def _set_task(self, task: Any) -> tuple[Any, dict[str, Any]]:
        """Change the task in the middle of an episode, where the environment offers that, and look."""
        observation, info = self.env.get_wrapper_attr("set_task")(task)
        return self._with_picture(observation), info

    def _with_picture(self, observation: Any) -> dict[str, Any]:
        own = observation if isinstance(observation, dict) else {"state": observation}
        return {"camera": self.picture(), **own}

    def picture(self) -> Picture:
        """Return what the camera sees now.

        Raises:
            gymnasium.error.DependencyNotInstalled: When no OpenGL without a window is there.
        """
        bare: Any = self.env.unwrapped
        if self.renderer is None:
            self.renderer = Renderer(bare.model, self._shape[0], self._field_of_view)
        turn = bare.data.xmat[self._body].reshape(3, 3)
        place = bare.data.xpos[self._body] + turn @ self._position
        picture: Picture = self.renderer.draw(bare.data, place, *(turn @ axis for axis in self._axes))
        if self._shape[2] == 3:
            return np.ascontiguousarray(picture)
        return np.asarray(picture @ LUMINANCE + 0.5, np.uint8)[..., None]

    def close(self) -> None:
        """Free the renderer and close the environment."""
        if self.renderer is not None:
            self.renderer.close()
            self.renderer = None
        super().close()


# -- where the camera is -----------------------------------------------------------------------------------------------


def camera_axes(direction: Sequence[float]) -> tuple[Floats, Floats]:
    """Return the unit vectors of looking forwards and of up, which is as near to z as it can be."""
    forward = _three("direction", direction)
    length = np.linalg.norm(forward)
    if not length > 0:
        raise ValueError(f"direction = {list(direction)} must not be zero")
    forward = forward / length
    up = np.array([0.0, 0.0, 1.0]) if abs(forward[2]) < 0.999 else np.array([1.0, 0.0, 0.0])
    up = up - (up @ forward) * forward
    return forward, up / np.linalg.norm(up)


def front(model: Any, body: int, forward: Floats) -> Floats:
    """Return a place just before the foremost point of a body's own geoms, on the line through the body's origin."""
    reach = 0.0
    for geom in range(model.body_geomadr[body], model.body_geomadr[body] + model.body_geomnum[body]):
        turn = np.empty((3, 3))
        load_mujoco("EgocentricView").mju_quat2Mat(turn.ravel(), model.geom_quat[geom])
        centre = model.geom_pos[geom] + turn @ model.geom_aabb[geom, :3]
        reach = max(reach, float(forward @ centre + np.abs(turn.T @ forward) @ model.geom_aabb[geom, 3:]))
    return forward * (reach + GAP)


def _three(name: str, values: Sequence[float]) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (3,) or not np.isfinite(array).all():
        raise ValueError(f"{name} = {values!r} must be three finite numbers")
    return array


def _body(model: Any, name: str | None) -> int:
    moving = np.flatnonzero(model.body_weldid != 0).tolist()
    if name is None:
        return int(moving[0])
    names = [model.body(body).name for body in range(model.nbody)]
    if name not in names:
        raise ValueError(f"there is no body {name!r}: there are {', '.join(names[1:])}")
    return names.index(name)


def _groups(env: gym.Env[Any, Any], own: tuple[str, ...], proprioception: bool) -> dict[str, tuple[str, ...]]:
    keyed = isinstance(env.observation_space, spaces.Dict) and env.has_wrapper_attr("observation_groups")
    seen = tuple(env.get_wrapper_attr("observation_groups")["policy"]) if keyed else own
    left = tuple(key for key in own if not (proprioception and key in seen))
    return {"policy": ("camera", *(seen if proprioception else ())), **({"privileged": left} if left else {})}


# -- drawing -----------------------------------------------------------------------------------------------------------


class Renderer:
    """Draws pictures of one model without a window, from any place.

    `mujoco.Renderer` looks through cameras of the model, and reads once, when MuJoCo is imported, which OpenGL to use.

    Args:
        model: A `mjModel`.
        size: Height and width, in pixels.
        field_of_view: Vertical angle, in degrees.
    """

    def __init__(self, model: Any, size: int, field_of_view: float) -> None:
        self._context: Any = None
        self._drawing: Any = None
        mujoco = self._mujoco = load_mujoco("EgocentricView")
        self._model = model
        self._slope = np.tan(np.radians(field_of_view) / 2)
        self._context = open_context("EgocentricView", size)
        self._context.make_current()
        quality, buffer = model.vis.quality, model.vis.global_
        before = quality.offsamples, quality.shadowsize, buffer.offwidth, buffer.offheight
        planes = model.geom_type == int(mujoco.mjtGeom.mjGEOM_PLANE)
        tiles = model.geom_size[planes, 2]
        # The context takes these from the model, which must not look changed afterwards.
        quality.offsamples, quality.shadowsize, buffer.offwidth, buffer.offheight = 0, 0, size, size
        model.geom_size[planes, 2] = np.maximum(tiles, TILE)
        try:
            self._drawing = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        finally:
            quality.offsamples, quality.shadowsize, buffer.offwidth, buffer.offheight = before
            model.geom_size[planes, 2] = tiles
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._drawing)
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = False
        self._options, self._perturbation, self._camera = mujoco.MjvOption(), mujoco.MjvPerturb(), mujoco.MjvCamera()
        self._area = mujoco.MjrRect(0, 0, size, size)
        self._pixels = np.empty((size, size, 3), np.uint8)
        self._ground = model.hfield_data.copy()

    def draw(self, data: Any, place: Floats, forward: Floats, up: Floats) -> Picture:
        """Return a picture (size, size, 3) that the next one overwrites, from a place in the world, in m."""
        mujoco = self._mujoco
        self._context.make_current()
        if not np.array_equal(self._ground, self._model.hfield_data):
            self._ground[:] = self._model.hfield_data
            for field in range(self._model.nhfield):
                mujoco.mjr_uploadHField(self._model, self._drawing, field)
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(
            self._model, data, self._options, self._perturbation, self._camera, everything, self._scene
        )
        for eye in self._scene.camera:
            eye.pos, eye.forward, eye.up = place, forward, up
            eye.frustum_top = eye.frustum_near * self._slope
            eye.frustum_bottom = -eye.frustum_top
            eye.frustum_center, eye.frustum_width = 0.0, 0.0  # of the width MuJoCo makes what the picture's shape says
        mujoco.mjr_render(self._area, self._scene, self._drawing)
        mujoco.mjr_readPixels(self._pixels, None, self._area, self._drawing)
        return self._pixels[::-1]  # OpenGL begins at the bottom

    def close(self) -> None:
        """Free what OpenGL holds."""
        context, self._context = self._context, None
        if context is not None:
            context.make_current()
            if self._drawing is not None:
                self._drawing.free()
            context.free()

    def __del__(self) -> None:
        """Free it in its own context, or it would be freed in that of another renderer."""
        if not sys.is_finalizing():  # by then OpenGL has gone
            self.close()
