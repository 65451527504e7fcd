"""How many networks trained together go on from a checkpoint: one folder for each chunk of them."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxnn import checks
from jaxnn.data import Dataset
from jaxnn.training.checkpoint import checkpoints
from jaxnn.training.resume import Folder, Reached, fingerprint, open_run, save_reached
from jaxnn.training.sweep_loop import Chunk, Save, Task
from jaxnn.training.sweep_settings import Recipe, made


def run_settings(recipe: Recipe, task: Task, dataset: Dataset, validation: Dataset | None) -> dict[str, Any]:
    """Return what tells one sweep from another, but for the networks.

    >>> import numpy as np
    >>> data, rows = Dataset(np.zeros((4, 2)), np.zeros(4)), np.arange(4)[None]
    >>> recipe = Recipe(lambda h: (), lambda p, t: p, {}, None)
    >>> run_settings(recipe, Task(data, None, rows, rows[:, :0], None, 3, 2), data, None)["batch_size"]
    2
    """
    return {
        "loss": checks.name_of(recipe.loss),
        "data": fingerprint(dataset),
        "validation": fingerprint(validation),
        "validation_examples": task.validation_rows.shape[1],
        "batch_size": task.batch_size,
        "augment": recipe.augment is not None,
        "epochs": task.epochs,
    }


def networks_settings(recipe: Recipe, settings: Sequence[dict[str, Any]], seeds: Sequence[int]) -> dict[str, Any]:
    """Return what tells the networks of one chunk from those of another.

    >>> import optax
    >>> from jaxnn.layers import linear
    >>> recipe = Recipe(lambda h: (linear(2, h["width"]), optax.sgd(0.1)), None, {}, None)
    >>> networks_settings(recipe, [{"width": 3}], [7])
    {'model': 'linear(2, 3)', 'hyperparameters': [{'width': 3}], 'seeds': [7]}
    """
    found = {
        "model": checks.as_layer("fit_many", made(recipe.make, settings[0])[0]).name,
        "hyperparameters": list(settings),
        "seeds": list(seeds),
    }
    return json.loads(json.dumps(found, default=str))  # as it will be read again


class Saving(NamedTuple):
    """Where the networks of a sweep are saved, what tells it from another, and whether it goes on there."""

    folder: Folder
    settings: Mapping[str, Any]
    resume: bool


def open_chunk(
    saving: Saving, program: int, first: int, chunk: Chunk, networks: Mapping[str, Any]
) -> tuple[Chunk, Save, str]:
    """Return where the networks from `first` on of a program begin, what saves them, and what is to be said.

    Of networks that have ended one checkpoint stays. Raises what `open_run` raises.

    >>> import tempfile
    >>> import numpy as np
    >>> from jaxnn.training.sweep_programs import Running
    >>> from jaxnn.training.state import TrainState
    >>> start = Chunk(Running({}, (), TrainState((), (), (), np.zeros(2, np.int32)), ()), np.arange(2), [[], []])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     saving = Saving(folder, {"epochs": 3}, True)
    ...     save = open_chunk(saving, 0, 0, start, {"seeds": [0, 1]})[1]
    ...     save(start._replace(histories=[[{"loss": 1.0}], []]), False)
    ...     open_chunk(saving, 0, 0, start, {"seeds": [0, 1]})[0].histories
    [[{'loss': 1.0}], []]
    """
    folder = Path(saving.folder) / f"program_{program + 1}_from_network_{first + 1}"
    settings = {**saving.settings, **networks}
    reached, news = open_run(folder, _reached(chunk, False), settings, resume=saving.resume)

    def save(chunk: Chunk, ended: bool) -> None:
        save_reached(folder, _reached(chunk, ended), settings)
        for old in checkpoints(folder)[1:] if ended else ():
            shutil.rmtree(old, ignore_errors=True)

    running = chunk.running._replace(train_state=reached.train_state, progress=reached.progress)
    chunk = chunk._replace(running=running, histories=reached.history, seconds=reached.train_seconds)
    return chunk, save, news


def _reached(chunk: Chunk, ended: bool) -> Reached:
    state, progress = chunk.running.train_state, chunk.running.progress
    return Reached(state, progress, None, chunk.histories, chunk.seconds, ended="epochs" if ended else "")
