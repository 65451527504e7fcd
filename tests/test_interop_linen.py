"""Our weights as variables of linen: the same numbers there, within 1e-5 of the largest."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import layers, models
from jaxnn.interop.flax_variables import to_linen

TOLERANCE = 1e-5


def drawn(model):
    """Draw params and state at random, also those that begin as ones and zeros."""
    params, state = model.init(jax.random.key(0))
    leaves, structure = jax.tree.flatten((params, state))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [leaf + 0.3 * jnp.abs(jax.random.normal(key, leaf.shape)) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, noisy)


def assert_close(actual, expected):
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_a_sequential_is_an_nn_sequential():
    model = layers.sequential(
        layers.conv2d(2, 4, 3, padding=1, groups=2),
        layers.batch_norm(4),
        jax.nn.relu,
        layers.group_norm(2, 4),
        layers.flatten(),
        layers.linear(80, 6),
        layers.layer_norm(6),
        layers.rms_norm(6),
        layers.linear(6, 3, bias=False),
    )
    twin = nn.Sequential(
        [
            nn.Conv(4, (3, 3), feature_group_count=2),
            nn.BatchNorm(use_running_average=True),
            nn.relu,
            nn.GroupNorm(2, epsilon=1e-5),
            lambda x: x.reshape(len(x), -1),
            nn.Dense(6),
            nn.LayerNorm(epsilon=1e-5),
            nn.RMSNorm(epsilon=2**-23),
            nn.Dense(3, use_bias=False),
        ]
    )
    params, state = drawn(model)
    x = jax.random.normal(jax.random.key(2), (2, 4, 5, 2))
    expected, _ = jax.jit(model.apply)(params, state, x)
    assert_close(jax.jit(twin.apply)(to_linen(params, state, model), x), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "cell"),
    [(layers.rnn, nn.SimpleCell), (layers.lstm, nn.OptimizedLSTMCell), (layers.gru, nn.GRUCell)],
)
def test_recurrent_networks_are_linen_cells(layer, cell):
    model = layers.sequential(layers.embedding(7, 3), layer(3, 4, 2, bidirectional=True))
    params, state = drawn(model)
    tokens = jnp.array([[1, 5, 0, 3], [6, 2, 2, 4]])
    variables = to_linen(params, state, model, names={"0": "tokens", "1": "recurrent"})["params"]
    x = nn.Embed(7, 3).apply({"params": variables["tokens"]}, tokens)

    @jax.jit
    def twin(variables, x):
        for i in range(2):
            ways = variables["recurrent"][f"layers_{i}"]
            parts = [
                nn.RNN(cell(4), reverse=way == "backward", keep_order=True).apply({"params": {"cell": ways[way]}}, x)
                for way in ("forward", "backward")
            ]
            x = jnp.concatenate(parts, -1)
        return x

    expected, _ = jax.jit(model.apply)(params, state, tokens)
    assert_close(twin(variables, x), expected)


def test_attention_is_that_of_linen_cut_by_heads():
    model = layers.multi_head_attention(8, 2)
    params, state = drawn(model)
    variables = to_linen(params, state, model)["params"]
    by_head = {
        name: {"kernel": part["kernel"].reshape(8, 2, 4), "bias": part["bias"].reshape(2, 4)}
        for name, part in variables.items()
        if name != "out"
    }
    by_head["out"] = {"kernel": variables["out"]["kernel"].reshape(2, 4, 8), "bias": variables["out"]["bias"]}
    x = jax.random.normal(jax.random.key(2), (3, 5, 8))
    expected, _ = jax.jit(model.apply)(params, state, x)
    assert_close(jax.jit(nn.MultiHeadDotProductAttention(2).apply)({"params": by_head}, x, x), expected)


def test_names_of_models():
    model = models.transformer_classifier(11, 8, 2, 1, 3, dim_feedforward=12)
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), params)
    variables = to_linen(params, state, model, names={"encoder": "transformer"})
    assert list(variables) == ["params"]
    assert set(variables["params"]) == {"embedding", "positions", "transformer", "classifier"}
    (block,) = variables["params"]["transformer"]["layers"].values()
    assert set(block) == {"attention", "linear1", "linear2", "norm1", "norm2"}
    assert variables["params"]["positions"].shape == (512, 8)

    params, state = drawn(models.perceptron(3))
    kernel = to_linen(params, state, models.perceptron(3))["params"]["kernel"]
    np.testing.assert_array_equal(kernel[:, 0], params["weight"])
