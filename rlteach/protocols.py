"""What the parts of the suite may expect of each other. Everything here is structural: nobody has to inherit.

Environments offer capabilities as plain attributes, found through wrappers: `task_space` with
`reset(options={"task": ...})`, `get_snapshot()` / `set_snapshot()`, `set_goal()`, `observation_groups`, `test_sets`,
`return_range` and `oracle_window()`. Each is optional.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from rlteach.lesson import Lesson, Outcome

State: TypeAlias = dict[str, Any]
"""A nested dict of arrays, numbers, strings, booleans, None and lists of these: it fits into JSON plus npz."""


@runtime_checkable
class Teacher(Protocol):
    """Chooses what the learner meets next.

    Attributes:
        needs: Per-step signals (`values`, `td_errors`, `initial_value`) that the teacher wants in `Outcome.signals`.
    """

    needs: frozenset[str]

    def propose(self, n: int) -> list[Lesson]:
        """Return exactly `n` lessons. Never waits for outcomes that are still out."""

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        """Take in finished lessons, in the order in which they ended."""

    def forget(self, lesson_ids: Iterable[int]) -> None:
        """Drop lessons that were abandoned and will never be observed."""

    def state_dict(self) -> State:
        """Return everything that `load_state_dict` needs to go on bit-exactly."""

    def load_state_dict(self, state: State) -> None:
        """Continue from a state that `state_dict` returned."""


@runtime_checkable
class Expert(Protocol):
    """Labels observations with actions. Batch in, batch out; recurrent state is passed explicitly."""

    def label(self, observations: np.ndarray, state: Any = None, starts: np.ndarray | None = None) -> tuple[Any, Any]:
        """Return the actions for a batch of observations, and the next recurrent state (None when there is none).

        Args:
            observations: What the expert sees, (n, d).
            state: What the call before returned; None at first.
            starts: (n,) bool, rows whose episode begins with this observation, so that an expert with memory puts
                theirs back; None for no row.
        """


@runtime_checkable
class Learner(Protocol):
    """The part of the Stable-Baselines3 API that a run relies on."""

    num_timesteps: int

    def learn(self, total_timesteps: int, callback: Any = None, *, reset_num_timesteps: bool = True) -> Any:
        """Train for `total_timesteps` environment steps."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        """Return the actions for a batch of observations."""

    def save(self, path: str | Path) -> None:
        """Write the learner to `path`."""


@runtime_checkable
class SkillGraph(Protocol):
    """The geometry that a synthetic learner grows competence on (offered by toy environments as `skill_graph`)."""

    n_skills: int
    prerequisites: Sequence[np.ndarray]

    def skill_of(self, observations: np.ndarray) -> np.ndarray:
        """Return the skill index of each observation, -1 where there is none."""


Snapshot: TypeAlias = Mapping[str, Any]
