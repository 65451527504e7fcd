"""Data that do not fit into memory: examples that are read when training comes to them."""

import hashlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType

import jax
import numpy as np

from jaxnn import checks, tree
from jaxnn.data.dataset import Dataset
from jaxnn.types import Array

SAMPLE = 256  # examples that are read to know a stream again
BLOCK = 2**20  # targets that are read together


@dataclass(frozen=True)
class Stream:
    """Examples outside of memory. `fit` takes it in the place of a Dataset, and reads ahead while it trains.

    `inputs` and `targets` say what a Dataset of all examples would hold: shapes with the examples on axis 0, dtypes.
    `read(indices)` returns the examples at these places, in this order, as a Dataset on the host; several threads call
    it at once. `read_targets(indices)` returns their targets alone, where that is cheaper. Whatever can read examples
    in any order makes a stream.

    >>> squares = np.arange(1000, dtype=np.float32)[:, None] ** 2
    >>> form = jax.ShapeDtypeStruct((1000, 1), np.float32)
    >>> stream = Stream("squares", form, form, lambda indices: Dataset(squares[indices], squares[indices]))
    >>> stream.size, stream.read(np.array([3, 2])).inputs.tolist()
    (1000, [[9.0], [4.0]])
    """

    name: str
    inputs: jax.ShapeDtypeStruct
    targets: jax.ShapeDtypeStruct
    read: Callable[[np.ndarray], Dataset]
    read_targets: Callable[[np.ndarray], Array] | None = None

    @property
    def size(self) -> int:
        """Count the examples."""
        return self.inputs.shape[0]


def load_grain(function: str) -> ModuleType:
    """Import Grain, which reads ahead. Raises ImportError that says how to install it.

    >>> load_grain("fit").__name__
    'grain'
    """
    try:
        return importlib.import_module("grain")
    except ImportError as error:
        raise ImportError(f"{function} needs Grain to read a stream ({error}): pip install 'jaxnn[stream]'") from error


def with_checked_labels(function: str, stream: Stream, classes: int) -> Stream:
    """Return the stream that refuses labels which are no classes, as they are read.

    Where targets can be read alone, all of them are looked at now.

    >>> form = jax.ShapeDtypeStruct((2,), np.int32)
    >>> stream = Stream("two", form, form, lambda i: Dataset(i, i), lambda i: np.array([0, 7])[i])
    >>> with_checked_labels("fit", stream, 5)
    Traceback (most recent call last):
    ValueError: fit expected labels in 0..4 (5 classes) but targets[1] is 7 ...
    """

    def check(indices: np.ndarray, labels: Array) -> None:
        checks.label_range(function, np.asarray(labels), classes, "targets", indices)

    def read(indices: np.ndarray) -> Dataset:
        batch = stream.read(indices)
        check(indices, batch.targets)
        return batch

    if stream.read_targets is not None:
        for indices in _blocks(stream.size):
            check(indices, stream.read_targets(indices))
    return replace(stream, read=read)


def stream_fingerprint(stream: Stream) -> str:
    """Return what tells two streams apart, without reading all of them.

    It is a hash of shapes, dtypes, 256 examples at even distances, the first and the last among them, and all targets
    where they are numbers that can be read alone. A change of other inputs is not seen.

    >>> form = jax.ShapeDtypeStruct((2,), np.int32)
    >>> one = Stream("one", form, form, lambda i: Dataset(i, i))
    >>> stream_fingerprint(one) == stream_fingerprint(replace(one, read=lambda i: Dataset(i, i + 1)))
    False
    """
    sample = np.linspace(0, stream.size - 1, min(SAMPLE, stream.size)).astype(np.int64)
    form = [(field.shape, str(field.dtype)) for field in (stream.inputs, stream.targets)]
    digest = hashlib.sha256(f"{form} {tree.sha256(stream.read(sample))}".encode())
    if stream.read_targets is not None and len(stream.targets.shape) == 1:
        for indices in _blocks(stream.size):
            digest.update(np.asarray(stream.read_targets(indices)).tobytes())
    return digest.hexdigest()[:16]


def _blocks(size: int) -> Iterator[np.ndarray]:
    return (np.arange(first, min(first + BLOCK, size)) for first in range(0, size, BLOCK))
