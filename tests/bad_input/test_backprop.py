"""What a user gets for networks, pairs and targets that the hand-written backward pass cannot take."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusal import refused

from jaxnn.activations import identity, relu, sigmoid, softmax
from jaxnn.backprop import backward, forward, trace
from jaxnn.losses import (
    binary_cross_entropy,
    categorical_cross_entropy,
    mean_absolute_error,
    mean_squared_error,
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy,
)
from jaxnn.models import mlp

PARAMS = mlp((4, 5, 3)).init(jax.random.key(0))[0]
X, Y = np.ones((6, 4), np.float32), np.ones((6, 3), np.float32)
SOFTMAX = {"output": softmax, "loss": categorical_cross_entropy}
MSE = {"output": identity, "loss": mean_squared_error}


@pytest.mark.parametrize(
    ("output", "loss"),
    [
        (sigmoid, mean_squared_error),
        (softmax, binary_cross_entropy),
        (identity, mean_absolute_error),
        (identity, softmax_cross_entropy),
        (sigmoid, sigmoid_binary_cross_entropy),
        (jax.nn.softmax, categorical_cross_entropy),
        (relu, mean_squared_error),
    ],
)
def test_another_pair_is_refused_with_the_reason(output, loss):
    for function in (backward, trace):
        words = ("(sigmoid, binary_cross_entropy)", "(softmax, categorical_cross_entropy)", "cancel", "jax.grad")
        call = partial(function, PARAMS, X, Y, output=output, loss=loss)
        refused(ValueError, call, function.__name__, f"got ({output.__name__}, {loss.__name__})", *words)


def test_a_hidden_activation_without_a_known_derivative():
    for hidden in (jnp.sin, jax.nn.relu, softmax, lambda z: z):
        call = partial(backward, PARAMS, X, Y, hidden=hidden)
        refused(ValueError, call, "backward", "jaxnn.activations", "relu", hidden.__name__, "hidden_derivative")
    refused(TypeError, partial(backward, PARAMS, X, Y, hidden_derivative=1.0), "hidden_derivative to be a function")
    refused(TypeError, partial(forward, PARAMS, X, hidden="relu"), "forward", "hidden to be a function", "'relu'")
    refused(TypeError, partial(backward, PARAMS, X, Y, output=None), "output to be a function")


def test_functions_that_do_not_act_element_by_element():
    words = ("expected sum to keep the shape (6, 5) of z but it gave ()", "element by element")
    refused(ValueError, partial(forward, PARAMS, X, hidden=jnp.sum), "forward", *words)
    refused(ValueError, partial(backward, PARAMS, X, Y, hidden_derivative=jnp.sum), "backward", *words)


@pytest.mark.parametrize("function", [forward, lambda params, x: backward(params, x, Y), lambda p, x: trace(p, x, Y)])
def test_params_of_another_form(function):
    call = partial(partial, function)
    layer = {"weight": np.ones((4, 3), np.float32), "bias": np.zeros(3, np.float32)}
    refused(ValueError, call(layer, X), "params to be a tuple", "dict")
    refused(ValueError, call([layer], X), "params to be a tuple", "list")
    refused(ValueError, call(((), ()), X), "at least one linear layer")
    refused(ValueError, call((layer, ({},)), X), "layer 1", "tuple")
    refused(ValueError, call(({"weight": layer["weight"]},), X), "layer 0", "['weight']", "batch_norm")
    refused(ValueError, call(mlp((4, 5, 3), batch_norm=True).init(jax.random.key(0))[0], X), "layer 1", "'scale'")
    refused(ValueError, call(PARAMS, X[:, :3]), "layer 0", "(3, 5)", "(4, 5)")
    refused(ValueError, call((layer, layer), X), "layer 1", "(3, 3)", "(4, 3)")
    refused(ValueError, call((layer | {"bias": np.zeros(1, np.float32)},), X), "layer 0", "(3,)", "(1,)")


def test_inputs():
    refused(TypeError, partial(backward, PARAMS, X.astype(int), Y), "backward", "expected floats", "normalize")
    refused(TypeError, partial(forward, PARAMS, X.tolist()), "forward", "x to be an array", "list")
    refused(ValueError, partial(forward, PARAMS, X[0]), "forward", "x of shape [B, ...]", "x[None]")
    refused(ValueError, partial(backward, PARAMS, X[:0], Y[:0]), "backward", "empty batch", "(0, 4)")


@pytest.mark.parametrize("jit", [False, True])
def test_targets(jit):
    def call(x, y, options):
        function = partial(backward, **options)
        return partial(jax.jit(function) if jit else function, PARAMS, x, y)

    for options in ({}, MSE):
        words = ("backward expected targets of the shape of outputs (6, 3)",)
        refused(ValueError, call(X, Y[:, 0], options), *words, "(6,)")
        refused(ValueError, call(X, Y[:, :1], options), *words, "(6, 1)")
        refused(ValueError, call(X, Y[:5], options), *words, "(5, 3)")
    refused(TypeError, call(X, Y.astype(np.int32), MSE), "backward expected float targets", "int32")
    refused(TypeError, call(X, Y[:, 0], SOFTMAX), "backward expected integer labels", "float32", "astype('int32')")
    refused(ValueError, call(X, Y.astype(np.int32), SOFTMAX), "backward expected labels of shape (6,)", "argmax(-1)")
    refused(ValueError, call(X, Y[:, :2], SOFTMAX), "soft targets of the shape of outputs (6, 3)", "(6, 2)")


def test_values_of_targets():
    refused(ValueError, partial(backward, PARAMS, X, 2 * Y), "backward expected targets in [0, 1]", "targets[0, 0]")
    refused(ValueError, partial(backward, PARAMS, X, 2 * Y, **SOFTMAX), "backward expected soft targets in [0, 1]")
    bad = jax.jit(backward)(PARAMS, X, 2 * Y)
    assert all(jnp.isnan(leaf).all() for leaf in jax.tree.leaves(bad[-1]))
    for labels in (np.array([0, 1, 2, 3, 0, 0]), np.array([0, 1, 2, -1, 0, 0])):
        bad = backward(PARAMS, X, labels, **SOFTMAX)
        assert all(jnp.isnan(leaf).all() for leaf in jax.tree.leaves(bad[-1]))
