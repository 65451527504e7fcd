"""Widening to float32, and the affine map."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
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
    is_known = isinstance(rows.shape[0], int)  # an exported model leaves the batch's size open
    narrowing = is_known and weight.shape[1] < weight.shape[0] <= rows.shape[0]
    y = (_narrowing if narrowing else jnp.matmul)(rows, weight.astype(x.dtype)).reshape(*x.shape[:-1], weight.shape[-1])
    if bias is None:
        return y
    # Broadcast before it is narrowed: so the bias's gradient, a sum over all rows, is taken in the bias's own dtype.
    return y + jnp.broadcast_to(bias, y.shape).astype(x.dtype)


@jax.custom_jvp
def _narrowing(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Compute x W for a W with more rows than columns, and an x with as many rows as that."""
    return x @ weight


@partial(_narrowing.defjvp, symbolic_zeros=True)
def _narrowing_jvp(primals, tangents):
    x, weight = primals
    dx, dweight = tangents
    dy = [] if isinstance(dx, SymbolicZero) else [dx @ weight]
    if not isinstance(dweight, SymbolicZero):
        dy.append(jax.lax.platform_dependent(x, dweight, cpu=_with_fast_gradient, default=jnp.matmul))
    return _narrowing(x, weight), sum(dy[1:], dy[0])


def _with_fast_gradient(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Compute x W as the transpose of the gradient of W, (dL/dy.T [out, N] @ x [N, in]).T.

    A product with few rows and many columns takes 0.4 to 0.8 of the time of one with many rows and few columns on a
    CPU. The barrier keeps XLA from turning it round.
    """

    def weight_gradient(g):
        return jax.lax.optimization_barrier(g.T @ x).T

    y = jax.ShapeDtypeStruct((len(x), weight.shape[1]), x.dtype)
    return jax.linear_transpose(weight_gradient, y)(weight)[0]
