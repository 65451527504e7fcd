"""Weights of PyTorch, in and out. PyTorch itself is not needed and never imported."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import checks, tree
from jaxnn.interop.torch_matching import BATCHES, in_order, match, named_modules, renamed, unknown_names, whole_name
from jaxnn.interop.torch_modules import Module, Place, drawn_shapes, here, there, torch_modules
from jaxnn.training.weights import read_arrays
from jaxnn.types import Layer, Params, State

StateDict: TypeAlias = Mapping[str, Any] | str | os.PathLike[str]
"""PyTorch's names and arrays, of PyTorch or of NumPy; or the path of a .safetensors file with them."""

PICKLES = {".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar"}
PICKLE_STARTS = (b"\x80", b"PK\x03\x04")  # a pickle's protocol; the archive that torch.save writes around one


def from_torch(
    state_dict: StateDict, model: Layer, *, names: Mapping[str, str] | None = None, image_channels: int = 1
) -> tuple[Params, State]:
    """Bring the weights of a PyTorch module to `model`, which has the same layers: state_dict -> (params, state).

    `state_dict` is what `module.state_dict()` gives, or the path of a .safetensors file, which is read without PyTorch.
    Every layer and model of this library is known, and whatever `sequential` or a dict of layers makes of them. Where
    PyTorch keeps things otherwise, they are turned: linear weights [out, in], kernels [out, in, KH, KW], `weight` for
    `scale`. Options are not in a state_dict (epsilon, momentum, heads, strides): they are those of `model`.

    **Which is which.** A module goes to the layer of its kind and shapes; of several such, the first in the order of
    the state_dict, which is that of the definitions, to the first in the model. A file keeps no order, and a dict that
    was read from one has it sorted: there they are taken by number (`fc2` before `fc10`), and where their names differ
    in more than numbers, `names` must say. `names` maps our paths, or beginnings of them (as `tree.paths` has them), to
    PyTorch's names: `{"1": "hidden", "3": "out"}`, `{"encoder": "transformer"}`.

    **Images** are [B, C, H, W] in PyTorch, so what it flattens is in another order than here. A linear layer behind
    a convolution of C channels that reads S C numbers, S > 1, is taken to read them flattened, and its rows are put
    into our order. Where the images themselves are flattened (an `mlp`), nothing shows how many channels they have:
    `image_channels` says it, 3 for colour. A layer written by hand that flattens for two linear layers side by side
    is not seen through.

    Arrays are copied, and get the dtype that `model.init` gives, float32. Raises one ValueError that lists every array
    that has no place, every layer that finds none, and every shape that is not the expected one; ValueError for
    a pickle (.pt, .pth, .bin), which can run code when it is loaded; CheckpointError for a damaged file.

    >>> from jaxnn.layers import linear, sequential
    >>> state_dict = {"fc1.weight": np.ones((3, 2)), "fc1.bias": np.zeros(3), "fc2.weight": np.ones((1, 3))}
    >>> model = sequential(linear(2, 3), jax.nn.relu, linear(3, 1, bias=False))
    >>> params, state = from_torch(state_dict, model)
    >>> params[0]["weight"].shape, params[2]["weight"].shape
    ((2, 3), (3, 1))
    """
    model, own, shapes = _own_modules("from_torch", model, image_channels)
    arrays, ordered = _arrays("from_torch", "state_dict", state_dict)
    turned: dict[str, dict[str, np.ndarray]] = {"params": {}, "state": {}}
    for place, name in _places("from_torch: the state_dict", model, own, arrays, ordered, names):
        turned[place.where][place.path] = here(place, arrays[name])

    def filled(where: str, template: Any) -> Any:
        leaves = {path: jnp.array(turned[where][path], leaf.dtype) for path, leaf in tree.paths(template).items()}
        return jax.tree.map_with_path(lambda path, _: leaves[tree.path_string(path)], template)

    return filled("params", shapes[0]), filled("state", shapes[1])


def to_torch(
    params: Params,
    state: State,
    model: Layer,
    *,
    like: StateDict | None = None,
    names: Mapping[str, str] | None = None,
    image_channels: int = 1,
) -> dict[str, np.ndarray]:
    """Write a model's weights as a state_dict of PyTorch: NumPy arrays, the inverse of `from_torch`.

    The names are those of an `nn.Sequential` of the same parts, `0.weight`, with `names` in place of our paths, as in
    `from_torch`. Or they are those of `like`, the state_dict (or file) of the module that is to have the weights: then
    names, order, shapes and dtypes are its own, and what `from_torch` read comes back bit for bit. The counter
    `num_batches_tracked` of batch norm is taken from `like` too, and is 0 without it. In PyTorch:
    `module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})`.

    Raises ValueError for params or state of another model, and for a `like` that does not fit, as `from_torch` does.

    >>> from jaxnn.layers import linear, sequential
    >>> model = sequential(linear(2, 3), jax.nn.relu, linear(3, 1, bias=False))
    >>> params, state = model.init(jax.random.key(0))
    >>> {name: array.shape for name, array in to_torch(params, state, model, names={"2": "out"}).items()}
    {'0.weight': (3, 2), '0.bias': (3,), 'out.weight': (1, 3)}
    """
    model, own, shapes = _own_modules("to_torch", model, image_channels)
    leaves = {where: tree.paths(values) for where, values in (("params", params), ("state", state))}
    _refuse_other_shapes(model, leaves, shapes)
    if like is None:
        return _named(own, leaves, _checked("to_torch", names))
    arrays, ordered = _arrays("to_torch", "like", like)
    written = dict(arrays)  # in its order, and with its counters
    for place, name in _places("to_torch: like", model, own, arrays, ordered, names):
        array = there(place, np.asarray(leaves[place.where][place.path]))
        written[name] = array.reshape(arrays[name].shape).astype(arrays[name].dtype)
    return {name: _whole(array) for name, array in written.items()}


def _own_modules(function: str, model: Layer, image_channels: int) -> tuple[Layer, list[Module], tuple[Params, State]]:
    checks.positive_int(function, "image_channels", image_channels)
    model = checks.as_layer(function, model)
    shapes = drawn_shapes(model)
    return model, torch_modules(function, model, *shapes, image_channels), shapes


def _checked(function: str, names: Mapping[str, str] | None) -> Mapping[str, str]:
    if names is None:
        return {}
    if not isinstance(names, Mapping) or not all(isinstance(word, str) for pair in names.items() for word in pair):
        raise TypeError(f"{function} expected names such as {{'1': 'fc1'}}, our paths and PyTorch's, but got {names!r}")
    return names


def _places(
    what: str,
    model: Layer,
    own: list[Module],
    arrays: Mapping[str, np.ndarray],
    ordered: bool,
    names: Mapping[str, str] | None,
) -> list[tuple[Place, str]]:
    """Return each place with the name of its array; refuse arrays that are not those of the model."""
    theirs = named_modules(arrays)
    shapes = {name: array.shape for name, array in arrays.items()}
    names = _checked(what.split(":")[0], names)
    pairs, problems = match(own, theirs, shapes, names, ordered and in_order(arrays, theirs))
    if problems:
        raise ValueError(f"{what} does not fit {model.name}: {'; '.join(problems)}")
    found = [(place, theirs[name][array]) for module, name in pairs for array, place in module.places.items()]
    kinds = {name: arrays[name].dtype for _, name in found if not jnp.issubdtype(arrays[name].dtype, jnp.floating)}
    if kinds:
        listed = ", ".join(f"{name} is {kind}" for name, kind in kinds.items())
        raise ValueError(f"{what} must have floats, but {listed}")
    return found


def _named(
    own: list[Module], leaves: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Give every array the name that it has in an `nn.Sequential` of the same parts, or that `names` gives it."""
    if problems := unknown_names(own, names):
        raise ValueError(f"to_torch: {'; '.join(problems)}")
    written: dict[str, np.ndarray] = {}
    for module in own:
        new = renamed(module.path, names)
        name = module.path if new is None else new
        if any(whole_name(name, array) in written for array in module.places):
            raise ValueError(f"to_torch: names gives {name} to more than one layer")
        for array, place in module.places.items():
            written[whole_name(name, array)] = _whole(there(place, np.asarray(leaves[place.where][place.path])))
        if module.kind == "batch_norm":
            written[whole_name(name, BATCHES)] = np.zeros((), np.int64)
    return written


def _whole(array: np.ndarray) -> np.ndarray:
    """Copy an array in the order of its axes: safetensors writes the bytes of any other one as they lie, wrongly."""
    return np.array(array, order="C")


def _refuse_other_shapes(model: Layer, leaves: Mapping[str, Mapping[str, Any]], shapes: tuple[Params, State]) -> None:
    problems = []
    for (where, given), template in zip(leaves.items(), shapes, strict=True):
        expected = {path: leaf.shape for path, leaf in tree.paths(template).items()}
        found = {path: np.shape(leaf) for path, leaf in given.items()}
        problems += [f"{where} {path} is missing" for path in expected if path not in found]
        problems += [f"{where} {path} is one too many" for path in found if path not in expected]
        problems += [
            f"{where} {path} is {found[path]} where {shape} is expected"
            for path, shape in expected.items()
            if found.get(path, shape) != shape
        ]
    if problems:
        raise ValueError(f"to_torch expected params and state of {model.name}, but {'; '.join(problems)}")


def _arrays(function: str, what: str, given: Any) -> tuple[dict[str, np.ndarray], bool]:
    """Return NumPy arrays by their names, and whether they stand in an order that says anything."""
    if isinstance(given, str | os.PathLike):
        return _read(function, Path(given)), False
    if not isinstance(given, Mapping):
        hint = ": pass module.state_dict()" if hasattr(given, "state_dict") else ""
        got = type(given).__name__
        raise TypeError(f"{function} expected {what} to be a dict of arrays or a path but got {got}{hint}")
    arrays = {name: _array(value) for name, value in given.items() if isinstance(name, str)}
    wrong = [f"{name} is {type(given[name]).__name__}" for name in given if arrays.get(name) is None]
    if wrong:
        hint = ""
        inner = [name for name, value in given.items() if isinstance(value, Mapping)]
        if inner:
            hint = f": is the state_dict inside, at {inner[0]!r}?"
        raise TypeError(f"{function} expected {what} to hold arrays, but {', '.join(wrong)}{hint}")
    return {name: array for name, array in arrays.items() if array is not None}, True


def _array(value: Any) -> np.ndarray | None:
    """Return an array of NumPy, of JAX or of PyTorch as one of NumPy, None for anything else.

    PyTorch's floats that NumPy does not have (bfloat16) come as float32, which holds all of them.
    """
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return np.asarray(value)
    if not all(callable(getattr(value, method, None)) for method in ("detach", "cpu", "numpy")):
        return None
    tensor: Any = value.detach().cpu()
    if tensor.is_floating_point() and str(tensor.dtype) not in ("torch.float16", "torch.float32", "torch.float64"):
        tensor = tensor.float()
    return tensor.numpy()


def _read(function: str, path: Path) -> dict[str, np.ndarray]:
    pickled = path.suffix.lower() in PICKLES
    if not pickled:
        with path.open("rb") as file:
            start = file.read(8)  # a safetensors file begins with the length of its header, far below 2**32
        pickled = start.startswith(PICKLE_STARTS) and any(start[4:])
    if pickled:
        raise ValueError(
            f"{function} does not read {path}: it is a pickle, and loading one can run any code. In PyTorch, write "
            'safetensors.torch.save_file(module.state_dict(), "model.safetensors"), and pass that path'
        )
    arrays, about = read_arrays(path)
    if about:
        raise ValueError(f"{function} got {path}, which jaxnn wrote under its own names: read it with load_weights")
    return arrays
