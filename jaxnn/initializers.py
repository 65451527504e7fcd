"""How weights are drawn: functions `(key, shape) -> float32 array`, and Kaiming's rule for a whole model.

`shape` is [in, out] for a linear layer and [*window, in, out] for a convolution.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxnn import checks, tree
from jaxnn.types import Init, Layer, Params, PRNGKey, State


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (fan_in, fan_out): how many inputs reach an output, and how many outputs an input reaches.

    >>> fans((784, 512)), fans((3, 3, 16, 32))
    ((784, 512), (144, 288))
    """
    if len(shape) < 2:
        raise ValueError(f"fans expected a weight of shape [..., in, out] but got {shape}")
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def uniform(key: PRNGKey, shape: tuple[int, ...], bound: float) -> jax.Array:
    """Draw from U(-bound, bound).

    >>> bool(abs(uniform(jax.random.key(0), (100,), 0.1)).max() <= 0.1)
    True
    """
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)


def fan_in_uniform(key: PRNGKey, shape: tuple[int, ...]) -> jax.Array:
    """Draw from U(-b, b), b = 1 / sqrt(fan_in): PyTorch's default for linear layers and convolutions.

    PyTorch writes it as Kaiming's uniform with a = sqrt(5), which comes to the same.

    >>> fan_in_uniform(jax.random.key(0), (4, 3)).shape
    (4, 3)
    """
    return uniform(key, shape, 1 / math.sqrt(fans(shape)[0]))


def _fan(shape: tuple[int, ...], mode: str) -> int:
    checks.one_of("kaiming", "mode", mode, ("fan_in", "fan_out"))
    return fans(shape)[0 if mode == "fan_in" else 1]


def kaiming_normal(
    key: PRNGKey, shape: tuple[int, ...], *, mode: str = "fan_in", gain: float = math.sqrt(2)
) -> jax.Array:
    """Draw from N(0, gain**2 / fan); the gain sqrt(2) makes up for the half that ReLU cuts off.

    He, Zhang, Ren, Sun, 2015, Delving Deep into Rectifiers.

    >>> weight = kaiming_normal(jax.random.key(0), (200, 300))
    >>> bool(abs(weight.std() - 0.1) < 0.001)
    True
    """
    return gain / math.sqrt(_fan(shape, mode)) * jax.random.normal(key, shape, jnp.float32)


def kaiming_uniform(
    key: PRNGKey, shape: tuple[int, ...], *, mode: str = "fan_in", gain: float = math.sqrt(2)
) -> jax.Array:
    """Draw from U(-b, b), b = gain sqrt(3 / fan): the variance of `kaiming_normal`.

    >>> weight = kaiming_uniform(jax.random.key(0), (200, 300))
    >>> bool(abs(weight.std() - 0.1) < 0.001)
    True
    """
    return uniform(key, shape, gain * math.sqrt(3 / _fan(shape, mode)))


def xavier_normal(key: PRNGKey, shape: tuple[int, ...], *, gain: float = 1.0) -> jax.Array:
    """Draw from N(0, 2 gain**2 / (fan_in + fan_out)).

    Glorot and Bengio, 2010, Understanding the difficulty of training deep feedforward neural networks.

    >>> bool(abs(xavier_normal(jax.random.key(0), (100, 100)).std() - 0.1) < 0.002)
    True
    """
    return gain * math.sqrt(2 / sum(fans(shape))) * jax.random.normal(key, shape, jnp.float32)


def xavier_uniform(key: PRNGKey, shape: tuple[int, ...], *, gain: float = 1.0) -> jax.Array:
    """Draw from U(-b, b), b = gain sqrt(6 / (fan_in + fan_out)): the variance of `xavier_normal`.

    >>> bool(abs(xavier_uniform(jax.random.key(0), (100, 100)).std() - 0.1) < 0.002)
    True
    """
    return uniform(key, shape, gain * math.sqrt(6 / sum(fans(shape))))


def kaiming(model: Layer, draw: Callable[..., jax.Array] = kaiming_normal) -> Init:
    """Return an init for the whole model with Kaiming's rule, as the guide's tip has it.

    Linear weights (leaves `weight` of two axes) are drawn with fan_in and their biases are zero; convolution weights
    (more axes) are drawn with fan_out and keep their default biases. Everything else is drawn as the model does it.
    Use it as `fit(..., init=kaiming(model))`. Raises ValueError for a model with `repeat`, whose stacked weights have
    one axis more and would be drawn with the wrong fan.

    >>> from jaxnn.layers import linear
    >>> params, state = kaiming(linear(3, 2))(jax.random.key(0))
    >>> params["bias"].tolist()
    [0.0, 0.0]
    """

    if "repeat(" in model.name:
        raise ValueError(f"kaiming expected no repeated layers, whose weights are stacked, but got {model.name}")

    def init(key: PRNGKey, /) -> tuple[Params, State]:
        params, state = model.init(key)
        ranks = {path: leaf.ndim for path, leaf in tree.paths(params).items()}

        def redraw(path, leaf):
            name = tree.path_string(path)
            if name.split(".")[-1] == "weight" and leaf.ndim >= 2:
                mode = "fan_in" if leaf.ndim == 2 else "fan_out"
                index = list(ranks).index(name)
                return draw(jax.random.fold_in(key, index), leaf.shape, mode=mode).astype(leaf.dtype)
            if name.split(".")[-1] == "bias" and ranks.get(name[: -len("bias")] + "weight") == 2:
                return jnp.zeros_like(leaf)
            return leaf

        return jax.tree.map_with_path(redraw, params), state

    return init
