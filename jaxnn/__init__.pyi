"""What `jaxnn` offers: type checkers read it here, and the package loads a name from here when it is first used."""

from . import activations as activations
from . import augmentation as augmentation
from . import backprop as backprop
from . import checks as checks
from . import data as data
from . import functional as functional
from . import initializers as initializers
from . import layers as layers
from . import losses as losses
from . import metrics as metrics
from . import models as models
from . import optimizers as optimizers
from . import report as report
from . import schedules as schedules
from . import training as training
from . import tree as tree
from . import types as types
from .data import Dataset, ImageData, from_arrays, from_npz, from_tfds, load, split
from .initializers import kaiming
from .layers import (
    batch_norm,
    cast,
    conv2d,
    dropout,
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
from .layers.embedding import embedding
from .losses import (
    categorical_cross_entropy,
    mean_squared_error,
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy,
)
from .metrics import accuracy, confusion_matrix, top_k_accuracy
from .models import (
    cnn,
    gru_classifier,
    lstm_classifier,
    mlp,
    perceptron,
    perceptron_rule,
    rnn_classifier,
    transformer_classifier,
)
from .optimizers import adam, adamw, averaged_params, clip_by_global_norm, ema, momentum, sgd
from .training import (
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
from .types import Layer

__version__: str

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
