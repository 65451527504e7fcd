"""What a user gets for data that cannot be trained on, and for losses, metrics and steps that go wrong."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from refusal import refused

from jaxnn import tree
from jaxnn.data import Dataset, from_arrays
from jaxnn.layers import flatten, linear, normalize, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.metrics import accuracy
from jaxnn.models import mlp
from jaxnn.training import NotFiniteError, compiled_init, evaluate, fit, init_train_state, predict, run_keys, train_step

X = np.random.default_rng(0).standard_normal((16, 4)).astype(np.float32)
Y = np.arange(16, dtype=np.int32) % 3
DATA = Dataset(X, Y)
MODEL = mlp((4, 5, 3))
PARAMS, STATE = MODEL.init(jax.random.key(0))


def trained(model=MODEL, data=DATA, loss=softmax_cross_entropy, optimizer=None, **options):
    options = {"epochs": 1, "batch_size": 8, "verbose": False} | options
    return fit(model, loss, optax.sgd(0.1) if optimizer is None else optimizer, data, **options)


def evaluated(data=DATA, loss=softmax_cross_entropy, params=PARAMS, state=STATE, **options):
    return evaluate(MODEL, params, state, data, loss, **options)


def squared_error(predictions, targets):
    return ((predictions - targets) ** 2).mean(-1)


# Data


def poisoned(array, place, value):
    array = array.copy()
    array[place] = value
    return array


BAD_DATA = {
    "a tuple": ((X, Y), TypeError, ("expected a Dataset but got tuple", "from_arrays(inputs, ...)")),
    "empty": (Dataset(X[:0], Y[:0]), ValueError, ("empty dataset", "(0, 4)")),
    "unequal": (Dataset(X, Y[:3]), ValueError, ("as many targets as inputs", "3 targets for 16 inputs")),
    "lists": (Dataset(X.tolist(), Y), TypeError, ("inputs to be an array", "list", "from_arrays")),
    "a list of labels": (Dataset(X, Y.tolist()), TypeError, ("targets to be an array", "list", "from_arrays")),
    "a dict": (Dataset({"a": X}, Y), TypeError, ("inputs to be an array", "dict")),
    "no targets": (Dataset(X, None), TypeError, ("targets to be an array", "NoneType")),
    "one number": (Dataset(np.array(1.0), Y), ValueError, ("axis 0", "a single number")),
    "objects": (Dataset(X.astype(object), Y), TypeError, ("inputs to be numbers", "object")),
    "strings": (Dataset(X, np.array(list("abcd" * 4))), TypeError, ("targets to be numbers", "<U1")),
    "label -1": (Dataset(X, poisoned(Y, 5, -1)), ValueError, ("labels in 0..2 (3 classes)", "targets[5] is -1")),
    "label 3": (Dataset(X, poisoned(Y, 5, 3)), ValueError, ("0..2", "targets[5] is 3", "check the labels", "outputs")),
    "label 2**33": (Dataset(X, poisoned(Y.astype(int), 5, 2**33)), ValueError, ("targets[5] is 8589934592",)),
    "float labels": (
        Dataset(X, Y.astype(float)),
        TypeError,
        ("softmax_cross_entropy expected integer labels", "float"),
    ),
    "bool labels": (Dataset(X, Y > 0), TypeError, ("softmax_cross_entropy expected integer labels", "bool", "int32")),
    "one-hot": (Dataset(X, np.eye(3, dtype=int)[Y]), ValueError, ("labels of shape", "labels.argmax(-1)")),
    "a column": (Dataset(X, Y[:, None]), ValueError, ("labels of shape", "labels[..., 0]")),
    "features": (Dataset(X[:, :3], Y), ValueError, ("linear(4, 5) expected x of shape [..., 4]", "(1, 3)")),
    "one feature": (Dataset(X[:, 0], Y), ValueError, ("flatten()", "[B, ...]")),
    "bytes": (
        Dataset(X.astype(np.uint8), Y),
        TypeError,
        ("linear(4, 5) expected floats", "uint8", "normalize(mean, std)"),
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data(case):
    data, error, words = BAD_DATA[case]
    refused(error, lambda: trained(data=data), *words)
    refused(error, lambda: trained(validation=data), *words)
    refused(error, lambda: evaluated(data), *words)


def test_a_message_about_validation_data_says_so():
    refused(ValueError, lambda: trained(validation=Dataset(X, Y + 1)), "fit, validation, expected labels")
    refused(TypeError, lambda: trained(validation=(X, Y)), "fit, validation, expected a Dataset")


def test_images_without_flatten():
    data = Dataset(np.ones((16, 28, 28, 1), np.float32), Y)
    refused(
        ValueError, lambda: trained(linear(784, 3), data), "linear(784, 3)", "(1, 28, 28, 1)", "put flatten before it"
    )
    assert trained(sequential(flatten(), linear(784, 3)), data).history


def test_whole_numbers_as_targets_of_a_regression():
    data = Dataset(X, Y)
    refused(ValueError, lambda: trained(linear(4, 1), data), "0..0 (1 classes)", "for regression targets are floats")
    trained(linear(4, 1), from_arrays(X, Y[:, None].astype(float)), squared_error)


def test_float64_and_int64_data_give_the_bits_of_float32_and_int32():
    wide = Dataset(X.astype(np.float64), Y.astype(np.int64))
    assert tree.sha256(trained(data=wide).train_state) == tree.sha256(trained().train_state)


def test_float64_data_train_under_x64():
    with jax.enable_x64(True):
        result = trained(data=Dataset(X.astype(np.float64), Y.astype(np.int64)))
        leaf = result.train_state.params[1]["weight"]
        assert leaf.dtype == jnp.float32  # parameters keep their dtype
        assert predict(MODEL, *result.train_state[:2], X.astype(np.float64)).dtype == np.float64
        assert np.isfinite(result.history[0]["loss"])


@pytest.mark.parametrize(
    ("inputs", "targets", "error", "words"),
    [
        (X, Y[:3], ValueError, ("3 targets for 16 inputs",)),
        (X[:0], Y[:0], ValueError, ("empty dataset", "(0, 4)")),
        ([], [], ValueError, ("empty dataset",)),
        (1.0, 2, ValueError, ("axis 0", "a single number")),
        (X.astype(object), Y, TypeError, ("inputs to be numbers", "object")),
        ([[1.0, 2.0], [1.0]], [0, 1], ValueError, ("inputs with rows of one length",)),
        (
            X,
            list("abcd" * 4),
            TypeError,
            ("targets to be numbers", "<U1", "np.unique(targets, return_inverse=True)[1]"),
        ),
        ([["a"]], [0], TypeError, ("inputs to be numbers", "<U1")),
        (X, Y.astype(int) + 2**33, ValueError, ("targets within int32", "8589934592..8589934594")),
        (np.full((16, 2), 2**33), Y, ValueError, ("inputs within int32", "8589934592")),
        (np.full((16, 2), -1e39), Y, ValueError, ("inputs within float32", "1e+39")),
        (X.astype(complex), Y, TypeError, ("inputs to be numbers", "complex128")),
        (None, Y, TypeError, ("inputs to be numbers", "object")),
    ],
)
@pytest.mark.filterwarnings("error")
def test_from_arrays(inputs, targets, error, words):
    refused(error, lambda: from_arrays(inputs, targets), "from_arrays", *words)


def test_the_advice_for_labels_of_strings_works():
    names = np.array(list("abcd" * 4))
    assert from_arrays(X, np.unique(names, return_inverse=True)[1]).targets[:4].tolist() == [0, 1, 2, 3]


def test_bfloat16_inputs_become_float32():
    assert from_arrays(jnp.asarray(X, jnp.bfloat16), Y).inputs.dtype == np.float32


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        (X[:0], ValueError, ("predict got no examples", "(0, 4)")),
        (X.tolist(), TypeError, ("predict expected inputs to be an array", "list")),
        (None, TypeError, ("predict expected inputs to be an array", "NoneType")),
        (DATA, TypeError, ("predict", "Dataset", "its field inputs")),
        (np.array(1.0), ValueError, ("predict", "axis 0", "a single number")),
        (X.astype(object), TypeError, ("predict expected inputs to be numbers", "object")),
        (np.array([list("abcd")]), TypeError, ("predict expected inputs to be numbers", "<U1")),
        (X[:, :3], ValueError, ("linear(4, 5)", "[..., 4]", "(16, 3)")),
        (X[0], ValueError, ("flatten()", "x[None]")),
        (X.astype(int), TypeError, ("linear(4, 5) expected floats", "normalize(mean, std)")),
    ],
)
def test_predict(inputs, error, words):
    refused(error, lambda: predict(MODEL, PARAMS, STATE, inputs), *words)


def test_params_of_another_model():
    other = mlp((4, 7, 3)).init(jax.random.key(0))
    longer = mlp((4, 5, 5, 3)).init(jax.random.key(0))
    for call in (
        lambda pair: evaluated(params=pair[0], state=pair[1]),
        lambda pair: predict(MODEL, *pair, X),
        lambda pair: trained(init=lambda key: pair),
    ):
        refused(ValueError, lambda call=call: call(other), "linear(4, 5)", "(4, 7)", "use its own init")
        refused(ValueError, lambda call=call: call(longer), "mlp((4, 5, 3))", "a tuple of 6", "use its own init")
    whole = init_train_state(MODEL.init, optax.sgd(0.1), jax.random.key(0))
    refused(ValueError, lambda: evaluated(params=whole), "linear(4, 5) expected params")


# Batch norm and the last batch


@pytest.mark.parametrize(
    ("size", "batch_size"), [(9, 8), (16, 5), (16, 3), (17, 16), (3, 2), (13, 4), (101, 10), (7, 6)]
)
def test_a_last_batch_of_one_for_batch_norm(size, batch_size):
    data = Dataset(np.resize(X, (size, 4)), np.resize(Y, size))
    model = mlp((4, 5, 3), batch_norm=True)
    with pytest.raises(ValueError, match=r"batch_norm\(5\)") as caught:
        trained(model, data, batch_size=batch_size)
    message = str(caught.value)
    assert f"fit: {size} examples in batches of {batch_size} leave a last batch of 1" in message
    suggestion = re.search(r"batch_size=(\d+) leaves a larger one", message)
    assert suggestion
    assert trained(model, data, batch_size=int(suggestion[1])).history


def test_a_last_batch_of_one_after_a_split():
    call = lambda: trained(mlp((4, 5, 3), batch_norm=True), batch_size=4, validation_split=3 / 16)  # noqa: E731
    refused(ValueError, call, "13 examples in batches of 4", "last batch of 1")


@pytest.mark.parametrize(("size", "batch_size"), [(1, 8), (1, 1), (4, 1)])
def test_batches_of_one_for_batch_norm(size, batch_size):
    call = lambda: trained(mlp((4, 5, 3), batch_norm=True), Dataset(X[:size], Y[:size]), batch_size=batch_size)  # noqa: E731
    refused(ValueError, call, "batch_norm(5)", "1 value a channel", "larger batch")


# Losses and metrics


def test_a_loss_that_does_not_return_one_value_per_example():
    def scalar_loss(predictions, targets):
        return softmax_cross_entropy(predictions, targets).mean()

    def column_loss(predictions, targets):
        return softmax_cross_entropy(predictions, targets)[:, None]

    words = ("one value per example", "leave the mean to the caller")
    refused(
        ValueError, lambda: trained(loss=scalar_loss), "scalar_loss expected to return shape (8,)", "got ()", *words
    )
    refused(ValueError, lambda: evaluated(loss=scalar_loss), "scalar_loss expected to return shape (16,)", *words)
    refused(ValueError, lambda: trained(loss=column_loss), "column_loss", "(8,)", "got (8, 1)")
    refused(ValueError, lambda: trained(metrics={"a": scalar_loss}), "scalar_loss", "(8,)", *words)
    refused(ValueError, lambda: trained(metrics={"a": column_loss}), "column_loss", "got (8, 1)")


def test_a_loss_that_broadcasts_predictions_of_a_column_against_a_row():
    data = Dataset(X, X[:, 0])
    loss = lambda predictions, targets: (predictions - targets) ** 2  # noqa: E731
    refused(ValueError, lambda: trained(linear(4, 1), data, loss), "(8,)", "got (8, 8)")


@pytest.mark.parametrize("value", [None, (1, 2), [0.0] * 8, "x"])
def test_a_loss_that_returns_no_array(value):
    words = ("expected to return an array of shape (8,)", type(value).__name__)
    refused(TypeError, lambda: trained(loss=lambda p, y: value), *words)
    refused(TypeError, lambda: trained(metrics={"a": lambda p, y: value}), *words)


def test_a_loss_without_a_gradient():
    for loss in (lambda p, y: y, lambda p, y: p[:, 0] * 1j):
        refused(TypeError, lambda loss=loss: trained(loss=loss), "expected to return floats", "gradient")


@pytest.mark.parametrize("which", ["loss", "metric"])
def test_what_the_users_function_raises_comes_before_the_first_step(which):
    class OwnError(Exception):
        pass

    def wrong(predictions, targets):
        raise OwnError("words of the user")

    options = {"loss": wrong} if which == "loss" else {"metrics": {"a": wrong}}
    steps = []
    with pytest.raises(OwnError, match="words of the user"):
        trained(**options, callback=lambda record, state: steps.append(record))
    assert steps == []


def test_metrics_of_booleans_and_integers_are_fine():
    record = trained(metrics={"right": lambda p, y: p.argmax(-1) == y, "label": lambda p, y: y}).history[0]
    assert 0 <= record["right"] <= 1
    np.testing.assert_allclose(record["label"], Y.mean())


# NaN


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_inputs_that_are_not_finite_stop_training(value):
    with pytest.raises(
        NotFiniteError, match=r"epoch 1, step \d \(inputs\[9\] holds NaN or infinity: clean the inputs\)"
    ) as stop:
        trained(data=Dataset(poisoned(X, (9, 1), value), Y))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(stop.value.result.train_state))


def test_targets_that_are_not_finite_stop_training():
    data = Dataset(X, poisoned(X[:, :1], 7, np.nan))
    with pytest.raises(NotFiniteError, match=r"step \d \(targets\[7\] holds NaN or infinity: clean the targets\)"):
        trained(linear(4, 1), data, squared_error)


def test_a_loss_of_nan_stops_training_with_the_last_good_parameters():
    def loss(predictions, targets):
        return softmax_cross_entropy(predictions, targets) * jnp.where(targets[0] >= 0, jnp.nan, 1)

    with pytest.raises(NotFiniteError, match=r"epoch 1, step 1 .*diverged.* learning rate") as stop:
        trained(loss=loss)
    initial = compiled_init(MODEL.init)(run_keys(0).init)[0]
    assert tree.sha256(stop.value.result.train_state.params) == tree.sha256(initial)


@pytest.mark.parametrize("batch_size", [16, 8])
def test_a_learning_rate_of_nan_never_returns_parameters_of_nan(batch_size):
    """Loss and gradient of the first step are finite: only the update is not, and there may be no step after it."""
    good = trained(epochs=2, batch_size=batch_size)
    rate = optax.inject_hyperparams(optax.sgd)(lambda step: jnp.where(step < 2 * 16 // batch_size, 0.1, jnp.nan))
    with pytest.raises(
        NotFiniteError, match=r"epoch 3, after step \d+: look at the learning rate.*those of that step"
    ) as stop:
        trained(optimizer=rate, epochs=3, batch_size=batch_size)
    assert tree.sha256(stop.value.result.train_state.params) == tree.sha256(good.train_state.params)
    assert len(stop.value.result.history) == 2
    refused(
        NotFiniteError, lambda: trained(optimizer=optax.sgd(float("nan")), batch_size=16), "epoch 1", "learning rate"
    )


def test_parameters_that_begin_as_nan():
    init = lambda key: jax.tree.map(lambda leaf: leaf * jnp.nan, MODEL.init(key))  # noqa: E731
    refused(NotFiniteError, lambda: trained(init=init), "not finite before epoch 1", "look at init")


def test_nan_in_validation_data_is_seen():
    record = trained(validation=Dataset(X * np.nan, Y)).history[0]
    assert np.isnan(record["validation_loss"])
    assert record["validation_accuracy"] == 0
    assert np.isnan(evaluated(Dataset(X * np.nan, Y), metrics={"accuracy": accuracy})["loss"])


# A step by hand


def test_one_step():
    step = jax.jit(train_step(MODEL, softmax_cross_entropy, optax.sgd(0.1)))
    state, key = init_train_state(MODEL.init, optax.sgd(0.1), jax.random.key(0)), jax.random.key(1)
    refused(TypeError, lambda: step(state, (X, Y), key), "train_step expected a Dataset but got tuple")
    refused(ValueError, lambda: step(state, Dataset(X[:0], Y[:0]), key), "train_step got an empty dataset")
    refused(ValueError, lambda: step(state, Dataset(X, Y[:3]), key), "3 targets for 16 inputs")
    weights = np.ones((16, 1), np.float32)
    refused(ValueError, lambda: step(state, Dataset(X, Y, weights), key), "weights of shape (16,)", "(16, 1)")
    refused(ValueError, lambda: step(state, Dataset(X, Y, np.float32(2)), key), "weights of shape (16,)", "()")
    _, totals = step(state, Dataset(X, poisoned(Y, 3, 7)), key)
    assert np.isnan(totals["loss"][0])  # values are not known under jit: NaN, and never a plausible number


def test_a_layer_that_needs_a_key_gets_a_seed():
    model = mlp((4, 5, 3), dropout=0.5)
    step = train_step(model, softmax_cross_entropy, optax.sgd(0.1))
    state = init_train_state(model.init, optax.sgd(0.1), jax.random.key(0))
    refused(TypeError, lambda: step(state, DATA, 0), "expected a key such as jax.random.key(0) but got 0")
    model = sequential(normalize(0.0, 1.0), model)
    refused(ValueError, lambda: model.apply(*model.init(jax.random.key(0)), X, train=True), "dropout(0.5)", "key=")
