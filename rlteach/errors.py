"""Every error that rlteach raises on purpose.

    RlteachError
    ├── UserError                 the caller can mend it; the command line prints it and exits with code 2
    │   ├── UnknownName           a name that is in no registry (also a KeyError)
    │   ├── InvalidValue          a value of the right kind but out of range (also a ValueError)
    │   ├── ConfigError           one or more faults in a run or sweep configuration, all listed
    │   ├── MissingCapability     an environment lacks a method that the chosen teacher needs
    │   ├── MissingExtra          an optional dependency is not installed
    │   ├── RunDirectoryError     a run directory that is damaged, read-only, foreign or of another version
    │   └── UntrustedFile         loading would execute code and the caller has not allowed it
    └── EnvironmentFault          an environment misbehaved while it was played (NaN reward, crashed worker)

A message says what is wrong, where, the nearest valid choice, and the next command to type.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RlteachError(Exception):
    """Base of every error raised on purpose by rlteach."""


class UserError(RlteachError):
    """Something the caller can mend. The command line shows the message without a traceback and exits with code 2."""


class UnknownName(UserError, KeyError):
    """A name that is in no registry."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, next_step: str = "") -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        hint = did_you_mean(name, self.known)
        tail = f" {next_step}" if next_step else ""
        super().__init__(f"no {kind} is called {name!r}.{hint}{tail}")

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0])


class InvalidValue(UserError, ValueError):
    """A value that is out of range or of the wrong shape."""


class ConfigError(UserError):
    """One or more faults in a configuration; `faults` lists them all."""

    def __init__(self, faults: Iterable[str], *, where: str = "configuration") -> None:
        self.faults = list(faults)
        lines = "\n".join(f"  - {fault}" for fault in self.faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__(f"{count} in {where}:\n{lines}")


class MissingCapability(UserError):
    """An environment lacks something that the chosen teacher or command needs."""

    def __init__(self, what: str, *, where: str, recipe: str) -> None:
        super().__init__(f"{where} has no {what}. Add it like this:\n\n{recipe.rstrip()}\n")


class MissingExtra(UserError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, *, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'rlteach[{extra}]'")


class RunDirectoryError(UserError):
    """A run directory cannot be used as it is."""


class UntrustedFile(UserError):
    """Loading this file would execute code that it contains."""


class EnvironmentFault(RlteachError):
    """An environment misbehaved while it was being played."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the nearest of `known`, or `""` when nothing is near.

    Compares case-insensitively and also the last dotted or slashed part, so that `PPO` finds `stable_baselines3.PPO`.
    """
    candidates: dict[str, str] = {}
    for choice in known:
        tail = choice.replace(":", "/").replace(".", "/").rsplit("/", 1)[-1]
        candidates.setdefault(tail.lower(), choice)
        candidates[choice.lower()] = choice
    near = difflib.get_close_matches(name.lower(), candidates, n=1, cutoff=0.55)
    return f" Did you mean {candidates[near[0]]!r}?" if near else ""
