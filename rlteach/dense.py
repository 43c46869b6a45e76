"""Small dense networks in numpy: forward, backward and Adam, several times faster than torch on a CPU.

    weights = Weights(optimizer)                       # a torch optimiser's parameters and moments, as they are now
    network = Perceptron(weights, layers)              # torch's linear layers and the activations between them
    outputs = network.forward(rows)
    network.backward(slope_of_the_loss)                # for the outputs
    weights.step(max_norm=0.5)
    weights.write()

With 64 units a layer, torch spends most of an update on finding out what to do: the graph, the dispatch of each
operation, one small tensor per parameter in the optimiser. Here all parameters are one flat array, and every pass is a
few matrix products into memory that is there already. The arithmetic is torch's, in single precision.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rlteach.errors import InvalidValue

Floats = NDArray[np.float32]
LOG_2_PI = float(np.log(2 * np.pi))
Layer = tuple[nn.Linear, str]
"""A linear layer and the activation behind it: tanh, relu, elu, or the empty string for none."""

NAMES: dict[type[nn.Module], str] = {nn.Tanh: "tanh", nn.ReLU: "relu", nn.ELU: "elu"}


class Weights:
    """The parameters of a torch Adam as one flat array, with their gradient and both moments beside it.

    They are copies, taken when it is made; `write` gives them back. All parameters count their steps together.

    Args:
        optimizer: A torch `Adam` in its plain form: one learning rate, no weight decay, no AMSGrad.

    Attributes:
        values: All parameters, one behind the other.
        gradient: Slopes of the loss, in the same order.

    Raises:
        InvalidValue: For another optimiser or form of it.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        if fault := adam_fault(optimizer):
            raise InvalidValue(fault)
        self.optimizer = optimizer
        self._parameters: list[nn.Parameter] = [p for p in optimizer.param_groups[0]["params"] if p.requires_grad]
        ends = np.cumsum([0, *(p.numel() for p in self._parameters)]).tolist()
        self._places = {id(p): slice(*ends[i : i + 2]) for i, p in enumerate(self._parameters)}
        self.values, self.gradient, self._mean, self._square, self._scratch = np.zeros((5, ends[-1]), np.float32)
        self._steps = 0
        for parameter in self._parameters:
            if state := optimizer.state.get(parameter):
                place = self._places[id(parameter)]
                self._mean[place] = state["exp_avg"].numpy().ravel()
                self._square[place] = state["exp_avg_sq"].numpy().ravel()
                self._steps = max(self._steps, int(state["step"]))
            self.of(parameter)[0][...] = parameter.detach().numpy()

    def of(self, parameter: torch.Tensor) -> tuple[Floats, Floats]:
        """Return the parameter and its gradient in its own shape, parts of the flat arrays.

        A parameter that is not trained is returned as it is, with a gradient that nobody looks at.
        """
        if not parameter.requires_grad:
            return parameter.detach().numpy(), np.zeros(parameter.shape, np.float32)
        if id(parameter) not in self._places:
            raise InvalidValue("a parameter of this network is not among those that the optimiser moves")
        place = self._places[id(parameter)]
        return self.values[place].reshape(parameter.shape), self.gradient[place].reshape(parameter.shape)

    @torch.no_grad()
    def write(self) -> None:
        """Copy parameters and moments to torch."""
        for parameter in self._parameters:
            state, place = self.optimizer.state[parameter], self._places[id(parameter)]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            parameter.copy_(torch.from_numpy(self.values[place]).view_as(parameter))
            state["exp_avg"].copy_(torch.from_numpy(self._mean[place]).view_as(parameter))
            state["exp_avg_sq"].copy_(torch.from_numpy(self._square[place]).view_as(parameter))
            state["step"].fill_(float(self._steps))

    def step(self, max_norm: float) -> None:
        """Take one step of Adam (Kingma and Ba, 2015) along the gradient, its norm bounded by `max_norm`.

        Raises:
            ValueError: When the gradient is not finite; nothing has changed then.
        """
        group, gradient, scratch = self.optimizer.param_groups[0], self.gradient, self._scratch
        norm = float(np.linalg.norm(gradient))
        if not np.isfinite(norm):
            raise ValueError(
                "the gradient is not finite: look at observations, rewards or labels, and the learning rate"
            )
        if norm + 1e-6 > max_norm:
            gradient *= np.float32(max_norm / (norm + 1e-6))
        first, second = group["betas"]
        self._steps += 1
        self._mean += np.multiply(np.subtract(gradient, self._mean, out=scratch), 1 - first, out=scratch)
        np.multiply(gradient, gradient, out=scratch)
        scratch *= 1 - second
        self._square *= second
        self._square += scratch
        np.sqrt(self._square, out=scratch)
        scratch *= (1 - second**self._steps) ** -0.5
        scratch += group["eps"]
        np.divide(self._mean, scratch, out=scratch)
        scratch *= group["lr"] / (1 - first**self._steps)
        self.values -= scratch


def adam_fault(optimizer: torch.optim.Optimizer) -> str:
    """Return a sentence about what keeps `Weights` from taking an optimiser's part; empty if nothing does."""
    groups = optimizer.param_groups
    if type(optimizer) is not torch.optim.Adam:
        return f"the optimiser must be torch.optim.Adam, not {type(optimizer).__name__}"
    if len(groups) != 1 or any(groups[0].get(name) for name in ("weight_decay", "amsgrad", "maximize")):
        return "Adam must have one group of parameters, without weight decay, amsgrad or maximize"
    if any(p.device.type != "cpu" or p.dtype != torch.float32 for p in groups[0]["params"]):
        return "all parameters must be in single precision and on the CPU"
    return ""


def layers_of(modules: Iterable[nn.Module]) -> list[Layer]:
    """Return the layers of linear modules and activations that follow each other.

    Raises:
        InvalidValue: For a module of another kind.
    """
    layers: list[Layer] = []
    for module in modules:
        known = NAMES.get(type(module), "") if getattr(module, "alpha", 1.0) == 1.0 else ""
        if type(module) is nn.Linear and module.bias is not None:
            layers.append((module, ""))
        elif known and layers and not layers[-1][1]:
            layers[-1] = (layers[-1][0], known)
        else:
            raise InvalidValue(
                f"a perceptron is made of linear layers with biases, and tanh, relu or elu behind them, not of {module}"
            )
    return layers


class Perceptron:
    """Linear layers with activations between them.

    Args:
        weights: Where their parameters are.
        layers: See `layers_of`.
    """

    def __init__(self, weights: Weights, layers: Sequence[Layer]) -> None:
        self._matrices = [weights.of(linear.weight) for linear, _ in layers]
        self._biases = [weights.of(linear.bias) for linear, _ in layers]
        self._activations = [name for _, name in layers]
        self._widths = [linear.out_features for linear, _ in layers]
        self._room = 0
        self._outputs: list[Floats] = []
        self._slopes: list[Floats] = []
        self._ones = self._scratch = np.empty(0, np.float32)
        self._passed: list[Floats] = []

    def forward(self, rows: Floats) -> Floats:
        """Return the outputs (n, out) for rows (n, in); they stay valid until the next call."""
        n = len(rows)
        if n > self._room:
            self._room = n
            self._outputs = [np.empty((n, width), np.float32) for width in self._widths]
            self._slopes = [np.empty((n, width), np.float32) for width in self._widths]
            self._scratch, self._ones = np.empty(n * max(self._widths), np.float32), np.ones(n, np.float32)
        self._passed = [rows]
        for (matrix, _), (bias, _), name, room in zip(
            self._matrices, self._biases, self._activations, self._outputs, strict=True
        ):
            out = np.matmul(self._passed[-1], matrix.T, out=room[:n])
            out += bias
            self._passed.append(activate(out, name))
        return self._passed[-1]

    def backward(self, slope: Floats) -> None:
        """Write the gradient of a loss whose slope for the outputs of the last `forward` is (n, out).

        It may write into `slope` too.
        """
        n = len(slope)
        for i in reversed(range(len(self._matrices))):
            (matrix, by_matrix), (_, by_bias) = self._matrices[i], self._biases[i]
            scratch = self._scratch[: slope.size].reshape(slope.shape)
            slope = through(slope, self._passed[i + 1], self._activations[i], scratch)
            np.matmul(slope.T, self._passed[i], out=by_matrix)
            np.matmul(self._ones[:n], slope, out=by_bias)
            if i:
                slope = np.matmul(slope, matrix, out=self._slopes[i - 1][:n])


def activate(values: Floats, name: str) -> Floats:
    """Apply an activation in place."""
    if name == "tanh":
        np.tanh(values, out=values)
    elif name == "relu":
        np.maximum(values, 0, out=values)
    elif name == "elu":
        values[:] = np.where(values > 0, values, np.expm1(np.minimum(values, 0)))
    return values


def through(slope: Floats, outputs: Floats, name: str, scratch: Floats) -> Floats:
    """Return the slope before an activation from the one behind it and the activation's outputs.

    Writes into `slope`, and into `scratch` of the same shape: new memory of that size would cost more than the sums.
    """
    if name == "tanh":
        np.multiply(outputs, outputs, out=scratch)
        scratch *= slope
        slope -= scratch
    elif name == "relu":
        slope *= outputs > 0
    elif name == "elu":
        slope *= np.where(outputs > 0, np.float32(1), outputs + 1)
    return slope


class Gaussian:
    """Actions (n, k) under means (n, k) and a deviation exp(log_std) (k,).

    Args:
        means: What the actor says.
        actions: What was done.
        log_std: Logarithm of the deviation.
        by_log_std: Where its slope is to be written.

    Attributes:
        log_prob: (n,) log densities.
        entropy: (1,), the same for all rows.
    """

    def __init__(self, means: Floats, actions: Floats, log_std: Floats, by_log_std: Floats) -> None:
        self._by_log_std = by_log_std
        self._scale = np.exp(-log_std)
        self._errors = (actions - means) * self._scale
        constant = log_std.sum() + np.float32(0.5 * LOG_2_PI * len(log_std))
        self.log_prob = -0.5 * np.square(self._errors).sum(1) - constant
        self.entropy = np.array([constant + np.float32(0.5 * len(log_std))])

    def slope(self, by_log_prob: Floats, ent_coef: float) -> Floats:
        """Return the slope for the means (n, k) of a loss whose slope for `log_prob` is (n,), less the entropy's bonus.

        Writes the slope for the log deviation: d log p / d log s = z^2 - 1, with z the error in deviations; the entropy
        grows by 1 with each log s.
        """
        np.matmul(by_log_prob, np.square(self._errors) - 1, out=self._by_log_std)
        self._by_log_std -= np.float32(ent_coef)
        return np.asarray(by_log_prob[:, None] * self._errors * self._scale)


class Categorical:
    """Action numbers (n,) under logits (n, k).

    Attributes:
        log_prob: (n,) log probabilities.
        entropy: (n,).
    """

    def __init__(self, logits: Floats, actions: NDArray[np.int64]) -> None:
        shifted = logits - logits.max(1, keepdims=True)
        self._logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        self._shares = np.exp(self._logs)
        self._chosen = (np.arange(len(actions)), actions)
        self.log_prob = self._logs[self._chosen]
        self.entropy = -(self._shares * self._logs).sum(1)

    def slope(self, by_log_prob: Floats, ent_coef: float) -> Floats:
        """Return the slope for the logits (n, k) of a loss with slope (n,) for `log_prob`, less the entropy's bonus.

        d log p_a / d l = 1_a - p, and d H / d l = -p (log p + H).
        """
        slope = -by_log_prob[:, None] * self._shares
        slope[self._chosen] += by_log_prob
        if ent_coef:
            share = np.float32(ent_coef / len(slope))
            slope += share * self._shares * (self._logs + self.entropy[:, None])
        return np.asarray(slope)
