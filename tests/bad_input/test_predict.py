"""Files and run folders that are damaged or of another kind: one error that says what was expected, and exit code 2."""

import json
import struct
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from refusal import refused

from jaxnn.__main__ import main
from jaxnn.commands.demo import demo, make_server
from jaxnn.commands.examples import read_examples
from jaxnn.data.frame import FRAMES, fit_frame
from jaxnn.interop.export import save_onnx, save_stablehlo
from jaxnn.interop.trained import LABELS, PROGRAM, Trained, load_trained, save_trained
from jaxnn.layers import flatten, linear, normalize, sequential
from jaxnn.types import Layer

IMAGES = Trained(len, "", "mnist", ("a", "b"), "image", (28, 28, 1), "uint8", FRAMES["mnist"])
TEXTS = Trained(len, "", "", ("a", "b"), "text", (5,), "int32", None, ("<pad>", "<unk>", "good"))
FEATURES = Trained(len, "", "", ("a", "b"), "features", (3,), "float32")


@pytest.fixture(name="run")
def _run(tmp_path):
    params, state = linear(3, 2).init(jax.random.key(0))
    (tmp_path / "run").mkdir()
    return save_trained(tmp_path / "run", linear(3, 2), params, state, np.ones((1, 3)), ["a", "b"])


def test_main_says_it_in_a_line_and_exits_with_2(run, tmp_path, capsys):
    for arguments in (["predict", str(tmp_path), "a.npy"], ["predict", str(run), "none.npy"]):
        assert main(arguments) == 2
        output, errors = capsys.readouterr()
        assert output == ""
        assert errors.startswith("error: ")
        assert len(errors.splitlines()) == 1


def test_nothing_is_answered_before_every_file_is_read(run, tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.ones((2, 3), np.float32))
    assert main(["predict", str(run), str(tmp_path / "a.npy"), str(tmp_path / "b.npy")]) == 2
    assert capsys.readouterr().out == ""


def test_folders_without_a_network(tmp_path):
    refused(FileNotFoundError, lambda: load_trained(tmp_path / "none"), "labels.json", "there is no such folder")
    refused(FileNotFoundError, lambda: load_trained(tmp_path), "labels.json", "experiments.mnist")
    (tmp_path / "config.json").write_text("{}")
    refused(FileNotFoundError, lambda: load_trained(tmp_path), "not finished", "keeps no network")


def test_a_damaged_program(run):
    whole = (run / PROGRAM).read_bytes()
    for content in (b"", whole[:-1], whole + b"\0", bytes([whole[0] ^ 1]) + whole[1:]):
        (run / PROGRAM).write_bytes(content)
        refused(ValueError, lambda: load_trained(run), PROGRAM, "damaged", "SHA-256")
    (run / PROGRAM).unlink()
    refused(FileNotFoundError, lambda: load_trained(run), PROGRAM)


def change(run, path, value):
    labels = json.loads((run / LABELS).read_text())
    *folders, last = path.split(".")
    place = labels
    for folder in folders:
        place = place[folder]
    place[last] = value
    (run / LABELS).write_text(json.dumps(labels))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("format", 2, "format 2, this version reads 1"),
        ("class_names", ["a", 1], "expected a list of words"),
        ("class_names", "ab", "expected a list of words"),
        ("class_names", ["a", "b", "c"], "3 classes"),
        ("inputs.kind", "sound", "'sound'"),
        ("inputs.kind", "text", "KeyError"),
        ("inputs.shape", [4], "float32[batch,4]"),
        ("inputs.shape", ["3"], "shape ('3',)"),
        ("inputs.shape", None, "TypeError"),
        ("inputs.dtype", "int32", "int32[batch,3]"),
        ("inputs", [], "TypeError"),
        ("model", None, "expected a list of words"),
    ],
)
def test_labels_that_lie(run, path, value, words):
    change(run, path, value)
    refused(ValueError, lambda: load_trained(run), LABELS, words)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff\xfe", b"[]", b"{}", b"null", b"[" * 100_000])
def test_labels_that_are_no_json_of_ours(run, content):
    (run / LABELS).write_bytes(content)
    refused(ValueError, lambda: load_trained(run), LABELS, "damaged")


def test_another_way_to_cut_texts(tmp_path):
    model = Layer(lambda key: ((), ()), lambda p, s, x, /, *, key=None, train=False: (x * 1.0, s), "floats()")
    save_trained(tmp_path, model, (), (), np.ones((1, 2), np.int32), "ab", vocabulary=["<pad>", "<unk>"])
    change(tmp_path, "inputs.token", ".")
    refused(ValueError, lambda: load_trained(tmp_path), "another way")


def test_a_program_that_calls_out(tmp_path):
    def apply(params, state, x, /, *, key=None, train=False):
        return jnp.linalg.qr(x[..., None])[0][..., 0], state

    model = Layer(lambda key: ((), ()), apply, "qr()")
    refused(ValueError, lambda: save_trained(tmp_path, model, (), (), np.ones((1, 2)), "ab"), "outside of StableHLO")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported(tmp_path):
    path, params = tmp_path / "a", linear(3, 2).init(jax.random.key(0))[0]
    for save in (save_stablehlo, save_onnx):
        refused(ValueError, lambda save=save: save(path, linear(3, 2), params, (), np.ones((1, 4))), "linear(3, 2)")
        refused(TypeError, lambda save=save: save(path, linear(3, 2), params, (), [[1.0]]), "an array of inputs")
        refused(ValueError, lambda save=save: save(path, linear(3, 2), params, (), np.float32(1)), "axis 0")
    refused(ValueError, lambda: save_trained(tmp_path, linear(3, 2), params, (), np.ones((1, 3)), "abc"), "[N, 3]")
    assert list(tmp_path.iterdir()) == []


def test_files_of_another_kind(tmp_path):
    for name in ("a.png", "a.npy", "a.txt"):
        (tmp_path / name).write_bytes(b"x")
    refused(ValueError, lambda: read_examples(tmp_path / "a.png", TEXTS), "a.png", "a text file")
    refused(ValueError, lambda: read_examples(tmp_path / "a.npy", TEXTS), "a.npy", "a text file")
    refused(ValueError, lambda: read_examples(tmp_path / "a.txt", IMAGES), "a.txt", "a picture")
    refused(ValueError, lambda: read_examples(tmp_path / "a.png", FEATURES), "a.png", "an array (.npy)")
    refused(FileNotFoundError, lambda: read_examples(tmp_path / "b.png", IMAGES), "b.png does not exist", "a picture")
    refused(FileNotFoundError, lambda: read_examples(tmp_path, IMAGES), "is a folder")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "neither"),
        (b"garbage", "neither"),
        (b"GIF89a" + bytes(100), "neither"),
        (png(28, 28, zlib.compress(bytes(29 * 28))[:-8]), "a picture"),
        (png(28, 28, b"garbage"), "a picture"),
        (png(28, 28, zlib.compress(bytes(29 * 28)))[:40], "a picture"),
        (png(60_000, 60_000, zlib.compress(bytes(100))), "3600000000 pixels"),
        (png(2**31 - 1, 2**31 - 1, b""), "pixels"),
        (png(8_000, 8_000, zlib.compress(bytes(100))), "8000x8000 pixels are more than 50,000,000"),
        (png(0, 0, b""), "a picture"),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_pictures_that_are_none(tmp_path, content, words):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    refused(ValueError, lambda: read_examples(path, IMAGES), str(path), words)


def test_a_picture_for_a_network_of_four_channels(tmp_path):
    Image.new("RGBA", (4, 4)).save(tmp_path / "a.png")
    refused(ValueError, lambda: read_examples(tmp_path / "a.png", IMAGES._replace(shape=(4, 4, 4))), "4 channels")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((28, 28), np.uint8), ("[N, 28, 28]", "array[None]")),
        (np.zeros((2, 32, 32), np.uint8), ("uint8 [N, 28, 28]", "uint8 [2, 32, 32]")),
        (np.zeros((2, 28, 28, 3), np.uint8), ("[2, 28, 28, 3]",)),
        (np.zeros((0, 28, 28), np.uint8), ("no examples", "[0, 28, 28]")),
        (np.zeros((2, 28, 28), np.float32), ("uint8", "float32", "bytes 0..255")),
        (np.zeros((2, 28, 28), np.int64), ("uint8", "int64")),
        (np.uint8(1), ("[N, 28, 28]",)),
    ],
    ids=lambda array: str(np.shape(array)),
)
def test_arrays_of_another_form(tmp_path, array, words):
    np.save(tmp_path / "a.npy", array)
    refused(ValueError, lambda: read_examples(tmp_path / "a.npy", IMAGES), "a.npy", *words)


def test_features_of_another_dtype(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.int32))
    refused(ValueError, lambda: read_examples(tmp_path / "a.npy", FEATURES), "float32", "int32")


def header(text: str, length: int | None = None) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) if length is None else length) + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"\x93NUMPY",
        b"\x80\x04\x95" + b"cos\nsystem\n(S'touch owned'\ntR.",  # a pickle
        header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"),
        header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**40}, 28, 28), }}"),
        header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**62}, {2**62}), }}"),
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 28, 28), }"),
        header("{'descr': '|u1', 'fortran_order': False}"),
        header("__import__('os').system('touch owned')"),
        header("{}", 60_000),
    ],
    ids=lambda content: repr(content[:60]),
)
def test_files_that_are_no_array(tmp_path, content, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    refused(ValueError, lambda: read_examples(path, IMAGES), str(path), "numpy.save")
    assert [file.name for file in tmp_path.iterdir()] == ["a.npy"]


def test_several_arrays_in_one_file(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 28, 28), np.uint8))
    refused(ValueError, lambda: read_examples(tmp_path / "a.npz", IMAGES), "several arrays", "numpy.save")


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "empty"), (b" \n\n", "empty"), (b"a\nb\xff\n", "line 2"), (b"a\0b", "NUL")]
)
def test_texts_that_are_none(tmp_path, content, words):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    refused(ValueError, lambda: read_examples(path, TEXTS), str(path), words)


def test_demo_takes_a_network_of_grey_images_and_a_free_port(run, tmp_path, capsys):
    refused(ValueError, lambda: demo(run), "grey images", "reads features", "use predict")
    for port in (-1, 65536):
        refused(ValueError, lambda port=port: make_server(IMAGES, port), "0..65535", str(port))
    model = sequential(flatten(), linear(4, 2))
    params = ((), linear(4, 2).init(jax.random.key(0))[0])
    inputs = np.zeros((1, 2, 2, 1), np.uint8)
    save_trained(tmp_path, sequential(normalize(0, 1), model), ((), params), ((), ((), ())), inputs, "ab")
    with make_server(IMAGES) as server:
        port = server.server_port
        assert main(["demo", str(tmp_path), "--port", str(port)]) == 2
    output, errors = capsys.readouterr()
    assert (output, len(errors.splitlines())) == ("", 1)
    assert f"cannot listen on 127.0.0.1:{port}" in errors
    assert "--port" in errors


def test_frames_take_grey_pictures():
    refused(ValueError, lambda: fit_frame(np.zeros((4, 4, 3)), FRAMES["mnist"]), "[H, W]", "(4, 4, 3)")
    refused(ValueError, lambda: fit_frame(np.zeros((0, 4)), FRAMES["mnist"]), "(0, 4)")
