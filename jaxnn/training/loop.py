"""The loop of `fit`: compiled programs run in pieces, with the host looking in between."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import tree
from jaxnn.data import Dataset
from jaxnn.training.display import Display
from jaxnn.training.epoch import Progress, Run, epoch_order, epoch_program, no_progress
from jaxnn.training.evaluation import batches, evaluation_step, total_means
from jaxnn.training.state import RunKeys, TrainState
from jaxnn.training.step import train_step
from jaxnn.types import Layer, Loss, Metric, PRNGKey

PIECE_SECONDS = 0.5  # how long a program runs before the host looks at signals and shows progress
FIRST_PIECE_STEPS = 4  # short, since the speed is not known yet
EVALUATION_BATCH = 1000

Record = dict[str, float]
Callback = Callable[[Record, TrainState], Any]


class FitResult(NamedTuple):
    """What training gives: the final state, a record for each finished epoch, and seconds of compiling and training."""

    train_state: TrainState
    history: list[Record]
    compile_seconds: float
    train_seconds: float


class FitInterrupted(KeyboardInterrupt):
    """Raised by `fit` after Ctrl-C or SIGTERM; `result` holds all that was trained, `signal_number` says by what."""

    def __init__(self, result: FitResult, signal_number: int):
        super().__init__(f"{signal.Signals(signal_number).name} after step {int(result.train_state.step)}")
        self.result = result
        self.signal_number = signal_number


class NotFiniteError(FloatingPointError):
    """Raised by `fit` when a loss or gradient is NaN or infinite; `result` holds the state of the last good step."""

    def __init__(self, message: str, result: FitResult):
        super().__init__(message)
        self.result = result


class Programs(NamedTuple):
    """The compiled programs of a run, with the data they work on (on the device)."""

    dataset: Dataset
    batch_size: int
    empty: Progress
    run: Run
    run_short: Run | None
    evaluate: Callable[..., Any]
    compile_seconds: float


def compile_programs(
    model: Layer,
    loss: Loss,
    optimizer: Any,
    metrics: Mapping[str, Metric],
    dataset: Dataset,
    validation: Dataset | None,
    batch_size: int,
    train_state: TrainState,
    key: PRNGKey,
) -> Programs:
    """Compile everything before the first step, so that errors come early and the times are those of training."""
    start = time.perf_counter()
    step = train_step(model, loss, optimizer, metrics)
    data = jax.device_put(dataset)
    full, short = epoch_order(key, 0, size=dataset.size, batch_size=batch_size)
    empty = no_progress(step, train_state, jax.tree.map(lambda field: field[:batch_size], dataset), key)
    program = jax.jit(epoch_program(step))

    def lowered(order: jax.Array) -> Any:
        return program.lower(train_state, empty, data, order, key, jnp.int32(0), jnp.int32(0))

    parts = [lowered(full)]
    try:
        parts += [lowered(short)] if short.size else []
    except ValueError as error:
        raise ValueError(
            f"fit: {dataset.size} examples in batches of {batch_size} leave a last batch of {short.size}: {error}; "
            f"batch_size={_roomy_batch_size(dataset.size, batch_size)} leaves a larger one"
        ) from error
    with ThreadPoolExecutor() as pool:  # XLA compiles outside of Python's lock
        run, run_short = [*pool.map(lambda part: part.compile(), parts), None][:2]
    evaluate = jax.jit(evaluation_step(model, loss, metrics))
    if validation is not None:
        for batch in {batch.size: batch for batch in batches(validation, EVALUATION_BATCH)}.values():
            jax.block_until_ready(evaluate(train_state.params, train_state.model_state, batch))
    return Programs(data, batch_size, empty, run, run_short, evaluate, time.perf_counter() - start)


def _roomy_batch_size(size: int, batch_size: int) -> int:
    """Return the next batch size whose last batch is full, or at least half full."""
    return next(b for b in range(batch_size + 1, size + 1) if size % b == 0 or size % b >= b / 2)


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
    train_state: TrainState,
    keys: RunKeys,
    epochs: int,
    validation: Dataset | None,
    callback: Callback | None,
    received: list[int],
    display: Display,
) -> FitResult:
    """Run the epochs; raise `FitInterrupted` or `NotFiniteError` with what was reached."""
    history: list[Record] = []
    train_seconds = epoch_seconds = 0.0

    def result() -> FitResult:
        return FitResult(train_state, history, programs.compile_seconds, train_seconds)

    def obey_signals() -> None:
        if received:
            raise FitInterrupted(result(), received[0])

    obey_signals()
    for piece in _pieces(programs, train_state, keys, epochs):
        train_seconds += piece.seconds
        epoch_seconds += piece.seconds
        if not _finite(piece.train_state[:2]):
            raise NotFiniteError(_not_finite_update(piece.epoch, train_state), result())
        train_state = piece.train_state
        if piece.progress.failed_step >= 0:
            raise NotFiniteError(_not_finite(piece, programs.dataset), result())
        means = _means(piece.progress, train_state)
        rate = {"examples_per_second": piece.examples / epoch_seconds}
        display.advance(int(train_state.step), means | rate)
        if piece.ends_epoch:
            record = {"epoch": piece.epoch + 1, "step": int(train_state.step), **means}
            if validation is not None:
                record |= _validated(programs, train_state, validation)
            record |= {"seconds": epoch_seconds} | rate
            epoch_seconds = 0.0
            history.append(record)
            display.epoch(record)
            if callback is not None and callback(record, train_state) is True:
                break
        obey_signals()
    obey_signals()
    return result()


def _pieces(programs: Programs, train_state: TrainState, keys: RunKeys, epochs: int) -> Iterator[Piece]:
    """Run the programs over all epochs, as many steps a call as take `PIECE_SECONDS`."""
    steps = FIRST_PIECE_STEPS
    for epoch in range(epochs):
        full, short = epoch_order(keys.order, epoch, size=programs.dataset.size, batch_size=programs.batch_size)
        progress, examples = programs.empty, 0
        for run, order in ((programs.run, full), (programs.run_short, short)):
            first = 0
            while run is not None and first < len(order):
                last = min(first + steps, len(order))
                bounds = jnp.int32(first), jnp.int32(last)
                start = time.perf_counter()
                train_state, progress = run(train_state, progress, programs.dataset, order, keys.step, *bounds)
                jax.block_until_ready(train_state)
                seconds = time.perf_counter() - start
                if run is programs.run:
                    steps = max(1, round(PIECE_SECONDS * (last - first) / seconds))
                examples += (last - first) * order.shape[1]
                first = last
                yield Piece(epoch, train_state, progress, seconds, examples, examples == programs.dataset.size)


def _validated(programs: Programs, train_state: TrainState, validation: Dataset) -> Record:
    """Evaluate on the validation set, under names that say so."""
    model = train_state.params, train_state.model_state
    parts = [programs.evaluate(*model, batch) for batch in batches(validation, EVALUATION_BATCH)]
    return {f"validation_{name}": value for name, value in total_means(parts).items()}


def _means(progress: Progress, train_state: TrainState) -> Record:
    """Return the means so far, and the learning rate where the optimizer's state names one."""
    rates = [leaf for path, leaf in tree.paths(train_state.opt_state).items() if path.endswith("learning_rate")]
    return total_means([progress.totals]) | ({"learning_rate": float(f"{rates[0]:.7g}")} if rates else {})


@jax.jit
def _finite(leaves: Any) -> jax.Array:
    return jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(leaves)]).all()


def _not_finite_update(epoch: int, before: TrainState) -> str:
    """Say that the optimizer made parameters that are no numbers out of a finite gradient."""
    if not _finite(before[:2]):
        return f"the parameters or the model's state are not finite before epoch {epoch + 1}: look at init"
    return (
        f"an update made the parameters or the model's state not finite in epoch {epoch + 1}, after step "
        f"{int(before.step)}: look at the learning rate and the optimizer's options. The parameters are those of "
        "that step"
    )


def _not_finite(piece: Piece, dataset: Dataset) -> str:
    """Say where the loss or gradient stopped being a number, and the likely reason."""
    for name, field in (("inputs", dataset.inputs), ("targets", dataset.targets)):
        bad = np.argwhere(~np.isfinite(np.asarray(field, np.float64)))
        if bad.size:
            reason = f"{name}[{bad[0][0]}] holds NaN or infinity: clean the {name}"
            break
    else:
        rate = _means(piece.progress, piece.train_state)
        at = f" at learning rate {rate['learning_rate']:g}" if "learning_rate" in rate else ""
        reason = f"training diverged{at}: try a smaller learning rate or gradient clipping, and look at the targets"
    step = int(piece.train_state.step) + 1
    return (
        f"the loss or its gradient is not finite in epoch {piece.epoch + 1}, step {step} ({reason}). "
        "The step was dropped; the parameters are those before it"
    )
