"""Cutting and permuting axes, against loops and as a map of the cube onto itself."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rlteach_envs.rugged import piece_orders, rearranged


def test_the_orders_are_permutations_that_depend_on_the_seed_and_never_leave_an_axis_as_it_is() -> None:
    for seed in range(50):
        orders = piece_orders(3, seed)
        assert (np.sort(orders, axis=1) == [0, 1, 2, 3]).all()
        assert not (orders == [0, 1, 2, 3]).all(axis=1).any()
        assert (orders == piece_orders(3, seed)).all()
    assert len({piece_orders(2, seed).tobytes() for seed in range(50)}) > 40


def test_a_point_moves_with_its_piece() -> None:
    orders = np.array([[2, 0, 1, 3], [3, 2, 1, 0]])
    points = np.array([[0.05, 0.05], [0.30, 0.30], [0.99, 0.60], [0.5 + 1e-9, 0.75 - 1e-9], [0.0, 1.0]])
    moved = np.array([[0.55, 0.80], [0.05, 0.55], [0.99, 0.35], [0.25, 0.5], [0.5, 0.25]])
    assert np.allclose(rearranged(points, orders), moved, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(arrays(np.float64, (20, 3), elements=st.floats(0, 1)), st.integers(0, 1000))
def test_there_and_back_is_where_one_was_whatever_the_rounding(points: np.ndarray, seed: int) -> None:
    orders = piece_orders(3, seed)
    there = rearranged(points, orders)
    assert (there > 0).all() and (there < 1).all()
    for stored in (there, there.astype(np.float32).astype(np.float64)):
        assert np.allclose(rearranged(stored, np.argsort(orders, axis=1)), points, atol=1e-6)
