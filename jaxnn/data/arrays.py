"""A user's own arrays from one `.npz` file, as `np.savez(path, inputs=..., targets=...)` writes it."""

import lzma
import math
import os
import struct
import zipfile
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import IO

import numpy as np

from jaxnn.data.dataset import Dataset, from_arrays
from jaxnn.data.idx import LIMIT


def from_npz(path: str | os.PathLike[str]) -> Dataset:
    """Read the arrays `inputs`, `targets` and, if there, `weights` of a .npz file as a checked Dataset.

    The arrays become what `from_arrays` makes of them. Nothing is ever unpickled. Raises FileNotFoundError
    for no such file, and ValueError with the path for a file that is damaged or no .npz, for a missing array
    (naming those found), for arrays of Python objects, for more than 8 GiB, and for what `from_arrays`
    refuses; TypeError for arrays that are not numbers.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "xor.npz"
    ...     np.savez(path, inputs=[[0.0, 0.0], [0.0, 1.0]], targets=[0, 1])
    ...     from_npz(path).targets
    array([0, 1], dtype=int32)
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"from_npz expected a .npz file at {path} but there is none")
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = _read(path, archive)
    except _DAMAGED as error:
        raise ValueError(
            f"{path}: expected an undamaged .npz file (np.savez(path, inputs=..., targets=...)) but found: {error}"
        ) from error
    try:
        return from_arrays(arrays["inputs"], arrays["targets"], arrays.get("weights"))
    except (ValueError, TypeError) as error:
        raise type(error)(f"{path}: {error}") from error


# What zipfile raises for a damaged, encrypted or unknown archive, other than ValueError
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    struct.error,
    NotImplementedError,
    RuntimeError,
    OSError,
)


def _read(path: Path, archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    missing = [name for name in ("inputs", "targets") if name not in members]
    if missing:
        raise ValueError(
            f"{path}: expected arrays named inputs and targets (and weights, if any) but found "
            f"{', '.join(members) or 'none'}: save with np.savez(path, inputs=..., targets=...)"
        )
    wanted = [members[name] for name in ("inputs", "targets", "weights") if name in members]
    total = sum(info.file_size for info in wanted)
    if total > LIMIT:
        raise ValueError(f"{path}: expected at most {LIMIT} bytes of arrays but its directory says {total}")
    return {info.filename.removesuffix(".npy"): _read_member(path, archive, info) for info in wanted}


def _read_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Read one array, after its header: memory is taken only for what the file holds."""
    with archive.open(info) as file:
        try:
            shape, _, dtype = npy_header(file)
        except ValueError as error:
            raise ValueError(f"{path}: expected a NumPy array in {info.filename} but found: {error}") from error
        if dtype.hasobject:
            raise ValueError(
                f"{path}: expected numbers in {info.filename} but found Python objects ({dtype}), which need "
                "pickle and are refused: save arrays of one shape and a number type"
            )
        expected = file.tell() + math.prod(shape) * dtype.itemsize
        whole = math.prod(max(1, length) for length in shape)  # NumPy refuses 0 x huge as well
        if expected != info.file_size or whole > LIMIT or min(shape, default=0) < 0:
            raise ValueError(
                f"{path}: expected {expected} bytes in {info.filename} for its header {shape} of {dtype} "
                f"but found {info.file_size}"
            )
    with archive.open(info) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def npy_header(file: IO[bytes] | BufferedIOBase) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the head of a `.npy` file: the array's shape, whether it lies in Fortran's order, and its dtype.

    Raises ValueError for what is none.

    >>> import io
    >>> file = io.BytesIO()
    >>> np.save(file, np.zeros((2, 3), np.float32))
    >>> _ = file.seek(0)
    >>> npy_header(file)
    ((2, 3), False, dtype('float32'))
    """
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):  # 3.0 is for structured arrays
        raise ValueError(f"version {version} of the format")
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    return np.lib.format.read_array_header_1_0(file)
