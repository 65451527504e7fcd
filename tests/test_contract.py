"""The contract of DESIGN: what every layer must do under every transformation. A new layer joins by one line."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.layers import (
    adaptive_average_pool2d,
    average_pool2d,
    batch_norm,
    conv1d,
    conv2d,
    dropout,
    embedding,
    flatten,
    global_max_pool,
    group_norm,
    gru,
    layer_norm,
    learned_positions,
    linear,
    lstm,
    max_pool2d,
    multi_head_attention,
    normalize,
    remat,
    repeat,
    residual,
    rms_norm,
    rnn,
    sequential,
    sinusoidal_positions,
    transformer_encoder,
    transformer_encoder_layer,
)
from jaxnn.models import cnn, lstm_classifier, mlp, transformer_classifier
from jaxnn.types import Layer

BATCH = 6


def on_tokens(layer):
    """Let a layer over integers take x [..., T, 3]: a token is the three signs as bits, which no rounding changes."""

    def apply(params, state, x, /, *, key=None, train=False):
        tokens = ((x > 0) * jnp.array([4, 2, 1])).sum(-1)
        y, state = layer.apply(params, state, tokens, key=key, train=train)
        return y.astype(x.dtype), state

    return Layer(layer.init, apply, layer.name)


# name -> (layer, shape of one example)
LAYERS = {
    "linear": (linear(4, 3), (4,)),
    "linear without bias": (linear(4, 3, bias=False), (4,)),
    "linear on sequences": (linear(4, 3), (5, 4)),
    "flatten": (flatten(), (2, 3)),
    "dropout": (dropout(0.4), (5,)),
    "normalize": (normalize((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)), (2, 3)),
    "batch_norm": (batch_norm(4), (4,)),
    "batch_norm on images": (batch_norm(2), (3, 3, 2)),
    "sequential": (sequential(linear(4, 6), batch_norm(6), jnp.tanh, dropout(0.2), linear(6, 2)), (4,)),
    "residual": (residual(sequential(linear(4, 4), jnp.tanh, dropout(0.1))), (4,)),
    "mlp": (mlp((12, 8, 3), dropout=0.2, activation=jnp.tanh), (2, 3, 2)),
    "mlp with batch norm": (mlp((4, 8, 3), batch_norm=True, dropout=0.1, activation=jnp.tanh), (4,)),
    "layer_norm": (layer_norm(4), (5, 4)),
    "rms_norm": (rms_norm(4), (5, 4)),
    "group_norm": (group_norm(2, 4), (3, 2, 4)),
    "embedding": (on_tokens(embedding(8, 4)), (5, 3)),
    "learned_positions": (learned_positions(6, 4), (5, 4)),
    "sinusoidal_positions": (sinusoidal_positions(4), (5, 4)),
    "multi_head_attention": (multi_head_attention(4, 2, causal=True, dropout=0.1), (5, 4)),
    "transformer_encoder_layer": (
        transformer_encoder_layer(4, 2, dim_feedforward=6, activation=jnp.tanh),
        (5, 4),
    ),
    "transformer_encoder, norm first": (
        transformer_encoder(4, 2, 2, dim_feedforward=6, activation=jnp.tanh, norm_first=True),
        (3, 4),
    ),
    "transformer_classifier": (
        on_tokens(transformer_classifier(8, 4, 2, 1, 3, dim_feedforward=6, activation=jnp.tanh, pad_id=0)),
        (5, 3),
    ),
    "rnn": (rnn(4, 3), (5, 4)),
    "lstm of two layers": (lstm(4, 3, 2, dropout=0.2), (5, 4)),
    "gru in both directions": (gru(4, 3, bidirectional=True), (5, 4)),
    "lstm_classifier": (on_tokens(lstm_classifier(4, 5, 1, 3, vocabulary_size=9, pad_id=8)), (5, 3)),
    "conv2d": (conv2d(4, 2, 3, stride=2, padding=1, groups=2), (4, 3, 4)),
    "conv1d": (conv1d(2, 3, 2, dilation=2, bias=False), (5, 2)),
    "max_pool2d": (max_pool2d((3, 2), stride=2, padding=1), (4, 4, 2)),
    "max_pool2d without overlap": (max_pool2d((2, 3)), (5, 7, 2)),
    "average, adaptive and global pools": (
        sequential(
            linear(2, 2),
            average_pool2d(2, padding=1, count_padding=False),
            adaptive_average_pool2d(2),
            global_max_pool(),
        ),
        (4, 5, 2),
    ),
    "cnn": (cnn(3, channels=(2, 3), hidden=4, dropout=0.2), (4, 5, 1)),
    "repeat": (repeat(residual(sequential(linear(4, 4), batch_norm(4), jnp.tanh, dropout(0.1))), 3), (4,)),
    "repeat of remat": (repeat(remat(residual(sequential(linear(4, 4), jnp.tanh, dropout(0.1)))), 3), (4,)),
}


# What is built of the other layers, and takes the longest.
COMPOSED = {
    *(
        "cnn",
        "transformer_classifier",
        "transformer_encoder_layer",
        "transformer_encoder, norm first",
        "lstm_classifier",
        "mlp with batch norm",
    ),
    *("average, adaptive and global pools", "repeat of remat", "repeat", "multi_head_attention"),
    *("gru in both directions", "mlp", "lstm of two layers"),
}
CASES = [pytest.param(name, marks=pytest.mark.slow) if name in COMPOSED else name for name in LAYERS]


@pytest.fixture(params=CASES, name="case")
def _case(request):
    layer, shape = LAYERS[request.param]
    params, state = layer.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (BATCH, *shape))
    return layer, params, state, x


def dtypes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def bits_equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: np.array_equal(x, y, equal_nan=True), a, b)))


def scalar(layer, params, state, x, key):
    y, _ = layer.apply(params, state, x, key=key, train=True)
    return jnp.sin(y).sum()


def test_init_takes_one_key_and_maps_over_an_ensemble(case):
    layer, params, state, x = case
    many = jax.vmap(layer.init)(jax.random.split(jax.random.key(0), 3))
    assert dtypes(jax.tree.map(lambda leaf: leaf[0], many)) == dtypes((params, state))
    predict = jax.jit(lambda member: layer.apply(*member, x)[0])
    if not jax.tree.leaves(many):
        return
    y = jax.jit(jax.vmap(predict))(many)
    np.testing.assert_allclose(y[1], predict(jax.tree.map(lambda leaf: leaf[1], many)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_compute_follows_x_and_params_and_state_keep_their_dtype(case, dtype):
    layer, params, state, x = case
    apply = jax.jit(partial(layer.apply, key=jax.random.key(2), train=True))
    y, new_state = apply(params, state, x.astype(dtype))
    assert y.dtype == dtype
    assert dtypes(new_state) == dtypes(state)
    assert jax.tree.structure(new_state) == jax.tree.structure(state)
    y32, _ = apply(params, state, x)
    # bfloat16 keeps 8 bits: a few roundings of values of order 1.
    np.testing.assert_allclose(y.astype(jnp.float32), y32, rtol=0.05, atol=0.1)


def test_evaluation_needs_no_key_and_leaves_the_state_alone(case):
    layer, params, state, x = case
    y, new_state = jax.jit(layer.apply)(params, state, x)
    assert bits_equal(new_state, state)
    again, _ = jax.jit(partial(layer.apply, key=jax.random.key(9)))(params, state, x)
    assert bits_equal(y, again)
    assert y.shape[0] == BATCH


def test_evaluation_treats_each_example_alone(case):
    layer, params, state, x = case
    y, _ = jax.jit(layer.apply)(params, state, x)
    one, _ = jax.jit(layer.apply)(params, state, x[2:3])
    np.testing.assert_allclose(y[2:3], one, rtol=1e-5, atol=1e-6)


def test_same_key_same_bits_and_jit_agrees(case):
    layer, params, state, x = case
    apply = partial(layer.apply, key=jax.random.key(3), train=True)
    assert bits_equal(apply(params, state, x), apply(params, state, x))
    eager, compiled = apply(params, state, x), jax.jit(apply)(params, state, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), eager, compiled)


def test_first_and_second_derivatives_against_central_differences_in_float64(case):
    layer, params, state, x = case
    with jax.enable_x64(True):
        params, state, x, u, v = jax.tree.map(
            lambda leaf: jnp.asarray(leaf, jnp.float64),
            (params, state, x, direction(200, (params, x)), direction(300, (params, x))),
        )
        # The key is fixed, so dropout drops the same elements at every point and the function is smooth.
        f = lambda at: scalar(layer, at[0], state, at[1], jax.random.key(4))  # noqa: E731
        along = lambda f, t: jax.jvp(f, (t,), (u,))[1]  # noqa: E731

        @jax.jit
        def derivatives(point):
            moved = lambda e: jax.tree.map(lambda p, d: p + e * d, point, v)  # noqa: E731
            h = 1e-5
            central = (f(moved(h)) - f(moved(-h))) / (2 * h)
            central_2 = (along(f, moved(h)) - along(f, moved(-h))) / (2 * h)
            reverse = jax.tree.reduce(jnp.add, jax.tree.map(jnp.vdot, jax.grad(f)(point), v))
            forward = jax.jvp(f, (point,), (v,))[1]
            second = jax.jvp(lambda t: along(f, t), (point,), (v,))[1]
            return (central, central_2), (reverse, forward, second)

        (central, central_2), (reverse, forward, second) = derivatives((params, x))
    # Central differences err by h**2 = 1e-10 of the third derivative and by 1e-16 / h of the value.
    np.testing.assert_allclose([reverse, forward], [central, central], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(second, central_2, rtol=1e-6, atol=1e-6)


def direction(seed, tree):
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(
        structure, [jax.random.normal(jax.random.key(seed + i), leaf.shape) for i, leaf in enumerate(leaves)]
    )


def test_jvp_of_grad_and_grad_of_grad(case):
    layer, params, state, x = case
    f = lambda x: scalar(layer, params, state, x, jax.random.key(5))  # noqa: E731
    v = jax.random.normal(jax.random.key(6), x.shape)
    _, forward_over_reverse = jax.jit(lambda x: jax.jvp(jax.grad(f), (x,), (v,)))(x)
    reverse_over_reverse = jax.jit(jax.grad(lambda x: jnp.vdot(jax.grad(f)(x), v)))(x)
    np.testing.assert_allclose(forward_over_reverse, reverse_over_reverse, rtol=1e-4, atol=1e-5)


def test_per_example_gradients_add_up_to_the_gradient_of_the_sum(case):
    layer, params, state, x = case
    if not jax.tree.leaves(params):
        params = {"unused": jnp.zeros(())}
        f = lambda p, x: jnp.sin(layer.apply((), state, x)[0]).sum() + 0 * p["unused"]  # noqa: E731
    else:
        f = lambda p, x: jnp.sin(layer.apply(p, state, x)[0]).sum()  # noqa: E731
    each = jax.jit(jax.vmap(jax.grad(f), in_axes=(None, 0)))(params, x[:, None])
    together = jax.jit(jax.grad(f))(params, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a.sum(0), b, rtol=1e-4, atol=1e-4), each, together)


def test_random_bits_do_not_depend_on_vmap(case):
    layer, params, state, x = case
    keys = jax.random.split(jax.random.key(7), 3)
    apply = lambda key: layer.apply(params, state, x, key=key, train=True)[0]  # noqa: E731
    mapped, single = jax.jit(jax.vmap(apply))(keys), jax.jit(apply)
    for i in range(3):
        np.testing.assert_allclose(mapped[i], single(keys[i]), rtol=1e-5, atol=1e-5)


def test_trains_inside_a_loop(case):
    layer, params, state, x = case

    def loss(params, state, i):
        y, state = layer.apply(params, state, x, key=jax.random.fold_in(jax.random.key(8), i), train=True)
        return (y**2).mean(), state

    def body(i, carry):
        grads, state = jax.grad(loss, has_aux=True)(*carry, i)
        return jax.tree.map(lambda p, g: p - 0.01 * g, carry[0], grads), state

    params_after, state_after = jax.jit(lambda c: jax.lax.fori_loop(0, 3, body, c))((params, state))
    assert dtypes(params_after) == dtypes(params)
    assert dtypes(state_after) == dtypes(state)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((params_after, state_after)))
