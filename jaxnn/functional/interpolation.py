"""Curves from one value to another over counted steps, in float32 and exact to a few of its units in the last place."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import checks


def line(start: Any, end: Any, elapsed: Any, length: Any) -> jax.Array:
    """Go from start to end, in `length` steps, at an even pace, and stay there.

    >>> line(0.0, 1.0, jnp.array([-1, 1, 9]), 4)
    Array([0.  , 0.25, 1.  ], dtype=float32)
    """
    elapsed, length = jnp.clip(jnp.float32(elapsed), 0, length), jnp.float32(length)
    return jnp.float32(start) * ((length - elapsed) / length) + jnp.float32(end) * (elapsed / length)


def half_wave(start: Any, end: Any, elapsed: Any, length: Any) -> jax.Array:
    """Go from start to end, in `length` steps, as half a wave of the cosine, and stay there.

    (1 + cos a) / 2 is written as cos²(a / 2), each of the two shares from its own end: near the end of the wave the sum
    would leave nothing of a small value but rounding.

    >>> half_wave(0.0, 1.0, jnp.array([0, 2, 9]), 4)
    Array([0.        , 0.49999997, 1.        ], dtype=float32)
    """
    elapsed, length = jnp.clip(jnp.float32(elapsed), 0, length), jnp.float32(length)
    left, gone = jnp.sin(np.pi / 2 * ((length - elapsed) / length)), jnp.sin(np.pi / 2 * (elapsed / length))
    return jnp.float32(start) * left**2 + jnp.float32(end) * gone**2


def power_of(base: Any, count: Any, per: int = 1) -> jax.Array:
    """Compute base^(count / per) as the exponential of count log(base) / per, which is held as a sum of two numbers.

    Held in one, its rounding would be a relative error of the power: 4e-6 where that is 1e-30. The leading 12 bits of
    the logarithm are exact in their product with 12 bits of the count.

    >>> power_of(0.5, jnp.array([0, 1, 4]), 2).round(2)
    Array([1.  , 0.71, 0.25], dtype=float32)
    """
    xp = np if checks.is_concrete(base) else jnp
    log = xp.log(np.float64(base) if xp is np else base) / per
    mantissa, exponent = xp.frexp(log)
    high = xp.ldexp(xp.round(mantissa * 4096), exponent - 12)
    thousands, units = (
        jnp.float32(count // 4096) * jnp.float32(4096 * high),
        jnp.float32(count % 4096) * jnp.float32(high),
    )
    total = thousands + units
    rest = units - (total - thousands) + jnp.float32(count) * jnp.float32(log - high)
    return jnp.exp(total) * (1 + jnp.expm1(rest))
