"""A trained model as one file that runs without this library: StableHLO for JAX and XLA, ONNX for everything else.

The file is the whole model: what normalises the inputs is part of it, and the parameters are constants in it. It takes
what the model takes (images as bytes, features, tokens), any number of examples at once, and gives what the model
gives: for the classifiers of this library logits, whose softmax are probabilities.
"""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxnn import checks
from jaxnn.files import write_whole
from jaxnn.types import Layer, Params, State

PLATFORMS = ("cpu", "cuda", "tpu")
"""What one StableHLO file runs on."""


def save_stablehlo(
    path: str | os.PathLike[str],
    model: Layer,
    params: Params,
    state: State,
    inputs: Any,
    *,
    platforms: Sequence[str] = PLATFORMS,
) -> Path:
    """Write the model in evaluation mode as StableHLO, a program [B, ...] -> outputs for any batch size B.

    `inputs` are a few of its inputs [N, ...], or a `jax.ShapeDtypeStruct` of them; only the shape behind the first axis
    and the dtype are used. The file is written whole or not at all, in place of one that is there. JAX alone runs it,
    here and for six months of newer versions (it needs flatbuffers to read the file):

        exported = jax.export.deserialize(bytearray(open(path, "rb").read()))
        logits = exported.call(inputs)

    Returns the path. Raises ValueError for a model that does not take these inputs or fixes the number of examples,
    NotImplementedError, naming the primitive, for one that a platform has no translation of, OSError for the file.

    >>> import tempfile
    >>> from jaxnn.layers import linear
    >>> params, state = linear(3, 2).init(jax.random.key(0))
    >>> path = save_stablehlo(f"{tempfile.mkdtemp()}/linear.stablehlo", linear(3, 2), params, state, np.ones((1, 3)))
    >>> jax.export.deserialize(bytearray(path.read_bytes())).call(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """
    return write_whole(path, stablehlo("save_stablehlo", model, params, state, inputs, platforms))


def stablehlo(
    function: str, model: Layer, params: Params, state: State, inputs: Any, platforms: Sequence[str] = PLATFORMS
) -> bytes:
    """Return what `save_stablehlo` writes; `function` is named in errors.

    >>> content = stablehlo("f", checks.as_layer("f", jax.nn.relu), (), (), np.ones((1, 3)))
    >>> jax.export.deserialize(bytearray(content)).platforms
    ('cpu', 'cuda', 'tpu')
    """
    import jax.export

    (batch,) = jax.export.symbolic_shape("batch")
    shape, dtype = _form(function, inputs)
    program = jax.jit(_program(function, model, params, state))
    exported = jax.export.export(program, platforms=platforms)(jax.ShapeDtypeStruct((batch, *shape), dtype))
    try:
        return bytes(exported.serialize())
    except ImportError as error:
        raise ImportError(f"{function} needs flatbuffers: pip install flatbuffers") from error


def save_onnx(path: str | os.PathLike[str], model: Layer, params: Params, state: State, inputs: Any) -> Path:
    """Write the model in evaluation mode as ONNX, a graph [B, ...] -> outputs for any batch size B.

    `inputs` are those of `save_stablehlo`. The graph has one input, "inputs", and one output, "outputs", and runs in
    onnxruntime, in browsers, on phones. The converter is jax2onnx: `pip install 'jaxnn[export]'`.

    Returns the path. Raises ImportError without the converter; ValueError for a model that does not take these inputs;
    NotImplementedError, with the converter's words, for an operation that it does not know; OSError for the file.

    >>> save_onnx("model.onnx", jax.nn.relu, (), (), np.ones((1, 3)))  # doctest: +SKIP
    PosixPath('model.onnx')
    """
    shape, dtype = _form("save_onnx", inputs)
    program = _program("save_onnx", model, params, state)
    jax.eval_shape(program, jax.ShapeDtypeStruct((1, *shape), dtype))  # the model's own errors first
    try:
        from jax2onnx import to_onnx  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(f"save_onnx needs jax2onnx ({error}): pip install 'jaxnn[export]'") from error
    taken = [jax.ShapeDtypeStruct(("batch", *shape), dtype)]  # the converter's form of a symbolic axis
    chatter = logging.getLogger("onnx_ir")  # warns of each shape inside the graph that it leaves out
    level = chatter.level
    chatter.setLevel(logging.ERROR)
    try:
        graph = to_onnx(program, inputs=taken, model_name="jaxnn", input_names=["inputs"], output_names=["outputs"])
    except Exception as error:  # of many kinds: it says so in its own words
        raise NotImplementedError(
            f"save_onnx: jax2onnx cannot convert {model.name} with jax {jax.__version__}: {error}"
        ) from error
    finally:
        chatter.setLevel(level)
    return write_whole(path, graph.SerializeToString())


def _program(function: str, model: Layer, params: Params, state: State) -> Callable[[Any], Any]:
    apply = checks.as_layer(function, model).apply
    return lambda inputs: apply(params, state, inputs)[0]


def _form(function: str, inputs: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Return the shape of one example, and the dtype in which JAX holds it."""
    if not hasattr(inputs, "shape") or not hasattr(inputs, "dtype"):
        raise TypeError(f"{function} expected an array of inputs, or their ShapeDtypeStruct, but got {inputs!r:.60}")
    if len(inputs.shape) == 0:
        raise ValueError(f"{function} expected inputs with the examples on axis 0 but got a single number")
    return tuple(inputs.shape[1:]), jax.dtypes.canonicalize_dtype(inputs.dtype)
