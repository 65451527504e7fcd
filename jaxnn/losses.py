"""What training makes small: functions `(predictions, targets) -> one value per example`, computed from logits."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Integer

from jaxnn import checks
from jaxnn.functional import wide
from jaxnn.types import Array


def softmax_cross_entropy(
    logits: Float[Array, "*batch classes"], labels: Integer[Array, "*batch"], *, label_smoothing: float | Array = 0.0
) -> Float[Array, "*batch"]:
    """Compute -log softmax(logits)[label] for each example, [B, classes] and [B] -> [B], in nats.

    With smoothing s the target is 1 - s on the label plus s / classes on every class, so the value is
    (1 - s) * -log p[label] + s * mean(-log p). Computed in at least float32. A label outside 0..classes-1 gives NaN,
    never a plausible number; `fit` and `evaluate` refuse it beforehand. Raises ValueError for labels of another shape,
    for NumPy's labels beyond int32, or for label_smoothing outside [0, 1], TypeError for labels that are not integers.
    Szegedy and others, 2016, Rethinking the Inception Architecture for Computer Vision (smoothing).

    >>> softmax_cross_entropy(jnp.zeros((1, 10)), jnp.array([3])).round(4)  # log(10)
    Array([2.3026], dtype=float32)
    """
    checks.in_range("softmax_cross_entropy", "label_smoothing", label_smoothing, 0, 1)
    checks.class_labels("softmax_cross_entropy", logits, labels)
    log_p = jax.nn.log_softmax(wide(jnp.asarray(logits)))
    classes = logits.shape[-1]
    # A comparison and a sum instead of a gather: its gradient is not a scatter, which is slow on every device.
    at_label = labels[..., None] == jnp.arange(classes)
    loss = -jnp.where(at_label, log_p, 0).sum(-1)
    if not checks.is_concrete(label_smoothing) or label_smoothing > 0:  # a logit of -inf is legal without smoothing
        loss = (1 - label_smoothing) * loss - label_smoothing * log_p.mean(-1)
    # Not `labels < classes`: with labels of a byte the number 256 would wrap to 0.
    return jnp.where(at_label.any(-1), loss, jnp.nan)
