"""Perceptrons learn in numpy what torch would have taught them."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlteach.distillation.dense_imitation import DenseImitation
from rlteach.distillation.imitation import imitation_loss
from rlteach.distillation.students import make_student

SEEN = spaces.Box(-5.0, 5.0, (3,), np.float32)
BOX, DISCRETE = spaces.Box(-2.0, 2.0, (2,), np.float32), spaces.Discrete(4)


def student_of(policy: str, space: spaces.Space[Any], **kwargs: Any) -> Any:
    student = make_student(policy, SEEN, space, seed=0, **kwargs)
    student.fit_normalizer(np.random.default_rng(1).normal(1.0, 2.0, (50, 3)).astype(np.float32))
    return student, torch.optim.Adam(student.parameters(), lr=1e-2, foreach=True)


@pytest.mark.parametrize(
    ("policy", "kwargs"),
    [
        ("mlp", {"hidden": [16, 8]}),
        ("mlp", {"hidden": [8], "activation": "relu", "train_std": False}),
        ("stack", {"hidden": [8], "history": 4, "activation": "elu"}),
    ],
    ids=["mlp", "mlp-fixed-std", "stack"],
)
@pytest.mark.parametrize(
    ("space", "loss", "most"),
    [(BOX, "mse", 1.0), (BOX, "huber", 1e-3), (BOX, "nll", 1.0), (DISCRETE, "mse", 1.0)],
    ids=["mse", "huber", "nll", "cross-entropy"],
)
def test_steps_are_those_of_torch(
    policy: str, kwargs: dict[str, Any], space: spaces.Space[Any], loss: str, most: float
) -> None:
    (ours, adam), (theirs, reference) = (student_of(policy, space, **kwargs) for _ in range(2))
    before = {name: value.clone() for name, value in theirs.state_dict().items()}
    dense = DenseImitation.of(ours, adam, loss, most)
    assert dense is not None
    rng = np.random.default_rng(0)
    for n in (30, 30, 7, 31):
        seen = rng.normal(1.0, 2.0, (n, 3)).astype(np.float32)
        states = None
        if ours.state_size:
            states = rng.normal(1.0, 2.0, (n, ours.state_size)).astype(np.float32)
            states[:, -1] = rng.integers(4, size=n)  # observations seen before
        labels = rng.integers(4, size=n) if space is DISCRETE else rng.uniform(-2, 2, (n, 2)).astype(np.float32)
        errors = dense.update(seen, states, labels)

        state = torch.zeros((n, 0)) if states is None else torch.from_numpy(states)
        said = theirs.distribution(theirs.step(torch.from_numpy(seen), state)[0])
        reference.zero_grad()
        imitation_loss(said, torch.from_numpy(labels), loss).backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), most)
        reference.step()
        if space is BOX:
            np.testing.assert_allclose(errors, (said.mean.detach() - torch.from_numpy(labels)).numpy(), atol=1e-4)
        else:
            assert errors.shape == (n, 0)
    dense.weights.write()
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=0, atol=2e-5, msg=name)
    moved = {name for name, value in theirs.state_dict().items() if not torch.equal(value, before[name])}
    assert {"body.0.weight", "head.weight"} < moved
    assert ("log_std" in moved) == (loss == "nll" and kwargs.get("train_std", True))


def test_other_students_are_left_to_torch() -> None:
    for policy in ("gru", "transformer"):
        student, adam = student_of(policy, BOX)
        assert DenseImitation.of(student, adam, "mse", 1.0) is None
    student, _ = student_of("mlp", BOX)
    assert DenseImitation.of(student, torch.optim.SGD(student.parameters(), lr=0.1), "mse", 1.0) is None
