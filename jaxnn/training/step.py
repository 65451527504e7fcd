"""One step of training as a pure function: forward, backward, update."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from jaxnn import checks, tree
from jaxnn.data import Dataset
from jaxnn.data.dataset import check_form
from jaxnn.training.state import TrainState, check_optimizer
from jaxnn.types import Layer, Loss, Metric, PRNGKey

Totals: TypeAlias = dict[str, tuple[jax.Array, jax.Array]]
"""Metrics on their way: name -> (sum, count), so that they add up over batches of any size."""

Step: TypeAlias = Callable[[TrainState, Dataset, PRNGKey], tuple[TrainState, Totals]]


def measure(loss: Loss, metrics: Mapping[str, Metric], predictions: Any, batch: Dataset) -> Totals:
    """Return {"loss": (sum, count), ...} of one batch; the loss is weighted by the batch's weights, metrics are not.

    >>> from jaxnn.losses import softmax_cross_entropy
    >>> batch = Dataset(None, jnp.array([0, 1]), jnp.array([1.0, 3.0]))
    >>> total, count = measure(softmax_cross_entropy, {}, jnp.zeros((2, 2)), batch)["loss"]
    >>> print(total / count, count)
    0.6931472 4.0
    """
    size = len(batch.targets)
    losses = loss(predictions, batch.targets)
    checks.one_value_per_example(checks.name_of(loss), losses, size)
    if not jnp.issubdtype(losses.dtype, jnp.floating):
        raise TypeError(f"{checks.name_of(loss)} expected to return floats, which have a gradient, got {losses.dtype}")
    if batch.weights is None:
        totals = {"loss": (losses.sum(), jnp.float32(size))}
    else:
        totals = {"loss": ((losses * batch.weights).sum(), batch.weights.sum())}
    for name, metric in metrics.items():
        values = metric(predictions, batch.targets)
        checks.one_value_per_example(checks.name_of(metric), values, size)
        totals[name] = (values.sum(), jnp.float32(size))
    return totals


def mean(total: jax.Array, count: jax.Array) -> jax.Array:
    """Return total / count, and 0 where nothing was counted (a batch whose weights are all 0).

    >>> print(mean(jnp.float32(6), jnp.float32(4)), mean(jnp.float32(0), jnp.float32(0)))
    1.5 0.0
    """
    return total / jnp.where(count == 0, 1, count)


def train_step(
    model: Layer, loss: Loss, optimizer: Any, metrics: Mapping[str, Metric] | None = None, *, accumulate: int = 1
) -> Step:
    """Make `step(train_state, batch, key) -> (train_state, totals)`, a pure function: jit it, scan it, vmap it.

    It computes the (weighted) mean loss of the batch in training mode, its gradient by `jax.value_and_grad`, and the
    optimizer's update (any `optax.GradientTransformation`). `totals` holds the loss, the metrics and the norm of the
    gradient as (sum, count), all measured before the update. With `accumulate` the batch is computed in that many
    parts, one after the other, and their gradients are added: the gradient of the batch in less memory.

    Raises ValueError for an empty batch and for shapes that do not fit each other, TypeError for what is no model,
    loss, optimizer or Dataset.

    >>> import optax
    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import softmax_cross_entropy
    >>> from jaxnn.training import init_train_state
    >>> model, optimizer = linear(2, 2), optax.sgd(0.1)
    >>> step = jax.jit(train_step(model, softmax_cross_entropy, optimizer))
    >>> state = init_train_state(model.init, optimizer, jax.random.key(0))
    >>> state, totals = step(state, Dataset(jnp.ones((4, 2)), jnp.array([0, 1, 1, 1])), jax.random.key(1))
    >>> int(state.step), sorted(totals)
    (1, ['gradient_norm', 'loss'])
    """
    model = checks.as_layer("train_step", model)
    checks.callables("train_step", loss=loss)
    check_optimizer("train_step", optimizer)
    metrics = checks.metric_names("train_step", metrics or {})

    checks.positive_int("train_step", "accumulate", accumulate)

    def objective(params, model_state, batch: Dataset, key, count):
        predictions, model_state = model.apply(params, model_state, batch.inputs, key=key, train=True)
        totals = measure(loss, metrics, predictions, batch)
        total, own_count = totals["loss"]
        return mean(total, own_count if count is None else count), (model_state, totals)

    gradient = jax.grad(objective, has_aux=True)

    def accumulated(params, model_state, batch: Dataset, key):
        """Add up the gradients of equal parts in a loop, and of a last part that may be smaller."""
        size = -(-batch.size // accumulate)
        full = batch.size // size
        count = jnp.float32(batch.size) if batch.weights is None else batch.weights.sum()

        def part(model_state, numbered):
            i, rows = numbered
            grads, (model_state, totals) = gradient(params, model_state, rows, jax.random.fold_in(key, i), count)
            return model_state, (grads, totals)

        parts = jax.tree.map(lambda field: field[: full * size].reshape(full, size, *field.shape[1:]), batch)
        first = jax.tree.map(lambda field: field[0], parts)
        _, sums = jax.eval_shape(part, model_state, (0, first))
        sums = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), sums)

        def add(i, carry):
            model_state, sums = carry
            model_state, new = part(model_state, (i, jax.tree.map(lambda field: field[i], parts)))
            return model_state, jax.tree.map(jnp.add, sums, new)

        model_state, sums = jax.lax.fori_loop(0, full, add, (model_state, sums))
        if full * size < batch.size:
            rest = jax.tree.map(lambda field: field[full * size :], batch)
            model_state, new = part(model_state, (full, rest))
            sums = jax.tree.map(jnp.add, sums, new)
        return sums[0], (model_state, sums[1])

    def step(train_state: TrainState, batch: Dataset, key: PRNGKey) -> tuple[TrainState, Totals]:
        check_form("train_step", batch)
        start = train_state.params, train_state.model_state, batch, key
        grads, (model_state, totals) = gradient(*start, None) if accumulate == 1 else accumulated(*start)
        updates, opt_state = optimizer.update(grads, train_state.opt_state, train_state.params)
        params = jax.tree.map(lambda p, u: (p + u).astype(p.dtype), train_state.params, updates)
        totals["gradient_norm"] = (tree.norm(grads), jnp.float32(1))
        return TrainState(params, model_state, opt_state, train_state.step + 1), totals

    return step
