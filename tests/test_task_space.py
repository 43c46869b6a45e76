"""Task spaces: exact round trips between vectors, tasks, mappings and the unit cube, and refusals that name names."""

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, Space, Text, Tuple
from hypothesis import given, settings
from hypothesis import strategies as st

from rlteach.errors import ConfigError, InvalidValue
from rlteach.task_space import TaskSpace

few = settings(max_examples=60, deadline=None)


@st.composite
def float_boxes(draw: st.DrawFn) -> Box:
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    shape = draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    size = int(np.prod(shape))
    bits = 64 if dtype is np.float64 else 32
    numbers = st.floats(-1e6, 1e6, width=bits)
    low = np.array(draw(st.lists(numbers, min_size=size, max_size=size)), dtype=dtype)
    width = np.array(draw(st.lists(st.floats(0.125, 1e6, width=bits), min_size=size, max_size=size)), dtype=dtype)
    return Box(low.reshape(shape), (low + width).astype(dtype).reshape(shape), dtype=dtype)


@st.composite
def integer_boxes(draw: st.DrawFn) -> Box:
    dtype = draw(st.sampled_from([np.int64, np.int32, np.uint8]))
    low = draw(st.integers(0, 100)) if dtype is np.uint8 else draw(st.integers(-(2**30), 2**30))
    return Box(low, low + draw(st.integers(1, 150)), draw(st.sampled_from([(), (2,)])), dtype=dtype)


discretes = st.builds(lambda n, start: Discrete(n, start=start), st.integers(2, 50), st.integers(-1000, 1000))
multi_discretes = st.builds(
    lambda n, start: MultiDiscrete(n, start=[start] * len(n)),
    st.lists(st.integers(2, 9), min_size=1, max_size=3),
    st.integers(-5, 5),
)
leaves = st.one_of(
    float_boxes(), integer_boxes(), discretes, multi_discretes, st.builds(MultiBinary, st.sampled_from([1, 3, (2, 2)]))
)
keys = st.text("abcxyz_", min_size=1, max_size=5)
spaces = st.recursive(
    leaves,
    lambda part: st.one_of(
        st.builds(Dict, st.dictionaries(keys, part, min_size=1, max_size=3)),
        st.builds(Tuple, st.lists(part, min_size=1, max_size=3)),
    ),
    max_leaves=5,
)
seeds = st.integers(0, 2**32 - 1)


def equal(a: object, b: object) -> bool:
    """Tell whether two elements of a space are the same in structure, type and every bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def sample(space: Space, seed: int) -> object:
    space.seed(seed)
    return space.sample()


# -- round trips -------------------------------------------------------------------------------------------------------


@few
@given(spaces, seeds)
def test_a_task_survives_the_way_through_a_vector_and_back(space, seed):
    task_space, task = TaskSpace(space), sample(space, seed)
    again = task_space.from_vector(task_space.to_vector(task))
    assert space.contains(again)
    assert equal(again, task)


@few
@given(spaces, seeds)
def test_a_task_survives_the_way_through_a_json_mapping_and_back(space, seed):
    task_space, task = TaskSpace(space), sample(space, seed)
    again = task_space.from_mapping(json.loads(json.dumps(task_space.to_mapping(task))))
    assert equal(again, task)


@few
@given(spaces, seeds)
def test_every_point_of_the_unit_cube_is_a_task_inside_the_space(space, seed):
    task_space = TaskSpace(space)
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 2, (4, task_space.dimension)).astype(np.float64)
    for point in [*rng.random((4, task_space.dimension)), *corners]:
        task = task_space.from_unit(point)
        assert space.contains(task) and task_space.contains(task)
        unit = task_space.to_unit(task)
        assert (unit >= 0).all() and (unit <= 1).all()


@few
@given(spaces, seeds)
def test_the_unit_maps_undo_each_other(space, seed):
    task_space, task = TaskSpace(space), sample(space, seed)
    vector = task_space.to_vector(task)
    again = task_space.vectors_of_unit(task_space.unit_of_vectors(vector))
    width = task_space.high - task_space.low
    levels = np.array([p.levels for p in task_space.parameters]) > 0
    assert np.array_equal(again[levels], vector[levels])
    # Subtracting and adding the lower bound costs a few units in its last place, however narrow the range is.
    slack = 4 * np.finfo(np.float64).eps * (np.abs(task_space.low) + width)
    assert (np.abs(again - vector) <= slack).all()


def test_the_levels_of_an_integer_share_the_unit_interval_evenly():
    task_space = TaskSpace(Discrete(4, start=-1))
    points = (np.arange(1000) + 0.5) / 1000
    values = [task_space.from_unit([p]) for p in points]
    assert np.unique(values, return_counts=True)[1].tolist() == [250] * 4
    assert task_space.to_unit(-1) == pytest.approx([0.125])
    assert task_space.from_unit([1.0]) == 2


@few
@given(spaces, seeds, st.integers(1, 4))
def test_a_batch_is_what_gymnasium_calls_an_element_of_the_batch_space(space, seed, n):
    task_space = TaskSpace(space)
    tasks = task_space.test_set(n, seed)
    batch = task_space.batch(dict(enumerate(tasks)), n)
    assert gym.vector.utils.batch_space(space, n).contains(batch)
    rows = list(gym.vector.utils.iterate(gym.vector.utils.batch_space(space, n), batch))
    assert all(
        np.array_equal(task_space.to_vector(r), task_space.to_vector(t)) for r, t in zip(rows, tasks, strict=True)
    )


def test_a_batch_holds_the_given_rows_and_valid_tasks_elsewhere():
    space = Dict(x=Box(0.0, 1.0, (), np.float64), k=Discrete(3))
    batch = TaskSpace(space).batch({2: {"x": np.array(0.75), "k": np.int64(2)}}, 4)
    assert batch["x"][2] == 0.75 and batch["k"][2] == 2
    assert gym.vector.utils.batch_space(space, 4).contains(batch)


# -- what counts as a task ---------------------------------------------------------------------------------------------

NESTED = Dict(
    height=Box(0.0, 3.0, (), np.float64), shape=Box(-1.0, 1.0, (2,), np.float64), pair=Tuple([Discrete(3), Discrete(2)])
)


def test_plain_numbers_and_lists_are_tasks_too():
    task_space = TaskSpace(NESTED)
    vector = task_space.to_vector({"height": 1.5, "shape": [0.5, -0.5], "pair": [2, 1]})
    assert dict(zip(task_space.names, vector, strict=True)) == {
        "height": 1.5, "pair.0": 2, "pair.1": 1, "shape[0]": 0.5, "shape[1]": -0.5,
    }  # fmt: skip


def test_a_plain_number_is_rounded_as_the_space_stores_it():
    space = Box(np.float32(0.1), np.float32(0.7), (), np.float32)
    task_space = TaskSpace(space)
    for number in (0.1, 0.3, 0.7):
        vector = task_space.to_vector(number)
        assert vector == np.float32(number)
        assert space.contains(task_space.from_vector([number]))
        assert space.contains(task_space.from_mapping({"task": number}))
    with pytest.raises(InvalidValue):
        task_space.to_vector(1e300)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 3.5}, r"height = 3.5 is not in \[0, 3\]"),
        ({"height": np.nan}, "height = nan"),
        ({"height": np.inf}, "height = inf"),
        ({"shape": [0.0, 2.0]}, r"shape\[1\] = 2 is not in \[-1, 1\]"),
        ({"shape": [0.0]}, "shape needs 2 numbers"),
        ({"height": "tall"}, "height needs 1 number, not 'tall'"),
        ({"height": {}}, "height needs 1 number"),
        ({"pair": (3, 0)}, r"pair.0 = 3 is not a whole number in \[0, 2\]"),
        ({"pair": (0.5, 0)}, r"pair.0 = 0.5 is not a whole number"),
        ({"pair": (0,)}, "structure"),
        ({"pair": (0, 1, 1)}, "structure"),
        ({"pair": 7}, "structure"),
        ({"heigth": 1.0}, "structure"),
    ],
)
def test_a_task_outside_the_space_names_the_parameter(change, message):
    task = {"height": 1.0, "shape": [0.0, 0.0], "pair": (0, 0), **change}
    with pytest.raises(InvalidValue, match=message):
        TaskSpace(NESTED).to_vector(task)


@pytest.mark.parametrize("task", [None, 1.0, [1.0], {}, "task", {"height": 1.0}])
def test_something_that_is_no_task_at_all_is_refused(task):
    with pytest.raises(InvalidValue, match="structure"):
        TaskSpace(NESTED).to_vector(task)


def test_every_value_outside_is_named_at_once():
    with pytest.raises(InvalidValue, match=r"height = 9 .*; shape\[0\] = -4"):
        TaskSpace(NESTED).to_vector({"height": 9, "shape": [-4, 0], "pair": (0, 0)})


def test_a_vector_of_the_wrong_length_is_refused():
    with pytest.raises(InvalidValue, match=r"shape \(5,\).* not \(4,\)"):
        TaskSpace(NESTED).from_vector(np.zeros(4))


def test_a_mapping_reports_all_its_faults_at_once():
    with pytest.raises(ConfigError) as caught:
        TaskSpace(NESTED).from_mapping({"heigth": 1.0, "shape": [1.0], "pair.0": "two"})
    assert caught.value.faults == [
        "unknown parameter 'heigth'. Did you mean 'height'?",
        "missing parameter 'height'",
        "missing parameter 'pair.1'",
        "shape needs 2 numbers, not [1.0]",
        "pair.0 needs 1 number, not 'two'",
    ]


# -- which spaces are taken --------------------------------------------------------------------------------------------


def test_all_unusable_dimensions_are_reported_at_once():
    space = Dict(
        flat=Box(2.0, 2.0, (), np.float64),
        open=Box(np.array([0.0, -np.inf]), np.array([1.0, np.inf]), dtype=np.float64),
        giant=Box(-1.7e308, 1.7e308, (), np.float64),
        one=Discrete(1),
        word=Text(4),
        net=Graph(Discrete(2), None),
        wide=Box(-(2**60), 2**60, (), np.int64),
        good=Box(0.0, 1.0, (), np.float64),
    )
    with pytest.raises(ConfigError) as caught:
        TaskSpace(space)
    text = str(caught.value)
    assert len(caught.value.faults) == 7
    assert "flat has zero width" in text and "one has zero width" in text
    assert "open[1] has the bounds [-inf, inf]" in text and "open[0]" not in text
    assert "giant has the bounds" in text
    assert "word is a Text space" in text and "net is a Graph space" in text
    assert "wide has integers beyond 2^53" in text
    assert "good" not in text


@pytest.mark.parametrize("space", [Dict({}), Tuple([]), Box(0.0, 1.0, (0,))])
def test_a_space_without_any_dimension_is_refused(space):
    with pytest.raises(ConfigError, match="no dimension at all"):
        TaskSpace(space)


def test_two_parameters_of_one_name_are_refused():
    unit = Box(0.0, 1.0, ())
    with pytest.raises(ConfigError, match=r"same name: a\.b, a\.b"):
        TaskSpace(Dict({"a": Dict({"b": unit}), "a.b": unit}))
    with pytest.raises(ConfigError, match="same name"):
        TaskSpace(Box(0.0, 1.0, (2,)), names=["x", "x"])


def test_something_that_is_no_space_is_refused():
    with pytest.raises(InvalidValue, match=r"must be a gymnasium.Space, not list"):
        TaskSpace.of([0, 1])


def test_boolean_boxes_hold_whole_numbers():
    space = Box(0, 1, (2,), np.bool_)
    task_space = TaskSpace(space)
    assert [p.levels for p in task_space.parameters] == [2, 2]
    assert equal(task_space.from_unit([0.1, 0.9]), np.array([False, True]))


def test_a_discrete_space_keeps_its_type():
    space = Discrete(3, dtype=np.int32)
    assert TaskSpace(space).from_unit([0.9]).dtype == np.int32


# -- names and units ---------------------------------------------------------------------------------------------------


def test_names_and_units_come_from_the_environment():
    class Env:
        task_names = ("height", "spacing")
        task_units = {"height": "m"}  # noqa: RUF012

    task_space = TaskSpace.of(Box(0.0, 3.0, (2,)), Env())
    assert task_space.names == ("height", "spacing")
    assert [p.unit for p in task_space.parameters] == ["m", ""]
    assert repr(task_space) == "TaskSpace(height [0, 3]m, spacing [0, 3])"
    assert TaskSpace.of(task_space) is task_space


def test_names_and_units_come_from_a_wrapper_too():
    class Wrapped(gym.Wrapper):
        task_names = ("height", "spacing")
        task_units = {"height": "m"}  # noqa: RUF012

    env = gym.wrappers.TimeLimit(Wrapped(gym.make("CartPole-v1")), 5)
    assert TaskSpace.of(Box(0.0, 3.0, (2,)), env).names == ("height", "spacing")
    assert [p.unit for p in TaskSpace.of(Box(0.0, 3.0, (2,)), env).parameters] == ["m", ""]
    assert TaskSpace.of(Box(0.0, 3.0, (2,)), gym.make("CartPole-v1")).names == ("task[0]", "task[1]")


def test_a_vector_parameter_has_one_unit_for_all_its_components():
    task_space = TaskSpace(NESTED, units={"shape": "m", "height": "cm"})
    assert {p.name: p.unit for p in task_space.parameters} == {
        "height": "cm", "pair.0": "", "pair.1": "", "shape[0]": "m", "shape[1]": "m",
    }  # fmt: skip


def test_names_must_fit_the_space():
    with pytest.raises(InvalidValue, match="1 names given for 2 dimensions"):
        TaskSpace(Box(0.0, 1.0, (2,)), names=["x"])
    with pytest.raises(ConfigError, match="one vector"):
        TaskSpace(NESTED, names=["x"])


def test_equality_looks_at_names_units_and_space():
    box = Box(0.0, 1.0, (2,))
    assert TaskSpace(box) == TaskSpace(Box(0.0, 1.0, (2,)))
    assert TaskSpace(box) != TaskSpace(box, names=["x", "y"])
    assert TaskSpace(box) != TaskSpace(Box(0.0, 2.0, (2,)))
    assert TaskSpace(box) != box


def test_the_description_is_plain_data():
    described = TaskSpace(Dict(k=Discrete(3, start=1), x=Box(0.0, 2.0, (), np.float64)), units={"x": "m"}).describe()
    assert json.loads(json.dumps(described)) == [
        {"name": "k", "low": 1.0, "high": 3.0, "unit": "", "levels": 3},
        {"name": "x", "low": 0.0, "high": 2.0, "unit": "m", "levels": 0},
    ]


# -- sets of tasks -----------------------------------------------------------------------------------------------------


@few
@given(spaces, seeds)
def test_a_test_set_depends_on_its_seed_alone(space, seed):
    first, again = TaskSpace(space).test_set(5, seed), TaskSpace(space).test_set(5, seed)
    assert all(map(equal, first, again))
    assert all(space.contains(task) for task in first)


def test_seed_zero_is_a_seed_and_other_seeds_give_other_tasks():
    task_space = TaskSpace(Box(0.0, 1.0, (2,), np.float64))
    assert np.array_equal(task_space.test_set(3, 0), task_space.test_set(3, 0))
    assert not np.array_equal(task_space.test_set(3, 0), task_space.test_set(3, 1))


def test_a_longer_test_set_begins_with_the_shorter_one():
    task_space = TaskSpace(Box(0.0, 1.0, (2,), np.float64))
    assert np.array_equal(task_space.test_set(9, 3)[:4], task_space.test_set(4, 3))


def test_a_grid_holds_every_combination_and_both_bounds():
    grid = TaskSpace(Dict(x=Box(0.0, 1.0, (), np.float64), y=Box(-2.0, 2.0, (), np.float64))).grid([3, 2])
    assert [(float(t["x"]), float(t["y"])) for t in grid] == [
        (0.0, -2.0), (0.0, 2.0), (0.5, -2.0), (0.5, 2.0), (1.0, -2.0), (1.0, 2.0),
    ]  # fmt: skip


def test_a_grid_never_repeats_a_level():
    assert TaskSpace(Discrete(3, start=4)).grid(10) == [4, 5, 6]
    assert TaskSpace(Discrete(4)).grid(1) == [1]


def test_one_grid_point_is_the_middle():
    assert TaskSpace(Box(2.0, 6.0, (), np.float64)).grid(1) == [4.0]


@few
@given(spaces, st.integers(1, 2))
def test_every_point_of_a_grid_is_a_task(space, points):
    task_space = TaskSpace(space)
    if task_space.dimension <= 8:
        grid = task_space.grid(points)
        assert len(grid) == points**task_space.dimension
        assert all(space.contains(task) for task in grid)


@pytest.mark.parametrize("points", [0, [2], [2, 0]])
def test_a_grid_needs_a_positive_number_of_points_for_each_dimension(points):
    with pytest.raises(InvalidValue, match="2 positive numbers"):
        TaskSpace(Box(0.0, 1.0, (2,))).grid(points)


def test_a_vector_with_names_is_told_by_them_or_as_a_whole() -> None:
    space = TaskSpace(Box(np.zeros(2), np.array([1.0, 2.0]), dtype=np.float64), names=["width", "depth"])
    whole, parts = ({"task": [0.5, 1.5]}, {"depth": 1.5, "width": 0.5})
    np.testing.assert_array_equal(space.from_mapping(whole), space.from_mapping(parts))
    alike = TaskSpace(space.space, names=["task", "depth"])  # one of them is called as the whole is
    np.testing.assert_array_equal(alike.from_mapping({"task": 0.5, "depth": 1.5}), space.from_mapping(parts))
    for wrong, message in (
        (
            {"width": 0.5, "dept": 1.0},
            r"unknown parameter 'dept'\. Did you mean 'depth'\?(.|\n)*missing parameter 'depth'",
        ),
        ({}, r"missing parameter 'width'(.|\n)*missing parameter 'depth'"),
        ({**whole, "width": 0.1}, "'width' is a part of 'task', which is given too"),
        ({**parts, "width": [1, 2]}, "task needs"),
    ):
        with pytest.raises(ConfigError, match=message):
            space.from_mapping(wrong)
