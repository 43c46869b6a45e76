"""Teachers that choose where an episode begins, beside learners that always begin at the ordinary reset.

Two questions. Does training on a dense task go faster from an expert's states (S3RL), is it the choice among them or
their variety that helps, and what is left when the expert's own steps count? MuJoCo's tasks: the expert is the same PPO
trained five times as long as the student, the score is the mean over ten evaluations (the area under the curve). And
can starts solve a sparse task that tuned PPO does not solve at all? GoalMaze with one fixed goal at the corridor's far
end, 18 to 48 cells away: starts come from the environment's own demonstrations, score at the end.

Every arm with snapshots states who played for them: an expert, the environment's demonstration, or random actions.
`plain, charged` trains without snapshots for as many steps as the expert and its student together.

    python benchmarks/snapshot_starts.py --only snapshot_starts_hopper --profile small -j 2
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rlteach.cli import bench_main
from rlteach.experiment.bench import Arm, Benchmark, Profile

DENSE_STEPS, EXPERT_SHARE, SWITCH = 40_000, 5.0, 0.25
"""Student's steps, the expert's in these, and the share of the student's after which episodes start ordinarily."""


def starts(name: str, policy: str, *, episodes: int = 10, every: int = 10, **kwargs: Any) -> dict[str, Any]:
    return {"starts": {"name": name, "policy": policy, "episodes": episodes, "every": every, "kwargs": kwargs}}


def dense_arms(steps: int) -> Sequence[Arm]:
    until = round(SWITCH * steps)

    def from_expert(label: str, name: str, **kwargs: Any) -> Arm:
        return Arm(label, teacher="uniform", overrides=starts(name, "", **kwargs), expert="expert")

    return (
        Arm("plain", teacher="uniform"),
        Arm("plain, charged", teacher="uniform", share=1.0 + EXPERT_SHARE),
        Arm("expert", teacher="uniform", share=EXPERT_SHARE),
        from_expert("s3rl", "s3rl", until=until),
        from_expert("s3rl, no truncation", "s3rl", until=until, truncate=0),
        from_expert("s3rl, no classes", "s3rl", until=until, classify=False),
        from_expert("uniform snapshots", "uniform_starts", until=until),
        from_expert("half of the episodes", "uniform_starts", share=0.5),
        Arm("random policy's snapshots", teacher="uniform", overrides=starts("uniform_starts", "random", until=until)),
        from_expert("reference states", "reference_states", ordinary=0.1),
        from_expert("backward", "backward"),
        from_expert("rfcl", "rfcl"),
        from_expert("success-guided starts", "starts_as_tasks"),
        from_expert("jump-start", "jump_start", score="return", horizon=200),
    )


PPO = {"n_steps": 256, "batch_size": 256, "n_epochs": 8, "learning_rate": 5e-4}
FAST_PPO = {"name": "fast_ppo", "kwargs": PPO}
ON_POLICY = ("ppo", "fast_ppo")
MAIN = ("plain", "expert", "s3rl", "uniform snapshots", "random policy's snapshots")
"""What the short profiles run; of Hopper, `small` runs every arm."""
TESTS = 5
"""Episodes of an evaluation, of a thousand steps where nobody falls: ten evaluations of twenty cost five times what the
learner's own steps do. An off-policy learner with its one environment plays them side by side all the same."""


def dense(
    name: str,
    env: str,
    title: str,
    *,
    steps: int = DENSE_STEPS,
    seeds: int = 5,
    learner: Mapping[str, Any] = FAST_PPO,
    arms: Sequence[str] = MAIN,
    tests: int | None = TESTS,
) -> Benchmark:
    rollouts = learner["name"] in ON_POLICY
    judged = {} if tests is None else {"tasks": tests}
    shortest = 10_240 if rollouts else 1_000
    short = {"learner.kwargs.n_steps": 128} if rollouts else {"learner.kwargs.learning_starts": 100}
    return Benchmark(
        name=f"snapshot_starts_{name}",
        title=title,
        base={
            "env": {"id": env, "n_envs": 8 if rollouts else 1},
            "learner": learner,
            "normalize": {"observations": True, "rewards": True},
            "evaluation": {"every": steps // 10, **judged, **({} if rollouts else {"n_envs": TESTS})},
        },
        arms=dense_arms(steps),
        primary="return/test/det",
        baseline="plain",
        last_k=10,
        profiles={
            "smoke": Profile(
                steps=shortest,
                seeds=1,
                overrides={"evaluation.every": shortest // 10, **short},
                arms=MAIN,
            ),
            "small": Profile(steps=steps, seeds=seeds, publish=True, arms=arms),
            "long": Profile(steps=steps, seeds=10, publish=True),
            "paper": Profile(steps=25 * steps, seeds=10, publish=True),
        },
    )


def sparse_arms(goal: Sequence[float], steps: int) -> Sequence[Arm]:
    until = round(SWITCH * steps)
    far = {"tasks": [list(goal)]}

    def led(label: str, name: str, *, policy: str = "environment", **kwargs: Any) -> Arm:
        return Arm(label, teacher="listed", kwargs=far, overrides=starts(name, policy, every=4, **kwargs))

    every_goal = Arm("success-guided goals", teacher="success_guided")
    composed = starts("starts_as_tasks", "environment", every=4)
    return (
        Arm("plain", teacher="listed", kwargs=far),
        led("s3rl, no classes", "s3rl", until=until, classify=False),
        led("uniform snapshots", "uniform_starts", share=0.9),
        led("half of the episodes", "uniform_starts", share=0.5),
        led("random policy's snapshots", "uniform_starts", policy="random", share=0.9),
        led("reference states", "reference_states", ordinary=0.1),
        led("backward", "backward", threshold=0.5, recent=40),
        led("rfcl", "rfcl"),
        led("success-guided starts", "starts_as_tasks"),
        led("frontier starts", "starts_as_tasks", teacher="frontier"),
        led("jump-start", "jump_start"),
        led("reverse curriculum", "reverse_curriculum"),
        led("go-explore", "go_explore", policy="random"),
        every_goal,
        Arm("success-guided goals and starts", teacher="success_guided", overrides=composed),
    )


EXPLORING = {"ent_coef": 0.01}
"""What tuning PPO on GoalMaze chose. Without it policies are certain before a turn of the corridor and never take it:
success-guided starts then fail on 36 cells (one seed). The shortest corridor is solved without."""


def sparse(
    name: str,
    cells: int,
    goal: Sequence[float],
    *,
    steps: int,
    horizon: int,
    learner: str = "fast_ppo",
    settings: Mapping[str, float] = EXPLORING,
) -> Benchmark:
    return Benchmark(
        name=f"snapshot_starts_{name}",
        title=f"GoalMaze, one goal at the end of {cells} cells",
        base={
            "env": {
                "id": "rlteach/GoalMaze-v0",
                "n_envs": 64,
                "kwargs": {"layout": f"corridor-{cells}", "box_scale": 1.0, "horizon": horizon, "features": "rbf"},
            },
            "learner": {
                "name": learner,
                "kwargs": {"n_steps": 128, "batch_size": 1024, "n_epochs": 6, "learning_rate": 1e-3, **settings},
            },
            "evaluation": {"every": steps // 5, "test_sets": ["far"]},
        },
        arms=sparse_arms(goal, steps),
        primary="success/far/det",
        baseline="plain",
        profiles={
            "smoke": Profile(
                steps=16_384, seeds=1, arms=("plain", "uniform snapshots", "backward", "jump-start", "go-explore")
            ),
            "small": Profile(steps=steps, seeds=5, publish=True),
            "long": Profile(steps=steps, seeds=10, publish=True),
            "paper": Profile(steps=4 * steps, seeds=10, publish=True),
        },
    )


SMALL_NETS = {"policy_kwargs": {"net_arch": [64, 64]}, "batch_size": 128, "learning_starts": 1000}
SAC = {"name": "sbx.SAC", "kwargs": {**SMALL_NETS, "buffer_size": 50_000}}
TD3 = {"name": "sbx.TD3", "kwargs": {**SMALL_NETS, "buffer_size": 50_000}}
"""Off-policy learners in JAX take two fifths of the time of those in torch: pip install 'rlteach[sbx]'."""

BENCHMARKS = [
    dense(
        "hopper",
        "Hopper-v5",
        "Hopper: where do episodes start?",
        seeds=10,
        learner={"name": "ppo", "kwargs": PPO},
        arms=(),
        tests=None,
    ),
    sparse("maze", 18, (2.5, 5.5), steps=500_000, horizon=200, learner="ppo", settings={}),
    sparse("maze_24", 24, (7.5, 6.5), steps=500_000, horizon=300),
    sparse("maze_36", 36, (4.5, 9.5), steps=1_000_000, horizon=400),
    sparse("maze_48", 48, (1.5, 12.5), steps=1_000_000, horizon=500),
    dense("half_cheetah", "HalfCheetah-v5", "HalfCheetah: where do episodes start?"),
    dense("walker2d", "Walker2d-v5", "Walker2d: where do episodes start?"),
    dense("ant", "Ant-v5", "Ant: where do episodes start?"),
    dense("swimmer", "Swimmer-v5", "Swimmer: where do episodes start?"),
    dense("humanoid", "Humanoid-v5", "Humanoid: where do episodes start?"),
    dense("hopper_sac", "Hopper-v5", "Hopper with small SAC: where do episodes start?", steps=10_000, learner=SAC),
    dense("hopper_td3", "Hopper-v5", "Hopper with small TD3: where do episodes start?", steps=10_000, learner=TD3),
]

if __name__ == "__main__":
    bench_main(BENCHMARKS, __file__)
