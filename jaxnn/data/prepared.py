"""Image sets that TensorFlow Datasets (TFDS) has prepared as ArrayRecord: read without TensorFlow."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn import checks
from jaxnn.data.cache import cached_arrays
from jaxnn.data.dataset import Dataset
from jaxnn.data.folders import data_folder
from jaxnn.data.images import ImageData

_NEEDED = {
    "tensorflow_datasets": "tensorflow-datasets",
    "array_record": "array_record",
    "PIL": "Pillow",
    "importlib_resources": "importlib_resources",
}
_BATCH = 1024  # records read at once


def from_tfds(name: str, data_dir: str | os.PathLike[str] | None = None) -> ImageData:
    """Load an image-classification set that TFDS has prepared as ArrayRecord: its splits "train" and "test".

    `name` is TFDS's, as "mnist" or "mnist:3.0.1"; `data_dir` is the folder that TFDS was given (default:
    `tfds` in `$JAXNN_DATA_DIR` if it is there, else TFDS's own). The examples come in TFDS's order, which is
    shuffled once, at preparation. Decoded arrays are kept in the user's cache folder.

    Raises ImportError if a package is missing (`pip install 'jaxnn[data]'` has them all), FileNotFoundError for a
    folder that does not exist and for a set that is not prepared there, and ValueError for a name that TFDS does
    not know and for a set without the splits train and test, without the features `image` and `label`, with pixels
    other than uint8, with images of several sizes, with labels outside of its classes, or with damaged records.
    Source: TensorFlow Datasets, https://www.tensorflow.org/datasets.

        data = from_tfds("mnist")
        data.train.inputs.shape      # (60000, 28, 28, 1)
    """
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ImportError(f"from_tfds needs {', '.join(missing)}: pip install 'jaxnn[data]'")
    builder = _builder(name, _folder(data_dir))
    splits = sorted(builder.info.splits)
    if not {"train", "test"} <= set(splits):
        raise ValueError(
            f"from_tfds expected the splits train and test in {name} but it has {', '.join(splits)}: "
            "use tfds.builder(...).as_data_source(...), from_arrays and split(dataset, fraction, key)"
        )
    class_names = _class_names(name, builder.info.features)
    sources = [Path(path) for split in ("train", "test") for path in builder.info.splits[split].filepaths]
    sources.append(Path(builder.data_path) / "dataset_info.json")

    def build() -> dict[str, np.ndarray]:
        images, labels = _decode(name, builder, "train", len(class_names), ())
        test_images, test_labels = _decode(name, builder, "test", len(class_names), images.shape[1:])
        return {
            "train_images": images,
            "train_labels": labels,
            "test_images": test_images,
            "test_labels": test_labels,
        }

    arrays = cached_arrays(f"tfds-{builder.info.name}", sources, build)
    train, test = (Dataset(arrays[f"{split}_images"], arrays[f"{split}_labels"]) for split in ("train", "test"))
    return ImageData(builder.info.name, f"TFDS in {builder.data_path}", train, test, class_names)


def _folder(data_dir: str | os.PathLike[str] | None) -> Path | None:
    folder = data_folder(data_dir)
    if data_dir is not None or folder is None:
        return folder
    return folder / "tfds" if (folder / "tfds").is_dir() else None


def _builder(name: str, folder: Path | None) -> Any:
    """Make TFDS's builder; it is lazy, so ask whether anything is prepared."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=folder, file_format="array_record")
    except (ValueError, AssertionError, RuntimeError) as error:
        reason = checks.first_line(error)  # the other lines list a thousand names
        if "File format is already set" in reason:
            where = f"as ArrayRecord, only in another format, in {folder or 'the folder of TFDS'}"
            raise _not_prepared(name, where) from error
        raise ValueError(f"from_tfds expected the name of a set that TFDS knows: {reason}") from error
    if not builder.is_prepared():
        raise _not_prepared(name, f"as ArrayRecord in {builder.data_path}")
    return builder


def _not_prepared(name: str, where: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"{name} is not prepared {where}. TFDS prepares sets only where TensorFlow is installed: call "
        f"tfds.builder({name!r}, file_format='array_record').download_and_prepare() there, then copy its "
        "~/tensorflow_datasets here and pass that as data_dir"
    )


def _class_names(name: str, features: Any) -> tuple[str, ...]:
    found = sorted(features)
    if not {"image", "label"} <= set(found):
        raise ValueError(f"from_tfds expected the features image and label in {name} but found {', '.join(found)}")
    image, label = features["image"], features["label"]
    if image.np_dtype != np.uint8:
        raise ValueError(f"from_tfds expected images of uint8 in {name} but found {image}")
    if not getattr(label, "names", None):
        raise ValueError(f"from_tfds expected labels that are classes in {name} but found {label}")
    return tuple(label.names)


def _decode(name: str, builder: Any, split: str, classes: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Decode all records of a split: images [N, H, W, C] and labels [N]. `shape` is that of an image, () if unknown."""
    size = builder.info.splits[split].num_examples
    if size == 0:
        raise ValueError(f"from_tfds found no examples in the split {split} of {name}")
    source = builder.as_data_source(split)
    images, labels = np.empty(0, np.uint8), np.empty(size, np.int32)
    for first in range(0, size, _BATCH):
        indices = range(first, min(first + _BATCH, size))
        for index, example in zip(indices, _records(name, source, split, indices), strict=True):
            shape = shape or example["image"].shape
            if example["image"].shape != shape:
                raise ValueError(
                    f"from_tfds expected images of one size in {name} but the first is {shape} and {split}[{index}] "
                    f"is {example['image'].shape}: resize them and use from_arrays"
                )
            images = images if images.ndim == 4 else np.empty((size, *shape), np.uint8)
            images[index], labels[index] = example["image"], example["label"]
    checks.label_range(f"from_tfds, {name}, split {split},", labels, classes)
    return images, labels


def _records(name: str, source: Any, split: str, indices: range) -> list[Any]:
    try:
        return source.__getitems__(list(indices))
    except Exception as error:  # of ArrayRecord, protobuf or Pillow, each with types of its own
        reason = checks.first_line(error)
        raise ValueError(
            f"from_tfds could not read examples {indices.start} to {indices.stop - 1} of {name}, split {split}: "
            f"{reason}: prepare or copy the set again"
        ) from error
