"""Checks of what a recurrent network is given: sequences, their lengths, parameters and carries."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxnn.checks.arrays import array, last_axis
from jaxnn.checks.numbers import is_concrete
from jaxnn.types import Array, Size


def time_steps(name: str, x: Array, features: int, *, one: bool = False) -> None:
    """Refuse anything but [B, T, features], or [B, features] for one time step.

    >>> time_steps("lstm(28, 128)", np.zeros((28, 28)), 28)
    Traceback (most recent call last):
    ValueError: lstm(28, 128) expected x of shape [B, T, 28] but got (28, 28): add the batch axis with x[None]
    """
    if x.ndim != 3 - one:
        hint = ""
        if x.ndim == 2 - one:
            hint = ": add the batch axis with x[None]"
        elif one and x.ndim == 3:
            hint = ": one time step is x[:, t]"
        elif x.ndim == 4 and x.shape[3] == 1 and x.shape[2] == features:
            hint = ": an image read row by row is x[..., 0]"
        expected = f"[B, {features}]" if one else f"[B, T, {features}]"
        raise ValueError(f"{name} expected x of shape {expected} but got {x.shape}{hint}")
    last_axis(name, x, features)


def sequence_lengths(name: str, lengths: Any, batch: Size, time: int) -> None:
    """Refuse lengths that are not integers [B], or are outside 0..T; tracers pass the check of values.

    >>> sequence_lengths("lstm", np.array([3, 8]), 2, 7)
    Traceback (most recent call last):
    ValueError: lstm expected lengths in 0..7, the time steps of x, but lengths[1] is 8
    """
    array(name, "lengths", lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        hint = ": of a mask [B, T] take mask.sum(1)" if lengths.dtype == bool and lengths.ndim == 2 else ""
        raise TypeError(f"{name} expected integer lengths but got {lengths.dtype} of shape {lengths.shape}{hint}")
    if lengths.shape != (batch,):
        raise ValueError(f"{name} expected lengths of shape ({batch},), one a sequence, but got {lengths.shape}")
    if is_concrete(lengths):
        values = np.asarray(lengths)
        bad = np.flatnonzero((values < 0) | (values > time))
        if bad.size:
            place = int(bad[0])
            raise ValueError(
                f"{name} expected lengths in 0..{time}, the time steps of x, but lengths[{place}] is {values[place]}"
            )


def recurrent_params(
    name: str, params: Any, gates: int, expected: tuple[int, int, int, int] | None = None
) -> tuple[int, int, int, int]:
    """Return (input size, layers, directions, hidden size) of a network's params; refuse those of another network."""
    names = ("input_weight", "recurrent_weight", "input_bias", "recurrent_bias")
    parts = []
    for layer in params if isinstance(params, tuple) else ():
        two = isinstance(layer, dict) and set(layer) == {"forward", "backward"}
        parts.append((layer["forward"], layer["backward"]) if two else (layer,))
    if not parts or not all(isinstance(part, dict) and set(part) == set(names) for pair in parts for part in pair):
        raise ValueError(f"{name} expected params to be a tuple with {', '.join(names)} a layer: use its own init")
    first, directions = parts[0][0], len(parts[0])
    features, hidden = np.shape(first["input_weight"])[:1], np.shape(first["recurrent_weight"])[:1]
    if not features or not hidden:
        raise ValueError(f"{name} expected weights [in, out] but got vectors: use its own init")
    sizes = (features[0], len(parts), directions, hidden[0])
    if expected is not None and sizes != expected:
        what = "(input size, layers, directions, hidden size)"
        raise ValueError(f"{name} expected params of {what} = {expected} but got {sizes}: use its own init")
    width = gates * hidden[0]
    for i, pair in enumerate(parts):
        inputs = features[0] if i == 0 else directions * hidden[0]
        shapes = dict(zip(names, [(inputs, width), (hidden[0], width), (width,), (width,)], strict=True))
        for part in pair:
            found = {key: np.shape(part[key]) for key in names}
            if found != shapes or len(pair) != directions:
                raise ValueError(f"{name} expected params[{i}] {shapes} but got {found}: use its own init")
    return sizes


def recurrent_carry(name: str, carry: Any, parts: int, shape: tuple[Size, ...]) -> None:
    """Refuse a carry that is not h, or (h, c), of shape [layers, B, H].

    >>> recurrent_carry("gru", (np.zeros((1, 4, 5)),), 1, (1, 8, 5))
    Traceback (most recent call last):
    ValueError: gru expected a carry of shape [layers, B, H] = (1, 8, 5) but got (1, 4, 5)
    """
    if not isinstance(carry, tuple) or len(carry) != parts:
        raise TypeError(f"{name} expected the carry to be the pair (h, c) but got {type(carry).__name__}")
    for part in carry:
        array(name, "the carry", part)
        if not jnp.issubdtype(part.dtype, jnp.floating):
            raise TypeError(f"{name} expected a carry of floats but got {part.dtype} of shape {part.shape}")
        if part.shape != shape:
            raise ValueError(f"{name} expected a carry of shape [layers, B, H] = {shape} but got {part.shape}")
