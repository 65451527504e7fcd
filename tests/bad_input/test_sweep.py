"""What `fit_many`, `grid` and the ensemble refuse, and in which words."""

from typing import Any

import jax
import numpy as np
import optax
import pytest
from refusal import refused

from jaxnn.data import Dataset
from jaxnn.layers import linear, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.models import mlp
from jaxnn.optimizers import adam
from jaxnn.training.ensemble import ensemble_predict, stack_members
from jaxnn.training.sweep import fit_many
from jaxnn.training.sweep_results import Member
from jaxnn.training.sweep_settings import grid

X, Y = np.ones((9, 4), np.float32), np.zeros(9, np.int32)
DATA = Dataset(X, Y)


def make(h):
    return mlp((4, 3, 2), dropout=h.get("dropout", 0.0)), adam(h["rate"])


def called(settings=({"rate": 0.1},), make=make, data=DATA, **options):
    return lambda: fit_many(make, softmax_cross_entropy, data, settings, **{"epochs": 1, "verbose": False, **options})


def test_a_setting_that_cannot_be_made_is_named():
    refused(ValueError, called(grid(rate=[0.1, -1.0])), "hyperparameters[1] {'rate': -1.0}", "adam", "-1")
    refused(ValueError, called(grid(rate=[0.1, float("nan")])), "hyperparameters[1]", "nan")
    refused(
        ValueError, called(grid(rate=[0.1], dropout=[0.1, 1.5])), "hyperparameters[1]", "mlp expected dropout", "1.5"
    )
    refused(ValueError, called(grid(speed=[0.1])), "hyperparameters[0]", "make asks for 'rate'", "speed")
    refused(TypeError, called(make=lambda h: linear(4, 2)), "hyperparameters[0]", "pair (model, optimizer)")
    refused(TypeError, called(make=lambda h: (linear(4, 2), adam)), "adam", "call it")
    refused(TypeError, called(make=lambda h: (linear, optax.sgd(0.1))), "linear", "call it")
    refused(ValueError, called(make=lambda h: (jax.nn.relu, optax.sgd(0.1))), "no parameters")
    refused(ValueError, called(make=lambda h: (linear(3, 2), optax.sgd(0.1))), "hyperparameters[0]", "[..., 3]")
    refused(TypeError, called(make=3), "fit_many expected make to be a function")


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"rate": [0.1]}, TypeError, "grid(**values)"),
        ([], ValueError, "[{}] for seeds alone"),
        ("rate", TypeError, "a list of dicts"),
        ([0.1], TypeError, "hyperparameters[0] such as"),
        ([{"rate": 0.1}, {"speed": 0.1}], ValueError, "the same names"),
        ([{"rate": 0.1, "sizes": [4, 2]}], TypeError, "give a tuple for a list"),
        ([{"rate": np.ones(2)}], TypeError, "float(...) for an array"),
        ([{"rate": 0.1, "loss": 1}], ValueError, "column loss"),
    ],
)
def test_bad_hyperparameters(settings, error, words):
    refused(error, called(settings), words)


def test_bad_options():
    refused(ValueError, called(epochs=-1), "fit_many", "epochs", "-1")
    refused(ValueError, called(batch_size=0), "fit_many", "batch_size", "0")
    refused(ValueError, called(validation_split=1.0), "fit_many", "validation_split", "1.0")
    refused(ValueError, called(validation_split=0.5, validation=DATA), "both validation and validation_split")
    refused(TypeError, called(seeds=3), "range(3)")
    refused(ValueError, called(seeds=[1, 1]), "no seed twice")
    refused(ValueError, called(seeds=[]), "at least one seed")
    refused(ValueError, called(seeds=[-1]), "seed", "-1")
    refused(TypeError, called(augment=3), "augment")
    refused(TypeError, called(metrics=[]), "metrics")


def test_bad_data():
    refused(ValueError, called(data=Dataset(X, Y + 2)), "fit_many", "targets[0] is 2")
    refused(ValueError, called(data=Dataset(X[:0], Y[:0])), "fit_many", "empty dataset")
    refused(ValueError, called(validation=Dataset(X, Y + 2)), "fit_many, validation,", "targets[0] is 2")
    refused(
        ValueError,
        called(make=lambda h: (mlp((4, 3, 2), batch_norm=True), adam(0.1)), batch_size=4),
        *("fit_many: 9 examples in batches of 4 leave a last batch of 1", "batch_size=5"),
    )


def test_bad_grids():
    number: Any = 0.1
    refused(TypeError, lambda: grid(rate=number), "grid expected rate to be a list")
    refused(TypeError, lambda: grid(kind="adam"), "grid expected kind to be a list")
    refused(ValueError, lambda: grid(rate=[]), "grid got no values for rate")


def test_bad_ensembles():
    model = linear(4, 2)
    params = jax.vmap(model.init)(jax.random.split(jax.random.key(0), 3))[0]
    refused(
        ValueError,
        lambda: ensemble_predict(model, model.init(jax.random.key(0))[0], (), X),
        "leading axis",
        "[(2,), (4,)]",
    )
    refused(ValueError, lambda: ensemble_predict(model, params, (), X[:0]), "no examples")
    refused(TypeError, lambda: ensemble_predict(model, params, (), [[1.0]]), "inputs")
    one = linear(4, 1)
    binary = jax.vmap(one.init)(jax.random.split(jax.random.key(0), 3))[0]
    refused(ValueError, lambda: ensemble_predict(one, binary, (), X), "two classes or more", "(1, 1)")
    refused(ValueError, lambda: stack_members([]), "no members")
    members = [Member({"width": size}, 0, {"weight": np.ones(size)}, (), 0, [], "") for size in (2, 3)]
    refused(ValueError, lambda: stack_members(members), "{'width': 3}", "one structure")
    refused(ValueError, lambda: ensemble_predict(sequential(model), params, (), X), "params")
