"""Maximum and average over windows, over bins, and over everything."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxnn import checks
from jaxnn.functional.dense import wide
from jaxnn.functional.windows import Padding, Sizes, padding_ends, reduce_windows
from jaxnn.types import Array


def max_pool2d(
    x: Float[Array, "batch height width channels"], window: Sizes, *, stride: Sizes | None = None, padding: Padding = 0
) -> Float[Array, "batch out_height out_width channels"]:
    """Compute the maximum of each window of images, [B, H, W, C] -> [B, H', W', C].

    H' = (H + padding - window) // stride + 1, padding counted at both ends; what does not fill a window is left out.
    `stride` is the window unless given; sizes are a number or (height, width), and padding may be "SAME" or "VALID"
    and is never the maximum. Among equal entries the first in reading order gets the gradient, as in PyTorch (which
    matters after ReLU, whose zeros are equal); NaN wins over every number.

    Raises ValueError for a window larger than the padded x, and for padding of more than half of the window.

    >>> max_pool2d(jnp.arange(16.0).reshape(1, 4, 4, 1), 2)[0, ..., 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    return _max_pool("max_pool2d", 2, x, window, stride, padding)


def max_pool1d(
    x: Float[Array, "batch time channels"], window: Sizes, *, stride: Sizes | None = None, padding: Padding = 0
) -> Float[Array, "batch out_time channels"]:
    """Compute the maximum of each window of sequences, [B, T, C] -> [B, T', C]; all else as in `max_pool2d`.

    >>> max_pool1d(jnp.array([3.0, 1.0, 2.0, 5.0, 4.0])[None, :, None], 2)[0, :, 0].tolist()
    [3.0, 5.0]
    """
    return _max_pool("max_pool1d", 1, x, window, stride, padding)


def average_pool2d(
    x: Float[Array, "batch height width channels"],
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = 0,
    count_padding: bool = True,
) -> Float[Array, "batch out_height out_width channels"]:
    """Compute the mean of each window of images, [B, H, W, C] -> [B, H', W', C].

    Sizes are those of `max_pool2d`. The padding is zeros, and they count as entries (PyTorch's default) unless
    `count_padding=False`: then the sum is divided by the number of entries of x under the window. Summed in at least
    float32. Raises what `max_pool2d` raises.

    >>> average_pool2d(jnp.ones((1, 2, 2, 1)), 2, padding=1)[0, ..., 0].tolist()
    [[0.25, 0.25], [0.25, 0.25]]
    """
    return _average_pool("average_pool2d", 2, x, window, stride, padding, count_padding)


def average_pool1d(
    x: Float[Array, "batch time channels"],
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = 0,
    count_padding: bool = True,
) -> Float[Array, "batch out_time channels"]:
    """Compute the mean of each window of sequences, [B, T, C] -> [B, T', C]; all else as in `average_pool2d`.

    >>> average_pool1d(jnp.array([3.0, 1.0, 2.0, 4.0])[None, :, None], 2)[0, :, 0].tolist()
    [2.0, 3.0]
    """
    return _average_pool("average_pool1d", 1, x, window, stride, padding, count_padding)


def adaptive_average_pool2d(
    x: Float[Array, "batch height width channels"], size: Sizes
) -> Float[Array, "batch out_height out_width channels"]:
    """Compute the means of `size` bins an axis of images, [B, H, W, C] -> [B, *size, C], whatever H and W are.

    Bin i of n covers floor(i H / n) up to ceil((i + 1) H / n), PyTorch's rule: bins overlap where n does not divide H,
    and repeat where n is larger. `size` is a number or (height, width). Summed in at least float32.

    >>> adaptive_average_pool2d(jnp.arange(3.0).reshape(1, 1, 3, 1), (1, 2))[0, ..., 0].tolist()
    [[0.5, 1.5]]
    """
    return _adaptive_average_pool("adaptive_average_pool2d", 2, x, size)


def adaptive_average_pool1d(x: Float[Array, "batch time channels"], size: Sizes) -> Float[Array, "batch size channels"]:
    """Compute the means of `size` bins of sequences, [B, T, C] -> [B, size, C], as in `adaptive_average_pool2d`.

    >>> adaptive_average_pool1d(jnp.arange(4.0)[None, :, None], 2)[0, :, 0].tolist()
    [0.5, 2.5]
    """
    return _adaptive_average_pool("adaptive_average_pool1d", 1, x, size)


def global_average_pool(x: Float[Array, "batch *window channels"]) -> Float[Array, "batch channels"]:
    """Compute the mean of each channel over all axes between the first and the last, [B, ..., C] -> [B, C].

    Lin, Chen, Yan, 2014, Network in Network.

    >>> global_average_pool(jnp.arange(4.0).reshape(1, 2, 2, 1)).tolist()
    [[1.5]]
    """
    x = _entries("global_average_pool", x)
    return wide(x).mean(tuple(range(1, x.ndim - 1))).astype(x.dtype)


def global_max_pool(x: Float[Array, "batch *window channels"]) -> Float[Array, "batch channels"]:
    """Compute the maximum of each channel over all axes between the first and the last, [B, ..., C] -> [B, C].

    Among equal entries the first in reading order gets the gradient.

    >>> global_max_pool(jnp.arange(4.0).reshape(1, 2, 2, 1)).tolist()
    [[3.0]]
    """
    x = _entries("global_max_pool", x)
    x = x.reshape(x.shape[0], -1, x.shape[-1])
    return jnp.take_along_axis(x, jnp.argmax(x, 1, keepdims=True), 1)[:, 0]


def _entries(name: str, x: Array) -> jax.Array:
    x = checks.float_input(name, x)
    if x.ndim < 3 or 0 in x.shape[1:-1]:
        raise ValueError(f"{name} expected x of shape [B, ..., C] with something to pool between but got {x.shape}")
    return x


def _max_pool(name, axes, x, window, stride, padding):
    x, window, stride, ends = _placed(name, axes, x, window, stride, padding)
    if stride == window and not np.any(ends) and np.prod(window) <= 16:
        return _tile_maximum(x, window)
    x = jnp.pad(x, ((0, 0), *ends, (0, 0)), constant_values=-jnp.inf)
    # The last axis first: within a row the first maximum stays, then the first row. On a CPU the gradient takes a
    # tenth of the time of reduce_window's, which scatters.
    for axis in reversed(range(axes)):
        x = reduce_windows(_first_maximum, x, axis + 1, window[axis], stride[axis])
    return x


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _tile_maximum(x: jax.Array, window: tuple[int, ...]) -> jax.Array:
    """Compute the maximum of windows that do not overlap, [B, H, W, C] -> [B, H', W', C]."""
    return _first_of_tile(x, window)[0]


@_tile_maximum.defjvp
def _tile_maximum_jvp(window, primals, tangents):
    """Pick dx where the maximum is. Its transpose is one pass; that of strided slices takes three times as long."""
    (x,), (dx,) = primals, tangents
    _, place = _first_of_tile(x, window)
    inner = tuple(range(2, 2 * len(window) + 1, 2))
    numbers = jnp.arange(np.prod(window), dtype=place.dtype).reshape([n for size in window for n in (1, size)] + [1])
    chosen = numbers == jnp.expand_dims(place, inner)
    return _tile_maximum(x, window), jnp.where(chosen, _tiles(dx, window), 0).sum(inner)


def _tiles(x: jax.Array, window: tuple[int, ...]) -> jax.Array:
    """Cut each axis into windows, [B, H, W, C] -> [B, H', KH, W', KW, C]; what does not fill one is left out."""
    for axis, size in enumerate(window, 1):
        x = jax.lax.slice_in_dim(x, 0, x.shape[axis] // size * size, axis=axis)
    split = [n for length, size in zip(x.shape[1:-1], window, strict=True) for n in (length // size, size)]
    return x.reshape(x.shape[0], *split, x.shape[-1])


def _first_of_tile(x: jax.Array, window: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Return the maximum of each tile and where it first is, counted in reading order."""
    tiles = _tiles(x, window)
    first, *others = (tiles[(slice(None), *(i for k in at for i in (slice(None), k)))] for at in np.ndindex(window))
    best, place = first, jnp.zeros(first.shape, jnp.int8)
    for number, entry in enumerate(others, 1):
        better = (entry > best) | jnp.isnan(entry)
        best, place = jnp.where(better, entry, best), jnp.where(better, jnp.int8(number), place)
    return best, place


def _first_maximum(best: jax.Array, other: jax.Array) -> jax.Array:
    return jnp.where((other > best) | jnp.isnan(other), other, best)


def _average_pool(name, axes, x, window, stride, padding, count_padding):
    x, window, stride, ends = _placed(name, axes, x, window, stride, padding)
    dtype, x = x.dtype, wide(x)
    for axis in reversed(range(axes)):
        size, (low, high) = x.shape[axis + 1], ends[axis]
        real = np.pad(np.ones(size), (low, high))
        counts = [real[i : len(real) - window[axis] + 1 + i : stride[axis]] for i in range(window[axis])]
        count = np.full_like(counts[0], window[axis]) if count_padding else sum(counts)
        padded = jnp.pad(x, [(0, 0)] * (axis + 1) + [(low, high)] + [(0, 0)] * (axes - axis))
        total = reduce_windows(jnp.add, padded, axis + 1, window[axis], stride[axis])
        x = total / jnp.asarray(count, x.dtype).reshape(-1, *[1] * (axes - axis))
    return x.astype(dtype)


def _placed(name, axes, x, window, stride, padding):
    """Return x, the window, the stride and the padding at both ends; refuse what does not fit together."""
    x = checks.float_input(name, x)
    window = checks.per_axis(name, "window", window, axes)
    stride = window if stride is None else checks.per_axis(name, "stride", stride, axes)
    padding = checks.padding(name, padding, axes)
    checks.pool_padding(name, padding, window)
    checks.window_axes(name, x, axes)
    ends = padding_ends(padding, x.shape[1:-1], window, stride, (1,) * axes)
    checks.window_fits(name, "window", x, window, ends)
    return x, window, stride, ends


def _adaptive_average_pool(name, axes, x, size):
    x = checks.float_input(name, x)
    sizes = checks.per_axis(name, "size", size, axes)
    checks.window_axes(name, x, axes)
    _entries(name, x)
    dtype, x = x.dtype, wide(x)
    for axis, bins in enumerate(sizes, 1):
        x = _bin_means(x, axis, bins)
    return x.astype(dtype)


def _bin_means(x: jax.Array, axis: int, bins: int) -> jax.Array:
    size = x.shape[axis]
    if size % bins == 0:
        return x.reshape(*x.shape[:axis], bins, size // bins, *x.shape[axis + 1 :]).mean(axis + 1)
    index = np.arange(bins)
    start, end = index * size // bins, -(-(index + 1) * size // bins)
    entries = start[:, None] + np.arange((end - start).max())  # [bins, largest bin]
    inside = (entries < end[:, None]).reshape(entries.shape + (1,) * (x.ndim - axis - 1))
    values = jnp.take(x, np.minimum(entries, size - 1), axis, mode="clip")
    counts = (end - start).reshape(-1, *[1] * (x.ndim - axis - 1))
    return jnp.where(inside, values, 0).sum(axis + 1) / jnp.asarray(counts, x.dtype)
