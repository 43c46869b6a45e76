"""TigerRoom against its rules one number at a time, and the returns of those who know, look, guess and wait."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rlteach_envs.tiger_room import TigerRoom, TigerRoomBatch


def test_every_step_follows_the_rules_one_number_at_a_time() -> None:
    rows, rng = 40, np.random.default_rng(0)
    env = TigerRoomBatch(rows)
    observations, _ = env.reset(seed=0)
    assert (np.abs(observations["policy"][:, :2]) <= 0.05).all() and (observations["policy"][:, 2] == 0).all()
    places, sides = env._positions.tolist(), [1 if side > 0 else -1 for side in env._tasks[:, 0]]
    seen, over = [False] * rows, np.zeros(rows, dtype=bool)
    counts = {"right": 0, "wrong": 0, "late": 0, "seen": 0}
    for t in range(60):
        if t % 6 == 0:
            actions = rng.uniform(-1.3, 1.3, (rows, 2)).astype(np.float32)
        observations, rewards, terminations, truncations, infos = env.step(actions)
        for i in np.flatnonzero(~over):
            x, y = (place + 0.12 * max(-1, min(1, float(a))) for place, a in zip(places[i], actions[i], strict=True))
            places[i] = [x, max(-1, min(1, y))]
            seen[i] = seen[i] or y > 0.4
            right, wrong = x * sides[i] > 0.95, x * sides[i] < -0.95
            assert rewards[i] == pytest.approx(right - 2 * wrong - 0.005)
            assert terminations[i] == (right or wrong) and truncations[i] == (t == 59 and not (right or wrong))
            assert observations["policy"][i] == pytest.approx([*places[i], sides[i] * seen[i]], abs=1e-6)
            assert observations["privileged"][i] == [sides[i]]
            if terminations[i] or truncations[i]:
                assert infos["is_success"][i] == right
                counts["right"] += right
                counts["wrong"] += wrong
                counts["late"] += not (right or wrong)
                counts["seen"] += seen[i]
        over |= terminations | truncations
    assert over.all() and all(count >= 3 for count in counts.values()), counts


@pytest.mark.parametrize(("side", "right_door"), [(1.0, 1), (1e-9, 1), (0.0, -1), (-1.0, -1)])
def test_the_right_door_is_on_the_right_exactly_when_side_is_positive(side: float, right_door: int) -> None:
    env = TigerRoom()
    observation, _ = env.reset(seed=0, options={"task": {"side": np.array(side)}})
    assert observation["privileged"] == [right_door]
    total = 0.0
    for _ in range(10):
        _, reward, terminated, _, info = env.step(np.array([1.0, 0.0], np.float32))
        total += reward
        if terminated:
            break
    assert info == {"is_success": right_door == 1}
    assert total == pytest.approx((1 if right_door == 1 else -2) - 0.005 * 8, abs=0.0051)


def test_what_was_seen_stays_seen() -> None:
    env = TigerRoom(peep=0.3)
    env.reset(seed=0, options={"task": {"side": np.array(-0.5)}})
    revealed = []
    for direction in [1.0] * 4 + [-1.0] * 6:
        observation, *_ = env.step(np.array([0.0, direction], np.float32))
        revealed.append((float(observation["policy"][1]) > 0.3, float(observation["policy"][2])))
    first = [high for high, _ in revealed].index(True)
    assert [value for _, value in revealed] == [0.0] * first + [-1.0] * (10 - first)
    assert not revealed[-1][0]


# -- the returns of four policies ------------------------------------------------------------------------------------


def know(observations: Any) -> Any:
    return np.concatenate([observations["privileged"], np.zeros_like(observations["privileged"])], axis=1)


def look(observations: Any) -> Any:
    revealed = observations["policy"][:, 2]
    return np.stack([revealed, revealed == 0], axis=1)


def guess(observations: Any) -> Any:
    return np.tile([1.0, 0.0], (len(observations["policy"]), 1))


def wait(observations: Any) -> Any:
    return np.zeros((len(observations["policy"]), 2))


def play(policy: Callable[[Any], Any], **kwargs: Any) -> tuple[np.ndarray, float]:
    env = TigerRoomBatch(256, **kwargs)
    sides = np.array([task["side"] for task in env.test_sets["sides"]])
    observations, _ = env.reset(seed=0, options={"task": {"side": sides}})
    returns, successes = np.zeros(256), 0
    for _ in range(env.horizon):
        observations, rewards, _, _, infos = env.step(policy(observations))
        returns += rewards
        successes += int(infos["is_success"].sum()) if infos else 0
    return returns, successes / 256


@pytest.mark.parametrize(
    ("policy", "expected", "success"), [(know, 0.958, 1.0), (look, 0.934, 1.0), (guess, -0.542, 0.5)]
)
def test_returns_of_those_who_know_look_and_guess(policy: Any, expected: float, success: float) -> None:
    returns, share = play(policy)
    assert returns.mean() == pytest.approx(expected, abs=0.01)
    assert share == success


def test_standing_still_costs_exactly_the_time() -> None:
    returns, share = play(wait)
    assert returns == pytest.approx(np.full(256, -0.3), abs=1e-12) and share == 0


def test_a_milder_penalty_makes_guessing_better_than_standing_still() -> None:
    assert play(guess)[0].mean() < -0.3 < play(guess, wrong=-1.0)[0].mean()


def test_the_test_set_is_balanced() -> None:
    sides = [float(task["side"]) for task in TigerRoom().test_sets["sides"]]
    assert len(sides) == 256 and sum(side > 0 for side in sides) == 128


@pytest.mark.parametrize(
    ("kwargs", "says"), [({"peep": 1.0}, "peep = 1.0"), ({"peep": 0.0}, "peep = 0.0"), ({"wrong": 1.0}, "wrong = 1.0")]
)
def test_wrong_arguments_are_named(kwargs: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TigerRoomBatch(1, **kwargs)
