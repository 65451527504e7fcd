"""Checks of numbers and words given to constructors."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np


def is_concrete(value: Any) -> bool:
    """Tell whether the value is known now (a tracer is not)."""
    return not isinstance(value, jax.core.Tracer)


def number(value: Any) -> str:
    """Write a number as a reader would type it; a traced one by its name alone."""
    return f"{value:g}" if isinstance(value, int | float) else "traced" if not is_concrete(value) else str(value)


def positive_int(function: str, name: str, value: Any) -> None:
    """Refuse anything but an integer of at least 1.

    >>> positive_int("linear", "in_features", 0)
    Traceback (most recent call last):
    ValueError: linear expected in_features to be a positive integer but got 0
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{function} expected {name} to be a positive integer but got {value!r}")
    if value < 1:
        raise ValueError(f"{function} expected {name} to be a positive integer but got {value}")


def non_negative_int(function: str, name: str, value: Any) -> None:
    """Refuse anything but an integer of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{function} expected {name} to be an integer of at least 0 but got {value!r}")
    if value < 0:
        raise ValueError(f"{function} expected {name} to be an integer of at least 0 but got {value}")


def in_range(
    function: str, name: str, value: Any, low: float, high: float, *, open_low: bool = False, open_high: bool = False
) -> None:
    """Refuse a number outside the interval; NaN lies outside of every one. Tracers pass.

    >>> in_range("dropout", "rate", 1.1, 0, 1)
    Traceback (most recent call last):
    ValueError: dropout expected rate in [0, 1] but got 1.1
    """
    if not is_concrete(value):
        return
    if isinstance(value, bool) or not isinstance(value, int | float | np.number | jax.Array | np.ndarray):
        raise TypeError(f"{function} expected {name} to be a number but got {value!r}")
    if np.shape(value) != ():
        raise ValueError(f"{function} expected {name} to be one number but got an array of shape {np.shape(value)}")
    above = value > low if open_low else value >= low
    below = value < high if open_high else value <= high
    if not (above and below):
        interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
        raise ValueError(f"{function} expected {name} in {interval} but got {value}")


def finite_positive(function: str, name: str, value: Any) -> None:
    """Refuse zero, negative numbers, NaN and infinity. Tracers pass."""
    in_range(function, name, value, 0, np.inf, open_low=True, open_high=True)


def rates(function: str, **values: Any) -> None:
    """Refuse learning rates that are negative, infinite or NaN. Tracers pass."""
    for name, value in values.items():
        in_range(function, name, value, 0, np.inf, open_high=True)


def one_of(function: str, name: str, value: Any, options: tuple[str, ...]) -> None:
    """Refuse a word that is not among the options."""
    if value not in options:
        raise ValueError(f"{function} expected {name} to be one of {', '.join(options)} but got {value!r}")


def steps(function: str, step: Any) -> jax.Array:
    """Return the step, or steps, as an int32 array; refuse a fraction and a negative one. Tracers pass the latter.

    >>> steps("cosine_annealing", 0.5)
    Traceback (most recent call last):
    TypeError: cosine_annealing expected step to be an integer, or an array of them, but got 0.5
    """
    known = isinstance(step, int | np.integer | np.ndarray | jax.Array) and not isinstance(step, bool)
    if not (known and jnp.issubdtype(jnp.result_type(step), jnp.integer)):
        got = f"{step.dtype} of shape {step.shape}" if isinstance(step, np.ndarray | jax.Array) else repr(step)
        raise TypeError(f"{function} expected step to be an integer, or an array of them, but got {got}")
    if is_concrete(step) and np.size(step):
        low, high = int(np.min(np.asarray(step))), int(np.max(np.asarray(step)))
        if low < 0 or high >= 2**31:
            raise ValueError(f"{function} expected step in 0..{2**31 - 1} but got {low if low < 0 else high}")
    return jnp.asarray(step, jnp.int32)


def increasing(function: str, name: str, steps: Any) -> list[int]:
    """Return the steps as a list; refuse anything but integers of at least 1, each larger than the one before.

    >>> increasing("multi_step", "milestones", [30, 30])
    Traceback (most recent call last):
    ValueError: multi_step expected milestones to increase but got 30 after 30
    """
    if isinstance(steps, str) or not isinstance(steps, Sequence | np.ndarray):
        raise TypeError(f"{function} expected {name} to be a list of steps but got {steps!r}")
    for i, step in enumerate(steps):
        positive_int(function, f"{name}[{i}]", step)
    for before, after in itertools.pairwise(steps):
        if after <= before:
            raise ValueError(f"{function} expected {name} to increase but got {after} after {before}")
    return [int(step) for step in steps]
