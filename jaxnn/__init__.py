"""jaxnn: neural networks as plain functions in JAX, from the perceptron to the Transformer.

A model is a `Layer`: `init(key) -> (params, state)` and `apply(params, state, x, *, key, train) -> (y, state)`. Losses
and metrics give one value per example, optimizers are Optax's, data are arrays. Importing this loads jax and numpy;
what is heavy loads where it is used. Reports are in `jaxnn.report`, mathematics over arrays in `jaxnn.functional`.
"""

from jaxnn import tree
from jaxnn.data import Dataset, ImageData, from_arrays, from_npz, from_tfds, load, split
from jaxnn.initializers import kaiming
from jaxnn.layers import (
    batch_norm,
    dropout,
    flatten,
    linear,
    normalize,
    residual,
    sequential,
    walk,
)
from jaxnn.losses import softmax_cross_entropy
from jaxnn.metrics import accuracy, confusion_matrix
from jaxnn.models import mlp
from jaxnn.training import (
    FitInterrupted,
    FitResult,
    NotFiniteError,
    TrainState,
    evaluate,
    fit,
    init_train_state,
    predict,
    run_keys,
    train_step,
)
from jaxnn.types import Layer

__version__ = "0.1.0"

__all__ = [
    "Dataset",
    "FitInterrupted",
    "FitResult",
    "ImageData",
    "Layer",
    "NotFiniteError",
    "TrainState",
    "accuracy",
    "batch_norm",
    "confusion_matrix",
    "dropout",
    "evaluate",
    "fit",
    "flatten",
    "from_arrays",
    "from_npz",
    "from_tfds",
    "init_train_state",
    "kaiming",
    "linear",
    "load",
    "mlp",
    "normalize",
    "predict",
    "residual",
    "run_keys",
    "sequential",
    "softmax_cross_entropy",
    "split",
    "train_step",
    "tree",
    "walk",
]
