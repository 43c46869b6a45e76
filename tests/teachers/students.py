"""Students without learning, for tests of teachers: what they achieve is a function of the task and the episode."""

import numpy as np

from rlteach.lesson import Outcome


def outcome(lesson, ret=1.0, success=1.0):
    return Outcome(lesson.id, ret=ret, discounted_ret=ret, length=3, success=success, terminated=True)


def points_of(teacher, lessons):
    """Return the places of lessons in the unit cube (n, dimension)."""
    return np.array([teacher.task_space.to_unit(lesson.task) for lesson in lessons])


def play(teacher, score, episodes, batch=5):
    """Play episodes; `score(point, episode)` is the return, or (return, success). Returns points and origins."""
    points, origins = [], []
    for first in range(0, episodes, batch):
        lessons = teacher.propose(min(batch, episodes - first))
        played = []
        for point, lesson in zip(points_of(teacher, lessons), lessons, strict=True):
            result = score(point, len(points))
            ret, success = result if isinstance(result, tuple) else (result, float(result > 0.5))
            played.append(outcome(lesson, ret, success))
            points.append(point)
            origins.append(lesson.origin)
        teacher.observe(played)
    return np.array(points), np.array(origins)


def drawn(teacher, n):
    """Return the places of the next lessons in the unit cube, as lists that compare exactly."""
    return points_of(teacher, teacher.propose(n)).tolist()


class Toy:
    """The toy space of Portelas et al. (2019): a cube of a grid can be learned next to one that is mastered."""

    def __init__(self, cubes=10, full=100.0):
        self.competence = np.zeros((cubes, cubes))
        self.full = full

    def __call__(self, point, episode):
        i, j = np.minimum(point[:2] * len(self.competence), len(self.competence) - 1).astype(int)
        before = [self.competence[i - a, j - b] for a, b in ((0, 1), (1, 0), (1, 1)) if i >= a and j >= b]
        if i == j == 0 or max(before) >= 0.75 * self.full:
            self.competence[i, j] = min(self.competence[i, j] + 1, self.full)
        return self.competence[i, j] / self.full
