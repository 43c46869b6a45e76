"""Every registered teacher keeps the promises of the protocol, whatever it observes."""

import math
import os
import warnings
from functools import partial

import numpy as np
import pytest
from gymnasium.spaces import Box
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rlteach.lesson import Outcome
from rlteach.registry import entries
from rlteach.task_space import TaskSpace
from rlteach.teachers.base import make_teacher
from rlteach.teachers.compose import Compose
from rlteach.testing.teachers import SPACES, check_teacher
from tests.teachers.test_compose import Part
from tests.teachers.test_level_buffer import roll_outs

REGISTERED = [name for name, entry in entries("teacher").items() if entry.package == "rlteach"]

SMALL = {
    "alp_gmm": {"fit_every": 60, "max_components": 3, "history": 600},
    "covar_gmm": {"fit_every": 60, "max_components": 3},
    "frontier": {"warm_up": 60, "refit_every": 60, "candidates": 128, "trees": 3, "window": 120, "memory": 300},
    "success_guided": {"candidates": 32},
    "riac": {"region_size": 20, "max_regions": 9},
    "adr": {"step": 0.2, "queue": 3, "widen_at": 0.5},
    "annealing": {"steps": 2000},
    "expanding_box": {"over": 5},
    "exp3s": {"candidates": 16},
    "learning_progress": {"candidates": 16},
    "omni": {"candidates": 16},
    "vds": {
        "hidden": 8,
        "members": 3,
        "candidates": 64,
        "memory": 200,
        "train_every": 20,
        "batch": 8,
        "warm_up": 40,
    },
    "plr": {"capacity": 32},
    "robust_plr": {"capacity": 32},
    "accel": {"capacity": 32},
    "traced": {"capacity": 32},
    "ncc": {"capacity": 16, "update_every": 4},
    "spdl": {"update_every": 40},
    "currot": {"particles": 20, "candidates": 4, "update_every": 20},
    "gradient": {"particles": 32, "window": 20},
    "goal_gan": {"update_every": 20, "iterations": 4, "hidden": 8, "memory": 20},
    "setter_solver": {"warm_up": 40, "train_every": 20, "window": 100, "hidden": 8, "blocks": 2},
    "paired": {"batch": 20, "epochs": 2, "hidden": 8, "noise": 2},
    "clutr": {"batch": 20, "epochs": 2, "hidden": 8, "noise": 2, "vae_iterations": 10, "vae_hidden": 8},
}
"""Smaller than by default, so that a short session reaches several fits and fills every buffer."""

TINY = {
    "alp_gmm": {"fit_every": 8, "max_components": 3, "history": 12},
    "covar_gmm": {"fit_every": 8, "max_components": 3},
    "frontier": {"warm_up": 10, "refit_every": 8, "candidates": 16, "trees": 2, "window": 20, "min_leaf": 1},
    "success_guided": {"candidates": 16, "refresh_every": 3},
    "riac": {"region_size": 6, "max_regions": 7, "split_attempts": 5},
    "adr": {"queue": 2, "step": 0.3},
    "annealing": {"steps": 20},
    "expanding_box": {"over": 3},
    "exp3s": {"candidates": 8},
    "learning_progress": {"candidates": 8, "refresh_every": 3},
    "omni": {"candidates": 8, "refresh_every": 3},
    "vds": {
        "hidden": 4,
        "members": 2,
        "candidates": 16,
        "memory": 20,
        "train_every": 4,
        "batch": 4,
        "warm_up": 6,
        "refresh_every": 5,
    },
    "plr": {"capacity": 8},
    "robust_plr": {"capacity": 8, "rollout_batch": 2},
    "accel": {"capacity": 8, "rollout_batch": 2},
    "traced": {"capacity": 8, "rollout_batch": 2},
    "sfl": {"refresh_every": 5, "candidates": 6, "keep": 3},
    "ncc": {"capacity": 4, "update_every": 3},
    "spdl": {"update_every": 8},
    "currot": {"particles": 8, "candidates": 3, "update_every": 5},
    "gradient": {"particles": 8, "window": 5},
    "goal_gan": {"update_every": 4, "iterations": 2, "hidden": 4, "memory": 5},
    "setter_solver": {"warm_up": 8, "train_every": 8, "window": 20, "hidden": 4, "blocks": 2},
    "paired": {"batch": 3, "epochs": 1, "hidden": 4, "noise": 1},
    "clutr": {"batch": 3, "epochs": 1, "hidden": 4, "noise": 1, "vae_iterations": 3, "vae_hidden": 4, "latent": 2},
}


def window_of(space, progress, rng):
    return space.from_unit((0.1 + 0.9 * progress) * rng.random(space.dimension))


def few_mastered(task, mastered):
    return len(mastered) < 3


def make(space, *, seed, name, **hyperparameters):
    """Build a registered teacher, with what it cannot do without."""
    space = TaskSpace.of(space)
    if name == "oracle":
        hyperparameters["oracle_window"] = partial(window_of, space)
    elif name == "replay":
        hyperparameters["lessons"] = [space.to_mapping(task) for task in space.test_set(100, seed=0)]
    elif name == "listed":
        hyperparameters["tasks"] = space.test_set(100, seed=0)
    elif name in ("annealing", "expanding_box"):
        for key, place in (("start_low", 0.3), ("start_high", 0.5)):
            hyperparameters[key] = space.to_mapping(space.from_unit(np.full(space.dimension, place)))
    elif name == "omni":
        hyperparameters["interesting"] = few_mastered
    teacher = make_teacher(name, space, seed=seed, **hyperparameters)
    if getattr(teacher, "wants_second_student", False):
        teacher.second_student = roll_outs(space)  # another student, which does not change
    return teacher


def composed(space, *, seed):
    return Compose(Part("start", 1000), make(space, seed=seed, name="success_guided", return_range=(0.0, 1.0)))


def faults(findings):
    return [f"{finding.name}: {finding.detail}" for finding in findings if finding.ok is False]


@pytest.mark.parametrize("name", REGISTERED)
def test_every_registered_teacher_passes_the_checks(name):
    findings = check_teacher(partial(make, name=name, **SMALL.get(name, {})), episodes=200)
    assert faults(findings) == []
    assert [f.name for f in findings if f.ok is None] == (["seeds"] if name == "replay" else [])
    warned = {finding.name: finding.detail for finding in findings if "warned" in finding.detail}
    assert list(warned) == ["returns that are not finite"]
    assert "warned 2 times" in warned["returns that are not finite"]  # one for each of two teachers


def test_a_composition_passes_the_checks():
    assert faults(check_teacher(composed, episodes=60)) == []


@pytest.mark.parametrize("name", ["alp_gmm", "covar_gmm", "frontier"])
def test_fitting_teachers_stay_in_a_space_of_fifty_dimensions_with_their_own_settings(name):
    space = TaskSpace.of(SPACES["50-D Box"])
    teacher = make(space, seed=0, name=name)
    for _ in range(24):
        lessons = teacher.propose(20)
        teacher.observe([Outcome(lesson.id, lesson.task[0], 0.0, 1, 0.0, True) for lesson in lessons])
    assert {lesson.origin.split("/")[0] for lesson in lessons} == {name}
    lessons = teacher.propose(100)
    assert all(space.contains(lesson.task) for lesson in lessons)
    assert not any(lesson.origin.endswith(("bootstrap", "warm-up")) for lesson in lessons)


# -- whatever is observed ----------------------------------------------------------------------------------------------

HISTORIES = int(os.environ.get("RLTEACH_HISTORIES", "200"))
"""Histories of outcomes per teacher; `scripts/test --full` asks for 10,000."""

NUMBERS = st.floats() | st.sampled_from([0.0, 1.0, -1.0, math.nan, math.inf, 1.7e308, -1.7e308, 5e-324])
HUGE_SCORES = [(0.0, success, True) for success in (0.0, 0.0, 1.7e308, 2e307)] + [(0.0, 0.0, False)]
"""One in 10,000: what TRACED credits to tasks of the batch before had overflowed."""
OUTCOMES = st.lists(st.tuples(NUMBERS, NUMBERS, st.booleans()), min_size=1, max_size=30)


@pytest.mark.slow
@pytest.mark.parametrize("name", REGISTERED)
@settings(max_examples=HISTORIES, deadline=None, derandomize=True)
@given(space=st.sampled_from(sorted(SPACES)), observed=OUTCOMES, seed=st.integers(0, 3), equipped=st.booleans())
@example(space="1-D Box", observed=HUGE_SCORES, seed=1, equipped=True)
def test_lessons_stay_in_their_space_whatever_is_observed(name, space, observed, seed, equipped):
    tasks = TaskSpace.of(SPACES[space])
    teacher = make(tasks, seed=seed, name=name, **TINY.get(name, {}))
    if equipped and getattr(teacher, "wants_rollouts", False):
        teacher.rollouts = roll_outs(tasks)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* ignores outcomes that are not finite", RuntimeWarning)
        for ret, success, heard in observed:
            lessons = teacher.propose(2)
            signals = {signal: np.array([[ret], [success]]) for signal in teacher.needs} if equipped else {}
            teacher.observe(
                [Outcome(lesson.id, ret, ret, 1, success, heard, signals) for lesson in lessons[: 1 + heard]]
            )
    lessons = teacher.propose(20)
    assert len(lessons) == 20 and all(tasks.contains(lesson.task) for lesson in lessons)
    assert np.isfinite([tasks.to_vector(lesson.task) for lesson in lessons]).all()
    for part, values in getattr(teacher, "portrait", dict)().items():
        if part.endswith("/chance"):
            assert (values >= 0.0).all() and math.isclose(values.sum(), 1.0, rel_tol=1e-9)


@pytest.mark.parametrize("name", REGISTERED)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    low=st.floats(-1e12, 1e12),
    width=st.floats(1e-6, 1e12),
    returns=st.lists(st.floats(-1e9, 1e9), min_size=25, max_size=25),
)
def test_lessons_stay_in_boxes_of_any_place_and_width(name, low, width, returns):
    high = max(low + width, float(np.nextafter(low, np.inf)))
    tasks = TaskSpace.of(Box(np.array([low, 0.0]), np.array([high, 1.0]), dtype=np.float64))
    teacher = make(tasks, seed=0, name=name, **TINY.get(name, {}))
    for ret in returns:
        (lesson,) = teacher.propose(1)
        assert tasks.contains(lesson.task)
        teacher.observe([Outcome(lesson.id, ret, ret, 1, float(ret > 0), True)])
