"""jaxnn: neural networks as plain functions in JAX, from the perceptron to the Transformer.

A model is a `Layer`: `init(key) -> (params, state)` and `apply(params, state, x, *, key, train) -> (y, state)`. Losses
and metrics give one value per example, optimizers are Optax's or ours, data are arrays. Importing this loads jax and
numpy; what is heavy loads where it is used. Reports are in `jaxnn.report`, mathematics over arrays in
`jaxnn.functional`, `activations`, `losses` and `backprop`.
"""

from jaxnn import activations, augmentation, backprop, losses, optimizers, schedules, tree
from jaxnn.data import Dataset, ImageData, from_arrays, from_npz, from_tfds, load, split
from jaxnn.initializers import kaiming
from jaxnn.layers import (
    batch_norm,
    cast,
    conv2d,
    dropout,
    embedding,
    flatten,
    layer_norm,
    linear,
    max_pool2d,
    normalize,
    remat,
    repeat,
    residual,
    sequential,
    walk,
)
from jaxnn.losses import (
    categorical_cross_entropy,
    mean_squared_error,
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy,
)
from jaxnn.metrics import accuracy, confusion_matrix, top_k_accuracy
from jaxnn.models import (
    cnn,
    gru_classifier,
    lstm_classifier,
    mlp,
    perceptron,
    perceptron_rule,
    rnn_classifier,
    transformer_classifier,
)
from jaxnn.optimizers import adam, adamw, averaged_params, clip_by_global_norm, ema, momentum, sgd
from jaxnn.training import (
    FitInterrupted,
    FitResult,
    NotFiniteError,
    TrainState,
    doctor,
    early_stopping,
    ensemble_predict,
    evaluate,
    fit,
    fit_many,
    init_train_state,
    load_weights,
    predict,
    run_keys,
    save_weights,
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
    "activations",
    "adam",
    "adamw",
    "augmentation",
    "averaged_params",
    "backprop",
    "batch_norm",
    "cast",
    "categorical_cross_entropy",
    "clip_by_global_norm",
    "cnn",
    "confusion_matrix",
    "conv2d",
    "doctor",
    "dropout",
    "early_stopping",
    "ema",
    "embedding",
    "ensemble_predict",
    "evaluate",
    "fit",
    "fit_many",
    "flatten",
    "from_arrays",
    "from_npz",
    "from_tfds",
    "gru_classifier",
    "init_train_state",
    "kaiming",
    "layer_norm",
    "linear",
    "load",
    "load_weights",
    "losses",
    "lstm_classifier",
    "max_pool2d",
    "mean_squared_error",
    "mlp",
    "momentum",
    "normalize",
    "optimizers",
    "perceptron",
    "perceptron_rule",
    "predict",
    "remat",
    "repeat",
    "residual",
    "rnn_classifier",
    "run_keys",
    "save_weights",
    "schedules",
    "sequential",
    "sgd",
    "sigmoid_binary_cross_entropy",
    "softmax_cross_entropy",
    "split",
    "top_k_accuracy",
    "train_step",
    "transformer_classifier",
    "tree",
    "walk",
]
