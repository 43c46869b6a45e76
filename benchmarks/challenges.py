"""The challenge suite: what makes a task space hard for a teacher, one difficulty at a time.

After TeachMyAgent (Romac et al., ICML 2021): mostly infeasible, mostly trivial, rugged (each axis cut in four, the
pieces permuted), a learner that forgets half-way, different learners; and useless dimensions and noisy returns.

    challenge_*          the toy space and its synthetic learner: seconds a run, 30 seeds
    challenge_maze_*     PPO on GoalMaze's serpentine, 0.5M steps; the goal box is 4, 9 or 36 % feasible
    challenge_gate_*     PPO on PointMassGate, where nearly every task is feasible and half of them are easy
    challenge_stumps     PPO on StumpTracks, 5M steps: profile `long` only

Primary metrics, fixed before any seed was run: share of cubes mastered after 20,000 episodes; success of the
deterministic policy on the feasible goals (maze) or on the hard slice (gate); share of the test grid mastered (stumps).
Different learners are benchmarks of their own, so that no table mixes them. PPO's settings are those that were tuned
for `uniform` in `goal_maze.py`, `point_mass_gate.py` and `stump_tracks.py`.

Prior knowledge comes in TeachMyAgent's levels. An arm by its plain name knows the range of returns ("low"), as in every
other benchmark. "none": not even that; a row for some teachers that scale returns, on the plain and the noisy toy
space, the maze at 9 % and the gate. "high": also where easy tasks are, a Gaussian of 10 % of each range around the
easiest one; a row for teachers that take it. All others are the same at every level. `adr`, `expanding_box` and
`annealing` have to be told where to begin and are there at "high" only, as is `gradient`, which is uniform sampling
without it.

Left out: teachers of fixed lists (`listed`), and `omni`, which is `learning_progress` where nobody finds one place of a
box more interesting than another. The synthetic learner has no critic: there the family of PLR scores
levels by p (1 - p), and `traced`, which cannot, is left out, as are PAIRED and CLUTR, whose second learner would know
exactly as much as the first. Roll-outs that a teacher pays for come on top of the steps of the learner; the table's
steps count them.

    python benchmarks/challenges.py --only challenge_rugged --profile small -j 2
"""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from rlteach.cli import bench_main
from rlteach.experiment.bench import Arm, Benchmark, Profile
from rlteach.task_space import TaskSpace

TAUGHT_BY_CRITICS = ("plr", "robust_plr", "accel", "traced")
SECOND_LEARNERS = ("paired", "clutr")
"""Teachers with a second learner, which only reinforcement learning gives something to do."""

OTHERS = (
    "riac",
    "vds",
    "exp3s",
    "learning_progress",
    "ncc",
    "sfl",
    "spdl",
    "currot",
    "goal_gan",
    "setter_solver",
)
FEW = ("uniform", "alp_gmm", "covar_gmm", "success_guided", "frontier")
"""The rows of the short profiles."""

SPREAD = 0.1
"""Standard deviation of what is known of easy tasks, as a share of each range (TeachMyAgent)."""

ANNEALED = 0.6
"""Share of the steps after which annealing has reached the whole space."""


def easiest(env: str, kwargs: Mapping[str, Any]) -> tuple[TaskSpace, np.ndarray]:
    """Return the task space of an environment and its easiest task, as a vector."""
    made: Any = gymnasium.make(f"rlteach_envs:{env}", disable_env_checker=True, **kwargs).unwrapped
    space = TaskSpace.of(made.task_space, made)
    primary = next(iter(made.test_sets.values()))
    made.close()
    if env == "rlteach/PointMassGate-v0":
        return space, np.array([0.0, 8.0])  # straight ahead, the widest
    return space, space.to_vector(primary[0])  # in the cube, or the cell, where the learner begins


def arms(
    env: str, kwargs: Mapping[str, Any], steps: int, *, mastery: float, critic: bool = True, blind: Sequence[str] = ()
) -> Sequence[Arm]:
    """Return the rows of a challenge.

    Args:
        env: Id of the environment.
        kwargs: Its keyword arguments.
        steps: Environment steps of a run.
        mastery: Share of the return range that counts as mastery for teachers with a performance bound.
        critic: Whether the learner has a critic.
        blind: Teachers with a row of their own at the level "none".
    """
    space, easy = easiest(env, kwargs)
    reach = SPREAD * (space.high - space.low)
    ends = (easy, np.maximum(easy - reach, space.low), np.minimum(easy + reach, space.high))
    task, lower, upper = (space.to_mapping(space.from_vector(end)) for end in ends)
    corners = {"start_low": lower, "start_high": upper}
    known = {"initial": {"mean": easy.tolist(), "std": SPREAD}}
    bound = {"performance_bound": mastery}
    scored = {} if critic else {"score": "success_variance"}
    low = {
        **{name: {} for name in (*OTHERS, *(SECOND_LEARNERS if critic else ()))},
        "spdl": bound,
        "currot": bound,
        **{name: scored for name in TAUGHT_BY_CRITICS if critic or name != "traced"},
    }
    high = {
        "adr": {"start": task},
        "expanding_box": corners,
        "annealing": {**corners, "steps": round(ANNEALED * steps)},
        "spdl": {**bound, **known},
        "currot": {**bound, **known},
        "gradient": {**bound, **known},
        "goal_gan": known,
        "setter_solver": known,
        "accel": {**scored, "start": task},
    }
    return (
        *(Arm(name) for name in FEW),
        *(Arm(name, kwargs=settings) for name, settings in low.items()),
        *(Arm(f"{name} (high)", teacher=name, kwargs=settings) for name, settings in high.items()),
        *(Arm(f"{name} (none)", teacher=name, kwargs={"return_range": None}) for name in blind),
        Arm("oracle"),
        Arm("frontier (yoked)", yoked_to="frontier"),
    )


# -- the synthetic learner -----------------------------------------------------------------------------------------

EPISODES = 20_000
BLIND = ("alp_gmm", "covar_gmm", "frontier", "spdl", "currot")
"""Teachers that scale returns and get a row without their range."""


def toy(
    name: str,
    title: str,
    *,
    learner: Mapping[str, Any] | None = None,
    blind: Sequence[str] = (),
    **env_kwargs: Any,
) -> Benchmark:
    """Return a challenge on the toy space; ten episodes side by side cost a fifth of ten in turn."""
    env = "rlteach/ToyCubes-v0"
    return Benchmark(
        name=f"challenge_{name}",
        title=f"Toy space, {title}: share of cubes mastered",
        base={
            "env": {"id": env, "kwargs": env_kwargs, "n_envs": 10},
            "learner": {"name": "synthetic", **(learner or {})},
            "evaluation": {"every": EPISODES // 5},
            "checkpoint_every": EPISODES,
        },
        arms=arms(env, env_kwargs, EPISODES, mastery=0.75, critic=False, blind=blind),
        primary="success/cubes/det",
        profiles={
            "smoke": Profile(steps=2_000, seeds=1, arms=("uniform", "frontier", "frontier (yoked)")),
            "quick": Profile(steps=EPISODES, seeds=2, arms=FEW),
            "small": Profile(steps=EPISODES, seeds=30, publish=True),
        },
    )


TOY = [
    toy("plain", "10 x 10 cubes as they are", blind=BLIND),
    toy("infeasible", "80 % of the box infeasible", box_scale=2.25),
    toy("trivial", "80 % of the box trivial", trivial=0.8),
    toy("rugged", "axes cut and shuffled", shuffle=0),
    toy("forgetting", "a learner that forgets everything half-way", learner={"resets": [0.5]}),
    toy("useless", "four useless dimensions", useless=4),
    toy("noise", "return noise .2", blind=BLIND, noise=0.2),
    toy(
        "learner_fast", "a learner twice as fast, from another corner", learner={"kwargs": {"gain": 2.0}}, mirrored=[0]
    ),
    toy(
        "learner_slow",
        "a learner of 3/4 the speed, from another corner",
        learner={"kwargs": {"gain": 0.75}},
        mirrored=[1],
    ),
    toy("learner_far", "a learner from the far corner", mirrored=[0, 1]),
]

# -- PPO -----------------------------------------------------------------------------------------------------------

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
GATE_PPO = {**PPO, "gamma": 0.98, "ent_coef": 0.0}
STUMPS_PPO = {**PPO, "n_steps": 256, "batch_size": 512, "policy_kwargs": {"log_std_init": -0.5}}
SLOW = {"learning_rate": 3e-4}
WIDE = {"policy_kwargs": {"net_arch": [256, 256]}}
"""The other step size and the other network of the different learners; the first are 1e-3 and 64 x 64."""


def ppo(
    name: str,
    title: str,
    env: str,
    test_set: str,
    steps: int,
    learner: Mapping[str, Any],
    resets: Sequence[float] = (),
    blind: Sequence[str] = (),
    **env_kwargs: Any,
) -> Benchmark:
    return Benchmark(
        name=f"challenge_{name}",
        title=title,
        base={
            "env": {"id": env, "kwargs": env_kwargs, "n_envs": 64},
            "learner": {"name": "fast_ppo", "kwargs": learner, "resets": resets},
            "evaluation": {"every": steps // 4, "test_sets": [test_set]},
        },
        arms=arms(env, env_kwargs, steps, mastery=0.5, blind=blind),
        primary=f"success/{test_set}/det",
        profiles={
            "smoke": Profile(
                steps=16_384,
                seeds=1,
                arms=("uniform", "frontier"),
                overrides={"evaluation.every": 16_384, "learner.kwargs.n_epochs": 1},
            ),
            "small": Profile(steps=steps, seeds=5, publish=True),
            "long": Profile(steps=steps, seeds=10, publish=True),
        },
    )


def maze(
    name: str,
    title: str,
    resets: Sequence[float] = (),
    box_scale: int = 2,
    learner: Mapping[str, Any] | None = None,
    blind: Sequence[str] = (),
    **env_kwargs: Any,
) -> Benchmark:
    return ppo(
        f"maze_{name}",
        f"GoalMaze, {title}: success on the feasible goals",
        "rlteach/GoalMaze-v0",
        "feasible",
        500_000,
        {**PPO, **(learner or {})},
        resets,
        blind,
        layout="serpentine",
        box_scale=box_scale,
        **env_kwargs,
    )


def gate(name: str, title: str, resets: Sequence[float] = (), blind: Sequence[str] = ()) -> Benchmark:
    title = f"PointMassGate, {title}: success on the hard slice"
    return ppo(f"gate_{name}", title, "rlteach/PointMassGate-v0", "hard", 400_000, GATE_PPO, resets, blind)


STUMPS = Benchmark(
    name="challenge_stumps",
    title="StumpTracks, classic bipedal walker: share of the test grid mastered (return > 230)",
    base={
        "env": {"id": "rlteach/StumpTracksFast-v0", "n_envs": 32},
        "learner": {"name": "fast_ppo", "kwargs": STUMPS_PPO},
        "normalize": {"observations": True, "rewards": True},
        "evaluation": {"every": 1_000_000},
    },
    arms=[Arm(name) for name in (*FEW, "plr", "currot")],
    primary="success/grid/det",
    metrics=["return/grid/det"],
    profiles={
        "long": Profile(steps=5_000_000, seeds=3, publish=True),
        "paper": Profile(steps=20_000_000, seeds=16, publish=True, overrides={"env.id": "rlteach/StumpTracks-v0"}),
    },
)

BENCHMARKS = [
    *TOY,
    maze("36", "36 % of the goal box feasible", box_scale=1),
    maze("9", "9 % of the goal box feasible", blind=BLIND),
    maze("4", "4 % of the goal box feasible", box_scale=3),
    maze("rugged", "9 % feasible, axes cut and shuffled", shuffle=0),
    maze("forgetting", "9 % feasible, a learner that forgets everything half-way", resets=[0.5]),
    maze("learner_slow", "9 % feasible, step size 3e-4", learner=SLOW),
    maze("learner_wide", "9 % feasible, networks of 256 x 256", learner=WIDE),
    maze("learner_slow_wide", "9 % feasible, step size 3e-4, networks of 256 x 256", learner={**SLOW, **WIDE}),
    gate("feasible", "nearly every task feasible", blind=BLIND),
    gate("forgetting", "a learner that forgets everything half-way", resets=[0.5]),
    STUMPS,
]

if __name__ == "__main__":
    bench_main(BENCHMARKS, __file__)
