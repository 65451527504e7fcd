"""The cache of decoded arrays: quick when it holds, and of no consequence when it does not."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jaxnn.data.cache import cached_arrays
from jaxnn.data.folders import data_folder, user_cache_folder

ARRAYS = {"images": np.arange(24, dtype=np.uint8).reshape(2, 3, 4), "labels": np.array([3, 1], np.int32)}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "jaxnn" / "arrays"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_text("one")
    return path


def counting_build(arrays=ARRAYS):
    calls = []

    def build():
        calls.append(1)
        return dict(arrays)

    return build, calls


def assert_arrays(found, expected=ARRAYS):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_second_call_reads_what_the_first_stored(cache, source):
    build, calls = counting_build()
    for _ in range(3):
        assert_arrays(cached_arrays("set", [source], build))
    assert len(calls) == 1
    (folder,) = cache.iterdir()
    names = sorted(path.name.split("-")[0] for path in folder.iterdir())
    assert names == ["images", "labels", "manifest.json"]


@pytest.mark.parametrize("change", ["content", "time", "size"])
def test_a_changed_source_is_read_again_and_the_old_arrays_go(cache, source, change):
    cached_arrays("set", [source], counting_build()[0])
    stat = source.stat()
    source.write_text({"content": "two", "time": "one", "size": "more"}[change])
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns + (change != "size")))
    new = {"images": ARRAYS["images"] + 1, "labels": ARRAYS["labels"]}
    build, calls = counting_build(new)
    for _ in range(2):
        assert_arrays(cached_arrays("set", [source], build), new)
    assert len(calls) == 1
    assert len(list(cache.glob("*/*.npy"))) == 2


def test_sets_and_sources_do_not_meet(cache, source, tmp_path):
    other = tmp_path / "other"
    other.write_text("one")
    cached_arrays("set", [source], counting_build()[0])
    for name, paths in (("set", [other]), ("set", [source, other]), ("another", [source])):
        build, calls = counting_build()
        cached_arrays(name, paths, build)
        assert len(calls) == 1
    assert len(list(cache.iterdir())) == 4


def test_every_damage_is_repaired(cache, source):
    cached_arrays("set", [source], counting_build()[0])
    files = sorted(cache.glob("*/*"))
    for path in files:
        whole = path.read_bytes()
        damages = [whole[:cut] for cut in range(0, len(whole), 9)]
        damages += [whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :] for place in range(0, len(whole), 5)]
        for damaged in damages:
            path.write_bytes(damaged)
            assert_arrays(cached_arrays("set", [source], counting_build()[0]))
        path.unlink(missing_ok=True)
        assert_arrays(cached_arrays("set", [source], counting_build()[0]))
        build, calls = counting_build()
        assert_arrays(cached_arrays("set", [source], build))
        assert not calls
    assert sorted(cache.glob("*/*")) == files


@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"format": 1}', "[" * 100_000])
def test_a_manifest_of_another_kind_is_replaced(cache, source, text):
    cached_arrays("set", [source], counting_build()[0])
    (manifest,) = cache.glob("*/manifest.json")
    whole = manifest.read_text()
    manifest.write_text(text)
    assert_arrays(cached_arrays("set", [source], counting_build()[0]))
    assert manifest.read_text() == whole


def test_arrays_of_another_kind_in_the_manifest(cache, source):
    cached_arrays("set", [source], counting_build()[0])
    (manifest,) = cache.glob("*/manifest.json")
    for arrays in ([], None, {"images": 3}, {"images": None}):
        content = json.loads(manifest.read_text())
        manifest.write_text(json.dumps(content | {"arrays": arrays}))
        assert_arrays(cached_arrays("set", [source], counting_build()[0]))


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path, source, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    build, calls = counting_build()
    for _ in range(2):
        assert_arrays(cached_arrays("set", [source], build))
    assert len(calls) == 2


def test_a_full_disk_stops_nothing_and_leaves_nothing(cache, source, monkeypatch):
    def no_space(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("jaxnn.data.cache.np.save", no_space)
        assert_arrays(cached_arrays("set", [source], counting_build()[0]))
    assert not list(cache.glob("*/*"))
    build, calls = counting_build()
    for _ in range(2):
        assert_arrays(cached_arrays("set", [source], build))
    assert len(calls) == 1


def test_many_at_once(cache, source):
    """Some read while others write and repair; every one gets the right arrays."""

    def one(number):
        for path in list(cache.glob("*/*.npy"))[: number % 3]:
            path.unlink(missing_ok=True)
        assert_arrays(cached_arrays("set", [source], counting_build()[0]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(200)))
    assert_arrays(cached_arrays("set", [source], counting_build()[0]))


def test_an_error_of_build_passes_and_a_missing_source_is_one(cache, source):
    def build():
        raise ValueError("of its own")

    with pytest.raises(ValueError, match="of its own"):
        cached_arrays("set", [source], build)
    with pytest.raises(FileNotFoundError):
        cached_arrays("set", [source.with_name("absent")], counting_build()[0])


def test_folders(tmp_path, monkeypatch):
    monkeypatch.delenv("JAXNN_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # by the XDG specification to be ignored
    assert user_cache_folder() == tmp_path / ".cache" / "jaxnn"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert user_cache_folder() == data_folder() == tmp_path / "x" / "jaxnn"
    monkeypatch.setenv("JAXNN_DATA_DIR", str(tmp_path / "data"))
    assert data_folder() == tmp_path / "data"
    assert data_folder(tmp_path) == tmp_path


def test_no_home(source, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("JAXNN_DATA_DIR", raising=False)
    monkeypatch.setattr("jaxnn.data.folders.os.path.expanduser", lambda path: path)
    assert user_cache_folder() is None
    assert data_folder() is None
    assert_arrays(cached_arrays("set", [source], counting_build()[0]))
