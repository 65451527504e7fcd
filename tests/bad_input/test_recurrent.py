"""What a user gets for wrong input to recurrent networks and their classifiers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusal import refused

from jaxnn import functional, layers, models

KEY = jax.random.key(0)
KINDS = ["rnn", "lstm", "gru"]


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


def made(kind, *sizes, **options):
    layer = getattr(layers, kind)(*(sizes or (4, 6)), **options)
    return layer, layer.init(KEY)[0]


def run(kind, x, *args, sizes=(4, 6), step=False, **options):
    _, params = made(kind, *sizes)
    if step:
        return getattr(functional, f"{kind}_step")(params, *args, x)
    return getattr(functional, kind)(params, x, *args, **options)


def pair(kind, h):
    return (h, h) if kind == "lstm" else h


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("sizes", "words"),
    [((0, 6), "input_size"), ((4, 0), "hidden_size"), ((4, -1), "hidden_size"), ((4, 6, 0), "num_layers")],
)
def test_sizes(kind, sizes, words):
    refused(ValueError, lambda: made(kind, *sizes), f"{kind} expected {words} to be a positive integer")
    refused(TypeError, lambda: made(kind, 4, 6.0), f"{kind} expected hidden_size to be a positive integer")


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
@pytest.mark.parametrize("kind", KINDS)
def test_dropout(kind, rate):
    refused(ValueError, lambda: made(kind, 4, 6, 2, dropout=rate), f"{kind} expected dropout in [0, 1]")
    refused(ValueError, lambda: run(kind, ones(2, 3, 4), dropout=rate), f"{kind} expected dropout in [0, 1]")
    layer, params = made(kind, 4, 6, 2, dropout=0.5)
    refused(ValueError, lambda: layer.apply(params, (), ones(2, 3, 4), train=True), layer.name, "needs randomness")
    refused(TypeError, lambda: layer.apply(params, (), ones(2, 3, 4), key=3, train=True), layer.name, "expected a key")


def test_activation():
    refused(TypeError, lambda: layers.rnn(4, 6, activation="relu"), "rnn expected activation to be a function")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((3, 4), "add the batch axis with x[None]"),
        ((4,), "got (4,)"),
        ((2, 3, 5), "[..., 4] but got (2, 3, 5)"),
        ((2, 4, 7), "channels come last"),
        ((2, 3, 4, 1), "an image read row by row is x[..., 0]"),
    ],
)
def test_shape_of_x(kind, shape, words):
    layer, params = made(kind)
    refused(ValueError, lambda: layer.apply(params, (), ones(*shape)), f"{layer.name} expected x", words)
    refused(ValueError, lambda: jax.jit(layer.apply)(params, (), ones(*shape)), f"{layer.name} expected x", words)
    refused(ValueError, lambda: run(kind, ones(*shape)), f"{kind} expected x", words)


@pytest.mark.parametrize("kind", KINDS)
def test_kind_of_x(kind):
    layer, params = made(kind)
    refused(TypeError, lambda: layer.apply(params, (), ones(2, 3, 4, dtype=np.uint8)), layer.name, "put normalize")
    refused(TypeError, lambda: layer.apply(params, (), [[1.0]]), layer.name, "to be an array")


@pytest.mark.parametrize("kind", KINDS)
def test_carry(kind):
    x, fit = ones(2, 3, 4), pair(kind, ones(1, 2, 6))
    run(kind, x, fit)
    for shape in ((1, 3, 6), (1, 1, 6), (2, 2, 6), (1, 2, 5), (2, 6)):  # a batch of 1 would broadcast
        wrong = pair(kind, ones(*shape))
        words = (f"{kind} expected a carry of shape [layers, B, H] = (1, 2, 6)", f"got {shape}")
        refused(ValueError, lambda wrong=wrong, words=words: run(kind, x, wrong), *words)
    refused(ValueError, lambda: run(kind, x[:, 0], wrong, step=True), f"{kind}_step expected a carry")
    integers = pair(kind, ones(1, 2, 6, dtype=np.int32))
    refused(TypeError, lambda: run(kind, x, integers), f"{kind} expected a carry of floats but got int32")


def test_the_carry_of_an_lstm_is_a_pair():
    refused(
        TypeError, lambda: run("lstm", ones(2, 3, 4), ones(1, 2, 6)), "lstm expected the carry to be the pair (h, c)"
    )
    refused(
        TypeError, lambda: run("gru", ones(2, 3, 4), pair("lstm", ones(1, 2, 6))), "gru expected the carry to be an"
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("lengths", "error", "words"),
    [
        (np.array([3, 4]), ValueError, "lengths in 0..3, the time steps of x, but lengths[1] is 4"),
        (np.array([-1, 3]), ValueError, "but lengths[0] is -1"),
        (np.array([3]), ValueError, "lengths of shape (2,), one a sequence, but got (1,)"),
        (np.array([[3], [2]]), ValueError, "but got (2, 1)"),
        (np.array([3.0, 2.0]), TypeError, "integer lengths but got float64"),
        (np.ones((2, 3), bool), TypeError, "take mask.sum(1)"),
        ([3, 2], TypeError, "expected lengths to be an array but got list"),
    ],
)
def test_lengths(kind, lengths, error, words):
    layer, params = made(kind)
    refused(error, lambda: run(kind, ones(2, 3, 4), None, lengths), f"{kind} expected", words)
    refused(error, lambda: layer.apply(params, (), ones(2, 3, 4), lengths=lengths), f"{kind} expected", words)
    refused(error, lambda: functional.last_step(ones(2, 3, 4), lengths), "last_step expected", words)


@pytest.mark.parametrize("kind", KINDS)
def test_params_of_another_network(kind):
    layer, params = made(kind)
    x, own = ones(2, 3, 4), "use its own init"
    for other in (made(kind, 4, 5)[1], made(kind, 4, 6, 2)[1], made(kind, 4, 6, bidirectional=True)[1]):
        refused(ValueError, lambda other=other: layer.apply(other, (), x), layer.name, own)
    for other in ((), {}, params[0], ({"weight": ones(4, 6)},), made("gru" if kind != "gru" else "rnn")[1]):
        refused(ValueError, lambda other=other: layer.apply(other, (), x), layer.name, own)
        refused(ValueError, lambda other=other: getattr(functional, kind)(other, x), kind, own)


@pytest.mark.parametrize("kind", KINDS)
def test_step(kind):
    carry = pair(kind, ones(1, 2, 6))
    refused(ValueError, lambda: run(kind, ones(2, 3, 4), carry, step=True), f"{kind}_step expected x", "x[:, t]")
    refused(ValueError, lambda: run(kind, ones(2, 5), carry, step=True), f"{kind}_step expected x", "[..., 4]")
    _, params = made(kind, 4, 6, bidirectional=True)
    step = getattr(functional, f"{kind}_step")
    refused(ValueError, lambda: step(params, pair(kind, ones(2, 2, 6)), ones(2, 4)), f"{kind}_step", "bidirectional")


def test_zero_carry():
    _, params = made("lstm")
    refused(ValueError, lambda: functional.zero_carry(params, 0), "zero_carry expected batch to be a positive integer")


CLASSIFIERS = [models.rnn_classifier, models.lstm_classifier, models.gru_classifier]


@pytest.mark.parametrize("make", CLASSIFIERS)
def test_classifiers(make):
    name = make.__name__
    refused(ValueError, lambda: make(4, 6, 1, 0), f"{name} expected num_classes to be a positive integer")
    refused(ValueError, lambda: make(4, 6, 1, 2, dropout=2), f"{name} expected dropout in [0, 1]")
    refused(ValueError, lambda: make(4, 6, 1, 2, pad_id=0), f"{name} expected vocabulary_size with pad_id=0")
    refused(
        ValueError, lambda: make(4, 6, 1, 2, vocabulary_size=0), f"{name} expected vocabulary_size to be a positive"
    )
    refused(ValueError, lambda: make(4, 6, 1, 2, vocabulary_size=3, pad_id=3), f"{name} expected pad_id in 0..2")
    model = make(4, 6, 1, 2)
    params, state = model.init(KEY)
    refused(ValueError, lambda: model.apply(params, state, ones(2, 0, 4)), "last_step expected", "at least one step")


@pytest.mark.parametrize("make", CLASSIFIERS)
@pytest.mark.parametrize("pad_id", [None, 0])
def test_tokens(make, pad_id):
    model = make(4, 6, 1, 2, vocabulary_size=5, pad_id=pad_id)
    params, state = model.init(KEY)
    apply = lambda x: model.apply(params, state, x)  # noqa: E731
    refused(TypeError, lambda: apply(ones(2, 3)), "expected integers but got float32")
    refused(ValueError, lambda: apply(np.array([[1, 5]])), "expected integers in 0..4 but x[0, 1] is 5")
    refused(ValueError, lambda: apply(np.array([[2**33, 1]])), "expected integers in 0..4")
    refused(ValueError, lambda: apply(np.array([1, 2])), "add the batch axis with x[None]")
    refused(ValueError, lambda: apply(np.zeros((2, 0), np.int32)), "at least one step")
    assert jnp.isnan(jax.jit(apply)(np.array([[1, 7]]))[0]).all()  # under jit no value is known
