"""Image sets by name: MNIST and Fashion-MNIST from their IDX files, and scikit-learn's small digits."""

import functools
import hashlib
import importlib.util
import os
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn import checks
from jaxnn.data.cache import cached_arrays
from jaxnn.data.dataset import Dataset
from jaxnn.data.download import download
from jaxnn.data.folders import data_folder
from jaxnn.data.idx import read_idx

NAMES = ("mnist", "fashion_mnist", "digits")

SYSTEM_FOLDER = Path("/usr/share/datasets")
"""Where Debian's package dataset-fashion-mnist puts its files."""

# In the order of `_ARRAYS`. A file may have .gz or not.
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")

# The addresses of TFDS, under which its checksums are registered
URLS = {
    "mnist": "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "fashion_mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
}

# SHA-256 of the files without gzip, in the order of FILES: compressing a file again does not change it.
# All eight are of the files that TFDS has registered. Debian's Fashion-MNIST differs only in gzip's header: with the
# names and the times, 2017-08-31 10:50:06 and :27 UTC, put back, its files have the registered SHA-256.
CONTENT = {
    "mnist": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion_mnist": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}

_DIGITS = tuple("0123456789")
CLASS_NAMES = {
    "mnist": _DIGITS,
    "digits": _DIGITS,
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
}


class ImageData(NamedTuple):
    """Labelled images, uint8 [N, H, W, C] and int32 [N], in a part for training and one for testing.

    `source` says where the data came from, as part of a sentence: a folder, or "scikit-learn, which ships them".
    """

    name: str
    source: str
    train: Dataset
    test: Dataset
    class_names: tuple[str, ...]


def load(name: str, data_dir: str | os.PathLike[str] | None = None) -> ImageData:
    """Load "mnist", "fashion_mnist" (60,000 + 10,000 images of 28x28) or "digits" (1,437 + 360 of 8x8).

    The four IDX files are looked for in `<folder>/<name>/`, as .gz or not, where the folder is `data_dir`, else
    `$JAXNN_DATA_DIR`, else the user's cache folder (`~/.cache/jaxnn`); MNIST's also in the folder itself, and
    Fashion-MNIST's also in `/usr/share/datasets`. If they are nowhere, they are downloaded into `<folder>/<name>/`
    with TFDS's registered checksums. A file must be that of the named set (SHA-256 of what is inside the gzip stream,
    so a copy that was compressed again is as good). Decoded arrays are kept in the user's cache folder.

    "digits" needs scikit-learn and no file. Its pixels, 0..16, are scaled to 0..255. Of its images, drawn in a fixed
    order and then sorted by class, every fifth is for testing: a random split with the classes in proportion, so
    the same writers are in both parts (the images at the end of scikit-learn's order are of other writers).

    Raises ValueError for an unknown name and for files that are damaged or not those of the set, FileNotFoundError
    for a `data_dir` that does not exist and for data that are neither there nor to be downloaded (within about 5
    seconds), and ImportError for "digits" without scikit-learn. Sources: Y. LeCun, C. Cortes, C. Burges, The MNIST
    database, 1998; H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, 2017; E. Alpaydin, C. Kaynak, Optical recognition
    of handwritten digits, UCI, 1998.

    >>> data = load("digits")
    >>> data.train.inputs.shape, data.test.size, data.source
    ((1437, 8, 8, 1), 360, 'scikit-learn, which ships them')
    """
    checks.one_of("load", "name", name, NAMES)
    if name == "digits":
        return _load_digits()
    root = data_folder(data_dir)
    folders = _folders(name, root)
    paths = _find(folders)
    reason = ""
    if paths is None and root is not None:
        reason = download(root / name, URLS[name], [f"{file}.gz" for file in FILES])
        paths = _find((root / name,))
    if paths is None:
        raise FileNotFoundError(_not_found(name, folders, reason))
    arrays = cached_arrays(name, paths, functools.partial(_read, name, paths))
    images, labels, test_images, test_labels = (arrays[array] for array in _ARRAYS)
    train, test = Dataset(images, labels), Dataset(test_images, test_labels)
    return ImageData(name, str(paths[0].parent), train, test, CLASS_NAMES[name])


def available(name: str, data_dir: str | os.PathLike[str] | None = None) -> bool:
    """Tell whether `load(name, data_dir)` finds its files here, without reading or downloading any.

    >>> available("digits")
    True
    """
    checks.one_of("available", "name", name, NAMES)
    if name == "digits":
        return importlib.util.find_spec("sklearn") is not None
    return _find(_folders(name, data_folder(data_dir))) is not None


def _folders(name: str, root: Path | None) -> tuple[Path, ...]:
    own = () if root is None else (root / name, root) if name == "mnist" else (root / name,)
    return (*own, SYSTEM_FOLDER / "fashion-mnist") if name == "fashion_mnist" else own


def _find(folders: tuple[Path, ...]) -> tuple[Path, ...] | None:
    for folder in folders:
        found = [path for path in map(functools.partial(_file, folder), FILES) if path is not None]
        if len(found) == len(FILES):
            return tuple(found)
    return None


def _file(folder: Path, file: str) -> Path | None:
    return next((path for path in (folder / f"{file}.gz", folder / file) if path.is_file()), None)


def _not_found(name: str, folders: tuple[Path, ...], reason: str) -> str:
    lines = [f"{name} is not on this machine. Looked into:"]
    for folder in folders:
        missing = [file for file in FILES if _file(folder, file) is None]
        incomplete = f" (lacks {', '.join(missing)})" if len(missing) < len(FILES) else ""
        lines.append(f"  {folder}{incomplete if folder.is_dir() else ' (does not exist)'}")
    lines += [] if folders else ["  nowhere, because there is no home folder and JAXNN_DATA_DIR is not set"]
    lines += [f"The download failed: {reason}."] if reason else []
    lines += [
        f"Get {', '.join(f'{file}.gz' for file in FILES)}",
        f"from {URLS[name]} and put them into a folder {name}/;",
        "then pass the folder that holds it as data_dir, or set JAXNN_DATA_DIR to it.",
    ]
    lines += ["On Debian: apt install dataset-fashion-mnist."] if name == "fashion_mnist" else []
    return "\n".join([*lines, 'Or use "digits": it ships with scikit-learn and needs no files.'])


def _read(name: str, paths: tuple[Path, ...]) -> dict[str, np.ndarray]:
    """Decode the four files; check shapes, counts and labels first, then that they are the named set."""
    arrays = [read_idx(path) for path in paths]
    for images, labels, image_path, label_path in zip(arrays[::2], arrays[1::2], paths[::2], paths[1::2], strict=True):
        _check_pair(images, labels, image_path, label_path)
    for array, path, expected in zip(arrays, paths, CONTENT[name], strict=True):
        digest = hashlib.sha256(struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape))  # the header
        digest.update(array.data)
        found = digest.hexdigest()
        if found != expected:
            raise ValueError(
                f"{path}: expected the file of {name} (SHA-256 without gzip: {expected[:16]}...) but found "
                f"another ({found[:16]}...): get the file again; for images of your own use read_idx and from_arrays"
            )
    arrays = [array[..., None] if array.ndim == 3 else array.astype(np.int32) for array in arrays]
    return dict(zip(_ARRAYS, arrays, strict=True))


def _check_pair(images: np.ndarray, labels: np.ndarray, image_path: Path, label_path: Path) -> None:
    for array, ndim, path in ((images, 3, image_path), (labels, 1, label_path)):
        if array.ndim != ndim or array.dtype != np.uint8:
            raise ValueError(f"{path}: expected uint8 of {ndim} dimensions but found {array.dtype} of {array.shape}")
    if len(images) != len(labels):
        raise ValueError(
            f"{image_path} has {len(images)} images but {label_path} has {len(labels)} labels: they are of two sets"
        )
    checks.label_range(str(label_path), labels, 10)


def _load_digits() -> ImageData:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(f"digits needs scikit-learn ({error}): pip install 'jaxnn[data]'") from error
    raw: Any = load_digits()
    images = np.rint(raw.images * (255 / 16)).astype(np.uint8)[..., None]  # [1797, 8, 8, 1]
    labels = raw.target.astype(np.int32)
    order = np.random.RandomState(0).permutation(len(labels))  # frozen for ever, unlike default_rng
    order = order[np.argsort(labels[order], kind="stable")]
    testing = np.zeros(len(labels), bool)
    testing[order[::5]] = True
    train, test = Dataset(images[~testing], labels[~testing]), Dataset(images[testing], labels[testing])
    return ImageData("digits", "scikit-learn, which ships them", train, test, CLASS_NAMES["digits"])
