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
from jaxnn.training.state import check_optimizer, init_train_state, run_keys
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
    - `metrics` are measured beside the loss; by default the accuracy where targets are class labels.
    - `init` replaces the model's own, as in `init=kaiming(model)` or `init=lambda key: (params, state)`.
    - `callback(record, train_state)` is called after each epoch; returning True ends the training.

    A record holds epoch, step, loss and metrics (means over the epoch, in training mode), gradient_norm, learning_rate
    (where the optimizer's state names it, as ours and `optax.inject_hyperparams` do), validation_*, seconds and
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
    checks.in_range("fit", "validation_split", validation_split, 0, 1, open_high=True)
    model = checks.as_layer("fit", model)
    check_optimizer("fit", optimizer)
    given = {"init": init, "callback": callback}
    checks.callables("fit", loss=loss, **{name: value for name, value in given.items() if value is not None})
    check_dataset("fit", dataset)
    keys = run_keys(seed)
    if validation_split:
        if validation is not None:
            raise ValueError("fit got both validation and validation_split: give one of them")
        dataset, validation = split(dataset, validation_split, keys.split)
    train_state = init_train_state(init or jax.jit(model.init), optimizer, keys.init)
    classes = check_labels("fit", model, train_state.params, train_state.model_state, dataset)
    if metrics is None:
        metrics = {} if classes is None else {"accuracy": accuracy}
    metrics = checks.metric_names("fit", metrics)
    if validation is not None:
        check_dataset("fit, validation,", validation)
        check_labels("fit, validation,", model, train_state.params, train_state.model_state, validation)
    weighted = dataset if class_weights is None else _with_class_weights(dataset, class_weights, classes)
    if epochs == 0:
        return FitResult(train_state, [], 0.0, 0.0)
    batch_size = min(batch_size, dataset.size)
    with (
        noted_signals() as received,
        training_display(verbose, epochs, -(-dataset.size // batch_size)) as display,
    ):
        display.status("compiling")
        programs = compile_programs(
            model, loss, optimizer, metrics, weighted, validation, batch_size, train_state, keys.step
        )
        return train(programs, train_state, keys, epochs, validation, callback, received, display)


def _with_class_weights(dataset: Dataset, class_weights: Sequence[float], classes: int | None) -> Dataset:
    weights, targets = np.asarray(class_weights), np.asarray(dataset.targets)
    checks.array("fit", "class_weights", weights)
    if classes is None or targets.ndim != 1:
        raise TypeError(
            f"fit expected one integer target an example with class_weights but got {targets.dtype} of {targets.shape}"
        )
    if weights.shape != (classes,):
        raise ValueError(f"fit expected class_weights of shape ({classes},), one a class, but got {weights.shape}")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError(f"fit expected class_weights that are finite and not negative but got {weights.tolist()}")
    by_class = weights.astype(np.float32)[targets]
    weighted = dataset._replace(weights=by_class if dataset.weights is None else by_class * dataset.weights)
    check_dataset("fit with class_weights", weighted)
    return weighted
