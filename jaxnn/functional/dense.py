"""Widening to float32, and the affine map."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Float

from jaxnn.types import Array

FEW_COLUMNS = 128
CACHED = 2**18  # elements of an array that a core keeps at hand, 1 MB


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
    weight, gradient = weight.astype(x.dtype), _weight_gradient(rows.shape, weight.shape[1])
    product = rows @ weight if gradient is None else _product(rows, weight, gradient)
    y = product.reshape(*x.shape[:-1], weight.shape[1])
    if bias is None:
        return y
    # Broadcast before it is narrowed: so the bias's gradient, a sum over all rows, is taken in the bias's own dtype.
    return y + jnp.broadcast_to(bias, y.shape).astype(x.dtype)


# The gradient of W is the product x.T [in, N] @ dL/dy [N, out] of two arrays that both lie with N first. On a CPU XLA
# leaves that to a routine which is fast where the product has many columns, and XLA takes every transpose into the
# product; two forms behind a barrier, which it cannot see through, are faster.


def _in_rows(x: jax.Array, dy: jax.Array) -> jax.Array:
    """Compute (dy.T @ x).T, a product of few rows and many columns."""
    return jax.lax.optimization_barrier(dy.T @ x).T


def _from_columns(x: jax.Array, dy: jax.Array) -> jax.Array:
    """Compute x.T @ dy with x.T copied: by the routine of the forward pass, which wants what it adds up last."""
    return jax.lax.optimization_barrier(x.T) @ dy


def _weight_gradient(shape: tuple[Any, ...], out: int) -> Callable[[jax.Array, jax.Array], jax.Array] | None:
    """Choose how the gradient of W [in, out] is computed for an x of shape [N, in]; None is as XLA has it."""
    size, features = shape
    if not isinstance(size, int) or size < features:  # an exported model leaves the size of the batch open
        return None
    if out < features:
        return _in_rows
    return _from_columns if out <= FEW_COLUMNS and size * features <= CACHED else None


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _product(x: Array, weight: Array, gradient: Callable[[jax.Array, jax.Array], jax.Array]) -> jax.Array:
    return jnp.matmul(x, weight)


@partial(_product.defjvp, symbolic_zeros=True)
def _product_jvp(gradient, primals, tangents):
    """Write x dW on a CPU as the transpose of the gradient."""
    x, weight = primals
    dx, dweight = tangents
    dy = [] if isinstance(dx, SymbolicZero) else [dx @ weight]
    if not isinstance(dweight, SymbolicZero):

        def transposed(x, dweight):
            y = jax.ShapeDtypeStruct((x.shape[0], dweight.shape[1]), x.dtype)
            return jax.linear_transpose(partial(gradient, x), y)(dweight)[0]

        dy.append(jax.lax.platform_dependent(x, dweight, cpu=transposed, default=jnp.matmul))
    return _product(x, weight, gradient), sum(dy[1:], dy[0])
