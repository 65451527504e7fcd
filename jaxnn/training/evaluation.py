"""Evaluation and prediction over every example exactly once, in batches."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, Literal, jaxprs_in_params

from jaxnn import checks
from jaxnn.data import Dataset, Stream, check_dataset
from jaxnn.training.machine import cores, on_each_core
from jaxnn.training.state import kept
from jaxnn.training.step import Totals, measure
from jaxnn.types import Layer, Loss, Metric, Params, State

CALL_BATCHES, CALL_BYTES = 8, 2**24  # that a call takes, at most; Ctrl-C waits for it
CACHED_BYTES = 2**22  # of a batch's largest array, what a core's caches hold of it


def batches(dataset: Dataset, batch_size: int) -> Iterator[Dataset]:
    """Yield the examples in order, the last batch as short as it is.

    >>> [batch.size for batch in batches(Dataset(np.zeros(5), np.zeros(5)), 2)]
    [2, 2, 1]
    """
    for start in range(0, dataset.size, batch_size):
        yield _rows(dataset, start, batch_size)


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

    The batch size changes speed and memory only; on a CPU as many batches as cores are computed at a time, in parts
    that its caches hold. Raises ValueError for an empty set, unequal lengths, or a label that the model has no output
    for.

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
    step = kept(_compiled_step, model, loss, tuple(metrics.items()))
    return total_means(_of_every_batch(step, params, state, dataset, dataset.size, batch_size))


def _of_every_batch(program: Any, params: Params, state: State, data: Any, size: int, batch_size: int) -> list[Any]:
    """Compute `program(params, state, batch)` of every batch in order, on the host.

    On a CPU a batch with large arrays is computed in parts, whose arrays stay in the caches from layer to layer. And a
    call takes several batches, one after the other in a loop: calls one by one wait for a core beside a free one, since
    a thread that another has just woken stays where that one was (Linux moves it after milliseconds).
    """
    together = _on_several_devices(data)
    if not together:
        params, state = _on_one_device((params, state))
    batch_size = min(batch_size, size)
    first_batch = _rows(data, 0, batch_size)
    traced = program.trace(params, state, first_batch)
    fields = len(jax.tree.leaves(first_batch))  # the last that the program is given
    given_mesh = not jax.sharding.get_abstract_mesh().empty
    parts = 1 if together or given_mesh else _parts(traced.jaxpr.jaxpr, fields, batch_size)
    batch_size = math.ceil(batch_size / parts)
    full = size // batch_size
    a_call = _batches_of_a_call((first_batch, traced.out_info), full, parts)
    results = []
    if a_call > 1 and not together:
        several, room = kept(_compiled_loop, program), 2 ** math.ceil(math.log2(a_call))  # few shapes to compile

        def call(at):
            first, count = at
            taken = _rows(data, first * batch_size, count * batch_size)
            return several(params, state, jax.tree.map(lambda field: _stacked(field, room, batch_size), taken), count)

        calls = [(first, min(a_call, full - first)) for first in range(0, full, a_call)]
        for (_, count), found in zip(calls, on_each_core(call, [(0, 0), *calls])[1:], strict=True):  # (0, 0) compiles
            results += _unstacked(found, count)
    if starts := range(len(results) * batch_size, size, batch_size):
        results += on_each_core(lambda start: program(params, state, _rows(data, start, batch_size)), starts)
    return results


def _on_several_devices(data: Any) -> bool:
    """Say whether a part of the data lies on several devices, which then compute together."""
    leaves = jax.tree.leaves(data)
    return any(isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1 for leaf in leaves)


def _rows(data: Any, start: int, count: int) -> Any:
    """Take the examples from there on, as many as there are."""
    return jax.tree.map(lambda field: field[start : start + count], data)


def _parts(jaxpr: Jaxpr, fields: int, batch_size: int) -> int:
    """Choose in how many parts a batch is computed, even ones if that is near: as its largest array wants it."""
    if jax.default_backend() != "cpu":
        return 1
    of_batch = [False] * (len(jaxpr.invars) - fields) + [True] * fields
    least = min(math.ceil(_largest(jaxpr, of_batch) / CACHED_BYTES), batch_size)
    return next((parts for parts in range(least, least + least // 4 + 1) if batch_size % parts == 0), least)


def _largest(jaxpr: Jaxpr, of_batch: list[bool]) -> int:
    """Return the bytes of the largest array that a program computes from those of its inputs that are of the batch.

    What it makes of the weights alone, as a copy in another dtype, is no smaller for a part of the batch.
    """
    known = {var for var, is_of_batch in zip(jaxpr.invars, of_batch, strict=True) if is_of_batch}
    largest = 1
    for equation in jaxpr.eqns:
        given = [not isinstance(var, Literal) and var in known for var in equation.invars]
        if not any(given):
            continue
        known.update(equation.outvars)
        computed: list[Any] = [var.aval for var in equation.outvars]
        sizes = [array.size * array.dtype.itemsize for array in computed if hasattr(array, "dtype")]  # no tokens
        for inner in jaxprs_in_params(equation.params):
            alike = len(inner.invars) == len(given)
            sizes.append(_largest(inner, given if alike else [True] * len(inner.invars)))
        largest = max([largest, *sizes])
    return largest


def _batches_of_a_call(batch: Any, full: int, parts: int) -> int:
    """Choose how many of `full` parts of batches a call takes: as many for each core, within the limits of memory.

    `batch` is a whole one with its results.
    """
    if jax.default_backend() != "cpu":
        return 1
    size = sum(field.size * field.dtype.itemsize for field in jax.tree.leaves(batch))
    most = max(1, min(CALL_BATCHES * parts, CALL_BYTES * parts // max(size, 1)))
    calls = cores() * math.ceil(full / (cores() * most))
    return math.ceil(full / max(calls, 1))


def _stacked(rows: Any, many: int, batch_size: int) -> np.ndarray:
    """Arrange rows in batches, [many, batch_size, ...], with zeros where there are fewer."""
    rows = np.asarray(rows)
    if len(rows) < many * batch_size:
        rows = np.concatenate([rows, np.zeros((many * batch_size - len(rows), *rows.shape[1:]), rows.dtype)])
    return rows.reshape(many, batch_size, *rows.shape[1:])


def _unstacked(values: Any, count: int) -> list[Any]:
    """Take the first `count` batches apart."""
    return [jax.tree.map(lambda field, i=i: field[i], values) for i in range(count)]


def _on_one_device(values: Any) -> Any:
    """Take the copy of the first device where all of them hold the same and would compute the same.

    Not under a mesh of the caller, which holds for all of its devices.
    """
    leaves, form = jax.tree.flatten(values)
    everywhere = all(isinstance(leaf, jax.Array) and leaf.is_fully_replicated for leaf in leaves)
    if not everywhere or not jax.sharding.get_abstract_mesh().empty:
        return values
    return jax.tree.unflatten(form, [leaf.addressable_data(0) for leaf in leaves])


# Compiled once for a model and not once a call; the programs of the latest models stay.
@lru_cache(maxsize=16)
def _compiled_step(model: Layer, loss: Loss, metrics: tuple[tuple[str, Metric], ...]) -> Callable[..., Totals]:
    return jax.jit(evaluation_step(model, loss, dict(metrics)))


@lru_cache(maxsize=16)
def _compiled_apply(model: Layer) -> Callable[..., Any]:
    return jax.jit(lambda params, state, x: model.apply(params, state, x)[0])


@lru_cache(maxsize=16)
def _compiled_loop(program: Any) -> Callable[..., Any]:
    """Make `(params, state, batches, count) -> results` of the first `count` batches, stacked."""

    def run(params, state, batches, count):
        def result(i):
            return program(params, state, jax.tree.map(lambda field: field[i], batches))

        shapes = jax.eval_shape(result, 0)
        empty = jax.tree.map(lambda x: jnp.zeros((len(jax.tree.leaves(batches)[0]), *x.shape), x.dtype), shapes)

        def one_batch(i, results):
            return jax.tree.map(lambda all_of_it, new: all_of_it.at[i].set(new), results, result(i))

        return jax.lax.fori_loop(0, count, one_batch, empty)

    return jax.jit(run)


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

    As in `evaluate` the batch size changes speed and memory only. Raises ValueError for no examples, TypeError for
    inputs that are no array.

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
    apply = kept(_compiled_apply, model)
    return np.concatenate(_of_every_batch(apply, params, state, inputs, len(inputs), batch_size))
