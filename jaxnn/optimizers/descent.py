"""Gradient descent, on all examples or on a few, and with momentum."""

from typing import TYPE_CHECKING

from jaxnn import checks
from jaxnn.optimizers.transformation import LearningRate, Momentum, transformation

if TYPE_CHECKING:
    from optax import GradientTransformation


def gradient_descent(learning_rate: LearningRate) -> "GradientTransformation":
    """Make gradient descent, w <- w - lr g, with g the gradient over all examples.

    Cauchy, 1847, Méthode générale pour la résolution des systèmes d'équations simultanées.

    >>> import jax.numpy as jnp
    >>> optimizer = gradient_descent(0.1)
    >>> updates, state = optimizer.update(jnp.array([2.0]), optimizer.init(jnp.array([1.0])))
    >>> updates, int(state.step)
    (Array([-0.2], dtype=float32), 1)
    """
    return transformation("gradient_descent", learning_rate, lambda rate, step: lambda g: (-rate * g,))


def sgd(learning_rate: LearningRate) -> "GradientTransformation":
    """Make stochastic gradient descent, w <- w - lr g, with g the gradient over one example or a batch of a few.

    The rule is that of `gradient_descent`; what differs is the gradient it is given. Robbins and Monro, 1951,
    A Stochastic Approximation Method.

    >>> import jax.numpy as jnp
    >>> optimizer = sgd(lambda step: 0.1 / (1 + step))
    >>> updates, state = optimizer.update(jnp.array([2.0]), optimizer.init(jnp.array([1.0])))
    >>> updates, state = optimizer.update(jnp.array([2.0]), state)
    >>> updates, state.learning_rate
    (Array([-0.1], dtype=float32), Array(0.05, dtype=float32))
    """
    return transformation("sgd", learning_rate, lambda rate, step: lambda g: (-rate * g,))


def momentum(learning_rate: LearningRate, momentum: Momentum = 0.9, nesterov: bool = False) -> "GradientTransformation":
    """Make gradient descent with momentum in the guide's form: v <- m v - lr g, w <- w + v.

    Nesterov's form moves by m v - lr g with the new v, the gradient's part counted ahead. Optax and PyTorch sum
    gradients and multiply the sum by the rate, v <- m v + g, w <- w - lr v. At a constant rate the steps are equal;
    after the rate has changed, theirs rescales the whole velocity at once and the guide's keeps it.
    Polyak, 1964, Some Methods of Speeding Up the Convergence of Iteration Methods; Sutskever, Martens, Dahl, Hinton,
    2013, On the Importance of Initialization and Momentum in Deep Learning (Nesterov's form).

    >>> import jax.numpy as jnp
    >>> optimizer = momentum(0.1, momentum=0.5)
    >>> updates, state = optimizer.update(jnp.array([2.0]), optimizer.init(jnp.array([1.0])))
    >>> optimizer.update(jnp.array([2.0]), state)[0]  # 0.5 * -0.2 - 0.1 * 2
    Array([-0.3], dtype=float32)
    """
    if nesterov and not callable(momentum) and checks.is_concrete(momentum) and momentum == 0:
        raise ValueError("momentum expected a positive momentum with nesterov=True but got 0: give one, such as 0.9")

    def rule(rate, m, step):
        def of_leaf(g, v):
            v = m * v - rate * g
            return m * v - rate * g if nesterov else v, v

        return of_leaf

    return transformation("momentum", learning_rate, rule, "velocity", momentum=momentum)
