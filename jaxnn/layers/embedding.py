"""Layers at the bottom of a network over tokens: embedding, and positions that are learned or sinusoidal."""

import jax
import jax.numpy as jnp

from jaxnn import checks, functional
from jaxnn.types import Layer


def embedding(count: int, dimension: int, *, pad_id: int | None = None) -> Layer:
    """Make the layer that takes a row of a table for each integer, [...] -> [..., D].

    params: embedding [count, D], drawn from N(0, 1), PyTorch's default; the output has its dtype. The row `pad_id` is
    zero at first and gets no gradient, so it stays zero. Raises ValueError for an integer outside 0..count-1 (before
    2**33 could become 0); under `jit`, where no value is known, its row is NaN, never another's. Raises TypeError for
    floats.

    >>> layer = embedding(1000, 64, pad_id=0)
    >>> params, state = layer.init(jax.random.key(0))
    >>> layer, layer.apply(params, state, jnp.zeros((32, 20), int))[0].shape
    (embedding(1000, 64, pad_id=0), (32, 20, 64))
    """
    checks.positive_int("embedding", "count", count)
    checks.positive_int("embedding", "dimension", dimension)
    checks.pad_index("embedding", pad_id, count)
    name = f"embedding({count}, {dimension}{'' if pad_id is None else f', pad_id={pad_id}'})"

    def init(key, /):
        checks.random_key(name, key)
        table = jax.random.normal(key, (count, dimension), jnp.float32)
        return {"embedding": table if pad_id is None else table.at[pad_id].set(0)}, ()

    def apply(params, state, x, /, *, key=None, train=False):
        x = checks.token_ids(name, x, count)
        checks.own_entries(name, "params", params, {"embedding": (count, dimension)})
        return functional.embed(x, params["embedding"], pad_id), state

    return Layer(init, apply, name)


def learned_positions(length: int, dimension: int) -> Layer:
    """Make the layer that adds a learned vector to each time step, [B, T, D] -> [B, T, D] with T <= length.

    params: positions [length, D], drawn from N(0, 1) as the guide does it. Raises ValueError for a longer sequence,
    naming both lengths.

    >>> layer = learned_positions(512, 64)
    >>> params, state = layer.init(jax.random.key(0))
    >>> layer.apply(params, state, jnp.ones((32, 20, 64)))[0].shape
    (32, 20, 64)
    """
    checks.positive_int("learned_positions", "length", length)
    checks.positive_int("learned_positions", "dimension", dimension)
    name = f"learned_positions({length}, {dimension})"

    def init(key, /):
        checks.random_key(name, key)
        return {"positions": jax.random.normal(key, (length, dimension), jnp.float32)}, ()

    def apply(params, state, x, /, *, key=None, train=False):
        x = checks.float_input(name, x)
        checks.sequences(name, "x", x, dimension)
        checks.within_positions(name, x.shape[1], length)
        checks.own_entries(name, "params", params, {"positions": (length, dimension)})
        return x + params["positions"][: x.shape[1]].astype(x.dtype), state

    return Layer(init, apply, name)


def sinusoidal_positions(dimension: int) -> Layer:
    """Make the layer that adds sines and cosines of the position, [B, T, D] -> [B, T, D], for any T.

    See `functional.sinusoids`. It has no parameters. Raises ValueError for an odd dimension. Vaswani et al., 2017,
    Attention Is All You Need.

    >>> sinusoidal_positions(4).apply((), (), jnp.zeros((1, 1, 4)))[0].tolist()
    [[[0.0, 1.0, 0.0, 1.0]]]
    """
    checks.positive_int("sinusoidal_positions", "dimension", dimension)
    if dimension % 2:
        raise ValueError(f"sinusoidal_positions expected an even dimension but got {dimension}: they come in pairs")
    name = f"sinusoidal_positions({dimension})"

    def apply(params, state, x, /, *, key=None, train=False):
        x = checks.float_input(name, x)
        checks.sequences(name, "x", x, dimension)
        return x + jnp.asarray(functional.sinusoids(x.shape[1], dimension), x.dtype), state

    return Layer(lambda key: ((), ()), apply, name)
