"""Layers that only disturb, and only in training."""

from jaxnn import checks, functional
from jaxnn.types import Array, Layer


def dropout(rate: float | Array) -> Layer:
    """Make the layer that sets each element to zero with probability `rate` in training, [...] -> [...].

    `rate` is the probability of *dropping*; what is kept is divided by the probability of keeping, so evaluation
    needs no scaling. With `train=False` it is the identity. Raises ValueError for a rate outside [0, 1], and in
    training when no key is given.

    >>> import jax, jax.numpy as jnp
    >>> layer = dropout(0.2)
    >>> x = jnp.ones((2, 3))
    >>> layer.apply((), (), x)[0] is x
    True
    >>> layer.apply((), (), x, key=jax.random.key(0), train=True)[0].shape
    (2, 3)
    """
    checks.in_range("dropout", "rate", rate, 0, 1)
    name = f"dropout({checks.number(rate)})"

    def apply(params, state, x, /, *, key=None, train=False):
        if not train or (checks.is_concrete(rate) and rate == 0):
            return x, state
        return functional.dropout(checks.float_input(name, x), checks.given_key(name, key), rate), state

    return Layer(lambda key: ((), ()), apply, name)
