"""Exporting a run with what its environment states: `rlteach export RUN`.

exported = export("runs/dagger-s0")
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from stable_baselines3.common.vec_env import VecEnv

from rlteach.delivery import make_vec_env
from rlteach.distillation.export import Exported, export_run
from rlteach.distillation.export_source import load_source
from rlteach.experiment import config
from rlteach.experiment.evaluate import own_randomness

ROWS = 3
"""Environments to play in: more than one, so that the batch axis is checked."""


def export(
    run: str | Path, out: str | Path | None = None, *, formats: Sequence[str] | None = None, name: str = "policy"
) -> Exported:
    """Export the policy of a finished run; see `rlteach.distillation.export.export_run`."""
    path = Path(run)
    load_source(path)  # what is wrong with the run is told before any environment is built
    identity: dict[str, Any] = {}
    with ExitStack() as stack, own_randomness(0):
        venv, notes = _environments(path, identity)
        if venv is not None:
            stack.callback(venv.close)
        exported = export_run(path, out, formats=formats, venv=venv, identity=identity, name=name)
    return replace(exported, notes=(*notes, *exported.notes))


def _environments(path: Path, identity: dict[str, Any]) -> tuple[VecEnv | None, tuple[str, ...]]:
    """Return the run's environments, or a sentence that says why there are none; fill in what they are."""
    try:
        run_config = config.load(path / "config.yaml")
        identity |= {"id": run_config.env.id, "kwargs": run_config.env.kwargs}
        return make_vec_env(run_config.env.id, ROWS, seed=0, env_kwargs=run_config.env.kwargs), ()
    except Exception as error:  # an environment is the user's own code; the policy can be exported without it
        return None, (f"The run's environment could not be built ({error}): checked on random observations.",)
