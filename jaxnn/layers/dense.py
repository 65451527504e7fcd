"""Fully connected layers: linear, and the flatten that comes before it."""

import math

import jax
import jax.numpy as jnp

from jaxnn import checks, functional
from jaxnn.functional.shards import by_shard
from jaxnn.initializers import uniform
from jaxnn.types import Array, Layer, Params

PACKED = 2**15  # elements of a weight whose copy is nothing beside a sum over devices


def linear(in_features: int, out_features: int, *, bias: bool = True) -> Layer:
    """Make the affine layer y = x W + b over the last axis, [..., in] -> [..., out].

    params: weight [in, out], bias [out] (PyTorch keeps the transpose, [out, in]). Both are drawn from
    U(-1/sqrt(in), 1/sqrt(in)), PyTorch's default. Raises ValueError when the last axis of x is not `in`, TypeError
    for integers.

    >>> import jax
    >>> layer = linear(784, 512)
    >>> params, state = layer.init(jax.random.key(0))
    >>> y, state = layer.apply(params, state, jnp.ones((32, 784)))
    >>> layer, y.shape
    (linear(784, 512), (32, 512))
    """
    checks.positive_int("linear", "in_features", in_features)
    checks.positive_int("linear", "out_features", out_features)
    name = f"linear({in_features}, {out_features}{'' if bias else ', bias=False'})"
    bound = 1 / math.sqrt(in_features)
    shapes = {"weight": (in_features, out_features)} | ({"bias": (out_features,)} if bias else {})

    def init(key, /):
        checks.random_key(name, key)
        weight_key, bias_key = jax.random.split(key)
        params = {"weight": uniform(weight_key, (in_features, out_features), bound)}
        if bias:
            params["bias"] = uniform(bias_key, (out_features,), bound)
        return params, ()

    def apply(params, state, x, /, *, key=None, train=False):
        x = checks.float_input(name, x)
        checks.last_axis(name, x, in_features)
        checks.own_entries(name, "params", params, shapes)
        return _linear(params, x), state

    return Layer(init, apply, name)


def _linear(params: Params, x: Array) -> Array:
    """Compute the affine map; on a mesh a small weight's gradient is one array with the bias's."""

    def of_rows(params, x):
        return (functional.linear(x, params["weight"], params.get("bias")),)

    if x.ndim == 2 and params["weight"].size <= PACKED:
        return by_shard(of_rows, (0,), (0,), params, x)[0]
    return of_rows(params, x)[0]


def flatten() -> Layer:
    """Make the layer that joins all axes but the first, [B, ...] -> [B, D]. It takes any dtype.

    >>> flatten().apply((), (), jnp.zeros((32, 28, 28, 1)))[0].shape
    (32, 784)
    """
    name = "flatten()"

    def apply(params, state, x, /, *, key=None, train=False):
        checks.has_batch(name, x)
        return jnp.reshape(x, (x.shape[0], math.prod(x.shape[1:]))), state

    return Layer(lambda key: ((), ()), apply, name)
