"""Training from data to a trained model: check, split, compile, run."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jaxnn import checks
from jaxnn.data import Dataset, Stream, check_dataset, split
from jaxnn.data.stream import load_grain, with_checked_labels
from jaxnn.metrics import accuracy
from jaxnn.training.display import training_display
from jaxnn.training.early_stopping import EarlyStopping, no_best
from jaxnn.training.epoch import Augment, no_progress
from jaxnn.training.evaluation import check_labels
from jaxnn.training.feed import batch_like
from jaxnn.training.interruption import noted_signals
from jaxnn.training.loop import compile_programs, finished, train
from jaxnn.training.placement import (
    Rule,
    place_state,
    place_whole,
    placement,
    split_augment,
    split_inputs,
    split_step,
)
from jaxnn.training.processes import number_of, refuse_differing, speaks
from jaxnn.training.result import Callback, FitResult
from jaxnn.training.resume import Folder, Reached, check_folder, fingerprint, open_run, save_reached
from jaxnn.training.state import check_optimizer, compiled_init, init_train_state, run_keys
from jaxnn.training.step import train_step
from jaxnn.types import Init, Layer, Loss, Metric


def fit(
    model: Layer,
    loss: Loss,
    optimizer: Any,
    dataset: Dataset | Stream,
    *,
    epochs: int,
    batch_size: int = 64,
    validation: Dataset | None = None,
    validation_split: float = 0.0,
    class_weights: Sequence[float] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    init: Init | None = None,
    augment: Augment | None = None,
    accumulate: int = 1,
    early_stopping: EarlyStopping | None = None,
    checkpoints: Folder | None = None,
    resume: bool = False,
    mesh: Mesh | None = None,
    sharding: Rule | None = None,
    seed: int = 0,
    callback: Callback | None = None,
    verbose: bool = True,
) -> FitResult:
    """Train `model` on `dataset` for `epochs` epochs and return the trained state with the history.

    An epoch sees every example once, in a new order; the last batch is as short as it is. A run is a function of its
    seed: the same call gives the same bits. Nothing the caller passed is changed or donated.

    - `dataset` may be a `Stream` of data that do not fit into memory (`from_npy_files`, `from_array_record`): they are
      read ahead in the order of the epoch, so the run is that of a Dataset of them, bit for bit (on a mesh to the last
      digits), and is resumed at any step like one. Needs Grain: `pip install 'jaxnn[stream]'`.
    - `optimizer` is any `optax.GradientTransformation`.
    - `validation` is evaluated after each epoch; or `validation_split` sets that share of `dataset` aside at random.
    - `dataset.weights` scale the examples' losses; `class_weights` [classes] scale the training loss by label too.
    - `metrics` are measured beside the loss; by default the accuracy where targets are class labels.
    - `init` replaces the model's own, as in `init=kaiming(model)` or `init=lambda key: (params, state)`.
    - `augment(key, inputs) -> inputs` changes each training batch, with randomness of its own for each step.
    - `accumulate` parts of a batch are computed one after the other, which saves memory: same steps, same gradient.
      Layers that look at the batch (batch norm) see the parts.
    - `early_stopping=early_stopping(patience=7)` ends the training and takes the best epoch's parameters.
    - `checkpoints` is a folder to save into every ten seconds and at the end, Ctrl-C included; with `resume` a run that
      was ended or killed goes on from there, to the same bits as if it had not been. Give the same arguments again:
      model, data, seed and sizes are compared, the optimizer's options cannot be. More epochs are no other run.
    - `mesh=data_mesh()` trains on several devices: each batch is split along the mesh's axis "data", the sums over it
      (loss, gradient, the statistics of batch norm) are those of the whole batch, so the run is that of one device to
      the last digits. The parameters lie on every device, or with `sharding=fully_sharded` a part of them and of the
      optimizer's state on each. A short last batch that cannot be split is computed everywhere. A checkpoint goes on
      on any number of devices. With several processes (`initialize`) all make the same call, with all of the data.
    - `callback(record, train_state)` is called after each epoch; returning True ends the training.

    A record holds epoch, step, loss and metrics (means over the epoch, in training mode), gradient_norm, learning_rate
    (where the optimizer's state names it, as ours and `optax.inject_hyperparams` do), validation_*, seconds and
    examples_per_second; the times are without compilation and validation.

    Raises ValueError or TypeError before the first step for data, labels or options that cannot be trained on, and
    for a run in `checkpoints` that is another one; FileExistsError for an unfinished run there without `resume`;
    `NotFiniteError` when a loss or gradient is not finite (the step is dropped); `FitInterrupted` within about half a
    second of Ctrl-C or SIGTERM; `NotSavedError` when a checkpoint cannot be saved, `NotReadError` when a stream cannot
    be read. These four carry the result so far.

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
    checks.positive_int("fit", "accumulate", accumulate)
    checks.in_range("fit", "validation_split", validation_split, 0, 1, open_high=True)
    place = placement(mesh, sharding, batch_size, accumulate)
    check_folder("fit", checkpoints, resume)
    model = checks.as_layer("fit", model)
    check_optimizer("fit", optimizer)
    given = {"init": init, "callback": callback, "augment": augment}
    checks.callables("fit", loss=loss, **{name: value for name, value in given.items() if value is not None})
    keys = run_keys(seed)
    if isinstance(dataset, Stream):
        _check_stream(dataset, validation_split, class_weights)
    else:
        check_dataset("fit", dataset)
        if validation_split:
            if validation is not None:
                raise ValueError("fit got both validation and validation_split: give one of them")
            dataset, validation = split(dataset, validation_split, keys.split)
    train_state = init_train_state(init or compiled_init(model.init), optimizer, keys.init)
    classes = check_labels("fit", model, train_state.params, train_state.model_state, dataset)
    if metrics is None:
        metrics = {} if classes is None else {"accuracy": accuracy}
    metrics = checks.metric_names("fit", metrics)
    if validation is not None:
        check_dataset("fit, validation,", validation)
        check_labels("fit, validation,", model, train_state.params, train_state.model_state, validation)
    _check_early_stopping(early_stopping, {"loss", *metrics}, validation)
    if isinstance(dataset, Stream):
        weighted = dataset if classes is None else with_checked_labels("fit", dataset, classes)
    else:
        weighted = dataset if class_weights is None else _with_class_weights(dataset, class_weights, classes)
    train_state = place_state(place, train_state)
    if epochs == 0:
        return FitResult(train_state, [], 0.0, 0.0)
    batch_size = min(batch_size, dataset.size)
    model, augment = split_inputs(place, model), split_augment(place, augment)
    step = split_step(place, train_step(model, loss, optimizer, metrics, accumulate=accumulate))
    empty = no_progress(step, train_state, batch_like(weighted, batch_size), keys.step)
    empty, keys = place_whole(place, (empty, keys))
    reached = Reached(train_state, empty, early_stopping and no_best(*train_state[:2]), [])
    save, news, settings = None, "", {}
    if checkpoints is not None or place.shared:
        settings = {
            "model": model.name,
            "loss": checks.name_of(loss),
            "data": fingerprint(weighted),
            "validation": fingerprint(validation),
            "batch_size": batch_size,
            "accumulate": accumulate,
            "augment": augment is not None,
            "early_stopping": early_stopping and [*early_stopping],
            "epochs": epochs,
            "seed": seed,
        }
    refuse_differing(
        place.shared, number_of(settings), "fit got other arguments or data in one process than in another"
    )
    if checkpoints is not None:
        reached, news = open_run(checkpoints, reached, settings, resume=resume)
        save = partial(save_reached, checkpoints, settings=settings)
    with (
        noted_signals() as received,
        training_display(verbose and speaks(place.shared), epochs, -(-dataset.size // batch_size)) as display,
    ):
        if news:
            display.note(news)
        if reached.ended:
            return finished(reached, 0.0, early_stopping)
        display.status("compiling")
        programs = compile_programs(
            *(model, loss, metrics, step, augment, weighted, validation, batch_size, train_state, empty, keys, place)
        )
        return train(programs, reached, keys, epochs, validation, callback, early_stopping, save, received, display)


def _check_stream(stream: Stream, validation_split: float, class_weights: Sequence[float] | None) -> None:
    """Refuse what needs all of the data at once, and a stream that nothing can read ahead."""
    load_grain("fit")
    if stream.size < 1 or stream.targets.shape[:1] != (stream.size,):
        raise ValueError(
            f"fit expected a stream of as many targets as inputs but got {stream.targets.shape} for "
            f"{stream.inputs.shape}"
        )
    if validation_split:
        raise ValueError("fit cannot split a stream: give validation=, a Dataset of other examples that fit in memory")
    if class_weights is not None:
        raise ValueError("fit cannot weight the classes of a stream: let the loss scale each example by its label")


def _check_early_stopping(rule: EarlyStopping | None, metrics: set[str], validation: Dataset | None) -> None:
    """Refuse a rule that watches what no record will have."""
    if rule is None:
        return
    if not isinstance(rule, EarlyStopping):
        raise TypeError(f"fit expected early_stopping=early_stopping(...) but got {rule!r}")
    names = metrics | ({f"validation_{name}" for name in metrics} if validation is not None else set())
    if rule.metric not in names:
        hint = "" if validation is not None else ": give validation or validation_split"
        raise ValueError(f"early_stopping watches {rule.metric}, but fit measures {', '.join(sorted(names))}{hint}")


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
