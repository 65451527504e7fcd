"""MNIST as NumPy arrays from the original IDX files: no JAX, no PyTorch, so that every rival can read it."""

import gzip
import math
from pathlib import Path

import numpy as np

FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
MEAN, STD = 0.1307, 0.3081  # the guide's Normalize, for pixels scaled to 0..1


def read_idx(path: Path) -> np.ndarray:
    """Read one gzipped IDX file of bytes.

    The header is big-endian: 00 00, the type (08 is uint8), the number of axes, and each axis as four bytes. LeCun,
    Cortes, Burges, The MNIST database of handwritten digits.
    """
    data = gzip.decompress(path.read_bytes())
    if data[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is not an IDX file of bytes: it begins with {data[:4].hex(' ')}")
    axes = data[3]
    shape = tuple(np.frombuffer(data, ">u4", count=axes, offset=4).tolist())
    if len(data) != 4 + 4 * axes + math.prod(shape):
        raise ValueError(f"{path} says shape {shape} but holds {len(data)} bytes")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def read_mnist(folder: str | Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Read (images uint8 [N, 28, 28], labels uint8 [N]) of "train" or "test" from folder/mnist."""
    paths = [Path(folder) / "mnist" / name for name in FILES[part]]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"MNIST is not here: {', '.join(missing)}")
    images, labels = (read_idx(path) for path in paths)
    if len(images) != len(labels):
        raise ValueError(f"{paths[0].name} has {len(images)} images but {paths[1].name} {len(labels)} labels")
    return images, labels


def normalized(images: np.ndarray) -> np.ndarray:
    """Scale bytes to 0..1 and normalise them as the guide does, uint8 [...] -> float32 [...]."""
    return (images.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
