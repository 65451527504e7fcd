"""What layers do beyond the contract: the statistics of dropout, who gets which key, and numbers worked out by hand."""

import math

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import functional, tree
from jaxnn.data import Dataset
from jaxnn.layers import activations, batch_norm, dropout, flatten, linear, normalize, residual, sequential, walk
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.training import init_train_state, run_keys, train_step

KEY = jax.random.key(0)
MILLION = 10**6


def dropped(layer, x, key):
    return layer.apply((), (), x, key=key, train=True)[0]


def within_4_sigma(hits: float, trials: int, p: float) -> bool:
    """Tell whether a binomial count is as it should be; 1 in 16,000 would not be, and the keys are fixed."""
    return abs(hits - trials * p) <= 4 * math.sqrt(trials * p * (1 - p))


# Dropout


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.2, 0.5, 0.8, 0.999])
def test_dropout_drops_at_its_rate_and_keeps_the_mean(rate):
    y = np.asarray(dropped(dropout(rate), jnp.ones(MILLION), KEY), np.float64)
    realised = 1 - round((1 - rate) * 2**24) / 2**24  # a decision has 24 bits
    assert within_4_sigma((y == 0).sum(), MILLION, realised)
    np.testing.assert_allclose(np.unique(y[y != 0]), [1 / (1 - realised)], rtol=1e-6)
    sigma = math.sqrt(realised / (1 - realised) / MILLION)
    assert abs(y.mean() - 1) <= 4 * sigma


def pairs_agree_by_chance(a, b, keep) -> bool:
    return within_4_sigma((a & b).sum(), a.size, keep * keep)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_decisions_are_independent_of_their_neighbours(rate):
    keep = round((1 - rate) * 2**24) / 2**24
    for key in (KEY, *jax.random.split(KEY, 3)):
        kept = np.asarray(functional.keep_mask(key, (MILLION,), 1 - rate)[0])
        # Neighbours, pixels above one another, units of the next example, and the powers of two of the hash.
        for lag in (*range(1, 9), 16, 28, 32, 64, 128, 256, 512, 784, 1000, 1024, 2**16, MILLION // 2):
            assert pairs_agree_by_chance(kept[:-lag], kept[lag:], keep), lag


def test_dropout_of_one_step_says_nothing_of_the_next():
    """Also where the other mask is moved or mirrored, in blocks of a power of two, as a weak hash would repeat it."""
    step_key = run_keys(3).step
    masks = [np.asarray(functional.keep_mask(jax.random.fold_in(step_key, t), (2**20,), 0.5)[0]) for t in range(4)]
    places = np.arange(2**20)
    for i in range(4):
        for j in range(i):
            assert all(pairs_agree_by_chance(masks[i], masks[j][places ^ bit], 0.5) for bit in 2 ** np.arange(20))
            assert all(pairs_agree_by_chance(masks[i][:-lag], masks[j][lag:], 0.5) for lag in range(1, 9))


def test_mixed_words_are_a_permutation_whose_every_bit_changes_half_of_the_others():
    words = np.random.default_rng(0).integers(0, 2**32, 2**16, dtype=np.uint32)
    mix = lambda words: np.asarray(functional.mixed(jnp.asarray(words)))  # noqa: E731
    once, twice = mix(words), mix(mix(words))
    assert len(np.unique(once)) == len(np.unique(words))
    for bit in range(32):
        other = mix(mix(words ^ np.uint32(1 << bit)))
        changed = np.unpackbits((other ^ twice).view(np.uint8)).reshape(len(words), 32).sum(0)
        assert all(within_4_sigma(count, len(words), 0.5) for count in changed)
    # The places of an array are numbers in a row: each byte of their words has its 256 values equally often.
    for byte in mix(mix(np.arange(2**20, dtype=np.uint32))).view(np.uint8).reshape(-1, 4).T:
        chi_squared = ((np.bincount(byte, minlength=256) - 2**12) ** 2 / 2**12).sum()
        assert abs(chi_squared - 255) <= 4 * math.sqrt(2 * 255)


def test_dropout_differs_between_layers_and_steps():
    model = sequential(dropout(0.5), lambda x: jnp.where(x > 0, 1.0, 10.0), dropout(0.5))
    x = jnp.ones(MILLION)
    step_key = run_keys(0).step
    masks = []
    for t in range(2):
        key = jax.random.fold_in(step_key, t)
        first = dropped(dropout(0.5), x, jax.random.fold_in(key, 0)) > 0
        y = model.apply(*model.init(KEY), x, key=key, train=True)[0]
        second = y > 0
        np.testing.assert_array_equal(y, jnp.where(second, jnp.where(first, 2.0, 20.0), 0))
        masks += [np.asarray(first), np.asarray(second)]
    for i in range(4):
        for j in range(i):
            assert pairs_agree_by_chance(masks[i], masks[j], 0.5)


def test_a_traced_rate_gives_the_bits_of_a_concrete_one():
    rates, x = [0.0, 0.001, 0.1, 0.2, 0.25, 0.3, 0.7, 0.999, 1.0], jnp.linspace(-1, 1, 999)
    mapped = jax.jit(jax.vmap(lambda rate: dropped(dropout(rate), x, KEY)))(jnp.array(rates))
    for i, rate in enumerate(rates):
        np.testing.assert_array_equal(mapped[i], dropped(dropout(rate), x, KEY))
    np.testing.assert_array_equal(mapped[0], x)


def test_dropout_of_an_odd_count_and_of_none():
    for shape in ((), (1,), (3, 5, 7), (0, 4)):
        assert dropped(dropout(0.5), jnp.ones(shape), KEY).shape == shape


# Sequential, residual, walk


def test_part_i_gets_the_key_folded_with_i():
    parts = linear(4, 3), batch_norm(3), linear(3, 2)
    params, state = sequential(*parts).init(KEY)
    drawn = [part.init(jax.random.fold_in(KEY, i)) for i, part in enumerate(parts)]
    assert tree.sha256((params, state)) == tree.sha256(
        (tuple(params for params, _ in drawn), tuple(state for _, state in drawn))
    )
    assert not np.array_equal(*(linear(3, 3).init(jax.random.fold_in(KEY, i))[0]["weight"] for i in range(2)))


def test_sequential_equals_its_parts_by_hand():
    inner = sequential(linear(3, 3), dropout(0.5))
    model = sequential(linear(4, 3), jnp.tanh, inner, batch_norm(3))
    params, state = model.init(KEY)
    x, key = jax.random.normal(KEY, (8, 4)), jax.random.key(1)
    y, new_state = model.apply(params, state, x, key=key, train=True)
    h = jnp.tanh(linear(4, 3).apply(params[0], (), x)[0])
    h = linear(3, 3).apply(params[2][0], (), h)[0]
    h = dropped(dropout(0.5), h, jax.random.fold_in(jax.random.fold_in(key, 2), 1))
    h, running = batch_norm(3).apply(params[3], state[3], h, train=True)
    np.testing.assert_array_equal(y, h)
    assert tree.sha256(new_state) == tree.sha256(((), (), ((), ()), running))


def test_activations_and_walk_equal_the_model():
    model = mlp((12, 8, 6, 3), batch_norm=True, dropout=0.3)
    params, state = model.init(KEY)
    x = jax.random.normal(KEY, (5, 2, 6))
    y = x
    for (path, output), (same_path, layer, p, s) in zip(
        activations(model, params, state, x), walk(model, params, state), strict=True
    ):
        y, _ = layer.apply(p, s, y)
        assert path == same_path
        np.testing.assert_array_equal(output, y)
        own = {name: leaf for name, leaf in tree.paths(params).items() if name.startswith(f"{path}.")}
        assert list(own) == [f"{path}.{name}" for name in tree.paths(p)]
        assert all(a is b for a, b in zip(own.values(), jax.tree.leaves(p), strict=True))
    np.testing.assert_array_equal(y, model.apply(params, state, x)[0])
    nested = sequential(flatten(), sequential(linear(12, 4), sequential(jnp.tanh)), residual(linear(4, 4)))
    assert [path for path, *_ in walk(nested, *nested.init(KEY))] == ["0", "1.0", "1.1.0", "2"]
    assert [path for path, *_ in walk(linear(4, 3), *linear(4, 3).init(KEY))] == [""]


def test_residual_adds_its_input():
    inner = sequential(linear(4, 4), batch_norm(4), dropout(0.5))
    layer = residual(inner)
    params, state = layer.init(KEY)
    assert tree.sha256((params, state)) == tree.sha256(inner.init(KEY))
    x = jax.random.normal(KEY, (6, 4))
    for options in ({}, {"key": jax.random.key(1), "train": True}):
        y, new_state = layer.apply(params, state, x, **options)
        expected, inner_state = inner.apply(params, state, x, **options)
        np.testing.assert_array_equal(y, x + expected)
        assert tree.sha256(new_state) == tree.sha256(inner_state)


# Normalisation


def test_normalize_a_channel_at_a_time():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    x = np.random.default_rng(0).normal(0.5, 2, (4, 5, 6, 3)).astype(np.float32)
    expected = (x.astype(np.float64) - mean) / std
    np.testing.assert_allclose(normalize(mean, std).apply((), (), x)[0], expected, rtol=1e-5, atol=1e-5)


def test_normalize_bytes_as_torchvision():
    """ToTensor divides by 255, Normalize subtracts and divides: (x / 255 - mean) / std, for every byte."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    x = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    actual = normalize(mean, std).apply((), (), x)[0]
    assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, (x / 255 - mean) / std, rtol=1e-5, atol=1e-6)


def test_batch_norm_running_statistics_by_hand():
    """Channel 1, 2, 3, 6: mean 3, biased variance (4 + 1 + 0 + 9) / 4 = 3.5, unbiased 14 / 3."""
    x = jnp.array([[1.0], [2.0], [3.0], [6.0]])
    layer = batch_norm(1, momentum=0.25)
    params, state = layer.init(KEY)
    y, state = layer.apply(params, state, x, train=True)
    np.testing.assert_allclose(y[:, 0], (np.array([1, 2, 3, 6]) - 3) / math.sqrt(3.5 + 1e-5), rtol=1e-6)
    np.testing.assert_allclose(state["mean"], [0.25 * 3], rtol=1e-6)
    np.testing.assert_allclose(state["variance"], [0.75 * 1 + 0.25 * 14 / 3], rtol=1e-6)
    _, state = layer.apply(params, state, x, train=True)
    np.testing.assert_allclose(state["mean"], [0.75 * 0.75 + 0.25 * 3], rtol=1e-6)
    np.testing.assert_allclose(state["variance"], [0.75 * (0.75 + 3.5 / 3) + 0.25 * 14 / 3], rtol=1e-6)
    y, _ = layer.apply(params, state, x)
    np.testing.assert_allclose(y, (x - state["mean"]) / np.sqrt(state["variance"] + 1e-5), rtol=1e-6)


def test_batch_norm_with_momentum_1_keeps_the_last_statistics():
    layer = batch_norm(3, momentum=1.0)
    params, state = layer.init(KEY)
    for seed in range(2):
        x = 3 * jax.random.normal(jax.random.key(seed), (10, 3)) + 1
        _, state = layer.apply(params, state, x, train=True)
        np.testing.assert_allclose(state["mean"], x.mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state["variance"], x.var(0, ddof=1), rtol=1e-5)


def test_batch_norm_over_many_axes_equals_one_over_all_of_them():
    x = jax.random.normal(KEY, (4, 5, 6, 3)) * jnp.array([1.0, 10.0, 0.1])
    layer = batch_norm(3)
    params, state = layer.init(KEY)
    y, after = layer.apply(params, state, x, train=True)
    flat, flat_after = layer.apply(params, state, x.reshape(-1, 3), train=True)
    np.testing.assert_allclose(y.reshape(-1, 3), flat, rtol=1e-5, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after, flat_after)


def test_batch_norm_of_a_large_mean_keeps_its_digits():
    """E[x^2] - E[x]^2 loses all digits here: (1e4)^2 has a step of 8 in float32."""
    x = np.random.default_rng(0).normal(1e4, 1, (1000, 1)).astype(np.float32)
    _, state = batch_norm(1, momentum=1.0).apply(*batch_norm(1).init(KEY), x, train=True)
    np.testing.assert_allclose(state["variance"], x.astype(np.float64).var(0, ddof=1), rtol=1e-4)


# The guide's Sequential example


def test_the_guides_sequential_network():
    """784-256-128-64-10 with dropout after the first two of three hidden layers."""
    relu = jax.nn.relu
    model = sequential(
        flatten(), linear(784, 256), relu, dropout(0.3), linear(256, 128), relu, dropout(0.3),
        linear(128, 64), relu, linear(64, 10),
    )  # fmt: skip
    optimizer = optax.adam(1e-3)
    before = init_train_state(model.init, optimizer, KEY)
    assert tree.size(before.params) == 784 * 256 + 256 + 256 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10
    batch = Dataset(jax.random.normal(KEY, (32, 28, 28, 1)), jnp.arange(32) % 10)
    after, totals = jax.jit(train_step(model, softmax_cross_entropy, optimizer))(before, batch, jax.random.key(1))
    total, count = totals["loss"]
    assert int(after.step) == 1
    assert abs(float(total / count) - math.log(10)) < 0.2  # nothing is known yet
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), before.params, after.params)
    assert all(0 < distance <= 1.001e-3 for distance in jax.tree.leaves(moved))  # Adam's first step is the rate


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_threefry_gives_the_words_of_jax(seed):
    counters = np.r_[np.arange(100), 2**31, 2**32 - 1].astype(np.uint32)
    key = jax.random.key(seed)
    both = jnp.concatenate([counters, jnp.zeros_like(counters)])
    expected = jax.extend.random.threefry_2x32(jax.random.key_data(key), both).reshape(2, -1).T
    np.testing.assert_array_equal(functional.threefry(key, counters), expected)


# Linear


@pytest.mark.parametrize("rows", [4, 5, 9])  # with enough rows for W [5, out] another form of its gradient
@pytest.mark.parametrize("out", [2, 5, 6, 129])  # turned round, by a copy twice, and as it is
def test_derivatives_of_linear_are_those_of_a_product(rows, out):
    """In float64, where two orders of a sum of 9 terms agree to a few of 2**-53."""

    def derivatives(product):
        value = lambda x, weight: jnp.sin(product(x, weight)).sum()  # noqa: E731
        along = lambda f: lambda at: jax.jvp(f, at, at)[1]  # noqa: E731
        return {
            "gradients": jax.grad(value, (0, 1))(x, weight),
            "of W alone": jax.grad(value, 1)(x, weight),
            "forward": along(lambda at: product(*at))(((x, weight),)),
            "Hessian": jax.hessian(value, 1)(x, weight),
            "reverse over reverse": jax.grad(lambda *at: (jax.grad(value, 1)(*at) ** 2).sum(), (0, 1))(x, weight),
            "each x": jax.vmap(jax.grad(value, (0, 1)), (0, None))(jnp.stack([x, 2 * x]), weight),
            "each W": jax.vmap(jax.grad(value, (0, 1)), (None, 0))(x, jnp.stack([weight, 2 * weight])),
        }

    with jax.enable_x64(True):
        x, weight = (jax.random.normal(jax.random.fold_in(KEY, i), s) for i, s in enumerate([(rows, 5), (5, out)]))
        ours, expected = derivatives(functional.linear), derivatives(jnp.matmul)
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_a_narrowing_linear_has_its_gradient_by_a_wide_product_on_a_cpu():
    """Of 128 columns from 512, the gradient's product is one of 128 rows; an accelerator gets the product as it is."""
    gradient = jax.jit(jax.grad(lambda weight, x: functional.linear(x, weight).sum()))
    shapes = jax.ShapeDtypeStruct((512, 128), jnp.float32), jax.ShapeDtypeStruct((1024, 512), jnp.float32)
    lowered = {on: gradient.trace(*shapes).lower(lowering_platforms=(on,)).as_text() for on in ("cpu", "cuda")}
    assert "-> tensor<128x512xf32>" in lowered["cpu"]
    assert "optimization_barrier" in lowered["cpu"]
    assert "optimization_barrier" not in lowered["cuda"]
