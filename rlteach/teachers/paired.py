"""PAIRED: an adversary proposes tasks that a second student masters and the learner does not.

teacher = PAIRED(task_space, seed=0)
teacher.second_student = ...    # set by a run
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from rlteach.errors import UserError
from rlteach.protocols import State
from rlteach.task_space import TaskSpace, clipped
from rlteach.teachers.base import HUGE, Array, TaskTeacher, require
from rlteach.teachers.level_buffer import require_one_of
from rlteach.teachers.networks import Trained, array, mlp, tensor

OPEN_TASKS = 1024
"""Tasks that may wait for the rest of their plays; older ones count as abandoned."""

FURTHEST = 10.0
"""Scaled returns are clipped to this distance from 0, so that one odd episode does not drown a batch."""

VALUE_WEIGHT = 0.5
"""Weight of the critic's error in the loss, as in PPO."""

IMPOSSIBLE = -1e9
"""Logit of a bin that a parameter does not have."""


# -- rewards of the adversary ------------------------------------------------------------------------------------------


def regret(antagonist: Array, protagonist: Array) -> Array:
    """Return max(0, max over plays of the antagonist's return - mean over plays of the protagonist's) (n,).

    Args:
        antagonist: Returns (n, plays).
        protagonist: Returns (n, plays).
    """
    return np.asarray(np.maximum(0.0, antagonist.max(axis=1) - protagonist.mean(axis=1)))


def flexible_regret(antagonist: Array, protagonist: Array) -> Array:
    """Return `regret` with whoever has the higher best return on a task as its antagonist (n,)."""
    swapped = protagonist.max(axis=1) > antagonist.max(axis=1)
    return np.where(swapped, regret(protagonist, antagonist), regret(antagonist, protagonist))


def minimax_reward(protagonist: Array) -> Array:
    """Return minus the best return of the one student that plays (n,)."""
    return np.asarray(-protagonist.max(axis=1))


# -- PPO ---------------------------------------------------------------------------------------------------------------


def clipped_surrogate(log_chances: Tensor, before: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Return E[min(r A, clip(r, 1 - c, 1 + c) A)], r the ratio of chances now and before (Schulman et al., 2017).

    Where both are equal its gradient is E[A grad log p]: that of REINFORCE with a baseline.
    """
    ratio = torch.exp(log_chances - before)
    return torch.minimum(ratio * advantages, ratio.clamp(1.0 - clip, 1.0 + clip) * advantages).mean()


class Adversary(nn.Module):
    """A policy over points of a unit cube, with a critic: every coordinate is one of some bins, and uniform within.

    It is uniform before it is trained. With `sequential` it chooses one coordinate after the other, each knowing the
    ones before, and every choice is an action; else it chooses all of them at once, as one action.

    Args:
        bins: Number of bins of each coordinate.
        sequential: Whether a choice knows those before it.
        noise: Normal random numbers that it sees for each point.
        hidden: Units of the two hidden layers of policy and critic.
        rng: Generator of the initial weights.
    """

    def __init__(
        self, bins: Sequence[int], *, sequential: bool, noise: int, hidden: int, rng: np.random.Generator
    ) -> None:
        super().__init__()
        self.bins, self.most, self.noise = np.array(bins), max(bins), noise
        d = len(bins)
        self.choices = [slice(i, i + 1) for i in range(d)] if sequential else [slice(None)]
        inputs = noise + (2 * d if sequential else 0)
        self.policy = mlp([inputs, hidden, hidden, self.most * (1 if sequential else d)], rng, nn.Tanh)
        self.critic = mlp([inputs, hidden, hidden, 1], rng, nn.Tanh)
        with torch.no_grad():
            for parameter in self.policy[-1].parameters():
                parameter.zero_()
        self._sequential = sequential
        self._impossible = torch.arange(self.most) >= torch.tensor(self.bins)[:, None]

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw `n` points (n, d), and the noise that each was drawn with."""
        noise, points = rng.standard_normal((n, self.noise)), np.zeros((n, len(self.bins)))
        for choice in self.choices:
            with torch.no_grad():
                chances = np.exp(array(self._log_chances(tensor(noise), tensor(points), choice)))
            cumulative, bins = chances.cumsum(axis=2), self.bins[choice]
            drawn = (cumulative <= rng.random((*chances.shape[:2], 1)) * cumulative[:, :, -1:]).sum(axis=2)
            points[:, choice] = (np.minimum(drawn, bins - 1) + rng.random(drawn.shape)) / bins
        return noise, points

    def judge(self, noise: Array, points: Array) -> tuple[Tensor, Tensor, Tensor]:
        """Return log chance, entropy and value of each action that led to points (n, d); all (n, actions).

        The log chance is that of the bins, the entropy is in nats.
        """
        seen, places = tensor(noise), tensor(points)
        log_chances = self._log_chances(seen, places, slice(None))
        bins = torch.from_numpy(np.minimum(np.floor(points * self.bins), self.bins - 1).astype(np.int64))
        chosen = log_chances.gather(2, bins[:, :, None])[:, :, 0]
        entropies = -(torch.exp(log_chances) * log_chances).sum(dim=2)
        values = self.critic(self._inputs(seen, places, slice(None)))[:, :, 0]
        if self._sequential:
            return chosen, entropies, values
        return chosen.sum(dim=1, keepdim=True), entropies.sum(dim=1, keepdim=True), values

    def _log_chances(self, noise: Tensor, points: Tensor, choice: slice) -> Tensor:
        """Return the log chances of all bins of some coordinates (n, coordinates, bins)."""
        logits = self.policy(self._inputs(noise, points, choice)).reshape(len(noise), -1, self.most)
        return torch.log_softmax(logits.masked_fill(self._impossible[choice], IMPOSSIBLE), dim=2)

    def _inputs(self, noise: Tensor, points: Tensor, choice: slice) -> Tensor:
        """Return what is seen before some choices (n, choices, inputs): noise, what was chosen, and what is next."""
        if not self._sequential:
            return noise[:, None]
        d = points.shape[1]
        known = (2.0 * points[:, None] - 1.0) * torch.ones(d, d).tril(-1)[choice]
        following = torch.eye(d)[choice].expand(len(points), -1, -1)
        return torch.cat([noise[:, None].expand(-1, known.shape[1], -1), known, following], dim=2)


# -- the teacher -------------------------------------------------------------------------------------------------------


class Proposals:
    """Tasks that are out, with how they were proposed, until the last of their plays is in.

    A task is known by its exact point in the unit cube, as the teacher issued it.

    Args:
        repeats: Plays of each task.
        dimension: Numbers of a point.
        width: Numbers that tell how it was proposed.
    """

    def __init__(self, repeats: int, dimension: int, width: int) -> None:
        self.repeats, self.dimension, self.width = repeats, dimension, width
        self._open: dict[bytes, Array] = {}

    def issue(self, point: Array, proposal: Array) -> None:
        """Note a task that goes out."""
        self._open[point.tobytes()] = np.concatenate([proposal, np.full(self.repeats, np.nan)])
        if len(self._open) > OPEN_TASKS:
            del self._open[next(iter(self._open))]

    def add(self, point: Array, ret: float) -> Array | None:
        """Note a play; return the proposal with the returns of all plays (width + repeats,) when it was the last."""
        row = self._open.get(point.tobytes())
        if row is None:
            return None
        row[self.width + int(np.isfinite(row[self.width :]).sum())] = ret
        return self._open.pop(point.tobytes()) if np.isfinite(row[-1]) else None

    def state_dict(self) -> State:
        """Return the open tasks."""
        points = np.array([np.frombuffer(point) for point in self._open]).reshape(-1, self.dimension)
        return {"points": points, "rows": np.array(list(self._open.values())).reshape(-1, self.width + self.repeats)}

    def load_state_dict(self, state: State) -> None:
        """Continue from `state_dict`."""
        points, rows = np.asarray(state["points"], dtype=np.float64), np.array(state["rows"], dtype=np.float64)
        self._open = {point.tobytes(): row for point, row in zip(points, rows, strict=True)}


class PAIRED(TaskTeacher):
    """PAIRED: an adversary earns the regret of the learner against a second student (Dennis et al., 2020).

    Source: "Emergent complexity and zero-shot transfer via unsupervised environment design", NeurIPS 2020. The
    adversary, a policy of its own, proposes tasks. The learner (protagonist) plays each of them `repeats` times, then a
    second student (antagonist) does, and learns from it; the adversary earns, at the last of its choices,
    max(0, max return of the antagonist - mean return of the protagonist), and takes a step of PPO. So it seeks what can
    be learned and is not yet: where both fail, and where both succeed, it earns nothing.

    `reward`: `"regret"` as above; `"flexible"`: whoever does better on a task counts as its antagonist; `"minimax"`:
    minus the best return of the learner, without a second student: the hardest tasks, possible or not (the baseline of
    the paper). Its known weakness is that the adversary loses its entropy and the tasks their variety; "Stabilizing
    unsupervised environment design with a learned adversary" (Mediratta et al., 2023) mends it by a high `entropy`
    bonus, and by students that imitate each other, which no teacher can bring about and is not here.

    Needs from the learner: that it is on-policy (PPO, A2C), for it is trained a second time. Pays: all steps of the
    second student, in whole rollouts of `n_steps * n_envs` steps, one at least for every `batch` tasks. The second
    student gets as many steps as the first where `batch * repeats` episodes take a little less than a rollout.

    Deviations: tasks are points of the unit cube, built one parameter after the other, each parameter one of `bins`
    bins (as the control points of the paper's follow-ups on a 10 x 10 grid) and uniform within, discrete ones by level;
    `sequential=False` chooses all parameters at once. Networks without memory that see what is built so far; no
    discount within a task; returns are scaled by their range, and advantages are not normalised by batch, so that
    `entropy` has a meaning: the adversary is at rest when its chance of a task is proportional to
    exp(regret / entropy). It begins uniform and goes on proposing while tasks are out; batches hold distinct tasks
    rather than one in each environment. Where another teacher chooses the start of the episodes, the second student
    begins at the ordinary reset nevertheless, and regret means little.

    It fails where the second student learns nothing before the budget is spent (regret is then noise), and where
    one of the two students is ahead by chance and stays so. In the tables of "Replay-guided adversarial environment
    design" (Jiang et al., 2021) it is behind uniform sampling.

    Args:
        task_space: Any Gymnasium space, or a `TaskSpace`.
        reward: `"regret"`, `"flexible"` or `"minimax"`.
        sequential: Whether a parameter is chosen knowing those before it.
        bins: Bins of a continuous parameter, and of a discrete one of more levels.
        batch: Tasks between two steps of adversary and second student.
        repeats: Plays of one task by each student.
        entropy: Weight of the entropy bonus, in ranges of return per nat (published, for normalised advantages: 0 for
            mazes, 0.01 for walkers).
        epochs: Passes over a batch.
        clip: Clipping range c of PPO.
        learning_rate: Step size of Adam.
        hidden: Units of the two hidden layers of policy and critic.
        noise: Random numbers that the adversary sees for each task.
        seed: Seed of the draws and the networks.
        return_range: Smallest and largest return, if known.

    Raises:
        UserError: By `propose`, when nobody has given it a second student.
    """

    origin: ClassVar[str] = "paired"
    state_names: ClassVar[tuple[str, ...]] = ("_adversary", "_proposals", "_pool", "_finished", "_task", "_left")

    def __init__(
        self,
        task_space: TaskSpace | spaces.Space[Any],
        *,
        reward: str = "regret",
        sequential: bool = True,
        bins: int = 10,
        batch: int = 32,
        repeats: int = 2,
        entropy: float = 0.01,
        epochs: int = 5,
        clip: float = 0.2,
        learning_rate: float = 1e-3,
        hidden: int = 64,
        noise: int = 8,
        seed: int = 0,
        return_range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(task_space, seed=seed, return_range=return_range)
        require_one_of(self, reward=(reward, ("regret", "flexible", "minimax")))
        require(
            self,
            bins=(bins, 2, 1000),
            batch=(batch, 1, None),
            repeats=(repeats, 1, None),
            entropy=(entropy, 0, None),
            epochs=(epochs, 1, None),
            clip=(clip, 0, 1),
            learning_rate=(learning_rate, 0, 1),
            hidden=(hidden, 1, 4096),
            noise=(noise, 1, 4096),
        )
        self.reward, self.batch, self.repeats = reward, batch, repeats
        self.entropy, self.epochs, self.clip = entropy, epochs, clip
        self.wants_second_student = reward != "minimax"
        network = Adversary(self._bins(bins), sequential=sequential, noise=noise, hidden=hidden, rng=self.rng)
        self._network = network
        self._adversary = Trained(network, learning_rate)
        self._choices = slice(noise, noise + len(network.bins))
        self._before = slice(self._choices.stop, self._choices.stop + len(network.choices))
        width = self._before.stop + self.dimension
        self._proposals = Proposals(repeats, self.dimension, width)
        self._pool: Array = np.zeros((0, width))
        self._finished: Array = np.zeros((0, width + repeats))
        self._task, self._left = np.zeros(self.dimension), 0

    # -- what CLUTR does otherwise -------------------------------------------------------------------------------------

    def _bins(self, bins: int) -> list[int]:
        """Return the number of bins of each coordinate that the adversary chooses."""
        return [min(p.levels, bins) if p.levels else bins for p in self.task_space.parameters]

    def _points(self, choices: Array) -> Array:
        """Return the points of the task cube (n, dimension) that choices in the adversary's unit cube stand for."""
        return choices

    # -- proposing -----------------------------------------------------------------------------------------------------

    def _draw(self, n: int) -> tuple[Array, Sequence[str]]:
        if self.wants_second_student and self.second_student is None:
            raise UserError(
                f"{type(self).__name__} has no second student to compare the learner with: `rlteach run CONFIG` gives "
                "it one; in a script, set teacher.second_student (a callable from tasks and repeats to outcomes) or "
                "reward='minimax', which needs none"
            )
        points = np.empty((n, self.dimension))
        for row in range(n):
            if self._left == 0:
                self._task, self._left = self._next_task(), self.repeats
            self._left -= 1
            points[row] = self._task
        return points, [self.origin] * n

    def _next_task(self) -> Array:
        if not len(self._pool):
            self._pool = self._proposed(self.batch)
        proposal, self._pool = self._pool[0], self._pool[1:]
        point: Array = proposal[self._before.stop :]
        self._proposals.issue(point, proposal)
        return point

    def _proposed(self, n: int) -> Array:
        """Return `n` proposals, each a row of noise, choices, log chances of its actions, and the point of the task."""
        noise, choices = self._network.draw(n, self.rng)
        with torch.no_grad():
            log_chances, _, _ = self._network.judge(noise, choices)
        return np.concatenate([noise, choices, array(log_chances), self._points(choices)], axis=1)

    def portrait(self) -> dict[str, Array]:
        """Return tasks that the adversary proposes with always the same random numbers."""
        _, choices = self._network.draw(256, np.random.default_rng(0))
        return {"points/place": self._points(choices)}

    # -- learning ------------------------------------------------------------------------------------------------------

    def _learn(self, tasks: Array, returns: Array, successes: Array) -> None:
        for task, ret in zip(tasks, returns.tolist(), strict=True):
            finished = self._proposals.add(task, ret)
            if finished is not None:
                self._finished = np.concatenate([self._finished, finished[None]])
        if len(self._finished) >= self.batch:
            rows, self._finished = self._finished, self._finished[:0]
            proposals, protagonist = rows[:, : -self.repeats], rows[:, -self.repeats :]
            if self.wants_second_student:
                antagonist = self._played_by_the_second(proposals[:, self._before.stop :])
            else:
                antagonist = protagonist
            told = np.isfinite(antagonist).all(axis=1)
            if told.any():
                self._improve(proposals[told], self._rewards(antagonist[told], protagonist[told]))
            self._pool = self._pool[:0]  # what comes next is proposed by the new policy

    def _played_by_the_second(self, points: Array) -> Array:
        """Return the returns of the second student (n, repeats), nan where they are not finite."""
        assert self.second_student is not None
        outcomes = self.second_student(self.task_space.tasks_of_unit(points), repeats=self.repeats)
        returns = np.array([outcome.ret if self._usable(outcome) else np.nan for outcome in outcomes])
        self.scale.see(returns[np.isfinite(returns)])
        return np.asarray(returns.reshape(len(points), self.repeats))

    def _rewards(self, antagonist: Array, protagonist: Array) -> Array:
        ant, pro = self._scaled(antagonist), self._scaled(protagonist)
        if self.reward == "minimax":
            return minimax_reward(pro)
        return flexible_regret(ant, pro) if self.reward == "flexible" else regret(ant, pro)

    def _scaled(self, returns: Array) -> Array:
        """Return returns in units of their range: unlike `scale` not clipped to it, since regrets are differences."""
        low, high = self.scale.bounds()
        with np.errstate(over="ignore"):  # what overflows is clipped
            return clipped((clipped(returns, -HUGE, HUGE) - low) / (high - low), -FURTHEST, FURTHEST)

    def _improve(self, proposals: Array, rewards: Array) -> None:
        """Take the steps of PPO for proposals (n, width) that earned rewards (n,)."""
        noise, choices = proposals[:, : self._choices.start], proposals[:, self._choices]
        before, earned = tensor(proposals[:, self._before]), tensor(rewards[:, None])
        with torch.no_grad():
            _, _, values = self._network.judge(noise, choices)
        advantages = earned - values
        for _ in range(self.epochs):
            log_chances, entropies, values = self._network.judge(noise, choices)
            gain = clipped_surrogate(log_chances, before, advantages, self.clip) + self.entropy * entropies.mean()
            self._adversary.descend(VALUE_WEIGHT * ((values - earned) ** 2).mean() - gain)
