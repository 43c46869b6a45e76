"""Snapshots as bytes: everything comes back bit by bit, equal content gives equal bytes, damage is refused."""

import hashlib
import struct
import sys
import time
from collections import OrderedDict
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rlteach.errors import InvalidValue, UserError
from rlteach.snapshots.encoding import MAGIC, decode, encode

HEAD = len(MAGIC) + 1 + 32

DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
    hnp.complex_number_dtypes(),
    hnp.unicode_string_dtypes(max_len=5),
    hnp.datetime64_dtypes(),
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.text(), st.binary(), ARRAYS
)
VALUES = st.recursive(
    ATOMS,
    lambda parts: st.one_of(
        st.lists(parts, max_size=4), st.tuples(parts, parts), st.dictionaries(st.text(), parts, max_size=4)
    ),
    max_leaves=12,
)
SNAPSHOTS = st.dictionaries(st.text(), VALUES, max_size=5)


def same(first, second):
    """Tell whether two values are equal in type and in every bit."""
    if type(first) is not type(second):
        return False
    if isinstance(first, np.ndarray | np.generic):
        return (first.dtype, first.shape) == (second.dtype, second.shape) and first.tobytes() == second.tobytes()
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, float):
        return struct.pack("d", first) == struct.pack("d", second)
    if isinstance(first, complex):
        return same(first.real, second.real) and same(first.imag, second.imag)
    return first == second


def sealed(body, version=1):
    """Return a body with the head that makes its digest right, made without the code under test."""
    return MAGIC + bytes([version]) + hashlib.sha256(body).digest() + body


@settings(deadline=None, max_examples=100)
@given(SNAPSHOTS)
def test_everything_comes_back_bit_by_bit(snapshot):
    assert same(decode(encode(snapshot)), snapshot)


@settings(deadline=None)
@given(SNAPSHOTS)
def test_equal_content_gives_equal_bytes_in_whatever_order_it_was_put_together(snapshot):
    backwards = dict(reversed(list(snapshot.items())))
    assert encode(backwards) == encode(snapshot)
    assert encode(decode(encode(snapshot))) == encode(snapshot)


@given(st.lists(st.booleans() | st.integers(-2, 2) | st.floats(-2, 2), min_size=2, max_size=2))
def test_values_of_different_type_or_sign_give_different_bytes(pair):
    first, second = pair
    assert (encode({"x": first}) == encode({"x": second})) == same(first, second)


def test_generator_states_come_back_with_their_128_bits():
    for bits in (np.random.PCG64(7), np.random.MT19937(7), np.random.Philox(7), np.random.SFC64(7)):
        state = decode(encode(bits.state))
        other = type(bits)(0)
        other.state = state
        assert np.random.Generator(other).random() == np.random.Generator(bits).random()


@pytest.mark.parametrize("number", [0, -1, 127, 128, -128, -129, 255, 256, 2**127, -(2**127), 10**1000])
def test_integers_of_any_size_come_back(number):
    assert decode(encode({"n": number})) == {"n": number}


@pytest.mark.parametrize("kind", [OrderedDict, MappingProxyType])
def test_any_mapping_is_written_and_read_as_a_dict(kind):
    assert decode(encode(kind({"a": kind({"b": 1})}))) == {"a": {"b": 1}}


def test_numpy_scalars_keep_their_type():
    values = [np.float64(0.1), np.float32(0.1), np.int8(-3), np.bool_(True), np.str_("a")]
    assert same(decode(encode({"v": values}))["v"], values)


def test_arrays_come_back_writable_and_apart_from_the_bytes():
    data = encode({"a": np.arange(3.0)[::-1], "b": np.asfortranarray(np.arange(6).reshape(2, 3))})
    first = decode(data)
    first["a"][:] = -1
    np.testing.assert_array_equal(decode(data)["a"], [2.0, 1.0, 0.0])
    np.testing.assert_array_equal(first["b"], [[0, 1, 2], [3, 4, 5]])


# -- what is refused ---------------------------------------------------------------------------------------------------


class Number(int):
    pass


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (object(), "is a object"),
        ({1, 2}, "is a set"),
        (Number(3), "is a Number"),
        (np.array([None]), "array of object"),
        (np.zeros(2, dtype=[("x", "f8")]), "array of"),
        (np.ma.masked_array([1.0]), "MaskedArray"),
        ({3: "x"}, "has the key 3"),
    ],
)
def test_what_has_no_bytes_is_refused_with_its_place(value, complaint):
    with pytest.raises(InvalidValue) as caught:
        encode({"deep": [0, (1, {"here": value})]})
    assert "snapshot['deep'][1][1]['here']" in str(caught.value) and complaint in str(caught.value)


def test_a_snapshot_that_contains_itself_is_refused():
    loop = {}
    loop["again"] = loop
    with pytest.raises(InvalidValue, match="contain itself"):
        encode(loop)


def test_only_a_mapping_is_a_snapshot():
    with pytest.raises(InvalidValue, match="a snapshot is a mapping, not list"):
        encode([1])


def test_every_flipped_byte_and_every_cut_is_refused():
    data = encode({"a": np.arange(3.0), "b": "text", "c": [1, None, 2.5], "d": True})
    for i in range(len(data)):
        with pytest.raises(UserError):
            decode(data[:i] + bytes([data[i] ^ 0x20]) + data[i + 1 :])
        with pytest.raises(UserError):
            decode(data[:i])
    with pytest.raises(UserError, match="damaged"):
        decode(data + b"\0")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04" + bytes(99), b"\x80\x04." * 30])
def test_foreign_bytes_are_refused(data):
    with pytest.raises(InvalidValue, match="not a snapshot of rlteach"):
        decode(data)


def test_another_format_version_is_named():
    data = encode({"a": 1})
    with pytest.raises(InvalidValue, match="format version 9, but this rlteach reads 1"):
        decode(sealed(data[HEAD:], version=9))


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 255))
def test_a_forged_body_with_the_right_digest_is_refused_or_plain(noise, place, byte):
    body = bytearray(encode({"a": np.arange(3.0), "b": [1, (2.0, "x")], "c": np.float32(1)})[HEAD:])
    body[place % len(body)] = byte
    for forged in (noise, bytes(body)):
        try:
            value = decode(sealed(forged))
        except InvalidValue:
            continue
        assert type(value) is dict


def test_a_forged_array_of_objects_or_of_enormous_size_is_refused():
    for dtype, size in ((b"|O", 1), (b"<f8", 2**40), (b"<f8", 2**63)):
        head = struct.pack(f"<BQ{len(dtype)}s", 1, size, dtype)
        body = b"d" + struct.pack("<I", 1) + struct.pack("<I", 1) + b"x" + b"a" + struct.pack("<H", len(head)) + head
        with pytest.raises(InvalidValue, match="malformed"):
            decode(sealed(body + bytes(64)))


def test_forged_nesting_beyond_the_stack_is_refused():
    deep = (b"l" + struct.pack("<I", 1)) * (2 * sys.getrecursionlimit()) + b"N"
    with pytest.raises(InvalidValue, match="malformed"):
        decode(sealed(b"d" + struct.pack("<II", 1, 1) + b"x" + deep))


def test_a_snapshot_of_the_size_of_hoppers_takes_microseconds():
    generator = np.random.default_rng(0).bit_generator.state
    attributes = [{f"_attribute_{i}": float(i) for i in range(12)} | {"init": np.zeros(6), "generator": generator}]
    snapshot = {"observation": np.zeros(11), "integration": np.zeros(58), "xpos": np.zeros((5, 3)), "a": attributes}
    data = encode(snapshot)
    seconds = []
    for _ in range(50):
        begun = time.process_time()
        for _ in range(10):
            decode(data)
            encode(snapshot)
        seconds.append((time.process_time() - begun) / 10)
    assert min(seconds) < 400e-6  # about 60e-6 on an idle core
