"""Modules of Flax as layers: `fit`, `fit_many`, `lr_finder` and `doctor` train them."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn import checks
from jaxnn.interop.modules import arguments, described, imported, is_module, modes, own_arrays
from jaxnn.types import Array, Layer


def from_linen(module: Any, sample_input: Array) -> Layer:
    """Make a layer of a Flax linen module, [B, ...] -> what it gives for [B, ...].

    `init(key)` is `module.init(key, sample_input)` in evaluation mode, so shape and dtype of `sample_input` are those
    of a batch (a batch of 1 will do). params is the collection "params", state is all others (`batch_stats`), both as
    Flax has them: `module.apply({"params": params, **state}, x)` computes with what was trained. The mode is told by
    whichever argument the module's call has of train, training, is_training (True in training), deterministic and
    use_running_average (False in training). In training `key` is all of its random streams.

    Mind that Flax's batch norm means by momentum the weight of the old statistic. Raises ImportError without Flax,
    TypeError for what is no linen module or asks for other arguments, and for integers where `sample_input` is floats;
    ValueError in training for a module that needs randomness and gets no key.

    >>> import flax.linen as nn
    >>> layer = from_linen(nn.Dense(3), jnp.ones((1, 2)))
    >>> params, state = layer.init(jax.random.key(0))
    >>> layer, params["kernel"].shape, layer.apply(params, state, jnp.ones((5, 2)))[0].shape
    (from_linen(Dense(features=3)), (2, 3), (5, 3))
    """
    linen = imported("from_linen", "flax.linen")
    errors = imported("from_linen", "flax.errors")
    if not isinstance(module, linen.Module):
        raise TypeError(f"from_linen expected a module such as nn.Dense(3) but got {described(module)}")
    checks.array("from_linen", "sample_input", sample_input)
    told = arguments("from_linen", module.__call__)
    name = f"from_linen({_written(module)})"
    floats = jnp.issubdtype(sample_input.dtype, jnp.floating)

    def init(key, /):
        variables = module.init(checks.random_key(name, key), sample_input, **modes(told, train=False))
        state = {collection: values for collection, values in variables.items() if collection != "params"}
        return variables.get("params", ()), state or ()

    def apply(params, state, x, /, *, key=None, train=False):
        x = checks.float_input(name, x) if floats else x
        variables = ({"params": params} if params else {}) | (state or {})
        options = modes(told, train)
        if not train:
            return module.apply(variables, x, **options), state
        streams = {} if key is None else {"params": checks.random_key(name, key)}  # others fall back to this one
        try:
            y, changed = module.apply(variables, x, rngs=streams, mutable=list(state), **options)
        except errors.InvalidRngError:
            checks.given_key(name, key)
            raise
        return y, {**state, **changed} if state else ()

    return Layer(init, apply, name)


def from_nnx(module: Any) -> Layer:
    """Make a layer of a Flax nnx module, [B, ...] -> what it gives for [B, ...].

    `module` is a class or function that makes it, `module(rngs=...)`: then `init(key)` makes one with
    `nnx.Rngs(key)`. Or it is a module that is there already, which is not changed: then training starts from its
    weights whatever the key, so that an ensemble's members start alike.

    params is every `nnx.Param`, state all other variables, as nested dicts; `nnx.update(module, params)` and
    `nnx.update(module, state)` put what was trained into a module. Random streams are neither: each is made anew of
    `key` at every call, stream i from `fold_in(key, i)`, so a training step is a function of its key. The mode is told
    as `module.train()` and `module.eval()` do it, or by an argument as in `from_linen`; a call that takes `rngs` gets
    them in training.

    Raises ImportError without Flax, TypeError for what makes no nnx module or asks for other arguments, ValueError in
    training for a module with random streams that gets no key.

    >>> from flax import nnx
    >>> layer = from_nnx(lambda rngs: nnx.Linear(2, 3, rngs=rngs))
    >>> params, state = layer.init(jax.random.key(0))
    >>> layer, params["kernel"].shape, layer.apply(params, state, jnp.ones((5, 2)))[0].shape
    (from_nnx(Linear), (2, 3), (5, 3))
    """
    nnx = imported("from_nnx", "flax.nnx")
    make = _maker(nnx, module)
    model = nnx.eval_shape(make, jax.random.key(0))  # shapes alone
    told = arguments("from_nnx", model.__call__, ("rngs",))
    name = f"from_nnx({type(model).__name__})"
    graphs = {}
    for train in (True, False):
        model.train() if train else model.eval()
        graphs[train] = nnx.graphdef(model)
    kinds = (nnx.Param, nnx.RngState, ...)
    _, *templates = nnx.split(model, *kinds)
    streams, others = nnx.to_flat_state(templates[1]), {path for path, _ in nnx.to_flat_state(templates[2])}
    expected = [nnx.to_pure_dict(template) for template in (templates[0], templates[2])]

    def values(variables):
        """Return variables as nested dicts of arrays, those alone that the module had from the start."""
        kept = [(path, value) for path, value in nnx.to_flat_state(variables) if path in others]
        return nnx.to_pure_dict(nnx.from_flat_state(kept)) if kept else ()

    def init(key, /):
        _, params, _, rest = nnx.split(make(checks.random_key(name, key)), *kinds)
        return nnx.to_pure_dict(params) or (), values(rest)

    def seeded(key):
        """Return the random streams of one call."""
        fresh = []
        for i, (path, stream) in enumerate(streams):
            old = stream.get_value()
            if isinstance(stream, nnx.RngKey):
                new = (
                    jax.random.split(jax.random.fold_in(key, i), old.shape) if old.shape else jax.random.fold_in(key, i)
                )
            else:
                new = jnp.zeros(old.shape, old.dtype)
            fresh.append((path, stream.replace(new)))
        return nnx.from_flat_state(fresh)

    def apply(params, state, x, /, *, key=None, train=False):
        checks.array(name, "x", x)
        options: dict[str, Any] = modes(told, train)
        if train and (streams or "rngs" in told):
            key = checks.given_key(name, key)
            if "rngs" in told:
                options["rngs"] = nnx.Rngs(jax.random.fold_in(key, len(streams)))
        else:
            key = jax.random.key(0)  # for streams that nobody asks in evaluation
        filled = []
        for what, template, given in (("params", templates[0], params), ("state", templates[2], state)):
            own_arrays(name, what, given, expected[what == "state"])
            copy = jax.tree.map(lambda leaf: leaf, template)
            nnx.replace_by_pure_dict(copy, given or {})
            filled.append(copy)
        called = nnx.merge(graphs[train], filled[0], seeded(key), filled[1])
        y = called(x, **options)
        return y, values(nnx.split(called, *kinds)[3]) if train else state

    return Layer(init, apply, name)


def _maker(nnx: Any, module: Any) -> Callable[[Any], Any]:
    """Return `key -> module`."""
    if isinstance(module, nnx.Module):
        graph, variables = nnx.split(module)
        variables = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), variables)
        return lambda key: nnx.merge(graph, variables)
    takes_rngs = not is_module(module)
    if takes_rngs:
        try:  # the class says *args, **kwargs
            call = inspect.signature(module.__init__ if isinstance(module, type) else module)
            call.bind(*(None,) * isinstance(module, type), rngs=None)
        except (TypeError, ValueError):
            takes_rngs = False
    if not takes_rngs:
        raise TypeError(
            "from_nnx expected a module, or what makes one of rngs as in from_nnx(lambda rngs: CNN(10, rngs=rngs)), "
            f"but got {described(module)}"
        )

    def make(key):
        made = module(rngs=nnx.Rngs(key))
        if not isinstance(made, nnx.Module):
            raise TypeError(
                f"from_nnx expected {checks.name_of(module)} to make an nnx module but got {described(made)}"
            )
        return made

    return make


def _written(module: Any) -> str:
    """Write a linen module as a call, with the fields that are not their defaults."""
    fields = [field for field in dataclasses.fields(module) if field.init and field.name not in ("parent", "name")]
    values = {field.name: getattr(module, field.name) for field in fields}
    given = {
        field.name: _value(values[field.name])
        for field in fields
        if field.default is dataclasses.MISSING or _value(values[field.name]) != _value(field.default)
    }
    return f"{type(module).__name__}({', '.join(f'{name}={value}' for name, value in given.items())})"


def _value(value: Any) -> str:
    """Write a field so that it reads the same in another process: no address of a function, no array."""
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_value, value))})"
    if hasattr(value, "apply") and dataclasses.is_dataclass(value):
        return _written(value)
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    return getattr(getattr(value, "func", value), "__name__", type(value).__name__)
