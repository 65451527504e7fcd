"""Data as arrays: the Dataset, and the ways to get one."""

from jaxnn.data.arrays import from_npz
from jaxnn.data.dataset import Dataset, check_dataset, from_arrays, split, take
from jaxnn.data.idx import read_idx
from jaxnn.data.images import ImageData, available, load
from jaxnn.data.npy import from_npy_files
from jaxnn.data.prepared import from_tfds
from jaxnn.data.records import from_array_record
from jaxnn.data.stream import Stream
from jaxnn.data.synthetic import adding_problem, copy_task, moons, spirals
from jaxnn.data.text import (
    TextData,
    Texts,
    encode,
    from_tsv,
    load_text,
    pad,
    pad_to_buckets,
    split_texts,
    text_dataset,
    tokenise,
    vocabulary,
)

__all__ = [
    "Dataset",
    "ImageData",
    "Stream",
    "TextData",
    "Texts",
    "adding_problem",
    "available",
    "check_dataset",
    "copy_task",
    "encode",
    "from_array_record",
    "from_arrays",
    "from_npy_files",
    "from_npz",
    "from_tfds",
    "from_tsv",
    "load",
    "load_text",
    "moons",
    "pad",
    "pad_to_buckets",
    "read_idx",
    "spirals",
    "split",
    "split_texts",
    "take",
    "text_dataset",
    "tokenise",
    "vocabulary",
]
