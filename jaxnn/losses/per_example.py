"""What the losses share: an example's mean, clipped probabilities, targets as rows, the mark of an illegal value."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jaxnn import checks
from jaxnn.functional import wide
from jaxnn.types import Array


def example_mean(values: Float[Array, "batch *outputs"]) -> Float[Array, " batch"]:
    """Take the mean of each example's values over all axes but the first, [B, ...] -> [B].

    >>> example_mean(jnp.array([[1.0, 3.0], [0.0, 0.0]])).tolist()
    [2.0, 0.0]
    """
    return values.mean(tuple(range(1, values.ndim)))


def outputs(predictions: Float[Array, "batch *outputs"]) -> int:
    """Count the predictions of one example.

    >>> outputs(jnp.zeros((8, 2, 3))), outputs(jnp.zeros(8))
    (6, 1)
    """
    return math.prod(predictions.shape[1:])


def clip_probabilities(p: Float[jax.Array, "*shape"]) -> tuple[Float[jax.Array, "*shape"], Bool[jax.Array, "*shape"]]:
    """Clip to [e, 1 - e], e the epsilon of p's dtype, and tell which were clipped: these have no gradient. NaN stays.

    The guide's 1e-15 is nothing in float32: 1 - 1e-15 is 1, and log(1 - 1) is infinite. Epsilon (2**-23 in float32) is
    the distance from 1 to the next number, so 1 - e is a number below 1.

    >>> clip_probabilities(jnp.array([0.0, 0.5]))
    (Array([1.1920929e-07, 5.0000000e-01], dtype=float32), Array([ True, False], dtype=bool))
    """
    epsilon = jnp.finfo(p.dtype).eps
    low, high = p <= epsilon, p >= 1 - epsilon
    return jnp.where(low, epsilon, jnp.where(high, 1 - epsilon, p)).astype(p.dtype), low | high


def in_unit_interval(values: Float[jax.Array, "*shape"]) -> Bool[jax.Array, "*shape"]:
    """Tell which values lie in [0, 1], give or take the rounding of a sum.

    >>> in_unit_interval(jnp.array([0.0, 1.0000001, 1.1])).tolist()
    [True, True, False]
    """
    rounding = checks.unit_rounding(values.dtype)
    return (values >= -rounding) & (values <= 1 + rounding)


def nan_unless(legal: Bool[jax.Array, "*shape"], values: Float[jax.Array, "*shape"]) -> Float[jax.Array, "*shape"]:
    """Return the values, NaN where they are not legal. A factor and no `where`, so that the gradient is NaN as well.

    >>> nan_unless(jnp.array([True, False]), jnp.array([2.0, 2.0])).tolist()
    [2.0, nan]
    """
    return values * jnp.where(legal, 1, jnp.nan).astype(values.dtype)


def one_hot(labels: Array, classes: int) -> jax.Array:
    """Return 1 at each label and 0 elsewhere, [*batch] -> [*batch, classes]; the row of an illegal label is NaN.

    >>> one_hot(jnp.array([1, 2]), 2).tolist()
    [[0.0, 1.0], [nan, nan]]
    """
    # Comparing beats a gather, whose gradient is a scatter: slow on every device. The labels are not compared with the
    # number of classes: with labels of a byte the number 256 would wrap to 0.
    at_label = labels[..., None] == jnp.arange(classes)
    return jnp.where(at_label.any(-1, keepdims=True), at_label, jnp.nan).astype(jnp.float32)


def class_rows(function: str, what: str, predictions: Any, targets: Any) -> jax.Array:
    """Return labels or soft targets as rows of floats, [*batch, classes]; rows that are not legal are NaN.

    Raises what `softmax_cross_entropy` raises, in the name of `function`.

    >>> class_rows("backward", "outputs", jnp.zeros((1, 3)), jnp.array([2])).tolist()
    [[0.0, 0.0, 1.0]]
    """
    if not checks.class_targets(function, what, predictions, targets):
        return one_hot(targets, predictions.shape[-1])
    t = jnp.asarray(targets)
    return jnp.where(in_unit_interval(t).all(-1, keepdims=True), wide(t), jnp.nan)
