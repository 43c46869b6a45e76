"""Walkers on tracks with several kinds of obstacles: who still falls on the worst of them?

`rlteach/UEDWalker-v0` with its eight parameters, in the lower fifth or so of their usual ranges: few million steps do
not teach anybody to walk over the rest, and after half a million nobody reaches the end of a track. Primary metric,
fixed before any seed was run: the success (the end of the track is reached) in the worst 20 % of 100 seeded tasks,
ranked by two plays each, judged by two others; beside it the worst 5 %, the mean over all, and the mean return.
Rutherford et al. (2024) find, in other environments, that sampling by learnability (SFL) is the best in the worst 5 %
and regret (PLR, robust PLR) worse than uniform sampling: this asks whether it holds here. A teacher's own roll-outs
come on top of the learner's steps and stand in the steps column.

    python benchmarks/ued_walker.py --profile long -j 2
"""

from rlteach.cli import bench_main
from rlteach.experiment.bench import Arm, Benchmark, Profile

PPO = {
    "n_steps": 256,
    "batch_size": 512,
    "n_epochs": 6,
    "learning_rate": 1e-3,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "ent_coef": 0.01,
    "policy_kwargs": {"log_std_init": -0.5},
}
"""As tuned for `uniform` in `stump_tracks.py`."""

EASY = {
    "roughness": [0.0, 2.0],
    "pit_low": [0.0, 1.5],
    "pit_high": [0.0, 1.5],
    "stump_low": [0.0, 1.0],
    "stump_high": [0.0, 1.0],
    "stair_low": [0.0, 0.5],
    "stair_high": [0.0, 0.5],
    "stair_steps": [1, 3],
}

BENCHMARKS = [
    Benchmark(
        name="ued_walker",
        title="UEDWalker: success in the worst 20 % of the tracks",
        base={
            "env": {
                "id": "rlteach/UEDWalker-v0",
                "n_envs": 32,
                "kwargs": {"parameters": EASY, "velocity_iterations": 60, "position_iterations": 20},
            },
            "learner": {"name": "fast_ppo", "kwargs": PPO},
            "normalize": {"observations": True, "rewards": True},
            "evaluation": {"every": 2_500_000, "test_sets": ["uniform"], "policies": ["det"], "repeats": 4},
        },
        arms=[Arm(name) for name in ("uniform", "plr", "robust_plr", "accel", "sfl", "ncc", "frontier")],
        primary="cvar20/uniform/det",
        metrics=["cvar5/uniform/det", "success/uniform/det", "return/uniform/det"],
        profiles={
            "smoke": Profile(
                steps=16_384,
                seeds=1,
                arms=("uniform", "plr", "sfl"),
                overrides={"evaluation.every": 16_384, "evaluation.repeats": 2, "env.kwargs.horizon": 200},
            ),
            "small": Profile(steps=2_500_000, seeds=2, arms=("uniform", "plr", "robust_plr", "sfl"), publish=False),
            "long": Profile(steps=5_000_000, seeds=5, publish=True),
            "paper": Profile(steps=100_000_000, seeds=10, publish=True),
        },
    )
]

if __name__ == "__main__":
    bench_main(BENCHMARKS, __file__)
