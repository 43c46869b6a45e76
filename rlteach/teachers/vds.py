"""Value disagreement sampling: tasks are drawn where an ensemble of value functions disagrees.

teacher = VDS(task_space, seed=0, return_range=(0, 1))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from rlteach.dense import Floats, Weights, activate, through
from rlteach.protocols import State
from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, TaskTeacher, require
from rlteach.teachers.history import History
from rlteach.teachers.networks import steps_due


def disagreement(values: Array) -> Array:
    """Return the standard deviation over the members of values (members, n), shape (n,) (Zhang et al., 2020)."""
    return np.asarray(values.std(axis=0))


def disagreement_weights(values: Array) -> Array:
    """Return probabilities (n,) in proportion to `disagreement`, or equal ones where all members agree."""
    spread = disagreement(values)
    total = spread.sum()
    return spread / total if total > 0.0 else np.full(len(spread), 1.0 / len(spread))


MOST_STEPS = 16
"""Training steps in one call of `observe`, so that no call takes long."""


class Ensemble:
    """Networks of two hidden layers from a place in the unit cube to a value, computed and trained together.

    Args:
        dimension: Number of inputs.
        members: Number of networks.
        hidden: Units of each hidden layer.
        learning_rate: Step size of Adam.
        rng: Generator of the first weights: uniform within 1 / sqrt(inputs), as torch's linear layers begin.
    """

    def __init__(
        self, dimension: int, *, members: int, hidden: int, learning_rate: float, rng: np.random.Generator
    ) -> None:
        self._parameters: list[nn.Parameter] = []
        for inputs, outputs in ((dimension, hidden), (hidden, hidden), (hidden, 1)):
            for shape in ((members, inputs, outputs), (members, 1, outputs)):
                first = rng.uniform(-1.0, 1.0, shape) / np.sqrt(inputs)
                self._parameters.append(nn.Parameter(torch.tensor(first, dtype=torch.float32)))
        self._adam = torch.optim.Adam(self._parameters, lr=learning_rate)
        self._weights = Weights(self._adam)

    def parameters(self) -> list[tuple[Floats, Floats]]:
        """Return weights (members, in, out) and biases (members, 1, out) of each layer, with their gradients."""
        return [self._weights.of(parameter) for parameter in self._parameters]

    def _forward(self, places: Array) -> list[Floats]:
        """Return the inputs and what every layer makes of them."""
        (w_1, _), (b_1, _), (w_2, _), (b_2, _), (w_3, _), (b_3, _) = self.parameters()
        inputs = np.asarray(places - 0.5, dtype=np.float32)
        first = activate(inputs @ w_1 + b_1, "tanh")
        second = activate(first @ w_2 + b_2, "tanh")
        return [inputs, first, second, second @ w_3 + b_3]

    def values(self, places: Array) -> Array:
        """Return what every member expects at places (n, d), shape (members, n)."""
        return self._forward(places[None])[-1][..., 0].astype(np.float64)

    def step(self, places: Array, targets: Array) -> None:
        """Take one step of Adam on the squared error at places (members, batch, d), each member on its own batch."""
        *layers, values = self._forward(places)
        errors = values - np.asarray(targets, dtype=np.float32)[..., None]
        slope: Floats = errors * np.float32(2.0 / targets.shape[-1])
        parameters = self.parameters()
        for k in reversed(range(len(layers))):
            (weights, by_weights), (_, by_biases) = parameters[2 * k : 2 * k + 2]
            np.matmul(layers[k].swapaxes(1, 2), slope, out=by_weights)
            slope.sum(axis=1, keepdims=True, out=by_biases)
            if k:
                slope = slope @ weights.swapaxes(1, 2)
                slope = through(slope, layers[k], "tanh", np.empty_like(slope))
        self._weights.step(max_norm=np.inf)

    def state_dict(self) -> State:
        """Return weights and moments as arrays."""
        self._weights.write()
        moments = self._adam.state_dict()["state"]
        return {
            "weights": [parameter.detach().numpy().copy() for parameter in self._parameters],
            "moments": [
                {name: value.numpy().copy() for name, value in saved.items()} for _, saved in sorted(moments.items())
            ],
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        with torch.no_grad():
            for parameter, saved in zip(self._parameters, state["weights"], strict=True):
                parameter.copy_(torch.tensor(np.array(saved)))
        moments = {
            k: {name: torch.tensor(np.array(value)) for name, value in saved.items()}
            for k, saved in enumerate(state["moments"])
        }
        self._adam.load_state_dict({**self._adam.state_dict(), "state": moments})
        self._weights = Weights(self._adam)


class VDS(TaskTeacher):
    """Value disagreement sampling (Zhang et al., 2020): tasks are drawn where an ensemble of values disagrees.

    Source: "Automatic curriculum learning through value disagreement", NeurIPS 2020, equation 1. Disagreement is high
    at the border of what the learner can do: where it always or never succeeds, all members have learned the same.

    It needs the return only and pays no roll-outs. Deviation: the published members are action values of the policy,
    trained by temporal differences on every transition and asked at the first observation of a task; these learn the
    return of the episode from the place of the task, each from its own draws of the last `memory` episodes, so
    that no observation has to be made up for a task that is not played. They need more episodes for that. It fails with
    returns that are noisy everywhere, and where the space is so large that all members are ignorant in the same way.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        members: Value functions.
        hidden: Units of each of their two hidden layers.
        learning_rate: Step size of Adam.
        batch: Episodes in the batch of each member.
        train_every: Episodes between steps of Adam, of which one call of `observe` takes at most 16.
        memory: Episodes to learn from.
        warm_up: Episodes drawn uniformly at first.
        candidates: Uniform tasks among which the next are drawn.
        refresh_every: Episodes between sets of candidates.
        seed: Seed of the draws and of the first weights.
        return_range: Smallest and largest return, if known.
    """

    state_names = ("_ensemble", "_history", "_candidates", "_cumulative", "_since_step", "_since_refresh")

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        members: int = 5,
        hidden: int = 64,
        learning_rate: float = 1e-3,
        batch: int = 64,
        train_every: int = 4,
        memory: int = 2000,
        warm_up: int = 100,
        candidates: int = 1000,
        refresh_every: int = 50,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        require(
            self,
            members=(members, 2, None),
            hidden=(hidden, 1, None),
            learning_rate=(learning_rate, 0, 1),
            batch=(batch, 1, None),
            train_every=(train_every, 1, None),
            memory=(memory, 1, None),
            warm_up=(warm_up, 1, None),
            candidates=(candidates, 2, None),
            refresh_every=(refresh_every, 1, None),
        )
        self.members, self.batch, self.train_every = members, batch, train_every
        self.candidates, self.refresh_every = candidates, refresh_every
        self._ensemble = Ensemble(
            self.dimension, members=members, hidden=hidden, learning_rate=learning_rate, rng=self.rng
        )
        self._history = History(memory, self.dimension + 1)
        self._candidates: Array = np.zeros((0, self.dimension))
        self._cumulative: Array = np.zeros(0)
        self._since_step = 0
        self._since_refresh = refresh_every - warm_up

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        if not len(self._candidates):
            return self.rng.random((n, self.dimension)), ["vds/warm-up"] * n
        places = self._cumulative.searchsorted(self.rng.random(n) * self._cumulative[-1], side="right")
        return self._candidates[np.minimum(places, len(self._candidates) - 1)], ["vds"] * n

    def portrait(self) -> dict[str, Array]:
        """Return the disagreement at some of the candidates, once there are any."""
        if not len(self._candidates):
            return {}
        places = self._candidates[:256].copy()
        return {"field/place": places, "field/disagreement": disagreement(self._ensemble.values(places))}

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        self._history.append(np.column_stack([tasks, returns]))
        steps, self._since_step = steps_due(self._since_step + len(tasks), self.train_every, MOST_STEPS)
        for _ in range(steps):
            self._train()
        self._since_refresh += len(tasks)
        if self._since_refresh >= self.refresh_every:
            self._since_refresh = 0
            self._candidates = self.rng.random((self.candidates, self.dimension))
            self._cumulative = disagreement_weights(self._ensemble.values(self._candidates)).cumsum()

    def _train(self) -> None:
        """Take one step, each member on its own draws."""
        chosen = self.rng.integers(len(self._history), size=(self.members, self.batch))
        rows = self._history.unordered()[chosen]
        self._ensemble.step(rows[..., :-1], self.scale(rows[..., -1]).astype(np.float32))
