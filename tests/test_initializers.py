"""How weights are drawn: bounds, moments, Kaiming's rule for a whole model, ensembles and seeds.

Moments are compared with their formulas within 5 standard errors of the sample (sigma below). The keys are fixed, so a
test that passes passes always; 5 sigma says that a correct draw had 1 chance in 1.7 million to fail.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import layers, models, tree
from jaxnn.initializers import (
    fan_in_uniform,
    fans,
    kaiming,
    kaiming_normal,
    kaiming_uniform,
    uniform,
    xavier_normal,
    xavier_uniform,
)
from jaxnn.training import compiled_init
from jaxnn.types import Layer

DENSE, KERNEL = (300, 200), (3, 5, 40, 60)


def assert_moments(sample, variance, *, is_uniform):
    """Compare mean and variance with 0 and `variance` within 5 standard errors.

    The mean of n draws has sigma sqrt(variance / n); their mean square has sigma variance * sqrt((k - 1) / n) with the
    kurtosis k = 3 of a normal and 9/5 of a uniform distribution. n = 60,000 gives 0.6 % and 0.4 % of the variance.
    """
    sample = np.asarray(sample, np.float64).ravel()
    kurtosis = 1.8 if is_uniform else 3.0
    assert abs(sample.mean()) < 5 * math.sqrt(variance / sample.size)
    assert abs(np.square(sample).mean() / variance - 1) < 5 * math.sqrt((kurtosis - 1) / sample.size)


def assert_fills(sample, bound):
    """Check that the sample stays within the bounds and reaches 1 - 40/n of both.

    Of n uniform draws, none lies beyond +-bound * (1 - 40/n), on a given side, with probability exp(-20).
    """
    sample = np.asarray(sample, np.float64)
    assert np.abs(sample).max() <= bound * (1 + 1e-6)  # the bound itself is rounded to float32
    assert sample.max() > bound * (1 - 40 / sample.size)
    assert sample.min() < -bound * (1 - 40 / sample.size)


def test_fans_count_the_window():
    assert fans(DENSE) == (300, 200)
    assert fans(KERNEL) == (15 * 40, 15 * 60)
    with pytest.raises(ValueError, match="fans expected a weight"):
        fans((3,))


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_linear_is_drawn_as_in_pytorch(name):
    """PyTorch: weight and bias from U(-1/sqrt(in), 1/sqrt(in)), variance 1 / (3 in)."""
    inputs, outputs = (300, 200) if name == "weight" else (4, 50_000)
    sample = layers.linear(inputs, outputs).init(jax.random.key(0))[0][name]
    assert sample.dtype == jnp.float32
    assert_fills(sample, 1 / math.sqrt(inputs))
    assert_moments(sample, 1 / (3 * inputs), is_uniform=True)


def test_weight_and_bias_are_independent():
    params, _ = layers.linear(1, 20_000).init(jax.random.key(0))
    correlation = np.corrcoef(params["weight"][0], params["bias"])[0, 1]
    assert abs(correlation) < 5 / math.sqrt(20_000)


@pytest.mark.parametrize("shape", [DENSE, KERNEL])
def test_fan_in_uniform(shape):
    sample = fan_in_uniform(jax.random.key(1), shape)
    assert_fills(sample, 1 / math.sqrt(fans(shape)[0]))
    assert_moments(sample, 1 / (3 * fans(shape)[0]), is_uniform=True)


def test_uniform_is_flat():
    """Twenty equal bins of 60,000 draws: each count is within 5 sigma, sigma**2 = n p (1 - p)."""
    n, p = 60_000, 1 / 20
    counts, _ = np.histogram(uniform(jax.random.key(2), (n,), 0.5), bins=20, range=(-0.5, 0.5))
    assert counts.sum() == n
    assert np.abs(counts - n * p).max() < 5 * math.sqrt(n * p * (1 - p))


@pytest.mark.parametrize("gain", [1.0, math.sqrt(2), 5 / 3])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
@pytest.mark.parametrize("shape", [DENSE, KERNEL])
def test_kaiming(shape, mode, gain):
    fan = fans(shape)[0 if mode == "fan_in" else 1]
    normal = kaiming_normal(jax.random.key(3), shape, mode=mode, gain=gain)
    flat = kaiming_uniform(jax.random.key(4), shape, mode=mode, gain=gain)
    assert_moments(normal, gain**2 / fan, is_uniform=False)
    assert_moments(flat, gain**2 / fan, is_uniform=True)
    assert_fills(flat, gain * math.sqrt(3 / fan))


@pytest.mark.parametrize("gain", [1.0, 5 / 3])
@pytest.mark.parametrize("shape", [DENSE, KERNEL])
def test_xavier(shape, gain):
    variance = 2 * gain**2 / sum(fans(shape))
    normal = xavier_normal(jax.random.key(5), shape, gain=gain)
    flat = xavier_uniform(jax.random.key(6), shape, gain=gain)
    assert_moments(normal, variance, is_uniform=False)
    assert_moments(flat, variance, is_uniform=True)
    assert_fills(flat, math.sqrt(3 * variance))


@pytest.mark.parametrize("shape", [DENSE, KERNEL])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (fan_in_uniform, jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")),
        (kaiming_normal, jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")),
        (kaiming_uniform, jax.nn.initializers.he_uniform()),
        (xavier_normal, jax.nn.initializers.variance_scaling(1.0, "fan_avg", "normal")),
        (xavier_uniform, jax.nn.initializers.glorot_uniform()),
    ],
)
def test_variance_equals_that_of_jax(ours, theirs, shape):
    """The ratio of two sample variances has at most sqrt(2) times the sigma sqrt(2 / n) of one of them."""
    sample, other = (np.asarray(draw(jax.random.key(i), shape), np.float64) for i, draw in ((7, ours), (8, theirs)))
    assert abs(sample.var() / other.var() - 1) < 5 * math.sqrt(2) * math.sqrt(2 / sample.size)


def test_kaiming_refuses_another_mode():
    with pytest.raises(ValueError, match="kaiming expected mode to be one of fan_in, fan_out but got 'fan'"):
        kaiming_normal(jax.random.key(0), DENSE, mode="fan")


def test_kaiming_of_a_model_redraws_weights_and_leaves_batch_norm():
    model = models.mlp((300, 200, 100, 10), batch_norm=True, dropout=0.2)
    (params, state), (default, default_state) = kaiming(model)(jax.random.key(0)), model.init(jax.random.key(0))
    assert jax.tree.structure(params) == jax.tree.structure(default)
    assert tree.paths(state).keys() == tree.paths(default_state).keys()
    seen = 0
    for part, drawn, before in zip(model.parts, params, default, strict=True):
        if part.name.startswith("linear"):
            assert_moments(drawn["weight"], 2 / drawn["weight"].shape[0], is_uniform=False)
            assert not np.array_equal(drawn["weight"], before["weight"])
            np.testing.assert_array_equal(drawn["bias"], 0)
            seen += 1
        else:
            assert drawn.keys() == before.keys() if drawn else drawn == ()
            for name in drawn:
                np.testing.assert_array_equal(drawn[name], before[name])
    assert seen == 3
    for leaf, before in zip(jax.tree.leaves(state), jax.tree.leaves(default_state), strict=True):
        np.testing.assert_array_equal(leaf, before)


def test_kaiming_of_a_model_draws_layers_of_one_shape_independently():
    params, _ = kaiming(models.mlp((100, 100, 100)))(jax.random.key(0))
    first, second = (p["weight"].ravel() for p in params if p)
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / math.sqrt(first.size)


def test_kaiming_of_a_convolution_takes_fan_out_and_keeps_the_bias():
    """The guide's tip: fan_out for convolutions, whose biases it does not mention."""
    kernel = {"weight": jnp.zeros(KERNEL), "bias": jnp.full(60, 0.25)}
    conv = Layer(lambda key: (kernel, ()), lambda params, state, x, *, key=None, train=False: (x, state), "conv")
    params, _ = kaiming(layers.sequential(conv, layers.linear(300, 200)))(jax.random.key(0))
    assert_moments(params[0]["weight"], 2 / fans(KERNEL)[1], is_uniform=False)
    np.testing.assert_array_equal(params[0]["bias"], 0.25)
    assert_moments(params[1]["weight"], 2 / 300, is_uniform=False)


def test_kaiming_takes_another_draw():
    params, _ = kaiming(layers.linear(300, 200), kaiming_uniform)(jax.random.key(0))
    assert_fills(params["weight"], math.sqrt(6 / 300))


INITS = {
    "mlp": models.mlp((8, 6, 4), dropout=0.2).init,
    "batch_norm": models.mlp((8, 6, 4), batch_norm=True).init,
    "kaiming": kaiming(models.mlp((8, 6, 4))),
}


@pytest.mark.parametrize("name", INITS)
def test_the_same_key_gives_the_same_bits(name):
    init = INITS[name]
    first, again, jitted = init(jax.random.key(0)), init(jax.random.key(0)), jax.jit(init)(jax.random.key(0))
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    # The random bits are the same; under jit the arithmetic after them may be fused, and so rounded once less.
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(jitted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("name", INITS)
def test_vmap_over_keys_makes_an_ensemble_of_different_members(name):
    init, keys = INITS[name], jax.random.split(jax.random.key(0), 3)
    params, _ = jax.vmap(init)(keys)
    for i in range(3):
        alone, _ = init(keys[i])
        assert jax.tree.structure(alone) == jax.tree.structure(params)
        for member, leaf in zip(jax.tree.leaves(params), jax.tree.leaves(alone), strict=True):
            np.testing.assert_array_equal(member[i], leaf)
    for path, leaf in tree.paths(params).items():
        if path.endswith("weight"):
            assert all(not np.array_equal(leaf[i], leaf[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def redrawn(draw):
    return kaiming(models.mlp((7, 300, 3)), lambda key, shape, mode: draw(key, shape))


def drawn_in_full(init):
    """The draw at XLA's default level of optimization, which the tests lower."""
    return jax.jit(init, compiler_options={"xla_backend_optimization_level": 3})(jax.random.key(3))


@pytest.mark.parametrize(
    "init",
    [
        models.mlp((7, 6, 3)).init,
        models.cnn(channels=(4, 8), hidden=6).init,
        models.lstm_classifier(5, 6, 2, 3).init,
        models.transformer_classifier(20, 8, 2, 1, 3, dim_feedforward=16).init,
        redrawn(kaiming_uniform),
        redrawn(xavier_uniform),
    ],
)
def test_few_optimizations_draw_the_same_bits(init):
    assert tree.sha256(compiled_init(init)(jax.random.key(3))) == tree.sha256(drawn_in_full(init))


@pytest.mark.parametrize("draw", [kaiming_normal, xavier_normal])
def test_few_optimizations_draw_the_same_normal_numbers(draw):
    """To the rounding of the arithmetic after the random bits, which JAX 0.12 fuses otherwise at few optimizations."""
    drawn, key = compiled_init(redrawn(draw)), jax.random.key(3)
    assert tree.sha256(drawn(key)) == tree.sha256(drawn(key))
    for a, b in zip(jax.tree.leaves(drawn(key)), jax.tree.leaves(drawn_in_full(redrawn(draw))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
