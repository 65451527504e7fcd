"""Modules of Equinox as layers: `fit`, `fit_many`, `lr_finder` and `doctor` train them."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn import checks
from jaxnn.interop.modules import arguments, described, imported, is_module, modes, own_arrays
from jaxnn.types import Layer


def from_equinox(module: Any, state: Any = None, *, axis_name: str = "batch") -> Layer:
    """Make a layer of an Equinox module, which takes one example: [B, ...] -> what it gives for each of the B.

    `module` is a class or function that makes it of a key, `CNN` or `lambda key: CNN(10, key=key)`; then `init(key)`
    does. Or it is a module that is there already, with its `eqx.nn.State` if it has one: then training starts from its
    weights whatever the key, so that an ensemble's members start alike.

    The call is `jax.vmap(module, axis_name)` over the batch, and `axis_name` is the one that `eqx.nn.BatchNorm` was
    given. A module with a state is called as `module(x, state) -> (y, state)`, a call that takes `key` gets one for
    each example in training, and the mode is told as `eqx.nn.inference_mode` does it. Equinox's convolutions want
    channels first: put `lambda x: jnp.moveaxis(x, -1, 1)` before it in `sequential`.

    params is the module with None for everything that is no float array, so `eqx.combine(params, module)` is the
    trained module (and a class that is made anew, inside a function, makes params of another structure). state holds
    the entries of `eqx.nn.State` by name, and other arrays of the module.

    Raises ImportError without Equinox, TypeError for what makes no module or asks for other arguments, ValueError for a
    module whose state is missing, and in training for one that needs randomness and gets no key. Kidger and Garcia,
    2021, Equinox: neural networks in JAX via callable PyTrees and filtered transformations.

    >>> import equinox as eqx
    >>> layer = from_equinox(lambda key: eqx.nn.Linear(2, 3, key=key))
    >>> params, state = layer.init(jax.random.key(0))
    >>> layer, params.weight.shape, layer.apply(params, state, jnp.ones((5, 2)))[0].shape
    (from_equinox(Linear), (3, 2), (5, 3))
    """
    eqx = imported("from_equinox", "equinox")
    make = _maker(eqx, module, state)
    model, first = eqx.filter_eval_shape(make, jax.random.key(0))  # shapes alone
    told = arguments("from_equinox", model.__call__, ("state", "key"))
    if "inference" in told and "deterministic" in told:  # its old name in Equinox, which warns
        told.remove("deterministic")
    name, entries = f"from_equinox({type(model).__name__})", first.tree_flatten()[1]
    stateful = bool(entries) or ("state" in told and _is_required(model.__call__, "state"))
    plain = eqx.filter(model, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct), inverse=True)
    without_arrays = {train: eqx.nn.inference_mode(plain, value=not train) for train in (True, False)}

    def init(key, /):
        made, values = make(checks.random_key(name, key))
        made, values = jax.tree.map(_settled, eqx.filter((made, values), eqx.is_array))
        params, others = eqx.partition(made, eqx.is_inexact_array)
        state = dict(zip(entries, values.tree_flatten()[0], strict=True))
        if jax.tree.leaves(others):
            state["other arrays"] = others
        return params if jax.tree.leaves(params) else (), state or ()

    expected = jax.eval_shape(init, jax.random.key(0))

    def apply(params, state, x, /, *, key=None, train=False):
        checks.array(name, "x", x)
        own_arrays(name, "params", params, expected[0])
        own_arrays(name, "state", state, expected[1])
        given = dict(state or {})
        arrays = [tree for tree in (params, given.pop("other arrays", None)) if isinstance(tree, eqx.Module)]
        called = eqx.combine(*arrays, without_arrays[train])
        values = eqx.nn.State.tree_unflatten(entries, [given[entry] for entry in entries])
        keys = None
        if train and key is not None and "key" in told:
            checks.random_key(name, key)
            keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(len(x)))

        def one(x, key):
            options: dict[str, Any] = modes(told, train) | ({"key": key} if "key" in told else {})
            return called(x, values, **options) if stateful else (called(x, **options), values)

        try:
            mapped = jax.vmap(one, in_axes=(0, None if keys is None else 0), out_axes=(0, None), axis_name=axis_name)
            y, new = mapped(jnp.asarray(x), keys)
        except RuntimeError:  # Equinox's dropout asks for its key
            if train and "key" in told:
                checks.given_key(name, key)
            raise
        if not train:
            return y, state
        changed = dict(zip(entries, jax.tree.map(_settled, new).tree_flatten()[0], strict=True))
        return y, {**state, **changed} if state else ()

    return Layer(init, apply, name)


def _settled(leaf: jax.Array) -> jax.Array:
    """Fix the dtype of a number that Python made, which JAX would let give way to that of others."""
    return jax.lax.convert_element_type(leaf, leaf.dtype) if getattr(leaf, "weak_type", False) else leaf


def _is_required(call: Any, argument: str) -> bool:
    return inspect.signature(call).parameters[argument].default is inspect.Parameter.empty


def _maker(eqx: Any, module: Any, state: Any) -> Callable[[Any], Any]:
    """Return `key -> (module, state)`."""
    if state is not None and not isinstance(state, eqx.nn.State):
        raise TypeError(f"from_equinox expected state to be an eqx.nn.State but got {type(state).__name__}")
    if isinstance(module, eqx.Module):
        if state is not None:
            return lambda key: (module, state)
        indices = jax.tree.leaves(module, is_leaf=lambda leaf: isinstance(leaf, eqx.nn.StateIndex))
        if any(isinstance(leaf, eqx.nn.StateIndex) and not jax.tree.leaves(leaf.init) for leaf in indices):
            raise ValueError(
                f"from_equinox expected the state of {type(module).__name__} too: from_equinox(module, state)"
            )
        return lambda key: eqx.nn.make_with_state(lambda: module)()
    if state is not None:
        raise ValueError("from_equinox got a state with what makes a module: its state is made with it")
    by_name = _takes(module, key=None)
    if is_module(module) or not (by_name or _takes(module, None)):
        raise TypeError(
            "from_equinox expected a module, or what makes one of a key as in "
            f"from_equinox(lambda key: CNN(10, key=key)), but got {described(module)}"
        )

    def make(key):
        made, values = eqx.nn.make_with_state(module)(key=key) if by_name else eqx.nn.make_with_state(module)(key)
        if not isinstance(made, eqx.Module):
            raise TypeError(
                f"from_equinox expected {checks.name_of(module)} to make a module but got {described(made)}"
            )
        return made, values

    return make


def _takes(call: Any, *args: Any, **options: Any) -> bool:
    try:
        inspect.signature(call).bind(*args, **options)
    except (TypeError, ValueError):
        return False
    return True
