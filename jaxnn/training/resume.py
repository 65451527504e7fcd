"""How far a run has come, and how it goes on from a checkpoint as if it had never stopped."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn import tree
from jaxnn.data import Dataset, Stream
from jaxnn.data.stream import stream_fingerprint
from jaxnn.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    checkpoints,
    is_shared,
    read_manifest,
    restore_checkpoint,
    save_checkpoint,
)
from jaxnn.training.early_stopping import Best
from jaxnn.training.epoch import Progress
from jaxnn.training.processes import agree, refuse_differing, speaks
from jaxnn.training.state import TrainState

Record = dict[str, float]
Folder = str | os.PathLike[str]


class Reached(NamedTuple):
    """All that a run needs to go on. Where it is in the epoch follows from the number of steps."""

    train_state: TrainState
    progress: Progress
    best: Best | None
    history: list[Any]
    """A record for each finished epoch; of many networks trained together, such a list for each."""
    train_seconds: float = 0.0
    epoch_seconds: float = 0.0
    ended: str = ""  # by what: "epochs", "early stopping", "callback"; empty while it goes on


def check_folder(name: str, checkpoints: Folder | None, resume: bool) -> None:
    """Refuse what is no path of a folder, and `resume` without one.

    >>> check_folder("fit", None, True)
    Traceback (most recent call last):
    ValueError: fit got resume=True without checkpoints: give the folder of the run to go on with
    """
    if checkpoints is not None and not isinstance(checkpoints, str | os.PathLike):
        raise TypeError(f"{name} expected checkpoints to be the path of a folder but got {checkpoints!r}")
    if resume and checkpoints is None:
        raise ValueError(f"{name} got resume=True without checkpoints: give the folder of the run to go on with")


def fingerprint(dataset: Dataset | Stream | None) -> str:
    """Return what tells two datasets apart: a hash of every bit, of a stream that of a part of its examples.

    >>> import numpy as np
    >>> fingerprint(Dataset(np.zeros(2), np.zeros(2))) == fingerprint(Dataset(np.zeros(2), np.ones(2)))
    False
    """
    if isinstance(dataset, Stream):
        return stream_fingerprint(dataset)
    return "" if dataset is None else tree.sha256(dataset)[:16]


def save_reached(folder: Folder, reached: Reached, settings: Mapping[str, Any]) -> None:
    """Write a checkpoint of all of it.

    >>> import tempfile, jax.numpy as jnp
    >>> state, progress = TrainState({"weight": jnp.ones(2)}, (), (), jnp.int32(3)), Progress({}, jnp.int32(-1))
    >>> start, settings = Reached(state, progress, None, []), {"epochs": 10}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_reached(folder, start._replace(train_seconds=2.5), settings)
    ...     open_run(folder, start, settings, resume=True)[0].train_seconds
    2.5
    """
    best = reached.best and {"value": reached.best.value, "epoch": reached.best.epoch, "waited": reached.best.waited}
    notes = {
        "settings": dict(settings),
        "history": reached.history,
        "best": best,
        "train_seconds": reached.train_seconds,
        "epoch_seconds": reached.epoch_seconds,
        "ended": reached.ended,
    }
    step = int(np.max(reached.train_state.step))  # of many networks, those that go on have done the most
    save_checkpoint(folder, step, _arrays(reached), notes)


def open_run(folder: Folder, start: Reached, settings: Mapping[str, Any], *, resume: bool) -> tuple[Reached, str]:
    """Return where the run in a folder begins, and what is to be said about that.

    Raises FileExistsError where an unfinished run would be lost, ValueError that lists each setting in which the run
    in the folder was another one (more epochs are none), OSError for a folder that cannot be written, and the errors
    of `restore_checkpoint`.

    >>> start = Reached(TrainState((), (), (), 0), Progress({}, 0), None, [])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     open_run(folder, start, {}, resume=True)[1].replace(folder, "runs")
    'nothing to resume in runs: starting anew'
    """
    paths = checkpoints(folder)
    shared = is_shared(start)
    steps = int(paths[0].stem[5:]) if paths else -1
    refuse_differing(shared, steps, f"the processes see different checkpoints in {folder}: all need the same folder")
    cleans = speaks(shared)
    if not resume or not paths:
        refuse_unfinished(folder)
        _check_writable(folder)
        agree(shared, 0)  # all have looked
        for path in reversed(paths) if cleans else ():  # the one that says that it is finished goes last
            shutil.rmtree(path)
        return start, f"nothing to resume in {folder}: starting anew" if resume else ""
    checkpoint = restore_checkpoint(folder, _arrays(start))
    _same_settings(checkpoint, settings)
    for damaged in paths[: paths.index(checkpoint.path)] if cleans else ():
        shutil.rmtree(damaged, ignore_errors=True)
    reached = _reached(checkpoint, start.best is not None)
    if reached.ended == "epochs" and settings["epochs"] > checkpoint.notes["settings"]["epochs"]:
        reached = reached._replace(ended="")
    if not reached.ended:
        _check_writable(folder)
    return reached, f"{'already finished' if reached.ended else 'going on'} at step {checkpoint.step} of {folder}"


def refuse_unfinished(folder: Folder) -> None:
    """Raise FileExistsError where starting anew in a folder would lose an unfinished run.

    >>> refuse_unfinished("no/such/folder")
    """
    for path in checkpoints(folder)[:1]:
        if not _is_finished(path):
            raise FileExistsError(
                f"{folder} holds a run that is not finished ({path.name}): go on with resume=True (--resume), or "
                "start anew in another folder or after deleting this one"
            )


def _is_finished(path: Path) -> bool:
    """Say whether a run came to its end; of a damaged checkpoint nobody knows."""
    try:
        return bool(read_manifest(path)["notes"]["ended"])
    except CheckpointError:
        return False


def _check_writable(folder: Folder) -> None:
    """Find out before the first step what would make the first checkpoint fail."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise type(error)(error.errno, f"checkpoints cannot be saved in {folder}: {error.strerror}") from error


def _reached(checkpoint: Checkpoint, watched: bool) -> Reached:
    values, notes = checkpoint.tree, checkpoint.notes
    best = Best(**notes["best"], params=values["best"][0], model_state=values["best"][1]) if watched else None
    times = notes["train_seconds"], notes["epoch_seconds"]
    return Reached(values["train_state"], values["progress"], best, notes["history"], *times, notes["ended"])


def _arrays(reached: Reached) -> dict[str, Any]:
    best = () if reached.best is None else (reached.best.params, reached.best.model_state)
    return {"train_state": reached.train_state, "progress": reached.progress, "best": best}


def _same_settings(checkpoint: Checkpoint, settings: Mapping[str, Any]) -> None:
    saved = checkpoint.notes["settings"]
    differences = [
        f"{name} was {saved.get(name)!r} and is {settings.get(name)!r}"
        for name in {**saved, **settings}
        if saved.get(name) != settings.get(name) and not (name == "epochs" and settings["epochs"] >= saved["epochs"])
    ]
    if differences:
        raise ValueError(
            f"the run in {checkpoint.path.parent} is another one: {'; '.join(differences)}. Only epochs may grow"
        )
