"""A model's arrays as PyTorch keeps them: in which module, under which name, with which order of axes."""

from typing import Any, NamedTuple

import numpy as np

from jaxnn.interop.parts import ENCODER_LAYER, directions, kind_of, known_parts
from jaxnn.types import Layer, Params, State

# PyTorch's names of the parts of an encoder layer, in its order.
NAMES = {part: "self_attn" if part == "attention" else part for part in ENCODER_LAYER}
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


def torch_modules(function: str, model: Layer, params: Params, state: State, image_channels: int) -> list[Module]:
    """Return the PyTorch modules of a model, in the order of its params; `params` and `state` are `drawn_shapes`.

    Raises what `known_parts` does, in the name of `function`.

    >>> import jax
    >>> from jaxnn.interop.parts import drawn_shapes
    >>> from jaxnn.layers import linear, sequential
    >>> model = sequential(linear(4, 3), jax.nn.relu, linear(3, 2, bias=False))
    >>> [(module.path, module.kind) for module in torch_modules("from_torch", model, *drawn_shapes(model), 1)]
    [('0', 'linear'), ('2', 'linear')]
    """
    modules, channels = [], image_channels
    for path, part, part_state in known_parts(function, model, params, state):
        module = _module(function, path, part, part_state, channels)
        modules.append(module)
        if module.kind.startswith("conv"):
            channels = module.places["weight"].shape[0]
        elif not module.kind.endswith("norm"):
            channels = 1
    return modules


def _module(function: str, path: str, params: Any, state: Any, channels: int) -> Module:
    kind = kind_of(params, state)
    at = f"{path}." if path else ""
    if kind == "recurrent":
        return Module(path, kind, _recurrent(params, at))
    if kind == "transformer_encoder_layer":
        parts = {part: _module(function, f"{at}{part}", params[part], (), 1).places for part in ENCODER_LAYER}
        named = {f"{NAMES[part]}.{name}": place for part in parts for name, place in parts[part].items()}
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
        both = len(directions(layer)) == 2
        for direction, end in (("forward.", ""), ("backward.", "_reverse")) if both else (("", ""),):
            part = layer[direction[:-1]] if both else layer
            for ours, theirs in RECURRENT.items():
                path, name = f"{at}{i}.{direction}{ours}", f"{theirs}_l{i}{end}"
                places[name] = _turned(path, part[ours]) if part[ours].ndim == 2 else _same(path, part[ours].shape)
    return places
