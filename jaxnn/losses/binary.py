"""Losses of two classes: [B], or [B, ...] for several decisions an example, each yes or no."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Integer

from jaxnn import checks
from jaxnn.functional import wide
from jaxnn.losses.per_example import clip_probabilities, example_mean, in_unit_interval, nan_unless, outputs
from jaxnn.types import Array

TwoClasses = Float[Array, "batch *outputs"] | Integer[Array, "batch *outputs"] | Bool[Array, "batch *outputs"]


def binary_cross_entropy(probabilities: Float[Array, "batch *outputs"], targets: TwoClasses) -> Float[Array, " batch"]:
    """Compute each example's mean of -y log p - (1 - y) log(1 - p), [B, ...] and the same shape -> [B], in nats.

    This is the guide's form over probabilities, with p clipped to [e, 1 - e], e the epsilon of the dtype it is computed
    in (at least float32, 2**-23), so a value is at most -log e, 15.9 in float32. Targets are 0 or 1, or anything
    between. Raises ValueError for targets of another shape ([B] beside [B, 1] too) and for probabilities or targets
    outside [0, 1]; under jit, where values are not known, such an entry makes the example's loss and gradient NaN.

    A clipped probability has the gradient 0, so what is wholly wrong is not learned from: train from logits, with
    `sigmoid_binary_cross_entropy`.

    >>> binary_cross_entropy(jnp.array([0.5, 0.9]), jnp.array([1.0, 1.0])).round(4)
    Array([0.6931, 0.1054], dtype=float32)
    """
    p, y = _probabilities("binary_cross_entropy", probabilities, targets)
    p, _ = clip_probabilities(p)
    return example_mean(-y * jnp.log(p) - (1 - y) * jnp.log1p(-p))


def binary_cross_entropy_gradient(
    probabilities: Float[Array, "batch *outputs"], targets: TwoClasses
) -> Float[Array, "batch *outputs"]:
    """Compute the derivative of each example's binary_cross_entropy: (p - y) / (p (1 - p)) / outputs.

    It is 0 where p <= e or p >= 1 - e, because there the loss is clipped and flat: finite everywhere, at most 1/e.

    >>> binary_cross_entropy_gradient(jnp.array([0.5, 0.8, 0.0]), jnp.array([1.0, 1.0, 1.0])).tolist()
    [-2.0, -1.25, 0.0]
    """
    p, y = _probabilities("binary_cross_entropy_gradient", probabilities, targets)
    p, clipped = clip_probabilities(p)
    slope = jnp.where(clipped, 0, (1 - y) / (1 - p) - y / p)  # the fraction in parts: p - y loses digits near y = 1
    return (slope / outputs(p)).astype(jnp.asarray(probabilities).dtype)


def sigmoid_binary_cross_entropy(logits: Float[Array, "batch *outputs"], targets: TwoClasses) -> Float[Array, " batch"]:
    """Compute the binary cross-entropy of sigmoid(logits), [B, ...] and the same shape -> [B], in nats.

    -y log sigmoid(z) - (1 - y) log sigmoid(-z), the mean over an example's outputs: exact where sigmoid itself is 0 or
    1 to the last digit. Targets are 0 or 1, or anything between. Computed in at least float32. Raises ValueError for
    targets of another shape or outside [0, 1]; under jit, where values are not known, such a target makes the
    example's loss and gradient NaN.

    >>> sigmoid_binary_cross_entropy(jnp.array([0.0, -100.0]), jnp.array([1, 1])).round(4)
    Array([  0.6931, 100.    ], dtype=float32)
    """
    z, y = _logits("sigmoid_binary_cross_entropy", logits, targets)
    return example_mean(-y * jax.nn.log_sigmoid(z) - (1 - y) * jax.nn.log_sigmoid(-z))


def sigmoid_binary_cross_entropy_gradient(
    logits: Float[Array, "batch *outputs"], targets: TwoClasses
) -> Float[Array, "batch *outputs"]:
    """Compute the derivative of each example's sigmoid_binary_cross_entropy: (sigmoid(z) - y) / outputs.

    >>> sigmoid_binary_cross_entropy_gradient(jnp.array([[0.0, 0.0]]), jnp.array([[1, 0]])).tolist()
    [[-0.25, 0.25]]
    """
    z, y = _logits("sigmoid_binary_cross_entropy_gradient", logits, targets)
    # (1 - y) sigmoid(z) - y sigmoid(-z) is sigmoid(z) - y, without the digits that the difference loses near 0.
    slope = (1 - y) * jax.nn.sigmoid(z) - y * jax.nn.sigmoid(-z)
    return (slope / outputs(z)).astype(jnp.asarray(logits).dtype)


def hinge(scores: Float[Array, "batch *outputs"], targets: TwoClasses) -> Float[Array, " batch"]:
    """Compute each example's mean of max(0, 1 - t s) for targets t of -1 or 1, [B, ...] and the same shape -> [B].

    Computed in at least float32. Raises ValueError for targets of another shape and for targets other than -1 and 1;
    under jit, where values are not known, such a target makes the example's loss and gradient NaN.
    Cortes and Vapnik, 1995, Support-Vector Networks.

    >>> hinge(jnp.array([2.0, 0.5, -1.0]), jnp.array([1, 1, 1])).tolist()
    [0.0, 0.5, 2.0]
    """
    s, t = _signs("hinge", scores, targets)
    missing = 1 - t * s
    return example_mean(jnp.where(missing <= 0, 0, missing))


def hinge_gradient(scores: Float[Array, "batch *outputs"], targets: TwoClasses) -> Float[Array, "batch *outputs"]:
    """Compute the derivative of each example's hinge loss: -t / outputs where t s < 1, else 0 (at the kink too).

    >>> hinge_gradient(jnp.array([2.0, 1.0, 0.5, -1.0]), jnp.array([1, 1, 1, 1])).tolist()
    [0.0, 0.0, -1.0, -1.0]
    """
    s, t = _signs("hinge_gradient", scores, targets)
    return (jnp.where(1 - t * s <= 0, 0, -t) / outputs(s)).astype(jnp.asarray(scores).dtype)


def _probabilities(function: str, probabilities: Array, targets: Any) -> tuple[jax.Array, jax.Array]:
    checks.same_predictions(function, "probabilities", probabilities, targets, classes=True)
    hint = "for logits take sigmoid_binary_cross_entropy"
    checks.unit_interval(function, "probabilities", probabilities, hint)
    p = jnp.asarray(probabilities)
    return wide(nan_unless(in_unit_interval(p), p)), _targets(function, targets)


def _logits(function: str, logits: Array, targets: Any) -> tuple[jax.Array, jax.Array]:
    checks.same_predictions(function, "logits", logits, targets, classes=True)
    return wide(jnp.asarray(logits)), _targets(function, targets)


def _targets(function: str, targets: Any) -> jax.Array:
    checks.unit_interval(function, "targets", targets, "for targets of -1 and 1 take (targets + 1) / 2")
    y = jnp.asarray(targets)
    y = y if jnp.issubdtype(y.dtype, jnp.floating) else y.astype(jnp.float32)
    return wide(nan_unless(in_unit_interval(y), y))


def _signs(function: str, scores: Array, targets: Any) -> tuple[jax.Array, jax.Array]:
    checks.same_predictions(function, "scores", scores, targets, classes=True)
    checks.signs(function, "targets", targets)
    s = wide(jnp.asarray(scores))
    t = jnp.asarray(targets).astype(s.dtype)
    return s, nan_unless(jnp.abs(t) == 1, t)
