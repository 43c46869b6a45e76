"""A policy as arrays and a short description, from which every exported form is written.

    network = of_student(load_student(directory))
    network.describe(), network.arrays                  # JSON, and float32 arrays by name
    reference = StudentReference(student)               # what the exported forms are compared with

A network normalises its observations, runs the body of its kind (mlp, stack, gru, lstm, transformer, cnn), passes the
features through dense layers of which the last is the head, and turns its outputs into actions of the environment. An
adapter has two more parts between body and layers: what is recalled from the features, and the observation beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rlteach.distillation.actions import ActionScale
from rlteach.distillation.adapter import Adapter
from rlteach.distillation.architectures import CNN, GRU, LSTM, MLP, Stack, Transformer
from rlteach.distillation.student import Student
from rlteach.errors import UserError

ACTIVATIONS: dict[type[nn.Module], str] = {nn.Tanh: "tanh", nn.ReLU: "relu", nn.ELU: "elu", nn.Identity: ""}
Arrays = dict[str, NDArray[Any]]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Network:
    """What a policy computes.

    Attributes:
        kind: Body: mlp, stack, gru, lstm, transformer or cnn.
        observation_shape: Shape of one observation; networks take it flat.
        action_shape: Shape of one action, () for Discrete.
        discrete: Whether outputs are logits of `start`, `start + 1`, ...
        start: First action of a Discrete space.
        clip: Bound of normalised observations; None where nothing is normalised.
        layers: Activation after each dense layer, the head's last: tanh, relu, elu or "".
        embedding: The same for the dense layers before a recurrent layer or a transformer.
        convolutions: Stride, padding and activation of each convolution.
        history: Observations that a stack or a transformer sees.
        heads: Attention heads.
        blocks: Blocks of a transformer.
        recalling: Of an adapter: activation after each dense layer from the body's features to what it recalls. Then
            `layers` take the observation, normalised by `deciding.mean` and `deciding.std`, and this behind it. ()
            where they take the features themselves.
        deciding_clip: Of an adapter: bound of that observation.
        arrays: Weights by name. `mean` and `std` are of the type in which observations are normalised, all others are
            float32. `initial_state` is the memory before an episode.
    """

    kind: str
    observation_shape: tuple[int, ...]
    action_shape: tuple[int, ...]
    discrete: bool
    clip: float | None
    layers: tuple[str, ...]
    start: int = 0
    embedding: tuple[str, ...] = ()
    convolutions: tuple[tuple[int, int, str], ...] = ()
    history: int = 1
    heads: int = 1
    blocks: int = 0
    recalling: tuple[str, ...] = ()
    deciding_clip: float | None = None
    arrays: Arrays = field(repr=False, default_factory=dict)

    @property
    def architecture(self) -> str:
        """Name of the student's architecture: the body's, or adapter."""
        return Adapter.architecture if self.recalling else self.kind

    @property
    def observation_size(self) -> int:
        """Values of one observation."""
        return math.prod(self.observation_shape)

    @property
    def action_size(self) -> int:
        """Values of one action; 1 for Discrete."""
        return math.prod(self.action_shape)

    @property
    def state_size(self) -> int:
        """Numbers that the memory of one row takes."""
        return len(self.arrays["initial_state"])

    @property
    def action_units(self) -> NDArray[np.float64]:
        """What errors of actions are relative to: the range of each, 1 where it has none."""
        if self.discrete:
            return np.ones(1)
        span = self.arrays["high"].astype(np.float64) - self.arrays["low"]
        return np.where(np.isfinite(span) & (span > 0), span, 1.0)

    def describe(self) -> dict[str, Any]:
        """Return everything but the arrays, fit for JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "arrays"}


class Reference(Protocol):
    """The policy that exported forms are compared with."""

    def __call__(self, observations: Floats, state: Floats) -> tuple[NDArray[Any], Floats]:
        """Return actions of the environment and the next state for flat observations (n, d) and states (n, k)."""
        ...


# -- students ------------------------------------------------------------------------------------------------------


def of_student(student: Student) -> Network:
    """Return a student as a network.

    Raises:
        UserError: For an architecture that has no exported form, or a student without a head.
    """
    seeing = student.recalling if isinstance(student, Adapter) else student
    parts = next((read(seeing) for cls, read in _BODIES.items() if isinstance(seeing, cls)), None)
    if parts is None or student.actions is None:
        raise UserError(f"a student of the architecture {student.architecture!r} cannot be exported")
    body, arrays = parts
    dense = body.pop("dense")
    if isinstance(student, Adapter):
        recalling, dense = [*dense, (student.recall, "")], linear_layers(student.deciding)
        body |= {"recalling": tuple(activation for _, activation in recalling), "deciding_clip": student.clip}
        arrays |= dense_arrays("recalling", recalling) | _scale("deciding.", student)
    layers = [*dense, (student.head, "")]
    arrays |= {"initial_state": _array(student.initial_state(1)[0])} | dense_arrays("layers", layers)
    arrays |= _scale("", seeing)
    scale = student.actions
    if isinstance(scale, ActionScale):
        low, high = (np.asarray(side, dtype=np.float64) for side in (scale.low, scale.high))
        arrays |= action_arrays(low / 2 + high / 2, high / 2 - low / 2, low, high)
    return Network(
        kind=seeing.architecture,
        observation_shape=tuple(student.observation_space.shape),
        action_shape=tuple(scale.low.shape) if isinstance(scale, ActionScale) else (),
        discrete=not isinstance(scale, ActionScale),
        start=0 if isinstance(scale, ActionScale) else scale.start,
        clip=seeing.clip,
        layers=tuple(activation for _, activation in layers),
        arrays=arrays,
        **body,
    )


def _scale(prefix: str, student: Student) -> Arrays:
    normalizer = student.normalizer
    return {prefix + "mean": _array(normalizer.mean), prefix + "std": _array(normalizer.std)}


@dataclass(frozen=True)
class StudentReference:
    """A student, one step at a time."""

    student: Student

    def __call__(self, observations: Floats, state: Floats) -> tuple[NDArray[Any], Floats]:
        """See `Reference`."""
        return self.student.act(observations, state)


def _mlp(student: MLP) -> tuple[dict[str, Any], Arrays]:
    return {"dense": linear_layers(student.body)}, {}


def _stack(student: Stack) -> tuple[dict[str, Any], Arrays]:
    return {"dense": linear_layers(student.body), "history": student.history}, {}


def _recurrent(student: GRU | LSTM) -> tuple[dict[str, Any], Arrays]:
    embedding = linear_layers(student.embed)
    arrays = dense_arrays("embedding", embedding) | cell_arrays(student.memory)
    return {"dense": [], "embedding": tuple(activation for _, activation in embedding)}, arrays


def _transformer(student: Transformer) -> tuple[dict[str, Any], Arrays]:
    kept = ("blocks.", "last_norm.", "places")
    arrays = {name: _array(value) for name, value in student.state_dict().items() if name.startswith(kept)}
    arrays |= dense_arrays("embedding", [(student.embed, "")])
    sizes = {"history": student.history, "heads": student.heads, "blocks": student.layers}
    return {"dense": [], "embedding": ("",), **sizes}, arrays


def _cnn(student: CNN) -> tuple[dict[str, Any], Arrays]:
    layers = [layer for layer in student.convolutions if isinstance(layer, nn.Conv2d)]
    arrays = {f"convolutions.{i}.weight": _array(layer.weight) for i, layer in enumerate(layers)}
    arrays |= {f"convolutions.{i}.bias": _array(layer.bias) for i, layer in enumerate(layers) if layer.bias is not None}
    shapes = tuple((layer.stride[0], int(layer.padding[0]), student.activation) for layer in layers)
    return {"dense": linear_layers(student.body), "convolutions": shapes}, arrays


_BODIES: dict[type[Student], Any] = {
    MLP: _mlp,
    Stack: _stack,
    GRU: _recurrent,
    LSTM: _recurrent,
    Transformer: _transformer,
    CNN: _cnn,
}


# -- layers --------------------------------------------------------------------------------------------------------


def linear_layers(modules: Iterable[nn.Module]) -> list[tuple[nn.Linear, str]]:
    """Return the linear layers among modules, each with the name of the activation behind it.

    Raises:
        UserError: For any other module.
    """
    layers: list[tuple[nn.Linear, str]] = []
    for module in _flat(modules):
        if isinstance(module, nn.Linear):
            layers.append((module, ""))
        elif type(module) in ACTIVATIONS and layers and not layers[-1][1]:
            layers[-1] = (layers[-1][0], ACTIVATIONS[type(module)])
        elif not isinstance(module, nn.Flatten):
            raise UserError(
                f"the layer {type(module).__name__} cannot be exported: linear layers with Tanh, ReLU or ELU can"
            )
    return layers


def _flat(modules: Iterable[nn.Module]) -> Iterable[nn.Module]:
    for module in modules:
        if isinstance(module, nn.Sequential):
            yield from _flat(module)
        else:
            yield module


def dense_arrays(prefix: str, layers: Iterable[tuple[nn.Linear, str]]) -> Arrays:
    """Return weights and biases by name; a layer without bias gets zeros."""
    arrays: Arrays = {}
    for i, (layer, _) in enumerate(layers):
        arrays[f"{prefix}.{i}.weight"] = _array(layer.weight)
        bias = layer.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias
        arrays[f"{prefix}.{i}.bias"] = _array(bias)
    return arrays


def cell_arrays(cell: nn.RNNBase) -> Arrays:
    """Return the weights of a recurrent layer by name."""
    names = ("cell.weight_in", "cell.weight_state", "cell.bias_in", "cell.bias_state")
    return {name: _array(weight) for name, weight in zip(names, cell.all_weights[0], strict=True)}


def action_arrays(centre: Any, half: Any, low: Any, high: Any) -> Arrays:
    """Return what maps outputs to actions of a Box by name."""
    sides: Mapping[str, Any] = {"centre": centre, "half": half, "low": low, "high": high}
    return {name: np.ravel(value).astype(np.float32) for name, value in sides.items()}


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().float().numpy().copy()
    return array
