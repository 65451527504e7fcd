"""What training carries from step to step, and the keys that make a run a function of its seed."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn import checks
from jaxnn.types import Init, Params, PRNGKey, State


class TrainState(NamedTuple):
    """Parameters, the model's state, the optimizer's state, and the number of steps done (an int32 scalar)."""

    params: Params
    model_state: State
    opt_state: Any
    step: jax.Array


class RunKeys(NamedTuple):
    """One key for each use of randomness; key i is `fold_in(key(seed), i)`.

    The order of epoch e comes from `fold_in(order, e)`, the randomness of step t from `fold_in(step, t)`. Nothing is
    split and carried, so any part of a run can be computed again on its own.
    """

    init: PRNGKey
    split: PRNGKey
    order: PRNGKey
    step: PRNGKey
    augmentation: PRNGKey


def run_keys(seed: int) -> RunKeys:
    """Return the keys of a run.

    >>> run_keys(0).init == jax.random.fold_in(jax.random.key(0), 0)
    Array(True, dtype=bool)
    """
    checks.non_negative_int("run_keys", "seed", seed)
    root = jax.random.key(seed)
    return RunKeys(*(jax.random.fold_in(root, i) for i in range(len(RunKeys._fields))))


def init_train_state(init: Init, optimizer: Any, key: PRNGKey) -> TrainState:
    """Draw the parameters and start the optimizer, at step 0. The arrays are new ones, shared with nobody.

    >>> import optax
    >>> from jaxnn.layers import linear
    >>> int(init_train_state(linear(2, 1).init, optax.sgd(0.1), jax.random.key(0)).step)
    0
    """
    params, model_state = init(key)
    if not jax.tree.leaves(params):
        raise ValueError("the model has no parameters: there is nothing to train")
    params, model_state = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), (params, model_state))
    return TrainState(params, model_state, optimizer.init(params), jnp.int32(0))
