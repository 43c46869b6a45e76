"""Distilling privileged experts into students that see observations only, beside reinforcement learning alone.

Each task hides something else: gains and wind (wind_gain), which of two doors is right (tiger_room), a cue that was
seen long ago (memory_t_maze), the own position (light_dark), mass and length (hidden_mass_pendulum), velocities
(masked_hopper). Primary metric, fixed before any seed was run: the mean return of the deterministic student on the
task's first test set. `score` is 0 for random actions and 1 for the expert, `gap` is 0 for behavioural cloning with the
same students and 1 for the expert. Budgets: an expert and every arm with rewards and advice train for the profile's
steps, imitation for 16 % of them; reinforcement learning without an expert for as many as expert and distilled student
together, and once more ("long") for as many as an expert and a student with rewards and advice.

    python benchmarks/distillation.py --only distillation_wind_gain --profile small -j 2
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rlteach.cli import bench_main
from rlteach.experiment.bench import Arm, Benchmark, Profile

PPO = {"n_steps": 128, "batch_size": 1024, "n_epochs": 6, "learning_rate": 1e-3, "ent_coef": 0.0}
IMITATION_SHARE = 0.16
GRU = {"batch_size": 3200, "epochs": 8, "learning_rate": 2e-3}
"""Whole episodes side by side: fewer, larger minibatches cost a third of the time at the same return."""


def learner(name: str, policy: str = "MlpPolicy", **kwargs: Any) -> dict[str, Any]:
    return {"learner": {"name": name, "policy": policy, "kwargs": kwargs}}


def rl(name: str, policy: str = "MlpPolicy", *, observations: str = "", **kwargs: Any) -> dict[str, Any]:
    return {**learner(name, policy, **kwargs), "normalize": {"rewards": True}, "observations": observations}


def arms(history: Mapping[str, Any], ppo: Mapping[str, Any], student: str, expert: str) -> Sequence[Arm]:
    """Return the rows of every task.

    Args:
        history: Keyword arguments of the students that see a stack of observations.
        ppo: Settings of PPO, shared by expert and every arm with rewards.
        student: Architecture of the students that learn from rewards.
        expert: Learner that trains the experts.
    """
    names = {"n_steps": "n_steps", "batch_size": "batch_size", "n_epochs": "epochs"}
    shared = {names.get(k, k): v for k, v in ppo.items() if k not in names or v != PPO[k]}  # PPO's are the defaults
    stack = {"policy_kwargs": dict(history)}
    own = stack if student == "stack" else {}

    def distilled(label: str, method: str, policy: str, expert: str = "expert", **kwargs: Any) -> Arm:
        return Arm(
            label, teacher="uniform", overrides=learner(method, policy, **kwargs), expert=expert, share=IMITATION_SHARE
        )

    def guided(label: str, method: str, **kwargs: Any) -> Arm:
        return Arm(label, teacher="uniform", overrides=rl(method, student, **shared, **own, **kwargs), expert="expert")

    def alone(label: str, method: str, share: float, **kwargs: Any) -> Arm:
        return Arm(label, teacher="uniform", overrides=rl(method, student, **shared, **own, **kwargs), share=share)

    untrained = rl(expert, observations="expert", **{**ppo, "learning_rate": 1e-12})
    return (
        Arm("random", teacher="uniform", overrides=learner("random")),
        Arm("expert", teacher="uniform", overrides=rl(expert, observations="expert", **ppo)),
        Arm(
            "expert, privilege shuffled",
            teacher="uniform",
            overrides=learner("expert_alone", shuffled=True),
            expert="expert",
            share=IMITATION_SHARE,
        ),
        Arm("untrained expert", teacher="uniform", overrides=untrained, share=0.02),
        distilled("bc, stack", "bc", "stack", **stack),
        distilled("dagger, mlp", "dagger", "mlp"),
        distilled("dagger, stack", "dagger", "stack", **stack),
        distilled("dagger, gru", "dagger", "gru", **GRU),
        distilled("on_policy, gru", "on_policy", "gru", epochs=8),
        distilled("dagger, stack, untrained expert", "dagger", "stack", expert="untrained expert", **stack),
        alone("ppo, student's view", "asymmetric", 1.0 + IMITATION_SHARE, critic="student"),
        alone("ppo, student's view, long", "asymmetric", 2.0, critic="student"),
        alone("asymmetric", "asymmetric", 1.0 + IMITATION_SHARE),
        guided("kickstarting", "kickstarting"),
        guided("kdrl", "kdrl"),
        guided("qdagger", "qdagger"),
        guided("advisor", "advisor"),
        guided("elf", "elf"),
        guided("tgrl", "tgrl"),
        alone("gpo", "gpo", 1.0 + IMITATION_SHARE),
        alone("sitt", "sitt", 1.0 + IMITATION_SHARE),
        alone("rma", "rma", 1.0 + IMITATION_SHARE),
    )


def task(
    name: str,
    env: str,
    title: str,
    test_set: str,
    steps: int,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    history: Mapping[str, Any] | None = None,
    student: str = "stack",
    expert: str = "ppo",
    n_envs: int = 64,
    evaluations: int = 4,
    **ppo: Any,
) -> Benchmark:
    return Benchmark(
        name=f"distillation_{name}",
        title=title,
        base={
            "env": {"id": env, "n_envs": n_envs, "kwargs": dict(env_kwargs or {})},
            "evaluation": {"every": max(steps // evaluations, 1), "test_sets": [test_set]},
        },
        arms=arms(history or {"history": 8}, {**PPO, **ppo}, student, expert),
        primary=f"return/{test_set}/det",
        metrics=[f"success/{test_set}/det"],
        baseline="ppo, student's view",
        scales={"score": ("random", "expert"), "gap": ("bc, stack", "expert")},
        profiles={
            "smoke": Profile(
                steps=8_192,
                seeds=1,
                arms=("random", "expert", "bc, stack", "dagger, stack", "ppo, student's view", "advisor"),
            ),
            "small": Profile(steps=steps, seeds=5, publish=True),
            "long": Profile(steps=steps, seeds=10, publish=True),
            "paper": Profile(steps=4 * steps, seeds=10, publish=True),
        },
    )


BENCHMARKS = [
    task("wind_gain", "rlteach/WindGain-v0", "WindGain: unknown gains and wind", "uniform", 400_000),
    task("tiger_room", "rlteach/TigerRoom-v0", "TigerRoom: look before you choose", "sides", 400_000, student="mlp"),
    task(
        "tiger_room_far",
        "rlteach/TigerRoom-v0",
        "TigerRoom with the peep-hole at the far end: looking is hard to find",
        "sides",
        400_000,
        env_kwargs={"peep": 0.8},
        student="mlp",
    ),
    task("memory_t_maze", "rlteach/MemoryTMaze-v0", "MemoryTMaze: 10 to 80 steps", "all", 400_000, student="gru"),
    task("light_dark", "rlteach/LightDark-v0", "LightDark: know where you are first", "grid", 400_000),
    task(
        "hidden_mass_pendulum",
        "rlteach/HiddenMassPendulum-v0",
        "HiddenMassPendulum: unknown mass and length, no velocity",
        "grid",
        600_000,
        gamma=0.95,
    ),
    task(
        "masked_hopper",
        "rlteach/MaskedHopper-v0",
        "MaskedHopper: positions without velocities",
        "test",
        240_000,
        history={"history": 4},
        expert="fast_ppo",
        n_envs=16,
        evaluations=2,
        batch_size=256,
        n_epochs=8,
        learning_rate=5e-4,
    ),
]

if __name__ == "__main__":
    bench_main(BENCHMARKS, __file__)
