"""What a user gets for predictions and targets that do not fit each other or the loss."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusal import refused

from jaxnn import losses

ELEMENTWISE = {
    "mean_squared_error": "predictions",
    "mean_absolute_error": "predictions",
    "huber": "predictions",
    "binary_cross_entropy": "probabilities",
    "sigmoid_binary_cross_entropy": "logits",
    "hinge": "scores",
}
CATEGORICAL = {"softmax_cross_entropy": "logits", "categorical_cross_entropy": "probabilities"}
LABELLED = CATEGORICAL | {"negative_log_likelihood": "log_probabilities"}
TWO_CLASSES = ("binary_cross_entropy", "sigmoid_binary_cross_entropy", "hinge")
HALVES = np.full((4, 3), 0.5, np.float32)
LABELS = np.array([0, 1, 2, 0], np.int32)


def forms(name):
    """Yield the loss and its gradient by name, each as it is and under jit."""
    for full in (name, f"{name}_gradient"):
        function = getattr(losses, full)
        yield full, function
        yield full, jax.jit(function)


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_shapes_that_would_broadcast(name):
    what = ELEMENTWISE[name]
    for full, call in forms(name):
        expected = f"{full} expected targets of the shape of {what}"
        refused(ValueError, partial(call, ones(4), ones(4, 1)), expected, "(4,) but got (4, 1)", "targets[..., 0]")
        refused(ValueError, partial(call, ones(4, 1), ones(4)), expected, "(4, 1) but got (4,)", f"{what}[..., 0]")
        refused(ValueError, partial(call, ones(4, 3), ones(4, 1)), expected, "(4, 3) but got (4, 1)")
        refused(ValueError, partial(call, ones(4, 3), ones(3)), expected, "(4, 3) but got (3,)")
        refused(ValueError, partial(call, ones(4), ones()), expected, "(4,) but got ()")
        refused(ValueError, partial(call, ones(4, 3), LABELS), expected, "softmax_cross_entropy", "one_hot(targets, 3)")


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_predictions_without_examples_axis_or_outputs(name):
    for full, call in forms(name):
        words = (f"{full} expected {ELEMENTWISE[name]} of shape [B] or [B, ...]",)
        refused(ValueError, partial(call, jnp.float32(1), jnp.float32(1)), *words, "()")
        refused(ValueError, partial(call, ones(4, 0), ones(4, 0)), *words, "(4, 0)")


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_kinds(name):
    what, function = ELEMENTWISE[name], getattr(losses, name)
    refused(TypeError, lambda: function([1.0], ones(1)), name, f"{what} to be an array", "list")
    refused(TypeError, lambda: function(ones(1), [1.0]), name, "targets to be an array", "list")
    refused(TypeError, lambda: function(ones(4, dtype=int), ones(4)), name, f"{what} to be floats", "int64")
    refused(TypeError, lambda: function(ones(4), ones(4, dtype=complex)), name, "float targets", "complex128")
    for dtype in (np.int32, bool):
        if name in TWO_CLASSES:
            assert function(ones(4), ones(4, dtype=dtype)).shape == (4,)
        else:
            words = (name, "float targets", np.dtype(dtype).name, "targets.astype('float32')")
            refused(TypeError, lambda d=dtype, w=words: function(ones(4), ones(4, dtype=d)), *words)


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_what_lies_outside_of_0_to_1(kind):
    bad, wrong = kind(np.array([0.5, 1.5], np.float32)), kind(np.array([-1.0, 1.0], np.float32))
    for end in ("", "_gradient"):
        name = f"binary_cross_entropy{end}"
        function = getattr(losses, name)
        words = (f"{name} expected probabilities in [0, 1]", "probabilities[1] is 1.5", "sigmoid_binary_cross_entropy")
        refused(ValueError, partial(function, bad, kind(ones(2))), *words)
        words = (f"{name} expected targets in [0, 1]", "targets[0] is -1.0", "(targets + 1) / 2")
        refused(ValueError, partial(function, kind(ones(2)), wrong), *words)
        name = f"sigmoid_binary_cross_entropy{end}"
        words = (f"{name} expected targets in [0, 1]", "targets[0] is -1.0", "(targets + 1) / 2")
        refused(ValueError, partial(getattr(losses, name), bad, wrong), *words)
        integers = kind(np.array([1, 2], np.int32))
        refused(ValueError, partial(getattr(losses, name), bad, integers), "targets[1] is 2")
        name = f"categorical_cross_entropy{end}"
        words = (f"{name} expected probabilities in [0, 1]", "probabilities[0, 1] is 1.5", "softmax_cross_entropy")
        refused(ValueError, partial(getattr(losses, name), bad[None], kind(LABELS[:1])), *words)
        for name in (f"categorical_cross_entropy{end}", f"softmax_cross_entropy{end}"):
            words = (f"{name} expected soft targets in [0, 1]", "soft targets[0, 0] is -1.0")
            refused(ValueError, partial(getattr(losses, name), kind(HALVES[:1, :2]), wrong[None]), *words)
        name = f"negative_log_likelihood{end}"
        words = (f"{name} expected log_probabilities of at most 0", "[0, 0] is 0.5", "log_softmax")
        refused(ValueError, partial(getattr(losses, name), bad[None], kind(LABELS[:1])), *words)


def test_targets_of_the_hinge_loss():
    for end in ("", "_gradient"):
        name = f"hinge{end}"
        call = getattr(losses, name)
        words = (f"{name} expected targets -1 or 1", "targets[1] is 0", "2 * targets - 1")
        refused(ValueError, partial(call, ones(2), np.array([1, 0])), *words)
        assert jnp.isfinite(call(ones(2), 2 * np.array([1, 0]) - 1)).all()


def test_the_rounding_of_probabilities_is_no_error():
    above = np.nextafter(np.float32(1), np.float32(2))
    losses.binary_cross_entropy(np.array([above]), ones(1))
    losses.softmax_cross_entropy(HALVES[:1, :2], np.array([[-1e-7, above]], np.float32))
    rows = jnp.asarray(np.random.default_rng(0).normal(0, 30, (50, 9)), jnp.bfloat16)
    losses.categorical_cross_entropy(jax.nn.softmax(rows), jnp.zeros(50, jnp.int32))
    losses.negative_log_likelihood(rows - jax.nn.logsumexp(rows, -1, keepdims=True), jnp.zeros(50, jnp.int32))


@pytest.mark.parametrize("name", CATEGORICAL)
def test_labels_and_soft_targets_mixed_up(name):
    what = CATEGORICAL[name]
    for full, call in forms(name):
        expected = f"{full} expected labels of shape (4,) for {what} (4, 3)"
        one_hot = np.eye(4, 3)
        refused(ValueError, partial(call, HALVES, one_hot.astype(np.int32)), expected, "(4, 3)", "labels.argmax(-1)")
        refused(ValueError, partial(call, HALVES, LABELS[:, None]), expected, "(4, 1)", "labels[..., 0]")
        refused(TypeError, partial(call, HALVES, LABELS.astype(np.float32)), "integer labels", "astype('int32')")
        refused(TypeError, partial(call, HALVES, one_hot.astype(bool)), "integer labels", "bool", "argmax(-1)")
        expected = f"{full} expected soft targets of the shape of {what} (4, 3)"
        refused(ValueError, partial(call, HALVES, ones(4, 2)), expected, "(4, 2)")
        refused(ValueError, partial(call, HALVES, ones(4, 1)), expected, "(4, 1)", "targets[..., 0].astype('int32')")
        refused(TypeError, lambda c=call: c(LABELS[:, None], ones(4, 1)), f"{what} to be floats", "int32")
        refused(ValueError, lambda c=call: c(HALVES[:, :0], ones(4, 0)), f"{what} of shape [B, classes]", "(4, 0)")


def test_negative_log_likelihood_takes_integers_alone():
    for full, call in forms("negative_log_likelihood"):
        refused(TypeError, lambda c=call: c(-HALVES, HALVES), f"{full} expected integer labels", "argmax(-1)")
        refused(ValueError, lambda c=call: c(-HALVES, LABELS[:2]), "for log_probabilities (4, 3)", "(2,)")


@pytest.mark.parametrize("name", LABELLED)
def test_labels_out_of_range_are_nan(name):
    labels = np.array([0, 3, -1, 2], np.int32)
    predictions = -HALVES if name == "negative_log_likelihood" else HALVES
    for full, call in forms(name):
        bad = np.isnan(np.asarray(call(predictions, labels)))
        assert (bad.any(-1) if full.endswith("gradient") else bad).tolist() == [False, True, True, False]


@pytest.mark.parametrize("delta", [0, -1.0, float("nan"), float("inf")])
def test_delta_of_huber(delta):
    for function in (losses.huber, losses.huber_gradient):
        words = (re.sub("_gradient", "", function.__name__), "delta in (0, inf)", f"got {delta}")
        refused(ValueError, partial(function, ones(2), ones(2), delta=delta), *words)
    refused(TypeError, lambda: losses.huber(ones(2), ones(2), delta="1"), "delta to be a number")


def test_delta_and_values_may_be_traced():
    traced = jax.jit(lambda delta: losses.huber(ones(2), 3 * ones(2), delta=delta))(0.5)
    np.testing.assert_allclose(traced, losses.huber(ones(2), 3 * ones(2), delta=0.5))


@pytest.mark.filterwarnings("error")
def test_float64_becomes_float32_without_a_warning():
    for name in (*ELEMENTWISE, *CATEGORICAL):
        for _, call in forms(name):
            assert call(ones(4, 3, dtype=float), ones(4, 3, dtype=float)).dtype == jnp.float32
