"""IDX files, against a writer made of `struct` alone."""

import gzip
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnn.data import read_idx

# type byte -> (struct's letter, NumPy's type), from the description of the format
TYPES = {
    8: ("B", "uint8"),
    9: ("b", "int8"),
    11: ("h", "int16"),
    12: ("i", "int32"),
    13: ("f", "float32"),
    14: ("d", "float64"),
}


def idx_bytes(code: int, shape: tuple[int, ...], values: list) -> bytes:
    return (
        struct.pack(">BBBB", 0, 0, code, len(shape))
        + struct.pack(f">{len(shape)}I", *shape)
        + struct.pack(f">{len(values)}{TYPES[code][0]}", *values)
    )


@st.composite
def files(draw):
    code = draw(st.sampled_from(list(TYPES)))
    shape = tuple(draw(st.lists(st.integers(0, 5), min_size=1, max_size=4)))
    letter, dtype = TYPES[code]
    if letter in "fd":
        one = st.floats(width=32 if letter == "f" else 64, allow_nan=False)
    else:
        one = st.integers(int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    size = int(np.prod(shape))
    return code, shape, draw(st.lists(one, min_size=size, max_size=size))


@settings(deadline=None)
@given(file=files(), compress=st.booleans())
def test_round_trip(tmp_path_factory, file, compress):
    code, shape, values = file
    data = idx_bytes(code, shape, values)
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(gzip.compress(data) if compress else data)
    array = read_idx(path)
    assert array.shape == shape
    assert array.dtype == np.dtype(TYPES[code][1])
    assert array.dtype.isnative
    assert array.flatten().tolist() == values


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_every_cut_and_every_changed_byte_of_gzip_is_a_value_error_or_harmless(tmp_path_factory, data):
    whole = gzip.compress(idx_bytes(8, (3, 4), list(range(12))))
    path = tmp_path_factory.mktemp("idx") / "file.gz"
    cut = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:cut])
    with pytest.raises(ValueError, match=r"file\.gz"):
        read_idx(path)
    place = data.draw(st.integers(10, len(whole) - 1))  # past gzip's header, whose time and system say nothing
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    with pytest.raises(ValueError, match=r"file\.gz"):
        read_idx(path)


def test_gzip_is_known_by_its_bytes_and_not_by_its_name(tmp_path):
    data = idx_bytes(8, (2,), [5, 6])
    (tmp_path / "plain-name").write_bytes(gzip.compress(data))
    assert read_idx(str(tmp_path / "plain-name")).tolist() == [5, 6]


def test_result_is_writable(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(idx_bytes(8, (2,), [5, 6]))
    array = read_idx(path)
    array[0] = 1
    assert array.tolist() == [1, 6]


def test_larger_than_one_read(tmp_path):
    """The stream is read in pieces of 1 MiB, and zlib may hold back output at the end of one."""
    values = np.random.default_rng(0).integers(0, 256, (3, 2**20), dtype=np.uint8)
    data = struct.pack(">BBBBII", 0, 0, 8, 2, *values.shape) + values.tobytes()
    for level in (0, 1, 9):
        path = tmp_path / f"level-{level}.gz"
        path.write_bytes(gzip.compress(data, level))
        np.testing.assert_array_equal(read_idx(path), values)


def test_a_bomb_is_inflated_no_further_than_its_header_allows(tmp_path, monkeypatch):
    """256 MiB of zeros behind a header that promises 4 bytes."""
    asked = []

    class Watched:
        def __init__(self, inflator):
            self.inflator = inflator

        def __getattr__(self, name):
            return getattr(self.inflator, name)

        def decompress(self, data, limit):
            asked.append(limit)
            return self.inflator.decompress(data, limit)

    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 4) + bytes(2**28), 1))
    make = zlib.decompressobj
    monkeypatch.setattr("jaxnn.data.idx.zlib.decompressobj", lambda bits: Watched(make(bits)))
    with pytest.raises(ValueError, match=r"expected 12 bytes .* found at least 13"):
        read_idx(path)
    assert max(asked) <= 5
    assert sum(asked) <= 4 + 4 + 5
