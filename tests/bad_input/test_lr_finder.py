"""What a user gets for learning rates, data and optimizers that no training can be made of."""

from typing import Any

import jax
import numpy as np
import pytest
from refusal import refused

from jaxnn.data import Dataset
from jaxnn.layers import linear
from jaxnn.losses import softmax_cross_entropy
from jaxnn.optimizers import adam
from jaxnn.training.lr_finder import lr_finder, ramp

X = np.ones((6, 4), np.float32)
Y = np.arange(6, dtype=np.int32) % 3
DATA = Dataset(X, Y)
MODEL = linear(4, 3)


def called(
    function, model: Any = MODEL, loss: Any = softmax_cross_entropy, optimizer=adam, data: Any = DATA, **options
):
    return lambda: function(model, loss, optimizer, data, **options)


def test_bad_rates():
    def refuses(error, rates, *words):
        refused(error, called(lr_finder, rates=rates), "lr_finder", *words)

    refuses(ValueError, [0.1], "at least two", "[0.1]")
    refuses(ValueError, [], "at least two")
    refuses(ValueError, [0.1, 0.01], "increase")
    refuses(ValueError, [0.1, 0.1], "increase")
    refuses(ValueError, [0.0, 0.1], "rates[0]", "0.0")
    refuses(ValueError, [0.1, -1.0], "rates[1]", "-1.0")
    refuses(ValueError, [0.1, float("nan")], "rates[1]", "nan")
    refuses(ValueError, [0.1, float("inf")], "rates[1]", "inf")
    refuses(TypeError, 0.1, "list of learning rates", "0.1")
    refuses(TypeError, "0.1", "list of learning rates")
    refuses(TypeError, np.ones((2, 2)), "list of learning rates")
    refuses(TypeError, [0.1, "0.2"], "rates[1]")


@pytest.mark.parametrize("function", [lr_finder, ramp])
def test_bad_models_losses_optimizers_and_data(function):
    name = function.__name__
    refused(TypeError, called(function, model=linear), name, "constructor linear itself")
    refused(TypeError, called(function, loss="mse"), name, "loss to be a function")
    refused(TypeError, called(function, optimizer=adam(0.1)), name, "make_optimizer", "such as adam", "an optimizer")
    refused(TypeError, called(function, optimizer="adam"), name, "make_optimizer", "'adam'")
    refused(TypeError, called(function, optimizer=lambda rate: rate), name, "expected an optimizer")
    refused(TypeError, called(function, optimizer=lambda rate: adam), name, "adam itself", "call it")
    refused(TypeError, called(function, data=(X, Y)), name, "expected a Dataset but got tuple")
    refused(ValueError, called(function, data=Dataset(X[:0], Y[:0])), name, "empty dataset")
    refused(ValueError, called(function, data=Dataset(X, Y + 1)), name, "targets[2] is 3")
    refused(ValueError, called(function, model=jax.nn.relu), "no parameters")
    refused(ValueError, called(function, data=Dataset(X[:, :2], Y)), "linear(4, 3) expected x of shape [..., 4]")


@pytest.mark.parametrize("function", [lr_finder, ramp])
def test_bad_options(function):
    name = function.__name__
    refused(ValueError, called(function, steps=0), name, "steps", "0")
    refused(TypeError, called(function, batch_size=1.5), name, "batch_size", "1.5")
    refused(ValueError, called(function, seed=-1), "seed", "-1")
    refused(TypeError, called(function, init=0), name, "init", "0")


def test_bad_ramps():
    refused(ValueError, called(ramp, low=0.0), "ramp expected low")
    refused(ValueError, called(ramp, high=float("inf")), "ramp expected high")
    refused(ValueError, called(ramp, low=1.0, high=0.1), "ramp expected low < high", "0.1")
    refused(ValueError, called(ramp, steps=1), "ramp", "at least two steps", "1 steps")
