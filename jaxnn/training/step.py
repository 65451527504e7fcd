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


def train_step(model: Layer, loss: Loss, optimizer: Any, metrics: Mapping[str, Metric] | None = None) -> Step:
    """Make `step(train_state, batch, key) -> (train_state, totals)`, a pure function: jit it, scan it, vmap it.

    It computes the (weighted) mean loss of the batch in training mode, its gradient by `jax.value_and_grad`, and the
    optimizer's update (any `optax.GradientTransformation`). `totals` holds the loss, the metrics and the norm of the
    gradient as (sum, count), all measured before the update. Raises ValueError for an empty batch and for shapes that
    do not fit each other, TypeError for what is no model, loss, optimizer or Dataset.

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

    def objective(params, model_state, batch: Dataset, key):
        predictions, model_state = model.apply(params, model_state, batch.inputs, key=key, train=True)
        totals = measure(loss, metrics, predictions, batch)
        return mean(*totals["loss"]), (model_state, totals)

    def step(train_state: TrainState, batch: Dataset, key: PRNGKey) -> tuple[TrainState, Totals]:
        check_form("train_step", batch)
        gradient = jax.grad(objective, has_aux=True)
        grads, (model_state, totals) = gradient(train_state.params, train_state.model_state, batch, key)
        updates, opt_state = optimizer.update(grads, train_state.opt_state, train_state.params)
        params = jax.tree.map(lambda p, u: (p + u).astype(p.dtype), train_state.params, updates)
        totals["gradient_norm"] = (tree.norm(grads), jnp.float32(1))
        return TrainState(params, model_state, opt_state, train_state.step + 1), totals

    return step
