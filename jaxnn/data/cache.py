"""Decoded arrays kept in the user's cache folder, so that the second start of a program is quick.

A cache is only ever a shortcut: one that is damaged, out of date or not writable changes no result and raises
nothing.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.data.folders import user_cache_folder

_FORMAT = 1  # a part of the manifest: raise it when what is stored under a name changes


def cached_arrays(
    name: str, sources: Sequence[Path], build: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return `build()`, from the user's cache folder if it was stored there for the same source files.

    The arrays are .npy files beside a `manifest.json` with their SHA-256 and, for each source, its path, size
    and time of change. All of that must agree, else `build` is called and the cache written anew: beside the
    old files, then renamed, so that two programs at once do no harm. Raises nothing but what `build` raises.

    >>> cached_arrays("example", [], lambda: {"x": np.arange(3)})["x"].tolist()
    [0, 1, 2]
    """
    cache = user_cache_folder()
    identity = _identity(sources)  # before build: a file that changes meanwhile is then out of date
    if cache is None or not identity:
        return build()
    paths = "\n".join(path for path, _, _ in identity)
    folder = cache / "arrays" / f"{name}-{hashlib.sha256(paths.encode()).hexdigest()[:16]}"
    arrays = _load(folder, identity)
    if arrays is None:
        arrays = build()
        with contextlib.suppress(OSError):
            _store(folder, identity, arrays)
    return arrays


def _identity(sources: Sequence[Path]) -> list[list[Any]]:
    stats = [(path, path.stat()) for path in sources]
    return [[os.path.abspath(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]


def _file(folder: Path, name: str, digest: str) -> Path:
    return folder / f"{name}-{digest[:16]}.npy"  # the content is in the name: a file is written once


def _load(folder: Path, identity: list[list[Any]]) -> dict[str, np.ndarray] | None:
    """Return the stored arrays, or None unless every byte is as it was written."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        if manifest["format"] != _FORMAT or manifest["sources"] != identity:
            return None
        arrays = {}
        for name, digest in manifest["arrays"].items():
            with _file(folder, name, digest).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    return None
                file.seek(0)
                arrays[name] = np.load(file, allow_pickle=False)
        return arrays
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # no cache yet, or a damaged one


def _store(folder: Path, identity: list[list[Any]], arrays: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder) as beside:
        digests = {}
        for name, array in arrays.items():
            written = Path(beside, name)
            with written.open("wb") as file:
                np.save(file, array, allow_pickle=False)
            with written.open("rb") as file:
                digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
            os.replace(written, _file(folder, name, digests[name]))
        manifest = Path(beside, "manifest.json")
        text = json.dumps({"format": _FORMAT, "sources": identity, "arrays": digests}, indent=1)
        manifest.write_text(text + "\n", "utf-8")
        os.replace(manifest, folder / "manifest.json")
    kept = {_file(folder, name, digest) for name, digest in digests.items()}
    for path in set(folder.glob("*.npy")) - kept:
        path.unlink(missing_ok=True)
