"""Pools against NumPy loops over windows, and their gradients against PyTorch's convention for ties."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnn import functional, layers


def compiled(f):
    """Compile without LLVM's optimizations, which would take most of the time of these tests."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})


def with_gradient(f, x, cotangent):
    """Return y and the gradient of x for a cotangent."""

    @compiled
    def run(x, cotangent):
        y, backward = jax.vjp(f, x)
        return y, backward(cotangent)[0]

    return run(jnp.asarray(x), jnp.asarray(cotangent))


def windows(x, window, stride, low, high):
    """Yield (place, entries of x under the window, number of padded entries) in reading order; one image, NumPy."""
    counts = [(n + a + b - k) // s + 1 for n, a, b, k, s in zip(x.shape, low, high, window, stride, strict=True)]
    for place in np.ndindex(*counts):
        starts = [i * s - a for i, s, a in zip(place, stride, low, strict=True)]
        spans = [slice(max(a, 0), max(a + k, 0)) for a, k in zip(starts, window, strict=True)]
        yield place, x[tuple(spans)]


def pooled(x, reduce, window, stride, low, high):
    results = {place: reduce(entries) for place, entries in windows(x, window, stride, low, high)}
    y = np.zeros([max(i) + 1 for i in zip(*results, strict=True)])
    for place, value in results.items():
        y[place] = value
    return y


@st.composite
def pools(draw):
    axes = draw(st.integers(1, 2))
    each = lambda strategy: tuple(draw(strategy) for _ in range(axes))  # noqa: E731
    window, stride = each(st.integers(1, 4)), each(st.integers(1, 3))
    padding = tuple(draw(st.integers(0, k // 2)) for k in window)
    sizes = tuple(max(k, draw(st.integers(1, 6))) for k in window)
    x = np.random.default_rng(draw(st.integers(0, 99))).integers(-3, 3, sizes)  # small integers: many ties
    return x.astype(np.float32), window, draw(st.sampled_from([stride, None])), padding


@settings(max_examples=8, deadline=None)
@given(pools())
def test_pools_are_those_of_a_loop_over_windows(pool):
    x, window, stride, padding = pool
    options = {"stride": stride, "padding": padding}
    by_loop = (window, stride or window, padding, padding)
    name = f"pool{x.ndim}d"
    maximum, average = getattr(functional, f"max_{name}"), getattr(functional, f"average_{name}")

    @compiled
    def all_three(x):
        results = maximum(x, window, **options), average(x, window, **options)
        return [y[0, ..., 0] for y in (*results, average(x, window, count_padding=False, **options))]

    largest, counted, not_counted = all_three(jnp.asarray(x)[None, ..., None])
    np.testing.assert_array_equal(largest, pooled(x, np.max, *by_loop))
    np.testing.assert_allclose(counted, pooled(x, np.sum, *by_loop) / np.prod(window), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(not_counted, pooled(x, np.mean, *by_loop), rtol=1e-6, atol=1e-6)


@settings(max_examples=6, deadline=None)
@given(pools())
def test_the_first_maximum_gets_the_gradient(pool):
    x, window, stride, padding = pool
    maximum = functional.max_pool2d if x.ndim == 2 else functional.max_pool1d
    f = lambda x: maximum(x[None, ..., None], window, stride=stride, padding=padding)[0, ..., 0]  # noqa: E731
    shape = jax.eval_shape(f, x).shape
    cotangent = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)
    _, gradient = with_gradient(f, x, cotangent)
    expected = np.zeros_like(x)
    indices = np.arange(x.size).reshape(x.shape)
    places = windows(indices, window, stride or window, padding, padding)
    for place, under in places:
        values = x.ravel()[under]
        expected.ravel()[under.ravel()[np.argmax(values)]] += cotangent[place]
    np.testing.assert_array_equal(gradient, expected)


def test_ties_after_relu():
    x = jnp.zeros((1, 4, 4, 1))
    gradient = jax.grad(lambda x: functional.max_pool2d(x, 2).sum())(x)
    first = np.array([[1, 0, 1, 0], [0, 0, 0, 0]] * 2, np.float32)
    np.testing.assert_array_equal(gradient[0, ..., 0], first)
    row_before_column = jnp.array([[0.0, 1.0], [1.0, 0.0]])[None, ..., None]
    gradient = jax.grad(lambda x: functional.max_pool2d(x, 2).sum())(row_before_column)
    np.testing.assert_array_equal(gradient[0, ..., 0], [[0, 1], [0, 0]])
    gradient = jax.grad(lambda x: functional.global_max_pool(x).sum())(row_before_column)
    np.testing.assert_array_equal(gradient[0, ..., 0], [[0, 1], [0, 0]])


def test_nan_and_infinity():
    x = jnp.array([jnp.nan, 1.0, 2.0, jnp.nan, -jnp.inf, -jnp.inf, 3.0, jnp.inf])[None, :, None]
    np.testing.assert_array_equal(functional.max_pool1d(x, 2)[0, :, 0], [np.nan, np.nan, -np.inf, np.inf])
    assert np.isnan(functional.global_max_pool(x)).all()
    # A bin is not touched by what lies outside of it.
    bins = functional.adaptive_average_pool1d(x, 4)[0, :, 0]
    np.testing.assert_array_equal(bins, [np.nan, np.nan, -np.inf, np.inf])
    np.testing.assert_array_equal(functional.average_pool1d(x, 2)[0, :, 0], [np.nan, np.nan, -np.inf, np.inf])


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 9), st.integers(1, 12))
def test_adaptive_bins_are_those_of_pytorch(size, bins):
    """As its documentation has them: from floor(i n / bins) up to, not including, ceil((i + 1) n / bins)."""
    x = np.random.default_rng(size).standard_normal((2, size, 3)).astype(np.float32)
    y = compiled(lambda x: functional.adaptive_average_pool1d(x, bins))(x)
    edges = [(int(np.floor(i * size / bins)), int(np.ceil((i + 1) * size / bins))) for i in range(bins)]
    np.testing.assert_allclose(y, np.stack([x[:, a:b].mean(1) for a, b in edges], 1), rtol=1e-5, atol=1e-6)


def test_global_pools():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(functional.global_average_pool(x), x.mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(functional.global_max_pool(x), x.max((1, 2)))
    np.testing.assert_array_equal(functional.global_max_pool(x[:, 0]), x[:, 0].max(1))
    same = functional.adaptive_average_pool2d(x, 1)[:, 0, 0]
    np.testing.assert_allclose(functional.global_average_pool(x), same, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("window", [17, 100])
def test_wide_windows(window):
    x = np.random.default_rng(0).integers(-3, 3, 300).astype(np.float32)
    f = lambda x: functional.max_pool1d(x[None, :, None], window, stride=7)[0, :, 0]  # noqa: E731
    starts = np.arange(0, 300 - window + 1, 7)
    y, gradient = with_gradient(f, x, np.ones(len(starts), np.float32))
    np.testing.assert_array_equal(y, [x[i : i + window].max() for i in starts])
    expected = np.bincount([i + x[i : i + window].argmax() for i in starts], minlength=300)
    np.testing.assert_array_equal(gradient, expected)
    average = compiled(lambda x: functional.average_pool1d(x[None, :, None], window, stride=7)[0, :, 0])(x)
    np.testing.assert_allclose(average, [x[i : i + window].mean() for i in starts], rtol=1e-5, atol=1e-6)


def test_averages_are_summed_in_float32():
    """256 ones and a half: the 8 bits of bfloat16 would lose every term after the 256th."""
    x = jnp.ones((1, 1024, 1), jnp.bfloat16)
    for y in (
        functional.average_pool1d(x, 1024),
        functional.adaptive_average_pool1d(x, 1),
        functional.global_average_pool(x),
    ):
        assert y.dtype == jnp.bfloat16
        assert float(y.reshape(())) == 1


@pytest.mark.parametrize(
    ("layer", "twin"),
    [
        (layers.max_pool2d(2), lambda x: nn.max_pool(x, (2, 2), (2, 2))),
        (layers.max_pool2d(3, stride=2, padding="SAME"), lambda x: nn.max_pool(x, (3, 3), (2, 2), "SAME")),
        (layers.max_pool2d((2, 3), stride=1, padding=1), lambda x: nn.max_pool(x, (2, 3), (1, 1), [(1, 1), (1, 1)])),
        (layers.average_pool2d(2), lambda x: nn.avg_pool(x, (2, 2), (2, 2))),
        (layers.average_pool2d(3, stride=2, padding=1), lambda x: nn.avg_pool(x, (3, 3), (2, 2), [(1, 1), (1, 1)])),
        (
            layers.average_pool2d(3, stride=2, padding="SAME", count_padding=False),
            lambda x: nn.avg_pool(x, (3, 3), (2, 2), "SAME", count_include_pad=False),
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_flax_twin(layer, twin):
    x = jax.random.normal(jax.random.key(0), (2, 8, 7, 3))

    @jax.jit
    def outputs_and_gradient(x):
        results = []
        for f in (lambda x: layer.apply((), (), x)[0], twin):
            y, backward = jax.vjp(f, x)
            results.append((y, backward(jnp.cos(y))[0]))
        return results

    for ours, flax in zip(*outputs_and_gradient(x), strict=True):
        np.testing.assert_allclose(ours, flax, rtol=1e-5, atol=1e-6)


def test_names():
    assert layers.max_pool2d(2).name == "max_pool2d(2)"
    assert layers.max_pool1d(3, stride=2, padding=1).name == "max_pool1d(3, stride=2, padding=1)"
    written = "average_pool2d((2, 3), padding='SAME', count_padding=False)"
    assert layers.average_pool2d((2, 3), padding="SAME", count_padding=False).name == written
    assert layers.adaptive_average_pool2d((4, 3)).name == "adaptive_average_pool2d((4, 3))"
