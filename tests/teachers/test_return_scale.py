"""The fast paths of the return scale give, bit for bit, what numpy's own functions give."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rlteach.teachers.base import ReturnScale, clipped, quantile

NUMBERS = st.floats(-1e300, 1e300) | st.integers(-2, 2).map(float)


@settings(max_examples=150, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=80), st.sampled_from([0.0, 0.05, 0.3, 0.5, 0.95, 1.0]))
def test_a_quantile_is_that_of_numpy(values, share):
    assert quantile(np.sort(values), share) == np.quantile(values, share)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(allow_nan=False), max_size=10))
def test_clipping_is_that_of_numpy(values):
    assert np.array_equal(clipped(np.array(values), -1.0, 2.0), np.clip(np.array(values), -1.0, 2.0))


def test_bounds_follow_the_last_thousand_returns_at_every_moment():
    scale, rng, seen = ReturnScale(None), np.random.default_rng(0), []
    for size in [1, 1, 2, 64, 500, 64, 1, 700, 1, 1]:
        new = rng.standard_cauchy(size)
        scale.see(new)
        seen += new.tolist()
        expected = np.quantile(seen[-1000:], [0.05, 0.95])
        if len(seen) > 1:
            assert scale.bounds() == tuple(expected) == scale.bounds()


def test_bounds_are_those_of_the_state_that_was_loaded():
    scale, other = ReturnScale(None), ReturnScale(None)
    scale.see(np.arange(100.0))
    other.see(np.array([-5.0, 5.0]))
    assert other.bounds() != scale.bounds()
    other.load_state_dict(scale.state_dict())
    assert other.bounds() == scale.bounds()
