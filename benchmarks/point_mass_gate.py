"""The point-mass gate with its dense reward: nearly every task is feasible, so uniform sampling is hard to beat.

Primary metric, fixed before any seed was run: success of the deterministic policy on the hard slice (narrow gates)
after 0.4M steps; the uniform 20 x 20 grid stands beside it. The entropy coefficient was tuned for `uniform` on seeds
1000 to 1002 (`--tune`, results in `results/point_mass_gate_tuning/`); every arm uses uniform's best setting.

    python benchmarks/point_mass_gate.py --profile small -j 2
"""

from rlteach.cli import bench_main
from rlteach.experiment.bench import STANDARD_ARMS, Benchmark, Profile, Tuning

BENCHMARKS = [
    Benchmark(
        name="point_mass_gate",
        title="PointMassGate, dense reward: success on the hard slice",
        base={
            "env": {"id": "rlteach/PointMassGate-v0", "n_envs": 64},
            "learner": {
                "name": "stable_baselines3.PPO",
                "kwargs": {
                    "n_steps": 128,
                    "batch_size": 1024,
                    "n_epochs": 6,
                    "learning_rate": 1e-3,
                    "gamma": 0.98,
                    "gae_lambda": 0.95,
                    "clip_range": 0.2,
                    "ent_coef": 0.0,
                },
            },
            "evaluation": {"every": 100_000, "policies": ["det", "sto"], "test_sets": ["grid", "hard", "target"]},
        },
        arms=STANDARD_ARMS,
        primary="success/hard/det",
        metrics=["success/grid/det", "success/target/det", "return/grid/det"],
        profiles={
            "smoke": Profile(
                steps=16_384, seeds=1, arms=("uniform", "frontier"), overrides={"evaluation.every": 8_192}
            ),
            "small": Profile(steps=400_000, seeds=10, publish=True),
            "long": Profile(steps=1_000_000, seeds=10, publish=True),
            "paper": Profile(steps=2_000_000, seeds=30, publish=True),
        },
        tuning=Tuning(
            settings=[{"learner.kwargs.ent_coef": value} for value in (0.0, 0.01, 0.03)],
            steps=400_000,
        ),
    )
]

if __name__ == "__main__":
    bench_main(BENCHMARKS, __file__)
