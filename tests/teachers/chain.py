"""A chain of states and a learner on it, for tests of start-state teachers.

The learner gets from a state to the next one with a chance that practice raises, but only practice that ends at the
goal: from the far end of the chain it learns nothing, from near the goal it learns at once.
"""

import gymnasium as gym
import numpy as np

from rlteach.lesson import Outcome
from rlteach.snapshots.collect import Explorer, collect
from rlteach.snapshots.store import SnapshotStore

LENGTH = 24


class Chain(gym.Env):
    """One step left or right at a time; the right end is the goal, worth 1."""

    observation_space = gym.spaces.Box(0.0, LENGTH, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, length=LENGTH):
        self.length, self.position = length, 0

    def observe(self):
        return np.array([float(self.position)]), {"is_success": self.position >= self.length}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = 0
        return self.observe()

    def step(self, action):
        self.position = max(self.position + (1 if action else -1), 0)
        observation, info = self.observe()
        done = info["is_success"]
        return observation, float(done), done, False, info

    def get_snapshot(self):
        return {"position": self.position}

    def set_snapshot(self, snapshot):
        self.position = snapshot["position"]
        return self.observe()


def straight(observation):
    return 1


def chain_store(episodes=1, every=1, length=LENGTH, critic=lambda observation: 0.9 ** (LENGTH - observation[0])):
    """Return the snapshots of episodes that go straight to the goal; each later one is two steps shorter."""
    store = SnapshotStore()
    for episode in range(episodes):
        part = SnapshotStore()
        collect(Chain(length - 2 * episode), straight, part, episodes=1, every=every, critic=critic)
        store.merge(part)
    return store


def explorer():
    return Explorer(Chain(), seed=0)


def filled(rows, capacity=1000):
    """Return a store of given records: dicts of fields of `Record`, with snapshots that are all different."""
    store = SnapshotStore(capacity)
    store.claim(Chain())
    for number, row in enumerate(rows):
        defaults = {"episode": 0, "step": number, "remaining": len(rows) - number, "ret": 1.0}
        store.add({"position": number}, **{**defaults, **row})
    return store


class ChainLearner:
    """Makes each step with a chance of its own, which rises where it was made on the way to the goal."""

    def __init__(self, seed=0, length=LENGTH, chance=0.55, rate=0.3):
        self.rng = np.random.default_rng(seed)
        self.chances = np.full(length, chance)
        self.length, self.rate = length, rate
        self.starts = []

    def success_from(self, position):
        """Return the chance to get from a position to the goal."""
        return float(np.prod(self.chances[position:]))

    def play(self, lesson):
        """Play one lesson; a guide goes straight, and where it gets to the goal an ordinary episode begins."""
        start = lesson.start
        position = 0 if start is None or start.snapshot is None else start.snapshot["position"]
        if start is not None and start.guide is not None:
            position = start.roll_in if start.roll_in < self.length else 0
        self.starts.append(position)
        limit = self.length if start is None or start.limit is None else start.limit
        first, steps = position, 0
        while position < self.length and steps < limit:
            steps += 1
            if self.rng.random() >= self.chances[position]:
                break
            position += 1
        success = position >= self.length
        if success:
            self.chances[first:] += self.rate * (1 - self.chances[first:])
        return Outcome(lesson.id, float(success), 0.9**steps * success, steps, float(success), success)


def train(teacher, learner, episodes, batch=4, until=lambda: False):
    """Play episodes until a condition holds; return how many were played."""
    for played in range(0, episodes, batch):
        if until():
            return played
        teacher.observe([learner.play(lesson) for lesson in teacher.propose(batch)])
    return episodes


def position_of(lesson):
    """Return where a lesson of a snapshot starts; None for the ordinary reset."""
    return None if lesson.start is None else lesson.start.snapshot["position"]
