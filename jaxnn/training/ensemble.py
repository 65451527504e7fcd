"""Several networks that answer together: the mean of their probabilities."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import checks
from jaxnn.training.sweep_programs import side_by_side
from jaxnn.training.sweep_results import Member
from jaxnn.types import Layer, Params, State


def stack_members(members: Sequence[Member]) -> tuple[Params, State]:
    """Stack the parameters and states of M networks of one structure: every leaf [...] becomes [M, ...].

    Raises ValueError for no members, and for trees or shapes that differ: those are no networks of one model.

    >>> one = Member({}, 0, {"weight": np.ones(2)}, (), 1, [], "")
    >>> stack_members([one, one])[0]["weight"].shape
    (2, 2)
    """
    if not members:
        raise ValueError("stack_members got no members")
    trees = [(member.params, member.model_state) for member in members]
    forms = [(jax.tree.structure(tree), [np.shape(leaf) for leaf in jax.tree.leaves(tree)]) for tree in trees]
    for member, form in zip(members, forms, strict=True):
        if form != forms[0]:
            raise ValueError(
                f"stack_members expected networks of one structure but {member.hyperparameters} has other parameters "
                f"than {members[0].hyperparameters}: take those that share a program, or average over several calls"
            )
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def ensemble_predict(
    model: Layer, params: Params, model_state: State, inputs: Any, *, batch_size: int = 1000
) -> np.ndarray:
    """Compute the mean of M networks' probabilities, [N, ...] -> [N, classes]: 1/M sum_m softmax(logits_m), no logs.

    Every leaf of `params` and `model_state` has a leading axis of M, as from `stack_members` or
    `jax.vmap(model.init)(keys)`; the model gives logits. Rows sum to 1, so `jaxnn.metrics.calibration_bins` takes them
    as they are. The mean's cross-entropy is at most the mean of the members', as -log is convex. Evaluation mode.

    Raises ValueError for no examples, leading axes that differ, and outputs that are no logits [N, classes] of two
    classes or more; TypeError for inputs that are no array. Lakshminarayanan, Pritzel and Blundell, 2017, Simple and
    Scalable Predictive Uncertainty Estimation using Deep Ensembles.

    >>> from jaxnn.layers import linear
    >>> params = {"weight": jnp.zeros((2, 3, 2)), "bias": jnp.log(jnp.array([[1.0, 3.0], [3.0, 1.0]]))}
    >>> ensemble_predict(linear(3, 2), params, (), np.ones((1, 3), np.float32)).round(3)
    array([[0.5, 0.5]], dtype=float32)
    """
    checks.positive_int("ensemble_predict", "batch_size", batch_size)
    model = checks.as_layer("ensemble_predict", model)
    checks.array("ensemble_predict", "inputs", inputs)
    if inputs.ndim == 0 or len(inputs) == 0:
        raise ValueError(f"ensemble_predict got no examples (inputs have shape {np.shape(inputs)})")
    members = _members(params, model_state)
    one = jax.eval_shape(lambda tree: jax.tree.map(lambda leaf: leaf[0], tree), (params, model_state))
    first = jax.ShapeDtypeStruct((1, *inputs.shape[1:]), inputs.dtype)
    logits, _ = jax.eval_shape(model.apply, *one, first)
    if not hasattr(logits, "shape") or len(logits.shape) != 2 or logits.shape[1] < 2:
        got = f"shape {logits.shape}" if hasattr(logits, "shape") else type(logits).__name__
        raise ValueError(f"ensemble_predict expected logits [N, classes] of two classes or more but got {got}")
    together = side_by_side(one[0])

    @jax.jit
    def mean(params: Params, model_state: State, x: jax.Array) -> jax.Array:
        def probabilities(member: tuple[Params, State]) -> jax.Array:
            logits = model.apply(*member, x)[0]
            return jax.nn.softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))

        if together:
            return jax.vmap(probabilities)((params, model_state)).mean(0)
        # One after the other, and only the sum is kept.
        zero = jnp.zeros((len(x), logits.shape[1]), jnp.promote_types(logits.dtype, jnp.float32))

        def add(total: jax.Array, member: tuple[Params, State]) -> tuple[jax.Array, None]:
            return total + probabilities(member), None

        return jax.lax.scan(add, zero, (params, model_state))[0] / members

    params, model_state = jax.device_put((params, model_state))
    starts = range(0, len(inputs), batch_size)
    return np.concatenate([np.asarray(mean(params, model_state, inputs[s : s + batch_size])) for s in starts])


def _members(params: Params, model_state: State) -> int:
    """Return the length of the axis that all leaves lead with."""
    lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves((params, model_state))}
    if len(lengths) != 1 or lengths <= {(), (0,)}:
        raise ValueError(
            "ensemble_predict expected a leading axis of the members in every leaf of params and model_state but got "
            f"leading axes {sorted(lengths)}: see stack_members"
        )
    return lengths.pop()[0]
