"""Make the pictures of docs/environments.md, and the tables in it that come from the environments.

    python scripts/draw_environments.py                      # everything
    python scripts/draw_environments.py GoalMaze Parkour     # the pictures of these
    python scripts/draw_environments.py --text               # the tables alone

Needs every extra of an environment (box2d, mujoco, minigrid) and matplotlib; pictures of MuJoCo need a GL back end,
without a screen MUJOCO_GL=egl.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from rlteach.environments import capability, has_batch_form
from rlteach.snapshots.restorable import restorable
from rlteach.task_space import Parameter, TaskSpace

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "environments.md"
PICTURES = DOCS / "pictures" / "environments"
LARGEST = 30_000
"""Bytes of a picture at most."""

Picture = np.ndarray


def registered() -> dict[str, str]:
    """Return the id of every environment of the family, by its name without package and version."""
    import rlteach_envs  # noqa: F401  (registers the ids)

    return {re.sub("^rlteach/|-v[0-9]+$", "", env): env for env in sorted(gym.registry) if env.startswith("rlteach/")}


def make(env: str, **kwargs: Any) -> gym.Env[Any, Any]:
    """Make an environment, without the warnings of the packages that it imports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gym.make(env, disable_env_checker=True, **kwargs)


# -- tables ------------------------------------------------------------------------------------------------------------

FEW = 5
"""Parameters or names in a row that are written out one by one; of more only the first and the last are named."""

OFFERS = ("set_task", "edit_task", "demonstrate", "oracle_window", "feasibility", "skill_graph")


def begin(env: str) -> str:
    return f"<!-- {env}: python scripts/draw_environments.py --text -->"


END = "<!-- end -->"


def reference(env_id: str) -> str:
    """Return the part of a section that comes from the environment itself: two tables."""
    env = make(env_id)
    task_space = capability(env, "task_space")
    parameters = TaskSpace.of(task_space, env).parameters if task_space is not None else ()
    tables = []
    if parameters:
        rows = [f"| {name} | {bounds} | {unit} |" for name, bounds, unit in merged(parameters)]
        tables.append("\n".join(["| task parameter | bounds | unit |", "|---|---|---|", *rows]))
    facts = {
        "observation": observation(env),
        "action": action(env),
        "episode": episode(env),
        "further parameters": further(env),
        "test sets": ", ".join(f"`{k}` ({len(v)})" for k, v in (capability(env, "test_sets") or {}).items()) or "none",
        "offers": ", ".join(offers(env_id, env)),
    }
    tables.append("\n".join(["| | |", "|---|---|", *(f"| {name} | {fact} |" for name, fact in facts.items() if fact)]))
    return "\n\n".join([begin(env_id), *tables, END])


def merged(parameters: Sequence[Parameter]) -> list[tuple[str, str, str]]:
    """Return name, bounds and unit of every parameter; neighbours that have all but the name in common in one row."""
    rows = []
    for (low, high, unit, levels), group in itertools.groupby(parameters, lambda p: (p.low, p.high, p.unit, p.levels)):
        names = [parameter.name for parameter in group]
        bounds = f"{low:g} to {high:g}" + (", whole" if levels else "")
        rows += [(name, bounds, unit_text(unit)) for name in shortened(names)]
    return rows


def unit_text(unit: str) -> str:
    return "" if unit in ("", "1") else unit


def shortened(names: Sequence[str]) -> list[str]:
    """Return the names as code, one each, or one text for many."""
    if len(names) <= FEW:
        return [f"`{name}`" for name in names]
    return [f"`{names[0]}` ... `{names[-1]}` ({len(names)})"]


def observation(env: gym.Env[Any, Any]) -> str:
    """Return the groups of an observation with their sizes, or its shape."""
    space: Any = env.observation_space
    groups: Mapping[str, Sequence[Any]] = capability(env, "observation_groups") or {}
    if not groups:
        return described(space)
    names: Mapping[str, Sequence[str]] = capability(env, "observation_names") or {}
    texts = []
    for group, members in groups.items():
        parts = [described(space[member]) for member in members if isinstance(member, str)]
        known = names.get(group, ())
        listed = f": {', '.join(f'`{name}`' for name in known)}" if 0 < len(known) <= 2 * FEW else ""
        texts.append(f"`{group}`, {' and '.join(parts) or f'{len(members)} numbers'}{listed}")
    return "; ".join(texts)


def described(space: Any) -> str:
    """Return the size of a part of an observation."""
    if isinstance(space, spaces.Dict):
        return ", ".join(f"`{key}` {described(part)}" for key, part in space.spaces.items())
    if len(space.shape) == 1:
        return f"{space.shape[0]} number{'s' * (space.shape[0] != 1)}"
    return f"{' x '.join(map(str, space.shape))} {space.dtype}"


def action(env: gym.Env[Any, Any]) -> str:
    """Return what an action is."""
    space: Any = env.action_space
    names: Sequence[str] = capability(env, "action_names") or ()
    listed = f": {', '.join(f'`{name}`' for name in names)}" if names else ""
    if isinstance(space, spaces.Discrete):
        return f"one of {space.n}{listed}"
    bounds = sorted({(float(low), float(high)) for low, high in zip(space.low.flat, space.high.flat, strict=True)})
    ranges = " or ".join(f"[{low:g}, {high:g}]" for low, high in bounds)
    return f"{described(space)} in {ranges}{listed}"


def episode(env: gym.Env[Any, Any]) -> str:
    """Return how long an episode lasts at most and what it may earn."""
    horizon = capability(env, "horizon") or (env.spec.max_episode_steps if env.spec else None)
    texts = [f"at most {horizon:,} step{'s' * (horizon != 1)}"] if horizon else []
    rate = capability(env, "control_rate")
    texts += [f"{rate:g} steps per second"] if rate and rate != 1 else []
    reach = capability(env, "return_range")
    texts += [f"returns from {reach[0]:,.6g} to {reach[1]:,.6g}"] if reach else []
    return ", ".join(texts) or "see below"


def further(env: gym.Env[Any, Any]) -> str:
    """Return the parameters that `parameters` can add to the task, with their usual ranges."""
    tasks = getattr(env.unwrapped, "_tasks", None)
    found = tasks.further.items() if tasks is not None else ()
    return ", ".join(
        f"`{name}`{f' ({p.size} numbers)' if p.size else ''} {p.low:g} to {p.high:g} {unit_text(p.unit)}".strip()
        for name, p in found
    )


def offers(env_id: str, env: gym.Env[Any, Any]) -> list[str]:
    """Return the capabilities of an environment."""
    found = ["batch form"] if has_batch_form(env_id) else []
    with_snapshots = restorable(env)
    found += ["snapshots" if with_snapshots is env else f"snapshots through `{type(with_snapshots).__name__}`"]
    found += [f"`{name}`" for name in OFFERS if capability(env, name) is not None]
    return found + (["pictures"] if "rgb_array" in env.metadata.get("render_modes", ()) else [])


def with_tables(text: str) -> str:
    """Return the page with every generated part written anew."""
    for env in registered().values():
        before, found, rest = text.partition(begin(env))
        if found:
            text = before + reference(env) + rest.partition(END)[2]
    return text


# -- pictures ----------------------------------------------------------------------------------------------------------


def panels(
    pictures: Mapping[str, Picture | Callable[[Any], None]], columns: int = 3, shape: float | None = None
) -> bytes:
    """Return one small PNG of several pictures, or of what functions draw on axes, with the keys above them.

    Args:
        pictures: By title.
        columns: Of the grid that they stand in.
        shape: Height by width of each; None for that of the first picture, and 1 for what functions draw.
    """
    first, width = next(iter(pictures.values())), 7.5
    if shape is None:
        shape = 1.0 if callable(first) else first.shape[0] / first.shape[1]
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    height = rows * (width / columns * shape + 0.25)
    for colours, dpi in ((256, 100), (64, 100), (32, 100), (32, 75), (16, 60)):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(pictures) :]:
            axes.axis("off")
        for axes, (title, content) in zip(grid.flat, pictures.items(), strict=False):
            axes.set_title(title, fontsize=8)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color("0.8")
            if callable(content):
                content(axes)
            else:
                axes.imshow(content, interpolation="antialiased")
        raw, small = io.BytesIO(), io.BytesIO()
        figure.savefig(raw, format="png", dpi=dpi)
        # An octree keeps the colour of a single dot, which the median cut gives up for shades of the ground.
        few = Image.open(raw).convert("RGB").quantize(colours, Image.Quantize.FASTOCTREE)
        few.save(small, format="png", optimize=True)
        if len(small.getvalue()) <= LARGEST:
            break
    return small.getvalue()


Policy = Callable[[Any, gym.Env[Any, Any]], Any]


def still(observation: Any, env: gym.Env[Any, Any]) -> Any:
    """Do nothing."""
    return np.zeros(env.action_space.shape, env.action_space.dtype)


def shaken(observation: Any, env: gym.Env[Any, Any]) -> Any:
    """Do anything."""
    return env.action_space.sample()


def demonstrated(observation: Any, env: gym.Env[Any, Any]) -> Any:
    """Do what the environment demonstrates."""
    return capability(env, "demonstrate")(observation)


def played(env_id: str, task: Any, *, steps: int = 0, policy: Policy = still, trail: int = 0, **kwargs: Any) -> Picture:
    """Return the picture after some steps of a task.

    Args:
        env_id: What to play.
        task: In which task; None for a random one.
        steps: At most so many.
        policy: What does the steps.
        trail: Every so many steps the picture is laid over the one before, which suits white backgrounds; 0 for never.
        **kwargs: Arguments of the environment.
    """
    env = make(env_id, render_mode="rgb_array", **kwargs)
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0, options=None if task is None else {"task": task})
    picture: Picture = np.asarray(env.render())
    for step in range(1, steps + 1):
        observation, _, terminated, truncated, _ = env.step(policy(observation, env))
        if trail and (step % trail == 0 or terminated):
            picture = np.minimum(picture, np.asarray(env.render()))
        if terminated or truncated:
            break
    picture = picture if trail else np.asarray(env.render())
    env.close()
    return picture


def from_easy_to_hard(env_id: str, **kwargs: Any) -> bytes:
    """Draw an environment that nothing else is said about: three tasks, or one picture without tasks."""
    env = make(env_id)
    window, sets = capability(env, "oracle_window"), capability(env, "test_sets")
    if window is not None:
        rng = np.random.default_rng(0)
        tasks = {f"oracle_window({progress:g})": window(progress, rng) for progress in (0.0, 0.5, 1.0)}
    elif sets:
        name, members = next(iter(sets.items()))
        tasks = {f"{name}[{i}]": members[i] for i in np.linspace(0, len(members) - 1, 3).astype(int)}
    else:
        tasks = {"": None}
    return panels({title: played(env_id, task, **kwargs) for title, task in tasks.items()})


def goal_maze(env_id: str) -> bytes:
    cells = make(env_id).unwrapped._maze.cells
    tasks = {f"a goal {n} cells away": np.array(cells[n]) + 0.5 for n in (9, 27, len(cells) - 1)}
    how: Any = {"steps": 400, "policy": demonstrated, "trail": 4, "horizon": 400}
    return panels({title: played(env_id, goal, **how) for title, goal in tasks.items()})


def gate(env_id: str) -> bytes:
    tasks = [{"position": np.array(p), "width": np.array(w)} for p, w in ((0.0, 6.0), (2.0, 2.0), (3.0, 0.5))]
    titles = [f"gate at {task['position']:g} m, {task['width']:g} m wide" for task in tasks]
    shown = [played(env_id, task, steps=100, policy=demonstrated, trail=5) for task in tasks]
    return panels(dict(zip(titles, shown, strict=True)))


def mazes(env_id: str) -> bytes:
    env = make(env_id)
    named = capability(env, "named_mazes")
    names = [list(named)[i] for i in np.linspace(0, len(named) - 1, 3).astype(int)]
    random = capability(env, "oracle_window")(0.7, np.random.default_rng(0))
    tasks = {**{name: named[name] for name in names}, "oracle_window(0.7)": random}
    return panels({title: played(env_id, task) for title, task in tasks.items()}, columns=4)


def wind(env_id: str) -> bytes:
    winds = ((0.0, 0.0), (0.8, 0.0), (-0.4, 0.8))
    tasks = {
        f"wind ({x:g}, {y:g}) m/s$^2$, no action": {
            "log_gain_x": np.array(1.0),
            "log_gain_y": np.array(1.0),
            "wind_x": np.array(x),
            "wind_y": np.array(y),
        }
        for x, y in winds
    }
    return panels({title: played(env_id, task, steps=60, trail=6) for title, task in tasks.items()})


def tiger(env_id: str) -> bytes:
    def looks_first(observation: Any, env: gym.Env[Any, Any]) -> Any:
        revealed = observation["policy"][2]
        return np.array([revealed, float(revealed == 0)], np.float32)

    def knows(observation: Any, env: gym.Env[Any, Any]) -> Any:
        return np.array([observation["privileged"][0], 0.0], np.float32)

    def shown(side: float, policy: Policy) -> Picture:
        return played(env_id, {"side": np.array(side)}, steps=30, policy=policy, trail=1)

    return panels(
        {
            "right door at the right, the expert": shown(0.5, knows),
            "who has to look first": shown(0.5, looks_first),
            "right door at the left": shown(-0.5, looks_first),
        }
    )


def toy_cubes(env_id: str) -> bytes:
    variants: dict[str, dict[str, Any]] = {
        "the default": {},
        "dead=0.3, trivial=0.2": {"dead": 0.3, "trivial": 0.2},
        "rotation=30": {"rotation": 30.0},
        "shuffle=0": {"shuffle": 0},
    }
    task = np.array([0.63, 0.28])
    return panels({title: played(env_id, task, **kwargs) for title, kwargs in variants.items()}, columns=4)


def memory(env_id: str) -> bytes:
    def walks(observation: Any, env: gym.Env[Any, Any]) -> Any:
        return np.array([1.0, 0.9 * observation["privileged"][0]], np.float32)

    tasks = ((80.0, 1.0, 0, "at the start"), (45.0, -1.0, 25, "after 25 steps"), (20.0, 1.0, 30, "at the end"))
    return panels(
        {
            f"length {n:g}, goal {goal:g}, {when}": played(
                env_id, {"length": np.array(n), "goal": np.array(goal)}, steps=steps, policy=walks
            )
            for n, goal, steps, when in tasks
        }
    )


def light_dark(env_id: str) -> bytes:
    env = make(env_id)

    def drawn(x: float, y: float) -> Callable[[Any], None]:
        task = {"start_x": np.array(x), "start_y": np.array(y)}
        readings = [env.reset(seed=seed, options={"task": task})[0]["policy"][:2] for seed in range(40)]
        picture = played(env_id, task)

        def draw(axes: Any) -> None:
            axes.imshow(picture, extent=(-5, 7, -6, 6))
            axes.plot(*np.transpose(readings), ".", color="#c83c32", markersize=2)
            axes.set(xlim=(-5, 7), ylim=(-6, 6))

        return draw

    starts = ((-2.0, 3.0), (1.0, -2.0), (4.0, 2.0))
    return panels({f"start ({x:g}, {y:g}) m": drawn(x, y) for x, y in starts})


def pendulum(env_id: str) -> bytes:
    def pushes(observation: Any, env: gym.Env[Any, Any]) -> Any:
        return np.ones(1, np.float32)

    bodies = ((0.5, 0.5), (1.0, 1.0), (2.0, 1.0), (2.0, 2.0))
    tasks = {f"{m:g} kg, {n:g} m": {"mass": np.array(m), "length": np.array(n)} for m, n in bodies}
    return panels({t: played(env_id, task, steps=10, policy=pushes) for t, task in tasks.items()}, columns=4)


def quadrotor(env_id: str) -> bytes:
    tasks = sorted(capability(make(env_id), "test_sets")["uniform"], key=lambda task: float(task["cube_root_mass"]))
    titles = [f"{float(t['cube_root_mass']) ** 3:.2g} kg, thrust {t['thrust_to_weight']:.1f} times it" for t in tasks]
    return panels({titles[i]: played(env_id, tasks[i], steps=60, trail=15) for i in (20, 120, 240)})


def stump_tracks(env_id: str) -> bytes:
    from rlteach_envs.walker_bodies import BODIES

    tasks = [{"stump_height": np.array(h), "obstacle_spacing": np.array(s)} for h, s in ((0.5, 5), (1.5, 3), (3, 1))]
    found = {f"{t['stump_height']:g} steps high, every {t['obstacle_spacing']:g} m": played(env_id, t) for t in tasks}
    found |= {body: played(env_id, tasks[0], body=body) for body in [*BODIES][1:]}
    return panels({title: cropped(picture) for title, picture in found.items()})


def cropped(picture: Picture, top: float = 0.3) -> Picture:
    """Return a picture without its upper part, which is sky."""
    return picture[int(len(picture) * top) :]


def ued_walker(env_id: str) -> bytes:
    from rlteach_envs.ued_walker import CHALLENGES

    tasks = dict(zip(CHALLENGES, capability(make(env_id), "test_sets")["challenges"], strict=True))
    names = ("hardcore", "high_roughness", "high_stumps", "high_stairs", "high_pits", "rose_1a")
    return panels({name: cropped(played(env_id, tasks[name])) for name in names})


def parkour(env_id: str) -> bytes:
    found = {}
    for body, name in (("classic_bipedal", "walking"), ("fish", "swimming"), ("climbing_chimpanzee", "climbing")):
        tasks = capability(make(env_id, body=body), "test_sets")[name]
        found |= {f"{name}, {body} ({i})": played(env_id, tasks[i], body=body, steps=10) for i in (0, 7)}
    return panels(dict(sorted(found.items(), key=lambda item: item[0][-2])))


def tracks(env_id: str) -> bytes:
    env = make(env_id, render_mode="rgb_array")
    window = capability(env, "oracle_window")
    rng = np.random.default_rng(3)
    tasks = {f"oracle_window({progress:g})": window(progress, rng) for progress in (0.0, 1.0)}
    tasks["tracks[0]"] = capability(env, "test_sets")["tracks"][0]

    def drawn(task: Any) -> Callable[[Any], None]:
        env.reset(options={"task": task})
        nodes, points = env.unwrapped.track.nodes[:, :2], env.unwrapped.track.points

        def draw(axes: Any) -> None:
            axes.plot(*np.concatenate([nodes, nodes[:1]]).T, color="0.4", linewidth=3)
            axes.plot(*np.reshape(task, (-1, 2)).T, "x", color="#c83c32", markersize=4)
            axes.plot(*points.reshape(-1, 2).T, ".", color="#28a03c", markersize=5)
            axes.set(xlim=(-220, 220), ylim=(-220, 220), aspect="equal")

        return draw

    found: dict[str, Any] = {title: drawn(task) for title, task in tasks.items()}
    observation, _ = env.reset(options={"task": tasks["tracks[0]"]})
    for _ in range(60):
        observation, *_ = env.step(np.array([0.0, 0.2, 0.0], np.float32))
    return panels({**found, "an observation": observation}, columns=4)


def car_features(env_id: str) -> bytes:
    env = make(env_id)
    names = [name for group in capability(env, "observation_names").values() for name in group]

    def drawn(task: Any) -> Callable[[Any], None]:
        observation, _ = env.reset(options={"task": task})
        for _ in range(500):
            bend, speed = observation[names.index("right_at_15m")], observation[names.index("speed")]
            observation, *_ = env.step(np.array([np.clip(4 * bend, -1, 1), 0.5 * (speed < 0.4), 0.0], np.float32))
        ahead = [[35 * observation[names.index(f"{s}_at_{m}m")] for s in ("right", "ahead")] for m in range(5, 40, 5)]

        def draw(axes: Any) -> None:
            axes.plot(*np.transpose(ahead), "o-", color="0.4", markersize=4)
            axes.plot(0, 0, "^", color="#c83c32", markersize=8)
            axes.set(xlim=(-25, 25), ylim=(-10, 40), aspect="equal")

        return draw

    members = capability(env, "test_sets")["tracks"]
    return panels({f"35 m of tracks[{i}], after 10 s": drawn(members[i]) for i in (0, 5, 10)})


def uneven(env_id: str) -> bytes:
    from rlteach_envs.terrain_walker import PLACES, make_heights

    def drawn(roughness: float, slope: float, step_height: float) -> Callable[[Any], None]:
        heights = make_heights(roughness, 2.0, slope, step_height, np.random.default_rng(0))

        def draw(axes: Any) -> None:
            axes.fill_between(PLACES, heights, -3.0, color="#6a8f5a")
            axes.plot([0, 0], [0, 1.4], color="#2850dc", linewidth=3)
            axes.set(xlim=(-1, 13), ylim=(-2.5, 4.5), aspect="equal")

        return draw

    grounds = {"roughness 0.3, wavelength 2": (0.3, 0.0, 0.0), "slope 0.2": (0.0, 0.2, 0.0)}
    grounds["steps of 0.2"] = (0.0, 0.0, 0.2)
    return panels({title: drawn(*ground) for title, ground in grounds.items()}, shape=0.5)


def masked_hopper(env_id: str) -> bytes:
    pictures = {n: played(env_id, None, steps=n, policy=shaken) for n in (0, 10, 20)}
    return panels({f"after {n} random steps": cropped(picture) for n, picture in pictures.items()})


def dynamics(env_id: str) -> bytes:
    """Draw what changes the looks of a body, and what changes only how it moves."""
    parameters = capability(make(env_id), "task_space").spaces
    usual = {name: np.array(0.0 if name == "wind" else 1.0) for name in parameters}
    varied = {
        "size, at least": usual | {"size": parameters["size"].low},
        "size, at most": usual | {"size": parameters["size"].high},
        "wind, at most, after 15 random steps": usual | {"wind": parameters["wind"].high},
    }
    return panels({t: played(env_id, task, steps=15 * ("wind" in t), policy=shaken) for t, task in varied.items()})


SPECIAL: dict[str, Callable[[str], bytes]] = {
    **dict.fromkeys(("AntDynamics", "HalfCheetahDynamics", "HopperDynamics", "Walker2dDynamics"), dynamics),
    "CarRacing": tracks,
    "CarRacingFeatures": car_features,
    "GoalMaze": goal_maze,
    "GridMaze": mazes,
    "HiddenMassPendulum": pendulum,
    "LightDark": light_dark,
    "MaskedHopper": masked_hopper,
    "MaskedLunarLander": lambda env: from_easy_to_hard(env, steps=60),
    "MemoryTMaze": memory,
    "MiniGridMaze": mazes,
    "Parkour": parkour,
    "PointMassGate": gate,
    "Quadrotor": quadrotor,
    "StumpTracks": stump_tracks,
    "StumpTracksFast": lambda env: from_easy_to_hard(env, steps=25),
    "TerrainWalker": uneven,
    "TigerRoom": tiger,
    "ToyCubes": toy_cubes,
    "UEDWalker": ued_walker,
    "WindGain": wind,
}
"""How to draw what looks best in its own way; all others are drawn by `from_easy_to_hard`."""


def draw(name: str, env_id: str) -> bytes:
    """Return the picture of an environment as a PNG file."""
    return SPECIAL.get(name, from_easy_to_hard)(env_id)


def main() -> None:
    """Draw, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="names of environments, without rlteach/ and version; all without any")
    parser.add_argument("--text", action="store_true", help="write the tables of the page, draw nothing")
    options = parser.parse_args()
    known = registered()
    if unknown := set(options.names) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(known)}")
    if not options.names:
        PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    for name in [] if options.text else options.names or known:
        data = draw(name, known[name])
        PICTURES.mkdir(parents=True, exist_ok=True)
        (PICTURES / f"{name}.png").write_bytes(data)
        print(f"{name}: {len(data) / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
