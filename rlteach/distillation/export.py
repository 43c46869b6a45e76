"""Exporting a finished run's policy: ONNX, a numpy runner, a C header, and a contract that says what the numbers mean.

    exported = export_run("runs/dagger-s0", venv=venv)  # into runs/dagger-s0/export
    exported.files, exported.parity, exported.notes

Nothing is written before every form has been played for 1200 steps beside the policy itself, observation normaliser,
action scale and memory included, without an error above 1e-5.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from rlteach.distillation import numpy_runner, parity
from rlteach.distillation.c_source import KINDS, c_header
from rlteach.distillation.contract import SCHEMA, EnvFacts, describe_contract
from rlteach.distillation.export_source import Source, load_source
from rlteach.distillation.onnx_graph import onnx_bytes
from rlteach.errors import InvalidValue, MissingExtra, RlteachError, RunDirectoryError, UserError, did_you_mean
from rlteach.files import read_json, write_atomically, write_json
from rlteach.observations import View

FORMATS = ("onnx", "numpy", "c")
CONTRACT, ONNX, RUNNER, WEIGHTS, VECTORS, HEADER = (
    "contract.json",
    "student.onnx",
    "runner.py",
    "weights.npz",
    "test_vectors.npz",
    "policy.h",
)
MEANINGS = {
    ONNX: "ONNX, opset 17: raw observations in, actions in the environment's units out",
    RUNNER: "acts with numpy alone; python runner.py --check compares with the test vectors",
    WEIGHTS: "the weights that runner.py reads",
    VECTORS: "observations (t, n, d), starts (t, n), actions (t, n, ...), states (t, n, k) after each step",
    HEADER: "C99, needs math.h only; its own test vectors are compiled in",
}
VECTOR_ROWS, VECTOR_STEPS, FURTHER_STEPS = 2, 24, 8
LARGEST_C_VECTORS = 8192
"""Numbers that test vectors may take in a header."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        directory: Where.
        files: Names, the contract last.
        parity: Largest errors of each form, by quantity.
        notes: Sentences about what was left out or could not be checked.
    """

    directory: Path
    files: tuple[str, ...]
    parity: dict[str, dict[str, float]]
    notes: tuple[str, ...]


@dataclass
class _Export:
    """What is being exported; `files` are written only when all is well.

    Attributes:
        source: The policy.
        name: Prefix of what the C header defines.
        played: What the policy did.
        ties: (t, n) where two logits are so near that either action is right.
        tolerance: Largest error to allow over the whole rollout.
        step_tolerance: Largest error to allow in a step from the policy's own memory.
    """

    source: Source
    name: str
    played: parity.Played
    ties: Any
    tolerance: float
    step_tolerance: float
    files: dict[str, bytes] = field(default_factory=dict)
    errors: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def export_run(
    run: str | Path,
    out: str | Path | None = None,
    *,
    formats: Sequence[str] | None = None,
    venv: VecEnv | None = None,
    identity: Mapping[str, Any] | None = None,
    name: str = "policy",
) -> Exported:
    """Export the policy of a finished run.

    Args:
        run: Run directory.
        out: Where to write; `export` in the run directory by default.
        formats: Some of `FORMATS`. By default all that can be had; what is left out is told in a note.
        venv: The run's environments, asked for what they state and played in to check; random observations without.
        identity: Id and keyword arguments of the environment, for the contract.
        name: Prefix of what the C header defines.

    Raises:
        UserError: When the run holds no policy that can be exported, `out` holds other files, something that was asked
            for cannot be had, or a form does not compute what the policy computes. Then nothing is written.
    """
    faults = [f"no format is called {f!r}.{did_you_mean(f, FORMATS)}" for f in formats or () if f not in FORMATS]
    if faults or (formats is not None and not formats):
        raise InvalidValue(" ".join([*faults, f"Formats: {', '.join(FORMATS)}."]))
    directory = Path(run) / "export" if out is None else Path(out)
    before = _files_before(directory)
    source = load_source(Path(run))
    played, where, notes = _play(source, venv)
    by_runner, ties = parity.play_runner(source.network, played)
    errors = parity.errors_of(source.network, played, by_runner, ties)
    tolerance, step_tolerance = _tolerances(source, played, errors, notes)
    export = _Export(source, name, played, ties, tolerance, step_tolerance, notes=notes)
    for form, write in {"numpy": _write_runner, "onnx": _write_onnx, "c": _write_c}.items():
        _attempt(export, form, write, formats)
    facts = EnvFacts(identity=dict(identity or {})) if venv is None else EnvFacts.of(venv, identity or {})
    contract = describe_contract(source.network, source.identity, facts)
    export.files[VECTORS] = _npz(_vectors(export))
    contract["parity"] = {
        "steps": len(played.starts),
        "rows": played.starts.shape[1],
        "observations": where,
        "tolerance": tolerance,
        "errors": export.errors,
    }
    contract["files"] = {file: _describe_file(file, data) for file, data in export.files.items()}
    _write(directory, export.files, contract, before)
    return Exported(directory, (*export.files, CONTRACT), export.errors, tuple(export.notes))


# -- playing -------------------------------------------------------------------------------------------------------


def _play(source: Source, venv: VecEnv | None) -> tuple[parity.Played, str, list[str]]:
    """Return what the policy did, on what, and notes."""
    space, notes = source.identity.observation_space, []
    shape = (np.ravel(space.low), np.ravel(space.high))
    if venv is not None:
        try:
            see = _sight(source, venv)
            played = parity.play_reference(source.network, source.reference, shape, venv, see)
            return played, "the environment, then random", []
        except Exception as error:  # an environment is the user's own code; the policy can be exported without it
            kind = "" if isinstance(error, RlteachError) else f"{type(error).__name__}: "
            notes = [f"The environment could not be played in ({kind}{error}): checked on random observations."]
    played = parity.play_reference(source.network, source.reference, shape, None, lambda raw: raw)
    return played, "random", notes


def _tolerances(
    source: Source, played: parity.Played, errors: Mapping[str, Any], notes: list[str]
) -> tuple[float, float]:
    """Return the largest errors over all and in one step: above the usual where rounding moves the policy itself so."""
    if max(float(found.max(initial=0.0)) for found in errors.values()) < parity.TOLERANCE / 2:
        return parity.TOLERANCE, parity.TOLERANCE
    moved, once = (parity.sensitivity(source.network, source.reference, played, follow) for follow in (False, True))
    tolerance, step_tolerance = (max(parity.TOLERANCE, 4 * far) for far in (moved, once))
    if tolerance > parity.TOLERANCE:
        notes.append(
            f"The policy amplifies rounding: the last bit of its observations moves it by {moved:.2g} within "
            f"{len(played.starts)} steps, so errors up to {tolerance:.2g} are allowed over them."
        )
    return tolerance, min(step_tolerance, parity.LARGEST_TOLERANCE)


def _sight(source: Source, venv: VecEnv) -> Callable[[Any], Any]:
    """Return what maps observations of the environment to what the policy sees."""
    described = source.identity.view
    if described is None:
        if venv.observation_space.shape != source.identity.observation_space.shape:
            raise UserError(f"it shows {venv.observation_space}, and the policy sees another shape")
        return lambda raw: raw
    view = View.of(venv, ",".join(described["groups"]))
    if faults := view.faults_against(described):
        raise UserError("; ".join(faults))
    return view


# -- the forms -----------------------------------------------------------------------------------------------------


def _attempt(export: _Export, form: str, write: Callable[[_Export], None], formats: Sequence[str] | None) -> None:
    """Write a form that was asked for; by default leave out, with a note, what cannot be had."""
    if formats is not None:
        if form in formats:
            write(export)
        return
    if form == "onnx":
        missing = [package for package in ("onnx", "onnxruntime") if importlib.util.find_spec(package) is None]
        if missing:
            export.notes.append(f"{ONNX} was left out: {MissingExtra(missing[0], 'export', purpose='it')}")
            return
    if form == "c" and export.source.network.kind not in KINDS:
        export.notes.append(f"{HEADER} was left out: there is no C form of a {export.source.network.kind}.")
        return
    write(export)


def _write_runner(export: _Export) -> None:
    network, played = export.source.network, export.played
    first = parity.first_row(played)
    errors = (
        _compare(export, RUNNER, lambda follow: parity.play_runner(network, played, follow)[0]),
        _compare(export, RUNNER, lambda follow: parity.play_single(network, played, follow), first),
    )
    export.errors[RUNNER] = {quantity: max(found[quantity] for found in errors) for quantity in errors[0]}
    export.files[RUNNER] = Path(numpy_runner.__file__).read_bytes()
    export.files[WEIGHTS] = _npz(network.arrays)


def _write_onnx(export: _Export) -> None:
    network, played = export.source.network, export.played
    data = onnx_bytes(network)
    export.errors[ONNX] = _compare(export, ONNX, lambda follow: parity.play_onnx(network, data, played, follow))
    export.files[ONNX] = data


def _write_c(export: _Export) -> None:
    network, played = export.source.network, export.played
    header = c_header(network, export.name, _c_vectors(export), export.tolerance)
    export.files[HEADER] = header.encode()
    compiler = parity.c_compiler()
    if compiler is None:
        export.notes.append(f"{HEADER} was not compiled here (no gcc, no cc): call {export.name}_test() on the target.")
        return
    tested: list[float] = []

    def play(follow: bool) -> parity.Played:
        got, error = parity.play_c(network, header, export.name, played, compiler, follow)
        tested.append(error)
        return got

    export.errors[HEADER] = _compare(export, HEADER, play)
    if not max(tested) <= export.tolerance:
        raise UserError(f"{HEADER}: its own test finds an error of {tested[0]:.3g}. Nothing was written.")


def _compare(
    export: _Export, name: str, play: Callable[[bool], parity.Played], expected: parity.Played | None = None
) -> dict[str, float]:
    """Return the errors of a form that `play` plays, with its own memory or following the policy's."""
    network, expected = export.source.network, expected or export.played
    errors = parity.compare(network, name, expected, play(False), ties=export.ties, tolerance=export.tolerance)
    if export.tolerance > parity.TOLERANCE:
        parity.compare(network, name, expected, play(True), ties=export.ties, tolerance=export.step_tolerance)
    return errors


def _vectors(export: _Export) -> dict[str, Any]:
    vectors = export.played.vectors(VECTOR_ROWS, VECTOR_STEPS, FURTHER_STEPS)
    return vectors | {"action_units": export.source.network.action_units}


def _c_vectors(export: _Export) -> dict[str, Any]:
    """Return the test vectors of one row, fewer where they are long, from a step on that starts an episode."""
    network, vectors = export.source.network, export.played.vectors(1, VECTOR_STEPS, FURTHER_STEPS)
    steps = len(vectors["starts"])
    fit = max(1, LARGEST_C_VECTORS // (network.observation_size + network.action_size + network.state_size))
    begins = [0, parity.FORCED[0], steps - FURTHER_STEPS]
    begin = next((first for first in begins if steps - first <= fit), begins[-1])
    return {part: values[begin : begin + fit, 0] for part, values in vectors.items()}


# -- files ---------------------------------------------------------------------------------------------------------


def _npz(arrays: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _describe_file(name: str, data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "what": MEANINGS[name]}


def _files_before(directory: Path) -> set[str]:
    """Return the files of an earlier export; refuse a directory that holds files of these names but no export."""
    ours = {name for name in MEANINGS if (directory / name).exists()}
    if not (directory / CONTRACT).exists():
        if ours:
            raise RunDirectoryError(
                f"{directory} holds {', '.join(sorted(ours))} and no {CONTRACT}, so these come from elsewhere and are "
                "not overwritten: name an empty directory with --out"
            )
        return set()
    contract = read_json(directory / CONTRACT)
    if not isinstance(contract, dict) or contract.get("schema") != SCHEMA:
        raise RunDirectoryError(f"{directory / CONTRACT} is no contract of schema {SCHEMA}: name another --out")
    return ours


def _write(directory: Path, files: Mapping[str, bytes], contract: Mapping[str, Any], before: set[str]) -> None:
    """Write all files, the contract last: it holds the sums by which a half-written export is told."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in before - files.keys():
            (directory / name).unlink()
    except OSError as error:
        raise RunDirectoryError(f"cannot write into {directory}: {error.strerror or error}") from error
    for name, data in files.items():
        write_atomically(directory / name, data)
    write_json(directory / CONTRACT, contract)
