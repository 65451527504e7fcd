"""Where a window lies as it slides over x: padding in numbers, and the entries under each place of the window."""

from collections.abc import Callable
from functools import reduce
from typing import Literal, TypeAlias

import jax

Sizes: TypeAlias = int | tuple[int, ...] | list[int]
"""One number for every axis, or one an axis: (height, width)."""

Padding: TypeAlias = Sizes | Literal["SAME", "VALID"]
"""Zeros at both ends of each axis; "VALID" is 0, and "SAME" makes the output size ceil(size / stride)."""

Ends: TypeAlias = tuple[tuple[int, int], ...]
"""What is put before and after each axis."""


def padding_ends(
    padding: tuple[int, ...] | str,
    sizes: tuple[int, ...],
    window: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Ends:
    """Return how much is put before and after each axis; the odd one of "SAME" comes after, as in PyTorch.

    >>> padding_ends((1, 0), (8, 8), (3, 3), (1, 1), (1, 1)), padding_ends("SAME", (8,), (4,), (1,), (1,))
    (((1, 1), (0, 0)), ((1, 2),))
    """
    if padding == "VALID":
        return ((0, 0),) * len(window)
    if padding != "SAME":
        return tuple((int(size), int(size)) for size in padding)
    needed = [
        max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        for size, k, s, d in zip(sizes, window, stride, dilation, strict=True)
    ]
    return tuple((total // 2, total - total // 2) for total in needed)


def shifted(x: jax.Array, axis: int, window: int, stride: int = 1, dilation: int = 1) -> list[jax.Array]:
    """Return one array for each place of the window along an axis, in order: what lies under it wherever it stops.

    A maximum over windows is the maximum of these arrays; a convolution is the sum of their products with the kernel.

    >>> import jax.numpy as jnp
    >>> [place.tolist() for place in shifted(jnp.arange(6), 0, window=2, stride=2)]
    [[0, 2, 4], [1, 3, 5]]
    """
    reach = x.shape[axis] - (window - 1) * dilation
    return [jax.lax.slice_in_dim(x, i * dilation, i * dilation + reach, stride, axis) for i in range(window)]


def reduce_windows(
    combine: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, axis: int, window: int, stride: int
) -> jax.Array:
    """Combine what lies under each window along an axis, in order, with an associative function of two arrays.

    Wide windows are put together from halves, since a program of a thousand operations takes minutes to compile.

    >>> import jax.numpy as jnp
    >>> reduce_windows(jnp.add, jnp.arange(6), 0, window=3, stride=2).tolist()
    [3, 9]
    """
    if window <= 16:
        return reduce(combine, shifted(x, axis, window, stride))

    def at_every_place(size):
        if size == 1:
            return x
        y = combine(*shifted(at_every_place(size // 2), axis, 2, dilation=size // 2))
        if size % 2 == 0:
            return y
        last = jax.lax.slice_in_dim(x, size - 1, None, axis=axis)
        return combine(jax.lax.slice_in_dim(y, 0, last.shape[axis], axis=axis), last)

    return jax.lax.slice_in_dim(at_every_place(window), 0, None, stride, axis)
