"""The cells of recurrent networks, elementwise: a step, and the slopes that make up its derivative.

A step's derivative is linear in the tangents of its arguments. Its factors, here slopes, are products of what the step
has computed, so they are cheap beside it, and a backward pass that has them needs neither the gates nor a tanh again.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn import checks
from jaxnn.types import Array

Carry = tuple[Array, ...]
"""What one layer remembers: (h,), or (h, c) for the LSTM, each [B, H]."""

Slopes = tuple[Array, ...]
"""The factors of a step's derivative, each [B, H]."""


class Cell(NamedTuple):
    """A recurrent network's cell; the gates stand side by side on the last axis of both products."""

    step: Callable[[Array, Array, Carry], Carry]
    """`step(x W + b, h U + b', carry) -> carry`."""
    with_slopes: Callable[[Array, Array, Carry], tuple[Carry, Slopes]] | None
    """The same step and its slopes; None where JAX's own derivative is taken."""
    tangent: Callable[[Slopes, Array, Array, Carry], Carry]
    """`tangent(slopes, *tangents of the three arguments) -> tangent of the new carry`, linear in the tangents."""
    by_sum: bool
    """Whether the products enter by their sum alone, as they do but for the GRU's reset gate."""


def rnn_cell(activation: Callable[[Any], Any]) -> Cell:
    """Make the cell h = a(x + h') of the simple recurrent network: dh = a'(x + h') (dx + dh') for tanh and ReLU.

    Any other activation, which need not be elementwise, gets JAX's own derivative.

    >>> cell = rnn_cell(jax.nn.relu)
    >>> (h,), slopes = cell.with_slopes(jnp.array([1.0, -2.0]), jnp.array([2.0, 1.0]), ())
    >>> h.tolist(), slopes[0].tolist()
    ([3.0, 0.0], [1.0, 0.0])
    """
    checks.callables("rnn", activation=activation)

    def step(x, h, carry):
        return (activation(x + h),)

    def with_slopes(x, h, carry):
        value, slope = jax.jvp(activation, (x + h,), (jnp.ones_like(x),))
        return (value,), (slope,)

    def tangent(slopes, dx, dh, dcarry):
        return (slopes[0] * (dx + dh),)

    known = activation is jnp.tanh or activation is jax.nn.relu
    return Cell(step, with_slopes if known else None, tangent, by_sum=True)


def _lstm_gates(x: Array, h: Array, carry: Carry) -> tuple[Array, ...]:
    """Compute i, f, g, o, the new c = f c + i g, and tanh(c)."""
    # σ(v) = (1 + tanh(v / 2)) / 2: one tanh over all gates is one vector loop, on CPU far faster than gate by gate.
    slope = jnp.repeat(jnp.array([0.5, 0.5, 1, 0.5], x.dtype), carry[1].shape[-1])  # 1/2 for σ, 1 for tanh
    i, f, g, o = jnp.split(jnp.tanh((x + h) * slope) * slope + (1 - slope), 4, axis=-1)
    c = f * carry[1] + i * g
    return i, f, g, o, c, jnp.tanh(c)


def _lstm_step(x: Array, h: Array, carry: Carry) -> Carry:
    _, _, _, o, c, t = _lstm_gates(x, h, carry)
    return o * t, c


def _lstm_with_slopes(x: Array, h: Array, carry: Carry) -> tuple[Carry, Slopes]:
    """Compute h = o tanh(c) and c, and the factors of their differentials.

    dc = f dc + (c f') dv_f + (g i') dv_i + (i g') dv_g and dh = (tanh(c) o') dv_o + (o tanh'(c)) dc, with v = x + h'.
    """
    i, f, g, o, c, t = _lstm_gates(x, h, carry)
    slopes = g * i * (1 - i), carry[1] * f * (1 - f), i * (1 - g * g), t * o * (1 - o), f, o * (1 - t * t)
    return (o * t, c), slopes


def _lstm_tangent(slopes: Slopes, dx: Array, dh: Array, dcarry: Carry) -> Carry:
    """Put dh and dc together."""
    by_i, by_f, by_g, by_o, by_c, by_new_c = slopes
    i, f, g, o = jnp.split(dx + dh, 4, axis=-1)
    dc = by_c * dcarry[1] + by_i * i + by_f * f + by_g * g
    return by_o * o + by_new_c * dc, dc


def _gru_gates(x: Array, h: Array) -> tuple[Array, ...]:
    """Compute r, z and n = tanh(x_n + r h'_n)."""
    # As in the LSTM. A tanh of a slice is slow on CPU, so n = tanh(x + r h') is taken in all three places.
    r, z, _ = jnp.split(jnp.tanh((x + h) / 2) / 2 + 0.5, 3, axis=-1)
    return r, z, jnp.split(jnp.tanh(x + jnp.concatenate([r, r, r], axis=-1) * h), 3, axis=-1)[2]


def _gru_step(x: Array, h: Array, carry: Carry) -> Carry:
    _, z, n = _gru_gates(x, h)
    return ((1 - z) * n + z * carry[0],)


def _gru_with_slopes(x: Array, h: Array, carry: Carry) -> tuple[Carry, Slopes]:
    """Compute h = (1 - z) n + z h and the factors of its differential.

    dh = (1 - z) n' (dx_n + r dh'_n + h'_n r' dv_r) + (h - n) z' dv_z + z dh, with v = x + h'.
    """
    r, z, n = _gru_gates(x, h)
    by_n = (1 - z) * (1 - n * n)
    by_r = by_n * jnp.split(h, 3, axis=-1)[2] * r * (1 - r)
    return ((1 - z) * n + z * carry[0],), (by_r, (carry[0] - n) * z * (1 - z), by_n, by_n * r, z)


def _gru_tangent(slopes: Slopes, dx: Array, dh: Array, dcarry: Carry) -> Carry:
    """Put dh together; the third gate has its own factor for each of the two products."""
    by_r, by_z, by_x, by_h, by_carry = slopes
    r, z, _ = jnp.split(dx + dh, 3, axis=-1)
    x_n, h_n = jnp.split(dx, 3, axis=-1)[2], jnp.split(dh, 3, axis=-1)[2]
    return (by_r * r + by_z * z + by_x * x_n + by_h * h_n + by_carry * dcarry[0],)


lstm_cell = Cell(_lstm_step, _lstm_with_slopes, _lstm_tangent, by_sum=True)
gru_cell = Cell(_gru_step, _gru_with_slopes, _gru_tangent, by_sum=False)
