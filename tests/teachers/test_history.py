"""Ring buffers keep the last rows, in order, in constant memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlteach.teachers.history import History


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 7), st.integers(1, 3), st.lists(st.integers(0, 12), max_size=6))
def test_it_holds_what_the_end_of_a_growing_list_would_hold(capacity, width, batches):
    history = History(capacity, width)
    everything = np.zeros((0, width))
    for size in batches:
        rows = np.arange(size * width, dtype=np.float64).reshape(size, width) + 100 * len(everything)
        history.append(rows)
        everything = np.concatenate([everything, rows])
        assert np.array_equal(history.rows(), everything[-capacity:])
        assert len(history) == len(history.rows())
        assert history.total == len(everything)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(0, 20), st.integers(0, 9))
def test_a_loaded_history_goes_on_as_the_saved_one(capacity, before, in_the_other):
    saved, loaded = History(capacity, 2), History(capacity, 2)
    saved.append(np.arange(2.0 * before).reshape(-1, 2))
    loaded.append(-np.ones((in_the_other, 2)))
    loaded.load_state_dict(saved.state_dict())
    for step in range(2 * capacity):
        assert np.array_equal(saved.rows(), loaded.rows())
        assert saved.total == loaded.total
        for history in (saved, loaded):
            history.append([[float(step), 0.5]])


def test_an_empty_state_survives_being_written_as_plain_lists():
    history = History(3, 2)
    history.append([[1.0, 2.0]])
    history.load_state_dict({"rows": [], "total": 0})
    assert len(history) == 0 and history.rows().shape == (0, 2)


def test_neither_the_rows_nor_the_state_share_memory_with_the_buffer():
    history = History(2, 1)
    history.append([[1.0], [2.0]])
    rows, state = history.rows(), history.state_dict()
    history.append([[9.0]])
    assert rows.tolist() == state["rows"].tolist() == [[1.0], [2.0]]
    rows[:] = 0.0
    assert history.rows().tolist() == [[2.0], [9.0]]


def test_rows_of_another_width_are_refused():
    with pytest.raises(ValueError, match="reshape"):
        History(4, 2).append([[1.0, 2.0, 3.0]])
