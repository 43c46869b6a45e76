"""Who sees what: groups, roles, views, and columns hidden from outside."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

import rlteach
from rlteach.errors import InvalidValue, UserError
from rlteach.observations import View, ViewVecEnv, groups_of, hidden_groups


class Sensors(gym.Env):
    """An environment with named sensors, ending after three steps; what it shows counts up."""

    observation_space = spaces.Dict(
        {
            "joints": spaces.Box(-1000, 1000, (2,), np.float32),
            "camera": spaces.Box(0, 255, (3, 4, 4), np.uint8),
            "mode": spaces.Discrete(3),
            "truth": spaces.Box(-1000, 1000, (1,), np.float32),
        }
    )
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def _show(self):
        t = self.t
        camera = np.full((3, 4, 4), t, np.uint8)
        return {"joints": np.array([t, 10 * t], np.float32), "camera": camera, "mode": 1, "truth": np.float32([-t])}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 1
        return self._show(), {}

    def step(self, action):
        self.t += 1
        return self._show(), 0.0, self.t == 4, False, {}


def sensors(n=2):
    return DummyVecEnv([Sensors] * n)


def test_every_key_of_a_dict_is_a_group():
    assert list(groups_of(sensors())) == ["camera", "joints", "mode", "truth"]


def test_groups_are_joined_in_the_order_in_which_they_are_named():
    view = View.of(sensors(), "truth,joints")
    assert view(sensors().reset()).tolist() == [[-1, 1, 10]] * 2
    assert view.names == ("truth[0]", "joints[0]", "joints[1]")
    assert view.space.shape == (3,)
    assert view.size == 3


def test_an_image_is_seen_as_it_is_and_only_alone():
    view = View.of(sensors(), "camera")
    assert view(sensors().reset()).shape == (2, 3, 4, 4)
    with pytest.raises(UserError, match="image can only be seen alone"):
        View.of(sensors(), "camera,joints")


def test_only_boxes_can_be_seen():
    with pytest.raises(UserError, match="'mode' is a Discrete"):
        View.of(sensors(), "mode")


def test_wrong_groups_are_all_told_with_the_nearest():
    with pytest.raises(InvalidValue) as caught:
        View.of(sensors(), "joint,thruth,truth,truth")
    text = str(caught.value)
    assert "'joint'. Did you mean 'joints'?" in text
    assert "'thruth'. Did you mean 'truth'?" in text
    assert "'truth' is named twice" in text
    assert "camera, joints, mode, truth" in text


def test_a_role_without_any_of_its_groups_is_told():
    with pytest.raises(InvalidValue, match="role 'student'"):
        View.of(sensors(), "student")


def test_roles_see_the_groups_of_environments_with_something_to_hide():
    venv = rlteach.make_vec_env("rlteach/WindGain-v0", 3, seed=0)
    student, expert = View.of(venv, "student"), View.of(venv, "expert")
    observation = venv.reset()
    assert np.array_equal(student(observation), observation["policy"])
    assert np.array_equal(expert(observation), np.hstack([observation["policy"], observation["privileged"]]))
    assert student.names == ("x", "y", "command_x", "command_y")
    assert student.units == ("m", "m", "1", "1")
    assert hidden_groups(student, expert) == []
    assert "nothing is hidden" in hidden_groups(expert, expert)[0]


def test_a_flat_observation_is_the_one_group_policy_and_both_roles_see_it():
    venv = rlteach.make_vec_env("CartPole-v1", 2, seed=0)
    student, expert = View.of(venv, "student"), View.of(venv, "expert")
    observation = venv.reset()
    assert np.array_equal(student(observation), observation)
    assert hidden_groups(student, expert)


def hide(columns):
    return rlteach.HideCoordinates(gym.make("Pendulum-v1"), columns)


def test_columns_can_be_hidden_from_outside():
    venv = DummyVecEnv([lambda: hide([2])] * 2)
    venv.seed(0)
    observation = venv.reset()
    assert np.array_equal(View.of(venv, "student")(observation), observation[:, :2])
    assert np.array_equal(View.of(venv, "expert")(observation), observation)
    assert View.of(venv, "privileged")(observation).shape == (2, 1)


@pytest.mark.parametrize(("columns", "says"), [([3], "0 to 2"), ([], "0 to 2"), ([0, 1, 2], "nothing to see")])
def test_hiding_what_is_not_there_or_everything_is_refused(columns, says):
    with pytest.raises(InvalidValue, match=says):
        hide(columns)


def test_a_wrapped_vec_env_shows_the_view_at_every_step_and_at_the_end():
    inner = sensors(1)
    venv = ViewVecEnv(inner, View.of(inner, "truth,joints"))
    assert venv.observation_space.shape == (3,)
    assert venv.reset().tolist() == [[-1, 1, 10]]
    for t in (2, 3):
        assert venv.step(np.zeros((1, 1)))[0].tolist() == [[-t, t, 10 * t]]
    observation, _, dones, infos = venv.step(np.zeros((1, 1)))
    assert dones[0]
    assert infos[0]["terminal_observation"].tolist() == [-4, 4, 40]
    assert observation.tolist() == [[-1, 1, 10]]


def test_differences_between_two_views_are_told():
    ours, theirs = View.of(sensors(), "truth,joints"), View.of(sensors(), "joints,truth")
    assert ours.faults_against(ours.describe()) == []
    faults = ours.faults_against(theirs.describe())
    assert any(fault.startswith("groups: it saw ['joints', 'truth']") for fault in faults)


class Overlapping(gym.Env):
    observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
    action_space = spaces.Discrete(2)
    observation_groups = {"policy": (0, 1, 2), "privileged": (2,)}  # noqa: RUF012


def test_an_expert_who_sees_columns_that_the_student_sees_too_hides_nothing():
    overlapping, hiding = DummyVecEnv([Overlapping]), DummyVecEnv([lambda: hide([2])])
    assert len(hidden_groups(View.of(overlapping, "student"), View.of(overlapping, "expert"))) == 1
    assert hidden_groups(View.of(hiding, "student"), View.of(hiding, "expert")) == []


def test_hiding_columns_keeps_the_names_and_units_of_every_column():
    pytest.importorskip("Box2D")
    inner = gym.make("rlteach_envs:rlteach/CarRacingFeatures-v0").unwrapped
    groups, names, units = inner.observation_groups, inner.observation_names, inner.observation_units
    whole = {c: (n, u) for g in groups for c, n, u in zip(groups[g], names[g], units[g], strict=True)}
    venv = DummyVecEnv(
        [lambda: rlteach.HideCoordinates(gym.make("rlteach_envs:rlteach/CarRacingFeatures-v0"), [1, 30])]
    )
    for role, columns in (("student", sorted(set(whole) - {1, 30})), ("privileged", [1, 30])):
        view = View.of(venv, role)
        assert list(zip(view.names, view.units, strict=True)) == [whole[c] for c in columns]


def test_columns_of_a_dicts_policy_go_to_what_the_expert_alone_sees():
    pytest.importorskip("mujoco")

    def hide():
        return rlteach.HideCoordinates(gym.make("rlteach_envs:rlteach/HopperDynamics-v0"), range(5, 11))

    plain = rlteach.make_vec_env("rlteach_envs:rlteach/HopperDynamics-v0", 2, seed=0)
    venv = rlteach.make_vec_env(hide, 2, seed=0)
    observation = venv.reset()
    student, expert = View.of(venv, "student"), View.of(venv, "expert")
    assert np.array_equal(student(observation), observation["policy"][:, :5])
    wanted = np.hstack([observation["policy"][:, :5], observation["privileged"], observation["policy"][:, 5:]])
    assert np.array_equal(expert(observation), wanted.astype(np.float32))
    before = View.of(plain, "expert")
    assert sorted(zip(expert.names, expert.units, strict=True)) == sorted(zip(before.names, before.units, strict=True))
    assert expert.names[:5] == before.names[:5]
    assert expert.names[-6:] == before.names[5:11]
    assert hidden_groups(student, expert) == []
    with pytest.raises(InvalidValue, match="0 to 10"):
        rlteach.HideCoordinates(gym.make("rlteach_envs:rlteach/HopperDynamics-v0"), [11])


def test_nothing_can_be_hidden_where_no_group_is_called_policy():
    with pytest.raises(InvalidValue, match="flat group 'policy'"):
        rlteach.HideCoordinates(Sensors(), [0])


def test_a_group_without_columns_shows_nothing():
    class Open(Overlapping):
        observation_groups = {"policy": (0, 1, 2), "privileged": ()}  # noqa: RUF012

    venv = DummyVecEnv([Open])
    assert View.of(venv, "privileged").columns == ()
    assert len(hidden_groups(View.of(venv, "student"), View.of(venv, "expert"))) == 1
