"""The multi-layer perceptron."""

from collections.abc import Sequence
from itertools import pairwise

import jax

from jaxnn import checks, layers
from jaxnn.types import Array, Layer, LayerLike


def mlp(
    sizes: Sequence[int],
    *,
    activation: LayerLike = jax.nn.relu,
    batch_norm: bool = False,
    dropout: float | Array = 0.0,
) -> Layer:
    """Make a multi-layer perceptron with the given layer sizes, [B, ...] flattened to [B, sizes[0]] -> [B, sizes[-1]].

    Each hidden layer is linear, then batch normalisation (if asked), the activation, and dropout (if the rate is not
    0); the last layer is linear alone, so the outputs are logits. The guide's networks:

    - SimpleNN: `mlp((784, 128, 128, 10), dropout=0.2)`
    - MNISTClassifier: `mlp((784, 512, 256, 10), dropout=0.2)`
    - NetworkWithBatchNorm: `mlp((784, 256, 128, 10), batch_norm=True)`

    >>> model = mlp((784, 512, 256, 10), dropout=0.2)
    >>> params, state = model.init(jax.random.key(0))
    >>> model, model.apply(params, state, jax.numpy.ones((32, 28, 28, 1)))[0].shape
    (mlp((784, 512, 256, 10), dropout=0.2), (32, 10))
    """
    if not isinstance(sizes, Sequence):
        raise TypeError(f"mlp expected sizes such as (784, 128, 10) but got {sizes!r}")
    if len(sizes) < 2:
        raise ValueError(f"mlp expected at least two sizes, inputs and outputs, but got {tuple(sizes)}")
    for i, size in enumerate(sizes):
        checks.positive_int("mlp", f"sizes[{i}]", size)
    checks.in_range("mlp", "dropout", dropout, 0, 1)
    sizes = tuple(int(size) for size in sizes)
    with_dropout = not checks.is_concrete(dropout) or dropout != 0
    parts: list[LayerLike] = [layers.flatten()]
    for inputs, outputs in pairwise(sizes[:-1]):
        parts.append(layers.linear(inputs, outputs))
        if batch_norm:
            parts.append(layers.batch_norm(outputs))
        parts.append(activation)
        if with_dropout:
            parts.append(layers.dropout(dropout))
    parts.append(layers.linear(sizes[-2], sizes[-1]))
    options = [
        f", activation={checks.as_layer('mlp', activation)}" if activation is not jax.nn.relu else "",
        ", batch_norm=True" if batch_norm else "",
        f", dropout={checks.number(dropout)}" if with_dropout else "",
    ]
    return layers.sequential(*parts, name=f"mlp({sizes}{''.join(options)})")
