"""The guide's "Common Mistakes to Avoid", measured on a user's own model and data."""

from typing import Any

import jax
import numpy as np

from jaxnn import checks
from jaxnn.data import Dataset, check_dataset, take
from jaxnn.losses import softmax_cross_entropy
from jaxnn.metrics import accuracy
from jaxnn.training import doctor_data as data_checks
from jaxnn.training import doctor_network as network_checks
from jaxnn.training import doctor_trials as trials
from jaxnn.training.doctor_findings import Diagnosis, Finding, not_examined
from jaxnn.training.evaluation import evaluate, predict
from jaxnn.training.lr_finder import MakeOptimizer
from jaxnn.training.result import FitResult
from jaxnn.training.state import TrainState, check_optimizer, compiled_init, init_train_state, run_keys
from jaxnn.types import Init, Layer, Loss

EXAMPLES = 1000  # that the network is looked at with; a share of 10 % is then known to one point
CHECKS = (
    *("labels", "classes", "overlap", "inputs", "softmax", "loss at the start", "learning rate", "one batch"),
    *("dead units", "order of the steps", "order of the pixels", "training mode", "generalisation", "monitoring"),
)


def doctor(
    model: Layer,
    dataset: Dataset,
    *,
    loss: Loss = softmax_cross_entropy,
    make_optimizer: MakeOptimizer | None = None,
    learning_rate: float | None = None,
    trained: FitResult | TrainState | None = None,
    validation: Dataset | None = None,
    test: Dataset | None = None,
    init: Init | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> Diagnosis:
    """Examine a model and its data for the usual mistakes: a table of findings, each with a number and an advice.

    Asked are, in this order: whether the loss takes the labels; whether one class outweighs the others; whether
    validation or test examples were trained on; the scale of what the first weights read; whether softmax is applied
    twice; the loss of the untrained network; the learning rate, by `lr_finder`; whether 32 examples can be learned by
    heart; dead units; whether the order of the steps changes the outputs; whether a shuffle of all images' pixels
    costs accuracy; the two modes of dropout and batch normalisation; the gap to the validation set; whether there was
    validation at all. The thresholds, with their reasons, stand at the functions in `doctor_data`, `doctor_network` and
    `doctor_trials`.

    What was not given is not asked, and said: `make_optimizer` (default: Optax's Adam) and `learning_rate` as in
    `lr_finder`; `trained`, the result of `fit` or a TrainState; `validation` and `test`; `init` as in `fit`. It trains
    for about a thousand steps in all; the same seed gives the same answers. Nothing the caller passed is changed.

    A `finding` is a mistake to mend. A `note` is worth knowing and may be meant so: a class that is rare, a gap that
    comes of little data, a multi-layer perceptron on images. A perceptron makes no use of which pixels are neighbours
    and does well on centred digits all the same, so that is a finding only where more than half of its answers are
    wrong.

    Raises ValueError for no data, or validation or test inputs of another shape, and for inputs that the model does not
    take; TypeError for what is no model, loss, optimizer or Dataset. Labels that the loss does not take are a finding.

    >>> from jaxnn.data import from_arrays
    >>> from jaxnn.models import mlp
    >>> data = from_arrays([[0.0, 100.0], [0.0, 90.0], [1.0, 0.0], [1.0, 10.0]] * 9, [0, 0, 1, 1] * 9)
    >>> [finding.check for finding in doctor(mlp((2, 8, 2)), data).having("finding")]
    ['inputs', 'loss at the start']
    """
    model, make_optimizer = _checked(model, dataset, loss, make_optimizer, learning_rate, trained, init)
    checks.positive_int("doctor", "batch_size", batch_size)
    for name, other in (("validation", validation), ("test", test)):
        _check_like(name, other, dataset)
    keys = run_keys(seed)
    start = init_train_state(init or compiled_init(model.init), make_optimizer(1e-3), keys.init)
    fresh = start.params, start.model_state
    state = trained.train_state if isinstance(trained, FitResult) else trained
    now: tuple[Any, Any] = fresh if state is None else (state.params, state.model_state)
    seen = take(dataset, np.asarray(jax.random.permutation(keys.split, dataset.size))[:EXAMPLES])
    jax.eval_shape(model.apply, *now, seen.inputs)  # refuses parameters of another model
    answers: dict[str, Finding] = {
        "labels": data_checks.labels(model, loss, *fresh, dataset),
        "overlap": data_checks.overlap(dataset, {"validation": validation, "test": test}),
        "inputs": data_checks.holes(dataset.inputs) or data_checks.scale(model, *now, seen.inputs, keys.step),
        "dead units": network_checks.dead_units(model, *now, seen.inputs),
        "order of the steps": network_checks.blind_to_order(model, *now, seen.inputs, keys.order),
        "monitoring": network_checks.monitoring(trained),
    }
    legible = answers["labels"].outcome == "healthy"
    if legible:
        outputs = predict(model, *fresh, seen.inputs)
        classes = data_checks.classes_of(outputs, seen.targets)
        answers |= {
            "classes": data_checks.balance(classes, dataset.targets),
            "softmax": network_checks.doubled_softmax(outputs, loss, seen.targets),
            "loss at the start": network_checks.start_loss(outputs, loss, seen.targets),
        }
        answers["learning rate"], rate = trials.rates(
            model, loss, make_optimizer, dataset, learning_rate, batch_size=batch_size, init=init, seed=seed
        )
        optimizer = make_optimizer(rate)
        answers["one batch"] = trials.one_batch(model, loss, optimizer, *fresh, dataset, keys)
        answers["order of the pixels"] = trials.order_of_pixels(
            model, loss, optimizer, *fresh, dataset, validation, batch_size=batch_size, keys=keys
        )
    if legible and state is not None:
        answers["training mode"] = network_checks.modes(model, now[0], now[1], fresh[1], seen, keys.step)
        on_training, on_validation = (_measured(model, now, loss, part, classes) for part in (seen, validation))
        answers["generalisation"] = network_checks.generalisation(trained, on_training, on_validation)
    missing = "give trained=, the result of fit" if legible else "mend the labels first"
    findings = tuple(answers.get(check, not_examined(check, missing)) for check in CHECKS)
    return Diagnosis(model.name, dataset.size, findings)


def _measured(
    model: Layer, now: tuple[Any, Any], loss: Loss, part: Dataset | None, classes: int | None
) -> dict[str, float] | None:
    """Evaluate on a set, if there is one; the accuracy where there are classes."""
    metrics = {} if classes is None else {"accuracy": accuracy}
    return None if part is None else evaluate(model, *now, part, loss, metrics)


def _checked(
    model: Any, dataset: Any, loss: Any, make_optimizer: Any, rate: Any, trained: Any, init: Any
) -> tuple[Layer, MakeOptimizer]:
    """Refuse what is no model, data, loss, optimizer or rate; return the model and the maker of the optimizer."""
    model = checks.as_layer("doctor", model)
    check_dataset("doctor", dataset)
    checks.callables("doctor", loss=loss, **({} if init is None else {"init": init}))
    if rate is not None:
        checks.finite_positive("doctor", "learning_rate", rate)
    if make_optimizer is None:
        import optax

        make_optimizer = optax.adam
    if not callable(make_optimizer):
        got = "an optimizer: give the constructor, without its rate" if hasattr(make_optimizer, "update") else None
        raise TypeError(
            f"doctor expected make_optimizer to be a function of the rate, such as adam, but got "
            f"{got or repr(make_optimizer)}"
        )
    check_optimizer("doctor", make_optimizer(1e-3))
    if not isinstance(trained, FitResult | TrainState | None):
        raise TypeError(f"doctor expected trained to be the result of fit, or a TrainState, but got {trained!r:.60}")
    return model, make_optimizer


def _check_like(name: str, other: Dataset | None, dataset: Dataset) -> None:
    """Refuse a set whose inputs are of another form than the training set's."""
    if other is None:
        return
    check_dataset(f"doctor, {name},", other)
    forms = [f"{part.inputs.dtype} {[*part.inputs.shape[1:]]}" for part in (dataset, other)]
    if forms[0] != forms[1]:
        raise ValueError(f"doctor expected {name} inputs like the dataset's, {forms[0]} an example, but got {forms[1]}")
