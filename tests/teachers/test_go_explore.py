"""Go-Explore: an archive that grows into the unknown, and starts from it."""

import numpy as np
import pytest
from scipy.stats import chisquare

from rlteach.errors import InvalidValue
from rlteach.lesson import Outcome
from rlteach.snapshots.collect import Explorer, Found
from rlteach.teachers.go_explore import GoExplore, flat, grid_cell, selection_weights
from tests.teachers.chain import LENGTH, Chain, chain_store, explorer, filled, position_of


def first_only():
    """Return the snapshot of a reset: nothing is known of where the goal is."""
    return filled([{"step": 0, "remaining": 9, "to_go": 1.0}])


def exact(observation):
    return int(observation[0])


def make(store=None, seed=0, **hyperparameters):
    settings = {"cell": exact, "walk": 8, "every": 1, "first_walks": 2, **hyperparameters}
    return GoExplore(first_only() if store is None else store, explorer(), seed=seed, **settings)


def rounds(teacher, n):
    for _ in range(n):
        lessons = teacher.propose(2)
        teacher.observe([Outcome(lesson.id, 0.0, 0.0, 5, 0.0, False) for lesson in lessons])


def positions(teacher):
    return {teacher._pool.snapshot(number)["position"] for number in teacher._pool.rows}


def test_cells_are_chosen_by_the_square_root_of_their_visits():
    weights = selection_weights(np.array([0.0, 3.0, 8.0]))
    np.testing.assert_allclose(weights, np.array([1, 1 / 2, 1 / 3]) / (1 + 1 / 2 + 1 / 3), rtol=1e-12)


def test_grid_cells_are_as_wide_as_the_scale_and_any_observation_has_one():
    centre, scale = np.array([1.0, -2.0]), np.array([0.5, 4.0])
    assert grid_cell(np.array([1.0, -2.0]), centre, scale).tolist() == [0, 0]
    assert grid_cell(np.array([1.49, 2.01]), centre, scale).tolist() == [0, 1]
    assert grid_cell(np.array([0.99, -2.01]), centre, scale).tolist() == [-1, -1]
    assert grid_cell(np.array([np.nan, np.inf]), centre, scale).tolist() == [0, 10**9]


def test_observations_are_flattened_in_the_order_of_their_keys():
    observation = {"b": np.array([[1, 2], [3, 4]]), "a": 7, "c": {"z": [9.0], "y": [8.0]}}
    assert flat(observation).tolist() == [7, 1, 2, 3, 4, 8, 9]


def test_the_archive_grows_far_beyond_what_a_walk_from_the_reset_meets():
    teacher = make()
    rounds(teacher, 300)
    assert positions(teacher) == set(range(LENGTH))  # the goal itself is where episodes end
    assert teacher.cells == LENGTH + 1  # the reset that was given, and every position
    walker = Explorer(Chain(), seed=0)
    walk = {"elapsed": 0, "steps": 8, "every": 1, "rng": np.random.default_rng(0)}
    assert max(f.observation[0] for _ in range(200) for f in walker.explore({"position": 0}, **walk)) <= 8


@pytest.mark.parametrize("seed", [0, 1])
def test_states_are_kept_with_the_fewest_steps_to_them(seed):
    teacher = make(seed=seed)
    rounds(teacher, 300)
    rows = {teacher._pool.snapshot(n)["position"]: row for n, row in teacher._pool.rows.items()}
    assert all(elapsed >= position and ret == 0.0 for position, (elapsed, ret, _) in rows.items())
    assert rows[4][0] <= 8


def found(observation, elapsed, ret, position):
    return Found({"position": position}, 1, elapsed, np.array([observation]), ret, False)


def test_a_known_cell_is_replaced_by_a_higher_return_or_a_shorter_way():
    teacher = make()
    teacher.propose(1)
    origin = next(iter(teacher._pool.rows))
    for arrival, kept in [
        (found(99, 50, 1.0, 1), 1),
        (found(99, 60, 1.0, 2), 1),  # as good, but later
        (found(99, 40, 1.0, 3), 3),
        (found(99, 10, 0.5, 4), 3),  # earlier, but worse
        (found(99, 90, 2.0, 5), 5),
    ]:
        teacher._take_in(origin, [arrival])
        assert teacher._pool.snapshot(teacher._cells["99"])["position"] == kept
    assert teacher._pool.rows[teacher._cells["99"]] == [90, 2.0, 0]


def test_returns_add_up_along_the_way():
    teacher = GoExplore(filled([{"step": 7, "remaining": 9, "ret": 5.0, "to_go": 2.0}]), explorer(), cell=exact)
    teacher.propose(1)
    origin = teacher._cells["first 0"]
    assert teacher._pool.rows[origin][:2] == [7, 3.0]
    teacher._take_in(origin, [found(99, 9, 1.5, 1)])
    assert teacher._pool.rows[teacher._cells["99"]][:2] == [9, 4.5]


def test_a_full_archive_drops_its_most_visited_cell():
    teacher = make(max_cells=5)
    rounds(teacher, 100)
    assert teacher.cells == len(teacher._pool) == 5
    visits = {key: teacher._pool.rows[number][2] for key, number in teacher._cells.items()}
    teacher._take_in(next(iter(teacher._pool.rows)), [found(99, 5, 1.0, 3)])
    assert set(visits) - set(teacher._cells) == {max(visits, key=visits.get)} and "99" in teacher._cells


def test_a_share_of_the_episodes_starts_from_cells_with_the_steps_used_up():
    teacher = make(share=0.3)
    rounds(teacher, 50)
    lessons = teacher.propose(3000)
    started = [lesson for lesson in lessons if lesson.start is not None]
    assert len(started) / 3000 == pytest.approx(0.3, abs=0.03)
    steps = {teacher._pool.snapshot(n)["position"]: row[0] for n, row in teacher._pool.rows.items()}
    away = [lesson for lesson in started if position_of(lesson) > 0]  # position 0 has two cells
    assert away and all(lesson.start.elapsed == steps[position_of(lesson)] for lesson in away)


def test_choosing_a_cell_is_a_visit_and_few_visits_make_it_likely():
    teacher = make(share=1.0)
    rounds(teacher, 100)
    numbers = list(teacher._pool.rows)
    before = np.array([teacher._pool.rows[number][2] for number in numbers])
    started = np.array([list(teacher._pool.rows).index(teacher._issued[x.id]) for x in teacher.propose(5000)])
    drawn = np.bincount(started, minlength=len(numbers))
    assert [teacher._pool.rows[number][2] for number in numbers] == (before + drawn).tolist()
    expected = 1 / np.sqrt(before + 1)
    assert chisquare(drawn, 5000 * expected / expected.sum()).pvalue > 1e-3


def test_walks_follow_finished_episodes_and_are_counted():
    teacher = make(walk_every=3)
    teacher.forget([lesson.id for lesson in teacher.propose(1)])
    assert teacher.explored == 2 * 8  # the first walks
    for finished, walks in ((1, 0), (2, 0), (3, 1), (4, 1), (6, 2)):
        lessons = teacher.propose(finished - teacher.steps)
        teacher.observe([Outcome(lesson.id, 0.0, 0.0, 1, 0.0, False) for lesson in lessons])
        assert teacher.explored == teacher.explorer.steps <= 8 * (2 + walks)
        assert teacher.explored > 8 * (1 + walks)


def test_the_default_grid_is_laid_over_what_the_first_walks_met():
    teacher = make(cell=None, width=0.5, first_walks=20)
    teacher.forget([lesson.id for lesson in teacher.propose(1)])
    assert teacher._scale.shape == (1,) and 0.5 < teacher._scale[0] < 3.0
    rounds(teacher, 300)
    assert 8 < teacher.cells <= LENGTH + 1 and max(positions(teacher)) > 15


def test_snapshots_of_another_environment_than_the_explorers_are_refused():
    class Other(Chain):
        pass

    with pytest.raises(InvalidValue, match="holds snapshots of"):
        GoExplore(chain_store(), Explorer(Other(), seed=0))
