"""What all peers do: the networks by their sizes, the data, and the arithmetic of one example."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

LEARNING_RATE = 1e-3
CLASSES = 10
SIZES = (784, 512, 256, CLASSES)  # the perceptron
CHANNELS, HIDDEN = (32, 64, 128), 64  # the CNN
STEPS, FEATURES, UNITS, LAYERS = 28, 28, 128, 2  # the recurrent networks: an image row by row
VOCABULARY, WIDTH, HEADS, TOKENS, LONGEST = 10_000, 128, 4, 64, 512  # the Transformer
DROPOUT = {"mlp": 0.2, "cnn": 0.5, "rnn": 0.0, "lstm": 0.2, "transformer": 0.1, "transformer_2048": 0.1}
FEED_FORWARD = {"transformer": 512, "transformer_2048": 2048}


class Peer(NamedTuple):
    """A network of one library with its data in memory."""

    train: Callable[[], None]
    """One pass over the examples in a new order, a step of Adam a batch; returns when it is done."""
    predict: Callable[[], np.ndarray]
    """The logits [N, classes] of all examples, in evaluation mode, batch by batch."""


class Data(NamedTuple):
    """Examples as a user has them: float32 images or rows, or int32 tokens, and int32 labels."""

    inputs: np.ndarray
    labels: np.ndarray


def data(network: str, count: int, seed: int = 0) -> Data:
    """Draw examples; what a step costs does not depend on what they show.

    >>> data("cnn", 3).inputs.shape, data("transformer", 3).inputs.dtype
    ((3, 28, 28, 1), dtype('int32'))
    """
    random = np.random.default_rng(seed)
    if network.startswith("transformer"):
        inputs = random.integers(0, VOCABULARY, (count, TOKENS), dtype=np.int32)
    else:
        shape = {"mlp": (784,), "cnn": (28, 28, 1)}.get(network, (STEPS, FEATURES))
        inputs = random.standard_normal((count, *shape), np.float32)
    return Data(inputs, random.integers(0, CLASSES, count, dtype=np.int32))


def batches_of_rows(random: np.random.Generator, count: int, batch: int) -> np.ndarray:
    """Draw a new order of the examples and cut it into whole batches, integers [batches, batch].

    >>> batches_of_rows(np.random.default_rng(0), 7, 2).shape
    (3, 2)
    """
    return random.permutation(count)[: count // batch * batch].reshape(-1, batch)


def multiply_adds(network: str) -> int:
    """Count the multiply-adds of one example's forward pass, of its matrix products and convolutions as defined.

    An embedding takes none. There are ways to convolve in fewer.

    >>> multiply_adds("mlp"), multiply_adds("lstm")
    (535040, 5907712)
    """
    if network == "mlp":
        return sum(a * b for a, b in pairwise(SIZES))
    if network == "cnn":
        sides, inputs = (28, 14, 7), (1, *CHANNELS)
        blocks = sum(side**2 * 9 * a * b for side, a, b in zip(sides, inputs, CHANNELS, strict=False))
        return blocks + CHANNELS[-1] * HIDDEN + HIDDEN * CLASSES
    if network in ("rnn", "lstm"):
        gates = {"rnn": 1, "lstm": 4}[network]
        a_step = sum(gates * UNITS * (inputs + UNITS) for inputs in (FEATURES, *[UNITS] * (LAYERS - 1)))
        return STEPS * a_step + UNITS * CLASSES
    a_token = 4 * WIDTH**2 + 2 * TOKENS * WIDTH + 2 * WIDTH * FEED_FORWARD[network]
    return LAYERS * TOKENS * a_token + WIDTH * CLASSES


def training_multiply_adds(network: str) -> int:
    """Count the multiply-adds of one example's step of training: three products where the forward pass has one.

    The data's gradient of the first layer is not needed; the Transformer's first layer is its embedding, so there all
    products count three times.

    >>> training_multiply_adds("mlp") == 3 * multiply_adds("mlp") - 784 * 512
    True
    """
    first = 0
    if network == "mlp":
        first = SIZES[0] * SIZES[1]
    elif network == "cnn":
        first = 28**2 * 9 * CHANNELS[0]
    elif network in ("rnn", "lstm"):
        first = STEPS * {"rnn": 1, "lstm": 4}[network] * UNITS * FEATURES
    return 3 * multiply_adds(network) - first
