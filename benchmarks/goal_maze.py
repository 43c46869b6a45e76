"""Sparse goal-reaching in a folded corridor where most of the goal box cannot be reached.

Primary metric, fixed before any seed was run: success of the deterministic policy on the 441 feasible goals after 0.5M
steps. The learner's entropy coefficient was tuned for `uniform` on seeds 1000 to 1002 (`--tune`, results in
`results/goal_maze_tuning/`); every arm uses uniform's best setting.

    python benchmarks/goal_maze.py --profile small -j 2
"""

from rlteach.cli import bench_main
from rlteach.experiment.bench import STANDARD_ARMS, Arm, Benchmark, Profile, Tuning

PPO = {
    "n_steps": 128,
    "batch_size": 1024,
    "n_epochs": 6,
    "learning_rate": 1e-3,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip_range": 0.2,
    "ent_coef": 0.01,
}

BASE = {
    "env": {"id": "rlteach/GoalMaze-v0", "n_envs": 64},
    "learner": {"name": "stable_baselines3.PPO", "kwargs": PPO},
    "evaluation": {"every": 100_000, "policies": ["det", "sto"], "test_sets": ["feasible"]},
}

GOAL_MAZE = Benchmark(
    name="goal_maze",
    title="GoalMaze, 4.5 % of the goal box feasible: success on the feasible goals",
    base=BASE,
    arms=STANDARD_ARMS,
    primary="success/feasible/det",
    metrics=["success/feasible/sto"],
    profiles={
        "smoke": Profile(
            steps=16_384,
            seeds=1,
            arms=("uniform", "frontier", "frontier (yoked)"),
            overrides={"evaluation.every": 8_192},
        ),
        "quick": Profile(steps=250_000, seeds=2, arms=("uniform", "success_guided", "frontier", "oracle")),
        "small": Profile(steps=500_000, seeds=10, publish=True),
        "long": Profile(steps=2_000_000, seeds=10, publish=True),
        "paper": Profile(steps=5_000_000, seeds=30, publish=True),
    },
    tuning=Tuning(
        settings=[{"learner.kwargs.ent_coef": value} for value in (0.0, 0.01, 0.03)],
        steps=500_000,
    ),
)


def feasible_share(scale: int, percent: str) -> Benchmark:
    return Benchmark(
        name=f"goal_maze_share_{scale}",
        title=f"Serpentine, goal box {scale} x the maze per axis ({percent} feasible): success on the feasible goals",
        base=BASE | {"env": {**BASE["env"], "kwargs": {"layout": "serpentine", "box_scale": scale}}},
        arms=[Arm("uniform"), Arm("alp_gmm"), Arm("success_guided"), Arm("frontier"), Arm("oracle")],
        primary="success/feasible/det",
        metrics=["success/feasible/sto"],
        profiles={
            "small": Profile(steps=300_000, seeds=5, publish=True),
            "long": Profile(steps=300_000, seeds=10, publish=True),
        },
    )


VARIANTS = {
    "T = 150, position": {"horizon": 150, "features": "position"},
    "T = 250, position + rbf": {"horizon": 250, "features": "rbf"},
}
"""The two candidates for the registered environment; the better one became `GoalMaze-v0`."""

GOAL_MAZE_VARIANTS = Benchmark(
    name="goal_maze_variants",
    title="GoalMaze, horizon and features: success on the feasible goals",
    base=BASE,
    arms=[
        Arm(f"{teacher}, {label}", teacher=teacher, overrides={"env.kwargs": kwargs})
        for label, kwargs in VARIANTS.items()
        for teacher in ("uniform", "frontier", "oracle")
    ],
    primary="success/feasible/det",
    metrics=["success/feasible/sto"],
    baseline="uniform, T = 150, position",
    profiles={"small": Profile(steps=500_000, seeds=3, publish=True)},
)

BENCHMARKS = [
    GOAL_MAZE,
    GOAL_MAZE_VARIANTS,
    feasible_share(1, "36 %"),
    feasible_share(2, "9 %"),
    feasible_share(3, "4 %"),
]

if __name__ == "__main__":
    bench_main(BENCHMARKS, __file__)
