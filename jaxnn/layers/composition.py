"""Layers made of layers: one after another, and around a shortcut; and a walk through what is inside."""

from collections.abc import Iterator
from typing import Any

import jax

from jaxnn import checks
from jaxnn.types import Layer, LayerLike, Params, State


def sequential(*parts: LayerLike, name: str | None = None) -> Layer:
    """Make the layer that feeds x through the parts in order; a plain function `x -> y` is a part too.

    params and state are tuples with one entry a part. Part i draws its parameters, and its randomness in training,
    from `fold_in(key, i)`. Only `key` and `train` are forwarded. `name` replaces the list of parts in the repr, for
    a model that has a constructor of its own. Raises TypeError for a part that is neither, such as `dropout` where
    `dropout(0.2)` was meant.

    >>> import jax.numpy as jnp
    >>> from jaxnn.layers import linear
    >>> model = sequential(linear(4, 3), jax.nn.relu, linear(3, 2))
    >>> params, state = model.init(jax.random.key(0))
    >>> model, model.apply(params, state, jnp.ones((5, 4)))[0].shape
    (sequential(linear(4, 3), relu, linear(3, 2)), (5, 2))
    """
    layers = tuple(checks.as_layer("sequential", part, i) for i, part in enumerate(parts))
    if not layers:
        raise ValueError("sequential expected at least one part")

    def init(key, /):
        checks.random_key(model.name, key)
        drawn = [layer.init(jax.random.fold_in(key, i)) for i, layer in enumerate(layers)]
        return tuple(params for params, _ in drawn), tuple(state for _, state in drawn)

    def apply(params, state, x, /, *, key=None, train=False):
        checks.one_entry_per_part(model.name, params, state, len(layers))
        if key is not None:
            checks.random_key(model.name, key)
        states = []
        for i, layer in enumerate(layers):
            part_key = None if key is None else jax.random.fold_in(key, i)
            x, part_state = layer.apply(params[i], state[i], x, key=part_key, train=train)
            states.append(part_state)
        return x, tuple(states)

    model = Layer(init, apply, name or f"sequential({', '.join(layer.name for layer in layers)})", layers)
    return model


def residual(inner: LayerLike) -> Layer:
    """Make the layer y = x + inner(x); params, state, key and mode are those of the inner layer.

    Raises ValueError when the inner layer changes the shape. He, Zhang, Ren, Sun, 2016, Deep Residual Learning for
    Image Recognition.

    >>> import jax.numpy as jnp
    >>> residual(jnp.zeros_like).apply((), (), jnp.ones(2))[0].tolist()
    [1.0, 1.0]
    """
    layer = checks.as_layer("residual", inner)
    name = f"residual({layer.name})"

    def apply(params, state, x, /, *, key=None, train=False):
        y, state = layer.apply(params, state, x, key=key, train=train)
        checks.same_shape(name, x, y)
        return x + y, state

    return Layer(layer.init, apply, name)


def walk(model: Layer, params: Params, state: State, path: str = "") -> Iterator[tuple[str, Layer, Params, State]]:
    """Yield (path, layer, params, state) of every innermost part in the order of the computation.

    The path is the part's index, nested ones joined by dots: the beginning of its parameters' paths in `tree.paths`.
    A model without parts is its own only part, with the path "".

    >>> from jaxnn.layers import linear
    >>> model = sequential(linear(4, 3), sequential(jax.nn.relu, linear(3, 2)))
    >>> [(path, layer) for path, layer, _, _ in walk(model, *model.init(jax.random.key(0)))]
    [('0', linear(4, 3)), ('1.0', relu), ('1.1', linear(3, 2))]
    """
    if not model.parts:
        yield path, model, params, state
    for i, part in enumerate(model.parts):
        yield from walk(part, params[i], state[i], f"{path}.{i}" if path else str(i))


def activations(model: Layer, params: Params, state: State, x: Any) -> list[tuple[str, Any]]:
    """Return (path, output) of every innermost part in evaluation mode; the last output is the model's.

    The paths are those of `walk`.

    >>> import jax.numpy as jnp
    >>> from jaxnn.layers import linear
    >>> model = sequential(linear(4, 3), jax.nn.relu)
    >>> [(path, y.shape) for path, y in activations(model, *model.init(jax.random.key(0)), jnp.ones((5, 4)))]
    [('0', (5, 3)), ('1', (5, 3))]
    """
    outputs = []
    for path, layer, layer_params, layer_state in walk(model, params, state):
        x, _ = layer.apply(layer_params, layer_state, x)
        outputs.append((path, x))
    return outputs
