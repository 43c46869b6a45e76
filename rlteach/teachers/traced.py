"""TRACED: ACCEL that also values tasks whose transitions surprise, and tasks whose training helped with others.

teacher = TRACED(task_space, seed=0)
teacher.rollouts = ...          # set by a run
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from rlteach.lesson import Outcome
from rlteach.protocols import State
from rlteach.task_space import TaskSpace, clipped
from rlteach.teachers.accel import ACCEL
from rlteach.teachers.base import HUGE, Array, require
from rlteach.teachers.level_buffer import Past

MOST_FEATURES = 128
"""Numbers of an observation that are predicted; longer ones are thinned out evenly."""

MOST_STEPS = 64
"""Transitions of an episode that are predicted and learned from, evenly spaced."""

LARGEST = 1e9
"""Observations and actions are clipped to this, so that no square overflows."""

HIDDEN = 64
FIRST_DECAY, SECOND_DECAY = 0.9, 0.999


def difficulty(regret: float, transition_error: float, weight: float) -> float:
    """Return regret + weight * transition-prediction error: the first score, task difficulty."""
    return regret + weight * transition_error


def co_learnability(before: Array, after: Array) -> float:
    """Return the mean fall of the difficulties (n,) of the tasks just played: what the batch before did for others."""
    return float((before - after).mean())


def transitions_of(signals: Mapping[str, Any]) -> tuple[Array, Array]:
    """Return what an episode offers for prediction: (observation and action, next observation), row by row.

    Empty where the signals are missing, hold no transition, or are not numbers.
    """
    observations = np.asarray(signals.get("observations", ()))
    if observations.dtype.kind not in "biuf" or observations.ndim == 0 or len(observations) < 2:
        return np.zeros((0, 0)), np.zeros((0, 0))
    flat = observations.reshape(len(observations), -1)
    columns = np.unique(np.linspace(0, flat.shape[1] - 1, MOST_FEATURES).astype(int))
    rows = np.unique(np.linspace(0, len(flat) - 2, MOST_STEPS).astype(int))
    actions = np.asarray(signals.get("actions", np.zeros((len(flat), 0))), dtype=np.float64).reshape(len(flat), -1)
    inputs = np.hstack([flat[rows][:, columns], actions[rows]])
    outputs = flat[rows + 1][:, columns]
    return clipped(inputs, -LARGEST, LARGEST), clipped(outputs, -LARGEST, LARGEST)


class TransitionPredictor:
    """A network of one hidden layer that predicts the next observation, trained by Adam one episode at a time.

    Args:
        learning_rate: Step size of Adam.
    """

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self._weights: list[Array] = []
        self._first: list[Array] = []
        self._second: list[Array] = []
        self._scale = np.zeros((3, 0))  # count, mean, sum of squared deviations, of inputs and then outputs
        self._steps = 0

    def error(self, inputs: Array, outputs: Array, rng: np.random.Generator) -> float:
        """Return the mean squared error of predicting an episode, in standardised units, and then learn from it.

        Args:
            inputs: Observation and action of each transition (n, i); as wide in every call.
            outputs: The observation that followed (n, o).
            rng: What the first weights are drawn with.
        """
        if not len(inputs) or not (np.isfinite(inputs).all() and np.isfinite(outputs).all()):
            return 0.0
        if not self._weights:
            self._begin(inputs.shape[1], outputs.shape[1], rng)
        both = np.hstack([inputs, outputs])
        if both.shape[1] != self._scale.shape[1]:
            return 0.0
        self._measure(both)
        standard = self._standardised(both)
        x, y = standard[:, : inputs.shape[1]], standard[:, inputs.shape[1] :]
        loss, gradients = _loss_and_gradients(self._weights, x, y)
        self._descend(gradients)
        return loss

    def _begin(self, n_inputs: int, n_outputs: int, rng: np.random.Generator) -> None:
        shapes = [(n_inputs, HIDDEN), (1, HIDDEN), (HIDDEN, n_outputs), (1, n_outputs)]
        self._weights = [
            np.zeros(shape) if i % 2 else rng.normal(0.0, shape[0] ** -0.5, shape) for i, shape in enumerate(shapes)
        ]
        self._first = [np.zeros(shape) for shape in shapes]
        self._second = [np.zeros(shape) for shape in shapes]
        self._scale = np.zeros((3, n_inputs + n_outputs))

    def _measure(self, rows: Array) -> None:
        """Update the running mean and the sum of squared deviations by a batch (Chan et al., 1979)."""
        count, mean, squares = self._scale
        total = count + len(rows)
        shift = rows.mean(axis=0) - mean
        squares = squares + ((rows - rows.mean(axis=0)) ** 2).sum(axis=0) + shift**2 * count * len(rows) / total
        self._scale = np.array([total, mean + shift * len(rows) / total, squares])

    def _standardised(self, rows: Array) -> Array:
        count, mean, squares = self._scale
        return np.clip((rows - mean) / np.sqrt(squares / count + 1e-8), -10.0, 10.0)

    def _descend(self, gradients: Sequence[Array]) -> None:
        self._steps += 1
        corrections = 1.0 - FIRST_DECAY**self._steps, 1.0 - SECOND_DECAY**self._steps
        for i, gradient in enumerate(gradients):
            self._first[i] = FIRST_DECAY * self._first[i] + (1.0 - FIRST_DECAY) * gradient
            self._second[i] = SECOND_DECAY * self._second[i] + (1.0 - SECOND_DECAY) * gradient**2
            step = self._first[i] / corrections[0] / (np.sqrt(self._second[i] / corrections[1]) + 1e-8)
            self._weights[i] = self._weights[i] - self.learning_rate * step

    def state_dict(self) -> State:
        """Return the weights, what Adam remembers, and the scale of the observations."""
        return {
            "weights": [w.copy() for w in self._weights],
            "first": [m.copy() for m in self._first],
            "second": [v.copy() for v in self._second],
            "scale": self._scale.copy(),
            "steps": self._steps,
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        self._weights, self._first, self._second = (
            [np.array(part, dtype=np.float64) for part in state[name]] for name in ("weights", "first", "second")
        )
        self._scale = np.array(state["scale"], dtype=np.float64)
        self._steps = int(state["steps"])


def _loss_and_gradients(weights: Sequence[Array], x: Array, y: Array) -> tuple[float, list[Array]]:
    """Return the mean squared error of tanh(x W1 + b1) W2 + b2, and its gradient by each of the four."""
    first, first_bias, second, second_bias = weights
    hidden = np.tanh(x @ first + first_bias)
    error = hidden @ second + second_bias - y
    slope = 2.0 * error / error.size
    back = (slope @ second.T) * (1.0 - hidden**2)
    gradients = [x.T @ back, back.sum(axis=0, keepdims=True), hidden.T @ slope, slope.sum(axis=0, keepdims=True)]
    return float((error**2).mean()), gradients


class TRACED(ACCEL):
    """TRACED: transition-aware regret approximation with co-learnability (Cho et al., ICLR 2026).

    Source: arXiv 2506.19997; ACCEL with two other scores. The difficulty of a task is its positive value loss plus
    `transition_weight` times the error of predicting its transitions. After each batch (one call of `observe`), the
    tasks of the batch before gain `co_weight` times `co_learnability`: how much the difficulty of what was just played
    has fallen since it was last played.

    Needs from the learner: advantages, and per step `observations` and `actions`; without these two the transition
    error is 0, and the rest works. Pays: what `ACCEL` pays.

    Deviations: those of `ACCEL`; the predictor is a network of one hidden layer on single steps, not a recurrent one,
    on at most 64 transitions of an episode, 128 numbers each, in standardised units.

    It fails as `ACCEL` does; an environment whose transitions are random keeps its transition error for ever.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        transition_weight: Weight of the transition error; 1 as published.
        co_weight: Weight of the co-learnability; 1 as published.
        learning_rate: Step size of the predictor.
        start: A simple task, `{name: value}`, from which the buffer is filled; uniform tasks when not given.
        edit_task: The environment's function of that name.
        edits: Edits between a level and its child.
        edit_size: Largest change of a parameter in one edit, as a share of its range; unused with `edit_task`.
        base_levels: `"all"` or `"easy"`, see `ACCEL`.
        prioritisation: `"rank"` or `"proportional"`.
        temperature: Temperature beta of the prioritisation.
        staleness: Share c of replays by the time since a level was last drawn.
        alpha: Weight of the newest score of a level against the one before.
        capacity: Number of levels kept.
        replay_probability: Share of episodes, but for those of children, that are trained on.
        min_fill: Share of the buffer that is filled by roll-outs before the first lesson.
        rollout_batch: Replayed episodes whose levels are edited together, and new levels that are scored together.
        seed: Seed of the draws.
        return_range: Accepted for all teachers; no return is scaled.
    """

    state_names: ClassVar[tuple[str, ...]] = (*ACCEL.state_names, "predictor", "_difficulties", "_previous")
    origin: ClassVar[str] = "traced"

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        transition_weight: float = 1.0,
        co_weight: float = 1.0,
        learning_rate: float = 1e-3,
        start: Mapping[str, Any] | None = None,
        edit_task: Callable[[Any, np.random.Generator], Any] | None = None,
        edits: int = 3,
        edit_size: float = 0.1,
        base_levels: str = "all",
        prioritisation: str = "rank",
        temperature: float = 0.3,
        staleness: float = 0.3,
        alpha: float = 1.0,
        capacity: int = 256,
        replay_probability: float = 0.8,
        min_fill: float = 0.1,
        rollout_batch: int = 8,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(
            task_space,
            start=start,
            edit_task=edit_task,
            edits=edits,
            edit_size=edit_size,
            base_levels=base_levels,
            prioritisation=prioritisation,
            temperature=temperature,
            staleness=staleness,
            alpha=alpha,
            capacity=capacity,
            replay_probability=replay_probability,
            min_fill=min_fill,
            rollout_batch=rollout_batch,
            seed=seed,
            return_range=return_range,
        )
        require(
            self,
            transition_weight=(transition_weight, 0, None),
            co_weight=(co_weight, 0, None),
            learning_rate=(learning_rate, 0, 1),
        )
        self.transition_weight, self.co_weight = transition_weight, co_weight
        self.needs = self.needs | {"observations", "actions"}
        self.predictor = TransitionPredictor(learning_rate)
        self._difficulties = np.zeros(self.buffer.capacity)
        self._previous: Array = np.zeros((0, self.dimension))
        self._played: list[tuple[Array, float, float]] = []

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        """Learn from a batch of finished lessons, then credit the batch before."""
        self._played = []
        super().observe(outcomes)
        if not self._played:
            self._previous = self._previous[:0]  # credit goes one batch back and no further
            return
        levels, before, after = (np.array(column) for column in zip(*self._played, strict=True))
        gain = self.co_weight * co_learnability(before, after)
        for level in self._previous:
            place = self.buffer.find(level)
            if place is not None:
                self.buffer.add_to_score(place, gain)
        self._previous = levels

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        place = self.buffer.find(tasks[0])
        before = None if place is None else float(self._difficulties[place])
        super()._learn(tasks, returns, successes)
        if place is not None and before is not None:
            self._played.append((tasks[0], before, float(self._difficulties[place])))

    def _take(self, level: Array, outcome: Outcome) -> int | None:
        place = super()._take(level, outcome)
        if place is not None:
            self._difficulties[place] = self._last
        return place

    def _score(self, outcome: Outcome, past: Past) -> float:
        error = self.predictor.error(*transitions_of(outcome.signals), self.rng) if self.transition_weight else 0.0
        regret = min(max(super()._score(outcome, past), -HUGE), HUGE)  # no difference of two may overflow
        self._last = difficulty(regret, error, self.transition_weight)
        return self._last
