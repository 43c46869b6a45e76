"""What the tests of single methods share: environments, an expert, and learners that are interrupted."""

import gymnasium
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from rlteach.delivery import make_vec_env
from rlteach.observations import HideCoordinates

TIGER, WIND = "rlteach/TigerRoom-v0", "rlteach/WindGain-v0"
SMALL = {"n_steps": 20, "batch_size": 80, "epochs": 2, "seed": 0}


class StopAt(BaseCallback):
    """Stops when so many steps have been played."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def _on_step(self):
        return self.num_timesteps < self.steps


def discrete():
    """Return a pole whose velocities only the expert sees."""
    return HideCoordinates(gymnasium.make("CartPole-v1"), [1, 3])


def envs(env=TIGER, n=8):
    venv = make_vec_env(env, n)
    venv.seed(0)
    return venv


def straight(seen):
    """Go to the right door of the tiger room; x, y, revealed, side."""
    return np.stack([seen[:, 3], 0 * seen[:, 0]], axis=1).astype(np.float32)


def played(learner, steps):
    """Return a rollout and whether to go on."""
    hooks = StopAt(10**9)
    hooks.init_callback(learner)
    return learner.collect(steps, hooks)


def parameters(learner):
    return [parameter for module in learner._modules().values() for parameter in module.state_dict().values()]


def resumed(make, total):
    """Return a learner that was interrupted at half of `total`, and one that was not."""
    whole = make(envs())
    whole.learn(total)
    first = make(envs())
    first.learn(total, callback=StopAt(total // 2))
    second = make(first.env)
    second.load_state_dict(first.state_dict())
    second._last_obs = first._last_obs
    second.learn(total - total // 2, reset_num_timesteps=False)
    return second, whole
