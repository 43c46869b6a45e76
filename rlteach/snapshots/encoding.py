"""Snapshots as bytes: compact, checked when read, the same for the same content, and with nothing in them to execute.

    data = encode({"qpos": env.data.qpos.copy(), "generator": env.np_random.bit_generator.state})
    state = decode(data)

A snapshot is a nested mapping with text keys of arrays, numpy scalars, text, bytes, numbers, booleans, None, lists and
tuples. Keys are written in sorted order, so that equal snapshots give equal bytes and can be kept under their digest.

Layout: 8 bytes `MAGIC`, 1 byte `VERSION`, 32 bytes SHA-256 of the rest, then one value. A value is a one-byte tag and
what the tag says; counts and lengths are unsigned 32-bit, dimensions unsigned 64-bit, everything little-endian.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from rlteach.errors import InvalidValue

MAGIC = b"rlt-snap"
VERSION = 1

_DIGEST = slice(len(MAGIC) + 1, len(MAGIC) + 33)
_HEAD, _COUNT, _FLOAT, _COMPLEX = (struct.Struct(f"<{layout}") for layout in ("H", "I", "d", "dd"))
_TEXT = ("utf-8", "surrogatepass")
_STR = frozenset({str})

_Out = list[bytes]
_Read = tuple[Any, int]
"""A value, and the position behind it."""


def encode(snapshot: Mapping[str, Any]) -> bytes:
    """Return a snapshot as bytes that `decode` reads.

    Args:
        snapshot: Nested mapping of the types that the module's docstring names; arrays of any shape and any dtype but
            object and structured ones.

    Raises:
        InvalidValue: When something in it is of another type, with its place.
    """
    if not isinstance(snapshot, Mapping):
        raise InvalidValue(f"a snapshot is a mapping, not {type(snapshot).__name__}")
    out: _Out = []
    try:
        _put_mapping(snapshot, out)
    except _Refused as error:
        raise InvalidValue(f"snapshot{error.place} {error}") from None
    except RecursionError:
        raise InvalidValue("this snapshot is nested too deeply; does it contain itself?") from None
    body = b"".join(out)
    return b"".join((MAGIC, bytes([VERSION]), hashlib.sha256(body).digest(), body))


def decode(data: bytes) -> dict[str, Any]:
    """Return the snapshot that `encode` wrote; its arrays are new and writable.

    Raises:
        InvalidValue: When the bytes are not a snapshot, of another format version, cut short or altered.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise InvalidValue(f"a snapshot is bytes, which `capture` returns, not {type(data).__name__}: {data!r:.80}")
    data = bytes(data)
    if data[: len(MAGIC)] != MAGIC or len(data) < _DIGEST.stop:
        raise InvalidValue(f"these {len(data)} bytes are not a snapshot of rlteach: they start with {data[:8]!r}")
    if (version := data[len(MAGIC)]) != VERSION:
        raise InvalidValue(
            f"this snapshot has format version {version}, but this rlteach reads {VERSION}: take it again, "
            "or read it with the rlteach that wrote it"
        )
    if hashlib.sha256(memoryview(data)[_DIGEST.stop :]).digest() != data[_DIGEST]:
        raise InvalidValue("this snapshot is damaged, cut short or altered: its digest differs. Take it again")
    try:
        value, end = _READERS[data[_DIGEST.stop]](data, _DIGEST.stop + 1)
    except (IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError, struct.error) as error:
        raise InvalidValue(f"this snapshot is malformed, though its digest is right: {error}") from error
    if not isinstance(value, dict) or end != len(data):
        raise InvalidValue("this snapshot is malformed, though its digest is right: it is not one mapping")
    return value


# -- writing -----------------------------------------------------------------------------------------------------------


class _Refused(Exception):
    """A value that has no encoding; `place` grows on the way out, e.g. `['state'][0]`."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.place = ""


def _put_other(value: Any, out: _Out) -> None:
    """Write a value whose type has no writer of its own."""
    if isinstance(value, Mapping):
        _put_mapping(value, out)
    elif isinstance(value, np.generic):
        out.append(b"g")
        _put_array(np.asarray(value), out)
    else:
        raise _Refused(f"is a {type(value).__name__}; it may hold arrays, numbers, text, bytes and containers of them")


def _put_int(value: int, out: _Out) -> None:
    digits = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    out += (b"i", _COUNT.pack(len(digits)), digits)


def _put_text(value: str, out: _Out) -> None:
    out += (b"s", _key(value))


def _put_bytes(value: bytes, out: _Out) -> None:
    out += (b"b", _COUNT.pack(len(value)), value)


def _put_list(value: list[Any] | tuple[Any, ...], out: _Out) -> None:
    out += (b"l" if type(value) is list else b"t", _COUNT.pack(len(value)))
    for i, part in enumerate(value):
        try:
            _WRITERS.get(type(part), _put_other)(part, out)
        except _Refused as error:
            error.place = f"[{i}]{error.place}"
            raise


def _put_mapping(value: Mapping[Any, Any], out: _Out) -> None:
    if not _STR.issuperset(map(type, value)):
        strange = next(key for key in value if type(key) is not str)
        raise _Refused(f"has the key {strange!r}; keys must be text")
    out += (b"d", _COUNT.pack(len(value)))
    for key in sorted(value):
        out.append(_key(key))
        part = value[key]
        try:
            _WRITERS.get(type(part), _put_other)(part, out)
        except _Refused as error:
            error.place = f"[{key!r}]{error.place}"
            raise


def _put_array(value: np.ndarray, out: _Out) -> None:
    out += (_array_head(value.dtype, value.shape), value.tobytes())


@lru_cache(maxsize=1024)
def _key(text: str) -> bytes:
    data = text.encode(*_TEXT)
    return _COUNT.pack(len(data)) + data


@lru_cache(maxsize=1024)
def _array_head(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    if dtype.hasobject or dtype.kind == "V":
        raise _Refused(f"is an array of {dtype}; only numbers, booleans, times and text of fixed length have bytes")
    name = dtype.str.encode()
    head = struct.pack(f"<B{len(shape)}Q{len(name)}s", len(shape), *shape, name)
    return b"a" + _HEAD.pack(len(head)) + head


_WRITERS: dict[type, Callable[[Any, _Out], None]] = {
    type(None): lambda _, out: out.append(b"N"),
    bool: lambda value, out: out.append(b"T" if value else b"F"),
    int: _put_int,
    float: lambda value, out: out.append(b"f" + _FLOAT.pack(value)),
    complex: lambda value, out: out.append(b"c" + _COMPLEX.pack(value.real, value.imag)),
    str: _put_text,
    bytes: _put_bytes,
    list: _put_list,
    tuple: _put_list,
    dict: _put_mapping,
    np.ndarray: _put_array,
}


# -- reading -----------------------------------------------------------------------------------------------------------


def _get_chunk(data: bytes, at: int) -> tuple[bytes, int]:
    (size,) = _COUNT.unpack_from(data, at)
    end = at + 4 + size
    if end > len(data):
        raise ValueError("it ends early")
    return data[at + 4 : end], end


def _get_int(data: bytes, at: int) -> _Read:
    digits, at = _get_chunk(data, at)
    return int.from_bytes(digits, "little", signed=True), at


def _get_text(data: bytes, at: int) -> _Read:
    chunk, at = _get_chunk(data, at)
    return chunk.decode(*_TEXT), at


def _get_list(data: bytes, at: int) -> _Read:
    (count,) = _COUNT.unpack_from(data, at)
    at += 4
    values = []
    for _ in range(count):
        value, at = _READERS[data[at]](data, at + 1)
        values.append(value)
    return values, at


def _get_tuple(data: bytes, at: int) -> _Read:
    values, at = _get_list(data, at)
    return tuple(values), at


def _get_mapping(data: bytes, at: int) -> _Read:
    (count,) = _COUNT.unpack_from(data, at)
    at += 4
    mapping = {}
    for _ in range(count):
        begin = at + 4
        at = begin + _COUNT.unpack_from(data, at)[0]
        name = _name(data[begin:at])
        mapping[name], at = _READERS[data[at]](data, at + 1)  # which is behind the end when the name was cut short
    return mapping, at


@lru_cache(maxsize=1024)
def _name(key: bytes) -> str:
    return key.decode(*_TEXT)


def _get_array(data: bytes, at: int) -> _Read:
    (size,) = _HEAD.unpack_from(data, at)
    at += 2
    dtype, shape = _array_form(data[at : at + size])
    at += size
    array: np.ndarray = np.ndarray(shape, dtype, data, at).copy()
    return array, at + array.nbytes


@lru_cache(maxsize=1024)
def _array_form(head: bytes) -> tuple[np.dtype[Any], tuple[int, ...]]:
    shape = struct.unpack_from(f"<{head[0]}Q", head, 1)
    dtype = np.dtype(head[1 + 8 * len(shape) :].decode("ascii"))
    if dtype.hasobject:
        raise ValueError("it holds an array of objects")
    return dtype, shape


def _get_scalar(data: bytes, at: int) -> _Read:
    array, at = _get_array(data, at + 1)
    return array[()], at


_READERS: dict[int, Callable[[bytes, int], _Read]] = {
    ord("N"): lambda _, at: (None, at),
    ord("T"): lambda _, at: (True, at),
    ord("F"): lambda _, at: (False, at),
    ord("i"): _get_int,
    ord("f"): lambda data, at: (_FLOAT.unpack_from(data, at)[0], at + 8),
    ord("c"): lambda data, at: (complex(*_COMPLEX.unpack_from(data, at)), at + 16),
    ord("s"): _get_text,
    ord("b"): _get_chunk,
    ord("l"): _get_list,
    ord("t"): _get_tuple,
    ord("d"): _get_mapping,
    ord("a"): _get_array,
    ord("g"): _get_scalar,
}
