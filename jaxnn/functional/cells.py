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

    step: Callable[[Array, Array, Carry], tuple[Carry, Slopes]]
    """`step(x W + b, h U + b', carry) -> carry, slopes`."""
    tangent: Callable[[Slopes, Array, Array, Carry], Carry]
    """`tangent(slopes, *tangents of the three arguments) -> tangent of the new carry`, linear in the tangents."""
    adds: bool
    """Whether the products enter by their sum alone."""


def rnn_cell(activation: Callable[[Any], Any]) -> Cell:
    """Make the cell h = a(x + h') of the simple recurrent network: dh = a'(x + h') (dx + dh').

    >>> cell = rnn_cell(jax.nn.relu)
    >>> (h,), slopes = cell.step(jnp.array([1.0, -2.0]), jnp.array([2.0, 1.0]), ())
    >>> h.tolist(), slopes[0].tolist()
    ([3.0, 0.0], [1.0, 0.0])
    """
    checks.callables("rnn", activation=activation)

    def step(x, h, carry):
        value, slope = jax.jvp(activation, (x + h,), (jnp.ones_like(x),))
        return (value,), (slope,)

    def tangent(slopes, dx, dh, dcarry):
        return (slopes[0] * (dx + dh),)

    return Cell(step, tangent, True)


def _lstm_step(x: Array, h: Array, carry: Carry) -> tuple[Carry, Slopes]:
    """Compute c = f c + i g and h = o tanh(c).

    dc = f dc + (c f') dv_f + (g i') dv_i + (i g') dv_g and dh = (tanh(c) o') dv_o + (o tanh'(c)) dc, with v = x + h'.
    """
    # σ(v) = (1 + tanh(v / 2)) / 2: one tanh over all gates is one vector loop, on CPU far faster than gate by gate.
    slope = jnp.repeat(jnp.array([0.5, 0.5, 1, 0.5], x.dtype), carry[1].shape[-1])  # 1/2 for σ, 1 for tanh
    i, f, g, o = jnp.split(jnp.tanh((x + h) * slope) * slope + (1 - slope), 4, axis=-1)
    c = f * carry[1] + i * g
    t = jnp.tanh(c)
    slopes = g * i * (1 - i), carry[1] * f * (1 - f), i * (1 - g * g), t * o * (1 - o), f, o * (1 - t * t)
    return (o * t, c), slopes


def _lstm_tangent(slopes: Slopes, dx: Array, dh: Array, dcarry: Carry) -> Carry:
    by_i, by_f, by_g, by_o, by_c, by_new_c = slopes
    i, f, g, o = jnp.split(dx + dh, 4, axis=-1)
    dc = by_c * dcarry[1] + by_i * i + by_f * f + by_g * g
    return by_o * o + by_new_c * dc, dc


def _gru_step(x: Array, h: Array, carry: Carry) -> tuple[Carry, Slopes]:
    """Compute h = (1 - z) n + z h with n = tanh(x_n + r h'_n), σ for r and z.

    dh = (1 - z) n' (dx_n + r dh'_n + h'_n r' dv_r) + (h - n) z' dv_z + z dh, with v = x + h'.
    """
    # As in the LSTM. A tanh of a slice is slow on CPU, so n = tanh(x + r h') is taken in all three places.
    r, z, _ = jnp.split(jnp.tanh((x + h) / 2) / 2 + 0.5, 3, axis=-1)
    n = jnp.split(jnp.tanh(x + jnp.concatenate([r, r, r], axis=-1) * h), 3, axis=-1)[2]
    by_n = (1 - z) * (1 - n * n)
    by_r = by_n * jnp.split(h, 3, axis=-1)[2] * r * (1 - r)
    return ((1 - z) * n + z * carry[0],), (by_r, (carry[0] - n) * z * (1 - z), by_n, by_n * r, z)


def _gru_tangent(slopes: Slopes, dx: Array, dh: Array, dcarry: Carry) -> Carry:
    by_r, by_z, by_input, by_hidden, by_h = slopes
    r, z, _ = jnp.split(dx + dh, 3, axis=-1)
    n, m = jnp.split(dx, 3, axis=-1)[2], jnp.split(dh, 3, axis=-1)[2]
    return (by_r * r + by_z * z + by_input * n + by_hidden * m + by_h * dcarry[0],)


lstm_cell = Cell(_lstm_step, _lstm_tangent, True)
gru_cell = Cell(_gru_step, _gru_tangent, False)
