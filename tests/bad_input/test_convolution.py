"""What a user gets for wrong shapes, kinds and values given to convolutions, pools and the CNN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusal import refused

from jaxnn import functional, layers, models
from jaxnn.layers import conv1d, conv2d

KEY = jax.random.key(0)
POOLS = [
    layers.max_pool2d(2),
    layers.average_pool2d(2),
    layers.adaptive_average_pool2d(1),
    layers.global_average_pool(),
    layers.global_max_pool(),
]


def applied(layer, x):
    return layer.apply(*layer.init(KEY), x)[0]


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (conv2d(3, 8, 3), (2, 3, 32, 32), ("[B, H, W, 3]", "NCHW", "channels come last", "jnp.moveaxis(x, 1, -1)")),
        (conv1d(3, 8, 3), (2, 3, 32), ("[B, T, 3]", "[B, C, T]", "channels come last", "jnp.moveaxis(x, 1, -1)")),
        (conv2d(3, 8, 3), (2, 32, 32, 4), ("[B, H, W, 3]",)),
        (conv2d(3, 8, 3), (32, 32, 3), ("[B, H, W, 3]", "add the batch axis with x[None]")),
        (conv2d(1, 8, 3), (64, 28, 28), ("[B, H, W, 1]", "add the channel axis with x[..., None]")),
        (conv2d(3, 8, 3), (2, 3), ("[B, H, W, 3]",)),
        (conv1d(3, 8, 3), (2, 8, 8, 3), ("[B, T, 3]",)),
    ],
)
def test_wrong_shape_into_a_convolution(layer, shape, words, jit):
    call = lambda x: applied(layer, x)  # noqa: E731
    call = jax.jit(call) if jit else call
    refused(ValueError, lambda: call(ones(*shape)), f"{layer.name} expected x of shape", f"got {shape}", *words)


def test_the_advice_for_channels_first_works():
    assert applied(conv2d(3, 8, 3), jnp.moveaxis(ones(2, 3, 9, 8), 1, -1)).shape == (2, 7, 6, 8)


def test_kernel_larger_than_the_padded_input():
    words = ("conv2d", "kernel 5x5", "(2, 2, 9, 3)", "padded to 4x11", "smaller kernel, or more padding")
    refused(ValueError, lambda: applied(conv2d(3, 8, 5, padding=1), ones(2, 2, 9, 3)), *words)
    words = ("conv1d", "kernel 3", "dilated to 9,", "(2, 8, 3)")
    refused(ValueError, lambda: applied(conv1d(3, 8, 3, dilation=4), ones(2, 8, 3)), *words)
    assert applied(conv2d(3, 8, 5, padding=2), ones(2, 2, 9, 3)).shape == (2, 2, 9, 8)


def test_window_larger_than_the_input():
    for layer in (layers.max_pool2d(2), layers.average_pool2d(2)):
        refused(ValueError, lambda layer=layer: applied(layer, ones(2, 1, 5, 3)), "window 2x2", "(2, 1, 5, 3)", "1x5")
    refused(ValueError, lambda: applied(layers.max_pool1d(4, padding=1), ones(2, 1, 3)), "max_pool1d", "padded to 3")


def test_padding_of_more_than_half_of_the_window():
    for make in (layers.max_pool2d, layers.average_pool2d, layers.max_pool1d, layers.average_pool1d):
        refused(ValueError, lambda make=make: make(3, padding=2), make.__name__, "at most half of the window", "2")
        assert make(3, padding=1)
    refused(ValueError, lambda: functional.max_pool2d(ones(1, 4, 4, 1), 1, padding=1), "max_pool2d", "half")


@pytest.mark.parametrize("function", [conv2d, conv1d])
@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"kernel": 0}, ValueError, "kernel"),
        ({"kernel": -1}, ValueError, "kernel"),
        ({"kernel": 2.0}, TypeError, "kernel"),
        ({"kernel": (3, 3, 3)}, ValueError, "kernel"),
        ({"stride": 0}, ValueError, "stride"),
        ({"dilation": 0}, ValueError, "dilation"),
        ({"padding": -1}, ValueError, "padding"),
        ({"padding": "same"}, ValueError, "SAME, VALID"),
        ({"padding": None}, TypeError, "padding"),
        ({"groups": 0}, ValueError, "groups"),
        ({"groups": 3}, ValueError, "groups to divide in_channels but got groups=3, in_channels=4"),
        ({"groups": 4}, ValueError, "groups to divide out_channels but got groups=4, out_channels=6"),
        ({"in_channels": 0}, ValueError, "in_channels"),
        ({"out_channels": 0}, ValueError, "out_channels"),
        ({"out_channels": True}, TypeError, "out_channels"),
    ],
    ids=str,
)
def test_options_of_a_convolution(function, options, error, word):
    sizes = {"in_channels": 4, "out_channels": 6, "kernel": 3} | options
    refused(error, lambda: function(**sizes), f"{function.__name__} expected", word)


@pytest.mark.parametrize("pool", [layers.max_pool2d, layers.max_pool1d, layers.average_pool2d, layers.average_pool1d])
def test_options_of_a_pool(pool):
    for options in ({"window": 0}, {"window": 2, "stride": 0}, {"window": 2, "padding": -1}, {"window": (2, 2, 2)}):
        refused(ValueError, lambda options=options: pool(**options), f"{pool.__name__} expected", [*options][-1])
    refused(TypeError, lambda: pool("2"), f"{pool.__name__} expected", "window")


def test_sizes_of_adaptive_pools():
    refused(ValueError, lambda: layers.adaptive_average_pool2d(0), "adaptive_average_pool2d expected size")
    refused(ValueError, lambda: layers.adaptive_average_pool1d((1, 2)), "adaptive_average_pool1d expected size")
    refused(TypeError, lambda: layers.adaptive_average_pool2d(None), "adaptive_average_pool2d expected size")


@pytest.mark.parametrize("layer", [conv2d(3, 8, 3), *POOLS], ids=str)
def test_integers_suggest_normalize(layer):
    for dtype in (np.uint8, np.int32):
        x = ones(2, 8, 8, 3, dtype=dtype)
        refused(TypeError, lambda x=x: applied(layer, x), layer.name, "expected floats", "normalize(mean, std)")
    for x in (None, [[1.0]]):
        refused(TypeError, lambda x=x: applied(layer, x), layer.name, "expected x to be an array")


@pytest.mark.parametrize("layer", POOLS[:3], ids=str)
def test_wrong_axes_into_a_pool(layer):
    refused(ValueError, lambda: applied(layer, ones(8, 8, 3)), "[B, H, W, C]", "(8, 8, 3)", "x[None]", "x[..., None]")
    refused(ValueError, lambda: applied(layer, ones(8, 3)), "[B, H, W, C]", "(8, 3)")


def test_nothing_to_pool():
    for layer in (*POOLS[2:], layers.adaptive_average_pool2d(2)):
        refused(ValueError, lambda layer=layer: applied(layer, ones(2, 0, 4, 3)), "(2, 0, 4, 3)")
    for layer in POOLS[3:]:
        refused(ValueError, lambda layer=layer: applied(layer, ones(2, 3)), "(2, 3)", "[B, ..., C]")


def test_the_functions_refuse_by_themselves():
    x, kernel = ones(2, 8, 8, 4), ones(3, 3, 4, 6)
    refused(ValueError, lambda: functional.conv2d(ones(2, 4, 8, 8), kernel), "conv2d", "NCHW")
    refused(ValueError, lambda: functional.conv2d(x, kernel[0]), "conv2d", "kernel of shape", "(3, 4, 6)")
    refused(ValueError, lambda: functional.conv2d(x, kernel, ones(1)), "conv2d", "bias of shape (6,)", "(1,)")
    refused(ValueError, lambda: functional.conv2d(x, kernel[:, :, :1], groups=4), "groups to divide out_channels")
    refused(TypeError, lambda: functional.conv2d(ones(2, 8, 8, 4, dtype=np.uint8), kernel), "conv2d", "normalize")
    refused(ValueError, lambda: functional.max_pool2d(x, 9), "max_pool2d", "window 9x9")


def test_params_of_another_convolution():
    other = conv2d(3, 8, 5).init(KEY)
    words = ("conv2d(3, 8, 3)", "'weight': (3, 3, 3, 8)", "'weight': (5, 5, 3, 8)", "use its own init")
    refused(ValueError, lambda: conv2d(3, 8, 3).apply(*other, ones(2, 8, 8, 3)), *words)


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"classes": 0}, ValueError, "classes"),
        ({"in_channels": 0}, ValueError, "in_channels"),
        ({"channels": ()}, ValueError, "at least one block"),
        ({"channels": (4, 0)}, ValueError, "channels[1]"),
        ({"channels": 32}, TypeError, "channels such as"),
        ({"hidden": 0}, ValueError, "hidden"),
        ({"dropout": 1.1}, ValueError, "dropout in [0, 1]"),
    ],
    ids=str,
)
def test_options_of_the_cnn(options, error, word):
    refused(error, lambda: models.cnn(**options), "cnn expected", word)


def test_images_that_the_cnn_cannot_take():
    model = models.cnn(3, channels=(4, 5, 6))
    variables = model.init(KEY)
    take = lambda *shape: jax.eval_shape(model.apply, *variables, ones(*shape))  # noqa: E731
    refused(ValueError, lambda: take(2, 1, 28, 28), "conv2d(1, 4, 3, padding=1)", "NCHW")
    refused(ValueError, lambda: take(2, 3, 3, 1), "max_pool2d", "window 2x2", "(2, 1, 1, 5)")
    assert take(2, 4, 4, 1)[0].shape == (2, 3)
