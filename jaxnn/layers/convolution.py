"""Convolution layers over images and over sequences."""

import math

import jax

from jaxnn import checks, functional
from jaxnn.functional.windows import Padding, Sizes
from jaxnn.initializers import fan_in_uniform, fans, uniform
from jaxnn.types import Layer


def conv2d(
    in_channels: int,
    out_channels: int,
    kernel: Sizes,
    *,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    bias: bool = True,
) -> Layer:
    """Make the convolution of images, [B, H, W, in] -> [B, H', W', out], H' = (H + 2 padding - kernel) // stride + 1.

    `kernel`, `stride`, `padding` and `dilation` are a number or (height, width); padding may be "SAME"
    (H' = ceil(H / stride)) or "VALID" (none), too. The formula is that of `functional.conv2d`.

    params: weight [KH, KW, in / groups, out], bias [out] (PyTorch: weight [out, in / groups, KH, KW], images
    [B, C, H, W]). Both are drawn from U(-b, b), b = 1 / sqrt(KH KW in / groups), PyTorch's default. Raises ValueError
    for an x with other channels (channels come last), one smaller than the kernel after padding, and for groups that
    do not divide the channels; TypeError for integers. LeCun, Bottou, Bengio, Haffner, 1998, Gradient-Based Learning
    Applied to Document Recognition.

    >>> import jax.numpy as jnp
    >>> layer = conv2d(1, 32, 3, padding=1)
    >>> params, state = layer.init(jax.random.key(0))
    >>> layer, layer.apply(params, state, jnp.ones((64, 28, 28, 1)))[0].shape
    (conv2d(1, 32, 3, padding=1), (64, 28, 28, 32))
    """
    return _convolution("conv2d", 2, in_channels, out_channels, kernel, stride, padding, dilation, groups, bias)


def conv1d(
    in_channels: int,
    out_channels: int,
    kernel: Sizes,
    *,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    bias: bool = True,
) -> Layer:
    """Make the convolution of sequences, [B, T, in] -> [B, T', out], T' = (T + 2 padding - kernel) // stride + 1.

    params: weight [K, in / groups, out], bias [out]; all else as in `conv2d`.

    >>> import jax.numpy as jnp
    >>> layer = conv1d(16, 32, 5, padding="SAME", bias=False)
    >>> params, state = layer.init(jax.random.key(0))
    >>> layer, layer.apply(params, state, jnp.ones((8, 20, 16)))[0].shape
    (conv1d(16, 32, 5, padding='SAME', bias=False), (8, 20, 32))
    """
    return _convolution("conv1d", 1, in_channels, out_channels, kernel, stride, padding, dilation, groups, bias)


def _convolution(function, axes, in_channels, out_channels, kernel, stride, padding, dilation, groups, bias) -> Layer:
    for what, size in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
        checks.positive_int(function, what, size)
    checks.divides(function, groups, in_channels=in_channels, out_channels=out_channels)
    window = checks.per_axis(function, "kernel", kernel, axes)
    for what, sizes in (("stride", stride), ("dilation", dilation)):
        checks.per_axis(function, what, sizes, axes)
    checks.padding(function, padding, axes)
    options = {"stride": (stride, 1), "padding": (padding, 0), "dilation": (dilation, 1), "groups": (groups, 1)}
    options["bias"] = bias, True
    given = "".join(f", {what}={value!r}" for what, (value, default) in options.items() if value != default)
    name = f"{function}({in_channels}, {out_channels}, {kernel}{given})"
    shapes = {"weight": (*window, in_channels // groups, out_channels)} | ({"bias": (out_channels,)} if bias else {})
    convolve = functional.conv2d if axes == 2 else functional.conv1d

    def init(key, /):
        checks.random_key(name, key)
        weight_key, bias_key = jax.random.split(key)
        params = {"weight": fan_in_uniform(weight_key, shapes["weight"])}
        if bias:
            params["bias"] = uniform(bias_key, shapes["bias"], 1 / math.sqrt(fans(shapes["weight"])[0]))
        return params, ()

    def apply(params, state, x, /, *, key=None, train=False):
        x = checks.float_input(name, x)
        checks.window_axes(name, x, axes, in_channels)
        checks.own_entries(name, "params", params, shapes)
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        return convolve(x, params["weight"], params.get("bias"), **options), state

    return Layer(init, apply, name)
