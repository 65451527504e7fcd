"""What training carries from step to step, and the keys that make a run a function of its seed."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn import checks, tree
from jaxnn.types import Init, Params, PRNGKey, State

FEW_OPTIMIZATIONS = {"xla_backend_optimization_level": 1}
"""XLA's options for a draw of random numbers, which takes far less time than its compilation."""


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
    """Return the keys of a run. Raises ValueError for a seed outside 0..2**32-1, which would repeat another's run.

    >>> run_keys(0).init == jax.random.fold_in(jax.random.key(0), 0)
    Array(True, dtype=bool)
    """
    checks.non_negative_int("run_keys", "seed", seed)
    if seed >= 2**32:  # JAX takes 32 bits and drops the others without a word
        raise ValueError(f"run_keys expected seed below 2**32 but got {seed}")
    root = jax.random.key(seed)
    return RunKeys(*(jax.random.fold_in(root, i) for i in range(len(RunKeys._fields))))


def compiled_init(init: Init) -> Init:
    """Compile an init for one use, faster than `jax.jit` does; not inside of another `jit`.

    From the same random bits as `jax.jit`, so the same numbers but for the rounding of the last bits.

    >>> from jaxnn.layers import linear
    >>> compiled_init(linear(2, 3).init)(jax.random.key(0))[0]["weight"].shape
    (2, 3)
    """
    checks.callables("compiled_init", init=init)
    return jax.jit(init, compiler_options=FEW_OPTIMIZATIONS)


def init_train_state(init: Init, optimizer: Any, key: PRNGKey) -> TrainState:
    """Draw the parameters and start the optimizer, at step 0. The arrays are new ones, shared with nobody.

    Raises ValueError for a model without parameters, TypeError for parameters that are not floats.

    >>> import optax
    >>> from jaxnn.layers import linear
    >>> int(init_train_state(linear(2, 1).init, optax.sgd(0.1), jax.random.key(0)).step)
    0
    """
    checks.callables("init_train_state", init=init)
    check_optimizer("init_train_state", optimizer)
    drawn = init(checks.random_key("init_train_state", key))
    if not isinstance(drawn, tuple) or len(drawn) != 2:
        got = f"a tuple of {len(drawn)}" if isinstance(drawn, tuple) else type(drawn).__name__
        raise TypeError(f"init expected to return the pair (params, state) but got {got}")
    params, model_state = drawn
    if not jax.tree.leaves(params):
        raise ValueError("the model has no parameters: there is nothing to train")
    for path, leaf in tree.paths(params).items():
        checks.array("init_train_state", f"params {path}", leaf)
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(
                f"init_train_state expected params of floats but {path} is {leaf.dtype}: "
                "what is not trained belongs to the state"
            )

    arrays = [leaf for leaf in jax.tree.leaves(drawn) if isinstance(leaf, jax.Array)]
    if all(map(checks.is_concrete, arrays)) and len({device for leaf in arrays for device in leaf.devices()}) < 2:
        return kept(_compiled_start, optimizer.init)(params, model_state)
    return _start(optimizer.init, params, model_state)  # zeros made "like" an array that is split are split too


def _start(init_optimizer: Callable[[Params], Any], params: Params, model_state: State) -> TrainState:
    params, model_state = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), (params, model_state))
    return TrainState(params, model_state, init_optimizer(params), jnp.int32(0))


@lru_cache(maxsize=16)
def _compiled_start(init_optimizer: Callable[[Params], Any]) -> Callable[[Params, State], TrainState]:
    return jax.jit(partial(_start, init_optimizer))  # one program instead of two or three for each shape


def kept(make: Any, *values: Any) -> Callable[..., Any]:
    """Take the program of an earlier call with these values; one with no hash, as a callable object, is made anew.

    `make` has an `lru_cache`.

    >>> compiled = lru_cache(lambda function: jax.jit(function))
    >>> kept(compiled, jnp.sin) is kept(compiled, jnp.sin)
    True
    """
    try:
        hash(values)
    except TypeError:
        return make.__wrapped__(*values)
    return make(*values)


def check_optimizer(function: str, optimizer: Any) -> None:
    """Refuse what is no `optax.GradientTransformation`; an uncalled constructor is told to be called.

    >>> check_optimizer("fit", "adam")
    Traceback (most recent call last):
    TypeError: fit expected an optimizer such as optax.adam(1e-3) but got 'adam'
    """
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        name = getattr(optimizer, "__name__", None)
        hint = f"the function {name} itself: call it, as in {name}(1e-3)" if name else repr(optimizer)
        raise TypeError(f"{function} expected an optimizer such as optax.adam(1e-3) but got {hint}")
