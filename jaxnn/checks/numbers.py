"""Checks of numbers and words given to constructors."""

from typing import Any

import jax
import jax.core
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


def one_of(function: str, name: str, value: Any, options: tuple[str, ...]) -> None:
    """Refuse a word that is not among the options."""
    if value not in options:
        raise ValueError(f"{function} expected {name} to be one of {', '.join(options)} but got {value!r}")
