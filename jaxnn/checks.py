"""Every check of an argument, and so every error message: what was expected, what came, and the likely fix.

Shapes and types are known while a function is traced, so these errors come before anything runs. Values are checked
only where they are concrete: under `jit` a number may be a tracer, and a tracer passes (whoever made it checks it).
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from jaxnn.types import Array, Layer


def is_concrete(value: Any) -> bool:
    """Tell whether the value is known now (a tracer is not)."""
    return not isinstance(value, jax.core.Tracer)


def number(value: Any) -> str:
    """Write a number as a reader would type it; a traced one by its name alone."""
    return f"{value:g}" if isinstance(value, int | float) else "traced" if not is_concrete(value) else str(value)


# Numbers given to constructors


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


# Layers


def as_layer(function: str, part: Any, index: int | None = None) -> Layer:
    """Turn a plain callable `x -> y` into a parameterless layer; pass a Layer through; refuse anything else.

    An uncalled constructor is a callable too, so whatever is annotated to return a Layer is refused by name.

    >>> as_layer("sequential", jnp.tanh)
    tanh
    """
    place = function if index is None else f"{function}, part {index},"
    if isinstance(part, Layer):
        return part
    if not callable(part):
        raise TypeError(f"{place} expected a layer or a function of one array but got {part!r}")
    name = name_of(part)
    if getattr(getattr(part, "func", part), "__annotations__", {}).get("return") in (Layer, "Layer"):
        raise TypeError(f"{place} got the constructor {name} itself: call it, as in {name}(...)")
    activation: Callable[[Any], Any] = part
    return Layer(
        init=lambda key: ((), ()),
        apply=lambda params, state, x, *, key=None, train=False: (activation(x), state),
        name=name,
    )


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


# Arrays given to layers


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


# Predictions and targets


def class_labels(function: str, logits: Array, labels: Array) -> None:
    """Refuse labels that are not integers of the shape of the logits without their last axis.

    >>> class_labels("accuracy", np.zeros((4, 3)), np.zeros((4, 1), int))
    Traceback (most recent call last):
    ValueError: accuracy expected labels of shape (4,) for logits (4, 3) but got (4, 1): ...
    """
    array(function, "logits", logits)
    array(function, "labels", labels)
    if logits.ndim < 2 or logits.shape[-1] == 0:
        raise ValueError(f"{function} expected logits of shape [B, classes] but got {logits.shape}")
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"{function} expected logits to be floats but got {logits.dtype} of shape {logits.shape}")
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
            f"{function} expected labels of shape {logits.shape[:-1]} for logits {logits.shape} "
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


def label_range(function: str, labels: np.ndarray, classes: int, what: str = "targets") -> None:
    """Refuse labels outside 0..classes-1, naming the first one and its place.

    >>> label_range("fit", np.array([0, 2, 7]), 5)
    Traceback (most recent call last):
    ValueError: fit expected labels in 0..4 (5 classes) but targets[2] is 7 ...
    """
    bad = (labels < 0) | (labels >= classes)
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        where = ", ".join(map(str, place))
        raise ValueError(
            f"{function} expected labels in 0..{classes - 1} ({classes} classes) but {what}[{where}] is "
            f"{labels[place]} ({int(bad.sum())} such labels): check the labels, or give the model more outputs"
            f"{'; for regression targets are floats' if classes == 1 else ''}"
        )


# Training


def name_of(function: Any) -> str:
    """Return the name under which a reader knows the function."""
    return getattr(getattr(function, "func", function), "__name__", repr(function))


def callables(function: str, **values: Any) -> None:
    """Refuse an argument that is no function."""
    for name, value in values.items():
        if not callable(value):
            raise TypeError(f"{function} expected {name} to be a function but got {value!r}")


RECORDED = {"loss", "gradient_norm", "learning_rate", "epoch", "step", "seconds", "examples_per_second"}


def metric_names(function: str, metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuse what is no mapping from names to functions, and names that training records itself; return the metrics."""
    if not isinstance(metrics, Mapping) or not all(isinstance(name, str) for name in metrics):
        raise TypeError(f"{function} expected metrics such as {{'accuracy': accuracy}} but got {metrics!r}")
    callables(function, **{f"metrics[{name!r}]": metric for name, metric in metrics.items()})
    taken = {name for name in metrics if name in RECORDED or name.startswith("validation_")}
    if taken:
        raise ValueError(f"{function} records {', '.join(sorted(taken))} itself: give the metric another name")
    return metrics
