"""What the sequences experiment trains and measures: the adding problem, rows of images, gradients by time step."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.image_run import MEAN_STD, VALIDATION_SHARE
from jaxnn import functional
from jaxnn.data import Dataset
from jaxnn.data.images import ImageData
from jaxnn.data.synthetic import adding_problem
from jaxnn.functional import zero_carry
from jaxnn.layers import normalize, sequential
from jaxnn.losses import mean_squared_error, softmax_cross_entropy
from jaxnn.metrics import accuracy
from jaxnn.models import lstm_classifier, rnn_classifier
from jaxnn.optimizers import adam, clip_by_global_norm
from jaxnn.schedules import cosine_annealing
from jaxnn.training import FitResult, evaluate, fit, predict, run_keys
from jaxnn.types import Layer, Params

MODELS = {"rnn": rnn_classifier, "lstm": lstm_classifier}
BASELINE = 1 / 6  # mean squared error of always answering 1: the variance of the sum of two numbers from U(0, 1)
BROKEN = BASELINE / 2
SOLVED = 5e-4  # half of the 0.001 that counts as solved: a training whose validation error is below has no more to show
HIDDEN, BATCH = 32, 32
RATES = {"rnn": 3e-3, "lstm": 1e-2}  # Adam's; for the RNN the best of 1e-3, 3e-3 and 1e-2 at 10 and 50 steps
CLIP = 1.0  # norm of the gradient
VALIDATION_SEQUENCES, TEST_SEQUENCES, GRADIENT_SEQUENCES = 2_000, 10_000, 100
ROWS_HIDDEN, ROWS_LAYERS = 128, 2

Record = Callable[[dict[str, Any]], None]


class Sums(NamedTuple):
    """A network after the adding problem of one length; the gradients [T] are those of `gradient_by_step`."""

    kind: str
    length: int
    test_error: float
    history: list[dict[str, float]]
    steps: int
    seconds: float
    gradient_at_start: np.ndarray
    gradient_at_end: np.ndarray


class Rows(NamedTuple):
    """A network after images read row by row."""

    kind: str
    seed: int
    test_accuracy: float
    history: list[dict[str, float]]
    seconds: float


def optimizer(rate: Any) -> Any:
    """Make Adam after clipping: long sequences have rare steps whose gradient is very large."""
    from optax import chain

    return chain(clip_by_global_norm(CLIP), adam(rate))


def learn_sums(
    kind: str, length: int, sequences: int, epochs: int, seed: int, record: Record, **options: Any
) -> FitResult:
    """Train a network of one layer on the adding problem, until it is solved or the epochs are over.

    The other `options` are those of `fit`: what it prints, and where its checkpoints lie.
    """
    training, validation, _ = sums(length, sequences, seed)

    def after_epoch(measured, _):
        record({"task": "adding", "model": kind, "length": length, **measured})
        return measured["validation_loss"] < SOLVED

    return fit(
        MODELS[kind](2, HIDDEN, 1, 1),
        mean_squared_error,
        optimizer(RATES[kind]),
        training,
        epochs=epochs,
        batch_size=BATCH,
        validation=validation,
        seed=seed,
        callback=after_epoch,
        **options,
    )


def sums(length: int, sequences: int, seed: int) -> tuple[Dataset, Dataset, Dataset]:
    """Make the training, validation and test sequences of one length, each from a key of its own."""
    key = jax.random.fold_in(run_keys(seed).split, length)
    sizes = (sequences, VALIDATION_SEQUENCES, TEST_SEQUENCES)
    training, validation, test = (adding_problem(n, length, jax.random.fold_in(key, i)) for i, n in enumerate(sizes))
    return training, validation, test


def measured_sums(kind: str, length: int, seed: int, result: FitResult) -> Sums:
    """Test a trained network, and take the gradient by time step before and after its training."""
    model = MODELS[kind](2, HIDDEN, 1, 1)
    params, state = result.train_state.params, result.train_state.model_state
    _, _, test = sums(length, 1, seed)
    gradient = partial(gradient_by_step, batch=jax.tree.map(lambda field: field[:GRADIENT_SEQUENCES], test))
    return Sums(
        kind,
        length,
        evaluate(model, params, state, test, mean_squared_error)["loss"],
        result.history,
        int(result.train_state.step),
        result.train_seconds,
        gradient(model.init(run_keys(seed).init)[0]),
        gradient(params),
    )


def gradient_by_step(params: Params, batch: Dataset) -> np.ndarray:
    """Compute the norm of the gradient that reaches each time step, [T].

    It is |dL / d carry_t| over a batch, with L the mean squared error at the end and the carry all that the network
    hands from step t to the next: h, and c too for the LSTM. A zero is added to every carry, and L is differentiated
    with respect to those zeros. In float64: in float32 the smallest would be zero.
    """
    with jax.enable_x64():
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (params, batch.inputs, batch.targets))
        return np.asarray(_gradient_by_step(*wide))


@jax.jit
def _gradient_by_step(params: Params, inputs: jax.Array, targets: jax.Array) -> jax.Array:
    recurrent, _, head = params
    start = zero_carry(recurrent, len(inputs))
    one_step = functional.lstm_step if isinstance(start, tuple) else functional.rnn_step

    def loss(nudges):
        def step(carry, at):
            x, nudge = at
            return jax.tree.map(jnp.add, one_step(recurrent, carry, x)[0], nudge), None

        end, _ = jax.lax.scan(step, start, (jnp.moveaxis(inputs, 1, 0), nudges))
        h = jax.tree.leaves(end)[0][-1]  # of the last layer
        return mean_squared_error(functional.linear(h, head["weight"], head["bias"]), targets).mean()

    steps = inputs.shape[1]
    gradients = jax.grad(loss)(jax.tree.map(lambda part: jnp.zeros((steps, *part.shape), part.dtype), start))
    return jnp.sqrt(sum((part**2).sum((1, 2, 3)) for part in jax.tree.leaves(gradients)))


def breaks_at(done: Sequence[Sums], kind: str) -> int | None:
    """Return the first length whose test error is above half of what always answering 1 has, if there is one."""
    return min((one.length for one in done if one.kind == kind and one.test_error > BROKEN), default=None)


def reader(kind: str, data: ImageData) -> Layer:
    """Make the guide's network that reads an image [H, W, 1] as a sequence of its H rows, from the top down."""
    network = MODELS[kind](data.train.inputs.shape[2], ROWS_HIDDEN, ROWS_LAYERS, len(data.class_names))
    return sequential(normalize(*MEAN_STD[data.name]), _rows(), network)


def _rows() -> Layer:
    def apply(params, state, x, /, *, key=None, train=False):
        return x[..., 0], state

    return Layer(lambda key: ((), ()), apply, "rows()")


def learn_rows(
    kind: str, data: ImageData, epochs: int, batch_size: int, rate: float, seed: int, record: Record, **options: Any
) -> FitResult:
    """Train the reader, with a learning rate that falls to zero over the whole training; `options` are `fit`'s."""
    size = data.train.size - round(VALIDATION_SHARE * data.train.size)
    steps = max(1, epochs * math.ceil(size / batch_size))
    return fit(
        reader(kind, data),
        softmax_cross_entropy,
        optimizer(cosine_annealing(rate, steps)),
        data.train,
        epochs=epochs,
        batch_size=batch_size,
        validation_split=VALIDATION_SHARE,
        seed=seed,
        callback=lambda measured, _: record({"task": "rows", "model": kind, "seed": seed, **measured}),
        **options,
    )


def measured_rows(kind: str, data: ImageData, seed: int, result: FitResult) -> Rows:
    """Test a trained reader."""
    logits = predict(reader(kind, data), *result.train_state[:2], data.test.inputs)
    right = float(np.asarray(accuracy(logits, data.test.targets), np.float64).mean())
    return Rows(kind, seed, right, result.history, result.train_seconds)
