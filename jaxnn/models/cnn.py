"""The convolutional network."""

from collections.abc import Sequence
from itertools import pairwise

import jax

from jaxnn import checks, layers
from jaxnn.types import Array, Layer, LayerLike


def cnn(
    classes: int = 10,
    *,
    in_channels: int = 1,
    channels: Sequence[int] = (32, 64, 128),
    hidden: int = 64,
    dropout: float | Array = 0.5,
) -> Layer:
    """Make the guide's convolutional network, images [B, H, W, in_channels] -> logits [B, classes].

    Each block is a 3x3 convolution with padding 1, batch normalisation, ReLU and a maximum over 2x2; the last block
    has the mean over all that is left (adaptive average pooling to 1x1) in its place, so that with three blocks
    any image of 4x4 or more will do. Then flatten, a linear layer to `hidden`, ReLU, dropout, and a linear layer to the
    logits.

    What the guide's PyTorch code leaves to defaults: the convolutions have a bias and stride 1; batch normalisation
    has momentum 0.1 (the weight of the new statistic) and epsilon 1e-5; the maximum's stride is its window; weights
    and biases are drawn from U(-b, b), b = 1 / sqrt(fan_in). Raises ValueError for no block, sizes below 1, and a
    rate outside [0, 1].

    >>> model = cnn(10)
    >>> params, state = model.init(jax.random.key(0))
    >>> model, model.apply(params, state, jax.numpy.ones((2, 28, 28, 1)))[0].shape
    (cnn(10), (2, 10))
    """
    if not isinstance(channels, Sequence) or isinstance(channels, str):
        raise TypeError(f"cnn expected channels such as (32, 64, 128) but got {channels!r}")
    if not channels:
        raise ValueError("cnn expected the channels of at least one block but got none")
    sizes = {"classes": classes, "in_channels": in_channels, "hidden": hidden}
    sizes |= {f"channels[{i}]": size for i, size in enumerate(channels)}
    for what, size in sizes.items():
        checks.positive_int("cnn", what, size)
    checks.in_range("cnn", "dropout", dropout, 0, 1)
    channels = tuple(int(size) for size in channels)
    parts: list[LayerLike] = []
    for inputs, outputs in pairwise((in_channels, *channels)):
        parts += [layers.conv2d(inputs, outputs, 3, padding=1), layers.batch_norm(outputs), jax.nn.relu]
        parts.append(layers.max_pool2d(2))
    parts[-1] = layers.adaptive_average_pool2d(1)
    parts += [layers.flatten(), layers.linear(channels[-1], hidden), jax.nn.relu]
    parts += [layers.dropout(dropout), layers.linear(hidden, classes)]
    options = [
        f", in_channels={in_channels}" if in_channels != 1 else "",
        f", channels={channels}" if channels != (32, 64, 128) else "",
        f", hidden={hidden}" if hidden != 64 else "",
        f", dropout={checks.number(dropout)}" if not checks.is_concrete(dropout) or dropout != 0.5 else "",
    ]
    return layers.sequential(*parts, name=f"cnn({classes}{''.join(options)})")
