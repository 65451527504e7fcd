"""The loop of `fit`: compiled programs run in pieces, with the host looking in between."""

import signal
import time
from collections.abc import Callable, Mapping
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
    train_seconds = 0.0
    size = programs.dataset.size
    piece = FIRST_PIECE_STEPS

    def result() -> FitResult:
        return FitResult(train_state, history, programs.compile_seconds, train_seconds)

    for epoch in range(epochs):
        full, short = epoch_order(keys.order, epoch, size=size, batch_size=programs.batch_size)
        progress = programs.empty
        before = train_state
        epoch_seconds = 0.0
        for run, order in ((programs.run, full), (programs.run_short, short)):
            first = 0
            while run is not None and first < len(order):
                if received:
                    raise FitInterrupted(result(), received[0])
                last = min(first + piece, len(order))
                start = time.perf_counter()
                bounds = jnp.int32(first), jnp.int32(last)
                train_state, progress = run(train_state, progress, programs.dataset, order, keys.step, *bounds)
                failed_step = int(progress.failed_step)  # waits for the piece
                seconds = time.perf_counter() - start
                epoch_seconds += seconds
                train_seconds += seconds
                if failed_step >= 0 and _finite(train_state[:2]):
                    raise NotFiniteError(_not_finite(epoch, failed_step, train_state, programs.dataset), result())
                if failed_step >= 0:
                    break
                if run is programs.run:
                    piece = max(1, round(PIECE_SECONDS * (last - first) / seconds))
                first = last
                done = first * len(order[0])
                rate = {"examples_per_second": done / epoch_seconds}
                display.advance(int(train_state.step), _means(progress, train_state) | rate)
        if not _finite(train_state[:2]):  # an update of NaN or infinity after a step that was finite itself
            train_state = before
            raise NotFiniteError(_not_finite_update(epoch, before), result())
        record = {"epoch": epoch + 1, "step": int(train_state.step), **_means(progress, train_state)}
        if validation is not None:
            model = train_state.params, train_state.model_state
            parts = [programs.evaluate(*model, batch) for batch in batches(validation, EVALUATION_BATCH)]
            record |= {f"validation_{name}": value for name, value in total_means(parts).items()}
        record |= {"seconds": epoch_seconds, "examples_per_second": size / epoch_seconds}
        history.append(record)
        display.epoch(record)
        if callback is not None and callback(record, train_state) is True:
            break
    if received:  # it came after the last step: say so all the same
        raise FitInterrupted(result(), received[0])
    return result()


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
        f"an update made the parameters or the model's state not finite in epoch {epoch + 1}: look at the learning "
        "rate and the optimizer's options. The parameters are those before the epoch"
    )


def _not_finite(epoch: int, step: int, train_state: TrainState, dataset: Dataset) -> str:
    """Say where the loss or gradient stopped being a number, and the likely reason."""
    for name, field in (("inputs", dataset.inputs), ("targets", dataset.targets)):
        bad = np.argwhere(~np.isfinite(np.asarray(field, np.float64)))
        if bad.size:
            reason = f"{name}[{bad[0][0]}] holds NaN or infinity: clean the {name}"
            break
    else:
        rate = _means(Progress({"loss": (jnp.float32(0), jnp.float32(0))}, jnp.int32(0)), train_state)
        at = f" at learning rate {rate['learning_rate']:g}" if "learning_rate" in rate else ""
        reason = f"training diverged{at}: try a smaller learning rate or gradient clipping, and look at the targets"
    return (
        f"the loss or its gradient is not finite in epoch {epoch + 1}, step {step + 1} ({reason}). "
        "The step was dropped; the parameters are those before it"
    )
