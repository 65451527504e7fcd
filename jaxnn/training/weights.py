"""Weights alone, in a file that any framework reads: safetensors."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from jaxnn import tree
from jaxnn.files import write_whole
from jaxnn.training.checkpoint import CheckpointError
from jaxnn.training.forms import forms, refuse_other_forms
from jaxnn.types import Layer, Params, State

# The format's names of the dtypes that are read and written.
DTYPES = {
    "BOOL": "bool",
    **{f"{kind}{bits}": f"{name}{bits}" for kind, name in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)},
    **{"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "C64": "complex64"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"},
}


def save_weights(
    path: str | os.PathLike[str], params: Params, state: State = (), *, model: Layer | None = None
) -> Path:
    """Write parameters and state to one safetensors file, under the names params.<path> and state.<path>.

    The file is written beside and renamed, in place of one that is there, so that it is whole or not at all. Its
    metadata hold the model's name (if it is given), the version of jaxnn, and a SHA-256 over names, dtypes, shapes and
    every bit, which the format itself does not have. A random key is written as its words, uint32.

    Returns the path. Raises OSError, naming the path; TypeError for a dtype that the format does not have; ValueError
    for two arrays under one path. The format: Hugging Face, 2022, safetensors.

    >>> import tempfile
    >>> from jaxnn.layers import linear
    >>> params, state = linear(2, 3).init(jax.random.key(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_weights(f"{folder}/linear.safetensors", params, state, model=linear(2, 3))
    ...     loaded, _ = load_weights(path, like=(params, state))
    >>> bool((loaded["weight"] == params["weight"]).all())
    True
    """
    from safetensors.numpy import save

    values = jax.tree.map(_words, {"params": params, "state": state})
    for name, (dtype, _) in forms(values).items():
        if dtype not in DTYPES.values():
            raise TypeError(f"save_weights: {name} is {dtype}, which safetensors does not have")
    arrays = {name: np.asarray(jnp.asarray(leaf), order="C") for name, leaf in tree.paths(values).items()}
    about = {"version": jaxnn.__version__, "model": model.name if model else ""}
    about["sha256"] = _digest(arrays, about)
    return write_whole(path, save(arrays, metadata={"jaxnn": json.dumps(about)}))  # one entry: they come in any order


def load_weights(path: str | os.PathLike[str], like: tuple[Params, State]) -> tuple[Params, State]:
    """Read (params, state) from a safetensors file, into the structure, shapes and dtypes of `like`.

    `like` is what `model.init(key)` gives, or without drawing any numbers `jax.eval_shape(model.init, key)`. The
    whole file is checked before anything is returned: its header, and against its SHA-256, which files that were not
    written by `save_weights` do not have.

    Raises FileNotFoundError; CheckpointError for a file that is damaged or no safetensors; ValueError that lists
    every missing, extra and mis-shaped array when the file is of another model.

    >>> load_weights("no/such/file", like=({}, ()))
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: 'no/such/file'
    """
    if not isinstance(like, tuple) or len(like) != 2:
        got = f"a tuple of {len(like)}" if isinstance(like, tuple) else type(like).__name__
        raise TypeError(f"load_weights expected like to be the pair (params, state), as init gives it, but got {got}")
    arrays, about = read_arrays(path)
    wanted = {"params": like[0], "state": like[1]}
    found = {name: [str(array.dtype), list(array.shape)] for name, array in arrays.items()}
    model = f", {about['model']}" if about.get("model") else ""
    expected = forms(jax.eval_shape(lambda values: jax.tree.map(_words, values), wanted))
    refuse_other_forms(f"{path} is of another model{model}", found, expected)
    leaves = [_like(jnp.asarray(arrays[name]), leaf) for name, leaf in tree.paths(wanted).items()]
    loaded = jax.tree.unflatten(jax.tree.structure(wanted), leaves)
    return loaded["params"], loaded["state"]


def read_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read a safetensors file of any program: its arrays by their names, and what `save_weights` said about them.

    All of it is verified. The arrays come in the order of their names, since the format keeps none; what is said is
    empty for a file that `save_weights` did not write. Raises FileNotFoundError; CheckpointError for a file that is
    damaged or no safetensors.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     arrays, about = read_arrays(save_weights(f"{folder}/weights", {"bias": np.ones(2, np.float32)}))
    >>> list(arrays), sorted(about)
    (['params.bias'], ['model', 'version'])
    """
    from safetensors import SafetensorError, deserialize

    content = Path(path).read_bytes()
    try:
        tensors = deserialize(content)  # verifies length and header, and that the arrays fill the file without overlap
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged, or no safetensors file: {error}") from error
    arrays = {}
    for name, tensor in sorted(tensors, key=lambda tensor: tensor[0]):
        if tensor["dtype"] not in DTYPES:
            raise CheckpointError(f"{path} is of another program or damaged: {name} is {tensor['dtype']}")
        dtype = jnp.dtype(DTYPES[tensor["dtype"]])
        arrays[name] = np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about = header.get("__metadata__", {}).get("jaxnn")
    if about is None:
        return arrays, {}
    try:
        about = json.loads(about)
        right = about.pop("sha256") == _digest(arrays, about)
    except (ValueError, KeyError, AttributeError, TypeError):  # the metadata are what is damaged
        right = False
    if not right:
        raise CheckpointError(f"{path} is damaged: its arrays have not the SHA-256 in its metadata")
    return arrays, about


def _digest(arrays: Mapping[str, np.ndarray], about: Mapping[str, str]) -> str:
    return hashlib.sha256(f"{json.dumps(about)} {tree.sha256(dict(arrays))}".encode()).hexdigest()


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(getattr(leaf, "dtype", None), jax.dtypes.prng_key)


def _words(leaf: Any) -> Any:
    """Give a random key as its words, and everything else as it is."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _like(array: jax.Array, leaf: Any) -> jax.Array:
    if not _is_key(leaf):
        return array
    return jax.random.wrap_key_data(array, impl=jax.random.key_impl(jnp.empty(0, leaf.dtype)))
