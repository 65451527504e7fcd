"""Convolution of images with 3x3 kernels in a quarter of the multiplications: Winograd's minimal filtering.

A tile of 4x4 outputs y depends on 6x6 entries d of x and on the kernel g, and

    y = A [(G g G^T) * (B d B^T)] A^T

with * entry by entry: 36 multiplications instead of 144. In one dimension G and A^T take the coefficients of a
polynomial to its values at five points and infinity, and B^T takes values back to coefficients (Toom and Cook's product
of polynomials, transposed). For many channels the products are 36 matrix products, tiles by channels.

The points decide how much rounding the sums add; c, -c, 1/c and -1/c lose little (Alam, Anderson, Barabasz, Gregg,
2022, Winograd Convolution for Deep Neural Networks: Efficient Point Selection). Lavin, Gray, 2016, Fast Algorithms for
Convolutional Neural Networks.
"""

from functools import partial
from math import ceil, prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.functional.windows import Ends
from jaxnn.types import Size

WINDOW, TILE = 3, 4
SPAN = TILE + WINDOW - 1  # the entries of x that a tile of outputs depends on, an axis
POINTS = (0, 2 / 3, -2 / 3, 3 / 2, -3 / 2)  # and infinity
BLOCK_BYTES = 2**21  # of the products of the images computed at a time: what a core's caches hold


def _values(coefficients: int) -> np.ndarray:
    """Return the matrix [SPAN, coefficients] that takes a polynomial's coefficients to its values at the points."""
    at_infinity = np.eye(coefficients)[-1:]
    return np.concatenate([np.vander(POINTS, coefficients, increasing=True), at_infinity])


G, A = _values(WINDOW), _values(TILE).T
B = np.linalg.inv(_values(SPAN)).T.round(15)  # zeros are zeros
OF_KERNEL = np.einsum("ip,jq->jipq", G, G).reshape(SPAN**2, WINDOW**2)  # of kernels [9, ...], columns first as in x


def saves_time(x_shape: tuple[Any, ...], kernel_shape: tuple[Size, ...], ends: Ends) -> bool:
    """Say whether the multiplications saved are worth the passes over x, y and the kernel that they cost.

    >>> saves_time((64, 14, 14, 32), (3, 3, 32, 64), ((1, 1), (1, 1)))
    True
    >>> saves_time((64, 28, 28, 1), (3, 3, 1, 32), ((1, 1), (1, 1)))
    False
    """
    if len(x_shape) != 4 or kernel_shape[:2] != (WINDOW, WINDOW) or not all(isinstance(n, int) for n in x_shape):
        return False  # an exported model leaves the size of the batch open
    size, tiles = _sizes(x_shape, ends)
    channels, out = kernel_shape[2:]
    saved = x_shape[0] * (WINDOW**2 * prod(size) - SPAN**2 * prod(tiles)) * channels * out
    # The kernel counts three times: it is transformed, so is its gradient, which is summed over blocks before.
    passed = SPAN**2 * (x_shape[0] * prod(tiles) * (channels + out) + 3 * channels * out)
    return saved >= 36 * passed  # on a Zen 4 it pays from about 30 on; elsewhere products may be faster


def convolve_3x3(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, ends: Ends) -> jax.Array:
    """Compute the convolution of images, [B, H, W, in] and [3, 3, in, out] -> [B, H', W', out], with stride 1.

    Block by block of images, and their transformed entries anew in the backward pass, since they are three times as
    many as those of x: so they stay in the caches.

    >>> y = convolve_3x3(jnp.ones((2, 5, 5, 3)), jnp.ones((3, 3, 3, 7)), None, ((1, 1), (1, 1)))
    >>> y.shape, y[0, :3, 2, 0].round(4).tolist()
    ((2, 5, 5, 7), [18.0, 27.0, 27.0])
    """
    size, tiles = _sizes(x.shape, ends)
    # One product rather than sums of slices, which XLA would fuse with whatever packs the gradients.
    weights = OF_KERNEL.astype(x.dtype) @ kernel.reshape(WINDOW**2, -1)
    weights = weights.reshape(SPAN**2, *kernel.shape[2:])
    block = jax.checkpoint(partial(_block, ends=ends, size=size))
    image_bytes = SPAN**2 * prod(tiles) * sum(kernel.shape[2:]) * x.dtype.itemsize
    images = ceil(len(x) / min(ceil(len(x) * image_bytes / BLOCK_BYTES), len(x)))
    blocks = ceil(len(x) / images)
    if blocks == 1:
        return block(x, weights, bias)
    parts = jnp.pad(x, ((0, blocks * images - len(x)), (0, 0), (0, 0), (0, 0)))
    parts = parts.reshape(blocks, images, *x.shape[1:])
    y = jax.lax.map(lambda part: block(part, weights, bias), parts)
    return y.reshape(-1, *y.shape[2:])[: len(x)]


def _sizes(x_shape: tuple[Size, ...], ends: Ends) -> tuple[tuple[Size, Size], tuple[Size, Size]]:
    """Return (height, width) of the outputs, and how many tiles they take."""
    height, width = (size + sum(end) - WINDOW + 1 for size, end in zip(x_shape[1:3], ends, strict=True))
    return (height, width), (-(-height // TILE), -(-width // TILE))


def _block(x: jax.Array, weights: jax.Array, bias: jax.Array | None, *, ends: Ends, size: tuple[Size, Size]):
    """Convolve the images of a block; `weights` [36, in, out] are G g G^T.

    Axes that a step leaves alone are one axis: programs with fewer are compiled faster, and run as fast.
    """
    (high, wide), channels, out = _sizes(x.shape, ends)[1], *weights.shape[1:]
    room = [
        (before, TILE * (tiles + 1) - before - given)  # whole tiles, and one more for the ends of the last
        for (before, _), given, tiles in zip(ends, x.shape[1:3], (high, wide), strict=True)
    ]
    x = jnp.pad(x, ((0, 0), *room, (0, 0)))
    images, rows = len(x), len(x) * high
    x = _times(B, _under_tiles(x.reshape(images, high + 1, TILE, -1)), 0)
    x = _times(B, _under_tiles(x.reshape(SPAN * rows, wide + 1, TILE, channels)), 0)
    y = x.reshape(SPAN**2, rows * wide, channels) @ weights
    y = _times(A, _unstacked(y.reshape(SPAN, SPAN, images, high, wide, out), 0), 4)
    y = _times(A, _unstacked(y, 0), 2)  # [images, high, 4, wide, 4, out]
    y = y.reshape(images, TILE * high, TILE * wide, out)[:, : size[0], : size[1]]
    return y if bias is None else y + bias


def _under_tiles(x: jax.Array) -> list[jax.Array]:
    """Return the six entries under each tile, [N, tiles + 1, 4, M] -> [N, tiles, M]: its own, and two of the next."""
    own = _unstacked(x, 2)
    return [part[:, :-1] for part in own] + [part[:, 1:] for part in own[: WINDOW - 1]]


def _times(matrix: np.ndarray, parts: list[jax.Array], axis: int) -> jax.Array:
    """Multiply a matrix by a column of arrays, term by term (many entries are zeros); stack the results along an axis.

    Behind a barrier, since XLA would compute them once for each of the shapes that they are read in.
    """
    terms = (
        [part * np.asarray(factor, part.dtype) for factor, part in zip(row, parts, strict=True) if factor]
        for row in matrix
    )
    return jax.lax.optimization_barrier(jnp.stack([sum(rest, first) for first, *rest in terms], axis))


def _unstacked(x: jax.Array, axis: int) -> list[jax.Array]:
    """Take an axis apart, by an operation whose transpose is one too, where that of slices is many paddings."""
    return [jax.lax.squeeze(part, (axis,)) for part in jax.lax.split(x, (1,) * x.shape[axis], axis)]
