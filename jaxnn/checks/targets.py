"""Checks of predictions and targets."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxnn.checks.arrays import array
from jaxnn.checks.numbers import is_concrete
from jaxnn.types import Array


def class_labels(function: str, logits: Array, labels: Array, what: str = "logits") -> None:
    """Refuse labels that are not integers of the shape of the logits (or `what` they are) without their last axis.

    >>> class_labels("accuracy", np.zeros((4, 3)), np.zeros((4, 1), int))
    Traceback (most recent call last):
    ValueError: accuracy expected labels of shape (4,) for logits (4, 3) but got (4, 1): ...
    """
    array(function, what, logits)
    array(function, "labels", labels)
    if logits.ndim < 2 or logits.shape[-1] == 0:
        raise ValueError(f"{function} expected {what} of shape [B, classes] but got {logits.shape}")
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"{function} expected {what} to be floats but got {logits.dtype} of shape {logits.shape}")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        hint = ": if they are classes, convert them with labels.astype('int32')"
        hint = ": for one-hot rows take labels.argmax(-1)" if labels.shape == logits.shape else hint
        raise TypeError(f"{function} expected integer labels but got {labels.dtype} of shape {labels.shape}{hint}")
    if labels.shape != logits.shape[:-1]:
        hint = ""
        if labels.shape == (*logits.shape[:-1], 1):
            hint = ": take labels[..., 0]"
        elif labels.shape == logits.shape:
            hint = ": for one-hot rows take labels.argmax(-1)"
        raise ValueError(
            f"{function} expected labels of shape {logits.shape[:-1]} for {what} {logits.shape} "
            f"but got {labels.shape}{hint}"
        )
    if isinstance(labels, np.ndarray) and not np.array_equal(labels.astype(np.int32), labels):
        label_range(function, labels, logits.shape[-1])  # on the device 2**32 would become the label 0


def one_value_per_example(name: str, values: Any, size: int) -> None:
    """Refuse a loss or metric that does not give [B]."""
    if not isinstance(values, Array | float | int):
        raise TypeError(f"{name} expected to return an array of shape ({size},) but got {type(values).__name__}")
    shape = jnp.shape(values)
    if shape != (size,):
        hint = ": return one value per example and leave the mean to the caller" if shape == () else ""
        raise ValueError(f"{name} expected to return shape ({size},), one value per example, but got {shape}{hint}")


def label_range(
    function: str, labels: np.ndarray, classes: int, what: str = "targets", indices: np.ndarray | None = None
) -> None:
    """Refuse labels outside 0..classes-1, naming the first one and its place, which `indices` say of a part of them.

    >>> label_range("fit", np.array([0, 2, 7]), 5)
    Traceback (most recent call last):
    ValueError: fit expected labels in 0..4 (5 classes) but targets[2] is 7 ...
    """
    bad = (labels < 0) | (labels >= classes)
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        where = ", ".join(map(str, place if indices is None else (int(indices[place[0]]), *place[1:])))
        raise ValueError(
            f"{function} expected labels in 0..{classes - 1} ({classes} classes) but {what}[{where}] is "
            f"{labels[place]} ({int(bad.sum())} such labels): check the labels, or give the model more outputs"
            f"{'; for regression targets are floats' if classes == 1 else ''}"
        )


def binary_labels(function: str, labels: Any, size: int) -> None:
    """Refuse labels that are not [size] integers or booleans of 0 and 1; tracers pass the check of values.

    >>> binary_labels("perceptron_rule", np.array([-1, 1]), 2)
    Traceback (most recent call last):
    ValueError: perceptron_rule expected labels 0 and 1 but labels[0] is -1: for labels -1 and 1 take (labels + 1) // 2
    """
    array(function, "labels", labels)
    if labels.dtype != bool and not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"{function} expected integer labels but got {labels.dtype} of shape {labels.shape}: "
            "if they are classes, convert them with labels.astype('int32')"
        )
    if labels.shape != (size,):
        hint = ": take labels[..., 0]" if labels.shape == (size, 1) else ""
        raise ValueError(f"{function} expected labels of shape ({size},), one a sample, but got {labels.shape}{hint}")
    if is_concrete(labels):
        bad = np.flatnonzero((np.asarray(labels) != 0) & (np.asarray(labels) != 1))
        if bad.size:
            raise ValueError(
                f"{function} expected labels 0 and 1 but labels[{bad[0]}] is {labels[bad[0]]}: "
                "for labels -1 and 1 take (labels + 1) // 2"
            )
