"""GoalGAN: an adversarial generator of tasks that the learner sometimes solves.

teacher = GoalGAN(task_space, seed=0, initial={"mean": [0.0, 6.0], "std": 0.1})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from rlteach.protocols import State
from rlteach.task_space import TaskSpace
from rlteach.teachers.base import Array, TaskTeacher, require
from rlteach.teachers.distributions import distribution, folded
from rlteach.teachers.history import History
from rlteach.teachers.networks import Trained, array, mlp, tensor

MOST_STEPS = 4
"""Training steps in one call of `observe`."""

BATCH = 64

MOMENTUM = 0.5
"""First decay rate of Adam; with the usual 0.9 the two networks chase each other (Radford et al., 2016)."""

LEAST_DISTANCE = 0.01
"""Distance that a mastered task keeps from the others that are remembered, as a share of the cube's diagonal."""

OPEN_TRIALS = 1024
"""Tasks that may wait for the rest of their repeats; older ones count as abandoned."""


def discriminator_loss(on_tasks: Tensor, labels: Tensor, on_generated: Tensor) -> Tensor:
    """Return E[y (D(g) - 1)^2 + (1 - y) (D(g) + 1)^2] + E[(D(G(z)) + 1)^2] (equation 5 with a = -1, b = 1)."""
    known = labels * (on_tasks - 1.0) ** 2 + (1.0 - labels) * (on_tasks + 1.0) ** 2
    return known.mean() + ((on_generated + 1.0) ** 2).mean()


def generator_loss(on_generated: Tensor) -> Tensor:
    """Return E[D(G(z))^2] (equation 6 with c = 0)."""
    return (on_generated**2).mean()


class Trials:
    """Tasks that are played several times, until the last of their repeats is in.

    A task is known by its exact point in the unit cube, as the teacher issued it.
    """

    def __init__(self, repeats: int, dimension: int) -> None:
        self.repeats, self.dimension = repeats, dimension
        self._open: dict[bytes, tuple[int, float]] = {}

    def add(self, task: Array, success: float) -> float | None:
        """Note one play; return the success rate when it was the task's last one."""
        plays, total = self._open.pop(task.tobytes(), (0, 0.0))
        plays, total = plays + 1, total + success
        if plays == self.repeats:
            return total / plays
        self._open[task.tobytes()] = (plays, total)
        if len(self._open) > OPEN_TRIALS:
            del self._open[next(iter(self._open))]
        return None

    def state_dict(self) -> State:
        """Return the open tasks, their plays and their successes."""
        tasks = np.array([np.frombuffer(task) for task in self._open]).reshape(-1, self.dimension)
        return {"tasks": tasks, "results": np.array(list(self._open.values())).reshape(-1, 2)}

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        tasks, results = np.asarray(state["tasks"], dtype=np.float64), np.asarray(state["results"])
        self._open = {
            task.tobytes(): (int(plays), float(total))
            for task, (plays, total) in zip(tasks, results.tolist(), strict=True)
        }


class GoalGAN(TaskTeacher):
    """GoalGAN: an adversarial generator of tasks of intermediate difficulty (Florensa et al., 2018).

    Source: "Automatic goal generation for reinforcement learning agents", ICML 2018. Every task is played `repeats`
    times in a row; it has intermediate difficulty (label 1) when its success rate lies between `least_success` and
    `most_success`. After every `update_every` labelled
    tasks, if any has label 1, a least-squares GAN is trained on them (equations 5 and 6). A share of the tasks are
    mastered ones, played again lest they be forgotten.

    Needs of the learner: a success flag. Plays nothing of its own, but every task `repeats` times.

    Deviations: tasks in the unit cube; the repeats of a task find each other by the point that was issued, which never
    takes a round trip through the space; training is spread over the episodes; networks of 64 units in place of 256;
    one generator of its own for all draws; a share of uniform tasks, for without a label 1 nothing is trained and a
    generator that has collapsed would stay so. When it fails: with 2 repeats and a yes-or-no success only a rate of
    exactly one half has label 1; where most tasks are out of reach labels are all 0 and nothing is trained; it did not
    beat uniform sampling where most tasks are infeasible (Romac et al., 2021).

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        initial: Distribution that the generator is trained on first, None for uniform; see
            `rlteach.teachers.distributions`.
        repeats: Plays of one task.
        least_success: Success rate below which a task is too hard.
        most_success: Success rate above which it is mastered.
        mastered_share: Share of mastered tasks among the others, once there are any.
        uniform_share: Share of tasks drawn uniformly after the first training.
        noise: Standard deviation of the noise on tasks, in unit-cube lengths.
        update_every: Labelled tasks between trainings.
        iterations: Training steps after that many tasks, one after each episode.
        hidden: Units of the two hidden layers of each network.
        memory: Mastered tasks that are remembered.
        learning_rate: Step size of Adam.
        seed: Seed of the draws and the networks.
        return_range: Accepted for all teachers; success needs no range.
    """

    tied_to_space = True
    state_names = (
        "_generator", "_critic", "_trials", "_labelled", "_unused", "_owed", "_ready", "_mastered", "_task", "_origin",
        "_left",
    )  # fmt: skip

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        initial: Mapping[str, Any] | None = None,
        repeats: int = 2,
        least_success: float = 0.25,
        most_success: float = 0.75,
        mastered_share: float = 0.2,
        uniform_share: float = 0.1,
        noise: float = 0.03,
        update_every: int = 100,
        iterations: int = 100,
        hidden: int = 64,
        memory: int = 500,
        learning_rate: float = 1e-3,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        require(
            self,
            repeats=(repeats, 1, None),
            least_success=(least_success, 0, most_success),
            most_success=(most_success, least_success, 1),
            mastered_share=(mastered_share, 0, 1),
            uniform_share=(uniform_share, 0, 1),
            noise=(noise, 0, 1),
            update_every=(update_every, 1, None),
            iterations=(iterations, 1, None),
            hidden=(hidden, 1, 4096),
            memory=(memory, 1, None),
            learning_rate=(learning_rate, 0, 1),
        )
        self.repeats, self.least_success, self.most_success = repeats, least_success, most_success
        self.mastered_share, self.uniform_share, self.noise = mastered_share, uniform_share, noise
        self.update_every, self.iterations, self.memory = update_every, iterations, memory
        d = self.dimension
        self.initial = distribution(self.task_space, "initial", initial)
        self._generator = Trained(mlp([d, hidden, hidden, d], self.rng), learning_rate, momentum=MOMENTUM)
        self._critic = Trained(mlp([d, hidden, hidden, 1], self.rng), learning_rate, momentum=MOMENTUM)
        self._trials = Trials(repeats, d)
        self._labelled = History(max(update_every, BATCH), d + 1)
        first = self.initial.sample(max(update_every, BATCH), self.rng)
        self._labelled.append(np.column_stack([first, np.ones(len(first))]))
        self._unused, self._owed, self._ready = 0, iterations, False
        self._mastered: Array = np.zeros((0, d))
        self._task, self._origin, self._left = np.zeros(d), "", 0

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        points, origins = np.empty((n, self.dimension)), []
        for row in range(n):
            if self._left == 0:
                self._task, self._origin = self._new_task()
                self._left = self.repeats
            self._left -= 1
            points[row] = self._task
            origins.append(self._origin)
        return points, origins

    def _new_task(self) -> tuple[Array, str]:
        if not self._ready:
            return self.initial.sample(1, self.rng)[0], "goal_gan/bootstrap"
        if self.rng.random() < self.uniform_share:
            return self.rng.random(self.dimension), "goal_gan/uniform"
        if len(self._mastered) and self.rng.random() < self.mastered_share:
            point, origin = self._mastered[self.rng.integers(len(self._mastered))], "goal_gan/mastered"
        else:
            with torch.no_grad():
                point, origin = array(self._generated(1))[0], "goal_gan"
        return folded(point + self.noise * self.rng.standard_normal(self.dimension)), origin

    def _generated(self, n: int) -> Tensor:
        noise = tensor(self.rng.standard_normal((n, self.dimension)))
        return torch.sigmoid(self._generator.network(noise))

    def portrait(self) -> dict[str, Array]:
        """Return tasks that the generator makes of always the same noise, once it has been trained."""
        if not self._ready:
            return {}
        noise = tensor(np.random.default_rng(0).standard_normal((256, self.dimension)))
        with torch.no_grad():
            return {"points/place": array(torch.sigmoid(self._generator.network(noise)))}

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        for task, success in zip(tasks, successes.tolist(), strict=True):
            rate = self._trials.add(task, success)
            if rate is not None:
                self._label(task, rate)
        for _ in range(min(self._owed, len(tasks), MOST_STEPS)):
            self._train()
            self._owed -= 1
        self._ready = self._ready or self._owed == 0

    def _label(self, task: Array, rate: float) -> None:
        self._labelled.append((*task.tolist(), float(self.least_success <= rate <= self.most_success)))
        self._unused += 1
        if rate > self.most_success:
            self._remember(task)
        if self._unused >= self.update_every:
            self._unused = 0
            if self._labelled.unordered()[:, -1].any():
                self._owed = self.iterations

    def _remember(self, task: Array) -> None:
        apart = LEAST_DISTANCE * np.sqrt(self.dimension)
        if not len(self._mastered) or ((self._mastered - task) ** 2).sum(axis=1).min() > apart**2:
            self._mastered = np.concatenate([self._mastered, task[None]])[-self.memory :]

    def _train(self) -> None:
        rows = self._labelled.unordered()
        rows = rows[self.rng.integers(len(rows), size=BATCH)]
        tasks, labels, critic = tensor(rows[:, :-1]), tensor(rows[:, -1:]), self._critic.network
        generated = self._generated(BATCH)
        self._critic.descend(discriminator_loss(critic(tasks), labels, critic(generated.detach())))
        self._generator.descend(generator_loss(critic(generated)))
