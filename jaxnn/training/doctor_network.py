"""What the doctor asks of a network without training it: its outputs, its units, its two modes, its history."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import checks
from jaxnn.data import Dataset
from jaxnn.data.text import PAD
from jaxnn.layers import activations, walk
from jaxnn.training.doctor_data import classes_of
from jaxnn.training.doctor_findings import Finding, graded, not_examined, noted
from jaxnn.training.result import FitResult
from jaxnn.types import Array, Layer, Loss, Params, PRNGKey, State

TIMES = 2.0  # the loss of the best constant; He's initialisation gives about 1.4 times it
DEAD = 0.75  # share of the units; a half is by chance where inputs are averaged over an image: the sign of the bias
STILL = 1e-3  # of the widest unit's range: a unit that moves less is dead, as is one that moves less than 1e-6
MODES = 0.2  # accuracy that evaluation mode may lose; a CNN after 140 steps, whose statistics still lag, loses 0.1
RESTLESS = 0.1  # accuracy that training mode may lose before it is worth a note: dropout does that
SAME = 1e-3  # change of the outputs by another order, in units of their deviation; rounding is 1e-6
GAP = 0.05  # accuracy between training and validation set; 60,000 images leave 1 to 4 points
RISEN = 1.2  # times the lowest validation loss; 150 images learned by heart raise it to 1.5 and more


def doubled_softmax(predictions: Any, loss: Loss, targets: Any) -> Finding:
    """Find outputs [B, C] that are probabilities already, under a loss that takes logits.

    Probabilities are rows of numbers in 0..1 that add up to 1; a loss takes logits if adding 1 to all of them leaves it
    as it is, as every softmax does.

    >>> from jaxnn.losses import softmax_cross_entropy
    >>> doubled_softmax(np.full((2, 4), 0.25, np.float32), softmax_cross_entropy, np.array([0, 1])).outcome
    'finding'
    """
    name = "softmax"
    if classes_of(predictions, targets) is None:
        return not_examined(name, "the outputs are not one number a class")
    off = float(np.abs(np.asarray(predictions, np.float64).sum(-1) - 1).max())
    probabilities = off < 1e-3 and float(jnp.min(predictions)) >= 0
    try:
        takes_logits = bool(jnp.allclose(loss(predictions + 1, targets), loss(predictions, targets), rtol=1e-3))
    except (TypeError, ValueError):  # a loss over probabilities refuses what is above 1
        takes_logits = False
    return graded(
        name,
        off,
        probabilities and takes_logits,
        f"rows of outputs add up to 1 within {off:.2g}",
        "logits, which add up to anything" if takes_logits else "probabilities, for this loss",
        "the loss applies softmax itself, and a second one flattens its gradient: take softmax off the model's end",
    )


def start_loss(predictions: Any, loss: Loss, targets: Any) -> Finding:
    """Compare the loss of the untrained network with that of a constant: log(C) for labels, else that of the mean.

    A network that knows nothing should say that it knows nothing. Twice as much comes from outputs that are far too
    large (weights or inputs are), half as much from inputs that hold the answer. Karpathy, 2019, A Recipe for Training
    Neural Networks ("verify loss at init").

    >>> from jaxnn.losses import softmax_cross_entropy
    >>> start_loss(np.zeros((2, 10), np.float32), softmax_cross_entropy, np.array([0, 1])).measured
    '2.303'
    """
    classes = classes_of(predictions, targets)
    if classes is None:
        known = jnp.broadcast_to(jnp.asarray(targets).mean(0), jnp.shape(predictions))
        what = "always answering the mean"
    else:
        known, what = jnp.full(jnp.shape(predictions), 1 / classes, jnp.float32), f"log({classes})"
    try:
        value, constant = (float(jnp.mean(loss(made, targets))) for made in (predictions, known))
    except (TypeError, ValueError) as error:
        return not_examined("loss at the start", checks.first_line(error))
    high = not value <= TIMES * constant
    return graded(
        "loss at the start",
        value / constant if constant else float("nan"),
        high or value < constant / TIMES,
        f"{value:.4g}",
        f"{what} = {constant:.4g}, within {TIMES:g} times",
        "the first weights, the inputs or the targets are too large: normalise them, or draw the weights as the layers "
        "do by themselves"
        if high
        else "it knows too much for a network that was not trained: do the inputs hold the answer?",
    )


def dead_units(model: Layer, params: Params, state: State, x: Any) -> Finding:
    """Find the layer with the largest share of units that answer the same to every example.

    A unit is an entry of the last axis: of all positions of an image, all steps of a sequence. Looked at are the parts
    from the first weights to the last but one; a model without parts hides them.

    >>> from jaxnn.models import mlp
    >>> model = mlp((2, 4, 2))
    >>> params = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0))[0])
    >>> dead_units(model, params, ((),) * 4, np.eye(2, dtype=np.float32)).measured
    '100 % in layer 1 (linear(2, 4))'
    """
    name = "dead units"
    if not model.parts:
        return not_examined(name, "the model has no parts to look into: build it with sequential")
    parts = list(walk(model, params, state))
    weighty = [i for i, (_, _, p, _) in enumerate(parts) if any(leaf.ndim > 1 for leaf in jax.tree.leaves(p))]
    ranges = jax.jit(lambda p, s, x: [_range(y) for _, y in activations(model, p, s, x)])(params, state, x)
    inside = range(weighty[0], len(parts) - 1) if weighty else ()
    shares = {i: float(np.mean(ranges[i] <= max(STILL * ranges[i].max(), 1e-6))) for i in inside}
    if not shares:
        return not_examined(name, "the model has no hidden layer")
    worst = max(shares, key=lambda i: shares[i])
    return graded(
        name,
        shares[worst],
        shares[worst] > DEAD or not np.isfinite(np.asarray(ranges[worst])).all(),
        f"{100 * shares[worst]:.0f} % in layer {parts[worst][0]} ({parts[worst][1].name})",
        f"at most {100 * DEAD:.0f} % of a layer",
        "these units answer the same to every example and learn nothing: lower the learning rate, look at the first "
        "biases and weights, or take leaky_relu",
    )


def _range(y: Any) -> jax.Array:
    flat = y.reshape(-1, y.shape[-1])
    return flat.max(0) - flat.min(0)


def modes(model: Layer, params: Params, state: State, fresh: State, dataset: Dataset, key: PRNGKey) -> Finding:
    """Compare the accuracy on training examples in evaluation mode with that in training mode.

    Evaluation much the worse, or statistics that are still those of the start: the running statistics of batch
    normalisation are not those of the data. Training much the worse: a note of what it would cost to predict in
    training mode.

    >>> from jaxnn.layers import linear
    >>> model, data = linear(2, 2), Dataset(np.eye(2, dtype=np.float32), np.array([0, 1]))
    >>> modes(model, *model.init(jax.random.key(0)), (), data, jax.random.key(1)).value
    0.0
    """
    name, x, targets = "training mode", dataset.inputs, dataset.targets
    apply = jax.jit(lambda p, s, x, key, train: model.apply(p, s, x, key=key, train=train)[0], static_argnums=4)
    outputs = [apply(params, state, x, key, train) for train in (True, False)]
    if classes_of(outputs[0], targets) is None:
        return not_examined(name, "the targets are not one class label an example")
    training, evaluation = (float(np.mean(np.asarray(y).argmax(-1) == targets)) for y in outputs)
    pairs = list(zip(*map(jax.tree.leaves, (state, fresh)), strict=True))
    same = bool(pairs) and all(np.array_equal(a, b) for a, b in pairs)
    unmoved = " (they are those of the start: carry the state that each step returns)" if same else ""
    finding = graded(
        name,
        training - evaluation,
        same or training - evaluation > MODES,
        f"accuracy {100 * training:.1f} %, in evaluation mode {100 * evaluation:.1f} %",
        f"evaluation at most {100 * MODES:.0f} points below, statistics moved",
        f"the running statistics of batch normalisation are not those of the data{unmoved}: train with train=True, "
        "with larger batches, or longer",
    )
    if evaluation - training > RESTLESS:
        return noted(finding, "predict with train=False: in training mode dropout costs that much")
    return finding


def blind_to_order(model: Layer, params: Params, state: State, x: Any, key: PRNGKey) -> Finding:
    """Measure how much the outputs change when the steps (axis 1) of each example are put into another order.

    Tokens of padding (0) stay where they are. The change is in units of the outputs' deviation over the examples; an
    average of the steps, or attention without positions, changes by rounding alone.

    >>> from jaxnn.layers import linear, sequential
    >>> bag, steps = sequential(linear(2, 3), lambda x: x.mean(1)), np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    >>> blind_to_order(bag, *bag.init(jax.random.key(0)), steps, jax.random.key(1)).outcome
    'finding'
    """
    name, x = "order of the steps", np.asarray(x)
    if not (x.ndim > 2 or (x.ndim == 2 and np.issubdtype(x.dtype, np.signedinteger))):
        return not_examined(name, "the features of a table have no order")
    random = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    apply = jax.jit(lambda p, s, x: model.apply(p, s, x)[0])
    outputs, shuffled = (np.asarray(apply(params, state, rows), np.float64) for rows in (x, reordered(x, random)))
    deviation = outputs.std(0).mean()
    if not deviation > 0:
        return not_examined(name, "the network answers the same to every example")
    change = float(np.abs(shuffled - outputs).mean() / deviation)
    return graded(
        name,
        change,
        change < SAME,
        f"another order changes the outputs by {change:.2g} of their deviation",
        f"more than {SAME:g}",
        "the network cannot tell one order from another: take a recurrent network, convolutions, or attention with "
        "positions",
    )


def reordered(x: Array, random: np.random.Generator) -> np.ndarray:
    """Put the steps (axis 1) of each example into an order of its own; tokens of padding stay where they are.

    >>> reordered(np.array([[5, 5, 0, 0]]), np.random.default_rng(0)).tolist()
    [[5, 5, 0, 0]]
    """
    places = random.random(x.shape[:2])
    if x.ndim == 2:
        rest = np.arange(x.shape[1])
        order = np.argsort(np.where(x != PAD, places, 2.0 + rest), 1)  # the tokens first, then the padding
        shuffled = np.take_along_axis(x, order, 1)
        kept = np.argsort(np.where(x != PAD, rest, x.shape[1] + rest), 1)  # where the tokens stood
        result = np.empty_like(x)
        np.put_along_axis(result, kept, shuffled, 1)
        return result
    return np.stack([row[order] for row, order in zip(x, np.argsort(places, 1), strict=True)])


def generalisation(
    trained: Any, on_training: dict[str, float] | None, on_validation: dict[str, float] | None
) -> Finding:
    """Judge the gap between training and validation set: wide, and past the epoch at which validation was best.

    A wide gap alone is a note: little data has it, whatever one does. It is a mistake where a cure was left out:
    training went on while the loss of the validation set rose, by a fifth from its lowest in the history of `fit`, or
    there is no such history. A network that early stopping chose is none. Prechelt, 1998, Early Stopping - But When?

    >>> generalisation(None, {"loss": 0.1, "accuracy": 0.99}, {"loss": 0.9, "accuracy": 0.8}).outcome
    'finding'
    """
    name = "generalisation"
    if on_training is None or on_validation is None:
        return not_examined(name, "give validation=")
    if "accuracy" not in on_validation:
        return not_examined(name, "the targets are not one class label an example")
    gap = on_training["accuracy"] - on_validation["accuracy"]
    history, chosen = (trained.history, trained.best_epoch) if isinstance(trained, FitResult) else ([], None)
    losses = [record["validation_loss"] for record in history if "validation_loss" in record]
    measured = f"accuracy {100 * on_training['accuracy']:.1f} %, on validation {100 * on_validation['accuracy']:.1f} %"
    advice = "more examples or augmentation, dropout, weight decay, or a smaller network narrow the gap"
    if losses:
        best = int(np.argmin(losses))
        risen = on_validation["loss"] / losses[best]
        measured += f", its loss {on_validation['loss']:.3g} (lowest {losses[best]:.3g}, epoch {best + 1})"
        if chosen is None:
            advice = f"stop at epoch {best + 1} with early_stopping(): the validation loss was lowest there; {advice}"
    else:
        risen = float("inf")
    finding = graded(
        name,
        gap,
        gap > GAP and risen > RISEN and chosen is None,
        measured,
        f"at most {100 * GAP:.0f} points apart, or the loss within {RISEN:g} times its lowest",
        advice,
    )
    return noted(finding, advice) if finding.outcome == "healthy" and gap > GAP else finding


def monitoring(trained: Any) -> Finding:
    """Find a training whose history has no validation values: nobody could have seen it go wrong.

    >>> monitoring(FitResult(None, [{"epoch": 1, "loss": 0.1}], 0.0, 0.0)).outcome
    'finding'
    """
    if not isinstance(trained, FitResult):
        return not_examined("monitoring", "give the result of fit as trained=")
    watched = sum(any(name.startswith("validation_") for name in record) for record in trained.history)
    return graded(
        "monitoring",
        float(watched),
        not watched,
        f"{watched} of {len(trained.history)} epochs were validated",
        "every epoch",
        "train with validation= or validation_split=, and look at both losses",
    )
