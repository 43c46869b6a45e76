"""Train for a moment with the installed package, to be run with `python -I` from a directory outside the sources."""

import importlib.util
import sys

import rlteach

NOT_INSTALLED = ("envs", "tests", "benchmarks")


def main() -> int:
    found = [name for name in NOT_INSTALLED if importlib.util.find_spec(name) is not None]
    if found:
        print(f"importable, but not meant to be: {', '.join(found)}", file=sys.stderr)
        return 1
    from stable_baselines3 import PPO

    venv = rlteach.make_vec_env("rlteach/GoalMaze-v0", 4, seed=0)
    teacher = rlteach.make_teacher("frontier", venv.get_attr("task_space")[0], seed=0)
    model = PPO("MlpPolicy", rlteach.attach(venv, teacher), n_steps=50, batch_size=50, n_epochs=1, seed=0, device="cpu")
    model.learn(200)
    print(f"rlteach {rlteach.__version__} from {rlteach.__file__}: {model.num_timesteps} steps of PPO under a teacher")
    return 0


if __name__ == "__main__":
    sys.exit(main())
