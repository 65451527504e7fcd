"""Checkpoints: a tree written by Orbax, and beside it a manifest that says what every byte has to be."""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import checks, tree
from jaxnn.files import write_whole

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

    Raises OSError when the disk is full or the folder cannot be written; older checkpoints stay.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_checkpoint(folder, 3, {"weight": jnp.ones(2)}, {"loss": 0.5})
    ...     restored = restore_checkpoint(folder, {"weight": jnp.zeros(2)})
    >>> path.name, restored.step, restored.tree["weight"].tolist(), restored.notes
    ('step_00000003', 3, [1.0, 1.0], {'loss': 0.5})
    """
    checks.non_negative_int("save_checkpoint", "step", step)
    folder = Path(folder).absolute()
    path, part = folder / f"step_{step:08d}", folder / f"step_{step:08d}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("step_*.part"):  # of a run that was killed while it saved
            shutil.rmtree(left)
        part.mkdir()
        _write_arrays(part / ARRAYS, values)
        manifest = {"step": step, "notes": dict(notes), "leaves": _leaves(values), "versions": _versions()}
        manifest["files"] = {name: _fingerprint(part / name) for name in _files(part)}
        content = json.dumps(manifest, indent=1).encode()
        write_whole(part / MANIFEST, content)
        write_whole(part / DIGEST, hashlib.sha256(content).hexdigest().encode())
        _synchronise(part)
        shutil.rmtree(path, ignore_errors=True)  # only a damaged one of the same step can be there
        os.replace(part, path)
        _synchronise(folder, deep=False)
    except OSError as error:
        raise type(error)(error.errno, f"cannot save the checkpoint {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for old in checkpoints(folder)[KEEP:]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def checkpoints(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the paths of the complete checkpoints in a folder, the newest first; none where there is no folder.

    >>> checkpoints("no/such/folder")
    []
    """
    paths = Path(folder).absolute().glob("step_" + "[0-9]" * 8)
    return sorted(paths, reverse=True)


def restore_checkpoint(folder: str | os.PathLike[str], like: Any) -> Checkpoint:
    """Read the newest checkpoint of a folder that is undamaged, into the structure, shapes and dtypes of `like`.

    Every byte is checked against the manifest before it is used. Where the newest is damaged the one before it is
    used, with a warning that says why.

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
        _same_leaves(path, manifest["leaves"], _leaves(like))
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
        content, digest = (path / MANIFEST).read_bytes(), (path / DIGEST).read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is damaged: {Path(error.filename).name} is missing") from error
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise CheckpointError(f"{path} is damaged: {MANIFEST} has not the SHA-256 in {DIGEST}")
    manifest = json.loads(content)
    for name, expected in manifest["files"].items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"{path} is damaged: {name} is missing")
        if file.stat().st_size != expected["bytes"]:
            raise CheckpointError(f"{path} is damaged: {name} has {file.stat().st_size} bytes, not {expected['bytes']}")
        if _fingerprint(file) != expected:
            raise CheckpointError(f"{path} is damaged: {name} has not the SHA-256 in {MANIFEST}")
    return manifest


def _write_arrays(path: Path, values: Any) -> None:
    import orbax.checkpoint as ocp

    # Arrays under their paths, so that no class has to be restored; Orbax takes none of size 0, which hold nothing.
    arrays = {name: jnp.asarray(leaf) for name, leaf in tree.paths(values).items() if np.size(leaf)}
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path, arrays)
    except ValueError as error:  # what TensorStore makes of a disk that is full
        raise OSError(None, str(error).splitlines()[0]) from error


def _read_arrays(path: Path, like: Any) -> Any:
    import orbax.checkpoint as ocp

    wanted = {
        name: jax.ShapeDtypeStruct(np.shape(leaf), jnp.asarray(leaf).dtype, sharding=_sharding(leaf))
        for name, leaf in tree.paths(like).items()
        if np.size(leaf)
    }
    with ocp.StandardCheckpointer() as checkpointer:
        arrays = checkpointer.restore(path, wanted)
    leaves = [arrays.get(name, leaf) for name, leaf in tree.paths(like).items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _sharding(leaf: Any) -> jax.sharding.Sharding:
    """Return where an array lies, so that the restored one lies there too."""
    return leaf.sharding if isinstance(leaf, jax.Array) else jax.sharding.SingleDeviceSharding(jax.devices()[0])


def _leaves(values: Any) -> dict[str, list]:
    return {name: [str(jnp.asarray(leaf).dtype), list(np.shape(leaf))] for name, leaf in tree.paths(values).items()}


def _same_leaves(path: Path, found: Mapping[str, list], expected: Mapping[str, list]) -> None:
    """Refuse a checkpoint of another model, with every difference at once."""
    differences = [f"missing {name}" for name in expected if name not in found]
    differences += [f"extra {name}" for name in found if name not in expected]
    for name in expected:
        if name in found and found[name] != expected[name]:
            (dtype, shape), (saved_dtype, saved_shape) = expected[name], found[name]
            differences.append(f"{name} is {saved_dtype} {tuple(saved_shape)} where {dtype} {tuple(shape)} is expected")
    if differences:
        raise ValueError(f"{path} is of another model or optimizer: {'; '.join(differences)}")


def _files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def _fingerprint(file: Path) -> dict[str, Any]:
    with open(file, "rb") as stream:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


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
