"""Losses of predictions that are numbers, [B] or [B, ...], beside float targets of the same shape."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxnn import checks
from jaxnn.functional import wide
from jaxnn.losses.per_example import example_mean, outputs
from jaxnn.types import Array


def mean_squared_error(
    predictions: Float[Array, "batch *outputs"], targets: Float[Array, "batch *outputs"]
) -> Float[Array, " batch"]:
    """Compute each example's mean of (prediction - target)^2, [B, ...] and the same shape -> [B].

    Computed in at least float32. Raises ValueError for targets of another shape ([B] beside [B, 1] too), TypeError for
    what is not floats.

    >>> mean_squared_error(jnp.array([[1.0, 3.0]]), jnp.array([[0.0, 0.0]])).tolist()
    [5.0]
    """
    return example_mean(jnp.square(_difference("mean_squared_error", predictions, targets)))


def mean_squared_error_gradient(
    predictions: Float[Array, "batch *outputs"], targets: Float[Array, "batch *outputs"]
) -> Float[Array, "batch *outputs"]:
    """Compute the derivative of each example's mean_squared_error: 2 (prediction - target) / outputs.

    >>> mean_squared_error_gradient(jnp.array([[1.0, 3.0]]), jnp.array([[0.0, 0.0]])).tolist()
    [[1.0, 3.0]]
    """
    difference = _difference("mean_squared_error_gradient", predictions, targets)
    return (2 * difference / outputs(predictions)).astype(jnp.asarray(predictions).dtype)


def mean_absolute_error(
    predictions: Float[Array, "batch *outputs"], targets: Float[Array, "batch *outputs"]
) -> Float[Array, " batch"]:
    """Compute each example's mean of |prediction - target|, [B, ...] and the same shape -> [B].

    Computed in at least float32. Raises what `mean_squared_error` raises.

    >>> mean_absolute_error(jnp.array([[1.0, 3.0]]), jnp.array([[0.0, 4.0]])).tolist()
    [1.0]
    """
    difference = _difference("mean_absolute_error", predictions, targets)
    return example_mean(difference * jnp.sign(difference))  # jnp.abs has the derivative 1 at 0, this has 0


def mean_absolute_error_gradient(
    predictions: Float[Array, "batch *outputs"], targets: Float[Array, "batch *outputs"]
) -> Float[Array, "batch *outputs"]:
    """Compute the derivative of each example's mean_absolute_error: sign(prediction - target) / outputs, 0 at equality.

    >>> mean_absolute_error_gradient(jnp.array([[1.0, 3.0]]), jnp.array([[0.0, 3.0]])).tolist()
    [[0.5, 0.0]]
    """
    difference = _difference("mean_absolute_error_gradient", predictions, targets)
    return (jnp.sign(difference) / outputs(predictions)).astype(jnp.asarray(predictions).dtype)


def huber(
    predictions: Float[Array, "batch *outputs"],
    targets: Float[Array, "batch *outputs"],
    *,
    delta: float | Float[Array, ""] = 1.0,
) -> Float[Array, " batch"]:
    """Compute each example's mean Huber loss, [B, ...] and the same shape -> [B].

    With d = prediction - target it is d^2 / 2 where |d| <= delta, and delta (|d| - delta / 2) beyond: squared near 0,
    absolute far away, so that an outlier pulls with the force delta and no more. Computed in at least float32. Raises
    what `mean_squared_error` raises, and ValueError for a delta that is not positive and finite.
    Huber, 1964, Robust Estimation of a Location Parameter.

    >>> huber(jnp.array([0.5, 3.0]), jnp.array([0.0, 0.0])).tolist()
    [0.125, 2.5]
    """
    checks.finite_positive("huber", "delta", delta)
    difference = _difference("huber", predictions, targets)
    size = jnp.abs(difference)
    return example_mean(jnp.where(size <= delta, jnp.square(difference) / 2, delta * (size - delta / 2)))


def huber_gradient(
    predictions: Float[Array, "batch *outputs"],
    targets: Float[Array, "batch *outputs"],
    *,
    delta: float | Float[Array, ""] = 1.0,
) -> Float[Array, "batch *outputs"]:
    """Compute the derivative of each example's huber loss: the difference, clipped to [-delta, delta], / outputs.

    >>> huber_gradient(jnp.array([0.5, 3.0]), jnp.array([0.0, 0.0])).tolist()
    [0.5, 1.0]
    """
    checks.finite_positive("huber_gradient", "delta", delta)
    difference = _difference("huber_gradient", predictions, targets)
    clipped = jnp.clip(difference, -delta, delta)
    return (clipped / outputs(predictions)).astype(jnp.asarray(predictions).dtype)


def _difference(function: str, predictions: Array, targets: Array) -> jax.Array:
    checks.same_predictions(function, "predictions", predictions, targets)
    return wide(jnp.asarray(predictions)) - wide(jnp.asarray(targets))
