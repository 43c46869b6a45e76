"""Files that survive a crash: written beside their place, flushed, and moved there in one step."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from rlteach.errors import RunDirectoryError
from rlteach.protocols import State


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that after a crash either the old or the new content is there, whole."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # where nothing can be written, there may be nothing to remove either
            temporary.unlink()
        raise RunDirectoryError(f"cannot write {path}: {error.strerror or error}") from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, numpy numbers included."""
    write_atomically(path, json.dumps(value, indent=1, default=_plain_number) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        RunDirectoryError: When the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"cannot read {path}: {error}") from error


def _plain_number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path` (a lock file that is left behind empty)."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Table:
    """An append-only CSV whose length can be remembered and restored.

    Args:
        path: The file; a header is written when it is new or empty.
        columns: Its columns.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._columns = list(columns)
        self._file = path.open("a+", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._file.seek(0, os.SEEK_END)
        if self._file.tell() == 0:
            self._writer.writerow(self._columns)

    def append(self, row: Sequence[Any]) -> None:
        """Add one row."""
        self._writer.writerow(row)

    def size(self) -> int:
        """Return the length in bytes, everything written to disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def clear(self) -> None:
        """Keep nothing but the header."""
        self.truncate(0)
        self._writer.writerow(self._columns)

    def truncate(self, size: int) -> None:
        """Cut off what was written after `size()` returned this."""
        self._file.flush()
        self._file.truncate(size)
        self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        """Flush and close."""
        self._file.close()


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file with a header; an incomplete last line is left out.

    Raises:
        RunDirectoryError: When it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RunDirectoryError(f"cannot read {path}: {error.strerror or error}") from error
    reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
    return [row for row in reader if None not in row.values() and None not in row]


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return rows as CSV text; missing values are empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


# -- states --------------------------------------------------------------------------------------------------------


def pack_state(state: State) -> tuple[str, bytes]:
    """Return a nested state as JSON text and safetensors bytes; nothing in them can execute."""
    arrays: dict[str, np.ndarray] = {}
    return json.dumps(_encode(state, arrays)), save_arrays(arrays)


def unpack_state(text: str, data: bytes) -> State:
    """Return the state that `pack_state` took apart."""
    state: State = _decode(json.loads(text), load_arrays(data))
    return state


def _encode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        key = str(len(arrays))
        arrays[key] = np.ascontiguousarray(value).reshape(value.shape)
        return {"$array": key}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: _encode(part, arrays) for key, part in value.items()}
        return {"$items": [[_encode(key, arrays), _encode(part, arrays)] for key, part in value.items()]}
    if isinstance(value, tuple):
        return {"$tuple": [_encode(part, arrays) for part in value]}
    if isinstance(value, list):
        return [_encode(part, arrays) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a state may hold arrays, numbers, strings and containers of them, not {type(value).__name__}")


def _decode(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_decode(part, arrays) for part in value]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        return arrays[value["$array"]].copy()
    if "$items" in value:
        return {_decode(key, arrays): _decode(part, arrays) for key, part in value["$items"]}
    if "$tuple" in value:
        return tuple(_decode(part, arrays) for part in value["$tuple"])
    return {key: _decode(part, arrays) for key, part in value.items()}
