"""What `jaxnn.training` offers; the package loads a name from here when it is first used."""

from .checkpoint import CheckpointError, checkpoints, restore_checkpoint, save_checkpoint
from .doctor import doctor
from .doctor_findings import Diagnosis, Finding
from .early_stopping import early_stopping
from .ensemble import ensemble_predict, stack_members
from .epoch import epoch_program, no_progress
from .evaluation import evaluate, predict
from .fit import fit
from .landscape import Landscape, filter_normalized, landscape, random_directions
from .lr_finder import LearningRates, Ramp, lr_finder, ramp
from .machine import compiler_options, keep_freed_memory, return_freed_memory
from .order import epoch_order
from .parallel import data_mesh, device_per_core, fully_sharded, gathered
from .per_example import (
    Influence,
    NoiseScale,
    gradient_noise_scale,
    gradient_norms,
    influence,
    per_example_gradients,
    self_influence,
)
from .result import FitInterrupted, FitResult, NotFiniteError, NotReadError, NotSavedError
from .sharpness import Sharpness, hessian_vector_product, sharpness
from .state import RunKeys, TrainState, compiled_init, init_train_state, run_keys
from .step import train_step
from .sweep import fit_many
from .sweep_results import Sweep, SweepInterrupted
from .sweep_settings import grid
from .tensorboard import tensorboard
from .weights import load_weights, save_weights

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
    "compiled_init",
    "compiler_options",
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
    "return_freed_memory",
    "run_keys",
    "save_checkpoint",
    "save_weights",
    "self_influence",
    "sharpness",
    "stack_members",
    "tensorboard",
    "train_step",
]
