"""The parametric bipedal walker on stump tracks: a long job, in which teachers matter only after millions of steps.

Primary metric, fixed before any seed was run: share of the 10 x 10 test grid (height x spacing) that is mastered, that
is, walked with a return above 230. The profiles up to `long` use the variant with fewer solver iterations, which is
nearly twice as fast; `paper` uses the reference physics and 20M steps, for a cluster. PPO's entropy coefficient and
discount were tuned for `uniform` on seed 1000 (`--tune`, results in `results/stump_tracks_tuning/`); every arm uses
uniform's best setting. Observations and rewards are normalised for every arm.

    python benchmarks/stump_tracks.py --profile long -j 2
"""

from rlteach.cli import bench_main
from rlteach.experiment.bench import STANDARD_ARMS, Benchmark, Profile, Tuning

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

BENCHMARKS = [
    Benchmark(
        name="stump_tracks",
        title="StumpTracks, classic bipedal walker: share of the test grid mastered (return > 230)",
        base={
            "env": {"id": "rlteach/StumpTracksFast-v0", "n_envs": 32},
            "learner": {"name": "stable_baselines3.PPO", "kwargs": PPO},
            "normalize": {"observations": True, "rewards": True},
            "evaluation": {"every": 1_000_000},
        },
        arms=STANDARD_ARMS,
        primary="success/grid/det",
        metrics=["return/grid/det", "length/grid/det"],
        profiles={
            "smoke": Profile(
                steps=16_384,
                seeds=1,
                arms=("uniform",),
                overrides={"evaluation.every": 16_384, "learner.kwargs.n_epochs": 2},
            ),
            "small": Profile(steps=1_500_000, seeds=2, arms=("uniform", "frontier"), publish=False),
            "long": Profile(steps=5_000_000, seeds=3, arms=("uniform", "alp_gmm", "frontier"), publish=True),
            "paper": Profile(steps=20_000_000, seeds=32, publish=True, overrides={"env.id": "rlteach/StumpTracks-v0"}),
        },
        tuning=Tuning(
            settings=[
                {"learner.kwargs.gamma": 0.98, "learner.kwargs.ent_coef": 0.0},
                {"learner.kwargs.gamma": 0.99, "learner.kwargs.ent_coef": 0.0},
                {"learner.kwargs.gamma": 0.99, "learner.kwargs.ent_coef": 0.01},
                {"learner.kwargs.gamma": 0.99, "learner.kwargs.ent_coef": 0.03},
            ],
            steps=1_000_000,
            seeds=(1000,),
        ),
    )
]

if __name__ == "__main__":
    bench_main(BENCHMARKS, __file__)
