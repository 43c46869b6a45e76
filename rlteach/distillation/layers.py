"""What students are made of: the observation normaliser, dense layers, their size and their first weights."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn

from rlteach.errors import ConfigError, InvalidValue, did_you_mean

WIDEST = 10_000_000
"""Largest width of one layer; beyond it the number of parameters no longer fits an integer."""
COPIES = 4
"""What training keeps of every parameter: itself, its gradient and the two moments of Adam."""
ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU}


class Normalizer(nn.Module):
    """Shifts, scales and clips observations; the identity until statistics are given.

    Everything it knows is in buffers, hence in every checkpoint and export. A dimension that never varied keeps the
    scale 1, so that it does not explode when it varies at last.

    Args:
        size: Number of values of an observation.
        clip: Largest absolute value let through, in standard deviations.
        groups: Consecutive values that share their statistics (the pixels of a channel); 1 for none.
    """

    mean: Tensor
    std: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, size: int, *, clip: float, groups: int = 1) -> None:
        super().__init__()
        self.clip, self.groups = clip, groups
        for name, dtype in (("mean", torch.float32), ("std", torch.float32), ("variance", torch.float64)):
            self.register_buffer(name, torch.empty(size, dtype=dtype))
        self.register_buffer("count", torch.empty((), dtype=torch.float64))

    def reset(self, scale: float = 1.0) -> None:
        """Forget all statistics; `scale` is the standard deviation to begin with."""
        self.mean.zero_()
        self.std.fill_(scale)
        self.variance.zero_()
        self.count.zero_()

    def forward(self, observations: Tensor) -> Tensor:
        """Return normalised observations of the same shape."""
        return (observations.to(self.mean.dtype) - self.mean).div_(self.std).clamp_(-self.clip, self.clip)

    @torch.no_grad()
    def update(self, observations: Tensor) -> None:
        """Merge a batch (..., size) into the running statistics (Chan et al., 1983)."""
        batch = observations.reshape(-1, len(self.mean)).double()
        if self.groups > 1:
            channels = batch.reshape(len(batch), -1, self.groups).transpose(1, 2)
            batch = channels.reshape(-1, channels.shape[-1]).repeat_interleave(self.groups, dim=-1)
        if len(batch) == 0:
            return
        total = self.count + len(batch)
        delta = batch.mean(0) - self.mean
        share = len(batch) / total
        between = delta.square() * share * (1 - share)
        self.variance.copy_(self.variance * (1 - share) + batch.var(0, correction=0) * share + between)
        self.mean.add_((delta * share).float())
        self.count.copy_(total)
        std = self.variance.sqrt()
        self.std.copy_(torch.where(std > 1e-6 * self.mean.abs(), std, 1.0))  # below, it is rounding and no variation


@contextmanager
def on_meta() -> Iterator[None]:
    """Build modules without memory, so that their size can be checked before it is asked for."""
    with torch.device("meta"):
        yield


def check_size(module: nn.Module) -> None:
    """Raise InvalidValue when a module, its gradient and Adam's moments would not fit into the machine's memory."""
    count = sum(parameter.numel() for parameter in module.parameters())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    need = 4 * COPIES * count
    if need > memory:
        raise InvalidValue(
            f"{type(module).__name__} would have {count:,} parameters, {need / 2**30:,.0f} GiB with gradient and "
            f"optimiser; this machine has {memory / 2**30:,.0f} GiB. Make its layers narrower."
        )


def perceptron(inputs: int, hidden: Sequence[int], activation: str) -> nn.Sequential:
    """Return dense layers of the given widths, each followed by the activation."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), ACTIVATIONS[activation]()]
        inputs = width
    return nn.Sequential(*layers)


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Initialise the parameters of one layer; see `Student.reset`."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.orthogonal_(module.weight, math.sqrt(2), generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.RNNBase):
        gates = 4 if isinstance(module, nn.LSTM) else 3
        weights, biases = module.all_weights[0][:2], module.all_weights[0][2:]
        for gate in (part for weight in weights for part in weight.chunk(gates)):
            nn.init.orthogonal_(gate, generator=generator)
        for bias in biases:
            nn.init.zeros_(bias)
        if isinstance(module, nn.LSTM):
            biases[0][module.hidden_size : 2 * module.hidden_size] = 1.0  # a forget gate begins by keeping
    elif isinstance(module, nn.LayerNorm):
        module.reset_parameters()


# -- checks of hyperparameters -------------------------------------------------------------------------------------


def check(where: str, *faults: str | None) -> None:
    """Raise ConfigError when there is a fault among `faults`; None stands for none."""
    found = [fault for fault in faults if fault]
    if found:
        raise ConfigError(found, where=f"hyperparameters of {where}")


def whole(name: str, value: Any, low: int, high: int) -> str | None:
    """Return a sentence when a value is no whole number in [low, high]."""
    if isinstance(value, Integral) and not isinstance(value, bool) and low <= int(value) <= high:
        return None
    return f"{name} = {value!r} must be a whole number in [{low}, {high}]"


def number(name: str, value: Any, *, above: float) -> str | None:
    """Return a sentence when a value is no finite number above a limit."""
    if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) and float(value) > above:
        return None
    return f"{name} = {value!r} must be a finite number above {above:g}"


def widths(name: str, values: Any, high: int = WIDEST) -> list[str | None]:
    """Return a sentence for everything wrong with the widths of layers."""
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) == 0:
        return [f"{name} = {values!r} must be one or more widths, such as [64, 64]"]
    return [whole(f"{name}[{i}]", value, 1, high) for i, value in enumerate(values)]


def one_of(name: str, value: Any, known: Mapping[str, Any]) -> str | None:
    """Return a sentence when a value is none of the known names."""
    if isinstance(value, str) and value in known:
        return None
    return f"{name} = {value!r} must be one of {', '.join(known)}.{did_you_mean(str(value), known)}"
