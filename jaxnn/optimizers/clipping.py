"""The clipping of gradients."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from jaxnn import checks, tree
from jaxnn.functional import wide
from jaxnn.types import Array

if TYPE_CHECKING:
    from optax import GradientTransformation


def clip_by_global_norm(max_norm: float | Array) -> "GradientTransformation":
    """Make the clipping of a gradient to a norm: g <- g min(1, max_norm / |g|), the norm over all leaves together.

    A gradient below the limit keeps its bits. A gradient whose norm is not finite passes as it came: NaN is not spread
    over the other leaves, and an infinity does not turn them to zero; `fit` measures the norm before the optimizer and
    stops there. As in Optax the limit is met exactly; PyTorch divides by |g| + 1e-6 and stays that much below it.
    Pascanu, Mikolov, Bengio, 2013, On the Difficulty of Training Recurrent Neural Networks.

    >>> optimizer = clip_by_global_norm(1.0)
    >>> optimizer.update({"a": jnp.array([3.0]), "b": jnp.array([4.0])}, optimizer.init(()))[0]
    {'a': Array([0.6], dtype=float32), 'b': Array([0.8], dtype=float32)}
    """
    from optax import EmptyState, GradientTransformation

    checks.finite_positive("clip_by_global_norm", "max_norm", max_norm)

    def update(updates, state, params=None):
        norm = tree.norm(updates)
        scale = jnp.where(jnp.isfinite(norm), max_norm / jnp.maximum(norm, max_norm), 1)
        return jax.tree.map(lambda g: (wide(g) * scale).astype(g.dtype), updates), state

    return GradientTransformation(lambda params: EmptyState(), update)
