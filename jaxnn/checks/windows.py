"""Checks of convolutions and pools: sizes along the axes of a window, and whether it fits into x."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks.arrays import array
from jaxnn.checks.numbers import non_negative_int, one_of, positive_int
from jaxnn.types import Array

LAYOUTS = {1: "[B, T, {}]", 2: "[B, H, W, {}]"}
"""The shape of x by the number of axes that the window slides along."""


def per_axis(function: str, name: str, value: Any, axes: int, *, minimum: int = 1) -> tuple[int, ...]:
    """Return one integer an axis; refuse anything but an integer, for all axes, or a tuple with one for each.

    >>> per_axis("max_pool2d", "window", 2, 2), per_axis("max_pool2d", "window", (2, 3), 2)
    ((2, 2), (2, 3))
    """
    check = positive_int if minimum else non_negative_int
    if not isinstance(value, tuple | list):
        check(function, name, value)
        return (int(value),) * axes
    if len(value) != axes:
        raise ValueError(f"{function} expected {name} to be an integer or {axes} of them but got {value!r}")
    for i, size in enumerate(value):
        check(function, f"{name}[{i}]", size)
    return tuple(int(size) for size in value)


def padding(function: str, value: Any, axes: int) -> tuple[int, ...] | str:
    """Return "SAME", "VALID" or one integer an axis; refuse anything else.

    >>> padding("conv2d", "same", 2)
    Traceback (most recent call last):
    ValueError: conv2d expected padding to be one of SAME, VALID but got 'same'
    """
    if isinstance(value, str):
        one_of(function, "padding", value, ("SAME", "VALID"))
        return value
    return per_axis(function, "padding", value, axes, minimum=0)


def window_axes(name: str, x: Array, axes: int, channels: int | None = None) -> None:
    """Refuse an x that has not the batch first, then the axes of the window, and the channels (how many) last."""
    if x.ndim == axes + 2 and (channels is None or x.shape[-1] == channels):
        return
    hint = ""
    if x.ndim == axes + 2 and x.shape[1] == channels:
        first, last = ("NCHW", "NHWC") if axes == 2 else ("[B, C, T]", "[B, T, C]")
        hint = f": this looks like {first}, but channels come last ({last}), so use jnp.moveaxis(x, 1, -1)"
    elif x.ndim == axes + 1 and channels is not None and x.shape[-1] == channels:
        hint = ": add the batch axis with x[None]"
    elif x.ndim == axes + 1 and channels == 1:
        hint = ": add the channel axis with x[..., None]"
    elif x.ndim == axes + 1:
        hint = ": add the batch axis with x[None], or the channel axis with x[..., None]"
    expected = LAYOUTS[axes].format("C" if channels is None else channels)
    raise ValueError(f"{name} expected x of shape {expected} but got {x.shape}{hint}")


def images(name: str, x: Any) -> jax.Array:
    """Return x as a JAX array [B, H, W, C] of uint8 or floats; refuse other shapes and dtypes.

    >>> images("shift(2)", np.zeros((8, 3, 32, 32), np.uint8))
    Traceback (most recent call last):
    ValueError: shift(2) expected x of shape [B, H, W, 3] but got (8, 3, 32, 32): this looks like NCHW, but ...
    """
    array(name, "x", x)
    if x.dtype != np.uint8 and not jnp.issubdtype(x.dtype, jnp.floating):
        hint = "convert with x.astype('uint8') if they are 0..255, or x.astype('float32')"
        raise TypeError(f"{name} expected images of uint8 or floats but got {x.dtype} of shape {x.shape}: {hint}")
    if x.ndim == 2:
        expected = f"{name} expected x of shape [B, H, W, C] but got {x.shape}"
        raise ValueError(f"{expected}: undo the flattening with x.reshape(-1, height, width, channels)")
    window_axes(name, x, 2)
    # No picture is 1 or 3 pixels high with as many channels as columns.
    if x.shape[1] in (1, 3) and x.shape[2] == x.shape[3] > 3:
        window_axes(name, x, 2, x.shape[1])
    return jnp.asarray(x)


def divides(function: str, groups: int, **sizes: int) -> None:
    """Refuse groups that do not divide the channels.

    >>> divides("conv2d", 2, in_channels=3)
    Traceback (most recent call last):
    ValueError: conv2d expected groups to divide in_channels but got groups=2, in_channels=3
    """
    for name, size in sizes.items():
        if size % groups:
            raise ValueError(f"{function} expected groups to divide {name} but got {groups=}, {name}={size}")


def window_fits(
    function: str, what: str, x: Array, window: tuple[int, ...], ends: tuple[tuple[int, int], ...], dilation: Any = 1
) -> None:
    """Refuse a window that is larger than the padded x."""
    padded = tuple(size + low + high for size, (low, high) in zip(x.shape[1:-1], ends, strict=True))
    spans = tuple((size - 1) * d + 1 for size, d in zip(window, np.broadcast_to(dilation, len(window)), strict=True))
    if any(span > size for span, size in zip(spans, padded, strict=True)):
        spread = "" if spans == window else f", dilated to {_sizes(spans)},"
        raise ValueError(
            f"{function} expected a {what} no larger than the padded x but got {what} {_sizes(window)}{spread} and "
            f"x of shape {x.shape}, padded to {_sizes(padded)}: use a smaller {what}, or more padding"
        )


def pool_padding(function: str, given: tuple[int, ...] | str, window: tuple[int, ...]) -> None:
    """Refuse padding of more than half of the window: a window could lie in it altogether."""
    if not isinstance(given, str) and any(2 * low > size for low, size in zip(given, window, strict=True)):
        raise ValueError(f"{function} expected padding of at most half of the window {window} but got {given}")


def _sizes(sizes: tuple[int, ...]) -> str:
    return "x".join(str(int(size)) for size in sizes)
