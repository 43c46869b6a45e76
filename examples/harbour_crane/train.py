"""Train PPO on the harbour crane under a curriculum: `python train.py --teacher alp_gmm --steps 200000`."""

import argparse

import numpy as np
from gymnasium.spaces import Box, Dict
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor

import rlteach

TASKS = rlteach.TaskSpace(
    Dict(
        rope=Box(2.0, 12.0, (), np.float64),
        distance=Box(1.0, 20.0, (), np.float64),
        wind=Box(-0.5, 0.5, (), np.float64),
    ),
    units={"rope": "m", "distance": "m", "wind": "m/s^2"},
)


def make_env() -> rlteach.TaskFromKwargs:
    """Give the crane's constructor arguments to the teacher."""
    return rlteach.TaskFromKwargs("harbour_crane:HarbourCrane-v0", TASKS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--teacher", default="alp_gmm", help="any of `rlteach list teachers` that needs no more arguments"
    )
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--test-episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    venv = rlteach.make_vec_env(make_env, 8, seed=args.seed)
    teacher = rlteach.make_teacher(args.teacher, TASKS, seed=args.seed)  # these two lines
    venv = rlteach.attach(venv, teacher)  # are the curriculum
    model = PPO("MlpPolicy", venv, n_steps=256, batch_size=256, ent_coef=0.005, seed=args.seed, device="cpu")
    model.learn(args.steps)

    # Without a teacher every episode draws its task uniformly: the same tasks for every teacher.
    uniform = VecMonitor(rlteach.make_vec_env(make_env, 1, seed=12345))
    returns, _ = evaluate_policy(model, uniform, args.test_episodes, return_episode_rewards=True)
    judged = f"mean return {np.mean(returns):.3f} on {len(returns)} uniform tasks"
    print(f"{args.teacher}: {judged} after {model.num_timesteps} steps")


if __name__ == "__main__":
    main()
