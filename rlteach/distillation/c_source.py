"""A network as a C99 header that needs nothing but math.h, with test vectors compiled in.

    text = c_header(network, "policy", vectors)

    #include "policy.h"
    policy_state memory;
    policy_init(&memory);                           /* once; policy_reset(&memory) at the start of every episode */
    policy_act(&memory, observation, action);       /* raw observations in, actions in the environment's units out */
    if (policy_test() > 1e-5f) { ... }              /* largest error over the compiled-in vectors */

Weights are stored transposed, so that a compiler makes vector instructions of the inner loops without -ffast-math.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from rlteach.distillation.portable import Network
from rlteach.errors import InvalidValue, UserError

KINDS = ("mlp", "stack", "gru", "lstm")
"""What there is a C form of."""

PREAMBLE = """\
/* A policy as C99: raw observations in, actions in the environment's units out.
 *
 * NAME_state memory;
 * NAME_init(&memory);                     once
 * NAME_reset(&memory);                    at the start of every episode
 * NAME_act(&memory, observation, action); NAME_OBSERVATIONS floats in, NAME_ACTIONS floats out
 * NAME_test();                            largest error over the vectors below, in shares of the action ranges;
 *                                         more than {tolerance:g} means that this platform computes something else
 *
 * contract.json says what each number means. Nothing is allocated, and there is no global state.
 * Compile with -O3 for speed; -ffast-math is not needed.
 */
#ifndef NAME_POLICY_H
#define NAME_POLICY_H

#include <math.h>

#define NAME_OBSERVATIONS {observations}
#define NAME_ACTIONS {actions}
#define NAME_STATE {state}

typedef struct {{
    float values[{room}];
}} NAME_state;
"""

HELPERS = """
static inline float NAME_tanh(float x) { return tanhf(x); }
static inline float NAME_relu(float x) { return x > 0.0f ? x : 0.0f; }
static inline float NAME_elu(float x) { return x > 0.0f ? x : expm1f(x); }
static inline float NAME_sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

static inline void NAME_dense(const float *weight, const float *bias, int inputs, int outputs, const float *x, float *y)
{
    int i, j;
    for (j = 0; j < outputs; j++) y[j] = bias[j];
    for (i = 0; i < inputs; i++) {
        const float value = x[i];
        const float *row = weight + i * outputs;
        for (j = 0; j < outputs; j++) y[j] += row[j] * value;
    }
}

static inline float NAME_clip(float x, float low, float high) { return x < low ? low : (x > high ? high : x); }

static inline void NAME_reset(NAME_state *memory)
{
    int i;
    for (i = 0; i < NAME_STATE; i++) memory->values[i] = NAME_initial_state[i];
}

static inline void NAME_init(NAME_state *memory) { NAME_reset(memory); }
"""

GRU = """\
    {
        float into[3 * HIDDEN], back[3 * HIDDEN];
        NAME_dense(NAME_cell_weight_in, NAME_cell_bias_in, INPUTS, 3 * HIDDEN, X, into);
        NAME_dense(NAME_cell_weight_state, NAME_cell_bias_state, HIDDEN, 3 * HIDDEN, memory->values, back);
        for (i = 0; i < HIDDEN; i++) {
            const float reset = NAME_sigmoid(into[i] + back[i]);
            const float keep = NAME_sigmoid(into[HIDDEN + i] + back[HIDDEN + i]);
            const float fresh = tanhf(into[2 * HIDDEN + i] + reset * back[2 * HIDDEN + i]);
            memory->values[i] = fresh + keep * (memory->values[i] - fresh);
        }
    }
"""

LSTM = """\
    {
        float into[4 * HIDDEN], back[4 * HIDDEN];
        NAME_dense(NAME_cell_weight_in, NAME_cell_bias_in, INPUTS, 4 * HIDDEN, X, into);
        NAME_dense(NAME_cell_weight_state, NAME_cell_bias_state, HIDDEN, 4 * HIDDEN, memory->values, back);
        for (i = 0; i < HIDDEN; i++) {
            const float enter = NAME_sigmoid(into[i] + back[i]);
            const float keep = NAME_sigmoid(into[HIDDEN + i] + back[HIDDEN + i]);
            const float fresh = tanhf(into[2 * HIDDEN + i] + back[2 * HIDDEN + i]);
            const float shown = NAME_sigmoid(into[3 * HIDDEN + i] + back[3 * HIDDEN + i]);
            const float cell = keep * memory->values[HIDDEN + i] + enter * fresh;
            memory->values[HIDDEN + i] = cell;
            memory->values[i] = shown * tanhf(cell);
        }
    }
"""

WINDOW = """\
    float rows[HISTORY * NAME_OBSERVATIONS];
    const float seen = memory->values[NAME_STATE - 1];
    for (i = 0; i < (HISTORY - 1) * NAME_OBSERVATIONS; i++)
        rows[i] = seen == 0.0f ? observation[i % NAME_OBSERVATIONS] : memory->values[i];
    for (i = 0; i < NAME_OBSERVATIONS; i++) rows[(HISTORY - 1) * NAME_OBSERVATIONS + i] = observation[i];
    for (i = 0; i < (HISTORY - 1) * NAME_OBSERVATIONS; i++) memory->values[i] = rows[NAME_OBSERVATIONS + i];
    memory->values[NAME_STATE - 1] = seen + 1.0f < HISTORY - 1.0f ? seen + 1.0f : HISTORY - 1.0f;
"""

NORMALISE = """\
    float INTO[ROOM];
    for (i = 0; i < ROWS * NAME_OBSERVATIONS; i++) {
        const int column = i % NAME_OBSERVATIONS;
        const REAL scaled = (SOURCE[i] - NAME_PREFIXmean[column]) / NAME_PREFIXstd[column];
        INTO[i] = (float)(scaled < -CLIP ? -CLIP : (scaled > CLIP ? CLIP : scaled));
    }
"""

APPEND = """\
    for (i = 0; i < COUNT; i++) INTO[NAME_OBSERVATIONS + i] = SOURCE[i];
"""

BOX = """\
    for (i = 0; i < NAME_ACTIONS; i++)
        action[i] = NAME_clip(X[i] * NAME_half[i] + NAME_centre[i], NAME_low[i], NAME_high[i]);
"""

DISCRETE = """\
    {
        int best = 0;
        for (i = 1; i < CHOICES; i++)
            if (X[i] > X[best]) best = i;
        action[0] = (float)(best + START);
    }
"""

TEST = """
static inline float NAME_test(void)
{
    NAME_state memory;
    float action[NAME_ACTIONS], worst = 0.0f;
    int i, t;
    NAME_init(&memory);
    for (t = 0; t < STEPS; t++) {
        if (NAME_test_starts[t]) NAME_reset(&memory);
        NAME_act(&memory, NAME_test_observations + t * NAME_OBSERVATIONS, action);
        for (i = 0; i < NAME_ACTIONS; i++) {
            const float expected = NAME_test_actions[t * NAME_ACTIONS + i];
            const float error = (fabsf(action[i] - expected) - 5e-7f * fabsf(expected)) / NAME_test_units[i];
            if (!(error <= worst)) worst = error;
        }
        for (i = 0; i < NAME_STATE; i++) {
            const float expected = NAME_test_states[t * NAME_STATE + i];
            const float error = fabsf(memory.values[i] - expected) / (fabsf(expected) > 1.0f ? fabsf(expected) : 1.0f);
            if (!(error <= worst)) worst = error;
        }
    }
    return worst;
}

#endif
"""


def c_header(network: Network, name: str, vectors: Mapping[str, Any], tolerance: float = 1e-5) -> str:
    """Return the text of a header.

    Args:
        network: What it computes.
        name: Prefix of everything that it defines.
        vectors: `observations` (t, d), `starts` (t,), `actions` (t, a) and `states` (t, k) to test itself with.
        tolerance: Largest error that its test may find.

    Raises:
        UserError: For a network that has no C form, and for a name that C does not allow.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise InvalidValue(f"name = {name!r} must begin a C identifier: small letters, digits and _, a letter first")
    if network.kind not in KINDS:
        raise UserError(f"there is no C form of a {network.kind}, only of {', '.join(KINDS)}: use student.onnx for it")
    k = network.state_size
    numbers = {"observations": network.observation_size, "actions": network.action_size, "state": k}
    text = PREAMBLE.format(**numbers, room=max(k, 1), tolerance=tolerance)
    text += _constants(network) + HELPERS + _act(network) + _vectors(network, vectors)
    text += TEST.replace("STEPS", str(len(vectors["starts"])))
    macros = re.sub(r"NAME_([A-Z]+)(?!_?\w)", rf"{name.upper()}_\1", text.replace("NAME_POLICY_H", "NAME_H"))
    return macros.replace("NAME_", f"{name}_")


def _constants(network: Network) -> str:
    text = "\n"
    for name, array in network.arrays.items():
        real = "double" if array.dtype == np.float64 else "float"
        values = array.T if array.ndim == 2 else array
        text += _array(f"NAME_{name.replace('.', '_')}", values, real)
    return text


def _array(name: str, values: Any, real: str = "float") -> str:
    flat = np.ravel(values)
    numbers = [_number(value, real) for value in flat] or ["0"]
    lines = [", ".join(numbers[i : i + 8]) for i in range(0, len(numbers), 8)]
    return f"static const {real} {name}[{len(numbers)}] = {{\n    " + ",\n    ".join(lines) + "\n};\n"


def _number(value: Any, real: str) -> str:
    if real == "int":
        return str(int(value))
    if np.isinf(value):
        return "-INFINITY" if value < 0 else "INFINITY"
    text = f"{value:.17g}" if real == "double" else f"{value:.9g}"
    return text + ("" if "." in text or "e" in text else ".0") + ("" if real == "double" else "f")


def _act(network: Network) -> str:
    """Return the function that acts: body, dense layers, actions, one after the other."""
    lines = ["\nstatic inline void NAME_act(NAME_state *memory, const float *observation, float *action)\n"]
    lines.append("{\n    int i;\n")
    x, rows = "observation", 1
    if network.kind == "stack":
        lines.append(WINDOW.replace("HISTORY", str(network.history)))
        x, rows = "rows", network.history
    if network.clip is not None:
        lines.append(_normalise(network, x, "normalised", rows))
        x = "normalised"
    x = _dense(lines, network, "embedding", network.embedding, x)
    if network.kind in ("gru", "lstm"):
        template, parts = (GRU, 1) if network.kind == "gru" else (LSTM, 2)
        inputs = network.arrays["cell.weight_in"].shape[1]
        sizes = {"INPUTS": inputs, "HIDDEN": network.state_size // parts, "X,": f"{x},"}
        lines.append(_filled(template, sizes))
        x = "memory->values"
    if network.recalling:
        x = _dense(lines, network, "recalling", network.recalling, x)
        x = _beside_observation(lines, network, x)
    x = _dense(lines, network, "layers", network.layers, x)
    choices = {"X[": f"{x}[", "CHOICES": len(network.arrays[f"layers.{len(network.layers) - 1}.bias"])}
    lines.append(_filled(DISCRETE, {**choices, "START": network.start}) if network.discrete else _filled(BOX, choices))
    if not network.state_size:
        lines.append("    (void)memory;\n")
    return "".join([*lines, "}\n"])


def _normalise(network: Network, source: str, into: str, rows: int = 1, prefix: str = "", further: int = 0) -> str:
    """Return what fills the array `into` with rows of observations, and leaves room for `further` values behind."""
    real = "double" if network.arrays[prefix + "mean"].dtype == np.float64 else "float"
    clip = network.deciding_clip if prefix else network.clip
    room = f"ROWS * NAME_OBSERVATIONS + {further}" if further else "ROWS * NAME_OBSERVATIONS"
    values = {"INTO": into, "ROOM": room, "ROWS": rows, "SOURCE": source, "REAL": real, "CLIP": _number(clip, real)}
    return _filled(NORMALISE, {**values, "PREFIX": prefix.replace(".", "_")})


def _beside_observation(lines: list[str], network: Network, recalled: str) -> str:
    """Add an array of the normalised observation and what was recalled behind it, and return its name."""
    count = len(network.arrays[f"recalling.{len(network.recalling) - 1}.bias"])
    lines.append(_normalise(network, "observation", "known", prefix="deciding.", further=count))
    lines.append(_filled(APPEND, {"COUNT": count, "INTO": "known", "SOURCE": recalled}))
    return "known"


def _dense(lines: list[str], network: Network, prefix: str, activations: tuple[str, ...], x: str) -> str:
    """Add dense layers that begin with the array x, and return the name of the array that holds what they say."""
    for i, activation in enumerate(activations):
        outputs, inputs = network.arrays[f"{prefix}.{i}.weight"].shape
        y = f"{prefix}_{i}"
        weights = f"NAME_{y}_weight, NAME_{y}_bias"
        lines.append(f"    float {y}[{outputs}];\n    NAME_dense({weights}, {inputs}, {outputs}, {x}, {y});\n")
        if activation:
            lines.append(f"    for (i = 0; i < {outputs}; i++) {y}[i] = NAME_{activation}({y}[i]);\n")
        x = y
    return x


def _filled(template: str, values: Mapping[str, Any]) -> str:
    for word, value in values.items():
        template = template.replace(word, str(value))
    return template


def _vectors(network: Network, vectors: Mapping[str, Any]) -> str:
    text = _array("NAME_test_starts", vectors["starts"], "int")
    text += _array("NAME_test_units", network.action_units)
    for part in ("observations", "actions", "states"):
        text += _array(f"NAME_test_{part}", vectors[part])
    return "\n" + text
