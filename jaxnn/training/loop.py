"""The loop of `fit`: compiled programs run in pieces, with the host looking in between."""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn import tree
from jaxnn.data import Dataset, Stream
from jaxnn.training.display import Display
from jaxnn.training.early_stopping import EarlyStopping, metric_of, should_stop, update_best
from jaxnn.training.epoch import Augment, Progress, Run, compile_epoch, epoch_program
from jaxnn.training.evaluation import batches, evaluation_step, total_means
from jaxnn.training.feed import Feed, make_feed
from jaxnn.training.not_finite import finite, not_finite_step, not_finite_update
from jaxnn.training.placement import ONE_DEVICE, Placement, place_rows
from jaxnn.training.processes import agree
from jaxnn.training.result import Callback, FitInterrupted, FitResult, NotFiniteError, NotReadError, NotSavedError
from jaxnn.training.resume import Reached, Record
from jaxnn.training.state import RunKeys, TrainState
from jaxnn.training.step import Step
from jaxnn.types import Layer, Loss, Metric

PIECE_SECONDS = 0.5  # how long a program runs before the host looks at signals and shows progress
FIRST_PIECE_STEPS = 4  # short, since the speed is not known yet
EVALUATION_BATCH = 1000
SAVE_SECONDS = 10.0  # between checkpoints; one takes about 0.1 s


class Programs(NamedTuple):
    """The compiled programs of a run, with the data they work on."""

    feed: Feed
    empty: Progress
    run: Run
    run_short: Run | None
    evaluate: Callable[..., Any]
    compile_seconds: float
    place: Placement = ONE_DEVICE


def compile_programs(
    model: Layer,
    loss: Loss,
    metrics: Mapping[str, Metric],
    step: Step,
    augment: Augment | None,
    dataset: Dataset | Stream,
    validation: Dataset | None,
    batch_size: int,
    train_state: TrainState,
    empty: Progress,
    keys: RunKeys,
    place: Placement = ONE_DEVICE,
) -> Programs:
    """Compile everything before the first step, so that errors come early and the times are those of training."""
    start = time.perf_counter()
    feed = make_feed(place, dataset, batch_size)
    lie = None if place.mesh is None else jax.tree.map(lambda leaf: leaf.sharding, (train_state, empty))
    program = jax.jit(epoch_program(step, augment), out_shardings=lie)  # where it lay, for the next piece

    forms = feed.forms(keys)

    def lower(short: bool) -> Any:
        return program.lower(train_state, empty, *forms[short], keys, np.int32(0), np.int32(0))

    run, run_short = compile_epoch("fit", lower, dataset.size, batch_size)
    evaluate = jax.jit(evaluation_step(model, loss, metrics))
    if validation is not None:
        for batch in {batch.size: batch for batch in batches(validation, _evaluation_batch(place))}.values():
            jax.block_until_ready(evaluate(train_state.params, train_state.model_state, place_rows(place, batch)))
    return Programs(feed, empty, run, run_short, evaluate, time.perf_counter() - start, place)


def _evaluation_batch(place: Placement) -> int:
    """Return the size of the batches of an evaluation, which can be split."""
    return -(-EVALUATION_BATCH // place.ways) * place.ways


class Piece(NamedTuple):
    """What one call of a program gave: about half a second of training."""

    epoch: int
    train_state: TrainState
    progress: Progress
    seconds: float
    examples: int  # of this epoch, so far
    ends_epoch: bool


def train(
    programs: Programs,
    reached: Reached,
    keys: RunKeys,
    epochs: int,
    validation: Dataset | None,
    callback: Callback | None,
    early_stopping: EarlyStopping | None,
    save: Callable[[Reached], None] | None,
    received: list[int],
    display: Display,
) -> FitResult:
    """Run the epochs that are left; what was reached is in each of the four errors that can end it before."""
    saved_at = time.perf_counter()
    shared = programs.place.shared  # then all processes stop, save and cut the epoch at the same steps

    def result() -> FitResult:
        return finished(reached, programs.compile_seconds, None)

    def save_now() -> None:
        try:
            if save is not None:
                save(reached)
        except OSError as error:
            raise NotSavedError(error, result()) from error

    def obey_signals() -> None:
        if number := agree(shared, received[0] if received else 0):
            save_now()
            raise FitInterrupted(result(), number)

    obey_signals()
    try:
        with closing(_pieces(programs, reached, keys, epochs)) as pieces:
            for piece in () if reached.ended else pieces:
                seconds = piece.seconds + reached.epoch_seconds
                reached = reached._replace(train_seconds=reached.train_seconds + piece.seconds, epoch_seconds=seconds)
                if not finite(piece.train_state[:2]):
                    raise NotFiniteError(not_finite_update(piece.epoch, reached.train_state), result())
                reached = reached._replace(train_state=piece.train_state, progress=piece.progress)
                if piece.progress.failed_step >= 0:
                    rate = _means(piece.progress, piece.train_state).get("learning_rate")
                    raise NotFiniteError(
                        not_finite_step(programs.feed, keys, piece.epoch, int(piece.train_state.step), rate), result()
                    )
                means = _means(piece.progress, piece.train_state)
                rate = {"examples_per_second": piece.examples / seconds}
                display.advance(int(piece.train_state.step), means | rate)
                if piece.ends_epoch:
                    record = {"epoch": piece.epoch + 1, "step": int(piece.train_state.step), **means}
                    if validation is not None:
                        record |= _validated(programs, piece.train_state, validation)
                    record |= {"seconds": seconds} | rate
                    reached = _after_epoch(reached, record, early_stopping)
                    display.epoch(record)
                    if callback is not None and agree(shared, callback(record, piece.train_state) is True):
                        reached = reached._replace(ended="callback")
                if reached.ended:
                    break
                obey_signals()
                if agree(shared, time.perf_counter() - saved_at >= SAVE_SECONDS):
                    save_now()
                    saved_at = time.perf_counter()
    except NotReadError as error:
        if not shared:  # the others would have to save as well
            save_now()
        error.result = result()
        raise
    obey_signals()
    reached = reached._replace(ended=reached.ended or "epochs")
    save_now()
    return finished(reached, programs.compile_seconds, early_stopping)


def _after_epoch(reached: Reached, record: Record, rule: EarlyStopping | None) -> Reached:
    """Take the record of an epoch into the history, and ask the rule whether it was the last."""
    reached = reached._replace(history=[*reached.history, record], epoch_seconds=0.0)
    if rule is None or reached.best is None:
        return reached
    params, model_state = reached.train_state[:2]
    best = update_best(rule, reached.best, metric_of(rule, record), int(record["epoch"]), params, model_state)
    return reached._replace(best=best, ended="early stopping" if should_stop(rule, best) else "")


def finished(reached: Reached, compile_seconds: float, rule: EarlyStopping | None) -> FitResult:
    """Make the result of what was reached, with the best parameters where the rule says so.

    >>> reached = Reached(TrainState((), (), (), np.int32(9)), Progress({}, np.int32(-1)), None, [{"loss": 0.5}])
    >>> finished(reached, 0.0, None).history
    [{'loss': 0.5}]
    """
    result = FitResult(reached.train_state, reached.history, compile_seconds, reached.train_seconds)
    best = reached.best
    if rule is None or best is None or best.epoch == 0 or not rule.restore_best:
        return result
    state = result.train_state._replace(params=best.params, model_state=best.model_state)
    return result._replace(train_state=state, best_epoch=best.epoch)


def _pieces(programs: Programs, reached: Reached, keys: RunKeys, epochs: int) -> Generator[Piece, None, None]:
    """Run the programs over the epochs that are left, as many steps a call as take `PIECE_SECONDS`."""
    steps, train_state, feed = FIRST_PIECE_STEPS, reached.train_state, programs.feed
    size, batch_size = feed.dataset.size, feed.batch_size
    first_epoch, done = divmod(int(train_state.step), -(-size // batch_size))
    progress, examples = (reached.progress if done else programs.empty), done * batch_size
    asked = time.perf_counter()
    with closing(feed.stretches(keys, first_epoch, done, epochs)) as stretches:
        for epoch, short, dataset, order, first, end in stretches:
            run = programs.run_short if short else programs.run
            while run is not None and first < end:
                last = min(first + steps, end)
                bounds = np.int32(first), np.int32(last)
                start = time.perf_counter()
                train_state, progress = run(train_state, progress, dataset, order, keys, *bounds)
                jax.block_until_ready(train_state)
                seconds = time.perf_counter() - start
                if not short:
                    steps = agree(programs.place.shared, max(1, round(PIECE_SECONDS * (last - first) / seconds)))
                examples = min(examples + (last - first) * batch_size, size)
                first = last
                seconds = time.perf_counter() - asked  # with the wait for the data
                yield Piece(epoch, train_state, progress, seconds, examples, examples == size)
                asked = time.perf_counter()
            if examples == size:
                progress, examples = programs.empty, 0


def _validated(programs: Programs, train_state: TrainState, validation: Dataset) -> Record:
    """Evaluate on the validation set, under names that say so."""
    model = train_state.params, train_state.model_state
    place = programs.place
    rows = (place_rows(place, batch) for batch in batches(validation, _evaluation_batch(place)))
    parts = [programs.evaluate(*model, batch) for batch in rows]
    return {f"validation_{name}": value for name, value in total_means(parts).items()}


def _means(progress: Progress, train_state: TrainState) -> Record:
    """Return the means so far, and the learning rate where the optimizer's state names one."""
    rates = [leaf for path, leaf in tree.paths(train_state.opt_state).items() if path.endswith("learning_rate")]
    return total_means([progress.totals]) | ({"learning_rate": float(f"{rates[0]:.7g}")} if rates else {})
