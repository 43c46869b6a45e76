"""Updates of imitation in numpy, for students that are perceptrons: see `rlteach.dense` for why."""

from __future__ import annotations

import numpy as np
import torch

from rlteach.dense import Categorical, Floats, Gaussian, Perceptron, Weights, adam_fault, layers_of
from rlteach.distillation.architectures import MLP, Stack
from rlteach.distillation.student import Student


class DenseImitation:
    """Steps of Adam on labels, as `losses.action_mse`, `action_huber` and `negative_log_likelihood` want them.

    Args:
        student: A perceptron on one observation or on a stack of them.
        optimizer: Its Adam.
        loss: `mse`, `huber` or `nll`; discrete actions always take the cross-entropy.
        max_grad_norm: Bound of the gradient's norm.

    Attributes:
        weights: The student's as they are now; to be written when the updates are over.
    """

    def __init__(self, student: MLP | Stack, optimizer: torch.optim.Optimizer, loss: str, max_grad_norm: float) -> None:
        self.weights = Weights(optimizer)
        self._student, self._loss, self._max_grad_norm = student, loss, max_grad_norm
        self._network = Perceptron(self.weights, layers_of([*student.body, student.head]))

    @classmethod
    def of(
        cls, student: Student, optimizer: torch.optim.Optimizer, loss: str, max_grad_norm: float
    ) -> DenseImitation | None:
        """Return one for a student that is a perceptron, None for others."""
        if type(student) not in (MLP, Stack) or student.head_size == 0 or adam_fault(optimizer):
            return None
        assert isinstance(student, MLP | Stack)
        return cls(student, optimizer, loss, max_grad_norm)

    def update(self, observations: np.ndarray, states: np.ndarray | None, labels: np.ndarray) -> Floats:
        """Take one step on labelled observations.

        Args:
            observations: (n, *shape), raw.
            states: (n, k) the student's memory before them, None for a student without one.
            labels: (n, a) in units of [-1, 1], or (n,) action numbers.

        Returns:
            Errors (n, a) of the mean action before the step; (n, 0) for action numbers.
        """
        n = len(labels)
        outputs = self._network.forward(self._inputs(observations.reshape(n, -1), states))
        if labels.ndim == 1:
            errors = np.zeros((n, 0), np.float32)
            slope = Categorical(outputs, labels).slope(np.full(n, -1 / n, np.float32), 0.0)
        else:
            errors = outputs - labels
            slope = self._slope(errors, outputs, labels)
        self._network.backward(slope)
        self.weights.step(self._max_grad_norm)
        return errors

    @torch.inference_mode()
    def _inputs(self, observations: np.ndarray, states: np.ndarray | None) -> Floats:
        state = np.zeros((len(observations), 0), np.float32) if states is None else states
        inputs: Floats = self._student.inputs(torch.from_numpy(observations), torch.from_numpy(state)).numpy()
        return inputs

    def _slope(self, errors: Floats, outputs: Floats, labels: Floats) -> Floats:
        if self._loss == "nll":
            said = Gaussian(outputs, labels, *self.weights.of(self._student.log_std))
            return said.slope(np.full(len(labels), -1 / len(labels), np.float32), 0.0)
        if self._loss == "mse":
            return errors * np.float32(2 / errors.size)
        return np.clip(errors, -1, 1) * np.float32(1 / errors.size)
