"""Many networks trained together: seeds and hyperparameters, one compiled program for each structure."""

import time
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import checks
from jaxnn.data import Dataset, check_dataset, split
from jaxnn.metrics import accuracy
from jaxnn.training.display import Display, training_display
from jaxnn.training.epoch import Augment
from jaxnn.training.evaluation import check_labels
from jaxnn.training.interruption import noted_signals
from jaxnn.training.result import NotSavedError
from jaxnn.training.resume import Folder, check_folder
from jaxnn.training.state import run_keys
from jaxnn.training.sweep_loop import Chunk, Task, no_saving, start_chunk, train_chunk
from jaxnn.training.sweep_programs import compile_members
from jaxnn.training.sweep_results import Member, Sweep, SweepInterrupted, best_of, table_of, taken_names
from jaxnn.training.sweep_resume import Saving, networks_settings, open_chunk, run_settings
from jaxnn.training.sweep_settings import (
    Hyperparameters,
    Make,
    Recipe,
    Structure,
    apart,
    checked_seeds,
    checked_settings,
    made,
    structures,
)
from jaxnn.types import Loss, Metric

Place = tuple[int, int]  # of a setting, and of a seed


def fit_many(
    make: Make,
    loss: Loss,
    dataset: Dataset,
    hyperparameters: Sequence[Hyperparameters],
    *,
    epochs: int,
    batch_size: int = 64,
    seeds: Sequence[int] = (0,),
    validation: Dataset | None = None,
    validation_split: float = 0.0,
    metrics: Mapping[str, Metric] | None = None,
    augment: Augment | None = None,
    checkpoints: Folder | None = None,
    resume: bool = False,
    verbose: bool = True,
) -> Sweep:
    """Train a network for each setting and seed, as `fit` would, in one compiled program for each structure.

    `make(h) -> (model, optimizer)` builds a network from one of `hyperparameters`, dicts with the same names: see
    `grid`. The network of seed s is that of `fit` with what `make` gives and `seed=s`: the same start, split, batches
    and random bits, and but for rounding the same parameters.

    - Floats are *mapped*: numbers inside of one program, where `make` sees them as traced scalars. A name with floats
      and integers counts as floats. Seeds are mapped too.
    - Everything else (integers, booleans, words, tuples) is *structure*: each combination has a program of its own. So
      has a float that changes the tree of parameters, as `mlp(..., dropout=0.0)`, which has no layers of dropout, or
      whose value `make` asks for (`if h["rate"] > 0.5`).

    On a CPU small networks without convolutions share their program side by side (`vmap`) and others one after the
    other (`lax.map`), in chunks of at most 16; elsewhere all side by side. Chunks are smaller where memory is short.
    `how` of the result says which way was taken, and why.

    `checkpoints` is a folder to save into every ten seconds and at the end, networks that share a program together;
    with `resume` what was ended or killed goes on from there, to the same bits, given the same arguments again. More
    epochs are no other run.

    A network whose loss, gradient or parameters are not finite is frozen before that step; the others go on. The other
    arguments are those of `fit`; `verbose` shows means over the networks.

    Raises ValueError or TypeError before the first step, with the place of a setting that cannot be made, and for
    data and options that cannot be trained on; before the first step of its networks ValueError for another run in
    `checkpoints`, and FileExistsError for an unfinished one without `resume`. `NotSavedError` when a checkpoint cannot
    be saved, and `SweepInterrupted` within about a second of Ctrl-C or SIGTERM, carry the networks so far.

    >>> import optax
    >>> from jaxnn.data import from_arrays
    >>> from jaxnn.losses import softmax_cross_entropy
    >>> from jaxnn.models import mlp
    >>> data = from_arrays([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0])
    >>> def make(h):
    ...     return mlp((2, 16, 2)), optax.adam(h["rate"])
    >>> settings = [{"rate": 1e-5}, {"rate": 0.1}]
    >>> sweep = fit_many(make, softmax_cross_entropy, data, settings, epochs=100, seeds=range(3), verbose=False)
    >>> sweep.table[1]["accuracy"], sweep.how
    (1.0, ['6 networks side by side (vmap): of 82 parameters each'])
    """
    checks.non_negative_int("fit_many", "epochs", epochs)
    checks.positive_int("fit_many", "batch_size", batch_size)
    checks.in_range("fit_many", "validation_split", validation_split, 0, 1, open_high=True)
    check_folder("fit_many", checkpoints, resume)
    checks.callables("fit_many", make=make, loss=loss, **({} if augment is None else {"augment": augment}))
    settings, seeds = checked_settings(hyperparameters), checked_seeds(seeds)
    check_dataset("fit_many", dataset)
    task = _task(dataset, validation, validation_split, seeds, epochs, batch_size)
    batch = jax.tree.map(lambda field: field[: task.batch_size], dataset)
    found = structures(Recipe(make, loss, {}, augment), settings, batch)
    firsts = [settings[structure.settings[0]] for structure in found]
    if metrics is None:
        metrics = {"accuracy": accuracy} if all(_has_classes(make, h, dataset, validation) for h in firsts) else {}
    recipe = Recipe(make, loss, checks.metric_names("fit_many", metrics), augment)
    taken_names(settings[0], metrics)

    saving = None
    if checkpoints is not None:
        saving = Saving(checkpoints, run_settings(recipe, task, dataset, validation), resume)
    work = Work(recipe, task, settings, seeds, saving)

    done: list[Done] = []
    with noted_signals() as received, training_display(verbose, epochs * len(found), task.steps) as display:
        for number, structure in enumerate(found):
            for part in _train_structure(work, structure, number, apart(structure, found), received, display):
                done.append(part)
                if part.not_saved is not None:
                    raise NotSavedError(part.not_saved, _result(done, settings)) from part.not_saved
                if received:
                    raise SweepInterrupted(_result(done, settings), received[0])
    return _result(done, settings)


class Work(NamedTuple):
    """All that is to be trained, how, and where it is saved."""

    recipe: Recipe
    task: Task
    settings: Sequence[dict[str, Any]]
    seeds: Sequence[int]
    saving: Saving | None


class Done(NamedTuple):
    """A chunk that was trained."""

    members: dict[Place, Member]
    how: str
    compile_seconds: float
    train_seconds: float
    not_saved: OSError | None


def _train_structure(
    work: Work, structure: Structure, number: int, name: str, received: Sequence[int], display: Display
) -> Iterator[Done]:
    """Compile the programs of a structure and train its members, chunk by chunk."""
    display.status("compiling")
    start = time.perf_counter()
    recipe, task, settings, seeds, saving = work
    places = [(i, k) for i in structure.settings for k in range(len(seeds))]
    programs = compile_members(recipe, structure, len(places), task.dataset, task.size, task.batch_size)
    how = f"{name}{programs.how}"
    display.note(how)
    share = programs.chunk / len(places)
    for first in range(0, len(places), programs.chunk):
        part = places[first : first + programs.chunk]
        full = part + part[-1:] * (programs.chunk - len(part))  # one program serves a shorter last chunk too
        chunk = start_chunk(programs, task, structure.mapped, [settings[i] for i, _ in full], [k for _, k in full])
        compile_seconds = time.perf_counter() - start
        if programs.chunk < len(places):
            display.note(f"networks {first + 1} to {first + len(part)} of {len(places)}")
        save, news = no_saving, ""
        if saving is not None:
            networks = networks_settings(recipe, [settings[i] for i, _ in full], [seeds[k] for _, k in full])
            chunk, save, news = open_chunk(saving, number, first, chunk, networks)
        if news:
            display.note(news)
        passed = task.epochs * (number + first / len(places))
        not_saved = None
        try:
            chunk = train_chunk(
                programs, task, chunk, save, received, display, passed, min(share, 1 - first / len(places))
            )
        except NotSavedError as error:
            chunk, not_saved = error.result, error
        yield Done(_members(chunk, task, part, settings, seeds), how, compile_seconds, chunk.seconds, not_saved)
        start = time.perf_counter()


def _result(done: Sequence[Done], settings: Sequence[dict[str, Any]]) -> Sweep:
    members = dict(sorted((pair for part in done for pair in part.members.items()), key=itemgetter(0)))
    rows = [(h, [member for (at, _), member in members.items() if at == i]) for i, h in enumerate(settings)]
    return Sweep(
        list(members.values()),
        table_of(rows),
        best_of(list(members.values())),
        list(dict.fromkeys(part.how for part in done)),
        sum(part.compile_seconds for part in done),
        sum(part.train_seconds for part in done),
    )


def _task(
    dataset: Dataset,
    validation: Dataset | None,
    validation_split: float,
    seeds: Sequence[int],
    epochs: int,
    batch_size: int,
) -> Task:
    """Put the data on the device, and find the rows that each seed trains and is validated on."""
    keys = [run_keys(seed) for seed in seeds]
    rows = np.arange(dataset.size)
    if validation_split:
        if validation is not None:
            raise ValueError("fit_many got both validation and validation_split: give one of them")
        parts = [split(Dataset(rows, rows), validation_split, key.split) for key in keys]
        training, validated = (np.stack([part[side].inputs for part in parts]) for side in (0, 1))
    else:
        training = np.stack([rows] * len(keys))
        validated = np.stack([np.arange(0 if validation is None else validation.size)] * len(keys))
    if validation is not None:
        check_dataset("fit_many, validation,", validation)
    data = jax.device_put(dataset)
    watched = data if validation_split else None if validation is None else jax.device_put(validation)
    size = min(batch_size, training.shape[1])
    return Task(data, watched, training, validated, jax.tree.map(lambda *k: jnp.stack(k), *keys), epochs, size)


def _has_classes(make: Make, setting: Hyperparameters, dataset: Dataset, validation: Dataset | None) -> bool:
    """Say whether the targets are class labels; refuse those that the model has no output for."""
    model, _ = made(make, setting)
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    if validation is not None:
        check_labels("fit_many, validation,", model, params, state, validation)
    return check_labels("fit_many", model, params, state, dataset) is not None


def _members(
    chunk: Chunk, task: Task, places: Sequence[Place], settings: Sequence[dict[str, Any]], seeds: Sequence[int]
) -> dict[Place, Member]:
    """Bring the members of a chunk to the host, each with arrays of its own."""
    state = chunk.running.train_state
    values, steps, failed = jax.device_get((state[:2], state.step, chunk.running.progress.failed_step))
    members = {}
    for at, (i, k) in enumerate(places):
        params, model_state = jax.tree.map(lambda leaf, at=at: np.array(leaf[at]), values)
        epoch = int(failed[at]) // task.steps + 1
        diverged = "" if failed[at] < 0 else f"epoch {epoch}, step {int(failed[at]) + 1}"
        record = chunk.histories[at]
        members[i, k] = Member(dict(settings[i]), seeds[k], params, model_state, int(steps[at]), record, diverged)
    return members
