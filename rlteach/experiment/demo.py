"""The benchmark that `rlteach demo` runs: teachers on the toy space, no reinforcement learning, about a minute."""

from __future__ import annotations

from rlteach.experiment.bench import Arm, Benchmark, Profile

DEMO = Benchmark(
    name="demo",
    title="Toy space, 10 x 10 cubes: share of cubes mastered",
    command="rlteach demo",
    base={
        "env": {"id": "rlteach/ToyCubes-v0", "n_envs": 1},
        "learner": {"name": "synthetic"},
        "evaluation": {"every": 1_500},
    },
    arms=[Arm("uniform"), Arm("covar_gmm"), Arm("success_guided"), Arm("frontier")],
    primary="success/cubes/det",
    profiles={"demo": Profile(steps=15_000, seeds=3)},
)
