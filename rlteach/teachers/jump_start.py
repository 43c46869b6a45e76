"""Jump-start RL: a guide plays the first steps of every episode, fewer and fewer of them.

    teacher = JumpStart(guide, horizon=60, seed=0)

Uchendu et al., "Jump-Start Reinforcement Learning" (2022). Needs neither snapshots nor a resettable simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from rlteach.errors import ConfigError, did_you_mean
from rlteach.lesson import Outcome, Start
from rlteach.teachers.base import HUGE, require
from rlteach.teachers.start_base import ORDINARY, StartTeacher

VARIANTS = ("curriculum", "random")
SCORES = ("success", "return")


def stage_horizons(horizon: int, stages: int) -> list[int]:
    """Return the numbers of guided steps, H, H (1 - 1/n), ..., 0, without repetition."""
    return sorted({round(horizon * stage / stages) for stage in range(stages + 1)}, reverse=True)


def tolerated(best: float, beta: float) -> float:
    """Return the least score that counts as being as good as `best`: best - beta |best|, or (1 - beta) best >= 0."""
    return best - beta * abs(best)


class JumpStart(StartTeacher):
    """JSRL (Uchendu et al. 2022): the guide rolls in for h steps, then the learner takes over.

    Curriculum variant: h goes through `stages` equal steps from `horizon` to 0, one whenever the mean score of the last
    `window` episodes with this h is at least (1 - beta) of the best such mean so far. Random variant: h is uniform over
    0 ... `horizon` in every episode.

    Deviations: the score is that of the training episodes instead of separate evaluations; windows do not overlap, and
    the first one only sets the score to beat; and as long as no episode has succeeded, h goes round through all its
    stages, since a guide that is let play longer than its episodes last leaves nothing to the learner (the delivery
    then begins an ordinary episode), and every score would be within tolerance of a best one of 0.

    Args:
        guide: Policy that rolls in, a picklable callable from one observation to one action.
        horizon: Steps that the guide plays at first, best a little less than the length of its episodes. A run that
            gives none takes the environment's time limit: a guide that ends its episodes earlier then plays whole ones,
            which are charged and leave nothing to the learner, until h is shorter than they are.
        variant: `"curriculum"` or `"random"`.
        stages: Number of times that h is shortened.
        beta: Tolerance, the share of the best score that may be lost.
        window: Episodes from which a score is taken.
        score: `"success"`, or `"return"` where success is not told. Returns leave out the guided steps, so that those
            of a shorter h are of more steps.
        ordinary: Share of episodes without guide, which are not scored.
        seed: Seed of the draws.

    Attributes:
        stage: Number of times that h has been shortened.
        best: Best mean score so far; -inf before the first.

    Raises:
        ConfigError: For a guide that cannot be called, and everything else out of range.
    """

    state_names = ("stage", "best", "_scores")
    restores = False  # the guide plays from the ordinary reset

    def __init__(
        self,
        guide: Callable[[Any], Any],
        horizon: int,
        *,
        variant: Literal["curriculum", "random"] = "curriculum",
        stages: int = 10,
        beta: float = 0.05,
        window: int = 20,
        score: Literal["success", "return"] = "success",
        ordinary: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(seed=seed)
        _check_names(guide, variant, score)
        require(
            self,
            horizon=(horizon, 1, None),
            stages=(stages, 1, None),
            beta=(beta, 0, 1),
            window=(window, 1, None),
            ordinary=(ordinary, 0, 1),
        )
        self.guide, self.variant, self.score = guide, variant, score
        self.decides_by_success = variant == "curriculum" and score == "success"
        self.beta, self.window, self.ordinary = beta, window, ordinary
        self.horizons = stage_horizons(horizon, stages)
        self.stage = 0
        self.best = -np.inf
        self._scores: list[float] = []

    @property
    def horizon(self) -> int:
        """Number h of guided steps now (the largest one in the random variant)."""
        return self.horizons[self.stage]

    def _choose(self, n: int) -> tuple[Sequence[int], Sequence[str]]:
        places = np.full(n, self.horizon)
        if self.variant == "random":
            places = self.rng.integers(self.horizon + 1, size=n)
        alone = (self.rng.random(n) < self.ordinary) | (places == 0)
        return np.where(alone, ORDINARY, places).tolist(), ["jump_start/alone" if a else "jump_start" for a in alone]

    def _start(self, place: int) -> Start:
        return Start(guide=self.guide, roll_in=place)

    def _learn(self, places: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        for place, outcome in zip(places, outcomes, strict=True):
            guided = 0 if place == ORDINARY else place
            if self.variant == "curriculum" and guided == self.horizon:
                self._note(outcome.success if self.score == "success" else outcome.ret)

    def _note(self, score: float) -> None:
        self._scores.append(score)
        if len(self._scores) < self.window:
            return
        mean = float(np.mean(np.clip(self._scores, -HUGE, HUGE)))
        self._scores = []
        if self.score == "success" and max(self.best, mean) <= 0:
            self.stage = (self.stage + 1) % len(self.horizons)
        elif np.isfinite(self.best) and mean >= tolerated(self.best, self.beta):
            self.stage = min(self.stage + 1, len(self.horizons) - 1)
        self.best = max(self.best, mean)


def _check_names(guide: Any, variant: str, score: str) -> None:
    faults = [] if callable(guide) else [f"guide = {guide!r} must be a callable from an observation to an action"]
    for name, value, known in (("variant", variant, VARIANTS), ("score", score, SCORES)):
        if value not in known:
            faults.append(f"{name} = {value!r} must be one of {', '.join(known)}.{did_you_mean(str(value), known)}")
    if faults:
        raise ConfigError(faults, where="hyperparameters of JumpStart")
