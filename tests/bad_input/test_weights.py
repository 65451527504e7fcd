"""Files of weights that are damaged, lie, or are something else: one error that names the path, and never a pickle."""

import json
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from refusal import refused

from jaxnn.training.checkpoint import CheckpointError
from jaxnn.training.weights import load_weights, save_weights

PARAMS = {"weight": jnp.arange(12.0).reshape(3, 4), "bias": jnp.ones(4, jnp.bfloat16)}


@pytest.fixture
def path(tmp_path):
    return save_weights(tmp_path / "model.safetensors", PARAMS)


def load(path):
    return load_weights(path, like=(PARAMS, ()))


def file(header, data: bytes, length: int | None = None) -> bytes:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(content) if length is None else length) + content + data


def tensor(start, end, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def test_truncated_anywhere_or_longer(path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refused(CheckpointError, lambda: load(path), str(path))
    path.write_bytes(whole + b"\0")
    refused(CheckpointError, lambda: load(path), str(path))


def test_a_bit_flipped_in_the_arrays(path):
    whole = path.read_bytes()
    for place in range(len(whole) - 56, len(whole)):  # 12 float32 and 4 bfloat16
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        refused(CheckpointError, lambda: load(path), str(path), "SHA-256")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        np.random.default_rng(0).bytes(4096),
        b"\x80\x04\x95" + b"cos\nsystem\n(S'touch owned'\ntR.",  # a pickle
        file({}, b"", length=2**62),
        file({}, b"", length=2**64 - 1),
        file({"a": tensor(0, 8)}, b"\0" * 4),  # offsets beyond the end
        file({"a": tensor(0, 8), "b": tensor(4, 12)}, b"\0" * 12),  # overlapping
        file({"a": tensor(8, 0)}, b"\0" * 8),
        file({"a": tensor(0, 8, shape=(3,))}, b"\0" * 8),  # a shape that lies
        file({"a": tensor(0, 8, shape=(2**62, 2**62))}, b"\0" * 8),
        file({"a": tensor(0, 8, dtype="object")}, b"\0" * 8),
        file({"a": tensor(0, 8, shape=(2, 1), dtype="E8M0")}, b"\0" * 8),
        file(b"[" * 100_000, b""),
        file(b"[]", b""),
        file({"a": None}, b""),
        file({"__metadata__": {"jaxnn": "[]"}}, b""),
        file({"__metadata__": {"jaxnn": "{"}}, b""),
        file({"__metadata__": {"jaxnn": json.dumps({"version": "0.1.0", "model": ""})}}, b""),
    ],
    ids=lambda content: repr(content[:24]),
)
def test_what_is_no_file_of_weights(tmp_path, content):
    (tmp_path / "weights").write_bytes(content)
    refused(CheckpointError, lambda: load_weights(tmp_path / "weights", like=((), ())), str(tmp_path / "weights"))
    assert [file.name for file in tmp_path.iterdir()] == ["weights"]


def test_no_file_or_a_folder(tmp_path):
    refused(FileNotFoundError, lambda: load(tmp_path / "none"), str(tmp_path / "none"))
    refused(IsADirectoryError, lambda: load(tmp_path), str(tmp_path))


def test_nowhere_to_save(tmp_path):
    refused(FileNotFoundError, lambda: save_weights(tmp_path / "no" / "a", PARAMS), "no folder", "create it first")
    (tmp_path / "file").write_bytes(b"mine")
    refused(NotADirectoryError, lambda: save_weights(tmp_path / "file" / "a", PARAMS), str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_what_cannot_be_saved(tmp_path):
    path = tmp_path / "a"
    refused(TypeError, lambda: save_weights(path, {"a": jnp.ones(2, jnp.int4)}), "params.a is int4")
    refused(TypeError, lambda: save_weights(path, {"a": "word"}), "params.a is str")
    refused(ValueError, lambda: save_weights(path, {"a.b": jnp.ones(1), "a": {"b": jnp.ones(1)}}), "params.a.b", "two")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("like", "words"), [(PARAMS, "got dict"), ((PARAMS,), "a tuple of 1"), (None, "NoneType")])
def test_like_is_a_pair(path, like, words):
    refused(TypeError, lambda: load_weights(path, like=like), "the pair (params, state)", words)
