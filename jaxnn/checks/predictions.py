"""Checks of what losses are given: predictions beside targets, probabilities, soft targets, signs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks.arrays import array
from jaxnn.checks.functions import name_of
from jaxnn.checks.numbers import is_concrete
from jaxnn.checks.targets import class_labels
from jaxnn.types import Array


def same_predictions(function: str, what: str, predictions: Any, targets: Any, *, classes: bool = False) -> None:
    """Refuse targets that are not of the predictions' shape [B, ...]: they would broadcast to [B, B].

    Predictions are floats. Targets are floats, or, where they are two classes, integers or booleans as well.

    >>> same_predictions("mean_squared_error", "predictions", np.zeros((4, 1)), np.zeros(4))
    Traceback (most recent call last):
    ValueError: mean_squared_error expected targets of the shape of predictions (4, 1) but got (4,): take ...
    """
    array(function, what, predictions)
    array(function, "targets", targets)
    if not jnp.issubdtype(predictions.dtype, jnp.floating):
        raise TypeError(
            f"{function} expected {what} to be floats but got {predictions.dtype} of shape {predictions.shape}"
        )
    whole = targets.dtype == bool or jnp.issubdtype(targets.dtype, jnp.integer)
    if predictions.shape != targets.shape:
        hint = ""
        if predictions.shape == (*targets.shape, 1):
            hint = f": take {what}[..., 0], or targets[..., None]"
        elif targets.shape == (*predictions.shape, 1):
            hint = f": take targets[..., 0], or {what}[..., None]"
        elif whole and predictions.shape[:-1] == targets.shape:
            hint = (
                ": for class labels take softmax_cross_entropy, "
                f"or one-hot targets with jax.nn.one_hot(targets, {predictions.shape[-1]})"
            )
        raise ValueError(
            f"{function} expected targets of the shape of {what} {predictions.shape} but got {targets.shape}{hint}"
        )
    if not jnp.issubdtype(targets.dtype, jnp.floating) and not (classes and whole):
        raise TypeError(
            f"{function} expected float targets but got {targets.dtype} of shape {targets.shape}: "
            "convert with targets.astype('float32')"
        )
    if predictions.ndim == 0 or 0 in predictions.shape[1:]:
        raise ValueError(f"{function} expected {what} of shape [B] or [B, ...] but got {predictions.shape}")


def class_targets(function: str, what: str, predictions: Any, targets: Any) -> bool:
    """Tell whether targets are soft, floats of the shape of the predictions, and not integer labels; refuse all else.

    >>> class_targets("softmax_cross_entropy", "logits", np.zeros((4, 3)), np.zeros((4, 3)))
    True
    >>> class_targets("softmax_cross_entropy", "logits", np.zeros((4, 3)), np.zeros((4, 3), int))
    Traceback (most recent call last):
    ValueError: softmax_cross_entropy expected labels of shape (4,) for logits (4, 3) but got (4, 3): for one-hot ...
    """
    array(function, what, predictions)
    array(function, "labels", targets)
    soft = jnp.issubdtype(targets.dtype, jnp.floating) and targets.ndim == predictions.ndim >= 2
    if not soft:
        class_labels(function, predictions, targets, what)
        return False
    if not jnp.issubdtype(predictions.dtype, jnp.floating) or predictions.shape[-1] == 0:
        class_labels(function, predictions, np.zeros(predictions.shape[:-1], int), what)
    if targets.shape != predictions.shape:
        hint = ": for class labels take targets[..., 0].astype('int32')" if targets.shape[-1] == 1 else ""
        raise ValueError(
            f"{function} expected soft targets of the shape of {what} {predictions.shape} but got {targets.shape}{hint}"
        )
    unit_interval(function, "soft targets", targets)
    return True


def unit_rounding(dtype: Any) -> float:
    """Return by how much a sum to 1 may miss it: four epsilons, of float32 or of a coarser dtype."""
    return 4 * max(float(jnp.finfo(dtype).eps), float(jnp.finfo(jnp.float32).eps))


def unit_interval(function: str, what: str, values: Array, hint: str = "") -> None:
    """Refuse numbers outside [0, 1], give or take the rounding of a sum. Tracers and NaN pass.

    >>> unit_interval("binary_cross_entropy", "probabilities", np.array([0.5, 1.5]), "from logits take ...")
    Traceback (most recent call last):
    ValueError: binary_cross_entropy expected probabilities in [0, 1] but probabilities[1] is 1.5: from logits take ...
    """
    rounding = unit_rounding(values.dtype) if jnp.issubdtype(values.dtype, jnp.floating) else 0
    _refuse(function, what, values, lambda x: (x < -rounding) | (x > 1 + rounding), "in [0, 1]", hint)


def distributions(function: str, what: str, values: Array, hint: str) -> None:
    """Refuse rows that are not probabilities with the sum 1. Tracers and NaN pass.

    >>> distributions("calibration_bins", "probabilities", np.array([[0.5, 0.25]]), "of logits take softmax")
    Traceback (most recent call last):
    ValueError: calibration_bins expected sums of probabilities of 1 but sums of probabilities[0] is 0.75: of logits ...
    """
    unit_interval(function, what, values, hint)
    if is_concrete(values):
        # Softmax in float32 keeps the sum to 1e-6, and one in bfloat16 rounds each entry by at most 2^-9 of itself.
        rounding = max(1e-3, unit_rounding(values.dtype))
        sums = np.asarray(values, np.float64).sum(-1)
        _refuse(function, f"sums of {what}", sums, lambda total: abs(total - 1) > rounding, "of 1", hint)


def calibration(function: str, sums: Any) -> None:
    """Refuse what is not the three sums [bins] of `calibration_bins`, over at least one example. Tracers pass.

    >>> calibration("expected_calibration_error", (np.zeros(2), np.zeros(2), np.zeros(2)))
    Traceback (most recent call last):
    ValueError: expected_calibration_error expected sums over at least one example but every count is 0
    """
    shapes = [np.shape(part) for part in sums] if isinstance(sums, tuple) else type(sums).__name__
    if len(shapes) != 3 or len(set(shapes)) != 1 or len(shapes[0]) != 1 or shapes[0] == (0,):
        raise ValueError(f"{function} expected count, confidence and correct, each [bins], but got {shapes}")
    if is_concrete(sums[0]) and not np.asarray(sums[0]).any():
        raise ValueError(f"{function} expected sums over at least one example but every count is 0")


def log_probabilities(function: str, what: str, values: Array) -> None:
    """Refuse numbers above 0, give or take the rounding of x - logsumexp(x). Tracers and NaN pass."""
    rounding = max(1e-3, unit_rounding(values.dtype))
    hint = "of logits take log_softmax first, or softmax_cross_entropy"
    _refuse(function, what, values, lambda x: x > rounding, "of at most 0", hint)


def signs(function: str, what: str, values: Array) -> None:
    """Refuse numbers other than -1 and 1. Tracers pass.

    >>> signs("hinge", "targets", np.array([0, 1]))
    Traceback (most recent call last):
    ValueError: hinge expected targets -1 or 1 but targets[0] is 0: for classes 0 and 1 take 2 * targets - 1
    """
    _refuse(
        function, what, values, lambda x: (x != -1) & (x != 1), "-1 or 1", "for classes 0 and 1 take 2 * targets - 1"
    )


def keeps_shape(function: str, activation: Any, z: Array, a: Any) -> None:
    """Refuse an activation, or its derivative, that does not give one number for each of z."""
    if np.shape(a) != z.shape:
        raise ValueError(
            f"{function} expected {name_of(activation)} to keep the shape {z.shape} of z but it gave {np.shape(a)}: "
            "take a function that acts element by element"
        )


def _refuse(function: str, what: str, values: Array, wrong: Any, expected: str, hint: str) -> None:
    """Name the first value that is wrong. An array that lies on several hosts is passed over, as a tracer is."""
    if not is_concrete(values) or (isinstance(values, jax.Array) and not values.is_fully_addressable):
        return
    host = np.asarray(values)
    bad = wrong(host)
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        where = f"{what}[{', '.join(map(str, place))}]"
        raise ValueError(
            f"{function} expected {what} {expected} but {where} is {host[place]}{': ' if hint else ''}{hint}"
        )
