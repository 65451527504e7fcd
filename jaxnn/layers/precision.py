"""The dtype that is computed in."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn import checks
from jaxnn.types import Array, Layer


def cast(dtype: Any) -> Layer:
    """Make the layer that rounds floats to a dtype such as jnp.bfloat16, [...] -> [...].

    Since the compute dtype follows x, what comes after it computes so: `sequential(normalize(...), cast(jnp.bfloat16),
    network)` trains in mixed precision. The parameters, their gradients and the optimizer's moments stay float32, and
    losses and metrics are computed in it. Raises TypeError for a dtype that is no float's, and for integers as x;
    ValueError for float64 while jax_enable_x64 is not set. Micikevicius et al., 2018, Mixed Precision Training.

    >>> layer = cast(jnp.bfloat16)
    >>> layer, layer.apply((), (), jnp.array([1.0, 1.001]))[0]
    (cast(bfloat16), Array([1, 1], dtype=bfloat16))
    """
    try:
        # NumPy takes None for float64, and an array for its dtype.
        wanted = jnp.dtype(object if dtype is None or isinstance(dtype, Array) else dtype)
    except TypeError:
        wanted = jnp.dtype(object)
    if not jnp.issubdtype(wanted, jnp.floating):
        got = f"an array of shape {dtype.shape}" if isinstance(dtype, Array) else repr(dtype)
        raise TypeError(f"cast expected a dtype of floats such as jnp.bfloat16 but got {got}")
    if jax.dtypes.canonicalize_dtype(wanted) != wanted:
        raise ValueError(
            f"cast expected jax_enable_x64 to be set for {wanted.name}: without it JAX computes in float32"
        )
    name = f"cast({wanted.name})"

    def apply(params, state, x, /, *, key=None, train=False):
        return checks.float_input(name, x).astype(wanted), state

    return Layer(lambda key: ((), ()), apply, name)
