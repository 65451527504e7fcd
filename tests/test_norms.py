"""Layer, root-mean-square and group normalisation: against NumPy in float64, Flax, and their invariances."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnn import functional, layers

SCALE, BIAS = np.linspace(0.5, 1.5, 6).astype(np.float32), np.linspace(-1, 1, 6).astype(np.float32)


def images(seed=0):
    return np.asarray(1 + 2 * jax.random.normal(jax.random.key(seed), (2, 4, 3, 6)))


@pytest.mark.parametrize("case", ["layer_norm", "rms_norm", "group_norm", "group_norm_one_group"])
def test_flax_computes_the_same(case):
    twin, layer = {
        "layer_norm": (nn.LayerNorm(epsilon=1e-5, use_fast_variance=False), layers.layer_norm(6)),
        "rms_norm": (nn.RMSNorm(epsilon=2**-23), layers.rms_norm(6)),
        "group_norm": (nn.GroupNorm(3, epsilon=1e-5, use_fast_variance=False), layers.group_norm(3, 6)),
        "group_norm_one_group": (nn.GroupNorm(1, epsilon=1e-5, use_fast_variance=False), layers.group_norm(1, 6)),
    }[case]
    params, state = layer.init(jax.random.key(0))
    params = {name: {"scale": SCALE, "bias": BIAS}[name] for name in params}

    def value_and_gradients(apply):
        return jax.value_and_grad(lambda p, x: jnp.sin(apply(p, x)).sum(), (0, 1))(params, images())

    value, gradients = value_and_gradients(lambda p, x: layer.apply(p, state, x)[0])
    expected, expected_gradients = value_and_gradients(lambda p, x: twin.apply({"params": p}, x))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5), gradients, expected_gradients)


def test_against_numpy_in_float64():
    x = images().astype(np.float64)
    centred = x - x.mean(-1, keepdims=True)
    expected = centred / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * SCALE + BIAS
    np.testing.assert_allclose(functional.layer_norm(images(), SCALE, BIAS), expected, rtol=1e-5, atol=1e-5)
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 2**-23) * SCALE
    np.testing.assert_allclose(functional.rms_norm(images(), SCALE), expected, rtol=1e-5, atol=1e-5)
    for example in range(2):
        for group in range(3):
            part = np.s_[example, :, :, 2 * group : 2 * group + 2]
            y = functional.group_norm(images(), 3, np.ones(6, np.float32), np.zeros(6, np.float32))[part]
            expected = (x[part] - x[part].mean()) / np.sqrt(x[part].var() + 1e-5)
            np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 100), st.floats(-100, 100))
def test_scale_and_shift_of_the_input_do_not_matter(factor, shift):
    one, zero = np.ones(6, np.float32), np.zeros(6, np.float32)
    x = images()
    moved = (x * factor + shift).astype(np.float32)
    # A shift of 1000 times the deviation costs three digits of float32's seven.
    tolerance = 1e-5 + 1e-6 * abs(shift) / factor
    for norm in (functional.layer_norm, lambda x, *p, **o: functional.group_norm(x, 2, *p, **o)):
        np.testing.assert_allclose(
            norm(moved, one, zero, epsilon=1e-12), norm(x, one, zero, epsilon=1e-12), atol=tolerance
        )
    scaled = functional.rms_norm((x * factor).astype(np.float32), one, epsilon=1e-12)
    np.testing.assert_allclose(scaled, functional.rms_norm(x, one, epsilon=1e-12), atol=1e-5)


@pytest.mark.parametrize("norm", [layers.layer_norm(64), layers.rms_norm(64), layers.group_norm(4, 64)], ids=str)
def test_bfloat16_is_only_the_rounding_of_the_result(norm):
    x = jnp.asarray(100 + jax.random.normal(jax.random.key(1), (3, 64)), jnp.bfloat16)
    params, state = norm.init(jax.random.key(0))
    y, _ = norm.apply(params, state, x)
    expected, _ = norm.apply(params, state, x.astype(jnp.float32))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, expected.astype(jnp.bfloat16))


def test_a_constant_input_gives_the_bias_and_finite_gradients():
    layer = layers.layer_norm(6)
    params = {"scale": SCALE, "bias": BIAS}
    x = np.full((2, 6), 3.0, np.float32)
    np.testing.assert_array_equal(layer.apply(params, (), x)[0], np.tile(BIAS, (2, 1)))
    gradient = jax.grad(lambda x: layer.apply(params, (), x)[0][:, 0].sum())(x)
    assert np.isfinite(gradient).all()
