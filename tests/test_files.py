"""Files are written whole or not at all, and states survive without pickle."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rlteach.errors import RunDirectoryError
from rlteach.files import (
    Table,
    csv_text,
    pack_state,
    read_json,
    read_rows,
    unpack_state,
    write_atomically,
    write_json,
)

plain = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=5)
)
arrays = hnp.arrays(
    st.sampled_from([np.float64, np.float32, np.int64, np.uint8, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
keys = st.one_of(st.text(max_size=4).filter(lambda key: not key.startswith("$")), st.integers(0, 9))
states = st.recursive(
    st.one_of(plain, arrays),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=8,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return set(a) == set(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=4).filter(lambda key: not key.startswith("$")), states, max_size=4))
def test_every_state_survives_packing_unchanged(state: dict[str, Any]) -> None:
    assert same(unpack_state(*pack_state(state)), state)


def test_a_state_with_something_else_in_it_is_refused() -> None:
    with pytest.raises(TypeError, match="set"):
        pack_state({"wrong": {1, 2}})


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"old": 1})
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(RunDirectoryError, match="No space left"):
        write_atomically(file, "new")
    assert json.loads(file.read_text()) == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_numpy_numbers_become_plain_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": np.float64(1.5), "y": np.arange(2)})
    assert read_json(tmp_path / "a.json") == {"x": 1.5, "y": [0, 1]}


@pytest.mark.parametrize("content", [None, "{", "\xff"])
def test_unreadable_json_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "meta.json"
    if content is not None:
        file.write_bytes(content.encode("latin-1"))
    with pytest.raises(RunDirectoryError, match=r"meta.json"):
        read_json(file)


def test_a_table_can_be_cut_back_and_continued(tmp_path: Path) -> None:
    table = Table(tmp_path / "t.csv", ["a", "b"])
    table.append([1, "x"])
    size = table.size()
    table.append([2, "y"])
    table.truncate(size)
    table.append([3, "z"])
    table.close()
    again = Table(tmp_path / "t.csv", ["a", "b"])
    again.append([4, "w"])
    again.close()
    assert [row["a"] for row in read_rows(tmp_path / "t.csv")] == ["1", "3", "4"]


def test_an_incomplete_last_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,")
    assert read_rows(tmp_path / "t.csv") == [{"a": "1", "b": "2"}]


def test_csv_text_round_trips_with_missing_values(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(csv_text([{"a": 1}, {"a": 'x,"y"', "b": 2}], ["a", "b"]))
    assert read_rows(tmp_path / "t.csv") == [{"a": "1", "b": ""}, {"a": 'x,"y"', "b": "2"}]
