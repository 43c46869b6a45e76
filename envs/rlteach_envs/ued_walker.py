"""UEDWalker: BipedalWalker on rough ground with pits, stumps and stairs, as unsupervised environment design sets it.

    env = gymnasium.make("rlteach_envs:rlteach/UEDWalker-v0")
    teacher = ACCEL(env.get_wrapper_attr("task_space"), edit_task=env.get_wrapper_attr("edit_task"))

The eight parameters are those of Parker-Holder et al. (2022, "Evolving curricula with regret-based environment
design"), the first five those of Wang et al. (2019, "POET"). Needs Box2D: pip install rlteach[box2d].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlteach_envs.arguments import check_at_least_one, fixed_sets
from rlteach_envs.lidar import Lidar
from rlteach_envs.stump_terrain import GOAL, GROUND_HEIGHT, START_PAD, STEP, TRACK_LENGTH, Terrain
from rlteach_envs.walker_bodies import BODIES
from rlteach_envs.walker_env import AHEAD, WalkerEnv, load_walker_world
from rlteach_envs.walker_tasks import TaskParameter, Tasks, check_name

PARAMETERS = {
    "roughness": TaskParameter("1", 0.0, 10.0, 0.0, 20.0),
    "pit_low": TaskParameter("steps", 0.0, 10.0, 0.0, 40.0),
    "pit_high": TaskParameter("steps", 0.0, 10.0, 0.0, 40.0),
    "stump_low": TaskParameter("steps", 0.0, 5.0, 0.0, 20.0),
    "stump_high": TaskParameter("steps", 0.0, 5.0, 0.0, 20.0),
    "stair_low": TaskParameter("steps", 0.0, 5.0, 0.0, 20.0),
    "stair_high": TaskParameter("steps", 0.0, 5.0, 0.0, 20.0),
    "stair_steps": TaskParameter("1", 1, 9, 1, 40, whole=True),
    "layout": TaskParameter("1", 0, 999_999, 0, 2**31 - 1, trend=0, whole=True),
}
"""Every parameter that a track can have; ends of intervals may come in either order."""

LEVEL = tuple(PARAMETERS)[:8]
POET_LEVEL = tuple(PARAMETERS)[:5]

EDITS = {
    "roughness": 0.6,
    "pit_low": 0.4,
    "pit_high": 0.4,
    "stump_low": 0.2,
    "stump_high": 0.2,
    "stair_low": 0.2,
    "stair_high": 0.2,
    "stair_steps": 1,
}
"""How far an edit moves each parameter (Parker-Holder et al. 2022); roughness by up to that."""

EASY = (0.6, 0.0, 0.8, 0.0, 0.4, 0.0, 0.4, 1)
"""The hardest of the published levels to start from, in the order of `LEVEL`."""

CHALLENGES = {
    "bipedal_walker": (1, 0, 0, 0, 0, 0, 0, 1),
    "hardcore": (1, 2, 3, 1, 2, 1, 1, 4),
    "medium_roughness": (5, 0, 0, 0, 0, 0, 0, 1),
    "high_roughness": (9, 0, 0, 0, 0, 0, 0, 1),
    "medium_stumps": (1, 0, 0, 2, 2, 0, 0, 1),
    "high_stumps": (1, 0, 0, 5, 5, 0, 0, 1),
    "medium_stairs": (1, 0, 0, 0, 0, 2, 2, 5),
    "high_stairs": (1, 0, 0, 0, 0, 5, 5, 9),
    "medium_pits": (1, 5, 5, 0, 0, 0, 0, 1),
    "high_pits": (1, 10, 10, 0, 0, 0, 0, 1),
    "rose_1a": (5.6, 4.48, 6.4, 2.4, 2.82, 0, 0, 1),
}
"""Tasks that earlier work reports on, or near to them, in the order of `LEVEL`."""

LEAST_PIT, LEAST_STUMP, LEAST_STAIR = 0.8, 0.2, 0.2
"""A kind of obstacle whose largest size is below this, in steps, is left out."""

PIT_DEPTH, STAIR_WIDTH, STUMP_WIDTH = 4, 4, 1
"""In steps."""

GRASS = (5, 10)
"""Steps of ground between two obstacles: from the first to less than the second."""


@dataclass(frozen=True)
class UEDNumbers:
    """The task parameters, in steps of 14/30 m.

    Attributes:
        roughness: What the change of the ground's height is multiplied by; 1 in BipedalWalker.
        pit_low: End of the interval of pit widths, to which 1 is added.
        pit_high: The other end.
        stump_low: End of the interval of stump heights.
        stump_high: The other end.
        stair_low: End of the interval of the heights of a stair's steps.
        stair_high: The other end.
        stair_steps: Number of steps of a stair.
        layout: Seed of the track; None draws from the environment's generator.
    """

    roughness: float = 0.0
    pit_low: float = 0.0
    pit_high: float = 0.0
    stump_low: float = 0.0
    stump_high: float = 0.0
    stair_low: float = 0.0
    stair_high: float = 0.0
    stair_steps: int = 1
    layout: int | None = None

    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of obstacles that are not left out."""
        sizes = {
            "pit": (max(self.pit_low, self.pit_high), LEAST_PIT),
            "stump": (max(self.stump_low, self.stump_high), LEAST_STUMP),
            "stairs": (max(self.stair_low, self.stair_high), LEAST_STAIR),
        }
        return tuple(kind for kind, (size, least) in sizes.items() if size >= least)


def make_track(numbers: UEDNumbers, rng: np.random.Generator) -> Terrain:
    """Draw a track: a flat pad, then obstacles of the kinds that are not left out, with rough ground between them.

    Between obstacles a slope v follows v = 0.8 v + 0.01 sign(H - y) + U(-1, 1)/30, and y += roughness * v every step.
    """
    if numbers.layout is not None:
        rng = np.random.default_rng(numbers.layout)
    kinds, roughness = numbers.kinds(), numbers.roughness
    x, y, slope = START_PAD, GROUND_HEIGHT, 0.0
    line, boxes = [(0.0, y), (x, y)], []
    kicks = iter(((2.0 * rng.random(round(TRACK_LENGTH / STEP) + GRASS[1]) - 1.0) / 30.0).tolist())
    while x < TRACK_LENGTH:
        kind = kinds[int(len(kinds) * rng.random())] if kinds else ""
        if kind == "pit":
            floor, end = y - PIT_DEPTH * STEP, x + STEP * (1.0 + _between(numbers.pit_low, numbers.pit_high, rng))
            line += ((x, floor), (end, floor), (end, y))
            x = end
        elif kind == "stump":
            height, width = STEP * _between(numbers.stump_low, numbers.stump_high, rng), STEP * STUMP_WIDTH
            boxes.append((x + width / 2, y + height / 2, width / 2, height / 2, 0.0))
            x += width
            line.append((x, y))
        elif kind == "stairs":
            rise = STEP * _between(numbers.stair_low, numbers.stair_high, rng)
            rise = rise if rng.random() < 0.5 else -rise
            for _ in range(numbers.stair_steps):
                y += rise
                line.append((x, y))
                x += STEP * STAIR_WIDTH
                line.append((x, y))
        for _ in range(GRASS[0] + int((GRASS[1] - GRASS[0]) * rng.random())):
            if x >= TRACK_LENGTH:
                break
            slope = 0.8 * slope + 0.01 * ((y < GROUND_HEIGHT) - (y > GROUND_HEIGHT)) + next(kicks)
            y += roughness * slope
            x += STEP
            line.append((x, y))
    return Terrain(np.array(line), np.array(boxes).reshape(-1, 5))


def _between(one: float, other: float, rng: np.random.Generator) -> float:
    low, high = min(one, other), max(one, other)
    return low + (high - low) * rng.random()


class UEDWalker(WalkerEnv):
    """Walk to the end of a track of 93 m with pits, stumps and stairs.

    Task: `roughness` of the ground in [0, 10] (1 in BipedalWalker); the ends of three intervals, in steps of 14/30 m
    and in either order: `pit_low` and `pit_high` in [0, 10], the width of pits, to which 1 is added; `stump_low` and
    `stump_high` in [0, 5]; `stair_low` and `stair_high` in [0, 5], the height of one step of a stair; and
    `stair_steps`, a whole number in [1, 9]. Kinds whose largest size is below 0.8 (pits) or 0.2 steps are left out.
    Pits are 4 steps deep, stumps 1 wide, a stair's steps 4 long, and stairs lead up or down. Obstacles of the kinds
    left follow each other in random order, with 5 to 9 steps of ground between them. Every reset draws another track
    from the task; with the further parameter `layout`, a whole number, a task is one track.

    Physics, action, observation (24 numbers) and reward are those of `StumpTracks` with BipedalWalker's own body:
    Box2D, steps of 1/50 s; 130/30 per m forwards, -5 per rad that the hull leans further, -0.028 per motor at full
    torque, and -100 instead when the hull touches anything or gets behind the beginning of the track, which
    terminates. Reaching 88.7 m terminates too, and is a success. Truncation after `horizon` steps.
    With `privileged` 20 numbers follow, of which `observation_groups` says that only an expert sees them: the height
    of the surface, stumps included, at places up to 17.7 m ahead, above the hull, in 10 m.

    `edit_task` is one edit of ACCEL. Test sets: `challenges`, eleven tasks near those of earlier work, whose names
    are in `CHALLENGES`; `uniform`, 100 seeded tasks. With other parameters than the eight there is only `uniform`.

    Deviations from the published environment: pits and stairs are parts of the ground's line, not boxes beside it; a
    pit begins right behind the ground before it; `reset` takes no step of its own; test tasks are drawn from seeds.

    Snapshots are as those of `StumpTracks`.

    Args:
        body: A walker, see `walker_bodies`.
        parameters: The task space, as `{name: (low, high)}`, or as names alone for their usual ranges.
        fixed: Values of further parameters, the same in every task; those in neither are 0, and `stair_steps` 1.
        privileged: Whether to observe what is ahead.
        velocity_iterations: Solver iterations per step for velocities.
        position_iterations: Solver iterations per step for positions.
        horizon: Steps after which an episode is truncated.
        lidar: `"numba"`, `"numpy"`, or `"auto"`: numba where it is installed. They give equal numbers.
        render_mode: None or `"rgb_array"`.
    """

    def __init__(
        self,
        body: str = "old_classic_bipedal",
        *,
        parameters: Mapping[str, Any] | Sequence[str] = LEVEL,
        fixed: Mapping[str, Any] | None = None,
        privileged: bool = False,
        velocity_iterations: int = 180,
        position_iterations: int = 60,
        horizon: int = 2000,
        lidar: str = "auto",
        render_mode: str | None = None,
    ) -> None:
        check_name("body", body, BODIES)
        check_at_least_one(velocity_iterations=velocity_iterations, position_iterations=position_iterations)
        walker, boxed = BODIES[body], load_walker_world("UEDWalker")
        super().__init__(
            tasks=Tasks(PARAMETERS, parameters, fixed),
            name=body,
            body=walker,
            world=boxed.WalkerWorld(walker, velocity_iterations, position_iterations),
            start=boxed.start_pose(walker, START_PAD / 2, GROUND_HEIGHT + walker.height),
            goal=GOAL,
            lidar=Lidar(lidar),
            horizon=horizon,
            render_mode=render_mode,
            privileged=AHEAD if privileged else 0,
        )

    # -- tasks -----------------------------------------------------------------------------------------------------

    @fixed_sets
    def test_sets(self) -> dict[str, list[Any]]:
        """`challenges` where they lie in the task space, and `uniform`, 100 seeded tasks."""
        tasks, rng = self._tasks, np.random.default_rng(31)
        uniform = [tasks.draw(rng) for _ in range(100)]
        challenges = (
            [tasks.task(**dict(zip(LEVEL, values, strict=True))) for values in CHALLENGES.values()]
            if (set(tasks.names) == set(LEVEL))
            else []
        )
        if challenges and all(map(self.task_space.contains, challenges)):
            return {"challenges": challenges, "uniform": uniform}
        return {"uniform": uniform}

    def edit_task(self, task: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Move one parameter, whichever, by one step up or down or not at all, and keep it in its range."""
        task = self._tasks.read(task)
        names = [name for name in self._tasks.names if name in EDITS]
        if not names:
            return task
        name = names[int(rng.integers(len(names)))]
        step = EDITS[name] * rng.random() if name == "roughness" else EDITS[name]
        low, high = self._tasks.range(name)
        moved = np.clip(task[name] + int(rng.integers(-1, 2)) * step, low, high)
        return self._tasks.task(**{**task, name: moved})

    def feasibility(self, task: Mapping[str, Any]) -> bool | None:
        """Return True for a task that is known to be mastered, BipedalWalker's or an easier one; else None."""
        numbers = UEDNumbers(**self._tasks.numbers(self._tasks.read(task)))
        return True if not numbers.kinds() and numbers.roughness <= 1.0 else None

    # -- episodes --------------------------------------------------------------------------------------------------

    def _make_terrain(self, numbers: dict[str, Any], rng: np.random.Generator) -> Terrain:
        return make_track(UEDNumbers(**numbers), rng)

    def _succeeded(self, fell: bool, truncated: bool) -> bool:
        return not fell and not truncated

    def _picture(self, terrain: Terrain) -> NDArray[np.uint8]:
        from rlteach_envs.stump_picture import draw

        return draw(terrain, self._body, self._world.states())
