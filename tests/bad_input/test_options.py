"""What a user gets for options that cannot be: sizes, rates, numbers of epochs, splits, seeds, weights, names."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from refusal import refused

from jaxnn import tree
from jaxnn.data import Dataset, from_arrays, split
from jaxnn.layers import batch_norm, dropout, flatten, linear, normalize
from jaxnn.losses import softmax_cross_entropy
from jaxnn.metrics import accuracy
from jaxnn.models import mlp
from jaxnn.training import compiled_init, evaluate, fit, init_train_state, predict, run_keys, train_step

X = np.random.default_rng(0).standard_normal((16, 4)).astype(np.float32)
Y = np.arange(16, dtype=np.int32) % 3
DATA = Dataset(X, Y)
MODEL = mlp((4, 5, 3))
NOT_SIZES = [
    (0, ValueError),
    (-1, ValueError),
    (2.5, TypeError),
    (True, TypeError),
    ("3", TypeError),
    (None, TypeError),
]


def trained(model=MODEL, data=DATA, loss=softmax_cross_entropy, optimizer=None, **options):
    options = {"epochs": 1, "batch_size": 8, "verbose": False} | options
    return fit(model, loss, optax.sgd(0.1) if optimizer is None else optimizer, data, **options)


# Constructors


@pytest.mark.parametrize(("size", "error"), NOT_SIZES)
def test_sizes(size, error):
    word = f"to be a positive integer but got {size!r}"
    refused(error, lambda: linear(size, 3), "linear expected in_features", word)
    refused(error, lambda: linear(3, size), "linear expected out_features", word)
    refused(error, lambda: batch_norm(size), "batch_norm expected size", word)
    refused(error, lambda: mlp((3, size, 2)), "mlp expected sizes[1]", word)


def test_integers_of_numpy_are_sizes():
    assert repr(linear(np.int64(3), np.int32(2))) == "linear(3, 2)"
    assert repr(mlp((np.int64(3), np.int64(4), 2))) == "mlp((3, 4, 2))"


def test_mlp_needs_two_sizes():
    for sizes in ((), (3,)):
        refused(ValueError, lambda sizes=sizes: mlp(sizes), "mlp expected at least two sizes", str(sizes))
    for sizes in (3, None):
        refused(TypeError, lambda sizes=sizes: mlp(sizes), "mlp expected sizes such as (784, 128, 10)", str(sizes))


def test_batch_norm():
    for momentum in (-1, 2, float("nan")):
        refused(ValueError, lambda m=momentum: batch_norm(3, momentum=m), "batch_norm expected momentum in [0, 1]")
    for epsilon in (-1, 0, float("nan"), float("inf")):
        refused(ValueError, lambda e=epsilon: batch_norm(3, epsilon=e), "batch_norm expected epsilon in (0, inf)")
    refused(TypeError, lambda: batch_norm(3, momentum="0.1"), "momentum to be a number", "'0.1'")


@pytest.mark.parametrize(
    ("mean", "std", "words"),
    [
        (0, 0, ("std", "got 0")),
        (0, -1, ("std", "got -1")),
        (0, float("nan"), ("std", "nan")),
        (0, (1, 0), ("std", "got 0")),
        (float("nan"), 1, ("mean", "nan")),
        (float("inf"), 1, ("mean", "inf")),
        ((1, 2), (1, 2, 3), ("one a channel", "(2,)", "(3,)")),
        ([], [], ("one a channel", "(0,)")),
        ([[1]], 1, ("one a channel", "(1, 1)")),
    ],
)
def test_normalize(mean, std, words):
    refused(ValueError, lambda: normalize(mean, std), "normalize expected", *words)


def test_normalize_by_what_is_no_number():
    refused(TypeError, lambda: normalize("a", 1), "normalize expected mean to be numbers")
    refused(TypeError, lambda: normalize(0, None), "normalize expected std to be numbers")


# fit, evaluate, predict, run_keys, split


@pytest.mark.parametrize(("size", "error"), NOT_SIZES)
def test_batch_size(size, error):
    word = f"expected batch_size to be a positive integer but got {size!r}"
    params, state = MODEL.init(jax.random.key(0))
    refused(error, lambda: trained(batch_size=size), f"fit {word}")
    refused(
        error, lambda: evaluate(MODEL, params, state, DATA, softmax_cross_entropy, batch_size=size), f"evaluate {word}"
    )
    refused(error, lambda: predict(MODEL, params, state, X, batch_size=size), f"predict {word}")


@pytest.mark.parametrize(
    ("epochs", "error"), [(-1, ValueError), (2.5, TypeError), (True, TypeError), (None, TypeError)]
)
def test_epochs(epochs, error):
    refused(
        error, lambda: trained(epochs=epochs), f"fit expected epochs to be an integer of at least 0 but got {epochs}"
    )


def test_zero_epochs_return_untouched_params_and_still_check():
    result = trained(epochs=0)
    assert result.history == []
    assert tree.sha256(result.train_state.params) == tree.sha256(compiled_init(MODEL.init)(run_keys(0).init)[0])
    refused(ValueError, lambda: trained(epochs=0, data=Dataset(X, Y + 1)), "labels in 0..2")
    refused(ValueError, lambda: trained(epochs=0, class_weights=[1, 2]), "class_weights of shape (3,)")


@pytest.mark.parametrize(
    ("seed", "error"),
    [
        (-1, ValueError),
        (2**32, ValueError),
        (2**64, ValueError),
        (2.5, TypeError),
        (True, TypeError),
        (None, TypeError),
    ],
)
def test_seed(seed, error):
    for call in (lambda: run_keys(seed), lambda: trained(seed=seed)):
        refused(error, call, "run_keys expected seed", f"got {seed}")


def test_seeds_do_not_repeat():
    """JAX takes the seed modulo 2**32; up to there all seeds are different ones."""
    keys = [jax.random.key_data(run_keys(seed).init).tolist() for seed in (0, 1, 2**31, 2**32 - 1)]
    assert len({tuple(key) for key in keys}) == 4


@pytest.mark.parametrize("share", [1.0, 1.5, -0.1, float("nan")])
def test_validation_split_out_of_range(share):
    refused(
        ValueError, lambda: trained(validation_split=share), "fit expected validation_split in [0, 1)", f"got {share}"
    )
    refused(
        ValueError, lambda: split(DATA, share, jax.random.key(0)), "split expected fraction in (0, 1)", f"got {share}"
    )


def test_validation_split_of_another_kind():
    for share in (True, "0.2", None):
        refused(TypeError, lambda share=share: trained(validation_split=share), "fit", "validation_split", repr(share))


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_validation_split_that_leaves_an_empty_part(share):
    words = ("split expected an example in both parts", f"{share} of 16", "another fraction")
    refused(ValueError, lambda: trained(validation_split=share), *words)
    refused(ValueError, lambda: split(DATA, share, jax.random.key(0)), *words)


def test_validation_and_validation_split():
    refused(ValueError, lambda: trained(validation=DATA, validation_split=0.2), "fit got both", "give one")


def test_split_needs_a_dataset_and_a_key():
    refused(
        TypeError, lambda: split((X, Y), 0.5, jax.random.key(0)), "split expected a Dataset", "tuple", "from_arrays"
    )
    refused(ValueError, lambda: split(Dataset(X, Y[:3]), 0.5, jax.random.key(0)), "split", "3 targets for 16 inputs")
    refused(TypeError, lambda: split(DATA, 0.5, 0), "split", "jax.random.key(0)", "got 0")


@pytest.mark.parametrize(
    ("weights", "error", "words"),
    [
        ([1, 2], ValueError, ("class_weights of shape (3,)", "one a class", "(2,)")),
        ([1, 2, 3, 4], ValueError, ("class_weights of shape (3,)", "(4,)")),
        ([], ValueError, ("class_weights of shape (3,)", "(0,)")),
        ([[1, 1, 1]], ValueError, ("class_weights of shape (3,)", "(1, 3)")),
        (1.0, ValueError, ("class_weights of shape (3,)", "()")),
        ([1, 1, -1], ValueError, ("class_weights", "finite and not negative", "-1")),
        ([1, 1, float("nan")], ValueError, ("class_weights", "finite and not negative", "nan")),
        ([1, 1, float("inf")], ValueError, ("class_weights", "finite and not negative", "inf")),
        ([0, 0, 0], ValueError, ("class_weights", "not all zero")),
        (["a", "b", "c"], TypeError, ("class_weights to be numbers", "<U1")),
        ({0: 1.0, 1: 1.0}, TypeError, ("class_weights to be numbers", "object")),
    ],
)
def test_class_weights(weights, error, words):
    refused(error, lambda: trained(class_weights=weights), "fit", *words)


def test_a_bad_class_weight_of_a_class_that_never_occurs():
    refused(ValueError, lambda: trained(data=Dataset(X, Y * 0), class_weights=[1, 1, -1]), "not negative")


def test_class_weights_need_classes():
    squared = lambda p, y: ((p - y) ** 2).mean(-1)  # noqa: E731
    call = lambda: trained(linear(4, 1), Dataset(X, X[:, :1]), squared, class_weights=[1])  # noqa: E731
    refused(TypeError, call, "fit expected one integer target an example", "class_weights", "float32")


@pytest.mark.parametrize(
    ("weights", "error", "words"),
    [
        (np.ones(3), ValueError, ("weights of shape (16,)", "(3,)")),
        (np.ones((16, 1)), ValueError, ("weights of shape (16,)", "(16, 1)")),
        (-np.ones(16), ValueError, ("weights", "not negative")),
        (np.full(16, np.nan), ValueError, ("weights", "finite")),
        (np.full(16, np.inf), ValueError, ("weights", "finite")),
        (np.zeros(16), ValueError, ("weights", "not all zero")),
        (np.array(["a"] * 16), TypeError, ("weights to be numbers", "<U1")),
        ([1.0] * 16, TypeError, ("weights to be an array", "list", "from_arrays")),
    ],
)
def test_example_weights(weights, error, words):
    data = Dataset(X, Y, weights)
    params, state = MODEL.init(jax.random.key(0))
    refused(error, lambda: trained(data=data), "fit", *words)
    refused(error, lambda: evaluate(MODEL, params, state, data, softmax_cross_entropy), "evaluate", *words)
    if not isinstance(weights, list):
        refused(error, lambda: from_arrays(X, Y, weights), "from_arrays", *words)


def test_a_model_without_parameters():
    for model in (flatten(), dropout(0.5), jnp.tanh):
        refused(ValueError, lambda model=model: trained(model), "no parameters", "nothing to train")


@pytest.mark.parametrize(
    "name",
    ["loss", "gradient_norm", "epoch", "step", "seconds", "learning_rate", "examples_per_second", "validation_loss"],
)
def test_metrics_under_names_that_are_taken(name):
    params, state = MODEL.init(jax.random.key(0))
    metrics = {name: accuracy}
    word = f"records {name} itself: give the metric another name"
    refused(ValueError, lambda: trained(metrics=metrics), f"fit {word}")
    refused(ValueError, lambda: train_step(MODEL, softmax_cross_entropy, optax.sgd(0.1), metrics), f"train_step {word}")
    refused(
        ValueError, lambda: evaluate(MODEL, params, state, DATA, softmax_cross_entropy, metrics), f"evaluate {word}"
    )


def test_metrics_of_another_kind():
    for metrics in ([accuracy], accuracy, {1: accuracy}):
        refused(TypeError, lambda m=metrics: trained(metrics=m), "fit expected metrics such as {'accuracy': accuracy}")
    refused(TypeError, lambda: trained(metrics={"a": 3}), "fit expected metrics['a'] to be a function", "got 3")


def test_functions_that_are_none():
    for loss in (None, "mse"):
        refused(TypeError, lambda loss=loss: trained(loss=loss), "fit expected loss to be a function", repr(loss))
    refused(TypeError, lambda: trained(callback=3), "fit expected callback to be a function but got 3")
    refused(TypeError, lambda: trained(init=3), "fit expected init to be a function but got 3")
    for model in (None, "mlp", (MODEL.init, MODEL.apply)):
        refused(TypeError, lambda model=model: trained(model), "fit expected a layer or a function of one array")
    refused(TypeError, lambda: trained(linear), "fit got the constructor linear itself", "linear(...)")


def test_optimizers_that_are_none():
    refused(TypeError, lambda: trained(optimizer=optax.sgd), "fit expected an optimizer", "call it, as in sgd(1e-3)")
    for optimizer in ("adam", 0.1, (1, 2)):
        refused(TypeError, lambda o=optimizer: trained(optimizer=o), "fit", "optax.adam(1e-3)", repr(optimizer))
        step = lambda o=optimizer: train_step(MODEL, softmax_cross_entropy, o)  # noqa: E731
        refused(TypeError, step, "train_step", "optax.adam(1e-3)", repr(optimizer))


def test_an_init_that_returns_something_else():
    refused(TypeError, lambda: trained(init=lambda key: MODEL.init(key)[0]), "(params, state)", "a tuple of 4")
    whole = lambda key: jax.tree.map(lambda leaf: leaf.astype(int), MODEL.init(key))  # noqa: E731
    refused(TypeError, lambda: trained(init=whole), "params of floats", "1.bias is int32", "belongs to the state")
    other = lambda key: mlp((4, 7, 3)).init(key)  # noqa: E731
    refused(ValueError, lambda: trained(init=other), "linear(4, 5)", "(4, 7)", "use its own init")
    refused(TypeError, lambda: init_train_state(MODEL.init, optax.sgd(0.1), 0), "jax.random.key(0)", "got 0")
    refused(TypeError, lambda: init_train_state(MODEL, optax.sgd(0.1), jax.random.key(0)), "init to be a function")
