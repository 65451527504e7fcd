"""Norms, embedding, attention and the Transformer against PyTorch: golden/torch_transformer.npz.

Made by golden/make_transformer_golden.py. Errors are relative to the largest entry of an array; two float32 programs
that add in another order differ by units in the last place of that, and 1e-5 is 84 of them. PyTorch gives the same
bits in evaluation and in training with dropout 0, so both of our modes are held against the same arrays.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bits import assert_same_arrays
from regeneration import regenerated

from jaxnn import functional, layers, models, tree
from jaxnn.interop.torch import from_torch, to_torch

FOLDER = Path(__file__).with_name("golden")
GOLDEN = dict(np.load(FOLDER / "torch_transformer.npz"))
TOLERANCE = 1e-5

block = partial(layers.transformer_encoder_layer, 8, 2, dim_feedforward=12)
stack = partial(layers.transformer_encoder, 8, 2, 2, dim_feedforward=12)
classifier = partial(models.transformer_classifier, 11, 8, 2, 2, 3, dim_feedforward=12)
attention = partial(layers.multi_head_attention, 8, 2)

# case -> a function from the dropout rate to the layer
CASES = {
    "layer_norm": lambda rate: layers.layer_norm(6),
    "rms_norm": lambda rate: layers.rms_norm(6),
    "group_norm": lambda rate: layers.group_norm(3, 6),
    "group_norm_features": lambda rate: layers.group_norm(2, 6),
    "group_norm_one_group": lambda rate: layers.group_norm(1, 6),
    "embedding": lambda rate: layers.embedding(7, 4),
    "embedding_with_padding": lambda rate: layers.embedding(7, 4, pad_id=0),
    "attention": lambda rate: attention(dropout=rate),
    "attention_mask": lambda rate: attention(dropout=rate),
    "attention_pairs": lambda rate: attention(dropout=rate),
    "attention_causal": lambda rate: attention(causal=True, dropout=rate),
    "attention_causal_mask": lambda rate: attention(causal=True, dropout=rate),
    "attention_cross": lambda rate: attention(dropout=rate),
    "encoder_layer": lambda rate: block(dropout=rate),
    "encoder_layer_mask": lambda rate: block(dropout=rate),
    "encoder_layer_norm_first": lambda rate: block(dropout=rate, norm_first=True),
    "encoder_layer_gelu": lambda rate: block(dropout=rate, activation=partial(jax.nn.gelu, approximate=False)),
    "encoder": lambda rate: stack(dropout=rate),
    "encoder_norm_first": lambda rate: stack(dropout=rate, norm_first=True),
    "classifier": lambda rate: classifier(dropout=rate),
    "classifier_mask": lambda rate: classifier(dropout=rate, pad_id=0),
}


def under(prefix):
    return {key.removeprefix(f"{prefix}/"): GOLDEN[key] for key in GOLDEN if key.startswith(f"{prefix}/")}


def assert_close(actual, expected, what, scale=None):
    assert actual.shape == expected.shape, what
    assert actual.dtype == expected.dtype, what
    scale = np.abs(expected).max() if scale is None else scale
    assert np.abs(actual - expected).max() <= TOLERANCE * scale, what


def test_every_case_of_the_file_is_compared():
    assert {key.split("/")[0] for key in GOLDEN} - {"torch_version", "attention_weights"} == CASES.keys()


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients(case, train):
    layer = CASES[case](0.0 if train else 0.1)
    parameters = under(f"{case}/parameters")
    params, state = from_torch(parameters, layer)
    assert_same_arrays(to_torch(params, state, layer, like=parameters), parameters)
    given = {name: GOLDEN[f"{case}/inputs/{name}"] for name in ("x", "tokens") if f"{case}/inputs/{name}" in GOLDEN}
    (x,) = given.values()
    x = x.astype(np.int32) if x.dtype == np.int64 else x
    options = {}
    for name in ("steps", "pairs"):
        if f"{case}/inputs/{name}" in GOLDEN:
            options["mask"] = GOLDEN[f"{case}/inputs/{name}"]
    floats = {} if x.dtype == np.int32 else {"x": x}
    if f"{case}/inputs/memory" in GOLDEN:
        floats["memory"] = GOLDEN[f"{case}/inputs/memory"]

    @jax.jit
    def outputs_and_gradients(params, floats, cotangent):
        def forward(params, floats):
            rest = {name: value for name, value in floats.items() if name != "x"}
            return layer.apply(params, state, floats.get("x", x), train=train, **rest, **options)[0]

        y, backward = jax.vjp(forward, params, floats)
        return y, *backward(cotangent)

    y, gradients, input_gradients = outputs_and_gradients(params, floats, GOLDEN[f"{case}/cotangent"])
    assert_close(y, GOLDEN[f"{case}/output"], "output")
    for name, value in input_gradients.items():
        assert_close(value, GOLDEN[f"{case}/input_gradients/{name}"], f"gradient of {name}")
    expected = tree.paths(from_torch(under(f"{case}/gradients"), layer)[0])
    largest = max(np.abs(leaf).max() for leaf in expected.values())
    for path, gradient in tree.paths(gradients).items():
        # Adding one vector to all keys changes no softmax: the bias of the keys has gradient zero and both sides
        # compute rounding error, so it is compared on the scale of the largest gradient of the network.
        if path.endswith("in_bias"):
            size = len(gradient) // 3
            assert np.abs(gradient[size : 2 * size]).max() <= TOLERANCE * largest
            gradient, theirs = (np.delete(g, np.s_[size : 2 * size]) for g in (gradient, expected[path]))
            assert_close(gradient, theirs, path)
        else:
            assert_close(gradient, expected[path], path)


def test_attention_weights_of_each_head():
    params, _ = from_torch(under("attention_weights/parameters"), attention())
    x, steps = GOLDEN["attention_weights/inputs/x"], GOLDEN["attention_weights/inputs/steps"]
    weights = functional.multi_head_weights(x, x, params, 2, jnp.asarray(steps)[:, None])
    assert_close(weights, GOLDEN["attention_weights/output"], "weights")
    assert (np.asarray(weights)[~np.broadcast_to(steps[:, None, None], weights.shape)] == 0).all()


def test_the_file_is_what_pytorch_computes_here():
    fresh = regenerated("make_transformer_golden", GOLDEN)
    for key in fresh.keys() - {"torch_version"}:
        expected = GOLDEN[key].astype(np.float32)
        assert np.abs(fresh[key].astype(np.float32) - expected).max() <= TOLERANCE * max(1, np.abs(expected).max()), key
