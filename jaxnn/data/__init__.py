"""Data as arrays: the Dataset, and the ways to get one."""

from jaxnn.data.arrays import from_npz
from jaxnn.data.dataset import Dataset, check_dataset, from_arrays, split, take
from jaxnn.data.idx import read_idx
from jaxnn.data.images import ImageData, available, load
from jaxnn.data.prepared import from_tfds

__all__ = [
    "Dataset",
    "ImageData",
    "available",
    "check_dataset",
    "from_arrays",
    "from_npz",
    "from_tfds",
    "load",
    "read_idx",
    "split",
    "take",
]
