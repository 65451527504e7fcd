"""Checks of functions: what is called as a layer, a loss, a metric or a callback."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxnn.types import Layer


def name_of(function: Any) -> str:
    """Return the name under which a reader knows the function."""
    return getattr(getattr(function, "func", function), "__name__", repr(function))


def callables(function: str, **values: Any) -> None:
    """Refuse an argument that is no function."""
    for name, value in values.items():
        if not callable(value):
            raise TypeError(f"{function} expected {name} to be a function but got {value!r}")


def as_layer(function: str, part: Any, index: int | None = None) -> Layer:
    """Turn a plain callable `x -> y` into a parameterless layer; pass a Layer through; refuse anything else.

    An uncalled constructor is a callable too, so whatever is annotated to return a Layer is refused by name.

    >>> as_layer("sequential", abs)
    abs
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


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its type where it says nothing.

    >>> first_line(ValueError("too long\\nand more")), first_line(KeyError())
    ('too long', 'KeyError')
    """
    return str(error).splitlines()[0] if str(error) else type(error).__name__
