"""Statistics over a batch, and normalisation by them."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, UInt8

from jaxnn.functional.dense import wide
from jaxnn.types import Array


def standardize(
    x: UInt8[Array, "*batch channels"] | Float[Array, "*batch channels"],
    mean: Float[Array, "#channels"],
    std: Float[Array, "#channels"],
) -> Float[Array, "*batch channels"]:
    """Compute (x - mean) / std along the last axis; bytes are first scaled to 0..1.

    >>> standardize(jnp.array([[0, 255]], jnp.uint8), jnp.array([0.5]), jnp.array([0.5]))
    Array([[-1.,  1.]], dtype=float32)
    """
    dtype = jnp.float32 if x.dtype == jnp.uint8 else x.dtype
    unit = 255.0 if x.dtype == jnp.uint8 else 1.0
    # One multiplication and one subtraction an element: x/(unit std) - mean/std.
    return jnp.asarray(x, dtype) * (1 / (unit * std)).astype(dtype) - (mean / std).astype(dtype)


def batch_statistics(
    x: Float[Array, "*batch channels"],
) -> tuple[Float[Array, " channels"], Float[Array, " channels"]]:
    """Compute mean and (biased) variance of each channel over all leading axes, in at least float32.

    Two passes, mean((x - mean(x))**2): the one-pass form loses all digits when the mean is large.

    >>> mean, variance = batch_statistics(jnp.array([[1.0, 4.0], [3.0, 4.0]]))
    >>> mean.tolist(), variance.tolist()
    ([2.0, 4.0], [1.0, 0.0])
    """
    x = wide(x)
    mean = x.mean(tuple(range(x.ndim - 1)))
    return mean, _variance(x, mean)


@jax.custom_jvp
def _variance(x: jax.Array, mean: jax.Array) -> jax.Array:
    """Compute mean((x - mean)**2) of each channel about its own mean.

    The minimum over all means: its derivative by the mean is zero, and not to sum it up saves a pass over x.
    """
    return jnp.square(x - mean).mean(tuple(range(x.ndim - 1)))


@_variance.defjvp
def _variance_jvp(primals, tangents):
    (x, mean), (dx, _) = primals, tangents
    return _variance(x, mean), 2 * ((x - mean) * dx).mean(tuple(range(x.ndim - 1)))


def batch_norm(
    x: Float[Array, "*batch channels"],
    mean: Float[Array, " channels"],
    variance: Float[Array, " channels"],
    scale: Float[Array, " channels"],
    bias: Float[Array, " channels"],
    epsilon: float = 1e-5,
) -> Float[Array, "*batch channels"]:
    """Normalise each channel by the given statistics: (x - mean) / sqrt(variance + epsilon) * scale + bias.

    Ioffe and Szegedy, 2015, Batch Normalization: Accelerating Deep Network Training by Reducing Internal
    Covariate Shift.

    >>> one = jnp.ones(1)
    >>> batch_norm(jnp.array([[3.0]]), one, 4 * one, one, 0 * one, epsilon=0.0).tolist()
    [[1.0]]
    """
    factor = scale * jax.lax.rsqrt(variance + epsilon)
    return _scaled(wide(x), mean, factor, bias).astype(x.dtype)


@jax.custom_jvp
def _scaled(x: jax.Array, mean: jax.Array, factor: jax.Array, bias: jax.Array) -> jax.Array:
    return (x - mean) * factor + bias


@_scaled.defjvp
def _scaled_jvp(primals, tangents):
    """Put the tangents of mean and bias together by channel, so that one sum over dL/dy serves both gradients."""
    x, mean, factor, _ = primals
    dx, dmean, dfactor, dbias = tangents
    return _scaled(*primals), dx * factor + (x - mean) * dfactor + (dbias - factor * dmean)


def layer_norm(
    x: Float[Array, "*batch size"],
    scale: Float[Array, " size"],
    bias: Float[Array, " size"],
    epsilon: float = 1e-5,
) -> Float[Array, "*batch size"]:
    """Normalise each vector of the last axis by its own mean and (biased) variance, in at least float32.

    (x - mean) / sqrt(variance + epsilon) * scale + bias. Ba, Kiros, Hinton, 2016, Layer Normalization.

    >>> layer_norm(jnp.array([[1.0, 3.0]]), jnp.ones(2), jnp.zeros(2), epsilon=0.0).tolist()
    [[-1.0, 1.0]]
    """
    centred = wide(x) - wide(x).mean(-1, keepdims=True)
    factor = jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + epsilon)
    return (centred * factor * scale + bias).astype(x.dtype)


def rms_norm(
    x: Float[Array, "*batch size"], scale: Float[Array, " size"], epsilon: float = 2**-23
) -> Float[Array, "*batch size"]:
    """Divide each vector of the last axis by its root mean square, x / sqrt(mean(x**2) + epsilon) * scale.

    Computed in at least float32. Zhang and Sennrich, 2019, Root Mean Square Layer Normalization.

    >>> rms_norm(jnp.array([3.0, -3.0]), jnp.ones(2), epsilon=0.0).tolist()
    [1.0, -1.0]
    """
    y = wide(x)
    return (y * jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + epsilon) * scale).astype(x.dtype)


def group_norm(
    x: Float[Array, "batch *space channels"],
    groups: int,
    scale: Float[Array, " channels"],
    bias: Float[Array, " channels"],
    epsilon: float = 1e-5,
) -> Float[Array, "batch *space channels"]:
    """Normalise each group of neighbouring channels of each example over space and group, [B, ..., C] -> [B, ..., C].

    (x - mean) / sqrt(variance + epsilon) * scale + bias, the variance biased, in at least float32. One group is layer
    norm over the whole example, as many groups as channels is instance norm. Wu and He, 2018, Group Normalization.

    >>> group_norm(jnp.array([[1.0, 3.0, 5.0, 5.0]]), 2, jnp.ones(4), jnp.zeros(4), epsilon=0.0)[0, :2].tolist()
    [-1.0, 1.0]
    """
    split = wide(x).reshape(x.shape[0], -1, groups, x.shape[-1] // groups)  # [B, S, G, C/G]
    centred = split - split.mean((1, 3), keepdims=True)
    factor = jax.lax.rsqrt(jnp.square(centred).mean((1, 3), keepdims=True) + epsilon)
    return ((centred * factor).reshape(x.shape) * scale + bias).astype(x.dtype)
