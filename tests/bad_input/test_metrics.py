"""What a user gets for metrics of another k, matrices that are no counts, and rows that are no probabilities."""

import jax
import numpy as np
import pytest
from refusal import refused

from jaxnn.metrics import CalibrationBins, calibration_bins, expected_calibration_error, precision_recall_f1
from jaxnn.metrics import top_k_accuracy as top_k

P = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]], np.float32)
LABELS = np.array([0, 1])


def test_top_k():
    for k in (0, -1):
        refused(ValueError, lambda k=k: top_k(k), "top_k_accuracy expected k to be a positive integer", f"got {k}")
    for k in (2.0, True, None):
        refused(TypeError, lambda k=k: top_k(k), "top_k_accuracy expected k to be a positive integer")
    refused(ValueError, lambda: top_k(5)(P, LABELS), "top_5_accuracy expected at least 5 classes", "(2, 3)")
    refused(ValueError, lambda: jax.jit(top_k(5))(P, LABELS), "top_5_accuracy expected at least 5 classes")
    refused(ValueError, lambda: top_k(2)(P, LABELS[:, None]), "top_2_accuracy expected labels of shape (2,)")
    refused(TypeError, lambda: top_k(2)(P, P[:, 0]), "top_2_accuracy expected integer labels")
    refused(TypeError, lambda: top_k(2)(P.tolist(), LABELS), "top_2_accuracy expected logits to be an array")


def test_precision_recall_f1():
    for wrong in (np.zeros((2, 3), int), np.zeros(4, int), 3, np.zeros((0, 0), int)):
        refused(ValueError, lambda wrong=wrong: precision_recall_f1(wrong), "a confusion matrix [C, C]", "shape")
    refused(TypeError, lambda: precision_recall_f1(np.eye(2)), "expected counts (integers) but got float64")
    refused(ValueError, lambda: precision_recall_f1(-np.eye(2, dtype=int)), "counts of at least 0 but got -1")


def test_logits_are_no_probabilities():
    name, hint = "calibration_bins expected", "of logits take activations.softmax"
    refused(ValueError, lambda: calibration_bins(P * 4, LABELS), name, "in [0, 1]", "probabilities[0, 0] is 2.0", hint)
    refused(ValueError, lambda: calibration_bins(P / 2, LABELS), name, "sums of probabilities of 1", "[0] is 0.5", hint)
    refused(ValueError, lambda: calibration_bins(P - 0.2, LABELS), name, "[1, 0] is -0.07", hint)
    assert calibration_bins(P * np.nan, LABELS, 3).count.tolist() == [0, 0, 2]


def test_labels_and_bins():
    refused(
        ValueError, lambda: calibration_bins(P, LABELS + 2), "calibration_bins", "0..2 (3 classes)", "labels[1] is 3"
    )
    refused(ValueError, lambda: calibration_bins(P, LABELS - 1), "0..2 (3 classes)", "labels[0] is -1")
    refused(
        ValueError, lambda: calibration_bins(P, LABELS[:1]), "labels of shape (2,) for probabilities (2, 3)", "(1,)"
    )
    refused(TypeError, lambda: calibration_bins(P, P), "calibration_bins expected integer labels", "labels.argmax(-1)")
    for bins in (0, -3):
        refused(ValueError, lambda bins=bins: calibration_bins(P, LABELS, bins), "bins to be a positive integer")
    refused(TypeError, lambda: calibration_bins(P, LABELS, 2.5), "bins to be a positive integer")


def test_sums_over_nothing():
    empty = CalibrationBins(np.zeros(3, int), np.zeros(3), np.zeros(3))
    unlike = CalibrationBins(np.ones(3, int), np.ones(3), np.ones(2))
    pytest.importorskip("matplotlib", reason="the report extra is not installed")
    from jaxnn.report import reliability_diagram

    for call in (expected_calibration_error, reliability_diagram):
        name = call.__name__
        refused(ValueError, lambda call=call: call(empty), f"{name} expected sums over at least one example")
        refused(ValueError, lambda call=call: call(unlike), f"{name} expected count, confidence and correct", "(2,)")
        refused(ValueError, lambda call=call: call(P), f"{name} expected count, confidence and correct", "ndarray")
    assert np.isnan(jax.jit(expected_calibration_error)(empty))
