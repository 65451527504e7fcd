"""Short trainings that differ in their learning rate alone, as pure functions."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import tree
from jaxnn.data import Dataset
from jaxnn.training.machine import cores
from jaxnn.training.order import epoch_order
from jaxnn.training.state import RunKeys, TrainState
from jaxnn.training.step import mean, measure, train_step
from jaxnn.types import Array, Layer, Loss, Params, State

SIDE_BY_SIDE = 1_000  # parameters up to which `vmap` was clearly faster than one after the other, on a CPU

MakeOptimizer: TypeAlias = Callable[[Any], Any]
"""`rate -> optimizer`, such as `adam` or `lambda rate: optax.sgd(rate, momentum=0.9)`. The rate is a traced scalar."""


def short_training(model: Layer, loss: Loss, make_optimizer: MakeOptimizer) -> Callable[..., jax.Array]:
    """Make `(params, state, dataset, order [steps, B], keys, rates [steps]) -> losses [steps]`, a pure function.

    Step t is `train_step` with the optimizer of rates[t]; its loss is the one before the update. Map it over rates.

    >>> import optax
    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import mean_squared_error
    >>> from jaxnn.training import run_keys
    >>> params, data = {"weight": jnp.zeros((1, 1))}, Dataset(jnp.ones((1, 1)), jnp.ones((1, 1)))
    >>> training = short_training(linear(1, 1, bias=False), mean_squared_error, optax.sgd)
    >>> training(params, (), data, jnp.zeros((2, 1), int), run_keys(0), jnp.full(2, 0.25))  # (w - 1)², w = 0 and 0.5
    Array([1.  , 0.25], dtype=float32)
    """

    def training(params: Params, state: State, dataset: Dataset, order: jax.Array, keys: RunKeys, rates: jax.Array):
        def one_step(train_state: TrainState, given: tuple[jax.Array, jax.Array]) -> tuple[TrainState, jax.Array]:
            rows, rate = given
            step = train_step(model, loss, make_optimizer(rate))
            key = jax.random.fold_in(keys.step, train_state.step)
            train_state, totals = step(train_state, _batch(dataset, rows), key)
            return train_state, mean(*totals["loss"])

        start = TrainState(params, state, make_optimizer(rates[0]).init(params), jnp.int32(0))
        return jax.lax.scan(one_step, start, (order, rates))[1]

    return training


def first_batches(dataset: Dataset, steps: int, batch_size: int, keys: RunKeys) -> jax.Array:
    """Return the batches [steps, batch] of the first epochs of a run.

    >>> from jaxnn.training import run_keys
    >>> first_batches(Dataset(jnp.zeros(5), jnp.zeros(5)), 4, 2, run_keys(0)).shape
    (4, 2)
    """
    size = min(batch_size, dataset.size)
    epochs = -(-steps // (dataset.size // size))
    order = [epoch_order(keys.order, epoch, size=dataset.size, batch_size=size)[0] for epoch in range(epochs)]
    return jnp.concatenate(order)[:steps]


def all_trainings(model: Layer, loss: Loss, make_optimizer: MakeOptimizer, together: bool) -> Callable[..., Any]:
    """Make `(params, state, dataset, order, keys, rates [K]) -> (losses [K, steps], untrained losses [steps])`.

    >>> import optax
    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import mean_squared_error
    >>> from jaxnn.training import run_keys
    >>> params, data = {"weight": jnp.zeros((1, 1))}, Dataset(jnp.ones((1, 1)), jnp.ones((1, 1)))
    >>> program = all_trainings(linear(1, 1, bias=False), mean_squared_error, optax.sgd, together=True)
    >>> program(params, (), data, jnp.zeros((2, 1), int), run_keys(0), jnp.array([0.25, 0.5]))[0]
    Array([[1.  , 0.25],
           [1.  , 0.  ]], dtype=float32)
    """
    training = short_training(model, loss, make_optimizer)

    def program(
        params: Params, state: State, dataset: Dataset, order: jax.Array, keys: RunKeys, rates: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        def one(rate: jax.Array) -> jax.Array:
            return training(params, state, dataset, order, keys, jnp.broadcast_to(rate, (len(order),)))

        curves = jax.vmap(one)(rates) if together else jax.lax.map(one, rates)
        return curves, _untrained(model, loss, params, state, dataset, order, keys)

    return program


def compile_trainings(
    model: Layer, loss: Loss, make_optimizer: MakeOptimizer, start: tuple[Any, ...], rates: Array
) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """Compile the trainings at K rates from `start`, and return what runs them: losses [K, steps], untrained [steps].

    `start` is (params, state, dataset, order, keys). Where trainings follow one another, each core of a CPU has a
    thread that calls the program with its share of the rates, since the small products of one training leave cores
    idle: `python -m benchmarks.lr_finder speed` measured 0.56 (digits), 0.71 (CNN) and 0.96 (MNIST) of the time of 32
    calls on two cores.

    >>> import optax
    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import mean_squared_error
    >>> from jaxnn.training import run_keys
    >>> params, data = {"weight": jnp.zeros((1, 1))}, Dataset(jnp.ones((1, 1)), jnp.ones((1, 1)))
    >>> start = params, (), data, jnp.zeros((2, 1), int), run_keys(0)
    >>> run = compile_trainings(linear(1, 1, bias=False), mean_squared_error, optax.sgd, start, np.array([0.25, 0.5]))
    >>> run()[0].tolist()
    [[1.0, 0.25], [1.0, 0.0]]
    """
    together = side_by_side(start[0])
    parts = 1 if together or jax.default_backend() != "cpu" else min(cores(), len(rates))
    each = -(-len(rates) // parts)
    padded = np.append(rates, [rates[-1]] * (parts * each - len(rates))).astype(np.float32)
    shares = [jnp.asarray(share) for share in padded.reshape(each, parts).T]  # share i has every parts-th rate
    program = jax.jit(all_trainings(model, loss, make_optimizer, together)).lower(*start, shares[0]).compile()

    def run() -> tuple[np.ndarray, np.ndarray]:
        with ThreadPoolExecutor(parts) as pool:  # XLA computes outside of Python's lock
            done = list(pool.map(lambda share: jax.device_get(program(*start, share)), shares))
        curves = np.stack([curves for curves, _ in done], axis=1)  # [each, parts, steps]
        return curves.reshape(parts * each, -1)[: len(rates)], done[0][1]

    return run


def _untrained(
    model: Layer, loss: Loss, params: Params, state: State, dataset: Dataset, order: jax.Array, keys: RunKeys
) -> jax.Array:
    """Compute the losses [steps] that a training at rate 0 would show: the noise of batches is then on both sides."""

    def one_step(state: State, given: tuple[jax.Array, jax.Array]) -> tuple[State, jax.Array]:
        t, rows = given
        batch = _batch(dataset, rows)
        key = jax.random.fold_in(keys.step, t)
        predictions, state = model.apply(params, state, batch.inputs, key=key, train=True)
        return state, mean(*measure(loss, {}, predictions, batch)["loss"])

    return jax.lax.scan(one_step, state, (jnp.arange(len(order), dtype=jnp.int32), order))[1]


def _batch(dataset: Dataset, rows: jax.Array) -> Dataset:
    return jax.tree.map(lambda field: field.at[rows].get(mode="promise_in_bounds"), dataset)


def side_by_side(params: Params) -> bool:
    """Tell whether `vmap` is the faster: kernels, one for each training, make it four to seven times slower.

    >>> side_by_side({"weight": jnp.zeros((8, 4))}), side_by_side({"weight": jnp.zeros((3, 3, 1, 4))})
    (True, False)
    """
    return tree.size(params) <= SIDE_BY_SIDE and all(leaf.ndim < 3 for leaf in jax.tree.leaves(params))
