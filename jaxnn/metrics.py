"""What is measured beside the loss: one value per example, so that sums and counts add up exactly over any set."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from jaxnn import checks
from jaxnn.types import Array


def accuracy(logits: Float[Array, "*batch classes"], labels: Integer[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Tell for each example whether the largest logit is the label's, [B, classes] and [B] -> [B] of 0.0 or 1.0.

    A row with NaN has no largest logit, and counts as wrong.

    >>> accuracy(jnp.array([[0.1, 0.9], [0.8, 0.2]]), jnp.array([1, 1]))
    Array([1., 0.], dtype=float32)
    """
    checks.class_labels("accuracy", logits, labels)
    logits = jnp.asarray(logits)
    return ((logits.argmax(-1) == labels) & ~jnp.isnan(logits).any(-1)).astype(jnp.float32)


def confusion_matrix(
    predicted: Integer[Array, " n"], labels: Integer[Array, " n"], classes: int
) -> Integer[np.ndarray, "c c"]:
    """Count the examples of each label (row) by the class predicted for it (column), [N] and [N] -> [C, C].

    Raises ValueError for unequal lengths or for a class outside 0..classes-1.

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    checks.positive_int("confusion_matrix", "classes", classes)
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    for array in (predicted, labels):
        if not np.issubdtype(array.dtype, np.integer):
            raise TypeError(f"confusion_matrix expected integers but got {array.dtype} of shape {array.shape}")
    if predicted.shape != labels.shape:
        raise ValueError(f"confusion_matrix got {predicted.shape} predictions for {labels.shape} labels")
    if labels.ndim != 1:
        raise ValueError(f"confusion_matrix expected predicted and labels of shape [N] but got {labels.shape}")
    checks.label_range("confusion_matrix", labels, classes, "labels")
    checks.label_range("confusion_matrix", predicted, classes, "predicted")
    # Row and column become one number, which would overflow bytes.
    predicted, labels = predicted.astype(np.int64), labels.astype(np.int64)
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
