"""Callbacks of Stable-Baselines3 for learners that are none of its own."""

from __future__ import annotations

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.type_aliases import MaybeCallback


def as_callback(callback: MaybeCallback) -> BaseCallback:
    """Return one callback for whatever `learn` accepts: a callback, a list, a function, or None."""
    if isinstance(callback, BaseCallback):
        return callback
    if callback is None or isinstance(callback, list):
        return CallbackList(callback or [])
    return ConvertCallback(callback)
