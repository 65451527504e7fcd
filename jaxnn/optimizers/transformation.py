"""What the optimizers share: their state, and the way from a rule to a transformation of a tree."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import checks
from jaxnn.functional import wide
from jaxnn.types import Array, Params

if TYPE_CHECKING:
    from optax import GradientTransformation

LearningRate: TypeAlias = float | Array | Callable[[Any], Any]
"""A number, or a schedule `step -> rate`."""

Momentum: TypeAlias = LearningRate
"""A number, or a schedule as `jaxnn.schedules.one_cycle_momentum` makes them."""


class OptimizerState(NamedTuple):
    """The number of updates so far, the learning rate, and the moments: a tree like the parameters under each name.

    `learning_rate` is the one that the latest update used, and before the first update the one it will use, as in
    `optax.inject_hyperparams`; `fit` records it.
    """

    step: jax.Array
    learning_rate: jax.Array
    moments: dict[str, Params]


def transformation(
    name: str, learning_rate: LearningRate, rule: Callable[..., Any], *moments: str, start: Any = 0, **momenta: Momentum
) -> "GradientTransformation":
    """Make a transformation of `rule(rate, *momenta, step)`, which gives the rule of a leaf in this step.

    That is `(g, *moments) -> (update, *moments)`. The outer one runs once a step for each dtype of the leaves, and all
    that both are given is in this dtype, widened to at least float32; `step` counts from 1. A momentum that is a number
    stays one: 1 - 0.9 is then not the difference of two float32 numbers.

    >>> halves = transformation("halves", 1.0, lambda rate, step: lambda g: (-rate * g / 2,))
    >>> halves.update(jnp.array([4.0]), halves.init(jnp.array([1.0])))[0]
    Array([-2.], dtype=float32)
    """
    from optax import GradientTransformation

    if not callable(learning_rate):
        rate_at(name, learning_rate, 0)
    for what, value in momenta.items():
        if not callable(value):
            checks.in_range(name, what, value, 0, 1, open_high=True)

    def init(params):
        checks.trainable(name, params)
        trees = {key: jax.tree.map(lambda w: jnp.full_like(w, start, wide(w).dtype), params) for key in moments}
        with jax.ensure_compile_time_eval():  # so that a first rate is refused inside of `jit` too
            rate = rate_at(name, learning_rate, jnp.int32(0))
        return OptimizerState(jnp.int32(0), jnp.asarray(rate, jnp.float32), trees)

    def update(updates, state, params=None):
        for like in (*state.moments.values(), *([] if params is None else [params])):
            checks.same_leaves(name, "gradients", updates, like)
        rate, step = rate_at(name, learning_rate, state.step), state.step + 1
        now = [_now(name, what, value, state.step, 1) for what, value in momenta.items()]

        dtypes = dict.fromkeys(wide(g).dtype for g in jax.tree.leaves(updates))
        rules = {dtype: rule(jnp.asarray(rate, dtype), *now, jnp.asarray(step, dtype)) for dtype in dtypes}

        def one_leaf(g, *old):
            widened = wide(g)
            new = rules[widened.dtype](widened, *old)
            return tuple(value.astype(like.dtype) for value, like in zip(new, (g, *old), strict=True))

        leaves = jax.tree.map(one_leaf, updates, *(state.moments[key] for key in moments))
        parts = jax.tree.structure((0,) * (1 + len(moments)))
        updates, *new = jax.tree.transpose(jax.tree.structure(updates), parts, leaves)
        return updates, OptimizerState(step, jnp.asarray(rate, jnp.float32), dict(zip(moments, new, strict=True)))

    return GradientTransformation(init, update)


def rate_at(name: str, learning_rate: LearningRate, step: Any) -> Any:
    """Return the rate of the update after `step` others: a number or a scalar.

    >>> rate_at("sgd", lambda step: 0.1 / (1 + step), 1)
    0.05
    """
    return _now(name, "learning_rate", learning_rate, step, np.inf)


def correction(beta: Any, step: jax.Array) -> jax.Array:
    """Compute 1 - beta^step. Written as it reads, float32 would lose up to 1.3e-5 of it at beta 0.999 and step 1.

    >>> round(float(correction(0.999, jnp.float32(1))), 6)
    0.001
    """
    return -jnp.expm1(step * jnp.log1p(-jnp.asarray(1 - beta, step.dtype)))


def _now(name: str, what: str, value: Any, step: Any, limit: float) -> Any:
    """Return the value after `step` updates, a number or a scalar in [0, limit)."""
    value = value(step) if callable(value) else value
    checks.in_range(name, what, value, 0, limit, open_high=True)
    if np.shape(value) != ():
        raise ValueError(f"{name} expected {what} to be one number but got an array of shape {np.shape(value)}")
    return value
