"""Which layer each part of a model is, seen from its arrays alone.

A dict of `weight` [in, out] and `bias` [out] is a linear layer, one with `weight` [KH, KW, in, out] a convolution, and
so on. So the parts of `sequential`, the library's own models and one written by hand are read by the same few lines.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from jaxnn import tree
from jaxnn.layers import walk
from jaxnn.types import Layer, Params, State

ENCODER_LAYER = ("attention", "linear1", "linear2", "norm1", "norm2")
RECURRENT = ("input_weight", "recurrent_weight", "input_bias", "recurrent_bias")


def drawn_shapes(model: Layer) -> tuple[Params, State]:
    """Return the shapes of (params, state), dicts in the order in which `init` makes them; nothing is drawn.

    JAX sorts the names of a dict wherever it takes a tree apart, and so loses the order of a model's parts.

    >>> from jaxnn.layers import linear
    >>> drawn_shapes(linear(2, 3))[0]["weight"].shape
    (2, 3)
    """
    drawn = []

    def init(key):
        params, state = model.init(key)
        drawn.append((_structs(params), _structs(state)))
        return params, state

    jax.eval_shape(init, jax.random.key(0))
    return drawn[0]


def _structs(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _structs(value) for name, value in node.items()}
    if isinstance(node, tuple | list):
        return type(node)(_structs(value) for value in node)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), node)


def refuse_other_shapes(function: str, model: Layer, given: Mapping[str, Any], shapes: tuple[Params, State]) -> None:
    """Refuse `given` params and state that are not of this model, with all differences at once.

    >>> from jaxnn.layers import linear
    >>> refuse_other_shapes("to_torch", linear(2, 1), {"params": {}, "state": ()}, ({"bias": np.zeros(1)}, ()))
    Traceback (most recent call last):
    ValueError: to_torch expected params and state of linear(2, 1), but params bias is missing
    """
    problems = []
    for (where, values), template in zip(given.items(), shapes, strict=True):
        expected = {path: leaf.shape for path, leaf in tree.paths(template).items()}
        found = {path: np.shape(leaf) for path, leaf in tree.paths(values).items()}
        problems += [f"{where} {path} is missing" for path in expected if path not in found]
        problems += [f"{where} {path} is one too many" for path in found if path not in expected]
        problems += [
            f"{where} {path} is {found[path]} where {shape} is expected"
            for path, shape in expected.items()
            if found.get(path, shape) != shape
        ]
    if problems:
        raise ValueError(f"{function} expected params and state of {model.name}, but {'; '.join(problems)}")


def known_parts(function: str, model: Layer, params: Params, state: State) -> Iterator[tuple[str, Params, State]]:
    """Yield (path, params, state) of all parts that are a layer of a known kind, in the order of the params.

    Raises ValueError, in the name of `function`, for arrays that belong to no such layer.

    >>> from jaxnn.layers import linear, sequential
    >>> model = sequential(linear(4, 3), jax.nn.relu, linear(3, 2, bias=False))
    >>> [path for path, _, _ in known_parts("from_torch", model, *drawn_shapes(model))]
    ['0', '2']
    """
    stacked = [layer.name for _, layer, _, _ in walk(model, params, state) if "repeat(" in layer.name]
    if stacked:
        raise ValueError(
            f"{function} does not know the stacked params of {stacked[0]}: write sequential(*[layer] * n) in its place"
        )
    yield from _parts(function, params, state, "")


def _parts(function: str, params: Any, state: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if not jax.tree.leaves((params, state)):
        return
    if kind_of(params, state):
        yield path, params, state
        return
    parts, states = _children(params), _children(state)
    if not parts or set(states) - set(parts):
        array = getattr(params, "shape", None)
        what = "a state of its own" if array is None else f"one array of shape {array}"
        raise ValueError(f"{function} knows no layer that has {what}{' at ' * bool(path)}{path}")
    for name, part in parts.items():
        yield from _parts(function, part, states.get(name, ()), f"{path}.{name}" if path else str(name))


def _children(node: Any) -> dict[Any, Any]:
    if isinstance(node, tuple | list):
        return dict(enumerate(node))
    return node if isinstance(node, dict) else {}


def kind_of(params: Any, state: Any) -> str:
    """Return what a part is by the names of its arrays and their numbers of axes; "" for none.

    >>> from jaxnn.layers import linear
    >>> kind_of(*drawn_shapes(linear(2, 3)))
    'linear'
    """
    if isinstance(params, tuple):
        layers = [one for layer in params for one in directions(layer)]
        names = [set(layer) if isinstance(layer, dict) else set() for layer in layers]
        return "recurrent" if names and all(each == set(RECURRENT) for each in names) else ""
    if not isinstance(params, dict):
        return ""
    if set(params) == set(ENCODER_LAYER):
        return "transformer_encoder_layer"
    if set(params) == {"in_weight", "in_bias", "out"}:
        return "multi_head_attention"
    axes = {name: getattr(leaf, "ndim", -1) for name, leaf in params.items()}
    if axes == {"scale": 1, "bias": 1}:
        return "batch_norm" if isinstance(state, dict) and set(state) == {"mean", "variance"} else "layer or group norm"
    if axes == {"weight": 1, "bias": 0}:
        return "perceptron"
    if axes in ({"embedding": 2}, {"positions": 2}):
        return "embedding" if "embedding" in axes else "learned_positions"
    if axes == {"scale": 1}:
        return "rms_norm"
    if set(axes) <= {"weight", "bias"} and axes.get("bias", 1) == 1:
        return {2: "linear", 3: "conv1d", 4: "conv2d"}.get(axes.get("weight", -1), "")
    return ""


def directions(layer: Any) -> tuple[Any, ...]:
    """Return the one or two dicts of a layer of a recurrent network.

    >>> directions({"forward": 1, "backward": 2}), directions({"input_weight": 3})
    ((1, 2), ({'input_weight': 3},))
    """
    both = isinstance(layer, dict) and set(layer) == {"forward", "backward"}
    return (layer["forward"], layer["backward"]) if both else (layer,)
