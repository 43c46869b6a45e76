"""The architectures of students: perceptrons with and without history, recurrent nets, attention, convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from rlteach.distillation.actions import ActionSpace
from rlteach.distillation.layers import ACTIVATIONS, WIDEST, on_meta, one_of, perceptron, whole, widths
from rlteach.distillation.memory import Window
from rlteach.distillation.recurrent import gru, lstm
from rlteach.distillation.student import Student
from rlteach.errors import InvalidValue


class MLP(Student):
    """A multilayer perceptron on the last observation.

    Args:
        observation_space: A Box; more than one axis is flattened.
        action_space: Box, Discrete or None.
        hidden: Widths of the hidden layers.
        activation: "tanh", "relu" or "elu", after every hidden layer.
        std: Standard deviation of a Gaussian head to begin with, in normalised units.
        train_std: Whether it is trained.
        clip: Largest absolute normalised observation, in standard deviations.
        seed: Seed of the weights; None draws it from torch's global generator.
    """

    architecture = "mlp"

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: ActionSpace,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        std: float = 0.5,
        train_std: bool = True,
        clip: float = 10.0,
        seed: int | None = None,
    ) -> None:
        faults = [*widths("hidden", hidden), one_of("activation", activation, ACTIVATIONS)]
        super().__init__(observation_space, action_space, *faults, std=std, train_std=train_std, clip=clip, seed=seed)
        self.hidden, self.activation = tuple(hidden), activation
        with on_meta():
            self.body = perceptron(self.observation_size, self.hidden, activation)
        self.feature_size = self.hidden[-1]
        self._complete()

    def inputs(self, observations: Tensor, state: Tensor) -> Tensor:
        """Return what the body is given (n, d) for the arguments of `step`."""
        return self._normalised(observations)

    def step(self, observations: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.step`."""
        return self.body(self.inputs(observations, state)), state


class Stack(Student):
    """A multilayer perceptron on the last `history` observations, the oldest first.

    At an episode's start the history is filled with the first observation. See `Window` for the state.

    Args:
        observation_space: A Box; more than one axis is flattened.
        action_space: Box, Discrete or None.
        history: Number of observations that it sees, the newest included.
        hidden: Widths of the hidden layers.
        activation: "tanh", "relu" or "elu", after every hidden layer.
        std: Standard deviation of a Gaussian head to begin with, in normalised units.
        train_std: Whether it is trained.
        clip: Largest absolute normalised observation, in standard deviations.
        seed: Seed of the weights; None draws it from torch's global generator.
    """

    architecture = "stack"

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: ActionSpace,
        *,
        history: int = 8,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        std: float = 0.5,
        train_std: bool = True,
        clip: float = 10.0,
        seed: int | None = None,
    ) -> None:
        faults = [*widths("hidden", hidden), one_of("activation", activation, ACTIVATIONS)]
        faults += [whole("history", history, 1, 10_000)]
        super().__init__(observation_space, action_space, *faults, std=std, train_std=train_std, clip=clip, seed=seed)
        self.history, self.hidden, self.activation = history, tuple(hidden), activation
        self.window = Window(history, self.observation_size)
        self.state_size = self.window.state_size
        with on_meta():
            self.body = perceptron(history * self.observation_size, self.hidden, activation)
        self.feature_size = self.hidden[-1]
        self._complete()

    def inputs(self, observations: Tensor, state: Tensor) -> Tensor:
        """Return what the body is given (n, history d) for the arguments of `step`."""
        return self._given(self.window.rows(observations.flatten(1), state))

    def _given(self, rows: Tensor) -> Tensor:
        normalised: Tensor = self.normalizer(rows)
        return normalised.flatten(-2)

    def step(self, observations: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.step`."""
        rows, _, state = self.window.step(observations.flatten(1), state)
        return self.body(self._given(rows)), state

    def sequence(self, observations: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.sequence`."""
        rows, _, state = self.window.sequence(observations.flatten(2), starts, state, self.normalizer)
        return self.body(rows.flatten(-2)), state


class GRU(Student):
    """Dense, ReLU, gated recurrent unit: the form of RAPTOR's foundation policy (Eschmann et al., 2025).

    With `hidden=16`, 22 observations and 4 actions it has RAPTOR's 2084 weights, plus the standard deviations. The
    state is the hidden vector; the one that an episode starts with is learnt.

    Args:
        observation_space: A Box; more than one axis is flattened.
        action_space: Box, Discrete or None.
        hidden: Width of the recurrent layer.
        embedding: Width of the dense layer before it; None for `hidden`.
        std: Standard deviation of a Gaussian head to begin with, in normalised units.
        train_std: Whether it is trained.
        clip: Largest absolute normalised observation, in standard deviations.
        seed: Seed of the weights; None draws it from torch's global generator.
    """

    architecture = "gru"
    state_is_data = False

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: ActionSpace,
        *,
        hidden: int = 64,
        embedding: int | None = None,
        std: float = 0.5,
        train_std: bool = True,
        clip: float = 10.0,
        seed: int | None = None,
    ) -> None:
        width = hidden if embedding is None else embedding
        faults = [
            whole("hidden", hidden, 1, WIDEST),
            None if embedding is None else whole("embedding", embedding, 1, WIDEST),
        ]
        super().__init__(observation_space, action_space, *faults, std=std, train_std=train_std, clip=clip, seed=seed)
        self.hidden, self.embedding = hidden, embedding
        self.state_size = self.feature_size = hidden
        with on_meta():
            self.embed = perceptron(self.observation_size, (width,), "relu")
            self.memory = nn.GRU(width, hidden)
            self.initial = nn.Parameter(torch.empty(hidden))
        self._complete()

    def _reset_own(self, generator: torch.Generator) -> None:
        self.initial.zero_()

    def initial_state(self, n: int) -> Tensor:
        """See `Student.initial_state`."""
        return self.initial.expand(n, -1)

    def step(self, observations: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.step`."""
        state = torch.gru_cell(self.embed(self._normalised(observations)), state, *self.memory.all_weights[0])
        return state, state

    def sequence(self, observations: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.sequence`."""
        rows = self.embed(self._normalised(observations, 2))
        return gru(rows, starts, state, self.initial, self.memory.all_weights[0])


class LSTM(Student):
    """Dense, ReLU, long short-term memory (Hochreiter and Schmidhuber, 1997).

    The state is the hidden vector, which is also the feature, and behind it the cell. The one that an episode starts
    with is learnt.

    Args:
        observation_space: A Box; more than one axis is flattened.
        action_space: Box, Discrete or None.
        hidden: Width of the recurrent layer.
        embedding: Width of the dense layer before it; None for `hidden`.
        std: Standard deviation of a Gaussian head to begin with, in normalised units.
        train_std: Whether it is trained.
        clip: Largest absolute normalised observation, in standard deviations.
        seed: Seed of the weights; None draws it from torch's global generator.
    """

    architecture = "lstm"
    state_is_data = False

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: ActionSpace,
        *,
        hidden: int = 64,
        embedding: int | None = None,
        std: float = 0.5,
        train_std: bool = True,
        clip: float = 10.0,
        seed: int | None = None,
    ) -> None:
        width = hidden if embedding is None else embedding
        faults = [
            whole("hidden", hidden, 1, WIDEST),
            None if embedding is None else whole("embedding", embedding, 1, WIDEST),
        ]
        super().__init__(observation_space, action_space, *faults, std=std, train_std=train_std, clip=clip, seed=seed)
        self.hidden, self.embedding = hidden, embedding
        self.state_size, self.feature_size = 2 * hidden, hidden
        with on_meta():
            self.embed = perceptron(self.observation_size, (width,), "relu")
            self.memory = nn.LSTM(width, hidden)
            self.initial = nn.Parameter(torch.empty(2 * hidden))
        self._complete()

    def _reset_own(self, generator: torch.Generator) -> None:
        self.initial.zero_()

    def initial_state(self, n: int) -> Tensor:
        """See `Student.initial_state`."""
        return self.initial.expand(n, -1)

    def step(self, observations: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.step`."""
        embedded = self.embed(self._normalised(observations))
        features, cell = torch.lstm_cell(embedded, state.chunk(2, dim=1), *self.memory.all_weights[0])
        return features, torch.cat([features, cell], dim=1)

    def sequence(self, observations: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.sequence`."""
        rows = self.embed(self._normalised(observations, 2))
        return lstm(rows, starts, state, self.initial, self.memory.all_weights[0])


class Attention(nn.Module):
    """One pre-norm block of causal self-attention and a perceptron (Vaswani et al., 2017; Xiong et al., 2020).

    Args:
        width: Width of a token.
        heads: Attention heads.
        newest_only: Whether only the newest token is computed, all that a last block is asked for.
    """

    def __init__(self, width: int, heads: int, *, newest_only: bool) -> None:
        super().__init__()
        self.heads, self.asked = heads, slice(-1, None) if newest_only else slice(None)
        self.before_attention, self.before_dense = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.joined = nn.Linear(width, width)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor, allowed: Tensor) -> Tensor:
        """Map tokens (m, history, width); `allowed` (m, history, history) says which (query, key) pairs meet."""
        normalised = self.before_attention(tokens)
        parts = (self.query(normalised[:, self.asked]), *self.key_value(normalised).chunk(2, dim=-1))
        query, key, value = (part.reshape(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in parts)
        met = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed[:, None, self.asked])
        tokens = tokens[:, self.asked] + self.joined(met.transpose(1, 2).flatten(2))
        result: Tensor = tokens + self.dense(self.before_dense(tokens))
        return result


class Transformer(Student):
    """Causal self-attention over the last `history` observations of the episode; see `Window` for the state.

    Each observation is attended to anew within every window, so that nothing older than the window reaches the
    feature, however many layers there are: `history` times the work of one token per observation.

    Args:
        observation_space: A Box; more than one axis is flattened.
        action_space: Box, Discrete or None.
        history: Number of observations that it sees, the newest included.
        width: Width of a token; a multiple of `heads`.
        heads: Attention heads.
        layers: Blocks of attention and perceptron.
        std: Standard deviation of a Gaussian head to begin with, in normalised units.
        train_std: Whether it is trained.
        clip: Largest absolute normalised observation, in standard deviations.
        seed: Seed of the weights; None draws it from torch's global generator.
    """

    architecture = "transformer"

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: ActionSpace,
        *,
        history: int = 16,
        width: int = 64,
        heads: int = 4,
        layers: int = 1,
        std: float = 0.5,
        train_std: bool = True,
        clip: float = 10.0,
        seed: int | None = None,
    ) -> None:
        faults = [
            whole("history", history, 1, 10_000),
            whole("width", width, 1, WIDEST // 4),
            whole("heads", heads, 1, 1024),
            whole("layers", layers, 1, 100),
        ]
        if not any(faults) and width % heads:
            faults = [f"width = {width} must be a multiple of heads = {heads}"]
        super().__init__(observation_space, action_space, *faults, std=std, train_std=train_std, clip=clip, seed=seed)
        self.history, self.width, self.heads, self.layers = history, width, heads, layers
        self.window = Window(history, self.observation_size)
        self.state_size, self.feature_size = self.window.state_size, width
        with on_meta():
            self.embed = nn.Linear(self.observation_size, width)
            self.places = nn.Parameter(torch.empty(history, width))
            self.blocks = nn.ModuleList([Attention(width, heads, newest_only=i == layers - 1) for i in range(layers)])
            self.last_norm = nn.LayerNorm(width)
        self._complete()

    def _reset_own(self, generator: torch.Generator) -> None:
        self.places.normal_(0.0, 0.02, generator=generator)

    def step(self, observations: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.step`."""
        rows, seen, state = self.window.step(observations.flatten(1), state)
        return self._attend(self.normalizer(rows), seen), state

    def sequence(self, observations: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.sequence`."""
        rows, seen, state = self.window.sequence(observations.flatten(2), starts, state, self.normalizer)
        return self._attend(rows.flatten(0, 1), seen.flatten(0, 1)).reshape(*starts.shape, -1), state

    def _attend(self, rows: Tensor, seen: Tensor) -> Tensor:
        """Return features (m, width) of windows (m, history, d), of which some places were seen (m, history)."""
        itself = torch.eye(self.history, dtype=torch.bool, device=rows.device)
        # A place always meets itself: one that was never seen would else meet nothing, and softmax would divide 0 by 0.
        allowed = (seen[:, None, :] & torch.ones_like(itself).tril()) | itself
        tokens = self.embed(rows) + self.places
        for block in self.blocks:
            tokens = block(tokens, allowed)
        features: Tensor = self.last_norm(tokens[:, -1])
        return features


class CNN(Student):
    """Convolutions on an image (channels, height, width), then a dense layer, in the manner of Mnih et al. (2015).

    Every convolution is padded by half its kernel, so that images of any size pass. The network of the Nature paper is
    nearly channels=[32, 64, 64], kernels=[8, 4, 3], strides=[4, 2, 1], hidden=[512]. Pixels of type uint8 are divided
    by 255 until the normaliser is given statistics, which all pixels of a channel share.

    Args:
        observation_space: A Box (channels, height, width).
        action_space: Box, Discrete or None.
        channels: Filters of each convolution.
        kernels: Their heights and widths, one for each convolution.
        strides: Their strides, one for each convolution.
        hidden: Widths of the dense layers behind them.
        activation: "tanh", "relu" or "elu", after every layer.
        std: Standard deviation of a Gaussian head to begin with, in normalised units.
        train_std: Whether it is trained.
        clip: Largest absolute normalised observation, in standard deviations.
        seed: Seed of the weights; None draws it from torch's global generator.
    """

    architecture = "cnn"

    def __init__(
        self,
        observation_space: spaces.Box,
        action_space: ActionSpace,
        *,
        channels: Sequence[int] = (16, 32, 32),
        kernels: Sequence[int] = (3, 3, 3),
        strides: Sequence[int] = (2, 2, 2),
        hidden: Sequence[int] = (128,),
        activation: str = "relu",
        std: float = 0.5,
        train_std: bool = True,
        clip: float = 10.0,
        seed: int | None = None,
    ) -> None:
        lists = {"channels": channels, "kernels": kernels, "strides": strides, "hidden": hidden}
        faults = [fault for name, values in lists.items() for fault in widths(name, values, 100_000)]
        if not any(faults) and not len(channels) == len(kernels) == len(strides):
            faults = [f"channels, kernels and strides must be equally many, not {channels}, {kernels}, {strides}"]
        faults += [one_of("activation", activation, ACTIVATIONS)]
        super().__init__(observation_space, action_space, *faults, std=std, train_std=train_std, clip=clip, seed=seed)
        check_image(observation_space)
        self.channels, self.kernels, self.strides = tuple(channels), tuple(kernels), tuple(strides)
        self.hidden, self.activation = tuple(hidden), activation
        layers: list[nn.Module] = []
        inputs, height, width = observation_space.shape
        with on_meta():
            for filters, kernel, stride in zip(channels, kernels, strides, strict=True):
                layers += [nn.Conv2d(inputs, filters, kernel, stride, kernel // 2), ACTIVATIONS[activation]()]
                height, width = ((side + kernel // 2 * 2 - kernel) // stride + 1 for side in (height, width))
                inputs = filters
            self.convolutions = nn.Sequential(*layers, nn.Flatten())
            self.body = perceptron(inputs * height * width, self.hidden, activation)
        self.feature_size = self.hidden[-1]
        self._complete(groups=math.prod(observation_space.shape[1:]))

    def step(self, observations: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Student.step`."""
        images = self._normalised(observations).reshape(-1, *self.observation_space.shape)
        return self.body(self.convolutions(images)), state


def check_image(space: spaces.Box) -> None:
    """Raise InvalidValue when a Box is no image with its channels first."""
    if len(space.shape) != 3 or (space.shape[2] <= 4 < space.shape[0]):
        raise InvalidValue(
            f"a cnn sees images of shape (channels, height, width), not {space.shape}. "
            "stable_baselines3's VecTransposeImage puts the channels first; a flat Box takes mlp."
        )
