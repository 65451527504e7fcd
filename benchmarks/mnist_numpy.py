"""The guide's MNIST program in NumPy, as fast as plain vectorised float32 NumPy goes: the rival without a framework.

Forward and backward pass are written by hand; all parameters lie in one array, so that Adam is ten operations over
it (blocks that fit a small cache were slower: 0.53 ms a step whole, 0.74 ms in blocks of 64 kB); nothing is copied
that need not be. From the project's folder:

    python -m benchmarks.mnist_numpy --data DATA --epochs 10 --seeds 0 1 2

prints one JSON line an epoch: {"seed", "epoch", "seconds", "test_accuracy"}; the seconds are those of
training alone. The BLAS behind NumPy takes as many threads as there are cores (OPENBLAS_NUM_THREADS changes that), and
they wait by spinning: beside another busy program an epoch took five times as long.
"""

import math
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import numpy_network
from benchmarks.mnist_arrays import normalized, read_mnist
from benchmarks.mnist_records import print_record, read_options
from benchmarks.numpy_network import Layers, views

SIZES = (784, 512, 256, 10)
DROPOUT, BATCH_SIZE, TEST_BATCH_SIZE = 0.2, 64, 1000
LEARNING_RATE, BETA1, BETA2, EPSILON = 0.001, 0.9, 0.999, 1e-8


class Network(NamedTuple):
    """The parameters, their gradients and Adam's sums: flat float32 arrays of one length, changed in place."""

    sizes: tuple[int, ...]
    parameters: np.ndarray
    gradients: np.ndarray
    first: np.ndarray
    second: np.ndarray
    steps: np.ndarray  # [], int64
    rng: np.random.Generator


def make(seed: int, sizes: Sequence[int] = SIZES) -> Network:
    """Draw a network as PyTorch does by default, U(+-1/sqrt(in)); the seed also decides the order and the dropout."""
    rng = np.random.Generator(np.random.SFC64(seed))
    count = sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))
    parameters, gradients, first, second = np.zeros((4, count), np.float32)
    for weight, bias in views(parameters, sizes):
        bound = 1 / math.sqrt(len(weight))
        weight[...] = rng.uniform(-bound, bound, weight.shape)
        bias[...] = rng.uniform(-bound, bound, bias.shape)
    return Network(tuple(sizes), parameters, gradients, first, second, np.zeros((), np.int64), rng)


def loss_and_gradients(
    layers: Layers,
    gradients: Layers,
    x: np.ndarray,
    labels: np.ndarray,
    *,
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
) -> float:
    """Compute the mean softmax cross-entropy of a batch, [B, D] and [B], and write its gradients into `gradients`."""
    inputs, slopes = [x], []
    for weight, bias in layers[:-1]:
        z = inputs[-1] @ weight
        z += bias
        # ReLU and inverted dropout multiply by 0 or 1/keep, and so does their derivative: one array serves both.
        active = z > 0
        if rng is not None:
            active &= rng.random(z.shape, np.float32) >= dropout
        slope = active * np.float32(1 / (1 - dropout))
        z *= slope
        inputs.append(z)
        slopes.append(slope)
    logits = inputs[-1] @ layers[-1][0]
    logits += layers[-1][1]

    logits -= logits.max(axis=1, keepdims=True)
    delta = np.exp(logits)
    total = delta.sum(axis=1, keepdims=True)
    rows = np.arange(len(x))
    loss = float(np.mean(np.log(total[:, 0]) - logits[rows, labels]))
    # The gradient of the mean loss with respect to the logits: (softmax - onehot) / B.
    delta /= total
    delta[rows, labels] -= 1
    delta /= len(x)

    for i in reversed(range(len(layers))):
        np.matmul(inputs[i].T, delta, out=gradients[i][0])
        np.sum(delta, axis=0, out=gradients[i][1])
        if i > 0:
            delta = delta @ layers[i][0].T
            delta *= slopes[i - 1]
    return loss


def adam_step(network: Network) -> None:
    """Update the parameters in place by Adam; the gradients are used up."""
    network.steps[...] += 1
    arrays = network.parameters, network.gradients, network.first, network.second
    numpy_network.adam_step(*arrays, int(network.steps), LEARNING_RATE, BETA1, BETA2, EPSILON)


def train_epoch(network: Network, images: np.ndarray, labels: np.ndarray) -> float:
    """Train on every example once, in a new order, the last batch short (32 of 64); return the mean loss."""
    layers, gradients = views(network.parameters, network.sizes), views(network.gradients, network.sizes)
    order = network.rng.permutation(len(images))
    total = 0.0
    for start in range(0, len(order), BATCH_SIZE):
        batch = order[start : start + BATCH_SIZE]
        loss = loss_and_gradients(layers, gradients, images[batch], labels[batch], dropout=DROPOUT, rng=network.rng)
        adam_step(network)
        total += loss * len(batch)
    return total / len(images)


def predict(network: Network, x: np.ndarray) -> np.ndarray:
    """Compute the logits in evaluation mode, [B, D] -> [B, classes]."""
    *hidden, (last_weight, last_bias) = views(network.parameters, network.sizes)
    for weight, bias in hidden:
        x = x @ weight
        x += bias
        np.maximum(x, 0, out=x)
    return x @ last_weight + last_bias


def test_accuracy(network: Network, images: np.ndarray, labels: np.ndarray) -> float:
    """Compute the fraction of the examples that the network gets right."""
    correct = 0
    for start in range(0, len(images), TEST_BATCH_SIZE):
        part = slice(start, start + TEST_BATCH_SIZE)
        correct += int(np.sum(predict(network, images[part]).argmax(axis=1) == labels[part]))
    return correct / len(images)


test_accuracy.__test__ = False  # the name is the guide's; pytest is not to take it for a test


def load(folder: str | Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Read "train" or "test" as (normalised float32 images [N, 784], labels [N])."""
    images, labels = read_mnist(folder, part)
    return normalized(images).reshape(len(images), -1), labels


def main(arguments: list[str] | None = None) -> None:
    options = read_options(__doc__, arguments)
    train, test = load(options.data, "train"), load(options.data, "test")
    for seed in options.seeds:
        network = make(seed)
        for epoch in range(1, options.epochs + 1):
            start = time.perf_counter()
            train_epoch(network, *train)
            seconds = time.perf_counter() - start
            print_record(seed, epoch, seconds, test_accuracy(network, *test))


if __name__ == "__main__":
    main()
