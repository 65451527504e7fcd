"""IDX, the file format of MNIST: a magic number, the dimensions, and the values, often compressed with gzip.

A file is data from elsewhere, so its header is checked before memory is taken for what it promises, and a
gzip stream is followed to its end, where its checksum is.
"""

import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

LIMIT = 2**33
"""The most bytes that a data file may ask for: 8 GiB, 180 times the images of MNIST."""

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""The third byte of the magic number, and the values that it stands for; all are big-endian."""

_CHUNK = 2**20


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an IDX file, compressed with gzip or not, as an array of the shape and the type in its header.

    The file is `0 0 type ndim | ndim sizes, 4 bytes each | values`, all big-endian. Gzip is recognised by its
    first bytes and not by the name. Raises FileNotFoundError for no such file, and ValueError, naming the
    path, what was expected and what was found, for: another magic number, fewer or more values than the
    header says, a header that asks for more than 8 GiB, a name in .gz that is not gzip, and a gzip stream
    that is cut off, damaged (CRC) or followed by other bytes. A gzip stream is never inflated further than
    its header allows. Source: Y. LeCun, C. Cortes, C. Burges, The MNIST database, 1998.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "labels"
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1,  0, 0, 0, 3,  7, 2, 1]))
    ...     read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"read_idx expected an IDX file at {path} but there is none")
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start[:2] == b"\x1f\x8b":
            return _read_gzip(path, file)
        if path.suffix == ".gz":
            hint = ": it is IDX without gzip, drop .gz from its name" if start[:2] == b"\0\0" else _AGAIN
            raise ValueError(f"{path}: expected gzip (first bytes 1f 8b) but found {_hex(start[:2])}{hint}")
        return _read_raw(path, file)


_AGAIN = ": get the file again"


def _read_raw(path: Path, file: BinaryIO) -> np.ndarray:
    head = file.read(4)
    code, ndim = _magic(path, head)
    head += file.read(4 * ndim)
    dtype, shape, size = _shape(path, head, code, ndim)
    found = os.fstat(file.fileno()).st_size
    if found != len(head) + size:
        raise _wrong_length(path, shape, len(head) + size, str(found))
    return _array(path, file.read(size), dtype, shape, len(head) + size)


def _read_gzip(path: Path, file: BinaryIO) -> np.ndarray:
    inflator = zlib.decompressobj(31)  # 31: gzip's header and its CRC at the end
    try:
        head = _inflate(path, file, inflator, 4)
        code, ndim = _magic(path, head)
        head += _inflate(path, file, inflator, 4 * ndim)
        dtype, shape, size = _shape(path, head, code, ndim)
        values = _inflate(path, file, inflator, size + 1)  # one more: the end of the stream, or too long
    except zlib.error as error:
        reason = {"incorrect data check": "another CRC", "incorrect length check": "another length"}
        found = next((text for key, text in reason.items() if key in str(error)), str(error))
        raise ValueError(f"{path}: expected an undamaged gzip stream but found {found}{_AGAIN}") from error
    if len(values) > size:
        raise _wrong_length(path, shape, len(head) + size, f"at least {len(head) + size + 1}")
    array = _array(path, values, dtype, shape, len(head) + size)
    if inflator.unused_data or file.read(1):
        raise ValueError(f"{path}: expected the end of the file after the gzip stream but found more bytes{_AGAIN}")
    return array


def _inflate(path: Path, file: BinaryIO, inflator: "zlib._Decompress", count: int) -> bytes:
    """Return the next `count` bytes of the stream, or fewer if it ends (complete, its CRC checked) before."""
    pieces = []
    while count > 0 and not inflator.eof:
        compressed = inflator.unconsumed_tail or file.read(_CHUNK)
        piece = inflator.decompress(compressed, count)
        if not compressed and not piece:
            raise ValueError(f"{path}: expected a complete gzip stream but found one that is cut off{_AGAIN}")
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _magic(path: Path, head: bytes) -> tuple[int, int]:
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in TYPES or head[3] == 0:
        types = ", ".join(f"{code:02x}" for code in TYPES)
        raise ValueError(
            f"{path}: expected the magic number of an IDX file (00 00, a type among {types}, the number of "
            f"dimensions) but found {_hex(head)}"
        )
    return head[2], head[3]


def _shape(path: Path, head: bytes, code: int, ndim: int) -> tuple[np.dtype, tuple[int, ...], int]:
    if len(head) != 4 + 4 * ndim:
        raise ValueError(
            f"{path}: expected a header of {4 + 4 * ndim} bytes for {ndim} dimensions but found {len(head)}{_AGAIN}"
        )
    dtype = np.dtype(TYPES[code])
    shape = struct.unpack(f">{ndim}I", head[4:])
    size = math.prod(shape) * dtype.itemsize
    whole = math.prod(max(1, length) for length in shape)  # NumPy refuses 0 x huge as well
    if ndim > 32 or whole * dtype.itemsize > LIMIT:
        raise ValueError(
            f"{path}: expected at most 32 dimensions and {LIMIT} bytes of values but found a "
            f"header of {ndim} dimensions {shape}"
        )
    return dtype, shape, size


def _array(path: Path, values: bytes, dtype: np.dtype, shape: tuple[int, ...], expected: int) -> np.ndarray:
    if len(values) != math.prod(shape) * dtype.itemsize:
        found = expected - math.prod(shape) * dtype.itemsize + len(values)
        raise _wrong_length(path, shape, expected, str(found))
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="))  # a writable copy


def _wrong_length(path: Path, shape: tuple[int, ...], expected: int, found: str) -> ValueError:
    return ValueError(f"{path}: expected {expected} bytes for its header {shape} but found {found}{_AGAIN}")


def _hex(data: bytes) -> str:
    return data.hex(" ") or "an empty file"
