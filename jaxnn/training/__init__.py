"""Training of plain functions over plain trees: model, loss and optimizer are values that are passed in."""

from jaxnn.training.epoch import epoch_order, epoch_program, no_progress
from jaxnn.training.evaluation import evaluate, predict
from jaxnn.training.fit import fit
from jaxnn.training.loop import FitInterrupted, FitResult, NotFiniteError
from jaxnn.training.state import RunKeys, TrainState, init_train_state, run_keys
from jaxnn.training.step import train_step

__all__ = [
    "FitInterrupted",
    "FitResult",
    "NotFiniteError",
    "RunKeys",
    "TrainState",
    "epoch_order",
    "epoch_program",
    "evaluate",
    "fit",
    "init_train_state",
    "no_progress",
    "predict",
    "run_keys",
    "train_step",
]
