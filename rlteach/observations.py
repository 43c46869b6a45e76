"""Who sees what: roles, observation groups, and the columns behind them.

    view = View.of(venv, "student")          # what the group "policy" holds
    flat = view(observation)                 # (n, d) float32, or an image batch as it is
    venv = ViewVecEnv(venv, view)            # a VecEnv of which a learner sees only that

An environment offers groups as `observation_groups`: names mapped to columns of its flat Box, or to parts of its Dict
space: keys, or pairs of a key and some of its columns. Without it every key of a Dict space is a group, and a flat Box
is the one group "policy".
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from rlteach.environments import capability
from rlteach.errors import InvalidValue, UserError, did_you_mean

ROLES: dict[str, tuple[str, ...]] = {"student": ("policy",), "expert": ("policy", "privileged")}
"""What each role sees, in this order, where the environment has the groups."""

Source = tuple[str, tuple[int, ...] | None]
"""Where a group comes from: a key of a Dict space, "" where there are none, and its columns, None for all of it."""

RECIPE = """
class MyEnv(gymnasium.Env):
    observation_space = gymnasium.spaces.Dict(policy=Box(...), privileged=Box(...))

To hide columns of an observation, change nothing: rlteach.HideCoordinates(env, hidden=[5, 6])."""


@dataclass(frozen=True)
class View:
    """What one role sees of an observation.

    Attributes:
        groups: The groups, in order.
        sources: Where their values come from, in order.
        space: A flat Box, or the image Box when the only group is an image.
        columns: For every value of a flat view the key and column that it comes from; an image has the column -1.
        names: A name for every column of a flat view.
        units: A unit for every column, "" where none is stated.
    """

    groups: tuple[str, ...]
    sources: tuple[Source, ...]
    space: spaces.Box
    columns: tuple[tuple[str, int], ...]
    names: tuple[str, ...]
    units: tuple[str, ...]

    @classmethod
    def of(cls, venv: VecEnv, sight: str | Sequence[str]) -> View:
        """Return the view of a role (`student`, `expert`), or of groups (a sequence, or joined by commas).

        Raises:
            InvalidValue: For a group that the environment does not have, with the nearest.
            UserError: When the environment's groups cannot be put into one array.
        """
        offered = groups_of(venv)
        groups = _groups_named(sight, offered)
        sources = tuple(source for group in groups for source in offered[group])
        boxes = [_box(venv.observation_space, source) for source in sources]
        if len(boxes) == 1 and len(boxes[0].shape) > 1:
            return cls(groups, sources, boxes[0], ((sources[0][0], -1),), (), ())
        columns = tuple(_places(sources, venv.observation_space))
        names, units = _labels(venv, groups, [int(np.prod(box.shape)) for box in boxes], offered)
        return cls(groups, sources, _joined(boxes), columns, names, units)

    @property
    def size(self) -> int:
        """Return the number of values of one observation."""
        return int(np.prod(self.space.shape))

    def __call__(self, observation: Any) -> np.ndarray:
        """Return this role's part of a batch of observations."""
        if len(self.sources) == 1:
            return np.asarray(_part(observation, self.sources[0]))
        parts = [_part(observation, source) for source in self.sources]
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1, dtype=np.float32)

    def describe(self) -> dict[str, Any]:
        """Return what must agree between the environment a policy was trained on and one it is used on."""
        return {
            "groups": list(self.groups),
            "shape": list(self.space.shape),
            "names": list(self.names),
            "units": list(self.units),
        }

    def faults_against(self, described: Mapping[str, Any]) -> list[str]:
        """Return a sentence for everything in which `described` (from `describe`) differs from this view."""
        ours = self.describe()
        return [
            f"{what}: it saw {list(described[what])}, and here there is {ours[what]}"
            for what in ("groups", "shape", "names")
            if what in described and list(described[what]) != ours[what]
        ]


def groups_of(venv: VecEnv) -> dict[str, tuple[Source, ...]]:
    """Return the observation groups of a VecEnv and where each comes from."""
    stated = venv.get_attr("observation_groups", [0])[0] if venv.has_attr("observation_groups") else None
    return sources_of(venv.observation_space, stated)


def sources_of(space: spaces.Space[Any], stated: Mapping[str, Any] | None = None) -> dict[str, tuple[Source, ...]]:
    """Return where each group comes from, given what an environment states as `observation_groups`, if it does.

    Raises:
        UserError: For a space that is neither a Box nor a Dict.
    """
    if not isinstance(space, spaces.Dict | spaces.Box):
        raise UserError(f"observations must be a Box or a Dict of Boxes to be looked at by roles, not {space}")
    if isinstance(space, spaces.Box):
        width = int(np.prod(space.shape))
        columns = {"policy": range(width)} if stated is None else stated
        return {name: (_source("", chosen, width),) for name, chosen in columns.items()}
    stated = {name: name for name in space.spaces} if stated is None else stated
    return {
        name: tuple(_source_in(space, part) for part in ([parts] if isinstance(parts, str) else parts))
        for name, parts in stated.items()
    }


def _source_in(space: spaces.Dict, part: str | tuple[str, Sequence[int] | None]) -> Source:
    key, chosen = (part, None) if isinstance(part, str) else part
    return (key, None) if chosen is None else _source(key, chosen, int(np.prod(space.spaces[key].shape or ())))


def _source(key: str, columns: Sequence[int], width: int) -> Source:
    chosen = tuple(int(column) for column in columns)
    return key, None if chosen == tuple(range(width)) else chosen


def hidden_groups(student: View, expert: View) -> list[str]:
    """Return a sentence for each way in which the two views fail to hide anything."""
    if set(expert.columns) <= set(student.columns):
        return [
            f"nothing is hidden: the expert sees {', '.join(expert.groups)} and the student "
            f"{', '.join(student.groups)}, so this is plain imitation"
        ]
    return []


class ViewVecEnv(VecEnvWrapper):
    """A VecEnv whose observations are what one role sees. It goes outside `attach` and inside `VecNormalize`."""

    def __init__(self, venv: VecEnv, view: View) -> None:
        super().__init__(venv, observation_space=view.space)
        self.view = view

    def reset(self) -> np.ndarray:
        """Reset, and return the role's part."""
        return self.view(self.venv.reset())

    def step_wait(self) -> VecEnvStepReturn:
        """Step, and return the role's part, of terminal observations too."""
        observation, rewards, dones, infos = self.venv.step_wait()
        for index in np.flatnonzero(dones):
            infos[index]["terminal_observation"] = first_row(self.view, infos[index]["terminal_observation"])
        return self.view(observation), rewards, dones, infos


def first_row(view: View, observation: Any) -> np.ndarray:
    """Return a role's part of one observation."""
    if isinstance(observation, Mapping):
        row: np.ndarray = view({key: np.asarray(value)[None] for key, value in observation.items()})[0]
        return row
    return np.asarray(view(np.asarray(observation)[None])[0])


class HideCoordinates(gym.Wrapper[Any, Any, Any, Any]):
    """Lets a student see only some coordinates of what it saw; the observation itself stays as it is.

    Args:
        env: An environment with a flat Box observation, or a Dict observation whose group "policy" is flat.
        hidden: Columns that only the expert sees, of the flat observation, or of the group "policy".

    Raises:
        InvalidValue: For columns that are not there, or when nothing is left to see.
        UserError: For observations that are neither a Box nor a Dict of Boxes.
    """

    def __init__(self, env: gym.Env[Any, Any], hidden: Sequence[int]) -> None:
        super().__init__(env)
        space = env.observation_space
        stated: Mapping[str, Any] | None = capability(env, "observation_groups")
        flat = isinstance(space, spaces.Box)
        groups = sources_of(space, None if flat else stated)
        sources = [source for group in ("policy", "privileged") for source in groups.get(group, ())]
        if "policy" not in groups or any(len(_box(space, source).shape) != 1 for source in sources):
            raise InvalidValue(
                f"HideCoordinates needs a flat Box observation, or a Dict with a flat group 'policy', not {space}"
            )
        shown, only = tuple(_places(groups["policy"], space)), set(hidden)
        if not only or not only <= set(range(len(shown))):
            raise InvalidValue(f"hidden = {list(hidden)} must name some of the columns 0 to {len(shown) - 1}")
        if len(only) == len(shown):
            raise InvalidValue(f"hidden = {list(hidden)} leaves the student nothing to see")
        split = {
            "policy": [place for index, place in enumerate(shown) if index not in only],
            "privileged": [*_places(groups.get("privileged", ()), space), *(shown[index] for index in sorted(only))],
        }
        self.observation_groups: dict[str, Any] = {
            **groups,
            **{
                group: tuple(column for _, column in places) if flat else _runs(places)
                for group, places in split.items()
            },
        }
        for name in ("observation_names", "observation_units"):
            if texts := capability(env, name):
                by_place = {
                    place: text
                    for group, sources in sources_of(space, stated).items()
                    for place, text in zip(_places(sources, space), texts.get(group, ()), strict=False)
                }
                unnamed = "{}[{}]" if name == "observation_names" else ""
                own = {
                    group: tuple(by_place.get(place, unnamed.format(*place)) for place in places)
                    for group, places in split.items()
                }
                setattr(self, name, own if flat else {**texts, **own})


def _runs(places: Sequence[tuple[str, int]]) -> tuple[Source, ...]:
    """Return sources that hold these values in this order."""
    runs = itertools.groupby(places, key=lambda place: place[0])
    return tuple((key, tuple(column for _, column in run)) for key, run in runs)


def _places(sources: Sequence[Source], space: spaces.Space[Any]) -> Iterator[tuple[str, int]]:
    """Yield the key and the column of every value of flat sources."""
    for key, chosen in sources:
        columns = range(int(np.prod(_box(space, (key, None)).shape))) if chosen is None else chosen
        yield from ((key, column) for column in columns)


def _groups_named(sight: str | Sequence[str], offered: Mapping[str, Any]) -> tuple[str, ...]:
    if isinstance(sight, str) and sight in ROLES and sight not in offered:
        groups = tuple(group for group in ROLES[sight] if group in offered)
        if groups:
            return groups
        raise InvalidValue(f"no group for the role {sight!r} ({', '.join(ROLES[sight])}). {_known(offered)}")
    groups = tuple(part.strip() for part in sight.split(",")) if isinstance(sight, str) else tuple(sight)
    faults = [
        f"no observation group is called {group!r}.{did_you_mean(group, offered)}"
        for group in groups
        if group not in offered
    ]
    faults += [f"the group {group!r} is named twice" for group in set(groups) if groups.count(group) > 1]
    if faults or not groups:
        raise InvalidValue(f"{' '.join(faults) or 'no group is named.'} {_known(offered)}")
    return groups


def _known(offered: Mapping[str, Any]) -> str:
    return f"This environment has: {', '.join(offered)}."


def _part(observation: Any, source: Source) -> np.ndarray:
    key, columns = source
    values = np.asarray(observation[key] if key else observation)
    return values if columns is None else values[:, list(columns)]


def _box(space: spaces.Space[Any], source: Source) -> spaces.Box:
    key, columns = source
    part = space.spaces[key] if isinstance(space, spaces.Dict) else space
    if not isinstance(part, spaces.Box):
        raise UserError(f"the observation {key!r} is a {type(part).__name__}; only Boxes can be seen by roles")
    if columns is None:
        return part
    return spaces.Box(part.low[list(columns)], part.high[list(columns)], dtype=part.dtype.type)


def _joined(boxes: Sequence[spaces.Box]) -> spaces.Box:
    if any(len(box.shape) > 1 for box in boxes):
        raise UserError("an image can only be seen alone: name the image's group and no other")
    low, high = (np.concatenate([np.ravel(getattr(box, side)) for box in boxes]) for side in ("low", "high"))
    return spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)


def _labels(
    venv: VecEnv, groups: Sequence[str], sizes: Sequence[int], offered: Mapping[str, tuple[Source, ...]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    stated = venv.get_attr("observation_names", [0])[0] if venv.has_attr("observation_names") else {}
    units = venv.get_attr("observation_units", [0])[0] if venv.has_attr("observation_units") else {}
    names_out: list[str] = []
    units_out: list[str] = []
    left = list(sizes)
    for group in groups:
        size = sum(left.pop(0) for _ in offered[group])
        names = list(stated.get(group, ())) or [f"{group}[{i}]" for i in range(size)]
        if len(names) != size:
            raise UserError(f"the environment names {len(names)} observations in {group!r}, which has {size}")
        names_out += names
        units_out += list(units.get(group, ())) or [""] * size
    return tuple(names_out), tuple(units_out)
