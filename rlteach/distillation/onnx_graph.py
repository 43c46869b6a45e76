"""A network as an ONNX graph, written node by node: no tracing, the batch axis free, the same bytes every time.

    data = onnx_bytes(network)

Inputs: `observations` (n, d) float32, raw, and `state` (n, k) float32 where the policy has memory. Outputs: `actions`
in the environment's units, (n, *shape) float32 or (n,) int64, and `next_state` (n, k). Opset 17 and IR version 8 are
read by every onnxruntime since 1.12.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from rlteach.distillation.portable import Network
from rlteach.errors import MissingExtra

OPSET, IR_VERSION = 17, 8
ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "elu": "Elu"}


def onnx_bytes(network: Network) -> bytes:
    """Return a serialised ONNX model.

    Raises:
        MissingExtra: When onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra("onnx", "export", purpose="student.onnx") from error
    graph = _Graph(network)
    graph.build()
    helper, kinds = onnx.helper, onnx.TensorProto
    d, k = network.observation_size, network.state_size
    inputs = [helper.make_tensor_value_info("observations", kinds.FLOAT, ["n", d])]
    kind = kinds.INT64 if network.discrete else kinds.FLOAT
    outputs = [helper.make_tensor_value_info("actions", kind, ["n", *network.action_shape])]
    if k:
        inputs.append(helper.make_tensor_value_info("state", kinds.FLOAT, ["n", k]))
        outputs.append(helper.make_tensor_value_info("next_state", kinds.FLOAT, ["n", k]))
    made = helper.make_graph(graph.nodes, "policy", inputs, outputs, initializer=graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="rlteach")
    model.ir_version = IR_VERSION
    helper.set_model_props(model, {"initial_state": json.dumps(network.arrays["initial_state"].tolist())})
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


class _Graph:
    """The nodes of a network; each method adds some and returns the name of what they compute."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def build(self) -> None:
        """Add everything between inputs and outputs."""
        bodies = {"mlp": self._mlp, "stack": self._stack, "gru": self._gru, "lstm": self._lstm}
        bodies |= {"transformer": self._transformer, "cnn": self._cnn}
        x, state = bodies[self.network.kind]()
        if self.network.recalling:
            seen = self._normalised("observations", "deciding.", self.network.deciding_clip)
            x = self.op("Concat", seen, self._dense("recalling", self.network.recalling, x), axis=1)
        self._actions(self._dense("layers", self.network.layers, x))
        if self.network.state_size:
            self.op("Identity", state, out="next_state")

    # -- bodies: features (n, f) and the next state --

    def _mlp(self) -> tuple[str, str]:
        return self._scaled("observations"), ""

    def _stack(self) -> tuple[str, str]:
        rows, _, state = self._window()
        return self._scaled(rows, self.network.history), state

    def _gru(self) -> tuple[str, str]:
        k = self.network.state_size
        into, back = self._cell("state")
        gates = self.op("Sigmoid", self.op("Add", self._part(into, 0, 2 * k), self._part(back, 0, 2 * k)))
        reset, keep = self._part(gates, 0, k), self._part(gates, k, 2 * k)
        remembered = self.op("Mul", reset, self._part(back, 2 * k, 3 * k))
        new = self.op("Tanh", self.op("Add", self._part(into, 2 * k, 3 * k), remembered))
        state = self.op("Add", new, self.op("Mul", keep, self.op("Sub", "state", new)))
        return state, state

    def _lstm(self) -> tuple[str, str]:
        k = self.network.state_size // 2
        gates = self.op("Add", *self._cell(self._part("state", 0, k)))
        enter, forget = (self.op("Sigmoid", self._part(gates, i * k, (i + 1) * k)) for i in (0, 1))
        new = self.op("Mul", enter, self.op("Tanh", self._part(gates, 2 * k, 3 * k)))
        cell = self.op("Add", self.op("Mul", forget, self._part("state", k, 2 * k)), new)
        shown = self.op("Sigmoid", self._part(gates, 3 * k, 4 * k))
        features = self.op("Mul", shown, self.op("Tanh", cell))
        return features, self.op("Concat", features, cell, axis=1)

    def _cnn(self) -> tuple[str, str]:
        x = self._reshaped(self._scaled("observations"), -1, *self.network.observation_shape)
        for i, (stride, padding, activation) in enumerate(self.network.convolutions):
            weights = (self._array(f"convolutions.{i}.{part}") for part in ("weight", "bias"))
            x = self._activated(self.op("Conv", x, *weights, strides=[stride] * 2, pads=[padding] * 4), activation)
        return self.op("Flatten", x, axis=1), ""

    def _transformer(self) -> tuple[str, str]:
        history, d = self.network.history, self.network.observation_size
        rows, seen, state = self._window()
        rows = self._reshaped(self._scaled(rows, history), -1, history, d)
        places = np.arange(history)
        ages = self.const((history - 1 - places).astype(np.float32))
        shown = self._reshaped(self.op("LessOrEqual", ages, seen), -1, 1, 1, history)
        past, itself = (self.const(mask) for mask in (places <= places[:, None], places == places[:, None]))
        allowed = self.op("Or", self.op("And", shown, past), itself)
        tokens = self.op("Add", self._linear("embedding.0", rows), self._array("places"))
        for block in range(self.network.blocks):
            tokens = self._attend(f"blocks.{block}.", tokens, allowed)
        newest = self.op("Gather", tokens, self.const(np.array(history - 1)), axis=1)
        return self._norm("last_norm", newest), state

    def _attend(self, block: str, tokens: str, allowed: str) -> str:
        history, heads = self.network.history, self.network.heads
        width = self.network.arrays["places"].shape[1]
        normalised = self._norm(block + "before_attention", tokens)
        key_value = self._linear(block + "key_value", normalised)
        parts = [self._linear(block + "query", normalised)]
        parts += [self._part(key_value, i * width, (i + 1) * width, axis=2) for i in (0, 1)]
        shaped = (self._reshaped(part, -1, history, heads, width // heads) for part in parts)
        query, key, value = (self.op("Transpose", part, perm=[0, 2, 1, 3]) for part in shaped)
        scores = self.op("MatMul", query, self.op("Transpose", key, perm=[0, 1, 3, 2]))
        scores = self.op("Div", scores, self.const(np.float32(math.sqrt(width // heads))))
        scores = self.op("Where", allowed, scores, self.const(np.float32(-np.inf)))
        met = self.op("Transpose", self.op("MatMul", self.op("Softmax", scores, axis=-1), value), perm=[0, 2, 1, 3])
        tokens = self.op("Add", tokens, self._linear(block + "joined", self._reshaped(met, -1, history, width)))
        hidden = self._linear(block + "dense.0", self._norm(block + "before_dense", tokens))
        return self.op("Add", tokens, self._linear(block + "dense.2", self.op("Relu", hidden)))

    # -- parts --

    def _window(self) -> tuple[str, str, str]:
        """Return the rows (n, history * d), how many before the newest were seen (n, 1), and the next state."""
        history, d, k = self.network.history, self.network.observation_size, self.network.state_size
        seen = self._part("state", k - 1, k)
        rows = "observations"
        if history > 1:
            first = self.op("Tile", "observations", self.const(np.array([1, history - 1])))
            fresh = self.op("Equal", seen, self.const(np.float32(0)))
            before = self.op("Where", fresh, first, self._part("state", 0, k - 1))
            rows = self.op("Concat", before, "observations", axis=1)
        more = self.op("Add", seen, self.const(np.float32(1)))
        more = self.op("Min", more, self.const(np.float32(history - 1)))
        if history == 1:
            return rows, seen, more
        return rows, seen, self.op("Concat", self._part(rows, d, history * d), more, axis=1)

    def _scaled(self, x: str, repeats: int = 1) -> str:
        """Return observations (n, repeats * d) as the body takes them."""
        return self._normalised(x, "", self.network.clip, repeats)

    def _normalised(self, x: str, prefix: str, clip: float | None, repeats: int = 1) -> str:
        if clip is None:
            return x
        mean, std = (np.tile(self.network.arrays[prefix + name], repeats) for name in ("mean", "std"))
        double = mean.dtype == np.float64
        x = self.op("Cast", x, to=11) if double else x
        x = self.op("Div", self.op("Sub", x, self.const(mean)), self.const(std))
        x = self.op("Clip", x, *(self.const(np.array(side * clip, dtype=mean.dtype)) for side in (-1, 1)))
        return self.op("Cast", x, to=1) if double else x

    def _cell(self, state: str) -> tuple[str, str]:
        x = self._dense("embedding", self.network.embedding, self._scaled("observations"))
        weights = [[self._array(f"cell.{kind}_{part}") for kind in ("weight", "bias")] for part in ("in", "state")]
        return self.op("Gemm", x, *weights[0], transB=1), self.op("Gemm", state, *weights[1], transB=1)

    def _dense(self, prefix: str, activations: tuple[str, ...], x: str) -> str:
        for i, activation in enumerate(activations):
            weights = (self._array(f"{prefix}.{i}.{part}") for part in ("weight", "bias"))
            x = self._activated(self.op("Gemm", x, *weights, transB=1), activation)
        return x

    def _activated(self, x: str, activation: str) -> str:
        return self.op(ACTIVATIONS[activation], x) if activation else x

    def _linear(self, name: str, x: str) -> str:
        """Return a dense layer of x (n, t, width)."""
        weight = self.const(np.ascontiguousarray(self.network.arrays[name + ".weight"].T))
        return self.op("Add", self.op("MatMul", x, weight), self._array(name + ".bias"))

    def _norm(self, name: str, x: str) -> str:
        weights = (self._array(f"{name}.{part}") for part in ("weight", "bias"))
        return self.op("LayerNormalization", x, *weights, axis=-1, epsilon=1e-5)

    def _actions(self, x: str) -> None:
        network = self.network
        if network.discrete:
            chosen = self.op("ArgMax", x, axis=1, keepdims=0)
            self.op("Add", chosen, self.const(np.array(network.start)), out="actions")
            return
        x = self.op("Add", self.op("Mul", x, self._array("half")), self._array("centre"))
        x = self.op("Min", self.op("Max", x, self._array("low")), self._array("high"))
        shape = self.const(np.array([-1, *network.action_shape]))
        self.op("Reshape", x, shape, out="actions")

    def _part(self, x: str, begin: int, end: int, axis: int = 1) -> str:
        return self.op("Slice", x, *(self.const(np.array([value])) for value in (begin, end, axis)))

    def _reshaped(self, x: str, *shape: int) -> str:
        return self.op("Reshape", x, self.const(np.array(shape)))

    def _array(self, name: str) -> str:
        return self.const(self.network.arrays[name], name)

    def const(self, value: Any, name: str = "") -> str:
        """Add a constant; one of a given name is added once."""
        import onnx

        name = name or f"c{len(self.constants)}"
        if all(constant.name != name for constant in self.constants):
            self.constants.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """Add a node and return its output."""
        import onnx

        out = out or f"v{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, inputs, [out], **attributes))
        return out
