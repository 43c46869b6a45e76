"""Small torch networks for teachers: drawn from the teacher's own generator, with a state of plain arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from rlteach.protocols import State
from rlteach.teachers.base import Array

MOST_OWED = 100
"""Training steps that later calls may still have to take; more episodes than they can follow are not trained on."""


def steps_due(episodes: int, every: int, most: int) -> tuple[int, int]:
    """Return how many training steps are taken now, one for `every` episodes, and how many episodes stay owed."""
    steps = min(episodes // every, most)
    return steps, min(episodes - steps * every, MOST_OWED * every)


def tensor(values: Array) -> Tensor:
    """Return numbers in single precision."""
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def array(values: Tensor) -> Array:
    """Return numbers in double precision."""
    return values.detach().numpy().astype(np.float64)


def mlp(sizes: Sequence[int], rng: np.random.Generator, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Return fully connected layers of the given sizes, inputs first, with `activation` between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [_layer(inputs, outputs, rng), activation()]
    return nn.Sequential(*layers[:-1])


def _layer(inputs: int, outputs: int, rng: np.random.Generator) -> nn.Linear:
    # torch's own initialisation would draw from its global generator
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)  # type: ignore[no-untyped-call]
    bound = 1.0 / math.sqrt(max(inputs, 1))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(tensor(rng.uniform(-bound, bound, tuple(parameter.shape))))
    return layer


class Trained:
    """A network with its Adam optimiser.

    Args:
        network: What is trained.
        learning_rate: Step size of Adam.
        momentum: Its first decay rate.
    """

    def __init__(self, network: nn.Module, learning_rate: float, *, momentum: float = 0.9) -> None:
        self.network = network
        self._optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(momentum, 0.999), fused=True)

    def descend(self, loss: Tensor) -> None:
        """Take one step down a loss; one that is not finite is left out."""
        parameters = list(self.network.parameters())
        gradients = torch.autograd.grad(loss, parameters)
        if not bool(torch.isfinite(nn.utils.get_total_norm(gradients))):
            return
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self._optimiser.step()

    def state_dict(self) -> State:
        """Return parameters and moments; moments that Adam has not made yet are zero."""
        moments = self._optimiser.state
        parts = []
        for parameter in self.network.parameters():
            own = moments.get(parameter) or {}
            parts.append(
                {
                    "parameter": parameter.detach().numpy().copy(),
                    "step": int(own.get("step", 0)),
                    "first": own["exp_avg"].numpy().copy() if own else np.zeros(tuple(parameter.shape), np.float32),
                    "second": own["exp_avg_sq"].numpy().copy() if own else np.zeros(tuple(parameter.shape), np.float32),
                }
            )
        return {"parts": parts}

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        for parameter, part in zip(self.network.parameters(), state["parts"], strict=True):
            with torch.no_grad():
                parameter.copy_(tensor(part["parameter"]))
            self._optimiser.state[parameter] = {
                "step": torch.tensor(float(part["step"])),
                "exp_avg": tensor(part["first"]).clone(),
                "exp_avg_sq": tensor(part["second"]).clone(),
            }
