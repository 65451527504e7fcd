"""Steps divided by the size of the gradients so far, each parameter's own: Adagrad, RMSprop, Adam and AdamW."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import checks
from jaxnn.functional import wide
from jaxnn.optimizers.transformation import LearningRate, Momentum, correction, rate_at, transformation
from jaxnn.types import Array

if TYPE_CHECKING:
    from optax import GradientTransformation


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

    def rule(rate, step):
        def of_leaf(g, v):
            v = decay * v + (1 - decay) * jnp.square(g)
            return -rate * g / (jnp.sqrt(v) + epsilon), v

        return of_leaf

    return transformation("rmsprop", learning_rate, rule, "mean_square")


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

    def rule(rate, step):
        def of_leaf(g, s):
            s = s + jnp.square(g)
            return -rate * g / (jnp.sqrt(s) + epsilon), s

        return of_leaf

    return transformation("adagrad", learning_rate, rule, "sum_of_squares", start=initial_accumulator)


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
        factor = rate_at("adamw", learning_rate, state.step) * weight_decay

        def decayed(decay, u, w):
            return (u - jnp.asarray(factor, wide(w).dtype) * w).astype(u.dtype) if decay else u

        decays = checks.mask("adamw", True if mask is None else mask(params) if callable(mask) else mask, params)
        return jax.tree.map(decayed, decays, updates, params), new_state

    return GradientTransformation(inner.init, update)


def _adam(name: str, learning_rate: LearningRate, beta1: Any, beta2: Any, epsilon: Any) -> "GradientTransformation":
    checks.in_range(name, "beta2", beta2, 0, 1, open_high=True)
    checks.finite_positive(name, "epsilon", epsilon)

    def rule(rate, beta1, step):
        # lr m̂ / (sqrt(v̂) + epsilon) with the two corrections taken together: one division an element, not three.
        root = jnp.sqrt(correction(beta2, step))
        factor = rate * root / correction(beta1, step)

        def of_leaf(g, m, v):
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * jnp.square(g)
            return -factor * m / (jnp.sqrt(v) + epsilon * root), m, v

        return of_leaf

    return transformation(name, learning_rate, rule, "m", "v", beta1=beta1)
