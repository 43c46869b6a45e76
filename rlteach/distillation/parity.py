"""Whether exported forms of a policy compute what the policy computes: long rollouts, memory carried along by each.

    played = play_reference(network, reference, venv, view)
    errors = compare(network, "student.onnx", played, play_onnx(network, data, played))

Each form gets the same observations and starts, and keeps its own memory, so that errors of the state add up over the
whole rollout as they would on a robot. With `follow` it is given the policy's memory before every step instead, which
tells a wrong form from one that rounds differently where a policy amplifies rounding.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from rlteach.distillation.numpy_runner import ROUNDING, Policy, error_of_state
from rlteach.distillation.portable import Network, Reference
from rlteach.errors import MissingExtra, UserError

TOLERANCE = 1e-5
"""Largest error of an action, in shares of its range, and of a state."""
LARGEST_TOLERANCE = 1e-3
"""What may be allowed in one step to a policy that amplifies rounding."""
STEPS, RANDOM_STEPS = 1000, 200
FORCED = (12, 333)
"""Steps at which memory is put back although no episode ended; the rows one after another."""

DRIVER = """\
#include <stdio.h>
#include "policy.h"
int main(void)
{
    NAME_state memory;
    float row[1 + UPPER_OBSERVATIONS + UPPER_STATE], action[UPPER_ACTIONS], error = NAME_test();
    int i;
    fwrite(&error, sizeof error, 1, stdout);
    NAME_init(&memory);
    while (fread(row, sizeof row, 1, stdin) == 1) {
        if (row[0] == 1.0f) NAME_reset(&memory);
        for (i = 0; row[0] == 2.0f && i < UPPER_STATE; i++) memory.values[i] = row[1 + UPPER_OBSERVATIONS + i];
        NAME_act(&memory, row + 1, action);
        fwrite(action, sizeof action, 1, stdout);
        fwrite(memory.values, sizeof(float), UPPER_STATE, stdout);
    }
    return 0;
}
"""


@dataclass(frozen=True)
class Played:
    """What a policy saw, did and remembered.

    Attributes:
        observations: (t, n, d), raw.
        starts: (t, n) whether the memory is put back before the observation is taken in.
        actions: (t, n, *shape) in the environment's units.
        states: (t, n, k) after each step.
    """

    observations: NDArray[np.float32]
    starts: NDArray[np.bool_]
    actions: NDArray[Any]
    states: NDArray[np.float32]

    def vectors(self, rows: int, steps: int, further: int) -> dict[str, Any]:
        """Return the first steps and the first of those on random observations, as test vectors."""
        switch = len(self.starts) - RANDOM_STEPS
        times = [*range(min(steps, switch)), *range(switch, switch + further)]
        parts = ("observations", "starts", "actions", "states")
        return {part: getattr(self, part)[times][:, :rows] for part in parts}


Form = Callable[[NDArray[np.float32], NDArray[np.float32]], tuple[Any, Any]]
"""Actions and next states for observations (n, d) and states (n, k)."""


def play_reference(
    network: Network, reference: Reference, shape: tuple[Any, Any], venv: VecEnv | None, see: Callable[[Any], Any]
) -> Played:
    """Play in the environment, or on random observations without one, then on random ones beyond what is usual.

    Args:
        network: The policy as a network.
        reference: The policy itself.
        shape: Lowest and highest observation, (d,).
        venv: Environments to play in.
        see: Maps their observations to what the policy sees.
    """
    rows = 3 if venv is None else venv.num_envs
    rng = np.random.default_rng(0)
    usual = [_random(network, shape, rows, rng) for _ in range(0 if venv else STEPS)]
    beyond = [_random(network, shape, rows, rng, wild=t) for t in range(RANDOM_STEPS)]
    state, records = network.arrays["initial_state"] + np.zeros((rows, 1), dtype=np.float32), []
    seen = None if venv is None else see(venv.reset())
    ended = np.ones(rows, dtype=bool)
    for t in range(STEPS + RANDOM_STEPS):
        real = venv is not None and t < STEPS
        observation = seen if real else [*usual, *beyond][t - (STEPS if venv else 0)]
        observation = np.asarray(observation, dtype=np.float32).reshape(rows, -1)
        starts = ended | np.array([t in (0, STEPS, *(row + forced for forced in FORCED)) for row in range(rows)])
        state = np.where(starts[:, None], network.arrays["initial_state"], state)
        actions, state = reference(observation, state)
        records.append((observation.copy(), starts, np.array(actions), state.copy()))
        if real and venv is not None:
            raw, _, ended, _ = venv.step(actions)
            seen = see(raw)
        else:
            ended = np.zeros(rows, dtype=bool)
    return Played(*(np.array(part) for part in zip(*records, strict=True)))


def _random(
    network: Network, shape: tuple[Any, Any], rows: int, rng: np.random.Generator, wild: int | None = None
) -> NDArray[np.float32]:
    """Return observations of the usual spread; at a `wild` step some are further out than the normaliser lets pass."""
    mean, std = (0.0, 1.0) if network.clip is None else (network.arrays["mean"], network.arrays["std"])
    draws = rng.normal(size=(rows, network.observation_size))
    if wild is not None:
        far = rng.random(draws.shape) < 0.05
        far[wild % rows, wild % network.observation_size] = True
        draws[far] = np.copysign(1.5 * (network.clip or 5.0), draws[far])
    clipped: NDArray[np.float32] = np.clip(mean + std * draws, *shape).astype(np.float32)
    return clipped


def _play(network: Network, played: Played, form: Form, follow: bool = False) -> Played:
    state, records = np.zeros_like(played.states[0]), []
    before = np.roll(played.states, 1, axis=0)
    for t, (observation, starts) in enumerate(zip(played.observations, played.starts, strict=True)):
        state = np.where(starts[:, None], network.arrays["initial_state"], before[t] if follow else state)
        actions, state = form(observation, state)
        records.append((observation, starts, actions, state))
    return Played(*(np.array(part) for part in zip(*records, strict=True)))


def play_runner(network: Network, played: Played, follow: bool = False) -> tuple[Played, NDArray[np.bool_]]:
    """Play with the numpy runner; return also where two logits are so near that either action is right."""
    runner = Policy({"network": network.describe()}, network.arrays)
    ties = []

    def act(observations: Any, state: Any) -> tuple[Any, Any]:
        runner.state = state
        actions = runner.act(observations)
        two = np.sort(runner.outputs, axis=-1)[:, -2:]
        ties.append(two[:, -1] - two[:, 0] < TOLERANCE * np.maximum(1.0, np.abs(two[:, -1])))
        return actions, runner.state

    return _play(network, played, act, follow), np.array(ties)


def play_single(network: Network, played: Played, follow: bool = False) -> Played:
    """Play the first row with the numpy runner, one observation at a time."""
    runner = Policy({"network": network.describe()}, network.arrays)

    def act(observations: Any, state: Any) -> tuple[Any, Any]:
        runner.state = state[0]
        return np.asarray(runner.act(observations[0]))[None], runner.state[None]

    return _play(network, first_row(played), act, follow)


def first_row(played: Played) -> Played:
    """Return what the first row saw, did and remembered."""
    return Played(played.observations[:, :1], played.starts[:, :1], played.actions[:, :1], played.states[:, :1])


def play_onnx(network: Network, data: bytes, played: Played, follow: bool = False) -> Played:
    """Play with onnxruntime.

    Raises:
        MissingExtra: When it is not installed.
    """
    session = onnx_session(data)

    def act(observations: Any, state: Any) -> tuple[Any, Any]:
        if not network.state_size:
            return session.run(None, {"observations": observations})[0], state
        actions, after = session.run(None, {"observations": observations, "state": state})
        return actions, after

    return _play(network, played, act, follow)


def onnx_session(data: bytes) -> Any:
    """Return an onnxruntime session on one thread."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("onnxruntime", "export", purpose="student.onnx") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def c_compiler() -> str | None:
    """Return the path of a C compiler, or None."""
    return shutil.which("gcc") or shutil.which("cc")


def play_c(
    network: Network, header: str, name: str, played: Played, compiler: str, follow: bool = False
) -> tuple[Played, float]:
    """Compile the header and play with it; return also what its own test says."""
    steps, rows = played.starts.shape
    modes = np.where(played.starts, 1.0, 2.0 if follow else 0.0)[..., None]
    before = np.roll(played.states, 1, axis=0)
    fed = np.concatenate([modes, played.observations, before], axis=-1, dtype=np.float32)
    with tempfile.TemporaryDirectory() as place:
        source, program = Path(place) / "check.c", Path(place) / "check"
        (Path(place) / "policy.h").write_text(header, encoding="utf-8")
        source.write_text(DRIVER.replace("NAME", name).replace("UPPER", name.upper()), encoding="utf-8")
        _run([compiler, "-std=c99", "-O3", "-o", str(program), str(source), "-lm"])
        answer = _run([str(program)], fed.transpose(1, 0, 2).tobytes())
    values = np.frombuffer(answer, dtype=np.float32)
    table = values[1:].reshape(rows, steps, -1).transpose(1, 0, 2)
    a = network.action_size
    actions = table[..., :a].reshape(*played.starts.shape, *network.action_shape)
    return Played(played.observations, played.starts, actions, table[..., a:]), float(values[0])


def _run(command: list[str], data: bytes = b"") -> bytes:
    done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=300)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise UserError(f"checking policy.h: {Path(command[0]).name} failed ({done.returncode}): {said[-2000:]}")
    return done.stdout


def compare(
    network: Network,
    name: str,
    expected: Played,
    got: Played,
    *,
    ties: NDArray[np.bool_] | None = None,
    tolerance: float = TOLERANCE,
) -> dict[str, float]:
    """Return the largest errors of actions and states.

    Raises:
        UserError: When one is above the tolerance; it names the step and the quantity.
    """
    errors = errors_of(network, expected, got, ties)
    for quantity, found in errors.items():
        wrong = ~(found <= tolerance)
        if wrong.any():
            step, row, *place = (int(index) for index in np.argwhere(wrong)[0])
            theirs, ours = (getattr(played, quantity)[(step, row, *place)] for played in (got, expected))
            raise UserError(
                f"{name} does not compute what the policy computes: at step {step}, row {row}, "
                f"{quantity}{place or ''} is {theirs:.7g} and should be {ours:.7g}. Nothing was written. "
                "Please report this with the run's student or policy files."
            )
    return {quantity: float(found.max(initial=0.0)) for quantity, found in errors.items()}


def sensitivity(network: Network, reference: Reference, played: Played, follow: bool = False) -> float:
    """Return how far the last bit of its observations moves the policy itself, by the measure of `compare`.

    A recurrent policy may be chaotic: no two implementations that round differently agree on it for long.
    """
    rng = np.random.default_rng(1)

    def nudged(observations: Any, state: Any) -> tuple[Any, Any]:
        bits = rng.choice([-1.0, 1.0], observations.shape).astype(np.float32)
        return reference(observations + bits * np.spacing(np.abs(observations)), state)

    errors = errors_of(network, played, _play(network, played, nudged, follow), None)
    return max(float(errors[part].max(initial=0.0)) for part in errors if part == "states" or not network.discrete)


def errors_of(
    network: Network, expected: Played, got: Played, ties: NDArray[np.bool_] | None
) -> dict[str, NDArray[np.float64]]:
    """Return the errors of actions (t, n, *shape), in shares of their range, and of states (t, n, k)."""
    units = network.action_units.reshape(network.action_shape)
    difference = np.abs(got.actions.astype(np.float64) - expected.actions)
    if network.discrete and ties is not None:
        difference = np.where(ties[:, : difference.shape[1]], 0.0, difference)
    actions = np.maximum(difference - ROUNDING * np.abs(expected.actions), 0.0) / units
    return {"actions": actions, "states": error_of_state(got.states, expected.states)}
