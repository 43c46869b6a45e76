"""Who sees what: roles, observation groups, and the columns behind them.

    view = View.of(venv, "student")          # what the group "policy" holds
    flat = view(observation)                 # (n, d) float32, or an image batch as it is
    venv = ViewVecEnv(venv, view)            # a VecEnv of which a learner sees only that

An environment offers groups as `observation_groups`: names mapped to keys of its Dict space, or to columns of its flat
Box. Without it every key of a Dict space is a group, and a flat Box is the one group "policy".
"""

from __future__ import annotations

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

Source = str | tuple[int, ...]
"""Where a group comes from: a key of a Dict space, or columns of a flat Box."""

RECIPE = """
class MyEnv(gymnasium.Env):
    observation_space = gymnasium.spaces.Dict(policy=Box(...), privileged=Box(...))

To hide columns of a flat observation, change nothing: rlteach.HideCoordinates(env, hidden=[5, 6])."""


@dataclass(frozen=True)
class View:
    """What one role sees of an observation.

    Attributes:
        groups: The groups, in order.
        sources: Where their values come from, in order.
        space: A flat Box, or the image Box when the only group is an image.
        names: A name for every column of a flat view.
        units: A unit for every column, "" where none is stated.
    """

    groups: tuple[str, ...]
    sources: tuple[Source, ...]
    space: spaces.Box
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
            return cls(groups, sources, boxes[0], (), ())
        names, units = _labels(venv, groups, [int(np.prod(box.shape)) for box in boxes], offered)
        return cls(groups, sources, _joined(boxes), names, units)

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
    space = venv.observation_space
    if venv.has_attr("observation_groups"):
        stated: Mapping[str, Any] = venv.get_attr("observation_groups", [0])[0]
        if isinstance(space, spaces.Dict):
            return {name: (keys,) if isinstance(keys, str) else tuple(keys) for name, keys in stated.items()}
        return {name: (tuple(int(column) for column in columns),) for name, columns in stated.items()}
    if isinstance(space, spaces.Dict):
        return {name: (name,) for name in space.spaces}
    if isinstance(space, spaces.Box):
        return {"policy": (tuple(range(int(np.prod(space.shape)))),)} if len(space.shape) == 1 else {"policy": ("",)}
    raise UserError(f"observations must be a Box or a Dict of Boxes to be looked at by roles, not {space}")


def hidden_groups(student: View, expert: View) -> list[str]:
    """Return a sentence for each way in which the two views fail to hide anything."""
    if set(_atoms(expert)) <= set(_atoms(student)):
        return [
            f"nothing is hidden: the expert sees {', '.join(expert.groups)} and the student "
            f"{', '.join(student.groups)}, so this is plain imitation"
        ]
    return []


def _atoms(view: View) -> Iterator[int | str]:
    """Yield the columns, or the keys, that a view shows."""
    for source in view.sources:
        yield from source if isinstance(source, tuple) else (source,)


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
    """Lets a student see only some coordinates of a flat observation; the observation itself stays as it is.

    Args:
        env: An environment with a flat Box observation.
        hidden: Columns that only the expert sees.

    Raises:
        InvalidValue: For columns that are not there, or when nothing is left to see.
    """

    def __init__(self, env: gym.Env[Any, Any], hidden: Sequence[int]) -> None:
        super().__init__(env)
        shape = env.observation_space.shape or ()
        if not isinstance(env.observation_space, spaces.Box) or len(shape) != 1:
            raise InvalidValue(f"HideCoordinates needs a flat Box observation, not {env.observation_space}")
        wrong = sorted(set(hidden) - set(range(shape[0])))
        if wrong or not hidden:
            raise InvalidValue(f"hidden = {list(hidden)} must name some of the columns 0 to {shape[0] - 1}")
        seen = tuple(column for column in range(shape[0]) if column not in set(hidden))
        if not seen:
            raise InvalidValue(f"hidden = {list(hidden)} leaves the student nothing to see")
        groups = {"policy": seen, "privileged": tuple(sorted(set(hidden)))}
        inner: Mapping[str, Sequence[int]] = capability(env, "observation_groups", {"policy": range(shape[0])})
        for name in ("observation_names", "observation_units"):
            if stated := capability(env, name):
                by_column = _by_column(inner, stated)
                setattr(self, name, {group: tuple(by_column[c] for c in columns) for group, columns in groups.items()})
        self.observation_groups = groups


def _by_column(groups: Mapping[str, Sequence[int]], stated: Mapping[str, Sequence[str]]) -> dict[int, str]:
    """Return what is stated of each column, group by group."""
    return {
        column: text for group, columns in groups.items() for column, text in zip(columns, stated[group], strict=True)
    }


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
    if isinstance(source, tuple):
        values = np.asarray(observation)
        everything = source == tuple(range(values.shape[1]))
        return values if everything else values[:, list(source)]
    return np.asarray(observation[source] if source else observation)


def _box(space: spaces.Space[Any], source: Source) -> spaces.Box:
    if isinstance(source, tuple):
        assert isinstance(space, spaces.Box)
        columns = list(source)
        return spaces.Box(space.low[columns], space.high[columns], dtype=space.dtype.type)
    part = space.spaces[source] if isinstance(space, spaces.Dict) and source else space
    if not isinstance(part, spaces.Box):
        raise UserError(f"the observation {source!r} is a {type(part).__name__}; only Boxes can be seen by roles")
    return part


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
