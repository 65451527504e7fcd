"""What a user gets for data files that are damaged, lying, or not there."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest

from jaxnn.data import available, from_npz, images, load, read_idx

IDX = struct.pack(">BBBBII", 0, 0, 8, 2, 3, 4) + bytes(range(12))


@pytest.fixture(autouse=True)
def no_user_folders_and_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAXNN_DATA_DIR", raising=False)
    monkeypatch.setattr(images, "SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setattr("jaxnn.data.download.unreachable", lambda url: f"{url} is not reachable (test)")


# IDX


def refused(path, data: bytes, *words: str) -> None:
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r".") as caught:
        read_idx(path)
    message = str(caught.value)
    for word in (str(path), "expected", "found", *words):
        assert word in message


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"\x01\x00\x08\x01", "01 00 08 01"),
        (b"\x00\x00\x07\x01", "00 00 07 01"),
        (b"\x00\x00\x08\x00", "00 00 08 00"),
        (b"<htm", "3c 68 74 6d"),
        (b"\x00\x00", "00 00"),
        (b"", "an empty file"),
    ],
)
def test_wrong_magic(tmp_path, head, found):
    data = head + (bytes(8) if len(head) == 4 else b"")
    refused(tmp_path / "raw", data, "magic number", found)
    refused(tmp_path / "packed.gz", gzip.compress(data), "magic number", found)


def test_header_cut_off(tmp_path):
    refused(tmp_path / "raw", IDX[:9], "header of 12 bytes", "found 9")
    refused(tmp_path / "packed.gz", gzip.compress(IDX[:9]), "header of 12 bytes", "found 9")


def test_shorter_than_its_header(tmp_path):
    refused(tmp_path / "raw", IDX[:-1], "expected 24 bytes", "(3, 4)", "found 23")
    refused(tmp_path / "packed.gz", gzip.compress(IDX[:-1]), "expected 24 bytes", "(3, 4)", "found 23")


def test_longer_than_its_header(tmp_path):
    refused(tmp_path / "raw", IDX + b"..", "expected 24 bytes", "(3, 4)", "found 26")
    refused(tmp_path / "packed.gz", gzip.compress(IDX + b".."), "expected 24 bytes", "found at least 25")


def test_truncated_gzip(tmp_path):
    packed = gzip.compress(IDX)
    for cut in (2, 11, 20, len(packed) - 8, len(packed) - 1):
        refused(tmp_path / "cut.gz", packed[:cut], "complete gzip stream", "cut off")


def test_gzip_with_a_wrong_crc(tmp_path):
    packed = bytearray(gzip.compress(IDX))
    packed[-8] ^= 1
    refused(tmp_path / "crc.gz", bytes(packed), "CRC")


def test_gzip_with_a_wrong_length(tmp_path):
    packed = bytearray(gzip.compress(IDX))
    packed[-1] ^= 1
    refused(tmp_path / "length.gz", bytes(packed), "another length")


def test_named_gz_but_not_gzip(tmp_path):
    refused(tmp_path / "page.gz", b"<html>not found</html>", "gzip", "3c 68")
    refused(tmp_path / "raw.gz", IDX, "gzip", "drop .gz from its name")


def test_junk_after_the_gzip_stream(tmp_path):
    for junk in (b"\0", b"junk", gzip.compress(b"more")):
        refused(tmp_path / "junk.gz", gzip.compress(IDX) + junk, "end of the file", "more bytes")


def test_junk_after_a_long_gzip_stream(tmp_path):
    """Here the junk is read in another piece than the stream's end."""
    size = 2**20 - 50
    data = struct.pack(">BBBBI", 0, 0, 8, 1, size) + np.random.default_rng(0).bytes(size)
    packed = gzip.compress(data, 0)
    assert len(packed) > 2**20
    refused(tmp_path / "junk.gz", packed + b"junk", "more bytes")


@pytest.mark.parametrize(
    "sizes", [(2**32 - 1,) * 4, (2**31, 2**31), (2**17, 2**17), (0, 2**32 - 1, 2**32 - 1), (1,) * 33]
)
def test_header_that_promises_more_than_memory(tmp_path, sizes):
    head = struct.pack(f">BBBB{len(sizes)}I", 0, 0, 8, len(sizes), *sizes)
    refused(tmp_path / "raw", head + bytes(100), "at most 32 dimensions and 8589934592 bytes")
    refused(tmp_path / "packed.gz", gzip.compress(head + bytes(100)), "at most 32 dimensions")


def test_no_such_idx_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"read_idx expected an IDX file at .*absent"):
        read_idx(tmp_path / "absent")


# Sets by name


def put_set(folder, *, images=10, labels=10, last_label=9, cut=False) -> None:
    """Write four IDX files of tiny images."""
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        pixels = struct.pack(">BBBBIII", 0, 0, 8, 3, images, 2, 2) + bytes(4 * images)
        classes = bytes([*range(labels - 1), last_label])
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(pixels))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, labels) + classes)[: -3 if cut else None]
        )


def test_unknown_name(tmp_path):
    for function in (load, available):
        with pytest.raises(ValueError, match=r"one of mnist, fashion_mnist, digits but got 'minst'"):
            function("minst")


def test_images_and_labels_of_different_counts(tmp_path):
    put_set(tmp_path / "mnist", images=10, labels=9)
    with pytest.raises(ValueError, match=r"train-images.* has 10 images but .*train-labels.* has 9 labels"):
        load("mnist", tmp_path)


def test_label_out_of_range(tmp_path):
    put_set(tmp_path / "mnist", last_label=10)
    with pytest.raises(ValueError, match=r"train-labels.* expected labels in 0\.\.9 .* targets\[9\] is 10"):
        load("mnist", tmp_path)


def test_labels_where_images_are_due(tmp_path):
    put_set(tmp_path / "mnist")
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(
        (tmp_path / "mnist" / "train-labels-idx1-ubyte.gz").read_bytes()
    )
    with pytest.raises(ValueError, match=r"train-images.*: expected uint8 of 3 dimensions but found .* \(10,\)"):
        load("mnist", tmp_path)


def test_damaged_file_of_a_set(tmp_path):
    put_set(tmp_path / "mnist", cut=True)
    with pytest.raises(ValueError, match=r"train-labels.*cut off"):
        load("mnist", tmp_path)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_files_of_another_set(tmp_path, name):
    put_set(tmp_path / name)
    with pytest.raises(ValueError, match=rf"train-images.*expected the file of {name} .*found another"):
        load(name, tmp_path)


def test_missing_data_dir_is_named(tmp_path):
    for function in (load, available):
        with pytest.raises(FileNotFoundError, match=r"data_dir='.*nowhere' is no folder here"):
            function("mnist", tmp_path / "nowhere")


def test_no_data_anywhere_says_where_it_looked_and_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXNN_DATA_DIR", str(tmp_path / "typo"))
    with pytest.raises(FileNotFoundError, match="not on this machine") as caught:
        load("mnist")
    message = str(caught.value)
    for words in (
        f"{tmp_path / 'typo' / 'mnist'} (does not exist)",
        str(tmp_path / "typo"),
        "not reachable (test)",
        "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "JAXNN_DATA_DIR",
        '"digits"',
    ):
        assert words in message
    assert len(message.splitlines()) <= 9
    assert not (tmp_path / "typo").exists()


def test_no_fashion_mnist_names_the_system_folder_and_the_package(tmp_path):
    with pytest.raises(FileNotFoundError, match="fashion_mnist is not on this machine") as caught:
        load("fashion_mnist")
    assert str(tmp_path / "system" / "fashion-mnist") in str(caught.value)
    assert "apt install dataset-fashion-mnist" in str(caught.value)


def test_an_incomplete_set_names_the_missing_file(tmp_path):
    put_set(tmp_path / "mnist")
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"mnist \(lacks t10k-labels-idx1-ubyte\)"):
        load("mnist", tmp_path)


def test_no_home_and_no_folder(monkeypatch):
    monkeypatch.setattr("jaxnn.data.images.data_folder", lambda data_dir: None)
    monkeypatch.setattr("jaxnn.data.images.download", lambda *args: pytest.fail("nowhere to download to"))
    with pytest.raises(FileNotFoundError, match="no home folder and JAXNN_DATA_DIR is not set"):
        load("mnist")
    with pytest.raises(FileNotFoundError, match="system"):
        load("fashion_mnist")


# A user's own .npz


def npz_refused(path, *words: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        from_npz(path)
    for word in (str(path), *words):
        assert word in str(caught.value)


def test_no_such_npz(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"from_npz expected a \.npz file at .*absent"):
        from_npz(tmp_path / "absent.npz")


def test_npz_with_a_missing_array_names_those_found(tmp_path):
    np.savez(tmp_path / "own.npz", x=np.zeros((3, 2)), y=np.zeros(3, int))
    npz_refused(tmp_path / "own.npz", "inputs and targets", "found x, y", "np.savez")


def test_npz_of_objects_is_refused_and_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    np.savez(tmp_path / "own.npz", inputs=np.array([Bomb(), Bomb()], object), targets=np.zeros(2, int))
    npz_refused(tmp_path / "own.npz", "Python objects", "refused")


def test_npz_that_is_garbage_or_empty_or_one_array(tmp_path):
    path = tmp_path / "own.npz"
    for data in (b"", b"garbage" * 100):
        path.write_bytes(data)
        npz_refused(path, "undamaged .npz")
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    npz_refused(path, "undamaged .npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_cut_or_changed_anywhere(tmp_path, save):
    path = tmp_path / "own.npz"
    save(path, inputs=np.arange(6.0).reshape(3, 2), targets=np.arange(3))
    data = path.read_bytes()
    whole = from_npz(path)
    for cut in range(0, len(data), 7):
        path.write_bytes(data[:cut])
        npz_refused(path)
    for place in range(0, len(data), 3):
        changed = bytearray(data)
        changed[place] ^= 0x10
        path.write_bytes(changed)
        try:
            read = from_npz(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017
        else:  # a byte that carries nothing (a time, a comment)
            np.testing.assert_array_equal(read.inputs, whole.inputs)
            np.testing.assert_array_equal(read.targets, whole.targets)


def npy_with_shape(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(16)


@pytest.mark.parametrize("shape", [(5,), (2**40,), (2**62, 2**62), (0, 2**62, 2**62), (-4,)])
def test_npz_whose_header_lies(tmp_path, shape):
    path = tmp_path / "own.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inputs.npy", npy_with_shape(shape))
        archive.writestr("targets.npy", npy_with_shape((4,)))
    npz_refused(path, "inputs.npy", str(shape), "but found")


def test_npz_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxnn.data.arrays.LIMIT", 2**20)
    np.savez_compressed(tmp_path / "own.npz", inputs=np.zeros((2**20, 1)), targets=np.zeros(2**20, int))
    npz_refused(tmp_path / "own.npz", "at most 1048576 bytes")


def test_npz_of_unequal_lengths(tmp_path):
    np.savez(tmp_path / "own.npz", inputs=np.zeros((3, 2)), targets=np.zeros(4, int))
    npz_refused(tmp_path / "own.npz", "4 targets for 3 inputs")


def test_npz_of_words(tmp_path):
    np.savez(tmp_path / "own.npz", inputs=np.array(["a", "b"]), targets=np.zeros(2, int))
    with pytest.raises(TypeError, match=r"own\.npz: .* expected inputs to be numbers"):
        from_npz(tmp_path / "own.npz")
