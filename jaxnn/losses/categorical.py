"""Losses of several classes: predictions [B, classes] beside integer labels [B], or soft targets [B, classes]."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Integer

from jaxnn import checks
from jaxnn.functional import wide
from jaxnn.losses.per_example import class_rows, clip_probabilities, in_unit_interval, nan_unless, one_hot
from jaxnn.types import Array

Labels = Integer[Array, "*batch"]
Targets = Integer[Array, "*batch"] | Float[Array, "*batch classes"]


def softmax_cross_entropy(
    logits: Float[Array, "*batch classes"], targets: Targets, *, label_smoothing: float | Array = 0.0
) -> Float[Array, "*batch"]:
    """Compute -sum(t log softmax(logits)) for each example, [B, classes] and targets -> [B], in nats.

    Targets are integer labels [B], where the sum is -log softmax(logits)[label], or floats [B, classes] that say how
    much of each class an example is; which of the two is told by their dtype. With smoothing s the target becomes
    (1 - s) t + s / classes, as in PyTorch. Computed in at least float32. A label outside 0..classes-1, or a soft target
    outside [0, 1], gives NaN, in the gradient too, never a plausible number; `fit` and `evaluate` refuse such a label
    beforehand. Raises ValueError for targets of another shape (integer one-hot rows too), for soft targets outside
    [0, 1] where they are known, for NumPy's labels beyond int32, or for label_smoothing outside [0, 1]; TypeError for
    targets that are neither integers [B] nor floats [B, classes].
    Szegedy and others, 2016, Rethinking the Inception Architecture for Computer Vision (smoothing).

    >>> softmax_cross_entropy(jnp.zeros((1, 10)), jnp.array([3])).round(4)  # log(10)
    Array([2.3026], dtype=float32)
    >>> softmax_cross_entropy(jnp.zeros((1, 2)), jnp.array([[0.5, 0.5]])).round(4)  # log(2)
    Array([0.6931], dtype=float32)
    """
    checks.in_range("softmax_cross_entropy", "label_smoothing", label_smoothing, 0, 1)
    t = class_rows("softmax_cross_entropy", "logits", logits, targets)
    log_p = jax.nn.log_softmax(wide(jnp.asarray(logits)))
    loss = _surprise(log_p, t)
    if not checks.is_concrete(label_smoothing) or label_smoothing > 0:  # a logit of -inf is legal without smoothing
        loss = (1 - label_smoothing) * loss - label_smoothing * log_p.mean(-1)
    return loss


def softmax_cross_entropy_gradient(
    logits: Float[Array, "*batch classes"], targets: Targets, *, label_smoothing: float | Array = 0.0
) -> Float[Array, "*batch classes"]:
    """Compute the derivative of each example's softmax_cross_entropy: softmax(logits) - t, where t adds up to 1.

    In general it is softmax(logits) sum(t) - t, with t the (smoothed) target. The row of a label outside 0..classes-1
    is NaN.

    >>> softmax_cross_entropy_gradient(jnp.zeros((1, 4)), jnp.array([3])).tolist()
    [[0.25, 0.25, 0.25, -0.75]]
    """
    name = "softmax_cross_entropy_gradient"
    checks.in_range(name, "label_smoothing", label_smoothing, 0, 1)
    t = class_rows(name, "logits", logits, targets)
    t = (1 - label_smoothing) * t + label_smoothing / logits.shape[-1]
    p = jax.nn.softmax(wide(jnp.asarray(logits)))
    return (p * t.sum(-1, keepdims=True) - t).astype(jnp.asarray(logits).dtype)


def categorical_cross_entropy(
    probabilities: Float[Array, "*batch classes"], targets: Targets
) -> Float[Array, "*batch"]:
    """Compute -sum(t log p) for each example, [B, classes] and integer labels [B] or soft targets [B, classes] -> [B].

    This is the guide's form over probabilities, in nats, with p clipped to [e, 1 - e], e the epsilon of the dtype it is
    computed in (at least float32, 2**-23). Raises ValueError for targets of another shape (integer one-hot rows too)
    and for probabilities or soft targets outside [0, 1], TypeError for targets that are neither integers [B] nor floats
    [B, classes]. Under jit, where values are not known, such a row is NaN, as is the row of a label outside
    0..classes-1, in the gradient too.

    A clipped probability has the gradient 0, so what is wholly wrong is not learned from: train from logits, with
    `softmax_cross_entropy`.

    >>> categorical_cross_entropy(jnp.array([[0.5, 0.25, 0.25]]), jnp.array([1])).round(4)  # log(4)
    Array([1.3863], dtype=float32)
    """
    t = class_rows("categorical_cross_entropy", "probabilities", probabilities, targets)
    p, _ = clip_probabilities(_probabilities("categorical_cross_entropy", probabilities))
    return _surprise(jnp.log(p), t)


def categorical_cross_entropy_gradient(
    probabilities: Float[Array, "*batch classes"], targets: Targets
) -> Float[Array, "*batch classes"]:
    """Compute the derivative of each example's categorical_cross_entropy: -t / p.

    It is 0 where p <= e or p >= 1 - e, because there the loss is clipped and flat: finite everywhere, at most 1/e. Rows
    whose loss is NaN are NaN.

    >>> categorical_cross_entropy_gradient(jnp.array([[0.5, 0.25, 0.25]]), jnp.array([1])).tolist()
    [[-0.0, -4.0, -0.0]]
    """
    name = "categorical_cross_entropy_gradient"
    t = class_rows(name, "probabilities", probabilities, targets)
    p, clipped = clip_probabilities(_probabilities(name, probabilities))
    return jnp.where(clipped, 0, -t / p).astype(jnp.asarray(probabilities).dtype)


def negative_log_likelihood(
    log_probabilities: Float[Array, "*batch classes"], labels: Labels
) -> Float[Array, "*batch"]:
    """Compute -log p[label] for each example, from log-probabilities [B, classes] and integer labels [B] -> [B].

    The half of `softmax_cross_entropy` that comes after `log_softmax`. Computed in at least float32. Raises ValueError
    for labels of another shape and for numbers above 0, which are no log-probabilities, TypeError for labels that are
    not integers. A label outside 0..classes-1 gives NaN, in the gradient too.

    >>> negative_log_likelihood(jnp.log(jnp.array([[0.5, 0.25, 0.25]])), jnp.array([1])).round(4)  # log(4)
    Array([1.3863], dtype=float32)
    """
    checks.class_labels("negative_log_likelihood", log_probabilities, labels, "log_probabilities")
    checks.log_probabilities("negative_log_likelihood", "log_probabilities", log_probabilities)
    return _surprise(wide(jnp.asarray(log_probabilities)), one_hot(labels, log_probabilities.shape[-1]))


def negative_log_likelihood_gradient(
    log_probabilities: Float[Array, "*batch classes"], labels: Labels
) -> Float[Array, "*batch classes"]:
    """Compute the derivative of each example's negative_log_likelihood: -1 at the label, 0 elsewhere.

    >>> negative_log_likelihood_gradient(jnp.log(jnp.array([[0.5, 0.25, 0.25]])), jnp.array([1])).tolist()
    [[-0.0, -1.0, -0.0]]
    """
    name = "negative_log_likelihood_gradient"
    checks.class_labels(name, log_probabilities, labels, "log_probabilities")
    checks.log_probabilities(name, "log_probabilities", log_probabilities)
    return (-one_hot(labels, log_probabilities.shape[-1])).astype(jnp.asarray(log_probabilities).dtype)


def _surprise(log_p: jax.Array, t: jax.Array) -> jax.Array:
    """Compute -sum(t log p) over the last axis; where t is 0 the product is 0, though log p be -inf."""
    return -jnp.where(t == 0, 0, t * log_p).sum(-1)


def _probabilities(function: str, probabilities: Any) -> jax.Array:
    checks.unit_interval(function, "probabilities", probabilities, "for logits take softmax_cross_entropy")
    p = jnp.asarray(probabilities)
    legal = in_unit_interval(p).all(-1, keepdims=True)
    return wide(nan_unless(jnp.broadcast_to(legal, p.shape), p))
