"""What is measured beside the loss: one value per example, so that sums and counts add up exactly over any set.

What is no mean over examples comes from sums that add up over batches too: precision and recall from the confusion
matrix, the expected calibration error from `calibration_bins`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from jaxnn import checks
from jaxnn.functional import wide
from jaxnn.types import Array, Metric


class ClassScores(NamedTuple):
    """Precision, recall and F1 of each class, and their plain means over the classes."""

    precision: Float[np.ndarray, " c"]
    recall: Float[np.ndarray, " c"]
    f1: Float[np.ndarray, " c"]
    macro_precision: float
    macro_recall: float
    macro_f1: float


class CalibrationBins(NamedTuple):
    """Sums over the examples of each interval of confidence. Those of two batches add up entry by entry."""

    count: Integer[Array, " bins"]
    confidence: Float[Array, " bins"]
    """The sum of the examples' confidences, each the largest probability of its row."""
    correct: Float[Array, " bins"]
    """The number of examples whose most probable class is the label's."""


def accuracy(logits: Float[Array, "*batch classes"], labels: Integer[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Tell for each example whether the largest logit is the label's, [B, classes] and [B] -> [B] of 0.0 or 1.0.

    A row with NaN has no largest logit, and counts as wrong.

    >>> accuracy(jnp.array([[0.1, 0.9], [0.8, 0.2]]), jnp.array([1, 1]))
    Array([1., 0.], dtype=float32)
    """
    checks.class_labels("accuracy", logits, labels)
    logits = jnp.asarray(logits)
    return ((logits.argmax(-1) == labels) & ~jnp.isnan(logits).any(-1)).astype(jnp.float32)


def top_k_accuracy(k: int) -> Metric:
    """Make the metric that tells whether the label's logit is among the k largest, [B, classes] and [B] -> [B].

    Of equal logits the one of the lower class comes first, so k = 1 is `accuracy`; a row with NaN counts as wrong, too.
    The metric is called top_5_accuracy for k = 5. Raises ValueError for a k that is not positive, and when called for
    one above the number of classes.

    >>> top_2 = top_k_accuracy(2)
    >>> top_2(jnp.array([[0.1, 0.9, 0.5], [0.8, 0.5, 0.2]]), jnp.array([2, 2]))
    Array([1., 0.], dtype=float32)
    """
    checks.positive_int("top_k_accuracy", "k", k)
    name = f"top_{k}_accuracy"

    def metric(logits, labels):
        checks.class_labels(name, logits, labels)
        if k > logits.shape[-1]:
            raise ValueError(f"{name} expected at least {k} classes but got logits of shape {logits.shape}")
        logits, labels = jnp.asarray(logits), jnp.asarray(labels)[..., None]
        classes = jnp.arange(logits.shape[-1])
        own = jnp.where(classes == labels, logits, -jnp.inf).max(-1, keepdims=True)
        # Not lax.top_k: that orders -0.0 before 0.0, which are equal.
        before = (logits > own) | ((logits == own) & (classes < labels))
        known = (classes == labels).any(-1) & ~jnp.isnan(logits).any(-1)
        return (known & (before.sum(-1) < k)).astype(jnp.float32)

    metric.__name__ = metric.__qualname__ = name
    return metric


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


def precision_recall_f1(counts: Integer[Array, "c c"]) -> ClassScores:
    """Compute precision, recall and F1 of each class from a confusion matrix, [C, C] -> [C] each and their means.

    precision = right / predicted as the class, recall = right / examples of the class, F1 = 2 right / (examples +
    predicted), the harmonic mean of both. 0 / 0, as for a class never predicted, is 0, and counts in the means: so it
    is in scikit-learn with zero_division=0. Raises ValueError for a matrix that is not square and for negative counts,
    TypeError for other numbers than integers. Van Rijsbergen, 1979, Information Retrieval (F1).

    >>> scores = precision_recall_f1(np.array([[3, 1], [0, 4]]))
    >>> print(scores.precision, scores.recall, scores.f1.round(3), round(scores.macro_f1, 3))
    [1.  0.8] [0.75 1.  ] [0.857 0.889] 0.873
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(f"precision_recall_f1 expected a confusion matrix [C, C] but got shape {counts.shape}")
    if not np.issubdtype(counts.dtype, np.integer):
        raise TypeError(f"precision_recall_f1 expected counts (integers) but got {counts.dtype}")
    if counts.min() < 0:
        raise ValueError(f"precision_recall_f1 expected counts of at least 0 but got {counts.min()}")
    # float64 before the sums: 32-bit counts overflow from 2^31 on, and bytes from 128.
    counts = counts.astype(np.float64)
    right, examples, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    precision, recall = right / np.maximum(predicted, 1), right / np.maximum(examples, 1)
    f1 = 2 * right / np.maximum(examples + predicted, 1)
    return ClassScores(precision, recall, f1, float(precision.mean()), float(recall.mean()), float(f1.mean()))


def calibration_bins(
    probabilities: Float[Array, "*batch classes"], labels: Integer[Array, "*batch"], bins: int = 15
) -> CalibrationBins:
    """Sum confidences and right answers by interval of confidence, [B, classes] and [B] -> three sums [bins].

    The confidence is the largest probability of the row. Interval i holds those in (i / bins, (i + 1) / bins], the
    first one 0 too. The sums of a set are the sums over its batches: `jax.tree.map(jnp.add, one, other)`. NaN gives a
    NaN in the last interval. Raises ValueError for rows that are no distributions (of logits take
    `jaxnn.activations.softmax`) and for labels that are no class. 15 is the number of Guo et al., 2017.

    >>> sums = calibration_bins(jnp.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]]), jnp.array([0, 1, 0]), bins=4)
    >>> print(*sums)
    [0 0 2 1] [0.  0.  1.3 0.9] [0. 0. 1. 1.]
    """
    checks.positive_int("calibration_bins", "bins", bins)
    checks.class_labels("calibration_bins", probabilities, labels, "probabilities")
    checks.distributions("calibration_bins", "probabilities", probabilities, "of logits take activations.softmax")
    if checks.is_concrete(labels):
        checks.label_range("calibration_bins", np.asarray(labels), probabilities.shape[-1], "labels")
    p = wide(jnp.asarray(probabilities)).reshape(-1, probabilities.shape[-1])
    confidence, right = p.max(-1), p.argmax(-1) == jnp.asarray(labels).ravel()
    edges = jnp.asarray(np.arange(1, bins) / bins, p.dtype)
    interval = jnp.searchsorted(edges, confidence)

    def summed(values: jax.Array) -> jax.Array:
        return jnp.zeros(bins, values.dtype).at[interval].add(values)

    return CalibrationBins(summed(jnp.ones_like(interval)), summed(confidence), summed(right.astype(p.dtype)))


def expected_calibration_error(sums: CalibrationBins) -> Float[Array, ""]:
    """Compute by how much confidence misses accuracy, three sums [bins] -> one number: sum_b n_b/n |acc_b - conf_b|.

    acc_b and conf_b are the means over the n_b examples of interval b, n is the sum of all n_b. Raises ValueError for
    sums over no examples (traced: NaN). Naeini, Cooper, Hauskrecht, 2015, Obtaining Well Calibrated Probabilities Using
    Bayesian Binning; Guo, Pleiss, Sun, Weinberger, 2017, On Calibration of Modern Neural Networks.

    >>> sums = CalibrationBins(jnp.array([2, 1]), jnp.array([1.75, 0.875]), jnp.array([2.0, 1.0]))
    >>> expected_calibration_error(sums)  # (|2 - 1.75| + |1 - 0.875|) / 3
    Array(0.125, dtype=float32)
    """
    checks.calibration("expected_calibration_error", sums)
    count, confidence, correct = (jnp.asarray(part) for part in sums)
    # n_b / n |acc_b - conf_b| is |correct_b - confidence_b| / n: empty intervals are no special case.
    return jnp.abs(correct - confidence).sum() / count.sum()
