"""Accuracy, top k, the confusion matrix and its scores, and calibration against scikit-learn."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.data import from_arrays
from jaxnn.layers import linear
from jaxnn.losses import softmax_cross_entropy
from jaxnn.metrics import (
    CalibrationBins,
    accuracy,
    calibration_bins,
    confusion_matrix,
    expected_calibration_error,
    precision_recall_f1,
    top_k_accuracy,
)
from jaxnn.optimizers import sgd
from jaxnn.training import fit

reference = pytest.importorskip("sklearn.metrics")
calibration_curve = pytest.importorskip("sklearn.calibration").calibration_curve


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classes", [2, 10])
def test_accuracy(seed, classes):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(200, classes)).astype(np.float32)
    labels = np.where(rng.random(200) < 0.5, logits.argmax(-1), rng.integers(0, classes, 200)).astype(np.int32)
    values = accuracy(jnp.asarray(logits), jnp.asarray(labels))
    assert values.shape == (200,)
    assert values.dtype == jnp.float32
    assert set(np.unique(values)) == {0.0, 1.0}
    assert float(values.sum()) == reference.accuracy_score(labels, logits.argmax(-1), normalize=False)
    np.testing.assert_array_equal(jax.jit(accuracy)(logits, labels), values)


def test_accuracy_over_more_axes_and_ties():
    logits = jnp.zeros((2, 3, 4))  # ties go to the first class, as with argmax everywhere
    np.testing.assert_array_equal(accuracy(logits, jnp.array([[0, 1, 0], [3, 0, 0]])), [[1, 0, 1], [0, 1, 1]])


def test_accuracy_counts_a_label_out_of_range_as_wrong():
    assert accuracy(jnp.array([[0.0, 1.0]] * 3), jnp.array([-1, 2, 1])).tolist() == [0, 0, 1]


def test_accuracy_refuses_a_column_of_labels():
    with pytest.raises(ValueError, match=r"accuracy expected labels of shape \(4,\)"):
        inspect.unwrap(accuracy)(jnp.zeros((4, 3)), jnp.zeros((4, 1), jnp.int32))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.int64])
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_confusion_matrix(dtype, classes):
    """100 classes make 10,000 cells, which a byte does not count."""
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, classes, (2, 500)).astype(dtype)
    expected = reference.confusion_matrix(labels, predicted, labels=range(classes))
    np.testing.assert_array_equal(confusion_matrix(predicted, labels, classes), expected)


def test_confusion_matrix_keeps_classes_that_never_occur():
    actual = confusion_matrix(jnp.array([2, 2]), jnp.array([2, 0]), 4)
    np.testing.assert_array_equal(actual, reference.confusion_matrix([2, 0], [2, 2], labels=range(4)))
    assert actual.sum() == 2


def test_confusion_matrix_refuses_what_does_not_fit():
    unchecked = inspect.unwrap(confusion_matrix)
    with pytest.raises(ValueError, match=r"confusion_matrix got \(3,\) predictions for \(2,\) labels"):
        unchecked(np.zeros(3, int), np.zeros(2, int), 2)
    for predicted, labels in (([0, 2], [0, 1]), ([0, 1], [-1, 1])):
        with pytest.raises(ValueError, match=r"expected labels in 0\.\.1 \(2 classes\)"):
            unchecked(np.array(predicted), np.array(labels), 2)


# Top k


@pytest.mark.parametrize("k", [1, 3, 9])
def test_top_k_accuracy(k):
    rng = np.random.default_rng(k)
    logits, labels = rng.normal(size=(200, 10)).astype(np.float32), rng.integers(0, 10, 200)
    metric = top_k_accuracy(k)
    values = metric(jnp.asarray(logits), jnp.asarray(labels))
    assert (values.shape, values.dtype, metric.__name__) == ((200,), jnp.float32, f"top_{k}_accuracy")
    expected = reference.top_k_accuracy_score(labels, logits, k=k, labels=range(10), normalize=False)
    assert float(values.sum()) == expected
    np.testing.assert_array_equal(jax.jit(metric)(logits, labels), values)


def test_top_k_gives_ties_to_the_lower_class_and_counts_what_is_no_number_as_wrong():
    logits = jnp.array([[0.0, 1.0, 1.0, 1.0]] * 4)
    assert top_k_accuracy(2)(logits, jnp.array([0, 1, 2, 3])).tolist() == [0, 1, 1, 0]
    small = jnp.round(jax.random.normal(jax.random.key(0), (50, 4)))  # many ties, and zeros of both signs
    labels = jnp.arange(50) % 4
    np.testing.assert_array_equal(top_k_accuracy(1)(small, labels), accuracy(small, labels))
    assert top_k_accuracy(4)(logits.at[0, 2].set(jnp.nan), jnp.array([0, -1, 4, 3])).tolist() == [0, 0, 0, 1]


def test_top_k_in_fits_history():
    data = from_arrays(np.eye(4, dtype=np.float32), np.arange(4))
    metrics = {"top_2_accuracy": top_k_accuracy(2)}
    model, optimizer = linear(4, 4), sgd(0.0)
    found = fit(model, softmax_cross_entropy, optimizer, data, epochs=1, batch_size=3, metrics=metrics, verbose=False)
    logits = model.apply(found.train_state.params, (), data.inputs)[0]
    expected = reference.top_k_accuracy_score(data.targets, logits, k=2)
    assert found.history[0]["top_2_accuracy"] == pytest.approx(expected)


# Precision, recall, F1


def test_precision_recall_f1():
    """Of six classes one never occurs, one is never predicted, and one neither."""
    rng = np.random.default_rng(0)
    labels, predicted = rng.choice([0, 1, 2, 4], 300), rng.choice([0, 1, 2, 3], 300)
    scores = precision_recall_f1(confusion_matrix(predicted, labels, 6))
    check = partial(reference.precision_recall_fscore_support, labels, predicted, labels=range(6), zero_division=0)
    np.testing.assert_allclose(scores[:3], check()[:3], rtol=1e-12)
    np.testing.assert_allclose(scores[3:], check(average="macro")[:3], rtol=1e-12)
    assert (scores.precision[4], scores.recall[3], scores.f1[5]) == (0, 0, 0)


def test_precision_recall_f1_of_small_integers_does_not_overflow():
    counts = np.full((2, 2), 100, np.int8)
    np.testing.assert_array_equal(precision_recall_f1(counts).precision, [0.5, 0.5])


# Calibration


def probabilities(size, classes, seed=0):
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(size, classes)).astype(np.float32)
    return np.asarray(jax.nn.softmax(logits)), rng.integers(0, classes, size)


def ece_loop(p, labels, bins):
    """Sum the intervals one by one in float64."""
    confidence, right = p.max(-1).astype(np.float64), p.argmax(-1) == labels
    total = 0.0
    for i in range(bins):
        inside = (confidence > i / bins) & (confidence <= (i + 1) / bins)
        if inside.any():
            total += inside.sum() / len(p) * abs(right[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration(bins):
    p, labels = probabilities(600, 5)
    sums = calibration_bins(jnp.asarray(p), jnp.asarray(labels), bins)
    count, confidence, correct = map(np.asarray, sums)
    assert count.sum() == 600
    assert correct.sum() == (p.argmax(-1) == labels).sum()
    accuracies, confidences = calibration_curve(p.argmax(-1) == labels, p.max(-1), n_bins=bins)
    seen = count > 0
    np.testing.assert_allclose(correct[seen] / count[seen], accuracies, atol=1e-6)
    np.testing.assert_allclose(confidence[seen] / count[seen], confidences, atol=1e-6)
    assert float(expected_calibration_error(sums)) == pytest.approx(ece_loop(p, labels, bins), abs=1e-6)


@pytest.mark.slow
def test_calibration_of_batches_adds_up_compiled_or_not():
    p, labels = probabilities(90, 4)
    whole = calibration_bins(jnp.asarray(p), jnp.asarray(labels), 8)
    part = jax.jit(partial(calibration_bins, bins=8))
    added = jax.tree.map(jnp.add, part(p[:40], labels[:40]), part(p[40:], labels[40:]))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), added, whole)
    in_rows = calibration_bins(jnp.asarray(p).reshape(9, 10, 4), jnp.asarray(labels).reshape(9, 10), 8)
    jax.tree.map(np.testing.assert_array_equal, in_rows, whole)


def test_an_edge_belongs_to_the_interval_below():
    p = jnp.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0], [0.625, 0.375]])
    sums = calibration_bins(p, jnp.zeros(4, jnp.int32), 4)
    assert sums.count.tolist() == [0, 1, 2, 1]


def test_calibration_error_of_the_sure_and_the_honest():
    sure = jnp.array([[1.0, 0.0]] * 4)
    assert float(expected_calibration_error(calibration_bins(sure, jnp.array([0, 1, 1, 1])))) == 0.75
    honest = jnp.array([[0.75, 0.25]] * 4)
    assert float(expected_calibration_error(calibration_bins(honest, jnp.array([0, 0, 0, 1])))) == 0
    assert np.isnan(expected_calibration_error(calibration_bins(sure * jnp.nan, jnp.array([0, 1, 1, 1]))))


def test_the_reliability_diagram_shows_the_sums():
    pytest.importorskip("matplotlib", reason="the report extra is not installed")
    from jaxnn.report import reliability_diagram

    sums = CalibrationBins(np.array([0, 4, 6]), np.array([0, 2.0, 5.7]), np.array([0, 3.0, 3.0]))
    above, below = reliability_diagram(sums).axes
    assert [bar.get_height() for bar in above.patches] == [0.75, 0.5]
    assert [bar.get_x() for bar in above.patches] == pytest.approx([1 / 3, 2 / 3])
    assert [bar.get_height() for bar in below.patches] == [0, 0.4, 0.6]
    points = above.lines[-1]
    np.testing.assert_allclose(points.get_xdata(), [0.5, 0.95])
    assert above.get_title() == "Expected calibration error 37 %"
