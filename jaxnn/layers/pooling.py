"""Layers that pool: the maximum or the mean of windows, of bins, of everything. None has parameters."""

from functools import partial

from jaxnn import checks, functional
from jaxnn.functional.windows import Padding, Sizes
from jaxnn.types import Layer


def max_pool2d(window: Sizes, *, stride: Sizes | None = None, padding: Padding = 0) -> Layer:
    """Make the maximum of each window, [B, H, W, C] -> [B, H', W', C], H' = (H + 2 padding - window) // stride + 1.

    `stride` is the window unless given; sizes are a number or (height, width), and padding may be "SAME" or "VALID",
    too. Among equal entries the first gets the gradient. Raises ValueError for a window larger than the padded x, and
    for padding of more than half of the window; TypeError for integers.

    >>> import jax.numpy as jnp
    >>> layer = max_pool2d(2)
    >>> layer, layer.apply((), (), jnp.ones((64, 28, 28, 32)))[0].shape
    (max_pool2d(2), (64, 14, 14, 32))
    """
    return _pool("max_pool2d", 2, window, stride, padding)


def max_pool1d(window: Sizes, *, stride: Sizes | None = None, padding: Padding = 0) -> Layer:
    """Make the maximum of each window of sequences, [B, T, C] -> [B, T', C]; all else as in `max_pool2d`.

    >>> import jax.numpy as jnp
    >>> max_pool1d(3, stride=2).apply((), (), jnp.ones((8, 20, 16)))[0].shape
    (8, 9, 16)
    """
    return _pool("max_pool1d", 1, window, stride, padding)


def average_pool2d(
    window: Sizes, *, stride: Sizes | None = None, padding: Padding = 0, count_padding: bool = True
) -> Layer:
    """Make the mean of each window, [B, H, W, C] -> [B, H', W', C]; sizes and errors as in `max_pool2d`.

    The zeros of the padding count as entries (PyTorch's default) unless `count_padding=False`.

    >>> import jax.numpy as jnp
    >>> average_pool2d(2, padding=1).apply((), (), jnp.ones((1, 2, 2, 1)))[0].ravel().tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    return _pool("average_pool2d", 2, window, stride, padding, count_padding)


def average_pool1d(
    window: Sizes, *, stride: Sizes | None = None, padding: Padding = 0, count_padding: bool = True
) -> Layer:
    """Make the mean of each window of sequences, [B, T, C] -> [B, T', C]; all else as in `average_pool2d`.

    >>> import jax.numpy as jnp
    >>> average_pool1d(2).apply((), (), jnp.array([[[1.0], [3.0], [5.0]]]))[0].tolist()
    [[[2.0]]]
    """
    return _pool("average_pool1d", 1, window, stride, padding, count_padding)


def adaptive_average_pool2d(size: Sizes) -> Layer:
    """Make the means of `size` bins an axis, [B, H, W, C] -> [B, *size, C], whatever H and W are.

    Bin i of n covers floor(i H / n) up to ceil((i + 1) H / n), PyTorch's rule. `size` is a number or (height, width).

    >>> import jax.numpy as jnp
    >>> layer = adaptive_average_pool2d(1)
    >>> layer, layer.apply((), (), jnp.ones((64, 7, 7, 128)))[0].shape
    (adaptive_average_pool2d(1), (64, 1, 1, 128))
    """
    checks.per_axis("adaptive_average_pool2d", "size", size, 2)
    name = f"adaptive_average_pool2d({size})"
    return _without_parameters(name, partial(functional.adaptive_average_pool2d, size=size))


def adaptive_average_pool1d(size: Sizes) -> Layer:
    """Make the means of `size` bins of sequences, [B, T, C] -> [B, size, C], as in `adaptive_average_pool2d`.

    >>> import jax.numpy as jnp
    >>> adaptive_average_pool1d(3).apply((), (), jnp.ones((8, 20, 16)))[0].shape
    (8, 3, 16)
    """
    checks.per_axis("adaptive_average_pool1d", "size", size, 1)
    name = f"adaptive_average_pool1d({size})"
    return _without_parameters(name, partial(functional.adaptive_average_pool1d, size=size))


def global_average_pool() -> Layer:
    """Make the mean of each channel over all axes between the first and the last, [B, ..., C] -> [B, C].

    >>> import jax.numpy as jnp
    >>> global_average_pool().apply((), (), jnp.ones((64, 7, 7, 128)))[0].shape
    (64, 128)
    """
    return _without_parameters("global_average_pool()", functional.global_average_pool)


def global_max_pool() -> Layer:
    """Make the maximum of each channel over all axes between the first and the last, [B, ..., C] -> [B, C].

    >>> import jax.numpy as jnp
    >>> global_max_pool().apply((), (), jnp.ones((8, 20, 16)))[0].shape
    (8, 16)
    """
    return _without_parameters("global_max_pool()", functional.global_max_pool)


def _pool(function, axes, window, stride, padding, count_padding=None) -> Layer:
    sizes = checks.per_axis(function, "window", window, axes)
    if stride is not None:
        checks.per_axis(function, "stride", stride, axes)
    checks.pool_padding(function, checks.padding(function, padding, axes), sizes)
    options = {"stride": stride, "padding": padding}
    given = {what: value for what, value in options.items() if value not in (None, 0)}
    if count_padding is not None:
        options["count_padding"] = count_padding
        given |= {} if count_padding else {"count_padding": False}
    name = f"{function}({', '.join([str(window), *(f'{what}={value!r}' for what, value in given.items())])})"
    return _without_parameters(name, partial(getattr(functional, function), window=window, **options))


def _without_parameters(name, function) -> Layer:
    def apply(params, state, x, /, *, key=None, train=False):
        return function(checks.float_input(name, x)), state

    return Layer(lambda key: ((), ()), apply, name)
