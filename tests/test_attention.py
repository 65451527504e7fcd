"""Attention, the encoder, the classifier and repetition: against NumPy in float64, Flax, and what must hold."""

import importlib
import time
from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnn import functional, layers, models, tree

KEY = jax.random.key(0)
block = partial(layers.transformer_encoder_layer, 8, 2, dim_feedforward=12)
classifier = partial(models.transformer_classifier, 11, 8, 2, 2, 3, dim_feedforward=12, pad_id=0)


@cache
def drawn(**options):
    """Return the parameters of the classifier, drawn in one compiled program."""
    return jax.jit(classifier(**options).init)(KEY)


def normal(seed, *shape):
    return np.asarray(jax.random.normal(jax.random.key(seed), shape))


def slow_attention(query, key, value, mask):
    """Softmax(Q K^T / sqrt(d)) V in float64, one query at a time, over the keys in use alone."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    rows = np.zeros((len(query), value.shape[1]))
    for i, used in enumerate(mask):
        if used.any():
            exponentials = np.exp(key[used] @ query[i] / np.sqrt(query.shape[1]))
            rows[i] = exponentials @ value[used] / exponentials.sum()
    return rows


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**12 - 1), st.integers(0, 99))
def test_attention_against_loops_for_any_mask(bits, seed):
    mask = (bits >> np.arange(12) & 1).astype(bool).reshape(3, 4)
    query, key, value = normal(seed, 3, 2), normal(seed + 100, 4, 2), normal(seed + 200, 4, 5)
    y = functional.attention(query, key, value, mask)
    np.testing.assert_allclose(y, slow_attention(query, key, value, mask), rtol=1e-5, atol=1e-6)


def test_a_query_without_a_key_gives_zeros_and_zero_gradients():
    mask = np.array([[True, False], [False, False]])
    args = normal(1, 2, 3), normal(2, 2, 3), normal(3, 2, 3)

    @jax.jit
    def value_and_gradients(args):
        gradients = jax.grad(lambda args: (functional.attention(*args, mask)[1] + 1).sum())(args)
        return functional.attention(*args, mask), gradients

    y, gradients = value_and_gradients(args)
    assert (y[1] == 0).all()
    np.testing.assert_allclose(y[0], args[2][0], rtol=1e-6)
    assert all((np.asarray(gradient) == 0).all() for gradient in gradients)


def test_a_sequence_without_a_key_gives_zeros_and_no_gradient_of_any_parameter():
    layer = layers.multi_head_attention(8, 2)
    params, state = layer.init(KEY)
    params["out"]["bias"] += 1
    mask = np.array([[True, True, False], [False, False, False]])

    @jax.jit
    def second(params, x):
        y, backward = jax.vjp(lambda params, x: layer.apply(params, state, x, mask=mask)[0][1], params, x)
        return y, backward(jnp.ones_like(y))

    y, gradients = second(params, normal(4, 2, 3, 8))
    assert (y == 0).all()
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(gradients))


def test_masked_weights_are_exactly_zero_even_beside_very_low_logits():
    query, key = np.full((1, 4), 1e4, np.float32), np.array([[-1e4] * 4, [1e4] * 4], np.float32)
    weights = functional.attention_weights(query, key, np.array([[True, False]]))
    assert weights.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("step", [0, 2, 4])
def test_causal_attention_does_not_see_the_future(step):
    layer = layers.multi_head_attention(8, 2, causal=True)
    params, state = layer.init(KEY)
    gradient = jax.jit(jax.grad(lambda x: layer.apply(params, state, x)[0][0, step].sum()))(normal(5, 1, 5, 8))[0]
    assert (np.asarray(gradient)[step + 1 :] == 0).all()
    assert (np.abs(gradient).max(1)[: step + 1] > 0).all()


def test_a_mask_of_steps_is_the_mask_of_pairs_with_that_row():
    layer = layers.multi_head_attention(8, 2)
    params, state = layer.init(KEY)
    x, memory = normal(6, 2, 5, 8), normal(7, 2, 4, 8)
    steps = np.array([[True, False, True, True], [True, True, False, False]])
    pairs = np.broadcast_to(steps[:, None], (2, 5, 4))
    by_steps, _ = layer.apply(params, state, x, memory=memory, mask=steps)
    by_pairs, _ = layer.apply(params, state, x, memory=memory, mask=pairs)
    np.testing.assert_array_equal(by_steps, by_pairs)


def test_weights_drop_in_training():
    layer = layers.multi_head_attention(8, 2, dropout=0.5)
    params, state = layer.init(KEY)
    x = normal(8, 2, 5, 8)
    evaluated, _ = layer.apply(params, state, x)
    many = jax.vmap(lambda key: layer.apply(params, state, x, key=key, train=True)[0])(jax.random.split(KEY, 4000))
    # The weights enter linearly, so the mean over the keys is the evaluated output; 0.02 is five of its deviations.
    np.testing.assert_allclose(many.mean(0), evaluated, atol=5 * float(many.std(0).max()) / np.sqrt(4000))
    assert float(many.std(0).min()) > 0.01


def test_initialisation_is_pytorchs():
    params, _ = layers.multi_head_attention(64, 4).init(KEY)
    bound = np.sqrt(6 / (64 + 3 * 64))
    assert 0.99 * bound < np.abs(params["in_weight"]).max() <= bound
    np.testing.assert_allclose(np.std(params["in_weight"]), bound / np.sqrt(3), rtol=0.02)
    assert 0.99 / 8 < np.abs(params["out"]["weight"]).max() <= 1 / 8
    assert not params["in_bias"].any()
    assert not params["out"]["bias"].any()


@pytest.mark.parametrize("masked", [False, True])
def test_flax_computes_the_same(masked):
    x, steps = normal(9, 3, 5, 8), np.array([[1] * 5, [1, 1, 0, 0, 1], [1, 0, 0, 0, 0]], bool)
    layer = layers.multi_head_attention(8, 2)
    params, state = layer.init(KEY)
    params["in_bias"] += jnp.asarray(normal(10, 24))
    weights, biases = jnp.split(params["in_weight"], 3, 1), jnp.split(params["in_bias"], 3)
    theirs: dict = {
        name: {"kernel": weight.reshape(8, 2, 4), "bias": bias.reshape(2, 4)}
        for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True)
    }
    theirs["out"] = {"kernel": params["out"]["weight"].reshape(2, 4, 8), "bias": params["out"]["bias"]}
    mask = steps[:, None, None] if masked else None
    twin = nn.MultiHeadDotProductAttention(num_heads=2)
    expected, expected_gradient = jax.value_and_grad(
        lambda x: jnp.sin(twin.apply({"params": theirs}, x, mask=mask)).sum()  # type: ignore
    )(x)
    value, gradient = jax.value_and_grad(
        lambda x: jnp.sin(layer.apply(params, state, x, mask=steps if masked else None)[0]).sum()
    )(x)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_encoder_layers_key_reaches_every_dropout():
    layer = block(dropout=1.0)  # all that goes through dropout is zero, so post-norm gives norm2(norm1(x))
    params, state = layer.init(KEY)
    x = normal(11, 2, 3, 8)
    y, _ = layer.apply(params, state, x, key=KEY, train=True)
    norm = lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)  # noqa: E731
    np.testing.assert_allclose(y, norm(norm(x.astype(np.float64))), rtol=1e-4, atol=1e-5)
    first = block(dropout=1.0, norm_first=True)
    np.testing.assert_array_equal(first.apply(params, state, x, key=KEY, train=True)[0], x)


@pytest.mark.slow
def test_the_four_dropouts_stand_where_pytorch_has_them(monkeypatch):
    seen, drop = [], functional.dropout

    def recorded(x, key, rate):
        seen.append((x.shape, jax.random.key_data(key).tolist(), rate))
        return drop(x, key, rate)

    monkeypatch.setattr(functional, "dropout", recorded)
    monkeypatch.setattr(importlib.import_module("jaxnn.functional.attention"), "dropout", recorded)
    layer = block(dropout=0.25)
    layer.apply(*layer.init(KEY), normal(15, 5, 3, 8), key=KEY, train=True)
    # The weights, the attention's output, the hidden units, the output of the second linear map.
    assert [shape for shape, _, _ in seen] == [(5, 2, 3, 3), (5, 3, 8), (5, 3, 12), (5, 3, 8)]
    assert len({str(key) for _, key, _ in seen}) == 4
    assert {rate for _, _, rate in seen} == {0.25}


def test_the_defaults_are_those_that_the_guide_hides():
    model = models.transformer_classifier(100, 16, 4, 2, 3)
    params, state = jax.eval_shape(model.init, KEY)
    shapes = {path: leaf.shape for path, leaf in tree.paths(params).items()}
    assert shapes["positions.positions"] == (512, 16)
    assert shapes["encoder.layers.1.linear1.weight"] == (16, 2048)
    assert state == ()
    assert model.name == "transformer_classifier(100, 16, 4, 2, 3)"
    assert (
        classifier(dropout=0.0).name
        == "transformer_classifier(11, 8, 2, 2, 3, dim_feedforward=12, dropout=0, pad_id=0)"
    )


def test_padding_changes_nothing_with_pad_id_and_something_without():
    tokens = np.array([[4, 9, 2], [3, 5, 7]], np.int32)
    padded = np.pad(tokens, ((0, 0), (0, 2)))
    params, state = drawn()
    for model, same in ((classifier(), True), (classifier(pad_id=None), False)):
        y, y_padded = jax.jit(lambda model=model: [model.apply(params, state, x)[0] for x in (tokens, padded)])()
        assert np.allclose(y, y_padded, rtol=1e-5, atol=1e-6) == same


def test_a_row_of_padding_alone_gives_the_bias_and_no_gradient():
    tokens = np.array([[4, 9, 2], [0, 0, 0]], np.int32)
    params, state = drawn()

    @jax.jit
    def second_row(params):
        y, backward = jax.vjp(lambda params: classifier().apply(params, state, tokens)[0], params)
        return y[1], backward(jnp.array([[0.0] * 3, [1.0, 2.0, 3.0]]))[0]

    y, gradients = second_row(params)
    np.testing.assert_array_equal(y, params["classifier"]["bias"])
    np.testing.assert_array_equal(gradients["classifier"].pop("bias"), [1, 2, 3])
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(gradients))


def test_a_token_out_of_range_makes_its_own_row_nan_under_jit():
    params, state = drawn()
    apply = jax.jit(classifier().apply)
    y, _ = apply(params, state, np.array([[4, 11, 0], [3, -1, 7], [3, 5, 7]], np.int32))
    assert np.isnan(y[:2]).all()
    np.testing.assert_allclose(y[2], apply(params, state, np.array([[3, 5, 7]], np.int32))[0][0], rtol=1e-5)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.slow
def test_attention_maps_show_what_the_classifier_uses(norm_first):
    tokens = np.array([[4, 9, 2, 6], [3, 5, 0, 0]], np.int32)
    params, state = drawn(norm_first=norm_first)
    sizes = (11, 8, 2, 2, 3)
    maps = models.attention_maps(*sizes, dim_feedforward=12, norm_first=norm_first, pad_id=0)
    weights = np.asarray(maps.apply(params, state, tokens)[0])
    assert weights.shape == (2, 2, 2, 4, 4)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    assert (weights[1, ..., 2:] == 0).all()
    # By hand, from these weights to the output of the second layer's attention, against the layer itself.
    block_params = params["encoder"]["layers"]
    x = functional.embed(tokens, params["embedding"]["embedding"]) + params["positions"]["positions"][:4]
    layer = block(norm_first=norm_first)
    x, _ = layer.apply(block_params[0], (), x, mask=tokens != 0)  # type: ignore
    looking = functional.layer_norm(x, **block_params[1]["norm1"]) if norm_first else x
    attention = block_params[1]["attention"]
    values = functional.heads_of(looking, looking, attention, 2)[2]
    heads = (weights[:, 1] @ values).swapaxes(1, 2).reshape(x.shape)
    expected, _ = layers.multi_head_attention(8, 2).apply(attention, (), looking, mask=tokens != 0)  # type: ignore
    np.testing.assert_allclose(
        functional.linear(heads, attention["out"]["weight"], attention["out"]["bias"]), expected, rtol=1e-4, atol=1e-5
    )


def test_bfloat16_gradients_are_near_those_of_float32():
    layer = block(activation=jnp.tanh)
    params, state = layer.init(KEY)
    x = normal(12, 2, 3, 8)
    gradient = jax.jit(jax.grad(lambda p, x: jnp.sin(layer.apply(p, state, x)[0].astype(jnp.float32)).sum()))
    wide, narrow = gradient(params, x), gradient(params, jnp.asarray(x, jnp.bfloat16))
    for a, b in zip(jax.tree.leaves(wide), jax.tree.leaves(narrow), strict=True):
        assert a.dtype == b.dtype == jnp.float32
        # bfloat16 has 8 bits, and a gradient is the sum of some tens of rounded terms.
        assert np.abs(a - b).max() <= 0.1 * max(1.0, np.abs(a).max())


# Repetition


def test_repeat_computes_what_as_many_layers_in_a_row_compute():
    part = layers.residual(layers.sequential(layers.linear(4, 4), layers.batch_norm(4), jnp.tanh, layers.dropout(0.3)))
    many, one = layers.repeat(part, 3), layers.sequential(part, part, part)
    params, state = many.init(KEY)
    rows, row_states = one.init(KEY)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
    jax.tree.map(np.testing.assert_array_equal, params, stacked)
    x = normal(13, 6, 4)
    y, new_state = many.apply(params, state, x, key=KEY, train=True)
    expected, expected_states = one.apply(rows, row_states, x, key=KEY, train=True)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *expected_states)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), new_state, stacked)


@pytest.mark.slow
def test_remat_gives_the_same_numbers_and_keeps_less():
    part = layers.residual(layers.sequential(layers.linear(4, 64), jnp.tanh, layers.linear(64, 4), layers.dropout(0.3)))
    params, state = layers.repeat(part, 3).init(KEY)
    x = normal(14, 6, 4)

    def loss(layer, params):
        return layers.repeat(layer, 3).apply(params, state, x, key=KEY, train=True)[0].sum()

    plain = jax.jit(jax.grad(partial(loss, part)))(params)
    saving = jax.jit(jax.grad(partial(loss, layers.remat(part))))(params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), saving, plain)

    def kept(layer):
        """Count the numbers of the size of the batch that the backward pass keeps of the forward pass."""
        params, state = layer.init(KEY)
        _, backward = jax.vjp(lambda x: layer.apply(params, state, x)[0], x)
        return sum(leaf.size for leaf in jax.tree.leaves(backward) if np.shape(leaf)[:1] == (6,))

    inner = layers.sequential(layers.linear(4, 64), jnp.tanh, layers.linear(64, 4))
    assert kept(layers.remat(inner)) == x.size
    assert kept(inner) >= 6 * 64


def test_fifty_encoder_layers_compile_in_seconds():
    deep = layers.repeat(block(norm_first=True), 50)
    params, state = jax.eval_shape(deep.init, KEY)
    x = jax.ShapeDtypeStruct((2, 3, 8), jnp.float32)

    def loss(params, x, key):
        return deep.apply(params, state, x, key=key, train=True)[0].sum()

    lowered = jax.jit(jax.grad(loss)).lower(params, x, KEY)
    assert lowered.as_text().count("dot_general") < 60  # one copy and its backward pass, where 50 would have 1,500
    start = time.perf_counter()
    lowered.compile()
    assert time.perf_counter() - start < 30  # 2 seconds on a free core
