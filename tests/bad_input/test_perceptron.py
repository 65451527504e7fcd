"""What a user gets for wrong data, labels and options given to the perceptron and to threshold units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusal import refused

from jaxnn.models.perceptron import CORNERS, perceptron, perceptron_rule, predict, threshold_gate, threshold_unit

PARAMS = {"weight": np.zeros(2, np.float32), "bias": np.zeros((), np.float32)}
LABELS = np.array([0, 0, 0, 1])


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        ([-1, -1, -1, 1], ValueError, ("labels 0 and 1 but labels[0] is -1", "(labels + 1) // 2")),
        ([0, 1, 2, 1], ValueError, ("labels[2] is 2",)),
        ([0.0, 0.0, 0.0, 1.0], TypeError, ("integer labels but got float64", "astype('int32')")),
        ([0, 0, 1], ValueError, ("labels of shape (4,)", "(3,)")),
        ([[0], [0], [0], [1]], ValueError, ("labels of shape (4,)", "take labels[..., 0]")),
        ([], TypeError, ("float64",)),
    ],
)
def test_labels(labels, error, words):
    refused(error, lambda: perceptron_rule(PARAMS, CORNERS, np.array(labels)), "perceptron_rule expected", *words)


def test_labels_that_are_no_array():
    refused(TypeError, lambda: perceptron_rule(PARAMS, CORNERS, [0, 0, 0, 1]), "labels to be an array but got list")


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (np.zeros((4, 3)), ValueError, ("x of shape [..., 2] but got (4, 3)",)),
        (np.zeros(2), ValueError, ("x of shape [N, in]", "x[None]")),
        (np.zeros((4, 1, 2)), ValueError, ("x of shape [N, in]", "(4, 1, 2)")),
        (np.zeros((0, 2)), ValueError, ("at least one sample but got (0, 2)",)),
        (np.array([[0, 0], [0, 1], [np.nan, 0], [1, 1]]), ValueError, ("finite x", "NaN")),
        (np.array([[0, 0], [0, 1], [np.inf, 0], [1, 1]]), ValueError, ("finite x", "infinity")),
        (np.zeros((4, 2), complex), TypeError, ("real numbers but got complex128",)),
        ([[0, 0], [0, 1], [1, 0], [1, 1]], TypeError, ("x to be an array but got list",)),
    ],
)
def test_samples(x, error, words):
    labels = LABELS[: len(x)] if len(x) in (0, 4) else LABELS
    refused(error, lambda: perceptron_rule(PARAMS, x, labels), "perceptron_rule expected", *words)


@pytest.mark.parametrize("rate", [0, 0.0, -0.01, np.nan, np.inf])
def test_learning_rates(rate):
    refused(
        ValueError,
        lambda: perceptron_rule(PARAMS, CORNERS, LABELS, learning_rate=rate),
        "perceptron_rule expected learning_rate in (0, inf)",
    )


@pytest.mark.parametrize(("epochs", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_epochs(epochs, error):
    refused(error, lambda: perceptron_rule(PARAMS, CORNERS, LABELS, epochs=epochs), "epochs to be an integer of at l")


@pytest.mark.parametrize(
    "params",
    [
        (),
        np.zeros(2),
        {"weight": np.zeros((2, 1)), "bias": np.zeros(())},
        {"weight": np.zeros(2), "bias": np.zeros(1)},
        {"weight": np.zeros(2)},
    ],
)
def test_params_of_another_model(params):
    refused(ValueError, lambda: predict(params, CORNERS), "predict expected params")
    refused(ValueError, lambda: perceptron_rule(params, CORNERS, LABELS), "perceptron_rule expected params")


def test_predict_and_layer():
    refused(ValueError, lambda: predict(PARAMS, np.zeros((4, 3))), "predict expected x of shape [..., 2]")
    refused(ValueError, lambda: predict(PARAMS, np.ones(())), "predict expected x of shape [..., 2]")
    refused(ValueError, lambda: predict(PARAMS, np.array([0, np.nan])), "predict expected finite x", "NaN")
    refused(ValueError, lambda: perceptron(0), "perceptron expected in_features", "0")
    refused(TypeError, lambda: perceptron(2.0), "perceptron expected in_features")
    refused(TypeError, lambda: perceptron(2).init(0), "perceptron(2) expected a key")
    refused(ValueError, lambda: perceptron(2).apply(PARAMS, (), np.zeros((4, 3), np.float32)), "perceptron(2) expected")
    refused(TypeError, lambda: perceptron(2).apply(PARAMS, (), CORNERS), "perceptron(2) expected floats but got int32")


def test_threshold_units():
    refused(ValueError, lambda: threshold_unit(CORNERS, np.ones(3), 1), "threshold_unit expected x of shape [..., 3]")
    refused(ValueError, lambda: threshold_unit(CORNERS, np.ones((2, 1)), 1), "weights of shape [in] but got (2, 1)")
    refused(TypeError, lambda: threshold_unit(CORNERS, [1, 1], 1), "weights to be an array but got list")
    refused(ValueError, lambda: threshold_unit(CORNERS, np.ones(2), np.nan), "threshold in [-inf, inf] but got nan")
    refused(ValueError, lambda: threshold_unit(CORNERS, np.ones(2), np.ones(4)), "threshold to be one number")
    refused(ValueError, lambda: threshold_gate("XNOR", CORNERS), "one of AND, OR, NAND, NOR, NOT, XOR", "XNOR")
    refused(ValueError, lambda: threshold_gate("NOT", CORNERS), "expected x of shape [..., 1]")


def test_values_that_only_the_device_knows_pass():
    result = jax.jit(lambda y, rate: perceptron_rule(PARAMS, jnp.asarray(CORNERS), y, learning_rate=rate))(LABELS, 0.1)
    assert int(result.converged_at) >= 0
