"""Nested tensors to nested numpy arrays and back: what a state dict of torch becomes in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def to_arrays(value: Any) -> Any:
    """Return a copy with every tensor as an array."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy().copy()
    if isinstance(value, Mapping):
        return {key: to_arrays(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_arrays(part) for part in value)
    return value.copy() if isinstance(value, np.ndarray) else value


def to_tensors(value: Any) -> Any:
    """Return a copy with every array as a tensor."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, dict):
        return {key: to_tensors(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_tensors(part) for part in value)
    return value
