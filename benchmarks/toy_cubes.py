"""Teachers without reinforcement learning: which share of a toy space does a growing learner master?

The n-dimensional toy space of Portelas et al. (2019, ALP-GMM) and harder variants. Primary metric: share of learnable
cubes mastered (competence > 75) after 20,000 episodes. There are no learner settings to tune.

    python benchmarks/toy_cubes.py --profile small -j 2
"""

from collections.abc import Sequence
from typing import Any

from rlteach.cli import bench_main
from rlteach.experiment.bench import STANDARD_ARMS, Arm, Benchmark, Profile


def published(dimensions: int) -> tuple[Arm, ...]:
    """Return rows of teachers that were measured here with their published code; ADR is told where to begin."""
    easiest = {f"x{axis}": 0.05 for axis in range(dimensions)}
    return Arm("riac"), Arm("adr (told the start)", teacher="adr", kwargs={"start": easiest})


def variant(name: str, title: str, arms: Sequence[Arm] = STANDARD_ARMS, **env_kwargs: Any) -> Benchmark:
    return Benchmark(
        name=name,
        title=f"Toy space, {title}: share of cubes mastered",
        base={
            "env": {"id": "rlteach/ToyCubes-v0", "kwargs": env_kwargs, "n_envs": 1},
            "learner": {"name": "synthetic"},
            "evaluation": {"every": 500},
        },
        arms=arms,
        primary="success/cubes/det",
        profiles={
            "small": Profile(steps=20_000, seeds=10, publish=True),
            "long": Profile(steps=20_000, seeds=30, publish=True),
            "paper": Profile(steps=20_000, seeds=30, publish=True),
        }
        | (
            {
                "smoke": Profile(steps=2_000, seeds=1, arms=("uniform", "success_guided", "frontier")),
                "quick": Profile(steps=20_000, seeds=3, arms=("uniform", "covar_gmm", "success_guided", "frontier")),
            }
            if name == "toy_cubes"
            else {}
        ),
    )


BENCHMARKS = [
    variant("toy_cubes", "10 x 10 cubes", (*STANDARD_ARMS, *published(2))),
    variant("toy_cubes_3d", "5 x 5 x 5 cubes", (*STANDARD_ARMS, *published(3)), dimensions=3, cubes=5),
    variant("toy_cubes_useless", "10 x 10 cubes and 4 useless dimensions", useless=4),
    variant("toy_cubes_noise", "10 x 10 cubes, return noise .2", noise=0.2),
    variant("toy_cubes_dead", "10 x 10 cubes, half of them dead", dead=0.5),
    variant("toy_cubes_rotated", "10 x 10 cubes rotated by 30 degrees", rotation=30.0),
]

if __name__ == "__main__":
    bench_main(BENCHMARKS, __file__)
