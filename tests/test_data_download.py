"""Downloads through TFDS's manager, from a server on this machine; and what happens where none answers."""

import functools
import hashlib
import http.server
import threading
import time

import pytest

from jaxnn.data.download import download, unreachable

pytest.importorskip("requests", reason="requests (of tensorflow-datasets) is not installed")

FILES = {"a.gz": b"first", "b.gz": b"second"}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve FILES and return their address; TFDS knows their checksums."""
    checksums = pytest.importorskip("tensorflow_datasets").core.download.checksums
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=[0.01])
        thread.start()
        address = f"http://127.0.0.1:{running.server_port}/"
        known = {
            address + name: checksums.UrlInfo(len(data), hashlib.sha256(data).hexdigest(), name)
            for name, data in FILES.items()
        }
        monkeypatch.setattr(checksums, "get_all_url_infos", lambda: dict(known))
        yield address, folder
        running.shutdown()
        thread.join()


def test_files_arrive_and_nothing_else(server, tmp_path):
    address, _ = server
    assert download(tmp_path / "data", address, list(FILES)) == ""
    assert {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()} == FILES


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    address, folder = server
    (folder / "b.gz").write_bytes(b"sEcond")
    reason = download(tmp_path / "data", address, list(FILES))
    assert "NonMatchingChecksumError" in reason
    assert len(reason.splitlines()) == 1
    assert not list((tmp_path / "data").iterdir())


def test_an_address_without_a_registered_checksum_is_refused(server, tmp_path):
    address, folder = server
    (folder / "c.gz").write_bytes(b"third")
    assert "Missing checksums" in download(tmp_path / "data", address, ["c.gz"])


def test_a_folder_that_cannot_be_written(server, tmp_path):
    address, _ = server
    (tmp_path / "file").write_text("no folder")
    assert "file" in download(tmp_path / "file" / "data", address, list(FILES))


def test_a_file_that_the_server_lacks(server, tmp_path):
    address, _ = server
    assert "(404)" in download(tmp_path / "data", address, ["absent.gz"])


def test_nobody_listens():
    assert "is not reachable (ConnectionError)" in unreachable("http://127.0.0.1:9/file")


def test_a_host_that_never_answers_costs_little_more_than_the_timeout(monkeypatch):
    monkeypatch.setattr("requests.head", lambda *args, **kwargs: time.sleep(5))  # as a slow name server does
    start = time.perf_counter()
    assert "no answer within 0.1 s" in unreachable("http://example.invalid/file", timeout=0.1)
    assert time.perf_counter() - start < 2


def test_without_tfds(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'jaxnn[data]'" in download(tmp_path / "data", "http://example.invalid/", ["a"])
    assert not (tmp_path / "data").exists()
