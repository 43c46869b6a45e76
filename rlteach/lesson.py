"""The two values that everything else passes around: what an episode should be, and what became of it.

lesson = Lesson(id=7, task=np.array([0.3, 0.9]), origin="uniform")
outcome = Outcome(lesson_id=7, ret=1.0, discounted_ret=0.81, length=22, success=1.0, terminated=True)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

FIELDS = ("task", "start", "goal", "shaping")
"""The parts of a lesson that a teacher may fill; `Compose` merges teachers that fill different ones."""


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Where an episode begins, other than at the ordinary reset.

    Attributes:
        snapshot: What the environment's `get_snapshot` returned; None for the ordinary reset.
        elapsed: Steps of the time limit that count as used up already; None leaves what an environment counts itself as
            it is in `snapshot`, and lets the limits of wrappers (`TimeLimit`) start anew.
        limit: Steps after which the episode is truncated, from outside: a `Monitor` inside never hears of its end; None
            leaves that to the environment.
        guide: Policy that plays the first steps, a picklable callable from one observation to one action.
        roll_in: Number of steps that it plays; the learner does not see them, but they count as environment steps.
    """

    snapshot: Mapping[str, Any] | None = None
    elapsed: int | None = None
    limit: int | None = None
    guide: Callable[[Any], Any] | None = None
    roll_in: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """How one episode starts and how it is rewarded.

    Lessons are compared by identity, since their tasks may be arrays.

    Attributes:
        id: Number given by the teacher that issued it; unique within that teacher.
        task: Element of the environment's task space, or None to leave the choice to the environment.
        start: Where the episode starts, or None for the ordinary reset.
        goal: Subgoal handed to `set_goal`, or None.
        shaping: Callable that turns a transition into an extra reward, or None.
        origin: Who proposed it and why, e.g. `"alp_gmm/random"`; for logs only.
    """

    id: int
    task: Any = None
    start: Start | None = None
    goal: Any = None
    shaping: Any = None
    origin: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What became of one lesson.

    Attributes:
        lesson_id: The `id` of the lesson that was played.
        ret: Undiscounted, unshaped return of the episode.
        discounted_ret: Discounted, unshaped return, with the `gamma` given to `attach`.
        length: Number of environment steps.
        success: 1 or 0 where the environment or a threshold tells, else the rank among recent returns, in [0, 1].
        terminated: True when the episode ended by itself, False when it was cut off (truncated).
        signals: Per-episode extras that the teacher asked for through `needs`.
    """

    lesson_id: int
    ret: float
    discounted_ret: float
    length: int
    success: float
    terminated: bool
    signals: Mapping[str, Any] = field(default_factory=dict)
