"""Behavioural cloning: the expert acts, the student learns what it did.

Pomerleau (1991). Its regret grows with the square of the horizon (Ross and Bagnell 2010): the student is never shown
what to do in the states its own mistakes lead to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlteach.distillation.imitation import Imitation


@dataclass(kw_only=True, eq=False)
class BehaviouralCloning(Imitation):
    """Behavioural cloning: the expert acts, the student learns what it did."""

    def drivers(self) -> np.ndarray:
        """Return True for every environment."""
        return np.ones(self.env.num_envs, dtype=bool)
