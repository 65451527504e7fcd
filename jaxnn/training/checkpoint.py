"""Checkpoints: a tree written by Orbax, and beside it a manifest that says what every byte has to be."""

import errno
import gc
import hashlib
import json
import logging
import os
import re
import shutil
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import checks, tree
from jaxnn.files import write_whole
from jaxnn.training.forms import forms, refuse_other_forms
from jaxnn.training.processes import all_or_none, speaks

KEEP = 2  # the newest, and the one before it to fall back to
MANIFEST, DIGEST, ARRAYS = "manifest.json", "manifest.sha256", "arrays"


class CheckpointError(ValueError):
    """Raised for a checkpoint whose bytes are not those that were written."""


class Checkpoint(NamedTuple):
    """What was restored: the tree, the notes saved with it, the step, and the folder it came from."""

    tree: Any
    notes: dict[str, Any]
    step: int
    path: Path


def save_checkpoint(folder: str | os.PathLike[str], step: int, values: Any, notes: Mapping[str, Any]) -> Path:
    """Write the arrays of a tree and the notes (anything that JSON can say) to `folder/step_<step>`; return that path.

    All is written beside and renamed when it is complete and on the disk, so a run killed at any moment leaves the
    checkpoints that were there. The two newest are kept. The manifest holds size and SHA-256 of each file, path,
    dtype and shape of each array, and the versions that wrote it; its own SHA-256 is written last.

    Of arrays that lie on devices of several processes each process writes its parts, and process 0 the rest: all of
    them have to save, into a folder that all of them see.

    Raises OSError when the disk is full or the folder cannot be written; older checkpoints stay. TypeError for notes
    that JSON cannot say, ValueError for two arrays under one path.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_checkpoint(folder, 3, {"weight": jnp.ones(2)}, {"loss": 0.5})
    ...     restored = restore_checkpoint(folder, {"weight": jnp.zeros(2)})
    >>> path.name, restored.step, restored.tree["weight"].tolist(), restored.notes
    ('step_00000003', 3, [1.0, 1.0], {'loss': 0.5})
    """
    checks.non_negative_int("save_checkpoint", "step", step)
    folder = Path(folder).absolute()
    path = folder / f"step_{step:08d}"
    part, before = path.with_suffix(".part"), path.with_suffix(".before")
    manifest = {"step": int(step), "notes": dict(notes), "leaves": forms(values), "versions": _versions()}
    json.dumps(manifest, default=_plain)  # speaks before anything is written
    shared = is_shared(values)
    writes = speaks(shared)
    try:
        all_or_none(shared, lambda: _make_room(folder, part), first_alone=True)
        all_or_none(shared, lambda: _write_arrays(part / ARRAYS, values))
        all_or_none(shared, lambda: _complete(path, part, before, manifest), first_alone=True)
    except OSError as error:
        if writes:
            _remove_for_good(part)
        raise type(error)(error.errno, f"cannot save the checkpoint {path}: {error.strerror or error}") from error
    finally:
        if writes:
            shutil.rmtree(part, ignore_errors=True)
    others = [other for other in checkpoints(folder) if other not in (path, before)]
    for old in (before, *others[KEEP - 1 :]) if writes else ():
        shutil.rmtree(old, ignore_errors=True)
    return path


def is_shared(values: Any) -> bool:
    """Say whether arrays of a tree lie on devices of other processes too, which then have to save and restore as well.

    >>> is_shared({"weight": jnp.ones(2)})
    False
    """
    return any(isinstance(leaf, jax.Array) and not leaf.is_fully_addressable for leaf in jax.tree.leaves(values))


def _make_room(folder: Path, part: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("step_*.part"):  # of a run that was killed while it saved
        shutil.rmtree(left)
    part.mkdir()


def _complete(path: Path, part: Path, before: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest of the files, and put all of it in its place."""
    manifest["files"] = {name: _fingerprint(part / name) for name in _files(part)}
    content = json.dumps(manifest, indent=1, default=_plain).encode()
    write_whole(part / MANIFEST, content)
    write_whole(part / DIGEST, hashlib.sha256(content).hexdigest().encode())
    _synchronise(part)
    if path.exists():  # of the same step: kept until the new one is in its place
        shutil.rmtree(before, ignore_errors=True)
        os.replace(path, before)
    os.replace(part, path)
    _synchronise(path.parent, deep=False)


def _remove_for_good(folder: Path) -> None:
    """Delete what a failed save left; a thread of Orbax that has not noticed may put it there again for a moment."""
    absent = 0
    for _ in range(40):
        shutil.rmtree(folder, ignore_errors=True)
        absent = 0 if folder.exists() else absent + 1
        if absent == 3:
            return
        time.sleep(0.05)


def checkpoints(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the paths of the complete checkpoints in a folder, the newest first; none where there is no folder.

    >>> checkpoints("no/such/folder")
    []
    """
    paths = Path(folder).absolute().glob("step_*")
    complete = [path for path in paths if re.fullmatch(r"step_\d{8,}(\.before)?", path.name)]
    return sorted(complete, key=lambda path: (int(path.stem[5:]), path.suffix == ""), reverse=True)


def restore_checkpoint(folder: str | os.PathLike[str], like: Any) -> Checkpoint:
    """Read the newest checkpoint of a folder that is undamaged, into the structure, shapes and dtypes of `like`.

    Every byte is checked against the manifest before it is used. Where the newest is damaged the one before it is
    used, with a warning that says why. An array comes to lie where that of `like` lies, on however many devices it was
    written.

    Raises FileNotFoundError for a folder without checkpoints; CheckpointError when all of them are damaged;
    ValueError that lists every missing, extra and mis-shaped array when the checkpoint is of another model.

    >>> restore_checkpoint("no/such/folder", {})
    Traceback (most recent call last):
    FileNotFoundError: there is no checkpoint in no/such/folder
    """
    damages = []
    for path in checkpoints(folder):
        try:
            manifest = read_manifest(path)
        except CheckpointError as damage:
            damages.append(str(damage))
            continue
        refuse_other_forms(f"{path} is of another model or optimizer", manifest["leaves"], forms(like))
        for damage in damages:
            warnings.warn(f"{damage}. Using {path.name} before it", stacklevel=2)
        return Checkpoint(_read_arrays(path / ARRAYS, like), manifest["notes"], manifest["step"], path)
    if damages:
        raise CheckpointError("; ".join(damages))
    raise FileNotFoundError(f"there is no checkpoint in {folder}")


def read_manifest(path: Path) -> dict[str, Any]:
    """Verify a checkpoint, all files of it, and return what its manifest says. Raises CheckpointError with the path.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     manifest = read_manifest(save_checkpoint(folder, 3, {"weight": jnp.ones(2)}, {}))
    >>> manifest["step"], manifest["leaves"]
    (3, {'weight': ['float32', [2]]})
    """
    try:
        return _verified(path)
    except OSError as error:  # missing, no file or folder, a disk that cannot be read
        name = os.path.relpath(error.filename or path, path)
        raise CheckpointError(f"{path} is damaged: {name}: {error.strerror or error}") from error


def _verified(path: Path) -> dict[str, Any]:
    content, digest = (path / MANIFEST).read_bytes(), (path / DIGEST).read_bytes()
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise CheckpointError(f"{path} is damaged: {MANIFEST} has not the SHA-256 in {DIGEST}")
    manifest = json.loads(content)
    for name, expected in manifest["files"].items():
        size = (path / name).stat().st_size
        if size != expected["bytes"]:
            raise CheckpointError(f"{path} is damaged: {name} has {size} bytes, not {expected['bytes']}")
        if _fingerprint(path / name) != expected:
            raise CheckpointError(f"{path} is damaged: {name} has not the SHA-256 in {MANIFEST}")
    return manifest


def _write_arrays(path: Path, values: Any) -> None:
    import orbax.checkpoint as ocp

    # Arrays under their paths, so that no class has to be restored; Orbax takes none of size 0, which hold nothing.
    arrays = {name: jnp.asarray(leaf) for name, leaf in tree.paths(values).items() if np.size(leaf)}
    if not arrays:  # Orbax takes no tree of nothing
        return
    failure = None
    with _unlogged():
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(path, arrays)
        except OSError as error:
            failure = OSError(error.errno, error.strerror or str(error))
        except ValueError as error:  # what TensorStore makes of a disk that is full
            code = re.search(r"os_error_code='(\d+)'", str(error))
            number = int(code[1]) if code else errno.EIO
            failure = OSError(number, os.strerror(number) if code else checks.first_line(error))
        for thread in threading.enumerate():  # one may still be about to log, after another has raised
            if type(thread).__module__.startswith("orbax."):
                threading.Thread.join(thread, timeout=10)  # Orbax's own would raise the thread's error once more
        if failure is not None:
            gc.collect()  # an error that Orbax has left in a future is logged when the future goes
    if failure is not None:
        raise failure


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep Orbax from logging what is raised as well: a thousand lines for a disk that is full."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _read_arrays(path: Path, like: Any) -> Any:
    import orbax.checkpoint as ocp

    wanted = {
        name: jax.ShapeDtypeStruct(np.shape(leaf), jnp.asarray(leaf).dtype, sharding=_sharding(leaf))
        for name, leaf in tree.paths(like).items()
        if np.size(leaf)
    }
    if not wanted:
        return like
    with ocp.StandardCheckpointer() as checkpointer:
        arrays = checkpointer.restore(path, wanted)
    leaves = [arrays.get(name, leaf) for name, leaf in tree.paths(like).items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _sharding(leaf: Any) -> jax.sharding.Sharding:
    """Return where an array lies, so that the restored one lies there too."""
    return leaf.sharding if isinstance(leaf, jax.Array) else jax.sharding.SingleDeviceSharding(jax.devices()[0])


def _files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def _fingerprint(file: Path) -> dict[str, Any]:
    with open(file, "rb") as stream:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def _plain(value: Any) -> Any:
    """Turn numbers of NumPy and JAX into Python's, for JSON."""
    if np.ndim(value) == 0 and hasattr(value, "item"):
        return value.item()
    raise TypeError(f"notes of a checkpoint are numbers, words, lists and dicts but got {type(value).__name__}")


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("jax", "jaxlib", "numpy", "optax", "orbax-checkpoint", "jaxnn")}


def _synchronise(folder: Path, *, deep: bool = True) -> None:
    """Wait until the folder, and what is in it, is on the disk."""
    for path in (folder, *(folder.rglob("*") if deep else ())):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
