"""One layer many times over in one small program, and memory saved at the price of time."""

import jax
import jax.numpy as jnp

from jaxnn import checks
from jaxnn.types import Layer, LayerLike


def repeat(layer: LayerLike, n: int) -> Layer:
    """Make n copies of a layer in a row, each with parameters of its own; the layer keeps the shape of x.

    It computes what `sequential(*[layer] * n)` computes, from the same draws, but as a scan over stacked params and
    state (each leaf has n on its first axis): the program holds one copy and compiles in the time of one. Raises
    ValueError for a layer that changes the shape.

    >>> from jaxnn.layers import linear, residual
    >>> deep = repeat(residual(linear(4, 4)), 50)
    >>> params, state = deep.init(jax.random.key(0))
    >>> params["weight"].shape, deep.apply(params, state, jnp.ones((2, 4)))[0].shape
    ((50, 4, 4), (2, 4))
    """
    layer = checks.as_layer("repeat", layer)
    checks.positive_int("repeat", "n", n)
    name = f"repeat({layer.name}, {n})"

    def init(key, /):
        checks.random_key(name, key)
        return jax.vmap(lambda i: layer.init(jax.random.fold_in(key, i)))(jnp.arange(n))

    def apply(params, state, x, /, *, key=None, train=False):
        checks.array(name, "x", x)
        checks.stacked(name, (params, state), n)
        if key is not None:
            checks.random_key(name, key)

        def one(x, copy):
            params, state, i = copy
            copy_key = None if key is None else jax.random.fold_in(key, i)
            y, state = layer.apply(params, state, x, key=copy_key, train=train)
            checks.same_form(name, x, y)
            return y, state

        return jax.lax.scan(one, jnp.asarray(x), (params, state, jnp.arange(n)))

    return Layer(init, apply, name)


def remat(layer: LayerLike) -> Layer:
    """Make the same layer whose gradient computes everything inside it a second time, and so keeps only its input.

    For a network too deep for the memory: `repeat(remat(block), 50)` keeps 50 inputs of a block for the backward
    pass, and spends one more forward pass. Chen, Xu, Zhang, Guestrin, 2016, Training Deep Nets with Sublinear Memory
    Cost.

    >>> from jaxnn.layers import linear
    >>> layer = remat(linear(4, 3))
    >>> layer, layer.apply(*layer.init(jax.random.key(0)), jnp.ones((2, 4)))[0].shape
    (remat(linear(4, 3)), (2, 3))
    """
    layer = checks.as_layer("remat", layer)

    def apply(params, state, x, /, *, key=None, train=False):
        def inner(params, state, x, key):
            return layer.apply(params, state, x, key=key, train=train)

        return jax.checkpoint(inner)(params, state, x, key)

    return Layer(layer.init, apply, f"remat({layer.name})")
