"""A stream out of two `.npy` files that are mapped into memory and never read as a whole."""

import math
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn import checks
from jaxnn.data.arrays import npy_header
from jaxnn.data.dataset import Dataset, compact
from jaxnn.data.stream import Stream

MAPPED = 64 * 2**20  # bytes of a file that are in the process's memory at a time, for each thread that reads
AROUND = 64 * 2**10  # bytes that Linux maps around a byte that is asked for


def from_npy_files(inputs: str | os.PathLike[str], targets: str | os.PathLike[str]) -> Stream:
    """Make a stream of two `.npy` files, as `np.save` writes them, with the examples on axis 0.

    The files are mapped into memory and examples copied out of them as they are needed; what was mapped is given back
    to the system at once, so a run's memory does not grow with the files. The arrays become what `from_arrays` makes
    of them: uint8 inputs stay bytes, other integers become int32, floats float32.

    Raises FileNotFoundError for no such file; ValueError with the path for a file that is damaged, cut off or no .npy,
    for arrays of Python objects (nothing is ever unpickled), in Fortran's order, without examples, or of unequal
    lengths; TypeError for arrays that are not numbers. Reading raises ValueError when a file was changed meanwhile.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/inputs.npy", np.arange(12, dtype=np.uint8).reshape(4, 3))
    ...     np.save(f"{folder}/targets.npy", [0, 1, 1, 0])
    ...     stream = from_npy_files(f"{folder}/inputs.npy", f"{folder}/targets.npy")
    ...     stream.size, stream.read(np.array([2, 0]))
    (4, Dataset(inputs=array([[6, 7, 8],
           [0, 1, 2]], dtype=uint8), targets=array([1, 0], dtype=int32), weights=None))
    """
    read_inputs, inputs_form = _field("inputs", Path(inputs))
    read_targets, targets_form = _field("targets", Path(targets))
    if inputs_form.shape[0] != targets_form.shape[0]:
        raise ValueError(
            f"from_npy_files expected as many targets as inputs but found {targets_form.shape[0]} targets in {targets} "
            f"for {inputs_form.shape[0]} inputs in {inputs}"
        )

    def read(indices: np.ndarray) -> Dataset:
        return Dataset(read_inputs(indices), read_targets(indices))

    return Stream(f"{inputs} with {targets}", inputs_form, targets_form, read, read_targets)


class _Rows(NamedTuple):
    """A file with the array [N, ...] that lies in it, and its size and time when it was opened."""

    path: Path
    map: mmap.mmap
    array: np.ndarray
    stamp: tuple[int, ...]


def _field(name: str, path: Path) -> tuple[Callable[[np.ndarray], np.ndarray], jax.ShapeDtypeStruct]:
    """Return what reads one of the files, and what the whole of it would be."""
    rows = _open_rows(path)

    def kept(values: Any) -> np.ndarray:
        try:
            return compact(name, values, keep_bytes=name == "inputs")
        except (ValueError, TypeError) as error:
            raise type(error)(f"{path}: {error}") from error

    dtype = kept(np.zeros(1, rows.array.dtype)).dtype

    def read(indices: np.ndarray) -> np.ndarray:
        found = _copied(rows, indices)
        return found if found.dtype == dtype else kept(found)

    return read, jax.ShapeDtypeStruct(rows.array.shape, dtype)


def _open_rows(path: Path) -> _Rows:
    """Map a file that holds what its header says."""
    if not path.is_file():
        raise FileNotFoundError(f"from_npy_files expected a .npy file at {path} but there is none")
    with open(path, "rb") as file:
        try:
            shape, fortran, dtype = npy_header(file)
        except (ValueError, EOFError) as error:
            raise ValueError(
                f"{path}: expected an undamaged .npy file (np.save(path, array)) but found: {checks.first_line(error)}"
            ) from error
        if dtype.hasobject:
            raise ValueError(
                f"{path}: expected numbers but found Python objects ({dtype}), which need pickle and are refused: "
                "save an array of one shape and a number type"
            )
        if not shape or min(shape) < 1:
            raise ValueError(f"{path}: expected examples on axis 0 but found an array of shape {shape}")
        if fortran and len(shape) > 1:
            raise ValueError(
                f"{path}: expected examples one after the other but found Fortran's order, in which each lies all over "
                "the file: save np.ascontiguousarray(array)"
            )
        offset, stamp = file.tell(), _stamp(path)
        expected = offset + math.prod(shape) * dtype.itemsize
        if stamp[0] != expected:
            raise ValueError(
                f"{path}: expected {expected} bytes for its header {shape} of {dtype} but found {stamp[0]}: "
                "write or copy the file again"
            )
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_RANDOM"):  # read what is asked for, and not 128 KiB around it
        mapped.madvise(mmap.MADV_RANDOM)
    return _Rows(path, mapped, np.frombuffer(mapped, dtype, math.prod(shape), offset).reshape(shape), stamp)


def _copied(rows: _Rows, indices: np.ndarray) -> np.ndarray:
    """Copy the rows at the indices, [n, ...], out of the file, which is read in one direction."""
    if _stamp(rows.path) != rows.stamp:
        raise ValueError(f"{rows.path} was changed after it was opened: leave it as it is while it is read")
    out = np.empty((len(indices), *rows.array.shape[1:]), rows.array.dtype)
    order = np.argsort(indices)
    at_once = max(1, MAPPED // max(out[:1].nbytes, AROUND))
    for first in range(0, len(order), at_once):
        part = order[first : first + at_once]
        out[part] = rows.array[indices[part]]
        if hasattr(mmap, "MADV_DONTNEED"):  # the system may keep the pages, but no longer as memory of this process
            rows.map.madvise(mmap.MADV_DONTNEED)
    return out


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        raise type(error)(error.errno, f"cannot read {path}: {error.strerror}") from error
    return found.st_size, found.st_mtime_ns, found.st_ino
