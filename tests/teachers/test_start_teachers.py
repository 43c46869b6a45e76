"""Every start-state teacher keeps the promises of the protocol, whatever it observes."""

import math
import warnings

import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.wrappers import TimeLimit
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.vec_env import DummyVecEnv

from rlteach.delivery import LessonEnv, attach
from rlteach.errors import ConfigError, InvalidValue
from rlteach.files import pack_state, unpack_state
from rlteach.lesson import Lesson, Outcome, Start
from rlteach.protocols import Teacher
from rlteach.snapshots.store import SnapshotStore
from rlteach.teachers import start_base
from rlteach.teachers.backward import Backward
from rlteach.teachers.base import MAX_WAITING
from rlteach.teachers.compose import Compose
from rlteach.teachers.go_explore import GoExplore
from rlteach.teachers.jump_start import JumpStart
from rlteach.teachers.reference_states import ReferenceStates
from rlteach.teachers.reverse_curriculum import ReverseCurriculum
from rlteach.teachers.rfcl import RFCL
from rlteach.teachers.s3rl import S3RL
from rlteach.teachers.start_base import ORDINARY, SnapshotPool, SnapshotTeacher, demonstrations, reached
from rlteach.teachers.starts_as_tasks import StartsAsTasks
from rlteach.teachers.uniform import Uniform
from rlteach.teachers.uniform_starts import UniformStarts
from tests.teachers.chain import LENGTH, Chain, chain_store, explorer, filled, straight

STORE = chain_store(episodes=3, every=2)

MAKERS = {
    "s3rl": lambda seed, store=STORE: S3RL(store, seed=seed, until=50_000),
    "uniform_starts": lambda seed, store=STORE: UniformStarts(store, share=0.7, seed=seed),
    "reference_states": lambda seed, store=STORE: ReferenceStates(store, ordinary=0.1, seed=seed),
    "backward": lambda seed, store=STORE: Backward(store, recent=4, seed=seed),
    "reverse_curriculum": lambda seed, store=STORE: ReverseCurriculum(
        store, explorer(), new=4, old=2, tries=1, walk=10, seed=seed
    ),
    "go_explore": lambda seed, store=STORE: GoExplore(
        store, explorer(), walk=6, every=2, first_walks=2, max_cells=6, seed=seed
    ),
    "jump_start": lambda seed: JumpStart(straight, LENGTH, window=3, ordinary=0.2, seed=seed),
    "jump_start_random": lambda seed: JumpStart(straight, LENGTH, variant="random", seed=seed),
    "rfcl": lambda seed, store=STORE: RFCL(store, streak=1, seed=seed),
    "starts_as_tasks": lambda seed, store=STORE: StartsAsTasks(store, seed=seed, candidates=16, refresh_every=4),
}
OF_A_STORE = [name for name in MAKERS if not name.startswith("jump_start")]

NUMBERS = st.floats() | st.sampled_from([0.0, 1.0, -1.0, math.nan, math.inf, 1.7e308, -1.7e308, 5e-324])
HISTORY = st.lists(st.tuples(NUMBERS, NUMBERS, st.integers(1, 3)), min_size=1, max_size=10) | st.tuples(
    NUMBERS, NUMBERS, st.integers(1, 15)
).map(lambda constant: [(constant[0], constant[1], 3)] * constant[2])
"""(return, success, lessons heard of) of rounds of three lessons; half of them constant."""


def told(lesson):
    """Return what is to be equal when a teacher goes on as another one would have."""
    start = lesson.start
    if start is None:
        return lesson.id, lesson.origin, None
    snapshot = None if start.snapshot is None else dict(start.snapshot)
    return lesson.id, lesson.origin, snapshot, start.elapsed, start.limit, start.guide, start.roll_in


def assert_playable(lessons, n):
    assert len(lessons) == n
    for lesson in lessons:
        assert isinstance(lesson, Lesson) and lesson.origin
        if lesson.start is None:
            continue
        assert isinstance(lesson.start, Start)
        assert (lesson.start.snapshot is None or lesson.start.elapsed >= 0) and (
            lesson.start.limit is None or lesson.start.limit >= 1
        )
        if lesson.start.snapshot is None:
            assert lesson.start.guide is straight and 1 <= lesson.start.roll_in <= LENGTH
        else:
            assert 0 <= lesson.start.snapshot["position"] < LENGTH


def rounds(teacher, history):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* ignores outcomes that are not finite", RuntimeWarning)
        for ret, success, heard in history:
            lessons = teacher.propose(3)
            assert_playable(lessons, 3)
            teacher.observe([Outcome(lesson.id, ret, ret, 7, success, True) for lesson in lessons[:heard]])
            teacher.forget([lesson.id for lesson in lessons[heard:]])


@pytest.mark.parametrize("name", MAKERS)
def test_it_is_a_teacher_that_fills_the_start(name):
    teacher = MAKERS[name](0)
    assert isinstance(teacher, Teacher)
    assert teacher.fields == {"start"} and teacher.needs == frozenset()
    assert teacher.propose(0) == []


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=50, deadline=None, derandomize=True)
@given(history=HISTORY, later=HISTORY, seed=st.integers(0, 3))
def test_lessons_are_playable_and_it_resumes_bit_for_bit_whatever_is_observed(name, history, later, seed):
    teacher, resumed = MAKERS[name](seed), MAKERS[name](seed + 1)
    rounds(teacher, history)
    out = teacher.propose(4)
    resumed.load_state_dict(unpack_state(*pack_state(teacher.state_dict())))
    for one in (teacher, resumed):
        one.observe([Outcome(lesson.id, 1.0, 1.0, 5, 1.0, True) for lesson in out])
        rounds(one, later)
    assert [told(lesson) for lesson in teacher.propose(20)] == [told(lesson) for lesson in resumed.propose(20)]
    assert teacher.steps == resumed.steps


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_not_finite_is_ignored_with_one_warning_but_its_steps_count(name):
    teacher, deaf = MAKERS[name](0), MAKERS[name](0)
    with pytest.warns(RuntimeWarning, match="ignores outcomes that are not finite") as caught:
        for ret, success in [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan)] * 5:
            lessons = teacher.propose(2)
            teacher.observe([Outcome(lesson.id, ret, ret, 10, success, True) for lesson in lessons])
            deaf.propose(2)
    assert len(caught) == 1 and teacher.steps == 300
    assert [told(lesson) for lesson in teacher.propose(10)] == [told(lesson) for lesson in deaf.propose(10)]


@pytest.mark.parametrize("name", MAKERS)
def test_late_repeated_and_unknown_outcomes_do_no_harm(name):
    teacher = MAKERS[name](0)
    lessons = teacher.propose(6)
    outcome = [Outcome(lesson.id, 1.0, 1.0, 5, 1.0, True) for lesson in lessons]
    teacher.forget([lessons[0].id, 999])
    teacher.observe([outcome[0], outcome[5], outcome[3], Outcome(999, 1.0, 1.0, 5, 1.0, True)])
    teacher.observe([outcome[3], outcome[1]])
    teacher.observe([])
    assert teacher.steps == 15
    assert_playable(teacher.propose(30), 30)


@pytest.mark.parametrize("name", MAKERS)
def test_lessons_that_never_come_back_do_not_pile_up(name, monkeypatch):
    monkeypatch.setattr(start_base, "MAX_ISSUED", 10)
    monkeypatch.setattr("rlteach.teachers.starts_as_tasks.MAX_ISSUED", 10)
    teacher = MAKERS[name](0)
    for _ in range(10):
        teacher.propose(5)
    state = teacher.state_dict()
    assert state["issued"][:, 0].tolist() == list(range(40, 50))
    assert all(len(value) <= 10 for key, value in state["own"].items() if key == "_inner_ids")


@pytest.mark.parametrize("name", MAKERS)
def test_the_state_stops_growing(name):
    teacher = MAKERS[name](0)
    sizes = []
    for _ in range(2):
        for episode in range(400):
            lessons = teacher.propose(3)
            teacher.observe([Outcome(x.id, 0.0, 0.0, 5, float((x.id + episode) % 3 == 0), True) for x in lessons])
        sizes.append(sum(map(len, pack_state(teacher.state_dict()))))
    limit = 20_000 if name == "reverse_curriculum" else 200  # 200 old starts are kept there, and are not all there yet
    assert sizes[1] <= sizes[0] + limit and sizes[1] < 60_000


@pytest.mark.parametrize("name", MAKERS)
def test_seeds_differ_and_zero_is_one(name):
    drawn = []
    for seed in (0, 0, 1, 2):
        teacher = MAKERS[name](seed)
        rounds(teacher, [(1.0, 1.0, 3)] * 3)
        drawn.append([told(lesson)[2:] for lesson in teacher.propose(40)])
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2] and drawn[2] != drawn[3]


@pytest.mark.parametrize("name", MAKERS)
def test_it_composes_with_a_teacher_of_tasks(name):
    start = MAKERS[name](0)
    teacher = Compose(Uniform(Box(0.0, 1.0, (2,)), seed=0), start)
    lessons = teacher.propose(30)
    assert teacher.fields == {"task", "start"}
    assert all(lesson.task.shape == (2,) for lesson in lessons) and any(lesson.start for lesson in lessons)
    teacher.observe([Outcome(lesson.id, 1.0, 1.0, 2, 1.0, True) for lesson in lessons])
    assert start.steps == 60
    with pytest.raises(InvalidValue, match="both choose the start"):
        Compose(start, MAKERS["uniform_starts"](0))


def test_outcomes_are_learned_from_in_the_order_of_their_lessons_so_that_early_successes_are_no_majority():
    teacher = MAKERS["backward"](0)
    heard = []
    teacher._learn = lambda places, outcomes: heard.extend(o.lesson_id for o in outcomes)
    lessons = teacher.propose(6)
    outcome = {lesson.id: Outcome(lesson.id, 1.0, 1.0, 2, 1.0, True) for lesson in lessons}
    teacher.observe([outcome[lessons[i].id] for i in (2, 1, 5)])
    assert heard == [] and teacher.steps == 6
    twin = MAKERS["backward"](0)
    twin.load_state_dict(teacher.state_dict())
    teacher.observe([outcome[lessons[0].id]])
    assert heard == [lessons[i].id for i in (0, 1, 2)]
    teacher.forget([lessons[3].id])
    teacher.observe([outcome[lessons[4].id]])
    assert heard == [lessons[i].id for i in (0, 1, 2, 4, 5)]
    _lost, *more = teacher.propose(MAX_WAITING + 2)
    teacher.observe([Outcome(lesson.id, 1.0, 1.0, 2, 1.0, True) for lesson in more])
    assert len(heard) == 5 + len(more) and not teacher._issued  # not even a lost lesson is waited for without end
    assert sorted(twin._waiting) == sorted(lessons[i].id for i in (1, 2, 5))


@pytest.mark.parametrize("name", MAKERS)
def test_its_lessons_are_played_in_environments(name):
    teacher = MAKERS[name](0)
    venv = attach(DummyVecEnv([lambda: LessonEnv(TimeLimit(Chain(), 40))] * 3), teacher)
    venv.reset()
    actions = np.random.default_rng(0).integers(2, size=(400, 3))
    ended = sum(int(venv.step(row)[2].sum()) for row in actions)
    assert ended > 20 and 0 < teacher.steps <= 1200
    venv.close()


@pytest.mark.parametrize("name", OF_A_STORE)
def test_an_empty_store_is_refused_before_anything_is_trained(name):
    with pytest.raises(InvalidValue, match=r"this store holds none.*collect\(env, policy, store\)"):
        MAKERS[name](0, SnapshotStore())


@pytest.mark.parametrize("name", OF_A_STORE)
def test_a_state_of_other_snapshots_or_of_another_teacher_is_refused(name):
    state = MAKERS[name](0).state_dict()
    with pytest.raises(InvalidValue, match="this state has the snapshots"):
        MAKERS[name](0, chain_store(episodes=3, every=3)).load_state_dict(state)
    other = "s3rl" if name != "s3rl" else "rfcl"
    with pytest.raises(InvalidValue, match="this state has the teacher"):
        MAKERS[other](0).load_state_dict(state)


@pytest.mark.parametrize(
    "make",
    [
        lambda: S3RL(STORE, clusters=0, truncate=-1, until=-5),
        lambda: UniformStarts(STORE, share=1.5, until=-1),
        lambda: ReferenceStates(STORE, ordinary=-0.1),
        lambda: Backward(STORE, threshold=2.0, window=0, recent=0),
        lambda: ReverseCurriculum(STORE, explorer(), low=0.9, high=0.1, new=0),
        lambda: GoExplore(STORE, explorer(), width=0.0, walk=0),
        lambda: JumpStart(straight, 0, stages=0, beta=1.5),
        lambda: RFCL(STORE, step=0, temperature=0.0),
        lambda: StartsAsTasks(STORE, ordinary=1.2),
    ],
)
def test_hyperparameters_out_of_range_are_refused_together(make):
    with pytest.raises(ConfigError, match=r"must lie in") as caught:
        make()
    assert len(caught.value.faults) >= (1 if "ordinary" in str(caught.value) else 2)


# -- the base ----------------------------------------------------------------------------------------------------------


class First(SnapshotTeacher):
    def _choose(self, n):
        return [0, ORDINARY][:n], ["first", "ordinary"][:n]

    def _learn(self, places, outcomes):
        self.heard = list(places), [outcome.lesson_id for outcome in outcomes]


def test_a_snapshot_starts_with_the_steps_that_were_used_up_and_the_ordinary_reset_has_no_start():
    teacher = First(filled([{"step": 30, "remaining": 5}]))
    first, ordinary = teacher.propose(2)
    assert first.start.snapshot == {"position": 0} and (first.start.elapsed, first.start.limit) == (30, None)
    assert ordinary.start is None
    teacher.observe([Outcome(1, 0.0, 0.0, 3, 0.0, True), Outcome(0, 0.0, 0.0, 4, 0.0, True)])
    assert teacher.heard == ([0, ORDINARY], [0, 1]) and teacher.steps == 7


def test_a_store_that_dropped_records_since_is_noticed():
    store = filled([{}] * 3, capacity=3)
    teacher = First(store)
    teacher.propose(1)
    store.add({"position": 9}, episode=1, step=0, remaining=3, ret=1.0)
    with pytest.raises(InvalidValue, match="the store dropped 3 records since this First was built"):
        teacher.propose(1)


@pytest.mark.parametrize(
    ("success", "to_go", "outcome", "expected"),
    [
        (1.0, 5.0, (0.0, 1.0), True),  # a trajectory that succeeded asks for success, whatever the return
        (1.0, -5.0, (9.0, 0.0), False),
        (0.0, 5.0, (5.0, 1.0), True),  # one that failed asks for its return
        (0.0, 5.0, (4.9, 1.0), False),
        (math.nan, 5.0, (5.0 - 2e-6, 0.0), True),  # rounding
        (math.nan, -5.0, (-5.1, 1.0), False),
        (math.nan, math.nan, (1e9, 1.0), False),
    ],
)
def test_an_episode_is_compared_with_the_trajectory_it_starts_from(success, to_go, outcome, expected):
    (record,) = filled([{"success": success, "to_go": to_go}]).records
    assert reached(Outcome(0, outcome[0], outcome[0], 1, outcome[1], True), record) is expected


def test_trajectories_that_failed_are_not_followed():
    rows = [{"episode": episode, "success": success, "to_go": 1.0} for episode, success in enumerate((1, 0, math.nan))]
    assert demonstrations(filled(rows), wanted_by="Me") == {0: [0], 2: [2]}
    with pytest.raises(InvalidValue, match="Me follows trajectories that succeeded, and all 1 of this store failed"):
        demonstrations(filled(rows[1:2]), wanted_by="Me")
    with pytest.raises(InvalidValue, match="trajectory 0, which tells neither success nor its return to go"):
        demonstrations(filled([{"success": math.nan}]), wanted_by="Me")


@pytest.mark.parametrize("name", ["backward", "rfcl", "reverse_curriculum"])
def test_demonstrations_of_one_snapshot_each_lead_nowhere(name):
    rows = [{"episode": episode, "step": 0, "remaining": 40 - episode, "success": 1.0} for episode in range(2)]
    with pytest.raises(InvalidValue, match=r"none .* has a second snapshot .*takes \d+ steps.*starts\.every"):
        MAKERS[name](0, filled(rows))
    if name != "backward":  # which follows one of them
        MAKERS[name](0, filled([*rows, {"episode": 1, "step": 10, "remaining": 29, "success": 1.0}]))


def test_a_pool_gives_back_what_was_put_in_and_uses_no_number_twice():
    pool = SnapshotPool()
    numbers = [pool.add({"position": p, "name": "x" * p}, (p, 0.5)) for p in range(5)]
    pool.drop(4)
    pool.keep(numbers[1:3])
    loaded = SnapshotPool()
    loaded.load_state_dict(unpack_state(*pack_state(pool.state_dict())))
    for one in (pool, loaded):
        assert one.rows == {1: [1.0, 0.5], 2: [2.0, 0.5]}
        assert one.snapshot(2) == {"position": 2, "name": "xx"}
        assert one.add({"position": 9}, (0, 0)) == 5 and len(one) == 3
    empty = SnapshotPool()
    loaded.load_state_dict(unpack_state(*pack_state(empty.state_dict())))
    assert len(loaded) == 0
