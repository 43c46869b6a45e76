"""What learners in JAX hold, as numpy arrays and back: SBX, Stable-Baselines3's algorithms in JAX.

Their networks and optimisers are no torch modules: for torch such a model has no parameters at all. Its state is what
the model and its policy hold in attributes that are trees of JAX arrays: training states with optimisers, and keys.

    if in_jax(model.policy):
        put_jax_state(fresh, jax_state(model))
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

KEYS = ("key", "noise_key")
"""Attributes of a policy that it draws its actions from."""


def in_jax(policy: Any) -> bool:
    """Tell whether a policy is one of SBX."""
    sbx = sys.modules.get("sbx.common.policies")
    return sbx is not None and isinstance(policy, sbx.BaseJaxPolicy)


def jax_state(model: Any) -> dict[str, Any]:
    """Return everything that a model in JAX has learned or goes on with, beside what all models of SB3 hold."""
    adaptive = getattr(model, "adaptive_lr", None)  # of PPO with a target for the divergence of an update
    return {
        "model": jax_arrays(model),
        "policy": jax_arrays(model.policy),
        "adaptive_lr": None if adaptive is None else float(adaptive.current_adaptive_lr),
    }


def put_jax_state(model: Any, state: Mapping[str, Any]) -> None:
    """Put back what `jax_state` returned, into a model that was built alike."""
    put_jax_arrays(model, state["model"])
    put_jax_arrays(model.policy, state["policy"])
    if state["adaptive_lr"] is not None:
        model.adaptive_lr.current_adaptive_lr = state["adaptive_lr"]


def jax_arrays(owner: Any) -> dict[str, np.ndarray]:
    """Return every JAX array that a model or a policy holds, as `attribute/number of the leaf`."""
    return {
        f"{name}/{index}": np.array(leaf)
        for name, (leaves, _) in _trees(owner).items()
        for index, leaf in enumerate(leaves)
    }


def put_jax_arrays(owner: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Put back what `jax_arrays` returned, into an owner that was built alike.

    Raises:
        RuntimeError: When names or shapes are others than the owner's, which then is as before.
    """
    trees = _trees(owner)
    expected = {f"{name}/{i}": np.shape(leaf) for name, (leaves, _) in trees.items() for i, leaf in enumerate(leaves)}
    found = {name: np.shape(array) for name, array in arrays.items()}
    if found != expected:
        differing = sorted(name for name in found.keys() | expected if found.get(name) != expected.get(name))
        raise RuntimeError(f"other arrays than those of {type(owner).__name__}: {', '.join(differing[:5])}")
    import jax

    for name, (leaves, structure) in trees.items():
        parts = [_as_kept(arrays[f"{name}/{index}"]) for index in range(len(leaves))]
        setattr(owner, name, jax.tree_util.tree_unflatten(structure, parts))


@contextmanager
def own_keys(policy: Any, seed: int) -> Iterator[None]:
    """Let a policy in JAX draw its actions from `seed` within this block, and go on as before afterwards."""
    if not in_jax(policy):
        yield
        return
    import jax

    before = {name: getattr(policy, name) for name in KEYS if hasattr(policy, name)}
    for name, key in zip(before, jax.random.split(jax.random.PRNGKey(seed), len(KEYS)), strict=False):
        setattr(policy, name, key)
    try:
        yield
    finally:
        for name, key in before.items():
            setattr(policy, name, key)


def _as_kept(array: np.ndarray) -> Any:
    """Return an array of JAX, or the array itself where JAX has no such numbers: step sizes in double precision."""
    import jax

    return jax.numpy.asarray(array) if jax.dtypes.canonicalize_dtype(array.dtype) == array.dtype else array


def _trees(owner: Any) -> dict[str, tuple[list[Any], Any]]:
    """Return leaves and structure of every attribute that is a tree of JAX arrays."""
    import jax

    found = {}
    for name, value in vars(owner).items():
        leaves, structure = jax.tree_util.tree_flatten(value)
        numbers = all(isinstance(leaf, jax.Array | np.generic | np.ndarray | int | float) for leaf in leaves)
        if numbers and any(isinstance(leaf, jax.Array) for leaf in leaves):
            found[name] = (leaves, structure)
    return found
