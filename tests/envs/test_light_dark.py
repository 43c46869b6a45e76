"""LightDark against its equations, and what the way through the light is worth."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rlteach_envs.light_dark import LightDark, LightDarkBatch, noise_std


def test_every_step_follows_the_equations_one_number_at_a_time() -> None:
    rows, rng = 16, np.random.default_rng(0)
    env = LightDarkBatch(rows)
    observations, _ = env.reset(seed=0)
    assert (observations["policy"][:, 3:] == 0).all()
    noise = env._noise.copy()
    places = env._tasks[:, [env._column["start_x"], env._column["start_y"]]].tolist()
    arrived = 0
    for t in range(61):
        for i in range(rows):
            x, y = places[i]
            std = math.sqrt(0.5 * (x - 5) ** 2 + 0.05**2)
            seen = [x + std * noise[i, t, 0], y + std * noise[i, t, 1], min(std, 0.5)]
            assert observations["policy"][i, :3] == pytest.approx(seen, rel=1e-5, abs=1e-5)
            assert observations["privileged"][i] == pytest.approx([x, y], rel=1e-6, abs=1e-6)
        if t == 60:
            break
        actions = rng.uniform(-1.2, 1.2, (rows, 2)).astype(np.float32)
        actions[:8] = np.clip(-2 * observations["privileged"][:8], -1, 1)
        observations, rewards, terminations, truncations, infos = env.step(actions)
        assert not terminations.any() and truncations.all() == (t == 59)
        for i in range(rows):
            bounded = [max(-1, min(1, float(a))) for a in actions[i]]
            places[i] = [place + 0.5 * a for place, a in zip(places[i], bounded, strict=True)]
            distance = math.hypot(*places[i])
            assert rewards[i] == pytest.approx((distance < 0.25) - 0.02 * min(distance, 5), abs=1e-9)
            assert observations["policy"][i, 3:] == pytest.approx(bounded, abs=1e-6)
            if t == 59:
                assert infos["is_success"][i] == (distance < 0.25)
                arrived += distance < 0.25
    assert 8 <= arrived < rows


def test_readings_are_unbiased_with_the_stated_spread() -> None:
    env = LightDarkBatch(4000)
    task = {"start_x": np.full(4000, 1.0), "start_y": np.full(4000, -2.0)}
    readings = env.reset(seed=0, options={"task": task})[0]["policy"][:, :2]
    assert readings.mean(axis=0) == pytest.approx([1, -2], abs=0.15)
    assert readings.std(axis=0) == pytest.approx(np.full(2, math.sqrt(8)), rel=0.04)
    assert abs(np.corrcoef(readings.T)[0, 1]) < 0.05
    assert noise_std(np.array([5.0, 3.0])) == pytest.approx([0.05, math.sqrt(2.0025)])


def test_noise_is_fresh_in_every_step_and_every_episode() -> None:
    env = LightDarkBatch(20)
    env.reset(seed=0)
    assert len(np.unique(env._noise)) == env._noise.size
    before = env._noise.copy()
    env.reset(options={"reset_mask": np.arange(20) < 3})
    assert (env._noise[:3] != before[:3]).all() and (env._noise[3:] == before[3:]).all()


def test_in_the_dark_the_meter_tells_nothing_about_the_place() -> None:
    env = LightDarkBatch(3)
    task = {"start_x": np.array([-2.0, 0.0, 4.0]), "start_y": np.zeros(3)}
    observations, _ = env.reset(seed=0, options={"task": task})
    assert observations["policy"][:, 2].tolist() == [0.5, 0.5, 0.5]
    observations, *_ = env.step(np.array([[1.0, 0.0]] * 3))
    assert observations["policy"][2, 2] == pytest.approx(math.sqrt(0.5 * 0.25 + 0.0025))


# -- what looking is worth ---------------------------------------------------------------------------------------------


class Filter:
    """A Kalman filter with the noise of the most likely place; it predicts with the last action."""

    def __init__(self, rows: int) -> None:
        self.place, self.variance = np.tile([1.0, 0.0], (rows, 1)), np.full((rows, 1), 3.0)

    def __call__(self, policy: Any) -> np.ndarray:
        self.place = self.place + 0.5 * policy[:, 3:]
        meter = policy[:, 2:3].astype(np.float64)
        noise = np.where(meter < 0.499, meter, np.maximum(noise_std(self.place[:, :1]), 0.5)) ** 2
        gain = self.variance / (self.variance + noise)
        self.place = self.place + gain * (policy[:, :2] - self.place)
        self.variance = (1 - gain) * self.variance
        return self.place


def towards(goal: Any, place: Any) -> np.ndarray:
    return np.clip((goal - place) / 0.5, -1, 1)


def expert() -> Callable[[Any], Any]:
    return lambda observations: towards(0, observations["privileged"])


def straight() -> Callable[[Any], Any]:
    estimate = Filter(512)
    return lambda observations: towards(0, estimate(observations["policy"]))


def through_the_light() -> Callable[[Any], Any]:
    estimate = Filter(512)

    def act(observations: Any) -> Any:
        place = estimate(observations["policy"])
        return towards(np.where(estimate.variance < 0.01, [0.0, 0.0], [5.0, 0.0]), place)

    return act


def play(policy: Callable[[Any], Any]) -> tuple[float, float]:
    env = LightDarkBatch(512)
    tasks = env.test_sets["grid"] * 2
    task = {name: np.array([task[name] for task in tasks]) for name in tasks[0]}
    observations, _ = env.reset(seed=0, options={"task": task})
    returns = np.zeros(512)
    for _ in range(60):
        observations, rewards, _, _, infos = env.step(policy(observations))
        returns += rewards
    return float(returns.mean()), float(infos["is_success"].mean())


def test_a_student_that_goes_by_the_light_gets_most_and_one_that_goes_straight_hardly_anything() -> None:
    scores = {make.__name__: play(make()) for make in (expert, through_the_light, straight)}
    assert scores["expert"] == pytest.approx((56.4, 1.0), abs=0.5)
    assert scores["through_the_light"][0] > 38 and scores["through_the_light"][1] > 0.95
    assert scores["straight"][0] < 8 and scores["straight"][1] < 0.25


def test_the_test_set_covers_the_starts() -> None:
    tasks = LightDark().test_sets["grid"]
    starts = {(float(task["start_x"]), float(task["start_y"])) for task in tasks}
    assert len(tasks) == len(starts) == 256 and {(-2.0, -3.0), (4.0, 3.0)} <= starts


def test_a_picture_shows_the_place_the_reading_the_goal_and_the_light() -> None:
    env = LightDark(render_mode="rgb_array")
    blue, red, green = (40, 80, 220), (200, 60, 50), (40, 160, 60)
    env.action_space.seed(1)

    def at(image: Any, place: Any) -> tuple[int, ...]:
        return tuple(image[int((6 - place[1]) * 20), int((5 + place[0]) * 20)].tolist())

    readings = 0
    for seed in range(4):
        observation, _ = env.reset(seed=seed)
        before = None
        for _ in range(20):
            image = env.render()
            assert image.dtype == np.uint8 and image.shape == (240, 240, 3)
            assert before is None or not np.array_equal(image, before)
            before, place, reading = image, observation["privileged"], observation["policy"][:2]
            apart = math.hypot(*(place - reading)) > 0.6
            if apart:
                assert at(image, place) == blue
            if apart and -4.9 < reading[0] < 6.9 and -5.9 < reading[1] < 5.9:
                assert at(image, reading) == red
                readings += 1
            if min(math.hypot(*place), math.hypot(*reading)) > 0.8:
                assert at(image, (0, 0)) == green
            observation, *_ = env.step(env.action_space.sample())
    assert readings > 20
    ground = np.median(image, axis=0).sum(axis=1)
    assert abs(int(ground.argmax()) - 200) <= 1, "brightest at x = 5"
    assert (np.diff(ground[:200]) >= 0).all() and (np.diff(ground[200:]) <= 0).all() and ground[0] < ground.max() / 4


def test_who_has_left_the_picture_is_shown_at_its_edge() -> None:
    env = LightDark(render_mode="rgb_array")
    env.reset(seed=0)
    for _ in range(30):
        env.step(np.array([-1.0, 0.0], np.float32))
    left = env.render()[:, 0]
    assert (left == (40, 80, 220)).all(axis=1).sum() >= 5
