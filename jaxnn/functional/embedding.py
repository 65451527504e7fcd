"""Rows of a table for integers, and positions as sines and cosines."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from jaxnn import checks
from jaxnn.types import Array


def embed(
    x: Integer[Array, "*batch"], table: Float[Array, "count dimension"], pad_id: int | None = None
) -> Float[Array, "*batch dimension"]:
    """Take the row of each integer from the table, [...] -> [..., D], in the dtype of the table.

    The row `pad_id` gets no gradient. An integer outside 0..count-1 raises ValueError; under `jit`, where no value is
    known, its row is NaN, never another's. Raises TypeError for floats.

    >>> embed(jnp.array([2, 0]), jnp.array([[0.0], [1.0], [2.0]])).tolist()
    [[2.0], [0.0]]
    """
    checks.array("embed", "table", table)
    if table.ndim != 2:
        raise ValueError(f"embed expected a table of shape [count, D] but got {table.shape}")
    count = table.shape[0]
    x = checks.token_ids("embed", x, count)
    x = x.astype(jnp.int32) if x.dtype.itemsize < 4 else x  # a byte cannot be compared with 300
    # `fill` makes an index past the end NaN, and gives it no gradient; a negative one would count from the end.
    inside = (x >= 0) & (x < count)
    rows = jnp.asarray(table).at[jnp.where(inside, x, count).astype(jnp.int32)].get(mode="fill", fill_value=jnp.nan)
    if pad_id is None:
        return rows
    return jnp.where((x == pad_id)[..., None], jax.lax.stop_gradient(rows), rows)


def sinusoids(length: int, dimension: int) -> Float[np.ndarray, "length dimension"]:
    """Compute the positions of the first Transformer, [T, D]: each pair of columns turns at a frequency of its own.

    P[t, 2i] = sin(t / 10000**(2i/D)), P[t, 2i+1] = cos(t / 10000**(2i/D)), in float64 rounded to float32, because the
    angle of a late position has lost its digits in float32. Raises ValueError for an odd D. Vaswani et al., 2017,
    Attention Is All You Need.

    >>> sinusoids(2, 4).round(3).tolist()
    [[0.0, 1.0, 0.0, 1.0], [0.8410000205039978, 0.5400000214576721, 0.009999999776482582, 1.0]]
    """
    checks.positive_int("sinusoids", "dimension", dimension)
    checks.non_negative_int("sinusoids", "length", length)
    if dimension % 2:
        raise ValueError(f"sinusoids expected an even dimension but got {dimension}: they come in pairs")
    rates = 10000.0 ** (-np.arange(0, dimension, 2) / dimension)
    angles = np.arange(length)[:, None] * rates  # [T, D/2]
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(length, dimension).astype(np.float32)
