"""Measure how fast and how small distillation is, beside the package `imitation` on the same task in the same run.

    python scripts/time_distillation.py                   # everything, as markdown tables; some ten minutes
    python scripts/time_distillation.py --skip-peer       # rlteach alone
    python scripts/time_distillation.py --quick           # little data and one repetition: does it run?

`imitation` 1.0.1 needs older packages than rlteach, so it gets an environment of its own, made with pip where
`--peer-venv` says, the first time. Both sides run this file, each measurement in a new process with one thread, in
turn, so that a busy machine slows both alike; the tables show medians.

Task of both: 64 environments with the dynamics of rlteach/WindGain-v0, one numpy batch with no wrapper around it, the
same class on both sides. `imitation` refuses an expert that sees anything else than the student, so here both see
everything: position, command, velocity, log gains, wind. The expert is a function of numpy arrays. Networks are 64x64
tanh on both sides, a round is one episode in each environment, the expert acts in the first and the student in all
others. `dagger` times collecting, labelling and learning; `bc` times learning alone, from demonstrations kept ready,
with observations as they are (`imitation` does not normalise them, and after few updates that is the better student).
`score` is the mean return of the deterministic student in 256 fixed tasks, the same on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

N_ENVS, HORIZON, HIDDEN = 64, 100, (64, 64)
SCORED_ROWS, SCORING_SEED = 256, 12_345
PEER = ("imitation==1.0.1", "gymnasium==0.29.1", "stable-baselines3==2.2.1")
PACKAGES = {
    "rlteach": ("rlteach", "stable_baselines3", "gymnasium", "torch", "numpy"),
    "imitation": ("imitation", "stable_baselines3", "gymnasium", "torch", "numpy"),
}
REPOSITORY = Path(__file__).resolve().parent.parent


# -- what both sides are given -------------------------------------------------------------------------------------


class Wind(VecEnv):
    """The dynamics, rewards and tasks of rlteach/WindGain-v0, seen whole.

    Args:
        num_envs: Number of rows.
        seed: Of starts and tasks.
    """

    def __init__(self, num_envs: int, seed: int) -> None:
        seen = spaces.Box(-np.inf, np.inf, (10,), np.float32)
        self._rng = np.random.default_rng(seed)
        self._place, self._command, self._speed = (np.zeros((num_envs, 2)) for _ in range(3))
        self._task = np.zeros((num_envs, 4))
        self._clock = np.zeros(num_envs, dtype=np.int64)
        super().__init__(num_envs, seen, spaces.Box(-1.0, 1.0, (2,), np.float32))

    def _begin(self, rows: np.ndarray) -> None:
        unit = self._rng.random((len(rows), 6))
        self._place[rows] = 2 * unit[:, :2] - 1
        self._task[rows, :2], self._task[rows, 2:] = np.log(8) * unit[:, 2:4], 1.6 * unit[:, 4:] - 0.8
        self._command[rows] = self._speed[rows] = self._clock[rows] = 0

    def _observe(self) -> np.ndarray:
        return np.concatenate([self._place, self._command, self._speed, self._task], axis=1, dtype=np.float32)

    def reset(self) -> np.ndarray:
        self._begin(np.arange(self.num_envs))
        return self._observe()

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = np.clip(actions.astype(np.float64), -1.0, 1.0)

    def step_wait(self) -> Any:
        self._command += (1 - np.exp(-0.5)) * (self._actions - self._command)
        self._speed += 0.05 * (np.exp(self._task[:, :2]) * self._command + self._task[:, 2:])
        self._place += 0.05 * self._speed
        self._clock += 1
        distance = np.hypot(self._place[:, 0], self._place[:, 1])
        crashed = distance > 4.0
        rewards = 1 - np.minimum(distance, 2.0) - 0.02 * (self._actions**2).sum(1) - 20.0 * crashed
        dones = crashed | (self._clock == HORIZON)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        observation = self._observe()
        if dones.any():
            ended = np.flatnonzero(dones)
            for row in ended:
                infos[row] = {"terminal_observation": observation[row], "TimeLimit.truncated": not crashed[row]}
            self._begin(ended)
            observation = self._observe()
        return observation, rewards.astype(np.float32), dones, infos

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        if attr_name != "render_mode":
            raise AttributeError(attr_name)
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AttributeError(attr_name)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        raise AttributeError(method_name)

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


def expert(seen: np.ndarray) -> np.ndarray:
    """Push towards the origin against the wind."""
    place, speed, gains, wind = seen[:, :2], seen[:, 4:6], np.exp(seen[:, 6:8]), seen[:, 8:10]
    return np.clip((-2 * place - 2 * speed - wind) / gains, -1, 1)


def score(act: Callable[[np.ndarray], np.ndarray]) -> float:
    """Return the mean return of one episode in each of the fixed tasks."""
    world = Wind(SCORED_ROWS, SCORING_SEED)
    seen, going, total = world.reset(), np.ones(SCORED_ROWS, dtype=bool), 0.0
    for _ in range(HORIZON):
        seen, rewards, dones, _ = world.step(act(seen))
        total += float(rewards[going].sum())
        going &= ~dones
    return total / SCORED_ROWS


# -- jobs, each in its own process ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One row of a table: `transitions` are environment steps, or, for `bc`, labelled steps of one epoch."""

    side: str
    task: str
    batch: int = 32
    epochs: int = 4
    loss: str = "nll"
    transitions: int = 0
    learning_rate: float = 1e-3

    def __str__(self) -> str:
        return (
            f"{self.side}, {self.task}, batch {self.batch}, {self.epochs} epochs, {self.loss}, {self.learning_rate:g}"
        )


@contextmanager
def timed(result: dict[str, Any]) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    result |= {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def updates_of(optimizer: torch.optim.Optimizer) -> int:
    return max(int(state["step"]) for state in optimizer.state.values())


def peak_megabytes() -> float:
    """Return the peak of the resident memory of this process, without what the one it was forked from had."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def ours(job: Job) -> dict[str, Any]:
    """Run a job of rlteach."""
    from rlteach.distillation.bc import BehaviouralCloning
    from rlteach.distillation.dagger import Dagger

    warnings.filterwarnings("ignore", "nothing is hidden")
    kwargs = {"expert": expert, "learning_rate": job.learning_rate, "policy_kwargs": {"hidden": HIDDEN}, "seed": 0}
    kwargs |= {"batch_size": job.batch, "epochs": job.epochs, "loss": job.loss}
    result: dict[str, Any] = {"imported": peak_megabytes()}
    if job.task == "dagger":
        learner: Any = Dagger("mlp", Wind(N_ENVS, 0), n_steps=HORIZON, **kwargs)
        with timed(result):
            learner.learn(job.transitions)
        result["transitions"] = learner.labels
    else:
        learner = BehaviouralCloning("mlp", Wind(N_ENVS, 0), normalize_observations=False, **kwargs)
        hooks = quiet_callback(learner)
        learner._last_obs = learner.env.reset()
        rollout, _ = learner.collect(job.transitions // N_ENVS, hooks)
        with timed(result):
            learner.data.append(rollout)
            learner.train(rollout, learner._memory)
        result["transitions"] = job.epochs * rollout.size
    result |= {"updates": updates_of(learner.optimizer), "peak": peak_megabytes()}
    result["weights"] = sum(p.numel() for p in learner.student.parameters())
    result["score"] = score(lambda seen: learner.predict(seen, deterministic=True)[0])
    return result


def quiet_callback(learner: Any) -> Any:
    from rlteach.learners.hooks import as_callback

    hooks = as_callback(None)
    hooks.init_callback(learner)
    return hooks


def peer(job: Job) -> dict[str, Any]:
    """Run a job of `imitation`, without the episodes it plays to log, and without its progress bar."""
    from imitation.algorithms.bc import BC
    from imitation.algorithms.dagger import LinearBetaSchedule, SimpleDAggerTrainer
    from imitation.data.types import Transitions
    from imitation.util.logger import configure
    from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy

    class Scripted(BasePolicy):
        """The expert in the only form that is accepted, skipping torch."""

        def _predict(self, observation: Any, deterministic: bool = False) -> torch.Tensor:
            return torch.from_numpy(expert(observation.numpy()))

        def predict(self, observation: Any, state: Any = None, *_: Any, **__: Any) -> Any:
            return expert(observation), state

    venv = Wind(N_ENVS, 0)
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    policy = ActorCriticPolicy(
        venv.observation_space, venv.action_space, lambda _: job.learning_rate, net_arch=list(HIDDEN)
    )
    result: dict[str, Any] = {"imported": peak_megabytes()}
    quiet = {"log_rollouts_venv": None, "progress_bar": False}
    with tempfile.TemporaryDirectory() as scratch:
        learner = BC(
            observation_space=venv.observation_space,
            action_space=venv.action_space,
            rng=rng,
            policy=policy,
            batch_size=job.batch,
            optimizer_kwargs={"lr": job.learning_rate},
            custom_logger=configure(scratch, format_strs=()),
            device="cpu",
        )
        if job.task == "dagger":
            trainer = SimpleDAggerTrainer(
                venv=venv,
                scratch_dir=scratch,
                expert_policy=Scripted(venv.observation_space, venv.action_space),
                rng=rng,
                bc_trainer=learner,
                beta_schedule=LinearBetaSchedule(1),
                custom_logger=learner.logger,
            )
            with timed(result):
                trainer.train(job.transitions, bc_train_kwargs={"n_epochs": job.epochs, **quiet})
            result["transitions"] = sum(len(demo) for demo in trainer._all_demos)
        else:
            learner.set_demonstrations(demonstrations(venv, job.transitions, Transitions))
            with timed(result):
                learner.train(n_epochs=job.epochs, **quiet)
            result["transitions"] = job.epochs * job.transitions
    result |= {"updates": updates_of(learner.optimizer), "peak": peak_megabytes()}
    result["weights"] = sum(p.numel() for p in policy.parameters())
    result["score"] = score(lambda seen: policy.predict(seen, deterministic=True)[0])
    return result


def demonstrations(venv: Wind, count: int, make: Callable[..., Any]) -> Any:
    seen, steps = venv.reset(), []
    for _ in range(count // N_ENVS):
        actions = expert(seen)
        after, _, dones, _ = venv.step(actions)
        steps.append((seen, actions, after, dones))
        seen = after
    observations, actions, after, dones = (np.concatenate(part) for part in zip(*steps, strict=True))
    infos = np.array([{}] * len(dones))
    return make(obs=observations, acts=actions, infos=infos, next_obs=after, dones=dones)


def recurrent(rounds: int) -> dict[str, Any]:
    """Time backpropagation through time as `time_students.py` does, 64 units, 64 rows of 100 steps."""
    from time_students import ROWS, STARTS, STEPS, medians, new_student, training

    student = new_student("gru")
    seconds = medians({str(share): training(student, share) for share in STARTS}, rounds, 1)
    return {share: STEPS * ROWS / each for share, each in seconds.items()}


def run_here(job: Job, quick: bool) -> dict[str, Any]:
    torch.set_num_threads(1)
    warm_up()
    if job.task == "gru":
        return recurrent(3 if quick else 21)
    return {"rlteach": ours, "imitation": peer}[job.side](job)


def warm_up() -> None:
    """Take one step of Adam: torch puts some of its imports off until then."""
    weight = torch.zeros(1, requires_grad=True)
    weight.sum().backward()
    torch.optim.Adam([weight]).step()


# -- the run -------------------------------------------------------------------------------------------------------


def jobs(quick: bool, sides: Mapping[str, Path]) -> list[Job]:
    steps, epochs = (2 * N_ENVS * HORIZON, 1) if quick else (3 * N_ENVS * HORIZON, 4)
    labelled = 4_096 if quick else 32_768
    found = [
        Job("imitation", "dagger", 32, epochs, "nll", steps),
        Job("rlteach", "dagger", 32, epochs, "nll", steps),
        Job("imitation", "dagger", 256, epochs, "nll", steps),
        Job("rlteach", "dagger", 256, epochs, "nll", steps),
        Job("rlteach", "dagger", 256, epochs, "mse", steps),
        Job("rlteach", "dagger", 512, epochs, "mse", steps, learning_rate=3e-3),
    ]
    for batch in (32, 256, 1024):
        found += [Job(side, "bc", batch, epochs // 2 or 1, "nll", labelled) for side in ("imitation", "rlteach")]
    found.append(Job("rlteach", "gru"))
    return [job for job in found if job.side in sides]


def peer_python(place: Path) -> Path:
    """Return the interpreter of the environment at `place`, made if it is not there."""
    python = place / "bin" / "python"
    if not (place / "complete").exists():
        print(f"making {place} with {', '.join(PEER)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        same = [f"{name}=={version(name).split('+')[0]}" for name in ("torch", "numpy")]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PEER, *same], check=True)
        (place / "complete").touch()
    return python


def measured(job: Job, python: Path, quick: bool) -> dict[str, Any]:
    command = [str(python), "-W", "ignore", __file__, "--job", json.dumps(vars(job)), *(["--quick"] if quick else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{job}: {result}", file=sys.stderr)
    return result


def versions(side: str, python: Path) -> str:
    code = f"from importlib.metadata import version as v; print(', '.join(f'{{n}} {{v(n)}}' for n in {PACKAGES[side]}))"
    return subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def show(task: str, table: Mapping[Job, Mapping[str, float]]) -> None:
    rows = {job: row for job, row in table.items() if job.task == task}
    theirs = {job.batch: row["per_cpu"] for job, row in rows.items() if job.side == "imitation"}
    lines: list[dict[str, str]] = []
    for job, row in rows.items():
        same, first = (f"{row['per_cpu'] / theirs[b]:.1f}" if b in theirs else "" for b in (job.batch, 32))
        line = {
            task: job.side,
            "batch": str(job.batch),
            "epochs": str(job.epochs),
            "loss": job.loss,
            "Adam": f"{job.learning_rate:g}",
            "updates": f"{row['updates']:,.0f}",
            "score": f"{row['score']:.1f}",
            "env steps per CPU s" if task == "dagger" else "transitions per CPU s": f"{row['per_cpu']:,.0f}",
            "per wall s": f"{row['per_wall']:,.0f}",
            "times imitation, same batch": same,
        }
        if task == "dagger":
            line["times imitation, batch 32"] = first
        lines.append({**line, "peak MB": f"{row['peak']:.0f}", "of these before learning": f"{row['imported']:.0f}"})
    print("\n| " + " | ".join(lines[0]) + " |\n|---|" + "--:|" * (len(lines[0]) - 1))
    for line in lines:
        print("| " + " | ".join(line.values()) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each row")
    parser.add_argument("--quick", action="store_true", help="little data, one repetition")
    parser.add_argument("--skip-peer", action="store_true", help="without `imitation`")
    parser.add_argument("--peer-venv", type=Path, default=REPOSITORY / ".venv-imitation", help="its environment")
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(run_here(Job(**options.job), options.quick)))
        return

    sides = {"rlteach": Path(sys.executable)}
    if not options.skip_peer:
        sides["imitation"] = peer_python(options.peer_venv)
    results: dict[Job, list[dict[str, Any]]] = {job: [] for job in jobs(options.quick, sides)}
    for _ in range(1 if options.quick else options.repeats):
        for job, kept in results.items():
            kept.append(measured(job, sides[job.side], options.quick))
    for kept in results.values():
        for result in kept:
            if "cpu" in result:
                result["per_cpu"] = result["transitions"] / result["cpu"]
                result["per_wall"] = result["transitions"] / result["wall"]
    table = {job: {key: statistics.median(r[key] for r in kept) for key in kept[0]} for job, kept in results.items()}

    print(f"{processor()}; {1 if options.quick else options.repeats} repetitions; expert's score {score(expert):.1f}")
    for side, python in sides.items():
        print(f"{side}: {versions(side, python)}")
    show("dagger", table)
    show("bc", table)
    gru = next(row for job, row in table.items() if job.task == "gru")
    print("\n| GRU of 64 units, 64 rows of 100 steps: share of steps that begin an episode |", end="")
    print(" | ".join(f" {float(share):.0%}" for share in gru), "|\n|---|" + "--:|" * len(gru))
    print("| transitions per CPU s |", " | ".join(f"{speed:,.0f}" for speed in gru.values()), "|")


if __name__ == "__main__":
    main()
