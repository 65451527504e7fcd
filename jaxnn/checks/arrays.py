"""Checks of keys and of arrays given to layers."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.types import Array


def given_key(name: str, key: Any) -> Any:
    """Return the key; refuse a training-mode call without randomness."""
    if key is None:
        raise ValueError(
            f"{name} needs randomness in training: pass key=jax.random.key(...), or train=False to evaluate"
        )
    return random_key(name, key)


def random_key(name: str, key: Any) -> Any:
    """Return the key (a raw one, uint32 [2], is one too); refuse a seed, and several keys at once."""
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    raw = isinstance(key, Array) and key.dtype == np.uint32 and key.shape == (2,)
    if not (typed or raw):
        raise TypeError(f"{name} expected a key such as jax.random.key(0) but got {key!r}")
    if typed and key.shape != ():
        raise ValueError(f"{name} expected one key but got keys of shape {key.shape}: take one, or use jax.vmap")
    return key


def array(name: str, what: str, x: Any) -> None:
    """Refuse anything but an array of numbers or booleans."""
    if not isinstance(x, Array):
        raise TypeError(f"{name} expected {what} to be an array but got {type(x).__name__}")
    if x.dtype != bool and not jnp.issubdtype(x.dtype, np.number):
        raise TypeError(f"{name} expected {what} to be numbers but got {x.dtype} of shape {x.shape}")


def float_input(name: str, x: Any) -> jax.Array:
    """Return x as a JAX array of floats; float64 becomes float32 unless jax_enable_x64 is set.

    >>> float_input("linear(2, 1)", np.array([[0, 255]], np.uint8))
    Traceback (most recent call last):
    TypeError: linear(2, 1) expected floats but got uint8 of shape (1, 2): put normalize(mean, std) before it, ...
    """
    if not isinstance(x, float | np.floating):
        array(name, "x", x)
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        first, second = "put normalize(mean, std) before it", "convert with x.astype('float32')"
        hint = f"{first}, or {second}" if x.dtype == jnp.uint8 else f"{second}, and {first} if they are large"
        hint = "take x.real or abs(x)" if jnp.iscomplexobj(x) else hint
        raise TypeError(f"{name} expected floats but got {x.dtype} of shape {x.shape}: {hint}")
    return x


def number_input(name: str, x: Any) -> jax.Array:
    """Return x as a JAX array of real numbers, floats or integers."""
    if not isinstance(x, int | float | np.number) or isinstance(x, bool):
        array(name, "x", x)
    x = jnp.asarray(x)
    if x.dtype == bool or jnp.iscomplexobj(x):
        raise TypeError(f"{name} expected real numbers but got {x.dtype} of shape {x.shape}")
    return x


def logits_input(name: str, x: Any) -> jax.Array:
    """Return x as a JAX array of floats; refuse one without classes on the last axis."""
    x = float_input(name, x)
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"{name} expected x of shape [..., classes] but got {x.shape}")
    return x


def shape_of_x(name: str, what: str, y: Array, x: Array) -> None:
    """Refuse another shape than that of x: it would broadcast."""
    if y.shape != x.shape:
        raise ValueError(f"{name} expected {what} of the shape of x, {x.shape}, but got {y.shape}")


def last_axis(name: str, x: Array, size: int) -> None:
    """Refuse an x whose last axis is not `size`."""
    if x.ndim == 0 or x.shape[-1] != size:
        hint = ""
        if x.ndim > 2 and x.size == x.shape[0] * size:
            hint = ": put flatten before it"
        elif x.ndim > 1 and x.shape[-1] > 1 and x.size == size:
            hint = ": add the batch axis with x[None]"
        elif x.ndim > 2 and x.shape[1] == size:
            hint = ": channels come last, move them there with jnp.moveaxis(x, 1, -1)"
        raise ValueError(f"{name} expected x of shape [..., {size}] but got {x.shape}{hint}")


def has_batch(name: str, x: Array) -> None:
    """Refuse an x without a batch axis before its features."""
    if not isinstance(x, Array):
        raise TypeError(f"{name} expected x to be an array but got {type(x).__name__}")
    if x.ndim < 2:
        raise ValueError(f"{name} expected x of shape [B, ...] but got {x.shape}: add the batch axis with x[None]")


def several_values(name: str, x: Array) -> None:
    """Refuse batch statistics over no value or a single one a channel."""
    if x.size <= x.shape[-1]:
        raise ValueError(
            f"{name} cannot take batch statistics in training from {x.size // x.shape[-1]} value a channel "
            f"(x has shape {x.shape}): use a larger batch, or train=False to evaluate"
        )


def same_shape(name: str, x: Array, y: Array) -> None:
    """Refuse an inner layer that changes the shape where it is to be added to its input."""
    if x.shape != y.shape:
        raise ValueError(f"{name} expected the inner layer to keep the shape {x.shape} but it gave {y.shape}")


def one_entry_per_part(name: str, params: Any, state: Any, count: int) -> None:
    """Refuse params or state that were made by another model."""
    for what, entries in (("params", params), ("state", state)):
        if not isinstance(entries, tuple) or len(entries) != count:
            got = f"a tuple of {len(entries)}" if isinstance(entries, tuple) else type(entries).__name__
            raise ValueError(f"{name} expected {what} to be a tuple of {count} but got {got}: use its own init")


def own_entries(name: str, what: str, got: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse params or state of other names or shapes: they would broadcast, or change the output."""
    found = {key: np.shape(leaf) for key, leaf in got.items()} if isinstance(got, Mapping) else type(got).__name__
    if found != shapes:
        raise ValueError(f"{name} expected {what} {shapes} but got {found}: use its own init")


def named_parts(name: str, params: Any, parts: Iterable[str]) -> None:
    """Refuse params of a model with named parts that were made by another one."""
    expected = sorted(parts)
    got = sorted(params) if isinstance(params, Mapping) else type(params).__name__
    if got != expected:
        raise ValueError(f"{name} expected params with the parts {expected} but got {got}: use its own init")


def stacked(name: str, trees: Any, count: int) -> None:
    """Refuse stacked params or state of which a leaf has not `count` copies on its first axis."""
    for leaf in jax.tree.leaves(trees):
        if np.shape(leaf)[:1] != (count,):
            raise ValueError(
                f"{name} expected {count} copies on the first axis but got {np.shape(leaf)}: use its own init"
            )


def same_form(name: str, x: Array, y: Array) -> None:
    """Refuse an inner layer that changes shape or dtype where its output is to be its next input."""
    same_shape(name, x, y)
    if x.dtype != y.dtype:
        raise ValueError(f"{name} expected the inner layer to keep the dtype {x.dtype} but it gave {y.dtype}")
