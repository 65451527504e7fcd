"""Accuracy and the confusion matrix against scikit-learn."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.metrics import accuracy, confusion_matrix

reference = pytest.importorskip("sklearn.metrics")


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
