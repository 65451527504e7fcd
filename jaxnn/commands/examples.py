"""The files that `python -m jaxnn predict` takes, as inputs of a trained network."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.commands.pictures import read_picture
from jaxnn.data.text import UNKNOWN, encode, pad, text_lines
from jaxnn.interop.trained import Trained

EXPECTED = {
    "image": "a picture (.png, .jpg) or an array of images (.npy)",
    "text": "a text file with a text a line",
    "features": "an array (.npy)",
}


class Examples(NamedTuple):
    """Inputs [N, ...] of a network, the name of each, the beginning of each text, and what was done to them."""

    inputs: np.ndarray
    names: list[str]
    texts: list[str]
    notes: list[str]


def read_examples(path: str | os.PathLike[str], trained: Trained) -> Examples:
    """Read a picture, an array (.npy) or a text file, whichever the network takes.

    Raises OSError, and ValueError, naming the path, what was expected and what came, for a file of another kind, a
    damaged one, and arrays of another shape or dtype. No pickle is read.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.npy"
    >>> np.save(path, np.zeros((2, 8, 8), np.uint8))
    >>> examples = read_examples(path, Trained(len, "", "", ("0", "1"), "image", (8, 8, 1), "uint8"))
    >>> examples.inputs.shape, examples.names
    ((2, 8, 8, 1), ['a.npy[0]', 'a.npy[1]'])
    """
    path = Path(path)
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {problem}: expected {EXPECTED[trained.kind]}")
    suffix = path.suffix.lower()
    array = suffix in (".npy", ".npz")
    picture = suffix in (".png", ".jpg", ".jpeg")
    if (trained.kind == "text" and (array or picture)) or (trained.kind == "features" and not array):
        raise ValueError(f"{path}: this network reads {EXPECTED[trained.kind]}")
    if trained.kind == "text":
        return _texts(path, trained)
    if array:
        inputs = _array(path, trained)
        return Examples(inputs, [f"{path.name}[{i}]" for i in range(len(inputs))], [], [])
    if suffix == ".txt":
        raise ValueError(f"{path}: this network reads {EXPECTED['image']}")
    image, notes = read_picture(path, trained.shape, trained.frame)
    return Examples(image[None], [path.name], [], [f"{path.name}: {note}" for note in notes])


def _array(path: Path, trained: Trained) -> np.ndarray:
    """Read an .npy of one or many inputs; its header is believed only where the file is long enough for it."""
    try:
        with np.errstate(over="ignore"):  # sizes that multiply past 64 bits are refused like any other lie
            found = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(found, np.ndarray):
            raise ValueError("it holds several arrays, save the one with numpy.save")
    except (ValueError, EOFError, OSError, OverflowError) as error:
        raise ValueError(f"{path}: expected an array written by numpy.save, but {error}") from error
    shape, dtype = trained.shape, np.dtype(trained.dtype)
    if trained.kind == "image" and shape[-1] == 1 and found.shape[-1:] != (1,):  # one channel may be left out
        shape = shape[:-1]
    if found.shape[1:] != shape:
        wanted = f"[N, {', '.join(map(str, shape))}]"
        hint = ": for a single one save array[None]" if found.shape == shape else ""
        raise ValueError(f"{path}: expected {dtype} {wanted} but found {found.dtype} {list(found.shape)}{hint}")
    if not len(found):
        raise ValueError(f"{path} holds no examples: its shape is {list(found.shape)}")
    kinds = np.floating if dtype.kind == "f" else np.integer
    if (trained.kind == "image" and found.dtype != np.uint8) or not np.issubdtype(found.dtype, kinds):
        hint = ": bytes 0..255, light on dark as the network was trained" if trained.kind == "image" else ""
        raise ValueError(f"{path}: expected {dtype} but found {found.dtype}{hint}")
    return np.ascontiguousarray(found, dtype).reshape(-1, *trained.shape)


def _texts(path: Path, trained: Trained) -> Examples:
    """Read a text a line; empty lines are left out."""
    lines = text_lines(path)
    kept = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    numbers, texts = [number for number, _ in kept], [text for _, text in kept]
    tokens = encode(texts, trained.vocabulary)
    (length,) = trained.shape
    notes = []
    if empty := len(lines) - len(kept):
        notes.append(f"{empty:,} empty line{'s' * (empty > 1)} left out")
    unknown = sum(token == UNKNOWN for row in tokens for token in row)
    if unknown:
        total = sum(map(len, tokens))
        notes.append(f"{unknown:,} of {total:,} words and signs are not in the vocabulary of the training texts")
    long = sum(len(row) > length for row in tokens)
    if long:
        notes.append(
            f"{long:,} of {len(texts):,} texts are longer than {length} words and signs: their ends are left out"
        )
    names = [f"{path.name}:{number}" for number in numbers]
    return Examples(pad(tokens, length), names, texts, [f"{path.name}: {note}" for note in notes])
