"""What a user gets for wrong shapes, kinds and values given to layers, losses, metrics and trees."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from refusal import refused

from jaxnn import tree
from jaxnn.initializers import kaiming
from jaxnn.layers import batch_norm, dropout, flatten, linear, normalize, repeat, residual, sequential
from jaxnn.losses import softmax_cross_entropy
from jaxnn.metrics import accuracy, confusion_matrix
from jaxnn.models import mlp

KEY = jax.random.key(0)
LOGITS = np.zeros((4, 3), np.float32)
LABELS = np.array([0, 1, 2, 0], np.int32)


def applied(layer, x, **options):
    return layer.apply(*layer.init(KEY), x, **options)[0]


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


# Shapes


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 5), ()),
        ((), ()),
        ((32, 28, 28, 1), ("put flatten before it",)),
        ((28, 28), ("add the batch axis with x[None]",)),
        ((2, 784, 7, 7), ("channels come last", "jnp.moveaxis(x, 1, -1)")),
    ],
)
def test_wrong_feature_count(shape, words, jit):
    call = partial(applied, linear(784, 512))
    call = jax.jit(call) if jit else call
    x = ones(*shape) if shape else jnp.float32(1)
    refused(ValueError, lambda: call(x), "linear(784, 512) expected x of shape [..., 784]", f"got {shape}", *words)


def test_channels_first():
    images = ones(2, 3, 8, 8)
    for layer in (batch_norm(3), normalize((0.1, 0.2, 0.3), (1, 1, 1))):
        refused(
            ValueError,
            lambda layer=layer: applied(layer, images, train=True),
            layer.name,
            "[..., 3]",
            "channels come last",
        )
    moved = jnp.moveaxis(images, 1, -1)
    assert applied(batch_norm(3), moved, train=True).shape == (2, 8, 8, 3)


def test_flatten_needs_a_batch_axis_and_an_array():
    refused(
        ValueError, lambda: applied(flatten(), ones(4)), "flatten() expected x of shape [B, ...]", "(4,)", "x[None]"
    )
    for x in ([[1.0]], 1.0, None):
        refused(TypeError, lambda x=x: applied(flatten(), x), "flatten()", "an array", type(x).__name__)


@pytest.mark.parametrize("shape", [(1, 4), (4,), (1, 1, 1, 4), (0, 4)])
def test_batch_norm_of_one_value_or_none_a_channel(shape):
    words = (f"from {0 if 0 in shape else 1} value a channel", str(shape), "larger batch", "train=False")
    refused(ValueError, lambda: applied(batch_norm(4), ones(*shape), train=True), "batch_norm(4)", *words)
    assert applied(batch_norm(4), ones(*shape)).shape == shape


def test_residual_must_keep_the_shape():
    refused(
        ValueError, lambda: applied(residual(linear(4, 3)), ones(2, 4)), "residual(linear(4, 3))", "(2, 4)", "(2, 3)"
    )
    refused(ValueError, lambda: applied(residual(lambda x: x[:1]), ones(2, 4)), "residual", "(2, 4)", "(1, 4)")


@pytest.mark.parametrize(
    ("model", "other", "words"),
    [
        (linear(4, 3), linear(4, 7).init(KEY), ("linear(4, 3)", "params", "'weight': (4, 3)", "'weight': (4, 7)")),
        (linear(4, 3), linear(4, 3, bias=False).init(KEY), ("linear(4, 3)", "'bias': (3,)")),
        (linear(4, 3, bias=False), linear(4, 3).init(KEY), ("bias=False", "but got", "'bias': (3,)")),
        (linear(4, 3), ((), ()), ("linear(4, 3)", "'weight': (4, 3)", "but got tuple")),
        (linear(4, 3), ({"weight": ones(4, 3), "bias": ones(1)}, ()), ("'bias': (3,)", "'bias': (1,)")),
        (batch_norm(4), batch_norm(1).init(KEY), ("batch_norm(4)", "params", "'scale': (4,)", "'scale': (1,)")),
        (batch_norm(4), (batch_norm(4).init(KEY)[0], ()), ("batch_norm(4)", "state", "'mean': (4,)", "tuple")),
        (mlp((4, 3, 2)), mlp((4, 3, 3, 2)).init(KEY), ("mlp((4, 3, 2))", "params", "a tuple of 4", "a tuple of 6")),
        (mlp((4, 3, 2)), linear(4, 2).init(KEY), ("mlp((4, 3, 2))", "params", "a tuple of 4", "got dict")),
        (mlp((4, 3, 2)), (mlp((4, 3, 2)).init(KEY)[0], ()), ("state", "a tuple of 4", "a tuple of 0")),
        (mlp((4, 5, 2)), mlp((4, 3, 2)).init(KEY), ("linear(4, 5)", "(4, 5)", "(4, 3)")),
    ],
)
def test_params_and_state_of_another_model(model, other, words):
    for train in (False, True):
        call = lambda train=train: model.apply(*other, ones(2, 4), train=train)  # noqa: E731
        refused(ValueError, call, "expected", "use its own init", *words)


# Kinds


@pytest.mark.parametrize("layer", [linear(4, 3), batch_norm(4), dropout(0.5)])
@pytest.mark.parametrize("jit", [False, True])
def test_integers_into_a_float_layer(layer, jit):
    call = partial(applied, layer, train=True, key=KEY)
    call = jax.jit(call) if jit else call
    for dtype in (np.uint8, np.int32, np.int64, bool):
        x = ones(2, 4, dtype=dtype)
        name = str(jnp.asarray(x).dtype)
        words = (layer.name, "expected floats", name, "normalize(mean, std)", "x.astype('float32')")
        refused(TypeError, lambda x=x, words=words: call(x), *words)
    refused(TypeError, lambda: call(ones(2, 4, dtype=np.complex64)), layer.name, "complex64", "x.real")


def test_the_advice_for_integers_works():
    images, numbers = ones(2, 4, dtype=np.uint8), ones(2, 4, dtype=np.int32)
    assert applied(sequential(normalize(0.5, 0.5), linear(4, 3)), images).shape == (2, 3)
    assert applied(sequential(normalize(0.5, 0.5), linear(4, 3)), numbers.astype("float32")).shape == (2, 3)
    words = ("normalize(0.5, 0.5)", "uint8", "int32", "x.astype('float32')")
    refused(TypeError, lambda: applied(normalize(0.5, 0.5), numbers), *words)


@pytest.mark.parametrize("layer", [linear(4, 3), batch_norm(4), normalize(0.0, 1.0), dropout(0.5)])
def test_what_is_no_array_of_numbers(layer):
    call = partial(applied, layer, train=True, key=KEY)
    for x in ([[1.0, 2.0, 3.0, 4.0]], None, "words"):
        refused(TypeError, lambda x=x: call(x), layer.name, "expected x to be an array", type(x).__name__)
    for x in (np.array([[1, 2, 3, None]], object), np.array([list("abcd")])):
        refused(TypeError, lambda x=x: call(x), layer.name, "expected x to be numbers", str(x.dtype), "(1, 4)")


def test_float64_becomes_float32():
    x = np.random.default_rng(0).standard_normal((2, 4))
    for layer in (linear(4, 3), batch_norm(4), normalize(0.1, 0.2), dropout(0.5), mlp((4, 3, 2), batch_norm=True)):
        y = applied(layer, x, train=True, key=KEY)
        assert y.dtype == jnp.float32
        np.testing.assert_array_equal(y, applied(layer, x.astype(np.float32), train=True, key=KEY))


@pytest.mark.filterwarnings("error")
def test_float64_logits_become_float32_without_a_warning():
    assert softmax_cross_entropy(LOGITS.astype(float), LABELS).dtype == jnp.float32


def test_float64_stays_under_x64():
    x = np.random.default_rng(0).standard_normal((2, 4))
    with jax.enable_x64(True):
        params, state = linear(4, 3).init(KEY)
        y, _ = linear(4, 3).apply(params, state, x)
        expected = x @ np.asarray(params["weight"], float) + np.asarray(params["bias"], float)
        assert y.dtype == jnp.float64
        np.testing.assert_allclose(y, expected, rtol=1e-14)
        for layer in (batch_norm(4), normalize(0.1, 0.2), dropout(0.5), mlp((4, 3, 2), batch_norm=True)):
            assert applied(layer, x, train=True, key=KEY).dtype == jnp.float64
        assert softmax_cross_entropy(LOGITS.astype(float), LABELS).dtype == jnp.float64


def test_nan_is_passed_on():
    for layer in (linear(4, 3), batch_norm(4), normalize(0.1, 0.2), mlp((4, 3, 2))):
        assert np.isnan(applied(layer, np.full((2, 4), np.nan, np.float32))).all()


def test_randomness_that_is_missing_or_no_key():
    words = ("dropout(0.5)", "key=jax.random.key(...)", "train=False")
    refused(ValueError, lambda: applied(dropout(0.5), ones(2, 4), train=True), *words)
    refused(ValueError, lambda: applied(sequential(dropout(0.5)), ones(2, 4), train=True), *words)
    for layer in (dropout(0.5), sequential(linear(4, 3), dropout(0.5))):
        call = partial(applied, layer, ones(2, 4), train=True)
        refused(TypeError, lambda call=call: call(key=0), layer.name, "jax.random.key(0)", "but got 0")
        keys = jax.random.split(KEY, 3)
        refused(ValueError, lambda call=call, keys=keys: call(key=keys), layer.name, "one key", "(3,)", "jax.vmap")
    for layer in (linear(4, 3), mlp((4, 3, 2))):
        refused(TypeError, lambda layer=layer: layer.init(7), layer.name, "jax.random.key(0)", "but got 7")


def test_uncalled_constructors():
    for constructor in (linear, dropout, flatten, batch_norm, normalize, sequential, residual, mlp):
        name = constructor.__name__
        words = ("sequential, part 1,", f"the constructor {name} itself", f"{name}(...)")
        refused(TypeError, lambda c=constructor: sequential(jnp.tanh, c), *words)
        refused(TypeError, lambda c=constructor: residual(c), "residual", f"{name}(...)")
        refused(TypeError, lambda c=constructor: mlp((2, 3, 2), activation=c), "mlp", f"{name}(...)")
        refused(TypeError, lambda c=constructor: sequential(partial(c)), f"{name}(...)")


def test_what_is_no_layer():
    for part in (None, "relu", 3, [linear(4, 3)], optax.sgd(0.1)):
        refused(
            TypeError, lambda part=part: sequential(part), "sequential, part 0,", "a layer or a function", repr(part)
        )
    refused(ValueError, sequential, "sequential expected at least one part")


# Values


def test_dropout_of_everything_gives_zeros_and_no_gradient():
    f = lambda x: applied(dropout(1.0), x, train=True, key=KEY)  # noqa: E731
    x = jnp.array([1.0, -2.0, 1e30])
    for call in (f, jax.jit(f)):
        assert call(x).tolist() == [0, 0, 0]
        assert jax.grad(lambda x, call=call: (call(x) ** 2 + call(x)).sum())(x).tolist() == [0, 0, 0]


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), float("inf")])
def test_dropout_rate_out_of_range(rate):
    refused(ValueError, lambda: dropout(rate), "dropout expected rate in [0, 1]", f"got {rate}")
    refused(ValueError, lambda: dropout(np.float32(rate)), "dropout expected rate in [0, 1]")
    refused(ValueError, lambda: mlp((2, 3, 2), dropout=rate), "mlp expected dropout in [0, 1]", f"got {rate}")


def test_dropout_rate_that_is_no_number():
    for rate in ("0.5", None, True, 0.5j):
        refused(TypeError, lambda rate=rate: dropout(rate), "dropout expected rate to be a number", repr(rate))
        refused(TypeError, lambda rate=rate: mlp((2, 3, 2), dropout=rate), "mlp expected dropout", repr(rate))
    for rate in (np.array([0.1, 0.2]), np.array([2.0]), jnp.array([0.5])):
        refused(ValueError, lambda rate=rate: dropout(rate), "rate to be one number", f"shape {rate.shape}")


def test_bytes_with_a_mean_in_0_to_255():
    """Mean and standard deviation of the bytes themselves, given where those of 0..1 are due."""
    pixels = np.full((2, 4), 30, np.uint8)
    refused(ValueError, lambda: applied(normalize(33.3, 78.6), pixels), "normalize(33.3, 78.6)", "0..1", "by 255")
    assert applied(normalize(33.3, 78.6), pixels.astype(np.float32)).dtype == jnp.float32
    assert applied(normalize(33.3 / 255, 78.6 / 255), pixels).dtype == jnp.float32


# Losses and metrics


@pytest.mark.parametrize("function", [softmax_cross_entropy, accuracy])
@pytest.mark.parametrize("jit", [False, True])
def test_labels_of_another_shape_or_kind(function, jit):
    call = jax.jit(function) if jit else function
    name = function.__name__
    one_hot = np.eye(4, 3)
    expected = f"{name} expected labels of shape (4,) for logits (4, 3)"
    refused(ValueError, lambda: call(LOGITS, LABELS[:, None]), expected, "(4, 1)", "labels[..., 0]")
    refused(ValueError, lambda: call(LOGITS, LABELS[:3]), expected, "(3,)")
    refused(ValueError, lambda: call(LOGITS, one_hot.astype(int)), expected, "(4, 3)", "labels.argmax(-1)")
    if function is accuracy:  # to the loss they are soft targets
        refused(TypeError, lambda: call(LOGITS, one_hot), name, "integer labels", "float", "labels.argmax(-1)")
    for dtype in (np.float32, bool):
        words = (name, "expected integer labels", np.dtype(dtype).name, "(4,)", "labels.astype('int32')")
        refused(TypeError, lambda dtype=dtype, words=words: call(LOGITS, LABELS.astype(dtype)), *words)
    refused(ValueError, lambda: call(LABELS, LOGITS), name, "logits of shape [B, classes]", "(4,)")
    refused(ValueError, lambda: call(LOGITS[:, :0], LABELS), name, "logits of shape [B, classes]", "(4, 0)")
    refused(
        TypeError, lambda: call(LOGITS.astype(int), LABELS), name, "logits to be floats", "int32" if jit else "int64"
    )


@pytest.mark.parametrize("function", [softmax_cross_entropy, accuracy])
def test_logits_and_labels_that_are_no_arrays(function):
    name = function.__name__
    refused(TypeError, lambda: function(LOGITS.tolist(), LABELS), name, "logits to be an array", "list")
    refused(TypeError, lambda: function(LOGITS, LABELS.tolist()), name, "labels to be an array", "list")
    refused(TypeError, lambda: function(LOGITS, None), name, "labels to be an array", "NoneType")
    refused(TypeError, lambda: function(LOGITS, np.array(list("abca"))), name, "labels to be numbers", "<U1")
    refused(TypeError, lambda: function(LOGITS, LABELS.astype(object)), name, "labels to be numbers", "object")
    refused(TypeError, lambda: function(LOGITS.astype(object), LABELS), name, "logits to be numbers", "object")


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("label", [-1, 3, 2**31 - 1])
def test_a_label_that_there_is_no_output_for(label, jit):
    labels = LABELS.copy()
    labels[1] = label
    loss, right = (jax.jit(f) if jit else f for f in (softmax_cross_entropy, accuracy))
    assert np.isnan(loss(LOGITS, labels)).tolist() == [False, True, False, False]
    assert right(LOGITS, labels).tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("label", [2**33, 2**32 + 1, -(2**32)])
def test_a_label_that_would_wrap_around_on_the_device(label):
    labels = LABELS.astype(np.int64)
    labels[1] = label
    for function in (softmax_cross_entropy, accuracy):
        words = (function.__name__, "0..2 (3 classes)", "targets[1]", str(label))
        refused(ValueError, lambda function=function: function(LOGITS, labels), *words)
        refused(ValueError, lambda function=function: jax.jit(lambda z: function(z, labels))(LOGITS), *words)


def test_nan_logits_are_never_right():
    assert accuracy(LOGITS * np.nan, LABELS).tolist() == [0, 0, 0, 0]
    assert np.isnan(softmax_cross_entropy(LOGITS * np.nan, LABELS)).all()


@pytest.mark.parametrize("smoothing", [1.5, -0.1, float("nan")])
def test_label_smoothing_out_of_range(smoothing):
    call = partial(softmax_cross_entropy, LOGITS, LABELS, label_smoothing=smoothing)
    refused(ValueError, call, "softmax_cross_entropy expected label_smoothing in [0, 1]", f"got {smoothing}")


def test_label_smoothing_that_is_no_number():
    for value in (None, "0.1", True):
        call = partial(softmax_cross_entropy, LOGITS, LABELS, label_smoothing=value)
        refused(TypeError, call, "softmax_cross_entropy", "label_smoothing", "a number", repr(value))
    call = partial(softmax_cross_entropy, LOGITS, LABELS, label_smoothing=np.full(4, 0.1))
    refused(ValueError, call, "label_smoothing to be one number", "(4,)")


def test_confusion_matrix():
    call = confusion_matrix
    refused(ValueError, lambda: call([0, 2], [0, 1], 2), "confusion_matrix", "0..1 (2 classes)", "predicted[1] is 2")
    refused(ValueError, lambda: call([0, -1], [0, 1], 2), "predicted[1] is -1")
    refused(ValueError, lambda: call([0, 1], [0, -1], 2), "labels[1] is -1")
    refused(ValueError, lambda: call([0, 1], [2**33, 1], 2), "labels[0] is 8589934592")
    refused(ValueError, lambda: call(np.array([2**63], np.uint64), [0], 2), "predicted[0] is 9223372036854775808")
    refused(ValueError, lambda: call([0, 1], [0], 2), "confusion_matrix got (2,) predictions for (1,) labels")
    refused(ValueError, lambda: call(np.zeros((2, 2), int), np.zeros((2, 2), int), 2), "shape [N]", "(2, 2)")
    refused(ValueError, lambda: call(0, 0, 2), "shape [N]", "()")
    for array in (np.array([0.0]), ["a"], [True], LOGITS):
        refused(TypeError, lambda array=array: call(array, [0], 2), "confusion_matrix expected integers", "of shape")
    for classes in (0, -1):
        refused(ValueError, lambda classes=classes: call([0], [0], classes), "classes", "positive integer")
    for classes in (2.5, True):
        refused(TypeError, lambda classes=classes: call([0], [0], classes), "classes", "positive integer")
    assert call(np.array([], int), np.array([], int), 2).tolist() == [[0, 0], [0, 0]]


# Trees


def test_mask():
    params = ({"weight": 1, "bias": 2},)
    refused(ValueError, lambda: tree.mask(params, "scale"), "mask", "'scale'", "0.bias, 0.weight")
    refused(ValueError, lambda: tree.mask((), ".*"), "the paths are none")
    refused(ValueError, lambda: tree.mask(params, "("), "mask", "regular expression", "'('")
    refused(TypeError, lambda: tree.mask(params, None), "mask", "regular expression", "None")


def test_where_never_broadcasts():
    one, column, flag = {"a": ones(3)}, {"a": ones(3, 1)}, jnp.array(True)
    refused(ValueError, lambda: tree.where(flag, one, column), "where", "equal shapes", "(3,)", "(3, 1)")
    refused(ValueError, lambda: tree.where(jnp.ones(3, bool), one, one), "where", "one condition", "(3,)")
    refused(ValueError, lambda: tree.where(flag, one, {"b": ones(3)}), "where", "same leaves", "'b'")


def test_kaiming_of_stacked_weights():
    refused(
        ValueError,
        lambda: kaiming(sequential(repeat(linear(4, 4), 3))),
        "kaiming",
        "stacked",
        "repeat(linear(4, 4), 3)",
    )
