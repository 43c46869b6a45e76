"""Labelled steps: none is lost, whatever the sizes."""

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rlteach.distillation.labelled import Labelled, Rollout, episode_batches, index_batches


def rollout(first, steps, rows, share=0.2, states=True):
    """Return steps whose label is their serial number, some of which begin an episode."""
    rng = np.random.default_rng(first)
    numbers = (first + np.arange(steps * rows)).reshape(steps, rows).astype(np.float32)
    starts = rng.random((steps, rows)) < share
    kept = np.repeat(numbers[:, :, None], 3, 2) if states else None
    return Rollout(np.repeat(numbers[:, :, None], 2, 2), kept, starts, numbers[:, :, None])


sizes = st.lists(st.tuples(st.integers(1, 13), st.just(4)), min_size=1, max_size=5)


def filled(shapes, states=True):
    data, first = Labelled(10**6), 0
    for steps, rows in shapes:
        data.append(rollout(first, steps, rows, states=states))
        first += steps * rows
    return data, first


@given(sizes, st.integers(1, 70))
def test_every_label_is_in_exactly_one_minibatch(shapes, batch_size):
    data, count = filled(shapes)
    flat = data.flat()
    batches = index_batches(len(flat.labels), batch_size, np.random.default_rng(0))
    assert all(0 < len(batch) <= batch_size for batch in batches)
    labels = np.concatenate([flat.labels[batch, 0] for batch in batches])
    assert sorted(labels) == list(range(count))
    assert np.array_equal(flat.observations[:, 0], flat.labels[:, 0])
    assert np.array_equal(flat.states[:, 0], flat.labels[:, 0])


@given(sizes, st.integers(1, 70))
def test_every_label_is_in_exactly_one_episode_and_episodes_are_whole(shapes, batch_size):
    data, count = filled(shapes, states=False)
    seen = []
    for batch in data.episodes(batch_size, np.random.default_rng(0)):
        for column in range(batch.mask.shape[1]):
            length = int(batch.mask[:, column].sum())
            assert batch.mask[:length, column].all()
            labels = batch.labels[:length, column, 0]
            assert np.array_equal(batch.observations[:length, column, 0], labels)
            assert (np.diff(labels) > 0).all()
            seen.extend(labels)
    assert sorted(seen) == list(range(count))


def test_an_episode_goes_on_over_rollouts():
    data = Labelled(100)
    for first in (0, 4):
        part = rollout(first, 4, 1, share=0.0, states=False)
        part.starts[0] = first == 0
        data.append(part)
    (batch,) = data.episodes(100, np.random.default_rng(0))
    assert batch.labels[:, 0, 0].tolist() == list(range(8))


def test_episodes_are_cut_where_they_start_and_where_a_stream_was_cut_off():
    starts = np.array([[False, True], [True, False], [False, False], [False, True]])
    spans = sorted(span for batch in episode_batches(starts, 2, np.random.default_rng(0)) for span in batch)
    assert spans == [(0, 0, 1), (0, 1, 4), (1, 0, 3), (1, 3, 4)]


def test_the_oldest_rollouts_are_dropped_beyond_the_capacity_but_never_the_newest():
    data = Labelled(20)
    for first in (0, 12, 24):
        data.append(rollout(first, 3, 4))
    assert len(data) == 12
    data.append(rollout(36, 30, 4))
    assert len(data) == 120


def test_rollouts_are_joined_once_after_each_and_not_for_every_pass():
    data, _ = filled([(3, 4), (5, 4)])
    first = data.flat()
    assert np.shares_memory(first.observations, data.flat().observations)
    assert all(np.shares_memory(first.labels, kept.labels) for kept in data.rollouts)
    more = rollout(32, 2, 4)
    data.append(more)
    assert data.flat().labels[:, 0].tolist() == list(range(40))
    assert not np.shares_memory(data.flat().labels, more.labels)


def test_what_was_appended_stays_as_it_was_when_rollouts_are_joined_and_dropped():
    data, mine = Labelled(20), [rollout(first, 2, 4) for first in (0, 8, 16, 24)]
    for part in mine:
        before = part.labels.copy()
        data.append(part)
        kept = [label for kept in data.rollouts for label in kept.labels.ravel()]
        assert data.flat().labels.ravel().tolist() == data.flat().observations[:, 0].tolist() == kept
        assert np.array_equal(part.labels, before)
    assert kept == list(range(16, 32))


def test_joining_holds_at_most_one_array_twice():
    tracemalloc.start()
    data = Labelled(10**6)
    for _ in range(10):
        seen, states, labels = (np.zeros((50, 8, 60), np.float32) for _ in range(3))
        data.append(Rollout(seen, states, np.zeros((50, 8), bool), labels))
        del seen, states, labels
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    for _ in range(3):
        data.flat()
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert now < 1.05 * held and peak < 1.4 * held


def test_it_goes_on_from_its_state():
    data, count = filled([(3, 4), (5, 4)])
    other = Labelled(10**6)
    other.load_state_dict(data.state_dict())
    assert len(other) == count
    assert np.array_equal(other.flat().labels, data.flat().labels)
