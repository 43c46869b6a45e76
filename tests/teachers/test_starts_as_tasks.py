"""Snapshots as tasks: a task teacher chooses, neighbours in time are neighbours, outcomes find their way back."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from rlteach.errors import ConfigError, UnknownName
from rlteach.lesson import Outcome
from rlteach.teachers.starts_as_tasks import StartsAsTasks, phases, start_space
from rlteach.teachers.uniform import Uniform
from tests.teachers.chain import ChainLearner, chain_store, filled, position_of, train


def test_the_space_has_a_trajectory_only_where_there_are_several():
    assert start_space(1).space == Dict(phase=Box(0.0, 1.0, (), np.float64))
    assert start_space(4).space == Dict(phase=Box(0.0, 1.0, (), np.float64), trajectory=Discrete(4))


def test_phases_are_steps_by_length():
    store = filled([{"step": 0, "remaining": 40}, {"step": 10, "remaining": 30}, {"step": 0, "remaining": 0}])
    assert phases(store, [0, 1, 2]).tolist() == [0.0, 0.25, 0.0]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_success_guided_starts_lead_a_learner_back_to_the_ordinary_start(seed):
    learner = ChainLearner(seed)
    teacher = StartsAsTasks(chain_store(), seed=seed, candidates=32)
    played = train(teacher, learner, 6000, until=lambda: learner.success_from(0) > 0.8)
    assert played < 5000
    starts = np.array(learner.starts)
    assert np.median(starts[: played // 4]) > np.median(starts[3 * played // 4 :])


def test_a_proposal_becomes_the_record_of_that_trajectory_with_the_nearest_phase():
    rows = [
        {"episode": e, "step": s, "remaining": 10 - s} for e, steps in enumerate(((0, 2, 9), (5, 6))) for s in steps
    ]
    store = filled(rows)
    teacher = StartsAsTasks(store, teacher="uniform", ordinary=0.0, seed=0)
    twin = Uniform(teacher.start_space, seed=0)
    for lesson, task in zip(teacher.propose(300), (p.task for p in twin.propose(300)), strict=True):
        record = store.records[position_of(lesson)]
        others = [r for r in store.records if r.episode == record.episode]
        distance = [abs(r.step / 10 - task["phase"]) for r in others]
        assert record.episode == task["trajectory"]
        assert abs(record.step / 10 - task["phase"]) == min(distance)
        assert lesson.origin == "starts_as_tasks/uniform"


class Heard(Uniform):
    """Notes what it is told."""

    def _learn(self, tasks, returns, successes):
        self.told = [*getattr(self, "told", []), *zip(tasks[:, 0].tolist(), successes.tolist(), strict=True)]


def test_outcomes_reach_the_task_teacher_under_its_own_ids_and_ordinary_ones_do_not():
    store = filled([{"step": step, "remaining": 10 - step, "success": 1.0} for step in range(10)])
    teacher = StartsAsTasks(store, teacher="tests.teachers.test_starts_as_tasks.Heard", ordinary=0.5, seed=0)
    lessons = teacher.propose(40)
    assert 5 < sum(lesson.start is None for lesson in lessons) < 35
    outcomes = [Outcome(x.id, 0.0, 0.0, 1, (position_of(x) or 0) / 10, True) for x in reversed(lessons)]
    teacher.observe(outcomes)
    told = teacher.teacher.told
    assert len(told) == sum(lesson.start is not None for lesson in lessons)
    assert all(abs(point - success) <= 0.1001 for point, success in told)  # the task that was proposed, not another


def test_where_nobody_tells_success_it_is_to_do_as_well_as_whoever_showed_it():
    store = filled([{"step": step, "remaining": 10 - step, "to_go": 10.0 - step} for step in range(10)])
    teacher = StartsAsTasks(store, teacher="tests.teachers.test_starts_as_tasks.Heard", ordinary=0.0, seed=0)
    lessons = teacher.propose(40)
    teacher.observe([Outcome(x.id, 6.0, 6.0, 1, 0.7, True) for x in lessons])
    wanted = [float(6.0 >= 10 - position_of(x)) for x in lessons]
    assert [success for _, success in teacher.teacher.told] == wanted and {0.0, 1.0} == set(wanted)


def test_records_that_tell_nothing_leave_success_to_the_environment():
    store = filled([{"step": step, "remaining": 10 - step} for step in range(10)])
    teacher = StartsAsTasks(store, teacher="tests.teachers.test_starts_as_tasks.Heard", ordinary=0.0, seed=0)
    teacher.observe([Outcome(x.id, 6.0, 6.0, 1, x.id % 2, True) for x in teacher.propose(6)])
    assert [success for _, success in teacher.teacher.told] == [0.0, 1.0] * 3


def test_abandoned_lessons_are_forgotten_by_the_task_teacher_too():
    teacher = StartsAsTasks(filled([{}] * 5), ordinary=0.0, seed=0)
    lessons = teacher.propose(6)
    teacher.forget([lesson.id for lesson in lessons])
    assert teacher._inner_ids == {} and teacher.teacher._issued == {}


def test_hyperparameters_are_those_of_the_task_teacher_and_checked():
    store = filled([{}] * 5)
    assert StartsAsTasks(store, sharpness=3.0).teacher.sharpness == 3.0
    with pytest.raises(ConfigError, match="Did you mean 'sharpness'"):
        StartsAsTasks(store, sharpnes=3.0)
    with pytest.raises(UnknownName, match="Did you mean 'success_guided'"):
        StartsAsTasks(store, teacher="sucess_guided")
