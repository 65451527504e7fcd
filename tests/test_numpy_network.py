"""The guide's network in NumPy: gradients against central differences and jax.grad, optimizers against PyTorch.

Errors are relative to the largest entry of an array. float32: 1e-5 is 84 roundings. Central differences in float64 with
a step of 1e-6 are good to 1e-7.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import numpy_network
from jaxnn import activations, losses
from jaxnn.models import mlp

GOLDEN = dict(np.load(Path(__file__).with_name("golden") / "torch_optimizers.npz"))
LEAVES = ("0.weight", "0.bias", "1.scale", "1.shift", "1.still")
# (sizes, the output function, the loss over probabilities, jaxnn's loss from logits)
BINARY = (numpy_network.sigmoid, numpy_network.binary_cross_entropy, losses.sigmoid_binary_cross_entropy)
CLASSES = (numpy_network.softmax, numpy_network.categorical_cross_entropy, losses.softmax_cross_entropy)
CASES = [((2, 4, 1), *BINARY), ((6, 5, 3), *BINARY), ((12, 16, 8, 5), *CLASSES), ((3, 2), *CLASSES)]


def error(actual, expected):
    return np.abs(np.asarray(actual) - expected).max() / np.abs(expected).max()


def problem(sizes, output, *, seed=0, batch=9):
    rng = np.random.default_rng(seed)
    network, x = numpy_network.make(sizes, rng), rng.standard_normal((batch, sizes[0]), np.float32)
    network.parameters[...] += rng.normal(0, 0.1, network.parameters.shape).astype(np.float32)  # biases that are not 0
    if output is numpy_network.softmax:
        return network, x, rng.integers(0, sizes[-1], batch)
    return network, x, rng.integers(0, 2, (batch, sizes[-1])).astype(np.float32)


def gradient_of(layers, sizes, x, targets, output):
    """Return the flat gradient in the dtype of the layers."""
    flat = np.zeros(sum(w.size + b.size for w, b in layers), layers[0][0].dtype)
    kept = numpy_network.forward(layers, x, output)
    numpy_network.backward(layers, numpy_network.views(flat, sizes), *kept, targets)
    return flat


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("sizes", "output", "loss", "from_logits"), CASES)
def test_gradient_is_that_of_jax(sizes, output, loss, from_logits, seed):
    network, x, targets = problem(sizes, output, seed=seed)
    model = mlp(sizes)
    params = [()]
    for weight, bias in network.layers:
        params += [{"weight": jnp.array(weight), "bias": jnp.array(bias)}, ()]
    params = tuple(params[:-1])

    def mean_loss(params):
        return from_logits(model.apply(params, tuple(() for _ in params), jnp.asarray(x))[0], targets).mean()

    value, expected = jax.value_and_grad(mean_loss)(params)
    predictions = numpy_network.predict(network.layers, x, output)
    assert predictions.dtype == np.float32
    assert abs(loss(predictions, targets) - value) <= 1e-5 * value
    actual = gradient_of(network.layers, sizes, x, targets, output)
    assert actual.dtype == np.float32
    for i, ((weight, bias), theirs) in enumerate(
        zip(numpy_network.views(actual, sizes), filter(None, expected), strict=True)
    ):
        assert error(weight, theirs["weight"]) <= 1e-5, f"weight {i}"
        assert error(bias, theirs["bias"]) <= 1e-5, f"bias {i}"


@pytest.mark.parametrize(("sizes", "output", "loss", "from_logits"), CASES)
def test_gradient_is_the_central_difference_in_float64(sizes, output, loss, from_logits):
    network, x, targets = problem(sizes, output)
    flat, x = network.parameters.astype(np.float64), x.astype(np.float64)
    layers = numpy_network.views(flat, sizes)
    pre_activations, _ = numpy_network.forward(layers, x, output)
    # A kink of ReLU between the two points would spoil the difference; a step of 1e-6 moves no z by 1e-4.
    assert all(np.abs(z).min() > 1e-4 for z in pre_activations[:-1])
    actual, expected = gradient_of(layers, sizes, x, targets, output), np.zeros_like(flat)
    for i, value in enumerate(flat.copy()):
        ends = []
        for flat[i] in (value + 1e-6, value - 1e-6):
            ends.append(loss(numpy_network.predict(layers, x, output), targets))
        flat[i] = value
        expected[i] = (ends[0] - ends[1]) / 2e-6
    assert error(actual, expected) <= 1e-7


def test_the_guide_drops_a_factor_that_is_one_for_one_output():
    for sizes in ((2, 4, 1), (2, 4, 3)):
        network, x, y = problem(sizes, numpy_network.sigmoid)
        _, kept = numpy_network.forward(network.layers, x, numpy_network.sigmoid)
        guide = (kept[-1] - y) / len(x)
        assert error(numpy_network.output_delta(kept[-1], y) * sizes[-1], guide) <= 1e-6


def test_forward_keeps_what_predict_computes():
    network, x, _ = problem((12, 16, 8, 5), numpy_network.softmax)
    pre_activations, kept = numpy_network.forward(network.layers, x, numpy_network.softmax)
    assert [z.shape for z in pre_activations] == [(9, 16), (9, 8), (9, 5)]
    assert kept[0] is x
    assert all((a == np.maximum(z, 0)).all() for z, a in zip(pre_activations[:-1], kept[1:-1], strict=True))
    np.testing.assert_array_equal(kept[-1], numpy_network.predict(network.layers, x, numpy_network.softmax))


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "sigmoid", "softmax"])
def test_activations_are_those_of_jaxnn_and_stay_finite(name):
    ends = np.array([[-1e4, -100, -50, -1, 0], [0, 1, 50, 100, 1e4]], np.float32)
    inputs = np.concatenate([ends, np.random.default_rng(0).normal(0, 3, (50, 5)).astype(np.float32)])
    before = inputs.copy()
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        actual = getattr(numpy_network, name)(inputs)
    assert actual.dtype == np.float32
    np.testing.assert_array_equal(inputs, before)
    # Sigmoid by tanh is good to a rounding of 1, 6e-8, and not of its own small values.
    np.testing.assert_allclose(actual, getattr(activations, name)(jnp.asarray(inputs)), rtol=1e-6, atol=1.2e-7)


def test_losses_of_certain_and_wrong_predictions_are_finite():
    p, y = np.array([[0.0], [1.0]], np.float32), np.array([[1.0], [0.0]], np.float32)
    largest = -np.log(np.finfo(np.float32).eps)
    assert abs(numpy_network.binary_cross_entropy(p, y) - largest) < 1e-3
    assert abs(numpy_network.categorical_cross_entropy(np.eye(2, dtype=np.float32), np.array([1, 0])) - largest) < 1e-3


@pytest.mark.parametrize(
    ("case", "update"),
    [
        ("sgd", numpy_network.gradient_descent(0.1)),
        ("momentum", numpy_network.momentum(0.05)),
        ("adam", numpy_network.adam(0.01)),
        ("adam_other_options", numpy_network.adam(0.01, 0.5, 0.9, 1e-3)),
    ],
)
def test_optimizers_go_where_those_of_pytorch_go(case, update):
    """60 steps of given gradients; momentum's form differs from the guide's only while the rate changes."""
    parameters = np.concatenate([GOLDEN[f"start/{leaf}"].ravel() for leaf in LEAVES])
    for i in range(60):
        gradients = np.concatenate([GOLDEN[f"gradients/{leaf}"][i].ravel() for leaf in LEAVES]).astype(np.float32)
        update(parameters, gradients)
        expected = np.concatenate([GOLDEN[f"{case}/{leaf}"][i].ravel() for leaf in LEAVES])
        assert parameters.dtype == np.float32
        # 3e-6 is 25 roundings of float32, added up over 60 steps.
        assert error(parameters, expected) <= 3e-6, f"step {i}"


def test_initialisation_is_that_of_the_guide():
    network = numpy_network.make((784, 512, 256, 10), np.random.default_rng(0))
    for weight, bias in network.layers:
        # The variance of n normal draws is within 5 sigma of 2 / in, sigma = sqrt(2 / n) of it.
        assert abs(weight.var() * len(weight) / 2 - 1) < 5 * np.sqrt(2 / weight.size)
        assert abs(weight.mean()) < 5 * np.sqrt(2 / len(weight) / weight.size)
        assert not bias.any()
        assert np.shares_memory(weight, network.parameters)


def test_an_epoch_takes_every_batch_in_the_given_order():
    """The same steps as one by one, and it learns: three clusters of points are told apart."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    x = (rng.normal(size=(3, 6))[labels] * 2 + rng.normal(size=(300, 6))).astype(np.float32)
    order = rng.permutation(300).reshape(10, 30)
    network, again = (numpy_network.make((6, 8, 3), np.random.default_rng(1)) for _ in range(2))
    update, same = numpy_network.adam(0.01), numpy_network.adam(0.01)
    curve = [numpy_network.train_epoch(network, x, labels, order, update) for _ in range(15)]
    losses_by_step = []
    for rows in order:
        predictions = numpy_network.step(again, x[rows], labels[rows], same, numpy_network.softmax)
        losses_by_step.append(numpy_network.categorical_cross_entropy(predictions, labels[rows]))
    assert curve[0] == pytest.approx(np.mean(losses_by_step), rel=1e-6)
    assert curve[-1] < 0.5 * curve[0]
