"""Image sets by name: the digits that always work, MNIST and Fashion-MNIST where they are."""

import gzip
import hashlib
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxnn.data import available, images, load

DATA_DIR = os.environ.get("JAXNN_DATA_DIR")
needs_mnist = pytest.mark.skipif(
    not (DATA_DIR and available("mnist", DATA_DIR)), reason="MNIST's files are not in $JAXNN_DATA_DIR"
)
needs_fashion = pytest.mark.skipif(
    not (images.SYSTEM_FOLDER / "fashion-mnist").is_dir(), reason="the package dataset-fashion-mnist is not installed"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("jaxnn.data.download.unreachable", lambda url: "no network in tests")


@pytest.fixture
def tiny(monkeypatch):
    """Write four tiny files that count as MNIST and as Fashion-MNIST, and return their arrays."""
    rng = np.random.default_rng(0)
    arrays = [
        *(rng.integers(0, 256, (20, 5, 4), np.uint8), rng.integers(0, 10, 20, np.uint8)),
        *(rng.integers(0, 256, (10, 5, 4), np.uint8), rng.integers(0, 10, 10, np.uint8)),
    ]
    files = [
        struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes() for array in arrays
    ]
    digests = tuple(hashlib.sha256(file).hexdigest() for file in files)
    monkeypatch.setattr(images, "CONTENT", {"mnist": digests, "fashion_mnist": digests})

    def write(folder: Path, *, compress: bool = True):
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in zip(images.FILES, files, strict=True):
            path = folder / (f"{name}.gz" if compress else name)
            path.write_bytes(gzip.compress(data) if compress else data)
        return arrays

    return write


def assert_set(data, arrays):
    np.testing.assert_array_equal(data.train.inputs[..., 0], arrays[0])
    np.testing.assert_array_equal(data.train.targets, arrays[1])
    np.testing.assert_array_equal(data.test.inputs[..., 0], arrays[2])
    np.testing.assert_array_equal(data.test.targets, arrays[3])
    for part in (data.train, data.test):
        assert part.inputs.ndim == 4
        assert (part.inputs.dtype, part.targets.dtype) == (np.uint8, np.int32)
    assert len(data.class_names) == 10


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("below", ["mnist", "."])
def test_mnist_is_found_packed_or_not_in_its_folder_or_beside(tmp_path, tiny, compress, below):
    folder = tmp_path / "data"
    arrays = tiny(folder / below, compress=compress)
    assert available("mnist", folder)
    data = load("mnist", folder)
    assert_set(data, arrays)
    assert (data.name, data.source) == ("mnist", str(folder / below))
    assert_set(load("mnist", str(folder)), arrays)  # from the cache


def test_order_of_the_folders(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(images, "SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setenv("JAXNN_DATA_DIR", str(tmp_path / "variable"))
    (tmp_path / "argument").mkdir()
    places = [
        (tmp_path / "system" / "fashion-mnist", None),
        (tmp_path / "variable" / "fashion_mnist", None),
        (tmp_path / "argument" / "fashion_mnist", tmp_path / "argument"),
    ]
    assert not available("fashion_mnist")
    for folder, data_dir in places:
        tiny(folder)
        assert available("fashion_mnist", data_dir)
        assert load("fashion_mnist", data_dir).source == str(folder)
    monkeypatch.delenv("JAXNN_DATA_DIR")
    tiny(tmp_path / "cache" / "jaxnn" / "fashion_mnist")
    assert load("fashion_mnist").source == str(tmp_path / "cache" / "jaxnn" / "fashion_mnist")


def test_a_download_is_kept_in_the_data_folder(tmp_path, tiny, monkeypatch):
    asked = []

    def fake(folder, base_url, files):
        asked.append((folder, base_url, files))
        tiny(folder)
        return ""

    monkeypatch.setattr(images, "download", fake)
    monkeypatch.setenv("JAXNN_DATA_DIR", str(tmp_path / "data"))
    for _ in range(2):
        assert load("mnist").source == str(tmp_path / "data" / "mnist")
    assert asked == [(tmp_path / "data" / "mnist", images.URLS["mnist"], [f"{file}.gz" for file in images.FILES])]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_every_address_has_a_checksum_registered_with_tfds(name):
    checksums = pytest.importorskip("tensorflow_datasets").core.download.checksums
    known = checksums.get_all_url_infos()
    assert all(f"{images.URLS[name]}{file}.gz" in known for file in images.FILES)


def test_a_file_that_changes_after_it_was_cached_is_read_again(tmp_path, tiny):
    tiny(tmp_path / "mnist")
    load("mnist", tmp_path)
    labels = tmp_path / "mnist" / f"{images.FILES[1]}.gz"
    labels.write_bytes(labels.read_bytes()[:-2])
    with pytest.raises(ValueError, match="cut off"):
        load("mnist", tmp_path)


def test_digits_do_not_depend_on_the_machine():
    data = load("digits")
    assert data.train.inputs.shape == (1437, 8, 8, 1)
    assert data.test.inputs.shape == (360, 8, 8, 1)
    assert (data.train.inputs.dtype, data.train.targets.dtype) == (np.uint8, np.int32)
    assert (data.train.inputs.min(), data.train.inputs.max()) == (0, 255)
    assert set(np.unique(data.test.inputs)) <= {round(value * 255 / 16) for value in range(17)}
    assert sorted(data.class_names) == list("0123456789")
    for part, share in ((data.train, 0.8), (data.test, 0.2)):
        counts = np.bincount(part.targets) / np.bincount([*data.train.targets, *data.test.targets])
        np.testing.assert_allclose(counts, share, atol=0.01)
    digest = hashlib.sha256(data.train.inputs.tobytes() + data.test.targets.tobytes()).hexdigest()
    assert digest.startswith("f7673e47fc040336")


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxnn\[data\]'"):
        load("digits")


def test_import_loads_nothing_heavy():
    code = (
        "import sys, jaxnn.data; "
        "sys.exit(', '.join({'tensorflow_datasets', 'sklearn', 'PIL', 'requests'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_mnist
def test_mnist():
    first = time.perf_counter()
    data = load("mnist", DATA_DIR)
    second = time.perf_counter()
    again = load("mnist", DATA_DIR)
    third = time.perf_counter()
    assert data.train.inputs.shape == (60000, 28, 28, 1)
    assert data.test.inputs.shape == (10000, 28, 28, 1)
    assert data.train.targets[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.test.targets[:5].tolist() == [7, 2, 1, 0, 4]
    assert round(data.train.inputs.mean() / 255, 4) == 0.1307  # the mean that every tutorial quotes
    assert round(data.train.inputs.std() / 255, 4) == 0.3081
    np.testing.assert_array_equal(again.train.inputs, data.train.inputs)
    assert third - second < max(1.0, second - first)


@needs_fashion
def test_fashion_mnist(monkeypatch):
    monkeypatch.delenv("JAXNN_DATA_DIR", raising=False)
    data = load("fashion_mnist")
    assert data.source == "/usr/share/datasets/fashion-mnist"
    assert data.train.inputs.shape == (60000, 28, 28, 1)
    assert data.train.targets[:5].tolist() == [9, 0, 0, 3, 0]
    assert np.bincount(data.test.targets).tolist() == [1000] * 10
    assert data.class_names[9] == "Ankle boot"
    assert round(data.train.inputs.mean() / 255, 4) == 0.286
