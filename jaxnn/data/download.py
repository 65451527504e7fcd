"""Files from the internet through TFDS's download manager, which knows the SHA-256 of each."""

import importlib.util
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TIMEOUT = 3.0  # seconds; TFDS itself asks again for 200 s before it gives up


def download(folder: Path, base_url: str, files: Sequence[str]) -> str:
    """Download `base_url + file` for each file into the folder; return "" or, if that failed, the reason.

    The host is asked first, with a timeout of a few seconds. A file appears in the folder only when it is
    complete and its checksum is the one that TFDS has registered.
    """
    if importlib.util.find_spec("tensorflow_datasets") is None:
        return "tensorflow-datasets is not installed (pip install 'jaxnn[data]')"
    silence = unreachable(base_url + files[0])
    if silence:
        return silence
    try:
        import tensorflow_datasets as tfds

        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as beside:
            manager = tfds.download.DownloadManager(download_dir=beside, force_checksums_validation=True)
            paths = manager.download({file: base_url + file for file in files})
            for file in files:
                os.replace(paths[file], folder / file)
    except Exception as error:  # whatever it was: the caller says that the files are not there, and why
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    return ""


def unreachable(url: str, timeout: float = TIMEOUT) -> str:
    """Return "" if the server offers the file, else why not, after little more than `timeout` seconds."""
    answer: list[Any] = []

    def ask() -> None:
        try:
            import requests

            answer.append(requests.head(url, timeout=timeout, allow_redirects=True).status_code)
        except Exception as error:
            answer.append(type(error).__name__)

    # A thread, because looking up a name has a timeout of its own, often longer
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout + 0.5)
    found = answer[0] if answer else f"no answer within {timeout:g} s"
    return "" if found == 200 else f"{url} is not reachable ({found})"
