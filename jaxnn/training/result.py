"""What `fit` gives, and the errors that end it early, which carry what was trained."""

import signal
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxnn.training.resume import Record
from jaxnn.training.state import TrainState

Callback = Callable[[Record, TrainState], Any]


class FitResult(NamedTuple):
    """What training gives: the final state, a record for each finished epoch, and seconds of compiling and training.

    `best_epoch` is the epoch that the parameters are of, where early stopping chose them.
    """

    train_state: TrainState
    history: list[Record]
    compile_seconds: float
    train_seconds: float
    best_epoch: int | None = None


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


class NotSavedError(OSError):
    """Raised by `fit` and `fit_many` when a checkpoint cannot be saved; `result` holds all that was trained."""

    def __init__(self, error: OSError, result: Any):
        super().__init__(error.errno, error.strerror or str(error))
        self.result = result


class NotReadError(RuntimeError):
    """Raised by `fit` when a stream cannot be read; `result` holds all that was trained, `__cause__` is the reason."""

    result: FitResult
