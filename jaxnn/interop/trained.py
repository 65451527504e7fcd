"""A trained classifier in a folder: the program that computes it, and the names of what goes in and comes out.

`model.stablehlo` is the whole network, `labels.json` says in plain JSON which classes it knows and what it reads. Both
are read without any code of the model: nothing is unpickled, nothing is evaluated, and a program that calls out of
StableHLO is refused.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from jaxnn.data.frame import Frame
from jaxnn.data.text import PAD, TOKEN, UNKNOWN
from jaxnn.files import write_whole
from jaxnn.interop.export import stablehlo
from jaxnn.types import Layer, Params, State

PROGRAM, LABELS = "model.stablehlo", "labels.json"
FORMAT = 1  # of labels.json
BATCH = 500  # examples at a time

TOKENISATION = {"lower_case": True, "token": TOKEN, "padding": PAD, "unknown": UNKNOWN}
"""How a text becomes tokens, as labels.json says it: `re.findall(token, text.lower())`, each token its place in the
vocabulary or `unknown`, then `padding` up to the length."""


class Trained(NamedTuple):
    """A trained classifier that was read from a folder.

    `program` takes inputs [N, *shape] of `dtype` and gives logits [N, classes]. `frame` says how images lie; the
    vocabulary has the word of each token.
    """

    program: Callable[[Any], Any]
    model: str
    dataset: str
    class_names: tuple[str, ...]
    kind: Literal["image", "text", "features"]
    shape: tuple[int, ...]
    dtype: str
    frame: Frame | None = None
    vocabulary: tuple[str, ...] = ()


def save_trained(
    folder: str | os.PathLike[str],
    model: Layer,
    params: Params,
    state: State,
    inputs: Any,
    class_names: Sequence[str],
    *,
    dataset: str = "",
    frame: Frame | None = None,
    vocabulary: Sequence[str] = (),
) -> Path:
    """Write a trained classifier into a folder for `load_trained`, `python -m jaxnn predict` and `demo`.

    `inputs` are a few of its inputs: bytes [N, H, W, C] are images (`frame` says how they lie), integers with a
    vocabulary are texts, and all else are features. The outputs must be logits [N, classes].

    Returns the folder. Raises what `save_stablehlo` raises, and ValueError for another number of class names.

    >>> import tempfile
    >>> from jaxnn.layers import linear
    >>> params, state = linear(3, 2).init(jax.random.key(0))
    >>> folder = save_trained(tempfile.mkdtemp(), linear(3, 2), params, state, np.ones((1, 3)), ["cat", "dog"])
    >>> sorted(path.name for path in folder.iterdir())
    ['labels.json', 'model.stablehlo']
    """
    folder = Path(folder)
    content = stablehlo("save_trained", model, params, state, inputs)
    exported = _exported(content)
    reads, gives = exported.in_avals[0], exported.out_avals[0]
    if gives.shape[1:] != (len(class_names),):
        raise ValueError(
            f"save_trained expected {model.name} to give logits [N, {len(class_names)}], one for each class name, "
            f"but it gives {gives.shape}"
        )
    shape = list(reads.shape[1:])
    form = {"kind": "features", "shape": shape, "dtype": str(reads.dtype)}
    if vocabulary:
        form |= {"kind": "text", **TOKENISATION, "vocabulary": list(vocabulary)}
    elif reads.dtype == np.uint8 and len(shape) == 3:
        form |= {"kind": "image", "frame": frame and frame._asdict()}
    labels = {
        "format": FORMAT,
        "model": model.name,
        "dataset": dataset,
        "class_names": list(class_names),
        "outputs": "logits",
        "inputs": form,
        "program": {"file": PROGRAM, "sha256": hashlib.sha256(content).hexdigest(), "jax": jax.__version__},
        "jaxnn": jaxnn.__version__,
    }
    write_whole(folder / PROGRAM, content)
    write_whole(folder / LABELS, (json.dumps(labels, indent=1) + "\n").encode())
    return folder


def load_trained(folder: str | os.PathLike[str]) -> Trained:
    """Read what `save_trained` wrote.

    Raises FileNotFoundError, naming what is missing and how it comes there, and ValueError, naming the file, for one
    that is damaged, of another version, or calls what is no part of StableHLO.

    >>> import tempfile
    >>> from jaxnn.layers import linear
    >>> params, state = linear(3, 2).init(jax.random.key(0))
    >>> folder = save_trained(tempfile.mkdtemp(), linear(3, 2), params, state, np.ones((1, 3)), ["cat", "dog"])
    >>> load_trained(folder).class_names
    ('cat', 'dog')
    """
    folder = Path(folder)
    path = folder / LABELS
    for file in (path, folder / PROGRAM):
        if not file.is_file():
            raise FileNotFoundError(f"{folder} has no {file.name}: {_way_out(folder)}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        trained, program = _labels(values)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is damaged, or not of this version of jaxnn ({reason}): train again") from error
    content = (folder / PROGRAM).read_bytes()
    if hashlib.sha256(content).hexdigest() != program["sha256"]:
        raise ValueError(f"{folder / PROGRAM} is damaged, or not of this run: it has not the SHA-256 in {LABELS}")
    try:
        exported = _exported(content)
    except Exception as error:  # of many kinds
        raise ValueError(
            f"{folder / PROGRAM}, written with jax {program['jax']}, cannot be used with jax {jax.__version__}: {error}"
        ) from error
    reads, gives = (str(avals[0]) for avals in (exported.in_avals, exported.out_avals))
    form = f"{jnp.dtype(trained.dtype).name}[batch,{','.join(map(str, trained.shape))}]"
    if reads != form or not gives.endswith(f"[batch,{len(trained.class_names)}]"):
        raise ValueError(
            f"{path} says {form} -> {len(trained.class_names)} classes but {PROGRAM} is {reads} -> {gives}"
        )
    return trained._replace(program=jax.jit(exported.call))


def probabilities(trained: Trained, inputs: Any) -> np.ndarray:
    """Compute the probability of each class for every input, [N, *shape] -> float64 [N, classes].

    >>> trained = Trained(lambda x: x, "", "", ("cat", "dog"), "features", (2,), "float32")
    >>> probabilities(trained, np.zeros((1, 2))).tolist()
    [[0.5, 0.5]]
    """
    inputs = np.asarray(inputs, trained.dtype)
    size = min(len(inputs), BATCH)
    outputs = []
    for start in range(0, len(inputs), size or 1):
        batch = inputs[start : start + size]
        whole = np.resize(batch, (size, *batch.shape[1:]))  # a short last batch would be compiled anew
        outputs.append(np.asarray(trained.program(whole), np.float64)[: len(batch)])
    logits = np.concatenate(outputs) if outputs else np.zeros((0, len(trained.class_names)))
    powers = np.exp(logits - logits.max(-1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(-1, keepdims=True)


def _exported(content: bytes) -> Any:
    """Read a program, and refuse one that calls anything but the check of the batch size that JAX puts in itself."""
    import jax.export

    exported = jax.export.deserialize(bytearray(content))
    text = exported.mlir_module()
    if text.count("custom_call") != text.count("custom_call @shape_assertion("):
        raise ValueError("it calls code outside of StableHLO, as no exported network does")
    return exported


def _labels(values: Mapping[str, Any]) -> tuple[Trained, Mapping[str, str]]:
    """Check and take apart what labels.json says."""
    if values["format"] != FORMAT:
        raise ValueError(f"format {values['format']!r}, this version reads {FORMAT}")
    names, form, program = _words(values["class_names"]), values["inputs"], values["program"]
    shape, frame, vocabulary = tuple(form["shape"]), None, ()
    if form["kind"] not in ("image", "text", "features") or not all(type(size) is int for size in shape):
        raise ValueError(f"inputs of kind {form['kind']!r} and shape {shape}")
    if form["kind"] == "text":
        if {name: form[name] for name in TOKENISATION} != TOKENISATION:
            raise ValueError("texts are cut into tokens in another way")
        vocabulary = _words(form["vocabulary"])
    elif form["kind"] == "image" and form["frame"] is not None:
        frame = Frame(tuple(form["frame"]["size"]), form["frame"]["box"], form["frame"]["centre"])
        if frame.size != shape[:2] or type(frame.box) is not int or not 0 < frame.box <= min(frame.size):
            raise ValueError(f"frame {frame} for images of {shape}")
    model, dataset = _words([values["model"], values["dataset"]])
    _words([program["sha256"], program["jax"]])
    return Trained(len, model, dataset, names, form["kind"], shape, form["dtype"], frame, vocabulary), program


def _words(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise ValueError(f"expected a list of words but found {values!r:.60}")
    return tuple(values)


def _way_out(folder: Path) -> str:
    if not folder.is_dir():
        return "there is no such folder" if not folder.exists() else "it is a file, give the folder of a finished run"
    if (folder / "config.json").is_file():
        return (
            "the run is not finished, or is one of an experiment that keeps no network "
            "(mnist, images, text and sequences keep one)"
        )
    return "give the output folder of a finished run, as runs/mnist after python -m experiments.mnist"
