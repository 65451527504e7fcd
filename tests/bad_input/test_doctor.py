"""What a user gets who shows the doctor what is no model, no data or no training."""

import jax
import numpy as np
import optax
from refusal import refused

from jaxnn.data import Dataset
from jaxnn.layers import linear, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.training import TrainState, fit
from jaxnn.training.doctor import doctor

X = np.ones((6, 4), np.float32)
Y = np.arange(6, dtype=np.int32) % 3
DATA = Dataset(X, Y)
MODEL = linear(4, 3)


def called(model=MODEL, data=DATA, **options):
    return lambda: doctor(model, data, **options)


def test_bad_models_losses_optimizers_and_data():
    refused(TypeError, called(model=linear), "doctor", "constructor linear itself")
    refused(ValueError, called(model=jax.nn.relu), "no parameters")
    refused(TypeError, called(loss="mse"), "doctor", "loss to be a function")
    refused(TypeError, called(make_optimizer=optax.adam(0.1)), "doctor", "make_optimizer", "an optimizer")
    refused(TypeError, called(make_optimizer="adam"), "doctor", "make_optimizer", "'adam'")
    refused(TypeError, called(make_optimizer=lambda rate: rate), "doctor", "expected an optimizer")
    refused(TypeError, called(data=(X, Y)), "doctor", "expected a Dataset but got tuple")
    refused(ValueError, called(data=Dataset(X[:0], Y[:0])), "doctor", "empty dataset")
    refused(ValueError, called(data=Dataset(X, Y[:3])), "doctor", "as many targets as inputs")
    refused(ValueError, called(data=Dataset(X[:, :2], Y)), "linear(4, 3) expected x of shape [..., 4]")


def test_bad_options():
    refused(ValueError, called(learning_rate=-1.0), "doctor", "learning_rate", "-1.0")
    refused(ValueError, called(learning_rate=float("nan")), "doctor", "learning_rate", "nan")
    refused(TypeError, called(learning_rate="0.1"), "doctor", "learning_rate")
    refused(ValueError, called(batch_size=0), "doctor", "batch_size", "0")
    refused(ValueError, called(seed=-1), "seed", "-1")
    refused(TypeError, called(init=0), "doctor", "init", "0")
    refused(TypeError, called(trained={"weight": 1}), "doctor", "trained", "result of fit")
    refused(TypeError, called(validation=(X, Y)), "doctor, validation,", "tuple")
    refused(ValueError, called(test=Dataset(X[:, :2], Y)), "doctor", "test inputs", "float32 [4]", "float32 [2]")
    refused(ValueError, called(validation=Dataset(X.astype(np.uint8), Y)), "validation inputs", "uint8 [4]")


def test_parameters_of_another_model():
    other = sequential(linear(4, 3))
    state = fit(other, softmax_cross_entropy, optax.adam(0.1), DATA, epochs=1, verbose=False).train_state
    refused(ValueError, called(trained=state), "linear(4, 3)")
    refused(ValueError, called(model=other, trained=TrainState({}, (), (), state.step)), "params")


def test_data_that_are_legal_and_sick_are_findings():
    holed = X.copy()
    holed[2, 1] = np.nan
    findings = {finding.check: finding for finding in doctor(MODEL, Dataset(holed, Y)).findings}
    assert findings["inputs"].outcome == "finding"
    assert "inputs[2]" in findings["inputs"].advice
    for targets in (Y + 1, Y[:, None], Y.astype(np.float32)):
        diagnosis = doctor(MODEL, Dataset(X, targets))
        assert [finding.check for finding in diagnosis.having("finding")] == ["labels"]
