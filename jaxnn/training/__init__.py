"""Training of plain functions over plain trees: model, loss and optimizer are values that are passed in."""

from jaxnn.training.checkpoint import CheckpointError, checkpoints, restore_checkpoint, save_checkpoint
from jaxnn.training.doctor import doctor
from jaxnn.training.doctor_findings import Diagnosis, Finding
from jaxnn.training.early_stopping import early_stopping
from jaxnn.training.ensemble import ensemble_predict, stack_members
from jaxnn.training.epoch import epoch_order, epoch_program, no_progress
from jaxnn.training.evaluation import evaluate, predict
from jaxnn.training.fit import fit
from jaxnn.training.landscape import Landscape, filter_normalized, landscape, random_directions
from jaxnn.training.lr_finder import LearningRates, Ramp, lr_finder, ramp
from jaxnn.training.machine import keep_freed_memory
from jaxnn.training.parallel import data_mesh, device_per_core, fully_sharded, gathered
from jaxnn.training.per_example import (
    Influence,
    NoiseScale,
    gradient_noise_scale,
    gradient_norms,
    influence,
    per_example_gradients,
    self_influence,
)
from jaxnn.training.result import FitInterrupted, FitResult, NotFiniteError, NotReadError, NotSavedError
from jaxnn.training.sharpness import Sharpness, hessian_vector_product, sharpness
from jaxnn.training.state import RunKeys, TrainState, init_train_state, run_keys
from jaxnn.training.step import train_step
from jaxnn.training.sweep import fit_many
from jaxnn.training.sweep_results import Sweep, SweepInterrupted
from jaxnn.training.sweep_settings import grid
from jaxnn.training.tensorboard import tensorboard
from jaxnn.training.weights import load_weights, save_weights

__all__ = [
    "CheckpointError",
    "Diagnosis",
    "Finding",
    "FitInterrupted",
    "FitResult",
    "Influence",
    "Landscape",
    "LearningRates",
    "NoiseScale",
    "NotFiniteError",
    "NotReadError",
    "NotSavedError",
    "Ramp",
    "RunKeys",
    "Sharpness",
    "Sweep",
    "SweepInterrupted",
    "TrainState",
    "checkpoints",
    "data_mesh",
    "device_per_core",
    "doctor",
    "early_stopping",
    "ensemble_predict",
    "epoch_order",
    "epoch_program",
    "evaluate",
    "filter_normalized",
    "fit",
    "fit_many",
    "fully_sharded",
    "gathered",
    "gradient_noise_scale",
    "gradient_norms",
    "grid",
    "hessian_vector_product",
    "influence",
    "init_train_state",
    "keep_freed_memory",
    "landscape",
    "load_weights",
    "lr_finder",
    "no_progress",
    "per_example_gradients",
    "predict",
    "ramp",
    "random_directions",
    "restore_checkpoint",
    "run_keys",
    "save_checkpoint",
    "save_weights",
    "self_influence",
    "sharpness",
    "stack_members",
    "tensorboard",
    "train_step",
]
