"""softmax_cross_entropy against Optax, against a loop in float64, and where numbers are extreme or wrong."""

import inspect
import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn.losses import softmax_cross_entropy

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
        unchecked(jnp.zeros((4, 3)), jnp.zeros((4, 3)))


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
