"""Snapshots by replaying actions, for every environment that its seed and its actions determine (Box2D, MiniGrid).

env = ActionReplay(gym.make("LunarLander-v3", continuous=True))

A snapshot holds the seed and options of the reset and all actions since, so both it and the time to restore it grow
with the age of the episode: `set_snapshot` plays every one of those steps again. They are counted in `replayed_steps`,
since a budget of environment steps has to pay for them.
"""

from __future__ import annotations

import copy
import hashlib
import sys
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from rlteach.errors import EnvironmentFault, InvalidValue, UserError
from rlteach.snapshots.attributes import Unfit, from_plain, to_plain
from rlteach.snapshots.base import Restorable, part
from rlteach.snapshots.encoding import encode


class ActionReplay(Restorable):
    """Remembers what began the episode and what was done since.

    A reset without a seed draws one from this wrapper's own generator, which the last seed given has seeded; so every
    episode can be repeated, and what follows it too. When somebody else puts the environment's generator into another
    state between two steps, that is remembered and repeated like an action.

    Attributes:
        replayed_steps: Steps of the environment that `set_snapshot` has played so far.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.replayed_steps = 0
        self._rng = np.random.default_rng()
        self._seed: int | None = None
        self._options: dict[str, Any] | None = None
        self._actions: list[Any] = []
        self._chances: list[tuple[int, dict[str, Any]]] = []
        self._chance: dict[str, Any] | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset with the seed, or with one that is drawn."""
        if seed is not None:
            # Not the seed itself: the environment inside is seeded with that, and the two must not draw alike.
            self._rng = np.random.default_rng([seed, 2])
        self._seed = int(self._rng.integers(2**31)) if seed is None else seed
        self._options = copy.deepcopy(options)
        self._actions, self._chances = [], []
        _renew_world(self.unwrapped)
        first = super().reset(seed=self._seed, options=options)
        self._chance = _chance_of(self.unwrapped)
        return first

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and remember the action."""
        self._notice_chance()
        self._actions.append(copy.deepcopy(action))
        result = super().step(action)
        self._chance = _chance_of(self.unwrapped)
        return result

    def get_snapshot(self) -> dict[str, Any]:
        """Return the seed, the options and the actions; their number is the age of the episode in steps."""
        if self._seed is None:
            raise UserError(f"call reset() before get_snapshot(): {self} has not seen the start of an episode")
        self._notice_chance()
        try:
            return {
                "seed": self._seed,
                "options": to_plain(self._options, "options"),
                "actions": _packed([to_plain(action, "an action") for action in self._actions]),
                "chances": [list(chance) for chance in self._chances],
                "seeds": self._rng.bit_generator.state,
                "seen": _digest(self._observation),
            }
        except Unfit as error:
            raise UserError(f"{error}, so this episode cannot be kept") from None

    def set_snapshot(self, snapshot: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Reset with the seed and options of the snapshot and play its actions.

        Raises:
            EnvironmentFault: When that leads to another observation than the one that was seen there.
        """
        names = ("seed", "options", "actions", "chances", "seeds")
        seed, options, actions, chances, seeds = (part(snapshot, name) for name in names)
        generator_states = dict(chances)
        self.reset(seed=seed, options=from_plain(options, None))
        for age, action in enumerate(actions):
            self._set_chance(generator_states.get(age))
            try:
                self.step(from_plain(action, None))
            except (TypeError, ValueError, AssertionError) as error:
                raise InvalidValue(f"{self} refuses action {age + 1} of this snapshot: {error}") from error
        self._set_chance(generator_states.get(len(actions)))
        self.replayed_steps += len(actions)
        self._rng.bit_generator.state = seeds
        if snapshot.get("seen") not in (None, _digest(self._observation)):
            raise EnvironmentFault(
                f"the {len(actions)} actions of this snapshot, played again in {self}, lead elsewhere: the observation "
                "differs from the one that was seen when it was taken. Something else than seed and actions decides, "
                "or changed since: a library, a file, a wrapper that learns. Mend that and take the snapshots again"
            )
        return self._last_observation(), {}

    @property
    def seed_generator(self) -> np.random.Generator:
        """The generator that the seeds of resets are drawn from."""
        return self._rng

    def _notice_chance(self) -> None:
        """Remember the generator's state when it is not the one that the last step or reset left behind."""
        state = _chance_of(self.unwrapped)
        if state is not None and not _equal(state, self._chance):
            self._chances.append((len(self._actions), state))
            self._chance = state

    def _set_chance(self, state: dict[str, Any] | None) -> None:
        if state is not None:
            self.unwrapped.np_random.bit_generator.state = state


def _chance_of(bare: gym.Env[Any, Any]) -> dict[str, Any] | None:
    """Return the state of the environment's generator, without making one where there is none."""
    generator = vars(bare).get("_np_random")
    return None if generator is None else generator.bit_generator.state


def _digest(observation: Any) -> bytes | None:
    """Return the SHA-256 of an observation, which may be a picture; None for one that has no bytes."""
    try:
        return hashlib.sha256(encode({"seen": to_plain(observation, "an observation")})).digest()
    except Unfit:
        return None


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_equal(first[key], second[key]) for key in first)
    return np.array_equal(first, second) if isinstance(first, np.ndarray) else bool(first == second)


def _renew_world(bare: gym.Env[Any, Any]) -> None:
    """Replace a Box2D world that outlives its episodes, as those of BipedalWalker and CarRacing do.

    A world that has been used hands out its contacts in another order, and one episode in fifteen goes another way.
    """
    box2d = sys.modules.get("Box2D")
    world, destroy = vars(bare).get("world"), getattr(bare, "_destroy", None)
    if box2d is not None and isinstance(world, box2d.b2World) and destroy is not None:
        destroy()
        bare.world = box2d.b2World(gravity=world.gravity)  # type: ignore[attr-defined]


def _packed(actions: list[Any]) -> Any:
    """Return actions as one array where they are arrays of one shape: that is written and read far faster."""
    first = actions[0] if actions else None
    if type(first) is not np.ndarray or first.ndim == 0:
        return actions
    if all(type(a) is np.ndarray and (a.dtype, a.shape) == (first.dtype, first.shape) for a in actions):
        return np.stack(actions)
    return actions
