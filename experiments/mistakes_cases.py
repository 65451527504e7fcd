"""The guide's common mistakes, and some of its kind, made on purpose in three networks, each beside its cure."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import layers
from jaxnn.data import Dataset, split, take
from jaxnn.data.images import ImageData
from jaxnn.models import cnn, mlp
from jaxnn.training import run_keys
from jaxnn.types import Init, Layer, LayerLike

Kind = Literal["mlp", "cnn", "lstm"]
KINDS: tuple[Kind, ...] = ("mlp", "cnn", "lstm")
RATES = {"mlp": 1e-3, "cnn": 3e-3, "lstm": 1e-2}  # Adam's
FEW = 150  # images that a network learns by heart
# How long, and times the rate. At a large rate the noise of a CNN's batch statistics keeps its validation loss low.
BY_HEART = {"mlp": (200, 3.0), "cnn": (600, 0.3), "lstm": (200, 3.0)}
LARGE = 30.0
FREQUENT = 0.03  # share of the other classes' images that is left where one class outweighs them


class Data(NamedTuple):
    """Images for training, validation and test, with the mean and deviation that normalise them."""

    train: Dataset
    validation: Dataset
    test: Dataset
    classes: int
    scale: tuple[float, float]


class Way(NamedTuple):
    """One way to train: with the mistake, or with its cure."""

    model: Layer
    train: Dataset
    validation: Dataset
    test: Dataset
    rate: float
    epochs: int
    init: Init | None = None
    stop_early: bool = False  # take the epoch with the lowest validation loss
    keep_state: bool = True  # of batch normalisation
    watched: bool = True  # validated after each epoch


class Mistake(NamedTuple):
    """A mistake, the words of its cure, the checks of which one must find it, and both ways to train."""

    name: str  # the same for every network
    title: str  # how it was made in this one
    cure: str
    checks: tuple[str, ...]
    wrong: Way
    right: Way


def prepared(data: ImageData, images: int, scale: tuple[float, float], seed: int) -> Data:
    """Take that many images at random by the seed, five in six to train on and one in six for validation."""
    keys = run_keys(seed)
    order = np.asarray(jax.random.permutation(keys.split, data.train.size))
    train, validation = split(take(data.train, order[:images]), 1 / 6, keys.order)
    return Data(train, validation, data.test, len(data.class_names), scale)


def network(
    kind: Kind,
    shape: tuple[int, ...],
    classes: int,
    *first: LayerLike,
    dropout: float = 0.2,
    batch_norm: bool = False,
) -> Layer:
    """Make a small network of the kind over images of this shape, behind the first layers given.

    The CNN has batch normalisation anyway.
    """
    height, width, channels = shape
    if kind == "mlp":
        sizes = (height * width * channels, 128, classes)
        return layers.sequential(*first, mlp(sizes, dropout=dropout, batch_norm=batch_norm))
    if kind == "cnn":
        small = cnn(classes, in_channels=channels, channels=(8, 16, 32), hidden=32, dropout=dropout)
        return layers.sequential(*first, small)
    norm = [layers.batch_norm(32)] if batch_norm else []
    read = [rows, layers.lstm(width, 32), layers.last_step(), *norm, layers.dropout(dropout)]
    return layers.sequential(*first, *read, layers.linear(32, classes))


def rows(x: Any) -> Any:
    """Read an image [B, H, W, 1] as a sequence of its rows [B, H, W]."""
    return x[..., 0]


def mean_of_rows(x: Any) -> Any:
    """Compute the mean over the rows, [B, H, D] -> [B, D]."""
    return x.mean(1)


def as_floats(x: Any) -> Any:
    """Take bytes as the numbers 0..255."""
    return x.astype(jnp.float32)


def mistakes(kind: Kind, data: Data, epochs: int, seed: int) -> list[Mistake]:
    """List the mistakes of this kind of network. Cures that are the same training are the same object."""
    normalised = layers.normalize(*data.scale)
    model = network(kind, data.train.inputs.shape[1:], data.classes, normalised)
    right = Way(model, data.train, data.validation, data.test, RATES[kind], epochs)
    return [
        *_at_the_start(kind, data, right),
        *_in_the_data(right, seed),
        *_in_training(kind, data, normalised, right),
        _architecture(kind, data, normalised, right, seed),
    ]


def _at_the_start(kind: Kind, data: Data, right: Way) -> list[Mistake]:
    model, own = right.model, f"{right.rate:g}"
    raw = network(kind, data.train.inputs.shape[1:], data.classes, as_floats)
    large = _with_weights(model, lambda name, w: LARGE * w if w.ndim > 1 else w)
    zero = _with_weights(model, lambda name, w: jnp.zeros_like(w))
    deadly = _with_weights(model, lambda name, w: jnp.full_like(w, -10.0) if "bias" in name else w)
    doubled = layers.sequential(model, jax.nn.softmax)
    start, rate = ("loss at the start",), ("learning rate",)

    def made(name: str, title: str, cure: str, checks: tuple[str, ...], **how: Any) -> Mistake:
        return Mistake(name, title, cure, checks, right._replace(**how), right)

    return [
        made("inputs not normalised", "inputs not normalised", "normalize", ("inputs",), model=raw),
        made("first weights too large", f"first weights {LARGE:g} times larger", "as drawn", start, init=large),
        made("first weights all alike", "first weights all zero", "drawn at random", ("one batch",), init=zero),
        made("dead units", "first biases of -10", "biases near 0", ("dead units",), init=deadly),
        made("learning rate too high", "learning rate of 1", own, rate, rate=1.0),
        made("learning rate too low", "learning rate of 1e-6", own, rate, rate=1e-6),
        made("softmax twice", "softmax twice", "logits", ("softmax",), model=doubled),
    ]


def _in_the_data(right: Way, seed: int) -> list[Mistake]:
    column = right.train._replace(targets=np.asarray(right.train.targets)[:, None])
    uneven, even = _outweighed(right.train, seed)
    copies = take(right.train, np.arange(right.validation.size))
    return [
        Mistake(
            *("labels of a wrong shape", "labels [N, 1]", "labels [N]", ("labels",)),
            *(right._replace(train=column), right),
        ),
        Mistake(
            *("classes out of balance", "one class outweighs", "as many, drawn evenly", ("classes",)),
            *(right._replace(train=uneven), right._replace(train=even)),
        ),
        Mistake(
            *("train and test overlap", "validated on training images", "on unseen ones", ("overlap",)),
            *(right._replace(validation=copies), right),
        ),
    ]


def _in_training(kind: Kind, data: Data, normalised: Layer, right: Way) -> list[Mistake]:
    shape = data.train.inputs.shape[1:]
    memory, damped = (network(kind, shape, data.classes, normalised, dropout=rate) for rate in (0.0, 0.5))
    normed = right.model if kind == "cnn" else network(kind, shape, data.classes, normalised, batch_norm=True)
    few = take(right.train, np.arange(FEW))
    epochs, times = BY_HEART[kind]
    long = right._replace(model=memory, train=few, epochs=epochs, rate=times * right.rate)
    carried = right._replace(model=normed)
    return [
        Mistake(
            *("overfitting", f"{FEW} images, {epochs} epochs", "dropout, early stopping", ("generalisation",)),
            *(long, long._replace(model=damped, stop_early=True)),
        ),
        Mistake(
            *("not monitored", "the same, no validation", "early stopping", ("monitoring",)),
            *(long._replace(watched=False), long._replace(stop_early=True)),
        ),
        Mistake(
            *("train and eval mode", "batch norm's state forgotten", "carried along", ("training mode",)),
            *(carried._replace(keep_state=False), carried),
        ),
    ]


def _architecture(kind: Kind, data: Data, normalised: Layer, right: Way, seed: int) -> Mistake:
    checks = ("order of the steps", "order of the pixels")
    height, width, channels = data.train.inputs.shape[1:]
    seen: list[LayerLike]
    if kind == "mlp":
        wide = (2 * height, 2 * width, channels)
        parts = {name: _moved(getattr(data, name), seed + i) for i, name in enumerate(("train", "validation", "test"))}
        wrong = right._replace(model=network("mlp", wide, data.classes, normalised), **parts)
        cured = wrong._replace(model=network("cnn", wide, data.classes, normalised), rate=RATES["cnn"])
        return Mistake("wrong architecture", "perceptron, digits anywhere", "convolutions", checks, wrong, cured)
    if kind == "cnn":
        title, cure = "kernels of 1x1, and their mean", "kernels of 3x3"
        seen = [layers.conv2d(channels, 16, 1), jax.nn.relu, layers.conv2d(16, 32, 1), jax.nn.relu]
        seen += [layers.adaptive_average_pool2d(1), layers.flatten()]
    else:
        title, cure = "the mean of the rows", "an LSTM over the rows"
        seen = [rows, layers.linear(width, 32), jax.nn.relu, mean_of_rows]
    blind = layers.sequential(normalised, *seen, layers.linear(32, data.classes))
    return Mistake("wrong architecture", title, cure, checks, right._replace(model=blind), right)


def _with_weights(model: Layer, change: Callable[[str, Any], Any]) -> Init:
    """Draw the model's parameters and change each: `change(name, leaf) -> leaf`; the last bias stays."""

    def init(key: Any, /) -> tuple[Any, Any]:
        params, state = model.init(key)
        flat, form = jax.tree_util.tree_flatten_with_path(params)
        names = [str(getattr(path[-1], "key", path[-1])) for path, _ in flat]
        last = max(i for i, name in enumerate(names) if name == "bias")
        leaves = [leaf if i == last else change(names[i], leaf) for i, (_, leaf) in enumerate(flat)]
        return jax.tree.unflatten(form, leaves), state

    return init


def _moved(dataset: Dataset, seed: int) -> Dataset:
    """Put each image somewhere on a black square of twice its size."""
    images = np.asarray(dataset.inputs)
    size, height, width, channels = images.shape
    canvas = np.zeros((size, 2 * height, 2 * width, channels), images.dtype)
    for i, (top, left) in enumerate(np.random.default_rng(seed).integers(0, (height + 1, width + 1), (size, 2))):
        canvas[i, top : top + height, left : left + width] = images[i]
    return dataset._replace(inputs=canvas)


def _outweighed(dataset: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """Return a part of the data in which class 0 outweighs the others, and one as large that is drawn evenly."""
    random = np.random.default_rng(seed)
    kept = (np.asarray(dataset.targets) == 0) | (random.random(dataset.size) < FREQUENT)
    even = random.choice(dataset.size, int(kept.sum()), replace=False)
    return take(dataset, np.flatnonzero(kept)), take(dataset, even)
