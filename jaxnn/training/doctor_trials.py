"""What the doctor finds out by short trainings: a batch learned by heart, learning rates, shuffled pixels."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.data import Dataset, split, take
from jaxnn.training.doctor_data import classes_of
from jaxnn.training.doctor_findings import Finding, graded, not_examined, noted
from jaxnn.training.evaluation import predict
from jaxnn.training.lr_finder import LearningRates, MakeOptimizer, lr_finder
from jaxnn.training.short_training import first_batches
from jaxnn.training.state import RunKeys, TrainState
from jaxnn.training.step import train_step
from jaxnn.types import Init, Layer, Loss, Params, State

DECADES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
RATE_STEPS = 60
PROGRESS = 0.05  # of what the best rate reaches; rates that trained well reached 17 % and more, 1e-6 less than 1 %
BY_HEART, HEART_STEPS = 32, 300  # examples and steps
LEARNED = 0.6  # accuracy due on them; networks that work reach 0.9, those that do not the share of a class, 0.2
ORDER_STEPS = 200
HELD_OUT = 0.2  # of the images, where no validation set is given
UNSEEN = 2000  # examples on which the two orders are compared
COST = 0.05  # accuracy that a shuffle costs at least, if order is used; CNNs pay 20 points, perceptrons -2 to 3
LEFT = 0.5  # share of wrong answers from which on not to use it is a finding and no note

Training = Callable[..., tuple[Params, State]]


def short_training(model: Layer, loss: Loss, optimizer: Any) -> Training:
    """Make `training(params, state, dataset, order [steps, batch], keys) -> (params, state)`, a compiled program.

    >>> import optax
    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import mean_squared_error
    >>> from jaxnn.training import run_keys
    >>> training = short_training(linear(1, 1, bias=False), mean_squared_error, optax.sgd(0.25))
    >>> data = Dataset(jnp.ones((1, 1)), jnp.ones((1, 1)))
    >>> training({"weight": jnp.zeros((1, 1))}, (), data, jnp.zeros((2, 1), int), run_keys(0))[0]["weight"].item()
    0.75
    """
    step = train_step(model, loss, optimizer)

    @jax.jit
    def training(params: Params, state: State, dataset: Dataset, order: jax.Array, keys: RunKeys):
        def one_step(train_state: TrainState, rows: jax.Array) -> tuple[TrainState, None]:
            batch = jax.tree.map(lambda field: field[rows], dataset)
            return step(train_state, batch, jax.random.fold_in(keys.step, train_state.step))[0], None

        start = TrainState(params, state, optimizer.init(params), jnp.int32(0))
        return jax.lax.scan(one_step, start, order)[0][:2]

    return training


def rates(
    model: Layer,
    loss: Loss,
    make_optimizer: MakeOptimizer,
    dataset: Dataset,
    rate: float | None,
    *,
    batch_size: int,
    init: Init | None,
    seed: int,
) -> tuple[Finding, float]:
    """Judge a learning rate by `lr_finder` at five decades and at the rate itself; return the rate to train with, too.

    In 60 steps the loss must fall by at least a twentieth of what the best rate reaches. Above the edge of divergence
    it does not fall at all, nor does it far below the right rate. The rate returned is the finder's suggestion.

    >>> import optax
    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import mean_squared_error
    >>> line = Dataset(np.array([[1.0], [-1.0]], np.float32), np.array([[3.0], [-3.0]], np.float32))
    >>> options = {"batch_size": 2, "init": None, "seed": 0}
    >>> finding, better = rates(linear(1, 1), mean_squared_error, optax.sgd, line, 1.1, **options)
    >>> finding.outcome, better
    ('finding', 0.1)
    """
    tried: list[float] = sorted({*DECADES, *([] if rate is None else [float(rate)])})
    found = lr_finder(
        model, loss, make_optimizer, dataset, rates=tried, steps=RATE_STEPS, batch_size=batch_size, init=init, seed=seed
    )
    better = found.suggestion or tried[0]
    if rate is None:
        hint = "every rate tried diverges" if found.suggestion is None else f"{found.suggestion:g} is a good one"
        return not_examined("learning rate", f"give learning_rate=; {hint}"), better
    return _judged(found, float(rate)), better


def _judged(found: LearningRates, rate: float) -> Finding:
    drops = found.start - np.asarray(found.final, np.float64)
    share = float(max(drops[int(np.argmin(np.abs(found.rates - rate)))] / max(drops.max(), 1e-12), -1.0))
    too = "high" if found.suggestion is None or rate > found.suggestion else "low"
    diverged = found.edge is not None and rate >= found.edge
    lost = drops.max() <= 0 or share < PROGRESS
    edge = "no rate up to 1 diverges" if found.edge is None else f"divergence from {found.edge:g} on"
    hint = "every rate diverges" if found.suggestion is None else f"take about {found.suggestion:g}"
    return graded(
        "learning rate",
        share,
        diverged or lost,
        f"{rate:g}: the loss falls by {100 * max(share, 0):.0f} % of what the best rate reaches",
        f"at least {100 * PROGRESS:.0f} % in {RATE_STEPS} steps; {edge}",
        f"too {too}: {hint}",
    )


def one_batch(
    model: Layer, loss: Loss, optimizer: Any, params: Params, state: State, dataset: Dataset, keys: RunKeys
) -> Finding:
    """Train on 32 examples for 300 steps: a network that works knows most of them by heart then.

    If it does not, it cannot learn: weights that started alike, a layer that lets nothing through, inputs that say
    nothing. Karpathy, 2019, A Recipe for Training Neural Networks ("overfit one batch").

    >>> import optax
    >>> from jaxnn.layers import linear
    >>> from jaxnn.losses import softmax_cross_entropy
    >>> from jaxnn.training import run_keys
    >>> model, data = linear(1, 2), Dataset(np.array([[0.0], [1.0]], np.float32), np.array([0, 1], np.int32))
    >>> start, keys = model.init(jax.random.key(0)), run_keys(0)
    >>> one_batch(model, softmax_cross_entropy, optax.adam(0.1), *start, data, keys).value
    1.0
    """
    name = "one batch"
    batch = take(dataset, np.asarray(first_batches(dataset, 1, BY_HEART, keys)[0]))
    order = jnp.broadcast_to(jnp.arange(batch.size), (HEART_STEPS, batch.size))
    trained = short_training(model, loss, optimizer)(params, state, jax.device_put(batch), order, keys)
    outputs = predict(model, *trained, batch.inputs)
    training_outputs, _ = jax.jit(partial(model.apply, train=True))(*trained, batch.inputs, key=keys.step)
    advice = (
        "a network that works learns so few by heart: look at its first weights, at what its layers let through, and "
        "at the learning rate"
    )
    if classes_of(outputs, np.asarray(batch.targets)) is None:
        mean = jnp.broadcast_to(jnp.asarray(batch.targets).mean(0), outputs.shape)
        value = float(jnp.mean(loss(outputs, batch.targets)) / jnp.mean(loss(mean, batch.targets)))
        measured = f"{100 * value:.2g} % of the loss of always answering the mean, on {batch.size} examples"
        return graded(name, value, not value <= 1 - LEARNED, measured, f"at most {100 * (1 - LEARNED):.0f} %", advice)
    # The better of both modes: running statistics lag behind weights that still move.
    value = max(float(np.mean(np.asarray(y).argmax(-1) == batch.targets)) for y in (outputs, training_outputs))
    measured = f"accuracy {100 * value:.0f} % on {batch.size} examples after {HEART_STEPS} steps on them"
    return graded(name, value, not value >= LEARNED, measured, f"at least {100 * LEARNED:.0f} %", advice)


def order_of_pixels(
    model: Layer,
    loss: Loss,
    optimizer: Any,
    params: Params,
    state: State,
    dataset: Dataset,
    validation: Dataset | None,
    *,
    batch_size: int,
    keys: RunKeys,
) -> Finding:
    """Train twice on images, as they are and with the pixels of all in one other order; compare on validation images.

    Without a validation set a fifth of the images is set aside. A network that knows what is next to what pays for the
    shuffle. A multi-layer perceptron does not: to it the pixels are a list. It may do well all the same, as on centred
    digits, so this is a note; it is a finding where more than half of the answers are wrong.

    >>> import optax
    >>> from jaxnn.losses import softmax_cross_entropy
    >>> from jaxnn.models import mlp
    >>> from jaxnn.training import run_keys
    >>> model, data = mlp((4, 8, 2)), Dataset(np.eye(4, dtype=np.float32).reshape(4, 2, 2, 1), np.array([0, 0, 1, 1]))
    >>> start, options = model.init(jax.random.key(0)), {"batch_size": 4, "keys": run_keys(0)}
    >>> order_of_pixels(model, softmax_cross_entropy, optax.adam(0.1), *start, data, data, **options).outcome
    'note'
    """
    name = "order of the pixels"
    if dataset.inputs.ndim != 4:
        return not_examined(name, "the inputs are no images [N, H, W, C]")
    if validation is None and dataset.size < batch_size:
        return not_examined(name, "give validation=; there are too few images to set some aside")
    train, unseen = split(dataset, HELD_OUT, keys.split) if validation is None else (dataset, validation)
    unseen = take(unseen, np.arange(min(UNSEEN, unseen.size)))
    training = short_training(model, loss, optimizer)
    order = first_batches(train, ORDER_STEPS, batch_size, keys)
    pixels = np.asarray(jax.random.permutation(keys.augmentation, int(np.prod(train.inputs.shape[1:3]))))
    accuracies = []
    for shuffle in (lambda x: x, lambda x: shuffled(x, pixels)):
        data = jax.device_put(train._replace(inputs=shuffle(np.asarray(train.inputs))))
        outputs = predict(model, *training(params, state, data, order, keys), shuffle(np.asarray(unseen.inputs)))
        if classes_of(outputs, np.asarray(unseen.targets)) is None:
            return not_examined(name, "the targets are not one class label an example")
        accuracies.append(float(np.mean(outputs.argmax(-1) == unseen.targets)))
    constant = float(np.bincount(unseen.targets).max() / unseen.size)
    if max(accuracies) < constant + COST:
        return not_examined(name, f"after {ORDER_STEPS} steps the network has learned too little to tell")
    cost = accuracies[0] - accuracies[1]
    finding = graded(
        name,
        cost,
        cost < COST and accuracies[0] < 1 - LEFT,
        f"a shuffle takes the accuracy from {100 * accuracies[0]:.1f} % to {100 * accuracies[1]:.1f} %",
        f"it costs at least {100 * COST:.0f} points",
        "the network makes no use of what is next to what: take convolutions for images; if the inputs are a table, "
        "this one has no order to find",
    )
    if finding.outcome == "healthy" and cost < COST:
        return noted(finding, "to this network an image is a list of numbers: convolutions know what is next to what")
    return finding


def shuffled(images: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Put the pixels of every image [N, H, W, C] into one other order.

    >>> shuffled(np.arange(4).reshape(1, 2, 2, 1), np.array([3, 2, 1, 0]))[0, ..., 0].tolist()
    [[3, 2], [1, 0]]
    """
    return images.reshape(len(images), -1, images.shape[-1])[:, pixels].reshape(images.shape)
