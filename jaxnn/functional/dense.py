"""Widening to float32, and the affine map."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxnn.types import Array


def wide(x: Array) -> jax.Array:
    """Widen to at least float32, in which statistics, losses and metrics are computed.

    >>> wide(jnp.zeros(2, jnp.bfloat16)).dtype, wide(jnp.zeros(2, jnp.float32)).dtype
    (dtype('float32'), dtype('float32'))
    """
    return jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))


def linear(
    x: Float[Array, "*batch in"], weight: Float[Array, "in out"], bias: Float[Array, " out"] | None = None
) -> Float[Array, "*batch out"]:
    """Compute the affine map of x, [..., in] -> [..., out]: y = x W + b, in the dtype of x.

    >>> linear(jnp.ones((2, 3)), jnp.ones((3, 4)), jnp.ones(4)).shape
    (2, 4)
    """
    # As one matrix: over several leading axes the weight's gradient would copy them transposed, at twice the time.
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) if x.ndim > 2 else x
    y = (rows @ weight.astype(x.dtype)).reshape(*x.shape[:-1], weight.shape[-1])
    if bias is None:
        return y
    # Broadcast before it is narrowed: so the bias's gradient, a sum over all rows, is taken in the bias's own dtype.
    return y + jnp.broadcast_to(bias, y.shape).astype(x.dtype)
