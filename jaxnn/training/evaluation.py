"""Evaluation and prediction over every example exactly once, in batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from jaxnn import checks
from jaxnn.data import Dataset, Stream, check_dataset
from jaxnn.training.machine import on_each_core
from jaxnn.training.step import Totals, measure
from jaxnn.types import Layer, Loss, Metric, Params, State


def batches(dataset: Dataset, batch_size: int) -> Iterator[Dataset]:
    """Yield the examples in order, the last batch as short as it is.

    >>> [batch.size for batch in batches(Dataset(np.zeros(5), np.zeros(5)), 2)]
    [2, 2, 1]
    """
    for start in range(0, dataset.size, batch_size):
        yield _batch(dataset, start, batch_size)


def _batch(dataset: Dataset, start: int, size: int) -> Dataset:
    """Take the examples from there on, as many as there are."""
    return Dataset(*(None if field is None else field[start : start + size] for field in dataset))


def evaluation_step(model: Layer, loss: Loss, metrics: Mapping[str, Metric]) -> Callable[..., Totals]:
    """Make `(params, model_state, batch) -> totals` in evaluation mode, a pure function."""

    def step(params: Params, model_state: State, batch: Dataset) -> Totals:
        predictions, _ = model.apply(params, model_state, batch.inputs)
        return measure(loss, metrics, predictions, batch)

    return step


def total_means(parts: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Add up (sum, count) pairs over batches, in float64 on the host, and return the means.

    >>> total_means([{"loss": (6.0, 2.0)}, {"loss": (0.0, 1.0)}])
    {'loss': 2.0}
    """
    parts = jax.device_get(parts)
    names = sorted(parts[0], key=lambda name: (name != "loss", name))  # compiled programs return dicts sorted by name
    sums = {name: np.sum([np.asarray(part[name], np.float64) for part in parts], axis=0) for name in names}
    return {name: float(total / count) if count else 0.0 for name, (total, count) in sums.items()}


def evaluate(
    model: Layer,
    params: Params,
    state: State,
    dataset: Dataset,
    loss: Loss,
    metrics: Mapping[str, Metric] | None = None,
    *,
    batch_size: int = 1000,
) -> dict[str, float]:
    """Compute the mean loss and metrics over every example, in evaluation mode (no dropout, running statistics).

    The batch size changes speed and memory only; on a CPU as many batches as cores are computed at a time. Raises
    ValueError for an empty set, unequal lengths, or a label that the model has no output for.

    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import softmax_cross_entropy
    >>> params = {"weight": np.zeros((2, 4), np.float32), "bias": np.zeros(4, np.float32)}
    >>> data = Dataset(np.ones((5, 2), np.float32), np.zeros(5, np.int32))
    >>> print(evaluate(linear(2, 4), params, (), data, softmax_cross_entropy))  # log(4)
    {'loss': 1.386294...}
    """
    checks.positive_int("evaluate", "batch_size", batch_size)
    model = checks.as_layer("evaluate", model)
    checks.callables("evaluate", loss=loss)
    metrics = checks.metric_names("evaluate", metrics or {})
    check_dataset("evaluate", dataset)
    check_labels("evaluate", model, params, state, dataset)
    step = _kept(_compiled_step, model, loss, tuple(metrics.items()))
    params, state = _on_one_device((params, state))
    starts = range(0, dataset.size, batch_size)
    return total_means(on_each_core(lambda start: step(params, state, _batch(dataset, start, batch_size)), starts))


def _on_one_device(values: Any) -> Any:
    """Take the copy of the first device where all of them hold the same, which would compute the same, too."""
    leaves, form = jax.tree.flatten(values)
    if not all(isinstance(leaf, jax.Array) and leaf.is_fully_replicated for leaf in leaves):
        return values
    return jax.tree.unflatten(form, [leaf.addressable_data(0) for leaf in leaves])


def _kept(make: Any, *values: Any) -> Callable[..., Any]:
    """Take the program of an earlier call with these values; one with no hash, as a callable object, is made anew."""
    try:
        hash(values)
    except TypeError:
        return make.__wrapped__(*values)
    return make(*values)


# Compiled once for a model and not once a call; the programs of the latest models stay.
@lru_cache(maxsize=16)
def _compiled_step(model: Layer, loss: Loss, metrics: tuple[tuple[str, Metric], ...]) -> Callable[..., Totals]:
    return jax.jit(evaluation_step(model, loss, dict(metrics)))


@lru_cache(maxsize=16)
def _compiled_apply(model: Layer) -> Callable[..., Any]:
    return jax.jit(lambda params, state, x: model.apply(params, state, x)[0])


def check_labels(function: str, model: Layer, params: Params, state: State, dataset: Dataset | Stream) -> int | None:
    """Refuse integer targets that the model has no output for; return the number of classes, if they are classes.

    Only shapes of the model are computed. The labels of a stream are looked at as they are read, and not here.
    """
    targets = dataset.targets if isinstance(dataset, Stream) else np.asarray(dataset.targets)
    first = jax.tree.map(lambda field: jax.ShapeDtypeStruct((1, *field.shape[1:]), field.dtype), dataset.inputs)
    predictions, _ = jax.eval_shape(model.apply, params, state, first)
    if not np.issubdtype(targets.dtype, np.integer) or np.ndim(predictions) != len(targets.shape) + 1:
        return None
    if not isinstance(targets, jax.ShapeDtypeStruct):
        checks.label_range(function, targets, predictions.shape[-1])
    return predictions.shape[-1]


def predict(model: Layer, params: Params, state: State, inputs: Any, *, batch_size: int = 1000) -> np.ndarray:
    """Compute the model's outputs for every example, [N, ...] -> [N, ...], in evaluation mode, on the host.

    On a CPU as many batches as cores are computed at a time. Raises ValueError for no examples, TypeError for inputs
    that are no array.

    >>> from jaxnn.layers import flatten
    >>> predict(flatten(), (), (), np.zeros((5, 2, 2)), batch_size=2).shape
    (5, 4)
    """
    checks.positive_int("predict", "batch_size", batch_size)
    model = checks.as_layer("predict", model)
    if isinstance(inputs, Dataset):
        raise TypeError("predict expected an array of inputs but got a Dataset: pass its field inputs")
    checks.array("predict", "inputs", inputs)
    if inputs.ndim == 0:
        raise ValueError("predict expected inputs with the examples on axis 0 but got a single number")
    if len(inputs) == 0:
        raise ValueError(f"predict got no examples (inputs have shape {np.shape(inputs)})")
    starts = range(0, len(inputs), batch_size)
    apply = _kept(_compiled_apply, model)
    params, state = _on_one_device((params, state))
    outputs = on_each_core(lambda start: apply(params, state, inputs[start : start + batch_size]), starts)
    return np.concatenate(outputs)
