"""What a user gets for wrong tokens, lengths, heads, masks and shapes in norms, embedding, attention, Transformer."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusal import refused

from jaxnn import functional
from jaxnn.layers import (
    embedding,
    group_norm,
    layer_norm,
    learned_positions,
    linear,
    multi_head_attention,
    remat,
    repeat,
    rms_norm,
    sinusoidal_positions,
    transformer_encoder,
    transformer_encoder_layer,
)
from jaxnn.models import attention_maps, transformer_classifier

KEY = jax.random.key(0)
MODEL = transformer_classifier(11, 8, 2, 1, 3, dim_feedforward=4, max_length=6, pad_id=0)
NAME = "transformer_classifier(11, 8, 2, 1, 3, dim_feedforward=4, max_length=6, pad_id=0)"


def applied(layer, x, **options):
    return layer.apply(*layer.init(KEY), x, **options)[0]


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


# Tokens


@pytest.mark.parametrize(("layer", "name"), [(embedding(11, 8), "embedding(11, 8)"), (MODEL, NAME)], ids=str)
@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_a_token_out_of_range(layer, name, kind):
    for value in (11, -1):
        tokens = kind(np.array([[1, 2], [3, value]], np.int32))
        refused(
            ValueError,
            lambda tokens=tokens: applied(layer, tokens),
            f"{name} expected integers in 0..10",
            "x[1, 1]",
            str(value),
        )


def test_a_token_beyond_32_bits_is_not_folded_into_range():
    for layer in (embedding(11, 8), MODEL):
        refused(ValueError, partial(applied, layer, np.array([[1, 2**33]])), "0..10", "x[0, 1] is 8589934592")
        refused(
            ValueError,
            partial(applied, layer, np.array([[1, 2**64 - 1]], np.uint64)),
            "x[0, 1] is 18446744073709551615",
        )
    refused(
        ValueError,
        lambda: functional.embed(np.array(2**33), ones(4, 2)),
        "embed expected integers in 0..3 but x is 85899",
    )


@pytest.mark.parametrize("jit", [False, True])
def test_tokens_that_are_no_integers(jit):
    for layer in (embedding(11, 8), MODEL):
        call = jax.jit(partial(applied, layer)) if jit else partial(applied, layer)
        refused(TypeError, lambda call=call: call(ones(2, 3)), "expected integers but got float32", "x.astype('int32')")
        refused(TypeError, lambda call=call: call(ones(2, 3, dtype=bool)), "expected integers but got bool")
    refused(TypeError, lambda: applied(embedding(11, 8), [1, 2]), "an array but got list")


def test_tokens_of_another_shape():
    refused(ValueError, lambda: applied(MODEL, np.array([1, 2])), "[B, T] but got (2,)", "x[None]")
    refused(ValueError, lambda: applied(MODEL, ones(2, 3, 4, dtype=int)), "[B, T] but got (2, 3, 4)")
    refused(ValueError, lambda: applied(MODEL, ones(2, 0, dtype=int)), "at least one time step", "(2, 0)")


@pytest.mark.parametrize("jit", [False, True])
def test_a_sequence_longer_than_the_positions(jit):
    maps = attention_maps(11, 8, 2, 1, 3, dim_feedforward=4, max_length=6)
    for layer, x in (
        (MODEL, ones(2, 7, dtype=int)),
        (maps, ones(2, 7, dtype=int)),
        (learned_positions(6, 8), ones(2, 7, 8)),
    ):
        call = jax.jit(partial(applied, layer)) if jit else partial(applied, layer)
        refused(ValueError, lambda call=call, x=x: call(x), "6 positions", "sequence of 7")


# Sizes


@pytest.mark.parametrize(
    "make",
    [
        lambda: multi_head_attention(10, 3),
        lambda: transformer_encoder_layer(10, 3),
        lambda: transformer_encoder(10, 3, 2),
        lambda: transformer_classifier(100, 10, 3, 2, 5),
    ],
)
def test_heads_that_do_not_divide_the_width(make):
    refused(ValueError, make, "nhead to divide d_model", "d_model=10 and nhead=3")


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: embedding(0, 3), "count"),
        (lambda: embedding(3, 0), "dimension"),
        (lambda: learned_positions(0, 3), "length"),
        (lambda: multi_head_attention(8, 0), "nhead"),
        (lambda: transformer_encoder_layer(8, 2, dim_feedforward=0), "dim_feedforward"),
        (lambda: transformer_encoder(8, 2, 0), "num_layers"),
        (lambda: transformer_classifier(0, 8, 2, 1, 3), "vocabulary_size"),
        (lambda: transformer_classifier(9, 8, 2, 1, 0), "num_classes"),
        (lambda: transformer_classifier(9, 8, 2, 1, 3, max_length=0), "max_length"),
        (lambda: layer_norm(0), "size"),
        (lambda: rms_norm(-1), "size"),
        (lambda: group_norm(0, 4), "groups"),
        (lambda: repeat(linear(2, 2), 0), "n to be a positive integer"),
    ],
)
def test_sizes_that_are_not_positive(make, word):
    refused(ValueError, make, word, "positive integer")


def test_other_options():
    refused(ValueError, lambda: embedding(5, 2, pad_id=5), "pad_id in 0..4 but got 5")
    refused(ValueError, lambda: transformer_classifier(5, 2, 1, 1, 2, pad_id=-1), "pad_id in 0..4 but got -1")
    refused(TypeError, lambda: embedding(5, 2, pad_id=0.5), "pad_id", "0.5")  # type: ignore
    refused(ValueError, lambda: transformer_encoder_layer(4, 2, dropout=1.1), "dropout in [0, 1] but got 1.1")
    refused(ValueError, lambda: group_norm(3, 8), "groups=3 and size=8")
    refused(ValueError, lambda: layer_norm(3, epsilon=0), "epsilon")
    refused(ValueError, lambda: sinusoidal_positions(5), "even dimension but got 5")
    refused(ValueError, lambda: functional.sinusoids(3, 5), "even dimension but got 5")
    refused(TypeError, lambda: transformer_encoder_layer(4, 2, activation="relu"), "a layer or a function", "'relu'")  # type: ignore


# Arrays


@pytest.mark.parametrize("layer", [layer_norm(8), rms_norm(8), group_norm(2, 8)], ids=str)
def test_norms_of_another_size(layer):
    refused(ValueError, lambda: applied(layer, ones(2, 7)), f"{layer} expected x of shape [..., 8] but got (2, 7)")
    refused(ValueError, lambda: applied(layer, ones(2, 8, 5, 5)), "channels come last")
    refused(TypeError, lambda: applied(layer, ones(2, 8, dtype=int)), "expected floats but got int")
    params, state = layer.init(KEY)
    refused(ValueError, lambda: layer.apply({**params, "scale": ones(1)}, state, ones(2, 8)), "use its own init")


def test_group_norm_of_single_values():
    refused(ValueError, lambda: applied(group_norm(4, 4), ones(2, 4)), "single values", "(2, 4)", "fewer groups")
    refused(ValueError, lambda: applied(group_norm(4, 4), ones(4)), "[B, ...] but got (4,)")


def test_attention_over_arrays_that_do_not_agree():
    layer = multi_head_attention(8, 2)
    refused(ValueError, lambda: applied(layer, ones(2, 3, 7)), "x of shape [B, T, 8] but got (2, 3, 7)")
    refused(ValueError, lambda: applied(layer, ones(3, 8)), "[B, T, 8] but got (3, 8)", "x[None]")
    refused(ValueError, lambda: applied(layer, ones(2, 0, 8)), "at least one time step")
    refused(TypeError, lambda: applied(layer, ones(2, 3, 8, dtype=int)), "expected floats")
    refused(ValueError, lambda: applied(layer, ones(2, 3, 8), memory=ones(3, 3, 8)), "batch size 2", "(3, 3, 8)")
    refused(TypeError, lambda: applied(layer, ones(2, 3, 8), memory=jnp.ones((2, 3, 8), jnp.bfloat16)), "bfloat16")
    causal = multi_head_attention(8, 2, causal=True)
    refused(ValueError, lambda: applied(causal, ones(2, 3, 8), memory=ones(2, 4, 8)), "causal", "length 3", "got 4")
    refused(ValueError, lambda: functional.attention(ones(3, 4), ones(5, 4), ones(6, 2)), "(6, 2)", "keys (5, 4)")
    refused(ValueError, lambda: functional.attention_weights(ones(3, 4), ones(5, 2)), "(3, 4) and (5, 2)")
    refused(ValueError, lambda: functional.attention_weights(ones(1, 3, 4), ones(2, 5, 4)), "(1, 3, 4) and (2, 5, 4)")


@pytest.mark.parametrize(
    "layer", [multi_head_attention(8, 2), transformer_encoder_layer(8, 2), transformer_encoder(8, 2, 1)], ids=str
)
def test_masks_of_other_kinds_and_shapes(layer):
    x = ones(2, 3, 8)
    refused(TypeError, lambda: applied(layer, x, mask=ones(2, 3)), "boolean mask (True = use)", "float32", "mask > 0")
    for shape in ((3,), (3, 3), (2, 1), (1, 3), (1, 3, 3), (2, 2, 3, 3)):
        mask = ones(*shape, dtype=bool)
        refused(ValueError, lambda mask=mask: applied(layer, x, mask=mask), "(2, 3)", "(2, 3, 3)", f"got {shape}")
    refused(TypeError, lambda: applied(layer, x, mask=[[True] * 3] * 2), "mask to be an array but got list")


def test_a_mask_of_a_function_may_broadcast_but_not_grow_the_result():
    x = ones(3, 4)
    refused(ValueError, lambda: functional.attention_weights(x, x, ones(2, 3, 3, dtype=bool)), "(3, 3)", "(2, 3, 3)")
    refused(TypeError, lambda: functional.attention_weights(x, x, ones(3, 3, dtype=int)), "boolean mask")


@pytest.mark.parametrize(
    "layer",
    [multi_head_attention(8, 2, dropout=0.1), transformer_encoder_layer(8, 2), transformer_encoder(8, 2, 1)],
    ids=str,
)
def test_training_without_a_key(layer):
    refused(ValueError, lambda: applied(layer, ones(2, 3, 8), train=True), "needs randomness in training", "key=")


def test_params_of_another_layer():
    for layer, x in (
        (multi_head_attention(8, 2), ones(2, 3, 8)),
        (transformer_encoder_layer(8, 2), ones(2, 3, 8)),
        (MODEL, ones(2, 3, dtype=int)),
    ):
        refused(
            ValueError,
            lambda layer=layer, x=x: layer.apply({"weight": ones(8, 8)}, (), x),
            "expected params",
            "own init",
        )
    two, three = transformer_encoder(8, 2, 2, dim_feedforward=4), transformer_encoder(8, 2, 3, dim_feedforward=4)
    refused(ValueError, lambda: three.apply(*two.init(KEY), ones(2, 3, 8)), "tuple of 3 but got a tuple of 2")
    wider = multi_head_attention(16, 2)
    params, state = wider.init(KEY)
    refused(ValueError, lambda: multi_head_attention(8, 2).apply(params, state, ones(2, 3, 8)), "in_weight", "own init")


# Repetition


def test_repeat_of_what_cannot_be_repeated():
    refused(
        ValueError, lambda: applied(repeat(linear(4, 3), 2), ones(2, 4)), "repeat(linear(4, 3), 2)", "(2, 4)", "(2, 3)"
    )
    refused(ValueError, lambda: applied(repeat(lambda x: x > 0, 2), ones(2, 4)), "keep the dtype float32", "bool")
    refused(TypeError, lambda: repeat(embedding, 2), "constructor embedding itself")
    refused(TypeError, lambda: remat(3), "a layer or a function")  # type: ignore
    params, state = repeat(linear(4, 4), 3).init(KEY)
    refused(ValueError, lambda: repeat(linear(4, 4), 2).apply(params, state, ones(2, 4)), "2 copies", "(3, 4)")
