"""An epoch as one compiled program that can be cut anywhere and gives the same bits."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jaxnn.data import Dataset
from jaxnn.training.machine import compiler_options, return_freed_memory
from jaxnn.training.state import RunKeys, TrainState
from jaxnn.training.step import Step, Totals
from jaxnn.types import Array, PRNGKey


class Progress(NamedTuple):
    """What an epoch has summed up so far, and the first step whose loss or gradient was not finite (-1: none)."""

    totals: Totals
    failed_step: jax.Array


Run: TypeAlias = Callable[..., tuple[TrainState, Progress]]

Augment: TypeAlias = Callable[[PRNGKey, Array], Array]
"""`augment(key, inputs) -> inputs`: a batch of training inputs changed at random."""


def no_progress(step: Step, train_state: TrainState, batch: Dataset, key: PRNGKey) -> Progress:
    """Return the empty sums with which an epoch starts; nothing is computed, the step is only asked for its shapes."""
    _, totals = jax.eval_shape(step, train_state, batch, key)
    return Progress(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), totals), jnp.int32(-1))


def compile_epoch(
    function: str, lower: Callable[[bool], Any], size: int, batch_size: int
) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
    """Compile the program of the full batches and that of the short last batch, if there is one, side by side.

    `lower(short)` lowers one of them. Raises ValueError, which names a batch size that leaves a larger one, where the
    model refuses the short last batch.

    >>> full, short = compile_epoch("fit", lambda short: jax.jit(jnp.negative).lower(1.0), size=6, batch_size=3)
    >>> float(full(2.0)), short
    (-2.0, None)
    """
    parts, rest = [lower(False)], size % batch_size
    try:
        parts += [lower(True)] if rest else []
    except ValueError as error:
        roomy = next(b for b in range(batch_size + 1, size + 1) if size % b == 0 or size % b >= b / 2)
        raise ValueError(
            f"{function}: {size} examples in batches of {batch_size} leave a last batch of {rest}: {error}; "
            f"batch_size={roomy} leaves a larger one"
        ) from error
    options = compiler_options()
    with ThreadPoolExecutor() as pool:  # XLA compiles outside of Python's lock
        full, short = [*pool.map(lambda part: part.compile(compiler_options=options), parts), None][:2]
    return_freed_memory()
    return full, short


def epoch_program(step: Step, augment: Augment | None = None) -> Run:
    """Make `run(train_state, progress, dataset, order, keys, first, last) -> (train_state, progress)`.

    It does the batches first..last-1 of `order` [batches, batch_size]; without an order they lie in the dataset, one
    after the other, [batches, batch_size, ...]. The bounds are traced, so one compilation serves every cut, and running
    0..n is the same arithmetic in the same order as 0..k and k..n: the same bits.

    Step t has the randomness `fold_in(keys.step, t)`, and its augmentation `fold_in(keys.augmentation, t)`. A step
    whose loss or gradient norm is not finite ends the run and is recorded in the progress; the steps before it are then
    done once more, so the state is that of the last good step.

    >>> import optax
    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import softmax_cross_entropy
    >>> from jaxnn.training import epoch_order, init_train_state, run_keys, train_step
    >>> model, optimizer, keys = linear(2, 2), optax.sgd(0.1), run_keys(0)
    >>> data = Dataset(jnp.ones((8, 2)), jnp.zeros(8, jnp.int32))
    >>> step = train_step(model, softmax_cross_entropy, optimizer)
    >>> state = init_train_state(model.init, optimizer, keys.init)
    >>> order, _ = epoch_order(keys.order, 0, size=8, batch_size=2)
    >>> progress = no_progress(step, state, Dataset(data.inputs[:2], data.targets[:2]), keys.step)
    >>> state, progress = jax.jit(epoch_program(step))(state, progress, data, order, keys, 0, 4)
    >>> int(state.step), float(progress.totals["loss"][1])
    (4, 8.0)
    """

    def run(
        train_state: TrainState,
        progress: Progress,
        dataset: Dataset,
        order: jax.Array | None,
        keys: RunKeys,
        first: jax.Array,
        last: jax.Array,
    ) -> tuple[TrainState, Progress]:
        def one_batch(carry):
            i, old, (totals, _) = carry
            if order is None:
                batch = jax.tree.map(lambda field: jax.lax.dynamic_index_in_dim(field, i, keepdims=False), dataset)
            else:
                rows = order[i]
                batch = jax.tree.map(lambda field: field.at[rows].get(mode="promise_in_bounds"), dataset)
            if augment is not None:
                inputs = augment(jax.random.fold_in(keys.augmentation, old.step), batch.inputs)
                batch = batch._replace(inputs=inputs)
            new, measured = step(old, batch, jax.random.fold_in(keys.step, old.step))
            finite = jnp.isfinite(measured["loss"][0]) & jnp.isfinite(measured["gradient_norm"][0])
            new_totals = jax.tree.map(jnp.add, totals, measured)
            return i + 1, new, Progress(new_totals, jnp.where(finite, -1, old.step))

        def attempt(carry):
            """Do the batches before `end`; where one fails, what it made of the state is not what is wanted."""
            _, end, failed_step, _, _ = carry

            def more(carry):
                i, _, (_, failed_step) = carry
                return (i < end) & (failed_step < 0)

            fresh = progress._replace(failed_step=jnp.int32(-1))
            i, new, (totals, failed_now) = jax.lax.while_loop(more, one_batch, (first, train_state, fresh))
            failed = failed_now >= 0
            return failed, jnp.where(failed, i - 1, end), jnp.maximum(failed_step, failed_now), new, totals

        # Once, and once more up to the step before the one that failed: the same steps give the same bits. Choosing
        # between the old and the new state at every step would cost 0.05 of the time of the MNIST perceptron.
        carry = (progress.failed_step < 0, last, progress.failed_step, train_state, progress.totals)
        _, _, failed_step, train_state, totals = jax.lax.while_loop(lambda carry: carry[0], attempt, carry)
        return train_state, Progress(totals, failed_step)

    return run
