"""Acts as an exported policy does, with numpy alone. An export holds a copy of this file as runner.py.

    policy = Policy.load("export")
    policy.reset()                                  # at the start of every episode
    action = policy.act(observation)                # one observation (d,), or a batch (n, d)
    policy.reset(rows=done)                         # in a batch: the rows (n,) whose episode is over

    python runner.py --check [DIRECTORY]            # compares with the stored test vectors

Observations are raw: normaliser and action scale are inside. It reads contract.json, weights.npz and, to check itself,
test_vectors.npz, and executes nothing that they hold.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROUNDING = 5e-7
"""What float32 may round off an action, in shares of it."""
ZERO, HALF = np.zeros((), dtype=np.float32), np.full((), 0.5, dtype=np.float32)


class Policy:
    """A policy and its memory.

    Args:
        contract: What contract.json says.
        weights: The arrays of weights.npz.

    Attributes:
        state: Memory, (k,) for single observations, (n, k) for batches; None before an episode.
        outputs: What the network said last, before it became an action: means or logits.
    """

    state: Any
    outputs: Any

    def __init__(self, contract: Mapping[str, Any], weights: Mapping[str, Any]) -> None:
        self.contract, self.network = contract, contract["network"]
        self._shape = tuple(self.network["observation_shape"])
        self._size = math.prod(self._shape)
        self._history = int(self.network["history"])
        self._weights = weights
        self._initial = np.array(weights["initial_state"])
        self._layers = _chain("layers", self.network["layers"], weights)
        self._embedding = _chain("embedding", self.network["embedding"], weights)
        self._recalling = _chain("recalling", self.network.get("recalling", []), weights)
        self._recalls = bool(self.network.get("recalling"))
        self._normalise = _scale(weights, "", self.network["clip"])
        self._seen = _scale(weights, "deciding.", self.network.get("deciding_clip"))
        bodies = {"stack": self._stack, "gru": self._gru, "lstm": self._lstm, "cnn": self._cnn}
        bodies |= {"mlp": self._mlp, "transformer": self._transformer}
        self._body = bodies[self.network["kind"]]
        if self.network["kind"] in ("gru", "lstm"):
            cells = [(weights[f"cell.weight_{part}"], weights[f"cell.bias_{part}"], "") for part in ("in", "state")]
            self._cell_in, self._cell_state = (Dense([cell]) for cell in cells)
        if not self.network["discrete"]:
            self._rescaled = bool((weights["half"] != 1).any() or (weights["centre"] != 0).any())
        self.reset()

    @classmethod
    def load(cls, directory: str | Path) -> Policy:
        """Read an export. Raises ValueError when its weights are not those that the contract was made with."""
        contract = json.loads((Path(directory) / "contract.json").read_text(encoding="utf-8"))
        return cls(contract, _arrays(Path(directory), "weights.npz", contract))

    def reset(self, rows: Any = None) -> None:
        """Forget everything: at the start of every episode. `rows`, (n,) bool, are those of a batch that start one."""
        if rows is None or self.state is None:
            self.state = None
        else:
            self.state = np.where(np.asarray(rows)[:, None], self._initial, self.state)

    def act(self, observation: Any) -> Any:
        """Return the action for one raw observation, or actions for a batch, and move the memory on."""
        x = np.asarray(observation, dtype=np.float32)
        if x.ndim != 1 or x.size != self._size:
            x = self._flat(x)
        if self.state is None:
            self.state = self._initial if x.ndim == 1 else np.tile(self._initial, (len(x), 1))
        features, self.state = self._body(x, self.state)
        if self._recalls:
            features = np.concatenate([self._seen(x), self._recalling(features)], axis=-1)
        self.outputs = self._layers(features)
        return self._action(self.outputs)

    def check(self, vectors: Mapping[str, Any]) -> float:
        """Return the largest error over test vectors: actions in shares of their range, states as they are."""
        rows = vectors["starts"].shape[1]
        return max(self._check_rows(vectors, row) for row in (slice(None), *range(rows)))

    def _check_rows(self, vectors: Mapping[str, Any], row: Any) -> float:
        """Play all rows as a batch, or one row as single observations."""
        self.reset()
        worst = 0.0
        for t, starts in enumerate(vectors["starts"][:, row]):
            if np.ndim(starts) or starts:
                self.reset(rows=starts if np.ndim(starts) else None)
            action = np.asarray(self.act(vectors["observations"][t, row]), dtype=np.float64)
            expected = np.asarray(vectors["actions"][t, row], dtype=np.float64)
            apart = np.maximum(np.abs(action - expected) - ROUNDING * np.abs(expected), 0.0)
            errors = [apart.reshape(-1, len(vectors["action_units"])) / vectors["action_units"]]
            errors.append(error_of_state(self.state, vectors["states"][t, row]))
            found = np.concatenate([np.ravel(error) for error in errors])
            worst = max(worst, float(np.where(np.isnan(found), np.inf, found).max()))
        return worst

    def _flat(self, x: Any) -> Any:
        if x.shape == self._shape:
            return x.reshape(-1)
        if x.ndim and x.size == len(x) * self._size:
            return x.reshape(len(x), self._size)
        raise ValueError(f"observations have the shape {self._shape}, or (n, {self._size}), not {x.shape}")

    def _action(self, x: Any) -> Any:
        if self.network["discrete"]:
            return x.argmax(-1) + self.network["start"]
        weights = self._weights
        if self._rescaled:
            x = np.add(np.multiply(x, weights["half"]), weights["centre"])
        x = np.minimum(np.maximum(x, weights["low"]), weights["high"])
        shape = self.network["action_shape"]
        return x if len(shape) == 1 else x.reshape(*x.shape[:-1], *shape)

    # -- bodies: observations and state to features and the next state --

    def _mlp(self, x: Any, state: Any) -> tuple[Any, Any]:
        return self._normalise(x), state

    def _stack(self, x: Any, state: Any) -> tuple[Any, Any]:
        rows, _, state = self._window(x, state)
        return self._normalise(rows).reshape(*x.shape[:-1], -1), state

    def _gru(self, x: Any, state: Any) -> tuple[Any, Any]:
        k = state.shape[-1]
        into, back = self._cell_in(self._embedding(self._normalise(x))), self._cell_state(state)
        gates = _sigmoid(into[..., : 2 * k] + back[..., : 2 * k])
        new = np.tanh(into[..., 2 * k :] + gates[..., :k] * back[..., 2 * k :])
        state = new + gates[..., k:] * (state - new)
        return state, state

    def _lstm(self, x: Any, state: Any) -> tuple[Any, Any]:
        k = state.shape[-1] // 2
        gates = self._cell_in(self._embedding(self._normalise(x))) + self._cell_state(state[..., :k])
        enter, forget = _sigmoid(gates[..., :k]), _sigmoid(gates[..., k : 2 * k])
        cell = forget * state[..., k:] + enter * np.tanh(gates[..., 2 * k : 3 * k])
        features = _sigmoid(gates[..., 3 * k :]) * np.tanh(cell)
        return features, np.concatenate([features, cell], axis=-1)

    def _cnn(self, x: Any, state: Any) -> tuple[Any, Any]:
        images = self._normalise(x).reshape(-1, *self._shape)
        for i, (stride, padding, activation) in enumerate(self.network["convolutions"]):
            weight, bias = (self._weights[f"convolutions.{i}.{part}"] for part in ("weight", "bias"))
            padded = np.pad(images, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
            patches = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3))
            sums = np.tensordot(patches[:, :, ::stride, ::stride], weight, axes=((1, 4, 5), (1, 2, 3))) + bias
            _ACTIVATIONS[activation](sums)
            images = sums.transpose(0, 3, 1, 2)
        return images.reshape(*x.shape[:-1], -1), state

    def _transformer(self, x: Any, state: Any) -> tuple[Any, Any]:
        rows, seen, state = self._window(x, state)
        places = np.arange(self._history)
        itself = places[:, None] == places
        shown = places >= self._history - 1 - seen
        allowed = (shown[..., None, :] & (places <= places[:, None])) | itself
        tokens = self._embedding(self._normalise(rows)) + self._weights["places"]
        for block in range(self.network["blocks"]):
            tokens = self._attend(f"blocks.{block}.", tokens, allowed)
        return self._norm("last_norm", tokens[..., -1, :]), state

    def _attend(self, block: str, tokens: Any, allowed: Any) -> Any:
        heads = self.network["heads"]
        normalised = self._norm(block + "before_attention", tokens)
        query, key_value = self._linear(block + "query", normalised), self._linear(block + "key_value", normalised)
        parts = (query, *np.split(key_value, 2, axis=-1))
        query, key, value = (np.swapaxes(part.reshape(*part.shape[:-1], heads, -1), -2, -3) for part in parts)
        scores = query @ np.swapaxes(key, -1, -2) / np.float32(math.sqrt(query.shape[-1]))
        scores = np.where(allowed[..., None, :, :], scores, np.float32(-np.inf))
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        met = np.swapaxes(shares @ value / shares.sum(-1, keepdims=True), -2, -3)
        tokens = tokens + self._linear(block + "joined", met.reshape(tokens.shape))
        hidden = self._linear(block + "dense.0", self._norm(block + "before_dense", tokens))
        _relu(hidden)
        return tokens + self._linear(block + "dense.2", hidden)

    # -- parts --

    def _window(self, x: Any, state: Any) -> tuple[Any, Any, Any]:
        """Return the rows (..., history, d), how many before the newest were seen, and the next state."""
        seen, now = state[..., -1:], x[..., None, :]
        before = state[..., :-1].reshape(*x.shape[:-1], self._history - 1, self._size)
        rows = np.concatenate([np.where(seen[..., None] == 0, now, before), now], axis=-2)
        kept = rows[..., 1:, :].reshape(*x.shape[:-1], -1)
        return rows, seen, np.concatenate([kept, np.minimum(seen + 1, self._history - 1)], axis=-1, dtype=np.float32)

    def _linear(self, name: str, x: Any) -> Any:
        return x @ self._weights[name + ".weight"].T + self._weights[name + ".bias"]

    def _norm(self, name: str, x: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(1e-5))
        return scaled * self._weights[name + ".weight"] + self._weights[name + ".bias"]


def error_of_state(state: Any, expected: Any) -> Any:
    """Return how far states are from those expected, relative to these where they exceed 1."""
    return np.abs(np.asarray(state, dtype=np.float64) - expected) / np.maximum(1.0, np.abs(expected))


def _scale(weights: Mapping[str, Any], prefix: str, clip: float | None) -> Callable[[Any], Any]:
    if clip is None:
        return lambda x: x
    mean, std = weights[prefix + "mean"], weights[prefix + "std"]
    low, high = (np.array(side * clip, dtype=mean.dtype) for side in (-1, 1))

    def normalise(x: Any) -> Any:
        y = np.subtract(x, mean)
        np.divide(y, std, y)
        y = np.minimum(np.maximum(y, low), high)
        return y if y.dtype == np.float32 else y.astype(np.float32)

    return normalise


class Dense:
    """Dense layers, one behind the other.

    One vector goes through buffers that end with a 1, the weight of which is the bias: what is returned for it is
    overwritten by the next call.
    """

    def __init__(self, layers: list[tuple[Any, Any, str]]) -> None:
        self._layers = [(np.ascontiguousarray(w.T), b, _ACTIVATIONS[activation]) for w, b, activation in layers]
        widths = [layers[0][0].shape[1], *(len(bias) for _, bias, _ in layers)] if layers else []
        buffers = [np.ones(width + 1, dtype=np.float32) for width in widths]
        whole = [np.concatenate([w, b[:, None]], axis=1) for w, b, _ in layers]
        values = [buffer[:-1] for buffer in buffers]
        activations = [activation for _, _, activation in self._layers]
        self._first: Any = values[0] if values else None
        self._steps = list(zip(whole, buffers[:-1], values[1:], activations, strict=True))

    def __call__(self, x: Any) -> Any:
        """Return what the last layer says about x (..., d)."""
        if x.ndim > 1:
            for across, bias, activate in self._layers:
                x = x.dot(across)
                x += bias
                activate(x)
            return x
        if self._steps:
            self._first[:] = x
        for weight, source, x, activate in self._steps:
            weight.dot(source, x)
            activate(x)
        return x


def _chain(prefix: str, activations: list[str], weights: Mapping[str, Any]) -> Dense:
    names = enumerate(activations)
    return Dense([(weights[f"{prefix}.{i}.weight"], weights[f"{prefix}.{i}.bias"], name) for i, name in names])


def _same(x: Any) -> None:
    """Leave x as it is."""


def _tanh(x: Any) -> None:
    np.tanh(x, x)


def _relu(x: Any) -> None:
    np.maximum(x, ZERO, out=x)


def _elu(x: Any) -> None:
    x[...] = np.where(x > 0, x, np.expm1(np.minimum(x, ZERO)))


def _sigmoid(x: Any) -> Any:
    y = np.tanh(x * HALF)  # unlike 1 / (1 + exp(-x)) it cannot overflow
    return y * HALF + HALF


_ACTIVATIONS: dict[str, Callable[[Any], None]] = {"": _same, "tanh": _tanh, "relu": _relu, "elu": _elu}


def _arrays(directory: Path, name: str, contract: Mapping[str, Any]) -> dict[str, Any]:
    data = (directory / name).read_bytes()
    if hashlib.sha256(data).hexdigest() != contract["files"][name]["sha256"]:
        raise ValueError(f"{directory / name} is damaged: its sha256 is not the one in contract.json")
    with np.load(directory / name, allow_pickle=False) as file:
        return dict(file)


def main() -> int:
    """Compare with the test vectors; return 0 when all errors are within the contract's tolerance."""
    parser = argparse.ArgumentParser(description="Check an exported policy against its test vectors.")
    parser.add_argument("--check", action="store_true", required=True, help="compare with test_vectors.npz")
    parser.add_argument("directory", nargs="?", default=Path(__file__).parent, help="the export; this file's folder")
    directory = Path(parser.parse_args().directory)
    try:
        policy = Policy.load(directory)
        vectors = _arrays(directory, "test_vectors.npz", policy.contract)
        error, tolerance = policy.check(vectors), policy.contract["parity"]["tolerance"]
    except (OSError, ValueError, KeyError) as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 2
    print(f"max error {error:.3g} (allowed {tolerance:g}): {'ok' if error <= tolerance else 'FAILED'}")
    return 0 if error <= tolerance else 1


if __name__ == "__main__":
    sys.exit(main())
