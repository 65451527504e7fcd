"""What the experiment with images measures inside the network: outputs of its blocks, linear probes, saliency."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.data import Dataset, split, take
from jaxnn.data.images import ImageData
from jaxnn.layers import activations
from jaxnn.training import FitResult, compiled_init, run_keys
from jaxnn.types import Array, Layer, Params, State

# Paths of the parts in `sequential(normalize(...), cnn(...))`, whose default has three blocks.
RELUS = ("1.2", "1.6", "1.10")  # before pooling: here one still sees where a channel is active
BLOCKS = ("1.3", "1.7", "1.11")  # after pooling: what the next block gets
PROBE_IMAGES = 3000  # that a probe is trained on; the first block has 6,272 numbers an image: 75 MB
# Of half the squared weights, beside the mean cross-entropy. It matters: at ten times as much the probe after the last
# block at random loses points, which would flatter the training.
PROBE_PENALTY = 0.001
BATCH = 500
SALIENCY_IMAGES, SALIENCY_MISTAKES = 8, 2


class Probes(NamedTuple):
    """Validation accuracy of linear probes on the pixels and after each block, by how the features were read."""

    everywhere: list[float]  # every position of every channel is a feature
    averaged: list[float]  # the mean of each channel over the positions is


class Inside(NamedTuple):
    """What the trained network does with images, beside the same network before training."""

    filters: tuple[np.ndarray, np.ndarray]  # [3, 3, 1, 32], before and after training
    images: list[int]  # of the test set, whose saliency is shown; the maps are of the first
    maps: list[np.ndarray]  # [H, W, C] after each block's ReLU
    saliency: np.ndarray  # [N, H, W]
    probes: tuple[Probes, Probes] | None  # before and after training; None where training was stopped


def look_inside(
    model: Layer, data: ImageData, result: FitResult, logits: Any, seed: int, share: float, *, probe: bool
) -> Inside:
    """Measure all of it, on the training and validation images that `fit` used for this seed and share."""
    keys = run_keys(seed)
    params, state = compiled_init(model.init)(keys.init)
    random: tuple[Params, State] = (params, state)
    trained = (result.train_state.params, result.train_state.model_state)
    images = chosen(data.test.targets, logits, SALIENCY_IMAGES, SALIENCY_MISTAKES)
    shown = data.test.inputs[np.array(images)]
    maps = [block[0] for block in outputs(model, *trained, shown[:1], RELUS)]
    train, validation = split(data.train, share, keys.split)
    train = take(train, np.arange(min(train.size, PROBE_IMAGES)))
    return Inside(
        (np.asarray(random[0][1][0]["weight"]), np.asarray(trained[0][1][0]["weight"])),
        images,
        maps,
        np.asarray(saliency(model, *trained, shown))[..., 0],
        (probes(model, *random, train, validation), probes(model, *trained, train, validation)) if probe else None,
    )


def outputs(model: Layer, params: Params, state: State, images: Any, paths: Sequence[str]) -> list[np.ndarray]:
    """Compute what the parts with these paths give for every image, each [N, ...], in evaluation mode, on the host."""

    @jax.jit
    def some(params, state, x):
        found = dict(activations(model, params, state, x))
        return [found[path] for path in paths]

    parts = [some(params, state, images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    return [np.concatenate([np.asarray(block) for block in blocks]) for blocks in zip(*parts, strict=True)]


def probe_accuracy(train: Dataset, validation: Dataset) -> float:
    """Train a linear classifier on features [N, ...] and compute its accuracy on others.

    The features are centred and divided by one number, so that the mean squared length of an example is 100 whatever
    their kind and number: one penalty then serves them all. Softmax regression by scikit-learn.
    """
    from sklearn.linear_model import LogisticRegression

    known, new = (np.asarray(part.inputs, np.float32).reshape(part.size, -1) for part in (train, validation))
    mean = known.mean(0)
    length = np.sqrt(np.square(known - mean).sum(1).mean()) / 10 or 1.0
    probe = LogisticRegression(C=1 / (PROBE_PENALTY * train.size), max_iter=1000)
    probe.fit((known - mean) / length, np.asarray(train.targets))
    return float(probe.score((new - mean) / length, np.asarray(validation.targets)))


def probes(model: Layer, params: Params, state: State, train: Dataset, validation: Dataset) -> Probes:
    """Measure linear probes on the pixels and after each block."""
    images = np.concatenate([train.inputs, validation.inputs])
    found = Probes([], [])
    for features in (images / np.float32(255), *outputs(model, params, state, images, BLOCKS)):
        for reading, accuracies in ((features, found.everywhere), (features.mean((1, 2)), found.averaged)):
            parts = (Dataset(reading[: train.size], train.targets), Dataset(reading[train.size :], validation.targets))
            accuracies.append(probe_accuracy(*parts))
    return found


def saliency(model: Layer, params: Params, state: State, images: Array) -> jax.Array:
    """Compute the gradient of each image's largest logit with respect to its pixels, uint8 [N, H, W, C] -> floats.

    The pixels are in 0..1. Images do not touch each other in evaluation mode, so that the gradient of the sum of the
    logits is each image's own. Simonyan, Vedaldi, Zisserman, 2014, Deep Inside Convolutional Networks: Visualising
    Image Classification Models and Saliency Maps.
    """

    def largest(x):
        return model.apply(params, state, x)[0].max(-1).sum()

    return jax.jit(jax.grad(largest))(jnp.asarray(images, jnp.float32) / 255)


def chosen(labels: Any, logits: Any, count: int, wrong: int) -> list[int]:
    """Choose at most `count` examples of different classes: of each the first that is right, then mistakes.

    The mistakes, at most `wrong`, are those of which the model is surest, of different true classes.
    """
    labels, predicted = np.asarray(labels), np.asarray(logits).argmax(-1)
    confidence = np.asarray(jax.nn.softmax(logits)).max(-1)
    mistaken = np.flatnonzero(labels != predicted)
    surest = mistaken[np.argsort(-confidence[mistaken], kind="stable")]
    mistakes = [int(surest[i]) for i in np.sort(np.unique(labels[surest], return_index=True)[1])][:wrong]
    right = np.flatnonzero(labels == predicted)
    first = right[np.unique(labels[right], return_index=True)[1]].tolist()
    return [*first[: count - len(mistakes)], *mistakes]
