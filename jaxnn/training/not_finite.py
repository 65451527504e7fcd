"""Where numbers stop being numbers, and what is said about it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.data import Stream
from jaxnn.training.feed import Feed
from jaxnn.training.state import RunKeys, TrainState


@jax.jit
def finite(leaves: Any) -> jax.Array:
    """Say whether all numbers of a tree are finite.

    >>> bool(finite({"weight": jnp.ones(2)})), bool(finite({"weight": jnp.array([1.0, jnp.nan])}))
    (True, False)
    """
    return jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(leaves)]).all()


def not_finite_update(epoch: int, before: TrainState) -> str:
    """Say that the optimizer made parameters that are no numbers out of a finite gradient.

    >>> not_finite_update(1, TrainState({"weight": jnp.ones(2)}, (), (), jnp.int32(7)))
    "an update made the parameters or the model's state not finite in epoch 2, after step 7: ..."
    """
    if not finite(before[:2]):
        return f"the parameters or the model's state are not finite before epoch {epoch + 1}: look at init"
    return (
        f"an update made the parameters or the model's state not finite in epoch {epoch + 1}, after step "
        f"{int(before.step)}: look at the learning rate and the optimizer's options. The parameters are those of "
        "that step"
    )


def not_finite_step(feed: Feed, keys: RunKeys, epoch: int, step: int, learning_rate: float | None) -> str:
    """Say where the loss or gradient stopped being a number, after `step` good steps, and the likely reason.

    >>> from jaxnn.data import Dataset
    >>> from jaxnn.training import run_keys
    >>> from jaxnn.training.feed import make_feed
    >>> from jaxnn.training.placement import ONE_DEVICE
    >>> feed = make_feed(ONE_DEVICE, Dataset(np.array([0.0, np.nan]), np.zeros(2)), 2)
    >>> not_finite_step(feed, run_keys(0), 0, 0, None)
    'the loss or its gradient is not finite in epoch 1, step 1 (inputs[1] holds NaN or infinity: clean the inputs). ...'
    """
    reason = _bad_data(feed, keys, epoch, step)
    if reason is None:
        at = f" at learning rate {learning_rate:g}" if learning_rate is not None else ""
        reason = f"training diverged{at}: try a smaller learning rate or gradient clipping, and look at the targets"
    return (
        f"the loss or its gradient is not finite in epoch {epoch + 1}, step {step + 1} ({reason}). "
        "The step was dropped; the parameters are those before it"
    )


def _bad_data(feed: Feed, keys: RunKeys, epoch: int, step: int) -> str | None:
    """Name the first example that is no number: of the step's batch, or of all where all are in memory."""
    places, data = np.arange(feed.dataset.size), feed.dataset
    if isinstance(data, Stream):
        places = feed.rows(keys, epoch, step - epoch * -(-data.size // feed.batch_size))
        data = data.read(places)
    for name, field in (("inputs", data.inputs), ("targets", data.targets)):
        bad = np.argwhere(~np.isfinite(np.asarray(field, np.float64)))
        if bad.size:
            return f"{name}[{places[bad[0][0]]}] holds NaN or infinity: clean the {name}"
    return None
