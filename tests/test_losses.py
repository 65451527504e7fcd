"""softmax_cross_entropy against Optax, a loop in float64, and at extremes; and `fit` with every loss.

The other losses and all gradients are in test_loss_gradients.py.
"""

import inspect
import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import losses
from jaxnn.data import Dataset
from jaxnn.layers import sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.training import NotFiniteError, evaluate, fit, predict

# Our own errors are tested, not those of the type checker that a test run may put around every function.
unchecked = inspect.unwrap(softmax_cross_entropy)


def example(shape=(6, 5), scale=3.0, seed=0):
    logits_key, labels_key = jax.random.split(jax.random.key(seed))
    logits = scale * jax.random.normal(logits_key, shape)
    return logits, jax.random.randint(labels_key, shape[:-1], 0, shape[-1])


def by_a_loop(logits, labels, smoothing=0.0):
    """Compute the loss as its definition reads, in float64, one example after another."""
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    values = np.empty(labels.shape)
    for place in np.ndindex(labels.shape):
        row, classes = logits[place].tolist(), logits.shape[-1]
        largest = max(row)
        log_sum = largest + math.log(math.fsum(math.exp(value - largest) for value in row))
        surprise = [log_sum - value for value in row]
        values[place] = (1 - smoothing) * surprise[labels[place]] + smoothing * math.fsum(surprise) / classes
    return values


def test_equals_optax():
    logits, labels = example()
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    np.testing.assert_allclose(softmax_cross_entropy(logits, labels), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 1.0])
def test_smoothing_equals_optax(smoothing):
    logits, labels = example()
    expected = optax.softmax_cross_entropy(logits, optax.smooth_labels(jax.nn.one_hot(labels, 5), smoothing))
    actual = softmax_cross_entropy(logits, labels, label_smoothing=smoothing)
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


compiled = jax.jit(softmax_cross_entropy, static_argnames="label_smoothing")


# One compilation a shape, so few examples and no deadline.
@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(
    batch=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    classes=st.integers(1, 12),
    smoothing=st.sampled_from([0.0, 0.1]),
    scale=st.sampled_from([0.0, 1.0, 30.0]),
    seed=st.integers(0, 2**16),
)
@pytest.mark.slow
def test_equals_the_loop_for_every_shape(batch, classes, smoothing, scale, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (*batch, classes)).astype(np.float32)
    labels = rng.integers(0, classes, batch).astype(np.int32)
    actual = compiled(logits, labels, label_smoothing=smoothing)
    assert actual.shape == tuple(batch)
    assert actual.dtype == jnp.float32
    # A difference of logits is rounded to 2**-24 of the largest of them, about 100 here: hence the absolute part.
    np.testing.assert_allclose(actual, by_a_loop(logits, labels, smoothing), rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_extreme_logits(dtype, smoothing):
    # 9984 = 39 * 2**8 is the multiple of 64 (bfloat16's step here) next to 1e4, so both dtypes hold it exactly.
    logits = jnp.array([[9984.0, -9984.0, 0.0]] * 3, dtype)
    labels = jnp.arange(3)

    def total(logits):
        values = softmax_cross_entropy(logits, labels, label_smoothing=smoothing)
        return values.sum(), values

    gradient, values = jax.grad(total, has_aux=True)(logits)
    assert values.dtype == jnp.float32
    assert gradient.dtype == dtype
    np.testing.assert_allclose(values, by_a_loop(logits, labels, smoothing), rtol=1e-6)
    target = (1 - smoothing) * np.eye(3) + smoothing / 3
    tolerance = 1e-6 if dtype == jnp.float32 else 2**-8
    np.testing.assert_allclose(gradient.astype(jnp.float32), np.array([1.0, 0, 0]) - target, atol=tolerance)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradient_is_softmax_minus_target(smoothing):
    logits, labels = example()
    gradient = jax.grad(lambda z: softmax_cross_entropy(z, labels, label_smoothing=smoothing).sum())(logits)
    target = optax.smooth_labels(jax.nn.one_hot(labels, 5), smoothing)
    np.testing.assert_allclose(gradient, jax.nn.softmax(logits) - target, atol=1e-6)


def test_minus_infinity_at_other_classes():
    logits, labels = jnp.array([[1.0, -math.inf, 2.0], [-math.inf, 0.0, -math.inf]]), jnp.array([2, 1])
    values = softmax_cross_entropy(logits, labels)
    np.testing.assert_allclose(values, [math.log1p(math.exp(-1)), 0], rtol=1e-6)
    gradient = jax.grad(lambda z: softmax_cross_entropy(z, labels).sum())(logits)
    np.testing.assert_allclose(gradient, jax.nn.softmax(logits) - jax.nn.one_hot(labels, 3), atol=1e-6)


def test_minus_infinity_at_the_label_is_infinite():
    assert softmax_cross_entropy(jnp.array([[0.0, -math.inf]]), jnp.array([1])).tolist() == [math.inf]


@pytest.mark.parametrize("bad", [-1, 5, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_label_out_of_range_is_nan_under_jit(bad, smoothing):
    logits, labels = example()
    loss = jax.jit(lambda z, y: softmax_cross_entropy(z, y, label_smoothing=smoothing))
    values = loss(logits, labels.at[3].set(bad))
    np.testing.assert_array_equal(jnp.isnan(values), jnp.arange(6) == 3)
    np.testing.assert_array_equal(jnp.delete(values, 3), jnp.delete(loss(logits, labels), 3))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.uint32])
@pytest.mark.parametrize("classes", [5, 128, 256, 300])
def test_every_integer_dtype_of_labels(dtype, classes):
    """Labels of a byte and 256 classes: the number of classes itself does not fit the labels' dtype."""
    logits, labels = example((6, classes))
    labels = np.minimum(np.asarray(labels, np.int64), np.iinfo(dtype).max).astype(dtype)
    expected = by_a_loop(logits, labels)
    np.testing.assert_allclose(softmax_cross_entropy(logits, labels), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(softmax_cross_entropy)(logits, labels), expected, rtol=1e-5)


def test_smoothing_may_be_traced():
    logits, labels = example()
    traced = jax.jit(lambda s: softmax_cross_entropy(logits, labels, label_smoothing=s))(0.1)
    np.testing.assert_allclose(traced, softmax_cross_entropy(logits, labels, label_smoothing=0.1), rtol=1e-6)


def test_second_derivatives_and_forward_mode():
    logits, labels = example((3, 4))
    hessian = jax.hessian(lambda z: softmax_cross_entropy(z[None], labels[:1])[0])(logits[0])
    p = jax.nn.softmax(logits[0])
    np.testing.assert_allclose(hessian, jnp.diag(p) - jnp.outer(p, p), atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 1), (4, 3), (3,), (), (4, 4)])
def test_refuses_labels_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"softmax_cross_entropy expected labels of shape \(4,\) for logits \(4, 3\)"):
        unchecked(jnp.zeros((4, 3)), jnp.zeros(shape, jnp.int32))


def test_refusals_say_what_to_do():
    with pytest.raises(ValueError, match=r"take labels\[\.\.\., 0\]"):
        unchecked(jnp.zeros((4, 3)), jnp.zeros((4, 1), jnp.int32))
    with pytest.raises(ValueError, match="argmax"):
        unchecked(jnp.zeros((4, 3)), jnp.zeros((4, 3), jnp.int32))
    with pytest.raises(TypeError, match="argmax"):
        unchecked(jnp.zeros((4, 3)), jnp.zeros((4, 3), bool))
    with pytest.raises(ValueError, match=r"soft targets of the shape of logits \(4, 3\) but got \(4, 1\): .*astype"):
        unchecked(jnp.zeros((4, 3)), jnp.zeros((4, 1)))


def test_refuses_labels_that_are_not_integers():
    for labels in (jnp.zeros(4), jnp.zeros(4, bool)):
        with pytest.raises(TypeError, match="softmax_cross_entropy expected integer labels but got"):
            unchecked(jnp.zeros((4, 3)), labels)


def test_refuses_logits_without_classes():
    with pytest.raises(ValueError, match="expected logits of shape"):
        unchecked(jnp.zeros(4), jnp.zeros((), jnp.int32))


@pytest.mark.parametrize("smoothing", [1.5, -0.1, math.nan])
def test_refuses_smoothing_outside_of_0_to_1(smoothing):
    with pytest.raises(ValueError, match=r"expected label_smoothing in \[0, 1\]"):
        unchecked(jnp.zeros((4, 3)), jnp.zeros(4, jnp.int32), label_smoothing=smoothing)


# Soft targets


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_one_hot_floats_are_the_labels(smoothing):
    logits, labels = example()
    one_hot = jax.nn.one_hot(labels, 5)
    expected = softmax_cross_entropy(logits, labels, label_smoothing=smoothing)
    actual = softmax_cross_entropy(logits, one_hot, label_smoothing=smoothing)
    np.testing.assert_array_equal(actual, expected)


def test_soft_targets_equal_optax():
    logits, _ = example((2, 3, 5))
    targets = jax.nn.softmax(example((2, 3, 5), seed=1)[0])
    expected = optax.softmax_cross_entropy(logits, targets)
    np.testing.assert_allclose(softmax_cross_entropy(logits, targets), expected, rtol=1e-6)


def test_minus_infinity_where_the_soft_target_is_zero():
    logits, targets = jnp.array([[1.0, -math.inf, 2.0]]), jnp.array([[0.5, 0.0, 0.5]])
    np.testing.assert_allclose(softmax_cross_entropy(logits, targets), [math.log1p(math.exp(-1)) + 0.5], rtol=1e-6)
    gradient = jax.grad(lambda z: softmax_cross_entropy(z, targets).sum())(logits)
    np.testing.assert_allclose(gradient, jax.nn.softmax(logits) - targets, atol=1e-6)


# Every loss trains a network


XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
IS_XOR = np.array([0, 1, 1, 0], np.float32)


def in_two_columns(values):
    return np.stack([1 - values, values], -1).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "targets", "last", "enough"),
    [
        (losses.softmax_cross_entropy, IS_XOR.astype(np.int32), None, 0.1),
        (losses.softmax_cross_entropy, in_two_columns(IS_XOR), None, 0.1),
        (losses.categorical_cross_entropy, IS_XOR.astype(np.int32), jax.nn.softmax, 0.1),
        (losses.categorical_cross_entropy, in_two_columns(IS_XOR), jax.nn.softmax, 0.1),
        (losses.negative_log_likelihood, IS_XOR.astype(np.int32), jax.nn.log_softmax, 0.1),
        (losses.sigmoid_binary_cross_entropy, in_two_columns(IS_XOR), None, 0.1),
        (losses.sigmoid_binary_cross_entropy, in_two_columns(IS_XOR).astype(np.int32), None, 0.1),
        (losses.binary_cross_entropy, in_two_columns(IS_XOR), jax.nn.sigmoid, 0.1),
        (losses.mean_squared_error, in_two_columns(IS_XOR), None, 0.02),
        (losses.mean_absolute_error, in_two_columns(IS_XOR), None, 0.1),
        (losses.huber, in_two_columns(IS_XOR), None, 0.01),
        (losses.hinge, 2 * in_two_columns(IS_XOR) - 1, None, 0.1),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_fit_learns_xor_with_every_loss(loss, targets, last, enough):
    model = sequential(mlp((2, 16, 2), activation=jnp.tanh), *([last] if last else []))
    data = Dataset(XOR, targets)
    result = fit(model, loss, optax.adam(0.05), data, epochs=150, batch_size=4, validation=data, verbose=False)
    first, reached = result.history[0], result.history[-1]
    assert reached["validation_loss"] < enough < first["loss"]
    assert ("accuracy" in reached) == (targets.ndim == 1)
    params, state = result.train_state.params, result.train_state.model_state
    assert evaluate(model, params, state, data, loss)["loss"] == pytest.approx(reached["validation_loss"], rel=1e-5)
    assert (predict(model, params, state, XOR).argmax(-1) == IS_XOR).all()


def test_fit_stops_at_a_target_that_the_loss_cannot_have():
    """Under jit the loss knows no values: NaN ends the training where a plausible number would go on."""
    for loss, wrong in ((losses.sigmoid_binary_cross_entropy, 255.0), (losses.hinge, 0.0)):
        targets = 2 * in_two_columns(IS_XOR) - 1 if loss is losses.hinge else in_two_columns(IS_XOR)
        targets[2, 1] = wrong
        with pytest.raises(NotFiniteError):
            fit(mlp((2, 4, 2)), loss, optax.sgd(0.1), Dataset(XOR, targets), epochs=1, verbose=False)
