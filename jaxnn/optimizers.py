"""How a gradient becomes a step: the guide's optimizers written out, each an `optax.GradientTransformation`.

Ours and Optax's are exchangeable and chain: `optax.chain(clip_by_global_norm(1.0), adam(1e-3))`. The learning rate is a
number, a traced scalar, or a schedule `step -> rate`; step 0 is the first update, as in Optax.

The moments are kept in at least float32, since an average such as 0.999 v + 0.001 g² stands still in bfloat16, and the
updates come in the dtype of the gradients, as in Optax. Options outside of their range are a ValueError; tracers pass.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import checks, tree
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


def gradient_descent(learning_rate: LearningRate) -> "GradientTransformation":
    """Make gradient descent, w <- w - lr g, with g the gradient over all examples.

    Cauchy, 1847, Méthode générale pour la résolution des systèmes d'équations simultanées.

    >>> optimizer = gradient_descent(0.1)
    >>> updates, state = optimizer.update(jnp.array([2.0]), optimizer.init(jnp.array([1.0])))
    >>> updates, int(state.step)
    (Array([-0.2], dtype=float32), 1)
    """
    return _transformation("gradient_descent", learning_rate, lambda rate, step, g: (-rate * g,))


def sgd(learning_rate: LearningRate) -> "GradientTransformation":
    """Make stochastic gradient descent, w <- w - lr g, with g the gradient over one example or a batch of a few.

    The rule is that of `gradient_descent`; what differs is the gradient it is given. Robbins and Monro, 1951,
    A Stochastic Approximation Method.

    >>> optimizer = sgd(lambda step: 0.1 / (1 + step))
    >>> updates, state = optimizer.update(jnp.array([2.0]), optimizer.init(jnp.array([1.0])))
    >>> updates, state = optimizer.update(jnp.array([2.0]), state)
    >>> updates, state.learning_rate
    (Array([-0.1], dtype=float32), Array(0.05, dtype=float32))
    """
    return _transformation("sgd", learning_rate, lambda rate, step, g: (-rate * g,))


def momentum(learning_rate: LearningRate, momentum: Momentum = 0.9, nesterov: bool = False) -> "GradientTransformation":
    """Make gradient descent with momentum in the guide's form: v <- m v - lr g, w <- w + v.

    Nesterov's form moves by m v - lr g with the new v, the gradient's part counted ahead. Optax and PyTorch sum
    gradients and multiply the sum by the rate, v <- m v + g, w <- w - lr v. At a constant rate the steps are equal;
    after the rate has changed, theirs rescales the whole velocity at once and the guide's keeps it.
    Polyak, 1964, Some Methods of Speeding Up the Convergence of Iteration Methods; Sutskever, Martens, Dahl, Hinton,
    2013, On the Importance of Initialization and Momentum in Deep Learning (Nesterov's form).

    >>> optimizer = momentum(0.1, momentum=0.5)
    >>> updates, state = optimizer.update(jnp.array([2.0]), optimizer.init(jnp.array([1.0])))
    >>> optimizer.update(jnp.array([2.0]), state)[0]  # 0.5 * -0.2 - 0.1 * 2
    Array([-0.3], dtype=float32)
    """
    if nesterov and not callable(momentum) and checks.is_concrete(momentum) and momentum == 0:
        raise ValueError("momentum expected a positive momentum with nesterov=True but got 0: give one, such as 0.9")

    def rule(rate, m, step, g, v):
        v = m * v - rate * g
        return m * v - rate * g if nesterov else v, v

    return _transformation("momentum", learning_rate, rule, "velocity", momentum=momentum)


def rmsprop(
    learning_rate: LearningRate, decay: float | Array = 0.9, epsilon: float | Array = 1e-8
) -> "GradientTransformation":
    """Make RMSprop: v <- decay v + (1 - decay) g², w <- w - lr g / (sqrt(v) + epsilon).

    The epsilon stands outside of the root, as in Adam and in PyTorch: this is `torch.optim.RMSprop(alpha=decay)`, whose
    own default is alpha=0.99, and `optax.rmsprop(eps_in_sqrt=False)`. Under the root 1e-8 would act like 1e-4.
    Tieleman and Hinton, 2012, Lecture 6.5 of Neural Networks for Machine Learning.

    >>> optimizer = rmsprop(0.1)
    >>> optimizer.update(jnp.array([2.0]), optimizer.init(jnp.array([1.0])))[0].round(4)  # -0.1 * 2 / sqrt(0.1 * 4)
    Array([-0.3162], dtype=float32)
    """
    checks.in_range("rmsprop", "decay", decay, 0, 1, open_high=True)
    checks.finite_positive("rmsprop", "epsilon", epsilon)

    def rule(rate, step, g, v):
        v = decay * v + (1 - decay) * jnp.square(g)
        return -rate * g / (jnp.sqrt(v) + epsilon), v

    return _transformation("rmsprop", learning_rate, rule, "mean_square")


def adagrad(
    learning_rate: LearningRate, initial_accumulator: float | Array = 0.0, epsilon: float | Array = 1e-10
) -> "GradientTransformation":
    """Make Adagrad: s <- s + g², w <- w - lr g / (sqrt(s) + epsilon), from s = initial_accumulator.

    Start and epsilon are those of `torch.optim.Adagrad`. `optax.adagrad` starts from 0.1 and has its 1e-7 under the
    root: with the same start here and eps=0 there the steps agree up to this epsilon.
    Duchi, Hazan, Singer, 2011, Adaptive Subgradient Methods for Online Learning and Stochastic Optimization.

    >>> optimizer = adagrad(0.1)
    >>> updates, state = optimizer.update(jnp.array([2.0]), optimizer.init(jnp.array([1.0])))
    >>> updates, optimizer.update(jnp.array([2.0]), state)[0].round(4)  # the second is -0.1 * 2 / sqrt(8)
    (Array([-0.1], dtype=float32), Array([-0.0707], dtype=float32))
    """
    checks.in_range("adagrad", "initial_accumulator", initial_accumulator, 0, np.inf, open_high=True)
    checks.finite_positive("adagrad", "epsilon", epsilon)

    def rule(rate, step, g, s):
        s = s + jnp.square(g)
        return -rate * g / (jnp.sqrt(s) + epsilon), s

    return _transformation("adagrad", learning_rate, rule, "sum_of_squares", start=initial_accumulator)


def adam(
    learning_rate: LearningRate = 1e-3,
    beta1: Momentum = 0.9,
    beta2: float | Array = 0.999,
    epsilon: float | Array = 1e-8,
) -> "GradientTransformation":
    """Make Adam: m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g², w <- w - lr m̂ / (sqrt(v̂) + epsilon).

    m̂ = m / (1 - beta1^t) and v̂ = v / (1 - beta2^t) at update t = 1, 2, ... undo the pull towards the start at zero;
    where beta1 is a schedule, with its value of that update, as in PyTorch.
    Kingma and Ba, 2015, Adam: A Method for Stochastic Optimization.

    >>> optimizer = adam(0.1)
    >>> optimizer.update(jnp.array([2.0]), optimizer.init(jnp.array([1.0])))[0]  # the first step is lr long
    Array([-0.1], dtype=float32)
    """
    return _adam("adam", learning_rate, beta1, beta2, epsilon)


def adamw(
    learning_rate: LearningRate = 1e-3,
    beta1: Momentum = 0.9,
    beta2: float | Array = 0.999,
    epsilon: float | Array = 1e-8,
    weight_decay: float | Array = 0.01,
    mask: Any = None,
) -> "GradientTransformation":
    """Make Adam with decoupled weight decay: w <- w - lr (m̂ / (sqrt(v̂) + epsilon) + weight_decay w).

    The decay does not pass through the moments, as L2 in the loss would: there a weight with large gradients decays
    less. `mask` says where to decay: a tree of booleans like the parameters (or the top of one), or a function that
    makes it from them, such as `lambda params: jaxnn.tree.mask(params, r".*weight")`; None decays everything, biases
    too, as PyTorch and Optax do. `update` needs the parameters: ValueError without. Loshchilov and Hutter, 2019,
    Decoupled Weight Decay Regularization.

    >>> optimizer, w = adamw(0.1, weight_decay=0.5), jnp.array([1.0])
    >>> optimizer.update(jnp.array([0.0]), optimizer.init(w), w)[0]
    Array([-0.05], dtype=float32)
    """
    from optax import GradientTransformation

    checks.in_range("adamw", "weight_decay", weight_decay, 0, np.inf, open_high=True)
    inner = _adam("adamw", learning_rate, beta1, beta2, epsilon)

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("adamw needs the parameters to decay: call update(gradients, state, params)")
        updates, new_state = inner.update(updates, state, params)
        factor = _rate("adamw", learning_rate, state.step) * weight_decay

        def decayed(decay, u, w):
            return (u - jnp.asarray(factor, wide(w).dtype) * w).astype(u.dtype) if decay else u

        decays = checks.mask("adamw", True if mask is None else mask(params) if callable(mask) else mask, params)
        return jax.tree.map(decayed, decays, updates, params), new_state

    return GradientTransformation(inner.init, update)


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


def _adam(name: str, learning_rate: LearningRate, beta1: Any, beta2: Any, epsilon: Any) -> "GradientTransformation":
    checks.in_range(name, "beta2", beta2, 0, 1, open_high=True)
    checks.finite_positive(name, "epsilon", epsilon)

    def rule(rate, beta1, step, g, m, v):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * jnp.square(g)
        # lr m̂ / (sqrt(v̂) + epsilon) with the two corrections taken together: one division an element, not three.
        root = jnp.sqrt(_correction(beta2, step))
        factor = rate * root / _correction(beta1, step)
        return -factor * m / (jnp.sqrt(v) + epsilon * root), m, v

    return _transformation(name, learning_rate, rule, "m", "v", beta1=beta1)


def _correction(beta: Any, step: jax.Array) -> jax.Array:
    """Compute 1 - beta^step. Written as it reads, float32 would lose up to 1.3e-5 of it at beta 0.999 and step 1."""
    return -jnp.expm1(step * jnp.log1p(-jnp.asarray(1 - beta, step.dtype)))


def _transformation(
    name: str, learning_rate: LearningRate, rule: Callable[..., Any], *moments: str, start: Any = 0, **momenta: Momentum
) -> "GradientTransformation":
    """Make a transformation of the rule of one leaf, `rule(rate, *momenta, step, g, *moments) -> (update, *moments)`.

    All that the rule is given is in the leaf's dtype, widened to at least float32; `step` counts from 1. A momentum
    that is a number stays one: 1 - 0.9 is then not the difference of two float32 numbers.
    """
    from optax import GradientTransformation

    if not callable(learning_rate):
        _rate(name, learning_rate, 0)
    for what, value in momenta.items():
        if not callable(value):
            checks.in_range(name, what, value, 0, 1, open_high=True)

    def init(params):
        checks.trainable(name, params)
        trees = {key: jax.tree.map(lambda w: jnp.full_like(w, start, wide(w).dtype), params) for key in moments}
        return OptimizerState(jnp.int32(0), jnp.asarray(_rate(name, learning_rate, jnp.int32(0)), jnp.float32), trees)

    def update(updates, state, params=None):
        for like in (*state.moments.values(), *([] if params is None else [params])):
            checks.same_leaves(name, "gradients", updates, like)
        rate, step = _rate(name, learning_rate, state.step), state.step + 1
        now = [_now(name, what, value, state.step, 1) for what, value in momenta.items()]

        def one_leaf(g, *old):
            dtype = wide(g).dtype
            new = rule(jnp.asarray(rate, dtype), *now, jnp.asarray(step, dtype), wide(g), *old)
            return tuple(value.astype(like.dtype) for value, like in zip(new, (g, *old), strict=True))

        leaves = jax.tree.map(one_leaf, updates, *(state.moments[key] for key in moments))
        parts = jax.tree.structure((0,) * (1 + len(moments)))
        updates, *new = jax.tree.transpose(jax.tree.structure(updates), parts, leaves)
        return updates, OptimizerState(step, jnp.asarray(rate, jnp.float32), dict(zip(moments, new, strict=True)))

    return GradientTransformation(init, update)


def _rate(name: str, learning_rate: LearningRate, step: Any) -> Any:
    """Return the rate of the update after `step` others: a number or a scalar."""
    return _now(name, "learning_rate", learning_rate, step, np.inf)


def _now(name: str, what: str, value: Any, step: Any, limit: float) -> Any:
    """Return the value after `step` updates, a number or a scalar in [0, limit)."""
    value = value(step) if callable(value) else value
    checks.in_range(name, what, value, 0, limit, open_high=True)
    if np.shape(value) != ():
        raise ValueError(f"{name} expected {what} to be one number but got an array of shape {np.shape(value)}")
    return value
