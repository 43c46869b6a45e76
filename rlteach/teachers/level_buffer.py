"""Levels that were met, how much each promises, and when it was last played: what level-replay teachers share.

    buffer = LevelBuffer(256, dimension=2)
    place = buffer.offer(point, score, Past().after(outcome))
    points = buffer.levels[buffer.draw(8, rng)]

A level is a point of the unit cube. Sources: "Prioritized level replay" (Jiang et al., ICML 2021) and
"Replay-guided adversarial environment design" (Jiang et al., NeurIPS 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from rlteach.errors import ConfigError, did_you_mean
from rlteach.lesson import Outcome
from rlteach.protocols import State
from rlteach.task_space import TaskSpace
from rlteach.teachers.base import HUGE, Array

Numbers = TypeVar("Numbers", float, Array)

MEMORY = 10.0
"""Effective number of episodes from which a level's chance of success is estimated."""

RANKINGS = 40
"""Scores of n levels become probabilities anew after every n / 40 changes, and whenever a level comes or goes."""


class Rollouts(Protocol):
    """Plays tasks with the current learner, which is not trained on them; every step is charged to the teacher."""

    def __call__(
        self, tasks: Sequence[Any], *, repeats: int = 1, signals: frozenset[str] = frozenset()
    ) -> list[Outcome]:
        """Return the outcomes; number k * repeats + j is the j-th play of task k."""


def require_one_of(owner: object, **choices: tuple[str, Collection[str]]) -> None:
    """Check hyperparameters given as `name=(value, allowed values)`.

    Raises:
        ConfigError: Every hyperparameter that has none of its values, at once.
    """
    faults = [
        f"{name} = {value!r} must be one of {', '.join(allowed)}.{did_you_mean(str(value), allowed)}"
        for name, (value, allowed) in choices.items()
        if value not in allowed
    ]
    if faults:
        raise ConfigError(faults, where=f"hyperparameters of {type(owner).__name__}")


# -- levels ------------------------------------------------------------------------------------------------------------


def as_levels(space: TaskSpace, points: Array) -> Array:
    """Return points of the unit cube (n, dimension) such that equal discrete tasks are equal points."""
    return space.unit_of_vectors(space.vectors_of_unit(points))


def number_of_tasks(space: TaskSpace) -> float:
    """Return how many tasks there are; infinite as soon as one parameter is continuous."""
    return math.prod(p.levels if p.levels else math.inf for p in space.parameters)


# -- scores ------------------------------------------------------------------------------------------------------------


def positive_value_loss(advantages: Array) -> float:
    """Return the mean of max(A_t, 0) over the steps of an episode (T,), A the generalised advantages."""
    return float(np.maximum(advantages, 0.0).sum()) / len(advantages)


def value_l1(advantages: Array) -> float:
    """Return the mean of |A_t| over the steps of an episode (T,): the L1 value loss."""
    return float(np.abs(advantages).sum()) / len(advantages)


def td_error_l1(td_errors: Array) -> float:
    """Return the mean of |r + gamma V(s') - V(s)| over the steps of an episode (T,)."""
    return float(np.abs(td_errors).sum()) / len(td_errors)


def max_mc(values: Array, best: float) -> float:
    """Return the mean of R_max - V(s_t) over the steps of an episode (T,), R_max the best return seen on the level."""
    return best - float(np.sum(values)) / len(values)


def success_variance(successes: Numbers, plays: Numbers) -> Numbers:
    """Return E[p (1 - p)] after S successes in n plays, for a chance of success p that is uniform beforehand.

    With a = S + 1 and b = n - S + 1 that is a b / ((a + b) (a + b + 1)): 1/6 for a level that was never played.
    """
    a, b = successes + 1.0, plays - successes + 1.0
    return a * b / ((a + b) * (a + b + 1.0))


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of a level beside its score.

    Attributes:
        best: Highest discounted return so far.
        successes: Successes, old ones counting less.
        plays: Episodes, old ones counting less.
    """

    best: float = -HUGE
    successes: float = 0.0
    plays: float = 0.0

    def after(self, outcome: Outcome) -> Past:
        """Return what is known after one more episode."""
        kept = 1.0 - 1.0 / MEMORY
        return Past(
            min(max(self.best, outcome.discounted_ret), HUGE),
            kept * self.successes + min(max(outcome.success, 0.0), 1.0),
            kept * self.plays + 1.0,
        )


class Score(NamedTuple):
    """A way to tell how much a level promises."""

    needs: frozenset[str]
    of: Callable[[Outcome, Past], float]


SCORES = {
    "positive_value_loss": Score(
        frozenset({"advantages"}), lambda outcome, past: positive_value_loss(outcome.signals["advantages"])
    ),
    "value_l1": Score(frozenset({"advantages"}), lambda outcome, past: value_l1(outcome.signals["advantages"])),
    "td_error_l1": Score(frozenset({"td_errors"}), lambda outcome, past: td_error_l1(outcome.signals["td_errors"])),
    "max_mc": Score(frozenset({"values"}), lambda outcome, past: max_mc(outcome.signals["values"], past.best)),
    "success_variance": Score(frozenset(), lambda outcome, past: success_variance(past.successes, past.plays)),
}
"""By name. Each takes a finished episode and what is known of its level, that episode included."""


def score_of(name: str, outcome: Outcome, past: Past) -> float:
    """Return a score by name; by success variance where the outcome lacks the signals. It may be not finite."""
    score = SCORES[name]
    if any(np.size(outcome.signals.get(signal, ())) == 0 for signal in score.needs):
        score = SCORES["success_variance"]
    with np.errstate(over="ignore", invalid="ignore"):
        return score.of(outcome, past)


# -- priorities --------------------------------------------------------------------------------------------------------


def rank_priorities(scores: Array, temperature: float) -> Array:
    """Return the probabilities (n,) proportional to (1 / rank)^(1 / temperature), rank 1 for the highest score.

    Equal scores share what their ranks would get (which of them comes first would be an accident).
    """
    order = np.argsort(-scores)
    weights = np.arange(1.0, len(scores) + 1.0) ** (-1.0 / temperature)
    ranked = scores[order]
    first = np.flatnonzero(ranked[1:] != ranked[:-1]) + 1
    if len(first) + 1 < len(ranked):
        starts, ends = np.append(0, first), np.append(first, len(ranked))
        weights = np.repeat(np.add.reduceat(weights, starts) / (ends - starts), ends - starts)
    priorities = np.empty(len(scores))
    priorities[order] = weights / weights.sum()
    return priorities


def proportional_priorities(scores: Array, temperature: float) -> Array:
    """Return the probabilities (n,) proportional to max(score, 0)^(1 / temperature); uniform when none is positive."""
    positive = np.maximum(scores, 0.0)
    top = positive.max()
    if top <= 0.0:
        return np.full(len(scores), 1.0 / len(scores))
    weights = (positive / top) ** (1.0 / temperature)
    return np.asarray(weights / weights.sum())


PRIORITIES = {"rank": rank_priorities, "proportional": proportional_priorities}
"""How scores become probabilities, by name."""


def staleness_priorities(ages: Array) -> Array:
    """Return the probabilities (n,) proportional to the time since each level was last drawn; uniform when none is."""
    total = ages.sum()
    return np.asarray(ages / total) if total > 0.0 else np.full(len(ages), 1.0 / len(ages))


def replay_distribution(by_score: Array, by_staleness: Array, staleness: float) -> Array:
    """Return (1 - c) P_score + c P_stale, the probabilities of being replayed (n,)."""
    return np.asarray((1.0 - staleness) * by_score + staleness * by_staleness)


# -- the buffer --------------------------------------------------------------------------------------------------------


class LevelBuffer:
    """At most `capacity` levels with their scores; the least likely to be replayed makes room for a better one.

    Args:
        capacity: Number of levels kept.
        dimension: Numbers per level.
        prioritisation: `"rank"` or `"proportional"`.
        temperature: Temperature beta of the prioritisation.
        staleness: Share c of the probability that goes to levels by the time since they were last drawn.
    """

    def __init__(
        self,
        capacity: int,
        dimension: int,
        *,
        prioritisation: str = "rank",
        temperature: float = 0.1,
        staleness: float = 0.1,
    ) -> None:
        self.capacity = capacity
        self.temperature, self.staleness = temperature, staleness
        self._prioritise = PRIORITIES[prioritisation]
        self._levels = np.zeros((capacity, dimension))
        self._numbers = np.zeros((capacity, 5))  # score, time of the last draw, and the Past
        self._places: dict[bytes, int] = {}
        self._clock = 0
        self._changes = 0
        self._score_part: Array = np.zeros(0)
        self._cumulative: Array = np.zeros(0)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def levels(self) -> Array:
        """The levels kept (len, dimension), as a view."""
        return self._levels[: len(self)]

    @property
    def scores(self) -> Array:
        """Their scores (len,), as a view."""
        return self._numbers[: len(self), 0]

    def find(self, level: Array) -> int | None:
        """Return the place of a level, None when it is not (or no longer) here."""
        return self._places.get(level.tobytes())

    def past(self, place: int) -> Past:
        """Return what is known of a level."""
        return Past(*self._numbers[place, 2:].tolist())

    def update(self, place: int, score: float, past: Past) -> None:
        """Set the score of a level and what is known of it."""
        self._numbers[place, 0] = score
        self._numbers[place, 2:] = past.best, past.successes, past.plays
        self._changes += 1

    def add_to_score(self, place: int, extra: float) -> None:
        """Raise or lower the score of a level, which stays a number that can be added to."""
        self._numbers[place, 0] = min(max(float(self._numbers[place, 0]) + extra, -HUGE), HUGE)
        self._changes += 1

    def offer(self, level: Array, score: float, past: Past, chances: Array | None = None) -> int | None:
        """Take in a new level, and return its place; None when the buffer is full of better ones.

        Args:
            level: A level that `find` does not find.
            score: Its score.
            past: What is known of it.
            chances: The probabilities of being replayed (len,), of which the lowest one goes; the buffer's own when
                not given.
        """
        place = len(self)
        if place == self.capacity:
            place = int((self.probabilities() if chances is None else chances).argmin())
            if score < self._numbers[place, 0]:
                return None
            del self._places[self._levels[place].tobytes()]
            self._score_part = self._score_part[:0]  # else the newest level would have the chances of the one that left
        self._levels[place] = level
        self._places[self._levels[place].tobytes()] = place
        self._numbers[place, 1] = self._clock
        self.update(place, score, past)
        return place

    def _by_score_now(self) -> Array:
        """Return the part of the probabilities that the scores decide (len,)."""
        n = len(self)
        if len(self._score_part) != n or self._changes * RANKINGS >= max(n, RANKINGS):
            self._score_part = self._prioritise(self._numbers[:n, 0], self.temperature)
            self._cumulative = np.cumsum(self._score_part)
            self._changes = 0
        return self._score_part

    def _by_staleness_now(self) -> Array:
        return staleness_priorities(self._clock - self._numbers[: len(self), 1])

    def probabilities(self) -> Array:
        """Return the probability of each level to be the next one replayed (len,); there must be one."""
        return replay_distribution(self._by_score_now(), self._by_staleness_now(), self.staleness)

    def draw(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw the places of `n` levels (n,) with replacement, and note that they were drawn; there must be one."""
        self._by_score_now()
        stale = rng.random(n) < self.staleness  # to draw from a mixture, draw first which of its parts it is
        places = drawn_places(self._cumulative, n, rng)
        if stale.any():
            places[stale] = drawn_places(np.cumsum(self._by_staleness_now()), int(np.count_nonzero(stale)), rng)
        self._clock += n
        self._numbers[places, 1] = self._clock
        return places

    def state_dict(self) -> State:
        """Return the levels, all about them, and the probabilities that wait for more changes."""
        return {
            "levels": self.levels.copy(),
            "numbers": self._numbers[: len(self)].copy(),
            "clock": self._clock,
            "changes": self._changes,
            "score_part": self._score_part.copy(),
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        levels = np.asarray(state["levels"], dtype=np.float64).reshape(-1, self._levels.shape[1])
        self._levels[: len(levels)] = levels
        self._numbers[: len(levels)] = np.asarray(state["numbers"]).reshape(-1, self._numbers.shape[1])
        self._places = {level.tobytes(): place for place, level in enumerate(self._levels[: len(levels)])}
        self._clock, self._changes = int(state["clock"]), int(state["changes"])
        self._score_part = np.array(state["score_part"], dtype=np.float64)
        self._cumulative = np.cumsum(self._score_part)


def drawn_places(cumulative: Array, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw `n` places (n,) with replacement, by cumulated probability."""
    places = cumulative.searchsorted(rng.random(n) * cumulative[-1], side="right")
    return np.asarray(np.minimum(places, len(cumulative) - 1))
