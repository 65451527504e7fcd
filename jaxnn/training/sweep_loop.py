"""The loop of `fit_many`: a chunk of members trained in pieces, with the host looking in between."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import tree
from jaxnn.data import Dataset
from jaxnn.training.display import Display, record_line
from jaxnn.training.evaluation import total_means
from jaxnn.training.loop import EVALUATION_BATCH, FIRST_PIECE_STEPS, SAVE_SECONDS
from jaxnn.training.order import epoch_order
from jaxnn.training.result import NotSavedError
from jaxnn.training.resume import Record
from jaxnn.training.state import RunKeys
from jaxnn.training.sweep_programs import Programs, Running

PIECE_SECONDS = 1.0  # twice that of `fit`, since the states of many networks are copied for each piece


class Task(NamedTuple):
    """What all members learn: the data on the device, and which rows each seed trains and is validated on."""

    dataset: Dataset
    validation: Dataset | None
    training_rows: np.ndarray  # [seeds, examples of an epoch]
    validation_rows: np.ndarray  # [seeds, examples]
    keys: RunKeys  # [seeds]
    epochs: int
    batch_size: int

    @property
    def size(self) -> int:
        """Count the examples of an epoch."""
        return self.training_rows.shape[1]

    @property
    def steps(self) -> int:
        """Count the batches of an epoch."""
        return -(-self.size // self.batch_size)


class Chunk(NamedTuple):
    """Members that are trained together: where they stand, and what was recorded."""

    running: Running
    seeds: np.ndarray
    """The place of each member's seed."""
    histories: list[list[Record]]
    seconds: float = 0.0


Save: TypeAlias = Callable[[Chunk, bool], None]
"""`save(chunk, ended)` writes a checkpoint."""


def start_chunk(
    programs: Programs, task: Task, mapped: Sequence[str], settings: Sequence[dict[str, Any]], seeds: Sequence[int]
) -> Chunk:
    """Draw the parameters of members with these settings and places of seeds, and compile their evaluation."""
    columns = {name: jnp.asarray([setting[name] for setting in settings], jnp.float32) for name in mapped}
    places = np.asarray(seeds)
    running = programs.start((columns, jax.tree.map(lambda keys: keys[places], task.keys)))
    chunk = Chunk(running, places, [[] for _ in settings])
    if task.validation is not None:
        _validated(programs, task, chunk)
    return chunk


def train_chunk(
    programs: Programs,
    task: Task,
    chunk: Chunk,
    save: Save,
    received: Sequence[int],
    display: Display,
    before: float,
    share: float,
) -> Chunk:
    """Train the epochs that are left, or until a signal is received, and save every ten seconds and at the end.

    The bar goes on from `before`, by a share of each epoch. Raises `NotSavedError` with the chunk so far.
    """
    running, steps, alive = chunk.running, FIRST_PIECE_STEPS, _alive(chunk.running)
    save_where_due = _at_intervals(save)
    first_epoch, begin = divmod(int(np.max(running.train_state.step)), task.steps)
    for epoch in range(first_epoch, task.epochs):
        seconds, done = 0.0, begin
        running = running if begin else _new_epoch(running)
        full, short = _orders(task, epoch)
        for run, order, first in ((programs.run, full, begin), (programs.run_short, short, 0)):
            while run is not None and first < order.shape[1] and len(alive) and not received:
                start = time.perf_counter()
                wanted = min(first + steps, order.shape[1])
                running, last = _piece(run, running, order[chunk.seeds], task.dataset, first, wanted)
                took = time.perf_counter() - start
                if run is programs.run:
                    steps = max(1, round(PIECE_SECONDS * (last - first) / took))
                seconds, done, first = seconds + took, done + last - first, last
                count = min(done * task.batch_size, task.size) - begin * task.batch_size
                speed = {"examples_per_second": len(chunk.seeds) * count / seconds}
                alive = _alive(running)
                means = _mean_record(_records(running, alive))
                display.advance(int((before + share * epoch) * task.steps + share * done), means | speed)
                if done < task.steps:
                    save_where_due(chunk._replace(running=running, seconds=chunk.seconds + seconds), False, False)
        chunk, begin = chunk._replace(running=running, seconds=chunk.seconds + seconds), 0
        if len(alive) and done == task.steps:
            chunk = _recorded(programs, task, chunk, epoch)
            shown = _mean_record([chunk.histories[place][-1] for place in alive])
            display.note(record_line({"epoch": epoch + 1, **shown, "seconds": seconds}, task.epochs))
        ended = not len(alive) or (done == task.steps and epoch + 1 == task.epochs)
        save_where_due(chunk, ended or bool(received), ended)
        if ended or received:
            break
    return chunk


def no_saving(chunk: Chunk, ended: bool) -> None:
    """Save nothing.

    >>> no_saving(Chunk(Running({}, (), (), ()), np.arange(0), []), True)
    """


def _at_intervals(save: Save) -> Callable[[Chunk, bool, bool], None]:
    """Make `(chunk, now, ended)`, which saves now, or where the last time is ten seconds ago."""
    saved_at = time.perf_counter()

    def save_where_due(chunk: Chunk, now: bool, ended: bool) -> None:
        nonlocal saved_at
        if now or time.perf_counter() - saved_at >= SAVE_SECONDS:
            try:
                save(chunk, ended)
            except OSError as error:
                raise NotSavedError(error, chunk) from error
            saved_at = time.perf_counter()

    return save_where_due


def _orders(task: Task, epoch: int) -> list[jax.Array]:
    """Return the rows of each seed's batches [seeds, batches, B] and of its short last batch [seeds, 1, rest]."""

    def one(key: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        full, short = epoch_order(key, epoch, size=task.size, batch_size=task.batch_size)
        return rows[full], rows[short]

    return [*jax.vmap(one)(task.keys.order, jnp.asarray(task.training_rows, jnp.int32))]


def _piece(
    run: Any, running: Running, order: jax.Array, dataset: Dataset, first: int, last: int
) -> tuple[Running, int]:
    """Run batches first..last-1; fewer where an update makes parameters not finite, so that its step can be found.

    At a single step, members whose parameters are no longer finite stay as they were before it.
    """
    while True:
        new, finite = run((running, order), dataset, jnp.int32(first), jnp.int32(last))
        bad = ~np.asarray(finite) & np.asarray(running.progress.failed_step < 0)
        if not bad.any():
            return new, last
        if last - first == 1:
            return _frozen(bad, running, new), last
        last = (first + last) // 2


@jax.jit
def _frozen(bad: jax.Array, before: Running, after: Running) -> Running:
    progress = before.progress._replace(failed_step=before.train_state.step)
    kept = jax.vmap(tree.where)(bad, (before.train_state, progress), (after.train_state, after.progress))
    return after._replace(train_state=kept[0], progress=kept[1])


@jax.jit
def _new_epoch(running: Running) -> Running:
    """Empty the sums; a frozen member stays frozen."""
    totals = jax.tree.map(jnp.zeros_like, running.progress.totals)
    return running._replace(progress=running.progress._replace(totals=totals))


def _alive(running: Running) -> np.ndarray:
    """Return the places of the members that are not frozen."""
    return np.flatnonzero(np.asarray(running.progress.failed_step) < 0)


def _recorded(programs: Programs, task: Task, chunk: Chunk, epoch: int) -> Chunk:
    """Write the record of a finished epoch into the history of each member that is not frozen."""
    alive = _alive(chunk.running)
    records = _records(chunk.running, alive)
    if task.validation is not None:
        measured = _validated(programs, task, chunk)
        for place, record in zip(alive, records, strict=True):
            means = total_means([{name: (s[place], n[place]) for name, (s, n) in part.items()} for part in measured])
            record |= {f"validation_{name}": value for name, value in means.items()}
    histories = list(chunk.histories)
    for place, record in zip(alive, records, strict=True):
        histories[place] = [*histories[place], {"epoch": epoch + 1, **record}]
    return chunk._replace(histories=histories)


def _records(running: Running, places: Any) -> list[Record]:
    """Return the means of the epoch so far of these members, and the learning rate where the optimizer names one."""
    leaves = tree.paths(running.train_state.opt_state)
    rates = [leaf for path, leaf in leaves.items() if path.endswith("learning_rate")][:1]
    totals, steps, rates = jax.device_get((running.progress.totals, running.train_state.step, rates))
    records = []
    for place in places:
        means = total_means([{name: (s[place], n[place]) for name, (s, n) in totals.items()}])
        rate = {"learning_rate": float(f"{rates[0][place]:.7g}")} if rates else {}
        records.append({"step": int(steps[place]), **means, **rate})
    return records


def _mean_record(records: Sequence[Record]) -> Record:
    return {name: float(np.mean([record[name] for record in records])) for name in (records[0] if records else ())}


def _validated(programs: Programs, task: Task, chunk: Chunk) -> list[dict[str, Any]]:
    """Evaluate every member on the validation rows of its seed: the totals of each batch, on the host."""
    state, parts = chunk.running.train_state, []
    given = chunk.running.numbers, state.params, state.model_state
    for start in range(0, task.validation_rows.shape[1], EVALUATION_BATCH):
        rows = jnp.asarray(task.validation_rows[:, start : start + EVALUATION_BATCH], jnp.int32)[chunk.seeds]
        parts.append(programs.evaluate((given, rows), task.validation))
    return jax.device_get(parts)
