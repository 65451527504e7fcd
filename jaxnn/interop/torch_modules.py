"""A model's arrays as PyTorch keeps them: in which module, under which name, with which order of axes.

Which module a part is follows from its arrays alone: a dict of `weight` [in, out] and `bias` [out] is a Linear, one
with `weight` [KH, KW, in, out] a Conv2d, and so on. So the parts of `sequential`, the library's own models and a model
written by hand are read by the same few lines.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn.layers import walk
from jaxnn.types import Layer, Params, State

# Our names of the parts of an encoder layer and PyTorch's, in PyTorch's order.
ENCODER_LAYER = {"attention": "self_attn"} | {part: part for part in ("linear1", "linear2", "norm1", "norm2")}
RECURRENT = {
    "input_weight": "weight_ih",
    "recurrent_weight": "weight_hh",
    "input_bias": "bias_ih",
    "recurrent_bias": "bias_hh",
}


class Place(NamedTuple):
    """Where an array of a PyTorch module stands here, and how.

    Its `shape` in PyTorch, cut into the axes `split`, with these put into the order `axes`, joined to the shape `ours`.
    `path` is its path (as `tree.paths` has it) in `where`, "params" or "state".
    """

    where: str
    path: str
    shape: tuple[int, ...]
    split: tuple[int, ...]
    axes: tuple[int, ...]
    ours: tuple[int, ...]


class Module(NamedTuple):
    """The PyTorch module that a part of a model is: our path, what it is, and the place of each array by its name."""

    path: str
    kind: str
    places: dict[str, Place]


def here(place: Place, array: np.ndarray) -> np.ndarray:
    """Put an array of PyTorch's into our order of axes.

    >>> here(Place("params", "weight", (1, 4), (1, 2, 2), (2, 1, 0), (4, 1)), np.array([[0, 1, 2, 3]])).tolist()
    [[0], [2], [1], [3]]
    """
    return array.reshape(place.split).transpose(place.axes).reshape(place.ours)


def there(place: Place, array: np.ndarray) -> np.ndarray:
    """Put an array of ours into PyTorch's order of axes: what `here` undoes.

    >>> there(Place("params", "weight", (1, 4), (1, 2, 2), (2, 1, 0), (4, 1)), np.array([[0], [2], [1], [3]])).tolist()
    [[0, 1, 2, 3]]
    """
    turned = array.reshape([place.split[axis] for axis in place.axes])
    return turned.transpose(np.argsort(place.axes)).reshape(place.shape)


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


def torch_modules(function: str, model: Layer, params: Params, state: State, image_channels: int) -> list[Module]:
    """Return the PyTorch modules of a model, in the order of its params; `params` and `state` are `drawn_shapes`.

    Raises ValueError, in the name of `function`, for arrays that belong to no module of PyTorch.

    >>> from jaxnn.layers import linear, sequential
    >>> model = sequential(linear(4, 3), jax.nn.relu, linear(3, 2, bias=False))
    >>> [(module.path, module.kind) for module in torch_modules("from_torch", model, *drawn_shapes(model), 1)]
    [('0', 'linear'), ('2', 'linear')]
    """
    stacked = [layer.name for _, layer, _, _ in walk(model, params, state) if "repeat(" in layer.name]
    if stacked:
        raise ValueError(
            f"{function} does not know the stacked params of {stacked[0]}: write sequential(*[layer] * n) in its place"
        )
    modules, channels = [], image_channels
    for path, part, part_state in _parts(function, params, state, ""):
        module = _module(function, path, part, part_state, channels)
        modules.append(module)
        if module.kind.startswith("conv"):
            channels = module.places["weight"].shape[0]
        elif not module.kind.endswith("norm"):
            channels = 1
    return modules


def _parts(function: str, params: Any, state: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, params, state) of all parts that are a module of PyTorch, in order."""
    if not jax.tree.leaves((params, state)):
        return
    if _kind(params, state):
        yield path, params, state
        return
    parts, states = _children(params), _children(state)
    if not parts or set(states) - set(parts):
        array = getattr(params, "shape", None)
        what = "a state of its own" if array is None else f"one array of shape {array}"
        raise ValueError(f"{function} knows no module of PyTorch that has {what}{' at ' * bool(path)}{path}")
    for name, part in parts.items():
        yield from _parts(function, part, states.get(name, ()), f"{path}.{name}" if path else str(name))


def _children(node: Any) -> dict[Any, Any]:
    if isinstance(node, tuple | list):
        return dict(enumerate(node))
    return node if isinstance(node, dict) else {}


def _kind(params: Any, state: Any) -> str:
    """Return what a part is by the names of its arrays and their numbers of axes; "" for none."""
    if isinstance(params, tuple):
        layers = [one for layer in params for one in _directions(layer)]
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


def _directions(layer: Any) -> tuple[Any, ...]:
    both = isinstance(layer, dict) and set(layer) == {"forward", "backward"}
    return (layer["forward"], layer["backward"]) if both else (layer,)


def _module(function: str, path: str, params: Any, state: Any, channels: int) -> Module:
    kind = _kind(params, state)
    at = f"{path}." if path else ""
    if kind == "recurrent":
        return Module(path, kind, _recurrent(params, at))
    if kind == "transformer_encoder_layer":
        parts = {part: _module(function, f"{at}{part}", params[part], (), 1).places for part in ENCODER_LAYER}
        named = {f"{ENCODER_LAYER[part]}.{name}": place for part in parts for name, place in parts[part].items()}
        return Module(path, kind, named)
    if kind == "multi_head_attention":
        places = {"in_proj_weight": _turned(f"{at}in_weight", params["in_weight"])}
        places["in_proj_bias"] = _same(f"{at}in_bias", params["in_bias"].shape)
        out = _module(function, f"{at}out", params["out"], (), 1).places
        return Module(path, kind, places | {f"out_proj.{name}": place for name, place in out.items()})
    if kind == "learned_positions":
        shape = params["positions"].shape
        return Module(path, kind, {"": Place("params", f"{at}positions", (1, *shape), shape, (0, 1), shape)})
    if kind == "perceptron":
        size = params["weight"].shape
        weight = Place("params", f"{at}weight", (1, *size), size, (0,), size)
        return Module(path, kind, {"weight": weight, "bias": Place("params", f"{at}bias", (1,), (), (), ())})
    if kind in ("linear", "conv1d", "conv2d"):
        weight = params["weight"]
        flattened = kind == "linear" and channels > 1
        places = {"weight": _flattened(function, at, weight, channels) if flattened else _turned(f"{at}weight", weight)}
    else:
        first = "embedding" if kind == "embedding" else "scale"
        places = {"weight": _same(f"{at}{first}", params[first].shape)}
    if "bias" in params:
        places["bias"] = _same(f"{at}bias", params["bias"].shape)
    if kind == "batch_norm":
        for theirs, ours in (("running_mean", "mean"), ("running_var", "variance")):
            places[theirs] = _same(f"{at}{ours}", state[ours].shape, "state")
    return Module(path, kind, places)


def _same(path: str, shape: tuple[int, ...], where: str = "params") -> Place:
    return Place(where, path, shape, shape, tuple(range(len(shape))), shape)


def _turned(path: str, weight: Any) -> Place:
    """Place a weight [*window, in, out], which PyTorch has as [out, in, *window]."""
    *window, inputs, outputs = weight.shape
    shape = (outputs, inputs, *window)
    return Place("params", path, shape, shape, (*range(2, len(shape)), 1, 0), weight.shape)


def _flattened(function: str, at: str, weight: Any, channels: int) -> Place:
    """Place a linear weight that reads an image flattened: PyTorch's order is [C, H W], ours [H W, C]."""
    inputs, outputs = weight.shape
    if inputs % channels:
        raise ValueError(
            f"{function} cannot tell how linear({inputs}, {outputs}){' at ' * bool(at)}{at[:-1]} reads the {channels} "
            f"channels before it: {inputs} is no multiple of them"
        )
    split = (outputs, channels, inputs // channels)
    return Place("params", f"{at}weight", (outputs, inputs), split, (2, 1, 0), weight.shape)


def _recurrent(layers: tuple[Any, ...], at: str) -> dict[str, Place]:
    places = {}
    for i, layer in enumerate(layers):
        both = len(_directions(layer)) == 2
        for direction, end in (("forward.", ""), ("backward.", "_reverse")) if both else (("", ""),):
            part = layer[direction[:-1]] if both else layer
            for ours, theirs in RECURRENT.items():
                path, name = f"{at}{i}.{direction}{ours}", f"{theirs}_l{i}{end}"
                places[name] = _turned(path, part[ours]) if part[ours].ndim == 2 else _same(path, part[ours].shape)
    return places
