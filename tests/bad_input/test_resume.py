"""Options of `fit` that a checkpoint has to hold: what JSON does not know by itself is saved, or refused early."""

from typing import Any

import numpy as np
import optax
import pytest
from refusal import refused

from jaxnn import tree
from jaxnn.data import Dataset
from jaxnn.layers import linear
from jaxnn.losses import softmax_cross_entropy
from jaxnn.training import early_stopping, fit

DATA = Dataset(np.eye(4, dtype=np.float32), np.arange(4, dtype=np.int32))


def train(**options: Any):
    return fit(linear(4, 4), softmax_cross_entropy, optax.sgd(0.1), DATA, verbose=False, **{"epochs": 1} | options)


def test_numbers_of_numpy_are_fine(tmp_path):
    options: Any = {"epochs": np.int64(2), "batch_size": np.int32(2), "seed": np.uint8(3), "accumulate": np.int64(2)}
    rule: Any = {"patience": np.int64(3), "min_delta": np.float32(0.5)}
    first = train(checkpoints=tmp_path, early_stopping=early_stopping("loss", **rule), **options)
    rule, options = {"patience": 3, "min_delta": 0.5}, {name: int(value) for name, value in options.items()}
    again = train(checkpoints=str(tmp_path), resume=True, early_stopping=early_stopping("loss", **rule), **options)
    assert tree.sha256(again.train_state) == tree.sha256(first.train_state)
    assert again.history == first.history


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"accumulate": 0}, ValueError, ["fit expected accumulate", "0"]),
        ({"accumulate": 2.0}, TypeError, ["fit expected accumulate", "2.0"]),
        ({"early_stopping": 3}, TypeError, ["fit expected early_stopping=early_stopping(...)", "3"]),
        ({"early_stopping": early_stopping}, TypeError, ["fit expected early_stopping=early_stopping(...)"]),
        ({"early_stopping": early_stopping()}, ValueError, ["watches validation_loss", "give validation"]),
        ({"augment": "shift"}, TypeError, ["augment"]),
        ({"checkpoints": 7}, TypeError, ["fit expected checkpoints", "7"]),
        ({"resume": True}, ValueError, ["fit", "resume", "checkpoints"]),
    ],
)
def test_refused(options, error, words):
    refused(error, lambda: train(**options), *words)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"patience": 1.5}, TypeError, "patience"),
        ({"patience": True}, TypeError, "patience"),
        ({"min_delta": "small"}, TypeError, "min_delta"),
        ({"metric": 3}, TypeError, "metric"),
    ],
)
def test_rules_that_are_none(options, error, words):
    refused(error, lambda: early_stopping(**options), words)
