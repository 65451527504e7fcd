"""Training of plain functions over plain trees: model, loss and optimizer are values that are passed in."""

from jaxnn.training.checkpoint import CheckpointError, checkpoints, restore_checkpoint, save_checkpoint
from jaxnn.training.early_stopping import early_stopping
from jaxnn.training.epoch import epoch_order, epoch_program, no_progress
from jaxnn.training.evaluation import evaluate, predict
from jaxnn.training.fit import fit
from jaxnn.training.loop import FitInterrupted, FitResult, NotFiniteError
from jaxnn.training.state import RunKeys, TrainState, init_train_state, run_keys
from jaxnn.training.step import train_step

__all__ = [
    "CheckpointError",
    "FitInterrupted",
    "FitResult",
    "NotFiniteError",
    "RunKeys",
    "TrainState",
    "checkpoints",
    "early_stopping",
    "epoch_order",
    "epoch_program",
    "evaluate",
    "fit",
    "init_train_state",
    "no_progress",
    "predict",
    "restore_checkpoint",
    "run_keys",
    "save_checkpoint",
    "train_step",
]
