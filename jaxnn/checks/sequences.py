"""Checks of tokens, sequences and attention masks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks.arrays import array
from jaxnn.checks.numbers import is_concrete
from jaxnn.types import Array, Size


def token_ids(name: str, x: Any, count: int) -> jax.Array:
    """Return x as a JAX array of integers; refuse other kinds, and concrete values outside 0..count-1.

    The range is checked before the conversion, which would turn 2**33 into 0. Tracers pass.

    >>> token_ids("embedding(10, 4)", np.array([[1, -1]]), 10)
    Traceback (most recent call last):
    ValueError: embedding(10, 4) expected integers in 0..9 but x[0, 1] is -1 (1 such value): ...
    """
    if not isinstance(x, int | np.integer) or isinstance(x, bool):
        array(name, "x", x)
    kind = jnp.result_type(x)
    if not jnp.issubdtype(kind, jnp.integer):
        hint = ": convert with x.astype('int32')" if jnp.issubdtype(kind, jnp.floating) else ""
        raise TypeError(f"{name} expected integers but got {kind} of shape {np.shape(x)}{hint}")
    if is_concrete(x) and getattr(x, "is_fully_addressable", True):
        host = np.asarray(x)
        bad = (host < 0) | (host >= count)
        if bad.any():
            place = tuple(int(i) for i in np.argwhere(bad)[0])
            where, times = list(place) if place else "", f"{int(bad.sum())} such value{'s' if bad.sum() > 1 else ''}"
            raise ValueError(
                f"{name} expected integers in 0..{count - 1} but x{where} is {host[place]} ({times}): "
                "check the vocabulary, or give the table more rows"
            )
    return jnp.asarray(x)


def sequences(name: str, what: str, x: Array, size: int | None = None) -> None:
    """Refuse anything but [B, T, D] (tokens: [B, T]) with at least one time step."""
    expected = "[B, T]" if size is None else f"[B, T, {size}]"
    ndim = 2 if size is None else 3
    if x.ndim != ndim or (size is not None and x.shape[-1] != size):
        hint = f": add the batch axis with {what}[None]" if x.ndim == ndim - 1 else ""
        raise ValueError(f"{name} expected {what} of shape {expected} but got {x.shape}{hint}")
    if x.shape[1] == 0:
        raise ValueError(f"{name} expected at least one time step but got {what} of shape {x.shape}")


def within_positions(name: str, length: int, positions: int) -> None:
    """Refuse a sequence longer than the table of positions.

    >>> within_positions("transformer_classifier", 600, 512)
    Traceback (most recent call last):
    ValueError: transformer_classifier has 512 positions but got a sequence of 600: cut it, or give it more positions
    """
    if length > positions:
        raise ValueError(
            f"{name} has {positions} positions but got a sequence of {length}: cut it, or give it more positions"
        )


def heads_divide(name: str, d_model: int, nhead: int) -> None:
    """Refuse a number of heads that does not divide the width.

    >>> heads_divide("multi_head_attention", 64, 7)
    Traceback (most recent call last):
    ValueError: multi_head_attention expected nhead to divide d_model but got d_model=64 and nhead=7
    """
    if d_model % nhead:
        raise ValueError(f"{name} expected nhead to divide d_model but got d_model={d_model} and nhead={nhead}")


def pad_index(name: str, pad_id: Any, count: int) -> None:
    """Refuse a padding index that is neither None nor an integer in 0..count-1."""
    if pad_id is None:
        return
    if isinstance(pad_id, bool) or not isinstance(pad_id, int | np.integer):
        raise TypeError(f"{name} expected pad_id to be None or an integer but got {pad_id!r}")
    if not 0 <= pad_id < count:
        raise ValueError(f"{name} expected pad_id in 0..{count - 1} but got {pad_id}")


def mask_over(name: str, mask: Any, shape: tuple[Size, ...]) -> None:
    """Refuse a mask that is not boolean, or does not broadcast to the shape of the weights.

    >>> mask_over("attention_weights", np.ones((2, 4), bool), (8, 3, 3))
    Traceback (most recent call last):
    ValueError: attention_weights expected a mask that broadcasts to (8, 3, 3) but got (2, 4)
    """
    array(name, "mask", mask)
    if mask.dtype != bool:
        raise TypeError(
            f"{name} expected a boolean mask (True = use) but got {mask.dtype} of shape {mask.shape}: "
            "write mask > 0 if positive numbers mean use"
        )
    # By hand: `np.broadcast_shapes` does not know the symbolic batch size of an export.
    ends = zip(mask.shape[::-1], shape[::-1], strict=False)
    if mask.ndim > len(shape) or not all(size in (1, whole) for size, whole in ends):
        raise ValueError(f"{name} expected a mask that broadcasts to {shape} but got {mask.shape}")


def attention_mask(name: str, mask: Any, batch: Size, queries: int, keys: int) -> Array | None:
    """Return the mask as [B, 1, Tk] or [B, Tq, Tk]; refuse other kinds and shapes. None passes.

    >>> attention_mask("multi_head_attention", np.ones((2, 5), bool), 2, 4, 5).shape
    (2, 1, 5)
    """
    if mask is None:
        return None
    shapes = ((batch, keys), (batch, queries, keys))
    mask_over(name, mask, np.shape(mask))
    if mask.shape not in shapes:
        raise ValueError(
            f"{name} expected a mask of shape {shapes[0]} (which steps to use) or {shapes[1]} (which by each query) "
            f"but got {mask.shape}"
        )
    return mask[:, None] if mask.ndim == 2 else mask


def same_batch(name: str, x: Array, memory: Array) -> None:
    """Refuse a memory of another batch size or dtype than x."""
    if x.shape[0] != memory.shape[0]:
        raise ValueError(f"{name} expected memory of the batch size {x.shape[0]} but got shape {memory.shape}")
    if x.dtype != memory.dtype:
        raise TypeError(f"{name} expected memory of the dtype of x, {x.dtype}, but got {memory.dtype}")


def same_length(name: str, x: Array, memory: Array) -> None:
    """Refuse causal attention over a memory of another length: which step is the past of which is not known."""
    if x.shape[1] != memory.shape[1]:
        raise ValueError(
            f"{name} is causal and expected memory of the length {x.shape[1]} of x but got {memory.shape[1]}: "
            "give a mask [B, T, Tk] in place of causal=True"
        )
