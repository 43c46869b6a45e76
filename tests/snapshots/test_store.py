"""Snapshot stores: bounded, content-addressed, of one environment, and whole on disk whatever happens."""

import copy
import errno
import hashlib
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlteach.errors import InvalidValue, RunDirectoryError
from rlteach.files import pack_state, unpack_state
from rlteach.snapshots.encoding import encode
from rlteach.snapshots.restorable import restorable
from rlteach.snapshots.store import FILE_SIZE, INDEX, Record, SnapshotStore, most_crowded

MAZE = "rlteach_envs:rlteach/GoalMaze-v0"


@pytest.fixture(scope="module")
def maze():
    return gymnasium.make(MAZE, layout="corridor-12")


def snapshot_of(number, size=4):
    return {"position": np.full(size, float(number)), "generator": {"state": 2**100 + number}, "clock": number}


def claimed(env, capacity=100, directory=None):
    store = SnapshotStore(capacity, directory)
    store.claim(env)
    return store


def filled(env, count=6, capacity=100, directory=None, size=4):
    store = claimed(env, capacity, directory)
    for number in range(count):
        store.add(
            snapshot_of(number, size),
            episode=number // 3,
            step=10 * (number % 3),
            remaining=20 - 10 * (number % 3),
            ret=0.1 * number,
            success=[1.0, 0.0, math.nan][number % 3],
            value=math.nan if number == 0 else 1 / 3,
            to_go=0.1,
        )
    store.costs["collection"] = 1234
    return store


def same_snapshot(a, b):
    return encode(a) == encode(b)


def same_store(a, b):
    return (
        [repr(record) for record in a.records] == [repr(record) for record in b.records]  # nan is nan here
        and (a.capacity, a.environment, a.fingerprint, a.costs, a.dropped)
        == (b.capacity, b.environment, b.fingerprint, b.costs, b.dropped)
        and all(same_snapshot(a.snapshot(index), b.snapshot(index)) for index in range(len(a)))
    )


# -- what a store holds --------------------------------------------------------------------------------------------


def test_a_record_is_found_under_the_digest_of_its_encoded_snapshot(maze):
    store = claimed(maze)
    record = store.add(snapshot_of(3), episode=2, step=10, remaining=5, ret=1.5, success=1.0, value=0.5, to_go=0.25)
    assert record == Record(hashlib.sha256(encode(snapshot_of(3))).hexdigest(), 2, 10, 5, 1.5, 1.0, 0.5, 0.25)
    assert list(store.records) == [record] and len(store) == 1
    assert same_snapshot(store.snapshot(0), snapshot_of(3))


def test_equal_snapshots_share_one_payload_until_the_last_record_of_them_is_gone(maze):
    store = claimed(maze, capacity=3)
    for episode in range(3):
        store.add(snapshot_of(7), episode=episode, step=0, remaining=5, ret=0.0)
    assert len({record.key for record in store.records}) == 1
    assert len(store.state_dict()["payloads"]) == len(encode(snapshot_of(7)))
    for episode in range(3, 6):
        store.add(snapshot_of(8), episode=episode, step=0, remaining=5, ret=0.0)
        assert len(store.state_dict()["keys"]) == (2 if episode < 5 else 1)


def test_what_a_user_does_to_a_snapshot_does_not_reach_the_store(maze):
    store = filled(maze)
    store.snapshot(1)["position"][:] = 99.0
    assert same_snapshot(store.snapshot(1), snapshot_of(1))


def test_there_is_no_snapshot_beyond_the_last(maze):
    with pytest.raises(IndexError):
        filled(maze).snapshot(6)


def test_trajectories_list_their_records_in_order_of_step(maze):
    store = claimed(maze)
    for episode, step in [(4, 20), (1, 0), (4, 0), (1, 10), (4, 10)]:
        store.add(snapshot_of(step), episode=episode, step=step, remaining=0, ret=0.0)
    assert store.episodes() == {4: [2, 4, 0], 1: [1, 3]}
    assert list(store.episodes()) == [4, 1]
    assert store.next_episode == 5 and SnapshotStore().next_episode == 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"episode": -1}, "episode = -1"),
        ({"step": -2}, "step = -2"),
        ({"remaining": -3}, "remaining = -3"),
        ({"ret": math.nan}, "ret = nan"),
        ({"to_go": math.inf}, "to_go = inf"),
        ({"value": -math.inf}, "value = -inf"),
    ],
)
def test_records_that_cannot_be_true_are_refused(maze, wrong, told):
    store = claimed(maze)
    with pytest.raises(InvalidValue, match=told):
        store.add(snapshot_of(0), **{"episode": 0, "step": 0, "remaining": 1, "ret": 0.0, **wrong})
    assert len(store) == 0 and store.state_dict()["keys"] == []


def test_a_snapshot_that_cannot_be_encoded_is_refused(maze):
    with pytest.raises(InvalidValue, match="'what'"):
        claimed(maze).add({"what": object()}, episode=0, step=0, remaining=1, ret=0.0)


# -- whose snapshots they are --------------------------------------------------------------------------------------


def test_nothing_is_added_before_somebody_says_whose_it_is():
    with pytest.raises(InvalidValue, match=r"store\.claim\(env\)"):
        SnapshotStore().add(snapshot_of(0), episode=0, step=0, remaining=1, ret=0.0)


def test_another_environment_is_refused_by_name_and_told_what_to_do(maze):
    store = filled(maze)
    other = gymnasium.make(MAZE, layout="corridor-14")
    for refused in (store.claim, store.check_env):
        with pytest.raises(InvalidValue) as caught:
            refused(other)
        message = str(caught.value)
        assert "corridor-12" in message and "corridor-14" in message and "collect(env, policy" in message
        assert store.fingerprint in message
    store.check_env(gymnasium.make(MAZE, layout="corridor-12"))


def test_an_empty_store_suits_no_environment_and_says_how_to_fill_it(maze):
    with pytest.raises(InvalidValue, match=r"collect\(env, policy, store\)"):
        SnapshotStore().check_env(maze)


def test_merging_numbers_trajectories_anew_and_adds_costs(maze):
    ours, theirs = filled(maze), filled(maze)
    theirs.costs = {"collection": 1, "expert": 500}
    ours.merge(theirs)
    assert [record.episode for record in ours.records] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert ours.costs == {"collection": 1235, "expert": 500}
    assert all(same_snapshot(ours.snapshot(index), snapshot_of(index % 6)) for index in range(12))
    assert len(ours.state_dict()["keys"]) == 6


def test_another_environments_store_is_not_merged_nor_loaded(maze):
    store = filled(maze)
    other = filled(gymnasium.make(MAZE, layout="corridor-14"))
    with pytest.raises(InvalidValue, match="corridor-14"):
        store.merge(other)
    with pytest.raises(InvalidValue, match="corridor-14"):
        store.load_state_dict(other.state_dict())
    assert same_store(store, filled(maze))


def test_merging_into_an_empty_store_takes_over_the_environment(maze):
    store = SnapshotStore()
    store.merge(filled(maze))
    store.check_env(maze)
    assert len(store) == 6


# -- the bound -----------------------------------------------------------------------------------------------------


def test_the_oldest_trajectories_go_first_and_as_a_whole(maze):
    store = filled(maze, count=9, capacity=9)
    store.add(snapshot_of(50), episode=3, step=0, remaining=1, ret=0.0)
    assert [record.episode for record in store.records] == [1, 1, 1, 2, 2, 2, 3]
    assert store.dropped == 3


@pytest.mark.parametrize("capacity", [2, 3, 10, 17])
def test_a_trajectory_that_is_too_long_is_thinned_out_evenly(maze, capacity):
    store = claimed(maze, capacity)
    for step in range(0, 1000, 2):
        store.add(snapshot_of(step), episode=0, step=step, remaining=1000 - step, ret=0.0)
        assert len(store) <= capacity
    steps = [record.step for record in store.records]
    gaps = np.diff(steps)
    assert steps[0] == 0 and steps[-1] == 998 and len(steps) == capacity
    assert gaps.max() <= 2 * 998 / (capacity - 1)  # the smallest sum of two gaps is no more than their mean


@given(st.lists(st.integers(0, 30), min_size=3, max_size=12))
def test_the_most_crowded_step_is_the_one_whose_loss_leaves_the_smallest_gap(steps):
    place = most_crowded(steps)
    left = sorted(steps[:place] + steps[place + 1 :])
    ordered = sorted(steps)
    assert (left[0], left[-1]) == (ordered[0], ordered[-1])
    smallest = min(after - before for before, after in zip(ordered, ordered[2:], strict=False))
    assert any(
        ordered[i] == steps[place] and ordered[i + 1] - ordered[i - 1] == smallest for i in range(1, len(steps) - 1)
    )


@pytest.mark.parametrize("capacity", [-1, 0, 1])
def test_a_store_needs_room_for_the_ends_of_a_trajectory(capacity):
    with pytest.raises(InvalidValue, match="at least 2"):
        SnapshotStore(capacity)


def test_trajectories_that_alternate_stay_within_the_bound(maze):
    store = claimed(maze, capacity=5)
    for number in range(40):
        store.add(snapshot_of(number), episode=number % 3, step=number, remaining=0, ret=0.0)
        assert len(store) <= 5 and store.records[-1].step == number


# -- any sequence of additions -------------------------------------------------------------------------------------

additions = st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=40)
"""Of each addition: which snapshot it is (so that some are equal), and whether it begins a new trajectory."""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(added=additions, capacity=st.integers(2, 12), on_disk=st.booleans())
def test_after_any_additions_a_store_is_bounded_ordered_true_and_survives_the_disk(
    maze, tmp_path, added, capacity, on_disk
):
    store = claimed(maze, capacity, tmp_path / "payloads" if on_disk else None)
    given_records, given_snapshots = [], []
    episode, step = 0, 0
    for number, begins in added:
        episode, step = (episode + 1, 0) if begins else (episode, step + 3)
        given_snapshots.append(snapshot_of(number))
        given_records.append(
            store.add(snapshot_of(number), episode=episode, step=step, remaining=1, ret=float(number), to_go=0.5)
        )
        assert len(store) <= capacity
    assert store.dropped == len(added) - len(store)

    places, start = [], 0
    for record in store.records:  # a subsequence of what was added, in the same order
        start = next(i for i in range(start, len(given_records)) if given_records[i] is record) + 1
        places.append(start - 1)
    assert all(same_snapshot(store.snapshot(i), given_snapshots[place]) for i, place in enumerate(places))
    assert set(store.state_dict()["keys"]) == {record.key for record in store.records}

    kept = [record.episode for record in store.records]
    for number in set(kept) - {episode}:  # whole, unless it had to be thinned out while it was alone
        length = sum(record.episode == number for record in given_records)
        assert kept.count(number) == min(length, capacity)
    assert set(kept) == set(range(min(kept, default=0), episode + 1)) or not added or kept[0] == 0

    shutil.rmtree(tmp_path / "store", ignore_errors=True)
    store.save(tmp_path / "store")
    assert same_store(SnapshotStore.load(tmp_path / "store"), store)
    assert same_store(SnapshotStore.load(tmp_path / "store", directory=tmp_path / "payloads"), store)
    resumed = SnapshotStore(50, tmp_path / "payloads" if on_disk else None)
    resumed.load_state_dict(unpack_state(*pack_state(store.state_dict())))
    assert same_store(resumed, store)


def test_a_resumed_store_goes_on_as_the_first_one(maze):
    store = filled(maze, count=8, capacity=9)
    resumed = SnapshotStore()
    resumed.load_state_dict(unpack_state(*pack_state(store.state_dict())))
    for both in (store, resumed):
        for number in range(100, 104):
            both.add(snapshot_of(number), episode=both.next_episode, step=0, remaining=3, ret=0.0)
    assert same_store(resumed, store)
    assert pack_state(resumed.state_dict()) == pack_state(store.state_dict())


def test_a_state_does_not_change_when_the_store_grows(maze):
    store = filled(maze)
    state = store.state_dict()
    before = pack_state(state)
    store.costs["collection"] = 1
    store.add(snapshot_of(9), episode=9, step=0, remaining=3, ret=0.0)
    assert pack_state(state) == before


SPOILT = {
    "a payload": lambda state: state["payloads"].__setitem__(60, state["payloads"][60] ^ 1),
    "its size": lambda state: state["sizes"].__setitem__(1, state["sizes"][1] - 1),
    "a key": lambda state: state["keys"].pop(),
    "another's key": lambda state: state["keys"].reverse(),
    "a record": lambda state: state["records"]["step"].resize(2, refcheck=False),
    "a column": lambda state: state["records"].pop("ret"),
    "costs": lambda state: state["costs"].update(expert="many"),
}


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("what", SPOILT)
def test_a_state_that_is_damaged_leaves_what_was_there(maze, tmp_path, what, on_disk):
    state = unpack_state(*pack_state(filled(maze, count=9).state_dict()))
    SPOILT[what](state)
    store = filled(maze, count=4, directory=tmp_path if on_disk else None)
    with pytest.raises((InvalidValue, ValueError, KeyError)):
        store.load_state_dict(state)
    assert same_store(store, filled(maze, count=4))
    store.add(snapshot_of(50), episode=9, step=0, remaining=1, ret=0.0)
    assert same_snapshot(store.snapshot(4), snapshot_of(50))


def test_a_state_for_which_there_is_no_room_leaves_what_was_there(maze, tmp_path, monkeypatch):
    state = filled(maze, count=9).state_dict()
    store = filled(maze, count=4, directory=tmp_path)
    write = os.pwrite

    def full_after(count):
        left = iter(range(count))

        def pwrite(*args):
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(*args)

        return pwrite

    for count in range(9):
        monkeypatch.setattr(os, "pwrite", full_after(count))
        with pytest.raises(RunDirectoryError, match="No space left"):
            store.load_state_dict(state)
        assert same_store(store, filled(maze, count=4))
    monkeypatch.setattr(os, "pwrite", full_after(9))
    store.load_state_dict(state)
    assert same_store(store, filled(maze, count=9))


# -- engines ---------------------------------------------------------------------------------------------------------


def hopper_store():
    mujoco = pytest.importorskip("mujoco")
    return mujoco, filled(restorable(gymnasium.make("Hopper-v5")))


def test_another_version_of_the_engine_is_refused_wherever_a_store_comes_from(tmp_path, monkeypatch):
    mujoco, store = hopper_store()
    store.save(tmp_path)
    version, state = mujoco.__version__, store.state_dict()
    monkeypatch.setattr(mujoco, "__version__", "9.9")
    here = filled(restorable(gymnasium.make("Hopper-v5")), count=2)
    told = rf"under mujoco {version}, and here is mujoco 9\.9.*collect again"
    with pytest.raises(InvalidValue, match=told):
        SnapshotStore.load(tmp_path).check_env(restorable(gymnasium.make("Hopper-v5")))
    for refused in (lambda: store.claim(restorable(gymnasium.make("Hopper-v5"))), lambda: store.merge(here)):
        with pytest.raises(InvalidValue, match=told):
            refused()
    with pytest.raises(InvalidValue, match=r"under mujoco 9\.9, and here is"):
        here.load_state_dict(state)
    assert len(here) == 2


def test_a_store_that_does_not_tell_its_engine_is_read_all_the_same(tmp_path):
    _, store = hopper_store()
    store.engines = {}
    store.save(tmp_path)
    body = json.loads((tmp_path / INDEX).read_text())
    del body["store"]["engines"]
    text = json.dumps(body["store"], separators=(",", ":"))
    (tmp_path / INDEX).write_text(json.dumps({**body, "sha256": hashlib.sha256(text.encode()).hexdigest()}))
    SnapshotStore.load(tmp_path).check_env(restorable(gymnasium.make("Hopper-v5")))
    state = store.state_dict()
    del state["engines"]
    store.load_state_dict(state)
    assert len(store) == 6


# -- payloads on disk ----------------------------------------------------------------------------------------------


def test_payloads_on_disk_leave_no_file_behind_and_hold_the_same(maze, tmp_path):
    store = filled(maze, directory=tmp_path / "deep" / "payloads")
    assert list((tmp_path / "deep" / "payloads").iterdir()) == []
    assert same_store(store, filled(maze))


def test_a_file_of_payloads_does_not_grow_with_what_was_dropped(maze, tmp_path):
    store = claimed(maze, 4, tmp_path)
    for number in range(400):
        store.add(snapshot_of(number, 4000), episode=number, step=0, remaining=1, ret=0.0)
    size = os.fstat(store._payloads._file._file.fileno()).st_size
    assert 4 * 32_000 < size < 2 * 2**20
    assert all(same_snapshot(store.snapshot(i), snapshot_of(396 + i, 4000)) for i in range(4))


def test_a_store_whose_payloads_are_on_disk_is_not_copied_in_passing(maze, tmp_path):
    with pytest.raises(TypeError):
        copy.deepcopy(filled(maze, directory=tmp_path))
    assert same_store(copy.deepcopy(filled(maze)), filled(maze))


def test_a_place_where_no_payloads_can_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match="another directory, or none"):
        SnapshotStore(10, tmp_path / "file")


# -- files ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(maze, tmp_path):
    home = tmp_path / "store"
    filled(maze).save(home)
    return home


def payload_file(home):
    (path,) = home.glob("payloads-*.bin")
    return path


def test_the_index_can_be_read_without_rlteach(saved):
    """Only json and hashlib, from what the module's docstring says."""
    index = json.loads((saved / INDEX).read_text(), parse_constant=pytest.fail)
    assert index["schema"] == 1
    store = index["store"]
    assert store["environment"].startswith('rlteach/GoalMaze-v0, version 0, arguments {"layout": "corridor-12"}')
    assert store["engines"] == {}
    assert store["costs"] == {"collection": 1234}
    assert store["records"]["step"] == [0, 10, 20, 0, 10, 20]
    assert store["records"]["success"] == [1.0, 0.0, None, 1.0, 0.0, None]
    (file,) = store["files"]
    data = payload_file(saved).read_bytes()
    assert hashlib.sha256(data).hexdigest() == file["sha256"]
    ends = list(itertools.accumulate(file["sizes"], initial=0))
    digests = [hashlib.sha256(data[a:b]).hexdigest() for a, b in itertools.pairwise(ends)]
    assert digests == file["keys"] == store["records"]["key"]


def test_saving_again_leaves_only_what_the_new_store_needs(maze, saved):
    old = payload_file(saved)
    store = filled(maze, count=12)
    store.save(saved)
    assert payload_file(saved) != old
    assert same_store(SnapshotStore.load(saved), store)


def test_an_empty_store_survives_too(tmp_path):
    SnapshotStore(7).save(tmp_path)
    loaded = SnapshotStore.load(tmp_path)
    assert len(loaded) == 0 and loaded.capacity == 7 and loaded.fingerprint == ""


def test_a_large_store_is_split_and_what_did_not_change_is_not_written_again(maze, tmp_path):
    size = FILE_SIZE // 8 // 3
    store = filled(maze, count=7, size=size)
    store.save(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("payloads-*.bin")}
    assert len(before) == 4
    store.add(snapshot_of(99, size), episode=9, step=0, remaining=1, ret=0.0)
    store.save(tmp_path)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.glob("payloads-*.bin")}
    assert len(after) == 4 and len(before.items() & after.items()) == 3
    assert same_store(SnapshotStore.load(tmp_path), store)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), index=st.booleans())
def test_any_bit_that_flips_is_noticed(maze, saved, where, bit, index):
    path = saved / INDEX if index else payload_file(saved)
    whole = path.read_bytes()
    place = int(where * len(whole))
    try:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :])
        with pytest.raises(RunDirectoryError, match=path.name):
            SnapshotStore.load(saved)
    finally:
        path.write_bytes(whole)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True), index=st.booleans())
def test_a_file_that_was_cut_short_is_noticed(saved, share, index):
    path = saved / INDEX if index else payload_file(saved)
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(RunDirectoryError, match=path.name):
            SnapshotStore.load(saved)
    finally:
        path.write_bytes(whole)


def test_missing_files_are_told_apart_with_what_to_do(saved, tmp_path):
    path = payload_file(saved)
    path.unlink()
    with pytest.raises(RunDirectoryError, match=rf"{path.name} is missing or damaged.*collect the snapshots anew"):
        SnapshotStore.load(saved)
    with pytest.raises(RunDirectoryError, match=r"there is no snapshot store at .*nowhere.*SnapshotStore\.save"):
        SnapshotStore.load(tmp_path / "nowhere")


@pytest.mark.parametrize("index", ['{"schema": 2, "store": {}}', "[]", '{"store": {}}'])
def test_another_schema_is_refused(saved, index):
    (saved / INDEX).write_text(index)
    with pytest.raises(RunDirectoryError, match=r"another version of rlteach .*collect the snapshots anew"):
        SnapshotStore.load(saved)


@pytest.mark.parametrize("spoil", [lambda s: s.pop("files"), lambda s: s["files"].clear(), lambda s: s.pop("records")])
def test_an_index_with_a_true_digest_over_something_else_is_refused(saved, spoil):
    index = json.loads((saved / INDEX).read_text())
    spoil(index["store"])
    text = json.dumps(index["store"], separators=(",", ":"))
    index["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (saved / INDEX).write_text(json.dumps(index))
    with pytest.raises(RunDirectoryError, match="do not fit together"):
        SnapshotStore.load(saved)


FULL_DISK = """
import resource, sys
import numpy as np
from rlteach.errors import RunDirectoryError
from rlteach.snapshots.store import SnapshotStore

def fill(store, size, count):
    for number in range(count):
        store.add({"x": np.full(size, 1.0)}, episode=100 + number, step=0, remaining=1, ret=0.0)

payloads = SnapshotStore.load(sys.argv[1])
fill(payloads, 10_000, 1)
index = SnapshotStore.load(sys.argv[1])
fill(index, 1, 80)
used = SnapshotStore.load(sys.argv[1], directory=sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
for attempt in (lambda: payloads.save(sys.argv[1]), lambda: index.save(sys.argv[1]), lambda: fill(used, 10_000, 1)):
    try:
        attempt()
    except RunDirectoryError as error:
        print(error)
print(len(used), len(used.state_dict()["keys"]))
"""


def test_a_full_disk_leaves_the_old_store_whole(maze, saved, tmp_path):
    lines = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(saved), str(tmp_path / "payloads")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == [
        f"cannot write {payload_file_named(lines[0])}",
        f"cannot write {saved / INDEX}",
    ]
    assert lines[2].startswith(f"cannot keep snapshots in {tmp_path / 'payloads'}: File too large")
    assert lines[3] == "6 6"
    assert same_store(SnapshotStore.load(saved), filled(maze))
    filled(maze, count=9).save(saved)
    assert same_store(SnapshotStore.load(saved), filled(maze, count=9))
    assert len(list(saved.iterdir())) == 2


@pytest.mark.parametrize(("before", "after"), [(6, 12), (12, 6)])
def test_a_disk_that_fills_up_at_any_moment_leaves_one_store_or_the_other(maze, tmp_path, monkeypatch, before, after):
    monkeypatch.setattr("rlteach.snapshots.store.FILE_SIZE", 2000)  # two snapshots of 100 numbers
    old, new = (filled(maze, count=count, size=100) for count in (before, after))
    calls = {"open": Path.open, "replace": Path.replace, "fsync": os.fsync}
    home, reached = tmp_path / "store", []

    def failing(name, left):
        def call(*args, **kwargs):
            reached.append(name)
            if len(reached) > left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return calls[name](*args, **kwargs)

        return call

    old.save(home)
    for left in itertools.count():
        reached.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", failing("open", left))
            patch.setattr(Path, "replace", failing("replace", left))
            patch.setattr(os, "fsync", failing("fsync", left))
            try:
                new.save(home)
            except RunDirectoryError as error:
                assert "No space left" in str(error)
                saved = False
            else:
                saved = True
        assert same_store(SnapshotStore.load(home), new if saved else old)
        if len(reached) <= left:
            break
        (home / f".{INDEX}.1.tmp").write_text("what somebody left who was killed")
        old.save(home)
        assert len(list(home.iterdir())) == 1 + len(list(old._parts()))
    assert saved and left >= after


def payload_file_named(line):
    path = line.removeprefix("cannot write ").split(":")[0]
    assert "payloads-" in path
    return path


def test_a_directory_that_cannot_be_made_is_told(maze, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match="cannot write snapshots to"):
        filled(maze).save(tmp_path / "file" / "store")


def test_a_process_killed_while_it_saves_leaves_one_store_or_the_other(maze, tmp_path):
    small, large = filled(maze), filled(maze, count=60)
    small.save(tmp_path)
    rng = np.random.default_rng(0)
    met, deaths = set(), 0
    while deaths < 25 or (len(met) < 2 and deaths < 500):  # a busy machine may not let a child get far
        child = os.fork()
        if child == 0:
            for store in itertools.cycle([large, small]):
                store.save(tmp_path)
        time.sleep(rng.uniform(0.001, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        loaded = SnapshotStore.load(tmp_path)
        assert same_store(loaded, small if len(loaded) == len(small) else large)
        met.add(len(loaded))
        deaths += 1
    assert met == {6, 60}
