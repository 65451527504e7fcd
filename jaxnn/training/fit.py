"""Training from data to a trained model: check, split, compile, run."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxnn import checks
from jaxnn.data import Dataset, check_dataset, split
from jaxnn.metrics import accuracy
from jaxnn.training.display import training_display
from jaxnn.training.evaluation import check_labels
from jaxnn.training.interruption import noted_signals
from jaxnn.training.loop import Callback, FitResult, compile_programs, train
from jaxnn.training.state import init_train_state, run_keys
from jaxnn.types import Init, Layer, Loss, Metric


def fit(
    model: Layer,
    loss: Loss,
    optimizer: Any,
    dataset: Dataset,
    *,
    epochs: int,
    batch_size: int = 64,
    validation: Dataset | None = None,
    validation_split: float = 0.0,
    class_weights: Sequence[float] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    init: Init | None = None,
    seed: int = 0,
    callback: Callback | None = None,
    verbose: bool = True,
) -> FitResult:
    """Train `model` on `dataset` for `epochs` epochs and return the trained state with the history.

    An epoch sees every example once, in a new order; the last batch is as short as it is. A run is a function of its
    seed: the same call gives the same bits. Nothing the caller passed is changed or donated.

    - `optimizer` is any `optax.GradientTransformation`.
    - `validation` is evaluated after each epoch; or `validation_split` sets that share of `dataset` aside at random.
    - `dataset.weights` scale the examples' losses; `class_weights` [classes] scale the training loss by label too.
    - `metrics` are measured beside the loss; by default the accuracy where targets are integers.
    - `init` replaces the model's own, as in `init=kaiming(model)` or `init=lambda key: (params, state)`.
    - `callback(record, train_state)` is called after each epoch; returning True ends the training.

    A record holds epoch, step, loss and metrics (means over the epoch, in training mode), gradient_norm, learning_rate
    (where the optimizer's state names it, as `optax.inject_hyperparams` does), validation_*, seconds and
    examples_per_second; the times are without compilation and validation.

    Raises ValueError or TypeError before the first step for data, labels or options that cannot be trained on;
    `NotFiniteError` when a loss or gradient is not finite (the step is dropped); `FitInterrupted` within about half a
    second of Ctrl-C or SIGTERM. Both of the latter carry the result so far.

    >>> import optax
    >>> from jaxnn.data import from_arrays
    >>> from jaxnn.losses import softmax_cross_entropy
    >>> from jaxnn.models import mlp
    >>> data = from_arrays([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0])
    >>> result = fit(mlp((2, 16, 2)), softmax_cross_entropy, optax.adam(0.1), data, epochs=100, verbose=False)
    >>> result.history[-1]["accuracy"]
    1.0
    """
    checks.non_negative_int("fit", "epochs", epochs)
    checks.positive_int("fit", "batch_size", batch_size)
    check_dataset("fit", dataset)
    keys = run_keys(seed)
    if validation_split:
        if validation is not None:
            raise ValueError("fit got both validation and validation_split: give one of them")
        dataset, validation = split(dataset, validation_split, keys.split)
    if metrics is None:
        metrics = {"accuracy": accuracy} if np.issubdtype(np.asarray(dataset.targets).dtype, np.integer) else {}
    train_state = init_train_state(init or jax.jit(model.init), optimizer, keys.init)
    for part in (dataset, validation):
        if part is not None:
            check_dataset("fit", part)
            check_labels("fit", model, train_state.params, train_state.model_state, part)
    if epochs == 0:
        return FitResult(train_state, [], 0.0, 0.0)
    batch_size = min(batch_size, dataset.size)
    weighted = _with_class_weights(dataset, class_weights)
    with (
        noted_signals() as received,
        training_display(verbose, epochs, -(-dataset.size // batch_size)) as display,
    ):
        display.status("compiling")
        programs = compile_programs(
            model, loss, optimizer, metrics, weighted, validation, batch_size, train_state, keys.step
        )
        return train(programs, train_state, keys, epochs, validation, callback, received, display)


def _with_class_weights(dataset: Dataset, class_weights: Sequence[float] | None) -> Dataset:
    if class_weights is None:
        return dataset
    weights = np.asarray(class_weights, np.float32)
    targets = np.asarray(dataset.targets)
    if not np.issubdtype(targets.dtype, np.integer):
        raise TypeError(f"fit expected integer targets with class_weights but got {targets.dtype}")
    if weights.ndim != 1 or targets.max() >= len(weights):
        raise ValueError(
            f"fit expected one class weight a class, at least {targets.max() + 1}, but got shape {weights.shape}"
        )
    by_class = weights[targets]
    weighted = dataset._replace(weights=by_class if dataset.weights is None else by_class * dataset.weights)
    check_dataset("fit with class_weights", weighted)
    return weighted
