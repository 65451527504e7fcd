"""The mathematics of the layers as plain functions over arrays. The layers are thin pairs around these."""

from jaxnn.functional.dense import linear, wide
from jaxnn.functional.normalization import batch_norm, batch_statistics, standardize
from jaxnn.functional.randomness import dropout, keep_mask, threefry

__all__ = [
    "batch_norm",
    "batch_statistics",
    "dropout",
    "keep_mask",
    "linear",
    "standardize",
    "threefry",
    "wide",
]
