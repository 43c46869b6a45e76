"""Snapshot stores: where start-state teachers keep the states they may start from.

    store = SnapshotStore(capacity=20_000)
    collect(env, policy_of(model), store)        # rlteach.snapshots.collect fills it
    store.save("runs/snapshots")
    store = SnapshotStore.load("runs/snapshots")
    start = Start(store.snapshot(3), elapsed=store.records[3].step)

On disk a store is `snapshots.json` (schema, environment, costs, one column for each field of `Record`) and a few files
`payloads-<start of their sha256>.bin`: encoded snapshots one after the other, in the order and of the sizes that the
index states. Nothing in them can execute.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from rlteach.errors import InvalidValue, RunDirectoryError
from rlteach.files import read_json, write_atomically
from rlteach.protocols import Snapshot, State
from rlteach.snapshots.encoding import decode, encode
from rlteach.snapshots.restorable import Identity, identity_of, refuse_other_engines

SCHEMA = 1
INDEX = "snapshots.json"
OURS = ("payloads-*.bin", ".payloads-*.tmp", f".{INDEX}.*.tmp")
"""Files that only the store in a directory can have left there; the last two by a process that was killed."""

FILE_SIZE = 16 * 2**20
"""Bytes after which the next payload file begins; files that did not change are not written again."""

WASTE = 2**20
"""Bytes of dropped payloads that a file in use may hold beyond as many bytes as it still needs."""


@dataclass(frozen=True, slots=True)
class Record:
    """One state that an episode may start from, and what became of the trajectory it was met on.

    Attributes:
        key: sha256 (hex) of the encoded snapshot.
        episode: Number of the trajectory.
        step: Environment steps since that trajectory's reset.
        remaining: Environment steps from here to that trajectory's end.
        ret: Undiscounted return of the whole trajectory.
        success: Success of the trajectory, in [0, 1]; nan where the environment does not tell.
        value: A critic's estimate of the return from here on; nan where nobody estimated.
        to_go: Undiscounted return from here to the trajectory's end.
    """

    key: str
    episode: int
    step: int
    remaining: int
    ret: float
    success: float = math.nan
    value: float = math.nan
    to_go: float = math.nan


FIELDS = tuple(field.name for field in fields(Record))


class SnapshotStore:
    """Snapshots of one environment, stored once however often they were met, with a record for each meeting.

    When there are more than `capacity` records, the oldest trajectories are dropped, each as a whole. When a single
    trajectory is longer than that, it is thinned out instead: its first and last record stay, and of the others the
    one whose neighbours are the fewest steps apart goes, so that those left are spread evenly over the trajectory.

    Args:
        capacity: Number of records kept, at least 2.
        directory: Where payloads are kept while the store is in use, in a file without a name that is gone with the
            process; None keeps them in memory. It has nothing to do with where `save` writes.

    Attributes:
        capacity: Number of records kept.
        environment: What the environment is called whose snapshots these are, "" until `claim`.
        fingerprint: Its fingerprint (`restorable.fingerprint`), "" until `claim`.
        engines: Versions of the engines that it plays with, by name; none where they are not known.
        costs: Environment steps spent on these records, by role, e.g. `{"collection": 1200, "expert": 200_000}`.
        dropped: Records dropped so far: while this stays the same, so do the indices of all records.
    """

    def __init__(self, capacity: int = 20_000, directory: str | Path | None = None) -> None:
        if capacity < 2:
            raise InvalidValue(f"capacity = {capacity} must be at least 2: the first and the last of a trajectory")
        self.capacity = capacity
        self.environment = self.fingerprint = ""
        self.engines: Mapping[str, str] = {}
        self.costs: dict[str, int] = {}
        self.dropped = 0
        self._records: list[Record] = []
        self._uses: Counter[str] = Counter()
        self._directory = None if directory is None else Path(directory)
        self._payloads = self._new_payloads()

    def __len__(self) -> int:
        return len(self._records)

    @property
    def records(self) -> Sequence[Record]:
        """All records, in the order in which they were added."""
        return self._records

    @property
    def next_episode(self) -> int:
        """The smallest number that is larger than that of every trajectory here."""
        return max((record.episode for record in self._records), default=-1) + 1

    def claim(self, env: Any) -> None:
        """State that what is added from now on are snapshots of `env`.

        Raises:
            InvalidValue: When the store is another environment's already.
        """
        self._adopt(identity_of(env))

    def check_env(self, env: Any) -> None:
        """Refuse an environment that these snapshots cannot be restored in.

        Raises:
            InvalidValue: Naming both environments and what to do.
        """
        identity = identity_of(env)
        if not self.fingerprint:
            raise InvalidValue(
                f"this store has no snapshots of {identity.name} or any other: collect(env, policy, store)"
            )
        self.refuse_other(identity)

    def add(
        self,
        snapshot: Snapshot,
        *,
        episode: int,
        step: int,
        remaining: int,
        ret: float,
        success: float = math.nan,
        value: float = math.nan,
        to_go: float = math.nan,
    ) -> Record:
        """Add what the environment's `get_snapshot` returned, and return its record; the arguments are its fields.

        Raises:
            InvalidValue: For a snapshot that cannot be encoded, a negative count, a return that is not finite, or
                when nobody has said whose snapshots these are (`claim`).
        """
        if not self.fingerprint:
            raise InvalidValue("say whose snapshots these are before the first is added: store.claim(env)")
        payload = encode(snapshot)
        key = hashlib.sha256(payload).hexdigest()
        numbers = float(ret), float(success), float(value), float(to_go)
        record = Record(key, int(episode), int(step), int(remaining), *numbers)
        _check(record)
        self._append(record, payload)
        return record

    def merge(self, other: SnapshotStore) -> None:
        """Add all records of another store, its trajectories numbered after those here, and its costs.

        Raises:
            InvalidValue: When it holds another environment's snapshots.
        """
        self._adopt(other.identity)
        offset = self.next_episode
        for record in list(other.records):
            self._append(replace(record, episode=record.episode + offset), other._payloads[record.key])
        for role, steps in other.costs.items():
            self.costs[role] = self.costs.get(role, 0) + steps

    def snapshot(self, index: int) -> Snapshot:
        """Return the snapshot of `records[index]`, as a copy that its user may change.

        Raises:
            IndexError: When there is no such record.
        """
        return decode(self._payloads[self._records[index].key])

    def episodes(self) -> dict[int, list[int]]:
        """Return the indices of each trajectory's records in order of their step, oldest trajectory first."""
        indices: dict[int, list[int]] = {}
        for index, record in enumerate(self._records):
            indices.setdefault(record.episode, []).append(index)
        return {episode: sorted(ours, key=lambda i: self._records[i].step) for episode, ours in indices.items()}

    @property
    def identity(self) -> Identity:
        """Whose snapshots these are; empty until `claim`."""
        return Identity(self.environment, self.fingerprint, self.engines)

    def _adopt(self, identity: Identity) -> None:
        if identity.fingerprint:
            self.refuse_other(identity)
            self.environment, self.fingerprint, engines = identity
            self.engines = {**self.engines, **engines}

    def refuse_other(self, identity: Identity) -> None:
        """Refuse an environment that these snapshots cannot be restored in.

        Raises:
            InvalidValue: Naming both environments, or both versions of an engine, and what to do.
        """
        refuse_other_engines(self.engines, identity.engines)
        if self.fingerprint not in ("", identity.fingerprint):
            raise InvalidValue(
                f"this store holds snapshots of {self.environment} (fingerprint {self.fingerprint}), which mean "
                f"nothing in {identity.name} (fingerprint {identity.fingerprint}). Build the environment as it was "
                "there, or collect anew into a store of its own: "
                "rlteach.snapshots.collect.collect(env, policy, SnapshotStore())"
            )

    # -- the bound -------------------------------------------------------------------------------------------------

    def _append(self, record: Record, payload: bytes) -> None:
        if record.key not in self._payloads:
            self._payloads[record.key] = payload
        self._records.append(record)
        self._uses[record.key] += 1
        while len(self._records) > self.capacity:
            oldest = next((old.episode for old in self._records if old.episode != record.episode), None)
            if oldest is None:
                self._drop({most_crowded([ours.step for ours in self._records])})
            else:
                self._drop({index for index, old in enumerate(self._records) if old.episode == oldest})

    def _drop(self, indices: set[int]) -> None:
        self.dropped += len(indices)
        for index in sorted(indices, reverse=True):
            key = self._records.pop(index).key
            self._uses[key] -= 1
            if not self._uses[key]:
                del self._uses[key], self._payloads[key]

    # -- files -----------------------------------------------------------------------------------------------------

    def save(self, directory: str | Path) -> None:
        """Write the store; whatever happens meanwhile, the directory holds the old store or the new one, whole.

        Raises:
            RunDirectoryError: When it cannot be written.
        """
        home = Path(directory)
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirectoryError(f"cannot write snapshots to {home}: {error.strerror or error}") from error
        files = [self._save_payloads(home, keys) for keys in self._parts()]
        columns: dict[str, list[Any]] = {
            name: [None if value != value else value for value in column] for name, column in self._columns().items()
        }
        body = {**self._header(), "records": columns, "files": files}
        write_atomically(home / INDEX, _json({"schema": SCHEMA, "sha256": _digest(_json(body)), "store": body}))
        named = {_payload_file(home, file["sha256"]) for file in files}
        for path in {path for pattern in OURS for path in home.glob(pattern)} - named:
            with suppress(OSError):  # the new store is whole; what is left of others only takes room
                path.unlink()

    @classmethod
    def load(cls, path: str | Path, *, directory: str | Path | None = None) -> SnapshotStore:
        """Read a store that `save` wrote. Executes nothing that its files hold.

        Args:
            path: Directory that was given to `save`.
            directory: Where payloads are kept while the store is in use; None keeps them in memory.

        Raises:
            RunDirectoryError: When a file is missing or damaged, or was written by another version.
        """
        home = Path(path)
        body = _read_index(home / INDEX)
        try:
            columns = {name: [math.nan if part is None else part for part in body["records"][name]] for name in FIELDS}
            store = cls(body["capacity"], directory)
            store._fill(body, columns, (pair for file in body["files"] for pair in _read_payloads(home, file)))
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # a true sha256 over something else
            raise _damaged(home / INDEX, f"its parts do not fit together: {error}") from error
        return store

    def state_dict(self) -> State:
        """Return everything, payloads included, so that a store that has grown goes on as it was."""
        payloads = list(self._payloads.values())
        columns = self._columns()
        return {
            **self._header(),
            "records": {name: columns[name] if name == "key" else np.array(columns[name]) for name in FIELDS},
            "keys": list(self._payloads),
            "sizes": np.array([len(payload) for payload in payloads], dtype=np.int64),
            "payloads": np.frombuffer(b"".join(payloads), dtype=np.uint8),
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`; what the store held before is forgotten, unless this raises.

        Raises:
            InvalidValue: When the state is another environment's, or damaged.
            RunDirectoryError: When there is no room for its payloads.
        """
        if state["fingerprint"]:
            self.refuse_other(Identity(state["environment"], state["fingerprint"], state.get("engines", {})))
        try:
            data = np.asarray(state["payloads"], dtype=np.uint8).tobytes()
            columns = {name: list(np.asarray(state["records"][name]).tolist()) for name in FIELDS}
            self._fill(state, columns, zip(state["keys"], _cut(data, state["sizes"]), strict=True))
        except (InvalidValue, RunDirectoryError):
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidValue(f"this state of a snapshot store is damaged: {error!r}") from error

    def _header(self) -> dict[str, Any]:
        return {
            "capacity": self.capacity,
            "environment": self.environment,
            "fingerprint": self.fingerprint,
            "engines": dict(self.engines),
            "dropped": self.dropped,
            "costs": dict(self.costs),
        }

    def _columns(self) -> dict[str, list[Any]]:
        return {name: [getattr(record, name) for record in self._records] for name in FIELDS}

    def _fill(
        self, header: Mapping[str, Any], columns: Mapping[str, list[Any]], payloads: Iterable[tuple[str, bytes]]
    ) -> None:
        """Take everything over, or, when something does not fit together, nothing."""
        counts = int(header["capacity"]), int(header["dropped"])
        whose = str(header["environment"]), str(header["fingerprint"]), dict(header.get("engines", {}))
        costs = {str(role): int(steps) for role, steps in header["costs"].items()}
        records = [Record(*row) for row in zip(*(columns[name] for name in FIELDS), strict=True)]
        uses = Counter(columns["key"])
        held = self._new_payloads()
        for key, payload in payloads:
            if hashlib.sha256(payload).hexdigest() != key:
                raise InvalidValue(f"the payload of snapshot {key[:16]} is damaged: its sha256 is another one")
            held[key] = payload
        if uses.keys() != held.keys():
            raise InvalidValue("a store needs exactly one payload for each key that its records name")
        self.capacity, self.dropped = counts
        self.environment, self.fingerprint, self.engines = whose
        self.costs, self._records, self._uses, self._payloads = costs, records, uses, held

    def _new_payloads(self) -> MutableMapping[str, bytes]:
        return {} if self._directory is None else _OnDisk(self._directory)

    def _parts(self) -> Iterator[list[str]]:
        part: list[str] = []
        size = 0
        for key, payload in self._payloads.items():
            if part and size + len(payload) > FILE_SIZE:
                yield part
                part, size = [], 0
            part.append(key)
            size += len(payload)
        if part:
            yield part

    def _save_payloads(self, home: Path, keys: list[str]) -> dict[str, Any]:
        payloads = [self._payloads[key] for key in keys]
        data = b"".join(payloads)
        digest = hashlib.sha256(data).hexdigest()
        path = _payload_file(home, digest)
        if not _holds(path, digest):
            write_atomically(path, data)
        return {"sha256": digest, "keys": keys, "sizes": [len(payload) for payload in payloads]}


class _OnDisk(MutableMapping[str, bytes]):
    """Payloads in a file that has no name, so that it is gone with the process, whatever ends that."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._places: dict[str, tuple[int, int]] = {}
        self._end = self._needed = 0
        self._file = _NamelessFile(directory)

    def __getitem__(self, key: str) -> bytes:
        return self._file.read(*self._places[key])

    def __setitem__(self, key: str, payload: bytes) -> None:
        self._file.write(payload, self._end)
        self._places[key] = (self._end, len(payload))
        self._end += len(payload)
        self._needed += len(payload)

    def __delitem__(self, key: str) -> None:
        self._needed -= self._places.pop(key)[1]
        if self._end > 2 * self._needed + WASTE:
            with suppress(RunDirectoryError):  # without room for a second file the first one serves as well
                self._rewrite()

    def _rewrite(self) -> None:
        file, end = _NamelessFile(self._directory), 0
        places = {}
        for key, payload in self.items():
            file.write(payload, end)
            places[key] = (end, len(payload))
            end += len(payload)
        self._file, self._places, self._end = file, places, end

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class _NamelessFile:
    """A file without a name, written and read at places, so that a fork that reads does not move anybody's position."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=".snapshots-", dir=directory)
            self._file = os.fdopen(descriptor, "r+b", buffering=0)  # which, unlike a number, refuses to be copied
            weakref.finalize(self, self._file.close)
            Path(name).unlink()
        except OSError as error:
            raise self._fault(error) from error

    def write(self, data: bytes, place: int) -> None:
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(self._file.fileno(), data[done:], place + done)
        except OSError as error:
            raise self._fault(error) from error

    def read(self, place: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, place)

    def _fault(self, error: OSError) -> RunDirectoryError:
        return RunDirectoryError(
            f"cannot keep snapshots in {self._directory}: {error.strerror or error}. "
            "Give SnapshotStore another directory, or none to keep them in memory."
        )


def most_crowded(steps: Sequence[int]) -> int:
    """Return the index of the step whose neighbours are closest together; never that of the first or last step.

    Args:
        steps: At least three, in any order; the earliest of several that are equally crowded is taken.
    """
    order = np.argsort(steps, kind="stable")
    ordered = np.asarray(steps)[order]
    return int(order[1 + np.argmin(ordered[2:] - ordered[:-2])])


def _check(record: Record) -> None:
    for name in ("episode", "step", "remaining"):
        if getattr(record, name) < 0:
            raise InvalidValue(f"{name} = {getattr(record, name)} of a snapshot must not be negative")
    if not math.isfinite(record.ret):
        raise InvalidValue(f"ret = {record.ret} of a snapshot must be finite; look at the environment's rewards")
    for name in ("success", "value", "to_go"):
        if math.isinf(getattr(record, name)):
            raise InvalidValue(f"{name} = {getattr(record, name)} of a snapshot must be finite, or nan if unknown")


# -- files ---------------------------------------------------------------------------------------------------------


def _read_index(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise RunDirectoryError(
            f"there is no snapshot store at {path.parent}: {path.name} is missing. Give the directory that "
            "SnapshotStore.save wrote to, or collect snapshots and save them there."
        )
    try:
        index = read_json(path)
    except RunDirectoryError as error:
        raise _damaged(path, str(error.__cause__)) from error
    if not isinstance(index, dict) or index.get("schema") != SCHEMA:
        found = repr(index.get("schema")) if isinstance(index, dict) else "none"
        raise RunDirectoryError(
            f"{path} was written by another version of rlteach (schema {found}, this version reads {SCHEMA}): "
            "load it with that version, or collect the snapshots anew."
        )
    body = index.get("store")
    if not isinstance(body, dict) or index.get("sha256") != _digest(_json(body)):
        raise _damaged(path, "its sha256 is not the one it states")
    return body


def _read_payloads(home: Path, file: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    path = _payload_file(home, file["sha256"])
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    if hashlib.sha256(data).hexdigest() != file["sha256"]:
        raise _damaged(path, f"the sha256 of its {len(data)} bytes is not the one in {INDEX}")
    yield from zip(file["keys"], _cut(data, file["sizes"]), strict=True)


def _cut(data: bytes, sizes: Iterable[int]) -> list[bytes]:
    ends = list(accumulate(int(size) for size in sizes))
    return [data[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=False)]


def _damaged(path: Path, reason: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"{path} is missing or damaged ({reason}), so its snapshots cannot be trusted. Copy the store again from where "
        "it came from, or collect the snapshots anew and save them."
    )


def _payload_file(home: Path, digest: str) -> Path:
    return home / f"payloads-{digest[:16]}.bin"


def _holds(path: Path, digest: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except OSError:
        return False


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
