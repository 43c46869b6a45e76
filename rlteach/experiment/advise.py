"""Distil or decide: how far the expert's actions follow from what a student sees, found out for a few thousand steps.

    advice = advise(settings, budget=19_200)
    print(advice.text())

An expert can be distilled as far as its action is a function of what the student has seen. So a student is distilled by
DAgger for a moment; on the states that it meets, not the expert's, networks with longer and longer history are fitted
to the labels, and judged on episodes that were held out. The share of the labels' variance that none of them explains
is what no amount of labels will give. Where it is small, distil; where it is large, only rewards can teach what to do
(To Distill or Decide, arXiv 2510.03207, shows that this and not the task's reward decides).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rlteach.delivery import attach, make_vec_env
from rlteach.distillation.actions import Distribution, Gaussian
from rlteach.distillation.dagger import Dagger
from rlteach.distillation.imitation import imitation_loss
from rlteach.distillation.labelled import Rollout, index_batches
from rlteach.distillation.student import Student
from rlteach.distillation.students import make_student
from rlteach.errors import InvalidValue, UserError
from rlteach.experiment.config import RunConfig
from rlteach.experiment.distill import probe, test_tasks
from rlteach.experiment.evaluate import evaluate, metrics_of, own_randomness
from rlteach.teachers.base import make_teacher
from rlteach.teachers.no_tasks import NoTasks

HISTORIES = (1, 2, 4, 8, 16)
ROUND = 50
"""Steps of each environment in a round."""
UPDATES = 600
DECODABLE, PARTLY = 0.1, 0.9
"""Unexplained shares up to which to distil, and up to which the expert's advice helps rewards along.

Set after looking at five tasks on which everything was run (`benchmarks/distillation.py`): where even three quarters
are unexplained (LightDark), rewards with advice still bring more than rewards alone."""
ENOUGH = 0.9
"""Share of the expert's return, counted from random actions, at which nothing else is needed."""


@dataclass(frozen=True)
class Advice:
    """What was found, and what follows from it.

    Attributes:
        recommendation: `distil`, `kd_rl` (rewards with the expert's advice) or `rl`.
        unexplained: Share of the labels' variance (of their entropy, for discrete actions) that a student leaves
            unexplained on held-out episodes, by the history that it sees; 0 stands for all of it (a recurrent one).
        expert: Mean return of the expert.
        random: Mean return of random actions.
        student: Mean return of the student that was distilled meanwhile.
        steps: Environment steps that this took, evaluations not counted.
        labels: Labels that this took.
    """

    recommendation: str
    unexplained: Mapping[int, float]
    expert: float
    random: float
    student: float
    steps: int
    labels: int

    @property
    def score(self) -> float:
        """Return of the student, 0 for random actions and 1 for the expert."""
        return (self.student - self.random) / (self.expert - self.random)

    @property
    def history(self) -> int:
        """The shortest history that explains nearly as much as the best; 0 for a recurrent student."""
        best = min(self.unexplained.values())
        enough = [h for h, share in self.unexplained.items() if share <= best + 0.02 and h > 0]
        return min(enough, default=0)

    def command(self) -> str:
        """Return the arguments of `rlteach distill` that follow from it."""
        student = {0: "gru", 1: "mlp"}.get(self.history, "stack")
        more = f" --set learner.kwargs.policy_kwargs.history={self.history}" if student == "stack" else ""
        method = {"distil": "dagger", "kd_rl": "advisor", "rl": RL_ALONE}[self.recommendation]
        return f"--method {method} --student {student}{more}"

    def text(self) -> str:
        """Return everything in words."""
        rows = [
            f"  {'all' if history == 0 else history:>4}  {share:6.1%}" for history, share in self.unexplained.items()
        ]
        return "\n".join(
            [
                f"expert {self.expert:.4g}, random {self.random:.4g}, "
                f"student after {self.steps:,} steps {self.student:.4g} (score {self.score:.2f})",
                "share of the expert's actions that does not follow from what the student saw, by length of history:",
                *rows,
                f"recommendation: {REASONS[self.recommendation]}",
                f"next: rlteach distill ... {self.command()}",
            ]
        )


RL_ALONE = "asymmetric --set learner.kwargs.critic=student"
"""PPO on the student's view: a critic that knows more than the student can keep it from ever going to look."""

REASONS = {
    "distil": "distil; the expert's actions follow from what the student sees",
    "kd_rl": "learn from rewards with the expert's advice; part of what it does cannot be known to the student",
    "rl": "learn from rewards; the student cannot know why the expert acts as it does, and copying it would do harm",
}


def recommend(unexplained: float, score: float) -> str:
    """Return what to do, from the smallest unexplained share and the student's score."""
    if unexplained <= DECODABLE or score >= ENOUGH:
        return "distil"
    return "kd_rl" if unexplained <= PARTLY else "rl"


def advise(settings: RunConfig, *, budget: int = 19_200) -> Advice:
    """Find out whether the expert of a distillation's configuration can be distilled.

    Args:
        settings: From `distill.config_of`; the method in it does not matter.
        budget: Environment steps for the student that is distilled meanwhile.

    Raises:
        UserError: When the expert is no better than random actions.
    """
    ends = probe(settings)
    env = settings.env
    if budget < 4 * ROUND * env.n_envs:
        raise InvalidValue(
            f"budget = {budget:,} must be at least {4 * ROUND * env.n_envs:,}: four rounds of {ROUND} steps"
        )
    with own_randomness(settings.seed):
        learner = _distilled(settings, budget)
        data = [_Held.of(rollout) for rollout in learner.data.rollouts]
        shares = {history: _unexplained(learner, data, history) for history in HISTORIES}
        shares[0] = _unexplained_by_memory(learner, data)
        student = _judged(learner, settings)
    score = (student - ends.random) / (ends.expert - ends.random)
    decision = recommend(min(shares.values()), score)
    return Advice(decision, shares, ends.expert, ends.random, student, learner.num_timesteps, learner.labels)


def _distilled(settings: RunConfig, budget: int) -> Dagger:
    """Distil by DAgger into a student with the longest history."""
    env, kwargs = settings.env, settings.learner.kwargs
    venv = make_vec_env(env.id, env.n_envs, env_kwargs=env.kwargs, vec=env.vec, seed=settings.seed)
    tasks = venv.get_attr("task_space", [0])[0] if venv.has_attr("task_space") else None
    teacher = NoTasks() if tasks is None else make_teacher("uniform", tasks, seed=settings.seed)
    known = ("expert", "student_obs", "expert_obs", "trust", "expert_normalizer")
    shared = {name: kwargs[name] for name in known if name in kwargs}
    stack = {"history": HISTORIES[-1]}
    learner = Dagger(
        "stack", attach(venv, teacher), policy_kwargs=stack, n_steps=ROUND, epochs=8, seed=settings.seed, **shared
    )
    try:
        learner.learn(budget)
    finally:
        venv.close()
    return learner


def _judged(learner: Dagger, settings: RunConfig) -> float:
    env = settings.env
    venv = make_vec_env(env.id, env.n_envs, env_kwargs=env.kwargs, vec=env.vec)
    try:
        outcomes = evaluate(learner, venv, test_tasks(venv), deterministic=True, seed=settings.seed)
    finally:
        venv.close()
    return metrics_of(outcomes, 1, "advice")["return/advice"]


@dataclass(frozen=True)
class _Held:
    """A rollout, the rows of every fourth environment held out."""

    learned: Rollout
    held: Rollout

    @classmethod
    def of(cls, rollout: Rollout) -> _Held:
        held = np.arange(rollout.starts.shape[1]) % 4 == 3
        if not held.any():
            raise UserError(
                f"advice judges students in every fourth environment, and there are {len(held)}: --set env.n_envs=4 "
                "at least"
            )
        return cls(*(_rows(rollout, rows) for rows in (~held, held)))


def _rows(rollout: Rollout, rows: np.ndarray) -> Rollout:
    states = None if rollout.states is None else rollout.states[:, rows]
    return Rollout(rollout.observations[:, rows], states, rollout.starts[:, rows], rollout.labels[:, rows])


def _unexplained(learner: Dagger, data: Sequence[_Held], history: int) -> float:
    """Fit a student with some history on all rounds; judge it on the held-out rows of the student's own rounds."""
    size = learner.student.observation_size
    student = _fresh(learner, "stack", history=history)
    learned = [_flat(part.learned, history, size) for part in data]
    seen, state, labels = (torch.cat(parts) for parts in zip(*learned, strict=True))
    student.update_normalizer(seen)
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)
    batches: list[np.ndarray] = []
    for _ in range(UPDATES):
        batches = batches or index_batches(len(seen), 512, learner.rng)
        chosen = torch.from_numpy(batches.pop())
        _descend(optimizer, student.distribution(student.step(seen[chosen], state[chosen])[0]), labels[chosen])
    held = [_flat(part.held, history, size) for part in data[1:]]
    seen, state, labels = (torch.cat(parts) for parts in zip(*held, strict=True))
    with torch.inference_mode():
        return unexplained_share(student.distribution(student.step(seen, state)[0]), labels)


def _unexplained_by_memory(learner: Dagger, data: Sequence[_Held]) -> float:
    """Do the same with a recurrent student, which sees all of an episode."""
    student = _fresh(learner, "gru")
    seen, starts, labels = (
        torch.from_numpy(np.concatenate([getattr(part.learned, name) for part in data]))
        for name in ("observations", "starts", "labels")
    )
    student.update_normalizer(seen)
    optimizer = torch.optim.Adam(student.parameters(), lr=3e-3)
    for _ in range(UPDATES // 4):
        rows = torch.from_numpy(learner.rng.permutation(seen.shape[1])[:16])
        state = student.initial_state(len(rows))
        features, _ = student.sequence(seen[:, rows], starts[:, rows], state)
        _descend(optimizer, student.distribution(features), labels[:, rows])
    seen, starts, labels = (
        torch.from_numpy(np.concatenate([getattr(part.held, name) for part in data]))
        for name in ("observations", "starts", "labels")
    )
    with torch.inference_mode():
        features, _ = student.sequence(seen, starts, student.initial_state(seen.shape[1]))
        own = len(data[0].held.starts)
        return unexplained_share(student.distribution(features[own:]), labels[own:])


def _descend(optimizer: torch.optim.Optimizer, said: Distribution, labels: torch.Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    imitation_loss(said, labels, "mse").backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _fresh(learner: Dagger, architecture: str, **kwargs: Any) -> Student:
    seed = int(learner.rng.integers(2**31))
    return make_student(architecture, learner.student_view.space, learner.action_space, seed=seed, **kwargs)


def _flat(rollout: Rollout, history: int, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return observations, the states of a student with a shorter history, and labels, (steps, ...) each."""
    assert rollout.states is not None
    states = rollout.states.reshape(-1, rollout.states.shape[-1])
    kept = states[:, states.shape[1] - 1 - (history - 1) * size :].copy()
    kept[:, -1] = np.minimum(kept[:, -1], history - 1)
    seen = rollout.observations.reshape(len(states), -1)
    labels = rollout.labels.reshape(len(states), *rollout.labels.shape[2:])
    return torch.from_numpy(seen), torch.from_numpy(kept), torch.from_numpy(labels)


def unexplained_share(said: Distribution, labels: torch.Tensor) -> float:
    """Return the mean square error over the labels' variance, or the cross-entropy over their entropy, at most 1."""
    if isinstance(said, Gaussian):
        error = float((said.mean - labels).square().sum(-1).mean())
        spread = float(labels.flatten(0, -2).var(0, correction=0).sum())
    else:
        error = float(-said.log_prob(labels).mean())
        shares = torch.bincount(labels.flatten()).double() / labels.numel()
        spread = float(torch.special.entr(shares).sum())
    return min(error / spread, 1.0) if spread > 0 else 0.0
