"""What a user gets for per-example gradients, influence, sharpness and landscapes of what has none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusal import refused

from jaxnn.data import Dataset
from jaxnn.layers import linear
from jaxnn.losses import softmax_cross_entropy
from jaxnn.training.landscape import filter_normalized, landscape, random_directions
from jaxnn.training.per_example import (
    gradient_noise_scale,
    gradient_norms,
    influence,
    per_example_gradients,
    self_influence,
)
from jaxnn.training.sharpness import hessian_vector_product, sharpness

X = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
Y = np.arange(6, dtype=np.int32) % 3
DATA = Dataset(X, Y)
MODEL = linear(4, 3)
PARAMS = {"weight": np.ones((4, 3), np.float32), "bias": np.zeros(3, np.float32)}
KEY = jax.random.key(0)

# name -> function(model, loss, params, state, dataset)
FUNCTIONS = {
    "per_example_gradients": per_example_gradients,
    "gradient_norms": gradient_norms,
    "gradient_noise_scale": gradient_noise_scale,
    "self_influence": lambda m, loss, p, s, data: self_influence(m, loss, [(p, s)], [0.1], data),
    "influence": lambda m, loss, p, s, data: influence(m, loss, [(p, s)], [0.1], data, DATA),
    "influence, on,": lambda m, loss, p, s, data: influence(m, loss, [(p, s)], [0.1], DATA, data),
    "hessian_vector_product": lambda m, loss, p, s, data: hessian_vector_product(m, loss, p, s, data, p),
    "sharpness": lambda m, loss, p, s, data: sharpness(m, loss, p, s, data, key=KEY),
    "landscape": lambda m, loss, p, s, data: landscape(m, loss, p, s, data, [p]),
}

BAD = {
    "empty": (Dataset(X[:0], Y[:0]), ValueError, ("empty dataset", "(0, 4)")),
    "a tuple": ((X, Y), TypeError, ("expected a Dataset but got tuple",)),
    "unequal": (Dataset(X, Y[:3]), ValueError, ("3 targets for 6 inputs",)),
    "label 3": (Dataset(X, Y + 1), ValueError, ("labels in 0..2", "targets[2] is 3")),
    "weights": (Dataset(X, Y, np.zeros(6, np.float32)), ValueError, ("weights", "not all zero")),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("case", BAD)
def test_bad_data(function, case):
    data, error, words = BAD[case]
    refused(error, lambda: FUNCTIONS[function](MODEL, softmax_cross_entropy, PARAMS, (), data), function, *words)


@pytest.mark.parametrize("function", [name for name in FUNCTIONS if name != "influence, on,"])
def test_bad_models_losses_and_parameters(function):
    def called(model=MODEL, loss=softmax_cross_entropy, params=PARAMS, data=DATA):
        return lambda: FUNCTIONS[function](model, loss, params, (), data)

    refused(TypeError, called(model=linear), function, "constructor linear itself")
    refused(TypeError, called(loss="mse"), function, "loss to be a function")
    refused(ValueError, called(model=jnp.tanh, params=()), function, "nothing to train")
    refused(TypeError, called(params=jax.tree.map(lambda leaf: leaf.astype(int), PARAMS)), function, "floats", "bias")
    refused(TypeError, called(data=Dataset(X.astype(np.uint8), Y)), "linear(4, 3) expected floats", "normalize")
    refused(ValueError, called(data=Dataset(X[:, :2], Y)), "linear(4, 3) expected x of shape [..., 4]")
    refused(ValueError, called(loss=lambda p, t: softmax_cross_entropy(p, t).mean()), "one value per example", "()")
    refused(TypeError, called(loss=lambda p, t: p.argmax(-1)), "expected to return floats")


def test_a_single_example_has_no_variance():
    one = Dataset(X[:1], Y[:1])
    refused(
        ValueError, lambda: gradient_noise_scale(MODEL, softmax_cross_entropy, PARAMS, (), one), "at least two", "got 1"
    )


@pytest.mark.parametrize("function", [self_influence, influence])
def test_checkpoints_and_their_learning_rates(function):
    last = () if function is self_influence else (DATA,)

    def called(checkpoints, rates):
        return lambda: function(MODEL, softmax_cross_entropy, checkpoints, rates, DATA, *last)

    name = function.__name__
    refused(ValueError, called([], []), name, "at least one checkpoint")
    refused(ValueError, called([(PARAMS, ())], [0.1, 0.2]), name, "1 checkpoints and 2 learning rates")
    refused(TypeError, called(PARAMS, [0.1]), name, "[(params, state), ...]", "dict")
    refused(TypeError, called([PARAMS["bias"]], [0.1]), name, "[(params, state), ...]")
    refused(TypeError, called([(PARAMS, ())], 0.1), name, "learning_rates", "0.1")
    refused(ValueError, called([(PARAMS, ())], [-1.0]), name, "learning_rates", "-1.0")
    refused(ValueError, called([(PARAMS, ())], [float("nan")]), name, "learning_rates", "nan")


def test_options_of_sharpness():
    def called(**options):
        return lambda: sharpness(MODEL, softmax_cross_entropy, PARAMS, (), DATA, **{"key": KEY} | options)

    refused(TypeError, called(key=0), "sharpness expected a key", "jax.random.key(0)")
    refused(ValueError, called(steps=0), "sharpness expected steps", "got 0")
    refused(ValueError, called(tolerance=0.0), "sharpness expected tolerance in (0, 1)")
    vector = PARAMS | {"bias": np.zeros(1, np.float32)}
    refused(
        ValueError,
        lambda: hessian_vector_product(MODEL, softmax_cross_entropy, PARAMS, (), DATA, vector),
        "hessian_vector_product expected vector of shape (3,) at bias but got (1,)",
    )


def test_options_of_landscape():
    def called(directions=(PARAMS,), **options):
        return lambda: landscape(MODEL, softmax_cross_entropy, PARAMS, (), DATA, directions, **options)

    refused(ValueError, called(()), "landscape expected one or two directions", "0")
    refused(ValueError, called((PARAMS,) * 3), "landscape expected one or two directions", "3")
    refused(ValueError, called(PARAMS), "landscape expected one or two directions", "dict")
    refused(ValueError, called([{"weight": PARAMS["weight"]}]), "landscape expected directions[0]", "bias")
    refused(ValueError, called(points=4), "landscape expected points to be odd", "4")
    refused(ValueError, called(points=1), "landscape expected points to be odd", "1")
    refused(ValueError, called(span=0.0), "landscape expected span")
    refused(ValueError, lambda: random_directions(KEY, PARAMS, 0), "random_directions expected count")
    refused(TypeError, lambda: random_directions(0, PARAMS), "random_directions expected a key")
    refused(ValueError, lambda: random_directions(KEY, ()), "random_directions", "nothing to train")
    refused(ValueError, lambda: filter_normalized({"w": np.ones(2)}, PARAMS), "filter_normalized expected direction")
