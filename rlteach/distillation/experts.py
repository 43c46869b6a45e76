"""Experts: who labels the observations of a student with actions.

    expert = load_expert("runs/expert", venv)            # a finished run: executes nothing that its files hold
    expert = load_expert("ppo.zip", venv, trust=True)    # Stable-Baselines3's own format holds pickles
    expert = load_expert("expert.onnx", venv)
    expert = load_expert("my_package:controller", venv)  # any function of a batch of observations
    actions, state = expert.label(view(observation), state, starts)

Labels are always deterministic, an expert's own observation normaliser is always applied, and an expert that was
trained on other groups, or on the same in another order, is refused.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from rlteach import registry
from rlteach.distillation.actions import Categorical, Distribution, Gaussian
from rlteach.distillation.student import Student
from rlteach.distillation.students import load_student
from rlteach.errors import ConfigError, EnvironmentFault, InvalidValue, MissingExtra, UntrustedFile, UserError
from rlteach.files import read_json
from rlteach.jax_states import in_jax
from rlteach.learners.policy_files import DESCRIPTION, ObservationScale, load_policy, scale_of
from rlteach.observations import View
from rlteach.space_files import describe_space

STUDENT_FILES, TRAINING = "student", "training.json"
"""Where a run that distilled keeps its student, and in there what the student saw and how it acted."""


class Expert(ABC):
    """Labels what its view shows with actions, deterministically.

    Attributes:
        view: What it sees.
        steps: Environment steps that its training cost, 0 where nobody knows.
        recurrent: Whether it has memory, so that observations must come in order.
    """

    view: View
    steps: int = 0
    recurrent: bool = False

    @abstractmethod
    def label(self, observations: np.ndarray, state: Any = None, starts: np.ndarray | None = None) -> tuple[Any, Any]:
        """Return actions in the environment's units for a batch (n, d), and the next recurrent state.

        Args:
            observations: What `view` shows, (n, d).
            state: What the call before returned; None at first.
            starts: (n,) whether each row begins an episode.
        """

    def distribution(self, observations: np.ndarray) -> Distribution | None:
        """Return the action distribution in units of [-1, 1], where the expert has one."""
        return None


class PolicyExpert(Expert):
    """A Stable-Baselines3 policy.

    Args:
        policy: The policy.
        view: What it sees.
        scale: The observation normaliser it was trained under.
        steps: Environment steps of its training.
    """

    def __init__(self, policy: BasePolicy, view: View, scale: ObservationScale | None = None, steps: int = 0) -> None:
        policy.set_training_mode(False)
        self.policy, self.view, self.scale, self.steps = policy, view, scale, steps
        self.recurrent = hasattr(policy, "lstm_actor")

    def label(self, observations: np.ndarray, state: Any = None, starts: np.ndarray | None = None) -> tuple[Any, Any]:
        """Return the mode of the policy."""
        seen = observations if self.scale is None else self.scale(observations)
        if self.recurrent or in_jax(self.policy):
            return self.policy.predict(seen, state=state, episode_start=starts, deterministic=True)
        with torch.inference_mode():  # `predict` costs five times the forward pass
            raw = self.policy._predict(self._tensor(seen), deterministic=True).cpu().numpy()
        space = self.policy.action_space
        if isinstance(space, spaces.Box):
            raw = self.policy.unscale_action(raw) if self.policy.squash_output else np.clip(raw, space.low, space.high)
        return raw, None

    def distribution(self, observations: np.ndarray) -> Distribution | None:
        """Return a Gaussian in units of [-1, 1], or a categorical; None where there is none, with memory and in JAX.

        Of a squashed Gaussian it is the Gaussian with its mode and, to first order, its deviation.
        """
        if self.recurrent or in_jax(self.policy):
            return None
        seen = self._tensor(observations if self.scale is None else self.scale(observations))
        space = self.policy.action_space
        with torch.no_grad():
            if isinstance(self.policy, ActorCriticPolicy):
                found: Any = self.policy.get_distribution(seen).distribution
                if isinstance(space, spaces.Discrete):
                    return Categorical(found.logits)
                low, high = torch.as_tensor(space.low), torch.as_tensor(space.high)  # type: ignore[attr-defined]
                return Gaussian((2 * found.mean - low - high) / (high - low), 2 * found.stddev / (high - low))
            actor = getattr(self.policy, "actor", None)
            if actor is not None and hasattr(actor, "get_action_dist_params"):
                mean, log_std, _ = actor.get_action_dist_params(seen)
                return Gaussian(mean.tanh(), log_std.exp() * (1 - mean.tanh().square()))
        return None

    def _tensor(self, observations: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(observations, device=self.policy.device)


class StudentExpert(Expert):
    """A distilled student that now teaches."""

    def __init__(self, student: Student, view: View, steps: int = 0) -> None:
        self.student, self.view, self.steps = student, view, steps
        self.recurrent = student.state_size > 0

    def label(self, observations: np.ndarray, state: Any = None, starts: np.ndarray | None = None) -> tuple[Any, Any]:
        """Return the student's deterministic actions."""
        return self.student.act(observations, state, starts, deterministic=True)


class OnnxExpert(Expert):
    """A network in ONNX: `observations` in, `actions` out; with a second input and output for memory, if it has one.

    Args:
        path: The file.
        view: What it sees.
    """

    def __init__(self, path: Path, view: View) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtra("onnxruntime", "export", purpose=f"the expert {path}") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.view = view
        inputs = self.session.get_inputs()
        self._names = [part.name for part in inputs]
        self.recurrent = len(inputs) > 1
        stated = self.session.get_modelmeta().custom_metadata_map.get("initial_state")
        size = inputs[1].shape[-1] if self.recurrent else 0
        self._initial = np.zeros(size, np.float32) if stated is None else np.array(json.loads(stated), np.float32)
        expected = inputs[0].shape[-1]
        if isinstance(expected, int) and expected != view.size:
            raise InvalidValue(f"{path} takes {expected} observations, and the expert's view has {view.size}")

    def label(self, observations: np.ndarray, state: Any = None, starts: np.ndarray | None = None) -> tuple[Any, Any]:
        """Run the network."""
        feed = {self._names[0]: observations.astype(np.float32)}
        if not self.recurrent:
            return self.session.run(None, feed)[0], None
        if state is None:
            state = np.tile(self._initial, (len(observations), 1))
        if starts is not None:
            state = np.where(np.asarray(starts)[:, None], self._initial, state)
        actions, following = self.session.run(None, {**feed, self._names[1]: state})[:2]
        return actions, following


class CallableExpert(Expert):
    """Any function from a batch of observations (n, d) to actions (n, a)."""

    def __init__(self, function: Callable[[np.ndarray], Any], view: View) -> None:
        self.function, self.view = function, view

    def label(self, observations: np.ndarray, state: Any = None, starts: np.ndarray | None = None) -> tuple[Any, Any]:
        """Call the function."""
        return np.asarray(self.function(observations)), None


def load_expert(
    source: str | Path | Callable[..., Any], venv: VecEnv, *, sight: str = "", trust: bool = False, normalizer: str = ""
) -> Expert:
    """Return an expert from a run directory, an SB3 zip, an ONNX file, an import path, or a function.

    Args:
        source: Where it is.
        venv: The environments it will label; its view is checked against them.
        sight: What it sees, a role or groups; by default what it was trained on, else the role `expert`.
        trust: Whether files may execute code that they hold (SB3 zips do).
        normalizer: File of the `VecNormalize` that an SB3 zip was trained under.

    Raises:
        UserError: When it cannot be found, loaded, or does not fit the environments: all reasons at once.
    """
    if callable(source):
        return _checked(CallableExpert(source, View.of(venv, sight or "expert")), venv)
    path = Path(source)
    if path.is_dir():
        return _checked(_from_run(path, venv, sight), venv)
    view = View.of(venv, sight or "expert")
    if path.suffix == ".zip":
        return _checked(_from_zip(path, venv, view, trust, normalizer), venv)
    if path.suffix == ".onnx":
        if not path.is_file():
            raise UserError(f"there is no file {path}")
        return _checked(OnnxExpert(path, view), venv)
    if ":" in str(source):
        function = registry.load("learner", str(source))
        return _checked(CallableExpert(function, view), venv)
    raise UserError(
        f"there is no expert at {source}: give a run directory, an SB3 .zip, an .onnx file, or package.module:function"
    )


def _from_run(path: Path, venv: VecEnv, sight: str) -> Expert:
    if (path / STUDENT_FILES).is_dir():
        student, view, described = read_student(path, venv)
        return StudentExpert(student, view, int(described.get("steps", 0)))
    if not (path / DESCRIPTION).is_file():
        done = "" if (path / "DONE").exists() else f" It is not finished: rlteach resume {path}."
        raise UserError(f"{path} holds no policy ({DESCRIPTION}).{done}")
    saved = load_policy(path)
    view = View.of(venv, sight or ("expert" if saved.view is None else ",".join(saved.view["groups"])))
    described = saved.view or {"shape": saved.description["observation_space"]["shape"]}
    _refuse_differences(path, view, described, describe_space(venv.action_space), saved.description["action_space"])
    return PolicyExpert(saved.policy, view, saved.scale, int(saved.description["steps"]))


def _refuse_differences(path: Path, view: View, described: Any, ours: Any, theirs: Any) -> None:
    faults = view.faults_against(described)
    if ours != theirs:
        faults.append(f"its action space was {theirs}, and here it is {ours}: labels would have another scale")
    if faults:
        raise ConfigError(faults, where=f"policy {path}, which was trained on something else than it would see here")


def _from_zip(path: Path, venv: VecEnv, view: View, trust: bool, normalizer: str) -> Expert:
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    if not trust:
        raise UntrustedFile(
            f"{path} is an SB3 zip, and loading one executes code that it holds. If you trust where it comes from: "
            f"--trust. A run directory of rlteach needs no trust."
        )
    model = _sb3_class(path).load(path, device="cpu")
    if model.observation_space.shape != view.space.shape:
        raise InvalidValue(
            f"{path} was trained on observations of shape {model.observation_space.shape}, and the groups "
            f"{', '.join(view.groups)} have {view.space.shape}: name the groups it saw with --expert-obs"
        )
    if model.action_space != venv.action_space:
        raise InvalidValue(
            f"{path} acts in {model.action_space}, and the environment takes {venv.action_space}: its labels would "
            "have another scale. Wrap the environment as it was there, e.g. in gymnasium.wrappers.RescaleAction"
        )
    scale = scale_of(_load_normalizer(normalizer, view)) if normalizer else None
    return PolicyExpert(model.policy, view, scale, int(model.num_timesteps))


def _load_normalizer(path: str, view: View) -> VecNormalize:
    from stable_baselines3.common.vec_env import DummyVecEnv

    from rlteach.learners.policy_files import SpacesOnly

    if not Path(path).is_file():
        raise UserError(f"there is no file {path}, the expert's normaliser: what `VecNormalize.save` wrote")
    venv = DummyVecEnv([lambda: SpacesOnly(view.space, spaces.Discrete(2))])
    try:
        return VecNormalize.load(path, venv)
    except Exception as error:
        raise UserError(
            f"{path} is no normaliser of the {view.space.shape[0]} numbers that the expert sees: {error}"
        ) from error


def _sb3_class(path: Path) -> Any:
    """Return the algorithm that wrote a zip, told by what its data holds."""
    import zipfile

    with zipfile.ZipFile(path) as file:
        data = json.loads(file.read("data"))
    home = str(data.get("policy_class", {}).get("__module__", ""))
    known = [f"sbx.{name}" for name in SBX if home == f"sbx.{name.lower()}.policies"]
    known += [name for part, name in POLICY_HOMES.items() if part in home]
    known += [name for setting, name in ACTOR_CRITICS.items() if home == COMMON_POLICIES and setting in data]
    if not known:
        raise UserError(
            f"{path} was written by an algorithm whose policy lives in {home or 'no module'}, which is not one of "
            f"{', '.join([*POLICY_HOMES.values(), *ACTOR_CRITICS.values()])}, or SBX's. A function of yours can be "
            "the expert instead: --expert package.module:function"
        )
    return registry.load("learner", known[0])


POLICY_HOMES = {
    ".sac.": "sac",
    ".td3.": "td3",
    ".dqn.": "dqn",
    ".recurrent.": "sb3_contrib.RecurrentPPO",
    ".tqc.": "sb3_contrib.TQC",
    ".qrdqn.": "sb3_contrib.QRDQN",
}
"""What the module of a zip's policy has in its name, and the algorithm that reads it."""
SBX = ("PPO", "SAC", "TD3", "TQC", "CrossQ", "DQN")
"""Algorithms of SBX with a module of policies of their own; its DDPG acts by those of TD3."""
COMMON_POLICIES = "stable_baselines3.common.policies"
ACTOR_CRITICS = {"clip_range": "ppo", "cg_max_steps": "sb3_contrib.TRPO", "gae_lambda": "a2c"}
"""Settings that tell the algorithms with a common policy apart, in this order."""


def _checked(expert: Expert, venv: VecEnv) -> Expert:
    """Label two made-up observations, so that what does not fit is told before anything is trained."""
    probe = np.zeros((2, *expert.view.space.shape), dtype=expert.view.space.dtype)
    try:
        actions, _ = expert.label(probe, None, np.ones(2, dtype=bool))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the expert cannot label observations of shape {probe.shape}: {error}") from error
    check_labels(np.asarray(actions), 2, venv.action_space)
    return expert


def check_labels(actions: np.ndarray, count: int, space: spaces.Space[Any]) -> None:
    """Raise when labels have a wrong shape, are not finite, or are no actions of a Discrete space."""
    expected = (count, *(space.shape or ()))
    if actions.shape != expected:
        raise UserError(f"the expert returned actions of shape {actions.shape}, not {expected}")
    if not np.isfinite(actions).all():
        row = int(np.argwhere(~np.isfinite(actions.reshape(count, -1)).all(axis=1))[0, 0])
        raise EnvironmentFault(
            f"the expert's label of observation {row} of {count} is not finite ({actions[row]}); nothing was learned "
            f"from it. Look at its normaliser and at the observation it was given."
        )
    if isinstance(space, spaces.Discrete) and count:
        first, last = int(space.start), int(space.start + space.n - 1)
        low, high = int(actions.min()), int(actions.max())
        if low < first or high > last:
            raise UserError(
                f"the expert returned actions from {low} to {high}, outside of {first} to {last} of {space}; "
                "actions are counted as the environment counts them"
            )


def read_student(source: str | Path, venv: VecEnv) -> tuple[Student, View, dict[str, Any]]:
    """Return a student that a run left, its view of `venv`, and how it was trained.

    Args:
        source: Run directory of a distillation, or the directory of a student.
        venv: The environments it shall act in.

    Raises:
        UserError: When there is none, or it saw something else than `venv` shows.
    """
    path = Path(source)
    home = path / STUDENT_FILES if (path / STUDENT_FILES).is_dir() else path
    if not (home / TRAINING).is_file():
        raise UserError(f"there is no student in {path}: give the run directory of a finished distillation")
    student, described = load_student(home), read_json(home / TRAINING)
    view = View.of(venv, ",".join(described["view"]["groups"]))
    _refuse_differences(path, view, described["view"], describe_space(venv.action_space), described["action_space"])
    return student, view, described
