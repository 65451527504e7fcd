"""Layer constructors: each returns a `Layer`, a pair of pure functions and a name."""

from jaxnn.layers.composition import activations, residual, sequential, walk
from jaxnn.layers.dense import flatten, linear
from jaxnn.layers.normalization import batch_norm, normalize
from jaxnn.layers.regularization import dropout

__all__ = [
    "activations",
    "batch_norm",
    "dropout",
    "flatten",
    "linear",
    "normalize",
    "residual",
    "sequential",
    "walk",
]
