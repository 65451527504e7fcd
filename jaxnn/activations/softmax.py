"""Softmax and log-softmax over the last axis, with their Jacobians and vector-Jacobian products written by hand.

They are computed in at least float32 and rounded to the dtype of x. An entry of -inf has probability 0. A row of which
all entries are -inf, or with +inf or NaN in it, has no distribution: all of it is NaN, never a plausible number. To
mask, use a large finite negative number.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxnn import checks
from jaxnn.functional import wide
from jaxnn.types import Array


def softmax(x: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """Compute probabilities from logits, [..., classes] -> [..., classes]: p_i = exp(x_i) / sum_j exp(x_j).

    The largest logit is subtracted first, which changes nothing but keeps exp finite. Raises ValueError without
    classes, TypeError for integers. Bridle, 1990, Probabilistic Interpretation of Feedforward Classification Network
    Outputs.

    >>> softmax(jnp.array([[1e4, 1e4, -1e4]])).tolist()
    [[0.5, 0.5, 0.0]]
    """
    x = checks.logits_input("softmax", x)
    return _probabilities(x).astype(x.dtype)


def softmax_jacobian(x: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes classes"]:
    """Compute the Jacobian dp_i / dx_j = p_i (1[i = j] - p_j), [..., classes] -> [..., classes, classes].

    Each row and each column sums to 0: probabilities only move from class to class. Raises as `softmax`.

    >>> softmax_jacobian(jnp.zeros(2)).tolist()
    [[0.25, -0.25], [-0.25, 0.25]]
    """
    x = checks.logits_input("softmax_jacobian", x)
    p = _probabilities(x)
    return (p[..., :, None] * (jnp.eye(x.shape[-1]) - p[..., None, :])).astype(x.dtype)


def softmax_vjp(x: Float[Array, "*batch classes"], g: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """Compute g's product with the Jacobian without making it: p (g - sum_j g_j p_j), both [..., classes].

    `g` is the gradient with respect to the probabilities, the result the gradient with respect to x. Raises
    ValueError where the shapes differ, and as `softmax`.

    >>> softmax_vjp(jnp.zeros(2), jnp.array([1.0, 0.0])).tolist()
    [0.25, -0.25]
    """
    x, g = checks.logits_input("softmax_vjp", x), checks.float_input("softmax_vjp", g)
    checks.shape_of_x("softmax_vjp", "g", g, x)
    p, g = _probabilities(x), wide(g)
    return (p * (g - (g * p).sum(-1, keepdims=True))).astype(x.dtype)


def log_softmax(x: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """Compute log-probabilities from logits, [..., classes] -> [..., classes]: x_i - log sum_j exp(x_j).

    Unlike log(softmax(x)) it stays finite where a probability is too small for its dtype. Raises as `softmax`.

    >>> log_softmax(jnp.array([[1e4, -1e4]])).tolist()
    [[0.0, -20000.0]]
    """
    x = checks.logits_input("log_softmax", x)
    shifted = _shifted(x)
    return (shifted - jnp.log(jnp.exp(shifted).sum(-1, keepdims=True))).astype(x.dtype)


def log_softmax_jacobian(x: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes classes"]:
    """Compute the Jacobian d log p_i / dx_j = 1[i = j] - p_j, [..., classes] -> [..., classes, classes].

    >>> log_softmax_jacobian(jnp.zeros(2)).tolist()
    [[0.5, -0.5], [-0.5, 0.5]]
    """
    x = checks.logits_input("log_softmax_jacobian", x)
    return (jnp.eye(x.shape[-1]) - _probabilities(x)[..., None, :]).astype(x.dtype)


def log_softmax_vjp(
    x: Float[Array, "*batch classes"], g: Float[Array, "*batch classes"]
) -> Float[Array, "*batch classes"]:
    """Compute g's product with the Jacobian without making it: g - p sum_j g_j, both [..., classes].

    With g = -target (a distribution) that is p - target, the gradient of the cross-entropy. Raises as `softmax_vjp`.

    >>> log_softmax_vjp(jnp.zeros(2), jnp.array([-1.0, 0.0])).tolist()
    [-0.5, 0.5]
    """
    x, g = checks.logits_input("log_softmax_vjp", x), checks.float_input("log_softmax_vjp", g)
    checks.shape_of_x("log_softmax_vjp", "g", g, x)
    return (wide(g) - _probabilities(x) * wide(g).sum(-1, keepdims=True)).astype(x.dtype)


def _shifted(x: jax.Array) -> jax.Array:
    # The shift cancels in both functions, so no derivative goes through it.
    x = wide(x)
    return x - jax.lax.stop_gradient(x.max(-1, keepdims=True))


def _probabilities(x: jax.Array) -> jax.Array:
    exponentials = jnp.exp(_shifted(x))
    return exponentials / exponentials.sum(-1, keepdims=True)
